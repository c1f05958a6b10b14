"""``mingjian detections``: what was found in the workspace, the newest event first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.errors import ConfigError, shown
from mingjian.model.rules import Level
from mingjian.settings import Settings

if TYPE_CHECKING:
    from mingjian.store.detections import StoredDetection
    from mingjian.store.periods import Chosen, CountBy
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import Workspace

app = typer.Typer(add_completion=False)

COLUMNS = (
    *("id", "time", "level", "rule_id", "rule_title", "kind", "attack", "organisation", "host", "account"),
    *("stream", "file", "record", "matched", "atoms", "found_by", "found"),
)
TABLE_COLUMNS = ("time", "level", "rule_title", "organisation", "host", "account", "file", "record")
"""What a table shows: the other formats have everything."""
LIMIT = 1000


@app.command()
def detections(
    context: typer.Context,
    org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None,
    level: Annotated[Level, typer.Option(help="The lowest level.")] = "informational",
    rule: Annotated[str | None, typer.Option(help="Only of the rule with this id.")] = None,
    host: Annotated[str | None, typer.Option(help="Only on this host.")] = None,
    since: Annotated[str | None, typer.Option(help="Only of events from this moment on (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Only of events before this moment.")] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Those that a suppression hides instead.")] = False,
    count_by: Annotated[
        Literal["level", "kind", "organisation", "rule", "host", "account"] | None,
        typer.Option(help="Only count them, by this."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many at most.")] = LIMIT,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
) -> Exit:
    """List what was found, the newest event first; or count it."""
    from mingjian.store.catalogue import organisation_named, organisations
    from mingjian.store.detections import detections as stored_detections
    from mingjian.store.periods import Chosen
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    scope = Scope.of_operator()
    with open_here(context.find_object(Settings) or Settings()) as workspace:
        names = {each.id: each.name for each in organisations(workspace, scope)}
        organisation = None if org is None else organisation_named(workspace, scope, org).id
        first_us, until_us = moment_of(since), moment_of(until)
        if count_by is not None:
            wanted = Chosen(
                organisation=organisation,
                level=level,
                rule_id=rule,
                host=host,
                first_us=first_us,
                until_us=until_us,
                is_hidden=hidden,
            )
            _write_counts(workspace, scope, wanted, count_by, how)
            return Exit.DONE
        if hidden:
            raise ConfigError("--hidden goes with --count-by", hint="for example --hidden --count-by rule")
        found = stored_detections(
            workspace,
            scope,
            organisation=organisation,
            level=level,
            rule_id=rule,
            host=host,
            first_us=first_us,
            until_us=until_us,
            limit=limit + 1,
        )
        chosen = terminal.choose_format(how)
        rows = (_row(each, names[each.organisation]) for each in found[:limit])
        terminal.write_rows(rows, TABLE_COLUMNS if chosen == "table" else COLUMNS, chosen)
    if len(found) > limit:
        terminal.note(f"there are more than {limit}; --limit shows more of them")
    return Exit.DONE


def _row(each: StoredDetection, organisation: str) -> dict[str, terminal.Cell]:
    from mingjian.cli.detect import time_text

    one = each.detection
    return {
        "id": each.public_id,
        "time": time_text(one.time_us),
        "level": one.level,
        "rule_id": one.rule_id,
        "rule_title": one.rule_title,
        "kind": one.kind,
        "attack": list(one.attack),
        "organisation": organisation,
        "host": one.host,
        "account": one.account,
        "stream": one.stream,
        "file": one.file,
        "record": one.record,
        "matched": one.matched,
        "atoms": list(one.atoms),
        "found_by": each.found_by,
        "found": time_text(each.found_us),
    }


def _write_counts(
    workspace: Workspace, scope: Scope, wanted: Chosen, by: CountBy, how: terminal.ListFormat | None
) -> None:
    from mingjian.store.catalogue import organisations
    from mingjian.store.periods import count_by

    names = {str(each.id): each.name for each in organisations(workspace, scope)} if by == "organisation" else {}
    counted = count_by(workspace, scope, wanted, by)
    rows = ({by: names.get(each.value, each.value), "detections": each.count} for each in counted)
    terminal.write_rows(rows, (by, "detections"), terminal.choose_format(how))


def moment_of(text: str | None) -> int | None:
    """Microseconds since 1970 UTC. Raises: ConfigError."""
    from mingjian.model.times import parse_time_us

    if text is None:
        return None
    moment = parse_time_us(f"{text}T00:00:00" if len(text) == len("2026-01-31") else text)
    if moment is None:
        raise ConfigError(f"not a moment: {shown(text)}", hint="2026-01-31, or 2026-01-31T12:00:00Z")
    return moment

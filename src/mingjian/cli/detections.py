"""``mingjian detections``: what was found in the workspace, the newest event first."""

from __future__ import annotations

from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.errors import ConfigError, shown
from mingjian.model.rules import Level
from mingjian.settings import Settings

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
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many at most.")] = LIMIT,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
) -> Exit:
    """List what was found, the newest event first."""
    from mingjian.cli.detect import time_text
    from mingjian.store.catalogue import organisation_named, organisations
    from mingjian.store.detections import detections as stored_detections
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    scope = Scope.of_operator()
    with open_here(context.find_object(Settings) or Settings()) as workspace:
        names = {each.id: each.name for each in organisations(workspace, scope)}
        found = stored_detections(
            workspace,
            scope,
            organisation=None if org is None else organisation_named(workspace, scope, org).id,
            level=level,
            rule_id=rule,
            host=host,
            first_us=_moment(since),
            until_us=_moment(until),
            limit=limit + 1,
        )
        chosen = terminal.choose_format(how)
        rows = (
            {
                "id": each.public_id,
                "time": time_text(each.detection.time_us),
                "level": each.detection.level,
                "rule_id": each.detection.rule_id,
                "rule_title": each.detection.rule_title,
                "kind": each.detection.kind,
                "attack": list(each.detection.attack),
                "organisation": names[each.organisation],
                "host": each.detection.host,
                "account": each.detection.account,
                "stream": each.detection.stream,
                "file": each.detection.file,
                "record": each.detection.record,
                "matched": each.detection.matched,
                "atoms": list(each.detection.atoms),
                "found_by": each.found_by,
                "found": time_text(each.found_us),
            }
            for each in found[:limit]
        )
        terminal.write_rows(rows, TABLE_COLUMNS if chosen == "table" else COLUMNS, chosen)
    if len(found) > limit:
        terminal.note(f"there are more than {limit}; --limit shows more of them")
    return Exit.DONE


def _moment(text: str | None) -> int | None:
    """Microseconds since 1970 UTC. Raises: ConfigError."""
    from mingjian.model.times import parse_time_us

    if text is None:
        return None
    moment = parse_time_us(f"{text}T00:00:00" if len(text) == len("2026-01-31") else text)
    if moment is None:
        raise ConfigError(f"not a moment: {shown(text)}", hint="2026-01-31, or 2026-01-31T12:00:00Z")
    return moment

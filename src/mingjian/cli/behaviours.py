"""``mingjian behaviours``: look over all that is kept for what no rule describes, and list what was found."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.settings import Language, Settings

if TYPE_CHECKING:
    from mingjian.hunt.behaviourruns import Outcome

app = typer.Typer(add_completion=False)

COLUMNS = (
    *("id", "time", "last", "score", "behaviour", "title", "level", "organisation", "host", "account"),
    *("count", "values", "terms", "caveats", "attack", "file", "record"),
)
TABLE_COLUMNS = ("score", "behaviour", "title", "organisation", "time", "last", "count")
"""What a table shows: the other formats have everything."""
NICENESS = 10
"""How far behind everything else on the machine a run stands."""


@app.command()
def behaviours(
    context: typer.Context,
    stored: Annotated[bool, typer.Option("--stored", help="Only list what the last run found.")] = False,
    org: Annotated[str | None, typer.Option(help="List only what this organisation does.")] = None,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
    language: Annotated[Language | None, typer.Option(help="Language of the titles.")] = None,
) -> Exit:
    """Look over all that is kept for what no rule describes, and list what was found, the highest score first."""
    from mingjian.hunt.behaviourbook import RULE_PREFIX
    from mingjian.hunt.vocabulary import title_in
    from mingjian.sources.definitions import load_sources
    from mingjian.store.behaviours import stored_behaviours
    from mingjian.store.catalogue import organisation_named, organisations
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    chosen: Language = language or settings.language
    scope = Scope.of_operator()
    with open_here(settings) as workspace:
        owner = None if org is None else organisation_named(workspace, scope, org).id
        if not stored:
            from mingjian.hunt.behaviourruns import run_behaviours

            os.nice(NICENESS)
            with Progress(sys.stderr) as progress:
                book = load_sources(cache_folder=settings.cache_folder)
                done = run_behaviours(workspace, scope, book, progress=lambda events: progress.show(0, events))
            _summarise(done)
        names = {each.id: each.name for each in organisations(workspace, scope)}
        rows = (
            {
                "id": each.public_id,
                "time": one.matched.get("first", ""),
                "last": one.matched.get("last", ""),
                "score": int(one.matched.get("score", "0")),
                "behaviour": one.rule_id.removeprefix(RULE_PREFIX),
                "title": title_in(one, chosen),
                "level": one.level,
                "organisation": names[each.organisation],
                "host": one.host,
                "account": one.account,
                "count": int(one.matched.get("count", "0")),
                "values": one.matched.get("values", ""),
                "terms": list(one.atoms),
                "caveats": one.matched.get("caveats", ""),
                "attack": list(one.attack),
                "file": one.file,
                "record": one.record,
            }
            for each in stored_behaviours(workspace, scope, organisation=owner)
            for one in (each.detection,)
        )
        form = terminal.choose_format(how)
        terminal.write_rows(rows, TABLE_COLUMNS if form == "table" else COLUMNS, form)
    return Exit.DONE


def _summarise(done: Outcome | None) -> None:
    if done is None:
        terminal.note("another process is at it; this is what was found before")
        return
    found = ", ".join(f"{name} {count}" for name, count in sorted(done.findings.items())) or "nothing"
    terminal.note(f"{done.events:,} events that tell facts in {done.seconds:.2f} s; found: {found}")
    if done.left_out:
        terminal.note(f"{done.left_out:,} older events were not looked at: there are too many")

"""``mingjian record``: show a record by its pointer, as it came in."""

from __future__ import annotations

from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.formats.records import json_bytes
from mingjian.settings import Settings
from mingjian.telemetry import visible_json

app = typer.Typer(add_completion=False)


@app.command(no_args_is_help=True)
def record(
    context: typer.Context,
    pointers: Annotated[list[str], typer.Argument(metavar="FILE:NUMBER…", help="As detections and cards name them.")],
    org: Annotated[str | None, typer.Option(help="Whose record it is.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes as they came in, if they were kept.")] = False,
) -> Exit:
    """Show records by their pointers, one line of JSON each; where they are goes to stderr."""
    from mingjian.hunt.records import records_at, split_pointer
    from mingjian.store.catalogue import organisation_named, organisations
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    scope = Scope.of_operator()
    with open_here(settings) as workspace:
        owner = None if org is None else organisation_named(workspace, scope, org).id
        names = {each.id: each.name for each in organisations(workspace, scope)}
        for pointer in pointers:
            for found in records_at(workspace, scope, *split_pointer(pointer), organisation=owner):
                terminal.note(f"{names[found.organisation]}: {found.stream} {found.file}:{found.number}")
                if raw:
                    terminal.say(found.raw.decode("utf-8", "backslashreplace"))
                else:
                    terminal.say(visible_json(json_bytes(found.record).decode("utf-8", "backslashreplace")))
    return Exit.DONE

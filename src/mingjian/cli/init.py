"""``mingjian init``: make a workspace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mingjian import settings as settings_module
from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.settings import Settings

app = typer.Typer(add_completion=False, help="Make a workspace: the folder in which everything is kept.")


@app.command()
def init(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(help="The folder to make or to use; the current one if none is given.")
    ] = Path(),
) -> Exit:
    """Make a workspace: the folder in which events, detections and everything else are kept.

    Commands find it from every folder inside it. What is in the folder already stays as it is.
    """
    from mingjian.store import workspace

    chosen = context.ensure_object(Settings)
    if settings_module.find_file(folder.absolute()) != chosen.file:
        # The folder has settings of its own, which may name a database.
        chosen = settings_module.load(folder, os.environ)
    with workspace.create(folder.absolute(), chosen.database) as made:
        terminal.say(f"workspace {made.public_id} in {made.folder}")
    terminal.note("next: mingjian ingest PATH…")
    return Exit.DONE

"""``mingjian restore``: a workspace from a backup."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mingjian import settings as settings_module
from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress

app = typer.Typer(add_completion=False, help="Make a workspace of a backup, and look whether it is whole.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="The backup.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make; it must not be there yet, or be empty.")],
    database: Annotated[
        str | None, typer.Option("--database", help="state.db, or the URL of an empty PostgreSQL database.")
    ] = None,
) -> Exit:
    """Make a workspace of a backup, in a new folder, and look whether all of it is whole.

    Without --database, the state goes where the settings in the backup say.
    """
    from mingjian.store.backup import restore as make
    from mingjian.store.doctor import examine
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_workspace

    place = folder.absolute()
    with Progress(sys.stderr) as progress:
        made = make(file, place, database, on_bytes=lambda size: progress.show(size, 0))
        chosen = database or settings_module.load(place, os.environ).database
        with open_workspace(place, chosen) as workspace:
            found = list(examine(workspace, Scope.of_operator(), on_bytes=progress.show))
    for each in found:
        terminal.say(f"{each.part}: {each.said}")
    if any(each.is_trouble for each in found):
        return Exit.FAILED
    if database is not None and database != settings_module.load(place, os.environ).database:
        terminal.note(f"write the setting database into {place / settings_module.FILE_NAME}, or set MINGJIAN_DATABASE")
    terminal.note(f"workspace {made.workspace} in {place}")
    return Exit.DONE

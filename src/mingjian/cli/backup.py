"""``mingjian backup``: everything in one file, while the workspace works."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.settings import Settings

app = typer.Typer(add_completion=False, help="Write everything in the workspace to one file.")


@app.command()
def backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write; it must not be there yet.")],
) -> Exit:
    """Write a backup of the whole workspace to one file, while everything goes on.

    The keys of the workspace are in it: keep it where nobody else reads it.
    """
    from mingjian.store.backup import backup as make
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    with open_here(context.ensure_object(Settings)) as workspace, Progress(sys.stderr) as progress:
        made = make(workspace, Scope.of_operator(), file, on_bytes=lambda size: progress.show(size, 0))
    terminal.note(f"workspace {made.workspace}, {made.acts:,} acts, {file.stat().st_size:,} bytes in {file}")
    return Exit.DONE

"""``mingjian brief``: what happened in a period, ready to be sent on."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.errors import ConfigError
from mingjian.settings import Language, Settings

app = typer.Typer(add_completion=False)


@app.command()
def brief(
    context: typer.Context,
    since: Annotated[str, typer.Option(help="The first day; a week before the last one if not given.")] = "",
    until: Annotated[str, typer.Option(help="The last day; today, or the last day of old data.")] = "",
    org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None,
    how: Annotated[Literal["html", "docx", "pdf"], typer.Option("--format", "-f", help="What is written.")] = "html",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; standard output if none.")] = None,
    lang: Annotated[Language | None, typer.Option("--lang", "--language", help="Language of the brief.")] = None,
    by: Annotated[str, typer.Option(help="Who it is from; you if not given.")] = "",
) -> Exit:
    """Write a situation brief: every figure with the command that counts it again and with what could be seen."""
    from mingjian.console.briefing import Wish, make_brief, period_of
    from mingjian.console.briefpage import written
    from mingjian.store.catalogue import organisation_named
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    scope = Scope.of_operator()
    if output is None and how != "html" and sys.stdout.isatty():
        raise ConfigError(f"{how} is nothing for a terminal", hint=f"--output brief.{how}")
    with open_here(settings) as workspace:
        organisation = None if org is None else organisation_named(workspace, scope, org).id
        period = period_of(workspace, scope, since, until, organisation)
        wish = Wish(period=period, language=lang or settings.language, by=by or getpass.getuser())
        made = make_brief(workspace, scope, wish)
    data = written(made, how)
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        output.write_bytes(data)
        terminal.note(f"{output}: {len(data):,} bytes")
    return Exit.DONE

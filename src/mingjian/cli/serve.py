"""``mingjian serve``: console and API, with intake, detection and hunts, in one process group."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.settings import Settings

app = typer.Typer(add_completion=False)

PORT: Final = 8300
WORKERS_MAX: Final = 64


@app.command()
def serve(
    context: typer.Context,
    address: Annotated[str, typer.Option(help="The address to serve on; a numeric one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = PORT,
    follow: Annotated[list[str] | None, typer.Option(help="Take in what grows here. May be repeated.")] = None,
    listen: Annotated[
        list[str] | None, typer.Option(help="Take in what comes in here, as for ingest. May be repeated.")
    ] = None,
    org: Annotated[str | None, typer.Option(help="Whose logs they are.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=WORKERS_MAX, help="Processes for console and API.")] = 1,
    console_only: Annotated[
        bool, typer.Option("--console-only", help="Take nothing in, hunt for nothing: only show.")
    ] = False,
    sources: Annotated[list[Path] | None, typer.Option(help="Source definitions of your own. May be repeated.")] = None,
) -> Exit:
    """Serve the console and the API; meanwhile take logs in, detect, and run over history what is waiting."""
    from mingjian import service
    from mingjian.sources.definitions import load_sources
    from mingjian.sources.listen import parse_listener
    from mingjian.store.catalogue import DEFAULT_ORGANISATION
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    order = service.Order(
        address=address,
        port=port,
        workers=workers,
        paths=follow or (),
        listeners=[parse_listener(text) for text in listen or ()],
        organisation=org or DEFAULT_ORGANISATION,
        is_console_only=console_only,
    )
    book = load_sources(sources or (), cache_folder=settings.cache_folder)
    with open_here(settings) as workspace:
        taken = service.bound(address, port)
        place = service.address_of(taken)
        link = service.first_link(workspace, taken)

        def ready() -> None:
            terminal.note(f"the console is at {place}")
            if link is not None:
                terminal.say(f"sign in once with {link.reveal()}")
                sys.stdout.flush()

        summary = service.serve(workspace, settings, book, taken, order, ready=ready, say=terminal.note_trouble)
    if summary is not None:
        terminal.note(f"ended; {summary.events} events were taken in")
    return Exit.DONE

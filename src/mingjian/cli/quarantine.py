"""``mingjian quarantine``: what could not be read, and reading it again after a definition was mended."""

from __future__ import annotations

import getpass
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.data import STARTER_RULES
from mingjian.errors import StateError
from mingjian.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What could not be read, and trying it again.")

COLUMNS = ("id", "received", "organisation", "file", "record", "offset", "code", "reason", "bytes")
TABLE_COLUMNS = ("id", "received", "file", "record", "reason")
LIMIT = 1000


@app.callback()
def _quarantine() -> None:
    """Have several commands."""


@app.command("list")
def list_quarantined(
    context: typer.Context,
    org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None,
    since: Annotated[str | None, typer.Option(help="Only what came in from this moment on (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Only what came in before this moment.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="So many at most.")] = LIMIT,
    how: Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")] = None,
) -> Exit:
    """List what could not be read, the newest first."""
    from mingjian.cli.detect import time_text
    from mingjian.cli.detections import moment_of
    from mingjian.store.catalogue import organisation_named, organisations, quarantined
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    scope = Scope.of_operator()
    with open_here(context.find_object(Settings) or Settings()) as workspace:
        names = {each.id: each.name for each in organisations(workspace, scope)}
        found = quarantined(
            workspace,
            scope,
            organisation=None if org is None else organisation_named(workspace, scope, org).id,
            first_us=moment_of(since),
            until_us=moment_of(until),
            limit=limit + 1,
        )
    rows = (
        {
            "id": each.id,
            "received": time_text(each.received_us),
            "organisation": names[each.organisation],
            "file": each.item.file,
            "record": each.item.record,
            "offset": each.item.offset,
            "code": each.item.code,
            "reason": each.item.reason,
            "bytes": len(each.item.data),
        }
        for each in found[:limit]
    )
    chosen = terminal.choose_format(how)
    terminal.write_rows(rows, TABLE_COLUMNS if chosen == "table" else COLUMNS, chosen)
    if len(found) > limit:
        terminal.note(f"there are more than {limit}; --limit shows more of them")
    return Exit.DONE


@app.command("retry")
def retry(
    context: typer.Context,
    entries: Annotated[list[int] | None, typer.Argument(help="Their ids; everything that lies there if none.")] = None,
    org: Annotated[str | None, typer.Option(help="Only of this organisation.")] = None,
    sources: Annotated[list[Path] | None, typer.Option(help="Source definitions of your own. May be repeated.")] = None,
) -> Exit:
    """Read again what was kept: what comes through leaves the quarantine, once, and the rest stays.

    While mingjian serve (or ingest --follow) runs in the workspace it is put on its list of jobs.
    """
    from mingjian.hunt.arrival import watch_live
    from mingjian.hunt.retrying import Retry
    from mingjian.sources.definitions import load_sources
    from mingjian.store.audit import act
    from mingjian.store.catalogue import organisation_named
    from mingjian.store.quarantine import ask_retry
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    scope = Scope.of_operator()
    with open_here(settings) as workspace, ExitStack() as stack:
        organisation = None if org is None else organisation_named(workspace, scope, org).id
        try:
            stack.enter_context(workspace.writing())
        except StateError:
            job = ask_retry(workspace, scope, entries or [], organisation=organisation)
            terminal.note(f"another process writes in the workspace: it does it as job {job.public_id}")
            return Exit.DONE
        cache = settings.cache_folder
        watch = watch_live(workspace, scope, starter=STARTER_RULES, cache_folder=cache, jobs=settings.jobs).watch
        book = load_sources(sources or (), cache_folder=cache)
        done = Retry(workspace, scope, book, watch, keep_raw=settings.keep_raw).run(
            getpass.getuser(), ids=entries or [], organisation=organisation
        )
        with workspace.begin() as connection:
            after = {"tried": str(done.tried), "read": str(done.read), "events": str(done.events)}
            act(workspace, connection, scope, "quarantine.retried", organisation=organisation, after=after)
    terminal.say(
        f"{done.tried} read again: {done.read} came through with {done.events} events, {done.unread} cannot be read "
        f"yet, of {done.file_needed} the file has to be taken in again"
    )
    return Exit.QUARANTINED if done.unread or done.file_needed else Exit.DONE

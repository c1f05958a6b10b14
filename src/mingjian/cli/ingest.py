"""``mingjian ingest``: take logs into the workspace, each record once, with every rule run over them on the way."""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.data import STARTER_RULES
from mingjian.errors import ConfigError, MingjianError
from mingjian.model.blocks import Quarantined
from mingjian.model.rules import LEVELS
from mingjian.settings import Settings

if TYPE_CHECKING:
    from mingjian.hunt.arrival import Loaded, Reload
    from mingjian.hunt.ingest import Ingest, Summary
    from mingjian.sources.definitions import SourceBook
    from mingjian.store.catalogue import Organisation
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import Workspace

app = typer.Typer(add_completion=False)

STANDARD_INPUT = "-"
QUARANTINE_NAMED_MAX = 5
"""So many entries of quarantined input are shown."""
FIELDS = (
    *("files", "new", "grown", "known", "empty", "events", "bytes", "seconds", "segments", "stored_bytes"),
    *("quarantined", "correlations", "detections"),
)


@app.command(no_args_is_help=True)
def ingest(
    context: typer.Context,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, archives and folders of logs; - is standard input.")
    ] = None,
    org: Annotated[str | None, typer.Option(help="Whose logs they are; made if there is no such organisation.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what grows or is new, until you stop it.")
    ] = False,
    listen: Annotated[
        list[str] | None, typer.Option(help="Listen, for example on syslog+udp://127.0.0.1:5514. May be repeated.")
    ] = None,
    rules: Annotated[
        list[Path] | None, typer.Option(help="Sigma rules for this time, instead of those of the workspace.")
    ] = None,
    sources: Annotated[list[Path] | None, typer.Option(help="Source definitions of your own. May be repeated.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; all processors if not given.")] = None,
    how: Annotated[
        terminal.ListFormat | None, typer.Option("--format", "-f", help="Write the summary to stdout, too.")
    ] = None,
) -> Exit:
    """Take logs into the workspace: each record once, with every rule run over them on the way."""
    from mingjian.hunt.arrival import Reload
    from mingjian.hunt.ingest import Ingest
    from mingjian.sources.definitions import load_sources
    from mingjian.store.catalogue import DEFAULT_ORGANISATION, organisation_named
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    if not paths and not listen:
        raise ConfigError("nothing to take in", hint="a PATH, - for standard input, or --listen")
    if follow and STANDARD_INPUT in (paths or []):
        raise ConfigError("standard input cannot be followed", hint="it is read to its end without --follow")
    scope = Scope.of_operator()
    jobs = jobs or settings.jobs
    unread = _Unread()
    book = load_sources(sources or (), cache_folder=settings.cache_folder)
    with open_here(settings) as workspace, Progress(sys.stderr) as progress:
        organisation = organisation_named(workspace, scope, org or DEFAULT_ORGANISATION, make=True)
        loaded = _loaded(workspace, scope, rules or [], settings, jobs)
        run = Ingest(
            workspace,
            scope,
            organisation,
            loaded.watch,
            book,
            keep_raw=settings.keep_raw,
            jobs=jobs,
            on_quarantined=unread.take,
            say=terminal.note_trouble,
            progress=progress.show,
        )
        if follow or listen:
            reload = Reload(workspace, scope, lambda: _loaded(workspace, scope, rules or [], settings, jobs))
            summary = _go_on(run, workspace, scope, organisation, book, settings, paths or [], listen or [], reload)
        else:
            summary = _once(run, workspace, book, settings, paths or [])
    _summarise(summary, loaded, unread)
    if how is not None:
        row = {name: getattr(summary, name) for name in FIELDS}
        terminal.write_rows([row], FIELDS, terminal.choose_format(how))
    return Exit.QUARANTINED if summary.quarantined else Exit.DONE


def _loaded(workspace: Workspace, scope: Scope, rules: list[Path], settings: Settings, jobs: int) -> Loaded:
    from mingjian.hunt.arrival import watch_book, watch_live
    from mingjian.hunt.rulebook import load_rulebook

    cache = settings.cache_folder
    if rules:
        return watch_book(workspace, scope, load_rulebook(rules, cache_folder=cache, jobs=jobs), cache_folder=cache)
    return watch_live(workspace, scope, starter=STARTER_RULES, cache_folder=cache, jobs=jobs)


def _once(run: Ingest, workspace: Workspace, book: SourceBook, settings: Settings, paths: list[str]) -> Summary:
    from mingjian.situations.beside import BESIDE_AFTER_S, kept_up
    from mingjian.store.sightings.live import tidy
    from mingjian.store.upkeep import clean

    with workspace.writing():
        clean(workspace)
        tidy(workspace)
        workspace.close()
        with kept_up(workspace, book, settings.cache_folder, after_s=BESIDE_AFTER_S):
            return run.work(run.messages(paths))


def _go_on(
    run: Ingest,
    workspace: Workspace,
    scope: Scope,
    organisation: Organisation,
    book: SourceBook,
    settings: Settings,
    paths: list[str],
    addresses: list[str],
    reload: Reload,
) -> Summary:
    from mingjian.hunt.companions import companion
    from mingjian.hunt.tailing import Tail
    from mingjian.situations.beside import kept_up
    from mingjian.sources.listen import parse_listener, serve
    from mingjian.store.sightings.live import tidy
    from mingjian.store.upkeep import clean

    listeners = [parse_listener(text) for text in addresses]
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopping.append(number))

    def listen() -> None:
        try:
            serve(workspace.intake, listeners, organisation=organisation.name, ready=_say_addresses)
        except MingjianError as error:
            terminal.complain(error.what, where=error.where, hint=error.hint)
            sys.exit(Exit.FAILED)

    with workspace.writing(), ExitStack() as stack:
        clean(workspace)
        tidy(workspace)
        workspace.close()
        checks = [stack.enter_context(kept_up(workspace, book, settings.cache_folder, STARTER_RULES))]
        if listeners:
            checks.append(stack.enter_context(companion("listening", listen)))

        def tell() -> None:
            for check in checks:
                check()

        tail = Tail(
            run,
            workspace,
            scope,
            paths=paths,
            intake=bool(listeners),
            changed=reload,
            should_stop=lambda: bool(stopping),
            tell=tell,
        )
        return run.work(tail.messages())


def _say_addresses(addresses: list[tuple[str, str, int]]) -> None:
    for scheme, host, port in addresses:
        terminal.note(f"listening on {scheme}://{host}:{port}")


class _Unread:
    """Keeps the first entries of quarantined input to show them."""

    def __init__(self) -> None:
        self.first: list[Quarantined] = []

    def take(self, entry: Quarantined) -> None:
        if len(self.first) < QUARANTINE_NAMED_MAX:
            self.first.append(entry)


def _summarise(summary: Summary, loaded: Loaded, unread: _Unread) -> None:
    """Say on stderr what was taken in."""
    note = terminal.note
    speed = summary.events / summary.seconds if summary.seconds else 0.0
    if loaded.is_starter:
        note("the workspace has no rules of its own: the few starter rules were run; mingjian rules add FOLDER")
    if loaded.left_out:
        note(f"{loaded.left_out} rules hold what cannot be stored, and were not run")
    note(
        f"{summary.files} files: {summary.new} new, {summary.grown} grown, {summary.known} known already"
        + (f", {summary.empty} empty" if summary.empty else "")
    )
    note(
        f"{summary.events} events, {summary.bytes / 1e6:.1f} MB in {summary.seconds:.2f} s ({speed:,.0f} events/s), "
        f"{summary.quarantined} quarantined"
    )
    if summary.events:
        note(
            f"stored in {summary.segments} segments, {summary.stored_bytes / 1e6:.1f} MB, "
            f"{summary.stored_bytes / summary.events:.1f} bytes per event"
        )
    counts = {level: summary.detections[level] for level in reversed(LEVELS) if level in summary.detections}
    levels = ", ".join(f"{level} {count}" for level, count in counts.items())
    note(f"detections: {sum(counts.values())}{f' ({levels})' if levels else ''}")
    if summary.correlations:
        note(f"correlations over everything that is kept: {summary.correlations} detections")
    for entry in unread.first:
        note(f"quarantined: {entry.file}:{entry.record}: {entry.reason}")
    if summary.quarantined > len(unread.first):
        note(f"… and {summary.quarantined - len(unread.first)} more, all kept in the workspace")

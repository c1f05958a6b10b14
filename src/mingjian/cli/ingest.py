"""``mingjian ingest``: take logs into the workspace, each record once, with every rule run over them on the way."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.model.blocks import Quarantined
from mingjian.model.rules import LEVELS
from mingjian.settings import Settings

if TYPE_CHECKING:
    from mingjian.hunt.arrival import Loaded
    from mingjian.hunt.ingest import Summary

app = typer.Typer(add_completion=False)

QUARANTINE_NAMED_MAX = 5
"""So many entries of quarantined input are shown."""
FIELDS = (
    *("files", "new", "grown", "known", "empty", "events", "bytes", "seconds", "segments", "stored_bytes"),
    *("quarantined", "correlations", "detections"),
)


@app.command(no_args_is_help=True)
def ingest(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files, archives and folders of logs; - is standard input.")],
    org: Annotated[str | None, typer.Option(help="Whose logs they are; made if there is no such organisation.")] = None,
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
    from mingjian.cli.detect import starter_rules
    from mingjian.hunt.arrival import watch_book, watch_live
    from mingjian.hunt.ingest import Ingest
    from mingjian.hunt.rulebook import load_rulebook
    from mingjian.sources.definitions import load_sources
    from mingjian.store.catalogue import DEFAULT_ORGANISATION, organisation_named
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    scope = Scope.of_operator()
    jobs = jobs or settings.jobs
    unread = _Unread()
    with open_here(settings) as workspace, Progress(sys.stderr) as progress:
        organisation = organisation_named(workspace, scope, org or DEFAULT_ORGANISATION, make=True)
        if rules:
            book = load_rulebook(rules, cache_folder=settings.cache_folder, jobs=jobs)
            loaded = watch_book(workspace, scope, book, cache_folder=settings.cache_folder)
        else:
            loaded = watch_live(
                workspace,
                scope,
                organisation.id,
                starter=starter_rules(),
                cache_folder=settings.cache_folder,
                jobs=jobs,
            )
        run = Ingest(
            workspace,
            scope,
            organisation,
            loaded.watch,
            load_sources(sources or (), cache_folder=settings.cache_folder),
            keep_raw=settings.keep_raw,
            jobs=jobs,
            on_quarantined=unread.take,
            say=_say,
            progress=progress.show,
        )
        summary = run.run(paths)
    _summarise(summary, loaded, unread)
    if how is not None:
        row = {name: getattr(summary, name) for name in FIELDS}
        terminal.write_rows([row], FIELDS, terminal.choose_format(how))
    return Exit.QUARANTINED if summary.quarantined else Exit.DONE


class _Unread:
    """Keeps the first entries of quarantined input to show them."""

    def __init__(self) -> None:
        self.first: list[Quarantined] = []

    def take(self, entry: Quarantined) -> None:
        if len(self.first) < QUARANTINE_NAMED_MAX:
            self.first.append(entry)


def _say(text: str) -> None:
    terminal.note(f"{text}; it is tried again until it works" if text else "it works again")


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

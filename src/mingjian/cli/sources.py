"""``mingjian sources``: which sources are known, and what a file is taken for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.model.blocks import Quarantined
from mingjian.model.rules import LogSource
from mingjian.settings import Settings
from mingjian.sources import files
from mingjian.sources.check import Check, StreamReport
from mingjian.sources.definitions import SourceBook, load_sources

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Source definitions: list them, and try them on logs."
)

LIST_COLUMNS = ("source", "stream", "logsources")
CHECK_COLUMNS = ("stream", "source", "layout", "events", "logsources", "time", "host", "account", "never", "unlisted")
TABLE_COLUMNS = ("stream", "layout", "events", "time", "host", "account", "never", "unlisted")
_Format = Annotated[terminal.ListFormat | None, typer.Option("--format", "-f", help="How the list is written.")]
_Own = Annotated[
    list[Path] | None,
    typer.Option("--sources", help="Your own definitions: a file or a folder of .yml; may be given again."),
]


def _book(own: list[Path] | None, settings: Settings) -> SourceBook:
    book = load_sources(own or (), cache_folder=settings.cache_folder)
    for skipped in book.skipped:
        where = f"{skipped.file}: {skipped.key}" if skipped.key else skipped.file
        terminal.complain(skipped.reason, where=where, hint="this definition is skipped, the others are used")
    return book


def _words(logsources: Iterable[LogSource]) -> list[str]:
    return ["/".join(part or "*" for part in (ls.product, ls.category, ls.service)) for ls in logsources]


@app.command("list")
def list_sources(context: typer.Context, own: _Own = None, how: _Format = None) -> Exit:
    """List every stream that a definition names, with the Sigma log sources it satisfies."""
    book = _book(own, context.ensure_object(Settings))
    rows = (
        {"source": stream.source, "stream": stream.name, "logsources": _words(stream.logsources)}
        for stream in book.streams()
    )
    terminal.write_rows(rows, LIST_COLUMNS, terminal.choose_format(how))
    return Exit.FAILED if book.skipped and own else Exit.DONE


@app.command("check")
def check_files(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="FILE…", help="Files or folders; - is standard input.")],
    own: _Own = None,
    how: _Format = None,
    stub: Annotated[
        bool, typer.Option("--stub", help="Print a definition to fill in for events that no source takes.")
    ] = False,
) -> Exit:
    """Show what logs are taken for: streams with their counts, what has no value, what no definition names."""
    check = Check(_book(own, context.ensure_object(Settings)))
    found, missing = files.find(paths)
    quarantined = list(missing)
    counts = files.Counts()
    for task in files.plan(found, 1):
        for _, item in files.read(task, counts, check.first_paths):
            if isinstance(item, Quarantined):
                quarantined.append(item)
            else:
                check.add(item)
    reports = check.report()
    if stub:
        for report in reports:
            if report.stub:
                for line in ("---", f"# {report.stream}: {report.events} events", *report.stub.splitlines()):
                    terminal.say(line)
    else:
        chosen = terminal.choose_format(how)
        columns = TABLE_COLUMNS if chosen == "table" else CHECK_COLUMNS
        terminal.write_rows((_row(report, chosen) for report in reports), columns, chosen)
    _summarise(reports, quarantined, stub)
    return Exit.QUARANTINED if quarantined else Exit.DONE


def _row(report: StreamReport, how: terminal.ListFormat) -> terminal.Row:
    def share(count: int) -> str:
        return f"{count * 100 // report.examined} %" if report.examined else ""

    return {
        "stream": report.stream,
        "source": report.source,
        "layout": report.layout,
        "events": report.events,
        "logsources": _words(report.logsources),
        "time": share(report.with_time),
        "host": share(report.with_host),
        "account": share(report.with_account),
        # A table has no room for the names; the other forms give them all.
        "never": len(report.never) if how == "table" else report.never,
        "unlisted": len(report.unlisted) if how == "table" else report.unlisted,
    }


def _summarise(reports: list[StreamReport], quarantined: list[Quarantined], stub: bool) -> None:
    events = sum(report.events for report in reports)
    strange = sum(report.events for report in reports if not report.source)
    terminal.note(f"{events} events in {len(reports)} streams; {strange} that no source takes")
    for item in quarantined[:5]:
        terminal.complain(item.reason, where=f"{item.file}:{item.record}" if item.record else item.file)
    if len(quarantined) > 5:
        terminal.note(f"{len(quarantined) - 5} more pieces of input could not be read")
    if strange and not stub:
        terminal.note("--stub prints a definition for them, to be filled in and given with --sources")

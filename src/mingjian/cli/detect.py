"""``mingjian detect``: run Sigma rules over log files. Needs no workspace."""

from __future__ import annotations

import base64
import datetime
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated, Literal, TextIO, cast

import msgspec
import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.data import STARTER_RULES
from mingjian.errors import ConfigError
from mingjian.hunt.automata import engine_for
from mingjian.hunt.detection import Run, Summary
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.model.blocks import Quarantined
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS, Level
from mingjian.settings import Language, Settings
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

app = typer.Typer(add_completion=False)

COLUMNS = (
    "time",
    "level",
    "rule_id",
    "rule_title",
    "kind",
    "attack",
    "host",
    "account",
    "stream",
    "file",
    "record",
    "matched",
)
TABLE_COLUMNS = ("time", "level", "rule_title", "host", "account", "file", "record")
"""What a table shows: the other formats have everything."""
QUARANTINE_NAMED_MAX = 5
"""So many entries of quarantined input are shown; ``--quarantine`` writes all of them to a file."""


@app.command(no_args_is_help=True)
def detect(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(help="Files, archives and folders of logs; - is standard input.")],
    rules: Annotated[list[Path] | None, typer.Option(help="A folder or file of Sigma rules. May be repeated.")] = None,
    level: Annotated[Level, typer.Option(help="The lowest level of a rule that is reported.")] = "informational",
    format: Annotated[Literal["table", "jsonl", "csv", "html", "ocsf"] | None, typer.Option()] = None,
    output: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    explain: Annotated[bool, typer.Option(help="Say which atoms of a rule's condition were true.")] = False,
    fail_on: Annotated[Level | None, typer.Option(help="Exit with 1 if a detection has this level or more.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; all processors if not given.")] = None,
    placeholders: Annotated[Path | None, typer.Option(help="Values for %placeholders% in rules.")] = None,
    pipeline: Annotated[list[Path] | None, typer.Option(help="A pySigma processing pipeline. May be repeated.")] = None,
    sources: Annotated[list[Path] | None, typer.Option(help="Source definitions of your own. May be repeated.")] = None,
    quarantine: Annotated[Path | None, typer.Option(help="Write unreadable input to this file.")] = None,
    language: Annotated[Language | None, typer.Option(help="Language of an HTML report.")] = None,
) -> Exit:
    """Run Sigma rules over log files of any kind and list what they find."""
    settings = context.find_object(Settings) or Settings()
    book = _rulebook(rules or [], settings, placeholders or settings.placeholders, pipeline or [])
    jobs = jobs or settings.jobs
    with ExitStack() as stack:
        unread = _QuarantineList(stack.enter_context(quarantine.open("w", encoding="utf-8")) if quarantine else None)
        run = Run(
            book.rules,
            book.correlations,
            engine_for(book.rules, settings.cache_folder),
            Router(load_sources(sources or (), cache_folder=settings.cache_folder)),
            level=level,
            explain=explain,
            jobs=jobs,
            on_quarantined=unread.take,
        )
        stack.callback(run.close)
        with Progress(sys.stderr) as progress:
            summary = run.execute(paths, progress.show)
        summary.rules_skipped = len(book.skipped)
        _write(run, summary, format, output, explain, language or settings.language)
        summarise(summary, book, unread)
    if fail_on is not None and any(summary.hits_by_level.get(name) for name in LEVELS[LEVELS.index(fail_on) :]):
        return Exit.FOUND
    return Exit.QUARANTINED if summary.quarantined else Exit.DONE


def _rulebook(rules: list[Path], settings: Settings, placeholders: Path | None, pipelines: list[Path]) -> Rulebook:
    if not rules:
        rules = [STARTER_RULES]
        terminal.note("no --rules were given: these are the few starter rules; a copy of SigmaHQ's has thousands")
    book = load_rulebook(
        rules,
        cache_folder=settings.cache_folder,
        placeholders=placeholders,
        pipelines=pipelines,
        jobs=settings.jobs,
    )
    if not book.rules and not book.correlations:
        raise ConfigError("no rule could be loaded", hint="mingjian rules check says why")
    return book


class _QuarantineList:
    """Counts quarantined input by reason, keeps a few entries to show, writes all of them to a file if there is one."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self.first: list[Quarantined] = []

    def take(self, entry: Quarantined) -> None:
        if len(self.first) < QUARANTINE_NAMED_MAX:
            self.first.append(entry)
        if self._stream is not None:
            row = {**msgspec.to_builtins(entry, builtin_types=(bytes,)), "data": base64.b64encode(entry.data).decode()}
            self._stream.write(terminal.json_line(row, list(row)) + "\n")


def row_of(detection: Detection, *, explain: bool) -> terminal.Row:
    """The output row of a detection."""
    row: dict[str, terminal.Cell] = {
        "time": time_text(detection.time_us),
        "level": detection.level,
        "rule_id": detection.rule_id,
        "rule_title": detection.rule_title,
        "kind": detection.kind,
        "attack": list(detection.attack),
        "host": detection.host,
        "account": detection.account,
        "stream": detection.stream,
        "file": detection.file,
        "record": detection.record,
        "matched": detection.matched,
    }
    if explain:
        row["atoms"] = list(detection.atoms)
    return row


def time_text(time_us: int | None) -> str:
    """ISO 8601 in UTC with microseconds; empty if there is no time.

    >>> time_text(1_600_000_000_000_001)
    '2020-09-13T12:26:40.000001Z'
    """
    if time_us is None:
        return ""
    moment = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=time_us)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _write(run: Run, summary: Summary, how: str | None, output: Path | None, explain: bool, language: Language) -> None:
    with ExitStack() as stack:
        stream: TextIO = stack.enter_context(output.open("w", encoding="utf-8", newline="")) if output else sys.stdout
        if how == "html":
            from mingjian.console.report import write_report

            write_report(stream, run.detections, summary, language)
            return
        if how == "ocsf":
            _write_findings(run, stream)
            return
        chosen = terminal.choose_format(how, stream)  # type: ignore[arg-type]  # the others were dealt with above
        columns = TABLE_COLUMNS if chosen == "table" else COLUMNS
        rows = (row_of(detection, explain=explain) for detection in run.detections())
        terminal.write_rows(rows, (*columns, "atoms") if explain else columns, chosen, stream=stream)


def _write_findings(run: Run, stream: TextIO) -> None:
    """Write detections as findings of OCSF, one in each line. Each is known by its event and its rule."""
    from mingjian.hunt.attack import technique_words
    from mingjian.sources.ocsf import Where, finding_of

    now_us = time.time_ns() // 1000
    for one in run.detections():
        pointer = f"{one.file}:{one.record}:{one.rule_id}"
        where = Where(tenant="", time_us=one.time_us, received_us=now_us, pointer=pointer)
        finding = cast("terminal.Row", finding_of(one, where, technique_words))
        stream.write(terminal.json_line(finding, list(finding)) + "\n")


def summarise(summary: Summary, book: Rulebook, unread: _QuarantineList) -> None:
    """Say on stderr what the run amounts to."""
    speed = summary.events / summary.seconds if summary.seconds else 0.0
    note = terminal.note
    note(
        f"{summary.files} files, {summary.events} events, {summary.bytes / 1e6:.1f} MB in {summary.seconds:.2f} s "
        f"({speed:,.0f} events/s), {summary.quarantined} quarantined"
    )
    note(f"rules: {summary.rules_loaded} loaded, {len(book.skipped)} skipped, {summary.rules_fired} fired")
    levels = ", ".join(f"{level} {count}" for level, count in summary.hits_by_level.items())
    note(f"hits: {sum(summary.hits_by_level.values())}{f' ({levels})' if levels else ''}")
    noisiest = "; ".join(f"{each.title} ({each.amount:.0f})" for each in summary.noisiest)
    slowest = "; ".join(f"{each.title} ({each.amount * 1000:.0f} ms)" for each in summary.slowest)
    if noisiest:
        note(f"noisiest: {noisiest}")
        note(f"slowest: {slowest}")
    if book.skipped:
        note(f"{len(book.skipped)} rules were skipped; mingjian rules check says why")
    for reason in summary.correlations_skipped:
        note(f"a correlation cannot be run: {reason}")
    if summary.untimed_matches:
        note(f"{summary.untimed_matches} matches have no time and could not be correlated")
    for what, count in summary.correlation_losses.items():
        note(f"correlation {what}: {count}")
    unknown = sum(count for stream, count in summary.events_by_stream.items() if stream.startswith("unknown/"))
    if unknown:
        note(f"{unknown} events of no known source; mingjian sources check FILE shows what they are")
    for entry in unread.first:
        note(f"quarantined: {entry.file}:{entry.record}: {entry.reason}")
    if summary.quarantined > len(unread.first):
        note(f"… and {summary.quarantined - len(unread.first)} more; --quarantine FILE writes all of them")

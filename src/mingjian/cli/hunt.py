"""``mingjian hunt``: look for something in everything that was ever kept, and say what could not be seen."""

from __future__ import annotations

import datetime
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TextIO

import typer

from mingjian.cli import terminal
from mingjian.cli.detect import COLUMNS, TABLE_COLUMNS, row_of
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.errors import ConfigError, shown
from mingjian.model.rules import LEVELS, Level
from mingjian.settings import Language, Settings

if TYPE_CHECKING:
    from mingjian.hunt.answer import Answer
    from mingjian.hunt.history import Estimate
    from mingjian.hunt.hunting import Hunt
    from mingjian.hunt.indicating import Indicated
    from mingjian.hunt.rulebook import Rulebook

app = typer.Typer(add_completion=False)

NICENESS = 10
"""How far behind everything else on the machine a hunt stands that nobody waits for."""
UNREAD_SHOWN = 5
"""So many entries of indicators that could not be read are shown."""
HITS_SHOWN = 10
"""So many observables that were found are summed up on stderr."""
BYTES_PER_S = 20_000_000
"""About so many bytes of segments are read in a second, for the estimate."""


@app.command(no_args_is_help=True)
def hunt(
    context: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="RULE.yml | 'FIELD|MODIFIER=VALUE'…", help="Rule files or folders, or expressions."),
    ] = None,
    indicators: Annotated[
        list[str] | None, typer.Option(help="A file or folder of indicators, as for intel add. May be repeated.")
    ] = None,
    pending: Annotated[bool, typer.Option(help="Run rules and indicators of the workspace over what is left.")] = False,
    estimate: Annotated[bool, typer.Option(help="Say what would be looked at, and do nothing.")] = False,
    org: Annotated[str | None, typer.Option(help="Only the events of this organisation.")] = None,
    since: Annotated[datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first day.")] = None,
    until: Annotated[datetime.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day.")] = None,
    level: Annotated[Level, typer.Option(help="The lowest level of a rule that is reported.")] = "informational",
    format: Annotated[Literal["table", "jsonl", "csv", "html"] | None, typer.Option()] = None,
    output: Annotated[Path | None, typer.Option(help="Write the result to this file.")] = None,
    explain: Annotated[bool, typer.Option(help="Say which atoms of a rule's condition were true.")] = False,
    fail_on: Annotated[Level | None, typer.Option(help="Exit with 1 if a detection has this level or more.")] = None,
    sources: Annotated[list[Path] | None, typer.Option(help="Source definitions of your own. May be repeated.")] = None,
    language: Annotated[Language | None, typer.Option(help="Language of the answer and of an HTML report.")] = None,
) -> Exit:
    r"""Look for something in everything that was ever kept.

    A rule, a folder of rules, or expressions that all have to be true: 'Image|endswith=\cmd.exe'.
    """
    from mingjian.hunt.automata import engine_for
    from mingjian.hunt.hunting import Hunt
    from mingjian.sources.definitions import load_sources
    from mingjian.store.catalogue import organisation_named
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    settings = context.find_object(Settings) or Settings()
    if sum(map(bool, (what, indicators, pending))) != 1:
        raise ConfigError("one of these is needed: something to look for, --indicators, --pending")
    if pending:
        return _pending(settings, sources or [])
    if indicators:
        asked = _Asked(level, format, output, explain, fail_on, language or settings.language)
        return _look_for_indicators(settings, indicators, org, sources or [], asked)
    book = _rulebook(what or [], settings)
    scope = Scope.of_operator()
    with ExitStack() as stack:
        run = Hunt(
            workspace := stack.enter_context(open_here(settings)),
            scope,
            book.rules,
            book.correlations,
            engine_for(book.rules, settings.cache_folder),
            load_sources(sources or (), cache_folder=settings.cache_folder),
            organisation=None if org is None else organisation_named(workspace, scope, org).id,
            first_day=_day(since),
            last_day=_day(until),
            level=level,
            explain=explain,
        )
        stack.callback(run.close)
        say_estimate(run.estimate())
        if estimate:
            return Exit.DONE
        with Progress(sys.stderr) as progress:
            run.execute(progress.show)
        _write(run, format, output, explain=explain, language=language or settings.language)
        _summarise(run)
        say_answer(run.answer(), language or settings.language)
        levels = run.summary.hits_by_level
    if fail_on is not None and any(levels.get(name) for name in LEVELS[LEVELS.index(fail_on) :]):
        return Exit.FOUND
    return Exit.QUARANTINED if run.damaged else Exit.DONE


def _rulebook(what: list[str], settings: Settings) -> Rulebook:
    """The rules that are meant: files and folders, or expressions."""
    from mingjian.hunt.rulebook import Rulebook, load_rulebook

    named = [each for each in what if Path(each).exists() or each.lower().endswith((".yml", ".yaml"))]
    if not named:
        from mingjian.hunt.expressions import rule_of

        return Rulebook(rules=(rule_of(what),))
    if len(named) < len(what):
        other = next(each for each in what if each not in named)
        raise ConfigError(f"neither a file nor a folder: {shown(other)}", hint="rules or expressions, not both")
    book = load_rulebook(named, cache_folder=settings.cache_folder, jobs=settings.jobs)
    for skipped in book.skipped:
        terminal.complain(skipped.reason, where=skipped.file, hint="this rule is skipped, the others are used")
    if not book.rules and not book.correlations:
        raise ConfigError("no rule could be loaded", hint="mingjian rules check says why")
    return book


def _day(moment: datetime.datetime | None) -> int | None:
    return None if moment is None else (moment.date() - datetime.date(1970, 1, 1)).days


def say_estimate(estimate: Estimate) -> None:
    """Say on stderr what is about to be looked at."""
    seconds = max(1, round(estimate.candidate_bytes / BYTES_PER_S))
    terminal.note(
        f"{len(estimate.candidates)} of {estimate.segments} segments can match: {estimate.candidate_rows:,} of "
        f"{estimate.rows:,} events, {estimate.candidate_bytes / 1e6:,.1f} MB; about {seconds} s"
    )


def say_answer(answer: Answer, language: Language) -> None:
    """Say on stderr what was found, and what could not be seen."""
    from mingjian.hunt.answer import sentence

    terminal.note(sentence(answer, language))


def _write(run: Hunt, how: str | None, output: Path | None, *, explain: bool, language: Language) -> None:
    with ExitStack() as stack:
        stream: TextIO = stack.enter_context(output.open("w", encoding="utf-8", newline="")) if output else sys.stdout
        if how == "html":
            from mingjian.console.report import write_report

            write_report(stream, run.detections, run.summary, language)
            return
        chosen = terminal.choose_format(how, stream)  # type: ignore[arg-type]  # html was dealt with above
        columns = TABLE_COLUMNS if chosen == "table" else COLUMNS
        rows = (row_of(detection, explain=explain) for detection in run.detections())
        terminal.write_rows(rows, (*columns, "atoms") if explain else columns, chosen, stream=stream)


def _summarise(run: Hunt) -> None:
    summary = run.summary
    speed = summary.events / summary.seconds if summary.seconds else 0.0
    levels = ", ".join(f"{level} {count}" for level, count in summary.hits_by_level.items())
    terminal.note(
        f"{summary.events:,} events in {summary.seconds:.2f} s ({speed:,.0f} events/s); "
        f"hits: {sum(summary.hits_by_level.values())}{f' ({levels})' if levels else ''}"
    )
    for reason in summary.correlations_skipped:
        terminal.note(f"a correlation cannot be run: {reason}")
    for what, count in summary.correlation_losses.items():
        terminal.note(f"correlation {what}: {count}")
    if summary.untimed_matches:
        terminal.note(f"{summary.untimed_matches} matches have no time and could not be correlated")


def _pending(settings: Settings, sources: list[Path]) -> Exit:
    """Run what is waiting, standing back behind everything else on the machine."""
    from mingjian.hunt.retro import Retro
    from mingjian.sources.definitions import load_sources
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    os.nice(NICENESS)
    with open_here(settings) as workspace, Progress(sys.stderr) as progress:
        retro = Retro(
            workspace,
            Scope.of_operator(),
            load_sources(sources, cache_folder=settings.cache_folder),
            settings.cache_folder,
            progress=progress.show,
        )
        done = retro.run_pending()
    if done is None:
        terminal.note("another process is at it")
        return Exit.DONE
    for each in done:
        terminal.say(
            f"{each.segments} segments, {each.rows:,} events: {each.results} detections in {each.seconds:.2f} s"
        )
        for row in each.damaged:
            terminal.complain("the segment cannot be read", where=row.path, hint="mingjian doctor says more")
    if not done:
        terminal.note("nothing is waiting")
    return Exit.QUARANTINED if any(each.damaged for each in done) else Exit.DONE


class _Asked(NamedTuple):
    """How the result is to be written."""

    level: Level
    format: str | None
    output: Path | None
    explain: bool
    fail_on: Level | None
    language: Language


def _look_for_indicators(
    settings: Settings, paths: list[str], org: str | None, sources: list[Path], asked: _Asked
) -> Exit:
    """Look for indicators of files, which are not kept."""
    from mingjian.hunt.indicating import look_for
    from mingjian.model.blocks import Quarantined
    from mingjian.model.indicators import Assumed, Indicator
    from mingjian.sources.definitions import load_sources
    from mingjian.sources.feeds import read_feed
    from mingjian.store.catalogue import organisation_named
    from mingjian.store.scope import Scope
    from mingjian.store.workspace import open_here

    entries = [entry for path in paths for entry in read_feed(path, Assumed())]
    wanted = [entry for entry in entries if isinstance(entry, Indicator)]
    unread = [entry for entry in entries if isinstance(entry, Quarantined)]
    for entry in unread[:UNREAD_SHOWN]:
        terminal.complain(entry.reason, where=f"{entry.file}:{entry.record}")
    terminal.note(f"{len(wanted)} indicators, {len(entries) - len(wanted) - len(unread)} skipped, {len(unread)} unread")
    scope = Scope.of_operator()
    with open_here(settings) as workspace:
        organisation = None if org is None else organisation_named(workspace, scope, org).id
        book = load_sources(sources, cache_folder=settings.cache_folder)
        found, answer = look_for(workspace, scope, wanted, book, organisation=organisation)
        lowest = LEVELS.index(asked.level)
        detections = [each for each in found.detections() if LEVELS.index(each.level) >= lowest]
        with ExitStack() as stack:
            stream: TextIO = sys.stdout
            if asked.output:
                stream = stack.enter_context(asked.output.open("w", encoding="utf-8", newline=""))
            if asked.format == "html":
                raise ConfigError("hits of indicators are written as table, jsonl or csv", hint="--format jsonl")
            chosen = terminal.choose_format(asked.format, stream)  # type: ignore[arg-type]  # html was dealt with above
            columns = TABLE_COLUMNS if chosen == "table" else COLUMNS
            rows = (row_of(detection, explain=asked.explain) for detection in detections)
            terminal.write_rows(rows, (*columns, "atoms") if asked.explain else columns, chosen, stream=stream)
        _summarise_indicators(found)
        say_answer(answer, asked.language)
    if asked.fail_on is not None:
        floor = LEVELS.index(asked.fail_on)
        if any(LEVELS.index(hit.level) >= floor for hit in found.hits):
            return Exit.FOUND
    return Exit.QUARANTINED if unread or found.damaged else Exit.DONE


def _summarise_indicators(found: Indicated) -> None:
    """Say on stderr what was seen of what was looked for."""
    from mingjian.cli.detect import time_text

    for hit in found.hits[:HITS_SHOWN]:
        remark = f" ({hit.warning})" if hit.warning else " (outside its validity)" if hit.is_outside else ""
        terminal.note(
            f"{hit.level}: {hit.observed[0]} {hit.observed[1]} {hit.count} times, "
            f"{time_text(hit.first_us)} to {time_text(hit.last_us)}{remark}"
        )
    if len(found.hits) > HITS_SHOWN:
        terminal.note(f"… and {len(found.hits) - HITS_SHOWN} more observables")
    if found.left_out:
        terminal.note(f"{found.left_out} events are counted above and not listed")

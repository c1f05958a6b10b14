"""``mingjian demo``: the first result for somebody who has just come. Makes logs, reads them, tells what it found.

Every figure is counted, none is written in advance. What was not seen, and what was wrong, is told as plainly as the
rest.
"""

from __future__ import annotations

import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final

import typer

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.cli.wording import demo_text
from mingjian.console.report import write_report
from mingjian.data import DATA_FOLDER
from mingjian.errors import ConfigError
from mingjian.hunt.automata import engine_for
from mingjian.hunt.detection import Run, Summary
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.blocks import Quarantined
from mingjian.sample import campaigns
from mingjian.sample.generate import LOGS_FOLDER, SECTOR_FILE, Made, Order, generate, read_sector, read_truth, world_of
from mingjian.sample.judge import Finding, Judgement, judge
from mingjian.settings import Language, Settings
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

app = typer.Typer(add_completion=False)

DEFAULT_FOLDER: Final = "mingjian-demo"
REPORT_FILE: Final = "report.html"
DAYS: Final = 3
EVENTS_PER_DAY: Final = 20_000
"""Of one organisation: three of them on three days are read in some seconds."""
QUARANTINE_NAMED_MAX: Final = 3


class _Teller:
    """Says things in one language, at once."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def say(self, key: str, /, **values: object) -> None:
        """Print a text of the demonstration with its values."""
        self.line(demo_text(key, self.language).format(**values))

    def line(self, text: str) -> None:
        """Print a line as it is."""
        terminal.say(text)
        sys.stdout.flush()

    def chapter(self, key: str, /, **values: object) -> None:
        """Print a heading."""
        self.line("")
        self.say(key, **values)


@app.command()
def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="The folder for logs and report.")] = Path(DEFAULT_FOLDER),
    language: Annotated[Language | None, typer.Option(help="en or zh.")] = None,
    seed: Annotated[int, typer.Option(help="Another number makes other organisations.")] = 1,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; all processors if not given.")] = None,
) -> Exit:
    """Make logs of three organisations with attacks hidden in them, read them, and tell what was found."""
    settings = context.find_object(Settings) or Settings()
    teller = _Teller(language or settings.language)
    jobs = jobs or settings.jobs
    order = Order(seed=seed, days=DAYS, events_per_day=EVENTS_PER_DAY, hum=0.0)
    teller.say("welcome")
    made = _make(teller, order, output, jobs)
    _detect(teller, output, made, settings, jobs)
    return Exit.DONE


def _make(teller: _Teller, order: Order, output: Path, jobs: int) -> Made:
    """First chapter: the logs."""
    teller.chapter("making", days=order.days, start=order.start.isoformat())
    earlier = read_sector(output)
    started = time.perf_counter()
    if earlier is not None and earlier.order == order:
        made = earlier.made
        teller.say("made-earlier", folder=output)
    elif earlier is not None or (output / SECTOR_FILE).exists():
        raise ConfigError("the folder holds other logs", where=str(output), hint="--output names another folder")
    else:
        with Progress(sys.stderr) as progress:
            made = generate(order, output, jobs=jobs, progress=progress.show)
        seconds = time.perf_counter() - started
        teller.say("made", seconds=f"{seconds:.1f}", speed=f"{made.records / seconds:,.0f}")
    world = world_of(order)
    for each in world.organisations:
        faults = [host for host in each.hosts if host.skew_us or host.silent_from_us]
        title = each.title_zh if teller.language == "zh" else each.title_en
        teller.say(
            "organisation", title=title, id=each.id, people=len(each.people), hosts=len(each.hosts), faults=len(faults)
        )
    teller.say("events", records=f"{made.records:,}", files=made.files, size=f"{made.bytes / 1e6:.0f}")
    teller.line("  " + ", ".join(f"{source} {count:,}" for source, count in made.records_by_source.items()))
    names = {(step.organisation, step.campaign) for step in made.steps}
    teller.say(
        "hidden", planted=f"{made.planted:,}", share=f"{made.planted * 100 / made.records:.1f}", campaigns=len(names),
        steps=len(made.steps), repeated=made.repeated, damaged=made.damaged,
    )  # fmt: skip
    return made


def _detect(teller: _Teller, output: Path, made: Made, settings: Settings, jobs: int) -> None:
    """The other chapters: detection, story, false alarms, quarantine, report."""
    logs = str(output / LOGS_FOLDER)
    book = load_rulebook([DATA_FOLDER / "rules"], cache_folder=settings.cache_folder, jobs=jobs)
    teller.chapter("detecting", rules=len(book.rules) + len(book.correlations))
    unread: list[Quarantined] = []
    run = Run(
        book.rules,
        book.correlations,
        engine_for(book.rules, settings.cache_folder),
        Router(load_sources(cache_folder=settings.cache_folder)),
        jobs=jobs,
        on_quarantined=unread.append,
    )
    try:
        with Progress(sys.stderr) as progress:
            summary = run.execute([logs], progress.show)
        _tell_speed(teller, summary)
        truth = read_truth(output)
        judgement = judge(run.detections(), truth, made.steps, logs)
        _tell_story(teller, judgement)
        _tell_mistakes(teller, judgement)
        damaged = {(f"{logs}/{row.file}", row.record) for row in truth if row.kind == "damaged"}
        _tell_unread(teller, unread, damaged)
        report = output / REPORT_FILE
        with report.open("w", encoding="utf-8", newline="") as stream:
            write_report(stream, run.detections, summary, teller.language)
    finally:
        run.close()
    teller.chapter("report", report=report.absolute())
    teller.say("next")


def _tell_speed(teller: _Teller, summary: Summary) -> None:
    teller.say(
        "read", events=f"{summary.events:,}", seconds=f"{summary.seconds:.1f}",
        speed=f"{summary.events / max(summary.seconds, 1e-3):,.0f}", hits=sum(summary.hits_by_level.values()),
        fired=summary.rules_fired,
    )  # fmt: skip


def _tell_story(teller: _Teller, judgement: Judgement) -> None:
    teller.chapter("story", found=len(judgement.findings) - len(judgement.missed), steps=len(judgement.findings))
    titles = {each.name: each.title_zh if teller.language == "zh" else each.title_en for each in campaigns.known()}
    for (organisation, campaign), found in groupby(
        judgement.findings, key=lambda finding: (finding.step.organisation, finding.step.campaign)
    ):
        teller.line("")
        teller.say("campaign", title=titles[campaign], organisation=organisation)
        for finding in found:
            _tell_step(teller, finding)


def _tell_step(teller: _Teller, finding: Finding) -> None:
    step = finding.step
    title = step.title_zh if teller.language == "zh" else step.title_en
    when = f"{finding.time[5:10]} {finding.time[11:16]}"
    who = ", ".join(filter(None, (finding.host, finding.account)))
    mark = "+" if finding.is_found else "-"
    teller.line(f"  {mark} {when}  {title}  [{step.technique}; {who}]")
    if finding.is_found:
        level, rule, count = finding.rules[0]
        more = (
            demo_text("and-more", teller.language).format(more=len(finding.rules) - 1) if len(finding.rules) > 1 else ""
        )
        times = f" ×{count}" if count > 1 else ""
        teller.line(f"        {level}: {rule}{times}{more}")
    else:
        teller.say("not-seen", lines=finding.lines)


def _tell_mistakes(teller: _Teller, judgement: Judgement) -> None:
    wrong = judgement.detections - judgement.true_detections
    teller.chapter("mistakes", wrong=wrong, total=judgement.detections)
    for level, title, count in judgement.false_alarms:
        teller.line(f"  {count:5} × {level}: {title}")
    if wrong:
        teller.say("mistakes-why")


def _tell_unread(teller: _Teller, unread: list[Quarantined], damaged: set[tuple[str, int]]) -> None:
    found = {(entry.file, entry.record) for entry in unread}
    teller.chapter("unread", count=len(unread), expected=len(damaged & found), damaged=len(damaged))
    for entry in unread[:QUARANTINE_NAMED_MAX]:
        teller.line(f"  {entry.file}:{entry.record}: {entry.reason}")
    if len(unread) > QUARANTINE_NAMED_MAX:
        teller.say("unread-more", more=len(unread) - QUARANTINE_NAMED_MAX)

"""``mingjian demo``: the first result for somebody who has just come, told as a story.

A sector is made, its logs come in, something becomes known, the past is asked, and at the end the truth is opened.
Every figure is counted, none is written in advance. What was not found, and what was wrong, is told as plainly as the
rest.
"""

from __future__ import annotations

import datetime
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Final

import typer
from msgspec.structs import replace

from mingjian.cli import terminal
from mingjian.cli.exits import Exit
from mingjian.cli.progress import Progress
from mingjian.cli.serve import PORT
from mingjian.cli.wording import demo_text
from mingjian.console.card import write_card
from mingjian.console.story import CARD_FILE, Told, how_found, months_between, write_story
from mingjian.console.wording import WORDS as REPORT_WORDS
from mingjian.errors import ConfigError
from mingjian.hunt.answer import sentence
from mingjian.hunt.vocabulary import title_in
from mingjian.model.indicators import Indicator
from mingjian.model.rules import LEVELS, Level
from mingjian.sample.campaigns import scripted
from mingjian.sample.generate import TRUTH_FILE, read_truth, story
from mingjian.sample.judge import Finding, Judgement
from mingjian.sample.walk import Hunted, Walk, Why
from mingjian.settings import Language, Settings
from mingjian.situations.card import VerdictCard
from mingjian.situations.keeping import Keeper
from mingjian.situations.telling import WORDS, lines
from mingjian.situations.telling import sentence as card_sentence
from mingjian.sources.definitions import SourceBook, load_sources
from mingjian.store.catalogue import live_segments
from mingjian.store.indicators import IndicatorSet
from mingjian.store.workspace import open_workspace

app = typer.Typer(add_completion=False)

DEFAULT_FOLDER: Final = "mingjian-demo"
STORY_FILE: Final = "story.html"
DAYS_MIN: Final = 60
"""The story needs so many."""
RULES_NAMED_MAX: Final = 8
STEPS_SHOWN: Final = 12
"""Of a card's timeline, so many detections are printed; the page has all."""
US_PER_DAY: Final = 86_400_000_000


class _Teller:
    """Says things in one language, at once."""

    def __init__(self, language: Language) -> None:
        self.language: Language = language

    def text(self, key: str, /, **values: object) -> str:
        """A text of the demonstration with its values."""
        return demo_text(key, self.language).format(**values)

    def level(self, level: Level) -> str:
        """What a level is called."""
        return REPORT_WORDS[self.language].levels[level]

    def say(self, key: str, /, **values: object) -> None:
        """Print a text of the demonstration with its values."""
        self.line(self.text(key, **values))

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
    output: Annotated[Path, typer.Option(help="The folder for logs, workspace and pages.")] = Path(DEFAULT_FOLDER),
    language: Annotated[Language | None, typer.Option(help="en or zh.")] = None,
    seed: Annotated[int, typer.Option(help="Another number makes another sector.")] = 1,
    days: Annotated[
        int, typer.Option(min=DAYS_MIN, max=story(1).days, help="So many days; fewer are quicker.")
    ] = story(1).days,
    jobs: Annotated[int | None, typer.Option(min=1, max=256, help="Processes; all processors if not given.")] = None,
    serve: Annotated[
        bool | None, typer.Option("--serve/--no-serve", help="Serve the console at the end; on a terminal if not said.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the console; any free one if it is taken.")] = PORT,
) -> Exit:
    """Make a sector with an intruder hidden in it, keep its logs, and find out a year later who got in.

    At the end the console is served until Ctrl-C, if this is a terminal.
    """
    settings = context.find_object(Settings) or Settings()
    teller = _Teller(language or settings.language)
    started = time.perf_counter()
    order = replace(story(seed), days=days)
    sources = load_sources(cache_folder=settings.cache_folder)
    teller.say("welcome")
    with Walk(
        order, output, sources=sources, cache_folder=settings.cache_folder, jobs=jobs or settings.jobs
    ) as walk:  # fmt: skip
        _make(teller, walk)
        _take_in(teller, walk)
        _notice(teller, walk)
        asked, indicators = walk.receive()
        _receive(teller, indicators)
        hunted = _hunt(teller, walk, asked)
        answers = _ask(teller, walk, hunted, indicators)
        judgement = walk.judge([card for _, card in answers])
        page = _write(teller, walk, hunted, answers, judgement)
        _judge(teller, walk, judgement)
    _say_next(teller, output, hunted, page)
    teller.say("took", seconds=f"{time.perf_counter() - started:.0f}")
    if serve if serve is not None else sys.stdin.isatty() and sys.stdout.isatty():
        _serve(teller, settings, sources, output, port, walk.world.organisations[0].id)
    return Exit.DONE


def _make(teller: _Teller, walk: Walk) -> None:
    """The sector."""
    order = walk.order
    end = order.start + datetime.timedelta(days=order.days - 1)
    teller.chapter("making", organisations=order.organisations, days=order.days, start=order.start, end=end)
    started = time.perf_counter()
    with Progress(sys.stderr) as progress:
        is_earlier = walk.make(progress.show)
    if is_earlier:
        teller.say("made-earlier", folder=walk.output)
    else:
        teller.say("made", seconds=f"{time.perf_counter() - started:.1f}")
    for each in walk.world.organisations:
        title = each.title_zh if teller.language == "zh" else each.title_en
        teller.say("organisation", title=title, id=each.id, people=len(each.people), hosts=len(each.hosts))
    made = walk.made
    teller.say("events", records=f"{made.records:,}", files=f"{made.files:,}", size=f"{made.bytes / 1e6:.0f}")
    teller.say("truth", file=walk.output / TRUTH_FILE)


def _take_in(teller: _Teller, walk: Walk) -> None:
    """The logs come in."""
    teller.chapter("ingesting", rules=walk.rules)
    with Progress(sys.stderr) as progress:
        for name, summary in walk.take_in(progress.show):
            if not summary.events:
                teller.say("known", id=name)
                continue
            found = sum(summary.detections.values()) + summary.correlations
            teller.say(
                "taken", id=name, events=f"{summary.events:,}", seconds=f"{summary.seconds:.1f}", detections=found
            )
    outcome = walk.look_over()
    if outcome is not None:
        teller.say("looked-over", seconds=f"{outcome.seconds:.1f}", findings=outcome.findings.total())


def _notice(teller: _Teller, walk: Walk) -> None:
    """What rules saw on the way, and what behaves oddly."""
    found = walk.noticed()
    teller.chapter("noticed", count=len(found))
    rules: Counter[tuple[Level, str]] = Counter(
        (each.detection.level, title_in(each.detection, teller.language)) for each in found
    )
    ranked = sorted(rules.items(), key=lambda item: (-LEVELS.index(item[0][0]), -item[1], item[0][1]))
    for (level, title), count in ranked[:RULES_NAMED_MAX]:
        teller.line(f"  {count:5} × {teller.level(level)}: {title}")
    if len(ranked) > RULES_NAMED_MAX:
        teller.say("more", more=len(ranked) - RULES_NAMED_MAX)
    if found:
        teller.say("noticed-why", days=max(1, round(walk.order.days / len(found))))


def _receive(teller: _Teller, indicators: list[Indicator]) -> None:
    """Something becomes known."""
    teller.chapter("arriving")
    teller.say("arriving-why")
    for each in indicators:
        teller.say("indicator", kind=WORDS[teller.language].kinds[each.kind], value=each.value)
    teller.say("documentation")


def _hunt(teller: _Teller, walk: Walk, asked: IndicatorSet) -> Hunted:
    """All of the past is asked."""
    rows = live_segments(walk.workspace, walk.scope)
    teller.chapter("hunting", segments=f"{len(rows):,}", events=f"{sum(row.rows for row in rows):,}")
    hunted = walk.hunt(asked)
    teller.say("hunted", seconds=f"{hunted.seconds:.1f}", count=f"{hunted.count:,}")
    if hunted.first is None or not hunted.traces:
        teller.say("nowhere")
    else:
        arrived = walk.order.start + datetime.timedelta(days=walk.order.days)
        first = _day(hunted.traces[0].first_us)
        months = months_between(hunted.traces[0].first_us, arrived)
        teller.say("first", date=first, months=months, organisation=hunted.traces[0].organisation)
    seen = {trace.organisation: trace for trace in hunted.traces}
    for each in walk.world.organisations:
        trace = seen.get(each.id)
        if trace is None:
            teller.say("no-trace", organisation=each.id)
            continue
        named = ", ".join(filter(None, trace.hosts))
        teller.say(
            "trace", organisation=each.id, count=trace.count, first=_day(trace.first_us), last=_day(trace.last_us),
            hosts=teller.text("on-hosts", hosts=named) if named else "",
        )  # fmt: skip
    teller.say("coverage", sentence=sentence(hunted.answer, teller.language))
    return hunted


def _day(time_us: int) -> datetime.date:
    return datetime.date(1970, 1, 1) + datetime.timedelta(days=time_us // US_PER_DAY)


def _ask(teller: _Teller, walk: Walk, hunted: Hunted, indicators: list[Indicator]) -> list[tuple[Why, VerdictCard]]:
    """The card of the host where it began, then what follows from it."""
    teller.chapter("asking")
    teller.say("asking-own")
    answers: list[tuple[Why, VerdictCard]] = []
    words = WORDS[teller.language]
    for why, card in walk.ask_around(hunted, indicators, teller.language):
        if not answers:
            for line in lines(_shortened(card), teller.language):
                teller.line(f"  {line}" if line else "")
            teller.line("")
            teller.say("asking-more" if card.verdict == "foe" else "own")
        else:
            teller.say("answer", why=teller.text(why), sentence=card_sentence(card, words))
        answers.append((why, card))
    return answers


def _shortened(card: VerdictCard) -> VerdictCard:
    """The card with what weighs most of its timeline."""
    weighty = [step for step in card.timeline if step.kind in ("detection", "behaviour")]
    return replace(card, timeline=tuple(weighty[:STEPS_SHOWN]), timeline_left_out=0)


def _write(
    teller: _Teller, walk: Walk, hunted: Hunted, answers: list[tuple[Why, VerdictCard]], judgement: Judgement
) -> Path:
    """The story as pages."""
    page = walk.output / STORY_FILE
    for number, (_, card) in enumerate(answers, 1):
        with (walk.output / CARD_FILE.format(number=number)).open("w", encoding="utf-8", newline="") as stream:
            write_card(stream, card, teller.language)
    told = Told(
        made=walk.made,
        order=walk.order,
        organisations=tuple(
            (each.id, each.title_zh if teller.language == "zh" else each.title_en)
            for each in walk.world.organisations
        ),
        noticed=tuple((walk.name_of(each.organisation), each.detection) for each in walk.noticed()),
        traces=hunted.traces,
        coverage=sentence(hunted.answer, teller.language),
        answers=tuple(answers),
        judgement=judgement,
    )  # fmt: skip
    with page.open("w", encoding="utf-8", newline="") as stream:
        write_story(stream, told, teller.language)
    teller.chapter("page", uri=page.as_uri())
    return page


def _judge(teller: _Teller, walk: Walk, judgement: Judgement) -> None:
    """The truth is opened."""
    findings = sorted(judgement.findings, key=lambda finding: finding.time)
    teller.chapter("story", found=len(findings) - len(judgement.missed), steps=len(findings))
    titles = {each.name: each.title.zh if teller.language == "zh" else each.title.en for each in scripted()}
    for campaign in dict.fromkeys(finding.step.campaign for finding in findings):
        teller.say("campaign", title=titles[campaign])
        for finding in findings:
            if finding.step.campaign == campaign:
                _tell_step(teller, finding)
    wrong = judgement.detections - judgement.true_detections
    teller.line("")
    teller.say("mistakes", wrong=wrong, total=judgement.detections)
    for each in walk.world.organisations:
        count = judgement.false_by_organisation.get(each.id, 0)
        teller.say("mistakes-of", organisation=each.id, count=count, days=walk.order.days)
    unread, _ = walk.unread()
    damaged = sum(row.kind == "damaged" for row in read_truth(walk.output))
    teller.say("unread", count=len(unread), damaged=damaged)


def _tell_step(teller: _Teller, finding: Finding) -> None:
    step = finding.step
    title = step.title_zh if teller.language == "zh" else step.title_en
    who = ", ".join(filter(None, (step.organisation.partition(".")[0], finding.host, finding.account)))
    mark = "+" if finding.is_found else "-"
    teller.line(f"  {mark} {finding.time[:10]} {finding.time[11:16]}  {title}  [{step.technique}; {who}]")
    teller.line(f"        {how_found(finding, teller.language)}")


def _say_next(teller: _Teller, output: Path, hunted: Hunted, page: Path) -> None:
    command = shlex.quote(str(run)) if (run := Path(sys.prefix).parent / "run").is_file() else "mingjian"
    teller.chapter("next", folder=output.absolute())
    zero = hunted.patient_zero
    teller.line(f"  cd {shlex.quote(str(output))}")
    if zero is not None:
        teller.line(f"  {command} ask {shlex.quote(zero.value)}")
    teller.line(f"  {command} hunt 'CommandLine|contains=net.exe'")
    teller.line(f"  {command} brief --output brief.html")
    teller.line(f"  {command} serve")
    teller.line(f"  {command} ingest …    {command} rules add …    {command} intel add …")


def _serve(
    teller: _Teller, settings: Settings, sources: SourceBook, output: Path, port: int, organisation: str
) -> None:
    """The same as pages, until somebody ends it: where it is, how to get in, how to end it."""
    from mingjian import service

    with open_workspace(output) as workspace:
        # Else the first page would be looked at before the detections belong together.
        Keeper(workspace, sources, settings.cache_folder).step()
        try:
            taken = service.bound("127.0.0.1", port)
        except ConfigError:
            taken = service.bound("127.0.0.1", 0)
        place, link = service.address_of(taken), service.first_link(workspace, taken)

        def ready() -> None:
            teller.line("")
            teller.say("serving", address=place)
            if link is None:
                teller.say("signed-in-before")
            else:
                teller.say("sign-in", link=link.reveal())
            teller.say("to-end")

        order = service.Order(organisation=organisation)
        service.serve(workspace, settings, sources, taken, order, ready=ready, say=terminal.note)
        teller.say("ended", folder=output.absolute())

"""The story, walked through as somebody on duty would: logs come in, an indicator arrives, history is asked.

In: an order and a folder. Out: values for whoever tells the story: a terminal, a page, a test. Never: a look at the
truth before the end; whom to ask about follows from what was found. Every step may be repeated, also after an end in
between: what is there already is used.
"""

from __future__ import annotations

import datetime
import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa

from mingjian.data import STARTER_RULES
from mingjian.detect.engine import Engine
from mingjian.errors import ConfigError, StateError
from mingjian.hunt.answer import Answer
from mingjian.hunt.arrival import watch_live
from mingjian.hunt.behaviourruns import Outcome, is_due, run_behaviours
from mingjian.hunt.history import History
from mingjian.hunt.holes import holes
from mingjian.hunt.indicating import Hit, Lookout, question_about
from mingjian.hunt.ingest import Ingest, Summary
from mingjian.hunt.retro import Retro
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.indicators import Assumed, Indicator
from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind
from mingjian.sample.generate import (
    ARRIVING_FILE,
    LOGS_FOLDER,
    SECTOR_FILE,
    Made,
    Order,
    generate,
    read_sector,
    read_truth,
    world_of,
)
from mingjian.sample.judge import Judgement, judge
from mingjian.sample.world import World
from mingjian.settings import Language
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import VerdictCard
from mingjian.sources.definitions import SourceBook
from mingjian.sources.feeds import read_feed
from mingjian.store.catalogue import organisation_named, organisations, quarantined
from mingjian.store.detections import StoredDetection, detections
from mingjian.store.indicatormatching import IndicatorMatcher
from mingjian.store.indicators import IndicatorSet, add_set, indicators_of
from mingjian.store.indicatortables import ROW_SCHEMA
from mingjian.store.jobs import queue
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.sightings.delta import OVERLAP
from mingjian.store.sightings.live import open_index
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, create, open_workspace

SET_NAME: Final = "arriving"
"""The set of indicators that arrives."""
TOLD_BY: Final = "a partner"
"""Who says so."""
ASKED_MAX: Final = 12
"""About so many entities at most questions are asked."""
RARE: Final = 0.5
"""From here on something is rare enough to be asked about."""
UNREAD_MAX: Final = 10_000
"""So many records that could not be read are looked at."""

Progress = Callable[[int, int], None]
"""Called with bytes and events that are done."""
Why: TypeAlias = Literal["began", "arrived", "program", "host"]
"""What led to a question: it began there, it arrived as an indicator, a program that asked for it, a host of that."""


class Wrong(NamedTuple):
    """A record that could not be read."""

    file: str
    record: int
    reason: str


class Entity(NamedTuple):
    """Somebody or something to ask about."""

    kind: ObservableKind
    value: str


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What one organisation has of the indicators."""

    organisation: str
    count: int
    first_us: int
    last_us: int
    hosts: tuple[str, ...]
    """In order of their first hit, as the events name them."""
    months: dict[str, int]
    """How often in which month (``2026-03``), as far as events tell their time."""


_Months: TypeAlias = dict[OrganisationId, Counter[str]]


class Hunted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the hunt over all of history."""

    hits: tuple[StoredDetection, ...]
    """Events of the indicators in the order of time: those of the first day of each organisation, and the newest."""
    counted: tuple[Hit, ...]
    """Every observable that was seen of them, also those that a warning list knows."""
    traces: tuple[Trace, ...]
    """The organisation with the earliest hit first."""
    answer: Answer
    seconds: float

    @property
    def count(self) -> int:
        """How often they were seen, without what a warning list knows."""
        return sum(trace.count for trace in self.traces)

    @property
    def first(self) -> StoredDetection | None:
        """The earliest event."""
        return self.hits[0] if self.hits else None

    @property
    def patient_zero(self) -> Entity | None:
        """Where it began, as far as the hits tell: the host of the earliest event that has one with a name."""
        return next((host for each in self.hits if (host := _host_of(each.detection.host)).kind == "host"), None)


def _programs(card: VerdictCard) -> Iterator[Entity]:
    """The programs that hardly anybody has and that had to do with what a card is about."""
    for edge in card.graph.edges:
        node = card.graph.nodes[edge.end]
        if edge.start == 0 and node.kind == "file" and edge.rarity >= RARE:
            yield Entity(node.kind, node.value)


def _host_of(name: str) -> Entity:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        value = canonical("host", name)
        return Entity("host", value) if value else Entity("ip", "")
    return Entity("ip", canonical("ip", name) or name)


def _month(day: int) -> str:
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()[:7]


class Walk:
    """A walk through a sector. Use it as a context; its steps come in the order in which they stand here."""

    def __init__(
        self, order: Order, output: Path, *, sources: SourceBook, cache_folder: Path | None, jobs: int = 1
    ) -> None:
        """``output`` is filled, or was filled by an earlier walk with the same order."""
        self.order = order
        self.output = output.absolute()
        self.logs = str(self.output / LOGS_FOLDER)
        self.sources = sources
        self.cache_folder = cache_folder
        self.jobs = jobs
        self.scope = Scope.of_operator()
        self.made = Made()
        self._workspace: Workspace | None = None
        self._names: dict[OrganisationId, str] = {}

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        if self._workspace is not None:
            self._workspace.close()

    @property
    def workspace(self) -> Workspace:
        """Where everything is kept: the folder of the sector itself, made a workspace when it is first asked for."""
        if self._workspace is None:
            try:
                self._workspace = open_workspace(self.output)
            except StateError:
                self._workspace = create(self.output)
        return self._workspace

    @property
    def rules(self) -> int:
        """So many starter rules there are."""
        book = load_rulebook([STARTER_RULES], cache_folder=self.cache_folder, jobs=self.jobs)
        return len(book.rules) + len(book.correlations)

    @property
    def world(self) -> World:
        """Who lives in the sector."""
        return world_of(self.order)

    # --- the steps

    def make(self, progress: Progress = lambda size, records: None) -> bool:
        """Make the logs; say whether they were there already.

        Raises:
            ConfigError: the folder holds something else.
        """
        earlier = read_sector(self.output)
        if earlier is not None and earlier.order == self.order:
            self.made = earlier.made
            return True
        if earlier is not None or (self.output / SECTOR_FILE).exists():
            raise ConfigError("the folder holds other logs", where=str(self.output), hint="--output names another one")
        self.made = generate(self.order, self.output, jobs=self.jobs, progress=progress)
        return False

    def take_in(self, progress: Progress = lambda size, records: None) -> Iterator[tuple[str, Summary]]:
        """Take the logs in, one organisation after the other, with the starter rules run over them."""
        ids = [each.id for each in self.world.organisations]
        owners = [organisation_named(self.workspace, self.scope, name, make=True) for name in ids]
        self._names = {each.id: each.name for each in organisations(self.workspace, self.scope)}
        watch = watch_live(
            self.workspace, self.scope, starter=STARTER_RULES, cache_folder=self.cache_folder, jobs=self.jobs
        ).watch
        for name, owner in zip(ids, owners, strict=True):
            run = Ingest(
                self.workspace, self.scope, owner, watch, self.sources, jobs=self.jobs, progress=progress
            )  # fmt: skip
            yield name, run.run([str(Path(self.logs) / name)])

    def look_over(self) -> Outcome | None:
        """Look for behaviours in all that is kept; None if nothing is new since they were looked for."""
        if not is_due(self.workspace, self.scope):
            return None
        return run_behaviours(self.workspace, self.scope, self.sources)

    def noticed(self) -> list[StoredDetection]:
        """What rules and behaviours found before anything arrived, the oldest first."""
        found = detections(self.workspace, self.scope)
        return [each for each in reversed(found) if each.detection.kind != "indicator"]

    def name_of(self, organisation: OrganisationId) -> str:
        """The name of an organisation."""
        return self._names[organisation]

    def receive(self) -> tuple[IndicatorSet, list[Indicator]]:
        """Let the indicators arrive that become known only now; that makes them due to be hunted."""
        entries = [
            each
            for each in read_feed(str(self.output / ARRIVING_FILE), Assumed(source=TOLD_BY))
            if isinstance(each, Indicator)
        ]
        lists = WarningLists(cache_folder=self.cache_folder)
        added = add_set(self.workspace, self.scope, SET_NAME, entries, source=TOLD_BY, lists=lists)
        if added.how != "unchanged":
            queue(self.workspace, self.scope, "indicators", indicator_set_id=added.set.id)
        return added.set, entries

    def hunt(self, asked: IndicatorSet) -> Hunted:
        """Look for them in all of history."""
        started = time.perf_counter()
        Retro(self.workspace, self.scope, self.sources, self.cache_folder).run_pending()
        found = detections(self.workspace, self.scope)
        hits = [each for each in found if each.detection.kind == "indicator"]
        hits.sort(key=lambda each: (each.detection.time_us or 0, each.detection.file, each.detection.record))
        seconds = time.perf_counter() - started
        counted, months = self._counted(asked)
        kinds: set[ObservableKind] = {hit.kind for hit in counted} or {"domain"}
        question = question_about(self.workspace, self.scope, kinds, self.sources, None)
        window, missing = holes(self.workspace, self.scope, question)
        traces = tuple(self._traces(counted, hits, months))
        answer = Answer(found=sum(trace.count for trace in traces), window=window, holes=tuple(missing))
        return Hunted(hits=tuple(hits), counted=counted, traces=traces, answer=answer, seconds=seconds)

    def ask_around(
        self, hunted: Hunted, indicators: Iterable[Indicator], language: Language
    ) -> Iterator[tuple[Why, VerdictCard]]:
        """Ask about whatever the answers before lead to.

        Where it began, what arrived, the programs that had to do with it, the hosts that these were seen on, and the
        other hosts of the hits.
        """
        cards: dict[Entity, VerdictCard] = {}

        def asked(why: Why, entities: Iterable[Entity]) -> Iterator[tuple[Why, VerdictCard]]:
            for entity in entities:
                if entity.value and entity not in cards and len(cards) < ASKED_MAX:
                    cards[entity] = self.ask(entity, language)
                    yield why, cards[entity]

        zero = hunted.patient_zero
        yield from asked("began", [] if zero is None else [zero])
        arrived = [Entity(each.kind, each.value) for each in indicators]
        yield from asked("arrived", arrived)
        programs = [program for each in arrived if each in cards for program in _programs(cards[each])]
        yield from asked("program", programs)
        yield from asked("host", (_host_of(name) for each in programs if each in cards for name in cards[each].hosts))
        yield from asked("host", (_host_of(name) for trace in hunted.traces for name in trace.hosts if name))

    def ask(self, entity: Entity, language: Language) -> VerdictCard:
        """Ask who it is."""
        return ask(
            Question(
                self.workspace,
                self.scope,
                entity.kind,
                entity.value,
                self.sources,
                language,
                cache_folder=self.cache_folder,
            )
        )

    def judge(self, cards: Iterable[VerdictCard]) -> Judgement:
        """Hold everything that was found against the truth: now it may be looked at."""
        shown = ((step.evidence.file, step.evidence.record) for card in cards for step in card.timeline)
        every = (each.detection for each in detections(self.workspace, self.scope))
        return judge(every, read_truth(self.output), self.made.steps, self.logs, shown=shown)

    def unread(self) -> tuple[list[Wrong], int]:
        """What could not be read; and how many of these records the truth says were damaged."""
        prefix = self.logs.rstrip("/") + "/"
        damaged = {(row.file, row.record) for row in read_truth(self.output) if row.kind == "damaged"}
        kept = quarantined(self.workspace, self.scope, limit=UNREAD_MAX)
        wrong = [Wrong(each.item.file.removeprefix(prefix), each.item.record, each.item.reason) for each in kept]
        return wrong, sum((each.file, each.record) in damaged for each in wrong)

    # --- the work behind them

    def _counted(self, asked: IndicatorSet) -> tuple[tuple[Hit, ...], _Months]:
        tables = indicators_of(self.workspace, self.scope, asked.id)
        rows = pa.concat_tables([ROW_SCHEMA.empty_table(), *tables])
        matcher = IndicatorMatcher(rows, WarningLists(cache_folder=self.cache_folder), [asked.id])
        history = History(self.workspace, self.scope, Engine(()), self.sources)
        with closing(open_index(self.workspace, self.scope)) as index:
            found = Lookout(self.workspace, self.scope, index, matcher, history).look(with_events=False)
            months: _Months = {}
            for hit in found.hits:
                of_one = months.setdefault(hit.organisation, Counter())
                for sighting in () if hit.warning else index.lookup(*hit.observed, organisations=[hit.organisation]):
                    if sighting.day is not None and sighting.role != OVERLAP:
                        of_one[_month(sighting.day)] += sighting.count
        return tuple(found.hits), months

    def _traces(self, counted: Iterable[Hit], hits: Iterable[StoredDetection], months: _Months) -> Iterator[Trace]:
        """By organisation, that with the earliest hit first; what a warning list knows is left out."""
        of_each: dict[OrganisationId, list[Hit]] = {}
        for hit in counted:
            if not hit.warning and hit.first_us is not None:
                of_each.setdefault(hit.organisation, []).append(hit)
        ranked = sorted(of_each.items(), key=lambda item: min(hit.first_us or 0 for hit in item[1]))
        for organisation, several in ranked:
            hosts = (each.detection.host for each in hits if each.organisation == organisation)
            yield Trace(
                organisation=self.name_of(organisation),
                count=sum(hit.count for hit in several),
                first_us=min(hit.first_us or 0 for hit in several),
                last_us=max(hit.last_us or 0 for hit in several),
                hosts=tuple(dict.fromkeys(hosts)),
                months=dict(months[organisation]),
            )

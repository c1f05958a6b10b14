"""A whole detection run over files: plan, read, match, correlate, put in order, sum up."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

import msgspec

from mingjian.detect.correlation import CorrelationMatch, Correlator, Match, needed_fields
from mingjian.detect.engine import Engine
from mingjian.hunt import pool
from mingjian.hunt.ordering import Sorter
from mingjian.hunt.scan import Findings, Scanner
from mingjian.model.blocks import Quarantined
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS, Correlation, Level, Rule
from mingjian.sources import files
from mingjian.sources.router import Router

LISTED_RULES_MAX = 5
"""So many of the slowest and of the noisiest rules are named."""
LATENESS_S = 0.0
"""A run over files sorts all matches by event time before it correlates them: none is late."""


class Ranked(msgspec.Struct, frozen=True):
    """A rule and how much of something it had."""

    rule_id: str
    title: str
    amount: float


class Summary(msgspec.Struct, kw_only=True):
    """What a run amounts to."""

    files: int
    events: int = 0
    bytes: int = 0
    seconds: float = 0.0
    quarantined: int = 0
    rules_loaded: int = 0
    rules_skipped: int = 0
    """Documents that did not become a rule; whoever loaded the rules says so."""
    rules_fired: int = 0
    hits_by_level: dict[str, int] = {}
    events_by_stream: dict[str, int] = {}
    slowest: list[Ranked] = []
    """In seconds, summed over all processes."""
    noisiest: list[Ranked] = []
    """In matches."""
    correlations_skipped: list[str] = []
    """Correlations that cannot be run, each with the reason."""
    correlation_losses: dict[str, int] = {}
    """What a correlation had to leave out, by name; see the manual's page on correlations."""
    late_matches: int = 0
    """Matches that came too late to be correlated; none in a run over files, which sorts them."""
    untimed_matches: int = 0
    """Matches that could not be correlated because their event has no time."""


class _Found(msgspec.Struct, frozen=True):
    """A detection, and the place of its range among those of its file."""

    task: int
    part: int
    detection: Detection


class _Fed(msgspec.Struct, frozen=True):
    task: int
    part: int
    match: Match
    host: str
    account: str


Progress = Callable[[int, int], None]
"""Called with the bytes and the events read so far."""


class Run:
    """One detection run. Use ``execute`` once, then ``detections`` as often as wanted, then ``close``."""

    def __init__(
        self,
        rules: Sequence[Rule],
        correlations: Sequence[Correlation],
        engine: Engine,
        router: Router,
        *,
        level: Level = "informational",
        explain: bool = False,
        jobs: int = 1,
        on_quarantined: Callable[[Quarantined], None] = lambda entry: None,
    ) -> None:
        self._rules = {rule.id: rule for rule in rules}
        self._correlations = {correlation.id: correlation for correlation in correlations}
        self._lowest = LEVELS.index(level)
        self._jobs = jobs
        self._on_quarantined = on_quarantined
        self._scanner = Scanner(engine, router, wanted_fields=needed_fields(correlations), explain=explain)
        self._engine = engine
        self._explain = explain
        self._tasks: list[files.Task] = []
        self._found = Sorter(_Found, _order)
        self._fed = Sorter(_Fed, lambda fed: _place(fed.match.time_us, fed.match.file, fed.part, fed.match.record))
        self._quarantined: list[tuple[int, Quarantined]] = []
        self._seconds: Counter[int] = Counter()
        self._hits: Counter[str] = Counter()
        self._levels: Counter[str] = Counter()
        self._shifts: dict[int, int] = {}
        self.summary = Summary(files=0)

    def execute(self, paths: Sequence[str], progress: Progress = lambda bytes_read, events: None) -> Summary:
        """Read everything below the paths and match it."""
        started = time.perf_counter()
        found, missing = files.find(paths)
        self._tasks = files.plan(found, self._jobs)
        self.summary = Summary(files=len(found), rules_loaded=len(self._rules) + len(self._correlations))
        for entry in missing:
            self._quarantine(entry)
        lines: dict[int, int] = {}
        for answer in pool.run(self._tasks, self._jobs, self._scanner):
            if isinstance(answer, Findings):
                self._take(answer)
            else:
                lines[answer.task] = answer.lines
                self.summary.events += answer.events
                self.summary.bytes += answer.bytes
                progress(self.summary.bytes, self.summary.events)
        self._shifts = _shifts(self._tasks, lines)
        for task, entry in self._quarantined:
            self._quarantine(msgspec.structs.replace(entry, record=entry.record + self._shifts[task]))
        self._correlate()
        self._sum_up(time.perf_counter() - started)
        return self.summary

    def detections(self) -> Iterator[Detection]:
        """All detections, ordered by time (events without one last), file, record, rule."""
        for found in self._found:
            shift = self._shifts.get(found.task, 0)
            one = found.detection
            yield msgspec.structs.replace(one, record=one.record + shift) if shift else one

    def close(self) -> None:
        """Give temporary files back."""
        self._found.close()
        self._fed.close()

    def _take(self, findings: Findings) -> None:
        for task, match, host, account in findings.matches:
            self._fed.add(_Fed(task, self._tasks[task].part, match, host, account))
        for task, detection in findings.detections:
            self._keep(_Found(task, self._tasks[task].part, detection))
        self._quarantined += findings.quarantined
        self._seconds.update(findings.seconds_by_rule)
        streams = self.summary.events_by_stream
        for stream, count in findings.streams.items():
            streams[stream] = streams.get(stream, 0) + count

    def _keep(self, found: _Found) -> None:
        detection = found.detection
        if LEVELS.index(detection.level) >= self._lowest:
            self._found.add(found)
            self._hits[detection.rule_id] += 1
            self._levels[detection.level] += 1

    def _quarantine(self, entry: Quarantined) -> None:
        self.summary.quarantined += 1
        self._on_quarantined(entry)

    def _correlate(self) -> None:
        if not self._correlations:
            return
        correlator = Correlator(list(self._correlations.values()), lateness_s=LATENESS_S)
        found = [*correlator.feed(match for match, _, _ in self._matches()), *correlator.flush()]
        self.summary.correlations_skipped = [f"{each.correlation_id}: {each.reason}" for each in correlator.skipped]
        report = correlator.report()
        self.summary.correlation_losses = {
            f"{correlation}: {name}": count
            for correlation, losses in report.losses.items()
            for name, count in msgspec.structs.asdict(losses).items()
            if count
        }
        self.summary.untimed_matches = sum(report.undated.values())
        self.summary.late_matches = report.late
        who: dict[tuple[str, int], tuple[str, str]] = {}
        who.update(((each.completed_by.file, each.completed_by.record), ("", "")) for each in found)
        if who:
            for match, host, account in self._matches():
                if (match.file, match.record) in who:
                    who[match.file, match.record] = (host, account)
        for match in found:
            host, account = who[match.completed_by.file, match.completed_by.record]
            self._keep(_Found(-1, 0, self._detection_of(match, host, account)))

    def _matches(self) -> Iterator[tuple[Match, str, str]]:
        for fed in self._fed:
            shift = self._shifts.get(fed.task, 0)
            match = fed.match
            if shift:
                match = msgspec.structs.replace(match, record=match.record + shift)
            yield match, fed.host, fed.account

    def _detection_of(self, match: CorrelationMatch, host: str, account: str) -> Detection:
        atoms = tuple(f"{each.rule_id} at {each.file}:{each.record}" for each in match.events)
        return match.detection(
            self._correlations[match.correlation_id],
            file=match.completed_by.file,
            host=host,
            account=account,
            atoms=atoms if self._explain else (),
        )

    def _sum_up(self, seconds: float) -> None:
        summary = self.summary
        summary.seconds = seconds
        summary.rules_fired = len(self._hits)
        summary.hits_by_level = {level: self._levels[level] for level in reversed(LEVELS) if self._levels[level]}
        titles: Mapping[str, str] = {
            **{rule.id: rule.title for rule in self._rules.values()},
            **{correlation.id: correlation.title for correlation in self._correlations.values()},
        }
        spent: dict[str, float] = defaultdict(float)
        for index, cost in self._seconds.items():
            spent[self._engine.rules[index].id] += cost
        summary.slowest = _ranked(spent, titles)
        summary.noisiest = _ranked(self._hits, titles)


def _ranked(amounts: Mapping[str, float], titles: Mapping[str, str]) -> list[Ranked]:
    order = sorted(amounts.items(), key=lambda item: (-item[1], item[0]))
    return [Ranked(rule, titles.get(rule, rule), amount) for rule, amount in order[:LISTED_RULES_MAX]]


def _place(time_us: int | None, file: str, part: int, record: int) -> tuple[object, ...]:
    return (time_us is None, time_us or 0, file, part, record)


def _order(found: _Found) -> tuple[object, ...]:
    one = found.detection
    return (*_place(one.time_us, one.file, found.part, one.record), one.rule_id, sorted(one.matched.items()))


def _shifts(tasks: Sequence[files.Task], lines: Mapping[int, int]) -> dict[int, int]:
    """By how much the record numbers of each task have to be raised: the lines of the ranges before it."""
    by_file: dict[str, list[int]] = defaultdict(list)
    for number in sorted(range(len(tasks)), key=lambda number: tasks[number].part):
        by_file[tasks[number].file].append(number)
    shifts: dict[int, int] = {}
    for numbers in by_file.values():
        before = accumulate((lines.get(number, 0) for number in numbers), initial=0)
        shifts.update(zip(numbers, before, strict=False))
    return shifts

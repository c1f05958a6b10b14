"""A hunt on demand: rules over everything that the lake has, now, for whoever waits for the answer. Nothing is stored.

It finds what ``mingjian detect`` finds in the same events, correlations included, and says what it could not look at.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from mingjian.detect.correlation import needed_fields
from mingjian.detect.engine import Engine
from mingjian.errors import StorageError
from mingjian.hunt.answer import Answer
from mingjian.hunt.correlating import correlate, fed_order
from mingjian.hunt.detection import Ranked, Summary
from mingjian.hunt.history import Estimate, Fed, History
from mingjian.hunt.holes import Question, holes
from mingjian.hunt.ordering import Sorter
from mingjian.hunt.rulecheck import words
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS, And, Correlation, Expr, Level, LogSource, Not, Or, Rule
from mingjian.sources.definitions import SourceBook
from mingjian.store.catalogue import SegmentRow, live_segments
from mingjian.store.holes import streams_known
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.workspace import Workspace

NOISIEST_MAX = 5
"""So many of the rules with the most matches are named."""

Progress = Callable[[int, int], None]
"""Called with the bytes and the events of the segments that are done."""


class Hunt:
    """One hunt. Use ``execute`` once, then ``detections`` as often as wanted, then ``close``."""

    def __init__(
        self,
        workspace: Workspace,
        scope: Scope,
        rules: Sequence[Rule],
        correlations: Sequence[Correlation],
        engine: Engine,
        sources: SourceBook,
        *,
        organisation: OrganisationId | None = None,
        first_day: int | None = None,
        last_day: int | None = None,
        level: Level = "informational",
        explain: bool = False,
    ) -> None:
        """Take rules and ``engine`` over them. Days are since 1970, both ends included."""
        self._workspace = workspace
        self._scope = scope
        self._rules: dict[str, Rule | Correlation] = {each.id: each for each in (*rules, *correlations)}
        self._correlations = correlations
        self._organisation = organisation
        self._days = (first_day, last_day)
        self._explain = explain
        self._lowest = LEVELS.index(level)
        self._history = History(
            workspace, scope, engine, sources, wanted_fields=needed_fields(correlations), explain=explain
        )
        self._found = Sorter(Detection, _order)
        self._fed = Sorter(Fed, fed_order)
        self._hits: Counter[str] = Counter()
        self._levels: Counter[str] = Counter()
        self.rows: tuple[SegmentRow, ...] = tuple(
            live_segments(
                workspace,
                scope,
                organisation=organisation,
                first_day=first_day,
                last_day=last_day,
                newest_first=True,
            )
        )
        """The segments that are asked about, newest first."""
        self._looked_at: set[str] = set()
        self.damaged: list[SegmentRow] = []
        """Segments that could not be read: what is in them was not looked at."""
        self.summary = Summary(files=0)

    def estimate(self) -> Estimate:
        """Say what is about to be looked at."""
        return self._history.estimate(self.rows)

    def execute(self, progress: Progress = lambda bytes_done, events: None) -> Summary:
        """Look at everything.

        Raises:
            StorageError: the workspace cannot be read. (Single segments that cannot be are in ``damaged``.)
        """
        started = time.perf_counter()
        estimate = self.estimate()
        summary = self.summary = Summary(files=estimate.segments, events=estimate.rows, bytes=estimate.bytes)
        bytes_done = events_done = 0
        with self._workspace.reading():
            for row in estimate.candidates:
                self._scan(row)
                bytes_done += row.bytes
                events_done += row.rows
                progress(bytes_done, events_done)
        for row in self.rows:
            summary.events_by_stream[row.key.stream] = summary.events_by_stream.get(row.key.stream, 0) + row.rows
        self._correlate()
        summary.seconds = time.perf_counter() - started
        summary.rules_loaded = len(self._rules)
        summary.rules_fired = len(self._hits)
        summary.hits_by_level = {level: self._levels[level] for level in reversed(LEVELS) if self._levels[level]}
        most = sorted(self._hits.items(), key=lambda item: (-item[1], item[0]))[:NOISIEST_MAX]
        summary.noisiest = [Ranked(rule, self._rules[rule].title, count) for rule, count in most]
        return summary

    def detections(self) -> Iterator[Detection]:
        """All detections, ordered by time (events without one last), file, record, rule."""
        return iter(self._found)

    def answer(self) -> Answer:
        """What came of it, and what was out of sight."""
        logsources = {rule.logsource for rule in self._rules.values() if isinstance(rule, Rule)}
        question = question_about(self._workspace, self._scope, self._history, logsources, self._organisation)
        days = {"first_day": self._days[0], "last_day": self._days[1]}
        if logsources == {LogSource()} and not self._correlations:
            question = self._narrowed(question)
        question = msgspec.structs.replace(question, damaged=tuple(self.damaged), **days)
        window, found = holes(self._workspace, self._scope, question)
        return Answer(found=sum(self._hits.values()), window=window, holes=tuple(found))

    def _narrowed(self, question: Question) -> Question:
        """With an open log source, the streams that count are those that have what is asked about."""
        if self._looked_at:
            return msgspec.structs.replace(question, streams=frozenset(self._looked_at))
        fields = {field for rule in self._rules.values() if isinstance(rule, Rule) for field in fields_of(rule)}
        return msgspec.structs.replace(question, streams=frozenset[str](), fields=tuple(sorted(fields)))

    def close(self) -> None:
        """Give temporary files back."""
        self._found.close()
        self._fed.close()

    def _scan(self, row: SegmentRow) -> None:
        try:
            findings = self._history.scan(row)
        except StorageError:
            self.damaged.append(row)
            return
        if findings.rows:
            self._looked_at.add(row.key.stream)
        for found in findings.found:
            if self._is_asked(found.detection.time_us):
                self._keep(found.detection)
        for fed in findings.fed:
            if self._is_asked(fed.match.time_us):
                self._fed.add(fed)

    def _is_asked(self, time_us: int | None) -> bool:
        """Whether an event is of the days that are asked about: a segment may hold others, too."""
        first_day, last_day = self._days
        if time_us is None:
            return True
        day = time_us // US_PER_DAY
        return (first_day is None or day >= first_day) and (last_day is None or day <= last_day)

    def _correlate(self) -> None:
        outcome = correlate(self._correlations, lambda: self._fed, explain=self._explain)
        for found in outcome.found:
            self._keep(found.detection)
        self.summary.correlations_skipped = [f"{rule}: {reason}" for rule, reason in outcome.skipped.items()]
        self.summary.correlation_losses = outcome.losses
        self.summary.untimed_matches = outcome.untimed

    def _keep(self, detection: Detection) -> None:
        if LEVELS.index(detection.level) >= self._lowest:
            self._found.add(detection)
            self._hits[detection.rule_id] += 1
            self._levels[detection.level] += 1


def fields_of(rule: Rule) -> set[str]:
    """The fields that a rule asks about."""
    found: set[str] = set()
    pending: list[Expr] = [rule.condition]
    while pending:
        match pending.pop():
            case And(items) | Or(items):
                pending += items
            case Not(item):
                pending.append(item)
            case atom:
                if atom.field is not None:
                    found.add(atom.field)
    return found


def question_about(
    workspace: Workspace,
    scope: Scope,
    history: History,
    logsources: Collection[LogSource],
    organisation: OrganisationId | None = None,
) -> Question:
    """Which streams of the lake rules with these log sources look at, and which of the log sources no stream has."""
    names = streams_known(workspace, scope, organisation)
    fed = {wanted: {name for name in names if history.feeds(name, wanted)} for wanted in logsources}
    streams = frozenset[str]().union(*fed.values())
    return Question(
        streams=None if len(streams) == len(names) else streams,
        missing=tuple(sorted(words(wanted) for wanted, several in fed.items() if not several)),
        organisation=organisation,
    )


def _order(one: Detection) -> tuple[object, ...]:
    return (one.time_us is None, one.time_us or 0, one.file, one.record, one.rule_id, sorted(one.matched.items()))

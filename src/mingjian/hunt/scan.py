"""One process's share of a detection run: tasks in, detections out.

Records are collected per view until there are enough of them to be worth a look: the cost of a look hangs on the
number of distinct values and of views, hardly on the number of rows.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from mingjian.detect.correlation import Match
from mingjian.detect.engine import Engine, Reading
from mingjian.detect.leaves import leaves, text_of
from mingjian.detect.words import atom_in_words
from mingjian.model.blocks import Block, Quarantined
from mingjian.model.detections import Detection
from mingjian.model.sources import View
from mingjian.model.values import Missing, Record, Value
from mingjian.sources import files
from mingjian.sources.envelope import Envelope, envelope
from mingjian.sources.router import Router

LOOK_ROWS = 4096
"""A view is looked at when so many of its records are waiting …"""
WAITING_ROWS_MAX = 16_384
"""… or when so many of all views are: then the fullest views, until half of them is gone."""
FIRST_SHARE_MIN = 0.1
"""A view with a smaller share of the records does not decide what is decoded of all."""
FIRST_PATHS_MAX = 64
"""So many fields at most are decoded before anybody asks for them."""
MATCHED_CHARACTERS_MAX = 4096
"""So much of a value is put into a detection; the record has the rest."""


class JoinedBlock:
    """Records of one view out of several blocks, as one block."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.format = blocks[0].format
        self._blocks = blocks
        self._ends = list(accumulate(len(block.numbers) for block in blocks))
        self.asked: dict[str, None] = {}
        """The paths that were asked for in most of the records."""
        self.needles: Sequence[str] | None = None
        """What the records were last sieved by."""
        self.numbers: Sequence[int] = [number for block in blocks for number in block.numbers]

    def locate(self, row: int) -> tuple[int, int]:
        """Which of the blocks a row is of, and its index there."""
        index = bisect_right(self._ends, row)
        return index, row - (self._ends[index - 1] if index else 0)

    def column(self, path: str) -> Sequence[Value | Missing]:
        """The value at one dotted path for every record."""
        return [value for block in self._blocks for value in block.column(path)]

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        """Several columns at once."""
        if rows is None or 2 * len(rows) > len(self.numbers):
            self.asked.update(dict.fromkeys(paths))
        parts = [block.columns(paths, inner) for block, inner in self._shares(rows) if inner is None or inner]
        return [[value for part in parts for value in part[place]] for place in range(len(paths))]

    def _shares(self, rows: Sequence[int] | None) -> list[tuple[Block, list[int] | None]]:
        """Which rows of which block these rows (in rising order) are; None for all of them."""
        if rows is None:
            return [(block, None) for block in self._blocks]
        shares: list[tuple[Block, list[int] | None]] = []
        start = done = 0
        for block, end in zip(self._blocks, self._ends, strict=True):
            until = bisect_left(rows, end, done)
            shares.append((block, [row - start for row in rows[done:until]]))
            start, done = end, until
        return shares

    def record(self, row: int) -> Record:
        """One whole record."""
        index, inner = self.locate(row)
        return self._blocks[index].record(inner)

    def raw(self, row: int) -> bytes:
        """The bytes the record was made of."""
        index, inner = self.locate(row)
        return self._blocks[index].raw(inner)

    def take(self, rows: Sequence[int]) -> Block:
        """A block of some of the records, in rising order."""
        return JoinedBlock([block.take(inner) for block, inner in self._shares(rows) if inner])

    def containing(self, needles: Sequence[str]) -> Sequence[int] | None:
        """Rows that may hold a needle; None if some block cannot tell."""
        self.needles = needles
        found: list[int] = []
        start = 0
        for block in self._blocks:
            part = block.containing(needles)
            if part is None:
                return None
            found += [start + row for row in part]
            start += len(block.numbers)
        return found


class Findings(msgspec.Struct):
    """What came out of some tasks. Record numbers of ranges count from the start of the range."""

    detections: list[tuple[int, Detection]] = []
    """With the number of the task that each is from."""
    matches: list[tuple[int, Match, str, str]] = []
    """For correlations, with task, host and account."""
    quarantined: list[tuple[int, Quarantined]] = []
    streams: dict[str, int] = {}
    """Events by stream."""
    seconds_by_rule: dict[int, float] = {}


class Finished(msgspec.Struct, frozen=True):
    """A task has been read to its end. (Its last records may still be waiting for a look.)"""

    task: int
    lines: int
    bytes: int
    events: int


class _Event(NamedTuple):
    """An event that some rule matched."""

    view: View
    record: Record
    about: Envelope
    reading: Reading
    task: int
    file: str
    number: int


class _Waiting:
    """Blocks of one view that have not been looked at."""

    def __init__(self) -> None:
        self.tasks: list[int] = []
        self.files: list[str] = []
        self.blocks: list[Block] = []
        self.rows = 0

    def add(self, task: int, file: str, block: Block) -> None:
        self.tasks.append(task)
        self.files.append(file)
        self.blocks.append(block)
        self.rows += len(block.numbers)


class Scanner:
    """Reads tasks and collects what the rules find in them."""

    def __init__(
        self,
        engine: Engine,
        router: Router,
        *,
        wanted_fields: Mapping[str, Sequence[str]],
        explain: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine = engine
        self._router = router
        self._wanted_fields = wanted_fields
        self._explain = explain
        self._clock = clock
        self._waiting: dict[View, _Waiting] = {}
        self._rows = 0
        self._findings = Findings()
        self._asked: dict[View, dict[str, None]] = {}
        self._needles: dict[View, Sequence[str]] = {}

    def read(self, number: int, task: files.Task) -> Finished:
        """Read one task."""
        counts = files.Counts()
        events = 0
        for file, found in files.read(task, counts, self._first_paths):
            if isinstance(found, Quarantined):
                self._findings.quarantined.append((number, found))
            else:
                events += len(found.numbers)
                self._take(number, file, found)
        return Finished(number, counts.lines, counts.bytes, events)

    def _first_paths(self, sample: Block) -> tuple[str, ...]:
        """What is worth decoding in the first pass: what routing looks at, and what was asked of such views before."""
        wanted: dict[str, None] = {}
        for portion in self._router.route(sample):
            if portion.rows is None or len(portion.rows) >= FIRST_SHARE_MIN * len(sample.numbers):
                wanted.update(self._asked.get(portion.view, {}))
        return tuple(dict.fromkeys((*self._router.paths(sample.format), *wanted)))[:FIRST_PATHS_MAX]

    def finish(self) -> None:
        """Look at everything that is still waiting."""
        for view in list(self._waiting):
            self._look(view)

    def take_findings(self) -> Findings:
        """Hand over what was found since the last time."""
        findings, self._findings = self._findings, Findings()
        return findings

    def _take(self, number: int, file: str, block: Block) -> None:
        for portion in self._router.route(block):
            waiting = self._waiting.setdefault(portion.view, _Waiting())
            taken = block if portion.rows is None else block.take(portion.rows)
            needles = self._needles.get(portion.view)
            if needles is not None:
                # The bytes were looked at a moment ago: sieving them now is quicker than when they are cold.
                taken.containing(needles)
            waiting.add(number, file, taken)
            self._rows += len(taken.numbers)
            if waiting.rows >= LOOK_ROWS:
                self._look(portion.view)
        if self._rows > WAITING_ROWS_MAX:
            for view in sorted(self._waiting, key=lambda view: -self._waiting[view].rows):
                self._look(view)
                if self._rows <= WAITING_ROWS_MAX // 2:
                    break

    def _look(self, view: View) -> None:
        waiting = self._waiting.pop(view)
        self._rows -= waiting.rows
        stream = view.stream.name
        self._findings.streams[stream] = self._findings.streams.get(stream, 0) + waiting.rows
        block = JoinedBlock(waiting.blocks)
        matches = self._engine.match(view, block, clock=self._clock, costs=self._findings.seconds_by_rule)
        self._asked[view] = block.asked
        if block.needles is not None:
            self._needles[view] = block.needles
        events: dict[int, _Event] = {}
        for index, row in matches:
            event = events.get(row)
            if event is None:
                source, inner = block.locate(row)
                record = block.record(row)
                event = events[row] = _Event(
                    view=view,
                    record=record,
                    about=envelope(view, record),
                    reading=Reading(self._engine, view, record),
                    task=waiting.tasks[source],
                    file=waiting.files[source],
                    number=waiting.blocks[source].numbers[inner],
                )
            self._report(index, event)

    def _report(self, index: int, event: _Event) -> None:
        rule = self._engine.rules[index]
        view, record, about = event.view, event.record, event.about
        task, file, number = event.task, event.file, event.number
        wanted = self._wanted_fields.get(rule.id)
        if wanted is not None:
            values = tuple(tuple(map(text_of, leaves(view.value(record, field)))) for field in wanted)
            match = Match(about.time_us, rule.id, file, number, values)
            self._findings.matches.append((task, match, about.host, about.account))
        if rule.hidden:
            return
        evidence = self._engine.evidence(index, event.reading)
        self._findings.detections.append(
            (
                task,
                Detection(
                    time_us=about.time_us,
                    level=rule.level,
                    rule_id=rule.id,
                    rule_title=rule.title,
                    attack=rule.attack,
                    host=about.host,
                    account=about.account,
                    stream=view.stream.name,
                    file=file,
                    record=number,
                    matched={field: text[:MATCHED_CHARACTERS_MAX] for field, text in evidence.matched.items()},
                    atoms=tuple(map(atom_in_words, evidence.atoms)) if self._explain else (),
                ),
            )
        )

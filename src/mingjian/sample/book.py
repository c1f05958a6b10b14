"""The log files of one organisation on one day or some: lines brought into order, numbered, and damaged here and there.

Lines are handed in in any order within a slot of time and written when the slot is over, so that memory does not grow
with the day. What is planted, repeated or damaged is on record with the file and the line that it came to stand in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Literal, TypeAlias

import msgspec

from mingjian.sample.chance import Chance
from mingjian.sample.forwarding import wanted_of
from mingjian.sample.world import Outage

BENIGN: Final = 0
"""The mark of what belongs to everyday life. Everything else is the number of a planted act, from 1."""

REPEATED_EVERY: Final = 4_000
"""About one line in so many is written twice, as collectors do that lost an acknowledgement."""
DAMAGED_EVERY: Final = 12_000
"""About one line in so many cannot be read: torn off, or a run of zero bytes as after a power failure."""

DAMAGED: Final = -1
REPEATED: Final = -2
"""The marks of everyday lines that cannot be read, and of those that stand there once more."""

SWALLOWED: Final = 0
KEPT_BACK: Final = -1
"""In place of a record's number: an outage swallowed the line, or it is not among what is handed on."""

Entry: TypeAlias = "tuple[int, str, int]"
"""When it is written, the line, and the mark. (A tuple, because there are millions.)"""
Lane: TypeAlias = "list[Entry]"
"""What waits for one file; add to it, and to nothing else."""
Kind: TypeAlias = Literal["jsonl", "zeek", "auditd", "access", "syslog", "records"]


class Placed(msgspec.Struct, frozen=True, array_like=True):
    """A line that matters: where it stands, and why."""

    file: str
    record: int
    """The physical line from 1; in a document of records, the place among them from 1. ``SWALLOWED`` or ``KEPT_BACK``
    if it is not there."""
    time_us: int
    """When it was written."""
    mark: int
    """The number of the planted act, or ``DAMAGED`` or ``REPEATED``."""


class Counted(msgspec.Struct, frozen=True, array_like=True):
    """What a file holds."""

    file: str
    records: int
    """Damaged ones included."""
    repeated: int
    damaged: int


def _tear_json(line: str, chance: Chance) -> str:
    return line[: chance.between(20, max(21, len(line) - 2))]


def _tear_columns(line: str, chance: Chance) -> str:
    cells = line.split("\t")
    return "\t".join(cells[: chance.between(3, len(cells) - 2)])


def _tear_head(line: str, chance: Chance) -> str:
    """The end of a line whose beginning is lost."""
    return line[line.index(":") + 12 :]


def _tear_access(line: str, chance: Chance) -> str:
    return line[: chance.between(8, 20)]


def _zeros(line: str, chance: Chance) -> str:
    return "\0" * chance.between(60, 400)


_TEAR: Final[dict[Kind, Callable[[str, Chance], str] | None]] = {
    "jsonl": _tear_json,
    "zeek": _tear_columns,
    "auditd": _tear_head,
    "access": _tear_access,
    "syslog": _zeros,
    "records": None,  # one damaged record would take the rest of the document with it
}


class _File:
    """One file and the lines that wait for it."""

    def __init__(self, book: Book, name: str, kind: Kind, head: tuple[str, ...], tail: str, encoding: str) -> None:
        self.name = name
        self.lane: Lane = []
        self._kind: Kind = kind
        self._book = book
        self._encoding = encoding
        self._tail = tail
        self._lines = len(head)
        self._head_lines = len(head)
        self._repeated = 0
        self._damaged = 0
        self._chance = Chance("mistakes", book.name, name)
        self._until_repeated = int(self._chance.wait(REPEATED_EVERY))
        # The first lines are left alone: by them the format is known.
        self._until_damaged = 200 + int(self._chance.wait(DAMAGED_EVERY))
        self._stream: BinaryIO | None = None
        self._head = head
        source = name.split("/")[1] if "/" in name else name
        self._outages = tuple(outage for outage in book.outages if outage.source == source)
        self._is_whole = not book.is_forwarded
        self._wanted = wanted_of(name) if book.is_forwarded else None

    def write(self, until_us: int) -> None:
        """Write what is due, in order of time."""
        lane = self.lane
        lane.sort()
        due = len(lane) if not lane or lane[-1][0] < until_us else _first_from(lane, until_us)
        if not due:
            return
        entries = lane[:due]
        del lane[:due]
        if self._outages:
            entries = self._without_outages(entries)
        if not self._is_whole:
            entries = self._handed_on(entries)
        if not entries:
            return
        self._make_mistakes(entries)
        placed, number = self._book.placed, self._lines
        for place, (time_us, _, mark) in enumerate(entries, number + 1):
            if mark:
                placed.append(Placed(self.name, place, time_us, mark))
        self._lines += len(entries)
        self._out().write(("\n".join([line for _, line, _ in entries]) + "\n").encode(self._encoding))

    def close(self) -> Counted | None:
        """Finish the file; None if nothing was ever written to it."""
        if self._stream is None:
            return None
        if self._tail:
            self._stream.write(self._tail.encode(self._encoding))
        self._stream.close()
        return Counted(self.name, self._lines - self._head_lines, self._repeated, self._damaged)

    def _out(self) -> BinaryIO:
        if self._stream is None:
            path = self._book.folder / self.name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("wb")
            if self._head:
                self._stream.write(("\n".join(self._head) + "\n").encode(self._encoding))
        return self._stream

    def _without_outages(self, entries: list[Entry]) -> list[Entry]:
        """Leave out what nobody recorded; what was planted there is remembered as hidden."""
        kept: list[Entry] = []
        for entry in entries:
            if any(outage.from_us <= entry[0] < outage.until_us for outage in self._outages):
                if entry[2]:
                    self._book.placed.append(Placed(self.name, SWALLOWED, entry[0], entry[2]))
            else:
                kept.append(entry)
        return kept

    def _handed_on(self, entries: list[Entry]) -> list[Entry]:
        """Leave out what is not handed on; what was planted there is remembered."""
        wanted = self._wanted
        kept = [] if wanted is None else [entry for entry in entries if wanted(entry[1])]
        if len(kept) < len(entries) and any(entry[2] for entry in entries):
            there = {id(entry) for entry in kept}
            for entry in entries:
                if entry[2] and id(entry) not in there:
                    self._book.placed.append(Placed(self.name, KEPT_BACK, entry[0], entry[2]))
        return kept

    def _make_mistakes(self, entries: list[Entry]) -> None:
        tear = _TEAR[self._kind]
        place = self._until_repeated
        while place < len(entries) and tear is not None:
            time_us, line, mark = entries[place]
            entries.insert(place + 1, (time_us, line, mark or REPEATED))
            self._repeated += 1
            place += 2 + int(self._chance.wait(REPEATED_EVERY))
        self._until_repeated = place - len(entries)
        place = self._until_damaged
        while place < len(entries) and tear is not None:
            time_us, line, mark = entries[place]
            # What was planted stays whole, so that the truth about it stays exact.
            if mark == BENIGN:
                entries[place] = (time_us, tear(line, self._chance), DAMAGED)
                self._damaged += 1
            place += 1 + int(self._chance.wait(DAMAGED_EVERY))
        self._until_damaged = place - len(entries)


def _first_from(lane: Lane, until_us: int) -> int:
    """The place of the first entry that is not due yet, in a lane in order."""
    low, high = 0, len(lane)
    while low < high:
        middle = (low + high) // 2
        if lane[middle][0] < until_us:
            low = middle + 1
        else:
            high = middle
    return low


class Book:
    """All log files of one organisation on the days that share them. Use as a context: leaving it closes the files."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        finished_at_us: int,
        outages: Sequence[Outage] = (),
        is_forwarded: bool = False,
    ) -> None:
        self.folder = folder
        self.outages = outages
        self.is_forwarded = is_forwarded
        """Only what is handed on to a hub is written."""
        self.name = name
        """What makes its mistakes differ from those of other books."""
        self.placed: list[Placed] = []
        self.counted: list[Counted] = []
        self._finished_at_us = finished_at_us
        self._files: dict[str, _File] = {}
        self._records: dict[str, tuple[Callable[[int], str], Lane]] = {}

    def __enter__(self) -> Book:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            counted = file.close()
            if counted is not None:
                self.counted.append(counted)
                self._date(counted.file)
        self.counted.sort(key=lambda counted: counted.file)
        self.placed.sort(key=lambda placed: (placed.file, placed.record))

    def lane(
        self, name: str, kind: Kind, *, head: tuple[str, ...] = (), tail: str = "", encoding: str = "utf-8"
    ) -> Lane:
        """The lane of a file of lines, by its name below the folder."""
        file = self._files.get(name)
        if file is None:
            file = self._files[name] = _File(self, name, kind, head, tail, encoding)
        return file.lane

    def records_lane(self, name: str, file_of: Callable[[int], str]) -> Lane:
        """The lane of JSON documents ``{"Records": […]}``: each slot becomes a file, named by the slot's end."""
        if name not in self._records:
            self._records[name] = (file_of, [])
        return self._records[name][1]

    def write(self, until_us: int, *, lines_only: bool = False) -> None:
        """Write all that is due before a moment; with ``lines_only`` no document of records."""
        for file in self._files.values():
            file.write(until_us)
        for file_of, lane in () if lines_only else self._records.values():
            lane.sort()
            due = _first_from(lane, until_us)
            if due:
                entries = lane[:due]
                del lane[:due]
                self._write_records(file_of(until_us), entries)

    def _write_records(self, name: str, entries: list[Entry]) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(('{"Records":[' + ",".join([line for _, line, _ in entries]) + "]}").encode())
        self.counted.append(Counted(name, len(entries), 0, 0))
        for place, (time_us, _, mark) in enumerate(entries, 1):
            if mark:
                self.placed.append(Placed(name, place, time_us, mark))
        self._date(name)

    def _date(self, name: str) -> None:
        """A file is as old as its last line: by that, times without a year find theirs."""
        second = self._finished_at_us // 1_000_000
        os.utime(self.folder / name, (second, second))

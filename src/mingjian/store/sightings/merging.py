"""Merging index files: several become one, step by step, and nothing that was seen is lost or counted twice.

Files are merged by size, geometrically: as soon as ``MERGE_WIDTH`` files are about as large, they become one of the
next size. So there are few files however long the history, and a row is written again only as often as the history
doubles twice. With a steady inflow the sizes come to stand for some minutes, hours, days, months, and all time.

The caller decides when: it asks ``plan`` what should be merged, makes the ``Merge``, calls ``step`` as often as it
likes, and when that is done ``finish``; then it commits the new name in place of the old ones, all at once. Until then
the old files count, afterwards the new one does. A merge that was interrupted is gone on with by ``unfinished``.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import chain
from typing import Final, cast

import msgspec
import numpy as np

from mingjian.errors import StorageError
from mingjian.store.sightings.blocks import Kind, frames, unframed
from mingjian.store.sightings.delta import new_name
from mingjian.store.sightings.disk import Folder
from mingjian.store.sightings.layout import (
    ASIDE,
    GONE,
    PART,
    SUFFIX,
    Group,
    IndexFile,
    Place,
    Tables,
    segments_by_day,
    tables_of,
)
from mingjian.store.sightings.reading import IndexReader
from mingjian.store.sightings.rows import RANK_BITS, SEGMENTS_PER_DAY_MAX, Column, Rows, appended_rows, merged
from mingjian.store.sightings.writing import FileWriter

MERGE_WIDTH: Final = 4
"""So many files of about one size become one."""
MERGE_FILES_MAX: Final = 16
"""So many files are merged at once."""
SMALLEST_BYTES: Final = 1 << 20
"""All smaller files are taken for one size."""
GATHERED_ROWS_MIN: Final = 4_096
"""Smaller portions are put together."""
SYNC_BYTES: Final = 1 << 26
"""So much of an unfinished file may be lost in a power failure."""

Replaced = Mapping[int, "int | None"]
"""Segment → the one that has its events now, None if nobody has. Chains are followed."""
FindReplaced = Callable[[Sequence[int]], Replaced]
"""Says it for some segments, those of them that are no more."""


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Head of an unfinished file."""

    inputs: list[str]
    tables: str
    """Digest of the tables: numbers of groups and segments mean the same only with the same tables."""


def size_class(size_bytes: int) -> int:
    """In which of the geometric sizes a file is.

    >>> size_class(1000), size_class(2 << 20), size_class(5 << 20), size_class(1 << 30)
    (0, 1, 2, 6)
    """
    size, found = size_bytes // SMALLEST_BYTES, 0
    while size:
        size //= MERGE_WIDTH
        found += 1
    return found


def plan(files: Sequence[IndexFile]) -> tuple[IndexFile, ...]:
    """Which files should be merged now, smallest first; none if all is well.

    >>> file = IndexFile(name="a", size_bytes=9, values=1, rows=1, count=1, first_day=0, last_day=0, organisations=(1,),
    ...     content_hash=b"", canonical_version=1)
    >>> len(plan([file] * 3)), len(plan([file] * 4)), len(plan([file] * 40))
    (0, 4, 16)
    """
    classes: dict[int, list[IndexFile]] = {}
    for file in files:
        classes.setdefault(size_class(file.size_bytes), []).append(file)
    for _, members in sorted(classes.items()):
        if len(members) >= MERGE_WIDTH:
            return tuple(sorted(members, key=lambda file: (file.size_bytes, file.name))[:MERGE_FILES_MAX])
    return ()


def followed(replaced: Replaced, segment: int) -> int | None:
    """The segment that has the events of this one now.

    >>> followed({1: 2, 2: 5, 3: None}, 1), followed({1: 2, 2: 5, 3: None}, 3), followed({}, 4)
    (5, None, 4)
    """
    seen = {segment}
    while segment in replaced:
        after = replaced[segment]
        if after is None or after in seen:
            return None
        seen.add(after)
        segment = after
    return segment


def none_replaced(_: Sequence[int]) -> Replaced:
    """Say that all segments are what they were."""
    return {}


def replaced_in(readers: Sequence[IndexReader], replaced: FindReplaced) -> Replaced:
    """What became of the segments of some files."""
    ids = {segment for reader in readers for segment in cast("list[int]", reader.tables().segment_ids.tolist())}
    return replaced(sorted(ids))


def united(readers: Sequence[IndexReader], replaced: Replaced | None = None, *, with_segments: bool = True) -> Tables:
    """The tables of the outcome of a merge. Raises: LimitExceeded, StorageError."""
    replaced = replaced or {}
    groups: list[Group] = []
    units: dict[Place, int] = {}
    segments: dict[tuple[Place, int], set[int]] = {}
    if not with_segments:
        return tables_of((group for reader in readers for group in reader.groups), {}, {})
    for reader in readers:
        tables = reader.tables()
        groups += tables.groups
        for place, unit in tables.units_us.items():
            units[place] = min(unit, units.get(place, unit))
        for place_day, ids in segments_by_day(tables).items():
            segments.setdefault(place_day, set()).update(followed(replaced, segment) or GONE for segment in ids)
    return tables_of(groups, units, {place_day: sorted(ids) for place_day, ids in segments.items()})


class _Numbering:
    """How the numbers in the rows of one file become those of the merge."""

    def __init__(self, reader: IndexReader, tables: Tables, replaced: Replaced, with_segments: bool) -> None:
        numbers = {group: number for number, group in enumerate(tables.groups)}
        self._group: Column = np.array([numbers[group] for group in reader.groups], np.int64)
        self._with_segments = with_segments
        if not with_segments:
            return
        self._own = own = reader.tables()
        new = segments_by_day(tables)
        rank: list[int] = []
        for place_day, ids in segments_by_day(own).items():
            after = new[place_day]
            rank += [bisect_left(after, followed(replaced, segment) or GONE) for segment in ids]
        self._rank: Column = np.array(rank, np.int64)
        self._is_new_order = any(followed(replaced, segment) != segment for segment in own.segment_ids.tolist())

    def __call__(self, rows: Rows) -> Rows:
        if not self._with_segments:
            return replace(rows, group=self._group[rows.group])
        starts = self._own.segment_starts[self._own.segments_at(rows.group, rows.day)]
        ranks = self._rank[np.repeat(starts, rows.segments) + rows.ranks]
        segments = rows.segments
        if self._is_new_order:
            # Several segments may have become one.
            pairs = np.unique(np.repeat(np.arange(len(rows)), segments) << RANK_BITS | ranks)
            segments = np.bincount(pairs >> RANK_BITS, minlength=len(rows))
            ranks = pairs & (SEGMENTS_PER_DAY_MAX - 1)
        return replace(rows, group=self._group[rows.group], segments=segments, ranks=ranks)


def streamed(runs: Sequence[Iterator[Rows]], groups_together: int = 1) -> Iterator[Rows]:
    """Several runs, each in order and numbered by the same tables, as one. An entry comes whole, in one portion.

    ``groups_together``: so many groups whose numbers follow one another (0 to n - 1, n to 2n - 1 …) are not parted.
    """
    waiting: list[Rows | None] = [None] * len(runs)
    while True:
        for number, run in enumerate(runs):
            if waiting[number] is None:
                waiting[number] = next((rows for rows in run if len(rows)), None)
        there = [number for number, rows in enumerate(waiting) if rows is not None]
        if not there:
            return
        # As far as the run that has come least far, everything is known.
        key, group = min(_end(cast("Rows", waiting[number])) for number in there)
        group += groups_together - 1 - group % groups_together
        taken: list[Rows] = []
        for number in there:
            rows = cast("Rows", waiting[number])
            size = _until(rows, key, group)
            taken.append(rows.part(0, size))
            waiting[number] = rows.part(size, len(rows)) if size < len(rows) else None
        yield merged(taken)


def _end(rows: Rows) -> tuple[bytes, int]:
    return rows.keys[-1].as_py(), int(rows.group[-1])


def _until(rows: Rows, key: bytes, group: int) -> int:
    """How many rows are not behind a group of a key."""
    place = bisect_left(range(len(rows.keys)), key, key=lambda number: rows.keys[number].as_py())
    start, stop = np.searchsorted(rows.key, [place, place + 1]).tolist()
    if place == len(rows.keys) or rows.keys[place].as_py() != key:
        return start
    return start + int(np.searchsorted(rows.group[start:stop], group, side="right"))


def numbered(
    reader: IndexReader,
    tables: Tables,
    bounds: Sequence[tuple[int, int]],
    *,
    replaced: Replaced | None = None,
    with_segments: bool = True,
) -> Iterator[Rows]:
    """The rows of some stretches of values of a file, numbered by the tables of a merge."""
    numbering = _Numbering(reader, tables, replaced or {}, with_segments)
    portions = chain.from_iterable(reader.portions(start, stop, with_segments) for start, stop in bounds)
    # One long stretch comes in portions that are large enough.
    for rows in portions if len(bounds) == 1 else _gathered(portions):
        yield numbering(rows)


def _gathered(portions: Iterator[Rows]) -> Iterator[Rows]:
    """Small portions put together: whatever is done with one takes as long for a few rows as for some thousand."""
    waiting: list[Rows] = []
    size = 0
    for rows in portions:
        # Where a value goes on in the next portion, both have its key.
        if waiting and rows.keys[0].as_py() == waiting[-1].keys[-1].as_py():
            yield appended_rows(waiting)
            waiting, size = [], 0
        waiting.append(rows)
        size += len(rows)
        if size >= GATHERED_ROWS_MIN:
            yield appended_rows(waiting)
            waiting, size = [], 0
    if waiting:
        yield appended_rows(waiting)


class Merge:
    """One merge under way. Not shared between threads.

    All methods raise StorageError (a file is damaged or the disk fails: what was there still counts) and LimitExceeded.
    """

    def __init__(
        self,
        folder: Folder,
        inputs: Sequence[str],
        *,
        replaced: FindReplaced = none_replaced,
        name: str | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.name = name or new_name()
        self.values_done = 0
        self._readers = [IndexReader(folder, each, is_read_once=True) for each in inputs]
        self.values_total = sum(reader.footer.values for reader in self._readers)
        """At most: observables that are in several files are counted with each."""
        now = replaced_in(self._readers, replaced)
        tables = united(self._readers, now)
        plan = msgspec.json.encode(_Plan(inputs=list(inputs), tables=_digest(tables)))
        self._writer, done = FileWriter.resumed(folder, self.name, tables, plan)
        self._synced_bytes = self._writer.size_bytes
        starts = [reader.lower_bound(done) if done else 0 for reader in self._readers]
        self._portions = streamed(
            [
                numbered(reader, tables, [(start, reader.footer.values)], replaced=now)
                for reader, start in zip(self._readers, starts, strict=True)
            ]
        )

    def step(self) -> bool:
        """Merge some ten thousand rows. Returns whether there are more."""
        rows = next(self._portions, None)
        if rows is None:
            return False
        self._writer.add(rows)
        self.values_done += len(rows.keys)
        if self._writer.size_bytes - self._synced_bytes >= SYNC_BYTES:
            self._writer.sync()
            self._synced_bytes = self._writer.size_bytes
        return True

    def finish(self) -> IndexFile:
        """Do what is left. The caller then commits the new file in place of ``inputs``, and removes these."""
        try:
            while self.step():
                pass
            return self._writer.finish()
        finally:
            self.close()

    def close(self) -> None:
        """Stop here; ``unfinished`` goes on with it."""
        self._writer.close()
        for reader in self._readers:
            reader.close()


def merge(folder: Folder, inputs: Sequence[str], *, replaced: FindReplaced = none_replaced) -> IndexFile:
    """Merge files in one go."""
    return Merge(folder, inputs, replaced=replaced).finish()


def unfinished(folder: Folder, live: Collection[str], *, replaced: FindReplaced = none_replaced) -> Merge | None:
    """A merge of live files that was interrupted, to be gone on with; None if there is none."""
    for name in folder.names():
        inputs = _inputs_of(folder, name)
        if inputs and set(inputs) <= set(live):
            return Merge(folder, inputs, replaced=replaced, name=name.removesuffix(PART) + SUFFIX)
    return None


def _inputs_of(folder: Folder, name: str) -> list[str]:
    """Of what an unfinished file is made; nothing if that cannot be told, or somebody has finished it meanwhile."""
    if not name.endswith(PART):
        return []
    try:
        with closing(folder.read(name)) as file:
            data = next((data for _, data in frames(file)), b"")
            return msgspec.json.decode(unframed(data, Kind.PLAN, 0, name), type=_Plan).inputs
    except (StorageError, msgspec.MsgspecError):
        return []


def remove_strays(folder: Folder, live: Collection[str]) -> list[str]:
    """Remove every file that is not live, but for merges that can be gone on with. Returns their names.

    Only for the one process that writes, while it writes nothing: what is being written is not live yet.
    """
    kept = set(live)
    strays: list[str] = []
    for name in folder.names():
        inputs = _inputs_of(folder, name)
        if name in kept or (inputs and set(inputs) <= kept) or not name.endswith((SUFFIX, PART, ASIDE)):
            continue
        folder.remove(name)
        strays.append(name)
    return strays


def _digest(tables: Tables) -> str:
    digest = hashlib.blake2b(msgspec.json.encode(tables.data), digest_size=16)
    for column in (tables.segment_days, tables.segment_starts, tables.segment_ids):
        digest.update(column.tobytes())
    return digest.hexdigest()

"""Where in a file the values of a feed are, and what it says about them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from mingjian.store.sightings import bulk
from mingjian.store.sightings.blocks import TOTALLED_ROWS, VALUES_PER_BLOCK, ValueBlock
from mingjian.store.sightings.bulk import KeyColumn
from mingjian.store.sightings.columns import Column, Mask, plain
from mingjian.store.sightings.delta import OVERLAP
from mingjian.store.sightings.feeds import Feed, One
from mingjian.store.sightings.hashing import bytes_of
from mingjian.store.sightings.layout import Group
from mingjian.store.sightings.reading import CANDIDATES_MAX, IndexReader
from mingjian.store.sightings.rows import DAY_BITS, changes, ranges

HITS_AT_ONCE: Final = 1 << 16
"""So many values are looked up together; memory does not grow with the hits of a feed except by the result."""

BULK_MIN: Final = 32
"""So many values, or rows of so many entries, are looked at together rather than one after the other."""

NOTHING: Final = np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Entries:
    """Entries (an observable in one group) of one file that belong to needles; all columns but the last parallel."""

    needle: Column
    group: Column
    start: Column
    """The first row of each."""
    rows: Column
    totals: npt.NDArray[np.int64]
    """Count, first and last of those with at least ``TOTALLED_ROWS`` rows."""

    def of(self, wanted: Mask) -> Entries:
        """Some of the entries."""
        totals = self.totals[wanted[self.rows >= TOTALLED_ROWS]]
        return Entries(self.needle[wanted], self.group[wanted], self.start[wanted], self.rows[wanted], totals)


def entries_of(reader: IndexReader, feed: Feed | One, organisations: Collection[int] | None) -> Iterator[Entries]:
    """The entries of the needles that are in a file, some thousand values at a time."""
    if isinstance(feed, One):
        yield from _entries_of_one(reader, feed, organisations)
        return
    needles, ordinals = reader.candidates(feed.hashes)
    if len(needles) > CANDIDATES_MAX:
        needles, ordinals = _without_crowds(reader, feed, needles, ordinals)
    order = np.argsort(ordinals, kind="stable")
    for start in range(0, len(order), HITS_AT_ONCE):
        some = order[start : start + HITS_AT_ONCE]
        for each in _some_entries(reader, feed, needles[some], ordinals[some]):
            entries = _allowed(reader, each, organisations)
            if len(entries.needle):
                yield entries


def _some_entries(reader: IndexReader, feed: Feed, needles: Column, ordinals: Column) -> Iterator[Entries]:
    """The entries of those values (rising) whose keys are those of their needles: many at once, few one by one."""
    if len(needles) < BULK_MIN:
        yield _confirmed(reader, feed, needles, ordinals)
        return
    found, left = bulk.confirmed(reader, KeyColumn(*bytes_of(feed.keys(needles))), ordinals)
    yield Entries(needles[found.pair], found.group, found.start, found.rows, found.totals)
    if len(left):
        yield _confirmed(reader, feed, needles[left], ordinals[left])


def _allowed(reader: IndexReader, entries: Entries, organisations: Collection[int] | None) -> Entries:
    if organisations is None:
        return entries
    groups = reader.groups
    wanted = [groups[number].organisation in organisations for number in plain(entries.group)]
    return entries.of(np.array(wanted, bool))


def _entries_of_one(reader: IndexReader, one: One, organisations: Collection[int] | None) -> Iterator[Entries]:
    """The same for one value, which long columns would only make slower."""
    ordinals = reader.candidates_of(one.hash)
    if len(ordinals) > CANDIDATES_MAX:
        ordinals = [reader.lower_bound(one.bytes)]
    for ordinal in ordinals:
        number, place = divmod(ordinal, VALUES_PER_BLOCK)
        if ordinal >= reader.footer.values or (block := reader.value_block(number)).key(place) != one.bytes:
            continue
        # Nearly always each value has one entry.
        is_plain = len(block.group) == len(block.entries)
        low = place if is_plain else int(block.entries[:place].sum())
        high = low + (1 if is_plain else int(block.entries[place]))
        rows, before = block.rows[low:high], block.rows[:low]
        total = int(np.count_nonzero(before >= TOTALLED_ROWS))
        entries = Entries(
            np.zeros(high - low, np.int64),
            block.group[low:high],
            reader.row_of_block(number) + int(before.sum()) + np.cumsum(rows) - rows,
            rows,
            block.totals[total : total + int(np.count_nonzero(rows >= TOTALLED_ROWS))],
        )
        entries = _allowed(reader, entries, organisations)
        if len(entries.needle):
            yield entries


def _without_crowds(reader: IndexReader, feed: Feed, needles: Column, ordinals: Column) -> tuple[Column, Column]:
    """Values that share a hash with many others are looked up by their keys instead."""
    crowded, counts = np.unique(needles, return_counts=True)
    crowded = crowded[counts > CANDIDATES_MAX]
    if not len(crowded):
        return needles, ordinals
    found: list[tuple[int, int]] = []
    for needle in plain(crowded):
        key = feed.key(needle)
        ordinal = reader.lower_bound(key)
        if ordinal < reader.footer.values and reader.key(ordinal) == key:
            found.append((needle, ordinal))
    others = ~np.isin(needles, crowded)
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return np.concatenate((needles[others], pairs[:, 0])), np.concatenate((ordinals[others], pairs[:, 1]))


def _confirmed(reader: IndexReader, feed: Feed, needles: Column, ordinals: Column) -> Entries:
    """The entries of those values (rising) whose keys are those of their needles."""
    found: list[ValueBlock] = []
    first_rows: list[int] = []
    needle_of: list[int] = []
    value_of: list[int] = []
    numbers = ordinals // VALUES_PER_BLOCK
    places = plain(ordinals % VALUES_PER_BLOCK)
    listed = plain(needles)
    edges = plain(np.append(np.flatnonzero(np.diff(numbers, prepend=-1)), len(numbers)))
    distinct = numbers[edges[:-1]]
    reader.foresee_values(distinct)
    first_row_of = plain(reader.rows_of_blocks(distinct))
    done = 0
    for (low, high), number, first_row in zip(pairwise(edges), plain(distinct), first_row_of, strict=True):
        block = reader.value_block(number)
        same = [row for row in range(low, high) if block.key(places[row]) == feed.key(listed[row])]
        if same:
            found.append(block)
            first_rows.append(first_row)
            needle_of += [listed[row] for row in same]
            value_of += [done + places[row] for row in same]
            done += len(block.entries)
    if not found:
        return Entries(NOTHING, NOTHING, NOTHING, NOTHING, np.zeros((0, 3), np.int64))
    # All the blocks as one: a few operations on long columns instead of many on short ones.
    entries = np.concatenate([block.entries for block in found])
    group = np.concatenate([block.group for block in found])
    rows = np.concatenate([block.rows for block in found])
    block_of = np.repeat(np.arange(len(found)), [len(block.group) for block in found])
    before = np.cumsum(rows) - rows
    starts = before + (np.array(first_rows, np.int64) - before[np.flatnonzero(changes(block_of))])[block_of]
    value = np.array(value_of, np.int64)
    sizes = entries[value]
    entry = ranges((np.cumsum(entries) - entries)[value], sizes)
    is_large = rows >= TOTALLED_ROWS
    totals = np.concatenate([block.totals for block in found])[(np.cumsum(is_large) - 1)[entry[is_large[entry]]]]
    return Entries(np.repeat(np.array(needle_of, np.int64), sizes), group[entry], starts[entry], rows[entry], totals)


def totalled(reader: IndexReader, entries: Entries) -> tuple[Column, Column, Column]:
    """Count, first and last of every entry; of those with many rows without reading these."""
    small = np.flatnonzero(entries.rows < TOTALLED_ROWS)
    totals = np.empty((len(entries.rows), 3), np.int64)
    totals[entries.rows >= TOTALLED_ROWS] = entries.totals
    if len(small) >= BULK_MIN:
        columns = bulk.totalled(reader, entries.start[small], entries.rows[small], entries.group[small])
        totals[small] = np.stack(columns, axis=1)
    elif len(small):
        sizes = entries.rows[small]
        rows = reader.rows(entries.start[small], sizes, with_segments=False)
        first, last = reader.times(rows, np.repeat(entries.group[small], sizes))
        heads = np.cumsum(sizes) - sizes
        totals[small, 0] = np.add.reduceat(rows.count, heads)
        totals[small, 1] = np.minimum.reduceat(first, heads)
        totals[small, 2] = np.maximum.reduceat(last, heads)
    return totals[:, 0], totals[:, 1], totals[:, 2]


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows of one observable, with the segments themselves."""

    place: Column
    """Number of the group and, in the last ``DAY_BITS``, the day."""
    count: Column
    first: Column
    last: Column
    segments: Column
    """How many segments."""
    ids: Column


def seen(reader: IndexReader, entries: Entries, numbers: dict[Group, int], days: tuple[int, int] | None) -> Seen:
    """All rows of some entries, or those of some days. Groups get numbers as they come."""
    groups = [reader.groups[number] for number in plain(entries.group)]
    shown = np.array([place for place, group in enumerate(groups) if group.role != OVERLAP], np.int64)
    sizes = entries.rows[shown]
    rows = reader.rows(entries.start[shown], sizes)
    number = np.array([numbers.setdefault(groups[entry], len(numbers)) for entry in plain(shown)], np.int64)
    number, group = np.repeat(number, sizes), np.repeat(entries.group[shown], sizes)
    if days is not None:
        wanted = (rows.day >= days[0]) & (rows.day <= days[1])
        rows, number, group = rows.filtered(wanted), number[wanted], group[wanted]
    first, last = reader.times(rows, group)
    ids = reader.segment_ids(np.repeat(reader.segment_starts(group, rows.day), rows.segments) + rows.ranks)
    return Seen((number << DAY_BITS) | rows.day, rows.count, first, last, rows.segments, ids)

"""Many values of one file at once: of the blocks that hold them, only what is asked for is made into numbers.

A feed finds thousands of values, nearly each in a block of its own. To make all of a block into numbers costs many
times what is needed of it: so some hundred blocks are unpacked together, and a few operations go through the same
column of all of them. The answers are those of ``finding``, which takes one block after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mingjian.store.sightings import blocks
from mingjian.store.sightings.blocks import COUNTS_BYTES, SPARE_BYTES, TOTAL_BIASES, Packed, RowBlock, Unpacked, damaged
from mingjian.store.sightings.columns import Column, Mask, plain
from mingjian.store.sightings.reading import IndexReader
from mingjian.store.sightings.rows import changes, ranges

BLOCKS_AT_ONCE: Final = 256
"""So many blocks are unpacked together: what they hold then stays in the processor's cache."""
FORESEEN_PORTIONS: Final = 4
"""So many times as many blocks are announced to the disk at a time, before the ones before them are done with."""
THREAD_PORTIONS_MIN: Final = 4
"""For fewer portions it is not worth beginning a thread."""
PLACES_AT_ONCE: Final = 1024
"""So many stretches of columns are looked at together, each of which has at most ``SPARE_BYTES`` numbers."""
WIDTH_MAX: Final = 8
"""A number has no more bytes."""

_NOTHING: Final = np.zeros(0, np.int64)


class Confirmed(NamedTuple):
    """Entries of the values that are there; parallel but for the last column."""

    pair: Column
    """Which of the pairs that were asked about."""
    group: Column
    start: Column
    """The first row of each."""
    rows: Column
    totals: npt.NDArray[np.int64]
    """Count, first and last of those with at least ``TOTALLED_ROWS`` rows."""


NO_ENTRIES: Final = Confirmed(_NOTHING, _NOTHING, _NOTHING, _NOTHING, np.zeros((0, 3), np.int64))


class KeyColumn(NamedTuple):
    """Keys to be compared with: key ``i`` is ``data[offsets[i]:offsets[i + 1]]``."""

    data: npt.NDArray[np.uint8]
    offsets: Column


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The same column of some blocks: planes of bytes, the lowest first."""

    data: npt.NDArray[np.uint8]
    start: Column
    """Of each block, where the first plane begins."""
    width: Column
    """How many planes."""
    size: Column
    """How many numbers."""

    def at(self, block: Column, place: Column) -> Column:
        """Some of the numbers."""
        found = np.zeros(len(block), np.int64)
        width, size, start = self.width[block], self.size[block], self.start[block] + place
        for plane in range(_greatest(width)):
            has = _where(width > plane)
            found[has] |= self.data[start[has] + plane * size[has]].astype(np.int64) << (8 * plane)
        return found

    def sum_before(self, block: Column, place: Column) -> Column:
        """The sum of the numbers before a place, of several blocks and places."""
        found = np.zeros(len(block), np.int64)
        for plane, where, window in self._planes(block, place):
            found[where] += window.sum(axis=1, dtype=np.uint32).astype(np.int64) << (8 * plane)
        return found

    def count_before(self, block: Column, place: Column, least: int) -> Column:
        """How many of the numbers before a place are at least so great (1 to 255)."""
        found = np.zeros(len(block), np.int64)
        reaches = np.zeros((0, 0), bool)
        for plane, where, window in self._planes(block, place):
            # A number with anything in a higher plane is greater than that.
            if plane:
                reaches |= window > 0
            else:
                reaches = window >= least
            found[where] = np.count_nonzero(reaches, axis=1)
        return found

    def _planes(self, block: Column, place: Column) -> Iterator[tuple[int, slice, npt.NDArray[np.uint8]]]:
        """Some rows, and plane by plane a matrix of what stands before their places, then zeros."""
        for low in range(0, len(block), PLACES_AT_ONCE):
            some = slice(low, min(low + PLACES_AT_ONCE, len(block)))
            width, size, start = (column[block[some]] for column in (self.width, self.size, self.start))
            most = _greatest(place[some])
            if not most:
                continue
            windows = np.ndarray((len(self.data) - most + 1, most), np.uint8, self.data.data, strides=(1, 1))
            is_before = np.arange(most, dtype=np.int16) < place[some].astype(np.int16)[:, None]
            for plane in range(_greatest(width)):
                # Where there is no such plane, nothing stands in the matrix.
                has = width > plane
                window = windows[np.where(has, start + plane * size, 0)]
                yield plane, some, window * (is_before if has.all() else is_before & has[:, None])


def _where(wanted: Mask) -> Column | slice:
    """Which rows are wanted, as an index; that of all of them costs nothing."""
    return slice(None) if wanted.all() else np.flatnonzero(wanted)


def _greatest(column: Column) -> int:
    return int(column.max()) if len(column) else 0


class _Columns:
    """Takes one column after the other out of some blocks, all blocks at a time."""

    def __init__(self, data: npt.NDArray[np.uint8], starts: Column, ends: Column, where: str) -> None:
        self.data = data
        self._ends = ends
        self._where = where
        self.place = starts + COUNTS_BYTES
        """Of each block, where the next column begins."""
        self._check()

    def _check(self) -> None:
        if (self.place > self._ends).any():
            raise damaged("a block is shorter than it says", self._where)

    def column(self, size: Column) -> _Numbers:
        """The next column, of so many numbers in each block."""
        return self._column(size, np.ones(len(size), np.int64))

    def column_of_some(self, size: Column) -> _Numbers:
        """The next column, which is not there in blocks that would have no number in it."""
        return self._column(size, (size > 0).astype(np.int64))

    def _column(self, size: Column, head: Column) -> _Numbers:
        width = self.data[self.place] * head
        if _greatest(width) > WIDTH_MAX:
            raise damaged("a block is shorter than it says", self._where)
        found = _Numbers(self.data, self.place + head, width, size)
        self.place = self.place + head + width * size
        self._check()
        return found


def _counts(unpacked: Unpacked) -> tuple[Column, Column]:
    """The two numbers at the beginning of each block."""
    starts = unpacked.starts[:-1]
    bytes_ = unpacked.data[starts[:, None] + np.arange(COUNTS_BYTES)]
    both = np.ascontiguousarray(bytes_).view("<u4").astype(np.int64)
    return both[:, 0], both[:, 1]


class _Portion(NamedTuple):
    """Some of a row of pairs, each of which names its block."""

    low: int
    """From which to which."""
    high: int
    which: Column
    """For each pair, the place of its block among the unpacked ones."""
    numbers: Column
    """The distinct blocks."""
    unpacked: Unpacked


def _portions(
    numbers: Column, read: Callable[[Column], Packed], foresee: Callable[[Column], None]
) -> Iterator[_Portion]:
    """Cut pairs, none of which names a lower block than the pair before, into those of some blocks, and unpack these.

    If they are many, a thread unpacks the next ones while the caller looks at some.
    """
    is_new = changes(numbers)
    edges = plain(np.append(np.flatnonzero(is_new), len(numbers)))
    which = np.cumsum(is_new) - 1
    distinct = numbers[is_new]

    def portion(first: int, unpacked: Unpacked) -> _Portion:
        last = min(first + BLOCKS_AT_ONCE, len(distinct))
        low, high = edges[first], edges[last]
        return _Portion(low, high, which[low:high] - first, distinct[first:last], unpacked)

    firsts = range(0, len(distinct), BLOCKS_AT_ONCE)
    with ThreadPoolExecutor(1) if len(firsts) >= THREAD_PORTIONS_MIN else nullcontext() as pool:
        waiting: tuple[int, Callable[[], Unpacked]] | None = None
        for first in firsts:
            if first % (FORESEEN_PORTIONS * BLOCKS_AT_ONCE) == 0:
                end = first + 2 * FORESEEN_PORTIONS * BLOCKS_AT_ONCE
                foresee(distinct[(first + end) // 2 if first else 0 : end])
            packed = read(distinct[first : first + BLOCKS_AT_ONCE])
            following = first, pool.submit(packed.unpacked).result if pool else packed.unpacked
            if waiting is not None:
                yield portion(waiting[0], waiting[1]())
            waiting = following
        if waiting is not None:
            yield portion(waiting[0], waiting[1]())


def confirmed(reader: IndexReader, keys: KeyColumn, ordinals: Column) -> tuple[Confirmed, Column]:
    """The entries of those values (rising) that have the keys given, one key for each; the fields of both are pairs.

    Also the pairs of which this says nothing, for they are in blocks that are unusually long.
    """
    numbers, places = np.divmod(ordinals, blocks.VALUES_PER_BLOCK)
    found: list[Confirmed] = []
    left: list[Column] = [_NOTHING]
    for low, high, which, distinct, unpacked in _portions(numbers, reader.value_blocks, reader.foresee_values):
        size, entries_size = _counts(unpacked)
        is_short = np.maximum(size, entries_size) <= SPARE_BYTES
        pair = np.arange(low, high)
        if not is_short.all():
            left.append(pair[~is_short[which]])
            pair = pair[is_short[which]]
            which = (np.cumsum(is_short) - 1)[which[is_short[which]]]
        values = _Values(reader, unpacked, np.flatnonzero(is_short), size[is_short], entries_size[is_short])
        if (places[pair] >= values.size[which]).any():
            raise damaged("a bucket names a value that is not there", reader.name)
        same = values.have(which, places[pair], keys, pair)
        first_row = reader.rows_of_blocks(distinct)[is_short]
        found.append(values.entries(which[same], places[pair[same]], pair[same], first_row))
    return Confirmed(*(np.concatenate(column) for column in zip(NO_ENTRIES, *found, strict=True))), np.concatenate(left)


class _Values:
    """Some blocks of values."""

    def __init__(
        self, reader: IndexReader, unpacked: Unpacked, block: Column, size: Column, entries_size: Column
    ) -> None:
        """``block`` are those of the unpacked ones that it is about."""
        self.size = size
        starts, ends = unpacked.starts[block], unpacked.starts[block + 1]
        columns = _Columns(unpacked.data, starts, ends, reader.name)
        self._entries = columns.column(size)
        self._group = columns.column(entries_size)
        self._rows = columns.column(entries_size)
        self._least = blocks.TOTALLED_ROWS - 1
        totalled = self._rows.count_before(np.arange(len(block)), entries_size, self._least)
        self._totals = [columns.column_of_some(totalled) for _ in TOTAL_BIASES]
        self._lengths = columns.column(size)
        self._data, self._keys, self._ends, self._where = unpacked.data, columns.place, ends, reader.name

    def have(self, block: Column, place: Column, keys: KeyColumn, key: Column) -> Column:
        """Which of the values at some places of some blocks have the keys given."""
        start = self._keys[block] + self._lengths.sum_before(block, place)
        length = self._lengths.at(block, place)
        if (start + length > self._ends[block]).any():
            raise damaged("a block is shorter than it says", self._where)
        wanted = keys.offsets[key]
        same = np.flatnonzero((keys.offsets[key + 1] - wanted == length) & (length > 0))
        length = length[same]
        equal = self._data[ranges(start[same], length)] == keys.data[ranges(wanted[same], length)]
        return same[np.logical_and.reduceat(equal, np.cumsum(length) - length)] if len(same) else same

    def entries(self, block: Column, place: Column, pair: Column, first_row: Column) -> Confirmed:
        """The entries of the values at some places of some blocks; ``first_row`` of each block."""
        sizes = self._entries.at(block, place) + 1
        before = place + self._entries.sum_before(block, place)
        row = first_row[block] + before + self._rows.sum_before(block, before)
        total = self._rows.count_before(block, before, self._least)
        heads = np.cumsum(sizes) - sizes
        value = np.repeat(np.arange(len(block)), sizes)
        in_block, entry = block[value], ranges(before, sizes)
        rows = self._rows.at(in_block, entry) + 1
        large = np.flatnonzero(rows > self._least)
        totals = np.stack(
            [
                numbers.at(in_block[large], (total[value] + _counted_before(rows > self._least, heads, value))[large])
                - b
                for numbers, b in zip(self._totals, TOTAL_BIASES, strict=True)
            ],
            axis=1,
        )
        start = row[value] + _counted_before(rows, heads, value)
        return Confirmed(pair[value], self._group.at(in_block, entry), start, rows, totals)


def _counted_before(numbers: npt.NDArray[np.int64] | Mask, heads: Column, of: Column) -> Column:
    """The sum of the numbers before each one, from where its stretch begins."""
    before = np.cumsum(numbers) - numbers
    return before - before[heads][of]


def totalled(reader: IndexReader, start: Column, size: Column, group: Column) -> tuple[Column, Column, Column]:
    """Count, first and last of stretches of rows, each of one group and in the order of the file."""
    if int((start + size).max()) > reader.footer.rows:
        raise damaged("a value has rows that are not there", reader.name)
    # A stretch may go on in the next block.
    per_block = blocks.ROWS_PER_BLOCK
    first = start // per_block
    pieces = (start + size - 1) // per_block - first + 1
    number = ranges(first, pieces)
    stretch = np.repeat(np.arange(len(start)), pieces)
    low = np.maximum(start[stretch], number * per_block)
    high = np.minimum((start + size)[stretch], (number + 1) * per_block)
    place, rows = low - number * per_block, high - low
    parts = [
        _summed(reader, unpacked, which, place[a:b], rows[a:b], group[stretch[a:b]])
        for a, b, which, _, unpacked in _portions(number, reader.row_blocks, reader.foresee_rows)
    ]
    count, earliest, latest = (np.concatenate(column) for column in zip(*parts, strict=True))
    heads = np.flatnonzero(changes(stretch))
    return (
        np.add.reduceat(count, heads),
        np.minimum.reduceat(earliest, heads),
        np.maximum.reduceat(latest, heads),
    )


def _summed(
    reader: IndexReader, unpacked: Unpacked, block: Column, place: Column, size: Column, group: Column
) -> tuple[Column, Column, Column]:
    """Count, first and last of stretches of rows that each lie in one block."""
    many, lowest = _counts(unpacked)
    if (place + size > many[block]).any():
        raise damaged("a value has rows that are not there", reader.name)
    columns = _Columns(unpacked.data, unpacked.starts[:-1], unpacked.starts[1:], reader.name)
    days, counts, firsts = (columns.column(many) for _ in range(3))
    spans = columns.column(counts.count_before(np.arange(len(many)), many, 1))
    heads = np.cumsum(size) - size
    stretch = np.repeat(np.arange(len(block)), size)
    in_block, row = block[stretch], ranges(place, size)
    count = counts.at(in_block, row) + 1
    # Only rows of several events have a span.
    several = count > 1
    with_span = np.flatnonzero(several)
    number = counts.count_before(block, place, 1)[stretch] + _counted_before(several, heads, stretch)
    span = np.zeros(len(row), np.int64)
    span[with_span] = spans.at(in_block[with_span], number[with_span])
    nothing = np.zeros(len(row), np.int64)
    rows = RowBlock(lowest[in_block] + days.at(in_block, row), count, firsts.at(in_block, row), span, nothing, _NOTHING)
    first, last = reader.times(rows, group[stretch])
    return np.add.reduceat(count, heads), np.minimum.reduceat(first, heads), np.maximum.reduceat(last, heads)

"""Reading an index file: from hashes to values, from values to rows; every byte checked before it is believed.

A file is read with few small reads, so that one look-up on a cold disk costs some milliseconds. Blocks, pages of
sections and buckets are checked whenever they are read; of the hashes, which a large feed reads whole each time, each
bucket once per opening.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt

from mingjian.errors import StateError
from mingjian.model.observables import CANONICAL_VERSION
from mingjian.store.sightings import blocks, layout
from mingjian.store.sightings.blocks import (
    ROWS_PER_BLOCK,
    VALUES_PER_BLOCK,
    Kind,
    Packed,
    RowBlock,
    ValueBlock,
    damaged,
)
from mingjian.store.sightings.columns import appended
from mingjian.store.sightings.disk import Folder, Reading
from mingjian.store.sightings.hashing import Numbers
from mingjian.store.sightings.layout import Footer, Group, IndexFile, Section, Tables
from mingjian.store.sightings.rows import (
    DAY_BITS,
    DAY_US,
    EPOCH_DAY,
    NO_DAY,
    NO_FIRST,
    NO_LAST,
    Column,
    Rows,
    ranges,
)
from mingjian.store.sightings.writing import index_file

PAGES_KEPT_MAX: Final = 256
"""So many checked pages of each section stay in memory …"""
PAGE_BYTES: Final = 32 * 1024
"""… and each of them takes at most so much."""
BLOCKS_KEPT_MAX: Final = 192
"""So many unpacked blocks of each kind stay in memory: what is asked again is not unpacked again."""
BLOCK_BYTES: Final = 50 * 1024
"""About so much an unpacked block takes."""
READ_ONCE_MAX: Final = 4
"""Of a file that is read from one end to the other, so many pages of each section and blocks of each kind stay."""
READ_TOGETHER_BYTES: Final = 1 << 22
"""Hashes are read in pieces of at most about so many bytes."""
GAP_BYTES: Final = 65_536
"""Buckets that are no further apart are read together with what is between them."""
ORDINALS_GAP_BYTES: Final = 8_192
"""The same for what stands in buckets beside the hashes, of which most is not needed."""
PORTION_ROWS: Final = 16_384
"""A file is read through in portions of about so many rows: a merge holds one of each of its files, and several merges
are under way at a time."""

FORESEEN_MIN: Final = 16
"""So many blocks are announced to the disk before the first of them is read."""
CANDIDATES_MAX: Final = 8
"""If more values than this share a hash, somebody made them so; they are found by their keys instead."""

_HEAD_BYTES: Final = 16
"""So much of a block's first key stands in its section, filled up with zeros."""
_NOTHING: Final = np.zeros(0, np.int64)
_MASK_32: Final = np.uint64(0xFFFF_FFFF)
_T = TypeVar("_T")
_K = TypeVar("_K")


def _remembered(memory: dict[_K, _T], size_max: int, key: _K, make: Callable[[], _T]) -> _T:
    """Look something up in a bounded memory. Threads may do so at once: at worst something is made twice."""
    found = memory.get(key)
    if found is None:
        found = make()
        if len(memory) >= size_max:
            memory.clear()
        memory[key] = found
    return found


class _Bytes:
    """The bytes of an index file. Its end is read at once, for it is asked for in any case."""

    def __init__(self, file: Reading, where: str) -> None:
        self._file = file
        self._where = where
        self._tail_offset = max(0, file.size_bytes - layout.TAIL_BYTES)
        self.tail = file.read_at(self._tail_offset, file.size_bytes - self._tail_offset)

    def read(self, offset: int, size: int) -> bytes:
        """Some bytes. Raises: StorageError (they are not there)."""
        inside = offset - self._tail_offset
        if inside >= 0:
            data = self.tail[inside : inside + size]
            if len(data) < size:
                raise damaged("it is too short", self._where)
            return data
        return self._file.read_at(offset, size)


class _Pages:
    """A section of an index file."""

    def __init__(self, read: Callable[[int, int], bytes], section: Section, where: str, kept_max: int) -> None:
        self._read = read
        self._kept_max = kept_max
        self._section = section
        self._where = where
        self._kept: dict[int, Numbers] = {}
        self._checked: tuple[list[int], Numbers] | None = None

    def __len__(self) -> int:
        return self._section.items

    @property
    def kept(self) -> int:
        """So many pages are in memory."""
        return len(self._kept)

    def forget(self) -> None:
        """Keep none of them any more."""
        self._kept.clear()

    def _checks(self) -> tuple[list[int], Numbers]:
        """Checksum and first number of each page. One of two threads may read it in vain."""
        if self._checked is None:
            section = self._section
            pages = -(-section.items // layout.PAGE_ITEMS)
            data = self._read(section.offset + 8 * section.width * section.items, 16 * pages)
            if zlib.crc32(data) != section.checksum:
                raise damaged("the checksums of a section are not as they were written", self._where)
            checks = np.frombuffer(data, "<u8").reshape(-1, 2)
            self._checked = (checks[:, 0].tolist(), checks[:, 1].copy())
        return self._checked

    def page(self, number: int) -> Numbers:
        """One page, checked."""
        return _remembered(self._kept, self._kept_max, number, lambda: self._page(number))

    def _page(self, number: int) -> Numbers:
        section = self._section
        checksums = self._checks()[0]
        first = number * layout.PAGE_ITEMS
        items = min(layout.PAGE_ITEMS, section.items - first)
        size = 8 * section.width
        data = self._read(section.offset + first * size, items * size)
        if zlib.crc32(data) != checksums[number]:
            raise damaged(f"page {number} of a section is not as it was written", self._where)
        return np.frombuffer(data, "<u8").reshape(-1, section.width)

    def item(self, number: int) -> list[int]:
        """One item."""
        page, place = divmod(number, layout.PAGE_ITEMS)
        return cast("list[int]", self.page(page)[place].tolist())

    def pair(self, number: int) -> list[list[int]]:
        """One item and the one behind it."""
        page, place = divmod(number, layout.PAGE_ITEMS)
        if place + 1 < layout.PAGE_ITEMS:
            return cast("list[list[int]]", self.page(page)[place : place + 2].tolist())
        return [self.item(number), self.item(number + 1)]

    def slice(self, start: int, stop: int) -> Numbers:
        """The items from ``start`` to ``stop``."""
        if start >= stop:
            return np.zeros((0, self._section.width), np.uint64)
        first, last = start // layout.PAGE_ITEMS, (stop - 1) // layout.PAGE_ITEMS
        skipped = first * layout.PAGE_ITEMS
        pages = [self.page(number) for number in range(first, last + 1)]
        together = pages[0] if len(pages) == 1 else np.concatenate(pages)
        return together[start - skipped : stop - skipped]

    def take(self, numbers: Column) -> Numbers:
        """Some items, in the order asked for."""
        pages, places = np.divmod(numbers, layout.PAGE_ITEMS)
        if len(pages) and int(pages.min()) == int(pages.max()):
            return self.page(int(pages[0]))[places]
        found = np.empty((len(numbers), self._section.width), np.uint64)
        for page in np.unique(pages).tolist():
            rows = np.flatnonzero(pages == page)
            found[rows] = self.page(page)[places[rows]]
        return found

    def search(self, numbers: Numbers) -> Column:
        """Where each number is, or would be, among the first numbers of all items, which rise."""
        firsts = self._checks()[1]
        pages = np.maximum(np.searchsorted(firsts, numbers, side="right") - 1, 0)
        found = np.zeros(len(numbers), np.int64)
        if not len(self) or not len(numbers):
            return found
        if int(pages.min()) == int(pages.max()):
            page = int(pages[0])
            return page * layout.PAGE_ITEMS + np.searchsorted(self.page(page)[:, 0], numbers)
        for page in np.unique(pages).tolist():
            rows = np.flatnonzero(pages == page)
            inside = np.searchsorted(self.page(page)[:, 0], numbers[rows])
            found[rows] = page * layout.PAGE_ITEMS + inside
        return found


class IndexReader:
    """An open index file. May be shared by threads. The file may be removed meanwhile.

    Raises: StorageError (there is no such file, or it is damaged), StateError (written by another version).
    """

    def __init__(self, folder: Folder, name: str, *, is_read_once: bool = False) -> None:
        """``is_read_once``: from one end to the other, so that hardly anything has to stay in memory."""
        self.name = name
        self._blocks_max = READ_ONCE_MAX if is_read_once else BLOCKS_KEPT_MAX
        pages_max = READ_ONCE_MAX if is_read_once else PAGES_KEPT_MAX
        self._file: Reading = folder.read(name)
        # By itself, so that nothing points back at the reader: then all that it holds goes the moment it goes.
        self._bytes = _Bytes(self._file, name)
        self.footer, self._footer_data = self._opened()
        footer = self.footer
        self._buckets, self._value_blocks, self._row_blocks, self._days, self._starts, self._ids = (
            _Pages(self._bytes.read, section, name, pages_max)
            for section in (
                footer.buckets,
                footer.value_blocks,
                footer.row_blocks,
                footer.segment_days,
                footer.segment_starts,
                footer.segment_ids,
            )
        )
        self._checked_buckets = bytearray(1 << footer.bucket_bits)
        self._kept_heads: dict[int, list[bytes]] = {}
        self._kept_values: dict[int, ValueBlock] = {}
        self._kept_rows: dict[tuple[int, bool], RowBlock] = {}

    def _opened(self) -> tuple[Footer, bytes]:
        tail, trailer = self._bytes.tail, layout.TRAILER
        if len(tail) < trailer.size:
            raise damaged("it is too short", self.name)
        size, checksum, magic = trailer.unpack_from(tail, len(tail) - trailer.size)
        if magic != layout.MAGIC or not 0 < size <= min(layout.FOOTER_BYTES_MAX, len(tail) - trailer.size):
            raise damaged("it does not end as it should", self.name)
        data = tail[-trailer.size - size : -trailer.size]
        if zlib.crc32(data) != checksum:
            raise damaged("its footer is not as it was written", self.name)
        try:
            footer = msgspec.json.decode(data, type=Footer)
        except msgspec.MsgspecError as error:
            raise StateError(
                "this version cannot read it", where=self.name, hint="mingjian doctor --rebuild-sightings"
            ) from error
        if footer.format != layout.FORMAT_VERSION or footer.canonical != CANONICAL_VERSION:
            raise StateError(
                f"has format {footer.format} and canonical forms {footer.canonical}, "
                f"not {layout.FORMAT_VERSION} and {CANONICAL_VERSION}",
                where=self.name,
                hint="mingjian doctor --rebuild-sightings",
            )
        if footer.segment_ids.end != self._file.size_bytes - trailer.size - size:
            raise damaged("it is not as long as it was", self.name)
        return footer, data

    def _read(self, offset: int, size: int) -> bytes:
        return self._bytes.read(offset, size)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def kept_bytes(self) -> int:
        """About how much of the file is in memory."""
        pages = sum(each.kept for each in self._sections()) + 2 * len(self._kept_heads)
        return PAGE_BYTES * pages + BLOCK_BYTES * (len(self._kept_values) + len(self._kept_rows))

    def forget(self) -> None:
        """Keep none of it any more."""
        for each in self._sections():
            each.forget()
        for kept in (self._kept_heads, self._kept_values, self._kept_rows):
            kept.clear()

    def _sections(self) -> tuple[_Pages, ...]:
        return (self._buckets, self._value_blocks, self._row_blocks, self._days, self._starts, self._ids)

    @cached_property
    def content_hash(self) -> bytes:
        """What the catalogue knows the file by."""
        return layout.content_hash(self._footer_data)

    @cached_property
    def info(self) -> IndexFile:
        """What the catalogue needs to know."""
        return index_file(self.name, self._file.size_bytes, self.footer, self._footer_data, self._table_data.places)

    @cached_property
    def _table_data(self) -> layout.TableData:
        data = self._read(self.footer.tables_offset, self.footer.tables_bytes)
        data = blocks.unframed(data, Kind.TABLES, 0, self.name)
        return msgspec.json.decode(data, type=layout.TableData)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The groups of the file, in order."""
        places = self._table_data.places
        return tuple(Group(*places[place], role) for place, role in self._table_data.groups)

    @cached_property
    def unit_of_group(self) -> Column:
        """Unit of each group's times, microseconds."""
        return np.array(self._table_data.units_us, np.int64)[self._place_of_group]

    @cached_property
    def _place_of_group(self) -> Column:
        return np.array([place for place, _ in self._table_data.groups], np.int64)

    def tables(self) -> Tables:
        """All tables, in memory: for a merge."""
        data = self._table_data
        return Tables(
            groups=self.groups,
            units_us=dict(zip(data.places, data.units_us, strict=True)),
            segment_days=self._days.slice(0, len(self._days))[:, 0].astype(np.int64),
            segment_starts=self._starts.slice(0, len(self._starts))[:, 0].astype(np.int64),
            segment_ids=np.ascontiguousarray(self._ids.slice(0, len(self._ids))[:, 0]).view(np.int64),
        )

    def segment_starts(self, group: Column, day: Column) -> Column:
        """Where the segments of each row's place and day begin."""
        numbers = (self._place_of_group[group] << DAY_BITS) | day
        places = self._days.search(numbers.astype(np.uint64))
        if len(places) and (
            int(places.max()) >= len(self._days) or (self._days.take(places)[:, 0].astype(np.int64) != numbers).any()
        ):
            raise damaged("a row has a day that its tables do not have", self.name)
        return self._starts.take(places)[:, 0].astype(np.int64)

    def segment_ids(self, places: Column) -> Column:
        """The segments at some places of the table."""
        if len(places) and int(places.max()) >= len(self._ids):
            raise damaged("a row has a segment that its tables do not have", self.name)
        return np.ascontiguousarray(self._ids.take(places)[:, 0]).view(np.int64)

    def check_sections(self) -> None:
        """Read every page and every bucket. Raises: StorageError."""
        for pages in self._sections():
            for number in range(-(-len(pages) // layout.PAGE_ITEMS)):
                pages.page(number)
        done = 0
        for bucket in range(1 << self.footer.bucket_bits):
            first, place, ordinals_place, checksums = self._buckets.item(bucket)
            size = 4 * (self._buckets.item(bucket + 1)[0] - first)
            for offset, checksum in ((place, checksums >> 32), (ordinals_place, checksums & 0xFFFF_FFFF)):
                if zlib.crc32(self._read(offset, size)) != checksum:
                    raise damaged(f"bucket {bucket} is not as it was written", self.name)
            done += size // 4
        if done != self.footer.values:
            raise damaged("its buckets do not hold as much as it says", self.name)

    # --- from hashes to values -------------------------------------------------------------------------------------

    def candidates(self, hashes: Numbers) -> tuple[Column, Column]:
        """Which of some hashes (rising) are here, and the value that has each; both as many as there are pairs.

        Of the values that share one hash, at most ``CANDIDATES_MAX + 1`` are given. A few values are given that only
        share most of a hash: the caller compares keys.
        """
        bits = self.footer.bucket_bits
        if not len(hashes) or not self.footer.values:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        numbers = (hashes >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(hashes), np.int64)
        wanted = ((hashes >> np.uint64(32 - bits)) & _MASK_32).astype(np.uint32)
        edges = np.flatnonzero(np.diff(numbers, prepend=-1))
        buckets = numbers[edges]
        starts = np.append(edges, len(numbers))
        rows = np.stack((self._buckets.take(buckets)[:, 0], self._buckets.take(buckets + 1)[:, 0]), axis=1)
        places = self._buckets.take(buckets)[:, 1].astype(np.int64)
        sizes = 4 * (rows[:, 1] - rows[:, 0]).astype(np.int64)
        found: list[tuple[Column, Column, Column]] = []
        for low, high, data, offsets in self._hashes(places, sizes):
            self._check_hashes(data, buckets[low:high], offsets, sizes[low:high])
            first, stop = int(starts[low]), int(starts[high])
            needles, inside = _matches(
                np.frombuffer(data, "<u4"),
                offsets // 4,
                sizes[low:high] // 4,
                wanted[first:stop],
                starts[low : high + 1] - first,
            )
            if len(needles):
                bucket = low + np.searchsorted(starts[low : high + 1] - first, needles, side="right") - 1
                within = inside - offsets[bucket - low] // 4
                found.append((needles + first, buckets[bucket], within))
        if not found:
            return _NOTHING, _NOTHING
        needles, of_bucket, within = (np.concatenate(column) for column in zip(*found, strict=True))
        return needles, self._ordinals(of_bucket, within)

    def _hashes(self, places: Column, sizes: Column) -> Iterator[tuple[int, int, bytes, Column]]:
        """The hashes of some buckets: of which ones, their bytes, and where in these each begins.

        Many at a time: to go on with those of a single piece takes longer than to read it.
        """
        pieces = list(_together(places, sizes, GAP_BYTES))
        ends = places + sizes
        self._foresee([(int(places[low]), int(ends[high - 1])) for low, high in pieces])
        read: list[bytes] = []
        moved: list[int] = []
        first = size = 0
        for low, high in pieces:
            start = int(places[low])
            read.append(self._read(start, int(ends[high - 1]) - start))
            moved += [size - start] * (high - low)
            size += len(read[-1])
            if size >= READ_TOGETHER_BYTES or high == len(places):
                data = read[0] if len(read) == 1 else b"".join(read)
                yield first, high, data, places[first:high] + np.array(moved, np.int64)
                read, moved, first, size = [], [], high, 0

    def candidates_of(self, number: int) -> list[int]:
        """The same for one hash, sooner: the values that have it."""
        bits = self.footer.bucket_bits
        if not self.footer.values:
            return []
        bucket = number >> (64 - bits)
        (first, place, ordinals_place, checksums), behind = self._buckets.pair(bucket)
        size = 4 * (behind[0] - first)
        data = self._read(place, size)
        if zlib.crc32(data) != checksums >> 32:
            raise damaged(f"bucket {bucket} is not as it was written", self.name)
        hashes = np.frombuffer(data, "<u4")
        wanted = np.uint32((number >> (32 - bits)) & 0xFFFF_FFFF)
        low = int(np.searchsorted(hashes, wanted))
        high = low
        while high < len(hashes) and hashes[high] == wanted and high - low <= CANDIDATES_MAX:
            high += 1
        if low == high:
            return []
        data = self._read(ordinals_place, size)
        if zlib.crc32(data) != checksums & 0xFFFF_FFFF:
            raise damaged(f"bucket {bucket} is not as it was written", self.name)
        ordinals = cast("list[int]", np.frombuffer(data, "<u4")[low:high].tolist())
        if max(ordinals) >= self.footer.values:
            raise damaged("a bucket names a value that is not there", self.name)
        return ordinals

    def _check_hashes(self, data: bytes, buckets: Column, offsets: Column, sizes: Column) -> None:
        checked = self._checked_buckets
        view = memoryview(data)
        unchecked = [i for i, bucket in enumerate(buckets.tolist()) if not checked[bucket]]
        if not unchecked:
            return
        rows = np.array(unchecked)
        checksums = (self._buckets.take(buckets[rows])[:, 3] >> np.uint64(32)).tolist()
        parts = zip(buckets[rows].tolist(), offsets[rows].tolist(), sizes[rows].tolist(), checksums, strict=True)
        for bucket, offset, size, checksum in parts:
            if zlib.crc32(view[offset : offset + size]) != checksum:
                raise damaged(f"bucket {bucket} is not as it was written", self.name)
            checked[bucket] = 1

    def _ordinals(self, buckets: Column, within: Column) -> Column:
        """The values at some places of some buckets, which rise."""
        found = np.empty(len(buckets), np.int64)
        edges = np.append(np.flatnonzero(np.diff(buckets, prepend=-1)), len(buckets))
        distinct = buckets[edges[:-1]]
        heads, ends = self._buckets.take(distinct), self._buckets.take(distinct + 1)
        places, sizes = heads[:, 2].astype(np.int64), 4 * (ends[:, 0] - heads[:, 0]).astype(np.int64)
        checksums = (heads[:, 3] & _MASK_32).tolist()
        pieces = list(_together(places, sizes, ORDINALS_GAP_BYTES))
        self._foresee([(int(places[low]), int(places[high - 1] + sizes[high - 1])) for low, high in pieces])
        for low, high in pieces:
            start = int(places[low])
            data = self._read(start, int(places[high - 1] + sizes[high - 1]) - start)
            view, offsets = memoryview(data), places[low:high] - start
            parts = zip(offsets.tolist(), sizes[low:high].tolist(), checksums[low:high], strict=True)
            for place, (offset, size, checksum) in enumerate(parts, low):
                if zlib.crc32(view[offset : offset + size]) != checksum:
                    raise damaged(f"bucket {distinct[place]} is not as it was written", self.name)
            some = slice(int(edges[low]), int(edges[high]))
            inside = np.repeat(offsets // 4, np.diff(edges[low : high + 1])) + within[some]
            found[some] = np.frombuffer(data, "<u4")[inside]
        if len(found) and int(found.max()) >= self.footer.values:
            raise damaged("a bucket names a value that is not there", self.name)
        return found

    # --- blocks ----------------------------------------------------------------------------------------------------

    def _block(self, kind: Kind, number: int, place: int) -> bytes:
        return blocks.unframed(self._read(place >> 26, place & layout.PACKED_BYTES_MAX), kind, number, self.name)

    def foresee_values(self, numbers: Column) -> None:
        """Say that some blocks of values are about to be asked for."""
        self._foresee_blocks(self._value_blocks, numbers)

    def foresee_rows(self, numbers: Column) -> None:
        """The same for rows."""
        self._foresee_blocks(self._row_blocks, numbers)

    def _foresee_blocks(self, pages: _Pages, numbers: Column) -> None:
        if len(numbers) < FORESEEN_MIN:
            return
        places = cast("list[int]", pages.take(numbers)[:, 0].tolist())
        self._foresee([(place >> 26, (place >> 26) + (place & layout.PACKED_BYTES_MAX)) for place in places])

    def _foresee(self, stretches: Sequence[tuple[int, int]]) -> None:
        """Let the disk begin with some stretches: read one by one, each would be waited for."""
        if len(stretches) >= FORESEEN_MIN:
            self._file.foresee(stretches)

    def value_blocks(self, numbers: Column) -> Packed:
        """Some blocks of values, rising. Raises: StorageError."""
        return self._blocks(self._value_blocks, Kind.VALUES, numbers)

    def row_blocks(self, numbers: Column) -> Packed:
        """Some blocks of rows, rising. Raises: StorageError."""
        return self._blocks(self._row_blocks, Kind.ROWS, numbers)

    def _blocks(self, pages: _Pages, kind: Kind, numbers: Column) -> Packed:
        places = cast("list[int]", pages.take(numbers)[:, 0].tolist())
        read, size = self._file.read_at, layout.PACKED_BYTES_MAX
        frames = [read(place >> 26, place & size) for place in places]
        return blocks.checked(frames, kind, numbers, self.name)

    def value_block(self, number: int) -> ValueBlock:
        """One block of values. Raises: StorageError."""
        return _remembered(self._kept_values, self._blocks_max, number, lambda: self._value_block(number))

    def _value_block(self, number: int) -> ValueBlock:
        place = self._value_blocks.item(number)[0]
        return blocks.unpack_values(self._block(Kind.VALUES, number, place), self.name)

    def _row_block(self, number: int, with_segments: bool) -> RowBlock:
        place = self._row_blocks.item(number)[0]
        data = self._block(Kind.ROWS, number, place)
        return blocks.unpack_rows(data, self.name, with_segments=with_segments)

    def _kept_row_block(self, number: int, with_segments: bool) -> RowBlock:
        if not with_segments and (whole := self._kept_rows.get((number, True))) is not None:
            return whole.without_segments()
        return _remembered(
            self._kept_rows,
            self._blocks_max,
            (number, with_segments),
            lambda: self._row_block(number, with_segments),
        )

    def row_of_block(self, number: int) -> int:
        """The first row of a block of values, or of what would come behind the last one."""
        return self._value_blocks.item(number)[1] if number < len(self._value_blocks) else self.footer.rows

    def rows_of_blocks(self, numbers: Column) -> Column:
        """The first rows of some blocks of values."""
        return self._value_blocks.take(numbers)[:, 1].astype(np.int64)

    def rows(self, starts: Column, counts: Column, *, with_segments: bool = True) -> RowBlock:
        """The rows of several ranges, one range behind the other; without segments, as if they had none."""
        if not len(starts):
            return RowBlock(*(np.zeros(0, np.int64) for _ in RowBlock.__slots__))
        if int((starts + counts).max()) > self.footer.rows:
            raise damaged("a value has rows that are not there", self.name)
        first, end = int(starts[0]), int(starts[-1] + counts[-1])
        is_one_piece = end - first == int(counts.sum()) and not (starts[1:] < starts[:-1]).any()
        wanted = _NOTHING if is_one_piece else ranges(starts, counts)
        if is_one_piece:
            numbers = np.arange(first // ROWS_PER_BLOCK, -(-end // ROWS_PER_BLOCK))
        else:
            numbers = np.unique(wanted // ROWS_PER_BLOCK)
        self.foresee_rows(numbers)
        parts = [self._kept_row_block(number, with_segments) for number in cast("list[int]", numbers.tolist())]
        whole = parts[0]
        if len(parts) > 1:
            whole = RowBlock(*(np.concatenate([getattr(p, name) for p in parts]) for name in RowBlock.__slots__))
        if is_one_piece:
            start = first % ROWS_PER_BLOCK
            return whole.part(start, start + end - first)
        inside = np.searchsorted(numbers, wanted // ROWS_PER_BLOCK) * ROWS_PER_BLOCK + wanted % ROWS_PER_BLOCK
        return whole.taken(inside)

    def times(self, rows: RowBlock, group: Column) -> tuple[Column, Column]:
        """First and last of some rows, in microseconds since 1970, from the units of their groups."""
        unit = self.unit_of_group[group]
        dated = rows.day != NO_DAY
        first = (rows.day - EPOCH_DAY) * DAY_US + rows.first * unit
        return np.where(dated, first, NO_FIRST), np.where(dated, first + rows.span * unit, NO_LAST)

    # --- in order --------------------------------------------------------------------------------------------------

    def key(self, ordinal: int) -> bytes:
        """The key of one value."""
        return self.value_block(ordinal // VALUES_PER_BLOCK).key(ordinal % VALUES_PER_BLOCK)

    def lower_bound(self, key: bytes) -> int:
        """How many values have keys before this one."""
        head = key[:_HEAD_BYTES].ljust(_HEAD_BYTES, b"\0")
        # Heads are cut off: equal ones decide nothing.
        alike = range(self._blocks_before(head, bisect_left), self._blocks_before(head, bisect_right))
        before = alike.start + bisect_left(alike, key, key=lambda number: self.value_block(number).key(0))
        if not before:
            return 0
        block = self.value_block(before - 1)
        return (before - 1) * VALUES_PER_BLOCK + bisect_left(range(len(block.entries)), key, key=block.key)

    def bounds(self, low: bytes, high: bytes) -> tuple[int, int]:
        """Where the values with keys from ``low`` up to before ``high`` begin and end."""
        start = self.lower_bound(low)
        number, place = divmod(start, VALUES_PER_BLOCK)
        if place:
            # Mostly few values are between them: then the end is in the block that has just been looked at.
            block = self.value_block(number)
            end = bisect_left(range(len(block.entries)), high, place, key=block.key)
            if end < len(block.entries):
                return start, number * VALUES_PER_BLOCK + end
        return start, self.lower_bound(high)

    def _blocks_before(self, head: bytes, bisect: Callable[..., int]) -> int:
        """How many blocks of values have heads before this one (``bisect_left``) or not after it (``bisect_right``)."""
        pages = range(-(-len(self._value_blocks) // layout.PAGE_ITEMS))
        if not pages:
            return 0

        def first(page: int) -> bytes:
            return self._heads(page)[0]

        page = max(0, bisect(pages, head, key=first) - 1)
        return page * layout.PAGE_ITEMS + bisect(self._heads(page), head)

    def _heads(self, page: int) -> list[bytes]:
        """How the first keys of some blocks begin."""
        return _remembered(self._kept_heads, PAGES_KEPT_MAX, page, lambda: self._read_heads(page))

    def _read_heads(self, page: int) -> list[bytes]:
        data = self._value_blocks.page(page)[:, 2:].astype(">u8").tobytes()
        return [data[place : place + _HEAD_BYTES] for place in range(0, len(data), _HEAD_BYTES)]

    def portions(self, start: int, stop: int, with_segments: bool = True) -> Iterator[Rows]:
        """The rows of the values from ``start`` to ``stop``, in portions that end where an entry ends."""
        number = start // VALUES_PER_BLOCK
        # Where a few values begin has just been looked up. What reads a whole file would only push out what is asked.
        read = self.value_block if stop - start <= VALUES_PER_BLOCK else self._value_block
        while number * VALUES_PER_BLOCK < stop:
            parts: list[tuple[int, ValueBlock]] = []
            size = 0
            while number * VALUES_PER_BLOCK < stop and size < PORTION_ROWS:
                block = read(number)
                parts.append((number, block))
                size += int(block.rows.sum())
                number += 1
            yield from self._portion(parts, start, stop, with_segments)

    def _portion(
        self, parts: list[tuple[int, ValueBlock]], start: int, stop: int, with_segments: bool
    ) -> Iterator[Rows]:
        first_block = parts[0][0]
        keys = appended([block.keys() for _, block in parts])
        entries = np.concatenate([block.entries for _, block in parts])
        group = np.concatenate([block.group for _, block in parts])
        sizes = np.concatenate([block.rows for _, block in parts])
        low = max(0, start - first_block * VALUES_PER_BLOCK)
        high = min(len(entries), stop - first_block * VALUES_PER_BLOCK)
        entry_ends = np.concatenate(([0], np.cumsum(entries)))
        value = np.repeat(np.arange(len(entries)), entries)
        row_starts = self.row_of_block(first_block) + np.cumsum(sizes) - sizes
        entry, end = int(entry_ends[low]), int(entry_ends[high])
        while entry < end:
            many = int(np.searchsorted(np.cumsum(sizes[entry:end]), PORTION_ROWS, side="right"))
            next_entry = min(end, entry + max(1, many))
            some = slice(entry, next_entry)
            many_rows = np.array([int(sizes[some].sum())])
            rows = self.rows(row_starts[entry : entry + 1], many_rows, with_segments=with_segments)
            groups = np.repeat(group[some], sizes[some])
            first, last = self.times(rows, groups)
            first_value, last_value = int(value[entry]), int(value[next_entry - 1])
            yield Rows(
                keys=keys.slice(first_value, last_value - first_value + 1),
                key=np.repeat(value[some] - first_value, sizes[some]),
                group=groups,
                day=rows.day,
                count=rows.count,
                first=first,
                last=last,
                segments=rows.segments,
                ranks=rows.ranks,
            )
            entry = next_entry


def _together(places: Column, sizes: Column, gap: int) -> Iterator[tuple[int, int]]:
    """Which of some stretches, in order, are read at once."""
    far = np.flatnonzero(places[1:] - (places[:-1] + sizes[:-1]) > gap) + 1
    bounds = [0, *far.tolist(), len(places)]
    for low, high in pairwise(bounds):
        if int(places[high - 1] - places[low]) < READ_TOGETHER_BYTES:
            yield low, high
            continue
        pieces = (places[low:high] - places[low]) // READ_TOGETHER_BYTES
        inner = [low, *(np.flatnonzero(np.diff(pieces)) + low + 1).tolist(), high]
        yield from pairwise(inner)


def _matches(
    hashes: npt.NDArray[np.uint32], starts: Column, sizes: Column, wanted: npt.NDArray[np.uint32], edges: Column
) -> tuple[Column, Column]:
    """Each pair of a wanted number and a place in its own stretch (which rises) that holds it.

    ``edges`` are where in ``wanted`` those of each stretch begin, and at the end how many there are.
    """
    if not len(hashes):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = np.empty(len(wanted), np.int64)
    bounds = edges.tolist()
    # A bucket fits into the innermost cache: nothing is sooner than to search one after the other.
    for (first, last), start, size in zip(pairwise(bounds), starts.tolist(), sizes.tolist(), strict=True):
        low[first:last] = hashes[start : start + size].searchsorted(wanted[first:last])
    counts = np.diff(edges)
    low += np.repeat(starts, counts)
    end = np.repeat(starts + sizes, counts)
    needles = np.flatnonzero((low < end) & (hashes.take(low, mode="clip") == wanted))
    all_needles, all_places = [needles], [low[needles]]
    # Several values may share what is kept of a hash.
    for _ in range(CANDIDATES_MAX):
        if not len(needles):
            break
        places = all_places[-1] + 1
        more = (places < end[needles]) & (hashes.take(places, mode="clip") == wanted[needles])
        needles, places = needles[more], places[more]
        all_needles.append(needles)
        all_places.append(places)
    together = np.concatenate(all_needles)
    order = np.argsort(together, kind="stable")
    return together[order], np.concatenate(all_places)[order]

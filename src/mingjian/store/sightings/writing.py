"""Writing an index file: rows go in, in order; out comes a file that is never changed again.

Nothing of a file is to be seen under its name before all of it is on the disk. Memory does not grow with the file
except by the indexes of its blocks (some hundred bytes for 512 values): hashes are sorted in runs outside of it.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from mingjian.errors import LimitExceeded
from mingjian.model.observables import CANONICAL_VERSION
from mingjian.store.sightings import blocks, layout
from mingjian.store.sightings.blocks import (
    FRAME_BYTES,
    ROWS_PER_BLOCK,
    TOTALLED_ROWS,
    VALUES_PER_BLOCK,
    Kind,
    RowBlock,
    ValueBlock,
)
from mingjian.store.sightings.columns import appended
from mingjian.store.sightings.disk import Folder, Reading, Writing
from mingjian.store.sightings.hashing import Numbers, fixed_width, xxh64
from mingjian.store.sightings.layout import Footer, IndexFile, Section, Tables
from mingjian.store.sightings.rows import DAY_US, EPOCH_DAY, NO_DAY, Column, Keys, Rows, changes, no_keys, ranges

HASHES_IN_MEMORY_MAX: Final = 1 << 20
"""So many hashes are sorted at once; more are put aside on disk, run by run."""

Pairs: TypeAlias = "tuple[Numbers, npt.NDArray[np.uint32]]"
"""Hashes, rising, and the values that have them."""

_PARTITION_BITS: Final = 8
_MASK_32: Final = np.uint64(0xFFFF_FFFF)


class _Hashes:
    """Hashes of values in the order of values, given back in the order of hashes."""

    def __init__(self, folder: Folder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._waiting: list[Numbers] = []
        self._waiting_size = 0
        self.size = 0
        self._runs: list[tuple[int, int, Column]] = []
        """Offset and size of each run in the file, and where its partitions begin."""
        self._file: Writing | None = None

    def add(self, hashes: Numbers) -> None:
        self._waiting.append(hashes)
        self._waiting_size += len(hashes)
        self.size += len(hashes)
        if self._waiting_size >= HASHES_IN_MEMORY_MAX:
            self._put_aside()

    def _sorted(self) -> Pairs:
        hashes = np.concatenate(self._waiting) if self._waiting else np.zeros(0, np.uint64)
        order = np.argsort(hashes, kind="stable")
        ordinals = (order + (self.size - self._waiting_size)).astype(np.uint32)
        self._waiting, self._waiting_size = [], 0
        return hashes[order], ordinals

    def _put_aside(self) -> None:
        hashes, ordinals = self._sorted()
        if self._file is None:
            self._file = self._folder.write(self._name)
        starts = np.searchsorted(hashes >> np.uint64(64 - _PARTITION_BITS), np.arange((1 << _PARTITION_BITS) + 1))
        self._runs.append((self._file.size_bytes, len(hashes), starts.astype(np.int64)))
        self._file.write(hashes.astype("<u8").tobytes())
        self._file.write(ordinals.astype("<u4").tobytes())

    def partitions(self, bits: int) -> Iterator[Pairs]:
        """All pairs in order, in ``2 ** min(bits, 8)`` parts by the first bits of the hash."""
        if self._file is None:
            hashes, ordinals = self._sorted()
            bits = min(bits, _PARTITION_BITS)
            starts = np.searchsorted(_first_bits(hashes, bits), np.arange((1 << bits) + 1))
            for start, stop in zip(starts.tolist(), starts[1:].tolist(), strict=False):
                yield hashes[start:stop], ordinals[start:stop]
            return
        if self._waiting_size:
            self._put_aside()
        self._file.close()
        runs = self._folder.read(self._name)
        stride = 1 << max(0, _PARTITION_BITS - bits)
        try:
            for partition in range(0, 1 << _PARTITION_BITS, stride):
                yield self._partition(runs, partition, partition + stride)
        finally:
            runs.close()

    def _partition(self, runs: Reading, first: int, end: int) -> Pairs:
        hashes: list[Numbers] = []
        ordinals: list[npt.NDArray[np.uint32]] = []
        for offset, size, starts in self._runs:
            start, stop = int(starts[first]), int(starts[end])
            hashes.append(np.frombuffer(runs.read_at(offset + 8 * start, 8 * (stop - start)), "<u8"))
            ordinals.append(np.frombuffer(runs.read_at(offset + 8 * size + 4 * start, 4 * (stop - start)), "<u4"))
        together = np.concatenate(hashes)
        order = np.argsort(together, kind="stable")
        return together[order], np.concatenate(ordinals)[order]

    def forget(self) -> None:
        """Remove what was put aside."""
        if self._file is not None:
            self._file.close()
            self._folder.remove(self._name)


def _first_bits(hashes: Numbers, bits: int) -> Numbers:
    return hashes >> np.uint64(64 - bits) if bits else np.zeros(len(hashes), np.uint64)


class _Unfinished:
    """What can be used of an unfinished file."""

    def __init__(self, folder: Folder, name: str, plan: bytes) -> None:
        self._where = part_name(name)
        self._file: Reading | None = folder.read(self._where) if self._where in folder.names() else None
        self._heads: list[bytes] = []
        self._places: dict[int, list[tuple[int, int]]] = {Kind.VALUES: [], Kind.ROWS: []}
        self.kept_bytes = 0
        if self._file is None:
            return
        for frame, data in blocks.frames(self._file):
            if not self.kept_bytes and (
                frame.kind != Kind.PLAN or blocks.unframed(data, Kind.PLAN, 0, self._where) != plan
            ):
                return
            places = self._places.get(frame.kind)
            if places is not None:
                # A block that was written again, after an interruption, counts instead of the first and all behind it.
                del places[frame.number :]
                places.append((self.kept_bytes, len(data)))
            self._heads.append(data[:FRAME_BYTES])
            self.kept_bytes += len(data)

    def values(self) -> Iterator[tuple[tuple[int, int], ValueBlock]]:
        """Blocks of values all of whose rows are there, with their places."""
        end, rows = 0, len(self._places[Kind.ROWS]) * ROWS_PER_BLOCK
        for number, place in enumerate(self._places[Kind.VALUES]):
            block = blocks.unpack_values(self._block(Kind.VALUES, number, place), self._where)
            end += int(block.rows.sum())
            if end > rows:
                return
            yield place, block

    def rows(self, size: int) -> Iterator[tuple[tuple[int, int], RowBlock]]:
        """Blocks of rows, until there are so many rows."""
        for number, place in enumerate(self._places[Kind.ROWS][: -(-size // ROWS_PER_BLOCK)]):
            yield place, blocks.unpack_rows(self._block(Kind.ROWS, number, place), self._where)

    def heads(self) -> bytes:
        """The heads of all frames."""
        return b"".join(self._heads)

    def _block(self, kind: Kind, number: int, place: tuple[int, int]) -> bytes:
        assert self._file is not None
        return blocks.unframed(self._file.read_at(*place), kind, number, self._where)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()


class FileWriter:
    """Writes one file. Give it rows in order, then ``finish``; or ``close`` to leave the unfinished file as it is."""

    def __init__(self, folder: Folder, name: str, tables: Tables, keep_bytes: int = 0) -> None:
        self._folder = folder
        self._name = name
        self.tables = tables
        self._out: Writing = folder.write(part_name(name), keep_bytes)
        self._hashes = _Hashes(folder, aside_name(name))
        self._digest = hashlib.blake2b(digest_size=32)
        self._value_blocks: list[tuple[int, int, int, int]] = []
        self._row_blocks: list[int] = []
        self._keys: Keys = no_keys()
        self._entries = _nothing()
        self._group = _nothing()
        self._entry_rows = _nothing()
        self._totals = np.zeros((0, 3), np.int64)
        self._rows = RowBlock(*(_nothing() for _ in range(6)))
        self._rows_given = 0
        self._values_rows = 0
        """Rows of the values that are in value blocks."""
        self._count = 0
        self._first_day: int | None = None
        self._last_day: int | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._out.size_bytes

    @classmethod
    def resumed(cls, folder: Folder, name: str, tables: Tables, plan: bytes) -> tuple[FileWriter, bytes]:
        """Go on with an unfinished file that has the same plan, or begin one.

        Returns also the key from which on rows are still to be added; none of those before it is. Empty: all are.
        """
        found = _Unfinished(folder, name, plan)
        try:
            writer = cls(folder, name, tables, found.kept_bytes)
            if found.kept_bytes:
                return writer, writer._take(found)
            writer._frame(Kind.PLAN, 0, plan)
            return writer, b""
        finally:
            found.close()

    def _take(self, found: _Unfinished) -> bytes:
        self._digest.update(found.heads())
        key = b""
        for (offset, size), block in found.values():
            keys = block.keys()
            head = fixed_width(keys.slice(0, 1), 16).tobytes()
            place = layout.place_of_block(offset, size)
            words = (int.from_bytes(head[:8], "big"), int.from_bytes(head[8:], "big"))
            self._value_blocks.append((place, self._values_rows, *words))
            self._hashes.add(xxh64(keys))
            self._values_rows += int(block.rows.sum())
            key = block.key(len(block.entries) - 1) + b"\0"
        for (offset, size), rows in found.rows(self._values_rows):
            part = rows.part(0, min(ROWS_PER_BLOCK, self._values_rows - self._rows_given))
            self._tally(part.day, part.count)
            if len(part.day) == ROWS_PER_BLOCK:
                self._row_blocks.append(layout.place_of_block(offset, size))
            else:
                self._rows = part
        return key

    def sync(self) -> None:
        """Come back when what was written will outlive a power failure. Raises: StorageError."""
        self._out.sync()

    def _frame(self, kind: Kind, number: int, data: bytes) -> tuple[int, int]:
        offset, frame = self._out.size_bytes, blocks.framed(kind, number, data)
        self._digest.update(frame[:FRAME_BYTES])
        self._out.write(frame)
        return offset, len(frame)

    def add(self, rows: Rows) -> None:
        """Add rows behind all that were added before. Entries are whole; a value may go on where another portion ended.

        Raises: LimitExceeded, StorageError.
        """
        if not len(rows):
            return
        self._add_rows(rows)
        is_entry = changes(rows.key, rows.group)
        starts = np.flatnonzero(is_entry)
        sizes = np.diff(np.append(starts, len(rows)))
        large = np.flatnonzero(sizes >= TOTALLED_ROWS)
        inside = ranges(starts[large], sizes[large])
        totals = blocks.totals_of(
            np.repeat(large, sizes[large]), *(c[inside] for c in (rows.count, rows.first, rows.last))
        )
        entries = np.bincount(rows.key[starts], minlength=len(rows.keys))
        keys = rows.keys
        if len(self._keys) and self._keys[-1].as_py() == keys[0].as_py():
            self._entries[-1] += entries[0]
            entries, keys = entries[1:], keys.slice(1)
        self._keys = appended([self._keys, keys])
        self._entries = np.concatenate((self._entries, entries))
        self._group = np.concatenate((self._group, rows.group[starts]))
        self._entry_rows = np.concatenate((self._entry_rows, sizes))
        self._totals = np.concatenate((self._totals, totals))
        if self._hashes.size + len(self._keys) > layout.VALUES_PER_FILE_MAX:
            raise LimitExceeded("VALUES_PER_FILE_MAX", layout.VALUES_PER_FILE_MAX, where="sightings")
        # The last value may go on.
        self._write_values((len(self._keys) - 1) // VALUES_PER_BLOCK * VALUES_PER_BLOCK)

    def _add_rows(self, rows: Rows) -> None:
        dated = rows.day != NO_DAY
        units = self.tables.unit_of_group[rows.group]
        midnight = (rows.day - EPOCH_DAY) * DAY_US
        first = np.where(dated, rows.first - midnight, 0)
        span = np.where(dated, rows.last - np.where(dated, rows.first, 0), 0)
        new = (rows.day, rows.count, first // units, span // units, rows.segments, rows.ranks)
        old = (getattr(self._rows, name) for name in RowBlock.__slots__)
        self._rows = RowBlock(*(np.concatenate(pair) for pair in zip(old, new, strict=True)))
        self._tally(rows.day, rows.count)

    def _tally(self, day: Column, count: Column) -> None:
        self._rows_given += len(day)
        self._count += int(count.sum())
        days = day[day != NO_DAY]
        if len(days):
            first_day, last_day = int(days.min()) - EPOCH_DAY, int(days.max()) - EPOCH_DAY
            self._first_day = first_day if self._first_day is None else min(self._first_day, first_day)
            self._last_day = last_day if self._last_day is None else max(self._last_day, last_day)

    def _write_values(self, size: int) -> None:
        """Write the first so many of the waiting values, and the rows of those before them."""
        if not size:
            return
        self._hashes.add(xxh64(self._keys.slice(0, size)))
        heads = fixed_width(self._keys.slice(0, size), 16)[::VALUES_PER_BLOCK]
        heads = np.frombuffer(heads.tobytes(), ">u8").reshape(-1, 2)
        entry_ends = np.cumsum(self._entries[:size])
        row_ends = np.cumsum(self._entry_rows[: entry_ends[-1]])
        total_ends = np.cumsum(self._entry_rows[: entry_ends[-1]] >= TOTALLED_ROWS)
        entry = total = 0
        for number, start in enumerate(range(0, size, VALUES_PER_BLOCK)):
            stop = min(start + VALUES_PER_BLOCK, size)
            next_entry = int(entry_ends[stop - 1])
            next_total = int(total_ends[next_entry - 1])
            data = blocks.pack_values(
                self._keys.slice(start, stop - start),
                self._entries[start:stop],
                self._group[entry:next_entry],
                self._entry_rows[entry:next_entry],
                self._totals[total:next_total],
            )
            place = layout.place_of_block(*self._frame(Kind.VALUES, len(self._value_blocks), data))
            row = self._values_rows + (int(row_ends[entry - 1]) if entry else 0)
            self._value_blocks.append((place, row, int(heads[number, 0]), int(heads[number, 1])))
            self._write_rows(self._values_rows + int(row_ends[next_entry - 1]))
            entry, total = next_entry, next_total
        self._values_rows += int(row_ends[-1])
        self._keys = self._keys.slice(size)
        self._entries = self._entries[size:]
        self._group, self._entry_rows = self._group[entry:], self._entry_rows[entry:]
        self._totals = self._totals[total:]

    def _write_rows(self, until: int, *, all_of_them: bool = False) -> None:
        """Write the row blocks whose rows are all before row ``until``."""
        size, start = len(self._rows.day), 0
        while start < size and (all_of_them or (len(self._row_blocks) + 1) * ROWS_PER_BLOCK <= until):
            stop = min(start + ROWS_PER_BLOCK, size)
            data = blocks.pack_rows(self._rows.part(start, stop))
            self._row_blocks.append(layout.place_of_block(*self._frame(Kind.ROWS, len(self._row_blocks), data)))
            start = stop
        if start:
            self._rows = self._rows.part(start, size)

    def finish(self) -> IndexFile:
        """Write the rest, and bring the file to the disk under its name. Raises: StorageError."""
        self._write_values(len(self._keys))
        self._write_rows(self._rows_given, all_of_them=True)
        bits = layout.bucket_bits(self._hashes.size)
        values = self._hashes.size
        buckets = self._section(self._write_buckets(bits), 4)
        tables_at = self._frame(Kind.TABLES, 0, msgspec.json.encode(self.tables.data))
        value_blocks = np.array(self._value_blocks, np.uint64).reshape(-1, 4)
        footer = Footer(
            format=layout.FORMAT_VERSION,
            canonical=CANONICAL_VERSION,
            values=values,
            rows=self._rows_given,
            count=self._count,
            first_day=self._first_day,
            last_day=self._last_day,
            bucket_bits=bits,
            buckets=buckets,
            value_blocks=self._section(value_blocks, 4),
            row_blocks=self._section(np.array(self._row_blocks, np.uint64), 1),
            segment_days=self._section(self.tables.segment_days.astype(np.uint64), 1),
            segment_starts=self._section(self.tables.segment_starts.astype(np.uint64), 1),
            segment_ids=self._section(self.tables.segment_ids.view(np.uint64), 1),
            tables_offset=tables_at[0],
            tables_bytes=tables_at[1],
            blocks_digest=self._digest.hexdigest(),
        )
        data = msgspec.json.encode(footer)
        self._out.write(data + layout.TRAILER.pack(len(data), zlib.crc32(data), layout.MAGIC))
        self._out.sync()
        self._out.close()
        self._hashes.forget()
        self._folder.rename(part_name(self._name), self._name)
        self._folder.sync()
        return index_file(self._name, self._out.size_bytes, footer, data, self.tables.places)

    def _section(self, items: Numbers, width: int) -> Section:
        """Write an array in pages, and behind them what is needed to check and search them."""
        items = np.ascontiguousarray(items.reshape(-1, width), "<u8")
        offset = self._out.size_bytes
        pages = [items[start : start + layout.PAGE_ITEMS] for start in range(0, len(items), layout.PAGE_ITEMS)]
        checks = np.zeros((len(pages), 2), "<u8")
        for number, page in enumerate(pages):
            data = page.tobytes()
            checks[number] = zlib.crc32(data), page[0, 0]
            self._out.write(data)
        data = checks.tobytes()
        self._out.write(data)
        return Section(offset=offset, items=len(items), width=width, checksum=zlib.crc32(data))

    def _write_buckets(self, bits: int) -> Numbers:
        """Write hashes and ordinals. Returns for each bucket its first pair, its two places and its two checksums."""
        found: list[tuple[int, int, int, int]] = []
        done = 0
        for number, (hashes, ordinals) in enumerate(self._hashes.partitions(bits)):
            inner = max(0, bits - _PARTITION_BITS)
            numbers = np.arange(number << inner, ((number + 1) << inner) + 1)
            starts = np.searchsorted(_first_bits(hashes, bits), numbers).tolist()
            remainders = ((hashes >> np.uint64(32 - bits)) & _MASK_32).astype("<u4")
            for first in range(0, 1 << inner, layout.BUCKETS_TOGETHER):
                bounds = starts[first : first + layout.BUCKETS_TOGETHER + 1]
                found += self._write_together(remainders, ordinals, bounds, done)
            done += len(hashes)
        return np.array([*found, (done, 0, 0, 0)], np.uint64)

    def _write_together(
        self, remainders: npt.NDArray[np.uint32], ordinals: npt.NDArray[np.uint32], bounds: Sequence[int], done: int
    ) -> list[tuple[int, int, int, int]]:
        hash_data = remainders[bounds[0] : bounds[-1]].tobytes()
        ordinal_data = ordinals[bounds[0] : bounds[-1]].astype("<u4").tobytes()
        offset = self._out.size_bytes
        self._out.write(hash_data + ordinal_data)
        found: list[tuple[int, int, int, int]] = []
        for start, stop in pairwise(bounds):
            low, high = 4 * (start - bounds[0]), 4 * (stop - bounds[0])
            checks = zlib.crc32(hash_data[low:high]) << 32 | zlib.crc32(ordinal_data[low:high])
            found.append((done + start, offset + low, offset + len(hash_data) + low, checks))
        return found

    def close(self) -> None:
        """Leave the file unfinished. What was put aside is removed; what was written can be gone on with."""
        self._out.close()
        self._hashes.forget()


def _nothing() -> Column:
    return np.zeros(0, np.int64)


def part_name(name: str) -> str:
    """The name of a file that is not finished."""
    return name.removesuffix(layout.SUFFIX) + layout.PART


def aside_name(name: str) -> str:
    """The name of the file in which hashes are put aside."""
    return name.removesuffix(layout.SUFFIX) + layout.ASIDE


def index_file(
    name: str, size_bytes: int, footer: Footer, footer_data: bytes, places: Sequence[layout.Place]
) -> IndexFile:
    """What the catalogue needs to know about a file."""
    return IndexFile(
        name=name,
        size_bytes=size_bytes,
        values=footer.values,
        rows=footer.rows,
        count=footer.count,
        first_day=footer.first_day,
        last_day=footer.last_day,
        organisations=tuple(sorted({place.organisation for place in places})),
        content_hash=layout.content_hash(footer_data),
        canonical_version=footer.canonical,
    )

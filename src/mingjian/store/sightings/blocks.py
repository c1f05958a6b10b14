"""Blocks: how rows and keys lie in a file.

Columns are cut into planes of bytes (all lowest bytes, then all second ones …) as many as the greatest number needs,
and compressed with Zstandard. Each block stands in a frame that says what it is and which, and carries a CRC-32, so
that a damaged or misplaced one is never taken for good.

::

    frame       kind u8, 3 zero bytes, number u32, bytes unpacked u32, bytes packed u32, CRC-32 u32; then the bytes
    value block the keys of VALUES_PER_BLOCK values; for each its groups; for each of these how many rows
    row block   ROWS_PER_BLOCK rows: day, count, first, last, segments

Pure. Source: RFC 8878 (Zstandard), RFC 1952 section 8 (CRC-32).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingjian.errors import StorageError
from mingjian.store.sightings.columns import Mask, from_parts
from mingjian.store.sightings.disk import Reading
from mingjian.store.sightings.hashing import bytes_of
from mingjian.store.sightings.rows import Column, Keys, changes, ranges

VALUES_PER_BLOCK: Final = 512
ROWS_PER_BLOCK: Final = 1024
TOTALLED_ROWS: Final = 64
"""Of an observable with at least so many rows in one group, the sum of them stands beside its key."""
BLOCK_BYTES_MAX: Final = 1 << 28
"""A block that says that it is larger is damaged."""

_LEVEL: Final = 1
_FRAME: Final = struct.Struct("<B3xIIII")
FRAME_BYTES: Final = _FRAME.size
_HEADS: Final = np.dtype(
    [("kind", "u1"), ("zeros", "V3"), ("number", "<u4"), ("unpacked", "<u4"), ("packed", "<u4"), ("checksum", "<u4")]
)
SPARE_BYTES: Final = 4096
"""So many zeros stand behind blocks that are unpacked together."""
_COUNTS: Final = struct.Struct("<II")
COUNTS_BYTES: Final = _COUNTS.size
_TIME_BIAS_US: Final = 1 << 62
TOTAL_BIASES: Final = (0, _TIME_BIAS_US, _TIME_BIAS_US)
"""Added to count, first and last of totals, so that none is negative."""
_NO_TOTALS: Final = np.zeros((0, 3), np.int64)
_EXACT_PLANES_MAX: Final = 6
"""Numbers of so many bytes are exact as floats, with which NumPy puts planes together three times as fast."""
_PLACES: Final = 256.0 ** np.arange(_EXACT_PLANES_MAX)
_codec: Final = pa.Codec("zstd", _LEVEL)
_SPARE: Final = _codec.compress(bytes(SPARE_BYTES), asbytes=True)


class Kind(IntEnum):
    """What a frame holds."""

    VALUES = 1
    ROWS = 2
    TABLES = 3
    PLAN = 4
    """Of what a merge makes the file."""


_KINDS: Final = frozenset(Kind)


class Frame(NamedTuple):
    """The head of a frame."""

    kind: int
    number: int
    unpacked_bytes: int
    packed_bytes: int
    checksum: int


def damaged(what: str, where: str) -> StorageError:
    """The error for what is not as it was written."""
    return StorageError(
        f"the sightings index is damaged: {what}", where=where, hint="rebuild it from the segments with mingjian doctor"
    )


def framed(kind: Kind, number: int, data: bytes) -> bytes:
    """Pack some bytes into a frame."""
    packed = _codec.compress(data, asbytes=True)
    head = _FRAME.pack(kind, number, len(data), len(packed), 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(packed, zlib.crc32(head))) + packed


def head_of(data: bytes) -> Frame:
    """Read the head of a frame, unchecked."""
    return Frame(*_FRAME.unpack_from(data))


def unframed(data: bytes, kind: Kind, number: int, where: str) -> bytes:
    """Check a frame and unpack it. Raises: StorageError (it is not that frame, or not as it was written)."""
    if len(data) < FRAME_BYTES:
        raise damaged(f"block {number} is cut off", where)
    head = head_of(data)
    packed = memoryview(data)[FRAME_BYTES:]
    if (
        (head.kind, head.number, head.packed_bytes) != (kind, number, len(packed))
        or head.checksum != zlib.crc32(packed, zlib.crc32(data[: FRAME_BYTES - 4]))
        or head.unpacked_bytes > BLOCK_BYTES_MAX
    ):
        raise damaged(f"block {number} is not as it was written", where)
    return _codec.decompress(packed, head.unpacked_bytes, asbytes=True)


class Unpacked(NamedTuple):
    """Several blocks, unpacked one behind the other, and ``SPARE_BYTES`` zeros behind the last."""

    data: npt.NDArray[np.uint8]
    starts: Column
    """Where each begins, and at the end where the last one ends."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Several blocks, checked but still packed. To unpack each by itself costs twice as much, for they are small."""

    data: bytes
    starts: Column
    """As they will be in ``Unpacked``."""

    def unpacked(self) -> Unpacked:
        """Unpack them. Other threads run meanwhile."""
        size = int(self.starts[-1]) + SPARE_BYTES
        return Unpacked(np.frombuffer(_codec.decompress(self.data, size, asbytes=True), np.uint8), self.starts)


def checked(frames: Sequence[bytes], kind: Kind, numbers: Column, where: str) -> Packed:
    """Check some frames, at least one, as ``unframed`` does. Raises: StorageError."""
    packed = [memoryview(frame)[FRAME_BYTES:] for frame in frames]
    heads = b"".join([frame[:FRAME_BYTES] for frame in frames])
    if len(heads) == FRAME_BYTES * len(frames):
        head = np.frombuffer(heads, _HEADS)
        checksums = [zlib.crc32(rest, zlib.crc32(f[: FRAME_BYTES - 4])) for f, rest in zip(frames, packed, strict=True)]
        if (
            (head["kind"] == kind)
            & (head["number"] == numbers)
            & (head["packed"] == [len(rest) for rest in packed])
            & (head["checksum"] == checksums)
            & (head["unpacked"] <= BLOCK_BYTES_MAX)
        ).all():
            starts = np.concatenate(([0], np.cumsum(head["unpacked"], dtype=np.int64)))
            # Zstandard takes several frames, one behind the other, for one text.
            return Packed(b"".join((*packed, _SPARE)), starts)
    for frame, number in zip(frames, cast("list[int]", numbers.tolist()), strict=True):
        unframed(frame, kind, number, where)
    raise AssertionError("one of the frames is not as it was written")


def frames(file: Reading) -> Iterator[tuple[Frame, bytes]]:
    """All frames from the beginning of a file, checked but still packed, up to what is no frame or a damaged one."""
    place = 0
    while place + FRAME_BYTES <= file.size_bytes:
        frame = head_of(file.read_at(place, FRAME_BYTES))
        end = place + FRAME_BYTES + frame.packed_bytes
        if frame.kind not in _KINDS or frame.unpacked_bytes > BLOCK_BYTES_MAX or end > file.size_bytes:
            return
        data = file.read_at(place, end - place)
        if frame.checksum != zlib.crc32(data[FRAME_BYTES:], zlib.crc32(data[: FRAME_BYTES - 4])):
            return
        yield frame, data
        place = end


def _packed(column: npt.NDArray[np.int64]) -> bytes:
    """A byte that says how many planes, and the planes."""
    greatest = int(column.max()) if len(column) else 0
    if greatest < 256:
        return b"\1" + column.astype(np.uint8).tobytes() if greatest else b"\0"
    width = -(-greatest.bit_length() // 8)
    planes = column.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].T
    return bytes([width]) + planes.tobytes()


class _Unpacker:
    """Takes one column after the other out of a block."""

    def __init__(self, data: bytes, where: str) -> None:
        self._data = data
        self._where = where
        self._place = 0

    def counts(self) -> tuple[int, int]:
        """The two counts at the beginning."""
        self._place = _COUNTS.size
        return cast("tuple[int, int]", _COUNTS.unpack_from(self._data))

    def column(self, size: int) -> Column:
        """The next column, of so many numbers."""
        width = self._data[self._place] if self._place < len(self._data) else 255
        start, self._place = self._place + 1, self._place + 1 + width * size
        if width > 8 or self._place > len(self._data):
            raise damaged("a block is shorter than it says", self._where)
        if width < 2:
            found = np.frombuffer(self._data, np.uint8, size, start) if width else np.zeros(size, np.uint8)
            return found.astype(np.int64)
        planes = np.frombuffer(self._data, np.uint8, width * size, start).reshape(width, size)
        if width <= _EXACT_PLANES_MAX:
            return (_PLACES[:width] @ planes.astype(np.float64)).astype(np.int64)
        bytes_ = np.zeros((size, 8), np.uint8)
        bytes_[:, :width] = planes.T
        return bytes_.view("<i8").reshape(size)

    def rest(self) -> bytes:
        """What is left."""
        return self._data[self._place :]


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows as they lie in a file: ``first`` and ``span`` in units of the row's source, from the start of the day."""

    day: Column
    count: Column
    first: Column
    span: Column
    segments: Column
    ranks: Column

    def part(self, start: int, stop: int) -> RowBlock:
        """The rows from ``start`` to ``stop``."""
        before = int(self.segments[:start].sum())
        behind = before + int(self.segments[start:stop].sum())
        return RowBlock(
            self.day[start:stop],
            self.count[start:stop],
            self.first[start:stop],
            self.span[start:stop],
            self.segments[start:stop],
            self.ranks[before:behind],
        )

    def without_segments(self) -> RowBlock:
        """The rows as if they had no segments."""
        return RowBlock(
            self.day, self.count, self.first, self.span, np.zeros(len(self.day), np.int64), np.zeros(0, np.int64)
        )

    def filtered(self, wanted: Mask) -> RowBlock:
        """Some of the rows."""
        return self._some(wanted, self.ranks[np.repeat(wanted, self.segments)])

    def taken(self, rows: Column) -> RowBlock:
        """The rows with these numbers, in that order."""
        starts = np.cumsum(self.segments) - self.segments
        return self._some(rows, self.ranks[ranges(starts[rows], self.segments[rows])])

    def _some(self, rows: npt.NDArray[Any], ranks: Column) -> RowBlock:
        return RowBlock(self.day[rows], self.count[rows], self.first[rows], self.span[rows], self.segments[rows], ranks)


def pack_rows(rows: RowBlock) -> bytes:
    """Put rows into a block."""
    lowest = int(rows.day.min()) if len(rows.day) else 0
    ends = np.cumsum(rows.segments)
    steps = np.diff(rows.ranks, prepend=0) - 1
    heads = (ends - rows.segments)[rows.segments > 0]
    steps[heads] = rows.ranks[heads]
    return b"".join(
        (
            _COUNTS.pack(len(rows.day), lowest),
            _packed(rows.day - lowest),
            _packed(rows.count - 1),
            _packed(rows.first),
            _packed(rows.span[rows.count > 1]),
            _packed(rows.segments),
            _packed(steps),
        )
    )


def unpack_rows(data: bytes, where: str, *, with_segments: bool = True) -> RowBlock:
    """Take rows out of a block; without segments, as if they had none. Raises: StorageError."""
    unpacker = _Unpacker(data, where)
    size, lowest = unpacker.counts()
    day = unpacker.column(size) + lowest
    count = unpacker.column(size) + 1
    first = unpacker.column(size)
    span = np.zeros(size, np.int64)
    several = np.flatnonzero(count > 1)
    span[several] = unpacker.column(len(several))
    if not with_segments:
        return RowBlock(day, count, first, span, np.zeros(size, np.int64), np.zeros(0, np.int64))
    segments = unpacker.column(size)
    ends = np.cumsum(segments)
    steps = unpacker.column(int(ends[-1]) if size else 0)
    # The first step of a row is a rank, each further one less by one than the way from the one before.
    sums = np.cumsum(steps + 1) - 1
    starts = ends - segments
    before = np.where(starts > 0, sums[starts - 1] + 1, 0) if len(sums) else starts
    return RowBlock(day, count, first, span, segments, sums - np.repeat(before, segments))


@dataclass(frozen=True, slots=True)
class ValueBlock:
    """Values as they lie in a file. An *entry* is an observable in one group."""

    data: bytes
    """The keys, one behind the other."""
    offsets: Column
    entries: Column
    """How many entries each value has."""
    group: Column
    """Of each entry."""
    rows: Column
    """How many rows each entry has."""
    totals: npt.NDArray[np.int64]
    """Count, first and last of each entry with at least ``TOTALLED_ROWS`` rows."""

    def key(self, place: int) -> bytes:
        """One key."""
        return self.data[self.offsets[place] : self.offsets[place + 1]]

    def keys(self) -> Keys:
        """All keys."""
        return from_parts(self.data, self.offsets)


def pack_values(keys: Keys, entries: Column, group: Column, rows: Column, totals: npt.NDArray[np.int64]) -> bytes:
    """Put values into a block."""
    data, offsets = bytes_of(keys)
    return b"".join(
        (
            _COUNTS.pack(len(entries), len(group)),
            _packed(entries - 1),
            _packed(group),
            _packed(rows - 1),
            *(_packed(totals[:, column] + bias) for column, bias in enumerate(TOTAL_BIASES) if len(totals)),
            _packed(np.diff(offsets)),
            data[: offsets[-1]].tobytes(),
        )
    )


def unpack_values(data: bytes, where: str) -> ValueBlock:
    """Take values out of a block. Raises: StorageError."""
    unpacker = _Unpacker(data, where)
    size, entries_size = unpacker.counts()
    entries = unpacker.column(size) + 1
    group = unpacker.column(entries_size)
    rows = unpacker.column(entries_size) + 1
    totalled = int(np.count_nonzero(rows >= TOTALLED_ROWS))
    totals = _NO_TOTALS
    if totalled:
        totals = np.stack([unpacker.column(totalled) - bias for bias in TOTAL_BIASES], axis=1)
    offsets = np.concatenate(([0], np.cumsum(unpacker.column(size))))
    return ValueBlock(unpacker.rest(), offsets, entries, group, rows, totals)


def totals_of(entry_of_row: Column, count: Column, first: Column, last: Column) -> npt.NDArray[np.int64]:
    """Count, first and last of each of some entries whose rows follow one another."""
    starts = np.flatnonzero(changes(entry_of_row))
    if not len(starts):
        return np.zeros((0, 3), np.int64)
    columns: Sequence[Column] = (
        np.add.reduceat(count, starts),
        np.minimum.reduceat(first, starts),
        np.maximum.reduceat(last, starts),
    )
    return np.stack(columns, axis=1)

"""Segments: how records become one Parquet file, and what that file says about itself.

A segment holds records of one organisation, one stream in one layout, one month (``SegmentKey``): of one UTC day if
that has many, else of all days of the month that have few (``cut``). With each stand the input that it came from and
its number there. Ours are the columns ``_time``, ``_input``, ``_record``, ``_shape``
(``store.shapes``) and, where needed, ``_rest`` and ``_raw``; all others are fields under their native names, nested
ones dotted. What other programs need to know stands in the file; how it maps back to records in its ``mingjian`` entry.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec
import numpy as np
import pyarrow as pa

from mingjian.errors import StateError
from mingjian.model.blocks import Block
from mingjian.model.values import Record
from mingjian.store.arrow import FEW, Array, Codes, Ints, Mask, Places, coded, is_coded, is_text, picked
from mingjian.store.building import PLAIN_ROWS_MIN, Column, Finished, Kinds, NumberPiece
from mingjian.store.cells import text_cell
from mingjian.store.columns import KeyPath, Values, by_key, decoded, spread
from mingjian.store.scope import OrganisationId

FORMAT_VERSION: Final = 1
"""Version of what stands in a segment beside Parquet itself."""
ROW_GROUP_ROWS_MAX: Final = 65_536
COLUMNS_MAX: Final = 2_000
"""A record that would need one native column more is kept whole in ``_rest``."""
SLICE_ROWS: Final = 256
"""So many records are taken in at a time: they stay in the processor's cache on their way."""
US_PER_DAY: Final = 86_400_000_000
DAY_ROWS_MIN: Final = 8_192
"""So many records of a day get a segment of their own. To keep a file for the few of each quiet day, and to open it in
each hunt, takes longer than all that is done with what is in it."""
NO_DAY: Final = -(1 << 40)
"""In the place of a day for records without a time; before all others."""

OWN_COLUMNS: Final = ("_time", "_input", "_record", "_shape", "_rest")
METADATA_KEY: Final = b"mingjian"
_WHOLE_KEY: Final[KeyPath] = ()

Digest: TypeAlias = bytes
"""(Inside of a class that has a field ``bytes``, the type needs another name.)"""
ShapeOf: TypeAlias = "tuple[tuple[int, int], ...] | None"
"""(column of the builder, code of the kind) in the order of the record; None for a record kept whole."""


class SegmentKey(msgspec.Struct, frozen=True, kw_only=True):
    """What all records of a segment have in common."""

    organisation: OrganisationId
    stream: str
    layout: str
    """Name of the layout: with the stream it gives the ``View`` under which rules look at the records."""
    format: str
    """Name of the format from which the records were read."""
    month: int | None
    """Months since January 1970 (UTC); None for records without a time."""


class InputRecords(msgspec.Struct, frozen=True):
    """Which records of one input a segment holds: numbers within a range, and how many."""

    input_id: int
    first_record: int
    last_record: int
    rows: int


class DayRecords(msgspec.Struct, frozen=True):
    """The records of a segment that are of one day."""

    day: int
    """Days since 1970 (UTC)."""
    rows: int
    first_us: int
    last_us: int


class WrittenSegment(msgspec.Struct, frozen=True, kw_only=True):
    """A segment file that is on disk for good, and not in the catalogue yet."""

    id: int
    """Given out by the catalogue before the file was written: sightings and evidence name it."""
    key: SegmentKey
    path: str
    """Relative to the lake."""
    rows: int
    bytes: int
    first_us: int | None
    last_us: int | None
    days: tuple[DayRecords, ...]
    """In order; records without a time are in none."""
    content_hash: Digest
    """BLAKE2b (32 bytes) of the file."""
    checks: Digest
    """The checksums of its stripes (``store.verified``)."""
    inputs: tuple[InputRecords, ...]


class Rows(NamedTuple):
    """Some records of a block, each with its time, all from one input."""

    block: Block
    rows: Sequence[int]
    times_us: Sequence[int | None] | None
    """Microseconds since 1970 UTC, one for each of ``rows``. None: nobody has read them yet."""
    input_id: int


def cut(times_us: Ints, untimed: Mask, *, day_rows_min: int = DAY_ROWS_MIN) -> list[tuple[int | None, Places]]:
    """Divide records into segments by their time: the month of each, and which records, in order.

    ``untimed`` tells which have none. A day with ``day_rows_min`` records has a segment of its own.
    """
    days, codes, counts = np.unique(
        np.where(untimed, NO_DAY, times_us // US_PER_DAY), return_inverse=True, return_counts=True
    )
    segments: dict[tuple[int | None, int | None], int] = {}
    of_day = np.empty(len(days), np.int64)
    for place, (day, count) in enumerate(zip(days.tolist(), counts.tolist(), strict=True)):
        month = None if day == NO_DAY else month_of(day)
        of_day[place] = segments.setdefault((month, day if count >= day_rows_min else None), len(segments))
    if len(segments) == 1:
        return [(next(iter(segments))[0], np.arange(len(codes)))]
    of_record = of_day[codes]
    return [(month, np.flatnonzero(of_record == number)) for (month, _), number in segments.items()]


def day_of(time_us: int | None) -> int | None:
    """The day (since 1970, UTC) of a moment; None for none.

    >>> day_of(0), day_of(-1), day_of(None)
    (0, -1, None)
    """
    return None if time_us is None else time_us // US_PER_DAY


def month_of(day: int) -> int:
    """The month of a day; both are counted from January 1970.

    >>> month_of(0), month_of(31), month_of(-1), month_of(18_000)
    (0, 1, -1, 591)
    """
    return int(np.datetime64(day, "D").astype("datetime64[M]").astype(np.int64))


def last_day_of(month: int) -> int:
    """The last day of a month.

    >>> last_day_of(0), last_day_of(1)
    (30, 58)
    """
    return int(np.datetime64(month + 1, "M").astype("datetime64[D]").astype(np.int64)) - 1


def month_name(month: int | None) -> str:
    """Write a month as ISO 8601 does; ``none`` for records without a time.

    >>> month_name(591), month_name(None)
    ('2019-04', 'none')
    """
    return "none" if month is None else str(np.datetime64(month, "M"))


def day_name(day: int | None) -> str:
    """Write a day as ISO 8601 does; ``none`` for records without a time.

    >>> day_name(18_000), day_name(None)
    ('2019-04-14', 'none')
    """
    if day is None:
        return "none"
    try:
        return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
    except OverflowError:
        return str(day)


def stream_folder(stream: str) -> str:
    """The name of a stream as the name of a folder; streams that differ have folders that differ.

    >>> stream_folder("windows/sysmon/1")
    'windows.sysmon.1'
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "." if c == "/" else "~" for c in stream)
    if plain.replace(".", "/") == stream and plain == plain.lower() and len(plain) <= 100 and plain.strip("."):
        return plain
    digest = hashlib.blake2b(stream.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    return f"{plain[:100]}~{digest}"


class SegmentBuilder:
    """A segment that grows in memory until it is written. Not for several threads at once."""

    def __init__(self, key: SegmentKey, *, keep_raw: bool = False) -> None:
        self.key = key
        self.rows = 0
        self._keep_raw = keep_raw
        self._columns: list[Column] = []
        self._places: dict[KeyPath, int] = {}
        self._rest = Column(_WHOLE_KEY)
        self._raws: list[Array] = []
        self._shapes: dict[ShapeOf, int] = {}
        self._shape_codes = array("i")
        self._numbers = array("q")
        self._inputs = array("q")
        self._times = array("q")
        self._untimed = array("b")

    def add(self, rows: Rows) -> None:
        """Take records in. They are of this segment's month, stream, layout and format: the caller has seen to that."""
        for start in range(0, len(rows.rows), SLICE_ROWS):
            part = slice(start, start + SLICE_ROWS)
            times_us = None if rows.times_us is None else rows.times_us[part]
            self._add_slice(Rows(rows.block, rows.rows[part], times_us, rows.input_id))

    def _add_slice(self, rows: Rows) -> None:
        records = decoded(rows.block, rows.rows)
        columns = by_key(records)
        numbers = rows.block.numbers
        self._numbers.extend([numbers[row] for row in rows.rows])
        times_us = [None] * len(records) if rows.times_us is None else rows.times_us
        self._times.extend([0 if time is None else time for time in times_us])
        self._untimed.extend([time is None for time in times_us])
        self._inputs.extend(array("q", (rows.input_id,)) * len(records))
        if self._keep_raw:
            self._add_raw(rows, records)
        parts = [part for key, values in columns for part in spread((key,), values)]
        new = sum(path not in self._places for path, _, _ in parts)
        if new and len(self._columns) + new > COLUMNS_MAX:
            self._rest.add_cells(self.rows, [text_cell(record)[1] for record in records])
            self._shape_codes.extend(array("i", (self._shape(None),)) * len(records))
        else:
            self._add_parts(len(records), parts)
        self.rows += len(records)

    def _add_raw(self, rows: Rows, records: Sequence[Record]) -> None:
        """Keep the bytes that the records were made of, unless the reader put them into the record already."""
        raws = [
            None if "_raw" in record else rows.block.raw(row) for row, record in zip(rows.rows, records, strict=True)
        ]
        self._raws.append(pa.array(raws, pa.binary()))

    def _add_parts(self, count: int, parts: list[tuple[KeyPath, Values, set[type]]]) -> None:
        constant: list[tuple[int, int]] = []
        varying: list[tuple[int, int, Kinds]] = []
        for place_in_record, (path, values, types) in enumerate(parts):
            place = self._place(path)
            kinds = self._columns[place].add(self.rows, values, types)
            if isinstance(kinds, int):
                constant.append((place, kinds))
            else:
                constant.append((place, 0))
                varying.append((place_in_record, place, kinds))
        self._shape_codes.extend(self._shapes_of(count, constant, varying))

    def add_stored(self, part: StoredPart) -> None:
        """Take the records of a row group of another segment in, column by column.

        Raises:
            StateError: together they would have more columns than a segment may have. The builder is spoilt.
        """
        count = len(part.numbers)
        places = [self._place(path) for path in part.paths]
        if len(self._columns) > COLUMNS_MAX:
            raise StateError("the segments have too many different fields to be merged")
        for place, values in zip(places, part.fields, strict=True):
            _add_stored(self._columns[place], self.rows, values)
        if part.rest is not None:
            _add_stored(self._rest, self.rows, part.rest)
        if self._raws or part.raw is not None:
            if not self._raws and self.rows:
                self._raws.append(pa.nulls(self.rows, pa.binary()))
            self._raws.append(pa.nulls(count, pa.binary()) if part.raw is None else part.raw.cast(pa.binary()))
        shapes = [
            self._shape(None if shape is None else tuple((places[place], kind) for place, kind in shape))
            for shape in part.shapes
        ]
        self._shape_codes.extend(map(shapes.__getitem__, part.shape_codes.tolist()))
        self._numbers.frombytes(part.numbers.tobytes())
        self._inputs.frombytes(part.inputs.tobytes())
        self._times.frombytes(part.times.cast(pa.int64()).fill_null(0).to_numpy().tobytes())
        self._untimed.frombytes(part.times.is_null().to_numpy(zero_copy_only=False).tobytes())
        self.rows += count

    def _place(self, path: KeyPath) -> int:
        place = self._places.get(path)
        if place is None:
            place = self._places[path] = len(self._columns)
            self._columns.append(Column(path))
        return place

    def _shape(self, shape: ShapeOf) -> int:
        return self._shapes.setdefault(shape, len(self._shapes))

    def _shapes_of(
        self, count: int, constant: list[tuple[int, int]], varying: list[tuple[int, int, Kinds]]
    ) -> array[int]:
        """The shape of each row, from the kinds that all rows share and those in which they differ."""
        if not varying:
            shape = tuple((place, kind) for place, kind in constant if kind)
            return array("i", (self._shape(shape),)) * count
        by_kinds: dict[tuple[int, ...], int] = {}
        codes = array("i")
        for kinds in zip(*(each.tolist() for _, _, each in varying), strict=True):
            code = by_kinds.get(kinds)
            if code is None:
                filled = list(constant)
                for (place_in_record, place, _), kind in zip(varying, kinds, strict=True):
                    filled[place_in_record] = (place, kind)
                code = by_kinds[kinds] = self._shape(tuple((place, kind) for place, kind in filled if kind))
            codes.append(code)
        return codes

    def size_bytes(self) -> int:
        """About how much memory this takes."""
        columns = sum(column.size_bytes() for column in (*self._columns, self._rest))
        return 40 * self.rows + columns + sum(raw.nbytes for raw in self._raws)

    def finished(self) -> FinishedSegment:
        """Everything in its final order: by input, then by number. The builder is used up by that."""
        numbers = np.frombuffer(self._numbers, dtype=np.int64)
        inputs = np.frombuffer(self._inputs, dtype=np.int64)
        times = np.frombuffer(self._times, dtype=np.int64)
        untimed = np.frombuffer(self._untimed, dtype=np.bool_)
        order = _order(inputs, numbers)
        # One after the other goes as it is finished: they may be most of all memory that there is.
        columns, self._columns = self._columns[::-1], []
        fields: list[tuple[KeyPath, Finished]] = []
        while columns:
            column = columns.pop()
            fields.append((column.path, column.finished(self.rows, order)))
        order_of = slice(None) if order is None else order
        raw = pa.concat_arrays(self._raws) if self._raws else None
        return FinishedSegment(
            key=self.key,
            numbers=numbers[order_of],
            inputs=inputs[order_of],
            times=pa.array(times[order_of], pa.timestamp("us", "UTC"), mask=untimed[order_of]),
            shapes=list(self._shapes),
            shape_codes=np.frombuffer(self._shape_codes, dtype=np.int32)[order_of],
            fields=fields,
            rest=None if self._rest.is_empty else self._rest.finished(self.rows, order),
            raw=raw if raw is None or order is None else picked(raw, order),
        )


class StoredPart(NamedTuple):
    """One row group of a segment, as it lies in the file."""

    numbers: Ints
    inputs: Ints
    times: Array
    shapes: Sequence[ShapeOf]
    """With places among ``paths``."""
    shape_codes: Places
    paths: Sequence[KeyPath]
    fields: Sequence[Array]
    rest: Array | None
    raw: Array | None


def _add_stored(column: Column, start: int, values: Array) -> None:
    if values.null_count == len(values):
        return
    if is_text(values):
        if not is_coded(values) and len(values) >= PLAIN_ROWS_MIN:
            column.add_plain(start, values)
            return
        codes, texts = coded(values)
        column.add_coded(start, cast("list[str]", texts), codes)
        return
    mask = values.is_null().to_numpy(zero_copy_only=False) if values.null_count else None
    filled = values.fill_null(False if pa.types.is_boolean(values.type) else 0)
    column.add_numbers(NumberPiece(start, filled.to_numpy(zero_copy_only=False), mask))


def _order(inputs: Ints, numbers: Ints) -> Places | None:
    """The order by input and number; None if it is the order in which the records came."""
    later_input = inputs[1:] > inputs[:-1]
    if np.all(later_input | ((inputs[1:] == inputs[:-1]) & (numbers[1:] >= numbers[:-1]))):
        return None
    return np.lexsort((numbers, inputs))


class FinishedSegment(NamedTuple):
    """A segment in its final order, ready to be written (``store.writing``)."""

    key: SegmentKey
    numbers: Ints
    inputs: Ints
    times: Array
    shapes: Sequence[ShapeOf]
    shape_codes: Codes
    fields: Sequence[tuple[KeyPath, Finished]]
    rest: Finished | None
    raw: Array | None

    def of_rows(self, rows: Places, month: int | None) -> FinishedSegment:
        """Some of the records, as a segment of one month, with only those columns that they have."""
        key = msgspec.structs.replace(self.key, month=month)
        if len(rows) == len(self.numbers):
            return self._replace(key=key)
        # As a rule the records of a segment stand together: then nothing need be copied.
        is_run = int(rows[-1] - rows[0]) + 1 == len(rows)
        where = slice(int(rows[0]), int(rows[-1]) + 1) if is_run else rows
        used, shape_codes = np.unique(self.shape_codes[where], return_inverse=True)
        shapes = [self.shapes[code] for code in cast("list[int]", used.tolist())]
        kept = sorted({place for shape in shapes for place, _ in shape or ()})
        now = {place: number for number, place in enumerate(kept)}
        chosen = Finished.plainly if len(rows) <= FEW else Finished.of_rows
        return FinishedSegment(
            key=key,
            numbers=self.numbers[where],
            inputs=self.inputs[where],
            times=_chosen(self.times, where),
            shapes=[None if s is None else tuple((now[place], kind) for place, kind in s) for s in shapes],
            shape_codes=shape_codes.astype(np.int32),
            fields=[(self.fields[place][0], chosen(self.fields[place][1], where)) for place in kept],
            rest=chosen(self.rest, where) if self.rest is not None and None in shapes else None,
            raw=None if self.raw is None else _chosen(self.raw, where),
        )


def _chosen(array: Array, rows: Places | slice) -> Array:
    return array[rows] if isinstance(rows, slice) else picked(array, rows)

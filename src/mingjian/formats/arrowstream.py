"""Arrow streams from outside: read batch by batch within bounds, and turned into JSON lines.

Fails closed. Compressed batches are refused, because their size is only known when they have been unpacked; so are
types that say much with few bytes (views, run-end encoding, fixed-size lists, dictionaries inside of lists).

Source: Apache Arrow columnar format 1.5, Encapsulated message format, Streaming format; its flatbuffers schema
``Message.fbs`` for the one field that the library does not show.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, TypeAlias, cast

import pyarrow as pa

from mingjian.errors import LimitExceeded, ParseError, SchemaError, shown
from mingjian.formats.records import json_bytes
from mingjian.model.values import Value

MEDIA_TYPE: Final = "application/vnd.apache.arrow.stream"
"""Source: IANA, media type application/vnd.apache.arrow.stream."""
ROWS_MAX: Final = 5_000_000
"""So many rows a stream may have."""
COLUMNS_MAX: Final = 4_096
DEPTH_MAX: Final = 16
MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
"""So large one message of a stream may be."""
CELLS_MAX: Final = 20_000_000
"""So many cells a batch may have, those inside of lists counted."""
PORTION_ROWS: Final = 4_096
PORTION_BYTES: Final = 8 * 1024 * 1024
"""Rows are unpacked in portions of about so much."""

_Array: TypeAlias = "pa.Array[Any]"
_HEADERS: Final = {2: "dictionary", 3: "record batch"}
_SCALARS: Final = (
    *(pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_large_string),
    *(pa.types.is_date, pa.types.is_time, pa.types.is_timestamp),
)


class _Bounded:
    """A file of which nothing large is read at once, whatever a message says of its length."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or fewer at the end."""
        if size > MESSAGE_BYTES_MAX or size < 0:
            raise LimitExceeded("MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX)
        return self._file.read(size)

    def close(self) -> None:
        """Nothing: the file is not ours."""


def read_stream(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    """Read a stream from a file that can be read twice, each batch checked as a whole before it is given.

    Raises:
        ParseError: it is no Arrow stream, or a damaged one.
        SchemaError: it is compressed, or has a type that is not taken.
        LimitExceeded: a bound of this module was passed.
    """
    rows = 0
    try:
        file.seek(0)
        _look_through(file)
        file.seek(0)
        with pa.ipc.open_stream(cast("Any", _Bounded(file))) as reader:
            _check_schema(reader.schema)
            for batch in reader:
                rows += batch.num_rows
                if rows > ROWS_MAX:
                    raise LimitExceeded("ROWS_MAX", ROWS_MAX)
                batch.validate(full=True)
                if sum(_cells(column) for column in _columns(batch)) > CELLS_MAX:
                    raise LimitExceeded("CELLS_MAX", CELLS_MAX)
                yield batch
    except (pa.ArrowException, OSError, EOFError, struct.error, IndexError, ValueError) as error:
        raise ParseError(f"no Arrow stream, or a damaged one: {shown(str(error))}") from error


def json_lines(batch: pa.RecordBatch) -> Iterator[bytes]:
    """The rows of a batch as lines of JSON, each with its line feed, some at a time. Times are ISO 8601 in UTC.

    Raises:
        ParseError: a time that no calendar has, or a zone that nobody knows.
    """
    try:
        widest = max((_widest(column) for column in _columns(batch)), default=0)
        step = max(1, min(PORTION_ROWS, PORTION_BYTES // max(1, widest)))
        columns = [_readable(column) for column in _columns(batch)]
        plain = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)  # pyright: ignore[reportUnknownMemberType] - the stubs leave its types open
        for start in range(0, plain.num_rows, step):
            records = cast("list[dict[str, Value]]", plain.slice(start, step).to_pylist())
            yield b"".join(json_bytes(record) + b"\n" for record in records)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise ParseError(f"a value that cannot be written: {shown(str(error))}") from error


# --- what is looked at before anything is unpacked -------------------------------------------------------------------


def _look_through(file: BinaryIO) -> None:
    """Refuse compressed batches. Every message is read once for it, and forgotten."""
    for message in pa.ipc.MessageReader.open_stream(cast("Any", _Bounded(file))):
        if _is_compressed(message.metadata.to_pybytes()):
            hint = "write it without compression; the request itself may be compressed"
            raise SchemaError("the batches of this Arrow stream are compressed", hint=hint)


def _is_compressed(metadata: bytes) -> bool:
    message = struct.unpack_from("<I", metadata)[0]
    kind = _field(metadata, message, 1)
    header = 0 if kind is None else metadata[kind]
    if header not in _HEADERS:
        return False
    batch = _table(metadata, message, 2)
    if _HEADERS[header] == "dictionary":
        batch = _table(metadata, batch, 1)
    return _field(metadata, batch, 3) is not None


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a flatbuffers table stands; None if it has its default."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0 or 4 + 2 * number >= struct.unpack_from("<H", data, vtable)[0]:
        return None
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0]
    return table + offset if offset else None


def _table(data: bytes, table: int, number: int) -> int:
    place = _field(data, table, number)
    if place is None:
        raise ParseError("a message of this Arrow stream says nothing")
    return place + struct.unpack_from("<I", data, place)[0]


def _check_schema(schema: pa.Schema) -> None:
    if len(schema.names) > COLUMNS_MAX:
        raise LimitExceeded("COLUMNS_MAX", COLUMNS_MAX)
    if len(set(schema.names)) < len(schema.names):
        raise SchemaError("two columns have the same name")
    for name, kind in zip(schema.names, schema.types, strict=True):
        if pa.types.is_null(kind):
            continue
        if pa.types.is_dictionary(kind):
            values = cast("pa.DataType", cast("pa.DictionaryType[Any, Any]", kind).value_type)
            if not pa.types.is_string(values) and not pa.types.is_large_string(values):
                raise SchemaError(f"the column {shown(name)} is a dictionary of something else than texts")
            continue
        _check_type(kind, name, 0)


def _check_type(kind: pa.DataType, name: str, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise LimitExceeded("DEPTH_MAX", DEPTH_MAX)
    inner = _inner(kind)
    if not inner and not any(fits(kind) for fits in _SCALARS):
        hint = "numbers, texts, truth values, times, and lists and structs of them"
        raise SchemaError(f"the column {shown(name)} has a type that is not taken: {shown(str(kind))}", hint=hint)
    for each in inner:
        _check_type(each, name, depth + 1)


def _inner(kind: pa.DataType) -> list[pa.DataType]:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [cast("pa.ListType[Any]", kind).value_type]
    if pa.types.is_struct(kind):
        several = cast("Any", kind)
        return [several.field(place).type for place in range(several.num_fields)]
    return []


def _columns(batch: pa.RecordBatch) -> list[_Array]:
    return cast("list[_Array]", cast("Any", batch).columns)


def _cells(array: _Array) -> int:
    """How many cells there are, those inside counted."""
    count = len(array)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return count + _cells(cast("Any", array).flatten())
    if pa.types.is_struct(array.type):
        return count + sum(_cells(each) for each in cast("Any", array).flatten())
    return count


def _widest(array: _Array) -> int:
    """How long the longest text of a dictionary is: every row may have it."""
    if not pa.types.is_dictionary(array.type):
        return 0
    texts = cast("list[str | None]", cast("Any", array).dictionary.to_pylist())
    return max((len(text) for text in texts if text), default=0)


def _readable(array: _Array) -> _Array:
    """Moments in microseconds: Python knows no finer ones."""
    if pa.types.is_timestamp(array.type):
        zone: str = cast("Any", array.type).tz or "UTC"
        return cast("_Array", array.cast(pa.timestamp("us", zone), safe=False))
    if pa.types.is_time64(array.type):
        return cast("_Array", array.cast(pa.time64("us"), safe=False))
    return array

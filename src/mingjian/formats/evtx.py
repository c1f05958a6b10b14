"""Windows event logs (EVTX), read in bounded memory and past damage.

A file is a header of 4096 bytes and chunks of 64 KiB; each chunk holds its own strings and templates, so any run of
chunks can be read without the rest: a ``Piece`` with ``first_offset = HEADER_BYTES + n * CHUNK_BYTES`` needs no header.
The binary XML itself is decoded by the ``evtx`` package; this module feeds it groups of chunks, checks by the record
headers that every record came back, and goes through a damaged chunk record by record.

Source: [MS-EVEN6] section 2.2.12 (BinXml); chunk and record headers as in J. Metz, “Windows XML Event Log (EVTX)”.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import orjson

from mingjian.errors import InputError, LimitExceeded, ParseError
from mingjian.formats.binxml import EXPANSION_BYTES_MAX, too_large
from mingjian.formats.records import BLOCK_RECORDS_MAX, RecordBlock
from mingjian.formats.winevent import flatten
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined
from mingjian.model.values import Record, Value

HEADER_BYTES = 4096
CHUNK_BYTES = 65_536
GROUP_CHUNKS = 48
"""So many chunks (3 MiB) are decoded at a time."""

GROUP_TEXT_MAX = 48 * 1024 * 1024
"""If they give more characters than this, they are decoded one at a time."""

FILE_MAGIC = b"ElfFile\0"
CHUNK_MAGIC = b"ElfChnk\0"
_RECORD_MAGIC = 0x2A2A
_RECORD_MAGIC_BYTES = b"**\0\0"
_RECORDS_START = 512
_RECORD_BYTES_MIN = 28
_RECORD_HEAD = struct.Struct("<IIQ")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_LAST_ID_AT = 32
_FREE_SPACE_AT = 48
_TABLES_START = 128
_NO_TABLES = bytes(_RECORDS_START - _TABLES_START)
_SHAPE_NAMES_MAX = 200
_NO_ID = 2**64 - 1
_NOTHING = bytes(CHUNK_BYTES)
_RECORD_NUMBER = re.compile(r"record number (\d+)")


def recognise(head: bytes, name: str) -> bool:
    """Whether the head has the signature of an event log."""
    return head.startswith(FILE_MAGIC)


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read a whole file, or (with ``first_offset`` at the border of a chunk) a run of its chunks."""
    for group in _groups(piece):
        if isinstance(group, Quarantined):
            yield group
        else:
            yield from _read_group(piece.file, group)


class _Chunk(NamedTuple):
    """A chunk that is not all zero, and where it starts in the file; ``missing``: how much of it is not there."""

    offset: int
    data: bytes
    missing: int


class _Found(NamedTuple):
    """A record by its header alone."""

    offset: int
    size: int
    id: int


class _Walk(NamedTuple):
    """What the record headers of a chunk say."""

    records: list[_Found]
    gaps: list[tuple[int, int]]
    """Damaged ranges between them."""
    end: int
    as_declared: bool
    """The chunk's header agrees, so the chunk can be decoded as it is."""


def _groups(piece: Piece) -> Iterator[list[_Chunk] | Quarantined]:
    """Cut the bytes into groups of chunks; what is too short to be one is quarantined."""
    offset = piece.first_offset
    wanted = HEADER_BYTES if offset == 0 else 0
    buffer = bytearray()
    group: list[_Chunk] = []
    for data in piece.chunks:
        buffer += data
        if wanted and len(buffer) >= wanted:
            del buffer[:wanted]
            offset, wanted = wanted, 0
        if wanted:
            continue
        whole = len(buffer) // CHUNK_BYTES
        for index in range(whole):
            chunk = bytes(buffer[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES])
            if chunk != _NOTHING:
                group.append(_Chunk(offset, chunk, 0))
            offset += CHUNK_BYTES
            if len(group) == GROUP_CHUNKS:
                yield group
                group = []
        del buffer[: whole * CHUNK_BYTES]
    if wanted:
        yield _quarantined(piece.file, 0, 0, "the file ends inside its header", bytes(buffer))
    elif any(buffer):
        group.append(_Chunk(offset, bytes(buffer).ljust(CHUNK_BYTES, b"\0"), CHUNK_BYTES - len(buffer)))
    if group:
        yield group


def _read_group(file: str, group: list[_Chunk]) -> Iterator[Block | Quarantined]:
    """Decode a group at once if nothing in it is odd, else chunk by chunk."""
    walks = [_walk(chunk.data, CHUNK_BYTES - chunk.missing) for chunk in group]
    if (
        all(walk.as_declared for walk in walks)
        and not any(chunk.missing for chunk in group)
        and not any(too_large(chunk.data, walk.records) for chunk, walk in zip(group, walks, strict=True))
    ):
        expected = [record.id for walk in walks for record in walk.records]
        outcome = _decode([chunk.data for chunk in group], len(expected))
        if not outcome.complaints and not outcome.panicked and outcome.ids == expected:
            yield from _emit(file, outcome.texts, lambda index: _nth(group, walks, index))
            return
    for chunk, walk in zip(group, walks, strict=True):
        yield from _read_odd(file, chunk, walk)


def _nth(group: list[_Chunk], walks: list[_Walk], index: int) -> tuple[_Chunk, _Found]:
    every = [(chunk, record) for chunk, walk in zip(group, walks, strict=True) for record in walk.records]
    return every[index]


def _walk(chunk: bytes, size: int = CHUNK_BYTES) -> _Walk:
    """Go from record header to record header, over damage to the next header that makes sense.

    ``size``: how much of the chunk is there.
    """
    (free,) = _U32.unpack_from(chunk, _FREE_SPACE_AT)
    (last_id,) = _U64.unpack_from(chunk, _LAST_ID_AT)
    declared = free
    if not _RECORDS_START <= free <= CHUNK_BYTES:
        free = CHUNK_BYTES
    free = min(free, size)
    records: list[_Found] = []
    gaps: list[tuple[int, int]] = []
    offset = _RECORDS_START
    previous = None
    while True:
        record = _record_at(chunk, offset)
        if record is not None and (offset < free or previous is None or record.id - 1 == previous):
            records.append(record)
            previous = record.id
            offset += record.size
            continue
        if offset >= free or not any(chunk[offset:free]):
            break
        start = offset
        offset = _next_record(chunk, offset + _RECORD_BYTES_MIN, free)
        if offset >= free and free == size < CHUNK_BYTES:
            offset = start  # cut off here, not damaged
            break
        gaps.append((start, offset))
        if offset >= free:
            break
    as_declared = (
        not gaps and declared == offset and chunk.startswith(CHUNK_MAGIC) and (not records or last_id == records[-1].id)
    )
    return _Walk(records, gaps, offset, as_declared)


def _record_at(chunk: bytes, offset: int) -> _Found | None:
    """The record that starts here, if its size stands at both of its ends."""
    if offset + _RECORD_BYTES_MIN > CHUNK_BYTES:
        return None
    magic, size, number = _RECORD_HEAD.unpack_from(chunk, offset)
    if magic != _RECORD_MAGIC or not _RECORD_BYTES_MIN <= size <= CHUNK_BYTES - offset:
        return None
    if _U32.unpack_from(chunk, offset + size - 4)[0] != size:
        return None
    return _Found(offset, size, number)


def _next_record(chunk: bytes, start: int, end: int) -> int:
    while True:
        start = chunk.find(_RECORD_MAGIC_BYTES, start, end)
        if start < 0:
            return end
        if _record_at(chunk, start) is not None:
            return start
        start += 1


class _Outcome:
    """What the decoder gave for some chunks."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.texts: list[str] = []
        self.complaints: list[str] = []
        self.panicked = False


def _decode(chunks: list[bytes], items_max: int) -> _Outcome:
    """Decode chunks (each exactly ``CHUNK_BYTES`` long) to JSON texts, in order.

    The tables of strings and templates in their headers are left out: records work without them, and a decoder that
    follows the chains that start there would never come back from a chain that bites its tail.
    """
    from evtx import PyEvtxParser  # here, because it takes time that reading other formats need not spend

    outcome = _Outcome()
    ids, texts = outcome.ids, outcome.texts
    size = 0
    try:
        data = [_file_header(len(chunks))]
        for chunk in chunks:
            data += chunk[:_TABLES_START], _NO_TABLES, chunk[_RECORDS_START:]
        records = PyEvtxParser(io.BytesIO(b"".join(data)), number_of_threads=1).records_json()
        # One complaint per chunk may come on top; the bound keeps a defect of the decoder from running forever.
        for _ in range(items_max + 2 * len(chunks) + 2):
            try:
                record = next(records, None)
            except RuntimeError as error:
                outcome.complaints.append(str(error))
                continue
            if record is None:
                break
            ids.append(record["event_record_id"])
            texts.append(record["data"])
            size += len(texts[-1])
            if size > GROUP_TEXT_MAX and len(chunks) > 1:
                break  # the caller sees that some are missing, and goes through the chunks one by one
    except RuntimeError as error:
        outcome.complaints.append(str(error))
    except BaseException as error:
        # A panic of the decoder (Rust) is not an Exception. It concerns these bytes only.
        if type(error).__name__ != "PanicException":
            raise
        outcome.panicked = True
        outcome.complaints.append("the decoder gave up on these bytes")
    return outcome


def _file_header(chunk_count: int) -> bytes:
    head = FILE_MAGIC + struct.pack("<QQQIHHHH76xI", 0, chunk_count - 1, 1, 128, 1, 3, HEADER_BYTES, chunk_count, 0)
    return (head + _U32.pack(zlib.crc32(head[:120]))).ljust(HEADER_BYTES, b"\0")


def _emit(file: str, texts: list[str], place: Callable[[int], tuple[_Chunk, _Found]]) -> Iterator[Block | Quarantined]:
    """Turn decoded texts into blocks; a text that makes no event is quarantined in its place."""
    numbers: list[int] = []
    records: list[Record] = []
    doubled: dict[tuple[str, ...], bool] = {}
    for index, text in enumerate(texts):
        try:
            record = flatten(_event(text, doubled))
        except (InputError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if records:
                yield RecordBlock("evtx", numbers, records)
                numbers, records = [], []
            yield _quarantined_record(file, *place(index), f"decoded, but no event: {error}")
            continue
        number = record.get("EventRecordID")
        numbers.append(number if isinstance(number, int) else place(index)[1].id)
        records.append(record)
        if len(records) == BLOCK_RECORDS_MAX:
            yield RecordBlock("evtx", numbers, records)
            numbers, records = [], []
    if records:
        yield RecordBlock("evtx", numbers, records)


def _event(text: str, doubled: dict[tuple[str, ...], bool]) -> Value:
    """Read the decoder's JSON. It repeats a key where a name occurs twice; events of one shape are alike in this."""
    event = orjson.loads(text)["Event"]
    data = event.get("EventData")
    if not data:
        return event
    shape = tuple(data) if len(data) < _SHAPE_NAMES_MAX else (text,)
    if shape not in doubled:
        doubled[shape] = _has_doubled_keys(text, event)
    return _with_doubled_keys(text) if doubled[shape] else event


def _has_doubled_keys(text: str, event: Value) -> bool:
    """Whether the text of an event has more keys than what was made of it."""
    count = 1
    stack: list[Value] = [event]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            count += len(value)
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return text.count('":') - text.count('\\":') != count


def _with_doubled_keys(text: str) -> Value:
    """An event in which the values of a key that occurs several times are a list."""

    def merged(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
        result: dict[str, Value] = {}
        several: set[str] = set()
        for key, value in pairs:
            if key not in result:
                result[key] = value
                continue
            taken = result[key]
            if key in several and isinstance(taken, list):
                taken.append(value)
            else:
                several.add(key)
                result[key] = [taken, value]
        return result

    return json.loads(text, object_pairs_hook=merged)["Event"]


def _read_odd(file: str, chunk: _Chunk, walk: _Walk) -> Iterator[Block | Quarantined]:
    """Read a chunk that is damaged, cut short, or was copied while it was being written."""
    if not walk.records:
        reason = "cut off inside a chunk" if chunk.missing else "a chunk without any readable record"
        yield _quarantined(file, 0, chunk.offset, reason, chunk.data[: CHUNK_BYTES - chunk.missing])
        return
    if not chunk.data.startswith(CHUNK_MAGIC):
        yield _quarantined(file, 0, chunk.offset, "the header of a chunk is damaged", chunk.data[:_RECORDS_START])
    walk, refused = _without_too_large(chunk.data, walk)
    for record in refused:
        error = LimitExceeded("EXPANSION_BYTES_MAX", EXPANSION_BYTES_MAX)
        yield _quarantined_record(file, chunk, record, error)
    if not walk.records:
        return
    outcome = _decode([_mended(chunk.data, walk)], len(walk.records) + len(walk.gaps))
    if outcome.panicked:
        outcome = _decode_one_by_one(chunk.data, walk)
    reasons = {int(found[1]): text for text in outcome.complaints if (found := _RECORD_NUMBER.search(text))}
    general = outcome.complaints[0] if outcome.complaints else "the decoder passed over it"
    by_id = Counter(outcome.ids)
    decoded: list[_Found] = []
    lost: list[_Found] = []
    for record in walk.records:
        here = by_id[record.id] > 0
        by_id[record.id] -= here
        (decoded if here else lost).append(record)
    if len(decoded) == len(outcome.texts):
        yield from _emit(file, outcome.texts, lambda index: (chunk, decoded[index]))
    else:
        yield from _emit(file, outcome.texts, lambda index: (chunk, walk.records[0]))
    for record in lost:
        yield _quarantined_record(file, chunk, record, reasons.get(record.id, general))
    bridged = {record.offset for record in refused}
    for start, end in walk.gaps:
        if start not in bridged:
            yield _quarantined(file, 0, chunk.offset + start, "damaged records", chunk.data[start:end])
    left = chunk.data[walk.end : CHUNK_BYTES - chunk.missing] if chunk.missing else b""
    if chunk.missing and (any(left) or _declared_end(chunk.data) > walk.end):
        yield _quarantined(file, 0, chunk.offset + walk.end, "cut off inside a chunk", left)


def _without_too_large(chunk: bytes, walk: _Walk) -> tuple[_Walk, list[_Found]]:
    """What may be decoded, with gaps where there are records that may not; and these."""
    indexes = too_large(chunk, walk.records)
    refused = [walk.records[index] for index in indexes]
    if not refused:
        return walk, []
    passed = [record for index, record in enumerate(walk.records) if index not in set(indexes)]
    gaps = sorted([*walk.gaps, *((record.offset, record.offset + record.size) for record in refused)])
    return walk._replace(records=passed, gaps=gaps), refused


def _declared_end(chunk: bytes) -> int:
    return _U32.unpack_from(chunk, _FREE_SPACE_AT)[0]


def _mended(chunk: bytes, walk: _Walk) -> bytes:
    """A chunk whose header is true, in which each gap is one record that cannot be decoded."""
    mended = bytearray(chunk)
    mended[: len(CHUNK_MAGIC)] = CHUNK_MAGIC
    _U64.pack_into(mended, _LAST_ID_AT, _NO_ID)
    _U32.pack_into(mended, _FREE_SPACE_AT, walk.end)
    for start, end in walk.gaps:
        if end < walk.end:
            _bridge(mended, start, end)
    if walk.gaps and walk.gaps[-1][1] >= walk.end:
        _U32.pack_into(mended, _FREE_SPACE_AT, walk.gaps[-1][0])
    return bytes(mended)


def _bridge(chunk: bytearray, start: int, end: int) -> None:
    """Make one record of a range, with a first token that no decoder knows."""
    _RECORD_HEAD.pack_into(chunk, start, _RECORD_MAGIC, end - start, _NO_ID - 1)
    chunk[start + _RECORD_HEAD.size : start + 24] = bytes(24 - _RECORD_HEAD.size)
    chunk[start + 24] = 0xFF
    _U32.pack_into(chunk, end - 4, end - start)


def _decode_one_by_one(chunk: bytes, walk: _Walk) -> _Outcome:
    """Decode each record with all others before it bridged over and none behind it."""
    whole = _Outcome()
    for record in walk.records:
        gaps = [(_RECORDS_START, record.offset)] if record.offset > _RECORDS_START else []
        alone = _mended(chunk, _Walk([record], gaps, record.offset + record.size, as_declared=False))
        outcome = _decode([alone], 2)
        if outcome.texts:
            whole.ids.append(record.id)
            whole.texts.append(outcome.texts[-1])
        else:
            whole.complaints.append(f"record number {record.id}: {(outcome.complaints or ['unreadable'])[-1]}")
    return whole


def _quarantined_record(file: str, chunk: _Chunk, record: _Found, problem: InputError | str) -> Quarantined:
    data = chunk.data[record.offset : record.offset + record.size]
    return _quarantined(file, record.id, chunk.offset + record.offset, problem, data)


def _quarantined(file: str, record: int, offset: int, problem: InputError | str, data: bytes) -> Quarantined:
    code = ParseError.code if isinstance(problem, str) else problem.code
    return Quarantined(
        file=file, record=record, offset=offset, code=code, reason=str(problem), data=data[:QUARANTINED_BYTES_MAX]
    )

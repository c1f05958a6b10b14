"""Parquet out: a finished segment becomes one file that is there whole and for good, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mingjian.errors import StorageError
from mingjian.store.arrow import Array, Ints, with_dictionary
from mingjian.store.building import Finished
from mingjian.store.cells import KINDS, text_cell
from mingjian.store.columns import KeyPath
from mingjian.store.segments import (
    FORMAT_VERSION,
    METADATA_KEY,
    OWN_COLUMNS,
    ROW_GROUP_ROWS_MAX,
    US_PER_DAY,
    DayRecords,
    FinishedSegment,
    InputRecords,
    SegmentBuilder,
    WrittenSegment,
    month_name,
    stream_folder,
)
from mingjian.store.shapes import WHOLE, shape_text
from mingjian.store.verified import stripe_checks
from mingjian.store.workspace import sync_folder

NAME_CHARACTERS_MAX: Final = 200
"""So much of a field's name is the name of its column."""
DISTINCT_SHARE_MAX: Final = 0.5
"""Texts are written with a dictionary if at most this share of them differ."""
DICTIONARY_ROWS_MIN: Final = 128
"""In a smaller segment a dictionary costs more bytes than it saves."""
STATISTICS_ROWS_MIN: Final = 4096
"""A smaller segment has no statistics: they would be a quarter of it, and reading it takes no longer."""
STATISTICS_CHARACTERS_MAX: Final = 64
"""Columns with longer texts have no statistics: least and greatest value would fill the footer."""
DICTIONARY_BYTES_MAX: Final = 64 * 1024 * 1024
COMPRESSION_LEVEL: Final = 3
"""Of zstd: 6 takes a fifth more time and gives 5 % fewer bytes."""
ZSTD_ROWS_MIN: Final = 256
"""Smaller segments are compressed with LZ4: for pages so small, zstd takes twice the time and saves next to nothing."""
MERGED_COMPRESSION_LEVEL: Final = 9
"""For segments that are written in the background, once, to stay."""

SYNCS_AT_ONCE: Final = 16
"""So many files are made durable side by side."""
SAMPLE_ROWS: Final = 4096
"""So many numbers of a column are looked at to decide how it is written."""

ROW_GROUP_CHARACTERS_MAX: Final = 64 * 1024 * 1024
"""A row group ends early when its long texts have so many characters (or bytes, where no two are the same)."""
COLUMN_SHARE: Final = 16
"""Columns whose distinct texts have less than this part of that are not counted …"""
WEIGHED_ROWS_MIN: Final = 1024
"""… and nor are segments with so few rows."""

_DICTIONARY: Final = "dictionary"
_DELTAS: Final = "DELTA_BINARY_PACKED"
_UNUSUAL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Together:
    """Many files made durable at once: the disk does in one go what it would do for each by itself."""

    def __init__(self) -> None:
        self._files: dict[Path, Path] = {}
        """Under which name each file was written, and which one it gets."""
        self._folders: dict[Path, None] = {}

    def add(self, temporary: Path, path: Path, folders: Iterable[Path]) -> None:
        """Take a file that was written under another name, and the folders in which names are new."""
        self._files[temporary] = path
        self._folders.update(dict.fromkeys(folders))

    def settle(self) -> None:
        """Make everything durable: contents, then names. May be tried again if it fails.

        Raises:
            StorageError: something could not be kept; none of it counts.
        """
        if not self._files and not self._folders:
            return
        try:
            with ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:
                list(pool.map(_sync_file, self._files))
                while self._files:
                    temporary, path = next(iter(self._files.items()))
                    temporary.replace(path)
                    del self._files[temporary]
                list(pool.map(sync_folder, self._folders))
        except OSError as error:
            raise StorageError(f"segments cannot be written: {error.strerror}", where=str(error.filename)) from error
        self._folders.clear()


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_segment(
    lake: Path,
    organisation: str,
    builder: SegmentBuilder,
    segment_id: int,
    *,
    level: int = COMPRESSION_LEVEL,
    together: Together | None = None,
) -> WrittenSegment:
    """Write a segment into the lake, durably. It counts once the catalogue has it; until then it is rubbish.

    ``organisation`` is the public id of the organisation, ``segment_id`` one that the catalogue gave out, ``level``
    that of the compression. With ``together`` it is durable when that has settled, and not before.

    Raises:
        StorageError: it could not be written; nothing is left of it, or only what is removed at the next start.
    """
    return write_finished(lake, organisation, builder.finished(), segment_id, level=level, together=together)


def write_finished(
    lake: Path,
    organisation: str,
    segment: FinishedSegment,
    segment_id: int,
    *,
    level: int = COMPRESSION_LEVEL,
    together: Together | None = None,
) -> WrittenSegment:
    """The same for a segment that is in its final order already.

    Raises:
        StorageError: as ``write_segment``.
    """
    key = segment.key
    data = parquet_bytes(segment, level=level)
    stream = lake / f"organisation={organisation}" / f"stream={stream_folder(key.stream)}"
    folder = stream / f"month={month_name(key.month)}"
    path = folder / f"{segment_id:010d}.parquet"
    try:
        _write_file(lake, path, data, together)
    except OSError as error:
        raise StorageError(f"a segment cannot be written: {error.strerror}", where=str(path)) from error
    days = _days(segment.times)
    return WrittenSegment(
        id=segment_id,
        key=key,
        path=path.relative_to(lake).as_posix(),
        rows=len(segment.numbers),
        bytes=len(data),
        first_us=days[0].first_us if days else None,
        last_us=days[-1].last_us if days else None,
        days=days,
        content_hash=hashlib.blake2b(data, digest_size=32).digest(),
        checks=stripe_checks(memoryview(data)),
        inputs=_inputs(segment),
    )


def _write_file(lake: Path, path: Path, data: pa.Buffer, together: Together | None) -> None:
    """Write a new file, with every folder above it. Each name is durable before it is used."""
    new_in = [path.parent]
    missing = [path.parent, *path.parent.parents]
    for folder in reversed(missing[: missing.index(lake)]):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
            new_in.append(folder.parent)
            if together is None:
                sync_folder(folder.parent)
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("xb", buffering=0) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
            if together is None:
                os.fsync(file.fileno())
        if together is None:
            temporary.replace(path)
            sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if together is not None:
        together.add(temporary, path, new_in)


def _days(times: Array) -> tuple[DayRecords, ...]:
    timed = (times.drop_null() if times.null_count else times).view(pa.int64()).to_numpy()
    if not len(timed):
        return ()
    first_us, last_us = int(timed.min()), int(timed.max())
    if first_us // US_PER_DAY == last_us // US_PER_DAY:
        return (DayRecords(first_us // US_PER_DAY, len(timed), first_us, last_us),)
    timed = np.sort(timed)
    days, firsts = np.unique(timed // US_PER_DAY, return_index=True)
    ends = np.append(firsts, len(timed))[1:].tolist()
    return tuple(
        DayRecords(day, end - first, int(timed[first]), int(timed[end - 1]))
        for day, first, end in zip(days.tolist(), firsts.tolist(), ends, strict=True)
    )


def _inputs(segment: FinishedSegment) -> tuple[InputRecords, ...]:
    inputs, numbers = segment.inputs, segment.numbers
    firsts = [0, *(np.flatnonzero(inputs[1:] != inputs[:-1]) + 1).tolist()]
    return tuple(
        InputRecords(int(inputs[first]), int(numbers[first]), int(numbers[end - 1]), end - first)
        for first, end in pairwise([*firsts, len(inputs)])
    )


def parquet_bytes(segment: FinishedSegment, *, level: int = COMPRESSION_LEVEL) -> pa.Buffer:
    """The file of a segment."""
    names = _column_names([path for path, _ in segment.fields])
    columns: list[tuple[str, Finished]] = [
        ("_time", Finished(None, (), segment.times)),
        ("_input", Finished(None, (), pa.array(segment.inputs))),
        ("_record", Finished(None, (), pa.array(segment.numbers))),
        ("_shape", Finished(segment.shape_codes, _shape_texts(segment), None)),
    ]
    if segment.rest is not None:
        columns.append(("_rest", segment.rest))
    columns += [(name, field) for name, (_, field) in zip(names, segment.fields, strict=True)]
    raw_name = None
    if segment.raw is not None:
        raw_name = _free_name("_raw", {name.casefold() for name, _ in columns})
        columns.append((raw_name, Finished(None, (), _as_text_if_possible(segment.raw))))
    metadata = {METADATA_KEY.decode(): _metadata(segment, names, raw_name)}
    return _write(columns, len(segment.numbers), metadata, level)


def _shape_texts(segment: FinishedSegment) -> list[str]:
    return [
        WHOLE if shape is None else shape_text((place, KINDS[kind]) for place, kind in shape)
        for shape in segment.shapes
    ]


def _as_text_if_possible(raw: Array) -> Array:
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        return raw


def _column_names(paths: Sequence[KeyPath]) -> list[str]:
    """A name for each key path: dotted, and different from all others whatever their case."""
    taken = {name.casefold() for name in OWN_COLUMNS}
    names: list[str] = []
    for path in paths:
        plain = _UNUSUAL.sub("\ufffd", ".".join(path))[:NAME_CHARACTERS_MAX] or "(empty)"
        name = _free_name(plain, taken)
        taken.add(name.casefold())
        names.append(name)
    return names


def _free_name(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}#{number}"
    return free


def _metadata(segment: FinishedSegment, names: Sequence[str], raw_name: str | None) -> str:
    """What a reader of ours must know; see ``blocks.Segment``."""
    nested: list[int] = []
    paths: dict[str, tuple[str, str | None]] = {}
    for place, (name, (path, _)) in enumerate(zip(names, segment.fields, strict=True)):
        if tuple(name.split(".")) == path and len(path) > 1:
            nested.append(place)
        elif path != (name,):
            paths[str(place)] = text_cell(list(path))
    content: dict[str, object] = {
        "version": FORMAT_VERSION,
        "stream": segment.key.stream,
        "layout": segment.key.layout,
        "format": segment.key.format,
        "fields": len(names),
    }
    content |= {"nested": nested} if nested else {}
    content |= {"paths": paths} if paths else {}
    content |= {"raw": raw_name} if raw_name is not None else {}
    return json.dumps(content, separators=(",", ":"))


def _write(columns: list[tuple[str, Finished]], count: int, metadata: dict[str, str], level: int) -> pa.Buffer:
    encodings = {name: _encoding(name, field, count) for name, field in columns}
    sink = pa.BufferOutputStream()
    writer: pq.ParquetWriter | None = None
    schema = pa.schema([])
    for start, end in pairwise(_bounds(columns, count)):
        is_all = end - start == count
        arrays = [
            _part(field, start, end, is_all=is_all, as_codes=encodings[name] == _DICTIONARY) for name, field in columns
        ]
        if writer is None:
            schema = pa.schema(list(zip(encodings, (array.type for array in arrays), strict=True)))
            writer = pq.ParquetWriter(
                sink,
                schema,
                compression="zstd" if count >= ZSTD_ROWS_MIN else "lz4",
                compression_level=level if count >= ZSTD_ROWS_MIN else None,
                # Arrow takes a list of names here, too; its stubs do not know.
                use_dictionary=cast("bool", [name for name, how in encodings.items() if how == _DICTIONARY]),
                column_encoding={name: how for name, how in encodings.items() if how not in ("", _DICTIONARY)},
                write_statistics=[name for name, field in columns if _wants_statistics(field, count)],
                dictionary_pagesize_limit=DICTIONARY_BYTES_MAX,
                store_schema=False,
                version="2.6",
                write_page_checksum=True,
            )
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROW_GROUP_ROWS_MAX)
    assert writer is not None, "a segment has records"
    writer.add_key_value_metadata(metadata)
    writer.close()
    return sink.getvalue()


def _bounds(columns: list[tuple[str, Finished]], count: int) -> list[int]:
    """Where row groups begin, and the end: each is read as a whole, and has to fit into memory."""
    weights = np.zeros(count, dtype=np.int64)
    if count > WEIGHED_ROWS_MIN:
        for _, field in columns:
            weights += _lengths(field)
    passed = np.cumsum(weights)
    bounds = [0]
    while bounds[-1] < count:
        start = bounds[-1]
        before = int(passed[start - 1]) if start else 0
        fits = int(np.searchsorted(passed, before + ROW_GROUP_CHARACTERS_MAX, side="right"))
        bounds.append(min(max(fits, start + 1), start + ROW_GROUP_ROWS_MAX, count))
    return bounds


def _lengths(field: Finished) -> Ints | int:
    """How long the text of each row is; 0 if it does not matter."""
    least = ROW_GROUP_CHARACTERS_MAX // COLUMN_SHARE
    if field.codes is not None:
        if sum(map(len, field.distinct)) <= least:
            return 0
        lengths = np.fromiter(map(len, field.distinct), dtype=np.int64, count=len(field.distinct))
        return np.append(lengths, 0)[field.codes]  # a missing text (−1) has the last length
    values = field.values
    if values is None or values.nbytes <= least or values.type not in (pa.string(), pa.binary()):
        return 0
    offsets_buffer = values.buffers()[1]
    assert offsets_buffer is not None, "an array of texts has offsets"
    offsets = np.frombuffer(memoryview(offsets_buffer), dtype=np.int32)[values.offset : values.offset + len(values) + 1]
    return np.diff(offsets).astype(np.int64)


def _encoding(name: str, field: Finished, count: int) -> str:
    """How Parquet is to write a column; empty for its own choice."""
    if name in ("_time", "_record"):
        return _DELTAS
    if field.codes is not None:
        is_worth_it = count >= DICTIONARY_ROWS_MIN and len(field.distinct) <= DISTINCT_SHARE_MAX * count
        return _DICTIONARY if is_worth_it else ""
    if field.values is None or field.values.type != pa.int64():
        return ""
    sample = field.values.slice(0, SAMPLE_ROWS)
    return _DICTIONARY if len(sample.unique()) <= DISTINCT_SHARE_MAX * len(sample) else _DELTAS


def _wants_statistics(field: Finished, count: int) -> bool:
    if count < STATISTICS_ROWS_MIN:
        return False
    if field.codes is not None:
        return all(len(text) <= STATISTICS_CHARACTERS_MAX for text in field.distinct)
    return field.values is not None and field.values.type != pa.string()


def _part(field: Finished, start: int, end: int, *, is_all: bool, as_codes: bool) -> Array:
    """The rows of one row group, with a dictionary of only those texts that are in it."""
    rows = slice(start, end)
    if field.codes is None or not as_codes:
        values = field.plainly(rows).values
        assert values is not None
        return values
    part = field if is_all else field.of_rows(rows)
    assert part.codes is not None
    return with_dictionary(part.distinct, part.codes)

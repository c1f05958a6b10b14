"""The warning lists as one file that is looked into without being read: asking one question must not take seconds.

A cache, made of the lists when it is missing or of another version; it may be deleted at any time. What cannot be used
is made anew, and what cannot be written is done without.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from mingjian.store.indicatorkeys import Asked, KeyTable
from mingjian.store.sightings import columns
from mingjian.store.sightings.columns import Column

FORMAT: Final = 1
"""Raise it when what the file holds changes its form."""
SUFFIX: Final = ".warned"
_ABOUT: Final = b"mingjian"
_SCHEMA: Final = pa.schema(
    [
        pa.field("hash", pa.uint64(), nullable=False),
        pa.field("key", pa.large_binary(), nullable=False),
        pa.field("number", pa.int32(), nullable=False),
        pa.field("prefix", pa.int16(), nullable=False),
    ]
)


class Kept(NamedTuple):
    """The entries of all lists, each with the number of its list and the length of its prefix."""

    table: KeyTable
    numbers: Column
    prefixes: Column


class _About(msgspec.Struct, frozen=True):
    version: str
    asked: Asked


def read(folder: Path, version: str) -> Kept | None:
    """Open the file of a version; None if there is none that can be used."""
    try:
        file = pa.memory_map(str(_path(folder, version)))
        table = pa.ipc.open_file(file).read_all()
        about = msgspec.json.decode((table.schema.metadata or {})[_ABOUT], type=_About)
        if about.version != version or not table.schema.equals(_SCHEMA):
            return None
        hashes, keys, numbers, prefixes = (_whole(table.column(name)) for name in _SCHEMA.names)
    except (OSError, pa.ArrowException, msgspec.MsgspecError, KeyError):
        return None
    entries = KeyTable.of(hashes.to_numpy(), columns.as_binaries(keys), np.arange(len(keys)), about.asked)
    return Kept(entries, numbers.to_numpy(), prefixes.to_numpy())


def _whole(column: columns.ChunkedArray) -> columns.Array:
    # To combine one chunk with none copies it.
    chunks = column.chunks
    return chunks[0] if len(chunks) == 1 else columns.appended(chunks)


def write(folder: Path, version: str, kept: Kept) -> None:
    """Keep the entries for the next time, if that is possible."""
    hashes, keys, rows = kept.table.in_order()
    cells = [
        pa.array(hashes, pa.uint64()),
        columns.as_binaries(keys),
        pa.array(kept.numbers[rows], pa.int32()),
        pa.array(kept.prefixes[rows], pa.int16()),
    ]
    about = msgspec.json.encode(_About(version, kept.table.asked))
    table = pa.Table.from_arrays(cells, schema=_SCHEMA).replace_schema_metadata({_ABOUT: about})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        os.close(handle)
        try:
            with pa.OSFile(name, "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            Path(name).replace(_path(folder, version))
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError:
        return
    for old in list(folder.glob(f"*{SUFFIX}")):
        if old != _path(folder, version):
            old.unlink(missing_ok=True)


def _path(folder: Path, version: str) -> Path:
    return folder / f"{version}-{FORMAT}{SUFFIX}"

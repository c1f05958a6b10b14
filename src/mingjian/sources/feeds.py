"""Feeds on disk: files and folders of indicators, opened and read.

A folder is read with all that is in it. A folder with the ``manifest.json`` of a MISP feed is that feed: the events
that the manifest names are read and nothing else (its ``hashes.csv`` are digests of attribute values, not of files).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from mingjian.errors import InputError
from mingjian.formats import containers
from mingjian.formats.indicators import documents, misp
from mingjian.formats.indicators.lists import Entry
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.indicators import Assumed
from mingjian.sources import files

MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 64 * 1024 * 1024
FILES_MAX: Final = 100_000
"""A folder with more files is not read further."""


def read_feed(path: str, assumed: Assumed) -> Iterator[Entry]:
    """Read a file, a folder or standard input (``-``): what can be looked for, what is not, and what cannot be read.

    Nothing is raised for what the files hold or for files that cannot be opened.
    """
    folder = Path(path)
    if path != files.STANDARD_INPUT and folder.is_dir():
        found = _of_manifest(folder)
        if found is None:
            # What a program leaves lying around for itself is no indicator.
            names = (f for f in files.find([path])[0] if not Path(f).name.startswith("."))
            kept = list(islice(names, FILES_MAX + 1))
            if len(kept) > FILES_MAX:
                yield _unreadable(path, f"more than FILES_MAX allows ({FILES_MAX}): the rest is not read")
            found = _Found(kept[:FILES_MAX], [])
        yield from found.missing
        for file in found.there:
            yield from _read_file(file, assumed)
    else:
        yield from _read_file(path, assumed)


class _Found(NamedTuple):
    """Files to read, and what should be there too."""

    there: list[str]
    missing: list[Quarantined]


def _of_manifest(folder: Path) -> _Found | None:
    """The files that a manifest names, and those that are not there; None if there is no manifest."""
    place = folder / MANIFEST
    try:
        with place.open("rb") as stream:
            data = stream.read(MANIFEST_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _Found([], [_unreadable(str(place), error.strerror or str(error))])
    try:
        ids = misp.manifest(data, file=str(place), size_bytes_max=MANIFEST_BYTES_MAX)
    except InputError as error:
        return _Found([], [_unreadable(str(place), error.what)])
    if ids is None:
        return None
    there = [folder / f"{number}.json" for number in ids]
    reason = "the manifest names it, but it is not there"
    missing = [_unreadable(str(file), reason) for file in there if not file.is_file()]
    return _Found([str(file) for file in there if file.is_file()], missing)


def _read_file(path: str, assumed: Assumed) -> Iterator[Entry]:
    try:
        if path == files.STANDARD_INPUT:
            yield from _read_stream("(standard input)", sys.stdin.buffer, assumed)
            return
        with Path(path).open("rb") as stream:
            yield from _read_stream(path, stream, assumed)
    except OSError as error:
        yield _unreadable(path, error.strerror or str(error))


def _read_stream(name: str, stream: BinaryIO, assumed: Assumed) -> Iterator[Entry]:
    for member in containers.open_members(name, stream):
        if isinstance(member, Quarantined):
            yield member
        else:
            yield from documents.read(Piece(file=member.name, chunks=member.chunks), assumed)


def _unreadable(file: str, reason: str) -> Quarantined:
    return Quarantined(file=file, record=0, offset=-1, code="input-error", reason=reason, data=b"")

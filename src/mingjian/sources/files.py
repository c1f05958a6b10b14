"""Files and folders on their way in: what there is to read, cut into tasks, and opened.

A *task* is a whole file or a range of one. Big files whose format allows it are cut, so that several processes share
one file; the number of a record in a range is counted from 1 and corrected by whoever knows the ranges before it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO

import msgspec

from mingjian.formats import containers, registry
from mingjian.model.blocks import Block, FirstPaths, Piece, Quarantined

READ_BYTES = 1024 * 1024
"""So much is read from a file at a time."""
RANGE_BYTES_MIN = 4 * 1024 * 1024
"""A file shorter than two such ranges is not cut."""
RANGE_BYTES_MAX = 32 * 1024 * 1024
"""A range is about this long at most."""
STANDARD_INPUT = "-"
"""The path that stands for standard input."""


class Task(msgspec.Struct, frozen=True):
    """One file, or the range from ``start`` up to ``end`` of one."""

    file: str
    size_bytes: int
    start: int = 0
    end: int | None = None
    part: int = 0
    """Place of the range among those of the file."""


class Counts(msgspec.Struct):
    """What reading a task adds up to."""

    lines: int = 0
    """Lines in a range of lines: what the numbers of the next range have to be raised by."""
    bytes: int = 0


def find(paths: Sequence[str]) -> tuple[list[str], list[Quarantined]]:
    """List the files below paths, each once, in a stable order; what is not there or not a file comes second.

    Symbolic links to folders are not followed.
    """
    found: dict[str, None] = {}
    missing: list[Quarantined] = []
    for path in paths:
        if path == STANDARD_INPUT or Path(path).is_file():
            found[path] = None
        elif Path(path).is_dir():
            for folder, folders, names in os.walk(path):
                folders.sort()
                found.update((str(Path(folder, name)), None) for name in sorted(names))
        else:
            missing.append(_unreadable(path, "there is no such file or folder"))
    return list(found), missing


def plan(files: Sequence[str], jobs: int) -> list[Task]:
    """Cut files into tasks for this many processes, the longest first."""
    sizes = {file: _size_bytes(file) for file in files}
    range_bytes = min(RANGE_BYTES_MAX, max(RANGE_BYTES_MIN, sum(sizes.values()) // (jobs * 8)))
    tasks = [task for file in files for task in _cut(file, sizes[file], range_bytes if jobs > 1 else 0)]
    return sorted(tasks, key=lambda task: -task.size_bytes)


def _size_bytes(file: str) -> int:
    """The size of a file; 0 for standard input and for what is gone since it was found."""
    try:
        return 0 if file == STANDARD_INPUT else Path(file).stat().st_size
    except OSError:
        return 0


def _cut(file: str, size: int, range_bytes: int) -> list[Task]:
    whole = [Task(file, size)]
    if not range_bytes or size < 2 * range_bytes:
        return whole
    try:
        with Path(file).open("rb") as stream:
            head = stream.read(registry.HEAD_BYTES_MAX)
    except OSError:
        return whole
    if containers.container_kind(head) is not None:
        return whole
    found = registry.recognise(head, file)
    if found is None:
        return whole
    if found.stride_bytes:
        stride = found.stride_bytes * max(1, range_bytes // found.stride_bytes)
        cuts = [0, *range(found.header_bytes + stride, size, stride), size]
    elif registry.may_be_cut(found, head):
        cuts = [*range(0, size, range_bytes), size]
    else:
        return whole
    return [Task(file, end - start, start, end, part) for part, (start, end) in enumerate(pairwise(cuts))]


def read(task: Task, counts: Counts, first_paths: FirstPaths) -> Iterator[tuple[str, Block | Quarantined]]:
    """Open a task and read it: blocks with the name of the file (``archive!member``) that each is from.

    A file that cannot be opened or read is one ``Quarantined``.
    """
    try:
        if task.end is None:
            yield from _read_whole(task, counts, first_paths)
        else:
            yield from _read_range(task, counts, first_paths)
    except OSError as error:
        yield task.file, _unreadable(task.file, error.strerror or str(error))


def _read_whole(task: Task, counts: Counts, first_paths: FirstPaths) -> Iterator[tuple[str, Block | Quarantined]]:
    if task.file == STANDARD_INPUT:
        yield from _read_members("(standard input)", sys.stdin.buffer, None, first_paths)
        return
    with Path(task.file).open("rb", buffering=0) as stream:
        modified_at_s = os.fstat(stream.fileno()).st_mtime
        yield from _read_members(task.file, stream, modified_at_s, first_paths)  # type: ignore[arg-type]  # a raw file reads bytes
    counts.bytes += task.size_bytes


def _read_members(
    name: str, stream: BinaryIO, modified_at_s: float | None, first_paths: FirstPaths
) -> Iterator[tuple[str, Block | Quarantined]]:
    for member in containers.open_members(name, stream, modified_at_s=modified_at_s):
        if isinstance(member, Quarantined):
            yield member.file, member
        else:
            yield from _read_piece(
                Piece(file=member.name, chunks=member.chunks, modified_at_s=member.modified_at_s), first_paths
            )


def _read_piece(piece: Piece, first_paths: FirstPaths) -> Iterator[tuple[str, Block | Quarantined]]:
    head, chunks = _with_head(piece.chunks)
    if not head:
        return
    found = registry.recognise(head, piece.file)
    if found is None:
        yield piece.file, registry.unknown(piece.file, head)
        return
    for item in found.read(msgspec.structs.replace(piece, chunks=chunks, first_paths=first_paths)):
        yield piece.file, item


def _with_head(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= registry.HEAD_BYTES_MAX:
            break
    return b"".join(parts)[: registry.HEAD_BYTES_MAX], chain(parts, chunks)


def _read_range(task: Task, counts: Counts, first_paths: FirstPaths) -> Iterator[tuple[str, Block | Quarantined]]:
    assert task.end is not None
    lines: list[int] = []
    with Path(task.file).open("rb") as stream:
        head = stream.read(registry.HEAD_BYTES_MAX)
        found = registry.recognise(head, task.file)
        assert found is not None, "only files of a known format are cut"
        if found.stride_bytes:
            chunks = _strided(stream, task, found.header_bytes)
            start = task.start
        else:
            start = _line_start(stream, task.start)
            chunks = _between(stream, start, _line_start(stream, task.end))
        piece = Piece(
            file=task.file,
            chunks=chunks,
            first_offset=start,
            first_paths=first_paths,
            on_lines=lines.append,
            modified_at_s=os.fstat(stream.fileno()).st_mtime,
        )
        for item in found.read(piece):
            yield task.file, item
    assert lines or found.stride_bytes, "a format of lines that may be cut is read line by line"
    counts.lines += sum(lines)
    counts.bytes += task.size_bytes


def _line_start(stream: BinaryIO, offset: int) -> int:
    """The first byte of the first line that begins at or behind an offset."""
    if offset == 0:
        return 0
    stream.seek(offset - 1)
    while block := stream.read(READ_BYTES):
        found = block.find(b"\n")
        if found >= 0:
            return stream.tell() - len(block) + found + 1
    return stream.tell()


def _between(stream: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    stream.seek(start)
    left = end - start
    while left > 0 and (block := stream.read(min(READ_BYTES, left))):
        left -= len(block)
        yield block


def _strided(stream: BinaryIO, task: Task, header_bytes: int) -> Iterator[bytes]:
    """The file's header, then the range: what a file with only these chunks would hold."""
    assert task.end is not None
    if task.start:
        stream.seek(0)
        yield stream.read(header_bytes)
    yield from _between(stream, task.start, task.end)


def _unreadable(file: str, reason: str) -> Quarantined:
    return Quarantined(file=file, record=0, offset=-1, code="input-error", reason=reason, data=b"")

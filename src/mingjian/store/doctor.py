"""Whether a workspace is whole: its database, every segment, every file of the sightings index; and what to do if not.

Nothing is changed by looking. What is damaged is named with what it costs and with the way back; what is all right is
counted, so that the absence of a complaint means something.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.errors import StateError, StorageError
from mingjian.store import seals
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import SegmentRow, live_segments
from mingjian.store.indexfiles import live_index_files
from mingjian.store.scope import Scope
from mingjian.store.segments import month_name
from mingjian.store.sightings.checking import check_file
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.upkeep import files_of_lake
from mingjian.store.verified import stripe_checks
from mingjian.store.workspace import Workspace

Part: TypeAlias = Literal["database", "segments", "sightings"]
Result: TypeAlias = Literal["ok", "damaged", "missing", "left over", "set aside", "made anew"]
OnBytes: TypeAlias = Callable[[int, int], None]
"""Told how many bytes and events have been looked at."""

_FROM_BACKUP: Final = (
    "put the file back from a backup; without one, mingjian doctor --set-aside lets everything else go on without it"
)
_DATABASE_WAY_BACK: Final = (
    "put state.db back from a backup (without state.db-wal and state.db-shm); or make a new workspace and ingest the "
    "logs again; the files in lake/ can be read by every program that reads Parquet"
)
_INDEX_WAY_BACK: Final = "mingjian doctor --rebuild-sightings makes the index anew from the segments"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out about one part of a workspace, or about one file in it."""

    part: Part
    result: Result
    where: str
    """A file, relative to the workspace; or the part as a whole."""
    said: str
    next: str = ""
    """What to do; empty if nothing."""

    @property
    def is_trouble(self) -> bool:
        """Whether somebody has to do something."""
        return self.result in ("damaged", "missing")


def unreadable(error: StorageError) -> Finding:
    """What is to be said of a workspace that cannot even be opened."""
    return Finding(part="database", result="damaged", where="state.db", said=error.what, next=_DATABASE_WAY_BACK)


def examine(workspace: Workspace, scope: Scope, *, on_bytes: OnBytes | None = None) -> Iterator[Finding]:
    """Look at everything that a scope may read, part by part; the database as a whole.

    Reads every byte of the segments. Others may write meanwhile.

    Raises:
        StorageError: the database cannot be read at all.
    """
    yield from examine_database(workspace)
    with workspace.reading():
        yield from _examine_segments(workspace, scope, on_bytes or (lambda _, __: None))
    yield from _examine_sightings(workspace)


def examine_database(workspace: Workspace) -> Iterator[Finding]:
    """Look at the state database: its structure, its references, and every row."""
    if workspace.dialect != "sqlite":
        with workspace.read() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM segments")
        said = "it answers; whether its pages are whole is PostgreSQL's to check (data checksums)"
        yield Finding(part="database", result="ok", where=workspace.dialect, said=said)
        return
    complaints = _complaints(workspace)
    for complaint in complaints:
        yield Finding(part="database", result="damaged", where="state.db", said=complaint, next=_DATABASE_WAY_BACK)
    if not complaints:
        yield Finding(part="database", result="ok", where="state.db", said="whole, and every row is as it was written")


def _complaints(workspace: Workspace) -> list[str]:
    try:
        with workspace.read() as connection:
            return seals.complaints(connection)
    except StorageError as error:
        return [error.what]


def _examine_segments(workspace: Workspace, scope: Scope, on_bytes: OnBytes) -> Iterator[Finding]:
    rows = live_segments(workspace, scope)
    done_bytes = done_events = whole = 0
    for row in rows:
        finding = _examine_segment(workspace.lake, row)
        if finding is None:
            whole += 1
        else:
            yield finding
        done_bytes += row.bytes
        done_events += row.rows
        on_bytes(done_bytes, done_events)
    if whole == len(rows):
        said = f"{whole:,} segments with {done_events:,} events, {done_bytes:,} bytes: whole"
        yield Finding(part="segments", result="ok", where="lake", said=said)
    live = {row.path for row in rows}
    strays = [name for name in files_of_lake(workspace) if name not in live]
    if strays and scope.readable() is None:
        said = f"{len(strays):,} files that do not count: replaced, expired, or never committed"
        yield Finding(
            part="segments", result="left over", where="lake", said=said, next="whatever writes next removes them"
        )


def _examine_segment(lake: Path, row: SegmentRow) -> Finding | None:
    about = f"{row.rows:,} events of {row.key.stream} of {month_name(row.key.month)}"
    where = f"lake/{row.path}"
    try:
        data = (lake / row.path).read_bytes()
    except OSError as error:
        said = f"{about} cannot be read: {error.strerror}"
        return Finding(part="segments", result="missing", where=where, said=said, next=_FROM_BACKUP)
    is_as_written = len(data) == row.bytes and hashlib.blake2b(data, digest_size=32).digest() == row.content_hash
    if not is_as_written or stripe_checks(data) != row.checks:
        said = f"{about} are not as they were written"
        return Finding(part="segments", result="damaged", where=where, said=said, next=_FROM_BACKUP)
    try:
        with Segment(lake / row.path, checks=row.checks) as segment:
            is_right = (segment.rows, segment.stream, segment.layout) == (row.rows, row.key.stream, row.key.layout)
    except StorageError:
        is_right = False
    if is_right:
        return None
    said = f"{about}: the file says something else of itself"
    return Finding(part="segments", result="damaged", where=where, said=said, next=_DATABASE_WAY_BACK)


def _examine_sightings(workspace: Workspace) -> Iterator[Finding]:
    files = live_index_files(workspace)
    folder = DiskFolder(workspace.sightings)
    there = set(folder.names())
    whole = 0
    for file in files:
        where = f"sightings/{file.name}"
        if file.name not in there:
            if file.name in {each.name for each in live_index_files(workspace)}:
                said = f"a file of the index with {file.rows:,} rows is not there"
                yield Finding(part="sightings", result="missing", where=where, said=said, next=_INDEX_WAY_BACK)
            continue
        try:
            check_file(folder, file.name)
            whole += 1
        except (StorageError, StateError) as error:
            yield Finding(part="sightings", result="damaged", where=where, said=error.what, next=_INDEX_WAY_BACK)
    if whole == len(files):
        said = f"{whole:,} files of the index with {sum(file.rows for file in files):,} rows: whole"
        yield Finding(part="sightings", result="ok", where="sightings", said=said)

"""The catalogue's part of the sightings index: which of its files count, and where events went that they point to.

For one transaction with the events (``with_index_file``), and for merges of the index (``replace_index_files``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from mingjian.errors import StateError
from mingjian.store import tables as t
from mingjian.store.catalogue import Extra
from mingjian.store.seals import verified
from mingjian.store.sightings.layout import IndexFile
from mingjian.store.workspace import Workspace, now_us

ASKED_AT_ONCE: Final = 500
CLOSE_MIN: Final = 2_000
CLOSE: Final = 8
"""More numbers than that are close together if one in so many is asked for."""
"""So many ids stand in one query."""


def live_index_files(workspace: Workspace) -> list[IndexFile]:
    """The files of the index that count, in the order in which they were committed.

    What is in them belongs to several organisations: whoever looks into them passes the scope on.
    """
    table = t.sighting_files
    query = sa.select(table).where(table.c.state == "live").order_by(table.c.id)
    with workspace.read() as connection:
        return [
            IndexFile(
                name=row.name,
                size_bytes=row.size_bytes,
                values=row.observables,
                rows=row.rows,
                count=row.count_,
                first_day=row.first_day,
                last_day=row.last_day,
                organisations=msgspec.json.decode(row.organisations, type=tuple[int, ...]),
                content_hash=row.content_hash,
                canonical_version=row.canonical_version,
            )
            for row in verified(table, connection.execute(query))
        ]


def with_index_file(file: IndexFile) -> Extra:
    """Commit a file of the index together with the events that it was made of. It must be durable."""

    def add(connection: sa.Connection) -> None:
        _insert(connection, file)

    return add


def replace_index_files(workspace: Workspace, old: Sequence[str], new: Sequence[IndexFile]) -> None:
    """Let new files, which must be durable, count in the place of old ones: a merge of them, or the index made anew.

    Raises:
        StateError: some of the old ones do not count any more; nothing was changed.
    """
    table = t.sighting_files
    with workspace.begin() as connection:
        ids = [_insert(connection, file) for file in new]
        ended = connection.execute(
            sa.update(table)
            .where(table.c.name.in_(old), table.c.state == "live")
            .values(state="merged", replaced_by=ids[0] if ids else None, ended_us=workspace.clock_us())
        )
        if ended.rowcount != len(old):
            raise StateError("some files of the sightings index do not count any more")


def _insert(connection: sa.Connection, file: IndexFile) -> int:
    values = {
        "name": file.name,
        "size_bytes": file.size_bytes,
        "observables": file.values,
        "rows": file.rows,
        "count_": file.count,
        "first_day": file.first_day,
        "last_day": file.last_day,
        "organisations": msgspec.json.encode(file.organisations).decode(),
        "content_hash": file.content_hash,
        "canonical_version": file.canonical_version,
        "state": "live",
        "committed_us": now_us(),
    }
    return connection.execute(sa.insert(t.sighting_files).values(values).returning(t.sighting_files.c.id)).scalar_one()


def segments_replaced(workspace: Workspace, segments: Collection[int] | None = None) -> dict[int, int | None]:
    """For each segment that is no more: the one that has its events now; None if retention took them.

    Only for some segments, and those that took their place one after the other, or for all there ever were.
    """
    table = t.segments
    query = sa.select(table.c.id, table.c.replaced_by).where(table.c.state != "live")
    with workspace.read() as connection:
        if segments is None:
            return {row.id: row.replaced_by for row in connection.execute(query)}
        found: dict[int, int | None] = {}
        wanted = sorted(segments)
        if len(wanted) > CLOSE_MIN and wanted[-1] - wanted[0] < CLOSE * len(wanted):
            # Where they stand close together, reading all of them is quicker than naming each.
            named = set(wanted)
            between = query.where(table.c.id.between(wanted[0], wanted[-1]))
            found = {number: now for number, now in connection.execute(between).all() if number in named}
            wanted = sorted({segment for segment in found.values() if segment is not None} - found.keys())
        while wanted:
            new: dict[int, int | None] = {}
            for start in range(0, len(wanted), ASKED_AT_ONCE):
                some = query.where(table.c.id.in_(wanted[start : start + ASKED_AT_ONCE]))
                new |= {row.id: row.replaced_by for row in connection.execute(some)}
            found |= new
            wanted = sorted({segment for segment in new.values() if segment is not None} - found.keys())
        return found

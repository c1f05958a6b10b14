"""Small segments become larger ones: the same records, fewer files.

The new file is durable before one transaction puts it in the place of the old ones; until that, and after a crash,
the old ones count. Their files stay for as long as anybody reads (``upkeep.clean``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import StateError
from mingjian.store import tables as t
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import SegmentRow, add_segments, reserve_segments, segment_rows, within
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import SegmentBuilder, SegmentKey
from mingjian.store.workspace import Workspace
from mingjian.store.writing import MERGED_COMPRESSION_LEVEL, write_segment

MERGED_ROWS_MAX: Final = 131_072
"""A segment is not made larger than this by merging: all of it is in memory then, one to three kilobytes an event."""
TIER_FACTOR: Final = 8
"""So many segments of about the same size are merged into one: each record is then written anew only a few times."""
MERGED_BYTES_MAX: Final = 16 * 1024 * 1024
"""Files of more bytes together are not merged: their columns are in memory at once, thirty times as large or more."""

MergeExtra: TypeAlias = Callable[[sa.Connection, Sequence[int], int], None]
"""Rows of another part of the store for the transaction of a merge. It gets the old ids and the new one."""


class Merge(msgspec.Struct, frozen=True):
    """Segments that are to become one."""

    parts: tuple[SegmentRow, ...]


def plan_merges(
    workspace: Workspace, scope: Scope, *, today: int, organisation: OrganisationId | None = None
) -> list[Merge]:
    """What is worth merging now, the most files first.

    Of one key, segments of about the same size are merged once there are eight of them; when the day is over
    (``today`` is days since 1970), whatever fits together is.
    """
    by_key: dict[SegmentKey, list[SegmentRow]] = defaultdict(list)
    for row in _with_others(workspace, scope, organisation):
        by_key[row.key].append(row)
    merges: list[Merge] = []
    for key, rows in by_key.items():
        rows.sort(key=lambda row: (row.rows, row.id))
        is_over = key.day is not None and key.day < today
        group: list[SegmentRow] = []
        for row in [*rows, None]:
            fits = row is not None and _fits(group, row, is_over=is_over)
            if not fits:
                if len(group) >= (2 if is_over else TIER_FACTOR):
                    merges.append(Merge(tuple(group)))
                group = []
            if row is not None:
                group.append(row)
    return sorted(merges, key=lambda merge: -len(merge.parts))


def _with_others(workspace: Workspace, scope: Scope, organisation: OrganisationId | None) -> list[SegmentRow]:
    """The live segments that are not the only one of their key: of most keys there is but one, and nothing to merge."""
    if organisation is not None:
        scope.check_read(organisation)
    table, other = t.segments, t.segments.alias()
    of = table.c.organisation_id
    same = [table.c[name] == other.c[name] for name in ("organisation_id", "stream_id", "layout", "format")]
    is_other = sa.exists().where(
        other.c.state == "live", other.c.day.is_not_distinct_from(table.c.day), other.c.id != table.c.id, *same
    )
    asked = within(scope, of) if organisation is None else of == organisation
    return segment_rows(workspace, sa.and_(table.c.state == "live", asked, is_other))


def _fits(group: Sequence[SegmentRow], row: SegmentRow, *, is_over: bool) -> bool:
    together = sum(each.rows for each in group) + row.rows
    if together > MERGED_ROWS_MAX or sum(each.bytes for each in group) + row.bytes > MERGED_BYTES_MAX:
        return False
    return is_over or not group or row.rows < TIER_FACTOR * group[0].rows


def merge(workspace: Workspace, scope: Scope, planned: Merge, extras: Sequence[MergeExtra] = ()) -> int:
    """Merge segments; give the id of the new one.

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation.
        StateError: some of them are no longer there, or cannot be merged. Nothing was changed.
        StorageError: the new segment could not be kept. Nothing was changed.
    """
    key = planned.parts[0].key
    assert all(part.key == key for part in planned.parts), "only segments of one key are merged"
    scope.check_write(key.organisation)
    with workspace.writing():
        with workspace.read() as connection:
            public_id = connection.execute(
                sa.select(t.organisations.c.public_id).where(t.organisations.c.id == key.organisation)
            ).scalar_one()
        builder = SegmentBuilder(key)
        for part in planned.parts:
            with Segment(workspace.lake / part.path, part.content_hash) as segment:
                for block in segment.blocks():
                    builder.add_stored(block.stored())
        assert builder.rows == sum(part.rows for part in planned.parts)
        (new_id,) = reserve_segments(workspace, scope, key.organisation, 1)
        written = write_segment(workspace.lake, public_id, builder, new_id, level=MERGED_COMPRESSION_LEVEL)
        now = workspace.clock_us()
        old = [part.id for part in planned.parts]
        with workspace.begin() as connection:
            add_segments(connection, [written], now)
            ended = connection.execute(
                sa.update(t.segments)
                .where(t.segments.c.id.in_(old), t.segments.c.state == "live")
                .values(state="merged", replaced_by=new_id, ended_us=now)
            )
            if ended.rowcount != len(old):
                raise StateError("some segments are no longer there to be merged")
            for extra in extras:
                extra(connection, old, new_id)
    return new_id

"""Small segments become larger ones: the same records, fewer files.

The new file is durable before one transaction puts it in the place of the old ones; until that, and after a crash,
the old ones count. Their files stay for as long as anybody reads (``upkeep.clean``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from mingjian.errors import StateError
from mingjian.store import tables as t
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import SegmentRow, add_segments, reserve_segments, segment_rows, within
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import DAY_ROWS_MIN, SegmentBuilder, SegmentKey, last_day_of
from mingjian.store.upkeep import retentions, shares_days
from mingjian.store.workspace import Workspace
from mingjian.store.writing import MERGED_COMPRESSION_LEVEL, write_segment

MERGED_ROWS_MAX: Final = 131_072
"""A segment is not made larger than this by merging (all of it is in memory then, one to three kilobytes an event) …"""
MONTH_ROWS_MAX: Final = 65_536
"""… and one of several days no larger than this: whoever asks for one of them reads few others with it."""
TIER_FACTOR: Final = 8
"""So many segments of about the same size are merged into one: each record is then written anew only a few times."""
MERGED_BYTES_MAX: Final = 6 * 1024 * 1024
"""Files of more bytes together are not merged …"""
UNPACKED_BYTES_MAX: Final = 24 * 1024 * 1024
"""… and nor are files whose columns have more bytes before compression: merging takes three times as much memory."""
WEIGHED_ROWS_MIN: Final = 512
"""What so few records are unpacked is not looked up: nearly all merges are of a few records each."""
LOOKED_UP_MAX: Final = 65_536
"""Of so many files it is remembered what they are unpacked."""

MergeExtra: TypeAlias = Callable[[sa.Connection, Sequence[int], int], None]
"""Rows of another part of the store for the transaction of a merge. It gets the old ids and the new one."""


class Merge(msgspec.Struct, frozen=True):
    """Segments that are to become one."""

    parts: tuple[SegmentRow, ...]


def plan_merges(
    workspace: Workspace, scope: Scope, *, today: int, organisation: OrganisationId | None = None
) -> list[Merge]:
    """What is worth merging now, the most files first.

    Of one day, segments of about the same size are merged once there are eight of them; when the day is over
    (``today`` is days since 1970), whatever fits together is. Days that are over and have few events become segments of
    several days of their month in the same way.
    """
    said = retentions(workspace, scope)
    by_key: dict[SegmentKey, list[SegmentRow]] = defaultdict(list)
    for row in _with_others(workspace, scope, organisation):
        by_key[row.key].append(row)
    merges = [
        merge
        for key, rows in by_key.items()
        for span in _spans(key, rows, today, shares_days(said, key.organisation, key.stream))
        for merge in _merges_within(workspace.lake, span)
    ]
    return sorted(merges, key=lambda merge: -len(merge.parts))


class _Span(NamedTuple):
    """Segments that may become one."""

    rows: list[SegmentRow]
    is_over: bool
    """No more are to be expected."""
    rows_max: int


def _spans(key: SegmentKey, rows: Sequence[SegmentRow], today: int, is_shared: bool) -> Iterator[_Span]:
    """Divide segments of a month into those of each large day, and those of all the others."""
    if key.month is None:
        yield _Span(list(rows), False, MERGED_ROWS_MAX)
        return
    by_day: dict[int, list[SegmentRow]] = defaultdict(list)
    of_month: list[SegmentRow] = []
    for row in rows:
        if row.first_day is not None and row.first_day == row.last_day:
            by_day[row.first_day].append(row)
        else:
            of_month.append(row)
    is_month_over = last_day_of(key.month) < today
    for day, several in by_day.items():
        is_over = day < today
        are_few = is_shared and is_over and sum(row.rows for row in several) < DAY_ROWS_MIN
        if are_few and (is_month_over or len(several) == 1):
            of_month += several
        else:
            yield _Span(several, is_over, MERGED_ROWS_MAX)
    if is_shared:
        yield _Span(of_month, is_month_over, MONTH_ROWS_MAX)


def _merges_within(lake: Path, span: _Span) -> Iterator[Merge]:
    group: list[SegmentRow] = []
    for row in [*sorted(span.rows, key=lambda row: (row.rows, row.id)), None]:
        if row is None or not _fits(lake, group, row, span):
            if len(group) >= (2 if span.is_over else TIER_FACTOR):
                yield Merge(tuple(group))
            group = []
        if row is not None:
            group.append(row)


def _with_others(workspace: Workspace, scope: Scope, organisation: OrganisationId | None) -> list[SegmentRow]:
    """The live segments that are not the only one of their key: of many keys there is but one, and nothing to merge."""
    if organisation is not None:
        scope.check_read(organisation)
    table, other = t.segments, t.segments.alias()
    of = table.c.organisation_id
    same = [table.c[name] == other.c[name] for name in ("organisation_id", "stream_id", "layout", "format")]
    is_other = sa.exists().where(
        other.c.state == "live", other.c.month.is_not_distinct_from(table.c.month), other.c.id != table.c.id, *same
    )
    asked = within(scope, of) if organisation is None else of == organisation
    return segment_rows(workspace, sa.and_(table.c.state == "live", asked, is_other))


def _fits(lake: Path, group: Sequence[SegmentRow], row: SegmentRow, span: _Span) -> bool:
    several = [*group, row]
    together = sum(each.rows for each in several)
    if together > span.rows_max or sum(each.bytes for each in several) > MERGED_BYTES_MAX:
        return False
    if together > WEIGHED_ROWS_MIN and sum(unpacked(lake / each.path) for each in several) > UNPACKED_BYTES_MAX:
        return False
    return span.is_over or not group or row.rows < TIER_FACTOR * group[0].rows


@lru_cache(maxsize=LOOKED_UP_MAX)
def unpacked(path: Path) -> int:
    """How many bytes the columns of a segment file have before compression; 0 if it cannot be read.

    A file never changes. Of one that is damaged, the merging says so.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.metadata
    except (OSError, pa.ArrowException):
        return 0
    return sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))


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
            # It is as old as what came last of it: else a stream would look as if something had just come in.
            add_segments(connection, [written], max(part.committed_us for part in planned.parts))
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

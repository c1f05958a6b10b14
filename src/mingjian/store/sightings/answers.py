"""What the index answers: sightings, totals, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final, NamedTuple, cast, overload

import msgspec
import numpy as np
import pyarrow as pa

from mingjian.store.sightings.columns import Array, Column, Mask, listed, numbers, plain, taken, texts
from mingjian.store.sightings.delta import OVERLAP
from mingjian.store.sightings.finding import NOTHING, Seen
from mingjian.store.sightings.layout import GONE, Group, days_since_1970
from mingjian.store.sightings.merging import FindReplaced, followed, none_replaced
from mingjian.store.sightings.rows import (
    DAY_BITS,
    EPOCH_DAY,
    NO_DAY,
    NO_FIRST,
    NO_LAST,
    Rows,
    changes,
    sorted_order,
)

_GROUP_BITS: Final = 32
_DAY_MASK: Final = (1 << DAY_BITS) - 1


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An observable seen on one day by one source of one organisation in one role."""

    organisation: int
    source: str
    role: str
    day: int | None
    """Days since 1970 UTC; None for events that do not tell their time."""
    count: int
    """In how many events."""
    first_us: int | None
    """Microseconds since 1970 UTC."""
    last_us: int | None
    segments: tuple[int, ...]
    """Where these events are, rising."""
    is_partly_gone: bool
    """Whether retention has removed some of these events, or all. They are counted all the same."""


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """An observable over all time, as far as one source of one organisation saw it in one role."""

    organisation: int
    source: str
    role: str
    count: int
    first_us: int | None
    last_us: int | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """An observable over all time."""

    count: int
    """In how many events. Each is counted once if ingest told events apart, else once for each role."""
    first_us: int | None
    last_us: int | None
    by_role: tuple[Total, ...]
    """In the order of organisation, source and role. An event counts in each role that the observable has in it."""


class Found(NamedTuple):
    """What is in a range."""

    totals: pa.Table
    """Rows of ``TOTALS_SCHEMA``, in the order of keys, organisation, source and role."""
    is_complete: bool
    """Whether this is all. If not, there are more observables than were asked for."""


_OF_ALL: Final = [
    pa.field("kind", pa.string(), nullable=False),
    pa.field("value", pa.large_string(), nullable=False),
    pa.field("organisation", pa.int64(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("role", pa.string(), nullable=False),
]
_NUMBERS: Final = [
    pa.field("count", pa.int64(), nullable=False),
    pa.field("first_us", pa.int64()),
    pa.field("last_us", pa.int64()),
]
TOTALS_SCHEMA: Final = pa.schema([*_OF_ALL, *_NUMBERS])
MATCH_SCHEMA: Final = pa.schema([pa.field("row", pa.int64(), nullable=False), *_OF_ALL, *_NUMBERS])
SIGHTINGS_SCHEMA: Final = pa.schema(
    [
        *_OF_ALL,
        pa.field("day", pa.int64()),
        *_NUMBERS,
        pa.field("segments", pa.list_(pa.int64()), nullable=False),
        pa.field("is_partly_gone", pa.bool_(), nullable=False),
    ]
)


def _first(time_us: int) -> int | None:
    return None if time_us == NO_FIRST else time_us


def _last(time_us: int) -> int | None:
    return None if time_us == NO_LAST else time_us


def totals_from(found: Mapping[Group, tuple[int, int, int]]) -> Totals | None:
    """What several files say about one observable (count, first, last by group), as one; None if they say nothing."""
    if not found:
        return None
    return Totals(
        count=sum(-count if group.role == OVERLAP else count for group, (count, _, _) in found.items()),
        first_us=_first(min(first for _, first, _ in found.values())),
        last_us=_last(max(last for _, _, last in found.values())),
        by_role=tuple(
            Total(
                organisation=group.organisation,
                source=group.source,
                role=group.role,
                count=count,
                first_us=_first(first),
                last_us=_last(last),
            )
            for group, (count, first, last) in sorted(found.items())
            if group.role != OVERLAP
        ),
    )


def in_group_order(groups: Sequence[Group]) -> tuple[list[Group], Column]:
    """Groups in their order, and the place there of each one given."""
    ordered = sorted(groups)
    places = {group: place for place, group in enumerate(ordered)}
    return ordered, np.array([places[group] for group in groups], np.int64)


class RowSegments(NamedTuple):
    """The segments of each of some rows."""

    ids: Column
    ends: Column
    """Where in ``ids`` those of each row end."""
    is_gone: Mask
    """Of each row, whether there were more."""


class Sightings(Sequence[Sighting]):
    """Sightings in columns: what is made of a thousand of them costs nothing before somebody looks at it."""

    def __init__(
        self,
        groups: Sequence[Group],
        place: Column,
        count: Column,
        times: tuple[Column, Column],
        segments: Callable[[], RowSegments],
    ) -> None:
        """Take parallel columns.

        ``place`` is the number of the group and, in the last ``DAY_BITS``, the day; ``times`` first and last;
        ``segments`` finds out which segments have the events now, once somebody looks at a sighting.
        """
        self._groups = groups
        self._place = place
        self._count = count
        self._first, self._last = times
        self._find_segments = segments

    @cached_property
    def _segments(self) -> RowSegments:
        return self._find_segments()

    def segments(self) -> list[int]:
        """The segments that have any of these events now, rising."""
        return plain(self.segment_ids())

    def segment_ids(self) -> Column:
        """The same as a column."""
        return np.unique(self._segments.ids)

    @property
    def is_partly_gone(self) -> bool:
        """Whether retention has removed some of these events."""
        return bool(self._segments.is_gone.any())

    def __len__(self) -> int:
        return len(self._place)

    @overload
    def __getitem__(self, number: int) -> Sighting: ...
    @overload
    def __getitem__(self, number: slice) -> list[Sighting]: ...
    def __getitem__(self, number: int | slice) -> Sighting | list[Sighting]:
        """One, or a list of some."""
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        where = int(self._place[number])
        group = self._groups[where >> DAY_BITS]
        number %= len(self)
        ids, ends, is_gone = self._segments
        start = int(ends[number - 1]) if number else 0
        return Sighting(
            organisation=group.organisation,
            source=group.source,
            role=group.role,
            day=days_since_1970(where & _DAY_MASK),
            count=int(self._count[number]),
            first_us=_first(int(self._first[number])),
            last_us=_last(int(self._last[number])),
            segments=tuple(plain(ids[start : int(ends[number])])),
            is_partly_gone=bool(is_gone[number]),
        )


NO_SIGHTINGS: Final = Sightings(
    (), NOTHING, NOTHING, (NOTHING, NOTHING), lambda: RowSegments(NOTHING, NOTHING, np.zeros(0, bool))
)


def sightings_from(parts: Sequence[Seen], groups: Sequence[Group], replaced: FindReplaced) -> Sightings:
    """The rows of one observable in several files, as sightings. ``groups`` are in the order of their numbers."""
    place = _together([part.place for part in parts])
    if not len(place):
        return NO_SIGHTINGS
    ordered, rank = in_group_order(groups)
    place = (rank[place >> DAY_BITS] << DAY_BITS) | (place & _DAY_MASK)
    order = sorted_order(place)
    is_new = changes(place[order])
    starts = np.flatnonzero(is_new)
    row = np.empty(len(place), np.int64)
    row[order] = np.cumsum(is_new) - 1
    segment_row = np.repeat(row, _together([part.segments for part in parts]))
    ids = _together([part.ids for part in parts])
    return Sightings(
        ordered,
        place[order[starts]],
        np.add.reduceat(_together([part.count for part in parts])[order], starts),
        (
            np.minimum.reduceat(_together([part.first for part in parts])[order], starts),
            np.maximum.reduceat(_together([part.last for part in parts])[order], starts),
        ),
        lambda: segments_now(segment_row, ids, len(starts), replaced),
    )


def _together(columns: Sequence[Column]) -> Column:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def segments_now(row: Column, ids: Column, rows: int, replaced: FindReplaced) -> RowSegments:
    """The segments of every row that have its events now, each once and in order, from parallel rows and segments."""
    known, which = np.unique(ids, return_inverse=True)
    became = replaced(plain(known[known != GONE]))
    now = known
    if became:
        # What is gone stands at the first place.
        now = known.copy()
        for segment in became:
            at = int(np.searchsorted(known, segment))
            if at < len(known) and known[at] == segment:
                now[at] = followed(became, segment) or GONE
    live = np.unique(np.append(now, GONE))
    place = np.searchsorted(live, now)
    pairs = np.sort(row * len(live) + place[which])
    pair_row, pair_place = np.divmod(pairs[changes(pairs)], len(live))
    is_gone = np.zeros(rows, bool)
    is_gone[pair_row[pair_place == 0]] = True
    pair_row, pair_place = pair_row[pair_place > 0], pair_place[pair_place > 0]
    return RowSegments(live[pair_place], np.searchsorted(pair_row, np.arange(rows), side="right"), is_gone)


def summed(row: Column, group: Column, count: Column, first: Column, last: Column) -> tuple[Column, ...]:
    """The same columns with each row and group once, in order: counts added, the earliest first, the latest last."""
    together = (row << _GROUP_BITS) | group
    order = sorted_order(together)
    together = together[order]
    starts = np.flatnonzero(changes(together))
    if not len(starts):
        return (NOTHING,) * 5
    return (
        together[starts] >> _GROUP_BITS,
        together[starts] & ((1 << _GROUP_BITS) - 1),
        np.add.reduceat(count[order], starts),
        np.minimum.reduceat(first[order], starts),
        np.maximum.reduceat(last[order], starts),
    )


def of_groups(groups: Sequence[Group], group: Column) -> list[Array]:
    """Organisation, source and role of some groups."""
    return [
        taken(numbers([g.organisation for g in groups]), group),
        taken(texts([g.source for g in groups]), group),
        taken(texts([g.role for g in groups]), group),
    ]


def of_times(first: Column, last: Column) -> list[Array]:
    """First and last, null where there is none."""
    return [numbers(first, first == NO_FIRST), numbers(last, last == NO_LAST)]


def table_of(schema: pa.Schema, columns: Sequence[Array]) -> pa.Table:
    """A table from columns in the order of its schema."""
    types = schema.types
    cells = [cast("Array", column.cast(kind)) for column, kind in zip(columns, types, strict=True)]
    return pa.Table.from_arrays(cells, schema=schema)


def sightings_table(rows: Rows, kinds: Array, values: Array, groups: Sequence[Group], ids: Column) -> pa.Table:
    """Rows as a table of ``SIGHTINGS_SCHEMA``; ``kinds`` and ``values`` are those of their keys, ``ids`` are live."""
    found = segments_now(np.repeat(np.arange(len(rows)), rows.segments), ids, len(rows), none_replaced)
    columns = [
        taken(kinds, rows.key),
        taken(values, rows.key),
        *of_groups(groups, rows.group),
        numbers(rows.day - EPOCH_DAY, rows.day == NO_DAY),
        numbers(rows.count),
        *of_times(rows.first, rows.last),
        listed(np.concatenate(([0], found.ends)), numbers(found.ids)),
        cast("Array", pa.array(found.is_gone)),
    ]
    return table_of(SIGHTINGS_SCHEMA, columns)


def totals_table(rows: Rows, kinds: Array, values: Array, groups: Sequence[Group]) -> pa.Table:
    """Rows added up over all days, as a table of ``TOTALS_SCHEMA``."""
    key, group, count, first, last = summed(rows.key, rows.group, rows.count, rows.first, rows.last)
    columns = [taken(kinds, key), taken(values, key), *of_groups(groups, group), numbers(count), *of_times(first, last)]
    return table_of(TOTALS_SCHEMA, columns)


def match_table(
    row: Column, group: Column, totals: Sequence[Column], kinds: Array, values: Array, groups: Sequence[Group]
) -> pa.Table:
    """What a feed found, as a table of ``MATCH_SCHEMA``; ``kinds`` and ``values`` are those of the feed."""
    row, group, count, first, last = summed(row, group, *totals)
    columns = [
        numbers(row),
        taken(kinds, row),
        taken(values, row),
        *of_groups(groups, group),
        numbers(count),
        *of_times(first, last),
    ]
    return table_of(MATCH_SCHEMA, columns)

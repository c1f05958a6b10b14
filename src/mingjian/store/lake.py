"""What the lake holds, in one row for each stream and organisation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from mingjian.store.catalogue import SegmentRow, days_of_segments, live_segments, organisations
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import DayRecords
from mingjian.store.workspace import Workspace


class LakeRow(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one stream of one organisation."""

    stream: str
    organisation: str
    """Its name."""
    segments: int
    rows: int
    bytes: int
    first_us: int | None
    """Microseconds since 1970 UTC; None if none of the events has a time."""
    last_us: int | None
    gaps: tuple[tuple[int, int], ...]
    """Ranges of days (since 1970) between first and last on which there is no event, both ends included."""


def lake_rows(
    workspace: Workspace,
    scope: Scope,
    *,
    organisation: OrganisationId | None = None,
    first_day: int | None = None,
    last_day: int | None = None,
) -> list[LakeRow]:
    """Count what is kept, by stream, then organisation; of some days (since 1970) only, both included.

    Of a segment that has events of other days, too, that part of the bytes is counted that its events are of all.
    """
    names = {each.id: each.name for each in organisations(workspace, scope)}
    segments = {
        row.id: row
        for row in live_segments(workspace, scope, organisation=organisation, first_day=first_day, last_day=last_day)
    }
    on_days = days_of_segments(workspace, scope, organisation=organisation, first_day=first_day, last_day=last_day)
    is_limited = first_day is not None or last_day is not None
    groups: dict[tuple[str, OrganisationId], _Counted] = defaultdict(_Counted)
    for number, row in segments.items():
        within = on_days.get(number, [])
        rows = sum(each.rows for each in within) if is_limited else row.rows
        if rows:
            groups[row.key.stream, row.key.organisation].add(row, rows, within)
    found = [counted.row(stream, names[owner]) for (stream, owner), counted in groups.items()]
    return sorted(found, key=lambda row: (row.stream, row.organisation))


class _Counted:
    """What is added up for one row."""

    def __init__(self) -> None:
        self.segments = self.rows = self.bytes = 0
        self.days: list[DayRecords] = []

    def add(self, row: SegmentRow, rows: int, days: Sequence[DayRecords]) -> None:
        """So many of the events of a segment, and the days on which they are."""
        self.segments += 1
        self.rows += rows
        self.bytes += row.bytes * rows // row.rows
        self.days += days

    def row(self, stream: str, organisation: str) -> LakeRow:
        """What came of it."""
        return LakeRow(
            stream=stream,
            organisation=organisation,
            segments=self.segments,
            rows=self.rows,
            bytes=self.bytes,
            first_us=min((each.first_us for each in self.days), default=None),
            last_us=max((each.last_us for each in self.days), default=None),
            gaps=gaps_between(each.day for each in self.days),
        )


def gaps_between(days: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The ranges of days that are missing between the first and the last.

    >>> gaps_between([5, 1, 2, 8])
    ((3, 4), (6, 7))
    """
    there = sorted(set(days))
    return tuple((before + 1, after - 1) for before, after in pairwise(there) if after > before + 1)

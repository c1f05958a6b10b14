"""What the lake holds, in one row for each stream and organisation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

import msgspec

from mingjian.store.catalogue import SegmentRow, live_segments, organisations
from mingjian.store.scope import OrganisationId, Scope
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
    """Count what is kept, by stream, then organisation; of some days (since 1970) only, both included."""
    names = {each.id: each.name for each in organisations(workspace, scope)}
    groups: dict[tuple[str, OrganisationId], list[SegmentRow]] = defaultdict(list)
    for row in live_segments(workspace, scope, organisation=organisation, first_day=first_day, last_day=last_day):
        if row.key.day is not None or (first_day is None and last_day is None):
            groups[row.key.stream, row.key.organisation].append(row)
    found: list[LakeRow] = []
    for (stream, organisation), rows in groups.items():
        found.append(
            LakeRow(
                stream=stream,
                organisation=names[organisation],
                segments=len(rows),
                rows=sum(row.rows for row in rows),
                bytes=sum(row.bytes for row in rows),
                first_us=min((row.first_us for row in rows if row.first_us is not None), default=None),
                last_us=max((row.last_us for row in rows if row.last_us is not None), default=None),
                gaps=gaps_between(row.key.day for row in rows if row.key.day is not None),
            )
        )
    return sorted(found, key=lambda row: (row.stream, row.organisation))


def gaps_between(days: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The ranges of days that are missing between the first and the last.

    >>> gaps_between([5, 1, 2, 8])
    ((3, 4), (6, 7))
    """
    there = sorted(set(days))
    return tuple((before + 1, after - 1) for before, after in pairwise(there) if after > before + 1)

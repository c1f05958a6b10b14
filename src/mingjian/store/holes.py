"""What the store knows about where it is blind.

Days on which a stream or a host sent nothing, what is gone by retention, what could not be read. Counting only: what
of it is remarkable is for ``hunt.holes`` to say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.presence import FIRST_DAY, LAST_DAY, days_of, unpacked
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import day_of
from mingjian.store.workspace import Workspace

What: TypeAlias = Literal["stream", "host"]

THERE: Final = ("live", "expired", "lost")
"""In these states are segments whose events there are, or were; the others are merged into such."""
SEPARATOR: Final = ","
"""Between days."""


class Presence(msgspec.Struct, frozen=True, kw_only=True):
    """On which days something was there. Days are since 1970 (UTC)."""

    organisation: OrganisationId
    name: str
    """Of a stream or a host."""
    days: int
    """On so many."""
    first_day: int
    last_day: int
    gaps: tuple[tuple[int, int], ...] = ()
    """Ranges of days between first and last on which it was not, both ends included, in order."""


class DayRows(msgspec.Struct, frozen=True):
    """How many events of one day there are."""

    day: int
    rows: int


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are gone because they were to be kept for so long only."""

    organisation: OrganisationId
    stream: str
    rows: int
    first_day: int | None
    last_day: int | None


class Unread(msgspec.Struct, frozen=True, kw_only=True):
    """What lies in quarantine."""

    organisation: OrganisationId
    records: int
    files: int


def days_with_events(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> list[DayRows]:
    """The days of which there are, or were, events, in order."""
    table, days = t.segments, t.segment_days
    query = (
        sa.select(days.c.day, sa.func.sum(days.c.rows))
        .join(table, table.c.id == days.c.segment_id)
        .where(table.c.state.in_(THERE), *_of(scope, organisation, table))
        .group_by(days.c.day)
        .order_by(days.c.day)
    )
    with workspace.read() as connection:
        return [DayRows(int(day), int(rows)) for day, rows in connection.execute(query)]


def streams_present(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> list[Presence]:
    """For each stream of each organisation the days of which there are, or were, events. By name."""
    table, days = t.segments, t.segment_days
    # The days of a segment come as one text: a hundred thousand rows of a number each take several times as long, and
    # what is put together here need not be sorted and made distinct there.
    day = sa.cast(days.c.day, sa.String)
    text = sa.select(sa.func.aggregate_strings(day, SEPARATOR)).where(
        days.c.segment_id == table.c.id, days.c.day.between(FIRST_DAY, LAST_DAY)
    )
    query = (
        sa.select(table.c.organisation_id, t.streams.c.name, sa.func.coalesce(text.scalar_subquery(), ""))
        .join(t.streams, t.streams.c.id == table.c.stream_id)
        .where(table.c.state.in_(THERE), *_of(scope, organisation, table))
    )
    texts: dict[tuple[int, str], list[str]] = defaultdict(list)
    with workspace.read() as connection:
        for owner, name, of_segment in connection.execute(query).all():
            if of_segment:
                texts[owner, name].append(of_segment)
    found = [
        _presence(owner, name, sorted(set(map(int, SEPARATOR.join(several).split(SEPARATOR)))))
        for (owner, name), several in texts.items()
    ]
    return sorted(found, key=_by_name)


def hosts_present(
    workspace: Workspace,
    scope: Scope,
    organisation: OrganisationId | None = None,
    *,
    streams: Sequence[str] | None = None,
) -> list[Presence]:
    """For each host of each organisation the days on which it sent events, of these streams or of any. By name."""
    table = t.host_presence
    query = sa.select(table.c.organisation_id, table.c.host, table.c.first_day, table.c.days).where(
        table.c.host != "", *_of(scope, organisation, table)
    )
    if streams is not None:
        query = query.join(t.streams, t.streams.c.id == table.c.stream_id).where(
            t.streams.c.name.in_([t.storable(name) for name in streams])
        )
    of_host: dict[tuple[int, str], int] = defaultdict(int)
    with workspace.read() as connection:
        for owner, host, first, packed in connection.execute(query):
            of_host[owner, host] |= unpacked(first, packed)
    found = [_presence(owner, host, days_of(bits)) for (owner, host), bits in of_host.items()]
    return sorted(found, key=_by_name)


def _presence(organisation: int, name: str, days: Sequence[int]) -> Presence:
    steps = np.diff(np.array(days, np.int64))
    return Presence(
        organisation=OrganisationId(organisation),
        name=name,
        days=len(days),
        first_day=days[0],
        last_day=days[-1],
        gaps=tuple((days[place] + 1, days[place + 1] - 1) for place in np.flatnonzero(steps > 1).tolist()),
    )


def _by_name(presence: Presence) -> tuple[str, int]:
    return presence.name, presence.organisation


def streams_known(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> set[str]:
    """The streams of which there are, or were, events, with or without a time."""
    table = t.segments
    known = sa.select(table.c.stream_id).where(table.c.state.in_(THERE), *_of(scope, organisation, table)).distinct()
    query = sa.select(t.streams.c.name).where(t.streams.c.id.in_(known))
    with workspace.read() as connection:
        return set(connection.execute(query).scalars())


def expired(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> list[Expired]:
    """What retention has removed, by stream."""
    table = t.segments
    query = (
        sa.select(
            table.c.organisation_id,
            t.streams.c.name,
            sa.func.sum(table.c.rows),
            sa.func.min(table.c.first_us),
            sa.func.max(table.c.last_us),
        )
        .join(t.streams, t.streams.c.id == table.c.stream_id)
        .where(table.c.state.in_(("expired", "lost")), *_of(scope, organisation, table))
        .group_by(table.c.organisation_id, t.streams.c.name)
        .order_by(t.streams.c.name, table.c.organisation_id)
    )
    with workspace.read() as connection:
        return [
            Expired(
                organisation=OrganisationId(owner),
                stream=stream,
                rows=int(rows),
                first_day=day_of(first),
                last_day=day_of(last),
            )
            for owner, stream, rows, first, last in connection.execute(query)
        ]


def unread(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> list[Unread]:
    """How much lies in quarantine, by organisation."""
    table = t.quarantine
    query = (
        sa.select(table.c.organisation_id, sa.func.count(), sa.func.count(sa.distinct(table.c.file)))
        .where(*_of(scope, organisation, table))
        .group_by(table.c.organisation_id)
        .order_by(table.c.organisation_id)
    )
    with workspace.read() as connection:
        return [
            Unread(organisation=OrganisationId(owner), records=records, files=files)
            for owner, records, files in connection.execute(query)
        ]


def _of(scope: Scope, organisation: OrganisationId | None, table: sa.Table) -> list[sa.ColumnElement[bool]]:
    if organisation is not None:
        scope.check_read(organisation)
    column = table.c.organisation_id
    return [within(scope, column), *([] if organisation is None else [column == organisation])]

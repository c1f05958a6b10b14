"""What comes in, stream by stream: how much, since when, until when; and what could not be read, by reason."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace


class Inflow(msgspec.Struct, frozen=True, kw_only=True):
    """The events of one stream of one organisation."""

    organisation: OrganisationId
    stream: str
    events: int
    bytes: int
    segments: int
    days: int
    """On so many days there are events."""
    first_us: int | None
    last_us: int | None
    received_us: int
    """When the last of them came in."""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """Pieces of input in quarantine for one reason in one file."""

    organisation: OrganisationId
    file: str
    code: str
    reason: str
    """Of the last of them."""
    count: int
    first_record: int
    last_id: int
    received_us: int


def inflow(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> list[Inflow]:
    """Count what is kept, by stream and organisation. Raises: NotFound."""
    table = t.segments
    query = (
        sa.select(
            table.c.organisation_id,
            t.streams.c.name,
            sa.func.sum(table.c.rows),
            sa.func.sum(table.c.bytes),
            sa.func.count(),
            sa.func.min(table.c.first_us),
            sa.func.max(table.c.last_us),
            sa.func.max(table.c.committed_us),
        )
        .join(t.streams, t.streams.c.id == table.c.stream_id)
        .where(table.c.state == "live", *_of(scope, organisation, table))
        .group_by(table.c.organisation_id, t.streams.c.name)
        .order_by(t.streams.c.name, table.c.organisation_id)
    )
    days = (
        sa.select(table.c.organisation_id, t.streams.c.name, sa.func.count(sa.distinct(t.segment_days.c.day)))
        .join(t.streams, t.streams.c.id == table.c.stream_id)
        .join(t.segment_days, t.segment_days.c.segment_id == table.c.id)
        .where(table.c.state == "live", *_of(scope, organisation, table))
        .group_by(table.c.organisation_id, t.streams.c.name)
    )
    with workspace.read() as connection:
        on_days = {(owner, name): count for owner, name, count in connection.execute(days)}
        return [
            Inflow(
                organisation=OrganisationId(owner),
                stream=name,
                events=int(rows),
                bytes=int(size),
                segments=segments,
                days=on_days.get((owner, name), 0),
                first_us=first,
                last_us=last,
                received_us=received,
            )
            for owner, name, rows, size, segments, first, last, received in connection.execute(query)
        ]


def last_received_us(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> int | None:
    """When events came in last; None if none ever did. Raises: NotFound."""
    table, owners = t.segments, t.organisations
    # By an index, one step for each organisation: it is asked for often, and there are many segments.
    last = sa.select(sa.func.max(table.c.committed_us)).where(table.c.organisation_id == owners.c.id).scalar_subquery()
    each = sa.select(last.label("last")).where(*_of(scope, organisation, owners, "id")).subquery()
    with workspace.read() as connection:
        return connection.execute(sa.select(sa.func.max(each.c.last))).scalar_one()


def unreadable(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> list[Unreadable]:
    """What lies in quarantine, by file and kind of reason, the newest first. Raises: NotFound."""
    table = t.quarantine
    groups = (
        sa.select(
            sa.func.count().label("pieces"),
            sa.func.min(table.c.record).label("first_record"),
            sa.func.max(table.c.id).label("last_id"),
        )
        .where(*_of(scope, organisation, table))
        .group_by(table.c.organisation_id, table.c.file, table.c.code)
        .subquery()
    )
    query = (
        sa.select(
            table.c.organisation_id,
            table.c.file,
            table.c.code,
            table.c.reason,
            table.c.received_us,
            groups.c.pieces,
            groups.c.first_record,
            groups.c.last_id,
        )
        .join(groups, groups.c.last_id == table.c.id)
        .order_by(groups.c.last_id.desc())
    )
    with workspace.read() as connection:
        return [
            Unreadable(
                organisation=OrganisationId(row.organisation_id),
                file=row.file,
                code=row.code,
                reason=row.reason,
                count=row.pieces,
                first_record=row.first_record,
                last_id=row.last_id,
                received_us=row.received_us,
            )
            for row in connection.execute(query)
        ]


def _of(
    scope: Scope, organisation: OrganisationId | None, table: sa.Table, name: str = "organisation_id"
) -> list[sa.ColumnElement[bool]]:
    if organisation is not None:
        scope.check_read(organisation)
    column = table.c[name]
    return [within(scope, column), *([] if organisation is None else [column == organisation])]

"""Detections in the order in which they were kept, for whoever takes all of them out: none twice, none left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec
import sqlalchemy as sa

from mingjian.model.rules import LEVELS, Level
from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.detections import StoredDetection, rows_as_detections
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

PORTION: Final = 1_000
"""So many are fetched at a time."""


class Which(msgspec.Struct, frozen=True, kw_only=True):
    """Which detections are meant: those that are not suppressed, and …"""

    organisation: OrganisationId | None = None
    level: Level = "informational"
    """At least."""
    first_us: int | None = None
    until_us: int | None = None
    after_id: int = 0
    """Behind this number."""


def count_kept(workspace: Workspace, scope: Scope, which: Which) -> tuple[int, int]:
    """How many there are now, and the highest number among them. Raises: NotFound."""
    table = t.detections
    query = sa.select(sa.func.count(), sa.func.max(table.c.id)).where(*_conditions(scope, which))
    with workspace.read() as connection:
        count, last = connection.execute(query).one()
    return count, last or 0


def kept_detections(workspace: Workspace, scope: Scope, which: Which, last_id: int) -> Iterator[list[StoredDetection]]:
    """Those up to a number, some at a time, in the order of their numbers. Raises: NotFound."""
    table = t.detections
    after = which.after_id
    while True:
        query = (
            sa.select(table, t.streams.c.name.label("stream"))
            .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
            .where(*_conditions(scope, which), table.c.id > after, table.c.id <= last_id)
            .order_by(table.c.id)
            .limit(PORTION)
        )
        with workspace.read() as connection:
            found = rows_as_detections(connection.execute(query))
        if not found:
            return
        yield found
        after = found[-1].id


def _conditions(scope: Scope, which: Which) -> list[sa.ColumnElement[bool]]:
    table = t.detections
    if which.organisation is not None:
        scope.check_read(which.organisation)
    conditions = [within(scope, table.c.organisation_id), table.c.suppressed_by.is_(None)]
    if which.after_id:
        conditions.append(table.c.id > which.after_id)
    if which.organisation is not None:
        conditions.append(table.c.organisation_id == which.organisation)
    if which.level != "informational":
        conditions.append(table.c.level.in_(LEVELS[LEVELS.index(which.level) :]))
    if which.first_us is not None:
        conditions.append(table.c.time_us >= which.first_us)
    if which.until_us is not None:
        conditions.append(table.c.time_us < which.until_us)
    return conditions

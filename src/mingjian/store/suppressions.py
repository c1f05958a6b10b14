"""Suppressions: Sigma filters that hide detections for a time, with an owner and a reason.

A filter is ANDed to its rules, so a suppression says ``not selection``. What one hides is kept and counted: it is
marked, and shown to whoever asks for it. One that has expired or was ended hides nothing that comes after; what it hid
stays hidden unless it is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound, NotPermitted, SchemaError
from mingjian.model.rules import Filter
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.audit import act
from mingjian.store.scope import EVERYONE, OrganisationId, Scope
from mingjian.store.workspace import Workspace, new_id

DURATION_US_MAX: Final = 366 * 86_400 * 1_000_000
"""No suppression lasts longer than a year: then somebody has to look again."""

SuppressionState: TypeAlias = Literal["active", "expired", "ended"]


class Suppression(msgspec.Struct, frozen=True, kw_only=True):
    """A filter that hides detections for a time."""

    id: int
    public_id: str
    organisation: OrganisationId | None
    """None: of all of them."""
    title: str
    owner: str
    reason: str
    definition: str
    """The YAML, as it was given."""
    filter: Filter
    created_us: int
    expires_us: int
    ended_us: int | None
    state: SuppressionState
    hidden: int = 0
    """So many detections it has hidden."""

    def is_for(self, rule_id: str, organisation: OrganisationId) -> bool:
        """Whether it is about a rule's detections in an organisation."""
        if self.organisation not in (None, organisation):
            return False
        return not self.filter.rules or rule_id in self.filter.rules


def add_suppression(
    workspace: Workspace,
    scope: Scope,
    about: Filter,
    definition: str,
    *,
    owner: str,
    reason: str,
    expires_us: int,
    organisation: OrganisationId | None,
) -> Suppression:
    """Let a filter hide what comes from now on, until it expires. ``about.rules`` are ids of rules.

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation, or not all of them.
        SchemaError: it has no reason or owner, or does not expire within a year.
    """
    _check(scope, organisation)
    now = workspace.clock_us()
    if not reason.strip() or not owner.strip():
        raise SchemaError("a suppression needs an owner and a reason")
    if not now < expires_us <= now + DURATION_US_MAX:
        raise SchemaError("a suppression ends in the future, and within a year")
    values = {
        "public_id": new_id(),
        "organisation_id": organisation,
        "title": about.title,
        "owner": owner.strip(),
        "reason": reason.strip(),
        "definition": definition,
        "filter": msgspec.msgpack.encode(about),
        "created_us": now,
        "expires_us": expires_us,
    }
    with workspace.begin() as connection:
        row = connection.execute(sa.insert(s.suppressions).values(values).returning(s.suppressions)).one()
        after = {each: values[each] for each in ("title", "owner", "reason", "expires_us")}
        act(
            workspace, connection, scope, "suppression.made",
            about=row.public_id, organisation=organisation, after=cast("dict[str, str | int]", after),
        )  # fmt: skip
    return _suppression(row, now)


def live_suppressions(
    workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None
) -> list[Suppression]:
    """Those that hide something now: of an organisation (and of all), or every one in the scope."""
    now = workspace.clock_us()
    table = s.suppressions
    query = sa.select(table).where(table.c.ended_us.is_(None), table.c.expires_us > now).order_by(table.c.id)
    if organisation is not None:
        scope.check_read(organisation)
        query = query.where(sa.or_(table.c.organisation_id.is_(None), table.c.organisation_id == organisation))
    with workspace.read() as connection:
        return [_suppression(row, now) for row in connection.execute(query) if _may(scope, row.organisation_id)]


def suppressions(workspace: Workspace, scope: Scope) -> list[Suppression]:
    """All there ever were, the newest first, each with how much it has hidden of what the scope reaches."""
    now = workspace.clock_us()
    query = sa.select(s.suppressions).order_by(s.suppressions.c.id.desc())
    table = t.detections
    readable = scope.readable()
    counted = (
        sa.select(table.c.suppressed_by, sa.func.count())
        .where(
            table.c.suppressed_by.is_not(None),
            sa.true() if readable is None else table.c.organisation_id.in_(readable),
        )
        .group_by(table.c.suppressed_by)
    )
    with workspace.read() as connection:
        hidden = dict(connection.execute(counted).all())
        return [
            _suppression(row, now, hidden.get(row.id, 0))
            for row in connection.execute(query)
            if _may(scope, row.organisation_id)
        ]


def suppression_by_id(workspace: Workspace, scope: Scope, public_id: str) -> Suppression:
    """One of them. Raises: NotFound."""
    with workspace.read() as connection:
        row = connection.execute(
            sa.select(s.suppressions).where(s.suppressions.c.public_id == t.storable(public_id))
        ).one_or_none()
    if row is None or not _may(scope, row.organisation_id):
        raise NotFound("there is no such suppression")
    return _suppression(row, workspace.clock_us())


def end_suppression(workspace: Workspace, scope: Scope, public_id: str, *, take_back: bool = False) -> int:
    """Let it hide nothing from now on; with ``take_back``, show what it hid as well. Give how many these are.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
    """
    found = suppression_by_id(workspace, scope, public_id)
    _check(scope, found.organisation)
    table = t.detections
    with workspace.begin() as connection:
        connection.execute(
            sa.update(s.suppressions)
            .where(s.suppressions.c.id == found.id, s.suppressions.c.ended_us.is_(None))
            .values(ended_us=workspace.clock_us())
        )
        taken = sa.update(table).where(table.c.suppressed_by == found.id).values(suppressed_by=None)
        shown = connection.execute(taken).rowcount if take_back else 0
        act(
            workspace, connection, scope, "suppression.ended",
            about=public_id, organisation=found.organisation, before={"title": found.title}, after={"shown": shown},
        )  # fmt: skip
    return shown


def mark_hidden(workspace: Workspace, scope: Scope, suppression: Suppression, ids: Sequence[int]) -> None:
    """Hide detections that were there before. Raises: NotFound, NotPermitted."""
    _check(scope, suppression.organisation)
    with workspace.begin() as connection:
        for start in range(0, len(ids), 500):
            connection.execute(
                sa.update(t.detections)
                .where(t.detections.c.id.in_(ids[start : start + 500]), t.detections.c.suppressed_by.is_(None))
                .values(suppressed_by=suppression.id)
            )
        if ids:
            act(
                workspace, connection, scope, "suppression.hid",
                about=suppression.public_id, organisation=suppression.organisation, after={"detections": len(ids)},
            )  # fmt: skip


def _may(scope: Scope, organisation: int | None) -> bool:
    return organisation is None or scope.may_read(OrganisationId(organisation))


def _check(scope: Scope, organisation: OrganisationId | None) -> None:
    if organisation is not None:
        scope.check_write(organisation)
    elif scope.writes is not EVERYONE:
        raise NotPermitted(f"{scope.actor} may not suppress anything for every organisation")


def _suppression(row: sa.Row[Any], now_us: int, hidden: int = 0) -> Suppression:
    state: SuppressionState = "active"
    if row.ended_us is not None:
        state = "ended"
    elif row.expires_us <= now_us:
        state = "expired"
    return Suppression(
        id=row.id,
        public_id=row.public_id,
        organisation=None if row.organisation_id is None else OrganisationId(row.organisation_id),
        title=row.title,
        owner=row.owner,
        reason=row.reason,
        definition=row.definition,
        filter=msgspec.msgpack.decode(row.filter, type=Filter),
        created_us=row.created_us,
        expires_us=row.expires_us,
        ended_us=row.ended_us,
        state=state,
        hidden=hidden,
    )

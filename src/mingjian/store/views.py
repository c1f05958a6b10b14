"""Saved views: lists as somebody wants to see them again, for themselves or for everybody of an organisation.

What is saved is the address of a list, nothing of what it shows: whoever opens a view sees what they may see.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound, NotPermitted, SchemaError
from mingjian.store import tables as t
from mingjian.store.audit import act
from mingjian.store.catalogue import within
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace, new_id

NAME_CHARACTERS_MAX: Final = 80
QUERY_CHARACTERS_MAX: Final = 4_000
VIEWS_MAX: Final = 100
"""So many views of one list somebody may have, and so many are given."""


class SavedView(msgspec.Struct, frozen=True, kw_only=True):
    """A list as somebody wants to see it again."""

    public_id: str
    list: str
    name: str
    query: str
    """The address after the question mark."""
    organisation: OrganisationId | None
    """For whom it is, too; None: for nobody but its owner."""
    owner: str
    is_own: bool


def save_view(
    workspace: Workspace,
    scope: Scope,
    list_name: str,
    name: str,
    query: str,
    *,
    organisation: OrganisationId | None = None,
) -> str:
    """Keep a view; one of the same name and owner is replaced. Gives its public id.

    Raises:
        SchemaError: it has no name, or is too long, or there are too many.
        NotFound, NotPermitted: it is for an organisation that may not be changed.
    """
    name = name.strip()
    if not name or len(name) > NAME_CHARACTERS_MAX:
        raise SchemaError(f"a view needs a name of at most {NAME_CHARACTERS_MAX} characters (NAME_CHARACTERS_MAX)")
    if len(query) > QUERY_CHARACTERS_MAX:
        raise SchemaError(f"the address is longer than {QUERY_CHARACTERS_MAX} characters (QUERY_CHARACTERS_MAX)")
    if organisation is not None:
        scope.check_write(organisation)
    table = t.saved_views
    own = (_is_own(scope), table.c.list == list_name)
    values = {
        "public_id": new_id(),
        "user_id": scope.user_id,
        "organisation_id": organisation,
        "owner": scope.actor,
        "list": list_name,
        "name": t.storable(name),
        "query": t.storable(query),
        "created_us": workspace.clock_us(),
    }
    with workspace.begin() as connection:
        connection.execute(sa.delete(table).where(*own, table.c.name == values["name"]))
        if connection.execute(sa.select(sa.func.count()).where(*own)).scalar_one() >= VIEWS_MAX:
            raise SchemaError(f"there are {VIEWS_MAX} views of this list already (VIEWS_MAX)")
        connection.execute(sa.insert(table).values(values))
        after = {"name": name, "list": list_name}
        act(workspace, connection, scope, "view.saved", about=str(values["public_id"]), organisation=organisation,
            after=after)  # fmt: skip
    return str(values["public_id"])


def views_of(workspace: Workspace, scope: Scope, list_name: str) -> list[SavedView]:
    """The views of a list that somebody has, and those of the organisations that may be seen, by name."""
    table = t.saved_views
    shared = sa.and_(table.c.organisation_id.is_not(None), within(scope, table.c.organisation_id))
    query = (
        sa.select(table)
        .where(table.c.list == list_name, sa.or_(_is_own(scope), shared))
        .order_by(table.c.name, table.c.id)
        .limit(VIEWS_MAX)
    )
    with workspace.read() as connection:
        return [_view(row, scope) for row in connection.execute(query)]


def remove_view(workspace: Workspace, scope: Scope, public_id: str) -> None:
    """Forget a view: its owner may, and whoever manages the organisation that it is for.

    Raises:
        NotFound: there is none that may be seen.
        NotPermitted: it is somebody else's.
    """
    table = t.saved_views
    with workspace.begin() as connection:
        row = connection.execute(sa.select(table).where(table.c.public_id == t.storable(public_id))).one_or_none()
        view = None if row is None else _view(row, scope)
        may_see = view is not None and (
            view.is_own or (view.organisation is not None and scope.may_read(view.organisation))
        )
        if view is None or not may_see:
            raise NotFound("there is no such view")
        if not view.is_own and not scope.may_administer(view.organisation):
            raise NotPermitted("this view is somebody else's")
        connection.execute(sa.delete(table).where(table.c.public_id == view.public_id))
        act(workspace, connection, scope, "view.removed", about=public_id, organisation=view.organisation)


def _is_own(scope: Scope) -> sa.ColumnElement[bool]:
    table = t.saved_views
    if scope.user_id is not None:
        return table.c.user_id == scope.user_id
    return sa.and_(table.c.user_id.is_(None), table.c.owner == scope.actor)


def _view(row: sa.Row[Any], scope: Scope) -> SavedView:
    is_own = row.user_id == scope.user_id if scope.user_id is not None else row.owner == scope.actor
    return SavedView(
        public_id=row.public_id,
        list=row.list,
        name=row.name,
        query=row.query,
        organisation=None if row.organisation_id is None else OrganisationId(row.organisation_id),
        owner=row.owner,
        is_own=is_own and (scope.user_id is not None or row.user_id is None),
    )

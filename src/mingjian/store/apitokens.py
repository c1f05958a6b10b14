"""API tokens: what a program may do in the name of a user.

A token has some of the rights of its user, perhaps in some organisations only, and never more than the user has at the
moment of the request. It is 32 random bytes after ``mj_``, of which only the digest is kept; it ends at a stated time.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotAuthenticated, NotFound, NotPermitted, SchemaError, StateError, shown
from mingjian.store import seals
from mingjian.store import tables as t
from mingjian.store.accounts import User, checked_title, read_users
from mingjian.store.audit import act
from mingjian.store.scope import RIGHTS, OrganisationId, Right, Scope
from mingjian.store.tickets import TOKEN_BYTES, TOKEN_CHARACTERS_MAX, digest_of
from mingjian.store.workspace import Workspace, new_id
from mingjian.telemetry import Secret

PREFIX: Final = "mj_"
"""So that a token is known as one where it must not be."""
TOKENS_PER_USER_MAX: Final = 50
LIFETIME_S_MAX: Final = 366 * 86_400
ORGANISATIONS_MAX: Final = 1000
USED_EVERY_S: Final = 60
"""That a token is used is noted so often."""


class ApiToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token, without what makes it one."""

    public_id: str
    user: str
    """Name of the user in whose name it acts."""
    name: str
    rights: tuple[Right, ...]
    organisations: tuple[OrganisationId, ...] | None
    """None: wherever the user may."""
    created_us: int
    expires_us: int
    used_us: int | None


def make_token(
    workspace: Workspace,
    scope: Scope,
    name: str,
    *,
    rights: Sequence[Right],
    lifetime_s: int,
    organisations: Sequence[OrganisationId] | None = None,
) -> tuple[ApiToken, Secret]:
    """Make a token for one's own account, and give its text: it cannot be seen again.

    Raises:
        NotPermitted: the scope is not that of somebody who has signed in. A token makes no tokens.
        NotFound: an organisation that the scope does not see.
        SchemaError: no name, no right, or a lifetime of more than a year.
        StateError: there are ``TOKENS_PER_USER_MAX`` tokens.
    """
    if scope.user_id is None or scope.via.startswith("token "):
        raise NotPermitted("only somebody who has signed in can make a token")
    wanted = _checked(name, rights, lifetime_s, organisations)
    for organisation in organisations or ():
        scope.check_read(organisation)
    now = workspace.clock_us()
    text = Secret(PREFIX + secrets.token_urlsafe(TOKEN_BYTES))
    values = {
        "digest": digest_of(text.reveal()),
        "public_id": new_id(),
        "user_id": scope.user_id,
        "name": name.strip(),
        "rights": json.dumps(wanted),
        "organisations": None if organisations is None else json.dumps(sorted(organisations)),
        "created_us": now,
        "expires_us": now + lifetime_s * 1_000_000,
    }
    table = t.api_tokens
    with workspace.begin() as connection:
        user = _active(connection, scope.user_id)
        connection.execute(sa.delete(table).where(table.c.user_id == user.id, table.c.expires_us <= now))
        mine = sa.select(sa.func.count()).where(table.c.user_id == user.id)
        if connection.execute(mine).scalar_one() >= TOKENS_PER_USER_MAX:
            raise StateError(f"there are {TOKENS_PER_USER_MAX} tokens already", hint="remove one that is not needed")
        row = connection.execute(sa.insert(table).values(values).returning(table)).one()
        made = _token(row, user.name)
        after = {"name": made.name, "rights": list(made.rights), "expires_us": made.expires_us}
        act(workspace, connection, scope, "token.made", about=made.public_id, after=after)
    return made, text


def scope_of_token(workspace: Workspace, text: str) -> Scope:
    """What may be done with a token, at this moment: what the token says and the user may.

    Raises:
        NotAuthenticated: it is no token (any more), or its user is disabled.
    """
    table = t.api_tokens
    row = user = None
    now = workspace.clock_us()
    if text.startswith(PREFIX) and len(text) <= TOKEN_CHARACTERS_MAX:
        with workspace.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.digest == digest_of(text))).one_or_none()
            if row is not None:
                seals.verify(table, row)
                user = next(iter(read_users(connection, t.users.c.id == row.user_id)), None)
    if row is None or user is None or user.state != "active" or not row.created_us <= now < row.expires_us:
        raise NotAuthenticated("this is no token that is in force")
    if row.used_us is None or now - row.used_us >= USED_EVERY_S * 1_000_000:
        with workspace.begin() as connection:
            connection.execute(sa.update(table).where(table.c.digest == row.digest).values(used_us=now))
    made = _token(row, user.name)
    return Scope.of_roles(
        user.name,
        user.memberships,
        user_id=user.id,
        via=f"token {made.public_id}",
        rights=made.rights,
        within=None if made.organisations is None else frozenset(made.organisations),
    )


def tokens(workspace: Workspace, scope: Scope) -> list[ApiToken]:
    """The tokens of one's own account; of everybody, for whoever administers everything. The newest first."""
    table = t.api_tokens
    query = sa.select(table, t.users.c.name.label("user")).join(t.users, t.users.c.id == table.c.user_id)
    with workspace.read() as connection:
        rows = connection.execute(query.where(_mine(scope)).order_by(table.c.created_us.desc())).all()
    return [_token(row, row.user) for row in rows]


def remove_token(workspace: Workspace, scope: Scope, public_id: str) -> None:
    """Make a token worthless, from the next request on. Raises: NotFound."""
    table = t.api_tokens
    with workspace.begin() as connection:
        gone = sa.delete(table).where(table.c.public_id == t.storable(public_id), _mine(scope)).returning(table.c.name)
        name = connection.execute(gone).scalar()
        if name is None:
            raise NotFound("there is no such token")
        act(workspace, connection, scope, "token.removed", about=public_id, before={"name": name})


def _mine(scope: Scope) -> sa.ColumnElement[bool]:
    return sa.true() if scope.may_administer(None) else t.api_tokens.c.user_id == (scope.user_id or 0)


def _checked(
    name: str, rights: Sequence[Right], lifetime_s: int, organisations: Sequence[OrganisationId] | None
) -> list[Right]:
    if not checked_title(name):
        raise SchemaError("a token needs a name", hint="say which program has it")
    unknown = [right for right in rights if right not in RIGHTS["administrator"]]
    if unknown or not rights:
        hint = ", ".join(sorted(RIGHTS["administrator"]))
        raise SchemaError(f"{shown(unknown[0])} is no right" if unknown else "a token needs a right", hint=hint)
    if not 0 < lifetime_s <= LIFETIME_S_MAX:
        raise SchemaError(f"a token lives for 1 to {LIFETIME_S_MAX:,} s")
    if organisations is not None and not 0 < len(organisations) <= ORGANISATIONS_MAX:
        raise SchemaError(f"a token is for 1 to {ORGANISATIONS_MAX:,} organisations, or for all of its user's")
    # Whoever may write or administer has to see what.
    return sorted({*rights, "read"})


def _active(connection: sa.Connection, user_id: int) -> User:
    found = read_users(connection, sa.and_(t.users.c.id == user_id, t.users.c.state == "active"))
    if not found:
        raise NotAuthenticated("the account is disabled")
    return found[0]


def _token(row: sa.Row[Any], user: str) -> ApiToken:
    return ApiToken(
        public_id=row.public_id,
        user=user,
        name=row.name,
        rights=tuple(json.loads(row.rights)),
        organisations=None if row.organisations is None else tuple(json.loads(row.organisations)),
        created_us=row.created_us,
        expires_us=row.expires_us,
        used_us=row.used_us,
    )

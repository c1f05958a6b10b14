"""Identities: that a user is the one whom an identity provider knows by a certain subject, and signing in as that.

An identity is linked by whoever is signed in to the account, never by a name or an address of mail that a provider
states: those can be anybody's. Signing in at a provider begins with a ticket that only the browser that began can end
(``begin``, ``taken``).

Source: OpenID Connect Core 1.0, section 5.7; OWASP ASVS 5.0, 10.5.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from hmac import compare_digest
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from mingjian.errors import LimitExceeded, NotAuthenticated, NotFound, StateError
from mingjian.store import seals
from mingjian.store import tables as t
from mingjian.store.accounts import User, add_user, described, key_of_name, read_users
from mingjian.store.attempts import count_try, forget_tries
from mingjian.store.audit import act
from mingjian.store.scope import Membership, Scope
from mingjian.store.sessions import CodeNeeded, Opened, Session, check_fresh, code_needed, open_session
from mingjian.store.tickets import TOKEN_BYTES, digest_of, make_ticket, take_ticket
from mingjian.store.workspace import Workspace, new_id
from mingjian.telemetry import Secret

UNDER_WAY_S: Final = 600
"""So long may one take at the provider."""
IDENTITIES_PER_USER_MAX: Final = 10
NAME_CHARACTERS_MAX: Final = 60
NAMES_TRIED_MAX: Final = 100
_NOT_IN_A_NAME: Final = re.compile(r"[^\w.@+-]+")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """By whom else a user is known."""

    public_id: str
    issuer: str
    subject: str
    title: str
    """What the provider called them when they were linked."""
    created_us: int
    used_us: int | None


class UnderWay(NamedTuple):
    """Signing in at a provider, as long as it goes on."""

    issuer: str
    nonce: str
    verifier: str
    back: str
    """The address to which the provider sends the browser."""
    next: str
    user_id: int | None
    """Who wants to be known by it, if somebody who is signed in does."""


class Known(NamedTuple):
    """Somebody of whom a provider has told us."""

    issuer: str
    subject: str
    title: str
    name: str
    """A proposal for the name of an account."""


def begin(
    workspace: Workspace, *, issuer: str, nonce: str, verifier: str, back: str, next_address: str, user_id: int | None
) -> tuple[Secret, Secret]:
    """Begin to sign in at a provider: the state that travels, and what stays in the cookie of this browser."""
    mark = Secret(secrets.token_urlsafe(TOKEN_BYTES))
    details = {
        "issuer": issuer,
        "nonce": nonce,
        "verifier": verifier,
        "back": back,
        "next": next_address,
        "browser": digest_of(mark.reveal()).hex(),
    }
    with workspace.begin() as connection:
        state = make_ticket(workspace, connection, "openid", lifetime_s=UNDER_WAY_S, user_id=user_id, details=details)
    return state, mark


def taken(workspace: Workspace, state: str, mark: str) -> UnderWay:
    """What was begun with a state. It is good for one time, in the browser that began.

    Raises:
        NotAuthenticated: it was used, is too old, never was, or another browser began it.
    """
    with workspace.begin() as connection:
        ticket = take_ticket(workspace, connection, "openid", state)
    if ticket is None or not compare_digest(digest_of(mark).hex(), ticket.details["browser"]):
        raise NotAuthenticated("this sign-in was not begun in this browser, or took too long", hint="begin again")
    found = ticket.details
    return UnderWay(
        issuer=found["issuer"],
        nonce=found["nonce"],
        verifier=found["verifier"],
        back=found["back"],
        next=found["next"],
        user_id=ticket.user_id,
    )


def sign_in_as(
    workspace: Workspace, known: Known, *, newcomers: Membership | None, address: str, agent: str
) -> Opened | CodeNeeded:
    """Sign in whom a provider knows. Somebody new gets an account with the role in ``newcomers``, if one is given.

    Raises:
        NotAuthenticated: nobody here is known by this identity, or the account is disabled.
        StateError: somebody else of this name, or the same one, came at the same moment.
        TooManyRequests: too many tries.
    """
    account = f"identity {known.issuer} {known.subject}"
    count_try(workspace, account=account, address=address)
    with _alone(workspace) as connection:
        row = _row(connection, known)
        if row is not None:
            user = read_users(connection, t.users.c.id == row.user_id)[0]
            used = sa.update(t.identities).where(t.identities.c.id == row.id)
            connection.execute(used.values(used_us=workspace.clock_us()))
        elif newcomers is not None:
            user = _newcomer(workspace, connection, known, newcomers)
        else:
            user = None
        if user is not None and user.state == "active":
            forget_tries(connection, account=account, address=address)
            if user.has_totp:
                return code_needed(workspace, connection, user, "openid")
            return open_session(workspace, connection, user, "openid", address=address, agent=agent)
        scope = Scope.of_roles("nobody" if user is None else user.name, (), via="sign-in")
        after = {"by": "openid", "issuer": known.issuer, "subject": known.subject, "address": address}
        about = "" if user is None else user.public_id
        act(workspace, connection, scope, "sign-in.refused", about=about, after=after)
    raise NotAuthenticated(
        "no account here is known by this identity",
        hint="an administrator makes an account; whoever is signed in to it links the identity there",
    )


def link(workspace: Workspace, session: Session, known: Known) -> None:
    """Let a user sign in as whom a provider knows, too.

    Raises:
        NotPermitted: the user did not sign in just now.
        StateError: the identity is that of an account already.
        LimitExceeded: the user has ``IDENTITIES_PER_USER_MAX``.
    """
    check_fresh(session)
    with _alone(workspace) as connection:
        if _row(connection, known) is not None:
            raise StateError("this identity is linked to an account already", hint="unlink it there first")
        mine = sa.select(sa.func.count()).where(t.identities.c.user_id == session.user.id)
        if connection.execute(mine).scalar_one() >= IDENTITIES_PER_USER_MAX:
            raise LimitExceeded("IDENTITIES_PER_USER_MAX", IDENTITIES_PER_USER_MAX)
        _add(workspace, connection, session.user.id, known)
        after = {"issuer": known.issuer, "subject": known.subject}
        act(workspace, connection, session.scope, "user.identity", about=session.user.public_id, after=after)


def unlink(workspace: Workspace, session: Session, public_id: str) -> None:
    """Let an identity of one's own count no longer.

    Raises:
        NotPermitted: the user did not sign in just now.
        NotFound: there is no such identity.
    """
    check_fresh(session)
    table = t.identities
    with workspace.begin() as connection:
        mine = sa.and_(table.c.public_id == t.storable(public_id), table.c.user_id == session.user.id)
        row = connection.execute(sa.select(table).where(mine)).one_or_none()
        if row is None:
            raise NotFound("there is no such identity")
        connection.execute(sa.delete(table).where(mine))
        before = {"issuer": row.issuer, "subject": row.subject}
        act(workspace, connection, session.scope, "user.identity", about=session.user.public_id, before=before)


def identities_of(workspace: Workspace, session: Session) -> list[Identity]:
    """By whom else the user of a session is known, the first linked first."""
    table = t.identities
    query = sa.select(table).where(table.c.user_id == session.user.id).order_by(table.c.id)
    with workspace.read() as connection:
        rows = seals.verified(table, connection.execute(query))
    return [
        Identity(
            public_id=row.public_id,
            issuer=row.issuer,
            subject=row.subject,
            title=row.title,
            created_us=row.created_us,
            used_us=row.used_us,
        )
        for row in rows
    ]


@contextmanager
def _alone(workspace: Workspace) -> Generator[sa.Connection]:
    """A transaction that may find at its end that another one has just done the same."""
    try:
        with workspace.begin() as connection:
            yield connection
    except IntegrityError:
        raise StateError("somebody else has just done this", hint="try again") from None


def _row(connection: sa.Connection, known: Known) -> sa.Row[Any] | None:
    table = t.identities
    same = sa.and_(table.c.issuer == t.storable(known.issuer), table.c.subject == t.storable(known.subject))
    row = connection.execute(sa.select(table).where(same)).one_or_none()
    if row is not None:
        seals.verify(table, row)
    return row


def _add(workspace: Workspace, connection: sa.Connection, user_id: int, known: Known) -> None:
    values = {
        "public_id": new_id(),
        "user_id": user_id,
        "issuer": known.issuer,
        "subject": known.subject,
        "title": known.title,
        "created_us": workspace.clock_us(),
    }
    connection.execute(sa.insert(t.identities).values(values))


def _newcomer(workspace: Workspace, connection: sa.Connection, known: Known, held: Membership) -> User:
    wanted = _NOT_IN_A_NAME.sub("-", known.name or known.subject)[:NAME_CHARACTERS_MAX].strip("._-+@") or "user"
    name = wanted
    for number in range(2, NAMES_TRIED_MAX):
        if not _is_taken(connection, name):
            break
        name = f"{wanted}-{number}"
    # Whatever a provider calls somebody: an account that is there already stays somebody else's.
    user = add_user(workspace, connection, name, title=known.title, language="en", memberships=[held])
    _add(workspace, connection, user.id, known)
    after = {"name": name, "roles": described([held]), "issuer": known.issuer, "subject": known.subject}
    scope = Scope.of_roles(name, (), user_id=user.id, via="sign-in")
    act(workspace, connection, scope, "user.made", about=user.public_id, after=after)
    return user


def _is_taken(connection: sa.Connection, name: str) -> bool:
    return (
        connection.execute(sa.select(t.users.c.id).where(t.users.c.name_key == key_of_name(name))).first() is not None
    )

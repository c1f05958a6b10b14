"""Signing in, and who is signed in.

A session is 32 random bytes in the browser's cookie; here is their digest. Every request looks it up with the user and
the user's roles as they are at that moment: what is taken from somebody is gone with the next request. Each sign-in
makes a new session; a session ends by itself an hour after it was last used, and a day after it began.

Source: NIST SP 800-63B-4, section 2.2.3 (times); OWASP ASVS 5.0, chapters 6 and 7.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotAuthenticated, NotFound, NotPermitted
from mingjian.store import seals
from mingjian.store import tables as t
from mingjian.store.accounts import User, key_of_name, read_users, scope_of
from mingjian.store.attempts import count_try, forget_tries
from mingjian.store.audit import Detail, act
from mingjian.store.codes import is_code
from mingjian.store.passwords import check_password, hash_of_password, is_password
from mingjian.store.scope import Scope
from mingjian.store.tickets import TOKEN_BYTES, TOKEN_CHARACTERS_MAX, digest_of, make_ticket, take_ticket
from mingjian.store.workspace import Workspace, new_id
from mingjian.telemetry import Secret

IDLE_S: Final = 3600
LIFETIME_S: Final = 86_400
FRESH_S: Final = 900
"""So long after signing in may one change how one signs in."""
CODE_LIFETIME_S: Final = 300
"""So long may somebody who gave the password look for the one-time code."""
SEEN_EVERY_S: Final = 60
"""That a session is used is noted so often."""
CLOCK_SLACK_S: Final = 300
"""A session that was used later than now by more than this is refused: the clock was set back."""
SESSIONS_PER_USER_MAX: Final = 50
AGENT_CHARACTERS_MAX: Final = 200
NAME_CHARACTERS_MAX: Final = 200

Means: TypeAlias = Literal["password", "link", "openid", "passkey"]


_MEANS: Final[Mapping[str, Means]] = {
    "password": "password",
    "link": "link",
    "openid": "openid",
    "passkey": "passkey",
}


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is signed in."""

    public_id: str
    user: User
    scope: Scope
    """What the user may do, at this moment."""
    means: Means
    address: str
    agent: str
    created_us: int
    seen_us: int
    expires_us: int
    """Unless it is used before that; at the latest a day after it began."""
    is_fresh: bool
    """Whether the user signed in just now, and may change how to sign in."""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody has signed in."""

    token: Secret
    """For the cookie."""
    session: Session


class CodeNeeded(msgspec.Struct, frozen=True, kw_only=True):
    """The password, or the link, was right; a one-time code is wanted, too (``give_code``)."""

    ticket: Secret


# --- in ------------------------------------------------------------------------------------------------------------


def sign_in(workspace: Workspace, name: str, password: Secret, *, address: str, agent: str) -> Opened | CodeNeeded:
    """Sign somebody in with a password. Takes as long for a name that nobody has.

    Raises:
        NotAuthenticated: not these. It is not said which of them.
        LimitExceeded: too many tries; it was not even looked at.
    """
    key = key_of_name(name[:NAME_CHARACTERS_MAX])
    count_try(workspace, account=key, address=address)
    with workspace.read() as connection:
        query = sa.select(t.users).where(t.users.c.name_key == t.storable(key), t.users.c.state == "active")
        row = connection.execute(query).one_or_none()
    if row is not None:
        seals.verify(t.users, row)
    if not is_password(None if row is None else row.password, password) or row is None:
        if row is not None:
            _note(workspace, row.id, "sign-in.refused", {"by": "password", "address": address})
        raise NotAuthenticated("there is no such user, or the password is another one")
    with workspace.begin() as connection:
        # Only if nothing has changed while the password was looked at.
        user = _user_with_password(connection, row.id, row.password)
        forget_tries(connection, account=key, address=address)
        if user.has_totp:
            return code_needed(workspace, connection, user, "password")
        return open_session(workspace, connection, user, "password", address=address, agent=agent)


def give_code(workspace: Workspace, ticket: str, code: str, *, address: str, agent: str) -> Opened:
    """Go on signing in, with a one-time code. A ticket is good for one try.

    Raises:
        NotAuthenticated: the code is wrong or was used, or it took too long; begin again.
        LimitExceeded: too many tries.
    """
    with workspace.begin() as connection:
        taken = take_ticket(workspace, connection, "code", ticket)
    if taken is None or taken.user_id is None:
        raise NotAuthenticated("signing in took too long", hint="begin again")
    account = f"#{taken.user_id}"
    count_try(workspace, account=account, address=address)
    with workspace.begin() as connection:
        found = read_users(connection, t.users.c.id == taken.user_id)
        if found and found[0].state == "active" and is_code(workspace, connection, found[0].id, code):
            forget_tries(connection, account=account, address=address)
            means = _MEANS[taken.details["means"]]
            return open_session(workspace, connection, found[0], means, address=address, agent=agent)
    if found:
        _note(workspace, found[0].id, "sign-in.refused", {"by": "code", "address": address})
    raise NotAuthenticated("the one-time code is wrong, or was used already", hint="begin again")


def use_link(workspace: Workspace, token: str, *, address: str, agent: str) -> Opened | CodeNeeded:
    """Sign somebody in with a one-time link, which is worthless from then on.

    Raises:
        NotAuthenticated: it was used, or is too old, or never was.
        LimitExceeded: too many tries from this address.
    """
    count_try(workspace, account=f"link {token[:8]}", address=address)
    with workspace.begin() as connection:
        taken = take_ticket(workspace, connection, "link", token)
        found = [] if taken is None else read_users(connection, t.users.c.id == taken.user_id)
        if not found or found[0].state != "active":
            raise NotAuthenticated("this link was used already, or is too old", hint="ask for a new one")
        forget_tries(connection, account=f"link {token[:8]}", address=address)
        if found[0].has_totp:
            return code_needed(workspace, connection, found[0], "link")
        return open_session(workspace, connection, found[0], "link", address=address, agent=agent)


def open_session(
    workspace: Workspace, connection: sa.Connection, user: User, means: Means, *, address: str, agent: str
) -> Opened:
    """Begin a session for somebody who has proved who they are, within a transaction, as its last statement."""
    table = t.sessions
    now = workspace.clock_us()
    token = Secret(secrets.token_urlsafe(TOKEN_BYTES))
    values = {
        "digest": digest_of(token.reveal()),
        "public_id": new_id(),
        "user_id": user.id,
        "means": means,
        "address": address[:AGENT_CHARACTERS_MAX],
        "agent": agent[:AGENT_CHARACTERS_MAX],
        "created_us": now,
        "seen_us": now,
    }
    old = sa.or_(table.c.created_us < now - LIFETIME_S * 1_000_000, table.c.seen_us < now - IDLE_S * 1_000_000)
    connection.execute(sa.delete(table).where(old))
    mine = sa.select(table.c.digest).where(table.c.user_id == user.id).order_by(table.c.seen_us.desc())
    too_many = connection.execute(mine.offset(SESSIONS_PER_USER_MAX - 1).limit(1000)).scalars().all()
    connection.execute(sa.delete(table).where(table.c.digest.in_(too_many)))
    row = connection.execute(sa.insert(table).values(values).returning(table)).one()
    connection.execute(sa.update(t.users).where(t.users.c.id == user.id).values(signed_in_us=now))
    session = _session(row, msgspec.structs.replace(user, signed_in_us=now), now)
    act(
        workspace,
        connection,
        session.scope,
        "sign-in.done",
        about=user.public_id,
        after={"by": means, "address": address},
    )
    return Opened(token=token, session=session)


def code_needed(workspace: Workspace, connection: sa.Connection, user: User, means: Means) -> CodeNeeded:
    """Ask somebody who has proved who they are by ``means`` for a one-time code, too, within a transaction."""
    ticket = make_ticket(
        workspace, connection, "code", lifetime_s=CODE_LIFETIME_S, user_id=user.id, details={"means": means}
    )
    return CodeNeeded(ticket=ticket)


def _user_with_password(connection: sa.Connection, user_id: int, hashed: str) -> User:
    condition = sa.and_(t.users.c.id == user_id, t.users.c.password == hashed, t.users.c.state == "active")
    found = read_users(connection, condition)
    if not found:
        raise NotAuthenticated("the account has just been changed", hint="begin again")
    return found[0]


def _note(workspace: Workspace, user_id: int, what: str, after: Mapping[str, Detail]) -> None:
    """Log something about signing in that did not succeed."""
    with workspace.begin() as connection:
        user = read_users(connection, t.users.c.id == user_id)[0]
        scope = Scope.of_roles(user.name, (), user_id=user.id, via="sign-in")
        act(workspace, connection, scope, what, about=user.public_id, after=after)


# --- who is signed in ----------------------------------------------------------------------------------------------


def session_of(workspace: Workspace, token: str) -> Session:
    """Who sends a request, by the token in its cookie. To be asked for each request, and again during long ones.

    Raises:
        NotAuthenticated: nobody who is signed in (any more).
    """
    table = t.sessions
    row = None
    user: User | None = None
    now = workspace.clock_us()
    if 0 < len(token) <= TOKEN_CHARACTERS_MAX:
        with workspace.read() as connection:
            row = connection.execute(sa.select(table).where(table.c.digest == digest_of(token))).one_or_none()
            if row is not None:
                seals.verify(table, row)
                user = next(iter(read_users(connection, t.users.c.id == row.user_id)), None)
    if row is None or user is None or user.state != "active":
        raise NotAuthenticated("nobody is signed in", hint="sign in")
    session = _session(row, user, now)
    if not row.seen_us - CLOCK_SLACK_S * 1_000_000 <= now < session.expires_us:
        raise NotAuthenticated("the session has ended", hint="sign in again")
    if now - row.seen_us >= SEEN_EVERY_S * 1_000_000:
        with workspace.begin() as connection:
            mine = sa.and_(table.c.digest == row.digest, table.c.seen_us < now)
            connection.execute(sa.update(table).where(mine).values(seen_us=now))
    return session


def sessions_of(workspace: Workspace, session: Session) -> list[Session]:
    """Where else the same user is signed in, and here: the last used first."""
    table = t.sessions
    query = sa.select(table).where(table.c.user_id == session.user.id).order_by(table.c.seen_us.desc())
    now = workspace.clock_us()
    with workspace.read() as connection:
        found = [_session(row, session.user, now) for row in seals.verified(table, connection.execute(query))]
    return [each for each in found if each.expires_us > now]


def end_session(workspace: Workspace, session: Session, public_id: str) -> None:
    """End a session of the same user: to sign out, one's own. Raises: NotFound."""
    table = t.sessions
    mine = sa.and_(table.c.public_id == t.storable(public_id), table.c.user_id == session.user.id)
    with workspace.begin() as connection:
        if not connection.execute(sa.delete(table).where(mine)).rowcount:
            raise NotFound("there is no such session")
        act(
            workspace,
            connection,
            session.scope,
            "sign-in.ended",
            about=session.user.public_id,
            before={"id": public_id},
        )


def end_other_sessions(workspace: Workspace, session: Session) -> int:
    """End all sessions of the same user but this one, and say how many there were."""
    with workspace.begin() as connection:
        gone = _end_others(connection, session)
        act(
            workspace, connection, session.scope, "sign-in.ended", about=session.user.public_id, before={"others": gone}
        )
    return gone


def _end_others(connection: sa.Connection, session: Session) -> int:
    table = t.sessions
    others = sa.and_(table.c.user_id == session.user.id, table.c.public_id != session.public_id)
    return connection.execute(sa.delete(table).where(others)).rowcount


def _session(row: sa.Row[tuple[object, ...]], user: User, now: int) -> Session:
    ends = min(row.created_us + LIFETIME_S * 1_000_000, row.seen_us + IDLE_S * 1_000_000)
    return Session(
        public_id=row.public_id,
        user=user,
        scope=scope_of(user, via=f"session {row.public_id}"),
        means=row.means,
        address=row.address,
        agent=row.agent,
        created_us=row.created_us,
        seen_us=row.seen_us,
        expires_us=ends,
        is_fresh=0 <= now - row.created_us < FRESH_S * 1_000_000,
    )


# --- how one signs in ----------------------------------------------------------------------------------------------


def check_fresh(session: Session) -> None:
    """Go on only if the user signed in just now. Raises: NotPermitted."""
    if not session.is_fresh:
        raise NotPermitted("this needs somebody who has signed in just now", hint="sign in again, then repeat it")


def set_password(workspace: Workspace, session: Session, old: Secret | None, new: Secret) -> None:
    """Change one's own password; all other sessions of the user end.

    Without the old one only right after signing in by something else than a password: a link.

    Raises:
        NotAuthenticated: the old password is another one.
        NotPermitted: the old password is missing, and this session may not do without it.
        LimitExceeded: too many tries.
        SchemaError: the new one cannot be a password.
    """
    check_password(new, name=session.user.name)
    with workspace.read() as connection:
        hashed = connection.execute(sa.select(t.users.c.password).where(t.users.c.id == session.user.id)).scalar()
    if old is None and hashed is not None and not (session.is_fresh and session.means != "password"):
        raise NotPermitted("the old password is missing", hint="give it, or sign in with a new link")
    if old is not None and hashed is not None:
        count_try(workspace, account=key_of_name(session.user.name), address=session.address)
        if not is_password(hashed, old):
            raise NotAuthenticated("the old password is another one")
    fresh_hash = hash_of_password(new)
    with workspace.begin() as connection:
        same = t.users.c.password.is_(None) if hashed is None else t.users.c.password == hashed
        update = sa.update(t.users).where(t.users.c.id == session.user.id, same).values(password=fresh_hash)
        if not connection.execute(update).rowcount:
            raise NotAuthenticated("the password has just been changed by somebody else")
        forget_tries(connection, account=key_of_name(session.user.name), address=session.address)
        ended = _end_others(connection, session)
        after = {"sessions ended": ended}
        act(workspace, connection, session.scope, "user.password", about=session.user.public_id, after=after)

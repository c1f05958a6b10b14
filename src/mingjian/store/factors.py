"""Setting up and giving up one-time codes, on one's own account."""

from __future__ import annotations

import base64
from typing import Final

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotAuthenticated, NotFound, StateError
from mingjian.store import tables as t
from mingjian.store.attempts import count_try, forget_tries
from mingjian.store.audit import act
from mingjian.store.codes import address_of, is_code, new_secret, opened_secret, sealed_secret, step_of
from mingjian.store.sessions import Session, check_fresh
from mingjian.store.tickets import make_ticket, seen_ticket, take_ticket
from mingjian.store.workspace import Workspace
from mingjian.telemetry import Secret

SETUP_S: Final = 900
"""So long may one take to set up an app."""


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """A new secret for an app: not in force until a code of it was given (``confirm_codes``)."""

    secret: Secret
    address: Secret
    """``otpauth://…``, to be shown as a QR code."""
    ticket: Secret


def begin_codes(workspace: Workspace, session: Session) -> Setup:
    """Begin to set up one-time codes.

    Raises:
        NotPermitted: the user did not sign in just now.
        StateError: there are codes already.
    """
    check_fresh(session)
    if session.user.has_totp:
        raise StateError("one-time codes are set up already", hint="give them up first")
    secret = new_secret()
    details = {"secret": base64.b64encode(sealed_secret(workspace, secret)).decode()}
    with workspace.begin() as connection:
        ticket = make_ticket(
            workspace, connection, "new totp", lifetime_s=SETUP_S, user_id=session.user.id, details=details
        )
    return Setup(secret=secret, address=address_of(secret, session.user.name), ticket=ticket)


def address_of_setup(workspace: Workspace, session: Session, ticket: str) -> Secret:
    """What the QR code says of a secret that is not in force yet. Raises: NotFound: there is none (any more)."""
    seen = seen_ticket(workspace, "new totp", ticket)
    if seen is None or seen.user_id != session.user.id:
        raise NotFound("no one-time codes are being set up", hint="begin again")
    return address_of(opened_secret(workspace, base64.b64decode(seen.details["secret"])), session.user.name)


def confirm_codes(workspace: Workspace, session: Session, ticket: str, code: str) -> None:
    """Put one-time codes in force: from now on signing in with a password wants one. A ticket is good for one try.

    Raises:
        NotPermitted: the user did not sign in just now.
        NotAuthenticated: the code is not one of the app, or it took too long; begin again.
    """
    check_fresh(session)
    with workspace.begin() as connection:
        taken = take_ticket(workspace, connection, "new totp", ticket)
    if taken is None or taken.user_id != session.user.id:
        raise NotAuthenticated("setting up took too long", hint="begin again")
    sealed = base64.b64decode(taken.details["secret"])
    step = step_of(opened_secret(workspace, sealed), code, workspace.clock_us())
    if step is None:
        raise NotAuthenticated("this is not the code of the app", hint="is its clock right? Begin again")
    with workspace.begin() as connection:
        mine = sa.and_(t.users.c.id == session.user.id, t.users.c.totp.is_(None))
        if not connection.execute(sa.update(t.users).where(mine).values(totp=sealed, totp_step=step)).rowcount:
            raise StateError("one-time codes are set up already")
        act(workspace, connection, session.scope, "user.codes", about=session.user.public_id, after={"codes": True})


def end_codes(workspace: Workspace, session: Session, code: str) -> None:
    """Give one's one-time codes up, with one of them.

    Raises:
        NotPermitted: the user did not sign in just now.
        NotAuthenticated: the code is wrong, or was used.
        LimitExceeded: too many tries.
    """
    check_fresh(session)
    account = f"#{session.user.id}"
    count_try(workspace, account=account, address=session.address)
    with workspace.begin() as connection:
        if not is_code(workspace, connection, session.user.id, code):
            raise NotAuthenticated("the one-time code is wrong, or was used already")
        forget_tries(connection, account=account, address=session.address)
        connection.execute(sa.update(t.users).where(t.users.c.id == session.user.id).values(totp=None))
        act(workspace, connection, session.scope, "user.codes", about=session.user.public_id, after={"codes": False})

"""Tickets: what may be used once and not for long. Sign-in links, and signing in that is under way.

A ticket is 32 random bytes, of which only the digest is kept; taking it removes it, so of two who come with the same
ticket one gets it. There are never more than ``TICKETS_MAX`` of a kind, the oldest go first.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.workspace import Workspace
from mingjian.telemetry import Secret

TICKETS_MAX: Final = 10_000
TOKEN_BYTES: Final = 32
TOKEN_CHARACTERS_MAX: Final = 200
"""A longer token is wrong, and is not even looked up."""

TicketKind: TypeAlias = Literal["link", "code", "new totp", "openid", "passkey", "new passkey"]


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket that was taken."""

    user_id: int | None
    details: Mapping[str, str]


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def make_ticket(
    workspace: Workspace,
    connection: sa.Connection,
    kind: TicketKind,
    *,
    lifetime_s: int,
    user_id: int | None = None,
    details: Mapping[str, str] | None = None,
    token: Secret | None = None,
) -> Secret:
    """Make a ticket within a transaction, and give its token; ``token`` says which, for one that is known already."""
    table = t.tickets
    now = workspace.clock_us()
    text = token or Secret(secrets.token_urlsafe(TOKEN_BYTES))
    connection.execute(sa.delete(table).where(table.c.expires_us < now))
    there = connection.execute(sa.select(sa.func.count()).where(table.c.kind == kind)).scalar_one()
    if there >= TICKETS_MAX:
        oldest = sa.select(table.c.digest).where(table.c.kind == kind).order_by(table.c.created_us)
        connection.execute(sa.delete(table).where(table.c.digest.in_(oldest.limit(there - TICKETS_MAX + 1))))
    values = {
        "digest": digest_of(text.reveal()),
        "kind": kind,
        "user_id": user_id,
        "details": json.dumps(details or {}),
        "created_us": now,
        "expires_us": now + lifetime_s * 1_000_000,
    }
    connection.execute(sa.insert(table).values(values))
    return text


def take_ticket(workspace: Workspace, connection: sa.Connection, kind: TicketKind, token: str) -> Ticket | None:
    """Take a ticket within a transaction; None if there is none (any more). It is gone if the transaction commits."""
    if len(token) > TOKEN_CHARACTERS_MAX:
        return None
    table = t.tickets
    gone = sa.delete(table).where(table.c.digest == digest_of(token), table.c.kind == kind).returning(table)
    row = connection.execute(gone).one_or_none()
    now = workspace.clock_us()
    # A clock that was set back must not make it live longer.
    if row is None or not row.created_us <= now < row.expires_us:
        return None
    return Ticket(user_id=row.user_id, details=json.loads(row.details))


def seen_ticket(workspace: Workspace, kind: TicketKind, token: str) -> Ticket | None:
    """A ticket that can still be taken, without taking it."""
    table = t.tickets
    if len(token) > TOKEN_CHARACTERS_MAX:
        return None
    now = workspace.clock_us()
    query = sa.select(table).where(
        table.c.digest == digest_of(token),
        table.c.kind == kind,
        table.c.created_us <= now,
        table.c.expires_us > now,
    )
    with workspace.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else Ticket(user_id=row.user_id, details=json.loads(row.details))


def drop_tickets(connection: sa.Connection, user_id: int, kind: TicketKind) -> None:
    """Make the tickets of a user worthless, within a transaction."""
    table = t.tickets
    connection.execute(sa.delete(table).where(table.c.user_id == user_id, table.c.kind == kind))

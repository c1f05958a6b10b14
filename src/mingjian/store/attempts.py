"""How often somebody may try to sign in: so often as one user, so often from one address, then not for five minutes.

A try is counted before it is looked at, so that a thousand at once are not more than one after the other. A name that
nobody has is counted like every other: nothing tells the two apart. Only digests of names and addresses are kept.
"""

from __future__ import annotations

import ipaddress
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from mingjian.errors import TooManyRequests
from mingjian.store import tables as t
from mingjian.store.catalogue import insert_for
from mingjian.store.workspace import Workspace

WINDOW_S: Final = 300
TRIES_PER_ACCOUNT_MAX: Final = 10
TRIES_PER_ADDRESS_MAX: Final = 50
"""Several people sit behind one address."""
NETWORK_BITS: Final = 64
"""An address of IPv6 counts with its network: one machine may have as many of them as it likes."""


def count_try(workspace: Workspace, *, account: str, address: str) -> None:
    """Count a try to sign in, before it is looked at.

    ``account`` says whose it is: a name that was typed, or ``#`` and the number of a user.

    Raises:
        TooManyRequests: there were too many without a success; this one must not be looked at.
    """
    now = workspace.clock_us()
    kinds = (
        ("TRIES_PER_ACCOUNT_MAX", TRIES_PER_ACCOUNT_MAX, f"account {account}"),
        ("TRIES_PER_ADDRESS_MAX", TRIES_PER_ADDRESS_MAX, f"address {network_of(address)}"),
    )
    with workspace.begin() as connection:
        window = WINDOW_S * 1_000_000
        # A clock that was set back must not lock anybody out for longer.
        over = sa.or_(t.attempts.c.last_us < now - window, t.attempts.c.last_us > now + window)
        connection.execute(sa.delete(t.attempts).where(over))
        tries = [_counted(connection, key, bound, now) for _, bound, key in kinds]
    for (limit, bound, _), made in zip(kinds, tries, strict=True):
        if made > bound:
            hint = f"try again in {WINDOW_S // 60} minutes; a new sign-in link works at once"
            raise TooManyRequests(limit, bound, retry_after_s=WINDOW_S, hint=hint)


def forget_tries(connection: sa.Connection, *, account: str, address: str) -> None:
    """Take back the tries of somebody who is signed in now, within a transaction."""
    table = t.attempts
    connection.execute(sa.delete(table).where(table.c.digest == _digest(f"account {account}")))
    ours = table.c.digest == _digest(f"address {network_of(address)}")
    connection.execute(sa.update(table).where(ours, table.c.tries > 0).values(tries=table.c.tries - 1))


def network_of(address: str) -> str:
    """The part of an address by which it is counted.

    >>> network_of("203.0.113.9"), network_of("2001:db8:1:2:3:4:5:6"), network_of("socket")
    ('203.0.113.9', '2001:db8:1:2::/64', 'socket')
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), NETWORK_BITS), strict=False))


def _counted(connection: sa.Connection, key: str, bound: int, now: int) -> int:
    table = t.attempts
    insert = insert_for(connection, table).values(digest=_digest(key), tries=1, last_us=now)
    # What is refused does not count: otherwise whoever goes on trying would keep the user out for ever.
    last = sa.case((table.c.tries < bound, now), else_=table.c.last_us)
    again = insert.on_conflict_do_update(
        index_elements=[table.c.digest], set_={"tries": table.c.tries + 1, "last_us": last}
    )
    return connection.execute(again.returning(table.c.tries)).scalar_one()


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()

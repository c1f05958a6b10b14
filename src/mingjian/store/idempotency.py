"""Answers to requests with an idempotency key: sent again, a request gets the answer that it got, and does nothing.

At most once: if a process is killed between doing something and noting its answer, nobody knows whether it was done;
then the same key is refused for as long as it is remembered, and whoever asks has to look.

Source: IETF draft-ietf-httpapi-idempotency-key-header, section 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

import sqlalchemy as sa

from mingjian.errors import MingjianError, StateError
from mingjian.store import tables as t
from mingjian.store.catalogue import insert_unless_there
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace

KEPT_S: Final = 86_400
"""A key is remembered for so long."""
UNDER_WAY_S: Final = 600
"""A request that has no answer after so long was cut off."""


_UNDER_WAY: Final = "the first request with this idempotency key is still under way"
_LATER: Final = "ask again later"


class Answered(NamedTuple):
    """An answer: status and body."""

    status: int
    body: bytes


def answer_once(workspace: Workspace, scope: Scope, key: str, request: str, act: Callable[[], Answered]) -> Answered:
    """Do something for the first request with a key; give its answer to all others. Errors are not remembered.

    Raises:
        StateError: the first one is under way, or the key was used for another request.
    """
    table = t.idempotency_keys
    digest = hashlib.blake2b(f"{scope.actor}\0{scope.user_id}\0{key}".encode(), digest_size=16).digest()
    said = hashlib.blake2b(request.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    now = workspace.clock_us()
    with workspace.begin() as connection:
        connection.execute(sa.delete(table).where(table.c.created_us < now - KEPT_S * 1_000_000))
        row = connection.execute(sa.select(table).where(table.c.digest == digest)).one_or_none()
        if row is None:
            values = {"digest": digest, "request": said, "status": 0, "body": b"", "created_us": now}
            mine = insert_unless_there(connection, table).values(values).returning(table.c.digest)
            if connection.execute(mine).one_or_none() is None:
                # Another process was between our two looks.
                raise StateError(
                    "the first request with this idempotency key is still under way", hint="ask again later"
                )
    if row is not None:
        if row.request != said:
            raise StateError("this idempotency key was used for another request", hint="take a new key")
        if not row.status and row.created_us < now - UNDER_WAY_S * 1_000_000:
            hint = "look whether it took effect, and take a new key if it did not"
            raise StateError("the first request with this idempotency key was cut off", hint=hint)
        if not row.status:
            raise StateError(_UNDER_WAY, hint=_LATER)
        return Answered(row.status, row.body)
    try:
        answered = act()
    except MingjianError:
        with workspace.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.digest == digest))
        raise
    with workspace.begin() as connection:
        mine = sa.update(table).where(table.c.digest == digest)
        connection.execute(mine.values(status=answered.status, body=answered.body))
    return answered

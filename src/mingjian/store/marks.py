"""Marks: short texts in ``meta`` that are others whenever something has changed, for whoever keeps a copy of it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.catalogue import insert_for
from mingjian.store.workspace import new_id

LABELS_OF_RULES: Final = "labels of rules"
"""Title, level or tags of a rule that counts."""
LABELS_OF_DETECTIONS: Final = "labels of detections"
"""The same of a detection that was there already."""


def mark(connection: sa.Connection, name: str) -> str:
    """A mark; empty if nothing has ever changed."""
    return connection.execute(sa.select(t.meta.c.value).where(t.meta.c.key == name)).scalar_one_or_none() or ""


def renew_mark(connection: sa.Connection, name: str) -> None:
    """Say within the transaction that changes something that it does."""
    insert = insert_for(connection, t.meta).values(key=name, value=new_id())
    connection.execute(
        insert.on_conflict_do_update(index_elements=[t.meta.c.key], set_={"value": insert.excluded.value})
    )

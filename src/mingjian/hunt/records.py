"""A record by its pointer, as it came in: the evidence behind every figure.

A pointer is a file, as detections and cards name it, and the number of a record in it.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from mingjian.errors import InputError, NotFound, shown
from mingjian.model.values import Record
from mingjian.store import tables as t
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import segments_of_record, within
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace


class Found(NamedTuple):
    """A record, and where it is."""

    organisation: OrganisationId
    stream: str
    file: str
    number: int
    record: Record
    raw: bytes
    """As it came in if that was kept, else its JSON."""


def split_pointer(text: str) -> tuple[str, int]:
    """File and number out of ``FILE:NUMBER``.

    >>> split_pointer("c:/logs/a.json:17")
    ('c:/logs/a.json', 17)

    Raises:
        InputError: it is no pointer.
    """
    file, _, number = text.rpartition(":")
    if not file or not number.removeprefix("-").isdecimal():
        raise InputError(f"{shown(text)} is no pointer", hint="it looks like FILE:NUMBER, as in the list of detections")
    return file, int(number)


def records_at(
    workspace: Workspace, scope: Scope, file: str, number: int, *, organisation: OrganisationId | None = None
) -> list[Found]:
    """The records to which a pointer may point: several if inputs of one name came in one after the other.

    Raises:
        NotFound: no input has this name, or it has no such record (any more).
        StorageError: the segment is damaged.
    """
    table, names = t.inputs, t.input_names
    called = sa.select(names.c.input_id).where(names.c.name == t.storable(file))
    owned = [] if organisation is None else [table.c.organisation_id == organisation]
    query = (
        sa.select(table.c.id)
        .where(sa.or_(table.c.name == t.storable(file), table.c.id.in_(called)), *owned)
        .where(within(scope, table.c.organisation_id))
        .order_by(table.c.id)
    )
    with workspace.read() as connection:
        inputs = [int(each) for each in connection.execute(query).scalars()]
    if not inputs:
        raise NotFound(f"no input is called {shown(file)}")
    found: list[Found] = []
    with workspace.reading():
        for input_id in inputs:
            for row in segments_of_record(workspace, scope, input_id, number):
                with Segment(workspace.lake / row.path, checks=row.checks) as segment:
                    for block in segment.blocks():
                        for place in (block.inputs == input_id).nonzero()[0].tolist():
                            if block.numbers[place] == number:
                                owner = row.key.organisation
                                record, raw = block.record(place), block.raw(place)
                                found.append(Found(owner, row.key.stream, file, number, record, raw))
    if not found:
        raise NotFound(f"{shown(file)} has no record {number} that is kept")
    return found

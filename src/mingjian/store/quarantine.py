"""What could not be read, and the times that it was read again: nothing is dropped, nothing comes through twice.

An entry that came through leaves the quarantine in the transaction that commits its events, and stays in the history of
retries with its bytes, when, and by whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound, StateError
from mingjian.model.blocks import Quarantined
from mingjian.store import tables as t
from mingjian.store.catalogue import Extra, QuarantinedRow, quarantined_item, quarantined_rows, within
from mingjian.store.jobs import Job, queue
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

IDS_MAX: Final = 10_000
"""So many entries are named at once; all of an organisation need not be named."""
PORTION: Final = 500
LISTED_MAX: Final = 1_000

Outcome: TypeAlias = Literal["read", "unread", "file-needed"]
"""It came through; it cannot be read yet; what was kept of it is not enough, the file has to be taken in again."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """One time that something was read again."""

    entry_id: int
    organisation: OrganisationId
    item: Quarantined
    """As it was; without bytes unless it came through."""
    received_us: int
    at_us: int
    actor: str
    outcome: Outcome
    events: int
    """So many events came of it."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """What came of reading an entry again."""

    row: QuarantinedRow
    outcome: Outcome
    events: int = 0
    reason: str = ""
    """Why it cannot be read, as it is said now."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a job of kind ``quarantine`` is to read again, as JSON in its ``request``."""

    by: str = ""
    titles: list[str] = []
    ids: list[int] = []
    """None: everything that the job reaches."""


def ask_retry(
    workspace: Workspace,
    scope: Scope,
    ids: Sequence[int],
    *,
    organisation: OrganisationId | None = None,
    title: str = "",
    by: str = "",
) -> Job:
    """Put reading entries again on the list of what is to be done; none named: all of the organisation, or of all.

    Raises:
        NotFound, NotPermitted: the scope does not reach that far.
    """
    wanted = Wanted(by=by or scope.actor, titles=[title] if title else [], ids=list(ids[:IDS_MAX]))
    request = msgspec.json.encode(wanted).decode()
    return queue(workspace, scope, "quarantine", organisation=organisation, request=request)


def entries_after(
    workspace: Workspace,
    scope: Scope,
    after: int,
    *,
    until: int,
    ids: Sequence[int] = (),
    organisation: OrganisationId | None = None,
    limit: int = PORTION,
) -> list[QuarantinedRow]:
    """Entries in the order of their numbers, behind one and up to another; only those named, if any are."""
    table = t.quarantine
    conditions = [within(scope, table.c.organisation_id), table.c.id > after, table.c.id <= until]
    if organisation is not None:
        scope.check_read(organisation)
        conditions.append(table.c.organisation_id == organisation)
    if ids:
        behind = sorted(each for each in ids if each > after)[:PORTION]
        conditions.append(table.c.id.in_(behind))
    query = sa.select(table).where(*conditions).order_by(table.c.id).limit(limit)
    with workspace.read() as connection:
        return quarantined_rows(connection, query)


def alike(workspace: Workspace, scope: Scope, entry_id: int) -> list[int]:
    """The numbers of the entries of the same file with the same kind of reason as one, and its own.

    Raises:
        NotFound: there is no such entry that the scope may see.
    """
    table = t.quarantine
    with workspace.read() as connection:
        one = connection.execute(
            sa.select(table).where(table.c.id == entry_id, within(scope, table.c.organisation_id))
        ).one_or_none()
        if one is None:
            raise NotFound("there is no such piece in quarantine")
        same = (
            table.c.organisation_id == one.organisation_id,
            table.c.file == one.file,
            table.c.code == one.code,
            table.c.input_id.is_not_distinct_from(one.input_id),
        )
        query = sa.select(table.c.id).where(*same).order_by(table.c.id.desc()).limit(IDS_MAX)
        scope.check_write(OrganisationId(one.organisation_id), "piece in quarantine")
        return sorted(connection.execute(query).scalars())


def last_entry(workspace: Workspace) -> int:
    """The highest number of an entry."""
    with workspace.read() as connection:
        return connection.execute(sa.select(sa.func.max(t.quarantine.c.id))).scalar() or 0


def note_tries(tried: Sequence[Tried], actor: str, now_us: int) -> Extra:
    """Keep what came of reading entries again, within the transaction that commits their events.

    Raises (in the transaction): StateError if one of them came through before.
    """
    history = [_history(each, actor, now_us) for each in tried]
    through = [each.row.id for each in tried if each.outcome == "read"]

    def write(connection: sa.Connection) -> None:
        table = t.quarantine
        gone = 0
        for start in range(0, len(through), PORTION):
            some = table.c.id.in_(through[start : start + PORTION])
            gone += connection.execute(sa.delete(table).where(some)).rowcount
        if gone != len(through):
            raise StateError("somebody else has read this again meanwhile")
        for each in tried:
            if each.reason and each.outcome == "unread" and each.reason != each.row.item.reason:
                mine = sa.update(table).where(table.c.id == each.row.id)
                connection.execute(mine.values(reason=t.storable(each.reason)))
        if history:
            connection.execute(sa.insert(t.quarantine_retries), history)

    return write


def _history(each: Tried, actor: str, now_us: int) -> dict[str, object]:
    item = each.row.item
    return {
        "organisation_id": each.row.organisation,
        "entry_id": each.row.id,
        "file": item.file,
        "record": item.record,
        "offset": item.offset,
        "code": item.code,
        "reason": item.reason,
        "data": item.data if each.outcome == "read" else b"",
        "received_us": each.row.received_us,
        "at_us": now_us,
        "actor": actor,
        "outcome": each.outcome,
        "events": each.events,
    }


def retries(
    workspace: Workspace,
    scope: Scope,
    *,
    organisation: OrganisationId | None = None,
    entry_id: int | None = None,
    came_through: bool = False,
    limit: int = LISTED_MAX,
) -> list[Retry]:
    """The times that something was read again, the latest first. Raises: NotFound."""
    table = t.quarantine_retries
    conditions = [within(scope, table.c.organisation_id)]
    if organisation is not None:
        scope.check_read(organisation)
        conditions.append(table.c.organisation_id == organisation)
    if entry_id is not None:
        conditions.append(table.c.entry_id == entry_id)
    if came_through:
        conditions.append(table.c.outcome == "read")
    query = sa.select(table).where(*conditions).order_by(table.c.id.desc()).limit(min(limit, LISTED_MAX))
    with workspace.read() as connection:
        return [
            Retry(
                entry_id=row.entry_id,
                organisation=OrganisationId(row.organisation_id),
                item=quarantined_item(row),
                received_us=row.received_us,
                at_us=row.at_us,
                actor=row.actor,
                outcome=row.outcome,
                events=row.events,
            )
            for row in connection.execute(query)
        ]


def release(input_id: int) -> Extra:
    """Let an input of which nothing came in be read from its beginning, the next time that its file is taken in."""

    def write(connection: sa.Connection) -> None:
        table = t.inputs
        values = {
            "committed_offset": 0,
            "committed_records": 0,
            "committed_digest": None,
            "position": None,
            "format": None,
            "state": "open",
        }
        connection.execute(sa.update(table).where(table.c.id == input_id).values(values))
        connection.execute(sa.delete(t.input_offsets).where(t.input_offsets.c.input_id == input_id))

    return write


def became(input_id: int, format_name: str, records: int) -> Extra:
    """Note in which format an input was read after all, and how many records (or lines) it has."""

    def write(connection: sa.Connection) -> None:
        table = t.inputs
        values = {"format": format_name, "committed_records": records}
        connection.execute(sa.update(table).where(table.c.id == input_id).values(values))
        counted = sa.update(t.input_offsets).where(t.input_offsets.c.input_id == input_id)
        connection.execute(counted.values(records=records))

    return write

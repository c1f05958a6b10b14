"""Findings of behaviours, kept as detections of kind ``behaviour``, with whom each of them is about.

A run of the behaviours looks at all that is kept (or at the newest part of it) and says what holds. ``set_behaviours``
makes what is stored equal to it, as far as the run looked back; what was found before that stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec
import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.catalogue import insert_for, within
from mingjian.store.detections import FoundDetection, StoredDetection, add, identity, rows_as_detections
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

PORTION: Final = 500
"""So many values are named in one statement."""
FOUND_MAX: Final = 500
"""So many findings about one entity are fetched, the newest first."""
LISTED_MAX: Final = 100_000
"""So many findings are listed at most."""
STATE: Final = "behaviours"
"""The name under which it is kept what was looked at."""

PartyRole: TypeAlias = Literal["actor", "object"]
T = TypeVar("T")


class Party(msgspec.Struct, frozen=True):
    """Somebody whom a finding is about."""

    kind: str
    value: str
    """Canonical; of a host the first label of its name."""
    role: PartyRole


class FoundBehaviour(msgspec.Struct, frozen=True, kw_only=True):
    """A finding on its way into the store."""

    found: FoundDetection
    parties: tuple[Party, ...]


class StoredBehaviour(msgspec.Struct, frozen=True):
    """A finding about somebody, as it is kept."""

    stored: StoredDetection
    role: PartyRole

    @property
    def score(self) -> int:
        """How much it looks like the behaviour, 0 to 100."""
        text = self.stored.detection.matched.get("score", "")
        return int(text) if text.isdecimal() else 0


class LookedAt(msgspec.Struct, frozen=True, kw_only=True):
    """What the last run looked at, of one organisation."""

    events: int
    """In streams that tell facts."""
    first_us: int | None
    last_us: int | None
    run_us: int
    took_us: int = 0
    is_all: bool = True
    """Whether it was all that there was."""


def set_behaviours(
    workspace: Workspace,
    scope: Scope,
    organisation: OrganisationId,
    found: Sequence[FoundBehaviour],
    looked_at: LookedAt,
) -> None:
    """Make the findings about an organisation those that hold now; note what they rest on.

    Of what began before the time that was looked at, nothing goes.

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation.
        StorageError: the database could not keep it; nothing was changed.
    """
    scope.check_write(organisation)
    table, parties = t.detections, t.behaviour_parties
    by_identity = {identity(each.found): each for each in found}
    ours = sa.and_(table.c.organisation_id == organisation, table.c.kind == "behaviour")
    with workspace.begin() as connection:
        rows = connection.execute(sa.select(table.c.id, table.c.identity, table.c.time_us).where(ours)).all()
        since_us = None if looked_at.is_all else looked_at.first_us
        gone = [
            row.id
            for row in rows
            if row.identity not in by_identity and (since_us is None or (row.time_us or 0) >= since_us)
        ]
        for portion in _portions(gone):
            connection.execute(sa.delete(parties).where(parties.c.detection_id.in_(portion)))
            connection.execute(sa.delete(table).where(table.c.id.in_(portion)))
        kept = [each.found for each in by_identity.values()]
        add(organisation, kept, "hunt", looked_at.run_us, update=True)(connection)
        rows = connection.execute(sa.select(table.c.id, table.c.identity).where(ours)).all()
        numbers = {row.identity: row.id for row in rows if row.identity in by_identity}
        for portion in _portions(list(numbers.values())):
            connection.execute(sa.delete(parties).where(parties.c.detection_id.in_(portion)))
        about = [
            {"detection_id": numbers[key], "kind": party.kind, "value": party.value, "role": party.role}
            for key, each in by_identity.items()
            for party in {(party.kind, party.value): party for party in reversed(each.parties)}.values()
        ]
        if about:
            connection.execute(sa.insert(parties), about)
        _note(connection, organisation, looked_at)


def _note(connection: sa.Connection, organisation: OrganisationId, looked_at: LookedAt) -> None:
    state = t.correlation_state
    insert = insert_for(connection, state).values(
        organisation_id=organisation,
        name=STATE,
        state=msgspec.msgpack.encode(looked_at),
        updated_us=looked_at.run_us,
    )
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[state.c.organisation_id, state.c.name],
            set_={"state": insert.excluded.state, "updated_us": insert.excluded.updated_us},
        )
    )


def looked_at(workspace: Workspace, scope: Scope) -> dict[OrganisationId, LookedAt]:
    """What the last runs looked at, by organisation; one that none looked at is not there."""
    state = t.correlation_state
    query = sa.select(state.c.organisation_id, state.c.state).where(
        state.c.name == STATE, within(scope, state.c.organisation_id)
    )
    with workspace.read() as connection:
        return {
            OrganisationId(organisation): msgspec.msgpack.decode(noted, type=LookedAt)
            for organisation, noted in connection.execute(query)
        }


def behaviours_about(
    workspace: Workspace,
    scope: Scope,
    observables: Iterable[tuple[str, str]],
    *,
    organisation: OrganisationId | None = None,
) -> list[StoredBehaviour]:
    """The findings about some observables, each once, the newest first. At most ``FOUND_MAX`` of each portion asked."""
    table, parties = t.detections, t.behaviour_parties
    owned = [] if organisation is None else [table.c.organisation_id == organisation]
    found: dict[int, StoredBehaviour] = {}
    with workspace.read() as connection:
        for portion in _portions(list(dict.fromkeys(observables))):
            # An OR of pairs uses the index in SQLite and PostgreSQL alike.
            wanted = [sa.and_(parties.c.kind == kind, parties.c.value == t.storable(value)) for kind, value in portion]
            query = (
                sa.select(table, t.streams.c.name.label("stream"), parties.c.role)
                .join(parties, parties.c.detection_id == table.c.id)
                .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
                .where(sa.or_(*wanted), within(scope, table.c.organisation_id), *owned)
                .order_by(table.c.time_us.desc(), table.c.id)
                .limit(FOUND_MAX)
            )
            rows = connection.execute(query).all()
            for row, stored in zip(rows, rows_as_detections(rows), strict=True):
                if stored.id not in found or row.role == "actor":
                    found[stored.id] = StoredBehaviour(stored, row.role)
    return list(found.values())


def stored_behaviours(
    workspace: Workspace, scope: Scope, *, organisation: OrganisationId | None = None, limit: int = LISTED_MAX
) -> list[StoredDetection]:
    """All findings that are kept, the highest score first, then the newest."""
    if organisation is not None:
        scope.check_read(organisation)
    table = t.detections
    owned = [] if organisation is None else [table.c.organisation_id == organisation]
    query = (
        sa.select(table, t.streams.c.name.label("stream"))
        .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
        .where(table.c.kind == "behaviour", within(scope, table.c.organisation_id), *owned)
        .order_by(table.c.time_us.desc(), table.c.id)
        .limit(limit)
    )
    with workspace.read() as connection:
        found = rows_as_detections(connection.execute(query))
    return sorted(found, key=lambda each: -StoredBehaviour(each, "actor").score)


def _portions(values: Sequence[T]) -> list[list[T]]:
    return [list(values[start : start + PORTION]) for start in range(0, len(values), PORTION)]

"""What is in the events of detections: entities as numbers, so that a million detections can be compared in columns.

``hunt.evidence`` reads it out of the events and adds it here; whatever groups detections loads it from here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np
import sqlalchemy as sa

from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.catalogue import insert_for, insert_unless_there
from mingjian.store.detections import StoredDetection, rows_as_detections
from mingjian.store.scope import OrganisationId
from mingjian.store.workspace import Workspace

BAD: Final = 1
"""Of an entity: an indicator calls it bad. Of a piece of evidence: an indicator found it."""
WARNED: Final = 2
"""Of an entity: it is on a warning list, everybody meets it."""
BEHAVIOUR: Final = 4
"""Of a piece of evidence: a behaviour found it."""
ENTITIES_MAX: Final = 32
"""So many entities of one event are kept."""
PORTION: Final = 500
"""So many values are named in one statement."""
ROWS_AT_ONCE: Final = 50_000
RULE: Final = "rule"
"""The kind of an entity that stands for a rule."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the event of a detection."""

    detection_id: int
    time_us: int | None
    level: int
    """Place in ``LEVELS``."""
    rule_key: int
    host_key: int
    """0 for none."""
    account_key: int
    flags: int
    entities: bytes
    """Keys, eight bytes each."""
    suppressed_by: int | None = None


class Entity(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the events of detections have in them."""

    key: int
    kind: str
    value: str
    hosts: int = 1
    """On so many hosts it was ever seen."""
    flags: int = 0


class Loaded(msgspec.Struct, frozen=True):
    """Evidence in columns, in the order of detections."""

    ids: np.ndarray[tuple[int], np.dtype[np.int64]]
    times: np.ndarray[tuple[int], np.dtype[np.int64]]
    levels: np.ndarray[tuple[int], np.dtype[np.int64]]
    rules: np.ndarray[tuple[int], np.dtype[np.int64]]
    hosts: np.ndarray[tuple[int], np.dtype[np.int64]]
    accounts: np.ndarray[tuple[int], np.dtype[np.int64]]
    flags: np.ndarray[tuple[int], np.dtype[np.int64]]
    mark_rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    mark_keys: np.ndarray[tuple[int], np.dtype[np.int64]]


UNTIMED: Final = np.iinfo(np.int64).min


def key_of(kind: str, value: str) -> int:
    """The number of an entity: never 0.

    >>> key_of("ip", "192.0.2.1") == key_of("ip", "192.0.2.1"), key_of("ip", "a") == key_of("host", "a")
    (True, False)
    """
    digest = hashlib.blake2b(f"{kind}\0{value}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


def packed(keys: Iterable[int]) -> bytes:
    """Keys as they are kept."""
    return np.array(list(keys), np.int64).astype("<i8").tobytes()


def without_evidence(
    workspace: Workspace, organisation: OrganisationId, limit: int, *, after_id: int = 0
) -> list[StoredDetection]:
    """Detections whose events nobody has looked into yet, by number."""
    table = t.detections
    query = (
        sa.select(table, t.streams.c.name.label("stream"))
        .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
        .outerjoin(s.evidence, s.evidence.c.detection_id == table.c.id)
        .where(table.c.organisation_id == organisation, table.c.id > after_id, s.evidence.c.id.is_(None))
        .order_by(table.c.id)
        .limit(limit)
    )
    with workspace.read() as connection:
        return rows_as_detections(connection.execute(query))


def add_evidence(
    workspace: Workspace, organisation: OrganisationId, found: Sequence[Evidence], entities: Iterable[Entity]
) -> None:
    """Keep what is in the events of some detections, and what is known of the entities; suppressed ones are marked."""
    rows = [
        {
            "organisation_id": organisation,
            "detection_id": each.detection_id,
            "time_us": each.time_us,
            "level": each.level,
            "rule_key": each.rule_key,
            "host_key": each.host_key,
            "account_key": each.account_key,
            "flags": each.flags,
            "entities": each.entities,
        }
        for each in found
    ]
    hidden: dict[int, list[int]] = {}
    for each in found:
        if each.suppressed_by is not None:
            hidden.setdefault(each.suppressed_by, []).append(each.detection_id)
    with workspace.begin() as connection:
        keep_entities(connection, organisation, entities)
        if rows:
            connection.execute(insert_unless_there(connection, s.evidence), rows)
        hide(connection, hidden)


def hide(connection: sa.Connection, hidden: Mapping[int, Sequence[int]]) -> None:
    """Mark detections (by suppression) as hidden by it."""
    for suppression, ids in hidden.items():
        for start in range(0, len(ids), PORTION):
            connection.execute(
                sa.update(t.detections)
                .where(t.detections.c.id.in_(ids[start : start + PORTION]))
                .values(suppressed_by=suppression)
            )


def keep_entities(connection: sa.Connection, organisation: OrganisationId, entities: Iterable[Entity]) -> None:
    """Note what is known of entities now."""
    rows = [{"organisation_id": organisation, **msgspec.structs.asdict(each)} for each in entities]
    if not rows:
        return
    insert = insert_for(connection, s.entities)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[s.entities.c.organisation_id, s.entities.c.key],
            set_={"hosts": insert.excluded.hosts, "flags": insert.excluded.flags},
        ),
        rows,
    )


class EvidenceState(NamedTuple):
    """Numbers that change whenever other evidence counts."""

    pieces: int
    """How much there is."""
    last: int
    """The number of the last piece."""
    hidden: int
    """How many detections are hidden."""


def evidence_state(workspace: Workspace, organisation: OrganisationId) -> EvidenceState:
    """What there is now."""
    table = s.evidence
    query = sa.select(sa.func.count(), sa.func.max(table.c.id)).where(table.c.organisation_id == organisation)
    hidden = sa.select(sa.func.count()).where(
        t.detections.c.organisation_id == organisation, t.detections.c.suppressed_by.is_not(None)
    )
    with workspace.read() as connection:
        count, last = connection.execute(query).one()
        return EvidenceState(int(count), int(last or 0), connection.execute(hidden).scalar_one())


class Taken(NamedTuple):
    """Evidence that was read."""

    loaded: Loaded
    """That of detections which nothing hides."""
    pieces: int
    """With the hidden ones."""
    hidden: int


def load_evidence(workspace: Workspace, organisation: OrganisationId, *, until: int, after: int = 0) -> Taken:
    """Evidence that was added after some piece, until another one (by their numbers)."""
    table = s.evidence
    names = ("detection_id", "time_us", "level", "rule_key", "host_key", "account_key", "flags", "entities")
    query = (
        sa.select(*(table.c[name] for name in names), t.detections.c.suppressed_by)
        .join(t.detections, t.detections.c.id == table.c.detection_id)
        .where(table.c.organisation_id == organisation, table.c.id > after, table.c.id <= until)
    )
    parts: list[Loaded] = []
    count = hidden = 0
    if after < until:
        with workspace.read() as connection:
            found = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(query)
            for rows in found.partitions():
                shown = [row for row in rows if row.suppressed_by is None]
                count += len(rows)
                hidden += len(rows) - len(shown)
                parts.append(_loaded(shown))
    return Taken(_together(parts), count, hidden)


def _loaded(rows: Sequence[Sequence[object]]) -> Loaded:
    cells = list(zip(*rows, strict=True)) if rows else [()] * 9
    blobs = [cast("bytes", each) for each in cells[7]]
    counts = np.array([len(blob) // 8 for blob in blobs], np.int64)
    numbers = [np.array(cell, np.int64) for cell in cells[2:7]]
    return Loaded(
        np.array(cells[0], np.int64),
        np.array([UNTIMED if time_us is None else time_us for time_us in cells[1]], np.int64),
        *numbers,
        mark_rows=np.repeat(np.arange(len(rows)), counts),
        mark_keys=np.frombuffer(b"".join(blobs), "<i8").astype(np.int64),
    )


def _together(parts: Sequence[Loaded]) -> Loaded:
    """Several as one."""
    parts = parts or [_loaded([])]
    starts = np.cumsum([0, *(len(part.ids) for part in parts)])
    shifted = [
        msgspec.structs.replace(part, mark_rows=part.mark_rows + start)
        for part, start in zip(parts, starts.tolist(), strict=False)
    ]
    return Loaded(*(np.concatenate([getattr(part, name) for part in shifted]) for name in Loaded.__struct_fields__))


def entities_of(
    workspace: Workspace, organisation: OrganisationId, keys: Sequence[int] | None = None
) -> dict[int, Entity]:
    """What is known of some entities, or of all."""
    table = s.entities
    query = sa.select(table.c.key, table.c.kind, table.c.value, table.c.hosts, table.c.flags).where(
        table.c.organisation_id == organisation
    )
    found: dict[int, Entity] = {}
    portions = [None] if keys is None else [keys[start : start + PORTION] for start in range(0, len(keys), PORTION)]
    with workspace.read() as connection:
        for portion in portions:
            asked = query if portion is None else query.where(table.c.key.in_(portion))
            for key, kind, value, hosts, flags in connection.execute(asked).all():
                found[key] = Entity(key=key, kind=kind, value=value, hosts=hosts, flags=flags)
    return found


class RuleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What detections say of the rule that found them."""

    rule_id: str
    title: str
    kind: str
    attack: tuple[str, ...]


def rule_facts(workspace: Workspace, organisation: OrganisationId, ids: Sequence[int]) -> dict[int, RuleFacts]:
    """What some detections (by their numbers) say of their rules."""
    table = t.detections
    found: dict[int, RuleFacts] = {}
    with workspace.read() as connection:
        for start in range(0, len(ids), PORTION):
            query = sa.select(table.c.id, table.c.rule_id, table.c.rule_title, table.c.kind, table.c.details).where(
                table.c.id.in_(ids[start : start + PORTION]), table.c.organisation_id == organisation
            )
            for number, rule_id, title, kind, details in connection.execute(query).all():
                attack = json.loads(details).get("attack", ())
                found[number] = RuleFacts(rule_id=rule_id, title=title, kind=kind, attack=tuple(attack))
    return found


def last_detection(workspace: Workspace) -> int:
    """The highest number that a detection has."""
    with workspace.read() as connection:
        return int(connection.execute(sa.select(sa.func.max(t.detections.c.id))).scalar_one() or 0)


def grouped_state(workspace: Workspace, organisation: OrganisationId) -> str | None:
    """What was noted when an organisation was grouped last."""
    query = sa.select(t.meta.c.value).where(t.meta.c.key == _state_key(organisation))
    with workspace.read() as connection:
        return connection.execute(query).scalar_one_or_none()


def set_grouped_state(connection: sa.Connection, organisation: OrganisationId, state: str) -> None:
    """Note in which state an organisation was grouped."""
    insert = insert_for(connection, t.meta).values(key=_state_key(organisation), value=state)
    connection.execute(
        insert.on_conflict_do_update(index_elements=[t.meta.c.key], set_={"value": insert.excluded.value})
    )


def forget_grouped_state(connection: sa.Connection, organisation: OrganisationId) -> None:
    """Let an organisation be grouped from scratch: something of what is grouped has changed."""
    connection.execute(sa.delete(t.meta).where(t.meta.c.key == _state_key(organisation)))


def organisations_with_news(workspace: Workspace, after: int) -> set[OrganisationId]:
    """Organisations of detections behind a number whose events nobody has looked into yet."""
    table = t.detections
    query = (
        sa.select(table.c.organisation_id)
        .outerjoin(s.evidence, s.evidence.c.detection_id == table.c.id)
        .where(table.c.id > after, s.evidence.c.id.is_(None))
        .distinct()
    )
    with workspace.read() as connection:
        return {OrganisationId(each) for each in connection.execute(query).scalars()}


def _state_key(organisation: OrganisationId) -> str:
    return f"situations of {organisation}"

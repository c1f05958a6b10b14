"""What is in the events of detections: entities as numbers, so that a million detections can be compared in columns.

``hunt.evidence`` reads it out of the events and adds it here; whatever groups detections loads it from here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

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


def evidence_count(workspace: Workspace, organisation: OrganisationId) -> tuple[int, int, int]:
    """Numbers that change whenever other evidence counts: how much there is, the last piece, how much is hidden."""
    table = s.evidence
    query = sa.select(sa.func.count(), sa.func.max(table.c.id)).where(table.c.organisation_id == organisation)
    hidden = sa.select(sa.func.count()).where(
        t.detections.c.organisation_id == organisation, t.detections.c.suppressed_by.is_not(None)
    )
    with workspace.read() as connection:
        count, last = connection.execute(query).one()
        return int(count), int(last or 0), connection.execute(hidden).scalar_one()


def load_evidence(
    workspace: Workspace,
    organisation: OrganisationId,
    *,
    after: int = 0,
    situations: Sequence[int] | None = None,
) -> Loaded:
    """The evidence of detections that nothing hides: added after some piece, or of members of some situations."""
    table = s.evidence
    columns = ("detection_id", "time_us", "level", "rule_key", "host_key", "account_key", "flags", "entities")
    query = (
        sa.select(*(table.c[name] for name in columns))
        .join(t.detections, t.detections.c.id == table.c.detection_id)
        .where(table.c.organisation_id == organisation, table.c.id > after, t.detections.c.suppressed_by.is_(None))
    )
    rows: list[tuple[object, ...]] = []
    with workspace.read() as connection:
        if situations is None:
            rows += connection.execution_options(yield_per=50_000).execute(query)
        else:
            members = s.situation_members
            for start in range(0, len(situations), PORTION):
                some = sa.select(members.c.detection_id).where(
                    members.c.situation_id.in_(situations[start : start + PORTION])
                )
                rows += connection.execute(query.where(table.c.detection_id.in_(some)))
    return _loaded(rows)


def _loaded(rows: Sequence[tuple[object, ...]]) -> Loaded:
    cells = list(zip(*rows, strict=True)) if rows else [()] * 8
    ids = np.array(cells[0], np.int64)
    order = np.argsort(ids, kind="stable")
    is_first = np.ones(len(ids), np.bool_)
    is_first[1:] = ids[order][1:] != ids[order][:-1]
    order = order[is_first]
    every = [cast("bytes", each) for each in cells[7]]
    blobs = [every[place] for place in cast("list[int]", order.tolist())]
    counts = np.array([len(blob) // 8 for blob in blobs], np.int64)
    times = np.array([UNTIMED if time_us is None else time_us for time_us in cells[1]], np.int64)
    numbers = [np.array(cell, np.int64)[order] for cell in cells[2:7]]
    return Loaded(
        ids[order],
        times[order],
        *numbers,
        mark_rows=np.repeat(np.arange(len(order)), counts),
        mark_keys=np.frombuffer(b"".join(blobs), "<i8").astype(np.int64),
    )


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
            for key, kind, value, hosts, flags in connection.execute(asked):
                found[key] = Entity(key=key, kind=kind, value=value, hosts=hosts, flags=flags)
    return found


class RuleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What detections say of the rule that found them."""

    rule_id: str
    title: str
    kind: str
    attack: tuple[str, ...]


def rule_facts(workspace: Workspace, organisation: OrganisationId, loaded: Loaded) -> dict[int, RuleFacts]:
    """What is known of the rules of some evidence, from the last detection of each."""
    keys, place = np.unique(loaded.rules, return_inverse=True)
    last = np.zeros(len(keys), np.int64)
    np.maximum.at(last, place, loaded.ids)
    table = t.detections
    found: dict[int, RuleFacts] = {}
    ids = last.tolist()
    with workspace.read() as connection:
        for start in range(0, len(ids), PORTION):
            query = sa.select(table.c.rule_id, table.c.rule_title, table.c.kind, table.c.details).where(
                table.c.id.in_(ids[start : start + PORTION]), table.c.organisation_id == organisation
            )
            for rule_id, title, kind, details in connection.execute(query):
                attack = json.loads(details).get("attack", ())
                facts = RuleFacts(rule_id=rule_id, title=title, kind=kind, attack=tuple(attack))
                found[key_of(RULE, rule_id)] = facts
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


def set_grouped_state(workspace: Workspace, organisation: OrganisationId, state: str) -> None:
    """Note in which state an organisation was grouped."""
    with workspace.begin() as connection:
        insert = insert_for(connection, t.meta).values(key=_state_key(organisation), value=state)
        connection.execute(
            insert.on_conflict_do_update(index_elements=[t.meta.c.key], set_={"value": insert.excluded.value})
        )


def _state_key(organisation: OrganisationId) -> str:
    return f"situations of {organisation}"

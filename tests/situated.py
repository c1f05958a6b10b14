"""Detections for tests of situations: a few words each, straight into the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from lakes import OPERATOR
from mingjian.model.rules import LEVELS, Level
from mingjian.situations.regrouping import regroup
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.catalogue import Organisation
from mingjian.store.evidence import BAD, Entity, Evidence, add_evidence, key_of, packed
from mingjian.store.workspace import Workspace, new_id

MINUTE_US = 60_000_000
START_US = 20_000 * 86_400 * 1_000_000


class Seen(NamedTuple):
    """A detection, and what is in its event."""

    minute: int | None
    rule: str = "r"
    level: Level = "high"
    host: str = ""
    account: str = ""
    things: Mapping[str, str] = {}
    """Kind → value."""
    hosts: int = 1
    """On so many hosts its things were ever seen."""
    is_indicator: bool = False
    attack: Sequence[str] = ()


def put(workspace: Workspace, organisation: Organisation, found: Sequence[Seen], *, first: int = 1) -> list[int]:
    """Keep detections as if their events had been looked into; give their numbers. ``first``: record of the first."""
    with workspace.begin() as connection:
        rows = [_row(organisation, each, first + place) for place, each in enumerate(found)]
        numbers = [
            connection.execute(sa.insert(t.detections).values(row).returning(t.detections.c.id)).scalar_one()
            for row in rows
        ]
    entities: dict[int, Entity] = {}
    evidence = [_evidence(each, number, entities) for each, number in zip(found, numbers, strict=True)]
    add_evidence(workspace, organisation.id, evidence, entities.values())
    return numbers


def _row(organisation: Organisation, each: Seen, record: int) -> dict[str, object]:
    return {
        "organisation_id": organisation.id,
        "public_id": new_id(),
        "identity": record.to_bytes(16, "big"),
        "kind": "indicator" if each.is_indicator else "rule",
        "rule_id": each.rule,
        "rule_title": f"Title of {each.rule}",
        "level": each.level,
        "time_us": None if each.minute is None else START_US + each.minute * MINUTE_US,
        "host": each.host,
        "account": each.account,
        "record": record,
        "file": "/logs/a.json",
        "details": json.dumps({"attack": list(each.attack)}),
        "found_by": "arrival",
        "found_us": 7,
    }


def _evidence(each: Seen, number: int, entities: dict[int, Entity]) -> Evidence:
    values = {"host": each.host, "account": each.account, **each.things}
    named = {key_of(kind, value): (kind, value) for kind, value in values.items() if value}
    bad = BAD if each.is_indicator else 0
    for key, (kind, value) in named.items():
        is_thing = kind in each.things
        entities[key] = Entity(
            key=key, kind=kind, value=value, hosts=each.hosts if is_thing else 1, flags=bad if is_thing else 0
        )
    rule = key_of("rule", each.rule)
    entities[rule] = Entity(key=rule, kind="rule", value=each.rule)
    return Evidence(
        detection_id=number,
        time_us=None if each.minute is None else START_US + each.minute * MINUTE_US,
        level=LEVELS.index(each.level),
        rule_key=rule,
        host_key=key_of("host", each.host) if each.host else 0,
        account_key=key_of("account", each.account) if each.account else 0,
        flags=bad,
        entities=packed(named),
    )


def grouped(workspace: Workspace, organisation: Organisation) -> dict[frozenset[int], frozenset[int]]:
    """Group anew; give core → beside of every situation, as records of detections."""
    regroup(workspace, OPERATOR, organisation.id)
    return kept(workspace, organisation)


def kept(workspace: Workspace, organisation: Organisation) -> dict[frozenset[int], frozenset[int]]:
    """Core → beside of every situation that is kept, as records of detections."""
    table, members = s.situations, s.situation_members
    query = (
        sa.select(members.c.situation_id, members.c.is_core, t.detections.c.record)
        .join(table, table.c.id == members.c.situation_id)
        .join(t.detections, t.detections.c.id == members.c.detection_id)
        .where(table.c.is_live > 0, table.c.organisation_id == organisation.id)
    )
    found: dict[int, tuple[set[int], set[int]]] = {}
    with workspace.read() as connection:
        for number, is_core, record in connection.execute(query):
            found.setdefault(number, (set(), set()))[0 if is_core else 1].add(record)
    return {frozenset(core): frozenset(beside) for core, beside in found.values()}


def ids_of(workspace: Workspace, organisation: Organisation) -> dict[frozenset[int], str]:
    """Core records → public id of every situation."""
    table, members = s.situations, s.situation_members
    query = (
        sa.select(table.c.public_id, t.detections.c.record)
        .join(members, members.c.situation_id == table.c.id)
        .join(t.detections, t.detections.c.id == members.c.detection_id)
        .where(table.c.is_live > 0, members.c.is_core == 1, table.c.organisation_id == organisation.id)
    )
    found: dict[str, set[int]] = {}
    with workspace.read() as connection:
        for public_id, record in connection.execute(query):
            found.setdefault(public_id, set()).add(record)
    return {frozenset(records): public_id for public_id, records in found.items()}


def public_ids(workspace: Workspace, organisation: Organisation) -> dict[int, str]:
    """Record → public id of its detection."""
    table = t.detections
    query = sa.select(table.c.record, table.c.public_id).where(table.c.organisation_id == organisation.id)
    with workspace.read() as connection:
        return {int(row.record): str(row.public_id) for row in connection.execute(query)}

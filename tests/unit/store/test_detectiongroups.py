"""Detections of one rule on one host for one account together: many are told as few are."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from lakes import DAY_US, OPERATOR, an_input
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS
from mingjian.store import detectiongroups as module
from mingjian.store.briefs import stream_names
from mingjian.store.catalogue import Organisation
from mingjian.store.detectiongroups import (
    NO_POINTERS,
    Pointers,
    Several,
    detection_places,
    detections_together,
    detections_together_at,
    techniques_found,
    together,
)
from mingjian.store.detections import FoundDetection, add, detections
from mingjian.store.evidence import hide
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace


def fill(workspace: Workspace, organisation: Organisation, count: int = 300) -> None:
    chance = random.Random(5)
    number = an_input(workspace, organisation)
    found: list[FoundDetection] = []
    for record in range(count):
        rule = chance.randrange(6)
        detection = Detection(
            time_us=None if chance.random() < 0.1 or rule == 5 else chance.randrange(40) * DAY_US // 4,
            level=LEVELS[rule % len(LEVELS)],
            rule_id=f"ip:{rule}" if rule == 4 else f"r{rule}",
            rule_title=f"R{rule}",
            host=chance.choice(["Pc-1", "pc-2", ""]),
            account=chance.choice(["", "corp\\alice"]),
            stream=f"s/{rule % 2}",
            file="f",
            record=record,
            attack=(f"T100{rule}",),
        )
        found.append(FoundDetection(detection=detection, content="x", input_id=number, day=0))
    with workspace.begin() as connection:
        add(organisation.id, found, "arrival", 7)(connection)


def told(groups: list[Several], *, days: bool = True) -> list[tuple[object, ...]]:
    """What a group says, but for how many of its times were fetched."""
    return sorted(
        (
            *(each.first.detection.rule_id, each.first.detection.host, each.first.detection.account),
            *(each.first.detection.time_us or -1, each.count, each.first_us or -1, each.last_us or -1),
        )
        for each in groups
    )


@pytest.mark.parametrize(
    "asked", [{"hosts": ["Pc-1", "no"]}, {"accounts": ["corp\\alice"]}, {"rule_ids": ["ip:4", "r5"]}]
)
def test_many_are_told_as_few_are(
    asked: dict[str, list[str]], workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace, organisation)
    few = detections_together(workspace, OPERATOR, **asked)
    monkeypatch.setattr(module, "ONE_BY_ONE_MAX", 0)
    monkeypatch.setattr(module, "FIRSTS_AT_ONCE", 3)
    many = detections_together(workspace, OPERATOR, **asked)
    assert len(few.groups) > 3
    assert told(few.groups) == told(many.groups)
    assert (few.left_out, many.left_out) == (0, 0)
    assert all(set(each.times_us) <= {each.first_us, each.last_us} for each in many.groups)
    days = {each.first.id: each.days for each in many.groups if ":" in each.first.detection.rule_id}
    assert all(
        days[each.first.id] == len({t // DAY_US for t in each.times_us}) for each in few.groups if each.first.id in days
    )


def test_the_gravest_are_told_and_the_rest_is_counted(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace, organisation)
    every = detections_together(workspace, OPERATOR, hosts=["Pc-1"])
    monkeypatch.setattr(module, "ONE_BY_ONE_MAX", 0)
    monkeypatch.setattr(module, "GROUPS_MAX", 2)
    found, left_out = detections_together(workspace, OPERATOR, hosts=["Pc-1"])
    assert {each.first.detection.level for each in found} == {"critical"}
    assert sum(each.count for each in found) + left_out == sum(each.count for each in every.groups)


def test_what_is_suppressed_or_of_others_is_not_there(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(workspace, organisation)
    nobody = Scope.of_roles("nobody", ())
    assert detections_together(workspace, nobody, hosts=["Pc-1"]).groups == []
    assert detections_together(workspace, OPERATOR).groups == []
    ids = [each.id for each in detections(workspace, OPERATOR) if each.detection.rule_id == "r4" or each.id % 2]
    with workspace.begin() as connection:
        hide(connection, {1: ids})
    few = detections_together(workspace, OPERATOR, hosts=["Pc-1", "pc-2", ""])
    monkeypatch.setattr(module, "ONE_BY_ONE_MAX", 0)
    assert told(detections_together(workspace, OPERATOR, hosts=["Pc-1", "pc-2", ""]).groups) == told(few.groups)
    assert sum(each.count for each in few.groups) == len(detections(workspace, OPERATOR))


@pytest.mark.parametrize("hosts", [["pc-2"], [""], ["", "pc-2"]])
def test_places_are_streams_and_days_with_something_grave(
    workspace: Workspace, organisation: Organisation, hosts: list[str]
) -> None:
    fill(workspace, organisation)
    every = [each.detection for each in detections(workspace, OPERATOR)]
    between = (2 * DAY_US, 5 * DAY_US)
    expected = {
        (one.rule_id, one.stream, one.time_us // DAY_US)
        for one in every
        if one.host in hosts and one.level in ("high", "critical")
        and one.time_us is not None and between[0] <= one.time_us <= between[1]
    }  # fmt: skip
    numbers = {name: number for number, name in stream_names(workspace).items()}
    ours = [organisation.id]
    found = detection_places(workspace, OPERATOR, hosts, between, ("high", "critical"), numbers.values(), ours)
    assert len(found) == len(expected) >= 5
    of_one = detection_places(workspace, OPERATOR, hosts, between, ("high", "critical"), [numbers["s/1"]], ours)
    assert of_one == [each for each in found if each.stream == "s/1"] != found
    assert {(each.rule_id, each.stream, each.day) for each in found} == expected
    assert [each.gravity for each in found] == sorted((each.gravity for each in found), reverse=True)
    assert detection_places(workspace, OPERATOR, [], between, LEVELS, numbers.values(), ours) == []
    others = [organisation.id + 1]
    assert detection_places(workspace, OPERATOR, hosts, between, LEVELS, numbers.values(), others) == []
    nobody = Scope.of_roles("nobody", ())
    assert detection_places(workspace, nobody, hosts, between, LEVELS, numbers.values(), ours) == []


def test_detections_of_no_host_have_an_index_of_their_own(workspace: Workspace, organisation: Organisation) -> None:
    if workspace.dialect != "sqlite":
        pytest.skip("another database decides by how many rows there are")
    asked: list[tuple[str, Any]] = []

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "FROM detections" in statement:
            asked.append((statement, parameters))

    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    try:
        detection_places(workspace, OPERATOR, ["", "pc-2"], (0, DAY_US), LEVELS, [1, 2], [organisation.id, 7])
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)
    with workspace.read() as connection:
        plans = [
            " ".join(row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))
            for statement, parameters in asked
        ]
    wanted = ("ix_detections_of_host", "ix_detections_of_no_host")
    assert [f"COVERING INDEX {name} " in plan for name, plan in zip(wanted, plans, strict=True)] == [True, True]


@pytest.mark.parametrize("same_time_max", [10_000, 3])
@pytest.mark.parametrize(
    ("read_max", "bits"), [(10_000, (22, 41)), (10_000, (22, 40)), (0, (22, 40)), (0, (0, 0)), (0, (22, 41))]
)
def test_detections_about_events_are_told_as_if_each_were_fetched(
    workspace: Workspace,
    organisation: Organisation,
    same_time_max: int,
    read_max: int,
    bits: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SAME_TIME_MAX", same_time_max)
    monkeypatch.setattr(module, "INPUTS_DETECTIONS_MIN", read_max)
    monkeypatch.setattr(module, "PACKED_BITS", bits)
    fill(workspace, organisation)
    every = {(each.input_id or 0, each.detection.record): each for each in detections(workspace, OPERATOR)}
    assert len(every) == 300
    chance = random.Random(6)
    asked = set(chance.sample(sorted(every), 120))
    number = next(iter(every))[0]
    found = detections_together_at(workspace, OPERATOR, pointers([*asked, (number, 1 << 40), (number + 1, 3)]), {"r3"})
    slow = together(each for key, each in every.items() if key in asked and each.detection.rule_id != "r3")
    assert told(found) == told(slow)
    assert [each.first.id for each in found] == [each.first.id for each in slow]
    assert all(each.times_us in ((), (each.first_us,), (each.first_us, each.last_us)) for each in found)
    with workspace.begin() as connection:
        hide(connection, {1: [each.id for key, each in every.items() if key in asked and each.id % 2]})
    rest = [each for key, each in every.items() if key in asked and not each.id % 2]
    twice = pointers([*asked, *asked])
    assert told(detections_together_at(workspace, OPERATOR, twice)) == told(together(rest))
    assert detections_together_at(workspace, Scope.of_roles("nobody", ()), twice) == []
    assert detections_together_at(workspace, OPERATOR, NO_POINTERS) == []


def pointers(pairs: list[tuple[int, int]]) -> Pointers:
    return np.array(pairs, np.int64)


def test_techniques_are_those_of_rules_of_some_levels(workspace: Workspace, organisation: Organisation) -> None:
    fill(workspace, organisation)
    assert techniques_found(workspace, OPERATOR, "pc-2", ("critical",)) == {"T1004"}
    assert techniques_found(workspace, OPERATOR, "none", LEVELS) == set()

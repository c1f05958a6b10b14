"""Findings of behaviours are kept as they hold now, and are found by whom they are about."""

import pytest

from lakes import OPERATOR, an_input
from mingjian.errors import NotFound
from mingjian.model.detections import Detection
from mingjian.store.behaviours import (
    FoundBehaviour,
    LookedAt,
    Party,
    behaviours_about,
    looked_at,
    set_behaviours,
    stored_behaviours,
)
from mingjian.store.catalogue import Organisation
from mingjian.store.detections import FoundDetection
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace


def one(number: int, host: str, score: int, *, time_us: int = 5, towards: str = "evil.example") -> FoundBehaviour:
    detection = Detection(
        time_us=time_us,
        level="medium",
        rule_id="behaviour:beaconing",
        rule_title="B",
        kind="behaviour",
        host=host,
        stream="zeek/conn",
        file="f",
        record=1,
        matched={"score": str(score)},
    )
    found = FoundDetection(detection=detection, content=f"{host}\n{towards}", input_id=number, day=0)
    return FoundBehaviour(found=found, parties=(Party("host", host, "actor"), Party("domain", towards, "object")))


def looked(first_us: int | None = 0, *, is_all: bool = True) -> LookedAt:
    return LookedAt(events=3, first_us=first_us, last_us=9, run_us=11, is_all=is_all)


def test_what_does_not_hold_any_more_goes(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    several = [one(number, "a", 70), one(number, "b", 90)]
    set_behaviours(workspace, OPERATOR, organisation.id, several, looked())
    before = {each.detection.host: each.public_id for each in stored_behaviours(workspace, OPERATOR)}
    assert list(before) == ["b", "a"]
    set_behaviours(workspace, OPERATOR, organisation.id, [one(number, "a", 75)], looked())
    (left,) = stored_behaviours(workspace, OPERATOR)
    assert (left.public_id, left.detection.matched["score"]) == (before["a"], "75")
    assert behaviours_about(workspace, OPERATOR, [("host", "b")]) == []
    assert looked_at(workspace, OPERATOR) == {organisation.id: looked()}


def test_what_began_before_the_time_looked_at_stays(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    both = [one(number, "old", 70, time_us=5), one(number, "new", 70, time_us=50)]
    set_behaviours(workspace, OPERATOR, organisation.id, both, looked())
    set_behaviours(workspace, OPERATOR, organisation.id, [], looked(20, is_all=False))
    assert [each.detection.host for each in stored_behaviours(workspace, OPERATOR)] == ["old"]


def test_a_finding_is_about_its_parties_in_their_roles(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    set_behaviours(workspace, OPERATOR, organisation.id, [one(number, "a", 70)], looked())
    (actor,) = behaviours_about(workspace, OPERATOR, [("host", "a")])
    (victim,) = behaviours_about(workspace, OPERATOR, [("domain", "evil.example"), ("domain", "x")])
    assert (actor.role, actor.score, victim.role) == ("actor", 70, "object")
    assert actor.stored.id == victim.stored.id
    assert behaviours_about(workspace, OPERATOR, [("host", "evil.example"), ("domain", "a")]) == []


def test_nobody_sees_those_of_others(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    set_behaviours(workspace, OPERATOR, organisation.id, [one(number, "a", 70)], looked())
    stranger = Scope.of_member("eve", [])
    assert behaviours_about(workspace, stranger, [("host", "a")]) == []
    assert stored_behaviours(workspace, stranger) == []
    assert looked_at(workspace, stranger) == {}
    with pytest.raises(NotFound):
        set_behaviours(workspace, stranger, organisation.id, [], looked())
    with pytest.raises(NotFound):
        stored_behaviours(workspace, stranger, organisation=organisation.id)

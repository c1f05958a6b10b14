"""Whoever groups again and again finds what grouping everything at once finds, whatever happened meanwhile."""

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from lakes import OPERATOR
from mingjian.situations.deciding import judge
from mingjian.situations.regrouping import Regrouper, is_grouped, regroup
from mingjian.store import tables as t
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.evidence import hide
from mingjian.store.situations import situation_by_id, situations_of_detections
from mingjian.store.workspace import Workspace, create
from situated import Seen, kept, public_ids, put

HASH = {"hash": "a1"}
APART = 60 * 24 * 3


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create(tmp_path / "w")


def ours(workspace: Workspace) -> Organisation:
    return organisation_named(workspace, OPERATOR, "ours", make=True)


def test_a_batch_looks_only_at_what_it_touches(workspace: Workspace) -> None:
    owner = ours(workspace)
    regrouper = Regrouper(workspace)
    put(workspace, owner, [Seen(place * APART, rule=f"r{place}", host=f"pc-{place}") for place in range(20)], first=0)
    assert regrouper.regroup(OPERATOR, owner.id) == (20, 20, 0)
    put(workspace, owner, [Seen(3 * APART + 5, rule="r3", host="pc-3")], first=20)
    assert regrouper.regroup(OPERATOR, owner.id) == (1, 1, 0)
    assert frozenset({3, 20}) in kept(workspace, owner)


def test_what_a_new_one_joins_becomes_one_and_the_later_seed_leads_there(workspace: Workspace) -> None:
    owner = ours(workspace)
    regrouper = Regrouper(workspace)
    put(workspace, owner, [Seen(0, host="pc-1", things=HASH), Seen(60 * 24 * 50, host="pc-1", things=HASH)], first=0)
    assert regrouper.regroup(OPERATOR, owner.id) == (2, 2, 0)
    put(workspace, owner, [Seen(60 * 24 * 25, host="pc-1", things=HASH)], first=2)
    assert regrouper.regroup(OPERATOR, owner.id) == (1, 1, 1)
    assert kept(workspace, owner) == {frozenset({0, 1, 2}): frozenset()}


@pytest.mark.parametrize("what", ["hidden", "gone", "judged", "grouped by another"])
def test_what_went_or_was_decided_meanwhile_counts(workspace: Workspace, what: str) -> None:
    owner = ours(workspace)
    regrouper = Regrouper(workspace)
    numbers = put(workspace, owner, [Seen(minute, host="pc-1") for minute in (0, 400, 800)], first=0)
    regrouper.regroup(OPERATOR, owner.id)
    assert kept(workspace, owner) == {frozenset({0, 1, 2}): frozenset()}
    if what == "judged":
        judge(workspace, OPERATOR, [public_ids(workspace, owner)[1]], "closed", "benign")
    else:
        with workspace.begin() as connection:
            if what == "gone":
                connection.execute(sa.delete(t.detections).where(t.detections.c.id == numbers[1]))
            else:
                hide(connection, {7: [numbers[1]]})
        assert not is_grouped(workspace, owner.id)
        if what == "grouped by another":
            regroup(workspace, OPERATOR, owner.id)
    put(workspace, owner, [Seen(801, host="pc-1")], first=3)
    regrouper.regroup(OPERATOR, owner.id)
    assert is_grouped(workspace, owner.id)
    assert set(kept(workspace, owner)) == {frozenset({0}), frozenset({2, 3})}


def test_a_situation_whose_first_detection_was_judged_leads_to_where_the_others_are(workspace: Workspace) -> None:
    owner = ours(workspace)
    regrouper = Regrouper(workspace)
    numbers = put(workspace, owner, [Seen(minute, host="pc-1") for minute in (0, 30, 60)], first=0)
    regrouper.regroup(OPERATOR, owner.id)
    ((_, before),) = situations_of_detections(workspace, OPERATOR, numbers[:1]).items()
    with workspace.begin() as connection:
        hide(connection, {7: [numbers[0]]})
    regrouper.regroup(OPERATOR, owner.id)
    ((_, after),) = situations_of_detections(workspace, OPERATOR, numbers[1:2]).items()
    assert situation_by_id(workspace, OPERATOR, before[0]).public_id == after[0]
    assert after != before


def test_what_was_forgotten_is_read_again(workspace: Workspace) -> None:
    owners = [organisation_named(workspace, OPERATOR, name, make=True) for name in ("one", "two")]
    regrouper = Regrouper(workspace, marks_max=1)
    for place in range(3):
        for number, owner in enumerate(owners):
            put(workspace, owner, [Seen(place, host=f"pc-{number}")], first=place)
            regrouper.regroup(OPERATOR, owner.id)
    assert [kept(workspace, owner) for owner in owners] == [{frozenset({0, 1, 2}): frozenset()}] * 2


def test_half_a_day_of_detections_is_written_once(workspace: Workspace) -> None:
    owner = ours(workspace)
    chance = np.random.default_rng(1)
    found = [
        Seen(int(minute), rule=f"r{minute % 7}", host=f"pc-{minute % 5}", things={"domain": f"d{minute % 9}.example"})
        for minute in chance.integers(0, 720, 200)
    ]
    put(workspace, owner, found, first=0)
    regrouper = Regrouper(workspace)
    assert regrouper.regroup(OPERATOR, owner.id).changed
    assert regrouper.regroup(OPERATOR, owner.id) == (0, 0, 0)
    assert regroup(workspace, OPERATOR, owner.id)[1:] == (0, 0)

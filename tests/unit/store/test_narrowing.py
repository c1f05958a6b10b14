"""Conditions on detections: every one against the plain meaning of it, row by row, in any combination and order."""

from __future__ import annotations

import random

import pytest

from lakes import OPERATOR
from mingjian.model.rules import LEVELS
from mingjian.situations.deciding import judge
from mingjian.situations.regrouping import regroup
from mingjian.store import browsing, narrowing
from mingjian.store.browsing import Order, Wanted, browse, counted, groups
from mingjian.store.casecounts import groups_of_situations
from mingjian.store.catalogue import organisation_named
from mingjian.store.detections import StoredDetection
from mingjian.store.narrowing import (
    FIELDS,
    SITUATION_FIELDS,
    Condition,
    Names,
    fits,
    names_of,
    of_technique,
    with_newer,
)
from mingjian.store.scope import Scope
from mingjian.store.situations import SituationFilter, count_situations
from mingjian.store.workspace import Workspace
from situated import MINUTE_US, START_US, Seen, put

SEVERAL = 150
TECHNIQUES = ([], ["T1059"], ["T1059.001", "T1027"])


@pytest.fixture(autouse=True)
def rows(workspace: Workspace) -> None:
    """Detections of two organisations, some of them judged."""
    chance = random.Random(3)
    for name in ("ours", "theirs"):
        rules = [chance.randrange(9) for _ in range(SEVERAL)]
        found = [
            Seen(
                minute=chance.choice([None, *range(200)]),
                rule=f"Rule-{rule}",
                level=chance.choice(LEVELS),
                host=chance.choice(["", "pc-1", "PC-1", "pc-2", "Srv_9", "a%b"]),
                account=chance.choice(["", "ann", "bo"]),
                attack=TECHNIQUES[rule % 3],
            )
            for rule in rules
        ]
        put(workspace, organisation_named(workspace, OPERATOR, name, make=True), found)
    some = browse(workspace, OPERATOR, Wanted(), limit=1000).rows
    judge(workspace, OPERATOR, [each.public_id for each in some[:30]], "closed", "false_positive")


CASES: tuple[tuple[Condition, ...], ...] = (
    (),
    (Condition(field="level", values=("high",), how="from"),),
    (Condition(field="host", values=("PC-1",)),),
    (Condition(field="host", values=("pc-*",)), Condition(field="level", values=("low", "medium"))),
    (Condition(field="host", values=("a%b", "Srv_9")),),
    (Condition(field="title", values=("of rule-3",), how="like"),),
    (Condition(field="title", values=("*RULE-1",)), Condition(field="account", values=("ann",), negated=True)),
    (Condition(field="rule", values=("Rule-2", "Rule-3")),),
    (Condition(field="technique", values=("t1059",)),),
    (Condition(field="technique", values=("T1027",), negated=True),),
    (Condition(field="word", values=("rule-7",), how="like"),),
    (Condition(field="word", values=("-1",), how="like"),),
    (Condition(field="word", values=("srv",), how="like"), Condition(field="word", values=("bo",), how="like")),
    (Condition(field="time", values=(str(START_US + 50 * MINUTE_US),), how="from"),),
    (Condition(field="time", values=(str(START_US), str(START_US + 9 * MINUTE_US)), how="within"),),
    (Condition(field="value", values=("T1027",), how="like"),),
    (Condition(field="host", values=("nobody",)),),
)


def holds(one: StoredDetection, condition: Condition) -> bool:
    """The plain meaning of a condition."""
    found = one.detection
    texts = {"host": found.host, "account": found.account, "title": found.rule_title, "rule": found.rule_id}
    match condition.field:
        case "level":
            place = LEVELS.index(condition.values[0])  # type: ignore[arg-type]  # of the cases above
            is_from = LEVELS.index(found.level) >= place
            holding = is_from if condition.how == "from" else found.level in condition.values
        case "technique":
            holding = of_technique(found.attack, condition.values)
        case "word":
            holding = any(fits(text, condition) for text in (found.rule_title, found.host, found.account))
        case "value":
            holding = condition.values[0] in found.attack
        case "time":
            low = int(condition.values[0])
            high = int(condition.values[-1]) if condition.how == "within" else 1 << 62
            if found.time_us is None:
                return False
            holding = low <= found.time_us <= high
        case field:
            holding = fits(texts[field], condition)
    return holding != condition.negated


@pytest.mark.parametrize("knows_names", [True, False])
@pytest.mark.parametrize("bound", [(20_000, 2_000), (60, 3)], ids=["whole", "in small looks"])
def test_pages_hold_what_the_conditions_mean(
    workspace: Workspace, knows_names: bool, bound: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = browse(workspace, OPERATOR, Wanted(), limit=1000).rows
    assert len(every) == 2 * SEVERAL
    monkeypatch.setattr(browsing, "LOOKED_AT_MAX", bound[0])
    monkeypatch.setattr(browsing, "SHARE_MIN", bound[1])
    monkeypatch.setattr(browsing, "ROWS_AT_ONCE", bound[1])
    names = names_of(workspace) if knows_names else Names(is_whole=False)
    for case in CASES:
        wanted = Wanted(conditions=case, names=names)
        expected = [each.id for each in every if all(holds(each, condition) for condition in case)]
        for order in browsing.ORDERS:
            seen = every_page(workspace, wanted, order)
            assert sorted(seen) == sorted(expected), case
            if order == "newest":
                assert seen == expected, case
        found = counted(workspace, OPERATOR, wanted, 10_000)
        assert found.several <= len(expected), case
        assert found.is_bound or found.several == len(expected), case
        assert bound[0] < 2 * SEVERAL or not found.is_bound, case


def every_page(workspace: Workspace, wanted: Wanted, order: Order) -> list[int]:
    """The numbers of all pages, one after the other."""
    seen: list[int] = []
    after: str | None = ""
    while after is not None:
        portion = browse(workspace, OPERATOR, wanted, order=order, after=after, limit=43)
        assert portion.after != after
        seen += [each.id for each in portion.rows]
        after = portion.after
    return seen


def test_names_are_those_of_the_rows(workspace: Workspace) -> None:
    names = names_of(workspace)
    every = [each.detection for each in browse(workspace, OPERATOR, Wanted(), limit=1000).rows]
    assert set(names.hosts) == {each.host for each in every if each.host}
    assert set(names.accounts) == {each.account for each in every if each.account}
    assert {each.id for each in names.rules} == {each.rule_id for each in every}
    assert names.is_whole


def test_names_of_what_was_found_since_are_known_at_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    names = names_of(workspace)
    assert with_newer(workspace, names) == names
    ours = organisation_named(workspace, OPERATOR, "ours")
    put(workspace, ours, [Seen(minute=1, rule="Late", host="late-1", account="zoe", attack=["T1190"])], first=9_000)
    for bound in (5_000, 0):
        monkeypatch.setattr(narrowing, "NEWER_MAX", bound)
        found = with_newer(workspace, names)
        assert "late-1" in found.hosts
        assert "zoe" in found.accounts
        for condition in (
            Condition(field="host", values=("late-*",)),
            Condition(field="title", values=("of late",), how="like"),
            Condition(field="technique", values=("T1190",)),
        ):
            wanted = Wanted(conditions=(condition,), names=found)
            assert len(browse(workspace, OPERATOR, wanted).rows) == 1


def test_somebody_of_one_organisation_finds_and_counts_only_its_own(workspace: Workspace) -> None:
    ours = organisation_named(workspace, OPERATOR, "ours")
    scope = Scope.of_member("ann", [ours.id])
    wanted = Wanted(conditions=(Condition(field="host", values=("pc-1",)),), names=names_of(workspace))
    rows = browse(workspace, scope, wanted, limit=1000).rows
    assert rows
    assert {each.organisation for each in rows} == {ours.id}
    assert counted(workspace, scope, wanted, 1000).several == len(rows)
    assert groups(workspace, scope, wanted, "rule").total == len(rows)
    assert groups(workspace, scope, wanted, "rule", bound=1000).total == len(rows)


def test_groups_count_what_is_there(workspace: Workspace) -> None:
    every = browse(workspace, OPERATOR, Wanted(), limit=1000).rows
    found = groups(workspace, OPERATOR, Wanted(), "host")
    assert {each.value: each.count for each in found.groups} == {
        host: sum(each.detection.host == host for each in every) for host in {each.detection.host for each in every}
    }
    assert [each.count for each in found.groups] == sorted((each.count for each in found.groups), reverse=True)
    assert groups(workspace, OPERATOR, Wanted(), "host", bound=10).is_cut


def test_a_count_stops_at_its_bound_and_says_so(workspace: Workspace) -> None:
    assert counted(workspace, OPERATOR, Wanted(), 100) == (100, True)
    assert counted(workspace, OPERATOR, Wanted(), 10_000) == (2 * SEVERAL, False)


def test_what_people_said_can_be_asked_for(workspace: Workspace) -> None:
    def several(value: str) -> int:
        conditions = (Condition(field="verdict", values=(value,)),)
        return len(browse(workspace, OPERATOR, Wanted(conditions=conditions), limit=1000).rows)

    assert (several("false_positive"), several("none"), several("in_work")) == (30, 2 * SEVERAL - 30, 0)


def test_every_field_is_a_condition(workspace: Workspace) -> None:
    for field in sorted(FIELDS):
        value = {"time": "1", "found": "1", "organisation": "1", "level": "high", "situation": "no"}.get(field, "x")
        for negated in (False, True):
            condition = Condition(field=field, values=(value,), negated=negated)
            browse(workspace, OPERATOR, Wanted(conditions=(condition,)))


def test_every_field_of_situations_is_a_condition(workspace: Workspace) -> None:
    ours = organisation_named(workspace, OPERATOR, "ours")
    regroup(workspace, OPERATOR, ours.id)
    several = count_situations(workspace, OPERATOR)
    assert several > 2
    for field in sorted(SITUATION_FIELDS):
        value = (
            "1" if field in ("danger", "detections", "hosts", "last", "first", "created", "organisation") else "high"
        )
        both = [
            count_situations(
                workspace,
                OPERATOR,
                SituationFilter(conditions=(Condition(field=field, values=(value,), negated=negated),)),
            )
            for negated in (False, True)
        ]
        assert sum(both) == several, field
    wanted = SituationFilter(conditions=(Condition(field="host", values=("pc-*",)),))
    assert 0 < count_situations(workspace, OPERATOR, wanted) < several


def test_situations_are_counted_by_what_they_have_in_common(workspace: Workspace) -> None:
    ours = organisation_named(workspace, OPERATOR, "ours")
    regroup(workspace, OPERATOR, ours.id)
    found = groups_of_situations(workspace, OPERATOR, SituationFilter(), "level")
    assert found.total == count_situations(workspace, OPERATOR)
    assert {each.value for each in found.groups} == {each.level for each in found.groups}
    nobody = Scope.of_member("eve", [])
    assert groups_of_situations(workspace, nobody, SituationFilter(), "level").groups == ()

"""Detections are kept once, correlations as they hold now."""

from __future__ import annotations

import pytest

from lakes import OPERATOR, an_input
from mingjian.errors import NotFound
from mingjian.model.detections import Detection
from mingjian.model.rules import Correlation, LogSource, Null, Rule
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.detections import (
    CountedMatch,
    FoundDetection,
    add,
    add_matches,
    correlated_up_to,
    count_correlated,
    counted_fields,
    detection_by_id,
    detections,
    identity,
    last_match,
    matches_in_order,
    set_correlated,
)
from mingjian.store.rules import RuleSet, keep_rules
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace

RULE = Rule(id="r", title="R", file="r.yml", logsource=LogSource(), condition=Null("F"), content_hash="x")
TOGETHER = Correlation(
    id="c", title="C", file="r.yml", type="event_count", rules=("r",), timespan_s=1, bounds=(("gte", 2),)
)


def kept_rules(workspace: Workspace) -> RuleSet:
    return keep_rules(workspace, OPERATOR, [RULE], [TOGETHER])


def one(record: int, input_id: int, **said: object) -> FoundDetection:
    values: dict[str, object] = {
        **{"time_us": record * 1_000_000, "level": "high", "rule_id": "r", "rule_title": "R", "stream": "a/b"},
        **{"file": "f\udc80", "record": record, "matched": {"F": "\ud800"}, "host": "Pc-1"},
    }
    detection = Detection(**(values | said))  # type: ignore[arg-type]  # each test says a part
    return FoundDetection(detection=detection, content="x", input_id=input_id, day=0)


def commit(workspace: Workspace, organisation: Organisation, *found: FoundDetection) -> None:
    with workspace.begin() as connection:
        add(organisation.id, found, "arrival", 7)(connection)


def test_the_same_detection_is_kept_once(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    commit(workspace, organisation, one(1, number), one(2, number), one(1, number))
    commit(workspace, organisation, one(2, number), one(3, number))
    stored = detections(workspace, OPERATOR)
    assert [each.detection.record for each in stored] == [3, 2, 1]
    assert stored[0].detection.matched == {"F": "\ud800"}
    assert (stored[0].input_id, stored[0].day, stored[0].found_by, stored[0].found_us) == (number, 0, "arrival", 7)
    assert detection_by_id(workspace, OPERATOR, stored[1].public_id) == stored[1]


def test_another_content_of_the_rule_is_another_detection(workspace: Workspace) -> None:
    assert identity(one(1, 1)) == identity(one(1, 1, level="low"))
    different = [
        one(1, 1),
        one(2, 1),
        one(1, 2),
        FoundDetection(detection=one(1, 1).detection, content="y", input_id=1, day=0),
    ]
    groups = [one(1, 1, kind="correlation", matched={"G": g, "count": str(n)}) for g in "ab" for n in (2, 3)]
    assert len({identity(each) for each in different}) == 4
    assert len({identity(each) for each in groups}) == 2


def test_detections_are_narrowed_down(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    commit(
        workspace,
        organisation,
        one(1, number),
        one(2, number, level="low", host="other"),
        one(3, number, rule_id="s", time_us=None),
    )
    asked = (
        {"level": "medium"},
        {"host": "PC-1"},
        {"rule_id": "s"},
        {"first_us": 1_500_000},
        {"until_us": 2_000_000},
        {"limit": 1},
        {"organisation": organisation.id},
    )
    given = [[each.detection.record for each in detections(workspace, OPERATOR, **said)] for said in asked]  # type: ignore[arg-type]  # one of its parameters each
    assert given == [[1, 3], [1, 3], [3], [2], [1], [2], [2, 1, 3]]


def test_detections_of_others_are_not_there(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "other", make=True)
    commit(workspace, organisation, one(1, an_input(workspace, organisation)))
    stranger = Scope.of_member("eve", [other.id])
    (stored,) = detections(workspace, OPERATOR)
    assert detections(workspace, stranger) == []
    with pytest.raises(NotFound):
        detections(workspace, stranger, organisation=organisation.id)
    with pytest.raises(NotFound):
        detection_by_id(workspace, stranger, stored.public_id)


def a_match(version: int, input_id: int, record: int, time_us: int | None) -> CountedMatch:
    fields = counted_fields({"F": ["a", "\udc80"], "G": []})
    return CountedMatch(
        version_id=version, time_us=time_us, input_id=input_id, record=record, host="h", account="a", fields=fields
    )


def test_matches_come_back_in_the_order_of_time(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    version = kept_rules(workspace).versions["r"]
    assert last_match(workspace, organisation.id, [version]) == 0
    several = [a_match(version, number, record, time) for record, time in ((1, 5), (2, None), (4, 3), (3, 3), (1, 5))]
    with workspace.begin() as connection:
        add_matches(organisation.id, several)(connection)
        add_matches(organisation.id, several[:2])(connection)
    back = list(matches_in_order(workspace, organisation.id, {version: "r"}, {"r": ("G", "F", "H")}))
    assert [each.record for each in back] == [3, 4, 1, 2]
    assert back[0].values == ((), ("a", "\udc80"), ())
    assert last_match(workspace, organisation.id, [version]) > 0
    assert list(matches_in_order(workspace, organisation.id, {}, {})) == []


def test_correlations_are_what_holds_now(workspace: Workspace, organisation: Organisation) -> None:
    number = an_input(workspace, organisation)
    version = kept_rules(workspace).versions["c"]

    def holding(record: int, count: int) -> FoundDetection:
        found = one(record, number, kind="correlation", rule_id="c", matched={"count": str(count)}, stream="")
        return FoundDetection(detection=found.detection, content="", version_id=version, input_id=number, day=0)

    commit(workspace, organisation, one(9, number))
    set_correlated(workspace, organisation.id, "set", 4, [version], [holding(1, 2), holding(2, 2)])
    assert correlated_up_to(workspace, organisation.id, "set") == 4
    before = {each.detection.record: each.public_id for each in detections(workspace, OPERATOR)}
    set_correlated(workspace, organisation.id, "set", 5, [version], [holding(2, 3), holding(3, 2)])
    after = {each.detection.record: each for each in detections(workspace, OPERATOR)}
    assert sorted(after) == [2, 3, 9]
    assert after[2].public_id == before[2]
    assert after[2].detection.matched == {"count": "3"}
    assert correlated_up_to(workspace, organisation.id, "set") == 5
    assert count_correlated(workspace, organisation.id, [version]) == 2

"""Situations as they are kept: what people decided survives grouping; who may see what; the list."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from lakes import OPERATOR
from mingjian.errors import NotFound, NotPermitted, SchemaError, StateError
from mingjian.situations import deciding
from mingjian.situations.showing import entity_key, situation
from mingjian.store import decisions
from mingjian.store import tables as t
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.scope import Scope
from mingjian.store.situations import (
    SituationFilter,
    count_situations,
    situation_by_id,
    situations,
    situations_of_detections,
)
from mingjian.store.workspace import Workspace
from situated import Seen, grouped, ids_of, kept, public_ids, put

CHAIN = [Seen(minute, f"r{minute}", host="pc-1") for minute in (0, 10, 20, 30)]
APART = [Seen(0, "a", host="pc-1"), Seen(5, "b", host="pc-2")]


def sets(*several: set[int]) -> dict[frozenset[int], frozenset[int]]:
    return {frozenset(one): frozenset() for one in several}


def only(workspace: Workspace, organisation: Organisation) -> str:
    (public_id,) = ids_of(workspace, organisation).values()
    return public_id


def test_detections_on_one_host_within_hours_are_one_situation(
    workspace: Workspace, organisation: Organisation
) -> None:
    put(workspace, organisation, [*CHAIN, Seen(5000, "late", host="pc-1"), Seen(1, "other", host="pc-2")])
    assert grouped(workspace, organisation) == sets({1, 2, 3, 4}, {5}, {6})


def test_what_is_not_telling_stands_beside(workspace: Workspace, organisation: Organisation) -> None:
    put(workspace, organisation, [CHAIN[0], Seen(5, "low", "low", host="pc-1"), Seen(50, "low", "low", host="pc-1")])
    assert grouped(workspace, organisation) == {frozenset({1}): frozenset({2})}


def test_a_detection_can_stand_beside_two_situations(workspace: Workspace, organisation: Organisation) -> None:
    found = [Seen(0, "a", host="pc-1"), Seen(10, "low", "low", host="pc-1"), Seen(20, "b", host="pc-1")]
    numbers = put(workspace, organisation, found)
    grouped(workspace, organisation)
    names = public_ids(workspace, organisation)
    deciding.split(workspace, OPERATOR, only(workspace, organisation), [names[3]])
    assert kept(workspace, organisation) == {frozenset({1}): frozenset({2}), frozenset({3}): frozenset({2})}
    assert len(situations_of_detections(workspace, OPERATOR, numbers)[numbers[1]]) == 2


def test_a_split_survives_grouping_and_what_comes_later_and_can_be_undone(
    workspace: Workspace, organisation: Organisation
) -> None:
    put(workspace, organisation, CHAIN)
    grouped(workspace, organisation)
    whole = only(workspace, organisation)
    names = public_ids(workspace, organisation)
    changed = deciding.split(workspace, OPERATOR, whole, [names[3], names[4]])
    assert changed.public_id == whole
    assert kept(workspace, organisation) == sets({1, 2}, {3, 4})
    put(workspace, organisation, [Seen(14, "between", host="pc-1")], first=5)
    assert grouped(workspace, organisation) == sets({1, 2, 5}, {3, 4})
    (act,) = [each for each in situation(workspace, OPERATOR, whole).history if each.can_be_undone]
    other = ids_of(workspace, organisation)[frozenset({3, 4})]
    assert deciding.undo(workspace, OPERATOR, act.public_id).public_id == whole
    assert kept(workspace, organisation) == sets({1, 2, 3, 4, 5})
    assert situation_by_id(workspace, OPERATOR, other).public_id == whole
    with pytest.raises(StateError):
        deciding.undo(workspace, OPERATOR, act.public_id)


def test_a_merge_survives_grouping_and_overrules_an_earlier_split_until_it_is_undone(
    workspace: Workspace, organisation: Organisation
) -> None:
    put(workspace, organisation, [*CHAIN[:2], Seen(3, "far", host="pc-9")])
    grouped(workspace, organisation)
    first = ids_of(workspace, organisation)[frozenset({1, 2})]
    deciding.split(workspace, OPERATOR, first, [public_ids(workspace, organisation)[2]])
    ids = ids_of(workspace, organisation)
    others = [ids[frozenset({2})], ids[frozenset({3})]]
    deciding.merge(workspace, OPERATOR, first, others)
    assert grouped(workspace, organisation) == sets({1, 2, 3})
    shown = situation(workspace, OPERATOR, first)
    assert any(join.kind == "" for join in shown.joins)
    assert "a person" in shown.why
    act = next(each for each in shown.history if each.kind == "merge")
    deciding.undo(workspace, OPERATOR, act.public_id)
    assert kept(workspace, organisation) == sets({1}, {2}, {3})


def test_a_split_within_a_merge_takes_out_what_it_names_and_no_more(
    workspace: Workspace, organisation: Organisation
) -> None:
    put(workspace, organisation, [Seen(n, f"r{n}", host=f"pc-{n}") for n in range(3)])
    grouped(workspace, organisation)
    ids = ids_of(workspace, organisation)
    first = ids[frozenset({1})]
    deciding.merge(workspace, OPERATOR, first, [ids[frozenset({2})], ids[frozenset({3})]])
    deciding.split(workspace, OPERATOR, first, [public_ids(workspace, organisation)[2]])
    assert grouped(workspace, organisation) == sets({1, 3}, {2})


def test_a_split_must_leave_something_and_take_something(workspace: Workspace, organisation: Organisation) -> None:
    put(workspace, organisation, CHAIN)
    grouped(workspace, organisation)
    whole = only(workspace, organisation)
    for chosen in ([], list(public_ids(workspace, organisation).values()), ["nothing"]):
        with pytest.raises(SchemaError):
            deciding.split(workspace, OPERATOR, whole, chosen)
    with pytest.raises(SchemaError):
        deciding.merge(workspace, OPERATOR, whole, [whole])


def test_a_false_detection_holds_nothing_together(workspace: Workspace, organisation: Organisation) -> None:
    found = [CHAIN[0], Seen(200, "bridge", host="pc-1"), Seen(400, "far", host="pc-1")]
    put(workspace, organisation, [*found, Seen(900, "x", host="pc-1")])
    assert grouped(workspace, organisation) == sets({1, 2, 3}, {4})
    names = public_ids(workspace, organisation)
    deciding.judge(workspace, OPERATOR, [names[4]], "closed", "false_positive", reason="a test")
    assert kept(workspace, organisation) == sets({1, 2, 3})
    deciding.judge(workspace, OPERATOR, [names[4]], "open")
    assert kept(workspace, organisation) == sets({1, 2, 3}, {4})


def test_a_closed_situation_is_opened_by_news_only(workspace: Workspace, organisation: Organisation) -> None:
    put(workspace, organisation, CHAIN[:2])
    grouped(workspace, organisation)
    whole = only(workspace, organisation)
    with pytest.raises(SchemaError):
        decisions.set_state(workspace, OPERATOR, whole, "closed")
    decisions.set_state(workspace, OPERATOR, whole, "closed", "benign", reason="a backup")
    put(workspace, organisation, [Seen(15, "r10", host="pc-1")], first=3)
    grouped(workspace, organisation)
    assert situation_by_id(workspace, OPERATOR, whole).state == "closed"
    put(workspace, organisation, [Seen(16, "new", host="pc-1")], first=4)
    grouped(workspace, organisation)
    opened = situation_by_id(workspace, OPERATOR, whole)
    assert (opened.state, opened.resolution) == ("open", "")
    assert "reopened" in [act.kind for act in situation(workspace, OPERATOR, whole).history]


def test_a_situation_whose_detections_went_has_nothing_left(workspace: Workspace, organisation: Organisation) -> None:
    numbers = put(workspace, organisation, APART)
    grouped(workspace, organisation)
    lost = ids_of(workspace, organisation)[frozenset({2})]
    with workspace.begin() as connection:
        connection.execute(sa.delete(t.detections).where(t.detections.c.id == numbers[1]))
    assert grouped(workspace, organisation) == sets({1})
    assert situation_by_id(workspace, OPERATOR, lost).is_emptied


def test_another_organisations_situation_is_not_found(workspace: Workspace, organisation: Organisation) -> None:
    put(workspace, organisation, CHAIN)
    grouped(workspace, organisation)
    whole = only(workspace, organisation)
    other = organisation_named(workspace, OPERATOR, "Others", make=True)
    stranger = Scope.of_member("eve", [other.id], [other.id])
    reader = Scope.of_member("ann", [organisation.id])
    assert situations(workspace, stranger).situations == ()
    assert count_situations(workspace, stranger) == 0
    names = public_ids(workspace, organisation)
    for scope, error in ((stranger, NotFound), (reader, NotPermitted)):
        with pytest.raises(error):
            deciding.split(workspace, scope, whole, [names[1]])
        with pytest.raises(error):
            deciding.merge(workspace, scope, whole, [whole])
        with pytest.raises(error):
            deciding.judge(workspace, scope, [names[1]], "closed", "benign")
        with pytest.raises(error):
            decisions.set_state(workspace, scope, whole, "in_work")
        with pytest.raises(error):
            decisions.set_owner(workspace, scope, whole, "eve")
        with pytest.raises(error):
            decisions.declare(workspace, scope, whole, "Mine")
        for about, number in (("situation", whole), ("detection", names[1])):
            with pytest.raises(error):
                decisions.add_comment(workspace, scope, about, number, "hello")  # type: ignore[arg-type] # of the two
        with pytest.raises(error):
            decisions.add_task(workspace, scope, "situation", whole, "do it")
    for ask in (situation_by_id, situation):
        with pytest.raises(NotFound):
            ask(workspace, stranger, whole)
    with pytest.raises(NotFound):
        situations(workspace, stranger, SituationFilter(organisation=organisation.id))
    assert situation(workspace, reader, whole).stored.public_id == whole


def test_related_situations_of_others_are_shown_within_the_scope_only(
    workspace: Workspace, organisation: Organisation
) -> None:
    other = organisation_named(workspace, OPERATOR, "Others", make=True)
    for owner in (organisation, other):
        put(workspace, owner, [Seen(0, "a", host="pc-1", things={"domain": "evil.example"})])
        grouped(workspace, owner)
    whole = only(workspace, organisation)
    assert [kin.shared for kin in situation(workspace, OPERATOR, whole).related] == [1]
    assert situation(workspace, Scope.of_member("ann", [organisation.id]), whole).related == ()


def test_the_list_is_paged_in_order_without_gaps_or_repetitions(
    workspace: Workspace, organisation: Organisation
) -> None:
    levels = ("medium", "high", "critical")
    found = [Seen(n * 2000, f"r{n}", levels[n % 3], host=f"pc-{n % 4}") for n in range(23)]
    put(workspace, organisation, found)
    grouped(workspace, organisation)
    for order in ("danger", "last", "first", "detections"):
        seen: list[str] = []
        values: list[int] = []
        after = None
        while True:
            page = situations(workspace, OPERATOR, order=order, after=after, limit=4)  # type: ignore[arg-type] # of the four
            seen += [each.public_id for each in page.situations]
            names = {"danger": "danger", "last": "last_us", "first": "first_us", "detections": "detections"}
            values += [getattr(each, names[order]) for each in page.situations]
            after = page.after
            if after is None:
                break
        assert len(seen) == len(set(seen)) == count_situations(workspace, OPERATOR) == 23
        assert values == sorted(values, reverse=True)
    with pytest.raises(SchemaError):
        situations(workspace, OPERATOR, after="§§")


def test_filters_of_the_list(workspace: Workspace, organisation: Organisation) -> None:
    put(
        workspace,
        organisation,
        [
            Seen(0, "a", "critical", host="pc-1", things={"domain": "evil.example"}),
            Seen(5000, "b", "medium", host="srv-2", account="ann"),
        ],
    )
    grouped(workspace, organisation)
    ids = ids_of(workspace, organisation)
    one, two = ids[frozenset({1})], ids[frozenset({2})]
    decisions.set_owner(workspace, OPERATOR, two, "Wang")
    decisions.set_state(workspace, OPERATOR, two, "closed", "true_positive")

    def listed(**wanted: object) -> set[str]:
        page = situations(workspace, OPERATOR, SituationFilter(**wanted))  # type: ignore[arg-type] # each case a part
        assert count_situations(workspace, OPERATOR, SituationFilter(**wanted)) == len(page.situations)  # type: ignore[arg-type] # each case a part
        return {each.public_id for each in page.situations}

    assert listed() == {one}
    assert listed(states=()) == {one, two}
    assert listed(states=("closed",)) == {two}
    assert listed(states=("closed", "open"), level="high") == {one}
    assert listed(states=(), resolution="true_positive") == {two}
    assert listed(states=(), owner="Wang") == {two}
    assert listed(states=(), owner="") == {one}
    assert listed(states=(), text="SRV-2") == {two}
    assert listed(states=(), text="title of a") == {one}
    assert listed(states=(), text="%") == set()
    assert listed(states=(), host="pc-1") == {one}
    assert listed(states=(), rule_id="b") == {two}
    assert listed(entity_key=entity_key("domain", "evil.example")) == {one}
    start = situation_by_id(workspace, OPERATOR, two).first_us
    assert listed(states=(), first_us=start) == {two}
    assert listed(states=(), until_us=start) == {one}


def test_an_incident_has_owner_state_comments_and_tasks(workspace: Workspace, organisation: Organisation) -> None:
    put(workspace, organisation, CHAIN)
    grouped(workspace, organisation)
    whole = only(workspace, organisation)
    made = decisions.declare(workspace, OPERATOR, whole, "Somebody is in", owner="Li")
    assert (made.state, made.owner, made.situation) == ("open", "Li", whole)
    assert situation_by_id(workspace, OPERATOR, whole).state == "in_work"
    with pytest.raises(StateError):
        decisions.declare(workspace, OPERATOR, whole, "Again")
    decisions.add_comment(workspace, OPERATOR, "incident", made.public_id, "called them")
    task = decisions.add_task(workspace, OPERATOR, "incident", made.public_id, "isolate pc-1", owner="Li")
    decisions.finish_task(workspace, OPERATOR, task)
    (comment,) = decisions.comments_on(workspace, OPERATOR, "incident", made.public_id)
    (told,) = decisions.tasks_of(workspace, OPERATOR, "incident", made.public_id)
    assert (comment.text, told.done_us is not None) == ("called them", True)
    closed = decisions.change_incident(workspace, OPERATOR, made.public_id, state="closed", owner="Wu")
    assert (closed.state, closed.owner, closed.closed_us is not None) == ("closed", "Wu", True)
    shown = situation(workspace, OPERATOR, whole)
    assert [each.public_id for each in shown.incidents] == [made.public_id]
    stranger = Scope.of_member("eve", [])
    for ask in (decisions.incident_by_id, decisions.change_incident):
        with pytest.raises(NotFound):
            ask(workspace, stranger, made.public_id)
    with pytest.raises(NotFound):
        decisions.finish_task(workspace, stranger, task)
    assert decisions.incidents(workspace, stranger) == []


def test_everything_that_is_known_of_a_situation(workspace: Workspace, organisation: Organisation) -> None:
    found = [
        Seen(0, "a", "high", "pc-1", "ann", {"hash": "f" * 64}, attack=["T1059"]),
        Seen(9, "b", "critical", "pc-2", "bob", {"hash": "f" * 64}, hosts=3, attack=["T1003"]),
        Seen(10, "evil", "high", "pc-2", "bob", {"domain": "evil.example"}, is_indicator=True),
        *(Seen(0, "z", "low", f"pc-{n}") for n in range(10, 40)),
    ]
    put(workspace, organisation, found)
    grouped(workspace, organisation)
    shown = situation(workspace, OPERATOR, only(workspace, organisation))
    assert [each.detection.detection.rule_id for each in shown.members] == ["a", "b", "evil"]
    assert {each.kind for each in shown.joins} == {"hash", "host"}
    join = next(each for each in shown.joins if each.kind == "hash")
    assert join.distance_s == 540
    assert set(join.against) == {
        "they happened on different hosts",
        "different accounts did it",
        "several hosts have to do with it",
    }
    product = 1.0
    for term in shown.terms:
        product *= term.value
    assert shown.danger == pytest.approx(product, abs=0.01)
    assert shown.entities[0].value == "evil.example"
    assert shown.entities[0].is_bad
    assert "3 detections of 3 rules within 10 minutes" in shown.why
    assert shown.members[0].tactics == ("execution",)
    chinese = situation(workspace, OPERATOR, shown.stored.public_id, "zh")
    assert chinese.title.startswith("pc-2 等 2 台主机：从")
    assert chinese.why.startswith("3 条规则检出 3 次")


# --- nothing left in the queue ---------------------------------------------------------------------------------------


def judged_away(workspace: Workspace, organisation: Organisation) -> tuple[str, list[str]]:
    """A situation that people wrote about, all of whose detections somebody then called harmless."""
    put(workspace, organisation, CHAIN[:2])
    grouped(workspace, organisation)
    whole = only(workspace, organisation)
    decisions.add_comment(workspace, OPERATOR, "situation", whole, "seen")
    decisions.add_task(workspace, OPERATOR, "situation", whole, "look")
    decisions.declare(workspace, OPERATOR, whole, "An incident")
    names = list(public_ids(workspace, organisation).values())
    deciding.judge(workspace, OPERATOR, names, "closed", "benign", reason="known")
    return whole, names


def test_a_situation_whose_detections_were_all_judged_away_stays_readable_and_says_why(
    workspace: Workspace, organisation: Organisation
) -> None:
    whole, names = judged_away(workspace, organisation)
    assert kept(workspace, organisation) == {}
    found = situation(workspace, OPERATOR, whole)
    assert found.stored.is_emptied
    assert [each.text for each in found.comments] == ["seen"]
    assert [each.text for each in found.tasks] == ["look"]
    assert [each.title for each in found.incidents] == ["An incident"]
    assert {each.detection.public_id for each in found.members} == set(names)
    assert found.emptied is not None
    assert [(verdict.resolution, verdict.reason, count) for verdict, count in found.emptied.judged] == [
        ("benign", "known", 2)
    ]
    assert (found.emptied.hidden, found.emptied.removed) == ((), 0)
    assert situations(workspace, OPERATOR, SituationFilter(states=())).situations == ()
    (listed,) = situations(workspace, OPERATOR, SituationFilter(emptied=True)).situations
    assert listed.public_id == whole


def test_what_people_write_about_it_can_go_on_but_it_cannot_be_judged_itself(
    workspace: Workspace, organisation: Organisation
) -> None:
    whole, names = judged_away(workspace, organisation)
    decisions.add_comment(workspace, OPERATOR, "situation", whole, "more")
    (incident,) = situation(workspace, OPERATOR, whole).incidents
    decisions.change_incident(workspace, OPERATOR, incident.public_id, state="closed")
    for attempt in (
        lambda: decisions.set_state(workspace, OPERATOR, whole, "in_work"),
        lambda: decisions.set_owner(workspace, OPERATOR, whole, "ann"),
        lambda: deciding.split(workspace, OPERATOR, whole, names[:1]),
        lambda: decisions.declare(workspace, OPERATOR, whole, "again"),
    ):
        with pytest.raises(StateError, match="in the queue"):
            attempt()
    assert situation(workspace, OPERATOR, whole).stored.is_emptied


def test_a_verdict_taken_back_brings_it_back(workspace: Workspace, organisation: Organisation) -> None:
    whole, names = judged_away(workspace, organisation)
    deciding.judge(workspace, OPERATOR, names, "open")
    found = situation(workspace, OPERATOR, whole)
    assert (found.stored.is_emptied, found.emptied, len(found.members)) == (False, None, 2)
    assert [each.text for each in found.comments] == ["seen"]


def test_if_only_a_later_detection_counts_again_it_leads_to_where_that_is(
    workspace: Workspace, organisation: Organisation
) -> None:
    whole, _ = judged_away(workspace, organisation)
    deciding.judge(workspace, OPERATOR, [public_ids(workspace, organisation)[2]], "open")
    heir = only(workspace, organisation)
    assert heir != whole
    assert situation(workspace, OPERATOR, whole).stored.public_id == heir
    assert [each.text for each in situation(workspace, OPERATOR, heir).comments] == ["seen"]
    assert situations(workspace, OPERATOR, SituationFilter(emptied=True)).situations == ()


def test_detections_that_are_gone_are_counted(workspace: Workspace, organisation: Organisation) -> None:
    numbers = put(workspace, organisation, CHAIN[:2])
    grouped(workspace, organisation)
    whole = only(workspace, organisation)
    with workspace.begin() as connection:
        connection.execute(sa.delete(t.detections).where(t.detections.c.id.in_(numbers)))
    grouped(workspace, organisation)
    found = situation(workspace, OPERATOR, whole)
    assert found.emptied is not None
    assert (found.members, found.emptied.removed) == ((), 2)


def test_judged_one_by_one_all_of_it_stays_together(workspace: Workspace, organisation: Organisation) -> None:
    put(workspace, organisation, CHAIN)
    grouped(workspace, organisation)
    whole = only(workspace, organisation)
    decisions.add_comment(workspace, OPERATOR, "situation", whole, "seen")
    names = public_ids(workspace, organisation)
    for record in sorted(names):
        deciding.judge(workspace, OPERATOR, [names[record]], "closed", "false_positive", reason=f"no {record}")
    found = situation(workspace, OPERATOR, whole)
    assert found.stored.is_emptied
    assert [each.text for each in found.comments] == ["seen"]
    assert {each.detection.public_id for each in found.members} == set(names.values())
    assert found.emptied is not None
    assert [verdict.reason for verdict, _ in found.emptied.judged] == [f"no {n}" for n in sorted(names, reverse=True)]
    deciding.judge(workspace, OPERATOR, list(names.values()), "open")
    back = situation(workspace, OPERATOR, whole)
    assert [each.text for each in back.comments] == ["seen"]
    assert len(back.members) == len(names)
    assert situations(workspace, OPERATOR, SituationFilter(emptied=True)).situations == ()

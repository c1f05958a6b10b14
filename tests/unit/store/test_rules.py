"""The rules of a workspace, on both databases."""

import msgspec
import pytest

from mingjian.errors import NotFound, NotPermitted
from mingjian.model.rules import ANY, Correlation, LogSource, Rule, Text
from mingjian.store.rules import (
    add_rules,
    can_be_kept,
    keep_rules,
    live_rules,
    retire_rules,
    rule_set,
    rule_versions,
    set_of,
)
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

OPERATOR = Scope.of_operator()


def a_rule(name: str, content: str = "1", *, title: str = "", hidden: bool = False) -> Rule:
    condition = Text("Image", (ANY, content))
    hashed = f"{name}{content}"
    return Rule(
        id=name,
        title=title or name,
        file="r.yml",
        content_hash=hashed,
        logsource=LogSource("windows"),
        condition=condition,
        hidden=hidden,
    )


def correlated(name: str, *rules: str) -> Correlation:
    return Correlation(
        id=name,
        title=name,
        file="c.yml",
        content_hash=name + "".join(rules),
        type="event_count",
        rules=rules,
        timespan_s=60,
        bounds=(("gte", 2.0),),
    )


def test_rules_that_were_added_count(workspace: Workspace) -> None:
    assert len(live_rules(workspace, OPERATOR)) == 0
    added = add_rules(workspace, OPERATOR, [a_rule("a"), a_rule("b")], [correlated("c", "a", "b")])
    assert (len(added.new), added.changed, added.unchanged, added.retired) == (3, 0, 0, ())
    live = live_rules(workspace, OPERATOR)
    assert live == added.rule_set
    assert [rule.id for rule in live.rules] == ["a", "b"]
    assert live.correlations == (correlated("c", "a", "b"),)


def test_the_same_rules_again_are_nothing_new(workspace: Workspace) -> None:
    first = add_rules(workspace, OPERATOR, [a_rule("a"), a_rule("b")])
    again = add_rules(workspace, OPERATOR, [a_rule("b"), a_rule("a")])
    assert (again.new, again.unchanged) == ((), 2)
    assert again.rule_set.id == first.rule_set.id


def test_a_changed_rule_takes_the_place_of_its_earlier_version(workspace: Workspace) -> None:
    add_rules(workspace, OPERATOR, [a_rule("a"), a_rule("b")])
    added = add_rules(workspace, OPERATOR, [a_rule("a", "2")])
    assert (len(added.new), added.changed, added.retired) == (1, 1, ())
    assert {rule.content_hash for rule in live_rules(workspace, OPERATOR).rules} == {"a2", "b1"}
    assert [version.content_hash for version in rule_versions(workspace, OPERATOR, retired=True)] == ["a1", "a2", "b1"]


def test_a_version_that_comes_back_counts_again(workspace: Workspace) -> None:
    add_rules(workspace, OPERATOR, [a_rule("a")])
    add_rules(workspace, OPERATOR, [a_rule("a", "2")])
    assert add_rules(workspace, OPERATOR, [a_rule("a")]).changed == 1
    assert [rule.content_hash for rule in live_rules(workspace, OPERATOR).rules] == ["a1"]


def test_a_changed_title_is_no_new_version_and_is_shown(workspace: Workspace) -> None:
    add_rules(workspace, OPERATOR, [a_rule("a")])
    assert add_rules(workspace, OPERATOR, [a_rule("a", title="better")]).new == ()
    assert live_rules(workspace, OPERATOR).rules[0].title == "better"
    assert [version.title for version in rule_versions(workspace, OPERATOR)] == ["better"]


def test_a_rule_that_is_reported_now_and_was_not_before_is_a_new_version(workspace: Workspace) -> None:
    add_rules(workspace, OPERATOR, [a_rule("a", hidden=True)])
    assert len(add_rules(workspace, OPERATOR, [a_rule("a")]).new) == 1


def test_replacing_retires_what_is_not_given(workspace: Workspace) -> None:
    add_rules(workspace, OPERATOR, [a_rule("a"), a_rule("b")])
    assert add_rules(workspace, OPERATOR, [a_rule("b")], replace=True).retired == ("a",)
    assert list(live_rules(workspace, OPERATOR).versions) == ["b"]


def test_what_is_only_kept_does_not_count(workspace: Workspace) -> None:
    kept = keep_rules(workspace, OPERATOR, [a_rule("a")])
    assert len(live_rules(workspace, OPERATOR)) == 0
    assert rule_set(workspace, OPERATOR, kept.id) == kept
    add_rules(workspace, OPERATOR, [a_rule("b")])
    keep_rules(workspace, OPERATOR, [a_rule("b")])
    assert list(live_rules(workspace, OPERATOR).versions) == ["b"]


def test_a_correlation_goes_with_a_rule_that_it_refers_to(workspace: Workspace) -> None:
    add_rules(workspace, OPERATOR, [a_rule("a"), a_rule("b")], [correlated("outer", "inner"), correlated("inner", "a")])
    assert [each.id for each in live_rules(workspace, OPERATOR).correlations] == ["inner", "outer"]
    assert retire_rules(workspace, OPERATOR, ["a"]) == ["a", "inner", "outer"]
    assert list(live_rules(workspace, OPERATOR).versions) == ["b"]
    assert retire_rules(workspace, OPERATOR, None) == ["b"]


def test_a_rule_that_is_not_there_cannot_be_retired(workspace: Workspace) -> None:
    add_rules(workspace, OPERATOR, [a_rule("a")])
    with pytest.raises(NotFound):
        retire_rules(workspace, OPERATOR, ["b"])
    assert list(live_rules(workspace, OPERATOR).versions) == ["a"]


def test_only_who_reaches_every_organisation_changes_rules(workspace: Workspace) -> None:
    member = Scope.of_member("ann", [], [OrganisationId(1)])
    with pytest.raises(NotPermitted):
        add_rules(workspace, member, [a_rule("a")])
    with pytest.raises(NotPermitted):
        keep_rules(workspace, member, [a_rule("a")])
    with pytest.raises(NotPermitted):
        retire_rules(workspace, member, None)
    with pytest.raises(NotPermitted):
        set_of(workspace, member, [])


def test_a_set_that_is_not_there_is_not_found(workspace: Workspace) -> None:
    with pytest.raises(NotFound):
        rule_set(workspace, OPERATOR, 77)


def test_a_rule_with_text_that_is_none_cannot_be_kept() -> None:
    assert can_be_kept(a_rule("a"))
    assert not can_be_kept(msgspec.structs.replace(a_rule("a"), title="\ud800"))

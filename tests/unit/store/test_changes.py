"""What is new and what was changed: for those who may see it."""

from lakes import OPERATOR
from mingjian.model.indicators import Indicator
from mingjian.situations.regrouping import regroup
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.changes import changes, new_rules, situations_created
from mingjian.store.indicators import add_set
from mingjian.store.scope import Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.workspace import Workspace
from situated import MINUTE_US, START_US, Seen, put


def test_a_rule_is_new_if_it_never_found_anything_before(workspace: Workspace, organisation: Organisation) -> None:
    put(
        workspace,
        organisation,
        [
            Seen(minute=0, rule="old", host="a"),
            Seen(minute=90, rule="old", host="a"),
            Seen(minute=90, rule="new", host="a", level="low"),
            Seen(minute=91, rule="new", host="b", level="low"),
            Seen(minute=92, rule="grave", host="b", level="critical"),
        ],
    )
    since_us = START_US + 60 * MINUTE_US
    found = new_rules(workspace, OPERATOR, since_us)
    assert [(each.rule_id, each.several) for each in found] == [("grave", 1), ("new", 2)]
    assert new_rules(workspace, OPERATOR, since_us, limit=1) == found[:1]
    assert new_rules(workspace, Scope.of_member("eve", []), since_us) == []


def test_situations_come_up_when_they_are_grouped(workspace: Workspace, organisation: Organisation) -> None:
    put(workspace, organisation, [Seen(minute=0, host="a"), Seen(minute=9_000, rule="other", host="b")])
    before_us = workspace.clock_us()
    regroup(workspace, OPERATOR, organisation.id)
    assert len(situations_created(workspace, OPERATOR, before_us)) == 2
    assert situations_created(workspace, OPERATOR, workspace.clock_us() + 1) == []
    assert situations_created(workspace, Scope.of_member("eve", []), before_us) == []


def test_what_was_changed_is_told_to_whoever_may_see_it(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "other", make=True)
    for name, owner in (("for all", None), ("ours", organisation.id), ("theirs", other.id)):
        wanted = [Indicator(kind="domain", how="is", value="a.example", written="a.example")]
        add_set(workspace, OPERATOR, name, wanted, organisation=owner)
    today = workspace.clock_us() // US_PER_DAY
    member = Scope.of_member("ann", [organisation.id])
    assert [each.name for each in changes(workspace, member, today - 1, today)] == ["for all", "ours"]
    assert len(changes(workspace, OPERATOR, today - 1, today)) == 3
    assert changes(workspace, OPERATOR, today - 9, today - 2) == []

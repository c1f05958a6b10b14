"""Sets of indicators and their versions: all of one or nothing, nothing lost, nothing shown to strangers."""

import pyarrow as pa
import pytest
import sqlalchemy as sa

from mingjian.errors import LimitExceeded, NotFound, NotPermitted, SchemaError, StateError
from mingjian.model.indicators import Indicator
from mingjian.store import indicators as module
from mingjian.store import tables as t
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.indicators import (
    Details,
    Unread,
    add_set,
    indicators_of,
    live_sets,
    retire_set,
    set_by_id,
    sets_named,
)
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace

OPERATOR = Scope.of_operator()


def said(*names: str, **more: object) -> list[Indicator]:
    return [
        Indicator(kind="domain", how="below", value=name, written=name, **more)  # type: ignore[arg-type]  # fields of ours
        for name in names
    ]


def values(workspace: Workspace, set_id: int, *, only_new: bool = False) -> list[str]:
    return [
        value
        for table in indicators_of(workspace, OPERATOR, set_id, only_new=only_new)
        for value in table.column("value").to_pylist()
    ]


def rows_kept(workspace: Workspace) -> int:
    with workspace.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(t.indicators)).scalar_one()


def test_a_set_comes_back_as_it_was_given(workspace: Workspace) -> None:
    one = Indicator(
        kind="hash",
        how="is",
        value="a" * 32,
        written="A\0\udcff" * 3,
        verdict="suspicious",
        confidence=0,
        valid_from_us=-1,
        valid_until_us=2**53,
        marking="TLP:AMBER+STRICT",
        source="来源",
        reference="r",
        description="'; DROP TABLE indicators --",
    )
    added = add_set(workspace, OPERATOR, " My Feed ", [one, *said("b.example")], source="us", marking="TLP:GREEN")
    assert (added.how, added.set.name, added.set.version, added.set.state) == ("new", "My Feed", 1, "live")
    assert (added.set.indicators, added.set.added, added.set.gone, added.set.warned) == (2, 2, 0, 0)
    assert (added.set.source, added.set.marking, added.set.organisation) == ("us", "TLP:GREEN", None)
    rows = pa.concat_tables(indicators_of(workspace, OPERATOR, added.set.id)).to_pylist()
    assert [row["value"] for row in rows] == ["b.example", "a" * 32]
    assert rows[1] == {
        "id": rows[1]["id"],
        "set_id": added.set.id,
        "warning": "",
        **{name: getattr(one, name) for name in one.__struct_fields__},
        "written": "A\\x00\\xdcff" * 3,  # what no database can hold
    }
    assert rows[0]["confidence"] is None


def test_the_same_again_changes_nothing(workspace: Workspace) -> None:
    first = add_set(workspace, OPERATOR, "feed", said("a.example", "b.example"))
    again = add_set(workspace, OPERATOR, "FEED", said("b.example", "a.example", "a.example"))
    assert (again.how, again.set) == ("unchanged", first.set)
    assert rows_kept(workspace) == 2


def test_what_is_still_there_stays_what_is_new_comes_what_is_gone_goes(workspace: Workspace) -> None:
    first = add_set(workspace, OPERATOR, "feed", said("a.example", "b.example"))
    second = add_set(workspace, OPERATOR, "feed", said("b.example", "c.example"))
    assert (second.how, second.set.version, second.set.added, second.set.gone) == ("changed", 2, 1, 1)
    third = add_set(workspace, OPERATOR, "feed", [*said("b.example", confidence=9), *said("c.example")])
    assert (third.set.version, third.set.added, third.set.gone) == (3, 1, 1)
    # Every version keeps what it had, and nothing is there twice that did not change.
    assert values(workspace, first.set.id) == ["a.example", "b.example"]
    assert values(workspace, second.set.id) == ["b.example", "c.example"]
    assert values(workspace, third.set.id) == ["b.example", "c.example"]
    assert values(workspace, second.set.id, only_new=True) == ["c.example"]
    assert values(workspace, third.set.id, only_new=True) == ["b.example"]
    assert rows_kept(workspace) == 4
    assert [each.id for each in live_sets(workspace, OPERATOR)] == [third.set.id]
    assert [set_by_id(workspace, OPERATOR, each.set.id).state for each in (first, second)] == ["retired"] * 2


def test_a_retired_set_is_not_looked_for_and_can_come_back(workspace: Workspace) -> None:
    first = add_set(workspace, OPERATOR, "feed", said("a.example", "b.example"))
    retired = retire_set(workspace, OPERATOR, first.set.id)
    assert retired.state == "retired"
    assert retired.retired_us is not None
    assert live_sets(workspace, OPERATOR) == []
    assert values(workspace, first.set.id) == ["a.example", "b.example"]
    with pytest.raises(StateError):
        retire_set(workspace, OPERATOR, first.set.id)
    back = add_set(workspace, OPERATOR, "feed", said("a.example", "c.example"))
    assert (back.how, back.set.version, back.set.added, back.set.gone) == ("changed", 2, 1, 1)
    assert values(workspace, back.set.id) == ["a.example", "c.example"]
    assert values(workspace, first.set.id) == ["a.example", "b.example"]
    same = retire_set(workspace, OPERATOR, back.set.id)
    back = add_set(workspace, OPERATOR, "feed", said("a.example", "c.example"))
    assert (back.set.state, back.set.version, back.set.added) == ("live", same.version + 1, 0)


def test_source_and_marking_belong_to_the_content(workspace: Workspace) -> None:
    add_set(workspace, OPERATOR, "feed", said("a.example"))
    assert add_set(workspace, OPERATOR, "feed", said("a.example"), marking="TLP:RED").set.version == 2
    assert add_set(workspace, OPERATOR, "feed", said("a.example"), marking="TLP:RED", source="x").set.version == 3
    assert rows_kept(workspace) == 1


def test_what_was_not_read_is_remembered(workspace: Workspace) -> None:
    details = Details(skipped={"revoked": 3}, quarantined=1, unread=[Unread("f", 7, "no")], lists="1")
    added = add_set(workspace, OPERATOR, "feed", said("a.example"), details=lambda: details)
    assert set_by_id(workspace, OPERATOR, added.set.id).details == details


@pytest.mark.parametrize("name", ["", "  ", "x" * 201])
def test_a_set_needs_a_name_and_an_indicator(workspace: Workspace, name: str) -> None:
    with pytest.raises(SchemaError):
        add_set(workspace, OPERATOR, name, said("a.example"))
    with pytest.raises(SchemaError):
        add_set(workspace, OPERATOR, "feed", [])
    assert sets_named(workspace, OPERATOR, "feed") == []


def test_the_number_of_indicators_is_bounded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INDICATORS_MAX", 2)
    with pytest.raises(LimitExceeded, match="INDICATORS_MAX"):
        add_set(workspace, OPERATOR, "feed", said("a.example", "b.example", "c.example"))


def test_sets_of_others_do_not_exist(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "Other", make=True)
    ours = add_set(workspace, OPERATOR, "feed", said("a.example"), organisation=organisation.id).set
    theirs = add_set(workspace, OPERATOR, "feed", said("b.example"), organisation=other.id).set
    for_all = add_set(workspace, OPERATOR, "feed", said("c.example")).set
    assert len({ours.series_id, theirs.series_id, for_all.series_id}) == 3
    assert [each.id for each in sets_named(workspace, OPERATOR, "Feed")] == [for_all.id, ours.id, theirs.id]
    member = Scope.of_member("ann", [organisation.id])
    assert {each.id for each in live_sets(workspace, member)} == {ours.id, for_all.id}
    assert {each.id for each in sets_named(workspace, member, "feed")} == {ours.id, for_all.id}
    assert {each.id for each in live_sets(workspace, OPERATOR, organisation=other.id)} == {theirs.id, for_all.id}
    for ask in (
        lambda: set_by_id(workspace, member, theirs.id),
        lambda: list(indicators_of(workspace, member, theirs.id)),
        lambda: live_sets(workspace, member, organisation=other.id),
        lambda: retire_set(workspace, member, theirs.id),
        lambda: add_set(workspace, member, "feed", said("x.example"), organisation=other.id),
    ):
        with pytest.raises(NotFound):
            ask()
    for change in (
        lambda: retire_set(workspace, member, ours.id),
        lambda: retire_set(workspace, member, for_all.id),
        lambda: add_set(workspace, member, "feed", said("x.example"), organisation=organisation.id),
        lambda: add_set(workspace, member, "feed", said("x.example")),
    ):
        with pytest.raises(NotPermitted):
            change()
    writer = Scope.of_member("bob", [], [organisation.id])
    assert add_set(workspace, writer, "feed", said("x.example"), organisation=organisation.id).set.version == 2


def test_nobody_sees_half_a_version(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add_set(workspace, OPERATOR, "feed", said("a.example", "b.example")).set
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 1)
    insert = module._insert_fast
    calls: list[int] = []

    def failing(*arguments: object) -> None:
        # Between two portions, somebody looks.
        assert [each.id for each in live_sets(workspace, OPERATOR)] == [first.id]
        assert values(workspace, first.id) == ["a.example", "b.example"]
        calls.append(1)
        if len(calls) == 3:
            raise StateError("the third portion fails")
        insert(*arguments)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(module, "_insert_fast", failing)
    with pytest.raises(StateError, match="third portion"):
        add_set(workspace, OPERATOR, "feed", said("b.example", "c.example", "d.example", "e.example"))
    assert [each.id for each in live_sets(workspace, OPERATOR)] == [first.id]
    assert (values(workspace, first.id), rows_kept(workspace)) == (["a.example", "b.example"], 2)
    monkeypatch.setattr(module, "_insert_fast", insert)
    again = add_set(workspace, OPERATOR, "feed", said("b.example", "c.example", "d.example", "e.example"))
    assert (again.set.version, again.set.added, again.set.gone) == (2, 3, 1)


def test_what_a_killed_process_left_is_never_seen_and_is_removed_later(workspace: Workspace) -> None:
    first = add_set(workspace, OPERATOR, "feed", said("a.example")).set
    loading = module._Loading(workspace, OPERATOR, first.series_id, first)
    rows = module.merged(module.table_of(said("half.example"), rows_max=9))
    loading._insert(rows, module.row_digests(rows))
    assert rows_kept(workspace) == 2
    with pytest.raises(NotFound):
        set_by_id(workspace, OPERATOR, loading.id)
    second = add_set(workspace, OPERATOR, "feed", said("a.example", "b.example")).set
    assert values(workspace, second.id) == ["a.example", "b.example"]
    workspace.clock_us = lambda: second.added_us + 2 * module.LOADING_S_MAX * 1_000_000
    third = add_set(workspace, OPERATOR, "feed", said("b.example")).set
    assert values(workspace, third.id) == ["b.example"]
    assert rows_kept(workspace) == 2


def test_of_two_that_change_a_set_at_once_the_second_is_told(workspace: Workspace) -> None:
    first = add_set(workspace, OPERATOR, "feed", said("a.example")).set

    def meanwhile() -> Details:
        add_set(workspace, OPERATOR, "feed", said("other.example"))
        return Details()

    with pytest.raises(StateError, match="another process"):
        add_set(workspace, OPERATOR, "feed", said("mine.example"), details=meanwhile)
    (live,) = live_sets(workspace, OPERATOR)
    assert (live.version, values(workspace, live.id)) == (2, ["other.example"])
    assert (values(workspace, first.id), rows_kept(workspace)) == (["a.example"], 2)

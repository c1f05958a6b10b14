"""Outlines: what they show, when they are made, and that they follow merges."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest

from lakes import OPERATOR, kept
from mingjian.model.values import Record
from mingjian.settings import DATABASE_FILE
from mingjian.store import outlines as outlines_module
from mingjian.store.catalogue import Organisation, live_segments, organisation_named
from mingjian.store.grams import hashes_asked
from mingjian.store.merging import merge, plan_merges
from mingjian.store.outlines import SEGMENTS_MIN, WAIT_US, Outline, Outliner, outlines_of
from mingjian.store.scope import Scope
from mingjian.store.upkeep import Retention, expire, set_aside, set_retention
from mingjian.store.workspace import Workspace, create, open_workspace

TODAY = 20_100


def found(workspace: Workspace, scope: Scope = OPERATOR, stream: str = "test/one") -> list[Outline]:
    return list(outlines_of(workspace, scope, stream, "plain", "jsonl"))


def outlined(workspace: Workspace, wait_us: int = 0) -> list[Outline]:
    outliner = Outliner(workspace, OPERATOR, wait_us=wait_us)
    while outliner.step():
        pass
    return found(workspace)


def filled(workspace: Workspace, organisation: Organisation, records: Sequence[Record], days: int = 1) -> list[int]:
    return [kept(workspace, organisation, records, day=20_000 + day).id for day in range(days)]


def test_an_outline_shows_columns_and_texts_of_several_segments(
    workspace: Workspace, organisation: Organisation
) -> None:
    ids = filled(workspace, organisation, [{"a": "whoami", "o": {"p": 1}, "l": [{"in": "deep\\down"}]}], 3)
    (outline,) = outlined(workspace)
    assert outline.segments == set(ids)
    assert outline.names == {"a", "o.p", "l"}
    assert outline.grams.have(hashes_asked(["WhoAmI", "deep\\down"])).all()
    assert not outline.grams.have(hashes_asked(["mimikatz"])).all()
    there = {path: outline.is_there(path) for path in ("a", "o", "o.p", "l", "l.in", "b", "op", "o.q")}
    assert [path for path, is_there in there.items() if not is_there] == ["b", "op", "o.q"]
    assert [path for path in there if not outline.shows_texts(path)] == ["o"]


def test_few_and_new_segments_wait(workspace: Workspace, organisation: Organisation) -> None:
    filled(workspace, organisation, [{"a": "x"}], SEGMENTS_MIN - 1)
    assert outlined(workspace, WAIT_US) == []
    kept(workspace, organisation, [{"a": "x"}], day=20_050)
    assert [len(outline.segments) for outline in outlined(workspace, WAIT_US)] == [SEGMENTS_MIN]


def test_what_comes_later_is_added_until_there_is_no_more_room(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlines_module, "SEGMENTS_MAX", 3)
    filled(workspace, organisation, [{"a": "whoami"}], 2)
    outlined(workspace)
    kept(workspace, organisation, [{"b": "mimikatz"}], day=20_010)
    (outline,) = outlined(workspace)
    assert outline.names == {"a", "b"}
    assert outline.grams.have(hashes_asked(["whoami", "mimikatz"])).all()
    kept(workspace, organisation, [{"c": "third"}], day=20_011)
    assert [sorted(each.names) for each in outlined(workspace)] == [["a", "b"], ["c"]]


def test_a_full_outline_gets_no_more(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(workspace, organisation, [{"a": "whoami"}])
    outlined(workspace)
    monkeypatch.setattr(outlines_module, "FILLED_MAX", 0.0)
    filled(workspace, organisation, [{"a": "whoami"}])
    assert len(outlined(workspace)) == 2


def test_a_merged_segment_stays_in_the_outline_of_its_parts(workspace: Workspace, organisation: Organisation) -> None:
    for number in (1, 2):
        kept(workspace, organisation, [{"a": "whoami"}], first=number)
    (before,) = outlined(workspace)
    new = merge(workspace, OPERATOR, plan_merges(workspace, OPERATOR, today=TODAY)[0])
    (after,) = outlined(workspace)
    assert after.segments == before.segments | {new}


def test_a_segment_merged_from_parts_of_several_outlines_gets_one_of_its_own(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlines_module, "SEGMENTS_MAX", 1)
    for number in (1, 2):
        kept(workspace, organisation, [{"a": f"part-{'xyz'[number]}"}], first=number)
    assert len(outlined(workspace)) == 2
    new = merge(workspace, OPERATOR, plan_merges(workspace, OPERATOR, today=TODAY)[0])
    (only,) = outlined(workspace)
    assert only.segments == {new}
    assert only.grams.have(hashes_asked(["part-y", "part-z"])).all()


def test_an_outliner_looks_no_more_often_than_it_should(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    outliner = Outliner(workspace, OPERATOR, wait_us=0)
    assert not outliner.step()
    filled(workspace, organisation, [{"a": "whoami"}])
    assert not outliner.step()
    monkeypatch.setattr(outlines_module, "LOOK_US", 0)
    assert outliner.step()


def test_an_outline_of_nothing_that_is_left_is_forgotten(workspace: Workspace, organisation: Organisation) -> None:
    filled(workspace, organisation, [{"a": "whoami"}])
    assert outlined(workspace)
    set_retention(workspace, OPERATOR, Retention(stream_pattern="test/one", days=1))
    assert expire(workspace, OPERATOR, today=TODAY)
    kept(workspace, organisation, [{"a": "whoami"}], day=TODAY, stream="test/two")
    assert outlined(workspace) == []


def test_a_record_that_is_kept_whole_makes_an_outline_opaque(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mingjian.store.segments.COLUMNS_MAX", 1)
    filled(workspace, organisation, [{"a": "x"}, {"b": "y", "c": "z"}])
    (outline,) = outlined(workspace)
    assert outline.is_opaque
    assert outline.is_there("anything")
    assert not outline.shows_texts("a")


def test_a_text_that_is_not_unicode_makes_an_outline_opaque(workspace: Workspace, organisation: Organisation) -> None:
    filled(workspace, organisation, [{"a": "who\udc80ami"}])
    assert outlined(workspace)[0].is_opaque


def test_a_damaged_segment_has_no_outline_and_the_others_have(workspace: Workspace, organisation: Organisation) -> None:
    one, other = filled(workspace, organisation, [{"a": "whoami"}], 2)
    row = next(row for row in live_segments(workspace, OPERATOR) if row.id == one)
    (workspace.lake / row.path).write_bytes(b"rubbish")
    assert [each.segments for each in outlined(workspace)] == [{other}]
    set_aside(workspace, OPERATOR, [row.path])
    assert [each.segments for each in outlined(workspace)] == [{other}]


def test_a_scope_gets_the_outlines_that_it_may_read(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "Other", make=True)
    filled(workspace, organisation, [{"a": "whoami"}])
    filled(workspace, other, [{"a": "secret"}])
    assert len(outlined(workspace)) == 2
    scope = Scope(actor="reader", reads=frozenset({other.id}), writes=frozenset())
    (only,) = found(workspace, scope)
    assert only.grams.have(hashes_asked(["secret"])).all()


def test_a_damaged_outline_says_nothing(tmp_path: Path) -> None:
    with create(tmp_path / "workspace") as workspace:
        filled(workspace, organisation_named(workspace, OPERATOR, "Ours", make=True), [{"a": "whoami"}])
        assert len(outlined(workspace)) == 1
        path = workspace.folder / DATABASE_FILE
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE outlines SET grams = zeroblob(length(grams))")
    connection.close()
    with open_workspace(tmp_path / "workspace") as workspace:
        assert found(workspace) == []

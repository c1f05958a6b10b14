"""What goes and what stays: strays, replaced files, retention."""

from pathlib import Path

import pytest

from lakes import OPERATOR, built, kept, written
from mingjian.errors import NotFound, NotPermitted, SchemaError, StateError, StorageError
from mingjian.store.catalogue import Organisation, live_segments, organisation_named
from mingjian.store.indexfiles import segments_replaced
from mingjian.store.merging import merge, plan_merges
from mingjian.store.scope import Scope
from mingjian.store.upkeep import (
    Cleaned,
    Retention,
    clean,
    expire,
    last_ended_us,
    missing_segments,
    remove_ended,
    retentions,
    set_retention,
)
from mingjian.store.workspace import MARK, Workspace, create, open_workspace


def files_of(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.lake.rglob("*") if path.is_file()} - {MARK}


def test_what_the_catalogue_never_knew_is_removed(workspace: Workspace, organisation: Organisation) -> None:
    segment = kept(workspace, organisation, [{"a": 1}])
    stray = written(workspace, organisation, built(organisation, [{"a": 2}]))
    half = (workspace.lake / stray.path).with_suffix(".tmp")
    half.write_bytes(b"PAR1")
    with workspace.reading():
        assert clean(workspace) == Cleaned(strays=2, ended=0, left=0)
    assert files_of(workspace) == {Path(segment.path).name}
    assert missing_segments(workspace, OPERATOR) == []


def test_what_was_replaced_stays_as_long_as_somebody_reads(workspace: Workspace, organisation: Organisation) -> None:
    for number in (1, 2):
        kept(workspace, organisation, [{"a": number}], first=number)
    (planned,) = plan_merges(workspace, OPERATOR, today=20_010)
    with workspace.reading():
        merge(workspace, OPERATOR, planned)
        assert clean(workspace) == Cleaned(strays=0, ended=0, left=2)
        assert all((workspace.lake / part.path).is_file() for part in planned.parts)
    assert clean(workspace) == Cleaned(strays=0, ended=2, left=0)
    assert len(files_of(workspace)) == 1
    assert clean(workspace) == Cleaned(strays=0, ended=0, left=0)


def test_files_of_what_ended_go_while_segments_are_written_when_nobody_reads(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While segments are written some are always unknown: to look through all of the database takes minutes."""
    monkeypatch.setattr("mingjian.store.upkeep.complaints", lambda connection: pytest.fail("it looked through it"))
    monkeypatch.setattr("mingjian.store.upkeep.files_of_lake", lambda workspace: pytest.fail("it went through all"))
    parts: list[Path] = []
    for number in range(2):
        for part in (1, 2):
            kept(workspace, organisation, [{"a": number}], stream=f"test/{number}", first=part)
        (planned,) = plan_merges(workspace, OPERATOR, today=20_010)
        merge(workspace, OPERATOR, planned)
        parts += [workspace.lake / part.path for part in planned.parts]
    unknown = written(workspace, organisation, built(organisation, [{"a": 3}]))
    ended_us = last_ended_us(workspace)
    assert ended_us is not None
    with workspace.reading():
        assert not remove_ended(workspace, None)
    assert all(path.is_file() for path in parts)
    assert remove_ended(workspace, ended_us + 1)
    assert all(path.is_file() for path in parts)
    assert remove_ended(workspace, ended_us)
    assert not any(path.exists() for path in parts[2:])
    assert remove_ended(workspace, None)
    assert not any(path.exists() for path in parts)
    assert len(files_of(workspace)) == 3
    assert (workspace.lake / unknown.path).is_file()
    monkeypatch.undo()
    assert clean(workspace) == Cleaned(strays=1, ended=0, left=0)


def test_the_whole_database_is_looked_at_for_strays_only(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        kept(workspace, organisation, [{"a": number}], first=number)
    (planned,) = plan_merges(workspace, OPERATOR, today=20_010)
    merge(workspace, OPERATOR, planned)
    looked: list[object] = []
    monkeypatch.setattr("mingjian.store.upkeep.complaints", lambda connection: looked.append(connection))
    assert clean(workspace) == Cleaned(strays=0, ended=2, left=0)
    assert not looked
    written(workspace, organisation, built(organisation, [{"a": 3}]))
    assert clean(workspace).strays == 1
    assert looked or workspace.dialect != "sqlite"


def test_nothing_is_removed_while_another_process_writes(tmp_path: Path) -> None:
    from mingjian.store.workspace import create

    with create(tmp_path) as one, open_workspace(tmp_path) as two, one.writing(), pytest.raises(StateError):
        clean(two)


def test_a_segment_whose_file_is_gone_is_named(workspace: Workspace, organisation: Organisation) -> None:
    gone, short = kept(workspace, organisation, [{"a": 1}]), kept(workspace, organisation, [{"a": 2}], first=2)
    kept(workspace, organisation, [{"a": 3}], first=3)
    (workspace.lake / gone.path).unlink()
    (workspace.lake / short.path).write_bytes(b"PAR1")
    assert {row.id for row in missing_segments(workspace, OPERATOR)} == {gone.id, short.id}


def test_a_file_that_cannot_be_removed_is_said(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(workspace, organisation, built(organisation, [{"a": 2}]))

    def fail(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "unlink", fail)
    with pytest.raises(StorageError, match="Permission denied"):
        clean(workspace)


def test_events_go_when_they_are_older_than_their_stream_is_kept(
    workspace: Workspace, organisation: Organisation
) -> None:
    other = organisation_named(workspace, OPERATOR, "Other", make=True)
    segments = {
        (owner.name, stream, day): kept(workspace, owner, [{"a": 1}], stream=stream, day=day).id
        for owner in (organisation, other)
        for stream in ("zeek/conn", "zeek/dns", "windows/1")
        for day in (100, 110)
    }
    for said in (
        Retention(stream_pattern="zeek/*", days=10),
        Retention(stream_pattern="zeek/dns", days=500),
        Retention(stream_pattern="*", days=1, organisation=other.id),
        Retention(stream_pattern="*", days=7, organisation=other.id),
        Retention(stream_pattern="windows/*", days=3),
        Retention(stream_pattern="windows/*", days=0),
    ):
        set_retention(workspace, OPERATOR, said)
    assert [(each.organisation, each.stream_pattern, each.days) for each in retentions(workspace, OPERATOR)] == [
        (other.id, "*", 7),
        (None, "zeek/dns", 500),
        (None, "zeek/*", 10),
    ]
    gone = {row.id for row in expire(workspace, OPERATOR, today=111)}
    assert gone == {
        number
        for (owner, stream, day), number in segments.items()
        if (owner == "Other" and day == 100) or (owner == "Our Own" and stream == "zeek/conn" and day == 100)
    }
    assert {row.id for row in live_segments(workspace, OPERATOR)} == set(segments.values()) - gone
    assert segments_replaced(workspace) == dict.fromkeys(gone)
    assert expire(workspace, OPERATOR, today=111) == []
    assert clean(workspace).ended == len(gone)


def test_events_without_a_time_age_from_when_they_came(workspace: Workspace, organisation: Organisation) -> None:
    kept(workspace, organisation, [{"a": 1}], day=None)
    set_retention(workspace, OPERATOR, Retention(stream_pattern="*", days=30))
    today = workspace.clock_us() // 86_400_000_000
    assert expire(workspace, OPERATOR, today=today + 30) == []
    assert len(expire(workspace, OPERATOR, today=today + 32)) == 1


@pytest.mark.parametrize(("pattern", "days"), [("", 1), ("a*b", 1), ("**", 1), ("a", -1), ("a", 10**9)])
def test_what_makes_no_sense_is_refused(workspace: Workspace, pattern: str, days: int) -> None:
    with pytest.raises(SchemaError):
        set_retention(workspace, OPERATOR, Retention(stream_pattern=pattern, days=days))


def test_nobody_says_how_long_events_of_others_are_kept(workspace: Workspace, organisation: Organisation) -> None:
    kept(workspace, organisation, [{"a": 1}], day=1)
    reader, stranger = Scope.of_member("ann", [organisation.id]), Scope.of_member("eve", [])
    owner = Scope.of_member("bob", [], [organisation.id])
    for scope, expected, whose in (
        (owner, NotPermitted, None),
        (reader, NotPermitted, organisation.id),
        (stranger, NotFound, organisation.id),
    ):
        with pytest.raises(expected):
            set_retention(workspace, scope, Retention(stream_pattern="*", days=1, organisation=whose))
    set_retention(workspace, owner, Retention(stream_pattern="*", days=1, organisation=organisation.id))
    assert retentions(workspace, stranger) == []
    assert expire(workspace, reader, today=500) == expire(workspace, stranger, today=500) == []
    assert len(expire(workspace, owner, today=500)) == 1


def test_while_the_database_is_damaged_no_segment_is_removed(tmp_path: Path) -> None:
    with create(tmp_path) as workspace:
        ours = organisation_named(workspace, OPERATOR, "ours", make=True)
        segment = kept(workspace, ours, [{"a": 1}])
        with workspace.read() as connection:
            # As if the row had been lost to damage: what refers to it is still there.
            cursor = connection.connection.cursor()
            for statement in ("COMMIT", "PRAGMA foreign_keys = OFF", "DELETE FROM segments", "BEGIN"):
                cursor.execute(statement)
        with pytest.raises(StorageError, match="no segment is removed"):
            clean(workspace)
        assert (workspace.lake / segment.path).is_file()

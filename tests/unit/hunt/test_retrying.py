"""Reading the quarantine again: what was mended comes through, once; what was not stays; who did it is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from ingesting import CORRELATIONS, RULES, SOURCES, events, ingest, lines, some, sysmon
from lakes import OPERATOR
from mingjian.data import DATA_FOLDER
from mingjian.detect.engine import Engine
from mingjian.errors import ParseError
from mingjian.formats import json as json_format
from mingjian.formats import registry
from mingjian.hunt.arrival import Watch
from mingjian.hunt.errands import BACKUPS_KEPT, Errands, backup_file
from mingjian.hunt.retrying import Retried, Retry
from mingjian.store import tables as t
from mingjian.store.audit import acts
from mingjian.store.backup import manifest_of
from mingjian.store.catalogue import live_segments, quarantined
from mingjian.store.coverage import uncovered_by_rules
from mingjian.store.detections import detections
from mingjian.store.jobs import finish, jobs, queue
from mingjian.store.quarantine import alike, ask_retry, retries
from mingjian.store.rules import keep_rules
from mingjian.store.workspace import Workspace, create


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return create(tmp_path / "workspace")


def watch(workspace: Workspace) -> Watch:
    return Watch(keep_rules(workspace, OPERATOR, RULES, CORRELATIONS), Engine(RULES))


def again(workspace: Workspace, actor: str = "somebody") -> Retried:
    return Retry(workspace, OPERATOR, SOURCES, watch(workspace)).run(actor)


def unmended(monkeypatch: pytest.MonkeyPatch, workspace: Workspace, file: Path) -> None:
    """Take a file in with a reader that cannot read certain lines."""
    decode, parse = json_format._decode_object, json_format.parse_record

    def refuse(line: bytes) -> None:
        if b"not-yet" in line:
            raise ParseError("not yet")

    def decode_or_not(line: bytes) -> object:
        if b"not-yet" in line:
            raise ValueError
        return decode(line)

    def parse_or_not(line: bytes) -> object:
        refuse(line)
        return parse(line)

    with monkeypatch.context() as patch:
        patch.setattr(json_format, "_decode_object", decode_or_not)
        patch.setattr(json_format, "parse_record", parse_or_not)
        ingest(workspace, file)


def in_quarantine(workspace: Workspace) -> list[int]:
    return [row.item.record for row in reversed(quarantined(workspace, OPERATOR))]


def a_file(folder: Path) -> Path:
    """Twelve records; 3 and 8 cannot be read yet (3 is one to look at), 12 never."""
    records = some(11)
    records[2] = sysmon(2, "C:\\Windows\\whoami.exe") | {"CommandLine": "not-yet"}
    records[7] |= {"CommandLine": "not-yet"}
    file = folder / "a.jsonl"
    file.write_bytes(lines(records) + b"{broken\n")
    return file


def test_what_was_mended_comes_through_with_its_number_and_its_detections(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = a_file(tmp_path)
    unmended(monkeypatch, workspace, file)
    assert in_quarantine(workspace) == [3, 8, 12]
    before = {found.detection.record for found in detections(workspace, OPERATOR)}
    done = again(workspace)
    assert (done.tried, done.read, done.events, done.unread, done.file_needed) == (3, 2, 2, 1, 0)
    assert in_quarantine(workspace) == [12]
    assert [event.number for event in events(workspace)] == list(range(1, 12))
    assert {found.detection.record for found in detections(workspace, OPERATOR)} == before | {3}
    whole = create(tmp_path / "whole")
    ingest(whole, file)
    assert [event.record for event in events(workspace)] == [event.record for event in events(whole)]
    versions = list(watch(workspace).rule_set.versions.values())
    assert uncovered_by_rules(workspace, OPERATOR, versions) == []


def test_nothing_comes_through_twice(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = a_file(tmp_path)
    unmended(monkeypatch, workspace, file)
    again(workspace)
    second = again(workspace)
    assert (second.tried, second.read) == (1, 0)
    ingest(workspace, file)
    assert [event.number for event in events(workspace)] == list(range(1, 12))
    assert in_quarantine(workspace) == [12]


def test_it_is_known_when_and_by_whom_it_was_tried_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unmended(monkeypatch, workspace, a_file(tmp_path))
    kept = {row.item.record: row for row in quarantined(workspace, OPERATOR)}
    again(workspace, "Ada")
    found = {each.item.record: each for each in retries(workspace, OPERATOR)}
    assert {record: each.outcome for record, each in found.items()} == {3: "read", 8: "read", 12: "unread"}
    assert {each.actor for each in found.values()} == {"Ada"}
    assert found[3].item.data == kept[3].item.data
    assert found[3].entry_id == kept[3].id
    assert abs(found[3].at_us - workspace.clock_us()) < 60_000_000
    assert [each.item.record for each in retries(workspace, OPERATOR, entry_id=kept[12].id)] == [12]


def test_a_killed_process_leaves_all_or_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails in the transaction: neither events nor the word that they came through are there."""
    unmended(monkeypatch, workspace, a_file(tmp_path))
    read = len(events(workspace))

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mingjian.hunt.retrying.add_matches", lambda *_: fail)
        with pytest.raises(KeyboardInterrupt):
            again(workspace)
    assert in_quarantine(workspace) == [3, 8, 12]
    assert len(events(workspace)) == read
    assert again(workspace).read == 2
    assert len(events(workspace)) == read + 2


def test_a_small_content_of_a_format_that_became_known_is_read_whole(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new.jsonl"
    file.write_bytes(lines(some(20)))
    with monkeypatch.context() as patch:
        patch.setattr(registry, "recognise", lambda head, name: None)
        ingest(workspace, file)
    assert in_quarantine(workspace) == [0]
    done = again(workspace)
    assert (done.read, done.events) == (1, 20)
    with file.open("ab") as stream:
        stream.write(lines(some(25))[len(lines(some(20))) :])
    ingest(workspace, file)
    assert [event.number for event in events(workspace)] == list(range(1, 26))


def test_a_content_of_which_only_the_beginning_was_kept_is_read_when_its_file_is_taken_in_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "long.jsonl"
    file.write_bytes(lines(some(600)))
    with monkeypatch.context() as patch:
        patch.setattr(registry, "recognise", lambda head, name: None)
        ingest(workspace, file)
    assert again(workspace).file_needed == 1
    assert in_quarantine(workspace) == [0]
    ingest(workspace, file)
    assert len(events(workspace)) == 600
    assert again(workspace).read == 1
    assert in_quarantine(workspace) == []
    assert len(events(workspace)) == 600


def test_a_job_reads_only_what_it_names(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unmended(monkeypatch, workspace, a_file(tmp_path))
    wanted = next(row.id for row in quarantined(workspace, OPERATOR) if row.item.record == 8)
    job = ask_retry(workspace, OPERATOR, [wanted], by="Ada")
    assert errands(workspace).step()
    assert not errands(workspace).step()
    assert in_quarantine(workspace) == [3, 12]
    (found,) = [each for each in jobs(workspace, OPERATOR) if each.id == job.id]
    assert (found.state, found.results) == ("done", 1)
    assert retries(workspace, OPERATOR)[0].actor == "Ada"
    assert "job.queued" in {act.what for act in acts(workspace, OPERATOR)}
    assert len(alike(workspace, OPERATOR, quarantined(workspace, OPERATOR)[0].id)) == 2


def errands(workspace: Workspace) -> Errands:
    return Errands(workspace, SOURCES, None, DATA_FOLDER / "rules")


def test_a_backup_job_makes_one_file_and_keeps_the_last_ones(workspace: Workspace, tmp_path: Path) -> None:
    ingest(workspace, a_file(tmp_path))
    made = []
    for number in range(BACKUPS_KEPT + 1):
        made.append(queue(workspace, OPERATOR, "backup", request=f'{{"by": "Ada", "asked_us": {number}}}'))
        assert errands(workspace).step()
    assert [backup_file(workspace, job).is_file() for job in made] == [False, *[True] * BACKUPS_KEPT]
    assert manifest_of(backup_file(workspace, made[-1])).workspace == workspace.public_id
    assert {job.state for job in jobs(workspace, OPERATOR)} == {"done"}


def test_a_backup_that_was_interrupted_begins_anew_and_is_made_once(workspace: Workspace, tmp_path: Path) -> None:
    ingest(workspace, a_file(tmp_path))
    job = queue(workspace, OPERATOR, "backup", request="{}")
    folder = workspace.folder / "backups"
    folder.mkdir()
    (folder / ".left.tmp").write_bytes(b"half")
    queue(workspace, OPERATOR, "rules")
    with workspace.begin() as connection:
        connection.execute(sa.update(t.jobs).where(t.jobs.c.id == job.id).values(state="running"))
    assert errands(workspace).step(), "what was left running by a process that was killed is taken up again"
    first = backup_file(workspace, job).stat()
    with workspace.begin() as connection:
        connection.execute(sa.update(t.jobs).where(t.jobs.c.id == job.id).values(state="waiting"))
    assert errands(workspace).step()
    assert backup_file(workspace, job).stat().st_mtime_ns == first.st_mtime_ns
    assert [each.name for each in folder.iterdir()] == [backup_file(workspace, job).name]
    assert "rules" in {each.kind for each in jobs(workspace, OPERATOR, states=["waiting"])}


def test_a_backup_that_was_cancelled_leaves_no_file(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace, a_file(tmp_path))
    job = queue(workspace, OPERATOR, "backup", request="{}")
    monkeypatch.setattr("mingjian.hunt.errands.progressed", lambda *_, **__: lambda connection: None)
    run = errands(workspace)
    is_over = run._is_over

    def cancel(*given: object) -> bool:
        finish(workspace, OPERATOR, job.id, "cancelled")
        return is_over(*given)  # type: ignore[arg-type]  # what it was given

    monkeypatch.setattr(run, "_is_over", cancel)
    assert run.step()
    assert list((workspace.folder / "backups").iterdir()) == []
    assert [each.state for each in jobs(workspace, OPERATOR)] == ["cancelled"]
    assert live_segments(workspace, OPERATOR)

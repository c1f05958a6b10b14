"""What comes in is in the workspace once, whatever it is called, wherever it lies, and in whatever pieces it came."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from ingesting import detected, events, found, ingest, lines, some, sysmon
from lakes import OPERATOR
from mingjian.errors import StateError
from mingjian.hunt import ingest as ingest_module
from mingjian.model.indicators import Indicator
from mingjian.sources import contents
from mingjian.store.catalogue import organisation_named, quarantined
from mingjian.store.coverage import uncovered_by_indicators
from mingjian.store.detections import detections
from mingjian.store.indicatormatching import Matchers
from mingjian.store.indicators import add_set
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, create, open_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "workspace") as made:
        yield made


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_event_is_kept_and_looked_at_once(workspace: Workspace, logs: Path, jobs: int) -> None:
    (logs / "a.json").write_bytes(lines(some(1000)))
    (logs / "b.json").write_bytes(lines(some(500, first=1000)))
    summary = ingest(workspace, logs, jobs=jobs)
    assert (summary.files, summary.new, summary.events, summary.quarantined) == (2, 2, 1500, 0)
    kept = events(workspace)
    assert [(each.number, each.record) for each in kept] == [
        *((n + 1, repr(record)) for n, record in enumerate(some(1000))),
        *((n + 1, repr(record)) for n, record in enumerate(some(500, first=1000))),
    ]
    assert found(workspace) == detected(logs)
    assert len(found(workspace)) > 150


def test_a_second_time_adds_nothing(workspace: Workspace, logs: Path) -> None:
    (logs / "a.json").write_bytes(lines(some(100)))
    ingest(workspace, logs)
    before = events(workspace), found(workspace)
    again = ingest(workspace, logs)
    assert (again.known, again.new, again.grown, again.events, again.segments) == (1, 0, 0, 0, 0)
    assert (events(workspace), found(workspace)) == before


def _gzip(data: bytes, path: Path) -> None:
    path.with_suffix(".gz").write_bytes(gzip.compress(data))


def _zstd(data: bytes, path: Path) -> None:
    path.with_suffix(".zst").write_bytes(zstandard.compress(data))


def _zip(data: bytes, path: Path) -> None:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        archive.writestr("other.json", "{}\n")
        archive.writestr("inner/name.json", data)


def _tar(data: bytes, path: Path) -> None:
    with tarfile.open(path.with_suffix(".tar.gz"), "w:gz") as archive:
        member = tarfile.TarInfo("x")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def _moved(data: bytes, path: Path) -> None:
    (path.parent / "elsewhere").mkdir()
    (path.parent / "elsewhere" / "renamed.txt").write_bytes(data)


@pytest.mark.parametrize("copy", [_gzip, _zstd, _zip, _tar, _moved])
@pytest.mark.parametrize("count", [3, 300])
def test_a_copy_adds_nothing_however_it_is_packed(
    workspace: Workspace, logs: Path, copy: Callable[[bytes, Path], None], count: int
) -> None:
    data = lines(some(count))
    (logs / "a.json").write_bytes(data)
    ingest(workspace, logs)
    (logs / "a.json").unlink()
    copy(data, logs / "a")
    again = ingest(workspace, logs)
    assert again.known == 1
    assert len(events(workspace)) == count + (copy is _zip)


def test_two_copies_in_one_go_are_one_input(workspace: Workspace, logs: Path) -> None:
    for name in ("a.json", "b.json", "c.json"):
        (logs / name).write_bytes(lines(some(50)))
    _gzip(lines(some(50)), logs / "d")
    summary = ingest(workspace, logs, jobs=2)
    assert (summary.new, summary.known, summary.events) == (1, 3, 50)
    assert len(events(workspace)) == 50


def test_lines_that_are_repeated_within_a_file_are_kept(workspace: Workspace, logs: Path) -> None:
    (logs / "a.json").write_bytes(lines([sysmon(1)] * 7))
    ingest(workspace, logs)
    assert [each.number for each in events(workspace)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("steps", [(1, 2, 30, 500), (400, 401, 402)])
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_file_that_grows_is_gone_on_with(
    workspace: Workspace, logs: Path, steps: tuple[int, ...], is_packed: bool
) -> None:
    path = logs / ("a.gz" if is_packed else "a.json")
    for number, step in enumerate(steps):
        data = lines(some(step))
        path.write_bytes(gzip.compress(data) if is_packed else data)
        summary = ingest(workspace, logs)
        assert (summary.new, summary.grown) == ((1, 0) if not number else (0, 1))
    assert [(each.number, each.record) for each in events(workspace)] == [
        (n + 1, repr(record)) for n, record in enumerate(some(steps[-1]))
    ]
    path.write_bytes(gzip.compress(data) if is_packed else data)
    assert found(workspace) == detected(logs)


def test_a_shorter_copy_adds_nothing(workspace: Workspace, logs: Path) -> None:
    for count in (5, 200, 400):
        (logs / "a.json").write_bytes(lines(some(count)))
        ingest(workspace, logs)
    for count in (5, 200):
        (logs / "a.json").write_bytes(lines(some(count)))
        assert ingest(workspace, logs).known == 1
    assert len(events(workspace)) == 400


class _FormerTracker(contents.Tracker):
    """Knows contents by the digest of earlier versions."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__(chunks)
        self._all = hashlib.blake2b(digest_size=contents.FORMER_DIGEST_BYTES)

    def take(self, size: int) -> bytes:
        data = super().take(size)
        self._all.update(data)
        return data

    def digest(self) -> bytes:
        return self._all.digest()


def test_what_came_in_with_an_earlier_version_is_known(workspace: Workspace, logs: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_module, "Tracker", _FormerTracker)
        for count in (5, 200):
            (logs / "a.json").write_bytes(lines(some(count)))
            ingest(workspace, logs)
        (logs / "b.json").write_bytes(lines(some(3, first=7_000)))
        ingest(workspace, logs)
    again = ingest(workspace, logs)
    assert (again.known, again.new, again.grown, again.events) == (2, 0, 0, 0)
    (logs / "a.json").write_bytes(lines(some(400)))
    grown = ingest(workspace, logs)
    assert (grown.known, grown.new, grown.grown, grown.events) == (1, 0, 1, 200)
    for count in (5, 200, 400):
        (logs / "a.json").write_bytes(lines(some(count)))
        shorter = ingest(workspace, logs)
        assert (shorter.known, shorter.new, shorter.events) == (2, 0, 0)
    (logs / "a.json").write_bytes(lines(some(500)))
    assert ingest(workspace, logs).grown == 1
    assert len(events(workspace)) == 503


def test_a_file_whose_old_part_has_changed_is_new(workspace: Workspace, logs: Path) -> None:
    records = some(300)
    (logs / "a.json").write_bytes(lines(records))
    ingest(workspace, logs)
    records[250]["Image"] = "changed"
    (logs / "a.json").write_bytes(lines(records))
    summary = ingest(workspace, logs)
    assert (summary.new, summary.known, summary.events) == (1, 0, 300)
    assert len(events(workspace)) == 600


def test_what_is_said_of_a_file_is_said_once(workspace: Workspace, logs: Path) -> None:
    (logs / "a.json").write_bytes(lines(some(3)) + b"{broken\n" + lines(some(2)))
    (logs / "b.bin").write_bytes(bytes(range(256)) * 40)
    (logs / "c.json.gz").write_bytes(gzip.compress(lines(some(900)))[:-20])
    (logs / "d.json").write_bytes(b"")
    first = ingest(workspace, logs, logs / "not there")
    assert (first.quarantined, first.empty) == (5, 1)
    again = ingest(workspace, logs, logs / "not there")
    assert (again.quarantined, again.events) == (0, 0)
    said = quarantined(workspace, OPERATOR)
    assert sorted(Path(each.item.file).name for each in said) == [
        *("a.json", "b.bin", "c.json.gz", "c.json.gz", "not there")
    ]
    assert {each.item.record for each in said if each.item.file.endswith("a.json")} == {4}
    grown = lines(some(3)) + b"{broken\n" + lines(some(2)) + b"again}\n" + lines(some(1))
    (logs / "a.json").write_bytes(grown)
    third = ingest(workspace, logs)
    assert (third.quarantined, third.events, third.grown) == (1, 1, 1)
    assert quarantined(workspace, OPERATOR)[0].item.record == 7


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_read_as_a_whole_is_gone_on_with_by_counting(
    workspace: Workspace, logs: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "EPOCH_BYTES", 1)
    head = b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
    head += b"#fields\tts\tuid\tid.orig_h\tquery\n#types\ttime\tstring\taddr\tstring\n"
    rows = [b"%d.5\tC%d\t10.0.0.1\thost%d.example\n" % (1_600_000_000 + n, n, n) for n in range(60_000)]
    path = logs / "dns.log"
    for count in (10, 50_000, 60_000):
        path.write_bytes(head + b"".join(rows[:count]))
        ingest(workspace, logs, jobs=jobs)
    assert [each.number for each in events(workspace)] == list(range(9 - 1, 60_000 + 8))
    assert ingest(workspace, logs, jobs=jobs).known == 1


def test_an_array_that_is_copied_again_adds_nothing(workspace: Workspace, logs: Path) -> None:
    (logs / "a.json").write_bytes(json.dumps(some(700), indent=1).encode())
    ingest(workspace, logs)
    (logs / "b.json").write_bytes(json.dumps(some(700), indent=1).encode())
    assert ingest(workspace, logs).known == 2
    assert [each.number for each in events(workspace)] == list(range(1, 701))


def test_inputs_of_many_units_come_in_their_order(
    workspace: Workspace, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mingjian.sources.contents.UNIT_BYTES", 10_000)
    monkeypatch.setattr(ingest_module, "EPOCH_BYTES", 45_000)
    (logs / "a.json").write_bytes(lines(some(2000))[:-1])
    summary = ingest(workspace, logs, jobs=2)
    assert summary.events == 2000
    assert [(each.number, each.record) for each in events(workspace)] == [
        (n + 1, repr(record)) for n, record in enumerate(some(2000))
    ]
    assert found(workspace) == detected(logs)
    assert ingest(workspace, logs, jobs=2).known == 1


def test_another_process_that_writes_is_not_disturbed(workspace: Workspace, logs: Path) -> None:
    (logs / "a.json").write_bytes(lines(some(10)))
    with open_workspace(workspace.folder) as other, other.writing(), pytest.raises(StateError):
        ingest(workspace, logs)
    assert events(workspace) == []
    assert ingest(workspace, logs).events == 10


def test_late_events_count_in_correlations_as_if_they_had_come_in_time(workspace: Workspace, logs: Path) -> None:
    burst = [sysmon(second, "C:\\whoami.exe") for second in (100, 110, 130, 300)]
    for number, record in enumerate([burst[2], burst[0], burst[3], burst[1]]):
        (logs / f"{number}.json").write_bytes(lines([record]))
        ingest(workspace, logs)
        assert found(workspace) == detected(logs)
    assert sum(row.rule == "several" for row in found(workspace)) == 1


def test_organisations_have_their_inputs_apart(workspace: Workspace, logs: Path) -> None:
    (logs / "a.json").write_bytes(lines(some(20)))
    assert ingest(workspace, logs, organisation="one").new == 1
    assert ingest(workspace, logs, organisation="two").new == 1
    assert ingest(workspace, logs, organisation="one").known == 1
    assert len(events(workspace)) == 40
    assert organisation_named(workspace, OPERATOR, "two").id != organisation_named(workspace, OPERATOR, "one").id


def test_indicators_are_found_in_what_arrives(workspace: Workspace, logs: Path) -> None:
    said = {"how": "is", "written": "w"}
    several = [
        Indicator(kind="file", value="c:\\windows\\tool3.exe", verdict="malicious", confidence=90, **said),
        Indicator(kind="host", value="pc-9", **said),
        Indicator(kind="host", value="pc-2", valid_until_us=1, **said),
    ]
    add_set(workspace, OPERATOR, "feed", several, lists=WarningLists())
    (logs / "a.json").write_bytes(lines(some(40)))
    owner = organisation_named(workspace, OPERATOR, "ours", make=True)
    matcher = Matchers(workspace).current(OPERATOR, organisation=owner.id)
    ingest(workspace, logs, matcher=matcher)
    stored = [each for each in detections(workspace, OPERATOR) if each.detection.kind == "indicator"]
    tools = [each.detection for each in stored if each.detection.rule_id == "file:c:\\windows\\tool3.exe"]
    late = [each.detection for each in stored if each.detection.rule_id == "host:pc-2"]
    records = some(40)
    assert sorted(one.record for one in tools) == [
        n + 1 for n, record in enumerate(records) if record["Image"] == "C:\\Windows\\tool3.exe"
    ]
    assert tools[0].level == "high"
    assert len(late) == sum(record["Hostname"] == "pc-2" for record in records)
    assert {one.atoms for one in late} == {("outside its validity",)}
    assert len(stored) == len(tools) + len(late)
    (set_id,) = matcher.set_ids
    assert uncovered_by_indicators(workspace, OPERATOR, set_id) == []

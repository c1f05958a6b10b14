import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mingjian.errors import LimitExceeded, SchemaError, StorageError
from mingjian.sources import importing
from mingjian.sources.importing import Imported, gather, keep
from mingjian.sources.journalfiles import chunks, damage, journals, recover


def handed(folder: Path, data: bytes, organisation: str = "Ours", step: int = 7) -> Imported:
    file = io.BytesIO()
    gathered = gather((data[start : start + step] for start in range(0, len(data), step)), file)
    return keep(folder, organisation, gathered, file, 5)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_lines_are_kept_whole_however_they_come(tmp_path: Path, step: int) -> None:
    assert handed(tmp_path, b'\n{"a": 1}\r\n\n  \n{"b": 2}', step=step) == Imported(records=2, outcome="kept")
    (journal,) = journals(tmp_path)
    assert b"".join(chunks(journal)) == b'{"a": 1}\n{"b": 2}\n'
    assert journal.sealed
    assert damage(journal) == []
    assert recover(tmp_path) == []


def test_the_same_lines_are_kept_once_for_each_organisation(tmp_path: Path) -> None:
    assert handed(tmp_path, b'{"a": 1}\n').outcome == "kept"
    before = sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir())
    assert handed(tmp_path, b'{"a": 1}').outcome == "repeated"
    assert sorted((path.name, path.read_bytes()) for path in tmp_path.iterdir()) == before
    assert handed(tmp_path, b'{"a": 1}', organisation="Theirs").outcome == "kept"
    assert handed(tmp_path, b'{"a": 2}').outcome == "kept"
    assert len(journals(tmp_path)) == 3


def test_the_journal_of_the_same_lines_is_the_same_whenever_they_come(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        handed(tmp_path / name, b'{"a": 1}\n')
    one, other = (next((tmp_path / name).glob("*.log")) for name in ("first", "second"))
    assert (one.name, one.read_bytes()) == (other.name, other.read_bytes())


def test_what_a_crash_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    handed(tmp_path, b'{"a": 1}\n')
    (journal,) = journals(tmp_path)
    journal.path.with_suffix(".frames").unlink()
    (tmp_path / "import-0.log.part").write_bytes(b"half")
    assert journals(tmp_path) == []
    assert handed(tmp_path, b'{"a": 1}\n').outcome == "kept"
    assert [path.name for path in tmp_path.glob("*.part")] == []
    assert len(journals(tmp_path)) == 1


def test_of_many_at_the_same_time_one_is_kept(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def hand(_: int) -> str:
        barrier.wait()
        return handed(tmp_path, b'{"a": 1}\n' * 100).outcome

    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(pool.map(hand, range(8)))
    assert outcomes == ["kept"] + ["repeated"] * 7
    assert damage(journals(tmp_path)[0]) == []


def test_bounds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "IMPORT_BYTES_MAX", 30)
    with pytest.raises(LimitExceeded, match="IMPORT_BYTES_MAX"):
        gather([b'{"a": 1}\n'] * 4, io.BytesIO())
    with pytest.raises(LimitExceeded, match="IMPORT_BYTES_MAX"):
        gather([b'{"a": "' + b"x" * 40], io.BytesIO())
    monkeypatch.setattr(importing, "IMPORT_RECORDS_MAX", 2)
    with pytest.raises(LimitExceeded, match="IMPORT_RECORDS_MAX"):
        gather([b"{}\n"] * 3, io.BytesIO())


@pytest.mark.parametrize("data", [b"[1, 2]\n", b"a,b\n1,2\n", b"\x1f\x8b\x08\x00\n"])
def test_what_are_no_json_lines_is_refused(data: bytes) -> None:
    with pytest.raises(SchemaError):
        gather([data], io.BytesIO())


def test_nothing_is_kept_if_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(importing.os, "fsync", refuses)
        with pytest.raises(StorageError):
            handed(tmp_path, b'{"a": 1}\n')
    assert journals(tmp_path) == []
    assert handed(tmp_path, b'{"a": 1}\n').outcome == "kept"

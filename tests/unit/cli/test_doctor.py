"""``mingjian doctor``, as a person calls it."""

import json
from pathlib import Path

import pytest

from ingesting import ingest, lines, some
from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.store.workspace import create


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with some events, and in it the current folder."""
    (tmp_path / "a.json").write_bytes(lines(some(50)))
    with create(tmp_path / "w") as workspace:
        ingest(workspace, tmp_path / "a.json")
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def results(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(row["said"] for row in rows)
    return [(row["part"], row["result"]) for row in rows]


ALL_WELL = [("database", "ok"), ("segments", "ok"), ("sightings", "ok")]


def test_a_whole_workspace_is_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == Exit.DONE
    assert results(capsys) == ALL_WELL


def test_the_index_can_be_made_anew(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--rebuild-sightings"]) == Exit.DONE
    out = capsys.readouterr().out
    assert "0 rows were different" in out
    (path,) = (folder / "sightings").glob("*.sightings")
    path.write_bytes(path.read_bytes()[:-100])
    assert run(["doctor"]) == Exit.FAILED
    assert ("sightings", "damaged") in results(capsys)
    assert run(["doctor", "--rebuild-sightings"]) == Exit.DONE
    assert results(capsys)[-1] == ("sightings", "made anew")
    assert run(["doctor"]) == Exit.DONE
    assert results(capsys) == ALL_WELL


def test_damaged_segments_can_be_set_aside(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (folder / "lake").rglob("*.parquet")
    path.write_bytes(b"broken")
    assert run(["doctor", "--rebuild-sightings"]) == Exit.FAILED
    assert ("segments", "damaged") in results(capsys)
    assert run(["doctor", "--set-aside"]) == Exit.DONE
    assert ("segments", "set aside") in results(capsys)
    assert run(["doctor"]) == Exit.DONE
    assert results(capsys)[:2] == ALL_WELL[:2]


def test_a_database_that_cannot_be_read_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "state.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    assert run(["doctor"]) == Exit.FAILED
    out = capsys.readouterr().out
    assert '"damaged"' in out
    assert "backup" in out

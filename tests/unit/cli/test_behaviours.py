"""``mingjian behaviours``, as a person calls it."""

import json
from pathlib import Path

import pytest

from ingesting import ingest, lines
from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.store.workspace import open_workspace

START_S = 20_513 * 86_400


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A workspace with a beacon in it, and in it the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mingjian.cli.behaviours.os.nice", lambda by: by)
    assert run(["init", "w"]) == Exit.DONE
    flows = [
        {
            **{"_path": "conn", "ts": START_S + hour * 3600, "uid": f"C{hour}", "id.orig_h": "10.0.0.9"},
            **{"id.orig_p": 40_000, "id.resp_h": "203.0.113.9", "id.resp_p": 443, "proto": "tcp", "orig_bytes": 640},
        }
        for hour in range(14 * 24)
    ]
    (tmp_path / "conn.jsonl").write_bytes(lines(flows))
    with open_workspace(tmp_path / "w") as workspace:
        ingest(workspace, tmp_path / "conn.jsonl", rules=(), correlations=())
    monkeypatch.chdir(tmp_path / "w")
    capsys.readouterr()
    return tmp_path


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_was_found_is_listed_with_its_terms(
    language: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["behaviours", "--stored", "--format", "jsonl"]) == Exit.DONE
    assert capsys.readouterr().out == ""
    for arguments in (["behaviours"], ["behaviours", "--stored", "--org", "ours"]):
        assert run([*arguments, "--format", "jsonl", "--language", language]) == Exit.DONE
        said = capsys.readouterr()
        (row,) = map(json.loads, said.out.splitlines())
        assert (row["behaviour"], row["count"], row["record"]) == ("beaconing", 336, 1)
        assert ("回连" in row["title"]) == (language == "zh")
        assert sum(int(term.split()[1]) for term in row["terms"]) == row["score"]
        assert ("beaconing 1" in said.err) == (arguments == ["behaviours"])

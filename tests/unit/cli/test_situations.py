"""``mingjian situations``, as a person calls it."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingesting import RULES, ingest, lines, sysmon
from lakes import OPERATOR
from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.store.rules import add_rules
from mingjian.store.workspace import open_workspace

WHOAMI = "C:\\Windows\\whoami.exe"
FILTER = """
title: Not that host
logsource: {product: windows, category: process_creation}
filter:
    rules: [whoami]
    selection: {Hostname: pc-1}
    condition: not selection
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A workspace with two situations, and in it the current folder."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "w"]) == Exit.DONE
    found = [sysmon(10, WHOAMI, host="pc-1"), sysmon(20, WHOAMI, host="pc-1"), sysmon(3000, WHOAMI, host="pc-2")]
    (tmp_path / "a.jsonl").write_bytes(lines(found))
    (tmp_path / "filter.yml").write_text(FILTER)
    with open_workspace(tmp_path / "w") as workspace:
        add_rules(workspace, OPERATOR, RULES)
        ingest(workspace, "a.jsonl", correlations=())
    monkeypatch.chdir(tmp_path / "w")
    capsys.readouterr()
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run(["situations", "list", "--order", "detections", *options]) == Exit.DONE
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def shown(capsys: pytest.CaptureFixture[str], situation: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["situations", "show", situation]) == Exit.DONE
    return json.loads(capsys.readouterr().out)


def test_the_list_says_what_why_and_how_dangerous(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = listed(capsys)
    assert (first["detections"], second["detections"]) == (2, 1)
    assert first["title"] == "Somebody asks who they are on pc-1"
    assert first["why"].startswith("2 detections of 1 rule")
    assert set(first["terms"]) == {"severity", "confidence", "spread", "novelty"}
    assert listed(capsys, "--language", "zh")[0]["title"] == "pc-1：Somebody asks who they are"
    assert [each["hosts"] for each in listed(capsys, "--text", "pc-2")] == [1]
    assert run(["situations", "list", "--fail-on", "high"]) == Exit.FOUND


def test_people_split_merge_undo_and_judge(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (each["id"] for each in listed(capsys))
    members = shown(capsys, first)["members"]
    assert run(["situations", "split", first, members[1]["detection"]["public_id"]]) == Exit.DONE
    assert len(listed(capsys)) == 3
    assert run(["situations", "merge", first, second]) == Exit.DONE
    assert len(listed(capsys)) == 2
    history = shown(capsys, first)["history"]
    for act in [each["public_id"] for each in history if each["can_be_undone"]]:
        assert run(["situations", "undo", act]) == Exit.DONE
    assert len(listed(capsys)) == 2
    assert run(["situations", "comment", first, "asked them"]) == Exit.DONE
    assert run(["situations", "declare", first, "--owner", "Li"]) == Exit.DONE
    capsys.readouterr()
    told = shown(capsys, first)
    assert told["comments"][0]["text"] == "asked them"
    assert told["incidents"][0]["title"] == "Somebody asks who they are on pc-1"
    assert run(["situations", "judge", first, "benign", "--reason", "a test", "--owner", "Li"]) == Exit.DONE
    capsys.readouterr()
    assert [each["id"] for each in listed(capsys)] == [second]
    assert [each["resolution"] for each in listed(capsys, "--state", "closed")] == ["benign"]


def test_a_situation_can_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = listed(capsys)[0]["id"]
    assert run(["situations", "show", first, "--format", "text"]) == Exit.DONE
    told = capsys.readouterr().out
    assert "danger 1.4 = severity 7 × confidence 0.4 × spread 1 × novelty 0.5" in told
    assert "the same host pc-1" in told
    assert "against: the same rule found both" in told
    assert run(["situations", "show", first, "--format", "text", "--language", "zh"]) == Exit.DONE
    assert "反证: 由同一条规则检出" in capsys.readouterr().out
    assert run(["situations", "show", "nothing"]) == Exit.FAILED


def test_a_suppression_is_tried_then_in_force_then_ended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    detection = shown(capsys, listed(capsys)[0]["id"])["members"][0]["detection"]["public_id"]
    assert run(["situations", "draft", detection]) == Exit.DONE
    assert "condition: not selection" in capsys.readouterr().out
    asked = ["situations", "suppress", str(folder / "filter.yml")]
    assert run(asked) == Exit.DONE
    assert "would have hidden 2 detections on 1 hosts" in capsys.readouterr().err
    assert len(listed(capsys)) == 2
    assert run([*asked, "--reason", "a test", "--history"]) == Exit.DONE
    number = capsys.readouterr().out.strip()
    assert len(listed(capsys)) == 1
    assert run(["situations", "suppressions"]) == Exit.DONE
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (row["id"], row["hidden"], row["state"]) == (number, 2, "active")
    assert run(["situations", "end", number, "--take-back"]) == Exit.DONE
    capsys.readouterr()
    assert len(listed(capsys)) == 2

"""``mingjian hunt`` and the rules of a workspace, as a person calls them."""

import json
from pathlib import Path

import pytest

from kept_files import keep_files
from lakes import OPERATOR
from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.workspace import open_workspace

RULE = """\
title: Shell
id: 11111111-1111-4111-8111-111111111111
logsource: {category: process_creation, product: windows}
detection: {selection: {Image|endswith: '\\sh.exe'}, condition: selection}
level: high
"""


def event(day: int, image: str) -> str:
    fields = {"Image": f"C:\\x\\{image}.exe", "UtcTime": f"2025-03-{day:02} 10:00:00.000", "User": "bob"}
    fields |= {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Computer": "dc01"}
    return json.dumps(fields)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A workspace with a process a day, and in it the current folder."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "w"]) == Exit.DONE
    log = tmp_path / "sysmon.json"
    log.write_text("".join(event(day, "sh" if day == 5 else "a") + "\n" for day in range(1, 11)), encoding="utf-8")
    (tmp_path / "rule.yml").write_text(RULE, encoding="utf-8")
    with open_workspace(tmp_path / "w") as workspace:
        organisation = organisation_named(workspace, OPERATOR, "Ours", make=True)
        assert keep_files(workspace, organisation, [log], Router(load_sources()))[0] == 10
    monkeypatch.chdir(tmp_path / "w")
    capsys.readouterr()
    return tmp_path


def result(capsys: pytest.CaptureFixture[str]) -> tuple[list[dict[str, object]], list[str]]:
    said = capsys.readouterr()
    return [json.loads(line) for line in said.out.splitlines()], said.err.splitlines()


def test_a_rule_file_is_looked_for_in_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hunt", "../rule.yml", "--explain"]) == Exit.DONE
    (row,), said = result(capsys)
    assert (row["rule_title"], row["record"], row["host"]) == ("Shell", 5, "dc01")
    assert row["atoms"]
    assert said[0].startswith("1 of 1 segments can match: 10 of 10 events")
    assert said[-1] == "Seen 1 times from 2025-03-01 to 2025-03-10."


def test_an_empty_answer_says_what_was_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hunt", "Image|endswith=\\nc.exe", "User=bob", "--language", "zh"]) == Exit.DONE
    rows, said = result(capsys)
    assert rows == []
    assert said[-1] == "2025-03-01 至 2025-03-10 未见。"


def test_days_and_organisation_narrow_it_down(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hunt", "User=bob", "--since", "2025-03-03", "--until", "2025-03-05", "--org", "ours"]) == Exit.DONE
    rows, said = result(capsys)
    assert [row["record"] for row in rows] == [3, 4, 5]
    assert said[-1] == "Seen 3 times from 2025-03-03 to 2025-03-05."


def test_an_estimate_does_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hunt", "User=bob", "--estimate"]) == Exit.DONE
    rows, said = result(capsys)
    assert rows == []
    assert len(said) == 1


def test_what_was_checked_for_gives_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hunt", "../rule.yml", "--fail-on", "high"]) == Exit.FOUND
    assert run(["hunt", "../rule.yml", "--fail-on", "critical"]) == Exit.DONE


def test_a_report_can_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["hunt", "../rule.yml", "--format", "html", "--output", "r.html"]) == Exit.DONE
    assert "Shell" in Path("r.html").read_text(encoding="utf-8")


def test_a_damaged_segment_is_named_and_gives_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_workspace(folder / "w") as workspace:
        row = live_segments(workspace, OPERATOR)[0]
        (workspace.lake / row.path).write_bytes(b"broken")
    assert run(["hunt", "../rule.yml"]) == Exit.QUARANTINED
    assert "damaged" in result(capsys)[1][-1]


def test_new_rules_are_run_over_history_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "add", "../rule.yml"]) == Exit.DONE
    assert capsys.readouterr().out.startswith("1 rules are new (0 of them changed), 0 were there already")
    assert run(["hunt", "--pending"]) == Exit.DONE
    assert capsys.readouterr().out.startswith("1 segments, 10 events: 1 detections")
    assert run(["hunt", "--pending"]) == Exit.DONE
    assert "nothing is waiting" in capsys.readouterr().err
    assert run(["rules", "list"]) == Exit.DONE
    (row,), _ = result(capsys)
    assert (row["title"], row["segments_run"]) == ("Shell", "1 of 1")
    assert run(["rules", "remove", str(row["rule_id"])]) == Exit.DONE
    capsys.readouterr()
    assert run(["rules", "list"]) == Exit.DONE
    assert result(capsys)[0] == []


def test_indicators_of_a_file_are_looked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "feed.txt").write_text("C:\\x\\sh.exe\nevil.example\n", encoding="utf-8")
    assert run(["hunt", "--indicators", "../feed.txt"]) == Exit.DONE
    rows, said = result(capsys)
    assert {(row["kind"], row["record"]) for row in rows} == {("indicator", 5)}
    assert said[0].startswith("2 indicators")
    assert said[-1].startswith("Seen 1 times from 2025-03-01 to 2025-03-10, except: no source of domain")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pending", "User=bob"],
        ["../rule.yml", "User=bob"],
        ["nowhere.yml"],
        ["a|nonsense=1"],
        ["--indicators", "x", "User=bob"],
    ],
)
def test_what_cannot_be_meant_is_refused(folder: Path, arguments: list[str]) -> None:
    assert run(["hunt", *arguments]) == Exit.WRONG_USE


def test_either_ids_or_all_is_needed_to_remove_rules(folder: Path) -> None:
    assert run(["rules", "remove", "--all", "x"]) == Exit.WRONG_USE
    assert run(["rules", "remove", "nothing"]) == Exit.FAILED

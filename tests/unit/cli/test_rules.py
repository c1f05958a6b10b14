"""``mingjian rules check`` as a program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mingjian.cli.main import run

GOOD = "title: g\nid: gid\nlogsource: {product: windows}\ndetection: {s: {F: 1}, condition: s}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.yml").write_text(GOOD)
    (rules / "b.yml").write_text(GOOD.replace("gid", "bid").replace("F: 1", "'F|expand': '%p%'"))
    (rules / "c.yml").write_text(GOOD.replace("gid", "cid").replace("windows", "toaster"))
    return rules


def test_every_rule_has_a_row_and_the_counts_add_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "check", str(folder), "--format", "jsonl"]) == 0
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert [(row["rule_id"], row["state"]) for row in rows] == [("gid", "loaded"), ("bid", "skipped"), ("cid", "unfed")]
    assert all({"rule_id", "file", "state", "reason", "sources"} <= set(row) for row in rows)
    assert rows[0]["sources"]
    assert "'%p%'" in rows[1]["reason"]
    assert "3 files: 1 loaded, 1 unfed, 1 skipped" in shown.err


@pytest.mark.parametrize("how", ["table", "csv"])
def test_the_list_can_be_a_table_or_csv(folder: Path, how: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "check", str(folder), "--format", how]) == 0
    assert "rule_id" in capsys.readouterr().out


def test_strict_leaves_with_1_if_something_was_skipped(folder: Path) -> None:
    assert run(["rules", "check", str(folder), "--strict"]) == 1
    assert run(["rules", "check", str(folder / "a.yml"), "--strict"]) == 0


def test_placeholders_and_pipelines_are_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p.json").write_text('{"p": ["v"]}')
    (folder / "x.txt").write_text("transformations: [{type: change_logsource, product: linux}]")
    options = ["--placeholders", str(folder / "p.json"), "--pipeline", str(folder / "x.txt")]
    assert run(["rules", "check", str(folder), *options, "--format", "jsonl"]) == 0
    assert "3 files: 3 loaded, 0 unfed, 0 skipped" in capsys.readouterr().err


def test_wrong_use_says_what_and_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "check", str(folder / "nothing")]) == 2
    assert "nothing" in capsys.readouterr().err
    (folder / "x.txt").write_text("transformations: [{type: command_placeholders}]")
    assert run(["rules", "check", str(folder), "--pipeline", str(folder / "x.txt")]) == 2
    assert "not allowed" in capsys.readouterr().err

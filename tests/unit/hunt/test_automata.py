"""Compiled rule sets on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from mingjian.formats.records import RecordBlock
from mingjian.hunt import automata
from mingjian.hunt.automata import engine_for
from mingjian.model.rules import ANY, LogSource, Regex, Rule, Text
from mingjian.model.sources import Layout, Stream, View

RULES = [
    Rule(id="1", title="t", file="f", logsource=LogSource(), condition=Text("a", (ANY, "abc", ANY)), content_hash="1"),
    Rule(id="2", title="t", file="f", logsource=LogSource(), condition=Regex("a", "x+y"), content_hash="2"),
]
VIEW = View(Stream(name="s", source="x", family="f"), Layout(name="l", family="f"))
BLOCK = RecordBlock("evtx", [1, 2, 3], [{"a": "xABCx"}, {"a": "xxy"}, {"a": "no"}])
EXPECTED = [(0, 0), (1, 1)]


def test_the_second_start_compiles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    assert engine_for(RULES, folder).match(VIEW, BLOCK) == EXPECTED
    assert folder.stat().st_mode & 0o077 == 0

    def refuse(rules: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(automata, "compile_rules", refuse)
    monkeypatch.setattr("mingjian.detect.matcher._compiled", refuse)
    assert engine_for(RULES, folder).match(VIEW, BLOCK) == EXPECTED


def test_other_rules_have_another_file(tmp_path: Path) -> None:
    engine_for(RULES, tmp_path)
    engine_for(RULES[:1], tmp_path)
    assert len(list(tmp_path.glob("*.compiled"))) == 2


def test_whatever_happens_to_the_file_the_answer_is_the_same(tmp_path: Path) -> None:
    engine_for(RULES, tmp_path)
    (path,) = tmp_path.glob("*.compiled")
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), max(1, len(whole) // 40))]
    for at in range(0, len(whole), max(1, len(whole) // 60)):
        damaged.append(whole[:at] + bytes([whole[at] ^ 0x41]) + whole[at + 1 :])
    for data in damaged:
        path.write_bytes(data)
        assert engine_for(RULES, tmp_path).match(VIEW, BLOCK) == EXPECTED


def test_old_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automata, "FILES_KEPT_MAX", 2)
    for count in range(4):
        rules = [
            Rule(
                id=str(n), title="t", file="f", logsource=LogSource(), condition=Text("a", ("x",)), content_hash=str(n)
            )
            for n in range(count + 1)
        ]
        engine_for(rules, tmp_path)
    assert len(list(tmp_path.glob("*.compiled"))) == 2


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert engine_for(RULES, blocked / "cache").match(VIEW, BLOCK) == EXPECTED

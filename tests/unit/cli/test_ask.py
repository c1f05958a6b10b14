"""``mingjian ask`` and ``mingjian record``, as a person calls them."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingesting import ingest, lines, some
from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.store.workspace import open_workspace

HOSTILE = "C:\\x\\<script>alert(1)</script>.exe"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A workspace with forty processes on three hosts, and in it the current folder."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "w"]) == Exit.DONE
    records = some(40)
    records[7]["Image"] = HOSTILE
    (tmp_path / "a.jsonl").write_bytes(lines(records))
    with open_workspace(tmp_path / "w") as workspace:
        ingest(workspace, "a.jsonl")
    monkeypatch.chdir(tmp_path / "w")
    capsys.readouterr()
    return tmp_path


def card(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run(["ask", *arguments]) == Exit.DONE
    return json.loads(capsys.readouterr().out)


def test_the_card_has_every_field_that_was_promised(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = card(capsys, "C:\\Windows\\whoami.exe")
    promised = (
        *("observable", "kind", "seen", "count", "first", "last", "hosts", "accounts", "verdict", "score", "terms"),
        *("timeline", "coverage"),
    )
    assert set(promised) <= set(found)
    assert (found["kind"], found["observable"], found["count"]) == ("file", "c:\\windows\\whoami.exe", 4)
    assert (found["first"], found["last"]) == ("2026-03-01T10:00:03.000000Z", "2026-03-01T10:00:33.000000Z")
    assert found["hosts"] == ["pc-0", "pc-1", "pc-2"]
    assert sum(term["points"] for term in found["terms"]) == found["score"]


def test_a_host_is_asked_about_with_what_was_found_on_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = card(capsys, "pc-0")
    assert (found["kind"], found["seen"], found["count"]) == ("host", True, 14)
    steps = [step for step in found["timeline"] if step["kind"] == "detection"]
    assert {(step["rule"], step["count"]) for step in steps} == {("whoami", 2)}
    chain = found["chain"]
    assert [step["tactic"] for step in chain if not step["is_inferred"]] == ["discovery"]
    assert "execution" in [step["tactic"] for step in chain if step["is_inferred"]]


def test_every_step_names_the_command_that_shows_its_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = card(capsys, "C:\\Windows\\whoami.exe")
    step = found["timeline"][0]
    program, command, pointer, *rest = step["evidence"]["command"].split()
    assert (program, command) == ("mingjian", "record")
    assert run([command, pointer, *rest]) == Exit.DONE
    said = capsys.readouterr()
    assert json.loads(said.out)["Image"] == "C:\\Windows\\whoami.exe"
    assert said.err.startswith("ours: windows/sysmon/1 ")


def test_what_was_never_seen_is_said_with_what_could_not_be_seen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = card(capsys, "evil.example")
    assert (found["seen"], found["count"], found["verdict"]) == (False, 0, "unknown")
    assert str(found["coverage"]).startswith("Not seen from 2026-03-01 to 2026-03-01")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_person_reads_it_in_words(language: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "pc-0", "--format", "text", "--language", language]) == Exit.DONE
    said = capsys.readouterr().out
    for heading in (
        ("WHO", "FRIEND OR FOE", "WHAT", "WHAT COULD NOT") if language == "en" else ("谁", "是敌是友", "哪些看不到")
    ):
        assert heading in said


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_keeps_text_from_outside_text(language: str, folder: Path) -> None:
    assert run(["ask", "pc-1", "-f", "html", "-o", "card.html", "--language", language]) == Exit.DONE
    page = Path("card.html").read_text(encoding="utf-8")
    assert "alert(1)" in page
    assert "<script" not in page
    assert "default-src &#39;none&#39;" in page


@pytest.mark.parametrize("arguments", [("x", "--kind", "colour"), ("not an address", "--kind", "ip"), ("",)])
def test_what_cannot_be_asked_is_wrong_use(
    arguments: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ask", *arguments]) == Exit.WRONG_USE


@pytest.mark.parametrize("pointer", ["nothing", "no-such-file:1", "a.jsonl:4000"])
def test_a_pointer_to_nothing_is_an_error(pointer: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["record", pointer]) == Exit.FAILED

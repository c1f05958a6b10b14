"""``mingjian sources``."""

import json
from pathlib import Path

import pytest
from typer.main import get_command

from mingjian import settings
from mingjian.cli.exits import Exit
from mingjian.cli.sources import app

SAMPLES = Path(__file__).parents[2] / "samples" / "windows"
OWN = b"""
id: my-edr
title: {en: Our EDR}
layouts: [{name: json, recognise: {present: [edr.sensor]}}]
time: [edr.ts]
streams: [{name: my-edr/all, logsources: [{product: linux}]}]
"""


def run(*arguments: str, folder: Path) -> int:
    command = get_command(app)
    chosen = settings.load(folder, {"XDG_CACHE_HOME": str(folder)})
    with command.make_context("mingjian sources", list(arguments), obj=chosen) as context:
        return int(command.invoke(context))


def test_list_gives_one_row_for_each_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "--format", "jsonl", folder=tmp_path) == Exit.DONE
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    by_stream = {row["stream"]: row for row in rows}
    assert by_stream["windows/sysmon/1"] == {
        "source": "windows-sysmon",
        "stream": "windows/sysmon/1",
        "logsources": ["windows/*/sysmon", "windows/process_creation/*"],
    }


def test_check_counts_events_by_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(SAMPLES / "flat.jsonl"), "--format", "jsonl", folder=tmp_path) == Exit.DONE
    printed = capsys.readouterr()
    counts = {row["stream"]: row["events"] for row in map(json.loads, printed.out.splitlines())}
    assert counts == {"windows/security/4688": 2, "windows/sysmon/1": 1, "windows/powershell-classic/400": 1}
    assert "4 events in 3 streams; 0 that no source takes" in printed.err


def test_check_as_a_table_gives_counts_where_names_have_no_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert run("check", str(SAMPLES / "flat.jsonl"), "--format", "table", folder=tmp_path) == Exit.DONE
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines() if "windows/sysmon/1" in line]
    assert row[:3] == ["windows/sysmon/1", "flat", "1"]
    assert row[-1].isdigit()


def test_the_stub_can_be_given_back_as_a_definition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "my.jsonl"
    log.write_text('{"edr":{"sensor":"pc-7","ts":"2026-03-05T10:00:00Z"}}\n')
    assert run("check", str(log), "--stub", folder=tmp_path) == Exit.DONE
    stub = tmp_path / "stub.yml"
    stub.write_text(capsys.readouterr().out)
    assert run("check", str(log), "--sources", str(stub), "--format", "jsonl", folder=tmp_path) == Exit.DONE
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["source"], row["time"], row["host"]) == ("my-source", "100 %", "100 %")


def test_own_definitions_are_listed_and_bad_ones_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "good.yml").write_bytes(OWN)
    (tmp_path / "own" / "bad.yml").write_bytes(OWN.replace(b"present", b"presnt"))
    assert run("list", "--sources", str(tmp_path / "own"), "--format", "csv", folder=tmp_path) == Exit.FAILED
    printed = capsys.readouterr()
    assert "my-edr,my-edr/all,linux/*/*" in printed.out
    assert "layouts[0].recognise" in printed.err
    assert "presnt" in printed.err


def test_input_that_cannot_be_read_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "broken.jsonl"
    log.write_text('{"Channel":"Security","EventID":4688}\n{"Channel":\n{"Channel":"Security","EventID":4688}\n')
    assert run("check", str(log), str(tmp_path / "nowhere"), "--format", "jsonl", folder=tmp_path) == Exit.QUARANTINED
    printed = capsys.readouterr()
    assert json.loads(printed.out)["events"] == 2
    assert "broken.jsonl:2" in printed.err
    assert "no such file" in printed.err

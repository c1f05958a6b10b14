"""The command ``detect``, from arguments to exit code and rows."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from mingjian.cli.exits import Exit
from mingjian.cli.main import run

RULE = """
title: {title}
id: {id}
level: {level}
tags: [attack.t1033, attack.discovery]
logsource: {{product: windows, category: process_creation}}
detection:
    selection:
        Image|endswith: '\\{image}.exe'
    condition: selection
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with rules and a log, as the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    rule = RULE.format(title="=whoami", id="5f0c1e2a-8f6d-4a35-9d0a-2f5f3b7a9c11", level="high", image="whoami")
    (tmp_path / "rules" / "a.yml").write_text(rule)
    rule = RULE.format(title="net", id="6f0c1e2a-8f6d-4a35-9d0a-2f5f3b7a9c12", level="low", image="net")
    (tmp_path / "rules" / "b.yml").write_text(rule)
    (tmp_path / "rules" / "c.yml").write_text("title: broken\n")
    sysmon = {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "UtcTime": "2026-01-02 03:04:05.678"}
    events = [{**sysmon, "Image": image, "Computer": "pc1"} for image in ("C:\\whoami.exe", "C:\\net.exe", "C:\\x.exe")]
    (tmp_path / "log.json").write_text("\n".join(map(json.dumps, events)) + "\n")
    return tmp_path


def test_rows_come_as_json_lines_and_the_summary_goes_to_stderr(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["detect", "--rules", "rules", "log.json"]) is Exit.DONE
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert rows[0] == {
        "time": "2026-01-02T03:04:05.678000Z",
        "level": "high",
        "rule_id": "5f0c1e2a-8f6d-4a35-9d0a-2f5f3b7a9c11",
        "rule_title": "=whoami",
        "kind": "rule",
        "attack": ["T1033"],
        "host": "pc1",
        "account": "",
        "stream": "windows/sysmon/1",
        "file": "log.json",
        "record": 1,
        "matched": {"Image": "C:\\whoami.exe"},
    }
    assert [row["rule_title"] for row in rows] == ["=whoami", "net"]
    for said in ("1 files, 3 events", "0 quarantined", "2 loaded, 1 skipped, 2 fired", "hits: 2 (high 1, low 1)"):
        assert said in captured.err
    assert "noisiest: " in captured.err
    assert "slowest: " in captured.err


def test_level_explain_and_fail_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["detect", "--rules", "rules", "--level", "high", "--explain", "log.json"]
    assert run([*arguments, "--fail-on", "high"]) is Exit.FOUND
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["atoms"] == ["Image = '*\\\\whoami.exe'"]
    assert run([*arguments, "--fail-on", "critical"]) is Exit.DONE


def test_csv_disarms_formulas(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detect", "--rules", "rules", "--format", "csv", "log.json"]) is Exit.DONE
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert rows[0]["rule_title"] == "'=whoami"
    assert rows[0]["record"] == "1"


def test_output_goes_to_a_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detect", "--rules", "rules", "--output", "out.jsonl", "log.json"]) is Exit.DONE
    assert not capsys.readouterr().out
    assert len((place / "out.jsonl").read_text().splitlines()) == 2


def test_unreadable_input_shows_in_the_exit_code_and_can_be_kept(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (place / "log.json").open("a") as stream:
        stream.write('{"broken\n')
    assert run(["detect", "--rules", "rules", "--quarantine", "bad.jsonl", "log.json"]) is Exit.QUARANTINED
    assert "quarantined: log.json:4: " in capsys.readouterr().err
    (entry,) = map(json.loads, (place / "bad.jsonl").read_text().splitlines())
    assert (entry["file"], entry["record"], entry["data"]) == ("log.json", 4, "eyJicm9rZW4=")


@pytest.mark.parametrize("rules", ["absent", "log.json"])
def test_rules_that_cannot_be_used_stop_the_run(place: Path, rules: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detect", "--rules", rules, "log.json"]) is Exit.WRONG_USE
    assert "mingjian: " in capsys.readouterr().err


def test_explaining_a_rule_from_the_row(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "explain", "rules/a.yml", "--event", "log.json:2", "--format", "text"]) is Exit.DONE
    said = capsys.readouterr().out
    assert "did not fire" in said
    assert "✗ Image = '*\\\\whoami.exe'   ['C:\\\\net.exe']" in said
    assert run(["rules", "explain", "rules/a.yml", "--event", "log.json:1"]) is Exit.DONE
    assert json.loads(capsys.readouterr().out)["fired"] is True
    assert run(["rules", "explain", "net", "--rules", "rules", "--event", "log.json:2"]) is Exit.DONE
    assert json.loads(capsys.readouterr().out)["fired"] is True
    assert run(["rules", "explain", "nobody", "--rules", "rules", "--event", "log.json:1"]) is Exit.FAILED
    assert "nobody" in capsys.readouterr().err
    assert run(["rules", "explain", "rules/a.yml", "--event", "log.json"]) is Exit.WRONG_USE
    assert run(["rules", "explain", "rules/a.yml", "--event", "log.json:9"]) is Exit.FAILED


def test_placeholders_of_the_settings_file_are_used(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = (place / "rules" / "a.yml").read_text().replace("Image|endswith: '\\whoami.exe'", "Image|expand: '%tools%'")
    (place / "rules" / "a.yml").write_text(rule)
    (place / "rules" / "b.yml").unlink()
    assert run(["detect", "--rules", "rules", "log.json"]) is not Exit.DONE or capsys.readouterr().out == ""
    (place / "values.yml").write_text("tools: ['C:\\whoami.exe']\n")
    (place / "mingjian.toml").write_text('placeholders = "values.yml"\n')
    capsys.readouterr()
    assert run(["detect", "--rules", "rules", "log.json"]) is Exit.DONE
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_detections_come_as_findings_of_ocsf(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["detect", "--rules", "rules", "--format", "ocsf", "log.json"]) is Exit.DONE
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["class_uid"], each["severity_id"], each["message"]) for each in findings] == [
        (2004, 4, "=whoami"),
        (2004, 2, "net"),
    ]
    assert findings[0]["finding_info"]["uid"] == "log.json:1:5f0c1e2a-8f6d-4a35-9d0a-2f5f3b7a9c11"
    assert findings[0]["metadata"]["version"] == "1.9.0-dev"

"""``mingjian sample``: what it writes, says and refuses."""

import json
from pathlib import Path

import pytest

from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.sample.generate import read_truth

SMALL = ["--organisations", "1", "--days", "1", "--events-per-day", "8000"]


def test_it_makes_logs_and_lists_how_many_events_of_which_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "sector"
    assert run(["sample", *SMALL, "--seed", "3", "--start", "2025-07-01", "--output", str(output)]) is Exit.DONE
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    sources = {"audit", "fortigate", "nginx", "squid", "syslog", "vsftpd", "winlogbeat", "zeek"}
    assert {row["source"] for row in rows} == sources
    assert sum(row["events"] for row in rows) > 5000
    assert "planted events of 12 steps" in shown.err
    assert list(output.glob("logs/*/winlogbeat/2025-07-01.jsonl"))
    assert {row.campaign for row in read_truth(output) if row.kind == "planted"} == {"intrusion"}


def test_without_campaigns_nothing_is_planted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sample", *SMALL, "--no-campaigns", "--output", str(tmp_path / "quiet")]) is Exit.DONE
    assert [row for row in read_truth(tmp_path / "quiet") if row.kind == "planted"] == []
    assert "0 planted events of 0 steps" in capsys.readouterr().err


def test_a_chosen_campaign_is_the_only_one(tmp_path: Path) -> None:
    arguments = ["--organisations", "2", "--days", "1", "--events-per-day", "8000", "--campaign", "insider"]
    assert run(["sample", *arguments, "--output", str(tmp_path / "one")]) is Exit.DONE
    assert {row.campaign for row in read_truth(tmp_path / "one") if row.kind == "planted"} == {"insider"}


@pytest.mark.parametrize(
    "wrong", [["--campaign", "burglary"], ["--days", "0"], ["--start", "soon"], ["--organisations", "999"]]
)
def test_what_cannot_be_made_is_wrong_use_and_nothing_is_written(
    tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sample", *wrong, "--output", str(tmp_path / "none")]) is Exit.WRONG_USE
    assert not (tmp_path / "none").exists()
    assert capsys.readouterr().err.startswith("mingjian:")

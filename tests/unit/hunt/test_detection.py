"""Whole runs over files: the same rows in any cut, order, company and number of processes."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from mingjian.detect.engine import Engine
from mingjian.hunt.detection import Run, Summary
from mingjian.model.blocks import Quarantined
from mingjian.model.detections import Detection
from mingjian.model.rules import ANY, Correlation, Level, LogSource, Null, Number, Rule, Text
from mingjian.sources import files
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

WINDOWS = LogSource("windows")
RULES = (
    Rule(
        id="whoami",
        title="Somebody asks who they are",
        file="r.yml",
        level="high",
        attack=("T1033",),
        logsource=LogSource("windows", "process_creation"),
        condition=Text("Image", (ANY, "\\whoami.exe")),
    ),
    Rule(
        id="failed",
        title="Failed logon",
        file="r.yml",
        level="low",
        logsource=WINDOWS,
        condition=Number("EventID", 4625),
    ),
)


def sysmon(number: int, image: str) -> dict:
    """A process creation as NXLog writes it."""
    return {
        "EventTime": "2026-03-01 10:00:00",
        "UtcTime": f"2026-03-01 10:{number // 60 % 60:02}:{number % 60:02}.000",
        "Channel": "Microsoft-Windows-Sysmon/Operational",
        "EventID": 1,
        "SourceName": "Microsoft-Windows-Sysmon",
        "Hostname": f"pc{number % 3}.example.org",
        "Image": image,
        "User": "EXAMPLE\\alice",
    }


def logon(number: int, user: str = "bob", event: int = 4625) -> dict:
    """A logon event as NXLog writes it."""
    return {
        "EventTime": "2026-03-01 12:00:00",
        "@timestamp": f"2026-03-01T12:{number // 60 % 60:02}:{number % 60:02}.000Z",
        "Channel": "Security",
        "EventID": event,
        "SourceName": "Microsoft-Windows-Security-Auditing",
        "Hostname": "dc1.example.org",
        "TargetUserName": user,
    }


def lines(events: Sequence[dict | str]) -> bytes:
    """Events as JSON lines; text stands for itself."""
    return b"".join((each if isinstance(each, str) else json.dumps(each)).encode() + b"\n" for each in events)


def run(
    paths: Sequence[Path],
    jobs: int = 1,
    rules: Sequence[Rule] = RULES,
    correlations: Sequence[Correlation] = (),
    level: Level = "informational",
) -> tuple[list[Detection], Summary, list[Quarantined]]:
    """One run, everything that came of it."""
    bad: list[Quarantined] = []
    made = Run(
        rules,
        correlations,
        Engine(rules),
        Router(load_sources()),
        level=level,
        explain=True,
        jobs=jobs,
        on_quarantined=bad.append,
    )
    summary = made.execute([str(path) for path in paths])
    found = list(made.detections())
    made.close()
    return found, summary, bad


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two hundred events with some hits, some broken lines, in two files."""
    random.seed(1)
    events: list[dict | str] = [
        sysmon(n, "C:\\Windows\\whoami.exe" if n % 17 == 0 else "C:\\x.exe") for n in range(150)
    ]
    events[40] = "{broken"
    events[90] = ""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.json").write_bytes(lines(events))
    (tmp_path / "logs" / "b.json").write_bytes(lines([logon(n) for n in range(50)]))
    return tmp_path / "logs"


def test_rows_say_what_when_where_and_why(folder: Path) -> None:
    found, summary, bad = run([folder])
    first = found[0]
    assert (first.rule_id, first.level, first.record, first.attack) == ("whoami", "high", 1, ("T1033",))
    assert first.file == str(folder / "a.json")
    assert first.host == "pc0.example.org"
    assert first.account == "EXAMPLE\\alice"
    assert first.matched == {"Image": "C:\\Windows\\whoami.exe"}
    assert first.atoms == ("Image = '*\\\\whoami.exe'",)
    assert [each.record for each in found if each.rule_id == "whoami"] == [1 + n for n in range(0, 150, 17)]
    assert [(each.record, each.data) for each in bad] == [(41, b"{broken")]
    assert (summary.files, summary.events, summary.quarantined) == (2, 198, 1)
    assert summary.hits_by_level == {"high": 9, "low": 50}
    assert summary.rules_fired == 2
    assert [each.rule_id for each in summary.noisiest] == ["failed", "whoami"]


def test_a_level_leaves_out_what_is_lower(folder: Path) -> None:
    found, summary, _ = run([folder], level="medium")
    assert {each.rule_id for each in found} == {"whoami"}
    assert summary.hits_by_level == {"high": 9}


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_ranges_and_processes_change_nothing(folder: Path, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run([folder])
    monkeypatch.setattr(files, "RANGE_BYTES_MIN", 1000)
    monkeypatch.setattr(files, "RANGE_BYTES_MAX", 1500)
    found, summary, bad = run([folder], jobs)
    assert (found, bad) == (expected[0], expected[2])
    assert summary.events == expected[1].events
    assert summary.bytes == expected[1].bytes
    assert summary.events_by_stream == expected[1].events_by_stream


def test_order_and_company_change_no_row(folder: Path, tmp_path: Path) -> None:
    alone = run([folder / "a.json"])[0]
    other = tmp_path / "other.json"
    other.write_bytes(lines([{"unrelated": n, "Image": 5} for n in range(30)]))
    together = run([other, folder / "b.json", folder / "a.json"])[0]
    assert [each for each in together if each.file == str(folder / "a.json")] == alone


def test_a_compressed_file_has_the_same_records(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "a.json.gz"
    packed.write_bytes(gzip.compress((folder / "a.json").read_bytes()))
    plain, there = run([folder / "a.json"])[0], run([packed])[0]
    assert [(each.record, each.matched, each.time_us) for each in plain] == [
        (each.record, each.matched, each.time_us) for each in there
    ]
    assert there[0].file.startswith(str(packed))


def test_what_is_not_there_is_quarantined_by_name(tmp_path: Path) -> None:
    found, summary, bad = run([tmp_path / "absent"])
    assert not found
    assert summary.quarantined == 1
    assert bad[0].file == str(tmp_path / "absent")


SPRAY = Correlation(
    id="spray",
    title="Many failed logons",
    file="c.yml",
    level="critical",
    attack=("T1110",),
    type="event_count",
    rules=("failed",),
    group_by=("TargetUserName",),
    timespan_s=60,
    bounds=(("gte", 20),),
)


@pytest.mark.parametrize("jobs", [1, 2])
def test_correlations_see_the_matches_of_all_files_in_order_of_time(tmp_path: Path, jobs: int) -> None:
    # Twenty failures within a minute, spread over three files in no order.
    events = [logon(n) for n in range(20)]
    random.Random(7).shuffle(events)
    for part in range(3):
        (tmp_path / f"{part}.json").write_bytes(lines(events[part::3]))
    found, _, _ = run([tmp_path], jobs, correlations=[SPRAY])
    (one,) = [each for each in found if each.kind == "correlation"]
    assert (one.rule_id, one.level, one.attack) == ("spray", "critical", ("T1110",))
    assert one.matched["TargetUserName"] == "bob"
    assert one.matched["count"] == "20"
    fewer, _, _ = run([tmp_path / "0.json", tmp_path / "1.json"], jobs, correlations=[SPRAY])
    assert not [each for each in fewer if each.kind == "correlation"]


def test_a_rule_that_only_feeds_correlations_is_not_reported(tmp_path: Path) -> None:
    import msgspec

    hidden = msgspec.structs.replace(RULES[1], hidden=True)
    (tmp_path / "x.json").write_bytes(lines([logon(n) for n in range(20)]))
    found, _, _ = run([tmp_path], rules=[hidden], correlations=[SPRAY])
    assert [each.rule_id for each in found] == ["spray"]


def test_an_event_without_a_time_comes_last_and_cannot_be_correlated(tmp_path: Path) -> None:
    rule = Rule(id="any", title="t", file="f", logsource=LogSource(), condition=Null("absent"))
    (tmp_path / "x.json").write_bytes(lines([{"x": 1}, sysmon(1, "a")]))
    found, _, _ = run([tmp_path], rules=[rule])
    assert [each.record for each in found] == [2, 1]
    assert found[1].time_us is None

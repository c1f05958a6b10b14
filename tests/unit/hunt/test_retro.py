"""Rules over all of history, by and by: what is missing is run once, whatever interrupts it."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from lakes import OPERATOR, kept
from mingjian.hunt import retro as retro_module
from mingjian.hunt.retro import JobOutcome, Retro, Stopped
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.sources.definitions import load_sources
from mingjian.store import coverage, jobs
from mingjian.store import tables as t
from mingjian.store.catalogue import Organisation, live_segments, organisation_named
from mingjian.store.detections import detections
from mingjian.store.merging import Merge, merge
from mingjian.store.rules import add_rules, live_rules, set_of
from mingjian.store.workspace import Workspace, create, open_workspace

RULES = """\
title: Shell
id: 11111111-1111-4111-8111-111111111111
logsource: {category: process_creation, product: windows}
detection: {selection: {Image|endswith: '\\sh.exe'}, condition: selection}
level: high
---
title: Any
id: 22222222-2222-4222-8222-222222222222
name: any
logsource: {category: process_creation, product: windows}
detection: {selection: {Image|contains: '\\'}, condition: selection}
"""
CORRELATION = """\
---
title: Many on one host
id: 33333333-3333-4333-8333-333333333333
correlation:
    type: event_count
    rules: [any]
    group-by: [Computer]
    timespan: 1h
    condition: {gte: 3}
    generate: true
"""
STREAM = {"stream": "windows/sysmon/1", "layout": "flat"}
DAYS = range(100, 104)
EVENTS_A_DAY = 4


def process(image: str, number: int, day: int = 0) -> dict[str, object]:
    moment = datetime.datetime.fromtimestamp(day * 86_400 + number, datetime.UTC)
    return {
        "UtcTime": moment.strftime("%Y-%m-%d %H:%M:%S.000"),
        "Channel": "Microsoft-Windows-Sysmon/Operational",
        "EventID": 1,
        "Computer": f"host{number % 2}",
        "Image": f"C:\\x\\{image}.exe",
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "workspace") as made:
        yield made


@pytest.fixture
def organisation(workspace: Workspace) -> Organisation:
    return organisation_named(workspace, OPERATOR, "Ours", make=True)


@pytest.fixture
def lake(workspace: Workspace, organisation: Organisation) -> Workspace:
    for day in DAYS:
        images = ["sh", "a", "b", "sh"]
        records = [process(image, number, day) for number, image in enumerate(images)]
        kept(workspace, organisation, records, day=day, **STREAM)
    kept(workspace, organisation, [{"Image": "C:\\sh.exe"}], day=101, stream="zeek/dns", layout="json")
    return workspace


def book_of(folder: Path, text: str) -> Rulebook:
    path = folder / "rules.yml"
    path.write_text(text, encoding="utf-8")
    return load_rulebook([path])


def added(workspace: Workspace, folder: Path, text: str = RULES) -> None:
    book = book_of(folder, text)
    assert not book.skipped
    new = add_rules(workspace, OPERATOR, book.rules, book.correlations).new
    if new:
        jobs.queue(workspace, OPERATOR, "rules", rule_set_id=set_of(workspace, OPERATOR, new))


def retro(workspace: Workspace, stops_after: int | None = None) -> Retro:
    asked = iter(range(stops_after or 0))
    stop = (lambda: next(asked, None) is None) if stops_after is not None else (lambda: False)
    return Retro(workspace, OPERATOR, load_sources(), None, should_stop=stop)


def ran(workspace: Workspace) -> list[JobOutcome]:
    done = retro(workspace).run_pending()
    assert done is not None
    return done


def found(workspace: Workspace) -> list[tuple[str, int | None, int]]:
    every = detections(workspace, OPERATOR)
    return sorted((each.detection.rule_title, each.day, each.detection.record) for each in every)


def uncovered(workspace: Workspace) -> int:
    versions = live_rules(workspace, OPERATOR).versions.values()
    return sum(len(each.segments) for each in coverage.uncovered_by_rules(workspace, OPERATOR, list(versions)))


EXPECTED = sorted(
    [("Any", day, number) for day in DAYS for number in range(1, 5)]
    + [("Shell", day, number) for day in DAYS for number in (1, 4)]
)


def test_a_new_rule_is_run_over_everything_and_leaves_its_coverage(lake: Workspace, tmp_path: Path) -> None:
    added(lake, tmp_path)
    (outcome,) = ran(lake)
    assert (outcome.job.state, outcome.segments, outcome.results, outcome.damaged) == ("done", 5, len(EXPECTED), ())
    assert found(lake) == EXPECTED
    assert {each.found_by for each in detections(lake, OPERATOR)} == {"hunt"}
    assert uncovered(lake) == 0
    with lake.read() as connection:
        results = sorted(connection.execute(sa.select(t.rule_coverage.c.results)).scalars())
    assert results == [0, 6, 6, 6, 6]
    assert ran(lake) == []


def test_a_changed_rule_is_run_and_the_others_are_not(lake: Workspace, tmp_path: Path) -> None:
    added(lake, tmp_path)
    ran(lake)
    added(lake, tmp_path, RULES.replace("sh.exe", "b.exe"))
    (outcome,) = ran(lake)
    assert outcome.results == len(DAYS)
    assert found(lake) == sorted(EXPECTED + [("Shell", day, 3) for day in DAYS])


def test_what_came_late_is_all_that_is_run(lake: Workspace, organisation: Organisation, tmp_path: Path) -> None:
    added(lake, tmp_path)
    ran(lake)
    kept(lake, organisation, [process("sh", 0)], day=3, **STREAM)
    jobs.queue(lake, OPERATOR, "rules", rule_set_id=live_rules(lake, OPERATOR).id)
    (outcome,) = ran(lake)
    assert (outcome.segments, outcome.results) == (1, 2)


def test_the_newest_day_comes_first(lake: Workspace, tmp_path: Path) -> None:
    added(lake, tmp_path)
    with pytest.raises(Stopped):
        retro(lake, stops_after=2).run_pending()
    assert {day for _, day, _ in found(lake)} == {102, 103}


@pytest.mark.parametrize("stops", range(6))
def test_a_hunt_that_was_stopped_goes_on_where_it_was(lake: Workspace, tmp_path: Path, stops: int) -> None:
    added(lake, tmp_path)
    try:
        retro(lake, stops_after=stops).run_pending()
    except Stopped:
        assert uncovered(lake) == 5 - stops
    ran(lake)
    assert found(lake) == EXPECTED
    assert uncovered(lake) == 0


def test_merging_in_the_middle_of_a_hunt_loses_and_doubles_nothing(
    lake: Workspace, organisation: Organisation, tmp_path: Path
) -> None:
    kept(lake, organisation, [process("sh", 0, 103)], day=103, first=50, **STREAM)
    added(lake, tmp_path)
    with pytest.raises(Stopped):
        retro(lake, stops_after=1).run_pending()
    parts = [row for row in live_segments(lake, OPERATOR) if row.first_day == 103]
    merge(lake, OPERATOR, Merge(tuple(parts)), [coverage.inherit])
    ran(lake)
    assert found(lake) == sorted([*EXPECTED, ("Any", 103, 50), ("Shell", 103, 50)])
    assert uncovered(lake) == 0


def test_merging_while_a_segment_is_read_is_made_good_in_the_next_round(
    lake: Workspace, organisation: Organisation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(lake, organisation, [process("sh", 0, 103)], day=103, first=50, **STREAM)
    added(lake, tmp_path)
    scan = retro_module.History.scan
    merged: list[int] = []

    def scan_and_merge(self: retro_module.History, *given: object) -> object:
        if not merged:
            parts = [row for row in live_segments(lake, OPERATOR) if row.first_day == 103]
            merged.append(merge(lake, OPERATOR, Merge(tuple(parts)), [coverage.inherit]))
            for part in parts:
                (lake.lake / part.path).unlink()
        return scan(self, *given)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(retro_module.History, "scan", scan_and_merge)
    (outcome,) = ran(lake)
    assert outcome.damaged == ()
    assert found(lake) == sorted([*EXPECTED, ("Any", 103, 50), ("Shell", 103, 50)])
    assert uncovered(lake) == 0


def test_a_damaged_segment_is_named_and_stays_uncovered(lake: Workspace, tmp_path: Path) -> None:
    added(lake, tmp_path)
    row = next(row for row in live_segments(lake, OPERATOR) if row.first_day == 102)
    (lake.lake / row.path).write_bytes(b"nothing of ours")
    (outcome,) = ran(lake)
    assert [each.id for each in outcome.damaged] == [row.id]
    assert outcome.job.state == "failed"
    assert found(lake) == [each for each in EXPECTED if each[1] != 102]
    assert uncovered(lake) == 1


def test_correlations_are_decided_over_all_of_history(lake: Workspace, tmp_path: Path) -> None:
    added(lake, tmp_path)
    ran(lake)
    added(lake, tmp_path, RULES + CORRELATION)
    ran(lake)
    several = [each for each in detections(lake, OPERATOR) if each.detection.kind == "correlation"]
    assert several == []
    added(lake, tmp_path, RULES + CORRELATION.replace("gte: 3", "gte: 2"))
    ran(lake)
    several = [each for each in detections(lake, OPERATOR) if each.detection.kind == "correlation"]
    assert sorted((each.day, each.detection.record, each.detection.host) for each in several) == sorted(
        (day, record, host) for day in DAYS for record, host in ((3, "host0"), (4, "host1"))
    )


def test_another_process_at_work_is_left_alone(lake: Workspace, tmp_path: Path) -> None:
    added(lake, tmp_path)
    with jobs.worker(lake):
        assert retro(lake).run_pending() is None
    assert len(ran(lake)) == 1


KILLED = """
import os, sys
from pathlib import Path
from mingjian.hunt.retro import GROUP_SEGMENTS, Retro
from mingjian.hunt import retro
from mingjian.sources.definitions import load_sources
from mingjian.store.scope import Scope
from mingjian.store.workspace import open_workspace
retro.GROUP_SEGMENTS = 1
left = [int(sys.argv[2])]
def stop():
    if not left[0]:
        os.kill(os.getpid(), 9)
    left[0] -= 1
    return False
with open_workspace(Path(sys.argv[1])) as workspace:
    Retro(workspace, Scope.of_operator(), load_sources(), None, should_stop=stop).run_pending()
"""


@pytest.mark.slow
def test_a_hunt_that_was_killed_goes_on_where_it_was(lake: Workspace, tmp_path: Path) -> None:
    added(lake, tmp_path)
    for survived in (2, 1):
        command = [sys.executable, "-c", KILLED, str(lake.folder), str(survived)]
        assert subprocess.run(command, env=os.environ, check=False).returncode == -9
    assert uncovered(lake) == 2
    with open_workspace(lake.folder) as again:
        ran(again)
        assert found(again) == EXPECTED
        assert uncovered(again) == 0

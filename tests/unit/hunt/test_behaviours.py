"""Behaviours over a workspace: what was taken in is found, and a finding leads back to its events."""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ingesting import SOURCES, ingest, lines
from lakes import OPERATOR
from mingjian.detect.behaviours.facts import SEEN
from mingjian.hunt.behaviours import behaviours_in, facts_of, place_of, seen_of
from mingjian.model.values import Record
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import live_segments
from mingjian.store.workspace import Workspace, create

START_S = 20_513 * 86_400


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "workspace") as made:
        yield made


def flow(second: int, destination: str) -> Record:
    return {
        **{"_path": "conn", "ts": START_S + second, "uid": f"C{second}", "id.orig_h": "10.0.0.9", "id.orig_p": 40_000},
        **{"id.resp_h": destination, "id.resp_p": 443, "proto": "tcp", "conn_state": "SF", "orig_bytes": 640},
    }


def test_a_beacon_in_the_lake_is_found_and_leads_back_to_its_records(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "conn.jsonl"
    path.write_bytes(lines([flow(hour * 3600, "203.0.113.9") for hour in range(14 * 24)]))
    ingest(workspace, path, rules=(), correlations=())
    seen: list[tuple[int, int]] = []
    facts = facts_of(workspace, OPERATOR, SOURCES, progress=lambda done, of: seen.append((done, of)))
    assert (facts.connections.num_rows, seen[-1]) == (336, (336, 336))
    [finding] = behaviours_in(facts)
    assert (finding.behaviour, finding.organisation, finding.object) == ("beaconing", "ours", "203.0.113.9")
    rows = {row.id: row for row in live_segments(workspace, OPERATOR)}
    for number, event in enumerate(finding.events[:5]):
        place = place_of(event)
        with Segment(workspace.lake / rows[place.segment_id].path) as segment:
            records = [block.record(row) for block in segment.blocks() for row in range(len(block))]
        assert records[place.row] == json.loads(json.dumps(flow(number * 3600, "203.0.113.9")))


def test_only_days_and_times_that_are_asked_for_count(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "conn.jsonl"
    path.write_bytes(lines([flow(hour * 3600, "203.0.113.9") for hour in range(14 * 24)]))
    ingest(workspace, path, rules=(), correlations=())
    day = START_S // 86_400
    assert facts_of(workspace, OPERATOR, SOURCES, first_day=day, last_day=day).connections.num_rows == 24
    facts = facts_of(workspace, OPERATOR, SOURCES)
    assert behaviours_in(facts, since_us=(START_S + 15 * 86_400) * 1_000_000) == []
    assert behaviours_in(facts, until_us=START_S * 1_000_000) == []


def test_totals_of_the_index_become_what_rarity_asks_for() -> None:
    assert seen_of([], {}).num_rows == 0
    totals = pa.table(
        {
            **{"kind": ["domain"], "value": ["a.example"], "organisation": [3], "source": ["zeek"], "role": ["query"]},
            **{"count": [7], "first_us": [1], "last_us": [2]},
        }
    )
    [row] = seen_of([totals], {3: "ours"}).to_pylist()
    assert row == dict(zip(SEEN.names, ("ours", "domain", "a.example", 7, 1, 2), strict=True))

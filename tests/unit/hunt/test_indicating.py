"""Which events of an indicator are given when there are more than can be shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingesting import ingest
from lakes import OPERATOR
from mingjian.hunt import indicating
from mingjian.hunt.indicating import look_for
from mingjian.model.indicators import Indicator
from mingjian.sources.definitions import load_sources
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import create

DAYS = 10


def test_where_it_began_is_given_even_if_there_is_more_than_can_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first day comes first, then the newest: what lies between is counted, not given."""
    asked = Indicator(kind="domain", how="is", value="evil.example", written="evil.example")
    rows = [
        {"_path": "dns", "ts": f"2026-03-{day:02}T10:00:00.000000Z", "uid": f"C{day}", "query": "evil.example",
         "id.orig_h": "10.0.0.1", "id.orig_p": 5353, "id.resp_h": "10.0.0.2", "id.resp_p": 53, "proto": "udp"}
        for day in range(1, DAYS + 1)
    ]  # fmt: skip
    logs = tmp_path / "dns.log"
    logs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    workspace = create(tmp_path / "workspace")
    ingest(workspace, logs)
    monkeypatch.setattr(indicating, "EVENTS_MAX", 3)
    outcome, answer = look_for(workspace, OPERATOR, [asked], load_sources(), lists=WarningLists(names=()))
    assert [each.detection.record for _, _, each in outcome.found] == [1, DAYS, DAYS - 1]
    assert outcome.left_out == DAYS - 3
    assert answer.found == DAYS

"""A hunt over the lake finds exactly what detection finds in the files, also after their segments were merged."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import pytest

from kept_files import keep_files
from lakes import OPERATOR
from mingjian.hunt.automata import engine_for
from mingjian.hunt.detection import Run
from mingjian.hunt.hunting import Hunt
from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.model.detections import Detection
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router
from mingjian.store import coverage
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.merging import merge, plan_merges
from mingjian.store.workspace import Workspace, create
from truth.compare import files_under

FILES_OF_HOSTS = 12
RULE_FOLDERS = ("rules", "rules-emerging-threats", "rules-threat-hunting")
CORRELATIONS = """\
title: Several kinds of findings on one host
id: 3f0a3b0e-6b0f-4d0c-9c37-7f0f2f6b7d11
correlation:
    type: value_count
    rules: [any-process]
    group-by: [Computer]
    timespan: 1h
    condition: {field: Image, gte: 3}
---
title: Any process
name: any-process
logsource: {category: process_creation, product: windows}
detection: {selection: {Image|contains: '\\\\'}, condition: selection}
---
title: Bursts of one program
id: 80f1c0a4-8c1a-4f1f-9d62-0f2c1d3e4a55
correlation:
    type: event_count
    rules: [any-process]
    group-by: [Image]
    timespan: 10m
    condition: {gte: 4}
"""


@pytest.fixture(scope="module")
def rulebook(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Rulebook:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "correlations.yml").write_text(CORRELATIONS, encoding="utf-8")
    return load_rulebook([*(shared_data / "sigma" / name for name in RULE_FOLDERS), folder])


def detected(paths: Sequence[Path], book: Rulebook) -> list[Detection]:
    run = Run(book.rules, book.correlations, engine_for(book.rules, None), Router(load_sources()), explain=True)
    try:
        run.execute([str(path) for path in paths])
        return list(run.detections())
    finally:
        run.close()


def hunted(workspace: Workspace, book: Rulebook) -> list[Detection]:
    engine = engine_for(book.rules, None)
    hunt = Hunt(workspace, OPERATOR, book.rules, book.correlations, engine, load_sources(), explain=True)
    try:
        hunt.execute()
        assert hunt.damaged == []
        return list(hunt.detections())
    finally:
        hunt.close()


def agree(folder: Path, paths: Sequence[Path], book: Rulebook) -> tuple[int, int]:
    """Compare all of it, field by field; give the number of events and of detections."""
    expected = detected(paths, book)
    with create(folder / "workspace") as workspace:
        organisation = organisation_named(workspace, OPERATOR, "Ours", make=True)
        events, _ = keep_files(workspace, organisation, paths, Router(load_sources()))
        assert hunted(workspace, book) == expected
        today = datetime.date(2200, 1, 1).toordinal()
        while plans := plan_merges(workspace, OPERATOR, today=today):
            for plan in plans:
                merge(workspace, OPERATOR, plan, [coverage.inherit])
        assert sum(row.rows for row in live_segments(workspace, OPERATOR)) == events
        assert hunted(workspace, book) == expected
    return events, len(expected)


@pytest.mark.slow
def test_on_event_logs_of_attacks(shared_data: Path, rulebook: Rulebook, tmp_path: Path) -> None:
    paths = [path for path in files_under([shared_data / "evtx-attack-samples"]) if path.suffix == ".evtx"]
    events, found = agree(tmp_path, sorted(paths)[::3], rulebook)
    assert events > 1_000
    assert found > 500


@pytest.mark.slow
def test_on_windows_hosts(shared_data: Path, rulebook: Rulebook, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    paths = [path for path in files_under([shared_data / "windows-json"]) if path.name != "LICENSE"]
    chosen = paths if pytestconfig.getoption("--full") else paths[-FILES_OF_HOSTS:]
    events, found = agree(tmp_path, chosen, rulebook)
    assert events > 1_000
    assert found > 10


@pytest.mark.slow
def test_on_other_producers(shared_data: Path, rulebook: Rulebook, tmp_path: Path) -> None:
    folders = [Path(__file__).parent.parent / "samples", *(shared_data / name for name in ("aws", "linux"))]
    events, found = agree(tmp_path, files_under(folders), rulebook)
    assert events > 1_000
    assert found > 50

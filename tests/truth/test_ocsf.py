"""Events of real logs, and detections, in OCSF: valid by the schema itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from mingjian.formats.records import json_bytes
from mingjian.hunt.attack import load_attack
from mingjian.model.blocks import Quarantined, no_first_paths
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS
from mingjian.model.sources import View
from mingjian.model.values import Record
from mingjian.sources.definitions import load_sources
from mingjian.sources.files import Counts, Task, read
from mingjian.sources.ocsf import Where, event_of, finding_of, knowledge
from mingjian.sources.router import Router
from ocsfschema import Schema, schema

WHERE = Where(tenant="t", time_us=1_700_000_000_000_000, received_us=1_700_000_001_000_000, pointer="f:1")
PER_STREAM = 40
"""So many events of each stream are looked at."""


@pytest.fixture(scope="module")
def rules(shared_data: Path) -> Schema:
    return schema(shared_data / "ocsf")


def events(paths: list[Path]) -> Iterator[tuple[View, Record]]:
    """Some events of every stream in some files."""
    router = Router(load_sources())
    taken: Counter[str] = Counter()
    for path in paths:
        task = Task(str(path), path.stat().st_size)
        for _, block in islice(read(task, Counts(), no_first_paths), 200):
            if isinstance(block, Quarantined):
                continue
            for portion in router.route(block):
                view = portion.view
                for row in portion.rows or range(len(block.numbers)):
                    if taken[view.stream.name] >= PER_STREAM:
                        break
                    taken[view.stream.name] += 1
                    yield view, block.record(row)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["windows-json", "zeek", "aws", "linux", "evtx-attack-samples"])
def test_real_events_are_valid(shared_data: Path, rules: Schema, folder: str) -> None:
    paths = [
        path for path in sorted((shared_data / folder).rglob("*")) if path.is_file() and "LICENSE" not in path.name
    ]
    classes: Counter[int] = Counter()
    wrong: Counter[str] = Counter()
    for view, record in events(paths[:: max(1, len(paths) // 30)]):
        made = json.loads(json_bytes(event_of(view, record, WHERE, {})))
        classes[made["class_uid"]] += 1
        wrong.update(f"{view.stream.name}: {each}" for each in rules.problems(made))
        if made["class_uid"] == 0:
            assert made["unmapped"], "nothing is left out"
    assert wrong == Counter()
    assert classes
    print(folder, dict(classes))


def test_the_knowledge_is_that_of_the_schema(rules: Schema) -> None:
    table = knowledge()
    assert table.version == rules.version
    for uid, about in table.classes.items():
        found = rules.classes[uid]
        assert found.caption == about.name, uid
        for path in about.main:
            assert path.split(".")[0] in found.attributes, (uid, path)
    for stream in load_sources().streams():
        activity = str(table.activities.get(stream.name, 0))
        if stream.ocsf_class:
            assert activity in (rules.classes[stream.ocsf_class].attributes["activity_id"].enum or {}), stream.name
    methods = rules.classes[4002].attributes["activity_id"].enum or {}
    assert {methods[str(number)].caption.upper() for number in table.http_methods.values()} == set(table.http_methods)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["rule", "correlation", "indicator", "behaviour"])
def test_findings_are_valid(rules: Schema, level: str, kind: str) -> None:
    matrix = load_attack()

    def techniques(uid: str) -> tuple[str, list[str]]:
        known = matrix.techniques.get(uid)
        return ("", []) if known is None else (known.name, list(known.tactics))

    found = Detection(
        time_us=None if kind == "behaviour" else 1_700_000_000_000_000,
        level=level,  # type: ignore[arg-type]  # one of LEVELS
        rule_id="r",
        rule_title="R",
        kind=kind,  # type: ignore[arg-type]  # one of the parameters
        attack=("T1059.001", "T9999"),
        host="pc-1",
        account="ann",
        stream="windows/sysmon/1",
        file="f",
        record=1,
        matched={"Image": "x"},
    )
    made = finding_of(found, WHERE, techniques)
    assert rules.problems(made) == []
    bare = Detection(time_us=None, level="low", rule_id="r", rule_title="R", stream="", file="", record=0)
    assert rules.problems(finding_of(bare, WHERE, techniques)) == []


def test_what_checks_finds_what_is_wrong(rules: Schema) -> None:
    found = Detection(time_us=1, level="low", rule_id="r", rule_title="R", stream="s", file="f", record=1, host="h")
    made = json.loads(json_bytes(finding_of(found, WHERE, lambda uid: ("", []))))
    assert rules.problems(made) == []
    for change in (
        {"class_uid": 77},
        {"severity_id": 42},
        {"time": "now"},
        {"nonsense": 1},
        {"type_uid": 7},
        {"finding_info": {"title": "no uid"}},
        {"finding_info": []},
        {"device": {"type_id": 0}},
        {"device": {"hostname": "h"}},
        {"evidences": {}},
        {"cloud": {"provider": "x"}},
        {"src_endpoint": {}},
    ):
        assert rules.problems(made | change), change
    assert rules.problems({name: value for name, value in made.items() if name != "finding_info"})

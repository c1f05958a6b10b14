"""Generated events beside real ones: whatever fields a real producer always writes, ours has too."""

import json
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from mingjian.sample.generate import LOGS_FOLDER, Order, generate

ALWAYS = 0.9
"""A field that so many of the real records have is one that the producer always writes."""
ARCHIVES = 12
"""So many of the real archives are looked at."""
NOT_OURS = {
    "ERROR_EVT_UNRESOLVED": "written where a collector could not find a message",
    "EventTypeOrignal": "a rename in the pipeline of those who recorded these",
    "Message": "some real events have none, ours have",
}

COPIED = {("security", 4690): {"ProcessId"}, ("security", 5156): {"ProcessId"}}
"""Copies that their pipeline made of SourceProcessId and ProcessID, which are the names of the manifest."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    generate(Order(days=1, events_per_day=8_000), folder)
    return folder / LOGS_FOLDER


def objects(lines: Iterable[bytes]) -> Iterator[Mapping[str, object]]:
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def always(records: Iterable[Mapping[str, object]]) -> tuple[set[str], int]:
    counts: Counter[str] = Counter()
    total = 0
    for record in records:
        total += 1
        counts.update(list(record))
    return {name for name, count in counts.items() if count >= ALWAYS * total}, total


def test_windows_events_have_every_field_that_real_ones_always_have(logs: Path, shared_data: Path) -> None:
    real: dict[tuple[str, int], list[Mapping[str, object]]] = defaultdict(list)
    for archive in sorted((shared_data / "windows-json").rglob("*.zip"))[:ARCHIVES]:
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                for record in objects(opened.open(name)):
                    if record.get("SourceModuleType") == "im_msvistalog":
                        real[str(record["Channel"]).lower(), record["EventID"]].append(record)
    ours: dict[tuple[str, int], set[str]] = defaultdict(set)
    for path in logs.glob("*/nxlog/*.jsonl"):
        for record in objects(path.read_bytes().splitlines()):
            ours[str(record["Channel"]).lower(), record["EventID"]].update(record)
    compared = {kind for kind in ours if len(real.get(kind, ())) >= 4}
    assert len(compared) >= 10
    for kind in compared:
        assert always(real[kind])[0] - ours[kind] - set(NOT_OURS) - COPIED.get(kind, set()) == set(), kind


@pytest.mark.parametrize("log", ["conn", "dns"])
def test_zeek_records_have_every_field_that_real_ones_always_have(log: str, logs: Path, shared_data: Path) -> None:
    real, total = always(objects((shared_data / "zeek/apt29" / f"SCRANTON_{log}.log").read_bytes().splitlines()))
    ours: set[str] = set()
    for path in logs.glob(f"*/zeek/*/{log}.log"):
        for record in objects(path.read_bytes().splitlines()):
            ours.update(record)
    # The recording was exported by another package, with names of its own and the link layer.
    real = {name.replace("id_", "id.") for name in real if not name.startswith("@") and not name.endswith("l2_addr")}
    assert total > 20
    assert real - ours == set()


def test_cloudtrail_records_have_every_field_that_real_ones_always_have(logs: Path, shared_data: Path) -> None:
    def records(folder: Path) -> Iterator[Mapping[str, object]]:
        for path in folder.rglob("*CloudTrail*.json"):
            yield from json.loads(path.read_bytes())["Records"]

    real, total = always(records(shared_data / "aws"))
    ours = {name for record in records(logs) for name in record}
    assert total > 1000
    assert real - ours == set()

"""Indicators looked for in the index are found in exactly the events that hold them, record by record."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from kept_files import keep_files
from lakes import OPERATOR
from mingjian.formats.indicators.values import meaning
from mingjian.hunt.indicating import Hit, look_for
from mingjian.hunt.retro import Retro
from mingjian.model.blocks import Quarantined
from mingjian.model.indicators import Indicator
from mingjian.sources.definitions import load_sources
from mingjian.sources.envelope import Observed, observables
from mingjian.sources.router import Router
from mingjian.store import coverage, jobs
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.detections import detections
from mingjian.store.indicators import add_set
from mingjian.store.merging import merge, plan_merges
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace, create
from truth.compare import blocks_of, files_under

SAMPLES = Path(__file__).parent.parent / "samples"
WANTED = ("203.0.113.0/24", "198.51.100.0/24", "example.org", "example.com", "10.0.0.0/8")


Hits: TypeAlias = "Counter[tuple[str, str, int]]"


def indicators(paths: list[Path]) -> list[Indicator]:
    """Networks and domains, and some of all that is in the files."""
    written = [
        Indicator(kind=each.kind, how=each.how, value=each.value, written=text)
        for text in WANTED
        for each in meaning(text)
    ]
    seen = sorted({(each.kind, each.value) for _, _, held in events(paths) for each in held})
    chosen = [Indicator(kind=kind, how="is", value=value, written=value) for kind, value in seen[::4]]
    return list({(each.kind, each.how, each.value): each for each in [*written, *chosen]}.values())


def events(paths: list[Path]) -> Iterator[tuple[str, int, list[Observed]]]:
    """File, number and observables of every event."""
    router = Router(load_sources())
    for path in paths:
        for file, block in blocks_of(path):
            if isinstance(block, Quarantined):
                continue
            for portion in router.route(block):
                for row in range(len(block.numbers)) if portion.rows is None else portion.rows:
                    yield Path(file).name, block.numbers[row], observables(portion.view, block.record(row))


def also(indicator: Indicator) -> set[tuple[str, str]]:
    """What else an exact indicator is: an address or name is one as a host, too."""
    doubled = {"ip": "host", "domain": "host", "host": "domain"}.get(indicator.kind, indicator.kind)
    if indicator.kind == "host" and indicator.value.replace(".", "").isdigit():
        doubled = "ip"
    return {(indicator.kind, indicator.value), (doubled, indicator.value)}


def is_hit(indicator: Indicator, kind: str, value: str) -> bool:
    """The slow obvious answer, for the kinds that are in the samples."""
    match indicator.how:
        case "within":
            try:
                return kind in ("ip", "host") and ipaddress.ip_address(value) in ipaddress.ip_network(indicator.value)
            except ValueError:
                return False
        case "below":
            name = value
            if kind == "url":
                name = value.split("://", 1)[1].split("/")[0].rpartition("@")[2].split(":")[0]
            elif kind == "email":
                name = value.rpartition("@")[2]
            elif kind not in ("domain", "host"):
                return False
            return name == indicator.value or name.endswith("." + indicator.value)
        case _:
            return (kind, value) in also(indicator)


@pytest.fixture(scope="module")
def paths() -> list[Path]:
    return sorted(path for path in files_under([SAMPLES]) if path.suffix not in (".yml", ".yaml", ".md"))


def expected(paths: list[Path], wanted: list[Indicator]) -> Hits:
    return Counter(
        (f"{one.kind}:{one.value}", file, number)
        for file, number, held in events(paths)
        for one in wanted
        if any(is_hit(one, each.kind, each.value) for each in held)
    )


def looked_for(workspace: Workspace, wanted: list[Indicator]) -> Hits:
    outcome, _ = look_for(workspace, OPERATOR, wanted, load_sources(), lists=WarningLists(names=()))
    assert outcome.damaged == []
    assert not any(hit.warning for hit in outcome.hits)
    return Counter((each.rule_id, Path(each.file).name, each.record) for each in outcome.detections())


def test_what_is_found_is_what_a_full_scan_finds(paths: list[Path], tmp_path: Path) -> None:
    wanted = indicators(paths)
    assert len(wanted) > 40
    right = expected(paths, wanted)
    assert sum(right.values()) > 150
    with create(tmp_path / "workspace") as workspace:
        organisation = organisation_named(workspace, OPERATOR, "Ours", make=True)
        keep_files(workspace, organisation, paths, Router(load_sources()))
        assert looked_for(workspace, wanted) == right
        for plan in plan_merges(workspace, OPERATOR, today=10**6):
            merge(workspace, OPERATOR, plan, [coverage.inherit])
        assert looked_for(workspace, wanted) == right
        unwarned = {f"{hit.kind}:{hit.value}" for hit in hits_with_lists(workspace, wanted) if not hit.warning}
        added = add_set(workspace, OPERATOR, "feed", wanted)
        jobs.queue(workspace, OPERATOR, "indicators", indicator_set_id=added.set.id)
        done = Retro(workspace, OPERATOR, load_sources(), None).run_pending()
        assert done is not None
        assert (done[0].job.state, done[0].segments) == ("done", len(live_segments(workspace, OPERATOR)))
        stored = [each.detection for each in detections(workspace, OPERATOR)]
        found = {(each.rule_id, Path(each.file).name, each.record) for each in stored}
        assert found >= {key for key in right if key[0] in unwarned}
        assert found <= set(right)
        assert coverage.uncovered_by_indicators(workspace, OPERATOR, added.set.id) == []


def hits_with_lists(workspace: Workspace, wanted: list[Indicator]) -> list[Hit]:
    return look_for(workspace, OPERATOR, wanted, load_sources())[0].hits

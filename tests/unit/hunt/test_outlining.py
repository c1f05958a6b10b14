"""With outlines a hunt finds and says the same, and opens less."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakes import OPERATOR, kept
from mingjian.detect.engine import Engine
from mingjian.hunt import history as history_module
from mingjian.hunt.answer import Answer
from mingjian.hunt.expressions import rule_of
from mingjian.hunt.hunting import Hunt
from mingjian.model.detections import Detection
from mingjian.model.values import Record
from mingjian.sources.definitions import load_sources
from mingjian.store import outlines as outlines_module
from mingjian.store.blocks import Segment, SegmentBlock
from mingjian.store.catalogue import organisation_named
from mingjian.store.outlines import Outliner
from mingjian.store.workspace import Workspace, create

SYSMON = {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Computer": "dc01"}
COMMANDS = ("whoami /all", "ipconfig", "net use")
DAYS = 12


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setattr(outlines_module, "SEGMENTS_MAX", 4)
    with create(tmp_path / "workspace") as workspace:
        organisation = organisation_named(workspace, OPERATOR, "Ours", make=True)
        for day in range(DAYS):
            command = COMMANDS[day // 4]
            events: list[Record] = [{**SYSMON, "CommandLine": command}]
            kept(workspace, organisation, events, day=100 + day, stream="windows/sysmon/1", layout="flat")
        yield workspace


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The segments that hunts open."""
    paths: list[Path] = []

    class Watched(Segment):
        def __init__(self, path: Path, content_hash: bytes | None = None, *, checks: bytes | None = None) -> None:
            paths.append(path)
            super().__init__(path, content_hash, checks=checks)

    monkeypatch.setattr(history_module, "Segment", Watched)
    return paths


def hunted(workspace: Workspace, text: str) -> tuple[list[Detection], Answer, int]:
    rule = rule_of([text])
    hunt = Hunt(workspace, OPERATOR, [rule], (), Engine([rule]), load_sources())
    try:
        hunt.execute()
        return list(hunt.detections()), hunt.answer(), hunt.summary.events
    finally:
        hunt.close()


@pytest.mark.parametrize(
    ("text", "matches", "opens"),
    [
        ("CommandLine|contains=WhoAmI", 4, 4),
        ("CommandLine|contains=mimikatz", 0, 0),
        ("CommandLine|contains=who", 4, DAYS),
        ("CommandLine|re=who.mi", 4, DAYS),
        ("NoSuchField|contains=whoami", 0, 0),
        ("whoami", 4, 4),
        ("mimikatz", 0, 0),
        ("EventID=1", DAYS, DAYS),
    ],
)
def test_segments_that_cannot_match_are_not_opened(
    lake: Workspace, opened: list[Path], text: str, matches: int, opens: int
) -> None:
    before = hunted(lake, text)
    assert len(opened) == DAYS
    outliner = Outliner(lake, OPERATOR)
    while outliner.step():
        pass
    opened.clear()
    after = hunted(lake, text)
    assert after == before
    assert len(after[0]) == matches
    # The first of a stream is opened where fields are asked for: it shows how its records are looked at.
    assert opens <= len(opened) <= opens + 1


def test_of_a_large_segment_one_event_is_looked_at(
    lake: Workspace, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "LARGE_ROWS", 1)
    scanned: list[object] = []
    scan = history_module.History.blocks
    monkeypatch.setattr(history_module.History, "blocks", lambda self, row: scanned.append(row) or scan(self, row))
    outliner = Outliner(lake, OPERATOR)
    while outliner.step():
        pass
    assert hunted(lake, "CommandLine|contains=mimikatz")[0] == []
    assert (len(opened), scanned) == (1, [])
    assert len(hunted(lake, "CommandLine|contains=whoami")[0]) == len(scanned) == DAYS // 3


def test_for_keywords_alone_not_even_the_first_segment_is_opened(lake: Workspace, opened: list[Path]) -> None:
    outliner = Outliner(lake, OPERATOR)
    while outliner.step():
        pass
    assert hunted(lake, "mimikatz")[0] == []
    assert opened == []


def test_where_no_keyword_can_be_only_the_fields_that_rules_name_are_read(
    lake: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[Path] = []
    everything = SegmentBlock.everything

    def watched(block: SegmentBlock, needles: list[str] | None) -> Iterator[object]:
        searched.append(block.segment.path)
        return everything(block, needles)

    monkeypatch.setattr(SegmentBlock, "everything", watched)
    rules = [rule_of([text]) for text in ("whoami", "no-such-keyword", "CommandLine|contains=net")]

    def found() -> list[Detection]:
        hunt = Hunt(lake, OPERATOR, rules, (), Engine(rules), load_sources())
        hunt.execute()
        detections = list(hunt.detections())
        hunt.close()
        return detections

    before = found()
    assert (len(before), len(searched)) == (2 * DAYS // 3, DAYS)
    outliner = Outliner(lake, OPERATOR)
    while outliner.step():
        pass
    searched.clear()
    assert found() == before
    # Of the first segment it is not known beforehand how its records are looked at.
    assert DAYS // 3 <= len(searched) <= DAYS // 3 + 1

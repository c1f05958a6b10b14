"""Where detections are decides what is read: the grave ones, and the modest ones if there are few of those."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

from ingesting import SOURCES, ingest, lines, sysmon
from lakes import OPERATOR
from mingjian.model.rules import LEVELS, Level
from mingjian.situations import asking as module
from mingjian.situations.asking import GRAVE, MODEST, Question, ask
from mingjian.situations.choosing import At
from mingjian.store.briefs import Briefs
from mingjian.store.detectiongroups import Place
from mingjian.store.scope import OrganisationId
from mingjian.store.workspace import create

OF_LEVELS: dict[Level, int] = {"critical": 1, "high": 2, "medium": 3, "low": 2}
"""Level → so many places, each on a day of its own: 400 critical, 300 and 301 high, 200 …"""


@pytest.mark.parametrize(
    ("places_min", "places_max", "looks", "days"),
    [
        (100, 4_000, [(*GRAVE, *MODEST)], [400, 300, 301, 200, 201, 202, 100, 101]),
        (3, 4_000, [(*GRAVE, *MODEST)], [400, 300, 301]),
        (100, 5, [(*GRAVE, *MODEST), GRAVE, MODEST], [400, 300, 301, 200, 201, 202, 100, 101]),
        (3, 5, [(*GRAVE, *MODEST), GRAVE], [400, 300, 301]),
    ],
)
def test_places_are_looked_for_once_unless_there_are_too_many(
    places_min: int,
    places_max: int,
    looks: list[tuple[Level, ...]],
    days: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines([sysmon(n, "C:\\x\\a.exe") for n in range(3)]))
    workspace = create(tmp_path / "w")
    ingest(workspace, tmp_path / "a.jsonl")
    looked: list[tuple[Level, ...]] = []
    wanted: list[At] = []

    def places(*asked: object) -> list[Place]:
        levels: Collection[Level] = asked[4]  # type: ignore[assignment]  # as the store declares it
        looked.append(tuple(levels))
        found = [
            Place(LEVELS.index(level), day, f"{level} {day}", OrganisationId(1), "", LEVELS.index(level) * 100 + day)
            for level, several in OF_LEVELS.items()
            if level in levels
            for day in range(several)
        ]
        return found if len(levels) == 2 else found[:places_max]

    def choose(briefs: Briefs, at: Iterable[At]) -> list[int]:
        wanted.extend(at)
        return [int(each) for each in briefs.ids]

    monkeypatch.setattr(module, "detection_places", places)
    monkeypatch.setattr(module, "choose", choose)
    monkeypatch.setattr(module, "are_few", lambda _: False)
    monkeypatch.setattr(module, "PLACES_MIN", places_min)
    monkeypatch.setattr(module, "PLACES_MAX", places_max)
    card = ask(Question(workspace, OPERATOR, "file", "c:\\x\\a.exe", SOURCES, "en"))
    assert card.count == 3
    assert looked == looks
    assert [at.day for at in wanted] == days

"""Scores: whole points that add up, and terms that the reference explains."""

import re
from pathlib import Path

import numpy as np
import pytest

from mingjian.detect import behaviours
from mingjian.detect.behaviours.findings import EVENTS_MAX, Scores, some_events

ROOT = Path(__file__).parents[4]


def test_points_are_whole_and_add_up_whatever_the_shares_are() -> None:
    scores = Scores(4)
    scores.add("a", 33, np.array([0.5, np.nan, -1.0, 7.0]), np.array([1.0, np.nan, 2.0, 3.0]))
    scores.add("b", -10, np.array([0.49, 0.0, 1.0, 0.05]), np.zeros(4))
    assert scores.total.tolist() == [11, 0, -10, 33]
    for place in range(4):
        assert sum(term.points for term in scores.terms(place)) == scores.total[place]


def test_of_many_events_the_first_and_the_last_are_named() -> None:
    assert some_events(np.arange(100)) == (0, 1, 2, 3, 4, 95, 96, 97, 98, 99)
    assert len(some_events(np.arange(EVENTS_MAX))) == EVENTS_MAX


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_term_and_caveat_stands_in_the_reference(language: str) -> None:
    [folder] = map(Path, behaviours.__path__)
    code = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    page = (ROOT / "docs" / language / "reference" / "behaviours.md").read_text(encoding="utf-8")
    terms = re.findall(r'scores\.add\(\s*"([a-z-]+)", (-?[0-9]+|_PEERS_WEIGHT)', code)
    assert len(terms) > 40
    bracket = {"en": " ({})", "zh": "（{}）"}[language]
    missing = [
        name
        for name, points in terms
        if f"`{name}`" + bracket.format(points.replace("-", "−").replace("_PEERS_WEIGHT", "15")) not in page
    ]
    assert missing == []

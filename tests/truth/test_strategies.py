"""The generated events and rules reach what they are for; otherwise the comparisons that use them prove little."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings

import strategies
from oracle.events import Event
from oracle.match import matches
from oracle.rules import MODIFIERS, read

EXAMPLES = 600
MODIFIER_EXAMPLES_MIN = 3


def test_generated_rules_use_every_modifier_and_match_now_and_then() -> None:
    used: Counter[str] = Counter()
    matched: Counter[str] = Counter()
    unmatched: Counter[str] = Counter()
    refused: list[str] = []

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(strategies.cases())
    def draw(case: strategies.Case) -> None:
        for file, names in zip(case.files, case.modifiers, strict=True):
            reading = read([file], strategies.PLACEHOLDERS)
            if reading.refused:
                refused.append(reading.refused[0][1])
                continue
            answers = {matches(reading.rules[0], Event(record)) for record in case.records}
            used.update(names)
            matched.update(names if True in answers else ())
            unmatched.update(names if False in answers else ())

    draw()
    assert len(refused) < EXAMPLES / 20, Counter(refused).most_common(5)
    assert {name for name in MODIFIERS if used[name] < MODIFIER_EXAMPLES_MIN} == set()
    assert {name for name in MODIFIERS if not matched[name] or not unmatched[name]} == set()

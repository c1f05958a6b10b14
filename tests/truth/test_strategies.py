"""The generated events and rules reach what they are for; otherwise the comparisons that use them prove little."""

from __future__ import annotations

from collections import Counter

import yaml
from hypothesis import HealthCheck, given, seed, settings

import strategies
from oracle.events import Event
from oracle.match import matches
from oracle.rules import MODIFIERS, read

EXAMPLES = 500
MODIFIER_EXAMPLES_MIN = 1


def test_generated_rules_use_every_modifier_and_match_now_and_then() -> None:
    used: Counter[str] = Counter()
    answers: Counter[bool] = Counter()
    refused: list[str] = []

    @seed(1)
    @settings(max_examples=EXAMPLES, derandomize=False, database=None, suppress_health_check=list(HealthCheck))
    @given(strategies.cases())
    def draw(case: strategies.Case) -> None:
        reading = read(case.files, strategies.PLACEHOLDERS)
        refused.extend(reason for _, reason in reading.refused)
        for names in case.modifiers:
            used.update(names)
        answers.update(matches(rule, Event(record)) for rule in reading.rules for record in case.records)

    draw()
    assert len(refused) < EXAMPLES / 10, Counter(refused).most_common(5)
    assert {name for name in MODIFIERS if used[name] < MODIFIER_EXAMPLES_MIN} == set()
    assert 0.1 < answers[True] / answers.total() < 0.9


def test_the_traps_hold_something_that_matches_and_something_that_does_not_for_every_modifier() -> None:
    matched: Counter[str] = Counter()
    unmatched: Counter[str] = Counter()
    for rules, records in (
        (strategies.trap_rules(), strategies.trap_records()),
        (strategies.reference_rules(), strategies.trap_pairs()[::5]),
    ):
        events = [Event(record) for record in records]
        for file in rules:
            names = strategies.modifiers_of(yaml.load(file, yaml.CSafeLoader)["detection"])
            if all(matched[name] > 5 and unmatched[name] > 5 for name in names):
                continue
            rule = read([("rule.yml", file)], strategies.PLACEHOLDERS).rules[0]
            answers = {matches(rule, event) for event in events}
            matched.update(names if True in answers else ())
            unmatched.update(names if False in answers else ())
    without_traps = {"all"}  # needs two values; it is in the tables and in what is drawn
    assert {name for name in MODIFIERS - without_traps if not matched[name] or not unmatched[name]} == set()

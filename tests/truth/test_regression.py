"""The positive cases that come with the rules: the rule of each must fire on its events, often enough.

Matched by rule id, as titles drift. A case passes if its rule fires at least ``match_count`` times, at least once
where no count is given.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from oracle.rules import Reading
from truth.compare import judge, portions_of
from truth.engine import Adapter

CASES = 74


class Case(NamedTuple):
    """One positive case."""

    rule: str
    wanted: int
    events: Path


@pytest.fixture(scope="module")
def cases(shared_data: Path) -> list[Case]:
    found: list[Case] = []
    for info in sorted((shared_data / "sigma-regression").rglob("info.yml")):
        described = yaml.safe_load(info.read_bytes())
        rule = described["rule_metadata"][0]["id"]
        found += [
            Case(rule, test.get("match_count", 1), info.parent / Path(test["path"]).name)
            for test in described["regression_tests_info"]
        ]
    return found


def test_there_are_as_many_cases_as_we_know_of(cases: list[Case]) -> None:
    assert len(cases) == CASES
    assert all(case.events.is_file() for case in cases)


def test_every_case_passes_by_the_oracle(cases: list[Case], sigma_reading: Reading) -> None:
    short: list[str] = []
    for case in cases:
        rules = [rule for rule in sigma_reading.rules if rule.id == case.rule]
        fired = len(judge(case.events, rules).hits)
        if fired < case.wanted:
            short.append(f"{case.rule} fired {fired} times, not {case.wanted}: {case.events}")
    assert not short, f"{len(short)} of {len(cases)}\n" + "\n".join(short)


def test_every_case_passes_by_the_engine(cases: list[Case], sigma_engine: Adapter) -> None:
    short: list[str] = []
    for case in cases:
        fired: Counter[str] = Counter()
        for portion in portions_of(case.events, 1):
            fired.update(rule for rule, _ in sigma_engine.match(portion.view, portion.block, portion.rows))
        if fired[case.rule] < case.wanted:
            short.append(f"{case.rule} fired {fired[case.rule]} times, not {case.wanted}: {case.events}")
    assert not short, f"{len(short)} of {len(cases)}\n" + "\n".join(short)

"""What else is there never changes what matches: order, company, cuts, other rules; and filters only take away."""

from __future__ import annotations

import random
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import strategies
from mingjian.formats.records import RecordBlock
from mingjian.model.rules import LogSource
from mingjian.model.sources import Layout, Stream, View
from mingjian.model.values import Record
from truth.engine import Adapter

PLAIN = View(
    Stream(name="test", source="test", family="test", logsources=(LogSource(None, "test", None),)),
    Layout(name="test", family="test"),
)
GENERATED = settings(max_examples=100, suppress_health_check=list(HealthCheck))


def matched(engine: Adapter, records: list[Record], rows: list[int] | None = None) -> set[tuple[str, int]]:
    return engine.match(PLAIN, RecordBlock("test", list(range(1, len(records) + 1)), records), rows)


@pytest.fixture(scope="module")
def trap_engine() -> Adapter:
    files = [(f"{number}.yml", rule) for number, rule in enumerate(strategies.trap_rules())]
    return Adapter(files, strategies.PLACEHOLDERS)


@pytest.fixture(scope="module")
def trap_matches(trap_engine: Adapter) -> set[tuple[str, int]]:
    return matched(trap_engine, strategies.trap_records())


def test_the_order_of_events_changes_nothing(trap_engine: Adapter, trap_matches: set[tuple[str, int]]) -> None:
    records = strategies.trap_records()
    order = list(range(len(records)))
    random.Random(1).shuffle(order)
    shuffled = matched(trap_engine, [records[row] for row in order])
    assert {(rule, order[row]) for rule, row in shuffled} == trap_matches


@pytest.mark.parametrize("size", [1, 7, 100])
def test_the_cut_of_events_changes_nothing(trap_engine: Adapter, trap_matches: set[tuple[str, int]], size: int) -> None:
    records = strategies.trap_records()
    starts = range(0, len(records), size) if size > 1 else range(0, len(records), 10)
    covered = {row for start in starts for row in range(start, min(start + size, len(records)))}
    found = {
        (rule, start + row) for start in starts for rule, row in matched(trap_engine, records[start : start + size])
    }
    assert found == {(rule, row) for rule, row in trap_matches if row in covered}


def test_the_company_of_events_changes_nothing(trap_engine: Adapter, trap_matches: set[tuple[str, int]]) -> None:
    records = strategies.trap_records()
    strangers: list[Record] = [{f"other{n}": "x" * n, "F": f"stranger {n}"} for n in range(50)]
    mixed = [record for n, own in enumerate(records) for record in ([strangers[n % 50], own] if n % 3 else [own])]
    own_rows = [row for row, record in enumerate(mixed) if not any(record is stranger for stranger in strangers)]
    place = {row: number for number, row in enumerate(own_rows)}
    assert {(rule, place[row]) for rule, row in matched(trap_engine, mixed) if row in place} == trap_matches
    assert {(rule, place[row]) for rule, row in matched(trap_engine, mixed, own_rows)} == trap_matches


def test_the_same_events_again_match_the_same(trap_engine: Adapter, trap_matches: set[tuple[str, int]]) -> None:
    records = strategies.trap_records()
    twice = matched(trap_engine, records + records)
    assert twice == trap_matches | {(rule, row + len(records)) for rule, row in trap_matches}


@GENERATED
@given(strategies.cases())
def test_the_company_of_rules_changes_nothing(case: strategies.Case) -> None:
    together = matched(Adapter(case.files, strategies.PLACEHOLDERS), case.records)
    apart = [matched(Adapter([file], strategies.PLACEHOLDERS), case.records) for file in case.files]
    assert together == set().union(*apart)


FILTER: dict[str, Any] = {
    "title": "f",
    "id": "00000000-0000-4000-9000-000000000000",
    "logsource": {"category": "test"},
}


@GENERATED
@given(strategies.cases(), st.sampled_from(["selection", "not selection"]))
def test_a_filter_only_takes_matches_away(case: strategies.Case, condition: str) -> None:
    first, *others = [yaml.safe_load(rule) for rule in case.rules]
    for other in others[:1]:
        body = {"rules": [first["id"]], "selection": other["detection"]["s1"], "condition": condition}
        files = [case.files[0], ("filter.yml", yaml.safe_dump({**FILTER, "filter": body}).encode())]
        before = matched(Adapter(case.files[:1], strategies.PLACEHOLDERS), case.records)
        after = matched(Adapter(files, strategies.PLACEHOLDERS), case.records)
        assert after <= before


@GENERATED
@given(strategies.cases())
def test_a_condition_and_its_negation_divide_the_events(case: strategies.Case) -> None:
    rule = yaml.safe_load(case.rules[0])
    rule["detection"] = {"s1": rule["detection"]["s1"], "condition": "s1"}
    negated = {**rule, "id": FILTER["id"], "detection": {**rule["detection"], "condition": "not s1"}}
    files = [("rule.yml", yaml.safe_dump(rule).encode()), ("negated.yml", yaml.safe_dump(negated).encode())]
    found = matched(Adapter(files, strategies.PLACEHOLDERS), case.records)
    if found:  # else neither could be read
        rows = range(len(case.records))
        assert {row for rule_id, row in found if rule_id == rule["id"]} ^ {
            row for rule_id, row in found if rule_id == FILTER["id"]
        } == set(rows)
        assert len(found) == len(rows)

"""The engine finds exactly what the slow evaluator finds: on generated events and rules, and on real ones."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import HealthCheck, assume, given, settings

import strategies
from mingjian.formats import registry
from mingjian.formats.records import RecordBlock
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.rules import LogSource
from mingjian.model.sources import Layout, Stream, View
from mingjian.model.values import Record
from oracle.match import explain, matches
from oracle.rules import Reading, Rule, read
from truth.compare import event_of
from truth.engine import Adapter

GENERATED = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
PLAIN = View(
    Stream(name="test", source="test", family="test", logsources=(LogSource(None, "test", None),)),
    Layout(name="test", family="test"),
)


def block_of(records: list[Record]) -> RecordBlock:
    return RecordBlock("test", list(range(1, len(records) + 1)), records)


def both(case: strategies.Case) -> tuple[Reading, Adapter]:
    """Read a generated rule with both readers, which must agree whether it can be used."""
    files = [("rule.yml", case.rule)]
    reading = read(files, strategies.PLACEHOLDERS)
    engine = Adapter(files, strategies.PLACEHOLDERS)
    # RE2 cannot look behind: what goes on after an anchor may be refused, and only that.
    assume(not any("goes on after $" in reason for reason in engine.skipped.values()))
    assert len(reading.rules) == len(engine.ids), (reading.refused, engine.skipped, case.rule.decode())
    return reading, engine


def rows_by_oracle(rules: Sequence[Rule], view: View, block: Block) -> set[tuple[str, int]]:
    return {
        (rule.id, row)
        for row in range(len(block.numbers))
        for rule in rules
        if matches(rule, event_of(block.record(row), view))
    }


def check(reading: Reading, engine: Adapter, view: View, block: Block, context: object = "") -> None:
    expected = rows_by_oracle(reading.rules, view, block)
    got = engine.match(view, block, None)
    for rule_id, row in sorted(expected ^ got):
        rule = next(rule for rule in reading.rules if rule.id == rule_id)
        event = event_of(block.record(row), view)
        only = "oracle" if (rule_id, row) in expected else "engine"
        why = "\n".join(explain(rule.tree, event))
        raise AssertionError(f"only the {only} matches {event.record!r}\n{why}\n{context}")


@GENERATED
@given(strategies.cases())
def test_on_generated_events_and_rules(case: strategies.Case) -> None:
    reading, engine = both(case)
    check(reading, engine, PLAIN, block_of(case.records), case.rule.decode())


@GENERATED
@given(strategies.cases(without_empty=True))
def test_on_generated_events_read_as_json_lines(case: strategies.Case) -> None:
    reading, engine = both(case)
    lines = "".join(json.dumps({"n": 1, **record}, ensure_ascii=False) + "\n" for record in case.records)
    for block in registry.read(Piece(file="events.jsonl", chunks=iter([lines.encode()]))):
        assert not isinstance(block, Quarantined), block
        check(reading, engine, PLAIN, block, case.rule.decode())

"""The engine finds exactly what the slow evaluator finds: on generated events and rules, and on real ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from hypothesis import HealthCheck, given, settings

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

GENERATED = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
PLAIN = View(
    Stream(name="test", source="test", family="test", logsources=(LogSource(None, "test", None),)),
    Layout(name="test", family="test"),
)


def block_of(records: list[Record]) -> RecordBlock:
    return RecordBlock("test", list(range(1, len(records) + 1)), records)


def both(files: list[tuple[str, bytes]]) -> tuple[Reading, Adapter]:
    """Read generated rules with both readers, which must agree about which can be used.

    RE2 cannot look ahead: a pattern that goes on after ``$`` may be refused by the engine, and only that.
    """
    engine = Adapter(files, strategies.PLACEHOLDERS)
    beyond_re2 = {file for file, reason in engine.skipped.items() if "goes on after $" in reason}
    reading = read([file for file in files if file[0] not in beyond_re2], strategies.PLACEHOLDERS)
    by_oracle, by_engine = {rule.id for rule in reading.rules}, set(engine.ids)
    assert by_oracle == by_engine, (reading.refused, engine.skipped)
    return reading, engine


def rows_by_oracle(rules: Sequence[Rule], view: View, block: Block) -> set[tuple[str, int]]:
    return {
        (rule.id, row)
        for row in range(len(block.numbers))
        for rule in rules
        if matches(rule, event_of(block.record(row), view))
    }


def check(reading: Reading, engine: Adapter, view: View, block: Block) -> None:
    expected = rows_by_oracle(reading.rules, view, block)
    got = engine.match(view, block, None)
    complaints: list[str] = []
    for rule_id, row in sorted(expected ^ got)[:20]:
        rule = next(rule for rule in reading.rules if rule.id == rule_id)
        event = event_of(block.record(row), view)
        only = "oracle" if (rule_id, row) in expected else "engine"
        complaints.append("\n".join([f"only the {only} matches {event.record!r}", *explain(rule.tree, event)]))
    assert not complaints, "\n".join(complaints)


@GENERATED
@given(strategies.cases())
def test_on_generated_events_and_rules(case: strategies.Case) -> None:
    reading, engine = both(case.files)
    check(reading, engine, PLAIN, block_of(case.records))


@GENERATED
@given(strategies.cases(without_empty=True))
def test_on_generated_events_read_as_json_lines(case: strategies.Case) -> None:
    reading, engine = both(case.files)
    for block in read_as_json(case.records):
        check(reading, engine, PLAIN, block)


def read_as_json(records: list[Record]) -> Iterator[Block]:
    lines = "".join(json.dumps({"n": 1, **record}, ensure_ascii=False) + "\n" for record in records)
    for block in registry.read(Piece(file="events.jsonl", chunks=iter([lines.encode()]))):
        assert not isinstance(block, Quarantined), block
        yield block


def test_on_every_trap_against_every_trap() -> None:
    files = [(f"{number}.yml", rule) for number, rule in enumerate(strategies.trap_rules())]
    reading, engine = both(files)
    check(reading, engine, PLAIN, block_of(strategies.trap_records()))

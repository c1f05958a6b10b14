"""The engine finds exactly what the slow evaluator finds: on generated events and rules, and on real ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings

import strategies
from mingjian.formats import registry
from mingjian.formats.records import RecordBlock
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.rules import LogSource
from mingjian.model.sources import Layout, Stream, View
from mingjian.model.values import Record
from oracle import tables
from oracle.match import explain, matches
from oracle.rules import Reading, Rule, read
from truth.compare import event_of
from truth.engine import Adapter

GENERATED = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
COMPLAINTS_MAX = 100
PLAIN = View(
    Stream(name="test", source="test", family="test", logsources=(LogSource(None, "test", None),)),
    Layout(name="test", family="test"),
)

RENAMED = View(
    Stream(
        name="test",
        source="test",
        family="test",
        logsources=(LogSource(None, "other", None), LogSource(None, "test", None)),
        fields={"F": ("G", "F", "o.p"), "G": ("missing", "renamed")},
    ),
    Layout(name="wrapped", family="test", names={"renamed": ("o.q", "Full Name", "F")}, search=("o", "")),
)
"""A stream whose fields have other names, in a layout that wraps them: every look-up tries several places."""


def block_of(records: list[Record]) -> RecordBlock:
    return RecordBlock("test", list(range(1, len(records) + 1)), records)


def both(files: list[tuple[str, bytes]]) -> tuple[Reading, Adapter]:
    """Read generated rules with both readers, which must agree about which can be used.

    RE2 cannot look ahead: a pattern that goes on after ``$`` may be refused by the engine, and only that.
    """
    engine = Adapter(files, strategies.PLACEHOLDERS)
    beyond_re2 = {
        file for file, reason in engine.skipped.items() if re.search(r"regular expression .* after \$", reason)
    }
    reading = read([file for file in files if file[0] not in beyond_re2], strategies.PLACEHOLDERS)
    by_oracle, by_engine = {rule.id for rule in reading.rules}, set(engine.ids)
    assert by_oracle == by_engine, (reading.refused, engine.skipped)
    return reading, engine


def rows_by_oracle(rules: Sequence[Rule], view: View, block: Block) -> set[tuple[str, int]]:
    events = [event_of(block.record(row), view) for row in range(len(block.numbers))]
    return {(rule.id, row) for row, event in enumerate(events) for rule in rules if matches(rule, event)}


def check(reading: Reading, engine: Adapter, view: View, block: Block) -> None:
    expected = rows_by_oracle(reading.rules, view, block)
    got = engine.match(view, block, None)
    rules = {rule.id: rule for rule in reading.rules}
    complaints: dict[str, str] = {}  # one for each rule
    for rule_id, row in sorted(expected ^ got):
        event = event_of(block.record(row), view)
        only = "oracle" if (rule_id, row) in expected else "engine"
        why = "\n".join(explain(rules[rule_id].tree, event))
        complaints.setdefault(rule_id, f"only the {only} matches {event.record!r}\n{why}")
    assert not complaints, f"{len(complaints)} rules differ\n" + "\n".join(list(complaints.values())[:COMPLAINTS_MAX])


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


@GENERATED
@given(strategies.cases())
def test_on_generated_events_of_a_stream_with_other_names(case: strategies.Case) -> None:
    reading, engine = both(case.files)
    check(reading, engine, RENAMED, block_of(case.records))


def read_as_json(records: list[Record]) -> Iterator[Block]:
    lines = "".join(json.dumps({"n": 1, **record}, ensure_ascii=False) + "\n" for record in records)
    for block in registry.read(Piece(file="events.jsonl", chunks=iter([lines.encode()]))):
        assert not isinstance(block, Quarantined), block
        yield block


@pytest.mark.parametrize("row", tables.SELECTIONS, ids=[f"{r.selection!r} {r.event!a}" for r in tables.SELECTIONS])
def test_on_the_tables_made_by_hand(row: tables.Row) -> None:
    rule = tables.rule_of(tables.detection_of(row.selection))
    given = {name: [str(value) for value in values] for name, values in tables.PLACEHOLDERS.items()}
    engine = Adapter([("rule.yml", rule)], given)
    assert not engine.skipped
    assert bool(engine.match(PLAIN, block_of([row.event]), None)) == row.expected


@pytest.mark.parametrize(("condition", "true", "expected"), tables.CONDITIONS)
def test_on_conditions_made_by_hand(condition: str, true: str, expected: bool | None) -> None:
    engine = Adapter([("rule.yml", tables.condition_rule(condition))])
    if expected is None:
        assert engine.skipped
        assert not engine.ids
    else:
        assert bool(engine.match(PLAIN, block_of([tables.condition_event(true)]), None)) == expected


@pytest.mark.parametrize("selection", tables.REFUSED)
def test_what_has_no_meaning_is_refused_by_the_engine_too(selection: str) -> None:
    engine = Adapter([("rule.yml", tables.rule_of(tables.detection_of(selection)))])
    assert not engine.ids
    assert engine.skipped["rule.yml"]


def numbered(rules: Iterable[bytes]) -> list[tuple[str, bytes]]:
    return [(f"{number}.yml", rule) for number, rule in enumerate(rules)]


def test_on_every_trap_under_every_modifier() -> None:
    reading, engine = both(numbered(strategies.trap_rules()))
    check(reading, engine, PLAIN, block_of(strategies.trap_records()))


def test_on_every_pair_of_fields() -> None:
    reading, engine = both(numbered(strategies.reference_rules()))
    check(reading, engine, PLAIN, block_of(strategies.trap_pairs()))


def test_on_every_pair_of_places_for_one_field() -> None:
    plain = [rule for number, rule in enumerate(strategies.trap_rules()) if number % 9 == 0]
    reading, engine = both(numbered([*plain, *strategies.reference_rules()]))
    check(reading, engine, RENAMED, block_of(strategies.trap_pairs()[::7]))


def test_an_object_is_searched_as_text_also_where_it_holds_what_utf8_cannot() -> None:
    written = [
        "'o|re': 'abc....'",
        "'o|contains': 'x80'",
        "'o|contains': 'ud83d'",
        "'o|contains': '\"99999999999999999999\"'",
    ]
    rules = [tables.rule_of(f"s:\n  {line}\ncondition: s") for line in written]
    reading, engine = both(numbered(rule.replace(b"00001", f"{at:05}".encode()) for at, rule in enumerate(rules)))
    assert len(engine.ids) == len(written)
    records: list[Record] = [{"o": {"p": "abc\udc80", "abc\ud83d": 99999999999999999999}}, {"o": {"p": "abc"}}]
    assert engine.match(PLAIN, block_of(records), None) == {(rule, 0) for rule in engine.ids}
    check(reading, engine, PLAIN, block_of(records))

"""The engine against a plain evaluation of the same expressions, and what it says about a match."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingjian.detect import engine as engine_module
from mingjian.detect.compiled import CompiledRules
from mingjian.detect.engine import Engine, Reading
from mingjian.detect.leaves import all_leaves
from mingjian.detect.matcher import FieldMatcher
from mingjian.detect.references import compare_fields
from mingjian.formats.json import JsonBlock
from mingjian.formats.records import RecordBlock
from mingjian.model.rules import (
    ANY,
    And,
    AnyAtom,
    Bool,
    Exists,
    Expr,
    FieldRef,
    LogSource,
    Not,
    Null,
    Number,
    Or,
    Regex,
    Rule,
    Text,
)
from mingjian.model.sources import Layout, Stream, View

SOURCE = LogSource("windows", "process_creation")
FLAT = View(Stream(name="s", source="x", family="f", logsources=(SOURCE,)), Layout(name="flat", family="f"))
NESTED = View(
    Stream(name="s", source="x", family="f", logsources=(SOURCE,), fields={"a": ("alias", "a")}),
    Layout(name="nested", family="f", search=("data", "")),
)


def rule(condition: Expr, logsource: LogSource = SOURCE, number: int = 0) -> Rule:
    """A rule that asks just this."""
    return Rule(id=f"r{number}", title="t", file="f", logsource=logsource, condition=condition)


def plainly(expr: Expr, view: View, record: dict) -> bool:
    """Evaluate an expression on one record, straight from its meaning."""
    match expr:
        case And(items):
            return all(plainly(item, view, record) for item in items)
        case Or(items):
            return any(plainly(item, view, record) for item in items)
        case Not(item):
            return not plainly(item, view, record)
        case FieldRef():
            return compare_fields(expr, view.value(record, expr.field), view.value(record, expr.other))
        case _:
            asked = FieldMatcher([expr])
            if expr.field is None:
                return any(asked.atoms_of(leaf) for leaf in all_leaves(record))
            return bool(asked.atoms_of(view.value(record, expr.field)))


fields = st.sampled_from(["a", "b", "EventID"])
words = st.sampled_from(["x", "Xy", "cmd", "1", ""])
atoms: st.SearchStrategy[AnyAtom] = st.one_of(
    st.builds(Text, fields, words.map(lambda word: (word,) if word else ())),
    st.builds(Text, fields, words.filter(bool).map(lambda word: (ANY, word, ANY))),
    st.builds(Text, st.none(), words.filter(bool).map(lambda word: (ANY, word, ANY))),
    st.builds(Number, fields, st.integers(0, 2)),
    st.builds(Bool, fields, st.booleans()),
    st.builds(Null, fields),
    st.builds(Exists, fields),
    st.builds(Regex, st.none() | fields, st.sampled_from(["^x", "c.d", "1$"])),
    st.builds(FieldRef, fields, fields, st.sampled_from(["equals", "contains"])),
)
several = lambda inner: st.lists(inner, min_size=1, max_size=3).map(tuple)  # noqa: E731 - a strategy is clearer in one line
expressions: st.SearchStrategy[Expr] = st.recursive(
    atoms,
    lambda inner: st.builds(And, several(inner)) | st.builds(Or, several(inner)) | st.builds(Not, inner),
    max_leaves=6,
)
scalars = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["x", "XY", "cmd x", "1", ""])
values = scalars | st.lists(scalars, max_size=2)
flat = st.dictionaries(st.sampled_from(["a", "b", "EventID", "c", "alias"]), values, max_size=4)
records = flat | st.builds(lambda inner, outer: {**outer, "data": inner}, flat, flat)


@settings(max_examples=300)
@given(st.lists(expressions, min_size=1, max_size=12), st.lists(records, min_size=1, max_size=8), st.booleans())
def test_the_engine_finds_what_plain_evaluation_finds(conditions: list[Expr], events: list[dict], nested: bool) -> None:
    view = NESTED if nested else FLAT
    rules = [rule(condition, number=number) for number, condition in enumerate(conditions)]
    expected = [
        (index, row)
        for index, each in enumerate(rules)
        for row, event in enumerate(events)
        if plainly(each.condition, view, event)
    ]
    engine = Engine(rules)
    numbers = range(1, len(events) + 1)
    blocks = [
        RecordBlock("evtx", numbers, events),
        JsonBlock(numbers, [json.dumps(event).encode() for event in events]),
    ]
    for block in blocks:
        assert engine.match(view, block) == expected
        odd = list(range(1, len(events), 2))
        assert engine.match(view, block, odd) == [pair for pair in expected if pair[1] in odd]
    again = Engine(rules, msgspec.msgpack.decode(msgspec.msgpack.encode(engine.compiled), type=CompiledRules))
    assert again.match(view, blocks[0]) == expected
    for index, row in expected:
        assert Reading(engine, view, events[row]).holds(engine.compiled.nodes[index])


def test_rules_are_asked_by_log_source_only() -> None:
    true = Not(Exists("nothing"))
    wanted = [
        LogSource("windows"),
        LogSource("windows", "process_creation"),
        LogSource(),
        LogSource("linux"),
        LogSource("windows", None, "sysmon"),
    ]
    engine = Engine([rule(true, logsource) for logsource in wanted])
    assert engine.match(FLAT, RecordBlock("evtx", [1], [{}])) == [(0, 0), (1, 0), (2, 0)]
    unknown = View(Stream(name="u", source="", family="unknown"), Layout(name="u", family="unknown"))
    assert engine.match(unknown, RecordBlock("text", [1], [{}])) == [(2, 0)]


@given(st.lists(st.sampled_from([1, 2, "3", None, 4624]), min_size=1, max_size=6))
def test_a_gate_hides_no_match(ids: list) -> None:
    rules = [rule(And((Number("EventID", n), Text("b", (ANY, "x", ANY)))), number=n) for n in range(1, 20)]
    rules.append(rule(And((Or((Number("EventID", 4624), Text("EventID", ("3",)))), Null("c"))), number=20))
    rules.append(rule(Not(Number("EventID", 1)), number=21))
    engine = Engine(rules)
    events = [{"EventID": each, "b": "xx"} if each is not None else {"b": "x"} for each in ids]
    expected = [
        (index, row)
        for index, each in enumerate(rules)
        for row, event in enumerate(events)
        if plainly(each.condition, FLAT, event)
    ]
    assert engine.match(FLAT, RecordBlock("evtx", range(len(events)), events)) == expected
    for row, event in enumerate(events):
        alone = engine.match(FLAT, RecordBlock("evtx", [0], [event]))
        assert alone == [(index, 0) for index, place in expected if place == row]


def test_evidence_names_the_values_and_the_atoms() -> None:
    image, denied = Text("Image", (ANY, "\\cmd.exe")), Text("User", ("SYSTEM",))
    condition = And((image, Number("EventID", 1), Not(denied), Or((Null("x"), Text(None, (ANY, "secret", ANY))))))
    engine = Engine([rule(condition)])
    record = {"EventID": 1, "Image": ["other", "C:\\CMD.exe"], "deep": {"note": "a Secret b"}}
    evidence = engine.evidence(0, Reading(engine, FLAT, record))
    assert evidence.matched == {"EventID": "1", "Image": "C:\\CMD.exe", "x": "", "deep": "a Secret b"}
    assert set(evidence.atoms) == {image, Number("EventID", 1), Null("x"), Text(None, (ANY, "secret", ANY))}
    assert denied not in evidence.atoms


def test_costs_are_booked_on_the_rules_that_were_woken() -> None:
    ticks = iter(range(100))
    costs: dict[int, float] = {}
    engine = Engine([rule(Text("a", ("x",))), rule(Text("a", ("never",)))])
    engine.match(FLAT, RecordBlock("evtx", [1], [{"a": "x"}]), clock=lambda: float(next(ticks)), costs=costs)
    assert costs == {0: 1.0}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"data": {"alias": 1}, "a": 2}, 1),
        ({"alias": None, "a": 2}, 2),
        ({"alias": None}, None),
        ({"data": {"a": 3}}, 3),
    ],
)
def test_the_first_place_that_holds_a_value_counts(record: dict, expected: object) -> None:
    assert NESTED.value(record, "a") == expected
    engine = Engine([rule(Number("a", 1)), rule(Number("a", 2)), rule(Number("a", 3)), rule(Null("a"))])
    found = engine.match(NESTED, RecordBlock("jsonl", [1], [record]))
    assert found == [({1: 0, 2: 1, 3: 2, None: 3}[expected], 0)]


def test_numbers_that_python_takes_for_equal_stay_different_texts() -> None:
    engine = Engine([rule(Number("a", 42)), rule(Number("a", 42.0)), rule(Number("a", -0.0)), rule(Number("a", 0))])
    events = [{"a": "42"}, {"a": "42.0"}, {"a": 42}, {"a": "0"}, {"a": "-0.0"}, {"a": 0}]
    found = engine.match(FLAT, RecordBlock("evtx", range(6), events))
    assert found == [(0, 0), (0, 2), (1, 1), (1, 2), (2, 4), (2, 5), (3, 3), (3, 5)]


def test_an_engine_forgets_when_its_fields_together_remember_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "REMEMBERED_BYTES_MAX", 10_000)
    engine = Engine([rule(Text("a", (ANY, "x", ANY))), rule(Text("b", (ANY, "y", ANY)), number=1)])
    block = RecordBlock("jsonl", list(range(200)), [{"a": f"x{n}" * 5, "b": f"y{n}" * 5} for n in range(200)])
    for _ in range(2):
        assert len(engine.match(FLAT, block)) == 400
        assert sum(engine.matcher(field).held_bytes for field in ("a", "b")) <= 10_000

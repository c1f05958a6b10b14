"""Over segments, rules find by dictionaries what the engine finds by rows."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.encoded import EncodedEngine
from mingjian.detect.engine import Engine
from mingjian.formats.records import RecordBlock
from mingjian.model.rules import (
    ANY,
    And,
    Bool,
    Cidr,
    Compare,
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
from mingjian.model.values import EMPTY, Record
from mingjian.store.blocks import Segment
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import Rows, SegmentBuilder, SegmentKey
from mingjian.store.writing import parquet_bytes

TEXTS = ("", "abc", "ABC", "xabcx", "k", "\u212a", "1", "true", "192.0.2.7", "a\udc80", "[1]", "ſ")
FIELDS = ("F", "G", "o.p", "both")
VIEW = View(
    Stream(name="s", source="s", family="f", logsources=(LogSource("x"),), fields={"both": ("F", "G", "late")}),
    Layout(name="plain", family="f", search=("", "inner")),
)

scalars = st.one_of(
    st.sampled_from(TEXTS), st.sampled_from([0, 1, 2**70]), st.sampled_from([0.5, 1.0]), st.booleans(), st.none()
)
values = st.one_of(
    scalars, st.just(EMPTY), st.lists(scalars, max_size=2), st.dictionaries(st.sampled_from(["p", "q"]), scalars)
)
names = st.sampled_from(["F", "G", "o", "o.p", "late", "inner"])
inner = st.dictionaries(st.sampled_from(["F", "p", "o.p"]), scalars, max_size=2)
records: st.SearchStrategy[Record] = st.dictionaries(names, st.one_of(values, inner), max_size=5)

fields = st.sampled_from(FIELDS)
parts = st.sampled_from(
    [
        ("abc",),
        (ANY, "abc", ANY),
        (ANY, "b", ANY),
        ("a", ANY),
        (ANY,),
        (),
        (ANY, "k", ANY),
        (ANY, "1", ANY),
        (ANY, "é", ANY),
    ]
)
atoms: st.SearchStrategy[Expr] = st.one_of(
    st.builds(Text, fields, parts, st.booleans()),
    st.builds(Text, st.none(), parts.filter(lambda each: each not in ((), (ANY,))), st.just(False)),
    st.builds(Number, fields, st.sampled_from([0, 1, 0.5])),
    st.builds(Bool, fields, st.booleans()),
    st.builds(Null, fields),
    st.builds(Exists, fields),
    st.builds(Compare, fields, st.sampled_from(["lt", "gte"]), st.just(1)),
    st.builds(Regex, st.one_of(fields, st.none()), st.sampled_from(["a.c", "^k$"]), st.sampled_from(["", "i"])),
    st.builds(Cidr, fields, st.just("192.0.2.0/24")),
    st.builds(FieldRef, fields, fields),
)
conditions: st.SearchStrategy[Expr] = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=5,
)


def engine_over(expressions: list[Expr]) -> Engine:
    rules = [
        Rule(id=str(number), title="t", file="f", logsource=LogSource("x"), condition=condition)
        for number, condition in enumerate(expressions)
    ]
    return Engine(rules)


@given(st.lists(records, min_size=1, max_size=8), st.lists(conditions, min_size=1, max_size=6), st.data())
def test_dictionaries_give_what_rows_give(events: list[Record], expressions: list[Expr], data: st.DataObject) -> None:
    rows = RecordBlock("jsonl", range(len(events)), events)
    expected = engine_over(expressions).match(VIEW, rows)
    key = SegmentKey(organisation=OrganisationId(1), stream="s", layout="plain", format="jsonl", month=None)
    builder = SegmentBuilder(key)
    builder.add(Rows(rows, range(len(events)), [None] * len(events), 1))
    chosen = frozenset(data.draw(st.sets(st.integers(0, len(expressions) - 1))))
    encoded = EncodedEngine(engine_over(expressions))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.parquet"
        path.write_bytes(parquet_bytes(builder.finished()))
        with Segment(path) as segment:
            (block,) = segment.blocks()
            assert encoded.match(VIEW, block) == expected
            assert encoded.match(VIEW, block, chosen) == [each for each in expected if each[0] in chosen]
            if not encoded.can_match(VIEW, block.is_there):
                assert expected == []
            some = sorted(data.draw(st.sets(st.integers(0, len(events) - 1), min_size=1)))
            taken = [(index, some.index(row)) for index, row in expected if row in some]
            assert encoded.match(VIEW, block.take(some)) == taken

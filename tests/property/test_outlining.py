"""An outline never says that nothing can be found where the engine finds something."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.engine import Engine
from mingjian.formats.records import RecordBlock
from mingjian.hunt.outlining import Prospect, Question
from mingjian.model.rules import ANY, Expr, LogSource, Rule, Text
from mingjian.model.values import Record
from mingjian.store.blocks import Segment
from mingjian.store.outlines import Draft, Outline
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import Rows, SegmentBuilder, SegmentKey
from mingjian.store.writing import parquet_bytes
from property.test_encoded import FIELDS, VIEW, conditions, records

WORDS = ("whoami", "C:\\Tools\\whoami.exe", "Kelvin \u212aelvin", "\u017ftraße", "密码本", '{"q":"who"}', "fal\udc80se")

words = st.sampled_from(WORDS)
nested = st.one_of(
    words,
    st.lists(st.one_of(words, st.booleans(), st.floats()), max_size=2),
    st.dictionaries(st.sampled_from(["p", "q"]), st.one_of(words, st.lists(words, max_size=2)), max_size=2),
)
wordy: st.SearchStrategy[Record] = st.dictionaries(st.sampled_from(["F", "G", "o", "o.p", "inner"]), nested, max_size=4)


@st.composite
def pieces(draw: st.DrawFn) -> str:
    """A piece of a word, in some other case."""
    word = draw(st.sampled_from((*WORDS, "true", "infinity", '"q":"whoami"', '["whoami"]', "kelvin", "strasse")))
    start = draw(st.integers(0, len(word) - 1))
    piece = word[start : draw(st.integers(start + 1, len(word)))]
    return draw(st.sampled_from((piece, piece.upper(), piece.swapcase())))


texts: st.SearchStrategy[Expr] = st.one_of(
    st.builds(lambda field, piece: Text(field, (ANY, piece, ANY)), st.sampled_from((*FIELDS, None)), pieces()),
    st.builds(lambda field, piece: Text(field, (piece,)), st.sampled_from(FIELDS), words),
)


def outlined(events: list[Record], known: Outline | None = None) -> Outline:
    """The outline of one segment, or of one more."""
    rows = RecordBlock("jsonl", range(len(events)), events)
    key = SegmentKey(organisation=OrganisationId(1), stream="s", layout="plain", format="jsonl", month=None)
    builder = SegmentBuilder(key)
    builder.add(Rows(rows, range(len(events)), [None] * len(events), 1))
    draft = Draft(known)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "s.parquet"
        path.write_bytes(parquet_bytes(builder.finished()))
        with Segment(path) as segment:
            draft.add(1, segment)
    return draft.outline()


@given(
    st.lists(st.one_of(records, wordy), min_size=1, max_size=6),
    st.lists(st.one_of(conditions, texts), min_size=1, max_size=4),
    st.lists(wordy, min_size=1, max_size=2),
)
def test_what_the_engine_finds_no_outline_denies(
    events: list[Record], expressions: list[Expr], more: list[Record]
) -> None:
    rules = [
        Rule(id=str(number), title="t", file="f", logsource=LogSource("x"), condition=condition)
        for number, condition in enumerate(expressions)
    ]
    engine = Engine(rules)
    found = {rule for rule, _ in engine.match(VIEW, RecordBlock("jsonl", range(len(events)), events))}
    outline = outlined(events)
    for each in (outline, outlined(more, outline)):
        for rule in range(len(rules)):
            prospect = Question(engine, [rule]).prospect(each, VIEW)
            assert prospect is Prospect.OPEN or rule not in found
        assert Question(engine, range(len(rules))).prospect(each, VIEW) is Prospect.OPEN or not found

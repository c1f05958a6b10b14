"""Projections of JSON lines: the same values as in the whole records, however the keys are nested."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.formats import projection
from mingjian.formats.projection import project
from mingjian.model.values import MISSING, find

PATHS = ("a.b", "a.c", "a.b.c", "d.e.f", "d.g", "h", "d.e f")
keys = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c", "d", "e", "f", "d.e", "e.f", "g", "h", "e f"])
scalars = st.none() | st.integers(0, 3) | st.text("xy", max_size=2)
objects = st.recursive(
    st.dictionaries(keys, scalars, max_size=3),
    lambda inner: st.dictionaries(keys, scalars | inner, max_size=4),
    max_leaves=6,
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=4), max_leaves=10
)


@given(
    st.lists(objects | st.dictionaries(keys, anything, max_size=4), min_size=1, max_size=5),
    st.lists(st.sampled_from(PATHS), unique=True, min_size=1, max_size=4),
)
def test_a_projection_gives_what_the_whole_records_hold(records: list[dict], paths: list[str]) -> None:
    projection._irregular.clear()
    lines = [json.dumps(record).encode() for record in records]
    for _ in range(2):
        columns = project(lines, tuple(paths))
        for path, column in zip(paths, columns, strict=True):
            assert column == [find(record, path) for record in records]


def test_objects_on_the_way_are_not_built() -> None:
    lines = [b'{"winlog":{"event_data":{"Image":"x","Other":"y"},"channel":"c"}}'] * 3
    projection._irregular.clear()
    paths = ("winlog.event_data.Image", "winlog.channel", "winlog.event_data.Absent")
    assert project(lines, paths) == [["x"] * 3, ["c"] * 3, [MISSING] * 3]
    assert not projection._irregular


def test_something_else_on_the_way_is_looked_up() -> None:
    projection._irregular.clear()
    lines = [b'{"a":{"b":1}}', b'{"a":"text"}', b'{"a":[{"b":2}]}', b'{"a":null}']
    assert project(lines, ("a.b",)) == [[1, MISSING, [2], MISSING]]
    assert projection._irregular == {("a.b",)}


def test_a_line_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="object"):
        project([b"[1]"], ("a.b",))
    with pytest.raises(ValueError, match="malformed"):
        project([b'{"a":x}'], ("a",))

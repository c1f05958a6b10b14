"""Atoms and conditions in words."""

from __future__ import annotations

import pytest

from mingjian.detect.words import atom_in_words, expression_in_words
from mingjian.model.rules import (
    ANY,
    ONE,
    And,
    AnyAtom,
    Bool,
    Cidr,
    Compare,
    Exists,
    FieldRef,
    Not,
    Null,
    Number,
    Or,
    Regex,
    Text,
    TimePart,
)


@pytest.mark.parametrize(
    ("atom", "words"),
    [
        (Text("a", ("x", ONE, ANY), True), "a = 'x?*' (case counts)"),
        (Text(None, (ANY, "x", ANY)), "any value = '*x*'"),
        (Number("a", 4624), "a = 4624"),
        (Bool("a", True), "a = true"),
        (Null("a"), "a is null"),
        (Exists("a"), "a exists"),
        (Compare("a", "lt", 1.5), "a < 1.5"),
        (Regex("a", "^x", "i"), "a ~ /^x/i"),
        (Cidr("a", "10.0.0.0/8"), "a in 10.0.0.0/8"),
        (FieldRef("a", "b"), "a = the field b"),
        (FieldRef("a", "b", "endswith", True), "a endswith the field b (case counts)"),
        (TimePart("a", "hour", "gte", 22), "hour of a ≥ 22"),
    ],
)
def test_each_atom(atom: AnyAtom, words: str) -> None:
    assert atom_in_words(atom) == words


def test_a_whole_condition() -> None:
    condition = Or((And((Null("a"), Not(Exists("b")))), Number("c", 1)))
    assert expression_in_words(condition) == "((a is null and not b exists) or c = 1)"

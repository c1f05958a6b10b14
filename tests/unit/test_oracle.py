"""The slow evaluator says what the specification and matching.md say: tables made by hand.

A row is the body of a selection in YAML, an event, and whether the one matches the other.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.model.values import EMPTY, MISSING
from oracle import regex
from oracle.events import Event, coalesced, fold, fold_character
from oracle.match import explain, matches, runs_match
from oracle.rules import MANY, MODIFIERS, ONE, Reading, Wild, covers, read, runs_of
from oracle.tables import (
    CONDITIONS,
    PLACEHOLDERS,
    REFUSED,
    SELECTIONS,
    Row,
    condition_event,
    condition_rule,
    detection_of,
    rule_of,
)

MODIFIER_ROWS_MIN = 4
"""So many rows at least use each modifier of the specification."""


def reading_of(detection: str) -> Reading:
    return read([("file.yml", rule_of(detection))], PLACEHOLDERS)


def evaluate(detection: str, event: dict[str, Any]) -> bool:
    reading = reading_of(detection)
    assert not reading.refused, reading.refused
    return matches(reading.rules[0], Event(event))


@pytest.mark.parametrize("row", SELECTIONS, ids=[f"{r.selection!r} {r.event!a} {r.expected}" for r in SELECTIONS])
def test_a_selection_matches_as_the_specification_says(row: Row) -> None:
    assert evaluate(detection_of(row.selection), row.event) == row.expected


def test_no_row_stands_twice_and_there_are_enough() -> None:
    keys = [repr(row) for row in SELECTIONS]
    assert len(set(keys)) == len(keys) >= 150


@pytest.mark.parametrize("modifier", sorted(MODIFIERS))
def test_each_modifier_of_the_specification_stands_in_enough_rows(modifier: str) -> None:
    rows = [row for row in SELECTIONS if re.search(rf"^[^:\n]*\|{modifier}\b", row.selection, re.MULTILINE)]
    assert len(rows) >= MODIFIER_ROWS_MIN
    assert {row.expected for row in rows} == {True, False}


def test_the_modifiers_are_those_of_the_specification() -> None:
    appendix = """all startswith endswith contains exists cased neq windash re i m s base64 base64offset utf16le utf16be
        utf16 wide lt lte gt gte minute hour day week month year cidr expand fieldref"""
    assert sorted(MODIFIERS) == sorted(appendix.split())


# --- conditions ---


@pytest.mark.parametrize(("condition", "true", "expected"), CONDITIONS)
def test_a_condition_is_read_as_the_specification_says(condition: str, true: str, expected: bool | None) -> None:
    reading = read([("file.yml", condition_rule(condition))])
    event = condition_event(true)
    if expected is None:
        assert reading.refused
        assert not reading.rules
    else:
        assert matches(reading.rules[0], Event(event)) == expected


@pytest.mark.parametrize("selection", REFUSED)
def test_what_has_no_meaning_is_refused_with_a_reason(selection: str) -> None:
    reading = reading_of(detection_of(selection))
    assert not reading.rules
    assert reading.refused[0][0] == "file.yml"
    assert reading.refused[0][1]


def test_one_bad_document_does_not_stop_the_others() -> None:
    good = b"title: g\nlogsource: {product: p}\ndetection: {s: {F: 1}, condition: s}\n"
    reading = read([("one.yml", good + b"---\ntitle: bad\n---\n" + good), ("two.yml", b"a: [")])
    assert len(reading.rules) == 2
    assert [file for file, _ in reading.refused] == ["one.yml", "two.yml"]


# --- filters ---

FILTERED = """
title: r
id: 1
name: named
logsource: {{product: windows, category: process_creation}}
detection: {{s: {{F: a}}, condition: s}}
---
title: f
logsource: {logsource}
filter: {{rules: [{rule}], selection: {{G|startswith: adm_}}, condition: {condition}}}
"""


@pytest.mark.parametrize(
    ("rule", "logsource", "condition", "with_adm", "without"),
    [
        ("'1'", "{product: windows}", "not selection", False, True),
        ("'1'", "{product: windows}", "selection", True, False),
        ("named", "{category: process_creation}", "not selection", False, True),
        ("'2'", "{product: windows}", "not selection", True, True),
        ("'1'", "{product: linux}", "not selection", True, True),
        ("'1'", "{product: windows, service: sysmon}", "not selection", True, True),
        ("'1'", "{}", "not selection", False, True),
    ],
)
def test_a_filter_is_anded_to_the_rules_that_it_names(
    rule: str, logsource: str, condition: str, with_adm: bool, without: bool
) -> None:
    text = FILTERED.format(rule=rule, logsource=logsource, condition=condition)
    reading = read([("f.yml", text.encode())])
    assert not reading.refused
    assert matches(reading.rules[0], Event({"F": "a", "G": "adm_x"})) == with_adm
    assert matches(reading.rules[0], Event({"F": "a", "G": "x"})) == without


def test_a_stream_is_searched_if_it_has_every_part_that_the_rule_names() -> None:
    stream = ("windows", "process_creation", "sysmon")
    assert covers((None, None, None), stream)
    assert covers(("windows", None, "sysmon"), stream)
    assert not covers(("windows", None, "security"), stream)
    assert not covers(("windows", "process_creation", None), ("windows", None, "sysmon"))


# --- field lookup ---


def test_the_first_place_with_a_value_counts_and_null_only_if_there_is_none() -> None:
    paths = ("a", "b.c", "d")
    assert coalesced({"a": None, "b": {"c": 0}, "d": 1}, paths) == 0
    assert coalesced({"a": "", "d": 1}, paths) == ""
    assert coalesced({"b": {"c": None}}, paths) is None
    assert coalesced({"e": 1}, paths) is MISSING
    assert coalesced({"a": EMPTY, "d": 1}, paths) == 1
    assert coalesced({"a": None, "b": {"c": EMPTY}}, paths) is None
    assert coalesced({"a": EMPTY, "b": {"c": None}}, paths) is EMPTY
    assert coalesced({"a": [], "d": 1}, paths) == []


def test_an_explanation_names_what_was_true() -> None:
    rule = reading_of("a: {F: x}\nb: {G: 1}\ncondition: a and not b").rules[0]
    assert list(explain(rule.tree, Event({"F": "x"}))) == [
        "+ AllOf",
        "  + AllOf",
        "    + F: 'x'",
        "  + Not",
        "    - AllOf",
        "      - G: 1",
    ]


# --- the parts against simpler ones ---


def test_folding_keeps_the_length_and_is_done_once() -> None:
    for code in range(0x110000):
        folded = fold_character(chr(code))
        assert len(folded) == 1
        assert fold_character(folded) == folded
    assert fold("AßẞİK") == "aßßİk"


def glob_by_definition(parts: tuple[str | Wild, ...], text: str) -> bool:
    if not parts:
        return not text
    if parts[0] is MANY:
        return any(glob_by_definition(parts[1:], text[at:]) for at in range(len(text) + 1))
    if parts[0] is ONE:
        return bool(text) and glob_by_definition(parts[1:], text[1:])
    return text.startswith(str(parts[0])) and glob_by_definition(parts[1:], text[len(str(parts[0])) :])


@given(st.lists(st.sampled_from([MANY, ONE, "a", "ab", "b"]), max_size=6), st.text("ab", max_size=8))
def test_wildcards_match_as_by_definition(parts: list[str | Wild], text: str) -> None:
    spaced = [key for key, group in itertools.groupby(parts) for _ in ([0] if key is MANY else group)]
    assert runs_match(runs_of(tuple(spaced)), text) == glob_by_definition(tuple(spaced), text)


PIECES = st.sampled_from(
    [*"abk.^$|()", "a*", "b+", "(?:ab)?", "[a-k]", "[^a]", "\\b", "\\w", "\\W", "\\s", "(a|b)*", "a{1,2}", "\n", "(?i)"]
)


@given(
    st.lists(PIECES, max_size=6).map("".join), st.sets(st.sampled_from("ims")), st.text("abkK\u212a \n_", max_size=8)
)
def test_sets_of_positions_agree_with_the_standard_library(pattern: str, flags: set[str], text: str) -> None:
    try:
        node = regex.parse(pattern, "".join(flags))
    except regex.RegexRefused:
        return
    quick = regex.compiled(node)
    if quick is not None:
        assert bool(quick.search(text)) == regex.search(node, text)


def test_no_pattern_takes_exponential_time() -> None:
    node = regex.parse("^(a+)+$")
    assert regex.compiled(node) is None
    assert not regex.search(node, "a" * 200 + "!")

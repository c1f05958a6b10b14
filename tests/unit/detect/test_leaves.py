"""Leaves, their texts, numbers, addresses, dates; and the folding."""

from __future__ import annotations

import datetime
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.leaves import Leaf, all_leaves, fold, is_null, leaves, number_of, text_of, time_parts
from mingjian.model.values import EMPTY, MISSING


@given(st.text())
def test_folding_keeps_the_length_and_folding_twice_changes_nothing(text: str) -> None:
    assert len(fold(text)) == len(text)
    assert fold(fold(text)) == fold(text)


def test_folding_agrees_with_full_case_folding_wherever_that_is_one_character() -> None:
    for code in range(0x110000):
        character = chr(code)
        full = character.casefold()
        if len(full) == 1:
            assert fold(character) == full, unicodedata.name(character, hex(code))


@pytest.mark.parametrize(
    ("one", "two"), [("ß", "ẞ"), ("k", "\u212a"), ("s", "ſ"), ("σ", "ς"), ("Ä", "ä"), ("Ⓐ", "ⓐ"), ("𐐀", "𐐨")]
)
def test_pairs_that_differ_in_case_only_fold_alike(one: str, two: str) -> None:
    assert fold(one) == fold(two)


@pytest.mark.parametrize(("one", "two"), [("ß", "ss"), ("İ", "i"), ("ı", "i"), ("ﬁ", "fi")])
def test_pairs_that_need_more_than_one_character_stay_apart(one: str, two: str) -> None:
    assert fold(one) != fold(two)


def test_leaves_of_every_kind_of_value() -> None:
    assert list(leaves(MISSING)) == list(leaves(None)) == list(leaves([])) == list(leaves([None, [None]])) == []
    assert list(leaves([1, ["a", [True]], {"k": [1]}])) == [1, "a", True, '{"k":[1]}']
    assert list(leaves(EMPTY)) == [EMPTY]
    assert sorted(map(str, all_leaves({"a": {"b": [1, {"c": "x"}]}, "d": None}))) == ["1", "x"]


def test_what_is_null() -> None:
    assert all(map(is_null, (MISSING, None, EMPTY, [], [None])))
    assert not any(map(is_null, ("", 0, False, [""], {})))


@pytest.mark.parametrize(
    ("leaf", "text"), [("A", "A"), (EMPTY, ""), (True, "true"), (False, "false"), (7, "7"), (1.0, "1.0"), (1.5, "1.5")]
)
def test_texts(leaf: Leaf, text: str) -> None:
    assert text_of(leaf) == text


@pytest.mark.parametrize(
    ("leaf", "number"),
    [
        ("12", 12),
        ("-1.5e3", -1500.0),
        ("0xFF", 255),
        (3, 3),
        ("", None),
        (" 1", None),
        ("1 ", None),
        ("١", None),
        ("1_0", None),
        (True, None),
        ("0x", None),
        ("9" * 65, None),
    ],
)
def test_numbers(leaf: Leaf, number: float | None) -> None:
    assert number_of(leaf) == number


@given(st.datetimes(min_value=datetime.datetime(1000, 1, 1)), st.sampled_from(["T", " "]))
def test_time_parts_are_those_that_are_written(moment: datetime.datetime, between: str) -> None:
    parts = time_parts(moment.isoformat(between) + "+05:00")
    assert parts == {
        "year": moment.year,
        "month": moment.month,
        "day": moment.day,
        "hour": moment.hour,
        "minute": moment.minute,
        "week": moment.isocalendar().week,
    }


@pytest.mark.parametrize("leaf", ["2024-13-01", "20240101", "", True, EMPTY, float("nan"), 1e300])
def test_what_is_no_date_has_no_parts(leaf: Leaf) -> None:
    assert time_parts(leaf) == {}


def test_numbers_are_seconds_or_milliseconds_since_1970() -> None:
    assert time_parts(1_700_000_000) == time_parts(1_700_000_000_000) == time_parts("2023-11-14T22:13:20Z")

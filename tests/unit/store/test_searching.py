"""Finding texts in all values of a column at once."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.leaves import fold
from mingjian.store import searching
from mingjian.store.arrow import texts_of
from mingjian.store.searching import is_anywhere, may_hold

LETTERS = st.text(alphabet="abAB\u212akſs\0\\*(é", max_size=6)


@given(st.lists(LETTERS, max_size=8), st.lists(st.text(alphabet="abks\\*(", min_size=1, max_size=3), max_size=3))
def test_what_holds_a_needle_is_named(texts: list[str], needles: list[str]) -> None:
    array = pa.array(texts, pa.string())
    for column in (array, array.dictionary_encode()):
        looked_at = column.dictionary.to_pylist() if isinstance(column, pa.DictionaryArray) else texts
        hits = may_hold(column, needles)
        assert len(hits) == len(looked_at)
        for text, hit in zip(looked_at, hits.tolist(), strict=True):
            assert hit or not any(fold(needle) in fold(text) for needle in needles)


@given(st.lists(LETTERS, max_size=8), st.lists(st.text(alphabet="abks\\*(", min_size=1, max_size=3), min_size=1))
def test_of_texts_together_it_is_said_whether_some_may_hold_a_needle(texts: list[str], needles: list[str]) -> None:
    is_there = any(fold(needle) in fold(text) for needle in needles for text in texts)
    folds_to_ascii = any(character in text for text in texts for character in "\u212a\u017f")
    assert is_anywhere(texts, needles) == (is_there or folds_to_ascii)


def test_what_holds_no_needle_is_not_named_and_cuts_do_not_matter() -> None:
    array = pa.array(["no", "Abc", "xab", "c", "", "ABC abc"]).dictionary_encode()
    assert may_hold(array, ["abc"]).tolist() == [False, True, False, True, False, True]
    assert may_hold(array.slice(1, 2), ["bc"]).tolist() == may_hold(array, ["bc"]).tolist()


def test_an_empty_column_names_nothing() -> None:
    assert may_hold(pa.array([], pa.string()), ["a"]).tolist() == []
    assert may_hold(pa.array([None, None], pa.string()), ["a"]).tolist() == []


def test_rows_without_a_text_are_not_among_the_texts() -> None:
    column = pa.array([None, "a", None, "b"], pa.string())
    assert may_hold(column, ["a"]).tolist() == [True, False]
    assert texts_of(column)[0].tolist() == [-1, 0, -1, 1]


def test_where_there_is_too_much_to_find_everything_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "FINDS_MAX", 3)
    assert may_hold(pa.array(["aaaa", "b"]), ["a"]).tolist() == [True, True]

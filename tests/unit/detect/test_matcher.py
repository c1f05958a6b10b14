"""One field's atoms against values: every kind of atom, type traps, and the sieve in front of RE2."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.leaves import fold
from mingjian.detect.matcher import FieldMatcher, Glob, regex_found
from mingjian.model.rules import (
    ANY,
    ONE,
    AnyAtom,
    Bool,
    Cidr,
    Compare,
    Exists,
    FieldRef,
    Null,
    Number,
    Regex,
    Text,
    TimePart,
)
from mingjian.model.values import EMPTY, MISSING

F = "f"


def matcher(*atoms: AnyAtom) -> FieldMatcher:
    """A matcher over some atoms."""
    return FieldMatcher(atoms)


@pytest.mark.parametrize(
    ("atom", "true_for", "false_for"),
    [
        (Text(F, ("Cmd.exe",)), ["CMD.EXE", "cmd.exe"], ["xcmd.exe", "cmd.exe ", "", None, MISSING, 1]),
        (Text(F, (ANY, "\\cmd.exe")), ["C:\\CMD.exe", "\\cmd.exe"], ["cmd.exe", "\\cmd.exe\n", "\\cmd.exex"]),
        (Text(F, ("C:", ANY)), ["c:", "C:\\x\ny"], [" c:", "\nc:"]),
        (Text(F, (ANY, "a.b", ANY)), ["xA.By", "a\na.b\n"], ["axb"]),
        (Text(F, (ANY, "a", ONE, "c", ANY)), ["xAbCx", "aßc", "a\nc"], ["ac", "abbc"]),
        (Text(F, ("a", ANY, "b", ANY, "c")), ["abc", "aXbYc", "abcbc"], ["acb", "ab", "abcx"]),
        (Text(F, (ONE, ONE)), ["ab", "ßß", 42], ["a", "abc", ""]),
        (Text(F, (ANY,)), ["", "x", 0, False, EMPTY, [1]], [None, MISSING, [], [None]]),
        (Text(F, ()), ["", EMPTY, ["x", ""]], [None, MISSING, " ", []]),
        (Text(F, ("AbC",), True), ["AbC"], ["abc"]),
        (Text(F, (ANY, "AbC", ANY), True), ["xAbCx"], ["xabcx", "xABCx"]),
        (Text(F, (ANY, "straße", ANY)), ["STRAẞE", "straße"], ["strasse"]),
        # Longer than what the automaton looks for: the rest has to be confirmed.
        (Text(F, (ANY, "a" * 600, ANY)), ["x" + "A" * 600 + "y"], ["a" * 599, "a" * 500 + "b" * 100]),
        (Text(F, ("a" * 600, ANY)), ["A" * 600], ["a" * 599 + "b", "x" + "a" * 600]),
        (Regex(F, "^x?$", ""), ["", "x"], ["xx", "y"]),
        (Text(F, ("true",)), [True, "TRUE"], [1, "1"]),
        (Text(F, ("42",)), [42, "42"], [42.0, "042"]),
        (Number(F, 42), [42, 42.0, "42", ["x", 42]], ["042", "42.0", "0x2a", True, 43]),
        (Number(F, 1), [1, 1.0, "1"], [True, "true"]),
        (Number(F, 1.5), [1.5, "1.5"], ["1.50", 1]),
        (Bool(F, True), [True, "true", "True"], [1, "1", False, "yes"]),
        (Bool(F, False), [False, "FALSE"], [0, "", None]),
        (Null(F), [None, MISSING, EMPTY, [], [None]], ["", 0, False]),
        (Exists(F), [None, "", EMPTY, [], 0], [MISSING]),
        (Compare(F, "gt", 10), [11, 10.5, "11", "0x0b"], [10, "10", "abc", "", True, None]),
        (Compare(F, "lte", -1), [-1, "-1.0", "-2e0"], [0, "0"]),
        (Cidr(F, "10.1.0.0/16"), ["10.1.2.3", "::ffff:10.1.2.3"], ["10.2.0.1", "10.1.2", "x", 10]),
        (Cidr(F, "10.1.2.3/16"), ["10.1.9.9"], []),
        (Cidr(F, "fe80::/10"), ["fe80::1%eth0", "FE80::1"], ["fec0::1", "1.2.3.4"]),
        (Regex(F, "^a.c$"), ["abc"], ["ABC", "xabc", "a\nc"]),
        (Regex(F, "a.c", "is"), ["xA\nCx"], ["ac"]),
        (Regex(F, "^b$", "m"), ["a\nb\nc"], ["ab"]),
        (Regex(F, "k", "i"), ["\u212a", "K"], ["x"]),
        (Regex(F, ""), ["", "x", EMPTY], [None, MISSING]),
        (Regex(F, "^.$"), ["ü", "x", "\udcff"], ["üx"]),
        (Regex(F, "(a+)+$"), ["a" * 50], ["a" * 50 + "b"]),
        (TimePart(F, "hour", "gte", 22), ["2024-01-01T22:00:00Z", "2024-01-01 23:59"], ["2024-01-01", "21:00", 3600]),
        (TimePart(F, "week", "eq", 1), ["2024-12-30"], ["2024-12-29"]),
    ],
)
def test_each_kind_of_atom(atom: AnyAtom, true_for: list, false_for: list) -> None:
    # Company must not matter: every atom is asked alone and among others of its kind and of other kinds.
    alone = matcher(atom)
    among = matcher(Text(F, (ANY, "zzz", ANY)), Regex(F, "q{3}"), atom, Number(F, 7), Text(F, ("Zq",), True))
    for value in true_for:
        assert alone.atoms_of(value) == {0}, value
        assert 2 in among.atoms_of(value), value
    for value in false_for:
        assert alone.atoms_of(value) == frozenset(), value
        assert 2 not in among.atoms_of(value), value


def test_equal_values_of_different_types_are_kept_apart_in_one_column() -> None:
    made = matcher(Number(F, 1), Bool(F, True), Text(F, ("1.0",)))
    column = [1, True, 1.0, "1", "true", 1, True, None, [1], [True]]
    codes = made.column(column)
    assert [set(made.signatures[code]) for code in codes] == [
        {0},
        {1},
        {0, 2},
        {0},
        {1},
        {0},
        {1},
        set(),
        {0},
        {1},
    ]


@given(st.lists(st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text("1truex", max_size=4)))
def test_a_column_says_of_each_value_what_the_value_alone_says(values: list) -> None:
    atoms = (Number(F, 1), Bool(F, True), Text(F, (ANY, "1", ANY)), Null(F), Compare(F, "gt", 0), Regex(F, "^t"))
    made = matcher(*atoms)
    fresh = matcher(*atoms)
    for _ in range(2):
        codes = made.column(values)
        assert [made.signatures[code] for code in codes] == [fresh.atoms_of(value) for value in values]


def test_forgetting_changes_no_answer() -> None:
    made = matcher(Text(F, (ANY, "x", ANY)), Null(F))
    long = ["x" * 1_000_000 + str(n) for n in range(20)]
    made.column(long)
    assert made.held_bytes > 20_000_000
    made.forget()
    assert made.held_bytes == 0
    assert [made.signatures[code] for code in made.column([None, "x", "y"])] == [{1}, {0}, frozenset()]


class Asked(dict[str, bytes]):
    """Remembers what it gave."""

    def __init__(self, blobs: dict[str, bytes]) -> None:
        super().__init__(blobs)
        self.given: list[str] = []

    def get(self, key: str, default: bytes | None = None) -> bytes | None:  # type: ignore[override]  # what a matcher asks
        """One value."""
        self.given += [key] if key in self else []
        return super().get(key, default)


def test_loaded_automata_answer_like_compiled_ones() -> None:
    atoms = (Text(F, (ANY, "abc", ANY)), Regex(F, "d+e"), Text(F, ("Q", ANY), True))
    first = matcher(*atoms)
    blobs = Asked(first.blobs())
    second = FieldMatcher(atoms, blobs)
    assert blobs.given == list(blobs)
    for value in ("xABCx", "dde", "Qx", "qx", ""):
        assert first.atoms_of(value) == second.atoms_of(value)


def test_a_comparison_of_two_fields_is_refused() -> None:
    with pytest.raises(AssertionError):
        FieldMatcher([FieldRef(F, "g")])


tokens = st.lists(st.text("ab", min_size=1, max_size=2) | st.sampled_from([ANY, ONE]), max_size=5)


@given(tokens, st.text("abc", max_size=8))
def test_globs_are_what_the_same_regular_expression_is(parts: list[str | int], text: str) -> None:
    pattern = "".join(re.escape(part) if isinstance(part, str) else ".*" if part == ANY else "." for part in parts)
    assert Glob(parts).matches(text) == (re.fullmatch(pattern, text, re.DOTALL) is not None)


@given(tokens, st.text("aAbBcß", max_size=8))
def test_text_atoms_are_globs_over_folded_text(parts: list[str | int], text: str) -> None:
    merged: list[str | int] = []
    for part in parts:
        if merged and isinstance(part, str) and isinstance(merged[-1], str):
            merged[-1] += part
        elif not (merged and part == ANY and merged[-1] == ANY and not isinstance(part, str)):
            merged.append(part)
    wanted = Glob(merged).matches(fold(text))
    assert (0 in matcher(Text(F, tuple(merged))).atoms_of(text)) == wanted


pieces = st.sampled_from(
    ["a", "b", "B", ".", "a*", "b+", "[ab]", "[^a]", "(a|b)", "^", "$", r"\d", r"\s", r"\.", "a{2}", r"\w"]
)


@given(
    st.lists(pieces, max_size=5).map("".join), st.text("abAB1. \n", max_size=8), st.sampled_from(["", "i", "s", "m"])
)
def test_the_sieve_never_hides_a_match_from_re2(pattern: str, text: str, flags: str) -> None:
    found = 0 in matcher(Regex(F, pattern, flags)).atoms_of(text)
    assert found == regex_found(pattern, flags, text)

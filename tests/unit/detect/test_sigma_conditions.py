"""The language of conditions, against a slow reading of the same language and by example."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.sigma.conditions import expression_of, names_matching, parse_condition
from mingjian.errors import LimitExceeded, RuleError, UnsupportedRule
from mingjian.model.rules import And, Expr, Not, Null, Or

NAMES = ("s1", "s2", "filter_a", "filter_b", "_hidden", "notepad", "and1", "orchid", "1", "all", "of_s", "them2", "a-b")
SEARCHES: dict[str, Expr | None] = {name: Null(name) for name in NAMES}


def expression(text: str) -> Expr | None:
    return expression_of(parse_condition(text), SEARCHES)


def truth(expr: Expr, true: frozenset[str]) -> bool:
    if isinstance(expr, And):
        return all(truth(item, true) for item in expr.items)
    if isinstance(expr, Or):
        return any(truth(item, true) for item in expr.items)
    if isinstance(expr, Not):
        return not truth(expr.item, true)
    assert isinstance(expr, Null)
    return expr.field in true


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("s1", "s1"),
        ("s1 and s2 or filter_a", "(s1 and s2) or filter_a"),
        ("s1 or s2 and filter_a", "s1 or (s2 and filter_a)"),
        ("not s1 and s2", "(not s1) and s2"),
        ("not (s1 and s2)", "not (s1 and s2)"),
        ("not not s1", "s1"),
        ("s1 and not 1 of filter*", "s1 and not (filter_a or filter_b)"),
        ("s1 and not all of filter_*", "s1 and not (filter_a and filter_b)"),
        ("all of s*", "s1 and s2"),
        ("any of s*", "s1 or s2"),
        ("1 of *_a", "filter_a"),
        ("1 of f*_*b", "filter_b"),
        ("2 of filter*", "filter_a and filter_b"),
        ("((s1))and(s2)", "s1 and s2"),
        ("s1 AND NOT 1 OF filter*", "s1 and not (filter_a or filter_b)"),
        ("notepad and and1 or orchid", "(notepad and and1) or orchid"),
        ("1 of of_s", "of_s"),
        ("1 and s1", "_1 and s1"),
        ("all or s1", "_all or s1"),
        ("a-b", "a_b"),
        ("1 of _*", "_hidden"),
        ("\n s1\n  or\ts2 ", "s1 or s2"),
    ],
)
def test_a_condition_means_what_python_says_it_means(text: str, python: str) -> None:
    found = expression(text)
    assert found is not None
    for chosen in itertools.chain.from_iterable(itertools.combinations(NAMES, size) for size in (0, 1, 2, 3, 13)):
        values = {name: name in chosen for name in NAMES}
        values |= {"_1": values["1"], "_all": values["all"], "a_b": values["a-b"]}
        assert truth(found, frozenset(chosen)) == eval(python, {}, values), chosen  # noqa: S307 # written above


def test_n_of_counts() -> None:
    found = expression("2 of them")
    assert found is not None
    shown = [name for name in NAMES if not name.startswith("_")]
    for chosen in itertools.chain.from_iterable(itertools.combinations(NAMES, size) for size in (0, 1, 2, 3)):
        assert truth(found, frozenset(chosen)) == (sum(name in shown for name in chosen) >= 2), chosen


def test_them_leaves_out_names_that_start_with_an_underscore() -> None:
    assert "_hidden" not in names_matching("them", NAMES)
    assert "_hidden" not in names_matching("*", NAMES)
    assert names_matching("_h*", NAMES) == ["_hidden"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "()",
        "s1 and",
        "and s1",
        "s1 s2",
        "(s1",
        "s1)",
        "not",
        "s3",
        "1 of x*",
        "0 of s*",
        "3 of s*",
        "some of s*",
        "1 of",
        "1 of (s1)",
        "s1 or or s2",
        "-1 of s*",
    ],
)
def test_a_wrong_condition_is_refused(text: str) -> None:
    with pytest.raises(RuleError):
        expression(text)


def test_an_aggregation_is_unsupported_and_says_what_to_write() -> None:
    with pytest.raises(UnsupportedRule, match="correlation"):
        parse_condition("s1 | count() by host > 5")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("s1 " * 5_000, "CONDITION_CHARACTERS_MAX"),
        ("(" * 100 + "s1" + ")" * 100, "CONDITION_DEPTH_MAX"),
    ],
)
def test_an_endless_condition_names_its_bound(text: str, limit: str) -> None:
    with pytest.raises(LimitExceeded) as error:
        parse_condition(text)
    assert error.value.limit == limit


def test_too_many_choices_name_their_bound() -> None:
    searches: dict[str, Expr | None] = {f"s{i}": Null(str(i)) for i in range(30)}
    with pytest.raises(LimitExceeded) as error:
        expression_of(parse_condition("15 of s*"), searches)
    assert error.value.limit == "COMBINATIONS_MAX"


def test_a_thousand_nots_are_no_problem() -> None:
    assert expression("not " * 1001 + "s1") == Not(Null("s1"))


def test_what_a_pipeline_emptied_drops_out() -> None:
    searches: dict[str, Expr | None] = {"a": Null("a"), "gone": None}
    assert expression_of(parse_condition("a and not gone"), searches) == Null("a")
    assert expression_of(parse_condition("not gone or 1 of g*"), searches) is None


@given(st.text(alphabet="()s12 andortfi*_|not", max_size=40))
def test_any_text_gives_an_expression_or_a_rule_error(text: str) -> None:
    with contextlib.suppress(RuleError, LimitExceeded):
        expression(text)

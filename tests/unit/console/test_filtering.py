"""The language of filters: what it means, what it refuses, and that what is written is read again."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.console.filtering import TERMS_MAX, Field, read_filter, term
from mingjian.errors import SchemaError
from mingjian.store.narrowing import Condition

FIELDS = {
    "level": Field("level"),
    "host": Field("name"),
    "title": Field("text"),
    "kind": Field("choice", ("rule", "indicator")),
    "hosts": Field("number"),
    "time": Field("time"),
}
DAY_US = 86_400_000_000
NOW_US = 20_000 * DAY_US


def read(text: str) -> tuple[Condition, ...]:
    return read_filter(text, FIELDS, NOW_US)


def test_terms_are_fields_signs_and_values() -> None:
    assert read('host:pc-1,pc-2 -title:"two words"  whoami') == (
        Condition(field="host", values=("pc-1", "pc-2")),
        Condition(field="title", values=("two words",), how="like", negated=True),
        Condition(field="word", values=("whoami",), how="like"),
    )


@pytest.mark.parametrize(
    ("text", "how", "values"),
    [
        ("level>=high", "from", ("high",)),
        ("level>high", "from", ("critical",)),
        ("level<medium", "to", ("low",)),
        ("level:low,high", "is", ("low", "high")),
        ("hosts>3", "from", ("4",)),
        ("hosts<=3", "to", ("3",)),
        ("time>=7d", "from", (str(NOW_US - 7 * DAY_US),)),
        ("time<1h", "to", (str(NOW_US - DAY_US // 24),)),
        ("time>2024-10-03", "from", (str(NOW_US),)),
        ("time:2024-10-04", "within", (str(NOW_US), str(NOW_US + DAY_US - 1))),
        ("time<2024-10-04", "to", (str(NOW_US - 1),)),
    ],
)
def test_what_has_an_order_can_be_compared(text: str, how: str, values: tuple[str, ...]) -> None:
    (condition,) = read(text)
    assert (condition.how, condition.values) == (how, values)


@pytest.mark.parametrize("text", [r"C:\Windows\whoami.exe", "10.0.0.1", "-", '"level>=high"', "a-b", "d:"])
def test_what_is_no_field_is_text(text: str) -> None:
    (condition,) = read(text)
    assert (condition.field, condition.values) == ("word", (text.strip('"'),))


@pytest.mark.parametrize(
    "text",
    ["hots:pc-1", "level>critical", "level:grave", "host>pc", "kind:x", "hosts:many", "time:soon", 'host:"pc', "host:"],
)
def test_what_makes_no_sense_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(SchemaError):
        read(text)


def test_a_filter_is_bounded() -> None:
    with pytest.raises(SchemaError, match="TERMS_MAX"):
        read("a " * (TERMS_MAX + 1))


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_a_schema_error(text: str) -> None:
    with contextlib.suppress(SchemaError):
        read(text)


@given(st.text(st.characters(exclude_characters='"*', exclude_categories=("Cs",)), min_size=1, max_size=30))
def test_a_term_that_is_written_means_its_value(value: str) -> None:
    assert read(term("host", value)) == (Condition(field="host", values=(value,)),)

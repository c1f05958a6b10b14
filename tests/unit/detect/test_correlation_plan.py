"""What a correlation asks is checked before the first match comes in."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from mingjian.detect.correlation import Correlator, correlator, needed_fields, plan, tallies, values, windows
from mingjian.detect.correlation.plan import DEPTH_MAX, ORDERED_RULES_MAX, RULES_MAX, plan_all
from mingjian.detect.sigma.parse import parse_rules
from mingjian.model.rules import Correlation


def correlation(**more: object) -> Correlation:
    usual = {"id": "c", "title": "", "file": "", "type": "event_count", "rules": ("r",), "timespan_s": 60}
    return Correlation(**(usual | {"bounds": (("gte", 1),)} | more))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"rules": ()}, "no rule"),
        ({"rules": ("r", "r")}, "twice"),
        ({"rules": tuple(map(str, range(RULES_MAX + 1)))}, "RULES_MAX"),
        (
            {"type": "temporal_ordered", "rules": tuple(map(str, range(ORDERED_RULES_MAX + 1)))},
            "ORDERED_RULES_MAX",
        ),
        ({"timespan_s": 0}, "timespan"),
        ({"bounds": ()}, "no condition"),
        ({"bounds": (("gt", math.nan),)}, "finite"),
        ({"type": "value_sum"}, "no field"),
        ({"type": "value_percentile", "value_fields": ("n",), "percentile": 101.0}, "between 0 and 100"),
        ({"type": "value_percentile", "value_fields": ("n",), "bounds": (("gt", 5000),)}, "names no percentile"),
        ({"group_by": tuple(map(str, range(33)))}, "GROUP_FIELDS_MAX"),
        ({"rules": ("c",)}, "itself"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_reason(more: dict[str, object], reason: str) -> None:
    correlator = Correlator([correlation(**more), correlation(id="good")])
    (skip,) = correlator.skipped
    assert skip.correlation_id == "c"
    assert reason in skip.reason
    assert list(correlator.report().losses) == ["good"]


def test_what_refers_to_something_unusable_is_unusable_too() -> None:
    chain = [correlation(id="a", rules=("b",)), correlation(id="b", rules=("c",)), correlation(timespan_s=0)]
    assert [skip.correlation_id for skip in Correlator(chain).skipped] == ["c", "b", "a"]


def test_a_circle_is_refused_and_the_rest_goes_on() -> None:
    circle = [correlation(id="a", rules=("b",)), correlation(id="b", rules=("a",)), correlation()]
    correlator = Correlator(circle)
    assert sorted(skip.correlation_id for skip in correlator.skipped) == ["a", "b"]


def test_nesting_has_a_bound() -> None:
    tower = [correlation(id="0")] + [correlation(id=str(n), rules=(str(n - 1),)) for n in range(1, DEPTH_MAX + 1)]
    assert [skip.correlation_id for skip in Correlator(tower).skipped] == [str(DEPTH_MAX)]


def test_two_correlations_with_one_id_are_not_mixed_up() -> None:
    plans, skipped = plan_all([correlation(timespan_s=1), correlation(timespan_s=2)])
    assert [plan.correlation.timespan_s for plan in plans] == [1]
    assert [skip.correlation_id for skip in skipped] == ["c"]


def test_the_fields_that_matches_must_carry_are_told_for_each_rule() -> None:
    inner = correlation(id="inner", rules=("r", "s"), group_by=("Host",), aliases={"User": {"s": "Account"}})
    outer = correlation(
        id="outer", type="value_count", rules=("inner", "t"), group_by=("User",), value_fields=("Host",)
    )
    assert needed_fields([outer, inner]) == {
        "r": ("Host", "User"),
        "s": ("Account", "Host"),
        "t": ("Host", "User"),
    }


def test_the_examples_of_the_specification_can_be_used(shared_data: Path) -> None:
    files = sorted((shared_data / "sigma" / "specification" / "examples" / "correlation").glob("*.yml"))
    assert len(files) == 8
    for file in files:
        parsed = parse_rules(file.read_bytes())
        assert len(parsed.correlations) == 1, file.name
        assert Correlator(parsed.correlations).skipped == [], file.name


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_reference_names_every_bound_with_its_value(language: str) -> None:
    page = Path(__file__).parents[3] / "docs" / language / "reference" / "correlations.md"
    rows = [line.split("|")[1:3] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told: dict[str, int] = {}
    for names, amounts in rows:
        numbers = [int(number.replace(",", "")) for number in re.findall(r"[0-9][0-9,]*", amounts)]
        told.update(zip(re.findall(r"[A-Z_]+_MAX", names), numbers, strict=False))
    bounds = {
        name: value
        for module in (correlator, plan, tallies, values, windows)
        for name, value in vars(module).items()
        if name.endswith("_MAX") and not name.startswith("_") and name not in ("MEMO_MAX", "LATE_LISTED_MAX")
    }
    assert told == bounds

"""Comparing two fields of one event."""

from __future__ import annotations

from typing import Any

import pytest

from mingjian.detect.references import compare_fields
from mingjian.model.rules import FieldRef
from mingjian.model.values import EMPTY, MISSING


@pytest.mark.parametrize(
    ("how", "left", "right", "expected"),
    [
        ("equals", "Alice", "ALICE", True),
        ("equals", "a", "b", False),
        ("equals", 42, 42.0, True),
        ("equals", 42, "42", True),
        ("equals", 42.0, "42", False),
        ("equals", True, 1, False),
        ("equals", True, "true", True),
        ("equals", None, None, False),
        ("equals", MISSING, MISSING, False),
        ("equals", EMPTY, "", True),
        ("equals", ["a", "b"], ["c", "B"], True),
        ("startswith", "Administrator", "admin", True),
        ("startswith", "admin", "administrator", False),
        ("endswith", "x.example", "EXAMPLE", True),
        ("contains", "abc", "B", True),
        ("contains", "abc", "", True),
        ("contains", 1234, 23, True),
    ],
)
def test_comparisons(how: Any, left: Any, right: Any, expected: bool) -> None:
    assert compare_fields(FieldRef("a", "b", how), left, right) is expected


def test_case_counts_if_the_rule_says_so() -> None:
    assert not compare_fields(FieldRef("a", "b", "equals", True), "Alice", "alice")

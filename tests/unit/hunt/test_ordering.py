"""Sorting with runs on disk."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.hunt import ordering
from mingjian.hunt.ordering import Sorter


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9))), st.integers(1, 7))
def test_values_come_back_in_order_however_few_fit_into_memory(values: list[tuple[int, int]], held: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordering, "HELD_VALUES_MAX", held)
        sorter = Sorter(tuple[int, int], lambda value: value)
        for value in values:
            sorter.add(value)
        assert list(sorter) == list(sorter) == sorted(values)
        assert sorter.count == len(values)
        sorter.close()

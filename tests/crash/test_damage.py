"""Damage to any file of a workspace is noticed or harmless; ``crash.damage`` does it ten thousand times."""

import pytest

from crash.damage import KINDS, log_mutations, mutations

MUTATIONS = 160
PER_TEST = 40


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, MUTATIONS, PER_TEST))
def test_no_damage_gives_a_wrong_answer_that_nobody_notices(first: int) -> None:
    found = mutations(first, PER_TEST)
    assert found.total() == PER_TEST
    assert {name.partition(":")[0] for name in found} <= KINDS.keys()
    assert any(name.endswith("refused") for name in found)


@pytest.mark.slow
def test_damage_to_the_log_of_the_database_is_a_step_back_to_an_earlier_moment() -> None:
    assert log_mutations(0, 20).total() == 20

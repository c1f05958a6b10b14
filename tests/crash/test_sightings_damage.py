"""Damage to the sightings index is noticed or harmless; ``crash.sightings_damage`` does it ten thousand times."""

import pytest

from crash.sightings_damage import mutate

MUTATIONS = 300
PER_TEST = 50


@pytest.mark.parametrize("first", range(0, MUTATIONS, PER_TEST))
def test_no_damage_gives_a_wrong_answer(first: int) -> None:
    found = {mutate(seed) for seed in range(first, first + PER_TEST)}
    assert "some answers refused" in found

"""Chance that is a pure function of a seed and a name."""

from mingjian.sample.chance import Chance, Weighted, popularity


def test_a_stream_is_the_same_every_time_and_differs_by_name() -> None:
    assert [Chance(1, "a").random() for _ in range(2)] == [Chance(1, "a").random()] * 2
    assert Chance(1, "a").random() != Chance(1, "b").random()
    assert Chance(1, "a", "b").random() != Chance(1, "ab").random()


def test_the_first_numbers_are_these() -> None:
    """They must not change: whoever has a seed expects the same sector from every version."""
    chance = Chance(1, "golden")
    assert [chance.below(1000) for _ in range(4)] == [558, 399, 922, 182]
    assert chance.hexes(8) == "d97505d6"


def test_numbers_stay_within_their_bounds() -> None:
    chance = Chance(2)
    assert all(5 <= chance.between(5, 8) < 8 for _ in range(200))
    assert all(chance.wait(3.0) >= 0 for _ in range(200))
    assert all(6 <= chance.about(10, 2) <= 14 for _ in range(200))
    assert all(chance.size(100) >= 1 for _ in range(200))
    assert len(chance.hexes(12)) == 12
    assert len(chance.letters()) == 16
    assert chance.letters().isalnum()


def test_weights_are_kept() -> None:
    chance, weighted = Chance(3), Weighted([1.0, 0.0, 3.0])
    drawn = [weighted.index(chance) for _ in range(4000)]
    assert 1 not in drawn
    assert 2700 < drawn.count(2) < 3300


def test_popularity_falls_with_rank() -> None:
    chance, ranks = Chance(4), popularity(50)
    drawn = [ranks.index(chance) for _ in range(5000)]
    assert drawn.count(0) > drawn.count(5) > drawn.count(40) > 0

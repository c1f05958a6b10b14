"""Chance that is a pure function of a seed and a name."""

from mingjian.sample.chance import Chance, Numbers, Weighted, popularity, running


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


def test_many_numbers_are_those_of_the_seed_forever() -> None:
    """Pinned: a new version of NumPy must not change what a seed means."""
    numbers = Numbers(7, "pinned")
    assert numbers.below(4, 1000).tolist() == [242, 617, 98, 890]
    assert numbers.letters(1) != numbers.letters(1)


def test_many_numbers_stay_within_their_bounds_and_reach_them() -> None:
    numbers = Numbers(1, "bounds")
    drawn = set(numbers.between(4_000, 3, 9).tolist())
    assert drawn == set(range(3, 9))
    assert set(numbers.places(2_000, running((1, 0, 5))).tolist()) == {0, 2}
    moments = numbers.moments(500, 100, 50).tolist()
    assert moments == sorted(moments)
    assert 100 <= moments[0] <= moments[-1] < 150


def test_identifiers_in_bulk_have_sixteen_letters_each() -> None:
    letters = Numbers(1, "letters").letters(1_000)
    assert len(set(letters)) == 1_000
    assert {len(text) for text in letters} == {16}
    assert all(text.isalnum() for text in letters)

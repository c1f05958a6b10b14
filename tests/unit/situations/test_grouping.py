"""What a person decided counts more than what detections share; and what stands beside by what it shares."""

from collections.abc import Sequence

import numpy as np

from mingjian.situations.grouping import BY_HAND, Columns, Pins, beside, group


def columns(size: int, shared: Sequence[Sequence[int]] = ()) -> Columns:
    """Detections 10, 11, … at the same moment, and which of them (by place) share something."""
    marks = [(row, entity) for entity, rows in enumerate(shared) for row in rows]
    return Columns(
        ids=np.arange(10, 10 + size),
        times=np.zeros(size, np.int64),
        core=np.ones(size, np.bool_),
        mark_rows=np.array([row for row, _ in marks], np.int64),
        mark_entities=np.array([entity for _, entity in marks], np.int64),
        entity_keys=np.arange(len(shared), dtype=np.int64),
        weights=np.full(len(shared), 8.0),
        half_lives=np.full(len(shared), 1.0),
    )


def pins(together: Sequence[Sequence[int]] = (), apart: Sequence[tuple[Sequence[int], Sequence[int]]] = ()) -> Pins:
    return Pins([np.array(ids) for ids in together], [(np.array(one), np.array(other)) for one, other in apart])


def test_what_a_person_put_together_is_together_though_it_shares_nothing() -> None:
    found = group(columns(3), 1.0, pins(together=[(10, 12)]))
    assert found.labels.tolist() == [0, 1, 0]
    assert (found.links.earlier.tolist(), found.links.later.tolist()) == ([0], [2])
    assert found.links.entities.tolist() == [BY_HAND]


def test_what_a_person_parted_is_apart_though_it_shares_something() -> None:
    made = columns(3, [(0, 1, 2)])
    assert group(made, 1.0).labels.tolist() == [0, 0, 0]
    assert group(made, 1.0, pins(apart=[((10, 11), (12,))])).labels.tolist() == [0, 0, 2]


def test_of_what_was_put_together_only_that_goes_which_was_parted_later() -> None:
    found = group(columns(5), 1.0, pins(together=[(10, 11, 12, 13, 14)], apart=[((10, 12), (11,))]))
    labels = found.labels.tolist()
    assert labels[0] == labels[2] != labels[1]
    assert labels[3] == labels[4]
    twice = pins(together=[(10, 11, 12, 13)], apart=[((10, 12), (11, 13)), ((10,), (12,))])
    labels = group(columns(4), 1.0, twice).labels.tolist()
    assert labels[1] == labels[3]
    assert len({labels[0], labels[1], labels[2]}) == 3


def test_a_person_does_not_make_detections_that_are_gone_or_weak_hold_a_situation() -> None:
    made = columns(3)._replace(core=np.array([True, False, True]))
    assert group(made, 1.0, pins(together=[(10, 11, 99)])).labels.tolist() == [0, -1, 2]


def test_what_shares_something_stands_beside_if_that_would_join_it() -> None:
    made = columns(5, [(0, 1, 2, 3, 4)])._replace(
        # A share of 8 halves with every unit of time: after three of them it joins, after four no longer.
        times=np.array([0, 3, 6, 9, 12]),
        core=np.array([True, False, False, False, True]),
    )
    labels = group(made, 1.0).labels
    assert labels.tolist() == [0, -1, -1, -1, 4]
    nobody = np.zeros(5, np.int64)
    rows, owners = beside(made, nobody, labels, 0, 1.0, np.array([True]))
    assert (rows.tolist(), owners.tolist()) == ([1, 3], [0, 4])
    rows, _ = beside(made, nobody, labels, 0, 1.0, np.array([False]))
    assert rows.tolist() == []

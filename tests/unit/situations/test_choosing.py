"""Which segments are read: few of them all, of many a bounded number that tells most."""

import numpy as np

from mingjian.situations.choosing import ROWS_READ_MAX, SEGMENTS_READ_MAX, At, are_few, choose
from mingjian.store.briefs import NO_DAY, Briefs


def briefs(
    days: list[int], streams: list[int] | None = None, rows: int = 10, spans: dict[int, int] | None = None
) -> Briefs:
    size, longer = len(days), spans or {}
    last_days = [day + longer.get(number, 0) for number, day in enumerate(days, 1)]
    return Briefs(
        *(np.arange(1, size + 1), np.ones(size, np.int64), np.array(streams or [1] * size)),
        *(np.array(days), np.array(last_days), np.full(size, rows)),
    )


def test_few_are_all_read_whatever_they_are() -> None:
    few = briefs([5, NO_DAY, 3])
    assert are_few(few)
    assert choose(few, [At(1, 9, 9)]) == [1, 2, 3]


def test_of_many_the_places_of_detections_come_first() -> None:
    many = briefs([n // 4 for n in range(400)])
    chosen = choose(many, [At(1, 1, 70), At(1, 2, 70), At(2, 1, 70), At(1, 1, 5_000), At(1, 1, None)])
    assert chosen[:4] == [281, 282, 283, 284]
    assert len(chosen) == SEGMENTS_READ_MAX
    assert {1, 2, 399, 400} <= set(chosen)


def test_a_segment_of_several_days_is_found_on_each_of_them() -> None:
    many = briefs(list(range(400)), spans={10: 20, 200: 5})
    assert choose(many, [At(1, 1, 29)])[:2] == [10, 30]
    assert choose(many, [At(1, 1, 203), At(1, 1, 30)])[:3] == [200, 204, 31]


def test_detections_leave_room_for_first_and_last() -> None:
    many = briefs(list(range(400)), [n % 3 for n in range(400)])
    chosen = choose(many, [At(1, n % 3, n) for n in range(100, 300)])
    assert sum(101 <= number <= 300 for number in chosen) >= SEGMENTS_READ_MAX * 2 // 3
    assert {1, 2, 3, 398, 399, 400} <= set(chosen)


def test_what_tells_no_time_comes_last_and_is_found() -> None:
    many = briefs([NO_DAY, *range(399)])
    assert choose(many, [At(1, 1, None)])[0] == 1
    assert 2 in choose(many, [])


def test_large_segments_are_read_until_there_are_enough_records() -> None:
    assert len(choose(briefs(list(range(400)), rows=ROWS_READ_MAX // 3 + 1), [])) == 3

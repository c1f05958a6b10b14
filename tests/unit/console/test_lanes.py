"""Lanes over time: everything has its place on one axis, and what is not drawn is counted."""

from mingjian.console.lanes import MARGIN, SPAN_US_MIN, WIDTH, Happened, Track, Wanting, lay_out, said
from mingjian.store.segments import US_PER_DAY

START_US = 20_000 * US_PER_DAY


def at(day: float, **more: object) -> Happened:
    moment = START_US + int(day * US_PER_DAY)
    return Happened(first_us=moment, last_us=moment, says="", **more)  # type: ignore[arg-type]  # fields of it


def test_nothing_is_no_picture() -> None:
    assert lay_out([Track(name="a"), Track(name="b", wanting=[Wanting(first_day=1, last_day=2, says="")])]) is None


def test_the_first_stands_left_and_the_last_right() -> None:
    picture = lay_out([Track(name="a", happened=[at(0), at(10)])])
    assert picture is not None
    assert [mark.x for mark in picture.lanes[0].marks] == [MARGIN, WIDTH - MARGIN]
    assert (picture.ticks[0], picture.ticks[-1]) == ("2024-10-04", "2024-10-14")


def test_one_moment_has_room_around_it() -> None:
    picture = lay_out([Track(name="a", happened=[at(0)])])
    assert picture is not None
    assert picture.lanes[0].marks[0].x == WIDTH / 2
    assert len(picture.ticks[0]) == len("23:30")
    assert SPAN_US_MIN > 0


def test_what_is_close_together_is_one_mark_and_the_gravest_is_shown() -> None:
    picture = lay_out([Track(name="a", happened=[at(0), at(0.001, level="high"), at(0.002, level="low"), at(10)])])
    assert picture is not None
    lane = picture.lanes[0]
    assert (len(lane.marks), lane.count, lane.marks[0].level) == (2, 4, "high")


def test_holes_are_cut_to_the_axis() -> None:
    wanting = [
        Wanting(first_day=None, last_day=20_001, says="before"),
        Wanting(first_day=20_008, last_day=None, says="since"),
        Wanting(first_day=19_000, last_day=19_500, says="long ago"),
    ]
    picture = lay_out([Track(name="a", happened=[at(0), at(10)], wanting=wanting)])
    assert picture is not None
    holes = picture.lanes[0].holes
    assert [hole.says for hole in holes] == ["before", "since"]
    assert holes[0].x == 0
    assert holes[1].x + holes[1].width == WIDTH
    assert all(hole.width > 0 for hole in holes)


def test_what_is_inferred_ends_where_it_must_have_happened() -> None:
    picture = lay_out([Track(name="a", until_us=START_US + 5 * US_PER_DAY), Track(name="b", happened=[at(0), at(10)])])
    assert picture is not None
    inferred = picture.lanes[0].inferred
    assert inferred is not None
    assert 0 < picture.lanes[1].marks[0].x < inferred.width < WIDTH


def test_many_holes_are_not_all_told() -> None:
    assert said([Wanting(first_day=1, last_day=1, says=str(place)) for place in range(6)]) == "0; 1; 2; 3; + 2"

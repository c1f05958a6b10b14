"""Bars over time: nothing is lost between counting and drawing, whatever the clocks said."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.console import timeline
from mingjian.console.timeline import Histogram, Step, Timeline, lay_out
from mingjian.model.rules import LEVELS

SECOND = 1_000_000
DAY = 86_400 * SECOND
START = 1_700_000_000 * SECOND
TIMES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2_000_000_000 * SECOND),
    st.integers(START, START + 3600 * SECOND),
)


def drawn(times: list[int | None], level: int = 3) -> Timeline:
    histogram = Histogram()
    for time in times:
        histogram.add(time, level)
    found = lay_out(histogram)
    assert found is not None
    return found


def test_a_histogram_without_times_is_not_drawn() -> None:
    histogram = Histogram()
    histogram.add(None, 0)
    histogram.add(2**63 - 1, 0)
    assert histogram.untimed == 2
    assert lay_out(histogram) is None


@given(st.lists(st.tuples(TIMES, st.integers(0, len(LEVELS) - 1)), max_size=60))
def test_every_detection_is_drawn_or_counted_as_not_drawn(found: list[tuple[int | None, int]]) -> None:
    histogram = Histogram()
    for time, level in found:
        histogram.add(time, level)
    laid = lay_out(histogram)
    if laid is None:
        assert histogram.untimed == len(found)
        return
    assert sum(sum(bar.counts) for bar in laid.bars) + laid.before + laid.after + laid.untimed == len(found)
    assert laid.slots <= timeline.BARS_MAX
    starts = [bar.start_s for bar in laid.bars]
    assert starts == sorted(set(starts))
    for bar in laid.bars:
        assert bar.start_s < bar.end_s
        assert 0 <= bar.slot_x <= bar.x
        assert bar.x + bar.width <= bar.slot_x + bar.slot_width + 0.01 <= 100.02
        assert len(bar.segments) == sum(map(bool, bar.counts))
        bottom = timeline.PLOT_HEIGHT_PX
        for segment in bar.segments:
            assert segment.height > 0
            assert segment.y + segment.height == pytest.approx(bottom, abs=0.02)
            bottom = segment.y
        assert bottom >= -0.02
    assert len(laid.ticks) <= timeline.TICKS_MAX + 1
    assert all(0 <= tick.at < 100 for tick in laid.ticks)


@given(
    st.lists(st.integers(-62_135_596_800, 253_402_300_799), min_size=1, max_size=50),
    st.sampled_from(list(timeline.STEPS)),
)
def test_a_time_lies_in_the_stretch_that_it_is_counted_in(moments: list[int], name: str) -> None:
    step = timeline.STEPS[name]
    for moment in moments:
        number = step.number_of(moment)
        assert step.start_of(number) <= moment
        assert moment < step.start_of(number + 1) or number == step.number_of(253_402_300_799)
        assert step.number_of(step.start_of(number)) == number or step.start_of(number) == -62_135_596_800


@pytest.mark.parametrize(
    ("span", "name"),
    [
        (90 * SECOND, "second"),
        (3600 * SECOND, "minute"),
        (DAY, "15 minutes"),
        (30 * DAY, "12 hours"),
        (90 * DAY, "day"),
        (800 * DAY, "week"),
        (5 * 365 * DAY, "month"),
        (90 * 365 * DAY, "year"),
    ],
)
def test_the_stretch_fits_the_span(span: int, name: str) -> None:
    assert drawn([START, START + span]).step.name == name


def test_gaps_stay_gaps() -> None:
    laid = drawn([START, START, START + 99 * SECOND])
    assert [round(bar.slot_x) for bar in laid.bars] == [0, 99]
    assert laid.slots == 100


def test_one_wrong_clock_does_not_press_all_others_into_one_bar() -> None:
    wrong = -11_644_473_600 * SECOND
    laid = drawn([wrong, *(START + n * 60 * SECOND for n in range(200))])
    assert (laid.before, laid.after) == (1, 0)
    assert laid.from_text.startswith("2023-11-14")
    few = drawn([wrong, *(START + n * 60 * SECOND for n in range(20))])
    assert few.before == 0


def test_a_single_detection_beside_thousands_stays_visible() -> None:
    histogram = Histogram()
    for _ in range(5_000):
        histogram.add(START, 1)
    histogram.add(START, 4)
    laid = lay_out(histogram)
    assert laid is not None
    assert [segment.level for segment in laid.bars[0].segments] == ["critical", "low"]
    assert laid.bars[0].segments[0].height == timeline.SEGMENT_HEIGHT_MIN_PX


def test_memory_is_bounded_and_the_counts_stay_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "SLOTS_MAX", 50)
    histogram = Histogram()
    for n in range(2_000):
        histogram.add(START + n * 3600 * SECOND, n % 5)
    assert len(histogram.slots) <= 50
    assert sum(map(sum, histogram.slots.values())) == 2_000
    laid = lay_out(histogram)
    assert laid is not None
    assert sum(sum(bar.counts) for bar in laid.bars) == 2_000


def test_marks_stand_at_round_times() -> None:
    year = [round(datetime.datetime(2019 + n // 12, n % 12 + 1, 9, tzinfo=datetime.UTC).timestamp()) for n in range(60)]
    assert [tick.text for tick in drawn([moment * SECOND for moment in year]).ticks] == [
        *("2019-01", "2020-01", "2021-01", "2022-01", "2023-01")
    ]
    hours = drawn([START + n * 600 * SECOND for n in range(24)])
    assert [tick.text for tick in hours.ticks] == ["2023-11-14 23:00", "2023-11-15 00:00", "01:00", "02:00"]


def test_a_week_begins_on_monday() -> None:
    step: Step = timeline.STEPS["week"]
    start = datetime.datetime.fromtimestamp(step.start_of(step.number_of(START // SECOND)), datetime.UTC)
    assert (start.isoweekday(), start.hour) == (1, 0)

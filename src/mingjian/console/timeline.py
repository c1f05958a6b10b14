"""Bars over time: how many detections there are in each stretch of it, drawn so that gaps stay gaps.

Times come from logs, so they can be anything: years apart, all in one second, or of the year 1601. ``Histogram``
counts them in bounded memory, ``lay_out`` chooses stretches that make at most ``BARS_MAX`` bars.
"""

from __future__ import annotations

import datetime
from bisect import bisect_left
from collections.abc import Sequence

import msgspec

from mingjian.model.rules import LEVELS

SLOTS_MAX = 20_000
"""So many counts are kept; with more distinct times they are kept by the minute, the hour, the day, the year."""
BARS_MAX = 120
TICKS_MAX = 7
"""So many times are written under the axis."""
OUTLIERS_SHARE_MAX = 0.01
OUTLIERS_SPREAD_MIN = 20
"""At each end up to this share of the detections is left out of the drawing if all then fits into a twentieth of the
time. Otherwise one wrong clock would press all others into one bar."""
CORE_SECONDS_MIN = 86_400
"""Nothing is left out for the sake of less than a day."""
PLOT_HEIGHT_PX = 128.0
SEGMENT_HEIGHT_MIN_PX = 2.5
"""A single detection beside thousands stays visible."""
GRID_LINES = 3
BAR_SHARE = 0.86
"""So much of its stretch a bar fills."""
BAR_WIDTH_MAX = 0.04
"""As a share of the plot: a few bars do not become blocks."""

_MONTHS_BETWEEN_TICKS = (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000, 12_000, 24_000)
_SECONDS_BETWEEN_TICKS = tuple(
    number * unit
    for unit, numbers in (
        (1, (1, 2, 5, 10, 15, 20, 30)),
        (60, (1, 2, 5, 10, 15, 20, 30)),
        (3600, (1, 2, 3, 4, 6, 8, 12)),
        (86_400, (1, 2, 5, 7, 10, 14, 21, 28, 56, 84, 182)),
    )
    for number in numbers
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MINUTE, _HOUR, _DAY, _WEEK = 60, 3600, 86_400, 604_800
_FIRST_MONDAY = 4 * _DAY
"""5 January 1970."""


class Step(msgspec.Struct, frozen=True):
    """A stretch of time: so many seconds or so many calendar months, in UTC."""

    name: str
    """In words of this module; the page translates it."""
    seconds: int = 0
    months: int = 0
    time_format: str = "%Y-%m-%d %H:%M"
    tick_format: str = "%H:%M"

    def number_of(self, moment_s: int) -> int:
        """Give the number of the stretch that a time lies in. Stretches are numbered without holes."""
        if self.months:
            moment = _EPOCH + datetime.timedelta(seconds=moment_s)
            return (moment.year * 12 + moment.month - 1) // self.months
        return (moment_s - self._offset()) // self.seconds

    def start_of(self, number: int) -> int:
        """Give the first second of a stretch.

        >>> STEPS["month"].start_of(STEPS["month"].number_of(2_700_000)) // 86_400
        31
        """
        if self.months:
            year, month = divmod(number * self.months, 12)
            if not datetime.MINYEAR <= year <= datetime.MAXYEAR:
                return _seconds_of(datetime.datetime.max if year > 1 else datetime.datetime.min)
            return _seconds_of(datetime.datetime(year, month + 1, 1))
        return number * self.seconds + self._offset()

    def _offset(self) -> int:
        return _FIRST_MONDAY if self.seconds % _WEEK == 0 else 0


def _seconds_of(moment: datetime.datetime) -> int:
    return round((moment.replace(tzinfo=datetime.UTC, microsecond=0) - _EPOCH).total_seconds())


_CLOCK = "%Y-%m-%d %H:%M:%S"
_LADDER = (
    Step("second", 1, time_format=_CLOCK, tick_format="%H:%M:%S"),
    Step("5 seconds", 5, time_format=_CLOCK, tick_format="%H:%M:%S"),
    Step("15 seconds", 15, time_format=_CLOCK, tick_format="%H:%M:%S"),
    Step("minute", _MINUTE),
    Step("5 minutes", 5 * _MINUTE),
    Step("15 minutes", 15 * _MINUTE),
    Step("hour", _HOUR, tick_format="%m-%d %H:%M"),
    Step("3 hours", 3 * _HOUR, tick_format="%m-%d %H:%M"),
    Step("12 hours", 12 * _HOUR, tick_format="%m-%d %H:%M"),
    Step("day", _DAY, time_format="%Y-%m-%d", tick_format="%m-%d"),
    Step("week", _WEEK, time_format="%Y-%m-%d", tick_format="%Y-%m-%d"),
    Step("month", months=1, time_format="%Y-%m", tick_format="%Y-%m"),
    Step("quarter", months=3, time_format="%Y-%m", tick_format="%Y-%m"),
    Step("year", months=12, time_format="%Y", tick_format="%Y"),
    Step("10 years", months=120, time_format="%Y", tick_format="%Y"),
    Step("100 years", months=1200, time_format="%Y", tick_format="%Y"),
)
STEPS = {step.name: step for step in _LADDER}
"""From the finest to the coarsest."""
_KEPT = tuple(STEPS[name] for name in ("second", "minute", "hour", "day", "year"))


def moment_of(time_us: int | None) -> datetime.datetime | None:
    """Turn microseconds since 1970 into a time; None if there is none or no calendar of ours has it.

    >>> moment_of(1_000_000), moment_of(10**18)
    (datetime.datetime(1970, 1, 1, 0, 0, 1, tzinfo=datetime.timezone.utc), None)
    """
    if time_us is None:
        return None
    try:
        return _EPOCH + datetime.timedelta(microseconds=time_us)
    except OverflowError:
        return None


class Histogram(msgspec.Struct):
    """Counts by time and level, as fine as ``SLOTS_MAX`` allows."""

    slots: dict[int, list[int]] = {}
    """Number of the stretch → counts in the order of ``LEVELS``."""
    kept: int = 0
    """Which of the steps that counts can be kept by."""
    untimed: int = 0

    @property
    def step(self) -> Step:
        """The stretch by which counts are kept now."""
        return _KEPT[self.kept]

    def add(self, time_us: int | None, level: int) -> None:
        """Count one detection; ``level`` is its place in ``LEVELS``."""
        if time_us is None or moment_of(time_us) is None:
            self.untimed += 1
            return
        number = self.step.number_of(time_us // 1_000_000)
        counts = self.slots.get(number)
        if counts is None:
            counts = self.slots[number] = [0] * len(LEVELS)
        counts[level] += 1
        if len(self.slots) > SLOTS_MAX:
            old, self.kept = self.step, self.kept + 1
            self.slots = _regroup(self.slots, old, self.step)


def _regroup(slots: dict[int, list[int]], old: Step, new: Step) -> dict[int, list[int]]:
    sums: dict[int, list[int]] = {}
    for number, counts in slots.items():
        into = sums.setdefault(new.number_of(old.start_of(number)), [0] * len(LEVELS))
        for level, count in enumerate(counts):
            into[level] += count
    return sums


class Segment(msgspec.Struct, frozen=True):
    """One level's part of a bar, in pixels from the top of the plot."""

    level: str
    y: float
    height: float


class Bar(msgspec.Struct, frozen=True):
    """A stretch of time in which something was detected. ``x`` and ``width`` are percentages of the plot."""

    start_s: int
    end_s: int
    start_text: str
    x: float
    width: float
    slot_x: float
    slot_width: float
    counts: tuple[int, ...]
    """In the order of ``LEVELS``."""
    segments: tuple[Segment, ...]


class GridLine(msgspec.Struct, frozen=True):
    """A line across the plot, ``at`` so many pixels from its top, for so many detections."""

    at: float
    value: int


class Tick(msgspec.Struct, frozen=True):
    """A mark under the plot, ``at`` so many percent from its left, with its text."""

    at: float
    text: str


class Timeline(msgspec.Struct, frozen=True):
    """Everything that is needed to draw the bars, and what is not drawn."""

    step: Step
    bars: tuple[Bar, ...]
    slots: int
    """How many stretches the axis has, empty ones included."""
    grid: tuple[GridLine, ...]
    ticks: tuple[Tick, ...]
    from_text: str
    to_text: str
    before: int
    after: int
    """Detections that are left out because their time is far from that of nearly all others."""
    untimed: int


def lay_out(histogram: Histogram) -> Timeline | None:
    """Choose the stretch and place the bars; None if no detection has a time."""
    if not histogram.slots:
        return None
    first, last = _window(histogram)
    starts = {histogram.step.start_of(number): counts for number, counts in histogram.slots.items()}
    shown = {start: counts for start, counts in starts.items() if first <= start <= last}
    step = _choose(histogram, first, last)
    slots = _regroup(shown, _LADDER[0], step)
    low, high = step.number_of(first), step.number_of(last)
    total = high - low + 1
    top = max(sum(counts) for counts in slots.values())
    ceiling = _round_up(top)
    bars = tuple(
        _bar(step, number, slots[number], (number - low) / total, 1 / total, ceiling) for number in sorted(slots)
    )
    return Timeline(
        step=step,
        bars=bars,
        slots=total,
        grid=tuple(_grid(ceiling)),
        ticks=_ticks(step, low, total),
        from_text=_text(step.start_of(low), step.time_format),
        to_text=_text(step.start_of(high + 1), step.time_format),
        before=sum(sum(counts) for start, counts in starts.items() if start < first),
        after=sum(sum(counts) for start, counts in starts.items() if start > last),
        untimed=histogram.untimed,
    )


def _window(histogram: Histogram) -> tuple[int, int]:
    """The first and the last stretch to draw, as seconds."""
    numbers = sorted(histogram.slots)
    starts = [histogram.step.start_of(number) for number in numbers]
    running = 0
    cumulative = [running := running + sum(histogram.slots[number]) for number in numbers]
    spare = int(running * OUTLIERS_SHARE_MAX)
    low = bisect_left(cumulative, spare + 1)
    high = bisect_left(cumulative, running - spare)
    core = max(starts[high] - starts[low], CORE_SECONDS_MIN)
    if spare == 0 or starts[-1] - starts[0] < OUTLIERS_SPREAD_MIN * core:
        return starts[0], starts[-1]
    # Whoever is near belongs to the rest.
    near = [start for start in starts if starts[low] - core <= start <= starts[high] + core]
    return near[0], near[-1]


def _choose(histogram: Histogram, first: int, last: int) -> Step:
    fine_enough = _LADDER[_LADDER.index(histogram.step) :]
    fitting = (step for step in fine_enough if step.number_of(last) - step.number_of(first) < BARS_MAX)
    return next(fitting, _LADDER[-1])


def _round_up(top: int) -> int:
    """The top of the axis: a round number that ``GRID_LINES`` - 1 divides.

    >>> [_round_up(top) for top in (1, 7, 130, 999)]
    [2, 8, 200, 1000]
    """
    size = 1
    while True:
        for factor in (2, 4, 6, 8, 10):
            if factor * size >= top:
                return factor * size
        size *= 10


def _bar(step: Step, number: int, counts: Sequence[int], x: float, width: float, ceiling: int) -> Bar:
    heights = [max(SEGMENT_HEIGHT_MIN_PX, PLOT_HEIGHT_PX * count / ceiling) if count else 0.0 for count in counts]
    # Small parts were made visible: the large ones give what that took, so that no bar is higher than the plot.
    surplus = sum(heights) - PLOT_HEIGHT_PX
    if surplus > 0:
        heights[heights.index(max(heights))] -= surplus
    segments: list[Segment] = []
    y = PLOT_HEIGHT_PX
    for level, height in zip(reversed(LEVELS), reversed(heights), strict=True):
        if height:
            y -= height
            segments.append(Segment(level, round(y, 2), round(height, 2)))
    start, end = step.start_of(number), step.start_of(number + 1)
    drawn = min(BAR_SHARE * width, BAR_WIDTH_MAX)
    return Bar(
        start_s=start,
        end_s=end,
        start_text=_text(start, step.time_format),
        x=round(100 * (x + (width - drawn) / 2), 3),
        width=round(100 * drawn, 3),
        slot_x=round(100 * x, 3),
        slot_width=round(100 * width, 3),
        counts=tuple(counts),
        segments=tuple(segments),
    )


def _grid(ceiling: int) -> list[GridLine]:
    parts = GRID_LINES - 1
    return [GridLine(PLOT_HEIGHT_PX * (1 - part / parts), ceiling * part // parts) for part in range(parts + 1)]


def _ticks(step: Step, low: int, total: int) -> tuple[Tick, ...]:
    """Times at which people expect a mark: full hours, midnights, Januaries."""
    every = _every(step, total)
    ticks: list[Tick] = []
    previous: int | None = None
    for number in range(low + -low % every, low + total, every):
        start = step.start_of(number)
        new_day = previous is None or previous // _DAY != start // _DAY
        previous = start
        full = "%Y-%m-%d" if step.seconds * every % _DAY == 0 and step.seconds else step.time_format
        text = _text(start, full if new_day else step.tick_format)
        ticks.append(Tick(round(100 * (number - low) / total, 3), text))
    return tuple(ticks)


def _every(step: Step, total: int) -> int:
    """How many stretches lie between two marks."""
    sizes = _MONTHS_BETWEEN_TICKS if step.months else _SECONDS_BETWEEN_TICKS
    unit = step.months or step.seconds
    fitting = (size // unit for size in sizes if size % unit == 0 and total * unit <= size * TICKS_MAX)
    return next(fitting, -(-total // TICKS_MAX))


def _text(moment_s: int, form: str) -> str:
    moment = moment_of(moment_s * 1_000_000)
    if moment is None:
        return "…"
    # strftime does not fill the years before 1000 with zeros.
    return moment.strftime(form.replace("%Y", f"{moment.year:04d}"))

"""Lanes over time: what happened, what must have happened and was not seen, and where nothing could be seen. Pure.

Places are in a picture of ``WIDTH`` units, whatever its width on the page; the words stand beside it as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from mingjian.console.shapes import stamp
from mingjian.console.timeline import moment_of
from mingjian.model.rules import LEVELS, Level
from mingjian.store.segments import US_PER_DAY

WIDTH: Final = 960
HEIGHT: Final = 24
"""Of a lane."""
MARGIN: Final = 12
SPAN_US_MIN: Final = 3_600_000_000
TICKS: Final = 5
MARK_WIDTH: Final = 3
"""What is nearer to each other than that is one mark."""
INFERRED_SHARE: Final = 0.06
"""So much room is left before the first that was seen for what must have come before it."""


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was seen."""

    first_us: int
    last_us: int
    says: str
    href: str = ""
    level: Level | None = None
    count: int = 1


SAID_MAX: Final = 4
"""So many holes of a lane are told in words; all are drawn."""


class Wanting(msgspec.Struct, frozen=True, kw_only=True):
    """Days on which nothing could be seen; without a first day from the beginning, without a last to this day."""

    first_day: int | None
    last_day: int | None
    says: str


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """A lane, before it is laid out."""

    name: str
    happened: Sequence[Happened] = ()
    wanting: Sequence[Wanting] = ()
    until_us: int | None = None
    """It must have happened before this moment, and was not seen."""
    note: str = ""


class Mark(msgspec.Struct, frozen=True):
    """Something that was seen, in the picture."""

    x: float
    width: float
    level: str
    href: str
    says: str


class Stretch(msgspec.Struct, frozen=True):
    """A part of a lane."""

    x: float
    width: float
    says: str


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """A lane in the picture."""

    name: str
    y: int
    marks: Sequence[Mark]
    count: int
    """So much was seen; what is close together is one mark."""
    holes: Sequence[Stretch]
    inferred: Stretch | None
    note: str


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """All lanes on one axis."""

    lanes: Sequence[Lane]
    ticks: Sequence[str]
    height: int
    width: int = WIDTH
    lane_height: int = HEIGHT


def said(wanting: Sequence[Wanting]) -> str:
    """The first of some holes in words, and how many more there are."""
    more = len(wanting) - SAID_MAX
    return "; ".join([each.says for each in wanting[:SAID_MAX]] + ([f"+ {more}"] if more > 0 else []))


def lay_out(tracks: Sequence[Track]) -> Picture | None:
    """Place everything on one axis, which what was seen decides; None if nothing was."""
    times = [each for track in tracks for one in track.happened for each in (one.first_us, one.last_us)]
    if not times:
        return None
    axis = _Axis(min(times), max(times), INFERRED_SHARE if any(track.until_us is not None for track in tracks) else 0.0)
    lanes = [_lane(track, place * HEIGHT, axis) for place, track in enumerate(tracks)]
    return Picture(lanes=lanes, ticks=axis.ticks(), height=len(lanes) * HEIGHT)


class _Axis:
    def __init__(self, first_us: int, last_us: int, before: float) -> None:
        missing = max(0, SPAN_US_MIN - (last_us - first_us))
        span_us = last_us - first_us + missing
        room_us = int(span_us * before)
        self.first_us = first_us - missing // 2 - room_us
        self.span_us = span_us + room_us

    def x(self, time_us: int) -> float:
        share = (time_us - self.first_us) / self.span_us
        return round(min(WIDTH, max(0.0, MARGIN + (WIDTH - 2 * MARGIN) * share)), 1)

    def ticks(self) -> list[str]:
        """Times at equal distances, as exact as they differ."""
        places = [self.first_us + self.span_us * place // (TICKS - 1) for place in range(TICKS)]
        days = self.span_us // US_PER_DAY
        return ["…" if moment_of(each) is None else _short(stamp(each), days) for each in places]

    def stretch(self, wanting: Wanting) -> Stretch | None:
        first = 0.0 if wanting.first_day is None else self.x(wanting.first_day * US_PER_DAY)
        last = float(WIDTH) if wanting.last_day is None else self.x((wanting.last_day + 1) * US_PER_DAY)
        return Stretch(first, round(last - first, 1), wanting.says) if last > first else None


def _short(text: str, days: int) -> str:
    if days >= TICKS:
        return text[:10]
    return f"{text[5:10]} {text[11:16]}" if days else text[11:16]


def _lane(track: Track, y: int, axis: _Axis) -> Lane:
    marks: dict[tuple[int, int], tuple[int, Mark]] = {}
    for each in sorted(track.happened, key=lambda one: one.first_us):
        x, end = axis.x(each.first_us), axis.x(each.last_us)
        mark = Mark(x, round(max(0.0, end - x), 1), each.level or "event", each.href, each.says)
        grave = -1 if each.level is None else LEVELS.index(each.level)
        place = (int(x / MARK_WIDTH), int(end / MARK_WIDTH))
        if place not in marks or grave > marks[place][0]:
            marks[place] = (grave, mark)
    return Lane(
        name=track.name,
        y=y,
        marks=[mark for _, mark in marks.values()],
        count=sum(each.count for each in track.happened),
        holes=_together(filter(None, map(axis.stretch, track.wanting))),
        inferred=None if track.until_us is None else Stretch(0.0, axis.x(track.until_us), track.note),
        note=track.note,
    )


def _together(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Stretches in order, those of the same place only once."""
    found: dict[tuple[float, float], Stretch] = {}
    for each in stretches:
        found.setdefault((each.x, each.width), each)
    return [found[place] for place in sorted(found)]

"""Which segments are read for a story: a bounded number, those that tell most. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from mingjian.store.briefs import NO_DAY, Briefs
from mingjian.store.sightings.columns import Column

SEGMENTS_READ_MAX: Final = 16
"""So many segments are read for the story …"""
ROWS_READ_MAX: Final = 400_000
"""… and no further one once they have so many records."""
DAYS_MAX: Final = 31
"""A segment has events of one month."""


class At(NamedTuple):
    """A place that matters: the segments of a stream of an organisation on a day."""

    organisation: int
    stream: int
    day: int | None


def are_few(briefs: Briefs) -> bool:
    """Whether there are so few segments that all of them are read."""
    return len(briefs.ids) <= SEGMENTS_READ_MAX and int(briefs.rows.sum()) <= ROWS_READ_MAX


def choose(briefs: Briefs, places: Iterable[At]) -> list[int]:
    """The numbers of the segments that matter most; all of them if they are few.

    Those at ``places`` (the gravest first), the first and last of all and of each stream, and then some evenly spread.
    """
    if are_few(briefs):
        return [int(number) for number in briefs.ids]
    order = np.lexsort((briefs.ids, briefs.days))
    by_day = briefs.taken(order)
    wanted: dict[int, None] = {}

    def want(some: Iterable[int], limit: int) -> None:
        for place in some:
            if len(wanted) >= limit:
                return
            wanted.setdefault(int(place))

    listed = list(places)
    each_day, place_of = _each_day(by_day, listed)
    for at in _there(each_day, listed):
        if len(wanted) >= SEGMENTS_READ_MAX * 2 // 3:
            break
        want(place_of[_at(each_day, at)].tolist(), SEGMENTS_READ_MAX * 2 // 3)
    last = len(order)
    want((0, 1, last - 2, last - 1), SEGMENTS_READ_MAX)
    _, firsts = np.unique(by_day.streams, return_index=True)
    _, lasts = np.unique(by_day.streams[::-1], return_index=True)
    want(np.sort(firsts).tolist(), SEGMENTS_READ_MAX)
    want(np.sort(last - 1 - lasts).tolist(), SEGMENTS_READ_MAX)
    want(range(0, last, max(1, last // SEGMENTS_READ_MAX)), SEGMENTS_READ_MAX)
    chosen: list[int] = []
    rows = 0
    for place in wanted:
        if rows < ROWS_READ_MAX:
            chosen.append(int(by_day.ids[place]))
            rows += int(by_day.rows[place])
    return chosen


def _each_day(briefs: Briefs, places: Sequence[At]) -> tuple[Briefs, Column]:
    """A row for each day of a place that a segment may have events of, in order; and of which segment each is."""
    days = np.unique(np.array([_day(at) for at in places], np.int64))
    starts = np.searchsorted(days, briefs.days)
    last_days = briefs.days + np.minimum(briefs.last_days - briefs.days, DAYS_MAX - 1)
    sizes = np.searchsorted(days, last_days, side="right") - starts
    place_of = np.repeat(np.arange(len(sizes)), sizes)
    later = np.arange(len(place_of)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    which = starts[place_of] + later
    order = np.argsort(which, kind="stable")
    place_of = place_of[order]
    return briefs.taken(place_of)._replace(days=days[which[order]]), place_of


def _day(at: At) -> int:
    return NO_DAY if at.day is None else at.day


def _there(by_day: Briefs, places: Sequence[At]) -> list[At]:
    """The places that have segments, going by a hash: one that has none may be among them."""
    if not places:
        return []
    days = [_day(at) for at in places]
    asked = _hash(*(np.array(cells, np.int64) for cells in (days, [at[0] for at in places], [at[1] for at in places])))
    known = np.isin(asked, _hash(by_day.days, by_day.organisations, by_day.streams))
    return [at for at, is_known in zip(places, known.tolist(), strict=True) if is_known]


def _hash(days: Column, organisations: Column, streams: Column) -> Column:
    return (days & 0xFF_FFFF) << 39 | (organisations & 0xF_FFFF) << 19 | (streams & 0x7_FFFF)


def _at(by_day: Briefs, at: At) -> Column:
    """Where the segments of a place are."""
    start, stop = (int(np.searchsorted(by_day.days, _day(at), side=side)) for side in ("left", "right"))
    fits = (by_day.streams[start:stop] == at.stream) & (by_day.organisations[start:stop] == at.organisation)
    return np.flatnonzero(fits) + start

"""Which detections have to be grouped anew when new evidence came, and which may stand beside them. Pure, in columns.

A situation is what joins hold together, and a new join has a detection at one of its ends that is new, or about which
something has changed. So it is enough to look at the situations of what has changed, and of what these are joined to
now; nothing else can be another situation than before. What is found here may be too much, never too little.
"""

from __future__ import annotations

import numpy as np

from mingjian.situations.counting import merged
from mingjian.situations.grouping import UNTIMED, Ints, Mask, Pins
from mingjian.situations.standing import Standing, Touched

BUCKETS_MAX = 1 << 30
"""A stretch of time further from 1970 than so many is taken for one so far away."""


def to_group(standing: Standing, touched: Touched, labels: Ints, pins: Pins) -> Mask:
    """The detections that hold, or may hold, situations that may be others now.

    ``labels``: for each detection the place of the first of the situation that it holds until now; −1 for none.
    """
    hit = np.zeros(len(standing) + 1, np.bool_)
    hit[labels[touched.rows]] = True
    core = standing.core
    others = np.concatenate(
        [_sharing(standing, touched.near, core), np.flatnonzero(_close(standing, touched.near, core))]
    )
    hit[labels[others]] = True
    # The last place stands for −1, no situation.
    hit[-1] = False
    anew = touched.rows.copy()
    _with_pins(standing, pins, labels, hit, anew)
    return (anew & standing.core) | hit[labels]


def beside_them(standing: Standing, core: Mask, others: Mask) -> Mask:
    """Those of some detections that may stand beside others (``core``)."""
    found = others & _close(standing, core, others)
    asked = standing.has("telling") & (standing.weights >= standing.policy.join)
    rows, _ = _marks(standing, core, others, asked)
    found[rows] = True
    return found & others


def _with_pins(standing: Standing, pins: Pins, labels: Ints, hit: Mask, anew: Mask) -> None:
    """Whatever a person put together with some of them, or wants apart from them, is looked at with them."""
    decided: list[Ints] = [*pins.together, *(np.concatenate(pair) for pair in pins.apart)]
    if not decided:
        return
    order: Ints = np.argsort(standing.ids, kind="stable").astype(np.int64)
    places = [_places(standing.ids[order], ids) for ids in decided]
    waiting: list[Ints] = [np.take(order, each) for each in places]
    while True:
        reached = [rows for rows in waiting if (anew[rows] | hit[labels[rows]]).any()]
        if not reached:
            return
        for rows in reached:
            anew[rows] = True
            hit[labels[rows]] = True
        hit[-1] = False
        waiting = [rows for rows in waiting if not bool(anew[rows].all())]


def _places(ids: Ints, wanted: Ints) -> Ints:
    place = np.minimum(np.searchsorted(ids, wanted), max(0, len(ids) - 1))
    return place[ids[place] == wanted] if len(ids) else place[:0]


def _buckets(standing: Standing, rows: Ints) -> Ints:
    """A number for each party and stretch of time, as long as what stands beside may be away."""
    stretch = np.clip(standing.times[rows] // (standing.policy.beside_s * 1_000_000), -BUCKETS_MAX, BUCKETS_MAX)
    return (standing.parties[rows].astype(np.int64) << 32) + stretch + BUCKETS_MAX + 1


def _close(standing: Standing, these: Mask, others: Mask) -> Mask:
    """Which of others happened about when some of these did, about the same party."""
    timed = (standing.parties != 0) & (standing.times != UNTIMED)
    own = np.unique(_buckets(standing, np.flatnonzero(these & timed)))
    around, _ = merged(own, np.concatenate([own - 1, own + 1]))
    found = np.zeros(len(standing), np.bool_)
    if not len(around):
        return found
    parties = np.zeros(len(standing.codes), np.bool_)
    parties[around >> 32] = True
    asked = np.flatnonzero(others & timed & parties[standing.parties])
    wanted = _buckets(standing, asked)
    place = np.minimum(np.searchsorted(around, wanted), len(around) - 1)
    found[asked[around[place] == wanted]] = True
    return found


def _marks(standing: Standing, these: Mask, others: Mask, asked: Mask) -> tuple[Ints, Ints]:
    """Detections and entities: of others, those entities of these (as far as ``asked``) that are within reach."""
    rows, entities = standing.mark_rows, standing.mark_entities
    timed = standing.times != UNTIMED
    own = (these & timed)[rows] & asked[entities]
    codes, times = entities[own], standing.times[rows[own]]
    low = np.full(len(standing.codes), np.iinfo(np.int64).max)
    high = np.full(len(standing.codes), np.iinfo(np.int64).min)
    np.minimum.at(low, codes, times)
    np.maximum.at(high, codes, times)
    there = np.zeros(len(standing.codes), np.bool_)
    there[codes] = True
    some = np.flatnonzero(there[entities] & ((these | others) & timed)[rows])
    codes, times = entities[some], standing.times[rows[some]]
    reach = _reach(standing)[codes]
    within = (times - reach <= high[codes]) & (times + reach >= low[codes])
    return rows[some[within]].astype(np.int64), codes[within].astype(np.int64)


def _reach(standing: Standing) -> Ints:
    """By code: how far apart two detections may be that an entity joins, in microseconds and a little more."""
    weights = np.maximum(standing.weights / standing.policy.join, 1.0)
    return (standing.half_lives * np.log2(weights)).astype(np.int64) + 1_000_000


def _sharing(standing: Standing, these: Mask, core: Mask) -> Ints:
    """The core detections before and after these in the time of what they share."""
    rows, entities = _marks(standing, these, core, standing.weights >= standing.policy.join)
    order = np.lexsort((rows, standing.times[rows], entities))
    rows, entities = rows[order], entities[order]
    if not len(rows):
        return rows
    places = np.arange(len(rows))
    is_core = core[rows]
    before = np.full(len(rows), -1)
    before[1:] = np.maximum.accumulate(np.where(is_core, places, -1))[:-1]
    after = np.full(len(rows), len(rows))
    after[:-1] = np.minimum.accumulate(np.where(is_core, places, len(rows))[::-1])[::-1][1:]
    reach = _reach(standing)[entities]
    found: list[Ints] = []
    asked = these[rows]
    for other in (before, after):
        at = np.flatnonzero(asked & (other >= 0) & (other < len(rows)))
        there = other[at]
        apart_us = np.abs(standing.times[rows[at]] - standing.times[rows[there]])
        found.append(rows[there[(entities[at] == entities[there]) & (apart_us <= reach[at])]])
    return np.unique(np.concatenate(found))

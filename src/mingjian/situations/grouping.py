"""Which detections belong together: a graph of detections, joined by what they share. Pure, in columns.

Of everything that several detections of one organisation share, each two that follow each other in time are compared:
the thing's weight, halved for every half-life between them, has to reach the bound of the policy (``policy``). Whoever
is joined, directly or through others, is in one situation. Of all joins the strongest are kept that hold it together:
the maximum spanning forest, which does not hang on the order in which detections came.

What a person decided counts more than any weight: detections that were put together stay together, and a situation
that was cut is cut where its joins are weakest.

Everything here is a function of its arguments, and what it says about some detections does not change if others are
left out that are joined to none of them: that is why a few can be grouped anew without the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

Ints: TypeAlias = "npt.NDArray[np.int64]"
Floats: TypeAlias = "npt.NDArray[np.float64]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"

UNTIMED: Final = np.iinfo(np.int64).min
"""Stands for a time that is not known: such a detection is joined to none, unless by a person."""
BY_HAND: Final = -1
"""Stands for the entity of a join that a person made."""
MILLI: Final = 1000
"""Strengths are kept in thousandths."""
STRENGTH_BY_HAND: Final = 1 << 40


class Columns(NamedTuple):
    """Detections of one organisation, in the order of their numbers, and what is in their events."""

    ids: Ints
    """Rising."""
    times: Ints
    """Microseconds since 1970 UTC, or ``UNTIMED``."""
    core: Mask
    """Whether it can hold a situation."""
    mark_rows: Ints
    """With ``mark_entities``: which detection (by its place) has which entity (by its place)."""
    mark_entities: Ints
    entity_keys: Ints
    weights: Floats
    """Of each entity."""
    half_lives: Floats
    """Of each entity, microseconds."""


class Pins(NamedTuple):
    """What a person decided about detections (by their numbers)."""

    together: Sequence[Ints] = ()
    """Each of these is in one situation."""
    apart: Sequence[tuple[Ints, Ints]] = ()
    """No detection of the first is in one situation with one of the second."""


class Links(NamedTuple):
    """Pairs of detections (by their places), the strongest first."""

    earlier: Ints
    later: Ints
    entities: Ints
    """Place of the entity that carries the join, or ``BY_HAND``."""
    strengths: Ints
    """In thousandths."""

    def taken(self, places: Ints | Mask) -> Links:
        """Some of them."""
        return Links(*(column[places] for column in self))


class Grouped(NamedTuple):
    """What belongs together."""

    labels: Ints
    """For each detection the place of the first (by number) of its situation; −1 if it is in none."""
    links: Links
    """Those that hold the situations together: one less than a situation has core detections."""


def group(columns: Columns, join: float, pins: Pins | None = None) -> Grouped:
    """Say which detections belong together, and why."""
    links = joined(_by_hand(columns, pins or Pins()), links_of(columns, join))
    labels, chosen = _forest(len(columns.ids), links)
    links = links.taken(chosen)
    if pins is not None and pins.apart:
        labels, links = _cut(columns, labels, links, pins.apart)
    labels = np.where(columns.core, labels, -1)
    return Grouped(labels, links)


def links_of(columns: Columns, join: float) -> Links:
    """All joins between detections that follow each other in the time of something they share, the strongest first."""
    rows, entities = columns.mark_rows, columns.mark_entities
    is_telling = columns.core[rows] & (columns.weights[entities] >= join) & (columns.times[rows] != UNTIMED)
    rows, entities = rows[is_telling], entities[is_telling]
    order = np.lexsort((rows, columns.times[rows], entities))
    rows, entities = rows[order], entities[order]
    follows = np.flatnonzero(entities[1:] == entities[:-1])
    earlier, later, entities = rows[follows], rows[follows + 1], entities[follows]
    apart_us = columns.times[later] - columns.times[earlier]
    strengths = (columns.weights[entities] * np.exp2(-apart_us / columns.half_lives[entities]) * MILLI).astype(np.int64)
    links = Links(earlier, later, entities, strengths)
    return _ranked(columns, links.taken(strengths >= int(join * MILLI)))


def joined(first: Links, second: Links) -> Links:
    """Two lists as one."""
    return Links(*(np.concatenate(pair) for pair in zip(first, second, strict=True)))


def _ranked(columns: Columns, links: Links) -> Links:
    """The strongest first; what is equally strong, by detections and entity."""
    keys = (columns.entity_keys[links.entities], links.earlier, links.later, -links.strengths)
    return links.taken(np.lexsort(keys))


def _by_hand(columns: Columns, pins: Pins) -> Links:
    """A chain through all core detections that a person put together.

    First through those that no later split tells apart, then between these: a cut then goes only where it was made.
    """
    starts: list[Ints] = [np.zeros(0, np.int64)]
    ends: list[Ints] = [np.zeros(0, np.int64)]
    between: list[tuple[Ints, Ints]] = []
    for ids in pins.together:
        rows = _places(columns, ids)
        sides = np.zeros(len(rows), np.int64)
        for one, other in pins.apart:
            found = columns.ids[rows]
            sides = np.unique(3 * sides + np.isin(found, one) + 2 * np.isin(found, other), return_inverse=True)[1]
        order = np.argsort(sides, kind="stable")
        rows, sides = rows[order], sides[order]
        same = sides[1:] == sides[:-1]
        starts.append(rows[:-1][same])
        ends.append(rows[1:][same])
        between.append((rows[:-1][~same], rows[1:][~same]))
    one = np.concatenate([*starts, *(pair[0] for pair in between)])
    other = np.concatenate([*ends, *(pair[1] for pair in between)])
    return Links(
        np.minimum(one, other),
        np.maximum(one, other),
        np.full(len(one), BY_HAND),
        np.full(len(one), STRENGTH_BY_HAND),
    )


def _places(columns: Columns, ids: Ints) -> Ints:
    """The places of core detections among some numbers."""
    places = np.searchsorted(columns.ids, np.unique(ids))
    places = places[places < len(columns.ids)]
    places = places[np.isin(columns.ids[places], ids)]
    return places[columns.core[places]]


def _forest(size: int, links: Links) -> tuple[Ints, Ints]:
    """Components and the links of the maximum spanning forest; links come in their order of preference.

    Source: O. Borůvka, O jistém problému minimálním, 1926.
    """
    component = np.arange(size)
    alive = np.arange(len(links.earlier))
    chosen: list[Ints] = [np.zeros(0, np.int64)]
    while len(alive):
        one, other = component[links.earlier[alive]], component[links.later[alive]]
        between = one != other
        alive, one, other = alive[between], one[between], other[between]
        if not len(alive):
            break
        best = np.full(size, len(links.earlier))
        # Of equal places the last one assigned stays, which is the first of the links.
        best[one[::-1]] = alive[::-1]
        second = np.full(size, len(links.earlier))
        second[other[::-1]] = alive[::-1]
        best = np.minimum(best, second)
        roots = np.flatnonzero(best < len(links.earlier))
        picked = best[roots]
        one, other = component[links.earlier[picked]], component[links.later[picked]]
        parent = np.arange(size)
        parent[roots] = np.where(one == roots, other, one)
        mutual = roots[parent[parent[roots]] == roots]
        mutual = mutual[mutual < parent[mutual]]
        parent[mutual] = mutual
        component = _settled(parent)[component]
        chosen.append(np.unique(picked))
    picked = np.sort(np.concatenate(chosen))
    first = np.full(size, size)
    first[component[::-1]] = np.arange(size)[::-1]
    return first[component], picked


def _settled(parent: Ints) -> Ints:
    while True:
        above = parent[parent]
        if np.array_equal(above, parent):
            return parent
        parent = above


def _cut(columns: Columns, labels: Ints, links: Links, apart: Sequence[tuple[Ints, Ints]]) -> tuple[Ints, Links]:
    """Cut situations that have two detections in them which a person wants apart, where they hold together least."""
    sides: dict[int, dict[int, bool]] = {}
    conflicting: set[int] = set()
    for number, (one, other) in enumerate(apart):
        places = (_places(columns, one), _places(columns, other))
        conflicting.update(np.intersect1d(labels[places[0]], labels[places[1]]).tolist())
        for side, rows in enumerate(places):
            for row in rows.tolist():
                sides.setdefault(row, {})[number] = bool(side)
    if not conflicting:
        return labels, links
    is_cut = np.isin(labels[links.earlier], list(conflicting))
    parent = {row: row for row in np.flatnonzero(np.isin(labels, list(conflicting))).tolist()}
    kept = ~is_cut

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for place in np.flatnonzero(is_cut).tolist():
        one, other = sorted((root(int(links.earlier[place])), root(int(links.later[place]))))
        mine, theirs = sides.get(one, {}), sides.get(other, {})
        if any(theirs.get(number, side) != side for number, side in mine.items()):
            continue
        parent[other] = one
        if theirs:
            sides[one] = {**theirs, **mine}
        kept[place] = True
    labels = labels.copy()
    for row in sorted(parent):
        labels[row] = root(row)
    return labels, links.taken(kept)


def beside(
    columns: Columns, parties: Ints, labels: Ints, within_us: int, join: float, telling: Mask
) -> tuple[Ints, Ints]:
    """Detections in no situation that stand beside some: (place of it, label of the situation). One may do so often.

    They happened close to a core detection of the situation about the same party (``parties``: a number for each, 0
    for none), or share an entity with it that would join them (``telling``: which entities may).
    """
    near = _near(columns, parties, labels, within_us)
    sharing = _sharing(columns, labels, join, telling)
    both = np.concatenate([near, sharing])
    found = np.unique(both[:, 0] << 32 | both[:, 1])
    return found >> 32, found & 0xFFFFFFFF


def _sharing(columns: Columns, labels: Ints, join: float, telling: Mask) -> Ints:
    """Detections and the situations of the core detections before and after them in the time of what they share."""
    rows, entities = columns.mark_rows, columns.mark_entities
    chosen = telling[entities] & (columns.weights[entities] >= join) & (columns.times[rows] != UNTIMED)
    rows, entities = rows[chosen], entities[chosen]
    order = np.lexsort((rows, columns.times[rows], entities))
    rows, entities = rows[order], entities[order]
    is_core = labels[rows] >= 0
    places = np.arange(len(rows))
    before = np.maximum.accumulate(np.where(is_core, places, -1)) if len(rows) else places
    after = np.minimum.accumulate(np.where(is_core, places, len(rows))[::-1])[::-1] if len(rows) else places
    found: list[Ints] = [np.zeros((0, 2), np.int64)]
    for other in (before, after):
        asked = np.flatnonzero(~is_core & (other >= 0) & (other < len(rows)))
        core = other[asked]
        same = entities[asked] == entities[core]
        asked, core = asked[same], core[same]
        apart_us = np.abs(columns.times[rows[asked]] - columns.times[rows[core]])
        strengths = columns.weights[entities[asked]] * np.exp2(-apart_us / columns.half_lives[entities[asked]])
        close = strengths >= join
        found.append(np.stack([rows[asked[close]], labels[rows[core[close]]]], axis=1))
    return np.concatenate(found)


def _near(columns: Columns, hosts: Ints, labels: Ints, within_us: int) -> Ints:
    """Detections and the situations that had a core detection close to them about the same party."""
    timed = (hosts != 0) & (columns.times != UNTIMED)
    core = np.flatnonzero(timed & (labels >= 0))
    others = np.flatnonzero(timed & (labels < 0))
    if not len(core) or not len(others):
        return np.zeros((0, 2), np.int64)
    # Stretches of time around the core detections of each situation on each host, those that overlap as one.
    order = np.lexsort((columns.times[core], labels[core], hosts[core]))
    core = core[order]
    host, label, time = hosts[core], labels[core], columns.times[core]
    is_new = np.ones(len(core), np.bool_)
    is_new[1:] = (host[1:] != host[:-1]) | (label[1:] != label[:-1]) | (time[1:] - time[:-1] > 2 * within_us)
    firsts = np.flatnonzero(is_new)
    lasts = np.append(firsts[1:], len(core)) - 1
    host, label, starts, ends = host[firsts], label[firsts], time[firsts] - within_us, time[lasts] + within_us
    others = others[np.lexsort((columns.times[others], hosts[others]))]
    low = _first_at(hosts[others], columns.times[others], host, starts)
    high = _first_at(hosts[others], columns.times[others], host, ends + 1)
    counts = np.maximum(high - low, 0)
    stretch = np.repeat(np.arange(len(low)), counts)
    offsets = np.arange(len(stretch)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([others[low[stretch] + offsets], label[stretch]], axis=1)


def _first_at(hosts: Ints, times: Ints, host: Ints, time: Ints) -> Ints:
    """The first place in rows sorted by host and time that is not before (host, time), for many of them."""
    numbers = np.unique(np.concatenate([hosts, host]))
    everything = np.concatenate([np.searchsorted(numbers, hosts), np.searchsorted(numbers, host)])
    moments = np.concatenate([times, time])
    is_asked = np.concatenate([np.ones(len(hosts), np.int64), np.zeros(len(host), np.int64)])
    order = np.lexsort((is_asked, moments, everything))
    before = np.cumsum(is_asked[order])
    found = np.zeros(len(order), np.int64)
    found[order] = before - is_asked[order]
    return found[len(hosts) :]

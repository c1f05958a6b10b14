"""Something that calls home: the same destination again and again, too regular for a person, over days and weeks.

Needs: connections (flows, requests, sessions) with their times; better with bytes sent and with the destination's name.
All connections of one pair of source and destination are looked at together, however long a time they span: a beacon
that calls once a week is found once it has called ``BEATS_MIN`` times.

Connections that follow each other at once are one *beat*. The *period* is the median pause between beats, or the lower
quartile if that explains them better (more than half of the beats are missing). A pause of two or three periods is that
many beats of which some are missing; a longer one is sleep (the host was off, the person on leave) and says nothing
about the period. What counts: how little the pauses differ (median deviation and Bowley skewness, after missing beats
are filled in), how few of them are sleep, how alike the sizes are, how evenly the beats fill hours, days or weeks, on
how many of the days on which the source was there at all, how many beats, and how few others go there.

Misses: destinations inside (everything calls the directory regularly); beacons that wait at random for anything between
nothing and twice the period; beacons that go to another name or address each time; a beat hidden in the traffic of a
site that the person uses anyway. Mistakes: updates, clocks, meters, chats and mail programs are beacons; those that
many in the organisation have lose points, those of one host do not. Unlike elsewhere, being old is no excuse here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from mingjian.detect.behaviours.facts import CONNECTIONS, checked
from mingjian.detect.behaviours.findings import (
    Finding,
    Floats,
    Ints,
    Mask,
    Scores,
    in_order,
    log_share_of,
    share_of,
    some_events,
)
from mingjian.detect.behaviours.grouping import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    WEEK,
    Moments,
    Texts,
    counts_of,
    largest,
    median_deviations,
    medians,
    numbered,
    numbers_of,
    one_of_each,
    order_by,
    quantiles,
    ranked,
    starts_of,
    summed,
    texts_of,
)
from mingjian.detect.behaviours.places import outside

BEATS_MIN: Final = 6
"""Five pauses: fewer are regular by chance too often."""
BEATS_FULL: Final = 60
TRUSTED_BEATS: Final = (4.0, 12.0)
"""Regular pauses count in full from a dozen beats on: among thousands of pairs, some have five pauses alike."""
AT_ONCE_US: Final = SECOND
"""Connections closer than this are one beat …"""
AT_ONCE_SHARE: Final = 0.05
"""… and so are those closer than this share of the pause that nine of ten pauses do not pass …"""
AT_ONCE_MOST_US: Final = 10 * SECOND
"""… but not if they are further apart than this."""
MISSING_MAX: Final = 3
"""A pause of up to so many periods has beats missing in it; a longer one is sleep."""
SPREAD: Final = (0.30, 0.03)
"""Median deviation of the pauses by their median: chance gives about 0.3, a jitter of a fifth gives 0.1."""
PAUSES: Final = (0.60, 0.95)
"""Share of the pauses that are no sleep: visits of people have long pauses between them."""
SIZE_SPREAD: Final = (0.30, 0.0)
SIZES_KNOWN: Final = 0.8
"""Sizes are compared if so many beats have one."""
EVEN_VARIATION: Final = (0.60, 0.10)
"""Coefficient of variation of the beats in each hour (day, week) between others that have beats too."""
DAYS: Final = (1.0, 14.0)
"""Persistence counts from a day on and fully from two weeks on."""
COMMON: Final = (0.10, 0.50)
"""Share of the sources of an organisation that go there: an update service of everybody loses points."""

SCORE_MIN: Final = 65
"""What is reported. Chosen on the generated sector: see the reference of behaviours."""


class Regularity(NamedTuple):
    """How regular the beats of many pairs are. Every column has one value for each pair."""

    beats: Ints
    first: Ints
    last: Ints
    period_us: Floats
    spread: Floats
    """Median deviation of the pauses, missing beats filled in, by their median."""
    skew: Floats
    """Bowley's: 0 is even, −1 and 1 are not."""
    awake: Floats
    """Share of the pauses that are no sleep."""
    missing: Floats
    """Share of the expected beats that are missing in the pauses that are no sleep."""


class _Beats(NamedTuple):
    """Connections by pair and time; and those of them that begin a beat."""

    pair: Ints
    time: Ints
    rows: Ints
    """Where they stand in the table."""
    begins: Mask


def beacons(connections: pa.Table, own_domains: Mapping[str, Collection[str]] | None = None) -> list[Finding]:
    """Find beacons in a table of ``CONNECTIONS``. Ordered by score, highest first.

    ``own_domains``: organisation → its domains; what is below them is inside.

    Raises:
        SchemaError, LimitExceeded: it is not such a table.
    """
    table = checked(connections, CONNECTIONS)
    if not table.num_rows:
        return []
    organisations, sources = texts_of(table.column("organisation")), texts_of(table.column("source"))
    destinations = texts_of(table.column("destination"))
    time, event = numbers_of(table.column("time_us")), numbers_of(table.column("event"))
    leads_out = is_outward(organisations, sources, destinations, own_domains or {})
    pairs = numbered(organisations.codes, sources.codes, destinations.codes)
    outward = np.flatnonzero(leads_out)
    if not len(outward):
        return []
    rows = outward[np.bincount(pairs[outward])[pairs[outward]] >= BEATS_MIN]
    if not len(rows):
        return []
    beats = _beats(pairs[rows], time[rows], event[rows], rows)
    beats = _of_enough(beats)
    if not len(beats.pair):
        return []
    regularity = regularity_of(beats.pair[beats.begins], beats.time[beats.begins])
    of_pair = beats.rows[starts_of(beats.pair)]
    judged = _Judged(
        beats, regularity, pairs, outward, organisations.codes, sources.codes, destinations.codes, time, of_pair
    )
    scores = judged.scores(numbers_of(table.column("bytes_out"), -1))
    ports = numbers_of(table.column("port"), -1)
    starts = starts_of(beats.pair)
    ends = starts + counts_of(starts, len(beats.pair))
    found: list[Finding] = []
    for place in map(int, np.flatnonzero(scores.total >= SCORE_MIN)):
        inside = beats.rows[starts[place] : ends[place]]
        begun = beats.rows[starts[place] : ends[place]][beats.begins[starts[place] : ends[place]]]
        row = int(of_pair[place])
        found.append(
            Finding(
                behaviour="beaconing",
                organisation=organisations.at(row),
                entity_kind="source",
                entity=sources.at(row),
                object=destinations.at(row),
                values=tuple(str(port) for port in np.unique(ports[inside]).tolist()[:3] if port >= 0),
                first_us=int(regularity.first[place]),
                last_us=int(regularity.last[place]),
                count=len(inside),
                score=int(scores.total[place]),
                terms=scores.terms(place),
                caveats=judged.caveats(place),
                events=some_events(event[begun]),
            )
        )
    return in_order(found)


def is_outward(
    organisations: Texts, sources: Texts, destinations: Texts, own_domains: Mapping[str, Collection[str]]
) -> Mask:
    """Of every row, whether it leads from inside to outside of its organisation."""
    found = outside(destinations.values)[destinations.codes] & ~outside(sources.values)[sources.codes]
    for code, organisation in enumerate(organisations.values):
        own = own_domains.get(organisation)
        if own:
            rows = np.flatnonzero(organisations.codes == code)
            found[rows] = outside(destinations.values, own)[destinations.codes[rows]]
    return found


def _beats(pair: Ints, time: Ints, event: Ints, rows: Ints) -> _Beats:
    """Put connections in order, and tell beats from what belongs to the same beat."""
    order = order_by(pair, time, event)
    pair, time, rows = numbered(pair[order]), time[order], rows[order]
    begins = _first_of(pair, time, np.full(len(pair), AT_ONCE_US, np.float64))
    # The longer the usual pause, the longer a beat may last.
    places = np.flatnonzero(begins)
    pauses, of_pause = _pauses(pair[places], time[places])
    of_pause, pauses = ranked(of_pause, pauses)
    starts = starts_of(of_pause)
    at_once = np.full(int(pair[-1]) + 1, float(AT_ONCE_US))
    usual = quantiles(pauses, starts, counts_of(starts, len(pauses)), 0.9)
    at_once[of_pause[starts]] = np.clip(usual * AT_ONCE_SHARE, AT_ONCE_US, AT_ONCE_MOST_US)
    return _Beats(pair, time, rows, _first_of(pair, time, at_once[pair]))


def _first_of(pair: Ints, time: Ints, at_once: Floats) -> Mask:
    begins = np.ones(len(pair), np.bool_)
    begins[1:] = (pair[1:] != pair[:-1]) | (time[1:] - time[:-1] >= at_once[1:])
    return begins


def _of_enough(beats: _Beats) -> _Beats:
    """Only the pairs with enough beats, numbered anew."""
    kept = (np.bincount(beats.pair, weights=beats.begins) >= BEATS_MIN)[beats.pair]
    number = np.cumsum(np.bincount(beats.pair[kept], minlength=1) > 0) - 1
    return _Beats(number[beats.pair[kept]], beats.time[kept], beats.rows[kept], beats.begins[kept])


def _pauses(pair: Ints, time: Ints) -> tuple[Ints, Ints]:
    """The pauses between beats of the same pair, and the pair of each."""
    same = pair[1:] == pair[:-1]
    return np.diff(time)[same], pair[1:][same]


def regularity_of(pair: Ints, time: Ints) -> Regularity:
    """How regular the beats of each pair are. Pairs are numbered from 0, beats in the order of pair and time.

    Every pair has at least two beats.
    """
    starts = starts_of(pair)
    counts = counts_of(starts, len(pair))
    pauses, group = _pauses(pair, time)
    group, pauses = ranked(group, pauses)
    begins = starts_of(group)
    sizes = counts_of(begins, len(group))
    halves = [_Folded(group, pauses, quantiles(pauses, begins, sizes, share)) for share in (0.5, 0.25)]
    better = (halves[1].spread < halves[0].spread) & (halves[1].awake >= halves[0].awake)
    half, quarter = halves

    def best(of_half: Floats, of_quarter: Floats) -> Floats:
        return np.where(better, of_quarter, of_half)

    return Regularity(
        counts,
        time[starts],
        time[starts + counts - 1],
        best(half.period, quarter.period),
        best(half.spread, quarter.spread),
        best(half.skew, quarter.skew),
        best(half.awake, quarter.awake),
        best(half.missing, quarter.missing),
    )


class _Folded:
    """Pauses with missing beats filled in, if the period is this."""

    def __init__(self, group: Ints, pauses: Ints, period: Floats) -> None:
        size = len(period)
        self.period = np.maximum(period, 1.0)
        periods = np.maximum(np.rint(pauses / self.period[group]), 1.0)
        is_awake = periods <= MISSING_MAX
        all_pauses = np.bincount(group, minlength=size)
        awake = np.bincount(group, weights=is_awake, minlength=size)
        self.awake = awake / all_pauses
        expected = np.bincount(group, weights=periods * is_awake, minlength=size)
        self.missing = 1 - awake / np.maximum(expected, 1)
        # A millionth of a second is exact enough, and whole numbers are sorted faster.
        filled = np.rint(pauses[is_awake] / periods[is_awake]).astype(np.int64)
        of_group, filled = ranked(group[is_awake], filled)
        starts = starts_of(of_group)
        counts = counts_of(starts, len(filled))
        there = of_group[starts]
        low, middle, high = (quantiles(filled, starts, counts, share) for share in (0.25, 0.5, 0.75))
        width = high - low
        skew = np.where(width > 0, (low + high - 2 * middle) / np.where(width > 0, width, 1), 0.0)
        self.skew = np.ones(size)
        self.skew[there] = skew
        whole = np.zeros(size)
        whole[there] = middle
        deviation = median_deviations(of_group, filled, whole)
        self.spread = np.ones(size)
        self.spread[there] = deviation[there] / np.maximum(middle, 1.0)


class _Judged:
    """Pairs with what counts for and against them."""

    def __init__(
        self,
        beats: _Beats,
        regularity: Regularity,
        pairs: Ints,
        outward: Ints,
        organisation: Ints,
        source: Ints,
        destination: Ints,
        time: Ints,
        of_pair: Ints,
    ) -> None:
        self._beats = beats
        self._regularity = regularity
        self._pairs = pairs
        self._size = len(of_pair)
        self._sizes_known = np.zeros(self._size, np.bool_)
        self._prevalence(organisation, source, destination, outward, of_pair)
        self._presence(numbered(organisation, source), time, of_pair)

    def scores(self, bytes_out: Ints) -> Scores:
        """Add the terms up."""
        beats, regularity = self._beats, self._regularity
        scores = Scores(self._size)
        # Few pauses are alike by chance, and so are pauses that were filled in.
        trust = log_share_of(regularity.beats, *TRUSTED_BEATS) * (1 - regularity.missing / 2)
        regular = share_of(regularity.spread, *SPREAD) * trust
        scores.add("regular-pauses", 25, regular, regularity.spread)
        scores.add("even-skew", 5, np.minimum(1 - np.abs(regularity.skew), regular), regularity.skew)
        scores.add("few-long-pauses", 5, share_of(regularity.awake, *PAUSES), regularity.awake)
        size_share, size_spread = self._sizes(bytes_out)
        scores.add("alike-sizes", 10, size_share, size_spread)
        variation = _variation(beats.pair[beats.begins], beats.time[beats.begins], regularity.period_us)
        scores.add("even-over-time", 10, share_of(variation, *EVEN_VARIATION), variation)
        days = (regularity.last - regularity.first) / DAY
        scores.add("persistence", 20, self._coverage * log_share_of(days, *DAYS), self._coverage)
        scores.add("beats", 10, log_share_of(regularity.beats, BEATS_MIN / 2, BEATS_FULL), regularity.beats)
        scores.add("few-others-go-there", 15, self._rare, self._others)
        scores.add("many-others-go-there", -30, share_of(self._common, *COMMON), self._common)
        return scores

    def caveats(self, place: int) -> tuple[str, ...]:
        """What weakens a finding."""
        found = {
            "sizes-unknown": not self._sizes_known[place],
            "beats-missing": self._regularity.missing[place] > 0.1,
            "less-than-a-week": self._regularity.last[place] - self._regularity.first[place] < WEEK,
        }
        return tuple(name for name, is_so in found.items() if is_so)

    def _sizes(self, bytes_out: Ints) -> tuple[Floats, Floats]:
        """How alike the beats are in bytes sent. What is not known gets half."""
        beats = self._beats
        sizes = bytes_out[beats.rows]
        starts = np.flatnonzero(beats.begins)
        of_beat = beats.pair[starts]
        is_known = largest(sizes, starts) >= 0
        whole = summed(np.maximum(sizes, 0), starts)
        share = np.bincount(of_beat, weights=is_known, minlength=self._size) / self._regularity.beats
        self._sizes_known = share >= SIZES_KNOWN
        middle = medians(of_beat[is_known], whole[is_known], self._size)
        deviation = median_deviations(of_beat[is_known], whole[is_known], middle)
        spread = deviation / np.maximum(np.nan_to_num(middle), 1.0)
        return np.where(self._sizes_known, share_of(spread, *SIZE_SPREAD), 0.5), spread

    def _prevalence(self, organisation: Ints, source: Ints, destination: Ints, outward: Ints, of_pair: Ints) -> None:
        """How many of the organisation's sources that go outside at all go to the same destination."""
        pair = numbered(self._pairs[outward])
        first = one_of_each(pair)
        rows = outward[first]
        goal = numbered(organisation[rows], destination[rows])
        place = np.empty(int(self._pairs.max()) + 1, np.int64)
        place[self._pairs[rows]] = np.arange(len(rows))
        goers = np.bincount(goal)[goal[place[self._pairs[of_pair]]]]
        sources = np.bincount(organisation[rows][one_of_each(numbered(organisation[rows], source[rows]))])
        sources = sources[organisation[of_pair]]
        self._others = goers - 1
        self._common = self._others / np.maximum(sources - 1, 1)
        self._rare = np.clip(1 - np.log(goers) / np.log(np.maximum(sources / 2, 2.0)), 0.0, 1.0)

    def _presence(self, who: Ints, time: Ints, of_pair: Ints) -> None:
        """On which share of its days (or of its periods, if these are longer) the source called."""
        beats, regularity = self._beats, self._regularity
        day = time // DAY
        rows = one_of_each(numbered(who, day))
        moments = Moments(who[rows], day[rows] * DAY)
        start, end = moments.between(who[of_pair], regularity.first // DAY * DAY, regularity.last)
        called = starts_of(beats.pair, beats.time // DAY)
        days_called = np.bincount(beats.pair[called], minlength=self._size)
        expected = (end - start) / np.maximum(regularity.period_us / DAY, 1.0)
        self._coverage = np.minimum(days_called / np.maximum(expected, 1.0), 1.0)


def _variation(pair: Ints, time: Ints, period: Floats) -> Floats:
    """Coefficient of variation of the beats in each hour, day or week (three beats at least are expected in one)."""
    length = np.where(period < 20 * MINUTE, HOUR, np.where(period < 8 * HOUR, DAY, WEEK)).astype(np.int64)
    box = time // length[pair]
    starts = starts_of(pair, box)
    counts = counts_of(starts, len(pair))
    of_box, number = pair[starts], box[starts]
    # The first and the last of a row are cut short: only those between others count.
    inner = np.zeros(len(starts), np.bool_)
    inner[1:-1] = (
        (of_box[1:-1] == of_box[:-2])
        & (of_box[1:-1] == of_box[2:])
        & (number[1:-1] - number[:-2] == 1)
        & (number[2:] - number[1:-1] == 1)
    )
    size = len(period)
    boxes = np.bincount(of_box[inner], minlength=size)
    total = np.bincount(of_box[inner], weights=counts[inner], minlength=size)
    squares = np.bincount(of_box[inner], weights=counts[inner] ** 2, minlength=size)
    mean = total / np.maximum(boxes, 1)
    variance = np.maximum(squares / np.maximum(boxes, 1) - mean**2, 0.0)
    return np.where(boxes > 0, np.sqrt(variance) / np.maximum(mean, 1e-9), 1.0)

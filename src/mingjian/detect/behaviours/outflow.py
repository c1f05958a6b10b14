"""More going out than ever: volumes against what the same host sends to the same place at the same hour of the week.

Needs: connections with bytes sent (flows; proxies that log what was sent), of ``WEEKS_WANTED`` weeks before the hour in
question at best. After fewer, what is said about the past counts for less, and the finding says so
(``short-baseline``); in the first two weeks it counts nothing, and nothing is found.

The unit is one source, one destination outside, one hour. The usual hour is the median over all weeks since the source
was first seen, weeks without a byte among them; the distance is measured in median deviations, at least a tenth of the
median and a megabyte. What counts besides: the volume itself, the largest hour of all days until a week before, to the
same destination and of the source at all, whether the destination is new to the source and to nearly everybody else,
and that far more goes out than comes in. Hours of one source and destination with pauses of less than a day are one
finding.

Misses: less than ``BYTES_MIN`` an hour; what leaves inside of a large upload of every day; what was sent in one
connection that is logged under another hour. Mistakes: the first backup to a new place, a large upload to a partner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from mingjian.detect.behaviours.beaconing import is_outward
from mingjian.detect.behaviours.facts import CONNECTIONS, checked
from mingjian.detect.behaviours.findings import (
    Finding,
    Floats,
    Ints,
    Scores,
    in_order,
    log_share_of,
    share_of,
    some_events,
)
from mingjian.detect.behaviours.grouping import (
    DAY,
    HOUR,
    WEEK,
    Texts,
    counts_of,
    medians,
    numbered,
    numbers_of,
    one_of_each,
    order_by,
    spread_over,
    starts_of,
    summed,
    texts_of,
)

BYTES_MIN: Final = 10_000_000
"""An hour with less to one destination is not looked at: people send pictures."""
BYTES_FULL: Final = 2_000_000_000
WEEKS_WANTED: Final = 4.0
"""So many values of one hour of the week make a median that one odd week does not move."""
WEEKS_MIN: Final = 2.0
DEVIATIONS: Final = (4.0, 40.0)
DEVIATION_BYTES_MIN: Final = 1_000_000.0
DEVIATION_SHARE_MIN: Final = 0.1
"""Of the median: hours differ by that much anyway."""
NEW_US: Final = 7 * DAY
"""A destination is new to a source for so long."""
MOSTLY_OUT: Final = (0.6, 0.95)
"""Share of what goes out in all that goes out and comes in."""
APART_US: Final = DAY
_DAY_BITS: Final = 24

SCORE_MIN: Final = 70
"""What is reported. Chosen on the generated sector: see the reference of behaviours."""


class _Hours(NamedTuple):
    """Connections by source, destination and hour, in this order."""

    rows: Ints
    starts: Ints
    counts: Ints
    pair: Ints
    source: Ints
    hour: Ints
    bytes_out: Ints
    bytes_in: Ints


def outflows(connections: pa.Table, own_domains: Mapping[str, Collection[str]] | None = None) -> list[Finding]:
    """Find unusual volumes in a table of ``CONNECTIONS``. Ordered by score, highest first.

    ``own_domains``: organisation → its domains; what is below them is inside.

    Raises:
        SchemaError, LimitExceeded: it is not such a table.
    """
    table = checked(connections, CONNECTIONS)
    sent = numbers_of(table.column("bytes_out")) if table.num_rows else np.zeros(0, np.int64)
    organisations, sources = texts_of(table.column("organisation")), texts_of(table.column("source"))
    destinations = texts_of(table.column("destination"))
    rows = np.flatnonzero((sent > 0) & is_outward(organisations, sources, destinations, own_domains or {}))
    if not len(rows):
        return []
    time = numbers_of(table.column("time_us"))
    source = numbered(organisations.codes, sources.codes)
    hours = _hours(table, rows, time, sent, numbered(organisations.codes, sources.codes, destinations.codes), source)
    judged = np.flatnonzero(hours.bytes_out >= BYTES_MIN)
    if not len(judged):
        return []
    begun = _smallest_by(source, time)
    goal = numbered(organisations.codes[rows], destinations.codes[rows])
    goers = np.bincount(goal[one_of_each(numbered(goal, source[rows]))])
    of_row = np.zeros(table.num_rows, np.int64)
    of_row[rows] = goers[goal]
    firsts = hours.rows[hours.starts]
    scores, weeks = _scores(hours, judged, begun, int(time.max()), of_row[firsts[judged]])
    return in_order(
        _findings(
            hours,
            judged,
            scores,
            weeks,
            time,
            numbers_of(table.column("event")),
            (organisations, sources, destinations),
        )
    )


def _smallest_by(group: Ints, values: Ints) -> Ints:
    """The smallest value of each group (from 0, without gaps)."""
    found = np.full(int(group.max()) + 1, np.iinfo(np.int64).max, np.int64)
    np.minimum.at(found, group, values)
    return found


def _hours(table: pa.Table, rows: Ints, time: Ints, sent: Ints, pair: Ints, source: Ints) -> _Hours:
    event = numbers_of(table.column("event"))
    rows = rows[order_by(pair[rows], time[rows], event[rows])]
    hour = time[rows] // HOUR
    starts = starts_of(pair[rows], hour)
    firsts = rows[starts]
    received = np.maximum(numbers_of(table.column("bytes_in")), 0)
    return _Hours(
        rows,
        starts,
        counts_of(starts, len(rows)),
        pair[firsts],
        source[firsts],
        hour[starts],
        summed(sent[rows], starts),
        summed(received[rows], starts),
    )


def _scores(hours: _Hours, judged: Ints, begun: Ints, last_us: int, goers: Ints) -> tuple[Scores, Floats]:
    volume = hours.bytes_out[judged]
    source = hours.source[judged]
    in_all = (last_us - begun[source]) / WEEK
    deviation = _deviation(hours, judged, np.maximum(np.ceil(in_all), 1).astype(np.int64))
    weeks = np.maximum(hours.hour[judged] * HOUR - begun[source], 0) / WEEK
    known = np.where(weeks >= WEEKS_MIN, np.minimum(weeks / WEEKS_WANTED, 1.0), 0.0)
    to_destination = _largest_before(hours.pair, hours.hour // 24, hours.bytes_out, judged)
    of_source = _largest_before(hours.source, hours.hour // 24, hours.bytes_out, judged)
    met = _smallest_by(numbered(hours.pair), hours.hour)[numbered(hours.pair)[judged]] * HOUR
    age = hours.hour[judged] * HOUR - met
    # Everything is new to a source that was seen for the first time a moment ago.
    is_new = (age < NEW_US) & (met - begun[source] >= NEW_US)
    out_share = volume / np.maximum(volume + hours.bytes_in[judged], 1)
    scores = Scores(len(judged))
    scores.add("volume", 15, log_share_of(volume, BYTES_MIN / 2, BYTES_FULL), volume)
    scores.add("above-the-usual-hour", 25, known * log_share_of(deviation, *DEVIATIONS), deviation)
    scores.add("more-than-ever-to-it", 20, known * (1 - to_destination / volume), to_destination)
    scores.add("more-than-ever-at-all", 10, known * (1 - of_source / volume), of_source)
    scores.add("new-destination", 20, is_new / goers, age / DAY)
    scores.add("mostly-out", 10, share_of(out_share, *MOSTLY_OUT), out_share)
    return scores, weeks


def _deviation(hours: _Hours, judged: Ints, weeks: Ints) -> Floats:
    """How far hours are above the median of the same source, destination and hour of the week."""
    slot = numbered(hours.pair, hours.hour % 168)
    wanted, place = np.unique(slot[judged], return_inverse=True)
    in_weeks = np.zeros(len(wanted), np.int64)
    in_weeks[place] = weeks
    rows = np.flatnonzero(np.isin(slot, wanted))
    group = np.searchsorted(wanted, slot[rows]).astype(np.int64)
    # Weeks without a byte are as many zeros.
    silent = np.maximum(in_weeks - np.bincount(group, minlength=len(wanted)), 0)
    group = np.concatenate((group, spread_over(silent)))
    value = np.concatenate((hours.bytes_out[rows], np.zeros(int(silent.sum()), np.int64)))
    middle = medians(group, value, len(wanted))
    off = medians(group, np.abs(np.rint(value - middle[group])).astype(np.int64), len(wanted))
    width = np.maximum(np.maximum(1.4826 * off, DEVIATION_SHARE_MIN * middle), DEVIATION_BYTES_MIN)
    return (hours.bytes_out[judged] - middle[place]) / width[place]


def _largest_before(group: Ints, day: Ints, value: Ints, judged: Ints) -> Ints:
    """For the rows that are judged: the largest value of the same group more than ``NEW_US`` before; 0 for none."""
    key = (group << _DAY_BITS) | day
    order = order_by(key)
    key, value = key[order], value[order]
    start = np.searchsorted(key, group[judged] << _DAY_BITS)
    end = np.searchsorted(key, (group[judged] << _DAY_BITS) | (day[judged] - NEW_US // DAY))
    # The largest of every second stretch: what lies between two of them is computed too and left out.
    bounds = np.minimum(np.stack((start, end), axis=1).ravel(), len(value) - 1)
    return np.where(end > start, np.maximum.reduceat(value, bounds)[::2], 0)


def _findings(
    hours: _Hours,
    judged: Ints,
    scores: Scores,
    weeks: Floats,
    time: Ints,
    event: Ints,
    texts: tuple[Texts, Texts, Texts],
) -> list[Finding]:
    """One finding for each source and destination, as long as no day passes without an hour that scores."""
    organisations, sources, destinations = texts
    runs: list[list[int]] = []
    for place in map(int, np.flatnonzero(scores.total >= SCORE_MIN)):
        here = int(judged[place])
        before = int(judged[runs[-1][-1]]) if runs else -1
        apart = (hours.hour[here] - hours.hour[before]) * HOUR
        if runs and hours.pair[here] == hours.pair[before] and apart <= APART_US:
            runs[-1].append(place)
        else:
            runs.append([place])
    found: list[Finding] = []
    for places in runs:
        best = min(places, key=lambda place: (-int(scores.total[place]), place))
        parts = [hours.rows[hours.starts[at] : hours.starts[at] + hours.counts[at]] for at in judged[places]]
        rows = np.concatenate(parts)
        row = int(rows[0])
        caveats = ("short-baseline",) if weeks[best] < WEEKS_WANTED else ()
        found.append(
            Finding(
                behaviour="outflow",
                organisation=organisations.at(row),
                entity_kind="source",
                entity=sources.at(row),
                object=destinations.at(row),
                values=(f"{int(hours.bytes_out[judged[places]].sum())} B",),
                first_us=int(time[row]),
                last_us=int(time[rows[-1]]),
                count=len(rows),
                score=int(scores.total[best]),
                terms=scores.terms(best),
                caveats=caveats,
                events=some_events(event[rows]),
            )
        )
    return found

"""Beacons: planted ones of every pace, and browsing that is none; regularity against a slow obvious evaluator."""

import random
import statistics
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.behaviours.beaconing import MISSING_MAX, beacons, regularity_of
from mingjian.detect.behaviours.facts import CONNECTIONS
from mingjian.detect.behaviours.grouping import DAY, HOUR, MINUTE, SECOND
from planted import START_US, shuffled, table, terms_add_up

Row = dict[str, object]


def connection(
    time_us: float, destination: str, *, source: str = "10.0.0.9", out: int | None = 640, **more: object
) -> Row:
    row = {"time_us": int(time_us), "organisation": "a", "source": source, "destination": destination, "port": 443}
    return {**row, "bytes_out": out, **more}


def browsing(days: int = 30, hosts: int = 12, seed: int = 3) -> list[Row]:
    """People at work: some popular sites, at random, on working days, and an updater on every host."""
    chance = random.Random(seed)
    rows: list[Row] = []
    for host in range(hosts):
        source = f"10.0.0.{host}"
        for day in range(days):
            midnight = START_US + day * DAY
            if day % 7 in (2, 3):
                continue
            time_us = midnight + 8 * HOUR + chance.random() * HOUR
            while time_us < midnight + 17 * HOUR:
                site = f"site{int(chance.paretovariate(0.7)) % 160}.example"
                rows += [
                    connection(time_us + n * 200_000, site, source=source, out=chance.randint(200, 5000))
                    for n in range(chance.randint(1, 4))
                ]
                time_us += chance.expovariate(1 / 240) * SECOND
            rows += [connection(midnight + hour * HOUR, "update.example.org", source=source) for hour in range(8, 18)]
    return rows


BROWSING = browsing()


def found(rows: list[Row]):
    findings = beacons(table([*BROWSING, *rows], CONNECTIONS))
    assert terms_add_up(findings)
    return findings


def test_people_who_browse_and_updates_of_everybody_are_no_beacons() -> None:
    assert found([]) == []


def every(period_us: float, days: float, *, jitter: float = 0.0, missing: float = 0.0, seed: int = 1) -> list[float]:
    """Times of beats that wait a period each, more or less, from the beginning."""
    chance = random.Random(seed)
    time_us, times = START_US + 9 * HOUR, []
    while time_us < START_US + days * DAY:
        if chance.random() >= missing:
            times.append(time_us)
        time_us += period_us * (1 + jitter * (2 * chance.random() - 1))
    return times


def asleep(time_us: float) -> bool:
    return not (START_US + 8 * HOUR <= (time_us - START_US) % DAY + START_US < START_US + 17 * HOUR)


@pytest.mark.parametrize(
    ("what", "times"),
    [
        ("every minute for two days", every(MINUTE, 2)),
        ("every ten minutes with a fifth of jitter", every(10 * MINUTE, 14, jitter=0.2)),
        ("every hour, a third of the beats missing", every(HOUR, 20, missing=0.33)),
        ("every hour, six of ten beats missing", every(HOUR, 28, missing=0.6)),
        ("every five minutes while the host is awake", [t for t in every(5 * MINUTE, 28, jitter=0.1) if not asleep(t)]),
        ("every day", every(DAY, 30, jitter=0.05)),
        ("every week for nine weeks", every(7 * DAY, 64)),
    ],
)
def test_a_beacon_is_found(what: str, times: list[float]) -> None:
    [finding] = found([connection(time_us, "c2.example.net", source="10.0.0.3") for time_us in times])
    assert (finding.entity, finding.object, finding.count) == ("10.0.0.3", "c2.example.net", len(times)), what
    assert finding.values == ("443",)


def test_three_connections_at_once_are_one_beat() -> None:
    times = [time_us + n * 3 * SECOND for time_us in every(30 * MINUTE, 14) for n in range(3)]
    [finding] = found([connection(time_us, "c2.example.net") for time_us in times])
    beats = next(term.value for term in finding.terms if term.name == "beats")
    assert (finding.count, beats) == (len(times), len(times) / 3)


def test_it_is_said_when_sizes_are_unknown() -> None:
    [finding] = found([connection(time_us, "c2.example.net", out=None) for time_us in every(HOUR, 20)])
    assert finding.caveats == ("sizes-unknown",)


def test_what_is_called_inside_is_no_beacon() -> None:
    times = every(10 * MINUTE, 20)
    rows = [connection(t, goal) for t in times for goal in ("10.0.0.250", "dc-01", "files.corp.example.org")]
    findings = beacons(table([*BROWSING, *rows], CONNECTIONS), {"a": ["corp.example.org"]})
    assert findings == []
    assert [each.object for each in found(rows)] == ["files.corp.example.org"], "unless nobody says that it is inside"


def test_waiting_at_random_is_not_regular() -> None:
    chance = random.Random(9)
    time_us, rows = START_US, []
    while time_us < START_US + 20 * DAY:
        rows.append(connection(time_us, "chat.example.net", out=chance.randint(100, 9000)))
        time_us += int(chance.expovariate(1 / 1800) * SECOND)
    assert found(rows) == []


def slow_quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def slow_fold(pauses: list[int], period: float) -> tuple[float, float, float, float, float]:
    """Period, spread, skew, awake, missing: said again, pair by pair, as the documentation says it."""
    period = max(period, 1.0)
    counted = [(pause, max(1, round(pause / period))) for pause in pauses]
    awake = [(pause, number) for pause, number in counted if number <= MISSING_MAX]
    if not awake:
        return period, 1.0, 1.0, 0.0, 1.0
    filled = [round(pause / number) for pause, number in awake]
    middle = statistics.median(filled)
    deviation = statistics.median([round(abs(each - middle)) for each in filled])
    low, high = slow_quantile(filled, 0.25), slow_quantile(filled, 0.75)
    skew = (low + high - 2 * middle) / (high - low) if high > low else 0.0
    missing = 1 - len(awake) / sum(number for _, number in awake)
    return period, deviation / max(middle, 1.0), skew, len(awake) / len(pauses), missing


def slow_regularity(times: list[int]) -> tuple[float, ...]:
    pauses = [later - earlier for earlier, later in pairwise(sorted(times))]
    half, quarter = (slow_fold(pauses, slow_quantile(pauses, share)) for share in (0.5, 0.25))
    best = quarter if quarter[1] < half[1] and quarter[3] >= half[3] else half
    return (len(times), min(times), max(times), *best)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5000)), min_size=1, max_size=80))
def test_regularity_is_what_the_slow_evaluator_says(beats: list[tuple[int, int]]) -> None:
    by_pair: dict[int, list[int]] = defaultdict(list)
    for pair, time in beats:
        by_pair[pair] += [time, time + 7]
    expected = [slow_regularity(by_pair[pair]) for pair in sorted(by_pair)]
    number = {pair: place for place, pair in enumerate(sorted(by_pair))}
    rows = sorted((number[pair], time) for pair, times in by_pair.items() for time in times)
    got = regularity_of(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))
    for place, each in enumerate(expected):
        assert [float(column[place]) for column in got] == pytest.approx([float(value) for value in each])


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_rows_and_their_batches_do_not_matter(seed: int) -> None:
    rows = [connection(time_us, "c2.example.net", source="10.0.0.3") for time_us in every(HOUR, 20, missing=0.2)]
    facts = table([*BROWSING[:4000], *rows], CONNECTIONS)
    whole = beacons(facts)
    assert whole
    assert beacons(shuffled(facts, seed, cuts=5, dictionaries=bool(seed))) == whole


def test_an_empty_table_gives_nothing() -> None:
    assert beacons(CONNECTIONS.empty_table()) == []

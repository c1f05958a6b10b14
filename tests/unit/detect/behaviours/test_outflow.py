"""Volumes: a planted exfiltration, backups of every night, and what a short past is worth."""

import random

import pytest

from mingjian.detect.behaviours.facts import CONNECTIONS
from mingjian.detect.behaviours.grouping import DAY, HOUR, MINUTE
from mingjian.detect.behaviours.outflow import outflows
from planted import START_US, shuffled, table, terms_add_up

Row = dict[str, object]
MB = 1_000_000


def sent(time_us: int, out: int | None, destination: str, *, source: str = "fs", back: int = 50_000) -> Row:
    row = {"time_us": time_us, "organisation": "a", "source": source, "destination": destination, "port": 443}
    return {**row, "bytes_out": out, "bytes_in": back}


def office(days: int = 60) -> list[Row]:
    """A server that sends a backup every night and a large one on Sundays, and people who send pictures."""
    chance = random.Random(6)
    rows: list[Row] = []
    for day in range(days):
        midnight = START_US + day * DAY
        size = 900 * MB if day % 7 == 3 else 120 * MB
        rows.append(
            sent(midnight + 2 * HOUR + chance.randrange(HOUR), int(size * chance.uniform(0.9, 1.1)), "vault.example")
        )
        for person in range(10):
            for _ in range(5):
                time_us = midnight + 8 * HOUR + chance.randrange(9 * HOUR)
                out = int(chance.lognormvariate(12, 2))
                rows.append(
                    sent(time_us, out, f"site{chance.randrange(30)}.example", source=f"ws{person}", back=out * 9)
                )
    return rows


OFFICE = office()


def found(rows: list[Row]):
    findings = outflows(table([*OFFICE, *rows], CONNECTIONS))
    assert terms_add_up(findings)
    return findings


def night(day: int, source: str = "fs") -> list[Row]:
    begun = START_US + day * DAY + HOUR
    return [sent(begun + n * 10 * MINUTE, 40 * MB, "relay.example.com", source=source) for n in range(9)]


def test_backups_and_pictures_are_nothing_unusual() -> None:
    assert found([]) == []
    assert outflows(CONNECTIONS.empty_table()) == []


def test_what_leaves_for_a_new_place_in_two_nights_is_one_finding() -> None:
    [finding] = found([*night(40), *night(41)])
    assert (finding.entity, finding.object, finding.count) == ("fs", "relay.example.com", 18)
    assert (finding.values, finding.caveats) == (("720000000 B",), ())
    apart = found([*night(40, "ws2"), *night(45, "ws2")])
    assert [(each.entity, each.count) for each in apart] == [("ws2", 9), ("ws2", 9)]


def test_a_short_past_counts_for_less_and_is_said() -> None:
    def found_after(days: int) -> list[tuple[str, ...]]:
        facts = table([*office(days), *night(days - 1, "ws2")], CONNECTIONS)
        return [each.caveats for each in outflows(facts)]

    assert (found_after(10), found_after(27), found_after(60)) == ([], [("short-baseline",)], [()])


def test_unknown_sizes_and_places_inside_are_not_looked_at() -> None:
    rows = [sent(START_US + 40 * DAY, None, "relay.example.com"), sent(START_US + 40 * DAY, 9000 * MB, "10.0.0.7")]
    assert found(rows) == []


@pytest.mark.parametrize("seed", range(2))
def test_the_order_of_rows_and_their_batches_do_not_matter(seed: int) -> None:
    facts = table([*OFFICE, *night(40), *night(50, "ws1")], CONNECTIONS)
    whole = outflows(facts)
    assert len(whole) == 2
    assert outflows(shuffled(facts, seed, cuts=4, dictionaries=bool(seed))) == whole

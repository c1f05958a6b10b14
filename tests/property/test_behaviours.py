"""Behaviours do not depend on the order of rows, or on how they were cut into batches: for any facts at all."""

from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingjian.detect.behaviours import beaconing, guessing, movement, outflow, rarity, resolving
from mingjian.detect.behaviours.facts import CONNECTIONS, LOGONS, LOOKUPS, USES
from mingjian.detect.behaviours.findings import Finding
from mingjian.detect.behaviours.grouping import DAY, MINUTE
from planted import START_US, shuffled, table, terms_add_up

TIMES = st.one_of(
    st.integers(0, 60 * DAY),
    st.integers(0, 3000).map(lambda n: n * 10 * MINUTE),
    st.integers(0, 40).map(lambda n: n * DAY),
).map(lambda time: START_US + time)
NAMES = st.sampled_from(
    ["", "10.0.0.1", "10.0.0.2", "fs", "db", "a.example.com", "203.0.113.9", "x9f3k2lq8z.example.net"]
)
WORDS = st.sampled_from(["a", "b", "c", "svc$", "é"])
SIZES = st.none() | st.integers(0, 10**10)


def rows(**columns: st.SearchStrategy[object]) -> st.SearchStrategy[list[dict[str, object]]]:
    return st.lists(st.fixed_dictionaries({"organisation": st.sampled_from(["a", "b"]), **columns}), max_size=120)


DETECTORS: dict[
    str, tuple[pa.Schema, st.SearchStrategy[list[dict[str, object]]], Callable[[pa.Table], list[Finding]]]
] = {
    "guessing": (
        LOGONS,
        rows(
            time_us=TIMES, source=NAMES, target=NAMES, account=WORDS, succeeded=st.booleans(), kind=st.just("network")
        ),
        guessing.guessed,
    ),
    "movement": (
        LOGONS,
        rows(
            time_us=TIMES,
            source=NAMES,
            target=NAMES,
            account=WORDS,
            succeeded=st.just(True),
            kind=st.sampled_from(["network", "privileged"]),
        ),
        movement.new_ways,
    ),
    "beaconing": (
        CONNECTIONS,
        rows(time_us=TIMES, source=NAMES, destination=NAMES, bytes_out=SIZES, bytes_in=SIZES),
        beaconing.beacons,
    ),
    "outflow": (
        CONNECTIONS,
        rows(time_us=TIMES, source=NAMES, destination=NAMES, bytes_out=SIZES, bytes_in=SIZES),
        outflow.outflows,
    ),
    "resolving": (
        LOOKUPS,
        rows(time_us=TIMES, host=NAMES, query=NAMES, failed=st.booleans()),
        resolving.odd_names,
    ),
    "rarity": (
        USES,
        rows(first_us=TIMES, last_us=TIMES, count=st.integers(1, 9), entity=NAMES, kind=WORDS, value=NAMES),
        lambda facts: rarity.first_uses(facts, since_us=0, until_us=1 << 60),
    ),
}


@pytest.mark.parametrize("name", DETECTORS)
@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(0, 99), st.integers(0, 5), st.booleans())
def test_neither_order_nor_batches_change_what_is_found(
    name: str, data: st.DataObject, seed: int, cuts: int, dictionaries: bool
) -> None:
    schema, strategy, find = DETECTORS[name]
    facts = table(data.draw(strategy), schema)
    found = find(facts)
    assert terms_add_up(found)
    assert find(shuffled(facts, seed, cuts, dictionaries=dictionaries)) == found

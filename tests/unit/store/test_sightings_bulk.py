"""Many values at once: whatever a feed asks, the answer is that of a loop over all observations."""

from collections import defaultdict
from random import Random

import numpy as np
import pyarrow as pa
import pytest

from memory_folder import MemoryFolder
from mingjian.errors import StorageError
from mingjian.store.sightings import finding
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.feeds import Feed
from mingjian.store.sightings.hashing import Numbers
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.merging import merge

DAY_US = 86_400_000_000
NAMES = ("kind", "value", "role", "source", "segment", "time_us", "last_us", "count")
TYPES = (*[pa.string()] * 4, *[pa.int64()] * 4)
Row = tuple[str, str, str, str, int, int | None, int | None, int]


def observations(seed: int) -> list[Row]:
    """Some thousand values: seen once, or on a hundred days; once a day, or a million times; by one source, or many."""
    chance = Random(seed)
    rows: list[Row] = []
    for number in range(3_000):
        kind = ("domain", "ip")[number % 2]
        value = (
            f"h{number}.{'long' * (number % 9)}.example"
            if kind == "domain"
            else f"10.{seed}.{number >> 8}.{number % 256}"
        )
        if number % 5 == 0:
            value = f"known{number}.example" if kind == "domain" else f"192.0.{number >> 8}.{number % 256}"
        # Values that stand together are alike, so that columns are of few bytes here and of several there.
        is_plain = number % 9 < 4
        days = chance.choice((1, 1, 1, 2, 7, 63, 64, 65) if is_plain else (1, 2, 63, 64, 290))
        for source in ("zeek", "windows", "proxy")[: chance.choice((1, 1, 1, 3))]:
            for day in chance.sample(range(300), days):
                start = None if chance.random() < 0.02 else day * DAY_US + chance.randrange(DAY_US)
                count = chance.choice((1, 1, 2) if is_plain else (1, 2, 257, 1_000_000))
                last = (
                    None
                    if start is None
                    else start + (chance.randrange((day + 1) * DAY_US - start) if count > 1 else 0)
                )
                rows.append((kind, value, chance.choice("ab" if days < 200 else "a"), source, seed, start, last, count))
    return rows


def table(rows: list[Row]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table({n: pa.array(c, t) for n, c, t in zip(NAMES, columns, TYPES, strict=True)})


@pytest.fixture(scope="module")
def seen() -> tuple[MemoryFolder, list[str], list[list[Row]]]:
    """Three commits of two organisations, of which two are merged."""
    folder, commits = MemoryFolder(), [observations(seed) for seed in range(3)]
    names: list[str] = []
    for number, rows in enumerate(commits):
        file = write_delta(folder, table(rows), number % 2)
        assert file is not None
        names.append(file.name)
    return folder, [merge(folder, names[:2]).name, names[2]], commits


Total = tuple[int, int | None, int | None]


def added_up(asked: list[tuple[str, str]], commits: list[list[Row]], organisations: set[int]) -> dict[object, Total]:
    """What a loop over everything finds."""
    rows = {observable: row for row, observable in enumerate(asked)}
    groups: dict[object, list[Row]] = defaultdict(list)
    for number, commit in enumerate(commits):
        for each in commit:
            if each[:2] in rows and number % 2 in organisations:
                groups[rows[each[:2]], *each[:2], number % 2, each[3], each[2]].append(each)
    return {
        key: (
            sum(each[7] for each in group),
            min((each[5] for each in group if each[5] is not None), default=None),
            max((each[6] for each in group if each[6] is not None), default=None),
        )
        for key, group in groups.items()
    }


@pytest.mark.parametrize("organisations", [{0, 1}, {1}])
@pytest.mark.parametrize("one_in", [1, 2, 7])
def test_what_a_feed_finds_is_what_a_loop_over_all_observations_finds(
    seen: tuple[MemoryFolder, list[str], list[list[Row]]], one_in: int, organisations: set[int]
) -> None:
    folder, live, commits = seen
    there = sorted({each[:2] for commit in commits for each in commit})
    asked = [each for number, each in enumerate(there) if number % one_in == 0]
    asked += [("domain", f"never{number}.example") for number in range(500)] + [("ip", "203.0.113.9")]
    Random(one_in).shuffle(asked)
    feed = Feed(pa.array([kind for kind, _ in asked]), pa.array([value for _, value in asked]))
    index = SightingsIndex.open(folder, live)
    found = index.match(feed, organisations=organisations).to_pylist()
    names = ("row", "kind", "value", "organisation", "source", "role")
    keys = [tuple(each[name] for name in names) for each in found]
    assert len(keys) > finding.BULK_MIN
    assert keys == sorted(keys, key=lambda key: (key[0], *key[3:]))
    totals = {key: (each["count"], each["first_us"], each["last_us"]) for key, each in zip(keys, found, strict=True)}
    assert totals == added_up(asked, commits, organisations)


@pytest.mark.parametrize("size", [1, 1_000])
def test_a_feed_of_which_nothing_was_seen_finds_nothing(
    seen: tuple[MemoryFolder, list[str], list[list[Row]]], size: int
) -> None:
    folder, live, _ = seen
    feed = Feed(pa.array(["domain"] * size), pa.array([f"never{number}.example" for number in range(size)]))
    assert SightingsIndex.open(folder, live).match(feed).num_rows == 0


def test_a_value_that_only_shares_the_hash_is_not_taken_for_the_one_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def same(keys: pa.LargeBinaryArray) -> Numbers:
        return np.array([len(key) << 50 | key[-1] << 40 for key in keys.to_pylist()], np.uint64)

    for module in ("writing", "feeds"):
        monkeypatch.setattr(f"mingjian.store.sightings.{module}.xxh64", same)
    folder = MemoryFolder()
    values = [f"{number:03}.example" for number in range(0, 200, 40)] + [f"{n:02}.example" for n in range(0, 50, 10)]
    file = write_delta(folder, table([("domain", v, "a", "zeek", 1, 5, 5, 1) for v in values]), 0)
    assert file is not None
    asked = [f"{number:03}.example" for number in range(200)] + [f"{number:02}.example" for number in range(50)]
    monkeypatch.setattr(finding, "BULK_MIN", 1)
    feed = Feed(pa.array(["domain"] * len(asked)), pa.array(asked))
    found = SightingsIndex.open(folder, [file.name]).match(feed)
    assert sorted(found["value"].to_pylist()) == sorted(values)


@pytest.mark.parametrize("damage", ["value", "row"])
def test_one_damaged_block_among_many_is_named(
    seen: tuple[MemoryFolder, list[str], list[list[Row]]], damage: str
) -> None:
    folder, live, commits = seen
    reader = SightingsIndex.open(folder, live).readers[0]
    pages = reader._value_blocks if damage == "value" else reader._row_blocks
    place = pages.item(3)[0]
    spoilt = MemoryFolder(folder.disk.copy())
    spoilt.disk.files[live[0]].data[(place >> 26) + 40] ^= 1
    asked = sorted({each[:2] for commit in commits for each in commit})
    feed = Feed(pa.array([kind for kind, _ in asked]), pa.array([value for _, value in asked]))
    with pytest.raises(StorageError, match="block 3 is not as it was written"):
        SightingsIndex.open(spoilt, live).match(feed)

"""The index as its users see it: scopes, days, snapshots, crowded hashes, odd requests."""

import gc
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mingjian.errors import LimitExceeded, SchemaError, StateError, StorageError
from mingjian.store.sightings import feeds
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.sightings.feeds import Feed
from mingjian.store.sightings.hashing import Numbers
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.merging import merge

DAY_US = 86_400_000_000


@pytest.fixture
def folder(tmp_path: Path) -> DiskFolder:
    return DiskFolder(tmp_path / "sightings")


def added(folder: DiskFolder, organisation: int, values: list[str], days: list[int | None], role: str = "query") -> str:
    pairs = [(value, day) for value in values for day in days]
    observed = pa.table(
        {
            "kind": ["domain"] * len(pairs),
            "value": [value for value, _ in pairs],
            "role": [role] * len(pairs),
            "source": ["zeek"] * len(pairs),
            "segment": pa.array([10 * organisation + (day or 0) for _, day in pairs], pa.int64()),
            "time_us": pa.array([None if day is None else day * DAY_US for _, day in pairs], pa.int64()),
        }
    )
    file = write_delta(folder, observed, organisation)
    assert file is not None
    return file.name


def test_an_index_leaves_nothing_that_only_a_search_for_cycles_finds(folder: DiskFolder) -> None:
    name = added(folder, 1, ["evil.example"], [0, 1])
    feed = Feed(pa.array(["domain"]), pa.array(["evil.example"]))

    def ask() -> None:
        index = SightingsIndex.open(folder, [name])
        assert len(index.lookup("domain", "evil.example")) == 2
        assert len(index.match(feed)) == 1
        index.close()

    ask()  # what is made once for the whole program, as decoders are, is made here
    gc.collect()
    ask()
    assert gc.collect() == 0


def test_nobody_sees_what_other_organisations_saw(folder: DiskFolder) -> None:
    names = [added(folder, organisation, ["evil.example"], [0, 1]) for organisation in (1, 2)]
    for live in (names, [merge(folder, names).name]):
        index = SightingsIndex.open(folder, live)
        feed = Feed(pa.array(["domain"]), pa.array(["evil.example"]))
        for wanted in ([1], [2], [1, 2], [3], []):
            found = index.lookup("domain", "evil.example", organisations=wanted)
            assert sorted({s.organisation for s in found}) == [n for n in wanted if n in (1, 2)]
            totals = index.totals("domain", "evil.example", organisations=wanted)
            assert (totals.count if totals else 0) == 2 * len(set(wanted) & {1, 2})
            for table in (
                index.match(feed, organisations=wanted),
                index.lookup_domain("example", organisations=wanted).totals,
                index.lookup_prefix("domain", "evil", organisations=wanted).totals,
            ):
                assert table["organisation"].to_pylist() == [n for n in wanted if n in (1, 2)]


def test_days_can_be_asked_for(folder: DiskFolder) -> None:
    index = SightingsIndex.open(folder, [added(folder, 1, ["evil.example"], [None, 1, 2, 3, 4])])

    def days(first: int | None, last: int | None) -> list[int | None]:
        return [s.day for s in index.lookup("domain", "evil.example", first_day=first, last_day=last)]

    assert days(None, None) == [None, 1, 2, 3, 4]
    assert days(2, 3) == [2, 3]
    assert days(None, 2) == [1, 2]
    assert days(4, None) == [4]
    assert days(5, 9) == []


def test_several_are_looked_up_as_one_by_one_and_what_became_of_segments_is_asked_once(folder: DiskFolder) -> None:
    names = [added(folder, organisation, ["a.example", "b.example"], [0, 1, 2]) for organisation in (1, 2)]
    names.append(added(folder, 1, ["b.example"], [2, 3]))
    became: dict[int, int | None] = {10: 11, 11: 99, 12: None, 21: 99}
    asked: list[list[int]] = []

    def replaced(segments: Sequence[int]) -> dict[int, int | None]:
        asked.append(list(segments))
        wanted, found = set(segments), dict[int, int | None]()
        while wanted:
            found |= {segment: became[segment] for segment in wanted & became.keys()}
            wanted = {now for segment in wanted if (now := found.get(segment)) is not None} - found.keys()
        return found

    index = SightingsIndex.open(folder, names, replaced=replaced)
    wanted: list[tuple[str, list[int] | None]] = [
        ("a.example", None), ("b.example", [1]), ("b.example", [2]), ("c.example", None), ("a.example", [])
    ]  # fmt: skip
    together = index.lookup_each("domain", wanted)
    assert [list(each) for each in together][3:] == [[], []]
    assert asked == [[10, 11, 12, 13, 20, 21, 22]]
    for (value, organisations), found in zip(wanted, together, strict=True):
        alone = index.lookup("domain", value, organisations=organisations)
        assert list(found) == list(alone)
        assert found.segments() == alone.segments()
        assert found.is_partly_gone == alone.is_partly_gone
    assert [each.segments() for each in together[:3]] == [[20, 22, 99], [13, 99], [20, 22, 99]]
    assert [each.is_partly_gone for each in together[:3]] == [True, True, False]


def test_an_open_index_shows_what_was_committed_when_it_was_opened(folder: DiskFolder) -> None:
    names = [added(folder, 1, ["evil.example"], [day]) for day in (0, 1)]
    index = SightingsIndex.open(folder, names)
    merged = merge(folder, names).name
    for name in names:
        folder.remove(name)
    assert len(index.lookup("domain", "evil.example")) == 2
    live = [merged, added(folder, 1, ["evil.example"], [2])]
    later = SightingsIndex.open(folder, live, previous=index)
    assert len(later.lookup("domain", "evil.example")) == 3
    again = SightingsIndex.open(folder, live, previous=later)
    assert again.readers[0] is later.readers[0]


def test_a_missing_file_is_an_error_and_no_smaller_answer(folder: DiskFolder) -> None:
    with pytest.raises(StorageError, match="cannot open"):
        SightingsIndex.open(folder, [added(folder, 1, ["a.example"], [0]), "gone.sightings"])


def test_a_file_of_another_version_says_that_it_must_be_made_anew(
    folder: DiskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = added(folder, 1, ["a.example"], [0])
    monkeypatch.setattr("mingjian.store.sightings.reading.CANONICAL_VERSION", 2)
    with pytest.raises(StateError, match="rebuild"):
        SightingsIndex.open(folder, [name])


def test_an_index_without_files_has_seen_nothing(folder: DiskFolder) -> None:
    index = SightingsIndex.open(folder, [])
    assert list(index.lookup("domain", "a.example")) == []
    assert index.totals("domain", "a.example") is None
    assert index.match(Feed(pa.array(["domain"]), pa.array(["a.example"]))).num_rows == 0
    assert index.lookup_domain("example").totals.num_rows == 0
    assert list(index.scan()) == []


def crowded(texts: pa.LargeBinaryArray) -> Numbers:
    """Everything has one of three hashes."""
    return np.array([len(text) % 3 << 62 for text in texts.to_pylist()], np.uint64)


def test_values_that_share_their_hash_with_all_others_are_found_all_the_same(
    folder: DiskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("writing", "feeds"):
        monkeypatch.setattr(f"mingjian.store.sightings.{module}.xxh64", crowded)
    one: Callable[[bytes], int] = lambda text: len(text) % 3 << 62  # noqa: E731 # a stand-in for xxh64_of
    monkeypatch.setattr(feeds, "xxh64_of", one)
    values = [f"{'x' * (place % 7)}{place}.example" for place in range(1500)]
    index = SightingsIndex.open(folder, [added(folder, 1, values[:1000], [0])])
    feed = Feed(pa.array(["domain"] * 1500), pa.array(values))
    assert index.match(feed)["row"].to_pylist() == list(range(1000))
    for place in (0, 1, 500, 999):
        assert len(index.lookup("domain", values[place])) == 1
    for place in (1000, 1499):
        assert list(index.lookup("domain", values[place])) == []


def test_a_feed_may_name_a_value_twice_and_in_any_order(folder: DiskFolder) -> None:
    index = SightingsIndex.open(folder, [added(folder, 1, ["a.example", "b.example"], [0, 1])])
    feed = Feed(
        pa.array(["domain", "ip", "domain", "domain"]), pa.array(["b.example", "192.0.2.1", "a.example", "b.example"])
    )
    assert len(feed) == 4
    found = index.match(feed)
    assert found["row"].to_pylist() == [0, 2, 3]
    assert found["value"].to_pylist() == ["b.example", "a.example", "b.example"]
    assert found["count"].to_pylist() == [2, 2, 2]


def test_a_feed_without_values_finds_nothing(folder: DiskFolder) -> None:
    index = SightingsIndex.open(folder, [added(folder, 1, ["a.example"], [0])])
    assert index.match(Feed(pa.array([], pa.string()), pa.array([], pa.string()))).num_rows == 0


@pytest.mark.parametrize(
    "shape", ["{:05}.example", "x{:05}.same.beginning.of.the.keys.example", "{:05}.a-{:05}.example"]
)
def test_a_range_begins_and_ends_where_its_first_and_last_value_are(
    folder: DiskFolder, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    for module in ("blocks", "reading", "writing", "finding"):
        monkeypatch.setattr(f"mingjian.store.sightings.{module}.VALUES_PER_BLOCK", 16)
    monkeypatch.setattr("mingjian.store.sightings.layout.PAGE_ITEMS", 4)
    values = [shape.format(number, number // 7) for number in range(0, 1_000, 2)]
    index = SightingsIndex.open(folder, [added(folder, 1, values, [0])])
    (reader,) = index.readers
    held = [reader.key(number) for number in range(len(values))]
    assert held == sorted(held)
    asked = [b"", *held[::9], *(key + b"\0" for key in held[::7]), *(key[:-1] for key in held[::11]), b"\xff" * 40]
    for low in asked:
        assert reader.lower_bound(low) == bisect_left(held, low)
        for high in asked:
            if low <= high:
                assert reader.bounds(low, high) == (bisect_left(held, low), bisect_left(held, high))


def test_a_feed_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SchemaError, match="every value needs a kind"):
        Feed(pa.array(["domain"]), pa.array(["a", "b"]))
    with pytest.raises(SchemaError, match="every value needs a kind"):
        Feed(pa.array(["domain"]), pa.array([None], pa.string()))
    with pytest.raises(SchemaError, match="colour"):
        Feed(pa.array(["colour"]), pa.array(["red"]))
    monkeypatch.setattr(feeds, "FEED_VALUES_MAX", 1)
    with pytest.raises(LimitExceeded, match="FEED_VALUES_MAX"):
        Feed(pa.array(["domain", "domain"]), pa.array(["a", "b"]))


def test_totals_of_an_observable_seen_on_many_days_are_read_without_its_days(
    folder: DiskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = added(folder, 1, ["hot.example"], list(range(300)))
    index = SightingsIndex.open(folder, [name])

    def refuse(*_: object) -> None:
        raise AssertionError("rows were read")

    monkeypatch.setattr(type(index.readers[0]), "rows", refuse)
    totals = index.totals("domain", "hot.example")
    assert totals is not None
    assert (totals.count, totals.first_us, totals.last_us) == (300, 0, 299 * DAY_US)

"""What comes from ingest becomes rows, or is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mingjian.errors import LimitExceeded, SchemaError
from mingjian.store.sightings import delta
from mingjian.store.sightings.delta import OVERLAP, write_delta
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.sightings.index import SightingsIndex

DAY_US = 86_400_000_000


def observations(**changed: object) -> pa.Table:
    columns: dict[str, object] = {
        "kind": ["ip", "ip", "domain"],
        "value": ["192.0.2.1", "192.0.2.1", "evil.example"],
        "role": ["source", "destination", "query"],
        "source": ["zeek", "zeek", "zeek"],
        "segment": pa.array([1, 1, 1], pa.int64()),
        "time_us": pa.array([5, 5, 5], pa.int64()),
    }
    columns |= changed
    return pa.table({name: column for name, column in columns.items() if column is not None})


@pytest.fixture
def folder(tmp_path: Path) -> DiskFolder:
    return DiskFolder(tmp_path / "sightings")


def opened(folder: DiskFolder, table: pa.Table) -> SightingsIndex:
    file = write_delta(folder, table, 7)
    assert file is not None
    return SightingsIndex.open(folder, [file.name])


def test_an_event_in_two_roles_counts_once_in_the_total_and_once_in_each_role(folder: DiskFolder) -> None:
    totals = opened(folder, observations(event=pa.array([9, 9, 9]))).totals("ip", "192.0.2.1")
    assert totals is not None
    assert totals.count == 1
    assert [(total.role, total.count) for total in totals.by_role] == [("destination", 1), ("source", 1)]


def test_two_events_in_one_role_each_count_twice(folder: DiskFolder) -> None:
    index = opened(folder, observations(event=pa.array([1, 2, 2])))
    totals = index.totals("ip", "192.0.2.1")
    assert totals is not None
    assert totals.count == 2
    assert index.files[0].count == 3


def test_without_events_a_total_is_the_sum_over_roles(folder: DiskFolder) -> None:
    totals = opened(folder, observations()).totals("ip", "192.0.2.1")
    assert totals is not None
    assert totals.count == 2


def test_several_events_may_come_as_one_observation(folder: DiskFolder) -> None:
    table = observations(count=pa.array([10, 1, 1]), last_us=pa.array([DAY_US - 1, 5, None], pa.int64()))
    found = opened(folder, table).lookup("ip", "192.0.2.1")
    assert [(s.role, s.count, s.first_us, s.last_us) for s in found] == [
        ("destination", 1, 5, 5),
        ("source", 10, 5, DAY_US - 1),
    ]


def test_times_before_1970_and_at_the_end_of_days_fall_on_the_right_days(folder: DiskFolder) -> None:
    table = observations(time_us=pa.array([-1, 0, None], pa.int64()))
    index = opened(folder, table)
    assert [(s.role, s.day, s.first_us) for s in index.lookup("ip", "192.0.2.1")] == [
        ("destination", 0, 0),
        ("source", -1, -1),
    ]
    assert [(s.day, s.first_us, s.last_us) for s in index.lookup("domain", "evil.example")] == [(None, None, None)]
    assert (index.files[0].first_day, index.files[0].last_day) == (-1, 0)


def test_dictionary_columns_in_several_chunks_are_as_good_as_plain_ones(folder: DiskFolder) -> None:
    plain = pa.concat_tables([observations(), observations(value=["192.0.2.2", "192.0.2.1", "b.example"])])
    parts = [observations(), observations(value=["192.0.2.2", "192.0.2.1", "b.example"])]
    coded = pa.concat_tables(
        [
            pa.table(
                {name: part[name].dictionary_encode() if name in CODED else part[name] for name in part.schema.names}
            )
            for part in parts
        ]
    )
    one, other = opened(folder, plain), opened(folder, coded)
    assert [t.to_pylist() for t in one.scan()] == [t.to_pylist() for t in other.scan()]


CODED = ("kind", "value", "role", "source")


def test_no_observation_makes_no_file(folder: DiskFolder) -> None:
    assert write_delta(folder, observations().slice(0, 0), 7) is None
    assert folder.names() == []


@pytest.mark.parametrize("column", ["kind", "value", "role", "source", "segment", "time_us"])
def test_a_missing_column_is_named(folder: DiskFolder, column: str) -> None:
    with pytest.raises(SchemaError, match=column):
        write_delta(folder, observations(**{column: None}), 7)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"value": ["a", None, "b"]}, "every observation needs one"),
        ({"segment": pa.array([1, None, 1], pa.int64())}, "whole number"),
        ({"segment": ["1", "2", "3"]}, "whole number"),
        ({"kind": ["ip", "ip", "colour"]}, "colour"),
        ({"role": ["source", OVERLAP, "query"]}, "is not a role"),
        ({"time_us": pa.array([5, 5, 2**62])}, "years 1 to 9999"),
        ({"time_us": pa.array([5, 5, -(2**62)])}, "years 1 to 9999"),
        ({"last_us": pa.array([4, 5, 5]), "count": pa.array([2, 2, 2])}, "ends before it begins"),
        ({"last_us": pa.array([DAY_US, 5, 5]), "count": pa.array([2, 2, 2])}, "on another day"),
        ({"last_us": pa.array([6, 5, 5])}, "a count that cannot be"),
        ({"count": pa.array([0, 1, 1])}, "a count that cannot be"),
        ({"count": pa.array([1, 1, 1]), "event": pa.array([1, 1, 1])}, "does not tell which one"),
    ],
)
def test_observations_that_cannot_be_are_refused(folder: DiskFolder, changed: dict[str, object], said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        write_delta(folder, observations(**changed), 7)
    assert folder.names() == []


def test_more_than_fits_into_one_commit_is_refused_by_name(folder: DiskFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta, "OBSERVATIONS_MAX", 2)
    with pytest.raises(LimitExceeded, match="OBSERVATIONS_MAX"):
        write_delta(folder, observations(), 7)
    monkeypatch.setattr(delta, "OBSERVATIONS_MAX", 3)
    monkeypatch.setattr(delta, "KEYS_AT_ONCE_MAX", 1)
    with pytest.raises(LimitExceeded, match="KEYS_AT_ONCE_MAX"):
        write_delta(folder, observations(), 7)


def test_the_same_observations_give_the_same_bytes(folder: DiskFolder) -> None:
    table = observations(event=pa.array([1, 1, 2]))
    one = write_delta(folder, table, 7, name="one.sightings")
    two = write_delta(folder, table.take(np.array([2, 0, 1])), 7, name="two.sightings")
    assert one is not None
    assert two is not None
    assert one.content_hash == two.content_hash
    size = one.size_bytes
    assert folder.read("one.sightings").read_at(0, size) == folder.read("two.sightings").read_at(0, size)

"""With whom an observable was seen."""

import numpy as np
import pyarrow as pa

from memory_folder import MemoryFolder
from mingjian.store.sightings.companions import Gathered, companions, companions_of_each
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.merging import merge

KINDS = ["ip", "domain", "ip"]
VALUES = ["192.0.2.1", "a.example", "192.0.2.10"]


def gathered(rows: list[tuple[int, int]], hosts: list[str], accounts: list[str]) -> Gathered:
    found = Gathered()
    found.add(np.array([row for row, _ in rows]), np.array([each for _, each in rows]), hosts, accounts)
    return found


def index_of(folder: MemoryFolder, *parts: Gathered, is_merged: bool = False) -> SightingsIndex:
    names = []
    for organisation, part in enumerate(parts, start=1):
        for table in part.tables(KINDS, VALUES):
            file = write_delta(folder, table, organisation)
            assert file is not None
            names.append(file.name)
    if is_merged:
        names = [merge(folder, names).name]
    return SightingsIndex.open(folder, names)


def test_every_host_and_account_of_the_events_is_there_with_their_number() -> None:
    one = gathered([(0, 0), (0, 0), (1, 0), (2, 1)], ["a", "a", "b"], ["", "x\x1fy", ""])
    index = index_of(MemoryFolder(), one)
    found = companions(index, "ip", "192.0.2.1")
    assert (found.hosts, found.accounts, found.is_complete) == ({"a": 2}, {"x\x1fy": 1}, True)
    assert companions(index, "domain", "a.example").hosts == {"b": 1}
    assert companions(index, "ip", "192.0.2.10") == ({}, {}, True)


def test_they_are_added_up_over_organisations_and_merges() -> None:
    for is_merged in (False, True):
        parts = (gathered([(0, 0), (1, 2)], ["a", "c"], ["", ""]), gathered([(0, 0)], ["a"], ["u"]))
        index = index_of(MemoryFolder(), *parts, is_merged=is_merged)
        assert companions(index, "ip", "192.0.2.1").hosts == {"a": 2}
        assert companions(index, "ip", "192.0.2.1", organisations=[2]).hosts == {"a": 1}
        several = companions_of_each(index, [("ip", "192.0.2.10"), ("ip", "192.0.2.1")])
        assert [each.hosts for each in several] == [{"c": 1}, {"a": 2}]


def test_whoever_goes_through_all_observables_does_not_meet_them() -> None:
    index = index_of(MemoryFolder(), gathered([(0, 0)], ["a"], ["u"]))
    assert sum(table.num_rows for table in index.scan()) == 0
    assert index.totals("ip", "192.0.2.1") is None


def test_a_list_that_is_cut_says_so() -> None:
    hosts = [f"h{number}" for number in range(20)]
    index = index_of(MemoryFolder(), gathered([(row, 0) for row in range(20)], hosts, [""] * 20))
    found = companions(index, "ip", "192.0.2.1", names_max=5)
    assert (len(found.hosts), found.is_complete) == (5, False)


def test_equal_pairs_are_put_together_and_counts_stay() -> None:
    found = Gathered()
    for _ in range(3):
        found.add(np.array([0, 1]), np.array([0, 0]), ["a", "a"], ["", ""])
    (table,) = found.tables(KINDS, VALUES)
    assert isinstance(table, pa.Table)
    assert table.column("count").to_pylist() == [6]

"""The index of real logs against a full scan in DuckDB: every count, first, last and segment.

The logs come into a workspace as they do in life: in commits of two organisations by turns, while files of the index
and segments are merged. The index made anew from the segments says the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from lakes import OPERATOR
from mingjian.model.blocks import Block, Quarantined
from mingjian.model.sources import View
from mingjian.sources.envelope import envelope, observables
from mingjian.store import merging as segment_merging
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import (
    Batch,
    Organisation,
    commit_batch,
    live_segments,
    organisation_named,
    register_input,
    reserve_segments,
)
from mingjian.store.indexfiles import live_index_files, segments_replaced, with_index_file
from mingjian.store.segments import Rows, SegmentBuilder, SegmentKey, month_of
from mingjian.store.sightings.checking import check_file, differences, rebuilt
from mingjian.store.sightings.delta import OVERLAP
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.sightings.feeds import Feed
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.live import Upkeep, open_index, record
from mingjian.store.sightings.merging import followed
from mingjian.store.workspace import Workspace, create
from mingjian.store.writing import write_segment
from truth.compare import blocks_of, files_under, router

EVENTS_PER_COMMIT = {"windows-json": 300, "zeek": 60, "evtx-attack-samples": 200, "aws": 60}
EVENTS_MAX = 4_000
WINDOWS_ARCHIVES = 12
DAY_US = 86_400_000_000
SCHEMA = pa.schema(
    {
        **dict.fromkeys(("kind", "value", "role", "source"), pa.string()),
        **dict.fromkeys(("segment", "time_us", "event"), pa.int64()),
    }
)


def table(rows: Iterable[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def observed(view: View, block: Block, row: int, segment: int, event: int) -> Iterator[tuple[object, ...]]:
    found = block.record(row)
    time_us = envelope(view, found).time_us
    for each in observables(view, found):
        yield each.kind, each.value, each.role, view.stream.source, segment, time_us, event


@dataclass
class Kept:
    """Real logs in a workspace, and all observations that were made on the way in."""

    workspace: Workspace
    upkeep: Upkeep
    events_per_commit: int
    views: dict[tuple[str, str], View] = field(default_factory=dict)
    observations: list[pa.Table] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    @cached_property
    def organisations(self) -> list[Organisation]:
        return [organisation_named(self.workspace, OPERATOR, name, make=True) for name in ("One", "Two")]

    def take(self, events: Iterator[tuple[View, Block, int]]) -> None:
        number = 0
        while some := list(islice(events, self.events_per_commit)):
            self.commit(self.organisations[number % 2], some, number)
            self.upkeep.step()
            number += 1
            if number % 7 == 0:
                self.merge_segments()

    def merge_segments(self) -> None:
        for planned in segment_merging.plan_merges(self.workspace, OPERATOR, today=30_000)[:5]:
            segment_merging.merge(self.workspace, OPERATOR, planned)

    def commit(self, organisation: Organisation, events: list[tuple[View, Block, int]], number: int) -> None:
        name = f"input {number}"
        known = register_input(
            self.workspace, OPERATOR, organisation.id, head_digest=b"head", head_bytes=4, kind="file", name=name
        )
        groups: dict[SegmentKey, list[int]] = defaultdict(list)
        times: list[int | None] = []
        for event, (view, block, row) in enumerate(events):
            times.append(envelope(view, block.record(row)).time_us)
            key = SegmentKey(
                organisation=organisation.id,
                stream=view.stream.name,
                layout=view.layout.name,
                format=block.format,
                month=None if times[-1] is None else month_of(times[-1] // DAY_US),
            )
            self.views[key.stream, key.layout] = view
            groups[key].append(event)
        ids = reserve_segments(self.workspace, OPERATOR, organisation.id, len(groups))
        segments, rows = [], []
        for segment, (key, members) in zip(ids, groups.items(), strict=True):
            builder = SegmentBuilder(key)
            for event in members:
                view, block, row = events[event]
                builder.add(Rows(Renumbered(block, event + 1), [row], [times[event]], known.id))
                rows += observed(view, block, row, segment, event)
            segments.append(write_segment(self.workspace.lake, organisation.public_id, builder, segment))
        observations = table(rows)
        file = record(self.workspace, OPERATOR, organisation.id, observations)
        batch = Batch(organisation=organisation.id, segments=segments)
        commit_batch(self.workspace, OPERATOR, batch, [with_index_file(file)] if file else [])
        for name, number_ in (("organisation", organisation.id), ("commit", number)):
            observations = observations.append_column(name, pa.array([number_] * len(observations), pa.int64()))
        self.observations.append(observations)

    def from_segments(self) -> Iterator[tuple[int, pa.Table]]:
        """The observations of all that is in the lake now."""
        for row in live_segments(self.workspace, OPERATOR):
            view = self.views[row.key.stream, row.key.layout]
            with Segment(self.workspace.lake / row.path, row.content_hash) as segment:
                rows: list[tuple[object, ...]] = []
                for block in segment.blocks():
                    for place in range(len(block)):
                        # Merged segments keep each commit's input, and its events in their order.
                        event = int(block.inputs[place]) * EVENTS_MAX + block.numbers[place]
                        rows += observed(view, block, place, row.id, event)
                yield row.key.organisation, table(rows)


class Renumbered:
    """A block one row of which is record number ``number``."""

    def __init__(self, block: Block, number: int) -> None:
        self._block = block
        self.format = block.format
        self.numbers = [number] * len(block.numbers)

    def __getattr__(self, name: str) -> object:
        return getattr(self._block, name)


def events_of(paths: Iterable[Path]) -> Iterator[tuple[View, Block, int]]:
    for path in paths:
        for _, block in blocks_of(path):
            if isinstance(block, Quarantined):
                continue
            for portion in router().route(block):
                for row in range(len(block.numbers)) if portion.rows is None else portion.rows:
                    yield portion.view, block, row


def paths_of(folder: Path, name: str) -> list[Path]:
    if name == "windows-json":
        archives = [path for path in files_under([folder / name]) if path.name != "LICENSE"]
        return archives[-WINDOWS_ARCHIVES:]
    paths = files_under([folder / name])
    return [path for path in paths if name != "zeek" or path.name.endswith(("_dns.log", "_ssl.log"))]


FULL_SCAN = """
    select kind, value, organisation, source, role, time_us // 86400000000 as day, count(*), min(time_us), max(time_us),
        list_sort(list(distinct now))
    from observations join segments on segment = id group by all
"""
TOTALS = """
    select kind, value, organisation, source, role, count(*), min(time_us), max(time_us) from observations
"""
EVENTS = """
    select count(*), min(first), max(last) from (
        select min(time_us) as first, max(time_us) as last from observations where kind = ? and value = ?
        group by commit, event)
"""


@pytest.mark.parametrize("name", EVENTS_PER_COMMIT)
def test_the_index_of_real_logs_says_what_a_full_scan_says(name: str, shared_data: Path, tmp_path: Path) -> None:
    with create(tmp_path / "workspace") as workspace, Upkeep(workspace) as upkeep:
        kept = Kept(workspace, upkeep, EVENTS_PER_COMMIT[name])
        kept.take(islice(events_of(paths_of(shared_data, name)), EVENTS_MAX))
        kept.merge_segments()
        commits = len(kept.observations)
        assert 0 < len(live_index_files(workspace)) < commits
        with duckdb.connect() as connection:
            observations = pa.concat_tables(kept.observations)
            connection.register("observations", observations)
            replaced = segments_replaced(workspace)
            ids = observations["segment"].unique().to_pylist()
            now = [followed(replaced, segment) for segment in ids]
            assert set(ids) != set(now)
            connection.register("segments", pa.table({"id": ids, "now": now}))
            compare(open_index(workspace, OPERATOR), connection)
            while upkeep.step():
                pass
            merged = open_index(workspace, OPERATOR)
            compare(merged, connection)
        for file in merged.files:
            check_file(DiskFolder(workspace.sightings), file.name)
        again = DiskFolder(tmp_path / "again")
        anew = SightingsIndex.open(again, [file.name for file in rebuilt(again, kept.from_segments())])
        assert sum(file.count for file in anew.files) == sum(file.count for file in merged.files) > 0
        assert list(differences(merged, anew)) == []


def compare(index: SightingsIndex, connection: duckdb.DuckDBPyConnection) -> None:
    """Every way to ask against the plain query."""
    expected = {row[:6]: row[6:] for row in connection.execute(FULL_SCAN).fetchall()}
    scanned = {}
    for part in index.scan():
        for row in part.to_pylist():
            if row["role"] != OVERLAP:
                key = tuple(row[n] for n in ("kind", "value", "organisation", "source", "role", "day"))
                scanned[key] = (row["count"], row["first_us"], row["last_us"], row["segments"])
    assert scanned == expected
    values = sorted({key[:2] for key in expected})
    assert len(values) > 20
    for kind, value in values[:: max(1, len(values) // 100)]:
        totals = index.totals(kind, value)
        assert totals is not None
        found = (totals.count, totals.first_us, totals.last_us)
        assert found == connection.execute(EVENTS, [kind, value]).fetchone()
        days = {(s.organisation, s.source, s.role, s.day): s for s in index.lookup(kind, value)}
        rows = {key: (s.count, s.first_us, s.last_us, list(s.segments)) for key, s in days.items()}
        assert rows == {key[2:]: row for key, row in expected.items() if key[:2] == (kind, value)}
    feed = Feed(pa.array([kind for kind, _ in values]), pa.array([value for _, value in values]))
    totals_of_all = set(connection.execute(TOTALS + "group by all").fetchall())
    assert rows_of(index.match(feed)) == totals_of_all
    parents = {value.rpartition("://")[2].split("/")[0].split(":")[0].partition(".")[2] for _, value in values}
    for parent in sorted(parents - {""})[:20]:
        query = TOTALS + "where kind in ('domain', 'host') and (value = ? or ends_with(value, '.' || ?)) group by all"
        found = index.lookup_domain(parent, kinds=("domain", "host")).totals
        expected_below = {row for row in connection.execute(query, [parent, parent]).fetchall() if not is_address(row)}
        assert rows_of(found) == expected_below


def is_address(row: tuple[object, ...]) -> bool:
    return str(row[1]).replace(".", "").isdigit()


def rows_of(found: pa.Table) -> set[tuple[object, ...]]:
    names = ("kind", "value", "organisation", "source", "role", "count", "first_us", "last_us")
    return {tuple(row[name] for name in names) for row in found.to_pylist()}

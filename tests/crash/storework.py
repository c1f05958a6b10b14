"""What the store promises, as a work to be killed and a scenario for faults: commit, merge, clean up, again and again.

A record is a number, and its number is its place in the input: so what must be there after n acknowledged records is
``range(n)``, in segments, sightings and counts alike.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import sqlalchemy as sa

from lakes import OPERATOR, an_input, built, progress
from mingjian.errors import StorageError
from mingjian.store import tables
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import (
    Batch,
    HostDay,
    Organisation,
    commit_batch,
    input_by_id,
    live_segments,
    organisation_named,
    reserve_segments,
)
from mingjian.store.indexfiles import live_index_files, with_index_file
from mingjian.store.merging import merge, plan_merges
from mingjian.store.sightings import live
from mingjian.store.upkeep import clean, missing_segments
from mingjian.store.workspace import MARK, Workspace, create, open_workspace
from mingjian.store.writing import write_segment

RECORDS = 10
DAY = 20_000
TODAY = DAY + 5
INPUT = 1
RECOVERY_S_MAX = 10
COMMITS_MAX = 100
"""Then the work that is killed is finished, and another begins: a check looks at every record."""
PARTS_MIN = 4
"""The work that is killed merges so many segments at a time."""


def keep_one(workspace: Workspace, organisation: Organisation) -> int:
    """Commit ten more records of the input, from where it stands, with their sightings; give its new offset."""
    offset = input_by_id(workspace, OPERATOR, INPUT).offset
    records = [{"n": offset + n} for n in range(RECORDS)]
    builder = built(organisation, records, first=offset, input_id=INPUT, day=DAY)
    (number,) = reserve_segments(workspace, OPERATOR, organisation.id, 1)
    segment = write_segment(workspace.lake, organisation.public_id, builder, number)
    index_file = live.record(workspace, OPERATOR, organisation.id, observed(number, offset))
    assert index_file is not None
    batch = Batch(
        organisation=organisation.id,
        inputs=[progress(INPUT, offset, offset + RECORDS)],
        segments=[segment],
        hosts=[HostDay(stream="test/one", day=DAY, host="h", rows=RECORDS, first_us=1, last_us=2)],
    )
    commit_batch(workspace, OPERATOR, batch, [with_index_file(index_file)])
    return offset + RECORDS


def observed(segment: int, offset: int) -> pa.Table:
    """One observable in every record, and one in each that is in no other."""
    values = ["always.example"] * RECORDS + [f"h{offset + n}.example" for n in range(RECORDS)]
    texts = {name: [text] * len(values) for name, text in (("kind", "domain"), ("role", "r"), ("source", "s"))}
    numbers = {"segment": segment, "time_us": DAY * 86_400_000_000}
    return pa.table(
        {"value": values, **texts, **{k: pa.array([v] * len(values), pa.int64()) for k, v in numbers.items()}}
    )


def merge_all(workspace: Workspace, parts_min: int = 2) -> None:
    for planned in plan_merges(workspace, OPERATOR, today=TODAY):
        if len(planned.parts) >= parts_min:
            merge(workspace, OPERATOR, planned)
    with live.Upkeep(workspace) as upkeep:
        while upkeep.step():
            pass


def tidy(workspace: Workspace) -> None:
    clean(workspace)
    live.tidy(workspace)


def check(workspace: Workspace) -> int:
    """Everything up to the committed offset is there once, and nothing else; give the offset."""
    tidy(workspace)
    offset = input_by_id(workspace, OPERATOR, INPUT).offset
    assert sorted(numbers_in(workspace)) == list(range(offset))
    assert missing_segments(workspace, OPERATOR) == []
    segments = {row.path for row in live_segments(workspace, OPERATOR)}
    assert {path.relative_to(workspace.lake).as_posix() for path in files_in(workspace.lake)} - {MARK} == segments
    with workspace.read() as connection:
        counted = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(tables.host_days.c.rows), 0))).scalar_one()
    assert counted == offset
    assert {path.name for path in files_in(workspace.sightings)} >= {file.name for file in live_index_files(workspace)}
    with closing(live.open_index(workspace, OPERATOR)) as index:
        totals = index.totals("domain", "always.example")
        assert (totals.count if totals else 0) == offset
        for number in (0, offset - 1) if offset else ():
            seen = index.totals("domain", f"h{number}.example")
            assert seen is not None
            assert seen.count == 1
        assert index.totals("domain", f"h{offset}.example") is None
    return offset


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def numbers_in(workspace: Workspace) -> list[int]:
    found: list[int] = []
    for row in live_segments(workspace, OPERATOR):
        with Segment(workspace.lake / row.path, checks=row.checks) as segment:
            for block in segment.blocks():
                assert [record["n"] for record in map(block.record, range(len(block)))] == list(block.numbers)
                found += block.numbers
    return found


def prepared(folder: Path, commits: int) -> None:
    """Make a workspace with a merge behind it, and the next one before it."""
    with create(folder) as workspace:
        organisation = organisation_named(workspace, OPERATOR, "ours", make=True)
        assert an_input(workspace, organisation) == INPUT
        for _ in range(commits):
            keep_one(workspace, organisation)
        merge_all(workspace)


class StoreWork:
    """Commit, merge now and then. An acknowledgement is the offset up to which all is kept."""

    def prepare(self, folder: Path) -> None:
        prepared(folder, 0)

    def work(self, folder: Path, acknowledge: Callable[[str], None]) -> None:
        with open_workspace(folder) as workspace, workspace.writing():
            tidy(workspace)
            organisation = organisation_named(workspace, OPERATOR, "ours")
            offset = 0
            while offset < RECORDS * COMMITS_MAX:
                offset = keep_one(workspace, organisation)
                acknowledge(str(offset))
                merge_all(workspace, PARTS_MIN)
                tidy(workspace)

    def check(self, folder: Path, acknowledged: Sequence[str]) -> None:
        started = time.monotonic()
        with open_workspace(folder) as workspace:
            tidy(workspace)
            assert time.monotonic() - started < RECOVERY_S_MAX
            assert check(workspace) >= max(map(int, acknowledged), default=0)


class FullDisk:
    """Commit until the disk is full, in a file-size limit that stands for it; get space; go on for a while."""

    def prepare(self, folder: Path) -> None:
        prepared(folder, 0)

    def work(self, folder: Path, acknowledge: Callable[[str], None]) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        limit = 4096 * (1 + time.monotonic_ns() // 1000 % 150)
        with open_workspace(folder) as workspace, workspace.writing():
            organisation = organisation_named(workspace, OPERATOR, "ours")
            for soft in (limit, hard):
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
                for _ in range(12):
                    try:
                        acknowledge(str(keep_one(workspace, organisation)))
                        merge_all(workspace, PARTS_MIN)
                        tidy(workspace)
                    except StorageError as error:
                        assert soft == limit, f"there is space again, and yet: {error}"
                        acknowledge("full")
            assert check(workspace) > 0

    def check(self, folder: Path, acknowledged: Sequence[str]) -> None:
        with open_workspace(folder) as workspace:
            numbers = [int(text) for text in acknowledged if text != "full"]
            assert numbers == sorted(set(numbers))
            assert check(workspace) >= max(numbers, default=0)


class CommitAndMerge:
    """One commit, the merge that it makes due, and the removal of what was replaced: for ``faults``."""

    def prepare(self, folder: Path) -> None:
        prepared(folder, 3)

    def happen(self, folder: Path, acknowledge: Callable[[str], None]) -> None:
        with open_workspace(folder) as workspace:
            organisation = organisation_named(workspace, OPERATOR, "ours")
            acknowledge(str(keep_one(workspace, organisation)))
            merge_all(workspace)
            tidy(workspace)

    def check(self, folder: Path, acknowledged: Sequence[str], *, unsure: bool) -> None:
        with open_workspace(folder) as workspace:
            offset = check(workspace)
        kept = max(map(int, acknowledged), default=3 * RECORDS)
        assert offset in ((kept, kept + RECORDS) if unsure else (kept,))


STORE = StoreWork()
FULL_DISK = FullDisk()

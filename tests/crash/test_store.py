"""What was acknowledged is there once, whenever the process was killed and whatever call failed."""

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
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
from mingjian.store.merging import merge, plan_merges
from mingjian.store.upkeep import clean, missing_segments
from mingjian.store.workspace import MARK, Workspace, create, open_workspace
from mingjian.store.writing import write_segment

KILLS = 12
DAY = 20_000
TODAY = DAY + 5


def keep_one(workspace: Workspace, organisation: Organisation, input_id: int) -> int:
    """Commit ten more records of an input, from where it stands; give its new offset."""
    offset = input_by_id(workspace, OPERATOR, input_id).offset
    builder = built(organisation, [{"n": offset + n} for n in range(10)], first=offset, input_id=input_id, day=DAY)
    (number,) = reserve_segments(workspace, OPERATOR, organisation.id, 1)
    segment = write_segment(workspace.lake, organisation.public_id, builder, number)
    hosts = [HostDay(stream="test/one", day=DAY, host="h", rows=10, first_us=1, last_us=2)]
    batch = Batch(
        organisation=organisation.id,
        inputs=[progress(input_id, offset, offset + 10)],
        segments=[segment],
        hosts=hosts,
    )
    commit_batch(workspace, OPERATOR, batch)
    return offset + 10


def numbers_in(workspace: Workspace) -> list[int]:
    found: list[int] = []
    for row in live_segments(workspace, OPERATOR):
        with Segment(workspace.lake / row.path, row.content_hash) as segment:
            for block in segment.blocks():
                assert [record["n"] for record in map(block.record, range(len(block)))] == list(block.numbers)
                found += block.numbers
    return found


def check(workspace: Workspace, input_id: int) -> int:
    """Everything up to the committed offset is there once, and nothing else; give the offset."""
    clean(workspace)
    offset = input_by_id(workspace, OPERATOR, input_id).offset
    assert sorted(numbers_in(workspace)) == list(range(offset))
    assert missing_segments(workspace, OPERATOR) == []
    live = {row.path for row in live_segments(workspace, OPERATOR)}
    files = {path.relative_to(workspace.lake).as_posix() for path in workspace.lake.rglob("*") if path.is_file()}
    assert files - {MARK} == live
    with workspace.read() as connection:
        counted = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(tables.host_days.c.rows), 0))).scalar_one()
    assert counted == offset
    return offset


def work_until_killed(folder: Path) -> None:
    """Be the process that is killed: keep records, merge now and then, and say what is acknowledged."""
    with open_workspace(folder) as workspace, workspace.writing():
        organisation = organisation_named(workspace, OPERATOR, "ours")
        while True:
            print(keep_one(workspace, organisation, 1), flush=True)
            for planned in plan_merges(workspace, OPERATOR, today=TODAY)[:1]:
                if len(planned.parts) > 4:
                    merge(workspace, OPERATOR, planned)
                    clean(workspace)


def test_killed_at_any_moment_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    with create(tmp_path) as workspace:
        organisation = organisation_named(workspace, OPERATOR, "ours", make=True)
        assert an_input(workspace, organisation) == 1
    chance = Random(7)
    code = f"import sys; sys.path[:0] = {sys.path!r}; from crash.test_store import work_until_killed as work; "
    code += f"from pathlib import Path; work(Path({str(tmp_path)!r}))"
    committed = 0
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = [process.stdout.readline()]
            time.sleep(chance.uniform(0, 0.25))  # the moment of death is what this test is about
            process.send_signal(signal.SIGKILL)
            said += process.stdout.readlines()
        acknowledged = max((int(line) for line in said if line.endswith("\n")), default=0)
        with open_workspace(tmp_path) as workspace:
            offset = check(workspace, 1)
        assert offset >= max(acknowledged, committed)
        committed = offset
    assert committed > KILLS * 10


class Failing:
    """Lets the N-th call of several functions fail, as a full disk does."""

    def __init__(self, nth: int) -> None:
        self.left = nth

    def wrap(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            self.left -= 1
            if self.left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*arguments, **named)

        return call


CALLS = ((os, "fsync"), (Path, "open"), (Path, "mkdir"), (Path, "replace"), (Path, "unlink"))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Failing]]:
    def make(nth: int) -> Failing:
        monkeypatch.undo()
        fault = Failing(nth)
        for owner, name in CALLS:
            monkeypatch.setattr(owner, name, fault.wrap(getattr(owner, name)))
        return fault

    yield make
    monkeypatch.undo()


def prepared(folder: Path) -> Path:
    """A workspace in which a commit is followed by a merge and a clean-up of what was merged before."""
    with create(folder) as workspace:
        organisation = organisation_named(workspace, OPERATOR, "ours", make=True)
        assert an_input(workspace, organisation) == 1
        for _ in range(2):
            keep_one(workspace, organisation, 1)
        merge(workspace, OPERATOR, plan_merges(workspace, OPERATOR, today=TODAY)[0])
    return folder


def test_whichever_call_fails_the_rest_is_as_it_was_and_the_next_try_succeeds(
    tmp_path: Path, failing: Callable[[int], Failing], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = prepared(tmp_path / "base")
    for nth in itertools.count(1):
        folder = tmp_path / str(nth)
        shutil.copytree(base, folder)
        with open_workspace(folder) as workspace:
            organisation = organisation_named(workspace, OPERATOR, "ours")
            fault = failing(nth)
            acknowledged = 20
            failed = False
            try:
                acknowledged = keep_one(workspace, organisation, 1)
                for planned in plan_merges(workspace, OPERATOR, today=TODAY):
                    merge(workspace, OPERATOR, planned)
                clean(workspace)
            except (StorageError, OSError):
                failed = True
            monkeypatch.undo()
            assert failed == (fault.left <= 0), "an error of the disk was swallowed"
            assert check(workspace, 1) == acknowledged
            assert keep_one(workspace, organisation, 1) == acknowledged + 10
            assert check(workspace, 1) == acknowledged + 10
        shutil.rmtree(folder)
        if not failed:
            break
    assert nth > 15


def test_a_full_database_acknowledges_nothing_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    with create(tmp_path) as workspace:
        organisation = organisation_named(workspace, OPERATOR, "ours", make=True)
        number = an_input(workspace, organisation)
        with workspace.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        _limit_pages(workspace, pages + 3)
        acknowledged = 0
        with pytest.raises(StorageError):
            while True:
                acknowledged = keep_one(workspace, organisation, number)
        assert check(workspace, number) == acknowledged
        _limit_pages(workspace, 2**30)
        assert keep_one(workspace, organisation, number) == acknowledged + 10
        assert check(workspace, number) == acknowledged + 10


def _limit_pages(workspace: Workspace, pages: int) -> None:
    # The limit is of a connection; there is one in the pool as long as nobody works beside us.
    with workspace.read() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

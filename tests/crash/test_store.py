"""What was acknowledged is there once: whenever the process was killed, whatever call failed, when the disk is full."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.faults import every_call_fails
from crash.killing import kill_again_and_again, nursery
from crash.storework import FULL_DISK, RECORDS, STORE, CommitAndMerge, check, keep_one, merge_all, prepared
from lakes import OPERATOR
from mingjian.errors import StorageError
from mingjian.store.catalogue import organisation_named
from mingjian.store.workspace import Workspace, open_workspace

KILLS = 50
FULL_DISKS = 12
SHARES = 4
"""In so many tests all calls of the scenario fail, so that several processors can work on it."""
TMPFS_BYTES = 3 * 1024 * 1024


@pytest.mark.slow
def test_killed_at_any_moment_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    assert kill_again_and_again("crash.storework:STORE", tmp_path, kills=KILLS, seed=7) > KILLS // 4


@pytest.mark.slow
# After an error in the middle of opening two files, the first may be closed by the interpreter.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("share", range(SHARES))
def test_whichever_call_fails_it_is_said_the_rest_is_as_it_was_and_the_next_try_succeeds(
    tmp_path: Path, share: int
) -> None:
    calls = every_call_fails(CommitAndMerge(), tmp_path, first=1 + share, step=SHARES)
    for name in ("open", "write", "fsync", "replace", "unlink", "statement", "commit", "committed"):
        assert name in calls
    assert len(calls) > 50


@pytest.mark.slow
def test_a_full_disk_acknowledges_nothing_and_when_there_is_space_it_goes_on(tmp_path: Path) -> None:
    full = 0
    with nursery("crash.storework:FULL_DISK") as forking:
        for number in range(FULL_DISKS):
            folder = tmp_path / str(number)
            folder.mkdir()
            FULL_DISK.prepare(folder)
            life = forking.start(folder)
            while life.wait():
                pass
            assert life.status == 0
            FULL_DISK.check(folder, life.acknowledged)
            full += "full" in life.acknowledged
    assert full > FULL_DISKS // 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that is really full after some megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "mingjian-test", str(folder)]
    if os.getuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only who may mount file systems can have a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_disk_that_is_really_full_too(small_disk: Path) -> None:
    prepared(small_disk, 0)
    with open_workspace(small_disk) as workspace:
        organisation = organisation_named(workspace, OPERATOR, "ours")
        ballast = small_disk / "ballast"
        for left in (40, 200, 300, 500):
            ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - left * 1024))
            acknowledged = _fill(workspace)
            assert check(workspace) == acknowledged
            ballast.unlink()
            assert keep_one(workspace, organisation) == acknowledged + RECORDS
            merge_all(workspace)
            assert check(workspace) == acknowledged + RECORDS


def _fill(workspace: Workspace) -> int:
    """Keep records until there is no space; give what was acknowledged."""
    organisation = organisation_named(workspace, OPERATOR, "ours")
    acknowledged = check(workspace)
    with pytest.raises(StorageError):
        while True:
            acknowledged = keep_one(workspace, organisation)
    return acknowledged


def test_a_full_database_acknowledges_nothing_and_goes_on_when_there_is_space(tmp_path: Path) -> None:
    STORE.prepare(tmp_path)
    with open_workspace(tmp_path) as workspace:
        organisation = organisation_named(workspace, OPERATOR, "ours")
        with workspace.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        _limit_pages(workspace, pages + 3)
        acknowledged = _fill(workspace)
        assert check(workspace) == acknowledged
        _limit_pages(workspace, 2**30)
        assert keep_one(workspace, organisation) == acknowledged + RECORDS
        assert check(workspace) == acknowledged + RECORDS


def _limit_pages(workspace: Workspace, pages: int) -> None:
    # The limit is of a connection; there is one in the pool as long as nobody works beside us.
    with workspace.read() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

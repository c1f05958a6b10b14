"""Jobs that are no hunts: reading the quarantine again, backups, packs of rules and trials of them, labels of rules.

They are as durable as hunts: one that was killed begins anew and does nothing twice, shows how far it is, and can be
cancelled. One process at a time does them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from mingjian.errors import LimitExceeded, MingjianError, NotFound, StateError, StorageError
from mingjian.hunt.arrival import watch_live
from mingjian.hunt.packs import read_pack, rules_in, stored, try_pack
from mingjian.hunt.retrying import Retry
from mingjian.sources.definitions import SourceBook
from mingjian.store import jobs as stored_jobs
from mingjian.store import packs
from mingjian.store.backup import backup
from mingjian.store.catalogue import live_segments
from mingjian.store.jobs import Job, JobKind, next_job, progressed, worker
from mingjian.store.labels import relabel
from mingjian.store.packs import Pack
from mingjian.store.quarantine import Wanted
from mingjian.store.rules import versions_named
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace

ERRANDS: Final[tuple[JobKind, ...]] = ("quarantine", "backup", "pack", "trial", "labels")
BACKUPS: Final = "backups"
"""The folder in the workspace for backups that were made from the console …"""
BACKUPS_KEPT: Final = 3
"""… and so many of them stay."""
LOOK_S: Final = 1.0
"""So often it is said how far a job is, and looked whether somebody has cancelled it."""
WHOLE: Final = 100
"""How far a backup is, is told in parts of this."""


class AboutPack(msgspec.Struct, frozen=True, kw_only=True):
    """What a job about a pack of rules says, beside who asked."""

    pack: str


class AboutLabels(msgspec.Struct, frozen=True, kw_only=True):
    """What a job about other labels of rules says, beside who asked."""

    versions: list[int]


class Stopped(Exception):
    """The job was cancelled, or this process is to end."""


class Errands:
    """Does what is waiting, one at a time. May be made before a fork."""

    def __init__(self, workspace: Workspace, sources: SourceBook, cache_folder: Path | None, starter: Path) -> None:
        """``starter``: the rules that count if the workspace has none."""
        self._workspace = workspace
        self._sources = sources
        self._cache_folder = cache_folder
        self._starter = starter
        self._scope = Scope.of_operator()
        self._look_at_s = 0.0
        self._tell_at_s = 0.0

    def step(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Do what waits for longest; say whether there was anything.

        Raises:
            StorageError: the workspace cannot be read or written to.
        """
        # One that runs may have been left behind by a process that was killed; who is alive holds the lock.
        open_jobs = stored_jobs.jobs(self._workspace, self._scope, states=["waiting", "running"])
        if not any(job.kind in ERRANDS for job in open_jobs):
            return False
        with worker(self._workspace) as is_mine:
            job = next_job(self._workspace, self._scope, ERRANDS) if is_mine else None
            if job is None:
                return False
            self._do(job, should_stop)
        return True

    def _do(self, job: Job, should_stop: Callable[[], bool]) -> None:
        work = {
            "quarantine": self._retry,
            "backup": self._back_up,
            "pack": self._read_pack,
            "trial": self._try_pack,
            "labels": self._relabel,
        }[job.kind]
        try:
            work(job, should_stop)
        except Stopped:
            return
        except (StateError, StorageError, LimitExceeded, NotFound) as error:
            self._finish(job, error)
            return
        self._finish(job, None)

    def _finish(self, job: Job, error: MingjianError | None) -> None:
        state = "done" if error is None else "failed"
        stored_jobs.finish(self._workspace, self._scope, job.id, state, "" if error is None else str(error))

    def _is_over(self, job: Job, should_stop: Callable[[], bool]) -> bool:
        """Whether the job was cancelled (looked up now and then), or we are to end."""
        if should_stop():
            return True
        if time.monotonic() < self._look_at_s:
            return False
        self._look_at_s = time.monotonic() + LOOK_S
        return stored_jobs.job_by_id(self._workspace, self._scope, job.id).state != "running"

    def _tell(self, job: Job, *, total: int, done: int, results: int) -> None:
        with self._workspace.begin() as connection:
            progressed(job.id, total=total, done=done, results=results)(connection)

    # --- quarantine

    def _retry(self, job: Job, should_stop: Callable[[], bool]) -> None:
        wanted = msgspec.json.decode(job.request, type=Wanted)
        watch = watch_live(self._workspace, self._scope, starter=self._starter, cache_folder=self._cache_folder).watch
        run = Retry(self._workspace, self._scope, self._sources, watch)
        run.run(
            wanted.by,
            ids=wanted.ids,
            organisation=job.organisation,
            progress=lambda tried, read: self._tell(job, total=max(tried, len(wanted.ids)), done=tried, results=read),
            should_stop=lambda: self._is_over(job, should_stop),
        )
        if self._is_over(job, should_stop):
            raise Stopped
        self._tell(job, total=run.done.tried, done=run.done.tried, results=run.done.read)

    # --- backups

    def _back_up(self, job: Job, should_stop: Callable[[], bool]) -> None:
        folder = self._workspace.folder / BACKUPS
        folder.mkdir(mode=0o700, exist_ok=True)
        for left in folder.glob(".*.tmp"):
            left.unlink(missing_ok=True)
        file = backup_file(self._workspace, job)
        expected = 1 + sum(row.bytes for row in live_segments(self._workspace, self._scope))

        def on_bytes(done: int) -> None:
            if self._is_over(job, should_stop):
                raise Stopped
            if time.monotonic() >= told_at_s[0] + LOOK_S:
                told_at_s[0] = time.monotonic()
                share = min(WHOLE - 1, WHOLE * done // expected)
                self._tell(job, total=WHOLE, done=share, results=0)

        told_at_s = [0.0]
        # Killed between the file and the word that it is there: it is whole, for it got its name last.
        if not file.exists():
            backup(self._workspace, self._scope, file, on_bytes=on_bytes)
        for old in sorted(folder.glob("*.backup"), reverse=True)[BACKUPS_KEPT:]:
            old.unlink(missing_ok=True)
        self._tell(job, total=WHOLE, done=WHOLE, results=1)

    # --- packs of rules

    def _pack_of(self, job: Job) -> Pack:
        asked = msgspec.json.decode(job.request, type=AboutPack)
        return packs.pack_named(self._workspace, self._scope, asked.pack)

    def _read_pack(self, job: Job, should_stop: Callable[[], bool]) -> None:
        packs.forget_unread(self._workspace)
        pack = self._pack_of(job)
        content = packs.content_of(self._workspace, self._scope, pack)
        if content is None:
            # Killed between the rules and the word that the job is done.
            return

        def tell(done: int, total: int) -> None:
            self._go_on(job, should_stop, total=total, done=done, results=0)

        rules, report = read_pack(content, tell)
        with self._workspace.begin() as connection:
            packs.was_read(pack, stored(rules), stored(report))(connection)
            progressed(job.id, total=report.files, done=report.files, results=report.rules)(connection)

    def _try_pack(self, job: Job, should_stop: Callable[[], bool]) -> None:
        pack = self._pack_of(job)
        rules = packs.rules_of(self._workspace, self._scope, pack)
        if rules is None:
            raise StateError("the pack has not been read")

        def tell(done: int, total: int, found: int) -> None:
            self._go_on(job, should_stop, total=total, done=done, results=found)

        trial = try_pack(self._workspace, self._scope, self._sources, rules_in(rules), self._cache_folder, tell)
        with self._workspace.begin() as connection:
            packs.was_tried(pack, stored(trial))(connection)

    # --- labels of rules

    def _relabel(self, job: Job, should_stop: Callable[[], bool]) -> None:
        asked = msgspec.json.decode(job.request, type=AboutLabels)
        rules = versions_named(self._workspace, asked.versions)
        seen = 0
        for place, (number, rule) in enumerate(rules.items()):
            for count in relabel(self._workspace, number, rule):
                seen += count
                self._go_on(job, should_stop, total=len(rules), done=place, results=seen)
        self._tell(job, total=len(rules), done=len(rules), results=seen)

    def _go_on(self, job: Job, should_stop: Callable[[], bool], *, total: int, done: int, results: int) -> None:
        """Say how far a job is. Raises: Stopped."""
        if self._is_over(job, should_stop):
            raise Stopped
        if time.monotonic() >= self._tell_at_s or done == total:
            self._tell_at_s = time.monotonic() + LOOK_S
            self._tell(job, total=total, done=done, results=results)


def in_turn(*steps: Callable[[Callable[[], bool]], bool]) -> Callable[[Callable[[], bool]], bool]:
    """One step made of several: the first that has something to do."""
    return lambda should_stop: any(step(should_stop) for step in steps)


def backup_file(workspace: Workspace, job: Job) -> Path:
    """Where the backup of a job is, once it is made. Names rise with time."""
    return workspace.folder / BACKUPS / f"{job.public_id}.backup"

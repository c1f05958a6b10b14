"""What is done beside an ingest by the process that keeps the store up: merging, outlines, hunts, behaviours."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mingjian.errors import LimitExceeded, StateError, StorageError
from mingjian.hunt.behaviourruns import is_due, run_behaviours
from mingjian.hunt.pool import give_memory_back
from mingjian.hunt.retro import Retro, Stopped
from mingjian.sources.definitions import SourceBook
from mingjian.store import jobs
from mingjian.store.catalogue import live_segments
from mingjian.store.coverage import inherit
from mingjian.store.merging import merge, plan_merges
from mingjian.store.outlines import Outliner
from mingjian.store.scope import Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.sightings.live import Upkeep
from mingjian.store.upkeep import last_ended_us, remove_ended
from mingjian.store.workspace import Workspace
from mingjian.telemetry import logger, with_fields

NICENESS: Final = 19
"""Of the process that does the upkeep: ingest and questions go first."""
IDLE_S: Final = 2.0
"""So often it is looked whether there is something to do."""
MERGE_AFTER_S: Final = 10.0
"""Nothing is merged before a process has lived so long, …"""
MERGE_AT_ONCE: Final = 1_000
"""… unless so many segments are there: what an ingest has just begun to write would be merged twice."""
INDEX_S: Final = 3.0
"""So long files of the index are merged before anything else has its turn: every question looks into all of them, and
other chores take long where there is little processor time to be had."""
CLEAN_S: Final = 10.0
"""Files that were replaced are removed this often at most: nobody may begin to read meanwhile."""
TRIM_S: Final = 2.0
"""Memory that work has left is given back this often at most: merging takes hundreds of megabytes now and then."""
FAILED_S: Final = 60.0
"""After something failed it is left alone for so long."""
BEHAVIOURS_AFTER_S: Final = 120.0
"""Behaviours are looked for once a process has lived so long: they need all of history, not what comes in just now."""
CANCELLED_S: Final = 1.0
"""So often it is looked whether somebody has cancelled what is running over history."""

_log = logger("hunt.chores")


def upkeep(
    workspace: Workspace,
    sources: SourceBook,
    cache_folder: Path | None,
    also: Callable[[Callable[[], bool]], bool] = lambda should_stop: False,
) -> None:
    """Merge what is worth it, and run over history what is waiting, until SIGTERM comes.

    For a process that was forked by the one who writes (``Workspace.writing``), and does so in its name. ``also`` is
    what else is to be done now and then: it is told whether to stop, and says whether there was anything.
    """
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    os.nice(NICENESS)
    merging, outliner = _Merging(workspace), Outliner(workspace, Scope.of_operator())
    with Upkeep(workspace) as sightings:
        chores: list[Callable[[], bool]] = [
            lambda: _for_a_while(sightings.step, lambda: ended),
            lambda: merging.step() or outliner.step(),
            lambda: _hunt(workspace, sources, cache_folder, lambda: ended),
            lambda: also(lambda: ended),
            lambda: _behaviours(workspace, sources, lambda: ended),
        ]
        not_before_s = [0.0] * len(chores)
        not_before_s[-1] = time.monotonic() + BEHAVIOURS_AFTER_S
        if len(live_segments(workspace, Scope.of_operator())) < MERGE_AT_ONCE:
            not_before_s[:2] = [time.monotonic() + MERGE_AFTER_S] * 2
        trim_at_s, is_untrimmed = 0.0, False
        while not ended:
            was_busy = False
            for number, chore in enumerate(chores):
                # What takes long comes last, and only if nothing else is to be done.
                if number == len(chores) - 1 and was_busy:
                    break
                if ended or time.monotonic() < not_before_s[number]:
                    continue
                has_worked = False
                try:
                    has_worked = chore()
                except (StorageError, StateError, LimitExceeded) as error:
                    not_before_s[number] = time.monotonic() + FAILED_S
                    _log.warning("upkeep has to wait", extra=with_fields(error=str(error)))
                was_busy |= has_worked
                is_untrimmed |= has_worked
                # Before the next one needs some, too.
                if is_untrimmed and time.monotonic() >= trim_at_s:
                    give_memory_back()
                    trim_at_s, is_untrimmed = time.monotonic() + TRIM_S, False
            if not was_busy:
                _sleep(IDLE_S, lambda: ended)


def _for_a_while(step: Callable[[], bool], should_stop: Callable[[], bool]) -> bool:
    """Take one short step after the other while there are any, so long; say whether there was one."""
    until_s = time.monotonic() + INDEX_S
    has_worked = False
    while not should_stop() and step():
        has_worked = True
        if time.monotonic() >= until_s:
            break
    return has_worked


def _sleep(seconds: float, should_stop: Callable[[], bool]) -> None:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s and not should_stop():
        time.sleep(0.1)


class _Merging:
    """The merging of segments, and the removal of those that were replaced."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._ended_at_us: int | None = None
        """When the last segment ended of those whose files are all gone."""
        self._clean_at_s = 0.0

    def step(self) -> bool:
        """Do the merge that is worth most; say whether there was one."""
        scope = Scope.of_operator()
        planned = plan_merges(self._workspace, scope, today=self._workspace.clock_us() // US_PER_DAY)
        if planned:
            merge(self._workspace, scope, planned[0], [inherit])
            return True
        ended_at_us = last_ended_us(self._workspace)
        if ended_at_us != self._ended_at_us and time.monotonic() >= self._clean_at_s:
            if remove_ended(self._workspace, self._ended_at_us):
                self._ended_at_us = ended_at_us
            self._clean_at_s = time.monotonic() + CLEAN_S
        return False


def _hunt(
    workspace: Workspace, sources: SourceBook, cache_folder: Path | None, should_stop: Callable[[], bool]
) -> bool:
    """Run what is waiting to be run over history; say whether there was anything."""
    scope = Scope.of_operator()
    # One that runs may have been left behind by a process that was killed; who is alive holds the lock.
    if not any(job.kind in jobs.HUNTS for job in jobs.jobs(workspace, scope, states=["waiting", "running"])):
        return False
    look_at_s = time.monotonic() + CANCELLED_S

    def is_over() -> bool:
        """Whether we are to end, or somebody has cancelled the job that is running."""
        nonlocal look_at_s
        if should_stop():
            return True
        if time.monotonic() < look_at_s:
            return False
        look_at_s = time.monotonic() + CANCELLED_S
        return not jobs.jobs(workspace, scope, states=["running"])

    retro = Retro(workspace, scope, sources, cache_folder, should_stop=is_over)
    try:
        return bool(retro.run_pending())
    except Stopped:
        return not should_stop()


def _behaviours(workspace: Workspace, sources: SourceBook, should_stop: Callable[[], bool]) -> bool:
    """Look for behaviours if enough has come in since; say whether it was done."""
    scope = Scope.of_operator()
    if not is_due(workspace, scope):
        return False
    return run_behaviours(workspace, scope, sources, should_stop=should_stop) is not None

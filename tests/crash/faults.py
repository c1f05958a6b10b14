"""Letting the N-th call fail, for every N: the harness for errors of the disk and of the database.

``faults`` counts each call with which the program changes files (open, write, flush, fsync, close, rename, mkdir,
unlink), reads them, or speaks to the state database, and lets one of them fail as a disk does: without space, or with
an error of the device. A write that fails has written half. A commit fails before it is done, or (``committed``) after
it: then the database has it and the program cannot know.

``every_call_fails`` runs a scenario once for each N, until there is no N-th call any more.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy.engine.default import DefaultDialect

from mingjian.errors import MingjianError, StorageError

ERRORS = (errno.ENOSPC, errno.EIO)
OF_PATHS = ("mkdir", "replace", "rename", "unlink", "rmdir", "truncate")


class Fault:
    """Which call is to fail, and which calls there were."""

    def __init__(self, nth: int, number: int, folder: Path) -> None:
        self.nth = nth
        self.number = number
        self.calls: list[str] = []
        self._folder = os.fspath(folder)
        self.ours: set[int] = set()
        """Descriptors of files in the folder."""

    @property
    def hit(self) -> str:
        """The call that failed; empty if there were not so many."""
        return self.calls[self.nth - 1] if len(self.calls) >= self.nth else ""

    def happens(self, name: str) -> bool:
        """Count a call; whether it is to fail."""
        self.calls.append(name)
        return len(self.calls) == self.nth

    def error(self, path: object = None) -> OSError:
        """What the disk says."""
        return OSError(self.number, os.strerror(self.number), path)

    def is_ours(self, path: object) -> bool:
        """Whether a path or a descriptor is of a file in the folder."""
        if isinstance(path, int):
            return path in self.ours
        return isinstance(path, str | os.PathLike) and str(os.fspath(path)).startswith(self._folder)


class FaultyFile:
    """A file open for writing: what it does can fail."""

    def __init__(self, file: Any, fault: Fault) -> None:
        self._file = file
        self._fault = fault
        self._has_written = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> FaultyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, data: Any) -> int:
        self._has_written = True
        if self._fault.happens("write"):
            self._file.write(memoryview(data)[: len(data) // 2])
            raise self._fault.error()
        return self._file.write(data)

    def flush(self) -> None:
        if self._fault.happens("flush"):
            raise self._fault.error()
        self._file.flush()

    def close(self) -> None:
        if self._file.closed:
            return
        self._file.close()
        if self._has_written and self._fault.happens("close"):
            raise self._fault.error()


def _patch_files(patch: pytest.MonkeyPatch, fault: Fault) -> None:
    real_open, real_os_open, real_fsync, real_close = io.open, os.open, os.fsync, os.close

    def open_(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if not fault.is_ours(file):
            return real_open(file, mode, *arguments, **named)
        if not isinstance(file, int) and fault.happens("open"):
            raise fault.error(file)
        opened = real_open(file, mode, *arguments, **named)
        return opened if "r" in mode and "+" not in mode else FaultyFile(opened, fault)

    def os_open(path: Any, *arguments: Any, **named: Any) -> int:
        if not fault.is_ours(path):
            return real_os_open(path, *arguments, **named)
        if fault.happens("open"):
            raise fault.error(path)
        descriptor = real_os_open(path, *arguments, **named)
        fault.ours.add(descriptor)
        return descriptor

    def fsync(descriptor: int) -> None:
        if fault.happens("fsync"):
            raise fault.error()
        real_fsync(descriptor)

    def close(descriptor: int) -> None:
        fault.ours.discard(descriptor)
        real_close(descriptor)

    def of_path(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            # Whoever makes a folder that is there already does not need it.
            is_needed = name != "mkdir" or not Path(path).is_dir()
            if is_needed and fault.is_ours(path) and fault.happens(name):
                raise fault.error(path)
            return real(path, *arguments, **named)

        return call

    patch.setattr(io, "open", open_)
    patch.setattr(builtins, "open", open_)
    patch.setattr(os, "open", os_open)
    patch.setattr(os, "fsync", fsync)
    patch.setattr(os, "close", close)
    for name in OF_PATHS:
        patch.setattr(os, name, of_path(name))


def _patch_database(patch: pytest.MonkeyPatch, fault: Fault) -> None:
    message = {errno.ENOSPC: "database or disk is full"}.get(fault.number, "disk I/O error")

    def before(name: str, method: str) -> None:
        real = getattr(DefaultDialect, method)

        def call(dialect: Any, *arguments: Any, **named: Any) -> Any:
            if fault.happens(name):
                raise sqlite3.OperationalError(message)
            result = real(dialect, *arguments, **named)
            if name == "commit" and fault.happens("committed"):
                raise sqlite3.OperationalError(message)
            return result

        patch.setattr(DefaultDialect, method, call)

    for name, method in (("statement", "do_execute"), ("statement", "do_executemany"), ("commit", "do_commit")):
        before(name, method)


@contextmanager
def faults(nth: int, folder: Path, number: int = errno.ENOSPC) -> Iterator[Fault]:
    """Let the N-th call (from 1) that concerns a folder fail, as long as this is open."""
    fault = Fault(nth, number, folder)
    with pytest.MonkeyPatch.context() as patch:
        _patch_files(patch, fault)
        _patch_database(patch, fault)
        yield fault


class Scenario(Protocol):
    """What is to stand every fault."""

    def prepare(self, folder: Path) -> None:
        """Make a folder in which the scenario can happen."""
        ...

    def happen(self, folder: Path, acknowledge: Callable[[str], None]) -> None:
        """Do it, whatever was done before, and say what is acknowledged. Errors go through."""
        ...

    def check(self, folder: Path, acknowledged: list[str], *, unsure: bool) -> None:
        """Assert that what was acknowledged is there once. ``unsure``: one thing more may be."""
        ...


def every_call_fails(scenario: Scenario, folder: Path, *, first: int = 1, step: int = 1) -> list[str]:
    """Let each call of a scenario fail (or every ``step``-th from ``first`` on), and give the calls.

    After each fault nothing acknowledged is lost, nothing is doubled, the error was said as a ``StorageError``, and the
    next try succeeds.
    """
    base = folder / "base"
    base.mkdir()
    scenario.prepare(base)
    for nth in itertools.count(first, step):
        place = folder / str(nth)
        shutil.copytree(base, place)
        acknowledged: list[str] = []
        error: MingjianError | None = None
        with faults(nth, place, ERRORS[nth // step % len(ERRORS)]) as fault:
            try:
                scenario.happen(place, acknowledged.append)
            except StorageError as failure:
                error = failure
        try:
            assert error is not None or not fault.hit, "the error of the disk was swallowed"
            assert error is None or fault.hit, "it failed without a fault"
            scenario.check(place, acknowledged, unsure=fault.hit == "committed")
            scenario.happen(place, acknowledged.append)
            scenario.check(place, acknowledged, unsure=fault.hit == "committed")
        except BaseException as problem:
            problem.add_note(f"call {nth}, {fault.hit}, failed; {place}; the calls were {fault.calls}")
            raise
        shutil.rmtree(place)
        if not fault.hit:
            return fault.calls
    raise AssertionError("there is always a last call")

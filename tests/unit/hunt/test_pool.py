"""Processes that read tasks."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from mingjian.detect.engine import Engine
from mingjian.errors import StateError
from mingjian.hunt import pool
from mingjian.hunt.scan import Finished, Scanner
from mingjian.sources.definitions import load_sources
from mingjian.sources.files import Task
from mingjian.sources.router import Router


class Dying(Scanner):
    """A scanner whose process ends in the middle of its work."""

    def read(self, number: int, task: Task) -> Finished:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


def test_a_process_that_dies_is_an_error_and_not_a_short_answer(tmp_path: Path) -> None:
    tasks = [Task(str(tmp_path / name), 1) for name in "ab"]
    scanner = Dying(Engine([]), Router(load_sources()), wanted_fields={})
    with pytest.raises(StateError, match="signal 9"):
        list(pool.run(tasks, 2, scanner))


def test_nothing_to_read_ends_at_once() -> None:
    scanner = Scanner(Engine([]), Router(load_sources()), wanted_fields={})
    (findings,) = pool.run([], 2, scanner)
    assert not isinstance(findings, Finished)
    assert not findings.detections

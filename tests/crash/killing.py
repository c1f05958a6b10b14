"""Killing a process again and again, at any moment: the harness, for whatever keeps a promise on disk.

What is killed is a ``Work``: a module-level object of a module in this folder, with three methods. ``work`` goes on
with what it finds in the folder until it is finished or killed, and says what it acknowledges, as a person or another
program would be told. ``check`` opens the folder afterwards, as the next start does, and asserts that everything
acknowledged is there once, and nothing else. ``kill_again_and_again`` does the rest::

    STORE = StoreWork()                                                    # in crash/storework.py

    def test_…(tmp_path):                                                  # in crash/test_store.py
        kill_again_and_again("crash.storework:STORE", tmp_path, kills=50, seed=1)

The processes are forked from one that has imported everything: a start takes some milliseconds. Ten thousand kills::

    PYTHONPATH=tests python -m crash.killing crash.storework:STORE --kills 10000 --seed 1
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from random import Random
from typing import NoReturn, Protocol, cast

SPAN_S = 0.3
"""A process lives at most about so long after its first acknowledgement."""
OPENING_SHARE = 0.25
"""So many of the processes are killed without waiting for an acknowledgement: while they open, and mend."""
MESSAGE_BYTES_MAX = 4096
"""A pipe takes so much at once or not at all, also when the process is killed meanwhile."""


class Work(Protocol):
    """What is killed."""

    def prepare(self, folder: Path) -> None:
        """Make an empty folder ready. Nothing is killed yet."""
        ...

    def work(self, folder: Path, acknowledge: Callable[[str], None]) -> None:
        """Go on with what is in the folder, until it is done or for ever, and say what is acknowledged."""
        ...

    def check(self, folder: Path, acknowledged: Sequence[str]) -> None:
        """Assert that what was acknowledged since ``prepare`` is there once, and nothing else."""
        ...


def named(name: str) -> Work:
    """The work that ``module:NAME`` stands for."""
    module, _, attribute = name.partition(":")
    return cast("Work", getattr(import_module(module), attribute))


class Life:
    """One process, from its start to its end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.acknowledged: list[str] = []
        self.status: int | None = None
        """Of a process that has ended: its exit code, or −9 if it was killed."""
        line = next(lines)
        assert line.startswith("P"), line
        self.process = int(line[1:])

    def wait(self) -> bool:
        """Wait for an acknowledgement; False if the process ended instead."""
        for line in self._lines:
            if line.startswith("E"):
                self.status = int(line[1:])
                return False
            self.acknowledged.append(line[1:].rstrip("\n"))
            return True
        raise AssertionError("the process from which all are forked has ended")

    def kill(self) -> None:
        """Kill it, and hear what it had acknowledged."""
        os.kill(self.process, signal.SIGKILL)
        while self.wait():
            pass


class Nursery:
    """The process from which those that are killed are forked."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, folder: Path) -> Life:
        """Let the work go on in a folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(folder, file=self._process.stdin, flush=True)
        return Life(iter(self._process.stdout))


@contextmanager
def nursery(work: str) -> Iterator[Nursery]:
    """Start a nursery for one kind of work; it ends with the context."""
    code = "import sys; sys.path[:0] = sys.argv[2:]; from crash.killing import serve; serve(sys.argv[1])"
    with subprocess.Popen(
        [sys.executable, "-c", code, work, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Nursery(process)
        finally:
            process.kill()


def serve(name: str) -> None:
    """Be the nursery: fork a process for each folder on stdin, tell on stdout how each one does."""
    work = named(name)
    process = 0
    for line in sys.stdin:
        if process:
            os.waitpid(process, 0)
        process = os.fork()
        if not process:
            _say(f"P{os.getpid()}")
            _live(work, Path(line.rstrip("\n")))
        # Whoever is to kill it may come too late: until the next one starts, its number stays its own.
        ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        _say(f"E{ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status}")


def _live(work: Work, folder: Path) -> NoReturn:
    status = 1
    try:
        work.work(folder, lambda text: _say(f"A{text}"))
        status = 0
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)


def _say(text: str) -> None:
    data = text.encode() + b"\n"
    assert len(data) <= MESSAGE_BYTES_MAX
    os.write(1, data)


def kill_again_and_again(work: str, folder: Path, *, kills: int, seed: int, span_s: float = SPAN_S) -> int:
    """Kill a work so often, and check it each time. Give the number of acknowledgements.

    A work that is finished before it is killed is checked too, and begun anew in another folder.
    """
    kind, chance = named(work), Random(seed)
    killed = total = generation = 0
    with nursery(work) as forking:
        while killed < kills:
            generation += 1
            place = folder / f"work-{generation}"
            place.mkdir()
            kind.prepare(place)
            acknowledged: list[str] = []
            is_finished = False
            while killed < kills and not is_finished:
                life = forking.start(place)
                is_alive = chance.random() < OPENING_SHARE or life.wait()
                time.sleep(chance.uniform(0, span_s))  # the moment of death is what this is about
                if is_alive:
                    life.kill()
                acknowledged += life.acknowledged
                is_finished = life.status == 0
                assert is_finished or life.status == -signal.SIGKILL, "the work failed by itself"
                killed += not is_finished
                try:
                    kind.check(place, acknowledged)
                except BaseException as error:
                    error.add_note(f"after {killed} kills of {work}, seed {seed}; what is left is in {place}")
                    raise
                total += len(life.acknowledged)
    return total


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", help="module:NAME, for example crash.storework:STORE")
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--span", type=float, default=SPAN_S, help="seconds that a process lives at most")
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="mingjian-killed-"))
    started = time.monotonic()
    total = kill_again_and_again(chosen.work, folder, kills=chosen.kills, seed=chosen.seed, span_s=chosen.span)
    shutil.rmtree(folder)
    took_s = time.monotonic() - started
    print(f"{chosen.kills:,} kills, {total:,} acknowledgements: 0 lost, 0 doubled, in {took_s:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])

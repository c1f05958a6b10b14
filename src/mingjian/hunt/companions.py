"""Processes that work beside an ingest and end with it: upkeep of the store, and listening on the network.

They are forked before anything else runs in the process, and have connections and files of their own.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from mingjian.errors import StateError

GARBAGE_THRESHOLD: Final = 10_000
"""Such a process lives for long: cycles that questions and connections leave are looked for more often than where a
command begins."""
END_S: Final = 30.0
"""A process that was told to end is given so much time."""
_PR_SET_PDEATHSIG: Final = 1
"""Linux, prctl(2)."""


@contextmanager
def companion(name: str, work: Callable[[], None]) -> Generator[Callable[[], None]]:
    """Let something be done in a process beside this one, until the body of the ``with`` ends.

    It is told to end by SIGTERM, also if this process dies. Gives a function that raises StateError if it has ended
    by itself.
    """
    parent = os.getpid()

    def live() -> None:
        gc.set_threshold(GARBAGE_THRESHOLD)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.getppid() == parent:
            work()

    process = multiprocessing.get_context("fork").Process(target=live, name=name)
    # Else the first search for cycles would make pages of its own of everything that is shared.
    gc.freeze()
    process.start()

    def check() -> None:
        if not process.is_alive():
            raise StateError(f"the process for {name} has ended (exit code {process.exitcode})")

    try:
        yield check
    finally:
        process.terminate()
        process.join(END_S)
        if process.is_alive():
            process.kill()
            process.join()

"""Scanners in several processes. Tasks and findings travel as msgpack; nothing is pickled."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Literal

import msgspec
import pyarrow as pa

from mingjian.errors import StateError
from mingjian.hunt.scan import Findings, Finished, Scanner
from mingjian.sources.files import Task

PORTION_BYTES = 1024 * 1024
"""Short tasks are handed out together until they have so many bytes …"""
_PORTIONS_LEFT = 4
"""… or until no more than so many portions of this size would be left for each process."""

_Answer = Finished | Findings
_encode = msgspec.msgpack.Encoder().encode
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = {_M_TRIM_THRESHOLD: 64 * 1024 * 1024, _M_MMAP_THRESHOLD: 32 * 1024 * 1024}
"""What glibc's malloc.h calls the parameters; for the second it allows no more."""
_GARBAGE_THRESHOLD = 200_000
"""Records are trees without cycles: looking for cycles among them often is time lost."""


_Assignment = list[tuple[int, Task]]
"""Tasks for one worker, each with its number: one long one, or many short ones."""


class _Answered(msgspec.Struct, frozen=True):
    """What a worker sends when it has done what it was told to."""

    finished: list[Finished]
    findings: Findings


def run(tasks: Sequence[Task], jobs: int, scanner: Scanner) -> Iterator[_Answer]:
    """Read all tasks with up to ``jobs`` processes; what they find comes in no particular order.

    Where processes cannot be forked (anywhere but on Linux) there is one.

    Raises:
        StateError: a process ended before it was told to, for example for lack of memory.
    """
    gc.set_threshold(_GARBAGE_THRESHOLD)
    keep_freed_memory()
    jobs = min(jobs, len(tasks))
    if jobs > 1 and sys.platform == "linux":
        gc.freeze()
        yield from _run_forked(tasks, jobs, scanner)
    else:
        yield from _run_here(tasks, scanner)


def keep_freed_memory() -> None:
    """Tell glibc not to give memory back to the system between two batches only to ask for it again.

    Blocks of lines come and go by the megabyte; without this a tenth of the time goes into page faults.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, kept_bytes in _KEPT_BYTES.items():
            mallopt(parameter, kept_bytes)


def give_memory_back(generation: Literal[1, 2] = 2) -> None:
    """Let the system have what work has left behind; without this the allocators keep nearly all of it.

    Cycles first, which nobody has looked for while there was work; then what the allocators hold that is free, also
    where something that is used lies in between. Among all that the process holds (generation 2) the search for cycles
    can take tenths of a second, in which no thread does anything else; among what is new (1), hardly any time.
    """
    gc.collect(generation)
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _run_here(tasks: Sequence[Task], scanner: Scanner) -> Iterator[_Answer]:
    for number, task in enumerate(tasks):
        yield scanner.read(number, task)
        yield scanner.take_findings()
    scanner.finish()
    yield scanner.take_findings()


def _run_forked(tasks: Sequence[Task], jobs: int, scanner: Scanner) -> Iterator[_Answer]:
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, BaseProcess] = {}
    assignments = iter(_portions(tasks, jobs))
    decode = msgspec.msgpack.Decoder(_Answered).decode
    try:
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            inherited = [*workers, ours]
            process = context.Process(target=_work, args=(theirs, inherited, scanner), daemon=True)
            process.start()
            theirs.close()
            workers[ours] = process
            _assign(ours, assignments)
        while workers:
            for connection in wait(list(workers)):
                assert isinstance(connection, Connection)
                try:
                    answered = decode(connection.recv_bytes())
                except EOFError:
                    _bury(workers.pop(connection))
                    continue
                yield answered.findings
                yield from answered.finished
                if answered.finished:
                    _assign(connection, assignments)
    finally:
        for process in workers.values():
            process.terminate()


def _portions(tasks: Sequence[Task], jobs: int) -> Iterator[_Assignment]:
    """Put short tasks together, so that little time goes into handing them out, and still evenly."""
    portion: _Assignment = []
    size = 0
    for number, task in enumerate(tasks):
        portion.append((number, task))
        size += task.size_bytes
        if size >= PORTION_BYTES or len(portion) * jobs * _PORTIONS_LEFT >= len(tasks) - number:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _assign(connection: Connection, assignments: Iterator[_Assignment]) -> None:
    assignment = next(assignments, None)
    connection.send_bytes(_encode(assignment))


def _bury(process: BaseProcess) -> None:
    process.join()
    if process.exitcode:
        how = f"signal {-process.exitcode}" if process.exitcode < 0 else f"exit code {process.exitcode}"
        raise StateError(f"a worker process ended before its work was done ({how})", hint="try --jobs 1")


def _work(connection: Connection, inherited: Sequence[Connection], scanner: Scanner) -> None:
    """A worker's life: tasks until there are no more, then what was still waiting, then the end."""
    for other in inherited:
        other.close()
    decode: Callable[[bytes], _Assignment | None] = msgspec.msgpack.Decoder(_Assignment | None).decode
    while (assignment := decode(connection.recv_bytes())) is not None:
        finished = [scanner.read(number, task) for number, task in assignment]
        connection.send_bytes(_encode(_Answered(finished, scanner.take_findings())))
    scanner.finish()
    connection.send_bytes(_encode(_Answered([], scanner.take_findings())))
    connection.close()

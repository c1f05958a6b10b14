"""Scanners in several processes. Tasks and findings travel as msgpack; nothing is pickled."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import msgspec

from mingjian.errors import StateError
from mingjian.hunt.scan import Findings, Finished, Scanner
from mingjian.sources.files import Task

_Answer = Finished | Findings
_encode = msgspec.msgpack.Encoder().encode
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 32 * 1024 * 1024
"""What glibc's malloc.h calls the parameters, and the most that it allows for the second."""
_GARBAGE_THRESHOLD = 200_000
"""Records are trees without cycles: looking for cycles among them often is time lost."""


class _Assignment(msgspec.Struct, frozen=True):
    number: int
    task: Task


class _Answered(msgspec.Struct, frozen=True):
    """What a worker sends: one of both. (A union of two structs would need tags that nobody else wants.)"""

    finished: Finished | None = None
    findings: Findings | None = None


def run(tasks: Sequence[Task], jobs: int, scanner: Scanner) -> Iterator[_Answer]:
    """Read all tasks with up to ``jobs`` processes; what they find comes in no particular order.

    Where processes cannot be forked (anywhere but on Linux) there is one.

    Raises:
        StateError: a process ended before it was told to, for example for lack of memory.
    """
    gc.set_threshold(_GARBAGE_THRESHOLD)
    _keep_freed_memory()
    jobs = min(jobs, len(tasks))
    if jobs > 1 and sys.platform == "linux":
        gc.freeze()
        yield from _run_forked(tasks, jobs, scanner)
    else:
        yield from _run_here(tasks, scanner)


def _keep_freed_memory() -> None:
    """Tell glibc not to give memory back to the system between two batches only to ask for it again.

    Blocks of lines come and go by the megabyte; without this a tenth of the time goes into page faults.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            mallopt(parameter, _KEPT_BYTES)


def _run_here(tasks: Sequence[Task], scanner: Scanner) -> Iterator[_Answer]:
    for number, task in enumerate(tasks):
        yield scanner.read(number, task)
        yield scanner.take_findings()
    scanner.finish()
    yield scanner.take_findings()


def _run_forked(tasks: Sequence[Task], jobs: int, scanner: Scanner) -> Iterator[_Answer]:
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, BaseProcess] = {}
    assignments = iter([_Assignment(number, task) for number, task in enumerate(tasks)])
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
                if answered.findings is not None:
                    yield answered.findings
                if answered.finished is not None:
                    yield answered.finished
                    _assign(connection, assignments)
    finally:
        for process in workers.values():
            process.terminate()


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
        finished = scanner.read(assignment.number, assignment.task)
        connection.send_bytes(_encode(_Answered(finished, scanner.take_findings())))
    scanner.finish()
    connection.send_bytes(_encode(_Answered(None, scanner.take_findings())))
    connection.close()

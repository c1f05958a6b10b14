"""The processes that do the work of an ingest: units and flushes in, in order; parts out, epoch by epoch.

Bytes go to a process through memory that both share, some *slots* for each: while it reads from one of them the next
portions are already waiting in the others. Everything else travels as MessagePack; nothing is pickled. Units go to
whichever process has most room; a flush goes to all of them, and when the last one has answered, the epoch is handed
over: in order, always whole.

Where processes cannot be forked (anywhere but on Linux), or with one process, the work is done here.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final, TypeAlias

import msgspec
import pyarrow as pa

from mingjian.errors import StateError, StorageError
from mingjian.hunt.foreman import Foreman
from mingjian.hunt.parts import Begin, Data, Drain, End, Flush, Message, Part, Pause, Renew, Share
from mingjian.hunt.patience import Say
from mingjian.hunt.pool import keep_freed_memory
from mingjian.sources.contents import UNIT_BYTES

SLOT_BYTES: Final = 3 * 1024 * 1024
SLOTS: Final = 6
UNIT_SLOTS: Final = -(-UNIT_BYTES // SLOT_BYTES)
"""A unit goes to a process that has room for all of it: as long as it is handed over, the others get nothing."""
PIECE_BYTES: Final = 1024 * 1024
"""So much is taken out of a slot at a time: nobody needs a copy of all of it."""
IDS_AT_ONCE: Final = 256
"""So many numbers for segments a process is given at a time."""
_GARBAGE_THRESHOLD: Final = 200_000
"""Records are trees without cycles: looking for cycles among them often is time lost."""
_PR_SET_PDEATHSIG: Final = 1
"""Linux, prctl(2)."""

Reserve: TypeAlias = "Callable[[int], range]"
"""Gives out so many numbers for segments."""
MakeForeman: TypeAlias = "Callable[[Callable[[], int], Callable[[Share], None], Say], Foreman]"
"""Makes the one who does the work from: what numbers a segment, takes a share, hears of trouble."""
OnEpoch: TypeAlias = "Callable[[int, list[Part]], None]"
"""Takes all parts of an epoch."""


class _Slot(msgspec.Struct, frozen=True, tag=True):
    """Data lie in the shared memory."""

    number: int
    size: int


class _Ids(msgspec.Struct, frozen=True, tag=True):
    """Numbers for segments."""

    start: int
    stop: int


_Order: TypeAlias = Begin | End | Flush | _Slot | _Ids


class _Freed(msgspec.Struct, frozen=True, tag=True):
    """A slot may be filled again."""

    number: int


class _Want(msgspec.Struct, frozen=True, tag=True):
    """Numbers for segments are needed."""


class _Trouble(msgspec.Struct, frozen=True, tag=True):
    """The disk is full, or with an empty text: no longer."""

    text: str


class _Failed(msgspec.Struct, frozen=True, tag=True):
    """It cannot be kept, and waiting does not help."""

    what: str
    where: str
    hint: str


_Answer: TypeAlias = Share | _Freed | _Want | _Trouble | _Failed
_encode = msgspec.msgpack.Encoder().encode


class Numbers:
    """Numbers for segments, fetched in portions."""

    def __init__(self, reserve: Reserve) -> None:
        self._reserve = reserve
        self._left: Iterator[int] = iter(())

    def __call__(self) -> int:
        """Give the next one."""
        number = next(self._left, None)
        if number is None:
            self._left = iter(self._reserve(IDS_AT_ONCE))
            number = next(self._left)
        return number


def run(
    messages: Iterator[Message],
    jobs: int,
    make: MakeForeman,
    *,
    reserve: Reserve,
    on_epoch: OnEpoch,
    say: Say,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Let the work be done. ``messages`` are asked for as they can be handed on; a last flush is the caller's.

    Raises:
        StateError: a process ended before it was told to, for example for lack of memory.
        StorageError: something cannot be kept, and waiting does not help.
    """
    gc.set_threshold(_GARBAGE_THRESHOLD)
    keep_freed_memory()
    if jobs > 1 and sys.platform == "linux":
        _Crew(jobs, make, reserve, on_epoch, say).run(messages)
    else:
        _alone(messages, make, reserve, on_epoch, say, sleep)


def _alone(
    messages: Iterator[Message],
    make: MakeForeman,
    reserve: Reserve,
    on_epoch: OnEpoch,
    say: Say,
    sleep: Callable[[float], None],
) -> None:
    is_new = False

    def until_renewed() -> Iterator[Message]:
        nonlocal is_new
        for message in messages:
            if isinstance(message, Renew):
                is_new = True
                return
            if isinstance(message, Pause):
                sleep(message.seconds)
            else:
                yield message

    while True:
        is_new = False
        make(Numbers(reserve), lambda share: on_epoch(share.epoch, share.parts), say).work(until_renewed())
        if not is_new:
            return


class _Worker:
    """One process, as the others see it."""

    def __init__(self, connection: Connection, process: BaseProcess, memory: mmap.mmap) -> None:
        self.connection = connection
        self.process = process
        self.memory = memory
        self.free = list(range(SLOTS))
        """Its slots that are empty."""
        self.handed = 0
        """Bytes that it was given."""

    def send(self, order: _Order) -> None:
        """Send an order. They are short and few: the pipe always has room for them."""
        try:
            self.connection.send_bytes(_encode(order))
        except BrokenPipeError:
            raise _ended(self.process) from None


class _Crew:
    def __init__(self, jobs: int, make: MakeForeman, reserve: Reserve, on_epoch: OnEpoch, say: Say) -> None:
        self._jobs = jobs
        self._make = make
        self._reserve = reserve
        self._on_epoch = on_epoch
        self._say = say
        self._workers: dict[Connection, _Worker] = {}
        self._shares: dict[int, list[Share]] = {}
        self._open_epochs: deque[int] = deque()
        self._decode = msgspec.msgpack.Decoder(_Answer).decode

    def run(self, messages: Iterator[Message]) -> None:
        """Hand all messages on and all epochs over."""
        gc.freeze()
        try:
            self._start()
            current: _Worker | None = None
            for message in messages:
                match message:
                    case Begin():
                        current = self._free_worker()
                        current.send(message)
                    case Data(data):
                        assert current is not None
                        self._hand(current, data)
                    case End():
                        assert current is not None
                        current.send(message)
                    case Flush(epoch):
                        self._open_epochs.append(epoch)
                        self._shares[epoch] = []
                        for worker in self._workers.values():
                            worker.send(message)
                    case Drain():
                        self._drain()
                    case Renew():
                        self._drain()
                        self._stop()
                        self._start()
                    case Pause(seconds):
                        self._listen(seconds)
            self._drain()
        finally:
            self._stop()

    def _drain(self) -> None:
        """Wait until all epochs are handed over."""
        while self._open_epochs:
            self._listen(None)

    def _start(self) -> None:
        context = multiprocessing.get_context("fork")
        for _ in range(self._jobs):
            ours, theirs = context.Pipe()
            memory = mmap.mmap(-1, SLOTS * SLOT_BYTES)
            inherited = [*self._workers, ours]
            process = context.Process(
                target=_work, args=(theirs, inherited, memory, self._make, os.getpid()), daemon=True
            )
            process.start()
            theirs.close()
            self._workers[ours] = _Worker(ours, process, memory)

    def _stop(self) -> None:
        for worker in self._workers.values():
            worker.connection.close()
            worker.process.terminate()
        for worker in self._workers.values():
            worker.process.join()
            worker.memory.close()
        self._workers.clear()

    def _free_worker(self) -> _Worker:
        while True:
            free = [worker for worker in self._workers.values() if len(worker.free) >= UNIT_SLOTS]
            if free:
                return min(free, key=lambda worker: (-len(worker.free), worker.handed))
            self._listen(None)

    def _hand(self, worker: _Worker, data: bytes) -> None:
        for start in range(0, len(data), SLOT_BYTES):
            while not worker.free:
                self._listen(None)
            portion = memoryview(data)[start : start + SLOT_BYTES]
            slot = worker.free.pop()
            worker.memory[slot * SLOT_BYTES : slot * SLOT_BYTES + len(portion)] = portion
            worker.handed += len(portion)
            worker.send(_Slot(slot, len(portion)))

    def _listen(self, timeout_s: float | None) -> None:
        """Take what was answered; wait for it, but not longer than this."""
        for connection in wait(list(self._workers), timeout_s):
            assert isinstance(connection, Connection)
            worker = self._workers[connection]
            try:
                answer: _Answer = self._decode(connection.recv_bytes())
            except (EOFError, ConnectionResetError):
                raise _ended(worker.process) from None
            match answer:
                case Share():
                    self._take(answer)
                case _Freed(slot):
                    worker.free.append(slot)
                case _Want():
                    numbers = self._reserve(IDS_AT_ONCE)
                    worker.send(_Ids(numbers.start, numbers.stop))
                case _Trouble(text):
                    self._say(text)
                case _Failed(what, where, hint):
                    raise StorageError(what, where=where, hint=hint)

    def _take(self, share: Share) -> None:
        shares = self._shares[share.epoch]
        shares.append(share)
        # Every process answers the epochs in their order, so the first of them is complete first.
        if len(shares) == len(self._workers):
            assert self._open_epochs[0] == share.epoch
            self._open_epochs.popleft()
            del self._shares[share.epoch]
            self._on_epoch(share.epoch, [part for each in shares for part in each.parts])


def _ended(process: BaseProcess) -> StateError:
    process.join()
    code = process.exitcode or 0
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return StateError(f"a worker process ended before its work was done ({how})", hint="try --jobs 1")


# --- in the process that does the work -------------------------------------------------------------------------------


class _Desk:
    """Where a process gets its orders and puts its answers."""

    def __init__(self, connection: Connection, memory: mmap.mmap) -> None:
        self._connection = connection
        self._memory = memory
        self._waiting: deque[_Order] = deque()
        self._decode = msgspec.msgpack.Decoder(_Order).decode

    def orders(self) -> Iterator[Message]:
        """All orders, until there are no more."""
        while True:
            try:
                order: _Order = self._waiting.popleft() if self._waiting else self._received()
            except (EOFError, ConnectionResetError):
                return
            match order:
                case _Slot(number, size):
                    start, end = number * SLOT_BYTES, number * SLOT_BYTES + size
                    for place in range(start, end, PIECE_BYTES):
                        yield Data(self._memory[place : min(place + PIECE_BYTES, end)])
                    self.answer(_Freed(number))
                case Begin() | End() | Flush():
                    yield order
                case _Ids():
                    raise AssertionError("numbers come only when they are asked for")

    def reserve(self, count: int) -> range:
        """Ask for numbers for segments."""
        self.answer(_Want())
        while not isinstance(order := self._received(), _Ids):
            self._waiting.append(order)
        return range(order.start, order.stop)

    def answer(self, answer: _Answer) -> None:
        """Send an answer."""
        self._connection.send_bytes(_encode(answer))

    def _received(self) -> _Order:
        return self._decode(self._connection.recv_bytes())


def _work(
    connection: Connection, inherited: list[Connection], memory: mmap.mmap, make: MakeForeman, parent: int
) -> None:
    """A process's life. It ends with the one that started it, however that ends."""
    for other in inherited:
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # One store of free memory for all: what NumPy and Python have left, Arrow can have, and the other way round.
    pa.set_memory_pool(pa.system_memory_pool())
    if os.getppid() != parent:
        return
    desk = _Desk(connection, memory)
    try:
        make(Numbers(desk.reserve), desk.answer, lambda text: desk.answer(_Trouble(text))).work(desk.orders())
    except StorageError as error:
        desk.answer(_Failed(error.what, error.where, error.hint))
    except (BrokenPipeError, ConnectionResetError):
        # Nobody wants to know any more: whoever started us has ended or given up.
        return

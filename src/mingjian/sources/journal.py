"""The writing end of journals: what came in over the network is on disk before anybody is told that we have it.

``Journals`` belongs to one event loop. What is handed to it waits in memory (bounded), and is written and synced by
one thread, for all journals together: at the latest after ``GATHER_S`` or ``GATHER_EVENTS``, at once where a sender
waits for the answer and nothing else is being written. That is the group commit.

Three ways in, by what the sender can be told:

- ``append``: comes back when the run is durable, or raises, and then nothing of it was kept. For whoever acknowledges.
- ``put``: comes back when there is room. For senders that are slowed down by not reading (TCP).
- ``offer``: says at once if there is room. For senders that nothing slows down (UDP).

If the disk refuses (full, broken), ``append`` raises ``StorageError`` until a write succeeds again; what came in by
``put`` and ``offer`` stays in memory and is tried again, every ``RETRY_S_MAX`` seconds at the latest. A file that
could not be synced is not trusted with anything any more: it is cut back to what it surely holds, and work goes on in
a new one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.errors import LimitExceeded, SchemaError, StorageError
from mingjian.sources.journalfiles import (
    FRAMES_SUFFIX,
    JOURNAL_VERSION,
    KEY_BYTES,
    KEY_OF_CLIENT,
    LINES_SUFFIX,
    NO_KEY,
    RUN,
    Frame,
    Preamble,
    encode_frame,
    encode_header,
    encode_preamble,
    frames,
    frames_path,
    journals,
    recover,
    sealing,
    sync_folder,
)
from mingjian.telemetry import Counters, logger, with_fields

GATHER_S: Final = 0.1
"""So long a run may wait for others before it is written."""
GATHER_EVENTS: Final = 1000
"""So many events are written without waiting for more."""
PENDING_BYTES_MAX: Final = 64 * 1024 * 1024
"""So much may wait in memory, what is being written counted. Beyond it nothing more is taken (fails closed)."""
ROLL_BYTES: Final = 64 * 1024 * 1024
"""A journal that has reached this size is sealed, and the next one begun."""
ROLL_S: Final = 3600
"""A journal of this age is sealed, and the next one begun when something comes in."""
JOURNALS_OPEN_MAX: Final = 256
"""So many journals are written at the same time: one for each listener, organisation and format."""
NAME_CHARACTERS_MAX: Final = 200
"""So long may the name of a listener or of an organisation be."""
RETRY_S_MIN: Final = 0.2
RETRY_S_MAX: Final = 10.0
"""After a refused write the next one is tried after ``RETRY_S_MIN``, then twice as long, up to this."""
TICK_S: Final = 60.0
"""So often is looked for journals that are old enough to be sealed while nothing comes in."""
LISTENERS_WITH_KEYS: Final = "http"
"""Journals of listeners whose names begin like this have idempotency keys."""
KEYS_MAX: Final = 500_000
"""So many idempotency keys are remembered, the newest."""
CLIENT_KEYS_S: Final = 24 * 3600
"""So long a key that the client stated is remembered."""
CONTENT_KEYS_S: Final = 600
"""So long content without a key is remembered: the same again within this time is taken for a repeated sending."""

Outcome: TypeAlias = Literal["kept", "repeated"]
ClockUs: TypeAlias = Callable[[], int]

_sequence = count()
"""Sorts journals that are begun within one millisecond."""
_log = logger("sources.journal")


class Target(msgspec.Struct, frozen=True):
    """Which journal something belongs in."""

    listener: str
    organisation: str
    format: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive lines from one sender."""

    lines: bytes
    """The lines, each with its line feed."""
    records: int
    received_us: int
    address: str
    port: int
    key: bytes = NO_KEY
    """Idempotency key: a run with the same one for the same target is kept once."""
    key_of_client: bool = False
    """The client stated the key. Else it is the digest of the content."""


def lines_of(messages: Sequence[bytes]) -> tuple[bytes, int]:
    r"""Turn messages into lines, and count them. Empty messages are none; a line feed inside becomes ``#012``.

    Trailing line ends and NUL bytes are not part of a message; some senders add them.
    Source: RFC 6587 section 3.4.2; the escape is the one of rsyslog.

    >>> lines_of([b"one\n", b"", b"two\nlines\0"])
    (b'one\ntwo#012lines\n', 2)
    """
    kept = [stripped.replace(b"\n", b"#012") for each in messages if (stripped := each.rstrip(b"\r\n\0"))]
    return (b"\n".join(kept) + b"\n" if kept else b"", len(kept))


def digest_of(*parts: str | bytes) -> bytes:
    """Make an idempotency key of some parts, none of which can pass for another."""
    digest = blake2b(digest_size=KEY_BYTES)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


class _OpenJournal:
    """One journal that is being written. Used by the writing thread alone."""

    def __init__(self, folder: Path, target: Target, created_us: int) -> None:
        self.id = f"{created_us // 1000:012x}{next(_sequence) % 0x10000:04x}{secrets.token_hex(8)}"
        self.created_us = created_us
        self.lines_path = folder / (self.id + LINES_SUFFIX)
        preamble = Preamble(
            mingjian_journal=JOURNAL_VERSION,
            id=self.id,
            format=target.format,
            listener=target.listener,
            organisation=target.organisation,
            created_us=created_us,
        )
        first = encode_preamble(preamble)
        self.end = len(first)
        self.frames = 0
        self.frames_handle = -1
        self.lines_handle = -1
        try:
            self.frames_handle = _create(folder / (self.id + FRAMES_SUFFIX))
            fcntl.flock(self.frames_handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.lines_handle = _create(self.lines_path)
            _write(self.frames_handle, encode_header(self.id), 0)
            _write(self.lines_handle, first, 0)
            os.fdatasync(self.lines_handle)
            os.fdatasync(self.frames_handle)
            sync_folder(folder)
        except OSError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Nobody knows of it yet: away with it, as far as the disk lets us; a later start removes the rest."""
        with suppress(OSError):
            self.close()
        with suppress(OSError):
            self.lines_path.unlink(missing_ok=True)
            frames_path(self.lines_path).unlink(missing_ok=True)

    def write(self, runs: Sequence[Run]) -> None:
        """Write runs and make them durable: first the lines, then the frames that make them count.

        Raises:
            OSError: nothing of them counts, once ``cut`` has succeeded.
        """
        joined = b"".join([run.lines for run in runs])
        made: list[bytes] = []
        end = self.end
        for run in runs:
            end += len(run.lines)
            made.append(encode_frame(_frame(run, end), self.id, self.frames + len(made)))
        _write(self.lines_handle, joined, self.end)
        os.fdatasync(self.lines_handle)
        _write(self.frames_handle, b"".join(made), (1 + self.frames) * len(made[0]))
        os.fdatasync(self.frames_handle)
        self.end = end
        self.frames += len(made)

    def cut(self) -> None:
        """After a failed write: cut the files back to what was durable before it. May be repeated. Raises: OSError."""
        os.ftruncate(self.frames_handle, (1 + self.frames) * len(encode_header(self.id)))
        os.ftruncate(self.lines_handle, self.end)
        os.fdatasync(self.frames_handle)

    def seal(self, at_us: int) -> None:
        """State that nothing more comes. Raises: OSError: it is not stated; the next start will."""
        data = encode_frame(sealing(self.end, at_us), self.id, self.frames)
        _write(self.frames_handle, data, (1 + self.frames) * len(data))
        os.fdatasync(self.frames_handle)

    def close(self) -> None:
        """Give the files back. May be repeated."""
        for name in ("lines_handle", "frames_handle"):
            handle: int = getattr(self, name)
            setattr(self, name, -1)
            if handle >= 0:
                os.close(handle)


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _write(handle: int, data: bytes, offset: int) -> None:
    """Write all of some bytes at an offset. Raises: OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _frame(run: Run, end: int) -> Frame:
    return Frame(
        kind=RUN,
        flags=KEY_OF_CLIENT if run.key_of_client else 0,
        records=run.records,
        end=end,
        received_us=run.received_us,
        address=run.address,
        port=run.port,
        checksum=zlib.crc32(run.lines),
        key=run.key,
    )


class _Writer:
    """What the writing thread does. Not shared with any other thread."""

    def __init__(self, folder: Path, clock_us: ClockUs) -> None:
        self._folder = folder
        self._clock_us = clock_us
        self._open: dict[Target, _OpenJournal] = {}
        self._to_cut: list[_OpenJournal] = []
        """Journals that a write failed in, and that could not be cut back yet."""

    def commit(self, waiting: dict[Target, list[Run]]) -> dict[Target, OSError | None]:
        """Write and sync what waits for each target; give what went wrong with it, if something did."""
        outcome: dict[Target, OSError | None] = {}
        for target, runs in waiting.items():
            try:
                self._cut_failed()
                self._write(target, runs)
                outcome[target] = None
            except OSError as error:
                outcome[target] = error
        self.seal_old()
        return outcome

    def _write(self, target: Target, runs: list[Run]) -> None:
        journal = self._open.get(target)
        if journal is None:
            journal = self._open[target] = _OpenJournal(self._folder, target, self._clock_us())
        try:
            journal.write(runs)
        except OSError:
            # After a failed sync the kernel may take lost pages for clean ones: never trust this file again.
            self._to_cut.append(self._open.pop(target))
            self._cut_failed()
            raise

    def _cut_failed(self) -> None:
        while self._to_cut:
            journal = self._to_cut[-1]
            journal.cut()
            with suppress(OSError):
                journal.seal(self._clock_us())
            self._to_cut.pop()
            journal.close()

    def seal_old(self) -> None:
        """End the journals that are large or old enough."""
        now = self._clock_us()
        for target, journal in list(self._open.items()):
            # A clock that was set back must not keep a journal open for ever.
            if journal.end >= ROLL_BYTES or not 0 <= now - journal.created_us < ROLL_S * 1_000_000:
                self._seal(self._open.pop(target))

    def _seal(self, journal: _OpenJournal) -> None:
        try:
            journal.seal(self._clock_us())
        except OSError as error:
            _log.warning("a journal could not be sealed; the next start will", extra=with_fields(error=str(error)))
        journal.close()

    def close(self) -> None:
        """Seal everything."""
        with suppress(OSError):
            self._cut_failed()
        while self._open:
            self._seal(self._open.popitem()[1])
        for journal in self._to_cut:
            journal.close()


class _Keys:
    """Idempotency keys that were seen, with what they stood for; bounded in number and time."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[Target, bytes], tuple[int, int, bool]] = OrderedDict()

    def add(self, target: Target, key: bytes, at_us: int, checksum: int, *, of_client: bool) -> None:
        """Remember a key."""
        self._seen[target, key] = (at_us, checksum, of_client)
        self._seen.move_to_end((target, key))
        if len(self._seen) > KEYS_MAX:
            self._seen.popitem(last=False)

    def find(self, target: Target, key: bytes, now_us: int) -> int | None:
        """The checksum of the run that was kept under a key; None if there is none, or it is too long ago."""
        found = self._seen.get((target, key))
        if found is None:
            return None
        at_us, checksum, of_client = found
        window_s = CLIENT_KEYS_S if of_client else CONTENT_KEYS_S
        if now_us - at_us > window_s * 1_000_000:
            del self._seen[target, key]
            return None
        return checksum


class _Waiting(msgspec.Struct):
    run: Run
    answer: asyncio.Future[None] | None = None
    """Of ``append``: done when the run is durable, failed when it is not and will not be."""
    watcher: asyncio.Future[None] | None = None
    """Of ``settled``: done when the run is durable, however often that is tried."""


class Journals:
    """All journals that one process writes in one folder. Use it as an asynchronous context manager."""

    def __init__(self, folder: Path, clock_us: ClockUs = lambda: time.time_ns() // 1000) -> None:
        self._folder = folder
        self._clock_us = clock_us
        self.counters = Counters()
        """``events``, ``runs``, ``bytes`` that are durable; ``repeated`` runs; events ``refused``, ``lost_at_end``."""
        self._writer = _Writer(folder, clock_us)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._waiting: dict[Target, list[_Waiting]] = {}
        self._being_written: dict[Target, list[_Waiting]] = {}
        self._waiting_bytes = 0
        self._waiting_events = 0
        self._in_flight: dict[tuple[Target, bytes], tuple[int, asyncio.Future[None]]] = {}
        self._keys = _Keys()
        self._targets: set[Target] = set()
        self._room = asyncio.Condition()
        self._work = asyncio.Event()
        self._urgent = asyncio.Event()
        self._end = asyncio.Event()
        self._trouble: str | None = None
        self._retry_s = 0.0
        self._may_try_at_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Journals:
        """Recover what a dead process left, remember its idempotency keys, and be ready.

        Raises:
            StorageError: the folder cannot be used.
        """
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._start)
        self._task = loop.create_task(self._commit_until_the_end())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Write what waits, once; seal everything."""
        self._end.set()
        self._work.set()
        self._urgent.set()
        if self._task is not None:
            await self._task
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.close)
        self._thread.shutdown()

    def _start(self) -> None:
        recover(self._folder)
        now = self._clock_us()
        for journal in journals(self._folder):
            too_old = now - journal.created_us > (CLIENT_KEYS_S + ROLL_S) * 1_000_000
            if too_old or not journal.listener.startswith(LISTENERS_WITH_KEYS):
                continue
            target = Target(journal.listener, journal.organisation, journal.format)
            for frame in frames(journal):
                if frame is not None and frame.key != NO_KEY:
                    of_client = bool(frame.flags & KEY_OF_CLIENT)
                    self._keys.add(target, frame.key, frame.received_us, frame.checksum, of_client=of_client)

    @property
    def trouble(self) -> str | None:
        """Why nothing is acknowledged just now; None if all is well."""
        return self._trouble

    def has_room(self, size_bytes: int = 0) -> bool:
        """Whether so many bytes more may wait. One run may always wait if nothing else does."""
        return not self._waiting_bytes or self._waiting_bytes + size_bytes <= PENDING_BYTES_MAX

    async def append(self, target: Target, run: Run) -> Outcome:
        """Keep a run; come back when it is durable, or when it turns out that it already was.

        If the caller is cancelled, the run is kept nevertheless, and sending it again is a repetition.

        Raises:
            StorageError: the disk refuses. Nothing of the run was kept; it may be sent again.
            SchemaError: the key was used for a run with other content.
            LimitExceeded: too much waits, or too many journals are open.
        """
        checksum = zlib.crc32(run.lines)
        if run.key != NO_KEY and await self._is_repeated(target, run.key, checksum):
            self.counters.add("repeated")
            return "repeated"
        if self._trouble is not None and time.monotonic() < self._may_try_at_s:
            raise StorageError(self._trouble)
        if not self.has_room(len(run.lines)):
            raise LimitExceeded("PENDING_BYTES_MAX", PENDING_BYTES_MAX, hint="try again in a moment")
        answer = asyncio.get_running_loop().create_future()
        self._add(target, _Waiting(run, answer=answer))
        if run.key != NO_KEY:
            self._in_flight[target, run.key] = (checksum, answer)
        answer.add_done_callback(lambda done: self._answered(target, run, checksum, done))
        await asyncio.shield(answer)
        return "kept"

    async def _is_repeated(self, target: Target, key: bytes, checksum: int) -> bool:
        earlier = self._in_flight.get((target, key))
        kept = earlier[0] if earlier else self._keys.find(target, key, self._clock_us())
        if kept is None:
            return False
        if kept != checksum:
            raise SchemaError("this key was used for other content", hint="a new key for each request")
        if earlier is not None:
            await asyncio.shield(earlier[1])
        return True

    def _answered(self, target: Target, run: Run, checksum: int, done: asyncio.Future[None]) -> None:
        self._in_flight.pop((target, run.key), None)
        if done.exception() is None and run.key != NO_KEY:
            self._keys.add(target, run.key, run.received_us, checksum, of_client=run.key_of_client)

    async def put(self, target: Target, run: Run) -> None:
        """Keep a run; come back when there is room for it. Raises: LimitExceeded: too many journals are open."""
        if not self.has_room(len(run.lines)):
            async with self._room:
                await self._room.wait_for(lambda: self.has_room(len(run.lines)) or self._end.is_set())
        self._add(target, _Waiting(run))

    def offer(self, target: Target, run: Run) -> bool:
        """Keep a run if there is room for it, and say so. Raises: LimitExceeded: too many journals are open."""
        if not self.has_room(len(run.lines)):
            return False
        self._add(target, _Waiting(run))
        return True

    async def settled(self, target: Target) -> None:
        """Come back when all that waits for one journal now is durable: not while the disk refuses."""
        waiting = self._waiting.get(target) or self._being_written.get(target)
        if not waiting:
            return
        last = waiting[-1]
        if last.watcher is None:
            last.watcher = asyncio.get_running_loop().create_future()
        self._urgent.set()
        await asyncio.shield(last.watcher)

    def _add(self, target: Target, waiting: _Waiting) -> None:
        run = waiting.run
        assert run.lines.endswith(b"\n"), "lines end with a line feed"
        if target not in self._targets:
            if len(self._targets) >= JOURNALS_OPEN_MAX:
                raise LimitExceeded("JOURNALS_OPEN_MAX", JOURNALS_OPEN_MAX)
            assert max(len(target.listener), len(target.organisation)) <= NAME_CHARACTERS_MAX
            self._targets.add(target)
        self._waiting.setdefault(target, []).append(waiting)
        self._waiting_bytes += len(run.lines)
        self._waiting_events += run.records
        self._work.set()
        if waiting.answer is not None or self._waiting_events >= GATHER_EVENTS:
            self._urgent.set()

    async def _commit_until_the_end(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or not self._end.is_set():
            await _set_within(self._work, TICK_S)
            if not self._waiting:
                self._work.clear()
                await loop.run_in_executor(self._thread, self._writer.seal_old)
                continue
            await _set_within(self._urgent, GATHER_S)
            self._work.clear()
            self._urgent.clear()
            taken = self._being_written = self._waiting
            self._waiting, self._waiting_events = {}, 0
            runs = {target: _joined([each.run for each in waiting]) for target, waiting in taken.items()}
            outcome = await loop.run_in_executor(self._thread, self._writer.commit, runs)
            self._being_written = {}
            for target, error in outcome.items():
                if error is None:
                    self._kept(taken[target])
                else:
                    self._refused(target, taken[target], error)
            await self._after(next((error for error in outcome.values() if error is not None), None))

    def _kept(self, waiting: list[_Waiting]) -> None:
        self._waiting_bytes -= sum(len(each.run.lines) for each in waiting)
        self.counters.add("runs", len(waiting))
        self.counters.add("events", sum(each.run.records for each in waiting))
        self.counters.add("bytes", sum(len(each.run.lines) for each in waiting))
        for each in waiting:
            for future in (each.answer, each.watcher):
                if future is not None and not future.done():
                    future.set_result(None)

    def _refused(self, target: Target, waiting: list[_Waiting], error: OSError) -> None:
        """Tell those who wait for an answer; what came from others stays, in its order, before what came since."""
        again: list[_Waiting] = []
        for each in waiting:
            if each.answer is None:
                again.append(each)
                continue
            self._waiting_bytes -= len(each.run.lines)
            self.counters.add("refused", each.run.records)
            each.answer.set_exception(StorageError(_reason(error)))
            if each.watcher is not None:
                each.watcher.set_result(None)
        if again and self._end.is_set():
            lost = sum(each.run.records for each in again)
            self.counters.add("lost_at_end", lost)
            _log.error("events without acknowledgement could not be kept", extra=with_fields(events=lost))
            self._waiting_bytes -= sum(len(each.run.lines) for each in again)
        elif again:
            self._waiting[target] = again + self._waiting.get(target, [])
            self._work.set()

    async def _after(self, error: OSError | None) -> None:
        """Say how it goes, wake those who wait for room, and after a refusal wait before the next try."""
        if error is None:
            if self._trouble is not None:
                _log.warning("the disk takes events again")
            self._trouble, self._retry_s = None, 0.0
        else:
            if self._trouble is None:
                _log.error("the disk refuses events: nothing is acknowledged", extra=with_fields(error=_reason(error)))
            self._trouble = _reason(error)
            self._retry_s = min(RETRY_S_MAX, max(RETRY_S_MIN, 2 * self._retry_s))
            self._may_try_at_s = time.monotonic() + self._retry_s
        async with self._room:
            self._room.notify_all()
        if error is not None:
            await _set_within(self._end, self._retry_s)


def _joined(runs: list[Run]) -> list[Run]:
    """Make one run of neighbours from one sender, unless a key must stay with its own."""
    joined: list[list[Run]] = []
    for run in runs:
        last = joined[-1][-1] if joined else None
        if last and last.key == run.key == NO_KEY and (last.address, last.port) == (run.address, run.port):
            joined[-1].append(run)
        else:
            joined.append([run])
    return [
        msgspec.structs.replace(
            parts[0], lines=b"".join([part.lines for part in parts]), records=sum(part.records for part in parts)
        )
        if len(parts) > 1
        else parts[0]
        for parts in joined
    ]


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Come back when an event is set, or after some seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _reason(error: OSError) -> str:
    return f"the journal cannot be written: {error.strerror or error}"

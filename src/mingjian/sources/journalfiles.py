"""Journals on disk: what came in over the network, as plain text, and beside it who sent it when.

A journal is two files in a workspace's folder ``intake/``, named by an id of ours that sorts by time:

``ID.log``
    A first line of ours (the *preamble*: JSON with id, format, listener, organisation), then the records as lines of
    their original format, exactly as they came. ``first_offset`` is where they begin. The preamble makes the content
    of every journal unlike that of any other, and keeps a hostile first message from looking like the head of an
    archive or of UTF-16. A line feed *inside* a message is written ``#012``, as rsyslog does.
``ID.frames``
    A header and one *frame* of 64 bytes for each run of consecutive lines from one sender: where the run ends, how
    many records it has, a checksum of it, when it was received and from which address, the idempotency key of its
    request, and a checksum of the frame itself. The last frame of a journal that will not grow any more is a *seal*.

A run is synced before its frame is written, and the frame is synced before anything is acknowledged. So what no frame
covers was never acknowledged: nobody reads it, and ``recover`` moves it out of the way into ``ID.torn`` (kept, never
deleted) when the listener starts again. A position in a journal is a byte offset in ``ID.log``; readers never read
beyond ``JournalFile.end``.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from mingjian.errors import StateError, StorageError
from mingjian.model.blocks import FirstPaths, Piece, no_first_paths
from mingjian.telemetry import logger, with_fields

LINES_SUFFIX: Final = ".log"
FRAMES_SUFFIX: Final = ".frames"
TORN_SUFFIX: Final = ".torn"
JOURNAL_VERSION: Final = 1
_SUFFIXES: Final = (LINES_SUFFIX, FRAMES_SUFFIX)
PREAMBLE_BYTES_MAX: Final = 4096
READ_BYTES: Final = 1024 * 1024
FRAME_BYTES: Final = 64
FRAMES_AT_A_TIME: Final = 16_384
KEY_BYTES: Final = 16
"""Length of an idempotency key as a journal keeps it: a digest."""
NO_KEY: Final = bytes(KEY_BYTES)

RUN: Final = 1
SEAL: Final = 2
KEY_OF_CLIENT: Final = 1
"""Flag of a frame: its key was stated by the client. Without it the key is the digest of the content."""

_HEADER = struct.Struct("<8sI48xI")
_HEADER_MAGIC: Final = b"MJFRAMES"
_FRAME = struct.Struct("<BBHIQqI16s16s")
_CHECKSUM = struct.Struct("<I")

_log = logger("sources.journal")


class Preamble(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a journal."""

    mingjian_journal: int
    id: str
    format: str
    """Name of the format of the lines, as in ``formats.registry``. Never recognise it from the content."""
    listener: str
    organisation: str
    created_us: int


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a run of consecutive lines that one sender sent."""

    kind: int = RUN
    flags: int = 0
    records: int
    end: int
    """Offset in the journal behind the run."""
    received_us: int
    """When the first of its bytes was received, by our clock; microseconds since 1970 UTC."""
    address: str
    port: int
    checksum: int
    """CRC-32 of the bytes of the run."""
    key: bytes = NO_KEY


class JournalFile(msgspec.Struct, frozen=True, kw_only=True):
    """A journal as it is now. What stands before ``end`` is on disk and will not change."""

    path: Path
    """Of the lines."""
    id: str
    format: str
    listener: str
    organisation: str
    created_us: int
    first_offset: int
    """Where the lines of the senders begin."""
    first_number: int = 2
    """Number of the first of these lines: the preamble is line 1."""
    end: int
    sealed: bool
    """It will not grow any more."""
    torn_bytes: int
    """So much stands behind ``end``: being written just now, or torn by a crash."""


class Received(msgspec.Struct, frozen=True):
    """Who sent a line, and when we received it."""

    address: str
    port: int
    received_us: int


def frames_path(lines: Path) -> Path:
    """The file of the frames that belongs to a file of lines."""
    return lines.with_suffix(FRAMES_SUFFIX)


def encode_preamble(preamble: Preamble) -> bytes:
    """Write the first line of a journal."""
    line = msgspec.json.encode(preamble) + b"\n"
    assert len(line) <= PREAMBLE_BYTES_MAX, "names of listeners and organisations are bounded where they are given"
    return line


def encode_header(journal_id: str) -> bytes:
    """Write the first 64 bytes of a file of frames."""
    return _HEADER.pack(_HEADER_MAGIC, JOURNAL_VERSION, zlib.crc32(journal_id.encode()))


def encode_frame(frame: Frame, journal_id: str, index: int) -> bytes:
    """Write a frame; its checksum also depends on the journal and on its place, so that stale bytes cannot pass."""
    body = _FRAME.pack(
        frame.kind,
        frame.flags,
        frame.port,
        frame.records,
        frame.end,
        frame.received_us,
        frame.checksum,
        _packed_address(frame.address),
        frame.key,
    )
    return body + _CHECKSUM.pack(zlib.crc32(body, _seed(journal_id, index)))


def decode_frame(data: bytes, journal_id: str, index: int) -> Frame | None:
    """Read a frame; None if it is torn, damaged or not of this place."""
    if len(data) != FRAME_BYTES:
        return None
    body = data[: _FRAME.size]
    if _CHECKSUM.unpack(data[_FRAME.size :])[0] != zlib.crc32(body, _seed(journal_id, index)):
        return None
    kind, flags, port, records, end, received_us, checksum, address, key = _FRAME.unpack(body)
    return Frame(
        kind=kind,
        flags=flags,
        records=records,
        end=end,
        received_us=received_us,
        address=_address_text(address),
        port=port,
        checksum=checksum,
        key=key,
    )


def _seed(journal_id: str, index: int) -> int:
    return zlib.crc32(f"{journal_id}/{index}".encode())


@lru_cache(maxsize=4096)
def _packed_address(text: str) -> bytes:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return bytes(16)
    packed = address.packed
    return b"\0" * 10 + b"\xff\xff" + packed if len(packed) == 4 else packed


def _address_text(packed: bytes) -> str:
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def journals(folder: Path) -> list[JournalFile]:
    """List the journals in a folder, oldest first. May run while another process writes them.

    What is not a whole journal (being made just now, or left by a crash before anything was in it) is left out.
    """
    found: list[JournalFile] = []
    for path in sorted(folder.glob("*" + LINES_SUFFIX)):
        journal = open_journal(path)
        if journal is not None:
            found.append(journal)
    return found


def open_journal(path: Path) -> JournalFile | None:
    """Look at one journal; None if it is not whole.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with path.open("rb") as lines, frames_path(path).open("rb") as frames:
            preamble = _preamble(lines.read(PREAMBLE_BYTES_MAX))
            if preamble is None or preamble.id != path.stem or not _header_holds(frames.read(FRAME_BYTES), preamble.id):
                return None
            first_offset = len(encode_preamble(preamble))
            # The frames first: lines that are there when we look at their size belong to frames that we saw.
            last = _last_frame(frames.fileno(), preamble.id)
            if last is not None and last.kind != SEAL:
                # Its writer may be about to sync it. Whoever commits an offset of ours must be able to rely on it.
                os.fdatasync(frames.fileno())
            size = os.fstat(lines.fileno()).st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    end = first_offset if last is None else last.end
    return JournalFile(
        path=path,
        id=preamble.id,
        format=preamble.format,
        listener=preamble.listener,
        organisation=preamble.organisation,
        created_us=preamble.created_us,
        first_offset=first_offset,
        end=min(end, size),
        sealed=last is not None and last.kind == SEAL,
        torn_bytes=max(0, size - end),
    )


def _preamble(head: bytes) -> Preamble | None:
    line, end, _ = head.partition(b"\n")
    try:
        found = msgspec.json.decode(line, type=Preamble)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if end and found.mingjian_journal == JOURNAL_VERSION and encode_preamble(found) == line + end else None


def _header_holds(header: bytes, journal_id: str) -> bool:
    return header == encode_header(journal_id)


def _last_frame(handle: int, journal_id: str) -> Frame | None:
    """The last whole frame: damage before it hides nothing behind it."""
    index = os.fstat(handle).st_size // FRAME_BYTES - 2
    while index >= 0:
        first = max(0, index - FRAMES_AT_A_TIME + 1)
        data = os.pread(handle, (index - first + 1) * FRAME_BYTES, (first + 1) * FRAME_BYTES)
        for place in range(index, first - 1, -1):
            at = (place - first) * FRAME_BYTES
            if (frame := decode_frame(data[at : at + FRAME_BYTES], journal_id, place)) is not None:
                return frame
        index = first - 1
    return None


def frames(journal: JournalFile, first: int = 0) -> Iterator[Frame | None]:
    """Read the frames of a journal in order, from the one with this index on; None in the place of a damaged one.

    Raises:
        StorageError: they cannot be read.
    """
    try:
        with frames_path(journal.path).open("rb") as file:
            file.seek((1 + first) * FRAME_BYTES)
            index = first
            while data := file.read(FRAMES_AT_A_TIME * FRAME_BYTES):
                for at in range(0, len(data) - FRAME_BYTES + 1, FRAME_BYTES):
                    yield decode_frame(data[at : at + FRAME_BYTES], journal.id, index)
                    index += 1
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(journal.path)) from error


def chunks(journal: JournalFile, start: int | None = None) -> Iterator[bytes]:
    """Read the lines of a journal from an offset up to its end.

    Raises:
        StorageError: they cannot be read.
    """
    at = journal.first_offset if start is None else start
    assert at >= journal.first_offset, "the preamble is not a record"
    try:
        with journal.path.open("rb") as file:
            file.seek(at)
            while at < journal.end and (data := file.read(min(READ_BYTES, journal.end - at))):
                at += len(data)
                yield data
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(journal.path)) from error


def piece(
    journal: JournalFile,
    start: int | None = None,
    first_number: int | None = None,
    first_paths: FirstPaths = no_first_paths,
) -> Piece:
    """What a reader of the journal's format is asked to read: the lines from an offset (a line start) up to the end.

    ``modified_at_s`` is when the journal was begun: it is the same whenever the journal is read, and a timestamp
    without a year is at most a day younger (journals are rolled after an hour).
    """
    return Piece(
        file=str(journal.path),
        chunks=chunks(journal, start),
        first_number=journal.first_number if first_number is None else first_number,
        first_offset=journal.first_offset if start is None else start,
        first_paths=first_paths,
        modified_at_s=journal.created_us / 1_000_000,
    )


def received(journal: JournalFile, offset: int) -> Received | None:
    """Say who sent the line at an offset, and when it was received; None if its frame is damaged or it has none.

    Raises:
        StorageError: the frames cannot be read.
    """
    try:
        handle = os.open(frames_path(journal.path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            low, high = 0, os.fstat(handle).st_size // FRAME_BYTES - 1
            while low < high:
                middle = (low + high) // 2
                # A damaged frame says nothing about its end: go by the next one that is whole.
                place, frame = _next_whole(handle, journal.id, middle, high)
                if frame is None or frame.end > offset:
                    high = middle
                else:
                    low = place + 1
            found = decode_frame(os.pread(handle, FRAME_BYTES, (1 + low) * FRAME_BYTES), journal.id, low)
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(journal.path)) from error
    if found is None or found.kind != RUN or found.end <= offset or offset < journal.first_offset:
        return None
    return Received(found.address, found.port, found.received_us)


def _next_whole(handle: int, journal_id: str, index: int, end: int) -> tuple[int, Frame | None]:
    while index < end:
        frame = decode_frame(os.pread(handle, FRAME_BYTES, (1 + index) * FRAME_BYTES), journal_id, index)
        if frame is not None:
            return index, frame
        index += 1
    return index, None


def damage(journal: JournalFile) -> list[tuple[int, int]]:
    """Check a whole journal against its checksums: the ranges of bytes that are not what was received.

    A damaged frame makes the range that it covered unproven; it is listed too.

    Raises:
        StorageError: it cannot be read.
    """
    found: list[tuple[int, int]] = []
    at = journal.first_offset
    uncertain = False
    try:
        with journal.path.open("rb") as file:
            for frame in frames(journal):
                if frame is None or frame.end < at:
                    uncertain = True
                    continue
                if frame.kind == RUN:
                    file.seek(at)
                    data_checksum = _checksum(iter(lambda: file.read(READ_BYTES), b""), frame.end - at)
                    if uncertain or data_checksum != frame.checksum:
                        found.append((at, frame.end))
                    at, uncertain = frame.end, False
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(journal.path)) from error
    return found


def _checksum(parts: Iterator[bytes], size: int) -> int:
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part[:size], checksum)
        size -= len(part)
        if size <= 0:
            break
    return checksum if size <= 0 else -1


def recover(folder: Path) -> list[JournalFile]:
    """Seal the journals that a dead process left open, and give them. Done by the listener when it starts.

    What no whole frame covers was never acknowledged. It is cut off, and kept in ``ID.torn`` first. A journal that a
    living process writes is left alone. May be repeated, also after a crash in the middle.

    Raises:
        StorageError: the folder cannot be read or written to.
    """
    sealed: list[JournalFile] = []
    try:
        for journal in journals(folder):
            if not journal.sealed and _seal_if_abandoned(journal):
                sealed.append(journal)
        for path in sorted({path.with_suffix(LINES_SUFFIX) for path in folder.glob("*.*") if path.suffix in _SUFFIXES}):
            _remove_if_empty(path)
    except OSError as error:
        raise StorageError(f"cannot be recovered: {error.strerror}", where=str(folder)) from error
    return sealed


def _seal_if_abandoned(journal: JournalFile) -> bool:
    with frames_path(journal.path).open("r+b") as file, journal.path.open("r+b") as lines:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        now = open_journal(journal.path)
        if now is None or now.sealed:
            return False
        count = _whole_frames(file.fileno(), journal.id)
        file.seek((1 + count) * FRAME_BYTES)
        torn = file.read()
        if now.torn_bytes or torn:
            lines.seek(now.end)
            _keep(journal.path.with_suffix(TORN_SUFFIX), lines.read() + torn)
            lines.truncate(now.end)
            os.fsync(lines.fileno())
            fields = with_fields(journal=journal.path.name, bytes=now.torn_bytes)
            _log.warning("a torn end was cut off a journal: it had not been acknowledged", extra=fields)
        file.truncate((1 + count) * FRAME_BYTES)
        file.seek((1 + count) * FRAME_BYTES)
        file.write(encode_frame(sealing(now.end, now.created_us), journal.id, count))
        file.flush()
        os.fsync(file.fileno())
    return True


def sealing(end: int, at_us: int) -> Frame:
    """The frame that ends a journal."""
    return Frame(kind=SEAL, records=0, end=end, received_us=at_us, address="::", port=0, checksum=0)


def _whole_frames(handle: int, journal_id: str) -> int:
    """How many frames there are up to the last whole one, which is included."""
    count = max(0, os.fstat(handle).st_size // FRAME_BYTES - 1)
    while count:
        if decode_frame(os.pread(handle, FRAME_BYTES, count * FRAME_BYTES), journal_id, count - 1) is not None:
            break
        count -= 1
    return count


def _keep(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)


def _remove_if_empty(lines: Path) -> None:
    """Remove what a crash left of a journal that was being made or removed: nothing is in it that anybody sent."""
    found = [path for path in (lines, frames_path(lines)) if path.exists()]
    with ExitStack() as stack:
        for path in found:
            file = stack.enter_context(path.open("rb"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            data = file.read(PREAMBLE_BYTES_MAX + 1)
            is_preamble = len(data) <= PREAMBLE_BYTES_MAX and (b"\n" not in data or _preamble(data) is not None)
            if path == lines and not (is_preamble and data.find(b"\n") in (-1, len(data) - 1)):
                return
            if path != lines and len(found) == 2 and len(data) > FRAME_BYTES:
                return
        for path in found:
            path.unlink(missing_ok=True)


def remove(journal: JournalFile) -> None:
    """Delete a journal. Call it when every line of it is in the store, and you have kept it long enough.

    Raises:
        StateError: it is not sealed: somebody may still write to it.
        StorageError: it cannot be deleted.
    """
    if not journal.sealed:
        raise StateError("a journal that may still grow is not removed", where=str(journal.path))
    try:
        # The lines first: half a journal without lines is removed at the next start.
        journal.path.unlink(missing_ok=True)
        frames_path(journal.path).unlink(missing_ok=True)
        journal.path.with_suffix(TORN_SUFFIX).unlink(missing_ok=True)
        sync_folder(journal.path.parent)
    except OSError as error:
        raise StorageError(f"cannot be removed: {error.strerror}", where=str(journal.path)) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises: OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

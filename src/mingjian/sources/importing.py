"""Events that somebody hands over at once: kept durably as one sealed journal, named by what is in it.

The journal is read by whoever takes in what came over the network, like all others. Its name and its whole content
follow from the organisation and the lines, so that the same lines handed over again are the same input: ingest knows
them, however long ago they came, and takes nothing in twice.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from mingjian.errors import LimitExceeded, SchemaError, StorageError
from mingjian.sources.journalfiles import (
    FRAMES_SUFFIX,
    JOURNAL_VERSION,
    LINES_SUFFIX,
    RUN,
    Frame,
    Preamble,
    encode_frame,
    encode_header,
    encode_preamble,
    open_journal,
    sealing,
    sync_folder,
)

IMPORT_BYTES_MAX: Final = 256 * 1024 * 1024
"""So many bytes of lines are kept at once."""
IMPORT_RECORDS_MAX: Final = 5_000_000
LISTENER: Final = "import"
LOCK: Final = "import.lock"
_PREFIX: Final = "import-"
_PART: Final = ".part"
_READ_BYTES: Final = 1024 * 1024


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """Lines that are to be kept, in a file."""

    records: int
    bytes: int
    digest: bytes
    checksum: int


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    records: int
    outcome: Literal["kept", "repeated"]


def gather(lines: Iterable[bytes], file: BinaryIO) -> Gathered:
    r"""Write lines (in pieces of any size) to a file as a journal has them: none empty, each with its line feed.

    Raises:
        LimitExceeded: there are too many bytes or lines.
        SchemaError: they do not begin like JSON lines.
    """
    size = records = checksum = 0
    digest = blake2b(digest_size=16)
    rest = b""
    for piece in lines:
        whole, end, rest = (rest + piece).rpartition(b"\n")
        if len(rest) > IMPORT_BYTES_MAX:
            raise LimitExceeded("IMPORT_BYTES_MAX", IMPORT_BYTES_MAX)
        if not end:
            continue
        data, count = _cleaned(whole)
        records += _first_checked(records, data, count)
        size, checksum = size + len(data), zlib.crc32(data, checksum)
        if size > IMPORT_BYTES_MAX:
            raise LimitExceeded("IMPORT_BYTES_MAX", IMPORT_BYTES_MAX, hint="send less at a time")
        if records > IMPORT_RECORDS_MAX:
            raise LimitExceeded("IMPORT_RECORDS_MAX", IMPORT_RECORDS_MAX, hint="send less at a time")
        digest.update(data)
        file.write(data)
    data, count = _cleaned(rest)
    records += _first_checked(records, data, count)
    digest.update(data)
    file.write(data)
    return Gathered(
        records=records, bytes=size + len(data), digest=digest.digest(), checksum=zlib.crc32(data, checksum)
    )


def _cleaned(data: bytes) -> tuple[bytes, int]:
    kept = [line.rstrip(b"\r") for line in data.split(b"\n") if line.strip()]
    return (b"\n".join(kept) + b"\n" if kept else b"", len(kept))


def _first_checked(before: int, data: bytes, count: int) -> int:
    if count and not before and not data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        raise SchemaError("these are no JSON lines", hint="one object in each line")
    return count


def keep(folder: Path, organisation: str, gathered: Gathered, file: BinaryIO, received_us: int) -> Imported:
    """Keep gathered lines as a journal; come back when they are durable.

    Raises:
        StorageError: the disk refuses; nothing was kept.
    """
    if not gathered.records:
        return Imported(records=0, outcome="kept")
    name = blake2b(organisation.encode("utf-8", "surrogatepass") + b"\0" + gathered.digest, digest_size=16)
    id = _PREFIX + name.hexdigest()
    try:
        with (folder / LOCK).open("a+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _remove_left_over(folder)
            found = open_journal(folder / (id + LINES_SUFFIX))
            if found is not None and found.sealed:
                return Imported(records=gathered.records, outcome="repeated")
            _write(folder, id, organisation, gathered, file, received_us)
    except OSError as error:
        raise StorageError(f"the journal cannot be written: {error.strerror or error}") from error
    return Imported(records=gathered.records, outcome="kept")


def _remove_left_over(folder: Path) -> None:
    """Remove what a crash left behind: lines without frames were never acknowledged. Under the lock."""
    for path in folder.glob(_PREFIX + "*"):
        is_alone = path.suffix == LINES_SUFFIX and not path.with_suffix(FRAMES_SUFFIX).exists()
        if is_alone or path.suffix == _PART:
            path.unlink(missing_ok=True)


def _write(folder: Path, id: str, organisation: str, gathered: Gathered, file: BinaryIO, received_us: int) -> None:
    # Nothing in it depends on when it came: the same lines make the same journal.
    preamble = Preamble(
        mingjian_journal=JOURNAL_VERSION,
        id=id,
        format="jsonl",
        listener=LISTENER,
        organisation=organisation,
        created_us=0,
    )
    first = encode_preamble(preamble)
    end = len(first) + gathered.bytes
    run = Frame(
        kind=RUN,
        records=gathered.records,
        end=end,
        received_us=received_us,
        address="::",
        port=0,
        checksum=gathered.checksum,
    )
    lines = folder / (id + LINES_SUFFIX + _PART)
    frames = folder / (id + FRAMES_SUFFIX + _PART)
    try:
        file.seek(0)
        with lines.open("wb") as out:
            out.write(first)
            while data := file.read(_READ_BYTES):
                out.write(data)
            _sync(out)
        with frames.open("wb") as out:
            out.write(encode_header(id) + encode_frame(run, id, 0) + encode_frame(sealing(end, received_us), id, 1))
            _sync(out)
        lines.replace(lines.with_suffix(""))
        sync_folder(folder)
        # From here on it counts.
        frames.replace(frames.with_suffix(""))
        sync_folder(folder)
    except OSError:
        for path in (lines, frames):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())

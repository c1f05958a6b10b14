"""The file of a backup: a tar archive of files, and of tables as compressed lines of JSON.

The last member lists all others with their sizes and hashes: without it, or with anything that is not in it, a backup
is not whole. Whoever reads one gets members of names that a workspace has, and of no others: no path that leads
elsewhere, no link, no device.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import IO, Final

import msgspec
import zstandard

from mingjian.errors import LimitExceeded, ParseError, shown
from mingjian.formats.bounded import decode_json

MANIFEST: Final = "backup.json"
CONTENTS: Final = "contents.json"
MEMBERS_MAX: Final = 2_000_000
CONTENTS_BYTES_MAX: Final = 1024 * 1024 * 1024
LINE_BYTES_MAX: Final = 256 * 1024 * 1024
"""A row of a table may hold a piece of input in quarantine."""
CHUNK_BYTES: Final = 1024 * 1024
LEVEL: Final = 3
WINDOW_BYTES_MAX: Final = 128 * 1024 * 1024

_NAME: Final = re.compile(
    r"backup\.json|contents\.json|mingjian\.toml|state/[a-z_]{1,60}\.jsonl\.zst"
    r"|(lake|sightings|intake|keys|audit)(/[^/\0]{1,255}){1,8}"
)


class Member(msgspec.Struct, frozen=True):
    """A member as the list at the end has it."""

    size: int
    sha256: str


def is_name(name: str) -> bool:
    """Whether a member of a backup may have this name.

    >>> is_name("lake/organisation=1/day=none/1.parquet"), is_name("lake/../../etc/passwd"), is_name("/etc/passwd")
    (True, False, False)
    """
    return bool(_NAME.fullmatch(name)) and not {".", ".."} & set(name.split("/"))


class BackupWriter:
    """Writes a backup into a file that is open. ``close`` ends it; without, it is no backup."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 # close() closes it
        self._members: dict[str, Member] = {}

    def add(self, name: str, source: IO[bytes], size: int) -> None:
        """Add so many bytes of an open file. Raises: OSError (also if there are fewer)."""
        assert is_name(name) and name not in self._members
        reader = _Hashing(source)
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o600
        self._tar.addfile(header, reader)  # pyright: ignore[reportArgumentType] - it asks for read() alone
        self._members[name] = Member(size, reader.hash.hexdigest())

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add a member whose content is at hand. Raises: OSError."""
        self.add(name, io.BytesIO(data), len(data))

    def close(self) -> None:
        """Add the list of all members. Raises: OSError."""
        data = msgspec.json.encode(self._members)
        header = tarfile.TarInfo(CONTENTS)
        header.size, header.mode = len(data), 0o600
        self._tar.addfile(header, io.BytesIO(data))
        self._tar.close()


class _Hashing:
    """A file to read from, whose bytes are hashed on the way."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.hash = sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.hash.update(data)
        return data


class _Reading:
    """The content of a member, to be read before the next one."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, or all. Raises: ParseError (the archive ends), OSError."""
        try:
            return self._content.read(size)
        except (tarfile.TarError, EOFError) as error:
            raise ParseError(f"this is only a part of a backup: {error}") from None


def compressor(to: IO[bytes]) -> IO[bytes]:
    """A file to write lines of JSON to, which go on compressed. Closing it leaves the other one open."""
    return zstandard.ZstdCompressor(level=LEVEL).stream_writer(to, closefd=False)


def lines_of(source: IO[bytes]) -> Iterator[bytes]:
    """The lines of a compressed member.

    Raises:
        LimitExceeded: a line is too long.
        ParseError: it is not compressed as it should be.
    """
    reader = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX).stream_reader(source, closefd=False)
    rest = b""
    while True:
        try:
            data = reader.read(CHUNK_BYTES)
        except zstandard.ZstdError as error:
            raise ParseError(f"a table in the backup cannot be read: {error}") from None
        if not data:
            break
        *whole, rest = (rest + data).split(b"\n")
        yield from whole
        if len(rest) > LINE_BYTES_MAX:
            raise LimitExceeded("LINE_BYTES_MAX", LINE_BYTES_MAX)
    if rest:
        raise ParseError("a table in the backup ends in the middle of a row")


def members_of(file: IO[bytes]) -> Iterator[tuple[str, _Reading, int]]:
    """The members of a backup in their order, each with its content (to be read before the next) and size.

    The last one is the list: compare what was read with it (``check_contents``).

    Raises:
        ParseError: it is no backup; a member that no backup has.
        LimitExceeded: more than ``MEMBERS_MAX`` members.
    """
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for number, header in enumerate(tar, 1):
                if number > MEMBERS_MAX:
                    raise LimitExceeded("MEMBERS_MAX", MEMBERS_MAX)
                content = tar.extractfile(header) if header.isreg() else None
                if content is None or not is_name(header.name):
                    raise ParseError(f"no backup has a member {shown(header.name)}")
                yield header.name, _Reading(content), header.size
    except (tarfile.TarError, EOFError) as error:
        raise ParseError(f"this is no backup, or a part of one: {error}") from None


def check_contents(data: bytes, found: Mapping[str, Member]) -> None:
    """Go on only if the members that were found are those that the list has. Raises: ParseError, LimitExceeded."""
    decoder = msgspec.json.Decoder(dict[str, Member])
    listed = decode_json(
        data,
        decoder.decode,
        where=CONTENTS,
        size_bytes_max=CONTENTS_BYTES_MAX,
        values_max=4 * MEMBERS_MAX,
    )
    wrong = sorted(name for name in listed.keys() | found.keys() if listed.get(name) != found.get(name))
    if wrong:
        raise ParseError(f"{len(wrong)} members of the backup are not as they were written", hint=shown(wrong[0]))

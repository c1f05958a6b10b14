"""The cache of parsed rules: two kinds of files in one folder.

``….book`` is the whole rulebook of one set of folders. ``….parsed`` keeps what single files gave, by the hash of their
content. Both are named after everything else that decides what comes out: code, placeholders, pipelines.

The files are checksummed, written atomically, and read only where nobody but us can write. They may be deleted at any
time: a cache that is missing, broken, foreign or not writable only costs time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

import mingjian.detect.sigma
import mingjian.model.rules
from mingjian.detect.sigma.references import Parsed
from mingjian.hunt.reading import Options, packed

CACHE_FORMAT: Final = 1
"""Raise it when what the cache files hold changes its form."""

CACHE_BYTES_MAX: Final = 1_073_741_824
"""A larger cache file is not looked at."""

KEPT_BYTES_MAX: Final = 134_217_728
"""So much of what is not needed now a ``.parsed`` file keeps for later."""

CACHE_FILES_MAX: Final = 16
"""So many files of each kind stay; the oldest go."""

_MAGIC = b"mjrules\x01"
_DIGEST_BYTES = 16


def digest(data: bytes) -> bytes:
    """Hash with BLAKE2b, 16 bytes."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


class StoredBook(msgspec.Struct, frozen=True, array_like=True):
    """What a ``.book`` file holds."""

    seen: bytes
    """Digest over paths, sizes, times and inodes of all rule files."""
    content: bytes
    """Digest over the contents of all rule files."""
    settled: bool
    """Whether no file had been changed shortly before it was read, so that its times can be trusted."""
    book: msgspec.Raw


class RuleCache:
    """The two cache files for one set of folders and options. Nothing here raises for a bad cache."""

    def __init__(self, folder: Path, book: str, parsed: str) -> None:
        self._folder = folder
        self._book = book
        self._parsed = parsed

    @classmethod
    def at(cls, folder: Path | None, paths: Sequence[str | Path], options: Options) -> RuleCache | None:
        """Open the cache in a folder, which is made (mode 0700) if it is missing; None if it cannot be trusted."""
        if folder is None:
            return None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError:
            return None
        if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            return None
        made_of = code_stamp() + options.digest()
        named = "\0".join(f"{os.fspath(path)}\0{Path(path).absolute()}" for path in paths)
        of_paths = digest(made_of + named.encode("utf-8", "surrogateescape"))
        return cls(folder, f"rules-{of_paths.hex()}.book", f"rules-{digest(made_of).hex()}.parsed")

    def book(self) -> StoredBook | None:
        """The rulebook kept for these folders, still encoded."""
        payload = self._payload(self._book)
        if payload is None:
            return None
        try:
            return msgspec.msgpack.decode(payload, type=StoredBook)
        except msgspec.DecodeError:
            return None

    def keep_book(self, book: StoredBook) -> None:
        """Write the rulebook."""
        self._write(self._book, msgspec.msgpack.encode(book))

    def parsed(self) -> dict[bytes, msgspec.Raw]:
        """What single files gave, by the digest of their content, still encoded."""
        payload = self._payload(self._parsed)
        if payload is None:
            return {}
        try:
            return msgspec.msgpack.decode(payload, type=dict[bytes, msgspec.Raw])
        except msgspec.DecodeError:
            return {}

    def keep_parsed(self, parsed: Mapping[bytes, Parsed], before: Mapping[bytes, msgspec.Raw]) -> None:
        """Write what single files gave: all of now, and of before as much as there is room for."""
        kept: dict[bytes, msgspec.Raw] = {}
        for key, value in parsed.items():
            encoded = packed(value)
            if encoded is not None:
                kept[key] = msgspec.Raw(encoded)
        room = KEPT_BYTES_MAX
        for key, value in before.items():
            room -= len(bytes(value))
            if room < 0:
                break
            kept.setdefault(key, value)
        self._write(self._parsed, msgspec.msgpack.encode(kept))

    def _payload(self, name: str) -> memoryview | None:
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                trusted = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
                if not trusted or status.st_size > CACHE_BYTES_MAX:
                    return None
                data = memoryview(file.read())
        except OSError:
            return None
        head = len(_MAGIC) + _DIGEST_BYTES
        if bytes(data[: len(_MAGIC)]) != _MAGIC or hashlib.blake2b(
            data[head:], digest_size=_DIGEST_BYTES
        ).digest() != bytes(data[len(_MAGIC) : head]):
            return None
        return data[head:]

    def _write(self, name: str, payload: bytes) -> None:
        """Write a file whole or not at all. A folder that cannot be written only costs time at the next start."""
        import tempfile  # not for a start from the cache

        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=".rules-")  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + digest(payload))
                file.write(payload)
            Path(temporary).replace(self._folder / name)
            self._tidy(Path(name).suffix)
        except OSError:
            if temporary:
                Path(temporary).unlink(missing_ok=True)

    def _tidy(self, suffix: str) -> None:
        ours = [path for path in self._folder.glob(f"rules-*{suffix}") if path.is_file()]
        ours.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in ours[CACHE_FILES_MAX:]:
            path.unlink(missing_ok=True)


def code_stamp() -> bytes:
    """Give a digest that changes whenever the code that makes rules does, ours or pySigma's."""
    files = [Path(mingjian.model.rules.__file__)]
    for folder in mingjian.detect.sigma.__path__:
        files += sorted(Path(folder).glob("*.py"))
    found = find_spec("sigma")  # finds without importing
    if found is not None and found.origin is not None:
        files.append(Path(found.origin))
    parts = [str(CACHE_FORMAT)]
    for file in files:
        status = file.stat()
        parts.append(f"{file} {status.st_size} {status.st_mtime_ns}")
    return digest("\n".join(parts).encode("utf-8", "surrogateescape"))

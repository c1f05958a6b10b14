"""The few things that the index asks of a file system, so that a test can be one that fails when it likes.

Names are those of files in one folder. Every failure is a ``StorageError``: what was promised may not be kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from mingjian.errors import StorageError, shown

NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,99}")
"""What a file of the index may be called. Names are ours; this is for what was read from somewhere."""
WRITTEN_TOGETHER_BYTES: Final = 1 << 20
"""So much waits in memory before it is given to the system."""


class Reading(Protocol):
    """A file open for reading. May be shared by threads; stays readable when the name is removed."""

    size_bytes: int

    def read_at(self, offset: int, size: int) -> bytes:
        """Give exactly these bytes. Raises: StorageError (they are not there, or cannot be read)."""
        ...

    def foresee(self, stretches: Sequence[tuple[int, int]]) -> None:
        """Let the disk begin with what is about to be read: where each stretch begins and ends. Never fails."""
        ...

    def close(self) -> None:
        """Give the file back."""
        ...


class Writing(Protocol):
    """A file that grows."""

    size_bytes: int

    def write(self, data: bytes) -> None:
        """Put bytes behind what is there. Raises: StorageError."""
        ...

    def sync(self) -> None:
        """Come back when all that was written will outlive a power failure. Raises: StorageError."""
        ...

    def close(self) -> None:
        """Give the file back; says nothing about power failures."""
        ...


class Folder(Protocol):
    """A folder with files in it. Every method raises StorageError if it cannot do what it says."""

    def read(self, name: str) -> Reading:
        """Open a file."""
        ...

    def write(self, name: str, keep_bytes: int = 0) -> Writing:
        """Begin a file, or go on with one behind its first ``keep_bytes`` bytes (the rest is cut off)."""
        ...

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, in place of what had it."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; it is no mistake if there is none."""
        ...

    def names(self) -> list[str]:
        """All files, in order."""
        ...

    def sync(self) -> None:
        """Come back when all names will outlive a power failure."""
        ...


@contextmanager
def _storage(what: str, path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise _failed(what, path, error) from error


def _failed(what: str, path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot {what}: {error.strerror or error}", where=str(path))


class DiskFolder:
    """A folder on a disk. Makes it if there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _storage("make the folder", path):
            path.mkdir(parents=True, exist_ok=True)

    def _file(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise StorageError(f"{shown(name)} is not the name of a file of the sightings index", where=str(self._path))
        return self._path / name

    def read(self, name: str) -> Reading:
        """Open a file for reading."""
        return _DiskReading(self._file(name))

    def write(self, name: str, keep_bytes: int = 0) -> Writing:
        """Open a file for writing behind its first bytes."""
        return _DiskWriting(self._file(name), keep_bytes)

    def rename(self, name: str, new: str) -> None:
        """Rename a file, atomically."""
        path = self._file(name)
        with _storage("rename", path):
            path.replace(self._file(new))

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        path = self._file(name)
        with _storage("remove", path):
            path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """List the files whose names can be ours."""
        with _storage("list", self._path):
            return sorted(entry.name for entry in self._path.iterdir() if NAME.fullmatch(entry.name))

    def sync(self) -> None:
        """Sync the folder itself."""
        with _storage("sync", self._path):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class _DiskReading:
    """Reads with ``pread``: a failing disk or a file cut short is an error; of a mapped one the process would die."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with _storage("open", path):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.size_bytes = os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self._descriptor, size, offset)
            while len(data) < size:
                more = os.pread(self._descriptor, size - len(data), offset + len(data))
                if not more:
                    raise StorageError(f"ends before byte {offset + size}", where=str(self._path))
                data += more
        except OSError as error:
            raise _failed("read", self._path, error) from error
        return data

    def foresee(self, stretches: Sequence[tuple[int, int]]) -> None:
        # Advice, no more: where there is none to be given, or nobody listens, reading takes its time.
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                for start, end in stretches:
                    os.posix_fadvise(self._descriptor, start, end - start, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()


class _DiskWriting:
    def __init__(self, path: Path, keep_bytes: int) -> None:
        self._path = path
        with _storage("write", path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (0 if keep_bytes else os.O_TRUNC)
            self._file = os.fdopen(os.open(path, flags, 0o644), "wb", buffering=WRITTEN_TOGETHER_BYTES)
        try:
            self._go_on_behind(keep_bytes)
        except StorageError:
            self._file.close()
            raise
        self.size_bytes = keep_bytes

    def _go_on_behind(self, keep_bytes: int) -> None:
        with _storage("write", self._path):
            if os.fstat(self._file.fileno()).st_size < keep_bytes:
                raise StorageError(f"has less than {keep_bytes} bytes", where=str(self._path))
            if keep_bytes:
                self._file.truncate(keep_bytes)
                self._file.seek(keep_bytes)

    def write(self, data: bytes) -> None:
        with _storage("write", self._path):
            self._file.write(data)
        self.size_bytes += len(data)

    def sync(self) -> None:
        with _storage("sync", self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with _storage("close", self._path):
            self._file.close()

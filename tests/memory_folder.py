"""A folder in memory that fails when it is told to, and that a power failure can be played on."""

import copy
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from mingjian.errors import StorageError


class PowerFailure(BaseException):
    """The machine stops here: nothing that comes behind is done, and nobody may catch it."""


@dataclass
class File:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass
class Disk:
    """What is on the disk, and what would be if the power failed now."""

    files: dict[str, File] = field(default_factory=dict)
    kept: dict[str, File] = field(default_factory=dict)
    """The names as of the last sync of the folder."""
    history: list[dict[str, File]] = field(default_factory=list)
    """The names after each change since then."""

    def changed(self) -> None:
        self.history.append(dict(self.files))

    def after_power_failure(self, chance: random.Random) -> "Disk":
        """The disk as it may be found: names and bytes that were not synced are there in part, or torn, or not."""
        names = chance.choice([self.kept, *self.history])
        survivors: dict[str, File] = {}
        files: dict[int, File] = {}
        for name, file in names.items():
            if id(file) not in files:
                data = bytearray(file.synced)
                lost = bytes(file.data[len(file.synced) :])
                if file.data[: len(file.synced)] == file.synced and lost:
                    data += lost[: chance.randrange(len(lost) + 1)]
                    if len(data) > len(file.synced) and chance.random() < 0.5:
                        torn = chance.randrange(len(file.synced), len(data))
                        data[torn:] = bytes(len(data) - torn)
                files[id(file)] = File(data, bytes(data))
            survivors[name] = files[id(file)]
        return Disk(survivors, dict(survivors))

    def copy(self) -> "Disk":
        return copy.deepcopy(self)


class MemoryFolder:
    """A ``Folder``. Its operation number ``fails_at`` (from 0) fails; with ``is_power``, so does all that follows."""

    def __init__(self, disk: Disk | None = None, fails_at: int | None = None, *, is_power: bool = False) -> None:
        self.disk = disk or Disk()
        self.operations = 0
        self._fails_at = fails_at
        self._is_power = is_power

    def operate(self) -> None:
        number, self.operations = self.operations, self.operations + 1
        if self._fails_at is not None and number >= self._fails_at:
            if self._is_power:
                raise PowerFailure
            if number == self._fails_at:
                raise StorageError("no space left on device")

    def read(self, name: str) -> "MemoryReading":
        self.operate()
        if name not in self.disk.files:
            raise StorageError("cannot open: there is no such file", where=name)
        return MemoryReading(self, self.disk.files[name])

    def write(self, name: str, keep_bytes: int = 0) -> "MemoryWriting":
        self.operate()
        file = self.disk.files.get(name) if keep_bytes else None
        if file is None:
            if keep_bytes:
                raise StorageError("is too short", where=name)
            file = self.disk.files[name] = File()
            self.disk.changed()
        del file.data[keep_bytes:]
        file.synced = file.synced[:keep_bytes]
        return MemoryWriting(self, file)

    def rename(self, name: str, new: str) -> None:
        self.operate()
        self.disk.files[new] = self.disk.files.pop(name)
        self.disk.changed()

    def remove(self, name: str) -> None:
        self.operate()
        self.disk.files.pop(name, None)
        self.disk.changed()

    def names(self) -> list[str]:
        self.operate()
        return sorted(self.disk.files)

    def sync(self) -> None:
        self.operate()
        self.disk.kept = dict(self.disk.files)
        self.disk.history = []


class MemoryReading:
    def __init__(self, folder: MemoryFolder, file: File) -> None:
        self._folder = folder
        self._file = file
        self.size_bytes = len(file.data)

    def read_at(self, offset: int, size: int) -> bytes:
        self._folder.operate()
        data = bytes(self._file.data[offset : offset + size])
        if len(data) < size:
            raise StorageError(f"ends before byte {offset + size}")
        return data

    def foresee(self, stretches: Sequence[tuple[int, int]]) -> None:
        pass

    def close(self) -> None:
        pass


class MemoryWriting:
    def __init__(self, folder: MemoryFolder, file: File) -> None:
        self._folder = folder
        self._file = file
        self.size_bytes = len(file.data)

    def write(self, data: bytes) -> None:
        self._folder.operate()
        self._file.data += data
        self.size_bytes += len(data)

    def sync(self) -> None:
        self._folder.operate()
        self._file.synced = bytes(self._file.data)

    def close(self) -> None:
        pass

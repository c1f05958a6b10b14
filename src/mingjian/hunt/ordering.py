"""Sorts more values than fit into memory: runs on disk, merged on the way out."""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Generic, TypeVar

import msgspec

HELD_VALUES_MAX = 50_000
"""So many values are kept in memory; more are written to a temporary file in sorted runs."""
_LENGTH_BYTES = 4

Kept = TypeVar("Kept")


class Sorter(Generic[Kept]):
    """Takes values in any order and gives them back in the order of a key.

    Values must survive ``msgspec.msgpack``. Equal keys keep no particular order: make the key complete.
    """

    def __init__(self, kind: type[Kept], key: Callable[[Kept], tuple[object, ...]]) -> None:
        self._key = key
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._encode = msgspec.msgpack.Encoder().encode
        self._held: list[Kept] = []
        self._runs: list[IO[bytes]] = []
        self.count = 0

    def add(self, value: Kept) -> None:
        """Take a value."""
        self._held.append(value)
        self.count += 1
        if len(self._held) >= HELD_VALUES_MAX:
            self._spill()

    def _spill(self) -> None:
        run = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the sorter; close() gives it back
        for value in sorted(self._held, key=self._key):
            data = self._encode(value)
            run.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
            run.write(data)
        self._runs.append(run)
        self._held = []

    def __iter__(self) -> Iterator[Kept]:
        """Give all values in order. May be repeated, but not nested."""
        runs = [self._replay(run) for run in self._runs]
        return heapq.merge(sorted(self._held, key=self._key), *runs, key=self._key)

    def _replay(self, run: IO[bytes]) -> Iterator[Kept]:
        run.seek(0)
        while length := run.read(_LENGTH_BYTES):
            yield self._decode(run.read(int.from_bytes(length, "big")))

    def close(self) -> None:
        """Give the temporary files back."""
        for run in self._runs:
            run.close()
        self._runs = []

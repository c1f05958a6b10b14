"""Records on their way from a reader to the engine, and what could not become a record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import msgspec

from mingjian.model.values import Missing, Record, Value

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

QUARANTINED_BYTES_MAX = 65_536
"""So much of an unreadable piece of input is kept."""


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of input that could not be read: kept, counted, shown, never dropped."""

    file: str
    """The file as the user named it; ``archive!member`` inside an archive."""
    record: int
    """1-based number of the record (or of the line) in the file; 0 where the whole file is meant."""
    offset: int
    """Where the bytes start in the (decompressed) file; −1 where that cannot be said."""
    code: str
    """The ``code`` of the error."""
    reason: str
    data: bytes
    """The bytes themselves, at most 64 KiB of them."""


class Block(Protocol):
    """Some consecutive records of one file, able to give single fields without building whole records."""

    @property
    def format(self) -> str:
        """Name of the format that the records were read from, for example ``evtx``."""
        ...

    @property
    def numbers(self) -> Sequence[int]:
        """What identifies each record in its file (EventRecordID, 1-based line or index), in order."""
        ...

    def column(self, path: str) -> Sequence[Value | Missing]:
        """The value at one dotted path for every record, ``MISSING`` where there is none."""
        ...

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        """The same for several paths at once, and only for the records with these indexes if ``rows`` is given."""
        ...

    def record(self, row: int) -> Record:
        """One whole record, by its index in the block."""
        ...

    def raw(self, row: int) -> bytes:
        """The bytes that the record was made of, or its canonical JSON where the format has no such bytes."""
        ...

    def take(self, rows: Sequence[int]) -> Block:
        """A block of the records with these indexes only, that keeps nothing else in memory."""
        ...

    def containing(self, needles: Sequence[str]) -> Sequence[int] | None:
        """Indexes of records that may hold one of some ASCII texts (any case) in any value, or None for “all may”.

        A quick sieve for keyword searches: it may name too many records, never too few.
        """
        ...


@runtime_checkable
class Encoded(Protocol):
    """What a block has besides that knows the distinct values of its columns: those are looked at, not its rows."""

    def encoded(self, path: str) -> tuple[npt.NDArray[np.intp], list[Value | Missing]]:
        """For each record the place of its value among the distinct ones at a dotted path, and those.

        Every value given occurs; two of them may be equal.
        """
        ...

    def prepare(self, paths: Iterable[str]) -> None:
        """Read some columns at once, because they will be asked for."""
        ...


_T = TypeVar("_T")


def picker(rows: Sequence[int]) -> Callable[[Sequence[_T]], Sequence[_T]]:
    """Something that picks these rows out of columns, quicker than one by one."""
    if len(rows) < 2:
        return lambda column: [column[row] for row in rows]
    return cast("Callable[[Sequence[_T]], Sequence[_T]]", itemgetter(*rows))


FirstPaths: TypeAlias = Callable[[Block], tuple[str, ...]]
"""For a few of the records that are about to be read: the dotted paths that will be asked for in most of them."""


def no_first_paths(sample: Block) -> tuple[str, ...]:
    """Nothing is known of what will be asked for."""
    return ()


def nobody_counts(lines: int) -> None:
    """Nobody wants to know how many lines there were."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader is asked to read: the bytes of (a part of) one file, and what it must know about them."""

    file: str
    chunks: Iterator[bytes]
    """The bytes in order, cut anywhere. Where the cuts are never changes the result."""
    first_number: int = 1
    """Number of the first line or record in the chunks."""
    first_offset: int = 0
    """Offset of the first byte in the file."""
    first_paths: FirstPaths = no_first_paths
    """Says what will be asked for first: a reader may decode it on the way and nothing else."""
    on_lines: Callable[[int], None] = nobody_counts
    """Told at the end how many lines there were, by readers of lines."""
    modified_at_s: float | None = None
    """Modification time of the file (Unix seconds); resolves timestamps without a year."""

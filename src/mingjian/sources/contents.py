"""What lies in a file, however it is packed: contents, read once, counted and digested on the way.

A *content* is a file that is no container itself: a plain file, what a compressed file holds, a member of an archive.
Who it is, is decided by its bytes alone; name, place and compression do not matter. ``Tracker`` gives the bytes in
order, in portions that end at record boundaries where the format has such, and knows the digest of everything that it
gave.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Literal, TypeAlias, cast

from blake3 import blake3

from mingjian.formats import containers, registry
from mingjian.formats.containers import Member
from mingjian.model.blocks import Quarantined

HEAD_DIGEST_BYTES: Final = 32
FORMER_DIGEST_BYTES: Final = 32
"""So long is the digest by which a content was known in earlier versions (BLAKE2b). Today's is longer."""
_BLAKE3: Final = b"3"
"""Stands before a digest of today."""
UNIT_BYTES: Final = 8 * 1024 * 1024
"""A portion of a content is about so long."""
READ_BYTES: Final = 1024 * 1024
CONTAINER_HEAD_BYTES: Final = 512
"""So much tells a container from a plain file."""

Cut: TypeAlias = Literal["lines", "chunks", "whole"]
"""How a content may be cut: after any line, between chunks of fixed size, or not at all."""


def digest_of(data: bytes) -> bytes:
    """The digest of the beginning of a content, by which it is looked up: BLAKE2b."""
    return hashlib.blake2b(data, digest_size=HEAD_DIGEST_BYTES).digest()


def content_digests(data: bytes) -> tuple[bytes, ...]:
    """The digests by which a content that is just these bytes may be known: today's and the former one."""
    return _BLAKE3 + blake3(data).digest(), hashlib.blake2b(data, digest_size=FORMER_DIGEST_BYTES).digest()


def digests_up_to(data: bytes, sizes: Collection[int]) -> dict[bytes, int]:
    """The digests of the beginnings of some bytes that have certain lengths, with these; of those that are shorter."""
    found: dict[bytes, int] = {}
    digest, at = hashlib.blake2b(digest_size=HEAD_DIGEST_BYTES), 0
    for size in sorted(size for size in sizes if size < len(data)):
        digest.update(data[at:size])
        found[digest.copy().digest()] = at = size
    return found


class Tracker:
    """The bytes of one content, in order. What was taken is counted and digested; what was read ahead is not.

    The digest is BLAKE3 (https://github.com/BLAKE3-team/BLAKE3-specs), some times as fast as BLAKE2b, which it was
    formerly.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.offset = 0
        """So many bytes were taken."""
        self.ended = False
        """There is nothing more to read."""
        self._chunks = chunks
        self._parts: list[bytes] = []
        self._ahead = 0
        self._digest = blake3()
        self._former: hashlib.blake2b | None = None

    def digest_formerly_too(self) -> None:
        """From here on, where nothing has been taken yet, know the former digest as well."""
        assert self.offset == 0, "what was taken is not there any more"
        self._former = hashlib.blake2b(digest_size=FORMER_DIGEST_BYTES)

    def go_on(self, chunks: Iterator[bytes]) -> None:
        """Go on with further bytes of the same content, from behind what was taken: it has grown."""
        self._chunks = chunks
        self._parts, self._ahead = [], 0
        self.ended = False

    def fill(self, size: int) -> int:
        """Read ahead so much, less only at the end; give how much there is. Raises: OSError."""
        while self._ahead < size and not self.ended:
            chunk = next(self._chunks, None)
            if chunk is None:
                self.ended = True
            elif chunk:
                self._parts.append(chunk)
                self._ahead += len(chunk)
        return self._ahead

    def peek(self, size: int) -> bytes:
        """The next bytes, without taking them; fewer only at the end. Raises: OSError."""
        self.fill(size)
        return self._joined()[:size]

    def take(self, size: int) -> bytes:
        """Take bytes; fewer only at the end. Raises: OSError."""
        self.fill(size)
        data = self._joined()
        taken, left = (data, b"") if len(data) <= size else (data[:size], data[size:])
        self._parts, self._ahead = [left] if left else [], len(left)
        self._digest.update(taken)
        if self._former is not None:
            self._former.update(taken)
        self.offset += len(taken)
        return taken

    def digest(self) -> bytes:
        """Of everything that was taken."""
        return _BLAKE3 + self._digest.digest()

    def has(self, digest: bytes) -> bool:
        """Whether this is a digest of everything that was taken, today's or, if it is known, the former one."""
        return digest == self.digest() or (self._former is not None and digest == self._former.digest())

    def pass_over(self, offset: int) -> None:
        """Take everything up to an offset, or up to the end. Raises: OSError."""
        while self.offset < offset and self.take(min(READ_BYTES, offset - self.offset)):
            pass

    def line_end(self) -> int:
        """How many bytes of what was read ahead end with the last line end; 0 if there is none."""
        for index in range(len(self._parts) - 1, -1, -1):
            found = self._parts[index].rfind(b"\n")
            if found >= 0:
                return sum(map(len, self._parts[:index])) + found + 1
        return 0

    def _joined(self) -> bytes:
        if len(self._parts) > 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0] if self._parts else b""


def units(tracker: Tracker, format_: registry.Format, cut: Cut) -> Iterator[Iterator[bytes]]:
    """Cut what is left of a content into units that can be read independently; each comes in pieces.

    The pieces of a unit must be used up before the next unit is asked for. Raises: OSError.
    """
    if cut == "whole":
        yield _pieces(tracker)
        return
    while tracker.fill(UNIT_BYTES):
        yield _lines(tracker) if cut == "lines" else _strides(tracker, format_)


def _pieces(tracker: Tracker) -> Iterator[bytes]:
    while data := tracker.take(READ_BYTES):
        yield data


def _lines(tracker: Tracker) -> Iterator[bytes]:
    """Whole lines; a line that is longer than a unit comes in several pieces."""
    while size := tracker.fill(UNIT_BYTES):
        end = tracker.line_end()
        yield tracker.take(end or size)
        if end or tracker.ended:
            return


def _strides(tracker: Tracker, format_: registry.Format) -> Iterator[bytes]:
    header = format_.header_bytes if tracker.offset == 0 else 0
    yield tracker.take(header + UNIT_BYTES // format_.stride_bytes * format_.stride_bytes)


def how_to_cut(format_: registry.Format, head: bytes) -> Cut:
    """How a content in a format, with this head, may be cut."""
    if format_.stride_bytes:
        return "chunks"
    return "lines" if registry.may_be_cut(format_, head) else "whole"


class File:
    """A file that can be gone through as often as wanted."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        """``name`` is what its contents are called; its path if there is none."""
        self.path = path
        self.name = str(path) if name is None else name

    def is_plain(self) -> bool:
        """Whether it is its own only content. Raises: OSError."""
        with self.path.open("rb") as stream:
            return containers.container_kind(stream.read(CONTAINER_HEAD_BYTES)) is None

    def contents(self) -> Iterator[Member | Quarantined]:
        """Everything that is in it, in order. The chunks of one must be used up before the next is asked for.

        Raises: OSError.
        """
        with self.path.open("rb", buffering=0) as stream:
            modified_at_s = os.fstat(stream.fileno()).st_mtime
            yield from containers.open_members(self.name, cast("BinaryIO", stream), modified_at_s=modified_at_s)


def drained(member: Member) -> None:
    """Use the rest of a content up. Raises: OSError."""
    for _ in member.chunks:
        pass

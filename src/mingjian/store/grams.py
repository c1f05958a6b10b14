"""What many texts are made of: enough to say that some other text is in none of them.

A text holds another one only if it holds each of its *grams*, four bytes in a row. The grams of many texts are a
bitmap: each sets one bit, chosen by a hash. A bit that is not set proves that the gram occurs nowhere; one that is set
proves nothing. ASCII letters count in lower case. Grams that consist of nothing but hexadecimal digits and the signs of
numbers are not kept: identifiers and times would fill the bitmap with them, and nobody asks for such alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

GRAM_BYTES: Final = 4
BITS_MAX: Final = 20
"""The largest bitmap has 2 to this power bits …"""
BITS_MIN: Final = 10
"""… and the smallest so many: smaller ones save nothing."""
FILLED_MIN: Final = 0.125
"""A bitmap is made smaller while less than this share of it is set; then up to twice as much is."""
FILLED_MAX: Final = 0.5
"""Into a bitmap that is fuller nothing more is put: it would say next to nothing."""
SEPARATOR: Final = b"\n"
"""Between texts that are given together. No gram with one in it is kept."""

Hashes: TypeAlias = npt.NDArray[np.uint32]
Bits: TypeAlias = npt.NDArray[np.bool_]

_FACTOR: Final = np.uint32(0x9E3779B1)
"""2³² divided by the golden ratio. Source: Knuth, The Art of Computer Programming, volume 3, section 6.4."""
_LOWER: Final = np.frombuffer(bytes(range(256)).lower(), dtype=np.uint8)
_TELLS, _ENDS = 0x01, 0x80
_ROLES: Final = np.array(
    [_ENDS if byte == SEPARATOR[0] else 0 if byte in b"0123456789abcdefABCDEF+-." else _TELLS for byte in range(256)],
    dtype=np.uint8,
)
_ANY_TELLS: Final = np.uint32(0x01010101 * _TELLS)
_ANY_ENDS: Final = np.uint32(0x01010101 * _ENDS)
_FOLDED: Final = {"\u017f".encode(): b"s", "\u212a".encode(): b"k"}
"""The characters beyond ASCII that fold to a letter of ASCII. Source: Unicode, CaseFolding.txt."""
_ALWAYS: Final = b"true\nfalse\n"
"""Truth values have no text of their own in a segment."""


def hashes_of(data: bytes) -> Hashes:
    r"""The hashes of the grams that some texts, separated by ``SEPARATOR``, have; in no order, some of them twice.

    >>> len(hashes_of(b"whoami")), len(hashes_of(b"4dc0-11ed")), len(hashes_of(b"who\nami"))
    (3, 0, 0)
    """
    for folded, plain in _FOLDED.items():
        if folded in data:
            data = data.replace(folded, plain)
    raw = np.frombuffer(data, dtype=np.uint8)
    lower, roles = _LOWER[raw], _ROLES[raw]
    found: list[Hashes] = []
    for start in range(GRAM_BYTES):
        end = start + (len(raw) - start) // GRAM_BYTES * GRAM_BYTES
        if end > start:
            role = roles[start:end].view(np.uint32)
            kept = (role & _ANY_TELLS != 0) & (role & _ANY_ENDS == 0)
            found.append(lower[start:end].view(np.uint32)[kept] * _FACTOR)
    return np.concatenate(found) if found else np.zeros(0, dtype=np.uint32)


def hashes_asked(pieces: Iterable[str]) -> Hashes:
    """The hashes of the grams without which no text has all of some pieces, whatever their case.

    Of a piece only those parts count that have one spelling but for the case of ASCII letters. Empty: any may.

    >>> len(hashes_asked(["WhoAmI"])), len(hashes_asked(["abc", "é"])), len(hashes_asked(["密码"]))
    (3, 0, 3)
    """
    parts = [piece if piece.isascii() else "".join(map(_if_spelled_one_way, piece)) for piece in pieces]
    return np.unique(hashes_of(SEPARATOR.join(part.encode() for part in parts)))


def _if_spelled_one_way(character: str) -> str:
    # Of ASCII, or Chinese, Japanese, Korean: these have no case.
    is_so = character.isascii() or "\u2e80" <= character <= "\u9fff" or "\uac00" <= character <= "\ud7a3"
    return character if is_so else "\n"


class Grams:
    """A bitmap of the grams of texts."""

    def __init__(self) -> None:
        """One of the largest size, of no texts."""
        self._octets: npt.NDArray[np.uint8] = np.zeros(1 << (BITS_MAX - 3), dtype=np.uint8)
        self.add(_ALWAYS)

    @property
    def _shift(self) -> np.uint32:
        return np.uint32(32 - int(math.log2(8 * len(self._octets))))

    def add(self, texts: bytes) -> None:
        """Take texts in, separated by ``SEPARATOR``."""
        bits = np.zeros(8 * len(self._octets), dtype=np.bool_)
        bits[hashes_of(texts) >> self._shift] = True
        self._octets = self._octets | np.packbits(bits)

    def have(self, hashes: Hashes) -> Bits:
        """For each gram whether a text may have it."""
        places = hashes >> self._shift
        return (self._octets[places >> 3] << (places & 7).astype(np.uint8)) & 0x80 != 0

    def share_set(self) -> float:
        """Which share of the bits is set."""
        return int(np.bitwise_count(self._octets).sum()) / (8 * len(self._octets))

    def shrink(self) -> None:
        """Become as small as is sensible. What is added later goes into a bitmap of that size."""
        while len(self._octets) > 1 << (BITS_MIN - 3) and self.share_set() < FILLED_MIN:
            # Grams are placed by the upper bits of their hashes: neighbours fall together.
            bits = np.unpackbits(self._octets)
            self._octets = np.packbits(bits[::2] | bits[1::2])

    def to_bytes(self) -> bytes:
        """What ``from_bytes`` makes the same bitmap of."""
        return self._octets.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Grams:
        """Make a bitmap of what ``to_bytes`` gave."""
        made = cls.__new__(cls)
        made._octets = np.frombuffer(data, dtype=np.uint8)
        return made


def joined(hashes: Sequence[Hashes]) -> tuple[Hashes, npt.NDArray[np.intp]]:
    """Several sets of grams, none of them empty, one behind the other, and where each begins."""
    starts = np.cumsum([0, *map(len, hashes)])[:-1]
    return (np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint32)), starts.astype(np.intp)

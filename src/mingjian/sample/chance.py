"""Numbers that look like chance and are a pure function of a seed and a name.

Every organisation, day, host and campaign has a stream of its own, so that any part of the sector can be made without
the others. Only ``random()`` and ``getrandbits()`` are used: these give the same numbers in every version of Python.
"""

from __future__ import annotations

import base64
import hashlib
import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T")
Whole: TypeAlias = "NDArray[np.int64]"
"""Many whole numbers."""


class Chance:
    """One stream of numbers.

    >>> Chance(7, "a").below(1000) == Chance(7, "a").below(1000) != Chance(7, "b").below(1000)
    True
    """

    __slots__ = ("bits", "random")

    def __init__(self, *names: int | str) -> None:
        digest = hashlib.blake2b("\0".join(map(str, names)).encode(), digest_size=16).digest()
        generator = Random(int.from_bytes(digest, "big"))  # noqa: S311 - repeatable on purpose; nothing secret hangs on it
        self.random = generator.random
        """A number from 0 up to 1."""
        self.bits = generator.getrandbits

    def below(self, bound: int) -> int:
        """A whole number from 0 up to a bound."""
        return int(self.random() * bound)

    def between(self, low: int, high: int) -> int:
        """A whole number from ``low`` up to, not including, ``high``."""
        return low + int(self.random() * (high - low))

    def pick(self, items: Sequence[_T]) -> _T:
        """One of several, each as likely as any other."""
        return items[int(self.random() * len(items))]

    def share(self, probability: float) -> bool:
        """Whether something happens that happens this often."""
        return self.random() < probability

    def wait(self, mean: float) -> float:
        """The time until the next of events that come on their own (exponential)."""
        return -math.log(1.0 - self.random()) * mean

    def about(self, mean: float, spread: float) -> float:
        """A number near the mean: the sum of four, which is normal enough and never far off (two spreads at most)."""
        random = self.random
        return mean + (random() + random() + random() + random() - 2.0) * spread

    def size(self, median: float, factor: float = 3.0) -> int:
        """A size in bytes: mostly near the median, sometimes many times as much (log-normal in shape), at least 1."""
        random = self.random
        return int(median * factor ** ((random() + random() + random() - 1.5) * 2.0)) + 1

    def hexes(self, digits: int) -> str:
        """So many hexadecimal digits."""
        return f"{self.bits(4 * digits):0{digits}x}"

    def guid(self) -> str:
        """A GUID in lower case, without braces."""
        text = f"{self.bits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def letters(self) -> str:
        """Sixteen letters and digits in any case, as connection identifiers have them."""
        return base64.b64encode(self.bits(96).to_bytes(12, "big"), b"Qz").decode("ascii")


class Weighted:
    """Places of a list, some more likely than others."""

    __slots__ = ("_sums",)

    def __init__(self, weights: Sequence[float]) -> None:
        self._sums = list(accumulate(weights))

    def index(self, chance: Chance) -> int:
        """The place of the one that it is this time."""
        return bisect_right(self._sums, chance.random() * self._sums[-1])


def popularity(count: int, exponent: float = 0.9) -> Weighted:
    """Places of which the first are by far the most used (Zipf)."""
    return Weighted([1.0 / (rank + 1) ** exponent for rank in range(count)])


class Numbers:
    """Many numbers at once, from the same kind of seed.

    Only the raw 64-bit output of PCG64 is used, which NumPy promises to keep, and whole-number arithmetic on it.

    >>> Numbers(7, "a").below(3, 10).tolist() == Numbers(7, "a").below(3, 10).tolist()
    True
    """

    __slots__ = ("_raw",)

    def __init__(self, *names: int | str) -> None:
        digest = hashlib.blake2b("\0".join(map(str, names)).encode(), digest_size=16).digest()
        self._raw = np.random.PCG64(int.from_bytes(digest, "big")).random_raw

    def below(self, count: int, bound: int) -> Whole:
        """So many whole numbers from 0 up to a bound, which is at most 2³¹."""
        raw = np.asarray(self._raw(count), dtype=np.uint64)
        return (((raw >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)

    def between(self, count: int, low: int, high: int) -> Whole:
        """So many whole numbers from ``low`` up to, not including, ``high``."""
        return self.below(count, high - low) + low

    def places(self, count: int, sums: Whole) -> Whole:
        """So many places of a list, by the running sums of their weights (whole numbers)."""
        return np.searchsorted(sums, self.below(count, int(sums[-1])), side="right").astype(np.int64)

    def moments(self, count: int, from_us: int, lasts_us: int) -> Whole:
        """So many moments of a time in which things happen on their own, in order."""
        return np.sort(self.below(count, lasts_us)) + from_us

    def letters(self, count: int) -> list[str]:
        """So many texts of sixteen letters and digits in any case, as connection identifiers have them."""
        raw = np.asarray(self._raw((count * 12 + 7) // 8), dtype="<u8").tobytes()[: count * 12]
        text = base64.b64encode(raw, b"Qz").decode("ascii")
        return [text[place : place + 16] for place in range(0, len(text), 16)]


def running(weights: Sequence[int]) -> Whole:
    """Running sums of weights, for ``Numbers.places``."""
    return np.cumsum(np.asarray(weights, dtype=np.int64))


def listed(numbers: Whole) -> list[int]:
    """The numbers as a list."""
    return cast("list[int]", numbers.tolist())

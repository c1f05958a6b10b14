"""Columns that grow, numbers for keys, and sorted sets: what counting goes by that is never begun anew. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mingjian.situations.grouping import Ints

if TYPE_CHECKING:
    import numpy.typing as npt

SPACE_MIN: Final = 1024


class Growing:
    """A column to which values can be added; room is made for twice as many whenever there is too little."""

    def __init__(self, kind: npt.DTypeLike) -> None:
        """``kind``: what it is a column of."""
        self._space: npt.NDArray[Any] = np.zeros(SPACE_MIN, kind)
        self._size = 0

    @property
    def all(self) -> npt.NDArray[Any]:
        """All values. They may be changed, until some are added."""
        return self._space[: self._size]

    def add(self, values: npt.NDArray[Any]) -> None:
        """Append values."""
        start = self._size
        self.widen(start + len(values))
        self._space[start : self._size] = values

    def widen(self, size: int, value: object = 0) -> None:
        """Append a value as often as it takes to have so many."""
        if size > len(self._space):
            space = np.zeros(max(size, 2 * len(self._space)), self._space.dtype)
            space[: self._size] = self.all
            self._space = space
        if size > self._size:
            self._space[self._size : size] = value
            self._size = size


class Codes:
    """Small numbers for keys, in the order in which these came; the key 0 has the number 0.

    >>> codes = Codes()
    >>> codes.add(np.array([7, 5, 7])).tolist(), codes.of([5, 0]).tolist(), codes.keys.tolist()
    ([2, 1, 2], [1, 0], [0, 5, 7])
    """

    def __init__(self) -> None:
        """Only 0 is known."""
        self._keys = Growing(np.int64)
        self._keys.widen(1)
        self._sorted = np.zeros(1, np.int64)
        self._places = np.zeros(1, np.int32)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._keys.all)

    @property
    def keys(self) -> Ints:
        """The key of each number."""
        return self._keys.all

    def add(self, keys: Ints) -> npt.NDArray[np.int32]:
        """The numbers of keys; one that is new gets the next number."""
        some, at = np.unique(keys, return_inverse=True)
        place = np.searchsorted(self._sorted, some)
        is_new = self._sorted[np.minimum(place, len(self._sorted) - 1)] != some
        numbers = np.arange(len(self), len(self) + int(is_new.sum()), dtype=np.int32)
        self._places = np.insert(self._places, place[is_new], numbers)
        self._sorted = np.insert(self._sorted, place[is_new], some[is_new])
        self._keys.add(some[is_new])
        return self._places[np.searchsorted(self._sorted, some)][at]

    def of(self, keys: Ints | Sequence[int]) -> npt.NDArray[np.int32]:
        """The numbers of keys that are known; 0 for one that is not."""
        wanted = np.asarray(keys, np.int64)
        place = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return np.where(self._sorted[place] == wanted, self._places[place], 0)


def merged(known: Ints, values: Ints) -> tuple[Ints, Ints]:
    """A sorted set with more in it, and what of that is new, sorted.

    >>> [each.tolist() for each in merged(np.array([2, 5]), np.array([5, 3, 3]))]
    [[2, 3, 5], [3]]
    """
    values = np.unique(values)
    if not len(known):
        return values, values
    place = np.searchsorted(known, values)
    fresh = known[np.minimum(place, len(known) - 1)] != values
    return np.insert(known, place[fresh], values[fresh]), values[fresh]


def spans(starts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """The places in several stretches, one after another, and of each the number of its stretch.

    >>> [each.tolist() for each in spans(np.array([10, 4]), np.array([2, 1]))]
    [[10, 11, 4], [0, 0, 1]]
    """
    owners = np.repeat(np.arange(len(counts)), counts)
    return np.arange(len(owners)) + np.repeat(starts - (np.cumsum(counts) - counts), counts), owners


def different(groups: Ints, values: Ints, size: int) -> Ints:
    """How many different values (small numbers; 0 is none) each group has.

    >>> different(np.array([0, 0, 0, 2]), np.array([4, 4, 0, 9]), 3).tolist()
    [1, 0, 1]
    """
    pairs = np.unique((groups << 32 | values)[values != 0])
    return np.bincount(pairs >> 32, minlength=size)

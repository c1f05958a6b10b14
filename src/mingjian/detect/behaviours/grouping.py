"""Sorting and counting by groups over whole columns: what every behaviour is computed with.

Whole-number keys only; texts become numbers in the order of the texts (``texts_of``), so that nothing depends on the
order in which rows come. Ten million rows take about a second for each key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints: TypeAlias = "npt.NDArray[np.int64]"
Floats: TypeAlias = "npt.NDArray[np.floating]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"
Array: TypeAlias = "pa.Array[Any]"

MS: Final = 1_000
"""Microseconds."""
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY

_BITS: Final = 63
_TABLE_MAX: Final = 1 << 24
"""Numbers below this are looked up in a table instead of being sorted."""


class Texts(NamedTuple):
    """A column of texts as numbers."""

    codes: Ints
    values: list[str]
    """In their order: a smaller code is a smaller text. Some may not occur."""

    def at(self, row: int) -> str:
        """The text of a row."""
        return self.values[int(self.codes[row])]

    def text(self, code: np.integer[Any] | int) -> str:
        """The text of a code."""
        return self.values[int(code)]


def texts_of(column: pa.ChunkedArray[Any]) -> Texts:
    """Number the texts of a column; null is the empty text."""
    whole = _one_dictionary(column)
    values = cast("Array", whole.dictionary.cast(pa.large_string()))
    indices = cast("Array", whole.indices.cast(pa.int64()))
    places = indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    texts = [text or "" for text in cast("list[str | None]", values.to_pylist())]
    distinct = sorted({*texts, ""})
    number = {text: code for code, text in enumerate(distinct)}
    codes = np.array([number[text] for text in (*texts, "")], np.int64)
    return Texts(codes[places], distinct)


def _one_dictionary(column: pa.ChunkedArray[Any]) -> pa.DictionaryArray[Any, Any]:
    encode = cast("Any", pc).dictionary_encode
    if not pa.types.is_dictionary(column.type):
        column = encode(column)
    if column.num_chunks == 0:
        return cast("pa.DictionaryArray[Any, Any]", encode(pa.array([], pa.string())))
    return cast("pa.DictionaryArray[Any, Any]", column.unify_dictionaries().combine_chunks())


def numbers_of(column: pa.ChunkedArray[Any], missing: int = 0) -> Ints:
    """A column of whole numbers; ``missing`` stands for null."""
    filled = column.cast(pa.int64()).fill_null(pa.scalar(missing)) if column.null_count else column.cast(pa.int64())
    return cast("Ints", filled.to_numpy())


def flags_of(column: pa.ChunkedArray[Any]) -> Mask:
    """A column of truth values; null is false."""
    return cast("Mask", column.fill_null(pa.scalar(value=False)).to_numpy())


def order_by(*keys: Ints) -> Ints:
    """The rows in rising order of the keys, the first key foremost; rows alike in all of them keep their order.

    Each pass packs as much of the keys as there is room for and the row into one number: sorting numbers is much
    faster than arguing about rows.

    >>> order_by(np.array([2, 1, 1]), np.array([0, 9, 3])).tolist()
    [2, 1, 0]
    """
    size = len(keys[0])
    rows = np.arange(size, dtype=np.int64)
    if size < 2:
        return rows
    row_bits = size.bit_length()
    order: Ints | None = None
    for piece in _pieces(keys, _BITS - row_bits):
        packed = piece if order is None else piece[order]
        if (packed[1:] >= packed[:-1]).all():
            continue
        packed = (packed << row_bits) | rows
        packed.sort()
        packed &= (1 << row_bits) - 1
        order = packed if order is None else order[packed]
    return rows if order is None else order


def _pieces(keys: Sequence[Ints], width: int) -> Iterator[Ints]:
    """Whole numbers of so many bits that, compared from the last to the first, compare as the keys do."""
    piece: Ints | None = None
    filled = 0
    for key in reversed(keys):
        low = int(key.min())
        bits = (int(key.max()) - low).bit_length()
        if not bits:
            continue
        from_zero = key - low if low else key
        if filled + bits <= width and piece is not None:
            piece = piece | (from_zero << filled)
            filled += bits
            continue
        if piece is not None:
            yield piece
        for shift in range(0, bits - width, width):
            yield (from_zero >> shift) & ((1 << width) - 1)
        filled = (bits - 1) % width + 1
        piece = from_zero >> (bits - filled)
    if piece is not None:
        yield piece


def ranked(group: Ints, values: Ints) -> tuple[Ints, Ints]:
    """Groups and values in the order of group and value."""
    if len(group):
        low = int(values.min())
        bits = max((int(values.max()) - low).bit_length(), 1)
        if int(group.min()) >= 0 and int(group.max()).bit_length() + bits <= _BITS:
            packed = (group << bits) | (values - low)
            packed.sort()
            return packed >> bits, (packed & ((1 << bits) - 1)) + low
    order = order_by(group, values)
    return group[order], values[order]


def starts_of(*keys: Ints) -> Ints:
    """Where groups begin in columns that are sorted by these keys."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    is_new = np.ones(len(keys[0]), np.bool_)
    is_new[1:] = False
    for key in keys:
        is_new[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(is_new).astype(np.int64)


def counts_of(starts: Ints, size: int) -> Ints:
    """How many rows the groups have that begin there."""
    return np.diff(starts, append=size)


def spread_over(counts: Ints) -> Ints:
    """For every row the number of its group."""
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def summed(values: Ints, starts: Ints) -> Ints:
    """The sum of each group."""
    return cast("Ints", np.add.reduceat(values, starts)) if len(starts) else np.zeros(0, np.int64)


def smallest(values: Ints, starts: Ints) -> Ints:
    """The smallest value of each group."""
    return cast("Ints", np.minimum.reduceat(values, starts)) if len(starts) else np.zeros(0, np.int64)


def largest(values: Ints, starts: Ints) -> Ints:
    """The largest value of each group."""
    return cast("Ints", np.maximum.reduceat(values, starts)) if len(starts) else np.zeros(0, np.int64)


def numbered(*keys: Ints) -> Ints:
    """One number for each combination of keys, rising with them from 0.

    >>> numbered(np.array([5, 5, 1]), np.array([1, 0, 7])).tolist()
    [2, 1, 0]
    """
    size = len(keys[0])
    if not size:
        return np.zeros(0, np.int64)
    parts = list(_pieces(keys, _BITS))
    if len(parts) < 2:
        packed = parts[0] if parts else np.zeros(size, np.int64)
        if int(packed.max()) < _TABLE_MAX:
            is_there = np.zeros(int(packed.max()) + 1, np.bool_)
            is_there[packed] = True
            return (np.cumsum(is_there, dtype=np.int64) - 1)[packed]
    order = order_by(*reversed(parts))
    starts = starts_of(*(part[order] for part in parts))
    found = np.empty(size, np.int64)
    found[order] = spread_over(counts_of(starts, size))
    return found


def one_of_each(number: Ints) -> Ints:
    """For each number (from 0, without gaps) a row that has it."""
    found = np.zeros(int(number.max()) + 1 if len(number) else 0, np.int64)
    found[number[::-1]] = np.arange(len(number) - 1, -1, -1)
    return found


def distinct_counts(group: Ints, value: Ints, groups: int) -> Ints:
    """How many distinct values each group has."""
    return np.bincount(group[one_of_each(numbered(group, value))], minlength=groups).astype(np.int64)


def quantiles(sorted_values: Floats | Ints, starts: Ints, counts: Ints, share: float) -> Floats:
    """A quantile of each group, whose values are sorted; between two values by their distance.

    >>> quantiles(np.array([1, 2, 9]), np.array([0]), np.array([3]), 0.5).tolist()
    [2.0]
    """
    place = starts + (counts - 1) * share
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, starts + counts - 1)
    below = sorted_values[low].astype(np.float64)
    return below + (sorted_values[high] - below) * (place - low)


def medians(group: Ints, values: Ints, groups: int) -> Floats:
    """The median of each group, whatever the order of rows; not a number for a group without rows."""
    found = np.full(groups, np.nan)
    if len(group):
        group, values = ranked(group, values)
        starts = starts_of(group)
        found[group[starts]] = quantiles(values, starts, counts_of(starts, len(group)), 0.5)
    return found


def median_deviations(group: Ints, values: Ints, middle: Floats) -> Floats:
    """The median distance of each group's values from a middle, in whole numbers; 0 for a group without rows."""
    off = np.abs(np.rint(values - np.nan_to_num(middle)[group])).astype(np.int64)
    return np.nan_to_num(medians(group, off, len(middle)))


class Moments:
    """Rows of some keys in the order of time, for the question how many of a key lie between two times.

    Times are compared in milliseconds: that leaves room for keys in one number.
    """

    def __init__(self, key: Ints, time_us: Ints) -> None:
        """Take whole-number keys from 0, and the times of the rows."""
        self._low_ms = int(time_us.min()) // MS if len(time_us) else 0
        span_ms = (int(time_us.max()) // MS - self._low_ms) if len(time_us) else 0
        self._shift = max((span_ms + 2).bit_length(), 1)
        packed = self._packed(key, time_us)
        self.order: Ints = order_by(packed)
        """The rows in the order of key and time."""
        self._sorted = packed[self.order]

    def _packed(self, key: Ints, time_us: Ints) -> Ints:
        return (key << self._shift) | np.clip(time_us // MS - self._low_ms + 1, 0, (1 << self._shift) - 1)

    def between(self, key: Ints, from_us: Ints, until_us: Ints) -> tuple[Ints, Ints]:
        """Where in ``order`` the rows of a key from one time up to another (both included) begin and end."""
        start = np.searchsorted(self._sorted, self._packed(key, from_us), side="left")
        end = np.searchsorted(self._sorted, self._packed(key, until_us), side="right")
        return start.astype(np.int64), np.maximum(start, end).astype(np.int64)

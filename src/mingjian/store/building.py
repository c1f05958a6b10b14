"""The columns of a segment while it grows: batches of records go in, Arrow columns come out.

A text is looked at once per segment: each column keeps the texts that it has seen and, for the rows, their codes. A
column in which most texts are new every time gives that up and keeps the texts themselves.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingjian.model.values import EMPTY, MISSING, Empty, Missing, Value
from mingjian.store.arrow import Array, Codes, Mask, Places, Texts, picked, picked_texts
from mingjian.store.cells import CODE_OF_KIND, KIND_OF_TYPE, is_encodable, text_cell
from mingjian.store.columns import KeyPath, Values

PLAIN_DISTINCT_MIN: Final = 4096
"""A column is kept as texts, not as codes, once it has so many different ones …"""
PLAIN_SHARE_MIN: Final = 0.6
"""… and they are at least this share of all its texts."""
PLAIN_ROWS_MIN: Final = 128
"""What another segment has no dictionary for is taken as it is from so many rows on: fewer never have one."""

Kinds: TypeAlias = npt.NDArray[np.uint8]
Order: TypeAlias = "Places | None"
"""Which row comes at each place; None if they stay where they are."""

_ABSENT_TYPES: Final = frozenset({type(None), Missing, Empty})
_TEXT_TYPES: Final = _ABSENT_TYPES | {str}
_INT_TYPES: Final = _ABSENT_TYPES | {int}
_NUMBER_TYPES: Final = _INT_TYPES | {float}
_BOOL_TYPES: Final = _ABSENT_TYPES | {bool}
_CODE_OF_TYPE: Final = {type_: CODE_OF_KIND[kind] for type_, kind in KIND_OF_TYPE.items()}
_EXACT_IN_FLOAT_MAX: Final = 2**53


class PlainPiece(NamedTuple):
    """Texts themselves."""

    start: int
    texts: Array


class NumberPiece(NamedTuple):
    """Whole numbers, floats or truth values, as the type of the array says."""

    start: int
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64] | npt.NDArray[np.bool_]
    mask: Mask | None


class _CodeBook(dict[object, int]):
    """Texts and their codes. A text that is asked for the first time gets the next one."""

    def __init__(self) -> None:
        super().__init__({None: -1, MISSING: -1, EMPTY: -1})
        self.texts: list[str] = []

    def __missing__(self, text: str) -> int:
        code = self[text] = len(self.texts)
        self.texts.append(text)
        return code


class Column:
    """One column of a growing segment."""

    def __init__(self, path: KeyPath) -> None:
        self.path = path
        self.is_empty = True
        self._book = _CodeBook()
        self._codes = array("i")
        """Of the rows up to some row; −1 where there is no text. Rows behind that have none."""
        self._plain: list[PlainPiece] = []
        self._plain_rows = 0
        self._numbers: list[NumberPiece] = []
        self._odd: set[object] = set()
        """Texts with lone surrogates: their cells are tagged."""
        self._texts = 0
        self._distinct_bytes = 0
        self._is_plain = False

    def add(self, start: int, values: Values, types: set[type]) -> int | Kinds:
        """Take the values of some rows; give the code of their kind, or of the kind of each."""
        if types <= _ABSENT_TYPES:
            return _kinds_by_type(values, types)
        self.is_empty = False
        if types <= _TEXT_TYPES:
            return self._add_texts(start, values, types)
        if types <= _NUMBER_TYPES:
            piece = _numbers(start, values, types)
            if piece is not None:
                self._numbers.append(piece)
                return _kinds_by_type(values, types)
        if types <= _BOOL_TYPES:
            filled = [value is True for value in values]
            self._numbers.append(NumberPiece(start, np.array(filled, dtype=np.bool_), _mask(values, types)))
            return _kinds_by_type(values, types)
        cells = [text_cell(value) for value in values]
        self.add_cells(start, [cell for _, cell in cells])
        return np.array([CODE_OF_KIND[kind] for kind, _ in cells], dtype=np.uint8)

    def add_cells(self, start: int, cells: Sequence[str | None]) -> None:
        """Take cells as they are."""
        self.is_empty = False
        self._learn(start, cells)

    def add_coded(self, start: int, texts: Sequence[str], codes: Codes) -> None:
        """Take cells of another segment: its texts, and which of them each row has (−1: none)."""
        self.is_empty = False
        new = np.array([*map(self._book.__getitem__, texts), -1], dtype=np.int32)
        self._pad(start)
        self._codes.frombytes(new[codes].tobytes())
        self._texts += len(codes)
        self._distinct_bytes += sum(map(len, texts))
        self._decide()

    def add_plain(self, start: int, texts: Array) -> None:
        """Take cells of another segment that has no dictionary for them, as most of them differ."""
        self.is_empty = False
        self._plain.append(PlainPiece(start, texts))
        self._plain_rows += len(texts)

    def add_numbers(self, piece: NumberPiece) -> None:
        """Take numbers or truth values of another segment."""
        self.is_empty = False
        self._numbers.append(piece)

    def _pad(self, start: int) -> None:
        if len(self._codes) < start:
            self._codes.extend(_NO_CODE * (start - len(self._codes)))

    def _add_texts(self, start: int, values: Values, types: set[type]) -> int | Kinds:
        if self._is_plain and self._add_as_plain(start, values):
            return _kinds_by_type(values, types)
        self._learn(start, values)
        kinds = _kinds_by_type(values, types)
        if not self._odd:
            return kinds
        each = np.full(len(values), kinds, dtype=np.uint8) if isinstance(kinds, int) else kinds
        each[[place for place, value in enumerate(values) if value in self._odd]] = CODE_OF_KIND["t"]
        return each

    def _add_as_plain(self, start: int, values: Values) -> bool:
        texts = [value if type(value) is str else None for value in values]
        try:
            self._plain.append(PlainPiece(start, pa.array(texts, pa.string())))
        except UnicodeEncodeError:
            return False
        return True

    def _learn(self, start: int, values: Sequence[object]) -> None:
        """Add the codes of texts; those that are new get one."""
        book = self._book
        known = len(book.texts)
        self._pad(start)
        first, count = values[0], len(values)
        if first == values[-1] and values.count(first) == count:
            self._codes.extend(array("i", (book[first],)) * count)
        else:
            self._codes.extend(map(book.__getitem__, values))
        self._texts += count
        if len(book.texts) > known:
            new = book.texts[known:]
            self._distinct_bytes += sum(map(len, new))
            if not is_encodable("".join(new)):
                self._tag(known)
            self._decide()

    def _decide(self) -> None:
        self._is_plain = len(self._book.texts) > max(PLAIN_DISTINCT_MIN, PLAIN_SHARE_MIN * self._texts)

    def _tag(self, known: int) -> None:
        """Replace the texts from this code on that are no Unicode by tagged cells."""
        for code in range(known, len(self._book.texts)):
            text = self._book.texts[code]
            if not is_encodable(text):
                self._odd.add(text)
                self._book.texts[code] = cast("str", text_cell(text)[1])

    def size_bytes(self) -> int:
        """About how much memory this takes."""
        size = self._distinct_bytes + 120 * len(self._book) + 4 * len(self._codes)
        # Most columns have no pieces, and this is asked of thousands of columns again and again.
        if self._numbers:
            size += sum(piece.values.nbytes for piece in self._numbers)
        if self._plain:
            size += sum(piece.texts.nbytes for piece in self._plain)
        return size

    def finished(self, count: int, order: Order) -> Finished:
        """The whole column in its final order, as texts with codes, texts, or numbers. It is used up by that."""
        if self._numbers and not self._codes and not self._plain:
            joined = _joined_numbers(self._numbers, count, order)
            if joined is not None:
                return joined
        for start, values, mask in self._numbers:
            self._put(start, _number_cells(values, mask), count)
        self._pad(count)
        if self._is_plain or self._plain_rows >= PLAIN_SHARE_MIN * count:
            return Finished(None, (), self._joined_texts(count, order))
        for start, texts in self._plain:
            self._put(start, cast("list[str | None]", texts.to_pylist()), count)
        codes = np.frombuffer(self._codes, dtype=np.int32)
        return Finished(codes if order is None else codes[order], Texts(self._book.texts), None)

    def _put(self, start: int, cells: Sequence[str | None], count: int) -> None:
        """Put cells where none are yet, whatever comes behind them."""
        self._pad(count)
        self._codes[start : start + len(cells)] = array("i", map(self._book.__getitem__, cells))

    def _joined_texts(self, count: int, order: Order) -> Array:
        codes = np.frombuffer(self._codes, dtype=np.int32)
        parts: list[Array] = []
        end = 0
        for start, texts in [*self._plain, PlainPiece(count, pa.array([], pa.string()))]:
            if start > end:
                parts.append(picked_texts(self._book.texts, codes[end:start]))
            parts.append(texts)
            end = start + len(texts)
        joined = pa.concat_arrays(parts)
        # They may be most of all memory that there is: what is put in order now is there twice, and not three times.
        parts.clear()
        self._plain.clear()
        return joined if order is None else picked(joined, order)


_NO_CODE: Final = array("i", (-1,))


class Finished(NamedTuple):
    """A finished column: codes with their texts, or an array of numbers or of the texts themselves."""

    codes: Codes | None
    distinct: Sequence[str]
    values: Array | None

    def of_rows(self, rows: Places | slice) -> Finished:
        """The same column for some rows, with only those texts that are in it."""
        if self.codes is None:
            assert self.values is not None
            if isinstance(rows, slice):
                return self._replace(values=self.values[rows])
            return self._replace(values=picked(self.values, rows))
        codes = self.codes[rows]
        present = np.zeros(len(self.distinct) + 1, dtype=np.bool_)
        present[codes] = True  # a missing text (−1) marks the last place
        renumbered = np.cumsum(present, dtype=np.int32) - 1
        texts = [self.distinct[place] for place in np.flatnonzero(present[:-1]).tolist()]
        return Finished(np.where(codes < 0, np.int32(-1), renumbered[codes]), Texts(texts), None)

    def plainly(self, rows: Places | slice) -> Finished:
        """The same column for some rows, as an array: for few of them to number their texts anew takes longer."""
        if self.codes is None:
            return self.of_rows(rows)
        return Finished(None, (), picked_texts(self.distinct, self.codes[rows]))


def _kinds_by_type(values: Values, types: set[type]) -> int | Kinds:
    if len(types) == 1:
        return _CODE_OF_TYPE[next(iter(types))]
    return np.array(list(map(_CODE_OF_TYPE.__getitem__, map(type, values))), dtype=np.uint8)


def _mask(values: Values, types: set[type]) -> Mask | None:
    if types.isdisjoint(_ABSENT_TYPES):
        return None
    return np.array([type(value) in _ABSENT_TYPES for value in values], dtype=np.bool_)


def _numbers(start: int, values: Values, types: set[type]) -> NumberPiece | None:
    """Numbers as an array; None if it would not hold each of them exactly."""
    mask = _mask(values, types)
    filled = cast(
        "list[int | float]", values if mask is None else [0 if m else v for v, m in zip(values, mask, strict=True)]
    )
    if float not in types:
        try:
            return NumberPiece(start, np.array(filled, dtype=np.int64), mask)
        except OverflowError:
            return None
    if int in types and any(type(v) is int and abs(v) > _EXACT_IN_FLOAT_MAX for v in filled):
        return None
    return NumberPiece(start, np.array(filled, dtype=np.float64), mask)


def _joined_numbers(pieces: list[NumberPiece], count: int, order: Order) -> Finished | None:
    """Number pieces as one column; None if no type holds all of them exactly."""
    types = {piece.values.dtype for piece in pieces}
    if len(types) > 1:
        if np.dtype(np.bool_) in types:
            return None
        whole = [piece.values for piece in pieces if piece.values.dtype == np.int64]
        if any(len(v) and max(-int(v.min()), int(v.max())) > _EXACT_IN_FLOAT_MAX for v in whole):
            return None
    target = np.dtype(np.float64) if len(types) > 1 else types.pop()
    values = np.zeros(count, dtype=target)
    mask = np.ones(count, dtype=np.bool_)
    for start, part, part_mask in pieces:
        values[start : start + len(part)] = part
        mask[start : start + len(part)] = False if part_mask is None else part_mask
    if order is not None:
        values, mask = values[order], mask[order]
    return Finished(None, (), pa.array(values, mask=mask))


def _number_cells(values: npt.NDArray[np.generic], mask: Mask | None) -> list[str | None]:
    """The cells of numbers in a column that has to be one of texts."""
    cells = [text_cell(cast("Value", value))[1] for value in values.tolist()]
    return cells if mask is None else [None if m else cell for cell, m in zip(cells, mask, strict=True)]

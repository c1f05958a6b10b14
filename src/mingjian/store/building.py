"""The columns of a segment while it grows: batches of records go in, Arrow columns come out.

A text is looked at once per segment: each column keeps the texts that it has seen and, for the rows, their codes. A
column in which most texts are new every time gives that up and keeps the texts themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingjian.model.values import EMPTY, MISSING, Empty, Missing, Value
from mingjian.store.cells import CODE_OF_KIND, KIND_OF_TYPE, KINDS, is_encodable, text_cell
from mingjian.store.columns import KeyPath, Values

PLAIN_DISTINCT_MIN: Final = 4096
"""A column is kept as texts, not as codes, once it has so many different ones …"""
PLAIN_SHARE_MIN: Final = 0.6
"""… and they are at least this share of all its texts."""

Ints: TypeAlias = npt.NDArray[np.int64]
Codes: TypeAlias = npt.NDArray[np.int32]
Kinds: TypeAlias = npt.NDArray[np.uint8]
Mask: TypeAlias = npt.NDArray[np.bool_]
"""True where there is no cell."""

_ABSENT_TYPES: Final = frozenset({type(None), Missing, Empty})
_TEXT_TYPES: Final = _ABSENT_TYPES | {str}
_INT_TYPES: Final = _ABSENT_TYPES | {int}
_NUMBER_TYPES: Final = _INT_TYPES | {float}
_BOOL_TYPES: Final = _ABSENT_TYPES | {bool}
_CODE_OF_TYPE: Final = {type_: CODE_OF_KIND[kind] for type_, kind in KIND_OF_TYPE.items()}
_INT64_MAX: Final = 2**63
_EXACT_IN_FLOAT_MAX: Final = 2**53


class TextPiece(NamedTuple):
    """Codes of texts; −1 where there is none."""

    start: int
    codes: Codes


class PlainPiece(NamedTuple):
    """Texts themselves."""

    start: int
    texts: pa.StringArray


class NumberPiece(NamedTuple):
    """Whole numbers, floats or truth values, as the type of the array says."""

    start: int
    values: npt.NDArray[np.int64] | npt.NDArray[np.float64] | npt.NDArray[np.bool_]
    mask: Mask | None


Piece: TypeAlias = TextPiece | PlainPiece | NumberPiece


class Column:
    """One column of a growing segment."""

    def __init__(self, path: KeyPath) -> None:
        self.path = path
        self.pieces: list[Piece] = []
        self.distinct: list[str] = []
        """The texts, in the order of their codes."""
        self.distinct_bytes = 0
        self._known: dict[object, int] = {None: -1, MISSING: -1, EMPTY: -1}
        self._odd: set[object] = set()
        """Texts with lone surrogates: their cells are tagged."""
        self._rows = 0
        self._is_plain = False

    def add(self, start: int, values: Values, types: set[type]) -> int | Kinds:
        """Take the values of some rows; give the code of their kind, or of the kind of each."""
        self._rows += len(values)
        if types <= _ABSENT_TYPES:
            return _kinds_by_type(values, types)
        if types <= _TEXT_TYPES:
            return self._add_texts(start, values, types)
        if types <= _NUMBER_TYPES:
            piece = _numbers(start, values, types)
            if piece is not None:
                self.pieces.append(piece)
                return _kinds_by_type(values, types)
        if types <= _BOOL_TYPES:
            mask = _mask(values, types)
            filled = [value is True for value in values]
            self.pieces.append(NumberPiece(start, np.array(filled, dtype=np.bool_), mask))
            return _kinds_by_type(values, types)
        cells = [text_cell(value) for value in values]
        self.add_cells(start, [cell for _, cell in cells])
        return np.array([CODE_OF_KIND[kind] for kind, _ in cells], dtype=np.uint8)

    def add_texts(self, start: int, texts: Sequence[str], codes: Codes) -> None:
        """Take cells of another segment: its texts, and which of them each row has (−1: none)."""
        self._rows += len(codes)
        new = np.array([self._code(text) for text in texts] or [0], dtype=np.int32)
        self.pieces.append(TextPiece(start, np.where(codes < 0, np.int32(-1), new[codes])))

    def add_plain(self, start: int, texts: pa.StringArray) -> None:
        """Take the texts of another segment themselves."""
        self._rows += len(texts)
        self._is_plain = not self.distinct
        self.pieces.append(PlainPiece(start, texts))

    def add_numbers(self, piece: NumberPiece) -> None:
        """Take numbers or truth values of another segment."""
        self.pieces.append(piece)

    def _add_texts(self, start: int, values: Values, types: set[type]) -> int | Kinds:
        first = values[0]
        count = len(values)
        known = self._known
        if first == values[-1] and first in known and first not in self._odd and values.count(first) == count:
            self.pieces.append(TextPiece(start, np.full(count, known[first], dtype=np.int32)))
            return _kinds_by_type(values, types)
        if self._is_plain and self._add_as_plain(start, values):
            return _kinds_by_type(values, types)
        codes = list(map(known.get, values))
        if None in codes:
            self._learn(values)
            codes = list(map(known.__getitem__, values))
        self.pieces.append(TextPiece(start, np.array(codes, dtype=np.int32)))
        self._is_plain = len(self.distinct) > max(PLAIN_DISTINCT_MIN, PLAIN_SHARE_MIN * self._rows)
        kinds = _kinds_by_type(values, types)
        if not self._odd:
            return kinds
        each = np.full(count, kinds, dtype=np.uint8) if isinstance(kinds, int) else kinds
        each[[place for place, value in enumerate(values) if value in self._odd]] = CODE_OF_KIND["t"]
        return each

    def _add_as_plain(self, start: int, values: Values) -> bool:
        try:
            texts = [value if type(value) is str else None for value in values]
            self.pieces.append(PlainPiece(start, cast("pa.StringArray", pa.array(texts, pa.string()))))
        except UnicodeEncodeError:
            return False
        return True

    def add_cells(self, start: int, cells: Sequence[str | None]) -> None:
        """Take cells as they are."""
        codes = [-1 if cell is None else self._code(cell) for cell in cells]
        self.pieces.append(TextPiece(start, np.array(codes, dtype=np.int32)))

    def _learn(self, values: Values) -> None:
        """Give every text that is new a code."""
        known = self._known
        new = [value for value in cast("dict[str, None]", dict.fromkeys(values)) if value not in known]
        if is_encodable("".join(new)):
            first = len(self.distinct)
            self.distinct += new
            known.update(zip(new, range(first, first + len(new)), strict=True))
            self.distinct_bytes += sum(map(len, new))
            return
        for text in new:
            if is_encodable(text):
                self._code(text)
            else:
                kind, cell = text_cell(text)
                assert kind == "t" and cell is not None
                known[text] = self._code(cell)
                self._odd.add(text)

    def _code(self, cell: str) -> int:
        code = self._known.get(cell)
        if code is None:
            code = self._known[cell] = len(self.distinct)
            self.distinct.append(cell)
            self.distinct_bytes += len(cell)
        return code

    def size_bytes(self) -> int:
        """About how much memory this takes."""
        return self.distinct_bytes + 120 * len(self.distinct) + sum(_piece_bytes(piece) for piece in self.pieces)

    def finished(self, count: int, order: npt.NDArray[np.intp]) -> Finished:
        """The whole column in its final order, as texts with codes, texts, or numbers."""
        numbers = [piece for piece in self.pieces if isinstance(piece, NumberPiece)]
        if self.pieces and len(numbers) == len(self.pieces):
            joined = _joined_numbers(numbers, count, order)
            if joined is not None:
                return joined
        if self._is_plain and not numbers:
            return Finished(None, (), self._joined_texts(count, order))
        codes = np.full(count, -1, dtype=np.int32)
        for piece in self.pieces:
            match piece:
                case TextPiece(start, part):
                    codes[start : start + len(part)] = part
                case PlainPiece(start, texts):
                    encoded = texts.dictionary_encode()
                    part = _codes_of(encoded)
                    new = np.array([*map(self._code, encoded.dictionary.to_pylist()), -1], dtype=np.int32)
                    codes[start : start + len(part)] = new[part]
                case NumberPiece(start, values, mask):
                    cells = _number_cells(values, mask)
                    codes[start : start + len(cells)] = [-1 if cell is None else self._code(cell) for cell in cells]
        return Finished(codes[order], self.distinct, None)

    def _joined_texts(self, count: int, order: npt.NDArray[np.intp]) -> pa.Array:
        distinct = pa.array(self.distinct, pa.string())
        parts: list[pa.Array] = []
        end = 0
        for piece in self.pieces:
            if piece.start > end:
                parts.append(pa.nulls(piece.start - end, pa.string()))
            if isinstance(piece, PlainPiece):
                part = piece.texts
            else:
                assert isinstance(piece, TextPiece)
                part = distinct.take(pa.array(piece.codes, mask=piece.codes < 0))
            parts.append(part)
            end = piece.start + len(part)
        if end < count:
            parts.append(pa.nulls(count - end, pa.string()))
        joined = pa.concat_arrays(parts)
        return joined if np.array_equal(order, np.arange(count)) else joined.take(pa.array(order))


class Finished(NamedTuple):
    """A finished column: codes with their texts, or an array of numbers."""

    codes: Codes | None
    distinct: Sequence[str]
    array: pa.Array | None


def _codes_of(encoded: pa.DictionaryArray) -> Codes:
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)


def _piece_bytes(piece: Piece) -> int:
    match piece:
        case TextPiece(_, codes):
            return codes.nbytes
        case PlainPiece(_, texts):
            return texts.nbytes
        case NumberPiece(_, values, mask):
            return values.nbytes + (0 if mask is None else mask.nbytes)


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
    filled = cast("list[int | float]", values if mask is None else [0 if m else v for v, m in zip(values, mask, strict=True)])
    if float not in types:
        try:
            return NumberPiece(start, np.array(filled, dtype=np.int64), mask)
        except OverflowError:
            return None
    if int in types and any(type(v) is int and abs(v) > _EXACT_IN_FLOAT_MAX for v in filled):
        return None
    return NumberPiece(start, np.array(filled, dtype=np.float64), mask)


def _joined_numbers(pieces: list[NumberPiece], count: int, order: npt.NDArray[np.intp]) -> Finished | None:
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
    return Finished(None, (), pa.array(values[order], mask=mask[order]))


def _number_cells(values: npt.NDArray[np.generic], mask: Mask | None) -> list[str | None]:
    """The cells of numbers in a column that has to be one of texts."""
    cells = [text_cell(cast("Value", value))[1] for value in values.tolist()]
    return cells if mask is None else [None if m else cell for cell, m in zip(cells, mask, strict=True)]


assert KINDS[0] == "-", "code 0 is a field that is not there"

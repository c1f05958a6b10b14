"""Columns of texts and bytes, whole ones at a time: the few operations of Arrow that the index needs, with types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array: TypeAlias = "pa.Array[Any]"
"""Of any type. (Arrow's types are generic in one that says nothing to us.)"""
ChunkedArray: TypeAlias = "pa.ChunkedArray[Any]"
Texts: TypeAlias = pa.LargeStringArray
Bytes: TypeAlias = pa.LargeBinaryArray
Column: TypeAlias = "npt.NDArray[np.int64]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"
Part: TypeAlias = "tuple[Column, Bytes]"
"""Some rows of a column, and what is in them."""

_ZERO: Final = pa.scalar(0, pa.int64())
_SLICE_STOP: Final = 2**31 - 1
_A = TypeVar("_A", bound=Array)


class _Coded(Protocol):
    """A dictionary column. (The stubs leave its types open.)"""

    indices: Array
    dictionary: Array


def computed(function: str, *arguments: object, **options: object) -> Array:
    """Call a function of Arrow."""
    return cast("Callable[..., Array]", getattr(pc, function))(*arguments, **options)


def numbers(values: npt.NDArray[Any] | Sequence[int], mask: Mask | None = None) -> pa.Int64Array:
    """Whole numbers as a column; null where the mask is true."""
    return pa.array(values, pa.int64(), mask=mask)


def plain(column: npt.NDArray[Any]) -> list[int]:
    """The numbers as Python has them."""
    return cast("list[int]", column.tolist())


def texts(values: Sequence[str]) -> Texts:
    """Texts as a column."""
    return pa.array(values, pa.large_string())


def binaries(values: Sequence[bytes]) -> Bytes:
    """Byte strings as a column."""
    return pa.array(values, pa.large_binary())


def as_texts(column: Array) -> Texts:
    """A column as texts."""
    return cast("Texts", column.cast(pa.large_string()))


def as_binaries(column: Array) -> Bytes:
    """A column as byte strings."""
    return cast("Bytes", column.cast(pa.large_binary()))


def as_numbers(column: Array | ChunkedArray) -> Column:
    """A column of numbers without nulls."""
    return column.cast(pa.int64()).to_numpy(zero_copy_only=False)


def as_mask(column: Array | ChunkedArray) -> Mask:
    """A column of truths without nulls."""
    return np.asarray(column.to_numpy(zero_copy_only=False), bool)


def taken(column: _A, places: npt.NDArray[Any]) -> _A:
    """The rows at some places, in that order."""
    return column.take(numbers(places))


def kept(column: _A, wanted: Mask) -> _A:
    """The rows that are wanted."""
    return column.filter(pa.array(wanted))


def appended(columns: Sequence[_A]) -> _A:
    """Several columns, one behind the other."""
    return pa.concat_arrays(columns)


def lengths(column: Texts | Bytes) -> Column:
    """How many bytes each row has."""
    return as_numbers(computed("binary_length", column))


def joined(*parts: Array | bytes) -> Bytes:
    """The parts of every row, one behind the other; bytes stand in every row."""
    columns = [pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else as_binaries(part) for part in parts]
    return as_binaries(computed("binary_join_element_wise", *columns, pa.scalar(b"", pa.large_binary())))


def joined_texts(parts: Sequence[Texts], separator: str) -> Texts:
    """The parts of every row with a separator between them."""
    return as_texts(computed("binary_join_element_wise", *parts, pa.scalar(separator, pa.large_string())))


def coded(column: ChunkedArray) -> tuple[Texts, Column]:
    """The distinct texts of a column, and which of them each row has. There may be some that no row has."""
    if not pa.types.is_dictionary(column.type):
        column = cast("ChunkedArray", computed("dictionary_encode", column.cast(pa.large_string())))
    chunks = cast("list[_Coded]", column.unify_dictionaries().chunks)
    if not chunks:
        return texts([]), np.zeros(0, np.int64)
    codes = [as_numbers(computed("coalesce", chunk.indices.cast(pa.int64()), _ZERO)) for chunk in chunks]
    return as_texts(chunks[0].dictionary), np.concatenate(codes)


def pieces(column: Texts, separator: str, **options: object) -> tuple[Texts, Column]:
    """What stands between the separators: all pieces of all rows, and how many each row has."""
    lists = computed("split_pattern", column, separator, **options)
    return as_texts(computed("list_flatten", lists)), as_numbers(computed("list_value_length", lists))


def split(column: Texts, separator: str, *, last: bool = False) -> tuple[Mask, Texts, Texts]:
    """Whether the separator is in each text, and what stands before and behind its first (or last) place."""
    flat, counts = pieces(column, separator, max_splits=1, reverse=last)
    has = counts == 2
    ends = np.cumsum(counts)
    behind = taken(flat, np.where(has, ends - 1, 0) if len(flat) else ends)
    nothing = pa.scalar("", pa.large_string())
    return has, taken(flat, ends - counts), as_texts(computed("if_else", _truths(has), behind, nothing))


def turned(column: Texts, separator: str) -> Texts:
    """The pieces of every text from the last to the first; done twice it is what it was."""
    flat, counts = pieces(column, separator)
    ends = np.cumsum(counts)
    order = np.repeat(2 * ends - counts - 1, counts) - np.arange(len(flat))
    lists = listed(np.concatenate(([0], ends)), taken(flat, order))
    return as_texts(computed("binary_join", lists, pa.scalar(separator, pa.large_string())))


def listed(offsets: Column, items: Array) -> Array:
    """The column of lists whose row ``i`` has ``items[offsets[i]:offsets[i + 1]]``."""
    from_arrays = cast("Callable[..., Array]", getattr(pa.ListArray, "from_arrays"))  # noqa: B009 # types left open
    return from_arrays(pa.array(offsets, pa.int32()), items)


def _truths(mask: Mask) -> Array:
    return cast("Array", pa.array(mask))


def first_byte(column: Bytes) -> Bytes:
    """The first byte of every row; nothing of an empty one."""
    return as_binaries(computed("binary_slice", column, 0, 1))


def behind_first(column: Bytes) -> Bytes:
    """Every row without its first byte."""
    # Without a stop Arrow 26 computes a negative length here.
    return as_binaries(computed("binary_slice", column, 1, _SLICE_STOP))


def is_one_of(column: Bytes, wanted: Sequence[bytes]) -> Mask:
    """Which rows are one of some byte strings."""
    return as_mask(computed("is_in", column, value_set=binaries(wanted)))


def fixed(rows: npt.NDArray[np.uint8]) -> Bytes:
    """A matrix of bytes as a column, a row each."""
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    return from_parts(np.ascontiguousarray(rows).tobytes(), offsets)


def from_parts(data: bytes, offsets: Column) -> Bytes:
    """The column whose row ``i`` is ``data[offsets[i]:offsets[i + 1]]``."""
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, np.int64).data), pa.py_buffer(data)]
    return cast("Bytes", pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers))


def chosen(size: int, parts: Sequence[Part]) -> Bytes:
    """A column of which each part fills some rows, and all of them together every row once."""
    if not parts:
        return binaries([])
    if len(parts) == 1:
        return parts[0][1]
    place = np.empty(size, np.int64)
    place[np.concatenate([rows for rows, _ in parts])] = np.arange(size)
    return taken(appended([column for _, column in parts]), place)


def either(is_first: Mask, first: Bytes, second: Bytes) -> Bytes:
    """Row by row the one or the other."""
    return first if is_first.all() else as_binaries(computed("if_else", _truths(is_first), first, second))

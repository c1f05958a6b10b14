"""Arrow arrays as the store uses them: the few operations, with types that say what goes in and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mingjian.store.cells import Cell

Array: TypeAlias = "pa.Array[Any]"
"""Of any type. (Arrow's types are generic in one that says nothing to us.)"""
Ints: TypeAlias = npt.NDArray[np.int64]
Codes: TypeAlias = npt.NDArray[np.int32]
Places: TypeAlias = npt.NDArray[np.intp]
Mask: TypeAlias = npt.NDArray[np.bool_]
"""True where there is no cell."""


def picked(array: Array, places: Places) -> Array:
    """The cells at some places, in that order."""
    return array.take(cast("pa.Int64Array", pa.array(places)))


FEW: Final = 100
"""So few cells are picked one by one: each step in Arrow costs as much as some tens of cells in Python."""


class Texts(list[str]):
    """Texts that do not change any more. Several ask for them in Arrow; they are brought there once."""

    @cached_property
    def array(self) -> Array:
        """The same texts in Arrow."""
        return cast("Array", pa.array(self, pa.string()))


def _array(texts: Sequence[str]) -> Array:
    return texts.array if isinstance(texts, Texts) else cast("Array", pa.array(texts, pa.string()))


def picked_texts(texts: Sequence[str], codes: Codes) -> Array:
    """Texts by their codes; −1 for none."""
    if len(codes) <= FEW:
        cells = [texts[code] if code >= 0 else None for code in codes.tolist()]
        return cast("Array", pa.array(cells, pa.string()))
    return _array(texts).take(cast("pa.Int32Array", pa.array(codes, mask=codes < 0)))


def with_dictionary(texts: Sequence[str], codes: Codes) -> Array:
    """A column of texts that keeps its codes; −1 for none."""
    indices = cast("pa.Int32Array", pa.array(codes, mask=codes < 0))
    array = pa.DictionaryArray.from_arrays(indices, _array(texts))  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - the stubs leave its types open
    return cast("Array", array)


def coded(array: Array) -> tuple[Codes, list[Cell]]:
    """The distinct cells of a column, and for each row which of them it has; −1 for none."""
    codes, distinct = dictionary_of(array)
    return codes, cast("list[Cell]", distinct.to_pylist())


def dictionary_of(array: Array) -> tuple[Codes, Array]:
    """The same, with the distinct cells still in Arrow."""
    encode = pc.dictionary_encode  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - the stubs leave its types open
    encoded = cast("pa.DictionaryArray[Any, Any]", array if is_coded(array) else encode(array))
    indices = cast("Array", encoded.indices)
    codes = indices.fill_null(-1) if indices.null_count else indices
    return codes.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), cast("Array", encoded.dictionary)


def texts_of(array: Array) -> tuple[Codes, Array]:
    """The texts of a column, and for each row which of them it has. Some may be equal: they are taken as they lie."""
    if is_coded(array):
        return dictionary_of(array)
    if not array.null_count:
        return np.arange(len(array), dtype=np.int32), array
    is_there = array.is_valid().to_numpy(zero_copy_only=False)
    return np.where(is_there, np.cumsum(is_there) - 1, -1).astype(np.int32), array.drop_null()


def is_coded(array: Array) -> bool:
    """Whether a column has its dictionary with it."""
    return isinstance(array, pa.DictionaryArray)


def is_text(array: Array) -> bool:
    """Whether a column holds texts."""
    return is_coded(array) or array.type == pa.string()


def one_array(column: pa.ChunkedArray[Any]) -> Array:
    """A column that was read, in one piece."""
    return cast("Array", column.chunk(0) if column.num_chunks == 1 else column.combine_chunks())

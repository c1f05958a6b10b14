"""A segment that is finished and still in memory, as a block: what is about to be written is looked at first.

Its columns are as rules and readers of envelopes want them: every distinct text once. Nothing has to be read for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Final, cast

import numpy as np
import pyarrow as pa

from mingjian.model.values import Missing, Value
from mingjian.store.arrow import Array, Codes, Places, is_text, with_dictionary
from mingjian.store.blocks import SegmentBlock, SegmentColumns, may_be_numbers
from mingjian.store.building import Finished
from mingjian.store.cells import KINDS, Cell
from mingjian.store.searching import is_anywhere
from mingjian.store.segments import FinishedSegment
from mingjian.store.shapes import Shape

TOGETHER_ROWS_MAX: Final = 256
"""Of so few records all texts are searched together."""
_OWN: Final = ("_time", "_input", "_record", "_rest", "_raw")


class GrownSegment(SegmentColumns):
    """The columns of a finished segment."""

    def __init__(self, finished: FinishedSegment) -> None:
        self.finished = finished
        self.path = Path("(in memory)")
        self.format = finished.key.format
        self.paths = [path for path, _ in finished.fields]
        self.raw_name = None if finished.raw is None else "_raw"

    def rows_of(self, row_group: int) -> int:
        """How many records it has."""
        return len(self.finished.numbers)

    def field_place(self, place: int) -> int:
        """Native columns stand behind ours."""
        return len(_OWN) + place

    def own_place(self, name: str) -> int | None:
        """Where one of our own columns stands."""
        is_there = {"_rest": self.finished.rest is not None, "_raw": self.finished.raw is not None}
        return _OWN.index(name) if is_there.get(name, True) else None

    def read(self, row_group: int, places: Sequence[int]) -> list[Array]:
        """Its columns."""
        return [self._column(place) for place in places]

    def _column(self, place: int) -> Array:
        finished = self.finished
        if place >= len(_OWN):
            return _array(finished.fields[place - len(_OWN)][1])
        match _OWN[place]:
            case "_time":
                return finished.times
            case "_input":
                return cast("Array", pa.array(finished.inputs))
            case "_record":
                return cast("Array", pa.array(finished.numbers))
            case "_rest" if finished.rest is not None:
                return _array(finished.rest)
            case _:
                assert finished.raw is not None, "nobody asks for what is not there"
                return finished.raw


def _array(field: Finished) -> Array:
    if field.codes is None:
        assert field.values is not None, "a column has codes or values"
        return field.values
    return with_dictionary(field.distinct, field.codes)


class GrownBlock(SegmentBlock):
    """The records of a segment in memory, all or some of them."""

    def __init__(self, grown: GrownSegment, chosen: Places | None = None) -> None:
        super().__init__(grown, 0, chosen)
        self._grown = grown

    def take(self, rows: Sequence[int]) -> GrownBlock:
        """A block of the records with these indexes only."""
        places = np.asarray(rows, dtype=np.intp)
        return GrownBlock(self._grown, places if self._chosen is None else self._chosen[places])

    def prepare(self, paths: Iterable[str], own: Sequence[str] = ()) -> None:
        """Nothing: it is all here, and most of it is wanted as it is, not as columns of Arrow."""

    def everything(self, needles: Sequence[str] | None) -> Iterator[tuple[Places, list[Value | Missing]]]:
        """As of any block; of a small one that holds no needle, which most do, with one look at all of it."""
        if needles is not None and len(self) <= TOGETHER_ROWS_MAX and self._holds_none(needles):
            return iter(())
        return super().everything(needles)

    def _holds_none(self, needles: Sequence[str]) -> bool:
        fields = [field for _, field in self._grown.finished.fields]
        # In JSON, a text may be written otherwise than it is.
        is_nested = any(self.has_kind(kind, place) for kind in "jt" for place in range(len(fields)))
        if is_nested or self._has_whole or may_be_numbers(needles):
            return False
        if any(field.values is not None and is_text(field.values) for field in fields):
            return False
        return not is_anywhere(chain.from_iterable(field.distinct for field in fields), needles)

    def _read_shapes(self) -> tuple[Places, list[Shape | None]]:
        finished = self._grown.finished
        codes = finished.shape_codes.astype(np.intp)
        shapes = [
            None if shape is None else tuple((place, KINDS[kind]) for place, kind in shape) for shape in finished.shapes
        ]
        return codes if self._chosen is None else codes[self._chosen], shapes

    def _cells(self, place: int) -> tuple[Codes, Sequence[Cell]]:
        field = self._grown.finished.fields[place][1]
        if field.codes is None:
            return super()._cells(place)
        return field.codes if self._chosen is None else field.codes[self._chosen], field.distinct

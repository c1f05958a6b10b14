"""Several blocks of one view as one, with every record decoded once for all who will look at it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from mingjian.formats.records import RecordBlock
from mingjian.model.blocks import Block
from mingjian.model.values import Record
from mingjian.store.columns import decoded


class DecodedBlock(RecordBlock):
    """The records of several blocks, one behind the other."""

    __slots__ = ("_sources", "_starts")

    def __init__(self, blocks: Sequence[Block]) -> None:
        records: list[Record] = []
        numbers: list[int] = []
        for block in blocks:
            records += decoded(block, range(len(block.numbers)))
            numbers += block.numbers
        super().__init__(blocks[0].format, numbers, records)
        self._sources = blocks
        self._starts = list(accumulate((len(block.numbers) for block in blocks), initial=0))

    def raw(self, row: int) -> bytes:
        """The bytes the record was made of."""
        source = bisect_right(self._starts, row) - 1
        return self._sources[source].raw(row - self._starts[source])

    def shares(self) -> list[range]:
        """Which rows are of each of the blocks."""
        return [range(start, end) for start, end in pairwise(self._starts)]

    def containing(self, needles: Sequence[str]) -> Sequence[int] | None:
        """Rows that may hold a needle; None if some block cannot tell."""
        found: list[int] = []
        for start, block in zip(self._starts, self._sources, strict=False):
            part = block.containing(needles)
            if part is None:
                return None
            found += [start + row for row in part]
        return found

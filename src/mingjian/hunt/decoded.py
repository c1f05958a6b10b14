"""Blocks with every record decoded once, for all who will look at it: rules, envelopes, observables, segments."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

from mingjian.formats import json
from mingjian.formats.records import RecordBlock
from mingjian.formats.registry import Format
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.values import MISSING, Missing, Record, Value, find
from mingjian.store.columns import decoded


class DecodedBlock(RecordBlock):
    """The records of one block, or of several one behind the other."""

    __slots__ = ("_columns", "_decoded", "_heads", "_sources", "_starts")

    def __init__(self, sources: Sequence[Block], records: list[Record], numbers: Sequence[int]) -> None:
        super().__init__(sources[0].format, numbers, records)
        self._decoded = records
        self._sources = sources
        self._starts = list(accumulate((len(source.numbers) for source in sources), initial=0))
        self._columns: dict[str, Sequence[Value | Missing]] | None = None
        self._heads: frozenset[str] = frozenset()

    @classmethod
    def of(cls, source: Block, records: list[Record]) -> DecodedBlock:
        """A block and its records."""
        return cls([source], records, source.numbers)

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> DecodedBlock:
        """Several blocks as one."""
        records: list[Record] = []
        numbers: list[int] = []
        for block in blocks:
            records += block._decoded if isinstance(block, DecodedBlock) else decoded(block, range(len(block.numbers)))
            numbers += block.numbers
        return cls(blocks, records, numbers)

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        """Several columns, for all records or for those with the given indexes. Each is made once."""
        known = self._columns
        if known is None:
            known = self._columns = self._by_key()
        whole: list[Sequence[Value | Missing]] = []
        for path in paths:
            column = known.get(path)
            if column is None:
                column = known[path] = self._made(path)
            whole.append(column)
        return whole if rows is None else [[column[row] for row in rows] for column in whole]

    def column(self, path: str) -> Sequence[Value | Missing]:
        """The value at one dotted path for every record, ``MISSING`` where there is none."""
        return self.columns([path])[0]

    def _by_key(self) -> dict[str, Sequence[Value | Missing]]:
        """The top-level columns, if all records have the same keys: that is one step then."""
        records = self._decoded
        shapes = set(map(tuple, records))
        self._heads = frozenset().union(*shapes)
        if len(shapes) != 1:
            return {}
        (shape,) = shapes
        columns = zip(shape, zip(*(record.values() for record in records), strict=True), strict=True)
        # Of a dotted key it is not certain that nothing else leads there.
        return {key: column for key, column in columns if "." not in key}

    def _made(self, path: str) -> Sequence[Value | Missing]:
        dot = path.find(".")
        while dot >= 0:
            if path[:dot] in self._heads:
                return [find(record, path) for record in self._decoded]
            dot = path.find(".", dot + 1)
        if path not in self._heads:
            return [MISSING] * len(self._decoded)
        return [record.get(path, MISSING) for record in self._decoded]

    def take(self, rows: Sequence[int]) -> DecodedBlock:
        """A block of the records with these indexes only."""
        assert len(self._sources) == 1, "only what was just read is divided"
        records, numbers = self._decoded, self.numbers
        return DecodedBlock(
            [self._sources[0].take(rows)], [records[row] for row in rows], [numbers[row] for row in rows]
        )

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


def read(format_: Format, piece: Piece) -> Iterator[Block | Quarantined]:
    """Read a piece, decoding every record at once where the format would put that off."""
    if format_.name != "jsonl":
        yield from format_.read(piece)
        return
    for found in json.read_records(piece):
        if isinstance(found, Quarantined):
            yield found
        else:
            block, records = found
            yield block if records is None else DecodedBlock.of(block, records)

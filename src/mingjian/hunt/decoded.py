"""Blocks with every record decoded once, for whoever takes all of them apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mingjian.formats import json
from mingjian.formats.records import RecordBlock
from mingjian.formats.registry import Format
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.values import Record


class DecodedBlock(RecordBlock):
    """The records of a block. The block itself still knows the bytes that they were made of."""

    __slots__ = ("_source",)

    def __init__(self, source: Block, records: list[Record]) -> None:
        super().__init__(source.format, source.numbers, records)
        self._source = source

    def take(self, rows: Sequence[int]) -> DecodedBlock:
        """A block of the records with these indexes only."""
        return DecodedBlock(self._source.take(rows), self.records(rows))

    def raw(self, row: int) -> bytes:
        """The bytes the record was made of."""
        return self._source.raw(row)


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
            yield block if records is None else DecodedBlock(block, records)

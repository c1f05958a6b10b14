"""Blocks with every record decoded once, for whoever takes all of them apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from mingjian.formats import json
from mingjian.formats.json import Whole
from mingjian.formats.records import RecordBlock
from mingjian.formats.registry import Format
from mingjian.model.blocks import Block, Piece, Quarantined


class DecodedBlock(RecordBlock):
    """The records of a block. The block itself still knows the bytes that they were made of."""

    __slots__ = ("_block",)

    def __init__(self, whole: Whole) -> None:
        super().__init__("jsonl", whole.numbers, whole.records)
        self._block = cache(whole.block)

    def take(self, rows: Sequence[int]) -> DecodedBlock:
        """A block of the records with these indexes only."""
        numbers = [self.numbers[row] for row in rows]
        return DecodedBlock(Whole(numbers, self.records(rows), lambda: self._block().take(rows)))

    def raw(self, row: int) -> bytes:
        """The bytes the record was made of."""
        return self._block().raw(row)


def read(format_: Format, piece: Piece) -> Iterator[Block | Quarantined]:
    """Read a piece, decoding every record at once where the format would put that off."""
    if format_.name != "jsonl":
        yield from format_.read(piece)
        return
    for found in json.read_records(piece):
        yield DecodedBlock(found) if isinstance(found, Whole) else found

"""Arrow record batches as blocks of records: for programs that have their events in columns already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pyarrow as pa

from mingjian.formats.records import json_bytes
from mingjian.model.values import MISSING, Missing, Record, Value, find


class ArrowBlock:
    """The rows of a record batch. Columns are fields under their native names; records are numbered from 0."""

    def __init__(self, batch: pa.RecordBatch, first_number: int = 0) -> None:
        self.format = "arrow"
        self.numbers: Sequence[int] = range(first_number, first_number + batch.num_rows)
        self._batch = batch
        self._names = set(batch.schema.names)

    def column(self, path: str) -> Sequence[Value | Missing]:
        """The value at one dotted path for every row; a null is null, a column that is not there is missing."""
        if path in self._names:
            return cast("list[Value]", self._batch.column(path).to_pylist())
        if not any(path.startswith(f"{name}.") for name in self._names):
            return [MISSING] * len(self.numbers)
        return [find(self.record(row), path) for row in range(len(self.numbers))]

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        """Several columns, for all rows or for some."""
        block = self if rows is None else self.take(rows)
        return [block.column(path) for path in paths]

    def record(self, row: int) -> Record:
        """One row as a record."""
        return cast("Record", self._batch.slice(row, 1).to_pylist()[0])

    def raw(self, row: int) -> bytes:
        """The row as compact JSON."""
        return json_bytes(self.record(row))

    def take(self, rows: Sequence[int]) -> ArrowBlock:
        """A block of some of the rows, with their numbers."""
        block = ArrowBlock(self._batch.take(pa.array(rows, pa.int64())))
        block.numbers = [self.numbers[row] for row in rows]
        return block

    def containing(self, needles: Sequence[str]) -> Sequence[int] | None:
        """No sieve: every row may hold the needles."""
        return None

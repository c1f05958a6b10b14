"""Blocks of rows that share their columns, and lines that are records: what the readers of text logs emit.

A table (Zeek, W3C, CSV) is kept as the columns of text that it is; a column is given its types when somebody asks
for it, and a record is put together only then. Lines that each have fields of their own (syslog, access logs) are
parsed into records at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from operator import itemgetter
from typing import TypeAlias, TypeVar

import msgspec

from mingjian.errors import InputError, LimitExceeded
from mingjian.formats.records import RecordBlock, json_bytes
from mingjian.formats.text import LineBatch, decode, line_batches
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined
from mingjian.model.values import MISSING, Missing, Record, Value

COLUMNS_MAX = 4096
"""A header with more columns than this is not believed. Source: the widest Zeek log has some 120, IIS some 30."""

BATCH_BYTES_MAX = 2 * 1024 * 1024
"""A batch of lines that become records: in memory they may be fifty times as big as in the file."""

LINE_CHARACTERS_QUICK = 65_536
"""A longer line is searched piece by piece, so that what is found in it is bounded before it is in memory."""

Convert: TypeAlias = "Callable[[Sequence[str]], Sequence[Value | Missing]]"
"""Turns a column of text into values; ``MISSING`` where the writer said “unset”."""


Compute: TypeAlias = "Callable[[Sequence[Sequence[str]]], Sequence[Value | Missing]]"
"""Makes a column of whole rows: one that the file does not have itself."""


class Column(msgspec.Struct, frozen=True):
    """One column of a table: its name, and what makes values of its text (None: the text is the value)."""

    name: str
    convert: Convert | None = None


class TableBlock:
    """A block over rows of text with one set of columns, all rows of that width; converted column by column."""

    __slots__ = (
        "_cached",
        "_columns",
        "_constants",
        "_extra",
        "_lines",
        "_raws",
        "_rows",
        "_texts",
        "format",
        "numbers",
    )

    def __init__(
        self,
        format_name: str,
        numbers: Sequence[int],
        columns: Sequence[Column],
        rows: Sequence[Sequence[str]],
        raws: Sequence[bytes] | None = None,
        *,
        constants: Record | None = None,
        extra: dict[str, Compute] | None = None,
        lines: Sequence[str] | None = None,
    ) -> None:
        """Make a block.

        ``constants`` are fields that every row has, ``extra`` columns that are computed of rows when they are asked
        for (they hide columns of the same name), ``lines`` what stands in ``_raw``.
        """
        assert len(numbers) == len(rows)
        self.format = format_name
        self.numbers = numbers
        self._columns = {column.name: (index, column.convert) for index, column in enumerate(columns)}
        self._rows = rows
        self._raws = raws
        self._constants = constants or {}
        self._extra = extra or {}
        self._lines = lines
        self._texts: list[tuple[str, ...]] | None = None
        self._cached: dict[str, Sequence[Value | Missing]] = {}

    def column(self, path: str) -> Sequence[Value | Missing]:
        """The value of one column for every record, ``MISSING`` where it is unset or there is no such column."""
        if path == "_raw" and self._lines is not None:
            return self._lines
        if path in self._constants:
            return [self._constants[path]] * len(self._rows)
        if path not in self._columns and path not in self._extra:
            return [MISSING] * len(self._rows)
        cached = self._cached.get(path)
        if cached is None:
            if path in self._extra:
                cached = self._cached[path] = self._extra[path](self._rows)
                return cached
            if self._texts is None:
                self._texts = list(zip(*self._rows, strict=True))
            index, convert = self._columns[path]
            cached = self._texts[index] if convert is None else convert(self._texts[index])
            self._cached[path] = cached
        return cached

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        """Several columns, for all records or for those with the given indexes."""
        if rows is None:
            return [self.column(path) for path in paths]
        return [[column[row] for row in rows] for column in map(self.column, paths)]

    def record(self, row: int) -> Record:
        """One whole record; fields that are unset are left out."""
        record: Record = dict(self._constants)
        for name, (index, convert) in self._columns.items():
            text = self._rows[row][index]
            value = text if convert is None else convert((text,))[0]
            if value is not MISSING:
                record[name] = value
        for name, compute in self._extra.items():
            value = compute((self._rows[row],))[0]
            if value is not MISSING:
                record[name] = value
            else:
                record.pop(name, None)
        if self._lines is not None:
            record["_raw"] = self._lines[row]
        return record

    def raw(self, row: int) -> bytes:
        """The line the record was read from, or its compact JSON where it was more than one line."""
        return self._raws[row] if self._raws is not None else json_bytes(self.record(row))

    def take(self, rows: Sequence[int]) -> TableBlock:
        """A block of the records with these indexes only."""
        return TableBlock(
            self.format,
            [self.numbers[row] for row in rows],
            [Column(name, convert) for name, (_, convert) in self._columns.items()],
            [self._rows[row] for row in rows],
            None if self._raws is None else [self._raws[row] for row in rows],
            constants=self._constants,
            extra=self._extra,
            lines=None if self._lines is None else [self._lines[row] for row in rows],
        )

    def containing(self, needles: Sequence[str]) -> Sequence[int] | None:
        """No sieve: what is in a value need not be in the line as it was written."""
        return None


def distinct(names: Sequence[str]) -> list[str]:
    """Make the names of columns usable as the keys of a record: none empty, none twice.

    >>> distinct(["a", "", "a", "b"])
    ['a', 'column 2', 'a (3)', 'b']
    """
    given: dict[str, None] = {}
    for place, name in enumerate(names, start=1):
        usable = name or f"column {place}"
        while usable in given:
            usable = f"{usable} ({place})"
        given[usable] = None
    return list(given)


def split_row(text: str, delimiter: str) -> list[str]:
    """Split one row of separated values; a cell in quotes loses them, a quote inside is doubled.

    A cell that only looks quoted (text behind the closing quote) is kept as it is. Linear: a scan for a closing quote
    ends at the next run of an odd number of quotes, and only such a run starts one.

    Raises:
        LimitExceeded: there are more than ``COLUMNS_MAX`` cells.

    Source: RFC 4180 section 2.

    >>> split_row('a,"b ""c"", d",', ",")
    ['a', 'b "c", d', '']
    """
    if '"' not in text:
        return row_cells(text, delimiter)
    found = found_at_most(_cell(delimiter), delimiter + text, COLUMNS_MAX + 1)
    if len(found) > COLUMNS_MAX:
        raise LimitExceeded("COLUMNS_MAX", COLUMNS_MAX)
    return [quoted.replace('""', '"') if quoted else plain for quoted, plain in found]


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    mark = re.escape(delimiter)
    return re.compile(rf'{mark}(?:"((?:[^"]|"")*+)"(?={mark}|\Z)|([^{mark}]*+))')


def row_cells(text: str, delimiter: str) -> list[str]:
    """Split one row at every delimiter.

    Raises:
        LimitExceeded: a very long line has more than ``COLUMNS_MAX`` columns.
    """
    if len(text) > LINE_CHARACTERS_QUICK and text.count(delimiter) >= COLUMNS_MAX:
        raise LimitExceeded("COLUMNS_MAX", COLUMNS_MAX)
    return text.split(delimiter)


def found_at_most(pattern: re.Pattern[str], text: str, count_max: int, start: int = 0) -> list[tuple[str, ...]]:
    """The groups of every match in a text, at most ``count_max`` of them if the text is very long.

    The pattern has at least two groups; one that took no part is the empty text.

    >>> found_at_most(re.compile("(a)(b)?"), "aab", 9)
    [('a', ''), ('a', 'b')]
    """
    if len(text) <= LINE_CHARACTERS_QUICK:
        return pattern.findall(text, start)
    return [found.groups("") for found in islice(pattern.finditer(text, start), count_max)]


def texts(lines: Sequence[bytes]) -> list[str]:
    """Decode a batch of lines: all at once where all are UTF-8, else one by one."""
    try:
        return b"\n".join(lines).decode().split("\n") if lines else []
    except UnicodeDecodeError:
        return [decode(line) for line in lines]


Bad: TypeAlias = "list[tuple[int, InputError]]"
"""Lines of a batch that are no records, by their place in it, and why."""


def quarantined(piece: Piece, batch: LineBatch, bad: Bad) -> Iterator[Quarantined]:
    """Say of some lines of a batch that they are no records, and why; in their order."""
    if not bad:
        return
    offsets = batch.offsets
    for row, error in sorted(bad, key=itemgetter(0)):
        data = batch.lines[row][:QUARANTINED_BYTES_MAX]
        yield Quarantined(
            file=piece.file,
            record=batch.numbers[row],
            offset=offsets[row],
            code=error.code,
            reason=str(error),
            data=data,
        )


def read_lines(
    piece: Piece, format_name: str, parse: Callable[[str, float | None], Record | None]
) -> Iterator[Block | Quarantined]:
    """Read a file in which every line is a record.

    ``parse`` gets the line and the modification time of the file; it returns None for a line that says nothing (only
    white space, a separator), and raises ``InputError`` for one that is no record. Records are followed by the
    ``Quarantined`` of their batch.
    """
    for batch in line_batches(piece, bytes_max=BATCH_BYTES_MAX):
        if isinstance(batch, Quarantined):
            yield batch
            continue
        records: list[Record] = []
        rows: list[int] = []
        bad: Bad = []
        for row, text in enumerate(texts(batch.lines)):
            try:
                record = parse(text, piece.modified_at_s)
            except InputError as error:
                bad.append((row, error))
                continue
            if record is not None:
                records.append(record)
                rows.append(row)
        if records:
            numbers, lines = batch.numbers, batch.lines
            if len(rows) != len(lines):
                numbers, lines = [numbers[row] for row in rows], [lines[row] for row in rows]
            yield RecordBlock(format_name, numbers, records, lines)
        yield from quarantined(piece, batch, bad)


_H = TypeVar("_H")


def read_directed(
    piece: Piece,
    header: _H,
    *,
    directed: Callable[[_H, str], _H],
    without_fields: Callable[[_H], _H],
    read_rows: Callable[[LineBatch, list[str], range, _H, Bad], Iterator[Block]],
) -> Iterator[Block | Quarantined]:
    """Read a file in which lines that begin with ``#`` say how the lines behind them are to be read.

    ``directed`` gives the header after one more directive. If it raises ``InputError`` the directive is quarantined,
    and what follows has no fields until a directive names them anew. ``read_rows`` reads the lines between two
    directives, and adds to the last argument what is no record.
    """
    for batch in line_batches(piece, bytes_max=BATCH_BYTES_MAX):
        if isinstance(batch, Quarantined):
            yield batch
            continue
        lines = texts(batch.lines)
        start = 0
        bad: Bad = []
        directives = [row for row, line in enumerate(lines) if line.startswith("#")]
        for row in (*directives, len(lines)):
            if start < row:
                yield from read_rows(batch, lines, range(start, row), header, bad)
            if row < len(lines):
                try:
                    header = directed(header, lines[row])
                except InputError as error:
                    bad.append((row, error))
                    header = without_fields(header)
            start = row + 1
        yield from quarantined(piece, batch, bad)


def first_lines(head: bytes, count: int = 50) -> list[str]:
    """The first whole lines of a head that are not empty, for recognisers. The cut-off last line counts if alone."""
    lines = head.split(b"\n", count + 1)[: count + 1]
    if len(lines) > 1:
        lines = lines[:-1]
    return [decode(line) for line in (line.strip() for line in lines) if line]


def mostly(lines: Sequence[str], test: Callable[[str], object], share: float = 0.6) -> bool:
    """Whether at least this share of some lines (and at least one) passes a test.

    >>> mostly(["a", "b", "1"], str.isalpha), mostly([], str.isalpha)
    (True, False)
    """
    return bool(lines) and sum(1 for line in lines if test(line)) >= share * len(lines)

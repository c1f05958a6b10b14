r"""Comma-separated values with a header: exports of consoles, spreadsheets, EDR and antivirus reports.

The delimiter is the one among ``,`` ``;`` tab and ``|`` that the header line has most of (outside quotes). Lines that
start with ``#`` before the header are passed over. Values are text, never guessed at; an empty cell is the empty
text. Quoted cells may hold delimiters, doubled quotes and line breaks (as line feeds); a row that spans lines has the
number of its first line. Columns without a name, or with one that was there before, get ``column N`` or ``name (N)``.

A row with another number of cells than the header is quarantined as a whole; so is a line whose quote is still open
after ``ROW_LINES_MAX`` lines or ``ROW_BYTES_MAX`` bytes, and reading goes on with the next line.

Source: RFC 4180.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from mingjian.errors import InputError, LimitExceeded, ParseError
from mingjian.formats.records import BLOCK_RECORDS_MAX
from mingjian.formats.tables import (
    BATCH_BYTES_MAX,
    COLUMNS_MAX,
    Column,
    TableBlock,
    distinct,
    first_lines,
    split_row,
    texts,
)
from mingjian.formats.text import LineBatch, decode, line_batches
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined

ROW_LINES_MAX = 1000
"""A row may span this many lines."""
ROW_BYTES_MAX = 1024 * 1024
"""A row that spans lines may have this many bytes."""
DELIMITERS = (",", ";", "\t", "|")
"""In order of preference where the header has as many of one as of another."""
SAMPLE_ROWS = 10
"""So many rows are compared with the header to recognise the format."""

_Line: TypeAlias = "tuple[int, int, bytes]"
"""Number, offset, bytes."""


def recognise(head: bytes, name: str) -> bool:
    """Whether the first line looks like a header, and the next ones have as many columns.

    Two columns are enough if the name ends in ``.csv`` or ``.tsv``, else it takes three.
    """
    lines = [line for line in first_lines(head, SAMPLE_ROWS + 5) if not line.startswith("#")]
    if not lines or not (header := split_row(lines[0], delimiter := _delimiter(lines[0]))):
        return False
    named = name.lower().rpartition("!")[2].endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz"))
    if len(header) < (2 if named else 3) or not _is_header(header):
        return False
    rows = [split_row(line, delimiter) for line in lines[1 : 1 + SAMPLE_ROWS]]
    fitting = sum(1 for row in rows if len(row) == len(header))
    # A file with line breaks in its cells has lines that do not fit; its first row begins like one that does.
    return named or (bool(rows) and fitting == len(rows))


def _is_header(cells: Sequence[str]) -> bool:
    """Names, not values: short, mostly not empty, none a number."""
    texts = [cell.strip() for cell in cells]
    filled = [text for text in texts if text]
    return (
        len(filled) * 2 > len(texts)
        and all(len(text) <= 200 and not text.replace(".", "").replace("-", "").isdigit() for text in filled)
        and not any("=" in text for text in filled)
        and len(set(filled)) * 2 > len(filled)
    )


def _delimiter(header: str) -> str:
    outside = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


class _Table:
    """Rows on their way into blocks."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.columns: list[Column] = []
        self.delimiter = ","
        self._numbers: list[int] = []
        self._rows: list[list[str]] = []
        self._raws: list[bytes] = []

    def add(self, number: int, offset: int, data: bytes) -> Iterator[Quarantined]:
        """Take one row of the file, or say why not. The first row is the header."""
        text = decode(data)
        try:
            if not self.columns:
                self._take_header(text)
                return
            cells = split_row(text, self.delimiter)
            if len(cells) != len(self.columns):
                raise ParseError(f"{len(cells)} cells where the header has {len(self.columns)}")
        except InputError as error:
            yield _quarantined(self.file, (number, offset, data), error)
            return
        self._numbers.append(number)
        self._rows.append(cells)
        self._raws.append(data)

    def add_all(self, batch: LineBatch) -> Iterator[Quarantined]:
        """Take the lines of a batch, each of which is a row of its own (or empty)."""
        width = len(self.columns)
        bad: list[tuple[int, int]] = []
        for place, (text, data) in enumerate(zip(texts(batch.lines), batch.lines, strict=True)):
            try:
                cells = split_row(text, self.delimiter)
            except LimitExceeded:
                cells = []
            if len(cells) == width and text:
                self._numbers.append(batch.numbers[place])
                self._rows.append(cells)
                self._raws.append(data)
            elif text.strip():
                bad.append((place, len(cells)))
        offsets = batch.offsets if bad else ()
        for place, count in bad:
            error = ParseError(f"{count or 'too many'} cells where the header has {width}")
            yield _quarantined(self.file, (batch.numbers[place], offsets[place], batch.lines[place]), error)

    def _take_header(self, text: str) -> None:
        if text.startswith("#"):
            return
        delimiter = _delimiter(text)
        names = split_row(text, delimiter)
        if len(names) > COLUMNS_MAX:  # a line that is short enough to have been split all the same
            raise LimitExceeded("COLUMNS_MAX", COLUMNS_MAX)
        self.delimiter = delimiter
        self.columns = [Column(name) for name in distinct([name.strip() for name in names])]

    def blocks(self, at_least: int) -> Iterator[Block]:
        """The rows as blocks, once there are enough of them."""
        while self._rows and len(self._rows) >= at_least:
            count = BLOCK_RECORDS_MAX
            numbers, rows, raws = self._numbers[:count], self._rows[:count], self._raws[:count]
            self._numbers, self._rows, self._raws = self._numbers[count:], self._rows[count:], self._raws[count:]
            yield TableBlock("csv", numbers, self.columns, rows, raws)


def _quarantined(file: str, line: _Line, error: InputError) -> Quarantined:
    number, offset, data = line
    kept = data[:QUARANTINED_BYTES_MAX]
    return Quarantined(file=file, record=number, offset=offset, code=error.code, reason=str(error), data=kept)


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read comma-separated values; the first row names the columns."""
    table = _Table(piece.file)
    open_lines: list[_Line] = []
    for batch in line_batches(piece, bytes_max=BATCH_BYTES_MAX, keep_empty=True):
        if isinstance(batch, Quarantined):
            yield from _given_up(open_lines, table)
            open_lines = []
            yield batch
        elif table.columns and not open_lines and not any(line.count(b'"') % 2 for line in batch.lines):
            yield from table.add_all(batch)
        else:
            for line in zip(batch.numbers, batch.offsets, batch.lines, strict=True):
                odd = line[2].count(b'"') % 2
                if open_lines or odd:
                    open_lines.append(line)
                elif line[2].strip():
                    yield from table.add(*line)
                if odd and len(open_lines) > 1:
                    yield from table.add(*open_lines[0][:2], b"\n".join(data for _, _, data in open_lines))
                    open_lines = []
                elif _is_too_long(open_lines):
                    yield from _given_up(open_lines, table)
                    open_lines = []
        yield from table.blocks(BLOCK_RECORDS_MAX)
    yield from _given_up(open_lines, table)
    yield from table.blocks(1)


def _is_too_long(lines: list[_Line]) -> bool:
    return bool(lines) and (len(lines) >= ROW_LINES_MAX or lines[-1][1] - lines[0][1] >= ROW_BYTES_MAX)


def _given_up(lines: list[_Line], table: _Table) -> Iterator[Quarantined]:
    """Quarantine the line whose quote was never closed; the others, which have no open quote, are rows again."""
    for place, line in enumerate(lines):
        if place == 0:
            error = LimitExceeded("ROW_LINES_MAX", ROW_LINES_MAX, hint="a quote that is not closed")
            yield _quarantined(table.file, line, error)
        elif line[2].strip():
            yield from table.add(*line)

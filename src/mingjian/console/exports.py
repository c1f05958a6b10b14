"""Lists as files: CSV, XLSX, JSON lines. Text from outside stays text also for a program that opens tables.

Source: RFC 4180 (CSV). A cell that a spreadsheet would take for a formula gets an apostrophe before it; cells of XLSX
have a type and need none.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import xlsxwriter

from mingjian.console.shapes import stamp
from mingjian.telemetry import visible, visible_json

BATCH_ROWS: Final = 500
XLSX_CELL_CHARACTERS_MAX: Final = 32_767
"""A longer text is cut: no spreadsheet takes it."""
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

Cell: TypeAlias = "str | int | float | bool | Sequence[str] | None"


class Table(NamedTuple):
    """What is written."""

    names: Sequence[str]
    headings: Sequence[str]
    times: set[str]
    """The columns that hold microseconds since 1970."""
    rows: Iterable[Sequence[Cell]]


def _plain(table: Table, place: int, value: Cell) -> str | int | float | bool | None:
    if isinstance(value, int) and not isinstance(value, bool) and table.names[place] in table.times:
        return stamp(value)
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return " ".join(value)


def guarded(text: str) -> str:
    r"""A text as a cell of CSV: nothing in it is a formula, nothing in it is invisible.

    >>> guarded("=1+1"), guarded("-"), guarded("a\nb")
    ("'=1+1", "'-", 'a\\nb')
    """
    text = "'" + text if text.startswith(FORMULA_STARTS) else text
    return visible(text)


def as_csv(table: Table) -> tuple[Iterator[bytes], str]:
    """CSV with a byte order mark, so that spreadsheets take it for UTF-8."""

    def parts() -> Iterator[bytes]:
        buffer = io.StringIO(newline="")
        writer = csv.writer(buffer)
        yield b"\xef\xbb\xbf"
        writer.writerow(table.headings)
        for count, row in enumerate(table.rows, 1):
            cells = (_plain(table, place, value) for place, value in enumerate(row))
            writer.writerow([guarded(cell) if isinstance(cell, str) else cell for cell in cells])
            if count % BATCH_ROWS == 0:
                yield _taken(buffer)
        yield _taken(buffer)

    return parts(), "text/csv; charset=utf-8"


def as_json(table: Table) -> tuple[Iterator[bytes], str]:
    """A line of JSON for each row."""

    def parts() -> Iterator[bytes]:
        lines: list[str] = []
        for row in table.rows:
            values = {
                name: list(value) if isinstance(value, list | tuple) else _plain(table, place, value)
                for place, (name, value) in enumerate(zip(table.names, row, strict=True))
            }
            lines.append(visible_json(json.dumps(values, ensure_ascii=False)))
            if len(lines) == BATCH_ROWS:
                yield ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
                lines.clear()
        if lines:
            yield ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")

    return parts(), "application/x-ndjson"


def as_xlsx(table: Table) -> tuple[bytes, str]:
    """A workbook of one sheet: no formula, no link, whatever a text looks like."""
    buffer = io.BytesIO()
    options = {
        "in_memory": True,
        "constant_memory": False,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(buffer, options) as book:
        sheet = book.add_worksheet()  # pyright: ignore[reportUnknownMemberType] - the library has no types
        bold = book.add_format({"bold": True})  # pyright: ignore[reportUnknownMemberType] - the library has no types
        for place, heading in enumerate(table.headings):
            sheet.write_string(0, place, heading, bold)
        sheet.freeze_panes(1, 0)
        for number, row in enumerate(table.rows, 1):
            for place, value in enumerate(row):
                cell = _plain(table, place, value)
                if isinstance(cell, bool) or cell is None:
                    sheet.write_string(number, place, "" if cell is None else str(cell).lower())
                elif isinstance(cell, str):
                    sheet.write_string(number, place, visible(cell)[:XLSX_CELL_CHARACTERS_MAX])
                else:
                    sheet.write_number(number, place, cell)
    return buffer.getvalue(), "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


FORMS: Final[Mapping[str, Callable[[Table], tuple[Iterator[bytes] | bytes, str]]]] = {
    "csv": as_csv,
    "xlsx": as_xlsx,
    "json": as_json,
}
"""Every export there is."""


def _taken(buffer: io.StringIO) -> bytes:
    data = buffer.getvalue().encode("utf-8", "backslashreplace")
    buffer.seek(0)
    buffer.truncate()
    return data

"""The one way out to a terminal: everything that is printed passes here, and nothing unseen gets through.

In: text and rows, also from outside. Out: stdout for results, stderr for everything else. Never: a control
character, a text direction mark, a spreadsheet formula or a Rich markup tag that came from outside.

The rows of a list can be written as a table (for people), JSON lines (exact: what is not seen is a JSON escape) or
CSV (for spreadsheets: what could be taken for a formula gets a ``'`` before it).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TextIO, TypeAlias

import orjson

from mingjian.telemetry import visible, visible_json

ListFormat: TypeAlias = Literal["table", "jsonl", "csv"]
Cell: TypeAlias = "str | int | float | bool | Sequence[str] | Mapping[str, str] | None"
Row: TypeAlias = Mapping[str, Cell]

TABLE_ROWS_MAX = 10_000
"""A table is laid out as a whole; the rows after this many are counted, not shown."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A text cell that starts so is a formula to some spreadsheet. Source: OWASP, CSV Injection."""


def say(text: str, *, stream: TextIO | None = None) -> None:
    """Print one line of a result to stdout."""
    print(visible(text), file=stream or sys.stdout)


def note(text: str) -> None:
    """Print one line about the work to stderr."""
    print(visible(text), file=sys.stderr)


def note_trouble(text: str) -> None:
    """Say on stderr what does not work just now; empty: that it works again."""
    note(f"{text}; it is tried again until it works" if text else "it works again")


def complain(what: str, *, where: str = "", hint: str = "") -> None:
    """Print an error to stderr: what and where in the first line, what to do in the second."""
    note(f"mingjian: {where}: {what}" if where else f"mingjian: {what}")
    if hint:
        note(f"  {hint}")


def choose_format(asked: ListFormat | None, stream: TextIO | None = None) -> ListFormat:
    """Decide how a list is written: as asked, else a table on a terminal and JSON lines elsewhere."""
    return asked or ("table" if (stream or sys.stdout).isatty() else "jsonl")


def write_rows(
    rows: Iterable[Row], columns: Sequence[str], how: ListFormat, *, stream: TextIO | None = None, title: str = ""
) -> int:
    """Write the rows of a list to stdout or to a stream and give their number.

    ``columns`` names the cells to write, in order; a row without one of them has an empty cell there, and in JSON
    lines does not have the key. JSON lines and CSV are written row by row, a table when all rows are known.
    """
    to = stream or sys.stdout
    match how:
        case "jsonl":
            return _write_each(to, (json_line(row, columns) for row in rows), end="\n")
        case "csv":
            on_terminal = to.isatty()
            lines = (csv_line([row.get(c) for c in columns], on_terminal=on_terminal) for row in rows)
            to.write(csv_line(columns, on_terminal=on_terminal) + "\r\n")
            return _write_each(to, lines, end="\r\n")
        case "table":
            return _write_table(to, rows, columns, title)


def _write_each(to: TextIO, lines: Iterable[str], *, end: str) -> int:
    count = 0
    for line in lines:
        to.write(line + end)
        count += 1
    return count


def json_line(row: Row, columns: Sequence[str]) -> str:
    r"""Write one row as JSON on one line. It means exactly the row; whatever is not seen is escaped.

    >>> print(json_line({"host": "a\u202eb", "count": 2}, ["count", "host", "user"]))
    {"count":2,"host":"a\u202eb"}
    """
    kept = {column: row[column] for column in columns if column in row}
    try:
        written = orjson.dumps(kept, default=list).decode()
    except orjson.JSONEncodeError:
        # Lone surrogates, and whole numbers beyond 64 bits.
        written = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), default=list)
    return visible_json(written)


def cell_text(cell: Cell) -> str:
    """Put a cell into words: a list with commas, a map as ``key: value`` pairs, nothing for None.

    >>> cell_text(["T1003", "T1059"]), cell_text({"Image": "a.exe"}), cell_text(None), cell_text(True)
    ('T1003, T1059', 'Image: a.exe', '', 'true')
    """
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, Mapping):
        return "; ".join(f"{key}: {value}" for key, value in cell.items())
    return cell if isinstance(cell, str) else str(cell) if isinstance(cell, int | float) else ", ".join(cell)


def csv_line(cells: Sequence[Cell], *, on_terminal: bool = False) -> str:
    """Write one CSV record, without its line end.

    Text that a spreadsheet would take for a formula gets a ``'`` before it; numbers of ours do not. Line breaks and
    tabs stay inside a quoted cell, except on a terminal. Source: RFC 4180, section 2; OWASP, CSV Injection.

    >>> print(csv_line(["=1+1", -1, "a,b", None]))
    '=1+1,-1,"a,b",
    """
    return ",".join([_csv_cell(cell, on_terminal) for cell in cells])


def _csv_cell(cell: Cell, on_terminal: bool) -> str:
    text = cell_text(cell)
    if text.startswith(FORMULA_STARTS) and not isinstance(cell, int | float):
        text = "'" + text
    if not text.isprintable():
        text = visible(text) if on_terminal else _visible_between(text, "\r\n\t")
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _visible_between(text: str, kept: str) -> str:
    return "".join([c if c in kept else visible(c) for c in text])


def _write_table(to: TextIO, rows: Iterable[Row], columns: Sequence[str], title: str) -> int:
    # Rich takes 60 ms to import, which only those who look at a table need to pay.
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=Text(visible(title)) if title else None, pad_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    count = 0
    for row in rows:
        count += 1
        if count <= TABLE_ROWS_MAX:
            table.add_row(*[Text(visible(cell_text(row.get(column)))) for column in columns])
    Console(file=to, markup=False, highlight=False, emoji=False).print(table)
    if count > TABLE_ROWS_MAX:
        note(f"{count - TABLE_ROWS_MAX} more rows are not shown; --format jsonl or csv gives all of them")
    return count

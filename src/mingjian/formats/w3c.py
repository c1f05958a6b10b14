r"""W3C extended log format: IIS, proxies (Blue Coat), CloudFront, Windows firewall, Exchange.

Lines of columns under ``#Fields:``, which may come again and change them. Names are the producer's (``cs-uri-stem``,
``c-ip`` …). ``-`` is absent. Values are text as written: IIS puts ``+`` for blanks in user agents and paths, and that
is what the rules for it look for. Columns are separated by blanks (quoted where they hold some), by tabs, or by
commas (Exchange); the lines under ``#Fields:`` tell.

Added: ``time``, ISO 8601, from ``date`` and ``time`` (UTC, as the format demands, unless ``#Time Format: Local``), from
``time`` and ``#Date``, or from ``date-time``; ``timestamp``, as it was written; ``cs-uri`` and ``cs-uri-any``, as in
``formats.weblog``, where there is ``cs-uri-stem``; ``_raw``, the line.

Source: W3C working draft WD-logfile-960323; Microsoft, IIS W3C logging; Windows Defender Firewall log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from mingjian.errors import InputError, LimitExceeded, ParseError
from mingjian.formats.tables import (
    COLUMNS_MAX,
    Bad,
    Column,
    Compute,
    TableBlock,
    distinct,
    first_lines,
    found_at_most,
    read_directed,
    row_cells,
    split_row,
)
from mingjian.formats.text import LineBatch
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.values import MISSING, Missing, Value

_FIELDS = "#Fields:"
_QUOTED_OR_PLAIN = re.compile(r'"((?:[^"]|"")*+)"|(\S++)')
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the directives have said so far."""

    fields: tuple[str, ...] = ()
    delimiter: str | None = None
    """Comma or tab; None for white space."""
    date: str = ""
    local: bool = False


def recognise(head: bytes, name: str) -> bool:
    """Whether a ``#Fields:`` directive is among the first lines."""
    return any(line.startswith(_FIELDS) for line in first_lines(head))


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read a W3C log. Lines before the first ``#Fields:`` and lines of another width are quarantined."""
    return read_directed(
        piece,
        _Header(),
        directed=_directed,
        without_fields=lambda header: msgspec.structs.replace(header, fields=()),
        read_rows=_read_rows,
    )


def _directed(header: _Header, line: str) -> _Header:
    word, _, rest = line.partition(":")
    rest = rest.strip()
    if word == "#Fields":
        delimiter = "," if "," in rest and " " not in rest else None
        fields = row_cells(rest, ",") if delimiter else rest.split(None, COLUMNS_MAX)
        if len(fields) > COLUMNS_MAX:
            raise LimitExceeded("COLUMNS_MAX", COLUMNS_MAX)
        if not fields:
            raise ParseError("empty #Fields")
        return msgspec.structs.replace(header, fields=tuple(distinct(fields)), delimiter=delimiter)
    if word == "#Date":
        return msgspec.structs.replace(header, date=rest[:10] if _DATE.fullmatch(rest[:10]) else "")
    if word == "#Time Format":
        return msgspec.structs.replace(header, local=rest.lower() == "local")
    return header


def _cells(line: str, header: _Header) -> list[str]:
    """The columns of a line; none if there are far too many."""
    try:
        if header.delimiter == ",":
            return split_row(line, ",")
        if "\t" in line:
            return row_cells(line, "\t")
        if '"' in line:
            found = found_at_most(_QUOTED_OR_PLAIN, line, COLUMNS_MAX + 1)
            return [plain or quoted.replace('""', '"') for quoted, plain in found]
        return row_cells(line, " ")
    except LimitExceeded:
        return []


def _fitted(line: str, cells: list[str], header: _Header) -> list[str]:
    """The columns of a line that has not as many as the header at first sight: it may have several blanks in a row.

    Raises:
        ParseError: it has another number of columns than the header.
    """
    width = len(header.fields)
    if header.delimiter is None and '"' not in line:
        cells = line.split(None, width + 1)
    if len(cells) != width:
        raise ParseError(f"{len(cells) or 'too many'} columns where the header has {width}")
    return cells


def _read_rows(batch: LineBatch, lines: list[str], rows: range, header: _Header, bad: Bad) -> Iterator[Block]:
    """Make a block of consecutive lines between directives; lines that do not fit go to ``bad``."""
    width = len(header.fields)
    if not width:
        error = ParseError("no (valid) #Fields before this line")
        bad.extend((row, error) for row in rows)
        return
    kept: Sequence[int] = rows
    cells = [_cells(lines[row], header) for row in rows]
    if any(len(of_row) != width for of_row in cells):
        fitting: dict[int, list[str]] = {}
        for row, of_row in zip(rows, cells, strict=True):
            try:
                fitting[row] = of_row if len(of_row) == width else _fitted(lines[row], of_row, header)
            except InputError as error:
                if lines[row].strip():
                    bad.append((row, error))
        kept, cells = list(fitting), list(fitting.values())
    if kept:
        columns = [Column(name, _value) for name in header.fields]
        yield TableBlock(
            "w3c",
            [batch.numbers[row] for row in kept],
            columns,
            cells,
            [batch.lines[row] for row in kept],
            extra=_computed(header),
            lines=[lines[row] for row in kept],
        )


def _value(column: Sequence[str]) -> Sequence[Value | Missing]:
    return [MISSING if text == "-" else text for text in column]


def _computed(header: _Header) -> dict[str, Compute]:
    """What makes the columns that the file does not have itself."""
    places = {name: place for place, name in enumerate(header.fields)}
    extra: dict[str, Compute] = {}
    zone = "" if header.local else "Z"
    if "time" in places and ("date" in places or header.date):
        at, day = places["time"], places.get("date")

        def date(row: Sequence[str]) -> str:
            return header.date if day is None else row[day]

        extra["time"] = lambda rows: [f"{date(row)}T{row[at]}{zone}" if row[at] != "-" else MISSING for row in rows]
        extra["timestamp"] = lambda rows: [f"{date(row)} {row[at]}" if row[at] != "-" else MISSING for row in rows]
    elif "date-time" in places and "time" not in places:
        at = places["date-time"]
        extra["time"] = extra["timestamp"] = lambda rows: _value([row[at] for row in rows])
    if "cs-uri-stem" in places:
        target = _target(places["cs-uri-stem"], places.get("cs-uri-query"))
        extra["cs-uri-any"] = lambda rows: [target(row)[1] for row in rows]
        if "cs-uri" not in places:
            extra["cs-uri"] = lambda rows: [target(row)[0] for row in rows]
    return extra


def _target(stem_at: int, query_at: int | None) -> Callable[[Sequence[str]], tuple[Value | Missing, Value | Missing]]:
    """What puts a request target together again: as a whole, and the list of the whole and its parts."""

    def target(row: Sequence[str]) -> tuple[Value | Missing, Value | Missing]:
        stem = row[stem_at]
        if stem == "-":
            return MISSING, MISSING
        query = "-" if query_at is None else row[query_at]
        if query == "-":
            return stem, stem
        # Blue Coat writes the query with its question mark.
        whole = f"{stem}{query}" if query.startswith("?") else f"{stem}?{query}"
        return whole, [whole, stem, query.removeprefix("?")]

    return target

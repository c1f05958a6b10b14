r"""Zeek logs as its ASCII writer makes them: tab-separated, with a header that names and types the columns.

A record is the one that Zeek's JSON writer makes of the same entry: names as in ``#fields`` (``id.orig_h``), values
typed by ``#types``, unset fields left out, ``_path`` from ``#path``. Times and intervals are seconds, as numbers. A
header may come again and change the columns (logs concatenated by hand, cut by ``zeek-cut``, rotated). A value that
its type does not fit stays text.

Source: Zeek manual, Log Formats and Inspection; ``src/threading/formatters/Ascii.cc`` for escapes and types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import compress

import msgspec

from mingjian.errors import LimitExceeded, ParseError
from mingjian.formats.tables import (
    COLUMNS_MAX,
    Bad,
    Column,
    Convert,
    TableBlock,
    distinct,
    first_lines,
    read_directed,
    row_cells,
)
from mingjian.formats.text import LineBatch
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.values import MISSING, Missing, Value

_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|\\)")
_INTEGERS = frozenset({"count", "int", "port"})
_FLOATS = frozenset({"double", "interval", "time"})
_CONTAINER = re.compile(r"(set|vector|table)\[(.*)\]")
_NOT_IN_A_NUMBER = re.compile(r"[^0-9.eE+\-\n]")


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """What the directives have said so far."""

    separator: str = "\t"
    set_separator: str = ","
    empty_field: str = "(empty)"
    unset_field: str = "-"
    path: str = ""
    fields: tuple[str, ...] = ()
    types: tuple[str, ...] = ()

    def columns(self) -> list[Column]:
        """The columns; without ``#types`` all of them are text."""
        types = self.types or ("string",) * len(self.fields)
        return [Column(name, _converter(type_, self)) for name, type_ in zip(distinct(self.fields), types, strict=True)]


def recognise(head: bytes, name: str) -> bool:
    """Whether the first directives are those of a Zeek log."""
    lines = first_lines(head, 20)
    return bool(lines) and (
        lines[0].startswith("#separator ") or any(line.startswith(("#fields\t", "#types\t")) for line in lines)
    )


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read a Zeek log. Lines before the first ``#fields`` and lines of another width are quarantined."""
    # A string may begin with '#' in the first column, but Zeek escapes it there: such a line is a directive.
    return read_directed(
        piece,
        _Header(),
        directed=_directed,
        without_fields=lambda header: msgspec.structs.replace(header, fields=(), types=()),
        read_rows=_read_rows,
    )


def _directed(header: _Header, line: str) -> _Header:
    """The header after one more directive; unknown ones (``#open``, ``#close``, comments) change nothing."""
    if line.startswith("#separator "):
        separator = unescape(line.removeprefix("#separator ").strip(" "))
        if not separator:
            raise ParseError("empty #separator")
        return _Header(separator=separator)
    word, _, rest = line[1:].partition(header.separator)
    if word in {"set_separator", "empty_field", "unset_field", "path"}:
        return msgspec.structs.replace(header, **{word: rest})
    if word in {"fields", "types"}:
        if rest.count(header.separator) >= COLUMNS_MAX:
            raise LimitExceeded("COLUMNS_MAX", COLUMNS_MAX)
        cells = tuple(rest.split(header.separator))
        # New fields come before their types: the old types must not be applied to them.
        if word == "fields":
            return msgspec.structs.replace(header, fields=cells, types=())
        if len(cells) != len(header.fields):
            raise ParseError(f"{len(cells)} types for {len(header.fields)} fields")
        return msgspec.structs.replace(header, types=cells)
    return header


def _read_rows(batch: LineBatch, lines: list[str], rows: range, header: _Header, bad: Bad) -> Iterator[Block]:
    """Make a block of consecutive lines between directives; lines that do not fit go to ``bad``."""
    width = len(header.fields)
    if not width:
        error = ParseError("no (valid) #fields and #types before this line")
        bad.extend((row, error) for row in rows)
        return
    cells = [_cells(line, header.separator) for line in lines[rows.start : rows.stop]]
    numbers: Sequence[int] = batch.numbers[rows.start : rows.stop]
    raws: Sequence[bytes] = batch.lines[rows.start : rows.stop]
    fits = [len(of_row) == width for of_row in cells]
    if not all(fits):
        for row, of_row in zip(rows, cells, strict=True):
            if len(of_row) != width and lines[row].strip():
                count = len(of_row) or f"more than {COLUMNS_MAX}"
                bad.append((row, ParseError(f"{count} columns where the header has {width}")))
        cells, numbers, raws = list(compress(cells, fits)), list(compress(numbers, fits)), list(compress(raws, fits))
    if cells:
        constants: dict[str, Value] = {"_path": header.path} if header.path and "_path" not in header.fields else {}
        yield TableBlock("zeek", numbers, header.columns(), cells, raws, constants=constants)


def _cells(line: str, separator: str) -> list[str]:
    """The columns of a line; none if there are far too many to be split."""
    try:
        return row_cells(line, separator)
    except LimitExceeded:
        return []


def unescape(text: str) -> str:
    r"""Undo the writer's escapes: ``\xHH`` is a byte, ``\\`` a backslash; bytes that are not UTF-8 become surrogates.

    >>> unescape(r"a\x09b\\c\xe6\x98\x8e")
    'a\tb\\c明'
    """
    if "\\" not in text:
        return text
    pieces: list[bytes] = []
    end = 0
    for found in _ESCAPE.finditer(text):
        pieces.append(text[end : found.start()].encode("utf-8", "surrogatepass"))
        pieces.append(bytes.fromhex(found[1]) if found[1] else b"\\")
        end = found.end()
    pieces.append(text[end:].encode("utf-8", "surrogatepass"))
    return b"".join(pieces).decode("utf-8", "surrogateescape")


def _scalar(type_: str) -> Callable[[str], Value]:
    """What turns one text of a type into a value. A text that the type does not fit stays as it is."""
    if type_ in _INTEGERS:
        return _integer
    if type_ in _FLOATS:
        return _float
    return _truth if type_ == "bool" else unescape


def _integer(text: str) -> Value:
    try:
        return text if _NOT_IN_A_NUMBER.search(text) else int(text)
    except ValueError:
        return text


def _float(text: str) -> Value:
    try:
        number = math.inf if _NOT_IN_A_NUMBER.search(text) else float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _truth(text: str) -> Value:
    return {"T": True, "F": False}.get(text, text)


def _converter(type_: str, header: _Header) -> Convert:
    container = _CONTAINER.fullmatch(type_)
    if container is not None and container[1] != "table":
        return _list_converter(_scalar(container[2]), header)
    scalar, unset, empty = _scalar(type_), header.unset_field, header.empty_field
    number = int if type_ in _INTEGERS else float if type_ in _FLOATS else None

    def convert(column: Sequence[str]) -> Sequence[Value | Missing]:
        if number is not None and not _NOT_IN_A_NUMBER.search("\n".join(column)):
            try:
                numbers = list(map(number, column))
            except ValueError:  # some are unset or not numbers: one by one, below
                numbers = []
            if numbers and (number is int or all(map(math.isfinite, numbers))):
                return numbers
        known: dict[str, Value | Missing] = {unset: MISSING, empty: ""}
        for text in set(column):
            if text not in known:
                known[text] = scalar(text)
        return [known[text] for text in column]

    return convert


def _list_converter(scalar: Callable[[str], Value], header: _Header) -> Convert:
    unset, empty, separator = header.unset_field, header.empty_field, header.set_separator or ","

    def item(text: str) -> Value:
        if text == unset:
            return None
        return "" if text == empty else scalar(text)

    def convert(column: Sequence[str]) -> Sequence[Value | Missing]:
        known: dict[str, Value | Missing] = {unset: MISSING, empty: []}
        for text in set(column):
            if text not in known:
                known[text] = [item(part) for part in text.split(separator)]
        return [known[text] for text in column]

    return convert

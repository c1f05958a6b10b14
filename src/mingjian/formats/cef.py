r"""CEF (ArcSight) and LEEF (QRadar): a header between bars, then pairs.

Bare, or behind a syslog header, which ``formats.syslog`` reads together with the files.

Names: the header gives ``deviceVendor``, ``deviceProduct``, ``deviceVersion`` and, for CEF, ``deviceEventClassId``,
``name``, ``severity``, ``cefVersion``; for LEEF ``eventID``, ``leefVersion``. Extensions keep their names (``src``,
``cs1`` …). Where a label names a custom field (``cs1Label=Rule cs1=x``), the value also stands under the label
(``Rule``), unless there is such a field already. Values are text; ``\|``, ``\=``, ``\\``, ``\n`` and ``\r`` are undone.

Source: Micro Focus, ArcSight Common Event Format, version 26; IBM, QRadar LEEF guide, versions 1.0 and 2.0.
"""

from __future__ import annotations

import re

from mingjian.errors import LimitExceeded, ParseError
from mingjian.formats.tables import first_lines, mostly
from mingjian.model.values import Record

EXTENSIONS_MAX = 1024
"""An event with more extension fields than this is quarantined."""

_CEF = re.compile(r"CEF: ?[0-9]{1,3}(?:\.[0-9]{1,3})?\|")
_LEEF = re.compile(r"LEEF: ?[12]\.[0-9]\|")
_BAR = re.compile(r"(?:[^\\|]|\\.)*+\|", re.DOTALL)
_CEF_HEADER = ("deviceVendor", "deviceProduct", "deviceVersion", "deviceEventClassId", "name", "severity")
_LEEF_HEADER = ("deviceVendor", "deviceProduct", "deviceVersion", "eventID")
# A key starts after white space and is walked over once; an escaped or doubled ``=`` belongs to a value.
_KEY = re.compile(r"(?<!\S)([\w.\[\]-]++)=", re.ASCII)
_ESCAPED = re.compile(r"\\([\\|=nr])")
_UNESCAPED = {"n": "\n", "r": "\r"}
_LEEF_DELIMITER = re.compile(r"(?:0?[xX]([0-9A-Fa-f]{1,4})|(.)|)\|", re.DOTALL)


def recognise(head: bytes, name: str) -> bool:
    """Whether most of the first lines hold a CEF header."""
    return mostly(first_lines(head), _CEF.search)


def recognise_leef(head: bytes, name: str) -> bool:
    """Whether most of the first lines hold a LEEF header."""
    return mostly(first_lines(head), _LEEF.search)


def find(text: str) -> int:
    """Where the CEF or LEEF header starts in a line; −1 if there is none.

    >>> find("<13>Jan  1 00:00:00 fw CEF:0|a|b|c|d|e|5|"), find("LEEF:1.0|a|b|c|d|"), find("no")
    (23, 0, -1)
    """
    found = (_CEF.search(text) if "CEF:" in text else None) or (_LEEF.search(text) if "LEEF:" in text else None)
    return found.start() if found else -1


def add_fields(text: str, record: Record) -> None:
    """Add the fields of a text that starts with a CEF or LEEF header to a record.

    Raises:
        ParseError: the header has too few parts.
        LimitExceeded: there are more than ``EXTENSIONS_MAX`` extension fields.
    """
    if text.startswith("CEF:"):
        extension = _add_header(text, "cefVersion", _CEF_HEADER, record)
        _add_cef_extension(extension, record)
    else:
        extension = _add_header(text, "leefVersion", _LEEF_HEADER, record)
        _add_leef_extension(extension, record)


def _add_header(text: str, version: str, names: tuple[str, ...], record: Record) -> str:
    """Read the parts between the bars; give what follows them."""
    bar = text.index("|")
    record[version] = text[text.index(":") + 1 : bar].strip()
    end = bar + 1
    for place, name in enumerate(names):
        part = _BAR.match(text, end)
        if part is None:
            # Some writers leave the last bar out when there is no extension.
            if place == len(names) - 1 and name == "severity":
                record[name] = _unescape(text[end:])
                return ""
            raise ParseError(f"{version[:4].upper()} header has only {place} of {len(names)} parts")
        record[name] = _unescape(text[end : part.end() - 1])
        end = part.end()
    return text[end:]


def _add_cef_extension(extension: str, record: Record) -> None:
    # What the pattern splits: the text before the first key, then keys and values in turn.
    parts = _KEY.split(extension, EXTENSIONS_MAX + 1)
    keys = parts[1::2]
    if len(keys) > EXTENSIONS_MAX:
        raise LimitExceeded("EXTENSIONS_MAX", EXTENSIONS_MAX)
    values = [value.rstrip() for value in parts[2::2]]
    if "\\" in extension:
        values = [_unescape(value) for value in values]
    record.update(zip(keys, values, strict=True))
    if "Label=" in extension:
        _add_labelled(keys, record)


def _add_leef_extension(extension: str, record: Record) -> None:
    delimiter = "\t"
    if str(record["leefVersion"]).startswith("2") and (stated := _LEEF_DELIMITER.match(extension)):
        if stated[1]:
            delimiter = chr(int(stated[1], 16))
        elif stated[2]:
            delimiter = stated[2]
        extension = extension[stated.end() :]
    # Not all writers keep to the tab that version 1.0 asks for.
    if delimiter == "\t" and "\t" not in extension and extension.count("=") > 1:
        _add_cef_extension(extension, record)
        return
    pairs = extension.split(delimiter, EXTENSIONS_MAX)
    if len(pairs) > EXTENSIONS_MAX:
        raise LimitExceeded("EXTENSIONS_MAX", EXTENSIONS_MAX)
    names: list[str] = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if equals and name.strip():
            names.append(name.strip())
            record[names[-1]] = _unescape(value)
    _add_labelled(names, record)


def _add_labelled(names: list[str], record: Record) -> None:
    for name in names:
        if name.endswith("Label") and (value := record.get(name[:-5])) is not None:
            label = record[name]
            if isinstance(label, str) and label:
                record.setdefault(label, value)


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[1]), text) if "\\" in text else text

r"""Lines of ``key=value`` pairs: FortiGate, Huawei and H3C firewalls, Netfilter, and many programs.

Three styles, told apart by what follows the first pair: white space (``a=1 b="two words"``), comma
(``a=1, b=2``), semicolon (H3C: ``Protocol(1001)=TCP;…``, the number in brackets is left out of the name). Values
are text, without their quotes; a backslash escapes a quote. A pair that comes again wins.

``time``: where the line has ``date`` and ``time`` (and ``tz``), ``time`` becomes the whole moment as ISO 8601 and
``timestamp`` keeps what was written. FortiGate's ``eventtime`` stays as it is.

Source: Fortinet, FortiOS Log Reference (log format, header fields); H3C and Huawei system log references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mingjian.errors import LimitExceeded, ParseError
from mingjian.formats.tables import first_lines, found_at_most, mostly, read_lines
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.values import Record

PAIRS_MAX = 1024
"""A line with more pairs than this is quarantined."""

# As in every pattern here: a name starts after a separator and is walked over once (possessive ``++``).
_SPACED = re.compile(r'(?<!\S)([A-Za-z_][\w.-]*+)=(?:"((?:[^"\\]|\\.)*+)"|([^\s"]\S*+|))', re.ASCII)
_COMMA = re.compile(r'(?<![^\s,])([A-Za-z_][\w.-]*+)=(?:"((?:[^"\\]|\\.)*+)"|([^",][^,]*+|))', re.ASCII)
_SEMICOLON = re.compile(r"(?<![^\s;])([A-Za-z_][\w.-]*+)(?:\([0-9]{1,6}\))?=()([^;]*+)", re.ASCII)
_BEGINS = re.compile(r"[A-Za-z_][\w.-]*+(?:\([0-9]{1,6}\))?=", re.ASCII)
_STYLES = (
    (
        re.compile(r"[A-Za-z_][\w.-]*+\([0-9]{1,6}\)=[^;]*+;|[A-Za-z_][\w.-]*+=[^;,\s]*+;\s?[A-Za-z_]", re.ASCII),
        _SEMICOLON,
    ),
    (re.compile(r'[A-Za-z_][\w.-]*+=(?:"[^"]*+"|[^,"=]*+),\s?[A-Za-z_][\w.-]*+=', re.ASCII), _COMMA),
    (re.compile(r'[A-Za-z_][\w.-]*+=(?:"(?:[^"\\]|\\.)*+"|\S*+)\s++[A-Za-z_][\w.-]*+=', re.ASCII), _SPACED),
)
_ESCAPED = re.compile(r'\\(["\\])')
_ZONE = re.compile(r"[+-][0-9]{2}:?[0-9]{2}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?")


def recognise(head: bytes, name: str) -> bool:
    """Whether most of the first lines begin with at least two pairs."""
    return mostly(first_lines(head), pairs_at)


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read lines that consist of pairs; a line that does not begin with one is quarantined."""
    return read_lines(piece, "keyvalue", _parse_line)


def _parse_line(line: str, modified_at_s: float | None) -> Record | None:
    stripped = line.strip()
    if not stripped:
        return None
    record: Record = {"_raw": line}
    if not add_pairs(stripped, record):
        raise ParseError("does not begin with key=value pairs")
    return record


def pairs_at(text: str) -> re.Pattern[str] | None:
    """The pattern that reads the pairs with which a text begins; None if it does not begin with two of them.

    >>> pairs_at("a=1 b=2") is None, pairs_at("a = 1") is None
    (False, True)
    """
    if not _BEGINS.match(text):
        return None
    return next((pairs for begins, pairs in _STYLES if begins.match(text)), None)


def add_pairs(text: str, record: Record) -> bool:
    """Add the pairs of a text that begins with them to a record; False if it does not begin with two pairs."""
    pairs = pairs_at(text)
    if pairs is None:
        return False
    found = found_at_most(pairs, text, PAIRS_MAX + 1)
    if len(found) > PAIRS_MAX:
        raise LimitExceeded("PAIRS_MAX", PAIRS_MAX)
    if "\\" in text:
        found = [(name, _ESCAPED.sub(r"\1", quoted), plain) for name, quoted, plain in found]
    record.update([(name, quoted or plain) for name, quoted, plain in found])
    _complete_time(record)
    return True


def _complete_time(record: Record) -> None:
    date, clock, zone = record.get("date"), record.get("time"), record.get("tz", "")
    if not (isinstance(date, str) and isinstance(clock, str) and isinstance(zone, str)):
        return
    if _DATE.fullmatch(date) and _CLOCK.fullmatch(clock):
        stated = zone if _ZONE.fullmatch(zone) else ""
        record["timestamp"] = f"{date} {clock} {stated}".rstrip()
        record["time"] = f"{date}T{clock}{stated}"

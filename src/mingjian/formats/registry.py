"""All formats in one place: which one some bytes are in, and who reads it.

A format is one row of ``_ROWS``; its module is imported when the format is first tried or read, so that importing
the registry costs nothing. The module of a format offers two functions (a module with two formats: two pairs, named
in the row):

``recognise(head: bytes, name: str) -> bool``
    Whether a file that begins like this is in the format. ``head`` is the beginning of the decompressed file, at most
    ``HEAD_BYTES_MAX`` bytes, cut anywhere; text comes as UTF-8 without byte order mark, whatever the file is in
    (only bytes that are neither UTF-8 nor UTF-16 come as they are). ``name`` may break a tie, never decide.
``read(piece: Piece) -> Iterator[Block | Quarantined]``
    The records, and what could not become one. Text readers take their lines from ``formats.text``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from itertools import chain

import msgspec

from mingjian.errors import ParseError, shown
from mingjian.formats.text import is_text, is_utf16, normalised_head
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined

HEAD_BYTES_MAX = 65_536
"""So much of the beginning of a file decides about its format."""


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of file: how to know it, how to read it, and how it may be cut."""

    name: str
    sentence: str
    recognise: Callable[[bytes, str], bool]
    read: Callable[[Piece], Iterator[Block | Quarantined]]
    splittable: bool
    """Lines without state from a header: the file may be cut after any line feed, and the pieces read independently
    with their ``first_number`` and ``first_offset`` (not if it is UTF-16, see ``may_be_cut``)."""
    header_bytes: int = 0
    stride_bytes: int = 0
    """If not 0: the file may be cut at ``header_bytes + n * stride_bytes``, and the pieces read independently."""


class _Row(msgspec.Struct, frozen=True):
    name: str
    module: str
    sentence: str
    splittable: bool = False
    recognise: str = "recognise"
    read: str = "read"
    header_bytes: int = 0
    stride_bytes: int = 0


# From the strictest signature to the loosest: the first that recognises the head gets the file.
_ROWS = (
    _Row("evtx", "evtx", "Windows event log (EVTX)", header_bytes=4096, stride_bytes=65_536),
    _Row("winxml", "winxml", "Windows events rendered as XML"),
    _Row("jsonl", "json", "JSON lines: one object per line", True, "recognise_lines", "read_lines"),
    _Row("json", "jsondoc", "JSON arrays, wrapped records, and objects one after the other"),
    _Row("zeek", "zeek", "Zeek logs, tab-separated with a header"),
    _Row("w3c", "w3c", "W3C extended log format, as IIS writes it"),
    _Row("cef", "syslog", "ArcSight Common Event Format, bare or inside syslog", True, "recognise_cef", "read_cef"),
    _Row("leef", "syslog", "IBM QRadar Log Event Extended Format", True, "recognise_leef", "read_leef"),
    _Row("auditd", "auditd", "Records of the Linux audit system", True),
    _Row("syslog", "syslog", "Syslog (RFC 3164, RFC 5424), with sshd, sudo and auditd parsed", True),
    _Row("weblog", "weblog", "Access logs of Apache and nginx (common, combined), and of Squid", True),
    _Row("weberror", "weblog", "Error logs of Apache and nginx", True, "recognise_errors", "read_errors"),
    _Row("keyvalue", "keyvalue", "Lines of key=value pairs (FortiGate and others)", True),
    _Row("csv", "csvtable", "Comma-separated values with a header"),
    _Row("text", "text", "Lines of text in no known format", True),
)


@cache
def _function(module: str, name: str) -> Callable[..., object]:
    return getattr(import_module(f"mingjian.formats.{module}"), name)


def _format(row: _Row) -> Format:
    def recognise_lazily(head: bytes, name: str) -> bool:
        return bool(_function(row.module, row.recognise)(head, name))

    def read_lazily(piece: Piece) -> Iterator[Block | Quarantined]:
        return _function(row.module, row.read)(piece)  # type: ignore[return-value]  # every read has this type

    return Format(
        name=row.name,
        sentence=row.sentence,
        recognise=recognise_lazily,
        read=read_lazily,
        splittable=row.splittable,
        header_bytes=row.header_bytes,
        stride_bytes=row.stride_bytes,
    )


FORMATS: tuple[Format, ...] = tuple(_format(row) for row in _ROWS)
"""All formats, in the order in which they are tried."""


def recognise(head: bytes, name: str) -> Format | None:
    """Find the format of a file by its first bytes (decompressed, at most ``HEAD_BYTES_MAX`` count).

    Depends on nothing but the arguments. None: not text, and no binary format that we know.
    """
    head = normalised_head(head[:HEAD_BYTES_MAX])
    return next((each for each in FORMATS if each.recognise(head, name)), None)


def may_be_cut(format_: Format, head: bytes) -> bool:
    """Whether a file in this format with these first bytes may be cut at line ends and read in pieces."""
    return format_.splittable and not is_utf16(head)


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Recognise the format of a whole file and read it; a file in no known format is one ``Quarantined``."""
    parts: list[bytes] = []
    size = 0
    for chunk in piece.chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= HEAD_BYTES_MAX:
            break
    head = b"".join(parts)
    found = recognise(head, piece.file)
    if found is None:
        yield unknown(piece.file, head)
    else:
        yield from found.read(msgspec.structs.replace(piece, chunks=chain(parts, piece.chunks)))


def unknown(file: str, head: bytes) -> Quarantined:
    """Tell that a file is in no format that we know."""
    reason = f"not text, and no known binary format; begins with {shown(head[:16])}"
    return Quarantined(
        file=file, record=0, offset=0, code=ParseError.code, reason=reason, data=head[:QUARANTINED_BYTES_MAX]
    )


__all__ = ["FORMATS", "HEAD_BYTES_MAX", "Format", "is_text", "may_be_cut", "read", "recognise", "unknown"]

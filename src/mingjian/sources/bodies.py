"""What an HTTP request brings, turned into the lines that a journal keeps. Pure: bytes in, lines out.

JSON lines and every format of independent text lines are kept as they came, line for line. A JSON array, an object
that wraps a list, and pretty-printed objects become one line for each record, each with the bytes that it was written
in (a line feed between its parts becomes a space). Formats whose lines mean nothing without their header (CSV, Zeek,
W3C), binary ones, and UTF-16 are refused: they are files, and whoever sends one learns it at once.
"""

from __future__ import annotations

import io
from typing import Final

import msgspec

from mingjian.errors import LimitExceeded, ParseError, SchemaError
from mingjian.formats import jsondoc, registry
from mingjian.formats.containers import Member, container_kind, open_members
from mingjian.formats.text import is_utf16
from mingjian.model.blocks import Piece, Quarantined

BODY_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of one request, as sent. A larger one is refused."""
TEXT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Of one request, decompressed. A larger one is refused."""

_BOM: Final = b"\xef\xbb\xbf"


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one request."""

    format: str
    """Name of their format, as in ``formats.registry``."""
    lines: bytes
    """Each with its line feed; none of them empty."""
    records: int


def unpack(data: bytes, coding: str) -> bytes:
    """Undo the content coding of a body: none (``identity``) or ``gzip``.

    Raises:
        SchemaError: another coding.
        ParseError: damaged.
        LimitExceeded: more than ``TEXT_BYTES_MAX`` comes out, or more than such bytes can honestly hold.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return data
    if coding not in ("gzip", "x-gzip"):
        raise SchemaError("this content coding is not understood", hint="gzip, or none")
    if container_kind(data) != "gzip":
        raise ParseError("the body is not gzip")
    parts: list[bytes] = []
    size = 0
    for number, member in enumerate(open_members("body", io.BytesIO(data))):
        if not isinstance(member, Member):
            raise (
                LimitExceeded("TEXT_BYTES_MAX", TEXT_BYTES_MAX) if "limit" in member.code else ParseError(member.reason)
            )
        if number or member.name != "body":
            raise SchemaError("the body is an archive", hint="send the records themselves")
        for chunk in member.chunks:
            parts.append(chunk)
            size += len(chunk)
            if size > TEXT_BYTES_MAX:
                raise LimitExceeded("TEXT_BYTES_MAX", TEXT_BYTES_MAX)
    return b"".join(parts)


def read_body(data: bytes, *, json_expected: bool) -> Body:
    r"""Turn a body into lines.

    Raises:
        ParseError: it was to be JSON, and is not. Nothing of it is to be kept.
        SchemaError: a format that cannot be taken apart into lines.

    >>> read_body(b'[{"a": 1},\n {"b":\n 2}]', json_expected=True)
    Body(format='jsonl', lines=b'{"a": 1}\n{"b":  2}\n', records=2)
    """
    data = data.removeprefix(_BOM)
    head = data[: registry.HEAD_BYTES_MAX]
    if is_utf16(head):
        raise SchemaError("the body is UTF-16", hint="send UTF-8")
    if container_kind(head) is not None:
        raise SchemaError("the body is an archive or compressed", hint="Content-Encoding: gzip, and the records inside")
    found = registry.recognise(head, "")
    name = "" if found is None else found.name
    if name == "json":
        return _from_document(data)
    if json_expected and name != "jsonl":
        raise ParseError("the body is not JSON", hint="one object per line, or an array of objects")
    if found is None or not found.splittable:
        what = "no known kind of text" if found is None else found.sentence
        raise SchemaError(f"the body is {what}: not lines that stand for themselves", hint="ingest it as a file")
    lines = [line for line in data.split(b"\n") if line.strip(b"\r")]
    return Body(format=name, lines=_joined(lines), records=len(lines))


def _from_document(data: bytes) -> Body:
    """One line for each record of a JSON document."""
    lines: list[bytes] = []
    for block in jsondoc.read(Piece(file="body", chunks=iter([data]))):
        if isinstance(block, Quarantined):
            raise ParseError(block.reason, where=f"body, byte {block.offset}")
        # A raw line feed can only stand between the parts of a JSON text, never inside one.
        lines += [block.raw(row).replace(b"\n", b" ") for row in range(len(block.numbers))]
    return Body(format="jsonl", lines=_joined(lines), records=len(lines))


def _joined(lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n" if lines else b""

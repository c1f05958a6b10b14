"""One file of indicators: what it is, told from its beginning, and read accordingly.

JSON is STIX (a bundle, an answer of TAXII, single objects) or MISP (an event, several, the answer of a search);
everything else is CSV if its first line names columns that feeds have, and a plain list if not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

import msgspec

from mingjian.errors import InputError, LimitExceeded, ParseError
from mingjian.formats.bounded import decode_json
from mingjian.formats.indicators import lists, misp, stix, tables
from mingjian.formats.indicators.lists import Entry
from mingjian.formats.text import as_utf8, is_text
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Piece, Quarantined
from mingjian.model.indicators import Assumed

DOCUMENT_BYTES_MAX: Final = 256 * 1024 * 1024
"""A JSON document is read as a whole; a larger one is refused."""
DOCUMENT_VALUES_MAX: Final = 32_000_000
"""So many values may be in one; only those of one object at a time take memory."""
HEAD_BYTES: Final = 65_536

_JSON: Final = re.compile(rb'\s*(?:\{\s*["}]|\[\s*[{\]])')


_NOTHING: Final = msgspec.Raw()


class _Document(msgspec.Struct, frozen=True):
    """What the JSON documents that we know begin with."""

    type: str = ""
    objects: list[msgspec.Raw] | None = None
    Event: msgspec.Raw = _NOTHING
    Attribute: list[msgspec.Raw] | None = None
    Object: list[msgspec.Raw] | None = None
    response: msgspec.Raw = _NOTHING


_DOCUMENT: Final = msgspec.json.Decoder(_Document)
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])


def read(piece: Piece, assumed: Assumed) -> Iterator[Entry]:
    """Read one file of indicators in whatever form it is."""
    chunks, first_offset, _ = as_utf8(piece)
    head = b""
    parts: list[bytes] = []
    for chunk in chunks:
        parts.append(chunk)
        head += chunk[: HEAD_BYTES - len(head)]
        if len(head) >= HEAD_BYTES:
            break
    piece = Piece(file=piece.file, chunks=chain(parts, chunks), first_offset=first_offset)
    if not head.strip():
        return
    if not is_text(head):
        yield _refused(piece.file, ParseError("not a text: indicators come as lists, CSV, STIX or MISP"), head)
    elif _JSON.match(head):
        yield from _read_json(piece, assumed)
    elif tables.header_line(head) is not None:
        yield from tables.read(piece, assumed, head)
    else:
        yield from lists.read(piece, assumed)


def _read_json(piece: Piece, assumed: Assumed) -> Iterator[Entry]:
    data = b""
    try:
        data = _whole(piece)
        yield from _documents(piece.file, data, assumed)
    except InputError as error:
        yield _refused(piece.file, error, data)


def _whole(piece: Piece) -> bytes:
    parts: list[bytes] = []
    left = DOCUMENT_BYTES_MAX
    for chunk in piece.chunks:
        left -= len(chunk)
        if left < 0:
            raise LimitExceeded("DOCUMENT_BYTES_MAX", DOCUMENT_BYTES_MAX)
        parts.append(chunk)
    return b"".join(parts)


def _listed(data: bytes, file: str) -> list[msgspec.Raw]:
    return decode_json(
        data, _LIST.decode, where=file, size_bytes_max=DOCUMENT_BYTES_MAX, values_max=DOCUMENT_VALUES_MAX
    )


def _one(data: bytes, file: str) -> _Document:
    return decode_json(
        data, _DOCUMENT.decode, where=file, size_bytes_max=DOCUMENT_BYTES_MAX, values_max=DOCUMENT_VALUES_MAX
    )


def _documents(file: str, data: bytes, assumed: Assumed) -> Iterator[Entry]:
    if data.lstrip().startswith(b"["):
        yield from _several(file, _listed(data, file), assumed)
        return
    document = _one(data, file)
    if inner := bytes(document.response):
        if inner.lstrip().startswith(b"["):
            yield from _several(file, _listed(inner, file), assumed)
            return
        data, document = inner, _one(inner, file)
    if bytes(document.Event):
        yield from misp.read_events(file, [document.Event], assumed, DOCUMENT_VALUES_MAX)
    elif document.Attribute is not None or document.Object is not None:
        # An event without its wrapper, or attributes that were searched for.
        yield from misp.read_events(file, [msgspec.Raw(data)], assumed, DOCUMENT_VALUES_MAX)
    elif document.objects is not None:
        yield from stix.read(file, document.objects, assumed)
    elif document.type == "indicator":
        yield from stix.read(file, [msgspec.Raw(data)], assumed)
    elif document.type != "bundle":
        if misp.manifest(data, file=file, size_bytes_max=DOCUMENT_BYTES_MAX) is not None:
            raise ParseError("the manifest of a MISP feed: add its folder instead")
        raise ParseError("JSON that is neither STIX nor MISP")


def _several(file: str, items: list[msgspec.Raw], assumed: Assumed) -> Iterator[Entry]:
    """A list of MISP events, or of STIX objects."""
    events = [_one(bytes(item), file).Event for item in items[:1]]
    if not any(map(bytes, events)):
        yield from stix.read(file, items, assumed)
        return
    events += [_one(bytes(item), file).Event for item in items[1:]]
    if not all(map(bytes, events)):
        raise ParseError("a list of MISP events with something else in it")
    yield from misp.read_events(file, events, assumed, DOCUMENT_VALUES_MAX)


def _refused(file: str, error: InputError, data: bytes) -> Quarantined:
    """A file that cannot be read at all."""
    kept = data[:QUARANTINED_BYTES_MAX]
    return Quarantined(file=file, record=0, offset=-1, code=error.code, reason=error.what, data=kept)

"""Windows events rendered as XML: exports of the event viewer, forwarders, and Sysmon for Linux.

A file may hold one ``<Event>`` or any number, inside a root element, one per line, or one after the other. Each is cut
out by its tags and read by itself, so that a damaged one costs only itself. Names are those of EVTX
(``formats.winevent``). XML knows only text: numbers of ``System`` become numbers, everything else stays as written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from xml.etree.ElementTree import Element

from mingjian.errors import InputError, LimitExceeded, ParseError, SchemaError
from mingjian.formats.bounded import local_name, parse_xml
from mingjian.formats.records import BLOCK_RECORDS_MAX, RecordBlock
from mingjian.formats.text import as_utf8, decode, utf16_bytes
from mingjian.formats.winevent import flatten
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined
from mingjian.model.values import Record, Value

EVENT_BYTES_MAX = 1024 * 1024
"""A longer event is quarantined."""

BLOCK_BYTES_MAX = 8 * 1024 * 1024

_START = re.compile(rb"<(?:[A-Za-z_][\w.-]{0,31}:)?Event(?=[\s>/])")
_BORDER = re.compile(rb"(</(?:[A-Za-z_][\w.-]{0,31}:)?Event\s{0,8}>)|<(?:[A-Za-z_][\w.-]{0,31}:)?Event(?=[\s>/])")
"""What ends an event: its end tag, or (where that is lost) the start of the next."""
_TAG_TAIL_BYTES = 64
"""A tag that a cut went through is not longer than this."""
_EVENT_TAG_BYTES = len(b"<Event")
_FILLER = re.compile(rb"(?:\s+|<\?xml[^>]{0,200}\?>|</?(?:[\w.-]+:)?Events(?:\s[^>]*)?>|<!--.{0,1000}?-->)*", re.DOTALL)
"""What may stand between events."""
_FIRST = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<(?:[\w.-]+:)?(Events?)[\s>]", re.DOTALL)
_SYSTEM = re.compile(rb"<(?:[\w.-]+:)?System[\s>]")
_NUMBERS = frozenset({"EventID", "Version", "Level", "Task", "Opcode", "EventRecordID"})
_NUMBER_ATTRIBUTES = frozenset(
    {"Qualifiers", "ProcessID", "ThreadID", "ProcessorID", "SessionID", "KernelTime", "UserTime"}
)
_FORBIDDEN = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\ud800-\\udfff\\ufffe\\uffff]|&#(?:[0-8]|1[124-9]|2[0-9]|3[01]|x0*(?:[0-8bcefBCEF]|1[0-9a-fA-F]));"
)
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})").fullmatch


def recognise(head: bytes, name: str) -> bool:
    """Whether the head begins with an event of Windows, or with the root element of several."""
    first = _FIRST.match(head)
    return first is not None and _SYSTEM.search(head, first.start(1)) is not None


def parse_event_xml(text: str | bytes, *, where: str = "") -> Record:
    """Read one ``<Event>`` element into a flat record.

    >>> parse_event_xml("<Event><System><EventID>1</EventID></System><EventData>"
    ...                 "<Data Name='Image'>/bin/sh</Data></EventData></Event>")
    {'EventID': 1, 'Image': '/bin/sh'}

    Raises:
        ParseError: not XML.
        SchemaError: XML, but not an event.
        LimitExceeded: a bound of ``formats.bounded``.
    """
    root = _parsed(text, where)
    if local_name(root.tag) != "Event":
        raise SchemaError("expected an Event element", where=where)
    sections: dict[str, Value] = {}
    for section in root:
        tag = local_name(section.tag)
        if tag in sections:
            raise SchemaError(f"an event with two {tag} parts", where=where)
        sections[tag] = _system(section) if tag == "System" else _data(tag, section)
    return flatten(sections)


def _parsed(text: str | bytes, where: str) -> Element:
    """Parse; characters that XML forbids (some forwarders write them raw) become U+FFFD."""
    try:
        return parse_xml(text, where=where)
    except ParseError:
        text = decode(text) if isinstance(text, bytes) else text
        allowed = _FORBIDDEN.sub("\ufffd", text)
        if allowed == text:
            raise
        return parse_xml(allowed, where=where)


def _attributes(element: Element) -> dict[str, Value]:
    return {local_name(name): value for name, value in element.items()}


def _system(section: Element) -> dict[str, Value]:
    content: dict[str, Value] = {}
    for child in section:
        tag = local_name(child.tag)
        value: Value = _text(child).strip()
        if tag in _NUMBERS:
            value = _number(value)
        if child.keys():
            attributes: dict[str, Value] = {
                name: _number(inner) if name in _NUMBER_ATTRIBUTES else inner for name, inner in child.items()
            }
            content[tag] = {"#attributes": attributes, "#text": value} if value != "" else {"#attributes": attributes}
        else:
            content[tag] = value
    return content


def _number(text: str) -> int | str:
    return int(text) if _WHOLE(text) else text


def _text(element: Element) -> str:
    """The character data directly inside an element."""
    text = element.text or ""
    return text + "".join(child.tail or "" for child in element) if len(element) else text


def _data(tag: str, section: Element) -> dict[str, Value]:
    """What stands in ``EventData``, ``UserData`` and the like, in the shape that ``flatten`` wants."""
    content: dict[str, Value] = {}
    if section.keys():
        content["#attributes"] = _attributes(section)
    unnamed: list[Value] = []
    for child in section:
        name = local_name(child.tag)
        if name != "Data":
            _add(content, name, _element(child))
        elif named := child.get("Name"):
            _add(content, named, _text(child))
        else:
            unnamed.append(_text(child))
    if unnamed:
        content["Data"] = {"#text": unnamed if len(unnamed) > 1 else unnamed[0]}
    if not content and (text := _text(section).strip()):
        content[tag] = text
    return content


def _element(element: Element) -> Value:
    """An element as nested objects. The depth of XML is bounded, so recursion is."""
    if not len(element) and not element.keys():
        return element.text or ""
    content: dict[str, Value] = {"#attributes": _attributes(element)} if element.keys() else {}
    for child in element:
        _add(content, local_name(child.tag), _element(child))
    if (text := _text(element)) and not text.isspace():
        content["#text"] = text
    return content


def _add(content: dict[str, Value], name: str, value: Value) -> None:
    if name not in content:
        content[name] = value
        return
    taken = content[name]
    content[name] = [*taken, value] if isinstance(taken, list) else [taken, value]


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read all events of a file. Records are numbered from ``first_number`` on in the order of the file."""
    numbers: list[int] = []
    records: list[Record] = []
    raws: list[bytes] = []
    size = 0
    for found in _events(piece):
        if isinstance(found, Quarantined):
            problem = found
        else:
            number, offset, data = found
            try:
                record = parse_event_xml(decode(data))
            except InputError as error:
                problem = _quarantined(piece.file, number, offset, error, data)
            else:
                numbers.append(number)
                records.append(record)
                raws.append(data)
                size += len(data)
                if len(records) < BLOCK_RECORDS_MAX and size < BLOCK_BYTES_MAX:
                    continue
                problem = None
        if records:
            yield RecordBlock("winxml", numbers, records, raws)
            numbers, records, raws, size = [], [], [], 0
        if problem is not None:
            yield problem
    if records:
        yield RecordBlock("winxml", numbers, records, raws)


class _Cutter:
    """Cuts a stream of bytes into events and what stands between them.

    Each result is (is it an event, has it an end tag, how long it is, its bytes or their beginning); together they
    cover the stream. The result does not depend on where the chunks are cut.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._scanned: int = 0
        self._inside = False
        self._kept = b""
        """The beginning of what is too long to be kept whole."""
        self._dropped = 0

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[tuple[bool, bool, int, bytes]]:
        """Take bytes and give what is complete."""
        self._buffer += data
        start = 0
        while True:
            found = (_BORDER if self._inside else _START).search(self._buffer, self._scanned)
            if found is None:
                break
            ended = self._inside and found.group(1) is not None
            at = found.end() if ended else found.start()
            if at > start or self._dropped:
                yield self._piece(start, at, ended=ended)
            start, self._inside = at, not ended
            self._scanned = at if ended else at + _EVENT_TAG_BYTES
        if last:
            if len(self._buffer) > start or self._dropped:
                yield self._piece(start, len(self._buffer), ended=False)
            return
        self._scanned = max(self._scanned, len(self._buffer) - _TAG_TAIL_BYTES)
        if self._scanned - start > EVENT_BYTES_MAX:
            self._kept = self._kept or self._buffer[start : start + EVENT_BYTES_MAX + 1]
            self._dropped += self._scanned - start
            start = self._scanned
        self._buffer, self._scanned = self._buffer[start:], self._scanned - start

    def _piece(self, start: int, end: int, *, ended: bool) -> tuple[bool, bool, int, bytes]:
        size = self._dropped + end - start
        data = self._kept or self._buffer[start : min(end, start + EVENT_BYTES_MAX + 1)]
        self._kept, self._dropped = b"", 0
        return self._inside, ended, size, data


def _events(piece: Piece) -> Iterator[tuple[int, int, bytes] | Quarantined]:
    """Number, offset and bytes of each event that has both its tags; the rest, unless it is filler, in its place."""
    chunks, offset, utf16 = as_utf8(piece)
    cutter = _Cutter()
    number = piece.first_number
    for is_event, ended, size, data in chain(
        chain.from_iterable(map(cutter.feed, chunks)), cutter.feed(b"", last=True)
    ):
        if is_event and size > EVENT_BYTES_MAX:
            yield _quarantined(piece.file, number, offset, LimitExceeded("EVENT_BYTES_MAX", EVENT_BYTES_MAX), data)
        elif is_event and ended:
            yield number, offset, data
        elif is_event:
            yield _quarantined(piece.file, number, offset, ParseError("an event without its end tag"), data)
        elif not _FILLER.fullmatch(data) and not data.isspace():
            yield _quarantined(piece.file, 0, offset, ParseError("what stands here is no event"), data)
        number += is_event
        offset += utf16_bytes(data) if utf16 else size


def _quarantined(file: str, record: int, offset: int, error: InputError, data: bytes) -> Quarantined:
    return Quarantined(
        file=file, record=record, offset=offset, code=error.code, reason=str(error), data=data[:QUARANTINED_BYTES_MAX]
    )

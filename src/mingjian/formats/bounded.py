"""The only way in for YAML, JSON and XML from outside: every size, depth and count has a bound.

Everything here fails closed: what passes a bound is refused as a whole with ``LimitExceeded``, which names the bound;
what is not well-formed is refused with ``ParseError`` and the place. Archives are opened by ``formats.containers``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias, TypeVar
from xml.etree.ElementTree import XML, Element, TreeBuilder, XMLParser
from xml.etree.ElementTree import ParseError as XmlSyntaxError
from xml.parsers import expat

import msgspec
import orjson
import yaml

from mingjian.errors import LimitExceeded, ParseError, shown

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
"""What YAML and JSON can hold here. Keys are text as written; dates are text."""

T = TypeVar("T")

YAML_BYTES_MAX = 512 * 1024
YAML_DEPTH_MAX = 32
YAML_EVENTS_MAX = 20_000
YAML_ALIASES_MAX = 0
YAML_DOCUMENTS_MAX = 256
YAML_DIGITS_MAX = 400

JSON_BYTES_MAX = 16 * 1024 * 1024
JSON_DEPTH_MAX = 128
JSON_VALUES_MAX = 500_000
"""Half a million small values take about 60 MB."""

XML_BYTES_MAX = 16 * 1024 * 1024
XML_DEPTH_MAX = 64
XML_ELEMENTS_MAX = 100_000
XML_ATTRIBUTES_MAX = 256
"""Of one element."""

# --- YAML ---------------------------------------------------------------------------------------------------------

_YAML_WORDS: Final[dict[str, bool | None]] = {
    **{spelt: True for word in ("yes", "true", "on") for spelt in (word, word.capitalize(), word.upper())},
    **{spelt: False for word in ("no", "false", "off") for spelt in (word, word.capitalize(), word.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_YAML_NUMBER_START = frozenset("+-.0123456789")
_YAML_INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)").fullmatch
_YAML_FLOAT = re.compile(r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?").fullmatch
_YAML_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)").fullmatch
_YAML_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_NO_KEY: Final = object()


def parse_yaml(text: bytes, *, file: str) -> list[Plain]:
    r"""Read all documents of a YAML file as plain values, in one pass over the parser's events, without recursion.

    Scalars mean what they mean in YAML 1.1 (``yes`` is true, ``0x1f`` and ``017`` are numbers), with two exceptions
    that suit detection rules: dates and times of day (``2024-01-31``, ``10:30``) stay text. Keys are always text.

    >>> parse_yaml(b"a: [1, x, 2024-01-31]\n---\nb:", file="f")
    [{'a': [1, 'x', '2024-01-31']}, {'b': None}]

    Raises:
        LimitExceeded: a bound of this module's ``YAML_*_MAX`` was passed.
        ParseError: not YAML, a duplicate key, an explicit tag other than that of text, or a key that is a collection.
    """
    if len(text) > YAML_BYTES_MAX:
        raise LimitExceeded("YAML_BYTES_MAX", YAML_BYTES_MAX, where=file)
    builder = _YamlBuilder(file)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        what = " ".join(part for part in (error.problem, error.context) if part)
        raise ParseError(f"not YAML: {what}", where=_place(file, error.problem_mark or error.context_mark)) from None
    except (yaml.YAMLError, UnicodeError) as error:
        what = str(error).splitlines()[0]
        raise ParseError(f"not YAML: {what}", where=file) from None
    return builder.documents


class _Mark(Protocol):
    """A place, as the parser in C and the one in Python both tell it."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


def _place(file: str, mark: _Mark | None) -> str:
    return f"{file}:{mark.line + 1}:{mark.column + 1}" if mark is not None else file


class _YamlBuilder:
    """Makes plain values of a stream of events and counts what it sees."""

    def __init__(self, file: str) -> None:
        self.documents: list[Plain] = []
        self._file = file
        self._events = 0
        self._stack: list[tuple[list[Plain] | dict[str, Plain], object]] = []
        """The open collections, and for a mapping the key whose value comes next."""

    def take(self, event: yaml.Event) -> None:
        """Take the next event."""
        self._events += 1
        if self._events > YAML_EVENTS_MAX:
            raise self._limit("YAML_EVENTS_MAX", YAML_EVENTS_MAX, event)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._open({}, event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open([], event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._stack.pop()
        elif isinstance(event, yaml.AliasEvent):
            raise self._limit("YAML_ALIASES_MAX", YAML_ALIASES_MAX, event)
        elif isinstance(event, yaml.DocumentStartEvent) and len(self.documents) >= YAML_DOCUMENTS_MAX:
            raise self._limit("YAML_DOCUMENTS_MAX", YAML_DOCUMENTS_MAX, event)

    def _limit(self, name: str, bound: int, event: yaml.Event) -> LimitExceeded:
        return LimitExceeded(name, bound, where=_place(self._file, event.start_mark))

    def _error(self, what: str, event: yaml.Event) -> ParseError:
        return ParseError(what, where=_place(self._file, event.start_mark))

    def _open(self, collection: list[Plain] | dict[str, Plain], event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            raise self._error(f"the tag {shown(event.tag)} is not allowed", event)
        if len(self._stack) >= YAML_DEPTH_MAX:
            raise self._limit("YAML_DEPTH_MAX", YAML_DEPTH_MAX, event)
        self._add(collection, event)
        self._stack.append((collection, _NO_KEY))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if self._stack:
            collection, key = self._stack[-1]
            if key is _NO_KEY and isinstance(collection, dict):
                self._key(collection, event)
                return
        if event.tag is not None and event.tag not in _YAML_TEXT_TAGS:
            raise self._error(f"the tag {shown(event.tag)} is not allowed", event)
        plain = event.implicit[0] and event.tag is None
        self._add(self._resolved(event) if plain else event.value, event)

    def _key(self, collection: dict[str, Plain], event: yaml.ScalarEvent) -> None:
        if event.value in collection:
            raise self._error(f"the key {shown(event.value)} stands here twice", event)
        self._stack[-1] = (collection, event.value)

    def _add(self, value: Plain, event: yaml.Event) -> None:
        if not self._stack:
            self.documents.append(value)
            return
        collection, key = self._stack[-1]
        if isinstance(collection, list):
            collection.append(value)
        elif isinstance(key, str):
            collection[key] = value
            self._stack[-1] = (collection, _NO_KEY)
        else:
            raise self._error("a key must be a single value, not a collection", event)

    def _resolved(self, event: yaml.ScalarEvent) -> Plain:
        """What a scalar without quotes means."""
        text: str = event.value
        if text in _YAML_WORDS:
            return _YAML_WORDS[text]
        if text[0] not in _YAML_NUMBER_START:
            return text
        if _YAML_INT(text):
            if len(text) > YAML_DIGITS_MAX:
                raise self._limit("YAML_DIGITS_MAX", YAML_DIGITS_MAX, event)
            return _yaml_int(text)
        if _YAML_FLOAT(text):
            return float(text.replace("_", ""))
        special = _YAML_SPECIAL_FLOAT(text)
        return float(text.replace(".", "").lower()) if special else text


def _yaml_int(text: str) -> Plain:
    """A number as YAML 1.1 writes it; text that only looks like one (``0x_``) stays text."""
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    for prefix, base in (("0b", 2), ("0x", 16)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base) if digits[2:] else text
    return sign * int(digits, 8 if digits.startswith("0") else 10)


# --- JSON ---------------------------------------------------------------------------------------------------------

_TEXTS_AT_A_TIME = 100_000
_JSON_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def parse_json(data: bytes, *, where: str, size_bytes_max: int = JSON_BYTES_MAX) -> Plain:
    """Read one JSON text.

    Raises:
        LimitExceeded: larger than ``size_bytes_max``, nested deeper than ``JSON_DEPTH_MAX``, or more than
            ``JSON_VALUES_MAX`` values.
        ParseError: not JSON.
    """
    check_json_bounds(data, where=where, size_bytes_max=size_bytes_max)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ParseError(f"not JSON: {error.msg}", where=f"{where}:{error.lineno}:{error.colno}") from None


def decode_json(
    data: bytes,
    decoder: Callable[[bytes], T],
    *,
    where: str,
    size_bytes_max: int = JSON_BYTES_MAX,
    values_max: int = JSON_VALUES_MAX,
) -> T:
    """Read one JSON text with a msgspec decoder into a typed value.

    ``values_max`` may be larger where the decoder makes no value of most of them (``msgspec.Raw``).

    Raises:
        LimitExceeded, ParseError: as ``parse_json``; also where the text is not of the decoder's type.
    """
    check_json_bounds(data, where=where, size_bytes_max=size_bytes_max, values_max=values_max)
    try:
        return decoder(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParseError(f"not the JSON expected: {error}", where=where) from None


def check_json_bounds(
    data: bytes, *, where: str, size_bytes_max: int = JSON_BYTES_MAX, values_max: int = JSON_VALUES_MAX
) -> None:
    """Refuse a JSON text whose decoding would take too much, before it is decoded.

    The bytes are only looked at twice, fast, unless there is reason for suspicion.

    Raises:
        LimitExceeded: as ``parse_json``.
    """
    if len(data) > size_bytes_max:
        raise LimitExceeded("JSON_BYTES_MAX", size_bytes_max, where=where)
    opened = data.count(b"[") + data.count(b"{")
    if opened <= JSON_DEPTH_MAX and len(data) < 2 * values_max:
        return
    if opened + data.count(b",") > values_max or opened > JSON_DEPTH_MAX:
        outside_texts = data
        while b'"' in outside_texts:
            outside_texts, removed = _JSON_TEXT.subn(b"", outside_texts, count=_TEXTS_AT_A_TIME)
            if removed < _TEXTS_AT_A_TIME:
                break
        opened = outside_texts.count(b"[") + outside_texts.count(b"{")
        if opened + outside_texts.count(b",") > values_max:
            raise LimitExceeded("JSON_VALUES_MAX", values_max, where=where)
        if opened > JSON_DEPTH_MAX and _depth(outside_texts) > JSON_DEPTH_MAX:
            raise LimitExceeded("JSON_DEPTH_MAX", JSON_DEPTH_MAX, where=where)


_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def _depth(outside_texts: bytes) -> int:
    """How deep brackets are nested, at least as far as ``JSON_DEPTH_MAX`` and a little more."""
    rest = outside_texts.translate(bytes.maketrans(b"{}", b"[]"), _BRACKETS)
    depth = 0
    while depth <= JSON_DEPTH_MAX and rest:
        inner = rest.replace(b"[]", b"")
        if len(inner) == len(rest):
            break
        rest, depth = inner, depth + 1
    return depth + rest.count(b"[")


# --- XML ----------------------------------------------------------------------------------------------------------


def parse_xml(data: bytes | str, *, where: str) -> Element:
    """Read one XML document into elements. No document types, no entities, nothing fetched from anywhere.

    Raises:
        LimitExceeded: a bound of this module's ``XML_*_MAX`` was passed.
        ParseError: not well-formed, or it has a document type or an entity declaration.
    """
    encoding = None
    if isinstance(data, str):
        data, encoding = data.encode("utf-8", "surrogatepass"), "utf-8"
    if len(data) > XML_BYTES_MAX:
        raise LimitExceeded("XML_BYTES_MAX", XML_BYTES_MAX, where=where)
    opened = data.count(b"<")
    # Without "<!" there is no document type, and with few tags nothing else to guard against: the fast parser will do.
    if encoding is not None and b"<!" not in data and opened <= 2 * XML_ELEMENTS_MAX:
        try:
            root = XML(data, XMLParser(encoding=encoding))  # noqa: S314  # guarded by what was just checked
        except XmlSyntaxError as error:
            line, column = error.position
            what = expat.ErrorString(error.code)
            raise ParseError(f"not XML: {what}", where=f"{where}:{line}:{column + 1}") from None
        _check_elements(root, where)
        return root
    return _parse_guarded(data, encoding, where)


def local_name(name: str) -> str:
    """The name of an element or attribute without its namespace.

    >>> local_name("{urn:x}Event"), local_name("x:Event"), local_name("Event")
    ('Event', 'Event', 'Event')
    """
    return name.rpartition("}")[2].rpartition(":")[2]


def _check_elements(root: Element, where: str) -> None:
    level = [root]
    count = depth = 0
    while level:
        depth += 1
        count += len(level)
        if depth > XML_DEPTH_MAX:
            raise LimitExceeded("XML_DEPTH_MAX", XML_DEPTH_MAX, where=where)
        if count > XML_ELEMENTS_MAX:
            raise LimitExceeded("XML_ELEMENTS_MAX", XML_ELEMENTS_MAX, where=where)
        if max(map(len, map(Element.keys, level))) > XML_ATTRIBUTES_MAX:
            raise LimitExceeded("XML_ATTRIBUTES_MAX", XML_ATTRIBUTES_MAX, where=where)
        level = [child for element in level for child in element]


def _parse_guarded(data: bytes, encoding: str | None, where: str) -> Element:
    """Parse with a guard at every event, slower."""
    guard = _XmlGuard(where)
    parser = expat.ParserCreate(encoding, "}")
    parser.buffer_text = True
    parser.StartElementHandler = guard.start
    parser.EndElementHandler = guard.end
    parser.CharacterDataHandler = guard.characters
    parser.StartDoctypeDeclHandler = guard.refuse
    parser.EntityDeclHandler = guard.refuse
    parser.UnparsedEntityDeclHandler = guard.refuse
    parser.ExternalEntityRefHandler = guard.refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise ParseError(f"not XML: {what}", where=f"{where}:{error.lineno}:{error.offset + 1}") from None
    except (ValueError, LookupError) as error:  # an encoding that is not known, or not one of text
        raise ParseError(f"not XML: {error}", where=where) from None
    return guard.builder.close()


class _XmlGuard:
    """Counts what the parser reports before it becomes elements."""

    def __init__(self, where: str) -> None:
        self.builder = TreeBuilder()
        self._where = where
        self._count = 0
        self._depth = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._count += 1
        self._depth += 1
        if self._count > XML_ELEMENTS_MAX:
            raise LimitExceeded("XML_ELEMENTS_MAX", XML_ELEMENTS_MAX, where=self._where)
        if self._depth > XML_DEPTH_MAX:
            raise LimitExceeded("XML_DEPTH_MAX", XML_DEPTH_MAX, where=self._where)
        if len(attributes) > XML_ATTRIBUTES_MAX:
            raise LimitExceeded("XML_ATTRIBUTES_MAX", XML_ATTRIBUTES_MAX, where=self._where)
        self.builder.start(tag, attributes)

    def end(self, tag: str) -> None:
        """An element ends."""
        self._depth -= 1
        self.builder.end(tag)

    def characters(self, text: str) -> None:
        """Text inside the innermost element."""
        self.builder.data(text)

    def refuse(self, *_: object) -> int:
        """A document type or an entity: never needed in data, and the root of most attacks on XML."""
        raise ParseError("XML with a document type or an entity is not allowed", where=self._where)

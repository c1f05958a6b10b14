"""JSON that is not one object per line: arrays, wrapped records, objects one after the other, pretty-printed ones.

Every value at the top of the file is one record, except that an array is the list of its elements, and an object that
begins with a list under one of ``WRAPPERS`` (CloudTrail's ``Records``, Azure's ``records`` …) is the list of that
list's elements. Records are numbered through the file from 1. Values are read one by one in bounded memory.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from itertools import chain
from typing import cast

from mingjian.errors import InputError, LimitExceeded, ParseError, SchemaError
from mingjian.formats.bounded import JSON_DEPTH_MAX
from mingjian.formats.records import BLOCK_RECORDS_MAX, RecordBlock
from mingjian.formats.text import ENCODING_HEAD_BYTES, as_utf8, decode
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined
from mingjian.model.values import Record

ELEMENT_CHARACTERS_MAX = 8 * 1024 * 1024
"""A single value longer than this is refused, and with it the rest of the file."""
BLOCK_CHARACTERS_MAX = 8 * 1024 * 1024
"""A block ends with the record that reaches this many characters."""
FILL_BYTES_MIN = 1024 * 1024
"""So much is read at a time."""
DIGITS_MAX = 4_000
"""A whole number with more digits than this stays text."""
OPENING_CHARACTERS_MAX = 16_384
"""A wrapper's list begins within this many characters."""
WRAPPERS = ("Records", "records", "value", "events", "Events", "items", "logs", "data", "results")
"""An object that begins with a list of objects under one of these names wraps the records."""

_FLAT = r"\{[^{}]{0,2048}\}"
_LEADS = (
    r'"@odata\.[A-Za-z]{1,32}"\s*:\s*"[^"\\]{0,2048}"',  # Microsoft Graph
    r'"kind"\s*:\s*"[A-Za-z]{1,64}List"',  # Kubernetes
    r'"apiVersion"\s*:\s*"[^"\\]{0,64}"',
    rf'"(?:metadata|status|pagination)"\s*:\s*{_FLAT}',  # Kubernetes, OneLogin
)
"""Members that producers are known to write before the list."""
WRAPPED = re.compile(rf'\s*\{{\s*(?:(?:{"|".join(_LEADS)})\s*,\s*){{0,4}}"(?:{"|".join(WRAPPERS)})"\s*:\s*\['.encode())
"""Bytes at the beginning of an object that wraps a list."""
_WRAPPED_TEXT = re.compile(WRAPPED.pattern.decode())
_BLANK = re.compile(r"[\s,\x1e]*")
_RESUME = re.compile(r"\}\s*,?\s*(?=\{)")
_SKIPPED_PARTS_MAX = 4
_UNFINISHED_TAIL = 16
"""An error this near to the end of what was read so far may be due to the cut."""


def recognise(head: bytes, name: str) -> bool:
    """Whether the file begins with a JSON array or object. (JSON lines were tried before.)"""
    return re.match(rb'\s*(?:\{\s*["}]|\[\s*[\[{"\d\]])', head) is not None


def plain_float(text: str) -> float | str:
    """A JSON number with a fraction or exponent; one beyond the range of a double stays what is written."""
    number = float(text)
    return number if math.isfinite(number) else text


def plain_int(text: str) -> int | str:
    """A whole JSON number; one with more than ``DIGITS_MAX`` digits stays what is written."""
    return text if len(text) > DIGITS_MAX else int(text)


_DECODER = json.JSONDecoder(parse_float=plain_float, parse_int=plain_int)


class _Reader:
    """The text that was read and not yet understood."""

    def __init__(self, piece: Piece) -> None:
        chunks, self.offset, _ = as_utf8(piece)
        head = b""
        for chunk in chunks:
            head += chunk
            if len(head) >= ENCODING_HEAD_BYTES:
                break
        self._chunks = chain([head], chunks)
        self._decoder = codecs.getincrementaldecoder(_encoding(head))("surrogateescape")
        self.text = ""
        self.at = 0
        self.ended = False
        self._marked = 0

    def fill(self) -> bool:
        """Read as much again as is pending, at least ``FILL_BYTES_MIN``; False at the end of the file."""
        if self.ended:
            return False
        parts: list[bytes] = []
        wanted = max(FILL_BYTES_MIN, len(self.text) - self.at)
        while wanted > 0 and not self.ended:
            part = next(self._chunks, None)
            if part is None:
                self.ended = True
            else:
                parts.append(part)
                wanted -= len(part)
        self.offset_here()
        self._marked = 0
        self.text = self.text[self.at :] + self._decoder.decode(b"".join(parts), final=self.ended)
        self.at = 0
        return True

    def offset_here(self) -> int:
        """How many bytes (as UTF-8) of the file are behind us."""
        self.offset += len(self.text[self._marked : self.at].encode("utf-8", "surrogateescape"))
        self._marked = self.at
        return self.offset

    def enter(self, opening: re.Pattern[str]) -> bool:
        """Go behind what the pattern describes if it stands here."""
        while True:
            found = opening.match(self.text, self.at)
            if found is not None:
                self.at = found.end()
                return True
            if len(self.text) - self.at > OPENING_CHARACTERS_MAX or not self.fill():
                return False

    def next_character(self) -> str:
        """Pass over white space and commas; the character that follows, empty at the end of the file."""
        while True:
            found = _BLANK.match(self.text, self.at)
            assert found is not None
            self.at = found.end()
            if self.at < len(self.text) or not self.fill():
                return self.text[self.at : self.at + 1]

    def value(self) -> tuple[object, str]:
        """Parse the value that begins here and go behind it; also gives its text.

        Raises:
            ParseError: it is not JSON. ``at`` stays where the value begins.
            LimitExceeded: it is too long or too deep.
        """
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                broken = error.pos < len(self.text) - _UNFINISHED_TAIL and not error.msg.startswith("Unterminated")
                if broken or not self._may_fill():
                    raise ParseError(f"not JSON: {error.msg}") from None
            except RecursionError:
                raise LimitExceeded("JSON_DEPTH_MAX", JSON_DEPTH_MAX) from None
            else:
                if end < len(self.text) or isinstance(value, (dict, list, str)) or not self._may_fill():
                    start, self.at = self.at, end
                    return cast("object", value), self.text[start:end]

    def _may_fill(self) -> bool:
        if len(self.text) - self.at > ELEMENT_CHARACTERS_MAX:
            raise LimitExceeded("ELEMENT_CHARACTERS_MAX", ELEMENT_CHARACTERS_MAX)
        return self.fill()

    def resume(self) -> str:
        """After a broken value, go to the next place where an object may begin; gives what was passed over."""
        skipped: list[str] = []
        while True:
            found = _RESUME.search(self.text, self.at + 1)
            if found is not None:
                skipped.append(self.text[self.at : found.start() + 1])
                self.at = found.end()
                return "".join(skipped)
            keep = max(self.at, len(self.text) - _UNFINISHED_TAIL)
            if len(skipped) < _SKIPPED_PARTS_MAX:
                skipped.append(self.text[self.at : keep])
            self.at = keep
            if not self.fill():
                skipped.append(self.text[self.at :])
                self.at = len(self.text)
                return "".join(skipped)


def _encoding(head: bytes) -> str:
    """UTF-8 unless the head is not, but is GB18030."""
    for encoding in ("utf-8", "gb18030"):
        try:
            codecs.getincrementaldecoder(encoding)("strict").decode(head)
        except UnicodeDecodeError:
            continue
        return encoding
    return "utf-8"


class _Collected:
    """Records on their way into a block."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.records: list[Record] = []
        self.raws: list[bytes] = []
        self.characters = 0

    def add(self, number: int, record: Record, written: str) -> None:
        self.numbers.append(number)
        self.records.append(record)
        self.raws.append(written.encode("utf-8", "surrogateescape"))
        self.characters += len(written)

    def is_full(self) -> bool:
        return len(self.records) >= BLOCK_RECORDS_MAX or self.characters >= BLOCK_CHARACTERS_MAX

    def block(self) -> RecordBlock:
        return RecordBlock("json", self.numbers, self.records, self.raws)


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read all records of a file, value by value."""
    reader = _Reader(piece)
    collected = _Collected()
    number = piece.first_number
    for found in _values(reader):
        if isinstance(found, tuple):
            try:
                collected.add(number, _record(*found), found[1])
            except InputError as error:
                written = found[1].encode("utf-8", "surrogateescape")
                yield _quarantined(piece.file, number, reader.offset_here() - len(written), error, written)
        else:
            start = reader.offset_here()
            yield _quarantined(piece.file, number, start, found, reader.resume().encode("utf-8", "surrogateescape"))
        number += 1
        if collected.is_full():
            yield collected.block()
            collected = _Collected()
    if collected.records:
        yield collected.block()


def _values(reader: _Reader) -> Iterator[tuple[object, str] | InputError]:
    """The records' values in order; an error stands for one that cannot be read (the caller makes the reader resume).

    Four places to be in: at the top, in an array, in the list of a wrapper, and behind that list in the wrapper.
    """
    place = "top"
    while character := reader.next_character():
        try:
            if place == "top" and character == "[":
                reader.at, place = reader.at + 1, "array"
            elif place == "top" and reader.enter(_WRAPPED_TEXT):
                place = "wrapper"
            elif character == "]" and place in _BEHIND:
                reader.at, place = reader.at + 1, _BEHIND[place]
            elif place == "tail" and character == "}":
                reader.at, place = reader.at + 1, "top"
            elif place == "tail":
                reader.value()
                if reader.next_character() == ":":
                    reader.at += 1
                    reader.next_character()
                    reader.value()
            else:
                yield reader.value()
        except InputError as error:
            yield error


_BEHIND = {"array": "top", "wrapper": "tail"}


def _record(value: object, written: str) -> Record:
    if isinstance(value, dict) and not written.isascii() and any(map(_is_surrogate, written)):
        value = _DECODER.decode(decode(written.encode("utf-8", "surrogateescape")))
    if not isinstance(value, dict):
        raise SchemaError(f"expected a JSON object, got {type(value).__name__}")
    return cast("Record", value)


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"


def _quarantined(file: str, number: int, offset: int, error: InputError, data: bytes) -> Quarantined:
    return Quarantined(
        file=file,
        record=number,
        offset=offset,
        code=error.code,
        reason=error.what,
        data=data[:QUARANTINED_BYTES_MAX],
    )

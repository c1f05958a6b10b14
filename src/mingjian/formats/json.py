"""JSON lines, arrays and wrapped records of any producer.

Lines are the fast way: a line is checked once, and afterwards only the fields that somebody asks for are decoded
(``JsonBlock``). Arrays, objects that wrap a list (``Records`` of CloudTrail, ``records`` of Azure …), objects one
after the other and pretty-printed objects are read value by value, in bounded memory (``formats.jsondoc``).
"""

from __future__ import annotations

import json as stdlib_json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import filterfalse
from typing import Any, TypeAlias, cast

import hyperscan
import msgspec

from mingjian.errors import InputError, LimitExceeded, ParseError, SchemaError
from mingjian.formats import jsondoc
from mingjian.formats.projection import project
from mingjian.formats.text import LineBatch, decode, line_batches
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined, picker
from mingjian.model.values import Missing, Record, Value, find

DECODER_DEPTH = 1000
"""Nesting somewhat below this is still read, above it the line is quarantined: the interpreter's own bound. (Values
nested deeper than 254 levels are kept, and have no text that a rule could match: ``formats.records.json_bytes``.)"""

SAMPLE_LINES = 32
"""About so many lines of each batch say what to decode of all."""
SHARED_ROWS_MIN = 0.2
"""A block of fewer of the records of another than this share copies its columns: it must not keep the rest alive."""

_decode_any = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, object]).decode
"""Reads a line that is an object, and no other."""
_decode_nothing = msgspec.json.Decoder(msgspec.defstruct("Nothing", ())).decode
"""Checks that a line is an object, and builds none of it."""


def parse_record(line: bytes) -> Record:
    """Read one JSON object, strictly first and, where a producer was sloppy, leniently.

    Lenient means: bytes that are not UTF-8 are decoded as all text is (``formats.text.decode``), lone surrogate
    escapes are kept, ``NaN`` and numbers beyond the range of a double (or with thousands of digits) become what they
    spell.

    Raises:
        ParseError: it is not JSON.
        SchemaError: it is JSON, but not an object.
        LimitExceeded: it is nested too deeply.
    """
    try:
        value = _decode_any(line)
    except RecursionError:
        raise LimitExceeded("DECODER_DEPTH", DECODER_DEPTH) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as strict:
        value = _parse_leniently(line, str(strict))
    if not isinstance(value, dict):
        raise SchemaError(f"expected one JSON object, got {type(value).__name__}")
    return cast("Record", value)


def _parse_leniently(line: bytes, complaint: str) -> object:
    try:
        return stdlib_json.loads(decode(line), parse_float=jsondoc.plain_float, parse_int=jsondoc.plain_int)
    except RecursionError:
        raise LimitExceeded("DECODER_DEPTH", DECODER_DEPTH) from None
    except ValueError:
        raise ParseError(complaint) from None


_Column: TypeAlias = "Sequence[Value | Missing]"


class JsonBlock:
    """Consecutive JSON lines, decoded field by field on demand.

    ``odd`` holds the records that only a lenient parser could read, by row; their lines are not looked at again.
    """

    __slots__ = ("_cached", "_lines", "_odd", "_shared", "_sifted", "format", "numbers")

    def __init__(self, numbers: Sequence[int], lines: Sequence[bytes], odd: dict[int, Record] | None = None) -> None:
        self.format = "jsonl"
        self.numbers = numbers
        self._lines = lines
        self._odd = odd or {}
        self._cached: dict[str, _Column] = {}
        self._shared: tuple[dict[str, _Column], Callable[[_Column], _Column]] | None = None
        """Columns of the block that this one was taken from, and how to pick its own rows out of them."""
        self._sifted: tuple[Sequence[str], Sequence[int] | None] | None = None
        """What was asked of ``containing``, and the answer: it is asked early, and again when it counts."""

    @classmethod
    def checked(cls, numbers: Sequence[int], lines: Sequence[bytes], paths: tuple[str, ...]) -> JsonBlock:
        """Check every line and decode some fields on the way.

        Raises:
            InputError, msgspec.DecodeError: some line is not a JSON object.
        """
        block = cls(numbers, lines)
        if not paths:
            for line in lines:
                _decode_nothing(line)
        block._cached.update(zip(paths, block.columns(paths), strict=True))
        return block

    def column(self, path: str) -> Sequence[Value | Missing]:
        """The value at one dotted path for every record, ``MISSING`` where there is none."""
        return self.columns([path])[0]

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        """Several columns, for all records or for those with the given indexes; one decoding for all of them."""
        if self._shared is not None:
            shared, own = self._shared
            for path in paths:
                if path in shared and path not in self._cached:
                    self._cached[path] = own(shared[path])
        wanted = [path for path in paths if path not in self._cached]
        decoded = dict(zip(wanted, self._decoded(wanted, rows), strict=True)) if wanted else {}
        columns: list[Sequence[Value | Missing]] = []
        for path in paths:
            cached = self._cached.get(path)
            if cached is None:
                columns.append(decoded[path])
            else:
                columns.append(cached if rows is None else picker(rows)(cached))
        return columns

    def _decoded(self, paths: Sequence[str], rows: Sequence[int] | None) -> list[list[Value | Missing]]:
        wanted = tuple(paths)
        try:
            columns = project(self._plain(rows), wanted)
        except (ValueError, RecursionError):
            self._find_odd()
            columns = project(self._plain(rows), wanted)
        if self._odd:
            columns = [list(column) for column in columns]
            for place, row in enumerate(range(len(self._lines)) if rows is None else rows):
                if row in self._odd:
                    for column, path in zip(columns, paths, strict=True):
                        column[place] = find(self._odd[row], path)
        return columns

    def _plain(self, rows: Sequence[int] | None) -> Sequence[bytes]:
        """The lines, with an empty object in the place of each odd one."""
        lines: Sequence[bytes] = self._lines if rows is None else picker(rows)(self._lines)
        if self._odd:
            places = range(len(lines)) if rows is None else rows
            lines = [b"{}" if row in self._odd else line for row, line in zip(places, lines, strict=True)]
        return lines

    def _find_odd(self) -> None:
        """Parse leniently every line that the strict decoder does not read as a whole."""
        for row, line in enumerate(self._lines):
            if row not in self._odd and not _is_plain(line):
                self._odd[row] = parse_record(line)

    def record(self, row: int) -> Record:
        """One whole record."""
        return self._odd[row] if row in self._odd else parse_record(self._lines[row])

    def records(self, rows: Sequence[int]) -> list[Record]:
        """Several whole records. Their lines are within all bounds: the reader has seen to that."""
        lines = self._lines
        try:
            # Anything but an object was refused by the reader.
            return [cast("Record", _decode_any(lines[row])) for row in rows]
        except (ValueError, RecursionError):
            return [self.record(row) for row in rows]

    def raw(self, row: int) -> bytes:
        """The line as it was read, without its line end."""
        return self._lines[row].removesuffix(b"\r")

    def take(self, rows: Sequence[int]) -> JsonBlock:
        """A block of the records with these indexes only."""
        odd = {place: self._odd[row] for place, row in enumerate(rows) if row in self._odd} if self._odd else None
        pick: Callable[[Sequence[Any]], Sequence[Any]] = picker(rows)
        block = JsonBlock(pick(self.numbers), pick(self._lines), odd)
        if self._shared is None and len(rows) >= SHARED_ROWS_MIN * len(self.numbers):
            block._shared = (self._cached, pick)
        else:
            block._cached = {path: pick(column) for path, column in self._cached.items()}
        return block

    def containing(self, needles: Sequence[str]) -> Sequence[int] | None:
        """Rows whose line holds the longest run of some needle that JSON cannot have escaped, in any case."""
        if self._sifted is None or self._sifted[0] != needles:
            self._sifted = needles, self._sift(needles)
        return self._sifted[1]

    def _sift(self, needles: Sequence[str]) -> Sequence[int] | None:
        sieve = sieve_for(tuple(needles))
        if sieve is None:
            return None
        found: list[int] = []
        hits: list[int] = []
        for row, line in enumerate(self._lines):
            sieve.scan(line, _collect, 0, hits)  # by name takes three times as long
            if hits or row in self._odd:
                found.append(row)
                hits.clear()
        return found


def _collect(pattern: int, start: int, end: int, flags: int, context: object) -> None:
    cast("list[int]", context).append(pattern)


_NEEDLE_RUN = re.compile(r"[ !#-.0-\[\]-~]+")
"""Characters that no JSON writer has to escape: printable ASCII without quote, slash and backslash."""

_FOLDS_TO_ASCII = ("\u212a", "\u017f")
"""The only characters outside ASCII whose simple case folding is inside it: Kelvin sign, long s."""

_ESCAPED_ASCII = (rb"\\u002", rb"\\u003", rb"\\u004", rb"\\u005", rb"\\u006", rb"\\u007", rb"\\u212a", rb"\\u017f")
"""A line in which printable ASCII, or what folds to it, is written as an escape may hold any needle."""


def run_unescaped(needle: str) -> str:
    r"""The longest run of an ASCII text that stands in JSON as it is, whoever writes it; empty if there is none.

    >>> run_unescaped('say "hi"'), run_unescaped("\\\\")
    ('say ', '')
    """
    return max(_NEEDLE_RUN.findall(needle), key=len, default="")


@lru_cache(maxsize=64)
def sieve_for(needles: tuple[str, ...]) -> hyperscan.Database | None:
    """An automaton that finds something in every text, JSON or plain, that holds one of some ASCII needles in any case.

    None if there is none: some needle consists of what JSON escapes.
    """
    patterns: list[bytes] = [*_ESCAPED_ASCII, *(re.escape(character).encode() for character in _FOLDS_TO_ASCII)]
    for needle in needles:
        run = run_unescaped(needle)
        if not run:
            return None
        patterns.append(b"".join(b"\\x%02x" % byte for byte in run.encode("ascii")))
    sieve = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    sieve.compile(
        expressions=patterns,
        ids=list(range(len(patterns))),
        flags=[hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_SINGLEMATCH] * len(patterns),
    )
    return sieve


def recognise_lines(head: bytes, name: str) -> bool:
    """Whether the first line that is not blank is one whole JSON object, and not one that wraps a list of records."""
    line, line_feed, _ = head.lstrip().partition(b"\n")
    if not line.startswith(b"{") or jsondoc.WRAPPED.match(line):
        return False
    try:
        parse_record(line)
    except InputError:
        # A first line longer than the head cannot be judged as a whole; an object broken over lines looks different.
        return not line_feed and len(head) > _PRETTY_LINE_MAX and _starts_a_line(line)
    return True


_PRETTY_LINE_MAX = 8192
"""A pretty-printed object has a line feed long before this."""


def _starts_a_line(line: bytes) -> bool:
    return re.match(rb'\{\s*"', line) is not None


def read_lines(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read JSON lines: one object per line, empty lines passed over."""
    for batch in line_batches(piece, keep_returns=True):
        if isinstance(batch, Quarantined):
            yield batch
            continue
        try:
            if not batch.is_ascii:
                _check(batch.lines)
            every = len(batch.lines) // SAMPLE_LINES + 1
            sample = JsonBlock(batch.numbers[::every], batch.lines[::every])
            block = JsonBlock.checked(batch.numbers, batch.lines, piece.first_paths(sample))
        except (InputError, ValueError, RecursionError):
            yield from _read_one_by_one(piece, batch)
        else:
            yield block


def read_records(piece: Piece) -> Iterator[tuple[Block, list[Record] | None] | Quarantined]:
    """Read JSON lines as ``read_lines`` does, for whoever will need every record whole: with the records of each block.

    None for a block in which some line is odd: ask that block itself.
    """
    for batch in line_batches(piece, keep_returns=True):
        if isinstance(batch, Quarantined):
            yield batch
            continue
        try:
            # A decoder of whole records looks at every byte: text that is not UTF-8 is an error of its own.
            records = cast("list[Record]", list(map(_decode_object, batch.lines)))
        except (ValueError, RecursionError):
            for found in _read_one_by_one(piece, batch):
                yield found if isinstance(found, Quarantined) else (found, None)
        else:
            if records:
                yield JsonBlock(batch.numbers, batch.lines), records


def _check(lines: Sequence[bytes]) -> None:
    """Refuse what the decoder of single fields passes over: text that is not UTF-8.

    Raises:
        UnicodeDecodeError: some line is such.
    """
    for line in filterfalse(bytes.isascii, lines):
        line.decode()


def _read_one_by_one(piece: Piece, batch: LineBatch) -> Iterator[Block | Quarantined]:
    """Read a batch in which some line is blank, broken or odd."""
    numbers: list[int] = []
    lines: list[bytes] = []
    odd: dict[int, Record] = {}
    for number, offset, line in zip(batch.numbers, batch.offsets, batch.lines, strict=True):
        if line.isspace():
            continue
        try:
            record = parse_record(line)
        except InputError as error:
            yield Quarantined(
                file=piece.file,
                record=number,
                offset=offset,
                code=error.code,
                reason=error.what,
                data=line.removesuffix(b"\r")[:QUARANTINED_BYTES_MAX],
            )
            continue
        if not _is_plain(line):
            odd[len(lines)] = record
        numbers.append(number)
        lines.append(line)
    if lines:
        yield JsonBlock(numbers, lines, odd)


def _is_plain(line: bytes) -> bool:
    """Whether the strict decoder reads the line, so that single fields can be decoded from it later."""
    try:
        _decode_any(line)
    except (ValueError, RecursionError):
        return False
    return True

"""JSON lines, arrays and wrapped records of any producer.

Lines are the fast way: a line is checked once, and afterwards only the fields that somebody asks for are decoded
(``JsonBlock``). Arrays, objects that wrap a list (``Records`` of CloudTrail, ``records`` of Azure …), objects one
after the other and pretty-printed objects are read value by value, in bounded memory (``formats.jsondoc``).
"""

from __future__ import annotations

import json as stdlib_json
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import chain, filterfalse
from typing import Any, NamedTuple, TypeAlias, cast

import hyperscan
import msgspec
import numpy as np

from mingjian.errors import InputError, LimitExceeded, ParseError, SchemaError
from mingjian.formats import jsondoc
from mingjian.formats.projection import project
from mingjian.formats.records import BLOCK_RECORDS_MAX
from mingjian.formats.text import BATCH_BYTES_MAX, LineBatch, as_utf8, batches_of, decode, line_batches
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined, picker
from mingjian.model.values import Missing, Record, Value, find

DECODER_DEPTH = 1000
"""Nesting somewhat below this is still read, above it the line is quarantined: the interpreter's own bound. (Values
nested deeper than 254 levels are kept, and have no text that a rule could match: ``formats.records.json_bytes``.)"""

SAMPLE_LINES = 32
"""About so many lines of each batch say what to decode of all."""
SHARED_ROWS_MIN = 0.2
"""A block of fewer of the records of another than this share copies its columns: it must not keep the rest alive."""

PORTION_BYTES_MAX = 16 * 1024 * 1024
"""So much is decoded at once."""

_LINE_FEED, _RETURN, _OPEN, _CLOSE = b"\n\r{}"
_decode_any = msgspec.json.Decoder().decode
_decode_object = msgspec.json.Decoder(dict[str, object]).decode
"""Reads a line that is an object, and no other."""
_decode_objects = msgspec.json.Decoder(dict[str, object]).decode_lines
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


class Whole(NamedTuple):
    """Records that were decoded as a whole."""

    numbers: Sequence[int]
    records: list[Record]
    block: Callable[[], Block]
    """Makes the block that ``read_lines`` would have given."""


def read_records(piece: Piece) -> Iterator[Whole | Block | Quarantined]:
    """Read JSON lines as ``read_lines`` does, for whoever will need every record whole.

    Where some line is odd, its neighbours come as a block, too.
    """
    chunks, offset, utf16 = as_utf8(piece)
    number = piece.first_number
    waiting = _Waiting()
    left: list[bytes] = []
    size = 0
    for chunk in () if utf16 else chunks:
        left.append(chunk)
        size += len(chunk)
        if size > PORTION_BYTES_MAX:
            break
        end = chunk.rfind(b"\n") + 1
        if end:
            portion = b"".join([*left[:-1], memoryview(chunk)[:end]])
            left, size = [chunk[end:]], len(chunk) - end
            records = _decoded_lines(portion)
            if records is None:
                yield from waiting.taken()
                number = yield from _by_lines(piece, iter([portion]), number, offset)
            else:
                waiting.add(number, portion, records)
                number += len(records)
            offset += len(portion)
        if waiting.is_enough():
            yield from waiting.taken()
    yield from waiting.taken()
    # The last line has no end, a line is very long, or it is UTF-16; as a rule nothing is left.
    number = yield from _by_lines(piece, chain(left, chunks), number, offset, utf16=utf16)
    piece.on_lines(number - piece.first_number)


class _Waiting:
    """Records that follow one another, and the lines that they were made of."""

    def __init__(self) -> None:
        self._first = 0
        self._records: list[Record] = []
        self._portions: list[bytes] = []
        self._size = 0

    def add(self, number: int, portion: bytes, records: list[Record]) -> None:
        """Take some more; the first of them has this number."""
        if not self._records:
            self._first = number
        self._records += records
        self._portions.append(portion)
        self._size += len(portion)

    def is_enough(self) -> bool:
        """Whether they are a block."""
        return self._size >= BATCH_BYTES_MAX or len(self._records) >= BLOCK_RECORDS_MAX

    def taken(self) -> Iterator[Whole]:
        """Hand all of them over."""
        first, records, portions = self._first, self._records, self._portions
        self._records, self._portions, self._size = [], [], 0

        @cache
        def lines() -> list[bytes]:
            return b"".join(portions).split(b"\n")[:-1]

        for start in range(0, len(records), BLOCK_RECORDS_MAX):
            some = records[start : start + BLOCK_RECORDS_MAX] if len(records) > BLOCK_RECORDS_MAX else records
            numbers = range(first + start, first + start + len(some))

            def block(numbers: range = numbers, start: int = start) -> Block:
                return JsonBlock(numbers, lines()[start : start + len(numbers)])

            yield Whole(numbers, some, block)


def _decoded_lines(portion: bytes) -> list[Record] | None:
    """The records of whole lines, if each line is an object from its first byte to its last; else None.

    To decode many lines at once takes a quarter less time than to cut them first. The decoder does not care where a
    line ends: so every end must be where a record ends. In JSON no brace that opens follows one that closes.
    """
    marks = np.frombuffer(portion, np.uint8)
    ends = np.flatnonzero(marks == _LINE_FEED)
    last = marks[ends - 1]
    if (last == _RETURN).any():
        last = np.where(last == _RETURN, marks[ends - 2], last)
    if marks[0] != _OPEN or (marks[ends[:-1] + 1] != _OPEN).any() or (last != _CLOSE).any():
        return None
    try:
        # It looks at every byte: text that is not UTF-8 is an error of its own.
        records = cast("list[Record]", _decode_objects(portion))
    except (ValueError, RecursionError):
        return None
    return records if len(records) == len(ends) else None


def _by_lines(
    piece: Piece, chunks: Iterator[bytes], number: int, offset: int, *, utf16: bool = False
) -> Generator[Whole | Block | Quarantined, None, int]:
    """The same line by line, from that number and offset on; gives the number of the line behind the last one."""
    for batch in batches_of(piece.file, chunks, number, offset, utf16=utf16, keep_returns=True):
        if isinstance(batch, Quarantined):
            number = batch.record + 1
            yield batch
            continue
        number = batch.behind
        try:
            records = cast("list[Record]", list(map(_decode_object, batch.lines)))
        except (ValueError, RecursionError):
            yield from _read_one_by_one(piece, batch)
        else:
            if records:
                yield Whole(batch.numbers, records, partial(JsonBlock, batch.numbers, batch.lines))
    return number


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

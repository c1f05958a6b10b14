"""Lines and encodings: what every text format is built on, and the format of lines that are in none.

**Lines** end with a line feed, with or without a carriage return before it; the last one may end with the file. Empty
lines count. A line longer than ``LINE_BYTES_MAX`` is quarantined with its beginning, and reading goes on after it.

**Encodings.** UTF-16 is a property of a file and decided by its head (byte order mark, or zero bytes on every other
place); such a file is handed on as UTF-8. Everything else is decided line by line: a line that is UTF-8 is UTF-8, else
a line that is GB18030 is GB18030, else its bytes above 127 are kept as lone surrogates (``surrogateescape``), which
mark it. Deciding per line makes the result independent of where a file is cut, and reads files to which several
programs wrote. The price: a line in Latin-1 may by chance be valid GB18030 (``é`` followed by a letter is a Chinese
character there) and is then shown as Chinese; its ASCII parts are right in any case, except an ASCII letter or digit
directly after such a character.
"""

from __future__ import annotations

import codecs
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, chain, compress
from typing import NamedTuple

import msgspec

from mingjian.errors import LimitExceeded
from mingjian.formats.records import BLOCK_RECORDS_MAX, RecordBlock
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Block, Piece, Quarantined
from mingjian.model.values import Record

LINE_BYTES_MAX = 16 * 1024 * 1024
"""A longer line is quarantined. In UTF-16 files: of the line as UTF-8."""

BATCH_BYTES_MAX = 8 * 1024 * 1024
"""A batch of lines ends with the line that reaches this size."""

ENCODING_HEAD_BYTES = 1024
"""So much of a file decides whether it is UTF-16."""

UTF16_ZERO_SHARE_MIN = 0.4
"""Without a byte order mark: at least this share of the bytes on one side of each unit is zero …"""

UTF16_ZERO_SHARE_OTHER_MAX = 0.1
"""… and at most this share on the other side."""

CONTROL_SHARE_MAX = 0.05
"""Text has fewer control characters than this among its bytes (zero bytes are counted apart)."""

ZERO_SHARE_MAX = 0.3
"""Text has fewer zero bytes than this; some is normal after a power loss."""

_UTF8_BOM = codecs.BOM_UTF8
_CONTROL_BYTES = bytes(sorted(set(range(32)) - {0, 8, 9, 10, 11, 12, 13, 27} | {127}))


class Line(msgspec.Struct, frozen=True):
    """One line without its end."""

    number: int
    """1-based, empty lines counted."""
    offset: int
    """Where it starts in the (decompressed) file."""
    data: bytes
    """UTF-8 if the file is UTF-16, else as in the file."""


class LineBatch:
    """Consecutive lines, without their ends. Empty lines are left out unless they were asked for, but counted."""

    __slots__ = ("_first_number", "_first_offset", "_kept", "_raw", "_utf16", "is_ascii", "lines", "numbers")

    lines: Sequence[bytes]
    numbers: Sequence[int]

    def __init__(
        self,
        first_number: int,
        first_offset: int,
        found: _Lines,
        *,
        utf16: bool,
        keep_empty: bool,
        keep_returns: bool,
    ) -> None:
        raw = found.lines
        self._first_number = first_number
        self._first_offset = first_offset
        self._raw = raw
        self._utf16 = utf16
        self._kept: list[bytes] | None = None
        self.is_ascii = found.is_ascii
        """Whether the lines are known to be ASCII."""
        if found.has_returns and not keep_returns:
            lines = [line[:-1] if line.endswith(b"\r") else line for line in raw]
        else:
            lines = raw
        self.numbers = range(first_number, first_number + len(raw))
        if not keep_empty and not all(lines):
            self._kept = lines
            self.numbers = list(compress(self.numbers, lines))
            lines = [line for line in lines if line]
        self.lines = lines

    @property
    def behind(self) -> int:
        """The number that the next line has."""
        return self._first_number + len(self._raw)

    @property
    def offsets(self) -> Sequence[int]:
        """Where each line starts in the (decompressed) file."""
        sizes = map(utf16_bytes, self._raw) if self._utf16 else map(len, self._raw)
        end = 2 if self._utf16 else 1
        starts = accumulate((size + end for size in sizes), initial=self._first_offset)
        return list(compress(starts, self._kept)) if self._kept is not None else list(starts)[:-1]


def line_batches(
    piece: Piece,
    records_max: int = BLOCK_RECORDS_MAX,
    bytes_max: int = BATCH_BYTES_MAX,
    *,
    keep_empty: bool = False,
    keep_returns: bool = False,
) -> Iterator[LineBatch | Quarantined]:
    """Cut a piece into batches of lines; each ends after ``records_max`` lines or the line that reaches ``bytes_max``.

    Lines that are too long come as ``Quarantined``, in their place. With ``keep_returns`` a carriage return at the end
    of a line stays: for a format to which it is white space, and which need not copy every line to lose it.
    """
    chunks, first_offset, utf16 = as_utf8(piece)
    behind = piece.first_number
    for found in batches_of(
        piece.file,
        chunks,
        piece.first_number,
        first_offset,
        records_max,
        bytes_max,
        utf16=utf16,
        keep_empty=keep_empty,
        keep_returns=keep_returns,
    ):
        behind = found.record + 1 if isinstance(found, Quarantined) else found.behind
        yield found
    piece.on_lines(behind - piece.first_number)


def batches_of(
    file: str,
    chunks: Iterator[bytes],
    number: int,
    offset: int,
    records_max: int = BLOCK_RECORDS_MAX,
    bytes_max: int = BATCH_BYTES_MAX,
    *,
    utf16: bool = False,
    keep_empty: bool = False,
    keep_returns: bool = False,
) -> Iterator[LineBatch | Quarantined]:
    """The same for chunks that are UTF-8 by now, the first line of which has this number and this offset in the file.

    ``utf16`` says whether that is a file of UTF-16.
    """
    pending = _Lines([], is_ascii=True, has_returns=False)
    pending_bytes = 0
    for found in _split(chunks):
        if isinstance(found, _LongLine):
            if pending.lines:
                yield LineBatch(number, offset, pending, utf16=utf16, keep_empty=keep_empty, keep_returns=keep_returns)
                offset += _file_bytes(pending.lines, pending_bytes, utf16=utf16)
                number, pending, pending_bytes = number + len(pending.lines), pending.of([]), 0
            yield _too_long(file, number, offset, found)
            number, offset = number + 1, offset + found.file_bytes(utf16=utf16)
            continue
        pending = pending.and_then(found) if pending.lines else found
        pending_bytes += sum(map(len, found.lines))
        while len(pending.lines) >= records_max or pending_bytes >= bytes_max:
            sizes = list(accumulate(map(len, pending.lines)))
            count = min(bisect_left(sizes, bytes_max) + 1, records_max)
            batch = pending.of(pending.lines[:count])
            yield LineBatch(number, offset, batch, utf16=utf16, keep_empty=keep_empty, keep_returns=keep_returns)
            offset += _file_bytes(batch.lines, sizes[count - 1], utf16=utf16)
            number, pending_bytes = number + count, pending_bytes - sizes[count - 1]
            pending = pending.of(pending.lines[count:])
    if pending.lines:
        yield LineBatch(number, offset, pending, utf16=utf16, keep_empty=keep_empty, keep_returns=keep_returns)


def lines(piece: Piece, *, keep_empty: bool = False) -> Iterator[Line | Quarantined]:
    """The lines of a piece one by one: for formats where comfort counts more than speed."""
    for batch in line_batches(piece, keep_empty=keep_empty):
        if isinstance(batch, Quarantined):
            yield batch
        else:
            yield from map(Line, batch.numbers, batch.offsets, batch.lines)


def decode(line: bytes) -> str:
    r"""Turn a line into text: UTF-8, else GB18030, else with its bytes above 127 kept as lone surrogates.

    >>> decode("日志".encode()), decode("日志".encode("gb18030")), decode(b"caf\xe9")
    ('日志', '日志', 'caf\udce9')
    """
    for encoding in ("utf-8", "gb18030"):
        try:
            return line.decode(encoding)
        except UnicodeDecodeError:
            continue
    return line.decode("utf-8", "surrogateescape")


def is_utf16(head: bytes) -> bool:
    """Whether a file that begins like this is UTF-16."""
    return _utf16_variant(head[:ENCODING_HEAD_BYTES]) is not None


def normalised_head(head: bytes) -> bytes:
    """The beginning of a file as the recognisers want it: UTF-16 turned into UTF-8, no byte order mark."""
    variant = _utf16_variant(head[:ENCODING_HEAD_BYTES])
    if variant is None:
        return head.removeprefix(_UTF8_BOM)
    encoding, bom_bytes = variant
    return head[bom_bytes:].decode(encoding, "replace").encode()


def is_text(head: bytes) -> bool:
    """Whether a (normalised) head is text in some encoding: few control characters, few zero bytes."""
    zeros = head.count(0)
    controls = len(head) - zeros - len(head.translate(None, _CONTROL_BYTES + b"\0"))
    return zeros <= ZERO_SHARE_MAX * len(head) and controls <= CONTROL_SHARE_MAX * (len(head) - zeros)


def recognise(head: bytes, name: str) -> bool:
    """Whether this is text at all."""
    return is_text(head)


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read lines that are in no known format: each is a record with the one field ``_raw``."""
    for batch in line_batches(piece):
        if isinstance(batch, Quarantined):
            yield batch
        elif batch.lines:
            records: list[Record] = [{"_raw": decode(line)} for line in batch.lines]
            yield RecordBlock("text", batch.numbers, records, batch.lines)


class _Lines(NamedTuple):
    """Lines, and what is known of them all from one look at the bytes that they were cut from."""

    lines: list[bytes]
    is_ascii: bool
    has_returns: bool
    """False: no line ends with a carriage return."""

    def of(self, lines: list[bytes]) -> _Lines:
        """Some of these lines."""
        return _Lines(lines, self.is_ascii, self.has_returns)

    def and_then(self, later: _Lines) -> _Lines:
        """These and some more. Adds to the list of these."""
        self.lines.extend(later.lines)
        return _Lines(self.lines, self.is_ascii and later.is_ascii, self.has_returns or later.has_returns)


class _LongLine:
    """A line that is too long to be kept: its beginning, and how much of it there is."""

    def __init__(self) -> None:
        self.head = b""
        self.size = 0
        self.units = 0
        self.ended = False

    def add(self, data: bytes) -> None:
        if len(self.head) < QUARANTINED_BYTES_MAX:
            self.head += data[: QUARANTINED_BYTES_MAX - len(self.head)]
        self.size += len(data)
        # A cut may be inside a character: count what starts one, so that the sum does not depend on the cuts.
        self.units += _utf16_units(data)

    def file_bytes(self, *, utf16: bool) -> int:
        return 2 * (self.units + 1) if utf16 else self.size + 1


def _split(chunks: Iterator[bytes]) -> Iterator[_Lines | _LongLine]:
    """Cut chunks at line feeds. The last line comes only if it is not empty."""
    parts: list[bytes] = []  # of the line that the next chunk goes on with
    size = 0
    is_ascii, has_returns = True, False
    long: _LongLine | None = None
    for chunk in chunks:
        # What holds for these chunks holds for every line that has a part in one of them.
        is_ascii, was_ascii = chunk.isascii(), is_ascii
        has_returns, had_returns = b"\r" in chunk, has_returns
        lines = chunk.split(b"\n")
        if long is not None:
            long.add(lines[0])
            if len(lines) == 1:
                continue
            yield long
            long = None
            del lines[0]
        elif len(lines) > 1:
            parts.append(lines[0])
            lines[0] = b"".join(parts)
            parts, size = [], 0
        last = lines.pop()
        if lines:
            yield from _without_long(_Lines(lines, is_ascii and was_ascii, has_returns or had_returns))
        else:
            is_ascii, has_returns = is_ascii and was_ascii, has_returns or had_returns
        parts.append(last)
        size += len(last)
        if size > LINE_BYTES_MAX:
            long = _LongLine()
            for part in parts:
                long.add(part)
            parts, size = [], 0
    if long is not None:
        yield long
    elif size:
        line = b"".join(parts)
        yield _Lines([line], line.isascii(), line.endswith(b"\r"))


def _without_long(found: _Lines) -> Iterator[_Lines | _LongLine]:
    lines = found.lines
    if max(map(len, lines)) <= LINE_BYTES_MAX:
        yield found
        return
    start = 0
    for index, line in enumerate(lines):
        if len(line) > LINE_BYTES_MAX:
            if index > start:
                yield found.of(lines[start:index])
            long = _LongLine()
            long.add(line)
            yield long
            start = index + 1
    if start < len(lines):
        yield found.of(lines[start:])


def _too_long(file: str, number: int, offset: int, line: _LongLine) -> Quarantined:
    error = LimitExceeded("LINE_BYTES_MAX", LINE_BYTES_MAX)
    return Quarantined(
        file=file,
        record=number,
        offset=offset,
        code=error.code,
        reason=f"line of {line.size} bytes: {error}",
        data=line.head,
    )


def as_utf8(piece: Piece) -> tuple[Iterator[bytes], int, bool]:
    """Give the chunks as UTF-8 (or as they are) without byte order mark, where they begin, and if it was UTF-16."""
    if piece.first_offset > 0:
        return piece.chunks, piece.first_offset, False
    parts: list[bytes] = []
    size = 0
    for chunk in piece.chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= ENCODING_HEAD_BYTES:
            break
    first = b"".join(parts)
    variant = _utf16_variant(first[:ENCODING_HEAD_BYTES])
    if variant is not None:
        encoding, bom_bytes = variant
        return _utf16_to_utf8(encoding, chain([first[bom_bytes:]], piece.chunks)), bom_bytes, True
    without = first.removeprefix(_UTF8_BOM)
    return chain([without], piece.chunks), len(first) - len(without), False


def _utf16_variant(head: bytes) -> tuple[str, int] | None:
    """Encoding and length of the byte order mark, if the head is UTF-16."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return None
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le", 2
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be", 2
    units = len(head) // 2
    if units < 2:
        return None
    even, odd = head[: 2 * units : 2].count(0) / units, head[1 : 2 * units : 2].count(0) / units
    if odd >= UTF16_ZERO_SHARE_MIN and even <= UTF16_ZERO_SHARE_OTHER_MAX:
        return "utf-16-le", 0
    if even >= UTF16_ZERO_SHARE_MIN and odd <= UTF16_ZERO_SHARE_OTHER_MAX:
        return "utf-16-be", 0
    return None


def _utf16_to_utf8(encoding: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogatepass")
    left, _ = decoder.getstate()
    if left:  # half a unit at the end of the file, or half a pair
        yield left.decode(encoding, "replace").encode()


def _utf16_units(data: bytes) -> int:
    """How many UTF-16 units some UTF-8 (from UTF-16) makes: one per character, two beyond the first plane."""
    continuation = len(data.translate(None, _CONTINUATION_BYTES))
    return continuation + (len(data) - len(data.translate(None, _FOUR_BYTE_LEADS)))


_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
_FOUR_BYTE_LEADS = bytes(range(0xF0, 0xF8))


def utf16_bytes(line: bytes) -> int:
    """How many bytes some UTF-8 is (or was) in UTF-16."""
    return 2 * _utf16_units(line)


def _file_bytes(batch: list[bytes], size: int, *, utf16: bool) -> int:
    """How many bytes of the file some lines are, their ends counted."""
    return sum(map(utf16_bytes, batch)) + 2 * len(batch) if utf16 else size + len(batch)

"""Files inside files: gzip, Zstandard, zip and tar, opened transparently, streaming, and without trust.

Nothing is ever written to disk or held whole; names of members are labels, never paths. Sizes in headers are not
believed: what comes out is counted while it comes out. What is dangerous about an archive that is only read is memory
and endless output, so the bounds are about these two:

- **Ratio.** Once ``RATIO_FREE_BYTES`` have come out, the output of a layer may be at most ``DEFLATE_RATIO_MAX`` times
  its input for gzip and zip (real logs reach 30 with deflate, which itself cannot exceed 1,032), and
  ``ZSTD_RATIO_MAX`` times for Zstandard (real Windows logs reach 100 already at common levels). All layers together
  may give ``ZSTD_RATIO_MAX`` times what was read of the outermost file. So the work stays linear in the bytes at hand.
- **Size.** ``MEMBER_BYTES_MAX`` of one member: high, because logs are streamed and large ones are real.
- **Memory.** A Zstandard window of at most ``ZSTD_WINDOW_BYTES_MAX``; a zip directory of at most
  ``ZIP_DIRECTORY_BYTES_MAX``; a zip inside something else is held, up to ``NESTED_ZIP_BYTES_MAX``.
- **Count and depth.** ``MEMBERS_MAX`` members below one file; archives nested ``ARCHIVE_DEPTH_MAX`` deep, each (and
  each member) compressed at most ``COMPRESSION_DEPTH_MAX`` times over.

Everything that could be read before damage or a bound is delivered; then one ``Quarantined`` tells what happened.
Members that are links or devices, that are encrypted, or whose names climb out (``..``) are quarantined. An absolute
name loses its leading slash, as when unpacking.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Literal, TypeAlias

import msgspec

from mingjian.errors import InputError, LimitExceeded, ParseError, shown
from mingjian.formats.text import decode
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Quarantined

RATIO_FREE_BYTES = 64 * 1024 * 1024
DEFLATE_RATIO_MAX = 100
ZSTD_RATIO_MAX = 1000
MEMBER_BYTES_MAX = 64 * 1024**3
MEMBERS_MAX = 10_000
ARCHIVE_DEPTH_MAX = 2
COMPRESSION_DEPTH_MAX = 2
ZSTD_WINDOW_BYTES_MAX = 64 * 1024 * 1024
ZIP_DIRECTORY_BYTES_MAX = 8 * 1024 * 1024
NESTED_ZIP_BYTES_MAX = 32 * 1024 * 1024
TAR_HEADER_BYTES_MAX = 256 * 1024
"""Of one extended header (long names, PAX records)."""
NAME_CHARACTERS_MAX = 4096

_READ_BYTES = 256 * 1024
_OUTPUT_BYTES = 1024 * 1024
_ZSTD_SLICE_BYTES = 512
"""A block of 4 bytes can stand for 128 KiB, so a slice gives at most 16 MiB at a time."""
_TAR_BLOCK_BYTES = 512
_NO_BLOCK = bytes(_TAR_BLOCK_BYTES)

Kind: TypeAlias = Literal["gzip", "zstd", "zip", "tar"]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not a container itself. Its chunks must be used up before the next member is asked for."""

    name: str
    """The file as the user named it, ``archive!member`` inside an archive."""
    chunks: Iterator[bytes]
    modified_at_s: float | None
    """Modification time (Unix seconds) as the innermost header tells it, else that of the file."""


def container_kind(head: bytes) -> Kind | None:
    r"""Which container some bytes (at least 512, if there are so many) begin.

    >>> container_kind(b"PK\x03\x04..."), container_kind(b"Nov 20 12:00:00 host sshd[1]: ...")
    ('zip', None)
    """
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if len(head) >= _TAR_BLOCK_BYTES and _tar_checksum_holds(head[:_TAR_BLOCK_BYTES]):
        return "tar"
    return None


def open_members(name: str, stream: IO[bytes], *, modified_at_s: float | None = None) -> Iterator[Member | Quarantined]:
    """Open a file and whatever it contains; a file that is no container is its own only member.

    ``stream`` must be seekable for zip. Errors of the disk (``OSError``) pass through.
    """
    state = _State(stream)
    yield from _open(_Place(name, modified_at_s), _Reader(state.chunks()), state, archives=0, compressions=0)


class _Place(msgspec.Struct, frozen=True):
    """Where we are: what to call it and when it was modified."""

    name: str
    modified_at_s: float | None


class _State:
    """What all layers below one outermost file share."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.members = 0
        self.bytes_in = 0
        self.bytes_out = 0

    def chunks(self) -> Iterator[bytes]:
        """The outermost file, counted."""
        while data := self.stream.read(_READ_BYTES):
            self.bytes_in += len(data)
            yield data

    def is_exceeded(self) -> bool:
        """Whether all layers together have given more than the outermost file can honestly hold."""
        return self.bytes_out > max(2 * RATIO_FREE_BYTES, ZSTD_RATIO_MAX * self.bytes_in)

    def count_member(self, where: str) -> None:
        """Count a member of any archive.

        Raises:
            LimitExceeded: there were too many.
        """
        self.members += 1
        if self.members > MEMBERS_MAX:
            raise LimitExceeded("MEMBERS_MAX", MEMBERS_MAX, where=where)


class _Meter:
    """Counts what goes into and comes out of one layer of compression."""

    def __init__(self, state: _State, ratio_max: int) -> None:
        self._state = state
        self._ratio_max = ratio_max
        self.bytes_in = 0
        self.bytes_out = 0

    def count(self, size: int) -> None:
        """Count output.

        Raises:
            LimitExceeded: there is more than the input can honestly hold.
        """
        self.bytes_out += size
        self._state.bytes_out += size
        if self.bytes_out > MEMBER_BYTES_MAX:
            raise LimitExceeded("MEMBER_BYTES_MAX", MEMBER_BYTES_MAX)
        if self.is_exceeded():
            name = "ZSTD_RATIO_MAX" if self._ratio_max == ZSTD_RATIO_MAX else "DEFLATE_RATIO_MAX"
            raise LimitExceeded(name, self._ratio_max)
        if self._state.is_exceeded():
            raise LimitExceeded("ZSTD_RATIO_MAX", ZSTD_RATIO_MAX)

    def is_exceeded(self) -> bool:
        """Whether more has come out than the ratio allows."""
        return self.bytes_out > max(RATIO_FREE_BYTES, self._ratio_max * self.bytes_in)


class _Reader:
    """Reads forward through chunks. ``damage`` tells, once it is reached, why the chunks ended before their time."""

    def __init__(self, chunks: Iterator[bytes], damage: list[_Damage] | None = None) -> None:
        self._chunks = chunks
        self._left = b""
        self.damage: list[_Damage] = [] if damage is None else damage
        self.offset = 0

    def peek(self, size: int) -> bytes:
        """The next bytes without passing over them; fewer only at the end."""
        parts = [self._left]
        have = len(self._left)
        while have < size and (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            have += len(chunk)
        self._left = b"".join(parts)
        return self._left[:size]

    def some(self, size_max: int) -> bytes:
        """At least one byte and at most ``size_max``, or none at the end."""
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._left = chunk
        data, self._left = self._left[:size_max], self._left[size_max:]
        self.offset += len(data)
        return data

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes; fewer only at the end."""
        parts: list[bytes] = []
        while size > 0 and (data := self.some(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def rest(self) -> Iterator[bytes]:
        """All that is left, chunk by chunk."""
        while data := self.some(_OUTPUT_BYTES):
            yield data


class _Damage(msgspec.Struct, frozen=True):
    """Why a layer ended early: where in what it gives, and the bytes that it could not use."""

    error: InputError
    offset: int
    data: bytes


def _open(
    place: _Place, reader: _Reader, state: _State, *, archives: int, compressions: int
) -> Iterator[Member | Quarantined]:
    kind = container_kind(reader.peek(_TAR_BLOCK_BYTES))
    if kind == "gzip" or kind == "zstd":
        if compressions == COMPRESSION_DEPTH_MAX:
            error = LimitExceeded("COMPRESSION_DEPTH_MAX", COMPRESSION_DEPTH_MAX)
            yield _quarantined(place.name, error, 0, reader.peek(QUARANTINED_BYTES_MAX))
            return
        damage: list[_Damage] = []
        if kind == "gzip":
            (stamp,) = struct.unpack("<I", reader.peek(8)[4:8].ljust(4, b"\0"))
            place = _Place(place.name, float(stamp)) if stamp else place
            chunks = _inflated(reader, _Meter(state, DEFLATE_RATIO_MAX), damage, wbits=31)
        else:
            chunks = _unzstd(reader, _Meter(state, ZSTD_RATIO_MAX), damage)
        inner = _Reader(chunks, damage)
        yield from _open(place, inner, state, archives=archives, compressions=compressions + 1)
        for each in damage:
            yield _quarantined(place.name, each.error, each.offset, each.data)
    elif kind is None:
        yield Member(name=place.name, chunks=reader.rest(), modified_at_s=place.modified_at_s)
    elif archives == ARCHIVE_DEPTH_MAX:
        error = LimitExceeded("ARCHIVE_DEPTH_MAX", ARCHIVE_DEPTH_MAX)
        yield _quarantined(place.name, error, 0, reader.peek(QUARANTINED_BYTES_MAX))
    elif kind == "tar":
        yield from _open_tar(place, reader, state, archives + 1)
    else:
        yield from _open_zip(place, reader, state, archives + 1, outermost=archives == 0 and compressions == 0)


def _quarantined(name: str, error: InputError, offset: int, data: bytes) -> Quarantined:
    return Quarantined(
        file=name, record=0, offset=offset, code=error.code, reason=str(error), data=data[:QUARANTINED_BYTES_MAX]
    )


# --- compression --------------------------------------------------------------------------------------------------


def _inflated(reader: _Reader, meter: _Meter, damage: list[_Damage], *, wbits: int) -> Iterator[bytes]:
    """Decompress deflate data: gzip members one after the other (``wbits`` 31), or one raw stream (−15)."""
    decoder = zlib.decompressobj(wbits)
    begun = True
    data = b""
    while True:
        if not data and not (data := reader.some(_READ_BYTES)):
            break
        if decoder.eof and wbits < 0:
            break  # one stream is all there should be; the checksum tells whether it was
        if decoder.eof:
            data = data.lstrip(b"\0")  # padding, as tapes and some file systems leave it
            if not data:
                continue
            decoder, begun = zlib.decompressobj(wbits), False
        while True:
            before = decoder.copy()
            try:
                output = decoder.decompress(data, _OUTPUT_BYTES)
            except zlib.error as error:
                yield from _rescued(before, data, meter)
                what = "damaged compressed data" if begun else "bytes after the compressed data"
                damage.append(_Damage(ParseError(f"{what}: {error}"), meter.bytes_out, data))
                return
            begun = True
            left = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
            meter.bytes_in += len(data) - len(left)
            data = left
            try:
                meter.count(len(output))
            except LimitExceeded as error:
                damage.append(_Damage(error, meter.bytes_out - len(output), data))
                return
            if output:
                yield output
            if decoder.eof or (not data and len(output) < _OUTPUT_BYTES):
                break
    if not decoder.eof:
        damage.append(_Damage(ParseError("the compressed data ends too early"), meter.bytes_out, b""))


def _rescued(decoder: zlib._Decompress, data: bytes, meter: _Meter) -> Iterator[bytes]:  # type: ignore[name-defined]  # typeshed's name for it
    """What can be decompressed before the place that is damaged: not more than was just tried."""
    for step in (4096, 64, 1):
        while data:
            before = decoder.copy()
            try:
                output = decoder.decompress(data[:step])
            except zlib.error:
                decoder = before
                break
            data = data[step:]
            meter.bytes_out += len(output)
            if output:
                yield output


def _unzstd(reader: _Reader, meter: _Meter, damage: list[_Damage]) -> Iterator[bytes]:
    """Decompress Zstandard frames one after the other."""
    import zstandard  # here, because most files are not compressed with it

    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES_MAX)
    decoder = unpacker.decompressobj()
    begun = True
    data = b""
    while data or (data := reader.some(_ZSTD_SLICE_BYTES)):
        if decoder.eof:
            decoder, begun = unpacker.decompressobj(), False
        try:
            output = decoder.decompress(data)
            begun = True
            meter.bytes_in += len(data)
            data = decoder.unused_data if decoder.eof else b""
            meter.bytes_in -= len(data)
            meter.count(len(output))
        except LimitExceeded as error:
            damage.append(_Damage(error, meter.bytes_out, data))
            return
        except zstandard.ZstdError as error:
            if "memory" in str(error):
                problem: InputError = LimitExceeded(
                    "ZSTD_WINDOW_BYTES_MAX", ZSTD_WINDOW_BYTES_MAX, hint="recompress it with a smaller window"
                )
            elif begun:
                problem = ParseError(f"damaged compressed data: {error}")
            else:
                problem = ParseError("bytes after the compressed data")
            damage.append(_Damage(problem, meter.bytes_out, data))
            return
        if output:
            yield output
    if not decoder.eof:
        damage.append(_Damage(ParseError("the compressed data ends too early"), meter.bytes_out, b""))


# --- names --------------------------------------------------------------------------------------------------------


def _checked_name(name: str) -> str:
    """The name of a member as a label.

    Raises:
        InputError: it climbs out of the archive, or is no name.
    """
    if len(name) > NAME_CHARACTERS_MAX:
        raise LimitExceeded("NAME_CHARACTERS_MAX", NAME_CHARACTERS_MAX)
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or "\0" in name or not name.strip("/"):
        raise ParseError(f"a member with the name {shown(name)} is not opened")
    return name.lstrip("/")


# --- tar ----------------------------------------------------------------------------------------------------------


class _TarHeader(msgspec.Struct):
    """One member as its headers describe it."""

    name: str
    type: str
    size: int
    modified_at_s: float | None
    sparse: bool = False


_TAR_REFUSED = {
    "1": "a hard link",
    "2": "a symbolic link",
    "3": "a character device",
    "4": "a block device",
    "6": "a named pipe",
    "S": "a sparse file",
}


def _open_tar(place: _Place, reader: _Reader, state: _State, archives: int) -> Iterator[Member | Quarantined]:
    """Go through a tar archive. One complaint at most about its end; a layer below that ended early says it itself."""
    ended = False
    while True:
        start = reader.offset
        try:
            found = _next_tar_header(reader)
            if found is None:
                break
            if found is False:
                ended = True
                continue
            ended = False
            state.count_member(place.name)
        except InputError as error:
            if not reader.damage:
                yield _quarantined(place.name, error, start, b"")
            return
        body = _TarBody(reader, found.size)
        yield from _open_tar_member(place, found, start, body, state, archives)
        body.skip()
        if body.missing and not reader.damage:
            error = ParseError(f"the archive ends inside its member {shown(found.name)}")
            yield _quarantined(place.name, error, reader.offset, b"")
            return
    if not ended and not reader.damage:
        error = ParseError("the archive ends without its end marker: members may be missing")
        yield _quarantined(place.name, error, reader.offset, b"")


def _open_tar_member(
    place: _Place, found: _TarHeader, start: int, body: _TarBody, state: _State, archives: int
) -> Iterator[Member | Quarantined]:
    if found.type == "5" or (found.type in "\x000" and found.name.endswith("/")):
        return
    label = f"{place.name}!{found.name}"
    try:
        label = f"{place.name}!{_checked_name(found.name)}"
        if found.sparse or found.type not in "\x0007":
            what = "a sparse file" if found.sparse else _TAR_REFUSED.get(found.type, f"of type {shown(found.type)}")
            raise ParseError(f"a member that is {what} is not opened")
    except InputError as error:
        yield _quarantined(label[:NAME_CHARACTERS_MAX], error, start, body.head())
        return
    modified_at_s = found.modified_at_s if found.modified_at_s else place.modified_at_s
    inner = _Reader(body.chunks(), [])
    yield from _open(_Place(label, modified_at_s), inner, state, archives=archives, compressions=0)


class _TarBody:
    """The bytes of one member, and the padding after them."""

    def __init__(self, reader: _Reader, size: int) -> None:
        self._reader = reader
        self._left = size
        self._padding = -size % _TAR_BLOCK_BYTES
        self.missing = False

    def chunks(self) -> Iterator[bytes]:
        """The bytes, as long as there are any."""
        while self._left and (data := self._reader.some(min(self._left, _OUTPUT_BYTES))):
            self._left -= len(data)
            yield data
        self.missing = self._left > 0

    def head(self) -> bytes:
        """The first bytes only, for the quarantine."""
        data = self._reader.read(min(self._left, QUARANTINED_BYTES_MAX))
        self._left -= len(data)
        return data

    def skip(self) -> None:
        """Pass over what nobody wanted."""
        for _ in self.chunks():
            pass
        if not self.missing:
            self._reader.read(self._padding)


def _next_tar_header(reader: _Reader) -> _TarHeader | Literal[False] | None:
    """The next member; False for a block of zeros; None at the end of the bytes.

    Raises:
        ParseError: the header is damaged or cut off.
        LimitExceeded: an extended header is too long.
    """
    long_name: str | None = None
    records: dict[str, str] = {}
    while True:
        block = reader.read(_TAR_BLOCK_BYTES)
        if not block:
            return None
        if len(block) < _TAR_BLOCK_BYTES:
            if not any(block):
                return None
            raise ParseError("the archive ends inside a header")
        if block == _NO_BLOCK:
            return False
        if not _tar_checksum_holds(block):
            raise ParseError("a header of the archive is damaged: its checksum is wrong")
        size = _tar_number(block[124:136])
        if size is None or size < 0:
            raise ParseError("a header of the archive is damaged: it states no size")
        kind = chr(block[156])
        if kind in "LKxg":
            if size > TAR_HEADER_BYTES_MAX:
                raise LimitExceeded("TAR_HEADER_BYTES_MAX", TAR_HEADER_BYTES_MAX)
            data = reader.read(size)
            reader.read(-size % _TAR_BLOCK_BYTES)
            if len(data) < size:
                raise ParseError("the archive ends inside a header")
            if kind == "L":
                long_name = decode(data.rstrip(b"\0"))
            elif kind == "x":
                records = _pax_records(data)
            continue
        return _tar_member(reader, block, kind, size, long_name, records)


def _tar_member(
    reader: _Reader, block: bytes, kind: str, size: int, long_name: str | None, records: dict[str, str]
) -> _TarHeader:
    name = decode(block[:100].split(b"\0", 1)[0])
    prefix = decode(block[345:500].split(b"\0", 1)[0]) if block[257:263] == b"ustar\0" else ""
    if prefix:
        name = f"{prefix}/{name}"
    modified_at_s: float | None = _tar_number(block[136:148])
    try:
        size = int(records.get("size", size))
        modified_at_s = float(records["mtime"]) if "mtime" in records else modified_at_s
    except ValueError:
        raise ParseError("a header of the archive is damaged: a PAX record is no number") from None
    if size < 0:
        raise ParseError("a header of the archive is damaged: it states no size")
    extended = kind == "S" and block[482] != 0
    while extended:
        more = reader.read(_TAR_BLOCK_BYTES)
        extended = len(more) == _TAR_BLOCK_BYTES and more[504] != 0
    if kind in "12346":
        size = 0
    return _TarHeader(
        name=records.get("path", long_name if long_name is not None else name),
        type=kind,
        size=size,
        modified_at_s=modified_at_s,
        sparse=kind == "S" or any(key.startswith("GNU.sparse.") for key in records),
    )


def _pax_records(data: bytes) -> dict[str, str]:
    """The records ``length key=value`` of a PAX header.

    Raises:
        ParseError: the lengths do not add up.

    Source: POSIX.1-2017, pax, section Extended Header.
    """
    records: dict[str, str] = {}
    at = 0
    while at < len(data) and data[at] != 0:
        space = data.find(b" ", at, at + 20)
        digits = data[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else -1
        if end <= space or end > len(data):
            raise ParseError("a header of the archive is damaged: its PAX records do not add up")
        key, _, value = data[space + 1 : end - 1].partition(b"=")
        records[decode(key)] = decode(value)
        at = end
    return records


def _tar_checksum_holds(block: bytes) -> bool:
    stated = _tar_number(block[148:156])
    return stated is not None and stated > 0 and stated == sum(block) - sum(block[148:156]) + 8 * 32


def _tar_number(field: bytes) -> int | None:
    """A number in octal digits, or in base 256 if the first bit is set."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    if not digits:
        return 0
    return int(digits, 8) if digits.isdigit() and b"8" not in digits and b"9" not in digits else None


# --- zip ----------------------------------------------------------------------------------------------------------

_ZIP_ENTRY_MAGIC = b"PK\x01\x02"
_ZIP_LOCAL = struct.Struct("<4s22xHH")
_ZIP_ENCRYPTED = 0x1
_ZIP_UTF8 = 0x800
_ZIP_TIMESTAMP = 0x5455


class _ZipDirectory:
    """What ``zipfile`` reads an archive through while it reads the directory: no more than the bounds allow."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.seek = stream.seek
        self.tell = stream.tell

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read as much as asked for.

        Raises:
            LimitExceeded: the directory is too large, or has too many entries.
        """
        data = self._stream.read(size if 0 <= size <= ZIP_DIRECTORY_BYTES_MAX else ZIP_DIRECTORY_BYTES_MAX + 1)
        if len(data) > ZIP_DIRECTORY_BYTES_MAX:
            raise LimitExceeded("ZIP_DIRECTORY_BYTES_MAX", ZIP_DIRECTORY_BYTES_MAX)
        if data.count(_ZIP_ENTRY_MAGIC) > MEMBERS_MAX:
            raise LimitExceeded("MEMBERS_MAX", MEMBERS_MAX)
        return data


def _open_zip(
    place: _Place, reader: _Reader, state: _State, archives: int, *, outermost: bool
) -> Iterator[Member | Quarantined]:
    head = reader.peek(QUARANTINED_BYTES_MAX)
    if outermost:
        stream = state.stream
    else:
        data = b"".join(_at_most(reader, NESTED_ZIP_BYTES_MAX + 1))
        if len(data) > NESTED_ZIP_BYTES_MAX:
            yield _quarantined(place.name, LimitExceeded("NESTED_ZIP_BYTES_MAX", NESTED_ZIP_BYTES_MAX), 0, head)
            return
        if reader.damage:
            return  # it was cut off: the layer that ended early says so
        stream = io.BytesIO(data)
    try:
        entries = zipfile.ZipFile(_ZipDirectory(stream)).infolist()  # type: ignore[arg-type]  # all that it needs
    except InputError as error:
        yield _quarantined(place.name, error, 0, head)
        return
    except (zipfile.BadZipFile, ValueError, OverflowError, struct.error, NotImplementedError, OSError) as error:
        yield _quarantined(place.name, ParseError(f"a zip archive whose directory cannot be read: {error}"), 0, head)
        return
    meter = _Meter(state, DEFLATE_RATIO_MAX)
    meter.bytes_in = stream.seek(0, io.SEEK_END)
    if outermost:
        state.bytes_in = meter.bytes_in
    for entry in entries:
        try:
            state.count_member(place.name)
        except LimitExceeded as error:
            yield _quarantined(place.name, error, 0, b"")
            return
        if not entry.filename.endswith("/"):
            yield from _open_zip_member(place, stream, entry, meter, state, archives)
        if meter.is_exceeded() or state.is_exceeded():
            return  # said once; it is as true for all members that follow


def _at_most(reader: _Reader, size: int) -> Iterator[bytes]:
    while size > 0 and (data := reader.some(min(size, _OUTPUT_BYTES))):
        size -= len(data)
        yield data


def _open_zip_member(
    place: _Place, stream: IO[bytes], entry: zipfile.ZipInfo, meter: _Meter, state: _State, archives: int
) -> Iterator[Member | Quarantined]:
    raw_name = entry.orig_filename
    name = raw_name if entry.flag_bits & _ZIP_UTF8 else decode(raw_name.encode("cp437", "replace"))
    label = f"{place.name}!{name}"[:NAME_CHARACTERS_MAX]
    try:
        label = f"{place.name}!{_checked_name(name)}"
        _check_zip_entry(entry)
        start = _zip_data_start(stream, entry)
    except InputError as error:
        yield _quarantined(label, error, 0, b"")
        return
    damage: list[_Damage] = []
    packed = _Reader(_zip_bytes(stream, start, entry.compress_size))
    inside = _Meter(state, DEFLATE_RATIO_MAX)
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        chunks = _inflated(packed, inside, damage, wbits=-15)
    else:
        chunks = packed.rest()
    checked = _zip_checked(chunks, entry, meter, damage)
    modified_at_s = _zip_modified_at_s(entry)
    inner = _Reader(checked, damage)
    yield from _open(
        _Place(label, place.modified_at_s if modified_at_s is None else modified_at_s),
        inner,
        state,
        archives=archives,
        compressions=0,
    )
    for each in damage:
        yield _quarantined(label, each.error, each.offset, each.data)


def _check_zip_entry(entry: zipfile.ZipInfo) -> None:
    """Refuse what is no plain file that we can read.

    Raises:
        ParseError: encrypted, a link or device, or compressed in another way.
    """
    if entry.flag_bits & _ZIP_ENCRYPTED:
        raise ParseError("an encrypted member is not opened", hint="decrypt the archive first")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise ParseError("a member that is a link or a device is not opened")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ParseError(f"compression method {entry.compress_type} is not supported", hint="deflate is")


def _zip_data_start(stream: IO[bytes], entry: zipfile.ZipInfo) -> int:
    """Where the data of a member starts, by its local header.

    Raises:
        ParseError: there is no local header.
    """
    try:
        stream.seek(entry.header_offset)
    except (OSError, ValueError, OverflowError):
        raise ParseError("the directory points outside the archive") from None
    head = stream.read(_ZIP_LOCAL.size)
    if len(head) < _ZIP_LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise ParseError("the local header of a member is damaged")
    _, name_size, extra_size = _ZIP_LOCAL.unpack(head)
    return entry.header_offset + _ZIP_LOCAL.size + name_size + extra_size


def _zip_bytes(stream: IO[bytes], start: int, size: int) -> Iterator[bytes]:
    """The compressed bytes of one member; others may move the stream in between."""
    while size > 0:
        stream.seek(start)
        data = stream.read(min(size, _READ_BYTES))
        if not data:
            return
        start, size = start + len(data), size - len(data)
        yield data


def _zip_checked(
    chunks: Iterator[bytes], entry: zipfile.ZipInfo, meter: _Meter, damage: list[_Damage]
) -> Iterator[bytes]:
    """Pass the bytes of a member on and compare them with the directory at the end."""
    checksum = size = 0
    for chunk in chunks:
        meter.bytes_out += len(chunk)
        if meter.is_exceeded():
            damage.append(_Damage(LimitExceeded("DEFLATE_RATIO_MAX", DEFLATE_RATIO_MAX), size, b""))
            return
        checksum, size = zlib.crc32(chunk, checksum), size + len(chunk)
        yield chunk
    if not damage and (checksum != entry.CRC or size != entry.file_size):
        damage.append(_Damage(ParseError("the checksum or the size of a member is wrong"), size, b""))


def _zip_modified_at_s(entry: zipfile.ZipInfo) -> float | None:
    """Modification time by the extended timestamp; None if there is none (DOS time has no zone)."""
    extra = entry.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == _ZIP_TIMESTAMP and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return float(struct.unpack_from("<i", extra, 5)[0])
        extra = extra[4 + size :]
    return None

"""Keys: observables as byte strings whose order makes ranges of what is asked for together.

The key of an observable is one byte for its kind and then its canonical value, turned round so that what belongs
together stands together:

- domains from the last label to the first (``www.evil.example`` is ``example.evil.www``), so that a domain with all
  below it is one range; hosts, URLs (host, scheme, rest) and e-mail addresses (domain, then name) likewise;
- addresses as 4 or 16 bytes behind a byte that says which, so that a network is one range;
- files with their last component first, so that a file name in every folder is one range;
- everything else as it is.

A key can always be turned back into exactly the value: what is not in canonical form is kept as it is behind
``0xFF``, which no UTF-8 begins with. Pure. Whole columns at a time; one value is a column of one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mingjian.errors import LimitExceeded, SchemaError, shown
from mingjian.model.sources import ObservableKind

VALUE_BYTES_MAX: Final = 65_536
"""A value with more bytes cannot be kept. ``model.observables`` takes nothing so long for an observable."""

KIND_NUMBERS: Final[dict[ObservableKind, int]] = {
    "ip": 1,
    "domain": 2,
    "url": 3,
    "email": 4,
    "hash": 5,
    "account": 6,
    "host": 7,
    "certificate": 8,
    "ja3": 9,
    "ja4": 10,
    "file": 11,
    "package": 12,
}
"""The first byte of a key. The numbers are in files: never change one, only add."""
KINDS: Final[dict[int, ObservableKind]] = {number: kind for kind, number in KIND_NUMBERS.items()}

NAMED_KINDS: Final[tuple[ObservableKind, ...]] = ("domain", "host", "url", "email")
"""Kinds whose values hold a domain."""
ADDRESS_KINDS: Final[tuple[ObservableKind, ...]] = ("ip", "host")
"""Kinds whose values may be an address."""

_AS_IT_IS: Final = b"\xff"
_V4: Final = b"\x04"
_V6: Final = b"\x06"
_V4_TEXT: Final = r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}"
_URL_TEXT: Final = r"(?P<s>[^:/\x00]*)://(?P<h>\[[^/\x00\]]*\]|[^:/\x00]*)(?P<r>(?s:.*))"
_V4_PATTERN: Final = re.compile(_V4_TEXT)
_URL: Final = re.compile(_URL_TEXT)
_SLICE_STOP: Final = 2**31 - 1
_OCTETS: Final = pa.array([str(number) for number in range(256)], pa.large_string())

_Text = pa.LargeStringArray
_Bytes = pa.LargeBinaryArray


class KeyRange(NamedTuple):
    """All keys from ``low`` (included) to ``high`` (excluded)."""

    low: bytes
    high: bytes


def _binary(column: pa.Array | pa.ChunkedArray) -> _Bytes:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return cast("_Bytes", whole.cast(pa.large_binary()))


def _text(column: pa.Array) -> _Text:
    return cast("_Text", column.cast(pa.large_string()))


def _mask(column: object) -> npt.NDArray[np.bool_]:
    return np.asarray(cast("pa.BooleanArray", column).to_numpy(zero_copy_only=False), bool)


def _joined(*parts: pa.Array | bytes) -> _Bytes:
    """The parts of every row, one behind the other."""
    columns = [pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else _binary(part) for part in parts]
    return _binary(pc.binary_join_element_wise(*columns, pa.scalar(b"", pa.large_binary())))


def _split(column: _Text, separator: str, *, last: bool = False) -> tuple[npt.NDArray[np.bool_], _Text, _Text]:
    """Whether the separator is in each text, and what stands before and behind its first (or last) place."""
    lists = cast("pa.LargeListArray", pc.split_pattern(column, separator, max_splits=1, reverse=last))
    counts = np.asarray(cast("pa.Array", pc.list_value_length(lists)).to_numpy(zero_copy_only=False))
    flat = _text(lists.flatten())
    ends = np.cumsum(counts)
    has = counts == 2
    before = flat.take(pa.array(ends - counts))
    behind = flat.take(pa.array(np.where(has, ends - 1, 0) if len(flat) else ends))
    return has, _text(before), _text(pc.if_else(pa.array(has), behind, ""))


def _labels_reversed(names: _Text) -> _Text:
    """The labels of every name from the last to the first; done twice it is what it was."""
    lists = cast("pa.ListArray", pc.split_pattern(names.cast(pa.large_string()), "."))
    counts = np.asarray(cast("pa.Array", pc.list_value_length(lists)).to_numpy(zero_copy_only=False), np.int64)
    ends = np.cumsum(counts)
    order = np.repeat(2 * ends - counts - 1, counts) - np.arange(ends[-1] if len(ends) else 0)
    offsets = pa.array(np.concatenate(([0], ends)), pa.int32())
    turned = pa.ListArray.from_arrays(offsets, lists.flatten().take(pa.array(order)))
    return _text(pc.binary_join(turned, pa.scalar(".", pa.large_string())))


def _is_v4(texts: _Text) -> npt.NDArray[np.bool_]:
    return _mask(pc.match_substring_regex(texts, rf"\A(?:{_V4_TEXT})\z"))


def _v4_packed(texts: _Text) -> tuple[npt.NDArray[np.bool_], _Bytes]:
    """The four bytes of every dotted address, and whether its numbers are small enough."""
    octets = cast("pa.ListArray", pc.split_pattern(texts, ".")).flatten().cast(pa.uint16())
    numbers = octets.to_numpy(zero_copy_only=False).reshape(-1, 4)
    return (numbers <= 255).all(axis=1), _fixed(numbers.astype(np.uint8))


def _fixed(rows: npt.NDArray[np.uint8]) -> _Bytes:
    """A matrix of bytes as a column, a row each."""
    offsets = np.arange(len(rows) + 1, dtype=np.int64) * rows.shape[1]
    data = np.ascontiguousarray(rows)
    return cast(
        "_Bytes", pa.Array.from_buffers(pa.large_binary(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    )


def _v6_key(text: str) -> bytes | None:
    """The 16 bytes of an address, None if they would not give the same text back."""
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, UnicodeError, ValueError):
        return None
    return packed if _v6_text(packed) == text else None


def _v6_text(packed: bytes) -> str:
    # The C library writes ::/96 with a dotted end, ipaddress does not.
    return str(ipaddress.IPv6Address(packed)) if packed.startswith(bytes(8)) else socket.inet_ntop(socket.AF_INET6, packed)


def _chosen(size: int, parts: Sequence[tuple[npt.NDArray[np.int64], _Bytes]]) -> _Bytes:
    """A column of which each part fills some rows."""
    if len(parts) == 1 and len(parts[0][0]) == size:
        return parts[0][1]
    rows = np.concatenate([rows for rows, _ in parts])
    place = np.empty(size, np.int64)
    place[rows] = np.arange(size)
    return _binary(pa.concat_arrays([column for _, column in parts]).take(pa.array(place)))


def _address_keys(values: _Text, others: Callable[[_Text], _Bytes]) -> _Bytes:
    """Keys of addresses; what is none is for ``others``."""
    dotted = _is_v4(values)
    colons = _mask(pc.match_substring(values, ":"))
    rest = ~dotted & ~colons
    parts: list[tuple[npt.NDArray[np.int64], _Bytes]] = []
    if dotted.any():
        rows = np.flatnonzero(dotted)
        fits, packed = _v4_packed(_text(values.take(pa.array(rows))))
        parts.append((rows[fits], _joined(_V4, packed.filter(pa.array(fits)))))
        rest[rows[~fits]] = True
    if colons.any():
        rows = np.flatnonzero(colons)
        found = [_v6_key(text) for text in cast("list[str]", values.take(pa.array(rows)).to_pylist())]
        is_address = np.array([key is not None for key in found])
        keys = pa.array([_V6 + key for key in found if key is not None], pa.large_binary())
        parts.append((rows[is_address], keys))
        rest[rows[~is_address]] = True
    if rest.any():
        rows = np.flatnonzero(rest)
        parts.append((rows, others(_text(values.take(pa.array(rows))))))
    return _chosen(len(values), parts)


def _unchanged(values: _Text) -> _Bytes:
    return _joined(_AS_IT_IS, values)


def _names_reversed(values: _Text) -> _Bytes:
    return _binary(_labels_reversed(values))


def _host_names(values: _Text) -> _Bytes:
    """What begins like the key of an address is kept as it is, else it would be read as one."""
    keys = _names_reversed(values)
    first = pc.binary_slice(keys, 0, 1)
    taken = pc.is_in(first, value_set=pa.array([_V4, _V6], pa.large_binary()))
    return _either(~_mask(taken), keys, _unchanged(values))


def _email_keys(values: _Text) -> _Bytes:
    has, local, domain = _split(values, "@", last=True)
    return _either(has, _joined(_labels_reversed(domain), b"@", local), _unchanged(values))


def _url_keys(values: _Text) -> _Bytes:
    found = cast("pa.StructArray", pc.extract_regex(values, rf"\A(?:{_URL_TEXT})\z"))
    has = _mask(pc.is_valid(found))
    scheme, host, rest = (_text(pc.fill_null(pc.struct_field(found, [name]), "")) for name in "shr")
    return _either(has, _joined(_url_host(host), b"\0", scheme, b"\0", rest), _unchanged(values))


def _url_host(hosts: _Text) -> _Bytes:
    return _binary(pc.if_else(pa.array(_is_v4(hosts)), hosts, _labels_reversed(hosts)))


def _file_keys(values: _Text) -> _Bytes:
    windows, above, name = _split(values, "\\", last=True)
    slashed, folder, leaf = _split(values, "/", last=True)
    paths = _either(windows, _joined(name, b"\\", above), _joined(leaf, b"/", folder))
    return _either(windows | slashed, paths, _binary(values))


def _either(is_first: npt.NDArray[np.bool_], first: _Bytes, second: _Bytes) -> _Bytes:
    return first if is_first.all() else _binary(pc.if_else(pa.array(is_first), first, second))


_ENCODERS: Final[dict[ObservableKind, Callable[[_Text], _Bytes]]] = {
    "ip": lambda values: _address_keys(values, _unchanged),
    "domain": _names_reversed,
    "url": _url_keys,
    "email": _email_keys,
    "host": lambda values: _address_keys(values, _host_names),
    "file": _file_keys,
}


def keys_of(kind: ObservableKind, values: pa.Array) -> _Bytes:
    """The keys of a column of values without nulls.

    >>> keys_of("domain", pa.array(["www.evil.example"]))[0].as_py()
    b'\\x02example.evil.www'

    Raises: LimitExceeded (a value is longer than ``VALUE_BYTES_MAX``).
    """
    texts = _text(values)
    if len(texts) and int(pc.max(pc.binary_length(texts)).as_py()) > VALUE_BYTES_MAX:
        raise LimitExceeded("VALUE_BYTES_MAX", VALUE_BYTES_MAX, where=kind)
    prefix = bytes([number_of(kind)])
    encode = _ENCODERS.get(kind)
    if not len(texts):
        return pa.array([], pa.large_binary())
    return _joined(prefix, texts if encode is None else encode(texts))


def number_of(kind: str) -> int:
    """The number of a kind. Raises: SchemaError (there is no such kind)."""
    number = KIND_NUMBERS.get(cast("ObservableKind", kind))
    if number is None:
        raise SchemaError(f"there is no kind of observable called {shown(kind)}", hint=", ".join(KIND_NUMBERS))
    return number


def key_of(kind: ObservableKind, value: str) -> bytes:
    r"""The key of one value: the same as ``keys_of`` gives, a hundred times sooner for a single one.

    >>> key_of("ip", "192.0.2.1"), key_of("file", r"c:\temp\a.exe")
    (b'\x01\x04\xc0\x00\x02\x01', b'\x0ba.exe\\c:\\temp')

    Raises: LimitExceeded, SchemaError (as ``keys_of``).
    """
    encode = _ONE.get(kind, str.encode)
    if len(value.encode()) > VALUE_BYTES_MAX:
        raise LimitExceeded("VALUE_BYTES_MAX", VALUE_BYTES_MAX, where=kind)
    return bytes([number_of(kind)]) + encode(value)


def _one_name(value: str) -> bytes:
    return ".".join(reversed(value.split("."))).encode()


def _one_kept(value: str) -> bytes:
    return _AS_IT_IS + value.encode()


def _one_address(value: str) -> bytes | None:
    if ":" in value:
        key = _v6_key(value)
        return None if key is None else _V6 + key
    if _V4_PATTERN.fullmatch(value) and all(int(octet) <= 255 for octet in value.split(".")):
        return _V4 + bytes(map(int, value.split(".")))
    return None


def _one_host(value: str) -> bytes:
    key = _one_address(value)
    name = _one_name(value) if key is None else key
    return _one_kept(value) if key is None and name[:1] in (_V4, _V6) else name


def _one_email(value: str) -> bytes:
    local, at, domain = value.rpartition("@")
    return _one_name(domain) + b"@" + local.encode() if at else _one_kept(value)


def _one_url(value: str) -> bytes:
    found = _URL.fullmatch(value)
    if found is None:
        return _one_kept(value)
    host = found["h"].encode() if _V4_PATTERN.fullmatch(found["h"]) else _one_name(found["h"])
    return b"\0".join((host, found["s"].encode(), found["r"].encode()))


def _one_file(value: str) -> bytes:
    separator = "\\" if "\\" in value else "/"
    folder, found, name = value.rpartition(separator)
    return f"{name}{separator}{folder}".encode() if found else value.encode()


_ONE: Final[dict[ObservableKind, Callable[[str], bytes]]] = {
    "ip": lambda value: _one_address(value) or _one_kept(value),
    "domain": _one_name,
    "url": _one_url,
    "email": _one_email,
    "host": _one_host,
    "file": _one_file,
}


# --- and back ------------------------------------------------------------------------------------------------------


def _behind_first(keys: _Bytes) -> _Bytes:
    # Without a stop Arrow 26 computes a negative length here.
    return _binary(pc.binary_slice(keys, 1, _SLICE_STOP))


def _v4_texts(keys: _Bytes) -> _Text:
    data = np.frombuffer(b"".join(cast("list[bytes]", keys.to_pylist())), np.uint8).reshape(-1, 4)
    columns = [_OCTETS.take(pa.array(data[:, place])) for place in range(4)]
    return _text(pc.binary_join_element_wise(*columns, pa.scalar(".", pa.large_string())))


def _addresses(keys: _Bytes, others: Callable[[_Bytes], _Text]) -> _Text:
    lengths = np.asarray(cast("pa.Array", pc.binary_length(keys)).to_numpy(zero_copy_only=False))
    first = cast("pa.Array", pc.binary_slice(keys, 0, 1))
    is_v4 = _mask(pc.equal(first, pa.scalar(_V4, pa.large_binary()))) & (lengths == 5)
    is_v6 = _mask(pc.equal(first, pa.scalar(_V6, pa.large_binary()))) & (lengths == 17)
    parts: list[tuple[npt.NDArray[np.int64], _Bytes]] = []
    for rows, decode in (
        (np.flatnonzero(is_v4), lambda some: _v4_texts(_behind_first(some))),
        (np.flatnonzero(is_v6), lambda some: _text(pa.array([_v6_text(k[1:]) for k in some.to_pylist()]))),
        (np.flatnonzero(~is_v4 & ~is_v6), others),
    ):
        if len(rows):
            parts.append((rows, _binary(decode(_binary(keys.take(pa.array(rows)))))))
    return _text(_chosen(len(keys), parts))


def _kept(keys: _Bytes) -> _Text:
    return _text(_behind_first(keys))


def _unless_kept(keys: _Bytes, decode: Callable[[_Text], _Text]) -> _Text:
    """What stands behind ``0xFF`` as it is, the rest decoded."""
    kept = _mask(pc.equal(pc.binary_slice(keys, 0, 1), pa.scalar(_AS_IT_IS, pa.large_binary())))
    parts: list[tuple[npt.NDArray[np.int64], _Bytes]] = []
    if kept.any():
        rows = np.flatnonzero(kept)
        parts.append((rows, _binary(_kept(_binary(keys.take(pa.array(rows)))))))
    if not kept.all():
        rows = np.flatnonzero(~kept)
        parts.append((rows, _binary(decode(_text(keys.take(pa.array(rows)))))))
    return _text(_chosen(len(keys), parts))


def _emails(keys: _Text) -> _Text:
    _, domain, local = _split(keys, "@")
    return _text(_joined(local, b"@", _labels_reversed(domain)))


def _urls(keys: _Text) -> _Text:
    _, host, rest = _split(keys, "\0")
    _, scheme, tail = _split(rest, "\0")
    return _text(_joined(scheme, b"://", _url_host(host), tail))


def _files(keys: _Bytes) -> _Text:
    texts = _text(keys)
    windows, name, above = _split(texts, "\\")
    slashed, leaf, folder = _split(texts, "/")
    paths = _either(windows, _joined(above, b"\\", name), _joined(folder, b"/", leaf))
    return _text(_either(windows | slashed, paths, keys))


_DECODERS: Final[dict[ObservableKind, Callable[[_Bytes], _Text]]] = {
    "ip": lambda keys: _addresses(keys, _kept),
    "domain": lambda keys: _labels_reversed(_text(keys)),
    "url": lambda keys: _unless_kept(keys, _urls),
    "email": lambda keys: _unless_kept(keys, _emails),
    "host": lambda keys: _addresses(keys, lambda others: _unless_kept(others, _labels_reversed)),
    "file": _files,
}


def values_of(keys: _Bytes) -> tuple[pa.StringArray, _Text]:
    """Kind and value of every key of a column."""
    numbers = _kind_numbers(keys)
    kinds = pa.array([KINDS[number] for number in numbers.tolist()], pa.string())
    parts: list[tuple[npt.NDArray[np.int64], _Bytes]] = []
    for number in np.unique(numbers).tolist():
        rows = np.flatnonzero(numbers == number)
        decode = _DECODERS.get(KINDS[number], _text)
        parts.append((rows, _binary(decode(_behind_first(_binary(keys.take(pa.array(rows))))))))
    return kinds, _text(_chosen(len(keys), parts)) if parts else pa.array([], pa.large_string())


def _kind_numbers(keys: _Bytes) -> npt.NDArray[np.uint8]:
    first = b"".join(cast("list[bytes]", pc.binary_slice(keys, 0, 1).to_pylist()))
    return np.frombuffer(first, np.uint8)


# --- ranges --------------------------------------------------------------------------------------------------------


def exactly(kind: ObservableKind, value: str) -> KeyRange:
    """The range of one value."""
    key = key_of(kind, value)
    return KeyRange(key, key + b"\0")


def beginning(prefix: bytes) -> KeyRange:
    """All keys with this prefix, which is not empty and does not end in ``0xFF``."""
    return KeyRange(prefix, prefix[:-1] + bytes([prefix[-1] + 1]))


def all_of(kind: ObservableKind) -> KeyRange:
    """All keys of a kind."""
    return beginning(bytes([number_of(kind)]))


def domain_ranges(name: str, kinds: Iterable[ObservableKind] = NAMED_KINDS) -> list[KeyRange]:
    """Everything at a domain and below it: the names themselves, URLs there, e-mail addresses there.

    >>> domain_ranges("evil.example", ["domain"])
    [KeyRange(low=b'\\x02example.evil', high=b'\\x02example.evil\\x00'), \
KeyRange(low=b'\\x02example.evil.', high=b'\\x02example.evil/')]
    """
    ranges: list[KeyRange] = []
    for kind in kinds:
        start = bytes([number_of(kind)]) + ".".join(reversed(name.split("."))).encode()
        end = {"url": b"\0", "email": b"@"}.get(kind)
        ranges.append(KeyRange(start, start + b"\0") if end is None else beginning(start + end))
        ranges.append(beginning(start + b"."))
    return ranges


def network_ranges(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network, kinds: Iterable[ObservableKind] = ADDRESS_KINDS
) -> list[KeyRange]:
    """All addresses of a network; one of IPv4 written as IPv6 (``::ffff:0:0/96``) is taken as IPv4.

    >>> network_ranges(ipaddress.ip_network("192.0.2.0/30"), ["ip"])
    [KeyRange(low=b'\\x01\\x04\\xc0\\x00\\x02\\x00', high=b'\\x01\\x04\\xc0\\x00\\x02\\x03\\x00')]
    """
    first, last = network.network_address.packed, network.broadcast_address.packed
    if len(first) == 16 and network.prefixlen >= 96 and first[:12] == bytes(10) + b"\xff\xff":
        first, last = first[12:], last[12:]
    tag = _V4 if len(first) == 4 else _V6
    numbers = [bytes([number_of(kind)]) for kind in kinds]
    return [KeyRange(number + tag + first, number + tag + last + b"\0") for number in numbers]


def file_name_ranges(name: str) -> list[KeyRange]:
    """A file by its name, in whatever folder."""
    start = bytes([number_of("file")]) + name.encode()
    return [KeyRange(start, start + b"\0"), beginning(start + b"/"), beginning(start + b"\\")]


def prefix_range(kind: ObservableKind, prefix: str) -> KeyRange | None:
    """All values of a kind that begin so; None if these do not stand together."""
    if kind in _ENCODERS:
        return None
    return beginning(bytes([number_of(kind)]) + prefix.encode())

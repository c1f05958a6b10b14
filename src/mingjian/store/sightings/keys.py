"""Keys: observables as byte strings whose order makes ranges of what is asked for together.

The key of an observable is one byte for its kind and then its canonical value, turned round so that what belongs
together stands together:

- domains from the last label to the first (``www.evil.example`` is ``example.evil.www``), so that a domain with all
  below it is one range; hosts, URLs (host, scheme, rest) and e-mail addresses (domain, then name) likewise;
- addresses as 4 or 16 bytes behind a byte that says which, so that a network is one range;
- files with their last component first, so that a file name in every folder is one range;
- accounts with their name before their domain, so that those of one name in all domains are one range;
- everything else as it is.

A key can always be turned back into exactly the value: what is not in canonical form is kept as it is behind
``0xFF``, which no UTF-8 begins with. Pure. Whole columns at a time; one value is a column of one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, cast

import numpy as np
import pyarrow as pa

from mingjian.errors import LimitExceeded, SchemaError, shown
from mingjian.model.sources import ObservableKind
from mingjian.store.sightings import columns
from mingjian.store.sightings.columns import Array, Bytes, Mask, Part, Texts, joined, split, taken

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
COMPANION: Final = cast("ObservableKind", "companion")
"""No observable, but an observable and a name that was seen with it, see ``companions``. Not among ``KIND_NUMBERS``:
whoever goes through all kinds does not meet it."""
_COMPANION_NUMBER: Final = 64
KINDS: Final[dict[int, ObservableKind]] = {
    **{number: kind for kind, number in KIND_NUMBERS.items()},
    _COMPANION_NUMBER: COMPANION,
}

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
_KIND_NAMES: Final = columns.texts([str(KINDS.get(number, "")) for number in range(max(KINDS) + 1)])
_OCTETS: Final = columns.texts([str(number) for number in range(256)])


class KeyRange(NamedTuple):
    """All keys from ``low`` (included) to ``high`` (excluded)."""

    low: bytes
    high: bytes


def _is_v4(values: Texts) -> Mask:
    return columns.as_mask(columns.computed("match_substring_regex", values, rf"\A(?:{_V4_TEXT})\z"))


def _v4_packed(values: Texts) -> tuple[Mask, Bytes]:
    """The four bytes of every dotted address, and whether its numbers are small enough."""
    octets, _ = columns.pieces(values, ".")
    numbers = columns.as_numbers(octets).reshape(-1, 4)
    return np.asarray((numbers <= 255).all(axis=1), bool), columns.fixed(numbers.astype(np.uint8))


def _v6_key(text: str) -> bytes | None:
    """The 16 bytes of an address, None if they would not give the same text back."""
    try:
        packed = socket.inet_pton(socket.AF_INET6, text)
    except (OSError, UnicodeError, ValueError):
        return None
    return packed if _v6_text(packed) == text else None


def _v6_text(packed: bytes) -> str:
    if packed.startswith(bytes(8)):
        # The C library writes ::/96 with a dotted end, ipaddress does not.
        return str(ipaddress.IPv6Address(packed))
    return socket.inet_ntop(socket.AF_INET6, packed)


def _address_keys(values: Texts, others: Callable[[Texts], Bytes]) -> Bytes:
    """Keys of addresses; what is none is for ``others``."""
    dotted = _is_v4(values)
    colons = columns.as_mask(columns.computed("match_substring", values, ":"))
    rest = ~dotted & ~colons
    parts: list[Part] = []
    if dotted.any():
        rows = np.flatnonzero(dotted)
        fits, packed = _v4_packed(taken(values, rows))
        parts.append((rows[fits], joined(_V4, columns.kept(packed, fits))))
        rest[rows[~fits]] = True
    if colons.any():
        rows = np.flatnonzero(colons)
        found = [_v6_key(text) for text in cast("list[str]", taken(values, rows).to_pylist())]
        is_address = np.array([key is not None for key in found])
        parts.append((rows[is_address], columns.binaries([_V6 + key for key in found if key is not None])))
        rest[rows[~is_address]] = True
    if rest.any():
        rows = np.flatnonzero(rest)
        parts.append((rows, others(taken(values, rows))))
    return columns.chosen(len(values), parts)


def _unchanged(values: Texts) -> Bytes:
    return joined(_AS_IT_IS, values)


def _turned(values: Texts) -> Texts:
    return columns.turned(values, ".")


def _name_keys(values: Texts) -> Bytes:
    return columns.as_binaries(_turned(values))


def _host_names(values: Texts) -> Bytes:
    """What begins like the key of an address is kept as it is, else it would be read as one."""
    keys = _name_keys(values)
    is_taken = columns.is_one_of(columns.first_byte(keys), [_V4, _V6])
    return columns.either(~is_taken, keys, _unchanged(values))


def _email_keys(values: Texts) -> Bytes:
    has, local, domain = split(values, "@", last=True)
    return columns.either(has, joined(_turned(domain), b"@", local), _unchanged(values))


def _url_keys(values: Texts) -> Bytes:
    found = columns.computed("extract_regex", values, rf"\A(?:{_URL_TEXT})\z")
    has = columns.as_mask(columns.computed("is_valid", found))
    nothing = pa.scalar("", pa.large_string())
    fields = (columns.computed("struct_field", found, [name]) for name in "shr")
    scheme, host, rest = (columns.as_texts(columns.computed("coalesce", field, nothing)) for field in fields)
    return columns.either(has, joined(_url_host(host), b"\0", scheme, b"\0", rest), _unchanged(values))


def _url_host(hosts: Texts) -> Bytes:
    return columns.either(_is_v4(hosts), columns.as_binaries(hosts), _name_keys(hosts))


def _file_keys(values: Texts) -> Bytes:
    windows, above, name = split(values, "\\", last=True)
    slashed, folder, leaf = split(values, "/", last=True)
    paths = columns.either(windows, joined(name, b"\\", above), joined(leaf, b"/", folder))
    return columns.either(windows | slashed, paths, columns.as_binaries(values))


def _account_keys(values: Texts) -> Bytes:
    has, domain, name = split(values, "\\", last=True)
    return columns.either(has, joined(name, b"\\", domain), columns.as_binaries(values))


_ENCODERS: Final[dict[ObservableKind, Callable[[Texts], Bytes]]] = {
    "ip": lambda values: _address_keys(values, _unchanged),
    "domain": _name_keys,
    "url": _url_keys,
    "email": _email_keys,
    "account": _account_keys,
    "host": lambda values: _address_keys(values, _host_names),
    "file": _file_keys,
}


def keys_of(kind: ObservableKind, values: Array) -> Bytes:
    r"""The keys of a column of values without nulls.

    >>> keys_of("domain", columns.texts(["www.evil.example"])).to_pylist()
    [b'\x02example.evil.www']

    Raises: LimitExceeded (a value is longer than ``VALUE_BYTES_MAX``), SchemaError (there is no such kind).
    """
    prefix = bytes([number_of(kind)])
    if not len(values):
        return columns.binaries([])
    texts = columns.as_texts(values)
    if int(columns.lengths(texts).max()) > VALUE_BYTES_MAX:
        raise LimitExceeded("VALUE_BYTES_MAX", VALUE_BYTES_MAX, where=kind)
    encode = _ENCODERS.get(kind)
    return joined(prefix, texts if encode is None else encode(texts))


def number_of(kind: str) -> int:
    """The number of a kind. Raises: SchemaError (there is no such kind)."""
    number = KIND_NUMBERS.get(cast("ObservableKind", kind))
    if kind == COMPANION:
        return _COMPANION_NUMBER
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


def _one_account(value: str) -> bytes:
    domain, found, name = value.rpartition("\\")
    return f"{name}\\{domain}".encode() if found else value.encode()


_ONE: Final[dict[ObservableKind, Callable[[str], bytes]]] = {
    "ip": lambda value: _one_address(value) or _one_kept(value),
    "domain": _one_name,
    "url": _one_url,
    "email": _one_email,
    "account": _one_account,
    "host": _one_host,
    "file": _one_file,
}


# --- and back ------------------------------------------------------------------------------------------------------


def _v4_texts(keys: Bytes) -> Texts:
    data = np.frombuffer(b"".join(cast("list[bytes]", keys.to_pylist())), np.uint8).reshape(-1, 5)
    return columns.joined_texts([taken(_OCTETS, data[:, place]) for place in range(1, 5)], ".")


def _v6_texts(keys: Bytes) -> Texts:
    return columns.texts([_v6_text(key[1:]) for key in cast("list[bytes]", keys.to_pylist())])


def _addresses(keys: Bytes, others: Callable[[Bytes], Texts]) -> Texts:
    sizes = columns.lengths(keys)
    first = columns.first_byte(keys)
    is_v4 = columns.is_one_of(first, [_V4]) & (sizes == 5)
    is_v6 = columns.is_one_of(first, [_V6]) & (sizes == 17)
    parts: list[Part] = []
    decoders: tuple[tuple[Mask, Callable[[Bytes], Texts]], ...] = (
        (is_v4, _v4_texts),
        (is_v6, _v6_texts),
        (~is_v4 & ~is_v6, others),
    )
    for wanted, decode in decoders:
        if wanted.any():
            parts.append((np.flatnonzero(wanted), columns.as_binaries(decode(columns.kept(keys, wanted)))))
    return columns.as_texts(columns.chosen(len(keys), parts))


def _kept(keys: Bytes) -> Texts:
    return columns.as_texts(columns.behind_first(keys))


def _unless_kept(keys: Bytes, decode: Callable[[Texts], Texts]) -> Texts:
    """What stands behind ``0xFF`` as it is, the rest decoded."""
    is_kept = columns.is_one_of(columns.first_byte(keys), [_AS_IT_IS])
    parts: list[Part] = []
    if is_kept.any():
        parts.append((np.flatnonzero(is_kept), columns.behind_first(columns.kept(keys, is_kept))))
    if not is_kept.all():
        others = columns.as_texts(columns.kept(keys, ~is_kept))
        parts.append((np.flatnonzero(~is_kept), columns.as_binaries(decode(others))))
    return columns.as_texts(columns.chosen(len(keys), parts))


def _emails(keys: Texts) -> Texts:
    _, domain, local = split(keys, "@")
    return columns.as_texts(joined(local, b"@", _turned(domain)))


def _urls(keys: Texts) -> Texts:
    _, host, rest = split(keys, "\0")
    _, scheme, tail = split(rest, "\0")
    return columns.as_texts(joined(scheme, b"://", _url_host(host), tail))


def _files(keys: Bytes) -> Texts:
    texts = columns.as_texts(keys)
    windows, name, above = split(texts, "\\")
    slashed, leaf, folder = split(texts, "/")
    paths = columns.either(windows, joined(above, b"\\", name), joined(folder, b"/", leaf))
    return columns.as_texts(columns.either(windows | slashed, paths, keys))


def _accounts(keys: Bytes) -> Texts:
    texts = columns.as_texts(keys)
    has, name, domain = split(texts, "\\")
    return columns.as_texts(columns.either(has, joined(domain, b"\\", name), keys))


_DECODERS: Final[dict[ObservableKind, Callable[[Bytes], Texts]]] = {
    "ip": lambda keys: _addresses(keys, _kept),
    "domain": lambda keys: _turned(columns.as_texts(keys)),
    "url": lambda keys: _unless_kept(keys, _urls),
    "email": lambda keys: _unless_kept(keys, _emails),
    "account": _accounts,
    "host": lambda keys: _addresses(keys, lambda others: _unless_kept(others, _turned)),
    "file": _files,
}


def values_of(keys: Bytes) -> tuple[Texts, Texts]:
    """Kind and value of every key of a column."""
    first = b"".join(cast("list[bytes]", columns.first_byte(keys).to_pylist()))
    numbers = np.frombuffer(first, np.uint8)
    parts: list[Part] = []
    for number in cast("list[int]", np.unique(numbers).tolist()):
        wanted = numbers == number
        decode = _DECODERS.get(KINDS[number], columns.as_texts)
        values = decode(columns.behind_first(columns.kept(keys, wanted)))
        parts.append((np.flatnonzero(wanted), columns.as_binaries(values)))
    kinds = taken(_KIND_NAMES, numbers)
    return kinds, columns.as_texts(columns.chosen(len(keys), parts))


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
    r"""Everything at a domain and below it: the names themselves, URLs there, e-mail addresses there.

    >>> for low, high in domain_ranges("evil.example", ["domain"]):
    ...     print(low, high)
    b'\x02example.evil' b'\x02example.evil\x00'
    b'\x02example.evil.' b'\x02example.evil/'
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
    r"""All addresses of a network; one of IPv4 written as IPv6 (``::ffff:0:0/96``) is taken as IPv4.

    >>> network_ranges(ipaddress.ip_network("192.0.2.0/30"), ["ip"])
    [KeyRange(low=b'\x01\x04\xc0\x00\x02\x00', high=b'\x01\x04\xc0\x00\x02\x03\x00')]
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


def account_ranges(name: str) -> list[KeyRange]:
    r"""An account by its name, in whatever domain and without one.

    >>> account_ranges("alice")[1].low
    b'\x06alice\\'
    """
    start = bytes([number_of("account")]) + name.encode()
    return [KeyRange(start, start + b"\0"), beginning(start + b"\\")]


def prefix_range(kind: ObservableKind, prefix: str) -> KeyRange | None:
    """All values of a kind that begin so; None if these do not stand together."""
    if kind in _ENCODERS:
        return None
    return beginning(bytes([number_of(kind)]) + prefix.encode())

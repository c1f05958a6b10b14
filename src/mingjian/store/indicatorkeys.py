"""Indicators and observables as keys: a hit is two equal keys.

Every indicator has a key (a bare file name may have two), every observable some that it asks for; whatever way an
indicator is meant, finding it is one look-up in one sorted column of hashes, whole columns at a time:

==============  =========================================  ========================================================
first byte      key of an indicator                        what an observable asks for
==============  =========================================  ========================================================
``=``           kind and value                             itself
``n``           a name                                     its name, the host of its URL, the domain of its e-mail
``b``           a domain with everything below it          the same names, and everything above them
``4``, ``6``    length of the prefix, network              its address, cut to every prefix that there is
``f``           a file name                                the last component of its path
==============  =========================================  ========================================================

So an address or domain is also found in URLs and among hosts, a domain also in e-mail addresses. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingjian.model.sources import ObservableKind
from mingjian.store.sightings import columns
from mingjian.store.sightings.columns import Array, Bytes, Column, Mask, Texts, joined, kept, taken
from mingjian.store.sightings.hashing import Numbers, xxh64
from mingjian.store.sightings.keys import keys_of, number_of

LABELS_MAX: Final = 128
"""A name has at most so many labels. Source: RFC 1035 section 2.3.4: 253 characters."""

_PLACED: Final[tuple[ObservableKind, ...]] = ("ip", "domain", "host")
"""Kinds that are compared as addresses and names only."""
_EXACT: Final = b"="
_NAME: Final = b"n"
_BELOW: Final = b"b"
_FILE: Final = b"f"
_FAMILIES: Final = ((b"4", b"\x04", 4), (b"6", b"\x06", 16))
"""First byte of our key, second byte of the key of an address, length of an address."""
_URL_HOST: Final = r"\A[^:/]*://(?:\[(?P<six>[^\]/]*)\]|(?P<host>[^:/?]*))"
_ROOT: Final = r"\A[^:/]*://[^/]*/?\z"


class Keys(NamedTuple):
    """Keys, and the row that each is from."""

    keys: Bytes
    rows: Column


class Networks(NamedTuple):
    """Which prefix lengths there are, by length of an address."""

    four: tuple[int, ...]
    six: tuple[int, ...]

    def of(self, width: int) -> tuple[int, ...]:
        """The lengths for addresses of so many bytes."""
        return self.four if width == 4 else self.six


def together(parts: Sequence[Keys]) -> Keys:
    """Several groups of keys as one."""
    if not parts:
        return Keys(columns.binaries([]), np.zeros(0, np.int64))
    return Keys(columns.appended([part.keys for part in parts]), np.concatenate([part.rows for part in parts]))


def _equal(column: Array, value: str) -> Mask:
    return columns.as_mask(columns.computed("equal", column, value))


def _one_of(column: Array, values: Sequence[str]) -> Mask:
    return columns.as_mask(columns.computed("is_in", column, value_set=columns.texts(list(values))))


def _bytes_matrix(addresses: Bytes, width: int) -> npt.NDArray[np.uint8]:
    """The addresses behind the two bytes before them in their keys, a row each."""
    data = b"".join(cast("list[bytes]", addresses.to_pylist()))
    return np.frombuffer(data, np.uint8).reshape(-1, width + 2)[:, 2:]


def _cut(matrix: npt.NDArray[np.uint8], tag: bytes, prefix: int) -> Bytes:
    """The keys of the networks with this prefix that some addresses are in."""
    width = matrix.shape[1]
    mask = np.array([min(255, (0xFF00 >> min(8, max(0, prefix - 8 * byte))) & 0xFF) for byte in range(width)], np.uint8)
    rows = np.empty((len(matrix), width + 2), np.uint8)
    rows[:, 0], rows[:, 1] = tag[0], prefix
    rows[:, 2:] = matrix & mask
    return columns.fixed(rows)


def _split_addresses(values: Texts) -> Iterator[tuple[bytes, int, Mask, npt.NDArray[np.uint8]]]:
    """Of some texts those that are addresses, for each family: tag, width, which they are, and their bytes."""
    packed = keys_of("ip", values)
    family = columns.computed("binary_slice", packed, 1, 2)
    for tag, mark, width in _FAMILIES:
        is_of = columns.is_one_of(columns.as_binaries(family), [mark])
        yield tag, width, is_of, _bytes_matrix(kept(packed, is_of), width)


# --- of indicators -------------------------------------------------------------------------------------------------


def indicator_keys(kinds: Array, hows: Array, values: Array) -> Keys:
    """The keys of indicators, given as parallel columns.

    >>> indicator_keys(*map(columns.texts, (["domain"], ["below"], ["evil.example"]))).keys.to_pylist()
    [b'bevil.example']
    """
    kinds, values = columns.as_texts(kinds), columns.as_texts(values)
    parts: list[Keys] = []
    is_within = _equal(hows, "within")
    is_named = _equal(hows, "named")
    is_below = _equal(hows, "below")
    is_placed = _one_of(kinds, _PLACED) & ~is_within & ~is_below
    if is_below.any():
        rows = np.flatnonzero(is_below)
        parts.append(Keys(joined(_BELOW, taken(values, rows)), rows))
    if is_named.any():
        rows = np.flatnonzero(is_named)
        parts.extend(_named_keys(taken(values, rows), rows))
    if is_within.any():
        rows = np.flatnonzero(is_within)
        parts.extend(_network_keys(taken(values, rows), rows))
    if is_placed.any():
        rows = np.flatnonzero(is_placed)
        parts.extend(_placed_keys(taken(values, rows), rows))
    rest = ~(is_within | is_named | is_below | is_placed)
    parts.extend(_exact_keys(kinds, values, rest))
    return together(parts)


def _named_keys(names: Texts, rows: Column) -> Iterator[Keys]:
    yield Keys(joined(_FILE, names), rows)
    # Paths of Windows are folded, others are as they were written: a name may be in either.
    folded = columns.texts([name.casefold() for name in cast("list[str]", names.to_pylist())])
    differs = columns.as_mask(columns.computed("not_equal", names, folded))
    yield Keys(joined(_FILE, kept(folded, differs)), rows[differs])


def _network_keys(networks: Texts, rows: Column) -> Iterator[Keys]:
    _, base, prefix = columns.split(networks, "/")
    lengths = columns.as_numbers(prefix)
    for tag, _, is_of, matrix in _split_addresses(base):
        of_family = lengths[is_of]
        for length in cast("list[int]", np.unique(of_family).tolist()):
            wanted = of_family == length
            yield Keys(_cut(matrix[wanted], tag, length), rows[is_of][wanted])


def _placed_keys(values: Texts, rows: Column) -> Iterator[Keys]:
    is_name = np.ones(len(rows), bool)
    for tag, width, is_of, matrix in _split_addresses(values):
        is_name &= ~is_of
        yield Keys(_cut(matrix, tag, 8 * width), rows[is_of])
    yield Keys(joined(_NAME, kept(values, is_name)), rows[is_name])


def _exact_keys(kinds: Texts, values: Texts, wanted: Mask) -> Iterator[Keys]:
    for kind in cast("list[str]", columns.computed("unique", kept(kinds, wanted)).to_pylist()):
        rows = np.flatnonzero(wanted & _equal(kinds, kind))
        yield Keys(joined(_EXACT + bytes([number_of(kind)]), taken(values, rows)), rows)


# --- of observables ------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """Which keys there are at all, so that nothing is asked for in vain."""

    has_names: bool
    has_below: bool
    has_files: bool
    networks: Networks

    @classmethod
    def of(cls, keys: Bytes) -> Asked:
        """What is among some keys."""
        first = columns.first_byte(keys)
        has = [bool(columns.is_one_of(first, [byte]).any()) for byte in (_NAME, _BELOW, _FILE)]
        lengths: list[tuple[int, ...]] = []
        for tag, _, _ in _FAMILIES:
            of_family = kept(keys, columns.is_one_of(first, [tag]))
            second = columns.as_binaries(columns.computed("binary_slice", of_family, 1, 2))
            found = cast("list[bytes]", columns.computed("unique", second).to_pylist())
            lengths.append(tuple(sorted(each[0] for each in found)))
        return cls(has[0], has[1], has[2], Networks(lengths[0], lengths[1]))


def observable_keys(kinds: Array, values: Array, asked: Asked, *, is_strict: bool = False) -> Keys:
    """What observables, given as parallel columns of kinds and canonical values, ask for.

    ``is_strict``: a URL that is more than the front page of its host, and an e-mail address, do not stand for the host.
    """
    kinds, values = columns.as_texts(kinds), columns.as_texts(values)
    parts: list[Keys] = list(_exact_keys(kinds, values, ~_one_of(kinds, _PLACED)))
    places, rows = _places(kinds, values, is_strict=is_strict)
    is_name = np.ones(len(rows), bool)
    for tag, width, is_of, matrix in _split_addresses(places):
        is_name &= ~is_of
        parts.extend(Keys(_cut(matrix, tag, length), rows[is_of]) for length in asked.networks.of(width))
    names, rows = kept(places, is_name), rows[is_name]
    if asked.has_names:
        parts.append(Keys(joined(_NAME, names), rows))
    if asked.has_below:
        parts.extend(_above(names, rows))
    if asked.has_files:
        parts.append(_file_names(kinds, values))
    return together(parts)


def _places(kinds: Texts, values: Texts, *, is_strict: bool) -> tuple[Texts, Column]:
    """The addresses and names in observables, and the row that each is in."""
    rows = np.flatnonzero(_one_of(kinds, _PLACED))
    texts: list[Texts] = [taken(values, rows)]
    of_rows = [rows]
    is_url = _equal(kinds, "url")
    if is_strict and is_url.any():
        is_url &= columns.as_mask(columns.computed("match_substring_regex", values, _ROOT))
    if is_url.any():
        hosts = columns.computed("extract_regex", kept(values, is_url), _URL_HOST)
        fields = [columns.computed("struct_field", hosts, [name]) for name in ("six", "host")]
        nothing = pa.scalar("", pa.large_string())
        # RE2 gives an empty text for the group that took no part.
        each = [columns.as_texts(columns.computed("coalesce", field, nothing)) for field in fields]
        texts.append(columns.as_texts(joined(*each)))
        of_rows.append(np.flatnonzero(is_url))
    is_email = _equal(kinds, "email")
    if is_email.any() and not is_strict:
        _, _, domains = columns.split(kept(values, is_email), "@", last=True)
        texts.append(domains)
        of_rows.append(np.flatnonzero(is_email))
    return columns.appended(texts), np.concatenate(of_rows)


def _above(names: Texts, rows: Column) -> Iterator[Keys]:
    """Each name, and everything above it except the last label alone."""
    for _ in range(LABELS_MAX):
        has, _, above = columns.split(names, ".")
        names, rows, above = kept(names, has), rows[has], kept(above, has)
        if not len(rows):
            return
        yield Keys(joined(_BELOW, names), rows)
        names = above


def _file_names(kinds: Texts, values: Texts) -> Keys:
    rows = np.flatnonzero(_equal(kinds, "file"))
    paths = taken(values, rows)
    is_windows, _, name = columns.split(paths, "\\", last=True)
    is_path, _, leaf = columns.split(paths, "/", last=True)
    behind = columns.either(is_path, columns.as_binaries(leaf), columns.as_binaries(paths))
    return Keys(joined(_FILE, columns.either(is_windows, columns.as_binaries(name), behind)), rows)


def prefixes(keys: Bytes) -> Column:
    """The length of the prefix that each key of a network or address has, 0 for all others."""
    first = columns.first_byte(keys)
    found = np.zeros(len(keys), np.int64)
    is_network = columns.is_one_of(first, [tag for tag, _, _ in _FAMILIES])
    second = columns.computed("binary_slice", kept(keys, is_network), 1, 2)
    found[is_network] = np.frombuffer(b"".join(cast("list[bytes]", second.to_pylist())), np.uint8)
    return found


# --- the look-up ---------------------------------------------------------------------------------------------------


class KeyTable:
    """Keys in the order of their hashes."""

    def __init__(self, keys: Keys) -> None:
        hashes = xxh64(keys.keys)
        order = np.argsort(hashes, kind="stable")
        self._hashes: Numbers = hashes[order]
        self._order = order
        self._keys = keys.keys
        self._rows = keys.rows
        self.asked = Asked.of(keys.keys)

    @classmethod
    def of(cls, hashes: Numbers, keys: Bytes, rows: Column, asked: Asked) -> KeyTable:
        """Take what ``in_order`` gave."""
        table = cls.__new__(cls)
        table._hashes, table._order, table._keys, table._rows = hashes, np.arange(len(rows)), keys, rows
        table.asked = asked
        return table

    def in_order(self) -> tuple[Numbers, Bytes, Column]:
        """Hashes, keys and rows in the order of hashes."""
        return self._hashes, taken(self._keys, self._order), self._rows[self._order]

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, keys: Keys) -> tuple[Column, Column]:
        """Pairs of rows, the asking one and the one with the same key; each pair once, in order."""
        wanted = xxh64(keys.keys)
        by_hash = np.argsort(wanted)
        wanted = wanted[by_hash]
        low = np.searchsorted(self._hashes, wanted, "left")
        counts = np.searchsorted(self._hashes, wanted, "right") - low
        hit = np.flatnonzero(counts)
        counts = counts[hit]
        starts = np.cumsum(counts) - counts
        places = np.repeat(low[hit] - starts, counts) + np.arange(int(counts.sum()))
        asking, found = np.repeat(by_hash[hit], counts), self._order[places]
        same = columns.as_mask(columns.computed("equal", taken(keys.keys, asking), taken(self._keys, found)))
        pairs = np.unique(np.stack((keys.rows[asking[same]], self._rows[found[same]])), axis=1)
        return pairs[0], pairs[1]

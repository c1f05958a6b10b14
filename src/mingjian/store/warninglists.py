"""Warning lists: values that indicators should not wake anybody with, ``8.8.8.8`` for example.

The lists are those of MISP, read from the data files of the package ``pymispwarninglists``; ``data/warninglists.yml``
says which of them are used and why. They are read when they are first asked, which takes a moment, and never changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np

from mingjian.data import DATA_FOLDER
from mingjian.errors import ConfigError
from mingjian.formats.bounded import decode_json, parse_yaml
from mingjian.model.indicators import network_of
from mingjian.model.observables import CANONICAL_VERSION, HASH_CHARACTERS, canonical
from mingjian.store import warningfile
from mingjian.store.indicatorkeys import Keys, KeyTable, indicator_keys, observable_keys, prefixes, together
from mingjian.store.sightings import columns
from mingjian.store.sightings.columns import Array, Column, Mask, Texts

PACKAGE: Final = "pymispwarninglists"
FOLDER: Final = "data/misp-warninglists/lists"
LIST_BYTES_MAX: Final = 64 * 1024 * 1024
"""A larger list is refused; the largest one that is used has 11 MB."""
ROWS_AT_ONCE: Final = 65_536
"""So many values are looked up together."""
ENTRIES_MAX: Final = 2_000_000
"""Of one list."""

_HASHED: Final = ("hash", "certificate")
_ANY: Final = 128
"""No prefix is longer."""
_PLAIN_NAME: Final = r"\A[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*\z"
_PLAIN_V4: Final = r"\A(?:(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])(?:\.|(?:/(?:[89]|[12][0-9]|3[0-2]))?\z)){4}"


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lists that are used, or left out, for the same reason."""

    why: dict[str, str]
    lists: list[str]


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which lists are used."""

    reference: str
    verified: bool
    used: list[Group]
    left_out: list[Group]


class _ListFile(msgspec.Struct, frozen=True, rename={"entries": "list"}):
    entries: list[str]


_LIST: Final = msgspec.json.Decoder(_ListFile)


def choice() -> Choice:
    """Read which lists are used. It is ours: a mistake in it is a defect."""
    path = DATA_FOLDER / "warninglists.yml"
    return msgspec.convert(parse_yaml(path.read_bytes(), file=path.name)[0], Choice)


def package_folder() -> Path:
    """Where the lists are. Raises: ConfigError (the package is not installed)."""
    found = find_spec(PACKAGE)  # finds without importing
    if found is None or found.origin is None:
        raise ConfigError("the warning lists are not installed", hint=f"install the package {PACKAGE}")
    return Path(found.origin).parent / FOLDER


class _Loaded(NamedTuple):
    """The lists in memory."""

    table: KeyTable
    numbers: Column
    """The list of each entry, by its place."""
    prefixes: Column
    """Length of the prefix of each entry that is a network or an address; 0 for the others."""
    names: list[str]


class WarningLists:
    """The lists, once somebody asks. May be shared by threads."""

    def __init__(
        self, folder: Path | None = None, names: Sequence[str] | None = None, *, cache_folder: Path | None = None
    ) -> None:
        """Take some lists of a folder; by default those of the package that are used, kept in a cache folder."""
        self._folder = folder
        self._names = names
        self._cache_folder = cache_folder if folder is None and names is None else None

    @property
    def version(self) -> str:
        """Of the package."""
        return version(PACKAGE)

    @cached_property
    def _loaded(self) -> _Loaded:
        folder = self._folder or package_folder()
        names = self._names
        if names is None:
            names = [name for group in choice().used for name in group.lists]
        if self._cache_folder is None:
            return self._made(folder, names)
        digest = hashlib.blake2b("\n".join([self.version, str(CANONICAL_VERSION), *names]).encode(), digest_size=16)
        kept = warningfile.read(self._cache_folder, digest.hexdigest())
        if kept is not None:
            return _Loaded(*kept, list(names))
        made = self._made(folder, names)
        warningfile.write(self._cache_folder, digest.hexdigest(), warningfile.Kept(*made[:3]))
        return made

    @staticmethod
    def _made(folder: Path, names: Sequence[str]) -> _Loaded:
        lists = [_entries(folder / name / "list.json") for name in names]
        texts = columns.appended([columns.texts(entries) for entries in ([], *lists)])
        found = _keys_of(columns.as_texts(columns.computed("utf8_lower", texts)))
        numbers = np.repeat(np.arange(len(lists)), [len(entries) for entries in lists])[found.rows]
        table = KeyTable(Keys(found.keys, np.arange(len(found.keys))))
        return _Loaded(table, numbers, prefixes(found.keys), list(names))

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._loaded.table)

    def of_indicators(self, kinds: Array, hows: Array, values: Array) -> Texts:
        """For each of some indicators the list that it is on, else an empty text. A network is if it is inside one."""
        is_within = columns.as_mask(columns.computed("equal", hows, "within"))
        values = columns.as_texts(values)
        longest = np.full(len(values), _ANY, np.int64)
        if is_within.any():
            _, base, prefix = columns.split(values, "/")
            longest[is_within] = columns.as_numbers(columns.kept(prefix, is_within))
            values = columns.as_texts(
                columns.either(~is_within, columns.as_binaries(values), columns.as_binaries(base))
            )
        return self._lookup(columns.as_texts(kinds), values, longest)

    def of_observables(self, kinds: Array, values: Array) -> Texts:
        """For each of some observables the list that it is on, else an empty text."""
        return self._lookup(columns.as_texts(kinds), columns.as_texts(values), np.full(len(values), _ANY, np.int64))

    def _lookup(self, kinds: Texts, values: Texts, longest: Column) -> Texts:
        """In portions: what observables ask for takes many times the memory that they do."""
        parts = [columns.texts([])]
        for start in range(0, len(values), ROWS_AT_ONCE):
            some = (kinds.slice(start, ROWS_AT_ONCE), values.slice(start, ROWS_AT_ONCE))
            parts.append(self._lookup_some(*some, longest[start : start + ROWS_AT_ONCE]))
        return columns.appended(parts)

    def _lookup_some(self, kinds: Texts, values: Texts, longest: Column) -> Texts:
        table, numbers, lengths, names = self._loaded
        row, entry = table.find(observable_keys(kinds, values, table.asked, is_strict=True))
        fits = lengths[entry] <= longest[row]
        first = np.full(len(values), len(names), np.int64)
        np.minimum.at(first, row[fits], numbers[entry[fits]])
        return columns.taken(columns.texts([*names, ""]), first)


def _entries(path: Path) -> list[str]:
    """The entries of a list; none of one that the package has no more."""
    if not path.is_file():
        return []
    where = path.parent.name
    data = path.read_bytes()
    return decode_json(data, _LIST.decode, where=where, size_bytes_max=LIST_BYTES_MAX, values_max=ENTRIES_MAX).entries


def _keys_of(texts: Texts) -> Keys:
    """Keys of the entries of lists: whatever each of them is. What is nothing of ours is left out."""
    is_v4 = _like(texts, _PLAIN_V4)
    is_hash = _like(texts, r"\A[0-9a-f]+\z") & np.isin(columns.lengths(texts), sorted(HASH_CHARACTERS))
    undotted = columns.as_texts(columns.computed("utf8_ltrim", texts, "."))
    is_name = ~is_v4 & ~is_hash & _like(undotted, _PLAIN_NAME)
    strange = np.flatnonzero(~is_v4 & ~is_hash & ~is_name)
    name_rows, more_names = _strange(columns.taken(texts, strange), lambda text: canonical("domain", text))
    network_rows, more_networks = _strange(columns.taken(texts, strange), _network_text)
    names = columns.appended([columns.kept(undotted, is_name), more_names])
    names_at = np.concatenate([np.flatnonzero(is_name), strange[name_rows]])
    is_wide = is_v4 & columns.as_mask(columns.computed("match_substring", texts, "/"))
    return together(
        [
            _keys("domain", "is", names, names_at),
            _keys("domain", "is", columns.as_texts(columns.joined(b"www.", names)), names_at),
            *(_keys(kind, "is", columns.kept(texts, is_hash), np.flatnonzero(is_hash)) for kind in _HASHED),
            _keys("ip", "is", columns.kept(texts, is_v4 & ~is_wide), np.flatnonzero(is_v4 & ~is_wide)),
            _keys("ip", "within", columns.kept(texts, is_wide), np.flatnonzero(is_wide)),
            _keys("ip", "within", more_networks, strange[network_rows]),
        ]
    )


def _like(texts: Texts, pattern: str) -> Mask:
    return columns.as_mask(columns.computed("match_substring_regex", texts, pattern))


def _keys(kind: str, how: str, values: Texts, rows: Column) -> Keys:
    nothing = np.zeros(len(values), np.int64)
    kinds, hows = (columns.taken(columns.texts([word]), nothing) for word in (kind, how))
    found = indicator_keys(kinds, hows, values)
    return Keys(found.keys, rows[found.rows])


def _strange(texts: Texts, read: Callable[[str], str | None]) -> tuple[Column, Texts]:
    """Entries that take more than a look (internationalised names, IPv6), and where they are."""
    found = [read(text) for text in cast("list[str]", texts.to_pylist())]
    rows = [row for row, text in enumerate(found) if text is not None]
    return np.array(rows, np.int64), columns.texts([text for text in found if text is not None])


def _network_text(text: str) -> str | None:
    network = network_of(text)
    return None if network is None else str(network)

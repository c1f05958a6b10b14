"""Some fields of JSON lines, decoded without the rest.

A dotted path may be a literal key or lead into nested objects, and either at each of its dots (``model.values.find``
says in which order they count). All ways of all paths become one type with a field for each key that may matter, and
the decoder passes over everything else. Where a line has something other than an object on the way (a list, a text),
the objects on that way are decoded whole instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter
from typing import TypeAlias, cast

import msgspec

from mingjian.model.values import MISSING, Missing, Value, find

DOTS_MAX = 5
"""A path with more dots is looked up in whole objects: the number of ways through it doubles with each."""
PROJECTIONS_MAX = 512
"""So many different projections are kept ready."""

Column: TypeAlias = "list[Value | Missing]"
_Chain: TypeAlias = tuple[str, ...]
_irregular: set[tuple[str, ...]] = set()
"""Paths for which lines did not fit; bounded by ``PROJECTIONS_MAX``. Only speed hangs on it."""


def project(lines: Sequence[bytes], paths: tuple[str, ...]) -> list[Column]:
    """The values at some dotted paths for every line, ``MISSING`` where there is none.

    Raises:
        ValueError: the strict decoder does not accept some line (``msgspec.DecodeError`` is one).
    """
    whole = tuple(path for path in paths if any(other.startswith(f"{path}.") for other in paths))
    if whole and len(whole) < len(paths):
        # An object asked for as a whole and in part: once each.
        rest = tuple(path for path in paths if path not in whole)
        by_path = dict(zip((*whole, *rest), project(lines, whole) + project(lines, rest), strict=True))
        return [by_path[path] for path in paths]
    if paths not in _irregular and max((path.count(".") for path in paths), default=0) <= DOTS_MAX:
        try:
            return _typed(paths).columns(lines)
        except msgspec.ValidationError:
            if len(_irregular) >= PROJECTIONS_MAX:
                _irregular.clear()
            _irregular.add(paths)
    return _looked_up(lines, paths)


def chains(path: str) -> list[_Chain]:
    """All ways to take a dotted path apart into keys, in the order in which they count.

    >>> chains("a.b.c")
    [('a.b.c',), ('a', 'b.c'), ('a', 'b', 'c'), ('a.b', 'c')]
    """
    ways: list[_Chain] = [(path,)]
    dot = path.find(".")
    while dot >= 0:
        ways += [(path[:dot], *rest) for rest in chains(path[dot + 1 :])]
        dot = path.find(".", dot + 1)
    return ways


class _Node:
    """The keys that matter at one place; a key without keys below it is taken as it is."""

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.names: dict[str, str] = {}

    def add(self, chain: _Chain) -> None:
        node = self
        for key in chain:
            node = node.below.setdefault(key, _Node())

    def type(self) -> type[msgspec.Struct]:
        """A struct with a field for each key; what has keys below it is an object or null."""
        self.names = {key: f"field_{number}" for number, key in enumerate(self.below)}
        fields: list[tuple[str, object, object]] = []
        for key, node in self.below.items():
            kind = node.type() | msgspec.UnsetType | None if node.below else object
            fields.append((self.names[key], kind, MISSING))
        rename = {name: key for key, name in self.names.items()}
        return msgspec.defstruct("Projection", cast("list[tuple[str, type, object]]", fields), rename=rename, gc=False)


class _Typed:
    """A decoder for a set of paths, and how to take their columns out of what it makes."""

    def __init__(self, paths: Sequence[str], ways: dict[str, list[_Chain]]) -> None:
        self._paths = paths
        self._ways = ways
        self._root = _Node()
        for chain in (chain for each in ways.values() for chain in each):
            self._root.add(chain)
        self._decode = msgspec.json.Decoder(self._root.type()).decode

    def columns(self, lines: Sequence[bytes]) -> list[Column]:
        rows = list(map(self._decode, lines))
        known: dict[_Chain, Column] = {}
        return [self._column(path, rows, known) for path in self._paths]

    def _column(self, path: str, rows: list[msgspec.Struct], known: dict[_Chain, Column]) -> Column:
        column: Column | None = None
        for chain in self._ways[path]:
            values = self._along(chain, rows, known)
            if column is None:
                column = values
            elif values.count(MISSING) < len(rows):
                column = [later if value is MISSING else value for value, later in zip(column, values, strict=True)]
        assert column is not None
        return column

    def _along(self, chain: _Chain, rows: list[msgspec.Struct], known: dict[_Chain, Column]) -> Column:
        """The values at the end of a chain of keys; what is on the way is kept for the other chains."""
        node, values = self._root, cast("Column", rows)
        for length, key in enumerate(chain, 1):
            found = known.get(chain[:length])
            if found is None:
                take = attrgetter(node.names[key])
                if length == 1:
                    found = list(map(take, rows))
                elif values.count(MISSING) == len(rows):
                    found = values
                else:
                    found = [MISSING if value is MISSING or value is None else take(value) for value in values]
                known[chain[:length]] = found
            node, values = node.below[key], found
        return values


@lru_cache(maxsize=PROJECTIONS_MAX)
def _typed(paths: tuple[str, ...]) -> _Typed:
    """The projection for some paths. Where one path leads through the end of another, that end is taken whole."""
    ways = {path: chains(path) for path in paths}
    ends = {chain for each in ways.values() for chain in each}
    clash = any(chain[:length] in ends for chain in ends for length in range(1, len(chain)))
    if clash:
        raise msgspec.ValidationError("a field is asked for both whole and in part")
    return _Typed(paths, ways)


@lru_cache(maxsize=PROJECTIONS_MAX)
def _heads(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Every top-level key with which a path could begin."""
    return tuple(dict.fromkeys(chain[0] for path in paths for chain in _shallow(path)))


def _shallow(path: str) -> list[_Chain]:
    parts = path.split(".")
    return [(".".join(parts[:count]),) for count in range(len(parts), 0, -1)]


def _looked_up(lines: Sequence[bytes], paths: tuple[str, ...]) -> list[Column]:
    """The same by whole top-level values, in which each path is looked up row by row."""
    heads = _heads(paths)
    typed = _Typed(heads, {head: [(head,)] for head in heads})
    by_head = dict(zip(heads, typed.columns(lines), strict=True))
    columns: list[Column] = []
    for path in paths:
        used = [head for (head,) in _shallow(path) if by_head[head].count(MISSING) < len(lines)]
        if not used:
            columns.append([MISSING] * len(lines))
        elif used == [path]:
            columns.append(by_head[path])
        else:
            columns.append([_found(used, values, path) for values in zip(*(by_head[h] for h in used), strict=True)])
    return columns


def _found(heads: list[str], values: tuple[Value | Missing, ...], path: str) -> Value | Missing:
    partial = {head: value for head, value in zip(heads, values, strict=True) if value is not MISSING}
    return find(partial, path) if partial else MISSING

"""What a field of an event holds, as matching.md sees it: leaves, their text, null, exists, and case folding."""

from __future__ import annotations

import decimal
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from mingjian.model.values import EMPTY, MISSING, Empty, Missing, Record, Value, find

Lookup: TypeAlias = "Callable[[Record, str], Value | Missing]"
"""Gives what a record holds under a field's name."""

_ONLY_SIMPLE = {"\u1fd3": "\u0390", "\u1fe3": "\u03b0", "\ufb05": "\ufb06"}
"""Status S pairs of CaseFolding.txt (since Unicode 15.1) that no other method of Python's ``str`` knows."""


def fold_character(character: str) -> str:
    """Fold one character by Unicode simple case folding (statuses C and S): one character to one.

    >>> [fold_character(c) for c in "Aßẞ\u212aİſ"]
    ['a', 'ß', 'ß', 'k', 'İ', 's']
    """
    simple = _ONLY_SIMPLE.get(character)
    if simple is not None:
        return simple
    full = character.casefold()
    if len(full) == 1:
        return full  # status C: full and simple folding agree
    lower = character.lower()
    return lower if len(lower) == 1 else character  # status S is the lower case; İ has none and stays itself


def fold(text: str) -> str:
    """Fold a text character by character; its length never changes."""
    return text.lower() if text.isascii() else "".join(map(fold_character, text))


@dataclass(frozen=True)
class Leaf:
    """One value of a field, and the text that a rule sees in it."""

    value: str | int | float | bool
    text: str
    folded: str = field(compare=False)

    @property
    def is_number(self) -> bool:
        """Whether it is a number; truth values are not."""
        return isinstance(self.value, int | float) and not isinstance(self.value, bool)


def leaves_of(value: Value | Missing) -> list[Leaf]:
    """List the leaves of what a field holds."""
    if value is MISSING or value is None:
        return []
    if value is EMPTY:
        return [_leaf("")]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves_of(item)]
    if isinstance(value, dict):
        return [_leaf(json.dumps(_jsonable(value), ensure_ascii=False, separators=(",", ":")))]
    assert not isinstance(value, Empty | Missing)
    return [_leaf(value)]


def every_leaf_of(value: Value) -> Iterator[Leaf]:
    """List the leaves of any depth, objects entered: what a keyword searches."""
    if isinstance(value, dict):
        for item in value.values():
            yield from every_leaf_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from every_leaf_of(item)
    else:
        yield from leaves_of(value)


def is_null(value: Value | Missing) -> bool:
    """Whether ``Field: null`` is true for it: missing, null, an empty element, a list without any leaf."""
    return value is EMPTY or not leaves_of(value)


def text_of(value: str | int | float | bool) -> str:
    """Give the text of a value. A fraction is plain from 1e-5 up to 1e16, otherwise it has an exponent.

    >>> text_of(True), text_of(42), text_of(42.0), text_of(1e30), text_of(1e-7), text_of(0.000015)
    ('true', '42', '42.0', '1e+30', '1e-7', '0.000015')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if 1e-5 <= abs(value) < 1e-4:
        return format(decimal.Decimal(repr(value)), "f")
    mantissa, e, exponent = repr(value).partition("e")
    return mantissa + e + exponent[:1] + exponent[1:].lstrip("0")


def _leaf(value: str | int | float | bool) -> Leaf:
    text = text_of(value)
    return Leaf(value=value, text=text, folded=fold(text))


def _jsonable(value: Any) -> Any:
    """Make of a record's value something for ``json``, whose exponents have a leading zero that ours have not.

    What JSON in UTF-8 cannot hold is in words: half of a surrogate pair, and a number beyond 64 bits.
    """
    if isinstance(value, dict):
        return {_jsonable(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, str):
        return "".join(map(_in_words, value))
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if value is EMPTY:
        return ""
    return _Number(value) if isinstance(value, float) else value


def _in_words(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF else character


class _Number(float):
    def __repr__(self) -> str:
        return text_of(float(self))


class Event:
    """One record and how its fields are looked up. Leaves are computed once per field."""

    def __init__(self, record: Record, lookup: Lookup = find) -> None:
        self.record = record
        self._lookup = lookup
        self._values: dict[str, Value | Missing] = {}
        self._leaves: dict[str, list[Leaf]] = {}

    def value(self, name: str) -> Value | Missing:
        """What the field holds."""
        if name not in self._values:
            self._values[name] = self._lookup(self.record, name)
        return self._values[name]

    def leaves(self, name: str) -> list[Leaf]:
        """The leaves of the field."""
        if name not in self._leaves:
            self._leaves[name] = leaves_of(self.value(name))
        return self._leaves[name]

    def exists(self, name: str) -> bool:
        """Whether the event has the field, whatever it holds."""
        return self.value(name) is not MISSING

    @cached_property
    def every_leaf(self) -> list[Leaf]:
        """The leaves of all fields, equal ones once."""
        return list(dict.fromkeys(every_leaf_of(self.record)))


def coalesced(record: Record, paths: tuple[str, ...]) -> Value | Missing:
    """Give the first value at the paths; if there is none, the first null or empty element; missing if no path exists.

    >>> coalesced({"a": None, "b": 1}, ("x", "a", "b"))
    1
    """
    found = [value for value in (find(record, path) for path in paths) if value is not MISSING]
    return next((value for value in found if value is not None and value is not EMPTY), found[0] if found else MISSING)

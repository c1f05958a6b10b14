"""What a field of a record can hold, and the two values that JSON has no word for."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

import msgspec


class Empty(enum.Enum):
    """The type of ``EMPTY``."""

    EMPTY = ""


EMPTY: Final = Empty.EMPTY
"""An element that is there and has no content, as EVTX writes it: its text is ``''`` and it is null as well."""

MISSING: Final = msgspec.UNSET
"""The record has no such field. Not the same as null: ``|exists`` tells them apart, nothing else does."""

Missing: TypeAlias = msgspec.UnsetType

Scalar: TypeAlias = "str | int | float | bool | Empty | None"
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"
Record: TypeAlias = "dict[str, Value]"
"""One record as its producer wrote it: native names, native nesting, native types.

Text that was not valid in its encoding is kept with ``surrogateescape``: the lone surrogates mark it.
"""


def find(record: Record, path: str) -> Value | Missing:
    """Look a dotted path up in a record; ``MISSING`` if it is not there.

    A key that is the whole path wins over nesting, and a shorter head over a longer one. A list on the way is
    searched element by element and gives the list of what was found; a number in the path picks an element of it.

    >>> find({"a": {"b.c": 1}}, "a.b.c"), find({"a.b": 1, "a": {"b": 2}}, "a.b")
    (1, 1)
    >>> find({"a": [{"b": 1}, {"b": 2}, {}]}, "a.b")
    [1, 2]
    >>> find({"a": ["x", "y"]}, "a.1")
    'y'
    >>> find({"a": None}, "b") is MISSING
    True
    """
    if path in record:
        return record[path]
    dot = path.find(".")
    while dot >= 0:
        inner = record.get(path[:dot], MISSING)
        tail = path[dot + 1 :]
        if isinstance(inner, dict):
            found = find(inner, tail)
            if found is not MISSING:
                return found
        elif isinstance(inner, list):
            several = [x for x in (find(i, tail) for i in inner if isinstance(i, dict)) if x is not MISSING]
            if several:
                return several
            if tail.isascii() and tail.isdigit() and len(tail) < 6 and int(tail) < len(inner):
                return inner[int(tail)]
        dot = path.find(".", dot + 1)
    return MISSING

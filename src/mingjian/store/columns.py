"""Records as columns: the step between a block and a segment, and what makes it fast.

``by_key`` takes records apart into their fields, ``spread`` takes nested objects apart into columns named by their *key
path*. Whole lists are handed from one C function to the next: nothing here looks at values one by one unless they
are odd.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias, cast

from mingjian.formats.json import JsonBlock
from mingjian.formats.records import RecordBlock
from mingjian.model.blocks import Block
from mingjian.model.values import MISSING, Missing, Record, Value

DEPTH_MAX: Final = 16
"""Objects nested deeper than this are kept as JSON in one column."""
OBJECT_KEYS_MAX: Final = 256
"""Where objects at one place have more different keys in a block than this, they are kept as JSON in one column."""

KeyPath: TypeAlias = tuple[str, ...]
"""The keys from the record down to a value. () is the record itself."""
Values: TypeAlias = "Sequence[Value | Missing]"


def decoded(block: Block, rows: Sequence[int]) -> list[Record]:
    """The whole records of some rows."""
    if isinstance(block, JsonBlock | RecordBlock):
        return block.records(rows)
    return [block.record(row) for row in rows]


def by_key(records: Sequence[Record]) -> list[tuple[str, Values]]:
    """Records as top-level columns, ``MISSING`` where a record does not have the key."""
    shapes = list(map(tuple, records))
    first = shapes[0]
    if shapes.count(first) == len(shapes):
        columns = cast("Iterator[Values]", zip(*(record.values() for record in records), strict=True))
        return list(zip(first, columns, strict=True))
    return _of_keys(dict.fromkeys(key for shape in dict.fromkeys(shapes) for key in shape), records)


def spread(path: KeyPath, values: Values) -> Iterator[tuple[KeyPath, Values, set[type]]]:
    """Take a column apart where it holds objects: its key paths with their values and the types of those."""
    types: set[type] = set(map(type, cast("Sequence[object]", values)))
    if dict not in types or len(path) >= DEPTH_MAX:
        yield path, values, types
        return
    objects = cast("list[Record]", [value if type(value) is dict else _NO_KEYS for value in values])
    keys = dict.fromkeys(key for record in objects for key in record)
    if len(keys) > OBJECT_KEYS_MAX:
        yield path, values, types
        return
    own = [MISSING if type(value) is dict and value else value for value in values]
    own_types = set(map(type, own))
    if own_types != {Missing}:
        yield path, own, own_types
    for key, inner in _of_keys(keys, objects):
        yield from spread((*path, key), inner)


_NO_KEYS: Final[Record] = {}


def _of_keys(keys: dict[str, None], records: Sequence[Record]) -> list[tuple[str, Values]]:
    return [(key, [record.get(key, MISSING) for record in records]) for key in keys]

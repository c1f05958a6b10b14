"""Records as columns: the step between a block and a segment, and what makes it fast.

``grouped`` puts records of the same keys together, ``spread`` takes nested objects apart into columns named by their
*key path*. Whole lists are handed from one C function to the next: nothing here looks at values one by one unless they
are odd.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

from mingjian.model.values import MISSING, Missing, Record, Value

DEPTH_MAX: Final = 16
"""Objects nested deeper than this are kept as JSON in one column."""
OBJECT_KEYS_MAX: Final = 256
"""Where objects at one place have more different keys in a block than this, they are kept as JSON in one column."""
GROUP_ROWS_MIN: Final = 64
"""Records are put together by their keys if at least so many have the same ones; the others form one group."""

KeyPath: TypeAlias = tuple[str, ...]
"""The keys from the record down to a value. () is the record itself."""
Values: TypeAlias = "Sequence[Value | Missing]"


class Group(NamedTuple):
    """Some records of a block with the same keys (or with few keys missing), as top-level columns."""

    places: Sequence[int] | None
    """Which of the records they are; None for all of them."""
    count: int
    columns: list[tuple[str, Values]]


def grouped(records: Sequence[Record]) -> list[Group]:
    """Divide records by their keys. Every record is in exactly one group."""
    shapes = list(map(tuple, records))
    first = shapes[0]
    if shapes.count(first) == len(shapes):
        return [Group(None, len(records), _of_one_shape(first, records))]
    by_shape: dict[KeyPath, list[int]] = {}
    for place, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(place)
    groups: list[Group] = []
    rest: list[int] = []
    for shape, places in by_shape.items():
        if len(places) < GROUP_ROWS_MIN and len(by_shape) > 1:
            rest += places
        else:
            groups.append(Group(places, len(places), _of_one_shape(shape, [records[place] for place in places])))
    if rest:
        rest.sort()
        mixed = [records[place] for place in rest]
        groups.append(Group(rest, len(rest), _of_keys(dict.fromkeys(key for record in mixed for key in record), mixed)))
    return groups


def spread(path: KeyPath, values: Values) -> Iterator[tuple[KeyPath, Values, set[type]]]:
    """Take a column apart where it holds objects: its key paths with their values and the types of those."""
    types = set(map(type, values))
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


def _of_one_shape(shape: KeyPath, records: Sequence[Record]) -> list[tuple[str, Values]]:
    return list(zip(shape, zip(*map(dict.values, records), strict=True), strict=True))


def _of_keys(keys: dict[str, None], records: Sequence[Record]) -> list[tuple[str, Values]]:
    return [(key, [record.get(key, MISSING) for record in records]) for key in keys]

"""The shape of a record: which columns it has, in which order, and of which kind each value is.

A segment has a column ``_shape`` with a short text for each record. Records of one stream have few shapes, so the
column costs next to nothing; and what Parquet's null cannot tell apart (no such field, null, an element without
content, an empty object) stands there, as does the type of a value in a column of texts.

The text lists runs of native columns by their place in the file and the letter of their kind:
``0-5s,6i,7-9s`` is six texts, a whole number, three texts. ``*`` is a record that is kept whole in ``_rest``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias

from mingjian.errors import ParseError, shown
from mingjian.store.cells import KINDS, Kind

WHOLE: Final = "*"
"""The shape of a record that is kept as one JSON text, because it would need more columns than a segment may have."""
RUN_CHARACTERS_MAX: Final = 24
"""A longer run is no run of ours."""

Shape: TypeAlias = "tuple[tuple[int, Kind], ...]"
"""(place of a native column, kind of the value), in the order of the record."""

_RUN: Final = re.compile(r"([0-9]+)(?:-([0-9]+))?([a-z])")


def shape_text(shape: Iterable[tuple[int, Kind]]) -> str:
    """Write a shape.

    >>> shape_text([(0, "s"), (1, "s"), (3, "s"), (2, "n")])
    '0-1s,3s,2n'
    """
    runs: list[list[int]] = []
    kinds: list[Kind] = []
    for place, kind in shape:
        if kinds and kinds[-1] == kind and runs[-1][1] == place - 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
            kinds.append(kind)
    return ",".join(
        f"{first}{kind}" if first == last else f"{first}-{last}{kind}"
        for (first, last), kind in zip(runs, kinds, strict=True)
    )


def parsed_shape(text: str, columns: int) -> Shape | None:
    """Read a shape of a file with so many native columns; None for a record that is kept whole.

    Raises:
        ParseError: it is no shape, or not one of this file.

    >>> parsed_shape("0-1s,3s,2n", 4)
    ((0, 's'), (1, 's'), (3, 's'), (2, 'n'))
    """
    if text == WHOLE:
        return None
    shape: list[tuple[int, Kind]] = []
    for run in text.split(",") if text else ():
        found = _RUN.fullmatch(run)
        if found is None or len(run) > RUN_CHARACTERS_MAX or found[3] not in KINDS:
            raise ParseError(f"not the shape of a record: {shown(run)}")
        first, last = int(found[1]), int(found[2] or found[1])
        if last >= columns or len(shape) + last - first >= columns:
            raise ParseError(f"a shape names column {last} of {columns}, or one twice")
        shape += [(place, found[3]) for place in range(first, last + 1)]
    return tuple(shape)

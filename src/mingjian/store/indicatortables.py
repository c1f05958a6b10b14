"""Indicators as tables: made of values, each said once, and told apart from those that were said before. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingjian.errors import LimitExceeded
from mingjian.model.indicators import VERDICTS, Indicator, stricter
from mingjian.store.sightings import columns
from mingjian.store.sightings.columns import Array
from mingjian.store.tables import storable

CHUNK_ROWS: Final = 65_536
"""So many indicators become columns at a time."""
DIGEST_BYTES: Final = 16

_TEXTS: Final = (
    "kind",
    "how",
    "value",
    "written",
    "verdict",
    "marking",
    "source",
    "reference",
    "description",
    "warning",
)
_NUMBERS: Final = ("confidence", "valid_from_us", "valid_until_us")
_IDENTITY: Final = ("kind", "value", "how")
FIELDS: Final = (
    *("kind", "how", "value", "written", "verdict", "confidence", "valid_from_us", "valid_until_us", "marking"),
    *("source", "reference", "description", "warning"),
)
"""What is kept of an indicator, as columns are called in the database too."""


def field_of(name: str) -> Any:  # Arrow's fields are generic in their type
    """The column of one of ``FIELDS``, or the number of a set."""
    if name == "set_id":
        return pa.field(name, pa.int64(), nullable=False)
    return (
        pa.field(name, pa.int64(), nullable=True) if name in _NUMBERS else pa.field(name, pa.string(), nullable=False)
    )


TABLE_SCHEMA: Final = pa.schema([field_of(name) for name in FIELDS])
"""Indicators that are not in the database."""
ROW_SCHEMA: Final = pa.schema([pa.field("id", pa.int64(), nullable=False), *map(field_of, FIELDS), field_of("set_id")])
"""Indicators with their number, and the version of the set that they are in."""


def table_of(indicators: Iterable[Indicator], *, rows_max: int) -> pa.Table:
    """Make a table of ``TABLE_SCHEMA``, without warnings. Raises: LimitExceeded (INDICATORS_MAX)."""
    parts: list[pa.Table] = [TABLE_SCHEMA.empty_table()]
    left = rows_max
    iterator = iter(indicators)
    while some := list(islice(iterator, CHUNK_ROWS)):
        left -= len(some)
        if left < 0:
            raise LimitExceeded("INDICATORS_MAX", rows_max)
        parts.append(pa.Table.from_arrays([_column(some, name) for name in FIELDS], schema=TABLE_SCHEMA))
    return pa.concat_tables(parts)


def _column(indicators: list[Indicator], name: str) -> Array:
    if name == "warning":
        return pa.array([""] * len(indicators), pa.string())
    values = [getattr(each, name) for each in indicators]
    if name in _NUMBERS:
        return pa.array(values, pa.int64())
    try:
        column = pa.array(values, pa.string())
    except UnicodeEncodeError:
        column = None
    if column is None or columns.as_mask(columns.computed("match_substring", column, "\0")).any():
        column = pa.array([storable(value) for value in values], pa.string())
    return column


def row_table(values: Sequence[Sequence[object]], set_id: int) -> pa.Table:
    """A table of ``ROW_SCHEMA`` from columns of a database: number and ``FIELDS``."""
    cells = [pa.array(column, kind) for column, kind in zip(values, ROW_SCHEMA.types, strict=False)]
    cells.append(columns.numbers(np.full(len(values[0]), set_id, np.int64)))
    return pa.Table.from_arrays(cells, schema=ROW_SCHEMA)


def numbered(table: pa.Table) -> pa.Table:
    """A table of ``TABLE_SCHEMA`` as one of ``ROW_SCHEMA``: numbered from 0, of no set (0)."""
    numbers = columns.numbers(np.arange(table.num_rows))
    cells = [numbers, *table.columns, columns.numbers(np.zeros(table.num_rows, np.int64))]
    return pa.Table.from_arrays(cells, schema=ROW_SCHEMA)


def merged(table: pa.Table) -> pa.Table:
    """Each thing that is looked for once, by value.

    Of several that look for the same: the gravest verdict, the highest confidence, the longest validity, the strictest
    marking; the rest is as the most confident of them says.
    """
    if not table.num_rows:
        return table
    identities = columns.joined(
        *(table.column("kind").combine_chunks(), b"\0", table.column("how").combine_chunks(), b"\0"),
        table.column("value").combine_chunks(),
    )
    codes = columns.as_numbers(cast("Any", columns.computed("dictionary_encode", identities)).indices)
    order = np.argsort(codes, kind="stable")
    heads = np.flatnonzero(np.diff(codes[order], prepend=-1))
    sizes = np.diff(np.append(heads, len(order)))
    is_several = np.repeat(sizes > 1, sizes)
    kept = table.take(columns.numbers(order[~is_several]))
    if is_several.any():
        rows = table.take(columns.numbers(order[is_several])).to_pylist()
        ends = np.cumsum(sizes[sizes > 1]).tolist()
        groups = (_one_of(rows[start:end]) for start, end in zip([0, *ends], ends, strict=False))
        kept = pa.concat_tables([kept, pa.Table.from_pylist(list(groups), schema=TABLE_SCHEMA)])
    # In this order the indexes of the database grow at their end only, which is many times faster.
    by: list[tuple[str, Literal["ascending", "descending"]]] = [(name, "ascending") for name in _IDENTITY]
    order_of_rows = columns.computed("sort_indices", kept, sort_keys=by)
    return kept.take(cast("Any", order_of_rows)).combine_chunks()


def _one_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    best = max(rows, key=lambda row: -1 if row["confidence"] is None else row["confidence"])
    froms, untils = [[row[name] for row in rows] for name in ("valid_from_us", "valid_until_us")]
    marking = rows[0]["marking"]
    for row in rows:
        marking = stricter(marking, row["marking"])
    return {
        **best,
        "verdict": min((row["verdict"] for row in rows), key=VERDICTS.index),
        "valid_from_us": None if None in froms else min(froms),
        "valid_until_us": None if None in untils else max(untils),
        "marking": marking,
    }


def row_digests(table: pa.Table) -> npt.NDArray[np.bytes_]:
    """A digest of all that is said in each row. (No text has a NUL in it, see ``table_of``.)"""
    data = bytearray()
    for start in range(0, table.num_rows, CHUNK_ROWS):
        some = table.slice(start, CHUNK_ROWS)
        parts: list[Array | bytes] = []
        for name in FIELDS:
            column = columns.as_texts(some.column(name).combine_chunks())
            parts += [columns.computed("coalesce", column, pa.scalar("\x01", pa.large_string())), b"\0"]
        for row in cast("list[bytes]", columns.joined(*parts).to_pylist()):
            data += hashlib.blake2b(row, digest_size=DIGEST_BYTES).digest()
    return np.frombuffer(bytes(data), f"S{DIGEST_BYTES}")

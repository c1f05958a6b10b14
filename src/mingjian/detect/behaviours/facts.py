"""The tables that behaviours look at: one for each kind of fact, whatever the product that told it.

Which stream gives which table, and which of its fields stand in which column, is data (``data/behaviours.yml``). Texts
are canonical (``model.observables``) as far as they are of a kind that has a canonical form; they may be dictionaries.
``event`` is a number that tells an event from all others in the table: a finding names its events by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import pyarrow as pa

from mingjian.errors import LimitExceeded, SchemaError

ROWS_MAX: Final = 1 << 27
"""A larger table is refused: it would not fit into the memory of the machines that this is meant for."""

_EVERY: Final = [
    pa.field("event", pa.int64(), nullable=False),
    pa.field("time_us", pa.int64(), nullable=False),
    pa.field("organisation", pa.string(), nullable=False),
]

CONNECTIONS: Final = pa.schema(
    [
        *_EVERY,
        pa.field("source", pa.string(), nullable=False),  # address or name of who began it
        pa.field("destination", pa.string(), nullable=False),  # its name if that is known, else its address
        pa.field("port", pa.int64()),
        pa.field("bytes_out", pa.int64()),  # from the source; null if not told
        pa.field("bytes_in", pa.int64()),
        pa.field("duration_us", pa.int64()),
    ]
)
"""Somebody connected to something: flows, requests, sessions of TLS."""

LOGONS: Final = pa.schema(
    [
        *_EVERY,
        pa.field("source", pa.string()),  # where it came from; empty if it is not told
        pa.field("target", pa.string(), nullable=False),  # the host that was logged on to, or that checked the password
        pa.field("account", pa.string(), nullable=False),  # without its domain
        pa.field("succeeded", pa.bool_(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # one of LOGON_KINDS
    ]
)
"""Somebody proved, or failed to prove, who they are."""

LOGON_KINDS: Final = ("interactive", "network", "remote", "service", "ticket", "explicit", "privileged", "other")
"""``ticket``: the directory checked a password or gave a ticket. ``explicit``: other credentials were used towards a
host. ``privileged``: a session got special rights."""

LOOKUPS: Final = pa.schema(
    [
        *_EVERY,
        pa.field("host", pa.string(), nullable=False),  # who asked
        pa.field("query", pa.string(), nullable=False),
        pa.field("failed", pa.bool_(), nullable=False),  # there is no such name
    ]
)
"""Somebody asked for a name."""

USES: Final = pa.schema(
    [
        pa.field("event", pa.int64(), nullable=False),  # the first of them
        pa.field("organisation", pa.string(), nullable=False),
        pa.field("entity", pa.string(), nullable=False),  # a host or an account
        pa.field("kind", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("first_us", pa.int64(), nullable=False),
        pa.field("last_us", pa.int64(), nullable=False),
    ]
)
"""What each host or account has to do with: one row for each (organisation, entity, kind, value). Where parts of it
are made on their own, ``merged_uses`` puts them together."""

SEEN: Final = pa.schema(
    [
        pa.field("organisation", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("value", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("first_us", pa.int64()),
        pa.field("last_us", pa.int64()),
    ]
)
"""What the sightings index knows of the same values: rows of one value and organisation add up."""

TABLES: Final = {"connections": CONNECTIONS, "logons": LOGONS, "lookups": LOOKUPS}
"""What is filled from events one by one."""


def checked(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema, in its order and of its types; texts may stay dictionaries.

    Raises:
        SchemaError: a column is not there, is of another type, or has nulls where there may be none.
        LimitExceeded: too many rows.
    """
    if table.num_rows > ROWS_MAX:
        raise LimitExceeded("ROWS_MAX", ROWS_MAX, where="facts")
    columns = [_checked(table, field) for field in cast("Iterable[pa.Field[Any]]", schema)]
    return pa.Table.from_arrays(columns, names=schema.names)


def _checked(table: pa.Table, field: pa.Field[Any]) -> pa.ChunkedArray[Any]:
    if field.name not in table.column_names:
        raise SchemaError(f"a table of facts has no column {field.name!r}", where="facts")
    column = table.column(field.name)
    if column.null_count and not field.nullable:
        raise SchemaError(f"the column {field.name!r} of a table of facts has nulls", where="facts")
    kind = column.type
    if field.type == pa.string():
        inner = cast("pa.DictionaryType[Any, Any]", kind).value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_string(inner) or pa.types.is_large_string(inner):
            return column
    elif kind == field.type or (pa.types.is_integer(kind) and field.type == pa.int64()):
        return column
    raise SchemaError(f"the column {field.name!r} of a table of facts is {kind}, not {field.type}", where="facts")

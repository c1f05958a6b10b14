"""Seals of rows: how damage inside the state database of SQLite is found.

SQLite notices when the structure of its file is damaged, not when a number in it has become another. So each row has a
seal, a hash of all its other columns. Triggers of the connection make it, whatever statement writes the row; whoever
reads rows on which much depends verifies them (``verify``), and ``mingjian doctor`` verifies all (``broken_rows``).
PostgreSQL has checksums of its own, and its rows have no seal.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from functools import cache
from operator import itemgetter
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from mingjian.errors import StorageError, shown
from mingjian.store import tables

FUNCTION: Final = "mingjian_seal"
SEAL_BYTES: Final = 8
COMPLAINTS_MAX: Final = 20
"""So many complaints of a database about itself are listed."""

_READY: Final = "mingjian_seals"


def seal_of(*values: str | bytes | float | None) -> bytes:
    """The seal of a row with these values, in the order of its columns.

    >>> seal_of(1, "a", None) == seal_of(1, "a", None), seal_of(1, "a", None) == seal_of(1, "b", None)
    (True, False)
    """
    return hashlib.blake2b(repr(values).encode(), digest_size=SEAL_BYTES).digest()


def attach(connection: sa.Connection) -> None:
    """Let a connection to SQLite seal what it writes, from its next transaction on. May be repeated.

    Raises:
        StorageError: it cannot.
    """
    if connection.info.get(_READY):
        return
    try:
        # Triggers of the connection, not of the database: only such may call a function of ours.
        _driver(connection).executescript(_triggers())
    except sqlite3.Error as error:
        raise StorageError(f"the database failed: {shown(str(error))}") from error
    connection.info[_READY] = True


@cache
def _triggers() -> str:
    script: list[str] = []
    for table in tables.SEALED:
        seal = f"UPDATE {table.name} SET seal = {_call(table, 'NEW.')} WHERE rowid = NEW.rowid"  # noqa: S608 # names of ours
        changes = ", ".join(f'"{name}"' for name in _sealed(table))
        script += [
            f"CREATE TEMP TRIGGER IF NOT EXISTS seal_{table.name}_{name} AFTER {when} ON main.{table.name} "
            f"BEGIN {seal}; END;"
            for name, when in (("added", "INSERT"), ("changed", f"UPDATE OF {changes}"))
        ]
    return "\n".join(script)


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    """The connection of the driver, which can compute seals from now on."""
    driver = cast("sqlite3.Connection", connection.connection.driver_connection)
    driver.create_function(FUNCTION, -1, seal_of, deterministic=True)
    return driver


def renew(connection: sa.Connection) -> None:
    """Seal every row anew, after a migration has changed what a row is."""
    _driver(connection)
    for table in tables.SEALED:
        connection.exec_driver_sql(f"UPDATE {table.name} SET seal = {_call(table)}")  # noqa: S608 # names of ours


def verify(table: sa.Table, row: sa.Row[Any]) -> None:
    """Go on only if a row that was read is as it was written.

    Raises:
        StorageError: it is not.
    """
    if row.seal is not None and row.seal != seal_of(*(getattr(row, name) for name in _sealed(table))):
        raise StorageError("the state database is damaged", hint="mingjian doctor says what to do")


def verified(table: sa.Table, rows: Iterable[sa.Row[Any]]) -> list[sa.Row[Any]]:
    """All of some rows of a table, if they are as they were written. Raises: StorageError."""
    if not isinstance(rows, sa.Result):
        kept = list(rows)
        for row in kept:
            verify(table, row)
        return kept
    # To look the columns up once takes half the time: some tables have a row for each of many thousand files.
    names = list(rows.keys())
    pick = itemgetter(*(names.index(name) for name in (tables.SEAL, *_sealed(table))))
    kept = cast("list[sa.Row[Any]]", rows.all())
    for row in kept:
        seal, *values = pick(row)
        if seal is not None and seal != seal_of(*values):
            verify(table, row)
    return kept


def complaints(connection: sa.Connection) -> list[str]:
    """What is wrong with the database of a connection to SQLite: its structure, its references, its rows. At most 20.

    Raises: DBAPIError (not even that can be read).
    """
    lines = connection.exec_driver_sql(f"PRAGMA integrity_check({COMPLAINTS_MAX})").scalars().all()
    found = [f"SQLite says: {line}" for line in lines if line != "ok"]
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    found += [
        f"rows of the table {table} refer to others that are not there"
        for table in sorted({str(row[0]) for row in broken})
    ]
    found += [f"{rows} rows of the table {table} are damaged" for table, rows in broken_rows(connection)]
    return found[:COMPLAINTS_MAX]


def broken_rows(connection: sa.Connection) -> Iterator[tuple[str, int]]:
    """Every table of SQLite in which rows are not as they were written, and how many (at least).

    Raises: DBAPIError (not even that can be read).
    """
    _driver(connection)
    for table in tables.SEALED:
        query = f"SELECT count(*) FROM {table.name} WHERE seal IS NOT {_call(table)}"  # noqa: S608 # names of ours
        try:
            broken = connection.exec_driver_sql(query).scalar_one()
        except DBAPIError as error:
            if "malformed" in str(error.orig) or "not a database" in str(error.orig):
                raise
            broken = 1  # a text that is none any more
        if broken:
            yield table.name, broken


@cache
def _sealed(table: sa.Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns if column.name != tables.SEAL)


def _call(table: sa.Table, prefix: str = "") -> str:
    values = ", ".join(f'{prefix}"{name}"' for name in _sealed(table))
    return f"{FUNCTION}({values})"

"""What tables are made of: the columns that all of them use, and what makes text from outside storable.

Times are whole microseconds since 1970 UTC and end in ``_us``; days are whole days since then and end in ``_day``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(text: str) -> str:
    r"""Escape what a database cannot hold in a text: NUL (PostgreSQL) and lone surrogates (both).

    >>> storable("a\0b"), storable("C:\\dir")
    ('a\\x00b', 'C:\\dir')
    """
    return _UNSTORABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class OutsideText(TypeDecorator[str]):
    """Text that came from outside: whatever it holds, it can be stored."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Make a value storable on its way into the database."""
        return None if value is None else storable(value)


BigNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""A whole number of 64 bits. SQLite numbers rows by itself only if the type is called INTEGER."""


def numbered() -> sa.Column[int]:
    """The number of a row, given out by the database."""
    return sa.Column("id", BigNumber, primary_key=True, autoincrement=True)


def ref(
    name: str,
    table: str,
    *,
    nullable: bool = False,
    key: bool = False,
    index: bool = False,
    on_delete: str | None = None,
) -> sa.Column[int]:
    """The number of a row of another table."""
    reference = sa.ForeignKey(f"{table}.id", ondelete=on_delete)
    return sa.Column(name, BigNumber, reference, nullable=nullable, primary_key=key, index=index, autoincrement=False)


def number(name: str, *, nullable: bool = False, default: int | None = None, key: bool = False) -> sa.Column[int]:
    """A whole number of 64 bits."""
    server_default = None if default is None else sa.text(str(default))
    return sa.Column(
        name, BigNumber, nullable=nullable, server_default=server_default, primary_key=key, autoincrement=False
    )


def text(name: str, *, nullable: bool = False, key: bool = False, unique: bool = False) -> sa.Column[str]:
    """A text that came from outside, or may have."""
    return sa.Column(name, OutsideText(), nullable=nullable, primary_key=key, unique=unique or None)


def octets(name: str, *, nullable: bool = False, key: bool = False) -> sa.Column[bytes]:
    """Bytes."""
    return sa.Column(name, sa.LargeBinary(), nullable=nullable, primary_key=key)


def word(allowed: Sequence[str], name: str = "state") -> tuple[sa.Column[str], sa.CheckConstraint]:
    """A column that holds one of a few words of ours."""
    listed = ", ".join(f"'{word}'" for word in allowed)
    return sa.Column(name, sa.Text(), nullable=False), sa.CheckConstraint(f"{name} IN ({listed})", name=name)


_WHERE: Final = "where"


def partial_index(name: str, *columns: str, where: str) -> sa.Index:
    """An index of only those rows for which something (SQL that both databases know) is true."""
    # Told to the database's part when tables are made: said here, it would load the parts of both databases, always.
    return sa.Index(name, *columns, info={_WHERE: where})


@event.listens_for(metadata, "before_create")
def _tell_which_rows(target: sa.MetaData, connection: sa.Connection, **_: object) -> None:
    for table in target.tables.values():
        for index in table.indexes:
            if _WHERE in index.info:
                index.dialect_options[connection.dialect.name][_WHERE] = sa.text(index.info[_WHERE])

"""A database for the state of a workspace, of each kind that there is."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mingjian.settings import DATABASE_FILE

SERVER = "MINGJIAN_TEST_POSTGRESQL"


@contextmanager
def database_of(kind: str) -> Iterator[str]:
    """The setting ``database``: the one in the workspace (``sqlite``), or an empty one of PostgreSQL."""
    if kind == "sqlite":
        yield DATABASE_FILE
        return
    server = os.environ.get(SERVER)
    if not server:
        pytest.skip(f"no PostgreSQL here: {SERVER} is not set (.ci/postgresql starts a server)")
    import psycopg

    name = f"mingjian_test_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.rpartition("/")[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

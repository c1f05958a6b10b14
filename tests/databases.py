"""Both databases for tests: SQLite in the workspace, and a PostgreSQL server that is there for the tests."""

import os
import secrets
from collections.abc import Iterator

import pytest

from mingjian.settings import DATABASE_FILE

SERVER = "MINGJIAN_TEST_POSTGRESQL"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """The setting ``database``: the one in the workspace, or an empty one of PostgreSQL."""
    if request.param == "sqlite":
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

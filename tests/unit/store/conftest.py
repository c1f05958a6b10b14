"""Workspaces on both databases: SQLite in the workspace, and a PostgreSQL server that is there for the tests."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from mingjian.settings import DATABASE_FILE
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace, create

OPERATOR = Scope.of_operator()
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


@pytest.fixture
def workspace(tmp_path: Path, database: str) -> Iterator[Workspace]:
    with create(tmp_path / "workspace", database) as made:
        yield made


@pytest.fixture
def organisation(workspace: Workspace) -> Organisation:
    return organisation_named(workspace, OPERATOR, "Our Own", make=True)

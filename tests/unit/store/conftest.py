"""Workspaces on both databases: SQLite in the workspace, and a PostgreSQL server that is there for the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace, create

OPERATOR = Scope.of_operator()


@pytest.fixture
def workspace(tmp_path: Path, database: str) -> Iterator[Workspace]:
    with create(tmp_path / "workspace", database) as made:
        yield made


@pytest.fixture
def organisation(workspace: Workspace) -> Organisation:
    return organisation_named(workspace, OPERATOR, "Our Own", make=True)

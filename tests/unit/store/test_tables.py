"""The tables, and the migrations that make them."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from mingjian.store import tables
from mingjian.store import workspace as workspace_module
from mingjian.store.workspace import Workspace


def test_migrations_make_the_tables_that_the_code_knows(workspace: Workspace) -> None:
    with workspace.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
        version = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
    assert version == workspace_module.SCHEMA_VERSION


@pytest.mark.parametrize(
    ("table", "index", "where"),
    [
        ("detections", "ix_detections_hidden", "suppressed_by"),
        ("detections", "ix_detections_of_no_host", "length(host)"),
        ("situations", "ix_situations_of_merged", "merged_into"),
    ],
)
def test_an_index_of_some_rows_has_only_those(workspace: Workspace, table: str, index: str, where: str) -> None:
    with workspace.read() as connection:
        found = next(each for each in sa.inspect(connection).get_indexes(table) if each["name"] == index)
        assert where in str(found.get("dialect_options", {})[f"{connection.dialect.name}_where"])


def test_the_version_that_the_code_wants_is_the_newest_migration() -> None:
    script = ScriptDirectory("src/mingjian/store/migrations", version_locations=None)
    assert script.get_current_head() == workspace_module.SCHEMA_VERSION


@pytest.mark.parametrize("text", ["plain", "a\0b", "\udcff", "明见 \U0001f512", ""])
def test_any_text_from_outside_can_be_stored(workspace: Workspace, text: str) -> None:
    with workspace.begin() as connection:
        connection.execute(sa.insert(tables.meta).values(key="k", value=text))
    with workspace.read() as connection:
        stored = connection.execute(sa.select(tables.meta.c.value).where(tables.meta.c.key == "k")).scalar_one()
    assert stored == tables.storable(text)

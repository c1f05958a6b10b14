"""Seals: whatever statement writes a row, damage to it is found."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from lakes import OPERATOR, an_input, kept, progress
from mingjian.errors import StorageError
from mingjian.store import seals, tables
from mingjian.store.catalogue import (
    Batch,
    HostDay,
    Organisation,
    commit_batch,
    committed_offsets,
    input_by_id,
    live_segments,
    organisation_named,
)
from mingjian.store.upkeep import Retention, set_retention
from mingjian.store.workspace import Workspace, create, open_workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace of SQLite in which rows were inserted, changed, and changed on conflict."""
    with create(tmp_path) as workspace:
        ours = organisation_named(workspace, OPERATOR, "ours", make=True)
        number = an_input(workspace, ours)
        kept(workspace, ours, [{"a": 1}], input_id=number)
        host = HostDay(stream="test/one", day=1, host="h", rows=1, first_us=1, last_us=2)
        for offset in (0, 10):
            inputs = [progress(number, offset, offset + 10)]
            commit_batch(workspace, OPERATOR, Batch(organisation=ours.id, inputs=inputs, hosts=[host]))
    return tmp_path


def broken(workspace: Workspace) -> dict[str, int]:
    with workspace.read() as connection:
        return dict(seals.broken_rows(connection))


def change(folder: Path, statement: str) -> None:
    """Change the database behind the back of the store, as a damaged disk does."""
    with open_workspace(folder) as workspace, workspace.read() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()


def test_every_way_of_writing_seals(folder: Path) -> None:
    with open_workspace(folder) as workspace:
        assert broken(workspace) == {}
        with workspace.read() as connection:
            for table in (tables.inputs, tables.segments, tables.host_days, tables.counters):
                assert connection.execute(sa.select(table.c.seal)).scalars().all() != [None]


@pytest.mark.parametrize(
    ("table", "column"), [("inputs", "committed_offset"), ("segments", "rows"), ("input_offsets", "offset")]
)
def test_a_changed_number_is_found_by_whoever_reads_it(folder: Path, table: str, column: str) -> None:
    change(folder, f'UPDATE {table} SET "{column}" = "{column}" + 1')
    with open_workspace(folder) as workspace:
        assert broken(workspace).keys() == {table}
        with pytest.raises(StorageError, match="damaged"):
            committed_offsets(workspace, OPERATOR, input_by_id(workspace, OPERATOR, 1).id)
            live_segments(workspace, OPERATOR)


def test_a_text_that_is_none_is_found(folder: Path) -> None:
    change(folder, "UPDATE streams SET name = CAST(x'ff00' AS TEXT)")
    with open_workspace(folder) as workspace:
        assert broken(workspace).keys() == {"streams"}


def test_a_migration_seals_anew(folder: Path) -> None:
    change(folder, "UPDATE streams SET name = 'another'")
    with open_workspace(folder) as workspace, workspace.begin() as connection:
        seals.renew(connection)
        assert dict(seals.broken_rows(connection)) == {}


def test_a_transaction_that_is_rolled_back_takes_nothing_from_those_that_follow(folder: Path) -> None:
    with open_workspace(folder) as workspace:
        with pytest.raises(ZeroDivisionError), workspace.begin():
            _ = 1 / 0
        set_retention(workspace, OPERATOR, Retention(stream_pattern="a", days=1))
        assert broken(workspace) == {}


def test_in_postgresql_rows_have_no_seal(workspace: Workspace, organisation: Organisation) -> None:
    kept(workspace, organisation, [{"a": 1}])
    with workspace.read() as connection:
        seal = connection.execute(sa.select(tables.segments.c.seal)).scalar_one()
    assert (seal is None) == (workspace.dialect == "postgresql")

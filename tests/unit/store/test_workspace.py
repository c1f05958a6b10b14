"""Making, finding and opening a workspace; who may write in it."""

import json
import multiprocessing
import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from mingjian.errors import ConfigError, NotFound, StateError, StorageError
from mingjian.settings import DATABASE_FILE
from mingjian.store import tables
from mingjian.store.workspace import (
    MARK,
    Workspace,
    create,
    find,
    new_id,
    open_workspace,
    write_durably,
)


def test_a_new_workspace_can_be_found_from_inside_and_opened(tmp_path: Path, database: str) -> None:
    with create(tmp_path / "w", database) as made:
        public_id = made.public_id
    inner = tmp_path / "w" / "lake" / "deeper"
    inner.mkdir()
    assert find(inner) == tmp_path / "w"
    with open_workspace(tmp_path / "w", database) as opened:
        assert opened.public_id == public_id
        assert opened.lake.is_dir() and opened.intake.is_dir() and opened.sightings.is_dir()


def test_a_workspace_is_not_made_twice_and_settings_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "mingjian.toml").write_text("jobs = 1\n")
    create(tmp_path).close()
    assert (tmp_path / "mingjian.toml").read_text() == "jobs = 1\n"
    with pytest.raises(StateError, match="already"):
        create(tmp_path)


def test_where_there_is_no_workspace_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    for look in (find, open_workspace):
        with pytest.raises(StateError, match="mingjian init"):
            look(tmp_path)


def test_a_database_of_another_workspace_is_refused(tmp_path: Path, database: str) -> None:
    create(tmp_path / "one", database).close()
    if database != DATABASE_FILE:
        with pytest.raises(ConfigError, match="another workspace"):
            create(tmp_path / "two", database)
    else:
        create(tmp_path / "two").close()
        (tmp_path / "one" / DATABASE_FILE).replace(tmp_path / "two" / DATABASE_FILE)
        with pytest.raises(ConfigError, match="another workspace"):
            open_workspace(tmp_path / "two")


def test_a_workspace_of_a_later_version_is_refused(tmp_path: Path, database: str) -> None:
    with create(tmp_path, database) as made, made.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="later version"):
        open_workspace(tmp_path, database)
    mark = json.loads((tmp_path / "lake" / MARK).read_bytes())
    (tmp_path / "lake" / MARK).write_text(json.dumps(mark | {"layout": 99}))
    with pytest.raises(ConfigError, match="later version"):
        open_workspace(tmp_path, database)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"id": "x"}', "\0"])
def test_a_mark_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    create(tmp_path).close()
    (tmp_path / "lake" / MARK).write_text(content)
    with pytest.raises(StorageError, match=MARK):
        open_workspace(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:hunter2@[::1/x",
        "mysql://me:hunter2@h/x",
        "postgresql+psycopg://:hunter2@/?host=/nowhere",
    ],
)
def test_a_database_that_cannot_be_used_is_said_without_its_password(tmp_path: Path, url: str) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with pytest.raises(ConfigError) as caught:
        create(tmp_path, url)
    assert "hunter2" not in str(caught.value)


def test_sqlite_keeps_what_it_said_that_it_would(tmp_path: Path) -> None:
    with create(tmp_path) as made, made.read() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_transaction_that_fails_changes_nothing(workspace: Workspace) -> None:
    with pytest.raises(NotFound), workspace.begin() as connection:
        connection.execute(sa.insert(tables.counters).values(name="x", value=1))
        raise NotFound("something else went wrong")
    with workspace.read() as connection:
        assert connection.execute(sa.select(tables.counters)).all() == []


def test_a_transaction_may_be_committed_without_waiting_for_the_disk(workspace: Workspace) -> None:
    shown = "PRAGMA synchronous" if workspace.dialect == "sqlite" else "SHOW synchronous_commit"
    hurried, careful = (1, 2) if workspace.dialect == "sqlite" else ("off", "on")
    with workspace.begin(waits=False) as connection:
        connection.execute(sa.insert(tables.counters).values(name="x", value=1))
        assert connection.exec_driver_sql(shown).scalar_one() == hurried
    with pytest.raises(NotFound), workspace.begin(waits=False):
        raise NotFound("something else went wrong")
    # Connections are used again.
    with workspace.begin() as connection:
        assert connection.exec_driver_sql(shown).scalar_one() == careful
        assert connection.execute(sa.select(tables.counters.c.value)).scalar_one() == 1


def test_a_reader_sees_one_state_throughout(workspace: Workspace) -> None:
    count = sa.select(sa.func.count()).select_from(tables.counters)
    with workspace.read() as connection:
        assert connection.execute(count).scalar_one() == 0
        with workspace.begin() as other:
            other.execute(sa.insert(tables.counters).values(name="x", value=1))
        assert connection.execute(count).scalar_one() == 0


def test_a_forked_process_has_connections_of_its_own(workspace: Workspace) -> None:
    def read_often() -> None:
        assert [tables_of(workspace) for _ in range(200)] == [wanted] * 200

    wanted = tables_of(workspace)
    process = multiprocessing.get_context("fork").Process(target=read_often)
    process.start()
    read_often()
    process.join(60)
    assert process.exitcode == 0
    read_often()


def tables_of(workspace: Workspace) -> list[str]:
    with workspace.read() as connection:
        return sorted(sa.inspect(connection).get_table_names())


def test_a_full_or_broken_database_is_a_storage_error(tmp_path: Path) -> None:
    with create(tmp_path) as made:
        with pytest.raises(StorageError), made.begin() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            connection.execute(sa.insert(tables.meta).values(key="k", value="x" * 10_000_000))
        with pytest.raises(StorageError), made.read() as connection:
            connection.execute(sa.text("SELECT 1 FROM nothing"))


def test_one_process_at_a_time_writes(tmp_path: Path) -> None:
    with create(tmp_path) as one, open_workspace(tmp_path) as two:
        with one.writing(), one.writing(), pytest.raises(StateError, match="another process"), two.writing():
            pass
        with two.writing():
            pass


def test_files_may_go_only_when_nobody_reads(tmp_path: Path) -> None:
    with create(tmp_path) as one, open_workspace(tmp_path) as two:
        with one.reading(), two.reading(), two.alone() as nobody_reads:
            assert not nobody_reads
        with two.alone() as nobody_reads:
            assert nobody_reads


def test_ids_are_uuids_of_version_7_and_sort_by_when_they_were_made() -> None:
    ids = [new_id() for _ in range(100)]
    assert len(set(ids)) == 100
    assert {(len(one), one[12], one[16] in "89ab") for one in ids} == {(32, "7", True)}
    assert [one[:12] for one in ids] == sorted(one[:12] for one in ids)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_durably(tmp_path / "f", b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_durably(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"


def test_the_state_is_a_file_that_sqlite_can_check(tmp_path: Path) -> None:
    create(tmp_path).close()
    with sqlite3.connect(tmp_path / DATABASE_FILE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_a_database_whose_tables_are_damaged_beyond_text_is_refused(tmp_path: Path) -> None:
    create(tmp_path / "workspace").close()
    path = tmp_path / "workspace" / "state.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE T\xa0BLE"))
    with pytest.raises(StorageError, match="malformed"):
        open_workspace(tmp_path / "workspace").close()


def test_a_connection_that_is_in_use_while_the_workspace_closes_is_closed_when_it_is_given_back(
    tmp_path: Path, database: str
) -> None:
    made = create(tmp_path / "workspace", database)
    with made.read() as connection:
        ours = connection.connection.dbapi_connection
        assert ours is not None
        made.close()
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1
    with pytest.raises(Exception, match="closed"):
        ours.cursor()
    # Whoever goes on with it gets a new one, and keeps it.
    with made.read() as connection:
        again = connection.connection.dbapi_connection
    with made.read() as connection:
        assert connection.connection.dbapi_connection is again
    made.close()

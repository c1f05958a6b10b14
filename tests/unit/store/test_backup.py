"""Backups and what is made of them, on both databases and from one to the other."""

import io
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa

from ingesting import ingest, lines, some
from mingjian.errors import ConfigError, NotPermitted, ParseError, StateError, StorageError
from mingjian.formats import backupfile
from mingjian.settings import DATABASE_FILE
from mingjian.store import accounts, audit, tables
from mingjian.store.backup import backup, manifest_of, restore
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.doctor import examine
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.workspace import Workspace, open_workspace

OPERATOR = Scope.of_operator()


@pytest.fixture
def empty(database: str) -> Iterator[str]:
    """Another empty database of the same kind."""
    if database == DATABASE_FILE:
        yield database
        return
    import psycopg

    server = os.environ["MINGJIAN_TEST_POSTGRESQL"]
    name = f"mingjian_test_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield server.rpartition("/")[0].replace("postgresql://", "postgresql+psycopg://") + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def content(workspace: Workspace) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table, without seals."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with workspace.read() as connection:
        for table in tables.metadata.sorted_tables:
            columns = [column for column in table.columns if column.name != tables.SEAL]
            rows = connection.execute(sa.select(*columns).order_by(*table.primary_key.columns))
            found[table.name] = [tuple(row) for row in rows]
    return found


@pytest.fixture
def full(workspace: Workspace, tmp_path: Path) -> Workspace:
    (tmp_path / "a.json").write_bytes(lines(some(50)))
    ingest(workspace, tmp_path / "a.json")
    accounts.make_user(workspace, OPERATOR, "ann", memberships=[Membership(EVERYONE, "analyst")])
    return workspace


def test_everything_is_there_again(full: Workspace, tmp_path: Path, empty: str) -> None:
    made = backup(full, OPERATOR, tmp_path / "b.tar")
    before = content(full)
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    assert manifest_of(tmp_path / "b.tar") == made == restore(tmp_path / "b.tar", tmp_path / "new", empty)
    with open_workspace(tmp_path / "new", empty) as restored:
        after = content(restored)
        assert [each.what for each in audit.acts(restored, OPERATOR, limit=2)] == ["backup.restored", "backup.made"]
        for changed in ("acts", "audit_head"):
            del before[changed], after[changed]
        assert after == before
        assert [each for each in examine(restored, OPERATOR) if each.result != "ok"] == []
        assert audit.verify(restored, OPERATOR)[1] == []
        assert len(live_segments(restored, OPERATOR)) == len(live_segments(full, OPERATOR)) > 0
        organisation_named(restored, OPERATOR, "One More", make=True)
    assert {p.name for p in tmp_path.iterdir()} == {"workspace", "a.json", "b.tar", "new"}


def test_a_backup_of_one_database_is_restored_into_the_other(full: Workspace, tmp_path: Path) -> None:
    if full.dialect == "sqlite":
        pytest.skip("the way from PostgreSQL to SQLite begins at PostgreSQL")
    backup(full, OPERATOR, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "new", DATABASE_FILE)
    with open_workspace(tmp_path / "new") as restored:
        assert content(restored)["detections"] == content(full)["detections"]
        assert [each for each in examine(restored, OPERATOR) if each.result != "ok"] == []


def test_what_is_written_meanwhile_is_in_the_backup_whole_or_not_at_all(full: Workspace, tmp_path: Path) -> None:
    going = True

    def write() -> None:
        number = 0
        while going:
            number += 1
            with full.begin() as connection:
                audit.act(full, connection, OPERATOR, "test.act", about=str(number))

    thread = Thread(target=write)
    thread.start()
    try:
        for number in range(3):
            backup(full, OPERATOR, tmp_path / f"{number}.tar")
    finally:
        going = False
        thread.join()
    for number in range(3):
        restore(tmp_path / f"{number}.tar", tmp_path / f"new{number}", DATABASE_FILE)
        with open_workspace(tmp_path / f"new{number}") as restored:
            assert audit.verify(restored, OPERATOR)[1] == []


def test_only_whoever_administers_everything_makes_one(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotPermitted):
        backup(workspace, Scope.of_roles("ann", [Membership(EVERYONE, "analyst")]), tmp_path / "b.tar")
    assert not (tmp_path / "b.tar").exists()


def test_nothing_is_written_over(full: Workspace, tmp_path: Path) -> None:
    (tmp_path / "b.tar").write_text("mine")
    with pytest.raises(StateError):
        backup(full, OPERATOR, tmp_path / "b.tar")
    (tmp_path / "b.tar").unlink()
    backup(full, OPERATOR, tmp_path / "b.tar")
    with pytest.raises(StateError):
        restore(tmp_path / "b.tar", full.folder)


def test_a_missing_segment_is_said_and_leaves_no_backup(full: Workspace, tmp_path: Path) -> None:
    (full.lake / live_segments(full, OPERATOR)[0].path).unlink()
    with pytest.raises(StorageError, match="No such file"):
        backup(full, OPERATOR, tmp_path / "b.tar")
    assert {p.name for p in tmp_path.iterdir()} == {"workspace", "a.json"}


@pytest.fixture
def made(full: Workspace, tmp_path: Path) -> bytes:
    if full.dialect != "sqlite":
        pytest.skip("the file of a backup is the same")
    backup(full, OPERATOR, tmp_path / "b.tar")
    return (tmp_path / "b.tar").read_bytes()


def refused(tmp_path: Path, data: bytes) -> bool:
    (tmp_path / "bad.tar").write_bytes(data)
    try:
        restore(tmp_path / "bad.tar", tmp_path / "new", DATABASE_FILE)
    except ParseError:
        assert not [p for p in tmp_path.iterdir() if "restoring" in p.name or p.name == "new"]
        return True
    return False


def test_half_a_backup_is_none(made: bytes, tmp_path: Path) -> None:
    for size in (0, 1, 700, len(made) // 2, len(made) - 12_000):
        assert refused(tmp_path, made[:size]), size
    assert refused(tmp_path, b"x" * 100_000)


def test_damage_in_the_content_is_found(made: bytes, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        places = [(member.name, member.offset_data, member.size) for member in tar]
    for name, start, size in places:
        if size:
            damaged = bytearray(made)
            damaged[start + size // 2] ^= 1
            assert refused(tmp_path, bytes(damaged)), name


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "lake/../../x", "lake/x/../y", "other/x", "state/x.db", "lake", "mingjian.toml/x"]
)
def test_a_member_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    assert refused(tmp_path, data.getvalue())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        header = tarfile.TarInfo("lake/x")
        header.type, header.linkname = kind, "/etc/passwd"
        tar.addfile(header)
    assert refused(tmp_path, data.getvalue())


def test_another_archive_with_a_right_list_is_no_workspace(tmp_path: Path) -> None:
    data = io.BytesIO()
    writer = backupfile.BackupWriter(data)
    writer.add_bytes("lake/x", b"x")
    writer.close()
    assert refused(tmp_path, data.getvalue())
    with pytest.raises(ParseError):
        manifest_of(tmp_path / "bad.tar")


def test_a_database_that_is_in_use_is_not_filled(full: Workspace, tmp_path: Path, database: str) -> None:
    if full.dialect == "sqlite":
        pytest.skip("the database of SQLite is in the folder, and the folder is new")
    backup(full, OPERATOR, tmp_path / "b.tar")
    with pytest.raises(ConfigError, match="in use"):
        restore(tmp_path / "b.tar", tmp_path / "new", database.replace("postgresql://", "postgresql+psycopg://"))
    assert content(full)["users"] != []

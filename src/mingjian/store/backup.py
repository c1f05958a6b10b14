"""Backups of a whole workspace, made while it works, and workspaces made of them.

The state is read in one transaction, table by table, and written as lines of JSON that both databases understand: a
backup of SQLite can be restored into PostgreSQL, and the other way round. Segments and the files of the index never
change, and nothing is deleted while a backup is made; the journals of what came in are opened before the state is read
and copied after, so that they hold at least what the state knows of.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

import msgspec
import orjson
import sqlalchemy as sa

from mingjian import settings as settings_module
from mingjian.errors import InputError, ParseError, StateError, StorageError, shown
from mingjian.formats import backupfile
from mingjian.formats.bounded import decode_json
from mingjian.store import audit, keys, seals
from mingjian.store import tables as t
from mingjian.store.scope import Scope
from mingjian.store.workspace import MARK, SCHEMA_VERSION, Workspace, adopt, open_workspace, sync_folder

FORMAT: Final = 1
ROWS_AT_ONCE: Final = 1000
BESIDE: Final = ("intake", keys.FOLDER, audit.FOLDER)
"""Folders that are copied as they are."""
MANIFEST_BYTES_MAX: Final = 65_536

OnBytes: TypeAlias = Callable[[int], None]
"""Told how many bytes have been copied."""
_Row: TypeAlias = "list[str | int | float | bool | None]"


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself."""

    format: int
    workspace: str
    """The id of the workspace."""
    schema: str
    """Version of the tables."""
    created_us: int
    acts: int
    """How many acts the audit log had."""


# --- making --------------------------------------------------------------------------------------------------------


def backup(workspace: Workspace, scope: Scope, file: Path, *, on_bytes: OnBytes | None = None) -> Backup:
    """Write a backup of everything to a new file, which only its owner may read: the keys are in it.

    Raises:
        NotPermitted: the scope does not administer everything.
        StateError: the file is there already.
        StorageError: something cannot be read (``mingjian doctor`` says more) or written; there is no file then.
    """
    scope.check_administer(None, "workspace")
    if file.exists():
        raise StateError("this file is there already", where=str(file), hint="name another one")
    with workspace.begin() as connection:
        audit.act(workspace, connection, scope, "backup.made", about=file.name)
    audit.publish(workspace)
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}.tmp")
    try:
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as out:
            made = _write(workspace, out, file.parent, on_bytes or (lambda _: None))
            out.flush()
            os.fsync(out.fileno())
        # Not over a file that somebody else has made meanwhile.
        os.link(unfinished, file)
        sync_folder(file.parent)
    except FileExistsError:
        raise StateError("this file is there already", where=str(file), hint="name another one") from None
    except OSError as error:
        raise StorageError(f"the backup cannot be made: {error.strerror}", where=str(error.filename or file)) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return made


def _write(workspace: Workspace, out: IO[bytes], scratch: Path, on_bytes: OnBytes) -> Backup:
    writer = backupfile.BackupWriter(out)
    with ExitStack() as stack:
        stack.enter_context(workspace.reading())
        beside = [(name, stack.enter_context(path.open("rb"))) for name, path in _files_beside(workspace)]
        connection = stack.enter_context(workspace.read())
        size = connection.execute(sa.select(t.audit_head.c.size)).scalar() or 0
        made = Backup(
            format=FORMAT,
            workspace=workspace.public_id,
            schema=SCHEMA_VERSION,
            created_us=workspace.clock_us(),
            acts=size,
        )
        writer.add_bytes(backupfile.MANIFEST, msgspec.json.encode(made))
        for table in t.metadata.sorted_tables:
            _write_table(connection, table, writer, scratch)
            on_bytes(out.tell())
        for name, opened in beside:
            writer.add(name, opened, os.fstat(opened.fileno()).st_size)
        for name in _files_of(connection):
            path = workspace.folder / name
            with path.open("rb") as opened:
                writer.add(name, opened, path.stat().st_size)
            on_bytes(out.tell())
    writer.close()
    return made


def _files_beside(workspace: Workspace) -> Iterator[tuple[str, Path]]:
    for name in (settings_module.FILE_NAME, f"lake/{MARK}"):
        if (workspace.folder / name).is_file():
            yield name, workspace.folder / name
    for folder in BESIDE:
        for path in sorted((workspace.folder / folder).rglob("*")):
            name = path.relative_to(workspace.folder).as_posix()
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and backupfile.is_name(name):
                yield name, path


def _files_of(connection: sa.Connection) -> list[str]:
    """The files that the state counts on."""
    paths = sa.select(t.segments.c.path).where(t.segments.c.state == "live").order_by(t.segments.c.id)
    names = sa.select(t.sighting_files.c.name).where(t.sighting_files.c.state == "live").order_by(t.sighting_files.c.id)
    found = [f"lake/{path}" for path in connection.execute(paths).scalars()]
    return found + [f"sightings/{name}" for name in connection.execute(names).scalars()]


def _write_table(connection: sa.Connection, table: sa.Table, writer: backupfile.BackupWriter, scratch: Path) -> None:
    names = _names(table)
    binary = [index for index, name in enumerate(names) if isinstance(table.c[name].type, sa.LargeBinary)]
    with tempfile.TemporaryFile(dir=scratch) as spool:
        with backupfile.compressor(spool) as lines:
            lines.write(orjson.dumps(names) + b"\n")
            order = tuple(table.primary_key.columns)
            rows = connection.execution_options(stream_results=True).execute(sa.select(table).order_by(*order))
            for part in rows.partitions(ROWS_AT_ONCE):
                lines.write(b"".join([_line(table, row, names, binary) for row in part]))
        size = spool.tell()
        spool.seek(0)
        writer.add(f"state/{table.name}.jsonl.zst", spool, size)


def _line(table: sa.Table, row: sa.Row[Any], names: Sequence[str], binary: Sequence[int]) -> bytes:
    if table in t.SEALED:
        seals.verify(table, row)
    values = [getattr(row, name) for name in names]
    for index in binary:
        if values[index] is not None:
            values[index] = base64.b64encode(values[index]).decode()
    return orjson.dumps(values) + b"\n"


def _names(table: sa.Table) -> list[str]:
    return [column.name for column in table.columns if column.name != t.SEAL]


# --- restoring -----------------------------------------------------------------------------------------------------


def restore(file: Path, folder: Path, database: str | None = None, *, on_bytes: OnBytes | None = None) -> Backup:
    """Make a workspace of a backup, in a folder that is not there yet or empty.

    ``database`` as in the settings; without it, as the settings in the backup say. A database of PostgreSQL must be
    empty. Nothing is there if it does not succeed, but for tables in PostgreSQL.

    Raises:
        StateError: there is something in the folder already.
        ParseError, LimitExceeded: it is no backup, or not a whole one.
        ConfigError: it is of another version, or the database cannot be used.
        StorageError: something cannot be read or written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StateError("there is something here already", where=str(folder), hint="name a folder that is not there")
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.restoring")
    try:
        unfinished.mkdir(mode=0o700, parents=True)
        with file.open("rb") as opened:
            made = _unpack(opened, unfinished, on_bytes or (lambda _: None))
        chosen = database or settings_module.load(unfinished, os.environ).database
        _fill(unfinished, chosen, made)
        shutil.rmtree(unfinished / "state")
        for name in (backupfile.MANIFEST, backupfile.CONTENTS):
            (unfinished / name).unlink()
        _sync_all(unfinished)
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StorageError(f"cannot be restored: {error.strerror}", where=str(error.filename or folder)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    with open_workspace(folder, chosen) as workspace, workspace.begin() as connection:
        after = {"file": file.name, "made_us": made.created_us}
        audit.act(workspace, connection, Scope.of_operator(), "backup.restored", after=after)
    return made


def _unpack(file: IO[bytes], folder: Path, on_bytes: OnBytes) -> Backup:
    found: dict[str, backupfile.Member] = {}
    last = ""
    for name, content, size in backupfile.members_of(file):
        if name in found or last == backupfile.CONTENTS:
            raise ParseError(f"the backup has {shown(name)} twice, or after its end")
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        hashed = sha256()
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as out:
            while data := content.read(backupfile.CHUNK_BYTES):
                hashed.update(data)
                out.write(data)
            out.flush()
            os.fsync(out.fileno())
        last = name
        if name != backupfile.CONTENTS:
            found[name] = backupfile.Member(size, hashed.hexdigest())
        on_bytes(file.tell())
    if last != backupfile.CONTENTS:
        raise ParseError("this is no backup, or only the beginning of one")
    contents = folder / backupfile.CONTENTS
    backupfile.check_contents(contents.read_bytes(), found)
    manifest = folder / backupfile.MANIFEST
    if not manifest.is_file() or not (folder / "lake" / MARK).is_file():
        raise ParseError("this is no backup of a workspace")
    decode = msgspec.json.Decoder(Backup).decode
    made = decode_json(manifest.read_bytes(), decode, where=manifest.name, size_bytes_max=MANIFEST_BYTES_MAX)
    if (made.format, made.schema) != (FORMAT, SCHEMA_VERSION):
        raise ParseError(
            f"the backup is of version {shown(made.schema)}, this program of {SCHEMA_VERSION}",
            hint="restore it with the version of Mingjian that made it, then update",
        )
    return made


def _fill(folder: Path, database: str, made: Backup) -> None:
    for name in ("lake", "sightings", "intake"):
        (folder / name).mkdir(exist_ok=True)
    adopt(folder, database)
    with open_workspace(folder, database) as workspace:
        if workspace.public_id != made.workspace:
            raise ParseError("the backup says two things of which workspace it is")
        with workspace.begin() as connection:
            if workspace.dialect == "sqlite":
                connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            for table in t.metadata.sorted_tables:
                _fill_table(connection, table, folder / "state" / f"{table.name}.jsonl.zst")


def _fill_table(connection: sa.Connection, table: sa.Table, path: Path) -> None:
    if not path.is_file():
        raise ParseError(f"the table {table.name} is not in the backup")
    later: list[dict[str, object]] = []
    own = [column.name for column in table.columns if any(key.column.table is table for key in column.foreign_keys)]
    with path.open("rb") as file:
        lines = backupfile.lines_of(file)
        if orjson.loads(next(lines, b"null")) != _names(table):
            raise ParseError(f"the table {table.name} in the backup has other columns")
        rows: list[dict[str, object]] = []
        for line in lines:
            row = _values(table, line)
            if table is t.meta and row["key"] == "workspace":
                continue
            for name in own:
                # A row may refer to one that comes after it.
                if row[name] is not None:
                    later.append({"own_id": row["id"], "own_value": row[name], "own_name": name})
                    row[name] = None
            rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                connection.execute(sa.insert(table), rows)
                rows.clear()
        if rows:
            connection.execute(sa.insert(table), rows)
    for name in own:
        update = sa.update(table).where(table.c.id == sa.bindparam("own_id")).values({name: sa.bindparam("own_value")})
        changes = [
            {"own_id": each["own_id"], "own_value": each["own_value"]} for each in later if each["own_name"] == name
        ]
        if changes:
            connection.execute(update, changes)
    _go_on_counting(connection, table)


def _values(table: sa.Table, line: bytes) -> dict[str, object]:
    names = _names(table)
    try:
        values: _Row = msgspec.json.decode(line, type=list[str | int | float | bool | None])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ParseError(f"a row of the table {table.name} in the backup cannot be read") from None
    if len(values) != len(names):
        raise ParseError(f"a row of the table {table.name} in the backup has other columns")
    row: dict[str, object] = dict(zip(names, values, strict=True))
    for name in names:
        value = row[name]
        if value is not None and isinstance(table.c[name].type, sa.LargeBinary):
            try:
                row[name] = base64.b64decode(str(value), validate=True)
            except ValueError:
                raise ParseError(f"a row of the table {table.name} in the backup cannot be read") from None
    return row


def _go_on_counting(connection: sa.Connection, table: sa.Table) -> None:
    """Let PostgreSQL number new rows after those that were put in with their numbers."""
    column = table.autoincrement_column
    if connection.dialect.name != "postgresql" or column is None:
        return
    sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
    last = connection.execute(sa.select(sa.func.max(column))).scalar()
    if last is not None:
        connection.execute(sa.select(sa.func.setval(sequence, last)))


def _sync_all(folder: Path) -> None:
    for place, folders, _ in os.walk(folder):
        for name in folders:
            sync_folder(Path(place) / name)
    sync_folder(folder)


def manifest_of(file: Path) -> Backup:
    """What a backup says of itself, without reading all of it. Raises: ParseError, LimitExceeded, StorageError."""
    decode = msgspec.json.Decoder(Backup).decode
    try:
        with file.open("rb") as opened:
            for name, content, size in backupfile.members_of(opened):
                if name == backupfile.MANIFEST and size <= MANIFEST_BYTES_MAX:
                    return decode_json(content.read(), decode, where=name)
                break
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=str(file)) from error
    except InputError as error:
        raise ParseError(error.what, where=str(file)) from None
    raise ParseError("this is no backup of a workspace", where=str(file))

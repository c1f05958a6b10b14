"""The workspace: the folder in which everything is kept, and the state database in or beside it.

::

    mingjian.toml          settings; a person may edit it
    state.db               the state database (SQLite), unless the setting ``database`` names a PostgreSQL one
    lake/                  Parquet segments; ``lake/workspace.json`` marks the folder as a workspace
    sightings/             the sightings index
    intake/                journals of what came in over the network

Any number of processes may read; one at a time may change the files (``Workspace.writing``), which a file lock sees
to. Transactions of the database are short and may come from several processes.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, cast
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from mingjian import settings as settings_module
from mingjian.errors import ConfigError, StateError, StorageError, shown
from mingjian.settings import DATABASE_FILE
from mingjian.store import seals, tables

LAYOUT_VERSION: Final = 1
"""Version of the folder layout. A workspace of a later one is refused."""
MARK: Final = "workspace.json"
FOLDERS: Final = ("lake", "sightings", "intake")
WRITER_LOCK: Final = "writer.lock"
READERS_LOCK: Final = "readers.lock"
BUSY_TIMEOUT_S: Final = 30
"""So long a transaction waits for another one to end before it is given up."""
SCHEMA_VERSION: Final = "0001"
"""The newest migration in ``store/migrations/versions``; a test compares."""

_ROWS: Final = "rows"
_TABLES: Final = "tables"
"""What a transaction writes, as its option ``mingjian_writes`` says."""

_TOML = """\
# Settings of this workspace; `mingjian` finds it from here and from every folder below.
# The manual's page "Settings" lists every key.
"""


def now_us() -> int:
    """The time of our own clock, microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def new_id() -> str:
    """Make an id that sorts by when it was made: a UUID version 7, as 32 hexadecimal digits.

    Source: RFC 9562, section 5.7.
    """
    random = secrets.randbits(74)
    number = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (random >> 62) << 64 | 2 << 62 | random & (1 << 62) - 1
    return f"{number:032x}"


class Workspace:
    """An open workspace. Close it, or use it as a context manager. May be shared by the threads of one process."""

    def __init__(self, folder: Path, public_id: str, engine: sa.Engine, clock_us: Callable[[], int] = now_us) -> None:
        self.folder = folder
        self.public_id = public_id
        self.lake = folder / "lake"
        self.sightings = folder / "sightings"
        self.intake = folder / "intake"
        self.clock_us = clock_us
        self._engine = engine
        self._writers = 0
        self._writer_file: BinaryIO | None = None
        self._mutex = Lock()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections to the database; one that a thread still has, as soon as it is given back."""
        pool = self._engine.pool
        self._engine.dispose()
        event.listen(pool, "checkin", _close_given_back)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @contextmanager
    def begin(self, *, waits: bool = True) -> Generator[sa.Connection]:
        """One transaction that changes something: committed (and on disk) at the end, or nothing of it.

        With ``waits`` false it is committed, but nobody waits for the disk: a power cut may undo it, unless a later
        transaction was waited for. Only for what nothing counts on until then.

        Raises:
            StorageError: the database could not keep it. Nothing was changed.
        """
        try:
            with self._engine.connect() as plain, self._hurried(plain) if not waits else nullcontext():
                connection = plain.execution_options(mingjian_writes=_ROWS)
                with connection.begin():
                    if not waits and self.dialect != "sqlite":
                        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                    yield connection
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise storage_error(error) from error

    @contextmanager
    def _hurried(self, connection: sa.Connection) -> Generator[None]:
        """Let SQLite not wait for the disk: the log of changes stays in order, and so what is on the disk whole."""
        if self.dialect != "sqlite":
            yield
            return
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        driver.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            driver.execute("PRAGMA synchronous = FULL")

    @contextmanager
    def read(self) -> Generator[sa.Connection]:
        """One transaction that only reads, and sees one state of the database throughout.

        Raises:
            StorageError: the database cannot be read.
        """
        # SQLite gives one state anyway; PostgreSQL only if asked.
        options = {} if self.dialect == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        try:
            with self._engine.connect() as plain:
                connection = plain.execution_options(**options)
                with connection.begin():
                    yield connection
        except DBAPIError as error:
            raise storage_error(error) from error

    @contextmanager
    def writing(self) -> Generator[None]:
        """Be the one process that adds, replaces and removes files of the workspace. May be nested, also by threads.

        Raises:
            StateError: another process is.
        """
        with self._mutex:
            if not self._writers:
                self._writer_file = self._lock_of_writer()
            self._writers += 1
        try:
            yield
        finally:
            with self._mutex:
                self._writers -= 1
                if not self._writers and self._writer_file is not None:
                    self._writer_file.close()

    def _lock_of_writer(self) -> BinaryIO:
        file = _lock_file(self.folder / WRITER_LOCK)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            hint = "wait for it to end, or stop it"
            raise StateError("another process writes in this workspace", where=str(self.folder), hint=hint) from None
        return file

    @contextmanager
    def reading(self) -> Generator[None]:
        """While this is open, no file of the workspace is deleted, whatever replaces it. Keep it short."""
        with _lock_file(self.folder / READERS_LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield

    @contextmanager
    def alone(self) -> Generator[bool]:
        """Whether nobody reads just now; if so, nobody begins to as long as this is open."""
        with _lock_file(self.folder / READERS_LOCK) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _lock_file(path: Path) -> BinaryIO:
    try:
        return path.open("a+b")
    except OSError as error:
        raise StorageError(f"a lock cannot be opened: {error.strerror}", where=str(path)) from error


def create(folder: Path, database: str = DATABASE_FILE) -> Workspace:
    """Make a folder a workspace and open it. What is already there stays as it is.

    ``database`` is ``state.db``, or the URL of a PostgreSQL database.

    Raises:
        StateError: it is a workspace already.
        ConfigError: the database cannot be used.
        StorageError: the folder cannot be written to.
    """
    if (folder / "lake" / MARK).exists():
        raise StateError("this is a workspace already", where=str(folder), hint="use it, or name another folder")
    try:
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        toml = folder / settings_module.FILE_NAME
        if not toml.exists():
            toml.write_text(_TOML, encoding="utf-8")
        mark = {"id": new_id(), "layout": LAYOUT_VERSION, "created_us": now_us()}
        with _engine_for(folder, database) as engine:
            _migrate(engine)
            with engine.begin() as connection:
                connection.execute(sa.insert(tables.meta), [{"key": "workspace", "value": json.dumps(mark)}])
        write_durably(folder / "lake" / MARK, json.dumps(mark).encode())
    except OSError as error:
        raise StorageError(f"cannot be written to: {error.strerror}", where=str(folder)) from error
    except IntegrityError as error:
        raise ConfigError("the database belongs to another workspace", hint="each workspace needs its own") from error
    except DBAPIError as error:
        raise ConfigError(f"the database cannot be used: {_reason(error)}") from error
    return open_workspace(folder, database)


def adopt(folder: Path, database: str = DATABASE_FILE) -> None:
    """Make an empty state database for a folder that says that it is a workspace, as one from a backup does.

    Raises:
        ConfigError: the database cannot be used, or is in use.
        StorageError: the folder does not say which workspace it is.
    """
    try:
        mark = json.loads((folder / "lake" / MARK).read_bytes())
        with _engine_for(folder, database) as engine:
            _migrate(engine)
            with engine.begin() as connection:
                connection.execute(sa.insert(tables.meta), [{"key": "workspace", "value": json.dumps(mark)}])
    except (OSError, ValueError) as error:
        raise StorageError("lake/workspace.json cannot be read", where=str(folder)) from error
    except IntegrityError as error:
        raise ConfigError("the database is in use", hint="restoring needs an empty one") from error
    except DBAPIError as error:
        raise ConfigError(f"the database cannot be used: {_reason(error)}") from error


def find(start: Path) -> Path:
    """Look for the workspace that a folder is in.

    Raises:
        StateError: there is none.
        ConfigError: it belongs to another user.
    """
    start = start.absolute()
    for place in (start, *start.parents):
        mark = place / "lake" / MARK
        if mark.is_file():
            if mark.stat().st_uid not in (0, os.getuid()):
                raise ConfigError(
                    "the workspace belongs to another user", where=str(place), hint="run this as that user"
                )
            return place
    raise StateError("there is no workspace here", where=str(start), hint="mingjian init makes one")


def open_workspace(folder: Path, database: str = DATABASE_FILE, clock_us: Callable[[], int] = now_us) -> Workspace:
    """Open a workspace, and bring its database up to date if it is from an earlier version.

    Raises:
        StateError: the folder is no workspace.
        ConfigError: the database cannot be used, or is from a later version.
        StorageError: the workspace cannot be read.
    """
    try:
        mark = json.loads((folder / "lake" / MARK).read_bytes())
        public_id, layout = str(mark["id"]), int(mark["layout"])
    except FileNotFoundError:
        raise StateError("there is no workspace here", where=str(folder), hint="mingjian init makes one") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError("lake/workspace.json cannot be read", where=str(folder)) from error
    if layout > LAYOUT_VERSION:
        raise ConfigError(
            "the workspace was made by a later version of Mingjian", where=str(folder), hint="use that version"
        )
    with ExitStack() as stack:
        engine = stack.enter_context(_engine_for(folder, database))
        try:
            if _schema_version(engine) != SCHEMA_VERSION:
                _migrate(engine)
            with engine.connect() as connection:
                stored = connection.execute(
                    sa.select(tables.meta.c.value).where(tables.meta.c.key == "workspace")
                ).scalar_one_or_none()
        except DBAPIError as error:
            if database == DATABASE_FILE:
                raise storage_error(error) from error
            raise ConfigError(f"the database cannot be used: {_reason(error)}", where=str(folder)) from error
        if _id_in(stored) != public_id:
            raise ConfigError("the database belongs to another workspace", where=str(folder))
        stack.pop_all()
        return Workspace(folder, public_id, engine, clock_us)


def open_here(settings: settings_module.Settings, start: Path | None = None) -> Workspace:
    """Find the workspace that the current folder is in, and open it. Raises what ``find`` and ``open_workspace`` do."""
    return open_workspace(find(start or Path.cwd()), settings.database)


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file so that it is there whole or not at all, whatever happens. Raises: OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises: OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def storage_error(error: DBAPIError) -> StorageError:
    """Say what the database complains about, without the statement and its values."""
    is_damaged = any(words in str(error.orig) for words in _OF_DAMAGE)
    hint = "mingjian doctor says what to do" if is_damaged else "nothing was changed; is there space left?"
    return StorageError(f"the database failed: {_reason(error)}", hint=hint)


_OF_DAMAGE: Final = ("malformed", "not a database", "unsupported file format", "no such table", "no such column")
"""Words with which SQLite complains about its file."""


def _id_in(stored: str | None) -> str | None:
    """The id of the workspace that a database says it belongs to."""
    try:
        return None if stored is None else str(json.loads(stored)["id"])
    except (ValueError, KeyError, TypeError):
        return None


def _reason(error: DBAPIError) -> str:
    return shown(str(error.orig).strip().split("\n")[0])


@contextmanager
def _engine_for(folder: Path, database: str) -> Generator[sa.Engine]:
    engine = _engine_of(folder, database)
    try:
        yield engine
    finally:
        engine.dispose()


def _engine_of(folder: Path, database: str) -> sa.Engine:
    if database != DATABASE_FILE:
        try:
            url = sa.make_url(database)
            if url.get_backend_name() != "postgresql":
                raise ConfigError("the setting database is not the URL of a PostgreSQL database")
            return _of_one_process(sa.create_engine(url, pool_pre_ping=True))
        except (ArgumentError, ImportError, ValueError):
            # The message of the error would show the URL, and with it the password.
            hint = "postgresql+psycopg://user@host/name, and the package psycopg"
            raise ConfigError("the setting database cannot be used", hint=hint) from None
    url = sa.URL.create("sqlite+pysqlite", database=str(folder / DATABASE_FILE))
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return _of_one_process(engine)


def _close_given_back(connection: DBAPIConnection | None, _: ConnectionPoolEntry) -> None:
    """Close a connection whose pool is there no more: nobody else would."""
    if connection is not None:
        connection.close()


_engines: Final[WeakSet[sa.Engine]] = WeakSet()
_inherited: Final[list[sa.Pool]] = []
"""Never closed: what the other end hears of a connection is the business of the process that opened it."""


def _of_one_process(engine: sa.Engine) -> sa.Engine:
    """See to it that a forked process does not go on with connections of the one it was forked from.

    Both would talk to the server over the same socket. Source: SQLAlchemy 2.1, "Using Connection Pools with
    Multiprocessing".
    """
    _engines.add(engine)
    return engine


def _leave_connections() -> None:
    for engine in list(_engines):
        _inherited.append(engine.pool)
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_leave_connections)


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # We begin transactions ourselves: the driver would begin them too late, at the first change.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"busy_timeout = {BUSY_TIMEOUT_S * 1000}",
        "trusted_schema = OFF",
        "cache_size = -32768",
        "temp_store = MEMORY",
    ):
        try:
            cursor.execute(f"PRAGMA {pragma}")
        except UnicodeDecodeError as error:
            # SQLite quotes the damaged definition of a table in its message, byte for byte.
            raise sqlite3.DatabaseError("malformed database schema") from error
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and then writes could fail in the middle: whoever will write says so at once.
    writes = connection.get_execution_options().get("mingjian_writes")
    if writes == _ROWS:
        seals.attach(connection)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _schema_version(engine: sa.Engine) -> str | None:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _migrate(engine: sa.Engine) -> None:
    """Bring the tables up to date. Raises: ConfigError if they are of a version that we do not know."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "mingjian.store:migrations")
    with engine.connect() as plain:
        connection = plain.execution_options(mingjian_writes=_TABLES)
        with connection.begin():
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigError(
                    "the database was made by a later version of Mingjian", hint="update Mingjian"
                ) from error
            if engine.dialect.name == "sqlite":
                seals.renew(connection)

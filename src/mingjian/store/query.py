"""Read-only SQL over the lake, by DuckDB in memory: streams as views, and OCSF classes as views over those.

A statement is one SELECT. It sees the segments of the scope and nothing else: the files that DuckDB may open are
listed one by one, every other access outside of it is off, and the configuration is locked before the statement runs.
Names from data are quoted by ``quoted``, texts by ``literal``: nowhere else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Final, TypeAlias, cast

import duckdb
import msgspec

from mingjian.errors import LimitExceeded, ParseError, SchemaError
from mingjian.store.catalogue import SegmentRow, live_segments, organisations
from mingjian.store.scope import Scope
from mingjian.store.verified import verify_file
from mingjian.store.workspace import Workspace

STATEMENT_CHARACTERS_MAX: Final = 65_536
MEMORY_MB_MAX: Final = 1024
TIMEOUT_S: Final = 300.0
BATCH_ROWS: Final = 1024
"""So many rows of a result are fetched at a time."""

_UNFRIENDLY: Final = re.compile(r"[^a-z0-9]+")
_MESSAGE_CHARACTERS_MAX: Final = 400


class OcsfMapping(msgspec.Struct, frozen=True, kw_only=True):
    """How the events of one stream in one layout become an OCSF class."""

    class_uid: int
    attributes: dict[str, tuple[str, ...]]
    """Attribute path → dotted paths in the records, the first that holds something counts."""


OcsfMappings: TypeAlias = Mapping[tuple[str, str], OcsfMapping]
"""By (stream, layout)."""


def quoted(name: str) -> str:
    """Write a name as an SQL identifier, whatever is in it.

    >>> print(quoted('windows/sysmon/1'), quoted('a"b'))
    "windows/sysmon/1" "a""b"
    """
    return '"' + name.replace("\0", "").replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write a text as an SQL literal, whatever is in it.

    >>> print(literal("it's"))
    'it''s'
    """
    return "'" + text.replace("\0", "").replace("'", "''") + "'"


def alias_of(stream: str) -> str:
    """The name of a stream that needs no quotes.

    >>> alias_of("windows/sysmon/1"), alias_of("zeek/conn")
    ('windows_sysmon_1', 'zeek_conn')
    """
    plain = _UNFRIENDLY.sub("_", stream.lower()).strip("_")
    return plain if plain and not plain[0].isdigit() else f"stream_{plain}"


class Answer:
    """The rows of a result: their columns first, then the rows themselves, batch by batch."""

    def __init__(self, columns: Sequence[str], rows: Iterator[list[dict[str, object]]]) -> None:
        self.columns = columns
        self._rows = rows

    def __iter__(self) -> Iterator[dict[str, object]]:
        for batch in self._rows:
            yield from batch


@contextmanager
def answering(
    workspace: Workspace,
    scope: Scope,
    statement: str,
    *,
    ocsf: OcsfMappings | None = None,
    threads: int = 1,
    memory_mb: int = MEMORY_MB_MAX,
    timeout_s: float = TIMEOUT_S,
    verify: bool = True,
) -> Generator[Answer]:
    """Run one SELECT over the streams that a scope may read.

    DuckDB does not notice that a file is damaged: with ``verify``, each is read once before (about 3 GB/s in memory).

    Raises:
        ParseError: not SQL, or it names what is not there.
        SchemaError: not one SELECT.
        LimitExceeded: it took too long, or too much memory.
        StorageError: the lake cannot be read.
    """
    _check(statement)
    with workspace.reading(), _connected(threads, memory_mb) as connection:
        segments = live_segments(workspace, scope)
        names = {each.id: each.name for each in organisations(workspace, scope)}
        views = _Views(connection, workspace.lake, {int(number): name for number, name in names.items()}, verify=verify)
        views.make(segments, statement, ocsf or {})
        views.lock()
        timer = Timer(timeout_s, connection.interrupt)
        timer.daemon = True
        timer.start()
        try:
            relation = connection.sql(statement)
            reader = relation.to_arrow_reader(BATCH_ROWS)
            batches = (cast("list[dict[str, object]]", batch.to_pylist()) for batch in reader)
            yield Answer(relation.columns, _guarded(batches, timeout_s, memory_mb))
        except duckdb.Error as error:
            raise _named(error, timeout_s, memory_mb) from error
        finally:
            timer.cancel()


def _guarded(
    batches: Iterator[list[dict[str, object]]], timeout_s: float, memory_mb: int
) -> Iterator[list[dict[str, object]]]:
    try:
        yield from batches
    except (duckdb.Error, OSError) as error:
        raise _named(error, timeout_s, memory_mb) from error


def _named(error: Exception, timeout_s: float, memory_mb: int) -> Exception:
    if isinstance(error, duckdb.InterruptException) or "INTERRUPT" in str(error):
        return LimitExceeded("TIMEOUT_S", timeout_s)
    if isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory" in str(error):
        return LimitExceeded("MEMORY_MB_MAX", memory_mb)
    lines = [line for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else type(error).__name__
    hint = "mingjian lake lists the streams" if isinstance(error, duckdb.CatalogException) else ""
    return ParseError(message[:_MESSAGE_CHARACTERS_MAX], where="SQL", hint=hint)


def _check(statement: str) -> None:
    if len(statement) > STATEMENT_CHARACTERS_MAX:
        raise LimitExceeded("STATEMENT_CHARACTERS_MAX", STATEMENT_CHARACTERS_MAX, where="SQL")
    try:
        statements = duckdb.extract_statements(statement)
    except duckdb.Error as error:
        raise _named(error, 0, 0) from error
    if [each.type for each in statements] != [duckdb.StatementType.SELECT]:
        raise SchemaError("only one statement is run, and it must be a SELECT", where="SQL")


@contextmanager
def _connected(threads: int, memory_mb: int) -> Generator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect(
        ":memory:",
        config={
            "python_enable_replacements": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "memory_limit": f"{memory_mb}MB",
            "threads": str(threads),
            "temp_directory": "",
        },
    )
    try:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection
    finally:
        connection.close()


class _Views:
    """The views that a statement may look at, and the files behind them."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, lake: Path, names: Mapping[int, str], *, verify: bool
    ) -> None:
        self._connection = connection
        self._verify = verify
        self._lake = lake
        self._organisations = names
        self._files: dict[str, None] = {}
        self._taken: set[str] = set()

    def make(self, segments: Sequence[SegmentRow], statement: str, ocsf: OcsfMappings) -> None:
        """Make a view of each stream that the statement may mean; opening files that it does not need takes time."""
        lower = statement.lower()
        streams: dict[str, list[SegmentRow]] = defaultdict(list)
        for row in segments:
            streams[row.key.stream].append(row)
        by_class: dict[int, list[str]] = defaultdict(list)
        for stream in sorted(streams):
            rows = streams[stream]
            if quoted(stream)[1:-1].lower() in lower or alias_of(stream) in lower:
                self._make(stream, self._of_stream(rows))
                if alias_of(stream) not in self._taken:
                    self._make(alias_of(stream), f"FROM {quoted(stream)}")
            for layout in sorted({row.key.layout for row in rows}):
                mapping = ocsf.get((stream, layout))
                if mapping is not None and f"ocsf_{mapping.class_uid}" in lower:
                    of_layout = self._of_stream([row for row in rows if row.key.layout == layout])
                    by_class[mapping.class_uid].append(self._of_class(stream, of_layout, mapping))
        for class_uid, parts in by_class.items():
            self._make(f"ocsf_{class_uid}", " UNION ALL BY NAME ".join(parts))

    def lock(self) -> None:
        """Shut every way out but the files of the views, for good."""
        allowed = ", ".join(map(literal, self._files))
        for setting in (f"allowed_paths = [{allowed}]", "enable_external_access = false", "lock_configuration = true"):
            self._connection.execute(f"SET {setting}")

    def _make(self, name: str, select: str) -> None:
        self._taken.add(name.lower())
        self._connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS {select}")

    def _of_stream(self, rows: Sequence[SegmentRow]) -> str:
        files: dict[int, list[str]] = defaultdict(list)
        for row in rows:
            file = str(self._lake / row.path)
            if self._verify and file not in self._files:
                verify_file(self._lake / row.path, row.checks)
            self._files[file] = None
            files[row.key.organisation].append(file)
        parts = [
            f"SELECT {literal(self._organisations[number])} AS _organisation, * "  # noqa: S608 # quoted by ``literal``
            f"EXCLUDE (_shape) FROM read_parquet([{', '.join(map(literal, each))}], "
            f"union_by_name = true, hive_partitioning = false)"
            for number, each in files.items()
        ]
        return " UNION ALL BY NAME ".join(parts)

    def _of_class(self, stream: str, select: str, mapping: OcsfMapping) -> str:
        described = self._connection.execute(f"DESCRIBE {select}").fetchall()
        columns = {str(name).lower(): str(name) for name, *_ in described}
        chosen = [f"{literal(stream)} AS _stream", "_organisation", "_time AS time", "_input", "_record"]
        chosen.append(f"{mapping.class_uid} AS class_uid")
        for attribute, paths in sorted(mapping.attributes.items()):
            there = [f"{quoted(columns[path.lower()])}::VARCHAR" for path in paths if path.lower() in columns]
            if there and attribute not in ("time", "class_uid"):
                chosen.append(f"coalesce({', '.join(there)}) AS {quoted(attribute)}")
        return f"SELECT {', '.join(chosen)} FROM ({select})"  # noqa: S608 # quoted by ``quoted`` and ``literal``

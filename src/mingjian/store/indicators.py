"""Indicators in sets, and the versions of each set.

A set is what one source says at one time, kept under a name, for one organisation or for all. Adding it again makes a
new version of it: what is in it still stays as it is, what is new is added, what is no more there is retired. Nothing
is ever deleted: a detection can always say which indicator it was, and a hunt which ones it looked for. Adding the
same again changes nothing.

A version is written in portions and seen by nobody before the last of them: neither a reader nor whoever writes
something else waits for a million indicators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa

from mingjian.errors import NotFound, NotPermitted, SchemaError, StateError, StorageError, shown
from mingjian.model.indicators import Indicator, Marking
from mingjian.store import tables as t
from mingjian.store.audit import act
from mingjian.store.catalogue import insert_unless_there
from mingjian.store.indicatortables import FIELDS, merged, row_digests, row_table, table_of
from mingjian.store.scope import EVERYONE, OrganisationId, Scope
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace

NAME_CHARACTERS_MAX: Final = 200
"""So long may the name of a set be."""
INDICATORS_MAX: Final = 8_000_000
"""So many are in one set."""
ROWS_AT_ONCE: Final = 50_000
"""So many are written in one transaction."""
ROWS_FETCHED: Final = 4_000
"""So many are read at a time: of more, Python would look for cycles again and again."""
LOADING_S_MAX: Final = 3_600
"""A version that is not complete after so long was left by a process that is no more."""
UNREAD_MAX: Final = 100
"""So many entries that could not be read are remembered with a version; all are counted."""

SetState: TypeAlias = Literal["loading", "live", "retired"]
_Digests: TypeAlias = "npt.NDArray[np.bytes_]"


class Unread(msgspec.Struct, frozen=True):
    """An entry that could not be read."""

    file: str
    record: int
    reason: str


class Details(msgspec.Struct, frozen=True):
    """What came with a version besides its indicators."""

    skipped: dict[str, int] = {}
    """Reason → how many entries were understood, but are not looked for."""
    quarantined: int = 0
    """How many entries could not be read."""
    unread: list[Unread] = []
    """The first of them."""
    lists: str = ""
    """Version of the warning lists that were asked."""


class IndicatorSet(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a set."""

    id: int
    series_id: int
    """The set through all its versions."""
    name: str
    organisation: OrganisationId | None
    """Whose set it is; None if it is for all."""
    version: int
    state: SetState
    source: str
    marking: Marking
    content_hash: str
    indicators: int
    warned: int
    """How many of them are on a warning list."""
    added: int
    """How many are not in the version before."""
    gone: int
    """How many of the version before are not in this one."""
    added_us: int
    retired_us: int | None
    details: Details


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What adding a set came to."""

    set: IndicatorSet
    how: Literal["new", "changed", "unchanged"]


def add_set(
    workspace: Workspace,
    scope: Scope,
    name: str,
    indicators: Iterable[Indicator],
    *,
    organisation: OrganisationId | None = None,
    source: str = "",
    marking: Marking = "",
    details: Callable[[], Details] = Details,
    lists: WarningLists | None = None,
) -> Added:
    """Make some indicators the newest version of a set; without an organisation it is for all.

    Several indicators of one set that say the same thing of one observable become one (``indicatortables.merged``).
    What ``details`` gives when all indicators were read is kept with the version. Without ``lists`` none is warned of.

    Raises:
        NotFound, NotPermitted: the scope does not reach so far.
        SchemaError: no name, or no indicators at all.
        LimitExceeded: INDICATORS_MAX.
        StateError: another process has changed the set meanwhile; nothing was changed.
        StorageError: the database could not keep it; nothing was changed.
    """
    name = name.strip()
    if not name or len(name) > NAME_CHARACTERS_MAX:
        raise SchemaError(f"the name of a set has 1 to {NAME_CHARACTERS_MAX} characters, not {shown(name)}")
    _check_write(scope, organisation)
    rows = merged(table_of(indicators, rows_max=INDICATORS_MAX))
    if not rows.num_rows:
        raise SchemaError("there is no indicator in it", where=name, hint="a set is retired with intel remove")
    if lists is not None:
        warnings = lists.of_indicators(*(rows.column(each).combine_chunks() for each in ("kind", "how", "value")))
        rows = rows.set_column(rows.schema.get_field_index("warning"), "warning", warnings.cast(pa.string()))
    digests = row_digests(rows)
    series_id = _series(workspace, name, organisation)
    before = _newest(workspace, series_id)
    content_hash = _content_hash(digests, source, marking)
    if before is not None and before.state == "live" and before.content_hash == content_hash:
        return Added(set=before, how="unchanged")
    loading = _Loading(workspace, scope, series_id, before)
    try:
        made = loading.write(rows, digests, source, marking, content_hash, details())
    except BaseException:
        loading.forget()
        raise
    return Added(set=made, how="new" if before is None else "changed")


def _check_write(scope: Scope, organisation: OrganisationId | None) -> None:
    if organisation is not None:
        scope.check_write(organisation)
    elif scope.writes is not EVERYONE:
        raise NotPermitted(f"{scope.actor} may not change what is for all organisations")


def _content_hash(digests: _Digests, source: str, marking: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(msgspec.msgpack.encode([source, marking]))
    digest.update(np.sort(digests).tobytes())
    return digest.hexdigest()


def _series(workspace: Workspace, name: str, organisation: OrganisationId | None) -> int:
    """The number of a set; it gets one if it is new."""
    key = _series_key(name, organisation)
    table = t.indicator_series
    values = {
        "organisation_id": organisation,
        "name": name,
        "series_key": key,
        "created_us": workspace.clock_us(),
    }
    with workspace.begin() as connection:
        connection.execute(insert_unless_there(connection, table), [values])
        return connection.execute(sa.select(table.c.id).where(table.c.series_key == key)).scalar_one()


def _series_key(name: str, organisation: OrganisationId | None) -> str:
    return t.storable(f"{name.casefold()}:{'' if organisation is None else organisation}")


def _newest(workspace: Workspace, series_id: int) -> IndicatorSet | None:
    """The newest version that is complete."""
    condition = sa.and_(t.indicator_sets.c.series_id == series_id, t.indicator_sets.c.state != "loading")
    found = _sets(workspace, condition, (t.indicator_sets.c.id.desc(),), limit=1)
    return found[0] if found else None


def _are_among(digests: _Digests, others: _Digests) -> npt.NDArray[np.bool_]:
    """Which digests are among others. Compared by their first eight bytes, which is quick, and then as a whole."""
    if not len(others) or not len(digests):
        return np.zeros(len(digests), bool)
    wanted, there = (each.view("<u8")[::2] for each in (digests, others))
    order = np.argsort(there)
    place = np.minimum(np.searchsorted(there, wanted, sorter=order), len(order) - 1)
    return others[order[place]] == digests


class _Loading:
    """A version on its way into the database."""

    def __init__(self, workspace: Workspace, scope: Scope, series_id: int, before: IndicatorSet | None) -> None:
        self._workspace = workspace
        self._scope = scope
        self._series_id = series_id
        self._before = before
        self._forget_left_over()
        with workspace.begin() as connection:
            counts = dict.fromkeys(("indicators", "warned", "added", "gone", "version"), 0)
            texts = dict.fromkeys(("source", "marking", "content_hash", "details"), "")
            values = {"series_id": series_id, "state": "loading", "added_us": workspace.clock_us(), **counts, **texts}
            insert = sa.insert(t.indicator_sets).values(values).returning(t.indicator_sets.c.id)
            self.id = connection.execute(insert).scalar_one()

    def write(
        self, rows: pa.Table, digests: _Digests, source: str, marking: Marking, content_hash: str, details: Details
    ) -> IndicatorSet:
        """Write all that is new, and then make it what counts."""
        ids, known = self._digests_before()
        gone = ids[~_are_among(known, digests)]
        is_new = ~_are_among(digests, known)
        self._insert(rows.filter(pa.array(is_new)), digests[is_new])
        warned = sum(1 for warning in cast("list[str]", rows.column("warning").to_pylist()) if warning)
        values: dict[str, object] = {
            "state": "live",
            "version": 1 if self._before is None else self._before.version + 1,
            "source": source,
            "marking": marking,
            "content_hash": content_hash,
            "indicators": rows.num_rows,
            "warned": warned,
            "added": int(is_new.sum()),
            "gone": len(gone),
            "added_us": self._workspace.clock_us(),
            "details": msgspec.json.encode(details).decode(),
        }
        self._make_live(values, gone)
        return set_by_id(self._workspace, Scope.of_operator(), self.id)

    def forget(self) -> None:
        """Remove what was written of a version that will not be."""
        self._forget([self.id])

    def _forget_left_over(self) -> None:
        table = t.indicator_sets
        oldest = self._workspace.clock_us() - LOADING_S_MAX * 1_000_000
        query = sa.select(table.c.id).where(
            table.c.series_id == self._series_id, table.c.state == "loading", table.c.added_us < oldest
        )
        with self._workspace.read() as connection:
            left = list(connection.execute(query).scalars())
        if left:
            self._forget(left)

    def _forget(self, ids: Sequence[int]) -> None:
        with self._workspace.begin() as connection:
            connection.execute(sa.delete(t.indicators).where(t.indicators.c.added_in.in_(ids)))
            connection.execute(sa.delete(t.indicator_sets).where(t.indicator_sets.c.id.in_(ids)))

    def _digests_before(self) -> tuple[npt.NDArray[np.int64], _Digests]:
        """Numbers and digests of what the version before has."""
        if self._before is None:
            return np.zeros(0, np.int64), np.zeros(0, "S16")
        query = _members(self._before, t.indicators.c.id, t.indicators.c.digest)
        ids: list[int] = []
        digests = bytearray()
        with self._workspace.read() as connection:
            for rows in _fetched(connection, query):
                ids += cast("list[int]", [row[0] for row in rows])
                digests += b"".join(cast("list[bytes]", [row[1] for row in rows]))
        return np.array(ids, np.int64), np.frombuffer(bytes(digests), "S16")

    def _insert(self, rows: pa.Table, digests: _Digests) -> None:
        names = ("series_id", "added_in", "digest", *FIELDS)
        for start in range(0, rows.num_rows, ROWS_AT_ONCE):
            some = rows.slice(start, ROWS_AT_ONCE)
            cells = [cast("list[object]", column.to_pylist()) for column in some.columns]
            padded = [bytes(digest).ljust(16, b"\0") for digest in digests[start : start + ROWS_AT_ONCE]]
            of_all = ([number] * some.num_rows for number in (self._series_id, self.id))
            with self._workspace.begin() as connection:
                _insert_fast(connection, t.indicators, names, list(zip(*of_all, padded, *cells, strict=True)))

    def _make_live(self, values: dict[str, object], gone: npt.NDArray[np.int64]) -> None:
        sets = t.indicator_sets
        with self._workspace.begin() as connection:
            series = t.indicator_series
            connection.execute(sa.select(series.c.id).where(series.c.id == self._series_id).with_for_update())
            complete = sa.and_(sets.c.series_id == self._series_id, sets.c.state != "loading")
            newest = connection.execute(sa.select(sa.func.max(sets.c.id)).where(complete)).scalar_one()
            if newest != (None if self._before is None else self._before.id):
                raise StateError("another process has changed this set meanwhile", hint="add it again")
            live = sa.and_(sets.c.series_id == self._series_id, sets.c.state == "live")
            connection.execute(sa.update(sets).where(live).values(state="retired", retired_us=values["added_us"]))
            if len(gone):
                retire = sa.update(t.indicators).where(t.indicators.c.id == sa.bindparam("gone"))
                retire = retire.values(retired_in=self.id)
                connection.execute(retire, [{"gone": number} for number in gone.tolist()])
            connection.execute(sa.update(sets).where(sets.c.id == self.id).values(values))
            named = sa.select(series.c.name, series.c.organisation_id).where(series.c.id == self._series_id)
            name, organisation = connection.execute(named).one()
            after = {
                each: str(values[each]) for each in ("version", "source", "marking", "indicators", "added", "gone")
            }
            act(
                self._workspace, connection, self._scope, "indicators.added",
                about=name, organisation=organisation, after=after,
            )  # fmt: skip


def _insert_fast(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Insert rows whose values are as the database wants them (texts are storable), at a third of the usual cost."""
    statement = sa.insert(table).values({name: sa.bindparam(name) for name in names})
    compiled = statement.compile(dialect=connection.dialect)
    if connection.dialect.positional:
        order = [names.index(name) for name in cast("Any", compiled).positiontup]
        connection.exec_driver_sql(str(compiled), [tuple(row[place] for place in order) for row in rows])
    else:
        connection.exec_driver_sql(str(compiled), [dict(zip(names, row, strict=True)) for row in rows])


def retire_set(workspace: Workspace, scope: Scope, set_id: int) -> IndicatorSet:
    """Look for the indicators of a set no more. They stay known. Raises: NotFound, NotPermitted, StateError."""
    found = set_by_id(workspace, scope, set_id)
    _check_write(scope, found.organisation)
    table = t.indicator_sets
    with workspace.begin() as connection:
        changed = connection.execute(
            sa.update(table)
            .where(table.c.id == set_id, table.c.state == "live")
            .values(state="retired", retired_us=workspace.clock_us())
        )
        if changed.rowcount != 1:
            raise StateError("this set is retired already", where=found.name)
        before = {"version": found.version, "indicators": found.indicators}
        act(
            workspace, connection, scope, "indicators.retired",
            about=found.name, organisation=found.organisation, before=before,
        )  # fmt: skip
    return set_by_id(workspace, scope, set_id)


# --- looking up ----------------------------------------------------------------------------------------------------


def live_sets(workspace: Workspace, scope: Scope, *, organisation: OrganisationId | None = None) -> list[IndicatorSet]:
    """The sets that are looked for, by name; those of one organisation (and those for all) if it is given.

    Raises: NotFound (the organisation is not within the scope).
    """
    if organisation is not None:
        scope.check_read(organisation)
    owner = t.indicator_series.c.organisation_id
    conditions = [t.indicator_sets.c.state == "live", _visible(scope)]
    if organisation is not None:
        conditions.append(sa.or_(owner.is_(None), owner == organisation))
    return _sets(workspace, sa.and_(*conditions), (t.indicator_series.c.series_key,))


def sets_named(workspace: Workspace, scope: Scope, name: str) -> list[IndicatorSet]:
    """The newest version of every set of this name in any case, of whatever organisation; that for all first."""
    newest = sa.select(sa.func.max(t.indicator_sets.c.id)).where(t.indicator_sets.c.state != "loading")
    condition = sa.and_(_visible(scope), t.indicator_sets.c.id.in_(newest.group_by(t.indicator_sets.c.series_id)))
    key = t.storable(name.strip().casefold())
    found = _sets(workspace, condition, (t.indicator_series.c.series_key,))
    return [each for each in found if t.storable(each.name.casefold()) == key]


def set_by_id(workspace: Workspace, scope: Scope, set_id: int) -> IndicatorSet:
    """One version of a set. Raises: NotFound."""
    condition = sa.and_(t.indicator_sets.c.id == set_id, t.indicator_sets.c.state != "loading", _visible(scope))
    found = _sets(workspace, condition)
    if not found:
        raise NotFound("there is no such set of indicators")
    return found[0]


def indicators_of(workspace: Workspace, scope: Scope, set_id: int, *, only_new: bool = False) -> Iterator[pa.Table]:
    """The indicators of one version, as tables of ``ROW_SCHEMA``, by kind and value.

    ``only_new``: those that the version before has not. After a hunt for that one they are all that is left to do.

    Raises: NotFound.
    """
    found = set_by_id(workspace, scope, set_id)
    columns = [t.indicators.c[name] for name in ("id", *FIELDS)]
    query = _members(found, *columns).order_by(t.indicators.c.kind, t.indicators.c.value, t.indicators.c.id)
    if only_new:
        query = query.where(t.indicators.c.added_in == set_id)
    with workspace.read() as connection:
        for rows in _fetched(connection, query):
            yield row_table(list(zip(*rows, strict=True)), set_id)


def _fetched(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[list[tuple[object, ...]]]:
    """Rows in portions, as the driver gives them: for millions that is a third faster. The query asks for numbers only.

    Raises: StorageError.
    """
    compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    cursor = connection.connection.cursor()
    try:
        cursor.execute(str(compiled))
        while rows := cursor.fetchmany(ROWS_FETCHED):
            yield cast("list[tuple[object, ...]]", rows)
    except connection.dialect.loaded_dbapi.Error as error:
        raise StorageError(f"the database failed: {shown(str(error))}") from error
    finally:
        cursor.close()


def _members(of: IndicatorSet, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """The rows that a version has."""
    table, sets = t.indicators, t.indicator_sets
    complete = sa.select(sets.c.id).where(sets.c.series_id == of.series_id, sets.c.state != "loading")
    return sa.select(*columns).where(
        table.c.series_id == of.series_id,
        table.c.added_in <= of.id,
        sa.or_(table.c.retired_in.is_(None), table.c.retired_in > of.id),
        table.c.added_in.in_(complete),
    )


def _visible(scope: Scope) -> sa.ColumnElement[bool]:
    readable = scope.readable()
    owner = t.indicator_series.c.organisation_id
    return sa.true() if readable is None else sa.or_(owner.is_(None), owner.in_(readable))


def _sets(
    workspace: Workspace,
    condition: sa.ColumnElement[bool],
    order: Sequence[sa.ColumnElement[Any]] = (),
    limit: int | None = None,
) -> list[IndicatorSet]:
    series = t.indicator_series
    query = (
        sa.select(t.indicator_sets, series.c.name, series.c.organisation_id)
        .join(series, series.c.id == t.indicator_sets.c.series_id)
        .where(condition)
        .order_by(*order)
        .limit(limit)
    )
    with workspace.read() as connection:
        return [_set(row) for row in connection.execute(query)]


def _set(row: sa.Row[Any]) -> IndicatorSet:
    return IndicatorSet(
        id=row.id,
        series_id=row.series_id,
        name=row.name,
        organisation=None if row.organisation_id is None else OrganisationId(row.organisation_id),
        version=row.version,
        state=row.state,
        source=row.source,
        marking=row.marking,
        content_hash=row.content_hash,
        indicators=row.indicators,
        warned=row.warned,
        added=row.added,
        gone=row.gone,
        added_us=row.added_us,
        retired_us=row.retired_us,
        details=msgspec.json.decode(row.details, type=Details),
    )

"""Detections a page at a time, and what is counted of them: for lists that somebody scrolls through.

A page costs the same at the beginning and at the end of a million: it begins behind the last one that was shown, not
after so many. Each level is read by its own index and the levels are put together here, so that rare ones are found
without reading the others.
"""

from __future__ import annotations

import heapq
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import SchemaError, shown
from mingjian.model.rules import LEVELS, Level
from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.detections import StoredDetection, rows_as_detections
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.workspace import Workspace

PAGE_ROWS_MAX: Final = 1_000
"""So many are given at once."""

Order: TypeAlias = Literal["newest", "oldest", "found"]
"""By the time of the event, the newest or the oldest first; or by when it was found, the latest first."""
ORDERS: Final[tuple[Order, ...]] = ("newest", "oldest", "found")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which detections are meant; all conditions have to hold."""

    organisation: OrganisationId | None = None
    levels: tuple[Level, ...] = LEVELS
    rule_id: str = ""
    host: str = ""
    account: str = ""
    kind: str = ""
    title: str = ""
    """Some text in the title of the rule, in any case."""
    found_by: str = ""
    first_us: int | None = None
    until_us: int | None = None


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """A page."""

    rows: list[StoredDetection]
    after: str | None
    """Where the next page begins; None if there is none."""


class DayCount(msgspec.Struct, frozen=True):
    """How many detections of one level there are of one day."""

    day: int
    level: Level
    count: int


class Noise(msgspec.Struct, frozen=True, kw_only=True):
    """How often a rule found something."""

    rule_id: str
    count: int
    hosts: int
    last_us: int | None


def browse(
    workspace: Workspace, scope: Scope, wanted: Wanted, *, order: Order = "newest", after: str = "", limit: int = 100
) -> Portion:
    """Give a page of detections, behind the place ``after`` that the page before ended with. Without a time: last.

    Raises:
        NotFound: the scope does not reach the organisation.
        SchemaError: ``after`` is no such place.
    """
    if wanted.organisation is not None:
        scope.check_read(wanted.organisation)
    limit = min(max(1, limit), PAGE_ROWS_MAX)
    place = _place(after)
    rows: list[Any] = []
    with workspace.read() as connection:
        parts: tuple[bool, ...] = (True,) if order == "found" else (True, False)
        for timed in parts:
            if len(rows) <= limit and (place is None or place[0] == timed or not timed):
                here = place if place is not None and place[0] == timed else None
                rows += _part(connection, scope, wanted, order, timed, here, limit + 1 - len(rows))
    more = len(rows) > limit
    rows = rows[:limit]
    return Portion(rows=rows_as_detections(rows), after=_written(rows[-1], order) if more else None)


def count_up_to(workspace: Workspace, scope: Scope, wanted: Wanted, bound: int) -> int:
    """Count detections, but not beyond a bound."""
    table = t.detections
    some = sa.select(sa.literal(1)).select_from(table).where(*_conditions(scope, wanted)).limit(bound).subquery()
    with workspace.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()


def counts_by_day(
    workspace: Workspace,
    scope: Scope,
    first_day: int,
    last_day: int,
    *,
    organisation: OrganisationId | None = None,
) -> list[DayCount]:
    """Count detections by day of the event and level, in the order of days."""
    table = t.detections
    day = _day_of(table.c.time_us).label("day")
    wanted = Wanted(organisation=organisation, first_us=first_day * US_PER_DAY, until_us=(last_day + 1) * US_PER_DAY)
    query = (
        sa.select(day, table.c.level, sa.func.count())
        .where(*_conditions(scope, wanted, with_levels=True))
        .group_by(day, table.c.level)
        .order_by(day)
    )
    with workspace.read() as connection:
        return [DayCount(int(each), level, count) for each, level, count in connection.execute(query)]


def counts_by_level(
    workspace: Workspace, scope: Scope, *, organisation: OrganisationId | None = None, first_us: int | None = None
) -> dict[Level, int]:
    """Count detections by level; with ``first_us`` only those of events from then on."""
    table = t.detections
    wanted = Wanted(organisation=organisation, first_us=first_us)
    query = sa.select(table.c.level, sa.func.count()).where(*_conditions(scope, wanted)).group_by(table.c.level)
    with workspace.read() as connection:
        found: dict[str, int] = {str(row[0]): int(row[1]) for row in connection.execute(query)}
    return {level: found.get(level, 0) for level in reversed(LEVELS)}


def counts_by_organisation(
    workspace: Workspace, scope: Scope, first_day: int, last_day: int
) -> list[tuple[OrganisationId, int, int]]:
    """Count detections of medium level and above by organisation and day: organisation, day, count."""
    table = t.detections
    day = _day_of(table.c.time_us).label("day")
    wanted = Wanted(
        levels=LEVELS[LEVELS.index("medium") :], first_us=first_day * US_PER_DAY, until_us=(last_day + 1) * US_PER_DAY
    )
    query = (
        sa.select(table.c.organisation_id, day, sa.func.count())
        .where(*_conditions(scope, wanted, with_levels=True))
        .group_by(table.c.organisation_id, day)
    )
    with workspace.read() as connection:
        return [(OrganisationId(owner), int(each), count) for owner, each, count in connection.execute(query)]


def noise(workspace: Workspace, scope: Scope, *, organisation: OrganisationId | None = None) -> dict[str, Noise]:
    """How often each rule found something: rule id → counts."""
    table = t.detections
    query = (
        sa.select(
            table.c.rule_id, sa.func.count(), sa.func.count(sa.distinct(table.c.host)), sa.func.max(table.c.time_us)
        )
        .where(*_conditions(scope, Wanted(organisation=organisation)))
        .group_by(table.c.rule_id)
    )
    with workspace.read() as connection:
        return {
            rule_id: Noise(rule_id=rule_id, count=count, hosts=hosts, last_us=last)
            for rule_id, count, hosts, last in connection.execute(query)
        }


def last_detection(workspace: Workspace, scope: Scope) -> int:
    """A number that rises whenever something is found that the scope may see."""
    table = t.detections
    query = sa.select(table.c.id).where(within(scope, table.c.organisation_id)).order_by(table.c.id.desc()).limit(1)
    with workspace.read() as connection:
        return connection.execute(query).scalar_one_or_none() or 0


# --- pieces of the queries -------------------------------------------------------------------------------------------


def _conditions(scope: Scope, wanted: Wanted, *, with_levels: bool = False) -> list[sa.ColumnElement[bool]]:
    table = t.detections
    found: list[sa.ColumnElement[bool]] = [within(scope, table.c.organisation_id), table.c.suppressed_by.is_(None)]
    if wanted.organisation is not None:
        found.append(table.c.organisation_id == wanted.organisation)
    if with_levels or set(wanted.levels) != set(LEVELS):
        found.append(table.c.level.in_(wanted.levels))
    equals = {"rule_id": wanted.rule_id, "kind": wanted.kind, "found_by": wanted.found_by}
    found += [table.c[name] == t.storable(value) for name, value in equals.items() if value]
    # By the index first, whatever the case: names of hosts and accounts are written in few ways.
    for name, value in (("host", wanted.host), ("account", wanted.account)):
        if value:
            text = t.storable(value)
            found.append(table.c[name].in_(sorted({text, text.lower(), text.upper()})))
    if wanted.title:
        escaped = t.storable(wanted.title).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        found.append(table.c.rule_title.ilike(f"%{escaped}%", escape="\\"))
    if wanted.first_us is not None:
        found.append(table.c.time_us >= wanted.first_us)
    if wanted.until_us is not None:
        found.append(table.c.time_us < wanted.until_us)
    return found


def _part(
    connection: sa.Connection,
    scope: Scope,
    wanted: Wanted,
    order: Order,
    timed: bool,
    place: tuple[bool, int, int] | None,
    limit: int,
) -> list[Any]:
    """Rows with a time, or those without, behind a place."""
    table = t.detections
    down = order != "oldest"
    by_number = order == "found" or not timed
    conditions = _conditions(scope, msgspec.structs.replace(wanted, levels=LEVELS))
    if order != "found":
        conditions.append(table.c.time_us.is_not(None) if timed else table.c.time_us.is_(None))
    if place is not None:
        _, time_us, number = place
        behind = table.c.id < number if down else table.c.id > number
        if by_number:
            conditions.append(behind)
        else:
            later = table.c.time_us < time_us if down else table.c.time_us > time_us
            conditions.append(sa.and_(_not_before(table.c.time_us, time_us, down), sa.or_(later, behind)))
    columns = [table.c.id] if by_number else [table.c.time_us, table.c.id]
    query = (
        sa.select(table, t.streams.c.name.label("stream"))
        .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
        .where(*conditions)
        .order_by(*(column.desc() if down else column for column in columns))
        .limit(limit)
    )
    if wanted.rule_id or wanted.host or wanted.account:
        return list(connection.execute(query.where(table.c.level.in_(wanted.levels))))
    several = [list(connection.execute(query.where(table.c.level == level))) for level in wanted.levels]

    def key(row: Any) -> tuple[int, int]:
        number = 0 if by_number else row.time_us
        return (-number, -row.id) if down else (number, row.id)

    return list(islice(heapq.merge(*several, key=key), limit))


def _not_before(column: sa.ColumnElement[int], time_us: int, down: bool) -> sa.ColumnElement[bool]:
    """What lets the index begin at the place."""
    return column <= time_us if down else column >= time_us


def _place(text: str) -> tuple[bool, int, int] | None:
    """Whether it has a time, time, number."""
    if not text:
        return None
    parts = text.split(".")
    if len(parts) != 2 or not all(part.removeprefix("-").isdecimal() or part == "x" for part in parts):
        raise SchemaError(f"{shown(text)} is no place in a list", hint="take the one that the page before gave")
    return parts[0] != "x", 0 if parts[0] == "x" else int(parts[0]), int(parts[1])


def _written(row: Any, order: Order) -> str:
    if order == "found":
        return f"0.{row.id}"
    return f"{'x' if row.time_us is None else row.time_us}.{row.id}"


def _day_of(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
    return sa.cast(sa.func.floor(column * 1.0 / US_PER_DAY), sa.Integer)

"""Detections a page at a time, and what is counted of them: for lists that somebody scrolls through.

A page costs the same at the beginning and at the end of a million: it begins behind the last one that was shown, not
after so many. Each level is read by its own index and the levels are put together here, so that rare ones are found
without reading the others.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import SchemaError, shown
from mingjian.model.rules import LEVELS, Level
from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.detections import StoredDetection, rows_as_detections
from mingjian.store.narrowing import EVERY, Condition, Names, Part, clause, parts_of
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

PAGE_ROWS_MAX: Final = 1_000
"""So many are given at once."""
LOOKED_AT_MAX: Final = 10_000
"""So many rows a page looks at, over all indexes by which it reads; if they are not enough it says how far it came."""
ROWS_AT_ONCE: Final = 500
"""So many rows are looked at together if several indexes name them."""
SHARE_FACTOR: Final = 2
"""Of each of several indexes so many times its share is read: they do not take turns …"""
SHARE_MIN: Final = 64
"""… and so many places at least."""
STEP_GROWTH: Final = 4
"""They are looked at in steps, each so many times as large as the one before: what is frequent is found at once."""
GROUPS_MAX: Final = 200
"""So many groups are listed."""

Order: TypeAlias = Literal["newest", "oldest", "found"]
"""By the time of the event, the newest or the oldest first; or by when it was found, the latest first."""
ORDERS: Final[tuple[Order, ...]] = ("newest", "oldest", "found")
GroupBy: TypeAlias = Literal["rule", "level", "host", "account", "organisation", "kind", "stream", "found_by"]
_GROUPS: Final[dict[GroupBy, str]] = {
    "rule": "rule_id",
    "level": "level",
    "host": "host",
    "account": "account",
    "organisation": "organisation_id",
    "kind": "kind",
    "stream": "stream_id",
    "found_by": "found_by",
}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which detections are meant; all conditions have to hold."""

    organisation: OrganisationId | None = None
    levels: tuple[Level, ...] = LEVELS
    rule_id: str = ""
    host: str = ""
    account: str = ""
    kind: str = ""
    found_by: str = ""
    first_us: int | None = None
    until_us: int | None = None
    conditions: tuple[Condition, ...] = ()
    names: Names = Names(is_whole=False)
    """What conditions on names are looked up in; without it they are tried row by row."""


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """A page."""

    rows: list[StoredDetection]
    after: str | None
    """Where the next page begins; None if there is none."""
    is_cut: bool = False
    """Looking ended before the page was full: there may be more behind ``after``."""
    looked_to_us: int | None = None
    """If it was cut, up to which time."""


class Counted(NamedTuple):
    """How many there are."""

    several: int
    is_bound: bool
    """There may be more."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Detections that have the same in a column."""

    value: str
    title: str
    """Of a rule."""
    count: int
    level: Level
    """The gravest."""
    last_us: int | None


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """Groups, the largest first."""

    groups: tuple[Group, ...]
    several: int
    """So many groups there are; not all of them need be listed."""
    total: int
    """So many detections were counted."""
    is_cut: bool
    """There may be older ones that were not counted."""


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
    limit = min(max(1, limit), PAGE_ROWS_MAX)
    with workspace.read() as connection:
        looked = _look(connection, _Reading(scope, wanted, order), _place(after), limit + 1)
        places = looked.places[:limit]
        end = places[-1] if len(looked.places) > limit else looked.end
        table = t.detections
        query = (
            sa.select(table, t.streams.c.name.label("stream"))
            .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
            .where(table.c.id.in_([each.number for each in places]))
        )
        by_number = {row.id: row for row in connection.execute(query)} if places else {}
    rows = [by_number[each.number] for each in places if each.number in by_number]
    is_cut = looked.end is not None and len(looked.places) <= limit
    return Portion(
        rows=rows_as_detections(rows),
        after=None if end is None else _written(end),
        looked_to_us=looked.end.time_us if is_cut and looked.end is not None and looked.end.timed else None,
        is_cut=is_cut,
    )


def counted(workspace: Workspace, scope: Scope, wanted: Wanted, bound: int) -> Counted:
    """Count detections, but not beyond a bound, and without looking at more rows than a page does."""
    table = t.detections
    reading = _Reading(scope, wanted, "newest")
    reading.check()
    parts = reading.parts()
    if not parts:
        return Counted(0, False)
    each = max(1, LOOKED_AT_MAX // len(parts))
    newest = [
        sa.select(table.c.id).where(*_of(part), *_between(wanted)).order_by(table.c.time_us.desc()).limit(each)
        for part in parts
    ]
    some = [one.subquery() for one in newest]
    near = some[0] if len(some) == 1 else sa.union(*(sa.select(one.c.id) for one in some)).subquery()
    rest = _conditions(scope, wanted, with_levels=any(part.column != "level" for part in parts))
    joined = near.join(table, table.c.id == near.c.id)
    those = sa.select(sa.literal(1)).select_from(joined).where(*rest).limit(bound + 1).subquery()
    sizes = sa.select(*(sa.select(sa.func.count()).select_from(one).scalar_subquery() for one in some))
    with workspace.read() as connection:
        found = connection.execute(sa.select(sa.func.count()).select_from(those)).scalar_one()
        is_cut = found <= bound and each in connection.execute(sizes).one()
    return Counted(min(found, bound), found > bound or is_cut)


def count_up_to(workspace: Workspace, scope: Scope, wanted: Wanted, bound: int) -> int:
    """Count detections, but not beyond a bound."""
    table = t.detections
    some = sa.select(sa.literal(1)).select_from(table).where(*_conditions(scope, wanted)).limit(bound).subquery()
    with workspace.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()


def groups(workspace: Workspace, scope: Scope, wanted: Wanted, by: GroupBy, *, bound: int | None = None) -> Groups:
    """Count detections by what they have in a column, those with the most first.

    With ``bound`` only so many of those found last are looked at; else all, which takes as long as they are many.
    """
    table = t.detections
    reading = _Reading(scope, wanted, "newest")
    reading.check()
    parts = reading.parts()
    columns = {part.column for part in parts}
    if len(columns) > 1 or columns == {"level"} or bound is None:
        parts = (EVERY,)
    conditions = _conditions(scope, wanted, with_levels=True)
    grouped = (table.c[_GROUPS[by]], table.c.level)
    counts = (sa.func.count(), sa.func.max(table.c.time_us), sa.func.max(table.c.rule_title))
    rows: list[Any] = []
    is_cut = False
    with workspace.read() as connection:
        for part in parts:
            query = sa.select(*grouped, *counts).where(*conditions)
            some = [] if part is EVERY else [table.c[part.column] == part.value]
            if bound is None:
                query = query.where(*some)
            else:
                budget = max(1, bound // max(1, len(parts)))
                order = table.c.id.desc() if part is EVERY else table.c.time_us.desc()
                near = sa.select(table.c.id).where(*some).order_by(order)
                limited = near.limit(budget).subquery()
                query = query.select_from(limited.join(table, table.c.id == limited.c.id))
                is_cut = is_cut or connection.execute(near.limit(1).offset(budget)).first() is not None
            rows += connection.execute(query.group_by(*grouped))
        if by == "stream":
            names = dict(connection.execute(sa.select(t.streams.c.id, t.streams.c.name)).all())
            rows = [(names.get(row[0], ""), *row[1:]) for row in rows]
    return _as_groups(rows, by, is_cut)


def _as_groups(rows: Sequence[Any], by: GroupBy, is_cut: bool) -> Groups:
    found: dict[object, list[Any]] = {}
    total = 0
    for value, level, count, last, title in rows:
        known = found.setdefault(value, [0, "informational", None, ""])
        known[0] += count
        known[1] = max(known[1], level, key=LEVELS.index)
        known[2] = max((each for each in (known[2], last) if each is not None), default=None)
        known[3] = title
        total += count
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], str(item[0])))
    listed = tuple(
        Group(value="" if value is None else str(value), title=each[3] if by == "rule" else "", count=each[0],
              level=each[1], last_us=each[2])
        for value, each in ranked[:GROUPS_MAX]
    )  # fmt: skip
    return Groups(groups=listed, several=len(found), total=total, is_cut=is_cut)


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
    return found + _between(wanted) + [clause(wanted.names, each) for each in wanted.conditions]


def _of(part: Part) -> list[sa.ColumnElement[bool]]:
    return [] if part is EVERY else [t.detections.c[part.column] == part.value]


def _between(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    column = t.detections.c.time_us
    found = [] if wanted.first_us is None else [column >= wanted.first_us]
    return found if wanted.until_us is None else [*found, column < wanted.until_us]


class _Place(NamedTuple):
    """Where a detection stands in an order; those with a time come before those without."""

    timed: bool
    time_us: int
    number: int


class _Looked(NamedTuple):
    """What was found, in order, and where looking ended if there may be more behind."""

    places: list[_Place]
    end: _Place | None


class _Reading(NamedTuple):
    """What is read, and in which order."""

    scope: Scope
    wanted: Wanted
    order: Order

    @property
    def down(self) -> bool:
        """Whether the largest comes first."""
        return self.order != "oldest"

    def check(self) -> None:
        """Go on only if the organisation may be seen. Raises: NotFound."""
        if self.wanted.organisation is not None:
            self.scope.check_read(self.wanted.organisation)

    def time(self, timed: bool) -> sa.ColumnElement[int]:
        """The time in a place."""
        return sa.literal(0) if self.order == "found" or not timed else t.detections.c.time_us

    def columns(self, timed: bool) -> list[sa.ColumnElement[Any]]:
        """By what rows are ordered."""
        table = t.detections
        columns = [table.c.id] if self.order == "found" or not timed else [table.c.time_us, table.c.id]
        return [column.desc() if self.down else column for column in columns]

    def behind(self, part: Part, timed: bool, place: _Place | None) -> list[sa.ColumnElement[bool]]:
        """What is true of the rows of a part behind a place: no more than the index itself can tell."""
        table, down = t.detections, self.down
        by_number = self.order == "found" or not timed
        found = _of(part)
        if self.order != "found":
            found.append(table.c.time_us.is_not(None) if timed else table.c.time_us.is_(None))
        if place is not None:
            behind = table.c.id < place.number if down else table.c.id > place.number
            later = table.c.time_us < place.time_us if down else table.c.time_us > place.time_us
            if by_number:
                found.append(behind)
            else:
                found.append(sa.and_(_not_before(table.c.time_us, place.time_us, down), sa.or_(later, behind)))
        return found if by_number else [*found, *_between(self.wanted)]

    def parts(self) -> tuple[Part, ...]:
        """The indexes by which it is read."""
        wanted = self.wanted
        if self.order == "found":
            return (EVERY,)
        conditions = [*wanted.conditions, *_own_conditions(wanted)]
        readable = self.scope.readable()
        if readable is not None:
            conditions.append(Condition(field="organisation", values=tuple(str(each) for each in readable)))
        found = parts_of(wanted.names, conditions)
        if found is not None:
            return found
        is_every = set(wanted.levels) == set(LEVELS)
        return (EVERY,) if is_every else tuple(Part("level", each) for each in wanted.levels)


def _own_conditions(wanted: Wanted) -> list[Condition]:
    """The conditions of the fields that have one of their own."""
    named = {"rule": wanted.rule_id, "host": wanted.host, "account": wanted.account}
    if wanted.organisation is not None:
        named["organisation"] = str(wanted.organisation)
    return [Condition(field=name, values=(value,)) for name, value in named.items() if value]


def _look(connection: sa.Connection, reading: _Reading, place: _Place | None, limit: int) -> _Looked:
    """The next places, behind one."""
    reading.check()
    parts = reading.parts()
    found: list[_Place] = []
    end: _Place | None = None
    for timed in (True,) if reading.order == "found" else (True, False):
        if not parts or len(found) >= limit or end is not None or (place is not None and not place.timed and timed):
            continue
        here = place if place is not None and place.timed == timed else None
        looked = _of_one if len(parts) == 1 else _of_several
        some, end = looked(connection, reading, parts, timed, here, limit - len(found))
        found += some
    return _Looked(found, end if len(found) < limit else None)


def _key(reading: _Reading, place: _Place) -> tuple[bool, int, int]:
    return (
        (not place.timed, -place.time_us, -place.number)
        if reading.down
        else (not place.timed, place.time_us, place.number)
    )


def _of_one(
    connection: sa.Connection, reading: _Reading, parts: Sequence[Part], timed: bool, place: _Place | None, limit: int
) -> tuple[list[_Place], _Place | None]:
    """The next places of one part, and the place of the last row looked at if there are more behind it."""
    table, wanted, part = t.detections, reading.wanted, parts[0]
    rest = _conditions(reading.scope, wanted, with_levels=part.column != "level")
    time_us, order = reading.time(timed), reading.columns(timed)
    found: list[_Place] = []
    looked, step = 0, limit + limit // 2 + 1
    while True:
        step = min(step, LOOKED_AT_MAX - looked)
        conditions = reading.behind(part, timed, place)
        near = sa.select(table.c.id).where(*conditions).order_by(*order).limit(step).subquery()
        query = (
            sa.select(time_us, table.c.id)
            .select_from(near.join(table, table.c.id == near.c.id))
            .where(*rest)
            .order_by(*order)
            .limit(limit - len(found))
        )
        found += [_Place(timed, when, number) for when, number in connection.execute(query)]
        if len(found) >= limit:
            return found, None
        ends = sa.select(time_us, table.c.id).where(*conditions).order_by(*order).limit(1).offset(step - 1)
        row = connection.execute(ends).first()
        if row is None:
            return found, None
        place = _Place(timed, row[0], row[1])
        looked += step
        if looked >= LOOKED_AT_MAX:
            return found, place
        step *= STEP_GROWTH


def _of_several(
    connection: sa.Connection, reading: _Reading, parts: Sequence[Part], timed: bool, place: _Place | None, limit: int
) -> tuple[list[_Place], _Place | None]:
    """The same for several parts. Their places are put in order here, and only then it is looked at the rows."""
    table = t.detections
    is_of_level = all(part.column == "level" for part in parts)
    rest = _conditions(reading.scope, reading.wanted, with_levels=not is_of_level)
    found: list[_Place] = []
    looked, step = 0, limit + limit // 2 + 1
    while True:
        near, end = _near(connection, reading, parts, timed, place, min(step, LOOKED_AT_MAX - looked))
        for start in range(0, len(near), ROWS_AT_ONCE):
            some = near[start : start + ROWS_AT_ONCE]
            numbers = sa.values(sa.column("id", table.c.id.type), name="near").data([(each.number,) for each in some])
            near_ids = numbers.cte("near")
            query = sa.select(table.c.id).select_from(near_ids.join(table, table.c.id == near_ids.c.id)).where(*rest)
            fitting = set(connection.execute(query).scalars())
            found += [each for each in some if each.number in fitting]
            if len(found) >= limit:
                return found[:limit], None
        looked += len(near)
        if end is None or looked >= LOOKED_AT_MAX:
            return found, end
        place = end
        step *= STEP_GROWTH


def _near(
    connection: sa.Connection, reading: _Reading, parts: Sequence[Part], timed: bool, place: _Place | None, step: int
) -> tuple[list[_Place], _Place | None]:
    """About so many places that come next in some parts, each once and in order, and how far all of them are known."""
    table = t.detections
    time_us, order = reading.time(timed), reading.columns(timed)
    share = max(SHARE_MIN, -(-step * SHARE_FACTOR // len(parts)))
    several: list[list[_Place]] = []
    for part in parts:
        query = sa.select(time_us, table.c.id).where(*reading.behind(part, timed, place)).order_by(*order).limit(share)
        several.append([_Place(timed, when, number) for when, number in connection.execute(query)])

    def key(each: _Place) -> tuple[bool, int, int]:
        return _key(reading, each)

    end = min((some[-1] for some in several if len(some) == share), key=key, default=None)
    places = sorted({each for some in several for each in some}, key=key)
    # Behind the nearest end, others may have something that was not read.
    return places if end is None else places[: bisect_right(places, key(end), key=key)], end


def _not_before(column: sa.ColumnElement[int], time_us: int, down: bool) -> sa.ColumnElement[bool]:
    """What lets the index begin at the place."""
    return column <= time_us if down else column >= time_us


def _place(text: str) -> _Place | None:
    if not text:
        return None
    parts = text.split(".")
    if len(parts) != 2 or not all(part.removeprefix("-").isdecimal() or part == "x" for part in parts):
        raise SchemaError(f"{shown(text)} is no place in a list", hint="take the one that the page before gave")
    return _Place(parts[0] != "x", 0 if parts[0] == "x" else int(parts[0]), int(parts[1]))


def _written(place: _Place) -> str:
    return f"{place.time_us if place.timed else 'x'}.{place.number}"

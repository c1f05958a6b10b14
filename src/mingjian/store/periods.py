"""What happened in a period, counted: all figures of one state of the database.

Every count goes through the scope. What happened is told by when the events happened, not by when they came in; only
what cannot be read has no time of its own, and counts by when it came in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.model.rules import LEVELS, Level
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.decisions import concerned
from mingjian.store.detections import rows_as_detections
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.workspace import Workspace

COUNTS_MAX: Final = 100_000
"""So many different values are counted apart at most."""
RULES_MAX: Final = 5_000
"""Of so many rules, those with most detections, the techniques are counted."""
PORTION: Final = 500

CountBy: TypeAlias = Literal["level", "kind", "organisation", "rule", "host", "account"]


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Days since 1970 (UTC), both included, and whose data is meant."""

    first_day: int
    last_day: int
    organisation: OrganisationId | None = None
    """None: every one in the scope."""

    @property
    def first_us(self) -> int:
        """The first moment of it."""
        return self.first_day * US_PER_DAY

    @property
    def until_us(self) -> int:
        """The first moment that is not in it any more."""
        return (self.last_day + 1) * US_PER_DAY

    def before(self) -> Period:
        """The period of the same length right before this one."""
        length = self.last_day - self.first_day + 1
        return Period(
            first_day=self.first_day - length, last_day=self.last_day - length, organisation=self.organisation
        )


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Which detections are counted."""

    organisation: OrganisationId | None = None
    level: Level = "informational"
    """The lowest."""
    rule_id: str | None = None
    host: str | None = None
    first_us: int | None = None
    until_us: int | None = None
    is_hidden: bool = False
    """Those that a suppression hides, instead of those that none does."""


class Count(msgspec.Struct, frozen=True):
    """How many detections have a value."""

    value: str
    """The level, kind, host, account; the id of the rule; the number of the organisation."""
    count: int


class RuleSum(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule found in a period."""

    rule_id: str
    title: str
    level: Level
    kind: str
    attack: tuple[str, ...]
    count: int
    hosts: int


class OrganisationSum(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an organisation in a period."""

    organisation: OrganisationId
    events: int
    detections: int
    grave: int
    """Detections of high level and above."""
    situations: int


class PeriodSums(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is counted of a period."""

    events: int
    streams: int
    levels: Mapping[Level, int]
    kinds: Mapping[str, int]
    grave_hosts: int
    """Hosts with detections of high level and above."""
    hidden: int
    """Detections that a suppression hides."""
    situations: int
    """Something of them happened in the period, whatever became of them."""
    situations_new: int
    """… and nothing before it."""
    situations_grave: int
    """… of high level and above."""
    situations_open: int
    """… and not closed to this day."""
    situations_closed: int
    """Closed in the period."""
    incidents: int
    """Declared in the period, whenever it happened, or about something that happened in it."""
    incidents_open: int
    """… and not closed to this day."""
    unreadable: int
    """Pieces that came in and could not be read."""
    rules: Sequence[RuleSum]
    """Those that found most first."""
    rules_count: int
    organisations: Sequence[OrganisationSum]

    @property
    def detections(self) -> int:
        """All levels together."""
        return sum(self.levels.values())

    @property
    def grave(self) -> int:
        """Detections of high level and above."""
        return self.levels.get("high", 0) + self.levels.get("critical", 0)


def sum_up(workspace: Workspace, scope: Scope, period: Period) -> PeriodSums:
    """Count everything that happened in a period.

    Raises:
        NotFound: the scope does not reach the organisation.
    """
    if period.organisation is not None:
        scope.check_read(period.organisation)
    with workspace.read() as connection:
        levels = _by(connection, scope, _chosen(period), "level")
        grave = _by(connection, scope, _chosen(period, level="high"), "host")
        hidden = _by(connection, scope, _chosen(period, is_hidden=True), "level")
        rules = _rules(connection, scope, period)
        return PeriodSums(
            **_events(connection, scope, period),
            levels={level: count for level in reversed(LEVELS) if (count := levels.get(level, 0))},
            kinds={each: count for each, count in _by(connection, scope, _chosen(period), "kind").items() if count},
            grave_hosts=len(grave.keys() - {""}),
            hidden=sum(hidden.values()),
            **_situations(connection, scope, period),
            **_incidents(connection, scope, period),
            unreadable=_unreadable(connection, scope, period),
            rules=_told(connection, rules[:RULES_MAX]),
            rules_count=len(rules),
            organisations=_organisations(connection, scope, period),
        )


def count_by(workspace: Workspace, scope: Scope, chosen: Chosen, by: CountBy) -> list[Count]:
    """Count detections by a value, the most frequent first.

    Raises:
        NotFound: the scope does not reach the organisation.
    """
    if chosen.organisation is not None:
        scope.check_read(chosen.organisation)
    with workspace.read() as connection:
        found = _by(connection, scope, chosen, by)
    return [Count(value, count) for value, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))]


def _chosen(period: Period, *, level: Level = "informational", is_hidden: bool = False) -> Chosen:
    return Chosen(
        organisation=period.organisation,
        level=level,
        first_us=period.first_us,
        until_us=period.until_us,
        is_hidden=is_hidden,
    )


def _of(scope: Scope, organisation: OrganisationId | None, column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    return within(scope, column) if organisation is None else sa.and_(within(scope, column), column == organisation)


def _conditions(scope: Scope, chosen: Chosen) -> list[sa.ColumnElement[bool]]:
    table = t.detections
    hidden = table.c.suppressed_by
    found = [
        _of(scope, chosen.organisation, table.c.organisation_id),
        hidden.is_not(None) if chosen.is_hidden else hidden.is_(None),
    ]
    if chosen.level != LEVELS[0]:
        found.append(table.c.level.in_(LEVELS[LEVELS.index(chosen.level) :]))
    if chosen.rule_id is not None:
        found.append(table.c.rule_id == t.storable(chosen.rule_id))
    if chosen.host is not None:
        found.append(sa.func.lower(table.c.host) == t.storable(chosen.host).lower())
    if chosen.first_us is not None:
        found.append(table.c.time_us >= chosen.first_us)
    if chosen.until_us is not None:
        found.append(table.c.time_us < chosen.until_us)
    return found


def _by(connection: sa.Connection, scope: Scope, chosen: Chosen, by: CountBy) -> dict[str, int]:
    table = t.detections
    column = table.c[{"rule": "rule_id", "organisation": "organisation_id"}.get(by, by)]
    query = (
        sa.select(column, sa.func.count())
        .where(*_conditions(scope, chosen))
        .group_by(column)
        .order_by(sa.func.count().desc(), column)
        .limit(COUNTS_MAX)
    )
    return {str(value): int(count) for value, count in connection.execute(query)}


def _events(connection: sa.Connection, scope: Scope, period: Period) -> dict[str, Any]:
    days, table = t.segment_days, t.segments
    query = (
        sa.select(sa.func.coalesce(sa.func.sum(days.c.rows), 0), sa.func.count(sa.distinct(table.c.stream_id)))
        .join(table, table.c.id == days.c.segment_id)
        .where(_of_days(scope, period))
    )
    events, streams = connection.execute(query).one()
    return {"events": int(events), "streams": int(streams)}


def _of_days(scope: Scope, period: Period) -> sa.ColumnElement[bool]:
    """The days of live segments that are meant, with ``segments`` joined to ``segment_days``."""
    table = t.segments
    return sa.and_(
        table.c.state == "live",
        _of(scope, period.organisation, table.c.organisation_id),
        t.segment_days.c.day.between(period.first_day, period.last_day),
    )


def _situations(connection: sa.Connection, scope: Scope, period: Period) -> dict[str, Any]:
    table = s.situations
    first, until = period.first_us, period.until_us

    def ones(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)

    active = sa.and_(table.c.first_us < until, table.c.last_us >= first)
    query = sa.select(
        ones(active),
        ones(sa.and_(active, table.c.first_us >= first)),
        ones(sa.and_(active, table.c.level.in_(("high", "critical")))),
        ones(sa.and_(active, table.c.state != "closed")),
        ones(sa.and_(table.c.closed_us >= first, table.c.closed_us < until)),
    ).where(table.c.is_live > 0, _of(scope, period.organisation, table.c.organisation_id))
    names = ("situations", "situations_new", "situations_grave", "situations_open", "situations_closed")
    return dict(zip(names, map(int, connection.execute(query).one()), strict=True))


def _incidents(connection: sa.Connection, scope: Scope, period: Period) -> dict[str, Any]:
    table = s.incidents
    of = _of(scope, period.organisation, table.c.organisation_id)
    count = sa.select(sa.func.count()).select_from(table)
    about = count.join(s.situations, s.situations.c.id == table.c.situation_id).where(
        of, concerned(period.first_us, period.until_us)
    )
    still = about.where(table.c.state != "closed")
    return {
        "incidents": connection.execute(about).scalar_one(),
        "incidents_open": connection.execute(still).scalar_one(),
    }


def _unreadable(connection: sa.Connection, scope: Scope, period: Period) -> int:
    table = t.quarantine
    query = (
        sa.select(sa.func.count())
        .select_from(table)
        .where(
            _of(scope, period.organisation, table.c.organisation_id),
            table.c.received_us >= period.first_us,
            table.c.received_us < period.until_us,
        )
    )
    return connection.execute(query).scalar_one()


def _rules(connection: sa.Connection, scope: Scope, period: Period) -> Sequence[sa.Row[int, int, Any]]:
    table = t.detections
    query = (
        sa.select(
            sa.func.count().label("found"),
            sa.func.count(sa.distinct(sa.func.nullif(table.c.host, ""))).label("hosts"),
            sa.func.max(table.c.id).label("last_id"),
        )
        .where(*_conditions(scope, _chosen(period)))
        .group_by(table.c.rule_id)
        .order_by(sa.func.count().desc(), table.c.rule_id)
        .limit(COUNTS_MAX)
    )
    return connection.execute(query).all()


def _told(connection: sa.Connection, rules: Sequence[sa.Row[int, int, Any]]) -> list[RuleSum]:
    """Title, level and techniques of rules, as their latest detections have them."""
    table = t.detections
    known: dict[int, RuleSum] = {}
    of = {row.last_id: row for row in rules}
    for start in range(0, len(rules), PORTION):
        wanted = [row.last_id for row in rules[start : start + PORTION]]
        query = (
            sa.select(table, t.streams.c.name.label("stream"))
            .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
            .where(table.c.id.in_(wanted))
        )
        for each in rows_as_detections(connection.execute(query)):
            one = each.detection
            known[each.id] = RuleSum(
                rule_id=one.rule_id,
                title=one.rule_title,
                level=one.level,
                kind=one.kind,
                attack=one.attack,
                count=of[each.id].found,
                hosts=of[each.id].hosts,
            )
    return [known[row.last_id] for row in rules]


def _organisations(connection: sa.Connection, scope: Scope, period: Period) -> list[OrganisationSum]:
    table, days, groups = t.segments, t.segment_days, s.situations
    events = dict(
        connection.execute(
            sa.select(table.c.organisation_id, sa.func.sum(days.c.rows))
            .join(days, days.c.segment_id == table.c.id)
            .where(_of_days(scope, period))
            .group_by(table.c.organisation_id)
        ).all()
    )
    found = _by(connection, scope, _chosen(period), "organisation")
    grave = _by(connection, scope, _chosen(period, level="high"), "organisation")
    active = dict(
        connection.execute(
            sa.select(groups.c.organisation_id, sa.func.count())
            .where(
                groups.c.is_live > 0,
                _of(scope, period.organisation, groups.c.organisation_id),
                groups.c.first_us < period.until_us,
                groups.c.last_us >= period.first_us,
            )
            .group_by(groups.c.organisation_id)
        ).all()
    )
    known = t.organisations
    ids = connection.execute(sa.select(known.c.id).where(_of(scope, period.organisation, known.c.id)))
    return [
        OrganisationSum(
            organisation=OrganisationId(number),
            events=int(events.get(number, 0)),
            detections=found.get(str(number), 0),
            grave=grave.get(str(number), 0),
            situations=active.get(number, 0),
        )
        for number in sorted(ids.scalars())
    ]

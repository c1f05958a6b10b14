"""What is new, and what was changed: for the picture of the situation."""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias

import sqlalchemy as sa

from mingjian.model.rules import LEVELS, Level
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.workspace import Workspace

CHANGES_MAX: Final = 100
RULES_LOOKED_AT_MAX: Final = 500
"""Of so many rules that found something it is looked whether they ever did before."""

ChangeKind: TypeAlias = Literal["rules", "retired", "indicators", "suppressions"]


class Change(NamedTuple):
    """Something that was changed on a day."""

    day: int
    kind: ChangeKind
    name: str
    """Of the feed or the suppression; of rules nothing."""
    several: int


class NewRule(NamedTuple):
    """A rule that found something for the first time."""

    rule_id: str
    title: str
    level: Level
    several: int
    first_us: int


def situations_created(
    workspace: Workspace, scope: Scope, since_us: int, organisation: OrganisationId | None = None
) -> list[int]:
    """When situations came up since a moment, those that became parts of others left out; in the order of time."""
    table = s.situations
    conditions = [table.c.is_live > 0, table.c.created_us >= since_us, within(scope, table.c.organisation_id)]
    if organisation is not None:
        conditions.append(table.c.organisation_id == organisation)
    query = sa.select(table.c.created_us).where(*conditions).order_by(table.c.created_us)
    with workspace.read() as connection:
        return list(connection.execute(query).scalars())


def new_rules(
    workspace: Workspace, scope: Scope, since_us: int, organisation: OrganisationId | None = None, *, limit: int = 10
) -> list[NewRule]:
    """The rules that found something in events since a moment, and never before; the gravest first."""
    table = t.detections
    mine = [within(scope, table.c.organisation_id), table.c.suppressed_by.is_(None)]
    if organisation is not None:
        mine.append(table.c.organisation_id == organisation)
    recent = (
        sa.select(
            table.c.rule_id,
            sa.func.max(table.c.rule_title),
            table.c.level,
            sa.func.count(),
            sa.func.min(table.c.time_us),
        )
        .where(*mine, table.c.time_us >= since_us)
        .group_by(table.c.rule_id, table.c.level)
    )
    with workspace.read() as connection:
        rows = sorted(connection.execute(recent), key=lambda row: (-LEVELS.index(row[2]), -row[3], row[0]))
        found: list[NewRule] = []
        for row in rows[:RULES_LOOKED_AT_MAX]:
            before = (
                sa.select(sa.literal(1)).where(*mine, table.c.rule_id == row[0], table.c.time_us < since_us).limit(1)
            )
            if len(found) < limit and connection.execute(before).first() is None:
                found.append(NewRule(*row))
    return found


def changes(workspace: Workspace, scope: Scope, first_day: int, last_day: int) -> list[Change]:
    """What was changed on some days, in the order of days: rules, feeds, suppressions."""
    first_us, until_us = first_day * US_PER_DAY, (last_day + 1) * US_PER_DAY

    def of(column: sa.Column[int]) -> sa.ColumnElement[bool]:
        return sa.and_(column >= first_us, column < until_us)

    rules, sets, series, hidden = t.rule_versions, t.indicator_sets, t.indicator_series, s.suppressions
    shared_or_seen = sa.or_(series.c.organisation_id.is_(None), within(scope, series.c.organisation_id))
    queries: dict[ChangeKind, sa.Select[Any, Any]] = {
        "rules": sa.select(rules.c.added_us, sa.literal("")).where(of(rules.c.added_us)),
        "retired": sa.select(rules.c.retired_us, sa.literal("")).where(of(rules.c.retired_us)),
        "indicators": sa.select(sets.c.added_us, series.c.name)
        .join(series, series.c.id == sets.c.series_id)
        .where(of(sets.c.added_us), shared_or_seen),
        "suppressions": sa.select(hidden.c.created_us, hidden.c.title).where(
            of(hidden.c.created_us), sa.or_(hidden.c.organisation_id.is_(None), within(scope, hidden.c.organisation_id))
        ),
    }
    counts: dict[tuple[int, ChangeKind, str], int] = {}
    with workspace.read() as connection:
        for kind, query in queries.items():
            for when, name in connection.execute(query):
                key = (when // US_PER_DAY, kind, name)
                counts[key] = counts.get(key, 0) + 1
    return [Change(*key, several) for key, several in sorted(counts.items())][-CHANGES_MAX:]

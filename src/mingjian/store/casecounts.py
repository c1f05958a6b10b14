"""Situations counted by what they have in common."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import sqlalchemy as sa

from mingjian.model.rules import LEVELS
from mingjian.store import situationtables as s
from mingjian.store.browsing import Group, Groups
from mingjian.store.scope import Scope
from mingjian.store.situations import SituationFilter, conditions_of
from mingjian.store.workspace import Workspace

GroupBy: TypeAlias = Literal["state", "level", "owner", "organisation", "resolution"]
_GROUPS: Final[dict[GroupBy, str]] = {
    "state": "state",
    "level": "level",
    "owner": "owner",
    "organisation": "organisation_id",
    "resolution": "resolution",
}
GROUPS_MAX: Final = 200
"""So many groups are listed."""


def groups_of_situations(workspace: Workspace, scope: Scope, wanted: SituationFilter, by: GroupBy) -> Groups:
    """Count situations by what they have in a column, those with the most first. Raises: NotFound."""
    table = s.situations
    column = table.c[_GROUPS[by]]
    worst = sa.func.max(sa.case({each: place for place, each in enumerate(LEVELS)}, value=table.c.level))
    query = (
        sa.select(column, sa.func.count(), worst, sa.func.max(table.c.last_us))
        .where(*conditions_of(scope, wanted))
        .group_by(column)
        .order_by(sa.func.count().desc(), column)
    )
    with workspace.read() as connection:
        rows = connection.execute(query).all()
    listed = tuple(
        Group(value=str(row[0]), title="", count=int(row[1]), level=LEVELS[int(row[2])], last_us=row[3])
        for row in rows[:GROUPS_MAX]
    )
    return Groups(groups=listed, several=len(rows), total=sum(row[1] for row in rows), is_cut=False)

"""Labels of rules: title, level and tags, which are no part of what a rule matches.

Who gives a rule other ones makes no new version: nothing is run again. What was found under the version so far, and the
situations that it is in, are told anew, as a job (``hunt.errands``) that begins where it was killed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

import sqlalchemy as sa

from mingjian.model.rules import LEVELS, AnyRule
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.evidence import forget_grouped_state
from mingjian.store.marks import LABELS_OF_DETECTIONS, renew_mark
from mingjian.store.scope import OrganisationId
from mingjian.store.workspace import Workspace

PORTION: Final = 500
"""So many detections are told anew in one transaction."""


def relabel(workspace: Workspace, version_id: int, rule: AnyRule) -> Iterator[int]:
    """Give what was found under a version the labels of its rule, and let what it is in be grouped anew.

    Gives after each transaction how many detections it has looked at. May be ended and repeated at any time.

    Raises:
        StorageError: the database cannot keep it.
    """
    table, after = t.detections, 0
    while True:
        with workspace.begin() as connection:
            query = (
                sa.select(table.c.id, table.c.organisation_id, table.c.rule_title, table.c.level, table.c.details)
                .where(table.c.rule_version_id == version_id, table.c.id > after)
                .order_by(table.c.id)
                .limit(PORTION)
            )
            rows = connection.execute(query).all()
            if not rows:
                return
            after = rows[-1].id
            told = [(row.id, row.organisation_id, row.rule_title, row.level, row.details) for row in rows]
            _tell_anew(connection, told, rule)
        yield len(rows)


def _tell_anew(connection: sa.Connection, rows: Sequence[tuple[int, int, str, str, str]], rule: AnyRule) -> None:
    changed: list[dict[str, object]] = []
    owners: set[int] = set()
    title = t.storable(rule.title)
    for number, owner, known_title, level, details in rows:
        told = json.loads(details)
        if (known_title, level, tuple(told.get("attack", ()))) == (title, rule.level, rule.attack):
            continue
        told.pop("attack", None)
        more = json.dumps(told | ({"attack": rule.attack} if rule.attack else {}))
        changed.append({"row": number, "rule_title": rule.title, "level": rule.level, "details": more})
        owners.add(owner)
    if not changed:
        return
    connection.execute(sa.update(t.detections).where(t.detections.c.id == sa.bindparam("row")), changed)
    found = s.evidence
    levels = [{"row": each["row"], "level": LEVELS.index(rule.level)} for each in changed]
    connection.execute(sa.update(found).where(found.c.detection_id == sa.bindparam("row")), levels)
    for owner in sorted(owners):
        forget_grouped_state(connection, OrganisationId(owner))
    renew_mark(connection, LABELS_OF_DETECTIONS)

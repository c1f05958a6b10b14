"""Totals are what counting every detection anew finds, whatever came, went or was hidden meanwhile."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any

import pytest
import sqlalchemy as sa

from lakes import OPERATOR
from mingjian.model.rules import LEVELS, Level
from mingjian.store import tables as t
from mingjian.store.browsing import Noise
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.evidence import hide
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.totals import Totals
from mingjian.store.workspace import Workspace
from situated import START_US, Seen, put

FIRST, LAST = START_US // US_PER_DAY, START_US // US_PER_DAY + 5


class Always:
    """A clock on which it is always time to look again."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 10
        return self.now_s


def some(chance: random.Random, count: int) -> list[Seen]:
    return [
        Seen(
            minute=chance.choice((None, chance.randrange(-2000, 9000))),
            rule=chance.choice("abc"),
            level=chance.choice(LEVELS),
            host=chance.choice(("", "pc-1", "pc-2", 'a "b", c', "d\r\ne", '"', "明,")),
        )
        for _ in range(count)
    ]


def agrees(workspace: Workspace, totals: Totals, scope: Scope, organisation: OrganisationId | None) -> None:
    """Every total is that of looking at each row."""
    with workspace.read() as connection:
        rows = [
            row
            for row in connection.execute(sa.select(t.detections))
            if row.suppressed_by is None
            and scope.may_read(row.organisation_id)
            and organisation in (None, row.organisation_id)
        ]
    day = {row.id: None if row.time_us is None else row.time_us // US_PER_DAY for row in rows}
    inside = [row for row in rows if day[row.id] is not None and FIRST <= day[row.id] <= LAST]
    found = totals.by_day(scope, FIRST, LAST, organisation=organisation)
    assert {(each.day, each.level): each.count for each in found} == Counter((day[row.id], row.level) for row in inside)
    assert [each.day for each in found] == sorted(each.day for each in found)
    by_level = Counter(row.level for row in rows)
    assert totals.by_level(scope, organisation=organisation) == {level: by_level[level] for level in LEVELS}
    if organisation is None:
        grave = [row for row in inside if row.level in LEVELS[2:]]
        counted = totals.by_organisation(scope, FIRST, LAST)
        assert {each[:2]: each[2] for each in counted} == Counter((row.organisation_id, day[row.id]) for row in grave)
    assert totals.by_rule(scope, organisation=organisation) == {
        rule: Noise(
            rule_id=rule,
            count=len(own),
            hosts=len({row.host for row in own}),
            last_us=max((row.time_us for row in own if row.time_us is not None), default=None),
        )
        for rule in {row.rule_id for row in rows}
        if (own := [row for row in rows if row.rule_id == rule])
    }


def test_totals_follow_what_comes_goes_and_is_hidden(workspace: Workspace, organisation: Organisation) -> None:
    chance = random.Random(3)
    other = organisation_named(workspace, OPERATOR, "another", make=True)
    totals = Totals(workspace, Always())
    scopes = [(OPERATOR, None), (OPERATOR, organisation.id), (Scope.of_member("m", [other.id]), None)]
    ids: list[int] = []
    for step in range(8):
        if step % 4 == 2:
            with workspace.begin() as connection:
                hide(connection, {7: chance.sample(ids, 5)})
        elif step % 4 == 3:
            with workspace.begin() as connection:
                connection.execute(sa.delete(t.detections).where(t.detections.c.id.in_(chance.sample(ids, 5))))
                connection.execute(sa.update(t.detections).values(suppressed_by=None))
        else:
            ids += put(workspace, chance.choice((organisation, other)), some(chance, 30), first=step * 100)
        for scope, owner in scopes:
            agrees(workspace, totals, scope, owner)


def test_nobody_waits_for_somebody_else_who_looks(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = Totals(workspace, Always())
    put(workspace, organisation, some(random.Random(3), 5))
    before = totals.by_level(OPERATOR)
    put(workspace, organisation, some(random.Random(4), 7), first=100)
    follow = totals._followed  # what is waited for here, and nobody waits for elsewhere
    looks, may_go_on = threading.Event(), threading.Event()

    def slowly(*known: Any) -> Any:
        looks.set()
        assert may_go_on.wait(60)
        return follow(*known)

    monkeypatch.setattr(totals, "_followed", slowly)
    found: list[dict[Level, int]] = []
    looking = threading.Thread(target=lambda: found.append(totals.by_level(OPERATOR)))
    looking.start()
    assert looks.wait(60)
    assert totals.by_level(OPERATOR) == before
    assert looking.is_alive()
    may_go_on.set()
    looking.join(60)
    assert sum(before.values()) == 5
    assert [sum(each.values()) for each in found] == [12]


def test_nothing_is_counted_as_nothing(workspace: Workspace, organisation: Organisation) -> None:
    totals = Totals(workspace)
    agrees(workspace, totals, OPERATOR, None)
    assert totals.by_rule(OPERATOR) == {}
    put(workspace, organisation, [Seen(0)])
    assert totals.by_rule(OPERATOR) == {}, "it was looked a moment ago"

"""When events came in last, for whoever may know."""

from __future__ import annotations

import sqlalchemy as sa

from lakes import OPERATOR, kept
from mingjian.store import tables as t
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.inflow import last_received_us
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace


def test_events_came_in_last_when_the_newest_segment_of_what_may_be_seen_did(
    workspace: Workspace, organisation: Organisation
) -> None:
    other = organisation_named(workspace, OPERATOR, "another", make=True)
    ours, theirs = Scope.of_member("m", [organisation.id]), Scope.of_member("m", [other.id])
    assert last_received_us(workspace, OPERATOR) is None
    for owner, name, committed_us in ((organisation, "a", 7), (organisation, "b", 5), (other, "c", 9)):
        segment = kept(workspace, owner, [{"Image": name}])
        with workspace.begin() as connection:
            change = sa.update(t.segments).where(t.segments.c.id == segment.id)
            connection.execute(change.values(committed_us=committed_us))
    assert last_received_us(workspace, OPERATOR) == last_received_us(workspace, theirs) == 9
    assert last_received_us(workspace, ours) == last_received_us(workspace, OPERATOR, organisation.id) == 7

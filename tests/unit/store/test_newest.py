"""What was found since the last look: whoever may see it learns of it, nobody else does."""

from __future__ import annotations

from lakes import OPERATOR
from mingjian.store.catalogue import organisation_named
from mingjian.store.newest import Newest
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace
from situated import Seen, put


class Clock:
    """Seconds as a test wants them."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_what_was_found_is_told_to_those_who_may_see_it(workspace: Workspace) -> None:
    ours, theirs = (organisation_named(workspace, OPERATOR, name, make=True) for name in ("ours", "theirs"))
    member = Scope.of_member("m", [ours.id])
    clock = Clock()
    newest = Newest(workspace, clock)
    put(workspace, ours, [Seen(0)])
    assert newest.detection(member) == newest.detection(OPERATOR) == 0, "what was there before is no news"
    put(workspace, theirs, [Seen(0)], first=5)
    clock.now_s += 10
    seen = newest.detection(OPERATOR)
    assert seen > 0
    assert newest.detection(member) == 0
    put(workspace, ours, [Seen(0), Seen(1)], first=9)
    assert newest.detection(member) == 0, "it is not time to look again"
    clock.now_s += 10
    assert newest.detection(member) == newest.detection(OPERATOR) > seen

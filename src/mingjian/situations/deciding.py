"""What a person decides that changes which detections belong together: it is kept, and grouped anew at once."""

from __future__ import annotations

from collections.abc import Sequence

from mingjian.situations.regrouping import regroup
from mingjian.store import decisions
from mingjian.store.scope import Scope
from mingjian.store.situations import Resolution, SituationState, StoredSituation, situation_by_id
from mingjian.store.workspace import Workspace


def split(workspace: Workspace, scope: Scope, public_id: str, detections: Sequence[str]) -> StoredSituation:
    """Take detections (public ids) out of a situation. They are another one from now on, and stay so.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        SchemaError: the detections are not some, but not all, of those that hold it together.
    """
    changed = decisions.split(workspace, scope, public_id, detections)
    regroup(workspace, scope, changed.organisation)
    return situation_by_id(workspace, scope, public_id)


def merge(workspace: Workspace, scope: Scope, public_id: str, others: Sequence[str]) -> StoredSituation:
    """Put situations of one organisation together. They are one from now on, and stay so; give that one.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        SchemaError: they are of different organisations, or there is only one.
    """
    changed = decisions.merge(workspace, scope, public_id, others)
    regroup(workspace, scope, changed.organisation)
    return situation_by_id(workspace, scope, public_id)


def undo(workspace: Workspace, scope: Scope, act: str) -> StoredSituation:
    """Take a split or a merge back (by the public id of the act, out of the history).

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        StateError: it is undone already, or nothing that can be.
    """
    changed = decisions.undo(workspace, scope, act)
    regroup(workspace, scope, changed.organisation)
    return situation_by_id(workspace, scope, changed.public_id)


def judge(
    workspace: Workspace,
    scope: Scope,
    detections: Sequence[str],
    state: SituationState,
    resolution: Resolution = "",
    *,
    reason: str = "",
) -> None:
    """Say of detections (public ids) what they are; false and harmless ones hold no situation any more.

    Raises:
        NotFound, NotPermitted: one of them is not there, or may not be changed; then nothing is changed.
        SchemaError: one is closed without a verdict, or has one without being closed.
    """
    for organisation in decisions.judge_detections(workspace, scope, detections, state, resolution, reason=reason):
        regroup(workspace, scope, organisation)

"""Situations and incidents: read one, judge, comment, give tasks, split, merge, undo, declare."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field
from starlette.responses import Response

from mingjian.console.api.frame import (
    Asked,
    Done,
    IdempotencyKey,
    Ids,
    IfMatch,
    Made,
    Name,
    PublicId,
    Reading,
    Resolution,
    State,
    Text,
    Writing,
    at,
    name_of,
    once,
    tagged,
    unchanged,
)
from mingjian.console.site import Visit
from mingjian.errors import InputError, NotFound
from mingjian.situations.deciding import judge, merge, split, undo
from mingjian.situations.showing import Situation, situation
from mingjian.store import decisions
from mingjian.store.decisions import Incident

MEMBERS_LISTED_MAX: Final = 1_000
"""So many detections of a situation are in its answer, the earliest first."""
JOINS_LISTED_MAX: Final = 500
"""So many joins, the strongest first."""

Subject: TypeAlias = Literal["situations", "incidents"]


class SituationChange(Asked):
    """What is to be changed; what is not named stays."""

    state: State | None = None
    resolution: Resolution = ""
    """Needed to close it: what it was."""
    reason: Text = ""
    owner: Name | None = None
    """Empty: nobody's."""


class IncidentChange(Asked):
    """What is to be changed; what is not named stays."""

    state: State | None = None
    owner: Name | None = None
    title: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class Comment(Asked):
    """Something to say."""

    text: Annotated[Text, Field(min_length=1)]


class Task(Asked):
    """Something to do."""

    text: Annotated[Text, Field(min_length=1)]
    owner: Name = ""
    due: datetime.datetime | None = None


class TaskChange(Asked):
    """Whether it is done."""

    done: bool


class Declaration(Asked):
    """An incident, as a person calls it."""

    title: Annotated[str, Field(min_length=1, max_length=500)]
    owner: Name = ""


class Detections(Asked):
    """Ids of detections."""

    detections: Ids


class Others(Asked):
    """Ids of situations."""

    situations: Ids


class Verdict(Asked):
    """What detections are."""

    detections: Ids
    state: State = "closed"
    resolution: Resolution = ""
    reason: Text = ""


class MemberItem(BaseModel):
    """A detection of a situation."""

    id: str
    time: str | None
    level: str
    title: str
    host: str
    account: str
    techniques: list[str]
    tactics: list[str]
    is_core: bool
    """It holds the situation together; else it stands beside it."""
    verdict: str
    """What a person said of it; empty if nobody did."""


class JoinItem(BaseModel):
    """Why two detections are together."""

    earlier: str
    later: str
    kind: str
    value: str
    reason: str
    strength: float
    against: list[str]


class TermItem(BaseModel):
    """A term of the danger."""

    name: str
    value: float
    says: str


class CommentItem(BaseModel):
    """What somebody wrote."""

    by: str
    at: str | None
    text: str


class TaskItem(BaseModel):
    """Something that somebody is to do."""

    id: str
    text: str
    owner: str
    by: str
    created: str | None
    due: str | None
    done: str | None


class ActItem(BaseModel):
    """An entry of the history."""

    id: str
    kind: str
    by: str
    at: str | None
    details: dict[str, Any]
    is_undone: bool
    can_be_undone: bool


class IncidentItem(BaseModel):
    """A situation that a person has declared."""

    id: str
    situation: str
    title: str
    state: str
    owner: str
    by: str
    organisation: str
    created: str | None
    changed: str | None
    closed: str | None


class IncidentState(IncidentItem):
    """An incident with what was said and is to be done."""

    comments: list[CommentItem]
    tasks: list[TaskItem]


class SituationState(BaseModel):
    """A situation with everything that is known of it."""

    id: str
    title: str
    why: str
    danger: float
    terms: list[TermItem]
    level: str
    state: str
    resolution: str
    owner: str
    organisation: str
    detections: int
    hosts: int
    first: str | None
    last: str | None
    changed: str | None
    members: list[MemberItem]
    members_left_out: int
    joins: list[JoinItem]
    entities: list[dict[str, Any]]
    related: list[dict[str, Any]]
    history: list[ActItem]
    comments: list[CommentItem]
    tasks: list[TaskItem]
    incidents: list[IncidentItem]
    emptied: bool
    """Nothing of it is in the queue any more: its detections were judged away, are hidden, or are gone."""


def add_to(router: APIRouter) -> None:
    """Add the operations."""
    _add_reading(router)
    _add_changes(router)
    _add_grouping(router)
    _add_incidents(router)
    for subject in ("situations", "incidents"):
        _add_case(router, subject)


# --- values ----------------------------------------------------------------------------------------------------------


def _comments(comments: Any) -> list[CommentItem]:
    return [CommentItem(by=each.actor, at=at(each.at_us), text=each.text) for each in comments]


def _tasks(tasks: Any) -> list[TaskItem]:
    return [
        TaskItem(
            id=each.public_id,
            text=each.text,
            owner=each.owner,
            by=each.actor,
            created=at(each.created_us),
            due=at(each.due_us),
            done=at(each.done_us),
        )
        for each in tasks
    ]


def _incident(visit: Visit, each: Incident) -> IncidentItem:
    return IncidentItem(
        id=each.public_id,
        situation=each.situation,
        title=each.title,
        state=each.state,
        owner=each.owner,
        by=each.actor,
        organisation=name_of(visit, each.organisation),
        created=at(each.created_us),
        changed=at(each.changed_us),
        closed=at(each.closed_us),
    )


def _members(found: Situation) -> list[MemberItem]:
    return [
        MemberItem(
            id=each.detection.public_id,
            time=at(one.time_us),
            level=one.level,
            title=one.rule_title,
            host=one.host,
            account=one.account,
            techniques=list(one.attack),
            tactics=list(each.tactics),
            is_core=each.is_core,
            verdict="" if each.verdict is None else each.verdict.resolution or each.verdict.state,
        )
        for each in found.members
        for one in (each.detection.detection,)
    ]


def _joins(found: Situation) -> list[JoinItem]:
    return [
        JoinItem(
            earlier=each.earlier,
            later=each.later,
            kind=each.kind,
            value=each.value,
            reason=each.reason,
            strength=each.strength,
            against=list(each.against),
        )
        for each in found.joins[:JOINS_LISTED_MAX]
    ]


def state_of(visit: Visit, public_id: str) -> SituationState:
    """A situation for programs. Raises: NotFound."""
    found = situation(visit.workspace, visit.scope, public_id, visit.language, members_max=MEMBERS_LISTED_MAX)
    stored = found.stored
    return SituationState(
        id=stored.public_id,
        title=found.title,
        why=found.why,
        danger=found.danger,
        terms=[TermItem(name=each.name, value=each.value, says=each.says) for each in found.terms],
        level=stored.level,
        state=stored.state,
        resolution=stored.resolution,
        owner=stored.owner,
        organisation=name_of(visit, stored.organisation),
        detections=stored.detections,
        hosts=stored.hosts,
        first=at(stored.first_us),
        last=at(stored.last_us),
        changed=at(stored.changed_us),
        emptied=stored.is_emptied,
        members=_members(found),
        members_left_out=found.members_left_out,
        joins=_joins(found),
        entities=[
            {"kind": each.kind, "value": each.value, "detections": each.detections, "hosts": each.hosts,
             "is_bad": each.is_bad}
            for each in found.entities
        ],
        related=[
            {"id": each.situation.public_id, "title": each.title, "shared": each.shared} for each in found.related
        ],
        history=[
            ActItem(
                id=each.public_id,
                kind=each.kind,
                by=each.actor,
                at=at(each.at_us),
                details=dict(each.details),
                is_undone=each.is_undone,
                can_be_undone=each.can_be_undone,
            )
            for each in found.history
        ],
        comments=_comments(found.comments),
        tasks=_tasks(found.tasks),
        incidents=[_incident(visit, each) for each in found.incidents],
    )  # fmt: skip


def incident_of(visit: Visit, public_id: str) -> IncidentState:
    """An incident for programs. Raises: NotFound."""
    workspace, scope = visit.workspace, visit.scope
    found = decisions.incident_by_id(workspace, scope, public_id)
    return IncidentState(
        **_incident(visit, found).model_dump(),
        comments=_comments(decisions.comments_on(workspace, scope, "incident", public_id)),
        tasks=_tasks(decisions.tasks_of(workspace, scope, "incident", public_id)),
    )


# --- operations ------------------------------------------------------------------------------------------------------


def _add_reading(router: APIRouter) -> None:
    @router.get("/situations/{id}", response_model=SituationState, operation_id="get-situation")
    def one(visit: Reading, id: PublicId) -> Response:
        """One situation: why it is one, how dangerous, its detections, joins, history. Merged: what it became."""
        return tagged(visit, state_of(visit, id))

    @router.get("/incidents/{id}", response_model=IncidentState, operation_id="get-incident")
    def incident(visit: Reading, id: PublicId) -> Response:
        """One incident."""
        return tagged(visit, incident_of(visit, id))


def _add_changes(router: APIRouter) -> None:
    @router.patch("/situations/{id}", response_model=SituationState, operation_id="change-situation")
    def change(
        visit: Writing, id: PublicId, order: Annotated[SituationChange, Body()], if_match: IfMatch = None
    ) -> Response:
        """Take a situation into work, close it with a verdict, open it again, say whose it is."""
        workspace, scope = visit.workspace, visit.scope
        seen = situation(workspace, scope, id, visit.language, members_max=1).stored
        # What was read is compared first; between that and the change the time of the last change is.
        changed_us = seen.changed_us if unchanged(if_match, state_of(visit, id)) else None
        if order.state is not None:
            seen = decisions.set_state(
                workspace, scope, id, order.state, order.resolution, reason=order.reason, changed_us=changed_us
            )
            changed_us = None if changed_us is None else seen.changed_us
        if order.owner is not None:
            decisions.set_owner(workspace, scope, id, order.owner, changed_us=changed_us)
        return tagged(visit, state_of(visit, id))

    @router.post("/detections/verdict", response_model=Done, operation_id="judge-detections")
    def verdict(visit: Writing, order: Annotated[Verdict, Body()], idempotency_key: IdempotencyKey = None) -> Response:
        """Say of detections what they are. False and harmless ones hold no situation any more."""

        def act() -> tuple[int, object]:
            judge(visit.workspace, visit.scope, order.detections, order.state, order.resolution, reason=order.reason)
            return 200, Done()

        return once(visit, idempotency_key, order, act)


def _add_grouping(router: APIRouter) -> None:
    @router.post("/situations/{id}/split", response_model=SituationState, operation_id="split-situation")
    def take_out(
        visit: Writing, id: PublicId, order: Annotated[Detections, Body()], idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Take detections out of a situation. They are another one from now on, and stay so."""

        def act() -> tuple[int, object]:
            split(visit.workspace, visit.scope, id, order.detections)
            return 200, state_of(visit, id)

        return once(visit, idempotency_key, order, act)

    @router.post("/situations/{id}/merge", response_model=SituationState, operation_id="merge-situations")
    def put_together(
        visit: Writing, id: PublicId, order: Annotated[Others, Body()], idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Put situations of one organisation together. They are one from now on, and stay so."""

        def act() -> tuple[int, object]:
            merge(visit.workspace, visit.scope, id, order.situations)
            return 200, state_of(visit, id)

        return once(visit, idempotency_key, order, act)

    @router.post("/situations/{id}/acts/{act}/undo", response_model=SituationState, operation_id="undo-act")
    def take_back(visit: Writing, id: PublicId, act: PublicId, idempotency_key: IdempotencyKey = None) -> Response:
        """Take a split or a merge of a situation back."""

        def do() -> tuple[int, object]:
            history = situation(visit.workspace, visit.scope, id, visit.language, members_max=1).history
            if not any(each.public_id == act for each in history):
                raise NotFound("there is no such act")
            undo(visit.workspace, visit.scope, act)
            return 200, state_of(visit, id)

        return once(visit, idempotency_key, None, do)


def _add_incidents(router: APIRouter) -> None:
    @router.post(
        "/situations/{id}/incident", response_model=IncidentState, status_code=201, operation_id="declare-incident"
    )
    def declare(
        visit: Writing, id: PublicId, order: Annotated[Declaration, Body()], idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Declare an incident from a situation, which is in work from then on."""

        def act() -> tuple[int, object]:
            made = decisions.declare(visit.workspace, visit.scope, id, order.title, owner=order.owner)
            return 201, incident_of(visit, made.public_id)

        return once(visit, idempotency_key, order, act)

    @router.patch("/incidents/{id}", response_model=IncidentState, operation_id="change-incident")
    def change(
        visit: Writing, id: PublicId, order: Annotated[IncidentChange, Body()], if_match: IfMatch = None
    ) -> Response:
        """Change state, owner or title of an incident."""
        seen = decisions.incident_by_id(visit.workspace, visit.scope, id)
        changed_us = seen.changed_us if unchanged(if_match, incident_of(visit, id)) else None
        decisions.change_incident(
            visit.workspace,
            visit.scope,
            id,
            state=order.state,
            owner=order.owner,
            title=order.title,
            changed_us=changed_us,
        )
        return tagged(visit, incident_of(visit, id))

    @router.patch("/tasks/{id}", response_model=Done, operation_id="change-task")
    def finish(visit: Writing, id: PublicId, order: Annotated[TaskChange, Body()]) -> Response:
        """Say that a task is done, or is not."""
        decisions.finish_task(visit.workspace, visit.scope, id, done=order.done)
        return tagged(visit, Done())


def _add_case(router: APIRouter, subject: Subject) -> None:
    about: Literal["situation", "incident"] = "situation" if subject == "situations" else "incident"

    @router.post(f"/{subject}/{{id}}/comments", response_model=Done, status_code=201, operation_id=f"comment-{about}")
    def comment(
        visit: Writing, id: PublicId, order: Annotated[Comment, Body()], idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Write something about it."""

        def act() -> tuple[int, object]:
            decisions.add_comment(visit.workspace, visit.scope, about, id, order.text)
            return 201, Done()

        return once(visit, idempotency_key, order, act)

    @router.post(f"/{subject}/{{id}}/tasks", response_model=Made, status_code=201, operation_id=f"add-{about}-task")
    def task(
        visit: Writing, id: PublicId, order: Annotated[Task, Body()], idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Give somebody something to do."""

        def act() -> tuple[int, object]:
            made = decisions.add_task(
                visit.workspace, visit.scope, about, id, order.text, owner=order.owner, due_us=_due(order.due)
            )
            return 201, Made(id=made)

        return once(visit, idempotency_key, order, act)


def _due(when: datetime.datetime | None) -> int | None:
    if when is None:
        return None
    if when.tzinfo is None:
        raise InputError("a time needs its zone", where="due", hint="for example 2026-05-01T12:00:00Z")
    return int(when.timestamp() * 1_000_000)

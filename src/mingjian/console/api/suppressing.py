"""Suppressions: try a Sigma filter against history, let it hide, take it back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from mingjian.console.api.frame import (
    KEY_CHARACTERS_MAX,
    Asked,
    IdempotencyKey,
    Org,
    PublicId,
    Reading,
    Text,
    Writing,
    at,
    name_of,
    once,
    tagged,
)
from mingjian.console.pages.suppressions import DAYS, DAYS_MAX, TEXT_CHARACTERS_MAX
from mingjian.console.site import Visit
from mingjian.situations.suppressing import draft, end, read_filter, suppress, try_out
from mingjian.store.detections import detection_by_id
from mingjian.store.segments import US_PER_DAY
from mingjian.store.suppressions import Suppression, suppression_by_id


class FilterText(Asked):
    """A Sigma filter."""

    text: str = Field(max_length=TEXT_CHARACTERS_MAX)


class SuppressionOrder(FilterText):
    """A Sigma filter that is to hide something for a time."""

    reason: Annotated[Text, Field(min_length=1)]
    days: int = Field(default=DAYS, ge=1, le=DAYS_MAX)
    is_tried: bool = True
    """Whether it also hides what it would have hidden so far."""


class Draft(BaseModel):
    """A filter to be looked over."""

    text: str


class CountItem(BaseModel):
    """How often something is there."""

    name: str
    count: int


class Trial(BaseModel):
    """What a suppression would have hidden."""

    detections: int
    looked_at: int
    """So many detections of its rules there are."""
    unread: int
    """Of so many the event is not kept any more: whether they would be hidden is not known."""
    hosts: int
    rules: list[CountItem]
    levels: list[CountItem]
    first: str | None
    last: str | None
    examples: list[str]
    """Ids of detections."""


class SuppressionState(BaseModel):
    """A filter that hides detections for a time."""

    id: str
    title: str
    state: str
    owner: str
    reason: str
    organisation: str
    """Empty: all of them."""
    created: str | None
    expires: str | None
    ended: str | None
    text: str


class Ended(BaseModel):
    """What ending a suppression came to."""

    shown_again: int
    """So many detections are shown again."""


def add_to(router: APIRouter) -> None:
    """Add the operations."""
    _add_trying(router)
    _add_changing(router)


def _state(visit: Visit, each: Suppression) -> SuppressionState:
    return SuppressionState(
        id=each.public_id,
        title=each.title,
        state=each.state,
        owner=each.owner,
        reason=each.reason,
        organisation=name_of(visit, each.organisation),
        created=at(each.created_us),
        expires=at(each.expires_us),
        ended=at(each.ended_us),
        text=each.definition,
    )


def _add_trying(router: APIRouter) -> None:
    @router.get("/suppressions/draft", response_model=Draft, operation_id="draft-suppression")
    def drafted(visit: Reading, detection: Annotated[str, Query(max_length=KEY_CHARACTERS_MAX)]) -> Response:
        """A filter that would hide a detection and those like it, to be looked over."""
        found = detection_by_id(visit.workspace, visit.scope, detection)
        return tagged(visit, Draft(text=draft(visit.workspace, visit.scope, found)))

    @router.get("/suppressions/{id}", response_model=SuppressionState, operation_id="get-suppression")
    def one(visit: Reading, id: PublicId) -> Response:
        """One suppression with its filter."""
        return tagged(visit, _state(visit, suppression_by_id(visit.workspace, visit.scope, id)))

    @router.post("/suppressions/try", response_model=Trial, operation_id="try-suppression")
    def trying(visit: Reading, order: Annotated[FilterText, Body()], org: Org = "") -> Response:
        """Say what a filter would have hidden of everything that was ever detected. Nothing is changed."""
        organisation = visit.organisation()
        wanted = read_filter(visit.workspace, visit.scope, order.text)
        tried = try_out(visit.workspace, visit.scope, visit.site.sources, wanted, organisation)
        return tagged(
            visit,
            Trial(
                detections=tried.detections,
                looked_at=tried.looked_at,
                unread=tried.unread,
                hosts=tried.hosts,
                rules=[CountItem(name=name, count=count) for name, count in tried.rules],
                levels=[CountItem(name=name, count=count) for name, count in tried.levels],
                first=at(tried.first_us),
                last=at(tried.last_us),
                examples=[each.public_id for each in tried.examples],
            ),
        )


def _add_changing(router: APIRouter) -> None:
    @router.post("/suppressions", response_model=SuppressionState, status_code=201, operation_id="add-suppression")
    def add(
        visit: Writing,
        order: Annotated[SuppressionOrder, Body()],
        org: Org = "",
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Let a filter hide what comes from now on, and what it would have hidden so far."""

        def act() -> tuple[int, object]:
            organisation = visit.organisation()
            wanted = read_filter(visit.workspace, visit.scope, order.text)
            tried = None
            if order.is_tried:
                tried = try_out(visit.workspace, visit.scope, visit.site.sources, wanted, organisation)
            made = suppress(
                visit.workspace,
                visit.scope,
                order.text,
                owner=visit.visitor.name,
                reason=order.reason,
                expires_us=visit.now_us + order.days * US_PER_DAY,
                organisation=organisation,
                tried=tried,
            )
            return 201, _state(visit, made)

        return once(visit, idempotency_key, order, act)

    @router.delete("/suppressions/{id}", response_model=Ended, operation_id="end-suppression")
    def stop(visit: Writing, id: PublicId, take_back: bool = True) -> Response:
        """Let it hide nothing any more; with ``take_back``, show what it hid."""
        return tagged(visit, Ended(shown_again=end(visit.workspace, visit.scope, id, take_back=take_back)))

"""Sets of indicators: add one, read one, look for it no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Final, Literal, TypeAlias

from fastapi import APIRouter, Body, Path
from pydantic import BaseModel, Field
from starlette.responses import Response

from mingjian.console.api.frame import (
    Asked,
    IdempotencyKey,
    Name,
    Org,
    Reading,
    Writing,
    at,
    name_of,
    once,
    tagged,
)
from mingjian.console.pages import hunt
from mingjian.console.site import Visit
from mingjian.errors import InputError
from mingjian.model.indicators import Indicator, marking_of
from mingjian.store import indicators as stored
from mingjian.store.indicators import Details, IndicatorSet, set_by_id
from mingjian.store.jobs import queue
from mingjian.store.warninglists import WarningLists

UNREAD_LISTED_MAX: Final = 100

Tlp: TypeAlias = Literal["", "clear", "green", "amber", "amber+strict", "red"]
SetNumber = Annotated[int, Path(ge=1, lt=1 << 62)]


class SetOrder(Asked):
    """A set of indicators as text: one in each line, or STIX, MISP, CSV."""

    name: Annotated[Name, Field(min_length=1)]
    text: str = Field(max_length=hunt.TEXT_BYTES_MAX)
    source: Name = ""
    marking: Tlp = ""


class UnreadItem(BaseModel):
    """An entry that could not be read."""

    file: str
    record: int
    reason: str


class SetState(BaseModel):
    """One version of a set."""

    id: str
    name: str
    organisation: str
    """Empty: for all of them."""
    version: int
    state: str
    source: str
    marking: str
    indicators: int
    warned: int
    """How many of them are on a warning list."""
    added: int
    gone: int
    added_at: str | None
    retired_at: str | None
    skipped: dict[str, int]
    quarantined: int
    unread: list[UnreadItem]


class SetAdded(SetState):
    """What adding a set came to."""

    how: Literal["new", "changed", "unchanged"]


def add_to(router: APIRouter) -> None:
    """Add the operations."""

    @router.get("/indicator-sets/{id}", response_model=SetState, operation_id="get-indicator-set")
    def one(visit: Reading, id: SetNumber) -> Response:
        """One version of a set, with what could not be read of it."""
        return tagged(visit, _state(visit, set_by_id(visit.workspace, visit.scope, id)))

    @router.post("/indicator-sets", response_model=SetAdded, operation_id="add-indicator-set")
    def add(
        visit: Writing, order: Annotated[SetOrder, Body()], org: Org = "", idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Make some indicators the newest version of a set; what is new is looked for in all of history."""

        def act() -> tuple[int, object]:
            found = hunt.check(visit, order.text, "indicators")
            if not found.indicators:
                raise InputError(found.problem or "there is no indicator in it")
            details = Details(
                quarantined=len(found.unread),
                unread=[stored.Unread(each.file, each.record, each.reason) for each in found.unread],
            )
            added = add_set(visit, order.name, found.indicators, order.source, order.marking, lambda: details)
            return 200, added

        return once(visit, idempotency_key, order, act)

    @router.delete("/indicator-sets/{id}", response_model=SetState, operation_id="retire-indicator-set")
    def retire(visit: Writing, id: SetNumber) -> Response:
        """Look for a set no more. It stays known."""
        found = stored.retire_set(visit.workspace, visit.scope, id)
        return tagged(visit, _state(visit, found))


def add_set(
    visit: Visit, name: str, indicators: Iterable[Indicator], source: str, marking: str, details: Callable[[], Details]
) -> SetAdded:
    """Keep a set, and queue what is new in it for all of history. Raises: as ``store.indicators.add_set``."""
    organisation = visit.organisation()
    added = stored.add_set(
        visit.workspace,
        visit.scope,
        name,
        indicators,
        organisation=organisation,
        source=source,
        marking=marking_of(marking) or "",
        details=details,
        lists=WarningLists(cache_folder=visit.site.cache_folder),
    )
    if added.how != "unchanged":
        queue(visit.workspace, visit.scope, "indicators", organisation=organisation, indicator_set_id=added.set.id)
    return SetAdded(**_state(visit, added.set).model_dump(), how=added.how)


def _state(visit: Visit, each: IndicatorSet) -> SetState:
    return SetState(
        id=str(each.id),
        name=each.name,
        organisation=name_of(visit, each.organisation),
        version=each.version,
        state=each.state,
        source=each.source,
        marking=each.marking,
        indicators=each.indicators,
        warned=each.warned,
        added=each.added,
        gone=each.gone,
        added_at=at(each.added_us),
        retired_at=at(each.retired_us),
        skipped=each.details.skipped,
        quarantined=each.details.quarantined,
        unread=[
            UnreadItem(file=one.file, record=one.record, reason=one.reason)
            for one in each.details.unread[:UNREAD_LISTED_MAX]
        ],
    )

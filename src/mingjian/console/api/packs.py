"""Packs of rules: send one, see what can be used of it, try it over history, switch it on, remove it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from mingjian.console.api.bulk import body_of
from mingjian.console.api.frame import (
    NAME_CHARACTERS_MAX,
    Asked,
    IdempotencyKey,
    Level,
    PublicId,
    Reading,
    Writing,
    at,
    once,
    tagged,
)
from mingjian.console.api.hunting import PROBLEMS_LISTED_MAX, HuntState, Skip, SwitchedOn, state_of
from mingjian.console.pages import packs
from mingjian.console.site import Visit
from mingjian.formats.containers import container_kind
from mingjian.hunt.packs import Sent
from mingjian.store import packs as stored_packs
from mingjian.store.packs import Pack

RULES_LISTED_MAX: Final = 20_000
"""So many rules of a pack are in one answer."""
BODY: Final = "application/octet-stream"


class PackedRule(BaseModel):
    """A rule of a pack, beside the one that runs."""

    id: str
    title: str
    level: str
    kind: str
    change: str
    """``new``, ``changed``, ``labels`` (title, level or tags alone) or ``same``."""
    state: str
    """``fed``, or ``unfed`` if no source can feed it."""
    detections: int | None
    """What it finds in all of history; null before a trial."""
    hosts: int | None
    file: str


class PackState(BaseModel):
    """A pack of rules."""

    id: str
    name: str
    by: str
    state: str
    """Of the job that reads it."""
    error: str
    created: str | None
    switched_on: str | None
    files: int | None
    """Rule files in it; null before it was read."""
    others: int | None
    skipped_in_all: int | None
    skipped: list[Skip]
    notes: list[str]
    tried: str | None
    """When it was tried over history."""
    rules: list[PackedRule]


class PackRemoved(BaseModel):
    """A pack that is no more."""

    id: str
    name: str


class PackWish(Asked):
    """Which rules of a pack are to be switched on."""

    level: Level = "informational"
    """The lowest level that is meant."""
    replace: bool = False
    """Whether all other rules are switched off."""


class _Whole(Asked):
    """What makes two bodies the same request."""

    digest: str


def add_to(router: APIRouter) -> None:
    """Add the operations."""

    @router.post(
        "/rule-packs",
        response_model=PackState,
        status_code=202,
        operation_id="send-rule-pack",
        openapi_extra=body_of(BODY),
    )
    async def send(
        visit: Writing,
        request: Request,
        name: Annotated[str, Query(min_length=1, max_length=NAME_CHARACTERS_MAX)] = "pack",
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Send an archive of rules (zip, tar, gzip, Zstandard) or one rule file. Nothing of it runs yet."""
        body = await request.body()
        return await run_in_threadpool(_sent, visit, name, body, idempotency_key)

    @router.get("/rule-packs/{id}", response_model=PackState, operation_id="get-rule-pack")
    def state(visit: Reading, id: PublicId) -> Response:
        """What of a pack can be used, what would change, and what a trial found."""
        return tagged(visit, _state(visit, _named(visit, id)))

    @router.delete("/rule-packs/{id}", response_model=PackRemoved, operation_id="remove-rule-pack")
    def remove(visit: Writing, id: PublicId) -> Response:
        """Forget a pack. What of it was switched on goes on running."""
        found = stored_packs.remove_pack(visit.workspace, visit.scope, id)
        return tagged(visit, PackRemoved(id=found.public_id, name=found.name))

    @router.post("/rule-packs/{id}/try", response_model=HuntState, status_code=202, operation_id="try-rule-pack")
    def attempt(visit: Writing, id: PublicId, idempotency_key: IdempotencyKey = None) -> Response:
        """Run the rules of a pack over all of history, as a job that keeps only how much each finds."""

        def act() -> tuple[int, object]:
            return 202, state_of(visit, packs.ask_trial(visit, _named(visit, id)))

        return once(visit, idempotency_key, None, act)

    @router.post("/rule-packs/{id}/switch-on", response_model=SwitchedOn, operation_id="switch-on-rule-pack")
    def switch_on(
        visit: Writing, id: PublicId, wish: Annotated[PackWish, Body()], idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Switch on the rules of a pack: they run over what arrives, and are queued for history."""

        def act() -> tuple[int, object]:
            found = packs.switch_on_pack(visit, _named(visit, id), wish.level, replace=wish.replace)
            return 200, {"rules": [each.id for each in found.every], "skipped": []}

        return once(visit, idempotency_key, wish, act)


def _named(visit: Visit, public_id: str) -> Pack:
    return stored_packs.pack_named(visit.workspace, visit.scope, public_id)


def _sent(visit: Visit, name: str, body: bytes, key: str | None) -> Response:
    # What is no archive is taken for rules, whatever it is called.
    file = name if container_kind(body) or name.lower().endswith((".yml", ".yaml")) else f"{name}.yml"

    def act() -> tuple[int, object]:
        pack, _ = packs.keep(visit, name, [Sent(file, body)])
        return 202, _state(visit, pack)

    return once(visit, key, _Whole(digest=hashlib.sha256(body).hexdigest()), act)


def _state(visit: Visit, pack: Pack) -> PackState:
    found = packs.compared(visit, pack)
    report = None if found is None else found.report
    return PackState(
        id=pack.public_id,
        name=pack.name,
        by=pack.by,
        state=pack.state,
        error=pack.error,
        created=at(pack.created_us),
        switched_on=at(pack.switched_on_us),
        files=None if report is None else report.files,
        others=None if report is None else report.others,
        skipped_in_all=None if report is None else report.skipped,
        skipped=[
            Skip(rule=each.title or each.rule_id or each.file, reason=each.reason)
            for each in (report.skips[:PROBLEMS_LISTED_MAX] if report else ())
        ],
        notes=[each.text for each in (report.notes[:PROBLEMS_LISTED_MAX] if report else ())],
        tried=at(found.trial.at_us) if found and found.trial else None,
        rules=[
            PackedRule.model_validate(
                {"id": row.key, **{name: row.values[name] for name in PackedRule.model_fields if name != "id"}}
            )
            for row in (found.rows[:RULES_LISTED_MAX] if found else ())
        ],
    )

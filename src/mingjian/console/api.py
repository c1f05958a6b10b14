"""REST under ``/api/v1``: the same lists, records, questions and hunts as the pages, for programs. OpenAPI 3.1.

Every list of the pages is a resource, with the same filters, order and cursor. Errors are problem details (RFC 9457).
Answers to GET have an ETag; a POST with an ``Idempotency-Key`` takes effect once, however often it is sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Body, Depends, FastAPI, Header, Path, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mingjian.console import answers, lists
from mingjian.console.lists import ListPage
from mingjian.console.pages import admin, ask, hunt, intelligence, queue, rules, sources
from mingjian.console.shapes import stamp
from mingjian.console.site import Site, Visit, may
from mingjian.errors import InputError, NotPermitted, shown
from mingjian.formats.records import json_bytes
from mingjian.hunt.records import records_at
from mingjian.store import jobs as stored_jobs
from mingjian.store.detections import detection_by_id
from mingjian.store.idempotency import Answered, answer_once
from mingjian.store.jobs import Job
from mingjian.store.rules import keep_rules, retire_rules
from mingjian.store.scope import Right

PREFIX: Final = "/api/v1"
KEY_CHARACTERS_MAX: Final = 200

LISTS: Final[tuple[tuple[str, ListPage, Right], ...]] = (
    ("detections", queue.PAGE, "read"),
    ("sources", sources.STREAMS, "read"),
    ("blind-spots", sources.BLIND, "read"),
    ("quarantine", sources.QUARANTINE, "read"),
    ("rules", rules.PAGE, "read"),
    ("indicator-sets", intelligence.PAGE, "read"),
    ("jobs", admin.PAGE, "administer"),
)
"""Resource, the list that it is, and the right that it needs."""
_TYPES: Final[Mapping[str, Any]] = {
    "number": int | float | None,
    "bytes": int | None,
    "share": float | None,
    "techniques": list[str],
}


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    where: str | None = None
    hint: str | None = None


class HuntOrder(BaseModel):
    """A hunt: a Sigma rule, or expressions, one in each line."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=hunt.TEXT_BYTES_MAX)
    form: Literal["rule", "expression"] = "rule"


class HuntState(BaseModel):
    """A job over history."""

    id: str
    kind: str
    state: str
    by: str
    titles: list[str]
    segments_total: int
    segments_done: int
    results: int
    error: str
    created: str
    started: str | None
    finished: str | None


class Text(BaseModel):
    """Rules as YAML."""

    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=hunt.TEXT_BYTES_MAX)


class Organisation(BaseModel):
    """Whose events they are."""

    id: str
    name: str


class Organisations(BaseModel):
    """All that may be seen."""

    items: list[Organisation]


class RawRecord(BaseModel):
    """A record as it came in."""

    organisation: str
    stream: str
    file: str
    number: int
    record: dict[str, Any]
    raw: str


class RawRecords(BaseModel):
    """The records to which a pointer points."""

    items: list[RawRecord]


_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": words, "content": {answers.PROBLEM_TYPE: {}}}
    for status, words in (
        (401, "nobody is signed in"),
        (403, "not permitted"),
        (404, "not found"),
        (409, "not now"),
        (422, "cannot be used"),
        (503, "the workspace cannot be used just now"),
    )
}


def visit_with(right: Right) -> Callable[[Request], Visit]:
    """A dependency: the visit of one who may do something somewhere."""

    def visit(request: Request) -> Visit:
        site: Site = request.app.state.site
        visitor = site.gate.visitor(request)
        if not may(visitor.scope, right):
            raise NotPermitted(f"{visitor.name} may not do this")
        return Visit(site, request, visitor)

    return visit


Reading = Annotated[Visit, Depends(visit_with("read"))]
Writing = Annotated[Visit, Depends(visit_with("write"))]
IdempotencyKey = Annotated[str | None, Header(max_length=KEY_CHARACTERS_MAX)]
PublicId = Annotated[str, Path(max_length=KEY_CHARACTERS_MAX)]


def add_to(app: FastAPI, site: Site) -> None:
    """Add the API to an application."""
    router = APIRouter(prefix=PREFIX, responses=_PROBLEMS)
    for name, page, right in LISTS:
        _add_list(router, name, page, right)
    _add_lookups(router)
    _add_hunts(router)
    _add_rules(router)
    app.include_router(router)
    app.add_exception_handler(RequestValidationError, _on_invalid)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0] if error.errors() else {"loc": (), "msg": "not valid"}
    ours = InputError(shown(str(first["msg"])), where=".".join(str(part) for part in first["loc"])[:80])
    return JSONResponse(answers.problem(ours, request.url.path), 422, media_type=answers.PROBLEM_TYPE)


def tagged(visit: Visit, value: object, status: int = 200) -> Response:
    """An answer with its ETag; 304 if the asker has it already. Source: RFC 9110, section 8.8.3."""
    body = msgspec.json.encode(value)
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    known = [each.strip().removeprefix("W/") for each in visit.request.headers.get("if-none-match", "").split(",")]
    if status == 200 and (tag in known or "*" in known):
        return Response(status_code=304, headers=headers)
    return Response(body, status, media_type="application/json", headers=headers)


# --- lists -----------------------------------------------------------------------------------------------------------


def _add_list(router: APIRouter, name: str, page: ListPage, right: Right) -> None:
    fields: dict[str, Any] = {each.name: (_TYPES.get(each.kind, str | None), ...) for each in page.columns}
    title = "".join(part.capitalize() for part in name.split("-"))
    item = create_model(f"{title}Item", **fields)
    model = create_model(f"{title}Page", items=(list[item], ...), next=(str | None, ...))  # type: ignore[valid-type]  # a model is made at run time
    parameters: list[dict[str, Any]] = [
        {"name": each.name, "in": "query", "required": False, "schema": _schema_of(each)} for each in page.filters
    ]
    parameters += [
        {"name": "org", "in": "query", "required": False, "schema": {"type": "string"}},
        {
            "name": "sort",
            "in": "query",
            "required": False,
            "schema": {"type": "string", "enum": [sign + each for each in page.sorts() for sign in ("", "-")]},
        },
        {"name": "after", "in": "query", "required": False, "schema": {"type": "string"}},
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "maximum": lists.ROWS_SHOWN_MAX},
        },
    ]

    def listed(visit: Visit) -> Response:
        asked = msgspec.structs.replace(lists.read(page, visit), counted=False)
        rows = page.fetch(visit, asked)
        return tagged(visit, {"items": [_item(page, row.values) for row in rows.rows], "next": rows.after})

    # The right is known here only, so the annotation is no text.
    listed.__annotations__["visit"] = Annotated[Visit, Depends(visit_with(right))]
    router.add_api_route(
        f"/{name}",
        listed,
        methods=["GET"],
        response_model=model,
        name=f"list {name}",
        operation_id=f"list-{name}",
        summary=f"List {name}",
        openapi_extra={"parameters": parameters},
    )


def _schema_of(each: lists.Filter) -> dict[str, Any]:
    if each.kind == "choice":
        return {"type": "string", "enum": list(each.choices)}
    return {"type": "string", "maxLength": lists.FILTER_CHARACTERS_MAX}


def _item(page: ListPage, values: Mapping[str, lists.Value]) -> dict[str, object]:
    found: dict[str, object] = {}
    for column in page.columns:
        value = values.get(column.name)
        if column.kind == "time":
            found[column.name] = stamp(value) or None if isinstance(value, int) else None
        elif column.kind == "techniques":
            found[column.name] = list(value) if isinstance(value, tuple | list) else []
        else:
            found[column.name] = value
    return found


# --- looking up ------------------------------------------------------------------------------------------------------


def _add_lookups(router: APIRouter) -> None:
    @router.get("/organisations", response_model=Organisations, operation_id="list-organisations")
    def organisations(visit: Reading) -> Response:
        """List the organisations that may be seen."""
        return tagged(visit, {"items": [{"id": each.public_id, "name": each.name} for each in visit.organisations()]})

    @router.get("/detections/{id}", response_model=dict[str, Any], operation_id="get-detection")
    def detection(visit: Reading, id: PublicId) -> Response:
        """One detection with what it matched."""
        each = detection_by_id(visit.workspace, visit.scope, id)
        values = _item(queue.PAGE, queue.row_of(visit, each).values)
        more = {"matched": each.detection.matched, "atoms": list(each.detection.atoms)}
        return tagged(visit, values | more)

    @router.get("/records", response_model=RawRecords, operation_id="get-records")
    def records(
        visit: Reading,
        file: Annotated[str, Query(min_length=1, max_length=4096)],
        number: Annotated[int, Query(ge=0, lt=1 << 62)],
    ) -> Response:
        """The raw records to which a pointer points."""
        found = records_at(visit.workspace, visit.scope, file, number, organisation=visit.organisation())
        names = visit.names()
        items = [
            {
                "organisation": names.get(each.organisation, ""),
                "stream": each.stream,
                "file": each.file,
                "number": each.number,
                "record": msgspec.Raw(json_bytes(each.record)),
                "raw": each.raw.decode("utf-8", "backslashreplace"),
            }
            for each in found
        ]
        return tagged(visit, {"items": items})

    @router.get("/ask", response_model=dict[str, Any], operation_id="ask")
    def asking(
        visit: Reading,
        q: Annotated[str, Query(min_length=1, max_length=ask.CHARACTERS_MAX)],
        kind: Annotated[str, Query(max_length=40)] = "",
    ) -> Response:
        """The verdict card: who it is, friend or foe, what it did, what could not be seen."""
        card, _ = ask.card_of(visit, q, kind)
        return tagged(visit, card)


# --- hunts and rules -------------------------------------------------------------------------------------------------


def state_of(job: Job) -> HuntState:
    """A job for programs."""
    request = hunt.request_of(job)
    return HuntState(
        id=job.public_id,
        kind=job.kind,
        state=job.state,
        by=request.by,
        titles=request.titles,
        segments_total=job.segments_total,
        segments_done=job.segments_done,
        results=job.results,
        error=job.error,
        created=stamp(job.created_us),
        started=stamp(job.started_us) or None,
        finished=stamp(job.finished_us) or None,
    )


def once(visit: Visit, key: str | None, body: BaseModel | None, act: Callable[[], tuple[int, object]]) -> Response:
    """Do something once for each idempotency key; the same request again gets the same answer.

    Raises:
        StateError: the first request with this key is still under way, or was another one.
    """

    def made() -> Answered:
        status, value = act()
        return Answered(status, msgspec.json.encode(value))

    if key is None:
        answered = made()
    else:
        said = "" if body is None else body.model_dump_json()
        place = f"{visit.request.method} {visit.request.url.path}"
        answered = answer_once(visit.workspace, visit.scope, key, f"{place} {said}", made)
    return Response(answered.body, answered.status, media_type="application/json")


def _usable(visit: Visit, text: str, form: hunt.Form) -> hunt.Checked:
    found = hunt.check(visit, text, form)
    if not found.every_rule:
        reasons = [each.reason for each in found.skipped]
        raise InputError(found.problem or "; ".join(reasons)[:400] or "there is no rule in it")
    return found


def _add_hunts(router: APIRouter) -> None:
    @router.post("/hunts", response_model=HuntState, status_code=202, operation_id="start-hunt")
    def start(visit: Writing, order: Annotated[HuntOrder, Body()], idempotency_key: IdempotencyKey = None) -> Response:
        """Run rules over all of history, as a job."""

        def act() -> tuple[int, object]:
            found = _usable(visit, order.text, order.form)
            kept = keep_rules(visit.workspace, visit.scope, found.rules, found.correlations)
            asked = hunt.Request(by=visit.visitor.name, titles=[each.title for each in found.every_rule][:20])
            job = stored_jobs.queue(
                visit.workspace,
                visit.scope,
                "rules",
                organisation=visit.organisation(),
                rule_set_id=kept.id,
                request=msgspec.json.encode(asked).decode(),
            )
            visit.act("hunt.queued", about=job.public_id)
            return 202, state_of(job).model_dump()

        return once(visit, idempotency_key, order, act)

    @router.get("/hunts/{id}", response_model=HuntState, operation_id="get-hunt")
    def state(visit: Reading, id: PublicId) -> Response:
        """How far a hunt is."""
        return tagged(visit, state_of(hunt.job_named(visit, id)).model_dump())

    @router.delete("/hunts/{id}", response_model=HuntState, operation_id="cancel-hunt")
    def cancel(visit: Writing, id: PublicId) -> Response:
        """Cancel a hunt. What it found stays."""
        return tagged(visit, state_of(hunt.cancelled(visit, id)).model_dump())


class SwitchedOn(BaseModel):
    """What was switched on."""

    rules: list[str]
    skipped: list[str]


class SwitchedOff(BaseModel):
    """What was switched off, correlations over it included."""

    rules: list[str]


def _add_rules(router: APIRouter) -> None:
    @router.post("/rules", response_model=SwitchedOn, operation_id="switch-on-rules")
    def switch_on(visit: Writing, text: Annotated[Text, Body()], idempotency_key: IdempotencyKey = None) -> Response:
        """Switch rules on: they run over what arrives, and are queued for history."""

        def act() -> tuple[int, object]:
            found = _usable(visit, text.text, "rule")
            hunt.switch(visit, found.rules, found.correlations)
            ids: Sequence[str] = [each.id for each in found.every_rule]
            return 200, {"rules": ids, "skipped": [each.reason for each in found.skipped]}

        return once(visit, idempotency_key, text, act)

    @router.delete("/rules/{id}", response_model=SwitchedOff, operation_id="switch-off-rule")
    def switch_off(visit: Writing, id: PublicId) -> Response:
        """Switch a rule off. What it found stays."""
        gone = retire_rules(visit.workspace, visit.scope, [id])
        visit.act("rule.switched-off", about=id)
        return tagged(visit, {"rules": gone})

"""What every operation of the API stands on: who asks, how answers look, what is done once, what has changed meanwhile.

Source: RFC 9457 (problem details), RFC 9110 section 8.8.3 (ETag) and 13.1 (If-Match, If-None-Match).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from fastapi import Depends, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from mingjian.console import answers
from mingjian.console.shapes import stamp
from mingjian.console.site import Site, Visit, may
from mingjian.errors import ChangedMeanwhile, NotPermitted
from mingjian.store.idempotency import Answered, answer_once
from mingjian.store.scope import OrganisationId, Right

PREFIX: Final = "/api/v1"
KEY_CHARACTERS_MAX: Final = 200
"""So long an id or an idempotency key may be."""
TEXT_CHARACTERS_MAX: Final = 10_000
"""So long a comment, a task or a reason may be."""
NAME_CHARACTERS_MAX: Final = 200
NAMED_MAX: Final = 1_000
"""So many things one request names at most."""

Level: TypeAlias = Literal["informational", "low", "medium", "high", "critical"]
State: TypeAlias = Literal["open", "in_work", "closed"]
Resolution: TypeAlias = Literal["", "true_positive", "false_positive", "benign"]


class Asked(BaseModel):
    """What somebody sends: nothing that is not named."""

    model_config = ConfigDict(extra="forbid")


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


class Made(BaseModel):
    """What was made: its id."""

    id: str


class Done(BaseModel):
    """It was done."""

    done: bool = True


PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": words, "content": {answers.PROBLEM_TYPE: {}}}
    for status, words in (
        (400, "the body cannot be read at all"),
        (401, "nobody is signed in"),
        (403, "not permitted"),
        (404, "not found"),
        (409, "not now"),
        (412, "somebody else has changed it meanwhile"),
        (413, "too large"),
        (422, "cannot be used"),
        (429, "too many requests"),
        (429, "too many requests"),
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
IdempotencyKey = Annotated[
    str | None,
    Header(max_length=KEY_CHARACTERS_MAX, description="Sent again with the same key, a request takes effect once."),
]
IfMatch = Annotated[
    str | None,
    Header(max_length=NAME_CHARACTERS_MAX, description="The ETag that was read: if it is another one now, 412."),
]
PublicId = Annotated[str, Path(max_length=KEY_CHARACTERS_MAX)]
Org = Annotated[str, Query(max_length=KEY_CHARACTERS_MAX, description="Id of an organisation; without it, all.")]
Text: TypeAlias = Annotated[str, Field(max_length=TEXT_CHARACTERS_MAX)]
Name: TypeAlias = Annotated[str, Field(max_length=NAME_CHARACTERS_MAX)]
Ids: TypeAlias = Annotated[list[Name], Field(min_length=1, max_length=NAMED_MAX)]


def at(time_us: int | None) -> str | None:
    """A time for programs: ISO 8601 in UTC, or nothing."""
    return stamp(time_us) or None


def owner(visit: Visit, org: str) -> OrganisationId | None:
    """The organisation that a request names; None for all. Raises: NotFound."""
    # The visit reads it from the address itself, as pages do; ``org`` is named so that it is documented.
    return visit.organisation() if org else None


def name_of(visit: Visit, organisation: OrganisationId | None) -> str:
    """The name of an organisation; empty for all of them."""
    return "" if organisation is None else visit.names().get(organisation, "")


def _encoded(value: object) -> bytes:
    return msgspec.json.encode(value.model_dump() if isinstance(value, BaseModel) else value)


def _tag(body: bytes) -> str:
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def _listed(header: str | None) -> list[str]:
    return [each.strip() for each in (header or "").split(",") if each.strip()]


def tagged(visit: Visit, value: object, status: int = 200) -> Response:
    """An answer with its ETag; 304 if the asker has it already."""
    body = _encoded(value)
    tag = _tag(body)
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    known = [each.removeprefix("W/") for each in _listed(visit.request.headers.get("if-none-match"))]
    if status == 200 and visit.request.method == "GET" and (tag in known or "*" in known):
        return Response(status_code=304, headers=headers)
    return Response(body, status, media_type="application/json", headers=headers)


def unchanged(if_match: str | None, value: object) -> bool:
    """Whether a condition was stated, and something is still what was read.

    Raises:
        ChangedMeanwhile: it is not. (Only strong tags count: RFC 9110 section 13.1.1.)
    """
    if if_match is None:
        return False
    tags = _listed(if_match)
    if "*" not in tags and _tag(_encoded(value)) not in tags:
        raise ChangedMeanwhile("somebody else has changed this meanwhile", hint="read it again")
    return "*" not in tags


def once(visit: Visit, key: str | None, body: BaseModel | None, act: Callable[[], tuple[int, object]]) -> Response:
    """Do something once for each idempotency key; the same request again gets the same answer.

    Raises:
        StateError: the first request with this key is still under way, or was another one.
    """

    def made() -> Answered:
        status, value = act()
        return Answered(status, _encoded(value))

    if key is None:
        answered = made()
    else:
        said = "" if body is None else body.model_dump_json()
        url = visit.request.url
        place = f"{visit.request.method} {url.path}?{url.query}"
        answered = answer_once(visit.workspace, visit.scope, key, f"{place} {said}", made)
    return Response(answered.body, answered.status, media_type="application/json")

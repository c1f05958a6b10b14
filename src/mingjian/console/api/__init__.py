"""REST under ``/api/v1``: the same lists, records, questions and decisions as the pages, for programs. OpenAPI 3.1.

Every list of the pages is a resource, with the same filters, order and cursor. Errors are problem details (RFC 9457).
Answers to GET have an ETag; a POST with an ``Idempotency-Key`` takes effect once, however often it is sent; a change
with ``If-Match`` is made only if nobody else has made one meanwhile.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mingjian.console import answers
from mingjian.console.api import bulk, hunting, intelligence, lists, lookups, packs, situations, suppressing
from mingjian.console.api.frame import PREFIX, PROBLEMS
from mingjian.console.api.lists import LISTS
from mingjian.errors import InputError, shown

__all__ = ["LISTS", "PREFIX", "add_to"]

PARTS: Final = (lists, lookups, situations, suppressing, hunting, packs, intelligence, bulk)
"""The modules that add operations. What has a name of its own is added before what takes any id."""


def add_to(app: FastAPI) -> None:
    """Add the API to an application."""
    # For the document alone: who asks is looked at by each operation, and may also be told from a cookie.
    bearer = HTTPBearer(auto_error=False, description="A token of an account")
    router = APIRouter(prefix=PREFIX, responses=PROBLEMS, dependencies=[Depends(bearer)])
    for part in PARTS:
        part.add_to(router)
    app.include_router(router)
    app.add_exception_handler(RequestValidationError, _on_invalid)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0] if error.errors() else {"loc": (), "msg": "not valid"}
    ours = InputError(shown(str(first["msg"])), where=".".join(str(part) for part in first["loc"])[:80])
    return JSONResponse(answers.problem(ours, request.url.path), 422, media_type=answers.PROBLEM_TYPE)

"""The one table that turns our errors into answers of HTTP, for pages and for the API.

Source: RFC 9457 (problem details), RFC 9110 section 15 (status codes).
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse, Response

from mingjian.errors import (
    AccessError,
    ChangedMeanwhile,
    ConfigError,
    DeliveryError,
    InputError,
    LimitExceeded,
    MarkingViolation,
    MingjianError,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    RefusedDestination,
    StateError,
    StorageError,
    TooManyRequests,
)

STATUS: Final[dict[type, int]] = {
    NotAuthenticated: 401,
    NotPermitted: 403,
    NotFound: 404,
    MarkingViolation: 403,
    RefusedDestination: 403,
    AccessError: 403,
    LimitExceeded: 422,
    TooManyRequests: 429,
    InputError: 422,
    ConfigError: 422,
    ChangedMeanwhile: 412,
    StateError: 409,
    DeliveryError: 502,
    StorageError: 503,
    MingjianError: 500,
}
"""Of a class that is not here, the nearest one above it counts."""

PROBLEM_TYPE: Final = "application/problem+json"


def status_of(error: MingjianError) -> int:
    """The status of an error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def headers_of(error: MingjianError) -> dict[str, str]:
    """What an answer with an error says besides. Source: RFC 9110, section 10.2.3."""
    return {"retry-after": str(error.retry_after_s)} if isinstance(error, TooManyRequests) else {}


def problem(error: MingjianError, instance: str) -> dict[str, str | int]:
    """An error as problem details. ``type`` is relative: it is the heading in the manual's page of errors."""
    found: dict[str, str | int] = {
        "type": f"/docs/errors#{error.code}",
        "title": error.code.replace("-", " "),
        "status": status_of(error),
        "detail": error.what,
        "instance": instance,
        "code": error.code,
    }
    if error.where:
        found["where"] = error.where
    if error.hint:
        found["hint"] = error.hint
    return found


def refusal(status: int, instance: str, headers: Mapping[str, str] | None = None) -> Response:
    """What HTTP itself refuses (no such path, no such method) as problem details."""
    phrase = HTTPStatus(status).phrase
    body = {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "detail": phrase,
        "instance": instance,
        "code": phrase.lower().replace(" ", "-"),
    }
    return JSONResponse(body, status, headers, media_type=PROBLEM_TYPE)

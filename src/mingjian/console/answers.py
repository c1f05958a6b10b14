"""The one table that turns our errors into answers of HTTP, for pages and for the API.

Source: RFC 9457 (problem details), RFC 9110 section 15 (status codes).
"""

from __future__ import annotations

from typing import Final

from mingjian.errors import (
    AccessError,
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
)

STATUS: Final[dict[type, int]] = {
    NotAuthenticated: 401,
    NotPermitted: 403,
    NotFound: 404,
    MarkingViolation: 403,
    RefusedDestination: 403,
    AccessError: 403,
    LimitExceeded: 422,
    InputError: 422,
    ConfigError: 422,
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

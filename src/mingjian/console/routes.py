"""Every page and every action there is, as one table: address, view, and the right that it needs.

The application is made of this table, and so is the test of who may do what: a view that is not in it does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from starlette.responses import Response

from mingjian.console import lists
from mingjian.console.lists import ListPage
from mingjian.console.site import Visit
from mingjian.store.scope import Right

Needed: TypeAlias = "Right | Literal['nobody', 'anybody']"
"""A right somewhere; ``anybody``: whoever is signed in; ``nobody``: also who is not."""
View: TypeAlias = Callable[[Visit], Response]


class Route(NamedTuple):
    """An address and what answers there."""

    method: Literal["GET", "POST"]
    path: str
    view: View
    right: Needed = "read"
    is_heavy: bool = False
    """It takes many times as long as a list: few are answered at once, so that the others stay quick."""


def list_route(page: ListPage, right: Needed = "read") -> Route:
    """The route of a list page."""

    def view(visit: Visit) -> Response:
        return lists.answer(page, visit)

    return Route("GET", page.path, view, right)


def all_routes() -> tuple[Route, ...]:
    """Every route of the pages."""
    from mingjian.console.pages import (
        account,
        admin,
        ask,
        auditing,
        brief,
        hunt,
        intelligence,
        openid,
        packs,
        passkeys,
        people,
        picture,
        queue,
        rules,
        signing,
        situations,
        sources,
        suppressions,
        views,
    )

    return (
        *picture.ROUTES,
        *brief.ROUTES,
        *situations.ROUTES,
        *queue.ROUTES,
        *views.ROUTES,
        *ask.ROUTES,
        *hunt.ROUTES,
        *rules.ROUTES,
        *packs.ROUTES,
        *intelligence.ROUTES,
        *suppressions.ROUTES,
        *sources.ROUTES,
        *admin.ROUTES,
        *people.ROUTES,
        *auditing.ROUTES,
        *account.ROUTES,
        *signing.ROUTES,
        *openid.ROUTES,
        *passkeys.ROUTES,
    )

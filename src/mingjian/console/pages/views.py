"""Saved views of the queues: kept for oneself, or for everybody of an organisation."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.responses import RedirectResponse, Response

from mingjian.console.lists import ListPage, query_of_view
from mingjian.console.pages import queue, situations
from mingjian.console.routes import Route
from mingjian.console.site import Visit
from mingjian.errors import NotFound, SchemaError, shown
from mingjian.store.scope import OrganisationId
from mingjian.store.views import remove_view, save_view

LISTS: Final = {page.name: page for page in (queue.PAGE, situations.PAGE)}
"""The lists of which there are views."""


def _list(visit: Visit) -> ListPage:
    name = visit.given("list")
    if name not in LISTS:
        raise SchemaError(f"there is no list called {shown(name)}", hint=", ".join(LISTS))
    return LISTS[name]


def save(visit: Visit) -> Response:
    """Keep the list as it is shown."""
    page = _list(visit)
    query = query_of_view(page, visit.given("back"))
    save_view(visit.workspace, visit.scope, page.name, visit.given("name"), query, organisation=_for_whom(visit))
    kept = [*parse_qsl(query), ("done", "view-saved")]
    return RedirectResponse(f"{page.path}?{urlencode(kept)}", 303)


def _for_whom(visit: Visit) -> OrganisationId | None:
    wanted = visit.given("for")
    if not wanted:
        return None
    found = next((each.id for each in visit.organisations() if each.public_id == wanted), None)
    if found is None:
        raise NotFound("there is no such organisation")
    return found


def remove(visit: Visit) -> Response:
    """Forget a view."""
    page = _list(visit)
    remove_view(visit.workspace, visit.scope, visit.given("view"))
    return visit.redirect(page.path, done="view-removed")


ROUTES: Final = (
    Route("POST", "/views", save, "read"),
    Route("POST", "/views/remove", remove, "read"),
)

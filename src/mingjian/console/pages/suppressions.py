"""Suppressions: filters that hide what is known to be harmless, for a time; tried against history before they apply."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from mingjian.console.lists import Action, Asked, Column, Filter, ListPage, Row, Rows, among
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number
from mingjian.console.site import Visit
from mingjian.errors import InputError, SchemaError
from mingjian.situations.suppressing import Tried, draft, end, read_filter, suppress, try_out
from mingjian.store.detections import detection_by_id
from mingjian.store.segments import US_PER_DAY
from mingjian.store.suppressions import suppressions

DAYS_MAX: Final = 366
DAYS: Final = 30
"""So long a suppression holds unless somebody says otherwise."""
TEXT_CHARACTERS_MAX: Final = 20_000


def _fetch(visit: Visit, asked: Asked) -> Rows:
    names = visit.names()
    rows = [
        Row(
            key=each.public_id,
            values={
                "title": each.title,
                "state": each.state,
                "hidden": each.hidden,
                "owner": each.owner,
                "reason": each.reason,
                "expires": each.expires_us,
                "organisation": "" if each.organisation is None else names.get(each.organisation, ""),
                "created": each.created_us,
            },
        )
        for each in suppressions(visit.workspace, visit.scope)
    ]
    return among(rows, asked, texts=("title", "owner", "reason"))


def _lead(visit: Visit, rows: Rows) -> str:
    hidden = sum(int(str(row.values["hidden"])) for row in rows.rows)
    return visit.texts("suppressions.lead", n=number(rows.total or 0), hidden=number(hidden))


PAGE: Final = ListPage(
    name="suppressions",
    path="/suppressions",
    place="rules",
    columns=(
        Column(name="title", sorts=True),
        Column(name="state", kind="state", sorts=True),
        Column(name="hidden", kind="number", sorts=True),
        Column(name="owner", sorts=True),
        Column(name="reason", kind="prose"),
        Column(name="expires", kind="time", sorts=True),
        Column(name="organisation", sorts=True),
        Column(name="created", kind="time", sorts=True, hidden=True),
    ),
    filters=(Filter(name="q"), Filter(name="state", kind="choice", choices=("active", "expired", "ended"))),
    actions=(Action(name="take-back", path="/suppressions/take-back"),),
    sort="expires",
    fetch=_fetch,
    lead=_lead,
    above="suppressions_tabs.html.j2",
    context=lambda visit: {"tab": "suppressions"},
)


def sheet(visit: Visit) -> Response:
    """A draft made of a detection, to be edited."""
    found = detection_by_id(visit.workspace, visit.scope, visit.asked("detection"))
    try:
        text, problem = draft(visit.workspace, visit.scope, found), ""
    except SchemaError as error:
        text, problem = "", error.what
    return _page(visit, text, problem=problem)


def _page(visit: Visit, text: str, *, problem: str = "", tried: Tried | None = None) -> Response:
    return visit.page(
        "suppression.html.j2",
        place="rules",
        title=visit.texts("suppression.title"),
        lead=visit.texts("suppression.lead"),
        text=text,
        reason=visit.given("reason"),
        days=visit.given("days", str(DAYS)),
        days_max=DAYS_MAX,
        problem=problem,
        tried=tried,
    )


def _text_of(visit: Visit) -> str:
    """What stands in the box; browsers send its lines with CR and LF."""
    return visit.given("text").replace("\r\n", "\n")[:TEXT_CHARACTERS_MAX]


def trying(visit: Visit) -> Response:
    """Say what it would have hidden."""
    text = _text_of(visit)
    try:
        wanted = read_filter(visit.workspace, visit.scope, text)
    except InputError as error:
        return _page(visit, text, problem=error.what)
    found = try_out(visit.workspace, visit.scope, visit.site.sources, wanted, visit.organisation())
    return _page(visit, text, tried=found)


def add(visit: Visit) -> Response:
    """Let it hide what comes from now on, and what it was found to have hidden."""
    text, days = _text_of(visit), visit.given("days")
    if not days.isdecimal() or not 1 <= int(days) <= DAYS_MAX:
        raise InputError("a suppression holds for a number of days", hint=f"1 to {DAYS_MAX}")
    wanted = read_filter(visit.workspace, visit.scope, text)
    tried = try_out(visit.workspace, visit.scope, visit.site.sources, wanted, visit.organisation())
    suppress(
        visit.workspace,
        visit.scope,
        text,
        owner=visit.visitor.name,
        reason=visit.given("reason"),
        expires_us=visit.now_us + int(days) * US_PER_DAY,
        organisation=visit.organisation(),
        tried=tried,
    )
    return visit.redirect("/suppressions", done="saved")


def take_back(visit: Visit) -> Response:
    """Let suppressions hide nothing any more, and show what they hid."""
    for key in visit.given_all("key"):
        end(visit.workspace, visit.scope, key, take_back=True)
    return visit.redirect("/suppressions", done="saved")


ROUTES: Final = (
    list_route(PAGE),
    Route("GET", "/suppressions/new", sheet, "write"),
    Route("POST", "/suppressions/try", trying, "write"),
    Route("POST", "/suppressions", add, "write"),
    Route("POST", "/suppressions/take-back", take_back, "write"),
)

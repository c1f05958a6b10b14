"""Intelligence: the sets of indicators that are looked for, and adding one."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from mingjian.console.lists import Action, Asked, Column, Filter, ListPage, Row, Rows, among
from mingjian.console.pages.hunt import check, text_of
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number
from mingjian.console.site import Visit
from mingjian.errors import InputError, NotFound
from mingjian.model.indicators import marking_of
from mingjian.store.indicators import add_set, live_sets, retire_set
from mingjian.store.jobs import queue
from mingjian.store.warninglists import WarningLists


def _fetch(visit: Visit, asked: Asked) -> Rows:
    names = visit.names()
    rows = [
        Row(
            key=str(each.id),
            values={
                "name": each.name,
                "organisation": "" if each.organisation is None else names.get(each.organisation, ""),
                "indicators": each.indicators,
                "warned": each.warned,
                "source": each.source,
                "marking": each.marking,
                "version": each.version,
                "added": each.added_us,
            },
        )
        for each in live_sets(visit.workspace, visit.scope, organisation=visit.organisation())
    ]
    return among(rows, asked, texts=("name", "source"))


def _lead(visit: Visit, rows: Rows) -> str:
    if not rows.total:
        return visit.texts("intelligence.lead-none")
    count = sum(int(str(row.values["indicators"])) for row in rows.rows)
    return visit.texts("intelligence.lead", n=number(rows.total), indicators=number(count))


PAGE: Final = ListPage(
    name="intelligence",
    path="/intelligence",
    place="rules",
    columns=(
        Column(name="name", sorts=True),
        Column(name="indicators", kind="number", sorts=True),
        Column(name="warned", kind="number", sorts=True),
        Column(name="source", sorts=True),
        Column(name="marking", kind="code", sorts=True),
        Column(name="version", kind="number", sorts=True),
        Column(name="added", kind="time", sorts=True),
        Column(name="organisation", sorts=True),
    ),
    filters=(Filter(name="q"),),
    actions=(Action(name="retire-sets", path="/intelligence/retire"),),
    sort="name",
    fetch=_fetch,
    lead=_lead,
    above="intelligence_above.html.j2",
    context=lambda visit: {"tab": "intelligence", "may_write": visit.may("write")},
)


def add(visit: Visit) -> Response:
    """Keep indicators as a set, and queue it for all of history."""
    found = check(visit, text_of(visit), "indicators")
    if not found.indicators:
        raise InputError(found.problem or "there is no indicator in it", hint="one in each line, or STIX, MISP, CSV")
    marking = marking_of(visit.given("marking"))
    added = add_set(
        visit.workspace,
        visit.scope,
        visit.given("name"),
        found.indicators,
        organisation=visit.organisation(),
        source=visit.given("source")[:200],
        marking=marking or "",
        lists=WarningLists(cache_folder=visit.site.cache_folder),
    )
    if added.how != "unchanged":
        queue(
            visit.workspace,
            visit.scope,
            "indicators",
            organisation=visit.organisation(),
            indicator_set_id=added.set.id,
        )
    return visit.redirect("/intelligence", done="indicators-added")


def retire(visit: Visit) -> Response:
    """Look for sets no more."""
    chosen = visit.given_all("key")
    known = {str(each.id): each for each in live_sets(visit.workspace, visit.scope)}
    for key in chosen:
        if key not in known:
            raise NotFound("there is no such set of indicators")
        retire_set(visit.workspace, visit.scope, known[key].id)
    return visit.redirect("/intelligence", done="indicators-retired")


ROUTES: Final = (
    list_route(PAGE),
    Route("POST", "/intelligence", add, "write"),
    Route("POST", "/intelligence/retire", retire, "write"),
)

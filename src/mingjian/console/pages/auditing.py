"""The audit log, each act with its proof; and whether the log is as it was signed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from mingjian.console.lists import Asked, Column, Filter, ListPage, Row, Rows
from mingjian.console.routes import Route, list_route
from mingjian.console.site import Visit
from mingjian.errors import NotFound
from mingjian.store import audit


def _fetch(visit: Visit, asked: Asked) -> Rows:
    found = audit.acts(
        visit.workspace,
        visit.scope,
        beyond_number=int(asked.after) if asked.after.isdecimal() else None,
        oldest_first=not asked.descending,
        limit=asked.limit + 1,
        what=asked.given("act") or None,
        actor=asked.given("actor") or None,
    )
    names = visit.names()
    rows = [
        Row(
            key=str(each.number),
            href=visit.address(f"/admin/audit/{each.number}"),
            values={
                "number": each.number,
                "created": each.time_us,
                "act": each.what,
                "actor": each.actor,
                "about": each.about,
                "organisation": "" if each.organisation is None else names.get(each.organisation, ""),
                "before": _text(each.before),
                "after": _text(each.after),
                "via": each.via,
            },
        )
        for each in found[: asked.limit]
    ]
    return Rows(rows=rows, after=rows[-1].key if len(found) > asked.limit else None)


def _text(details: Mapping[str, audit.Detail]) -> str:
    return json.dumps(details, ensure_ascii=False) if details else ""


PAGE: Final = ListPage(
    name="acts",
    path="/admin/audit",
    place="admin",
    columns=(
        Column(name="act", kind="link"),
        Column(name="created", kind="time"),
        Column(name="actor"),
        Column(name="about", kind="code"),
        Column(name="organisation", hidden=True),
        Column(name="before", kind="code"),
        Column(name="after", kind="code"),
        Column(name="via", hidden=True),
        Column(name="number", kind="number", sorts=True, hidden=True),
    ),
    filters=(Filter(name="act"), Filter(name="actor")),
    sort="-number",
    fetch=_fetch,
    lead=lambda visit, rows: visit.texts("acts.lead"),
    above="acts_above.html.j2",
    context=lambda visit: {"tab": "audit"},
)


def proof(visit: Visit) -> Response:
    """Show what proves that an act is in the log."""
    text = visit.request.path_params["number"]
    if not text.isdecimal() or len(text) > 15:
        raise NotFound("there is no such act")
    found = audit.proof_of(visit.workspace, visit.scope, int(text))
    return visit.page(
        "act.html.j2",
        place="admin",
        tab="audit",
        title=visit.texts("act.title", n=text),
        lead=visit.texts("act.lead"),
        entry=json.dumps(json.loads(found.entry), ensure_ascii=False, indent=2),
        index=found.index,
        hashes=[base64.b64encode(each).decode() for each in found.hashes],
        checkpoint=found.checkpoint,
        key=found.key,
    )


def verify(visit: Visit) -> Response:
    """Look whether the log is as it was signed."""
    size, faults = audit.verify(visit.workspace, visit.scope)
    return visit.page(
        "act_verified.html.j2",
        place="admin",
        tab="audit",
        title=visit.texts("acts.broken" if faults else "acts.whole"),
        lead=visit.texts("acts.count", n=f"{size:,}"),
        faults=faults,
        checkpoint=audit.checkpoint(visit.workspace),
        key=str(audit.verifier_key(visit.workspace)),
    )


ROUTES: Final = (
    list_route(PAGE, "audit"),
    Route("POST", "/admin/audit/verify", verify, "audit"),
    Route("GET", "/admin/audit/{number}", proof, "audit"),
)

"""Lists: every list of the pages and some more, with the same filters, order and cursor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends
from pydantic import create_model
from starlette.responses import Response

from mingjian.console import lists
from mingjian.console.api.frame import at, name_of, tagged, visit_with
from mingjian.console.lists import Asked, Column, Filter, ListPage, Row, Rows, among
from mingjian.console.pages import admin, hunt, intelligence, packs, queue, rules, situations, sources, suppressions
from mingjian.console.site import Visit
from mingjian.hunt.behaviourbook import RULE_PREFIX
from mingjian.hunt.vocabulary import title_in
from mingjian.store import decisions
from mingjian.store import jobs as stored_jobs
from mingjian.store.behaviours import stored_behaviours
from mingjian.store.scope import Right
from mingjian.store.situationtables import SITUATION_STATES
from mingjian.store.tables import JOB_STATES

INCIDENTS_MAX: Final = 10_000
"""So many incidents are listed, the newest."""
BEHAVIOURS_MAX: Final = 20_000
"""So many findings of behaviours are listed, those of the highest score."""
_TYPES: Final[Mapping[str, Any]] = {
    "number": int | float | None,
    "bytes": int | None,
    "share": float | None,
    "techniques": list[str],
}


def _no_lead(_visit: Visit, _rows: Rows) -> str:
    return ""


def _incidents(visit: Visit, asked: Asked) -> Rows:
    chosen = visit.organisation()
    rows = [
        Row(
            key=each.public_id,
            values={
                "title": each.title,
                "state": each.state,
                "owner": each.owner,
                "by": each.actor,
                "situation": each.situation,
                "organisation": name_of(visit, each.organisation),
                "created": each.created_us,
                "changed": each.changed_us,
                "closed": each.closed_us,
            },
        )
        for each in decisions.incidents(visit.workspace, visit.scope, limit=INCIDENTS_MAX)
        if chosen in (None, each.organisation)
    ]
    return among(rows, asked, texts=("title", "owner", "by"))


def _hunts(visit: Visit, asked: Asked) -> Rows:
    chosen = visit.organisation()
    rows: list[Row] = []
    for job in stored_jobs.jobs(visit.workspace, visit.scope):
        if chosen is not None and job.organisation not in (None, chosen):
            continue
        request = hunt.request_of(job)
        rows.append(
            Row(
                key=job.public_id,
                values={
                    "title": ", ".join(request.titles),
                    "kind": job.kind,
                    "state": job.state,
                    "progress": job.segments_done / job.segments_total if job.segments_total else None,
                    "results": job.results,
                    "by": request.by,
                    "organisation": name_of(visit, job.organisation),
                    "created": job.created_us,
                    "finished": job.finished_us,
                },
            )
        )
    return among(rows, asked, texts=("title", "by"))


def _behaviours(visit: Visit, asked: Asked) -> Rows:
    rows = [
        Row(
            key=each.public_id,
            values={
                "score": int(one.matched.get("score", "0")),
                "behaviour": one.rule_id.removeprefix(RULE_PREFIX),
                "title": title_in(one, visit.language),
                "level": one.level,
                "organisation": name_of(visit, each.organisation),
                "host": one.host,
                "account": one.account,
                "count": int(one.matched.get("count", "0")),
                "time": one.time_us,
                "found": each.found_us,
            },
        )
        for each in stored_behaviours(
            visit.workspace, visit.scope, organisation=visit.organisation(), limit=BEHAVIOURS_MAX
        )
        for one in (each.detection,)
    ]
    return among(rows, asked, texts=("title", "host", "account", "behaviour"))


def _page(name: str, columns: tuple[Column, ...], filters: tuple[Filter, ...], sort: str, fetch: Any) -> ListPage:
    return ListPage(
        name=name, path="", place="", columns=columns, filters=filters, sort=sort, fetch=fetch, lead=_no_lead
    )


INCIDENTS: Final = _page(
    "incidents",
    (
        Column(name="title", sorts=True),
        Column(name="state", kind="state", sorts=True),
        Column(name="owner", sorts=True),
        Column(name="by", sorts=True),
        Column(name="situation", kind="code"),
        Column(name="organisation", sorts=True),
        Column(name="created", kind="time", sorts=True),
        Column(name="changed", kind="time", sorts=True),
        Column(name="closed", kind="time", sorts=True),
    ),
    (Filter(name="q"), Filter(name="state", kind="choice", choices=tuple(SITUATION_STATES))),
    "-created",
    _incidents,
)
HUNTS: Final = _page(
    "hunts",
    (
        Column(name="title", sorts=True),
        Column(name="kind", sorts=True),
        Column(name="state", kind="state", sorts=True),
        Column(name="progress", kind="share"),
        Column(name="results", kind="number", sorts=True),
        Column(name="by", sorts=True),
        Column(name="organisation", sorts=True),
        Column(name="created", kind="time", sorts=True),
        Column(name="finished", kind="time", sorts=True),
    ),
    (Filter(name="q"), Filter(name="state", kind="choice", choices=tuple(JOB_STATES))),
    "-created",
    _hunts,
)
BEHAVIOURS: Final = _page(
    "behaviours",
    (
        Column(name="score", kind="number", sorts=True),
        Column(name="behaviour", sorts=True),
        Column(name="title", sorts=True),
        Column(name="level", kind="level", sorts=True),
        Column(name="organisation", sorts=True),
        Column(name="host", sorts=True),
        Column(name="account", sorts=True),
        Column(name="count", kind="number", sorts=True),
        Column(name="time", kind="time", sorts=True),
        Column(name="found", kind="time", sorts=True),
    ),
    (Filter(name="q"), Filter(name="behaviour"), Filter(name="host"), Filter(name="account")),
    "-score",
    _behaviours,
)
LISTS: Final[tuple[tuple[str, ListPage, Right], ...]] = (
    ("situations", situations.PAGE, "read"),
    ("incidents", INCIDENTS, "read"),
    ("detections", queue.PAGE, "read"),
    ("behaviours", BEHAVIOURS, "read"),
    ("suppressions", suppressions.PAGE, "read"),
    ("sources", sources.STREAMS, "read"),
    ("blind-spots", sources.BLIND, "read"),
    ("quarantine", sources.QUARANTINE, "read"),
    ("rules", rules.PAGE, "read"),
    ("rule-packs", packs.PAGE, "read"),
    ("indicator-sets", intelligence.PAGE, "read"),
    ("hunts", HUNTS, "read"),
    ("jobs", admin.PAGE, "administer"),
)
"""Resource, the list that it is, and the right that it needs."""


def add_to(router: APIRouter) -> None:
    """Add an operation for each list."""
    for name, page, right in LISTS:
        _add(router, name, page, right)


def _add(router: APIRouter, name: str, page: ListPage, right: Right) -> None:
    fields: dict[str, Any] = {"id": (str, ...)}
    fields |= {each.name: (_TYPES.get(each.kind, str | None), ...) for each in page.columns}
    title = "".join(part.capitalize() for part in name.split("-"))
    item = create_model(f"{title}Item", **fields)
    model = create_model(f"{title}Page", items=(list[item], ...), next=(str | None, ...))  # type: ignore[valid-type]  # a model is made at run time

    def listed(visit: Visit) -> Response:
        asked = msgspec.structs.replace(lists.read(page, visit), counted=False)
        rows = page.fetch(visit, asked)
        return tagged(visit, {"items": [item_of(page, row) for row in rows.rows], "next": rows.after})

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
        openapi_extra={"parameters": _parameters(page)},
    )


def _parameters(page: ListPage) -> list[dict[str, Any]]:
    schemas: dict[str, dict[str, Any]] = {each.name: _schema_of(each) for each in page.filters}
    schemas["org"] = {"type": "string"}
    schemas["sort"] = {"type": "string", "enum": [sign + each for each in page.sorts() for sign in ("", "-")]}
    schemas["after"] = {"type": "string", "maxLength": lists.FILTER_CHARACTERS_MAX}
    schemas["limit"] = {"type": "integer", "minimum": 1, "maximum": lists.ROWS_SHOWN_MAX}
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in schemas.items()]


def _schema_of(each: Filter) -> dict[str, Any]:
    if each.kind == "choice":
        return {"type": "string", "enum": list(each.choices)}
    return {"type": "string", "maxLength": lists.FILTER_CHARACTERS_MAX}


def item_of(page: ListPage, row: Row) -> dict[str, object]:
    """A row as programs get it."""
    found: dict[str, object] = {"id": row.key}
    for column in page.columns:
        value = row.values.get(column.name)
        if column.kind == "time":
            found[column.name] = at(value) if isinstance(value, int) else None
        elif column.kind == "techniques":
            found[column.name] = list(value) if isinstance(value, tuple | list) else []
        elif column.kind in _TYPES or value is None or isinstance(value, str):
            found[column.name] = value
        else:
            found[column.name] = str(value)
    return found

"""Administration: jobs and how long events are kept. Accounts, audit and backup have modules of their own."""

from __future__ import annotations

import json
from typing import Final

from starlette.responses import FileResponse, Response

from mingjian.console.lists import Action, Asked, Column, Filter, ListPage, Row, Rows, among
from mingjian.console.pages.hunt import request_of
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number, stamp
from mingjian.console.site import Visit
from mingjian.errors import InputError, NotFound
from mingjian.hunt.errands import BACKUPS_KEPT, backup_file
from mingjian.store.jobs import jobs, queue
from mingjian.store.tables import JOB_STATES
from mingjian.store.upkeep import Retention, retentions, set_retention

DAYS_MAX: Final = 36_500
FILE_NAME: Final = "mingjian"


def _fetch(visit: Visit, asked: Asked) -> Rows:
    names = visit.names()
    rows: list[Row] = []
    chosen = visit.organisation()
    for job in jobs(visit.workspace, visit.scope):
        if chosen is not None and job.organisation not in (None, chosen):
            continue
        request = request_of(job)
        ended = job.finished_us or (visit.now_us if job.started_us else None)
        rows.append(
            Row(
                key=job.public_id,
                href=visit.address(f"/hunt/{job.public_id}"),
                values={
                    "title": ", ".join(request.titles) or visit.texts(f"job.kind-{job.kind}"),
                    "state": job.state,
                    "progress": job.segments_done / job.segments_total if job.segments_total else None,
                    "results": job.results,
                    "by": request.by,
                    "organisation": "" if job.organisation is None else names.get(job.organisation, ""),
                    "created": job.created_us,
                    "seconds": None if ended is None else (ended - (job.started_us or ended)) // 1_000_000,
                    "error": job.error,
                },
            )
        )
    return among(rows, asked, texts=("title", "by", "error"))


def _lead(visit: Visit, rows: Rows) -> str:
    busy = sum(row.values["state"] in ("waiting", "running") for row in rows.rows)
    return visit.texts("jobs.lead", n=number(busy))


PAGE: Final = ListPage(
    name="jobs",
    path="/admin",
    place="admin",
    columns=(
        Column(name="title", kind="link", sorts=True),
        Column(name="state", kind="state", sorts=True),
        Column(name="progress", kind="share"),
        Column(name="results", kind="number", sorts=True),
        Column(name="by", sorts=True),
        Column(name="created", kind="time", sorts=True),
        Column(name="seconds", kind="number", sorts=True),
        Column(name="organisation", sorts=True, hidden=True),
        Column(name="error", is_reason=True),
    ),
    filters=(Filter(name="q"), Filter(name="state", kind="choice", choices=tuple(JOB_STATES))),
    actions=(Action(name="cancel-jobs", path="/jobs/cancel"),),
    sort="-created",
    fetch=_fetch,
    lead=_lead,
    above="admin_tabs.html.j2",
    context=lambda visit: {"tab": "jobs"},
    live="jobs",
)


def keeping(visit: Visit) -> Response:
    """How long events are kept."""
    visit.scope.check_administer(visit.organisation())
    return visit.page(
        "retention.html.j2",
        place="admin",
        tab="retention",
        title=visit.texts("retention.title"),
        lead=visit.texts("retention.lead"),
        retentions=retentions(visit.workspace, visit.scope),
        names=visit.names(),
    )


def keep(visit: Visit) -> Response:
    """Say how long events are kept."""
    organisation = visit.organisation()
    visit.scope.check_administer(organisation)
    pattern, days = visit.given("pattern").strip(), visit.given("days")
    if not pattern or not days.isdecimal() or int(days) > DAYS_MAX:
        raise InputError("a stream and a number of days are needed", hint=f"0 to {DAYS_MAX} days; 0 for ever")
    retention = Retention(stream_pattern=pattern, days=int(days), organisation=organisation)
    set_retention(visit.workspace, visit.scope, retention)
    return visit.redirect("/admin/retention", done="saved")


def _backups(visit: Visit, asked: Asked) -> Rows:
    visit.scope.check_administer(None, "workspace")
    rows: list[Row] = []
    for job in jobs(visit.workspace, visit.scope):
        if job.kind != "backup":
            continue
        file = backup_file(visit.workspace, job)
        size = file.stat().st_size if file.is_file() else None
        rows.append(
            Row(
                key=job.public_id,
                href=visit.address(f"/admin/backups/{job.public_id}") if size and job.state == "done" else "",
                values={
                    "file": f"{FILE_NAME}-{stamp(job.created_us)[:10]}.backup",
                    "state": job.state,
                    "progress": job.segments_done / job.segments_total if job.segments_total else None,
                    "bytes": size,
                    "by": request_of(job).by,
                    "created": job.created_us,
                    "error": job.error,
                },
            )
        )
    return among(rows, asked)


BACKUPS: Final = ListPage(
    name="backups",
    path="/admin/backups",
    place="admin",
    columns=(
        Column(name="file", kind="download"),
        Column(name="state", kind="state", sorts=True),
        Column(name="progress", kind="share"),
        Column(name="bytes", kind="bytes", sorts=True),
        Column(name="by", sorts=True),
        Column(name="created", kind="time", sorts=True),
        Column(name="error", is_reason=True),
    ),
    sort="-created",
    fetch=_backups,
    lead=lambda visit, rows: visit.texts("backups.lead", n=number(BACKUPS_KEPT)),
    actions=(Action(name="cancel-jobs", path="/jobs/cancel", right="administer"),),
    above="backups_above.html.j2",
    context=lambda visit: {"tab": "backups"},
    live="jobs",
)


def make_backup(visit: Visit) -> Response:
    """Put a backup on the list of what is to be done."""
    visit.scope.check_administer(None, "workspace")
    request = json.dumps({"by": visit.visitor.name, "asked_us": visit.now_us})
    queue(visit.workspace, visit.scope, "backup", request=request)
    return visit.redirect("/admin/backups", done="backup-asked")


def download(visit: Visit) -> Response:
    """A backup, as a file. Everything is in it, the keys too."""
    visit.scope.check_administer(None, "workspace")
    wanted = visit.request.path_params["id"]
    job = next((each for each in jobs(visit.workspace, visit.scope) if each.public_id == wanted), None)
    file = None if job is None or job.kind != "backup" else backup_file(visit.workspace, job)
    if job is None or job.state != "done" or file is None or not file.is_file():
        raise NotFound("there is no such backup", hint="only the last ones stay")
    visit.act("backup.downloaded", about=job.public_id)
    name = f"{FILE_NAME}-{stamp(job.created_us)[:10]}.backup"
    return FileResponse(file, media_type="application/octet-stream", filename=name)


ROUTES: Final = (
    list_route(BACKUPS, "administer"),
    Route("POST", "/admin/backups", make_backup, "administer"),
    Route("GET", "/admin/backups/{id}", download, "administer"),
    list_route(PAGE, "administer"),
    Route("GET", "/admin/retention", keeping, "administer"),
    Route("POST", "/admin/retention", keep, "administer"),
)

"""Sources and coverage: what comes in, where nothing can be seen, what could not be read and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from mingjian.console.blindness import blind_spots
from mingjian.console.lists import Action, Asked, Column, Filter, ListPage, Row, Rows, among
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import day_text, number
from mingjian.console.site import Visit
from mingjian.errors import InputError, NotFound
from mingjian.hunt.answer import days_in_words
from mingjian.hunt.holes import KINDS
from mingjian.hunt.reasons import in_words
from mingjian.store.catalogue import quarantined
from mingjian.store.inflow import inflow, unreadable
from mingjian.store.quarantine import Retry, alike, ask_retry, retries
from mingjian.store.scope import OrganisationId

LATE_S: Final = 24 * 3600
"""A stream is late if nothing came in for so long while others did."""
DATA_BYTES_SHOWN: Final = 20_000
QUARANTINE_LOOKED_AT: Final = 100_000


def _streams(visit: Visit, asked: Asked) -> Rows:
    scope, organisation = visit.scope, visit.organisation()
    found = visit.remember("inflow", 5.0, lambda: inflow(visit.workspace, scope, organisation), organisation)
    newest = max((each.received_us for each in found), default=0)
    silent = {
        (hole.organisation, name)
        for hole in blind_spots(visit, organisation)[1]
        if hole.kind == "stream" and hole.last_day is None
        for name in hole.what.split("\n")
    }
    names = visit.names()
    rows = [
        Row(
            key=f"{each.organisation}:{each.stream}",
            values={
                "stream": each.stream,
                "organisation": names[each.organisation],
                "state": "silent"
                if {(names[each.organisation], each.stream), ("", each.stream)} & silent
                else "late"
                if (newest - each.received_us) / 1_000_000 > LATE_S
                else "on-time",
                "events": each.events,
                "bytes": each.bytes,
                "days": each.days,
                "first": each.first_us,
                "last": each.last_us,
                "received": each.received_us,
                "segments": each.segments,
            },
        )
        for each in found
    ]
    return among(rows, asked, texts=("stream", "organisation"))


def _streams_lead(visit: Visit, rows: Rows) -> str:
    if not rows.total:
        return visit.texts("sources.lead-none")
    events = sum(int(str(row.values["events"])) for row in rows.rows)
    late = sum(row.values["state"] != "on-time" for row in rows.rows)
    return visit.texts("sources.lead", n=number(rows.total), events=number(events), late=number(late))


STREAMS: Final = ListPage(
    name="sources",
    path="/sources",
    place="sources",
    columns=(
        Column(name="stream", kind="code", sorts=True),
        Column(name="organisation", sorts=True),
        Column(name="state", kind="state", sorts=True),
        Column(name="received", kind="time", sorts=True),
        Column(name="events", kind="number", sorts=True),
        Column(name="bytes", kind="bytes", sorts=True),
        Column(name="days", kind="number", sorts=True),
        Column(name="first", kind="time", sorts=True),
        Column(name="last", kind="time", sorts=True),
        Column(name="segments", kind="number", sorts=True, hidden=True),
    ),
    filters=(Filter(name="q"), Filter(name="state", kind="choice", choices=("on-time", "late", "silent"))),
    sort="stream",
    fetch=_streams,
    lead=_streams_lead,
    above="sources_tabs.html.j2",
    context=lambda visit: {"tab": "streams"},
    live="events",
)


def _blind(visit: Visit, asked: Asked) -> Rows:
    _, holes = blind_spots(visit, visit.organisation())
    rows = [
        Row(
            key=str(place),
            values={
                "hole": hole.kind,
                "what": hole.what.replace("\n", ", "),
                "organisation": hole.organisation,
                "when": days_in_words(hole.first_day, hole.last_day, visit.language),
                "from": None if hole.first_day is None else day_text(hole.first_day),
                "to": None if hole.last_day is None else day_text(hole.last_day),
                "lasting": hole.days or None,
                "count": hole.count or None,
                "weight": KINDS.index(hole.kind) * 100_000 + place,
            },
        )
        for place, hole in enumerate(holes)
    ]
    return among(rows, asked, texts=("what", "organisation"))


def _blind_lead(visit: Visit, rows: Rows) -> str:
    window, holes = blind_spots(visit, visit.organisation())
    if window is None:
        return visit.texts("blind.lead-none")
    first, last = day_text(window.first_day), day_text(window.last_day)
    return visit.texts("blind.lead", n=number(len(holes)), first=first, last=last)


BLIND: Final = ListPage(
    name="blind",
    path="/sources/blind",
    place="sources",
    columns=(
        Column(name="hole", kind="word", sorts=True),
        Column(name="what", kind="code", sorts=True),
        Column(name="organisation", sorts=True),
        Column(name="when"),
        Column(name="lasting", kind="number", sorts=True),
        Column(name="count", kind="number", sorts=True),
        Column(name="from", sorts=True, hidden=True),
        Column(name="to", sorts=True, hidden=True),
        Column(name="weight", kind="number", sorts=True, hidden=True),
    ),
    filters=(Filter(name="q"), Filter(name="hole", kind="choice", choices=tuple(KINDS))),
    sort="weight",
    fetch=_blind,
    lead=_blind_lead,
    above="sources_tabs.html.j2",
    context=lambda visit: {"tab": "blind"},
)


def _quarantine(visit: Visit, asked: Asked) -> Rows:
    names = visit.names()
    rows = [
        Row(
            key=str(each.last_id),
            href=visit.address(f"/sources/quarantine/{each.last_id}"),
            values={
                "file": each.file,
                "reason": each.reason,
                "code": each.code,
                "organisation": names[each.organisation],
                "count": each.count,
                "record": each.first_record,
                "received": each.received_us,
            },
        )
        for each in unreadable(visit.workspace, visit.scope, visit.organisation())
    ]
    return among(rows, asked, texts=("file", "reason", "organisation"))


def _quarantine_lead(visit: Visit, rows: Rows) -> str:
    pieces = sum(int(str(row.values["count"])) for row in rows.rows)
    return visit.texts("quarantine.lead", n=number(pieces), files=number(rows.total or 0))


QUARANTINE: Final = ListPage(
    name="quarantine",
    path="/sources/quarantine",
    place="sources",
    columns=(
        Column(name="received", kind="time", sorts=True),
        Column(name="reason", kind="link", sorts=True, is_reason=True),
        Column(name="count", kind="number", sorts=True),
        Column(name="file", kind="code", sorts=True),
        Column(name="record", kind="number"),
        Column(name="organisation", sorts=True),
        Column(name="code", kind="code", sorts=True, hidden=True),
    ),
    filters=(Filter(name="q"),),
    actions=(Action(name="retry-entries", path="/sources/quarantine/retry"),),
    sort="-received",
    fetch=_quarantine,
    lead=_quarantine_lead,
    above="quarantine_above.html.j2",
    context=lambda visit: {"tab": "quarantine", "may_write": visit.may("write")},
    live="events",
)


def _retried(visit: Visit, asked: Asked) -> Rows:
    names = visit.names()
    rows = [
        Row(
            key=f"{each.entry_id}:{each.at_us}",
            href=visit.address(f"/sources/quarantine/{each.entry_id}"),
            values={
                "at": each.at_us,
                "outcome": each.outcome,
                "events": each.events,
                "by": each.actor,
                "reason": each.item.reason,
                "file": each.item.file,
                "record": each.item.record,
                "organisation": names[each.organisation],
            },
        )
        for each in retries(visit.workspace, visit.scope, organisation=visit.organisation())
    ]
    return among(rows, asked, texts=("file", "reason", "by"))


def _retried_lead(visit: Visit, rows: Rows) -> str:
    read = sum(row.values["outcome"] == "read" for row in rows.rows)
    return visit.texts("retried.lead", n=number(rows.total or 0), read=number(read))


RETRIED: Final = ListPage(
    name="retried",
    path="/sources/quarantine/retried",
    place="sources",
    columns=(
        Column(name="at", kind="time", sorts=True),
        Column(name="outcome", kind="word", sorts=True),
        Column(name="events", kind="number", sorts=True),
        Column(name="by", sorts=True),
        Column(name="reason", kind="link", sorts=True, is_reason=True),
        Column(name="file", kind="code", sorts=True),
        Column(name="record", kind="number"),
        Column(name="organisation", sorts=True),
    ),
    filters=(Filter(name="q"), Filter(name="outcome", kind="choice", choices=("read", "unread", "file-needed"))),
    sort="-at",
    fetch=_retried,
    lead=_retried_lead,
    above="sources_tabs.html.j2",
    context=lambda visit: {"tab": "quarantine"},
    live="jobs",
)


def retry(visit: Visit) -> Response:
    """Let pieces be read again: those that are selected with all of their file and kind, or everything."""
    chosen: list[int] = []
    keys = visit.given_all("key")
    for key in keys:
        if not key.isdecimal():
            raise NotFound("there is no such piece in quarantine")
        chosen += alike(visit.workspace, visit.scope, int(key))
    if not keys and visit.given("all") != "1":
        raise InputError("nothing is selected", hint="x selects a row")
    organisation = visit.organisation() if not keys else None
    reach = _owner_of(visit) if organisation is None else organisation
    job = ask_retry(
        visit.workspace,
        visit.scope,
        chosen,
        organisation=reach,
        title=visit.texts("quarantine.retry-title"),
        by=visit.visitor.name,
    )
    return visit.redirect(f"/hunt/{job.public_id}", done="retry-asked")


def _owner_of(visit: Visit) -> OrganisationId | None:
    """Whose pieces a job may read again: of all, or of the one organisation that the scope reaches."""
    writes = visit.scope.writes
    return next(iter(writes)) if isinstance(writes, frozenset) and len(writes) == 1 else None


def quarantined_piece(visit: Visit) -> Response:
    """One piece of input that could not be read, as it came in."""
    wanted = visit.request.path_params["id"]
    tries = _tries_of(visit, wanted)
    rows = quarantined(visit.workspace, visit.scope, organisation=visit.organisation(), limit=QUARANTINE_LOOKED_AT)
    found = next((row for row in rows if str(row.id) == wanted), None)
    came_through = next((each for each in tries if each.outcome == "read"), None)
    if found is None and came_through is None:
        raise NotFound("there is no such piece in quarantine")
    piece = found or came_through
    assert piece is not None
    return visit.page(
        "quarantined_part.html.j2" if visit.is_partial else "quarantined.html.j2",
        place="sources",
        title=in_words(piece.item.reason, visit.language),
        lead="",
        item=piece.item,
        key=wanted,
        received_us=piece.received_us,
        organisation=visit.names()[piece.organisation],
        data=piece.item.data[:DATA_BYTES_SHOWN].decode("utf-8", "backslashreplace"),
        cut=max(0, len(piece.item.data) - DATA_BYTES_SHOWN),
        tries=tries,
        is_there=found is not None,
        may_write=visit.scope.may_write(piece.organisation),
    )


def _tries_of(visit: Visit, entry_id: str) -> Sequence[Retry]:
    if not entry_id.isdecimal():
        raise NotFound("there is no such piece in quarantine")
    return retries(visit.workspace, visit.scope, organisation=visit.organisation(), entry_id=int(entry_id))


ROUTES: Final = (
    list_route(STREAMS),
    list_route(BLIND),
    list_route(QUARANTINE),
    list_route(RETRIED),
    Route("POST", "/sources/quarantine/retry", retry, "write"),
    Route("GET", "/sources/quarantine/{id}", quarantined_piece),
)

"""Looking things up: organisations, one detection, raw records, the verdict card, sightings, coverage, quarantine."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import Response

from mingjian.console.api.frame import Org, PublicId, Reading, at, name_of, tagged
from mingjian.console.api.lists import item_of
from mingjian.console.blindness import blind_spots
from mingjian.console.pages import ask, queue
from mingjian.console.pages.sources import DATA_BYTES_SHOWN, QUARANTINE_LOOKED_AT
from mingjian.console.shapes import day_text
from mingjian.errors import NotFound
from mingjian.formats.records import json_bytes
from mingjian.hunt.answer import Answer, sentence
from mingjian.hunt.records import records_at
from mingjian.store.catalogue import quarantined
from mingjian.store.detections import detection_by_id
from mingjian.store.situations import situations_of_detections

SIGHTINGS_LISTED_MAX: Final = 1_000
"""So many sightings are listed in one answer, the newest days first; an export has all of them."""
FILE_CHARACTERS_MAX: Final = 4_096


class Organisation(BaseModel):
    """Whose events they are."""

    id: str
    name: str


class Organisations(BaseModel):
    """All that may be seen."""

    items: list[Organisation]


class RawRecord(BaseModel):
    """A record as it came in."""

    organisation: str
    stream: str
    file: str
    number: int
    record: dict[str, Any]
    raw: str


class RawRecords(BaseModel):
    """The records to which a pointer points."""

    items: list[RawRecord]


class SightingItem(BaseModel):
    """An observable seen on one day by one source of one organisation in one role."""

    organisation: str
    source: str
    role: str
    day: str | None
    count: int
    first: str | None
    last: str | None


class Sightings(BaseModel):
    """An observable over all of history."""

    kind: str
    value: str
    count: int
    """In how many events."""
    first: str | None
    last: str | None
    items: list[SightingItem]
    """The newest days first."""
    left_out: int
    """So many more sightings there are."""


class CoverageState(BaseModel):
    """The time that history reaches over, and what could not be seen in it."""

    first: str | None
    """A day; none if there are no events with a time."""
    last: str | None
    holes: dict[str, int]
    """Kind of hole → how many there are; ``/blind-spots`` lists them."""
    sentence: str


class QuarantinedPiece(BaseModel):
    """A piece of input that could not be read, as it came in."""

    id: str
    organisation: str
    file: str
    record: int
    offset: int
    code: str
    reason: str
    received: str | None
    data: str
    """As text; what is no UTF-8 is escaped."""
    left_out: int
    """So many bytes more there are."""


def add_to(router: APIRouter) -> None:
    """Add the operations."""
    _add_records(router)
    _add_answers(router)


def _add_records(router: APIRouter) -> None:
    @router.get("/organisations", response_model=Organisations, operation_id="list-organisations")
    def organisations(visit: Reading) -> Response:
        """List the organisations that may be seen."""
        return tagged(visit, {"items": [{"id": each.public_id, "name": each.name} for each in visit.organisations()]})

    @router.get("/detections/{id}", response_model=dict[str, Any], operation_id="get-detection")
    def detection(visit: Reading, id: PublicId) -> Response:
        """One detection with what it matched, and in which situations it is."""
        each = detection_by_id(visit.workspace, visit.scope, id)
        more = {
            "matched": each.detection.matched,
            "atoms": list(each.detection.atoms),
            "situations": situations_of_detections(visit.workspace, visit.scope, [each.id]).get(each.id, []),
        }
        return tagged(visit, item_of(queue.PAGE, queue.row_of(visit, each)) | more)

    @router.get("/records", response_model=RawRecords, operation_id="get-records")
    def records(
        visit: Reading,
        file: Annotated[str, Query(min_length=1, max_length=FILE_CHARACTERS_MAX)],
        number: Annotated[int, Query(ge=0, lt=1 << 62)],
        org: Org = "",
    ) -> Response:
        """The raw records to which a pointer points."""
        found = records_at(visit.workspace, visit.scope, file, number, organisation=visit.organisation())
        items = [
            {
                "organisation": name_of(visit, each.organisation),
                "stream": each.stream,
                "file": each.file,
                "number": each.number,
                "record": msgspec.Raw(json_bytes(each.record)),
                "raw": each.raw.decode("utf-8", "backslashreplace"),
            }
            for each in found
        ]
        return tagged(visit, {"items": items})

    @router.get("/quarantine/{id}", response_model=QuarantinedPiece, operation_id="get-quarantined")
    def piece(visit: Reading, id: PublicId, org: Org = "") -> Response:
        """One piece of input that could not be read."""
        rows = quarantined(visit.workspace, visit.scope, organisation=visit.organisation(), limit=QUARANTINE_LOOKED_AT)
        found = next((row for row in rows if str(row.id) == id), None)
        if found is None:
            raise NotFound("there is no such piece in quarantine")
        item = found.item
        return tagged(
            visit,
            {
                "id": id,
                "organisation": name_of(visit, found.organisation),
                "file": item.file,
                "record": item.record,
                "offset": item.offset,
                "code": item.code,
                "reason": item.reason,
                "received": at(found.received_us),
                "data": item.data[:DATA_BYTES_SHOWN].decode("utf-8", "backslashreplace"),
                "left_out": max(0, len(item.data) - DATA_BYTES_SHOWN),
            },
        )


def _add_answers(router: APIRouter) -> None:
    @router.get("/ask", response_model=dict[str, Any], operation_id="ask")
    def asking(
        visit: Reading,
        q: Annotated[str, Query(min_length=1, max_length=ask.CHARACTERS_MAX)],
        kind: Annotated[str, Query(max_length=40)] = "",
        org: Org = "",
    ) -> Response:
        """The verdict card: who it is, friend or foe, what it did, what could not be seen."""
        card, _ = ask.card_of(visit, q, kind)
        return tagged(visit, card)

    @router.get("/sightings", response_model=Sightings, operation_id="get-sightings")
    def sightings(
        visit: Reading,
        q: Annotated[str, Query(min_length=1, max_length=ask.CHARACTERS_MAX)],
        kind: Annotated[str, Query(max_length=40)] = "",
        org: Org = "",
    ) -> Response:
        """Where and when an observable was seen: by day, source and role, over all of history."""
        which, value, _ = ask.meant(visit, q, kind)
        chosen = visit.organisation()
        places = None if chosen is None else [int(chosen)]
        with visit.workspace.reading():
            index = visit.site.index.open(visit.scope)
            totals = index.totals(which, value, organisations=places)
            found = index.lookup(which, value, organisations=places)
            order = sorted(range(len(found)), key=lambda place: -(found[place].day or 0))
            some = [found[place] for place in order[:SIGHTINGS_LISTED_MAX]]
        names = {int(number): name for number, name in visit.names().items()}
        items = [
            {
                "organisation": names.get(each.organisation, ""),
                "source": each.source,
                "role": each.role,
                "day": None if each.day is None else day_text(each.day),
                "count": each.count,
                "first": at(each.first_us),
                "last": at(each.last_us),
            }
            for each in some
        ]
        return tagged(
            visit,
            {
                "kind": which,
                "value": value,
                "count": 0 if totals is None else totals.count,
                "first": None if totals is None else at(totals.first_us),
                "last": None if totals is None else at(totals.last_us),
                "items": items,
                "left_out": len(order) - len(some),
            },
        )

    @router.get("/coverage", response_model=CoverageState, operation_id="get-coverage")
    def coverage(visit: Reading, org: Org = "") -> Response:
        """Over which time history reaches, and how much of it could not be seen."""
        window, holes = blind_spots(visit, visit.organisation())
        return tagged(
            visit,
            {
                "first": None if window is None else day_text(window.first_day),
                "last": None if window is None else day_text(window.last_day),
                "holes": dict(Counter(hole.kind for hole in holes)),
                "sentence": sentence(Answer(found=0, window=window, holes=tuple(holes)), visit.language),
            },
        )

"""The queue: detections, filtered and ordered; one detection with its why; the raw record behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from mingjian.console.lists import Asked, Column, Filter, ListPage, Row, Rows
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number, stamp
from mingjian.console.site import Visit
from mingjian.errors import InputError, NotFound, SchemaError, shown
from mingjian.formats.records import json_bytes
from mingjian.hunt.records import records_at
from mingjian.model.rules import LEVELS
from mingjian.model.sources import ObservableKind
from mingjian.model.times import parse_time_us
from mingjian.situations.guessing import guesses
from mingjian.store.browsing import Wanted, browse, count_up_to, counts_by_level
from mingjian.store.detections import StoredDetection, detection_by_id
from mingjian.store.segments import US_PER_DAY
from mingjian.store.situations import situations_of_detections

COUNTED_MAX: Final = 10_000
"""So many are counted for the sentence above the list; of more it says “more than”."""
FIELDS_SHOWN_MAX: Final = 500
LINKED_CHARACTERS_MAX: Final = 300
"""In a longer value nothing is taken for an observable."""
RAW_CHARACTERS_MAX: Final = 100_000
_SURE: Final = frozenset({"ip", "url", "email", "hash", "ja4"})
"""What a value of a record is taken for at sight; names need more than that."""
_NAMED: Final[dict[str, ObservableKind]] = {
    "computer": "host", "computername": "host", "hostname": "host", "host": "host", "workstation": "host",
    "user": "account", "username": "account", "targetusername": "account", "subjectusername": "account",
    "account": "account", "image": "file", "parentimage": "file", "targetfilename": "file", "query": "domain",
    "queryname": "domain", "destinationhostname": "domain",
}  # fmt: skip
"""Fields that say what their value is."""
_ORDERS: Final = {"time": ("newest", "oldest"), "found": ("found", "found")}


def wanted_of(visit: Visit, filters: Mapping[str, str]) -> Wanted:
    """The conditions that filters stand for. Raises: SchemaError, NotFound."""
    level = filters.get("level", "")
    return Wanted(
        organisation=visit.organisation(),
        levels=LEVELS[next((place for place, each in enumerate(LEVELS) if each == level), 0) :],
        rule_id=filters.get("rule", ""),
        host=filters.get("host", ""),
        account=filters.get("account", ""),
        kind=filters.get("kind", ""),
        title=filters.get("q", ""),
        found_by=filters.get("found_by", ""),
        first_us=_moment(filters.get("since", "")),
        until_us=_moment(filters.get("until", ""), days=1),
    )


def _moment(text: str, days: int = 0) -> int | None:
    if not text:
        return None
    is_day = len(text) == len("2026-01-31")
    found = parse_time_us(f"{text}T00:00:00" if is_day else text)
    if found is None:
        raise SchemaError(f"{shown(text)} is no day", hint="2026-01-31")
    return found + (days * US_PER_DAY if is_day else 0)


def row_of(visit: Visit, each: StoredDetection) -> Row:
    """A detection as a row."""
    one = each.detection
    owner = next((org.public_id for org in visit.organisations() if org.id == each.organisation), "")
    return Row(
        key=each.public_id,
        href=visit.address(f"/detections/{each.public_id}"),
        evidence=visit.address("/records", file=one.file, number=one.record, of=owner) if one.record >= 0 else "",
        values={
            "id": each.public_id,
            "time": one.time_us,
            "level": one.level,
            "title": one.rule_title,
            "organisation": visit.names().get(each.organisation, ""),
            "host": one.host,
            "account": one.account,
            "techniques": one.attack,
            "kind": one.kind,
            "rule": one.rule_id,
            "stream": one.stream,
            "file": one.file,
            "record": one.record,
            "matched": "; ".join(f"{name}: {value}" for name, value in one.matched.items()),
            "found": each.found_us,
            "found_by": each.found_by,
        },
    )


def fetch(visit: Visit, asked: Asked) -> Rows:
    """Detections, a page at a time."""
    wanted = wanted_of(visit, asked.filters)
    down, up = _ORDERS[asked.sort]
    order = down if asked.descending else up
    portion = browse(
        visit.workspace, visit.scope, wanted, order=order, after=asked.after, limit=asked.limit  # type: ignore[arg-type]  # of the table above
    )  # fmt: skip
    total = None
    if asked.counted and not asked.after:
        scope = visit.scope
        total = visit.remember(
            "count", 5.0, lambda: count_up_to(visit.workspace, scope, wanted, COUNTED_MAX + 1), wanted
        )
    return Rows(
        rows=[row_of(visit, each) for each in portion.rows],
        after=portion.after,
        total=None if total is None else min(total, COUNTED_MAX),
        total_is_bound=total is not None and total > COUNTED_MAX,
    )


def _lead(visit: Visit, rows: Rows) -> str:
    if not rows.rows:
        return visit.texts("detections.lead-none")
    if not any(visit.asked(each.name) for each in FILTERS):
        scope, organisation = visit.scope, visit.organisation()
        counts = visit.remember(
            "levels", 5.0, lambda: counts_by_level(visit.workspace, scope, organisation=organisation), organisation
        )
        return visit.texts("detections.lead-all", **{level: number(count) for level, count in counts.items()})
    key = "detections.lead-bound" if rows.total_is_bound else "detections.lead"
    return visit.texts(key, n=number(rows.total or len(rows.rows)))


FILTERS: Final = (
    Filter(name="q"),
    Filter(name="level", kind="choice", choices=tuple(reversed(LEVELS))),
    Filter(name="host"),
    Filter(name="since", kind="day"),
    Filter(name="until", kind="day"),
    Filter(name="account"),
    Filter(name="rule"),
    Filter(name="kind", kind="choice", choices=("rule", "correlation", "indicator", "behaviour")),
)
PAGE: Final = ListPage(
    name="detections",
    path="/detections",
    place="queue",
    columns=(
        Column(name="time", kind="time", sorts=True),
        Column(name="level", kind="level"),
        Column(name="title", kind="link"),
        Column(name="organisation", kind="text"),
        Column(name="host", kind="entity", entity="host"),
        Column(name="account", kind="entity", entity="account"),
        Column(name="techniques", kind="techniques"),
        Column(name="matched", kind="code", hidden=True),
        Column(name="kind", kind="word", hidden=True),
        Column(name="rule", kind="code", hidden=True),
        Column(name="stream", kind="code", hidden=True),
        Column(name="file", kind="code", hidden=True),
        Column(name="record", kind="number", hidden=True),
        Column(name="found", kind="time", sorts=True, hidden=True),
        Column(name="found_by", kind="word", hidden=True),
        Column(name="id", kind="code", hidden=True),
    ),
    filters=FILTERS,
    sort="-time",
    fetch=fetch,
    lead=_lead,
    above="queue_tabs.html.j2",
    context=lambda visit: {"tab": "detections"},
    live="detections",
)


def show(visit: Visit) -> Response:
    """One detection: what, where, why, and the way to its evidence."""
    each = detection_by_id(visit.workspace, visit.scope, visit.request.path_params["id"])
    row = row_of(visit, each)
    return visit.page(
        "detection_part.html.j2" if visit.is_partial else "detection.html.j2",
        place="queue",
        title=each.detection.rule_title,
        lead="",
        row=row,
        each=each,
        one=each.detection,
        situations=situations_of_detections(visit.workspace, visit.scope, [each.id]).get(each.id, ()),
    )


class Field(msgspec.Struct, frozen=True):
    """A field of a record, and what its value is if that can be told."""

    name: str
    value: str
    kind: str


def fields_of(record: Mapping[str, object]) -> list[Field]:
    """The fields of a record, nested ones with their path, as far as they are shown."""
    found: list[Field] = []
    pending: list[tuple[str, object]] = list(reversed([(str(name), value) for name, value in record.items()]))
    while pending and len(found) < FIELDS_SHOWN_MAX:
        name, value = pending.pop()
        if isinstance(value, Mapping) and value:
            inner: list[tuple[str, object]] = [(f"{name}.{key}", each) for key, each in value.items()]  # pyright: ignore[reportUnknownVariableType] - a record is of any shape
            pending += reversed(inner)
            continue
        text = value if isinstance(value, str) else json_bytes({"v": value}).decode("utf-8", "backslashreplace")[5:-1]  # type: ignore[dict-item]  # a record is of any shape
        found.append(Field(name, text, _kind_of(name, text)))
    return found


def _kind_of(name: str, text: str) -> str:
    if not text or len(text) > LINKED_CHARACTERS_MAX or text == "-":
        return ""
    named = _NAMED.get(name.rpartition(".")[2].casefold().replace("_", ""))
    possible = [kind for kind, _ in guesses(text)]
    if named is not None and named in possible:
        return named
    return possible[0] if possible and possible[0] in _SURE else ""


def record(visit: Visit) -> Response:
    """A raw record: every field, and the bytes as they came in."""
    file, number_text = visit.asked("file"), visit.asked("number")
    if not file or not number_text.isdecimal():
        raise InputError("a record is named by its file and its number")
    owner = next((each.id for each in visit.organisations() if each.public_id == visit.asked("of")), None)
    if visit.asked("of") and owner is None:
        raise NotFound("there is no such organisation")
    found = records_at(visit.workspace, visit.scope, file, int(number_text), organisation=owner)
    entries = [
        {
            "stream": each.stream,
            "organisation": visit.names().get(each.organisation, ""),
            "fields": fields_of(each.record),
            "raw": each.raw.decode("utf-8", "backslashreplace")[:RAW_CHARACTERS_MAX],
            "cut": max(0, len(each.raw) - RAW_CHARACTERS_MAX),
        }
        for each in found
    ]
    return visit.page(
        "record_part.html.j2" if visit.is_partial else "record.html.j2",
        place="queue",
        title=visit.texts("record.title", number=number(int(number_text))),
        lead=file,
        entries=entries,
        file=file,
        record_number=number_text,
        stamp=stamp,
    )


ROUTES: Final = (
    list_route(PAGE),
    Route("GET", "/detections/{id}", show),
    Route("GET", "/records", record),
)

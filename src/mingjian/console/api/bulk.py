"""Much at once: events, detections, sightings and indicators out, events and indicators in; JSON lines or Arrow.

Out, the header ``mingjian-rows`` says how many rows there are before the first of them: whoever gets fewer was cut off.
In, a body goes to the disk while it comes in, within bounds, before anything is done with it.
"""

from __future__ import annotations

import asyncio
import datetime
import io
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, BinaryIO, Final, Literal, TypeAlias, cast

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mingjian.console.api.frame import Level, Org, Reading, Writing
from mingjian.console.api.intelligence import SetAdded, SetNumber, Tlp, add_set
from mingjian.console.guard import IMPORT_BYTES_MAX
from mingjian.console.pages import ask
from mingjian.console.site import Visit
from mingjian.errors import InputError, LimitExceeded, ParseError, SchemaError, shown
from mingjian.formats import arrowstream
from mingjian.formats.arrow import ArrowBlock
from mingjian.formats.indicators import documents, tables
from mingjian.formats.indicators.lists import Entry
from mingjian.formats.json import read_lines
from mingjian.formats.records import json_bytes
from mingjian.hunt.exporting import DETECTIONS, EVENTS, JSON_COLUMNS, SIGHTINGS, Export, Exporter, Period, Row
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.indicators import Assumed, Indicator, SkippedIndicator, marking_of
from mingjian.model.values import Value
from mingjian.sources import importing
from mingjian.store.exporting import Which
from mingjian.store.indicators import UNREAD_MAX, Details, Unread, indicators_of, set_by_id

JSON_LINES: Final = "application/x-ndjson"
ROWS_HEADER: Final = "mingjian-rows"
STREAMS_MAX: Final = 100
STREAM_CHARACTERS_MAX: Final = 300
READ_BYTES: Final = 1024 * 1024
IMPORTS_AT_ONCE: Final = 2
"""So many bodies one process takes in at the same time; others wait."""
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Form: TypeAlias = Literal["jsonl", "arrow"]
As = Annotated[Form, Query(alias="as", description="JSON lines, or an Arrow stream.")]
Moment = Annotated[str, Query(max_length=40, description="A day, or a moment in ISO 8601 (UTC if it names no zone).")]
Streams = Annotated[
    list[Annotated[str, Query(max_length=STREAM_CHARACTERS_MAX)]],
    Query(max_length=STREAMS_MAX, description="Names of streams; without one, all."),
]
_COUNTED: Final = {ROWS_HEADER: {"description": "So many rows there are", "schema": {"type": "string"}}}
_ROWS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The rows; the header mingjian-rows says how many there are",
        "content": {JSON_LINES: {"schema": {}}, arrowstream.MEDIA_TYPE: {"schema": {}}},
        "headers": _COUNTED,
    }
}
_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One record in each line; the header mingjian-rows says how many there are",
        "content": {JSON_LINES: {"schema": {}}},
        "headers": _COUNTED,
    }
}


class EventsTaken(BaseModel):
    """What came of handing events over. They are on the disk; those that cannot be read will be in quarantine."""

    accepted: int
    repeated: bool
    """They were handed over before, and are not taken in again."""


def add_to(router: APIRouter) -> None:
    """Add the operations."""
    _add_exports(router)
    _add_ocsf(router)
    _add_indicators(router)
    _add_imports(router)


# --- out -------------------------------------------------------------------------------------------------------------


def moment_us(text: str, name: str) -> int | None:
    """A moment in microseconds; None for none. Raises: InputError."""
    if not text:
        return None
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{shown(text)} is no day and no moment", where=name, hint="2026-05-01T12:00:00Z") from None
    zoned = when if when.tzinfo is not None else when.replace(tzinfo=datetime.UTC)
    return (zoned - _EPOCH) // datetime.timedelta(microseconds=1)


def _period(visit: Visit, streams: Sequence[str], since: str, until: str) -> Period:
    return Period(
        streams=tuple(streams) or None,
        organisation=visit.organisation(),
        first_us=moment_us(since, "since"),
        until_us=moment_us(until, "until"),
    )


def _which(visit: Visit, level: Level, since: str, until: str) -> Which:
    return Which(
        organisation=visit.organisation(),
        level=level,
        first_us=moment_us(since, "since"),
        until_us=moment_us(until, "until"),
    )


def _exporter(visit: Visit) -> Exporter:
    return Exporter(visit.workspace, visit.scope, visit.site.sources, visit.organisations())


def _time(value: object) -> str | None:
    if not isinstance(value, int):
        return None
    try:
        return (_EPOCH + datetime.timedelta(microseconds=value)).isoformat(timespec="microseconds")[:-6] + "Z"
    except OverflowError:
        return str(value)


def as_json_lines(schema: pa.Schema, portions: Iterator[list[Row]]) -> Iterator[bytes]:
    """Rows as JSON lines: times as ISO 8601 with microseconds, what is JSON already as it is."""
    names = schema.names
    times = [pa.types.is_timestamp(kind) for kind in schema.types]
    are_json = [name in JSON_COLUMNS for name in names]

    def written(row: Row) -> bytes:
        cells: dict[str, object] = {}
        for name, cell, is_time, is_json in zip(names, row, times, are_json, strict=True):
            cells[name] = _time(cell) if is_time else msgspec.Raw(cast("bytes", cell)) if is_json else cell
        return msgspec.json.encode(cells)

    for portion in portions:
        yield b"".join(written(row) + b"\n" for row in portion)


def as_arrow(schema: pa.Schema, portions: Iterator[list[Row]]) -> Iterator[bytes]:
    """Rows as an Arrow stream; a time that no calendar has is null."""
    buffer = io.BytesIO()
    writer = pa.ipc.new_stream(buffer, schema)
    for portion in portions:
        columns = [
            pa.array([_cell(cell) for cell in column], kind)
            for column, kind in zip(zip(*portion, strict=True), schema.types, strict=True)
        ]
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))  # pyright: ignore[reportUnknownMemberType] - the stubs leave its types open
        yield _taken(buffer)
    writer.close()
    yield _taken(buffer)


def _cell(cell: object) -> object:
    return cell.decode("utf-8", "backslashreplace") if isinstance(cell, bytes) else cell


def _taken(buffer: io.BytesIO) -> bytes:
    data = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return data


def _streamed(visit: Visit, what: str, schema: pa.Schema, form: Form, export: Export[list[Row]]) -> Response:
    body = (as_arrow if form == "arrow" else as_json_lines)(schema, export.portions)
    return _answered(visit, what, arrowstream.MEDIA_TYPE if form == "arrow" else JSON_LINES, export.rows, body)


def _answered(visit: Visit, what: str, media_type: str, rows: int, body: Iterator[bytes]) -> Response:
    visit.act(f"{what}.exported", after={"rows": str(rows)})
    # What cannot be answered fails before the answer begins.
    first = next(body, b"")
    extension = "arrows" if media_type == arrowstream.MEDIA_TYPE else "jsonl"
    headers = {
        ROWS_HEADER: str(rows),
        "content-disposition": f'attachment; filename="mingjian-{what}.{extension}"',
        "cache-control": "private, no-store",
    }
    return StreamingResponse(chain([first], body), media_type=media_type, headers=headers)


def _ocsf_lines(portions: Iterator[list[dict[str, object]]]) -> Iterator[bytes]:
    for portion in portions:
        yield b"".join(json_bytes(cast("Value", each)) + b"\n" for each in portion)


def _add_exports(router: APIRouter) -> None:
    @router.get("/export/events", responses=_ROWS, response_class=Response, operation_id="export-events")
    def events(
        visit: Reading,
        stream: Streams = [],  # noqa: B006 - FastAPI copies it
        since: Moment = "",
        until: Moment = "",
        org: Org = "",
        form: As = "jsonl",
    ) -> Response:
        """Events of streams and a period as they came in, with where each is from."""
        found = _exporter(visit).events(_period(visit, stream, since, until))
        return _streamed(visit, "events", EVENTS, form, found)

    @router.get("/export/detections", responses=_ROWS, response_class=Response, operation_id="export-detections")
    def detections(
        visit: Reading,
        level: Level = "informational",
        since: Moment = "",
        until: Moment = "",
        org: Org = "",
        form: As = "jsonl",
    ) -> Response:
        """Detections, in the order in which they were found."""
        found = _exporter(visit).detections(_which(visit, level, since, until))
        return _streamed(visit, "detections", DETECTIONS, form, found)

    @router.get("/export/sightings", responses=_ROWS, response_class=Response, operation_id="export-sightings")
    def sightings(
        visit: Reading,
        q: Annotated[str, Query(min_length=1, max_length=ask.CHARACTERS_MAX)],
        kind: Annotated[str, Query(max_length=40)] = "",
        org: Org = "",
        form: As = "jsonl",
    ) -> Response:
        """All sightings of an observable."""
        which, value, _ = ask.meant(visit, q, kind)
        found = _exporter(visit).sightings(which, value, visit.organisation())
        return _streamed(visit, "sightings", SIGHTINGS, form, found)


def _add_ocsf(router: APIRouter) -> None:
    @router.get("/ocsf/events", responses=_LINES, response_class=Response, operation_id="export-ocsf-events")
    def events(
        visit: Reading,
        stream: Streams = [],  # noqa: B006 - FastAPI copies it
        since: Moment = "",
        until: Moment = "",
        org: Org = "",
    ) -> Response:
        """Events of streams and a period in OCSF, mapped by the source definitions."""
        found = _exporter(visit).ocsf_events(_period(visit, stream, since, until))
        return _answered(visit, "ocsf-events", JSON_LINES, found.rows, _ocsf_lines(found.portions))

    @router.get("/ocsf/findings", responses=_LINES, response_class=Response, operation_id="export-ocsf-findings")
    def findings(
        visit: Reading, level: Level = "informational", since: Moment = "", until: Moment = "", org: Org = ""
    ) -> Response:
        """Detections as findings of OCSF (class 2004)."""
        found = _exporter(visit).ocsf_findings(_which(visit, level, since, until))
        return _answered(visit, "ocsf-findings", JSON_LINES, found.rows, _ocsf_lines(found.portions))


def _add_indicators(router: APIRouter) -> None:
    @router.get(
        "/indicator-sets/{id}/indicators",
        responses=_ROWS,
        response_class=Response,
        operation_id="export-indicators",
    )
    def indicators(visit: Reading, id: SetNumber, form: As = "jsonl") -> Response:
        """The indicators of one version of a set, by kind and value."""
        found = set_by_id(visit.workspace, visit.scope, id)
        portions = indicators_of(visit.workspace, visit.scope, id)
        body = (_indicators_as_arrow if form == "arrow" else _indicators_as_lines)(portions)
        media_type = arrowstream.MEDIA_TYPE if form == "arrow" else JSON_LINES
        return _answered(visit, "indicators", media_type, found.indicators, body)


def _indicators_as_lines(portions: Iterator[pa.Table]) -> Iterator[bytes]:
    for table in portions:
        rows = cast("list[dict[str, Value]]", table.to_pylist())
        yield b"".join(json_bytes(row) + b"\n" for row in rows)


def _indicators_as_arrow(portions: Iterator[pa.Table]) -> Iterator[bytes]:
    first = next(portions, None)
    if first is None:
        return
    buffer = io.BytesIO()
    writer = pa.ipc.new_stream(buffer, first.schema)
    for table in chain([first], portions):
        writer.write_table(table)
        yield _taken(buffer)
    writer.close()
    yield _taken(buffer)


# --- in --------------------------------------------------------------------------------------------------------------


def _kind_of(request: Request) -> str:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise SchemaError("a compressed body is not understood", hint="send it as it is")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _received(request: Request, file: BinaryIO) -> None:
    """Write a body to a file while it comes in. Raises: LimitExceeded, ParseError."""
    size = 0
    waiting: list[bytes] = []
    held = 0
    async for data in request.stream():
        size += len(data)
        if size > IMPORT_BYTES_MAX:
            raise LimitExceeded("IMPORT_BYTES_MAX", IMPORT_BYTES_MAX, hint="send less at a time")
        waiting.append(data)
        held += len(data)
        if held >= READ_BYTES:
            await run_in_threadpool(file.write, b"".join(waiting))
            waiting, held = [], 0
    await run_in_threadpool(file.write, b"".join(waiting))
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) != size:
        raise ParseError("the body is shorter than was said")


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while data := file.read(READ_BYTES):
        yield data


def _whose(visit: Visit) -> str:
    """The name of the organisation whose events somebody hands over. Raises: SchemaError, NotFound, NotPermitted."""
    chosen = visit.organisation()
    if chosen is None:
        raise SchemaError("whose events are they?", where="org", hint="?org=ID names an organisation")
    visit.scope.check_write(chosen)
    return visit.names()[chosen]


def _keep_events(visit: Visit, kind: str, body: BinaryIO, name: str) -> EventsTaken:
    with tempfile.TemporaryFile() as file:
        if kind == arrowstream.MEDIA_TYPE:
            lines = (line for batch in arrowstream.read_stream(body) for line in arrowstream.json_lines(batch))
        else:
            lines = _pieces(body)
        gathered = importing.gather(lines, file)
        kept = importing.keep(visit.workspace.intake, name, gathered, file, visit.now_us)
    visit.act("events.imported", about=name, after={"records": str(kept.records), "outcome": kept.outcome})
    return EventsTaken(accepted=kept.records, repeated=kept.outcome == "repeated")


def _entries(kind: str, body: BinaryIO, assumed: Assumed) -> Iterator[Entry]:
    if kind == arrowstream.MEDIA_TYPE:
        first = 0
        for batch in arrowstream.read_stream(body):
            yield from tables.read_records("import", ArrowBlock(batch, first), assumed)
            first += batch.num_rows
    elif kind == JSON_LINES:
        for block in read_lines(Piece(file="import", chunks=_pieces(body))):
            if isinstance(block, Quarantined):
                yield block
            else:
                yield from tables.read_records("import", block, assumed)
    else:
        yield from documents.read(Piece(file="import", chunks=_pieces(body)), assumed)


def _add_set(visit: Visit, kind: str, body: BinaryIO, name: str, source: str, marking: str) -> SetAdded:
    skipped: dict[str, int] = {}
    unread: list[Unread] = []
    quarantined = 0

    def wanted() -> Iterator[Indicator]:
        nonlocal quarantined
        for entry in _entries(kind, body, Assumed(source=source, marking=marking_of(marking) or "")):
            if isinstance(entry, Indicator):
                yield entry
            elif isinstance(entry, SkippedIndicator):
                if entry.reason in skipped or len(skipped) < UNREAD_MAX:
                    skipped[entry.reason] = skipped.get(entry.reason, 0) + 1
            else:
                quarantined += 1
                if len(unread) < UNREAD_MAX:
                    unread.append(Unread(entry.file, entry.record, entry.reason))

    def details() -> Details:
        return Details(skipped=skipped, quarantined=quarantined, unread=unread)

    return add_set(visit, name, wanted(), source, marking, details)


def body_of(*types: str) -> dict[str, Any]:
    """The part of a document that says that a body is bytes of one of some types."""
    content = {each: {"schema": {"type": "string", "format": "binary"}} for each in types}
    return {"requestBody": {"required": True, "content": content}}


def _add_imports(router: APIRouter) -> None:
    turns = asyncio.Semaphore(IMPORTS_AT_ONCE)

    @router.post(
        "/import/events",
        response_model=EventsTaken,
        status_code=202,
        operation_id="import-events",
        openapi_extra=body_of(JSON_LINES, arrowstream.MEDIA_TYPE),
    )
    async def events(visit: Writing, request: Request, org: Org = "") -> EventsTaken:
        """Hand events over: the same lines of the same organisation are taken in once, however often they come."""
        whose = await run_in_threadpool(_whose, visit)
        kind = _kind_of(request)
        if kind not in (JSON_LINES, arrowstream.MEDIA_TYPE):
            raise SchemaError(f"{shown(kind)} is not taken", hint=f"{JSON_LINES}, {arrowstream.MEDIA_TYPE}")
        async with turns:
            with tempfile.TemporaryFile() as body:
                await _received(request, body)
                return await run_in_threadpool(_keep_events, visit, kind, body, whose)

    @router.post(
        "/import/indicators",
        response_model=SetAdded,
        operation_id="import-indicators",
        openapi_extra=body_of(JSON_LINES, arrowstream.MEDIA_TYPE, "text/plain", "text/csv", "application/json"),
    )
    async def indicators(
        visit: Writing,
        request: Request,
        name: Annotated[str, Query(min_length=1, max_length=200)],
        source: Annotated[str, Query(max_length=200)] = "",
        marking: Tlp = "",
        org: Org = "",
    ) -> SetAdded:
        """Make indicators the newest version of a set: rows of a table, or a list, CSV, STIX or MISP."""
        kind = _kind_of(request)
        async with turns:
            with tempfile.TemporaryFile() as body:
                await _received(request, body)
                return await run_in_threadpool(_add_set, visit, kind, body, name, source, marking)

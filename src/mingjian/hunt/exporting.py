"""Taking out what is kept: events of streams and periods, detections, sightings; as rows, a portion at a time.

Every export says first how many rows it will have, and has exactly those, whatever comes in meanwhile.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec
import pyarrow as pa

from mingjian.detect.engine import Engine
from mingjian.errors import LimitExceeded
from mingjian.formats.records import json_bytes
from mingjian.hunt.attack import technique_words
from mingjian.hunt.history import History
from mingjian.model.sources import ObservableKind, View
from mingjian.sources.definitions import SourceBook
from mingjian.sources.ocsf import Where, event_of, finding_of
from mingjian.store.blocks import Segment, SegmentBlock
from mingjian.store.catalogue import Organisation, SegmentRow, live_segments
from mingjian.store.detections import StoredDetection
from mingjian.store.exporting import Which, count_kept, kept_detections
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY, day_of
from mingjian.store.sightings.live import open_index
from mingjian.store.workspace import Workspace

EVENTS_MAX: Final = 5_000_000
"""So many events one export has at most."""
PORTION: Final = 1_000
"""So many rows are made at a time."""

Row: TypeAlias = "tuple[object, ...]"
T = TypeVar("T")

_TIME: Final = pa.timestamp("us", "UTC")
EVENTS: Final = pa.schema(
    [("time", _TIME), ("organisation", pa.string()), ("stream", pa.string()), ("file", pa.string()),
     ("number", pa.int64()), ("record", pa.string())]
)  # fmt: skip
DETECTIONS: Final = pa.schema(
    [("id", pa.string()), ("time", _TIME), ("level", pa.string()), ("title", pa.string()), ("rule", pa.string()),
     ("kind", pa.string()), ("organisation", pa.string()), ("host", pa.string()), ("account", pa.string()),
     ("techniques", pa.list_(pa.string())), ("stream", pa.string()), ("file", pa.string()), ("number", pa.int64()),
     ("matched", pa.string()), ("found", _TIME), ("found_by", pa.string())]
)  # fmt: skip
SIGHTINGS: Final = pa.schema(
    [("organisation", pa.string()), ("source", pa.string()), ("role", pa.string()), ("day", pa.date32()),
     ("count", pa.int64()), ("first", _TIME), ("last", _TIME)]
)  # fmt: skip
JSON_COLUMNS: Final = frozenset({"record", "matched"})
"""Columns that hold JSON, as bytes."""


class Export(NamedTuple, Generic[T]):
    """So many rows, and the rows themselves, a portion at a time."""

    rows: int
    portions: Iterator[T]


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """Which events are meant."""

    streams: tuple[str, ...] | None = None
    """None: all of them."""
    organisation: OrganisationId | None = None
    first_us: int | None = None
    until_us: int | None = None
    """With a first or last moment, events that tell no time are left out."""

    @property
    def is_open(self) -> bool:
        """Whether every time counts, and none as well."""
        return self.first_us is None and self.until_us is None

    def holds(self, time_us: int | None) -> bool:
        """Whether an event of this time is meant."""
        if time_us is None:
            return self.is_open
        return (self.first_us is None or time_us >= self.first_us) and (
            self.until_us is None or time_us < self.until_us
        )


class _Places(NamedTuple):
    """Some events of a segment."""

    segment: SegmentRow
    view: View
    block: SegmentBlock
    places: Sequence[int]


def _counted(generator: Generator[int | list[T]]) -> Export[list[T]]:
    """Start a generator that gives the number of its rows first: what cannot be done fails here."""
    rows = next(generator)
    assert isinstance(rows, int), "the number comes first"
    return Export(rows, (portion for portion in generator if isinstance(portion, list)))


class Exporter:
    """Takes out what a scope may read."""

    def __init__(
        self, workspace: Workspace, scope: Scope, sources: SourceBook, organisations: Sequence[Organisation]
    ) -> None:
        self._workspace = workspace
        self._scope = scope
        self._sources = sources
        self._names = {each.id: each.name for each in organisations}
        self._public = {each.id: each.public_id for each in organisations}
        self._titles = {source.id: source.title.get("en", source.id) for f in sources.families for source in f.sources}

    # --- events

    def events(self, period: Period) -> Export[list[Row]]:
        """Events as rows of ``EVENTS``, by day and segment. Raises: NotFound, LimitExceeded, StorageError."""

        def made(history: History, part: _Places) -> list[Row]:
            times, inputs, numbers = part.block.times_us, part.block.inputs, part.block.numbers
            owner = self._names[part.segment.key.organisation]
            return [
                (
                    times[place],
                    owner,
                    part.segment.key.stream,
                    history.file_of(int(inputs[place])),
                    numbers[place],
                    json_bytes(record),
                )
                for place, record in zip(part.places, part.block.records(part.places), strict=True)
            ]

        return _counted(self._events(period, made))

    def ocsf_events(self, period: Period) -> Export[list[dict[str, object]]]:
        """Events in OCSF. Raises: NotFound, LimitExceeded, StorageError."""

        def made(history: History, part: _Places) -> list[dict[str, object]]:
            times, inputs, numbers = part.block.times_us, part.block.inputs, part.block.numbers
            return [
                event_of(
                    part.view,
                    record,
                    Where(
                        tenant=self._public[part.segment.key.organisation],
                        time_us=times[place],
                        received_us=part.segment.committed_us,
                        pointer=f"{history.file_of(int(inputs[place]))}:{numbers[place]}",
                    ),
                    self._titles,
                )
                for place, record in zip(part.places, part.block.records(part.places), strict=True)
            ]

        return _counted(self._events(period, made))

    def _events(self, period: Period, made: Callable[[History, _Places], list[T]]) -> Generator[int | list[T]]:
        with self._workspace.reading():
            history = History(self._workspace, self._scope, Engine(()), self._sources)
            rows = self._segments(period)
            yield self._count(rows, period)
            for row in rows:
                for view, block in history.blocks(row):
                    places = self._meant(block, row, period)
                    for start in range(0, len(places), PORTION):
                        yield made(history, _Places(row, view, block, places[start : start + PORTION]))

    def _segments(self, period: Period) -> list[SegmentRow]:
        rows = live_segments(
            self._workspace,
            self._scope,
            organisation=period.organisation,
            streams=period.streams,
            first_day=day_of(period.first_us),
            last_day=None if period.until_us is None else (period.until_us - 1) // US_PER_DAY,
        )
        return rows if period.is_open else [row for row in rows if row.first_us is not None]

    def _count(self, rows: Sequence[SegmentRow], period: Period) -> int:
        count = 0
        for row in rows:
            if self._is_whole(row, period):
                count += row.rows
            else:
                with Segment(self._workspace.lake / row.path, checks=row.checks) as segment:
                    count += sum(len(self._meant(block, row, period)) for block in segment.blocks())
            if count > EVENTS_MAX:
                raise LimitExceeded("EVENTS_MAX", EVENTS_MAX, hint="ask for fewer streams or a shorter period")
        return count

    @staticmethod
    def _is_whole(row: SegmentRow, period: Period) -> bool:
        if period.is_open:
            return True
        return row.first_us is not None and period.holds(row.first_us) and period.holds(row.last_us)

    def _meant(self, block: SegmentBlock, row: SegmentRow, period: Period) -> Sequence[int]:
        if self._is_whole(row, period):
            return range(len(block))
        return [place for place, time_us in enumerate(block.times_us) if period.holds(time_us)]

    # --- detections

    def detections(self, which: Which) -> Export[list[Row]]:
        """Detections as rows of ``DETECTIONS``, in the order in which they were found. Raises: NotFound."""

        def made(found: Sequence[StoredDetection]) -> list[Row]:
            return [
                (
                    each.public_id,
                    one.time_us,
                    one.level,
                    one.rule_title,
                    one.rule_id,
                    one.kind,
                    self._names[each.organisation],
                    one.host,
                    one.account,
                    list(one.attack),
                    one.stream,
                    one.file,
                    one.record,
                    json_bytes(dict(one.matched)),
                    each.found_us,
                    each.found_by,
                )
                for each in found
                for one in (each.detection,)
            ]

        return self._detections(which, made)

    def ocsf_findings(self, which: Which) -> Export[list[dict[str, object]]]:
        """Detections as findings of OCSF. Raises: NotFound."""

        def made(found: Sequence[StoredDetection]) -> list[dict[str, object]]:
            return [
                finding_of(
                    each.detection,
                    Where(
                        tenant=self._public[each.organisation],
                        time_us=each.detection.time_us,
                        received_us=each.found_us,
                        pointer=each.public_id,
                    ),
                    technique_words,
                )
                for each in found
            ]

        return self._detections(which, made)

    def _detections(self, which: Which, made: Callable[[Sequence[StoredDetection]], list[T]]) -> Export[list[T]]:
        count, last = count_kept(self._workspace, self._scope, which)
        several = kept_detections(self._workspace, self._scope, which, last)
        return Export(count, (made(found) for found in several))

    # --- sightings

    def sightings(self, kind: ObservableKind, value: str, organisation: OrganisationId | None) -> Export[list[Row]]:
        """Sightings of one observable as rows of ``SIGHTINGS``. Raises: StorageError."""
        return _counted(self._sightings(kind, value, organisation))

    def _sightings(
        self, kind: ObservableKind, value: str, organisation: OrganisationId | None
    ) -> Generator[int | list[Row]]:
        names: Mapping[int, str] = {int(number): name for number, name in self._names.items()}
        places = None if organisation is None else [int(organisation)]
        with self._workspace.reading(), closing(open_index(self._workspace, self._scope)) as index:
            found = index.lookup(kind, value, organisations=places)
            yield len(found)
            for start in range(0, len(found), PORTION):
                yield [
                    (
                        names.get(each.organisation, ""),
                        each.source,
                        each.role,
                        _date(each.day),
                        each.count,
                        each.first_us,
                        each.last_us,
                    )
                    for each in found[start : start + PORTION]
                ]


def _date(day: int | None) -> datetime.date | None:
    try:
        return None if day is None else datetime.date(1970, 1, 1) + datetime.timedelta(days=day)
    except OverflowError:
        return None

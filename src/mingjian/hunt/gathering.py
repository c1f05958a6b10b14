"""One process's share of an ingest: units in; segments, sightings, detections and what goes with them out.

Records are taken apart into columns the moment they are read, while they are at hand, and each distinct text is kept
once. When enough of a view are together, or at a flush, these columns are looked at: rules, times, hosts and
observables ask each distinct value once. Then they are cut by day and written as segments. A flush hands everything
over; it counts when somebody commits it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

import numpy as np
import pyarrow as pa

from mingjian.detect.encoded import EncodedEngine, EvidenceFinder
from mingjian.detect.engine import Reading
from mingjian.detect.leaves import leaves, text_of
from mingjian.detect.words import atom_in_words
from mingjian.formats import registry
from mingjian.formats.records import RecordBlock
from mingjian.hunt.arrival import Watch
from mingjian.hunt.decoded import read
from mingjian.hunt.matched import matched_records
from mingjian.hunt.parts import Counted, Part, Unit
from mingjian.hunt.patience import Say, insist
from mingjian.hunt.recognising import Occurrences, Place, recognised
from mingjian.hunt.scan import MATCHED_CHARACTERS_MAX
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.detections import Detection
from mingjian.model.sources import View
from mingjian.sources.columnwise import Envelopes, Observer, envelopes
from mingjian.sources.router import Router
from mingjian.store.arrow import with_dictionary
from mingjian.store.catalogue import HostDay
from mingjian.store.detections import CountedMatch, FoundDetection, counted_fields
from mingjian.store.grown import GrownBlock, GrownSegment
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import (
    DAY_ROWS_MIN,
    US_PER_DAY,
    FinishedSegment,
    Rows,
    SegmentBuilder,
    SegmentKey,
    cut,
    day_of,
)
from mingjian.store.sightings.companions import Gathered
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.tables import storable
from mingjian.store.upkeep import Retention, shares_days
from mingjian.store.writing import Together, write_finished

if TYPE_CHECKING:
    import numpy.typing as npt

Numbers: TypeAlias = "npt.NDArray[np.int64]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"

LOOK_ROWS_MAX: Final = 65_536
"""A view is looked at when so many of its records wait, or at a flush."""
BUILDERS_MAX: Final = 4096
"""Records of so many views wait at the same time; then all of them are looked at."""
BUILDER_BYTES_MAX: Final = 28 * 1024 * 1024
"""All that wait together take about so much memory; then the largest of them are looked at, until they do not."""
VIEW_BYTES_MAX: Final = 10 * 1024 * 1024
"""A view is looked at when its records take so much memory: looking takes some times as much."""
WEIGHED_ROWS: Final = 10_000
"""After so many records it is looked how much memory they take …"""
PORTION_ROWS: Final = 256
"""… and after so many of one view that come together, how much those of this view take."""
OBSERVABLES_MAX: Final = 250_000
"""So many different observables are collected; then they are written."""
OBSERVATIONS_MAX: Final = 200_000
COMPANIONS_MAX: Final = 500_000
"""So many pairs of observable and host or account (some of them several times) are collected; then they are written."""
HOSTS_MAX: Final = 50_000
"""So many hosts by stream and day are counted by name between two flushes; the others together, as ``HOST_OTHERS``."""
HOST_OTHERS: Final = "*"
NUMBER_MAX: Final = 2**63 - 1
"""Record numbers beyond (EVTX has unsigned ones) lose their first bit."""


class Home(NamedTuple):
    """Where what is made is put, and whose it is."""

    lake: Path
    sightings: Path
    keep_raw: bool
    organisation: OrganisationId
    owner: str
    """The public id of the organisation."""
    retentions: Sequence[Retention]


class Observations:
    """Observations since the last flush, in columns."""

    def __init__(self) -> None:
        self.observer = Observer()
        self.sources: dict[str, int] = {}
        self.columns: dict[str, list[Numbers]] = {}
        self.companions = Gathered()
        """Which hosts and accounts they were seen with."""
        self.count = 0
        self.events = 0

    def add(self, view: View, block: Block, about: Envelopes, times: Numbers, untimed: Mask, segments: Numbers) -> None:
        """Take what is in the records of a block. ``segments``: where each of them is."""
        found = self.observer.observed(view, block)
        rows = found.rows
        source = self.sources.setdefault(view.stream.source, len(self.sources))
        columns = {
            "observable": found.observables,
            "role": found.roles,
            "source": np.full(len(rows), source, np.int64),
            "segment": segments[rows],
            "time_us": times[rows],
            "untimed": untimed[rows].astype(np.int64),
            "event": rows + self.events,
        }
        for name, column in columns.items():
            self.columns.setdefault(name, []).append(column)
        self.companions.add(rows, found.observables, about.hosts, about.accounts)
        self.count += len(rows)
        self.events += len(block.numbers)

    def are_many(self) -> bool:
        """Whether it is time to write them."""
        return (
            len(self.observer.values) > OBSERVABLES_MAX
            or self.count > OBSERVATIONS_MAX
            or self.companions.count > COMPANIONS_MAX
        )

    def occurrences(self) -> Occurrences:
        """What is in which event."""
        return Occurrences(*map(self._joined, ("observable", "role", "event", "segment")))

    def distinct(self) -> pa.Table:
        """Every observable once, at the place of its number."""
        arrays = [pa.array(self.observer.kinds, pa.string()), pa.array(self.observer.values, pa.string())]
        return pa.Table.from_arrays(arrays, names=["kind", "value"])

    def table(self) -> pa.Table:
        """All of them, as ``sightings.delta`` wants them."""
        joined = {name: self._joined(name) for name in self.columns}
        kinds = sorted(set(self.observer.kinds))
        kind_codes = np.array([kinds.index(kind) for kind in self.observer.kinds], np.int64)
        observable = joined["observable"]
        arrays = {
            "kind": _coded(kind_codes[observable], kinds),
            "value": _coded(observable, self.observer.values),
            "role": _coded(joined["role"], self.observer.roles),
            "source": _coded(joined["source"], list(self.sources)),
            "segment": _plain(joined["segment"]),
            "time_us": cast("pa.Array[Any]", pa.array(joined["time_us"], mask=joined["untimed"].astype(np.bool_))),
            "event": _plain(joined["event"]),
        }
        return pa.Table.from_arrays(list(arrays.values()), names=list(arrays))

    def _joined(self, name: str) -> Numbers:
        """A whole column. Its parts go: what is joined is not there twice."""
        parts = self.columns[name]
        if len(parts) > 1:
            parts[:] = [np.concatenate(parts)]
        return parts[0]

    def tables(self) -> Iterator[pa.Table]:
        """All of them, and behind them what they were seen with."""
        yield self.table()
        yield from self.companions.tables(self.observer.kinds, self.observer.values)


def _plain(numbers: Numbers) -> pa.Array[Any]:
    return cast("pa.Array[Any]", pa.array(numbers))


def _coded(codes: Numbers, texts: Sequence[str]) -> pa.Array[Any]:
    return with_dictionary(texts, codes.astype(np.int32, copy=False))


class _Look(NamedTuple):
    """Where the events of one look are, for indicators that may be found in them."""

    first_event: int
    stream: str
    numbers: Sequence[int]
    inputs: Numbers
    about: Envelopes


class _Growing(NamedTuple):
    """Records of one view that wait to be looked at, taken apart into columns already."""

    view: View
    builder: SegmentBuilder


class Gatherer:
    """Does the work for one organisation. Not for several threads at once."""

    def __init__(self, home: Home, watch: Watch, router: Router, *, reserve: Callable[[], int], say: Say) -> None:
        """``reserve`` numbers a new segment, ``say`` hears of trouble."""
        self._home = home
        self._watch = watch
        self._encoded = EncodedEngine(watch.engine)
        self._evidence = EvidenceFinder(watch.engine)
        self._matcher = watch.matcher(home.organisation)
        self._router = router
        self._reserve = reserve
        self._say = say
        self._growing: dict[tuple[View, str], _Growing] = {}
        """By view and format."""
        self._files: dict[int, str] = {}
        """The name of each input."""
        self._together = Together()
        self._rows_since_weighed = 0
        self._observations = Observations()
        self._looks: list[_Look] = []
        self._hosts: dict[tuple[str, int, str], list[int]] = {}
        self._counted: dict[int, Counted] = {}
        self._part = Part(organisation=home.organisation)

    # --- reading

    def read(self, unit: Unit, chunks: Iterator[bytes]) -> None:
        """Take a unit in. While chunks are asked for, everything that was taken so far may be flushed.

        Raises:
            StorageError: something cannot be kept, and waiting does not help.
        """
        format_ = next(each for each in registry.FORMATS if each.name == unit.format)
        self._files[unit.input_id] = unit.file
        piece = Piece(
            file=unit.file,
            chunks=chunks,
            first_number=unit.first_number,
            first_offset=unit.first_offset,
            modified_at_s=unit.modified_at_s,
        )
        records = unplaced = 0
        for found in read(format_, piece):
            if isinstance(found, Quarantined):
                if found.offset >= 0:
                    is_known = found.offset < unit.known_bytes
                else:
                    unplaced += 1
                    is_known = unplaced <= unit.skip_quarantined
                if not is_known:
                    self._part.quarantined.append((unit.input_id, found))
            else:
                count = len(found.numbers)
                skip = min(max(0, unit.skip_records - records), count)
                records += count
                if skip < count:
                    self._take(unit.input_id, found.take(range(skip, count)) if skip else found)
            if unit.counts:
                self._counted[unit.input_id] = Counted(records, unplaced)

    def _take(self, input_id: int, block: Block) -> None:
        """Take records apart while they are at hand: each is gone through once, and not kept."""
        if isinstance(block, RecordBlock) and block.numbers and max(block.numbers) > NUMBER_MAX:
            block.numbers = [number & NUMBER_MAX for number in block.numbers]
        count = len(block.numbers)
        self._part.events += count
        self._rows_since_weighed += count
        for portion in self._router.route(block):
            growing = self._growing_of(portion.view, block.format)
            rows = range(count) if portion.rows is None else portion.rows
            growing.builder.add(Rows(block, rows, None, input_id))
            is_heavy = len(rows) >= PORTION_ROWS and growing.builder.size_bytes() > VIEW_BYTES_MAX
            if is_heavy or growing.builder.rows >= LOOK_ROWS_MAX:
                self._look(growing)
        self._make_room()

    def _growing_of(self, view: View, format_: str) -> _Growing:
        growing = self._growing.get((view, format_))
        if growing is None:
            key = SegmentKey(
                organisation=self._home.organisation,
                stream=view.stream.name,
                layout=view.layout.name,
                format=format_,
                month=None,
            )
            growing = self._growing[view, format_] = _Growing(view, SegmentBuilder(key, keep_raw=self._home.keep_raw))
        return growing

    # --- looking

    def _look(self, growing: _Growing) -> None:
        """Look at all that waits of one view, and write it."""
        view = growing.view
        del self._growing[view, growing.builder.key.format]
        finished = growing.builder.finished()
        block = GrownBlock(GrownSegment(finished))
        about = envelopes(view, block)
        untimed = np.array([time_us is None for time_us in about.times_us], np.bool_)
        times = np.array([0 if time_us is None else time_us for time_us in about.times_us], np.int64)
        finished = finished._replace(times=pa.array(times, pa.timestamp("us", "UTC"), mask=untimed))
        segments = self._keep(finished, times, untimed)
        if self._matcher is not None:
            look = _Look(self._observations.events, view.stream.name, block.numbers, finished.inputs, about)
            self._looks.append(look)
        self._observations.add(view, block, about, times, untimed, segments)
        self._count_hosts(view, about.hosts, times, untimed)
        self._match(view, block, about, segments)
        if self._observations.are_many():
            self._write_observations()

    def _keep(self, finished: FinishedSegment, times: Numbers, untimed: Mask) -> Numbers:
        """Write records into segments by their time; give the number of the segment of each."""
        home = self._home
        segments = np.empty(len(times), np.int64)
        is_shared = shares_days(home.retentions, home.organisation, finished.key.stream)
        for month, rows in cut(times, untimed, day_rows_min=DAY_ROWS_MIN if is_shared else 1):
            number = self._reserve()
            part = finished.of_rows(rows, month)
            written = insist(
                partial(write_finished, home.lake, home.owner, part, number, together=self._together), self._say
            )
            self._part.segments.append(written)
            segments[rows] = number
        return segments

    def _count_hosts(self, view: View, hosts: Sequence[str], times: Numbers, untimed: Mask) -> None:
        codes = {host: code for code, host in enumerate(dict.fromkeys(hosts))}
        names = list(codes)
        if not (len(names) > 1 or names[0]):
            return
        code = np.array([codes[host] for host in hosts], np.int64)
        counted = ~untimed & (code != codes.get("", -1))
        code, times = code[counted], times[counted]
        together = (times // US_PER_DAY) * len(names) + code
        order = np.lexsort((times, together))
        together, times = together[order], times[order]
        starts = np.flatnonzero(np.append(True, together[1:] != together[:-1])[: len(together)])
        ends = np.append(starts[1:], len(together))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            day, place = divmod(int(together[start]), len(names))
            self._count_host((view.stream.name, day, names[place]), end - start, int(times[start]), int(times[end - 1]))

    def _count_host(self, key: tuple[str, int, str], rows: int, first_us: int, last_us: int) -> None:
        if key not in self._hosts and len(self._hosts) >= HOSTS_MAX:
            key = (key[0], key[1], HOST_OTHERS)
        known = self._hosts.get(key)
        if known is None:
            self._hosts[key] = [rows, first_us, last_us]
        else:
            known[:] = known[0] + rows, min(known[1], first_us), max(known[2], last_us)

    # --- matching

    def _match(self, view: View, block: GrownBlock, about: Envelopes, segments: Numbers) -> None:
        if not self._encoded.can_match(view, block.is_there):
            return
        engine, wanted_fields = self._watch.engine, self._watch.wanted_fields
        matches = self._encoded.match(view, block)
        records = matched_records(engine, view, block, matches, wanted_fields) if matches else {}
        readings = {row: Reading(engine, view, record) for row, record in records.items()}
        inputs = block.inputs
        for index, row in matches:
            record, rule = records[row], engine.rules[index]
            input_id, time_us = int(inputs[row]), about.times_us[row]
            wanted = wanted_fields.get(rule.id)
            if wanted is not None:
                values = {field: tuple(map(text_of, leaves(view.value(record, field)))) for field in wanted}
                self._part.matches.append(
                    CountedMatch(
                        version_id=self._watch.rule_set.versions[rule.id],
                        time_us=time_us,
                        input_id=input_id,
                        record=block.numbers[row],
                        host=storable(about.hosts[row]),
                        account=storable(about.accounts[row]),
                        fields=counted_fields(values),
                    )
                )
            if rule.hidden:
                continue
            segment = int(segments[row])
            self._part.results[segment] = self._part.results.get(segment, 0) + 1
            evidence = self._evidence.evidence(index, view, record, readings[row])
            self._part.detections.append(
                FoundDetection(
                    content=self._watch.contents[rule.id],
                    version_id=self._watch.rule_set.versions[rule.id],
                    input_id=input_id,
                    day=day_of(time_us),
                    detection=Detection(
                        time_us=time_us,
                        level=rule.level,
                        rule_id=rule.id,
                        rule_title=rule.title,
                        attack=rule.attack,
                        host=storable(about.hosts[row]),
                        account=storable(about.accounts[row]),
                        stream=view.stream.name,
                        file=storable(self._files[input_id]),
                        record=block.numbers[row],
                        matched={
                            storable(field): storable(text[:MATCHED_CHARACTERS_MAX])
                            for field, text in evidence.matched.items()
                        },
                        atoms=tuple(storable(atom_in_words(atom)) for atom in evidence.atoms),
                    ),
                )
            )

    # --- writing

    def _make_room(self) -> None:
        """If too much waits, look at what takes most of it: the records of rare views go on waiting for more."""
        if len(self._growing) > BUILDERS_MAX:
            self._write()
        if self._rows_since_weighed < WEIGHED_ROWS:
            return
        self._rows_since_weighed = 0
        sizes = {view: growing.builder.size_bytes() for view, growing in self._growing.items()}
        total = sum(sizes.values())
        for view in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if sizes[view] <= VIEW_BYTES_MAX and total <= BUILDER_BYTES_MAX:
                return
            self._look(self._growing[view])
            total -= sizes[view]

    def flush(self) -> Part:
        """Write everything that was taken; give what it is since the last time.

        Raises:
            StorageError: as ``read``.
        """
        self._write()
        insist(self._together.settle, self._say)
        part, self._part = self._part, Part(organisation=self._home.organisation)
        part.hosts = [
            HostDay(stream=stream, day=day, host=storable(host), rows=rows, first_us=first_us, last_us=last_us)
            for (stream, day, host), (rows, first_us, last_us) in self._hosts.items()
        ]
        part.counted = dict(self._counted)
        self._hosts.clear()
        self._counted.clear()
        self._files = dict(list(self._files.items())[-1:])  # the unit may go on
        return part

    def _write(self) -> None:
        """Look at everything that waits, and write it."""
        for growing in list(self._growing.values()):
            self._look(growing)
        self._write_observations()

    def _write_observations(self) -> None:
        if self._observations.count:
            folder = DiskFolder(self._home.sightings)
            organisation = int(self._home.organisation)
            for table in self._observations.tables():
                file = insist(partial(write_delta, folder, table, organisation), self._say)
                if file is not None:
                    self._part.indexes.append(file)
            self._recognise()
        self._observations = Observations()
        self._looks.clear()

    def _recognise(self) -> None:
        """Look for indicators in what was observed."""
        matcher, seen = self._matcher, self._observations
        if matcher is None:
            return
        firsts = [look.first_event for look in self._looks]

        def place_of(event: int) -> Place:
            look = self._looks[bisect_right(firsts, event) - 1]
            row = event - look.first_event
            input_id, about = int(look.inputs[row]), look.about
            return Place(
                look.stream,
                input_id,
                self._files[input_id],
                look.numbers[row],
                about.times_us[row],
                about.hosts[row],
                about.accounts[row],
            )

        results = self._part.recognised
        for each in recognised(matcher, seen.distinct(), seen.observer.roles, seen.occurrences(), place_of):
            self._part.detections.append(each.found)
            counts = results.setdefault(each.set_id, {})
            counts[each.segment] = counts.get(each.segment, 0) + 1

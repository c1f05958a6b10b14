"""Log files put into a lake, plainly: what ingest does, without what makes it quick and safe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa

from lakes import OPERATOR, written
from mingjian.formats import registry
from mingjian.formats.containers import open_members
from mingjian.model.blocks import Piece, Quarantined
from mingjian.sources.envelope import Observed, envelope, observables
from mingjian.sources.router import Router
from mingjian.store.catalogue import Batch, HostDay, Organisation, commit_batch, register_input
from mingjian.store.indexfiles import with_index_file
from mingjian.store.segments import US_PER_DAY, Rows, SegmentBuilder, SegmentKey, WrittenSegment, month_of
from mingjian.store.sightings.layout import IndexFile
from mingjian.store.sightings.live import record
from mingjian.store.workspace import Workspace


def keep_files(
    workspace: Workspace, organisation: Organisation, paths: Iterable[Path], router: Router, *, by_months: bool = True
) -> tuple[int, list[WrittenSegment]]:
    """Commit the events of files, each file with segments of its own; give their number and the segments."""
    events = 0
    kept: list[WrittenSegment] = []
    for path in paths:
        segments, count, quarantined, hosts, index = _of_file(workspace, organisation, path, router, by_months)
        events += count
        batch = Batch(
            organisation=organisation.id,
            segments=segments,
            quarantined=[(None, each) for each in quarantined],
            hosts=list(hosts.values()),
        )
        commit_batch(workspace, OPERATOR, batch, [] if index is None else [with_index_file(index)])
        kept += segments
    return events, kept


def index_of(
    workspace: Workspace,
    organisation: Organisation,
    observed: Sequence[tuple[int, str, Sequence[Observed], int | None]],
) -> IndexFile | None:
    """The index file of some events: segment, source, observables and time of each."""
    rows = [
        (each.kind, each.value, each.role, source, segment, time_us, event)
        for event, (segment, source, several, time_us) in enumerate(observed)
        for each in several
    ]
    if not rows:
        return None
    names = ("kind", "value", "role", "source", "segment", "time_us", "event")
    table = pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})
    return record(workspace, OPERATOR, organisation.id, table)


def _of_file(
    workspace: Workspace, organisation: Organisation, path: Path, router: Router, by_months: bool
) -> tuple[list[WrittenSegment], int, list[Quarantined], dict[tuple[str, int, str], HostDay], IndexFile | None]:
    builders: dict[SegmentKey, SegmentBuilder] = {}
    quarantined: list[Quarantined] = []
    hosts: dict[tuple[str, int, str], HostDay] = {}
    inputs: dict[str, int] = {}
    seen: list[tuple[SegmentKey, str, Sequence[Observed], int | None]] = []
    count = 0
    with path.open("rb") as stream:
        for member in open_members(str(path), stream, modified_at_s=path.stat().st_mtime):
            if isinstance(member, Quarantined):
                quarantined.append(member)
                continue
            piece = Piece(file=member.name, chunks=member.chunks, modified_at_s=member.modified_at_s)
            for block in registry.read(piece):
                if isinstance(block, Quarantined):
                    quarantined.append(block)
                    continue
                number = inputs.get(member.name)
                if number is None:
                    number = inputs[member.name] = register_input(
                        workspace,
                        OPERATOR,
                        organisation.id,
                        head_digest=b"x",
                        head_bytes=1,
                        kind="file",
                        name=member.name,
                    ).id
                count += len(block.numbers)
                for portion in router.route(block):
                    rows = list(range(len(block.numbers)) if portion.rows is None else portion.rows)
                    abouts = [envelope(portion.view, block.record(row)) for row in rows]
                    times = [about.time_us for about in abouts]
                    for about in abouts:
                        if about.time_us is not None:
                            _count(hosts, portion.view.stream.name, about.host, about.time_us)
                    for month, part in _by_month(Rows(block, rows, times, number), by_months).items():
                        key = SegmentKey(
                            organisation=organisation.id,
                            stream=portion.view.stream.name,
                            layout=portion.view.layout.name,
                            format=block.format,
                            month=month,
                        )
                        builders.setdefault(key, SegmentBuilder(key)).add(part)
                        for row, time_us in zip(part.rows, part.times_us, strict=True):
                            several = observables(portion.view, block.record(row))
                            seen.append((key, portion.view.stream.source, several, time_us))
    segments = [written(workspace, organisation, builder) for builder in builders.values()]
    ids = {segment.key: segment.id for segment in segments}
    index = index_of(workspace, organisation, [(ids[key], *rest) for key, *rest in seen])
    return segments, count, quarantined, hosts, index


def _by_month(rows: Rows, by_months: bool) -> dict[int | None, Rows]:
    months: dict[int | None, list[int]] = {}
    for place, time_us in enumerate(rows.times_us):
        month = None if time_us is None or not by_months else month_of(time_us // US_PER_DAY)
        months.setdefault(month, []).append(place)
    return {
        month: Rows(rows.block, [rows.rows[p] for p in places], [rows.times_us[p] for p in places], rows.input_id)
        for month, places in months.items()
    }


def _count(hosts: dict[tuple[str, int, str], HostDay], stream: str, host: str, time_us: int) -> None:
    day = time_us // US_PER_DAY
    before = hosts.get((stream, day, host))
    hosts[stream, day, host] = HostDay(
        stream=stream,
        day=day,
        host=host,
        rows=1 + (before.rows if before else 0),
        first_us=min(time_us, before.first_us if before else time_us),
        last_us=max(time_us, before.last_us if before else time_us),
    )

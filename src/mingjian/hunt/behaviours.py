"""Behaviours over what the workspace holds: segments in, findings out, and the way back to the events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa

from mingjian.detect.behaviours.beaconing import beacons
from mingjian.detect.behaviours.facts import SEEN
from mingjian.detect.behaviours.findings import Finding, in_order
from mingjian.detect.behaviours.guessing import guessed
from mingjian.detect.behaviours.movement import new_ways
from mingjian.detect.behaviours.outflow import outflows
from mingjian.detect.behaviours.rarity import first_uses
from mingjian.detect.behaviours.resolving import odd_names
from mingjian.detect.engine import Engine
from mingjian.hunt.behaviourbook import FactBook, built_in_facts
from mingjian.hunt.factmaps import NO_TIME, PART_BITS, Facts, Gathering
from mingjian.hunt.history import History
from mingjian.sources.definitions import SourceBook
from mingjian.store.blocks import Segment, SegmentBlock
from mingjian.store.catalogue import Organisation, SegmentRow, live_segments, organisations
from mingjian.store.scope import Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.workspace import Workspace


class Place(NamedTuple):
    """Where an event of a finding is."""

    segment_id: int
    row: int


def place_of(event: int) -> Place:
    """The segment and the row there of an event that ``facts_of`` numbered.

    >>> place_of((7 << 28) + 3)
    Place(segment_id=7, row=3)
    """
    return Place(event >> PART_BITS, event & ((1 << PART_BITS) - 1))


class Gathered(NamedTuple):
    """What was read for the behaviours."""

    facts: Facts
    rows: dict[int, SegmentRow]
    """The segments that were read, by number."""
    is_all: bool
    """Whether there are no older ones."""


def facts_of(
    workspace: Workspace,
    scope: Scope,
    sources: SourceBook,
    *,
    first_day: int | None = None,
    last_day: int | None = None,
    book: FactBook | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Facts:
    """Read the tables of facts out of the live segments that a scope may read. ``progress``: rows read, of how many.

    Days are counted from 1970 UTC, both ends included.

    Raises:
        StorageError: a segment is damaged, or was merged away meanwhile: ask again.
    """
    gathering = Gathering(book or built_in_facts())
    history = History(workspace, scope, Engine(()), sources)
    with workspace.reading():
        names = {each.id: each.name for each in organisations(workspace, scope)}
        rows = [
            row
            for row in live_segments(workspace, scope, first_day=first_day, last_day=last_day)
            if gathering.wants(row.key.stream)
        ]
        done, total = 0, sum(row.rows for row in rows)
        for row in rows:
            _gather(gathering, history, workspace, row, names[row.key.organisation], first_day, last_day)
            done += row.rows
            progress(done, total)
    return gathering.facts()


def gathered(
    workspace: Workspace,
    scope: Scope,
    history: History,
    organisation: Organisation,
    *,
    events_max: int,
    on_segment: Callable[[SegmentRow], None] = lambda row: None,
) -> Gathered:
    """Read the tables of facts of one organisation: of so many events at most, the newest days first.

    To be called while ``Workspace.reading`` is open.

    Raises:
        StorageError: a segment is damaged.
    """
    gathering = Gathering(built_in_facts())
    rows: dict[int, SegmentRow] = {}
    events, is_all = 0, True
    for row in live_segments(workspace, scope, organisation=organisation.id, newest_first=True):
        if not gathering.wants(row.key.stream):
            continue
        if events and events + row.rows > events_max:
            is_all = False
            break
        events += row.rows
        rows[row.id] = row
    for row in rows.values():
        _gather(gathering, history, workspace, row, organisation.name)
        on_segment(row)
    return Gathered(gathering.facts(), rows, is_all)


def _of_days(block: SegmentBlock, row: SegmentRow, first_day: int | None, last_day: int | None) -> list[int] | None:
    """Which records of a segment are of some days, or have no time. None: all."""
    if row.first_day is None or row.last_day is None:
        return None
    first = row.first_day if first_day is None else first_day
    last = row.last_day if last_day is None else last_day
    if first <= row.first_day and row.last_day <= last:
        return None
    days = (first if time_us is None else time_us // US_PER_DAY for time_us in block.times_us)
    return [place for place, day in enumerate(days) if first <= day <= last]


def _gather(
    gathering: Gathering,
    history: History,
    workspace: Workspace,
    row: SegmentRow,
    organisation: str,
    first_day: int | None = None,
    last_day: int | None = None,
) -> None:
    with Segment(workspace.lake / row.path, checks=row.checks) as segment:
        before = 0
        for block in segment.blocks():
            events = (row.id << PART_BITS) + before + np.arange(len(block), dtype=np.int64)
            before += len(block)
            meant = _of_days(block, row, first_day, last_day)
            if meant is not None:
                block, events = block.take(meant), events[np.asarray(meant, np.int64)]
            for portion in history.portions_of(row, block):
                if not gathering.wants(portion.view.stream.name):
                    continue
                taken = block if portion.rows is None else block.take(portion.rows)
                chosen = events if portion.rows is None else events[np.asarray(portion.rows)]
                taken.prepare(gathering.fields_of(portion.view), ("_time", "_shape"))
                gathering.add(organisation, portion.view, taken, _times(taken), chosen)


def _times(block: SegmentBlock) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([NO_TIME if time is None else time for time in block.times_us], np.int64)


def behaviours_in(
    facts: Facts, seen: pa.Table | None = None, *, since_us: int | None = None, until_us: int | None = None
) -> list[Finding]:
    """Ask every behaviour. Ordered by score, highest first.

    ``seen``: what the sightings index knows (``seen_of``). Findings that end before ``since_us`` or begin at or after
    ``until_us`` are left out; whatever is older is what they are compared with.
    """
    low = -(1 << 62) if since_us is None else since_us
    high = 1 << 62 if until_us is None else until_us
    found = [*first_uses(facts.uses, seen, since_us=low, until_us=high), *of_one_organisation(facts)]
    return in_order([each for each in found if each.last_us >= low and each.first_us < high])


def of_one_organisation(facts: Facts) -> list[Finding]:
    """Ask those behaviours that do not look at other organisations. Ordered by score, highest first."""
    own = facts.own_domains
    return in_order(
        [
            *guessed(facts.logons),
            *beacons(facts.connections, own),
            *new_ways(facts.logons),
            *odd_names(facts.lookups, own),
            *outflows(facts.connections, own),
        ]
    )


def seen_of(totals: Sequence[pa.Table], names: dict[int, str]) -> pa.Table:
    """What the sightings index told (tables of its totals) as a table of ``SEEN``. ``names``: of organisations."""
    if not totals:
        return SEEN.empty_table()
    table = pa.concat_tables(totals)
    numbers = cast("list[int]", table.column("organisation").to_pylist())
    named = pa.array([names.get(number, "") for number in numbers], pa.string())
    columns = [named if name == "organisation" else table.column(name) for name in SEEN.names]
    return pa.Table.from_arrays(columns, names=SEEN.names)

"""The observables of all that is kept, read from the segments again: what the sightings index is compared with.

Each event is routed as it was on arrival, so that today's definitions decide what its observables are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from mingjian.hunt.gathering import Observations
from mingjian.sources.columnwise import envelopes
from mingjian.sources.router import Router
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import SegmentRow, live_segments
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

OBSERVATIONS_TOGETHER: Final = 1_000_000
"""So many observations are handed over at a time."""


def observations_kept(
    workspace: Workspace, scope: Scope, router: Router, *, on_bytes: Callable[[int, int], None] | None = None
) -> Iterator[tuple[OrganisationId, pa.Table]]:
    """The observations of every event that is kept, by organisation, in tables as ``sightings.delta`` wants them.

    ``on_bytes`` is told how many bytes and events were read. While this is used, files stay (``Workspace.reading``).

    Raises:
        StorageError: a segment is damaged.
    """
    by_organisation: dict[OrganisationId, list[SegmentRow]] = defaultdict(list)
    for row in live_segments(workspace, scope):
        by_organisation[row.key.organisation].append(row)
    read_bytes = read_events = 0
    for organisation, rows in by_organisation.items():
        observations = Observations()
        for row in rows:
            _observe(workspace, router, row, observations)
            read_bytes += row.bytes
            read_events += row.rows
            if on_bytes is not None:
                on_bytes(read_bytes, read_events)
            if observations.count >= OBSERVATIONS_TOGETHER:
                for table in observations.tables():
                    yield organisation, table
                observations = Observations()
        if observations.count:
            for table in observations.tables():
                yield organisation, table


def _observe(workspace: Workspace, router: Router, row: SegmentRow, observations: Observations) -> None:
    with Segment(workspace.lake / row.path, checks=row.checks) as segment:
        for block in segment.blocks():
            for portion in router.route(block):
                part = block if portion.rows is None else block.take(portion.rows)
                times_us = part.times_us
                untimed = np.array([time_us is None for time_us in times_us], np.bool_)
                times = np.array([0 if time_us is None else time_us for time_us in times_us], np.int64)
                segments = np.full(len(part), row.id, np.int64)
                observations.add(portion.view, part, envelopes(portion.view, part), times, untimed, segments)

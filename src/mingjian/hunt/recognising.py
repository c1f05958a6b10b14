"""Indicators among the observables of what has just come in, and the events that these are in.

Every distinct observable is looked at once; only if some are indicators, the events are looked for in which they
stand. Of the events of one indicator between two commits at most ``EVENTS_MAX`` are given: all are counted in the
sightings index. What a warning list knows as harmless is passed over, as in hunts over history.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

import numpy as np
import pyarrow as pa

from mingjian.hunt.indicating import EVENTS_MAX, title_of
from mingjian.model.detections import Detection
from mingjian.store.detections import FoundDetection
from mingjian.store.indicatormatching import IndicatorMatcher
from mingjian.store.segments import day_of
from mingjian.store.sightings.columns import numbers
from mingjian.store.tables import storable

if TYPE_CHECKING:
    import numpy.typing as npt

Numbers: TypeAlias = "npt.NDArray[np.int64]"


class Place(NamedTuple):
    """Where an event is, and what its envelope says."""

    stream: str
    input_id: int
    file: str
    record: int
    time_us: int | None
    host: str
    account: str


PlaceOf: TypeAlias = "Callable[[int], Place]"
"""Gives the place of an event by its number."""


class Recognised(NamedTuple):
    """An indicator in an event."""

    event: int
    set_id: int
    segment: int
    found: FoundDetection


class Occurrences(NamedTuple):
    """Observables in events: parallel columns. ``observables`` and ``roles`` are places in the lists given beside."""

    observables: Numbers
    roles: Numbers
    events: Numbers
    segments: Numbers


def recognised(
    matcher: IndicatorMatcher,
    observables: pa.Table,
    roles: Sequence[str],
    seen: Occurrences,
    place_of: PlaceOf,
) -> list[Recognised]:
    """Find the indicators among observables (columns ``kind`` and ``value``), and the events that they are in."""
    hit = np.unique(matcher.match(observables).column("row").to_numpy())
    if not len(hit):
        return []
    rows = np.flatnonzero(np.isin(seen.observables, hit))
    rows = rows[np.lexsort((seen.roles[rows], seen.events[rows]))]
    places = [place_of(event) for event in seen.events[rows].tolist()]
    times = pa.array([place.time_us for place in places], pa.int64())
    table = observables.take(numbers(seen.observables[rows])).append_column("time_us", times)
    values = cast("list[str]", table.column("value").to_pylist())
    kinds = cast("list[str]", table.column("kind").to_pylist())
    found: dict[tuple[int, int], Recognised] = {}
    given: Counter[int] = Counter()
    for match in matcher.match(table).to_pylist():
        row, indicator = int(match["row"]), int(match["indicator_id"])
        event = int(seen.events[rows[row]])
        if match["warning"]:
            continue
        role = f"{roles[int(seen.roles[rows[row]])]} {kinds[row]}"
        known = found.get((event, indicator))
        if known is not None:
            known.found.detection.matched[role] = values[row]
            continue
        given[indicator] += 1
        if given[indicator] > EVENTS_MAX:
            continue
        place = places[row]
        detection = Detection(
            time_us=place.time_us,
            level=match["level"],
            rule_id=f"{match['kind']}:{match['value']}",
            rule_title=title_of(match["how"], match["kind"], match["value"], match["description"]),
            kind="indicator",
            host=storable(place.host),
            account=storable(place.account),
            stream=place.stream,
            file=storable(place.file),
            record=place.record,
            matched={role: values[row]},
            atoms=("outside its validity",) if match["is_outside"] else (),
        )
        found[event, indicator] = Recognised(
            event,
            int(match["set_id"]),
            int(seen.segments[rows[row]]),
            FoundDetection(
                detection=detection,
                content=str(indicator),
                indicator_id=indicator,
                input_id=place.input_id,
                day=day_of(place.time_us),
            ),
        )
    return list(found.values())

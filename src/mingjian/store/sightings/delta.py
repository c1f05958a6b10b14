"""Observations of one commit become one small index file.

An observation is an observable in an event. They come as an Arrow table, straight from ingest:

==================  ==========================  =====================================================================
column              type                        holds
==================  ==========================  =====================================================================
``kind``            text (dictionary or not)    kind of observable
``value``           text (dictionary or not)    canonical value, see ``model.observables``
``role``            text (dictionary or not)    what it does in the event; not ``OVERLAP``
``source``          text (dictionary or not)    the definition of the event's source
``segment``         whole number                the segment in which the event is
``time_us``         whole number, may be null   time of the event, microseconds since 1970 UTC
``event``           whole number, optional      which event: the same for all observations of one event
``last_us``         whole number, optional      for several events at once: time of the last one, on the same day
``count``           whole number, optional      for several events at once: how many; not together with ``event``
==================  ==========================  =====================================================================
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, cast

import numpy as np
import pyarrow as pa

from mingjian.errors import LimitExceeded, SchemaError
from mingjian.model.sources import ObservableKind
from mingjian.model.times import TIME_US_MAX
from mingjian.store.sightings import columns
from mingjian.store.sightings.columns import ChunkedArray, Column, Texts
from mingjian.store.sightings.disk import Folder
from mingjian.store.sightings.keys import keys_of
from mingjian.store.sightings.layout import SUFFIX, UNITS_US, Group, IndexFile, Place, Tables, tables_of
from mingjian.store.sightings.rows import (
    DAY_BITS,
    DAY_US,
    EPOCH_DAY,
    KEYS_AT_ONCE_MAX,
    NO_DAY,
    NO_FIRST,
    NO_LAST,
    Keys,
    Rows,
    changes,
    grouped,
    in_order,
    no_keys,
    sorted_order,
)
from mingjian.store.sightings.writing import FileWriter

OBSERVATIONS_MAX: Final = 1 << 24
"""So many observations fit into one commit; so many distinct observables as ``KEYS_AT_ONCE_MAX`` says."""
ROLES_PER_EVENT_MAX: Final = 256
OVERLAP: Final = "*"
"""The role under which it is kept how often an observable stood in one event in more than one role: once for every
role but the first. Taken from the sum over all roles it gives the number of events. Never shown as a role."""

TIME_US_MIN: Final = (1 - EPOCH_DAY) * DAY_US
"""The first microsecond of the year 1."""


_ZERO: Final = pa.scalar(0, pa.int64())


def new_name() -> str:
    """A name for a new index file."""
    return secrets.token_hex(10) + SUFFIX


def write_delta(
    folder: Folder, observations: pa.Table, organisation: int, *, name: str | None = None
) -> IndexFile | None:
    """Write the observations of one commit of one organisation to a file of their own, on the disk when this returns.

    The file counts once its name is among those that ``SightingsIndex`` is opened with: the caller commits the name
    together with the segments. A file whose name was never committed is removed by ``remove_strays``. None if there
    is no observation.

    Raises: SchemaError (a column is missing or holds what it may not), LimitExceeded (OBSERVATIONS_MAX,
    KEYS_AT_ONCE_MAX, VALUE_BYTES_MAX …: make several commits), StorageError.
    """
    rows, tables = rows_of(observations, organisation)
    if not len(rows):
        return None
    writer = FileWriter(folder, name or new_name(), tables)
    try:
        writer.add(rows)
        return writer.finish()
    finally:
        writer.close()


def rows_of(observations: pa.Table, organisation: int) -> tuple[Rows, Tables]:
    """The rows of the observations of one organisation, and their tables. Raises: SchemaError, LimitExceeded."""
    if observations.num_rows > OBSERVATIONS_MAX:
        raise LimitExceeded("OBSERVATIONS_MAX", OBSERVATIONS_MAX, where="sightings")
    first, last, day = _times(observations)
    count = _numbers(observations, "count", default=1)
    if len(count) and (int(count.min()) < 1 or ((count == 1) & (first != last) & (day != NO_DAY)).any()):
        raise SchemaError("an observation has a count that cannot be", where="count")
    keys, key = _keys(observations)
    sources, source = _coded_list(observations, "source")
    roles, role = _coded_list(observations, "role")
    if OVERLAP in roles:
        raise SchemaError(f"{OVERLAP} is not a role", where="role")
    segment = _numbers(observations, "segment")
    parallel = [key, source, role, day, count, first, last, segment]
    events, surplus = _overlaps(observations, key, len(roles))
    if len(events):
        added = [column[events] for column in parallel]
        added[2], added[4] = np.full(len(events), len(roles)), surplus
        parallel = [np.concatenate(pair) for pair in zip(parallel, added, strict=True)]
        roles = [*roles, OVERLAP]
    return _rows(keys, parallel, organisation, sources, roles)


def _rows(
    keys: Keys, parallel: Sequence[Column], organisation: int, sources: Sequence[str], roles: Sequence[str]
) -> tuple[Rows, Tables]:
    key, source, role, day, count, first, last, segment = parallel
    pairs, pair = _distinct(source * len(roles) + role, len(sources) * len(roles))
    groups = [Group(organisation, sources[p // len(roles)], roles[p % len(roles)]) for p in columns.plain(pairs)]
    days, ranks = _segments(source, day, segment)
    tables = tables_of(
        groups,
        _units(source, first, last, day, organisation, sources),
        {(Place(organisation, sources[place]), number): ids for (place, number), ids in days.items()},
    )
    numbers = {group: number for number, group in enumerate(tables.groups)}
    number_of_pair = np.array([numbers[group] for group in groups], np.int64)
    rows = grouped(
        keys,
        key=key,
        group=number_of_pair[pair] if len(pair) else key,
        day=day,
        count=count,
        first=first,
        last=last,
        segments=np.ones(len(key), np.int64),
        ranks=ranks,
    )
    return rows, tables


def _column(observations: pa.Table, name: str) -> ChunkedArray:
    if name not in observations.schema.names:
        raise SchemaError(f"observations need a column {name}", where="sightings")
    return observations.column(name)


def _numbers(observations: pa.Table, name: str, default: int | None = None) -> Column:
    if default is not None and name not in observations.schema.names:
        return np.full(observations.num_rows, default, np.int64)
    column = _column(observations, name)
    if column.null_count or not pa.types.is_integer(column.type):
        raise SchemaError("every observation needs a whole number", where=name)
    return column.cast(pa.int64()).to_numpy()


def _coded(observations: pa.Table, name: str) -> tuple[Texts, Column]:
    """The distinct texts of a column, and which each row has."""
    column = _column(observations, name)
    found, codes = columns.coded(column)
    if column.null_count or found.null_count:
        raise SchemaError("every observation needs one", where=name)
    return found, codes


def _coded_list(observations: pa.Table, name: str) -> tuple[list[str], Column]:
    found, codes = _coded(observations, name)
    return cast("list[str]", found.to_pylist()), codes


def _times(observations: pa.Table) -> tuple[Column, Column, Column]:
    """First, last and day of each observation."""
    column = _column(observations, "time_us")
    undated = columns.as_mask(column.is_null())
    first = columns.as_numbers(columns.computed("coalesce", column.cast(pa.int64()), _ZERO))
    last = first
    if "last_us" in observations.schema.names:
        ends = columns.computed("coalesce", observations.column("last_us").cast(pa.int64()), column.cast(pa.int64()))
        last = columns.as_numbers(columns.computed("coalesce", ends, _ZERO))
    if len(first) and not (int(first.min()) >= TIME_US_MIN and int(last.max()) <= TIME_US_MAX):
        raise SchemaError("a time is outside of the years 1 to 9999", where="time_us")
    day = first // DAY_US
    if (last < first).any() or (last // DAY_US != day).any():
        raise SchemaError("an observation ends before it begins, or on another day", where="last_us")
    return (
        np.where(undated, NO_FIRST, first),
        np.where(undated, NO_LAST, last),
        np.where(undated, NO_DAY, day + EPOCH_DAY),
    )


def _keys(observations: pa.Table) -> tuple[Keys, Column]:
    """The distinct keys in order, and which each observation has."""
    kinds, kind = _coded_list(observations, "kind")
    values, value = _coded(observations, "value")
    pairs, pair = _distinct(value * max(len(kinds), 1) + kind, max(len(values) * len(kinds), 1))
    if len(pairs) > KEYS_AT_ONCE_MAX:
        raise LimitExceeded("KEYS_AT_ONCE_MAX", KEYS_AT_ONCE_MAX, where="sightings")
    parts: list[Keys] = [no_keys()]
    rows: list[Column] = [np.zeros(0, np.int64)]
    for number, name in enumerate(kinds):
        of_kind = np.flatnonzero(pairs % len(kinds) == number)
        if len(of_kind):
            some = columns.taken(values, pairs[of_kind] // len(kinds))
            parts.append(keys_of(cast("ObservableKind", name), some))
            rows.append(of_kind)
    ordered, places = in_order(columns.appended(parts))
    place_of_pair = np.empty(len(pairs), np.int64)
    place_of_pair[np.concatenate(rows)] = places
    return ordered, place_of_pair[pair] if len(pair) else pair


def _distinct(numbers: Column, bound: int) -> tuple[Column, Column]:
    """The distinct numbers, all below a bound, in order, and which each is."""
    if bound > 4 * len(numbers) + 1024:
        found, which = np.unique(numbers, return_inverse=True)
        return found, which
    there = np.zeros(bound, bool)
    there[numbers] = True
    place = np.cumsum(there) - 1
    return np.flatnonzero(there), place[numbers]


def _distinct_from_least(numbers: Column) -> tuple[Column, Column]:
    """The same for any numbers, which as a rule are close to each other."""
    if not len(numbers):
        return numbers, numbers
    least, greatest = int(numbers.min()), int(numbers.max())
    if greatest - least >= 1 << 62:
        found, which = np.unique(numbers, return_inverse=True)
        return found, which
    found, which = _distinct(numbers - least, greatest - least + 1)
    return found + least, which


def _overlaps(observations: pa.Table, key: Column, roles: int) -> tuple[Column, Column]:
    """Rows of observations whose observable stands in the event in further roles, and how many these are."""
    nothing = np.zeros(0, np.int64)
    if "event" not in observations.schema.names:
        return nothing, nothing
    if "count" in observations.schema.names:
        raise SchemaError("an observation of several events does not tell which one", where="event")
    if roles < 2:
        return nothing, nothing
    events, event = _distinct_from_least(_numbers(observations, "event"))
    together = key * len(events) + event
    order = sorted_order(together)
    heads = np.flatnonzero(changes(together[order]))
    sizes = np.diff(np.append(heads, len(order)))
    if len(sizes) and int(sizes.max()) > ROLES_PER_EVENT_MAX:
        raise LimitExceeded("ROLES_PER_EVENT_MAX", ROLES_PER_EVENT_MAX, where="sightings")
    several = sizes > 1
    return order[heads[several]], sizes[several] - 1


def _segments(source: Column, day: Column, segment: Column) -> tuple[Mapping[tuple[int, int], list[int]], Column]:
    """The segments of each source and day, and for each observation the place of its own among them."""
    ids, number = _distinct_from_least(segment)
    place = (source << DAY_BITS) | day
    found_days, of_day = _distinct_from_least(day)
    _, which = _distinct_from_least(source * len(found_days) + of_day)
    places = np.empty(int(which.max(initial=-1)) + 1, np.int64)
    places[which] = place
    pairs, pair = _distinct(which * max(len(ids), 1) + number, len(places) * len(ids))
    of_pair = pairs // max(len(ids), 1)
    starts = np.searchsorted(of_pair, np.arange(len(places) + 1))
    found = columns.plain(ids[pairs % max(len(ids), 1)]) if len(pairs) else []
    days = {
        (key >> DAY_BITS, key & ((1 << DAY_BITS) - 1)): found[start:stop]
        for key, (start, stop) in zip(columns.plain(places), pairwise(columns.plain(starts)), strict=True)
    }
    return days, pair - starts[of_pair[pair]] if len(pair) else pair


def _units(
    source: Column, first: Column, last: Column, day: Column, organisation: int, sources: Sequence[str]
) -> dict[Place, int]:
    """The coarsest unit in which all times of each source are whole."""
    units: dict[Place, int] = {}
    dated = day != NO_DAY
    for number, name in enumerate(sources):
        rows = dated & (source == number)
        units[Place(organisation, name)] = next(
            unit for unit in UNITS_US if not (first[rows] % unit).any() and not (last[rows] % unit).any()
        )
    return units

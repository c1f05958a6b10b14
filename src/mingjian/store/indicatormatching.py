"""Which indicators observables are: all live sets at once, over whole columns.

A hit on a warning list is kept and marked; a hit outside its indicator's validity too. ``level`` says what both leave
of its weight (``model.indicators.level_of``).
"""

from __future__ import annotations

import gc
import ipaddress
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Final, NamedTuple, cast

import numpy as np
import pyarrow as pa

from mingjian.errors import SchemaError
from mingjian.model.indicators import CONFIDENCE_HIGH, CONFIDENCE_MEDIUM, VERDICTS, level_of
from mingjian.model.observables import canonical
from mingjian.model.rules import LEVELS
from mingjian.model.sources import ObservableKind
from mingjian.store.indicatorkeys import KeyTable, indicator_keys, observable_keys
from mingjian.store.indicators import IndicatorSet, indicators_of, live_sets
from mingjian.store.indicatortables import ROW_SCHEMA, field_of
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.sightings import columns
from mingjian.store.sightings.columns import Array, ChunkedArray, Column, Mask
from mingjian.store.sightings.keys import (
    KIND_NUMBERS,
    KeyRange,
    beginning,
    domain_ranges,
    exactly,
    file_name_ranges,
    network_ranges,
)
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace

TAKEN: Final = ("set_id", "kind", "how", "value", "verdict", "confidence", "marking", "source", "description")
"""What a match repeats of its indicator."""
MATCH_SCHEMA: Final = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("indicator_id", pa.int64(), nullable=False),
        *(field_of(name) for name in TAKEN),
        pa.field("is_outside", pa.bool_(), nullable=False),
        pa.field("warning", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),
    ]
)
"""``row``: place in the table of observations. ``value`` is the indicator's. ``warning``: the warning list that the
indicator or what was observed is on, else empty. ``is_outside``: all of it happened outside the validity."""

_LEVEL_OF: Final = np.array(
    [
        [
            [LEVELS.index(level_of(verdict, confidence, is_outside=is_outside)) for is_outside in (False, True)]
            for confidence in (0, CONFIDENCE_MEDIUM, CONFIDENCE_HIGH)
        ]
        for verdict in VERDICTS
    ],
    np.int64,
)
"""Place of the level by verdict, band of confidence, and whether it is outside the validity."""


class IndicatorMatcher:
    """Some indicators, ready to be met. Never changes; may be shared by threads and forked processes."""

    def __init__(self, indicators: pa.Table, lists: WarningLists | None = None, set_ids: Sequence[int] = ()) -> None:
        """Take indicators as a table of ``ROW_SCHEMA``, and the warning lists to ask about what is hit."""
        self.indicators = indicators.combine_chunks()
        self.set_ids = tuple(set_ids)
        """Versions of sets that they are from: what was run, for the coverage."""
        self._lists = lists
        kinds, hows, values = (self._column(name) for name in ("kind", "how", "value"))
        self._keys = KeyTable(indicator_keys(kinds, hows, values))
        self._froms = columns.as_numbers(_filled(self._column("valid_from_us"), -(2**62)))
        self._untils = columns.as_numbers(_filled(self._column("valid_until_us"), 2**62))
        confidence = columns.as_numbers(_filled(self._column("confidence"), CONFIDENCE_HIGH))
        self._band = (confidence >= CONFIDENCE_MEDIUM).astype(np.int64) + (confidence >= CONFIDENCE_HIGH)
        verdicts = columns.computed("index_in", self._column("verdict"), value_set=pa.array(VERDICTS))
        self._verdict = columns.as_numbers(verdicts)
        self._is_warned = columns.as_mask(columns.computed("not_equal", self._column("warning"), ""))

    def __len__(self) -> int:
        return self.indicators.num_rows

    def _column(self, name: str) -> Array:
        return self.indicators.column(name).combine_chunks()

    def match(self, observations: pa.Table) -> pa.Table:
        """Find the indicators among observations: rows of ``MATCH_SCHEMA``, by row and indicator.

        ``observations`` has columns ``kind`` and ``value`` (canonical), texts, dictionary-encoded or not, and may have
        ``time_us`` and ``last_us``, when it was observed first and last: whole numbers, null if that is not known.
        Every distinct observable is looked at once, however often it is there.

        Raises: SchemaError (a column is missing, or a kind or value is null).
        """
        kinds, kind = _coded(observations, "kind")
        values, value = _coded(observations, "value")
        if not len(self) or not observations.num_rows:
            return MATCH_SCHEMA.empty_table()
        pairs, pair = np.unique(value * len(kinds) + kind, return_inverse=True)
        kinds, values = columns.taken(kinds, pairs % len(kinds)), columns.taken(values, pairs // len(kinds))
        observed, indicator = self._keys.find(observable_keys(kinds, values, self._keys.asked))
        warnings = self._warnings(kinds, values, observed, indicator)
        row, hit = _spread(pair, observed, len(pairs))
        indicator = indicator[hit]
        is_outside = self._outside(observations, row, indicator)
        warning = columns.taken(warnings, hit)
        is_warned = columns.as_mask(columns.computed("not_equal", warning, ""))
        level = np.where(
            is_warned, 0, _LEVEL_OF[self._verdict[indicator], self._band[indicator], is_outside.astype(int)]
        )
        cells: list[Array] = [columns.numbers(row), columns.taken(self._column("id"), indicator)]
        cells += [columns.taken(self._column(name), indicator) for name in TAKEN]
        cells += [cast("Array", pa.array(is_outside)), warning, columns.taken(pa.array(LEVELS), level)]
        return pa.Table.from_arrays(cells, schema=MATCH_SCHEMA)

    def _warnings(self, kinds: Array, values: Array, observed: Column, indicator: Column) -> Array:
        """The warning list for each hit: that of the indicator, else that of what it hit."""
        warnings = columns.taken(self._column("warning"), indicator)
        is_open = ~self._is_warned[indicator]
        if self._lists is None or not is_open.any():
            return warnings
        distinct, place = np.unique(observed[is_open], return_inverse=True)
        found = self._lists.of_observables(columns.taken(kinds, distinct), columns.taken(values, distinct))
        of_all = np.zeros(len(observed), np.int64)
        of_all[is_open] = place
        seen = columns.taken(cast("Array", found.cast(pa.string())), of_all)
        return columns.computed("if_else", pa.array(is_open), seen, warnings)

    def _outside(self, observations: pa.Table, row: Column, indicator: Column) -> Mask:
        if "time_us" not in observations.schema.names:
            return np.zeros(len(row), bool)
        first = _times(observations, "time_us")
        last = _times(observations, "last_us") if "last_us" in observations.schema.names else first
        is_known = columns.as_mask(first.is_valid())[row]
        begin = columns.as_numbers(_filled(first, 0))[row]
        end = np.maximum(columns.as_numbers(_filled(last, 0))[row], begin)
        return is_known & ((end < self._froms[indicator]) | (begin >= self._untils[indicator]))


def _filled(column: Array, number: int) -> Array:
    return columns.computed("coalesce", column, pa.scalar(number, pa.int64()))


def _times(observations: pa.Table, name: str) -> Array:
    return cast("Array", observations.column(name).cast(pa.int64()).combine_chunks())


def _coded(observations: pa.Table, name: str) -> tuple[Array, Column]:
    if name not in observations.schema.names:
        raise SchemaError(f"observations need a column {name}", where="indicators")
    column: ChunkedArray = observations.column(name)
    if column.null_count:
        raise SchemaError(f"every observation needs a {name}", where="indicators")
    return columns.coded(column)


def _spread(pair: Column, observed: Column, count: int) -> tuple[Column, Column]:
    """For each observation and each hit of what it observes: the observation, and the hit. ``observed`` is rising."""
    starts = np.searchsorted(observed, np.arange(count + 1))
    sizes = np.diff(starts)[pair]
    row = np.repeat(np.arange(len(pair)), sizes)
    begins = np.cumsum(sizes) - sizes
    return row, np.repeat(starts[pair] - begins, sizes) + np.arange(len(row))


@contextmanager
def _without_garbage_collection() -> Generator[None]:
    """Millions of short-lived rows hold no cycles, and looking for some takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


# --- what is live --------------------------------------------------------------------------------------------------


class Matchers:
    """The matcher for what is looked for now. Keep one for as long as events come in; may be shared by threads.

    Versions of sets never change: each is read from the database once, and a matcher is made anew only when the list of
    live sets has changed.
    """

    def __init__(self, workspace: Workspace, lists: WarningLists | None = None) -> None:
        self._workspace = workspace
        self._lists = WarningLists() if lists is None else lists
        self._tables: dict[int, pa.Table] = {}
        self._matchers: dict[tuple[int, ...], IndicatorMatcher] = {}
        self._mutex = Lock()

    def current(self, scope: Scope, *, organisation: OrganisationId | None = None) -> IndicatorMatcher:
        """The matcher for all live sets, or for those of one organisation and those for all. Raises: NotFound."""
        sets = live_sets(self._workspace, scope, organisation=organisation)
        wanted = tuple(sorted(each.id for each in sets))
        with self._mutex:
            known = self._matchers.get(wanted)
            if known is None:
                tables = [self._table(scope, each) for each in sets]
                table = pa.concat_tables([ROW_SCHEMA.empty_table(), *tables])
                known = IndicatorMatcher(table, self._lists, wanted)
                self._forget_retired()
                self._matchers[wanted] = known
        return known

    def _table(self, scope: Scope, wanted: IndicatorSet) -> pa.Table:
        if wanted.id not in self._tables:
            with _without_garbage_collection():
                parts = list(indicators_of(self._workspace, scope, wanted.id))
            self._tables[wanted.id] = pa.concat_tables([ROW_SCHEMA.empty_table(), *parts])
        return self._tables[wanted.id]

    def _forget_retired(self) -> None:
        live = {each.id for each in live_sets(self._workspace, Scope.of_operator())}
        self._tables = {number: table for number, table in self._tables.items() if number in live}
        self._matchers = {ids: matcher for ids, matcher in self._matchers.items() if live.issuperset(ids)}


# --- over history --------------------------------------------------------------------------------------------------


class Values(NamedTuple):
    """What indicators look for exactly, as ``store.sightings.feeds.Feed`` takes it."""

    kinds: Array
    values: Array
    rows: Column
    """The indicator of each, by its place in the table."""


def exact_values(indicators: pa.Table) -> Values:
    """The observables that are hits of an indicator by themselves: an address is one as ``ip`` and as ``host``.

    Everything else that may be a hit is in ``key_ranges``.
    """
    hows = columns.as_texts(indicators.column("how").combine_chunks())
    kinds = columns.as_texts(indicators.column("kind").combine_chunks())
    values = columns.as_texts(indicators.column("value").combine_chunks())
    rows = np.flatnonzero(columns.as_mask(columns.computed("is_in", hows, value_set=columns.texts(["is", "below"]))))
    of_kind = cast("list[ObservableKind]", columns.taken(kinds, rows).to_pylist())
    also = [_ALSO.get(kind) for kind in of_kind]
    for place in (place for place, kind in enumerate(of_kind) if kind == "host"):
        also[place] = "domain" if canonical("ip", str(values[int(rows[place])])) is None else "ip"
    doubled = [place for place, kind in enumerate(also) if kind is not None]
    all_rows = np.concatenate([rows, rows[doubled]])
    all_kinds = columns.texts([*of_kind, *(kind for kind in also if kind is not None)])
    return Values(all_kinds, columns.taken(values, all_rows), all_rows)


_ALSO: Final[dict[str, ObservableKind]] = {"ip": "host", "domain": "host"}
"""What else the same text may be."""
_URL_KEY: Final = bytes([KIND_NUMBERS["url"]])


def key_ranges(kind: ObservableKind, how: str, value: str) -> Iterator[KeyRange]:
    """Ranges of the sightings index that hold the other hits of an indicator, besides ``exact_values``.

    Names below a domain, URLs at a name or address, e-mail addresses at a domain, addresses of a network, files of a
    name. A range may hold more than the hits: match what is found in it (``IndicatorMatcher``).
    """
    if how == "within":
        network = ipaddress.ip_network(value)
        yield from network_ranges(network)
        # In keys of URLs addresses are texts: of IPv4 by whole octets, of IPv6 any.
        octets = str(network.network_address).split(".")[: network.prefixlen // 8]
        start = "[" if network.version == 6 else ".".join(octets) + ("." if len(octets) < 4 else "\0")
        yield beginning(_URL_KEY + start.encode())
    elif how == "named":
        for name in dict.fromkeys((value, value.casefold())):
            yield from file_name_ranges(name)
    elif how == "below":
        exact = {exactly(each, value) for each in ("domain", "host")}
        yield from (each for each in domain_ranges(value) if each not in exact)
    elif kind == "ip" or (kind == "host" and canonical("ip", value) is not None):
        # In keys of URLs an address is not turned round.
        host = f"[{value}]" if ":" in value else value
        yield beginning(_URL_KEY + host.encode() + b"\0")
    elif kind in ("domain", "host"):
        # Every second range is what is below the name.
        yield from domain_ranges(value, ("url", "email"))[::2]

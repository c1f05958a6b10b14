"""Indicators over all of history: one merge join with the sightings index, then the events behind what was found.

The index says which observables were ever seen and in which segments; only these segments are opened, and only for the
events that are shown. What was seen is exact, however many events there are behind it; of the events of one indicator
those of the first day (where it began) and the newest are given, at most ``EVENTS_MAX``. What a warning list knows as
harmless is counted, not looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from typing import Final, NamedTuple, TypeAlias, cast

import msgspec
import numpy as np
import pyarrow as pa

from mingjian.detect.engine import Engine
from mingjian.errors import StorageError
from mingjian.hunt.answer import Answer
from mingjian.hunt.history import History
from mingjian.hunt.holes import Question, holes
from mingjian.hunt.views import StreamPattern
from mingjian.model.detections import Detection
from mingjian.model.indicators import Indicator
from mingjian.model.rules import LEVELS, Level
from mingjian.model.sources import ObservableKind, View
from mingjian.sources.columnwise import Observer
from mingjian.sources.definitions import SourceBook
from mingjian.sources.envelope import envelope
from mingjian.store.blocks import SegmentBlock
from mingjian.store.catalogue import SegmentRow, live_segments
from mingjian.store.detections import FoundDetection
from mingjian.store.holes import streams_known
from mingjian.store.indicatormatching import IndicatorMatcher, exact_values, key_ranges
from mingjian.store.indicators import INDICATORS_MAX
from mingjian.store.indicatortables import merged, numbered, table_of
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import day_of
from mingjian.store.sightings.columns import Array, computed
from mingjian.store.sightings.delta import OVERLAP
from mingjian.store.sightings.feeds import Feed
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.keys import KeyRange
from mingjian.store.sightings.live import open_index
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace

EVENTS_MAX: Final = 1_000
"""So many events of one indicator are given; all are counted."""
OBSERVABLES_MAX: Final = 10_000
"""For so many observables the events are looked up, those of the gravest indicators first; all are counted."""
RANGES_MAX: Final = 20_000
"""Up to so many ranges are looked up one by one; with more, the whole index is read once."""
DESCRIPTION_CHARACTERS_MAX: Final = 200

_Pair: TypeAlias = tuple[ObservableKind, str]
_Observable: TypeAlias = tuple[int, ObservableKind, str]
"""Organisation, kind, value."""
_Seen: TypeAlias = dict[_Observable, tuple[int, int | None, int | None]]
"""How often, first and last."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """An observable that is a hit of an indicator, over all of history."""

    indicator_id: int
    kind: ObservableKind
    """Of the indicator, as are ``how`` and ``value``."""
    how: str
    value: str
    level: Level
    warning: str
    is_outside: bool
    organisation: OrganisationId
    observed: _Pair
    count: int
    """In how many events; each counts in each role that the observable has in it."""
    first_us: int | None
    last_us: int | None


class Indicated(msgspec.Struct, kw_only=True):
    """What came of looking for indicators."""

    hits: list[Hit] = []
    """The gravest first, then those seen last."""
    found: list[tuple[OrganisationId, int, FoundDetection]] = []
    """Events, with organisation and segment: where something was seen first, then the newest segments."""
    damaged: list[SegmentRow] = []
    """Segments that could not be read: their events are not among those found."""
    left_out: int = 0
    """Observables and events that are counted in the hits, and not given."""

    def detections(self) -> list[Detection]:
        """The events in the order of time (none last), file, record, indicator."""
        every = [each.detection for _, _, each in self.found]
        return sorted(every, key=lambda one: (one.time_us is None, one.time_us or 0, one.file, one.record, one.rule_id))


def look_for(
    workspace: Workspace,
    scope: Scope,
    indicators: Sequence[Indicator],
    sources: SourceBook,
    *,
    organisation: OrganisationId | None = None,
    lists: WarningLists | None = None,
    with_events: bool = True,
) -> tuple[Indicated, Answer]:
    """Look for indicators that are not kept, and say what was out of sight. ``lists`` are the warning lists to ask.

    Without events the sums are there at once: they come from the index alone.

    Raises:
        LimitExceeded: there are more than ``indicators.INDICATORS_MAX``.
        StorageError: the workspace cannot be read.
    """
    lists = WarningLists() if lists is None else lists
    rows = merged(table_of(indicators, rows_max=INDICATORS_MAX))
    warnings = lists.of_indicators(*(rows.column(each).combine_chunks() for each in ("kind", "how", "value")))
    rows = rows.set_column(rows.schema.get_field_index("warning"), "warning", warnings.cast(pa.string()))
    history = History(workspace, scope, Engine(()), sources)
    matcher = IndicatorMatcher(numbered(rows), lists)
    with closing(open_index(workspace, scope)) as index:
        outcome = Lookout(workspace, scope, index, matcher, history, organisation=organisation).look(
            with_events=with_events
        )
    kinds: set[ObservableKind] = {each.kind for each in indicators}
    question = question_about(workspace, scope, kinds, sources, organisation)
    question = msgspec.structs.replace(question, damaged=tuple(outcome.damaged))
    window, found = holes(workspace, scope, question)
    return outcome, Answer(found=sum(hit.count for hit in outcome.hits), window=window, holes=tuple(found))


def question_about(
    workspace: Workspace,
    scope: Scope,
    kinds: Collection[ObservableKind],
    sources: SourceBook,
    organisation: OrganisationId | None,
) -> Question:
    """The streams of the lake that have observables of some kinds, and the kinds that none has."""
    wanted = frozenset[ObservableKind](kinds)
    observing = [
        (StreamPattern(stream.name), wanted.intersection(each.kind for each in stream.observables))
        for stream in sources.streams()
    ]
    names = streams_known(workspace, scope, organisation)
    having: dict[str, set[ObservableKind]] = {}
    for name in names:
        having[name] = set[ObservableKind]().union(*(some for pattern, some in observing if pattern.fits(name)))
    streams = frozenset(name for name, some in having.items() if some)
    missing = set(kinds).difference(*having.values())
    # What the index has is kept when retention removes events.
    return Question(
        streams=None if len(streams) == len(names) else streams,
        missing=tuple(sorted(missing)),
        needs_events=False,
        organisation=organisation,
    )


def title_of(how: str, kind: str, value: str, description: str) -> str:
    """What a detection of an indicator is called.

    >>> title_of("below", "domain", "evil.example", "")
    'domain *.evil.example'
    """
    shown = f"*.{value}" if how == "below" else value
    text = f"{kind} {shown}"
    return f"{text}: {description[:DESCRIPTION_CHARACTERS_MAX]}" if description else text


class Lookout:
    """Looks for indicators in the index and in the segments that it names."""

    def __init__(
        self,
        workspace: Workspace,
        scope: Scope,
        index: SightingsIndex,
        matcher: IndicatorMatcher,
        history: History,
        *,
        organisation: OrganisationId | None = None,
    ) -> None:
        self._index = index
        self._matcher = matcher
        self._history = history
        self._organisations = None if organisation is None else [int(organisation)]
        self._rows = {row.id: row for row in live_segments(workspace, scope, organisation=organisation)}
        self._workspace = workspace

    def look(self, *, with_events: bool = True) -> Indicated:
        """Find what was seen, and the events behind it.

        Raises:
            StorageError: the index cannot be read.
        """
        outcome = Indicated(hits=self._hits(self._seen()))
        if with_events:
            with self._workspace.reading():
                self._look_at_events(outcome)
        return outcome

    # --- what was seen

    def _seen(self) -> _Seen:
        """Every observable that is a hit by itself or lies in a range of hits: how often, first and last."""
        seen: _Seen = {}
        exact = exact_values(self._matcher.indicators)
        if len(exact.rows):
            # Each once: what several indicators look for must not be counted several times.
            columns: list[Array] = [exact.kinds, exact.values]
            distinct = pa.Table.from_arrays(columns, names=["kind", "value"]).group_by(["kind", "value"]).aggregate([])
            kinds, values = (distinct.column(name).combine_chunks() for name in ("kind", "value"))
            _add(seen, self._index.match(Feed(kinds, values), organisations=self._organisations))
        ranges = self._ranges()
        if ranges is None or ranges:
            among: _Seen = {}
            for table in self._index.scan(ranges):
                of_ours = table
                if self._organisations is not None:
                    of_ours = table.filter(computed("equal", table.column("organisation"), self._organisations[0]))
                hit = np.unique(self._matcher.match(of_ours.select(["kind", "value"])).column("row").to_numpy())
                _add(among, of_ours.take(hit))
            seen = among | seen
        return seen

    def _ranges(self) -> list[KeyRange] | None:
        """The ranges of the index that hold further hits; None for all of it."""
        table = self._matcher.indicators
        columns = (table.column(name).to_pylist() for name in ("kind", "how", "value"))
        found: dict[KeyRange, None] = {}
        for kind, how, value in zip(*columns, strict=True):
            found.update(dict.fromkeys(key_ranges(kind, how, value)))
            if len(found) > RANGES_MAX:
                return None
        apart: list[KeyRange] = []
        for each in sorted(found):
            if apart and each.low <= apart[-1].high:
                apart[-1] = KeyRange(apart[-1].low, max(apart[-1].high, each.high))
            else:
                apart.append(each)
        return apart

    def _hits(self, seen: _Seen) -> list[Hit]:
        keys: list[_Observable] = list(seen)
        observations = _observations(
            [(kind, value) for _, kind, value in keys], [seen[key][1] for key in keys], [seen[key][2] for key in keys]
        )
        hits = [
            Hit(
                indicator_id=row["indicator_id"],
                kind=row["kind"],
                how=row["how"],
                value=row["value"],
                level=row["level"],
                warning=row["warning"],
                is_outside=row["is_outside"],
                organisation=OrganisationId(keys[int(row["row"])][0]),
                observed=keys[int(row["row"])][1:],
                count=seen[keys[int(row["row"])]][0],
                first_us=seen[keys[int(row["row"])]][1],
                last_us=seen[keys[int(row["row"])]][2],
            )
            for row in self._matcher.match(observations).to_pylist()
        ]
        return sorted(hits, key=lambda hit: (-LEVELS.index(hit.level), -(hit.last_us or 0), hit.value, hit.observed))

    # --- the events

    def _look_at_events(self, outcome: Indicated) -> None:
        wanted: dict[int, set[_Pair]] = defaultdict(set)
        looked_up: set[_Observable] = set()
        for hit in outcome.hits:
            key = (int(hit.organisation), *hit.observed)
            if hit.warning or key in looked_up:
                continue
            if len(looked_up) >= OBSERVABLES_MAX:
                outcome.left_out += 1
                continue
            looked_up.add(key)
            for sighting in self._index.lookup(*hit.observed, organisations=[key[0]]):
                for segment in sighting.segments:
                    wanted[segment].add(hit.observed)
        rows = [self._rows[segment] for segment in wanted if segment in self._rows]
        began = _first_days(rows, wanted)
        rows.sort(key=lambda row: ((row.key.organisation, row.first_day) not in began, *_newest_first(row)))
        given: Counter[int] = Counter()
        for row in rows:
            try:
                is_beginning = (row.key.organisation, row.first_day) in began
                for view, block in self._history.blocks(row):
                    matches = _matches(self._matcher, view, block, wanted[row.id])
                    ordered = _first_then_newest(matches, block.times_us, is_beginning=is_beginning)
                    outcome.left_out += self._events(outcome.found, given, row, view, block, ordered)
            except StorageError:
                outcome.damaged.append(row)

    def _events(
        self,
        found: list[tuple[OrganisationId, int, FoundDetection]],
        given: Counter[int],
        row: SegmentRow,
        view: View,
        block: SegmentBlock,
        matches: Sequence[tuple[int, int, _Match]],
    ) -> int:
        """Add the events of one block, in this order; give how many were left out."""
        left_out = 0
        for place, indicator, match in matches:
            if given[indicator] >= EVENTS_MAX:
                left_out += 1
                continue
            given[indicator] += 1
            detection = self._detection(view, block, place, match)
            content = str(indicator)
            input_id = int(block.inputs[place])
            stored = indicator if self._matcher.set_ids else None
            time_us = block.times_us[place]
            day = day_of(time_us)
            each = FoundDetection(detection=detection, content=content, indicator_id=stored, input_id=input_id, day=day)
            found.append((row.key.organisation, row.id, each))
        return left_out

    def _detection(self, view: View, block: SegmentBlock, place: int, match: _Match) -> Detection:
        record = block.record(place)
        about = envelope(view, record)
        return Detection(
            time_us=about.time_us,
            level=match.level,
            rule_id=f"{match.kind}:{match.value}",
            rule_title=title_of(match.how, match.kind, match.value, match.description),
            kind="indicator",
            host=about.host,
            account=about.account,
            stream=view.stream.name,
            file=self._history.file_of(int(block.inputs[place])),
            record=block.numbers[place],
            matched=match.observed,
            atoms=match.remarks,
        )


def _newest_first(row: SegmentRow) -> tuple[bool, int, int]:
    return row.last_us is None, -(row.last_us or 0), -row.id


def _first_days(
    rows: Sequence[SegmentRow], wanted: Mapping[int, Collection[_Pair]]
) -> set[tuple[OrganisationId, int | None]]:
    """Where and when something of what is wanted was seen first."""
    first: dict[tuple[OrganisationId, _Pair], int] = {}
    for row in rows:
        if row.first_day is not None:
            for pair in wanted[row.id]:
                key = (row.key.organisation, pair)
                first[key] = min(first.get(key, row.first_day), row.first_day)
    return {(organisation, day) for (organisation, _), day in first.items()}


def _first_then_newest(
    matches: Mapping[tuple[int, int], _Match], times_us: Sequence[int | None], *, is_beginning: bool
) -> list[tuple[int, int, _Match]]:
    """Matches as (place, indicator, match), the newest first; where it began, the first of each before all others."""
    ordered = sorted(
        ((place, indicator, match) for (place, indicator), match in matches.items()),
        key=lambda each: (-(times_us[each[0]] or 0), each[0], each[1]),
    )
    if not is_beginning:
        return ordered
    first = {indicator: place for place, indicator, _ in ordered if times_us[place] is not None}
    return sorted(ordered, key=lambda each: first.get(each[1]) != each[0])


class _Match(NamedTuple):
    """An indicator that is in an event."""

    kind: str
    how: str
    value: str
    description: str
    level: Level
    observed: dict[str, str]
    """Role and kind → what was observed."""
    remarks: tuple[str, ...]


def _matches(
    matcher: IndicatorMatcher, view: View, block: SegmentBlock, wanted: set[_Pair]
) -> dict[tuple[int, int], _Match]:
    """(row, indicator) → what it is, for the observables of a block that are wanted."""
    observer = Observer()
    observed = observer.observed(view, block)
    pairs: list[_Pair] = list(zip(observer.kinds, observer.values, strict=True))
    is_wanted = np.array([pair in wanted for pair in pairs], dtype=np.bool_)
    if not is_wanted.any():
        return {}
    chosen = is_wanted[observed.observables]
    rows = cast("list[int]", observed.rows[chosen].tolist())
    numbers = cast("list[int]", observed.observables[chosen].tolist())
    roles = [observer.roles[role] for role in cast("list[int]", observed.roles[chosen].tolist())]
    times = [block.times_us[row] for row in rows]
    observations = _observations([pairs[number] for number in numbers], times, times)
    found: dict[tuple[int, int], _Match] = {}
    for match in matcher.match(observations).to_pylist():
        # What one indicator makes worth a look may be harmless as a hit of another.
        if match["warning"]:
            continue
        place = int(match["row"])
        kind, value = pairs[numbers[place]]
        remarks = ("outside its validity",) if match["is_outside"] else ()
        key = (rows[place], int(match["indicator_id"]))
        known = found.get(key)
        if known is None:
            found[key] = _Match(
                match["kind"], match["how"], match["value"], match["description"], match["level"], {}, remarks
            )
            known = found[key]
        known.observed[f"{roles[place]} {kind}"] = value
    return found


def _observations(observables: Sequence[_Pair], firsts: Sequence[int | None], lasts: Sequence[int | None]) -> pa.Table:
    cells: list[Array] = [
        pa.array([kind for kind, _ in observables], pa.string()),
        pa.array([value for _, value in observables], pa.string()),
        pa.array(firsts, pa.int64()),
        pa.array(lasts, pa.int64()),
    ]
    return pa.Table.from_arrays(cells, names=["kind", "value", "time_us", "last_us"])


def _add(seen: _Seen, table: pa.Table) -> None:
    """Add up rows of the index, all roles together."""
    names = ("organisation", "kind", "value", "role", "count", "first_us", "last_us")
    columns = [table.column(name).to_pylist() for name in names]
    for organisation, kind, value, role, count, first, last in zip(*columns, strict=True):
        if role == OVERLAP:
            continue
        before = seen.get((organisation, kind, value), (0, None, None))
        firsts = [each for each in (before[1], first) if each is not None]
        lasts = [each for each in (before[2], last) if each is not None]
        seen[organisation, kind, value] = (before[0] + count, min(firsts, default=None), max(lasts, default=None))

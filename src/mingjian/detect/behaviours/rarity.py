"""Something used for the first time, by nobody else: a program, a domain, a file, an account on a host.

Needs: uses (which host or account has to do with which value since when: ``facts.USES``), and, if there is a sightings
index, what it knows of the same values (``facts.SEEN``): it remembers what is no longer in the tables.

What counts: how few others in the organisation have it, whether other organisations have it, whether the organisation
had it before, whether the *peers* have it (those entities of the organisation that share most with this one), and how
seldom this entity begins anything new. First uses of one entity and kind on one day are one finding.

An entity is judged once it has been known for ``LEARNING_US``. Misses: whatever came in while the first logs were
written (it is no first use), names that imitate common ones, things that many begin to use at the same time. Mistakes:
new software, a new colleague, a new supplier: most first uses are innocent. It is worth most beside other findings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from mingjian.detect.behaviours.facts import SEEN, USES, checked
from mingjian.detect.behaviours.findings import (
    EntityKind,
    Finding,
    Floats,
    Ints,
    Mask,
    Scores,
    in_order,
    log_share_of,
    some_events,
)
from mingjian.detect.behaviours.grouping import (
    DAY,
    HOUR,
    WEEK,
    Texts,
    counts_of,
    numbered,
    numbers_of,
    one_of_each,
    order_by,
    smallest,
    spread_over,
    starts_of,
    summed,
    texts_of,
)

LEARNING_US: Final = 14 * DAY
"""Two weeks: two of every weekday, so that what is done weekly is known."""
NEW_PER_WEEK: Final = (20.0, 1.0)
"""Who begins twenty new things a week says nothing by another one."""
ALREADY_US: Final = HOUR
"""What the organisation has had for no longer than this is new to it."""
PEERS: Final = 10
"""So many entities are asked whether they have it too."""
SHARED_BY_MAX: Final = 200
"""What more entities have in common says nothing about who resembles whom, and would take long to count."""

SCORE_MIN: Final = 80
"""What is reported. Chosen on the generated sector: see the reference of behaviours."""
_PEERS_WEIGHT: Final = 15


class _Uses(NamedTuple):
    """Uses, one row for each (organisation, entity, kind, value), in this order."""

    event: Ints
    organisation: Ints
    entity: Ints
    kind: Ints
    value: Ints
    first: Ints
    last: Ints
    times: Ints
    who: Ints
    """Organisation, entity and kind as one number."""
    what: Ints
    """Kind and value as one number."""
    at: Ints
    """Organisation, kind and value as one number."""


def merged_uses(uses: pa.Table) -> pa.Table:
    """Put parts of a table of ``USES`` together: one row for each (organisation, entity, kind, value).

    Raises:
        SchemaError, LimitExceeded: it is not such a table.
    """
    table = checked(uses, USES)
    texts = {name: texts_of(table.column(name)) for name in ("organisation", "entity", "kind", "value")}
    merged = _merged(table, texts)
    numbers = {"event": merged.event, "count": merged.times, "first_us": merged.first, "last_us": merged.last}
    columns = [
        pa.array(numbers[name])
        if name in numbers
        else pa.array(_spelled(texts[name], getattr(merged, name)), pa.string())
        for name in USES.names
    ]
    return pa.Table.from_arrays(columns, schema=USES)


def _spelled(texts: Texts, codes: Ints) -> list[str]:
    return [texts.values[code] for code in map(int, codes)]


def _merged(table: pa.Table, texts: dict[str, Texts]) -> _Uses:
    organisation, entity, kind, value = (texts[name].codes for name in ("organisation", "entity", "kind", "value"))
    event, first = numbers_of(table.column("event")), numbers_of(table.column("first_us"))
    order = order_by(organisation, entity, kind, value, first, event)
    keys = [column[order] for column in (organisation, entity, kind, value)]
    starts = starts_of(*keys)
    organisation, entity, kind, value = (key[starts] for key in keys)
    return _Uses(
        event[order][starts],
        organisation,
        entity,
        kind,
        value,
        first[order][starts],
        -smallest(-numbers_of(table.column("last_us"))[order], starts),
        summed(numbers_of(table.column("count"))[order], starts),
        numbered(organisation, entity, kind),
        numbered(kind, value),
        numbered(organisation, kind, value),
    )


def first_uses(
    uses: pa.Table,
    seen: pa.Table | None = None,
    *,
    since_us: int,
    until_us: int,
    entity_kind: EntityKind = "host",
) -> list[Finding]:
    """Find first uses between two times in a table of ``USES``. Ordered by score, highest first.

    ``seen``: a table of ``SEEN``, of the same and of other organisations. ``entity_kind`` says what the entities are.

    Raises:
        SchemaError, LimitExceeded: a table is not what it should be.
    """
    table = checked(uses, USES)
    if not table.num_rows:
        return []
    texts = {name: texts_of(table.column(name)) for name in ("organisation", "entity", "kind", "value")}
    merged = _merged(table, texts)
    who_starts = starts_of(merged.who)
    known_since = smallest(merged.first, who_starts)
    is_first = (merged.first >= since_us) & (merged.first < until_us)
    is_first &= merged.first - known_since[merged.who] >= LEARNING_US
    rows = np.flatnonzero(is_first)
    if not len(rows):
        return []
    others = _Others(merged, texts, seen)
    scores = Scores(len(rows))
    scores.add("few-others-have-it", 20, others.rare(rows), others.users(rows) - 1)
    elsewhere = others.elsewhere(rows)
    scores.add("no-other-organisation", 20, np.where(others.is_alone, 0.5, 1 / (1 + elsewhere)), elsewhere)
    older = others.had_before(rows)
    scores.add("new-to-the-organisation", 15, ~older, older)
    per_week = _new_per_week(merged, known_since, int(merged.last.max()))[merged.who[rows]]
    scores.add("seldom-anything-new", 30, 1 - log_share_of(per_week, NEW_PER_WEEK[1], NEW_PER_WEEK[0]), per_week)
    # Peers are looked for only where they can still decide.
    near = scores.total >= SCORE_MIN - _PEERS_WEIGHT
    share = np.ones(len(rows))
    share[near] = _share_of_peers(merged, rows[near])
    scores.add("peers-do-not", _PEERS_WEIGHT, 1 - share, share)
    caveats = ("one-organisation-only",) if others.is_alone else ()
    return in_order(_findings(merged, texts, rows, scores, entity_kind, caveats))


class _Others:
    """Who else has the same values."""

    def __init__(self, uses: _Uses, texts: dict[str, Texts], seen: pa.Table | None) -> None:
        self._uses = uses
        self._users = np.bincount(uses.at)
        entities = one_of_each(numbered(uses.organisation, uses.entity))
        self._entities = np.bincount(uses.organisation[entities])
        at_first = np.full(len(self._users), 1 << 62, np.int64)
        np.minimum.at(at_first, uses.at, uses.first)
        self._first = at_first
        rows = one_of_each(uses.at)
        self._organisations = np.bincount(uses.what[rows])
        names = {texts["organisation"].text(code) for code in np.unique(uses.organisation)}
        if seen is not None:
            names |= self._remember(checked(seen, SEEN), texts)
        self.is_alone = len(names) < 2

    def _remember(self, seen: pa.Table, texts: dict[str, Texts]) -> set[str]:
        """Take in what the sightings index knows of the values that are in the uses."""
        uses = self._uses
        columns = {name: texts_of(seen.column(name)) for name in ("organisation", "kind", "value")}
        codes = {name: _translated(columns[name], texts[name]) for name in columns}
        known = np.flatnonzero((codes["kind"] >= 0) & (codes["value"] >= 0))
        first = numbers_of(seen.column("first_us"), 1 << 62)[known]
        pairs = (uses.kind, codes["kind"][known]), (uses.value, codes["value"][known])
        what = numbered(*(np.concatenate(pair) for pair in pairs))
        size = len(uses.what)
        # Organisations that only the index knows get numbers of their own behind those of the uses.
        strange = columns["organisation"].codes + len(texts["organisation"].values)
        organisation = np.where(codes["organisation"] >= 0, codes["organisation"], strange)[known]
        having = one_of_each(numbered(what, np.concatenate((uses.organisation, organisation))))
        self._organisations = np.bincount(what[having])[what[one_of_each(uses.what)]]
        own = np.flatnonzero(codes["organisation"][known] >= 0)
        keys = (uses.organisation, codes["organisation"][known][own])
        at = numbered(np.concatenate(keys), np.concatenate((what[:size], what[size:][own])))
        earliest = np.full(int(at.max()) + 1, 1 << 62, np.int64)
        np.minimum.at(earliest, at[size:], first[own])
        np.minimum.at(self._first, uses.at, earliest[at[:size]])
        return set(columns["organisation"].values) - {""}

    def users(self, rows: Ints) -> Ints:
        """How many entities of the organisation have it."""
        return self._users[self._uses.at[rows]]

    def rare(self, rows: Ints) -> Floats:
        """1 if nobody else in the organisation has it, 0 if half of it do."""
        half = np.maximum(self._entities[self._uses.organisation[rows]] / 2, 2.0)
        return np.clip(1 - np.log(self.users(rows)) / np.log(half), 0.0, 1.0)

    def elsewhere(self, rows: Ints) -> Ints:
        """How many other organisations have it."""
        return np.maximum(self._organisations[self._uses.what[rows]] - 1, 0)

    def had_before(self, rows: Ints) -> Mask:
        """Whether the organisation had it before this first use."""
        return self._uses.first[rows] - self._first[self._uses.at[rows]] > ALREADY_US


def _translated(texts: Texts, into: Texts) -> Ints:
    """Codes of one column as codes of another; −1 for what it does not have."""
    number = {text: code for code, text in enumerate(into.values)}
    return np.array([number.get(text, -1) for text in texts.values], np.int64)[texts.codes]


def _new_per_week(uses: _Uses, known_since: Ints, until: int) -> Floats:
    """How many new values of a kind an entity begins to use in a week, after its first two."""
    is_new = uses.first - known_since[uses.who] >= LEARNING_US
    weeks = np.maximum((until - known_since - LEARNING_US) / WEEK, 1.0)
    return np.bincount(uses.who, weights=is_new, minlength=len(known_since)) / weeks


def _share_of_peers(uses: _Uses, rows: Ints) -> Floats:
    """Of the entities that share most with each row's entity: the share that has the row's value too."""
    by_value = order_by(uses.at)
    value_starts = starts_of(uses.at[by_value])
    value_counts = counts_of(value_starts, len(by_value))
    who_starts = starts_of(uses.who)
    who_counts = counts_of(who_starts, len(uses.who))
    found = np.empty(len(rows))
    peers_of: dict[int, set[int]] = {}
    for place, row in enumerate(rows.tolist()):
        who = int(uses.who[row])
        peers = peers_of.get(who)
        if peers is None:
            values = uses.at[who_starts[who] : who_starts[who] + who_counts[who]]
            values = values[(value_counts[values] > 1) & (value_counts[values] <= SHARED_BY_MAX)]
            spread = spread_over(value_counts[values])
            offset = np.arange(len(spread)) - np.repeat(
                np.cumsum(value_counts[values]) - value_counts[values], value_counts[values]
            )
            sharers = uses.who[by_value[value_starts[values][spread] + offset]]
            alike, times = np.unique(sharers[sharers != who], return_counts=True)
            peers = peers_of[who] = set(alike[np.lexsort((alike, -times))][:PEERS].tolist())
        at = int(uses.at[row])
        users = set(uses.who[by_value[value_starts[at] : value_starts[at] + value_counts[at]]].tolist())
        found[place] = len(peers & users) / len(peers) if peers else 0.0
    return found


def _findings(
    uses: _Uses, texts: dict[str, Texts], rows: Ints, scores: Scores, entity_kind: EntityKind, caveats: tuple[str, ...]
) -> list[Finding]:
    """One finding for each entity, kind and day."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place in map(int, np.flatnonzero(scores.total >= SCORE_MIN)):
        groups[int(uses.who[rows[place]]), int(uses.first[rows[place]]) // DAY].append(place)
    found: list[Finding] = []
    for places in groups.values():
        best = min(places, key=lambda place: (-int(scores.total[place]), int(uses.value[rows[place]])))
        row = int(rows[best])
        inside = rows[places]
        inside = inside[order_by(uses.first[inside], uses.event[inside])]
        found.append(
            Finding(
                behaviour="first-use",
                organisation=texts["organisation"].text(uses.organisation[row]),
                entity_kind=entity_kind,
                entity=texts["entity"].text(uses.entity[row]),
                object=f"{texts['kind'].values[uses.kind[row]]}:{texts['value'].values[uses.value[row]]}",
                values=_values(uses, texts, inside.tolist()),
                first_us=int(uses.first[inside].min()),
                last_us=int(uses.first[inside].max()),
                count=len(places),
                score=int(scores.total[best]),
                terms=scores.terms(best),
                caveats=caveats,
                events=some_events(uses.event[inside]),
            )
        )
    return found


def _values(uses: _Uses, texts: dict[str, Texts], rows: Sequence[int]) -> tuple[str, ...]:
    return tuple(sorted(texts["value"].text(uses.value[row]) for row in rows)[:10])

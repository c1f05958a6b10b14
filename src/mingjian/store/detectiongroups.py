"""Detections about one entity, those of one rule on one host for one account together.

Few are fetched one by one. Of many the database counts out of an index, without touching them, and only the first of
each group is fetched: a server with a hundred thousand detections is answered about as soon as one with a hundred.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from mingjian.model.rules import LEVELS, Level
from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.detections import StoredDetection, rows_as_detections
from mingjian.store.entities import detections_of
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.workspace import Workspace

ONE_BY_ONE_MAX: Final = 400
"""Of an entity with so many detections each is fetched."""
GROUPS_MAX: Final = 250
"""Of one with more, the first of so many groups, the gravest."""
NAMES_MAX: Final = 500
"""So many hosts or accounts are asked about at once."""
PLACES_MAX: Final = 4_000
"""So many places with detections are looked at."""
PACKED_BITS: Final = (22, 40)
"""As a rule the numbers of inputs and of their records have no more bits."""
INPUTS_DETECTIONS_MIN: Final = 10_000
"""Of inputs with no more detections than this, or half as many as events are asked about, it is read which events these
are about."""
Pointers: TypeAlias = npt.NDArray[np.int64]
"""Input and record of some events, a row for each."""
NO_POINTERS: Final[Pointers] = np.zeros((0, 2), np.int64)
FIRSTS_AT_ONCE: Final = 100
SAME_TIME_MAX: Final = 10_000
"""If more detections than this are of the same groups and times as the first ones, only those events are gone by."""

_table: Final = t.detections
_GROUP: Final = (_table.c.host, _table.c.rule_id, _table.c.organisation_id, _table.c.account, _table.c.level)
_TOGETHER: Final = (_table.c.rule_id, _table.c.organisation_id, _table.c.host, _table.c.account)
_OF_EVENTS: Final = (_table.c.kind != "behaviour", _table.c.suppressed_by.is_(None))

_NO_HOST: Final = sa.func.length(_table.c.host) == sa.literal_column("0")
"""Word for word as in the index of such detections, which would not be used else."""
_DAY: Final = _table.c.time_us // sa.literal(US_PER_DAY, sa.BigInteger())


class Several(msgspec.Struct, frozen=True, kw_only=True):
    """Detections of one rule on one host for one account."""

    first: StoredDetection
    """The earliest."""
    count: int
    first_us: int | None
    last_us: int | None
    days: int
    """On so many days (UTC) there were any."""
    times_us: tuple[int, ...]
    """When: of each of them if they were fetched, else of the first and the last."""

    @property
    def gravity(self) -> int:
        """The higher, the graver."""
        return LEVELS.index(self.first.detection.level)


class Place(NamedTuple):
    """Where a rule found something on a day."""

    gravity: int
    time_us: int
    rule_id: str
    organisation: OrganisationId
    stream: str
    day: int | None


class Found(NamedTuple):
    """What there is about an entity."""

    groups: list[Several]
    left_out: int
    """So many detections are in groups that were left out, because there are too many."""


def together(found: Iterable[StoredDetection]) -> list[Several]:
    """Detections that were fetched, those of one rule on one host for one account together, the gravest first."""
    groups: dict[tuple[object, ...], list[StoredDetection]] = {}
    for each in found:
        one = each.detection
        groups.setdefault((each.organisation, one.rule_id, one.host, one.account), []).append(each)
    made: list[Several] = []
    for several in groups.values():
        times = sorted(each.detection.time_us for each in several if each.detection.time_us is not None)
        made.append(
            Several(
                first=min(several, key=_when),
                count=len(several),
                first_us=times[0] if times else None,
                last_us=times[-1] if times else None,
                days=len({each.day for each in several}),
                times_us=tuple(times),
            )
        )
    return sorted(made, key=_rank)


def _when(each: StoredDetection) -> tuple[bool, int, str, int]:
    one = each.detection
    return one.time_us is None, one.time_us or 0, one.file, one.record


def _rank(each: Several) -> tuple[int, bool, int, str, str, str, int]:
    one = each.first.detection
    return (-each.gravity, each.first_us is None, each.first_us or 0, one.rule_id, one.host, one.account, each.first.id)


class _Counted(NamedTuple):
    """What the index says of a group."""

    host: str
    rule_id: str
    organisation: int
    account: str
    level: Level
    number: int
    first_us: int | None
    last_us: int | None


def detections_together(
    workspace: Workspace,
    scope: Scope,
    *,
    hosts: Collection[str] = (),
    accounts: Collection[str] = (),
    rule_ids: Collection[str] = (),
    organisation: OrganisationId | None = None,
) -> Found:
    """Detections that name one of some hosts or accounts (as they were written) or come from some rules.

    Those that somebody has suppressed are left out. The gravest first, then the oldest.
    """
    conditions = _conditions(scope, hosts, accounts, rule_ids, organisation)
    if not conditions:
        return Found([], 0)
    counts = (sa.func.count(), sa.func.min(_table.c.time_us), sa.func.max(_table.c.time_us))
    query = sa.select(*_GROUP, *counts).where(*conditions).group_by(*_GROUP)
    with workspace.read() as connection:
        groups = [_Counted(*row) for row in connection.execute(query).all()]
    if sum(each.number for each in groups) <= ONE_BY_ONE_MAX:
        every = detections_of(
            workspace, scope, hosts=hosts, accounts=accounts, rule_ids=rule_ids, organisation=organisation
        )
        return Found(together(every), 0)
    groups.sort(key=lambda each: (-LEVELS.index(each.level), each.first_us is None, each.first_us or 0, each[:4]))
    chosen = groups[:GROUPS_MAX]
    made = _fetched(workspace, chosen, _days(workspace, conditions, chosen))
    return Found(made, sum(each.number for each in groups[GROUPS_MAX:]))


def detections_together_at(
    workspace: Workspace, scope: Scope, pointers: Pointers, besides: Collection[str] = ()
) -> list[Several]:
    """Detections about some events, given by input and record, that do not come from certain rules.

    Without those of behaviours, which are about more than an event, and those that somebody has suppressed. The gravest
    first, then the oldest. There may be as many as there are events: the database counts, and only the first of each
    group is fetched.
    """
    if not len(pointers):
        return []
    with workspace.read() as connection:
        pointers = _with_detections(connection, _once(pointers))
    if not len(pointers):
        return []
    counts = (sa.func.count(), sa.func.min(_table.c.time_us), sa.func.max(_table.c.time_us))
    query = (
        sa.select(*_TOGETHER, *counts, sa.func.count(sa.distinct(_table.c.day)))
        .select_from(_at(workspace.dialect, pointers))
        .where(within(scope, _table.c.organisation_id), *_OF_EVENTS, _table.c.rule_id.not_in(sorted(besides)))
        .group_by(*_TOGETHER)
    )
    with workspace.read() as connection:
        groups = {tuple(row[:4]): row[4:] for row in connection.execute(query).all()}
        firsts = _firsts_at(connection, {key: row[1] for key, row in groups.items()}, pointers)
        found = _by_id(connection, sorted(firsts.values()))
    made: list[Several] = []
    for key, (count, first_us, last_us, days) in groups.items():
        first = found.get(firsts.get(key, 0))
        if first is not None:
            ends = tuple(dict.fromkeys(time_us for time_us in (first_us, last_us) if time_us is not None))
            made.append(
                Several(first=first, count=count, first_us=first_us, last_us=last_us, days=days or 1, times_us=ends)
            )
    return sorted(made, key=_rank)


def _once(pointers: Pointers) -> Pointers:
    """Each pointer once, in order."""
    there = pointers[np.lexsort((pointers[:, 1], pointers[:, 0]))]
    return there[np.concatenate(([True], (there[1:] != there[:-1]).any(axis=1)))]


def _with_detections(connection: sa.Connection, pointers: Pointers) -> Pointers:
    """Those of some events, in order, about which there is a detection: of most there is none.

    All of them if their inputs have so many detections that it takes less time to look for each event.
    """
    inputs = np.unique(pointers[:, 0])
    left = max(INPUTS_DETECTIONS_MIN, len(pointers) // 2)
    there: list[tuple[int, str]] = []
    for start in range(0, len(inputs), NAMES_MAX):
        some = _table.c.input_id.in_(inputs[start : start + NAMES_MAX].tolist())
        few = sa.select(sa.literal(1)).select_from(_table).where(some).limit(left + 1).subquery()
        left -= int(connection.execute(sa.select(sa.func.count()).select_from(few)).scalar_one())
        if left < 0:
            return pointers
        # As one text for each input: to make a row of each would take longer than all else.
        records = sa.func.aggregate_strings(sa.cast(_table.c.record, sa.Text()), ",")
        query = sa.select(_table.c.input_id, records).where(some).group_by(_table.c.input_id)
        there += [(row[0], row[1]) for row in connection.execute(query).all()]
    if not there:
        return NO_POINTERS
    inputs_there = np.repeat([input_id for input_id, _ in there], [text.count(",") + 1 for _, text in there])
    numbers = np.fromstring(",".join(text for _, text in there), np.int64, sep=",")
    asked, known = _packed(pointers), _packed(np.column_stack((inputs_there, numbers)))
    if asked is None or known is None:
        return pointers
    place = np.minimum(np.searchsorted(asked, known), len(asked) - 1)
    return pointers[np.unique(place[asked[place] == known])]


def _packed(pointers: Pointers) -> npt.NDArray[np.int64] | None:
    """One number for each pointer, which rise as these do; None if one of them does not fit."""
    if (pointers >> np.array(PACKED_BITS)).any():
        return None
    return (pointers[:, 0] << PACKED_BITS[1]) | pointers[:, 1]


def _is_among(pointers: Pointers, input_id: int | None, record: int) -> bool:
    """Whether a pointer is one of some that are in order."""
    if input_id is None:
        return False
    start, stop = np.searchsorted(pointers[:, 0], (input_id, input_id + 1)).tolist()
    of_input = pointers[start:stop, 1]
    place = int(np.searchsorted(of_input, record))
    return place < len(of_input) and int(of_input[place]) == record


def _at(dialect: str, pointers: Pointers) -> sa.FromClause:
    """The detections about some events. As many parameters as these have numbers no database takes."""
    together = _packed(pointers) if dialect == "sqlite" else None
    if together is not None:
        # As one number each, a third of the time.
        value = sa.column("value", sa.BigInteger())
        asked = sa.func.json_each(msgspec.json.encode(together.tolist()).decode()).table_valued(value, name="asked")
        input_id = asked.c.value.bitwise_rshift(PACKED_BITS[1])
        record = asked.c.value.bitwise_and((1 << PACKED_BITS[1]) - 1)
    elif dialect == "sqlite":
        asked = sa.func.json_each(msgspec.json.encode(pointers.tolist()).decode()).table_valued("value", name="asked")
        input_id, record = (sa.func.json_extract(asked.c.value, f"$[{place}]") for place in (0, 1))
    else:
        columns = (sa.cast(each, sa.ARRAY(sa.BigInteger())) for each in pointers.T.tolist())
        asked = sa.func.unnest(*columns).table_valued("input_id", "record", name="asked").render_derived()
        input_id, record = asked.c.input_id, asked.c.record
    return asked.join(_table, sa.and_(_table.c.input_id == input_id, _table.c.record == record))


def _firsts_at(
    connection: sa.Connection, first_us: Mapping[tuple[Any, ...], int | None], pointers: Pointers
) -> dict[tuple[Any, ...], int]:
    """The numbers of the earliest detections of some groups, of those about some events."""
    what = (_table.c.input_id, _table.c.record, _table.c.file, _table.c.id)
    named = [sa.column(column.name, column.type) for column in (*_TOGETHER, _table.c.time_us)]
    found: dict[tuple[Any, ...], tuple[str, int, int]] = {}
    for is_dated in (True, False):
        rows = [(*key, time_us) for key, time_us in first_us.items() if (time_us is not None) == is_dated]
        for start in range(0, len(rows), FIRSTS_AT_ONCE):
            wanted = sa.values(*named, name="wanted").data(rows[start : start + FIRSTS_AT_ONCE]).cte("wanted")
            # Of one rule at one time there are few: no other index is to be used for those that tell their time.
            written = {_table.c.host: _table.c.host + "", _table.c.account: _table.c.account + ""} if is_dated else {}
            same = [written.get(column, column) == wanted.c[column.name] for column in _TOGETHER]
            same.append(_table.c.time_us == wanted.c.time_us if is_dated else _table.c.time_us.is_(None))
            query = sa.select(*_TOGETHER, *what).where(*_OF_EVENTS)
            there = connection.execute(
                query.select_from(wanted.join(_table, sa.and_(*same))).limit(SAME_TIME_MAX + 1)
            ).all()
            if len(there) > SAME_TIME_MAX:
                # Of these events there are not so many, but to go by them takes longer.
                at = _at(connection.dialect.name, pointers)
                there = connection.execute(query.select_from(at.join(wanted, sa.and_(*same)))).all()
            for row in there:
                if _is_among(pointers, row.input_id, row.record):
                    key, it = tuple(row[:4]), (row.file, row.record, row.id)
                    found[key] = min(found.get(key, it), it)
    return {key: it[2] for key, it in found.items()}


def _conditions(
    scope: Scope,
    hosts: Collection[str],
    accounts: Collection[str],
    rule_ids: Collection[str],
    organisation: OrganisationId | None,
) -> list[sa.ColumnElement[bool]]:
    wanted = [
        column.in_(some[:NAMES_MAX])
        for column, values in ((_table.c.host, hosts), (_table.c.account, accounts), (_table.c.rule_id, rule_ids))
        if (some := [t.storable(value) for value in values])
    ]
    if not wanted:
        return []
    owned = [] if organisation is None else [_table.c.organisation_id == organisation]
    return [sa.or_(*wanted), within(scope, _table.c.organisation_id), _table.c.suppressed_by.is_(None), *owned]


def _days(
    workspace: Workspace, conditions: Sequence[sa.ColumnElement[bool]], groups: Sequence[_Counted]
) -> Mapping[tuple[object, ...], int]:
    """On how many days there were any of those groups that lasted for more than one."""
    rules = sorted({each.rule_id for each in groups if ":" in each.rule_id})
    query = (
        sa.select(*_GROUP, sa.func.count(sa.distinct(_DAY)))
        .where(*conditions, _table.c.rule_id.in_(rules[:NAMES_MAX]))
        .group_by(*_GROUP)
    )
    if not rules:
        return {}
    with workspace.read() as connection:
        return {tuple(row[:5]): int(row[5]) for row in connection.execute(query).all()}


def _fetched(workspace: Workspace, groups: Sequence[_Counted], days: Mapping[tuple[object, ...], int]) -> list[Several]:
    """Groups with the first detection of each."""
    ids: dict[tuple[object, ...], int] = {}
    with workspace.read() as connection:
        for start in range(0, len(groups), FIRSTS_AT_ONCE):
            some = groups[start : start + FIRSTS_AT_ONCE]
            for each in (_firsts(some, are_dated=True), _firsts(some, are_dated=False)):
                if each is not None:
                    ids |= {tuple(row[:5]): row[5] for row in connection.execute(each).all()}
        firsts = _by_id(connection, sorted(ids.values()))
    made: list[Several] = []
    for each in groups:
        first = firsts.get(ids.get(tuple(each[:5]), 0))
        # One that was there a moment ago may have been suppressed since.
        if first is not None:
            ends = dict.fromkeys(time_us for time_us in (each.first_us, each.last_us) if time_us is not None)
            made.append(
                Several(
                    first=first,
                    count=each.number,
                    first_us=each.first_us,
                    last_us=each.last_us,
                    days=days.get(tuple(each[:5]), 1),
                    times_us=tuple(ends),
                )
            )
    return made


def _firsts(groups: Sequence[_Counted], *, are_dated: bool) -> sa.Executable | None:
    """The earliest detection of each group, of those that tell their time or of those that do not."""
    rows = [(*each[:5], each.first_us) for each in groups if (each.first_us is not None) == are_dated]
    if not rows:
        return None
    named = [sa.column(column.name, column.type) for column in (*_GROUP, _table.c.time_us)]
    # Joined, and not compared as whole rows: SQLite would read all of the index for that.
    wanted = sa.values(*named, name="wanted").data(rows).cte("wanted")
    same = [column == wanted.c[column.name] for column in _GROUP]
    same.append(_table.c.time_us == wanted.c.time_us if are_dated else _table.c.time_us.is_(None))
    return (
        sa.select(*_GROUP, sa.func.min(_table.c.id))
        .select_from(wanted.join(_table, sa.and_(*same)))
        .where(_table.c.suppressed_by.is_(None))
        .group_by(*_GROUP)
    )


def _by_id(connection: sa.Connection, ids: Sequence[int]) -> dict[int, StoredDetection]:
    found: dict[int, StoredDetection] = {}
    for start in range(0, len(ids), NAMES_MAX):
        query = (
            sa.select(_table, t.streams.c.name.label("stream"))
            .outerjoin(t.streams, t.streams.c.id == _table.c.stream_id)
            .where(_table.c.id.in_(ids[start : start + NAMES_MAX]))
        )
        found |= {each.id: each for each in rows_as_detections(connection.execute(query).all())}
    return found


def detection_places(
    workspace: Workspace,
    scope: Scope,
    hosts: Collection[str],
    between_us: tuple[int, int],
    levels: Collection[Level],
    streams: Collection[int],
    organisations: Collection[int],
) -> list[Place]:
    """Where rules of some levels found something on some hosts of some organisations within some time in some streams.

    By stream and day. The empty host stands for events that name none. The gravest first, then the earliest.
    """
    # Numbers before texts: to compare these takes longest.
    what = (_DAY, _table.c.organisation_id, _table.c.stream_id, _table.c.rule_id, _table.c.level)
    # Written so that no index of levels or times is used: those of hosts, and of no host, hold all that is asked for.
    common = (
        _table.c.stream_id.in_(sorted(streams)),
        (_table.c.level + "").in_(sorted(levels)),
        (_table.c.time_us + 0).between(*between_us),
    )
    ways: list[Sequence[sa.ColumnElement[bool]]] = []
    if named := _conditions(scope, [host for host in hosts if host], (), (), None):
        owned = (_table.c.organisation_id + 0).in_(sorted(organisations))
        ways.append((*named, *common, owned))
    if "" in hosts:
        owned = _table.c.organisation_id.in_(sorted(organisations))
        seen = (within(scope, _table.c.organisation_id), _table.c.suppressed_by.is_(None))
        ways.append((_NO_HOST, *seen, *common, owned))
    firsts: dict[tuple[Any, ...], int] = {}
    with workspace.read() as connection:
        for way in ways:
            query = sa.select(sa.func.min(_table.c.time_us), *what).where(*way).group_by(*what).limit(PLACES_MAX)
            for first_us, *key in connection.execute(query).all():
                firsts[tuple(key)] = min(first_us, firsts.get(tuple(key), first_us))
        names = {row.id: row.name for row in connection.execute(sa.select(t.streams.c.id, t.streams.c.name))}
    found = [
        Place(LEVELS.index(level), first_us, rule_id, OrganisationId(owner), names.get(stream, ""), int(on_day))
        for (on_day, owner, stream, rule_id, level), first_us in firsts.items()
    ]
    return sorted(found, key=lambda place: (-place.gravity, place[1:]))


def techniques_found(
    workspace: Workspace,
    scope: Scope,
    host: str,
    levels: Collection[Level],
    *,
    organisation: OrganisationId | None = None,
) -> set[str]:
    """The techniques that rules of some levels found on a host."""
    conditions = _conditions(scope, [host], (), (), organisation)
    query = (
        sa.select(sa.func.min(_table.c.id))
        .where(*conditions, _table.c.level.in_(sorted(levels)))
        .group_by(_table.c.rule_id)
        .limit(GROUPS_MAX)
    )
    with workspace.read() as connection:
        firsts = _by_id(connection, [int(row[0]) for row in connection.execute(query).all()])
    return {technique for each in firsts.values() for technique in each.detection.attack}

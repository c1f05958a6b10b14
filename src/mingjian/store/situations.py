"""Situations as they are kept: the list, one of them, and what grouping writes.

What is in a summary and what a join's bits mean is for ``mingjian.situations`` to say; here they are text and numbers.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import json
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound, SchemaError, StorageError
from mingjian.model.rules import LEVELS, Level
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.catalogue import within
from mingjian.store.detections import StoredDetection, rows_as_detections
from mingjian.store.evidence import set_grouped_state
from mingjian.store.narrowing import Condition, situation_clause
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace, new_id

LOCK: Final = "situations.lock"
PORTION: Final = 500
"""So many values are named in one statement."""
LISTED_MAX: Final = 1_000
"""So many situations are on one page at most."""
REJOINED_MAX: Final = 10_000
"""If more detections than these are grouped, all situations with nothing in the queue are looked through."""
MEMBERS_MAX: Final = 5_000
"""So many detections of one situation are fetched at once, the earliest first."""

SituationState: TypeAlias = Literal["open", "in_work", "closed"]
Resolution: TypeAlias = Literal["", "true_positive", "false_positive", "benign"]
Order: TypeAlias = Literal["danger", "last", "first", "detections"]
Times: TypeAlias = Literal["activity", "beginning", "closing"]
"""When something of it happened, when the first of it happened, when somebody closed it."""
_ORDERS: Final = {"danger": "danger", "last": "last_us", "first": "first_us", "detections": "detections"}


class StoredSituation(msgspec.Struct, frozen=True, kw_only=True):
    """A situation as it is kept."""

    id: int
    public_id: str
    organisation: OrganisationId
    seed_id: int
    state: SituationState
    resolution: Resolution
    owner: str
    level: Level
    danger: int
    """In thousandths."""
    detections: int
    hosts: int
    first_us: int | None
    last_us: int | None
    summary: str
    created_us: int
    changed_us: int
    closed_us: int | None
    is_emptied: bool = False
    """Nothing of it is in the queue any more: its detections were judged away, are hidden, or are gone."""


class SituationPage(msgspec.Struct, frozen=True):
    """A part of the list."""

    situations: tuple[StoredSituation, ...]
    after: str | None
    """For the next part; None if this is the last one."""


class SituationFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which situations are meant. What is not given does not matter."""

    organisation: OrganisationId | None = None
    states: tuple[SituationState, ...] = ("open", "in_work")
    """None given: all of them."""
    resolution: Resolution | None = None
    level: Level = "informational"
    """The lowest."""
    owner: str | None = None
    """The empty text: nobody's."""
    text: str | None = None
    """In a host, an account, a rule's title."""
    host: str | None = None
    rule_id: str | None = None
    entity_key: int | None = None
    first_us: int | None = None
    """Something happened at this moment or later …"""
    until_us: int | None = None
    """… and something before this one."""
    conditions: tuple[Condition, ...] = ()
    times: Times = "activity"
    """What the two moments are about."""
    emptied: bool = False
    """Those instead whose detections were all judged away, are hidden, or are gone, whatever their state."""


class Join(msgspec.Struct, frozen=True):
    """Why two detections are in one situation."""

    earlier_id: int
    later_id: int
    entity_key: int | None
    """None: a person put them together."""
    strength: int
    """In thousandths."""
    against: int
    """Bits."""


class Before(msgspec.Struct, frozen=True):
    """A situation as grouping left it."""

    id: int
    seed_id: int
    fingerprint: bytes
    state: SituationState
    resolution: Resolution
    is_live: int
    closed_at_detection: int | None


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What grouping says of a situation, known by its seed."""

    seed_id: int
    level: Level
    danger: int
    fingerprint: bytes
    detections: int
    hosts: int
    first_us: int | None
    last_us: int | None
    summary: str
    search: str
    members: Sequence[tuple[int, int]]
    """Number of the detection, and 1 if it is a core one."""
    joins: Sequence[tuple[int, int, int | None, int, int]]
    """Later, earlier, entity, strength, what speaks against it."""
    entities: Sequence[tuple[int, int]]
    """Key, and in how many detections."""
    reopens: bool = False


@contextmanager
def grouping(workspace: Workspace) -> Generator[None]:
    """Be the one who groups; wait until whoever does so has ended.

    Raises:
        StorageError: the lock cannot be opened.
    """
    try:
        file = (workspace.folder / LOCK).open("a+b")
    except OSError as error:
        raise StorageError(f"a lock cannot be opened: {error.strerror}", where=str(workspace.folder)) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- what grouping writes --------------------------------------------------------------------------------------------


def before(workspace: Workspace, organisation: OrganisationId, seeds: Sequence[int] | None = None) -> dict[int, Before]:
    """The situations of an organisation as they are, by seed: some of them, or all."""
    table = s.situations
    names = ("id", "seed_id", "fingerprint", "state", "resolution", "is_live", "closed_at_detection")
    query = sa.select(*(table.c[name] for name in names)).where(table.c.organisation_id == organisation)
    found: dict[int, Before] = {}
    portions = [None] if seeds is None else [seeds[at : at + PORTION] for at in range(0, len(seeds), PORTION)]
    with workspace.read() as connection:
        for portion in portions:
            asked = query if portion is None else query.where(table.c.seed_id.in_(portion))
            found |= {row.seed_id: Before(*row) for row in connection.execute(asked).all()}
    return found


def write_grouping(
    workspace: Workspace,
    organisation: OrganisationId,
    known: Mapping[int, Before],
    written: Sequence[Written],
    gone: Mapping[int, int | None],
    state: str,
) -> None:
    """Keep what grouping found, in one transaction. ``gone``: seed → seed of the situation that it became a part of.

    ``state``: what is noted of the organisation with it, see ``evidence.grouped_state``.

    Raises:
        StorageError: the database could not keep it; nothing was changed.
    """
    now = workspace.clock_us()
    table = s.situations
    with workspace.begin() as connection:
        new = [each for each in written if each.seed_id not in known]
        if new:
            connection.execute(sa.insert(table), [_new_values(organisation, each, now) for each in new])
        for each in written:
            if each.seed_id in known:
                _change(connection, organisation, known[each.seed_id], each, now)
        lost = {known[seed].id: seed for seed, into in gone.items() if into is None}
        inherited = {lost[each]: heir for each, heir in _heirs(connection, lost, written).items()}
        gone = {**gone, **inherited}
        ids = _ids(connection, organisation, [each.seed_id for each in written] + list(gone.values()))
        ids |= {seed: each.id for seed, each in known.items()}
        # What is in no situation any more stays with the one it was in: it says what became of it.
        _clear(
            connection, [known[seed].id for seed, into in gone.items() if into is not None and seed not in inherited]
        )
        _clear_held(connection, [known[seed].id for seed in inherited], written)
        _fill(connection, written, ids, {known[each.seed_id].id for each in written if each.seed_id in known})
        for seed, into in gone.items():
            target = None if into is None else ids.get(into)
            values = {"is_live": 0, "merged_into": target, "changed_us": now, "fingerprint": b""}
            connection.execute(sa.update(table).where(table.c.id == known[seed].id).values(values))
        _rejoin(connection, organisation, written, ids)
        set_grouped_state(connection, organisation, state)


def _heirs(connection: sa.Connection, lost: Collection[int], written: Sequence[Written]) -> dict[int, int]:
    """Of situations whose seed is hidden: the seeds of those where most of what they held has gone.

    Without that, what people wrote about one could not be reached any more when its first detection is judged.
    """
    if not lost or not written:
        return {}
    now_in = _held(written)
    members = s.situation_members
    heirs: dict[int, Counter[int]] = {}
    ids = sorted(lost)
    for start in range(0, len(ids), PORTION):
        query = sa.select(members.c.situation_id, members.c.detection_id).where(
            members.c.situation_id.in_(ids[start : start + PORTION]), members.c.is_core == 1
        )
        for situation, detection in connection.execute(query):
            if detection in now_in:
                heirs.setdefault(situation, Counter())[now_in[detection]] += 1
    return {number: min(counts, key=lambda heir: (-counts[heir], heir)) for number, counts in heirs.items()}


def _held(written: Sequence[Written]) -> dict[int, int]:
    """Core detection → seed of its situation."""
    return {detection: each.seed_id for each in written for detection, is_core in each.members if is_core}


def _rejoin(
    connection: sa.Connection, organisation: OrganisationId, written: Sequence[Written], ids: Mapping[int, int]
) -> None:
    """Let situations that had nothing left in the queue be parts of those in which their detections are again."""
    table, members = s.situations, s.situation_members
    is_emptied = (table.c.organisation_id == organisation, table.c.is_live == 0, table.c.merged_into.is_(None))
    query = sa.select(table.c.id).join(members, members.c.situation_id == table.c.id).where(*is_emptied).distinct()
    held = sorted(_held(written))
    if len(held) > REJOINED_MAX:
        lost = set(connection.execute(query).scalars())
    else:
        lost: set[int] = set()
        for start in range(0, len(held), PORTION):
            some = members.c.detection_id.in_(held[start : start + PORTION])
            lost.update(connection.execute(query.where(some)).scalars())
    heirs = _heirs(connection, lost, written)
    for number, seed in heirs.items():
        connection.execute(sa.update(table).where(table.c.id == number).values(merged_into=ids[seed]))
    _clear_held(connection, sorted(heirs), written)


def _clear_held(connection: sa.Connection, ids: Sequence[int], written: Sequence[Written]) -> None:
    """Forget what situations were made of, but for detections that are in none now."""
    members, held = s.situation_members, _held(written) if ids else {}
    for start in range(0, len(ids), PORTION):
        some = ids[start : start + PORTION]
        names = ("situation_id", "detection_id", "is_core")
        query = sa.select(*(members.c[name] for name in names))
        rows = connection.execute(query.where(members.c.situation_id.in_(some))).all()
        left = [row for row in rows if row.is_core and row.detection_id not in held]
        _clear(connection, some)
        if left:
            connection.execute(sa.insert(members), [dict(zip(names, row, strict=True)) for row in left])


def _new_values(organisation: OrganisationId, each: Written, now: int) -> dict[str, object]:
    return {
        "public_id": new_id(),
        "organisation_id": organisation,
        "seed_id": each.seed_id,
        "state": "open",
        "resolution": "",
        "owner": "",
        "created_us": now,
        "is_live": 2,
        **_values(each, now),
    }


def _values(each: Written, now: int) -> dict[str, object]:
    names = ("level", "danger", "fingerprint", "detections", "hosts", "first_us", "last_us", "summary", "search")
    return {"changed_us": now, **{name: getattr(each, name) for name in names}}


def _change(connection: sa.Connection, organisation: OrganisationId, old: Before, each: Written, now: int) -> None:
    table = s.situations
    values = _values(each, now) | {"merged_into": None, "is_live": 1 if old.state == "closed" else 2}
    if each.reopens:
        values |= {"state": "open", "resolution": "", "closed_us": None, "closed_at_detection": None, "is_live": 2}
        add_act(connection, organisation, old.id, "reopened", "grouping", now, {})
    connection.execute(sa.update(table).where(table.c.id == old.id).values(values))


def _ids(connection: sa.Connection, organisation: OrganisationId, seeds: Iterable[int | None]) -> dict[int, int]:
    table = s.situations
    wanted = sorted({seed for seed in seeds if seed is not None})
    query = sa.select(table.c.seed_id, table.c.id).where(table.c.organisation_id == organisation)
    if len(wanted) > PORTION * 20:
        return dict(connection.execute(query).all())
    found: dict[int, int] = {}
    for start in range(0, len(wanted), PORTION):
        some = query.where(table.c.seed_id.in_(wanted[start : start + PORTION]))
        found |= dict(connection.execute(some).all())
    return found


def _clear(connection: sa.Connection, ids: Sequence[int]) -> None:
    for table in (s.situation_members, s.situation_joins, s.situation_entities):
        for start in range(0, len(ids), PORTION):
            some = ids[start : start + PORTION]
            connection.execute(sa.delete(table).where(table.c.situation_id.in_(some)))


_PARTS: Final = (
    (s.situation_members, "members", ("detection_id", "is_core")),
    (s.situation_joins, "joins", ("later_id", "earlier_id", "entity_key", "strength", "against")),
    (s.situation_entities, "entities", ("entity_key", "detections")),
)


def _fill(connection: sa.Connection, written: Sequence[Written], ids: Mapping[int, int], old: Collection[int]) -> None:
    """Write what situations are made of: of those that were there (``old``) only what is not as it was."""
    for table, part, names in _PARTS:
        there = _rows(connection, table, names, sorted(old))
        more: list[dict[str, object]] = []
        less: list[dict[str, object]] = []
        for each in written:
            number = ids[each.seed_id]
            wanted: set[tuple[object, ...]] = set(getattr(each, part))
            known = there.get(number, set())
            more += ({"situation_id": number, **dict(zip(names, row, strict=True))} for row in wanted - known)
            less += ({"old_situation_id": number, **_key(table, names, row)} for row in known - wanted)
        if less:
            same = [column == sa.bindparam(f"old_{column.name}") for column in table.primary_key.columns.values()]
            connection.execute(sa.delete(table).where(*same), less)
        if more:
            connection.execute(sa.insert(table), more)


def _rows(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], ids: Sequence[int]
) -> dict[int, set[tuple[object, ...]]]:
    columns = [table.c[name] for name in names]
    found: dict[int, set[tuple[object, ...]]] = {}
    for start in range(0, len(ids), PORTION):
        query = sa.select(table.c.situation_id, *columns).where(table.c.situation_id.in_(ids[start : start + PORTION]))
        for number, *row in connection.execute(query).all():
            found.setdefault(number, set()).add(tuple(row))
    return found


def _key(table: sa.Table, names: Sequence[str], row: tuple[object, ...]) -> dict[str, object]:
    keys = table.primary_key.columns.keys()
    return {f"old_{name}": value for name, value in zip(names, row, strict=True) if name in keys}


def add_act(
    connection: sa.Connection,
    organisation: int,
    situation_id: int,
    kind: str,
    actor: str,
    now: int,
    details: Mapping[str, object],
) -> int:
    """Note in a situation's history what was done; within the transaction that does it. Gives its number."""
    values = {
        "public_id": new_id(),
        "organisation_id": organisation,
        "situation_id": situation_id,
        "kind": kind,
        "actor": actor,
        "at_us": now,
        "details": json.dumps(details, ensure_ascii=False),
    }
    table = s.situation_acts
    return connection.execute(sa.insert(table).values(values).returning(table.c.id)).scalar_one()


# --- asking ----------------------------------------------------------------------------------------------------------


def situations(
    workspace: Workspace,
    scope: Scope,
    wanted: SituationFilter | None = None,
    *,
    order: Order = "danger",
    after: str | None = None,
    limit: int = 50,
) -> SituationPage:
    """A page of the list: the most dangerous first, or the latest, earliest or largest.

    Raises:
        NotFound: the scope does not reach the organisation.
        SchemaError: ``after`` is not what an earlier page gave.
    """
    wanted = wanted or SituationFilter()
    limit = max(1, min(limit, LISTED_MAX))
    table = s.situations
    column = table.c[_ORDERS[order]]
    conditions = conditions_of(scope, wanted)
    if order in ("last", "first"):
        conditions.append(column.is_not(None))
    if after is not None:
        value, number = _cursor(after)
        conditions.append(sa.tuple_(column, table.c.id) < sa.tuple_(sa.literal(value), sa.literal(number)))
    query = sa.select(table).where(*conditions).order_by(column.desc(), table.c.id.desc()).limit(limit + 1)
    with workspace.read() as connection:
        rows = connection.execute(query).all()
    found = tuple(_stored(row) for row in rows[:limit])
    last = rows[limit - 1] if len(rows) > limit else None
    return SituationPage(found, None if last is None else _text(getattr(last, _ORDERS[order]), last.id))


def count_situations(workspace: Workspace, scope: Scope, wanted: SituationFilter | None = None) -> int:
    """How many situations there are that a filter means. Raises: NotFound."""
    conditions = conditions_of(scope, wanted or SituationFilter())
    with workspace.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(s.situations).where(*conditions)).scalar_one()


def conditions_of(scope: Scope, wanted: SituationFilter) -> list[sa.ColumnElement[bool]]:
    """A filter as conditions on the table. Raises: NotFound."""
    table = s.situations
    found: list[sa.ColumnElement[bool]] = [within(scope, table.c.organisation_id), *_states(wanted)]
    if wanted.organisation is not None:
        scope.check_read(wanted.organisation)
        found.append(table.c.organisation_id == wanted.organisation)
    if wanted.resolution is not None:
        found.append(table.c.resolution == wanted.resolution)
    if wanted.level != LEVELS[0]:
        found.append(table.c.level.in_(LEVELS[LEVELS.index(wanted.level) :]))
    if wanted.owner is not None:
        found.append(table.c.owner == t.storable(wanted.owner))
    if wanted.text:
        found.append(table.c.search.contains(t.storable(wanted.text.casefold()), autoescape=True))
    low, high = {
        "activity": (table.c.last_us, table.c.first_us),
        "beginning": (table.c.first_us, table.c.first_us),
        "closing": (table.c.closed_us, table.c.closed_us),
    }[wanted.times]
    if wanted.first_us is not None:
        found.append(low >= wanted.first_us)
    if wanted.until_us is not None:
        found.append(high < wanted.until_us)
    members, entities = s.situation_members, s.situation_entities
    about: list[sa.ColumnElement[bool]] = []
    if wanted.host is not None:
        about.append(t.detections.c.host == t.storable(wanted.host))
    if wanted.rule_id is not None:
        about.append(t.detections.c.rule_id == t.storable(wanted.rule_id))
    if about:
        of_it = sa.select(members.c.situation_id).join(t.detections, t.detections.c.id == members.c.detection_id)
        found.append(table.c.id.in_(of_it.where(*about)))
    if wanted.entity_key is not None:
        found.append(
            table.c.id.in_(sa.select(entities.c.situation_id).where(entities.c.entity_key == wanted.entity_key))
        )
    found += [situation_clause(each) for each in wanted.conditions]
    return found


def _states(wanted: SituationFilter) -> list[sa.ColumnElement[bool]]:
    """As the indexes have it: ``is_live`` says whether one is closed."""
    table = s.situations
    if wanted.emptied:
        return [table.c.is_live == 0, table.c.merged_into.is_(None)]
    asked: set[str] = set(wanted.states) or {"open", "in_work", "closed"}
    if asked == {"closed"}:
        return [table.c.is_live == 1]
    if "closed" in asked:
        more = [] if asked >= {"open", "in_work"} else [table.c.state.in_(sorted(asked))]
        return [table.c.is_live > 0, *more]
    return [table.c.is_live == 2, *([] if len(asked) == 2 else [table.c.state.in_(sorted(asked))])]


def _text(value: int, number: int) -> str:
    return base64.urlsafe_b64encode(f"{value}:{number}".encode()).decode().rstrip("=")


def _cursor(after: str) -> tuple[int, int]:
    try:
        value, _, number = base64.urlsafe_b64decode(after[:80] + "==").decode().partition(":")
        return int(value), int(number)
    except (binascii.Error, ValueError):
        raise SchemaError("this is no place in the list of situations") from None


def situation_by_id(workspace: Workspace, scope: Scope, public_id: str) -> StoredSituation:
    """One situation; of one that became a part of another, that one. It may have nothing left (``is_emptied``).

    Raises:
        NotFound: there is none that the scope may see.
    """
    table = s.situations
    with workspace.read() as connection:
        row = connection.execute(sa.select(table).where(table.c.public_id == t.storable(public_id))).one_or_none()
        seen: set[int] = set()
        while row is not None and not row.is_live and row.merged_into is not None and row.id not in seen:
            seen.add(row.id)
            row = connection.execute(sa.select(table).where(table.c.id == row.merged_into)).one_or_none()
    if row is None or not scope.may_read(row.organisation_id):
        raise NotFound("there is no such situation")
    return _stored(row)


def situation_by_number(workspace: Workspace, number: int) -> StoredSituation:
    """The situation with a number of ours, whatever became of it."""
    with workspace.read() as connection:
        return _stored(connection.execute(sa.select(s.situations).where(s.situations.c.id == number)).one())


def situations_of_detections(workspace: Workspace, scope: Scope, ids: Sequence[int]) -> dict[int, list[str]]:
    """In which situations some detections are: number → public ids."""
    table, members = s.situations, s.situation_members
    found: dict[int, list[str]] = {}
    with workspace.read() as connection:
        for start in range(0, len(ids), PORTION):
            query = (
                sa.select(members.c.detection_id, table.c.public_id)
                .join(table, table.c.id == members.c.situation_id)
                .where(members.c.detection_id.in_(ids[start : start + PORTION]), within(scope, table.c.organisation_id))
                .order_by(table.c.id)
            )
            for detection, public_id in connection.execute(query):
                found.setdefault(detection, []).append(public_id)
    return found


def members_of(
    workspace: Workspace, situation: StoredSituation, *, limit: int = MEMBERS_MAX
) -> list[tuple[StoredDetection, bool]]:
    """Its detections, the earliest first, and whether each holds it (or only stands beside it)."""
    members, table = s.situation_members, t.detections
    query = (
        sa.select(table, t.streams.c.name.label("stream"), members.c.is_core)
        .join(members, members.c.detection_id == table.c.id)
        .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
        .where(_is_in(situation))
        .order_by(table.c.time_us.is_(None), table.c.time_us, table.c.id)
        .limit(min(limit, MEMBERS_MAX))
    )
    with workspace.read() as connection:
        rows = connection.execute(query).all()
    return list(zip(rows_as_detections(rows), (bool(row.is_core) for row in rows), strict=True))


def parts_of(number: int) -> sa.Select[tuple[int]]:
    """The numbers of a situation and of all that became parts of it, directly or through others."""
    table = s.situations
    parts = sa.select(table.c.id).where(table.c.id == number).cte("parts", recursive=True)
    return sa.select(parts.union(sa.select(table.c.id).where(table.c.merged_into == parts.c.id)).c.id)


def _is_in(situation: StoredSituation) -> sa.ColumnElement[bool]:
    """Members of a situation; of one with nothing left, also those of its parts."""
    held_by = s.situation_members.c.situation_id
    return held_by.in_(parts_of(situation.id)) if situation.is_emptied else held_by == situation.id


def hiders_of(workspace: Workspace, situation: StoredSituation) -> dict[int, int]:
    """Which suppressions hide detections of a situation: number → how many."""
    members, table = s.situation_members, t.detections
    query = (
        sa.select(table.c.suppressed_by, sa.func.count())
        .join(members, members.c.detection_id == table.c.id)
        .where(_is_in(situation), table.c.suppressed_by.is_not(None))
        .group_by(table.c.suppressed_by)
    )
    with workspace.read() as connection:
        return dict(connection.execute(query).all())


def core_ids(connection: sa.Connection, situation_id: int) -> list[int]:
    """The numbers of the detections that hold a situation."""
    members = s.situation_members
    query = sa.select(members.c.detection_id).where(members.c.situation_id == situation_id, members.c.is_core == 1)
    return sorted(connection.execute(query).scalars())


def joins_of(workspace: Workspace, situation: StoredSituation, *, limit: int = MEMBERS_MAX) -> list[Join]:
    """Why its detections are together, the strongest first."""
    table = s.situation_joins
    query = (
        sa.select(table.c.earlier_id, table.c.later_id, table.c.entity_key, table.c.strength, table.c.against)
        .where(table.c.situation_id == situation.id)
        .order_by(table.c.strength.desc(), table.c.later_id)
        .limit(limit)
    )
    with workspace.read() as connection:
        return [Join(*row) for row in connection.execute(query)]


def entity_counts(workspace: Workspace, situation: StoredSituation) -> dict[int, int]:
    """Its telling entities: key → in how many of its detections."""
    table = s.situation_entities
    query = sa.select(table.c.entity_key, table.c.detections).where(table.c.situation_id == situation.id)
    with workspace.read() as connection:
        return dict(connection.execute(query).all())


def related(
    workspace: Workspace, scope: Scope, situation: StoredSituation, keys: Sequence[int], *, limit: int = 20
) -> list[tuple[StoredSituation, int]]:
    """Other situations in the scope that share one of some entities, and how many of them. The most sharing first."""
    table, entities = s.situations, s.situation_entities
    shared = sa.func.count()
    counted = (
        sa.select(entities.c.situation_id, shared.label("shared"))
        .where(entities.c.entity_key.in_(list(keys)[:PORTION]), entities.c.situation_id != situation.id)
        .group_by(entities.c.situation_id)
        .subquery()
    )
    query = (
        sa.select(table, counted.c.shared)
        .join(counted, counted.c.situation_id == table.c.id)
        .where(table.c.is_live > 0, within(scope, table.c.organisation_id))
        .order_by(counted.c.shared.desc(), table.c.danger.desc(), table.c.id)
        .limit(limit)
    )
    with workspace.read() as connection:
        return [(_stored(row), row.shared) for row in connection.execute(query)]


def _stored(row: sa.Row[Any]) -> StoredSituation:
    return StoredSituation(
        id=row.id,
        public_id=row.public_id,
        organisation=OrganisationId(row.organisation_id),
        seed_id=row.seed_id,
        state=row.state,
        resolution=row.resolution,
        owner=row.owner,
        level=row.level,
        danger=row.danger,
        detections=row.detections,
        hosts=row.hosts,
        first_us=row.first_us,
        last_us=row.last_us,
        summary=row.summary,
        created_us=row.created_us,
        changed_us=row.changed_us,
        closed_us=row.closed_us,
        is_emptied=not row.is_live and row.merged_into is None,
    )

"""Detections: what was found, with pointers to the evidence, each once; and the matches that correlations count.

A detection is the same if the rule (with its content), the input and the record are the same: whoever finds it again,
on arrival or in a hunt, after a crash or twice, adds nothing. The pointer to its event is (input, record) with stream
and day: segments come and go (``catalogue.segments_of_record``).

Correlations are decided anew, over all matches that are kept, whenever one was added: what came late counts as if it
had come in time. ``set_correlated`` makes what is stored equal to what holds now.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS, Level
from mingjian.store import tables as t
from mingjian.store.catalogue import Extra, insert_for, insert_unless_there, stream_ids, within
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace, new_id

PORTION: Final = 500
"""So many values are named in one statement."""
READ_ROWS: Final = 10_000
"""So many matches are fetched at a time."""
LISTED_MAX: Final = 1_000_000
"""So many detections are listed at most."""

FoundBy: TypeAlias = Literal["arrival", "hunt"]
Fields: TypeAlias = "Mapping[str, Sequence[str]]"
"""Field → the texts of its leaves."""


class FoundDetection(msgspec.Struct, frozen=True, kw_only=True):
    """A detection on its way into the store."""

    detection: Detection
    content: str
    """What the rule (``rules.version_key``) or the indicator says: with another content it is another detection."""
    version_id: int | None = None
    """Number of the rule's version."""
    indicator_id: int | None = None
    input_id: int
    day: int | None
    """Of the segment that has the event, days since 1970."""


class CountedMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A match of a rule that some correlation counts."""

    version_id: int
    """Number of the rule's version."""
    time_us: int | None
    input_id: int
    record: int
    host: str
    account: str
    fields: dict[str, list[bytes]]
    """Field → the texts of its leaves, as UTF-8 (what is no Unicode: with ``surrogatepass``)."""


class StoredMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A match as correlations take it, and where its event is."""

    time_us: int | None
    rule_id: str
    file: str
    """Name under which the input was first met."""
    record: int
    values: tuple[tuple[str, ...], ...]
    """The texts of the leaves of each field that was asked for."""
    host: str
    account: str
    input_id: int


class StoredDetection(msgspec.Struct, frozen=True, kw_only=True):
    """A detection as it is kept."""

    id: int
    public_id: str
    organisation: OrganisationId
    input_id: int | None
    day: int | None
    found_by: FoundBy
    found_us: int
    detection: Detection


def identity(found: FoundDetection) -> bytes:
    """What makes a detection this one. One event may complete several groups of a correlation: these count, too."""
    one = found.detection
    if one.kind == "behaviour":
        # It rests on many events, and with more of them on others.
        return hashlib.blake2b(json.dumps([one.kind, one.rule_id, found.content]).encode(), digest_size=16).digest()
    parts: list[object] = [one.kind, one.rule_id, found.content, found.input_id, one.record]
    if one.kind == "correlation":
        parts += sorted((name, value) for name, value in one.matched.items() if name not in ("count", "value"))
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


def counted_fields(fields: Fields) -> dict[str, list[bytes]]:
    """The values of a match as they are kept."""
    return {name: [text.encode("utf-8", "surrogatepass") for text in texts] for name, texts in fields.items()}


# --- adding ----------------------------------------------------------------------------------------------------------


def add(
    organisation: OrganisationId,
    found: Sequence[FoundDetection],
    found_by: FoundBy,
    now_us: int,
    *,
    update: bool = False,
) -> Extra:
    """Rows for the transaction that commits the events, or the progress of a hunt. What is there already stays.

    With ``update`` what is there already is told anew: a window of a correlation may have got further events.
    """

    def write(connection: sa.Connection) -> None:
        if not found:
            return
        names = {each.detection.stream for each in found if each.detection.stream}
        streams = stream_ids(connection, names, now_us) if names else {}
        rows = {(row := _values(organisation, each, streams, found_by, now_us))["identity"]: row for each in found}
        if update:
            insert = insert_for(connection, t.detections)
            told = ("level", "rule_title", "time_us", "host", "account", "details")
            evidence = ("stream_id", "input_id", "record", "day", "file")
            told += evidence if any(each.detection.kind == "behaviour" for each in found) else ()
            statement = insert.on_conflict_do_update(
                index_elements=[t.detections.c.organisation_id, t.detections.c.identity],
                set_={name: insert.excluded[name] for name in told},
            )
            connection.execute(statement, list(rows.values()))
        else:
            connection.execute(insert_unless_there(connection, t.detections), list(rows.values()))

    return write


def _values(
    organisation: OrganisationId, found: FoundDetection, streams: Mapping[str, int], found_by: FoundBy, now_us: int
) -> dict[str, object]:
    one = found.detection
    details = {"matched": one.matched, "atoms": one.atoms, "attack": one.attack}
    return {
        "organisation_id": organisation,
        "public_id": new_id(),
        "identity": identity(found),
        "kind": one.kind,
        "rule_version_id": found.version_id,
        "indicator_id": found.indicator_id,
        "rule_id": one.rule_id,
        "rule_title": one.rule_title,
        "level": one.level,
        "time_us": one.time_us,
        "host": one.host,
        "account": one.account,
        "stream_id": streams.get(one.stream),
        "input_id": found.input_id,
        "record": one.record,
        "day": found.day,
        "file": one.file,
        "details": json.dumps({name: value for name, value in details.items() if value}),
        "found_by": found_by,
        "found_us": now_us,
    }


def add_matches(organisation: OrganisationId, matches: Sequence[CountedMatch], *, update: bool = False) -> Extra:
    """Rows of matches that correlations count, for the same transaction. What is there already stays.

    With ``update`` its fields are told anew: a correlation that came since may ask for others.
    """

    def write(connection: sa.Connection) -> None:
        if not matches:
            return
        rows = [
            {
                "organisation_id": organisation,
                "rule_version_id": each.version_id,
                "time_us": each.time_us,
                "input_id": each.input_id,
                "record": each.record,
                "host": each.host,
                "account": each.account,
                "fields": msgspec.msgpack.encode(each.fields),
            }
            for each in matches
        ]
        statement = insert_unless_there(connection, t.correlation_matches)
        if update:
            insert = insert_for(connection, t.correlation_matches)
            statement = insert.on_conflict_do_update(
                index_elements=["organisation_id", "rule_version_id", "input_id", "record"],
                set_={"fields": insert.excluded["fields"]},
            )
        connection.execute(statement, rows)

    return write


# --- correlations ----------------------------------------------------------------------------------------------------


def last_match(workspace: Workspace, organisation: OrganisationId, version_ids: Sequence[int]) -> int:
    """The number of the match of some rule versions that was stored last; 0 if there is none."""
    table = t.correlation_matches
    last = 0
    with workspace.read() as connection:
        for portion in _portions(version_ids):
            query = sa.select(sa.func.max(table.c.id)).where(
                table.c.organisation_id == organisation, table.c.rule_version_id.in_(portion)
            )
            last = max(last, connection.execute(query).scalar_one() or 0)
    return last


def matches_in_order(
    workspace: Workspace,
    organisation: OrganisationId,
    rules: Mapping[int, str],
    wanted_fields: Mapping[str, Sequence[str]],
) -> Iterator[StoredMatch]:
    """All matches of some rule versions (number → id of the rule), by time (none last), file, record, rule.

    ``wanted_fields`` are those of each rule whose values the matches are to carry.
    """
    table = t.correlation_matches
    query = (
        sa.select(table, t.inputs.c.name.label("file"), t.rule_versions.c.rule_id)
        .join(t.inputs, t.inputs.c.id == table.c.input_id)
        .join(t.rule_versions, t.rule_versions.c.id == table.c.rule_version_id)
        .where(table.c.organisation_id == organisation, table.c.rule_version_id.in_(list(rules)))
        .order_by(table.c.time_us.is_(None), table.c.time_us, "file", table.c.record, t.rule_versions.c.rule_id)
    )
    decode = msgspec.msgpack.Decoder(dict[str, list[bytes]]).decode
    with workspace.read() as connection:
        for row in connection.execution_options(yield_per=READ_ROWS).execute(query):
            fields = decode(row.fields)
            rule_id = rules[row.rule_version_id]
            values = tuple(
                tuple(text.decode("utf-8", "surrogatepass") for text in fields.get(name, ()))
                for name in wanted_fields.get(rule_id, ())
            )
            yield StoredMatch(
                time_us=row.time_us,
                rule_id=rule_id,
                file=row.file,
                record=row.record,
                values=values,
                host=row.host,
                account=row.account,
                input_id=row.input_id,
            )


def correlated_up_to(workspace: Workspace, organisation: OrganisationId, name: str) -> int:
    """Up to which match the correlations of some rule set (by a name of the caller's) were decided last."""
    table = t.correlation_state
    query = sa.select(table.c.state).where(table.c.organisation_id == organisation, table.c.name == name)
    with workspace.read() as connection:
        state = connection.execute(query).scalar_one_or_none()
    return 0 if state is None else msgspec.msgpack.decode(state, type=int)


def count_correlated(workspace: Workspace, organisation: OrganisationId, version_ids: Sequence[int]) -> int:
    """How many detections of some correlations (by their versions) there are."""
    table = t.detections
    count = 0
    with workspace.read() as connection:
        for portion in _portions(version_ids):
            query = (
                sa.select(sa.func.count())
                .select_from(table)
                .where(
                    table.c.organisation_id == organisation,
                    table.c.rule_version_id.in_(portion),
                    table.c.kind == "correlation",
                )
            )
            count += connection.execute(query).scalar_one()
    return count


def set_correlated(
    workspace: Workspace,
    organisation: OrganisationId,
    name: str,
    up_to: int,
    version_ids: Sequence[int],
    found: Sequence[FoundDetection],
    found_by: FoundBy = "arrival",
) -> None:
    """Make the detections of some correlations (by their versions) those that hold now; note what they rest on.

    A detection that does not hold any more, because of what came late, goes.

    Raises:
        StorageError: the database could not keep it; nothing was changed.
    """
    now_us = workspace.clock_us()
    held = {identity(each) for each in found}
    table = t.detections
    with workspace.begin() as connection:
        for portion in _portions(version_ids):
            query = sa.select(table.c.id, table.c.identity).where(
                table.c.organisation_id == organisation,
                table.c.rule_version_id.in_(portion),
                table.c.kind == "correlation",
            )
            gone = [row.id for row in connection.execute(query) if row.identity not in held]
            for some in _portions(gone):
                connection.execute(sa.delete(table).where(table.c.id.in_(some)))
        add(organisation, found, found_by, now_us, update=True)(connection)
        insert = insert_for(connection, t.correlation_state).values(
            organisation_id=organisation, name=name, state=msgspec.msgpack.encode(up_to), updated_us=now_us
        )
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[t.correlation_state.c.organisation_id, t.correlation_state.c.name],
                set_={"state": insert.excluded.state, "updated_us": insert.excluded.updated_us},
            )
        )


def _portions(values: Sequence[int]) -> list[list[int]]:
    return [list(values[start : start + PORTION]) for start in range(0, len(values), PORTION)]


# --- asking ----------------------------------------------------------------------------------------------------------


def detections(
    workspace: Workspace,
    scope: Scope,
    *,
    organisation: OrganisationId | None = None,
    level: Level = "informational",
    rule_id: str | None = None,
    host: str | None = None,
    first_us: int | None = None,
    until_us: int | None = None,
    limit: int = LISTED_MAX,
    hidden: bool = False,
) -> list[StoredDetection]:
    """List detections, the newest event first (those without a time last); ``until_us`` itself is left out.

    With ``hidden``, those that a suppression hides are among them.

    Raises:
        NotFound: the scope does not reach the organisation.
    """
    if organisation is not None:
        scope.check_read(organisation)
    table = t.detections
    conditions: list[sa.ColumnElement[bool]] = [
        within(scope, table.c.organisation_id),
        table.c.level.in_(LEVELS[LEVELS.index(level) :]),
    ]
    if not hidden:
        conditions.append(table.c.suppressed_by.is_(None))
    if organisation is not None:
        conditions.append(table.c.organisation_id == organisation)
    if rule_id is not None:
        conditions.append(table.c.rule_id == t.storable(rule_id))
    if host is not None:
        conditions.append(sa.func.lower(table.c.host) == t.storable(host).lower())
    if first_us is not None:
        conditions.append(table.c.time_us >= first_us)
    if until_us is not None:
        conditions.append(table.c.time_us < until_us)
    query = (
        _query()
        .where(*conditions)
        .order_by(table.c.time_us.is_(None), table.c.time_us.desc(), table.c.id.desc())
        .limit(min(limit, LISTED_MAX))
    )
    with workspace.read() as connection:
        return [_stored(row) for row in connection.execute(query)]


def detections_of_rules(
    workspace: Workspace,
    organisation: OrganisationId,
    rule_ids: Sequence[str],
    *,
    after_id: int = 0,
    limit: int = READ_ROWS,
) -> list[StoredDetection]:
    """Detections of some rules (none given: of all) that nothing hides, in the order of their numbers.

    For the store's neighbours, which have checked the scope.
    """
    table = t.detections
    conditions = [table.c.organisation_id == organisation, table.c.id > after_id, table.c.suppressed_by.is_(None)]
    if rule_ids:
        conditions.append(table.c.rule_id.in_([t.storable(each) for each in rule_ids[:PORTION]]))
    query = _query().where(*conditions).order_by(table.c.id).limit(limit)
    with workspace.read() as connection:
        return [_stored(row) for row in connection.execute(query)]


def detection_by_id(workspace: Workspace, scope: Scope, public_id: str) -> StoredDetection:
    """One detection. Raises: NotFound."""
    with workspace.read() as connection:
        row = connection.execute(_query().where(t.detections.c.public_id == public_id)).one_or_none()
    if row is None or not scope.may_read(row.organisation_id):
        raise NotFound("there is no such detection")
    return _stored(row)


def _query() -> sa.Select[Any]:
    return sa.select(t.detections, t.streams.c.name.label("stream")).outerjoin(
        t.streams, t.streams.c.id == t.detections.c.stream_id
    )


def rows_as_detections(rows: Iterable[sa.Row[Any]]) -> list[StoredDetection]:
    """Rows of the table of detections, with the name of their stream as ``stream``."""
    return [_stored(row) for row in rows]


def _stored(row: sa.Row[Any]) -> StoredDetection:
    details = cast("dict[str, Any]", json.loads(row.details))
    return StoredDetection(
        id=row.id,
        public_id=row.public_id,
        organisation=OrganisationId(row.organisation_id),
        input_id=row.input_id,
        day=row.day,
        found_by=row.found_by,
        found_us=row.found_us,
        detection=Detection(
            time_us=row.time_us,
            level=row.level,
            rule_id=row.rule_id,
            rule_title=row.rule_title,
            kind=row.kind,
            attack=tuple(details.get("attack", ())),
            host=row.host,
            account=row.account,
            stream=row.stream or "",
            file=row.file,
            record=row.record,
            matched=details.get("matched", {}),
            atoms=tuple(details.get("atoms", ())),
        ),
    )

"""The catalogue: which organisations, inputs and segments there are, and the one transaction that adds to them.

What is acknowledged is in the catalogue, and what is in the catalogue is on disk: segment files are durable before
``commit_batch`` is called, and it commits them together with the progress of the inputs that they came from, their
quarantine, and whatever else belongs to the same events (``Extra``). After a crash, files that the catalogue does not
know are removed (``clean``), and inputs go on from where they were committed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound, NotPermitted, SchemaError, StateError, shown
from mingjian.model.blocks import Quarantined
from mingjian.store import seals
from mingjian.store import tables as t
from mingjian.store.presence import note_days
from mingjian.store.scope import EVERYONE, OrganisationId, Scope
from mingjian.store.segments import FORMAT_VERSION, US_PER_DAY, DayRecords, SegmentKey, WrittenSegment, day_of
from mingjian.store.workspace import Workspace, new_id

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

HEAD_BYTES: Final = 4096
"""An input is looked up by the digest of its first so many bytes (of all of it, if it is shorter)."""
DIGESTS_AT_ONCE: Final = 500
"""So many heads are looked up by one query."""
NAME_CHARACTERS_MAX: Final = 200
"""So long may the name of an organisation be."""
INPUTS_AT_ONCE: Final = 2_000
"""So many inputs are looked up together."""
DEFAULT_ORGANISATION: Final = "default"
"""Whose events they are if nobody says."""

InputState: TypeAlias = Literal["open", "complete"]
Extra: TypeAlias = Callable[[sa.Connection], None]
"""Rows of another part of the store for the same transaction."""


class Organisation(msgspec.Struct, frozen=True, kw_only=True):
    """Whose events they are."""

    id: OrganisationId
    public_id: str
    """What stands in file names and addresses."""
    name: str


class KnownInput(msgspec.Struct, frozen=True, kw_only=True):
    """An input that came in before. Another is the same if the digest of everything up to the offset is."""

    id: int
    organisation: OrganisationId
    head_digest: bytes
    head_bytes: int
    kind: str
    name: str
    """Under which it was first met."""
    format: str | None
    offset: int
    """Everything before this byte is in the lake."""
    records: int
    """Number of the last record (or line) before it."""
    digest: bytes | None
    """Of everything before it; None as long as nothing is."""
    position: str | None
    """What the reader of a growing input stored to go on."""
    state: InputState


class CommittedOffset(msgspec.Struct, frozen=True):
    """A place up to which an input was once committed, and the digest of everything before it."""

    offset: int
    records: int
    digest: bytes


class InputProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an input has come with a batch."""

    input_id: int
    from_offset: int
    """The offset that was committed before: if another process went on meanwhile, nothing is committed."""
    offset: int
    records: int
    digest: bytes
    state: InputState = "open"
    format: str | None = None
    position: str | None = None


class HostDay(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one host in one stream on one day, to be added to those that are counted already."""

    stream: str
    day: int
    host: str
    rows: int
    first_us: int
    last_us: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What is committed at once. Everything in it belongs to one organisation."""

    organisation: OrganisationId
    inputs: Sequence[InputProgress] = ()
    segments: Sequence[WrittenSegment] = ()
    quarantined: Sequence[tuple[int | None, Quarantined]] = ()
    """With the input that each is from, if it is known."""
    hosts: Sequence[HostDay] = ()


class SegmentRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A segment as the catalogue knows it."""

    id: int
    key: SegmentKey
    path: str
    """Relative to the lake."""
    rows: int
    bytes: int
    first_us: int | None
    last_us: int | None
    content_hash: bytes
    checks: bytes
    """The checksums of the stripes of its file: with them, reading a part of it is safe."""
    committed_us: int

    @property
    def first_day(self) -> int | None:
        """Of its first event, days since 1970 (UTC); None if none of them has a time."""
        return day_of(self.first_us)

    @property
    def last_day(self) -> int | None:
        """The same of its last one."""
        return day_of(self.last_us)


class QuarantinedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of input in quarantine."""

    id: int
    organisation: OrganisationId
    input_id: int | None
    received_us: int
    item: Quarantined


# --- organisations -------------------------------------------------------------------------------------------------


def organisation_named(workspace: Workspace, scope: Scope, name: str, *, make: bool = False) -> Organisation:
    """Look an organisation up by its name in any case; with ``make``, make it if it is not there, and log that.

    Raises:
        NotFound: there is none (that the scope may see).
        NotPermitted: it would have to be made, and the scope does not reach that far.
        SchemaError: no name.
    """
    name = name.strip()
    if not name or len(name) > NAME_CHARACTERS_MAX:
        raise SchemaError(f"the name of an organisation has 1 to {NAME_CHARACTERS_MAX} characters, not {shown(name)}")
    found = _organisation_by_key(workspace, name.casefold())
    if found is None and make:
        if scope.writes is not EVERYONE:
            raise NotPermitted(f"{scope.actor} may not make an organisation")
        _make_organisation(workspace, scope, name)
        found = _organisation_by_key(workspace, name.casefold())
    if found is None:
        raise NotFound(f"there is no organisation {shown(name)}")
    scope.check_read(found.id)
    return found


def _make_organisation(workspace: Workspace, scope: Scope, name: str) -> None:
    """Make an organisation, unless somebody else has meanwhile."""
    from mingjian.store.audit import act  # the audit log stands on the catalogue

    table = t.organisations
    values = {"public_id": new_id(), "name": name, "name_key": name.casefold(), "created_us": workspace.clock_us()}
    with workspace.begin() as connection:
        connection.execute(insert_unless_there(connection, table), [values])
        made = sa.select(table.c.id).where(table.c.public_id == values["public_id"])
        number = connection.execute(made).scalar_one_or_none()
        if number is not None:
            after = {"name": t.storable(name)}
            owner = OrganisationId(number)
            act(workspace, connection, scope, "organisation.made", about=after["name"], organisation=owner, after=after)


def _organisation_by_key(workspace: Workspace, key: str) -> Organisation | None:
    with workspace.read() as connection:
        row = connection.execute(
            sa.select(t.organisations).where(t.organisations.c.name_key == t.storable(key))
        ).one_or_none()
    if row is None:
        return None
    seals.verify(t.organisations, row)
    return Organisation(id=OrganisationId(row.id), public_id=row.public_id, name=row.name)


def organisations(workspace: Workspace, scope: Scope) -> list[Organisation]:
    """List the organisations, by name."""
    table = t.organisations
    with workspace.read() as connection:
        found = connection.execute(sa.select(table).where(within(scope, table.c.id)).order_by(table.c.name_key))
        rows = seals.verified(table, found)
        return [Organisation(id=OrganisationId(row.id), public_id=row.public_id, name=row.name) for row in rows]


# --- inputs --------------------------------------------------------------------------------------------------------


def known_inputs(
    workspace: Workspace, scope: Scope, organisation: OrganisationId, head_digests: Collection[bytes]
) -> list[KnownInput]:
    """The inputs that begin like one of these, those that came further first. None of them may be the one."""
    scope.check_read(organisation)
    table = t.inputs
    asked, found = list(head_digests), list[KnownInput]()
    with workspace.read() as connection:
        for start in range(0, len(asked), DIGESTS_AT_ONCE):
            query = sa.select(table).where(
                table.c.organisation_id == organisation,
                table.c.head_digest.in_(asked[start : start + DIGESTS_AT_ONCE]),
            )
            found += [_known_input(row) for row in connection.execute(query)]
    return sorted(found, key=lambda each: (-each.offset, each.id))


def short_heads(workspace: Workspace, scope: Scope, organisation: OrganisationId) -> list[int]:
    """The lengths of the heads of inputs that are shorter than ``HEAD_BYTES``: they may have grown since."""
    scope.check_read(organisation)
    table = t.inputs
    query = (
        sa.select(table.c.head_bytes)
        .where(table.c.organisation_id == organisation, table.c.head_bytes < HEAD_BYTES)
        .distinct()
    )
    with workspace.read() as connection:
        return sorted(connection.execute(query).scalars())


def inputs_committed_at(
    workspace: Workspace, scope: Scope, organisation: OrganisationId, offset: int, digests: Collection[bytes]
) -> list[KnownInput]:
    """The inputs that were once committed up to an offset with everything before it having one of some digests."""
    scope.check_read(organisation)
    ends = t.input_offsets
    at = sa.select(ends.c.input_id).where(ends.c.digest.in_(digests), ends.c.offset == offset)
    query = sa.select(t.inputs).where(t.inputs.c.organisation_id == organisation, t.inputs.c.id.in_(at))
    with workspace.read() as connection:
        return [_known_input(row) for row in connection.execute(query.order_by(t.inputs.c.id))]


def digests_of_length(workspace: Workspace, scope: Scope, input_ids: Collection[int], size: int) -> bool:
    """Whether something that was ever committed of some inputs has a digest of so many bytes."""
    ends, asked = t.input_offsets, list(input_ids)
    with workspace.read() as connection:
        for start in range(0, len(asked), DIGESTS_AT_ONCE):
            some = t.inputs.c.id.in_(asked[start : start + DIGESTS_AT_ONCE])
            owned = sa.select(t.inputs.c.id).where(some, within(scope, t.inputs.c.organisation_id))
            query = sa.select(ends.c.input_id).where(ends.c.input_id.in_(owned), sa.func.length(ends.c.digest) == size)
            if connection.execute(query.limit(1)).first() is not None:
                return True
    return False


def is_quarantined(workspace: Workspace, scope: Scope, organisation: OrganisationId, item: Quarantined) -> bool:
    """Whether the same piece of the same file lies in quarantine already, without being of a known input."""
    scope.check_read(organisation)
    table = t.quarantine
    query = sa.select(table.c.id).where(
        table.c.organisation_id == organisation,
        table.c.input_id.is_(None),
        table.c.file == t.storable(item.file),
        table.c.record == item.record,
        table.c.offset == item.offset,
        table.c.code == item.code,
        table.c.reason == t.storable(item.reason),
        table.c.data == item.data,
    )
    with workspace.read() as connection:
        return connection.execute(query.limit(1)).first() is not None


def input_by_id(workspace: Workspace, scope: Scope, input_id: int) -> KnownInput:
    """One input. Raises: NotFound."""
    with workspace.read() as connection:
        row = connection.execute(sa.select(t.inputs).where(t.inputs.c.id == input_id)).one_or_none()
    if row is None or not scope.may_read(row.organisation_id):
        raise NotFound("there is no such input")
    return _known_input(row)


def input_names(workspace: Workspace, scope: Scope, segment_ids: Sequence[int]) -> dict[int, str]:
    """The names of the inputs that some segments have records of: those that the scope may see, and a bounded number.

    Under these names they were first met.
    """
    table, part = t.inputs, t.segment_inputs
    inside = sa.select(part.c.input_id).where(part.c.segment_id.in_(segment_ids))
    query = sa.select(table.c.id, table.c.name).where(table.c.id.in_(inside), within(scope, table.c.organisation_id))
    with workspace.read() as connection:
        return {row.id: row.name for row in connection.execute(query.limit(INPUTS_AT_ONCE))}


def committed_offsets(workspace: Workspace, scope: Scope, input_id: int) -> list[CommittedOffset]:
    """Every place up to which an input was ever committed, in order. Raises: NotFound."""
    input_by_id(workspace, scope, input_id)
    table = t.input_offsets
    query = sa.select(table).where(table.c.input_id == input_id).order_by(table.c.offset)
    with workspace.read() as connection:
        rows = seals.verified(table, connection.execute(query))
    return [CommittedOffset(row.offset, row.records, row.digest) for row in rows]


def register_input(
    workspace: Workspace,
    scope: Scope,
    organisation: OrganisationId,
    *,
    head_digest: bytes,
    head_bytes: int,
    kind: str,
    name: str,
) -> KnownInput:
    """Give a new input its number. Nothing of it is in the lake yet; should it stay so, that does no harm.

    Nobody waits for the disk: what is in the lake of it comes with a later transaction, and many inputs are small.

    ``kind`` is ``file``, ``stdin``, ``journal`` …; ``name`` the path under which it was met.
    """
    scope.check_write(organisation)
    now = workspace.clock_us()
    values = {
        "organisation_id": organisation,
        "head_digest": head_digest,
        "head_bytes": head_bytes,
        "kind": kind,
        "name": name,
        "state": "open",
        "created_us": now,
        "updated_us": now,
    }
    with workspace.begin(waits=False) as connection:
        row = connection.execute(sa.insert(t.inputs).values(values).returning(t.inputs)).one()
        connection.execute(sa.insert(t.input_names).values(input_id=row.id, name=name, seen_us=now))
    return _known_input(row)


def grow_head(workspace: Workspace, scope: Scope, input_id: int, *, head_digest: bytes, head_bytes: int) -> None:
    """Note that an input that was shorter than ``HEAD_BYTES`` has grown: it is now looked up by more of it."""
    known = input_by_id(workspace, scope, input_id)
    scope.check_write(known.organisation, "input")
    with workspace.begin() as connection:
        connection.execute(
            sa.update(t.inputs)
            .where(t.inputs.c.id == input_id)
            .values(head_digest=head_digest, head_bytes=head_bytes, updated_us=workspace.clock_us())
        )


def note_name(workspace: Workspace, scope: Scope, input_id: int, name: str) -> None:
    """Note that an input was met (again) under a name."""
    known = input_by_id(workspace, scope, input_id)
    scope.check_write(known.organisation, "input")
    with workspace.begin() as connection:
        insert = insert_for(connection, t.input_names).values(
            input_id=input_id, name=name, seen_us=workspace.clock_us()
        )
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[t.input_names.c.input_id, t.input_names.c.name],
                set_={"seen_us": insert.excluded.seen_us},
            )
        )


def _known_input(row: sa.Row[Any]) -> KnownInput:
    seals.verify(t.inputs, row)
    return KnownInput(
        id=row.id,
        organisation=OrganisationId(row.organisation_id),
        head_digest=row.head_digest,
        head_bytes=row.head_bytes,
        kind=row.kind,
        name=row.name,
        format=row.format,
        offset=row.committed_offset,
        records=row.committed_records,
        digest=row.committed_digest,
        position=row.position,
        state=row.state,
    )


def reserve_segments(workspace: Workspace, scope: Scope, organisation: OrganisationId, count: int) -> range:
    """Give out numbers for segments that are about to be written. Nobody gets them again, used or not.

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation.
    """
    scope.check_write(organisation)
    assert count > 0
    with workspace.begin() as connection:
        insert = insert_for(connection, t.counters).values(name="segments", value=count)
        last = connection.execute(
            insert.on_conflict_do_update(
                index_elements=[t.counters.c.name], set_={"value": t.counters.c.value + insert.excluded.value}
            ).returning(t.counters.c.value)
        ).scalar_one()
    return range(last - count + 1, last + 1)


# --- the one transaction -------------------------------------------------------------------------------------------


def commit_batch(workspace: Workspace, scope: Scope, batch: Batch, extras: Sequence[Extra] = ()) -> None:
    """Commit a batch: all of it is in the catalogue and on disk when this returns, or nothing of it.

    The segment files must be durable (``write_segment`` has seen to that).

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation.
        StateError: an input is not where the batch says that it was; nothing was committed.
        StorageError: the database could not keep it; nothing was committed.
    """
    scope.check_write(batch.organisation)
    assert all(segment.key.organisation == batch.organisation for segment in batch.segments)
    now = workspace.clock_us()
    with workspace.begin() as connection:
        for progress in batch.inputs:
            _advance(connection, batch.organisation, progress, now)
        add_segments(connection, batch.segments, now)
        if batch.quarantined:
            rows = [_quarantine_values(batch.organisation, input_id, item, now) for input_id, item in batch.quarantined]
            connection.execute(sa.insert(t.quarantine), rows)
        if batch.hosts:
            _count_hosts(connection, batch.organisation, batch.hosts, now)
        for extra in extras:
            extra(connection)


def _advance(connection: sa.Connection, organisation: OrganisationId, progress: InputProgress, now: int) -> None:
    table = t.inputs
    values: dict[str, object] = {
        "committed_offset": progress.offset,
        "committed_records": progress.records,
        "committed_digest": progress.digest,
        "position": progress.position,
        "state": progress.state,
        "updated_us": now,
    }
    if progress.format is not None:
        values["format"] = progress.format
    changed = connection.execute(
        sa.update(table)
        .where(
            table.c.id == progress.input_id,
            table.c.organisation_id == organisation,
            table.c.committed_offset == progress.from_offset,
        )
        .values(values)
    )
    if changed.rowcount != 1:
        raise StateError("an input is not where this batch begins: another process went on with it")
    connection.execute(
        insert_unless_there(connection, t.input_offsets),
        [
            {
                "input_id": progress.input_id,
                "offset": progress.offset,
                "records": progress.records,
                "digest": progress.digest,
            }
        ],
    )


def add_segments(connection: sa.Connection, segments: Sequence[WrittenSegment], now: int) -> None:
    """Add durable segment files to the catalogue, within a transaction."""
    if not segments:
        return
    streams = stream_ids(connection, {segment.key.stream for segment in segments}, now)
    rows = [
        {
            "id": segment.id,
            "organisation_id": segment.key.organisation,
            "stream_id": streams[segment.key.stream],
            "layout": segment.key.layout,
            "format": segment.key.format,
            "month": segment.key.month,
            "path": segment.path,
            "rows": segment.rows,
            "bytes": segment.bytes,
            "first_us": segment.first_us,
            "last_us": segment.last_us,
            "content_hash": segment.content_hash,
            "checks": segment.checks,
            "version": FORMAT_VERSION,
            "state": "live",
            "committed_us": now,
        }
        for segment in segments
    ]
    connection.execute(sa.insert(t.segments), rows)
    inputs = [
        {
            "segment_id": segment.id,
            "input_id": each.input_id,
            "first_record": each.first_record,
            "last_record": each.last_record,
            "rows": each.rows,
        }
        for segment in segments
        for each in segment.inputs
    ]
    connection.execute(sa.insert(t.segment_inputs), inputs)
    days = [
        {
            "segment_id": segment.id,
            "day": each.day,
            "rows": each.rows,
            "first_us": each.first_us,
            "last_us": each.last_us,
        }
        for segment in segments
        for each in segment.days
    ]
    if days:
        connection.execute(sa.insert(t.segment_days), days)


def stream_ids(connection: sa.Connection, names: Iterable[str], now: int) -> dict[str, int]:
    """The numbers of streams, within a transaction; those that are new get one."""
    wanted = {t.storable(name): name for name in names}
    table = t.streams
    connection.execute(
        insert_unless_there(connection, table), [{"name": name, "created_us": now} for name in sorted(wanted)]
    )
    rows = connection.execute(sa.select(table.c.name, table.c.id).where(table.c.name.in_(wanted)))
    return {wanted[row.name]: row.id for row in rows}


def _quarantine_values(
    organisation: OrganisationId, input_id: int | None, item: Quarantined, now: int
) -> dict[str, object]:
    return {
        "organisation_id": organisation,
        "input_id": input_id,
        "file": item.file,
        "record": item.record,
        "offset": item.offset,
        "code": item.code,
        "reason": item.reason,
        "data": item.data,
        "received_us": now,
    }


def _count_hosts(connection: sa.Connection, organisation: OrganisationId, hosts: Sequence[HostDay], now: int) -> None:
    streams = stream_ids(connection, {each.stream for each in hosts}, now)
    days: dict[tuple[int, str], list[int]] = {}
    for each in hosts:
        days.setdefault((streams[each.stream], each.host), []).append(each.day)
    note_days(connection, organisation, days)
    table = t.host_days
    insert = insert_for(connection, table)
    least, greatest = ("min", "max") if connection.dialect.name == "sqlite" else ("least", "greatest")
    merged = insert.on_conflict_do_update(
        index_elements=[table.c.organisation_id, table.c.stream_id, table.c.day, table.c.host],
        set_={
            "rows": table.c.rows + insert.excluded.rows,
            "first_us": getattr(sa.func, least)(table.c.first_us, insert.excluded.first_us),
            "last_us": getattr(sa.func, greatest)(table.c.last_us, insert.excluded.last_us),
        },
    )
    connection.execute(
        merged,
        [
            {
                "organisation_id": organisation,
                "stream_id": streams[each.stream],
                "day": each.day,
                "host": each.host,
                "rows": each.rows,
                "first_us": each.first_us,
                "last_us": each.last_us,
            }
            for each in hosts
        ],
    )


# --- looking up ----------------------------------------------------------------------------------------------------


def live_segments(
    workspace: Workspace,
    scope: Scope,
    *,
    organisation: OrganisationId | None = None,
    streams: Sequence[str] | None = None,
    first_day: int | None = None,
    last_day: int | None = None,
    newest_first: bool = False,
) -> list[SegmentRow]:
    """The segments that hold what is asked for: every event that is kept is in exactly one live segment.

    With a first or last day, those that may have events of such days are given (among others), and segments of events
    without a time. Oldest first, those without a time before all others; ``newest_first`` turns that round.
    """
    if organisation is not None:
        scope.check_read(organisation)
    table = t.segments
    conditions = [table.c.state == "live", within(scope, table.c.organisation_id)]
    if organisation is not None:
        conditions.append(table.c.organisation_id == organisation)
    if streams is not None:
        conditions.append(t.streams.c.name.in_([t.storable(name) for name in streams]))
    if first_day is not None:
        conditions.append(sa.or_(table.c.last_us >= first_day * US_PER_DAY, table.c.last_us.is_(None)))
    if last_day is not None:
        conditions.append(sa.or_(table.c.first_us < (last_day + 1) * US_PER_DAY, table.c.first_us.is_(None)))
    untimed = -(1 << 62)
    first, last = (sa.func.coalesce(time, untimed) for time in (table.c.first_us, table.c.last_us))
    order = (last.desc(), table.c.id.desc()) if newest_first else (first, table.c.id)
    return segment_rows(workspace, sa.and_(*conditions), order)


def days_of_segments(
    workspace: Workspace,
    scope: Scope,
    *,
    organisation: OrganisationId | None = None,
    first_day: int | None = None,
    last_day: int | None = None,
) -> dict[int, list[DayRecords]]:
    """The days of which the live segments have events, in order; of some days (since 1970) only, both included."""
    table, days = t.segments, t.segment_days
    query = (
        sa.select(days.c.segment_id, days.c.day, days.c.rows, days.c.first_us, days.c.last_us)
        .join(table, table.c.id == days.c.segment_id)
        .where(table.c.state == "live", within(scope, table.c.organisation_id))
        .order_by(days.c.segment_id, days.c.day)
    )
    if organisation is not None:
        query = query.where(table.c.organisation_id == organisation)
    if first_day is not None:
        query = query.where(days.c.day >= first_day)
    if last_day is not None:
        query = query.where(days.c.day <= last_day)
    found: dict[int, list[DayRecords]] = {}
    with workspace.read() as connection:
        for number, *of_day in connection.execute(query):
            found.setdefault(number, []).append(DayRecords(*of_day))
    return found


def segments_of_record(workspace: Workspace, scope: Scope, input_id: int, record: int) -> list[SegmentRow]:
    """The live segments that may hold one record: the way from a pointer to its evidence. Raises: NotFound."""
    input_by_id(workspace, scope, input_id)
    table = t.segment_inputs
    holding = sa.select(table.c.segment_id).where(
        table.c.input_id == input_id, table.c.first_record <= record, table.c.last_record >= record
    )
    return segment_rows(workspace, sa.and_(t.segments.c.state == "live", t.segments.c.id.in_(holding)))


def segment_rows(
    workspace: Workspace, condition: sa.ColumnElement[bool], order: Sequence[sa.ColumnElement[object]] = ()
) -> list[SegmentRow]:
    """Segments that fulfil a condition over ``tables.segments`` and ``tables.streams``. For the store's own use."""
    query = (
        sa.select(t.segments, t.streams.c.name.label("stream"))
        .join(t.streams, t.streams.c.id == t.segments.c.stream_id)
        .where(condition)
        .order_by(*(order or (t.segments.c.id,)))
    )
    with workspace.read() as connection:
        return [_segment_row(row) for row in seals.verified(t.segments, connection.execute(query))]


def _segment_row(row: sa.Row[Any]) -> SegmentRow:
    return SegmentRow(
        id=row.id,
        key=SegmentKey(
            organisation=OrganisationId(row.organisation_id),
            stream=row.stream,
            layout=row.layout,
            format=row.format,
            month=row.month,
        ),
        path=row.path,
        rows=row.rows,
        bytes=row.bytes,
        first_us=row.first_us,
        last_us=row.last_us,
        content_hash=row.content_hash,
        checks=row.checks,
        committed_us=row.committed_us,
    )


def quarantined(
    workspace: Workspace,
    scope: Scope,
    *,
    organisation: OrganisationId | None = None,
    first_us: int | None = None,
    until_us: int | None = None,
    limit: int = 1000,
) -> list[QuarantinedRow]:
    """What lies in quarantine, the newest first; ``first_us``, ``until_us``: between which moments it came in."""
    if organisation is not None:
        scope.check_read(organisation)
    table = t.quarantine
    query = sa.select(table).where(within(scope, table.c.organisation_id)).order_by(table.c.id.desc()).limit(limit)
    if organisation is not None:
        query = query.where(table.c.organisation_id == organisation)
    if first_us is not None:
        query = query.where(table.c.received_us >= first_us)
    if until_us is not None:
        query = query.where(table.c.received_us < until_us)
    with workspace.read() as connection:
        return quarantined_rows(connection, query)


def quarantined_rows(connection: sa.Connection, query: sa.Select[Any]) -> list[QuarantinedRow]:
    """What a question about ``tables.quarantine`` finds. For the store's own use. Raises: StorageError."""
    return [
        QuarantinedRow(
            id=row.id,
            organisation=OrganisationId(row.organisation_id),
            input_id=row.input_id,
            received_us=row.received_us,
            item=quarantined_item(row),
        )
        for row in seals.verified(t.quarantine, connection.execute(query))
    ]


def quarantined_item(row: sa.Row[Any]) -> Quarantined:
    """What a row of ``tables.quarantine`` or ``quarantine_retries`` holds. For the store's own use."""
    return Quarantined(
        file=row.file, record=row.record, offset=row.offset, code=row.code, reason=row.reason, data=row.data
    )


# --- pieces of SQL for the other modules of the store --------------------------------------------------------------


def within(scope: Scope, column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """The condition that a row belongs to an organisation that the scope may read."""
    readable = scope.readable()
    return sa.true() if readable is None else column.in_(readable)


def insert_for(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, which both databases write alike."""
    # The other database's part is not even loaded: it takes longer than many a question.
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def insert_unless_there(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that leaves rows alone that are there already."""
    return insert_for(connection, table).on_conflict_do_nothing()

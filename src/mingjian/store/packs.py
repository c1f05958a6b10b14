"""Packs: files of rules that somebody sent, to be looked through and tried before any of them counts.

A pack is kept with the job that reads it, in one transaction: whatever is killed when, it is read, and once. What is
in it counts for nothing until it is switched on (``store.rules.add_rules``). Packs belong to the workspace, as rules
do: who reaches every organisation may see them, and only who may change something everywhere may send them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import sqlalchemy as sa

from mingjian.errors import LimitExceeded, NotFound, NotPermitted
from mingjian.store import tables as t
from mingjian.store.audit import act, wait_for_turn
from mingjian.store.catalogue import Extra
from mingjian.store.jobs import Job, JobState, queue
from mingjian.store.scope import EVERYONE, Scope
from mingjian.store.workspace import Workspace, new_id

PACKS_MAX: Final = 200
"""So many packs are kept at a time …"""
PACKS_BYTES_MAX: Final = 512 * 1024 * 1024
"""… so large together, with what was read of them and found in trials. Beyond either, one has to be removed first."""
ROOM_HINT: Final = "remove packs that are no longer needed; rules that were switched on go on running"


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """A pack as a list shows it."""

    id: int
    public_id: str
    name: str
    by: str
    state: JobState
    """Of the job that reads it: ``done`` if its rules are there."""
    error: str
    done: int
    """So many of its files were looked at, of …"""
    total: int
    rules: int
    """Rules that can be used."""
    is_tried: bool
    created_us: int
    switched_on_us: int | None


_LISTED = (
    *(t.rule_packs.c[name] for name in ("id", "public_id", "name", "made_by", "created_us", "switched_on_us")),
    *(t.jobs.c[name] for name in ("state", "error", "segments_done", "segments_total", "results")),
    t.rule_packs.c.trial.is_not(None).label("is_tried"),
)


def keep_pack(workspace: Workspace, scope: Scope, name: str, content: bytes, *, by: str, request: str) -> Job:
    """Keep a pack, and queue the job that reads it. ``request`` is the job's; it names the pack by ``{pack}``.

    Raises:
        NotPermitted: the scope may not change something for every organisation.
        LimitExceeded: there are too many packs, or they are too large together.
    """
    public_id = new_id()
    values = {
        "public_id": public_id,
        "name": name,
        "made_by": by,
        "content": content,
        "created_us": workspace.clock_us(),
    }

    def beside(connection: sa.Connection, job_id: int) -> None:
        connection.execute(sa.insert(t.rule_packs).values({**values, "job_id": job_id}))
        _check_room(connection)

    return queue(workspace, scope, "pack", request=request.replace("{pack}", public_id), beside=beside)


def packs(workspace: Workspace, scope: Scope) -> list[Pack]:
    """List packs, the newest first; none for who does not see every organisation."""
    if scope.reads is not EVERYONE:
        return []
    query = sa.select(*_LISTED).join(t.jobs, t.jobs.c.id == t.rule_packs.c.job_id).order_by(t.rule_packs.c.id.desc())
    with workspace.read() as connection:
        return [_pack(row) for row in connection.execute(query)]


def pack_named(workspace: Workspace, scope: Scope, public_id: str) -> Pack:
    """One pack. Raises: NotFound."""
    query = (
        sa.select(*_LISTED)
        .join(t.jobs, t.jobs.c.id == t.rule_packs.c.job_id)
        .where(t.rule_packs.c.public_id == t.storable(public_id))
    )
    with workspace.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None or scope.reads is not EVERYONE:
        raise NotFound("there is no such pack of rules")
    return _pack(row)


def content_of(workspace: Workspace, scope: Scope, pack: Pack) -> bytes | None:
    """What was sent, as long as it was not read."""
    return _part(workspace, scope, pack, "content")


def rules_of(workspace: Workspace, scope: Scope, pack: Pack) -> bytes | None:
    """The rules of a pack, once it was read."""
    return _part(workspace, scope, pack, "rules")


def report_of(workspace: Workspace, scope: Scope, pack: Pack) -> bytes | None:
    """What came of reading it, once it was read."""
    return _part(workspace, scope, pack, "report")


def trial_of(workspace: Workspace, scope: Scope, pack: Pack) -> bytes | None:
    """What its rules find in history, once they were tried."""
    return _part(workspace, scope, pack, "trial")


def was_read(pack: Pack, rules: bytes, report: bytes) -> Extra:
    """Keep what is in a pack, in the place of what was sent. It raises LimitExceeded if there is no room."""
    return _written(pack, {"rules": rules, "report": report, "content": None})


def was_tried(pack: Pack, trial: bytes) -> Extra:
    """Keep what a trial found, in the place of what an earlier one did. It raises LimitExceeded, as above."""
    return _written(pack, {"trial": trial})


def is_switched_on(pack: Pack, now_us: int) -> Extra:
    """Note that rules of a pack were switched on."""
    return _written(pack, {"switched_on_us": now_us})


def remove_pack(workspace: Workspace, scope: Scope, public_id: str) -> Pack:
    """Forget a pack, and do not read it if that was still to be done. Its rules go on running if they do.

    Raises:
        NotFound: there is none.
        NotPermitted: the scope may not change something for every organisation.
    """
    pack = pack_named(workspace, scope, public_id)
    if scope.writes is not EVERYONE:
        raise NotPermitted(f"{scope.actor} may not do this for every organisation")
    table, jobs = t.rule_packs, t.jobs
    ended = {"state": "cancelled", "finished_us": workspace.clock_us()}
    with workspace.begin() as connection:
        job = connection.execute(sa.delete(table).where(table.c.id == pack.id).returning(table.c.job_id)).scalar()
        if job is None:
            raise NotFound("there is no such pack of rules")
        is_open = sa.and_(jobs.c.id == job, jobs.c.state.in_(("waiting", "running")))
        connection.execute(sa.update(jobs).where(is_open).values(ended))
        before = {"name": pack.name, "by": pack.by, "rules": pack.rules}
        act(workspace, connection, scope, "pack.removed", about=public_id, before=before)
    return pack


def forget_unread(workspace: Workspace) -> None:
    """Drop what was sent with packs whose job has ended without reading them: nobody will."""
    over = sa.select(t.jobs.c.id).where(t.jobs.c.state.in_(("failed", "cancelled", "done")))
    table = t.rule_packs
    with workspace.begin() as connection:
        ended = sa.update(table).where(table.c.content.is_not(None), table.c.job_id.in_(over))
        connection.execute(ended.values(content=None))


def _check_room(connection: sa.Connection) -> None:
    """Refuse what this transaction has written if packs are too many, or too large together. Raises: LimitExceeded."""
    # One at a time, so that two that are sent at once do not both find room.
    wait_for_turn(connection)
    columns = (t.rule_packs.c[name] for name in ("content", "rules", "report", "trial"))
    size = sum((sa.func.coalesce(sa.func.length(column), 0) for column in columns), sa.literal(0))
    several, kept = connection.execute(sa.select(sa.func.count(), sa.func.sum(size)).select_from(t.rule_packs)).one()
    if several > PACKS_MAX:
        raise LimitExceeded("PACKS_MAX", PACKS_MAX, hint=ROOM_HINT)
    if int(kept or 0) > PACKS_BYTES_MAX:
        raise LimitExceeded("PACKS_BYTES_MAX", PACKS_BYTES_MAX, hint=ROOM_HINT)


def _written(pack: Pack, values: dict[str, Any]) -> Extra:
    def write(connection: sa.Connection) -> None:
        connection.execute(sa.update(t.rule_packs).where(t.rule_packs.c.id == pack.id).values(values))
        if any(isinstance(value, bytes) for value in values.values()):
            _check_room(connection)

    return write


def _part(workspace: Workspace, scope: Scope, pack: Pack, column: str) -> bytes | None:
    if scope.reads is not EVERYONE:
        raise NotFound("there is no such pack of rules")
    with workspace.read() as connection:
        return connection.execute(
            sa.select(t.rule_packs.c[column]).where(t.rule_packs.c.id == pack.id)
        ).scalar_one_or_none()


def _pack(row: sa.Row[Any]) -> Pack:
    return Pack(
        id=row.id,
        public_id=row.public_id,
        name=row.name,
        by=row.made_by,
        state=row.state,
        error=row.error,
        done=row.segments_done,
        total=row.segments_total,
        rules=row.results,
        is_tried=bool(row.is_tried),
        created_us=row.created_us,
        switched_on_us=row.switched_on_us,
    )

"""Jobs: work over history that goes on after a restart, whatever ended the process that did it.

A job says what is to be run; what of it is done stands in the coverage, in the same transactions as the results. So a
job that was killed begins anew, finds what is missing, and nothing is done twice. One process at a time does jobs
(``worker``); another one that wants to is told so, and goes its way.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound, NotPermitted
from mingjian.store import tables as t
from mingjian.store.audit import act
from mingjian.store.catalogue import Extra, within
from mingjian.store.scope import EVERYONE, OrganisationId, Scope
from mingjian.store.workspace import Workspace, new_id

LOCK: Final = "hunt.lock"
ERROR_CHARACTERS_MAX: Final = 500

JobState: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled"]
JobKind: TypeAlias = Literal["rules", "indicators", "quarantine", "backup", "pack", "trial", "labels"]
HUNTS: Final[tuple[JobKind, ...]] = ("rules", "indicators")
"""What runs over history; the others are errands."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is to be run over history."""

    id: int
    public_id: str
    organisation: OrganisationId | None
    """None: over all of them."""
    kind: JobKind
    state: JobState
    rule_set_id: int | None
    indicator_set_id: int | None
    request: str
    """JSON of whoever asked."""
    segments_total: int
    segments_done: int
    results: int
    error: str
    created_us: int
    started_us: int | None
    finished_us: int | None


def queue(
    workspace: Workspace,
    scope: Scope,
    kind: JobKind,
    *,
    organisation: OrganisationId | None = None,
    rule_set_id: int | None = None,
    indicator_set_id: int | None = None,
    request: str = "{}",
    beside: Callable[[sa.Connection, int], None] | None = None,
) -> Job:
    """Put something on the list of what is to be run over history; what waits there already is not put there twice.

    ``beside`` writes what belongs to the job in the same transaction; it is given the number of the job.

    Raises:
        NotFound, NotPermitted: the scope does not reach the organisation, or not all of them.
    """
    _check(scope, organisation)
    with workspace.begin() as connection:
        row = queued(
            workspace, connection, scope, kind, organisation=organisation, rule_set_id=rule_set_id,
            indicator_set_id=indicator_set_id, request=request, beside=beside,
        )  # fmt: skip
    return _job(row)


def queued(
    workspace: Workspace,
    connection: sa.Connection,
    scope: Scope,
    kind: JobKind,
    *,
    organisation: OrganisationId | None = None,
    rule_set_id: int | None = None,
    indicator_set_id: int | None = None,
    request: str = "{}",
    beside: Callable[[sa.Connection, int], None] | None = None,
) -> sa.Row[Any]:
    """As ``queue``, within a transaction, as one of its last statements."""
    table = t.jobs
    same = sa.and_(
        table.c.state == "waiting",
        table.c.kind == kind,
        table.c.organisation_id.is_not_distinct_from(organisation),
        table.c.rule_set_id.is_not_distinct_from(rule_set_id),
        table.c.indicator_set_id.is_not_distinct_from(indicator_set_id),
        # Of an errand the request says what it is.
        sa.true() if kind in HUNTS else table.c.request == request,
    )
    row = connection.execute(sa.select(table).where(same).limit(1)).one_or_none()
    if row is not None:
        return row
    values = {
        "public_id": new_id(),
        "organisation_id": organisation,
        "kind": kind,
        "state": "waiting",
        "rule_set_id": rule_set_id,
        "indicator_set_id": indicator_set_id,
        "request": request,
        "progress": "{}",
        "error": "",
        "created_us": workspace.clock_us(),
    }
    row = connection.execute(sa.insert(table).values(values).returning(table)).one()
    if beside is not None:
        beside(connection, row.id)
    asked = {"kind": kind, "request": json.loads(request)}
    act(workspace, connection, scope, "job.queued", about=row.public_id, organisation=organisation, after=asked)
    return row


@contextmanager
def worker(workspace: Workspace) -> Generator[bool]:
    """Be the one process that does jobs; False if another one is. Jobs that its predecessor left behind wait again."""
    with (workspace.folder / LOCK).open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        with workspace.begin() as connection:
            connection.execute(sa.update(t.jobs).where(t.jobs.c.state == "running").values(state="waiting"))
        yield True


def next_job(workspace: Workspace, scope: Scope, kinds: Sequence[JobKind] = HUNTS) -> Job | None:
    """Take the job that waits for longest; it is running from now on. Only for the one who is ``worker``."""
    table = t.jobs
    now = workspace.clock_us()
    with workspace.begin() as connection:
        query = sa.select(table).where(table.c.state == "waiting", table.c.kind.in_(kinds)).order_by(table.c.id)
        row = next((row for row in connection.execute(query).all() if _may(scope, row.organisation_id)), None)
        if row is None:
            return None
        started = now if row.started_us is None else row.started_us
        update = sa.update(table).where(table.c.id == row.id).values(state="running", started_us=started)
        return _job(connection.execute(update.returning(table)).one())


def progressed(job_id: int, *, total: int, done: int, results: int) -> Extra:
    """How far a job has come, for the transaction that commits it."""

    def write(connection: sa.Connection) -> None:
        connection.execute(
            sa.update(t.jobs)
            .where(t.jobs.c.id == job_id)
            .values(segments_total=total, segments_done=done, results=results)
        )

    return write


def finish(
    workspace: Workspace, scope: Scope, job_id: int, state: Literal["done", "failed", "cancelled"], error: str = ""
) -> None:
    """End a job; one that has ended stays as it is. Raises: NotFound."""
    job = job_by_id(workspace, scope, job_id)
    values = {"state": state, "error": error[:ERROR_CHARACTERS_MAX], "finished_us": workspace.clock_us()}
    with workspace.begin() as connection:
        mine = sa.and_(t.jobs.c.id == job.id, t.jobs.c.state.in_(("waiting", "running")))
        ended = connection.execute(sa.update(t.jobs).where(mine).values(values)).rowcount
        if ended and state == "cancelled":
            before = {"kind": job.kind, "state": job.state}
            about, organisation = job.public_id, job.organisation
            act(workspace, connection, scope, "job.cancelled", about=about, organisation=organisation, before=before)


def job_by_id(workspace: Workspace, scope: Scope, job_id: int) -> Job:
    """One job. Raises: NotFound."""
    with workspace.read() as connection:
        row = connection.execute(sa.select(t.jobs).where(t.jobs.c.id == job_id)).one_or_none()
    if row is None or not _may(scope, row.organisation_id):
        raise NotFound("there is no such job")
    return _job(row)


def jobs(workspace: Workspace, scope: Scope, *, states: Iterable[JobState] | None = None) -> list[Job]:
    """List jobs, the newest first."""
    query = sa.select(t.jobs).order_by(t.jobs.c.id.desc())
    if states is not None:
        query = query.where(t.jobs.c.state.in_(list(states)))
    with workspace.read() as connection:
        return [_job(row) for row in connection.execute(query) if _may(scope, row.organisation_id)]


def last_ended_us(workspace: Workspace, scope: Scope) -> int:
    """When a job that may be seen ended last; 0 if none did. What is over between two looks shows in it."""
    query = sa.select(sa.func.max(t.jobs.c.finished_us)).where(within(scope, t.jobs.c.organisation_id))
    with workspace.read() as connection:
        return connection.execute(query).scalar_one() or 0


def _may(scope: Scope, organisation: int | None) -> bool:
    return scope.reads is EVERYONE if organisation is None else scope.may_read(OrganisationId(organisation))


def _check(scope: Scope, organisation: OrganisationId | None) -> None:
    if organisation is not None:
        scope.check_write(organisation)
    elif scope.writes is not EVERYONE:
        raise NotPermitted(f"{scope.actor} may not do this for every organisation")


def _job(row: sa.Row[Any]) -> Job:
    return Job(
        id=row.id,
        public_id=row.public_id,
        organisation=None if row.organisation_id is None else OrganisationId(row.organisation_id),
        kind=row.kind,
        state=row.state,
        rule_set_id=row.rule_set_id,
        indicator_set_id=row.indicator_set_id,
        request=row.request,
        segments_total=row.segments_total,
        segments_done=row.segments_done,
        results=row.results,
        error=row.error,
        created_us=row.created_us,
        started_us=row.started_us,
        finished_us=row.finished_us,
    )

"""What people decide about situations and detections: verdicts, splits, merges, owners, comments, tasks, incidents.

Splits and merges are kept as pins of detections, which grouping obeys however often it runs; undoing one takes its pins
out of force. Every decision is an entry of the situation's history and of the audit log, in the same transaction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec
import numpy as np
import sqlalchemy as sa

from mingjian.errors import ChangedMeanwhile, NotFound, SchemaError, StateError
from mingjian.store import situationtables as s
from mingjian.store import tables as t
from mingjian.store.audit import act as audited
from mingjian.store.catalogue import insert_for
from mingjian.store.detections import detection_by_id
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.situations import (
    PORTION,
    Resolution,
    SituationState,
    StoredSituation,
    add_act,
    core_ids,
    parts_of,
    situation_by_id,
    situation_by_number,
)
from mingjian.store.workspace import Workspace, new_id

if TYPE_CHECKING:
    import numpy.typing as npt

Numbers: TypeAlias = "npt.NDArray[np.int64]"
About: TypeAlias = Literal["situation", "incident", "detection"]

TEXT_CHARACTERS_MAX: Final = 10_000
"""So long may a comment, a task or a reason be."""
MERGED_MAX: Final = 100
"""So many situations are put together at once."""
HISTORY_MAX: Final = 1_000
RESOLUTIONS: Final[tuple[Resolution, ...]] = ("true_positive", "false_positive", "benign")


class SituationAct(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a situation's history."""

    public_id: str
    kind: str
    """``split``, ``merge``, ``undo``, ``state``, ``owner``, ``declared``, ``reopened``."""
    actor: str
    at_us: int
    details: Mapping[str, object]
    is_undone: bool
    can_be_undone: bool


class Comment(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wrote."""

    actor: str
    at_us: int
    text: str


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody is to do."""

    public_id: str
    text: str
    owner: str
    actor: str
    created_us: int
    due_us: int | None
    done_us: int | None


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A situation that a person has declared."""

    id: int
    public_id: str
    organisation: OrganisationId
    situation: str
    """Public id."""
    title: str
    state: SituationState
    owner: str
    actor: str
    """Who declared it."""
    created_us: int
    changed_us: int
    closed_us: int | None


class DetectionVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a detection."""

    state: SituationState
    resolution: Resolution
    reason: str
    actor: str
    at_us: int


def judged_away(workspace: Workspace, organisation: OrganisationId) -> list[int]:
    """Numbers of detections that a person called false or harmless."""
    table = s.detection_verdicts
    query = sa.select(table.c.detection_id).where(
        table.c.organisation_id == organisation,
        table.c.state == "closed",
        table.c.resolution.in_(("false_positive", "benign")),
    )
    with workspace.read() as connection:
        return sorted(connection.execute(query).scalars())


class Pinned(msgspec.Struct, frozen=True):
    """Detections (by their numbers) that a person wants in one situation, or apart."""

    together: tuple[Numbers, ...] = ()
    apart: tuple[tuple[Numbers, Numbers], ...] = ()


def pins_of(workspace: Workspace, organisation: OrganisationId) -> Pinned:
    """The splits and merges of an organisation that are in force, in the order in which they were made."""
    acts, pins = s.situation_acts, s.situation_pins
    query = (
        sa.select(acts.c.id, acts.c.kind, pins.c.detection_id, pins.c.side)
        .join(pins, pins.c.act_id == acts.c.id)
        .where(acts.c.organisation_id == organisation, acts.c.undone_by.is_(None))
        .order_by(acts.c.id, pins.c.detection_id)
    )
    sides: dict[tuple[int, str], tuple[list[int], list[int]]] = {}
    with workspace.read() as connection:
        for act, kind, detection, side in connection.execute(query):
            known = sides.setdefault((act, kind), ([], []))
            known[1 if side else 0].append(detection)
    together = tuple(np.array(one, np.int64) for (_, kind), (one, _) in sides.items() if kind == "merge")
    apart = tuple(
        (np.array(one, np.int64), np.array(other, np.int64))
        for (_, kind), (one, other) in sides.items()
        if kind == "split"
    )
    return Pinned(together, apart)


# --- what belongs together -------------------------------------------------------------------------------------------


def split(workspace: Workspace, scope: Scope, public_id: str, detections: Sequence[str]) -> StoredSituation:
    """Take detections (public ids) out of a situation; they stay apart from the rest, whatever is grouped later.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        SchemaError: the detections are not some, but not all, of those that hold it together.
    """
    situation = _writable(workspace, scope, public_id)
    with workspace.begin() as connection:
        core = core_ids(connection, situation.id)
        chosen = set(_numbers_of(connection, situation.organisation, detections)) & set(core)
        rest = [number for number in core if number not in chosen]
        if not chosen or not rest:
            hint = "those that stand beside it belong to whatever happened close to them"
            raise SchemaError("name some, but not all, of the detections that hold the situation together", hint=hint)
        details = {"detections": len(chosen)}
        now = workspace.clock_us()
        number = add_act(connection, situation.organisation, situation.id, "split", scope.actor, now, details)
        _pin(connection, number, 1, sorted(chosen))
        _pin(connection, number, 0, rest)
        audited(
            workspace, connection, scope, "situation.split", about=public_id, organisation=situation.organisation,
            after={"detections": len(chosen)},
        )  # fmt: skip
    return situation


def merge(workspace: Workspace, scope: Scope, public_id: str, others: Sequence[str]) -> StoredSituation:
    """Put situations of one organisation together; they stay so, whatever is grouped later.

    Splits that kept them apart are out of force as long as this one is in it.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        SchemaError: they are of different organisations, or there is only one.
    """
    situation = _writable(workspace, scope, public_id)
    several = [_writable(workspace, scope, other) for other in dict.fromkeys(others)][:MERGED_MAX]
    if any(each.organisation != situation.organisation for each in several):
        raise SchemaError("situations of different organisations cannot be put together")
    ids = {situation.id, *(each.id for each in several)}
    if len(ids) < 2:
        raise SchemaError("name another situation")
    pins, acts = s.situation_pins, s.situation_acts
    with workspace.begin() as connection:
        core = sorted({number for each in ids for number in core_ids(connection, each)})
        details = {"situations": [each.public_id for each in several]}
        now = workspace.clock_us()
        number = add_act(connection, situation.organisation, situation.id, "merge", scope.actor, now, details)
        for other in ids - {situation.id}:
            add_act(connection, situation.organisation, other, "merged", scope.actor, now, {"into": public_id})
        _pin(connection, number, 0, core)
        sides: dict[int, set[int]] = {}
        for start in range(0, len(core), PORTION):
            query = (
                sa.select(pins.c.act_id, pins.c.side)
                .join(acts, acts.c.id == pins.c.act_id)
                .where(
                    pins.c.detection_id.in_(core[start : start + PORTION]),
                    acts.c.kind == "split",
                    acts.c.undone_by.is_(None),
                )
                .distinct()
            )
            for act, side in connection.execute(query):
                sides.setdefault(act, set()).add(side)
        overruled = [act for act, both in sides.items() if len(both) == 2]
        if overruled:
            connection.execute(sa.update(acts).where(acts.c.id.in_(overruled)).values(undone_by=number))
        audited(
            workspace, connection, scope, "situation.merge", about=public_id, organisation=situation.organisation,
            after={"situations": len(ids)},
        )  # fmt: skip
    return situation


def undo(workspace: Workspace, scope: Scope, act_public_id: str) -> StoredSituation:
    """Take a split or merge back; splits that a merge overruled are in force again.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        StateError: it is undone already, or nothing that can be.
    """
    acts = s.situation_acts
    with workspace.begin() as connection:
        row = connection.execute(
            sa.select(acts, s.situations.c.public_id.label("situation"))
            .join(s.situations, s.situations.c.id == acts.c.situation_id)
            .where(acts.c.public_id == t.storable(act_public_id))
        ).one_or_none()
        if row is None:
            raise NotFound("there is no such act")
        organisation = OrganisationId(row.organisation_id)
        scope.check_write(organisation, "act")
        if row.kind not in ("split", "merge"):
            raise StateError("only a split or a merge can be undone")
        if row.undone_by is not None:
            raise StateError("this is not in force any more")
        now = workspace.clock_us()
        details = {"kind": row.kind, "act": act_public_id}
        number = add_act(connection, organisation, row.situation_id, "undo", scope.actor, now, details)
        connection.execute(sa.update(acts).where(acts.c.undone_by == row.id).values(undone_by=None))
        connection.execute(sa.update(acts).where(acts.c.id == row.id).values(undone_by=number))
        audited(
            workspace, connection, scope, "situation.undo", about=row.situation, organisation=organisation,
            after={"kind": row.kind},
        )  # fmt: skip
    return situation_by_number(workspace, row.situation_id)


def _pin(connection: sa.Connection, act: int, side: int, ids: Sequence[int]) -> None:
    if ids:
        rows = [{"act_id": act, "detection_id": number, "side": side} for number in ids]
        connection.execute(sa.insert(s.situation_pins), rows)


def _numbers_of(connection: sa.Connection, organisation: OrganisationId, public_ids: Sequence[str]) -> list[int]:
    table = t.detections
    wanted = [t.storable(each) for each in public_ids]
    found: list[int] = []
    for start in range(0, len(wanted), PORTION):
        query = sa.select(table.c.id).where(
            table.c.public_id.in_(wanted[start : start + PORTION]), table.c.organisation_id == organisation
        )
        found += connection.execute(query).scalars()
    return found


def _writable(workspace: Workspace, scope: Scope, public_id: str) -> StoredSituation:
    situation = situation_by_id(workspace, scope, public_id)
    scope.check_write(situation.organisation, "situation")
    if situation.is_emptied:
        hint = "comments, tasks and incidents stay; a detection of it that counts again brings it back"
        raise StateError("nothing of the situation is in the queue any more", hint=hint)
    return situation


# --- verdicts --------------------------------------------------------------------------------------------------------


def _checked(state: SituationState, resolution: Resolution) -> None:
    if (state == "closed") != (resolution in RESOLUTIONS):
        hint = ", ".join(RESOLUTIONS)
        raise SchemaError("whoever closes something says what it was, and nobody else does", hint=hint)


def set_state(
    workspace: Workspace,
    scope: Scope,
    public_id: str,
    state: SituationState,
    resolution: Resolution = "",
    *,
    reason: str = "",
    changed_us: int | None = None,
) -> StoredSituation:
    """Take a situation into work, close it with a verdict, or open it again.

    ``changed_us``: when it was changed last, as whoever changes it knows it.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        SchemaError: it is closed without a verdict, or has one without being closed.
        ChangedMeanwhile: it was changed since.
    """
    _checked(state, resolution)
    situation = _writable(workspace, scope, public_id)
    table = s.situations
    now = workspace.clock_us()
    is_closed = state == "closed"
    with workspace.begin() as connection:
        last = connection.execute(sa.select(sa.func.max(s.evidence.c.detection_id))).scalar_one()
        values = {
            "state": state,
            "resolution": resolution,
            "changed_us": now,
            "closed_us": now if is_closed else None,
            "closed_at_detection": (last or 0) if is_closed else None,
            "is_live": 1 if is_closed else 2,
        }
        _change(connection, table, situation.id, changed_us, values)
        details = {"before": situation.state, "state": state, "resolution": resolution, "reason": _text(reason)}
        add_act(connection, situation.organisation, situation.id, "state", scope.actor, now, details)
        audited(
            workspace, connection, scope, "situation.state", about=public_id, organisation=situation.organisation,
            before={"state": situation.state, "resolution": situation.resolution},
            after={"state": state, "resolution": resolution},
        )  # fmt: skip
    return situation_by_id(workspace, scope, public_id)


def _change(
    connection: sa.Connection, table: sa.Table, number: int, changed_us: int | None, values: Mapping[str, object]
) -> None:
    """Change a row, if it is still the one that was last changed then."""
    statement = sa.update(table).where(table.c.id == number).values(values)
    if changed_us is not None:
        statement = statement.where(table.c.changed_us == changed_us)
    if connection.execute(statement).rowcount != 1:
        raise ChangedMeanwhile("somebody else has changed this meanwhile", hint="read it again")


def set_owner(
    workspace: Workspace, scope: Scope, public_id: str, owner: str, *, changed_us: int | None = None
) -> StoredSituation:
    """Say whose a situation is; the empty text: nobody's.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        ChangedMeanwhile: it was changed after ``changed_us``.
    """
    situation = _writable(workspace, scope, public_id)
    table = s.situations
    now = workspace.clock_us()
    owner = owner.strip()[:200]
    with workspace.begin() as connection:
        _change(connection, table, situation.id, changed_us, {"owner": owner, "changed_us": now})
        details = {"before": situation.owner, "owner": owner}
        add_act(connection, situation.organisation, situation.id, "owner", scope.actor, now, details)
        audited(
            workspace, connection, scope, "situation.owner", about=public_id, organisation=situation.organisation,
            before={"owner": situation.owner}, after={"owner": owner},
        )  # fmt: skip
    return situation_by_id(workspace, scope, public_id)


def judge_detections(
    workspace: Workspace,
    scope: Scope,
    public_ids: Sequence[str],
    state: SituationState,
    resolution: Resolution = "",
    *,
    reason: str = "",
) -> list[OrganisationId]:
    """Say of detections what they are. False and harmless ones hold no situation any more.

    Gives the organisations whose detections have to be grouped anew.

    Raises:
        NotFound, NotPermitted: one of them is not there, or may not be changed; then nothing is changed.
        SchemaError: as ``set_state``.
    """
    _checked(state, resolution)
    table = t.detections
    now = workspace.clock_us()
    with workspace.begin() as connection:
        rows: list[tuple[int, int]] = []
        for start in range(0, len(public_ids), PORTION):
            some = [t.storable(each) for each in public_ids[start : start + PORTION]]
            query = sa.select(table.c.id, table.c.organisation_id).where(table.c.public_id.in_(some))
            rows += connection.execute(query)
        if len(rows) < len(set(public_ids)):
            raise NotFound("there is no such detection")
        for _, organisation in rows:
            scope.check_write(OrganisationId(organisation), "detection")
        insert = insert_for(connection, s.detection_verdicts)
        names = ("state", "resolution", "reason", "actor", "at_us")
        statement = insert.on_conflict_do_update(
            index_elements=[s.detection_verdicts.c.detection_id],
            set_={name: insert.excluded[name] for name in names},
        )
        told = {"state": state, "resolution": resolution, "reason": _text(reason), "actor": scope.actor, "at_us": now}
        if rows:
            connection.execute(
                statement, [{"detection_id": number, "organisation_id": owner, **told} for number, owner in rows]
            )
        owners = sorted({OrganisationId(owner) for _, owner in rows})
        for owner in owners:
            audited(
                workspace, connection, scope, "detection.judged", organisation=owner,
                after={"state": state, "resolution": resolution, "detections": len(rows)},
            )  # fmt: skip
    return owners


def verdicts_on(workspace: Workspace, scope: Scope, numbers: Sequence[int]) -> dict[int, DetectionVerdict]:
    """What people said of detections (by their numbers)."""
    table = s.detection_verdicts
    found: dict[int, DetectionVerdict] = {}
    with workspace.read() as connection:
        for start in range(0, len(numbers), PORTION):
            query = sa.select(table).where(table.c.detection_id.in_(numbers[start : start + PORTION]))
            for row in connection.execute(query):
                if scope.may_read(OrganisationId(row.organisation_id)):
                    found[row.detection_id] = DetectionVerdict(
                        state=row.state, resolution=row.resolution, reason=row.reason, actor=row.actor, at_us=row.at_us
                    )
    return found


def history_of(workspace: Workspace, situation: StoredSituation) -> list[SituationAct]:
    """What was done with a situation, and with those that became parts of it, the newest first."""
    acts = s.situation_acts
    query = (
        sa.select(acts)
        .where(acts.c.situation_id.in_(parts_of(situation.id)))
        .order_by(acts.c.id.desc())
        .limit(HISTORY_MAX)
    )
    with workspace.read() as connection:
        return [
            SituationAct(
                public_id=row.public_id,
                kind=row.kind,
                actor=row.actor,
                at_us=row.at_us,
                details=json.loads(row.details),
                is_undone=row.undone_by is not None,
                can_be_undone=row.kind in ("split", "merge") and row.undone_by is None,
            )
            for row in connection.execute(query)
        ]


# --- incidents, comments, tasks --------------------------------------------------------------------------------------


def declare(workspace: Workspace, scope: Scope, public_id: str, title: str, *, owner: str = "") -> Incident:
    """Declare an incident from a situation, which is in work from then on.

    Raises:
        NotFound, NotPermitted: there is no such situation, or it may not be changed.
        SchemaError: it has no title.
        StateError: it has been declared already.
    """
    situation = _writable(workspace, scope, public_id)
    if not title.strip():
        raise SchemaError("an incident needs a title")
    now = workspace.clock_us()
    table = s.incidents
    with workspace.begin() as connection:
        known = connection.execute(
            sa.select(table.c.public_id).where(table.c.situation_id == situation.id, table.c.state != "closed")
        ).first()
        if known is not None:
            raise StateError("an incident has been declared from this situation already")
        values = {
            "public_id": new_id(),
            "organisation_id": situation.organisation,
            "situation_id": situation.id,
            "title": _text(title),
            "state": "open",
            "owner": owner.strip()[:200],
            "actor": scope.actor,
            "created_us": now,
            "changed_us": now,
        }
        connection.execute(sa.insert(table).values(values))
        if situation.state != "in_work":
            connection.execute(
                sa.update(s.situations)
                .where(s.situations.c.id == situation.id)
                .values(
                    state="in_work", resolution="", is_live=2, closed_us=None, closed_at_detection=None, changed_us=now
                )
            )
        details = {"incident": values["public_id"]}
        add_act(connection, situation.organisation, situation.id, "declared", scope.actor, now, details)
        audited(
            workspace, connection, scope, "incident.declared", about=str(values["public_id"]),
            organisation=situation.organisation, after={"situation": public_id},
        )  # fmt: skip
    return incident_by_id(workspace, scope, str(values["public_id"]))


def concerned(first_us: int | None, until_us: int | None) -> sa.ColumnElement[bool]:
    """That an incident was declared in a period, or is about a situation of which something happened in it."""
    incident, about = s.incidents.c, s.situations.c
    declared = [] if first_us is None else [incident.created_us >= first_us]
    happened = [] if first_us is None else [about.last_us >= first_us]
    if until_us is not None:
        declared.append(incident.created_us < until_us)
        happened.append(about.first_us < until_us)
    return sa.or_(sa.and_(sa.true(), *declared), sa.and_(sa.true(), *happened))


def incidents(
    workspace: Workspace,
    scope: Scope,
    *,
    situation: StoredSituation | None = None,
    first_us: int | None = None,
    until_us: int | None = None,
    limit: int = 1_000,
) -> list[Incident]:
    """Incidents, the newest first; those of one situation, or all in the scope; of a period, if one is given."""
    table = s.incidents
    query = _incident_query().where(concerned(first_us, until_us)).order_by(table.c.id.desc()).limit(limit)
    if situation is not None:
        query = query.where(table.c.situation_id == situation.id)
    readable = scope.readable()
    if readable is not None:
        query = query.where(table.c.organisation_id.in_(readable))
    with workspace.read() as connection:
        return [_incident(row) for row in connection.execute(query)]


def incident_by_id(workspace: Workspace, scope: Scope, public_id: str) -> Incident:
    """One incident. Raises: NotFound."""
    with workspace.read() as connection:
        row = connection.execute(
            _incident_query().where(s.incidents.c.public_id == t.storable(public_id))
        ).one_or_none()
    if row is None or not scope.may_read(OrganisationId(row.organisation_id)):
        raise NotFound("there is no such incident")
    return _incident(row)


def change_incident(
    workspace: Workspace,
    scope: Scope,
    public_id: str,
    *,
    state: SituationState | None = None,
    owner: str | None = None,
    title: str | None = None,
    changed_us: int | None = None,
) -> Incident:
    """Change what is given. Raises: NotFound, NotPermitted; ChangedMeanwhile (after ``changed_us``)."""
    known = incident_by_id(workspace, scope, public_id)
    scope.check_write(known.organisation, "incident")
    now = workspace.clock_us()
    values: dict[str, object] = {"changed_us": now}
    if state is not None:
        values |= {"state": state, "closed_us": now if state == "closed" else None}
    if owner is not None:
        values["owner"] = owner.strip()[:200]
    if title is not None and title.strip():
        values["title"] = _text(title)
    with workspace.begin() as connection:
        _change(connection, s.incidents, known.id, changed_us, values)
        audited(
            workspace, connection, scope, "incident.changed", about=public_id, organisation=known.organisation,
            before={"state": known.state, "owner": known.owner},
            after={"state": state or known.state, "owner": known.owner if owner is None else owner},
        )  # fmt: skip
    return incident_by_id(workspace, scope, public_id)


def add_comment(workspace: Workspace, scope: Scope, about: About, public_id: str, text: str) -> None:
    """Write something about a situation, an incident or a detection.

    Raises:
        NotFound, NotPermitted: there is none, or it may not be changed.
        SchemaError: nothing was written.
    """
    if not text.strip():
        raise SchemaError("nothing was written")
    number, organisation = _subject(workspace, scope, about, public_id, write=True)
    values = {
        "organisation_id": organisation,
        "about": about,
        "about_id": number,
        "actor": scope.actor,
        "at_us": workspace.clock_us(),
        "text": _text(text),
    }
    with workspace.begin() as connection:
        connection.execute(sa.insert(s.case_comments).values(values))
        audited(workspace, connection, scope, f"{about}.comment", about=public_id, organisation=organisation)


def comments_on(workspace: Workspace, scope: Scope, about: About, public_id: str) -> list[Comment]:
    """What was written, the oldest first. Raises: NotFound."""
    number, _ = _subject(workspace, scope, about, public_id)
    table = s.case_comments
    query = (
        sa.select(table.c.actor, table.c.at_us, table.c.text)
        .where(table.c.about == about, table.c.about_id.in_(_with_parts(about, number)))
        .order_by(table.c.id)
        .limit(HISTORY_MAX)
    )
    with workspace.read() as connection:
        return [Comment(actor=row.actor, at_us=row.at_us, text=row.text) for row in connection.execute(query)]


def add_task(
    workspace: Workspace,
    scope: Scope,
    about: Literal["situation", "incident"],
    public_id: str,
    text: str,
    *,
    owner: str = "",
    due_us: int | None = None,
) -> str:
    """Give somebody something to do; give the task's public id. Raises: NotFound, NotPermitted, SchemaError."""
    if not text.strip():
        raise SchemaError("a task needs a text")
    number, organisation = _subject(workspace, scope, about, public_id, write=True)
    values = {
        "public_id": new_id(),
        "organisation_id": organisation,
        "about": about,
        "about_id": number,
        "text": _text(text),
        "owner": owner.strip()[:200],
        "actor": scope.actor,
        "created_us": workspace.clock_us(),
        "due_us": due_us,
    }
    with workspace.begin() as connection:
        connection.execute(sa.insert(s.case_tasks).values(values))
        audited(workspace, connection, scope, f"{about}.task", about=public_id, organisation=organisation)
    return str(values["public_id"])


def finish_task(workspace: Workspace, scope: Scope, public_id: str, *, done: bool = True) -> None:
    """Say that a task is done, or not. Raises: NotFound, NotPermitted."""
    table = s.case_tasks
    with workspace.begin() as connection:
        row = connection.execute(sa.select(table).where(table.c.public_id == t.storable(public_id))).one_or_none()
        if row is None:
            raise NotFound("there is no such task")
        scope.check_write(OrganisationId(row.organisation_id), "task")
        done_us = workspace.clock_us() if done else None
        connection.execute(sa.update(table).where(table.c.id == row.id).values(done_us=done_us))
        audited(
            workspace, connection, scope, "task.done" if done else "task.reopened", about=public_id,
            organisation=OrganisationId(row.organisation_id),
        )  # fmt: skip


def tasks_of(workspace: Workspace, scope: Scope, about: Literal["situation", "incident"], public_id: str) -> list[Task]:
    """What there is to do, the oldest first. Raises: NotFound."""
    number, _ = _subject(workspace, scope, about, public_id)
    table = s.case_tasks
    query = (
        sa.select(table)
        .where(table.c.about == about, table.c.about_id.in_(_with_parts(about, number)))
        .order_by(table.c.id)
        .limit(HISTORY_MAX)
    )
    with workspace.read() as connection:
        return [
            Task(
                public_id=row.public_id,
                text=row.text,
                owner=row.owner,
                actor=row.actor,
                created_us=row.created_us,
                due_us=row.due_us,
                done_us=row.done_us,
            )
            for row in connection.execute(query)
        ]


def _with_parts(about: About, number: int) -> sa.Select[tuple[int]] | list[int]:
    """A situation and those that became parts of it."""
    return [number] if about != "situation" else parts_of(number)


def _subject(
    workspace: Workspace, scope: Scope, about: About, public_id: str, *, write: bool = False
) -> tuple[int, OrganisationId]:
    if about == "situation":
        situation = situation_by_id(workspace, scope, public_id)
        number, organisation = situation.id, situation.organisation
    elif about == "incident":
        incident = incident_by_id(workspace, scope, public_id)
        number, organisation = incident.id, incident.organisation
    else:
        detection = detection_by_id(workspace, scope, public_id)
        number, organisation = detection.id, detection.organisation
    if write:
        scope.check_write(organisation, about)
    return number, organisation


def _incident_query() -> sa.Select[Any]:
    return sa.select(s.incidents, s.situations.c.public_id.label("situation")).join(
        s.situations, s.situations.c.id == s.incidents.c.situation_id
    )


def _incident(row: sa.Row[Any]) -> Incident:
    return Incident(
        id=row.id,
        public_id=row.public_id,
        organisation=OrganisationId(row.organisation_id),
        situation=row.situation,
        title=row.title,
        state=row.state,
        owner=row.owner,
        actor=row.actor,
        created_us=row.created_us,
        changed_us=row.changed_us,
        closed_us=row.closed_us,
    )


def _text(text: str) -> str:
    return text.strip()[:TEXT_CHARACTERS_MAX]

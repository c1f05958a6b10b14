"""Upkeep of the files: what the catalogue does not know goes, and what is older than it is to be kept.

Both need to be the one process that writes. A file that a reader may still have in view stays until nobody reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotPermitted, SchemaError, StorageError, shown
from mingjian.store import tables as t
from mingjian.store.audit import act
from mingjian.store.catalogue import SegmentRow, live_segments, within
from mingjian.store.scope import EVERYONE, OrganisationId, Scope
from mingjian.store.seals import complaints, verified
from mingjian.store.workspace import MARK, Workspace, sync_folder

RETENTION_DAYS_MAX: Final = 36_525
US_PER_DAY: Final = 86_400_000_000
DAMAGED: Final = "damaged"
"""The folder of a workspace in which what is left of damaged segments is kept."""
SHARED_KEPT_DAYS_MIN: Final = 180
"""A stream that is kept for fewer days has a segment for each day: so none of its events stays for longer."""
ENDED_TOGETHER: Final = 1000
"""So many segments are named in one statement."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How many days events of some streams are kept. Of several that fit, the one with the longest pattern counts."""

    stream_pattern: str
    """The name of a stream, or the beginning of names followed by ``*``."""
    days: int
    organisation: OrganisationId | None = None
    """None for all; one that names an organisation counts before one that does not."""

    def fits(self, organisation: OrganisationId, stream: str) -> bool:
        """Whether it is about a stream of an organisation."""
        if self.organisation not in (None, organisation):
            return False
        if self.stream_pattern.endswith("*"):
            return stream.startswith(self.stream_pattern[:-1])
        return stream == self.stream_pattern


class Cleaned(msgspec.Struct, frozen=True):
    """What ``clean`` removed, and what it left for the next time because somebody was reading."""

    strays: int
    ended: int
    left: int


def clean(workspace: Workspace) -> Cleaned:
    """Remove segments that no acknowledged event is in: those the catalogue never knew, and those that were replaced.

    To be called at the start of whatever writes: of what is being written the catalogue knows nothing yet.

    Raises:
        StateError: another process writes in the workspace.
        StorageError: a file cannot be removed; or the state database is damaged, and nothing is.
    """
    with workspace.writing(), workspace.alone() as nobody_reads:
        strays = ended = left = 0
        try:
            live, known = _known_paths(workspace)
            if any(name not in known for name in files_of_lake(workspace)):
                _check_before_removing(workspace)
            for path in _files(workspace.lake):
                name = path.relative_to(workspace.lake).as_posix()
                if name in live or path.name == MARK:
                    continue
                if name in known and not nobody_reads:
                    left += 1
                    continue
                path.unlink()
                sync_folder(path.parent)
                if name in known:
                    ended += 1
                else:
                    strays += 1
        except OSError as error:
            raise StorageError(f"a file cannot be removed: {error.strerror}", where=str(error.filename)) from error
    return Cleaned(strays, ended, left)


def remove_ended(workspace: Workspace, since_us: int | None) -> bool:
    """Remove the files of segments that were replaced or have expired, unless somebody reads just now.

    ``since_us``: only of those that ended then or later; of all if there is no such moment. It may be done while
    segments are being written. Returns whether nobody was reading, so that none of these files is left.

    Raises:
        StateError: another process writes in the workspace.
        StorageError: a file cannot be removed.
    """
    table = t.segments
    wanted = table.c.state != "live"
    if since_us is not None:
        wanted &= table.c.ended_us >= since_us
    with workspace.writing(), workspace.alone() as nobody_reads:
        if not nobody_reads:
            return False
        with workspace.read() as connection:
            rows = verified(table, connection.execute(sa.select(table).where(wanted)))
        try:
            # Nobody can read meanwhile. What a crash brings back, ``clean`` removes at the next start.
            for row in rows:
                (workspace.lake / row.path).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"a file cannot be removed: {error.strerror}", where=str(error.filename)) from error
    return True


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def files_of_lake(workspace: Workspace) -> list[str]:
    """Every file in the lake but the mark of the workspace, whether it counts or not; relative to the lake."""
    names = (path.relative_to(workspace.lake).as_posix() for path in _files(workspace.lake))
    return [name for name in names if name != MARK]


def _check_before_removing(workspace: Workspace) -> None:
    """Go on only if the database is whole: of one that is not, a segment may be unknown that counts."""
    if workspace.dialect == "sqlite":
        with workspace.read() as connection:
            if complaints(connection):
                hint = "mingjian doctor says what to do"
                raise StorageError("the state database is damaged: no segment is removed", hint=hint)


def _known_paths(workspace: Workspace) -> tuple[set[str], set[str]]:
    table = t.segments
    with workspace.read() as connection:
        rows = verified(table, connection.execute(sa.select(table)))
    return {row.path for row in rows if row.state == "live"}, {row.path for row in rows}


def last_ended_us(workspace: Workspace) -> int | None:
    """When the last of the segments ended that count no longer; None if all do."""
    with workspace.read() as connection:
        return connection.execute(sa.select(sa.func.max(t.segments.c.ended_us))).scalar_one()


def missing_segments(workspace: Workspace, scope: Scope) -> list[SegmentRow]:
    """Segments that the catalogue takes for live and whose file is not there, or not as long as it was."""
    return [row for row in live_segments(workspace, scope) if _size(workspace.lake / row.path) != row.bytes]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def set_aside(workspace: Workspace, scope: Scope, paths: Collection[str]) -> list[SegmentRow]:
    """Let segments that are damaged or missing count no longer, so that everything else goes on; give those.

    What is left of their files is kept in the folder ``damaged`` of the workspace. Their events are a hole from now on.

    Raises:
        StateError: another process writes in the workspace.
        StorageError: a file cannot be moved.
    """
    with workspace.writing():
        wanted = set(paths)
        rows = [row for row in live_segments(workspace, scope) if row.path in wanted]
        rows = [row for row in rows if scope.may_write(row.key.organisation)]
        for row in rows:
            path = workspace.lake / row.path
            try:
                if path.exists():
                    kept = workspace.folder / DAMAGED
                    kept.mkdir(exist_ok=True)
                    path.replace(kept / path.name)
                    sync_folder(kept)
                    sync_folder(path.parent)
            except OSError as error:
                raise StorageError(f"a file cannot be moved: {error.strerror}", where=str(path)) from error
        _end(workspace, rows, "lost")
    return rows


def _end(workspace: Workspace, rows: Sequence[SegmentRow], state: str) -> None:
    """Let segments count no longer."""
    ids = [row.id for row in rows]
    with workspace.begin() as connection:
        for start in range(0, len(ids), ENDED_TOGETHER):
            connection.execute(
                sa.update(t.segments)
                .where(t.segments.c.id.in_(ids[start : start + ENDED_TOGETHER]), t.segments.c.state == "live")
                .values(state=state, ended_us=workspace.clock_us())
            )


def set_retention(workspace: Workspace, scope: Scope, retention: Retention) -> None:
    """Say how long events are kept, in place of what was said for the same pattern; 0 days: for ever.

    Raises:
        NotFound, NotPermitted: the scope does not reach so far.
        SchemaError: not a pattern, or not a number of days.
    """
    if "*" in retention.stream_pattern[:-1] or not retention.stream_pattern:
        raise SchemaError(
            f"not a pattern of streams: {shown(retention.stream_pattern)}", hint="a name, or a beginning*"
        )
    if not 0 <= retention.days <= RETENTION_DAYS_MAX:
        raise SchemaError(f"events are kept for 0 to {RETENTION_DAYS_MAX} days, not {retention.days}")
    _check_reach(scope, retention.organisation)
    table = t.retention
    same = sa.and_(
        table.c.organisation_id.is_not_distinct_from(retention.organisation),
        table.c.stream_pattern == retention.stream_pattern,
    )
    with workspace.begin() as connection:
        connection.execute(sa.delete(table).where(same))
        if retention.days:
            connection.execute(
                sa.insert(table).values(
                    organisation_id=retention.organisation,
                    stream_pattern=retention.stream_pattern,
                    days=retention.days,
                    created_us=workspace.clock_us(),
                )
            )
        act(
            workspace, connection, scope, "retention.set",
            about=retention.stream_pattern, organisation=retention.organisation, after={"days": retention.days},
        )  # fmt: skip


def _check_reach(scope: Scope, organisation: OrganisationId | None) -> None:
    if organisation is not None:
        scope.check_write(organisation)
    elif scope.writes is not EVERYONE:
        raise NotPermitted(f"{scope.actor} may not say this for every organisation")


def retentions(workspace: Workspace, scope: Scope) -> list[Retention]:
    """What was said about how long events are kept: those that count first, first."""
    table = t.retention
    query = sa.select(table).where(sa.or_(table.c.organisation_id.is_(None), within(scope, table.c.organisation_id)))
    with workspace.read() as connection:
        rows = verified(table, connection.execute(query))
    found = [
        Retention(
            stream_pattern=row.stream_pattern,
            days=row.days,
            organisation=None if row.organisation_id is None else OrganisationId(row.organisation_id),
        )
        for row in rows
    ]
    return sorted(found, key=lambda each: (each.organisation is None, -len(each.stream_pattern), each.stream_pattern))


def _that_counts(said: Sequence[Retention], organisation: OrganisationId, stream: str) -> Retention | None:
    return next((each for each in said if each.fits(organisation, stream)), None)


def shares_days(said: Sequence[Retention], organisation: OrganisationId, stream: str) -> bool:
    """Whether quiet days of a stream may share a segment, going by ``retentions``.

    They go together then, when the last of them is old enough: not for streams that are kept for a short time only.
    """
    kept = _that_counts(said, organisation, stream)
    return kept is None or kept.days >= SHARED_KEPT_DAYS_MIN


def expire(workspace: Workspace, scope: Scope, *, today: int) -> list[SegmentRow]:
    """Let segments go that are older than they are to be kept; give those that went.

    A segment goes when its last event is old enough: one of several days of a month (``shares_days``) keeps the older
    ones for so much longer. The age of events without a time is counted from when they came in. Their sightings stay.
    The files go with the next ``clean``.

    Raises:
        StateError: another process writes in the workspace.
    """
    said = retentions(workspace, scope)
    gone: list[SegmentRow] = []
    with workspace.writing():
        for row in live_segments(workspace, scope):
            if not scope.may_write(row.key.organisation):
                continue
            kept = _that_counts(said, row.key.organisation, row.key.stream)
            day = row.committed_us // US_PER_DAY if row.last_day is None else row.last_day
            if kept is not None and day < today - kept.days:
                gone.append(row)
        if gone:
            _end(workspace, gone, "expired")
    return gone

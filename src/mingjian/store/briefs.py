"""What segments are, in columns: enough to decide which of a hundred thousand are worth reading.

A segment never changes what it is, so columns that were read once are kept, in memory and in the cache folder, and
only what came since is asked of the database.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.scope import Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.sightings.columns import Column
from mingjian.store.workspace import Workspace

NO_DAY: Final = np.iinfo(np.int64).max
"""In the place of the days of events that do not tell their time: they come last."""
WORKSPACES_MAX: Final = 8
"""The columns of so many workspaces are kept in memory."""
WRITTEN_MIN: Final = 2_000
"""The file is written anew when so many segments came since, and a twentieth of all."""
PORTION: Final = 500
SUFFIX: Final = ".briefs-2"

_table: Final = t.segments
_COLUMNS: Final = (
    *(_table.c.id, _table.c.organisation_id, _table.c.stream_id),
    *(_table.c.first_us, _table.c.last_us, _table.c.rows, _table.c.committed_us),
)


class Briefs(NamedTuple):
    """Some segments, in the order of their numbers; parallel columns."""

    ids: Column
    organisations: Column
    streams: Column
    """Numbers of streams: ``stream_names`` says what they are called."""
    days: Column
    """The day of the first event, in days since 1970 (UTC), or ``NO_DAY``."""
    last_days: Column
    """The same of the last one."""
    rows: Column

    def taken(self, which: Column) -> Briefs:
        """Those at some places."""
        return Briefs(*(column[which] for column in self))


_known: dict[str, Column] = {}
"""Of each workspace a row for each segment, as ``_COLUMNS``."""


def briefs_of(workspace: Workspace, scope: Scope, ids: Column, *, cache_folder: Path | None = None) -> Briefs:
    """What those of some segments are that the scope may read; ``ids`` rise, and are of live ones.

    Raises:
        StorageError: the database cannot be read.
    """
    if not len(ids):
        return Briefs(*(np.zeros(0, np.int64),) * 6)
    if len(ids) <= PORTION:
        rows = _asked(workspace, ids)
    else:
        known = _up_to_date(workspace, cache_folder)
        place = np.minimum(np.searchsorted(known[:, 0], ids), len(known) - 1)
        is_there = known[place, 0] == ids
        rows = known[place[is_there]]
        if not is_there.all():
            # Somebody else has committed numbers in another order than they were given out in.
            rows = np.concatenate([rows, _asked(workspace, ids[~is_there])])
            rows = rows[np.argsort(rows[:, 0], kind="stable")]
    readable = scope.readable()
    if readable is not None:
        rows = rows[np.isin(rows[:, 1], sorted(readable))]
    ids, organisations, streams, first_us, last_us, counts, _ = rows.T
    days, last_days = (np.where(each == NO_DAY, NO_DAY, each // US_PER_DAY) for each in (first_us, last_us))
    return Briefs(ids, organisations, streams, days, last_days, counts)


def stream_names(workspace: Workspace) -> dict[int, str]:
    """What streams are called, by number."""
    with workspace.read() as connection:
        rows = connection.execute(sa.select(t.streams.c.id, t.streams.c.name)).all()
    return {int(number): str(name) for number, name in rows}


def _asked(workspace: Workspace, ids: Column) -> Column:
    found: list[Column] = []
    with workspace.read() as connection:
        for start in range(0, len(ids), PORTION):
            query = sa.select(*_COLUMNS).where(_table.c.id.in_(ids[start : start + PORTION].tolist()))
            found.append(_as_columns(connection.execute(query.order_by(_table.c.id)).all()))
    return np.concatenate(found)


def _as_columns(rows: Any) -> Column:
    cells = [[NO_DAY if cell is None else cell for cell in row] for row in rows]
    return np.array(cells, np.int64).reshape(len(cells), len(_COLUMNS))


def _up_to_date(workspace: Workspace, cache_folder: Path | None) -> Column:
    """All segments there ever were, as far as anything still names them."""
    name = workspace.public_id
    known = _known.get(name)
    file = None if cache_folder is None else cache_folder / f"{name}{SUFFIX}"
    if known is None and file is not None:
        known = _read(file)
    if known is not None and not _is_of(workspace, known):
        known = None
    last = 0 if known is None else int(known[-1, 0])
    with workspace.read() as connection:
        query = sa.select(*_COLUMNS).where(_table.c.id > last).order_by(_table.c.id)
        new = _as_columns(connection.execute(query).all())
    both = new if known is None else np.concatenate([known, new]) if len(new) else known
    if len(_known) >= WORKSPACES_MAX:
        _known.clear()
    _known[name] = both
    if file is not None and len(new) > max(WRITTEN_MIN, len(both) // 20):
        _write(file, both)
    return both


def _is_of(workspace: Workspace, known: Column) -> bool:
    """Whether the last segment that is known is what it was: a backup may have been restored since."""
    query = sa.select(*_COLUMNS).where(_table.c.id == int(known[-1, 0]))
    with workspace.read() as connection:
        rows = _as_columns(connection.execute(query).all())
    return len(rows) == 1 and bool((rows[0] == known[-1]).all())


def _read(file: Path) -> Column | None:
    try:
        with file.open("rb") as stream:
            known = np.load(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = known.dtype == np.int64 and known.ndim == 2 and known.shape[1] == len(_COLUMNS) and len(known)
    return known if fits and (np.diff(known[:, 0]) > 0).all() else None


def _write(file: Path, known: Column) -> None:
    """Keep it for the next time, if that is possible."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=file.parent, suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            np.save(stream, known, allow_pickle=False)
        Path(part).replace(file)
    except OSError:
        return

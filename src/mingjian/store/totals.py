"""Totals of all detections: by day, level, organisation and rule. For pages that show them again and again.

A million detections are read once, into columns of some 50 bytes each, and then only what is new. So a total costs
milliseconds however many there are, and who asks next does not pay for whoever asked before.
"""

from __future__ import annotations

import functools
import io
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from pyarrow import csv

from mingjian.model.rules import LEVELS, Level
from mingjian.store import tables as t
from mingjian.store.arrow import Array, coded, one_array
from mingjian.store.browsing import DayCount, Noise
from mingjian.store.marks import LABELS_OF_DETECTIONS, mark
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.segments import US_PER_DAY
from mingjian.store.workspace import Workspace

if TYPE_CHECKING:
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

LOOK_S: Final = 2.0
"""So often it is looked whether there are others …"""
REST_FACTOR: Final = 20.0
"""… but so many times as long as the look before took it is not looked again."""
LATE_NUMBERS: Final = 100_000
"""A detection may be committed after others with higher numbers: so far back it is looked for such."""
ROWS_AT_ONCE: Final = 20_000
UNTIMED: Final = np.iinfo(np.int64).min
NAMES: Final = ("id", "organisation_id", "level", "time_us", "rule_id", "host")
HIDDEN: Final = "suppressed_by"
UTF8_BYTES_MAX: Final = 4
"""So many bytes a character has: what is read is one block, however it is written."""
_TEXTS: Final = ("level", "rule_id", "host")
_TEXT: Final = pa.dictionary(pa.int32(), pa.string())


class _Columns:
    """The detections that nothing hides, in the order of their numbers, and how many there are with the hidden ones."""

    def __init__(self) -> None:
        self.columns: list[Ints] = [np.zeros(0, np.int64) for _ in NAMES]
        self.hidden_ids: Ints = np.zeros(0, np.int64)
        self.hidden: tuple[int, int] = (0, 0)
        self.texts: dict[str, int] = {}
        self.labels = ""
        """The mark of their labels."""

    def __len__(self) -> int:
        return len(self.columns[0]) + len(self.hidden_ids)

    @property
    def last(self) -> int:
        """The highest number."""
        ids = self.columns[0]
        return max(int(ids[-1]) if len(ids) else 0, int(self.hidden_ids[-1]) if len(self.hidden_ids) else 0)


class Totals:
    """Counts detections. For the threads of one process."""

    def __init__(self, workspace: Workspace, clock_s: Callable[[], float] = time.monotonic) -> None:
        """``clock_s`` says when it is time to look again."""
        self._workspace = workspace
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._known = _Columns()
        self._has_looked = False
        self._look_again_s = -1e9

    def by_day(
        self, scope: Scope, first_day: int, last_day: int, *, organisation: OrganisationId | None = None
    ) -> list[DayCount]:
        """Detections by day of the event and level, in the order of days. Raises: StorageError."""
        known = self._now()
        level, day = known.columns[2], known.columns[3] // US_PER_DAY
        chosen = _of(known, scope, organisation) & (day >= first_day) & (day <= last_day)
        pairs, counts = np.unique(day[chosen] * len(LEVELS) + level[chosen], return_counts=True)
        found: list[tuple[int, int]] = list(zip(pairs.tolist(), counts.tolist(), strict=True))
        return [DayCount(pair // len(LEVELS), LEVELS[pair % len(LEVELS)], count) for pair, count in found]

    def by_level(self, scope: Scope, *, organisation: OrganisationId | None = None) -> dict[Level, int]:
        """Detections by level, the gravest first. Raises: StorageError."""
        known = self._now()
        counts = np.bincount(known.columns[2][_of(known, scope, organisation)], minlength=len(LEVELS))
        return {level: int(counts[LEVELS.index(level)]) for level in reversed(LEVELS)}

    def by_organisation(self, scope: Scope, first_day: int, last_day: int) -> list[tuple[OrganisationId, int, int]]:
        """Detections of medium level and above: organisation, day, count. Raises: StorageError."""
        known = self._now()
        day = known.columns[3] // US_PER_DAY
        chosen = _of(known, scope, None) & (day >= first_day) & (day <= last_day)
        chosen &= known.columns[2] >= LEVELS.index("medium")
        days = last_day - first_day + 1
        pairs, counts = np.unique(known.columns[1][chosen] * days + day[chosen] - first_day, return_counts=True)
        return [
            (OrganisationId(pair // days), pair % days + first_day, count)
            for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
        ]

    def by_rule(self, scope: Scope, *, organisation: OrganisationId | None = None) -> dict[str, Noise]:
        """How often each rule found something: rule id → counts. Raises: StorageError."""
        known = self._now()
        chosen = _of(known, scope, organisation)
        times, rules, hosts = (column[chosen] for column in known.columns[3:])
        counts = np.bincount(rules, minlength=1)
        on = np.bincount(np.unique(rules << 32 | hosts) >> 32, minlength=len(counts))
        last = np.full(len(counts), UNTIMED)
        np.maximum.at(last, rules, times)
        names = list(known.texts)
        return {
            names[rule]: Noise(
                rule_id=names[rule],
                count=int(counts[rule]),
                hosts=int(on[rule]),
                last_us=None if last[rule] == UNTIMED else int(last[rule]),
            )
            for rule in np.flatnonzero(counts).tolist()
        }

    # --- what there is -----------------------------------------------------------------------------------------------

    def _now(self) -> _Columns:
        # While somebody looks, nobody else waits for it, but for the first look.
        if not self._lock.acquire(blocking=not self._has_looked):
            return self._known
        try:
            if (now_s := self._clock_s()) >= self._look_again_s:
                begun_s = time.perf_counter()
                self._known = self._followed(self._known)
                self._has_looked = True
                took_s = time.perf_counter() - begun_s
                self._look_again_s = now_s + took_s + max(LOOK_S, REST_FACTOR * took_s)
            return self._known
        finally:
            self._lock.release()

    def _followed(self, known: _Columns) -> _Columns:
        """What is known with what is new; all of it anew if something went, was hidden, shown or labelled."""
        table = t.detections
        count = sa.select(sa.func.count(), sa.func.max(table.c.id)).select_from(table)
        hidden = sa.select(sa.func.count(), sa.func.sum(table.c.id)).where(table.c.suppressed_by.is_not(None))
        with self._workspace.read() as connection:
            there, last = (int(each or 0) for each in connection.execute(count).one())
            now = tuple(int(each or 0) for each in connection.execute(hidden).one())
            labels = mark(connection, LABELS_OF_DETECTIONS)
            if labels != known.labels:
                made = _read(connection, _Columns(), 0)
                made.labels = labels
                return made
            if (there, last, now) == (len(known), known.last, known.hidden):
                return known
            for after in (known.last, max(0, known.last - LATE_NUMBERS)):
                made = _read(connection, known, after)
                if (len(made), made.hidden) == (there, now):
                    return made
            made = _read(connection, _Columns(), 0)
            made.labels = labels
            return made


def _read(connection: sa.Connection, known: _Columns, after: int) -> _Columns:
    """What is known up to a number, and what stands behind it now."""
    table = t.detections
    made = _Columns()
    made.texts, made.labels = known.texts, known.labels
    kept = known.columns[0] <= after
    parts = [[column[kept]] for column in known.columns]
    hidden = [known.hidden_ids[known.hidden_ids <= after]]
    line = _line()
    while True:
        near = sa.select(table.c.id, line.label("line")).where(table.c.id > after).order_by(table.c.id)
        some = near.limit(ROWS_AT_ONCE).subquery()
        query = sa.select(sa.func.max(some.c.id), sa.func.aggregate_strings(some.c.line, "\n"))
        last, text = connection.execute(query).one()
        if last is None:
            break
        after = last
        columns, is_hidden = _columns(text, made.texts)
        hidden.append(columns[0][is_hidden])
        for column, values in zip(parts, columns, strict=True):
            column.append(values[~is_hidden])
    made.columns = [np.concatenate(column) for column in parts]
    made.hidden_ids = np.concatenate(hidden)
    made.hidden = len(made.hidden_ids), int(made.hidden_ids.sum())
    return made


def _line() -> sa.ColumnElement[str]:
    """A detection as a line of CSV: the database writes them and Arrow reads them, and other threads go on meanwhile.

    With an object of Python for each cell it takes three times as long, and nobody else gets anything done.
    """
    table = t.detections
    cells: list[sa.ColumnElement[str]] = []
    for name in (*NAMES, HIDDEN):
        if name in _TEXTS:
            cells.append(sa.literal('"').concat(sa.func.replace(table.c[name], '"', '""')).concat('"'))
        else:
            cells.append(sa.func.coalesce(sa.cast(table.c[name], sa.Text), ""))
    return functools.reduce(lambda line, cell: line.concat(",").concat(cell), cells)


def _columns(text: str, texts: dict[str, int]) -> tuple[list[Ints], Mask]:
    """Lines of CSV as columns, in the order of their numbers, and which of them are hidden."""
    types = {name: _TEXT if name in _TEXTS else pa.int64() for name in (*NAMES, HIDDEN)}
    table = csv.read_csv(
        io.BytesIO(text.encode()),
        csv.ReadOptions(column_names=list(types), use_threads=False, block_size=len(text) * UTF8_BYTES_MAX),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(column_types=types, strings_can_be_null=False),
    )
    level = {name: number for number, name in enumerate(LEVELS)}
    found: list[Ints] = []
    for name in NAMES:
        column = one_array(table.column(name))
        if name in _TEXTS:
            codes, distinct = coded(column)
            names = cast("list[str]", distinct)
            numbers = [level[each] if name == "level" else texts.setdefault(each, len(texts)) for each in names]
            found.append(np.array(numbers, np.int64)[codes])
        else:
            found.append(cast("Array", column.fill_null(UNTIMED)).to_numpy())
    is_hidden = one_array(table.column(HIDDEN)).is_valid().to_numpy(zero_copy_only=False)
    order = np.argsort(found[0])
    return [column[order] for column in found], is_hidden[order]


def _of(known: _Columns, scope: Scope, organisation: OrganisationId | None) -> Mask:
    """Which of them the scope may see, of an organisation or of all."""
    owners = known.columns[1]
    readable = scope.readable()
    chosen = np.ones(len(owners), np.bool_) if readable is None else np.isin(owners, readable)
    return chosen if organisation is None else chosen & (owners == organisation)

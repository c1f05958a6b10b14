"""What could not be seen: the holes in history that bear on one question, the most relevant first.

Nobody sends something every minute: what counts as a hole is a silence longer than what is usual for that host or
stream. A step from one day with events to the next is *usual* if steps of that length or longer are at least three
and at least a tenth of all its steps; a workstation that is off at weekends is not silent at weekends. What comes on
fewer than half of the days has no rhythm to break: for it, three times that long is usual.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.store import holes as stored
from mingjian.store.catalogue import SegmentRow, organisations
from mingjian.store.holes import DayRows, Presence
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

USUAL_STEPS_MIN: Final = 3
USUAL_SHARE: Final = 0.1
SPARSE_SHARE: Final = 0.5
SPARSE_FACTOR: Final = 3
ODD_GAP_DAYS: Final = 180
"""Few events so far away from all others are taken for wrong clocks, and do not stretch the time looked at …"""
ODD_SHARE: Final = 0.001
"""… if they are no more than this share of all events."""
FROM_THE_BEGINNING: Final = 1 << 40
"""How long a hole is that has no first day, for the order."""

HoleKind: TypeAlias = Literal[
    "not-run", "damaged", "never", "field", "no-organisation", "stream", "host-never", "host", "retention", "unread"
]
KINDS: Final[tuple[HoleKind, ...]] = (
    "not-run",
    "damaged",
    "never",
    "field",
    "no-organisation",
    "stream",
    "host",
    "host-never",
    "retention",
    "unread",
)
"""From what weighs most to what weighs least."""


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be seen."""

    kind: HoleKind
    what: str
    """The stream, the host, the log source: whatever the kind is about; several are divided by line feeds."""
    organisation: str = ""
    """Its name, if there are several."""
    first_day: int | None = None
    """Days since 1970 (UTC); None: from the beginning."""
    last_day: int | None = None
    """None: to this day."""
    count: int = 0
    """Segments not looked at, hosts, events removed, records in quarantine."""
    files: int = 0

    @property
    def days(self) -> int:
        """How many days it lasts, as far as both ends are known."""
        return 0 if self.first_day is None or self.last_day is None else self.last_day - self.first_day + 1


class Window(msgspec.Struct, frozen=True):
    """The days that history reaches over, both ends included."""

    first_day: int
    last_day: int


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked for, as far as it decides which holes bear on it."""

    streams: frozenset[str] | None = None
    """The streams of the lake in which it could have been; None for every one."""
    missing: tuple[str, ...] = ()
    """Log sources or kinds of observables that it needs and that no stream of the lake has."""
    fields: tuple[str, ...] = ()
    """Fields that it needs and that no stream of the lake has."""
    not_run: tuple[SegmentRow, ...] = ()
    """Segments that should have been looked at and were not (yet)."""
    damaged: tuple[SegmentRow, ...] = ()
    """Segments that could not be read."""
    needs_events: bool = True
    """Whether events that retention removed could have answered it; what is in the index is not removed."""
    first_day: int | None = None
    last_day: int | None = None
    organisation: OrganisationId | None = None


def window_of(days: Sequence[DayRows]) -> Window | None:
    """The days that history reaches over, without the few events that wrong clocks put far away.

    >>> window_of([DayRows(0, 1), DayRows(20_000, 5_000), DayRows(20_009, 1)])
    Window(first_day=20000, last_day=20009)
    """
    if not days:
        return None
    all_rows = sum(each.rows for each in days)
    first, last = 0, len(days) - 1
    before = 0
    for place, each in enumerate(days[:-1]):
        before += each.rows
        if days[place + 1].day - each.day > ODD_GAP_DAYS and before <= all_rows * ODD_SHARE:
            first = place + 1
    behind = 0
    for place in range(len(days) - 1, first, -1):
        behind += days[place].rows
        if days[place].day - days[place - 1].day > ODD_GAP_DAYS and behind <= all_rows * ODD_SHARE:
            last = place - 1
    return Window(days[first].day, days[last].day)


def usual_step(presence: Presence) -> int:
    """The longest step from one day to the next that is usual for a host or stream.

    >>> usual_step(Presence(organisation=1, name="a", days=30, first_day=0, last_day=36, gaps=((5, 11),)))
    1
    >>> gaps = ((1, 4), (6, 9), (11, 14))
    >>> usual_step(Presence(organisation=1, name="b", days=4, first_day=0, last_day=15, gaps=gaps))
    15
    """
    steps = sorted((last - first + 2 for first, last in presence.gaps), reverse=True)
    enough = max(USUAL_STEPS_MIN, USUAL_SHARE * (presence.days - 1))
    step = next((step for number, step in enumerate(steps, 1) if number >= enough), 1)
    silent = sum(last - first + 1 for first, last in presence.gaps)
    is_sparse = silent > SPARSE_SHARE * (presence.last_day - presence.first_day + 1)
    return step * SPARSE_FACTOR if is_sparse else step


def silences(presence: Presence, window: Window) -> list[tuple[int, int | None]]:
    """The ranges of days on which something was unusually silent; None if it is to this day."""
    usual = usual_step(presence)
    found: list[tuple[int, int | None]] = [gap for gap in presence.gaps if gap[1] - gap[0] + 2 > usual]
    if window.last_day - presence.last_day > usual:
        found.append((presence.last_day + 1, None))
    within = ((max(first, window.first_day), last) for first, last in found)
    return [
        (first, last)
        for first, last in within
        if first <= window.last_day and (last is None or last >= window.first_day)
    ]


def holes(workspace: Workspace, scope: Scope, question: Question) -> tuple[Window | None, list[Hole]]:
    """The time that history reaches over, and the holes in it that bear on a question, most relevant first."""
    window = window_of(stored.days_with_events(workspace, scope, question.organisation))
    if window is not None:
        low = window.first_day if question.first_day is None else max(question.first_day, window.first_day)
        high = window.last_day if question.last_day is None else min(question.last_day, window.last_day)
        window = Window(low, high) if low <= high else None
    finder = _Finder(workspace, scope, question, window)
    found = [
        *finder.not_looked_at(),
        *(Hole(kind="never", what=what) for what in question.missing),
        *(Hole(kind="field", what=what) for what in question.fields),
        *finder.organisations_without_events(),
        *finder.silent_streams(),
        *finder.silent_hosts(),
        *finder.removed(),
        *finder.unread(),
    ]
    return window, sorted(found, key=_rank)


def _rank(hole: Hole) -> tuple[int, bool, int, str]:
    """What lasts to this day comes before what is over, and what lasted longer before what was short."""
    if hole.first_day is not None and hole.last_day is None:
        return KINDS.index(hole.kind), False, hole.first_day, hole.what
    size = FROM_THE_BEGINNING if hole.first_day is None else hole.days
    return KINDS.index(hole.kind), True, -max(size, hole.count), hole.what


class _Finder:
    def __init__(self, workspace: Workspace, scope: Scope, question: Question, window: Window | None) -> None:
        self._workspace = workspace
        self._scope = scope
        self._question = question
        self._window = window
        known = organisations(workspace, scope)
        self._organisations = [each for each in known if question.organisation in (None, each.id)]
        self._names = {each.id: each.name if len(self._organisations) > 1 else "" for each in self._organisations}

    @cached_property
    def _streams(self) -> list[Presence]:
        """Every stream of every organisation, and when it was there."""
        return stored.streams_present(self._workspace, self._scope, self._question.organisation)

    def _is_asked(self, stream: str) -> bool:
        return self._question.streams is None or stream in self._question.streams

    def not_looked_at(self) -> Iterable[Hole]:
        """Segments that were not run, or cannot be read."""
        pairs: tuple[tuple[HoleKind, tuple[SegmentRow, ...]], ...] = (
            ("not-run", self._question.not_run),
            ("damaged", self._question.damaged),
        )
        for kind, rows in pairs:
            if rows:
                yield Hole(
                    kind=kind,
                    what="\n".join(sorted({row.key.stream for row in rows})),
                    first_day=min((row.first_day for row in rows if row.first_day is not None), default=None),
                    last_day=max((row.last_day for row in rows if row.last_day is not None), default=None),
                    count=sum(row.rows for row in rows),
                    files=len(rows),
                )

    def organisations_without_events(self) -> Iterable[Hole]:
        """Organisations of which nothing ever came in."""
        there = {each.organisation for each in self._streams}
        if not there:
            return
        for each in self._organisations:
            if each.id not in there:
                yield Hole(kind="no-organisation", what=each.name)

    def silent_streams(self) -> Iterable[Hole]:
        """Streams that came late, paused, or have stopped."""
        if self._window is None:
            return
        for presence in self._streams:
            if self._is_asked(presence.name):
                yield from self._silent("stream", presence, is_late=True)

    def silent_hosts(self) -> Iterable[Hole]:
        """Hosts that paused or have stopped, and hosts that never sent what is asked about."""
        if self._window is None:
            return
        asked = None if self._question.streams is None else sorted(self._question.streams)
        of_any = stored.hosts_present(self._workspace, self._scope, self._question.organisation)
        of_asked = of_any
        if asked is not None:
            of_asked = stored.hosts_present(self._workspace, self._scope, self._question.organisation, streams=asked)
        for presence in of_asked:
            yield from self._silent("host", presence, is_late=False)
        sending = {(each.organisation, each.name) for each in of_asked}
        never: dict[OrganisationId, list[str]] = {}
        for each in of_any:
            if (each.organisation, each.name) not in sending:
                never.setdefault(each.organisation, []).append(each.name)
        for organisation, names in never.items():
            if sending:
                what = "\n".join(names)
                yield Hole(
                    kind="host-never", what=what, organisation=self._names.get(organisation, ""), count=len(names)
                )

    def _silent(self, kind: Literal["stream", "host"], presence: Presence, *, is_late: bool) -> Iterable[Hole]:
        window = self._window
        assert window is not None
        organisation = self._names.get(presence.organisation, "")
        if is_late and presence.first_day - window.first_day >= usual_step(presence):
            last = min(presence.first_day - 1, window.last_day)
            yield Hole(kind=kind, what=presence.name, organisation=organisation, last_day=last)
        for first, last in silences(presence, window):
            yield Hole(kind=kind, what=presence.name, organisation=organisation, first_day=first, last_day=last)

    def removed(self) -> Iterable[Hole]:
        """What retention has removed."""
        if not self._question.needs_events:
            return
        for each in stored.expired(self._workspace, self._scope, self._question.organisation):
            if self._is_asked(each.stream):
                yield Hole(
                    kind="retention",
                    what=each.stream,
                    organisation=self._names.get(each.organisation, ""),
                    first_day=each.first_day,
                    last_day=each.last_day,
                    count=each.rows,
                )

    def unread(self) -> Iterable[Hole]:
        """What lies in quarantine: whatever it is, it was not looked at."""
        for each in stored.unread(self._workspace, self._scope, self._question.organisation):
            organisation = self._names.get(each.organisation, "")
            yield Hole(kind="unread", what="", organisation=organisation, count=each.records, files=each.files)

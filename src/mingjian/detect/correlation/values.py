"""What goes into a correlation and what comes out of it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from mingjian.model.detections import Detection
from mingjian.model.rules import Correlation

EVENTS_LISTED_MAX = 100
"""A correlation match lists so many of its events; all are counted."""
VALUES_LISTED_MAX = 100
"""A correlation match lists so many of the values that it counted."""
LATE_LISTED_MAX = 10
"""So many matches that came too late are kept as examples; all are counted."""

Leaves: TypeAlias = "tuple[str, ...]"
"""The texts of the leaves of one field of one event; empty if the field is missing or null."""


class Match(msgspec.Struct, frozen=True, gc=False):
    """One match of a single-event rule that a correlation refers to.

    ``(time_us, rule_id, file, record)`` is its identity: the same match given twice counts once.
    """

    time_us: int | None
    """Event time, microseconds since 1970 UTC; None (or beyond ± 2⁶²) if the event does not tell."""
    rule_id: str
    file: str
    """The file, or whatever else ``record`` is a number in. Events of one file with one time stand in record order."""
    record: int
    values: tuple[Leaves, ...] = ()
    """The leaves of each field that ``needed_fields`` names for the rule, in that order."""


class Contributor(msgspec.Struct, frozen=True):
    """One event of a correlation match, and the rule (or correlation) that it matched."""

    time_us: int
    rule_id: str
    file: str
    record: int


class CorrelationMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A window of one group for which a correlation's condition holds."""

    correlation_id: str
    group: tuple[tuple[str, str | None], ...]
    """Field (or alias) of ``group-by`` → its value as the first event of the window spells it; None: missing there."""
    time_us: int
    """Time of the event that completed the match."""
    first_us: int
    """Time of the first event of the window."""
    last_us: int
    """Time of the last event of the window (if ``closed``; else of the last one so far)."""
    value: float
    """What the condition was compared with, over the whole window."""
    count: int
    """How many events the window has."""
    events: tuple[Contributor, ...]
    """Some of them in order, at most 100; which ones is said in the reference, section 8."""
    completed_by: Contributor
    values: tuple[str, ...] = ()
    """``value_count``: the distinct values, ``value_percentile`` without a percentile: the rare ones; at most 100."""
    closed: bool = True
    """False for an early word: the condition holds for good, but more events of the same window may follow."""

    def detection(
        self, correlation: Correlation, *, file: str, host: str, account: str, atoms: tuple[str, ...]
    ) -> Detection:
        """What is told of it: a detection where the event is that completed it (``file``, ``host``, ``account``)."""
        matched = {name: value for name, value in self.group if value is not None}
        return Detection(
            time_us=self.time_us,
            level=correlation.level,
            rule_id=correlation.id,
            rule_title=correlation.title,
            kind="correlation",
            attack=correlation.attack,
            host=host,
            account=account,
            stream="",
            file=file,
            record=self.completed_by.record,
            matched=matched | {"count": str(self.count), "value": f"{self.value:g}"},
            atoms=atoms,
        )


class LateMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A match that came after its place in time had been decided; it takes no part."""

    match: Match
    late_by_us: int
    """How far it lies before the time up to which everything had been decided."""
    open_windows: tuple[str, ...]
    """Correlations for which a window that could have held it was not yet closed: there a count may be too low."""


class Losses(msgspec.Struct, kw_only=True):
    """What one correlation could not use, each by its name."""

    ungrouped: int = 0
    """Matches that have none of the ``group-by`` fields."""
    valueless: int = 0
    """Matches without a value (for sums, averages and percentiles: a number) in the field that is looked at."""
    duplicates: int = 0
    """Matches that had been given before."""
    combinations_cut: int = 0
    """Matches that belong to more groups, or bring more combinations of values, than ``COMBINATIONS_MAX``."""
    crowded: int = 0
    """Matches left out of a window because of ``MATCHES_PER_GROUP_MAX`` or ``VALUES_PER_WINDOW_MAX``."""
    overtaken: int = 0
    """Matches of an inner correlation that came after their time had been decided because of ``MATCHES_HELD_MAX``."""
    groups_evicted: int = 0
    """Groups forgotten because of ``GROUPS_MAX``, those without an event for longest first."""


class CorrelationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a correlator did not use, and why."""

    undated: dict[str, int]
    """Rule → number of its matches without a time: they cannot be correlated."""
    late: int
    late_examples: tuple[LateMatch, ...]
    released_early: int
    """Matches decided before their lateness was over because of ``MATCHES_HELD_MAX``; later ones may be late."""
    losses: dict[str, Losses]
    """Correlation → its losses."""


class Skipped(msgspec.Struct, frozen=True):
    """A correlation that cannot be used."""

    correlation_id: str
    reason: str

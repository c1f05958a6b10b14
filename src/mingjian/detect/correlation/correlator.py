"""All correlations together: event time, lateness, nesting, and a state that can be stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any, TypeAlias, cast

import msgspec

from mingjian.detect.correlation.plan import MICROSECONDS, Feed, plan_all
from mingjian.detect.correlation.tallies import Entry
from mingjian.detect.correlation.values import (
    LATE_LISTED_MAX,
    CorrelationMatch,
    CorrelationReport,
    LateMatch,
    Losses,
    Match,
    Skipped,
)
from mingjian.detect.correlation.windows import Key, SavedGroup, Windows
from mingjian.errors import ParseError, SchemaError
from mingjian.model.rules import Correlation

MATCHES_HELD_MAX = 1_000_000
"""So many matches wait for their time to be decided; then the older half is decided early, and counted."""
STATE_VERSION = 1
"""Changes whenever an older stored state cannot be read any more."""

FEED_STEP = 10_000
"""After so many matches of one call it is looked at what can be decided, so that a long run holds little."""

_FOREVER = 2**63 - 1
_TIME_LIMIT = 2**62
_Found: TypeAlias = "tuple[Key, CorrelationMatch]"


class _SavedWindows(msgspec.Struct, array_like=True):
    fingerprint: str
    held: list[Entry]
    groups: list[SavedGroup]
    losses: Losses
    decided_us: int


class _Saved(msgspec.Struct, array_like=True):
    version: int
    newest_us: int
    decided_us: int
    late: int
    released_early: int
    undated: dict[str, int]
    late_examples: list[LateMatch]
    correlations: dict[str, _SavedWindows]


class Correlator:
    """Follow any number of correlations over the matches of the rules that they refer to.

    ``lateness_s`` None: everything is held until ``flush``, and the order of feeding does not matter at all. Else a
    match may come up to so many seconds (of event time) after a later one; what is older than the newest match seen
    less the lateness is decided. As long as no match is later than that, neither the order nor the cutting into
    batches changes what is found.

    ``early``: also give each match of a correlation that cannot be undone as soon as its condition holds, with
    ``closed`` False; it is given again, with the whole window, when that is closed.
    """

    def __init__(
        self, correlations: Iterable[Correlation], *, lateness_s: float | None = None, early: bool = False
    ) -> None:
        plans, self.skipped = plan_all(correlations)
        self.skipped: list[Skipped]
        self._lateness_us = None if lateness_s is None else round(lateness_s * MICROSECONDS)
        self._windows: dict[str, Windows] = {}
        self._routes: dict[str, list[tuple[Windows, Feed]]] = {}
        for plan in plans:
            windows = self._windows[plan.correlation.id] = Windows(plan, early=early)
            for rule, feed in plan.feeds.items():
                self._routes.setdefault(rule, []).append((windows, feed))
        self._newest_us = -_TIME_LIMIT
        self._decided_us = -_TIME_LIMIT
        self._undated: dict[str, int] = {}
        self._late = 0
        self._late_examples: list[LateMatch] = []
        self._released_early = 0

    def feed(self, matches: Iterable[Match], *, now_us: int | None = None) -> list[CorrelationMatch]:
        """Take matches in any order; give what they and the passing of time have decided.

        Matches of rules that no correlation refers to are ignored. ``now_us`` is the time by the caller's clock: a
        match from the future then waits for its time instead of making all the others late. Ordered by time,
        correlation and group within one call.
        """
        found: list[_Found] = []
        remaining = iter(matches)
        while step := list(islice(remaining, FEED_STEP)):
            self._offer(step)
            if self._lateness_us is not None:
                until_us = self._newest_us if now_us is None else min(self._newest_us, now_us)
                self._decided_us = max(self._decided_us, until_us - self._lateness_us)
            if self._decided_us != -_TIME_LIMIT:
                found += self._advance(self._decided_us)
            while self._holding() > MATCHES_HELD_MAX:
                found += self._release()
        return _in_order(found)

    def flush(self) -> list[CorrelationMatch]:
        """Decide everything: no further match will come (one that does is late). Ordered like ``feed``."""
        self._decided_us = _FOREVER
        return _in_order(self._advance(_FOREVER))

    def report(self) -> CorrelationReport:
        """Tell what was not used, and why."""
        return CorrelationReport(
            undated=dict(self._undated),
            late=self._late,
            late_examples=tuple(self._late_examples),
            released_early=self._released_early,
            losses={name: windows.losses for name, windows in self._windows.items()},
        )

    def save(self) -> bytes:
        """Give the whole state as bytes, for ``restore``."""
        saved = _Saved(
            STATE_VERSION,
            self._newest_us,
            self._decided_us,
            self._late,
            self._released_early,
            self._undated,
            self._late_examples,
            {name: self._saved(windows) for name, windows in self._windows.items()},
        )
        return msgspec.msgpack.encode(_plain(msgspec.to_builtins(saved, enc_hook=_encoded)))

    @classmethod
    def restore(
        cls,
        data: bytes,
        correlations: Iterable[Correlation],
        *,
        lateness_s: float | None = None,
        early: bool = False,
    ) -> tuple[Correlator, Sequence[str]]:
        """Go on from a saved state, with the same or other correlations.

        A correlation goes on where it was if it still asks the same and gets the same fields; the ids of those that
        begin anew are given as well.

        Raises:
            ParseError: the bytes are no saved state.
            SchemaError: they are the state of another version.
        """
        try:
            tree: Any = msgspec.msgpack.decode(data)
            if not isinstance(tree, list) or not tree or tree[0] != STATE_VERSION:
                raise SchemaError("a saved correlation state of another version", hint="begin anew, or feed it again")
            saved = msgspec.convert(_restored(tree), _Saved, dec_hook=_decoded)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise ParseError("not a saved correlation state", hint=type(error).__name__) from error
        correlator = cls(correlations, lateness_s=lateness_s, early=early)
        correlator._newest_us, correlator._decided_us = saved.newest_us, saved.decided_us
        correlator._late, correlator._late_examples = saved.late, saved.late_examples
        correlator._released_early, correlator._undated = saved.released_early, saved.undated
        anew: list[str] = []
        for name, windows in correlator._windows.items():
            state = saved.correlations.get(name)
            if state is None or state.fingerprint != windows.plan.fingerprint:
                anew.append(name)
            else:
                windows.restore(state.held, state.groups, state.losses, state.decided_us)
        return correlator, anew

    def _offer(self, matches: Iterable[Match]) -> None:
        """Hand matches to the correlations that refer to their rules."""
        routes, decided_us, newest_us = self._routes, self._decided_us, self._newest_us
        for match in matches:
            route = routes.get(match.rule_id)
            if route is None:
                continue
            time_us = match.time_us
            if time_us is None or not decided_us <= time_us < _TIME_LIMIT:
                self._set_aside(match)
                continue
            if time_us > newest_us:
                newest_us = time_us
            for windows, feed in route:
                windows.offer(feed, time_us, match.file, match.record, match.values)
        self._newest_us = newest_us

    def _release(self) -> list[_Found]:
        """Decide the older half of what the correlation that holds most is holding, late matches or not."""
        before = self._holding()
        fullest = max(self._windows.values(), key=Windows.holding)
        fullest.decided_us = max(fullest.decided_us, fullest.middle_us() + 1)
        self._decided_us = max(self._decided_us, fullest.decided_us)
        found = self._advance(self._decided_us)
        self._released_early += before - self._holding()
        return found

    def _advance(self, decided_us: int) -> list[_Found]:
        """Decide everything before a time, the inner correlations first."""
        ends: dict[str, int] = {}
        found: list[_Found] = []
        for name, windows in self._windows.items():
            plan = windows.plan
            frontier_us = max(windows.decided_us, min([decided_us, *[ends[inner] for inner in plan.inner]]))
            windows.advance(frontier_us)
            # A match that waits for the end of its window is dated by an event in it: up to one timespan back.
            ends[name] = frontier_us if plan.prompt or frontier_us == _FOREVER else frontier_us - plan.span_us
            for up in windows.upward:
                for above, feed in self._routes.get(name, ()):
                    if up.entry.time_us < above.decided_us:
                        above.losses.overtaken += 1
                    else:
                        above.offer(feed, up.entry.time_us, up.entry.file, up.entry.record, up.values, up.tie)
            windows.upward.clear()
            found += windows.found
            windows.found.clear()
        return found

    def _set_aside(self, match: Match) -> None:
        """Count a match that has no place in time, or whose time is already decided."""
        if match.time_us is None or not -_TIME_LIMIT <= match.time_us < _TIME_LIMIT:
            self._undated[match.rule_id] = self._undated.get(match.rule_id, 0) + 1
            return
        self._late += 1
        if len(self._late_examples) < LATE_LISTED_MAX:
            still_open = [
                windows.plan.correlation.id
                for windows, _ in self._routes[match.rule_id]
                if match.time_us + windows.plan.span_us >= windows.decided_us
            ]
            late_by_us = self._decided_us - match.time_us
            self._late_examples.append(LateMatch(match=match, late_by_us=late_by_us, open_windows=tuple(still_open)))

    def _holding(self) -> int:
        return sum(windows.holding() for windows in self._windows.values())

    @staticmethod
    def _saved(windows: Windows) -> _SavedWindows:
        held = sorted(windows.held + windows.fresh)
        return _SavedWindows(windows.plan.fingerprint, held, windows.saved_groups(), windows.losses, windows.decided_us)


def _in_order(found: list[_Found]) -> list[CorrelationMatch]:
    found.sort(key=lambda one: (one[1].time_us, one[1].correlation_id, one[0], one[1].closed))
    return [match for _, match in found]


def _encoded(value: object) -> object:
    """Store an exact sum as its two whole numbers."""
    assert isinstance(value, Fraction)
    return f"{value.numerator}/{value.denominator}"


def _decoded(kind: type, value: Any) -> Fraction:
    assert kind is Fraction
    numerator, _, denominator = str(value).partition("/")
    if not int(denominator):
        raise ValueError("a sum with denominator zero")
    return Fraction(int(numerator), int(denominator))


def _plain(tree: Any) -> Any:
    """Make a tree that msgpack can hold: text that is not valid Unicode becomes bytes."""
    if isinstance(tree, str):
        return tree if tree.isascii() or _is_valid(tree) else tree.encode("utf-8", "surrogatepass")
    if isinstance(tree, dict):
        return {_plain(key): _plain(value) for key, value in cast(dict[Any, Any], tree).items()}
    if isinstance(tree, list | tuple):
        return [_plain(item) for item in cast(Sequence[Any], tree)]
    return tree


def _restored(tree: Any) -> Any:
    """Undo ``_plain``."""
    if isinstance(tree, bytes):
        return tree.decode("utf-8", "surrogatepass")
    if isinstance(tree, dict):
        return {_restored(key): _restored(value) for key, value in cast(dict[Any, Any], tree).items()}
    if isinstance(tree, list):
        return [_restored(item) for item in cast(list[Any], tree)]
    return tree


def _is_valid(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)

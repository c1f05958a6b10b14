"""The windows of one correlation: which events share one, when it is taken, and whether the condition holds.

Everything here happens in the order of event time; ``correlator`` sees to that.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import groupby, islice, product
from operator import attrgetter
from typing import TypeVar

import msgspec

from mingjian.detect.correlation.plan import Feed, Number, Plan, holds, test_of
from mingjian.detect.correlation.tallies import VALUES_PER_WINDOW_MAX, Entry, Shares, Tally, new_tally
from mingjian.detect.correlation.values import (
    EVENTS_LISTED_MAX,
    VALUES_LISTED_MAX,
    Contributor,
    CorrelationMatch,
    Leaves,
    Losses,
)
from mingjian.detect.leaves import fold, number_of

GROUPS_MAX = 100_000
"""One correlation follows so many groups at a time; then those without an event for longest are forgotten."""
MATCHES_PER_GROUP_MAX = 100_000
"""A window that is not yet taken holds so many events; then the oldest are left out of it."""
COMBINATIONS_MAX = 64
"""One event belongs to so many groups, and brings so many combinations of values, at most."""
CARRIED_MAX = 64
"""A correlation match shows those above it so many values of one field."""
MEMO_MAX = 100_000
"""So many distinct field values are kept folded; it only saves time."""

Key = tuple[str, ...]
"""A group, folded: ``""`` for null, else ``=`` and the value."""
Spelling = tuple[str | None, ...]
_T = TypeVar("_T")


class Window(msgspec.Struct):
    """A taken window: it holds every event of its group up to its end."""

    start_us: int
    end_us: int
    spelling: Spelling
    first: Entry
    last: Entry
    completed_by: Entry
    count: int = 0
    listed: list[Entry] = []
    seen: dict[str, str] = {}
    """Folded value → as first spelled; only those that are shown."""
    firsts: dict[str, int] = {}
    """With shares: folded value → place in ``listed`` of the first event that brought it."""
    quota: dict[int, int] = {}
    carried: list[dict[str, str]] = []


class SavedGroup(msgspec.Struct, array_like=True):
    """A group as it is stored."""

    key: Key
    pending: list[Entry]
    tally: Tally
    window: Window | None
    last_us: int


class Group:
    """What is known of one group: either a taken window, or the events that may yet make one."""

    __slots__ = ("last_us", "pending", "tally", "window")

    def __init__(self, tally: Tally) -> None:
        self.pending: deque[Entry] = deque()
        self.tally = tally
        self.window: Window | None = None
        self.last_us = 0


class Upward(msgspec.Struct, frozen=True):
    """A correlation match as the correlations above see it."""

    entry: Entry
    values: tuple[Leaves, ...]
    tie: Key


class Windows:
    """Follow one correlation through time.

    ``offer`` takes matches in any order, ``advance`` decides everything before a time. ``found`` and ``upward`` hold
    what was decided since they were last emptied.
    """

    def __init__(self, plan: Plan, *, early: bool) -> None:
        self.plan = plan
        self.early = early
        self.losses = Losses()
        self.decided_us = -(2**63)
        self.held: list[Entry] = []
        self.fresh: list[Entry] = []
        self.groups: dict[Key, Group] = {}
        self.deadlines: list[tuple[int, Key]] = []
        self.found: list[tuple[Key, CorrelationMatch]] = []
        self.upward: list[Upward] = []
        self._swept = 1_000
        self._memo: dict[tuple[Leaves, ...], tuple[tuple[Key, Spelling], ...]] = {}
        self._texts: dict[tuple[Leaves, ...], tuple[tuple[str, str], ...]] = {}
        self._numbers: dict[tuple[Leaves, ...], tuple[int | float, ...]] = {}
        self._lower_part = test_of(plan.lower)
        correlation = plan.correlation
        self._shares = correlation.type == "value_percentile" and correlation.percentile is None
        self._numeric = correlation.type.startswith("value_") and correlation.type != "value_count" and not self._shares
        self._by_rule = correlation.type.startswith("temporal")
        self._ordered = correlation.type == "temporal_ordered"
        self._rule_quota = max(1, EVENTS_LISTED_MAX // len(correlation.rules))

    # ── matches in ──────────────────────────────────────────────────────────────────────────────────────────────

    def offer(
        self, feed: Feed, time_us: int, file: str, record: int, values: tuple[Leaves, ...], tie: Key = ()
    ) -> None:
        """Take a match of one of the rules. It counts once its time is decided."""
        picked = tuple([values[i] for i in feed.groups])
        groups = self._memo.get(picked)
        if groups is None:
            groups = self._groups_of(picked)
        if not groups:
            self.losses.ungrouped += 1
            return
        texts: tuple[tuple[str, str], ...] | None = ()
        numbers: tuple[int | float, ...] | None = ()
        if feed.values:
            picked = tuple([values[i] for i in feed.values])
            if self._numeric:
                numbers = self._numbers.get(picked)
                if numbers is None:
                    numbers = self._numbers_of(picked)
            else:
                texts = self._texts.get(picked)
                if texts is None:
                    texts = self._texts_of(picked)
            if not texts and not numbers:
                self.losses.valueless += 1
                return
        carried = tuple([values[i] for i in feed.carried]) if feed.carried else ()
        self.fresh.append(Entry(time_us, file, record, feed.position, tie, groups, texts, numbers, carried))

    def _groups_of(self, picked: tuple[Leaves, ...]) -> tuple[tuple[Key, Spelling], ...]:
        if picked and not any(picked):
            return ()
        spellings: Iterable[Spelling] = product(*[leaves or (None,) for leaves in picked])
        groups: dict[Key, Spelling] = {}
        for spelling in self._some(spellings, math.prod(len(leaves) or 1 for leaves in picked)):
            groups.setdefault(tuple("" if leaf is None else "=" + fold(leaf) for leaf in spelling), spelling)
        if len(self._memo) >= MEMO_MAX:
            self._memo.clear()
        result = self._memo[picked] = tuple(groups.items())
        return result

    def _texts_of(self, picked: tuple[Leaves, ...]) -> tuple[tuple[str, str], ...]:
        known: dict[str, str] = {}
        for combination in self._some(product(*picked), math.prod(len(leaves) for leaves in picked)):
            text = " | ".join(combination)
            known.setdefault(fold(text), text)
        if len(self._texts) >= MEMO_MAX:
            self._texts.clear()
        result = self._texts[picked] = tuple(known.items())
        return result

    def _numbers_of(self, picked: tuple[Leaves, ...]) -> tuple[int | float, ...]:
        numbers = [_number(leaf) for leaves in picked for leaf in leaves]
        if len(self._numbers) >= MEMO_MAX:
            self._numbers.clear()
        result = self._numbers[picked] = tuple([number for number in numbers if number is not None])
        return result

    def _some(self, combinations: Iterable[_T], number: int) -> Iterator[_T]:
        if number > COMBINATIONS_MAX:
            self.losses.combinations_cut += 1
        return islice(combinations, COMBINATIONS_MAX)

    # ── time passes ─────────────────────────────────────────────────────────────────────────────────────────────

    def holding(self) -> int:
        """Count the matches that wait for their time to be decided."""
        return len(self.held) + len(self.fresh)

    def middle_us(self) -> int:
        """Give the time of the match in the middle of those that wait."""
        self._gather()
        return self.held[len(self.held) // 2].time_us

    def advance(self, frontier_us: int) -> int:
        """Decide everything before a time; say how many matches that were."""
        self.decided_us = frontier_us
        self._gather()
        ready = bisect_left(self.held, frontier_us, key=attrgetter("time_us"))
        if ready:
            entries = self.held[:ready]
            del self.held[:ready]
            if self._ordered:
                self._run_ordered(entries)
            else:
                self._run(entries)
        deadlines = self.deadlines
        while deadlines and deadlines[0][0] < frontier_us:
            self._pass(heapq.heappop(deadlines)[1], frontier_us)
        if len(self.groups) > 2 * self._swept:
            self._sweep(frontier_us)
        return ready

    def _gather(self) -> None:
        """Sort what is new into what is held; what lies before the first new match stays as it is."""
        fresh, held = self.fresh, self.held
        if fresh:
            fresh.sort()
            at = bisect_left(held, fresh[0])
            fresh += held[at:]
            fresh.sort()
            held[at:] = fresh
            self.fresh = []

    def _run(self, entries: list[Entry]) -> None:
        step = self._step
        for entry in self._once(entries):
            for key, spelling in entry.groups:
                step(key, spelling, entry)

    def _run_ordered(self, entries: list[Entry]) -> None:
        """Like ``_run``, but events of one time in different files stand in the order that favours the rule."""
        for _, same_time in groupby(self._once(entries), key=attrgetter("time_us")):
            slot = list(same_time)
            if len(slot) == 1 or slot[0].file == slot[-1].file:
                for entry in slot:
                    for key, spelling in entry.groups:
                        self._step(key, spelling, entry)
                continue
            members: dict[Key, list[Entry]] = {}
            for entry in slot:
                for key, _ in entry.groups:
                    members.setdefault(key, []).append(entry)
            for key, some in members.items():
                for entry in _favourable(some):
                    self._step(key, dict(entry.groups)[key], entry)

    def _once(self, entries: list[Entry]) -> Iterator[Entry]:
        """Leave out what was given twice: in the order of events it is its own neighbour."""
        time_us, record, before = None, None, None
        for entry in entries:
            if (
                entry.record == record
                and entry.time_us == time_us
                and before is not None
                and entry.position == before.position
                and entry.file == before.file
                and entry.tie == before.tie
            ):
                self.losses.duplicates += 1
                continue
            time_us, record, before = entry.time_us, entry.record, entry
            yield entry

    def _step(self, key: Key, spelling: Spelling, entry: Entry) -> None:
        """One more event of a group."""
        time_us = entry.time_us
        group = self.groups.get(key)
        if group is None:
            group = self._new_group(key, time_us)
        group.last_us = time_us
        window = group.window
        if window is not None:
            if time_us <= window.end_us:
                self._absorb(window, group.tally, entry)
                return
            self._close(key, group, window)
        pending, tally, plan = group.pending, group.tally, self.plan
        if pending:
            if plan.anchored:
                anchor = pending[0]
                self._settle(key, group, time_us)
                if pending and pending[0] is not anchor:
                    heapq.heappush(self.deadlines, (pending[0].time_us + plan.span_us, key))
                tally = group.tally
            else:
                since_us = time_us - plan.span_us
                while pending and pending[0].time_us < since_us:
                    tally.remove(pending.popleft())
            if len(pending) >= MATCHES_PER_GROUP_MAX:
                tally.remove(pending.popleft())
                self.losses.crowded += 1
        pending.append(entry)
        if not tally.add(entry):
            self.losses.crowded += 1
        if plan.anchored:
            if len(pending) == 1:
                heapq.heappush(self.deadlines, (time_us + plan.span_us, key))
        elif self._lower_part(tally.reach(pending[0].time_us)):
            self._take(key, group, entry)

    # ── windows open and close ──────────────────────────────────────────────────────────────────────────────────

    def _take(self, key: Key, group: Group, completed_by: Entry) -> Window:
        """Make the pending events of a group a window; until its end, further ones belong to it."""
        pending = group.pending
        first = pending[0]
        start_us, end_us = first.time_us, first.time_us + self.plan.span_us
        spelling = next(spelled for folded, spelled in first.groups if folded == key)
        window = Window(start_us, end_us, spelling, first, first, completed_by)
        window.carried = [{} for _ in self.plan.carried]
        for entry in pending:
            self._collect(window, entry)
            self._carry(window, entry)
        pending.clear()
        group.window = window
        if not self.plan.anchored:
            heapq.heappush(self.deadlines, (end_us, key))
        if self.plan.prompt:
            self._tell_above(window, key)
            if self.early and not self.plan.correlation.hidden:
                self.found.append((key, self._match(window, group.tally, closed=False)))
        return window

    def _absorb(self, window: Window, tally: Tally, entry: Entry) -> None:
        if not tally.add(entry):
            self.losses.crowded += 1
        self._collect(window, entry)
        if not self.plan.prompt:
            window.completed_by = entry
            self._carry(window, entry)

    def _close(self, key: Key, group: Group, window: Window) -> None:
        """No further event can belong to the window: give the verdict, and begin anew."""
        tally = group.tally
        if isinstance(tally, Shares):
            verdict = bool(tally.rare(self.plan.condition))
        else:
            verdict = holds(self.plan.condition, tally.reach(window.start_us))
        if verdict:
            if not self.plan.correlation.hidden:
                self.found.append((key, self._match(window, tally, closed=True)))
            if not self.plan.prompt:
                self._tell_above(window, key)
        group.window = None
        group.tally = new_tally(self.plan)

    def _settle(self, key: Key, group: Group, now_us: int) -> None:
        """Sums: decide every window that had its last event before ``now_us``, the earliest first."""
        pending, tally, plan = group.pending, group.tally, self.plan
        while pending and pending[0].time_us + plan.span_us < now_us:
            anchor_us = pending[0].time_us
            if self._lower_part(tally.reach(anchor_us)):
                self._close(key, group, self._take(key, group, pending[-1]))
                return
            while pending and pending[0].time_us == anchor_us:
                tally.remove(pending.popleft())

    def _pass(self, key: Key, now_us: int) -> None:
        """A deadline is over: close what ended before ``now_us``."""
        group = self.groups.get(key)
        if group is None:
            return
        if group.window is not None:
            if group.window.end_us < now_us:
                self._close(key, group, group.window)
        elif self.plan.anchored:
            self._settle(key, group, now_us)
            if group.pending:
                heapq.heappush(self.deadlines, (group.pending[0].time_us + self.plan.span_us, key))
        if group.window is None and not group.pending:
            del self.groups[key]

    def _new_group(self, key: Key, now_us: int) -> Group:
        if len(self.groups) >= GROUPS_MAX:
            self._sweep(now_us)
            if len(self.groups) >= GROUPS_MAX:
                self._evict()
        group = self.groups[key] = Group(new_tally(self.plan))
        return group

    def _sweep(self, now_us: int) -> None:
        """Forget the groups that no event from ``now_us`` on can share a window with."""
        span_us = self.plan.span_us
        for key, group in [item for item in self.groups.items() if item[1].last_us + span_us < now_us]:
            self._end(key, group)
        self._swept = max(1_000, len(self.groups))

    def _evict(self) -> None:
        """Forget the tenth of the groups that have been silent for longest; what they have taken is reported."""
        stalest = heapq.nsmallest(GROUPS_MAX // 10, self.groups.items(), key=lambda item: (item[1].last_us, item[0]))
        for key, group in stalest:
            self._end(key, group)
        self.losses.groups_evicted += len(stalest)

    def _end(self, key: Key, group: Group) -> None:
        if group.window is not None:
            self._close(key, group, group.window)
        elif self.plan.anchored:
            self._settle(key, group, 2**63)
        del self.groups[key]

    # ── what is said about a window ─────────────────────────────────────────────────────────────────────────────

    def _collect(self, window: Window, entry: Entry) -> None:
        """Count an event, and list it if it is one of those worth listing."""
        window.count += 1
        window.last = entry
        if self._shares:
            new = [value for value in entry.texts if value[0] not in window.seen]
            if new and len(window.seen) < VALUES_PER_WINDOW_MAX:
                window.seen.update(new)
                window.firsts.update((folded, len(window.listed)) for folded, _ in new)
                window.listed.append(entry)
            return
        if len(window.listed) >= EVENTS_LISTED_MAX:
            return
        if self._by_rule:
            used = window.quota[entry.position] = window.quota.get(entry.position, 0) + 1
            if used > self._rule_quota:
                return
        elif entry.texts:
            new = [value for value in entry.texts if value[0] not in window.seen]
            if not new:
                return
            window.seen.update(new)
        window.listed.append(entry)

    def _carry(self, window: Window, entry: Entry) -> None:
        for known, leaves in zip(window.carried, entry.carried, strict=True):
            for leaf in leaves:
                if len(known) < CARRIED_MAX:
                    known.setdefault(fold(leaf), leaf)

    def _match(self, window: Window, tally: Tally, *, closed: bool) -> CorrelationMatch:
        plan = self.plan
        if isinstance(tally, Shares):
            rare = tally.rare(plan.condition)
            value = float(min(rare.values()))
            events = [window.listed[place] for place in sorted({window.firsts[folded] for folded in rare})]
            shown = [text for folded, text in window.seen.items() if folded in rare]
        else:
            value = _double(tally.reach(window.start_us))
            events, shown = window.listed, list(window.seen.values())
        return CorrelationMatch(
            correlation_id=plan.correlation.id,
            group=tuple(zip(plan.correlation.group_by, window.spelling, strict=True)),
            time_us=window.completed_by.time_us,
            first_us=window.first.time_us,
            last_us=window.last.time_us,
            value=value,
            count=window.count,
            events=tuple([self._contributor(entry) for entry in events[:EVENTS_LISTED_MAX]]),
            completed_by=self._contributor(window.completed_by),
            values=tuple(shown[:VALUES_LISTED_MAX]),
            closed=closed,
        )

    def _tell_above(self, window: Window, key: Key) -> None:
        plan = self.plan
        known = dict(zip(plan.carried, (tuple(values.values()) for values in window.carried), strict=True))
        for name, spelled in zip(plan.correlation.group_by, window.spelling, strict=True):
            known[name] = () if spelled is None else (spelled,)
        self.upward.append(Upward(window.completed_by, tuple(known[name] for name in plan.exposed), key))

    def _contributor(self, entry: Entry) -> Contributor:
        return Contributor(entry.time_us, self.plan.correlation.rules[entry.position], entry.file, entry.record)

    # ── state ───────────────────────────────────────────────────────────────────────────────────────────────────

    def saved_groups(self) -> list[SavedGroup]:
        """Give every group as it is stored."""
        return [SavedGroup(key, list(g.pending), g.tally, g.window, g.last_us) for key, g in self.groups.items()]

    def restore(self, held: list[Entry], groups: list[SavedGroup], losses: Losses, decided_us: int) -> None:
        """Take up a stored state."""
        self.held, self.losses, self.decided_us = held, losses, decided_us
        for saved in groups:
            group = self.groups[saved.key] = Group(saved.tally)
            group.pending.extend(saved.pending)
            group.window, group.last_us = saved.window, saved.last_us
            if saved.window is not None:
                self.deadlines.append((saved.window.end_us, saved.key))
            elif self.plan.anchored and saved.pending:
                self.deadlines.append((saved.pending[0].time_us + self.plan.span_us, saved.key))
        heapq.heapify(self.deadlines)
        self._swept = max(1_000, len(self.groups))


def _favourable(slot: list[Entry]) -> list[Entry]:
    """Order events of one time: record order within a file, across files the rule named first comes first."""
    queues = [deque(some) for _, some in groupby(slot, key=attrgetter("file"))]
    heads = [(queue[0].position, at) for at, queue in enumerate(queues)]
    heapq.heapify(heads)
    ordered: list[Entry] = []
    while heads:
        _, at = heapq.heappop(heads)
        ordered.append(queues[at].popleft())
        if queues[at]:
            heapq.heappush(heads, (queues[at][0].position, at))
    return ordered


def _number(leaf: str) -> int | float | None:
    """The number that a text spells: whole ones within 64 bits exactly, all others as doubles."""
    number = number_of(leaf)
    if number is None or (isinstance(number, int) and -(2**63) <= number < 2**63):
        return number
    return float(number) if math.isfinite(number) else None


def _double(value: Number) -> float:
    """The nearest double of a number; infinite if it is too great for one."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, 1 if value > 0 else -1)

"""What a window amounts to, kept up to date as events come and go.

A tally is told every event of a window in order (``add``), may be told that the oldest is no longer in it
(``remove``), and says what the window amounts to (``reach``). ``Chain``, ``Mean``, ``Samples`` and ``Shares`` never
need ``remove``: the first finds older events out by their time, the others belong to windows that do not move.
"""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec

from mingjian.detect.correlation.plan import Bounds, Number, Plan, holds

VALUES_PER_WINDOW_MAX = 100_000
"""A window keeps so many distinct values or samples; further ones are left out and counted."""
_LONG_AGO_US = -(2**63)
_WHOLE_MAX = 2**62


class Entry(msgspec.Struct, frozen=True, array_like=True, order=True, gc=False):
    """A match as one correlation sees it. The order of its first five fields is the order of events."""

    time_us: int
    file: str
    record: int
    position: int
    """Place of its rule in the correlation's ``rules``."""
    tie: tuple[str, ...]
    """Tells matches of one inner correlation apart that were completed by the same event: their group."""
    groups: tuple[tuple[tuple[str, ...], tuple[str | None, ...]], ...]
    """Each group that it belongs to: folded, and as it is spelled here."""
    texts: tuple[tuple[str, str], ...]
    """The values that are counted: folded, and as they are spelled here."""
    numbers: tuple[int | float, ...]
    """The values that are reckoned with."""
    carried: tuple[tuple[str, ...], ...]


class Count(msgspec.Struct, tag="count"):
    """How many events."""

    number: int = 0

    def add(self, entry: Entry) -> bool:  # every tally is told in the same way
        """Take an event in."""
        self.number += 1
        return True

    def remove(self, entry: Entry) -> None:
        """Let the oldest event go."""
        self.number -= 1

    def reach(self, since_us: int) -> Number:
        """Say what the window amounts to."""
        return self.number


def _counted(counts: dict[str, int], entry: Entry) -> bool:
    """Count the values of an event; False if one had to be left out."""
    complete = True
    for folded, _ in entry.texts:
        if folded in counts:
            counts[folded] += 1
        elif len(counts) < VALUES_PER_WINDOW_MAX:
            counts[folded] = 1
        else:
            complete = False
    return complete


class Distinct(msgspec.Struct, tag="distinct"):
    """How many distinct values."""

    counts: dict[str, int] = {}

    def add(self, entry: Entry) -> bool:
        """Take an event in; False if a value of it had to be left out."""
        return _counted(self.counts, entry)

    def remove(self, entry: Entry) -> None:
        """Let the oldest event go."""
        for folded, _ in entry.texts:
            left = self.counts.get(folded, 0) - 1
            if left > 0:
                self.counts[folded] = left
            else:
                self.counts.pop(folded, None)

    def reach(self, since_us: int) -> Number:
        """Say what the window amounts to."""
        return len(self.counts)


class Sources(msgspec.Struct, tag="sources"):
    """How many different rules."""

    counts: dict[int, int] = {}

    def add(self, entry: Entry) -> bool:
        """Take an event in."""
        self.counts[entry.position] = self.counts.get(entry.position, 0) + 1
        return True

    def remove(self, entry: Entry) -> None:
        """Let the oldest event go."""
        left = self.counts[entry.position] - 1
        if left:
            self.counts[entry.position] = left
        else:
            del self.counts[entry.position]

    def reach(self, since_us: int) -> Number:
        """Say what the window amounts to."""
        return len(self.counts)


class Chain(msgspec.Struct, tag="chain"):
    """How many rules can be found one after the other, in the order in which the correlation names them."""

    starts: list[list[int]]
    """``starts[length][position]``: the latest time at which a chain of that length ending in that rule begins."""
    least: int
    """Chains that cannot grow to this length any more are not of interest until it is reached."""

    def add(self, entry: Entry) -> bool:
        """Take an event in: it may end a chain that is one rule longer."""
        starts, position = self.starts, entry.position
        shortest = max(1, self.least - (len(starts) - 2 - position))
        for length in range(position + 1, shortest - 1, -1):
            before = entry.time_us if length == 1 else max(starts[length - 1][length - 2 : position])
            if before > starts[length][position]:
                starts[length][position] = before
        return True

    def remove(self, entry: Entry) -> None:
        """Nothing: a chain is dated by its start."""

    def reach(self, since_us: int) -> Number:
        """Say what the window that begins at a time amounts to."""
        starts = self.starts
        return next((n for n in range(len(starts) - 1, 0, -1) if max(starts[n]) >= since_us), 0)


class Total(msgspec.Struct, tag="total"):
    """The sum of all numbers, exactly."""

    whole: int = 0
    """Whole numbers; what grows beyond 62 bits moves to ``rest``, because the stored state has 64."""
    rest: Fraction = Fraction(0)
    number: int = 0
    """How many numbers."""

    def add(self, entry: Entry) -> bool:
        """Take an event in."""
        for value in entry.numbers:
            if isinstance(value, int):
                self.whole += value
            else:
                self.rest += Fraction(value)
        self.number += len(entry.numbers)
        if not -_WHOLE_MAX < self.whole < _WHOLE_MAX:
            self.rest += self.whole
            self.whole = 0
        return True

    def remove(self, entry: Entry) -> None:
        """Let the oldest event go."""
        for value in entry.numbers:
            if isinstance(value, int):
                self.whole -= value
            else:
                self.rest -= Fraction(value)
        self.number -= len(entry.numbers)

    def reach(self, since_us: int) -> Number:
        """Say what the window amounts to."""
        return self.rest + self.whole if self.rest else self.whole


class Mean(Total, tag="mean"):
    """The average of all numbers, exactly."""

    def reach(self, since_us: int) -> Number:
        """Say what the window amounts to."""
        return (self.rest + self.whole) / max(self.number, 1)


class Samples(msgspec.Struct, tag="samples"):
    """The smallest number to which at least a given per cent of all are equal or below (nearest rank)."""

    percentile: float
    numbers: list[int | float] = []

    def add(self, entry: Entry) -> bool:
        """Take an event in; False if a number of it had to be left out."""
        room = VALUES_PER_WINDOW_MAX - len(self.numbers)
        self.numbers += entry.numbers[:room]
        return len(entry.numbers) <= room

    def remove(self, entry: Entry) -> None:
        """Nothing: its windows do not move."""

    def reach(self, since_us: int) -> Number:
        """Say what the window amounts to."""
        if not self.numbers:
            return 0
        rank = math.ceil(Fraction(self.percentile) / 100 * len(self.numbers))
        return Fraction(sorted(self.numbers)[max(rank, 1) - 1])


class Shares(msgspec.Struct, tag="shares"):
    """How many of the events have each value."""

    counts: dict[str, int] = {}
    number: int = 0

    def add(self, entry: Entry) -> bool:
        """Take an event in; False if a value of it had to be left out."""
        self.number += 1
        return _counted(self.counts, entry)

    def remove(self, entry: Entry) -> None:
        """Nothing: its windows do not move."""

    def reach(self, since_us: int) -> Number:
        """Say nothing: a share belongs to a value, not to a window."""
        return 0

    def rare(self, condition: Bounds) -> dict[str, Fraction]:
        """Give the share, in per cent, of every value for whose share the condition holds."""
        shares = {value: Fraction(100 * count, self.number) for value, count in self.counts.items()}
        return {value: share for value, share in shares.items() if holds(condition, share)}


Tally = Count | Distinct | Sources | Chain | Total | Mean | Samples | Shares


def new_tally(plan: Plan) -> Tally:
    """Make an empty tally of the kind that a correlation needs."""
    correlation = plan.correlation
    match correlation.type:
        case "event_count":
            return Count()
        case "value_count":
            return Distinct()
        case "temporal":
            return Sources()
        case "temporal_ordered":
            rules = len(correlation.rules)
            return Chain([[_LONG_AGO_US] * rules for _ in range(rules + 1)], least=_least(plan))
        case "value_sum":
            return Total()
        case "value_avg":
            return Mean()
        case "value_percentile":
            return Shares() if correlation.percentile is None else Samples(correlation.percentile)


def _least(plan: Plan) -> int:
    """The shortest chain worth knowing: what a prompt correlation must reach, else any."""
    rules = len(plan.correlation.rules)
    return rules if plan.condition == (("gte", rules),) else 1

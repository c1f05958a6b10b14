"""What a correlation asks, checked and taken apart before the first match comes in."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from hashlib import blake2b

import msgspec

from mingjian.detect.correlation.values import Skipped
from mingjian.model.rules import Correlation

RULES_MAX = 1_000
"""A correlation refers to at most so many rules."""
ORDERED_RULES_MAX = 100
"""A correlation that asks for their order refers to at most so many: it remembers the square of that per group."""
GROUP_FIELDS_MAX = 32
"""A correlation groups by at most so many fields."""
DEPTH_MAX = 10
"""Correlations feed correlations over at most so many steps."""

MICROSECONDS = 1_000_000

Bounds = tuple[tuple[str, float], ...]
Number = int | Fraction

COUNTING = frozenset({"event_count", "value_count", "temporal", "temporal_ordered"})
"""Types whose value cannot fall when an event is added to a window."""

_COMPARE: dict[str, Callable[[Number, float], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}


def holds(bounds: Bounds, value: Number) -> bool:
    """Whether every part of a condition is true of a value, compared exactly.

    >>> holds((("gt", 100), ("lte", 200)), 200), holds((), 7)
    (True, True)
    """
    return all(_COMPARE[op](value, bound) for op, bound in bounds)


def test_of(bounds: Bounds) -> Callable[[Number], bool]:
    """Make of a condition a function that is quick where there is one part or none.

    >>> test_of((("gt", 2),))(3)
    True
    """
    if not bounds:
        return lambda value: True
    if len(bounds) == 1:
        op, bound = bounds[0]
        compare = _COMPARE[op]
        return lambda value: compare(value, bound)
    return lambda value: holds(bounds, value)


class Feed(msgspec.Struct, frozen=True):
    """How a correlation reads the matches of one of its rules: places in ``Match.values``."""

    position: int
    """Place of the rule in the correlation's ``rules``."""
    groups: tuple[int, ...]
    values: tuple[int, ...]
    carried: tuple[int, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A correlation, ready to run."""

    correlation: Correlation
    span_us: int
    condition: Bounds
    lower: Bounds
    """The part of the condition that decides which window is taken (section 2 of the reference)."""
    prompt: bool
    """The first event with which the lower part holds decides: no later event can change the verdict."""
    anchored: bool
    """The lower part is only known when a window is closed (sums, whose value can fall)."""
    feeds: dict[str, Feed]
    inner: tuple[str, ...]
    """The correlations among its rules."""
    exposed: tuple[str, ...]
    """The fields that correlations above want to see of its matches."""
    carried: tuple[str, ...]
    """Those of them that it does not group by: collected from the events of the window."""
    fingerprint: str
    """Equal for plans whose saved states are interchangeable."""


def needed_fields(correlations: Iterable[Correlation]) -> dict[str, tuple[str, ...]]:
    """Tell, for each rule that a usable correlation refers to, the fields that its matches must carry, in order.

    Correlations among the references are not in the answer, the rules below them are.
    """
    plans, _ = plan_all(correlations)
    inner = {plan.correlation.id for plan in plans}
    wanted = _wanted([plan.correlation for plan in plans])
    return {rule: fields for rule, fields in wanted.items() if rule not in inner}


def plan_all(correlations: Iterable[Correlation]) -> tuple[list[Plan], list[Skipped]]:
    """Plan every usable correlation, each after those that it refers to; name the others with the reason."""
    by_id: dict[str, Correlation] = {}
    skipped: list[Skipped] = []
    for correlation in correlations:
        problem = _problem(correlation)
        if correlation.id in by_id:
            skipped.append(Skipped(correlation.id, "another correlation has the same id"))
        elif problem is not None:
            skipped.append(Skipped(correlation.id, problem))
        else:
            by_id[correlation.id] = correlation
    _drop_dependents(by_id, skipped)
    ordered = _in_order(by_id, skipped)
    wanted = _wanted(ordered)
    return [_plan(correlation, by_id, wanted) for correlation in ordered], skipped


def _drop_dependents(by_id: dict[str, Correlation], skipped: list[Skipped]) -> None:
    """Take out what refers to a correlation that was skipped."""
    pending = [skip.correlation_id for skip in skipped if skip.correlation_id not in by_id]
    while pending:
        bad = pending.pop()
        for dependent in [c for c in by_id.values() if bad in c.rules]:
            del by_id[dependent.id]
            skipped.append(Skipped(dependent.id, f"refers to {bad}, which cannot be used"))
            pending.append(dependent.id)


def _in_order(by_id: dict[str, Correlation], skipped: list[Skipped]) -> list[Correlation]:
    """Order by depth; what is left over refers to itself in a circle, or is nested too deeply."""
    placed: dict[str, Correlation] = {}
    for _ in range(DEPTH_MAX):
        layer = [
            c for c in by_id.values() if c.id not in placed and all(r in placed or r not in by_id for r in c.rules)
        ]
        placed.update((c.id, c) for c in layer)
    for left in [c for c in by_id.values() if c.id not in placed]:
        skipped.append(Skipped(left.id, f"refers to itself, or nests deeper than DEPTH_MAX ({DEPTH_MAX})"))
        del by_id[left.id]
    return list(placed.values())


def _problem(c: Correlation) -> str | None:
    """Say why a correlation cannot be used, whatever the others are."""
    value_type = c.type.startswith("value_")
    share = c.type == "value_percentile" and c.percentile is None
    tests = (
        (not c.rules, "refers to no rule"),
        (len(c.rules) > RULES_MAX, f"refers to more rules than RULES_MAX allows ({RULES_MAX})"),
        (
            c.type == "temporal_ordered" and len(c.rules) > ORDERED_RULES_MAX,
            f"asks for the order of more rules than ORDERED_RULES_MAX ({ORDERED_RULES_MAX})",
        ),
        (len(set(c.rules)) < len(c.rules), "refers to a rule twice"),
        (c.timespan_s <= 0, "the timespan is not positive"),
        (
            len(c.group_by) > GROUP_FIELDS_MAX,
            f"groups by more fields than GROUP_FIELDS_MAX allows ({GROUP_FIELDS_MAX})",
        ),
        (not c.bounds and not c.type.startswith("temporal"), "has no condition"),
        (not all(math.isfinite(bound) for _, bound in c.bounds), "the condition names no finite number"),
        (value_type and not c.value_fields, "the condition names no field"),
        (c.percentile is not None and not 0 <= c.percentile <= 100, "the percentile is not between 0 and 100"),
        (
            share and not all(0 <= bound <= 100 for _, bound in c.bounds),
            "names no percentile, so the condition is a share in per cent, but it is not between 0 and 100",
        ),
    )
    return next((reason for wrong, reason in tests if wrong), None)


def _wanted(ordered: Sequence[Correlation]) -> dict[str, tuple[str, ...]]:
    """Tell for every rule and correlation the fields that those above it look at, sorted."""
    wanted: dict[str, set[str]] = {correlation.id: set() for correlation in ordered}
    for c in reversed(ordered):
        names = {*c.group_by, *c.value_fields, *wanted[c.id]}
        for rule in c.rules:
            wanted.setdefault(rule, set()).update(_field(c, rule, name) for name in names)
    return {rule: tuple(sorted(fields)) for rule, fields in wanted.items()}


def _field(correlation: Correlation, rule: str, name: str) -> str:
    """Look a name up in the aliases: what it is in the events of one rule."""
    return correlation.aliases.get(name, {}).get(rule, name)


def _whole(bound: float) -> float:
    """A bound without a fraction is compared faster as a whole number."""
    return int(bound) if bound == int(bound) else bound


def _plan(c: Correlation, by_id: dict[str, Correlation], wanted: dict[str, tuple[str, ...]]) -> Plan:
    condition: Bounds = tuple((op, _whole(bound)) for op, bound in c.bounds) or (("gte", len(c.rules)),)
    lower: Bounds = ()
    if c.type in COUNTING or c.type == "value_sum":
        lower = tuple(("gte" if op == "eq" else op, bound) for op, bound in condition if op in ("gt", "gte", "eq"))
    carried = tuple(name for name in wanted[c.id] if name not in c.group_by)
    feeds: dict[str, Feed] = {}
    for position, rule in enumerate(c.rules):
        places = {name: place for place, name in enumerate(wanted[rule])}

        def slots(names: tuple[str, ...], rule: str = rule, places: dict[str, int] = places) -> tuple[int, ...]:
            return tuple(places[_field(c, rule, name)] for name in names)

        feeds[rule] = Feed(position, slots(c.group_by), slots(c.value_fields), slots(carried))
    parts = (c.type, c.rules, c.group_by, c.timespan_s, c.bounds, c.value_fields, c.percentile, c.aliases, carried)
    return Plan(
        correlation=c,
        span_us=c.timespan_s * MICROSECONDS,
        condition=condition,
        lower=lower,
        prompt=c.type in COUNTING and all(op in ("gt", "gte") for op, _ in condition),
        anchored=c.type == "value_sum" and bool(lower),
        feeds=feeds,
        inner=tuple(rule for rule in c.rules if rule in by_id),
        exposed=wanted[c.id],
        carried=carried,
        fingerprint=blake2b(repr(parts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest(),
    )

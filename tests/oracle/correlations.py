"""Correlations by definition: a whole list of matches at once, no state, nothing clever.

Written from ``docs/en/reference/correlations.md``, before and apart from the engine; the numbers in brackets are
the sections of that page. Bounds on memory (section 9) are the engine's business and have no counterpart here.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from dataclasses import dataclass, field
from fractions import Fraction

from mingjian.model.rules import Correlation
from oracle.events import fold

LISTED = 100
CARRIED = 64
COMBINED = 64

Group = tuple[str | None, ...]

OPERATORS = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}


@dataclass(frozen=True)
class Happening:
    """A match of a rule, or of a correlation that feeds another."""

    time_us: int
    rule_id: str
    file: str
    record: int
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    inner_group: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What the engine must say as well."""

    correlation_id: str
    group: tuple[tuple[str, str | None], ...]
    time_us: int
    first_us: int
    last_us: int
    value: float
    count: int
    events: tuple[tuple[int, str, str, int], ...]
    completed_by: tuple[int, str, str, int]
    values: tuple[str, ...]


def correlate(correlations: list[Correlation], matches: list[Happening]) -> list[Found]:
    """Everything that the correlations find, hidden ones left out, in the order of time, id and group."""
    by_id = {c.id: c for c in correlations}
    found = []
    for correlation in correlations:
        if correlation.hidden:
            continue
        found += [f for f, _ in windows_of(correlation, by_id, matches)]
    return sorted(found, key=lambda f: (f.time_us, f.correlation_id, folded_group(tuple(v for _, v in f.group))))


def happenings_of(rule_id: str, by_id: dict[str, Correlation], matches: list[Happening]) -> list[Happening]:
    """What one reference of a correlation refers to [7]."""
    if rule_id in by_id:
        return [h for _, h in windows_of(by_id[rule_id], by_id, matches)]
    once = {(m.time_us, m.file, m.record): m for m in reversed(matches) if m.rule_id == rule_id}
    return list(once.values())


def windows_of(
    correlation: Correlation, by_id: dict[str, Correlation], matches: list[Happening]
) -> list[tuple[Found, Happening]]:
    """Every window that holds [2]: what is reported, and what a correlation above gets to see."""
    inputs = [h for rule_id in correlation.rules for h in happenings_of(rule_id, by_id, matches)]
    groups: dict[tuple[str, ...], list[tuple[Happening, Group]]] = {}
    for happening in inputs:
        if usable_values(correlation, happening) is None:
            continue
        for group in groups_of(correlation, happening):
            members = groups.setdefault(folded_group(group), [])
            if happening not in [h for h, _ in members]:
                members.append((happening, group))
    results = []
    for members in groups.values():
        ordered = in_order(correlation, [h for h, _ in members])
        spelling = dict(members)
        results += windows_of_group(correlation, ordered, spelling)
    return results


def windows_of_group(
    correlation: Correlation, events: list[Happening], spelling: dict[Happening, Group]
) -> list[tuple[Found, Happening]]:
    """Section 2, sentence by sentence, for the events of one group in their order."""
    span_us = correlation.timespan_s * 1_000_000
    results = []
    taken_until = -math.inf
    for start in sorted({e.time_us for e in events}):
        if start <= taken_until:
            continue
        window = [e for e in events if start <= e.time_us <= start + span_us]
        if not holds(lower_part(correlation), value_of(correlation, window)):
            continue
        taken_until = start + span_us
        value = value_of(correlation, window)
        if not verdict(correlation, window):
            continue
        results.append(report(correlation, window, spelling[window[0]], value))
    return results


def verdict(correlation: Correlation, window: list[Happening]) -> bool:
    """Whether the whole condition holds for the whole window [2]."""
    if is_share(correlation):
        return bool(rare_values(correlation, window))
    return holds(condition_of(correlation), value_of(correlation, window))


def report(
    correlation: Correlation, window: list[Happening], group: Group, value: Fraction | int
) -> tuple[Found, Happening]:
    """What is said about a window [8], and what it is to a correlation above it [7]."""
    seen = window
    if is_prompt(correlation):
        sizes = range(1, len(window) + 1)
        enough = next(n for n in sizes if holds(condition_of(correlation), value_of(correlation, window[:n])))
        seen = window[:enough]
    last = seen[-1]
    named = tuple(zip(correlation.group_by, group, strict=True))
    if is_share(correlation):
        shares = share_of(correlation, window)
        value = min(shares[v] for v in rare_values(correlation, window))
    found = Found(
        correlation_id=correlation.id,
        group=named,
        time_us=last.time_us,
        first_us=window[0].time_us,
        last_us=window[-1].time_us,
        value=float(value),
        count=len(window),
        events=tuple(ref(e) for e in listed(correlation, window)),
        completed_by=ref(last),
        values=values_shown(correlation, window),
    )
    fields: dict[str, tuple[str, ...]] = {}
    for name in {name for e in seen for name in e.fields} | set(correlation.aliases):
        leaves: dict[str, str] = {}
        for event in seen:
            for leaf in field_of(event, name, correlation):
                if len(leaves) < CARRIED:
                    leaves.setdefault(fold(leaf), leaf)
        fields[name] = tuple(leaves.values())
    fields |= {name: () if leaf is None else (leaf,) for name, leaf in named}
    upward = Happening(last.time_us, correlation.id, last.file, last.record, fields, folded_group(group))
    return found, upward


# What is in an event


def field_of(event: Happening, name: str, correlation: Correlation) -> tuple[str, ...]:
    """The leaves of a field, through the aliases [3]."""
    return event.fields.get(correlation.aliases.get(name, {}).get(event.rule_id, name), ())


def groups_of(correlation: Correlation, event: Happening) -> list[Group]:
    """The groups that an event belongs to [3]."""
    leaves = [field_of(event, name, correlation) for name in correlation.group_by]
    if leaves and not any(leaves):
        return []
    product = itertools.product(*[tuple(some) or (None,) for some in leaves])
    return list({folded_group(g): g for g in reversed(list(itertools.islice(product, COMBINED)))}.values())[::-1]


def folded_group(group: Group) -> tuple[str, ...]:
    """A group without regard to case; null sorts first."""
    return tuple("" if leaf is None else "=" + fold(leaf) for leaf in group)


def usable_values(correlation: Correlation, event: Happening) -> list[str] | list[Fraction] | None:
    """What a value correlation takes from an event; None if nothing, and then the event takes no part [4]."""
    if not correlation.type.startswith("value_"):
        return []
    leaves = [field_of(event, name, correlation) for name in correlation.value_fields]
    if correlation.type == "value_count" or is_share(correlation):
        combined = itertools.islice(itertools.product(*leaves), COMBINED)
        return list(dict.fromkeys(" | ".join(c) for c in combined)) or None
    numbers = [number(leaf) for some in leaves for leaf in some]
    return [n for n in numbers if n is not None] or None


def number(leaf: str) -> Fraction | None:
    """The number that a text spells, as far as a double can hold it."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", leaf) or re.fullmatch(r"[+-]?[0-9]+", leaf):
        whole = int(leaf, 16 if "x" in leaf.lower() else 10)
        return Fraction(whole) if abs(whole) < 2**63 else Fraction(float(whole))
    if re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", leaf):
        return Fraction(float(leaf)) if math.isfinite(float(leaf)) else None
    return None


# The order of events [5]


def in_order(correlation: Correlation, events: list[Happening]) -> list[Happening]:
    def place(event: Happening) -> tuple[object, ...]:
        position = correlation.rules.index(event.rule_id)
        return (event.time_us, event.file, event.record, position, event.inner_group)

    plain = sorted(events, key=place)
    if correlation.type != "temporal_ordered":
        return plain
    ordered = []
    for _, same_time in itertools.groupby(plain, key=lambda e: e.time_us):
        waiting = list(same_time)
        while waiting:
            heads = [next(e for e in waiting if e.file == name) for name in sorted({e.file for e in waiting})]
            best = min(heads, key=lambda e: correlation.rules.index(e.rule_id))
            waiting.remove(best)
            ordered.append(best)
    return ordered


# What a window amounts to [4, 6]


def value_of(correlation: Correlation, window: list[Happening]) -> Fraction | int:
    if correlation.type == "event_count":
        return len(window)
    if correlation.type == "temporal":
        return len({e.rule_id for e in window})
    if correlation.type == "temporal_ordered":
        return longest_chain([correlation.rules.index(e.rule_id) for e in window])
    if correlation.type == "value_count":
        return len({fold(v) for e in window for v in usable_values(correlation, e) or []})
    numbers = sorted(n for e in window for n in usable_values(correlation, e) or [] if isinstance(n, Fraction))
    if correlation.type == "value_sum":
        return sum(numbers, Fraction(0))
    if correlation.type == "value_avg":
        return sum(numbers, Fraction(0)) / len(numbers)
    if is_share(correlation):
        return 0
    assert correlation.percentile is not None
    rank = math.ceil(Fraction(correlation.percentile) / 100 * len(numbers))
    return numbers[max(rank, 1) - 1]


def longest_chain(positions: list[int]) -> int:
    """How many rules can be found in rising order: by trying every end."""
    best: list[int] = []
    for i, position in enumerate(positions):
        best.append(1 + max((best[j] for j in range(i) if positions[j] < position), default=0))
    return max(best, default=0)


def condition_of(correlation: Correlation) -> list[tuple[str, float]]:
    if correlation.type.startswith("temporal") and not correlation.bounds:
        return [("gte", len(correlation.rules))]
    return list(correlation.bounds)


def lower_part(correlation: Correlation) -> list[tuple[str, float]]:
    """The part of the condition that more events can only bring nearer [2]."""
    if correlation.type in ("value_avg", "value_percentile"):
        return []
    lower = [(op, bound) for op, bound in condition_of(correlation) if op in ("gt", "gte")]
    return lower + [("gte", bound) for op, bound in condition_of(correlation) if op == "eq"]


def is_prompt(correlation: Correlation) -> bool:
    counts = correlation.type in ("event_count", "value_count", "temporal", "temporal_ordered")
    return counts and all(op in ("gt", "gte") for op, _ in condition_of(correlation))


def is_share(correlation: Correlation) -> bool:
    return correlation.type == "value_percentile" and correlation.percentile is None


def holds(condition: list[tuple[str, float]], value: Fraction | int) -> bool:
    return all(OPERATORS[op](value, bound) for op, bound in condition)


def share_of(correlation: Correlation, window: list[Happening]) -> dict[str, Fraction]:
    """Folded value to its share of the events of the window, in per cent [6]."""
    shares: dict[str, Fraction] = {}
    for event in window:
        for value in {fold(str(v)) for v in usable_values(correlation, event) or []}:
            shares[value] = shares.get(value, Fraction(0)) + Fraction(100, len(window))
    return shares


def rare_values(correlation: Correlation, window: list[Happening]) -> list[str]:
    shares = share_of(correlation, window)
    return [v for v in shares if holds(condition_of(correlation), shares[v])]


# What is listed [8]


def listed(correlation: Correlation, window: list[Happening]) -> list[Happening]:
    if correlation.type.startswith("temporal"):
        quota = max(1, LISTED // len(correlation.rules))
        some = [e for i, e in enumerate(window) if [p.rule_id for p in window[:i]].count(e.rule_id) < quota]
    elif correlation.type == "value_count":
        some = new_values(correlation, window, None)
    elif is_share(correlation):
        some = new_values(correlation, window, rare_values(correlation, window))
    else:
        some = window
    return some[:LISTED]


def new_values(correlation: Correlation, window: list[Happening], only: list[str] | None) -> list[Happening]:
    """The events that are the first to bring a value."""
    seen: set[str] = set()
    some = []
    for event in window:
        brought = {fold(str(v)) for v in usable_values(correlation, event) or []}
        brought = {v for v in brought if only is None or v in only}
        if brought - seen:
            some.append(event)
        seen |= brought
    return some


def values_shown(correlation: Correlation, window: list[Happening]) -> tuple[str, ...]:
    if correlation.type != "value_count" and not is_share(correlation):
        return ()
    first: dict[str, str] = {}
    for event in window:
        for value in usable_values(correlation, event) or []:
            first.setdefault(fold(str(value)), str(value))
    if is_share(correlation):
        rare = rare_values(correlation, window)
        first = {v: spelled for v, spelled in first.items() if v in rare}
    return tuple(first.values())[:LISTED]


def ref(event: Happening) -> tuple[int, str, str, int]:
    return (event.time_us, event.rule_id, event.file, event.record)

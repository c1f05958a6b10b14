"""One rule, one event: walk the tree and ask every question of every leaf."""

from __future__ import annotations

import datetime
import decimal
import ipaddress
import operator
import re
from collections.abc import Callable, Iterator

from oracle import regex
from oracle.events import Event, Leaf, is_null, text_of
from oracle.rules import (
    ONE,
    AllOf,
    AnyOf,
    AtLeast,
    Compared,
    DatePart,
    Exists,
    Glob,
    InNetwork,
    IsNull,
    Not,
    NumberIs,
    Question,
    Regex,
    Rule,
    Run,
    SameAs,
    Search,
    Tree,
    TruthIs,
)

MILLISECONDS_ABOVE = 10**11
"""A number above this is a time in milliseconds."""
BACKTRACKING_CHARACTERS_MIN = 64
"""Longer texts go to the standard library, if the pattern cannot explode there."""

RELATIONS: dict[str, Callable[[object, object], bool]] = {
    "eq": operator.eq,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def matches(rule: Rule, event: Event) -> bool:
    """Whether the rule matches the event. The log source is not looked at."""
    return is_true(rule.tree, event)


def is_true(tree: Tree, event: Event) -> bool:
    """Whether a part of a condition is true for the event."""
    if isinstance(tree, Search):
        return found(tree, event)
    if isinstance(tree, AllOf):
        return all(is_true(item, event) for item in tree.items)
    if isinstance(tree, AnyOf):
        return any(is_true(item, event) for item in tree.items)
    if isinstance(tree, AtLeast):
        return sum(is_true(item, event) for item in tree.items) >= tree.count
    return not is_true(tree.item, event)


def explain(tree: Tree, event: Event, depth: int = 0) -> Iterator[str]:
    """Say line by line which parts are true: for the reader of a failed comparison."""
    label = tree.written if isinstance(tree, Search) else type(tree).__name__
    yield f"{'  ' * depth}{'+' if is_true(tree, event) else '-'} {label}"
    if isinstance(tree, Not):
        yield from explain(tree.item, event, depth + 1)
    elif not isinstance(tree, Search):
        for item in tree.items:
            yield from explain(item, event, depth + 1)


def found(search: Search, event: Event) -> bool:
    """Whether a search is true for the event."""
    answer = search.every
    for group in search.groups:
        one = False
        for question in group:
            if answered(question, search.field, event):
                one = True
                break
        if one != search.every:  # the first true one decides, with ``every`` the first false one
            answer = one
            break
    return answer != search.negated


def answered(question: Question, field: str | None, event: Event) -> bool:
    """Whether one question is true for at least one leaf, or for the field as a whole."""
    leaves = event.every_leaf if field is None else event.leaves(field)
    if type(question) is Glob:
        for leaf in leaves:  # noqa: SIM110 - asked hundreds of millions of times, and a loop is twice as fast
            if runs_match(question.runs, leaf.text if question.cased else leaf.folded):
                return True
        return False
    if field is not None:
        if isinstance(question, IsNull):
            return is_null(event.value(field))
        if isinstance(question, Exists):
            return event.exists(field) == question.wanted
        if isinstance(question, SameAs):
            return any(_related(question, one, other) for one in leaves for other in event.leaves(question.other))
    return any(fits(question, leaf) for leaf in leaves)


def fits(question: Question, leaf: Leaf) -> bool:
    """Whether one leaf is what the question (about anything but its text) asks for."""
    if isinstance(question, NumberIs):
        return leaf.value == question.value if leaf.is_number else leaf.value == text_of(question.value)
    if isinstance(question, TruthIs):
        if isinstance(leaf.value, str):
            return leaf.folded == text_of(question.value)
        return leaf.value is question.value
    if isinstance(question, Compared):
        number = _number(leaf)
        return number is not None and RELATIONS[question.relation](number, question.bound)
    if isinstance(question, Regex):
        return _regex(question, leaf.text)
    if isinstance(question, InNetwork):
        return any(address in question.network for address in _addresses(leaf.text))
    if isinstance(question, DatePart):
        number = _date_part(question.part, leaf)
        return number is not None and RELATIONS[question.relation](number, question.bound)
    raise AssertionError(question)


def _related(question: SameAs, one: Leaf, other: Leaf) -> bool:
    if question.how == "equals" and one.is_number and other.is_number:
        return one.value == other.value
    a, b = (one.text, other.text) if question.cased else (one.folded, other.folded)
    return {"equals": str.__eq__, "startswith": str.startswith, "endswith": str.endswith, "contains": str.__contains__}[
        question.how
    ](a, b)


# --- texts with wildcards ---


def runs_match(runs: tuple[Run, ...], text: str) -> bool:
    """Whether the whole text is the runs with any characters between them.

    The first run stands at the start, the last at the end; for those between them the leftmost place is always good
    enough, so one pass finds the answer.
    """
    first, last = runs[0], runs[-1]
    if len(runs) == 1:
        return first.length == len(text) and _stands(first, text, 0)
    at, end = first.length, len(text) - last.length
    if at > end or not _stands(first, text, 0) or not _stands(last, text, end):
        return False
    for run in runs[1:-1]:
        place = _place(run, text, at, end)
        if place < 0:
            return False
        at = place + run.length
    return True


def _stands(run: Run, text: str, at: int) -> bool:
    if run.literal is not None:
        return text.startswith(run.literal, at)
    for part in run.parts:
        if part is ONE:
            at += 1
        elif text.startswith(part, at):
            at += len(part)
        else:
            return False
    return True


def _place(run: Run, text: str, at: int, end: int) -> int:
    if run.literal is not None:
        return text.find(run.literal, at, end)
    places = range(at, end - run.length + 1)
    return next((place for place in places if _stands(run, text, place)), -1)


# --- the rest ---


def _regex(question: Regex, text: str) -> bool:
    quick = regex.compiled(question.node) if len(text) > BACKTRACKING_CHARACTERS_MIN else None
    return bool(quick.search(text)) if quick else regex.search(question.node, text)


_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL = re.compile(r"0[xX][0-9a-fA-F]+")


def _number(leaf: Leaf) -> int | float | None:
    """Read a number as a rule's YAML does: with a fraction or exponent it is the nearest double, else it is exact."""
    if not isinstance(leaf.value, str):
        return leaf.value if leaf.is_number else None
    if _HEXADECIMAL.fullmatch(leaf.value):
        return int(leaf.value, 16)
    if not _DECIMAL.fullmatch(leaf.value):
        return None
    return int(leaf.value) if leaf.value.lstrip("+-").isdigit() else float(leaf.value)


def _addresses(text: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    bare, percent, _ = text.partition("%")
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return
    if isinstance(address, ipaddress.IPv4Address):
        if not percent:  # a zone belongs to IPv6
            yield address
        return
    yield address
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped


_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[T ]([0-9]{2}):([0-9]{2}))?")


def _date_part(part: str, leaf: Leaf) -> int | None:
    if leaf.is_number:
        moment = _moment(leaf.value)
        hour_known = True
    elif isinstance(leaf.value, str):
        moment, hour_known = _written_date(leaf.value)
    else:
        return None
    if moment is None or (part in ("hour", "minute") and not hour_known):
        return None
    return moment.isocalendar().week if part == "week" else getattr(moment, part)


def _moment(number: int | float | str) -> datetime.datetime | None:
    seconds = decimal.Decimal(number)
    if not seconds.is_finite():
        return None
    if seconds > MILLISECONDS_ABOVE:
        seconds /= 1000
    try:
        whole = int(seconds.to_integral_value(decimal.ROUND_FLOOR))
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=whole)
    except (OverflowError, decimal.InvalidOperation):
        return None  # no date of the years 1 to 9999


def _written_date(text: str) -> tuple[datetime.datetime | None, bool]:
    """Read the date at the start of a text, and whether hour and minute stand in it."""
    written = _DATE.match(text)
    if written is None:
        return None, False
    year, month, day = (int(written[at]) for at in (1, 2, 3))
    hour, minute = int(written[4] or 0), int(written[5] or 0)
    known = written[4] is not None and hour <= 23 and minute <= 59
    try:
        return datetime.datetime(year, month, day, *(hour, minute) if known else (), tzinfo=datetime.UTC), known
    except ValueError:
        return None, False

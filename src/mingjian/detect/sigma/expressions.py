"""Expressions in normal form: flat, without single-item or empty And/Or, without repetitions, without double Not.

The form makes equal rules equal, and spares the engine every special case.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mingjian.model.rules import ANY, And, Expr, Not, Or, Text

_encode = msgspec.msgpack.Encoder().encode


def _key(item: Expr) -> bytes:
    """What tells expressions apart. Not ==: for Python 1 equals 1.0, for a rule they are different texts."""
    try:
        return _encode(item)
    except (UnicodeEncodeError, OverflowError):  # bytes that are no text, whole numbers beyond 64 bits
        return repr(item).encode("ascii", "backslashreplace")


def _distinct(items: Iterable[Expr]) -> tuple[Expr, ...]:
    distinct: dict[bytes, Expr] = {}
    for item in items:
        distinct.setdefault(_key(item), item)
    return tuple(distinct.values())


def all_of(items: Iterable[Expr]) -> Expr:
    """Join with AND. There must be at least one item.

    >>> from mingjian.model.rules import Null
    >>> all_of([Null("a"), And((Null("b"), Null("a")))])
    And(items=(Null(field='a'), Null(field='b')))
    """
    flat: list[Expr] = []
    for item in items:
        flat.extend(item.items) if isinstance(item, And) else flat.append(item)
    distinct = _distinct(flat)
    assert distinct, "an empty conjunction is a bug of the caller"
    return distinct[0] if len(distinct) == 1 else And(distinct)


def any_of(items: Iterable[Expr]) -> Expr:
    """Join with OR. There must be at least one item.

    >>> from mingjian.model.rules import Null
    >>> any_of([Or((Null("a"), Null("b"))), Null("b")])
    Or(items=(Null(field='a'), Null(field='b')))
    """
    flat: list[Expr] = []
    for item in items:
        flat.extend(item.items) if isinstance(item, Or) else flat.append(item)
    distinct = _distinct(flat)
    assert distinct, "an empty disjunction is a bug of the caller"
    return distinct[0] if len(distinct) == 1 else Or(distinct)


def negation(item: Expr) -> Expr:
    """Negate.

    >>> from mingjian.model.rules import Null
    >>> negation(negation(Null("a")))
    Null(field='a')
    """
    return item.item if isinstance(item, Not) else Not(item)


def text(field: str | None, parts: Iterable[str | int], *, cased: bool = False) -> Text:
    """Make a text atom: adjacent literals merged, no empty literal, never two ``ANY`` in a row.

    ``*?*`` and ``?**`` ask the same; the single characters come first.

    >>> text("a", [ANY, ANY, "x", "", "y"]).parts
    (0, 'xy')
    """
    merged: list[str | int] = []
    for part in parts:
        if isinstance(part, str):
            if not part:
                continue
            if merged and isinstance(merged[-1], str):
                merged[-1] += part
                continue
        elif merged and merged[-1] == ANY:
            if part != ANY:
                merged.insert(-1, part)
            continue
        merged.append(part)
    return Text(field, tuple(merged), cased)


def atom_count(expression: Expr) -> int:
    """Count the atoms, repetitions included."""
    count = 0
    waiting = [expression]
    while waiting:
        item = waiting.pop()
        if isinstance(item, And | Or):
            waiting.extend(item.items)
        elif isinstance(item, Not):
            waiting.append(item.item)
        else:
            count += 1
    return count

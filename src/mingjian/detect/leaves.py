"""What a field holds, taken apart: leaves, their texts, and the folding under which texts are compared.

The rules that these functions follow are in ``docs/en/reference/matching.md``.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

from mingjian.formats.records import json_bytes
from mingjian.model.values import EMPTY, MISSING, Empty, Missing, Record, Value

Leaf = str | int | float | bool | Empty

NUMBER_CHARACTERS_MAX = 64
"""A text longer than this is not taken for a number."""
_LAST_CASED = 0x1E944
"""No character behind this one has a case in Unicode 16."""
_BLOCK = 128
MILLISECONDS_FROM = 1e11
"""A time given as a number above this counts milliseconds, else seconds."""


def _cased_block(start: int) -> range:
    """The characters of a block of the code space, none if none of them has a case: nearly all blocks have none."""
    text = "".join(map(chr, range(start, start + _BLOCK)))
    return range(start, start + _BLOCK if text.casefold() != text else start)


@lru_cache(maxsize=1)
def _folding() -> dict[int, str]:
    table = {code: chr(code + 32) for code in range(ord("A"), ord("Z") + 1)}
    for code in chain.from_iterable(map(_cased_block, range(0x80, _LAST_CASED, _BLOCK))):
        character = chr(code)
        full = character.casefold()
        simple = full if len(full) == 1 else character.lower()
        if len(simple) == 1 and simple != character:
            table[code] = simple
    return table


def fold(text: str) -> str:
    r"""Simple case folding: one character becomes one character, whatever the locale.

    Source: Unicode, CaseFolding.txt, statuses C and S.

    >>> fold("ẞ"), fold("STRASSE"), fold("\u212a")
    ('ß', 'strasse', 'k')
    """
    return text.lower() if text.isascii() else text.translate(_folding())


def leaves(value: Value | Missing) -> Iterator[Leaf]:
    """Take a value apart. Null and missing give nothing, an object gives the text of its JSON.

    >>> list(leaves([1, [None, "a"], {"b": True}]))
    [1, 'a', '{"b":true}']
    """
    pending: list[Value | Missing] = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, list):
            pending.extend(reversed(one))
        elif isinstance(one, dict):
            yield json_bytes(one).decode()
        elif one is not None and one is not MISSING:
            yield one  # type: ignore[misc]  # what is left after the tests above


def all_leaves(record: Record) -> list[Leaf]:
    """Every leaf of every field, objects entered: what a keyword is searched in."""
    pending: list[Value] = list(record.values())
    found: list[Leaf] = []
    while pending:
        if _NESTED.isdisjoint(map(type, pending)):
            return found + [value for value in pending if value is not None]  # type: ignore[misc]  # no lists, no objects
        inner: list[Value] = []
        for value in pending:
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
            elif value is not None:
                found.append(value)
        pending = inner
    return found


_NESTED = {dict, list}


def is_null(value: Value | Missing) -> bool:
    """Missing, null, an element without content, or a list without a leaf."""
    if isinstance(value, list):
        return next(leaves(value), None) is None
    return value is None or value is MISSING or value is EMPTY


def text_of(leaf: Leaf) -> str:
    """The text of a leaf as rules see it.

    >>> text_of(True), text_of(42), text_of(1.0), text_of(EMPTY)
    ('true', '42', '1.0', '')
    """
    if isinstance(leaf, str):
        return leaf
    if leaf is EMPTY:
        return ""
    if isinstance(leaf, bool):
        return "true" if leaf else "false"
    if isinstance(leaf, float):
        return json_bytes(leaf).decode() if leaf == leaf and abs(leaf) != float("inf") else str(leaf)
    return str(leaf)


_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?\Z", re.ASCII)
_HEX = re.compile(r"0[xX][0-9a-fA-F]+\Z")


def number_of(leaf: Leaf) -> int | float | None:
    """The number that a leaf is or spells: decimal or ``0x…``; None if it is none.

    >>> number_of("0x10"), number_of("-1.5"), number_of(" 1"), number_of(True)
    (16, -1.5, None, None)
    """
    if isinstance(leaf, bool) or leaf is EMPTY:
        return None
    if not isinstance(leaf, str):
        return leaf
    if not leaf or len(leaf) > NUMBER_CHARACTERS_MAX:
        return None
    if _HEX.match(leaf):
        return int(leaf, 16)
    if not _NUMBER.match(leaf):
        return None
    return int(leaf) if leaf.lstrip("+-").isdigit() else float(leaf)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def addresses_of(leaf: Leaf) -> tuple[Address, ...]:
    """The address that a leaf spells; an IPv4-mapped one is two. Empty if it is none."""
    if not isinstance(leaf, str) or len(leaf) > NUMBER_CHARACTERS_MAX:
        return ()
    try:
        address = ipaddress.ip_address(leaf.partition("%")[0])
    except ValueError:
        return ()
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return (address, address.ipv4_mapped)
    return (address,)


_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d))?", re.ASCII)


def time_parts(leaf: Leaf) -> dict[str, int]:
    """Minute, hour, day, ISO week, month, year of the date that a leaf spells, as written; empty if it is none.

    >>> time_parts("2024-12-30T23:59:01+08:00")["hour"], time_parts("2024-12-30")
    (23, {'year': 2024, 'month': 12, 'day': 30, 'week': 1})
    """
    if isinstance(leaf, str):
        found = _DATE.match(leaf)
        if not found:
            return {}
        year, month, day = int(found[1]), int(found[2]), int(found[3])
        clock = {"hour": int(found[4]), "minute": int(found[5])} if found[4] else {}
        if clock and (clock["hour"] > 23 or clock["minute"] > 59):
            clock = {}
        try:
            date = datetime.date(year, month, day)
        except ValueError:
            return {}
        return {"year": year, "month": month, "day": day, "week": date.isocalendar().week, **clock}
    if isinstance(leaf, bool) or leaf is EMPTY:
        return {}
    try:
        seconds = leaf / 1000 if leaf > MILLISECONDS_FROM else leaf
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return {}
    parts = {name: getattr(moment, name) for name in ("year", "month", "day", "hour", "minute")}
    return {**parts, "week": moment.isocalendar().week}

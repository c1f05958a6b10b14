"""The envelope of a record: when, where, who; and the observables in it.

Pure: what the definitions of a view say, applied to one record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from mingjian.model.observables import canonicals
from mingjian.model.sources import ObservableKind, View
from mingjian.model.times import parse_time_us
from mingjian.model.values import MISSING, Missing, Record, Value

OBSERVABLES_MAX: Final = 256
"""So many observables are taken out of one record."""

LIST_DEPTH_MAX: Final = 16
"""Lists in lists are looked into so deep."""

TEXT_CHARACTERS_MAX: Final = 256
"""So much of a host or account is kept."""

NOTHING: Final = frozenset({"", "-"})
"""Texts that stand where there is nothing."""
_ZONED = re.compile(r"[0-9](?:Z|z|[ ]?(?:UTC|GMT)|[ ]?[+-][0-9]{2}(?::?[0-9]{2})?)$")
_TIME_NAME = re.compile(r"(?P<name>.+)@(?:(?P<zoned>zoned)|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))")
TEMPLATE_PART: Final = re.compile(r"\{([^{}]+)\}|([^{}]+)")
"""Names in braces, and what stands between them."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Time (microseconds since 1970 UTC), host and account of one record, as the record states them."""

    time_us: int | None
    host: str
    account: str


class Observed(NamedTuple):
    """An observable in a record."""

    kind: ObservableKind
    value: str
    """Canonical, see ``model.observables``."""
    role: str


def texts(view: View, record: Record, name: str) -> Iterator[str]:
    r"""The texts of a name in a record, or of several names joined, ``{Domain}\{User}``; none for ``-`` and nothing."""
    if "{" not in name:
        yield from (text for text in leaves_of(view.value(record, name)) if text.strip() not in NOTHING)
        return
    joint, joined = "", ""
    last_is_there = False
    for part, between in TEMPLATE_PART.findall(name):
        if between:
            joint = between
            continue
        text = next((t for t in leaves_of(view.value(record, part)) if t.strip() not in NOTHING), "")
        last_is_there = bool(text)
        joined = f"{joined}{joint if joined else ''}{text}" if text else joined
    if last_is_there:
        yield joined


def envelope(view: View, record: Record) -> Envelope:
    """Read time, host and account as the definitions of the view say."""
    stream = view.stream
    return Envelope(
        time_us=next((t for name in stream.time if (t := _time_us(view, record, name)) is not None), None),
        host=_first_text(view, record, stream.host),
        account=_first_text(view, record, stream.account),
    )


def observables(view: View, record: Record) -> list[Observed]:
    """The observables that the definitions of the view point at, each (kind, value, role) once, in their order."""
    found: dict[Observed, None] = {}
    for asked in view.stream.observables:
        for text in texts(view, record, asked.field):
            for value in canonicals(asked.kind, text, asked.split):
                found[Observed(asked.kind, value, asked.role)] = None
                if len(found) >= OBSERVABLES_MAX:
                    return list(found)
    return list(found)


@lru_cache(maxsize=1024)
def time_name(name: str) -> tuple[str, bool, int]:
    """What stands in ``time``: a name, whether it only counts with a zone, and the zone where it states none."""
    parsed = _TIME_NAME.fullmatch(name)
    if parsed is None:
        return name, False, 0
    if parsed["zoned"]:
        return parsed["name"], True, 0
    offset_s = int(parsed["hours"]) * 3600 + int(parsed["minutes"]) * 60
    return parsed["name"], False, -offset_s if parsed["sign"] == "-" else offset_s


def is_zoned(text: str) -> bool:
    """Whether a moment states its zone."""
    return _ZONED.search(text[-10:]) is not None


def _time_us(view: View, record: Record, name: str) -> int | None:
    plain, only_zoned, zone_offset_s = time_name(name)
    value = view.value(record, plain)
    if isinstance(value, list):
        value = value[0] if value else MISSING
    if only_zoned and isinstance(value, str) and not is_zoned(value):
        return None
    return parse_time_us(value, zone_offset_s=zone_offset_s)


def _first_text(view: View, record: Record, names: tuple[str, ...]) -> str:
    for name in names:
        for text in texts(view, record, name):
            return text[:TEXT_CHARACTERS_MAX]
    return ""


def leaves_of(value: Value | Missing, depth: int = LIST_DEPTH_MAX) -> Iterator[str]:
    """The texts in a value: itself, a number as it is written, each element of a list; nothing of objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool):
        return
    elif isinstance(value, int | float):
        yield str(value)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from leaves_of(item, depth - 1)

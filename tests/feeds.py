"""Indicators for tests: read from bytes as a file of them is, and matched slowly in the obvious way."""

import ipaddress
import json
from collections.abc import Sequence
from itertools import pairwise
from urllib.parse import urlsplit

from mingjian.formats.indicators import documents
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.indicators import Assumed, Indicator, SkippedIndicator
from mingjian.model.observables import canonical

NOTHING = Assumed()
MD5 = "0123456789abcdef0123456789abcdef"
SHA256 = "0123456789abcdef" * 4
Entries = list[Indicator | SkippedIndicator | Quarantined]


def read(data: bytes | str | object, assumed: Assumed = NOTHING, cuts: Sequence[int] = ()) -> Entries:
    """All entries of a file: bytes, text, or what becomes JSON; cut at some offsets."""
    if not isinstance(data, bytes):
        data = (data if isinstance(data, str) else json.dumps(data)).encode()
    bounds = [0, *sorted(cuts), len(data)]
    chunks = (data[start:end] for start, end in pairwise(bounds))
    return list(documents.read(Piece(file="feed", chunks=chunks), assumed))


def meanings(entries: Entries) -> list[tuple[str, str, str]]:
    """Kind, how and value of entries that are all indicators."""
    assert all(isinstance(each, Indicator) for each in entries), entries
    return [(each.kind, each.how, each.value) for each in entries if isinstance(each, Indicator)]


def skips(entries: Entries) -> list[tuple[int, str]]:
    """Number and reason of entries that were skipped."""
    return [(each.record, each.reason) for each in entries if isinstance(each, SkippedIndicator)]


def unread(entries: Entries) -> list[tuple[int, str, str]]:
    """Number, code and reason of entries that could not be read."""
    return [(each.record, each.code, each.reason) for each in entries if isinstance(each, Quarantined)]


def places(kind: str, value: str) -> list[str]:
    """The names and addresses in an observable, in the obvious way."""
    if kind in ("ip", "domain", "host"):
        return [value]
    if kind == "url":
        return [urlsplit(value).hostname or ""]
    return [value.rpartition("@")[2]] if kind == "email" else []


def is_hit(indicator: Indicator, kind: str, value: str) -> bool:
    """Whether an observable is what an indicator looks for, slowly."""
    if indicator.how == "named":
        name = value.rpartition("\\")[2] if "\\" in value else value.rpartition("/")[2]
        return kind == "file" and name in (indicator.value, indicator.value.casefold())
    if indicator.how == "within":
        found = [canonical("ip", place) for place in places(kind, value)]
        return any(each and ipaddress.ip_address(each) in ipaddress.ip_network(indicator.value) for each in found)
    if indicator.how == "below":
        return any(f".{place}".endswith(f".{indicator.value}") for place in places(kind, value))
    if indicator.kind in ("ip", "domain", "host"):
        return indicator.value in places(kind, value)
    return (kind, value) == (indicator.kind, indicator.value)

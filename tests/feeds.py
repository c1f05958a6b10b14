"""Indicators for tests: read from bytes as a file of them is."""

import json
from collections.abc import Sequence
from itertools import pairwise

from mingjian.formats.indicators import documents
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.indicators import Assumed, Indicator, SkippedIndicator

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

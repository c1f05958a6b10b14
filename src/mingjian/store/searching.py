"""Looking for some texts in all values of a column at once.

The texts of an Arrow column lie one behind the other in one piece of memory: an automaton goes over that
piece, and only where it finds something is a text made of it. What it names may hold one of the texts looked for; what
it does not name does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Final, cast

import hyperscan
import numpy as np

from mingjian.store.arrow import Array, Mask, texts_of

FINDS_MAX: Final = 200_000
"""After so many finds in one column, every value of it is taken for one that may hold something."""
_FOLDED_TO_ASCII: Final = ("\u017f", "\u212a")
"""The characters beyond ASCII that fold to a letter of ASCII. Source: Unicode, CaseFolding.txt."""


@lru_cache(maxsize=64)
def finder_for(needles: tuple[str, ...]) -> hyperscan.Database:
    """An automaton that finds ASCII texts (not empty) in any case."""
    expressions = [_literally(needle) for needle in (*needles, *_FOLDED_TO_ASCII)]
    finder = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    finder.compile(
        expressions=expressions,
        ids=list(range(len(expressions))),
        flags=[hyperscan.HS_FLAG_CASELESS] * len(expressions),
    )
    return finder


def may_hold(array: Array, needles: Sequence[str]) -> Mask:
    """For each text of a column (``arrow.texts_of``) whether it may hold one of some ASCII texts, in any case."""
    _, texts = texts_of(array)
    _, offsets_buffer, data = texts.buffers()
    hits = np.zeros(len(texts), dtype=np.bool_)
    if offsets_buffer is None or data is None or not len(texts):
        return hits
    offsets = np.frombuffer(memoryview(offsets_buffer), dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    ends: list[int] = []
    try:
        piece = cast("bytes", memoryview(data)[first:last])  # the binding takes any buffer; its stubs do not know
        finder_for(tuple(needles)).scan(piece, _collect, 0, ends)
    except hyperscan.ScanTerminated:
        return ~hits
    if ends:
        # A find ends behind the last byte of its text: it is of the last text that begins before that byte.
        places = np.searchsorted(offsets, np.unique(np.array(ends, dtype=np.int64)) + first - 1, side="right") - 1
        hits[places] = True
    return hits


def is_anywhere(texts: Iterable[str], needles: Sequence[str]) -> bool:
    """Whether some of the texts may hold one of some ASCII texts, in any case: one look at all of them together.

    Raises:
        UnicodeEncodeError: some text has lone surrogates.
    """
    found: list[int] = []
    with suppress(hyperscan.ScanTerminated):
        finder_for(tuple(needles)).scan("\0".join(texts).encode(), _note, 0, found)
    return bool(found)


def _note(pattern: int, start: int, end: int, flags: int, context: object) -> bool:
    cast("list[int]", context).append(end)
    return True


def _collect(pattern: int, start: int, end: int, flags: int, context: object) -> bool | None:
    ends = cast("list[int]", context)
    ends.append(end)
    return len(ends) > FINDS_MAX or None


def _literally(text: str) -> bytes:
    return b"".join(b"\\x%02x" % byte for byte in text.encode())

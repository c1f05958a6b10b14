r"""Plain lists: an indicator on each line, and whatever people write around it.

Lines that begin with ``#``, ``;`` or ``//`` are comments; so is what follows `` #`` behind a value. A line of a hosts
file (``0.0.0.0 evil.example``) means the name. A line with several words means all of them if each is an indicator by
itself, else the first one, and the rest describes it (``192.0.2.1,botnet,2024-01-01`` of a CSV without a header).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

from mingjian.errors import InputError
from mingjian.formats.indicators.values import Meant, Word, meaning, word_for
from mingjian.formats.text import LineBatch, decode, line_batches
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Piece, Quarantined
from mingjian.model.indicators import Assumed, Indicator, SkippedIndicator

WORDS_MAX: Final = 64
"""So many words of a line are looked at."""
DESCRIPTION_CHARACTERS_MAX: Final = 1_000
"""So much of a description is kept."""

Entry: TypeAlias = "Indicator | SkippedIndicator | Quarantined"

_COMMENTS: Final = ("#", ";", "//", "!")
_BETWEEN: Final = re.compile(r"[\s,;|]+")
_NOWHERE: Final = frozenset({"0.0.0.0", "127.0.0.1", "::", "::1"})  # noqa: S104  # names in hosts files, not bound
_LOCAL: Final = frozenset({"localhost", "localhost.localdomain", "local", "broadcasthost", "0.0.0.0"})  # noqa: S104  # names in hosts files, not bound


def read(piece: Piece, assumed: Assumed) -> Iterator[Entry]:
    """Read a list. Every line that is neither empty nor a comment gives an indicator or is quarantined."""
    word = word_for(assumed.kind) if assumed.kind else None
    for batch in line_batches(piece):
        if isinstance(batch, Quarantined):
            yield batch
        else:
            yield from _read_batch(piece.file, batch, word, assumed)


def _read_batch(file: str, batch: LineBatch, word: Word | None, assumed: Assumed) -> Iterator[Entry]:
    bad: list[tuple[int, InputError]] = []
    for place, data in enumerate(batch.lines):
        written, _, comment = decode(data).strip().partition(" #")
        if not written or written.startswith(_COMMENTS):
            continue
        try:
            found = _line(written, word)
        except InputError as error:
            bad.append((place, error))
            continue
        for meant, text, rest in found:
            yield indicator(meant, text, assumed, rest or comment.strip())
    offsets = batch.offsets if bad else ()
    for place, error in bad:
        yield Quarantined(
            file=file,
            record=batch.numbers[place],
            offset=offsets[place],
            code=error.code,
            reason=error.what,
            data=batch.lines[place][:QUARANTINED_BYTES_MAX],
        )


def _line(written: str, word: Word | None) -> list[tuple[Meant, str, str]]:
    """What a line means: meaning, how it is written, and what the line says besides. Raises: InputError."""
    try:
        return [(meant, written, "") for meant in meaning(written, word)]
    except InputError as error:
        whole = error
    words = [part for part in _BETWEEN.split(written, maxsplit=WORDS_MAX) if part]
    if len(words) < 2:
        raise whole
    if words[0] in _NOWHERE:
        names = [name for name in words[1:] if name not in _LOCAL and not name.startswith("#")]
        return [(meant, name, "") for name in names for meant in meaning(name, Word("domain", "is"))]
    each: list[tuple[Meant, str, str]] = []
    for part in words:
        try:
            each += [(meant, part, "") for meant in meaning(part, word)]
        except InputError:
            break
    else:
        return each
    rest = written[len(words[0]) :].strip(" \t,;|")
    return [(meant, words[0], rest) for meant in meaning(words[0], word)]


def indicator(meant: Meant, written: str, assumed: Assumed, description: str = "") -> Indicator:
    """An indicator of which only the value is known."""
    return Indicator(
        kind=meant.kind,
        how=meant.how,
        value=meant.value,
        written=written,
        confidence=assumed.confidence,
        marking=assumed.marking,
        source=assumed.source,
        description=description[:DESCRIPTION_CHARACTERS_MAX],
    )

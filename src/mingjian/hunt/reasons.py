"""Reasons in the language of the reader: why a rule, a line or a request cannot be used.

A reason is found, stored and sent to programs in English; ``data/reasons.yml`` says it in Chinese, where it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, cast

import re2  # pyright: ignore[reportMissingTypeStubs] # it has none; what comes out of it is typed here

from mingjian.data import DATA_FOLDER
from mingjian.errors import ConfigError
from mingjian.formats.bounded import parse_yaml
from mingjian.settings import Language

FILE: Final = "reasons.yml"
HOLE: Final = "{}"
CHARACTERS_MAX: Final = 4_000
"""A longer reason is shown as it is."""
KEPT_MAX: Final = 4_096
"""So many are kept in memory as they were said."""
PARTS: Final = "; "
"""Between several reasons for one thing."""
PLACE: Final = ": "
"""Behind the place that a reason is about …"""
PLACES_MAX: Final = 4
"""… which may have so many of these in it."""


class Said(NamedTuple):
    """A reason that may be given, with holes for what it is about."""

    english: str
    chinese: str
    """``{0}`` is what stands in the first hole of the other."""


@cache
def reasons() -> Sequence[Said]:
    """Every reason that is known in both languages, those with the most words first. Raises: ConfigError."""
    (document,) = parse_yaml((DATA_FOLDER / FILE).read_bytes(), file=FILE)
    found: list[Said] = []
    for entry in document if isinstance(document, list) else ():
        both = (entry.get("en"), entry.get("zh")) if isinstance(entry, dict) else (None, None)
        if not isinstance(both[0], str) or not isinstance(both[1], str):
            raise ConfigError("a reason is missing in a language", where=FILE)
        found.append(Said(both[0], both[1]))
    return sorted(found, key=lambda each: -len(each.english.replace(HOLE, "")))


@lru_cache(KEPT_MAX)
def in_words(text: str, language: Language) -> str:
    """Say a reason, several, or one with a hint in brackets; what nobody has translated stays as it is.

    >>> in_words("the title is missing", "zh"), in_words("something else", "zh")
    ('缺少标题', 'something else')
    """
    if language == "en" or len(text) > CHARACTERS_MAX:
        return text
    parts = [(part, _one(part)) for part in text.split(PARTS)]
    if all(said for _, said in parts):
        return "；".join(said for _, said in parts)
    return _one(text) or "；".join(said or part for part, said in parts)


def _one(text: str) -> str:
    """One reason, with what stands around it; empty if it is not known."""
    return _with_hint(text) or _whole(text) or _placed(text)


def _whole(text: str) -> str:
    """A reason alone; empty if it is not known."""
    for pattern, said in _patterns():
        if text.startswith(said.english.partition(HOLE)[0]) and (found := pattern.fullmatch(text)) is not None:
            return said.chinese.format(*found.groups())
    return ""


def _with_hint(text: str) -> str:
    place = text.rfind(" (")
    if place < 0 or not text.endswith(")"):
        return ""
    what, hint = _whole(text[:place]), _whole(text[place + 2 : -1])
    return f"{what}（{hint}）" if what and hint else ""


def _placed(text: str) -> str:
    """A reason behind the place that it is about: ``file:line: reason``."""
    place = text.find(PLACE)
    for _ in range(PLACES_MAX):
        if place < 0:
            break
        if said := _with_hint(text[place + len(PLACE) :]) or _whole(text[place + len(PLACE) :]):
            return f"{text[:place]}：{said}"
        place = text.find(PLACE, place + 1)
    return ""


@cache
def _patterns() -> Sequence[tuple[Any, Said]]:
    """Linear in the length of a text, whatever is in it: what fills the holes may come from outside."""
    escape, compiled = cast("Any", re2).escape, cast("Any", re2).compile
    return [(compiled("(?s)" + "(.+?)".join(map(escape, each.english.split(HOLE)))), each) for each in reasons()]

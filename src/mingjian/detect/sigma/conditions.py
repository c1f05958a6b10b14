"""The language of conditions: ``selection and not 1 of filter*``.

Source: Sigma rules specification, section Condition; ``not`` binds most, then ``and``, then ``or``.
pySigma knows only ``1 of`` and ``all of`` and takes most of its time here, hence a parser of our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Final, Literal, TypeAlias

from mingjian.detect.sigma.expressions import all_of, any_of, negation
from mingjian.detect.sigma.regexes import Pattern, compiled
from mingjian.errors import LimitExceeded, RuleError, UnsupportedRule, shown
from mingjian.model.rules import Expr

CONDITION_CHARACTERS_MAX: Final = 10_000
"""The longest condition. The longest of SigmaHQ has 542 characters."""

CONDITION_DEPTH_MAX: Final = 64
"""The deepest nesting of parentheses."""

COMBINATIONS_MAX: Final = 5_000
"""``N of`` becomes an OR over all choices of N search identifiers; at most so many choices."""

_TOKENS = re.compile(r"[()]|[^\s()]+")


@dataclass(frozen=True, slots=True)
class Name:
    """A search identifier (in a correlation: a rule)."""

    name: str


@dataclass(frozen=True, slots=True)
class Counted:
    """At least ``count`` (None: all) of the search identifiers that fit a pattern."""

    count: int | None
    pattern: str


@dataclass(frozen=True, slots=True)
class Negated:
    """Not that."""

    item: Node


@dataclass(frozen=True, slots=True)
class Joined:
    """Two or more with the same operator between them."""

    operator: Literal["and", "or"]
    items: tuple[Node, ...]


Node: TypeAlias = Name | Counted | Negated | Joined


class _Reader:
    """The tokens, and how far they are read."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = _TOKENS.findall(text)
        self.at = 0

    def word(self, ahead: int = 0) -> str:
        """The token, in lower case, ``ahead`` of the current one; empty at the end."""
        place = self.at + ahead
        return self.tokens[place].lower() if place < len(self.tokens) else ""

    def take(self) -> str:
        """The current token as written; the next one becomes current."""
        self.at += 1
        return self.tokens[self.at - 1]

    def joined(self, operator: Literal["or", "and"], depth: int) -> Node:
        items: list[Node] = []
        while True:
            items.append(self.joined("and", depth) if operator == "or" else self.operand(depth))
            if self.word() != operator:
                return items[0] if len(items) == 1 else Joined(operator, tuple(items))
            self.at += 1

    def operand(self, depth: int) -> Node:
        negative = False
        while self.word() == "not":
            self.at += 1
            negative = not negative
        node = self.unsigned(depth)
        return Negated(node) if negative else node

    def unsigned(self, depth: int) -> Node:
        word = self.word()
        if word in ("", ")", "and", "or"):
            raise RuleError(f"the condition lacks an operand before {shown(word) if word else 'its end'}")
        if word == "(":
            if depth == CONDITION_DEPTH_MAX:
                raise LimitExceeded("CONDITION_DEPTH_MAX", CONDITION_DEPTH_MAX)
            self.at += 1
            node = self.joined("or", depth + 1)
            if self.word() != ")":
                raise RuleError("the condition lacks a closing parenthesis")
            self.at += 1
            return node
        if self.word(1) == "of" and self.word(2) not in ("", "(", ")"):
            return self.counted()
        return Name(self.take())

    def counted(self) -> Node:
        quantifier = self.word()
        self.at += 2
        pattern = self.take()
        if quantifier in ("all", "any"):
            return Counted(None if quantifier == "all" else 1, pattern)
        if not re.fullmatch(r"[0-9]{1,6}", quantifier) or int(quantifier) == 0:
            raise RuleError(f"{shown(quantifier)} of {shown(pattern)}: expected a number from 1, 'any' or 'all'")
        return Counted(int(quantifier), pattern)


@lru_cache(maxsize=4096)  # 3,777 rules of SigmaHQ share 388 conditions
def parse_condition(text: str) -> Node:
    """Read a condition.

    Raises: RuleError, UnsupportedRule (the ``|`` of Sigma 1), LimitExceeded.

    >>> parse_condition("a and not 2 of b*")
    Joined(operator='and', items=(Name(name='a'), Negated(item=Counted(count=2, pattern='b*'))))
    """
    if len(text) > CONDITION_CHARACTERS_MAX:
        raise LimitExceeded("CONDITION_CHARACTERS_MAX", CONDITION_CHARACTERS_MAX)
    if "|" in text:
        raise UnsupportedRule(
            "the condition aggregates with '|', which Sigma 2 replaced by correlation rules",
            hint="write a correlation that refers to this rule",
        )
    reader = _Reader(text)
    node = reader.joined("or", 0)
    if reader.at < len(reader.tokens):
        raise RuleError(f"the condition does not go on with {shown(reader.tokens[reader.at])}")
    return node


def names_matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Give the search identifiers that a pattern means, in the order of their definition.

    ``them`` and patterns leave out what starts with ``_``, unless the pattern starts so itself.

    >>> names_matching("s*", ["s1", "_s", "t"]), names_matching("them", ["s1", "_s", "t"])
    (['s1'], ['s1', 't'])
    """
    fits = _pattern("*" if pattern.lower() == "them" else pattern).fullmatch
    hidden_too = pattern.startswith("_")
    return [name for name in names if (hidden_too or not name.startswith("_")) and fits(name)]


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> Pattern:
    return compiled("(?s)" + ".*".join(re.escape(piece) for piece in pattern.split("*")))


def expression_of(node: Node, searches: Mapping[str, Expr | None]) -> Expr | None:
    """Put the search identifiers into a condition.

    A search identifier can be None: a processing pipeline left nothing of it. It then drops out of the condition,
    as in pySigma. None comes back if nothing at all is left.

    Raises: RuleError, LimitExceeded.
    """
    if isinstance(node, Name):
        if node.name not in searches:
            raise RuleError(f"the condition names {shown(node.name)}, which is not defined")
        return searches[node.name]
    if isinstance(node, Negated):
        inner = expression_of(node.item, searches)
        return None if inner is None else negation(inner)
    if isinstance(node, Joined):
        parts = [part for part in (expression_of(item, searches) for item in node.items) if part is not None]
        if not parts:
            return None
        return all_of(parts) if node.operator == "and" else any_of(parts)
    return _counted(node, searches)


def _counted(node: Counted, searches: Mapping[str, Expr | None]) -> Expr | None:
    names = names_matching(node.pattern, searches)
    if not names:
        raise RuleError(f"no search identifier fits {shown(node.pattern)}")
    items = [item for item in (searches[name] for name in names) if item is not None]
    if not items:
        return None
    count = len(items) if node.count is None else node.count
    if count > len(items):
        raise RuleError(f"{count} of {shown(node.pattern)}: there are only {len(items)}")
    if count == 1:
        return any_of(items)
    if comb(len(items), count) > COMBINATIONS_MAX:
        raise LimitExceeded("COMBINATIONS_MAX", COMBINATIONS_MAX)
    return any_of(all_of(choice) for choice in combinations(items, count))

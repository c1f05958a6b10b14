r"""Regular expressions of the specification, evaluated as sets of positions: no backtracking, nothing to tune.

``|re`` promises wildcards, anchors, quantifiers, classes, groups and alternation. Real rules also use ``\d \w \s
\b``, lazy quantifiers, non-capturing groups and inline flags, so these are here too. What is not here is refused.

A node answers one question: from this set of start positions, at which positions can a match of you end? The time
is bounded by (size of the pattern, repetitions unrolled) × (length of the text). For long texts ``compiled`` gives
the same pattern in the words of the standard library, where that cannot explode.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from oracle.events import fold_character

REPEAT_MAX = 1000
"""RE2 refuses more, so do we."""
CODEPOINT_MAX = 0x10FFFF

Ranges = tuple[tuple[int, int], ...]
"""Inclusive ranges of code points."""

DIGIT: Ranges = ((48, 57),)
WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
SPACE: Ranges = ((9, 13), (32, 32))
NAMED: dict[str, Ranges] = {"d": DIGIT, "w": WORD, "s": SPACE}
POSIX: dict[str, Ranges] = {
    "alpha": ((65, 90), (97, 122)),
    "digit": DIGIT,
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "upper": ((65, 90),),
    "lower": ((97, 122),),
    "space": SPACE,
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "xdigit": ((48, 57), (65, 70), (97, 102)),
    "word": WORD,
}
CONTROL = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7}


class RegexRefused(ValueError):
    """A pattern outside the subset."""


@dataclass(frozen=True)
class Chars:
    """One character out of some ranges."""

    ranges: Ranges

    def has(self, character: str) -> bool:
        """Whether the character is one of them."""
        return any(low <= ord(character) <= high for low, high in self.ranges)


@dataclass(frozen=True)
class Anchor:
    r"""A place: ``^``, ``$``, ``\A``, ``\z``, ``\b``, ``\B``, or with flag m ``m^``, ``m$``."""

    kind: str


@dataclass(frozen=True)
class Sequence:
    """One after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """One of them."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Repeat:
    """The item at least ``low`` and at most ``high`` times (None: without bound)."""

    item: Node
    low: int
    high: int | None


Node = Chars | Anchor | Sequence | Choice | Repeat


def search(node: Node, text: str) -> bool:
    """Whether the pattern is found anywhere in the text."""
    return bool(_ends(node, text, set(range(len(text) + 1))))


def _ends(node: Node, text: str, starts: set[int]) -> set[int]:
    if not starts:
        return starts
    if isinstance(node, Chars):
        return {at + 1 for at in starts if at < len(text) and node.has(text[at])}
    if isinstance(node, Anchor):
        return {at for at in starts if _holds(node.kind, text, at)}
    if isinstance(node, Sequence):
        for item in node.items:
            starts = _ends(item, text, starts)
        return starts
    if isinstance(node, Choice):
        return set().union(*(_ends(item, text, starts) for item in node.items))
    for _ in range(node.low):
        starts = _ends(node.item, text, starts)
    reached, edge, count = set(starts), set(starts), node.low
    while edge and (node.high is None or count < node.high):
        edge = _ends(node.item, text, edge) - reached
        reached |= edge
        count += 1
    return reached


def _holds(kind: str, text: str, at: int) -> bool:
    if kind in ("^", "\\A"):
        return at == 0
    if kind == "m^":
        return at == 0 or (text[at - 1] == "\n" and at < len(text))  # PCRE: not after a final line feed
    if kind == "$":
        return at == len(text) or (at == len(text) - 1 and text[at] == "\n")
    if kind == "m$":
        return at == len(text) or text[at] == "\n"
    if kind == "\\z":
        return at == len(text)
    word = Chars(WORD)
    before = at > 0 and word.has(text[at - 1])
    after = at < len(text) and word.has(text[at])
    return (before != after) == (kind == "\\b")


# --- the same pattern for the standard library ---


@cache
def compiled(node: Node) -> re.Pattern[str] | None:
    """Give the pattern for ``re``, or None if it repeats what already repeats (time could explode)."""
    return None if _explosive(node) else re.compile(_python(node))


def _explosive(node: Node, inside: bool = False) -> bool:
    if isinstance(node, Sequence | Choice):
        return any(_explosive(item, inside) for item in node.items)
    if isinstance(node, Repeat):
        grows = node.high is None or node.high > 1
        return (inside and grows) or _explosive(node.item, inside or grows)
    return False


_ANCHORS = {
    "^": r"\A",
    "\\A": r"\A",
    "m^": r"(?:\A|(?<=\n)(?!\Z))",
    "$": "(?-m:$)",
    "m$": "(?m:$)",
    "\\z": r"\Z",
}


def _python(node: Node) -> str:
    if isinstance(node, Chars):
        return (
            "[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in node.ranges) + "]" if node.ranges else "(?!)"
        )
    if isinstance(node, Anchor):
        return {
            "^": r"\A",
            "\\A": r"\A",
            "m^": r"(?:\A|(?<=\n)(?!\Z))",
            "$": "(?-m:$)",
            "m$": "(?m:$)",
            "\\z": r"\Z",
        }.get(node.kind, f"(?a:{node.kind})")
    if isinstance(node, Sequence):
        return "".join(map(_python, node.items))
    if isinstance(node, Choice):
        return "(?:" + "|".join(map(_python, node.items)) + ")"
    return f"(?:{_python(node.item)}){{{node.low},{'' if node.high is None else node.high}}}"


# --- classes ---


@cache
def _case_family() -> dict[int, tuple[int, ...]]:
    """Map every code point that has case variants to all of them, itself included."""
    families: dict[str, list[int]] = {}
    for code in range(CODEPOINT_MAX + 1):
        character = chr(code)
        folded = fold_character(character)
        if folded != character:
            families.setdefault(folded, [ord(folded)]).append(code)
    return {code: tuple(family) for family in families.values() for code in family}


def _any_case(ranges: Iterable[tuple[int, int]]) -> Ranges:
    ranges = tuple(ranges)
    variants = {
        other
        for code, family in _case_family().items()
        if any(low <= code <= high for low, high in ranges)
        for other in family
    }
    return _merged([*ranges, *((code, code) for code in variants)])


def _merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _complement(ranges: Ranges) -> Ranges:
    outside: list[tuple[int, int]] = []
    next_low = 0
    for low, high in _merged(ranges):
        if next_low < low:
            outside.append((next_low, low - 1))
        next_low = high + 1
    if next_low <= CODEPOINT_MAX:
        outside.append((next_low, CODEPOINT_MAX))
    return tuple(outside)


# --- reading ---


def parse(pattern: str, flags: str = "") -> Node:
    """Read a pattern; ``flags`` out of ``ims``. Raises: RegexRefused."""
    reader = _Reader(pattern)
    node = reader.choice(frozenset(flags))
    if reader.at < len(pattern):
        raise RegexRefused(f"unexpected {pattern[reader.at]!r} at {reader.at} in {pattern!r}")
    return node


class _Reader:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0

    def peek(self, length: int = 1) -> str:
        return self.pattern[self.at : self.at + length]

    def take(self, expected: str) -> bool:
        if self.pattern.startswith(expected, self.at):
            self.at += len(expected)
            return True
        return False

    def next(self) -> str:
        if self.at >= len(self.pattern):
            raise RegexRefused(f"{self.pattern!r} ends too early")
        self.at += 1
        return self.pattern[self.at - 1]

    def choice(self, flags: frozenset[str]) -> Node:
        branches: list[Node] = []
        items: list[Node] = []
        while self.at < len(self.pattern) and self.peek() != ")":
            if self.take("|"):
                branches.append(Sequence(tuple(items)))
                items = []
                continue
            inline = re.compile(r"\(\?([ims]*)(?:-([ims]+))?\)").match(self.pattern, self.at)
            if inline:
                self.at = inline.end()
                flags = (flags | set(inline[1])) - set(inline[2] or "")
                continue
            items.append(self.quantified(self.atom(flags)))
        branches.append(Sequence(tuple(items)))
        return branches[0] if len(branches) == 1 else Choice(tuple(branches))

    def quantified(self, node: Node) -> Node:
        bounds = self.quantifier()
        if bounds is None:
            return node
        if self.take("+"):
            raise RegexRefused(f"possessive quantifier in {self.pattern!r}")
        self.take("?")  # lazy or greedy: whether there is a match is the same
        if self.quantifier() is not None:
            raise RegexRefused(f"quantifier after quantifier in {self.pattern!r}")
        return Repeat(node, *bounds)

    def quantifier(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.take(sign):
                return bounds
        braces = re.compile(r"\{([0-9]+)(,([0-9]*))?\}").match(self.pattern, self.at)
        if braces is None:
            return None  # a brace that is no quantifier is itself
        self.at = braces.end()
        low = int(braces[1])
        high = low if braces[2] is None else int(braces[3]) if braces[3] else None
        if max(low, high or 0) > REPEAT_MAX or (high is not None and high < low):
            raise RegexRefused(f"repetition {braces[0]} in {self.pattern!r}")
        return low, high

    def atom(self, flags: frozenset[str]) -> Node:
        character = self.next()
        if character == "(":
            return self.group(flags)
        if character == "[":
            return self.character_class(flags)
        if character == ".":
            return Chars(((0, CODEPOINT_MAX),) if "s" in flags else _complement(((10, 10),)))
        if character in "^$":
            return Anchor("m" + character if "m" in flags else character)
        if character in "*+?":
            raise RegexRefused(f"nothing to repeat in {self.pattern!r}")
        if character != "\\":
            return self.literal(ord(character), flags)
        if self.peek() and self.peek() in "bBAz":
            return Anchor("\\" + self.next())
        ranges, may_fold = self.escape()
        return Chars(_any_case(ranges)) if may_fold and "i" in flags else Chars(ranges)

    @staticmethod
    def literal(code: int, flags: frozenset[str]) -> Chars:
        return Chars(_any_case(((code, code),)) if "i" in flags else ((code, code),))

    def group(self, flags: frozenset[str]) -> Node:
        head = re.compile(r"\?(?:P?<[A-Za-z_]\w*>|([ims]*)(?:-([ims]+))?:)").match(self.pattern, self.at)
        if head:
            self.at = head.end()
            flags = (flags | set(head[1] or "")) - set(head[2] or "")
        elif self.peek() == "?":
            raise RegexRefused(f"group (?{self.pattern[self.at + 1 : self.at + 3]} in {self.pattern!r}")
        node = self.choice(flags)
        if not self.take(")"):
            raise RegexRefused(f"missing ) in {self.pattern!r}")
        return node

    def escape(self) -> tuple[Ranges, bool]:
        """Read what follows a backslash, and whether flag i concerns it: the named classes stay ASCII."""
        character = self.next()
        if character in NAMED:
            return NAMED[character], False
        if character.lower() in NAMED:
            return _complement(NAMED[character.lower()]), False
        if character in CONTROL:
            code = CONTROL[character]
        elif character == "x":
            digits = re.compile(r"\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2})").match(self.pattern, self.at)
            if digits is None:
                raise RegexRefused(f"\\x without digits in {self.pattern!r}")
            self.at = digits.end()
            code = int(digits[1] or digits[2], 16)
        elif character.isascii() and not character.isalnum():
            code = ord(character)
        else:
            raise RegexRefused(f"\\{character} in {self.pattern!r}")
        return ((code, code),), True

    def character_class(self, flags: frozenset[str]) -> Node:
        negated = self.take("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or self.peek() != "]":
            first = False
            posix = re.compile(r"\[:(\^?)(\w+):\]").match(self.pattern, self.at)
            if posix and posix[2] in POSIX:
                self.at = posix.end()
                ranges.extend(_complement(POSIX[posix[2]]) if posix[1] else POSIX[posix[2]])
                continue
            low, may_fold = self.class_member()
            if may_fold and self.peek() == "-" and self.peek(2) not in ("-]", "-"):
                self.next()
                high, high_may_fold = self.class_member()
                if not high_may_fold or high[0][0] < low[0][0]:
                    raise RegexRefused(f"bad range in {self.pattern!r}")
                low = ((low[0][0], high[0][0]),)
            ranges.extend(_any_case(low) if may_fold and "i" in flags else low)
        self.next()
        members = _merged(ranges)
        return Chars(_complement(members) if negated else members)

    def class_member(self) -> tuple[Ranges, bool]:
        character = self.next()
        return self.escape() if character == "\\" else (((ord(character), ord(character)),), True)

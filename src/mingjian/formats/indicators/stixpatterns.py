"""STIX patterns, as far as they name observables: ``[domain-name:value = 'evil.example' OR url:value = '…']``.

A pattern is read whole (observation expressions, comparisons, qualifiers), and then reduced to observables of which
each by itself is the pattern's meaning:

- ``OR``, ``IN``, and ``OR`` between observations: each alternative by itself;
- ``AND`` within one observation: if one part names the thing (an address, the hash of a file) and the others only
  narrow it (a port, a protocol, the size or name of a file beside its hash). What is found is then wider than the
  pattern; hashes of one file joined by ``AND`` are taken each by itself;
- anything else (``FOLLOWEDBY``, ``WITHIN``, ``LIKE``, ``MATCHES``, ``NOT``, other objects) is said to be unusable,
  with the reason. One unusable alternative does not spoil the others.

Source: STIX 2.1, section 9 (Patterning).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from mingjian.errors import InputError, LimitExceeded, ParseError, shown
from mingjian.formats.indicators.values import Meant, Word, meaning

PATTERN_CHARACTERS_MAX: Final = 65_536
TOKENS_MAX: Final = 16_384
DEPTH_MAX: Final = 32
"""Of parentheses."""
ALTERNATIVES_MAX: Final = 4_096
"""A pattern may mean so many things."""
PARTS_MAX: Final = 64
"""So many comparisons are joined by AND."""


class Comparison(NamedTuple):
    """``path operator values``, with the object's type before the colon of the path."""

    path: str
    operator: str
    values: tuple[str, ...]
    is_negated: bool


class Alternative(NamedTuple):
    """Comparisons that hold together, or the reason why they cannot be used."""

    comparisons: tuple[Comparison, ...]
    reason: str = ""


class Reduced(NamedTuple):
    """What a pattern means: observables, and why some of its alternatives could not be used."""

    found: list[tuple[Meant, str]]
    """With the text of each."""
    skipped: list[str]


_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*+')
    | (?P<typed>[bht]'(?:[^'\\]|\\.)*+')
    | (?P<path>[a-zA-Z0-9_][a-zA-Z0-9_-]*\s*:\s*(?:'[^']*+'|[a-zA-Z0-9_-]+)
          (?:\s*\.\s*(?:'[^']*+'|[a-zA-Z0-9_-]+)|\s*\[\s*(?:\*|-?\d+)\s*\])*+)
    | (?P<number>[+-]?\d+(?:\.\d+)?)
    | (?P<word>[A-Za-z]+)
    | (?P<sign>!=|<>|==|<=|>=|=|<|>|\[|\]|\(|\)|,)
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMPARING: Final = frozenset({"=", "==", "!=", "<>", "<", ">", "<=", ">="})
_COMPARING_WORDS: Final = frozenset({"IN", "LIKE", "MATCHES", "ISSUBSET", "ISSUPERSET"})

_Cut: TypeAlias = "tuple[str, str]"


def tokens(pattern: str) -> list[_Cut]:
    """Cut a pattern into kinds and texts. Raises: ParseError, LimitExceeded."""
    if len(pattern) > PATTERN_CHARACTERS_MAX:
        raise LimitExceeded("PATTERN_CHARACTERS_MAX", PATTERN_CHARACTERS_MAX)
    found: list[_Cut] = []
    at, end = 0, len(pattern.rstrip())
    while at < end:
        token = _TOKEN.match(pattern, at)
        if token is None or token.lastgroup is None:
            raise ParseError(f"not a STIX pattern at character {at + 1}: {shown(pattern[at : at + 20])}")
        found.append((token.lastgroup, token[token.lastgroup]))
        at = token.end()
        if len(found) > TOKENS_MAX:
            raise LimitExceeded("TOKENS_MAX", TOKENS_MAX)
    return found


def _text_of(literal: str) -> str:
    return re.sub(r"\\(.)", r"\1", literal[1:-1], flags=re.DOTALL)


class _Parser:
    """Recursive descent over tokens, to alternatives at once."""

    def __init__(self, pattern: str) -> None:
        self._tokens = tokens(pattern)
        self._at = 0
        self._depth = 0

    def parse(self) -> list[Alternative]:
        """The whole pattern. Raises: ParseError, LimitExceeded."""
        found = self._observations()
        if self._at < len(self._tokens):
            raise self._unexpected()
        return found

    # --- tokens

    def _peek(self) -> str:
        """The next token if it is a word (in capitals) or a sign, else its kind."""
        if self._at >= len(self._tokens):
            return ""
        kind, text = self._tokens[self._at]
        return text.upper() if kind == "word" else text if kind == "sign" else kind

    def _take(self, *wanted: str) -> str:
        if self._peek() not in wanted:
            raise self._unexpected()
        self._at += 1
        return self._tokens[self._at - 1][1]

    def _unexpected(self) -> ParseError:
        if self._at >= len(self._tokens):
            return ParseError("the STIX pattern ends too early")
        return ParseError(f"not a STIX pattern: {shown(self._tokens[self._at][1])} is not expected here")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise LimitExceeded("DEPTH_MAX", DEPTH_MAX, where="STIX pattern")

    # --- observation expressions: FOLLOWEDBY binds least, then OR, then AND

    def _observations(self) -> list[Alternative]:
        found = self._observations_or()
        while self._peek() == "FOLLOWEDBY":
            self._at += 1
            found = _unusable([*found, *self._observations_or()], "it asks for one thing after another (FOLLOWEDBY)")
        return found

    def _observations_or(self) -> list[Alternative]:
        found = self._observations_and()
        while self._peek() == "OR":
            self._at += 1
            found = _bounded(found + self._observations_and())
        return found

    def _observations_and(self) -> list[Alternative]:
        found = self._observation()
        while self._peek() == "AND":
            self._at += 1
            found = _unusable([*found, *self._observation()], "it asks for several observations together (AND)")
        return found

    def _observation(self) -> list[Alternative]:
        self._deeper()
        if self._take("[", "(") == "[":
            found = self._comparisons_or()
            self._take("]")
        else:
            found = self._observations()
            self._take(")")
        self._depth -= 1
        while self._peek() in ("WITHIN", "REPEATS", "START"):
            found = _unusable(found, f"it asks for a time or a number of times ({self._qualifier()})")
        return found

    def _qualifier(self) -> str:
        name = self._take("WITHIN", "REPEATS", "START").upper()
        if name == "START":
            self._take("typed", "string")
            self._take("STOP")
            self._take("typed", "string")
        else:
            self._take("number")
            self._take("SECONDS" if name == "WITHIN" else "TIMES")
        return name

    # --- comparisons

    def _comparisons_or(self) -> list[Alternative]:
        found = self._comparisons_and()
        while self._peek() == "OR":
            self._at += 1
            found = _bounded(found + self._comparisons_and())
        return found

    def _comparisons_and(self) -> list[Alternative]:
        found = self._comparison()
        while self._peek() == "AND":
            self._at += 1
            found = _product(found, self._comparison())
        return found

    def _comparison(self) -> list[Alternative]:
        if self._peek() == "(":
            self._at += 1
            self._deeper()
            found = self._comparisons_or()
            self._take(")")
            self._depth -= 1
            return found
        if self._peek() in ("EXISTS", "NOT"):
            self._at += self._peek() == "NOT"
            self._take("EXISTS")
            path = self._path()
            return [Alternative((), f"it asks whether {path} is there (EXISTS)")]
        path = self._path()
        is_negated = self._peek() == "NOT"
        self._at += is_negated
        operator = self._take(*_COMPARING, *_COMPARING_WORDS).upper()
        values = self._set() if operator == "IN" else (self._literal(),)
        return [Alternative((Comparison(path, "=" if operator == "==" else operator, values, is_negated),))]

    def _path(self) -> str:
        return re.sub(r"\s+", "", self._take("path"))

    def _set(self) -> tuple[str, ...]:
        self._take("(")
        values = [self._literal()]
        while self._take(",", ")") == ",":
            values.append(self._literal())
        return tuple(values)

    def _literal(self) -> str:
        kind = self._peek()
        text = self._take("string", "typed", "number", "TRUE", "FALSE")
        if kind == "string":
            return _text_of(text)
        return _text_of(text[1:]) if kind == "typed" else text


def _bounded(found: list[Alternative]) -> list[Alternative]:
    if len(found) > ALTERNATIVES_MAX:
        raise LimitExceeded("ALTERNATIVES_MAX", ALTERNATIVES_MAX, where="STIX pattern")
    return found


def _unusable(found: Sequence[Alternative], reason: str) -> list[Alternative]:
    """One alternative that says why none of these can be used by itself."""
    return [Alternative((), next((each.reason for each in found if each.reason), reason))]


def _product(left: list[Alternative], right: list[Alternative]) -> list[Alternative]:
    if len(left) * len(right) > ALTERNATIVES_MAX:
        raise LimitExceeded("ALTERNATIVES_MAX", ALTERNATIVES_MAX, where="STIX pattern")
    joined = [Alternative(a.comparisons + b.comparisons, a.reason or b.reason) for a in left for b in right]
    if joined and len(joined[0].comparisons) > PARTS_MAX:
        raise LimitExceeded("PARTS_MAX", PARTS_MAX, where="STIX pattern")
    return joined


# --- what comparisons mean -----------------------------------------------------------------------------------------

_IP: Final = Word("ip", "is")
_NAME: Final = Word("domain", "is")
_EMAIL: Final = Word("email", "is")
_PATHS: Final[dict[str, Word | None]] = {
    "ipv4-addr:value": _IP,
    "ipv6-addr:value": _IP,
    "domain-name:value": _NAME,
    "url:value": Word("url", "is"),
    "email-addr:value": _EMAIL,
    "email-message:from_ref.value": _EMAIL,
    "email-message:sender_ref.value": _EMAIL,
    "file:name": Word("file", "named"),
    "x509-certificate:serial_number": Word("certificate", "is"),
    "user-account:account_login": Word("account", "is"),
    "domain-name:resolves_to_refs[*].value": None,
    "network-traffic:dst_ref.value": None,
    "network-traffic:src_ref.value": None,
}
"""Path → what its values are; None where they may be an address or a name."""
_HASHES: Final = re.compile(r"(file|artifact|x509-certificate):hashes\.'?(md5|sha-?1|sha-?(?:224|256|384|512))'?", re.I)
_IMPORT_HASH: Final = re.compile(r"file:(?:extensions\.'windows-pebinary-ext'\.imphash|hashes\.'?imphash'?)", re.I)
_NARROWING: Final = re.compile(
    r"network-traffic:(?:dst_port|src_port|protocols\[\*\]|protocols\[\d+\]|(?:dst|src)_ref\.type|is_active)"
    r"|domain-name:type|url:type|ipv[46]-addr:type|file:(?:size|mime_type|name|type)"
    r"|file:extensions\.'windows-pebinary-ext'\..*|file:parent_directory_ref\..*",
    re.IGNORECASE,
)
"""Beside a comparison that names the thing, these only narrow it."""


def _word(path: str) -> Word | None:
    """What the values of a path are. Raises: ParseError if none of our observables."""
    if path in _PATHS:
        return _PATHS[path]
    if _IMPORT_HASH.fullmatch(path):
        return Word("hash", "is", "imphash:")
    hashes = _HASHES.fullmatch(path)
    if hashes is None:
        raise ParseError(f"{path} is not looked for")
    return Word("certificate" if hashes[1].lower() == "x509-certificate" else "hash", "is")


def reduced(pattern: str) -> Reduced:
    """Read a pattern and give what it means.

    >>> [meant.value for meant, _ in reduced("[domain-name:value = 'a.example' OR ipv4-addr:value = '192.0.2.0/24']").found]
    ['a.example', '192.0.2.0/24']

    Raises: ParseError (not a pattern), LimitExceeded (PATTERN_CHARACTERS_MAX, TOKENS_MAX, DEPTH_MAX,
    ALTERNATIVES_MAX, PARTS_MAX).
    """  # noqa: E501  # the example is one line
    found: dict[tuple[Meant, str], None] = {}
    skipped: dict[str, None] = {}
    for alternative in _Parser(pattern).parse():
        if alternative.reason:
            skipped[alternative.reason] = None
            continue
        try:
            found.update(dict.fromkeys(_meanings(alternative.comparisons)))
        except InputError as error:
            skipped[error.what] = None
        if len(found) > ALTERNATIVES_MAX:
            raise LimitExceeded("ALTERNATIVES_MAX", ALTERNATIVES_MAX, where="STIX pattern")
    return Reduced(list(found), list(skipped))


def _meanings(comparisons: Sequence[Comparison]) -> list[tuple[Meant, str]]:
    """What comparisons that hold together mean. Raises: InputError, with the reason why they cannot be used."""
    naming = [each for each in comparisons if _IMPORT_HASH.fullmatch(each.path) or not _NARROWING.fullmatch(each.path)]
    if not naming:
        # Names of files only narrow beside a hash; alone they are what is looked for.
        naming = [each for each in comparisons if each.path == "file:name"] if len(comparisons) == 1 else []
    if not naming:
        raise ParseError(f"{comparisons[0].path} is not looked for")
    meant = [_of_comparison(each) for each in naming]
    if len(naming) > 1 and not all(_HASHES.fullmatch(each.path) for each in naming):
        paths = ", ".join(dict.fromkeys(each.path for each in naming))
        raise ParseError(f"it asks for several things together ({paths})")
    return [each for group in meant for each in group]


def _of_comparison(comparison: Comparison) -> list[tuple[Meant, str]]:
    path, operator, values, is_negated = comparison
    word = _word(path)
    if is_negated or operator not in ("=", "IN", "ISSUBSET"):
        asked = f"NOT {operator}" if is_negated else operator
        raise ParseError(f"{asked} is not supported")
    found: list[tuple[Meant, str]] = []
    for value in values:
        found += [(meant, value) for meant in meaning(value, word or _address_or_name(value))]
    return found


def _address_or_name(value: str) -> Word:
    return _IP if re.fullmatch(r"[0-9./]+|[0-9a-fA-F:./]*:[0-9a-fA-F:./]*", value) else _NAME

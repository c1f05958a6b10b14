"""All questions that a rule set asks about one field, answered for each distinct value once.

The answer for a value is a *signature*: the set of atoms that are true for it. Signatures are numbered; a column of
values becomes an array of signature numbers, and rules are boolean algebra over those.

Literals are found by one Hyperscan automaton over the folded text; patterns with case and regular expressions by a
second one over the text as it is, where it only says which of them RE2 has to confirm.
"""

from __future__ import annotations

import hashlib
import ipaddress
import operator
import platform
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.metadata import version
from typing import NamedTuple, Protocol, TypeAlias, cast

import hyperscan
import msgspec
import re2

from mingjian.detect.leaves import Leaf, addresses_of, fold, is_null, leaves, number_of, text_of, time_parts
from mingjian.formats.records import json_bytes
from mingjian.model.rules import (
    ANY,
    ONE,
    AnyAtom,
    Bool,
    Cidr,
    Compare,
    Exists,
    FieldRef,
    Null,
    Number,
    Regex,
    Text,
    TimePart,
)
from mingjian.model.values import EMPTY, MISSING, Empty, Missing, Value

REGEXES_KEPT_MAX = 4096
"""So many compiled regular expressions are kept ready."""
Comparison: TypeAlias = Callable[[float, float], bool]

COMPARISONS: Mapping[str, Comparison] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "eq": operator.eq,
}

Blobs: TypeAlias = Mapping[str, bytes]
"""Ready-made automata by the hash of what went into them."""

_Pattern: TypeAlias = tuple[bytes, int]
"""A Hyperscan expression and its flags."""
_Outcome: TypeAlias = tuple[list[int], list[int]]
_SIEVE_CHARACTERS_MAX = 500
"""Of a longer literal only so much goes into the automaton, and the rest is confirmed; a longer regular expression
is asked of every distinct value."""
_KEY_BYTES = 128
"""What remembering a value costs beside its characters, about."""
_ANCHORS: Mapping[tuple[object, ...], tuple[bytes, bytes]] = {
    ("literal", ANY): (b"^", b""),
    (ANY, "literal"): (b"", rb"\z"),
    (ANY, "literal", ANY): (b"", b""),
}
_REGEX_FLAGS = {"i": hyperscan.HS_FLAG_CASELESS, "s": hyperscan.HS_FLAG_DOTALL, "m": hyperscan.HS_FLAG_MULTILINE}


class _Piece(NamedTuple):
    """What stands between two ``ANY``: literals and ``ONE``, of a fixed length."""

    parts: tuple[str | int, ...]
    length: int
    literal: str
    """Its first literal, by which places are looked for; empty if it has none."""
    before: int
    """How many characters stand before that literal."""

    def fits_at(self, text: str, at: int) -> bool:
        """Whether the piece stands at a place in a text."""
        if at + self.length > len(text):
            return False
        for part in self.parts:
            if isinstance(part, str):
                if not text.startswith(part, at):
                    return False
                at += len(part)
            else:
                at += 1
        return True

    def first_fit(self, text: str, at: int, end: int) -> int:
        """The first place not before ``at`` where the piece fits and ends not behind ``end``; −1 if there is none."""
        while at + self.length <= end:
            found = text.find(self.literal, at + self.before, end)
            if found < 0 or found - self.before + self.length > end:
                return -1
            if len(self.parts) == 1 or self.fits_at(text, found - self.before):
                return found - self.before
            at = found - self.before + 1
        return -1


class Glob:
    """A pattern of literal pieces, ``ANY`` and ``ONE``, against whole texts; linear in the text for each piece.

    >>> Glob(("a", ANY, "b", ONE)).matches("axxbc"), Glob(("a", ANY, "b", ONE)).matches("axxb")
    (True, False)
    """

    def __init__(self, parts: Iterable[str | int]) -> None:
        pieces: list[list[str | int]] = [[]]
        for part in parts:
            if part == ANY and not isinstance(part, str):
                pieces.append([])
            else:
                pieces[-1].append(part)
        self._first, *self._inner = map(_piece, pieces)
        self._last = self._inner.pop() if self._inner else None

    def matches(self, text: str) -> bool:
        """Whether the whole text fits."""
        at = self._first.length
        if not self._first.fits_at(text, 0):
            return False
        if self._last is None:
            return at == len(text)
        end = len(text) - self._last.length
        for piece in self._inner:
            at = piece.first_fit(text, at, end)
            if at < 0:
                return False
            at += piece.length
        return at <= end and self._last.fits_at(text, end)


def _piece(parts: Sequence[str | int]) -> _Piece:
    literal = next((part for part in parts if isinstance(part, str)), "")
    length = sum(len(part) if isinstance(part, str) else 1 for part in parts)
    return _Piece(tuple(parts), length, literal, parts.index(literal) if literal else 0)


class _Searchable(Protocol):
    def search(self, text: str) -> object: ...


class _Patterns:
    """Patterns over bytes for one automaton, each of which makes some atoms true or asks for a closer look at them."""

    def __init__(self) -> None:
        self._sure: dict[_Pattern, list[int]] = defaultdict(list)
        self._unsure: dict[_Pattern, list[int]] = defaultdict(list)

    def add(self, pattern: bytes, flags: int, atom: int, *, sure: bool) -> None:
        """Say that a pattern makes an atom true, or (not ``sure``) that it may."""
        (self._sure if sure else self._unsure)[pattern, flags | hyperscan.HS_FLAG_SINGLEMATCH].append(atom)

    def compiled(self) -> tuple[_Automaton | None, list[int]]:
        """The automaton, if there is any pattern, and the atoms of the patterns that Hyperscan refuses."""
        refused = self._drop_uncompilable()
        patterns = sorted(self._sure.keys() | self._unsure.keys())
        if not patterns:
            return None, refused
        outcomes = [(self._sure.get(pattern, []), self._unsure.get(pattern, [])) for pattern in patterns]
        return _Automaton(_compiled(patterns), outcomes), refused

    def _drop_uncompilable(self) -> list[int]:
        """Take out of the regular expressions what Hyperscan cannot do; literals always compile."""
        if _compiles(list(self._unsure)):
            return []
        refused: list[int] = []
        for pattern in [pattern for pattern in self._unsure if not _compiles([pattern])]:
            refused += self._unsure.pop(pattern)
        return refused


class _Automaton(NamedTuple):
    database: hyperscan.Database
    outcomes: list[_Outcome]
    """For each pattern the atoms that it makes true, and those that it says to look at."""


def _collect(pattern: int, start: int, end: int, flags: int, context: object) -> None:
    cast("list[int]", context).append(pattern)


def _compiled(patterns: Sequence[_Pattern]) -> hyperscan.Database:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[pattern for pattern, _ in patterns],
        ids=list(range(len(patterns))),
        flags=[flags for _, flags in patterns],
    )
    return database


def _kept(automaton: _Automaton | None) -> _KeptAutomaton | None:
    return None if automaton is None else _KeptAutomaton(hyperscan.dumpb(automaton.database), automaton.outcomes)


def _loaded(kept: _KeptAutomaton | None) -> _Automaton | None:
    if kept is None:
        return None
    database = hyperscan.loadb(kept.database, hyperscan.HS_MODE_BLOCK)
    database.scratch = hyperscan.Scratch(database)
    return _Automaton(database, kept.outcomes)


def _compiles(patterns: Sequence[_Pattern]) -> bool:
    try:
        if patterns:
            _compiled(patterns)
    except hyperscan.HyperscanError:
        return False
    return True


@cache
def _maker() -> tuple[str, str]:
    """What an automaton is good for: this version of Hyperscan, on processors of this kind."""
    return version("hyperscan"), platform.machine()


_HEXADECIMAL = [b"\\x%02x" % byte for byte in range(256)]


def _literally(text: str) -> bytes:
    return b"".join(map(_HEXADECIMAL.__getitem__, text.encode("utf-8", "surrogatepass")))


def longest_literal(parts: Iterable[str | int]) -> str:
    """The longest literal piece of a pattern, the first of several; empty if it has none."""
    return max((part for part in parts if isinstance(part, str)), key=len, default="")


def scannable(text: str) -> str:
    """A text as RE2 and Hyperscan may see it: every lone surrogate is U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


@lru_cache(maxsize=REGEXES_KEPT_MAX)
def _regex(pattern: str, flags: str) -> _Searchable:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(f"(?{flags}){pattern}" if flags else pattern, options)


def regex_found(pattern: str, flags: str, text: str) -> bool:
    """Whether RE2 finds a pattern in a text. ``flags`` out of ``ims``."""
    return _regex(pattern, flags).search(scannable(text)) is not None


_WIDE = re.compile(rb"\\x\{0*[1-9A-Fa-f][0-9A-Fa-f]{2,}\}")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _KeptAutomaton(msgspec.Struct, array_like=True):
    database: bytes
    outcomes: list[_Outcome]


class _Texts(msgspec.Struct, array_like=True):
    """What the atoms on text come to: the costly part of a matcher, which can be kept."""

    equal: dict[str, list[int]] = {}
    equal_cased: dict[str, list[int]] = {}
    any: list[int] = []
    unsieved: list[int] = []
    """To be asked of every distinct value."""
    regexes: list[int] = []
    others: list[int] = []
    """Atoms that are not on text."""
    folded: _KeptAutomaton | None = None
    exact: _KeptAutomaton | None = None


class _TextsInWork:
    """Sorts the atoms on text by what finds them."""

    def __init__(self, atoms: Sequence[AnyAtom]) -> None:
        self.texts = _Texts()
        self._folded = _Patterns()
        self._exact = _Patterns()
        for index, atom in enumerate(atoms):
            if isinstance(atom, Text):
                self._add_text(index, atom)
            elif isinstance(atom, Regex):
                self._add_regex(index, atom)
            else:
                self.texts.others.append(index)
        self.folded, refused = self._folded.compiled()
        self.exact, refused_exactly = self._exact.compiled()
        self.texts.unsieved += refused + refused_exactly

    def _add_text(self, index: int, atom: Text) -> None:
        literal = longest_literal(atom.parts)
        if not atom.cased:
            literal = fold(literal)
        shape = tuple(part if part in (ANY, ONE) else "literal" for part in atom.parts)
        if shape == (ANY,):
            self.texts.any.append(index)
        elif shape in ((), ("literal",)):
            (self.texts.equal_cased if atom.cased else self.texts.equal).setdefault(literal, []).append(index)
        elif not literal:
            self.texts.unsieved.append(index)
        else:
            before, after = _ANCHORS.get(shape, (b"", b""))
            whole = len(literal) <= _SIEVE_CHARACTERS_MAX
            pattern = before + _literally(literal) + after if whole else _literally(literal[:_SIEVE_CHARACTERS_MAX])
            patterns = self._exact if atom.cased else self._folded
            patterns.add(pattern, 0, index, sure=whole and shape in _ANCHORS)

    def _add_regex(self, index: int, atom: Regex) -> None:
        self.texts.regexes.append(index)
        if not atom.pattern.isascii() or len(atom.pattern) > _SIEVE_CHARACTERS_MAX:
            self.texts.unsieved.append(index)
            return
        wanted = hyperscan.HS_FLAG_PREFILTER | hyperscan.HS_FLAG_ALLOWEMPTY
        for letter, flag in _REGEX_FLAGS.items():
            wanted |= flag if letter in atom.flags else 0
        # What is no byte cannot be in ASCII text, and the upper end of a class may as well be the last byte.
        self._exact.add(_WIDE.sub(rb"\\xff", atom.pattern.encode()), wanted, index, sure=False)


class FieldMatcher:
    """The atoms of a rule set on one field (or its keywords), ready to be asked about values.

    An atom is known by its place in ``atoms``. ``FieldRef`` is not for this class: it looks at two fields.
    ``signatures[n]`` is the set of atoms of signature number ``n``; number 0 is the empty set.
    """

    def __init__(self, atoms: Sequence[AnyAtom], blobs: Blobs | None = None) -> None:
        """Take atoms; ``blobs``, of matchers over the same atoms, spare compiling."""
        self.atoms = atoms
        self.signatures: list[frozenset[int]] = []
        self._number_of: dict[frozenset[int], int] = {}
        self._known: dict[object, int] = {}
        self.held_bytes = 0
        """About how much memory the remembered values take."""
        self._equal_number: dict[float, list[int]] = defaultdict(list)
        self._spelled: dict[str, list[int]] = defaultdict(list)
        self._truth: dict[bool, list[int]] = {True: [], False: []}
        self._globs: dict[int, Glob] = {}
        self._compares: list[tuple[int, Comparison, float]] = []
        self._networks: list[tuple[int, ipaddress.IPv4Network | ipaddress.IPv6Network]] = []
        self._times: list[tuple[int, str, Comparison, int]] = []
        self._exists: list[int] = []
        self._null: list[int] = []
        self._texts, self._folded, self._exact = self._of_texts(blobs or {})
        self._regexes = {index: cast("Regex", atoms[index]) for index in self._texts.regexes}
        for index in self._texts.others:
            self._add(index, atoms[index])
        self._measures = bool(self._compares or self._networks or self._times)
        self.forget()

    def _of_texts(self, blobs: Blobs) -> tuple[_Texts, _Automaton | None, _Automaton | None]:
        key = self._key()
        blob = blobs.get(key) if key else None
        if blob is None:
            made = _TextsInWork(self.atoms)
            return made.texts, made.folded, made.exact
        texts = _decode_texts(blob)
        folded, exact = map(_loaded, (texts.folded, texts.exact))
        texts.folded = texts.exact = None
        return texts, folded, exact

    def _key(self) -> str | None:
        """The hash of everything that the atoms on text come to; None if they hold what cannot be written."""
        try:
            content = msgspec.msgpack.encode((_maker(), self.atoms))
        except (UnicodeEncodeError, OverflowError):
            return None
        return hashlib.blake2b(content, digest_size=16).hexdigest()

    def blobs(self) -> dict[str, bytes]:
        """What was worked out, by its key, for the next time."""
        key = self._key()
        if key is None:
            return {}
        kept = msgspec.structs.replace(self._texts, folded=_kept(self._folded), exact=_kept(self._exact))
        return {key: msgspec.msgpack.encode(kept)}

    def _add(self, index: int, atom: AnyAtom) -> None:
        match atom:
            case Number():
                self._equal_number[atom.value].append(index)
                self._spelled[text_of(atom.value)].append(index)
            case Bool():
                self._truth[atom.value].append(index)
            case Compare():
                self._compares.append((index, COMPARISONS[atom.op], atom.value))
            case Cidr():
                self._networks.append((index, ipaddress.ip_network(atom.network, strict=False)))
            case TimePart():
                self._times.append((index, atom.part, COMPARISONS[atom.op], atom.value))
            case Exists():
                self._exists.append(index)
            case Null():
                self._null.append(index)
            case FieldRef() | Text() | Regex():
                raise AssertionError("a comparison of two fields is not a question about one")

    def forget(self) -> None:
        """Forget all values that were seen; signature numbers start anew."""
        self.signatures = [frozenset()]
        self._number_of = {frozenset(): 0}
        self._known = {value: self._number(self.atoms_of(value)) for value in (MISSING, None, EMPTY)}
        self.held_bytes = 0

    def _number(self, atoms: frozenset[int]) -> int:
        number = self._number_of.get(atoms)
        if number is None:
            number = self._number_of[atoms] = len(self.signatures)
            self.signatures.append(atoms)
        return number

    def column(self, values: Sequence[Value | Missing]) -> list[int]:
        """The signature number of each value. Numbers stay valid until ``forget``."""
        first = values[0] if values else None
        if (first is MISSING or first is None) and values.count(first) == len(values):
            return [self._known[first]] * len(values)
        simple = set(map(type, values)) <= _SIMPLE
        keys: Sequence[object] = values if simple else [_key(value) for value in values]
        known = self._known
        numbers = list(map(known.get, keys))
        if None in numbers:
            new = {key: value for key, value, number in zip(keys, values, numbers, strict=True) if number is None}
            for key, value in new.items():
                known[key] = self._number(self.atoms_of(value))
                self.held_bytes += _KEY_BYTES + (len(key) if isinstance(key, str) else _size(key))
            return list(map(known.__getitem__, keys))
        return cast("list[int]", numbers)

    def remembered(self, value: Value | Missing) -> frozenset[int]:
        """The same as ``atoms_of``, looked up if the value was seen before."""
        return self.signatures[self.column((value,))[0]]

    def together(self, numbers: Iterable[int]) -> int:
        """The number of the signature that has the atoms of all these."""
        different = set(numbers)
        if len(different) <= 1:
            return next(iter(different), 0)
        return self._number(frozenset[int]().union(*(self.signatures[number] for number in different)))

    def atoms_of(self, value: Value | Missing) -> frozenset[int]:
        """The atoms that are true for whatever a field holds."""
        found: list[int] = []
        if value is not MISSING:
            found += self._exists
        if isinstance(value, str):
            self._look(value, value, found)
            return frozenset(found)
        if self._null and is_null(value):
            found += self._null
        for leaf in leaves(value):
            self._look(leaf, text_of(leaf), found)
        return frozenset(found)

    def _look(self, leaf: Leaf, text: str, found: list[int]) -> None:
        """Add the atoms that are true for one leaf."""
        is_ascii = text.isascii()
        folded = text.lower() if is_ascii else fold(text)
        texts = self._texts
        perhaps: list[int] = list(texts.unsieved)
        if texts.any:
            found += texts.any
        if folded in texts.equal:
            found += texts.equal[folded]
        if text in texts.equal_cased:
            found += texts.equal_cased[text]
        patterns: list[int] = []
        if self._folded is not None:
            # By position: Hyperscan's binding takes three times as long to be told by name.
            self._folded.database.scan(folded.encode("utf-8", "surrogatepass"), _collect, 0, patterns)
            for sure, unsure in map(self._folded.outcomes.__getitem__, patterns):
                found += sure
                perhaps += unsure
            patterns.clear()
        if self._exact is not None:
            self._exact.database.scan(text.encode("utf-8", "surrogatepass"), _collect, 0, patterns)
            for sure, unsure in map(self._exact.outcomes.__getitem__, patterns):
                found += sure
                perhaps += unsure
        if not is_ascii or not text:
            # What Hyperscan says of a regular expression holds for ASCII only, and it says nothing of the empty text.
            perhaps += self._regexes
        if perhaps:
            found += [index for index in set(perhaps) if self._confirms(index, text, folded)]
        if isinstance(leaf, bool):
            found += self._truth[leaf]
        elif isinstance(leaf, (int, float)):
            found += self._equal_number.get(leaf, ())
        else:
            found += self._spelled.get(text, ())
            found += self._truth[True] if folded == "true" else self._truth[False] if folded == "false" else ()
        if self._measures:
            self._measure(leaf, found)

    def _confirms(self, index: int, text: str, folded: str) -> bool:
        regex = self._regexes.get(index)
        if regex is not None:
            return regex_found(regex.pattern, regex.flags, text)
        atom = self.atoms[index]
        assert isinstance(atom, Text)
        glob = self._globs.get(index)
        if glob is None:
            parts = atom.parts if atom.cased else [fold(part) if isinstance(part, str) else part for part in atom.parts]
            glob = self._globs[index] = Glob(parts)
        return glob.matches(text if atom.cased else folded)

    def _measure(self, leaf: Leaf, found: list[int]) -> None:
        """Add the atoms that take the leaf for a number, an address or a date."""
        if self._compares and (number := number_of(leaf)) is not None:
            found += [index for index, holds, bound in self._compares if holds(number, bound)]
        if self._networks:
            for address in addresses_of(leaf):
                found += [index for index, network in self._networks if address in network]
        if self._times and (parts := time_parts(leaf)):
            found += [i for i, part, holds, bound in self._times if part in parts and holds(parts[part], bound)]


_decode_texts = msgspec.msgpack.Decoder(_Texts).decode
_SIMPLE = {str, int, type(None), Missing, Empty}
"""Types whose values may be keys of one dictionary: no two of them are equal across types."""


def _key(value: Value | Missing) -> object:
    """What a value is remembered under: itself, or with its type where Python would take it for another's equal."""
    if isinstance(value, (bool, float)):
        return (type(value), value)
    if isinstance(value, (list, dict)):
        return (type(value), json_bytes(value))
    return value


def _size(key: object) -> int:
    return len(key[1]) if isinstance(key, tuple) and isinstance(key[1], bytes) else 0

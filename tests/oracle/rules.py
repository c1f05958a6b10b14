"""YAML to rules, read with nothing but PyYAML and the specification.

A detection becomes a tree of ``AllOf``, ``AnyOf``, ``Not``, ``AtLeast`` over ``Search`` items. A search asks one
question of one field (or, without a field, of every value). Whatever is not understood is refused with a reason.
"""

from __future__ import annotations

import base64
import ipaddress
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import yaml

from oracle import regex
from oracle.events import fold, text_of

LogSource = tuple[str | None, str | None, str | None]
"""Product, category, service."""


class Refused(ValueError):
    """A rule that cannot be used, with the reason."""


@dataclass(frozen=True, eq=False)
class Wild:
    """A wildcard: ``*`` or ``?``. There is one of each, compared by identity."""

    sign: str


MANY = Wild("*")
ONE = Wild("?")


@dataclass(frozen=True)
class Placeholder:
    """``%name%`` under ``|expand``, until it is replaced."""

    name: str


Part = str | bytes | Wild | Placeholder


@dataclass(frozen=True)
class Run:
    """What stands between two ``*``: literals and ``?``, of a known length; ``literal`` if it has no ``?``."""

    parts: tuple[str | Wild, ...]
    length: int
    literal: str | None


@dataclass(frozen=True)
class Glob:
    """A text with wildcards; adjacent literals are merged."""

    parts: tuple[str | Wild, ...]
    cased: bool = False

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """What the wildcards ``*`` divide it into, folded unless it is cased."""
        return runs_of(self.parts if self.cased else tuple(p if isinstance(p, Wild) else fold(p) for p in self.parts))


@dataclass(frozen=True)
class NumberIs:
    """This number."""

    value: int | float


@dataclass(frozen=True)
class TruthIs:
    """This truth value."""

    value: bool


@dataclass(frozen=True)
class IsNull:
    """Null in the sense of matching.md."""


@dataclass(frozen=True)
class Exists:
    """The field is there (or is not)."""

    wanted: bool


@dataclass(frozen=True)
class Compared:
    """In this relation to a number: gt, gte, lt, lte."""

    relation: str
    bound: int | float


@dataclass(frozen=True)
class Regex:
    """Found somewhere in the text."""

    node: regex.Node
    written: str


@dataclass(frozen=True)
class InNetwork:
    """An address in this network."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class SameAs:
    """Stands in this relation to the other field: equals, startswith, endswith, contains."""

    other: str
    how: str
    cased: bool


@dataclass(frozen=True)
class DatePart:
    """A part of the date in this relation (eq, gt, gte, lt, lte) to a number."""

    part: str
    relation: str
    bound: int


Question = Glob | NumberIs | TruthIs | IsNull | Exists | Compared | Regex | InNetwork | SameAs | DatePart


@dataclass(frozen=True)
class Search:
    """Questions to a field, or to every value of the event if it is None.

    One group for each value as written; a group is true if one of its questions is. One group must be true, with
    ``every`` each of them.
    """

    field: str | None
    groups: tuple[tuple[Question, ...], ...]
    every: bool = False
    negated: bool = False
    written: str = ""


@dataclass(frozen=True)
class AllOf:
    """Each of them."""

    items: tuple[Tree, ...]


@dataclass(frozen=True)
class AnyOf:
    """One of them."""

    items: tuple[Tree, ...]


@dataclass(frozen=True)
class AtLeast:
    """So many of them."""

    count: int
    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Not:
    """Not that."""

    item: Tree


Tree = Search | AllOf | AnyOf | AtLeast | Not


@dataclass(frozen=True)
class Rule:
    """A detection rule as the specification reads it."""

    id: str
    name: str | None
    title: str
    logsource: LogSource
    tree: Tree
    file: str = ""


@dataclass(frozen=True)
class Filter:
    """A meta rule that is ANDed to the rules that it names."""

    rules: tuple[str, ...]
    logsource: LogSource
    tree: Tree


@dataclass(frozen=True)
class Reading:
    """What came out of some files: rules, filters, correlations by title (not evaluated here), and refusals."""

    rules: tuple[Rule, ...]
    filters: tuple[Filter, ...]
    correlations: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]
    """(file, reason)."""


def runs_of(parts: tuple[str | Wild, ...]) -> tuple[Run, ...]:
    """Divide a text at each ``*``."""
    runs: list[list[str | Wild]] = [[]]
    for part in parts:
        if part is MANY:
            runs.append([])
        else:
            runs[-1].append(part)
    return tuple(
        Run(
            parts=tuple(run),
            length=sum(1 if part is ONE else len(str(part)) for part in run),
            literal=None if ONE in run else "".join(map(str, run)),
        )
        for run in runs
    )


# --- files ---


class _Loader(yaml.CSafeLoader):
    """Safe YAML without dates (YAML 1.2 has none) and without duplicate keys."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    pairs = [
        (loader.construct_object(key, deep=True), loader.construct_object(item, deep=True)) for key, item in node.value
    ]
    if len({key for key, _ in pairs}) < len(pairs):
        raise Refused("a key is written twice")
    return dict(pairs)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(files: Iterable[tuple[str, bytes]], placeholders: Mapping[str, Sequence[Any]] | None = None) -> Reading:
    """Read rule files. Filters are applied to the rules among them."""
    rules: list[Rule] = []
    filters: list[Filter] = []
    correlations: list[str] = []
    refused: list[tuple[str, str]] = []
    for file, content in files:
        try:
            documents = [d for d in yaml.load_all(content, _Loader) if d is not None]
        except (yaml.YAMLError, Refused, UnicodeDecodeError, ValueError) as error:
            refused.append((file, str(error)))
            continue
        for document in documents:
            try:
                if not isinstance(document, dict):
                    raise Refused("not a map")
                if "correlation" in document:
                    correlations.append(str(document.get("title")))
                elif "filter" in document:
                    filters.append(_filter(document, placeholders or {}))
                else:
                    rules.append(_rule(document, file, placeholders or {}))
            except Refused as error:
                refused.append((file, str(error)))
    filtered = tuple(_filtered(rule, filters) for rule in rules)
    return Reading(filtered, tuple(filters), tuple(correlations), tuple(refused))


def _rule(document: dict[str, Any], file: str, placeholders: Mapping[str, Sequence[Any]]) -> Rule:
    detection = document.get("detection")
    if not isinstance(detection, dict) or "condition" not in detection:
        raise Refused("no detection or no condition")
    if "timeframe" in detection:
        raise Refused("timeframe belongs to the old aggregations")
    return Rule(
        id=str(document.get("id", "")),
        name=document.get("name"),
        title=str(document.get("title", "")),
        logsource=_logsource(document),
        tree=_tree(detection, placeholders),
        file=file,
    )


def _filter(document: dict[str, Any], placeholders: Mapping[str, Sequence[Any]]) -> Filter:
    body = document["filter"]
    if not isinstance(body, dict) or "condition" not in body or "rules" not in body:
        raise Refused("a filter needs rules and a condition")
    rules = body["rules"] if isinstance(body["rules"], list) else [body["rules"]]
    detection = {key: item for key, item in body.items() if key != "rules"}
    return Filter(tuple(map(str, rules)), _logsource(document), _tree(detection, placeholders))


def _logsource(document: dict[str, Any]) -> LogSource:
    written = document.get("logsource")
    if not isinstance(written, dict):
        raise Refused("no logsource")
    product, category, service = (written.get(part) for part in ("product", "category", "service"))
    if not all(isinstance(part, str | None) for part in (product, category, service)):
        raise Refused("a part of the logsource is no text")
    return product, category, service


def covers(general: LogSource, special: LogSource) -> bool:
    """Whether every part that the general one names is the same in the special one."""
    return all(wanted in (None, given) for wanted, given in zip(general, special, strict=True))


def _filtered(rule: Rule, filters: Iterable[Filter]) -> Rule:
    trees = tuple(
        f.tree for f in filters if (rule.id in f.rules or rule.name in f.rules) and covers(f.logsource, rule.logsource)
    )
    return replace(rule, tree=AllOf((rule.tree, *trees))) if trees else rule


# --- conditions ---


def _tree(detection: dict[str, Any], placeholders: Mapping[str, Sequence[Any]]) -> Tree:
    identifiers = {
        str(name): _identifier(body, placeholders) for name, body in detection.items() if name != "condition"
    }
    conditions = detection["condition"]
    if not isinstance(conditions, list):
        conditions = [conditions]
    if not conditions or not all(isinstance(condition, str) for condition in conditions):
        raise Refused("a condition is no text")
    trees = tuple(_Condition(condition, identifiers).whole() for condition in conditions)
    return trees[0] if len(trees) == 1 else AnyOf(trees)


class _Condition:
    """Recursive descent: or, and, not, ``x of``, parentheses."""

    def __init__(self, condition: str, identifiers: Mapping[str, Tree]) -> None:
        self.condition = condition
        self.identifiers = identifiers
        self.words = re.findall(r"[()|]|[^\s()|]+", condition)

    def whole(self) -> Tree:
        tree = self.any_of()
        if self.words:
            raise Refused(f"unexpected {self.words[0]!r} in condition {self.condition!r}")
        return tree

    def peek(self) -> str:
        return self.words[0] if self.words else ""

    def any_of(self) -> Tree:
        items = [self.all_of()]
        while self.peek().lower() == "or":
            self.words.pop(0)
            items.append(self.all_of())
        return items[0] if len(items) == 1 else AnyOf(tuple(items))

    def all_of(self) -> Tree:
        items = [self.negation()]
        while self.peek().lower() == "and":
            self.words.pop(0)
            items.append(self.negation())
        return items[0] if len(items) == 1 else AllOf(tuple(items))

    def negation(self) -> Tree:
        if self.peek().lower() == "not":
            self.words.pop(0)
            return Not(self.negation())
        return self.operand()

    def operand(self) -> Tree:
        if not self.words:
            raise Refused(f"condition {self.condition!r} ends too early")
        word = self.words.pop(0)
        if word == "(":
            tree = self.any_of()
            if not self.words or self.words.pop(0) != ")":
                raise Refused(f"missing ) in condition {self.condition!r}")
            return tree
        if self.peek().lower() == "of":
            self.words.pop(0)
            return self.some_of(word.lower(), self.words.pop(0) if self.words else "")
        if word not in self.identifiers:
            raise Refused(f"{word!r} in condition {self.condition!r} is no search identifier")
        return self.identifiers[word]

    def some_of(self, quantity: str, pattern: str) -> Tree:
        if pattern.lower() == "them":
            chosen = [tree for name, tree in self.identifiers.items() if not name.startswith("_")]
        else:
            wanted = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
            chosen = [
                tree
                for name, tree in self.identifiers.items()
                if wanted.fullmatch(name) and (pattern.startswith("_") or not name.startswith("_"))
            ]
        if not chosen:
            raise Refused(f"no search identifier is {pattern!r}")
        if quantity == "all":
            return AllOf(tuple(chosen))
        if quantity == "any":
            return AnyOf(tuple(chosen))
        if not re.fullmatch("[0-9]+", quantity) or not 1 <= int(quantity) <= len(chosen):
            raise Refused(f"{quantity!r} of {len(chosen)} search identifiers")
        return AtLeast(int(quantity), tuple(chosen))


# --- detections ---


def _identifier(body: Any, placeholders: Mapping[str, Sequence[Any]]) -> Tree:
    if isinstance(body, dict):
        if not body:
            raise Refused("an empty map")
        return AllOf(tuple(_item(str(key), value, placeholders) for key, value in body.items()))
    if isinstance(body, list):
        if not body:
            raise Refused("an empty list")
        return AnyOf(
            tuple(
                _identifier(item, placeholders) if isinstance(item, dict) else _item("", item, placeholders)
                for item in body
            )
        )
    return _item("", body, placeholders)


_TEXT = {
    "contains",
    "startswith",
    "endswith",
    "windash",
    "base64",
    "base64offset",
    "utf16",
    "utf16le",
    "utf16be",
    "wide",
}
_TEXT |= {"cased", "expand"}
_RELATIONS = {"gt", "gte", "lt", "lte"}
_DATE_PARTS = {"minute", "hour", "day", "week", "month", "year"}
_LOGIC = {"all", "neq"}
_WITH: dict[str, set[str]] = {
    "re": {"i", "m", "s", "expand"},
    "cidr": {"expand"},
    "exists": set(),
    "fieldref": {"contains", "startswith", "endswith", "cased"},
    **dict.fromkeys(_RELATIONS, _DATE_PARTS),
    **dict.fromkeys(_DATE_PARTS, _RELATIONS),
}
"""Modifiers that make something else than a text of the value, and which others they may stand with."""

MODIFIERS = frozenset(_TEXT | _LOGIC | set(_WITH) | {"i", "m", "s"})
"""Every modifier of the specification's appendix, version 2.1.0."""


def _item(key: str, value: Any, placeholders: Mapping[str, Sequence[Any]]) -> Search:
    name, *modifiers = key.split("|")
    unknown = set(modifiers) - MODIFIERS
    if unknown:
        raise Refused(f"unknown modifier {', '.join(sorted(unknown))}")
    if len(set(modifiers)) < len(modifiers):
        raise Refused(f"a modifier is written twice in {key!r}")
    values = value if isinstance(value, list) else [value]
    if not values:
        raise Refused(f"{key!r} has no value")
    groups = tuple(tuple(_questions(name, item, modifiers, placeholders)) for item in values)
    if not name and not all(isinstance(question, Glob | Regex) for group in groups for question in group):
        raise Refused(f"a keyword cannot be {key!r}: {value!r}")
    return Search(name or None, groups, "all" in modifiers, "neq" in modifiers, f"{key}: {value!r}")


def _questions(
    name: str, value: Any, modifiers: Sequence[str], placeholders: Mapping[str, Sequence[Any]]
) -> Iterator[Question]:
    """Give what one written value asks: alternatives, as ``windash``, ``base64offset`` and ``expand`` make several."""
    if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        raise Refused(f"a value of {name!r} is a {type(value).__name__}")
    given = [modifier for modifier in modifiers if modifier not in _LOGIC]
    kinds = [modifier for modifier in given if modifier in _WITH]
    for kind in kinds:
        if not set(given) - {kind} <= _WITH[kind]:
            raise Refused(f"{kind} cannot stand with the rest of {'|'.join(modifiers)}")
    if {"i", "m", "s"} & set(given) and "re" not in given:
        raise Refused("i, m and s belong to re")
    if kinds:
        yield from _special(value, given, kinds, placeholders)
    elif value is None:
        if given or not name:
            raise Refused("null under a modifier or as a keyword")
        yield IsNull()
    elif isinstance(value, str) or given or not name:
        yield from _globs(value if isinstance(value, str) else text_of(value), given, not name, placeholders)
    else:
        yield TruthIs(value) if isinstance(value, bool) else NumberIs(value)


def _special(
    value: Any, given: Sequence[str], kinds: Sequence[str], placeholders: Mapping[str, Sequence[Any]]
) -> Iterator[Question]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    kind = kinds[0]
    if kind == "exists":
        if not isinstance(value, bool):
            raise Refused("exists wants a truth value")
        yield Exists(value)
    elif kind in _DATE_PARTS | _RELATIONS:
        parts, relations = [k for k in kinds if k in _DATE_PARTS], [k for k in kinds if k in _RELATIONS]
        if len(parts) > 1 or len(relations) > 1 or not is_number or (parts and not isinstance(value, int)):
            raise Refused(f"{'|'.join(given)} with {value!r}")
        yield DatePart(parts[0], (relations or ["eq"])[0], value) if parts else Compared(relations[0], value)
    elif value is None or isinstance(value, bool):
        raise Refused(f"{kind} wants a text")
    elif kind == "fieldref":
        hows = [modifier for modifier in given if modifier in ("contains", "startswith", "endswith")]
        if len(hows) > 1:
            raise Refused("a field reference stands in one relation")
        yield SameAs(str(value), (hows or ["equals"])[0], "cased" in given)
    else:
        for text in _expanded_raw(text_of(value), placeholders) if "expand" in given else [text_of(value)]:
            yield _regex(text, given) if kind == "re" else _network(text)


def _regex(text: str, given: Sequence[str]) -> Regex:
    try:
        return Regex(regex.parse(text, "".join(flag for flag in "ims" if flag in given)), text)
    except regex.RegexRefused as error:
        raise Refused(str(error)) from error


def _network(text: str) -> InNetwork:
    if not re.fullmatch(r"[0-9a-fA-F.:]+(/[0-9]{1,3})?", text):
        raise Refused(f"{text!r} is no network")
    try:
        return InNetwork(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise Refused(str(error)) from error


# --- texts ---


def _globs(text: str, given: Sequence[str], keyword: bool, placeholders: Mapping[str, Sequence[Any]]) -> Iterator[Glob]:
    """Apply the modifiers in the order in which they are written. Each makes of one value one or more."""
    values: list[tuple[Part, ...]] = [_parse_text(text, "expand" in given)]
    for modifier in given:
        if modifier == "cased":
            continue
        if modifier == "expand":
            values = [new for old in values for new in _expanded(old, placeholders)]
        elif modifier in ("contains", "startswith", "endswith"):
            before = (MANY,) if modifier != "startswith" else ()
            behind = (MANY,) if modifier != "endswith" else ()
            values = [(*before, *old, *behind) for old in values]
        else:
            values = [new for old in values for new in _TRANSFORMATIONS[modifier](old)]
    for value in values:
        anywhere = keyword and not {"startswith", "endswith"} & set(given)
        yield Glob(_joined((MANY, *value, MANY) if anywhere else value), "cased" in given)


def _parse_text(text: str, expand: bool) -> tuple[Part, ...]:
    """Read wildcards and escapes, and under ``expand`` placeholders.

    A backslash before a wildcard, a backslash (or under ``expand`` a percent sign) hides it; else it is itself.
    """
    parts: list[Part] = []
    at = 0
    special = "*?\\%" if expand else "*?\\"
    while at < len(text):
        named = re.compile(r"%([^%\s\\]+)%").match(text, at) if expand else None
        if text[at] == "\\" and at + 1 < len(text) and text[at + 1] in special:
            parts.append(text[at + 1])
            at += 2
        elif named:
            parts.append(Placeholder(named[1]))
            at = named.end()
        else:
            parts.append({"*": MANY, "?": ONE}.get(text[at], text[at]))
            at += 1
    return _merged(parts)


def _merged(parts: Iterable[Part]) -> tuple[Part, ...]:
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if isinstance(part, str | bytes) and type(part) is type(last):
            merged[-1] = last + part
        else:
            merged.append(part)
    return tuple(merged)


def _joined(parts: tuple[Part, ...]) -> tuple[str | Wild, ...]:
    """Make text of bytes (what is not UTF-8 becomes lone surrogates, as in events) and leave out empty pieces."""
    texts: list[Part] = []
    for part in parts:
        if isinstance(part, Placeholder):
            raise Refused(f"placeholder %{part.name}% is left")
        piece = part.decode("utf-8", "surrogateescape") if isinstance(part, bytes) else part
        if piece and not (piece is MANY and texts and texts[-1] is MANY):
            texts.append(piece)
    return tuple(part for part in _merged(texts) if isinstance(part, str | Wild))


def _values_of(name: str, placeholders: Mapping[str, Sequence[Any]]) -> list[str]:
    values = [text_of(value) for value in placeholders.get(name, ())]
    if not values:
        raise Refused(f"placeholder %{name}% has no value")
    return values


def _expanded(parts: tuple[Part, ...], placeholders: Mapping[str, Sequence[Any]]) -> Iterator[tuple[Part, ...]]:
    """Put in each value of each placeholder; values may hold wildcards."""
    choices = [
        [_parse_text(value, False) for value in _values_of(part.name, placeholders)]
        if isinstance(part, Placeholder)
        else [(part,)]
        for part in parts
    ]
    for chosen in itertools.product(*choices):
        yield _merged(itertools.chain.from_iterable(chosen))


def _expanded_raw(text: str, placeholders: Mapping[str, Sequence[Any]]) -> list[str]:
    pieces = re.split(r"(?<!\\)%([^%\s\\]+)%", text)
    choices = [_values_of(piece, placeholders) if at % 2 else [piece] for at, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


DASHES = "-/–—―"
_FLAG = re.compile(rf"(?<!\w)[{DASHES}](?=\w)")
"""A dash starts a flag if a letter, digit or underscore follows it and none precedes it."""


def _windash(parts: tuple[Part, ...]) -> Iterator[tuple[Part, ...]]:
    if any(isinstance(part, bytes) for part in parts):
        raise Refused("windash after an encoding")
    pieces: list[list[Part]] = []
    for part in parts:
        if not isinstance(part, str):
            pieces.append([part])
            continue
        at = 0
        for flag in _FLAG.finditer(part):
            pieces += [[part[at : flag.start()]], list(DASHES)]
            at = flag.end()
        pieces.append([part[at:]])
    for chosen in itertools.product(*pieces):
        yield _merged(chosen)


def _encoded(parts: tuple[Part, ...], codec: str, mark: bytes = b"") -> Iterator[tuple[Part, ...]]:
    pieces: list[Part] = [mark] if mark else []
    for part in parts:
        if isinstance(part, Placeholder | bytes):
            raise Refused("an encoding before expand, or after another encoding")
        pieces.append(part.encode(codec, "surrogatepass") if isinstance(part, str) else part)
    yield _merged(pieces)


def _bytes_of(parts: tuple[Part, ...]) -> bytes:
    if any(isinstance(part, Wild | Placeholder) for part in parts):
        raise Refused("base64 of a value with wildcards or placeholders")
    return b"".join(part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape") for part in parts)


def _base64(parts: tuple[Part, ...]) -> Iterator[tuple[Part, ...]]:
    yield (base64.b64encode(_bytes_of(parts)).decode(),)


def _base64offset(parts: tuple[Part, ...]) -> Iterator[tuple[Part, ...]]:
    """Of each shift, the characters all of whose six bits come from the value. Where none is, nothing is asked."""
    content = _bytes_of(parts)
    for shift in range(3):
        characters = base64.b64encode(bytes(shift) + content).decode()
        first = math.ceil(shift * 8 / 6)
        last = (shift + len(content)) * 8 // 6
        if first < last:
            yield (characters[first:last],)


_TRANSFORMATIONS: dict[str, Callable[[tuple[Part, ...]], Iterator[tuple[Part, ...]]]] = {
    "windash": _windash,
    "base64": _base64,
    "base64offset": _base64offset,
    "utf16le": lambda parts: _encoded(parts, "utf-16-le"),
    "wide": lambda parts: _encoded(parts, "utf-16-le"),
    "utf16be": lambda parts: _encoded(parts, "utf-16-be"),
    "utf16": lambda parts: _encoded(parts, "utf-16-le", b"\xff\xfe"),
}

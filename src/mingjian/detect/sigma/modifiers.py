r"""Values of a detection item and the modifiers on them, as pySigma's value types.

pySigma reads the notation of values (wildcards, escapes) and gives the types, so that its processing pipelines work on
what comes out of here. The modifiers are ours: all of the specification, in any sensible order, on numbers as on text,
with every text that can be encoded, and with bounds.

Source: Sigma modifiers appendix 2.1.0.
"""

# pyright: reportMissingTypeStubs=false
# pySigma brings its types inside; pyright looks for stubs all the same.

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from itertools import product
from math import isfinite
from typing import Final, TypeAlias

from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SigmaType,
    SpecialChars,
    TimestampPart,
)

from mingjian.detect.leaves import text_of
from mingjian.detect.sigma.regexes import checked_regex
from mingjian.errors import LimitExceeded, RuleError, UnsupportedRule, shown

VALUES_MAX: Final = 20_000
"""So many values one detection item may have, after windash, base64offset and placeholders have multiplied them."""

WINDASH_FLAGS_MAX: Final = 4
"""``|windash`` tries five characters at each flag: at most 5⁴ variants of one value."""

Raw: TypeAlias = str | int | float | bool | None
"""A value as YAML gives it."""

Placeholders: TypeAlias = Mapping[str, Sequence[str]]
"""Name of a placeholder → the values, in the notation of rules, that stand for it."""

_PERCENT = re.compile(r"(?P<slashes>\\*)%(?:(?P<name>[^%\s\\]+)%)?")
_NETWORK = re.compile(r"[0-9a-fA-F.:]+(?:/[0-9]{1,3})?")
_DASH = re.compile(r"(?<!\w)[-/–—―](?=\w)")
_DASHES = ("-", "/", "–", "—", "―")
_ANY = SpecialChars.WILDCARD_MULTI
_Part: TypeAlias = str | SpecialChars | Placeholder


class _Encoded(SigmaString):
    """Text after an encoding modifier. Its bytes are kept until something needs text again."""

    def __init__(self, parts: list[bytes | SpecialChars | Placeholder], *, cased: bool) -> None:
        super().__init__()
        self.parts = parts
        self.cased = cased

    def decoded(self) -> SigmaString:
        """The bytes read as UTF-8; those that are none stay as lone surrogates, as they do in events."""
        parts = [part.decode(errors="surrogateescape") if isinstance(part, bytes) else part for part in self.parts]
        return _string(parts, cased=self.cased)


def _string(parts: Sequence[_Part], *, cased: bool = False) -> SigmaString:
    made = SigmaCasedString() if cased else SigmaString()
    made.s = list(parts)
    return made


def first_values(raw: Raw, names: Sequence[str], placeholders: Placeholders) -> list[SigmaType]:
    """Give the value(s) that modifiers start from. Only placeholders make more than one.

    Raises: RuleError, LimitExceeded.
    """
    if raw is None:
        return [SigmaNull()]
    if isinstance(raw, bool):
        return [SigmaBool(raw)]
    if isinstance(raw, int | float):
        if not isfinite(raw):
            raise RuleError(f"{raw} is no number to compare with")
        number = SigmaNumber(0)
        number.number = raw  # pySigma's constructor would turn 2.0 into 2 and great numbers into floats
        return [number]
    try:
        raw.encode()
    except UnicodeEncodeError:
        raise RuleError(f"the text {shown(raw)} has half a surrogate pair") from None
    literal = bool({"re", "cidr", "fieldref"}.intersection(names))
    if "expand" in names:
        return _expanded(raw, placeholders, literal=literal)
    return [_read(raw, literal=literal)]


def _read(raw: str, *, literal: bool) -> SigmaString:
    # Without these signs it is the same as what pySigma gives, but without looking at each character.
    if literal or ("*" not in raw and "?" not in raw and "\\\\" not in raw):
        return _string([raw] if raw else [])
    return SigmaString(raw)


def _expanded(raw: str, placeholders: Placeholders, *, literal: bool) -> list[SigmaType]:
    r"""Put values for ``%name%``; ``\%`` is a plain percent sign."""
    choices: list[list[list[_Part]]] = []
    plain = ""
    place = 0
    while found := _PERCENT.search(raw, place):
        plain += raw[place : found.start()]
        slashes, name = found["slashes"], found["name"]
        if len(slashes) % 2:
            plain += slashes[:-1] + "%"
            place = found.start() + len(slashes) + 1
            continue
        place = found.end()
        if name is None:
            plain += slashes + "%"
            continue
        choices.append([list(_read(plain + slashes, literal=literal).s)])
        plain = ""
        values = placeholders.get(name)
        choices.append([list(_read(v, literal=literal).s) for v in values] if values else [[Placeholder(name)]])
    choices.append([list(_read(plain + raw[place:], literal=literal).s)])
    count = 1
    for choice in choices:
        count *= len(choice)
        if count > VALUES_MAX:
            raise LimitExceeded("VALUES_MAX", VALUES_MAX)
    return [_string([part for parts in choice for part in parts]) for choice in product(*choices)]


# --- text ------------------------------------------------------------------------------------------------------------


def _text(value: SigmaType, name: str) -> SigmaString:
    if isinstance(value, _Encoded):
        return value.decoded()
    if isinstance(value, SigmaString):
        return value
    if isinstance(value, SigmaNumber) and not isinstance(value, SigmaTimestampPart):
        return _string([text_of(value.number)])
    if isinstance(value, SigmaBool):
        return _string([text_of(value.boolean)])
    raise RuleError(f"|{name} needs text, not {_kind(value)}")


def _kind(value: SigmaType) -> str:
    return "null" if isinstance(value, SigmaNull) else f"what it is given ({type(value).__name__})"


def _around(name: str, *, before: bool, behind: bool) -> Callable[[SigmaType], SigmaType]:
    def change(value: SigmaType) -> SigmaType:
        if isinstance(value, SigmaRegularExpression):
            # A regular expression is searched for anywhere as it is; one edge has to be nailed down, if any.
            pattern = str(value.regexp)
            head, tail = ("" if before else r"\A", "" if behind else "$")
            return _regex(f"{head}(?:{pattern}){tail}", value.flags) if head or tail else value
        if isinstance(value, SigmaFieldReference):
            value.starts_with |= behind
            value.ends_with |= before
            return value
        text = _text(value, name)
        parts = ([_ANY] if before else []) + text.s + ([_ANY] if behind else [])
        return _string(parts, cased=isinstance(text, SigmaCasedString))

    return change


def _cased(value: SigmaType) -> SigmaType:
    if isinstance(value, SigmaFieldReference):
        return value
    if isinstance(value, _Encoded):
        return _Encoded(value.parts, cased=True)
    return _string(_text(value, "cased").s, cased=True)


def _windash(value: SigmaType) -> SigmaType:
    text = _text(value, "windash")
    choices: list[Sequence[_Part]] = []
    flags = 0
    for part in text.s:
        if not isinstance(part, str):
            choices.append([part])
            continue
        pieces = _DASH.split(part)
        flags += len(pieces) - 1
        choices.append([pieces[0]])
        for piece in pieces[1:]:
            choices.extend((_DASHES, [piece]))
    if flags > WINDASH_FLAGS_MAX:
        raise LimitExceeded("WINDASH_FLAGS_MAX", WINDASH_FLAGS_MAX, hint="split the value")
    cased = isinstance(text, SigmaCasedString)
    if not flags:
        return text
    return SigmaExpansion(
        [_string([part for part in choice if part != ""], cased=cased) for choice in product(*choices)]
    )


# --- encodings -------------------------------------------------------------------------------------------------------


def _encoding(name: str, codec: str, mark: bytes = b"") -> Callable[[SigmaType], SigmaType]:
    def change(value: SigmaType) -> SigmaType:
        if isinstance(value, _Encoded):
            raise RuleError(f"|{name} cannot encode what is encoded already")
        text = _text(value, name)
        head: list[bytes | SpecialChars | Placeholder] = [mark] if mark else []
        parts = [part.encode(codec) if isinstance(part, str) else part for part in text.s]
        return _Encoded(head + parts, cased=isinstance(text, SigmaCasedString))

    return change


def _bytes(value: SigmaType, name: str) -> tuple[bytes, bool]:
    """The bytes to encode, and whether the value is cased."""
    if isinstance(value, _Encoded):
        parts, cased = value.parts, value.cased
    else:
        text = _text(value, name)
        parts, cased = text.s, isinstance(text, SigmaCasedString)
    data = b""
    for part in parts:
        if isinstance(part, Placeholder):
            raise unfilled(part)
        if isinstance(part, SpecialChars):
            raise RuleError(f"|{name} cannot encode a wildcard", hint="escape it with a backslash if it is meant")
        data += part if isinstance(part, bytes) else part.encode()
    return data, cased


def unfilled(placeholder: Placeholder) -> UnsupportedRule:
    """Make the error for a placeholder that nobody gave a value."""
    return UnsupportedRule(
        f"the placeholder {shown('%' + placeholder.name + '%')} has no value", hint="give values with --placeholders"
    )


def _base64(value: SigmaType) -> SigmaType:
    data, cased = _bytes(value, "base64")
    return _string([b64encode(data).decode()] if data else [], cased=cased)


def _base64offset(value: SigmaType) -> SigmaType:
    """Three texts, one for each place in a group of three bytes; only the characters that no neighbour changes."""
    data, cased = _bytes(value, "base64offset")
    variants: list[SigmaType] = []
    for offset in range(3):
        encoded = b64encode(bytes(offset) + data).decode()
        first = (0, 2, 3)[offset]
        last = (len(encoded), len(encoded) - 3, len(encoded) - 2)[(offset + len(data)) % 3]
        if first < last:  # of a single byte nothing certain is left at one of the places
            variants.append(_string([encoded[first:last]], cased=cased))
    if not variants:
        raise RuleError("|base64offset of an empty text leaves nothing to look for")
    return SigmaExpansion(variants)


# --- other types -----------------------------------------------------------------------------------------------------


def _regex(pattern: str, flags: set[SigmaRegularExpressionFlag]) -> SigmaRegularExpression:
    checked_regex(pattern)
    return SigmaRegularExpression(pattern, set(flags))


def _re(value: SigmaType) -> SigmaType:
    if isinstance(value, SigmaNumber | SigmaBool):
        value = _text(value, "re")
    if not isinstance(value, SigmaString):
        raise RuleError(f"|re needs text, not {_kind(value)}")
    if any(isinstance(part, Placeholder) for part in value.s):
        return SigmaRegularExpression(value)
    return _regex("".join(part for part in value.s if isinstance(part, str)), set())


def _flag(name: str, flag: SigmaRegularExpressionFlag) -> Callable[[SigmaType], SigmaType]:
    def change(value: SigmaType) -> SigmaType:
        if not isinstance(value, SigmaRegularExpression):
            raise RuleError(f"|{name} is for regular expressions: it stands behind |re")
        value.add_flag(flag)
        return value

    return change


def _cidr(value: SigmaType) -> SigmaType:
    written = _plain(value)
    try:
        if _NETWORK.fullmatch(written):
            return SigmaCIDRExpression(str(ip_network(written, strict=False)))
    except ValueError:
        pass
    raise RuleError(f"|cidr: {shown(written) if written else _kind(value)} is not an IP network")


def _fieldref(value: SigmaType) -> SigmaType:
    field = _plain(value)
    if not field:
        raise RuleError("|fieldref needs the name of a field")
    return SigmaFieldReference(field)


def _plain(value: SigmaType) -> str:
    """The text of a value whose signs are all meant literally; empty if it is no text."""
    if not isinstance(value, SigmaString):
        return ""
    for part in value.s:
        if isinstance(part, Placeholder):
            raise unfilled(part)
    return "".join(part for part in value.s if isinstance(part, str))


def _exists(value: SigmaType) -> SigmaType:
    if not isinstance(value, SigmaBool):
        raise RuleError("|exists needs true or false")
    return SigmaExists(value.boolean)


def _compare(name: str) -> Callable[[SigmaType], SigmaType]:
    def change(value: SigmaType) -> SigmaType:
        if not isinstance(value, SigmaNumber):
            raise RuleError(f"|{name} needs a number", hint="write it without quotes")
        return SigmaCompareExpression(value, CompareOperators[name.upper()])

    return change


def _time_part(name: str) -> Callable[[SigmaType], SigmaType]:
    def change(value: SigmaType) -> SigmaType:
        if not isinstance(value, SigmaNumber) or isinstance(value, SigmaTimestampPart):
            raise RuleError(f"|{name} needs a whole number")
        if not isinstance(value.number, int):
            raise RuleError(f"|{name} needs a whole number, not {shown(value.number)}")
        part = SigmaTimestampPart(TimestampPart[name.upper()], 0)
        part.number = value.number
        return part

    return change


_TIME_PARTS = ("minute", "hour", "day", "week", "month", "year")
_COMPARISONS = ("lt", "lte", "gt", "gte")

CHANGES: Final[Mapping[str, Callable[[SigmaType], SigmaType]]] = {
    "contains": _around("contains", before=True, behind=True),
    "startswith": _around("startswith", before=False, behind=True),
    "endswith": _around("endswith", before=True, behind=False),
    "cased": _cased,
    "windash": _windash,
    "wide": _encoding("wide", "utf-16-le"),
    "utf16le": _encoding("utf16le", "utf-16-le"),
    "utf16be": _encoding("utf16be", "utf-16-be"),
    "utf16": _encoding("utf16", "utf-16-le", b"\xff\xfe"),
    "base64": _base64,
    "base64offset": _base64offset,
    "re": _re,
    "i": _flag("i", SigmaRegularExpressionFlag.IGNORECASE),
    "ignorecase": _flag("ignorecase", SigmaRegularExpressionFlag.IGNORECASE),
    "m": _flag("m", SigmaRegularExpressionFlag.MULTILINE),
    "multiline": _flag("multiline", SigmaRegularExpressionFlag.MULTILINE),
    "s": _flag("s", SigmaRegularExpressionFlag.DOTALL),
    "dotall": _flag("dotall", SigmaRegularExpressionFlag.DOTALL),
    "cidr": _cidr,
    "fieldref": _fieldref,
    "exists": _exists,
    **{name: _compare(name) for name in _COMPARISONS},
    **{name: _time_part(name) for name in _TIME_PARTS},
}
"""Modifiers that change one value after the other, in the order written."""

OF_ITEM: Final = frozenset({"all", "neq", "expand"})
"""Modifiers of the whole item; where they stand among the others does not matter."""

_FIRST = frozenset({"re", "cidr", "exists", "fieldref", *_TIME_PARTS})
"""These need the value as written: nothing that changes it may stand before them."""

_ENCODINGS = frozenset({"base64", "base64offset", "wide", "utf16", "utf16le", "utf16be"})
_MAY_PRECEDE_FIELDREF = frozenset({"contains", "startswith", "endswith", "cased"})


def changed(values: Sequence[SigmaType], names: Sequence[str]) -> list[SigmaType]:
    """Apply modifiers. One value in, one value out; several variants of one come as ``SigmaExpansion`` (they are OR).

    Raises: RuleError, UnsupportedRule, LimitExceeded.
    """
    if "expand" in names and _ENCODINGS.intersection(names[: names.index("expand")]):
        raise RuleError("|expand must come before the encoding", hint="modifiers work in the order written")
    steps = [name for name in names if name not in OF_ITEM]
    if "fieldref" in steps:  # 'contains|fieldref' can only mean 'fieldref|contains'
        steps.sort(key=lambda name: name in _MAY_PRECEDE_FIELDREF)
    for place, name in enumerate(steps):
        if name not in CHANGES:
            raise RuleError(f"the modifier {shown(name)} is not known")
        if name in steps[:place]:
            raise RuleError(f"the modifier {shown(name)} stands there twice")
        if name in _FIRST and place:
            raise RuleError(f"|{name} needs the value as written: it must come before |{steps[0]}")
    made = list(values)
    for name in steps:
        change = CHANGES[name]
        count = 0
        for place, value in enumerate(made):
            new = _apply(change, value)
            made[place] = new
            count += len(new.values) if isinstance(new, SigmaExpansion) else 1
            if count > VALUES_MAX:
                raise LimitExceeded("VALUES_MAX", VALUES_MAX)
    return [_finished(value) for value in made]


def _apply(change: Callable[[SigmaType], SigmaType], value: SigmaType) -> SigmaType:
    if not isinstance(value, SigmaExpansion):
        return change(value)
    variants: list[SigmaType] = []
    for variant in value.values:
        new = change(variant)
        variants.extend(new.values) if isinstance(new, SigmaExpansion) else variants.append(new)
        if len(variants) > VALUES_MAX:
            raise LimitExceeded("VALUES_MAX", VALUES_MAX)
    return SigmaExpansion(variants)


def _finished(value: SigmaType) -> SigmaType:
    if isinstance(value, _Encoded):
        return value.decoded()
    if isinstance(value, SigmaExpansion):
        return SigmaExpansion([_finished(variant) for variant in value.values])
    return value

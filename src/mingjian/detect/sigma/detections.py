"""Search identifiers: from the shape in the file to pySigma's objects, and from those to expressions.

Between the two stand the processing pipelines, which work on pySigma's objects.

Source: Sigma rules specification, sections Search-Identifier, Lists, Maps, Keywords search.
"""

# pyright: reportMissingTypeStubs=false
# pySigma brings its types inside; pyright looks for stubs all the same.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from sigma.conditions import ConditionAND, ConditionOR
from sigma.modifiers import SigmaCaseSensitiveModifier
from sigma.rule.detection import SigmaDetection, SigmaDetectionItem
from sigma.types import (
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
    SigmaString,
    SigmaTimestampPart,
    SigmaType,
    SpecialChars,
)

from mingjian.detect.leaves import text_of
from mingjian.detect.sigma.expressions import all_of, any_of, negation, text
from mingjian.detect.sigma.modifiers import (
    CHANGES,
    OF_ITEM,
    Placeholders,
    Raw,
    changed,
    first_values,
    unfilled,
)
from mingjian.detect.sigma.regexes import checked_regex
from mingjian.errors import LimitExceeded, RuleError, UnsupportedRule, shown
from mingjian.formats.bounded import Plain
from mingjian.model.rules import (
    ANY,
    ONE,
    Bool,
    Cidr,
    Compare,
    CompareOp,
    Exists,
    Expr,
    FieldRef,
    Null,
    Number,
    Regex,
    Text,
    TimePart,
)

ATOMS_MAX: Final = 20_000
"""So many values the search identifiers of one rule may have together. The most in SigmaHQ are about 2,200."""

PATTERN_CHARACTERS_MAX: Final = 32_768
"""The longest text to compare with."""

PATTERN_WILDCARDS_MAX: Final = 100
"""So many ``*`` and ``?`` one text may have."""

FIELD_CHARACTERS_MAX: Final = 512
"""The longest field name with its modifiers."""

_Part: TypeAlias = Literal["minute", "hour", "day", "week", "month", "year"]


@dataclass(slots=True)
class Budget:
    """What the search identifiers of a rule may still use."""

    placeholders: Placeholders
    atoms_left: int = ATOMS_MAX

    def spend(self, count: int) -> None:
        """Take ``count`` values off. Raises: LimitExceeded."""
        self.atoms_left -= count
        if self.atoms_left < 0:
            raise LimitExceeded("ATOMS_MAX", ATOMS_MAX)


# --- shape → pySigma -------------------------------------------------------------------------------------------------


def search_of(shape: Plain, budget: Budget) -> SigmaDetection:
    """Read the definition of one search identifier: a map is AND, a list of maps OR, plain values are keywords.

    Raises: RuleError, UnsupportedRule, LimitExceeded.
    """
    if isinstance(shape, dict):
        if not shape:
            raise RuleError("a search identifier has an empty map")
        return SigmaDetection([_item(key, value, budget) for key, value in shape.items()])
    if not isinstance(shape, list):
        return SigmaDetection([_keywords([shape], (), budget)])
    if not shape:
        raise RuleError("a search identifier has an empty list")
    plain = [item for item in shape if not isinstance(item, dict | list)]
    if len(plain) == len(shape):
        return SigmaDetection([_keywords(plain, (), budget)])
    return SigmaDetection([search_of(item, budget) for item in shape])


def _item(key: str, shape: Plain, budget: Budget) -> SigmaDetectionItem:
    if len(key) > FIELD_CHARACTERS_MAX:
        raise LimitExceeded("FIELD_CHARACTERS_MAX", FIELD_CHARACTERS_MAX)
    field, *names = key.split("|")
    values = shape if isinstance(shape, list) else [shape]
    if not values:
        raise RuleError(f"{shown(key)} has an empty list", hint="null asks for a missing field, '' for an empty one")
    raws = [value for value in values if not isinstance(value, dict | list)]
    if len(raws) < len(values):
        raise RuleError(f"{shown(key)} has a value that is neither text, number, truth value nor null")
    try:
        if not field:
            return _keywords(raws, names, budget)
        return _linked(field, names, _values(raws, names, budget))
    except RuleError as error:
        raise type(error)(f"{shown(key)}: {error.what}", hint=error.hint) from None


def _values(raws: Sequence[Raw], names: Sequence[str], budget: Budget) -> list[SigmaType]:
    # Twice: before the work for what is written, after it for what expansions have made of it.
    budget.spend(len(raws))
    values: list[SigmaType] = []
    for raw in raws:
        first = first_values(raw, names, budget.placeholders)
        values.append(first[0] if len(first) == 1 else SigmaExpansion(first))
    values = changed(values, names)
    budget.spend(sum(len(value.values) - 1 for value in values if isinstance(value, SigmaExpansion)))
    return values


def _keywords(raws: Sequence[Raw], names: Sequence[str], budget: Budget) -> SigmaDetectionItem:
    """Keywords stand anywhere in a value, as if written ``*keyword*``, unless a modifier says where."""
    if None in raws:
        raise RuleError("null needs a field")
    if not {"contains", "startswith", "endswith", "re"}.intersection(names):
        names = [*names, "contains"]
    return _linked(None, names, _values(raws, names, budget))


def _linked(field: str | None, names: Sequence[str], values: list[SigmaType]) -> SigmaDetectionItem:
    unknown = [name for name in names if name not in CHANGES and name not in OF_ITEM]
    assert not unknown, "modifiers are checked before they are applied"
    return SigmaDetectionItem(
        field,
        # Only this one has still something to say: pySigma's field reference does not know of case.
        [SigmaCaseSensitiveModifier] if "cased" in names else [],
        values,
        ConditionAND if "all" in names else ConditionOR,
        negated="neq" in names,
        auto_modifiers=False,
    )


# --- pySigma → expression --------------------------------------------------------------------------------------------


def expression_of_search(search: SigmaDetection | SigmaDetectionItem) -> Expr | None:
    """Give what a search identifier asks; None if a pipeline left nothing of it.

    Raises: RuleError, UnsupportedRule, LimitExceeded.
    """
    if isinstance(search, SigmaDetection):
        items = [item for item in map(expression_of_search, search.detection_items) if item is not None]
        if not items:
            return None
        return all_of(items) if search.item_linking is ConditionAND else any_of(items)
    if not search.value:
        return None
    cased = SigmaCaseSensitiveModifier in search.modifiers
    atoms = [_atom(search.field, value, cased=cased) for value in search.value]
    linked = all_of(atoms) if search.value_linking is ConditionAND else any_of(atoms)
    return negation(linked) if search.negated else linked


def _atom(field: str | None, value: SigmaType, *, cased: bool) -> Expr:
    if isinstance(value, SigmaString):
        return _text_atom(field, value)
    if isinstance(value, SigmaExpansion):
        return any_of(_atom(field, variant, cased=cased) for variant in value.values)
    if isinstance(value, SigmaRegularExpression):
        return _regex_atom(field, value)
    if field is None:
        return _keyword_atom(value)
    return _field_atom(field, value, cased=cased)


def _text_atom(field: str | None, value: SigmaString) -> Text:
    parts: list[str | int] = []
    characters = wildcards = 0
    for part in value.s:
        if isinstance(part, str):
            parts.append(part)
            characters += len(part)
        elif isinstance(part, SpecialChars):
            parts.append(ANY if part is SpecialChars.WILDCARD_MULTI else ONE)
            wildcards += 1
        else:
            raise unfilled(part)
    if characters > PATTERN_CHARACTERS_MAX:
        raise LimitExceeded("PATTERN_CHARACTERS_MAX", PATTERN_CHARACTERS_MAX)
    if wildcards > PATTERN_WILDCARDS_MAX:
        raise LimitExceeded("PATTERN_WILDCARDS_MAX", PATTERN_WILDCARDS_MAX)
    return text(field, parts, cased=isinstance(value, SigmaCasedString))


def _regex_atom(field: str | None, value: SigmaRegularExpression) -> Regex:
    for part in value.regexp.s:
        if isinstance(part, Placeholder):
            raise unfilled(part)
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    return Regex(field, checked_regex(str(value.regexp), flags), flags)


def _keyword_atom(value: SigmaType) -> Expr:
    """What a pipeline may have made of a keyword; from a file come only text and regular expressions."""
    if isinstance(value, SigmaNumber) and not isinstance(value, SigmaTimestampPart):
        return text(None, [ANY, text_of(value.number), ANY])
    if isinstance(value, SigmaBool):
        return text(None, [ANY, text_of(value.boolean), ANY])
    raise RuleError("only text and regular expressions can be keywords: this modifier needs a field")


def _field_atom(field: str, value: SigmaType, *, cased: bool) -> Expr:
    if isinstance(value, SigmaTimestampPart):
        return TimePart(field, _time_part(value), "eq", int(value.number))
    if isinstance(value, SigmaNumber):
        return Number(field, value.number)
    if isinstance(value, SigmaBool):
        return Bool(field, value.boolean)
    if isinstance(value, SigmaNull):
        return Null(field)
    if isinstance(value, SigmaExists):
        return Exists(field) if value.exists else negation(Exists(field))
    if isinstance(value, SigmaCIDRExpression):
        return Cidr(field, str(value.network))
    if isinstance(value, SigmaFieldReference):
        how = {(False, False): "equals", (True, False): "startswith", (False, True): "endswith"}
        known = how.get((value.starts_with, value.ends_with), "contains")
        return FieldRef(field, value.field, cast('Literal["equals"]', known), cased)
    if isinstance(value, SigmaCompareExpression):
        op = cast("CompareOp", value.op.name.lower())
        number = value.number
        if isinstance(number, SigmaTimestampPart):
            return TimePart(field, _time_part(number), op, int(number.number))
        return Compare(field, op, number.number)
    raise UnsupportedRule(f"a value of the kind {type(value).__name__} cannot be compared")


def _time_part(value: SigmaTimestampPart) -> _Part:
    return cast("_Part", value.timestamp_part.name.lower())

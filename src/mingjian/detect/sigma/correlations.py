"""Correlation rules: how matches of other rules must come together.

Here a correlation still names its rules as the file does; ``references`` puts ids in their place.

Source: Sigma correlation rules specification 2.1 and its JSON schema. Conditions over rules in words (``a and b``),
which came to the temporal types later, are read where they say no more than a bound does: all of them, or any.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Final, Literal, TypeAlias, cast, get_args

from msgspec.structs import replace

from mingjian.detect.sigma.conditions import Joined, Name, parse_condition
from mingjian.detect.sigma.heads import Document, Head, hash_of, texts
from mingjian.errors import LimitExceeded, RuleError, UnsupportedRule, shown
from mingjian.formats.bounded import Plain
from mingjian.model.rules import CompareOp, Correlation, CorrelationType

CORRELATED_RULES_MAX: Final = 1_000
"""So many rules one correlation may refer to."""

GROUP_FIELDS_MAX: Final = 32
"""So many fields or aliases a correlation may group by."""

TIMESPAN_S_MAX: Final = 10 * 31_556_952
"""The longest time span: ten years."""

UNIT_S: Final[Mapping[str, int]] = {
    "s": 1,
    "m": 60,
    "h": 3_600,
    "d": 86_400,
    "w": 604_800,
    "M": 2_629_746,
    "y": 31_556_952,
}
"""Letters of time spans. The specification has s, m, h and d; w, M (a twelfth of a year) and y are pySigma's."""

_TYPES: Final[tuple[CorrelationType, ...]] = get_args(CorrelationType)
_TEMPORAL = ("temporal", "temporal_ordered")
_KEYS = ("type", "rules", "group-by", "timespan", "condition", "aliases", "generate")
_OPERATORS = ("lt", "lte", "gt", "gte", "eq", "neq")
_Bound: TypeAlias = tuple[CompareOp | Literal["neq"], float]
_TIMESPAN = re.compile(r"([0-9]{1,9})([smhdwMy])")


def correlation_of(document: Document, head: Head, notes: list[str]) -> Correlation:
    """Read a correlation. Its references are still as written.

    Raises: RuleError, UnsupportedRule, LimitExceeded.
    """
    parts = document["correlation"]
    if not isinstance(parts, dict):
        raise RuleError("the correlation is not a map")
    written, median = _type(parts)
    condition = parts.get("condition")
    rules = texts(parts["rules"], "rules") if parts.get("rules") is not None else ()
    if isinstance(condition, str):
        rules, condition = _in_words(condition, written, rules)
    if not rules:
        raise RuleError("the correlation names no rules")
    if len(rules) > CORRELATED_RULES_MAX:
        raise LimitExceeded("CORRELATED_RULES_MAX", CORRELATED_RULES_MAX)
    bounds, fields, percentile = _condition(condition, written)
    group_by = texts(parts["group-by"], "group-by") if parts.get("group-by") else ()
    if len(group_by) > GROUP_FIELDS_MAX:
        raise LimitExceeded("GROUP_FIELDS_MAX", GROUP_FIELDS_MAX)
    unknown = [key for key in parts if key not in _KEYS]
    if unknown:
        notes.append(f"the correlation has keys that mean nothing here: {', '.join(map(shown, unknown[:5]))}")
    made = Correlation(
        **head,
        type=written,
        rules=rules,
        group_by=group_by,
        timespan_s=_timespan(parts.get("timespan")),
        bounds=bounds,
        value_fields=fields,
        percentile=50.0 if median else percentile,
        aliases=_aliases(parts.get("aliases")),
        generate=_generate(document, parts),
    )
    return replace(made, content_hash=definition_hash(made))


def definition_hash(made: Correlation) -> str:
    """Hash what decides when the correlation fires, with its references as they stand."""
    return hash_of(
        (
            made.type,
            made.rules,
            made.group_by,
            made.timespan_s,
            made.bounds,
            made.value_fields,
            made.percentile,
            sorted((alias, sorted(of.items())) for alias, of in made.aliases.items()),
        )
    )


def _type(parts: Document) -> tuple[CorrelationType, bool]:
    value = parts.get("type")
    name = value.strip().lower() if isinstance(value, str) else ""
    if name == "value_median":  # pySigma's; the specification says it as a percentile
        return "value_percentile", True
    for known in _TYPES:
        if name == known:
            return known, False
    raise RuleError(f"the correlation type {shown(value)} is not one of {', '.join(_TYPES)}")


def _timespan(value: Plain) -> int:
    if value is None:
        raise RuleError("the correlation has no timespan")
    found = _TIMESPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise RuleError(f"the timespan {shown(value)} is not a number followed by s, m, h or d")
    seconds = int(found[1]) * UNIT_S[found[2]]
    if seconds == 0:
        raise RuleError("the timespan is zero")
    if seconds > TIMESPAN_S_MAX:
        raise LimitExceeded("TIMESPAN_S_MAX", TIMESPAN_S_MAX)
    return seconds


def _condition(value: Plain, type_: CorrelationType) -> tuple[tuple[_Bound, ...], tuple[str, ...], float | None]:
    if value is None:
        if type_ not in _TEMPORAL:
            raise RuleError(f"a correlation of the type {type_} needs a condition with a bound")
        return (), (), None
    if not isinstance(value, dict):
        raise RuleError("the condition is neither a map nor text")
    bounds: list[_Bound] = []
    for key, bound in value.items():
        if key in _OPERATORS:
            bounds.append((cast("CompareOp", key), _number(bound, key)))
        elif key not in ("field", "percentile"):
            raise RuleError(f"the condition has {shown(key)}, which means nothing")
    if not bounds:
        raise RuleError("the condition has no bound (gt, gte, lt, lte, eq, neq)")
    fields = texts(value["field"], "field") if value.get("field") is not None else ()
    if type_.startswith("value_") and not fields:
        raise RuleError(f"a correlation of the type {type_} needs the field whose values it takes")
    if type_ in ("value_sum", "value_avg", "value_percentile") and len(fields) > 1:
        raise UnsupportedRule(f"a correlation of the type {type_} takes the values of one field only")
    percentile = None
    if value.get("percentile") is not None:
        percentile = _number(value["percentile"], "percentile")
        if type_ != "value_percentile" or not 0 <= percentile <= 100:
            raise RuleError("percentile is a number from 0 to 100 and belongs to value_percentile")
    return tuple(bounds), fields, percentile


def _number(value: Plain, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or abs(value) > 2**63:
        raise RuleError(f"{what}: {shown(value)} is not a usable number")
    return float(value)


def _aliases(value: Plain) -> dict[str, dict[str, str]]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RuleError("aliases is not a map")
    aliases: dict[str, dict[str, str]] = {}
    for alias, of in value.items():
        if not isinstance(of, dict):
            raise RuleError(f"the alias {shown(alias)} is not a map from rules to fields")
        aliases[texts(alias, "alias")[0]] = {
            texts(rule, "alias")[0]: texts(field, f"the field of the alias {shown(alias)}")[0]
            for rule, field in of.items()
        }
    return aliases


def _generate(document: Document, parts: Document) -> bool:
    # The JSON schema has it beside the correlation, pySigma and most rules inside.
    value = parts.get("generate", document.get("generate", False))
    if not isinstance(value, bool):
        raise RuleError("generate is neither true nor false")
    return value


def _in_words(text: str, type_: CorrelationType, rules: tuple[str, ...]) -> tuple[tuple[str, ...], Plain]:
    """Read ``a and b`` as no condition (all must match) and ``a or b`` as ``gte: 1``; give the rules, too."""
    if type_ not in _TEMPORAL:
        raise RuleError(f"a condition in words is for temporal types; {type_} needs a bound")
    node = parse_condition(text)
    items = node.items if isinstance(node, Joined) else (node,)
    named = tuple(dict.fromkeys(item.name for item in items if isinstance(item, Name)))
    if len(named) < len(items):
        raise UnsupportedRule("conditions over rules are 'all of them with and' or 'any of them with or' here")
    for missing in named:
        if rules and missing not in rules:
            raise RuleError(f"the condition names {shown(missing)}, which is not among the rules")
    for unused in rules:
        if unused not in named:
            raise RuleError(f"the rule {shown(unused)} is not in the condition")
    any_is_enough = isinstance(node, Joined) and node.operator == "or"
    return rules or named, {"gte": 1} if any_is_enough else None

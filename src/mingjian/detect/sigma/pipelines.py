"""pySigma processing pipelines from outside: which of their steps are allowed, and applying them.

A pipeline may rename, add, drop and rewrite what a rule asks. It may not read files, fetch, run commands, use
templates or speak of queries: such steps are refused by an allow-list of types. Regular expressions in pipelines run
on RE2 (pySigma's ``SafePolicy``).
"""

# pyright: reportMissingTypeStubs=false
# pySigma brings its types inside; pyright looks for stubs all the same.

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from msgspec.structs import replace
from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationFieldAlias,
    SigmaCorrelationFieldAliases,
    SigmaCorrelationRule,
    SigmaCorrelationTimespan,
    SigmaCorrelationType,
    SigmaRuleReference,
)
from sigma.exceptions import SigmaError
from sigma.policy.profiles import SafePolicy
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule

from mingjian.errors import ConfigError, LimitExceeded, RuleError, shown
from mingjian.formats.bounded import Plain, parse_yaml
from mingjian.model.rules import Correlation

PIPELINE_STEPS_MAX: Final = 1_000
"""So many transformations a pipeline may have, nested ones included."""

EXPRESSION_CHARACTERS_MAX: Final = 1_000
"""The longest ``rule_cond_expr`` and its like."""

EXPRESSION_PARENTHESES_MAX: Final = 20
"""So many parentheses such an expression may have (pySigma's parser is recursive)."""

TRANSFORMATIONS: Final = frozenset(
    {
        "add_condition",
        "add_field",
        "case",
        "change_logsource",
        "convert_type",
        "detection_item_failure",
        "drop_detection_item",
        "extract_fields",
        "field_name_mapping",
        "field_name_prefix",
        "field_name_prefix_mapping",
        "field_name_suffix",
        "hashes_fields",
        "map_string",
        "nest",
        "regex",
        "remove_field",
        "replace_string",
        "rule_failure",
        "set_custom_attribute",
        "set_field",
        "set_state",
        "set_value",
        "strict_field_mapping_failure",
        "value_placeholders",
        "wildcard_placeholders",
    }
)
"""The steps that leave a rule which can be translated, and touch nothing else."""

_NULL_KEYS = ("null", "Null", "NULL", "~")
_KEYS = frozenset({"name", "priority", "vars", "transformations", "allowed_backends"})
_EXPRESSIONS = ("rule_cond_expr", "detection_item_cond_expr", "field_name_cond_expr")
# What pySigma's steps raise on arguments and values that they were not made for.
_FOREIGN_ERRORS = (SigmaError, TypeError, ValueError, KeyError, AttributeError, IndexError, NotImplementedError)


def pipeline_of(data: bytes, *, file: str) -> ProcessingPipeline:
    """Read a pipeline.

    Raises: ParseError, LimitExceeded, ConfigError (a step that is not allowed, or wrong).
    """
    documents = parse_yaml(data, file=file)
    parts = documents[0] if len(documents) == 1 else None
    if not isinstance(parts, dict):
        raise ConfigError("a processing pipeline is one YAML map", where=file)
    for key, value in parts.items():
        if key in ("postprocessing", "finalizers") and value:
            raise ConfigError(
                f"the pipeline has {key}: that works on queries, and there are none here",
                hint=f"remove {key}; transformations are what counts",
            )
        if key not in _KEYS and key not in ("postprocessing", "finalizers"):
            raise ConfigError(f"the pipeline has {shown(key)}, which is not known")
    _check_steps(parts.get("transformations"), 0)
    try:
        return ProcessingPipeline.from_dict(
            {key: value for key, value in parts.items() if key in _KEYS}, policy=SafePolicy
        )
    except _FOREIGN_ERRORS as error:
        raise ConfigError(f"pySigma refuses the pipeline: {str(error)[:300]}") from None


def _check_steps(steps: Plain, seen: int) -> int:
    """Check the types of steps, nested ones too. Gives how many there are so far."""
    if steps is None:
        return seen
    if not isinstance(steps, list):
        raise ConfigError("transformations of a pipeline are a list")
    for step in steps:
        seen += 1
        if seen > PIPELINE_STEPS_MAX:
            raise LimitExceeded("PIPELINE_STEPS_MAX", PIPELINE_STEPS_MAX)
        if not isinstance(step, dict):
            raise ConfigError("a transformation of a pipeline is a map")
        kind = step.get("type")
        if not isinstance(kind, str) or kind not in TRANSFORMATIONS:
            raise ConfigError(
                f"the pipeline has a transformation of the type {shown(kind)}, which is not allowed here",
                hint="allowed are those that change the rule itself",
            )
        for name in _EXPRESSIONS:
            expression = step.get(name)
            if expression is None:
                continue
            if not isinstance(expression, str) or len(expression) > EXPRESSION_CHARACTERS_MAX:
                raise LimitExceeded("EXPRESSION_CHARACTERS_MAX", EXPRESSION_CHARACTERS_MAX)
            if expression.count("(") + expression.count("not") > EXPRESSION_PARENTHESES_MAX:
                raise LimitExceeded("EXPRESSION_PARENTHESES_MAX", EXPRESSION_PARENTHESES_MAX)
        mapping = step.get("mapping")
        if kind == "field_name_mapping" and isinstance(mapping, dict):
            # pySigma calls keywords the field None; keys from our YAML are always text.
            named = {None if key in _NULL_KEYS else key: value for key, value in mapping.items()}
            step["mapping"] = cast("Plain", named)
        if kind == "nest":
            seen = _check_steps(step.get("items"), seen)
    return seen


def in_order(pipelines: Sequence[ProcessingPipeline]) -> list[ProcessingPipeline]:
    """Order pipelines as pySigma does: by priority, then as given."""
    return sorted(pipelines, key=lambda pipeline: pipeline.priority)


def apply_to_rule(pipelines: Sequence[ProcessingPipeline], rule: SigmaRule) -> None:
    """Apply pipelines to a rule, in place. Raises: RuleError (also when a pipeline says so itself)."""
    for pipeline in pipelines:
        try:
            pipeline.apply(rule)
        except _FOREIGN_ERRORS as error:
            raise RuleError(f"the pipeline {shown(pipeline.name or '')} refuses the rule: {str(error)[:300]}") from None


def apply_to_correlation(pipelines: Sequence[ProcessingPipeline], correlation: Correlation) -> Correlation:
    """Apply pipelines to the field names of a correlation (group-by, aliases, the field of the condition).

    Conditions on log sources do not hold for a correlation: it has none. Raises: RuleError.
    """
    fields = list(correlation.value_fields)
    rule = SigmaCorrelationRule(
        title=correlation.title,
        type=SigmaCorrelationType[correlation.type.upper()],
        rules=[SigmaRuleReference(name) for name in correlation.rules],
        timespan=SigmaCorrelationTimespan(f"{correlation.timespan_s}s"),
        group_by=list(correlation.group_by),
        aliases=SigmaCorrelationFieldAliases(
            {
                alias: SigmaCorrelationFieldAlias(alias, {SigmaRuleReference(r): field for r, field in of.items()})
                for alias, of in correlation.aliases.items()
            }
        ),
        condition=SigmaCorrelationCondition(SigmaCorrelationConditionOperator.GTE, 1, fields or None),
    )
    for pipeline in pipelines:
        try:
            pipeline.apply(rule)
        except _FOREIGN_ERRORS as error:
            raise RuleError(f"the pipeline {shown(pipeline.name or '')} refuses the rule: {str(error)[:300]}") from None
    condition = cast("SigmaCorrelationCondition", rule.condition)
    return replace(
        correlation,
        group_by=tuple(rule.group_by or ()),
        value_fields=tuple(cast("list[str]", condition.fieldref or [])),
        aliases={
            alias.alias: {reference.reference: field for reference, field in alias.mapping.items()}
            for alias in rule.aliases
        },
    )

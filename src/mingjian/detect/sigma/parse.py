"""One rule file: from bytes to rules, correlations and filters.

pySigma is imported here and below, so this module is imported only where a file really has to be parsed.

Source: Sigma rules specification 2.1, correlation rules specification 2.1, filters specification 2.0.
"""

# pyright: reportMissingTypeStubs=false
# pySigma brings its types inside; pyright looks for stubs all the same.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace
from sigma.exceptions import SigmaError
from sigma.rule import SigmaLogSource, SigmaRule
from sigma.rule.attributes import SigmaLevel, SigmaRuleTag, SigmaStatus
from sigma.rule.detection import SigmaDetections
from sigma.rule.logsource import EmptyLogSource

from mingjian.detect.sigma.conditions import expression_of, parse_condition
from mingjian.detect.sigma.correlations import correlation_of, definition_hash
from mingjian.detect.sigma.detections import Budget, expression_of_search, search_of
from mingjian.detect.sigma.expressions import any_of, atom_count
from mingjian.detect.sigma.heads import Document, Head, head_of, logsource_of, texts
from mingjian.detect.sigma.modifiers import Placeholders
from mingjian.detect.sigma.references import EXPRESSION_ATOMS_MAX, REASON_CHARACTERS_MAX, Parsed, rule_hash
from mingjian.errors import InputError, LimitExceeded, RuleError, UnsupportedRule, shown
from mingjian.formats.bounded import Plain, parse_yaml
from mingjian.model.rules import Correlation, Expr, Filter, LogSource, Rule, RuleNote, SkippedRule

if TYPE_CHECKING:  # takes 0.1 s to import, which only --pipeline need pay
    from sigma.processing.pipeline import ProcessingPipeline

SEARCHES_MAX: Final = 1_000
"""So many search identifiers one rule may have."""

CONDITIONS_MAX: Final = 100
"""So many conditions one rule may have."""

_SECTIONS = ("detection", "correlation", "filter")


@dataclass(slots=True)
class _Making:
    """What a file has given so far."""

    placeholders: Placeholders
    pipelines: Sequence[ProcessingPipeline]
    rules: list[Rule] = field(default_factory=list[Rule])
    correlations: list[Correlation] = field(default_factory=list[Correlation])
    filters: list[Filter] = field(default_factory=list[Filter])
    skipped: list[SkippedRule] = field(default_factory=list[SkippedRule])
    notes: list[RuleNote] = field(default_factory=list[RuleNote])


def parse_rules(
    data: bytes,
    *,
    placeholders: Placeholders | None = None,
    pipelines: Sequence[ProcessingPipeline] = (),
) -> Parsed:
    r"""Read one rule file. What cannot be used is named in ``skipped``; nothing is raised for outside input.

    ``pipelines`` must be in the order in which they are to be applied.

    >>> parse_rules(b"title: t\nlogsource: {product: x}\ndetection: {s: {F: 1}, condition: s}").rules[0].condition
    Number(field='F', value=1)
    """
    making = _Making(placeholders or {}, pipelines)
    try:
        documents = parse_yaml(data, file="")
    except InputError as error:
        return Parsed(skipped=(_skipped(error),))
    if all(document is None for document in documents):
        return Parsed(skipped=(_skipped(RuleError("the file has no document")),))
    for number, document in enumerate(documents, 1):
        if document is not None:  # an empty document between two separators is nothing to report
            _read_document(document, number, making)
    return Parsed(
        documents=sum(document is not None for document in documents),
        rules=tuple(making.rules),
        correlations=tuple(making.correlations),
        filters=tuple(making.filters),
        skipped=tuple(making.skipped),
        notes=tuple(making.notes),
    )


def _skipped(error: InputError, number: int = 0, head: Head | None = None) -> SkippedRule:
    reason = f"{error.what} ({error.hint})" if error.hint else error.what
    if error.where:  # line and column: the file's name is not known here
        reason = f"{error.where.lstrip(':')}: {reason}"
    return SkippedRule(
        file="",
        document=number,
        rule_id=head["id"] if head else "",
        title=head["title"] if head else "",
        code=error.code,
        reason=reason[:REASON_CHARACTERS_MAX],
    )


def _read_document(document: Plain, number: int, making: _Making) -> None:
    head: Head | None = None
    notes: list[str] = []
    try:
        if not isinstance(document, dict):
            raise RuleError("the document is not a map")
        section = _section(document)
        head = head_of(document, number, section, notes)
        if document.get("taxonomy", "sigma") not in (None, "sigma"):
            notes.append(f"the taxonomy is {shown(document['taxonomy'])}: field names are taken as written")
        try:
            _READERS[section](document, head, notes, making)
        except SigmaError as error:  # pySigma's own refusals, should ours have let something through
            raise RuleError(str(error)) from None
    except InputError as error:
        making.skipped.append(_skipped(error, number, head))
        return
    rule_id = head["id"]
    making.notes.extend(
        RuleNote(file="", document=number, rule_id=rule_id, text=text[:REASON_CHARACTERS_MAX]) for text in notes
    )


def _section(document: Document) -> str:
    found = [name for name in _SECTIONS if name in document]
    if len(found) == 1:
        return found[0]
    if found:
        raise RuleError(f"the document has {' and '.join(found)}: it can be only one of them")
    if "action" in document:
        raise UnsupportedRule("'action' is notation of Sigma 1", hint="write each rule out in full")
    raise RuleError("the document has neither detection, correlation nor filter: it is not a Sigma rule")


# --- rules -----------------------------------------------------------------------------------------------------------


def _read_rule(document: Document, head: Head, notes: list[str], making: _Making) -> None:
    logsource, condition, fields = _matter(document, "detection", head, notes, making)
    rule = Rule(**head, logsource=logsource, condition=condition, fields=fields)
    making.rules.append(replace(rule, content_hash=rule_hash(rule)))


def _read_filter(document: Document, head: Head, notes: list[str], making: _Making) -> None:
    section = document["filter"]
    if not isinstance(section, dict) or section.get("rules") is None:
        raise RuleError("the filter does not say for which rules it is", hint="name them under rules, or write any")
    rules = texts(section["rules"], "rules") if section["rules"] != [] else ()
    if len(rules) == 1 and rules[0].lower() == "any":
        rules = ()
    logsource, condition, _ = _matter(document, "filter", head, notes, making)
    made = Filter(**head, logsource=logsource, rules=rules, condition=condition)
    content = Rule(**head, logsource=logsource, condition=condition)
    making.filters.append(replace(made, content_hash=rule_hash(content)))


def _matter(
    document: Document, section: str, head: Head, notes: list[str], making: _Making
) -> tuple[LogSource, Expr, tuple[str, ...]]:
    """The log source, condition and listed fields of a rule or filter, after the pipelines."""
    logsource = logsource_of(document)
    shapes = document[section]
    if not isinstance(shapes, dict):
        raise RuleError(f"the {section} is not a map")
    searches = dict(shapes)
    conditions = _conditions(searches.pop("condition", None))
    if section == "filter":
        searches.pop("rules", None)
    if "timeframe" in searches:
        raise UnsupportedRule("timeframe belongs to the aggregations of Sigma 1", hint="write a correlation instead")
    if len(searches) > SEARCHES_MAX:
        raise LimitExceeded("SEARCHES_MAX", SEARCHES_MAX)
    budget = Budget(making.placeholders)
    detections = {name: search_of(shape, budget) for name, shape in searches.items()}
    if not detections:
        raise RuleError(f"the {section} defines no search identifier")
    listed = _fields(document, notes)
    if making.pipelines:
        rule = _sigma_rule(head, logsource, SigmaDetections(detections, conditions), listed)
        _apply(making.pipelines, rule)
        detections = rule.detection.detections
        conditions = [parsed.condition for parsed in rule.detection.parsed_condition]
        listed = tuple(map(str, rule.fields))
        logsource = LogSource(rule.logsource.product, rule.logsource.category, rule.logsource.service)
    expressions = {name: expression_of_search(detection) for name, detection in detections.items()}
    found = [expression_of(parse_condition(text), expressions) for text in conditions]
    left = [expression for expression in found if expression is not None]
    if not left:
        raise RuleError("the pipelines have left nothing of the condition")
    condition = any_of(left)
    if atom_count(condition) > EXPRESSION_ATOMS_MAX:
        raise LimitExceeded("EXPRESSION_ATOMS_MAX", EXPRESSION_ATOMS_MAX)
    return logsource, condition, listed


def _conditions(value: Plain) -> list[str]:
    if value is None:
        raise RuleError("the condition is missing")
    several = value if isinstance(value, list) else [value]
    conditions = [item for item in several if isinstance(item, str)]
    if not conditions or len(conditions) < len(several):
        raise RuleError("the condition is neither text nor a list of texts")
    if len(conditions) > CONDITIONS_MAX:
        raise LimitExceeded("CONDITIONS_MAX", CONDITIONS_MAX)
    return conditions


def _fields(document: Document, notes: list[str]) -> tuple[str, ...]:
    value = document.get("fields")
    if not value:
        return ()
    try:
        return texts(value, "fields")
    except RuleError as error:
        notes.append(error.what)
        return ()


# --- pipelines -------------------------------------------------------------------------------------------------------


def _sigma_rule(head: Head, logsource: LogSource, detection: SigmaDetections, fields: tuple[str, ...]) -> SigmaRule:
    """The rule as pipelines know it, with what their conditions can ask for."""
    parts = (logsource.category, logsource.product, logsource.service)
    return SigmaRule(
        title=head["title"],
        name=head["name"],
        level=SigmaLevel[head["level"].upper()],
        status=SigmaStatus.__members__.get((head["status"] or "").upper()),
        description=head["description"],
        tags=[SigmaRuleTag.from_str(tag) for tag in head["tags"]],
        fields=list(fields),
        logsource=SigmaLogSource(*parts) if any(parts) else EmptyLogSource(),
        detection=detection,
    )


def _apply(pipelines: Sequence[ProcessingPipeline], rule: SigmaRule) -> None:
    from mingjian.detect.sigma.pipelines import apply_to_rule

    apply_to_rule(pipelines, rule)


def _read_correlation(document: Document, head: Head, notes: list[str], making: _Making) -> None:
    correlation = correlation_of(document, head, notes)
    if making.pipelines:
        from mingjian.detect.sigma.pipelines import apply_to_correlation

        correlation = apply_to_correlation(making.pipelines, correlation)
        correlation = replace(correlation, content_hash=definition_hash(correlation))
    making.correlations.append(correlation)


_READERS: Mapping[str, Callable[[Document, Head, list[str], _Making], None]] = {
    "detection": _read_rule,
    "correlation": _read_correlation,
    "filter": _read_filter,
}

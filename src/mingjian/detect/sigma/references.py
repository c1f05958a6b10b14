"""Putting files together: duplicates, filters, and which rules a correlation means.

Needs no pySigma. Files come in a fixed order, and the first one wins where only one can.

Source: Sigma correlation rules specification, section Related rules; Sigma filters specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec
from msgspec.structs import replace

from mingjian.detect.sigma.expressions import all_of, atom_count
from mingjian.detect.sigma.heads import hash_of, normal_id
from mingjian.errors import shown
from mingjian.model.rules import (
    Correlation,
    Filter,
    Rule,
    RuleHead,
    RuleNote,
    SkippedRule,
)

EXPRESSION_ATOMS_MAX: Final = 50_000
"""So many atoms a condition may have once ``N of`` and filters are written out."""

REASON_CHARACTERS_MAX: Final = 500
"""The longest reason or note."""


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What one file holds. ``file`` is still empty everywhere: the same content may lie in several places."""

    documents: int = 0
    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    filters: tuple[Filter, ...] = ()
    skipped: tuple[SkippedRule, ...] = ()
    notes: tuple[RuleNote, ...] = ()


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """All files together. Ids are unique; correlations come after the correlations that they refer to."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    filters: tuple[Filter, ...] = ()
    skipped: tuple[SkippedRule, ...] = ()
    notes: tuple[RuleNote, ...] = ()


_Head = TypeVar("_Head", bound=RuleHead)


def rule_hash(rule: Rule) -> str:
    """Hash what decides what a rule matches: condition and log source."""
    return hash_of((rule.condition, rule.logsource))


def skipped_from(head: RuleHead, code: str, reason: str) -> SkippedRule:
    """Name a rule that cannot be used."""
    return SkippedRule(
        file=head.file,
        document=head.document,
        rule_id=head.id,
        title=head.title,
        code=code,
        reason=reason[:REASON_CHARACTERS_MAX],
    )


class _Files:
    """The files so far."""

    def __init__(self) -> None:
        self.by_id: dict[str, RuleHead] = {}
        self.by_name: dict[str, list[RuleHead]] = {}
        self.skipped: list[SkippedRule] = []
        self.notes: list[RuleNote] = []

    def note(self, head: RuleHead, text: str) -> None:
        self.notes.append(
            RuleNote(file=head.file, document=head.document, rule_id=head.id, text=text[:REASON_CHARACTERS_MAX])
        )

    def accept(self, head: _Head, file: str) -> _Head | None:
        """Give the head a place, with an id that nobody else has; None if it is there already."""
        head = replace(head, file=file)
        first = self.by_id.get(head.id)
        if first is not None:
            other = replace(head, id=f"{head.id}~{head.content_hash[:8]}")
            same = first if first.content_hash == head.content_hash else self.by_id.get(other.id)
            if same is not None:
                self.skipped.append(skipped_from(head, "rule-error", f"the same rule is in {same.file}"))
                return None
            self.note(other, f"the id {head.id} belongs to another rule, in {first.file}: this one is named {other.id}")
            head = other
        self.by_id[head.id] = head
        if head.name:
            self.by_name.setdefault(head.name, []).append(head)
        return head

    def find(self, reference: str, file: str) -> RuleHead | str:
        """What an id or name means, as seen from a file; the reason if that cannot be said."""
        found = self.by_id.get(normal_id(reference))
        if found is not None:
            return found
        named = self.by_name.get(reference, [])
        nearby = [head for head in named if head.file == file]
        if len(nearby) == 1:
            return nearby[0]
        if len(named) == 1:
            return named[0]
        if named:
            return f"the name {shown(reference)} is used by {len(named)} rules"
        return f"there is no rule with the id or name {shown(reference)}"


def resolve(files: Iterable[tuple[str, Parsed]]) -> Resolved:
    """Put parsed files together, in the order given.

    Nothing is raised: what cannot be used is in ``skipped``, what the author should know in ``notes``.
    """
    known = _Files()
    rules: list[Rule] = []
    correlations: list[Correlation] = []
    filters: list[Filter] = []
    for file, parsed in files:
        known.skipped.extend(replace(item, file=file) for item in parsed.skipped)
        known.notes.extend(replace(item, file=file) for item in parsed.notes)
        rules.extend(rule for rule in (known.accept(rule, file) for rule in parsed.rules) if rule is not None)
        correlations.extend(c for c in (known.accept(c, file) for c in parsed.correlations) if c is not None)
        filters.extend(f for f in (known.accept(f, file) for f in parsed.filters) if f is not None)
    rules, filters = _filtered(known, rules, filters)
    correlations = _correlated(known, rules, correlations)
    rules, correlations = _hidden(rules, correlations)
    return Resolved(
        rules=tuple(rules),
        correlations=tuple(correlations),
        filters=tuple(filters),
        skipped=tuple(sorted(known.skipped, key=_place)),
        notes=tuple(sorted(known.notes, key=_place)),
    )


def _place(item: SkippedRule | RuleNote) -> tuple[str, int, str]:
    return item.file, item.document, item.rule_id


# --- filters ---------------------------------------------------------------------------------------------------------


def _filtered(known: _Files, rules: Sequence[Rule], filters: Sequence[Filter]) -> tuple[list[Rule], list[Filter]]:
    if not filters:
        return list(rules), []
    now = {rule.id: rule for rule in rules}
    usable: list[Filter] = []
    for item in filters:
        targets = _targets(known, item, now)
        applied = 0
        for target in targets:
            condition = all_of((now[target].condition, item.condition))
            if atom_count(condition) > EXPRESSION_ATOMS_MAX:
                known.note(item, f"the filter is too long for the rule {target} (EXPRESSION_ATOMS_MAX)")
                continue
            changed = replace(now[target], condition=condition, filters=(*now[target].filters, item.id))
            now[target] = replace(changed, content_hash=rule_hash(changed))
            applied += 1
        if applied:
            usable.append(item)
        else:
            known.skipped.append(skipped_from(item, "rule-error", "the filter fits none of the rules"))
    return [now[rule.id] for rule in rules], usable


def _targets(known: _Files, item: Filter, rules: dict[str, Rule]) -> list[str]:
    if not item.rules:
        return [rule.id for rule in rules.values() if rule.logsource.satisfies(item.logsource)]
    targets: dict[str, None] = {}
    for reference in item.rules:
        found = known.find(reference, item.file)
        if isinstance(found, str):
            known.note(item, found)
        elif found.id not in rules:
            known.note(item, f"{shown(reference)} is not a rule about single events: no filter can be put on it")
        elif not rules[found.id].logsource.satisfies(item.logsource):
            known.note(item, f"the log source of the rule {shown(reference)} does not fit that of the filter")
        else:
            targets[found.id] = None
    return list(targets)


# --- correlations ----------------------------------------------------------------------------------------------------


def _correlated(known: _Files, rules: Sequence[Rule], correlations: Sequence[Correlation]) -> list[Correlation]:
    hashes = {rule.id: rule.content_hash for rule in rules}
    waiting: dict[str, Correlation] = {}
    for item in correlations:
        named = _with_ids(known, item)
        if isinstance(named, str):
            known.skipped.append(skipped_from(item, "rule-error", named))
        else:
            waiting[item.id] = named
    done: list[Correlation] = []
    while waiting:
        ready = [item for item in waiting.values() if all(rule in hashes for rule in item.rules)]
        for item in ready:
            del waiting[item.id]
            hashes[item.id] = _correlation_hash(item, hashes)
            done.append(replace(item, content_hash=hashes[item.id]))
        lost = [item for item in waiting.values() if any(r not in hashes and r not in waiting for r in item.rules)]
        for item in lost:
            del waiting[item.id]
            gone = next(rule for rule in item.rules if rule not in hashes and rule not in waiting)
            known.skipped.append(skipped_from(item, "rule-error", f"it refers to {shown(gone)}, which cannot be used"))
        if not ready and not lost:
            for item in waiting.values():
                known.skipped.append(
                    skipped_from(item, "rule-error", "it refers to itself, through other correlations or directly")
                )
            break
    return done


def _with_ids(known: _Files, item: Correlation) -> Correlation | str:
    """The correlation with ids in the place of references; the reason if that cannot be done."""
    ids: dict[str, str] = {}
    for reference in (*item.rules, *(rule for of in item.aliases.values() for rule in of)):
        found = known.find(reference, item.file)
        if isinstance(found, str):
            return found
        if isinstance(found, Filter):
            return f"{shown(reference)} is a filter"
        ids[reference] = found.id
    rules = tuple(dict.fromkeys(ids[reference] for reference in item.rules))
    for alias, of in item.aliases.items():
        stranger = next((rule for rule in of if ids[rule] not in rules), None)
        if stranger is not None:
            known.note(item, f"the alias {shown(alias)} speaks of {shown(stranger)}, which is not among the rules")
    return replace(
        item,
        rules=rules,
        aliases={
            alias: {ids[rule]: field for rule, field in of.items() if ids[rule] in rules}
            for alias, of in item.aliases.items()
        },
    )


def _correlation_hash(item: Correlation, hashes: dict[str, str]) -> str:
    """Like ``definition_hash``, but over what the rules match, not over how they are called."""
    return hash_of(
        (
            item.type,
            [hashes[rule] for rule in item.rules],
            item.group_by,
            item.timespan_s,
            item.bounds,
            item.value_fields,
            item.percentile,
            sorted((alias, sorted((hashes[r], f) for r, f in of.items())) for alias, of in item.aliases.items()),
        )
    )


def _hidden(rules: Sequence[Rule], correlations: Sequence[Correlation]) -> tuple[list[Rule], list[Correlation]]:
    """Hide what only feeds correlations that do not generate."""
    fed = {rule: False for item in correlations for rule in item.rules}
    for item in correlations:
        if item.generate:
            fed.update(dict.fromkeys(item.rules, True))
    return (
        [replace(rule, hidden=True) if fed.get(rule.id) is False else rule for rule in rules],
        [replace(item, hidden=True) if fed.get(item.id) is False else item for item in correlations],
    )

"""What became of every document of every rule file: loaded, skipped, or loaded with nothing that could feed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from mingjian.detect.correlation import plan_all
from mingjian.hunt.rulebook import Rulebook
from mingjian.model.rules import Correlation, Filter, LogSource, Rule, RuleHead
from mingjian.model.sources import Stream

State: TypeAlias = Literal["loaded", "skipped", "unfed"]
STATES: tuple[State, ...] = ("loaded", "unfed", "skipped")
"""From good to bad."""


class CheckedRule(msgspec.Struct, frozen=True, kw_only=True):
    """One document of one rule file."""

    rule_id: str
    title: str
    kind: Literal["rule", "correlation", "filter", ""]
    """Empty for what was skipped."""
    file: str
    document: int
    """0 where the whole file is meant."""
    state: State
    reason: str = ""
    """Why it was skipped or is never fed; for a loaded rule, what its author should know."""
    sources: tuple[str, ...] = ()
    """Streams that could feed it."""


def check(book: Rulebook, streams: Iterable[Stream]) -> list[CheckedRule]:
    """Give a row for every document, in the order of the files. ``book`` must have been loaded without a level."""
    feeding = _Feeding(streams)
    notes: dict[tuple[str, int], list[str]] = {}
    for note in book.notes:
        notes.setdefault((note.file, note.document), []).append(note.text)
    sources: dict[str, tuple[str, ...]] = {rule.id: feeding.of(rule.logsource) for rule in book.rules}
    rows: list[CheckedRule] = []
    for rule in book.rules:
        why = "" if sources[rule.id] else f"no source has the log source {words(rule.logsource)}"
        rows.append(_row(rule, "rule", sources[rule.id], why, notes))
    refused = {skipped.correlation_id: skipped.reason for skipped in plan_all(book.correlations)[1]}
    for correlation in book.correlations:
        sources[correlation.id], why = _correlated(correlation, sources)
        row = _row(correlation, "correlation", sources[correlation.id], why, notes)
        if correlation.id in refused:
            row = msgspec.structs.replace(row, kind="", state="skipped", reason=refused[correlation.id], sources=())
        rows.append(row)
    for item in book.filters:
        found = [sources[rule.id] for rule in book.rules if item.id in rule.filters]
        fed = tuple(dict.fromkeys(name for names in found for name in names))
        why = "" if fed else f"no rule that it is put on has a source ({words(item.logsource)})"
        rows.append(_row(item, "filter", fed, why, notes))
    rows += [
        CheckedRule(
            rule_id=skipped.rule_id,
            title=skipped.title,
            kind="",
            file=skipped.file,
            document=skipped.document,
            state="skipped",
            reason=skipped.reason,
        )
        for skipped in book.skipped
    ]
    order = {file: place for place, file in enumerate(book.files)}
    return sorted(rows, key=lambda row: (order[row.file], row.document, row.rule_id))


def file_states(book: Rulebook, rows: Iterable[CheckedRule]) -> dict[State, int]:
    """Count files by state; the counts add up to the files. Of several documents the worst one decides."""
    worst = dict.fromkeys(book.files, 0)
    for row in rows:
        worst[row.file] = max(worst[row.file], STATES.index(row.state))
    counts = dict.fromkeys(STATES, 0)
    for state in worst.values():
        counts[STATES[state]] += 1
    return counts


def words(logsource: LogSource) -> str:
    """Write a log source as ``product/category/service``.

    >>> words(LogSource("windows", None, "security"))
    'windows/*/security'
    """
    return "/".join(part or "*" for part in (logsource.product, logsource.category, logsource.service))


class _Feeding:
    """Which streams can feed a log source, asked once for each."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._streams: Sequence[Stream] = tuple(streams)
        self._known: dict[LogSource, tuple[str, ...]] = {}

    def of(self, wanted: LogSource) -> tuple[str, ...]:
        if wanted not in self._known:
            anything = wanted == LogSource()
            self._known[wanted] = tuple(
                dict.fromkeys(
                    stream.name
                    for stream in self._streams
                    if anything or any(logsource.satisfies(wanted) for logsource in stream.logsources)
                )
            )
        return self._known[wanted]


def _correlated(correlation: Correlation, sources: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, ...], str]:
    """Its sources, and why it can never fire if it has none."""
    unfed = [rule for rule in correlation.rules if not sources[rule]]
    needs_all = correlation.type.startswith("temporal") and not correlation.bounds
    if unfed and (needs_all or len(unfed) == len(correlation.rules)):
        return (), f"the rule {unfed[0]} has no source"
    return tuple(dict.fromkeys(name for rule in correlation.rules for name in sources[rule])), ""


def _row(
    head: Rule | Correlation | Filter,
    kind: Literal["rule", "correlation", "filter"],
    sources: tuple[str, ...],
    why: str,
    notes: Mapping[tuple[str, int], Sequence[str]],
) -> CheckedRule:
    return CheckedRule(
        rule_id=head.id,
        title=head.title,
        kind=kind,
        file=head.file,
        document=head.document,
        state="loaded" if sources else "unfed",
        reason="; ".join(filter(None, (why, *notes.get(_place(head), ())))),
        sources=sources,
    )


def _place(head: RuleHead) -> tuple[str, int]:
    return head.file, head.document

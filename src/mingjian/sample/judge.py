"""What was found, held against the truth: which steps of which campaign were seen, and what was a false alarm.

In: detections, records that answers pointed to, and the truth about the logs they were found in. Out: values. Never: an
excuse. A step counts as found if a detection rests on at least one of the lines that it left, or an answer pointed to
one; a detection that rests on none of any step's is a false alarm, however interesting it may be.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import msgspec

from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS
from mingjian.sample.campaigns import Step
from mingjian.sample.generate import Truth

Place: TypeAlias = "tuple[str, int]"
"""A file below the folder of the logs, and a record in it."""
Unseen: TypeAlias = Literal["", "unnoticed", "not forwarded", "outage"]
"""Why a step was not seen: nothing looks for its lines, they were not handed on, or nobody recorded them."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a campaign and what was seen of it."""

    step: Step
    time: str
    """When the step (or the first of its deeds) happened, ISO 8601."""
    host: str
    account: str
    lines: int
    """So many lines of it are in the logs …"""
    not_there: Counter[str] = Counter()
    """… and so many are not, by reason."""
    rules: tuple[tuple[str, str, int], ...] = ()
    """Level, title and number of detections of each rule that saw it, the gravest first."""
    indicators: tuple[tuple[str, str, int], ...] = ()
    """The same of indicators."""
    is_shown: bool = False
    """An answer pointed to one of its lines."""

    @property
    def is_found(self) -> bool:
        """Whether anything saw it."""
        return bool(self.rules or self.indicators or self.is_shown)

    @property
    def unseen(self) -> Unseen:
        """Why nothing saw it; empty if something did."""
        if self.is_found:
            return ""
        if self.lines:
            return "unnoticed"
        return "not forwarded" if self.not_there["not forwarded"] else "outage"


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """How well the rules did."""

    findings: tuple[Finding, ...]
    """Every planted step, in order of campaign and time."""
    detections: int
    true_detections: int
    false_alarms: tuple[tuple[str, str, int], ...]
    """Level, title and number of detections of each rule that was wrong, the most frequent first."""
    false_by_organisation: dict[str, int] = {}

    @property
    def missed(self) -> tuple[Finding, ...]:
        """The steps that nothing saw."""
        return tuple(finding for finding in self.findings if not finding.is_found)


class _Steps:
    """Where the planted lines are."""

    def __init__(self, truth: Sequence[Truth]) -> None:
        self.step_of: dict[Place, str] = {}
        self.first: dict[str, Truth] = {}
        self.lines: Counter[str] = Counter()
        self.not_there: dict[str, Counter[str]] = defaultdict(Counter)
        for row in truth:
            if row.kind not in ("planted", "hidden"):
                continue
            key = f"{row.organisation}/{row.campaign}/{row.step}"
            if row.kind == "planted":
                self.step_of[row.file, row.record] = key
                self.lines[key] += 1
            else:
                self.not_there[key][row.reason] += 1
            if key not in self.first or row.time < self.first[key].time:
                self.first[key] = row


_Rule: TypeAlias = tuple[str, str]


def judge(
    detections: Iterable[Detection],
    truth: Sequence[Truth],
    steps: Sequence[Step],
    logs: str,
    *,
    shown: Iterable[Place] = (),
) -> Judgement:
    """Hold detections against the truth. ``logs`` is the folder of the logs as it was given to whoever read them.

    ``shown``: files (below that folder too) and records that an answer pointed to.
    """
    known = _Steps(truth)
    step_of = known.step_of
    prefix = logs.rstrip("/") + "/"
    seen: dict[str, dict[bool, Counter[_Rule]]] = defaultdict(lambda: {False: Counter(), True: Counter()})
    false: Counter[_Rule] = Counter()
    false_by_organisation: Counter[str] = Counter()
    total = true = 0
    for detection in detections:
        total += 1
        rule = (detection.level, detection.rule_title)
        touched = {step_of[place] for place in _places(detection, prefix) if place in step_of}
        true += bool(touched)
        for key in touched:
            seen[key][detection.kind == "indicator"][rule] += 1
        if not touched:
            false[rule] += 1
            false_by_organisation[detection.file.removeprefix(prefix).partition("/")[0]] += 1
    pointed = {step_of.get((file.removeprefix(prefix), record)) for file, record in shown}
    findings = tuple(
        Finding(
            step=step, time=known.first[step.id].time, host=known.first[step.id].host,
            account=known.first[step.id].account, lines=known.lines[step.id],
            not_there=known.not_there.get(step.id, Counter()), rules=_ranked_by_level(seen[step.id][False]),
            indicators=_ranked_by_level(seen[step.id][True]), is_shown=step.id in pointed,
        )
        for step in steps
        if step.id in known.first
    )  # fmt: skip
    return Judgement(
        findings=findings,
        detections=total,
        true_detections=true,
        false_alarms=tuple((level, title, count) for (level, title), count in false.most_common()),
        false_by_organisation=dict(false_by_organisation),
    )


def _ranked_by_level(seen: Counter[_Rule]) -> tuple[tuple[str, str, int], ...]:
    order = sorted(seen.items(), key=lambda item: (-LEVELS.index(item[0][0]), -item[1], item[0][1]))
    return tuple((level, title, count) for (level, title), count in order)


def _places(detection: Detection, prefix: str) -> Iterable[Place]:
    """The records that a detection rests on: one, or for a correlation all that it counted and named."""
    yield detection.file.removeprefix(prefix), detection.record
    if detection.kind in ("correlation", "behaviour"):
        for atom in detection.atoms:
            # “<rule id> <file>:<record>”; a file's name may hold blanks and colons.
            file, _, record = atom.partition(" ")[2].rpartition(":")
            if record.isdigit():
                yield file.removeprefix(prefix), int(record)

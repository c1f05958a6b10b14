"""What was found, held against the truth: which steps of which campaign were seen, and what was a false alarm.

In: detections and the truth about the logs they were found in. Out: values. Never: an excuse. A step counts as found if
a detection rests on at least one of the lines that it left; a detection that rests on none of any step's is a false
alarm, however interesting it may be.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec

from mingjian.model.detections import Detection
from mingjian.sample.campaigns import Step
from mingjian.sample.generate import Truth

Place: TypeAlias = "tuple[str, int]"
"""A file below the folder of the logs, and a record in it."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a campaign and what was seen of it."""

    step: Step
    time: str
    """When the step (or the first of its deeds) happened, ISO 8601."""
    host: str
    account: str
    lines: int
    """So many lines it left."""
    rules: tuple[tuple[str, str, int], ...] = ()
    """Level, title and number of detections of each rule that saw it, the gravest first."""

    @property
    def is_found(self) -> bool:
        """Whether anything saw it."""
        return bool(self.rules)


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """How well the rules did."""

    findings: tuple[Finding, ...]
    """Every planted step, in order of campaign and time."""
    detections: int
    true_detections: int
    false_alarms: tuple[tuple[str, str, int], ...]
    """Level, title and number of detections of each rule that was wrong, the most frequent first."""

    @property
    def missed(self) -> tuple[Finding, ...]:
        """The steps that nothing saw."""
        return tuple(finding for finding in self.findings if not finding.is_found)


def judge(detections: Iterable[Detection], truth: Sequence[Truth], steps: Sequence[Step], logs: str) -> Judgement:
    """Hold detections against the truth. ``logs`` is the folder of the logs as it was given to the detection run."""
    step_of: dict[Place, str] = {}
    first: dict[str, Truth] = {}
    lines: Counter[str] = Counter()
    for row in truth:
        if row.kind == "planted":
            key = f"{row.organisation}/{row.campaign}/{row.step}"
            step_of[row.file, row.record] = key
            lines[key] += 1
            if key not in first or row.time < first[key].time:
                first[key] = row
    prefix = logs.rstrip("/") + "/"
    seen: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    false: Counter[tuple[str, str]] = Counter()
    total = true = 0
    for detection in detections:
        total += 1
        rule = (detection.level, detection.rule_title)
        touched = {step_of[place] for place in _places(detection, prefix) if place in step_of}
        true += bool(touched)
        for key in touched:
            seen[key][rule] += 1
        if not touched:
            false[rule] += 1
    findings = tuple(
        Finding(
            step=step, time=first[step.id].time, host=first[step.id].host, account=first[step.id].account,
            lines=lines[step.id], rules=_ranked_by_level(seen[step.id]),
        )
        for step in steps
        if step.id in first
    )  # fmt: skip
    return Judgement(
        findings=findings,
        detections=total,
        true_detections=true,
        false_alarms=tuple((level, title, count) for (level, title), count in false.most_common()),
    )


_LEVELS = ("critical", "high", "medium", "low", "informational")


def _ranked_by_level(seen: Counter[tuple[str, str]]) -> tuple[tuple[str, str, int], ...]:
    order = sorted(seen.items(), key=lambda item: (_LEVELS.index(item[0][0]), -item[1], item[0][1]))
    return tuple((level, title, count) for (level, title), count in order)


def _places(detection: Detection, prefix: str) -> Iterable[Place]:
    """The records that a detection rests on: one, or for a correlation all that it counted and named."""
    yield detection.file.removeprefix(prefix), detection.record
    if detection.kind == "correlation":
        for atom in detection.atoms:
            # “<rule id> <file>:<record>”; a file's name may hold blanks and colons.
            file, _, record = atom.partition(" ")[2].rpartition(":")
            if record.isdigit():
                yield file.removeprefix(prefix), int(record)

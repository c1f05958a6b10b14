"""One situation with everything that is known of it: members, joins, timeline, entities, terms, history, its kin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from mingjian.hunt.attack import load_attack
from mingjian.settings import Language
from mingjian.situations import wording
from mingjian.situations.summary import Summary, unpacked
from mingjian.store.decisions import (
    Comment,
    DetectionVerdict,
    Incident,
    SituationAct,
    Task,
    comments_on,
    history_of,
    incidents,
    tasks_of,
    verdicts_on,
)
from mingjian.store.detections import StoredDetection
from mingjian.store.evidence import BAD, entities_of, key_of
from mingjian.store.scope import Scope
from mingjian.store.situations import (
    MEMBERS_MAX,
    StoredSituation,
    entity_counts,
    hiders_of,
    joins_of,
    members_of,
    related,
    situation_by_id,
)
from mingjian.store.suppressions import Suppression, suppressions
from mingjian.store.workspace import Workspace

KIN_KINDS: Final = ("hash", "domain", "url", "certificate", "email", "ip")
"""What situations of different organisations may have in common."""

AWAY: Final = ("false_positive", "benign")
"""Verdicts on a detection with which it holds no situation any more."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A detection of a situation."""

    detection: StoredDetection
    is_core: bool
    """It holds the situation together; else it stands beside it."""
    tactics: tuple[str, ...]
    verdict: DetectionVerdict | None


class ShownJoin(msgspec.Struct, frozen=True, kw_only=True):
    """Why two detections are together, and what speaks against it."""

    earlier: str
    """Public id of the detection."""
    later: str
    kind: str
    """Of what they share; empty: a person put them together."""
    value: str
    reason: str
    strength: float
    distance_s: int | None
    against: tuple[str, ...]


class ShownEntity(msgspec.Struct, frozen=True, kw_only=True):
    """Something telling that detections of the situation share."""

    kind: str
    value: str
    detections: int
    hosts: int
    """On so many it was ever seen."""
    is_bad: bool


class Kin(msgspec.Struct, frozen=True, kw_only=True):
    """Another situation that shares something with it."""

    situation: StoredSituation
    title: str
    shared: int


class Emptied(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing of a situation is in the queue any more."""

    judged: tuple[tuple[DetectionVerdict, int], ...]
    """Who judged detections of it away, each with how many, the latest first."""
    hidden: tuple[tuple[Suppression, int], ...]
    """Suppressions that hide detections of it."""
    removed: int
    """So many are gone, with the events that they are about."""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """A situation with everything that is known of it."""

    stored: StoredSituation
    summary: Summary
    title: str
    why: str
    danger: float
    terms: tuple[wording.TermLine, ...]
    members: tuple[Member, ...]
    """The earliest first: this is the timeline."""
    members_left_out: int
    joins: tuple[ShownJoin, ...]
    """The strongest first."""
    entities: tuple[ShownEntity, ...]
    related: tuple[Kin, ...]
    history: tuple[SituationAct, ...]
    comments: tuple[Comment, ...]
    tasks: tuple[Task, ...]
    incidents: tuple[Incident, ...]
    emptied: Emptied | None
    """None: some of it is in the queue."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A situation as a list shows it."""

    stored: StoredSituation
    summary: Summary
    title: str
    why: str
    danger: float
    terms: tuple[wording.TermLine, ...]


def line_of(stored: StoredSituation, language: Language) -> Line:
    """A situation as a list shows it."""
    summary = unpacked(stored.summary)
    return Line(
        stored=stored,
        summary=summary,
        title=wording.title(summary, language),
        why=wording.why(summary, language, stored.first_us, stored.last_us),
        danger=stored.danger / 1000,
        terms=tuple(wording.terms(summary, language)),
    )


def situation(
    workspace: Workspace, scope: Scope, public_id: str, language: Language = "en", *, members_max: int = MEMBERS_MAX
) -> Situation:
    """Everything about one situation.

    Raises:
        NotFound: there is none that the scope may see.
    """
    stored = situation_by_id(workspace, scope, public_id)
    line = line_of(stored, language)
    found = members_of(workspace, stored, limit=members_max)
    verdicts = verdicts_on(workspace, scope, [each.id for each, _ in found])
    counts = entity_counts(workspace, stored)
    return Situation(
        stored=stored,
        summary=line.summary,
        title=line.title,
        why=line.why,
        danger=line.danger,
        terms=line.terms,
        members=tuple(
            Member(
                detection=each,
                is_core=is_core,
                tactics=_tactics(each.detection.attack),
                verdict=verdicts.get(each.id),
            )
            for each, is_core in found
        ),
        members_left_out=0 if stored.is_emptied else max(0, stored.detections - len(found)),
        joins=_joins(workspace, stored, {each.id: each for each, _ in found}, language),
        entities=_entities(workspace, stored, counts),
        related=_kin(workspace, scope, stored, counts, language),
        history=tuple(history_of(workspace, stored)),
        comments=tuple(comments_on(workspace, scope, "situation", stored.public_id)),
        tasks=tuple(tasks_of(workspace, scope, "situation", stored.public_id)),
        incidents=tuple(incidents(workspace, scope, situation=stored)),
        emptied=_emptied(workspace, scope, stored, len(found), verdicts) if stored.is_emptied else None,
    )


def _emptied(
    workspace: Workspace, scope: Scope, stored: StoredSituation, left: int, verdicts: Mapping[int, DetectionVerdict]
) -> Emptied:
    judged: dict[tuple[str, str, str], tuple[DetectionVerdict, int]] = {}
    for each in sorted(verdicts.values(), key=lambda verdict: -verdict.at_us):
        if each.resolution not in AWAY:
            continue
        key = (each.actor, each.resolution, each.reason)
        first, count = judged.get(key, (each, 0))
        judged[key] = (first, count + 1)
    hiders = hiders_of(workspace, stored)
    known = {each.id: each for each in suppressions(workspace, scope)} if hiders else {}
    return Emptied(
        judged=tuple(judged.values()),
        hidden=tuple((known[number], count) for number, count in sorted(hiders.items()) if number in known),
        removed=max(0, stored.detections - left),
    )


def _tactics(techniques: tuple[str, ...]) -> tuple[str, ...]:
    known = load_attack().techniques
    return tuple(dict.fromkeys(tactic for each in techniques if each in known for tactic in known[each].tactics))


def _joins(
    workspace: Workspace, stored: StoredSituation, members: dict[int, StoredDetection], language: Language
) -> tuple[ShownJoin, ...]:
    joins = [each for each in joins_of(workspace, stored) if each.earlier_id in members and each.later_id in members]
    keys = sorted({each.entity_key for each in joins if each.entity_key is not None})
    known = entities_of(workspace, stored.organisation, keys)
    shown: list[ShownJoin] = []
    for each in joins:
        earlier, later = members[each.earlier_id], members[each.later_id]
        entity = None if each.entity_key is None else known.get(each.entity_key)
        kind, value = ("", "") if entity is None else (entity.kind, entity.value)
        times = (earlier.detection.time_us, later.detection.time_us)
        shown.append(
            ShownJoin(
                earlier=earlier.public_id,
                later=later.public_id,
                kind=kind,
                value=value,
                reason=wording.reason(kind, value, language),
                strength=each.strength / 1000 if entity is not None else 0.0,
                distance_s=None if times[0] is None or times[1] is None else (times[1] - times[0]) // 1_000_000,
                against=tuple(wording.against(each.against, language)),
            )
        )
    return tuple(shown)


def _entities(workspace: Workspace, stored: StoredSituation, counts: dict[int, int]) -> tuple[ShownEntity, ...]:
    known = entities_of(workspace, stored.organisation, sorted(counts))
    shown = [
        ShownEntity(
            kind=each.kind,
            value=each.value,
            detections=counts[key],
            hosts=each.hosts,
            is_bad=bool(each.flags & BAD),
        )
        for key, each in known.items()
    ]
    return tuple(sorted(shown, key=lambda each: (not each.is_bad, each.hosts, -each.detections, each.kind, each.value)))


def _kin(
    workspace: Workspace, scope: Scope, stored: StoredSituation, counts: dict[int, int], language: Language
) -> tuple[Kin, ...]:
    known = entities_of(workspace, stored.organisation, sorted(counts))
    keys = [key for key, each in known.items() if each.kind in KIN_KINDS]
    return tuple(
        Kin(situation=other, title=line_of(other, language).title, shared=shared)
        for other, shared in related(workspace, scope, stored, keys)
    )


def entity_key(kind: str, value: str) -> int:
    """The number by which the list of situations is filtered for a thing (``SituationFilter.entity_key``)."""
    return key_of(kind, value)

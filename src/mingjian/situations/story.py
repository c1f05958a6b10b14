"""What it did: the timeline, the chain of tactics, and the graph of what it touched. Pure, but for words.

Everything here is bounded; what is not shown is counted.
"""

from __future__ import annotations

import datetime
import math
import shlex
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from mingjian.hunt.attack import Attack
from mingjian.hunt.vocabulary import role_in, term_in, title_in
from mingjian.model.rules import LEVELS
from mingjian.model.sources import ObservableKind
from mingjian.model.times import parse_time_us
from mingjian.settings import Language
from mingjian.situations.card import ChainStep, Edge, Graph, Node, Pointer, Step
from mingjian.situations.reading import Alike
from mingjian.situations.verdict import Inference
from mingjian.sources.envelope import Observed
from mingjian.store.behaviours import StoredBehaviour
from mingjian.store.detectiongroups import Several

EVENT_LINES_MAX: Final = 80
"""So many lines of the timeline are about events that no detection is about …"""
DETECTION_LINES_MAX: Final = 120
"""… and so many about detections."""
BEHAVIOUR_LINES_MAX: Final = 60
"""So many lines are about behaviours."""
NAMED_MAX: Final = 4
"""So many of the other observables of an event are named in its line."""
VALUE_CHARACTERS_MAX: Final = 120
NEAR_US: Final = 1_800_000_000
"""What happens within half an hour of a detection is likely to belong to it."""
NODES_MAX: Final = 30
COMPANY_MAX: Final = 3
"""Hosts are drawn behind what was seen on so few of them."""

_UNREADABLE: Final = ("hash", "certificate", "ja3", "ja4")
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Weighed(msgspec.Struct, frozen=True):
    """How usual an observable is."""

    count: int
    hosts: tuple[str, ...]
    hosts_count: int
    is_bad: bool


def time_text(time_us: int | None) -> str | None:
    """A time as ISO 8601 in UTC, to the microsecond; None if there is none, or none that a calendar has.

    >>> time_text(1_600_000_000_000_001)
    '2020-09-13T12:26:40.000001Z'
    """
    if time_us is None:
        return None
    try:
        moment = _EPOCH + datetime.timedelta(microseconds=time_us)
    except OverflowError:
        return None
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def pointer(organisation: str, file: str, record: int) -> Pointer:
    """Where an event is, and the command that shows it."""
    command = f"mingjian record {shlex.quote(f'{file}:{record}')} --org {shlex.quote(organisation)}"
    return Pointer(organisation=organisation, file=file, record=record, command=command)


# --- the timeline --------------------------------------------------------------------------------------------------


def detection_steps(
    found: Sequence[Several],
    names: Mapping[int, str],
    tactics_of: Callable[[Sequence[str]], tuple[str, ...]],
    language: Language,
) -> list[Step]:
    """Detections, those of one rule on one host for one account in one line; the gravest first."""
    steps: list[Step] = []
    for several in found:
        one = several.first.detection
        steps.append(
            Step(
                kind="detection",
                time=time_text(several.first_us),
                last=time_text(several.last_us),
                count=several.count,
                is_exact=True,
                says=title_in(one, language),
                stream=one.stream,
                roles=(),
                host=one.host,
                account=one.account,
                evidence=pointer(names.get(several.first.organisation, ""), one.file, one.record),
                level=one.level,
                rule=one.rule_id,
                techniques=one.attack,
                tactics=tactics_of(one.attack),
            )
        )
    steps.sort(key=lambda step: (-LEVELS.index(step.level or "informational"), step.time or "~", step.rule))
    return steps[:DETECTION_LINES_MAX]


def behaviour_steps(
    found: Sequence[StoredBehaviour],
    names: Mapping[int, str],
    tactics_of: Callable[[Sequence[str]], tuple[str, ...]],
    language: Language,
) -> list[Step]:
    """Findings of behaviours, a line for each: the highest scores, in the order of time."""
    ranked = sorted(found, key=lambda each: (-each.score, each.stored.id))[:BEHAVIOUR_LINES_MAX]
    steps: list[Step] = []
    for each in ranked:
        one = each.stored.detection
        count = one.matched.get("count", "")
        steps.append(
            Step(
                kind="behaviour",
                time=time_text(one.time_us),
                last=_last_of(one.matched.get("last", "")) or time_text(one.time_us),
                count=int(count) if count.isdecimal() else 1,
                is_exact=True,
                says=title_in(one, language),
                stream=one.stream,
                roles=(each.role,),
                host=one.host,
                account=one.account,
                evidence=pointer(names.get(each.stored.organisation, ""), one.file, one.record),
                level=one.level,
                rule=one.rule_id,
                techniques=one.attack,
                tactics=tactics_of(one.attack),
                terms=tuple(term_in(atom, language) for atom in one.atoms),
            )
        )
    return sorted(steps, key=lambda step: step.time or "~")


def _last_of(text: str) -> str | None:
    return time_text(parse_time_us(text)) if text else None


def event_steps(
    groups: Sequence[Alike],
    names: Mapping[int, str],
    weight: Callable[[Observed], int],
    language: Language,
    *,
    near_us: Sequence[int] = (),
    is_all: bool,
) -> list[Step]:
    """Groups of events as lines: the first, the last, and those that tell most.

    Those within ``NEAR_US`` of some times (``near_us``, in order) come before others, then those with the rarest things
    in them.
    """
    if not groups:
        return []
    dated = [place for place, each in enumerate(groups) if each.first_us is not None]
    first = dated[0] if dated else 0
    last = max(dated, key=lambda place: groups[place].last_us or 0, default=first)

    def rank(place: int) -> tuple[bool, int, int, int]:
        each = groups[place]
        rarest = min((weight(other) for other in each.others), default=1 << 60)
        return not _is_near(each, near_us), rarest, each.count, place

    chosen = {place: number for number, place in enumerate(sorted(range(len(groups)), key=rank)[:EVENT_LINES_MAX])}
    for place in (first, last):
        chosen.setdefault(place, 0)
    steps: list[Step] = []
    for place in sorted(chosen):
        each = groups[place]
        kind = "first" if place == first else "last" if place == last else "event"
        steps.append(
            Step(
                kind=kind,
                time=time_text(each.first_us),
                last=time_text(each.last_us),
                count=each.count,
                is_exact=is_all,
                says=_sentence(each, weight, language),
                stream=each.stream,
                roles=each.roles,
                host=each.host,
                account=each.account,
                evidence=pointer(names.get(each.organisation, ""), each.file, each.number),
                rank=chosen[place],
            )
        )
    return steps


def _is_near(each: Alike, near_us: Sequence[int]) -> bool:
    """Whether the first or the last of some events is close to one of some times."""
    for time_us in (each.first_us, each.last_us):
        if time_us is not None:
            place = bisect_left(near_us, time_us - NEAR_US)
            if place < len(near_us) and near_us[place] <= time_us + NEAR_US:
                return True
    return False


def _sentence(each: Alike, weight: Callable[[Observed], int], language: Language) -> str:
    """What an event says, in a line: what the observable does in it, and the rarest of what stands beside it."""
    # A hash says nothing to the eye: it is named where there is nothing else.
    named = sorted(each.others, key=lambda other: (other.kind in _UNREADABLE, weight(other), other.role, other.value))
    named = named[:NAMED_MAX]
    beside = [f"{role_in(other.role, language)} {other.value[:VALUE_CHARACTERS_MAX]}" for other in named]
    left = len(each.others) - len(named)
    roles = role_in(", ".join(each.roles), language)
    if language == "zh":
        more = f"，另有 {left} 项" if left else ""
        return f"作为 {roles}" + (f"，同现：{'、'.join(beside)}{more}" if beside else "")
    more = f" and {left} more" if left else ""
    return f"as {roles}" + (f", with {', '.join(beside)}{more}" if beside else "")


def in_time(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Lines in the order of time, those without one last."""
    return tuple(sorted(steps, key=lambda step: (step.time is None, step.time or "", step.kind, step.rule, step.says)))


# --- the chain -----------------------------------------------------------------------------------------------------


def chain(
    steps: Sequence[Step], attack: Attack, inferences: Sequence[Inference], language: Language
) -> tuple[ChainStep, ...]:
    """The tactics that detections show, in the order of time, and those that must have come before, marked."""
    by_tactic: dict[str, list[Step]] = {}
    for step in steps:
        for tactic in step.tactics:
            by_tactic.setdefault(tactic, []).append(step)
    names = {tactic.id: tactic.zh if language == "zh" else tactic.en for tactic in attack.tactics}
    order = list(names)
    found = [_seen(tactic, of_tactic, attack, names) for tactic, of_tactic in by_tactic.items()]
    found.sort(key=lambda each: (each.time is None, each.time or "", order.index(each.tactic)))
    for inference in reversed(inferences):
        followers = [place for place, each in enumerate(found) if each.tactic in inference.before]
        if inference.tactic in by_tactic or not followers:
            continue
        because = inference.zh if language == "zh" else inference.en
        after = found[followers[0]]
        found.insert(
            followers[0],
            ChainStep(
                tactic=inference.tactic,
                name=names.get(inference.tactic, inference.tactic),
                time=None,
                last=after.time,
                count=0,
                techniques=(),
                is_inferred=True,
                because=because,
            ),
        )
    return tuple(found)


def _seen(tactic: str, steps: Sequence[Step], attack: Attack, names: Mapping[str, str]) -> ChainStep:
    times = [step.time for step in steps if step.time]
    lasts = [step.last for step in steps if step.last]
    first = min(steps, key=lambda step: (step.time is None, step.time or ""))
    techniques = {
        technique
        for step in steps
        for technique in step.techniques
        if (known := attack.techniques.get(technique)) and tactic in known.tactics
    }
    return ChainStep(
        tactic=tactic,
        name=names.get(tactic, tactic),
        time=min(times, default=None),
        last=max(lasts, default=None),
        count=sum(step.count for step in steps),
        techniques=tuple(sorted(techniques)),
        is_inferred=False,
        because="; ".join(dict.fromkeys(step.says for step in steps)),
        evidence=first.evidence,
    )


# --- the graph -----------------------------------------------------------------------------------------------------


class Touched(msgspec.Struct):
    """Something beside the entity."""

    roles: set[str]
    first_us: int | None


def touched(groups: Sequence[Alike], own: frozenset[tuple[str, str]]) -> dict[tuple[ObservableKind, str], Touched]:
    """The other observables of events that were read: roles, and when they were seen first."""
    found: dict[tuple[ObservableKind, str], Touched] = {}
    for each in groups:
        for other in sorted(each.others):
            if other[:2] in own:
                continue
            known = found.setdefault((other.kind, other.value), Touched(set(), each.first_us))
            known.roles.add(other.role)
            if each.first_us is not None:
                known.first_us = each.first_us if known.first_us is None else min(known.first_us, each.first_us)
    return found


def rarity(hosts: int, hosts_all: int) -> float:
    """How little usual something is that so many hosts have: 1 on one host, 0 on all of them.

    >>> rarity(1, 100), rarity(10, 100), rarity(100, 100)
    (1.0, 0.5, 0.0)
    """
    if hosts_all <= 1:
        return 1.0
    return round(max(0.0, 1 - math.log(max(hosts, 1)) / math.log(hosts_all)), 3)


def graph(
    start: Node,
    others: Mapping[tuple[ObservableKind, str], Touched],
    weighed: Mapping[tuple[ObservableKind, str], Weighed],
    hosts_all: int,
) -> Graph:
    """What an entity touched, the bad and the rare first, and the other hosts behind what few hosts have."""
    nodes = [start]
    edges: list[Edge] = []
    places: dict[tuple[str, str], int] = {(start.kind, start.value): 0}

    def rank(key: tuple[ObservableKind, str]) -> tuple[bool, int, int, str]:
        what = weighed[key]
        return not what.is_bad, what.hosts_count, what.count, key[1]

    ranked = sorted(weighed, key=rank)
    for key in ranked[:NODES_MAX]:
        what = weighed[key]
        about = others[key]
        places[key] = len(nodes)
        nodes.append(Node(kind=key[0], value=key[1], hosts=what.hosts_count, count=what.count, is_bad=what.is_bad))
        share = rarity(what.hosts_count, hosts_all)
        role = ", ".join(sorted(about.roles))
        edges.append(Edge(start=0, end=places[key], role=role, time=time_text(about.first_us), rarity=share))
    for key in ranked[:NODES_MAX]:
        what = weighed[key]
        if what.hosts_count > COMPANY_MAX:
            continue
        for host in what.hosts:
            node = ("host", host.casefold())
            if node not in places:
                if len(nodes) > 2 * NODES_MAX:
                    continue
                places[node] = len(nodes)
                nodes.append(Node(kind="host", value=host.casefold(), hosts=1, count=0, is_bad=False))
            if places[node]:
                share = rarity(what.hosts_count, hosts_all)
                edges.append(Edge(start=places[key], end=places[node], role="seen on", time=None, rarity=share))
    return Graph(nodes=tuple(nodes), edges=tuple(edges), left_out=len(others) - min(len(ranked), NODES_MAX))

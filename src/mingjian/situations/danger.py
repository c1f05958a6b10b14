"""How much a situation matters: danger = severity × confidence × spread × novelty. Pure, in columns.

Every term is kept and shown; their product decides the order of the queue, nothing else does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mingjian.situations.counting import different
from mingjian.situations.grouping import Floats, Ints
from mingjian.situations.policy import Policy
from mingjian.situations.standing import Part
from mingjian.store.evidence import BAD


class Sections(NamedTuple):
    """Situations, each a stretch of core detections in one order."""

    labels: Ints
    """Of each situation, rising: the place of its first detection."""
    members: Ints
    """Places of core detections, by situation, then number."""
    starts: Ints
    """Where the members of each situation begin."""


class Dangers(NamedTuple):
    """The terms of each situation."""

    level: Ints
    """The gravest level, its place in ``LEVELS``."""
    tactics: Ints
    """Bits."""
    rules: Ints
    """How many different ones."""
    hosts: Ints
    accounts: Ints
    has_indicator: Ints
    severity: Floats
    confidence: Floats
    spread: Floats
    novelty: Floats
    danger: Ints
    """In thousandths."""


def sections_of(labels: Ints) -> Sections:
    """Sort core detections by situation."""
    members = np.flatnonzero(labels >= 0)
    members = members[np.argsort(labels[members], kind="stable")]
    found, starts = np.unique(labels[members], return_index=True)
    return Sections(found, members, starts)


def dangers_of(sections: Sections, part: Part, tactics: Ints, policy: Policy) -> Dangers:
    """Weigh situations. ``tactics``: bits of each detection's rule."""
    members, starts = sections.members, sections.starts
    if not len(starts):
        nothing, none = np.zeros(0, np.int64), np.zeros(0)
        return Dangers(nothing, nothing, nothing, nothing, nothing, nothing, none, none, none, none, nothing)
    known = policy.danger
    level = np.maximum.reduceat(part.levels[members], starts)
    bits = np.bitwise_or.reduceat(tactics[members], starts)
    section = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(members))))
    rules, hosts, people = (
        different(section, values[members], len(starts)) for values in (part.rules, part.hosts, part.people)
    )
    has_indicator = np.maximum.reduceat(part.flags[members] & BAD, starts)
    base = np.array(list(known.severity.values()))[level]
    further = np.clip(_ones(bits) - 1, 0, known.tactics_max)
    severity: Floats = (base * (1 + known.tactic * further)).astype(np.float64)
    sure = known.confidence
    confidence = np.minimum(
        sure.max, sure.one + sure.rule * (np.maximum(rules, 1) - 1) + sure.indicator * has_indicator
    )
    far = known.spread
    spread = np.minimum(
        far.max, 1 + far.host * np.log2(np.maximum(hosts, 1)) + far.account * np.log2(np.maximum(people, 1))
    )
    novelty = np.maximum.reduceat(part.rarity[members], starts)
    danger = np.round(severity * confidence * spread * novelty * 1000).astype(np.int64)
    return Dangers(level, bits, rules, hosts, people, has_indicator, severity, confidence, spread, novelty, danger)


def _ones(bits: Ints) -> Ints:
    return np.array([int(each).bit_count() for each in bits.tolist()], np.int64)

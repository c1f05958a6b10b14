"""What a behaviour finds: who, since when, how strongly, and the named terms that add up to it.

Points are whole numbers, so that a sum is exactly the score. A score says how much like the behaviour it looks, from 0
to 100. It is no probability and no verdict: beaconing is what updates do too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, cast

import msgspec
import numpy as np
import numpy.typing as npt

EVENTS_MAX: Final = 10
"""A finding names so many of its events."""
VALUES_MAX: Final = 10
"""A finding names so many accounts, hosts or names."""

Behaviour: TypeAlias = Literal[
    "password-guessing",
    "password-spray",
    "distributed-guessing",
    "distributed-spray",
    "beaconing",
    "first-use",
    "lateral-movement",
    "dns-tunnel",
    "generated-names",
    "outflow",
]
EntityKind: TypeAlias = Literal["source", "account", "host", "organisation"]

Floats: TypeAlias = "npt.NDArray[np.floating]"
Ints: TypeAlias = "npt.NDArray[np.int64]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"


class Term(msgspec.Struct, frozen=True):
    """One reason for a score, or against it."""

    name: str
    points: int
    points_max: int
    """What it could have given; negative for a reason against."""
    value: float
    """What was measured; the unit stands with the name of the term in the reference of behaviours."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that behaves in a way that deserves a look. Identified by behaviour, organisation, entities, first."""

    behaviour: Behaviour
    organisation: str
    entity_kind: EntityKind
    entity: str
    """Who behaves so."""
    object: str = ""
    """Towards whom or what: an account, a destination, a domain; empty if it is several."""
    values: tuple[str, ...] = ()
    """What else it involves, in the order of the alphabet, at most ``VALUES_MAX``."""
    first_us: int
    """Microseconds since 1970 UTC."""
    last_us: int
    count: int
    """Events that belong to it."""
    score: int
    terms: tuple[Term, ...]
    succeeded: tuple[str, ...] = ()
    """Accounts for which guessing was followed by success."""
    caveats: tuple[str, ...] = ()
    """Names of what weakens the finding: too short a past, sizes unknown."""
    events: tuple[int, ...] = ()
    """Some of its events, by the numbers they have in the table of facts, in the order of time."""


class Scores:
    """The terms of many candidates at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._terms: list[tuple[str, int, Floats, Floats]] = []
        self.total: Ints = np.zeros(size, np.int64)
        """The scores of the terms added so far."""

    def add(self, name: str, weight: int, share: Floats | Ints | Mask, value: Floats | Ints | Mask) -> None:
        """Add a term: its weight in points, the share of it that each candidate gets (0 to 1), what was measured."""
        bounded = np.clip(np.nan_to_num(np.asarray(share, np.float64)), 0.0, 1.0)
        points = np.rint(weight * bounded)
        self._terms.append((name, weight, points, np.nan_to_num(np.asarray(value, np.float64))))
        self.total = self.total + points.astype(np.int64)

    def terms(self, place: int) -> tuple[Term, ...]:
        """The terms of one candidate."""
        return tuple(
            Term(name, int(points[place]), weight, round(float(value[place]), 4))
            for name, weight, points, value in self._terms
        )


def share_of(value: Floats | Ints, nothing: float, everything: float) -> Floats:
    """How far a value is on its way from one that means nothing to one that means all, 0 to 1.

    >>> share_of(np.array([5.0, 10.0, 40.0]), 0, 20).tolist()
    [0.25, 0.5, 1.0]
    """
    return np.clip((np.asarray(value, np.float64) - nothing) / (everything - nothing), 0.0, 1.0)


def log_share_of(value: Floats | Ints, nothing: float, everything: float) -> Floats:
    """The same, in orders of magnitude: from 10 to 100 is as far as from 100 to 1000.

    >>> log_share_of(np.array([10, 100, 1000]), 10, 1000).tolist()
    [0.0, 0.5, 1.0]
    """
    floored = np.maximum(np.asarray(value, np.float64), nothing)
    return np.clip(np.log(floored / nothing) / np.log(everything / nothing), 0.0, 1.0)


def some_events(events: Ints) -> tuple[int, ...]:
    """The first and the last of the events given (in the order of time), at most ``EVENTS_MAX`` of them."""
    if len(events) > EVENTS_MAX:
        half = EVENTS_MAX // 2
        events = np.concatenate((events[:half], events[half - EVENTS_MAX :]))
    return tuple(cast("list[int]", events.tolist()))


def some_values(codes: Ints, texts: Sequence[str]) -> tuple[str, ...]:
    """The distinct texts of some codes (which are in the order of the texts), at most ``VALUES_MAX``."""
    return tuple(texts[code] for code in cast("list[int]", np.unique(codes)[:VALUES_MAX].tolist()))


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Findings in one order, whatever order they were found in: the highest score first."""
    return sorted(findings, key=_place)


def _place(each: Finding) -> tuple[int, str, str, str, str, int]:
    return -each.score, each.behaviour, each.organisation, each.entity, each.object, each.first_us

"""The verdict card: who it is, friend or foe, what it did, and what could not be seen. Values only.

The names of the fields are those of the JSON that people build on. Times are ISO 8601 in UTC to the microsecond; counts
are events.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from mingjian.model.rules import Level
from mingjian.model.sources import ObservableKind

Verdict: TypeAlias = Literal["friend", "unknown", "suspicious", "foe"]
StepKind: TypeAlias = Literal["detection", "behaviour", "first", "last", "event"]


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for the verdict. The points of all terms add up to the score."""

    name: str
    points: int
    """Decibans: ten points make it ten times as likely that it is a foe."""
    says: str
    """What was found, in a sentence."""
    why: str
    """Why that weighs as much."""


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What an entity does in the events of one source."""

    organisation: str
    source: str
    role: str
    count: int
    first: str | None
    last: str | None


class Pointer(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event is, and how to see it as it came in."""

    organisation: str
    file: str
    record: int
    command: str
    """Shows the raw record."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the timeline: one event, or several that are alike."""

    kind: StepKind
    time: str | None
    """Of the first of them."""
    last: str | None
    count: int
    """How many events this line stands for; with ``is_exact`` false, so many of those that were read."""
    is_exact: bool
    says: str
    stream: str
    roles: tuple[str, ...]
    host: str
    account: str
    evidence: Pointer
    """The first of them."""
    level: Level | None = None
    rule: str = ""
    techniques: tuple[str, ...] = ()
    tactics: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    """Of a behaviour: what its score is made of."""
    rank: int = 0
    """Of events without a detection: the lower, the more they tell."""


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Another name of the same host in one organisation. Its events are told here, and counted by themselves."""

    observable: str
    organisation: str
    count: int
    first: str | None
    last: str | None


class ChainStep(msgspec.Struct, frozen=True, kw_only=True):
    """A tactic of ATT&CK, when it was seen first; or one that must have been, and was not seen."""

    tactic: str
    """Its id, ``credential-access`` for example."""
    name: str
    time: str | None
    last: str | None
    count: int
    techniques: tuple[str, ...]
    is_inferred: bool
    because: str
    """Of an inferred one: what it is inferred from. Else the rules that saw it."""
    evidence: Pointer | None = None


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the entity has to do with."""

    kind: ObservableKind
    value: str
    hosts: int
    """On so many hosts it was ever seen: the fewer, the more it means."""
    count: int
    """In so many events it was ever seen."""
    is_bad: bool
    """Whether an indicator says so."""


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """How two nodes belong together; numbers are places in the list of nodes, 0 is the entity itself."""

    start: int
    end: int
    role: str
    time: str | None
    """When they were seen together first, of the events that were read."""
    rarity: float
    """0 for what everybody has, 1 for what nobody else has."""


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """What the entity touched next, the rarest first."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    left_out: int = 0
    """Things that it has to do with and that are not shown, because they are common or there are too many."""


class VerdictCard(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is said of one observable."""

    observable: str
    """Canonical."""
    kind: ObservableKind
    seen: bool
    count: int
    """Events in which it occurs as an observable."""
    first: str | None
    last: str | None
    hosts: tuple[str, ...]
    """Of the events in which it occurs, as they name themselves; those with the most events first."""
    accounts: tuple[str, ...]
    lists_cut: bool
    """Whether there are more hosts or accounts than are listed."""
    roles: tuple[Role, ...]
    streams: tuple[str, ...]
    organisations: tuple[str, ...]
    also: tuple[str, ...] = ()
    """Other names of the same host or account, as events give them."""
    joined: tuple[Joined, ...] = ()
    """The same host with or without its domain, where the data shows that it is the same."""
    verdict: Verdict
    score: int
    """The sum of the points of all terms."""
    probability: float
    """``1 / (1 + 10 ** (-score / 10))``, to three digits."""
    terms: tuple[Term, ...]
    speaks_for: tuple[str, ...]
    """What speaks for a foe, the weightiest first."""
    speaks_against: tuple[str, ...]
    unknown: tuple[str, ...]
    timeline: tuple[Step, ...]
    timeline_left_out: int
    """Events that no line of the timeline stands for."""
    chain: tuple[ChainStep, ...]
    graph: Graph
    coverage: str
    """From when to when it could have been seen, and where not."""

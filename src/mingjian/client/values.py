"""What the API gives, as values. Times are ISO 8601 in UTC, as they come. What a later server adds is passed over.

The server's models (``console.api``) say much of this again, on purpose: theirs make the OpenAPI document, need the web
framework, and change with the server; these must load with the standard library and msgspec alone, and are what
programs were written against. A test holds them against the document of a running server, so they cannot drift apart.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Level: TypeAlias = Literal["informational", "low", "medium", "high", "critical"]
State: TypeAlias = Literal["open", "in_work", "closed"]
Resolution: TypeAlias = Literal["", "true_positive", "false_positive", "benign"]


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them share."""


class Organisation(Value, frozen=True, kw_only=True):
    """Whose events they are."""

    id: str
    name: str


class DetectionItem(Value, frozen=True, kw_only=True):
    """A detection in a list."""

    id: str
    time: str | None
    level: Level
    title: str
    organisation: str
    host: str
    account: str
    techniques: list[str]
    matched: str
    kind: str
    rule: str
    stream: str
    file: str
    record: int
    found: str | None
    found_by: str


class Detection(Value, frozen=True, kw_only=True):
    """A detection with what it matched, and in which situations it is."""

    id: str
    time: str | None
    level: Level
    title: str
    organisation: str
    host: str
    account: str
    techniques: list[str]
    matched: dict[str, str]
    rule: str
    stream: str
    file: str
    record: int
    atoms: list[str]
    situations: list[str]


class SituationItem(Value, frozen=True, kw_only=True):
    """A situation in a list."""

    id: str
    danger: float
    level: Level
    title: str
    why: str
    organisation: str
    detections: int
    hosts: int
    first: str | None
    last: str | None
    state: State
    resolution: Resolution
    owner: str


class Term(Value, frozen=True, kw_only=True):
    """A term of the danger."""

    name: str
    value: float
    says: str


class Member(Value, frozen=True, kw_only=True):
    """A detection of a situation."""

    id: str
    time: str | None
    level: Level
    title: str
    host: str
    account: str
    techniques: list[str]
    tactics: list[str]
    is_core: bool
    verdict: str


class Join(Value, frozen=True, kw_only=True):
    """Why two detections are together, and what speaks against it."""

    earlier: str
    later: str
    kind: str
    value: str
    reason: str
    strength: float
    against: list[str]


class Act(Value, frozen=True, kw_only=True):
    """An entry of a situation's history."""

    id: str
    kind: str
    by: str
    at: str | None
    details: dict[str, Any]
    is_undone: bool
    can_be_undone: bool


class Comment(Value, frozen=True, kw_only=True):
    """What somebody wrote."""

    by: str
    at: str | None
    text: str


class Task(Value, frozen=True, kw_only=True):
    """Something that somebody is to do."""

    id: str
    text: str
    owner: str
    by: str
    created: str | None
    due: str | None
    done: str | None


class IncidentItem(Value, frozen=True, kw_only=True):
    """An incident in a list."""

    id: str
    situation: str
    title: str
    state: State
    owner: str
    by: str
    organisation: str
    created: str | None
    changed: str | None
    closed: str | None


class Incident(IncidentItem, frozen=True, kw_only=True):
    """An incident with what was said and is to be done."""

    comments: list[Comment]
    tasks: list[Task]
    etag: str = ""
    """Says which state this is: a change that names it is refused if there is a newer one."""


class Situation(Value, frozen=True, kw_only=True):
    """A situation with everything that is known of it."""

    id: str
    title: str
    why: str
    danger: float
    terms: list[Term]
    level: Level
    state: State
    resolution: Resolution
    owner: str
    organisation: str
    detections: int
    hosts: int
    first: str | None
    last: str | None
    changed: str | None
    members: list[Member]
    members_left_out: int
    joins: list[Join]
    entities: list[dict[str, Any]]
    related: list[dict[str, Any]]
    history: list[Act]
    comments: list[Comment]
    tasks: list[Task]
    incidents: list[IncidentItem]
    emptied: bool = False
    etag: str = ""
    """Says which state this is: a change that names it is refused if there is a newer one."""


class Suppression(Value, frozen=True, kw_only=True):
    """A filter that hides detections for a time."""

    id: str
    title: str
    state: str
    owner: str
    reason: str
    organisation: str
    created: str | None
    expires: str | None
    ended: str | None
    text: str


class Count(Value, frozen=True, kw_only=True):
    """How often something is there."""

    name: str
    count: int


class Trial(Value, frozen=True, kw_only=True):
    """What a suppression would have hidden."""

    detections: int
    looked_at: int
    unread: int
    hosts: int
    rules: list[Count]
    levels: list[Count]
    first: str | None
    last: str | None
    examples: list[str]


class Hunt(Value, frozen=True, kw_only=True):
    """A job over history."""

    id: str
    kind: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    by: str
    titles: list[str]
    organisation: str
    segments_total: int
    segments_done: int
    results: int
    error: str
    created: str | None
    started: str | None
    finished: str | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state not in ("waiting", "running")


class Skip(Value, frozen=True, kw_only=True):
    """A rule that cannot be used."""

    rule: str
    reason: str


class Estimate(Value, frozen=True, kw_only=True):
    """What running rules over history means."""

    segments: int
    events: int
    bytes: int


class CheckedRules(Value, frozen=True, kw_only=True):
    """What was understood of a text."""

    rules: list[str]
    skipped: list[Skip]
    skipped_in_all: int
    notes: list[str]
    problem: str
    unfed: list[str]
    estimate: Estimate | None


class Rule(Value, frozen=True, kw_only=True):
    """A rule that runs over what arrives."""

    id: str
    title: str
    description: str
    level: Level
    kind: Literal["rule", "correlation"]
    state: str
    reason: str
    file: str
    log_source: str
    techniques: list[str]
    detections: int
    hosts: int
    last: str | None


class Switched(Value, frozen=True, kw_only=True):
    """Which rules were switched on or off."""

    rules: list[str]
    skipped: list[str] = []


class PackedRule(Value, frozen=True, kw_only=True):
    """A rule of a pack, beside the one that runs. ``detections`` and ``hosts`` are None before a trial."""

    id: str
    title: str
    level: Level
    kind: Literal["rule", "correlation"]
    change: Literal["new", "changed", "labels", "same"]
    state: Literal["fed", "unfed"]
    detections: int | None
    hosts: int | None
    file: str


class RulePack(Value, frozen=True, kw_only=True):
    """Rules that were sent and count only once they are switched on."""

    id: str
    name: str
    by: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    error: str
    created: str | None
    switched_on: str | None
    files: int | None
    others: int | None
    skipped_in_all: int | None
    skipped: list[Skip]
    notes: list[str]
    tried: str | None
    rules: list[PackedRule]


class Hit(Value, frozen=True, kw_only=True):
    """An observable that is a hit of an indicator, over all of history."""

    indicator: str
    how: str
    kind: str
    value: str
    organisation: str
    level: Level
    warning: str
    count: int
    first: str | None
    last: str | None


class LookedFor(Value, frozen=True, kw_only=True):
    """What came of looking for indicators."""

    indicators: int
    unread: int
    hits: list[Hit]
    left_out: int
    sentence: str


class Unread(Value, frozen=True, kw_only=True):
    """An entry that could not be read."""

    file: str
    record: int
    reason: str


class IndicatorSet(Value, frozen=True, kw_only=True):
    """One version of a set of indicators."""

    id: str
    name: str
    organisation: str
    version: int
    state: str
    source: str
    marking: str
    indicators: int
    warned: int
    added: int
    gone: int
    added_at: str | None
    retired_at: str | None
    skipped: dict[str, int]
    quarantined: int
    unread: list[Unread]
    how: str = ""
    """After it was added: ``new``, ``changed`` or ``unchanged``."""


class Sighting(Value, frozen=True, kw_only=True):
    """An observable seen on one day by one source of one organisation in one role."""

    organisation: str
    source: str
    role: str
    day: str | None
    count: int
    first: str | None
    last: str | None


class Sightings(Value, frozen=True, kw_only=True):
    """An observable over all of history."""

    kind: str
    value: str
    count: int
    first: str | None
    last: str | None
    items: list[Sighting]
    left_out: int


class Coverage(Value, frozen=True, kw_only=True):
    """The time that history reaches over, and how many holes of each kind are in it."""

    first: str | None
    last: str | None
    holes: dict[str, int]
    sentence: str


class RawRecord(Value, frozen=True, kw_only=True):
    """A record as it came in."""

    organisation: str
    stream: str
    file: str
    number: int
    record: dict[str, Any]
    raw: str


class Quarantined(Value, frozen=True, kw_only=True):
    """A piece of input that could not be read."""

    id: str
    organisation: str
    file: str
    record: int
    offset: int
    code: str
    reason: str
    received: str | None
    data: str
    left_out: int


class Taken(Value, frozen=True, kw_only=True):
    """What came of handing events over."""

    accepted: int
    repeated: bool


Item: TypeAlias = dict[str, Any]
"""A row of a list that has no type of its own: names of columns → values."""

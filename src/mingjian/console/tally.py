"""Bounded sums over a stream of detections: by level, rule, host, account and time.

The stream can be long and its names can be chosen by an adversary: every table here has a limit, and what went over
a limit is counted.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mingjian.console.timeline import Histogram
from mingjian.model.detections import Detection
from mingjian.model.rules import LEVELS, Level

RULES_MAX = 20_000
"""So many rules are told apart; detections of further rules count only in the total."""
NAMES_MAX = 100_000
"""So many hosts, and so many accounts, are told apart; detections of further ones count only in the total."""
HOSTS_OF_RULE_MAX = 50
"""So many hosts of one rule are told apart; with more, the answer is “more than”."""
NAME_CHARACTERS_MAX = 256
"""A longer name of a host or account is cut, and the cut is marked."""
LEVEL_NUMBER: dict[Level, int] = {level: number for number, level in enumerate(LEVELS)}
"""Level → its place, informational being 0."""


class Tally(msgspec.Struct):
    """How many detections of each level there are, and when."""

    by_level: list[int] = msgspec.field(default_factory=lambda: [0] * len(LEVELS))
    """In the order of ``LEVELS``: rising."""
    first_us: int | None = None
    last_us: int | None = None

    @property
    def total(self) -> int:
        """All levels together."""
        return sum(self.by_level)

    @property
    def weight(self) -> tuple[int, ...]:
        """For putting tallies in order: one more critical weighs more than any number of high, and so on down."""
        return tuple(reversed(self.by_level))

    @property
    def worst(self) -> Level:
        """The highest level that occurs; the lowest of all if none does."""
        found: list[Level] = [level for level, count in zip(LEVELS, self.by_level, strict=True) if count]
        return found[-1] if found else LEVELS[0]

    def add(self, level: int, time_us: int | None) -> None:
        """Count one detection."""
        self.by_level[level] += 1
        if time_us is not None:
            self.first_us = time_us if self.first_us is None else min(self.first_us, time_us)
            self.last_us = time_us if self.last_us is None else max(self.last_us, time_us)


class RuleTally(Tally, kw_only=True):
    """The same for one rule, with what does not change from one of its detections to the next."""

    rule_id: str
    title: str
    kind: str
    attack: tuple[str, ...]
    first_host: str = ""
    """The host of its first detection."""
    hosts: set[str] = msgspec.field(default_factory=lambda: set[str]())
    """At most ``HOSTS_OF_RULE_MAX`` + 1 of them."""


class Sums(msgspec.Struct):
    """What a page says about all detections together."""

    all: Tally = msgspec.field(default_factory=Tally)
    rules: dict[str, RuleTally] = {}
    hosts: dict[str, Tally] = {}
    accounts: dict[str, Tally] = {}
    times: Histogram = msgspec.field(default_factory=Histogram)
    hostless: int = 0
    accountless: int = 0
    beyond_rules: int = 0
    beyond_hosts: int = 0
    beyond_accounts: int = 0


def name_of(text: str) -> str:
    """Give a name from outside in the length in which it is told apart and shown."""
    return text if len(text) <= NAME_CHARACTERS_MAX else text[: NAME_CHARACTERS_MAX - 1] + "…"


def add_up(detections: Iterable[Detection]) -> Sums:
    """Read all detections once. Memory is bounded by the limits of this module, not by their number."""
    sums = Sums()
    for one in detections:
        level = LEVEL_NUMBER[one.level]
        sums.all.add(level, one.time_us)
        sums.times.add(one.time_us, level)
        _add_rule(sums, one, level)
        if not one.host:
            sums.hostless += 1
        elif not _add_name(sums.hosts, one.host, level, one.time_us):
            sums.beyond_hosts += 1
        if not one.account:
            sums.accountless += 1
        elif not _add_name(sums.accounts, one.account, level, one.time_us):
            sums.beyond_accounts += 1
    return sums


def _add_rule(sums: Sums, one: Detection, level: int) -> None:
    rule = sums.rules.get(one.rule_id)
    if rule is None:
        if len(sums.rules) >= RULES_MAX:
            sums.beyond_rules += 1
            return
        rule = RuleTally(rule_id=one.rule_id, title=one.rule_title, kind=one.kind, attack=one.attack)
        rule.first_host = name_of(one.host)
        sums.rules[one.rule_id] = rule
    rule.add(level, one.time_us)
    if one.host and len(rule.hosts) <= HOSTS_OF_RULE_MAX:
        rule.hosts.add(name_of(one.host))


def _add_name(tallies: dict[str, Tally], text: str, level: int, time_us: int | None) -> bool:
    name = name_of(text)
    tally = tallies.get(name)
    if tally is None:
        if len(tallies) >= NAMES_MAX:
            return False
        tally = tallies[name] = Tally()
    tally.add(level, time_us)
    return True

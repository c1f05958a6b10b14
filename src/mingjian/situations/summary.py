"""A situation in few values: what a list shows of it without looking at its detections. Kept as JSON."""

from __future__ import annotations

from typing import Final

import msgspec

from mingjian.model.rules import Level

DIFFERENT_HOSTS: Final = 1
DIFFERENT_ACCOUNTS: Final = 2
LONG_APART: Final = 4
"""More than a half-life of what they share."""
FAIRLY_COMMON: Final = 8
"""What they share is on several hosts."""
SAME_RULE: Final = 16
"""The same rule found both: a repetition says little."""


class RuleCount(msgspec.Struct, frozen=True):
    """A rule, and how many of the detections are its."""

    rule_id: str
    title: str
    level: Level
    count: int


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Danger is the product of them."""

    severity: float
    confidence: float
    spread: float
    novelty: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A situation in few values."""

    terms: Terms
    rules: tuple[RuleCount, ...]
    """The gravest first; not all of them."""
    rules_count: int
    hosts: tuple[str, ...]
    """Those with the most detections first; not all of them."""
    hosts_count: int
    accounts: tuple[str, ...]
    accounts_count: int
    tactics: tuple[str, ...]
    """In the order of ATT&CK."""
    core: int
    """So many detections hold it together …"""
    beside: int
    """… and so many stand beside them."""
    indicator: str = ""
    """What an indicator calls bad in it."""
    tie_kind: str = ""
    """What holds most of it together …"""
    tie: str = ""
    """… and its value."""
    tie_hosts: int = 0
    by_hand: bool = False
    """A person put some of it together."""


def packed(summary: Summary) -> str:
    """As it is kept."""
    return msgspec.json.encode(summary).decode()


def unpacked(text: str) -> Summary:
    """What was kept."""
    return msgspec.json.decode(text, type=Summary)

"""What grouping goes by: the weights of ``data/grouping.yml``, read and checked once.

The file is ours: a mistake in it is a defect.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from typing import Final

import msgspec

from mingjian.data import DATA_FOLDER
from mingjian.formats.bounded import parse_yaml
from mingjian.model.rules import Level

FILE: Final = "grouping.yml"
INTERNAL: Final = "internal-ip"
"""The kind, in the policy, of an address that means nothing outside its organisation."""
RARITY_STEPS: Final = 10
"""Rarity is told in so many steps: so a host more or less rarely changes what was decided before."""


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a thing of one kind weighs that only one host has to do with, and after how long half of it is left."""

    weight: float
    half_life_s: int
    why: dict[str, str]


class ServiceAccounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names, folded, of accounts under which everybody's programs run."""

    names: tuple[str, ...]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]


class Confidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How sure it is that a situation is one: 0 to 1."""

    one: float
    """For a single rule …"""
    rule: float
    """… so much more for each further one …"""
    indicator: float
    """… and for an indicator."""
    max: float


class Spread(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a situation reaches: 1 for one host, more for each doubling."""

    host: float
    account: float
    max: float


class DangerPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the terms of danger are made of."""

    severity: dict[Level, float]
    tactic: float
    tactics_max: int
    confidence: Confidence
    spread: Spread


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that grouping goes by."""

    reference: str
    verified: bool
    join: float
    core: float
    beside_s: int
    beside_kinds: tuple[str, ...]
    kinds: dict[str, Kind]
    common: float
    hosts_smoothing: int
    bad_weight: float
    bad_half_life: float
    service_accounts: ServiceAccounts
    observers: tuple[str, ...]
    levels: dict[Level, float]
    rule_hosts_few: int
    rule_rarity_min: float
    routine_pause_s: int
    goes_on_from: Level
    routine_days: int
    routine_window_days: int
    routine_factor: float
    danger: DangerPolicy

    def rarity(self, hosts: int, hosts_all: int) -> float:
        """How much it says that something has to do with so many of all hosts: 1 for a single one, 0 for a common one.

        In steps, and of ``hosts_all`` only the power of two counts: what was decided stays decided for long.
        """
        if hosts <= 1:
            return 1.0
        all_of_them = (1 << max(0, hosts_all - 1).bit_length()) + self.hosts_smoothing
        rarity = 1 - math.log(hosts) / math.log(max(3.0, self.common * all_of_them))
        return max(0, math.floor(rarity * RARITY_STEPS + 1e-9)) / RARITY_STEPS

    def kind_of(self, kind: str, value: str) -> str:
        """The kind in the policy: an address of the inside is another one than an address of the outside."""
        return INTERNAL if kind == "ip" and is_internal(value) else kind

    def is_service_account(self, name: str) -> bool:
        r"""Whether everybody's programs run under an account (in canonical form).

        >>> policy().is_service_account("nt authority\\system"), policy().is_service_account("corp\\alice")
        (True, False)
        """
        known = self.service_accounts
        name = name.casefold()
        short = name.rpartition("\\")[2]
        return (
            short in known.names
            or name in known.names
            or short.startswith(known.prefixes)
            or name.startswith(known.prefixes)
            or short.endswith(known.suffixes)
        )

    def is_observer(self, stream: str) -> bool:
        """Whether the host of a stream's events is the device that saw something."""
        return any(stream == each or stream.startswith(f"{each}/") for each in self.observers)


@cache
def policy() -> Policy:
    """The policy."""
    data = (DATA_FOLDER / FILE).read_bytes()
    return msgspec.convert(parse_yaml(data, file=FILE)[0], Policy)


@cache
def policy_digest() -> str:
    """What changes whenever the policy does."""
    return hashlib.blake2b((DATA_FOLDER / FILE).read_bytes(), digest_size=8).hexdigest()


_INTERNAL: Final = (
    "10.",
    "192.168.",
    *(f"172.{second}." for second in range(16, 32)),
    *(f"100.{second}." for second in range(64, 128)),
    "fc",
    "fd",
)
_NOBODYS: Final = (
    "0.",
    "127.",
    "169.254.",
    *(f"{first}." for first in range(224, 240)),
    "fe8",
    "fe9",
    "fea",
    "feb",
    "ff",
)


def is_internal(address: str) -> bool:
    """Whether an address (in canonical form) is one of the inside: private, shared, unique local.

    Source: RFC 1918, RFC 6598, RFC 4193.

    >>> is_internal("10.0.0.1"), is_internal("192.0.2.1"), is_internal("fd00::1"), is_internal("172.32.0.1")
    (True, False, True, False)
    """
    return address.startswith(_INTERNAL)


def is_nobody(address: str) -> bool:
    """Whether an address (in canonical form) is nobody's: loopback, link-local, unspecified, multicast.

    >>> is_nobody("127.0.0.1"), is_nobody("fe80::1"), is_nobody("239.1.1.1"), is_nobody("192.0.2.1")
    (True, True, True, False)
    """
    return address.startswith(_NOBODYS) or address in ("::", "::1", "255.255.255.255")

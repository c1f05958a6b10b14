"""Indicators: observables with a meaning, and how much a hit of one weighs.

An indicator says of an observable (or of a whole network, a domain with everything below it, a file name in every
folder) what somebody thinks of it, how sure they are, from when to when, and who may know. Pure.
"""

from __future__ import annotations

import ipaddress
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.model.rules import LEVELS, Level
from mingjian.model.sources import ObservableKind

How: TypeAlias = Literal["is", "below", "within", "named"]
"""``is``: the observable itself. ``below``: a domain and every name under it. ``within``: every address of a network.
``named``: a file of this name, in whatever folder."""
Verdict: TypeAlias = Literal["malicious", "suspicious", "unknown", "benign"]
Marking: TypeAlias = Literal["", "TLP:CLEAR", "TLP:GREEN", "TLP:AMBER", "TLP:AMBER+STRICT", "TLP:RED"]
"""Who may know, as TLP 2.0 names it; empty if nobody said, which permits no sharing."""

VERDICTS: Final[tuple[Verdict, ...]] = ("malicious", "suspicious", "unknown", "benign")
"""The gravest first."""
MARKINGS: Final[tuple[Marking, ...]] = (
    "",
    "TLP:CLEAR",
    "TLP:GREEN",
    "TLP:AMBER",
    "TLP:AMBER+STRICT",
    "TLP:RED",
)
"""The strictest last. Source: FIRST, Traffic Light Protocol 2.0."""

CONFIDENCE_MAX: Final = 100
CONFIDENCE_HIGH: Final = 70
"""From here on confidence is high. Source: STIX 2.1, appendix A, scale “None / Low / Med / High”."""
CONFIDENCE_MEDIUM: Final = 30
"""From here on it is medium; below it is low."""
NETWORK_BITS_MIN: Final = {4: 8, 6: 16}
"""A network with a shorter prefix is no indicator: it would be half of the internet."""

_OLD_MARKINGS: Final[dict[str, Marking]] = {"TLP:WHITE": "TLP:CLEAR", "TLP:AMBER-STRICT": "TLP:AMBER+STRICT"}


class Indicator(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What somebody thinks of an observable."""

    kind: ObservableKind
    how: How
    value: str
    """In canonical form (``model.observables``), for ``within`` a network as ``ipaddress`` writes it."""
    written: str
    """As the source wrote it, defanged or not."""
    verdict: Verdict = "malicious"
    confidence: int | None = None
    """0–100, as STIX counts; None if nobody says."""
    valid_from_us: int | None = None
    """Microseconds since 1970 UTC; None for ever since."""
    valid_until_us: int | None = None
    """The first microsecond at which it is valid no more; None for ever on."""
    marking: Marking = ""
    source: str = ""
    """Who says so."""
    reference: str = ""
    """Where they say it: an id or an address of theirs."""
    description: str = ""


class SkippedIndicator(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that was understood but is not looked for: revoked, not for detection, of a kind that we do not see."""

    file: str
    record: int
    """1-based number of the line or entry in the file."""
    what: str
    """The entry's own name or value, shortened."""
    reason: str


class Assumed(msgspec.Struct, frozen=True, kw_only=True):
    """What counts where an entry does not say it."""

    kind: str = ""
    """A word for the kind (``sha256``, ``hostname``, ``ja3`` …) if it cannot be told from the value."""
    source: str = ""
    marking: Marking = ""
    """The least: an entry's own marking counts if it is stricter."""
    confidence: int | None = None


def marking_of(text: str) -> Marking | None:
    """Read a TLP marking in any spelling that is in use; None if it is none.

    >>> marking_of("tlp:white"), marking_of("Amber+Strict"), marking_of("secret")
    ('TLP:CLEAR', 'TLP:AMBER+STRICT', None)
    """
    upper = "".join(text.upper().split()).replace("_", "-")
    upper = upper if upper.startswith("TLP:") else f"TLP:{upper.removeprefix('TLP-')}"
    named = _OLD_MARKINGS.get(upper, upper)
    return next((marking for marking in MARKINGS[1:] if marking == named), None)


def stricter(first: Marking, second: Marking) -> Marking:
    """The stricter of two markings."""
    return MARKINGS[max(MARKINGS.index(first), MARKINGS.index(second))]


def network_of(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Read a network; bits behind the prefix are dropped, IPv4 written as IPv6 becomes IPv4. None if it is none.

    >>> network_of("192.0.2.77/24"), network_of("::ffff:192.0.2.0/120"), network_of("192.0.2.0/99")
    (IPv4Network('192.0.2.0/24'), IPv4Network('192.0.2.0/24'), None)
    """
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def confidence_band(confidence: int | None) -> int:
    """0 for low, 1 for medium, 2 for high; who says nothing is believed.

    >>> confidence_band(None), confidence_band(69), confidence_band(0)
    (2, 1, 0)
    """
    if confidence is None or confidence >= CONFIDENCE_HIGH:
        return 2
    return 1 if confidence >= CONFIDENCE_MEDIUM else 0


_LEVELS: Final[dict[Verdict, tuple[Level, Level, Level]]] = {
    "malicious": ("low", "medium", "high"),
    "suspicious": ("low", "low", "medium"),
    "unknown": ("low", "low", "low"),
    "benign": ("informational", "informational", "informational"),
}
"""By verdict and band of confidence."""


def level_of(verdict: Verdict, confidence: int | None, *, is_warned: bool = False, is_outside: bool = False) -> Level:
    """How much a hit weighs: a warned one nothing, one outside its validity a level less.

    >>> level_of("malicious", 90), level_of("malicious", 90, is_outside=True), level_of("malicious", 90, is_warned=True)
    ('high', 'medium', 'informational')
    """
    if is_warned:
        return "informational"
    place = LEVELS.index(_LEVELS[verdict][confidence_band(confidence)])
    return LEVELS[max(0, place - is_outside)]

"""Inside and outside, and which domain a name belongs to."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from mingjian.detect.behaviours.findings import Mask

INSIDE: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
        ),
    )
)
"""Addresses that lead to nobody outside: private, shared, loopback, link-local, multicast, broadcast.

Source: RFC 1918, RFC 6598, RFC 1122, RFC 3927, RFC 4193, RFC 4291, RFC 5771.
"""
INSIDE_ENDINGS: Final = (".local", ".lan", ".internal", ".intranet", ".home.arpa", ".localdomain", ".in-addr.arpa")
"""Names that nobody outside can have."""
TWO_LABELS: Final = frozenset(
    {"ac", "co", "com", "edu", "go", "gob", "gov", "gv", "mil", "ne", "net", "nom", "or", "org"}
)
"""Below a country's two letters, these are no names of anybody: ``example.co.uk`` is a domain, ``co.uk`` is not."""


def is_outside(name: str, own_domains: Collection[str] = ()) -> bool:
    """Whether an address or a name leads out of the organisation; names without a dot are its own.

    >>> [is_outside(each) for each in ("10.1.2.3", "203.0.113.9", "printer", "fe80::1", "example.com")]
    [False, True, False, False, True]
    >>> is_outside("files.corp.example", ["corp.example"])
    False
    """
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        if "." not in name or name.endswith(INSIDE_ENDINGS):
            return False
        return not any(name == own or name.endswith("." + own) for own in own_domains)
    return not any(address in network for network in INSIDE if network.version == address.version)


def outside(names: Sequence[str], own_domains: Collection[str] = ()) -> Mask:
    """The same for many."""
    return np.array([is_outside(name, own_domains) for name in names], np.bool_)


def registered_domain(name: str) -> str:
    """The part of a name that somebody has registered, by its shape: no list of public suffixes is asked.

    Where a hoster gives names below its own (``user.blog.example``), these count as the hoster's.

    >>> registered_domain("a.b.example.com"), registered_domain("www.example.co.uk"), registered_domain("com")
    ('example.com', 'example.co.uk', 'com')
    """
    labels = name.rsplit(".", 3)
    size = 3 if len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in TWO_LABELS else 2
    return ".".join(labels[-size:])

"""What the members of a sector hand on to their hub, where they do not hand on everything.

Nobody keeps every event of everybody for years: members send what is small and tells much (programs started, names
asked for, web requests, log-ons from outside, mail, cloud calls, large flows to the outside) and keep the rest to
themselves. The choice is one of ours, near to what event forwarding is commonly set up for; it decides what can be
seen afterwards, and what cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

Wanted: TypeAlias = Callable[[str], object]
"""Whether a line is handed on."""

_WINDOWS_ALWAYS: Final = frozenset({
    *("1", "8", "22"),  # Sysmon: programs started, threads in other processes, names asked for
    *("1102", "4625", "4688", "4697", "4698", "4719", "4720", "4728", "4732", "4771", "7045"),
    *("4103", "4104"),
})  # fmt: skip
_WINDOWS_SOME: Final[Mapping[str, Wanted]] = {
    "10": re.compile(r'"TargetImage":"[^"]*lsass\.exe"').search,
    "11": re.compile(r'"TargetFilename":"[^"]*\.exe"').search,
    "13": re.compile(r'"TargetObject":"[^"]*CurrentVersion\\\\Run').search,
    "4624": re.compile(r'"LogonType":"?10\b').search,
    "5140": re.compile(r'"ShareName":"[^"]*(?:ADMIN|C)\$"').search,
}
"""Events of which only those are handed on whose text has this."""
_NUMBER: Final = re.compile(r'"(?:code":"|EventID":)(\d+)')


def _windows(line: str) -> object:
    found = _NUMBER.search(line)
    number = found[1] if found else ""
    return number in _WINDOWS_ALWAYS or (number in _WINDOWS_SOME and _WINDOWS_SOME[number](line))


def _all(line: str) -> bool:
    return True


_LARGE: Final = r"[1-9]\d{7,}"
"""Ten million bytes and more."""

_WANTED: Final[Mapping[str, Wanted]] = {
    "winlogbeat": _windows,
    "nxlog": _windows,
    "zeek/dns": _all,
    "zeek/conn": re.compile(
        rf'\t(?!10\.)[\d.]+\t\d+\ttcp\t\S+\t[\d.]+\t{_LARGE}\t|"id\.resp_h":"(?!10\.).*"orig_bytes":{_LARGE}\b'
    ).search,
    "suricata": re.compile(
        rf'"event_type":"(?:dns|alert)"|"event_type":"flow".*"dest_ip":"(?!10\.).*"bytes_toserver":{_LARGE}\b'
    ).search,
    "squid": _all,
    "fortigate": re.compile('type="event"').search,
    "syslog": re.compile(
        r" sshd\[\d+\]: (?:Accepted password|Failed|Invalid)| (?:sudo|openvpn|useradd)\b"
        r"| postfix/smtpd\[\d+\]: \w+: client="
    ).search,
    "AWSLogs": _all,
}
"""By the folder below the organisation's, or for a sensor with a file for each log by the folder and the log."""


def wanted_of(name: str) -> Wanted | None:
    """What of a file is handed on, by its name below the folder of the logs; None for nothing.

    >>> wanted_of("qingxi-port.example/zeek/2025-01-06/dns.log") is not None
    True
    >>> wanted_of("qingxi-port.example/zeek/2025-01-06/ssl.log") is None
    True
    """
    parts = name.split("/")
    log = parts[-1].partition(".")[0]
    return _WANTED.get(parts[1]) or _WANTED.get(f"{parts[1]}/{log}")

"""What network sensors see, in no producer's form yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from mingjian.sample.chance import Chance, Numbers, Whole


class Flow(NamedTuple):
    """A connection, or an exchange of datagrams. (Tuples, because there are millions.)"""

    source: str
    source_port: int
    target: str
    target_port: int
    protocol: str
    service: str
    """As Zeek names it; empty if it is not known."""
    duration_us: int
    sent_bytes: int
    received_bytes: int
    state: str = "SF"
    history: str = "ShADadFf"


class Lookup(NamedTuple):
    """A question to a name server."""

    query: str
    answer: str
    """Empty: there is no such name."""
    ttl_s: int = 300
    type_number: int = 1
    type_name: str = "A"


class Request(NamedTuple):
    """An HTTP request."""

    method: str
    host: str
    uri: str
    agent: str
    status: int
    sent_bytes: int
    received_bytes: int
    mime: str = "text/html"


class Tls(NamedTuple):
    """A TLS handshake."""

    server: str
    fingerprint: str
    """SHA-256 of the server's certificate."""


class FlowKind(NamedTuple):
    """What many flows have in common."""

    port: int
    protocol: str
    service: str
    state: str
    history: str


class Flows(NamedTuple):
    """Many connections of everyday life, column by column. Bytes without an answer have no packets either."""

    times_us: Whole
    durations_us: Whole
    sources: Sequence[str]
    source_ports: Sequence[int]
    targets: Sequence[str]
    kinds: Sequence[FlowKind]
    sent: Sequence[int]
    received: Sequence[int]


class Shared(NamedTuple):
    """A file that is opened or written over SMB."""

    action: str
    share: str
    name: str
    size_bytes: int


class Sensor(Protocol):
    """What every network sensor can be told. ``flow`` gives what the others need to refer to it."""

    chance: Chance

    def many(self, flows: Flows, numbers: Numbers) -> Sequence[str]:
        """Many connections of everyday life; gives their identifiers."""
        ...

    def many_lookups(self, flows: Flows, uids: Sequence[str], lookups: Sequence[Lookup], numbers: Numbers) -> None:
        """What was asked in many exchanges with the name server."""
        ...

    def flow(self, time_us: int, flow: Flow, mark: int) -> str:
        """A connection."""
        ...

    def lookup(self, time_us: int, flow: Flow, uid: str, lookup: Lookup, mark: int) -> None:
        """A question to a name server."""
        ...

    def request(self, time_us: int, flow: Flow, uid: str, request: Request, mark: int) -> None:
        """An HTTP request."""
        ...

    def tls(self, time_us: int, flow: Flow, uid: str, tls: Tls, mark: int) -> None:
        """A TLS handshake."""
        ...

    def shared(self, time_us: int, flow: Flow, uid: str, shared: Shared, mark: int) -> None:
        """A file over SMB."""
        ...

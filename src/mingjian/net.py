"""The only way out: requests to hosts that somebody allowed, to the address that was looked at, within bounds.

A host that is not on the list of a caller is refused. Its name is resolved once; every address that comes back is
looked at, and the connection goes to one of those and to no other. Redirects are not followed. The whole exchange has
one deadline, the answer one size; a proxy of the environment is not asked.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Timer
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from mingjian.errors import DeliveryError, LimitExceeded, RefusedDestination, shown

TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 50 * 1024 * 1024
URL_CHARACTERS_MAX: Final = 2000
CHUNK_BYTES: Final = 65_536
AGENT: Final = "Mingjian"

_HOST: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\]")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_SPECIAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "100.64.0.0/10", "192.88.99.0/24", "198.18.0.0/15", "64:ff9b:1::/48", "fec0::/10")
)
"""Not of the public network, whatever the standard library says. Source: IANA special-purpose address registries."""

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
"""Name and port → addresses as text."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A host that a caller may reach."""

    host: str
    port: int = 443
    is_inside: bool = False
    """It may have an address of a private network or of this machine, and may be asked without TLS."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of several of one name, the last."""
    body: bytes


def is_public(address: Address) -> bool:
    """Whether an address is one of the public network, also if it is wrapped into another one.

    >>> [is_public(ipaddress.ip_address(text)) for text in ("8.8.8.8", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1")]
    [True, False, False, False]
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            return False
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
    is_special = any(address.version == network.version and address in network for network in _SPECIAL)
    return address.is_global and not (address.is_multicast or address.is_reserved or is_special)


def destination_of(url: str, allowed: Sequence[Destination]) -> tuple[Destination, str, bool]:
    """Which of the allowed hosts an address names, the path with the query there, and whether by TLS.

    Raises:
        RefusedDestination: none; or it is not written as an address is that anybody needs.
    """
    refused = RefusedDestination(f"{shown(url)} is not a destination that is allowed")
    if len(url) > URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or "\\" in url or " " in url:
        raise refused
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise refused from None
    host = parts.netloc.lower().removesuffix(f":{port}")
    if parts.scheme not in ("https", "http") or parts.fragment or not _HOST.fullmatch(host):
        raise refused
    is_tls = parts.scheme == "https"
    wanted = (host.strip("[]"), (443 if is_tls else 80) if port is None else port)
    found = next((each for each in allowed if (each.host, each.port) == wanted), None)
    if found is None or not (is_tls or found.is_inside):
        raise refused
    return found, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), is_tls


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host. Raises: DeliveryError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DeliveryError(f"the name of a host cannot be resolved: {shown(host)}", may_retry=True) from error
    return [str(entry[4][0]) for entry in found]


def checked_address(destination: Destination, resolve: Resolve = resolved) -> str:
    """The address to connect to: one, looked at now, and used for this connection.

    Raises:
        RefusedDestination: one of the addresses of the name is not a public one, and the host is not an inside one.
        DeliveryError: the name has none.
    """
    found = [ipaddress.ip_address(text.partition("%")[0]) for text in resolve(destination.host, destination.port)]
    if not found:
        raise DeliveryError(f"the name of a host has no address: {shown(destination.host)}", may_retry=True)
    if not destination.is_inside and not all(is_public(address) for address in found):
        raise RefusedDestination(f"{shown(destination.host)} has an address that is not public")
    return str(found[0])


def request(
    url: str,
    allowed: Sequence[Destination],
    *,
    method: Literal["GET", "POST"] = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = TIMEOUT_S,
    answer_bytes_max: int = ANSWER_BYTES_MAX,
    resolve: Resolve = resolved,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Ask a host that is allowed. What it answers is given as it is, redirects included.

    Raises:
        RefusedDestination: as ``destination_of`` and ``checked_address``.
        LimitExceeded: the answer is too large.
        DeliveryError: no answer in time, or none at all.
    """
    destination, path, is_tls = destination_of(url, allowed)
    address = checked_address(destination, resolve)
    try:
        connected = socket.create_connection((address, destination.port), timeout=timeout_s)
    except OSError as error:
        raise _undelivered(destination, error) from error
    # However slowly something trickles in: at the deadline the connection is cut.
    is_over = Event()
    deadline = Timer(timeout_s, _cut, [connected, is_over])
    deadline.daemon = True
    deadline.start()
    connection = http.client.HTTPConnection(destination.host, destination.port, timeout=timeout_s)
    try:
        if is_tls:
            secure = context or ssl.create_default_context()
            connection.sock = secure.wrap_socket(connected, server_hostname=destination.host)
        else:
            connection.sock = connected
        connection.request(
            method, path, body=body, headers={"User-Agent": AGENT, "Connection": "close", **(headers or {})}
        )
        answer = connection.getresponse()
        content = bytearray()
        while data := answer.read1(CHUNK_BYTES):
            content += data
            if len(content) > answer_bytes_max:
                raise LimitExceeded("answer_bytes_max", answer_bytes_max, where=destination.host)
        # Headers that were cut off look as if they had ended.
        if is_over.is_set():
            raise _undelivered(destination, "it took too long")
        if answer.length:
            raise _undelivered(destination, "it ended in the middle")
        names = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(status=answer.status, headers=names, body=bytes(content))
    except (OSError, http.client.HTTPException) as error:
        raise _undelivered(destination, error) from error
    finally:
        deadline.cancel()
        connection.close()
        connected.close()


def _cut(connected: socket.socket, is_over: Event) -> None:
    is_over.set()
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it ended by itself


def _undelivered(destination: Destination, why: object) -> DeliveryError:
    return DeliveryError(f"{destination.host} gave no answer: {shown(str(why))}", may_retry=True)

"""What happens between hosts: names looked up, pages read, shares opened, bytes moved."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Final

from mingjian.sample.deeds import windows
from mingjian.sample.moments import SECOND
from mingjian.sample.scene import Process, Scene, Session
from mingjian.sample.world import Host, Site
from mingjian.sample.writers.flows import Flow, Lookup, Request, Shared, Tls

_KERBEROS_BYTES: Final = 1_450


@cache
def fingerprint(name: str) -> str:
    """The SHA-256 of the certificate of a site. No real certificate has it."""
    return hashlib.blake2b(f"certificate of {name}".encode(), digest_size=32).hexdigest()


def lookup(scene: Scene, time_us: int, host: Host, name: str, answer: str, mark: int = 0) -> None:
    """A host asks the name server for an address."""
    ask(scene, time_us, host, Lookup(name, answer), mark)


def ask(scene: Scene, time_us: int, host: Host, question: Lookup, mark: int = 0) -> None:
    """A host asks the name server, which is the directory's host, for anything."""
    chance = scene.chance
    source_port = chance.between(49152, 65535)
    duration_us = chance.between(300, 38_000)
    asked = 28 + len(question.query)
    flow = Flow(
        host.address, source_port, scene.directory.address, 53, "udp", "dns", duration_us, asked,
        asked + 16 + max(len(question.query), len(question.answer)) if question.answer else asked, "SF", "Dd",
    )  # fmt: skip
    uid = scene.sensor.flow(time_us, flow, mark)
    scene.sensor.lookup(time_us, flow, uid, question, mark)


def enter(scene: Scene, time_us: int, login: str, source: str, lasts_us: int, mark: int = 0) -> str:
    """Somebody comes in through the VPN; gives the address that they have inside."""
    inner = f"10.{scene.organisation.number + 20}.200.{scene.chance.between(10, 250)}"
    scene.inner[login] = inner
    scene.vpn.session(time_us, login, source, inner, lasts_us, mark)
    sent, received = scene.chance.size(1_500_000), scene.chance.size(4_000_000)
    connect(
        scene, time_us - 300_000, source, scene.organisation.public_address, 443, "ssl", lasts_us, sent, received, mark
    )
    return inner


def connect(
    scene: Scene,
    time_us: int,
    source: str,
    target: str,
    port: int,
    service: str,
    duration_us: int,
    sent: int,
    received: int,
    mark: int = 0,
    *,
    state: str = "SF",
    history: str = "ShADadFf",
) -> tuple[Flow, str]:
    """Two addresses exchange bytes; gives the flow and the sensor's identifier of it."""
    flow = Flow(
        source,
        scene.chance.between(49152, 65535),
        target,
        port,
        "tcp",
        service,
        duration_us,
        sent,
        received,
        state,
        history,
    )
    firewall = scene.firewall
    if firewall is not None and source.startswith("10.") and not target.startswith("10."):
        firewall.traffic(time_us, flow, mark)
    return flow, scene.sensor.flow(time_us, flow, mark)


def fetch(
    scene: Scene, time_us: int, host: Host, site: Site, request: Request, mark: int = 0, *, user: str = "-",
    process: Process | None = None, is_known: bool = False,
) -> None:  # fmt: skip
    """A host asks a web site for something: name, connection, request or handshake, and the proxy's line.

    ``process`` is named by Sysmon; ``is_known`` says that the name was looked up just before.
    """
    chance = scene.chance
    if not is_known:
        lookup(scene, time_us, host, site.name, site.address, mark)
        if process is not None:
            windows.asked(scene, time_us + 4_000, host, process, site.name, site.address, mark)
    time_us += chance.between(8_000, 60_000)
    port = 80 if site.is_plain else 443
    duration_us = chance.between(90_000, 2_500_000) + request.received_bytes // 2
    sent = request.sent_bytes + 700 + len(request.uri)
    service = "http" if site.is_plain else "ssl"
    flow, uid = connect(
        scene,
        time_us,
        host.address,
        site.address,
        port,
        service,
        duration_us,
        sent,
        request.received_bytes + 2_400,
        mark,
    )
    if site.is_plain:
        scene.sensor.request(time_us + 30_000, flow, uid, request, mark)
    else:
        scene.sensor.tls(time_us + 20_000, flow, uid, Tls(site.name, fingerprint(site.name)), mark)
    if process is not None:
        windows.connected(scene, time_us, host, process, flow.source_port, site.address, port, site.name, mark)
    proxy = scene.proxy
    if proxy is not None:
        if site.is_plain:
            proxy.request(time_us, host.address, user, request, site.address, duration_us, mark)
        else:
            proxy.tunnel(
                time_us, host.address, user, site.name, site.address, duration_us, request.received_bytes + 4_800, mark
            )


def authenticate(scene: Scene, time_us: int, host: Host, session: Session, mark: int = 0) -> None:
    """A session gets its first ticket and one for the host itself."""
    connect(
        scene,
        time_us,
        host.address,
        scene.directory.address,
        88,
        "krb_tcp",
        30_000,
        _KERBEROS_BYTES,
        _KERBEROS_BYTES,
        mark,
    )
    windows.ticket(scene, time_us + 5_000, session.login, session.sid, host.address, mark)
    windows.ticket(scene, time_us + 9_000, session.login, session.sid, host.address, mark, for_host=host)


def open_share(
    scene: Scene, time_us: int, client: Host, server: Host, session: Session, share: str,
    files: tuple[tuple[str, int, bool], ...], mark: int = 0,
) -> Session:  # fmt: skip
    """A share is opened and files (name, size, whether it is written) are touched. Gives the session on the server."""
    chance = scene.chance
    windows.ticket(scene, time_us, session.login, session.sid, client.address, mark, for_host=server)
    remote = session._replace(logon_id=f"0x{chance.between(0x100000, 0xFFFFFFF):x}", logon_guid=f"{{{chance.guid()}}}")
    windows.logged_on(scene, time_us + 12_000, server, remote, 3, mark, source=client.address)
    windows.opened_share(scene, time_us + 20_000, server, remote, share, client.address, mark)
    written = sum(size for _, size, is_written in files if is_written)
    read = sum(size for _, size, is_written in files if not is_written)
    duration_us = chance.between(200_000, 9 * SECOND) + (written + read) // 40
    flow, uid = connect(
        scene,
        time_us + 4_000,
        client.address,
        server.address,
        445,
        "smb",
        duration_us,
        written + 3_800,
        read + 4_200,
        mark,
    )
    path = f"\\\\{server.fqdn}\\{share}"
    step_us = duration_us // (len(files) + 1)
    for place, (name, size, is_written) in enumerate(files, 1):
        action = "SMB::FILE_WRITE" if is_written else "SMB::FILE_OPEN"
        scene.sensor.shared(time_us + place * step_us, flow, uid, Shared(action, path, name, size), mark)
    windows.logged_off(scene, time_us + duration_us + chance.between(SECOND, 20 * SECOND), server, remote, 3, mark)
    return remote

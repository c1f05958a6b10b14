"""What a VPN gateway writes: a FortiGate (SSL VPN events, forwarded traffic) or OpenVPN over syslog.

Source: Fortinet, FortiOS Log Reference, events 39424 to 39426 and traffic 13; OpenVPN manual, option --verb 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mingjian.sample.book import Lane
from mingjian.sample.chance import Chance, Numbers, Whole, listed
from mingjian.sample.moments import SECOND, many, plain, zone
from mingjian.sample.world import Host
from mingjian.sample.writers.flows import Flow
from mingjian.sample.writers.unix import Syslog


class Gateway(Protocol):
    """What every VPN gateway can be told."""

    chance: Chance

    def session(self, time_us: int, login: str, source: str, inner: str, lasts_us: int, mark: int) -> None:
        """Somebody comes in from outside, gets an address inside, and leaves after a time."""
        ...

    def refused(self, time_us: int, login: str, source: str, mark: int) -> None:
        """Somebody does not get in."""
        ...


class FortiGate:
    """A FortiGate at the border of one organisation. Its clock is set to local time, and says so."""

    def __init__(self, lane: Lane, chance: Chance, zone_us: int, name: str) -> None:
        self._append = lane.append
        self.chance = chance
        self._zone_us = zone_us
        self._zone = zone(zone_us)
        self._device = f'devname="FGT-{name.upper()}" devid="FG100F0000EXAMPLE"'

    def _start(self, time_us: int) -> str:
        date, _, clock = plain(time_us + self._zone_us).partition(" ")
        return f'date={date} time={clock} {self._device} eventtime={time_us}000 tz="{self._zone}"'

    def session(self, time_us: int, login: str, source: str, inner: str, lasts_us: int, mark: int) -> None:
        """A tunnel goes up, and down."""
        tunnel = self.chance.bits(30)
        about = (
            f'tunneltype="ssl-tunnel" tunnelid={tunnel} remip={source} tunnelip={inner} user="{login}" '
            'group="vpn-users" dst_host="N/A"'
        )
        head = 'type="event" subtype="vpn" level="information" vd="root"'
        self._append((time_us, (
            f'{self._start(time_us)} logid="0101039424" {head} logdesc="SSL VPN tunnel up" action="tunnel-up" {about} '
            'reason="tunnel established" msg="SSL tunnel established"'
        ), mark))  # fmt: skip
        end_us = time_us + lasts_us
        sent, got = self.chance.size(4_000_000), self.chance.size(1_500_000)
        self._append((end_us, (
            f'{self._start(end_us)} logid="0101039425" {head} logdesc="SSL VPN tunnel down" action="tunnel-down" '
            f'{about} reason="N/A" duration={lasts_us // SECOND} sentbyte={sent} rcvdbyte={got} '
            'msg="SSL tunnel shutdown"'
        ), mark))  # fmt: skip

    def refused(self, time_us: int, login: str, source: str, mark: int) -> None:
        """A wrong password."""
        self._append((time_us, (
            f'{self._start(time_us)} logid="0101039426" type="event" subtype="vpn" level="alert" vd="root" '
            f'logdesc="SSL VPN login fail" action="ssl-login-fail" tunneltype="ssl-web" tunnelid=0 remip={source} '
            f'user="{login}" group="N/A" dst_host="N/A" reason="sslvpn_login_permission_denied" '
            'msg="SSL user failed to logged in"'
        ), mark))  # fmt: skip

    def traffic(self, time_us: int, flow: Flow, mark: int) -> None:
        """A session through the firewall, logged when it is over."""
        end_us = time_us + flow.duration_us
        self._append((end_us, (
            f'{self._start(end_us)} logid="0000000013" type="traffic" subtype="forward" level="notice" vd="root" '
            f'srcip={flow.source} srcport={flow.source_port} srcintf="lan" srcintfrole="lan" dstip={flow.target} '
            f'dstport={flow.target_port} dstintf="wan1" dstintfrole="wan" sessionid={self.chance.bits(30)} '
            f'proto={17 if flow.protocol == "udp" else 6} action="accept" policyid=4 policytype="policy" '
            f'service="{_SERVICES.get(flow.target_port, f"tcp/{flow.target_port}")}" trandisp="snat" '
            f'duration={flow.duration_us // SECOND} sentbyte={flow.sent_bytes} rcvdbyte={flow.received_bytes} '
            f'sentpkt={flow.sent_bytes // 1200 + 2} rcvdpkt={flow.received_bytes // 1300 + 2} appcat="unscanned"'
        ), mark))  # fmt: skip

    def denied(
        self, times_us: Whole, sources: Sequence[str], target: str, ports: Sequence[int], numbers: Numbers
    ) -> None:
        """Many strangers knock at ports that are shut: the noise of the internet."""
        sessions = listed(numbers.below(len(ports), 1 << 30))
        device, zone_text, append = self._device, self._zone, self._append
        for time_us, local, source, port, session in zip(
            listed(times_us), many(times_us + self._zone_us, "plain"), sources, ports, sessions, strict=True
        ):
            append((time_us, (
                f'date={local[:10]} time={local[11:]} {device} eventtime={time_us}000 tz="{zone_text}" '
                'logid="0001000014" type="traffic" subtype="local" level="notice" vd="root" '
                f'srcip={source} srcport={1024 + session % 64000} srcintf="wan1" srcintfrole="wan" dstip={target} '
                f'dstport={port} dstintf="root" dstintfrole="undefined" sessionid={session} proto=6 action="deny" '
                f'policyid=0 policytype="local-in-policy" service="{_SERVICES.get(port, f"tcp/{port}")}" '
                'trandisp="noop" app="unscanned" duration=0 sentbyte=0 rcvdbyte=0 sentpkt=0 rcvdpkt=0 '
                'appcat="unscanned"'
            ), 0))  # fmt: skip


_SERVICES = {443: "HTTPS", 80: "HTTP", 53: "DNS", 22: "SSH", 25: "SMTP", 123: "NTP", 993: "IMAPS"}


class OpenVpn:
    """OpenVPN on a Linux host, in its syslog."""

    def __init__(self, syslog: Syslog, host: Host, chance: Chance) -> None:
        self._syslog = syslog
        self._host = host
        self.chance = chance

    def session(self, time_us: int, login: str, source: str, inner: str, lasts_us: int, mark: int) -> None:
        """A client connects, gets an address, and goes."""
        peer = f"{source}:{self.chance.between(1024, 65535)}"
        lines = (
            (0, f"{peer} TLS: Initial packet from [AF_INET]{peer}, sid={self.chance.hexes(8)} {self.chance.hexes(8)}"),
            (400_000, f"{peer} VERIFY OK: depth=0, CN={login}"),
            (900_000, f"{peer} [{login}] Peer Connection Initiated with [AF_INET]{peer}"),
            (950_000, f"{login}/{peer} MULTI_sva: pool returned IPv4={inner}, IPv6=(Not enabled)"),
            (lasts_us, f"{login}/{peer} SIGTERM[soft,remote-exit] received, client-instance exiting"),
        )
        for later_us, text in lines:
            self._syslog.write(self._host, time_us + later_us, "openvpn[912]", text, mark)

    def refused(self, time_us: int, login: str, source: str, mark: int) -> None:
        """A wrong password."""
        peer = f"{source}:{self.chance.between(1024, 65535)}"
        text = f"{peer} TLS Auth Error: Auth Username/Password verification failed for peer '{login}'"
        self._syslog.write(self._host, time_us, "openvpn[912]", text, mark)

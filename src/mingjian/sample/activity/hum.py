"""What machines write about themselves all day and nobody reads: most of a real log.

In: a scene, a slot of time, and how many events a day of it should have. Out: lines, in bulk: values are drawn as
columns and put into prepared lines, so that this is several times as fast as the deeds of people. Never: anything that
a campaign does, or a line of a host that is silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final, TypeAlias

import numpy as np

from mingjian.sample.chance import Chance, Numbers, Whole, listed, running
from mingjian.sample.moments import DAY, HOUR, MILLISECOND, SECOND
from mingjian.sample.scene import Scene
from mingjian.sample.world import Host
from mingjian.sample.writers.flows import FlowKind, Flows, Lookup
from mingjian.sample.writers.noise import RUNNING, variants
from mingjian.sample.writers.windows import DELAY_US

WINDOWS_SHARE: Final = 0.66
FLOW_SHARE: Final = 0.17
LOOKUP_SHARE: Final = 0.05
"""Each of these is two lines: the exchange and what was asked."""
DENIED_SHARE: Final = 0.07
"""Where there is a firewall that logs them; the rest of the parts make up for it where there is none."""
BURST_EVENTS: Final = 14
"""So many events of a host come together, on average."""
ASKED_NAMES: Final = 400
"""So many names of content networks an organisation asks for on a day; the first of them most."""

_KINDS: Final = (
    (FlowKind(443, "tcp", "ssl", "SF", "ShADadFf"), 30, "edge", 40 * SECOND, 4_000, 60_000),
    (FlowKind(389, "tcp", "ldap_tcp", "SF", "ShADadFf"), 14, "directory", 2 * SECOND, 900, 2_600),
    (FlowKind(445, "tcp", "smb", "SF", "ShADadFf"), 10, "files", 30 * SECOND, 6_000, 20_000),
    (FlowKind(88, "tcp", "krb_tcp", "SF", "ShADadFf"), 8, "directory", 60 * MILLISECOND, 1_450, 1_500),
    (FlowKind(135, "tcp", "dce_rpc", "SF", "ShADadFf"), 5, "directory", SECOND, 600, 500),
    (FlowKind(123, "udp", "ntp", "SF", "Dd"), 6, "clock", 30 * MILLISECOND, 48, 48),
    (FlowKind(137, "udp", "dns", "S0", "D"), 9, "broadcast", 2 * SECOND, 150, 0),
    (FlowKind(5355, "udp", "dns", "S0", "D"), 7, "llmnr", 410 * MILLISECOND, 66, 0),
    (FlowKind(5353, "udp", "dns", "S0", "D"), 5, "mdns", 4 * SECOND, 320, 0),
    (FlowKind(1900, "udp", "", "S0", "D"), 4, "ssdp", 3 * SECOND, 520, 0),
    (FlowKind(8530, "tcp", "http", "SF", "ShADadFf"), 2, "files", SECOND, 700, 3_000),
)
"""Kind, how often, where to, and the usual duration in microseconds, bytes sent and received."""
_GROUPS: Final = {"clock": "192.0.2.205", "llmnr": "224.0.0.252", "mdns": "224.0.0.251", "ssdp": "239.255.255.250"}
_EDGES: Final = tuple(f"{network}.{place}" for network in ("192.0.2", "198.51.100") for place in range(206, 218))
_KNOCKED: Final = (22, 23, 80, 445, 3389, 8080, 5900, 1433, 6379, 2323, 8443, 5060, 25, 3306, 8728, 37215)
_HANDLES: Final = tuple(hex(number * 4 + 0x100) for number in range(4096))
_NUMBERS: Final = tuple(map(str, range(65_536)))
_DNS: Final = FlowKind(53, "udp", "dns", "SF", "Dd")


class Hum:
    """The hum of one organisation on one day."""

    def __init__(self, scene: Scene, events_per_day: float) -> None:
        self._scene = scene
        self._events = events_per_day
        organisation = scene.organisation
        self._working = date.fromisoformat(scene.date).weekday() < 5
        profile = organisation.profile
        self._variants = variants(profile.collector, has_sysmon=profile.has_sysmon)
        self._sums = running([variant.weight for variant in self._variants])
        self._windows = scene.windows_hosts()
        self._rows = {host.name: _row(scene, host) for host in self._windows}
        self._kinds = running([row[1] for row in _KINDS])
        self._names = _names(scene)
        self._popular = running([len(self._names) * 10 // (rank + 1) + 1 for rank in range(len(self._names))])
        self._targets = _GROUPS | {
            "directory": scene.directory.address, "files": scene.files.address, "broadcast": f"{_net(scene)}.1.255",
        }  # fmt: skip

    def write(self, from_us: int, until_us: int) -> None:
        """Write what hums between two moments."""
        scene, hour = self._scene, (from_us - self._scene.start_us) // HOUR
        is_busy = self._working and 7 <= hour < 20
        # By day about three times as much as by night; over a working day it comes to what was asked for.
        count = self._events * (until_us - from_us) / DAY * (1.4 if is_busy else 0.52)
        numbers = Numbers(scene.world.seed, scene.organisation.id, scene.day, "hum", from_us)
        is_up = [
            host for place, host in enumerate(self._windows) if is_busy or host.role != "workstation" or place % 3 == 0
        ]
        others = 1.0 if scene.firewall is not None else 1.0 + DENIED_SHARE
        self._write_windows(numbers, _whole(numbers, count * WINDOWS_SHARE * others), is_up, from_us, until_us)
        self._write_flows(numbers, _whole(numbers, count * FLOW_SHARE * others), is_up, from_us, until_us)
        self._write_lookups(numbers, _whole(numbers, count * LOOKUP_SHARE * others), is_up, from_us, until_us)
        if scene.firewall is not None:
            denied = _whole(numbers, count * DENIED_SHARE)
            times_us = numbers.moments(denied, from_us, until_us - from_us)
            sources = [f"203.0.113.{place}" for place in listed(numbers.between(denied, 10, 200))]
            ports = [_KNOCKED[place] for place in listed(numbers.below(denied, len(_KNOCKED)))]
            scene.firewall.denied(times_us, sources, scene.organisation.public_address, ports, numbers)

    def _write_windows(self, numbers: Numbers, count: int, hosts: Sequence[Host], from_us: int, until_us: int) -> None:
        # Hosts write in bursts: many events within a moment, collected together.
        bursts = max(1, count // BURST_EVENTS)
        begin_us = numbers.moments(bursts, from_us, until_us - from_us)
        hosts_of, threads_of = numbers.below(bursts, len(hosts)), numbers.below(bursts, 2000) * 4 + 1000
        late_us, handles_of = numbers.below(bursts, DELAY_US // 2), numbers.below(bursts, 1 << 29)
        burst = np.sort(numbers.below(count, bursts))
        times_us = begin_us[burst] + np.square(numbers.below(count, 20)) * (MILLISECOND // 2)
        delays_us = begin_us[burst] + DELAY_US // 2 + late_us[burst] - times_us
        whose, threads = hosts_of[burst], threads_of[burst]
        which, random = numbers.places(count, self._sums), handles_of[burst] + numbers.below(count, 3) * 4099
        about = np.array([(host.silent_from_us, host.silent_until_us, host.skew_us) for host in hosts], dtype=np.int64)
        silent_from, silent_until, skews_us = about[whose].T
        heard = (times_us < silent_from) | (times_us >= silent_until)
        rows, handles, texts = [self._rows[host.name] for host in hosts], _HANDLES, _NUMBERS
        chosen = [rows[place] for place in listed(whose[heard])]
        picked = [self._variants[place] for place in listed(which[heard])]
        # In the order of the holes in ``writers.noise``.
        values = [
            (
                texts[thread], *row[1], *row[2][variant.running], *row[3][variant.other], handles[number & 4095],
                handles[number >> 12 & 4095], texts[number & 0xFFFF], texts[49152 + (number >> 4 & 0x3FFF)], *row[4],
            )
            for row, variant, number, thread in zip(
                chosen, picked, listed(random[heard]), listed(threads[heard]), strict=True
            )
        ]  # fmt: skip
        names, templates = [row[0] for row in chosen], [variant.template for variant in picked]
        self._scene.windows.write_many(
            times_us[heard], delays_us[heard], skews_us[heard], names, templates, values
        )  # fmt: skip

    def _flows(
        self, numbers: Numbers, times_us: Whole, hosts: Sequence[Host], targets: Sequence[str],
        kinds: Sequence[FlowKind], usual: tuple[Whole, Whole, Whole],
    ) -> Flows:  # fmt: skip
        count = len(times_us)
        sources = [hosts[place].address for place in listed(numbers.below(count, len(hosts)))]
        ports = [
            kind.port if kind.protocol == "udp" and kind.port in (137, 5353, 123) else port
            for kind, port in zip(kinds, listed(numbers.between(count, 49152, 65536)), strict=True)
        ]
        scale = numbers.between(count, 300, 3_000)
        durations, sent, received = usual
        return Flows(
            times_us, durations * scale // 1000 + numbers.below(count, 1000), sources, ports, targets, kinds,
            listed(sent * scale // 1000), listed(received * numbers.between(count, 300, 3_000) // 1000),
        )  # fmt: skip

    def _write_flows(self, numbers: Numbers, count: int, hosts: Sequence[Host], from_us: int, until_us: int) -> None:
        which = numbers.places(count, self._kinds)
        rows = [_KINDS[place] for place in listed(which)]
        edges = [_EDGES[place] for place in listed(numbers.below(count, len(_EDGES)))]
        targets = [edge if row[2] == "edge" else self._targets[row[2]] for row, edge in zip(rows, edges, strict=True)]
        columns = np.array([row[3:6] for row in _KINDS], dtype=np.int64)[which]
        usual = (columns[:, 0], columns[:, 1], columns[:, 2])
        times_us = numbers.moments(count, from_us, until_us - from_us)
        flows = self._flows(numbers, times_us, hosts, targets, [row[0] for row in rows], usual)
        self._scene.sensor.many(flows, numbers)

    def _write_lookups(self, numbers: Numbers, count: int, hosts: Sequence[Host], from_us: int, until_us: int) -> None:
        lookups = [self._names[place] for place in listed(numbers.places(count, self._popular))]
        asked = np.array([28 + len(lookup.query) for lookup in lookups], dtype=np.int64)
        usual = (np.full(count, 12 * MILLISECOND, dtype=np.int64), asked, asked * 2)
        times_us = numbers.moments(count, from_us, until_us - from_us)
        targets = [self._scene.directory.address] * count
        flows = self._flows(numbers, times_us, hosts, targets, [_DNS] * count, usual)
        uids = self._scene.sensor.many(flows, numbers)
        self._scene.sensor.many_lookups(flows, uids, lookups, numbers)


def _whole(numbers: Numbers, count: float) -> int:
    """A whole number that is this one on average."""
    return int(count + int(numbers.below(1, 1 << 20)[0]) / (1 << 20))


def _net(scene: Scene) -> str:
    return f"10.{scene.organisation.number + 20}"


_Row: TypeAlias = (
    "tuple[str, tuple[str, str], list[tuple[str, str, str]], list[tuple[str, str]], tuple[str, str, str, str, str]]"
)
"""Of a host: name, names in values, what runs (process id, GUID, hexadecimal id), the same shorter, last values."""


def _row(scene: Scene, host: Host) -> _Row:
    chance, name = scene.chance_of("running", host.name), host.name.upper()
    with scene.under(chance):
        ids = [chance.between(100, 2500) * 4 for _ in RUNNING]
        running_now = [(str(pid), scene.guid(host), hex(pid)) for pid in ids]
    organisation = scene.organisation
    last = (scene.directory.address, host.address, f"{name}$", organisation.netbios, f"log-01.{organisation.id}")
    return host.name, (host.fqdn, name), running_now, [(pid, guid) for pid, guid, _ in running_now], last


def _names(scene: Scene) -> list[Lookup]:
    """What the machines of an organisation ask for on a day: services, content networks, and what is not there.

    The names of content networks are as long and as random as those of a tunnel; some are new every day.
    """
    organisation = scene.organisation
    lookups = [
        Lookup(f"_ldap._tcp.dc._msdcs.{organisation.id}", scene.directory.fqdn, 600, 33, "SRV"),
        Lookup(scene.directory.fqdn, scene.directory.address, 1200),
        Lookup("time.vendor.example", _GROUPS["clock"], 900),
        Lookup(f"wpad.{organisation.id}", ""),
        Lookup(scene.files.fqdn, scene.files.address, 1200),
        Lookup("updates.vendor.example", "192.0.2.201", 300),
        Lookup(f"isatap.{organisation.id}", ""),
        Lookup("telemetry.vendor.example", "198.51.100.201", 300),
    ]
    lasting, fresh = Chance(scene.world.seed, "content networks"), scene.chance_of("content names")
    for place in range(ASKED_NAMES):
        chance = fresh if place % 5 == 4 else lasting
        edge = _EDGES[chance.below(len(_EDGES))]
        kind = chance.below(4)
        if kind == 0:
            name = f"e{chance.below(99999)}.dsc{chance.below(9)}.edge-delivery.example.net"
        elif kind == 1:
            name = f"{chance.hexes(24)}.cloud-cache.example.com"
        elif kind == 2:
            name = f"r{chance.below(9)}---sn-{chance.letters().lower()}.media-stream.example.org"
        else:
            name = f"{chance.hexes(8)}.{chance.hexes(12)}.av-lookup.example.com"
        is_text = kind == 3
        lookups.append(
            Lookup(name, "127.0.0.2" if is_text else edge, 60, 16 if is_text else 1, "TXT" if is_text else "A")
        )
    for host in organisation.hosts[:40]:
        reverse = ".".join(reversed(host.address.split("."))) + ".in-addr.arpa"
        lookups.append(Lookup(reverse, host.fqdn, 1200, 12, "PTR"))
    # A browser asks for three names that cannot be there, to see whether somebody answers everything.
    lookups += [Lookup("".join([chr(97 + fresh.below(26)) for _ in range(7 + fresh.below(9))]), "") for _ in range(24)]
    return lookups

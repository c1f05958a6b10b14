"""The sector as values: organisations with their hosts, people, addresses and habits. A pure function of the seed.

Addresses inside are those of RFC 1918, outside those of RFC 5737 and RFC 3849: nobody's. Each organisation has a
*profile*, which says who writes its logs and in which form; the profiles take turns.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.errors import ConfigError
from mingjian.sample import words
from mingjian.sample.chance import Chance
from mingjian.sample.moments import DAY, HOUR, MINUTE, SECOND

ORGANISATIONS_MAX: Final = 200
"""The address plan has room for so many: each has a network 10.x.0.0/16."""
PEOPLE_MAX: Final = 2_000
"""Of one organisation; its address plan has room for them."""

Role: TypeAlias = Literal[
    "workstation", "directory", "files", "web", "mail", "application", "database", "backup", "scanner", "proxy"
]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes the logs of an organisation, and in which form."""

    language: Literal["en", "zh"]
    zone_us: int
    """Local time minus UTC."""
    collector: Literal["winlogbeat", "nxlog"]
    has_sysmon: bool
    """Else process creation is in the Security log (4688)."""
    sensor: Literal["zeek-tsv", "zeek-json", "suricata"]
    syslog: Literal["rfc3164", "rsyslog"]
    has_proxy: bool
    has_cloud: bool
    vpn: Literal["fortigate", "openvpn"]


PROFILES: Final = (
    Profile(
        language="en", zone_us=1 * HOUR, collector="winlogbeat", has_sysmon=True, sensor="zeek-tsv",
        syslog="rfc3164", has_proxy=True, has_cloud=False, vpn="fortigate",
    ),
    Profile(
        language="zh", zone_us=8 * HOUR, collector="nxlog", has_sysmon=True, sensor="suricata",
        syslog="rsyslog", has_proxy=True, has_cloud=False, vpn="fortigate",
    ),
    Profile(
        language="en", zone_us=0, collector="winlogbeat", has_sysmon=False, sensor="zeek-json",
        syslog="rsyslog", has_proxy=False, has_cloud=True, vpn="openvpn",
    ),
)  # fmt: skip


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A computer."""

    name: str
    fqdn: str
    address: str
    role: Role
    is_windows: bool
    boot: str
    """Eight hexadecimal digits that all its process GUIDs begin with."""
    mac: str
    skew_us: int = 0
    """So much its clock is ahead."""
    silent_from_us: int = 0
    silent_until_us: int = 0
    """Between these its own logs are missing; the network still sees it."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an account."""

    login: str
    name: str
    email: str
    department: str
    sid: str
    workstation: str
    """Name of the host."""
    arrives_us: int
    """Into the local day, usually."""
    leaves_us: int
    is_admin: bool = False


class Site(msgspec.Struct, frozen=True):
    """A web site of the world outside."""

    name: str
    address: str
    is_plain: bool
    """Speaks HTTP without TLS."""


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """A source of which nothing was kept for a while: a sensor that stood still, or was not there yet."""

    source: str
    """The folder below the organisation's: ``zeek``, ``squid`` …"""
    from_us: int
    until_us: int
    reason: Literal["stopped", "not yet connected"]


class Organisation(msgspec.Struct, frozen=True, kw_only=True):
    """One of the sector."""

    number: int
    id: str
    """Its domain, which is also the name of its folder."""
    title_en: str
    title_zh: str
    netbios: str
    profile: Profile
    domain_sid: str
    public_address: str
    """Where its web site is, and where its people come from when they go outside."""
    cloud_account: str
    hosts: tuple[Host, ...]
    people: tuple[Person, ...]
    outages: tuple[Outage, ...] = ()

    def host(self, name: str) -> Host:
        """The host of that name. Raises: KeyError."""
        return next((host for host in self.hosts if host.name == name), None) or _missing(name)

    def first(self, role: Role) -> Host:
        """The first host with a role. Raises: KeyError."""
        return next((host for host in self.hosts if host.role == role), None) or _missing(role)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The whole sector."""

    seed: int
    organisations: tuple[Organisation, ...]
    sites: tuple[Site, ...]


def _missing(name: str) -> Host:
    raise KeyError(name)


LONG_DAYS: Final = 60
"""From so many days on there are blind spots of whole sources too."""
SITES: Final = 160
"""So many web sites there are outside."""

_SERVERS: Final[tuple[tuple[str, Role, bool], ...]] = (
    ("dc-01", "directory", True),
    ("fs-01", "files", True),
    ("web-01", "web", False),
    ("mail-01", "mail", False),
    ("app-01", "application", False),
    ("db-01", "database", False),
    ("bak-01", "backup", False),
    ("scan-01", "scanner", False),
    ("px-01", "proxy", False),
)


def build(seed: int, organisations: int, people: int, *, start_us: int, days: int) -> World:
    """Make the sector: so many organisations with so many people each. ``start_us`` and ``days`` place the blind spots.

    Raises:
        ConfigError: more than the address plan has room for.
    """
    if not 1 <= organisations <= ORGANISATIONS_MAX:
        raise ConfigError(f"{organisations} organisations", hint=f"1 to {ORGANISATIONS_MAX} are possible")
    if not 1 <= people <= PEOPLE_MAX:
        raise ConfigError(f"{people} people in one organisation", hint=f"1 to {PEOPLE_MAX} are possible")
    return World(
        seed=seed,
        organisations=tuple(_organisation(seed, number, people, start_us, days) for number in range(organisations)),
        sites=_sites(seed),
    )


def _sites(seed: int) -> tuple[Site, ...]:
    chance = Chance(seed, "sites")
    networks = ("192.0.2", "198.51.100", "203.0.113")
    found: dict[str, Site] = {}
    while len(found) < SITES:
        name = f"{chance.pick(words.SITE_WORDS)}-{chance.pick(words.SITE_KINDS)}{chance.pick(words.SITE_ENDINGS)}"
        # The addresses above 200 are kept for the organisations and for those who attack them.
        address = f"{chance.pick(networks)}.{chance.between(10, 200)}"
        found.setdefault(name, Site(name, address, chance.share(0.12)))
    return tuple(found.values())


def _organisation(seed: int, number: int, people: int, start_us: int, days: int) -> Organisation:
    chance = Chance(seed, "organisation", number)
    profile = PROFILES[number % len(PROFILES)]
    place = words.PLACES[(number + Chance(seed, "places").below(len(words.PLACES))) % len(words.PLACES)]
    kind = chance.pick(words.KINDS)
    domain = f"{place.short}-{kind.short}{number // len(words.PLACES) or ''}.example"
    domain_sid = f"S-1-5-21-{chance.between(10**9, 4 * 10**9)}-{chance.between(10**9, 4 * 10**9)}-{chance.bits(30)}"
    staff = _people(chance, profile, people, domain, domain_sid)
    hosts = (*_servers(chance, number, domain), *_workstations(chance, number, domain, staff))
    return Organisation(
        number=number,
        id=domain,
        title_en=f"{place.en} {kind.en}",
        title_zh=f"{place.zh}{kind.zh}",
        netbios=place.short.upper()[:15],
        profile=profile,
        domain_sid=domain_sid,
        public_address=f"203.0.113.{201 + number % 20}",
        cloud_account=f"{chance.between(10**11, 10**12)}",
        hosts=_with_faults(chance, hosts, start_us, days),
        people=staff,
        outages=_outages(chance, profile, number, start_us, days),
    )


def _host(chance: Chance, name: str, domain: str, address: str, role: Role, is_windows: bool) -> Host:
    mac = "00:00:5e:" + ":".join(f"{chance.below(256):02x}" for _ in range(3))
    return Host(
        name=name,
        fqdn=f"{name}.{domain}",
        address=address,
        role=role,
        is_windows=is_windows,
        boot=chance.hexes(8),
        mac=mac,
    )


def _servers(chance: Chance, number: int, domain: str) -> tuple[Host, ...]:
    return tuple(
        _host(chance, name, domain, f"10.{number + 20}.0.{place + 10}", role, is_windows)
        for place, (name, role, is_windows) in enumerate(_SERVERS)
    )


def _workstations(chance: Chance, number: int, domain: str, people: tuple[Person, ...]) -> tuple[Host, ...]:
    return tuple(
        _host(
            chance, person.workstation, domain, f"10.{number + 20}.{1 + place // 200}.{20 + place % 200}",
            "workstation", True,
        )
        for place, person in enumerate(people)
    )  # fmt: skip


def _people(chance: Chance, profile: Profile, count: int, domain: str, domain_sid: str) -> tuple[Person, ...]:
    logins: dict[str, Person] = {}
    boxes: set[str] = set()
    while len(logins) < count:
        place = len(logins)
        if profile.language == "zh":
            (family, family_latin), (given, given_latin) = chance.pick(words.FAMILY_ZH), chance.pick(words.GIVEN_ZH)
            name, latin = family + given, f"{family_latin}.{given_latin}"
            # Some administrators name accounts as people are named.
            login = name if place % 4 == 3 else latin
        else:
            given, family = chance.pick(words.GIVEN), chance.pick(words.FAMILY)
            name, latin = f"{given.title()} {family.title()}", f"{given}.{family}"
            login = latin
        if login in logins:
            login = f"{login}{place}"
        box = f"{latin}@{domain}"
        if box in boxes:
            box = f"{latin}{place}@{domain}"
        boxes.add(box)
        department = chance.pick(words.DEPARTMENTS)
        arrives = int(chance.about(8.6, 0.7) * HOUR)
        logins[login] = Person(
            login=login,
            name=name,
            email=box,
            department=department.en,
            sid=f"{domain_sid}-{1104 + place}",
            workstation=f"{'it' if place == 0 else department.short}-ws-{place + 1:03}",
            arrives_us=arrives,
            leaves_us=arrives + int(chance.about(8.7, 0.8) * HOUR),
            is_admin=place == 0,
        )
    return tuple(logins.values())


def _with_faults(chance: Chance, hosts: tuple[Host, ...], start_us: int, days: int) -> tuple[Host, ...]:
    """Give one workstation a wrong clock, and let others fall silent, in a long time a server too.

    The workstations are among the last: the campaigns happen to the first.
    """
    places = [place for place, host in enumerate(hosts) if host.role == "workstation"]
    changed = list(hosts)
    if len(places) < 6:
        return hosts
    skewed = places[-1]
    skew_us = chance.between(4 * MINUTE, 20 * MINUTE) // SECOND * SECOND
    changed[skewed] = msgspec.structs.replace(hosts[skewed], skew_us=skew_us)
    silent = [(place, 30 * HOUR) for place in places[-2 : -2 - max(1, min(days // 60, (len(places) - 4) // 2)) : -1]]
    if days >= LONG_DAYS:
        silent += [(place, 9 * DAY) for place, host in enumerate(hosts) if host.name == "db-01"]
    for place, longest_us in silent:
        first_us = start_us + chance.below(days) * DAY + 11 * HOUR
        changed[place] = msgspec.structs.replace(
            hosts[place], silent_from_us=first_us, silent_until_us=first_us + chance.between(9 * HOUR, longest_us)
        )
    return tuple(changed)


def _outages(chance: Chance, profile: Profile, number: int, start_us: int, days: int) -> tuple[Outage, ...]:
    """In a long time: one source that is connected later than the others, and a sensor that stands still at times."""
    if days < LONG_DAYS:
        return ()
    late = ("vsftpd", "squid" if profile.has_proxy else "nginx")[number % 2]
    first_us = start_us - profile.zone_us
    connected_us = first_us + int(days * (0.1 + 0.15 * chance.random())) * DAY
    outages = [Outage(source=late, from_us=first_us, until_us=connected_us, reason="not yet connected")]
    sensor = "suricata" if profile.sensor == "suricata" else "zeek"
    share = 0.2
    while (share := share + 0.1 + 0.35 * chance.random()) < 1:
        from_us = first_us + int(days * share) * DAY + chance.below(DAY)
        until_us = from_us + chance.between(6 * HOUR, 60 * HOUR)
        outages.append(Outage(source=sensor, from_us=from_us, until_us=until_us, reason="stopped"))
    return tuple(outages)

"""One organisation on one local day: its writers, its chance, and what runs on its hosts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from mingjian.sample.book import Book, Lane
from mingjian.sample.chance import Chance
from mingjian.sample.moments import DAY, HOUR, MINUTE, local_date, zone
from mingjian.sample.templates import Template
from mingjian.sample.world import Host, Organisation, Person, World
from mingjian.sample.writers.cloud import REGION, CloudTrail
from mingjian.sample.writers.flows import Sensor
from mingjian.sample.writers.suricata import SuricataSensor
from mingjian.sample.writers.unix import Audit, Syslog
from mingjian.sample.writers.vpn import FortiGate, Gateway, OpenVpn
from mingjian.sample.writers.web import Nginx, Squid
from mingjian.sample.writers.windows import Key, WindowsLog
from mingjian.sample.writers.zeek import ZeekSensor


class Session(NamedTuple):
    """Somebody is logged on. (Tuples, because there are many.)"""

    user: str
    """``DOMAIN\\login``."""
    login: str
    domain: str
    sid: str
    logon_id: str
    logon_guid: str
    integrity: str


class Process(NamedTuple):
    """Something runs."""

    pid: int
    guid: str
    image: str
    command: str
    user: str


class Desk(NamedTuple):
    """A person at work: the host, the session and the processes that others are started from."""

    person: Person
    host: Host
    session: Session
    shell: Process
    browser: Process
    mail: Process


class Scene:
    """All that a deed needs to know and to write to. One for each organisation and day."""

    def __init__(
        self,
        world: World,
        organisation: Organisation,
        book: Book,
        start_us: int,
        templates: dict[Key, Template],
        *,
        pace: float = 1.0,
        files_from_us: int | None = None,
        files_until_us: int | None = None,
    ) -> None:
        profile = organisation.profile
        self.world = world
        self.organisation = organisation
        self.book = book
        self.start_us = start_us
        """Local midnight."""
        self.end_us = start_us + DAY
        self.day = (start_us + profile.zone_us) // DAY
        self.date = local_date(start_us, profile.zone_us).isoformat()
        self.pace = pace
        """How much of what could happen happens: in a small sector people and machines do less."""
        self._files_from_us = start_us if files_from_us is None else files_from_us
        self._files_until_us = self.end_us if files_until_us is None else files_until_us
        self.chance = self.chance_of("deeds")
        self.zone_us = profile.zone_us
        self.directory = organisation.first("directory")
        self.files = organisation.first("files")
        self.web_server = organisation.first("web")
        self.has_sysmon = profile.has_sysmon
        self.workstations: dict[str, Host] = {h.name: h for h in organisation.hosts if h.role == "workstation"}
        self.services: dict[str, Process] = {}
        self.desks: dict[str, Desk] = {}
        """By login; while they are at work."""
        self.inner: dict[str, str] = {}
        """By login; the address inside of who came in through the VPN today."""
        self._make_writers(templates)

    def _lane(self, name: str, kind: str, encoding: str = "utf-8") -> Lane:
        return self.book.lane(name, kind, encoding=encoding)  # type: ignore[arg-type]  # the literals below are kinds

    def _make_writers(self, templates: dict[Key, Template]) -> None:
        organisation, profile = self.organisation, self.organisation.profile
        date = local_date(self._files_from_us, profile.zone_us).isoformat()
        folder = organisation.id
        self.windows = WindowsLog(
            self._lane(f"{folder}/{profile.collector}/{date}.jsonl", "jsonl"),
            profile.collector,
            self.chance_of("windows"),
            profile.zone_us,
            self.day,
            f"log-01.{folder}",
            templates,
        )
        self.sensor: Sensor = (
            SuricataSensor(
                self.book,
                f"{folder}/suricata/eve-{date}.json",
                self.chance_of("sensor"),
                profile.zone_us,
                zone(profile.zone_us),
            )
            if profile.sensor == "suricata"
            else ZeekSensor(
                self.book,
                f"{folder}/zeek/{date}",
                profile.sensor,
                self.chance_of("sensor"),
                self._files_from_us,
                self._files_until_us,
            )
        )
        self.syslog = Syslog(self._lane(f"{folder}/syslog/{date}.log", "syslog"), profile.syslog, profile.zone_us)
        # The file server for partners speaks what its Chinese clients speak: GB18030.
        encoding = "gb18030" if profile.language == "zh" else "utf-8"
        self.transfer = Syslog(
            self._lane(f"{folder}/vsftpd/{date}.log", "syslog", encoding), profile.syslog, profile.zone_us
        )
        self.audit = Audit(self._lane(f"{folder}/audit/{date}.log", "auditd"), self.chance_of("audit"), self.day)
        self.nginx = Nginx(self._lane(f"{folder}/nginx/access-{date}.log", "access"), profile.zone_us)
        self.proxy = Squid(self._lane(f"{folder}/squid/access-{date}.log", "access")) if profile.has_proxy else None
        self.firewall: FortiGate | None = None
        if profile.vpn == "fortigate":
            lane = self._lane(f"{folder}/fortigate/{date}.log", "access")
            self.firewall = FortiGate(lane, self.chance_of("vpn"), profile.zone_us, organisation.netbios)
        self.vpn: Gateway = self.firewall or OpenVpn(self.syslog, organisation.first("proxy"), self.chance_of("vpn"))
        self.cloud = self._cloud() if profile.has_cloud else None

    def _cloud(self) -> CloudTrail:
        account, chance = self.organisation.cloud_account, self.chance_of("cloud")
        names = self.chance_of("cloud files")

        def file_of(until_us: int) -> str:
            date = local_date(until_us - 1, 0)
            stamp = f"{date:%Y%m%d}T{until_us % DAY // HOUR:02}{until_us % HOUR // MINUTE:02}Z"
            folder = f"{self.organisation.id}/AWSLogs/{account}/CloudTrail/{REGION}/{date:%Y/%m/%d}"
            return f"{folder}/{account}_CloudTrail_{REGION}_{stamp}_{names.letters()}.json"

        return CloudTrail(self.book.records_lane("cloudtrail", file_of), chance, account)

    def chance_of(self, *names: int | str) -> Chance:
        """A stream of chance of this organisation and day."""
        return Chance(self.world.seed, self.organisation.id, self.day, *names)

    @contextmanager
    def under(self, chance: Chance) -> Generator[None]:
        """Let something happen under other chance, so that what happens otherwise stays as it is."""
        takers = (self, self.windows, self.sensor, self.audit, self.vpn, *([self.cloud] if self.cloud else []))
        kept = [taker.chance for taker in takers]
        for taker in takers:
            taker.chance = chance
        try:
            yield
        finally:
            for taker, own in zip(takers, kept, strict=True):
                taker.chance = own

    def guid(self, host: Host) -> str:
        """The GUID of a process on a host, as Sysmon makes them: all begin with the same."""
        bits = self.chance.bits(96)
        text = f"{bits:024x}"
        return f"{{{host.boot}-{text[:4]}-{text[4:8]}-{text[8:12]}-{text[12:]}}}"

    def machine_session(self, host: Host, login: str = "SYSTEM") -> Session:
        """The session of the system itself, or of one of its service accounts."""
        sid = {"SYSTEM": "S-1-5-18", "LOCAL SERVICE": "S-1-5-19", "NETWORK SERVICE": "S-1-5-20"}[login]
        logon = {"SYSTEM": "0x3e7", "LOCAL SERVICE": "0x3e5", "NETWORK SERVICE": "0x3e4"}[login]
        guid = f"{{{host.boot}-0000-0000-{logon[2:]:>04}-000000000000}}"
        return Session(f"NT AUTHORITY\\{login}", login, "NT AUTHORITY", sid, logon, guid, "System")

    def session_of(self, person: Person, *, elevated: bool = False) -> Session:
        """A new session of a person."""
        netbios = self.organisation.netbios
        logon = f"0x{self.chance.between(0x30000, 0xFFFFFF):x}"
        return Session(
            f"{netbios}\\{person.login}", person.login, netbios, person.sid, logon, f"{{{self.chance.guid()}}}",
            "High" if elevated else "Medium",
        )  # fmt: skip

    def host_of(self, person: Person) -> Host:
        """The workstation of a person."""
        return self.workstations[person.workstation]

    def windows_hosts(self) -> Sequence[Host]:
        """All Windows hosts."""
        return [host for host in self.organisation.hosts if host.is_windows]

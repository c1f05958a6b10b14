"""Where the acts of a scripted campaign take place: who is who in one organisation, and what the names in it stand for.

A text of a script may hold names in braces: ``{login}``, ``{name}``, ``{mail}`` and ``{sid}`` of the person it happens
to, ``{admin}`` the login of the administrator, ``{host}`` the name of the host, ``{domain}`` and ``{netbios}`` of the
organisation, ``{SITE}`` and ``{SITE.ip}`` name and address of a site of the script, ``{HOST.ip}`` the address of a
host, ``{PROCESS.pid}`` the process id of what runs under that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.errors import SchemaError
from mingjian.sample.deeds import windows
from mingjian.sample.programs import PROGRAMS, Program
from mingjian.sample.scene import Desk, Process, Scene, Session
from mingjian.sample.world import Host, Organisation, Person, Site

_NAME: Final = re.compile(r"\{([a-z_]+(?:\.ip)?)\}")
_PID: Final = re.compile(r"\{([a-z_]+)\.pid\}")
_DESK: Final = {"explorer": "shell", "edge": "browser", "outlook": "mail"}
_ABSENT: Final = {"outlook": "explorer"}
"""What stands for a program of the desk while nobody sits there."""

Who: TypeAlias = Literal["victim", "raised", "returned", "admin", "elevated", "other", "system"]
"""Whose session: the person's own; the same with high rights; the person's own, or a new one with a shell of its own if
they come back after work; the administrator's; the administrator's with high rights; the other person's; the host's."""


class SiteRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place outside, as a script names it."""

    name: str
    address: str
    plain: bool = False


class Cast(msgspec.Struct, frozen=True, kw_only=True):
    """Who it happens to in one organisation, and the names of the script."""

    campaign: str
    organisation: Organisation
    victim: Person
    other: Person
    """The second person of the part."""
    admin: Person
    sites: Mapping[str, Site]
    programs: Mapping[str, Program]

    def host(self, name: str) -> Host:
        """The host that a script means: ``victim`` or ``admin`` for their workstations, or a role of a server."""
        if name in ("victim", "admin"):
            return self.organisation.host((self.victim if name == "victim" else self.admin).workstation)
        found = next((host for host in self.organisation.hosts if host.role == name), None)
        if found is None:
            raise SchemaError(f"no host {name!r}", where=self.campaign)
        return found

    def login(self, name: str) -> str:
        """The account that a script means: ``victim``, ``other``, ``admin``, or one by its name."""
        people = {"victim": self.victim, "other": self.other, "admin": self.admin}
        return people[name].login if name in people else self.text(name, "")

    def text(self, text: str, host: str) -> str:
        """A text of the script with its names filled in. Raises: SchemaError."""
        return _NAME.sub(lambda found: self._meaning(found[1], host), text) if "{" in text else text

    def _meaning(self, name: str, host: str) -> str:
        victim, organisation = self.victim, self.organisation
        known = {
            "login": victim.login, "name": victim.name, "mail": victim.email, "sid": victim.sid,
            "admin": self.admin.login, "host": host, "domain": organisation.id, "netbios": organisation.netbios,
            "public": organisation.public_address, "cloud": organisation.cloud_account,
        }  # fmt: skip
        if name in known:
            return known[name]
        place, _, part = name.partition(".")
        if place in self.sites:
            return self.sites[place].address if part else self.sites[place].name
        if part:
            return self.host(place).address
        raise SchemaError(f"nothing is named {{{name}}}", where=self.campaign)


class Stage(msgspec.Struct, frozen=True):
    """One happening: the scene, the host, the people, and the mark that its lines carry."""

    scene: Scene
    host: Host
    cast: Cast
    mark: int
    is_one_session: bool = False
    """Whoever acts more than once does so in the same session."""
    sessions: dict[Who, Session] = {}
    shells: dict[str, Process] = {}
    """By host: the shell of somebody who came back after work."""
    pids: dict[str, int] = {}
    """What was started on Linux in this happening, by the name that the script gave it."""

    def on(self, name: str) -> Stage:
        """The same happening on another host; on this one if there is no name. Raises: SchemaError."""
        return msgspec.structs.replace(self, host=self.cast.host(name)) if name else self

    def text(self, text: str) -> str:
        """A text of the script with its names filled in."""
        if ".pid}" in text:
            text = _PID.sub(lambda found: str(self.process(found[1]).pid), text)
        return self.cast.text(text, self.host.name)

    def address(self, name: str) -> str:
        """An address: of a host of the script, ``vpn`` for the person's one inside, or as it stands."""
        if name == "vpn":
            return self.scene.inner.get(self.cast.victim.login, "10.0.200.10")
        return self.cast.host(name).address if name.isalpha() else self.text(name)

    def session(self, who: Who) -> Session:
        """A session on the host; the person's own one, if they are at their desk."""
        if who not in self.sessions:
            session = self._session(who)
            if not self.is_one_session:
                return session
            self.sessions[who] = session
        return self.sessions[who]

    def _session(self, who: Who) -> Session:
        if who == "system":
            return self.scene.machine_session(self.host)
        if who == "raised":
            return self._session("victim")._replace(integrity="High")
        if who in ("admin", "elevated"):
            return self.scene.session_of(self.cast.admin, elevated=who == "elevated")
        if who == "other":
            return self.scene.session_of(self.cast.other)
        desk = self._desk()
        if desk is not None:
            return desk.session
        session = self.scene.session_of(self.cast.victim)
        if who == "returned":
            image = PROGRAMS["explorer"].image
            self.shells[self.host.name] = self._new(image, session.user)
        return session

    def _desk(self) -> Desk | None:
        """The desk of the person, if they sit there and it is this host's."""
        desk = self.scene.desks.get(self.cast.victim.login)
        return desk if desk is not None and desk.host is self.host else None

    def _new(self, image: str, user: str) -> Process:
        return Process(self.scene.chance.between(3000, 9000), self.scene.guid(self.host), image, image, user)

    def program(self, name: str) -> Program:
        """A program of the script, or one that everybody has. Raises: SchemaError."""
        found = self.cast.programs.get(name) or PROGRAMS.get(name)
        if found is None:
            raise SchemaError(f"no program {name!r}", where=self.cast.campaign)
        return found

    def process(self, name: str) -> Process:
        """Something that runs: started under that name today, or before; a program of the person, or of the system."""
        running = self.scene.services.get(self._key(name))
        if running is not None:
            return running
        desk = self._desk()
        if name in _DESK and desk is not None:
            return {"shell": desk.shell, "browser": desk.browser, "mail": desk.mail}[_DESK[name]]
        if name == "explorer" and self.host.name in self.shells:
            return self.shells[self.host.name]
        if name in self.cast.programs:
            image = windows.image_of(self.cast.programs[name], self.cast.victim.login)
            user = self._session("system" if self.host.role != "workstation" else "victim").user
            process = self._new(image, user)
            self.keep(name, process)
            return process
        return windows.service(self.scene, self.host, _ABSENT.get(name, name))

    def pid(self, name: str) -> int:
        """The process id of what was started on Linux in this happening. Raises: SchemaError."""
        if name not in self.pids:
            raise SchemaError(f"nothing was started as {name!r}", where=self.cast.campaign)
        return self.pids[name]

    def kernel(self, who: Who) -> Process:
        """The kernel of the host, which writes what comes over the network for somebody."""
        session = self.session(who)
        return Process(4, self.scene.guid(self.host), "System", "System", session.user)

    def keep(self, name: str, process: Process) -> None:
        """Remember what was started, for the rest of the day."""
        self.scene.services[self._key(name)] = process

    def _key(self, name: str) -> str:
        return f"{self.host.name}/{self.cast.campaign}/{name}"

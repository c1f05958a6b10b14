"""What a scripted campaign can let happen: a small record for each kind of act, played through the deeds of everybody.

The field ``do`` of an act in a script names its kind; ``after`` is how many seconds after the step it happens, ``on``
the host, if it is not that of the step.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.sample.activity.people import document_of
from mingjian.sample.campaigns.stage import Stage, Who
from mingjian.sample.chance import Chance
from mingjian.sample.deeds import linux, network, windows
from mingjian.sample.moments import MINUTE, SECOND
from mingjian.sample.writers.cloud import Caller
from mingjian.sample.writers.flows import Lookup as Question
from mingjian.sample.writers.flows import Request, Tls

_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"

Size: TypeAlias = int | tuple[int, int]
"""Bytes: about so many (up to a twentieth more), or from the first number to the second."""
Asked: TypeAlias = dict[str, str | dict[str, str | bool]]
"""The parameters of a call in the cloud."""


class _Act(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag=str.lower, forbid_unknown_fields=True):
    after: float = 0.0
    on: str = ""


def _bytes(chance: Chance, size: Size) -> int:
    if isinstance(size, int):
        return size + chance.below(size // 20 + 1)
    low, high = size
    return low if low == high else chance.between(low, high)


class Start(_Act, frozen=True, kw_only=True):
    """A program is started on a Windows host; ``name`` is how later acts speak of it."""

    program: str
    command: str
    by: str = "explorer"
    name: str = ""
    user: Who = "victim"
    folder: str = "C:\\Windows\\System32\\"

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        process = windows.start(
            stage.scene, time_us, stage.host, stage.session(self.user), stage.process(self.by),
            stage.program(self.program), stage.text(self.command), stage.mark, folder=stage.text(self.folder),
        )  # fmt: skip
        stage.keep(self.name or self.program, process)


class End(_Act, frozen=True, kw_only=True):
    """A program that was started ends."""

    program: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        windows.end(stage.scene, time_us, stage.host, stage.process(self.program), stage.mark)


class File(_Act, frozen=True, kw_only=True):
    """A process writes a file; ``kernel`` writes what comes over the network, for the ``user``."""

    path: str
    by: str
    user: Who = "victim"

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        process = stage.kernel(self.user) if self.by == "kernel" else stage.process(self.by)
        windows.wrote(stage.scene, time_us, stage.host, process, stage.text(self.path), stage.mark)


class Value(_Act, frozen=True, kw_only=True):
    """A process sets a registry value."""

    key: str
    details: str
    by: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        windows.set_value(
            stage.scene, time_us, stage.host, stage.process(self.by), stage.text(self.key), stage.text(self.details),
            stage.mark,
        )  # fmt: skip


class Script(_Act, frozen=True, kw_only=True):
    """PowerShell runs a block of script."""

    text: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        windows.ran_script(stage.scene, time_us, stage.host, stage.text(self.text), stage.mark)


class Task(_Act, frozen=True, kw_only=True):
    """A scheduled task is registered."""

    name: str
    command: str
    user: Who = "victim"

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        windows.task_created(
            stage.scene, time_us, stage.host, stage.session(self.user), stage.text(self.name),
            stage.text(self.command), stage.mark,
        )  # fmt: skip


class Service(_Act, frozen=True, kw_only=True):
    """A service is installed."""

    name: str
    path: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        windows.service_installed(stage.scene, time_us, stage.host, self.name, stage.text(self.path), stage.mark)


class Account(_Act, frozen=True, kw_only=True):
    """An account is made in the directory, and put into a group."""

    name: str
    group: str
    user: Who = "elevated"

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        windows.account_created(stage.scene, time_us, stage.session(self.user), self.name, self.group, stage.mark)


class Clear(_Act, frozen=True, kw_only=True):
    """The Security log is cleared."""

    user: Who = "system"

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        windows.log_cleared(stage.scene, time_us, stage.host, stage.session(self.user), stage.mark)


class Open(_Act, frozen=True, kw_only=True):
    """A process opens another one."""

    target: str
    by: str
    granted: str
    trace: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        windows.opened_process(
            stage.scene, time_us, stage.host, stage.process(self.by), stage.process(self.target), self.granted,
            self.trace, stage.mark,
        )  # fmt: skip


class Logon(_Act, frozen=True, kw_only=True):
    """Somebody logs on to the host over the network, from another host or an address."""

    user: Who
    source: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        source = stage.address(self.source)
        windows.logged_on(stage.scene, time_us, stage.host, stage.session(self.user), 3, stage.mark, source=source)


class Share(_Act, frozen=True, kw_only=True):
    """A share of a server is opened from the host; ``read`` and ``written`` are files with their sizes in bytes."""

    server: str
    share: str
    user: Who = "victim"
    read: dict[str, int] = {}
    written: dict[str, int] = {}

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        files = tuple(
            (name, size, is_written)
            for of, is_written in ((self.read, False), (self.written, True))
            for name, size in of.items()
        )
        network.open_share(
            stage.scene, time_us, stage.host, stage.cast.host(self.server), stage.session(self.user), self.share, files,
            stage.mark,
        )  # fmt: skip


class Browse(_Act, frozen=True, kw_only=True):
    """A share is read through: so many times, one document of every folder."""

    server: str
    share: str
    folders: tuple[str, ...]
    times: int
    every: float
    """Seconds."""
    user: Who = "victim"

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        scene, session = stage.scene, stage.session(self.user)
        for place in range(self.times):
            files = tuple(
                (f"{folder}\\{document_of(scene, folder)}.docx", scene.chance.size(200_000), False)
                for folder in self.folders
            )
            network.open_share(
                scene, time_us + round(place * self.every * SECOND), stage.host, stage.cast.host(self.server), session,
                self.share, files, stage.mark,
            )  # fmt: skip


class Fetch(_Act, frozen=True, kw_only=True):
    """The host asks a web site for something."""

    site: str
    path: str = "/"
    method: str = "GET"
    agent: str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/133.0.0.0"
    sent: Size = 0
    received: Size = 2_000
    mime: str = "text/html"
    by: str = ""

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        chance = stage.scene.chance
        request = Request(
            self.method, stage.cast.sites[self.site].name, self.path, self.agent, 200,
            _bytes(chance, self.sent), _bytes(chance, self.received), self.mime,
        )  # fmt: skip
        process = stage.process(self.by) if self.by else None
        user = stage.cast.victim.login if process is not None else "-"
        network.fetch(
            stage.scene, time_us, stage.host, stage.cast.sites[self.site], request, stage.mark, user=user,
            process=process,
        )  # fmt: skip


class Send(_Act, frozen=True, kw_only=True):
    """Many bytes leave the host for a site, over TLS."""

    site: str
    sent: int
    received: int = 0
    """A two-thousandth of what is sent, if nothing is said."""
    minutes: float
    by: str = ""
    user: str = "-"
    """As the proxy knows them."""
    wait: float = 0.2
    """Seconds from the look-up to the connection."""
    handshake: float = 0.02
    """Seconds from the connection to the name in its handshake."""
    names_asker: bool = False
    """Whether the process is known to have looked the name up, too."""

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        scene, host, site, mark = stage.scene, stage.host, stage.cast.sites[self.site], stage.mark
        lasts_us, begins_us = int(self.minutes * MINUTE), time_us + round(self.wait * SECOND)
        received = self.received or self.sent // 2000
        network.lookup(scene, time_us, host, site.name, site.address, mark)
        if self.names_asker:
            windows.asked(scene, time_us, host, stage.process(self.by), site.name, site.address, mark)
        flow, uid = network.connect(
            scene, begins_us, host.address, site.address, 443, "ssl", lasts_us, self.sent, received, mark
        )
        shaken_us = begins_us + round(self.handshake * SECOND)
        scene.sensor.tls(shaken_us, flow, uid, Tls(site.name, network.fingerprint(site.name)), mark)
        if self.by:
            process = stage.process(self.by)
            windows.connected(scene, begins_us, host, process, flow.source_port, site.address, 443, site.name, mark)
        if scene.proxy is not None:
            user = stage.text(self.user)
            scene.proxy.tunnel(begins_us, host.address, user, site.name, site.address, lasts_us, received, mark)


class Connect(_Act, frozen=True, kw_only=True):
    """The host opens a connection to another host or to an address."""

    target: str
    port: int
    service: str = ""
    seconds: float = 1.0
    sent: int = 900
    received: int = 900

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        network.connect(
            stage.scene, time_us, stage.host.address, stage.address(self.target), self.port, self.service,
            int(self.seconds * SECOND), self.sent, self.received, stage.mark,
        )  # fmt: skip


class Ask(_Act, frozen=True, kw_only=True):
    """The host asks for names that change: ``count`` of them in ``seconds``.

    ``zone`` alone: letters and digits before it, as a tunnel puts data into names (asked for as TXT). ``endings``: made
    names, hardly one of which is there.
    """

    count: int
    seconds: float
    zone: str = ""
    endings: tuple[str, ...] = ()
    letters: int = 40

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        chance = stage.scene.chance
        for place in range(self.count):
            moment_us = time_us + int(place * self.seconds * SECOND / self.count) + chance.below(200_000)
            if self.zone:
                data = "".join([_BASE32[chance.bits(5)] for _ in range(self.letters)])
                name = f"{data[: self.letters // 2]}.{data[self.letters // 2 :]}.{stage.text(self.zone)}"
                network.ask(
                    stage.scene, moment_us, stage.host, Question(name, data[:20].upper(), 0, 16, "TXT"), stage.mark
                )
            else:
                length = chance.between(self.letters - 3, self.letters + 3)
                name = "".join([_BASE32[chance.below(26)] for _ in range(length)]) + chance.pick(self.endings)
                answer = "198.51.100.249" if place == self.count - 1 else ""
                network.ask(stage.scene, moment_us, stage.host, Question(name, answer), stage.mark)


class Mail(_Act, frozen=True, kw_only=True):
    """A mail comes in for the person."""

    sender: str
    client: str
    address: str
    size: int

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        linux.mail(
            stage.scene, time_us, stage.text(self.sender), stage.cast.victim.email, stage.text(self.client),
            stage.text(self.address), self.size, stage.mark,
        )  # fmt: skip


class Login(_Act, frozen=True, kw_only=True):
    """Somebody logs in to the Linux host over SSH."""

    user: str
    source: str
    method: str = "password"
    minutes: float = 12.0

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        linux.ssh_login(
            stage.scene, time_us, stage.host, self.user, stage.address(self.source), stage.mark, method=self.method,
            lasts_us=int(self.minutes * MINUTE),
        )  # fmt: skip


class Knock(_Act, frozen=True, kw_only=True):
    """Somebody does not get in over SSH, again and again."""

    user: str
    source: str
    times: int
    every: float
    """Seconds."""

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        for place in range(self.times):
            moment_us, source = time_us + round(place * self.every * SECOND), stage.address(self.source)
            linux.ssh_failure(stage.scene, moment_us, stage.host, self.user, source, stage.mark, is_known=True)


class Sudo(_Act, frozen=True, kw_only=True):
    """Somebody does not know the password that sudo asks for, again and again."""

    user: str
    command: str
    times: int
    every: float
    """Seconds."""

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        for place in range(self.times):
            moment_us = time_us + round(place * self.every * SECOND)
            linux.sudo_failure(stage.scene, moment_us, stage.host, self.user, self.command, stage.mark)


def _login_uid(login: str, user: str) -> int:
    return linux.NOBODY if login == "nobody" else linux.uid_of(login or user)


class Run(_Act, frozen=True, kw_only=True):
    """A program is started on a Linux host; ``name`` is how later acts of the step speak of it."""

    words: tuple[str, ...]
    exe: str
    user: str = "operator"
    login: str = ""
    """Who had logged in: ``nobody`` for what a service starts; the user, if nothing is said."""
    folder: str = "/"
    parent: int | str = 1
    """A process id, or a name that was given before."""
    name: str = ""

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        words = tuple(stage.text(word) for word in self.words)
        parent = self.parent if isinstance(self.parent, int) else stage.pid(self.parent)
        pid = linux.run(
            stage.scene, time_us, stage.host, self.user, words, self.exe, stage.mark, folder=self.folder,
            auid=_login_uid(self.login, self.user), parent_pid=parent,
        )  # fmt: skip
        stage.pids[self.name] = pid


class Touch(_Act, frozen=True, kw_only=True):
    """A file that the audit system watches is written."""

    path: str
    exe: str
    user: str
    login: str = ""
    key: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        stage.scene.audit.touched(
            stage.host, time_us, self.path, self.exe, linux.uid_of(self.user), auid=_login_uid(self.login, self.user),
            key=self.key, mark=stage.mark,
        )  # fmt: skip


class Job(_Act, frozen=True, kw_only=True):
    """Cron runs a job."""

    user: str
    command: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        linux.job(stage.scene, time_us, stage.host, self.user, self.command, stage.mark)


class Log(_Act, frozen=True, kw_only=True):
    """A program writes a line to syslog."""

    program: str
    text: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        tag = f"{self.program}[{stage.scene.chance.between(1500, 60000)}]"
        stage.scene.syslog.write(stage.host, time_us, tag, stage.text(self.text), stage.mark)


class Visit(_Act, frozen=True, kw_only=True):
    """A visitor asks the web site of the organisation for something, or for one thing after the other."""

    client: str
    paths: tuple[str, ...]
    every: float = 0.9
    """Seconds."""
    site: str = "{host}.{domain}"
    method: str = "GET"
    status: int = 200
    received: int = 900
    agent: str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        scene, mark = stage.scene, stage.mark
        client, site = stage.text(self.client), stage.text(self.site)
        for place, path in enumerate(self.paths):
            moment_us = time_us + round(place * self.every * SECOND)
            request = Request(self.method, site, path, self.agent, self.status, 0, self.received)
            scene.nginx.write(moment_us, client, request, mark)
            network.connect(scene, moment_us, client, stage.host.address, 443, "ssl", 400_000, 1_100, 2_400, mark)


class Tunnel(_Act, frozen=True, kw_only=True):
    """Somebody comes in through the VPN."""

    user: str
    address: str
    minutes: float = 45.0

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        network.enter(
            stage.scene, time_us, stage.cast.login(self.user), stage.text(self.address), int(self.minutes * MINUTE),
            stage.mark,
        )  # fmt: skip


class Guess(_Act, frozen=True, kw_only=True):
    """One password is tried on accounts of the directory from the host, or on the VPN from an address."""

    where: Literal["directory", "vpn"]
    accounts: int
    seconds: float
    address: str = ""
    first: int = 0
    """The number of the person to begin with."""
    hits: bool = False
    """The last of them is the right one."""
    finds: Literal["", "other"] = ""
    """Everybody is tried once at most, and it is the password of the second person."""

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        scene, people, mark = stage.scene, stage.cast.organisation.people, stage.mark
        for place in range(min(self.accounts, len(people)) if self.finds else self.accounts):
            person = people[(self.first + place) % len(people)]
            refused = person is not stage.cast.other if self.finds else not (self.hits and place == self.accounts - 1)
            if not refused and not self.finds:
                person = stage.cast.victim
            moment_us = time_us + int(place * self.seconds * SECOND / self.accounts)
            if self.where == "vpn" and refused:
                scene.vpn.refused(moment_us, person.login, stage.text(self.address), mark)
            elif self.where == "vpn":
                network.enter(scene, moment_us, person.login, stage.text(self.address), 20 * MINUTE, mark)
            else:
                network.connect(
                    scene, moment_us, stage.host.address, scene.directory.address, 88, "krb_tcp", 20_000, 220, 180, mark
                )
                windows.ticket(
                    scene, moment_us + 5_000, person.login, person.sid, stage.host.address, mark, is_refused=refused
                )


class Cloud(_Act, frozen=True, kw_only=True):
    """A call in the cloud account. Where there is none, nothing happens."""

    service: str
    call: str
    user: str
    address: str
    agent: str = "aws-cli/2.17.4 Python/3.11.9 Linux/6.6.9 exe/x86_64"
    key: str = "AKIAEXAMPLE000000013"
    asked: Asked | None = None
    answered: Asked | None = None
    denied: bool = False

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        trail = stage.scene.cloud
        if trail is None:
            return
        name = stage.cast.login(self.user)
        caller = Caller(name=name, address=stage.text(self.address), agent=self.agent, key=self.key)
        error = ("AccessDenied", f"User: {name} is not authorized") if self.denied else None
        texts = {
            key: stage.text(given) if isinstance(given, str) else given for key, given in (self.asked or {}).items()
        }
        trail.call(
            time_us, caller, self.service, self.call, stage.mark, asked=texts or None, answered=self.answered,
            error=error,
        )  # fmt: skip


class Probe(_Act, frozen=True, kw_only=True):
    """Calls in the cloud account that are refused, one after the other. Where there is none, nothing happens."""

    calls: tuple[str, ...]
    """``service:Call``."""
    every: float
    """Seconds."""
    user: str
    address: str
    agent: str
    key: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        trail = stage.scene.cloud
        if trail is None:
            return
        name = stage.cast.login(self.user)
        caller = Caller(name=name, address=stage.text(self.address), agent=self.agent, key=self.key)
        arn = f"arn:aws:iam::{stage.cast.organisation.cloud_account}:user/{name}"
        for place, call in enumerate(self.calls):
            service, _, what = call.partition(":")
            error = ("AccessDenied", f"User: {arn} is not authorized to perform: {call}")
            trail.call(time_us + round(place * self.every * SECOND), caller, service, what, stage.mark, error=error)


class SignIn(_Act, frozen=True, kw_only=True):
    """Somebody signs in to the console of the cloud account, without a second factor. Where there is none, nothing."""

    user: str
    address: str
    agent: str

    def play(self, stage: Stage, time_us: int) -> None:
        """Let it happen."""
        trail = stage.scene.cloud
        if trail is not None:
            caller = Caller(name=stage.cast.login(self.user), address=stage.text(self.address), agent=self.agent)
            trail.signed_in(time_us, caller, stage.mark, with_mfa=False)


Act: TypeAlias = (
    Start | End | File | Value | Script | Task | Service | Account | Clear | Open | Logon | Share | Browse | Fetch
    | Send | Connect | Ask | Mail | Login | Knock | Sudo | Run | Touch | Job | Log | Visit | Tunnel | Guess | Cloud
    | Probe | SignIn
)  # fmt: skip
"""Everything that a script can let happen."""

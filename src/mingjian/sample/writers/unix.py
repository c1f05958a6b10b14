"""What Linux hosts write: syslog (RFC 3164 or rsyslog's own times) and the records of the audit system."""

from __future__ import annotations

from typing import Final, Literal

from mingjian.sample.book import Lane
from mingjian.sample.chance import Chance
from mingjian.sample.moments import bsd, epoch_ms, iso_us, zone
from mingjian.sample.world import Host

_AUDITED: Final = "subj=unconfined key="


class Syslog:
    """Lines of syslog as they stand on the log host of one organisation."""

    def __init__(self, lane: Lane, shape: Literal["rfc3164", "rsyslog"], zone_us: int) -> None:
        self._append = lane.append
        self._is_old = shape == "rfc3164"
        self._zone_us = zone_us
        self._zone = zone(zone_us, colon=True)

    def write(self, host: Host, time_us: int, tag: str, message: str, mark: int) -> None:
        """Write a line. ``tag`` is the program, with ``[pid]`` if it has one. Times are local, as hosts set them."""
        if host.silent_from_us <= time_us < host.silent_until_us:
            return
        local_us = time_us + self._zone_us + host.skew_us
        stamp = bsd(local_us) if self._is_old else iso_us(local_us) + self._zone
        self._append((time_us, f"{stamp} {host.name} {tag}: {message}", mark))


class Audit:
    """Audit records of Linux hosts, gathered in one file; ``node=`` tells the hosts apart."""

    def __init__(self, lane: Lane, chance: Chance, day: int) -> None:
        self._append = lane.append
        self.chance = chance
        self._serials: dict[str, int] = {}
        self._first_serial = day % 4000 * 100_000

    def _head(self, host: Host, time_us: int) -> str:
        serial = self._serials[host.name] = self._serials.get(host.name, self._first_serial) + 1
        return f"msg=audit({epoch_ms(time_us)}:{serial}):"

    def execution(
        self, host: Host, time_us: int, arguments: tuple[str, ...], exe: str, uid: int, *, auid: int, folder: str,
        parent_pid: int, mark: int,
    ) -> int:  # fmt: skip
        """A program that is started: SYSCALL, EXECVE, CWD, PATH and PROCTITLE. Gives its process id."""
        if host.silent_from_us <= time_us < host.silent_until_us:
            return 0
        chance = self.chance
        pid = chance.between(1500, 60000)
        head, node = self._head(host, time_us), f"node={host.name} "
        name = exe.rpartition("/")[2][:15]
        session, terminal = (4294967295, "(none)") if auid == 4294967295 else (chance.between(3, 400), "pts0")
        words = " ".join([f"a{place}={_quoted(word)}" for place, word in enumerate(arguments)])
        lines = (
            f"{node}type=SYSCALL {head} arch=c000003e syscall=59 success=yes exit=0 a0={chance.hexes(12)} "
            f"a1={chance.hexes(12)} a2={chance.hexes(12)} a3=8 items=2 ppid={parent_pid} pid={pid} auid={auid} "
            f"uid={uid} "
            f"gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid} tty={terminal} "
            f'ses={session} comm="{name}" exe="{exe}" {_AUDITED}"exec"',
            f"{node}type=EXECVE {head} argc={len(arguments)} {words}",
            f'{node}type=CWD {head} cwd="{folder}"',
            f'{node}type=PATH {head} item=0 name="{exe}" inode={chance.between(1000, 900000)} dev=fd:00 mode=0100755 '
            "ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0",
            f"{node}type=PROCTITLE {head} proctitle={chr(0).join(arguments).encode().hex().upper()}",
        )
        for place, line in enumerate(lines):
            self._append((time_us + place, line, mark))
        return pid

    def touched(
        self, host: Host, time_us: int, path: str, exe: str, uid: int, *, auid: int, key: str, mark: int
    ) -> None:
        """A watched file that is written: SYSCALL (openat) and PATH."""
        if host.silent_from_us <= time_us < host.silent_until_us:
            return
        chance = self.chance
        head, node = self._head(host, time_us), f"node={host.name} "
        name = exe.rpartition("/")[2][:15]
        lines = (
            f"{node}type=SYSCALL {head} arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1={chance.hexes(12)} "
            f"a2=241 a3=1b6 items=2 ppid={chance.between(800, 1500)} pid={chance.between(1500, 60000)} auid={auid} "
            f"uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid} tty=(none) "
            f'ses=4294967295 comm="{name}" exe="{exe}" {_AUDITED}"{key}"',
            f'{node}type=PATH {head} item=1 name="{path}" inode={chance.between(1000, 900000)} dev=fd:00 mode=0100644 '
            f"ouid={uid} ogid={uid} rdev=00:00 nametype=CREATE cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0",
        )
        for place, line in enumerate(lines):
            self._append((time_us + place, line, mark))


def _quoted(word: str) -> str:
    """An argument as auditd writes it: in hexadecimal if it holds a blank, a quote or what is not ASCII."""
    if any(c in ' "' or not " " < c <= "~" for c in word):
        return word.encode().hex().upper()
    return f'"{word}"'

"""What happens on Linux hosts: logins, sudo, jobs, programs, mail."""

from __future__ import annotations

from typing import Final

from mingjian.sample.deeds import network
from mingjian.sample.moments import MINUTE, SECOND
from mingjian.sample.scene import Scene
from mingjian.sample.world import Host

NOBODY: Final = 4294967295
"""The login uid of what nobody logged in for."""
UIDS: Final = {"root": 0, "www-data": 33, "backup": 34, "postgres": 114, "deploy": 1001, "operator": 1002}


def ssh_login(
    scene: Scene, time_us: int, host: Host, user: str, source: str, mark: int = 0, *, method: str = "publickey",
    lasts_us: int = 5 * MINUTE,
) -> None:  # fmt: skip
    """Somebody logs in over SSH and leaves again."""
    chance = scene.chance
    pid, port = chance.between(1500, 60000), chance.between(32768, 60999)
    key = f"ssh2: ED25519 SHA256:{fingerprint_text(user, source)}" if method == "publickey" else "ssh2"
    tag = f"sshd[{pid}]"
    write = scene.syslog.write
    write(host, time_us, tag, f"Accepted {method} for {user} from {source} port {port} {key}", mark)
    write(host, time_us + 40_000, tag, f"pam_unix(sshd:session): session opened for user {user}(uid={uid_of(user)}) "
          "by (uid=0)", mark)  # fmt: skip
    write(
        host, time_us + lasts_us, tag, f"Received disconnect from {source} port {port}:11: disconnected by user", mark
    )
    write(host, time_us + lasts_us + 20_000, tag, f"pam_unix(sshd:session): session closed for user {user}", mark)
    network.connect(scene, time_us - 400_000, source, host.address, 22, "ssh", lasts_us, 24_000, 61_000, mark)


def ssh_failure(
    scene: Scene, time_us: int, host: Host, user: str, source: str, mark: int = 0, *, is_known: bool = False
) -> None:
    """Somebody does not get in over SSH."""
    chance = scene.chance
    pid, port = chance.between(1500, 60000), chance.between(32768, 60999)
    tag, write = f"sshd[{pid}]", scene.syslog.write
    if not is_known:
        write(host, time_us, tag, f"Invalid user {user} from {source} port {port}", mark)
    whom = user if is_known else f"invalid user {user}"
    write(host, time_us + 1_900_000, tag, f"Failed password for {whom} from {source} port {port} ssh2", mark)
    kind = "authenticating" if is_known else "invalid"
    write(
        host, time_us + 2_100_000, tag, f"Connection closed by {kind} user {user} {source} port {port} [preauth]", mark
    )
    network.connect(scene, time_us - 300_000, source, host.address, 22, "ssh", 3 * SECOND, 1_900, 2_300, mark)


def sudo(scene: Scene, time_us: int, host: Host, user: str, command: str, mark: int = 0) -> None:
    """Somebody runs a command as root."""
    write = scene.syslog.write
    write(host, time_us, "sudo", f"{user:>8} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND={command}", mark)
    opened = f"pam_unix(sudo:session): session opened for user root(uid=0) by {user}(uid={uid_of(user)})"
    write(host, time_us + 2_000, "sudo", opened, mark)
    write(host, time_us + 700_000, "sudo", "pam_unix(sudo:session): session closed for user root", mark)


def sudo_failure(scene: Scene, time_us: int, host: Host, user: str, command: str, mark: int = 0) -> None:
    """Somebody does not know the password."""
    uid = uid_of(user)
    about = f"logname={user} uid={uid} euid=0 tty=/dev/pts/0 ruser={user} rhost=  user={user}"
    scene.syslog.write(host, time_us, "sudo", f"pam_unix(sudo:auth): authentication failure; {about}", mark)
    where = f"TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND={command}"
    scene.syslog.write(host, time_us + 6 * SECOND, "sudo", f"{user:>8} : 3 incorrect password attempts ; {where}", mark)


def job(scene: Scene, time_us: int, host: Host, user: str, command: str, mark: int = 0) -> None:
    """Cron runs a job."""
    tag, write = f"CRON[{scene.chance.between(1500, 60000)}]", scene.syslog.write
    write(
        host,
        time_us,
        tag,
        f"pam_unix(cron:session): session opened for user {user}(uid={uid_of(user)}) by (uid=0)",
        mark,
    )
    write(host, time_us + 1_500, tag, f"({user}) CMD ({command})", mark)
    write(host, time_us + 900_000, tag, f"pam_unix(cron:session): session closed for user {user}", mark)


def run(
    scene: Scene, time_us: int, host: Host, user: str, arguments: tuple[str, ...], exe: str, mark: int = 0, *,
    parent_pid: int = 1, folder: str = "/", auid: int = NOBODY,
) -> int:  # fmt: skip
    """A program is started, and the audit system sees it. Gives its process id."""
    return scene.audit.execution(
        host, time_us, arguments, exe, uid_of(user), auid=auid, folder=folder, parent_pid=parent_pid, mark=mark
    )


def mail(
    scene: Scene, time_us: int, sender: str, recipient: str, client: str, client_address: str, size: int, mark: int = 0
) -> None:
    """A mail comes in and is delivered."""
    chance = scene.chance
    host = scene.organisation.first("mail")
    queue, domain = chance.hexes(10).upper(), sender.rpartition("@")[2]
    write = scene.syslog.write
    smtpd = f"postfix/smtpd[{chance.between(1500, 60000)}]"
    write(host, time_us, smtpd, f"connect from {client}[{client_address}]", mark)
    write(host, time_us + 300_000, smtpd, f"{queue}: client={client}[{client_address}]", mark)
    message_id = f"{chance.hexes(16)}@{domain}"
    write(
        host,
        time_us + 500_000,
        f"postfix/cleanup[{chance.between(1500, 60000)}]",
        f"{queue}: message-id=<{message_id}>",
        mark,
    )
    active = f"{queue}: from=<{sender}>, size={size}, nrcpt=1 (queue active)"
    write(host, time_us + 900_000, "postfix/qmgr[1204]", active, mark)
    sent = (
        f"{queue}: to=<{recipient}>, relay=private/dovecot-lmtp, delay=1.2, delays=0.9/0/0.1/0.2, dsn=2.0.0, "
        f"status=sent (250 2.0.0 <{recipient}> {chance.letters()} Saved)"
    )
    write(host, time_us + 1_300_000, f"postfix/lmtp[{chance.between(1500, 60000)}]", sent, mark)
    write(host, time_us + 1_350_000, "postfix/qmgr[1204]", f"{queue}: removed", mark)
    write(
        host,
        time_us + 1_800_000,
        smtpd,
        f"disconnect from {client}[{client_address}] ehlo=1 mail=1 rcpt=1 data=1 quit=1",
        mark,
    )
    network.connect(scene, time_us, client_address, host.address, 25, "smtp", 1_800_000, size, 900, mark)


def uid_of(user: str) -> int:
    """The uid of an account; 1003 for those without one of their own here."""
    return UIDS.get(user, 1003)


def fingerprint_text(user: str, source: str) -> str:
    """The fingerprint of an SSH key, as sshd writes it. No real key has it."""
    return network.fingerprint(f"ssh key of {user} at {source}")[:43]

r"""What well-known programs say in syslog, taken apart into fields.

In: the name of the program and its message. Out: fields, added to the record of the line. A message that is not
known adds nothing; the text is in ``message`` in any case. Names are those of Sigma's Linux rules where there are any
(sudo: ``TTY``, ``PWD``, ``USER``, ``COMMAND``; name servers: ``query``, ``record_type``, ``answer``; Netfilter: the
kernel's own ``SRC``, ``DST``, ``DPT`` …; Postfix: its own ``from``, ``to``, ``status`` …), else ``action``, ``user``,
``target_user``, ``src_ip`` (``src_host`` if it is a name), ``src_port``, ``method``, ``command``, ``reason``.

Messages hold text that attackers choose, user names above all. A user name ends at the *last* `` from ADDRESS``, so
that a name that imitates an address stays a name. Every pattern is linear in the length of the message: a repetition
is possessive, or it is a single ``.*`` before a literal, each try of which ends within the next few words.

Source: OpenSSH 9 (``auth.c``, ``auth2.c``, ``packet.c``, ``sshd.c``), sudo 1.9 (``eventlog.c``), Linux-PAM
(``pam_unix``), shadow 4, cronie and Debian cron, polkit (``pkexec.c``), BIND 9, dnsmasq, vsftpd, Postfix 3 (``smtpd``,
``cleanup``, ``qmgr``, ``log_adhoc.c``),
``nf_log_syslog.c``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

from mingjian.formats.tables import found_at_most
from mingjian.model.values import Record

PAIRS_MAX = 256
"""So many ``name=value`` pairs of a very long message are read."""

_PORT = r"(?: port (?P<src_port>[0-9]{1,5}))?"
_FROM = rf" from (?P<src_ip>\S++){_PORT}"
_END = r"(?: ssh[0-9]?)?(?:: (?P<key>.*))?(?: \[preauth\])?"
_WHO = r"(?:(?P<invalid>invalid user )(?P<user>.*?) |(?:authenticating user |user )(?P<user2>.*?) )?"
_PEER = rf"(?P<src_ip>[^\s\[]++){_PORT}"
_SSHD_ROWS = (
    ("Accepted", "accepted", rf"Accepted (?P<method>\S++) for (?P<user>.*){_FROM}{_END}"),
    ("Failed", "failed", rf"Failed (?P<method>\S++) for (?P<invalid>(?:invalid|illegal) user )?(?P<user>.*)"
     rf"{_FROM}{_END}"),
    ("Postponed", "postponed", rf"Postponed (?P<method>\S++) for (?P<invalid>invalid user )?(?P<user>.*){_FROM}{_END}"),
    ("Invalid", "invalid_user", rf"(?P<invalid>Invalid) user (?P<user>.*){_FROM}"),
    ("Illegal", "invalid_user", rf"(?P<invalid>Illegal) user (?P<user>.*){_FROM}"),
    ("User", "not_allowed", r"User (?P<user>.*) from (?P<src_ip>\S++) not allowed because (?P<reason>.*)"),
    ("Connection", "connection", rf"Connection{_FROM}(?: on (?P<dst_ip>\S++) port (?P<dst_port>[0-9]{{1,5}}))?.*"),
    ("Connection", "closed", rf"Connection (?:closed|reset) by {_WHO}{_PEER}(?: \[preauth\])?"),
    ("Disconnected", "disconnected", rf"Disconnected from {_WHO}{_PEER}(?: \[preauth\])?"),
    ("Disconnecting", "disconnecting", rf"Disconnecting {_WHO}{_PEER}: (?P<reason>.*)"),
    ("Disconnecting:", "disconnecting", r"Disconnecting: Too many authentication failures for (?P<user>\S++).*"),
    ("Received", "disconnected", r"Received disconnect from (?P<src_ip>\S++) port (?P<src_port>[0-9]{1,5}): ?"
     r"(?P<code>[0-9]{1,5}): ?(?P<reason>.*)"),
    ("Received", "disconnected", r"Received disconnect from (?P<src_ip>\S+): (?P<code>[0-9]{1,5}): ?(?P<reason>.*)"),
    ("Did", "no_identification", rf"Did not receive identification string{_FROM}"),
    ("Bad", "bad_identification", rf"Bad protocol version identification '(?P<identification>.*)'{_FROM}"),
    ("banner", "bad_identification", rf"banner exchange: Connection{_FROM}: (?P<reason>.*)"),
    ("Unable", "negotiation_failed", rf"Unable to negotiate with {_PEER}: (?P<reason>.*)"),
    ("reverse", "reverse_mapping_failed", r"reverse mapping checking getaddrinfo for (?P<src_host>\S++) "
     r"\[(?P<src_ip>[^\s\]]++)\].*"),
    ("Address", "reverse_mapping_failed", r"Address (?P<src_ip>\S++) maps to (?P<src_host>\S++), but .*"),
    ("maximum", "too_many_failures", rf"maximum authentication attempts exceeded for (?P<invalid>invalid user )?"
     rf"(?P<user>.*){_FROM}.{{0,20}}"),
    ("Starting", "session", rf"Starting session: (?P<session>\S++)(?: on \S++| '[^']*+')? for (?P<user>.*){_FROM}"
     r"(?: id [0-9]++)?"),
    ("Server", "listening", r"Server listening on (?P<dst_ip>\S++) port (?P<dst_port>[0-9]{1,5})\."),
)  # fmt: skip


def _by_first_word(rows: tuple[tuple[str, str, str], ...]) -> dict[str, tuple[tuple[str, re.Pattern[str]], ...]]:
    table: dict[str, tuple[tuple[str, re.Pattern[str]], ...]] = {}
    for word, action, pattern in rows:
        table[word] = (*table.get(word, ()), (action, re.compile(pattern, re.ASCII | re.DOTALL)))
    return table


_SSHD = _by_first_word(_SSHD_ROWS)
_SSHD_INVALID = re.compile(r"input_userauth_request: (?:invalid|illegal) user (?P<user>.*)", re.DOTALL)
_PAM = re.compile(r"(?P<pam_module>pam_\w++)\((?P<pam_service>[^:)]*+)(?::(?P<pam_type>[^)]*+))?\): ", re.ASCII)
_PAM_SESSION = re.compile(
    r"session (?P<state>opened|closed) for user (?P<user>[^\s(]*+)(?:\(uid=[0-9]++\))?(?: by (?P<by>[^\s(]*+)"
    r"(?:\(uid=(?P<uid>[0-9]++)\))?)?"
)
_PAM_CHANGED = re.compile(r"password changed for (?P<user>\S++)")
_PAIR = re.compile(r"(?<![^\s\[])([A-Za-z][\w-]*+)=(\S*+)", re.ASCII)
_BRACKETED = re.compile(r"\[([A-Z]{1,16})=([^\]]*+)\]")
_SUDO = re.compile(r"\s*+(?P<user>\S++) : ")
_SUDO_FIELD = re.compile(r"(TTY|PWD|CHROOT|USER|GROUP|TSID|ENV|COMMAND)=")
_SU = tuple(
    (action, re.compile(pattern))
    for action, pattern in (
        ("su", r"\(to (?P<target_user>[^)]*+)\) (?P<user>\S++) on (?P<tty>\S++)"),
        ("su_failed", r"(?:FAILED SU|FAILED su) \(to (?P<target_user>[^)]*+)\) (?P<user>\S++) on (?P<tty>\S++)"),
        ("su", r"Successful su for (?P<target_user>\S++) by (?P<user>\S++)"),
        ("su_failed", r"FAILED su for (?P<target_user>\S++) by (?P<user>\S++)"),
        ("su", r"\+ (?P<tty>\S++) (?P<user>[^\s:]++):(?P<target_user>\S++)"),
        ("su_failed", r"- (?P<tty>\S++) (?P<user>[^\s:]++):(?P<target_user>\S++)"),
    )
)
_CRON = re.compile(r"\((?P<user>[^)]*+)\) (?P<action>[A-Z]++(?: [A-Z]++)*+) \((?P<command>.*)\)\s*", re.DOTALL)
_ACCOUNT = tuple(
    (action, re.compile(pattern))
    for action, pattern in (
        ("new_user", r"new user: (?P<pairs>.*)"),
        ("new_group", r"(?:new group|group added to \S++): (?P<pairs>.*)"),
        ("added_to_group", r"add '(?P<user>[^']*+)' to (?:shadow )?group '(?P<group>[^']*+)'"),
        ("added_to_group", r"user (?P<user>\S++) added by (?P<by>\S++) to group (?P<group>\S++)"),
        ("deleted_user", r"delete user '(?P<user>[^']*+)'"),
        ("changed_user", r"change user '(?P<user>[^']*+)' (?P<change>.*)"),
        ("password_changed", r"password for '?(?P<user>[^\s']++)'? changed by '?(?P<by>[^\s']++)'?"),
    )
)
_ACCOUNT_PAIR = re.compile(r"(?<![^\s,])(\w++)=([^,]*+)", re.ASCII)
_UPTIME = re.compile(r"\[\s*+(?P<uptime>[0-9]++\.[0-9]++)\] ")
_NETFILTER = re.compile(r"(?<!\S)IN=\S*+ OUT=")
_NAMED = re.compile(
    r"client (?:@\S++ )?(?P<src_ip>[^\s#]++)#(?P<src_port>[0-9]{1,5})(?: \([^)]*+\))?: (?:view [^\s:]++: )?"
    r"query: (?P<query>\S++) (?P<query_class>\S++) (?P<record_type>\S++)(?: (?P<flags>\S++))?"
    r"(?: \((?P<dst_ip>[^)]*+)\))?"
)
_DNSMASQ = tuple(
    (action, re.compile(pattern))
    for action, pattern in (
        ("query", r"(?:[0-9]++ \S++ )?query\[(?P<record_type>[^\]]*+)\] (?P<query>\S++) from (?P<src_ip>\S++)"),
        ("answer", r"(?:[0-9]++ \S++ )?(?:reply|cached|config) (?P<query>\S++) is (?P<answer>.*)"),
        ("forwarded", r"(?:[0-9]++ \S++ )?forwarded (?P<query>\S++) to (?P<dst_ip>\S++)"),
    )
)
_FTP = tuple(
    (action, re.compile(pattern))
    for action, pattern in (
        ("connection", r"connection from (?P<src_ip>\S++) \((?P<src_host>[^)]*+)\).*"),
        ("", r"(?:\[pid [0-9]++\] )?(?:\[(?P<user>[^\]]*+)\] )?(?P<action>CONNECT|(?:OK|FAIL) [A-Z]++): "
         r'Client "(?P<src_ip>[^"]*+)"(?:, "(?P<path>[^"]*+)".*)?'),
    )
)  # fmt: skip
_MAIL_PEER = r"(?P<src_host>[^\s\[]++)\[(?P<src_ip>[^\]]++)\](?::[0-9]++)?"
_MAIL_TO = r"to=<(?P<to>[^>]*+)>"
_POSTFIX = tuple(
    (action, re.compile(pattern, re.ASCII | re.DOTALL))
    for action, pattern in (
        ("connect", rf"connect from {_MAIL_PEER}"),
        ("disconnect", rf"disconnect from {_MAIL_PEER}(?: .*)?"),
        ("lost", rf"(?:lost connection|timeout) after (?P<after>\S++)(?: \([^)]*+\))? from {_MAIL_PEER}"),
        ("received", rf"client={_MAIL_PEER}(?:, sasl_method=(?P<sasl_method>[^\s,]++))?"
         r"(?:, sasl_username=(?P<user>[^\s,]++))?(?:, .*)?"),
        ("authentication_failure", rf"warning: {_MAIL_PEER}: SASL (?P<sasl_method>\S++) authentication "
         r"(?:failed|failure)(?:: (?P<reason>.*))?"),
        ("message", r"(?:resent-)?message-id=<?(?P<message_id>[^>\s]*+)>?"),
        ("queued", r"from=<(?P<from>[^>]*+)>(?:, size=(?P<size>[0-9]++), nrcpt=(?P<nrcpt>[0-9]++))?(?: .*)?"),
        ("queued", r"uid=(?P<uid>[0-9]++) from=<(?P<from>[^>]*+)>(?: .*)?"),
        ("delivery", rf"{_MAIL_TO}(?:, orig_to=<(?P<orig_to>[^>]*+)>)?, relay=(?:(?P<dst_host>[^\s\[,]++)"
         r"\[(?P<dst_ip>[^\]]++)\](?::(?P<dst_port>[0-9]++))?|(?P<relay>[^\s,]++)), "
         r"(?:(?!status=)[a-z_]++=[^\s,]++, )*+status=(?P<status>\S++)(?: \((?P<reason>.*)\))?"),
        ("", r"(?P<action>CONNECT|DISCONNECT|PASS NEW|PASS OLD)(?: from)? \[(?P<src_ip>[^\]]++)\]:(?P<src_port>[0-9]++)"
         r"(?: .*)?"),
    )
)  # fmt: skip
_POSTFIX_QUEUE = re.compile(r"(?!warning:|fatal:|error:|panic:)(?P<queue_id>[0-9A-Za-z]{5,20}+): ", re.ASCII)
_POSTFIX_REFUSED = re.compile(rf"(?P<action>reject|hold|discard|redirect|warn): [A-Z]++ from {_MAIL_PEER}: ", re.ASCII)
_POSTFIX_BETWEEN = re.compile(
    rf"(?P<from>[^>]*+)>(?: {_MAIL_TO})?(?: proto=(?P<proto>\S++))?(?: helo=<(?P<helo>[^>]*+)>)?.*", re.DOTALL
)
_LOGIN = re.compile(
    r"FAILED LOGIN \(?[0-9]++\)? (?:on '(?P<tty>[^']*+)' )?(?:FROM '?(?P<src_ip>[^\s']++)'? )?FOR '?"
    r"(?P<user>[^',]*+)'?.*"
)
_REPEATED = re.compile(r"message repeated ([0-9]{1,9}) times: \[ ?(.*)\]", re.DOTALL)
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]*+:[0-9A-Fa-f:.]*+(?:%\S++)?")


def add_program_fields(program: str, message: str, record: Record) -> bool:
    """Add what the message of a program says; False if the program is not known.

    >>> record = {}
    >>> add_program_fields("sshd", "Failed password for invalid user a from b from 10.0.0.1 port 7 ssh2", record)
    True
    >>> record["user"], record["src_ip"], record["src_port"], record["action"]
    ('a from b', '10.0.0.1', '7', 'failed')
    """
    reader = _reader(program)
    if message.startswith("pam_") and (head := _PAM.match(message)):
        _add_pam(head.groupdict(), message[head.end() :], record)
    elif reader is not None:
        if message.startswith("message repeated ") and (repeated := _REPEATED.fullmatch(message)):
            record["repeated"] = int(repeated[1])
            message = repeated[2]
        reader(message, record)
    else:
        return False
    return True


@lru_cache(maxsize=1024)
def _reader(program: str) -> Callable[[str, Record], None] | None:
    if program.startswith("postfix") and "/" in program:
        return _add_postfix
    name = program.rpartition("/")[2].lower()
    if name.endswith("(pam_unix)"):
        return partial(_add_pam, {"pam_module": "pam_unix", "pam_service": name[:-10]})
    return _PROGRAMS.get(name)


def _add_groups(found: re.Match[str], record: Record) -> None:
    for name, value in zip(found.re.groupindex, found.groups(), strict=True):
        if value:
            if name == "src_ip" and _ADDRESS.fullmatch(value) is None:
                name = "src_host"
            elif name == "invalid":
                name, value = "invalid_user", True
            elif name == "user2":
                name = "user"
            record[name] = value


def _add_first(rows: tuple[tuple[str, re.Pattern[str]], ...], message: str, record: Record) -> bool:
    """Add what the first pattern finds that fits the whole message."""
    for action, pattern in rows:
        if found := pattern.fullmatch(message):
            if action:
                record["action"] = action
            _add_groups(found, record)
            return True
    return False


def _add_sshd(message: str, record: Record) -> None:
    if message.startswith(("error: ", "fatal: ")):
        message = message[7:]
    if message.startswith("input_userauth_request: ") and (found := _SSHD_INVALID.match(message)):
        record["action"] = "invalid_user"
        record["invalid_user"] = True
        record["user"] = found["user"].removesuffix(" [preauth]")
    elif rows := _SSHD.get(message.partition(" ")[0]):
        _add_first(rows, message, record)
    elif message.startswith("PAM "):
        _add_pam({}, message, record)


def _add_pam(head: dict[str, str | None], message: str, record: Record) -> None:
    for name, value in head.items():
        if value:
            record[name] = value
    if found := _PAM_SESSION.match(message):
        record["action"] = f"session_{found['state']}"
        record["user"] = found["user"]
        if found["by"]:
            record["by"] = found["by"]
    elif found := _PAM_CHANGED.match(message):
        record["action"] = "password_changed"
        record["user"] = found["user"]
    elif message.startswith("check pass; user unknown"):
        record["action"] = "authentication_failure"
        record["invalid_user"] = True
    elif "authentication failure" in message[:64]:
        record["action"] = "authentication_failure"
        for name, value in found_at_most(_PAIR, message, PAIRS_MAX):
            if value:
                record[name] = value
        peer = record.get("rhost")
        if isinstance(peer, str):
            record["src_ip" if _ADDRESS.fullmatch(peer) else "src_host"] = peer


def _add_sudo(message: str, record: Record) -> None:
    found = _SUDO.match(message)
    if found is None:
        return
    record["user"] = found["user"]
    rest = message[found.end() :]
    # COMMAND comes last and may hold anything, also “ ; USER=…”.
    head, mark, command = rest.partition("COMMAND=")
    if mark:
        record["COMMAND"] = command
    for part in head.split(" ; "):
        if field := _SUDO_FIELD.match(part):
            record[field[1]] = part[field.end() :].strip()
        elif part.strip():
            record["reason"] = part.strip()
    record["action"] = "sudo_failed" if "reason" in record else "sudo"


def _add_account(message: str, record: Record) -> None:
    for action, pattern in _ACCOUNT:
        if found := pattern.match(message):
            record["action"] = action
            pairs = found.groupdict().get("pairs")
            if pairs is None:
                _add_groups(found, record)
                return
            for name, value in found_at_most(_ACCOUNT_PAIR, pairs, PAIRS_MAX):
                record[name] = value
            if "name" in record:
                record["user" if action == "new_user" else "group"] = record["name"]
            return


def _add_kernel(message: str, record: Record) -> None:
    if uptime := _UPTIME.match(message):
        record["uptime"] = uptime["uptime"]
        message = message[uptime.end() :]
    found = _NETFILTER.search(message)
    if found is not None:
        if prefix := message[: found.start()].strip():
            record["log_prefix"] = prefix
        for name, value in found_at_most(_PAIR, message, PAIRS_MAX, found.start()):
            if value:
                record[name] = value


def _add_named(message: str, record: Record) -> None:
    start = message.find("client ")
    if 0 <= start <= 64 and (found := _NAMED.match(message, start)):
        record["action"] = "query"
        _add_groups(found, record)


def _add_pkexec(message: str, record: Record) -> None:
    user, colon, _ = message.partition(": ")
    fields = found_at_most(_BRACKETED, message, PAIRS_MAX)
    if colon and fields:
        record["user"] = user
        for name, value in fields:
            record[name] = value


def _add_login(message: str, record: Record) -> None:
    if found := _LOGIN.fullmatch(message):
        record["action"] = "failed"
        _add_groups(found, record)


def _add_postfix(message: str, record: Record) -> None:
    if queue := _POSTFIX_QUEUE.match(message):
        if queue["queue_id"] != "NOQUEUE":
            record["queue_id"] = queue["queue_id"]
        message = message[queue.end() :]
    if refused := _POSTFIX_REFUSED.match(message):
        _add_groups(refused, record)
        reason, mark, rest = message[refused.end() :].partition("; from=<")
        record["reason"] = reason
        if mark and (between := _POSTFIX_BETWEEN.fullmatch(rest)):
            _add_groups(between, record)
    else:
        _add_first(_POSTFIX, message, record)
    # What has no name in the name service.
    for name in ("src_host", "dst_host"):
        if record.get(name) == "unknown":
            del record[name]


def _first(rows: tuple[tuple[str, re.Pattern[str]], ...]) -> Callable[[str, Record], None]:
    def add(message: str, record: Record) -> None:
        _add_first(rows, message, record)

    return add


_CRON_ROWS = (("", _CRON),)
_PROGRAMS: dict[str, Callable[[str, Record], None]] = {
    "sshd": _add_sshd,
    "sshd-session": _add_sshd,
    "sshd-auth": _add_sshd,
    "sudo": _add_sudo,
    "su": _first(_SU),
    "cron": _first(_CRON_ROWS),
    "crond": _first(_CRON_ROWS),
    "crontab": _first(_CRON_ROWS),
    **dict.fromkeys(
        ("useradd", "usermod", "userdel", "groupadd", "groupdel", "gpasswd", "passwd", "adduser", "chpasswd"),
        _add_account,
    ),
    "kernel": _add_kernel,
    "named": _add_named,
    "dnsmasq": _first(_DNSMASQ),
    "ftpd": _first(_FTP),
    "vsftpd": _first(_FTP),
    "pkexec": _add_pkexec,
    "login": _add_login,
}
"""Reader of the messages of each program, by its name in lower case without its path."""

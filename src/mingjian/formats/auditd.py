r"""Records of the Linux audit system, as auditd, its syslog plug-in, the kernel and journald write them.

A record is one line; the records of one audit event share their ``serial``. Fields keep auditd's names and text, as
the rules for ``product: linux, service: auditd`` expect them:

- values lose their quotes, values that auditd encodes in hexadecimal are decoded (``proctitle`` with its NULs as
  spaces, several ``key``\ s as a list, ``a0`` … of EXECVE also when they were cut into ``a1[0]``, ``a1[1]``);
- what stands in ``msg='…'`` of user-space records is taken out of it, the outer fields win;
- enriched fields (``SYSCALL``, ``AUID`` … after the group separator) stay; where a SYSCALL record has none,
  ``SYSCALL`` is added from ``arch`` and ``syscall``, and ``laddr``, ``lport`` and ``saddr_fam`` from ``saddr``.

Added: ``epoch`` and ``serial`` out of ``audit(epoch:serial)``, ``time``, ``command_line`` (the arguments of EXECVE,
joined by spaces), ``_raw``.

Source: audit-userspace (record format, list of encoded fields); ``audit_log_n_hex`` of the kernel: upper-case digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache

from mingjian.errors import LimitExceeded, ParseError
from mingjian.formats.syscalls import syscall_name
from mingjian.formats.tables import first_lines, found_at_most, mostly, read_lines
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.values import Record, Value

FIELDS_MAX = 8192
"""A record with more fields than this is quarantined. Source: the kernel cuts a record at 8 KiB of text."""

_HEAD = re.compile(
    r"(?:node=(\S++) )?(?:type=(\S++) )?(?:msg=)?audit\(([0-9]{1,12}\.[0-9]{1,9}|[0-9]{1,12}):([0-9]{1,20})\)(?: ?: ?)?"
)
# A token starts after white space, a separator or a bracket, so every run of characters is walked over once; a quote
# that is not closed can only be the last one of its kind.
_PAIR = re.compile(r"""(?<![^\s\x1d(,])([\w.\[\]/-]++)=("[^"]*+"|'[^']*+'|[^\s\x1d]*+)""", re.ASCII)
# fmt: off
_ENCODED = frozenset({
    "path", "comm", "exe", "file", "name", "watch", "cwd", "cmd", "acct", "dir", "key", "vm", "old-chardev",
    "new-chardev", "old-disk", "new-disk", "old-fs", "new-fs", "old-net", "new-net", "device", "cgroup", "apparmor",
    "operation", "denied_mask", "info", "profile", "requested_mask", "old-rng", "new-rng", "ocomm", "proctitle",
    "data", "grp", "new_group", "invalid_context", "sw", "root_dir",
})
# fmt: on
_HEX = re.compile(r"(?:[0-9A-F]{2})+")
_ARGUMENT = re.compile(r"a([0-9]{1,5})(?:\[([0-9]{1,5})\])?")
# Record types that the kernel prints as numbers where auditd does not run.
_TYPES = {
    "1006": "LOGIN", "1100": "USER_AUTH", "1101": "USER_ACCT", "1102": "USER_MGMT", "1103": "CRED_ACQ",
    "1104": "CRED_DISP", "1105": "USER_START", "1106": "USER_END", "1108": "USER_CHAUTHTOK", "1109": "USER_ERR",
    "1110": "CRED_REFR", "1112": "USER_LOGIN", "1113": "USER_LOGOUT", "1114": "ADD_USER", "1115": "DEL_USER",
    "1116": "ADD_GROUP", "1117": "DEL_GROUP", "1123": "USER_CMD", "1124": "USER_TTY", "1130": "SERVICE_START",
    "1131": "SERVICE_STOP", "1300": "SYSCALL", "1302": "PATH", "1303": "IPC", "1304": "SOCKETCALL",
    "1305": "CONFIG_CHANGE", "1306": "SOCKADDR", "1307": "CWD", "1309": "EXECVE", "1319": "TTY", "1320": "EOE",
    "1321": "BPRM_FCAPS", "1325": "NETFILTER_CFG", "1326": "SECCOMP", "1327": "PROCTITLE", "1334": "BPF",
    "1400": "AVC", "1403": "MAC_POLICY_LOAD", "1404": "MAC_STATUS", "1700": "ANOM_PROMISCUOUS", "1701": "ANOM_ABEND",
}  # fmt: skip


def recognise(head: bytes, name: str) -> bool:
    """Whether most of the first lines are audit records without a syslog header."""
    return mostly([line for line in first_lines(head) if not line.startswith("----")], _HEAD.match)


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read an ``audit.log``. Lines that are no audit record are quarantined, separators of ausearch passed over."""
    return read_lines(piece, "auditd", _parse_line)


def _parse_line(line: str, modified_at_s: float | None) -> Record | None:
    if not line.strip() or line.startswith(("----", "time->")):
        return None
    record: Record = {"_raw": line}
    if not add_audit_fields(line, record):
        raise ParseError("not an audit record: no audit(epoch:serial)")
    return record


def add_audit_fields(text: str, record: Record, type_: str | None = None) -> bool:
    """Add the fields of an audit record to an event; False (and nothing added) if the text is none.

    ``type_`` is the record type where it stands outside the text (journald: ``audit[1]: SYSCALL arch=…``).
    """
    head = _HEAD.match(text)
    if head is None:
        if type_ is None:
            return False
        record["type"] = type_
        _add_pairs(text, 0, type_, record)
    else:
        node, written_type, epoch, serial = head.groups()
        type_ = _TYPES.get(written_type, written_type) if written_type else type_ or ""
        moment = _iso(epoch)
        if node:
            record["host"] = node
        record["type"] = type_
        record["epoch"] = record["timestamp"] = epoch
        record["serial"] = serial
        record["time"] = moment
        _add_pairs(text, head.end(), type_, record)
    if type_ == "EXECVE":
        _join_arguments(record)
    elif type_ == "SYSCALL" and "SYSCALL" not in record:
        name = syscall_name(str(record.get("arch", "")), str(record.get("syscall", "")))
        if name is not None:
            record["SYSCALL"] = name
    elif type_ == "SOCKADDR" and "laddr" not in record:
        _add_address(str(record.get("saddr", "")), record)
    return True


def _add_pairs(text: str, start: int, type_: str, record: Record) -> None:
    is_execve = type_ == "EXECVE"
    inner: str | None = None
    found = found_at_most(_PAIR, text, FIELDS_MAX + 1, start)
    if len(found) > FIELDS_MAX:
        raise LimitExceeded("FIELDS_MAX", FIELDS_MAX)
    for name, value in found:
        if value[:1] == '"':
            record[name] = value[1:-1] if len(value) > 1 and value[-1] == '"' else value
        elif value[:1] == "'" and name == "msg":
            inner = value[1:-1]
        elif (name in _ENCODED or (is_execve and _ARGUMENT.fullmatch(name))) and _HEX.fullmatch(value):
            record[name] = _decoded(name, value)
        else:
            record[name] = value
    if inner is not None:
        for name, value in found_at_most(_PAIR, inner, FIELDS_MAX):
            if name in record and name not in {"host", "time", "timestamp"}:
                continue
            plain = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value.rstrip(",)")
            is_hex = name in _ENCODED and value[:1] != '"' and _HEX.fullmatch(plain)
            record[name] = _decoded(name, plain) if is_hex else plain


def _decoded(name: str, value: str) -> Value:
    text = bytes.fromhex(value).decode("utf-8", "surrogateescape")
    if name == "proctitle":
        return text.rstrip("\0").replace("\0", " ")
    if name == "key" and "\x01" in text:
        return list[Value](text.split("\x01"))
    return text


def _join_arguments(record: Record) -> None:
    """Put cut arguments together again, and all of them into ``command_line``."""
    cut: dict[int, dict[int, str]] = {}
    for name in [name for name in record if name.endswith("]")]:
        found = _ARGUMENT.fullmatch(name)
        if found is not None:
            cut.setdefault(int(found[1]), {})[int(found[2])] = str(record.pop(name))
    for number, parts in cut.items():
        whole = "".join(parts[part] for part in sorted(parts))
        # The cuts fall between bytes, not characters.
        record[f"a{number}"] = whole.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    words: list[str] = []
    while (word := record.get(f"a{len(words)}")) is not None:
        words.append(str(word))
    if words:
        record["command_line"] = " ".join(words)


def _add_address(saddr: str, record: Record) -> None:
    """Read a socket address of a little-endian machine (the family is in host order)."""
    if len(saddr) < 16 or len(saddr) % 2 or _HEX.fullmatch(saddr) is None:
        return
    data = bytes.fromhex(saddr)
    if data[:2] == b"\x02\x00":
        family, address = "inet", ".".join(map(str, data[4:8]))
    elif data[:2] == b"\x0a\x00" and len(data) >= 24:
        groups = data[8:24].hex(":", 2)
        family, address = "inet6", groups
    else:
        return
    record["saddr_fam"] = family
    record["laddr"] = address
    record["lport"] = str(int.from_bytes(data[2:4], "big"))


def _iso(epoch: str) -> str:
    second, _, fraction = epoch.partition(".")
    return f"{_iso_second(int(second))}{'.' + fraction if fraction else ''}Z"


@lru_cache(maxsize=4096)
def _iso_second(second: int) -> str:
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        raise ParseError("time of the audit record is out of range") from None

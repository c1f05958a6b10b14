r"""Syslog as it lies in files and collectors: RFC 3164, RFC 5424, ISO timestamps (rsyslog), devices' own ways.

One line is one event. Fields of the envelope: ``timestamp`` (as written), ``time`` (ISO 8601, with a zone if one is
stated), ``host``, ``program``, ``pid``, ``message`` (what follows the tag), ``_raw`` (the line), ``facility`` and
``severity`` (numbers) with ``facility_name`` and ``severity_name`` where the line has a priority, ``msgid`` and
``sd.<id>.<parameter>`` (RFC 5424). A timestamp without a year gets the latest year in which the line is not younger
than its file plus one day; if the time of the file is not known, there is no ``time``.

What a message holds is taken apart too, its fields beside those of the envelope:

- audit records (``formats.auditd``), CEF and LEEF (``formats.cef``), Windows events as XML (Sysmon for Linux), a
  JSON object (also after ``@cee:``), access and error lines of a web server: the whole message is the record of its
  program, its fields win over those of the envelope, so that a source definition finds them under their own names;
- what well-known programs say (``formats.programs``);
- ``key=value`` pairs (``formats.keyvalue``): they win if the line has no tag (FortiGate and others send nothing else),
  else ``host``, ``time``, ``program`` … stay those of the envelope;
- network devices: ``mnemonic_facility``, ``mnemonic_severity``, ``mnemonic`` out of ``%SYS-5-CONFIG_I:`` (Cisco) and
  ``%%01SHELL/5/CMDRECORD(l):`` (Huawei, H3C), and the pairs behind it.

A payload that cannot be parsed leaves the event as it is: the text is in ``message``. A line without any header is
an event with ``message`` alone (the second line of a message that was broken in two), or quarantined if it is not
text.

Every pattern is anchored, and each of its repetitions is possessive or counted: linear in the length of the line.

Source: RFC 3164 sections 4.1 and 5, RFC 5424 section 6; rsyslog templates; Cisco IOS System Message Guide; Huawei and
H3C information centre references.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache, partial

from mingjian.errors import InputError, LimitExceeded, ParseError
from mingjian.formats import auditd, cef, keyvalue, weblog
from mingjian.formats.json import parse_record
from mingjian.formats.programs import add_program_fields
from mingjian.formats.tables import first_lines, mostly, read_lines
from mingjian.formats.text import is_text
from mingjian.formats.winxml import parse_event_xml
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.times import iso_with_year
from mingjian.model.values import Record, Value

SD_PARAMETERS_MAX = 1024
"""So many parameters of structured data are read; ``_raw`` has them all."""
JSON_CHARACTERS_MAX = 1024 * 1024
"""A longer JSON object in a message is left as text."""
MNEMONIC_WITHIN_CHARACTERS = 160
"""The mnemonic of a network device stands within this many characters of the message."""

FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "security", "console", "solaris-cron", *(f"local{number}" for number in range(8))),
)
"""Names of the facilities, by number. Source: RFC 5424 section 6.2.1 and syslog(3)."""
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
"""Names of the severities, by number."""

_PRIORITY = r"<([0-9]{1,3})>"
_CLOCK = r"[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
_BSD_TIME = (
    rf"[*.]?([A-Z][a-z]{{2}} [ 0-9]?[0-9] (?:[0-9]{{4}} )?{_CLOCK}(?:[.:][0-9]{{1,9}})?"
    r"(?: [0-9]{4})?(?: ?(?:Z|UTC|GMT|[+-][0-9]{2}:[0-9]{2}))?)"
)
_ISO_TIME = rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[T ]{_CLOCK}(?:[.,][0-9]{{1,9}})?(?:Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)"
_ELEMENT = r'\[[^\s="\]]++(?: ++[^\s="\]]++="(?:[^"\\]|\\.)*+")*+ *+\]'
_RFC5424 = re.compile(
    rf"{_PRIORITY}[1-9][0-9]? (?:-|{_ISO_TIME}) (\S++) (\S++) (\S++) (\S++) (?:-|((?:{_ELEMENT})++))(?: (.*))?",
    re.DOTALL,
)
_HEADER = re.compile(rf"(?:{_PRIORITY} ?)?(?:{_BSD_TIME}|{_ISO_TIME}):? (.*)", re.DOTALL)
_ONLY_PRIORITY = re.compile(rf"{_PRIORITY}(.*)", re.DOTALL)
_HOST = re.compile(r"([^\s\[\]{{}}=\"|<>]++)(?<!:) ++(.*)", re.DOTALL)
_TAG = re.compile(r"([\w./()@+-]{1,128}+)(?: [0-9][0-9.]{0,15}+)?(?:\[([^\]\s]{0,64}+)\])?: ?(.*)", re.DOTALL)
# The commonest form in one go; whatever it matches, the patterns above would read the same way.
_USUAL = re.compile(
    rf"(?:{_PRIORITY})?(?:([A-Z][a-z]{{2}} [ 0-9][0-9] {_CLOCK})|{_ISO_TIME}) ([\w.:-]*+)(?<!:) "
    r"([A-Za-z_/][\w./()@+-]{0,127}+)(?:\[([0-9]{1,10}+)\])?: (.*)",
    re.ASCII | re.DOTALL,
)
_SD_ELEMENT = re.compile(_ELEMENT)
_SD_PARAMETER = re.compile(r'([^\s="\]\[]++)="((?:[^"\\]|\\.)*+)"')
_SD_ESCAPE = re.compile(r'\\(["\\\]])')
_MNEMONIC = re.compile(
    r"%(?:%[0-9]{2})?(?P<facility>[A-Z][A-Z0-9_]{0,40}(?:-[A-Z][A-Z0-9_]{0,40}){0,3})[-/](?P<severity>[0-7])[-/]"
    r"(?P<mnemonic>[A-Z0-9_]{1,80})(?:\([a-z]{1,3}\))?(?:\[[0-9]{1,10}\])? ?[:;] ?"
)
_JOURNAL_AUDIT = re.compile(r"([A-Z][A-Z0-9_]{2,40}) (?=[a-z][\w-]{0,40}=)")
_AUDIT_PROGRAMS = frozenset({"audit", "auditd", "audispd", "audisp-syslog", "audisp-remote", "kernel", "type"})
_WEB_PROGRAMS = frozenset({"nginx", "httpd", "apache", "apache2", "squid"})
_WHOLE_STARTS = frozenset("{@<CL")
_WHOLE_PROGRAMS = _AUDIT_PROGRAMS | _WEB_PROGRAMS
_ENVELOPE = frozenset(
    {"_raw", "timestamp", "time", "host", "program", "pid", "message", "facility", "severity", "facility_name",
     "severity_name", "msgid"}
)  # fmt: skip


def recognise(head: bytes, name: str) -> bool:
    """Whether most of the first lines have a syslog header."""
    return mostly(first_lines(head), _has_header)


def _has_header(line: str) -> bool:
    if _RFC5424.match(line):
        return True
    header = _HEADER.match(line)
    if header is None:
        return _ONLY_PRIORITY.match(line) is not None
    # An ISO time also starts the lines of many other logs: there a host and a tag must follow.
    if header[1] is None and header[3] is not None:
        host = _HOST.match(header[4])
        return host is not None and _TAG.match(host[2]) is not None
    return True


def recognise_cef(head: bytes, name: str) -> bool:
    """Whether most of the first lines hold a CEF header."""
    return cef.recognise(head, name)


def recognise_leef(head: bytes, name: str) -> bool:
    """Whether most of the first lines hold a LEEF header."""
    return cef.recognise_leef(head, name)


def read(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read syslog lines."""
    return read_lines(piece, "syslog", parse_line)


def read_cef(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read CEF lines, bare or behind syslog headers; lines of plain syslog among them are read too."""
    return read_lines(piece, "cef", parse_line)


def read_leef(piece: Piece) -> Iterator[Block | Quarantined]:
    """Read LEEF lines, bare or behind syslog headers; lines of plain syslog among them are read too."""
    return read_lines(piece, "leef", parse_line)


def parse_line(line: str, modified_at_s: float | None) -> Record | None:
    """Read one line; None if there is nothing in it.

    Raises:
        ParseError: there is no header, and the line is not text.
    """
    record: Record = {"_raw": line}
    if (found := _USUAL.match(line)) and found[5] not in {"CEF", "LEEF"}:
        priority, bsd, iso, host, program, pid, message = found.groups()
        _add_times(priority, bsd, iso, modified_at_s, record)
        record["host"] = host
        record["program"] = program
        if pid:
            record["pid"] = pid
    elif line[:1] == "<" and (found := _RFC5424.match(line)):
        message = _add_rfc5424(found, record)
    elif found := _HEADER.match(line):
        priority, bsd, iso, rest = found.groups()
        _add_times(priority, bsd, iso, modified_at_s, record)
        message = _after_time(rest, record)
    elif line[:1] == "<" and (found := _ONLY_PRIORITY.match(line)):
        _add_priority(found[1], record)
        message = _after_tag(found[2], record)
    elif not line.strip():
        return None
    else:
        message = line
    record["message"] = message
    _add_payload(message, record)
    if len(record) == 2 and not is_text(line.encode("utf-8", "surrogateescape")):
        raise ParseError("no syslog header, and not text")
    return record


def _add_rfc5424(found: re.Match[str], record: Record) -> str:
    priority, stamp, host, program, pid, msgid, elements, message = found.groups()
    _add_priority(priority, record)
    if stamp:
        record["timestamp"] = record["time"] = stamp
    for name, text in (("host", host), ("program", program), ("pid", pid), ("msgid", msgid)):
        if text != "-":
            record[name] = text
    if elements:
        _add_structured_data(elements, record)
    return (message or "").removeprefix("\ufeff")


def _add_times(priority: str | None, bsd: str | None, iso: str | None, at_s: float | None, record: Record) -> None:
    """Add what stands before the host: a priority, and a timestamp in one of two forms."""
    if priority:
        _add_priority(priority, record)
    if iso:
        record["timestamp"] = iso
        record["time"] = iso.replace(" ", "T").replace(",", ".")
    elif bsd:
        _add_time(bsd, at_s, record)


def _add_priority(priority: str, record: Record) -> None:
    """Numbers and names of a priority. Source: RFC 5424 section 6.2.1: facility times 8 plus severity."""
    facility, severity = divmod(int(priority), 8)
    record["facility"] = facility
    record["severity"] = severity
    record["severity_name"] = SEVERITIES[severity]
    if facility < len(FACILITIES):
        record["facility_name"] = FACILITIES[facility]


def _add_time(stamp: str, modified_at_s: float | None, record: Record) -> None:
    record["timestamp"] = stamp
    moment: str | None = None
    if len(stamp) == 15 and (date := _date(stamp[:6], modified_at_s)):
        moment = f"{date}T{stamp[7:]}"
    else:
        moment = iso_with_year(stamp, modified_at_s)
    if moment is not None:
        record["time"] = moment


@lru_cache(maxsize=1024)
def _date(day: str, modified_at_s: float | None) -> str | None:
    """The date of a day without a year, if its first and its last second agree about the year."""
    first, last = (iso_with_year(f"{day} {clock}", modified_at_s) for clock in ("00:00:00", "23:59:59"))
    return first[:10] if first and last and first[:10] == last[:10] else None


def _after_time(rest: str, record: Record) -> str:
    """Read host and tag; give the message."""
    found = _HOST.match(rest)
    # “sshd[12]: …” and “%ASA-6-…” right after the time: no host was written.
    if found is None or found[1].startswith(("%", "CEF:", "LEEF:")):
        return _after_tag(rest, record)
    host, rest = found.groups()
    record["host"] = host
    return _after_tag(rest.removeprefix(": "), record)


def _after_tag(rest: str, record: Record) -> str:
    if rest.startswith(("CEF:", "LEEF:", "{", "<")):
        return rest
    found = _TAG.match(rest)
    # Cisco puts a counter or nothing before “: *Mar  1 …”; a bare number is no program.
    if found is None or found[1].isdigit():
        return rest
    program, pid, message = found.groups()
    record["program"] = program
    if pid:
        record["pid"] = pid
    return message


def _add_structured_data(elements: str, record: Record) -> None:
    count = 0
    for element in _SD_ELEMENT.finditer(elements):
        name, _, parameters = element[0][1:-1].partition(" ")
        for found in _SD_PARAMETER.finditer(parameters):
            if (count := count + 1) > SD_PARAMETERS_MAX:
                return
            parameter, value = found.groups()
            record[f"sd.{name}.{parameter}"] = _SD_ESCAPE.sub(r"\1", value) if "\\" in value else value


def _add_payload(message: str, record: Record) -> None:
    """Add the fields of what the message holds. A payload that is broken adds nothing."""
    program = record.get("program", "")
    assert isinstance(program, str)
    if message[:1] in _WHOLE_STARTS or not program or program in _WHOLE_PROGRAMS:
        whole = _whole_payload(message, program)
        if whole is not None:
            fields: Record = {}
            try:
                whole(fields)
            except InputError:
                return
            fields.pop("_raw", None)
            record.update(fields)
            return
    if program and add_program_fields(program, message, record):
        return
    if "=" in message:
        _add_pairs(message, not program, record)
    if "%" in message:
        _add_mnemonic(message, record)


def _whole_payload(message: str, program: str) -> Callable[[Record], object] | None:
    """What reads the message, if all of it is one record of its own."""
    start = message[:1]
    if start == "{" or (start == "@" and message.startswith("@cee:")):
        return partial(_add_json, message.removeprefix("@cee:").lstrip())
    if start == "<" and message.startswith("<Event"):
        return lambda fields: fields.update(parse_event_xml(message))
    if message.startswith(("CEF:", "LEEF:")):
        return partial(cef.add_fields, message) if cef.find(message[:16]) == 0 else None
    if (not program or program in _AUDIT_PROGRAMS) and ("audit" in message[:512] or program == "audit"):
        return _audit_payload(message)
    if program in _WEB_PROGRAMS:
        return lambda fields: weblog.add_access_fields(message, fields) or weblog.add_error_fields(message, fields)
    return None


def _audit_payload(message: str) -> Callable[[Record], object] | None:
    start = message.find("type=", 0, 256)
    node = message.find("node=", 0, 64)
    if start >= 0 and message.find("audit(", start, start + 128) >= 0:
        return partial(auditd.add_audit_fields, message[node if 0 <= node < start else start :])
    if found := _JOURNAL_AUDIT.match(message):
        type_, rest = found[1], message[found.end() :]
        return lambda fields: auditd.add_audit_fields(rest, fields, type_)
    return None


def _add_json(text: str, fields: Record) -> None:
    if len(text) > JSON_CHARACTERS_MAX:
        raise LimitExceeded("JSON_CHARACTERS_MAX", JSON_CHARACTERS_MAX)
    fields.update(parse_record(text.encode("utf-8", "surrogateescape")))


def _add_pairs(text: str, wins: bool, record: Record) -> None:
    fields: Record = {}
    try:
        keyvalue.add_pairs(text, fields)
    except InputError:
        return
    for name, value in fields.items():
        if wins or name not in _ENVELOPE:
            record[name] = value


def _add_mnemonic(message: str, record: Record) -> None:
    found = _MNEMONIC.search(message, 0, MNEMONIC_WITHIN_CHARACTERS)
    if found is None:
        return
    parts: dict[str, Value] = {
        "mnemonic_facility": found["facility"],
        "mnemonic_severity": found["severity"],
        "mnemonic": found["mnemonic"],
    }
    record.update(parts)
    rest = message[found.end() :]
    if "=" in rest:
        _add_pairs(rest.lstrip("-"), wins=False, record=record)

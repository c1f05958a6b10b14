"""Windows events as collectors forward them: Winlogbeat 8 and NXLog (im_msvistalog, to_json), one JSON object a line.

The fields of each event and their order are those of the provider's manifest. The message is the event's title and
its data, one pair a line, as Sysmon itself writes it; the paragraphs with which Windows explains Security events are
left out, as collectors commonly do to save space.

Source: Sysmon 15 manual, section Events; Windows security auditing, events 1102 to 5140 (Microsoft Learn);
Winlogbeat reference, exported fields; NXLog reference, im_msvistalog.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.sample.book import Lane
from mingjian.sample.chance import Chance, Whole, listed
from mingjian.sample.moments import MINUTE, both, iso_ms, many, plain
from mingjian.sample.templates import Filled, Plain, Template, hole, json_text, number_hole, template_of
from mingjian.sample.world import Host

TEMPLATES_MAX: Final = 20_000
"""So many rendered events with holes are kept; then all are forgotten. It only saves time."""
DELAY_US: Final = 400_000
"""A collector has an event about so much later."""

Shape: TypeAlias = Literal["winlogbeat", "nxlog"]


class Provider(msgspec.Struct, frozen=True):
    """Who writes a channel."""

    channel: str
    name: str
    guid: str


SYSMON = Provider(
    "Microsoft-Windows-Sysmon/Operational", "Microsoft-Windows-Sysmon", "{5770385f-c22a-43e0-bf4c-06f5698ffbd9}"
)
SECURITY = Provider("Security", "Microsoft-Windows-Security-Auditing", "{54849625-5478-4994-a5ba-3e3b0328c30d}")
_EVENTLOG = Provider("Security", "Microsoft-Windows-Eventlog", "{fc65ddd8-d6ef-4962-83d5-6e5cfe9ce148}")
POWERSHELL = Provider(
    "Microsoft-Windows-PowerShell/Operational", "Microsoft-Windows-PowerShell", "{a0c1853b-5c40-4b15-8766-3cf1c58f985a}"
)
_SERVICES = Provider("System", "Service Control Manager", "{555908d1-a6d7-4695-8e1e-26931d2012f4}")


class Event(msgspec.Struct, frozen=True):
    """One kind of event."""

    provider: Provider
    id: int
    version: int
    task: int
    category: str
    title: str
    fields: tuple[str, ...]
    outcome: Literal["", "success", "failure"] = ""
    """Of a Security event."""
    is_user_data: bool = False


def _fields(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_SUBJECT = "SubjectUserSid SubjectUserName SubjectDomainName SubjectLogonId"
_TARGET = "TargetUserSid TargetUserName TargetDomainName"
_PROCESS = "RuleName UtcTime ProcessGuid ProcessId Image"

EVENTS: Final[dict[str, Event]] = {
    "process": Event(
        SYSMON,
        1,
        5,
        1,
        "Process Create (rule: ProcessCreate)",
        "Process Create:",
        _fields(
            f"{_PROCESS} FileVersion Description Product Company OriginalFileName CommandLine CurrentDirectory User "
            "LogonGuid LogonId TerminalSessionId IntegrityLevel Hashes ParentProcessGuid ParentProcessId ParentImage "
            "ParentCommandLine ParentUser"
        ),
    ),
    "connection": Event(
        SYSMON,
        3,
        5,
        3,
        "Network connection detected (rule: NetworkConnect)",
        "Network connection detected:",
        _fields(
            f"{_PROCESS} User Protocol Initiated SourceIsIpv6 SourceIp SourceHostname SourcePort SourcePortName "
            "DestinationIsIpv6 DestinationIp DestinationHostname DestinationPort DestinationPortName"
        ),
    ),
    "ended": Event(
        SYSMON,
        5,
        3,
        5,
        "Process terminated (rule: ProcessTerminate)",
        "Process terminated:",
        _fields(f"{_PROCESS} User"),
    ),
    "access": Event(
        SYSMON,
        10,
        3,
        10,
        "Process accessed (rule: ProcessAccess)",
        "Process accessed:",
        _fields(
            "RuleName UtcTime SourceProcessGUID SourceProcessId SourceThreadId SourceImage TargetProcessGUID "
            "TargetProcessId TargetImage GrantedAccess CallTrace SourceUser TargetUser"
        ),
    ),
    "file": Event(
        SYSMON,
        11,
        2,
        11,
        "File created (rule: FileCreate)",
        "File created:",
        _fields(f"{_PROCESS} TargetFilename CreationUtcTime User"),
    ),
    "registry": Event(
        SYSMON,
        13,
        2,
        13,
        "Registry value set (rule: RegistryEvent)",
        "Registry value set:",
        _fields("RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject Details User"),
    ),
    "dns": Event(
        SYSMON,
        22,
        5,
        22,
        "Dns query (rule: DnsQuery)",
        "Dns query:",
        _fields("RuleName UtcTime ProcessGuid ProcessId QueryName QueryStatus QueryResults Image User"),
    ),
    "4624": Event(
        SECURITY,
        4624,
        2,
        12544,
        "Logon",
        "An account was successfully logged on.",
        _fields(
            f"{_SUBJECT} {_TARGET} TargetLogonId LogonType LogonProcessName AuthenticationPackageName WorkstationName "
            "LogonGuid TransmittedServices LmPackageName KeyLength ProcessId ProcessName IpAddress IpPort "
            "ImpersonationLevel RestrictedAdminMode TargetOutboundUserName TargetOutboundDomainName VirtualAccount "
            "TargetLinkedLogonId ElevatedToken"
        ),
        "success",
    ),
    "4625": Event(
        SECURITY,
        4625,
        0,
        12544,
        "Logon",
        "An account failed to log on.",
        _fields(
            f"{_SUBJECT} {_TARGET} Status FailureReason SubStatus LogonType LogonProcessName AuthenticationPackageName "
            "WorkstationName TransmittedServices LmPackageName KeyLength ProcessId ProcessName IpAddress IpPort"
        ),
        "failure",
    ),
    "4634": Event(
        SECURITY,
        4634,
        0,
        12545,
        "Logoff",
        "An account was logged off.",
        _fields(f"{_TARGET} TargetLogonId LogonType"),
        "success",
    ),
    "4672": Event(
        SECURITY,
        4672,
        0,
        12548,
        "Special Logon",
        "Special privileges assigned to new logon.",
        _fields(f"{_SUBJECT} PrivilegeList"),
        "success",
    ),
    "4688": Event(
        SECURITY,
        4688,
        2,
        13312,
        "Process Creation",
        "A new process has been created.",
        _fields(
            f"{_SUBJECT} NewProcessId NewProcessName TokenElevationType ProcessId CommandLine {_TARGET} TargetLogonId "
            "ParentProcessName MandatoryLabel"
        ),
        "success",
    ),
    "4698": Event(
        SECURITY,
        4698,
        1,
        12804,
        "Other Object Access Events",
        "A scheduled task was created.",
        _fields(
            f"{_SUBJECT} TaskName TaskContent ClientProcessStartKey ClientProcessId ParentProcessId "
            "RpcCallClientLocality FQDN"
        ),
        "success",
    ),
    "4720": Event(
        SECURITY,
        4720,
        0,
        13824,
        "User Account Management",
        "A user account was created.",
        _fields(
            f"TargetUserName TargetDomainName TargetSid {_SUBJECT} PrivilegeList SamAccountName DisplayName "
            "UserPrincipalName HomeDirectory HomePath ScriptPath ProfilePath UserWorkstations PasswordLastSet "
            "AccountExpires PrimaryGroupId AllowedToDelegateTo OldUacValue NewUacValue UserAccountControl "
            "UserParameters SidHistory LogonHours"
        ),
        "success",
    ),
    "4728": Event(
        SECURITY,
        4728,
        0,
        13826,
        "Security Group Management",
        "A member was added to a security-enabled global group.",
        _fields(f"MemberName MemberSid TargetUserName TargetDomainName TargetSid {_SUBJECT} PrivilegeList"),
        "success",
    ),
    "4768": Event(
        SECURITY,
        4768,
        0,
        14339,
        "Kerberos Authentication Service",
        "A Kerberos authentication ticket (TGT) was requested.",
        _fields(
            "TargetUserName TargetDomainName TargetSid ServiceName ServiceSid TicketOptions Status "
            "TicketEncryptionType PreAuthType IpAddress IpPort CertIssuerName CertSerialNumber CertThumbprint"
        ),
        "success",
    ),
    "4769": Event(
        SECURITY,
        4769,
        0,
        14337,
        "Kerberos Service Ticket Operations",
        "A Kerberos service ticket was requested.",
        _fields(
            "TargetUserName TargetDomainName ServiceName ServiceSid TicketOptions TicketEncryptionType IpAddress "
            "IpPort Status LogonGuid TransmittedServices"
        ),
        "success",
    ),
    "4771": Event(
        SECURITY,
        4771,
        0,
        14339,
        "Kerberos Authentication Service",
        "Kerberos pre-authentication failed.",
        _fields(
            "TargetUserName TargetSid ServiceName TicketOptions Status PreAuthType IpAddress IpPort CertIssuerName "
            "CertSerialNumber CertThumbprint"
        ),
        "failure",
    ),
    "5140": Event(
        SECURITY,
        5140,
        1,
        12808,
        "File Share",
        "A network share object was accessed.",
        _fields(f"{_SUBJECT} ObjectType IpAddress IpPort ShareName ShareLocalPath AccessMask AccessList"),
        "success",
    ),
    "1102": Event(
        _EVENTLOG, 1102, 1, 104, "Log clear", "The audit log was cleared.", _fields(_SUBJECT), "success", True
    ),
    "4103": Event(
        POWERSHELL, 4103, 1, 106, "Executing Pipeline", "Command invocation", _fields("ContextInfo UserData Payload")
    ),
    "4104": Event(
        POWERSHELL,
        4104,
        1,
        2,
        "Execute a Remote Command",
        "Creating Scriptblock text (1 of 1):",
        _fields("MessageNumber MessageTotal ScriptBlockText ScriptBlockId Path"),
    ),
    "7036": Event(_SERVICES, 7036, 0, 0, "", "A service changed its state.", _fields("param1 param2")),
    "7045": Event(
        _SERVICES,
        7045,
        0,
        0,
        "",
        "A service was installed in the system.",
        _fields("ServiceName ImagePath ServiceType StartType AccountName"),
    ),
}
"""Every kind of event there is here, by the names that this package uses."""

# The first values of every template; what an event adds comes behind them.
_ISO, _UTC, _LOCAL, _RECEIVED_ISO, _RECEIVED_LOCAL, _RECORD, _THREAD, _HOST, _HOST_SHORT = range(9)
EXTRA: Final = 9
"""The hole of the first value that the caller adds."""


def extra(place: int) -> str:
    """The hole of a value that the caller adds, counted from 0, for the constants of an event."""
    return hole(EXTRA + place)


Constants: TypeAlias = "dict[str, str]"
Key: TypeAlias = "tuple[str, ...]"


class WindowsLog:
    """The Windows events of one organisation on one day, all hosts in one file, as they arrive at the collector."""

    def __init__(
        self,
        lane: Lane,
        shape: Shape,
        chance: Chance,
        zone_us: int,
        day: int,
        collector: str,
        templates: dict[Key, Template],
    ) -> None:
        self._append = lane.append
        self._is_nxlog = shape == "nxlog"
        self.chance = chance
        self._zone_us = zone_us
        self._first_record = day % 4000 * 1_000_000
        self._collector = collector
        self._templates = templates
        self._records: dict[str, int] = {}

    def template(self, key: Key) -> Template | None:
        """A template made earlier, by its key: the kind of event, and all that the caller's constants hang on."""
        return self._templates.get(key)

    def make(self, key: Key, constants: Constants) -> Template:
        """Render an event of the kind ``key[0]`` with its constants, which may hold holes; other fields are ``-``."""
        if len(self._templates) >= TEMPLATES_MAX:
            self._templates.clear()
        shape: Shape = "nxlog" if self._is_nxlog else "winlogbeat"
        template = self._templates[key] = rendered(EVENTS[key[0]], constants, shape, self._collector)
        return template

    def write_many(
        self, times_us: Whole, delays_us: Whole, skews_us: Whole, hosts: Sequence[str], templates: Sequence[Template],
        values: Sequence[tuple[str, ...]],
    ) -> None:  # fmt: skip
        """Write many events of everyday life, whose hosts are not silent then; one entry of each list for each.

        The values begin with the thread, the full name of the host and its name in capitals.
        """
        written, received = times_us + skews_us, times_us + delays_us
        isos, utcs, received_isos = many(written, "iso_ms"), many(written, "sysmon"), many(received, "iso_ms")
        nothing = [""] * len(hosts)
        is_nxlog, zone_us = self._is_nxlog, self._zone_us
        locals_ = many(written + zone_us, "plain") if is_nxlog else nothing
        received_locals = many(received + zone_us, "plain") if is_nxlog else nothing
        records, first = self._records, self._first_record
        append = self._append
        for iso, utc, local, received_us, received_iso, received_local, host, template, more in zip(
            isos, utcs, locals_, listed(received), received_isos, received_locals, hosts, templates, values,
            strict=True,
        ):  # fmt: skip
            record = records[host] = records.get(host, first) + 1
            append((
                received_us, template.join((iso, utc, local, received_iso, received_local, str(record), *more)), 0
            ))  # fmt: skip

    def write(self, host: Host, template: Template, time_us: int, mark: int, *values: Filled) -> None:
        """Write an event. ``values`` fill the caller's holes and are JSON texts already (``json_inner``)."""
        if host.silent_from_us <= time_us < host.silent_until_us:
            return
        name = host.name
        records = self._records
        record = records[name] = records.get(name, self._first_record) + 1
        random = self.chance.random
        written_us = time_us + host.skew_us
        received_us = time_us + int(random() * DELAY_US)
        local = received_local = ""
        if self._is_nxlog:
            local, received_local = plain(written_us + self._zone_us), plain(received_us + self._zone_us)
        iso, utc = both(written_us)
        thread = int(random() * 2000) * 4 + 1000
        filled = (
            iso, utc, local, iso_ms(received_us), received_local, str(record), str(thread), host.fqdn, name.upper(),
            *map(str, values),
        )  # fmt: skip
        self._append((received_us, template.join(filled), mark))


def rendered(event: Event, constants: Constants, shape: Shape, collector: str) -> Template:
    """An event with its constants, which may hold holes; fields without one are ``-``."""
    given = {"UtcTime": hole(_UTC), "CreationUtcTime": hole(_UTC), "RuleName": "-"} | constants
    data = {name: given.get(name, "-") for name in event.fields}
    made = _nxlog(event, data, collector) if shape == "nxlog" else _winlogbeat(event, data)
    return template_of(json_text(made))


def _message(event: Event, data: Constants, line_end: str) -> str:
    if event.id == 4104:
        return f"{event.title}{line_end}{data['ScriptBlockText']}{line_end * 2}ScriptBlock ID: {data['ScriptBlockId']}"
    if event.id == 7036:
        return f"The {data['param1']} service entered the {data['param2']} state."
    if event.id == 4103:
        return f"{data['Payload']}{line_end * 2}Context:{line_end}{data['ContextInfo']}"
    return event.title + "".join([f"{line_end}{name}: {value}" for name, value in data.items()])


def _winlogbeat(event: Event, data: Constants) -> Plain:
    provider = event.provider
    inside: dict[str, Plain] = {
        "api": "wineventlog",
        "channel": provider.channel,
        "computer_name": hole(_HOST),
        "event_id": str(event.id),
        "opcode": "Info",
        "process": {"pid": 4 if event.outcome else 3120, "thread": {"id": number_hole(_THREAD)}},
        "provider_guid": provider.guid,
        "provider_name": provider.name,
        "record_id": number_hole(_RECORD),
        "task": event.category,
        "version": event.version,
    }
    if event.is_user_data:
        inside["user_data"] = {**data, "xml_name": "LogFileCleared"}
    else:
        inside["event_data"] = data
    if event.outcome:
        inside["keywords"] = [f"Audit {event.outcome.title()}"]
    elif provider in (SYSMON, POWERSHELL):
        inside["user"] = {"domain": "NT AUTHORITY", "identifier": "S-1-5-18", "name": "SYSTEM", "type": "User"}
    about: dict[str, Plain] = {
        "action": event.category,
        "code": str(event.id),
        "created": hole(_RECEIVED_ISO),
        "kind": "event",
        "provider": provider.name,
    }
    if event.outcome:
        about["outcome"] = event.outcome
    return {
        "@timestamp": hole(_ISO),
        "@metadata": {"beat": "winlogbeat", "type": "_doc", "version": "8.17.1"},
        "agent": {"name": hole(_HOST_SHORT), "type": "winlogbeat", "version": "8.17.1"},
        "ecs": {"version": "8.0.0"},
        "event": about,
        "host": {"name": hole(_HOST)},
        "log": {"level": "information"},
        "message": _message(event, data, "\n"),
        "winlog": inside,
    }


_NXLOG_KEYWORDS: Final = {
    "": -9223372036854775808, "success": -9214364837600034816, "failure": -9218868437227405312
}  # fmt: skip
_NXLOG_TYPES: Final = {"": "INFO", "success": "AUDIT_SUCCESS", "failure": "AUDIT_FAILURE"}


def _nxlog(event: Event, data: Constants, collector: str) -> Plain:
    provider = event.provider
    made: dict[str, Plain] = {
        "EventTime": hole(_LOCAL),
        "Hostname": hole(_HOST),
        "Keywords": _NXLOG_KEYWORDS[event.outcome],
        "EventType": _NXLOG_TYPES[event.outcome],
        "SeverityValue": 2,
        "Severity": "INFO",
        "EventID": event.id,
        "SourceName": provider.name,
        "ProviderGuid": provider.guid.upper(),
        "Version": event.version,
        "Task": event.task,
        "OpcodeValue": 0,
        "RecordNumber": number_hole(_RECORD),
        "ExecutionProcessID": 4 if event.outcome else 3120,
        "ThreadID": number_hole(_THREAD),
        "Channel": provider.channel,
        "Message": _message(event, data, "\r\n"),
        "Category": event.category,
        "Opcode": "Info",
    }
    if provider is POWERSHELL:
        made["ActivityID"] = "{5f1c6a20-8b1d-0000-9d2e-1c5f1d8bda01}"
    if provider in (SYSMON, POWERSHELL):
        made |= {"Domain": "NT AUTHORITY", "AccountName": "SYSTEM", "UserID": "S-1-5-18", "AccountType": "User"}
    # NXLog has one level: a field of the event that has the name of one of its own wins.
    made |= data
    return made | {
        "EventReceivedTime": hole(_RECEIVED_LOCAL),
        "SourceModuleName": "eventlog",
        "SourceModuleType": "im_msvistalog",
        "@timestamp": hole(_RECEIVED_ISO),
        "@version": "1",
        "host": collector,
        "port": 50111,
        "tags": ["windows"],
    }


assert DELAY_US < MINUTE

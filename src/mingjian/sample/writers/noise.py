"""Windows events that hosts write by the thousand about themselves: images loaded, handles, keys, filtered packets.

They are what most of a real log consists of where everything is recorded. Each kind has some dozens of variants, some
far more frequent than others; a variant is rendered once and only times, numbers, processes and peers are put in.

Source: Sysmon 15 manual, section Events; Windows security auditing, events 4656 to 5158 (Microsoft Learn).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

import msgspec

from mingjian.sample.chance import Chance
from mingjian.sample.programs import PROGRAMS, hashes
from mingjian.sample.templates import Template
from mingjian.sample.writers.windows import POWERSHELL, SECURITY, SYSMON, Constants, Event, Shape, extra, rendered

_SUBJECT = "SubjectUserSid SubjectUserName SubjectDomainName SubjectLogonId"
_OBJECT = "ObjectServer ObjectType ObjectName HandleId"


def _event(
    id_: int, version: int, task: int, category: str, title: str, fields: str, *, is_sysmon: bool = False
) -> Event:
    provider = SYSMON if is_sysmon else SECURITY
    return Event(provider, id_, version, task, category, title, tuple(fields.split()), "" if is_sysmon else "success")


_EVENTS: Final[dict[str, Event]] = {
    "image": _event(
        7, 3, 7, "Image loaded (rule: ImageLoad)", "Image loaded:",
        "RuleName UtcTime ProcessGuid ProcessId Image ImageLoaded FileVersion Description Product Company "
        "OriginalFileName Hashes Signed Signature SignatureStatus User", is_sysmon=True,
    ),
    "access": _event(
        10, 3, 10, "Process accessed (rule: ProcessAccess)", "Process accessed:",
        "RuleName UtcTime SourceProcessGUID SourceProcessId SourceThreadId SourceImage TargetProcessGUID "
        "TargetProcessId TargetImage GrantedAccess CallTrace SourceUser TargetUser", is_sysmon=True,
    ),
    "key": _event(
        12, 2, 12, "Registry object added or deleted (rule: RegistryEvent)", "Registry object added or deleted:",
        "RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject User", is_sysmon=True,
    ),
    "value": _event(
        13, 2, 13, "Registry value set (rule: RegistryEvent)", "Registry value set:",
        "RuleName EventType UtcTime ProcessGuid ProcessId Image TargetObject Details User", is_sysmon=True,
    ),
    "pipe": _event(
        18, 1, 18, "Pipe Connected (rule: PipeEvent)", "Pipe Connected:",
        "RuleName EventType UtcTime ProcessGuid ProcessId PipeName Image User", is_sysmon=True,
    ),
    "handle": _event(
        4656, 1, 12801, "Registry", "A handle to an object was requested.",
        f"{_SUBJECT} {_OBJECT} TransactionId AccessList AccessReason AccessMask PrivilegeList RestrictedSidCount "
        "ProcessId ProcessName ResourceAttributes",
    ),
    "closed": _event(
        4658, 0, 12801, "Registry", "The handle to an object was closed.",
        f"{_SUBJECT} ObjectServer HandleId ProcessId ProcessName",
    ),
    "object": _event(
        4663, 1, 12801, "Registry", "An attempt was made to access an object.",
        f"{_SUBJECT} {_OBJECT} AccessList AccessMask ProcessId ProcessName ResourceAttributes",
    ),
    "duplicate": _event(
        4690, 0, 12807, "Handle Manipulation", "An attempt was made to duplicate a handle to an object.",
        f"{_SUBJECT} SourceHandleId SourceProcessId TargetHandleId TargetProcessId",
    ),
    "token": _event(
        4703, 0, 13317, "Token Right Adjusted Events", "A token right was adjusted.",
        f"{_SUBJECT} TargetUserSid TargetUserName TargetDomainName TargetLogonId ProcessName ProcessId "
        "EnabledPrivilegeList DisabledPrivilegeList",
    ),
    "exit": _event(
        4689, 0, 13313, "Process Termination", "A process has exited.", f"{_SUBJECT} Status ProcessId ProcessName"
    ),
    "packet": _event(
        5156, 1, 12810, "Filtering Platform Connection", "The Windows Filtering Platform has permitted a connection.",
        "ProcessID Application Direction SourceAddress SourcePort DestAddress DestPort Protocol FilterRTID LayerName "
        "LayerRTID RemoteUserID RemoteMachineID",
    ),
    "bind": _event(
        5158, 0, 12810, "Filtering Platform Connection",
        "The Windows Filtering Platform has permitted a bind to a local port.",
        "ProcessId Application SourceAddress SourcePort Protocol FilterRTID LayerName LayerRTID",
    ),
    "pipeline": Event(
        POWERSHELL, 4103, 1, 106, "Executing Pipeline", "Command invocation", ("ContextInfo", "UserData", "Payload")
    ),
}  # fmt: skip

_WEIGHTS: Final = {
    "access": 33, "image": 17, "key": 15, "value": 9, "pipe": 1, "handle": 4, "closed": 5, "object": 3, "duplicate": 3,
    "token": 2, "exit": 1, "packet": 4, "bind": 3, "pipeline": 9,
}  # fmt: skip
"""How often each kind comes, about as in the recordings of real hosts that everything was recorded of."""

RUNNING: Final = (
    *("svchost", "services", "lsass", "defender", "explorer", "search", "runtime", "taskhost", "backgroundtask"),
    *("winlogon", "edgeupdate", "conhost"),
)
"""The programs that these events are about; every host has a process of each."""

_LIBRARIES: Final = (
    *("ntdll", "kernel32", "KernelBase", "msvcrt", "sechost", "rpcrt4", "combase", "ucrtbase", "bcryptPrimitives"),
    *("clbcatq", "user32", "win32u", "gdi32", "gdi32full", "msvcp_win", "imm32", "advapi32", "ole32", "oleaut32"),
    *("shell32", "shlwapi", "SHCore", "cfgmgr32", "bcrypt", "crypt32", "cryptsp", "rsaenh", "cryptbase", "profapi"),
    *("powrprof", "umpdc", "kernel.appcore", "ws2_32", "mswsock", "dnsapi", "IPHLPAPI", "nsi", "winnsi", "dhcpcsvc"),
    *("wininet", "winhttp", "urlmon", "iertutil", "propsys", "edputil", "wintrust", "msasn1", "userenv", "netutils"),
    *("srvcli", "wkscli", "samcli", "netapi32", "secur32", "sspicli", "wldp", "amsi", "taskschd", "xmllite"),
    *("version", "dbghelp", "perfos", "pdh", "wbemprox", "wbemcomn", "wbemsvc", "fastprox", "gpapi", "ntmarta"),
)
_KEYS: Final = (
    "HKLM\\System\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces",
    "HKLM\\System\\CurrentControlSet\\Services\\W32Time\\Config",
    "HKLM\\System\\CurrentControlSet\\Services\\bam\\State\\UserSettings",
    "HKLM\\System\\CurrentControlSet\\Control\\Lsa",
    "HKLM\\System\\CurrentControlSet\\Control\\SecurityProviders",
    "HKLM\\System\\CurrentControlSet\\Enum\\SWD\\PRINTENUM",
    "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Schedule\\TaskCache\\Tasks",
    "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Diagnostics\\DiagTrack",
    "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\WindowsUpdate\\Auto Update",
    "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Group Policy\\State\\Machine",
    "HKLM\\SOFTWARE\\Microsoft\\SystemCertificates\\AuthRoot\\AutoUpdate",
    "HKLM\\SOFTWARE\\Microsoft\\Windows Defender\\Scan",
    "HKLM\\SOFTWARE\\Microsoft\\Windows Search\\Gather\\Windows\\SystemIndex",
    "HKLM\\SOFTWARE\\Policies\\Microsoft\\Windows\\System",
    "HKLM\\SAM\\SAM\\Domains\\Account",
)
_LEAVES: Final = ("Start", "LastRun", "Sequence", "Type", "Flags", "DhcpLease", "Counter", "Version", "Last Updated")
_PIPES: Final = ("\\srvsvc", "\\wkssvc", "\\lsass", "\\ntsvcs", "\\spoolss", "\\eventlog", "\\samr", "\\W32TIME_ALT")
_PORTS: Final = ((53, 17), (389, 6), (445, 6), (88, 6), (135, 6), (123, 17), (443, 6), (5985, 6), (3268, 6), (8530, 6))
_COMMANDS: Final = (
    *("Get-CimInstance", "Where-Object", "Select-Object", "ForEach-Object", "Get-ItemProperty", "ConvertTo-Json"),
    *("New-Object", "Add-Member", "Get-Service", "Get-NetAdapter", "Measure-Object", "Out-Null"),
)
_VARIANTS: Final = 36
"""So many of each kind: the first is by far the most frequent."""

# What fills the holes of a variant, in this order (see ``Filling`` in ``activity.hum``).
PID, GUID, HEX_PID, OTHER_PID, OTHER_GUID, HANDLE, OTHER_HANDLE, NUMBER, PORT, PEER, OWN, MACHINE, DOMAIN, COLLECTOR = (
    extra(place) for place in range(14)
)


class Variant(msgspec.Struct, frozen=True):
    """A kind of noise with its constants filled in."""

    weight: int
    running: int
    """The process it is about, a place in ``RUNNING``."""
    other: int
    template: Template


_SYSTEM: Final = {
    "SubjectUserSid": "S-1-5-18", "SubjectUserName": MACHINE, "SubjectDomainName": DOMAIN, "SubjectLogonId": "0x3e7",
    "ObjectServer": "Security", "HandleId": HANDLE, "ResourceAttributes": "-", "ProcessId": HEX_PID,
}  # fmt: skip


def _frames(chance: Chance) -> str:
    """A stack: a few to a few dozen libraries with offsets."""
    names = ["ntdll", *(chance.pick(_LIBRARIES) for _ in range(3 + chance.below(20)))]
    return "|".join([f"C:\\Windows\\System32\\{name}.dll+{chance.bits(18):x}" for name in names])


def _registry(key: str) -> str:
    path = key.replace("HKLM\\System", "SYSTEM").replace("HKLM\\", "")
    return f"\\REGISTRY\\MACHINE\\{path.replace('CurrentControlSet', 'ControlSet001')}"


def _constants(kind: str, chance: Chance, image: str, other: str) -> Constants:
    about = {"ProcessGuid": GUID, "ProcessId": PID, "Image": image, "User": "NT AUTHORITY\\SYSTEM"}
    key = chance.pick(_KEYS)
    if kind == "image":
        name = chance.pick(_LIBRARIES)
        path = f"C:\\Windows\\System32\\{name}.dll"
        return about | {
            "ImageLoaded": path, "FileVersion": "10.0.22621.1 (WinBuild.160101.0800)", "Description": f"{name} library",
            "Product": "Microsoft® Windows® Operating System", "Company": "Microsoft Corporation",
            "OriginalFileName": f"{name}.dll", "Hashes": hashes(path, "10.0"), "Signed": "true",
            "Signature": "Microsoft Windows", "SignatureStatus": "Valid",
        }  # fmt: skip
    if kind == "access":
        granted = chance.pick(("0x1000", "0x1000", "0x1400", "0x101000", "0x2000", "0x3200"))
        return {
            "SourceProcessGUID": GUID, "SourceProcessId": PID, "SourceThreadId": NUMBER, "SourceImage": image,
            "TargetProcessGUID": OTHER_GUID, "TargetProcessId": OTHER_PID, "TargetImage": other,
            "GrantedAccess": granted, "CallTrace": _frames(chance), "SourceUser": "NT AUTHORITY\\SYSTEM",
            "TargetUser": "NT AUTHORITY\\SYSTEM",
        }  # fmt: skip
    if kind == "key":
        action = chance.pick(("CreateKey", "CreateKey", "DeleteValue", "DeleteKey"))
        return about | {"EventType": action, "TargetObject": f"{key}\\{chance.pick(_LEAVES)}"}
    if kind == "value":
        details = chance.pick(
            ("DWORD (0x00000001)", "Binary Data", "QWORD (0x01dc1f00-0x8a23bc10)", f"DWORD ({NUMBER})")
        )
        return about | {
            "EventType": "SetValue", "TargetObject": f"{key}\\{chance.pick(_LEAVES)}", "Details": details
        }  # fmt: skip
    if kind == "pipe":
        return about | {"EventType": "ConnectPipe", "PipeName": chance.pick(_PIPES)}
    if kind in ("packet", "bind"):
        return _packet(kind, chance, image)
    if kind == "pipeline":
        return _pipeline(chance)
    access = chance.pick((("%%4432\r\n\t\t\t\t", "0x1"), ("%%1537\r\n\t\t\t\t%%4432\r\n\t\t\t\t", "0x20019")))
    return _SYSTEM | {
        "ProcessName": image, "ObjectType": "Key", "ObjectName": _registry(key), "AccessList": access[0],
        "AccessMask": access[1], "TransactionId": "{00000000-0000-0000-0000-000000000000}",
        "RestrictedSidCount": "0", "SourceHandleId": HANDLE, "SourceProcessId": HEX_PID,
        "TargetHandleId": OTHER_HANDLE, "TargetProcessId": "0x4", "TargetUserSid": "S-1-0-0",
        "TargetUserName": MACHINE, "TargetDomainName": DOMAIN, "TargetLogonId": "0x3e7", "Status": "0x0",
        "EnabledPrivilegeList": "SeAssignPrimaryTokenPrivilege\r\n\t\t\tSeIncreaseQuotaPrivilege",
    }  # fmt: skip


def _pipeline(chance: Chance) -> Constants:
    """An agent that takes stock with PowerShell: long lists of parameters, again and again the same."""
    command = chance.pick(_COMMANDS)
    objects = [f"MSFT_{chance.pick(_LEAVES).replace(' ', '')}{place} (InstanceID = {place})" for place in range(4)]
    payload = [f'CommandInvocation({command}): "{command}"']
    for name in ("Namespace", "ClassName", "InputObject", "Property", "ErrorAction", "FilterScript")[
        : 2 + chance.below(5)
    ]:
        payload.append(f'ParameterBinding({command}): name="{name}"; value="{", ".join(objects)}"')
    context = (
        "        Severity = Informational\r\n        Host Name = Default Host\r\n        Host Version = 5.1.22621.1\r\n"
        "        Host ID = 3c1f9e52-6f0b-4c0b-9a57-1d1b8f6f2a01\r\n        Host Application = "
        "C:\\ProgramData\\Inventory\\agent.exe -take-stock\r\n        Engine Version = 5.1.22621.1\r\n"
        "        Runspace ID = 8b7f3c1d-0d5e-4a27-b9de-6f27c1a4d202\r\n        Pipeline ID = 1\r\n"
        "        Command Name = "
        f"{command}\r\n        Command Type = Cmdlet\r\n        Script Name = C:\\ProgramData\\Inventory\\stock.ps1\r\n"
        f"        Command Path = \r\n        Sequence Number = {NUMBER}\r\n        User = NT AUTHORITY\\SYSTEM\r\n"
        "        Connected User = \r\n        Shell ID = Microsoft.PowerShell\r\n"
    )
    return {"ContextInfo": context, "UserData": "", "Payload": "\r\n".join(payload) + "\r\n"}


def _packet(kind: str, chance: Chance, image: str) -> Constants:
    port, protocol = chance.pick(_PORTS)
    path = "\\device\\harddiskvolume4\\" + image.partition("\\")[2].lower()
    return {
        "ProcessID": PID, "ProcessId": PID, "Application": path, "Direction": "%%14593",
        "SourceAddress": OWN if kind == "packet" else "0.0.0.0",  # noqa: S104 - as Windows writes it; nothing is bound
        "SourcePort": PORT, "DestAddress": PEER, "DestPort": str(port), "Protocol": str(protocol),
        "FilterRTID": "67845" if kind == "packet" else "0", "LayerName": "%%14611" if kind == "packet" else "%%14608",
        "LayerRTID": "48" if kind == "packet" else "36", "RemoteUserID": "S-1-0-0", "RemoteMachineID": "S-1-0-0",
    }  # fmt: skip


@cache
def variants(shape: Shape, *, has_sysmon: bool) -> tuple[Variant, ...]:
    """All noise of one collector, the same in every organisation."""
    return tuple(_variants(shape, has_sysmon))


def _variants(shape: Shape, has_sysmon: bool) -> Iterator[Variant]:
    for kind, weight in _WEIGHTS.items():
        event = _EVENTS[kind]
        if event.provider is SYSMON and not has_sysmon:
            continue
        for rank in range(_VARIANTS):
            chance = Chance("noise", kind, rank)
            running, other = chance.below(len(RUNNING)), chance.below(len(RUNNING))
            image, target = PROGRAMS[RUNNING[running]].image, PROGRAMS[RUNNING[other]].image
            constants = _constants(kind, chance, image, target)
            template = rendered(event, constants, shape, COLLECTOR)
            yield Variant(weight * 2520 // (rank + 1), running, other, template)

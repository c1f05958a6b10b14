"""What happens on Windows hosts: processes, files, registry values, logons, services, scripts."""

from __future__ import annotations

from typing import Final

from mingjian.sample.programs import PROGRAMS, Program, hashes
from mingjian.sample.scene import Process, Scene, Session
from mingjian.sample.templates import json_inner
from mingjian.sample.world import Host
from mingjian.sample.writers.windows import extra

_PRIVILEGES: Final = (
    "SeSecurityPrivilege\r\n\t\t\tSeTakeOwnershipPrivilege\r\n\t\t\tSeLoadDriverPrivilege\r\n\t\t\tSeBackupPrivilege\r\n"
    "\t\t\tSeRestorePrivilege\r\n\t\t\tSeDebugPrivilege\r\n\t\t\tSeSystemEnvironmentPrivilege\r\n\t\t\tSeImpersonatePrivilege"
)
_LABELS: Final = {"System": "S-1-16-16384", "High": "S-1-16-12288", "Medium": "S-1-16-8192"}
_NOBODY: Final = {"SubjectUserSid": "S-1-0-0", "SubjectLogonId": "0x0"}


def _subject(session: Session) -> dict[str, str]:
    return {
        "SubjectUserSid": session.sid,
        "SubjectUserName": session.login,
        "SubjectDomainName": session.domain,
        "SubjectLogonId": extra(0),
    }


def image_of(program: Program, login: str) -> str:
    """The path of a program, in the folder of the person if it lies there."""
    return program.image.replace("{login}", login)


def service(scene: Scene, host: Host, name: str = "services") -> Process:
    """A process of the system that runs all the time: ``services``, ``svchost``, ``lsass``, ``defender``."""
    found = scene.services.get(f"{host.name}/{name}")
    if found is None:
        image = PROGRAMS[name].image
        command = image if name != "svchost" else f"{image} -k netsvcs -p -s Schedule"
        found = Process(scene.chance.between(500, 4000), scene.guid(host), image, command, "NT AUTHORITY\\SYSTEM")
        scene.services[f"{host.name}/{name}"] = found
    return found


def start(
    scene: Scene, time_us: int, host: Host, session: Session, parent: Process, program: Program, command: str,
    mark: int = 0, *, folder: str = "C:\\Windows\\System32\\",
) -> Process:  # fmt: skip
    """A process is started: Sysmon 1, or 4688 where there is no Sysmon."""
    chance, windows = scene.chance, scene.windows
    pid, guid = chance.between(1200, 16000) * 4 % 30000 + 1000, scene.guid(host)
    image = image_of(program, session.login)
    kind = "process" if scene.has_sysmon else "4688"
    key = (kind, host.name, session.user, image, command, parent.command, parent.user)
    template = windows.template(key)
    if kind == "process":
        if template is None:
            template = windows.make(
                key,
                host,
                {
                    "ProcessGuid": extra(1),
                    "ProcessId": extra(0),
                    "Image": image,
                    "FileVersion": program.version,
                    "Description": program.description,
                    "Product": program.product,
                    "Company": program.company,
                    "OriginalFileName": program.original,
                    "CommandLine": command,
                    "CurrentDirectory": folder,
                    "User": session.user,
                    "LogonGuid": extra(5),
                    "LogonId": extra(4),
                    "TerminalSessionId": "0" if session.integrity == "System" else "1",
                    "IntegrityLevel": session.integrity,
                    "Hashes": hashes(image, program.version),
                    "ParentProcessGuid": extra(3),
                    "ParentProcessId": extra(2),
                    "ParentImage": parent.image,
                    "ParentCommandLine": parent.command,
                    "ParentUser": parent.user,
                },
            )
        windows.write(
            host, template, time_us, mark, pid, guid, parent.pid, parent.guid, session.logon_id, session.logon_guid
        )
    else:
        if template is None:
            template = windows.make(
                key,
                host,
                _subject(session)
                | {
                    "NewProcessId": extra(1),
                    "NewProcessName": image,
                    "TokenElevationType": "%%1938" if session.integrity == "Medium" else "%%1936",
                    "ProcessId": extra(2),
                    "CommandLine": command,
                    "TargetUserSid": "S-1-0-0",
                    "TargetLogonId": "0x0",
                    "ParentProcessName": parent.image,
                    "MandatoryLabel": _LABELS[session.integrity],
                },
            )
        windows.write(host, template, time_us, mark, session.logon_id, hex(pid), hex(parent.pid))
    return Process(pid, guid, image, command, session.user)


def end(scene: Scene, time_us: int, host: Host, process: Process, mark: int = 0) -> None:
    """A process ends: Sysmon 5."""
    if scene.has_sysmon:
        _about(scene, "ended", time_us, host, process, mark)


def wrote(scene: Scene, time_us: int, host: Host, process: Process, path: str, mark: int = 0) -> None:
    """A file is created: Sysmon 11."""
    if scene.has_sysmon:
        _about(scene, "file", time_us, host, process, mark, TargetFilename=path)


def set_value(
    scene: Scene, time_us: int, host: Host, process: Process, key: str, details: str, mark: int = 0
) -> None:
    """A registry value is set: Sysmon 13."""
    if scene.has_sysmon:
        _about(scene, "registry", time_us, host, process, mark, EventType="SetValue", TargetObject=key, Details=details)


def asked(
    scene: Scene, time_us: int, host: Host, process: Process, name: str, answer: str, mark: int = 0
) -> None:
    """A name is looked up: Sysmon 22."""
    if scene.has_sysmon:
        results, status = (f"::ffff:{answer};", "0") if answer else ("-", "9003")
        _about(
            scene, "dns", time_us, host, process, mark, QueryName=name, QueryStatus=status, QueryResults=results
        )


def _about(scene: Scene, kind: str, time_us: int, host: Host, process: Process, mark: int, **constants: str) -> None:
    windows = scene.windows
    key = (kind, host.name, process.image, process.user, *constants.values())
    template = windows.template(key)
    if template is None:
        given = {"ProcessGuid": extra(1), "ProcessId": extra(0), "Image": process.image, "User": process.user}
        template = windows.make(key, host, given | constants)
    windows.write(host, template, time_us, mark, process.pid, process.guid)


def connected(
    scene: Scene, time_us: int, host: Host, process: Process, source_port: int, target: str, target_port: int, name: str,
    mark: int = 0,
) -> None:  # fmt: skip
    """A process opens a connection: Sysmon 3."""
    if not scene.has_sysmon:
        return
    windows = scene.windows
    key = ("connection", host.name, process.image, process.user, target, str(target_port), name)
    template = windows.template(key)
    if template is None:
        template = windows.make(
            key,
            host,
            {
                "ProcessGuid": extra(1),
                "ProcessId": extra(0),
                "Image": process.image,
                "User": process.user,
                "Protocol": "tcp",
                "Initiated": "true",
                "SourceIsIpv6": "false",
                "SourceIp": host.address,
                "SourceHostname": host.fqdn,
                "SourcePort": extra(2),
                "DestinationIsIpv6": "false",
                "DestinationIp": target,
                "DestinationHostname": name or "-",
                "DestinationPort": str(target_port),
                "DestinationPortName": {443: "https", 80: "http", 445: "microsoft-ds"}.get(target_port, "-"),
            },
        )
    windows.write(host, template, time_us, mark, process.pid, process.guid, source_port)


def opened_process(
    scene: Scene, time_us: int, host: Host, source: Process, target: Process, granted: str, trace: str, mark: int = 0
) -> None:
    """A process opens another one: Sysmon 10."""
    if not scene.has_sysmon:
        return
    windows = scene.windows
    key = ("access", host.name, source.image, source.user, target.image, granted, trace)
    template = windows.template(key)
    if template is None:
        template = windows.make(
            key,
            host,
            {
                "SourceProcessGUID": extra(1),
                "SourceProcessId": extra(0),
                "SourceThreadId": extra(4),
                "SourceImage": source.image,
                "TargetProcessGUID": extra(3),
                "TargetProcessId": extra(2),
                "TargetImage": target.image,
                "GrantedAccess": granted,
                "CallTrace": trace,
                "SourceUser": source.user,
                "TargetUser": target.user,
            },
        )
    thread = scene.chance.between(250, 3000) * 4
    windows.write(host, template, time_us, mark, source.pid, source.guid, target.pid, target.guid, thread)


def logged_on(
    scene: Scene, time_us: int, host: Host, session: Session, kind: int, mark: int = 0, *, source: str = "-",
    workstation: str = "-",
) -> None:  # fmt: skip
    """Somebody logs on: 4624, and 4672 with high rights."""
    windows = scene.windows
    key = ("4624", host.name, session.user, str(kind), source, workstation, session.integrity)
    template = windows.template(key)
    if template is None:
        package = {2: ("User32 ", "Negotiate"), 3: ("Kerberos", "Kerberos"), 5: ("Advapi  ", "Negotiate")}
        process, authentication = package.get(kind, ("User32 ", "Negotiate"))
        template = windows.make(
            key,
            host,
            (_NOBODY if kind == 3 else {"SubjectUserSid": "S-1-5-18", "SubjectUserName": f"{host.name.upper()}$",
                                        "SubjectDomainName": scene.organisation.netbios, "SubjectLogonId": "0x3e7"})
            | {
                "TargetUserSid": session.sid,
                "TargetUserName": session.login,
                "TargetDomainName": session.domain,
                "TargetLogonId": extra(0),
                "LogonType": str(kind),
                "LogonProcessName": process,
                "AuthenticationPackageName": authentication,
                "WorkstationName": workstation,
                "LogonGuid": extra(1),
                "KeyLength": "0",
                "ProcessId": "0x0" if kind == 3 else extra(3),
                "ProcessName": "-" if kind == 3 else "C:\\Windows\\System32\\svchost.exe" if kind == 2
                else "C:\\Windows\\System32\\services.exe",
                "IpAddress": source,
                "IpPort": extra(2) if kind == 3 else "0",
                "ImpersonationLevel": "%%1833",
                "VirtualAccount": "%%1843",
                "TargetLinkedLogonId": "0x0",
                "ElevatedToken": "%%1843" if session.integrity == "Medium" else "%%1842",
            },
        )  # fmt: skip
    port, process_id = scene.chance.between(49152, 65535), hex(scene.chance.between(200, 900) * 4)
    windows.write(host, template, time_us, mark, session.logon_id, session.logon_guid, port, process_id)
    if session.integrity != "Medium":
        key = ("4672", host.name, session.user)
        template = windows.template(key)
        if template is None:
            template = windows.make(key, host, _subject(session) | {"PrivilegeList": _PRIVILEGES})
        windows.write(host, template, time_us + 800, mark, session.logon_id)


def logged_off(scene: Scene, time_us: int, host: Host, session: Session, kind: int, mark: int = 0) -> None:
    """A session ends: 4634."""
    windows = scene.windows
    key = ("4634", host.name, session.user, str(kind))
    template = windows.template(key)
    if template is None:
        constants = {
            "TargetUserSid": session.sid,
            "TargetUserName": session.login,
            "TargetDomainName": session.domain,
            "TargetLogonId": extra(0),
            "LogonType": str(kind),
        }
        template = windows.make(key, host, constants)
    windows.write(host, template, time_us, mark, session.logon_id)


def failed_logon(
    scene: Scene, time_us: int, host: Host, login: str, kind: int, source: str, mark: int = 0, *, is_known: bool = True
) -> None:
    """Somebody does not get in: 4625."""
    windows = scene.windows
    key = ("4625", host.name, login, str(kind), source)
    template = windows.template(key)
    if template is None:
        template = windows.make(
            key,
            host,
            _NOBODY
            | {
                "TargetUserSid": "S-1-0-0",
                "TargetUserName": login,
                "TargetDomainName": scene.organisation.netbios,
                "Status": "0xc000006d",
                "FailureReason": "%%2313",
                "SubStatus": "0xc000006a" if is_known else "0xc0000064",
                "LogonType": str(kind),
                "LogonProcessName": "NtLmSsp " if kind == 3 else "User32 ",
                "AuthenticationPackageName": "NTLM" if kind == 3 else "Negotiate",
                "KeyLength": "0",
                "ProcessId": "0x0",
                "IpAddress": source,
                "IpPort": extra(0),
            },
        )
    windows.write(host, template, time_us, mark, scene.chance.between(49152, 65535))


def ticket(
    scene: Scene, time_us: int, login: str, sid: str, source: str, mark: int = 0, *, for_host: Host | None = None,
    is_refused: bool = False,
) -> None:  # fmt: skip
    """The directory is asked for a ticket: 4768 (the first), 4769 (for a host), 4771 (wrong password)."""
    windows, directory = scene.windows, scene.directory
    domain = scene.organisation.id.upper()
    kind = "4771" if is_refused else "4768" if for_host is None else "4769"
    key = (kind, login, source, for_host.name if for_host else "")
    template = windows.template(key)
    if template is None:
        at_host = f"{for_host.name.upper()}$" if for_host else "krbtgt"
        template = windows.make(
            key,
            directory,
            {
                "TargetUserName": f"{login}@{domain}" if kind == "4769" else login,
                "TargetDomainName": domain if kind == "4769" else scene.organisation.netbios,
                "TargetSid": sid,
                "ServiceName": f"krbtgt/{scene.organisation.netbios}" if is_refused else at_host,
                "ServiceSid": f"{scene.organisation.domain_sid}-{1000 if for_host else 502}",
                "TicketOptions": "0x40810010" if kind != "4769" else "0x40810000",
                "Status": "0x18" if is_refused else "0x0",
                "TicketEncryptionType": "0x12",
                "PreAuthType": "2",
                "IpAddress": f"::ffff:{source}",
                "IpPort": extra(0),
                "LogonGuid": extra(1),
            },
        )
    windows.write(directory, template, time_us, mark, scene.chance.between(49152, 65535), f"{{{scene.chance.guid()}}}")


def opened_share(
    scene: Scene, time_us: int, host: Host, session: Session, share: str, source: str, mark: int = 0
) -> None:
    """A share is opened: 5140."""
    windows = scene.windows
    key = ("5140", host.name, session.user, share, source)
    template = windows.template(key)
    if template is None:
        folder = {"ADMIN$": "\\??\\C:\\Windows", "IPC$": ""}.get(share, f"\\??\\D:\\Shares\\{share}")
        template = windows.make(
            key,
            host,
            _subject(session)
            | {
                "ObjectType": "File",
                "IpAddress": source,
                "IpPort": extra(1),
                "ShareName": f"\\\\*\\{share}",
                "ShareLocalPath": folder,
                "AccessMask": "0x1",
                "AccessList": "%%4416\r\n\t\t\t\t",
            },
        )
    windows.write(host, template, time_us, mark, session.logon_id, scene.chance.between(49152, 65535))


def ran_script(scene: Scene, time_us: int, host: Host, text: str, mark: int = 0) -> None:
    """PowerShell runs a block of script: 4104."""
    windows = scene.windows
    key = ("4104", host.name, text)
    template = windows.template(key)
    if template is None:
        constants = {"MessageNumber": "1", "MessageTotal": "1", "ScriptBlockText": text, "ScriptBlockId": extra(0)}
        template = windows.make(key, host, constants | {"Path": ""})
    windows.write(host, template, time_us, mark, scene.chance.guid())


def invoked(scene: Scene, time_us: int, host: Host, session: Session, command: str, mark: int = 0) -> None:
    """PowerShell calls a command: 4103."""
    windows = scene.windows
    key = ("4103", host.name, session.user, command)
    template = windows.template(key)
    if template is None:
        context = (
            "        Severity = Informational\r\n        Host Name = ConsoleHost\r\n        Host Version = 5.1.22621.1\r\n"
            f"        Host Application = powershell.exe\r\n        Command Name = {command}\r\n"
            f"        Command Type = Cmdlet\r\n        User = {session.user}\r\n"
            f"        Sequence Number = {extra(0)}\r\n        Shell ID = Microsoft.PowerShell\r\n"
        )
        constants = {"ContextInfo": context, "UserData": "", "Payload": f'CommandInvocation({command}): "{command}"\r\n'}
        template = windows.make(key, host, constants)
    windows.write(host, template, time_us, mark, scene.chance.between(16, 400))


def service_changed(scene: Scene, time_us: int, host: Host, name: str, state: str, mark: int = 0) -> None:
    """A service starts or stops: 7036."""
    windows = scene.windows
    key = ("7036", host.name, name, state)
    template = windows.template(key)
    if template is None:
        template = windows.make(key, host, {"param1": name, "param2": state})
    windows.write(host, template, time_us, mark)


def service_installed(scene: Scene, time_us: int, host: Host, name: str, path: str, mark: int = 0) -> None:
    """A service is installed: 7045."""
    constants = {
        "ServiceName": name, "ImagePath": path, "ServiceType": "user mode service", "StartType": "demand start",
        "AccountName": "LocalSystem",
    }  # fmt: skip
    _once(scene, "7045", time_us, host, constants, mark)


def log_cleared(scene: Scene, time_us: int, host: Host, session: Session, mark: int = 0) -> None:
    """The Security log is cleared: 1102."""
    _once(scene, "1102", time_us, host, _subject(session), mark, session.logon_id)


def task_created(
    scene: Scene, time_us: int, host: Host, session: Session, name: str, command: str, mark: int = 0
) -> None:
    """A scheduled task is created: 4698."""
    content = (
        '<?xml version="1.0" encoding="UTF-16"?>\r\n<Task version="1.2"><Actions Context="Author"><Exec>'
        f"<Command>{command}</Command></Exec></Actions></Task>"
    )
    constants = _subject(session) | {"TaskName": name, "TaskContent": content, "FQDN": host.fqdn}
    _once(scene, "4698", time_us, host, constants, mark, session.logon_id)


def account_created(scene: Scene, time_us: int, by: Session, login: str, group: str, mark: int = 0) -> None:
    """An account is made in the directory and put into a group: 4720, 4728."""
    organisation = scene.organisation
    sid = f"{organisation.domain_sid}-{scene.chance.between(5000, 9000)}"
    named = {"TargetUserName": login, "TargetDomainName": organisation.netbios, "TargetSid": sid}
    _once(
        scene, "4720", time_us, scene.directory,
        _subject(by) | named | {
            "SamAccountName": login, "UserPrincipalName": f"{login}@{organisation.id}", "PasswordLastSet": "%%1794",
            "AccountExpires": "%%1794", "PrimaryGroupId": "513", "OldUacValue": "0x0", "NewUacValue": "0x15",
            "UserAccountControl": "\r\n\t\t%%2080\r\n\t\t%%2082\r\n\t\t%%2084", "LogonHours": "%%1793",
        },
        mark, by.logon_id,
    )  # fmt: skip
    base = ",DC=".join(organisation.id.split("."))
    _once(
        scene, "4728", time_us + 1_400_000, scene.directory,
        _subject(by) | {
            "MemberName": f"CN={login},CN=Users,DC={base}", "MemberSid": sid, "TargetUserName": group,
            "TargetDomainName": organisation.netbios, "TargetSid": f"{organisation.domain_sid}-512",
        },
        mark, by.logon_id,
    )  # fmt: skip


def _once(
    scene: Scene, kind: str, time_us: int, host: Host, constants: dict[str, str], mark: int, *values: str
) -> None:
    """An event that is too rare to keep its template under a name of its own."""
    key = (kind, host.name, *constants.values())
    template = scene.windows.template(key) or scene.windows.make(key, host, constants)
    scene.windows.write(host, template, time_us, mark, *(json_inner(value) for value in values))

"""What happens on Windows hosts: processes, files, registry values, logons, services, scripts."""

from __future__ import annotations

from typing import Final

from mingjian.sample.programs import PROGRAMS, Program, hashes
from mingjian.sample.scene import Process, Scene, Session
from mingjian.sample.templates import Template, json_inner
from mingjian.sample.world import Host
from mingjian.sample.writers.windows import Constants, extra

_PRIVILEGES: Final = (
    "SeSecurityPrivilege\r\n\t\t\tSeTakeOwnershipPrivilege\r\n\t\t\tSeLoadDriverPrivilege\r\n\t\t\tSeBackupPrivilege\r\n"
    "\t\t\tSeRestorePrivilege\r\n\t\t\tSeDebugPrivilege\r\n\t\t\tSeSystemEnvironmentPrivilege\r\n\t\t\tSeImpersonatePrivilege"
)
_LABELS: Final = {"System": "S-1-16-16384", "High": "S-1-16-12288", "Medium": "S-1-16-8192"}
_NOBODY: Final = {"SubjectUserSid": "S-1-0-0", "SubjectLogonId": "0x0"}
SUBJECT: Final = {
    "SubjectUserSid": extra(0),
    "SubjectUserName": extra(1),
    "SubjectDomainName": extra(2),
    "SubjectLogonId": extra(3),
}
"""Who did it, in the first four holes; ``subject`` fills them."""


def subject(session: Session) -> tuple[str, str, str, str]:
    """Who did it: security id, name, domain, logon id."""
    return session.sid, json_inner(session.login), session.domain, session.logon_id


def image_of(program: Program, login: str) -> str:
    """The path of a program, in the folder of the person if it lies there."""
    return program.image.replace("{login}", login)


def service(scene: Scene, host: Host, name: str = "services") -> Process:
    """A process of the system that runs all the time: ``services``, ``svchost``, ``lsass``, ``defender``."""
    found = scene.services.get(f"{host.name}/{name}")
    if found is None:
        image = PROGRAMS[name].image
        command = image if name != "svchost" else f"{image} -k netsvcs -p -s Schedule"
        # Whoever asks first must not change what the others get.
        with scene.under(scene.chance_of("service", host.name, name)):
            found = Process(scene.chance.between(500, 4000), scene.guid(host), image, command, "NT AUTHORITY\\SYSTEM")
        scene.services[f"{host.name}/{name}"] = found
    return found


def start(
    scene: Scene, time_us: int, host: Host, session: Session, parent: Process, program: Program, command: str,
    mark: int = 0, *, folder: str = "C:\\Windows\\System32\\",
) -> Process:  # fmt: skip
    """A process is started: Sysmon 1, or 4688 where there is no Sysmon."""
    pid, guid = scene.chance.between(300, 7500) * 4, scene.guid(host)
    image = image_of(program, session.login)
    process = Process(pid, guid, image, command, session.user)
    inner = json_inner
    if scene.has_sysmon:
        template = scene.windows.template(("process", image, session.integrity)) or _started(
            scene, image, program, session
        )
        scene.windows.write(
            host,
            template,
            time_us,
            mark,
            pid,
            guid,
            parent.pid,
            parent.guid,
            session.logon_id,
            session.logon_guid,
            inner(session.user),
            inner(command),
            inner(folder),
            inner(parent.image),
            inner(parent.command),
            inner(parent.user),
        )
    else:
        key = ("4688", session.integrity)
        template = scene.windows.template(key) or scene.windows.make(
            key,
            SUBJECT
            | {
                "NewProcessId": extra(4),
                "NewProcessName": extra(6),
                "TokenElevationType": "%%1938" if session.integrity == "Medium" else "%%1936",
                "ProcessId": extra(5),
                "CommandLine": extra(7),
                "TargetUserSid": "S-1-0-0",
                "TargetLogonId": "0x0",
                "ParentProcessName": extra(8),
                "MandatoryLabel": _LABELS[session.integrity],
            },
        )
        scene.windows.write(
            host, template, time_us, mark, *subject(session), hex(pid), hex(parent.pid), inner(image), inner(command),
            inner(parent.image),
        )  # fmt: skip
    return process


def _started(scene: Scene, image: str, program: Program, session: Session) -> Template:
    return scene.windows.make(
        ("process", image, session.integrity),
        {
            "ProcessGuid": extra(1),
            "ProcessId": extra(0),
            "Image": image,
            "FileVersion": program.version,
            "Description": program.description,
            "Product": program.product,
            "Company": program.company,
            "OriginalFileName": program.original,
            "CommandLine": extra(7),
            "CurrentDirectory": extra(8),
            "User": extra(6),
            "LogonGuid": extra(5),
            "LogonId": extra(4),
            "TerminalSessionId": "0" if session.integrity == "System" else "1",
            "IntegrityLevel": session.integrity,
            "Hashes": hashes(image, program.version),
            "ParentProcessGuid": extra(3),
            "ParentProcessId": extra(2),
            "ParentImage": extra(9),
            "ParentCommandLine": extra(10),
            "ParentUser": extra(11),
        },
    )


def end(scene: Scene, time_us: int, host: Host, process: Process, mark: int = 0) -> None:
    """A process ends: Sysmon 5."""
    if scene.has_sysmon:
        _about(scene, "ended", (), time_us, host, process, mark)


def wrote(scene: Scene, time_us: int, host: Host, process: Process, path: str, mark: int = 0) -> None:
    """A file is created: Sysmon 11."""
    if scene.has_sysmon:
        _about(scene, "file", ("TargetFilename",), time_us, host, process, mark, path)


def set_value(scene: Scene, time_us: int, host: Host, process: Process, key: str, details: str, mark: int = 0) -> None:
    """A registry value is set: Sysmon 13."""
    if scene.has_sysmon:
        names = ("EventType", "TargetObject", "Details")
        _about(scene, "registry", names, time_us, host, process, mark, "SetValue", key, details)


def asked(scene: Scene, time_us: int, host: Host, process: Process, name: str, answer: str, mark: int = 0) -> None:
    """A name is looked up: Sysmon 22."""
    if scene.has_sysmon:
        results, status = (f"::ffff:{answer};", "0") if answer else ("-", "9003")
        names = ("QueryName", "QueryStatus", "QueryResults")
        _about(scene, "dns", names, time_us, host, process, mark, name, status, results)


def _about(
    scene: Scene, kind: str, names: tuple[str, ...], time_us: int, host: Host, process: Process, mark: int, *values: str
) -> None:
    windows = scene.windows
    key = (kind,)
    template = windows.template(key)
    if template is None:
        given = {"ProcessGuid": extra(1), "ProcessId": extra(0), "Image": extra(2), "User": extra(3)}
        template = windows.make(key, given | {name: extra(place) for place, name in enumerate(names, 4)})
    windows.write(
        host, template, time_us, mark, process.pid, process.guid, json_inner(process.image), json_inner(process.user),
        *map(json_inner, values),
    )  # fmt: skip


def connected(
    scene: Scene,
    time_us: int,
    host: Host,
    process: Process,
    source_port: int,
    target: str,
    target_port: int,
    name: str,
    mark: int = 0,
) -> None:
    """A process opens a connection: Sysmon 3."""
    if not scene.has_sysmon:
        return
    windows = scene.windows
    key = ("connection", str(target_port))
    template = windows.template(key) or windows.make(
        key,
        {
            "ProcessGuid": extra(1),
            "ProcessId": extra(0),
            "Image": extra(2),
            "User": extra(3),
            "Protocol": "tcp",
            "Initiated": "true",
            "SourceIsIpv6": "false",
            "SourceIp": extra(4),
            "SourceHostname": extra(5),
            "SourcePort": extra(6),
            "DestinationIsIpv6": "false",
            "DestinationIp": extra(7),
            "DestinationHostname": extra(8),
            "DestinationPort": str(target_port),
            "DestinationPortName": {443: "https", 80: "http", 445: "microsoft-ds"}.get(target_port, "-"),
        },
    )
    windows.write(
        host, template, time_us, mark, process.pid, process.guid, json_inner(process.image), json_inner(process.user),
        host.address, host.fqdn, source_port, target, name or "-",
    )  # fmt: skip


def opened_process(
    scene: Scene, time_us: int, host: Host, source: Process, target: Process, granted: str, trace: str, mark: int = 0
) -> None:
    """A process opens another one: Sysmon 10."""
    if not scene.has_sysmon:
        return
    windows = scene.windows
    key = ("access", source.image, target.image, granted, trace)
    template = windows.template(key) or windows.make(
        key,
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
            "SourceUser": extra(5),
            "TargetUser": extra(6),
        },
    )
    windows.write(
        host, template, time_us, mark, source.pid, source.guid, target.pid, target.guid,
        scene.chance.between(250, 3000) * 4, json_inner(source.user), json_inner(target.user),
    )  # fmt: skip


def logged_on(
    scene: Scene, time_us: int, host: Host, session: Session, kind: int, mark: int = 0, *, source: str = "-",
    workstation: str = "-",
) -> None:  # fmt: skip
    """Somebody logs on: 4624, and 4672 with high rights."""
    windows, chance = scene.windows, scene.chance
    key = ("4624", str(kind), session.integrity)
    template = windows.template(key) or windows.make(key, _logon(kind, session.integrity))
    windows.write(
        host, template, time_us, mark, session.sid, json_inner(session.login), session.domain, session.logon_id,
        session.logon_guid, chance.between(49152, 65535), hex(chance.between(200, 900) * 4), source, workstation,
        f"{host.name.upper()}$", scene.organisation.netbios,
    )  # fmt: skip
    if session.integrity != "Medium":
        key = ("4672",)
        template = windows.template(key) or windows.make(key, SUBJECT | {"PrivilegeList": _PRIVILEGES})
        windows.write(host, template, time_us + 800, mark, *subject(session))


def _logon(kind: int, integrity: str) -> Constants:
    by_machine = {
        "SubjectUserSid": "S-1-5-18",
        "SubjectUserName": extra(9),
        "SubjectDomainName": extra(10),
        "SubjectLogonId": "0x3e7",
    }
    packages = {2: ("User32 ", "Negotiate"), 3: ("Kerberos", "Kerberos"), 5: ("Advapi  ", "Negotiate")}
    logon_process, package = packages[kind]
    images = {2: "C:\\Windows\\System32\\svchost.exe", 3: "-", 5: "C:\\Windows\\System32\\services.exe"}
    return (_NOBODY if kind == 3 else by_machine) | {
        "TargetUserSid": extra(0),
        "TargetUserName": extra(1),
        "TargetDomainName": extra(2),
        "TargetLogonId": extra(3),
        "LogonType": str(kind),
        "LogonProcessName": logon_process,
        "AuthenticationPackageName": package,
        "WorkstationName": extra(8),
        "LogonGuid": extra(4),
        "KeyLength": "0",
        "ProcessId": "0x0" if kind == 3 else extra(6),
        "ProcessName": images[kind],
        "IpAddress": extra(7),
        "IpPort": extra(5) if kind == 3 else "0",
        "ImpersonationLevel": "%%1833",
        "VirtualAccount": "%%1843",
        "TargetLinkedLogonId": "0x0",
        "ElevatedToken": "%%1843" if integrity == "Medium" else "%%1842",
    }


def logged_off(scene: Scene, time_us: int, host: Host, session: Session, kind: int, mark: int = 0) -> None:
    """A session ends: 4634."""
    windows = scene.windows
    key = ("4634", str(kind))
    template = windows.template(key) or windows.make(
        key,
        {
            "TargetUserSid": extra(0),
            "TargetUserName": extra(1),
            "TargetDomainName": extra(2),
            "TargetLogonId": extra(3),
            "LogonType": str(kind),
        },
    )
    windows.write(host, template, time_us, mark, *subject(session))


def failed_logon(
    scene: Scene, time_us: int, host: Host, login: str, kind: int, source: str, mark: int = 0, *, is_known: bool = True
) -> None:
    """Somebody does not get in: 4625."""
    windows = scene.windows
    key = ("4625", str(kind), str(is_known))
    template = windows.template(key) or windows.make(
        key,
        _NOBODY
        | {
            "TargetUserSid": "S-1-0-0",
            "TargetUserName": extra(0),
            "TargetDomainName": extra(1),
            "Status": "0xc000006d",
            "FailureReason": "%%2313",
            "SubStatus": "0xc000006a" if is_known else "0xc0000064",
            "LogonType": str(kind),
            "LogonProcessName": "NtLmSsp " if kind == 3 else "User32 ",
            "AuthenticationPackageName": "NTLM" if kind == 3 else "Negotiate",
            "KeyLength": "0",
            "ProcessId": "0x0",
            "IpAddress": extra(2),
            "IpPort": extra(3),
        },
    )
    windows.write(
        host, template, time_us, mark, json_inner(login), scene.organisation.netbios, source,
        scene.chance.between(49152, 65535),
    )  # fmt: skip


def ticket(
    scene: Scene, time_us: int, login: str, sid: str, source: str, mark: int = 0, *, for_host: Host | None = None,
    is_refused: bool = False,
) -> None:  # fmt: skip
    """The directory is asked for a ticket: 4768 (the first), 4769 (for a host), 4771 (wrong password)."""
    windows, organisation = scene.windows, scene.organisation
    kind = "4771" if is_refused else "4768" if for_host is None else "4769"
    key = (kind,)
    template = windows.template(key) or windows.make(
        key,
        {
            "TargetUserName": extra(0),
            "TargetDomainName": organisation.id.upper() if kind == "4769" else organisation.netbios,
            "TargetSid": extra(1),
            "ServiceName": extra(2),
            "ServiceSid": f"{organisation.domain_sid}-{1000 if for_host else 502}",
            "TicketOptions": "0x40810010" if kind != "4769" else "0x40810000",
            "Status": "0x18" if is_refused else "0x0",
            "TicketEncryptionType": "0x12",
            "PreAuthType": "2",
            "IpAddress": extra(3),
            "IpPort": extra(4),
            "LogonGuid": extra(5),
        },
    )
    name = f"{login}@{organisation.id.upper()}" if kind == "4769" else login
    service = f"krbtgt/{organisation.netbios}" if is_refused else f"{for_host.name.upper()}$" if for_host else "krbtgt"
    windows.write(
        scene.directory, template, time_us, mark, json_inner(name), sid, service, f"::ffff:{source}",
        scene.chance.between(49152, 65535), f"{{{scene.chance.guid()}}}",
    )  # fmt: skip


def opened_share(
    scene: Scene, time_us: int, host: Host, session: Session, share: str, source: str, mark: int = 0
) -> None:
    """A share is opened: 5140."""
    windows = scene.windows
    key = ("5140", share)
    template = windows.template(key)
    if template is None:
        folder = {"ADMIN$": "\\??\\C:\\Windows", "IPC$": ""}.get(share, f"\\??\\D:\\Shares\\{share}")
        template = windows.make(
            key,
            SUBJECT
            | {
                "ObjectType": "File",
                "IpAddress": extra(4),
                "IpPort": extra(5),
                "ShareName": f"\\\\*\\{share}",
                "ShareLocalPath": folder,
                "AccessMask": "0x1",
                "AccessList": "%%4416\r\n\t\t\t\t",
            },
        )
    windows.write(host, template, time_us, mark, *subject(session), source, scene.chance.between(49152, 65535))


def ran_script(scene: Scene, time_us: int, host: Host, text: str, mark: int = 0) -> None:
    """PowerShell runs a block of script: 4104."""
    windows = scene.windows
    key = ("4104",)
    constants = {
        "MessageNumber": "1",
        "MessageTotal": "1",
        "ScriptBlockText": extra(0),
        "ScriptBlockId": extra(1),
        "Path": "",
    }
    template = windows.template(key) or windows.make(key, constants)
    windows.write(host, template, time_us, mark, json_inner(text), scene.chance.guid())


def invoked(scene: Scene, time_us: int, host: Host, session: Session, command: str, mark: int = 0) -> None:
    """PowerShell calls a command: 4103."""
    windows = scene.windows
    key = ("4103", command)
    template = windows.template(key)
    if template is None:
        context = (
            "        Severity = Informational\r\n        Host Name = ConsoleHost\r\n"
            "        Host Version = 5.1.22621.1\r\n"
            f"        Host Application = powershell.exe\r\n        Command Name = {command}\r\n"
            f"        Command Type = Cmdlet\r\n        User = {extra(1)}\r\n"
            f"        Sequence Number = {extra(0)}\r\n        Shell ID = Microsoft.PowerShell\r\n"
        )
        constants = {
            "ContextInfo": context,
            "UserData": "",
            "Payload": f'CommandInvocation({command}): "{command}"\r\n',
        }
        template = windows.make(key, constants)
    windows.write(host, template, time_us, mark, scene.chance.between(16, 400), json_inner(session.user))


def service_changed(scene: Scene, time_us: int, host: Host, name: str, state: str, mark: int = 0) -> None:
    """A service starts or stops: 7036."""
    key = ("7036", name, state)
    template = scene.windows.template(key) or scene.windows.make(key, {"param1": name, "param2": state})
    scene.windows.write(host, template, time_us, mark)


def service_installed(scene: Scene, time_us: int, host: Host, name: str, path: str, mark: int = 0) -> None:
    """A service is installed: 7045."""
    constants = {
        "ServiceName": name, "ImagePath": path, "ServiceType": "user mode service", "StartType": "demand start",
        "AccountName": "LocalSystem",
    }  # fmt: skip
    _once(scene, "7045", time_us, host, constants, mark)


def log_cleared(scene: Scene, time_us: int, host: Host, session: Session, mark: int = 0) -> None:
    """The Security log is cleared: 1102."""
    _once(scene, "1102", time_us, host, SUBJECT, mark, *subject(session))


def task_created(
    scene: Scene, time_us: int, host: Host, session: Session, name: str, command: str, mark: int = 0
) -> None:
    """A scheduled task is created: 4698."""
    content = (
        '<?xml version="1.0" encoding="UTF-16"?>\r\n<Task version="1.2"><Actions Context="Author"><Exec>'
        f"<Command>{command}</Command></Exec></Actions></Task>"
    )
    constants = SUBJECT | {"TaskName": name, "TaskContent": content, "FQDN": host.fqdn}
    _once(scene, "4698", time_us, host, constants, mark, *subject(session))


def account_created(scene: Scene, time_us: int, by: Session, login: str, group: str, mark: int = 0) -> None:
    """An account is made in the directory and put into a group: 4720, 4728."""
    organisation = scene.organisation
    sid = f"{organisation.domain_sid}-{scene.chance.between(5000, 9000)}"
    named = {"TargetUserName": login, "TargetDomainName": organisation.netbios, "TargetSid": sid}
    _once(
        scene, "4720", time_us, scene.directory,
        SUBJECT | named | {
            "SamAccountName": login, "UserPrincipalName": f"{login}@{organisation.id}", "PasswordLastSet": "%%1794",
            "AccountExpires": "%%1794", "PrimaryGroupId": "513", "OldUacValue": "0x0", "NewUacValue": "0x15",
            "UserAccountControl": "\r\n\t\t%%2080\r\n\t\t%%2082\r\n\t\t%%2084", "LogonHours": "%%1793",
        },
        mark, *subject(by),
    )  # fmt: skip
    base = ",DC=".join(organisation.id.split("."))
    _once(
        scene, "4728", time_us + 1_400_000, scene.directory,
        SUBJECT | {
            "MemberName": f"CN={login},CN=Users,DC={base}", "MemberSid": sid, "TargetUserName": group,
            "TargetDomainName": organisation.netbios, "TargetSid": f"{organisation.domain_sid}-512",
        },
        mark, *subject(by),
    )  # fmt: skip


def _once(scene: Scene, kind: str, time_us: int, host: Host, constants: Constants, mark: int, *values: str) -> None:
    """An event that is too rare to keep its template."""
    scene.windows.write(host, scene.windows.make((kind,), constants), time_us, mark, *values)

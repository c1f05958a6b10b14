"""What computers do on their own: services, updates, jobs; backups and scans at night; patches once a month."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from mingjian.sample.activity.plan import Plan
from mingjian.sample.deeds import linux, network, windows
from mingjian.sample.moments import HOUR, MINUTE, SECOND
from mingjian.sample.programs import PROGRAMS
from mingjian.sample.scene import Scene
from mingjian.sample.world import Host, Site
from mingjian.sample.writers.flows import Request

UPDATES: Final = Site("updates.vendor.example", "192.0.2.201", is_plain=False)
TELEMETRY: Final = Site("telemetry.vendor.example", "198.51.100.201", is_plain=False)
SCAN_WEEKDAY: Final = 2
"""Wednesday; the scanner runs in the night before."""
SCANNED_PORTS: Final = (21, 22, 23, 25, 80, 110, 135, 139, 143, 443, 445, 1433, 3306, 3389, 5432, 5900, 8080, 8443)

_TRACE: Final = (
    "C:\\Windows\\SYSTEM32\\ntdll.dll+9d4c4|C:\\Windows\\System32\\KERNELBASE.dll+2c13e|"
    "C:\\ProgramData\\Microsoft\\Windows Defender\\Platform\\4.18.25010.11-0\\mpsvc.dll+1f2d60"
)
_JOBS: Final[dict[str, tuple[tuple[str, str, int], ...]]] = {
    "web": (("root", "/usr/local/bin/check-health", 15), ("www-data", "/usr/bin/php /srv/www/cron.php", 30)),
    "mail": (("root", "/usr/sbin/logrotate /etc/logrotate.conf", 60), ("root", "/usr/local/bin/check-health", 30)),
    "application": (("root", "/usr/local/bin/collect-metrics", 15),),
    "database": (
        ("postgres", "/usr/local/bin/vacuum-nightly --analyze", 30),
        ("root", "/usr/local/bin/check-health", 30),
    ),
    "backup": (("backup", "/usr/local/bin/rotate-snapshots", 60),),
    "proxy": (("root", "/usr/sbin/squid -k rotate", 720),),
}


def plan_machines(plan: Plan) -> None:
    """Let every computer do what it does, and the nights take their course."""
    scene = plan.scene
    for host in scene.organisation.hosts:
        chance = scene.chance_of("machine", host.name)
        if host.is_windows:
            _plan_windows(plan, host)
        for user, command, minutes in _JOBS.get(host.role, ()):
            plan.every(chance, minutes * MINUTE, _job(host, user, command), jitter_us=2 * SECOND)
    _plan_backup(plan)
    _plan_scan(plan)
    _plan_patches(plan)


def _on(host: Host, deed: Callable[[Scene, int, Host], None]) -> Callable[[Scene, int], None]:
    def bound(scene: Scene, time_us: int) -> None:
        deed(scene, time_us, host)

    return bound


def _job(host: Host, user: str, command: str) -> Callable[[Scene, int], None]:
    def deed(scene: Scene, time_us: int) -> None:
        linux.job(scene, time_us, host, user, command)
        linux.run(scene, time_us + 3_000, host, user, ("/bin/sh", "-c", command), "/usr/bin/dash", parent_pid=811)

    return deed


def _plan_windows(plan: Plan, host: Host) -> None:
    scene, chance = plan.scene, plan.scene.chance_of("windows", host.name)
    is_desk = host.role == "workstation"
    # Workstations are switched off at night, most of them.
    first = scene.start_us + (7 * HOUR if is_desk and chance.share(0.7) else 0)
    last = scene.start_us + (20 * HOUR if first > scene.start_us else 24 * HOUR)
    plan.repeat(chance, first, last, 14 * MINUTE, _on(host, service_works))
    plan.repeat(chance, first, last, 40 * MINUTE, _on(host, defender_looks))
    plan.repeat(chance, first, last, 90 * MINUTE, _on(host, look_for_updates))
    plan.repeat(chance, first, last, 60 * MINUTE, _on(host, machine_ticket))
    plan.repeat(chance, first, last, 70 * MINUTE, _on(host, service_state))


def service_works(scene: Scene, time_us: int, host: Host) -> None:
    """A service does its round: a process, a value, a logon of the system."""
    chance, session = scene.chance, scene.machine_session(host)
    parent = windows.service(scene, host, "svchost")
    name, command = chance.pick((
        ("taskhost", "taskhostw.exe SYSTEM"),
        ("runtime", "C:\\Windows\\System32\\RuntimeBroker.exe -Embedding"),
        ("backgroundtask", '"C:\\Windows\\system32\\backgroundTaskHost.exe" -ServerName:App.Background'),
        ("search", '"C:\\Windows\\system32\\SearchProtocolHost.exe" Global\\UsGthrFltPipeMssGthrPipe1_'),
    ))  # fmt: skip
    windows.logged_on(scene, time_us, host, session, 5)
    process = windows.start(scene, time_us + 30_000, host, session, parent, PROGRAMS[name], command)
    key = "HKLM\\System\\CurrentControlSet\\Services\\bam\\State\\UserSettings\\S-1-5-18\\SequenceNumber"
    windows.set_value(scene, time_us + 200_000, host, parent, key, "DWORD (0x0000002a)")
    windows.wrote(scene, time_us + 500_000, host, parent, "C:\\Windows\\ServiceState\\EventLog\\Data\\lastalive0.dat")
    windows.end(scene, time_us + int(chance.wait(40 * SECOND)) + SECOND, host, process)


def defender_looks(scene: Scene, time_us: int, host: Host) -> None:
    """The virus scanner opens processes, lsass among them."""
    windows.opened_process(
        scene,
        time_us,
        host,
        windows.service(scene, host, "defender"),
        windows.service(scene, host, "lsass"),
        "0x1000",
        _TRACE,
    )


def look_for_updates(scene: Scene, time_us: int, host: Host) -> None:
    """A program asks its maker for a newer version."""
    chance, session = scene.chance, scene.machine_session(host)
    program = PROGRAMS["edgeupdate"]
    process = windows.start(
        scene, time_us, host, session, windows.service(scene, host, "svchost"), program,
        f'"{program.image}" /ua /installsource scheduler', folder="C:\\Windows\\system32\\",
    )  # fmt: skip
    site = UPDATES if chance.share(0.6) else TELEMETRY
    request = Request("POST", site.name, "/service/update2", "Example Update/1.3", 200, 900, chance.size(2_000))
    network.fetch(scene, time_us + 300_000, host, site, request, process=process)
    windows.end(scene, time_us + chance.between(2 * SECOND, 30 * SECOND), host, process)


def machine_ticket(scene: Scene, time_us: int, host: Host) -> None:
    """The computer's own account renews its ticket and reads the group policy."""
    account = f"{host.name.upper()}$"
    organisation = scene.organisation
    sid = f"{organisation.domain_sid}-{1000 + len(host.name)}"
    session = scene.machine_session(host)._replace(
        user=f"{organisation.netbios}\\{account}", login=account, domain=organisation.netbios, sid=sid
    )
    network.authenticate(scene, time_us, host, session)
    policy = (f"{organisation.id}\\Policies\\{{31B2F340-016D-11D2-945F-00C04FB984F9}}\\gpt.ini", 22, False)
    network.open_share(scene, time_us + SECOND, host, scene.directory, session, "SYSVOL", (policy,))


def service_state(scene: Scene, time_us: int, host: Host) -> None:
    """A service starts because something wants it, and stops again."""
    name = scene.chance.pick(("Windows Update", "Software Protection", "Windows Modules Installer", "Print Spooler"))
    windows.service_changed(scene, time_us, host, name, "running")
    windows.service_changed(scene, time_us + 2 * MINUTE, host, name, "stopped")


def _plan_backup(plan: Plan) -> None:
    scene = plan.scene
    chance = scene.chance_of("backup")
    for place, name in enumerate(("fs-01", "db-01", "web-01", "app-01", "mail-01")):
        plan.add(scene.start_us + HOUR + place * 12 * MINUTE + chance.below(MINUTE), _backup(name))


def _backup(name: str) -> Callable[[Scene, int], None]:
    def deed(scene: Scene, time_us: int) -> None:
        host, server = scene.organisation.host(name), scene.organisation.first("backup")
        chance = scene.chance
        size = chance.between(300_000_000, 3_000_000_000)
        if host.is_windows:
            session = scene.machine_session(host)
            command = f"wbadmin start backup -backupTarget:\\\\{server.name}\\nightly -include:D: -quiet"
            parent = windows.service(scene, host, "svchost")
            process = windows.start(scene, time_us, host, session, parent, PROGRAMS["wbadmin"], command)
            network.connect(scene, time_us + SECOND, host.address, server.address, 445, "smb", 7 * MINUTE, size, 90_000)
            windows.end(scene, time_us + 8 * MINUTE, host, process)
        else:
            linux.ssh_login(scene, time_us, host, "backup", server.address, lasts_us=6 * MINUTE)
            words = ("rsync", "--server", "--sender", "-logDtpre.iLsfxC", ".", "/srv/")
            linux.run(scene, time_us + 200_000, host, "backup", words, "/usr/bin/rsync", folder="/home/backup")
            network.connect(scene, time_us, server.address, host.address, 22, "ssh", 6 * MINUTE, 400_000, size)

    return deed


def _plan_scan(plan: Plan) -> None:
    """The organisation's own scanner asks every host on every port: noise that looks like an attack."""
    scene = plan.scene
    if date.fromisoformat(scene.date).weekday() != SCAN_WEEKDAY:
        return
    chance = scene.chance_of("scan")
    time_us = scene.start_us + 3 * HOUR
    for host in scene.organisation.hosts:
        if host.role != "scanner":
            plan.add(time_us, _on(host, scan))
            time_us += chance.between(8 * SECOND, 25 * SECOND)


def scan(scene: Scene, time_us: int, host: Host) -> None:
    """The scanner looks at a host."""
    scanner, chance = scene.organisation.first("scanner"), scene.chance
    is_open = {445, 135, 139} if host.is_windows else {22}
    for place, port in enumerate(SCANNED_PORTS):
        moment_us = time_us + place * 180_000 + chance.below(60_000)
        if port in is_open:
            network.connect(scene, moment_us, scanner.address, host.address, port, "", 40_000, 120, 300)
        else:
            network.connect(
                scene, moment_us, scanner.address, host.address, port, "", 300, 0, 0, state="REJ", history="Sr"
            )
    if host.is_windows:
        windows.failed_logon(scene, time_us + 4 * SECOND, host, "scanner-probe", 3, scanner.address, is_known=False)
    elif host.role == "web":
        for place, path in enumerate(
            ("/server-status", "/phpinfo.php", "/.git/HEAD", "/manager/html", "/wp-login.php")
        ):
            request = Request("GET", host.fqdn, path, "Example-Vulnerability-Scanner/9.2", 404, 0, 162)
            scene.nginx.write(time_us + (5 + place) * SECOND, scanner.address, request, 0)


def _plan_patches(plan: Plan) -> None:
    """Patch night: the Wednesday after the second Tuesday of the month."""
    scene = plan.scene
    today = date.fromisoformat(scene.date)
    if today.weekday() != 2 or not 9 <= today.day <= 15:
        return
    chance = scene.chance_of("patches")
    for host in scene.windows_hosts():
        plan.add(scene.start_us + 2 * HOUR + chance.below(90 * MINUTE), _on(host, patch))


def patch(scene: Scene, time_us: int, host: Host) -> None:
    """A host installs the month's patches."""
    chance, session = scene.chance, scene.machine_session(host)
    parent = windows.service(scene, host)
    installer = windows.start(scene, time_us, host, session, parent, PROGRAMS["installer"], PROGRAMS["installer"].image)
    worker = windows.start(
        scene, time_us + 2 * SECOND, host, session, windows.service(scene, host, "svchost"), PROGRAMS["tiworker"],
        f"{PROGRAMS['tiworker'].image} -Embedding",
    )  # fmt: skip
    request = Request("GET", UPDATES.name, "/c/msdownload/update.cab", "Example Update/10.0", 200, 0, 90_000_000)
    network.fetch(scene, time_us + 3 * SECOND, host, UPDATES, request)
    for place in range(20 + chance.below(20)):
        moment_us = time_us + 10 * SECOND + place * chance.between(2 * SECOND, 9 * SECOND)
        name = f"C:\\Windows\\WinSxS\\Temp\\InFlight\\{chance.hexes(16)}\\part{place}.dll"
        windows.wrote(scene, moment_us, host, worker, name)
        key = f"HKLM\\COMPONENTS\\DerivedData\\Components\\amd64_part{place}\\identity"
        windows.set_value(scene, moment_us + 90_000, host, worker, key, "Binary Data")
    for name in ("Print Spooler", "Windows Time", "DHCP Client"):
        windows.service_changed(scene, time_us + 6 * MINUTE, host, name, "stopped")
        windows.service_changed(scene, time_us + 7 * MINUTE, host, name, "running")
    for process in (worker, installer):
        windows.end(scene, time_us + 6 * MINUTE, host, process)

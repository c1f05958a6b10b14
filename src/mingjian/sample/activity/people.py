"""People at work: they come, read, write, look things up, and go home."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

from mingjian.sample import words
from mingjian.sample.activity.plan import Plan
from mingjian.sample.chance import Weighted, popularity
from mingjian.sample.deeds import linux, network, windows
from mingjian.sample.moments import HOUR, MINUTE, SECOND
from mingjian.sample.programs import PROGRAMS
from mingjian.sample.scene import Desk, Scene
from mingjian.sample.world import SITES, Person, Site
from mingjian.sample.writers.flows import Request, Tls

WEEKEND_SHARE: Final = 0.05
"""So many work on a day on which nobody has to."""
AWAY_SHARE: Final = 0.05
"""So many are ill or on leave on any other day."""
PAUSE_US: Final = 240 * SECOND
"""The mean time between two things that somebody does."""
SHARES: Final = ("projects", "public", "archive")

_POPULARITY: Final = popularity(SITES)
_PAGES: Final = (
    "/",
    "/today",
    "/article/2026/03/town-notes",
    "/search?q=opening+hours",
    "/static/app.js",
    "/img/1.webp",
)

_Deed = Callable[[Scene, int, Desk], None]


def plan_people(plan: Plan) -> None:
    """Let everybody work who works today."""
    scene = plan.scene
    weekend = date.fromisoformat(scene.date).weekday() >= 5
    for person in scene.organisation.people:
        chance = scene.chance_of("person", person.login)
        if chance.share(1 - WEEKEND_SHARE if weekend else AWAY_SHARE):
            continue
        comes_us = scene.start_us + person.arrives_us + int(chance.about(0, 12) * MINUTE)
        goes_us = scene.start_us + person.leaves_us + int(chance.about(0, 20) * MINUTE)
        plan.add(comes_us, _arrival(person))
        time_us = comes_us + 3 * MINUTE
        while time_us < goes_us - 2 * MINUTE:
            is_lunch = 12 * HOUR <= time_us - scene.start_us < 13 * HOUR
            plan.add(int(time_us), _work(person))
            time_us += chance.wait(PAUSE_US / scene.pace * (4 if is_lunch else 1)) + 2 * SECOND
        plan.add(goes_us, _departure(person))


def _arrival(person: Person) -> Callable[[Scene, int], None]:
    def deed(scene: Scene, time_us: int) -> None:
        arrive(scene, time_us, person)

    return deed


def _work(person: Person) -> Callable[[Scene, int], None]:
    def deed(scene: Scene, time_us: int) -> None:
        desk = scene.desks.get(person.login)
        if desk is not None:
            deeds, weights = (_ADMIN_DEEDS, _ADMIN_WEIGHTS) if person.is_admin else (_DEEDS, _WEIGHTS)
            deeds[weights.index(scene.chance)](scene, time_us, desk)

    return deed


def _departure(person: Person) -> Callable[[Scene, int], None]:
    def deed(scene: Scene, time_us: int) -> None:
        desk = scene.desks.pop(person.login, None)
        if desk is not None:
            for place, process in enumerate((desk.mail, desk.browser, desk.shell)):
                windows.end(scene, time_us + place * 700_000, desk.host, process)
            windows.logged_off(scene, time_us + 3 * SECOND, desk.host, desk.session, 2)

    return deed


def arrive(scene: Scene, time_us: int, person: Person) -> Desk:
    """Somebody logs on in the morning; now and then with a wrong password first."""
    chance, host = scene.chance, scene.host_of(person)
    session = scene.session_of(person)
    if chance.share(0.12):
        windows.ticket(scene, time_us - 20 * SECOND, person.login, person.sid, host.address, is_refused=True)
        windows.failed_logon(scene, time_us - 20 * SECOND + 30_000, host, person.login, 2, "127.0.0.1")
    network.authenticate(scene, time_us, host, session)
    windows.logged_on(scene, time_us + 60_000, host, session, 2, source="127.0.0.1", workstation=host.name.upper())
    winlogon = windows.service(scene, host, "winlogon")
    userinit = windows.start(
        scene, time_us + 900_000, host, session, winlogon, PROGRAMS["userinit"], PROGRAMS["userinit"].image
    )
    shell = windows.start(
        scene, time_us + 1_500_000, host, session, userinit, PROGRAMS["explorer"], "C:\\Windows\\Explorer.EXE"
    )
    windows.end(scene, time_us + 26 * SECOND, host, userinit)
    windows.start(
        scene, time_us + 5 * SECOND, host, session, windows.service(scene, host, "svchost"), PROGRAMS["taskhost"],
        "taskhostw.exe {222A245B-E637-4AE9-A93F-A59CA119A75E}",
    )  # fmt: skip
    mail = windows.start(
        scene,
        time_us + 40 * SECOND,
        host,
        session,
        shell,
        PROGRAMS["outlook"],
        f'"{PROGRAMS["outlook"].image}" /recycle',
    )
    browser = windows.start(
        scene, time_us + 70 * SECOND, host, session, shell, PROGRAMS["edge"],
        f'"{PROGRAMS["edge"].image}" --profile-directory=Default', folder="C:\\Program Files (x86)\\Microsoft\\Edge\\",
    )  # fmt: skip
    desk = Desk(person, host, session, shell, browser, mail)
    scene.desks[person.login] = desk
    open_mail(scene, time_us + 45 * SECOND, desk)
    return desk


def browse(scene: Scene, time_us: int, desk: Desk) -> None:
    """Read a page: a name or two, some connections, perhaps a new process of the browser."""
    chance = scene.chance
    if chance.share(0.3):
        language = "zh-CN" if scene.organisation.profile.language == "zh" else "en-US"
        child = windows.start(
            scene,
            time_us,
            desk.host,
            desk.session,
            desk.browser,
            PROGRAMS["edge"],
            f'"{PROGRAMS["edge"].image}" --type=renderer --lang={language}',
        )
        windows.end(scene, time_us + int(chance.wait(8 * MINUTE)), desk.host, child)
    for place in range(1 + chance.below(3)):
        site = site_of(scene)
        request = Request("GET", site.name, chance.pick(_PAGES), words.BROWSERS[0], 200, 0, chance.size(14_000, 4.0))
        for again in range(1 + chance.below(3)):
            network.fetch(
                scene, time_us + place * SECOND + again * 150_000, desk.host, site, request, user=desk.person.login,
                is_known=again > 0 or chance.share(0.4),
            )  # fmt: skip


def site_of(scene: Scene) -> Site:
    """A site that somebody goes to: few of them most of the time."""
    return scene.world.sites[_POPULARITY.index(scene.chance)]


def document_of(scene: Scene, login: str) -> str:
    """A document of somebody, without its ending: everybody has a dozen."""
    chinese = scene.organisation.profile.language == "zh"
    names = words.DOCUMENTS_ZH if chinese else words.DOCUMENTS
    number = scene.chance.below(12)
    name = names[(number * 7 + len(login)) % len(names)]
    return f"{name}{2015 + number}" if chinese else f"{name} {2015 + number}"


def write_document(scene: Scene, time_us: int, desk: Desk) -> None:
    """Open a document, save it, close it."""
    chance, host, login = scene.chance, desk.host, desk.person.login
    chinese = scene.organisation.profile.language == "zh"
    is_sheet = chance.share(0.4)
    program = PROGRAMS[("et" if is_sheet else "wps") if chinese else ("excel" if is_sheet else "word")]
    name = document_of(scene, login) + (".xlsx" if is_sheet else ".docx")
    path = f"C:\\Users\\{login}\\Documents\\{name}"
    command = f'"{program.image}" "{path}"' if chinese else f'"{program.image}" /n "{path}" /o ""'
    folder = f"C:\\Users\\{login}\\Documents\\"
    process = windows.start(scene, time_us, host, desk.session, desk.shell, program, command, folder=folder)
    windows.wrote(scene, time_us + 1_800_000, host, process, f"{folder}~${name[2:]}")
    key = (
        f"HKU\\{desk.person.sid}\\Software\\Microsoft\\Windows\\CurrentVersion\\Explorer\\RecentDocs\\.docx\\MRUListEx"
    )
    windows.set_value(scene, time_us + 2 * SECOND, host, desk.shell, key, "Binary Data")
    closes_us = time_us + int(chance.wait(11 * MINUTE)) + 20 * SECOND
    windows.wrote(scene, closes_us - 4 * SECOND, host, process, f"{folder}{chance.bits(24):06X}.tmp")
    windows.end(scene, closes_us, host, process)


def use_share(scene: Scene, time_us: int, desk: Desk) -> None:
    """Open a folder of the file server."""
    chance = scene.chance
    files = tuple(
        (
            f"{desk.person.department}\\{document_of(scene, desk.person.department)}.docx",
            chance.size(60_000), chance.share(0.25),
        )
        for _ in range(1 + chance.below(3))
    )  # fmt: skip
    network.open_share(scene, time_us, desk.host, scene.files, desk.session, chance.pick(SHARES), files)


def open_mail(scene: Scene, time_us: int, desk: Desk) -> None:
    """Fetch mail."""
    server = scene.organisation.first("mail")
    chance = scene.chance
    flow, uid = network.connect(
        scene, time_us, desk.host.address, server.address, 993, "ssl", chance.between(SECOND, 40 * SECOND), 2_600,
        chance.size(40_000),
    )  # fmt: skip
    scene.sensor.tls(time_us + 10_000, flow, uid, Tls(server.fqdn, network.fingerprint(server.fqdn)), 0)


def send_mail(scene: Scene, time_us: int, desk: Desk) -> None:
    """Send mail to a colleague."""
    chance = scene.chance
    other = chance.pick(scene.organisation.people)
    linux.mail(scene, time_us, desk.person.email, other.email, desk.host.fqdn, desk.host.address, chance.size(30_000))


_ADMIN_COMMANDS: Final = (
    ("ipconfig", "ipconfig  /all"),
    ("ping", "ping  10.20.0.10"),
    ("gpupdate", "gpupdate  /force"),
    ("tasklist", "tasklist  /svc"),
    ("whoami", "whoami"),
    ("net", "net  use"),
    ("net", "net  user"),
    ("mmc", '"C:\\Windows\\system32\\mmc.exe" C:\\Windows\\system32\\dsa.msc'),
)
_ADMIN_SCRIPTS: Final = (
    "Get-Service | Where-Object Status -eq 'Stopped'",
    "Get-ADUser -Filter * -Properties LastLogonDate | Select-Object Name, LastLogonDate",
    "Get-EventLog -LogName System -Newest 50",
    "Test-NetConnection fs-01 -Port 445",
    "Get-ChildItem D:\\Shares | Measure-Object",
    "Restart-Service Spooler",
)


def administer(scene: Scene, time_us: int, desk: Desk) -> None:
    """Do what administrators do: look, restart, log in somewhere."""
    chance, host = scene.chance, desk.host
    kind = chance.below(4)
    if kind == 0:
        console = windows.start(scene, time_us, host, desk.session, desk.shell, PROGRAMS["cmd"], PROGRAMS["cmd"].image)
        windows.start(
            scene, time_us + 40_000, host, desk.session, console, PROGRAMS["conhost"],
            "\\??\\C:\\Windows\\system32\\conhost.exe 0xffffffff -ForceV1",
        )  # fmt: skip
        name, command = chance.pick(_ADMIN_COMMANDS)
        process = windows.start(scene, time_us + 4 * SECOND, host, desk.session, console, PROGRAMS[name], command)
        windows.end(scene, time_us + 5 * SECOND, host, process)
        windows.end(scene, time_us + 40 * SECOND, host, console)
    elif kind == 1:
        console = windows.start(
            scene, time_us, host, desk.session, desk.shell, PROGRAMS["powershell"], PROGRAMS["powershell"].image
        )
        script = chance.pick(_ADMIN_SCRIPTS)
        windows.ran_script(scene, time_us + 9 * SECOND, host, script)
        windows.invoked(scene, time_us + 9 * SECOND + 20_000, host, desk.session, script.split()[0])
        windows.end(scene, time_us + 3 * MINUTE, host, console)
    else:
        server = scene.organisation.host(chance.pick(("web-01", "app-01", "db-01", "mail-01")))
        linux.ssh_login(
            scene, time_us, server, "operator", host.address, lasts_us=int(chance.wait(9 * MINUTE)) + SECOND
        )
        if chance.share(0.06):
            linux.sudo_failure(scene, time_us + 20 * SECOND, server, "operator", "/usr/bin/apt update")
        for place in range(1 + chance.below(3)):
            command = chance.pick(("/usr/bin/systemctl status nginx", "/usr/bin/apt update", "/usr/bin/journalctl -xe"))
            linux.sudo(scene, time_us + (40 + 30 * place) * SECOND, server, "operator", command)
            words_of = tuple(command.rpartition("/")[2].split())
            linux.run(
                scene, time_us + (40 + 30 * place) * SECOND + 9_000, server, "root", words_of, command.split()[0],
                parent_pid=chance.between(1500, 60000), folder="/home/operator", auid=linux.uid_of("operator"),
            )  # fmt: skip


_DEEDS: Final[tuple[_Deed, ...]] = (browse, write_document, use_share, open_mail, send_mail)
_WEIGHTS: Final = Weighted((5.0, 1.2, 1.5, 1.5, 0.5))
_ADMIN_DEEDS: Final[tuple[_Deed, ...]] = (*_DEEDS, administer)
_ADMIN_WEIGHTS: Final = Weighted((4.0, 0.6, 1.0, 1.0, 0.5, 3.0))

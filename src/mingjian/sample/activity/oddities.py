"""Rare things that are in order and look as if they were not: what false alarms are made of."""

from __future__ import annotations

from typing import Final

from mingjian.sample.activity.plan import Plan
from mingjian.sample.deeds import linux, network, windows
from mingjian.sample.moments import HOUR, MINUTE, SECOND
from mingjian.sample.programs import PROGRAMS, Program
from mingjian.sample.scene import Desk, Scene
from mingjian.sample.world import Site
from mingjian.sample.writers.flows import Request

COLLECTOR: Final = Site("readings.meters.example", "192.0.2.203", is_plain=True)
VAULT: Final = Site("offsite.vault.example", "198.51.100.204", is_plain=False)
_CHAT: Final = Program(
    "C:\\Users\\{login}\\AppData\\Roaming\\TalkRound\\talkround.exe",
    "5.4.1.0",
    "TalkRound",
    "TalkRound",
    "TalkRound Example Ltd",
    "talkround.exe",
)
_INVENTORY: Final = "RwBlAHQALQBDAGkAbQBJAG4AcwB0AGEAbgBjAGUAIABXAGkAbgAzADIAXwBQAHIAbwBkAHUAYwB0AA=="


def plan_oddities(plan: Plan) -> None:
    """Let some odd things happen, each of them for a good reason."""
    scene = plan.scene
    chance = scene.chance_of("oddities")
    number = scene.organisation.number
    noon_us = scene.start_us + 12 * HOUR
    # In a small sector odd things are rarer too, but not quite as rare as everything else.
    often = max(scene.pace, 0.06)
    if chance.share(0.5 * often):
        plan.add(scene.start_us + 6 * HOUR + chance.below(MINUTE), take_inventory)
    if chance.share(0.3 * often):
        plan.add(noon_us - chance.below(2 * HOUR), install_chat)
    if chance.share(0.25 * often):
        plan.add(noon_us + chance.below(4 * HOUR), protect_archive)
    if chance.share(0.2 * often):
        plan.add(noon_us + chance.below(3 * HOUR), add_key)
    if chance.share(0.15 * often):
        plan.add(scene.start_us + 4 * HOUR, copy_offsite)
    if number % 2 == 0:
        # A gateway that sends measurements: as regular as any beacon.
        plan.every(chance, 25 * MINUTE, send_readings, jitter_us=SECOND)


def take_inventory(scene: Scene, time_us: int) -> None:
    """The agent of the inventory asks the servers what is installed, in its own encoded way."""
    for place, host in enumerate(host for host in scene.windows_hosts() if host.role != "workstation"):
        parent = windows.service(scene, host)
        command = f"powershell.exe -NonInteractive -ExecutionPolicy Bypass -EncodedCommand {_INVENTORY}"
        process = windows.start(
            scene, time_us + place * SECOND, host, scene.machine_session(host), parent, PROGRAMS["powershell"], command
        )
        windows.end(scene, time_us + (9 + place) * SECOND, host, process)


def install_chat(scene: Scene, time_us: int) -> None:
    """Somebody installs a chat program for themselves; it puts itself under the Run key."""
    desk = _somebody(scene)
    if desk is not None:
        image = windows.image_of(_CHAT, desk.person.login)
        key = f"HKU\\{desk.person.sid}\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\TalkRound"
        windows.wrote(scene, time_us, desk.host, desk.shell, image)
        windows.set_value(scene, time_us + 2 * SECOND, desk.host, desk.shell, key, f'"{image}" --background')


def protect_archive(scene: Scene, time_us: int) -> None:
    """Somebody packs documents for a partner, with a password as the rules ask."""
    desk = _somebody(scene)
    if desk is not None:
        folder = f"C:\\Users\\{desk.person.login}\\Documents"
        windows.start(
            scene, time_us, desk.host, desk.session, desk.shell, PROGRAMS["rar"],
            f'"{PROGRAMS["rar"].image}" a -pPartner26 "{folder}\\offer.rar" "{folder}\\offer.pdf"',
        )  # fmt: skip


def add_key(scene: Scene, time_us: int) -> None:
    """An administrator adds a key on a server."""
    uid = linux.uid_of("operator")
    scene.audit.touched(
        scene.organisation.host("app-01"),
        time_us,
        "/home/operator/.ssh/authorized_keys",
        "/usr/bin/vim.basic",
        uid,
        auid=uid,
        key="ssh_keys",
        mark=0,
    )


def copy_offsite(scene: Scene, time_us: int) -> None:
    """The backup of the backup goes to a provider."""
    host = scene.organisation.first("backup")
    size = scene.chance.between(600_000_000, 2_000_000_000)
    network.lookup(scene, time_us, host, VAULT.name, VAULT.address)
    network.connect(scene, time_us + SECOND, host.address, VAULT.address, 443, "ssl", 40 * MINUTE, size, 900_000)


def send_readings(scene: Scene, time_us: int) -> None:
    """A gateway sends its measurements."""
    host = scene.organisation.first("application")
    request = Request(
        "POST", COLLECTOR.name, "/v1/readings", "meter-gateway/2.2", 204, scene.chance.between(300, 500), 0
    )
    network.fetch(scene, time_us, host, COLLECTOR, request)


def _somebody(scene: Scene) -> Desk | None:
    """Somebody who is at work now."""
    return scene.desks[scene.chance.pick(sorted(scene.desks))] if scene.desks else None

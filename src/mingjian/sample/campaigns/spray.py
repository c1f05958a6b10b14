"""One password tried on everybody; a server opened by guessing; an account that stays.

Password spray, valid account, new administrator; brute force over SSH, sudo, a key and a user that stay.
"""

from __future__ import annotations

from typing import Final

from mingjian.sample.campaigns.script import Script
from mingjian.sample.deeds import linux, network, windows
from mingjian.sample.moments import MINUTE, SECOND
from mingjian.sample.programs import PROGRAMS
from mingjian.sample.scene import Scene
from mingjian.sample.world import Person

ATTACKER: Final = "198.51.100.231"
GUESSES: Final = 48
SPRAYED_MAX: Final = 40
"""So many accounts are tried in one go: enough to be a spray, and a small part of a large organisation."""


def write(script: Script) -> None:
    """Write the campaign."""
    _spray(script)
    _guess(script)


def _spray(script: Script) -> None:
    organisation = script.organisation
    people = {person.login: person for person in organisation.people}
    victims = script.victims()
    host = organisation.host(people[victims[0]].workstation)
    owned: Person = people[victims[-1]]
    directory = organisation.first("directory")

    def spray(scene: Scene, time_us: int, mark: int) -> None:
        for place, person in enumerate(organisation.people[:SPRAYED_MAX]):
            moment_us = time_us + place * 7 * SECOND
            network.connect(scene, moment_us, host.address, directory.address, 88, "krb_tcp", 20_000, 220, 180, mark)
            windows.ticket(
                scene, moment_us + 5_000, person.login, person.sid, host.address, mark, is_refused=person is not owned
            )

    step = script.step("spray", "T1110.003", "One password is tried on every account", "用同一口令逐个尝试账户")
    script.plant(step, script.at(0.0, 12.1), directory, owned.login, spray, source=host.address)

    def use(scene: Scene, time_us: int, mark: int) -> None:
        session = scene.session_of(owned)
        files = (("personnel\\salaries.xlsx", 91_000, False), ("planning\\network diagram.vsdx", 410_000, False))
        network.open_share(scene, time_us, host, scene.files, session, "projects", files, mark)

    step = script.step(
        "account", "T1078.002", "The account it worked for is used on the file server", "用猜中的账户访问文件服务器"
    )
    script.plant(step, script.at(0.0, 13.2), organisation.first("files"), owned.login, use, source=host.address)

    def create(scene: Scene, time_us: int, mark: int) -> None:
        by = scene.session_of(organisation.people[0], elevated=True)
        parent = windows.service(scene, directory, "svchost")
        windows.logged_on(scene, time_us, directory, by, 3, mark, source=host.address)
        windows.start(
            scene, time_us + 8 * SECOND, directory, by, parent, PROGRAMS["net"],
            "net user svc_print Kp2-heron /add /domain", mark,
        )  # fmt: skip
        windows.account_created(scene, time_us + 9 * SECOND, by, "svc_print", "Domain Admins", mark)

    step = script.step("administrator", "T1136.002", "A new domain administrator appears", "出现一个新的域管理员账户")
    script.plant(step, script.at(0.34, 14.3), directory, organisation.people[0].login, create, account="svc_print")


def _guess(script: Script) -> None:
    server = script.organisation.first("web")
    account = "deploy"

    def guess(scene: Scene, time_us: int, mark: int) -> None:
        for place in range(GUESSES):
            linux.ssh_failure(scene, time_us + place * 4 * SECOND, server, account, ATTACKER, mark, is_known=True)

    step = script.step("guessing", "T1110.001", "Somebody guesses a password over SSH", "通过 SSH 猜测口令")
    script.plant(step, script.at(0.34, 15.1), server, account, guess, source=ATTACKER)

    def enter(scene: Scene, time_us: int, mark: int) -> None:
        linux.ssh_login(scene, time_us, server, account, ATTACKER, mark, method="password", lasts_us=50 * MINUTE)

    step = script.step("entry", "T1078.003", "… and gets in", "……并成功登录")
    script.plant(step, script.at(0.34, 15.25), server, account, enter, source=ATTACKER)

    def rise(scene: Scene, time_us: int, mark: int) -> None:
        for place in range(4):
            linux.sudo_failure(scene, time_us + place * 20 * SECOND, server, account, "/usr/bin/bash", mark)

    step = script.step("sudo", "T1548.003", "The password does not open sudo", "尝试 sudo 提权，屡次失败")
    script.plant(step, script.at(0.34, 15.4), server, account, rise)

    def keep(scene: Scene, time_us: int, mark: int) -> None:
        uid = linux.uid_of(account)
        scene.audit.touched(
            server,
            time_us,
            f"/home/{account}/.ssh/authorized_keys",
            "/usr/bin/dash",
            uid,
            auid=uid,
            key="ssh_keys",
            mark=mark,
        )
        words = ("useradd", "-o", "-u", "0", "-M", "-s", "/bin/bash", "sysd")
        linux.run(
            scene, time_us + 9 * SECOND, server, "root", words, "/usr/sbin/useradd", mark, auid=uid, folder="/root"
        )
        made = "new user: name=sysd, UID=0, GID=1004, home=/home/sysd, shell=/bin/bash, from=/dev/pts/0"
        scene.syslog.write(server, time_us + 9 * SECOND, f"useradd[{scene.chance.between(1500, 60000)}]", made, mark)

    step = script.step(
        "backdoor", "T1098.004", "A key and a second root account are left behind", "留下密钥和第二个 root 账户"
    )
    script.plant(step, script.at(0.34, 16.2), server, account, keep, file="authorized_keys", account="sysd")

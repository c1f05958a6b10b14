"""What comes from outside: visitors, crawlers, mail, partners' files, and the background noise of the internet."""

from __future__ import annotations

from typing import Final

from mingjian.sample import words
from mingjian.sample.activity.plan import Plan
from mingjian.sample.chance import Chance, popularity
from mingjian.sample.deeds import linux, network
from mingjian.sample.moments import HOUR, MINUTE, SECOND
from mingjian.sample.scene import Scene
from mingjian.sample.writers.flows import Request, Tls

_PATHS: Final = popularity(len(words.PATHS), 0.7)
_PROBES: Final = (
    "/wp-login.php",
    "/.env",
    "/xmlrpc.php",
    "/phpmyadmin/",
    "/.git/config",
    "/cgi-bin/luci",
    "/boaform/admin",
)
_HOURLY: Final = (1, 1, 1, 1, 1, 2, 4, 7, 10, 11, 11, 10, 9, 10, 11, 10, 9, 8, 8, 9, 8, 6, 4, 2)
"""How busy the web site is in each hour of the day."""


def plan_public(plan: Plan) -> None:
    """Let the world outside come in."""
    scene = plan.scene
    chance = scene.chance_of("public")
    people = len(scene.organisation.people)
    mean_us = 24 * HOUR / (people * 3.2 + 30)
    for hour, busy in enumerate(_HOURLY):
        start_us = scene.start_us + hour * HOUR
        plan.repeat(chance, start_us, start_us + HOUR, mean_us * 6.4 / busy, visit)
    plan.repeat(chance, scene.start_us, scene.end_us, 35 * MINUTE, crawl)
    plan.repeat(chance, scene.start_us, scene.end_us, 50 * MINUTE, probe)
    plan.repeat(chance, scene.start_us, scene.end_us, 25 * MINUTE, guess_password)
    plan.repeat(
        chance, scene.start_us + 6 * HOUR, scene.start_us + 21 * HOUR, 15 * HOUR / (people * 4 + 20), receive_mail
    )
    plan.repeat(
        chance, scene.start_us + 8 * HOUR, scene.start_us + 18 * HOUR, 10 * HOUR / (people * 2 + 15), exchange_file
    )


def stranger(chance: Chance) -> str:
    """An address outside."""
    return f"{chance.pick(('192.0.2', '198.51.100', '203.0.113'))}.{chance.between(10, 200)}"


def visit(scene: Scene, time_us: int) -> None:
    """Somebody reads a few pages."""
    chance, server = scene.chance, scene.web_server
    client, agent = stranger(chance), chance.pick(words.BROWSERS)
    referer, total = "-", 0
    pages = 1 + chance.below(6)
    for place in range(pages):
        path = words.PATHS[_PATHS.index(chance)]
        size = chance.size(9_000)
        total += size
        status = 304 if chance.share(0.1) else 404 if chance.share(0.02) else 200
        request = Request("GET", server.fqdn, path, agent, status, 0, 0 if status == 304 else size)
        moment_us = time_us + int(place * chance.between(SECOND, 40 * SECOND))
        scene.nginx.write(moment_us, client, request, 0, referer=referer)
        referer = f"https://www.{scene.organisation.id}{path}"
    flow, uid = network.connect(
        scene, time_us, client, server.address, 443, "ssl", pages * 9 * SECOND, 900 * pages, total + 5_000
    )
    scene.sensor.tls(
        time_us + 30_000, flow, uid, Tls(f"www.{scene.organisation.id}", network.fingerprint(server.fqdn)), 0
    )


def crawl(scene: Scene, time_us: int) -> None:
    """A crawler takes some pages."""
    chance = scene.chance
    client, agent = stranger(chance), chance.pick(words.CRAWLERS)
    for place in range(3 + chance.below(12)):
        request = Request("GET", "-", chance.pick(words.PATHS), agent, 200, 0, chance.size(9_000))
        scene.nginx.write(time_us + place * 3 * SECOND, client, request, 0)


def probe(scene: Scene, time_us: int) -> None:
    """Somebody tries paths that other sites have; it concerns everybody and means nothing."""
    chance = scene.chance
    client = stranger(chance)
    for place in range(1 + chance.below(4)):
        request = Request("GET", "-", chance.pick(_PROBES), "Mozilla/5.0 zgrab/0.x", 404, 0, 162)
        scene.nginx.write(time_us + place * SECOND, client, request, 0)


def guess_password(scene: Scene, time_us: int) -> None:
    """Somebody tries a name or two over SSH, like everywhere on the internet."""
    chance = scene.chance
    client = stranger(chance)
    for place in range(1 + chance.below(3)):
        linux.ssh_failure(
            scene, time_us + place * 7 * SECOND, scene.web_server, chance.pick(words.LOGIN_GUESSES), client
        )


def receive_mail(scene: Scene, time_us: int) -> None:
    """Mail comes in."""
    chance = scene.chance
    site, person = chance.pick(scene.world.sites), chance.pick(scene.organisation.people)
    sender = f"{chance.pick(('info', 'orders', 'notice', 'a.smith', 'j.doe'))}@{site.name}"
    linux.mail(scene, time_us, sender, person.email, f"mx.{site.name}", site.address, chance.size(35_000))


def exchange_file(scene: Scene, time_us: int) -> None:
    """A partner brings or takes a file; names are in the writing of the place."""
    chance = scene.chance
    chinese = scene.organisation.profile.language == "zh"
    host = scene.organisation.first("application")
    name = chance.pick(words.DOCUMENTS_ZH if chinese else words.DOCUMENTS)
    partner = chance.pick(("partner01", "partner02", "survey", "audit-office"))
    client = stranger(chance)
    folder = "交换目录" if chinese else "exchange"
    action = chance.pick(("OK UPLOAD", "OK UPLOAD", "OK DOWNLOAD", "OK LOGIN"))
    rest = "" if action == "OK LOGIN" else f', "/{folder}/{name}.pdf", {chance.size(200_000)} bytes, 842.10Kbyte/sec'
    write = scene.transfer.write
    write(host, time_us, f"vsftpd[{chance.between(1500, 60000)}]", f'[{partner}] {action}: Client "{client}"{rest}', 0)

"""People who work from elsewhere: through the VPN, in the evening or all day, now and then with a wrong password."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mingjian.sample.activity.plan import Plan
from mingjian.sample.deeds import network
from mingjian.sample.moments import HOUR, MINUTE, SECOND
from mingjian.sample.scene import Scene
from mingjian.sample.world import Person
from mingjian.sample.writers.flows import Tls

EVENING_SHARE: Final = 0.12
"""So many look at their mail again in the evening."""


def plan_remote(plan: Plan) -> None:
    """Let some people work from elsewhere."""
    scene = plan.scene
    for person in scene.organisation.people:
        chance = scene.chance_of("remote", person.login)
        if chance.share(EVENING_SHARE):
            plan.add(scene.start_us + 18 * HOUR + chance.below(4 * HOUR), _evening(person))


def home_of(scene: Scene, person: Person) -> str:
    """The address that somebody comes from: mostly the same one."""
    networks = ("192.0.2", "198.51.100", "203.0.113")
    place = sum(map(ord, person.login)) + (scene.day // 20 if scene.chance.share(0.2) else 0)
    return f"{networks[place % 3]}.{10 + place * 7 % 190}"


def _evening(person: Person) -> Callable[[Scene, int], None]:
    def deed(scene: Scene, time_us: int) -> None:
        chance = scene.chance
        source = home_of(scene, person)
        if chance.share(0.15):
            scene.vpn.refused(time_us - 25 * SECOND, person.login, source, 0)
        lasts_us = int(chance.wait(50 * MINUTE)) + MINUTE
        inner = network.enter(scene, time_us, person.login, source, lasts_us)
        server = scene.organisation.first("mail")
        flow, uid = network.connect(
            scene, time_us + 9 * SECOND, inner, server.address, 993, "ssl", lasts_us // 2, 9_000, chance.size(90_000)
        )
        scene.sensor.tls(time_us + 9 * SECOND, flow, uid, Tls(server.fqdn, network.fingerprint(server.fqdn)), 0)

    return deed

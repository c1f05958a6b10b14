"""Campaigns: what is hidden in the logs, as scripts over ATT&CK techniques.

In: the world and the days that are generated. Out: planted deeds, each with its step, technique, host and account.
Never: code that attacks anything; the scripts write lines of logs and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from mingjian.sample.campaigns import cloudkey, insider, intrusion, spray, webshell
from mingjian.sample.campaigns.script import Planted, Script, Step
from mingjian.sample.world import Profile, World


class Campaign(msgspec.Struct, frozen=True):
    """A campaign, and where it can take place."""

    name: str
    title_en: str
    title_zh: str
    write: Callable[[Script], None]
    suits: Callable[[Profile], bool]


CAMPAIGNS: Final = (
    Campaign(
        "intrusion",
        "A mail opens the door, a quiet beacon keeps it open; then the file server is emptied",
        "一封邮件打开缺口，隐蔽回连长期潜伏，最终搬空文件服务器",
        intrusion.write,
        lambda profile: profile.sensor == "zeek-tsv",
    ),
    Campaign(
        "webshell",
        "The web site takes a file that it should not take, and obeys it",
        "网站接收了不该接收的文件，从此听命于人",
        webshell.write,
        lambda profile: profile.language == "zh",
    ),
    Campaign(
        "insider",
        "Somebody who may read the documents takes them home",
        "有权阅读文件的人把文件带走",
        insider.write,
        lambda profile: profile.language == "zh",
    ),
    Campaign(
        "spray",
        "One password is tried on everybody, and a server is opened by guessing",
        "一个口令试遍全员，服务器口令被猜中",
        spray.write,
        lambda profile: profile.has_cloud,
    ),
    Campaign(
        "cloudkey",
        "A key of the cloud account is in the wrong hands",
        "云账户密钥落入他人之手",
        cloudkey.write,
        lambda profile: profile.has_cloud,
    ),
)
"""Every campaign there is."""


def write_all(world: World, chosen: Sequence[str], start_us: int, days: int) -> list[Planted]:
    """Write the chosen campaigns for every organisation that they suit, in order of organisation, campaign and time.

    The place of a deed in the list, counted from 1, is its mark.
    """
    planted: list[Planted] = []
    for organisation in world.organisations:
        for campaign in CAMPAIGNS:
            if campaign.name in chosen and campaign.suits(organisation.profile):
                script = Script(world, organisation, campaign.name, start_us, days)
                campaign.write(script)
                planted += sorted(script.planted, key=lambda deed: deed.time_us)
    return planted


__all__ = ["CAMPAIGNS", "Campaign", "Planted", "Step", "write_all"]

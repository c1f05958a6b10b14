"""Campaigns: what is hidden in the logs, as scripts over ATT&CK techniques.

In: the world and the days that are generated. Out: planted deeds, each with its step, technique, host and account.
Never: code that attacks anything; the scripts write lines of logs and nothing else.

The *standard* campaigns fit into a day, and every organisation that they suit has one of its own. The *scripted* ones
are data (``data/campaigns``): each is told once in a sector, and may go through several organisations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from mingjian.sample.campaigns import cloudkey, insider, intrusion, spray, webshell
from mingjian.sample.campaigns.script import Planted, Script, Step
from mingjian.sample.campaigns.scripted import scripted
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
"""The standard campaigns."""


class Known(msgspec.Struct, frozen=True):
    """A campaign by its name and titles."""

    name: str
    title_en: str
    title_zh: str


def known() -> tuple[Known, ...]:
    """Every campaign that can be chosen: the standard ones, then the scripted."""
    return (
        *(Known(each.name, each.title_en, each.title_zh) for each in CAMPAIGNS),
        *(Known(each.name, each.title.en, each.title.zh) for each in scripted()),
    )


def write_all(world: World, chosen: Sequence[str], start_us: int, days: int) -> list[Planted]:
    """Write the chosen campaigns, in order of organisation, campaign and time; the scripted ones come last.

    Every happening has a mark of its own: they are counted through from 1, deed by deed.
    """
    planted: list[Planted] = []
    for organisation in world.organisations:
        for campaign in CAMPAIGNS:
            if campaign.name in chosen and campaign.suits(organisation.profile):
                script = Script(world, organisation, campaign.name, start_us, days)
                campaign.write(script)
                planted += sorted(script.planted, key=_begins)
    for told in scripted() if set(chosen) - {campaign.name for campaign in CAMPAIGNS} else ():
        if told.name in chosen:
            for script in told.write(world, start_us, days):
                planted += sorted(script.planted, key=_begins)
    return planted


def _begins(deed: Planted) -> int:
    return deed.times_us[0]


__all__ = ["CAMPAIGNS", "Campaign", "Known", "Planted", "Step", "known", "scripted", "write_all"]

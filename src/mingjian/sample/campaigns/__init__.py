"""Campaigns: what is hidden in the logs, as scripts over ATT&CK techniques.

In: the world and the days that are generated. Out: planted deeds, each with its step, technique, host and account.
Never: code that attacks anything; the scripts write lines of logs and nothing else.

Every campaign is data (``data/campaigns``). The *standard* ones fit into a day, and every organisation that they suit
has one of its own. The others are told once in a sector, and may go through several organisations.
"""

from __future__ import annotations

from collections.abc import Sequence

from mingjian.sample.campaigns.script import Planted, Step
from mingjian.sample.campaigns.scripted import Scripted, scripted
from mingjian.sample.world import World


def standard() -> tuple[Scripted, ...]:
    """The campaigns that are told everywhere, if nothing else is chosen."""
    return tuple(told for told in scripted() if told.everywhere)


def write_all(world: World, chosen: Sequence[str], start_us: int, days: int) -> list[Planted]:
    """Write the chosen campaigns, in order of organisation, campaign and time; those told once come last.

    Every happening has a mark of its own: they are counted through from 1, deed by deed.
    """
    if not chosen:
        return []
    scripts = [
        script
        for organisation in world.organisations
        for told in standard()
        if told.name in chosen
        for script in told.write_in(world, organisation, start_us, days)
    ]
    for told in scripted():
        if told.name in chosen and not told.everywhere:
            scripts += told.write(world, start_us, days)
    return [deed for script in scripts for deed in sorted(script.planted, key=_begins)]


def _begins(deed: Planted) -> int:
    return deed.times_us[0]


__all__ = ["Planted", "Step", "scripted", "standard", "write_all"]

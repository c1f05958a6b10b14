"""How a campaign is written down: steps over ATT&CK techniques, placed anywhere in the time that is generated."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from mingjian.sample.chance import Chance
from mingjian.sample.moments import DAY, HOUR, local_date
from mingjian.sample.scene import Scene
from mingjian.sample.world import Host, Organisation, World

Play: TypeAlias = Callable[[Scene, int, int], None]
"""A planted deed: a scene, a moment, and the mark that its lines carry."""

DEEDS_MAX: Final = 2_000_000
"""So many deeds a campaign may have in one organisation; more are a defect of the script."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an intruder has to do."""

    campaign: str
    name: str
    technique: str
    """ATT&CK technique id."""
    title_en: str
    title_zh: str
    organisation: str

    @property
    def id(self) -> str:
        """What tells it from every other step of the sector."""
        return f"{self.organisation}/{self.campaign}/{self.name}"


class Planted(msgspec.Struct, frozen=True, kw_only=True):
    """A deed of a step, and when it happens: most happen once, a beacon's thousands of times."""

    step: Step
    times_us: Sequence[int]
    """Rising."""
    host: str
    account: str
    entities: Mapping[str, str]
    play: Play


class Script:
    """A campaign in one organisation, while it is being written. Times are local and rise from step to step."""

    def __init__(self, world: World, organisation: Organisation, campaign: str, start_us: int, days: int) -> None:
        self.world = world
        self.organisation = organisation
        self.campaign = campaign
        self.planted: list[Planted] = []
        self._deeds = 0
        self.chance = Chance(world.seed, organisation.id, "campaign", campaign)
        self._midnight_us = start_us - organisation.profile.zone_us
        self._days = days

    @property
    def end_us(self) -> int:
        """The end of the last day."""
        return self._midnight_us + self._days * DAY

    def at(self, share: float, hour: float, *, workday: bool = False) -> int:
        """A moment: so far into the days that there are, at a local hour; on a Monday instead of a weekend."""
        day = min(int(share * self._days), self._days - 1)
        if workday:
            weekday = local_date(self._midnight_us + day * DAY, self.organisation.profile.zone_us).weekday()
            day = min(day + max(0, 7 - weekday) % 7 * (weekday > 4), self._days - 1)
        return self._midnight_us + day * DAY + int(hour * HOUR) + self.chance.below(HOUR // 12)

    def step(self, name: str, technique: str, title_en: str, title_zh: str) -> Step:
        """A step of this campaign."""
        return Step(
            campaign=self.campaign,
            name=name,
            technique=technique,
            title_en=title_en,
            title_zh=title_zh,
            organisation=self.organisation.id,
        )

    def plant(self, step: Step, time_us: int, host: Host | None, account: str, play: Play, /, **entities: str) -> None:
        """Let a deed of a step happen. What happens in the cloud has no host."""
        self.plant_often(step, (time_us,), host, account, play, **entities)

    def plant_often(
        self, step: Step, times_us: Iterable[int], host: Host | None, account: str, play: Play, /, **entities: str
    ) -> None:
        """Let a deed of a step happen again and again. Only the times are kept."""
        times = array("q", times_us)
        self._deeds += len(times)
        assert self._deeds <= DEEDS_MAX
        if times:
            self.planted.append(
                Planted(
                    step=step, times_us=times, host=host.name if host else "", account=account, entities=entities,
                    play=play,
                )
            )  # fmt: skip

    def every(self, first_us: int, period_us: int, jitter_us: int, until_us: int | None = None) -> Iterator[int]:
        """Moments by the clock, each with a delay of its own below the jitter, to the end of the days or before."""
        end_us, time_us = min(until_us or self.end_us, self.end_us), first_us
        while time_us < end_us - jitter_us:
            yield time_us + (self.chance.below(jitter_us) if jitter_us else 0)
            time_us += period_us

    def victims(self) -> list[str]:
        """Logins of the people without special rights whose hosts work as they should."""
        faulty = {host.name for host in self.organisation.hosts if host.skew_us or host.silent_from_us}
        return [
            person.login
            for person in self.organisation.people
            if not person.is_admin and person.workstation not in faulty
        ]

"""Campaigns are data: files ``data/campaigns/*.yml``, each a story over ATT&CK techniques in one or more places.

The format is described in ``docs/en/reference/sample.md``. The files come with the package, so a defect in one of them
is an error of ours and not of the input: it is raised, not skipped.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Final

import msgspec

from mingjian.data import DATA_FOLDER
from mingjian.errors import SchemaError
from mingjian.formats.bounded import parse_yaml
from mingjian.sample.campaigns.acts import Act
from mingjian.sample.campaigns.script import Script
from mingjian.sample.campaigns.stage import Cast, SiteRow, Stage
from mingjian.sample.moments import HOUR, MINUTE, SECOND
from mingjian.sample.programs import Program
from mingjian.sample.scene import Scene
from mingjian.sample.world import Host, Organisation, Profile, Site, World

CAMPAIGN_FOLDER: Final = DATA_FOLDER / "campaigns"


class Titles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A title in both languages."""

    en: str
    zh: str


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An organisation that a campaign touches: which one, and the numbers of the people it happens to."""

    sensor: str = ""
    language: str = ""
    cloud: bool | None = None
    victim: int = 0
    other: int = -1
    """The number of the second person, from the end if it is negative."""

    def suits(self, profile: Profile) -> bool:
        """Whether an organisation of this profile can be the one."""
        return (
            self.sensor in ("", profile.sensor)
            and self.language in ("", profile.language)
            and self.cloud in (None, profile.has_cloud)
        )


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step that happens again and again."""

    hours: float = 0.0
    minutes: int = 0
    jitter_hours: float = 0.0
    jitter_minutes: int = 0
    until: float | None = None
    """Share of the days; to their end if there is none."""

    @property
    def period_us(self) -> int:
        """From one time to the next."""
        return round(self.hours * HOUR) + self.minutes * MINUTE

    @property
    def jitter_us(self) -> int:
        """Each delay is below."""
        return round(self.jitter_hours * HOUR) + self.jitter_minutes * MINUTE


class StepRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step as the file has it."""

    name: str
    part: str
    technique: str
    title: Titles
    at: tuple[float, float]
    """Share of the days, and the local hour."""
    workday: bool = False
    """On a weekend it waits for Monday."""
    host: str
    account: str
    entities: dict[str, str] = {}
    repeat: Repeat | None = None
    one_session: bool = False
    """Whoever acts more than once in it does so in the same session."""
    acts: tuple[Act, ...]


class Scripted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign as its file has it."""

    name: str
    title: Titles
    order: int = 100
    """Lower ones come first."""
    everywhere: bool = False
    """Told in every organisation that suits one of its parts, not once in a sector."""
    days_min: int = 1
    """Below so many days the story cannot be told."""
    arriving: dict[str, str] = {}
    """Indicators that become known after the days are over: site to a sentence of where they come from."""
    sites: dict[str, SiteRow] = {}
    programs: dict[str, Program] = {}
    parts: dict[str, Part]
    steps: tuple[StepRow, ...]

    def write(self, world: World, start_us: int, days: int) -> list[Script]:
        """Write the campaign into a sector: one script for every organisation that has a part in it.

        Parts take the first organisations that suit them, in their own order; where none is left, a part falls out.
        """
        scripts: list[Script] = []
        free = list(world.organisations)
        for name, part in self.parts.items():
            organisation = next((each for each in free if part.suits(each.profile)), None)
            if organisation is not None and days >= self.days_min:
                free.remove(organisation)
                scripts.append(self._script(Script(world, organisation, self.name, start_us, days), name))
        return scripts

    def write_in(self, world: World, organisation: Organisation, start_us: int, days: int) -> list[Script]:
        """Write the campaign into one organisation: a script for every part that it suits."""
        return [
            self._script(Script(world, organisation, self.name, start_us, days), name)
            for name, part in self.parts.items()
            if part.suits(organisation.profile) and days >= self.days_min
        ]

    def _script(self, script: Script, part: str) -> Script:
        cast = self._cast(script, self.parts[part], script.organisation)
        for row in self.steps:
            if row.part == part:
                _plant(script, cast, row)
        return script

    def _cast(self, script: Script, part: Part, organisation: Organisation) -> Cast:
        people = {person.login: person for person in organisation.people}
        logins = script.victims()
        return Cast(
            campaign=self.name,
            organisation=organisation,
            victim=people[logins[part.victim % len(logins)]],
            other=people[logins[part.other % len(logins)]],
            admin=next(person for person in organisation.people if person.is_admin),
            sites={name: Site(row.name, row.address, row.plain) for name, row in self.sites.items()},
            programs=self.programs,
        )


def _plant(script: Script, cast: Cast, row: StepRow) -> None:
    host = None if row.host == "cloud" else cast.host(row.host)
    step = script.step(row.name, row.technique, row.title.en, row.title.zh)
    play = partial(_play, host=host or cast.host("directory"), cast=cast, row=row)
    account = cast.login(row.account)
    entities = {kind: cast.text(value, host.name if host else "") for kind, value in row.entities.items()}
    first_us = script.at(*row.at, workday=row.workday)
    if row.repeat is None:
        script.plant(step, first_us, host, account, play, **entities)
    else:
        until_us = None if row.repeat.until is None else script.at(row.repeat.until, 24)
        times_us = script.every(first_us, row.repeat.period_us, row.repeat.jitter_us, until_us)
        script.plant_often(step, times_us, host, account, play, **entities)


def _play(scene: Scene, time_us: int, mark: int, *, host: Host, cast: Cast, row: StepRow) -> None:
    stage = Stage(scene, host, cast, mark, row.one_session)
    for act in row.acts:
        act.play(stage.on(act.on), time_us + round(act.after * SECOND))


def read(path: Path) -> Scripted:
    """Read a campaign. Raises: SchemaError, ParseError, LimitExceeded, OSError."""
    (document,) = parse_yaml(path.read_bytes(), file=path.name)
    try:
        return msgspec.convert(document, Scripted)
    except msgspec.ValidationError as error:
        raise SchemaError(str(error), where=path.name) from None


@cache
def scripted() -> tuple[Scripted, ...]:
    """Every campaign."""
    found = (read(path) for path in CAMPAIGN_FOLDER.glob("*.yml"))
    return tuple(sorted(found, key=lambda told: (told.order, told.name)))

"""Campaigns that are data: files ``data/campaigns/*.yml``, each a story over ATT&CK techniques in one or more places.

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
from mingjian.sample.moments import HOUR, SECOND
from mingjian.sample.programs import Program
from mingjian.sample.scene import Scene
from mingjian.sample.world import Host, Organisation, Profile, Site, World

CAMPAIGN_FOLDER: Final = DATA_FOLDER / "campaigns"


class Titles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A title in both languages."""

    en: str
    zh: str


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the organisations that a campaign touches: which one, and the number of the person it happens to."""

    sensor: str = ""
    language: str = ""
    cloud: bool | None = None
    victim: int = 0

    def suits(self, profile: Profile) -> bool:
        """Whether an organisation of this profile can be the one."""
        return (
            self.sensor in ("", profile.sensor)
            and self.language in ("", profile.language)
            and self.cloud in (None, profile.has_cloud)
        )


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step that happens again and again."""

    hours: float
    jitter_hours: float = 0.0
    until: float = 1.0
    """Share of the days."""


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
    acts: tuple[Act, ...]


class Scripted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A campaign as its file has it."""

    name: str
    title: Titles
    days_min: int = 1
    """Below so many days the story cannot be told."""
    arriving: dict[str, str] = {}
    """Indicators that become known after the days are over: site to a sentence of where they come from."""
    sites: dict[str, SiteRow]
    programs: dict[str, Program] = {}
    parts: dict[str, Part]
    steps: tuple[StepRow, ...]

    def write(self, world: World, start_us: int, days: int) -> list[Script]:
        """Write the campaign into a sector: one script for every organisation that has a part in it.

        Parts take the first organisations that suit them, in their own order; where none is left, a part falls out.
        """
        scripts: list[Script] = []
        if days < self.days_min:
            return scripts
        free = list(world.organisations)
        for part_name, part in self.parts.items():
            organisation = next((each for each in free if part.suits(each.profile)), None)
            if organisation is None:
                continue
            free.remove(organisation)
            script = Script(world, organisation, self.name, start_us, days)
            cast = self._cast(script, part, organisation)
            for row in self.steps:
                if row.part == part_name:
                    _plant(script, cast, row)
            scripts.append(script)
        return scripts

    def _cast(self, script: Script, part: Part, organisation: Organisation) -> Cast:
        people = {person.login: person for person in organisation.people}
        logins = script.victims()
        return Cast(
            campaign=self.name,
            organisation=organisation,
            victim=people[logins[part.victim % len(logins)]],
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
        times_us = script.every(
            first_us, int(row.repeat.hours * HOUR), int(row.repeat.jitter_hours * HOUR), script.at(row.repeat.until, 24)
        )
        script.plant_often(step, times_us, host, account, play, **entities)


def _play(scene: Scene, time_us: int, mark: int, *, host: Host, cast: Cast, row: StepRow) -> None:
    stage = Stage(scene, host, cast, mark)
    for act in row.acts:
        act.play(stage, time_us + int(act.after * SECOND))


def read(path: Path) -> Scripted:
    """Read a campaign. Raises: SchemaError, ParseError, LimitExceeded, OSError."""
    (document,) = parse_yaml(path.read_bytes(), file=path.name)
    try:
        return msgspec.convert(document, Scripted)
    except msgspec.ValidationError as error:
        raise SchemaError(str(error), where=path.name) from None


@cache
def scripted() -> tuple[Scripted, ...]:
    """Every campaign that is data, in order of its file's name."""
    return tuple(read(path) for path in sorted(CAMPAIGN_FOLDER.glob("*.yml")))

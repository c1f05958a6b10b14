"""What the data says of behaviours (``data/behaviours.yml``): which streams tell which facts, how findings are told.

Small, because a card that shows findings needs no more than this.
"""

from __future__ import annotations

from functools import cache
from typing import Final, Literal, TypeAlias

import msgspec

from mingjian.data import DATA_FOLDER
from mingjian.formats.bounded import parse_yaml
from mingjian.model.detections import Detection
from mingjian.model.rules import Level
from mingjian.settings import Language

Names: TypeAlias = "tuple[str, ...]"
RULE_PREFIX: Final = "behaviour:"
"""Before the name of a behaviour, in the place of a rule's id."""


class Map(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events of which streams tell a fact."""

    streams: Names
    when: dict[str, Names] = {}
    unless: Names = ()
    """Streams of the same organisation that tell the same better."""


class Connections(Map, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the columns of connections stand."""

    source: Names
    destination: Names
    port: Names = ()
    bytes_out: Names = ()
    bytes_in: Names = ()
    duration_s: Names = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"fixed": "is"}):
    """How it is told whether somebody came in."""

    fixed: str = ""
    field: Names = ()
    success: Names = ()


class Kind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"fixed": "is"}):
    """How it is told what kind of logon it was."""

    fixed: str = ""
    field: Names = ()
    values: dict[str, str] = {}


class Logons(Map, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the columns of logons stand."""

    source: Names = ()
    target: Names
    account: Names
    outcome: Outcome
    kind: Kind


class Failed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it is told that there is no such name."""

    field: Names
    values: Names


class Lookups(Map, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the columns of look-ups stand."""

    host: Names
    query: Names
    failed: Failed


class Uses(Map, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the columns of uses stand."""

    entity: Names
    kind: str
    value: Names


class Called(Map, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it stands what an address outside is called."""

    address: Names
    name: Names


class Hosts(Map, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it stands what an address inside is called."""

    address: Names
    host: Names


class PartyPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"role": "as"}):
    """What stands in a place of a finding, and whether the finding speaks against it."""

    kind: Literal["source", "destination", "account", "named"]
    """``source``: an address or a host; ``destination``: an address or a domain; ``named``: its kind stands before
    it."""
    role: Literal["actor", "object"]


class Title(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a finding is called, in both languages."""

    en: str
    zh: str


class Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the findings of a behaviour are told."""

    level: Level
    attack: Names = ()
    title: Title
    entity: PartyPlace | None = None
    object: PartyPlace | None = None
    values: PartyPlace | None = None
    succeeded: PartyPlace | None = None


class FactBook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which streams tell which facts, and how what is found in them is told."""

    version: int
    connections: tuple[Connections, ...]
    logons: tuple[Logons, ...]
    lookups: tuple[Lookups, ...]
    uses: tuple[Uses, ...]
    names: tuple[Called, ...]
    hosts: tuple[Hosts, ...]
    told: dict[str, Told]

    def streams(self) -> frozenset[str]:
        """Every stream that tells anything."""
        maps = (*self.connections, *self.logons, *self.lookups, *self.uses, *self.names, *self.hosts)
        return frozenset(name for each in maps for name in each.streams)


@cache
def built_in_facts() -> FactBook:
    """Read the packaged book."""
    name = "behaviours.yml"
    [document] = parse_yaml((DATA_FOLDER / name).read_bytes(), file=name)
    return msgspec.convert(document, FactBook)


def title_of(behaviour: str, entity: str, towards: str, language: Language) -> str:
    """What a finding is called.

    >>> title_of("outflow", "ws-01", "files.example", "en")
    'ws-01 sends more to files.example than ever'
    """
    title = built_in_facts().told[behaviour].title
    return (title.zh if language == "zh" else title.en).format(entity=entity, object=towards)


def told_again(detection: Detection, language: Language) -> str:
    """The title of a stored finding in another language."""
    name = detection.rule_id.removeprefix(RULE_PREFIX)
    if detection.kind != "behaviour" or name not in built_in_facts().told:
        return detection.rule_title
    return title_of(name, detection.matched.get("entity", ""), detection.matched.get("object", ""), language)

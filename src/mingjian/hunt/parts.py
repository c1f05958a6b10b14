"""What travels between the process that ingests and those that do the work, as MessagePack.

Orders go out: units of inputs, piece by piece, and now and then “flush”. Parts come back: what was made of everything
since the last flush, on disk already and waiting to be committed.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from mingjian.model.blocks import Quarantined
from mingjian.store.catalogue import HostDay
from mingjian.store.detections import CountedMatch, FoundDetection
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import WrittenSegment
from mingjian.store.sightings.layout import IndexFile


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of one input that can be read by itself."""

    organisation: OrganisationId
    owner: str
    """The public id of the organisation."""
    input_id: int
    file: str
    """What the input is called in detections and in quarantine."""
    format: str
    first_number: int = 1
    first_offset: int = 0
    modified_at_s: float | None = None
    counts: bool = False
    """Its records are counted, because no offset says how far it was read: it is always read from its beginning."""
    skip_records: int = 0
    """So many records at its beginning are in the store."""
    known_bytes: int = 0
    """What is quarantined before this offset is in the store as well …"""
    skip_quarantined: int = 0
    """… and so many entries that have no offset."""


class Begin(msgspec.Struct, frozen=True, tag=True):
    """A unit begins: its data follow."""

    unit: Unit


class Data(msgspec.Struct, frozen=True, tag=True):
    """Some bytes of the unit that began last."""

    data: bytes


class End(msgspec.Struct, frozen=True, tag=True):
    """The unit is whole."""


class Flush(msgspec.Struct, frozen=True, tag=True):
    """Write everything and hand it over."""

    epoch: int


class Renew(msgspec.Struct, frozen=True, tag=True):
    """Go on, when everything up to the last flush is committed, with the rules and indicators that count now."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Go on only when everything up to the last flush is committed."""


class Pause(msgspec.Struct, frozen=True, tag=True):
    """There is nothing to do for a while."""

    seconds: float


Message: TypeAlias = Begin | Data | End | Flush | Drain | Renew | Pause


class Counted(msgspec.Struct, frozen=True):
    """How much of an input whose records are counted was read: everything that came out of it so far."""

    records: int
    quarantined: int


class Part(msgspec.Struct, kw_only=True):
    """What one process made of its share of the units of one organisation between two flushes."""

    organisation: OrganisationId
    events: int = 0
    segments: list[WrittenSegment] = []
    indexes: list[IndexFile] = []
    """Files of the sightings index."""
    hosts: list[HostDay] = []
    detections: list[FoundDetection] = []
    matches: list[CountedMatch] = []
    quarantined: list[tuple[int, Quarantined]] = []
    """With their inputs."""
    counted: dict[int, Counted] = {}
    """By input."""
    results: dict[int, int] = {}
    """Segment → detections of rules in it."""
    recognised: dict[int, dict[int, int]] = {}
    """Set of indicators → segment → detections."""


class Share(msgspec.Struct, frozen=True, tag=True):
    """Everything that one process made between two flushes."""

    epoch: int
    parts: list[Part]

"""STIX 2.1 (and 2.0): the indicators of a bundle, with what the other objects of it say about them.

Of several versions of one object the newest counts. A revoked indicator, and one whose pattern is in another language
or names nothing of ours, is said to be skipped. Markings are resolved; one that cannot be counts as ``TLP:RED``.

Source: STIX 2.1, sections 4.7 (Indicator), 7.2 (Data Markings), and the TLP 2.0 extension of OASIS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from mingjian.errors import InputError, ParseError, shown
from mingjian.formats.bounded import decode_json
from mingjian.formats.indicators.lists import DESCRIPTION_CHARACTERS_MAX, Entry
from mingjian.formats.indicators.stixpatterns import reduced
from mingjian.formats.indicators.values import Meant
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Quarantined
from mingjian.model.indicators import (
    CONFIDENCE_MAX,
    Assumed,
    Indicator,
    Marking,
    SkippedIndicator,
    Verdict,
    marking_of,
    stricter,
)
from mingjian.model.times import parse_time_us

NAMES_MAX: Final = 8
"""So many names of malware, actors … that an indicator indicates are told."""

_TLP_IDS: Final[tuple[tuple[str, Marking], ...]] = (
    ("613f2e26-407d-48c7-9eca-b8e91df99dc9", "TLP:CLEAR"),
    ("34098fce-860f-48ae-8e50-ebd3cc5e41da", "TLP:GREEN"),
    ("f88d31f6-486f-44da-b317-01333bde0b82", "TLP:AMBER"),
    ("5e57c739-391a-4eb3-b6be-7d15ca92d5ed", "TLP:RED"),
    ("94868c89-83c2-464b-929b-a1a8aa3c8487", "TLP:CLEAR"),
    ("bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "TLP:GREEN"),
    ("55d920b0-5e8b-4f79-9ee9-91f868d9b421", "TLP:AMBER"),
    ("939a9414-2ddd-4d32-a0cd-375ea402b003", "TLP:AMBER+STRICT"),
    ("e828b379-4e03-4974-9ac4-e53a884c97c1", "TLP:RED"),
)
"""The fixed ids: four of TLP 1 in STIX 2.1, five of TLP 2.0 by OASIS."""
_TLP: Final[dict[str, Marking]] = {f"marking-definition--{number}": marking for number, marking in _TLP_IDS}
_VERDICTS: Final[tuple[tuple[str, Verdict], ...]] = (
    ("malicious-activity", "malicious"),
    ("compromised", "malicious"),
    ("attribution", "malicious"),
    ("anomalous-activity", "suspicious"),
    ("anonymization", "suspicious"),
    ("benign", "benign"),
)
"""Indicator type → verdict; the first that an indicator has. One without any is for “suspicious or malicious
activity” (section 4.7)."""
_NAMED: Final = frozenset(
    {"malware", "threat-actor", "intrusion-set", "campaign", "tool", "attack-pattern", "infrastructure"}
)
_STATEMENT: Final = "statement"


class _Head(msgspec.Struct, frozen=True):
    """What every object may have."""

    type: str = ""
    id: str = ""
    name: str = ""
    modified: str = ""
    relationship_type: str = ""
    source_ref: str = ""
    target_ref: str = ""
    definition_type: str = ""
    definition: dict[str, msgspec.Raw] | None = None
    extensions: dict[str, msgspec.Raw] | None = None


class _ExternalReference(msgspec.Struct, frozen=True):
    url: str = ""
    external_id: str = ""


class _Indicator(msgspec.Struct, frozen=True):
    pattern: str
    id: str = ""
    pattern_type: str = "stix"
    name: str = ""
    description: str = ""
    valid_from: str | None = None
    valid_until: str | None = None
    confidence: int | None = None
    indicator_types: list[str] = []
    labels: list[str] = []
    revoked: bool = False
    object_marking_refs: list[str] = []
    created_by_ref: str = ""
    external_references: list[_ExternalReference] = []


_HEAD: Final = msgspec.json.Decoder(_Head)
_INDICATOR: Final = msgspec.json.Decoder(_Indicator)


class _Context:
    """What the objects of a bundle say about each other."""

    def __init__(self) -> None:
        self.newest: dict[str, tuple[str, int]] = {}
        """Id → when it was modified, and its place."""
        self.names: dict[str, str] = {}
        self.markings: dict[str, Marking] = dict(_TLP)
        self.indicated: dict[str, list[str]] = {}
        """Id of an indicator → ids of what it indicates."""

    def note(self, head: _Head, place: int) -> None:
        """Take note of an object."""
        if head.type == "indicator":
            before = self.newest.get(head.id)
            if not head.id or before is None or head.modified >= before[0]:
                self.newest[head.id or f"#{place}"] = (head.modified, place)
        elif head.type == "marking-definition":
            marking = _defined(head)
            if marking is not None and head.id not in _TLP:
                self.markings[head.id] = marking
        elif head.type == "relationship" and head.relationship_type == "indicates":
            targets = self.indicated.setdefault(head.source_ref, [])
            if len(targets) < NAMES_MAX:
                targets.append(head.target_ref)
        elif head.name and (head.type in _NAMED or head.type == "identity"):
            self.names[head.id] = head.name

    def marking(self, refs: Sequence[str], least: Marking) -> Marking:
        """The strictest of some markings."""
        for ref in refs:
            least = stricter(least, self.markings.get(ref, "TLP:RED"))
        return least


def _defined(head: _Head) -> Marking | None:
    """What a marking definition says about TLP; a mere statement says nothing. None if it cannot be told."""
    if head.definition_type == _STATEMENT:
        return ""
    words = [head.name, head.definition_type]
    for holder, key in ((head.definition, "tlp"), *((part, "tlp_2_0") for part in _parts(head.extensions))):
        raw = (holder or {}).get(key)
        if raw is not None:
            words.insert(0, bytes(raw).decode("utf-8", "replace").strip('"'))
    return next((marking for word in words if (marking := marking_of(word))), None)


def _parts(extensions: dict[str, msgspec.Raw] | None) -> Iterator[dict[str, msgspec.Raw]]:
    for raw in (extensions or {}).values():
        if bytes(raw).lstrip().startswith(b"{"):
            yield decode_json(bytes(raw), msgspec.json.Decoder(dict[str, msgspec.Raw]).decode, where="extensions")


def read(file: str, objects: Sequence[msgspec.Raw], assumed: Assumed) -> Iterator[Entry]:
    """Read the indicators among some STIX objects; what is no indicator is only used to describe them."""
    context = _Context()
    heads: list[_Head | None] = []
    for place, raw in enumerate(objects):
        try:
            head = decode_json(bytes(raw), _HEAD.decode, where=file)
            context.note(head, place)
        except InputError as error:
            yield _quarantined(file, place, error, raw)
            head = None
        heads.append(head)
    for place, (head, raw) in enumerate(zip(heads, objects, strict=True)):
        if head is None or head.type != "indicator":
            continue
        if head.id and context.newest[head.id][1] != place:
            continue
        try:
            yield from _entries(file, place, decode_json(bytes(raw), _INDICATOR.decode, where=file), context, assumed)
        except InputError as error:
            yield _quarantined(file, place, error, raw)


def _entries(file: str, place: int, said: _Indicator, context: _Context, assumed: Assumed) -> Iterator[Entry]:
    what = shown(said.name or said.id)

    def skipped(reason: str) -> SkippedIndicator:
        return SkippedIndicator(file=file, record=place + 1, what=what, reason=reason)

    if said.revoked:
        yield skipped("revoked")
        return
    if said.pattern_type != "stix":
        yield skipped(f"the pattern is in another language: {shown(said.pattern_type)}")
        return
    result = reduced(said.pattern)
    valid_from, valid_until = _time(said.valid_from), _time(said.valid_until)
    for meant, written in result.found:
        yield Indicator(
            kind=meant.kind,
            how=meant.how,
            value=meant.value,
            written=written,
            verdict=_verdict(said),
            confidence=_confidence(said, assumed),
            valid_from_us=valid_from,
            valid_until_us=valid_until,
            marking=context.marking(said.object_marking_refs, assumed.marking),
            source=context.names.get(said.created_by_ref) or assumed.source,
            reference=_reference(said),
            description=_description(said, meant, context),
        )
    for reason in result.skipped:
        yield skipped(reason)


def _time(text: str | None) -> int | None:
    if text is None:
        return None
    time_us = parse_time_us(text)
    if time_us is None:
        raise ParseError(f"{shown(text)} is no time")
    return time_us


def _verdict(said: _Indicator) -> Verdict:
    types = {re.sub(r"\s+", "-", each.casefold()) for each in (*said.indicator_types, *said.labels)}
    if not types & {name for name, _ in _VERDICTS}:
        return "unknown" if "unknown" in types else "suspicious"
    return next(verdict for name, verdict in _VERDICTS if name in types)


def _confidence(said: _Indicator, assumed: Assumed) -> int | None:
    if said.confidence is None:
        return assumed.confidence
    if not 0 <= said.confidence <= CONFIDENCE_MAX:
        raise ParseError(f"a confidence of {shown(said.confidence)}; it is 0 to {CONFIDENCE_MAX}")
    return said.confidence


def _reference(said: _Indicator) -> str:
    address = next((each.url for each in said.external_references if each.url), "")
    return address or said.id


def _description(said: _Indicator, meant: Meant, context: _Context) -> str:
    parts = [said.name if said.name not in (meant.value, said.pattern) else "", said.description]
    names = [context.names[ref] for ref in context.indicated.get(said.id, ()) if ref in context.names]
    parts.append(", ".join(names))
    return "; ".join(part for part in parts if part)[:DESCRIPTION_CHARACTERS_MAX]


def _quarantined(file: str, place: int, error: InputError, raw: msgspec.Raw) -> Quarantined:
    return Quarantined(
        file=file,
        record=place + 1,
        offset=-1,
        code=error.code,
        reason=error.what,
        data=bytes(raw)[:QUARANTINED_BYTES_MAX],
    )

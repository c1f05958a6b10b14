"""MISP events: their attributes, those of their objects too, with the tags that say how sure and how secret.

Only attributes that are meant for detection (``to_ids``) and not deleted become indicators. Composite values
(``domain|ip``, ``filename|sha256``) are taken apart.

Source: MISP core format (draft-dulaunoy-misp-core-format), sections 2.2 to 2.5; MISP taxonomies ``tlp`` and ``misp``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from mingjian.errors import InputError, ParseError, shown
from mingjian.formats.bounded import decode_json
from mingjian.formats.indicators import misptypes
from mingjian.formats.indicators.lists import DESCRIPTION_CHARACTERS_MAX, Entry
from mingjian.formats.indicators.values import meaning
from mingjian.model.blocks import QUARANTINED_BYTES_MAX, Quarantined
from mingjian.model.indicators import Assumed, Indicator, Marking, SkippedIndicator, marking_of, stricter

EVENTS_PER_MANIFEST_MAX: Final = 100_000

_CONFIDENCES: Final = {
    "completely-confident": 100,
    "usually-confident": 75,
    "fairly-confident": 50,
    "rarely-confident": 25,
    "unconfident": 0,
}
"""Source: MISP taxonomy ``misp``, predicate ``confidence-level``, its numerical values."""
_CONFIDENCE_TAG: Final = re.compile(r'misp:confidence-level="([a-z-]+)"', re.IGNORECASE)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FALSE: Final = (False, 0, "0", "false", "False", None, "")

_Truth = bool | int | str | None


class _Tag(msgspec.Struct, frozen=True):
    name: str = ""


class _Attribute(msgspec.Struct, frozen=True):
    type: str
    value: str
    to_ids: _Truth = True
    deleted: _Truth = False
    comment: str | None = ""
    uuid: str = ""
    Tag: list[_Tag] = []


class _Object(msgspec.Struct, frozen=True):
    name: str = ""
    deleted: _Truth = False
    Attribute: list[msgspec.Raw] = []


class _Organisation(msgspec.Struct, frozen=True):
    name: str = ""


class _Event(msgspec.Struct, frozen=True):
    info: str | None = ""
    uuid: str = ""
    Orgc: _Organisation | None = None
    Tag: list[_Tag] = []
    Attribute: list[msgspec.Raw] = []
    Object: list[_Object] = []


_ATTRIBUTE: Final = msgspec.json.Decoder(_Attribute)
_EVENT: Final = msgspec.json.Decoder(_Event)
_MANIFEST: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_events(file: str, events: Sequence[msgspec.Raw], assumed: Assumed, values_max: int) -> Iterator[Entry]:
    """Read the attributes of some events. They are numbered through the file, those of objects behind the others."""
    number = 0
    for place, raw in enumerate(events):
        try:
            event = decode_json(
                bytes(raw), _EVENT.decode, where=file, size_bytes_max=len(bytes(raw)), values_max=values_max
            )
        except InputError as error:
            yield _quarantined(file, place + 1, error, raw)
            continue
        groups = [event.Attribute, *(each.Attribute for each in event.Object if each.deleted in _FALSE)]
        for group in groups:
            yield from _attributes(file, event, group, number + 1, assumed, is_object=group is not event.Attribute)
            number += len(group)


def _attributes(
    file: str,
    event: _Event,
    attributes: Sequence[msgspec.Raw],
    first_number: int,
    assumed: Assumed,
    *,
    is_object: bool,
) -> Iterator[Entry]:
    """Some attributes; in an object that has the hash of a file, the name of the file says nothing by itself."""
    found: list[tuple[int, _Attribute]] = []
    for number, raw in enumerate(attributes, start=first_number):
        try:
            found.append((number, decode_json(bytes(raw), _ATTRIBUTE.decode, where=file)))
        except InputError as error:
            yield _quarantined(file, number, error, raw)
    has_hash = is_object and any(said.type.casefold() in misptypes.HASHES for _, said in found)
    for number, said in found:
        if has_hash and said.type == "filename":
            reason = "a file's name beside its hash"
            yield SkippedIndicator(file=file, record=number, what=shown(said.value), reason=reason)
            continue
        try:
            yield from _entries(file, number, said, event, assumed)
        except InputError as error:
            yield _quarantined(file, number, error, attributes[number - first_number])


def _entries(file: str, number: int, said: _Attribute, event: _Event, assumed: Assumed) -> Iterator[Entry]:
    reason = _unwanted(said)
    parts = misptypes.parts(said.type, said.value)
    if parts is None and not reason:
        reason = f"the type {shown(said.type)} is not known"
    elif isinstance(parts, str):
        reason = reason or parts
    if reason or parts is None or isinstance(parts, str):
        yield SkippedIndicator(file=file, record=number, what=shown(said.value), reason=reason)
        return
    if not parts:
        raise ParseError(f"{shown(said.value)} has not the parts of {said.type}")
    tags = [tag.name for tag in (*event.Tag, *said.Tag)]
    texts = (event.info or "", said.comment or "")
    for word, text in parts:
        for meant in meaning(text, word):
            yield Indicator(
                kind=meant.kind,
                how=meant.how,
                value=meant.value,
                written=text,
                confidence=_confidence(tags, assumed),
                marking=_marking(tags, assumed),
                source=event.Orgc.name if event.Orgc and event.Orgc.name else assumed.source,
                reference=event.uuid or said.uuid,
                description="; ".join(part for part in texts if part)[:DESCRIPTION_CHARACTERS_MAX],
            )


def _unwanted(said: _Attribute) -> str:
    if said.deleted not in _FALSE:
        return "deleted"
    return "not for detection (to_ids)" if said.to_ids in _FALSE else ""


def _marking(tags: Sequence[str], assumed: Assumed) -> Marking:
    """The strictest of the tags; one of the taxonomy ``tlp`` that is not known counts as ``TLP:RED``."""
    found = assumed.marking
    for tag in tags:
        if tag.casefold().startswith("tlp:"):
            found = stricter(found, marking_of(tag) or "TLP:RED")
    return found


def _confidence(tags: Sequence[str], assumed: Assumed) -> int | None:
    """What the last tag about it says: those of an attribute stand behind those of its event."""
    found = assumed.confidence
    for tag in tags:
        said = _CONFIDENCE_TAG.fullmatch(tag)
        if said:
            found = _CONFIDENCES.get(said[1].lower(), found)
    return found


def manifest(data: bytes, *, file: str, size_bytes_max: int) -> list[str] | None:
    """The ids of the events of a feed on disk, in order; None if this is no manifest.

    Raises: ParseError, LimitExceeded.
    """
    entries = decode_json(data, _MANIFEST.decode, where=file, size_bytes_max=size_bytes_max, values_max=size_bytes_max)
    if not entries or not all(map(_UUID.fullmatch, entries)):
        return None
    if len(entries) > EVENTS_PER_MANIFEST_MAX:
        raise ParseError(f"more than {EVENTS_PER_MANIFEST_MAX} events (EVENTS_PER_MANIFEST_MAX)", where=file)
    return sorted(entries)


def _quarantined(file: str, number: int, error: InputError, raw: msgspec.Raw) -> Quarantined:
    return Quarantined(
        file=file,
        record=number,
        offset=-1,
        code=error.code,
        reason=error.what,
        data=bytes(raw)[:QUARANTINED_BYTES_MAX],
    )

"""What the OCSF schema says of an event: compiled by ``ocsf-lib``, with what it leaves out read from the source.

``ocsf-lib`` loses two things that the source has: constraints that a class or object states in place of those of its
parent, and attributes that a class takes out of a profile (``"profile": null``).
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from ocsf.schema import OcsfAttr
from ocsf.util import get_schema

RANGES = {"integer_t": (-(1 << 31), (1 << 31) - 1), "long_t": (-(1 << 63), (1 << 63) - 1)}
NUMBERS = {"integer_t", "long_t", "port_t", "timestamp_t"}


class Schema:
    """The schema of one folder."""

    def __init__(self, folder: Path) -> None:
        self.version = json.loads((folder / "version.json").read_text())["version"]
        compiled = get_schema(str(folder))
        self._objects = compiled.objects
        self._types = compiled.types
        self.classes = {each.uid: each for each in compiled.classes.values()}
        self._sources: dict[str, dict[str, Any]] = {}
        for path in sorted(folder.rglob("*.json")):
            if path.parent.name in ("objects",) or "events" in path.parts:
                said = json.loads(path.read_text())
                prefix = "win/" if "windows" in path.parts else ""
                # What has no name adds to something that is there already.
                if "name" in said:
                    self._sources.setdefault(prefix + said["name"], said)

    def _said(self, name: str, key: str) -> Any:
        """What a class or object says, or else the one that it extends."""
        said = self._sources.get(name) or self._sources.get(name.rpartition("/")[2])
        while said is not None:
            if said.get(key) is not None:
                return said[key]
            said = self._sources.get(said.get("extends", ""))
        return None

    def _is_always(self, name: str, attribute: str) -> bool:
        said = self._sources.get(name)
        while said is not None:
            told = said.get("attributes", {}).get(attribute)
            if isinstance(told, dict) and "profile" in told:
                return told["profile"] is None
            said = self._sources.get(said.get("extends", ""))
        return False

    def problems(self, event: dict[str, Any]) -> list[str]:
        """What is wrong with an event; nothing if it is valid."""
        found = self.classes.get(event.get("class_uid", -1))
        if found is None:
            return [f"no class {event.get('class_uid')}"]
        profiles = set(event["metadata"].get("profiles", []))
        wrong = list(self._of(event, found.name, found.attributes, profiles, ""))
        if event["type_uid"] != event["class_uid"] * 100 + event["activity_id"]:
            wrong.append("type_uid")
        return wrong

    def _of(self, value: dict[str, Any], name: str, attributes: dict[str, OcsfAttr], profiles: set[str], where: str):
        for key, inner in value.items():
            attribute = attributes.get(key)
            if attribute is None:
                yield f"{where}{key}: no attribute of {name}"
                continue
            asked = attribute.profile
            if (
                asked
                and not self._is_always(name, key)
                and not profiles & {asked, *([] if isinstance(asked, str) else asked)}
            ):
                yield f"{where}{key}: of the profile {asked}"
            yield from self._value(inner, attribute, profiles, f"{where}{key}")
        for key, attribute in attributes.items():
            asked = attribute.profile
            counts = not asked or self._is_always(name, key) or (isinstance(asked, str) and asked in profiles)
            if attribute.requirement == "required" and counts and key not in value:
                yield f"{where}{key}: required by {name}"
        for kind, names in (self._said(name, "constraints") or {}).items():
            there = sum(each in value for each in names)
            if (kind == "at_least_one" and not there) or (kind == "just_one" and there != 1):
                yield f"{where or name}: {kind} of {', '.join(names)}"

    def _value(self, value: Any, attribute: OcsfAttr, profiles: set[str], where: str):
        if attribute.is_array:
            if not isinstance(value, list):
                yield f"{where}: not a list"
                return
            values = value
        else:
            values = [value]
        for each in values:
            if attribute.type in ("object", "json_t"):
                continue
            if not attribute.type.endswith("_t"):
                if not isinstance(each, dict):
                    yield f"{where}: not an object"
                else:
                    yield from self._of(
                        each, attribute.type, self._objects[attribute.type].attributes, profiles, where + "."
                    )
            else:
                yield from self._scalar(each, attribute, where)

    def _scalar(self, value: Any, attribute: OcsfAttr, where: str):
        kind = self._types.get(attribute.type)
        if attribute.type == "boolean_t":
            good = isinstance(value, bool)
        elif attribute.type in NUMBERS:
            low, high = (
                (kind.range if kind is not None and kind.range else None)
                or RANGES.get(attribute.type)
                or RANGES["long_t"]
            )
            good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        else:
            good = isinstance(value, str)
            if good and kind is not None and kind.regex:
                good = pattern(kind.regex).search(value) is not None
        if not good:
            yield f"{where}: {value!r} is no {attribute.type}"
        elif attribute.enum and str(value) not in attribute.enum:
            yield f"{where}: {value!r} is not in the list"


@cache
def pattern(text: str) -> re.Pattern[str]:
    """A pattern of the schema."""
    return re.compile(text)


@cache
def schema(folder: Path) -> Schema:
    """The schema of a folder, compiled once."""
    return Schema(folder)

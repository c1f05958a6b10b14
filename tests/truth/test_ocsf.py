"""The OCSF class and paths of every source, against the schema itself."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from mingjian.model.sources import Stream
from mingjian.sources.definitions import load_sources

EXTENSION_UID_FACTOR = 100
"""Source: OCSF, class_uid = extension uid × 100000 + category uid × 1000 + class uid."""


def _json(path: Path) -> dict[str, dict[str, object]]:
    return json.loads(path.read_bytes())


class Schema:
    """So much of the OCSF schema as says which attribute paths a class has."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.categories = {name: c["uid"] for name, c in _json(root / "categories.json")["attributes"].items()}
        self.types: dict[str, str] = {}
        self.definitions: dict[str, list[dict[str, object]]] = {}
        self.classes: dict[int, str] = {}
        uids = {}
        for extension in (root, *(path.parent for path in sorted(root.glob("extensions/*/extension.json")))):
            uid = 0 if extension == root else int(_json(extension / "extension.json")["uid"])
            dictionary = extension / "dictionary.json"
            for name, attribute in (_json(dictionary)["attributes"] if dictionary.exists() else {}).items():
                self.types[name] = str(attribute.get("type"))
            for kind in ("events", "objects"):
                for path in sorted((extension / kind).rglob("*.json")):
                    found = _json(path)
                    name = f"{kind}/{found.get('name') or found['extends']}"
                    self.definitions.setdefault(name, []).append(found)
                    if kind == "events" and "uid" in found:
                        uids[name] = uid, int(found["uid"])
        for name, (extension_uid, uid) in uids.items():
            category = self.categories.get(str(self._inherited(name, "category")), 0)
            self.classes[(extension_uid * EXTENSION_UID_FACTOR + category) * 1000 + uid] = name

    def _inherited(self, name: str, key: str) -> object:
        for found in self.definitions.get(name, []):
            if key in found:
                return found[key]
            if "extends" in found and f"events/{found['extends']}" != name:
                return self._inherited(f"events/{found['extends']}", key)
        return None

    @cache  # noqa: B019 - one schema lives as long as the tests
    def attributes(self, name: str) -> frozenset[str]:
        kind = name.partition("/")[0]
        known: set[str] = set()
        for found in self.definitions.get(name, []):
            known |= set(self._listed(found))
            parent = f"{kind}/{found.get('extends')}"
            if "extends" in found and parent != name:
                known |= self.attributes(parent)
        return frozenset(known)

    def _listed(self, found: dict[str, object]) -> Iterator[str]:
        attributes = found.get("attributes")
        assert isinstance(attributes, dict)
        for name, value in attributes.items():
            if name == "$include":
                for file in [value] if isinstance(value, str) else value:
                    (path,) = [*self.root.glob(file), *self.root.glob(f"extensions/*/{file}")]
                    yield from self._listed(_json(path))
            else:
                yield name

    def unknown_part(self, class_uid: int, path: str) -> str | None:
        """The part of an attribute path that the schema does not have."""
        if class_uid not in self.classes:
            return f"class {class_uid}"
        where = self.classes[class_uid]
        for part in path.split("."):
            if part not in self.attributes(where):
                return f"{part} in {where}"
            where = f"objects/{self.types.get(part)}"
        return None


@pytest.fixture(scope="module")
def schema(shared_data: Path) -> Schema:
    return Schema(shared_data / "ocsf")


def test_the_reading_of_the_schema_knows_classes_of_the_core_and_of_extensions(schema: Schema) -> None:
    assert schema.classes[1007] == "events/process_activity"
    assert schema.classes[201001] == "events/registry_key_activity"
    assert schema.unknown_part(1007, "process.parent_process.file.path") is None
    assert schema.unknown_part(1007, "process.nonsense") == "nonsense in objects/process"


def test_every_class_and_path_of_a_source_is_in_the_schema(schema: Schema) -> None:
    def wrong(stream: Stream) -> Iterator[str]:
        if stream.ocsf_class is None:
            return
        for path in ("metadata", *stream.ocsf_paths):
            part = schema.unknown_part(stream.ocsf_class, path)
            if part is not None:
                yield f"{stream.source}: {stream.name}: {path}: no {part}"

    found = [line for stream in load_sources().streams() for line in wrong(stream)]
    assert not found, "\n" + "\n".join(dict.fromkeys(found))

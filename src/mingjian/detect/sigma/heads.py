"""What rules, correlations and filters have in common: identity, level, tags.

Only what decides identity or matching can make a document unusable. A wrong date, tag or level is no reason to lose a
detection: it becomes a note.

Source: Sigma rules specification, section Components; Sigma tags appendix.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import TYPE_CHECKING, Final, TypeAlias, TypedDict

import msgspec

from mingjian.errors import RuleError, shown
from mingjian.model.rules import LEVELS, Level, LogSource

if TYPE_CHECKING:  # a start from the cache needs this module, but no YAML
    from mingjian.formats.bounded import Plain

TITLE_CHARACTERS_MAX: Final = 256
"""The specification's bound for titles; what is longer is cut."""

NAME_CHARACTERS_MAX: Final = 256
"""The longest id, name or log source part."""

DESCRIPTION_CHARACTERS_MAX: Final = 65_535
"""The specification's bound for descriptions; what is longer is cut."""

ID_NAMESPACE: Final = uuid.UUID("6b1f5a0e-3c64-5f0b-9d0a-6f1f8a1c2d73")
"""Namespace of the ids that rules without one get."""

_TECHNIQUE = re.compile(r"t[0-9]{4}(?:\.[0-9]{3})?")
_NOT_A_TACTIC = re.compile(r"[a-z]{1,2}[0-9]{4}(?:\.[0-9]{3})?")

Document: TypeAlias = "dict[str, Plain]"
"""One YAML document that is a map."""


class Head(TypedDict):
    """The arguments that every ``RuleHead`` takes."""

    id: str
    title: str
    file: str
    name: str | None
    level: Level
    status: str | None
    description: str
    attack: tuple[str, ...]
    tactics: tuple[str, ...]
    tags: tuple[str, ...]
    document: int


def normal_id(reference: str) -> str:
    """Write a rule id in one way: UUIDs in lower case with hyphens, anything else as it is.

    >>> normal_id("0E95725D-7320-415D-80F7-004DA920FC11 ")
    '0e95725d-7320-415d-80f7-004da920fc11'
    """
    reference = reference.strip()
    try:
        return str(uuid.UUID(reference))
    except ValueError:
        return reference


def hash_of(value: object) -> str:
    """Hash a value: BLAKE2b over its MessagePack, 16 bytes, hex."""
    try:
        encoded = msgspec.msgpack.encode(value)
    except (UnicodeEncodeError, OverflowError):  # bytes that are no text, whole numbers beyond 64 bits
        encoded = repr(value).encode("ascii", "backslashreplace")
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def head_of(document: Document, number: int, section: str, notes: list[str]) -> Head:
    """Read identity and metadata. What is wrong but harmless is added to ``notes``.

    ``section`` is the key under which the matter stands: ``detection``, ``correlation`` or ``filter``.

    Raises: RuleError.
    """
    tags = _tags(document, notes)
    names = [tag.partition(".")[2] for tag in tags if tag.startswith("attack.")]
    title = _plain(document, "title", notes)[:TITLE_CHARACTERS_MAX]
    if not title:
        notes.append("the title is missing")
    return Head(
        id=_id(document, section, title),
        title=title,
        file="",
        name=_plain(document, "name", notes) or None,
        level=_level(document, notes),
        status=_plain(document, "status", notes).lower() or None,
        description=_plain(document, "description", notes)[:DESCRIPTION_CHARACTERS_MAX],
        attack=tuple(dict.fromkeys(name.upper() for name in names if _TECHNIQUE.fullmatch(name))),
        tactics=tuple(dict.fromkeys(name.replace("_", "-") for name in names if not _NOT_A_TACTIC.fullmatch(name))),
        tags=tuple(tags),
        document=number,
    )


def texts(value: Plain, what: str) -> tuple[str, ...]:
    """Read one text or a list of texts (numbers count as their digits). Raises: RuleError."""
    several = value if isinstance(value, list) else [value]
    found: list[str] = []
    for item in several:
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise RuleError(f"{what} must be text or a list of texts, not {shown(item)}")
        text = str(item)
        if not text or len(text) > NAME_CHARACTERS_MAX:
            raise RuleError(f"{what}: {shown(text)} is empty or longer than {NAME_CHARACTERS_MAX} characters")
        found.append(text)
    return tuple(dict.fromkeys(found))


def logsource_of(document: Document) -> LogSource:
    """Read the log source. One that names no part at all means every stream. Raises: RuleError."""
    if "logsource" not in document:
        raise RuleError("the log source is missing")
    parts = document["logsource"]
    if not isinstance(parts, dict):
        raise RuleError("the log source is not a map")
    found: dict[str, str | None] = {}
    for name in ("product", "category", "service"):
        value = parts.get(name)
        if value is not None and (not isinstance(value, str) or len(value) > NAME_CHARACTERS_MAX):
            raise RuleError(f"the {name} of the log source is not text of at most {NAME_CHARACTERS_MAX} characters")
        found[name] = value.strip().lower() or None if isinstance(value, str) else None
    return LogSource(**found)


def _plain(document: Document, key: str, notes: list[str]) -> str:
    value = document.get(key)
    if isinstance(value, str):
        return value.strip()
    if value is not None:
        notes.append(f"{key} is not text")
    return ""


def _id(document: Document, section: str, title: str) -> str:
    value = document.get("id")
    if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
        written = normal_id(str(value))
        if len(written) > NAME_CHARACTERS_MAX:
            raise RuleError(f"the id is longer than {NAME_CHARACTERS_MAX} characters")
        return written
    if value is not None:
        raise RuleError(f"the id {shown(value)} is not text")
    content = repr((title, document.get("logsource"), document.get(section)))
    return str(uuid.uuid5(ID_NAMESPACE, hashlib.blake2b(content.encode("utf-8", "backslashreplace")).hexdigest()))


def _level(document: Document, notes: list[str]) -> Level:
    value = document.get("level")
    if value is None:
        return "medium"
    for level in LEVELS:
        if isinstance(value, str) and value.strip().lower() == level:
            return level
    notes.append(f"the level {shown(value)} is not one of Sigma's: medium is taken")
    return "medium"


def _tags(document: Document, notes: list[str]) -> list[str]:
    value = document.get("tags")
    if value is None:
        return []
    if not isinstance(value, list):
        notes.append("tags is not a list")
        return []
    tags: list[str] = []
    for tag in value:
        if isinstance(tag, str) and "." in tag and len(tag) <= NAME_CHARACTERS_MAX:
            tags.append(tag.strip().lower())
        else:
            notes.append(f"the tag {shown(tag)} has no namespace")
    return list(dict.fromkeys(tags))

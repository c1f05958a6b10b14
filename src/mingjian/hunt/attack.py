"""Names and tactics of ATT&CK techniques, for pages that show a matrix.

Names come from the ATT&CK galaxy inside the package ``pymispgalaxies``, which lags behind ATT&CK by up to a year; what
the version in use has changed since then is in ``data/attack.yml``.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import msgspec

from mingjian.data import DATA_FOLDER
from mingjian.errors import LimitExceeded, ParseError
from mingjian.formats.bounded import parse_yaml

GALAXY_PACKAGE = "pymispgalaxies"
GALAXY_FILE = "data/misp-galaxy/clusters/mitre-attack-pattern.json"
GALAXY_BYTES_MAX = 16 * 1024 * 1024
"""A larger file is refused; version 1.1.1 has 2.6 MB."""

_SUB_TECHNIQUE = re.compile(r"T[0-9]{4}\.[0-9]{3}")


class Tactic(msgspec.Struct, frozen=True):
    """What an adversary wants, with its name in both languages."""

    id: str
    en: str
    zh: str


class Technique(msgspec.Struct, frozen=True):
    """How an adversary gets it. A sub-technique has the id of its technique before the dot."""

    name: str
    tactics: tuple[str, ...]


class Attack(msgspec.Struct, frozen=True):
    """The matrix: tactics in its order, techniques by id."""

    version: int
    tactics: tuple[Tactic, ...]
    techniques: dict[str, Technique]


class _Changes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reference: str
    verified: bool
    version: int
    tactics: tuple[Tactic, ...]
    renamed: dict[str, str]
    moved: dict[str, tuple[str, ...]]
    named: dict[str, Technique]


class _Meta(msgspec.Struct, frozen=True):
    external_id: str = ""
    kill_chain: tuple[str, ...] = ()


class _Pattern(msgspec.Struct, frozen=True):
    value: str
    meta: _Meta = _Meta()


class _Galaxy(msgspec.Struct, frozen=True):
    values: tuple[_Pattern, ...]


def parent_of(technique: str) -> str:
    """Say which technique a sub-technique belongs to; a technique belongs to itself.

    So does whatever is no id of ATT&CK.

    >>> parent_of("T1059.001"), parent_of("T1059"), parent_of("my.own")
    ('T1059', 'T1059', 'my.own')
    """
    return technique[:5] if _SUB_TECHNIQUE.fullmatch(technique) else technique


@cache
def load_attack() -> Attack:
    """Read the matrix. Takes about 30 ms the first time.

    Without the galaxy package only the techniques of ``data/attack.yml`` have names: the page then shows the ids.

    Raises:
        ParseError, LimitExceeded: a file of the installation is damaged.
    """
    file = DATA_FOLDER / "attack.yml"
    changes = msgspec.convert(parse_yaml(file.read_bytes(), file=file.name)[0], _Changes)
    known = {tactic.id for tactic in changes.tactics}
    techniques: dict[str, Technique] = {}
    for pattern in _galaxy().values:
        id = pattern.meta.external_id
        tactics = changes.moved.get(id) or changes.moved.get(parent_of(id)) or _tactics(pattern, changes.renamed)
        tactics = tuple(tactic for tactic in tactics if tactic in known)
        if id and tactics:
            techniques[id] = Technique(pattern.value.removesuffix(f" - {id}"), tactics)
    return Attack(changes.version, changes.tactics, techniques | changes.named)


def _tactics(pattern: _Pattern, renamed: dict[str, str]) -> tuple[str, ...]:
    """The tactics of the enterprise matrix; the galaxy has them once for each platform: ``attack-Linux:execution``."""
    pairs = (step.rpartition(":") for step in pattern.meta.kill_chain)
    found = dict.fromkeys(renamed.get(tactic, tactic) for matrix, _, tactic in pairs if matrix.startswith("attack-"))
    return tuple(found)


def _galaxy() -> _Galaxy:
    # Importing the package takes 200 ms, most of it for a schema checker; its file of techniques is all that we need.
    package = find_spec(GALAXY_PACKAGE)
    if package is None or package.origin is None:
        return _Galaxy(())
    file = Path(package.origin).parent / GALAXY_FILE
    # It is part of the installation, like code: only what it is shaped like is checked, in a tenth of the time.
    if file.stat().st_size > GALAXY_BYTES_MAX:
        raise LimitExceeded("GALAXY_BYTES_MAX", GALAXY_BYTES_MAX, where=file.name)
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Galaxy)
    except msgspec.MsgspecError as error:
        raise ParseError(f"the file of techniques is damaged: {error}", where=file.name) from error


def technique_words(id: str) -> tuple[str, list[str]]:
    """The name of a technique and the names of its tactics, in English; nothing of one that is not known."""
    matrix = load_attack()
    known = matrix.techniques.get(id)
    names = {each.id: each.en for each in matrix.tactics}
    return ("", []) if known is None else (known.name, [names.get(each, each) for each in known.tactics])

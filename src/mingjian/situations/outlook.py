"""What could be seen at all: the days that history reaches over, the holes in it, and how many hosts there are.

All of it is counted anew only if something came in or went since it was counted last; meanwhile it is kept in the
cache folder.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from mingjian.hunt.answer import NAME_SEPARATOR, Answer
from mingjian.hunt.holes import Hole, HoleKind, Window, holes
from mingjian.hunt.indicating import question_about
from mingjian.model.sources import ObservableKind
from mingjian.situations.naming import label_of
from mingjian.sources.definitions import SourceBook
from mingjian.store.entities import domains_of_hosts, hosts_known, state_of_lake
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

FORMAT: Final = 3
HOLES_MAX: Final = 2_000
"""So many holes are kept, the most relevant first."""
FILES_MAX: Final = 64
_OF_EVERYBODY: Final[frozenset[HoleKind]] = frozenset({"not-run", "damaged", "never", "field"})
"""What weighs on any answer."""
SUFFIX: Final = ".outlook"


class About(NamedTuple):
    """Whom holes may matter to."""

    labels: Collection[str]
    """First labels of hosts: its own, or of those on which it was seen."""
    streams: Collection[str]
    """In which it was seen."""
    organisations: Collection[str]
    """Names of those that saw it."""


class Outlook(msgspec.Struct, frozen=True):
    """What could be seen of one kind of observables."""

    window: Window | None
    holes: tuple[Hole, ...]
    hosts_all: int
    domains: dict[int, tuple[str, ...]] = {}
    """Organisation → domains that its hosts are in."""

    def answer(self, found: int, about: About) -> Answer:
        """The answer to a question of which so many events were found; what matters most to whom it is about first."""
        ranked = sorted(self.holes, key=lambda hole: _closeness(hole, about))
        return Answer(found=found, window=self.window, holes=tuple(ranked))


def _closeness(hole: Hole, about: About) -> int:
    """How close a hole is: 0 if it is about the same hosts, 1 about the same streams, 2 the same organisation."""
    if hole.kind in _OF_EVERYBODY:
        return 0
    if hole.organisation and about.organisations and hole.organisation not in about.organisations:
        return 3
    if hole.kind in ("host", "host-never"):
        names = {label_of(name) for name in hole.what.split(NAME_SEPARATOR)}
        return 0 if names & set(about.labels) else 2
    if hole.kind in ("stream", "retention"):
        return 1 if hole.what in about.streams else 2
    return 2


def outlook(
    workspace: Workspace,
    scope: Scope,
    kind: ObservableKind,
    sources: SourceBook,
    organisation: OrganisationId | None = None,
    *,
    cache_folder: Path | None = None,
) -> Outlook:
    """Say what could be seen of a kind of observables.

    Raises:
        StorageError: the database cannot be read.
    """
    state = (FORMAT, workspace.public_id, kind, organisation, scope.readable(), state_of_lake(workspace))
    name = hashlib.blake2b(repr(state).encode(), digest_size=16).hexdigest() + SUFFIX
    kept = None if cache_folder is None else _read(cache_folder / name)
    if kept is not None:
        return kept
    question = question_about(workspace, scope, {kind}, sources, organisation)
    window, found = holes(workspace, scope, question)
    made = Outlook(
        window,
        tuple(found[:HOLES_MAX]),
        hosts_known(workspace, scope, organisation),
        {int(owner): names for owner, names in domains_of_hosts(workspace, scope).items()},
    )
    if cache_folder is not None:
        _write(cache_folder, name, msgspec.msgpack.encode(made))
    return made


def _read(path: Path) -> Outlook | None:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Outlook)
    except (OSError, msgspec.MsgspecError):
        return None


def _write(folder: Path, name: str, data: bytes) -> None:
    """Keep it for the next time, if that is possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder, suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(part).replace(folder / name)
        files = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in files[FILES_MAX:]:
            old.unlink(missing_ok=True)
    except OSError:
        return

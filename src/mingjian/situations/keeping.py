"""Keeping situations up to date: looking into what was detected since, grouping anew where something changed.

For the process that does the upkeep beside ingest, and for the command that does it by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mingjian.hunt.evidence import EvidenceReader
from mingjian.situations.policy import policy
from mingjian.situations.regrouping import Regrouped, regroup
from mingjian.sources.definitions import SourceBook
from mingjian.store.catalogue import organisations
from mingjian.store.evidence import evidence_count
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace


class Keeper:
    """Remembers how far each organisation is. Not for several threads at once; may be made before a fork."""

    def __init__(self, workspace: Workspace, sources: SourceBook, cache_folder: Path | None) -> None:
        self._workspace = workspace
        self._sources = sources
        self._cache_folder = cache_folder
        self._scope = Scope.of_operator()
        self._reader: EvidenceReader | None = None
        self._grouped: dict[OrganisationId, tuple[int, int, int]] = {}

    def step(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Bring every organisation up to date; say whether there was anything to do.

        Raises:
            StorageError: the workspace cannot be read, or not written to.
        """
        was_busy = False
        for organisation in organisations(self._workspace, self._scope):
            if should_stop():
                break
            was_busy = self.bring_up_to_date(organisation.id, should_stop) is not None or was_busy
        return was_busy

    def bring_up_to_date(
        self, organisation: OrganisationId, should_stop: Callable[[], bool] = lambda: False
    ) -> Regrouped | None:
        """Do it for one organisation; None if nothing has changed since this process last did it."""
        if self._reader is None:
            lists = WarningLists(cache_folder=self._cache_folder)
            is_observer = policy().is_observer
            self._reader = EvidenceReader(self._workspace, self._scope, self._sources, lists, is_observer=is_observer)
        self._reader.gather(organisation, should_stop)
        # Detections go as well (a correlation that does not hold any more), or are hidden: then the numbers differ.
        state = evidence_count(self._workspace, organisation)
        if should_stop() or self._grouped.get(organisation) == state:
            return None
        done = regroup(self._workspace, self._scope, organisation)
        self._grouped[organisation] = state
        return done

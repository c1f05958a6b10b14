"""Keeping situations up to date: looking into what was detected since, grouping anew where something changed.

For the process that does the upkeep beside ingest, and for the command that does it by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mingjian.hunt.evidence import EvidenceReader
from mingjian.situations.policy import policy, policy_digest
from mingjian.situations.regrouping import Regrouped, regroup
from mingjian.sources.definitions import SourceBook
from mingjian.store.catalogue import organisations
from mingjian.store.evidence import evidence_count, grouped_state, last_detection, set_grouped_state
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace

LOOK_AGAIN_S: Final = 60.0
"""Without new detections it is looked so often whether some went, or were hidden."""
LATE_NUMBERS: Final = 100_000
"""A detection may be committed after others with higher numbers: so far back it is looked for such."""


class Keeper:
    """Goes on where it, or another process, has ended. Not for several threads at once; may be made before a fork."""

    def __init__(
        self,
        workspace: Workspace,
        sources: SourceBook,
        cache_folder: Path | None,
        lists: WarningLists | None = None,
    ) -> None:
        """``lists``: the warning lists; if they are not given, those of the package."""
        self._workspace = workspace
        self._sources = sources
        self._lists = WarningLists(cache_folder=cache_folder) if lists is None else lists
        self._scope = Scope.of_operator()
        self._reader: EvidenceReader | None = None
        self._looked_at: dict[OrganisationId, int] = {}
        self._last = -1
        self._look_again_s = 0.0

    def step(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Bring every organisation up to date; say whether there was anything to do.

        Raises:
            StorageError: the workspace cannot be read, or not written to.
        """
        last = last_detection(self._workspace)
        if last == self._last and time.monotonic() < self._look_again_s:
            return False
        was_busy = False
        for organisation in organisations(self._workspace, self._scope):
            was_busy = self._bring_up_to_date(organisation.id, should_stop) is not None or was_busy
            if should_stop():
                return was_busy
            self._looked_at[organisation.id] = last
        self._last = last
        self._look_again_s = time.monotonic() + LOOK_AGAIN_S
        return was_busy

    def _bring_up_to_date(self, organisation: OrganisationId, should_stop: Callable[[], bool]) -> Regrouped | None:
        """Do it for one organisation; None if nothing has changed since it was done last."""
        if self._reader is None:
            self._reader = EvidenceReader(
                self._workspace, self._scope, self._sources, self._lists, is_observer=policy().is_observer
            )
        after = max(0, self._looked_at.get(organisation, 0) - LATE_NUMBERS)
        self._reader.gather(organisation, should_stop, after_id=after)
        # Detections go as well (a correlation that does not hold any more), or are hidden: then the numbers differ.
        state = f"{policy_digest()} {evidence_count(self._workspace, organisation)}"
        if should_stop() or grouped_state(self._workspace, organisation) == state:
            return None
        done = regroup(self._workspace, self._scope, organisation)
        set_grouped_state(self._workspace, organisation, state)
        return done

"""Keeping situations up to date: looking into what was detected since, grouping anew where something changed.

For the process that does the upkeep beside ingest (``keep_up``), and for the command that does it by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mingjian.hunt.chores import upkeep
from mingjian.hunt.errands import Errands, in_turn
from mingjian.hunt.evidence import EvidenceReader
from mingjian.situations.policy import policy
from mingjian.situations.regrouping import Regrouped, Regrouper, is_grouped
from mingjian.sources.definitions import SourceBook
from mingjian.store.catalogue import organisations
from mingjian.store.evidence import last_detection, organisations_with_news
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
        self._regrouper = Regrouper(workspace)
        self._last = 0
        self._look_again_s = 0.0

    def step(self, should_stop: Callable[[], bool] = lambda: False) -> bool:
        """Bring every organisation up to date; say whether there was anything to do.

        Raises:
            StorageError: the workspace cannot be read, or not written to.
        """
        last = last_detection(self._workspace)
        is_due = time.monotonic() >= self._look_again_s
        if last == self._last and not is_due:
            return False
        # Of all organisations now and then: detections go as well, are hidden, or are committed late.
        after = max(0, self._last - LATE_NUMBERS) if is_due else self._last
        asked = [each.id for each in organisations(self._workspace, self._scope)]
        if not is_due:
            news = organisations_with_news(self._workspace, after)
            asked = [each for each in asked if each in news]
        was_busy = False
        for organisation in asked:
            was_busy = self._bring_up_to_date(organisation, should_stop, after) is not None or was_busy
            if should_stop():
                return was_busy
        self._last = last
        if is_due:
            self._look_again_s = time.monotonic() + LOOK_AGAIN_S
        return was_busy

    def _bring_up_to_date(
        self, organisation: OrganisationId, should_stop: Callable[[], bool], after: int
    ) -> Regrouped | None:
        """Do it for one organisation; None if nothing has changed since it was done last."""
        if self._reader is None:
            self._reader = EvidenceReader(
                self._workspace, self._scope, self._sources, self._lists, is_observer=policy().is_observer
            )
        self._reader.gather(organisation, should_stop, after_id=after)
        if should_stop() or is_grouped(self._workspace, organisation):
            return None
        return self._regrouper.regroup(self._scope, organisation)


def keep_up(workspace: Workspace, sources: SourceBook, cache_folder: Path | None, starter: Path | None = None) -> None:
    """Do all upkeep, run what waits over history, and keep situations up to date, until SIGTERM comes.

    With ``starter`` (the rules that count if the workspace has none) errands as well. For a process of its own.
    """
    also = Keeper(workspace, sources, cache_folder).step
    if starter is not None:
        also = in_turn(Errands(workspace, sources, cache_folder, starter).step, also)
    upkeep(workspace, sources, cache_folder, also)

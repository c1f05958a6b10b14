"""Whether something was found since the last look, by organisation: for pages that wait for it.

The numbers of detections rise. Of those behind the last known one it is looked up whose they are, once for everybody:
a look costs as much as there is new, however many detections there are and however many wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

LOOK_S: Final = 1.0
"""So often it is looked whether there are others."""


class Newest:
    """Follows the detections. For the threads of one process."""

    def __init__(self, workspace: Workspace, clock_s: Callable[[], float] = time.monotonic) -> None:
        """``clock_s`` says when it is time to look again."""
        self._workspace = workspace
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._known: int | None = None
        self._of: dict[OrganisationId, int] = {}
        self._looked_s = 0.0

    def detection(self, scope: Scope) -> int:
        """A number that rises when something is found that the scope may see; 0 if nothing was since the first look.

        Raises: StorageError.
        """
        with self._lock:
            if self._known is None or self._clock_s() - self._looked_s >= LOOK_S:
                self._look()
                self._looked_s = self._clock_s()
            return max((number for owner, number in self._of.items() if scope.may_read(owner)), default=0)

    def _look(self) -> None:
        table = t.detections
        with self._workspace.read() as connection:
            if self._known is None:
                self._known = connection.execute(sa.select(sa.func.max(table.c.id))).scalar_one() or 0
                return
            newer = sa.select(table.c.organisation_id, table.c.id).where(table.c.id > self._known).order_by(table.c.id)
            for owner, number in connection.execute(newer):
                self._of[OrganisationId(owner)] = self._known = number

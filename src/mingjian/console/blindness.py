"""Where nothing can be seen: counted in the background, so that no page waits for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mingjian.errors import NotFound, StorageError
from mingjian.hunt.holes import Hole, Question, Window, holes
from mingjian.store.scope import OrganisationId
from mingjian.telemetry import logger, with_fields

if TYPE_CHECKING:
    from mingjian.console.site import Visit

OLD_S: Final = 60.0
"""A count that is older is found out anew."""

Blind = tuple[Window | None, Sequence[Hole]]

_log = logger("console")
_counts: dict[tuple[object, ...], int] = {}
_running: set[tuple[object, ...]] = set()
_mutex = threading.Lock()


def blind_spots(visit: Visit, organisation: OrganisationId | None) -> Blind:
    """The time that history reaches over, and the holes in it."""
    workspace, scope = visit.workspace, visit.scope
    key = (workspace.public_id, scope.readable(), organisation)

    def look() -> Blind:
        return holes(workspace, scope, Question(organisation=organisation))

    found = visit.lately("blind", OLD_S, look, organisation)
    with _mutex:
        _counts[key] = len(found[1])
    return found


def blind_count(visit: Visit) -> int | None:
    """How many holes there are, as far as it is known; if that is long ago it is found out meanwhile."""
    organisation = visit.organisation()
    key = (visit.workspace.public_id, visit.scope.readable(), organisation)

    def look() -> None:
        try:
            blind_spots(visit, organisation)
        except (StorageError, NotFound) as error:
            _log.warning("blind spots cannot be counted", extra=with_fields(error=str(error)))
        finally:
            with _mutex:
                _running.discard(key)

    with _mutex:
        is_new = key not in _running
        _running.add(key)
    if is_new:
        threading.Thread(target=look, name="blind spots", daemon=True).start()
    return _counts.get(key)

"""The process beside the one that takes logs in: upkeep of the store, hunts that wait, situations."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from mingjian.hunt.companions import companion
from mingjian.sources.definitions import SourceBook
from mingjian.store.workspace import Workspace

BESIDE_AFTER_S: Final = 10.0
"""Beside something that may be over soon the process waits so long before it begins (merging waits longer): until then
memory and processor are for what was asked for."""


def kept_up(
    workspace: Workspace,
    sources: SourceBook,
    cache_folder: Path | None,
    starter: Path | None = None,
    *,
    after_s: float = 0.0,
) -> AbstractContextManager[Callable[[], None]]:
    """Let a process beside this one do what ``situations.keeping.keep_up`` does, after so many seconds.

    For whoever writes (``Workspace.writing``) and has no connection open. Ends and gives what ``companion`` does.
    """

    def live() -> None:
        time.sleep(after_s)
        # Imported there: whoever takes logs in does not wait for what only that process needs.
        from mingjian.situations.keeping import keep_up

        keep_up(workspace, sources, cache_folder, starter)

    return companion("upkeep", live)

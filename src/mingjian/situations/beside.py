"""The process beside the one that takes logs in: upkeep of the store, hunts that wait, situations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from mingjian.hunt.companions import companion
from mingjian.sources.definitions import SourceBook
from mingjian.store.workspace import Workspace


def kept_up(
    workspace: Workspace, sources: SourceBook, cache_folder: Path | None, starter: Path | None = None
) -> AbstractContextManager[Callable[[], None]]:
    """Let a process beside this one do what ``situations.keeping.keep_up`` does.

    For whoever writes (``Workspace.writing``) and has no connection open. Ends and gives what ``companion`` does.
    """

    def live() -> None:
        # Imported there: whoever takes logs in does not wait for what only that process needs.
        from mingjian.situations.keeping import keep_up

        keep_up(workspace, sources, cache_folder, starter)

    return companion("upkeep", live)

"""The exit codes, which scripts rely on."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FOUND = 1
    """What was checked for is there; only with ``--fail-on``."""
    WRONG_USE = 2
    """Arguments or settings that cannot be used. Nothing was done."""
    QUARANTINED = 3
    """Done, but a part of the input could not be read and is in quarantine."""
    FAILED = 4
    """Not done."""
    DEFECT = 70
    """Not done, and the fault is ours."""
    INTERRUPTED = 130
    """Somebody pressed Ctrl-C."""
    READER_GONE = 141
    """Whoever read our output stopped reading, for example ``| head``."""

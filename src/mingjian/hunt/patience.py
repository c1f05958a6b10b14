"""What to do when the disk is full: stop, say it, and go on by itself once there is space."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import Final, TypeVar

from mingjian.errors import StorageError

FIRST_WAIT_S: Final = 0.5
WAIT_S_MAX: Final = 15.0
"""After this long at the latest it is tried again."""

_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_PASSING_WORDS: Final = ("is full", "disk i/o error", "database is locked", "no space left", "quota exceeded")
"""As the databases say it: SQLite, PostgreSQL."""

T = TypeVar("T")
Say = Callable[[str], None]
"""Told what is the matter, and with an empty text that it is over."""


def may_pass(error: StorageError) -> bool:
    """Whether what went wrong may mend by itself: there is no space, or somebody else is just writing."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _PASSING:
            return True
        cause = cause.__cause__
    return any(words in error.what.lower() for words in _PASSING_WORDS)


def insist(action: Callable[[], T], say: Say, *, sleep: Callable[[float], None] = time.sleep) -> T:
    """Do something that needs space on the disk, and try again for as long as there is none.

    Raises:
        StorageError: it cannot be done, and waiting will not change that.
    """
    wait_s = FIRST_WAIT_S
    told = False
    while True:
        try:
            result = action()
        except StorageError as error:
            if not may_pass(error):
                raise
            say(str(error))
            told = True
            sleep(wait_s)
            wait_s = min(2 * wait_s, WAIT_S_MAX)
            continue
        if told:
            say("")
        return result

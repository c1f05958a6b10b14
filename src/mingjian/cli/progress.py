"""One line on a terminal that says how far a run is. Nothing anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TextIO

REDRAW_S = 0.2
"""The line is drawn anew not more often than this."""


class Progress:
    """Shows bytes and events read so far, on a terminal only, and wipes the line at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = stream.isatty()
        self._started = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()

    def show(self, bytes_read: int, events: int) -> None:
        """Draw the line if it is time to."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < REDRAW_S:
            return
        self._drawn = now
        speed = events / max(now - self._started, 1e-3)
        self._stream.write(f"\r\x1b[2K{bytes_read / 1e6:,.0f} MB, {events:,} events, {speed:,.0f} events/s")
        self._stream.flush()

"""Where one syslog message ends and the next begins in a stream of bytes (TCP, TLS).

Both ways of RFC 6587 are understood, also mixed: *octet counting* (``11 <13>a: hello``), which RFC 5425 demands for
TLS, and messages that end with a line feed or a NUL byte. Which one a message uses is seen at its start: a number, a
space and ``<``. How the bytes are cut into pieces never changes the messages.

Source: RFC 6587 sections 3.4.1 and 3.4.2, RFC 5425 section 4.3.
"""

from __future__ import annotations

import re
from typing import Final

MESSAGE_BYTES_MAX: Final = 256 * 1024
"""Of a longer message the beginning is kept, the rest is passed over and counted (fails open)."""
COUNT_DIGITS_MAX: Final = 9
"""So many digits a message length may have."""

_COUNTED = re.compile(rb"([1-9][0-9]{0,%d}) <" % (COUNT_DIGITS_MAX - 1))
_MAYBE_COUNTED = re.compile(rb"[1-9][0-9]{0,%d} ?\Z" % (COUNT_DIGITS_MAX - 1))
_END = re.compile(rb"[\n\0]")


class Framing:
    r"""Cuts the bytes of one connection into messages. Keeps at most one unfinished message in memory.

    >>> framing = Framing()
    >>> framing.feed(b"<13>one\n8 <13>t"), framing.feed(b"wo\n\n<13>three"), framing.rest()
    ([b'<13>one'], [b'<13>two\n'], [b'<13>three'])
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._searched = 0
        self._skip_bytes = 0
        self._skip_line = False
        self.cut = 0
        """Messages that were longer than ``MESSAGE_BYTES_MAX``."""

    @property
    def unfinished(self) -> bool:
        """Whether the beginning of a message waits for its end."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes; give the messages that are whole now. Empty lines are none."""
        self._pending += data
        messages: list[bytes] = []
        at = 0
        while at < len(self._pending):
            step = self._step(at, messages)
            if step == 0:
                break
            at += step
        if at:
            del self._pending[:at]
            self._searched = 0
        return messages

    def rest(self) -> list[bytes]:
        """At the end of the connection: what waited for its end, as it is."""
        counted = _COUNTED.match(self._pending)
        message = bytes(self._pending[counted.end(1) + 1 if counted else 0 :])
        skipping = self._skip_line or self._skip_bytes
        self._pending.clear()
        return [message] if message and not skipping else []

    def _step(self, at: int, messages: list[bytes]) -> int:
        """Handle what begins at an offset; say how many bytes are done with, 0 if more are needed."""
        if self._skip_bytes:
            passed = min(self._skip_bytes, len(self._pending) - at)
            self._skip_bytes -= passed
            return passed
        if self._skip_line:
            return self._pass_over_line(at)
        if self._pending[at] in b"\n\0\r":
            return 1
        if 0x31 <= self._pending[at] <= 0x39:
            counted = _COUNTED.match(self._pending, at)
            if counted is not None:
                return self._counted(counted.end(1) + 1, at, int(counted[1]), messages)
            if _MAYBE_COUNTED.match(self._pending, at):
                return 0
        return self._line(at, messages)

    def _counted(self, start: int, at: int, size: int, messages: list[bytes]) -> int:
        kept = min(size, MESSAGE_BYTES_MAX)
        if len(self._pending) < start + kept:
            return 0
        messages.append(bytes(self._pending[start : start + kept]))
        if size > kept:
            self.cut += 1
            self._skip_bytes = size - kept
        return start + kept - at

    def _line(self, at: int, messages: list[bytes]) -> int:
        found = _END.search(self._pending, max(at, self._searched))
        end = len(self._pending) if found is None else found.start()
        if end - at > MESSAGE_BYTES_MAX:
            messages.append(bytes(self._pending[at : at + MESSAGE_BYTES_MAX]))
            self.cut += 1
            self._skip_line = True
            return MESSAGE_BYTES_MAX
        if found is None:
            self._searched = end
            return 0
        messages.append(bytes(self._pending[at:end]))
        return end + 1 - at

    def _pass_over_line(self, at: int) -> int:
        found = _END.search(self._pending, at)
        if found is None:
            return len(self._pending) - at
        self._skip_line = False
        return found.end() - at

"""What the program says about itself: log lines, counters, and values that must not be said.

In: events of our own. Out: one JSON object per line on stderr. Never: a control character, a text direction mark or
a secret in a line, whatever the outside put into it.
"""

from __future__ import annotations

import json
import logging
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hmac import compare_digest
from threading import Lock
from typing import NoReturn, TextIO, TypeAlias

from mingjian.settings import LogLevel

TEXT_CHARACTERS_MAX = 1000
"""So much of one text value a log line shows; the rest is cut and the cut is marked with ``…``."""

Field: TypeAlias = "str | int | float | bool | Secret | None"
"""What a field of a log line may hold."""

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode general categories that steer a terminal or a reader's eye instead of being seen themselves."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Secret:
    """A value that is never shown: it prints as ``***``, in every way there is to print it.

    >>> f"{Secret('hunter2')} {Secret('hunter2')!r} {[Secret('hunter2')]}"
    '*** *** [***]'
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the value itself. Call it only where the value leaves for whom it is meant."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # pyright: ignore[reportAssignmentType] - a hash of a secret tells something about it

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be copied to another process or stored")


@lru_cache(maxsize=4096)
def _seen(character: str, json_form: bool) -> str:
    if unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    if not json_form and character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    if json_form:
        return json.dumps(character)[1:-1] if code > 0x7E else f"\\u{code:04x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    r"""Make everything in a text that a reader would not see visible, and nothing else.

    Control characters (C0, DEL, C1, so also ESC), line and paragraph separators, format characters (text direction,
    zero width, tags) and lone surrogates become ``\n``, ``\x1b``, ``\u202e``, ``\U000e0041``. Repeating it changes
    nothing. A backslash is itself, so that Windows paths stay readable; where a text must be read back, use JSON.

    >>> print(visible("C:\\tmp \x1b[2J \u202egnp.exe 明见"))
    C:\tmp \x1b[2J \u202egnp.exe 明见
    """
    return text if text.isprintable() else "".join([_seen(c, False) for c in text])


def visible_json(text: str) -> str:
    r"""Do the same for a finished JSON text: what is not seen becomes a JSON escape, so its meaning stays.

    >>> print(visible_json('"\u202e\x7f"'))
    "\u202e\u007f"
    """
    return text if text.isprintable() else "".join([_seen(c, True) for c in text])


class LineFormatter(logging.Formatter):
    """Turns a log record into one line of JSON: ``time``, ``level``, ``logger``, ``message``, then its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as a line, without the line end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        given: Mapping[str, Field] = getattr(record, "mingjian_fields", {})
        line: dict[str, str | int | float | bool | None] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
        }
        for name, value in given.items():
            line[name] = _cut(str(value)) if isinstance(value, str | Secret) else value
        if record.exc_info:
            line["exception"] = _cut(self.formatException(record.exc_info))
        return visible_json(json.dumps(line, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS_MAX else text[: TEXT_CHARACTERS_MAX - 1] + "…"


def logger(name: str) -> logging.Logger:
    """Give the logger of one room, a child of ``mingjian``. Log with ``extra=with_fields(...)``."""
    return logging.getLogger(f"mingjian.{name}")


def with_fields(**values: Field) -> dict[str, dict[str, Field]]:
    """Attach fields to a log line: ``log.info("rules loaded", extra=with_fields(rules=3))``."""
    return {"mingjian_fields": values}


def start_logging(stream: TextIO, level: LogLevel) -> None:
    """Send log lines, also those of libraries, to one stream. Calling it again replaces stream and level."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class Counters:
    """Named counts that only rise. Safe to use from several threads.

    >>> counters = Counters()
    >>> counters.add("quarantined"); counters.add("events", 500)
    >>> counters.values()
    {'events': 500, 'quarantined': 1}
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._values: dict[str, int] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Raise one count. Its name comes from our code, never from input: there are few."""
        assert count >= 0
        with self._lock:
            self._values[name] = self._values.get(name, 0) + count

    def merge(self, values: Mapping[str, int]) -> None:
        """Add all counts of another process."""
        for name, count in values.items():
            self.add(name, count)

    def values(self) -> dict[str, int]:
        """Give all counts, sorted by name."""
        with self._lock:
            return dict(sorted(self._values.items()))

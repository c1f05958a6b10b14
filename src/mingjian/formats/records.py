"""Blocks of records that are already whole: what most readers emit."""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from mingjian.model.values import EMPTY, MISSING, Missing, Record, Value, find

BLOCK_RECORDS_MAX = 8192
"""Readers cut their output into blocks of at most this many records."""


TOO_DEEP = '"…"'.encode()
"""Stands for the JSON of a value nested deeper than orjson writes (254 levels): no rule matches inside of it."""


class RecordBlock:
    """A block over a list of records. ``raws`` may be given where the original bytes are at hand."""

    __slots__ = ("_keys", "_raws", "_records", "format", "numbers")

    def __init__(
        self, format_name: str, numbers: Sequence[int], records: list[Record], raws: Sequence[bytes] | None = None
    ) -> None:
        assert len(numbers) == len(records)
        self.format = format_name
        self.numbers = numbers
        self._records = records
        self._raws = raws
        self._keys: frozenset[str] | None = None

    def column(self, path: str) -> Sequence[Value | Missing]:
        """The value at one dotted path for every record, ``MISSING`` where there is none."""
        return self._column(path, self._records)

    def columns(self, paths: Sequence[str], rows: Sequence[int] | None = None) -> list[Sequence[Value | Missing]]:
        """Several columns, for all records or for those with the given indexes."""
        chosen = self._records if rows is None else [self._records[row] for row in rows]
        return [self._column(path, chosen) for path in paths]

    def _column(self, path: str, records: list[Record]) -> list[Value | Missing]:
        keys = self._top_keys()
        if "." in path and any(head in keys for head in _heads(path)):
            return [find(record, path) for record in records]
        if path not in keys:
            return [MISSING] * len(records)
        return [record.get(path, MISSING) for record in records]

    def _top_keys(self) -> frozenset[str]:
        """The top-level keys of all records: most paths that somebody asks for begin with none of them."""
        if self._keys is None:
            # Many records have the same keys in the same order.
            self._keys = frozenset().union(*set(map(tuple, self._records)))
        return self._keys

    def record(self, row: int) -> Record:
        """One whole record."""
        return self._records[row]

    def records(self, rows: Sequence[int]) -> list[Record]:
        """Several whole records."""
        return [self._records[row] for row in rows]

    def raw(self, row: int) -> bytes:
        """The bytes the record was made of, or its compact JSON."""
        return self._raws[row] if self._raws is not None else json_bytes(self._records[row])

    def take(self, rows: Sequence[int]) -> RecordBlock:
        """A block of the records with these indexes only."""
        return RecordBlock(
            self.format,
            [self.numbers[row] for row in rows],
            [self._records[row] for row in rows],
            None if self._raws is None else [self._raws[row] for row in rows],
        )

    def containing(self, needles: Sequence[str]) -> Sequence[int] | None:
        """No sieve: every record may hold the needles."""
        return None


def _heads(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def json_bytes(value: Value) -> bytes:
    """Compact JSON of a value; ``EMPTY`` becomes the empty text, lone surrogates and huge numbers survive as text.

    >>> json_bytes({"a": [1, True, None]})
    b'{"a":[1,true,null]}'
    """
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        pass
    try:
        return orjson.dumps(_writable(value), default=_plain)
    except (TypeError, RecursionError):
        return TOO_DEEP


def _plain(value: object) -> object:
    if value is EMPTY:
        return ""
    raise TypeError(f"not a value of a record: {type(value).__name__}")


_SURROGATE = re.compile("[\ud800-\udfff]")


def _spelled(found: re.Match[str]) -> str:
    """A lone surrogate in words: the byte that it keeps, or its own code."""
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _writable(value: Value) -> Value:
    if isinstance(value, str):
        return _SURROGATE.sub(_spelled, value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        return str(value)
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, dict):
        return {str(_writable(key)): _writable(item) for key, item in value.items()}
    return value

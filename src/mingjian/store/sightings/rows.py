"""Rows of the index in memory, in columns, and how several runs of them become one.

A row is one observable in one group (organisation, source, role) on one day: how often, first, last, and in which
segments. Rows stand in the order of key, group and day, each once. Everything that writes, merges, compares or looks
up does it with these columns. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np

from mingjian.errors import LimitExceeded
from mingjian.store.sightings.columns import Bytes, Column, Mask, appended, binaries, taken
from mingjian.store.sightings.hashing import bytes_of, fixed_width

Keys: TypeAlias = Bytes

DAY_US: Final = 86_400_000_000
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
"""Days are counted here as ``date.toordinal`` does: 1 is 1 January of the year 1, so 0 is free."""
NO_DAY: Final = 0
"""The day of events that do not tell their time."""
DAY_BITS: Final = 22
"""Enough for 31 December 9999."""
NO_FIRST: Final = 2**63 - 1
NO_LAST: Final = -(2**63)
"""First and last of rows without a day: whatever they are merged with wins."""

GROUPS_MAX: Final = 1 << 20
"""So many combinations of organisation, source and role fit into one file."""
KEYS_AT_ONCE_MAX: Final = 1 << 20
"""So many distinct keys are put in order at once."""
RANK_BITS: Final = 24
SEGMENTS_PER_DAY_MAX: Final = 1 << RANK_BITS
"""So many segments of one source of one organisation on one day can be told apart."""

_COMPARED_BYTES_MAX: Final = 128
"""So many bytes of keys are compared all at once; keys that begin with the same so many are put in order singly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Some rows. ``key`` and all below it are parallel, ``ranks`` holds ``segments[i]`` numbers for row ``i``."""

    keys: Keys
    """The distinct keys, rising."""
    key: Column
    """Index into ``keys``; never falls."""
    group: Column
    """Number in the table of groups that the rows go with."""
    day: Column
    """As ``date.toordinal``, or ``NO_DAY``."""
    count: Column
    first: Column
    """Microseconds since 1970 UTC, or ``NO_FIRST``."""
    last: Column
    segments: Column
    """How many segments."""
    ranks: Column
    """Which segments: places in the list of those of the row's organisation, source and day; rising in each row."""

    def __len__(self) -> int:
        return len(self.key)

    def part(self, start: int, stop: int) -> Rows:
        """The rows from ``start`` to ``stop``, with the keys that these have."""
        first_key, end_key = (int(self.key[start]), int(self.key[stop - 1]) + 1) if start < stop else (0, 0)
        ends = np.concatenate(([0], np.cumsum(self.segments)))
        return Rows(
            keys=self.keys.slice(first_key, end_key - first_key),
            key=self.key[start:stop] - first_key,
            group=self.group[start:stop],
            day=self.day[start:stop],
            count=self.count[start:stop],
            first=self.first[start:stop],
            last=self.last[start:stop],
            segments=self.segments[start:stop],
            ranks=self.ranks[ends[start] : ends[stop]],
        )

    def filtered(self, wanted: Mask) -> Rows:
        """Some of the rows, with the keys that these have."""
        if wanted.all():
            return self
        used, key = np.unique(self.key[wanted], return_inverse=True)
        return Rows(
            keys=taken(self.keys, used),
            key=key,
            group=self.group[wanted],
            day=self.day[wanted],
            count=self.count[wanted],
            first=self.first[wanted],
            last=self.last[wanted],
            segments=self.segments[wanted],
            ranks=self.ranks[np.repeat(wanted, self.segments)],
        )


def no_keys() -> Keys:
    """A column of no keys."""
    return binaries([])


def ranges(starts: Column, counts: Column) -> Column:
    """All numbers of several ranges, one range behind the other.

    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def changes(*columns: Column) -> Mask:
    """Where at least one of some parallel columns is not what it was in the row before; the first row counts."""
    changed = np.zeros(len(columns[0]), bool)
    changed[:1] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return changed


def sorted_order(numbers: Column) -> Column:
    """Where the numbers, none of which is negative, stand from the least to the greatest; equal ones as they stood."""
    if not len(numbers):
        return np.zeros(0, np.int64)
    bits = len(numbers).bit_length()
    if int(numbers.max()).bit_length() + bits > 63:
        return np.argsort(numbers, kind="stable")
    # Sorting numbers with their places in the last bits is several times faster than sorting places.
    return np.sort((numbers << bits) | np.arange(len(numbers))) & ((1 << bits) - 1)


def in_order(keys: Keys) -> tuple[Keys, Column]:
    """The distinct keys in order, and for each key given its place among them.

    >>> ordered, places = in_order(binaries([b"b", b"a", b"b"]))
    >>> ordered.to_pylist(), places.tolist()
    ([b'a', b'b'], [1, 0, 1])
    """
    if not len(keys):
        return keys, np.zeros(0, np.int64)
    data, offsets = bytes_of(keys)
    lengths = np.diff(offsets)
    width = min(_COMPARED_BYTES_MAX, max(8, -(-int(lengths.max()) // 8) * 8))
    compared = fixed_width(keys, width)
    order = np.argsort(compared, kind="stable")
    compared, lengths = compared[order], lengths[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = compared[1:] != compared[:-1]
    # What is compared lacks the end of long keys and does not tell a zero at the end from nothing.
    unsure = ~is_new
    unsure[1:] &= (lengths[1:] != lengths[:-1]) | (lengths[1:] > width)
    if unsure.any():
        _compare_singly(order, is_new, unsure, data.tobytes(), offsets)
    places = np.empty(len(order), np.int64)
    places[order] = np.cumsum(is_new) - 1
    return taken(keys, order[is_new]), places


def _compare_singly(order: Column, is_new: Mask, unsure: Mask, data: bytes, offsets: Column) -> None:
    """Put in order, in place, the stretches in which some keys are not known to be equal."""
    heads = np.flatnonzero(is_new)
    ends = np.concatenate((heads[1:], [len(order)]))
    for stretch in np.unique(np.searchsorted(heads, np.flatnonzero(unsure), side="right") - 1).tolist():
        start, stop = int(heads[stretch]), int(ends[stretch])
        rows = order[start:stop].tolist()
        texts = [data[offsets[row] : offsets[row + 1]] for row in rows]
        sequence = sorted(range(len(rows)), key=texts.__getitem__)
        order[start:stop] = [rows[place] for place in sequence]
        is_new[start + 1 : stop] = [texts[b] != texts[a] for a, b in pairwise(sequence)]


def appended_rows(parts: Sequence[Rows]) -> Rows:
    """Some runs of rows, one behind the other, as they are.

    They are rows as they should be if the keys of each run are all behind those of the run before.
    """
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.keys) for part in parts)])
    return Rows(
        keys=appended([part.keys for part in parts]) if parts else no_keys(),
        key=_joined([starts[number] + part.key for number, part in enumerate(parts)]),
        group=_joined([part.group for part in parts]),
        day=_joined([part.day for part in parts]),
        count=_joined([part.count for part in parts]),
        first=_joined([part.first for part in parts]),
        last=_joined([part.last for part in parts]),
        segments=_joined([part.segments for part in parts]),
        ranks=_joined([part.ranks for part in parts]),
    )


def merged(parts: Sequence[Rows]) -> Rows:
    """Some runs of rows as one: counts added, the earliest first, the latest last, all segments.

    Raises: LimitExceeded (more keys or groups at once than can be numbered).
    """
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0]
    rows = appended_rows(parts)
    if len(rows.keys) > KEYS_AT_ONCE_MAX:
        raise LimitExceeded("KEYS_AT_ONCE_MAX", KEYS_AT_ONCE_MAX, where="sightings")
    ordered, places = in_order(rows.keys)
    return grouped(
        ordered,
        key=places[rows.key],
        group=rows.group,
        day=rows.day,
        count=rows.count,
        first=rows.first,
        last=rows.last,
        segments=rows.segments,
        ranks=rows.ranks,
    )


def _joined(columns: Sequence[Column]) -> Column:
    return np.concatenate(columns) if columns else np.zeros(0, np.int64)


def grouped(
    keys: Keys,
    *,
    key: Column,
    group: Column,
    day: Column,
    count: Column,
    first: Column,
    last: Column,
    segments: Column,
    ranks: Column,
) -> Rows:
    """Rows in order, each once, from columns in any order; ``keys`` are in order already.

    Raises: LimitExceeded (a group is numbered higher than GROUPS_MAX allows).
    """
    if len(group) and int(group.max()) >= GROUPS_MAX:
        raise LimitExceeded("GROUPS_MAX", GROUPS_MAX, where="sightings")
    group_bits = int(group.max()).bit_length() if len(group) else 0
    together = (key << (group_bits + DAY_BITS)) | (group << DAY_BITS) | day
    order = sorted_order(together)
    together = together[order]
    is_new = changes(together)
    starts = np.flatnonzero(is_new)
    if not len(starts):
        nothing = np.zeros(0, np.int64)
        return Rows(
            keys=keys.slice(0, 0), key=nothing, group=nothing, day=nothing, count=nothing, first=nothing, last=nothing,
            segments=nothing, ranks=nothing,
        )  # fmt: skip
    row_of = np.empty(len(order), np.int64)
    row_of[order] = np.cumsum(is_new) - 1
    pairs = np.sort((np.repeat(row_of, segments) << RANK_BITS) | ranks)
    pairs = pairs[changes(pairs)]
    together = together[starts]
    return Rows(
        keys=keys,
        key=together >> (group_bits + DAY_BITS),
        group=(together >> DAY_BITS) & ((1 << group_bits) - 1),
        day=together & ((1 << DAY_BITS) - 1),
        count=np.add.reduceat(count[order], starts),
        first=np.minimum.reduceat(first[order], starts),
        last=np.maximum.reduceat(last[order], starts),
        segments=np.bincount(pairs >> RANK_BITS, minlength=len(starts)),
        ranks=pairs & (SEGMENTS_PER_DAY_MAX - 1),
    )

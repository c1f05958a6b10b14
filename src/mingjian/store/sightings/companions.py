"""With whom an observable was seen: the hosts and accounts of the events in which it stands, exactly, for all time.

They are in the files of the index, under keys of their own (``keys.COMPANION``): the observable, and behind it the
name. So all names of one observable stand together, however often it was seen, and they are merged like everything
else. They have no day and name no segment, and are counted in events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias, cast

import numpy as np
import pyarrow as pa

from mingjian.model.sources import ObservableKind
from mingjian.store.arrow import with_dictionary
from mingjian.store.sightings import columns
from mingjian.store.sightings.columns import Array, Column
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.keys import COMPANION, VALUE_BYTES_MAX, prefix_range
from mingjian.store.sightings.layout import GONE
from mingjian.store.tables import storable

As: TypeAlias = Literal["host", "account"]
AS: Final[tuple[As, ...]] = ("host", "account")
"""What a name is; the role in the index."""
BETWEEN: Final = "\x1f"
"""Stands between kind, value and name. No canonical value holds it; a name may, for it comes last."""
PAIRS_AT_ONCE_MAX: Final = 500_000
"""So many pairs go into one table …"""
GATHERED_MIN: Final = 200_000
"""… and so many are collected, and twice as many as are different, before equal ones are put together."""
NAMES_READ_MAX: Final = 20_000
"""So many names of one observable are read unless the caller asks for more."""

_NAME_BITS: Final = 24


class Companions(NamedTuple):
    """Who was there: name → in how many events."""

    hosts: dict[str, int]
    accounts: dict[str, int]
    is_complete: bool
    """Whether this is all: there may be more names than were asked for."""


class _Names(dict[str, int]):
    """Names and their numbers; −1 is no name."""

    def __init__(self) -> None:
        super().__init__({"": -1})

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self) - 1
        return number


class Gathered:
    """Pairs of observable and name, collected for one commit. Observables are numbers of the caller's."""

    def __init__(self) -> None:
        self._names = _Names()
        self._pairs: list[Column] = []
        self._counts: list[Column] = []
        self._distinct = 0
        """So many pairs were different when equal ones were put together last."""
        self.count = 0
        """So many pairs, some of them several times."""

    def add(self, rows: Column, observables: Column, hosts: Sequence[str], accounts: Sequence[str]) -> None:
        """Take what was observed in some events (parallel columns), and the host and account of every event."""
        if not len(rows):
            return
        together = (rows << 32) | observables
        if not (together[1:] >= together[:-1]).all():
            together = np.sort(together)
        is_new = np.ones(len(together), bool)
        is_new[1:] = together[1:] != together[:-1]
        together = together[is_new]
        rows, observables = together >> 32, together & 0xFFFF_FFFF
        for what, texts in enumerate((hosts, accounts)):
            name = np.array(list(map(self._names.__getitem__, texts)), np.int64)[rows]
            has = name >= 0
            pairs = (((observables[has] << _NAME_BITS) | name[has]) << 1) | what
            self._take(*np.unique(pairs, return_counts=True))
        if self.count > max(GATHERED_MIN, 2 * self._distinct):
            self._put_together()

    def _take(self, pairs: Column, counts: Column) -> None:
        self._pairs.append(pairs)
        self._counts.append(counts)
        self.count += len(pairs)

    def _put_together(self) -> tuple[Column, Column]:
        if not self._pairs:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        pairs, place = np.unique(np.concatenate(self._pairs), return_inverse=True)
        counts = np.bincount(place, np.concatenate(self._counts)).astype(np.int64)
        self._pairs, self._counts = [pairs], [counts]
        self.count = self._distinct = len(pairs)
        return pairs, counts

    def tables(self, kinds: Sequence[str], values: Sequence[str]) -> Iterator[pa.Table]:
        """All of it, as ``sightings.delta`` takes observations; ``kinds`` and ``values`` are those of observables."""
        pairs, counts = self._put_together()
        names = columns.texts([storable(name) for name in list(self._names)[1:]])
        heads = columns.texts([f"{kind}{BETWEEN}{value}" for kind, value in zip(kinds, values, strict=True)])
        for start in range(0, len(pairs), PAIRS_AT_ONCE_MAX):
            some = pairs[start : start + PAIRS_AT_ONCE_MAX]
            head = columns.taken(heads, some >> (_NAME_BITS + 1))
            name = columns.taken(names, (some >> 1) & ((1 << _NAME_BITS) - 1))
            yield _table(columns.joined_texts([head, name], BETWEEN), some & 1, counts[start : start + len(some)])


def _table(values: Array, what: Column, counts: Column) -> pa.Table:
    fits = columns.lengths(columns.as_texts(values)) < VALUE_BYTES_MAX
    values, what, counts = columns.kept(values, fits), what[fits], counts[fits]
    size = len(values)
    nothing = np.zeros(size, np.int64)
    cells = {
        "kind": _coded([COMPANION], nothing),
        "value": values,
        "role": _coded(list(AS), what),
        "source": _coded([""], nothing),
        "segment": columns.numbers(np.full(size, GONE, np.int64)),
        "time_us": cast("Array", pa.nulls(size, pa.int64())),
        "count": columns.numbers(counts),
    }
    return pa.Table.from_arrays(list(cells.values()), names=list(cells))


def _coded(texts: Sequence[str], codes: Column) -> Array:
    return with_dictionary(texts, codes.astype(np.int32))


def companions(
    index: SightingsIndex,
    kind: ObservableKind,
    value: str,
    *,
    organisations: Collection[int] | None = None,
    names_max: int = NAMES_READ_MAX,
) -> Companions:
    """The hosts and accounts of all events in which an observable stands, those with the most events first.

    Raises:
        StorageError: the index is damaged.
    """
    return companions_of_each(index, [(kind, value)], organisations=organisations, names_max=names_max)[0]


def companions_of_each(
    index: SightingsIndex,
    observables: Sequence[tuple[ObservableKind, str]],
    *,
    organisations: Collection[int] | None = None,
    names_max: int = NAMES_READ_MAX,
) -> list[Companions]:
    """The same for several observables in one go; ``names_max`` is for all of them together.

    If they have more names, those of the observables that come last in the order of keys are not complete.

    Raises:
        StorageError: the index is damaged.
    """
    prefixes = [f"{kind}{BETWEEN}{value}{BETWEEN}" for kind, value in observables]
    ranges = {prefix: prefix_range(COMPANION, prefix) for prefix in prefixes}
    stretches = [stretch for stretch in ranges.values() if stretch is not None]
    found = index.lookup_ranges(stretches, organisations=organisations, values_max=names_max)
    counted: dict[str, dict[str, dict[str, int]]] = {prefix: {what: {} for what in AS} for prefix in prefixes}
    read = (found.totals.column(name).to_pylist() for name in ("value", "role", "count"))
    for text, role, count in zip(*read, strict=True):
        kind, value, name = text.split(BETWEEN, 2)
        names = counted[f"{kind}{BETWEEN}{value}{BETWEEN}"][role]
        names[name] = names.get(name, 0) + count
    return [
        Companions(_ranked(names["host"]), _ranked(names["account"]), found.is_complete)
        for names in map(counted.__getitem__, prefixes)
    ]


def _ranked(names: dict[str, int]) -> dict[str, int]:
    return dict(sorted(names.items(), key=lambda item: (-item[1], item[0])))

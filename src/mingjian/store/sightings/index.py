"""The sightings index: every observable that was ever seen, and when, where, how often and in which role.

Opened with the list of files that the catalogue has committed, it shows what was committed, whatever is written,
merged or removed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final, NamedTuple, cast

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mingjian.errors import LimitExceeded, SchemaError
from mingjian.model.sources import ObservableKind
from mingjian.store.sightings import keys as key_forms
from mingjian.store.sightings.blocks import TOTALLED_ROWS, VALUES_PER_BLOCK
from mingjian.store.sightings.delta import OVERLAP
from mingjian.store.sightings.disk import Folder
from mingjian.store.sightings.hashing import Numbers, xxh64, xxh64_of
from mingjian.store.sightings.keys import KeyRange
from mingjian.store.sightings.layout import Group, IndexFile, Tables, days_since_1970
from mingjian.store.sightings.merging import Replaced, followed, numbered, streamed, united
from mingjian.store.sightings.reading import CANDIDATES_MAX, IndexReader
from mingjian.store.sightings.rows import DAY_BITS, EPOCH_DAY, NO_DAY, NO_FIRST, NO_LAST, Column, Keys, Rows, changes, ranges, sorted_order

FEED_VALUES_MAX: Final = 1 << 24
"""So many values are asked for at once."""
HITS_AT_ONCE: Final = 4096
"""So many values are looked up together; memory does not grow with the hits of a feed except by the result."""
FOUND_VALUES_MAX: Final = 10_000
"""A range gives at most so many observables unless the caller asks for more."""

_GROUP_BITS: Final = 32


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """An observable seen on one day by one source of one organisation in one role."""

    organisation: int
    source: str
    role: str
    day: int | None
    """Days since 1970 UTC; None for events that do not tell their time."""
    count: int
    """In how many events."""
    first_us: int | None
    """Microseconds since 1970 UTC."""
    last_us: int | None
    segments: tuple[int, ...]
    """Where these events are, rising; what retention has removed is not among them."""


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """An observable over all time, as far as one organisation saw it in one source and role."""

    organisation: int
    source: str
    role: str
    count: int
    first_us: int | None
    last_us: int | None


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """An observable over all time."""

    count: int
    """In how many events, each counted once."""
    first_us: int | None
    last_us: int | None
    by_role: tuple[Total, ...]
    """An event is counted in each role that the observable has in it."""


class Found(NamedTuple):
    """What is in a range."""

    totals: pa.Table
    """Rows of ``TOTALS_SCHEMA``, in the order of keys."""
    is_complete: bool
    """Whether this is all: there may be more observables than were asked for."""


TOTALS_SCHEMA: Final = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("value", pa.large_string(), nullable=False),
        pa.field("organisation", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("first_us", pa.int64()),
        pa.field("last_us", pa.int64()),
    ]
)
SIGHTINGS_SCHEMA: Final = pa.schema(
    [
        *list(TOTALS_SCHEMA)[:5],
        pa.field("day", pa.int64()),
        *list(TOTALS_SCHEMA)[5:],
        pa.field("segments", pa.list_(pa.int64()), nullable=False),
    ]
)


class Feed:
    """Values to be looked for, in the order in which the index is searched. Made once, used as often as one likes."""

    def __init__(self, kinds: pa.Array, values: pa.Array) -> None:
        """Take parallel columns of kinds and canonical values.

        Raises: LimitExceeded (FEED_VALUES_MAX, VALUE_BYTES_MAX), SchemaError (there is no such kind).
        """
        if len(values) > FEED_VALUES_MAX:
            raise LimitExceeded("FEED_VALUES_MAX", FEED_VALUES_MAX, where="feed")
        if len(kinds) != len(values) or kinds.null_count or values.null_count:
            raise SchemaError("every value needs a kind and every kind a value", where="feed")
        self.kinds = kinds
        self.values = values
        names = kinds.cast(pa.large_string()).dictionary_encode()
        number = names.indices.to_numpy()
        keys: list[Keys] = []
        rows: list[Column] = []
        for place, kind in enumerate(cast("list[ObservableKind]", names.dictionary.to_pylist())):
            of_kind = np.flatnonzero(number == place)
            keys.append(key_forms.keys_of(kind, values.take(pa.array(of_kind))))
            rows.append(of_kind)
        self._keys = cast("Keys", pa.concat_arrays(keys)) if keys else pa.array([], pa.large_binary())
        self._rows = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        hashes = xxh64(self._keys)
        self._order = np.argsort(hashes, kind="stable")
        self.hashes: Numbers = hashes[self._order]
        """Rising. A *needle* is a place in this column."""

    def __len__(self) -> int:
        return len(self.hashes)

    def key(self, needle: int) -> bytes:
        """The key of a needle."""
        return cast("bytes", self._keys[int(self._order[needle])].as_py())

    def row(self, needles: Column) -> Column:
        """The rows of the columns of the feed in which needles stand."""
        return self._rows[self._order[needles]]


class _One:
    """A feed of one value, without the columns."""

    def __init__(self, kind: ObservableKind, value: str) -> None:
        self._key = key_forms.key_of(kind, value)
        self.hash = xxh64_of(self._key)

    def key(self, needle: int) -> bytes:
        """The key of the only needle, which is 0."""
        return self._key


def _candidates(reader: IndexReader, feed: Feed | _One) -> tuple[Column, Column]:
    if isinstance(feed, Feed):
        return reader.candidates(feed.hashes)
    ordinals = np.array(reader.candidates_of(feed.hash), np.int64)
    return np.zeros(len(ordinals), np.int64), ordinals


class _Entries(NamedTuple):
    """Entries of one file that belong to needles."""

    needle: Column
    group: Column
    start: Column
    """The first row of each."""
    rows: Column
    totals: npt.NDArray[np.int64]
    """Count, first and last of those with at least ``TOTALLED_ROWS`` rows."""


class SightingsIndex:
    """The files that the catalogue has committed, open. May be shared by threads.

    Every method raises StorageError if a file turns out to be damaged: there is never a wrong answer, and never one
    that leaves out silently what could not be read.
    """

    def __init__(self, readers: Sequence[IndexReader], replaced: Replaced) -> None:
        self._readers = tuple(readers)
        self.replaced = replaced
        """Segment → the one that has its events now."""

    @classmethod
    def open(
        cls,
        folder: Folder,
        live: Sequence[str],
        *,
        replaced: Replaced | None = None,
        previous: SightingsIndex | None = None,
    ) -> SightingsIndex:
        """Open the files with these names, all of which count.

        ``replaced`` says for segments that are no more which segments have their events now. Files that ``previous``
        has open are not opened again; what it has beyond them is closed when nobody uses it any more.

        Raises: StorageError (a file is missing or damaged; if it was merged away meanwhile: read the list anew),
        StateError (a file was written by another version).
        """
        opened = {reader.name: reader for reader in previous._readers} if previous else {}
        readers = [opened.get(name) or IndexReader(folder, name) for name in live]
        return cls(readers, replaced or {})

    def close(self) -> None:
        """Give all files back; those that another index took over too."""
        for reader in self._readers:
            reader.close()

    @property
    def files(self) -> tuple[IndexFile, ...]:
        """The files that are open."""
        return tuple(reader.info for reader in self._readers)

    @property
    def readers(self) -> tuple[IndexReader, ...]:
        """The open files themselves: for checks."""
        return self._readers

    # --- one value -------------------------------------------------------------------------------------------------

    def lookup(
        self,
        kind: ObservableKind,
        value: str,
        *,
        organisations: Collection[int] | None = None,
        first_day: int | None = None,
        last_day: int | None = None,
    ) -> list[Sighting]:
        """All sightings of one observable, in the order of organisation, source, role and day (undated ones first).

        ``value`` is canonical. Only of some organisations and days (since 1970, both ends included), if given.
        """
        needle = _One(kind, value)
        days = _day_bounds(first_day, last_day)
        numbers: dict[Group, int] = {}
        parts: list[_Seen] = []
        for reader in self._readers:
            for entries in _entries(reader, needle, _allowed(reader, organisations)):
                parts.append(_seen(reader, entries, numbers, days))
        return _sightings(parts, list(numbers), self.replaced) if parts else []

    def totals(
        self, kind: ObservableKind, value: str, *, organisations: Collection[int] | None = None
    ) -> Totals | None:
        """One observable over all time, None if it was never seen. Costs the same however often that was."""
        needle = _One(kind, value)
        found: dict[Group, list[int]] = {}
        for reader in self._readers:
            for entries in _entries(reader, needle, _allowed(reader, organisations)):
                columns = (column.tolist() for column in (entries.group, *_totalled(reader, entries)))
                for number, count, first_us, last_us in zip(*columns, strict=True):
                    group = reader.groups[number]
                    before = found.get(group, [0, NO_FIRST, NO_LAST])
                    found[group] = [before[0] + count, min(before[1], first_us), max(before[2], last_us)]
        if not found:
            return None
        firsts = [numbers[1] for numbers in found.values()]
        lasts = [numbers[2] for numbers in found.values()]
        return Totals(
            count=sum(-n[0] if group.role == OVERLAP else n[0] for group, n in found.items()),
            first_us=None if min(firsts) == NO_FIRST else min(firsts),
            last_us=None if max(lasts) == NO_LAST else max(lasts),
            by_role=tuple(
                Total(
                    organisation=group.organisation,
                    source=group.source,
                    role=group.role,
                    count=count,
                    first_us=None if first_us == NO_FIRST else first_us,
                    last_us=None if last_us == NO_LAST else last_us,
                )
                for group, (count, first_us, last_us) in sorted(found.items())
                if group.role != OVERLAP
            ),
        )

    # --- many values -----------------------------------------------------------------------------------------------

    def match(self, feed: Feed, *, organisations: Collection[int] | None = None) -> pa.Table:
        """Which values of a feed were ever seen, and their totals.

        Columns: ``row`` (the value's row in the feed) and those of ``TOTALS_SCHEMA``; in the order of row,
        organisation, source and role. An event is counted in each role that the observable has in it.
        """
        numbers: dict[Group, int] = {}
        parts: list[tuple[Column, ...]] = []
        for reader in self._readers:
            allowed = _allowed(reader, organisations)
            for entries in _entries(reader, feed, allowed):
                used, place = np.unique(entries.group, return_inverse=True)
                group = np.array([numbers.setdefault(reader.groups[n], len(numbers)) for n in used.tolist()], np.int64)
                parts.append((feed.row(entries.needle), group[place], *_totalled(reader, entries)))
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [_NONE] * 5
        # Groups were numbered as they came; what is given is in their order.
        ordered = sorted(numbers)
        ranks = {group: rank for rank, group in enumerate(ordered)}
        rank = np.array([ranks[group] for group in numbers], np.int64)
        group = rank[columns[1]] if len(rank) else columns[1]
        shown = np.array([g.role != OVERLAP for g in ordered], bool)[group] if len(rank) else np.zeros(0, bool)
        row, group, count, first, last = _summed(columns[0][shown], group[shown], *(c[shown] for c in columns[2:]))
        kinds, values = (column.take(pa.array(row)) for column in (feed.kinds, feed.values))
        table = _totals_table(kinds, values, ordered, group, count, first, last)
        return table.add_column(0, "row", pa.array(row))

    # --- ranges ----------------------------------------------------------------------------------------------------

    def lookup_domain(
        self,
        name: str,
        *,
        kinds: Sequence[ObservableKind] = key_forms.NAMED_KINDS,
        organisations: Collection[int] | None = None,
        values_max: int = FOUND_VALUES_MAX,
    ) -> Found:
        """Everything at a domain and below it: names, hosts, URLs, e-mail addresses. ``name`` is canonical."""
        return self._found(key_forms.domain_ranges(name, kinds), organisations, values_max)

    def lookup_network(
        self,
        network: IPv4Network | IPv6Network,
        *,
        kinds: Sequence[ObservableKind] = key_forms.ADDRESS_KINDS,
        organisations: Collection[int] | None = None,
        values_max: int = FOUND_VALUES_MAX,
    ) -> Found:
        """Every address of a network."""
        return self._found(key_forms.network_ranges(network, kinds), organisations, values_max)

    def lookup_file_name(
        self, name: str, *, organisations: Collection[int] | None = None, values_max: int = FOUND_VALUES_MAX
    ) -> Found:
        """A file by its name, in whatever folder. ``name`` is canonical: folded, as paths of Windows are."""
        return self._found(key_forms.file_name_ranges(name), organisations, values_max)

    def lookup_prefix(
        self,
        kind: ObservableKind,
        prefix: str,
        *,
        organisations: Collection[int] | None = None,
        values_max: int = FOUND_VALUES_MAX,
    ) -> Found:
        """All values that begin so. For kinds whose keys are turned round (``keys``) this reads all values of a kind."""
        stretch = key_forms.prefix_range(kind, prefix) if prefix else key_forms.all_of(kind)
        if stretch is not None:
            return self._found([stretch], organisations, values_max)
        return self._found([key_forms.all_of(kind)], organisations, values_max, lambda v: pc.starts_with(v, prefix))

    def _found(
        self,
        stretches: Sequence[KeyRange],
        organisations: Collection[int] | None,
        values_max: int,
        is_wanted: Callable[[pa.Array], pa.Array] | None = None,
    ) -> Found:
        tables = united(self._readers, with_segments=False)
        allowed = np.array([organisations is None or g.organisation in organisations for g in tables.groups], bool)
        allowed &= np.array([g.role != OVERLAP for g in tables.groups], bool)
        parts: list[pa.Table] = []
        left = values_max
        last_key = b""
        for rows in self._stream(stretches, tables, with_segments=False):
            kept = _of_groups(rows, allowed)
            if not len(kept):
                continue
            again = last_key == kept.keys[0].as_py()
            last_key = cast("bytes", kept.keys[-1].as_py())
            kinds, values = key_forms.values_of(kept.keys)
            if is_wanted is not None:
                wanted = np.asarray(is_wanted(values).to_numpy(zero_copy_only=False), bool)
                kept, kinds, values = _of_keys(kept, wanted), kinds.filter(pa.array(wanted)), values.filter(pa.array(wanted))
                again = again and bool(wanted[0])
            if len(kept.keys) - again > left:
                stop = int(np.searchsorted(kept.key, left + again))
                parts.append(_totals_of(kept.part(0, stop), kinds, values, tables))
                return Found(_put_together(parts), is_complete=False)
            left -= len(kept.keys) - again
            parts.append(_totals_of(kept, kinds, values, tables))
        return Found(_put_together(parts), is_complete=True)

    def _stream(self, stretches: Sequence[KeyRange], tables: Tables, *, with_segments: bool) -> Iterator[Rows]:
        for stretch in sorted(stretches):
            runs: list[Iterator[Rows]] = []
            for reader in self._readers:
                bounds = (reader.lower_bound(stretch.low), reader.lower_bound(stretch.high))
                if bounds[0] < bounds[1]:
                    runs.append(
                        numbered(reader, tables, [bounds], replaced=self.replaced, with_segments=with_segments)
                    )
            yield from streamed(runs)

    def scan(self, stretches: Sequence[KeyRange] | None = None) -> Iterator[pa.Table]:
        """All sightings, or those of some ranges, in the order of keys, as tables of ``SIGHTINGS_SCHEMA``.

        The role ``OVERLAP`` is among them.
        """
        tables = united(self._readers, self.replaced)
        everything = [key_forms.all_of(kind) for kind in key_forms.KIND_NUMBERS]
        for rows in self._stream(everything if stretches is None else stretches, tables, with_segments=True):
            kinds, values = key_forms.values_of(rows.keys)
            table = _totals_table(
                kinds.take(pa.array(rows.key)),
                values.take(pa.array(rows.key)),
                tables.groups,
                rows.group,
                rows.count,
                rows.first,
                rows.last,
            )
            starts = tables.segment_starts[tables.segments_at(rows.group, rows.day)]
            ids = tables.segment_ids[np.repeat(starts, rows.segments) + rows.ranks]
            offsets = np.concatenate(([0], np.cumsum(rows.segments))).astype(np.int32)
            days = pa.array(rows.day - EPOCH_DAY, pa.int64(), mask=rows.day == NO_DAY)
            columns = {name: table.column(name) for name in table.schema.names}
            columns |= {"day": days, "segments": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))}
            yield pa.table([columns[name] for name in SIGHTINGS_SCHEMA.names], schema=SIGHTINGS_SCHEMA)


_NONE: Final = np.zeros(0, np.int64)
_DAY_MASK: Final = (1 << DAY_BITS) - 1


def _day_bounds(first_day: int | None, last_day: int | None) -> tuple[int, int] | None:
    if first_day is None and last_day is None:
        return None
    low = NO_DAY + 1 if first_day is None else first_day + EPOCH_DAY
    return low, (1 << 62) if last_day is None else last_day + EPOCH_DAY


def _allowed(reader: IndexReader, organisations: Collection[int] | None) -> Callable[[Column], npt.NDArray[np.bool_]]:
    """Which of some groups of a file may be shown. The table of groups is read only if something was found."""
    if organisations is None:
        return lambda group: np.ones(len(group), bool)
    wanted = frozenset(organisations)
    return lambda group: np.array([reader.groups[n].organisation in wanted for n in group.tolist()], bool)


def _entries(
    reader: IndexReader, feed: Feed | _One, allowed: Callable[[Column], npt.NDArray[np.bool_]]
) -> Iterator[_Entries]:
    """The entries of the needles that are in a file, some thousand values at a time."""
    needles, ordinals = _candidates(reader, feed)
    if len(needles) > CANDIDATES_MAX:
        needles, ordinals = _without_crowds(reader, feed, needles, ordinals)
    order = np.argsort(ordinals, kind="stable")
    for start in range(0, len(order), HITS_AT_ONCE):
        some = order[start : start + HITS_AT_ONCE]
        entries = _entries_of(reader, feed, needles[some], ordinals[some])
        kept = allowed(entries.group)
        if kept.all():
            yield entries
        elif kept.any():
            totals = entries.totals[kept[entries.rows >= TOTALLED_ROWS]]
            yield _Entries(*(column[kept] for column in entries[:4]), totals)


def _without_crowds(
    reader: IndexReader, feed: Feed | _One, needles: Column, ordinals: Column
) -> tuple[Column, Column]:
    """Values that share a hash with many others are looked up by their keys instead."""
    crowded, counts = np.unique(needles, return_counts=True)
    crowded = crowded[counts > CANDIDATES_MAX]
    if not len(crowded):
        return needles, ordinals
    found: list[tuple[int, int]] = []
    for needle in crowded.tolist():
        key = feed.key(needle)
        ordinal = reader.lower_bound(key)
        if ordinal < reader.footer.values and reader.key(ordinal) == key:
            found.append((needle, ordinal))
    kept = ~np.isin(needles, crowded)
    pairs = np.array(found, np.int64).reshape(-1, 2)
    return np.concatenate((needles[kept], pairs[:, 0])), np.concatenate((ordinals[kept], pairs[:, 1]))


def _entries_of(reader: IndexReader, feed: Feed | _One, needles: Column, ordinals: Column) -> _Entries:
    """The entries of those values (rising) whose keys are those of their needles."""
    parts: list[_Entries] = []
    numbers = ordinals // VALUES_PER_BLOCK
    edges = np.append(np.flatnonzero(np.diff(numbers, prepend=-1)), len(numbers)).tolist()
    for low, high in zip(edges, edges[1:], strict=False):
        number = int(numbers[low])
        block = reader.value_block(number)
        pairs = zip(needles[low:high].tolist(), (ordinals[low:high] % VALUES_PER_BLOCK).tolist(), strict=True)
        same = np.array([(needle, place) for needle, place in pairs if block.key(place) == feed.key(needle)], np.int64)
        if not len(same):
            continue
        sizes = block.entries[same[:, 1]]
        entry = ranges((np.cumsum(block.entries) - block.entries)[same[:, 1]], sizes)
        starts = reader.row_of_block(number) + np.cumsum(block.rows) - block.rows
        large = block.rows >= TOTALLED_ROWS
        totals = block.totals[(np.cumsum(large) - 1)[entry[large[entry]]]] if large.any() else block.totals
        parts.append(
            _Entries(np.repeat(same[:, 0], sizes), block.group[entry], starts[entry], block.rows[entry], totals)
        )
    if not parts:
        return _Entries(_NONE, _NONE, _NONE, _NONE, np.zeros((0, 3), np.int64))
    return _Entries(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class _Seen(NamedTuple):
    """Rows of one observable. ``place`` is group and day in one number."""

    place: Column
    count: Column
    first: Column
    last: Column
    segments: Column
    ids: Column


def _seen(
    reader: IndexReader, entries: _Entries, numbers: dict[Group, int], days: tuple[int, int] | None
) -> _Seen:
    groups = [reader.groups[number] for number in entries.group.tolist()]
    shown = np.flatnonzero([group.role != OVERLAP for group in groups])
    sizes = entries.rows[shown]
    rows = reader.rows(entries.start[shown], sizes)
    number = np.array([numbers.setdefault(groups[entry], len(numbers)) for entry in shown.tolist()], np.int64)
    number, group = np.repeat(number, sizes), np.repeat(entries.group[shown], sizes)
    if days is not None:
        wanted = (rows.day >= days[0]) & (rows.day <= days[1])
        rows, number, group = rows.filtered(wanted), number[wanted], group[wanted]
    first, last = reader.times(rows, group)
    ids = reader.segment_ids(np.repeat(reader.segment_starts(group, rows.day), rows.segments) + rows.ranks)
    return _Seen((number << DAY_BITS) | rows.day, rows.count, first, last, rows.segments, ids)


def _sightings(parts: Sequence[_Seen], groups: Sequence[Group], replaced: Replaced) -> list[Sighting]:
    """Rows of one observable from several files, put together."""
    place, count, first, last, segments, ids = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(place):
        return []
    # Groups were numbered as they came; what is given is in their order.
    ordered = sorted(groups)
    ranks = {group: rank for rank, group in enumerate(ordered)}
    rank = np.array([ranks[group] for group in groups], np.int64)
    place = (rank[place >> DAY_BITS] << DAY_BITS) | (place & _DAY_MASK)
    order = sorted_order(place)
    is_new = changes(place[order])
    starts = np.flatnonzero(is_new)
    places = place[order[starts]]
    row = np.empty(len(place), np.int64)
    row[order] = np.cumsum(is_new) - 1
    known, which = np.unique(ids, return_inverse=True)
    now = [followed(replaced, segment) for segment in known.tolist()]
    live = sorted({segment for segment in now if segment is not None})
    number = {segment: number for number, segment in enumerate(live)}
    code = np.array([len(live) if segment is None else number[segment] for segment in now], np.int64)
    pairs = np.sort(np.repeat(row, segments) * (len(live) + 1) + code[which])
    pairs = pairs[changes(pairs)]
    pair_row, pair_code = np.divmod(pairs, len(live) + 1)
    pair_row, pair_code = pair_row[pair_code < len(live)], pair_code[pair_code < len(live)]
    ends = np.searchsorted(pair_row, np.arange(len(places) + 1)).tolist()
    listed = np.array(live, np.int64)[pair_code].tolist()
    columns = (
        places.tolist(),
        np.add.reduceat(count[order], starts).tolist(),
        np.minimum.reduceat(first[order], starts).tolist(),
        np.maximum.reduceat(last[order], starts).tolist(),
        ends[:-1],
        ends[1:],
    )
    return [
        Sighting(
            organisation=group.organisation,
            source=group.source,
            role=group.role,
            day=days_since_1970(place & _DAY_MASK),
            count=count,
            first_us=None if first == NO_FIRST else first,
            last_us=None if last == NO_LAST else last,
            segments=tuple(listed[start:end]),
        )
        for place, count, first, last, start, end in zip(*columns, strict=True)
        for group in (ordered[place >> DAY_BITS],)
    ]


def _totalled(reader: IndexReader, entries: _Entries) -> tuple[Column, Column, Column]:
    """Count, first and last of every entry."""
    small = np.flatnonzero(entries.rows < TOTALLED_ROWS)
    totals = np.empty((len(entries.rows), 3), np.int64)
    totals[entries.rows >= TOTALLED_ROWS] = entries.totals
    if len(small):
        sizes = entries.rows[small]
        rows = reader.rows(entries.start[small], sizes)
        first, last = reader.times(rows, np.repeat(entries.group[small], sizes))
        heads = np.cumsum(sizes) - sizes
        totals[small, 0] = np.add.reduceat(rows.count, heads)
        totals[small, 1] = np.minimum.reduceat(first, heads)
        totals[small, 2] = np.maximum.reduceat(last, heads)
    return totals[:, 0], totals[:, 1], totals[:, 2]


def _summed(row: Column, group: Column, count: Column, first: Column, last: Column) -> tuple[Column, ...]:
    """Counts added, first and last, of each row and group, in their order."""
    together = (row << _GROUP_BITS) | group
    order = sorted_order(together)
    together = together[order]
    starts = np.flatnonzero(changes(together))
    if not len(starts):
        return _NONE, _NONE, _NONE, _NONE, _NONE
    return (
        together[starts] >> _GROUP_BITS,
        together[starts] & ((1 << _GROUP_BITS) - 1),
        np.add.reduceat(count[order], starts),
        np.minimum.reduceat(first[order], starts),
        np.maximum.reduceat(last[order], starts),
    )


def _totals_table(
    kinds: pa.Array,
    values: pa.Array,
    groups: Sequence[Group],
    group: Column,
    count: Column,
    first: Column,
    last: Column,
) -> pa.Table:
    number = pa.array(group)
    columns = [
        kinds.cast(pa.string()),
        values.cast(pa.large_string()),
        pa.array([g.organisation for g in groups], pa.int64()).take(number),
        pa.array([g.source for g in groups], pa.string()).take(number),
        pa.array([g.role for g in groups], pa.string()).take(number),
        pa.array(count),
        pa.array(first, mask=first == NO_FIRST),
        pa.array(last, mask=last == NO_LAST),
    ]
    return pa.table(columns, schema=TOTALS_SCHEMA)


def _totals_of(rows: Rows, kinds: pa.Array, values: pa.Array, tables: Tables) -> pa.Table:
    key, group, count, first, last = _summed(rows.key, rows.group, rows.count, rows.first, rows.last)
    number = pa.array(key)
    return _totals_table(kinds.take(number), values.take(number), tables.groups, group, count, first, last)


def _put_together(parts: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(parts) if parts else TOTALS_SCHEMA.empty_table()


def _of_groups(rows: Rows, allowed: npt.NDArray[np.bool_]) -> Rows:
    """The rows of some groups only. Segments are left out."""
    return rows if allowed.all() else _filtered(rows, allowed[rows.group])


def _of_keys(rows: Rows, wanted: npt.NDArray[np.bool_]) -> Rows:
    return rows if wanted.all() else _filtered(rows, wanted[rows.key])


def _filtered(rows: Rows, kept: npt.NDArray[np.bool_]) -> Rows:
    used, key = np.unique(rows.key[kept], return_inverse=True)
    return Rows(
        keys=cast("Keys", rows.keys.take(pa.array(used))),
        key=key,
        group=rows.group[kept],
        day=rows.day[kept],
        count=rows.count[kept],
        first=rows.first[kept],
        last=rows.last[kept],
        segments=np.zeros(len(key), np.int64),
        ranks=_NONE,
    )

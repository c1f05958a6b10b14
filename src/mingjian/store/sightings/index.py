"""The sightings index: every observable that was ever seen, and when, where, how often and in which role.

Opened with the list of files that the catalogue has committed, it shows what was committed, whatever is written,
merged or removed meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import numpy as np
import pyarrow as pa

from mingjian.model.sources import ObservableKind
from mingjian.store.sightings import answers
from mingjian.store.sightings import keys as key_forms
from mingjian.store.sightings.answers import Found, Sightings, Totals
from mingjian.store.sightings.columns import Column, Mask, Texts, as_mask, computed, kept, plain
from mingjian.store.sightings.delta import OVERLAP
from mingjian.store.sightings.disk import Folder
from mingjian.store.sightings.feeds import Feed, One
from mingjian.store.sightings.finding import NOTHING, Seen, entries_of, seen, totalled
from mingjian.store.sightings.keys import KeyRange
from mingjian.store.sightings.layout import GONE, Group, IndexFile, Tables
from mingjian.store.sightings.merging import (
    FindReplaced,
    Replaced,
    followed,
    none_replaced,
    numbered,
    replaced_in,
    streamed,
    united,
)
from mingjian.store.sightings.reading import IndexReader
from mingjian.store.sightings.rows import EPOCH_DAY, NO_DAY, NO_FIRST, NO_LAST, Rows

FOUND_VALUES_MAX: Final = 10_000
"""A range gives at most so many observables unless the caller asks for more."""

_FAR_DAY: Final = 1 << 40


class SightingsIndex:
    """The files that the catalogue has committed, open. May be shared by threads.

    Every method raises StorageError if a file turns out to be damaged: there is never a wrong answer, and never one
    that leaves out silently what could not be read. Answers are about the organisations that it was opened for;
    ``organisations`` limits one answer further.
    """

    def __init__(
        self, readers: Sequence[IndexReader], replaced: FindReplaced, organisations: frozenset[int] | None
    ) -> None:
        self.readers = tuple(readers)
        """The open files. What is in them belongs to any organisation."""
        self.replaced = replaced
        """Segment → the one that has its events now."""
        self._organisations = organisations

    @classmethod
    def open(
        cls,
        folder: Folder,
        live: Sequence[str],
        *,
        replaced: FindReplaced = none_replaced,
        organisations: Collection[int] | None = None,
        previous: SightingsIndex | None = None,
    ) -> SightingsIndex:
        """Open the files with these names, all of which count, for some organisations (None: for all).

        ``replaced`` says for segments that are no more which segments have their events now. Files that ``previous``
        has open are not opened again; what it has beyond them is closed when nobody uses it any more.

        Raises: StorageError (a file is missing or damaged; if it was merged away meanwhile: read the list anew),
        StateError (a file was written by another version).
        """
        opened = {reader.name: reader for reader in previous.readers} if previous else {}
        readers = [opened.get(name) or IndexReader(folder, name) for name in live]
        return cls(readers, replaced, None if organisations is None else frozenset(organisations))

    def _within(self, organisations: Collection[int] | None) -> frozenset[int] | None:
        """The organisations that an answer is about; None for all."""
        if organisations is None or self._organisations is None:
            return self._organisations if organisations is None else frozenset(organisations)
        return self._organisations & frozenset(organisations)

    def close(self) -> None:
        """Give all files back; those that another index took over too."""
        for reader in self.readers:
            reader.close()

    def kept_bytes(self) -> int:
        """About how much of the files is in memory."""
        return sum(reader.kept_bytes() for reader in self.readers)

    def forget(self) -> None:
        """Keep nothing of the files in memory any more."""
        for reader in self.readers:
            reader.forget()

    @property
    def files(self) -> tuple[IndexFile, ...]:
        """The files that are open."""
        return tuple(reader.info for reader in self.readers)

    # --- one value -------------------------------------------------------------------------------------------------

    def lookup(
        self,
        kind: ObservableKind,
        value: str,
        *,
        organisations: Collection[int] | None = None,
        first_day: int | None = None,
        last_day: int | None = None,
    ) -> Sightings:
        """All sightings of one observable, in the order of organisation, source, role and day (undated ones first).

        ``value`` is canonical. If a first or last day (since 1970, both ends included) is given, only those of these
        days, and none without a day.
        """
        days = None
        if first_day is not None or last_day is not None:
            low = NO_DAY + 1 if first_day is None else max(NO_DAY + 1, first_day + EPOCH_DAY)
            days = (low, _FAR_DAY if last_day is None else last_day + EPOCH_DAY)
        numbers: dict[Group, int] = {}
        parts = self._seen(One(kind, value), organisations, numbers, days)
        return answers.sightings_from(parts, list(numbers), self.replaced) if parts else answers.NO_SIGHTINGS

    def lookup_each(self, kind: ObservableKind, asked: Iterable[tuple[str, Collection[int] | None]]) -> list[Sightings]:
        """As ``lookup`` for each of some values and the organisations to which it is limited.

        What became of the segments is found out once for all of them, and at once.
        """
        several: list[tuple[list[Seen], dict[Group, int]]] = []
        for value, organisations in asked:
            numbers: dict[Group, int] = {}
            several.append((self._seen(One(kind, value), organisations, numbers), numbers))
        ids = np.unique(np.concatenate([NOTHING, *(part.ids for parts, _ in several for part in parts)]))
        became = self.replaced(plain(ids[ids != GONE]))
        now = {segment: followed(became, segment) for segment in became}

        def replaced(segments: Sequence[int]) -> Replaced:
            return {segment: now[segment] for segment in segments if segment in now}

        return [
            answers.sightings_from(parts, list(numbers), replaced) if parts else answers.NO_SIGHTINGS
            for parts, numbers in several
        ]

    def _seen(
        self,
        one: One,
        organisations: Collection[int] | None,
        numbers: dict[Group, int],
        days: tuple[int, int] | None = None,
    ) -> list[Seen]:
        organisations = self._within(organisations)
        return [
            seen(reader, entries, numbers, days)
            for reader in self.readers
            for entries in entries_of(reader, one, organisations)
        ]

    def totals(
        self, kind: ObservableKind, value: str, *, organisations: Collection[int] | None = None
    ) -> Totals | None:
        """One observable over all time, None if it was never seen. Costs the same however often that was."""
        found: dict[Group, tuple[int, int, int]] = {}
        organisations, one = self._within(organisations), One(kind, value)
        for reader in self.readers:
            for entries in entries_of(reader, one, organisations):
                groups = [reader.groups[number] for number in plain(entries.group)]
                columns = [plain(column) for column in totalled(reader, entries)]
                for group, count, first, last in zip(groups, *columns, strict=True):
                    before = found.get(group, (0, NO_FIRST, NO_LAST))
                    found[group] = (before[0] + count, min(before[1], first), max(before[2], last))
        return answers.totals_from(found)

    # --- many values -----------------------------------------------------------------------------------------------

    def match(self, feed: Feed, *, organisations: Collection[int] | None = None) -> pa.Table:
        """Which values of a feed were ever seen, and their totals: rows of ``MATCH_SCHEMA``.

        ``row`` is the value's row in the feed. In the order of row, organisation, source and role. An event is counted
        in each role that the observable has in it.
        """
        numbers: dict[Group, int] = {}
        parts: list[tuple[Column, ...]] = []
        organisations = self._within(organisations)
        for reader in self.readers:
            for entries in entries_of(reader, feed, organisations):
                used, place = np.unique(entries.group, return_inverse=True)
                of_file = [reader.groups[number] for number in plain(used)]
                group = np.array([numbers.setdefault(group, len(numbers)) for group in of_file], np.int64)[place]
                shown = np.array([group.role != OVERLAP for group in of_file], bool)[place]
                columns = (feed.row(entries.needle), group, *totalled(reader, entries))
                parts.append(tuple(column[shown] for column in columns))
        row, group, *totals = (np.concatenate(c) for c in zip(*parts, strict=True)) if parts else (NOTHING,) * 5
        ordered, rank = answers.in_group_order(list(numbers))
        return answers.match_table(row, rank[group], totals, feed.kinds, feed.values, ordered)

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
        """A file by its name, in whatever folder. ``name`` is as in canonical paths: folded for those of Windows."""

        def is_wanted(values: Texts) -> Mask:
            # A slash may stand in a name if the path has backslashes.
            ends = [as_mask(computed("ends_with", values, separator + name)) for separator in ("\\", "/")]
            has_backslash = as_mask(computed("match_substring", values, "\\"))
            is_name = as_mask(computed("equal", values, name))
            return is_name | ends[0] | (ends[1] & ~has_backslash)

        return self._found(key_forms.file_name_ranges(name), organisations, values_max, is_wanted)

    def lookup_account_name(
        self, name: str, *, organisations: Collection[int] | None = None, values_max: int = FOUND_VALUES_MAX
    ) -> Found:
        """An account by its name, in whatever domain and without one. ``name`` is as in canonical accounts: folded."""
        return self._found(key_forms.account_ranges(name), organisations, values_max)

    def lookup_prefix(
        self,
        kind: ObservableKind,
        prefix: str,
        *,
        organisations: Collection[int] | None = None,
        values_max: int = FOUND_VALUES_MAX,
    ) -> Found:
        """All values that begin so. Where these do not stand together (``keys``) all values of the kind are read."""
        stretch = key_forms.prefix_range(kind, prefix) if prefix else key_forms.all_of(kind)
        if stretch is not None:
            return self._found([stretch], organisations, values_max)

        def is_wanted(values: Texts) -> Mask:
            return as_mask(computed("starts_with", values, prefix))

        return self._found([key_forms.all_of(kind)], organisations, values_max, is_wanted)

    def lookup_ranges(
        self,
        stretches: Sequence[KeyRange],
        *,
        organisations: Collection[int] | None = None,
        values_max: int = FOUND_VALUES_MAX,
    ) -> Found:
        """All values of some ranges that do not overlap (``keys`` makes them), in one go."""
        return self._found(sorted(stretches), organisations, values_max)

    def _found(
        self,
        stretches: Sequence[KeyRange],
        organisations: Collection[int] | None,
        values_max: int,
        is_wanted: Callable[[Texts], Mask] | None = None,
    ) -> Found:
        tables = united(self.readers, with_segments=False)
        groups = tables.groups
        is_role = np.array([group.role != OVERLAP for group in groups], bool)
        allowed = self._allowed(groups, self._within(organisations)) & is_role
        parts: list[pa.Table] = [answers.TOTALS_SCHEMA.empty_table()]
        left = values_max
        last_key = b""
        for rows in self._stream(stretches, tables):
            rows = rows.filtered(allowed[rows.group])
            kinds, values = key_forms.values_of(rows.keys)
            if is_wanted is not None:
                wanted = is_wanted(values)
                rows = rows.filtered(wanted[rows.key])
                kinds, values = kept(kinds, wanted), kept(values, wanted)
            if not len(rows):
                continue
            # A value may go on where the portion before ended.
            new = len(rows.keys) - (rows.keys[0].as_py() == last_key)
            last_key = rows.keys[-1].as_py()
            if new > left:
                stop = int(np.searchsorted(rows.key, len(rows.keys) - new + left))
                parts.append(answers.totals_table(rows.part(0, stop), kinds, values, groups))
                return Found(pa.concat_tables(parts), is_complete=False)
            left -= new
            parts.append(answers.totals_table(rows, kinds, values, groups))
        return Found(pa.concat_tables(parts), is_complete=True)

    @staticmethod
    def _allowed(groups: Sequence[Group], organisations: frozenset[int] | None) -> Mask:
        return np.array([organisations is None or group.organisation in organisations for group in groups], bool)

    def _stream(
        self, stretches: Sequence[KeyRange], tables: Tables, replaced: Replaced | None = None
    ) -> Iterator[Rows]:
        """The rows of some ranges; with segments only if it is said what became of these."""
        with_segments = replaced is not None
        in_order = sorted(stretches)
        runs: list[Iterator[Rows]] = []
        for reader in self.readers:
            bounds = [reader.bounds(stretch.low, stretch.high) for stretch in in_order]
            bounds = [(start, stop) for start, stop in bounds if start < stop]
            if bounds:
                runs.append(numbered(reader, tables, bounds, replaced=replaced, with_segments=with_segments))
        yield from streamed(runs)

    def scan(self, stretches: Sequence[KeyRange] | None = None) -> Iterator[pa.Table]:
        """All sightings, or those of some ranges, in the order of keys, as tables of ``SIGHTINGS_SCHEMA``.

        The role ``OVERLAP`` is among them.
        """
        replaced = replaced_in(self.readers, self.replaced)
        tables = united(self.readers, replaced)
        allowed = self._allowed(tables.groups, self._organisations)
        everything = [key_forms.all_of(kind) for kind in key_forms.KIND_NUMBERS]
        for found in self._stream(everything if stretches is None else stretches, tables, replaced):
            rows = found.filtered(allowed[found.group])
            if not len(rows):
                continue
            kinds, values = key_forms.values_of(rows.keys)
            starts = tables.segment_starts[tables.segments_at(rows.group, rows.day)]
            ids = tables.segment_ids[np.repeat(starts, rows.segments) + rows.ranks]
            yield answers.sightings_table(rows, kinds, values, tables.groups, ids)

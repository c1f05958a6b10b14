"""Whether the index is right: whole, byte for byte, and the same as one made anew from the segments."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, cast

import msgspec
import numpy as np
import pyarrow as pa

from mingjian.model.sources import ObservableKind
from mingjian.store.sightings import keys as key_forms
from mingjian.store.sightings.blocks import FRAME_BYTES, damaged, frames
from mingjian.store.sightings.columns import Mask
from mingjian.store.sightings.delta import new_name, write_delta
from mingjian.store.sightings.disk import Folder
from mingjian.store.sightings.hashing import Numbers, xxh64
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.layout import GONE, IndexFile, Tables, days_since_1970
from mingjian.store.sightings.merging import merge, numbered, plan, replaced_in, streamed, united
from mingjian.store.sightings.reading import IndexReader
from mingjian.store.sightings.rows import DAY_BITS, NO_FIRST, NO_LAST, Column, Keys, Rows, grouped, ranges, sorted_order
from mingjian.store.sightings.writing import FileWriter


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not the same in two indexes."""

    what: Literal["missing", "surplus", "other"]
    """``missing``: only in the expected one; ``surplus``: only in the one that is checked; ``other``: in both."""
    kind: ObservableKind
    value: str
    organisation: int
    source: str
    role: str
    day: int | None
    """Days since 1970."""
    found: str
    """Count, first, last and segments; empty if there is no row."""
    expected: str


def rebuilt(folder: Folder, commits: Iterable[tuple[int, pa.Table]]) -> list[IndexFile]:
    """Make an index anew from the observations of commits (organisation, table).

    Returns its files. Raises: as ``write_delta``.
    """
    files: list[IndexFile] = []
    for organisation, observations in commits:
        file = write_delta(folder, observations, organisation)
        files += [file] if file else []
        while inputs := plan(files):
            new = merge(folder, [file.name for file in inputs])
            files = [file for file in files if file not in inputs] + [new]
            for file in inputs:
                folder.remove(file.name)
    return files


def differences(index: SightingsIndex, expected: SightingsIndex) -> Iterator[Difference]:
    """Every row in which two indexes differ, in the order of keys. Needs no more memory than a merge.

    Of a row some of whose events retention has removed the expected index can only know a part: it may say less.
    """
    runs, tables = _side_by_side(index, expected)
    for rows in streamed(runs, groups_together=2):
        yield from _compared(rows, tables)


def _side_by_side(index: SightingsIndex, expected: SightingsIndex) -> tuple[list[Iterator[Rows]], Tables]:
    """The rows of two indexes; the numbers of groups are doubled: even ones are found, odd ones expected."""
    readers = (*index.readers, *expected.readers)
    replaced = replaced_in(readers, index.replaced)
    tables = united(readers, replaced)
    runs = [
        _sided(numbered(reader, tables, [(0, reader.footer.values)], replaced=replaced), side)
        for side, part in enumerate((index.readers, expected.readers))
        for reader in part
    ]
    return runs, tables


def with_gone(folder: Folder, old: SightingsIndex, new: SightingsIndex) -> IndexFile | None:
    """Write a file of what ``new`` says, and in place of it what ``old`` says where some of the events are gone.

    None if nothing is gone. Raises: StorageError (a file is damaged, or the new one cannot be kept), LimitExceeded.
    """
    runs, tables = _side_by_side(old, new)
    if GONE not in tables.segment_ids:
        return None
    writer = FileWriter(folder, new_name(), tables)
    try:
        for rows in streamed(runs, groups_together=2):
            where, is_old, is_gone = _where(rows, tables), rows.group % 2 == 0, _is_gone(rows, tables)
            taken = rows.filtered(np.where(is_old, is_gone, ~np.isin(where, where[is_old & is_gone])))
            # Days of one group may come from either side.
            writer.add(
                grouped(
                    taken.keys,
                    key=taken.key,
                    group=taken.group // 2,
                    day=taken.day,
                    count=taken.count,
                    first=taken.first,
                    last=taken.last,
                    segments=taken.segments,
                    ranks=taken.ranks,
                )
            )
        return writer.finish()
    finally:
        writer.close()


def _where(rows: Rows, tables: Tables) -> Column:
    """Key, group and day of each row in one number, of both sides the same."""
    group_bits = len(tables.groups).bit_length()
    return (rows.key << (group_bits + DAY_BITS)) | (rows.group // 2 << DAY_BITS) | rows.day


def _is_gone(rows: Rows, tables: Tables) -> Mask:
    """Of which rows some events are gone."""
    has = np.flatnonzero(rows.segments)
    starts = tables.segment_starts[tables.segments_at(rows.group[has] // 2, rows.day[has])]
    # Ranks rise, and what is gone comes first.
    first = rows.ranks[(np.cumsum(rows.segments) - rows.segments)[has]]
    is_gone = np.zeros(len(rows), bool)
    is_gone[has] = tables.segment_ids[starts + first] == GONE
    return is_gone


def _sided(run: Iterator[Rows], side: int) -> Iterator[Rows]:
    for rows in run:
        yield replace(rows, group=rows.group * 2 + side)


def _compared(rows: Rows, tables: Tables) -> Iterator[Difference]:
    where = _where(rows, tables)
    is_gone = _is_gone(rows, tables) & (rows.group % 2 == 0)
    ends = np.cumsum(rows.segments)
    order = sorted_order(where * 2 + rows.group % 2)
    together = where[order]
    is_pair = np.zeros(len(order), bool)
    is_pair[:-1] = together[1:] == together[:-1]
    is_second = np.concatenate(([False], is_pair[:-1]))

    def shown(row: int) -> str:
        starts = tables.segment_starts[tables.segments_at(rows.group[row : row + 1] // 2, rows.day[row : row + 1])]
        ranks = rows.ranks[ends[row] - rows.segments[row] : ends[row]]
        first, last = (None if t in (NO_FIRST, NO_LAST) else t for t in (int(rows.first[row]), int(rows.last[row])))
        return f"{rows.count[row]} from {first} to {last} in {tables.segment_ids[starts[0] + ranks].tolist()}"

    def difference(what: Literal["missing", "surplus", "other"], row: int, found: str, expected: str) -> Difference:
        kinds, values = key_forms.values_of(rows.keys.slice(int(rows.key[row]), 1))
        group = tables.groups[int(rows.group[row]) // 2]
        return Difference(
            what=what,
            kind=cast("ObservableKind", kinds[0].as_py()),
            value=values[0].as_py(),
            organisation=group.organisation,
            source=group.source,
            role=group.role,
            day=days_since_1970(int(rows.day[row])),
            found=found,
            expected=expected,
        )

    for place in np.flatnonzero(~is_pair & ~is_second & ~is_gone[order]).tolist():
        row = int(order[place])
        is_found = rows.group[row] % 2 == 0
        text = shown(row)
        yield difference("surplus" if is_found else "missing", row, text if is_found else "", "" if is_found else text)
    first, second = order[np.flatnonzero(is_pair)], order[np.flatnonzero(is_pair) + 1]
    other = np.zeros(len(first), bool)
    for column in (rows.count, rows.first, rows.last, rows.segments):
        other |= column[first] != column[second]
    alike = np.flatnonzero(~other)
    sizes, starts = rows.segments[first[alike]], ends - rows.segments
    ranks = (rows.ranks[ranges(starts[side[alike]], sizes)] for side in (first, second))
    other[np.repeat(alike, sizes)[np.not_equal(*ranks)]] = True
    is_less = (rows.count[first] < rows.count[second]) | (rows.first[first] > rows.first[second])
    is_less |= rows.last[first] < rows.last[second]
    for place in np.flatnonzero(other & (is_less | ~is_gone[first])).tolist():
        one, two = int(first[place]), int(second[place])
        yield difference("other", one, shown(one), shown(two))


def check_file(folder: Folder, name: str) -> None:
    """Read all of an index file and check that it is whole and says one thing in all its parts.

    Raises: StorageError (what is wrong first), StateError (written by another version).
    """
    reader = IndexReader(folder, name)
    try:
        _check_frames(folder, reader)
        _check_order(reader)
        reader.check_sections()
    finally:
        reader.close()


def _check_frames(folder: Folder, reader: IndexReader) -> None:
    digest = hashlib.blake2b(digest_size=32)
    file = folder.read(reader.name)
    try:
        for _, data in frames(file):
            digest.update(data[:FRAME_BYTES])
        # The tables are in a frame of their own behind the hashes.
        digest.update(file.read_at(reader.footer.tables_offset, FRAME_BYTES))
    finally:
        file.close()
    if digest.hexdigest() != reader.footer.blocks_digest:
        raise damaged("its blocks are not those that were written", reader.name)


def _check_order(reader: IndexReader) -> None:
    """Keys rise, every key is found by its hash, and what the footer counts is there."""
    last = b""
    hashes: list[Numbers] = []
    ordinals: list[Column] = []
    done = rows_done = count = 0
    for rows in reader.portions(0, reader.footer.values):
        first = rows.keys[0].as_py()
        again = first == last
        if first < last or not _is_rising(rows.keys):
            raise damaged("its keys are not in order", reader.name)
        last = rows.keys[-1].as_py()
        new = rows.keys.slice(int(again))
        hashes.append(xxh64(new))
        ordinals.append(np.arange(done, done + len(new)))
        done += len(new)
        rows_done += len(rows)
        count += int(rows.count.sum())
        if len(hashes) >= 64:
            _check_hashes(reader, hashes, ordinals)
            hashes, ordinals = [], []
    _check_hashes(reader, hashes, ordinals)
    if (done, rows_done, count) != (reader.footer.values, reader.footer.rows, reader.footer.count):
        raise damaged("it does not hold as much as it says", reader.name)


def _is_rising(keys: Keys) -> bool:
    texts = cast("list[bytes]", keys.to_pylist())
    return all(a < b for a, b in pairwise(texts))


def _check_hashes(reader: IndexReader, hashes: Sequence[Numbers], ordinals: Sequence[Column]) -> None:
    if not hashes:
        return
    together, numbers = np.concatenate(hashes), np.concatenate(ordinals)
    order = np.argsort(together, kind="stable")
    needles, found = reader.candidates(together[order])
    is_there = np.zeros(len(order), bool)
    is_there[needles[found == numbers[order][needles]]] = True
    if not is_there.all():
        raise damaged("a value cannot be found by its hash", reader.name)

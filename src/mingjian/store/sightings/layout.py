"""The layout of an index file: what stands where, and the tables that its rows refer to.

::

    plan        for the output of a merge: the files it is made of
    blocks      value blocks and row blocks, each in its frame (``blocks``), in the order of keys
    hashes      for each bucket of hashes: the 32 bits behind those that name the bucket, rising; 64 buckets together
    ordinals    ... and which value has that hash (behind each 64 buckets of hashes)
    sections    arrays of 64-bit numbers in pages with checksums: buckets, value blocks, row blocks, segments
    tables      groups and places, in a frame
    footer      ``Footer`` as JSON; then its length, its CRC-32 and the magic bytes

A hash is the XXH64 of a key. Bucket ``i`` of ``2 ** bucket_bits`` has the hashes whose first bits are ``i``. Two keys
with one hash are possible and do no harm: whatever is found is compared with the key.

Numbers are little-endian. A file is never changed once it has its name.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import msgspec
import numpy as np

from mingjian.errors import LimitExceeded
from mingjian.store.sightings.rows import (
    DAY_BITS,
    EPOCH_DAY,
    GROUPS_MAX,
    NO_DAY,
    SEGMENTS_PER_DAY_MAX,
    Column,
)

FORMAT_VERSION: Final = 2
MAGIC: Final = b"MJsight1"
SUFFIX: Final = ".sightings"
PART: Final = ".part"
"""Ends the name of a file that is not finished."""
ASIDE: Final = ".aside"
"""Ends the name of a file in which hashes are put aside while another is written."""
TRAILER: Final = struct.Struct("<II8s")
TAIL_BYTES: Final = 65_536
"""So much of the end of a file is read when it is opened: the footer is in it, of a small file nearly everything."""
FOOTER_BYTES_MAX: Final = 32_768

KEYS_PER_BUCKET_MAX: Final = 2048
"""On average a bucket has between half of so many keys and so many."""
BUCKETS_TOGETHER: Final = 64
PAGE_ITEMS: Final = 1024
"""Items of a section that share a checksum."""
GONE: Final = 0
"""Stands in files for every segment whose events retention has removed. No segment has this number."""
VALUES_PER_FILE_MAX: Final = (1 << 32) - 1
FILE_BYTES_MAX: Final = 1 << 38
PACKED_BYTES_MAX: Final = (1 << 26) - 1
"""A block with its frame is not longer."""

UNITS_US: Final = (1_000_000, 1_000, 1)
"""Times of a source are kept in the coarsest of these in which all of them are whole."""


class Group(NamedTuple):
    """What an observable is counted by, besides the day."""

    organisation: int
    source: str
    role: str


class Place(NamedTuple):
    """Where something was seen."""

    organisation: int
    source: str


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """An array of rows of ``width`` numbers in pages, and behind it a checksum and the first number of each page."""

    offset: int
    items: int
    width: int
    checksum: int
    """CRC-32 of what stands behind the pages."""

    @property
    def end(self) -> int:
        """Where the next thing in the file begins."""
        return self.offset + 8 * self.width * self.items + 16 * -(-self.items // PAGE_ITEMS)


class TableData(msgspec.Struct, frozen=True, kw_only=True):
    """The tables as they are in a file."""

    places: list[Place]
    units_us: list[int]
    groups: list[tuple[int, str]]
    """Number of the place, and role."""


class Footer(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says about itself."""

    format: int
    canonical: int
    """Version of the canonical forms, ``model.observables.CANONICAL_VERSION``."""
    values: int
    rows: int
    count: int
    """Sum of all counts."""
    first_day: int | None
    """Days since 1970; None if there is no row with a day."""
    last_day: int | None
    bucket_bits: int
    buckets: Section
    value_blocks: Section
    row_blocks: Section
    segment_days: Section
    segment_starts: Section
    segment_ids: Section
    tables_offset: int
    tables_bytes: int
    blocks_digest: str
    """BLAKE2b over the heads of all blocks, and so over their checksums."""


class IndexFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the index, for the catalogue. It counts only once the catalogue has committed its name."""

    name: str
    size_bytes: int
    values: int
    """Observables."""
    rows: int
    count: int
    """In how many events the observables of the file occur, each role of each counted by itself."""
    first_day: int | None
    """Days since 1970."""
    last_day: int | None
    organisations: tuple[int, ...]
    content_hash: bytes
    canonical_version: int


def content_hash(footer_data: bytes) -> bytes:
    """What a file is known by: the footer holds digests of all the rest."""
    return hashlib.blake2b(footer_data, digest_size=16).digest()


def days_since_1970(day: int) -> int | None:
    """A day as the catalogue has it, None for ``NO_DAY``."""
    return None if day == NO_DAY else day - EPOCH_DAY


def place_of_block(offset: int, size: int) -> int:
    """Offset and length of a block in one number. Raises: LimitExceeded."""
    if size > PACKED_BYTES_MAX:
        raise LimitExceeded("PACKED_BYTES_MAX", PACKED_BYTES_MAX, where="sightings")
    if offset >= FILE_BYTES_MAX:
        raise LimitExceeded("FILE_BYTES_MAX", FILE_BYTES_MAX, where="sightings")
    return offset << 26 | size


def bucket_bits(values: int) -> int:
    """How many bits of the hash name the bucket.

    >>> bucket_bits(2048), bucket_bits(2049)
    (0, 1)
    """
    return max(0, (max(values, 1) - 1) // KEYS_PER_BUCKET_MAX).bit_length()


@dataclass(frozen=True)
class Tables:
    """What the numbers in rows mean: groups, and the segments of each place and day."""

    groups: tuple[Group, ...]
    """Distinct and in order; a row has the place here."""
    units_us: Mapping[Place, int]
    segment_days: Column
    """Number of the place and, in the last ``DAY_BITS``, the day; rising."""
    segment_starts: Column
    """Where the segments of each of these begin, and at the end where the last ones end."""
    segment_ids: Column

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The distinct places, in order."""
        return tuple(sorted({Place(group.organisation, group.source) for group in self.groups}))

    @cached_property
    def place_of_group(self) -> Column:
        """The number of each group's place."""
        numbers = {place: number for number, place in enumerate(self.places)}
        return np.array([numbers[Place(g.organisation, g.source)] for g in self.groups], np.int64)

    @cached_property
    def unit_of_group(self) -> Column:
        """The unit of each group's times, microseconds."""
        units = np.array([self.units_us[place] for place in self.places], np.int64)
        return units[self.place_of_group]

    @cached_property
    def data(self) -> TableData:
        """The part of the tables that is kept as text."""
        return TableData(
            places=list(self.places),
            units_us=[self.units_us[place] for place in self.places],
            groups=[(int(p), g.role) for p, g in zip(self.place_of_group, self.groups, strict=True)],
        )

    def segments_at(self, group: Column, day: Column) -> Column:
        """Where in ``segment_days`` each of some rows is."""
        return np.searchsorted(self.segment_days, (self.place_of_group[group] << DAY_BITS) | day)


def tables_of(
    groups: Iterable[Group], units_us: Mapping[Place, int], segments: Mapping[tuple[Place, int], Sequence[int]]
) -> Tables:
    """Make tables of groups in any order and the segments (rising) of each place and day.

    Raises: LimitExceeded (GROUPS_MAX or SEGMENTS_PER_DAY_MAX).
    """
    ordered = tuple(sorted(set(groups)))
    if len(ordered) > GROUPS_MAX:
        raise LimitExceeded("GROUPS_MAX", GROUPS_MAX, where="sightings")
    places = sorted({Place(group.organisation, group.source) for group in ordered})
    numbers = {place: number for number, place in enumerate(places)}
    days = sorted(((numbers[place] << DAY_BITS) | day, ids) for (place, day), ids in segments.items())
    lengths = [len(ids) for _, ids in days]
    if max(lengths, default=0) > SEGMENTS_PER_DAY_MAX:
        raise LimitExceeded("SEGMENTS_PER_DAY_MAX", SEGMENTS_PER_DAY_MAX, where="sightings")
    return Tables(
        groups=ordered,
        units_us=units_us,
        segment_days=np.array([day for day, _ in days], np.int64),
        segment_starts=np.cumsum([0, *lengths], dtype=np.int64),
        segment_ids=np.array([segment for _, ids in days for segment in ids], np.int64),
    )


def segments_by_day(tables: Tables) -> dict[tuple[Place, int], list[int]]:
    """The segments of each place and day, as ``tables_of`` takes them."""
    ids = tables.segment_ids.tolist()
    starts = tables.segment_starts.tolist()
    return {
        (tables.places[key >> DAY_BITS], key & ((1 << DAY_BITS) - 1)): ids[start:end]
        for key, start, end in zip(tables.segment_days.tolist(), starts, starts[1:], strict=False)
    }

"""On which days a host sent events of a stream: one row of bits, kept with every commit.

Whoever wants to know where history has holes asks about all hosts and all days at once. Counted by host and day that is
millions of rows; as bits it is one row for each host and stream.

Days before ``FIRST_DAY`` or after ``LAST_DAY`` are those of wrong clocks, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.scope import OrganisationId

FIRST_DAY: Final = 7_305
"""1990-01-01, in days since 1970 UTC."""
LAST_DAY: Final = 43_829
"""2089-12-31."""
PORTION: Final = 500
"""So many hosts of streams are named in one statement."""


def note_days(
    connection: sa.Connection, organisation: OrganisationId, days: Mapping[tuple[int, str], Iterable[int]]
) -> None:
    """Add days on which there were events, by number of the stream and host, within a transaction of the writer."""
    noted: dict[tuple[int, str], int] = {}
    for (stream, host), several in days.items():
        bits = bits_of(several)
        if bits and host:
            key = stream, t.storable(host)
            noted[key] = noted.get(key, 0) | bits
    keys = list(noted)
    for start in range(0, len(keys), PORTION):
        portion = keys[start : start + PORTION]
        _write(connection, organisation, {key: noted[key] for key in portion})


def _write(connection: sa.Connection, organisation: OrganisationId, noted: Mapping[tuple[int, str], int]) -> None:
    table = t.host_presence
    query = sa.select(table.c.stream_id, table.c.host, table.c.first_day, table.c.days).where(
        table.c.organisation_id == organisation, sa.tuple_(table.c.stream_id, table.c.host).in_(list(noted))
    )
    known = {(stream, host): unpacked(first, packed) for stream, host, first, packed in connection.execute(query)}
    added: list[dict[str, object]] = []
    changed: list[dict[str, object]] = []
    for key, bits in noted.items():
        before = known.get(key, 0)
        if bits | before == before:
            continue
        first, packed = packed_of(bits | before)
        stream, host = key
        if key in known:
            changed.append({"of_stream": stream, "of_host": host, "first_day": first, "days": packed})
        else:
            row = {"organisation_id": organisation, "stream_id": stream, "host": host}
            added.append({**row, "first_day": first, "days": packed})
    if added:
        connection.execute(sa.insert(table), added)
    if changed:
        same = sa.and_(
            table.c.organisation_id == organisation,
            table.c.stream_id == sa.bindparam("of_stream"),
            table.c.host == sa.bindparam("of_host"),
        )
        connection.execute(sa.update(table).where(same), changed)


def bits_of(days: Iterable[int]) -> int:
    """Days as bits of a number, the lowest for ``FIRST_DAY``.

    >>> bits_of([FIRST_DAY, FIRST_DAY + 2, 0])
    5
    """
    bits = 0
    for day in days:
        if FIRST_DAY <= day <= LAST_DAY:
            bits |= 1 << (day - FIRST_DAY)
    return bits


def packed_of(bits: int) -> tuple[int, bytes]:
    r"""The first day of some bits (which are not none), and the rest as bytes.

    >>> packed_of(bits_of([FIRST_DAY + 8, FIRST_DAY + 9]))
    (7313, b'\x03')
    """
    first = (bits & -bits).bit_length() - 1
    rest = bits >> first
    return FIRST_DAY + first, rest.to_bytes((rest.bit_length() + 7) // 8, "little")


def unpacked(first_day: int, packed: bytes) -> int:
    """The bits that ``packed_of`` packed.

    >>> unpacked(*packed_of(12345))
    12345
    """
    return int.from_bytes(packed, "little") << (first_day - FIRST_DAY)


def days_of(bits: int) -> Sequence[int]:
    """The days that some bits stand for, in order.

    >>> days_of(5)
    [7305, 7307]
    """
    if not bits:
        return []
    first, packed = packed_of(bits)
    there = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    return (np.flatnonzero(there) + first).tolist()

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
"""So many hosts are named in one statement."""


def note_days(
    connection: sa.Connection, organisation: OrganisationId, days: Mapping[tuple[int, str], Iterable[int]]
) -> None:
    """Add days on which there were events, by number of the stream and host, within a transaction of the writer."""
    table = t.host_presence
    by_stream: dict[int, dict[str, int]] = {}
    for (stream, host), several in days.items():
        bits = bits_of(several)
        if bits and host:
            of_stream = by_stream.setdefault(stream, {})
            name = t.storable(host)
            of_stream[name] = of_stream.get(name, 0) | bits
    for stream, hosts in by_stream.items():
        known: dict[str, int] = {}
        names = list(hosts)
        for start in range(0, len(names), PORTION):
            query = sa.select(table.c.host, table.c.first_day, table.c.days).where(
                table.c.organisation_id == organisation,
                table.c.stream_id == stream,
                table.c.host.in_(names[start : start + PORTION]),
            )
            known |= {host: unpacked(first, packed) for host, first, packed in connection.execute(query)}
        _write(connection, organisation, stream, hosts, known)


def _write(
    connection: sa.Connection,
    organisation: OrganisationId,
    stream: int,
    hosts: Mapping[str, int],
    known: Mapping[str, int],
) -> None:
    table = t.host_presence
    added: list[dict[str, object]] = []
    changed: list[dict[str, object]] = []
    for host, bits in hosts.items():
        before = known.get(host, 0)
        if bits | before == before:
            continue
        first, packed = packed_of(bits | before)
        row: dict[str, object] = {"of_host": host, "first_day": first, "days": packed}
        (changed if host in known else added).append(row)
    if added:
        rows = [
            {
                "organisation_id": organisation,
                "stream_id": stream,
                "host": row["of_host"],
                "first_day": row["first_day"],
                "days": row["days"],
            }
            for row in added
        ]
        connection.execute(sa.insert(table), rows)
    if changed:
        same = sa.and_(
            table.c.organisation_id == organisation,
            table.c.stream_id == stream,
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

"""What the state database knows of one entity: detections that name it, indicators that mean it, segments by number.

Every query here is bounded, and answered by an index of the database, however much is kept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa
import sqlalchemy as sa

from mingjian.model.indicators import NETWORK_BITS_MIN
from mingjian.model.rules import LEVELS
from mingjian.model.sources import ObservableKind
from mingjian.store import tables as t
from mingjian.store.catalogue import SegmentRow, segment_rows, within
from mingjian.store.detections import StoredDetection, rows_as_detections
from mingjian.store.indicatortables import FIELDS, ROW_SCHEMA
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

PORTION: Final = 500
"""So many values are named in one statement."""
DETECTIONS_MAX: Final = 2_000
"""So many detections of one entity are fetched at most, the gravest first."""
DOMAINS_MAX: Final = 16
"""So many domains of one organisation's hosts are considered."""
INDICATORS_MAX: Final = 1_000
"""So many indicators that mean some observables are fetched in one statement."""


class Background(msgspec.Struct, frozen=True):
    """How usual it is that a rule finds something."""

    hosts: int
    detections: int


def segments_by_id(workspace: Workspace, scope: Scope, ids: Collection[int]) -> list[SegmentRow]:
    """The live segments among some numbers, in the order of their numbers."""
    found: list[SegmentRow] = []
    for portion in _portions(sorted(ids)):
        condition = sa.and_(
            t.segments.c.state == "live", t.segments.c.id.in_(portion), within(scope, t.segments.c.organisation_id)
        )
        found += segment_rows(workspace, condition, (t.segments.c.id,))
    return found


def detections_of(
    workspace: Workspace,
    scope: Scope,
    *,
    hosts: Iterable[str] = (),
    accounts: Iterable[str] = (),
    rule_ids: Iterable[str] = (),
    organisation: OrganisationId | None = None,
    limit: int = DETECTIONS_MAX,
) -> list[StoredDetection]:
    """Detections that name one of some hosts or accounts (as they were written) or come from some rules.

    Those that somebody has suppressed are left out. The gravest first, then the oldest. At most ``limit``: whoever gets
    as many has not got all.
    """
    table = t.detections
    conditions = [
        column.in_(some[:PORTION])
        for column, values in ((table.c.host, hosts), (table.c.account, accounts), (table.c.rule_id, rule_ids))
        if (some := [t.storable(value) for value in values])
    ]
    if not conditions:
        return []
    level = sa.case({name: place for place, name in enumerate(LEVELS)}, value=table.c.level)
    owned = [] if organisation is None else [table.c.organisation_id == organisation]
    query = (
        sa.select(table, t.streams.c.name.label("stream"))
        .outerjoin(t.streams, t.streams.c.id == table.c.stream_id)
        .where(sa.or_(*conditions), within(scope, table.c.organisation_id), table.c.suppressed_by.is_(None), *owned)
        .order_by(level.desc(), table.c.time_us.is_(None), table.c.time_us, table.c.id)
        .limit(limit)
    )
    with workspace.read() as connection:
        return rows_as_detections(connection.execute(query))


def background(workspace: Workspace, scope: Scope, rule_ids: Iterable[str]) -> dict[str, Background]:
    """On how many hosts some rules found something, and how often: a rule that fires everywhere says little."""
    table = t.detections
    found: dict[str, Background] = {}
    for portion in _portions(sorted(set(rule_ids))):
        query = (
            sa.select(table.c.rule_id, sa.func.count(sa.distinct(table.c.host)), sa.func.count())
            .where(table.c.rule_id.in_(portion), within(scope, table.c.organisation_id))
            .group_by(table.c.rule_id)
        )
        with workspace.read() as connection:
            found |= {rule: Background(hosts, count) for rule, hosts, count in connection.execute(query)}
    return found


def indicators_about(workspace: Workspace, scope: Scope, observables: Iterable[tuple[ObservableKind, str]]) -> pa.Table:
    """Live indicators that may mean some observables: those with their value, a name above, a network around it.

    Rows of ``indicatortables.ROW_SCHEMA``; ``IndicatorMatcher`` says which of them do.
    """
    readable = scope.readable()
    table, version, first, series = t.indicators, t.indicator_sets, t.indicator_sets.alias(), t.indicator_series
    owner = series.c.organisation_id
    columns = (table.c.id, *(table.c[name] for name in FIELDS), version.c.id.label("set_id"))
    rows: list[Sequence[Any]] = []
    with workspace.read() as connection:
        if connection.execute(sa.select(version.c.id).where(version.c.state == "live").limit(1)).first() is None:
            return pa.Table.from_arrays([pa.array([], kind_) for kind_ in ROW_SCHEMA.types], schema=ROW_SCHEMA)
        wanted = dict.fromkeys(meaning for kind, value in observables for meaning in meanings(kind, value))
        for portion in _portions(list(wanted)):
            query = (
                sa.select(*columns)
                .join(version, sa.and_(version.c.series_id == table.c.series_id, version.c.state == "live"))
                .join(first, sa.and_(first.c.id == table.c.added_in, first.c.state != "loading"))
                .join(series, series.c.id == table.c.series_id)
                .where(
                    table.c.kind.in_(_KINDS),
                    table.c.value.in_(portion),
                    table.c.added_in <= version.c.id,
                    sa.or_(table.c.retired_in.is_(None), table.c.retired_in > version.c.id),
                    sa.true() if readable is None else sa.or_(owner.is_(None), owner.in_(readable)),
                )
                .limit(INDICATORS_MAX)
            )
            rows += [tuple(row) for row in connection.execute(query)]
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(ROW_SCHEMA)
    arrays = [pa.array(column, kind_) for column, kind_ in zip(cells, ROW_SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=ROW_SCHEMA)


def hosts_known(workspace: Workspace, scope: Scope, organisation: OrganisationId | None = None) -> int:
    """How many hosts have sent events with a time; the same name in two organisations is two hosts."""
    table = t.host_presence
    owned = [] if organisation is None else [table.c.organisation_id == organisation]
    each = (
        sa.select(table.c.organisation_id, table.c.host)
        .where(table.c.host != "", within(scope, table.c.organisation_id), *owned)
        .distinct()
        .subquery()
    )
    with workspace.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(each)).scalar_one())


def spellings_of_hosts(workspace: Workspace, scope: Scope, organisation: OrganisationId) -> dict[str, str]:
    """The first label of each host's name (folded) → how events spell it: as most streams do, then the longest."""
    scope.check_read(organisation)
    table = t.host_presence
    query = (
        sa.select(table.c.host, sa.func.count())
        .where(table.c.host != "", table.c.organisation_id == organisation)
        .group_by(table.c.host)
    )
    best: dict[str, tuple[int, int, str]] = {}
    with workspace.read() as connection:
        for host, streams in connection.execute(query):
            label = host.partition(".")[0].casefold()
            best[label] = max(best.get(label, (0, 0, "")), (streams, len(host), host))
    return {label: host for label, (_, _, host) in best.items()}


def domains_of_hosts(workspace: Workspace, scope: Scope) -> dict[OrganisationId, tuple[str, ...]]:
    """The domains that the hosts of each organisation say they are in, those with the most hosts first."""
    table = t.host_presence
    query = (
        sa.select(table.c.organisation_id, table.c.host)
        .where(table.c.host.contains("."), within(scope, table.c.organisation_id))
        .distinct()
    )
    counts: dict[OrganisationId, dict[str, int]] = {}
    with workspace.read() as connection:
        for owner, host in connection.execute(query):
            domain = host.partition(".")[2].casefold()
            if not host.replace(".", "").isdigit() and domain:
                of_owner = counts.setdefault(OrganisationId(owner), {})
                of_owner[domain] = of_owner.get(domain, 0) + 1
    return {
        owner: tuple(sorted(counted, key=lambda name: (-counted[name], name))[:DOMAINS_MAX])
        for owner, counted in counts.items()
    }


def events_by_organisation(workspace: Workspace, scope: Scope, streams: Collection[str]) -> dict[OrganisationId, int]:
    """How many events of some streams each organisation has."""
    table = t.segments
    query = (
        sa.select(table.c.organisation_id, sa.func.sum(table.c.rows))
        .join(t.streams, t.streams.c.id == table.c.stream_id)
        .where(table.c.state == "live", t.streams.c.name.in_(sorted(streams)), within(scope, table.c.organisation_id))
        .group_by(table.c.organisation_id)
    )
    with workspace.read() as connection:
        return {OrganisationId(owner): int(rows) for owner, rows in connection.execute(query)}


def state_of_lake(workspace: Workspace) -> tuple[int, ...]:
    """Numbers that change whenever something came in, was merged, removed or set aside."""
    table = t.segments
    queries = (
        sa.select(sa.func.max(table.c.id)),
        sa.select(sa.func.count()).where(table.c.state == "live"),
        sa.select(sa.func.count()).where(table.c.state == "expired"),
        sa.select(sa.func.max(t.quarantine.c.id)),
        sa.select(sa.func.count()).select_from(t.organisations),
    )
    with workspace.read() as connection:
        return tuple(int(connection.execute(query).scalar_one() or 0) for query in queries)


_KINDS: Final = (
    *("ip", "domain", "url", "email", "hash", "account", "host", "certificate", "ja3", "ja4", "file", "package"),
)


def meanings(kind: str, value: str) -> list[str]:
    r"""The values that an indicator may have which means an observable.

    >>> meanings("domain", "a.b.example")
    ['a.b.example', 'b.example', 'example']
    >>> meanings("file", "c:\\temp\\a.exe")
    ['c:\\temp\\a.exe', 'a.exe']
    >>> meanings("ip", "10.20.31.7")[:4], meanings("ip", "10.20.31.7")[-1], meanings("ip", "2001:db8::1")[-1]
    (['10.20.31.7', '10.20.31.7/32', '10.20.31.6/31', '10.20.31.4/30'], '10.0.0.0/8', '2001::/16')
    """
    found: dict[str, None] = {value: None}
    name = _name_in(kind, value)
    if name:
        found[name] = None
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            labels = name.split(".")
            found |= dict.fromkeys(".".join(labels[start:]) for start in range(len(labels)))
        else:
            found |= dict.fromkeys(_networks(address))
    if kind == "file":
        found[value.rpartition("\\" if "\\" in value else "/")[2]] = None
    return list(found)


def _networks(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[str]:
    """The networks around an address, from the smallest to the largest that an indicator may have."""
    whole = address.max_prefixlen
    make = type(address)
    for bits in range(whole, NETWORK_BITS_MIN[address.version] - 1, -1):
        kept = int(address) >> (whole - bits) << (whole - bits)
        # A network made of the address itself would look at its text again, each time.
        yield f"{make(kept)}/{bits}"


def _name_in(kind: str, value: str) -> str:
    if kind in ("ip", "domain", "host"):
        return value
    if kind == "email":
        return value.rpartition("@")[2]
    if kind == "url":
        try:
            return urlsplit(value).hostname or ""
        except ValueError:
            return ""
    return ""


def _portions(values: Sequence[Any]) -> list[list[Any]]:
    return [list(values[start : start + PORTION]) for start in range(0, len(values), PORTION)]

"""Coverage: which rules and which indicators were run over which segments, when, with how many results.

The proof behind “not seen”, and what makes every hunt incremental: what was run is not run again, and what came late
or was interrupted is seen to be missing. Rows are written in the transaction that keeps the results, so that they
never say more than what is true. A merged segment has the coverage that all of its parts had.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import sqlalchemy as sa

from mingjian.store import tables as t
from mingjian.store.catalogue import Extra, SegmentRow, insert_for, live_segments, within
from mingjian.store.rules import set_of_versions
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.workspace import Workspace

PORTION: Final = 5_000
"""So many rows go into one statement."""


class Uncovered(msgspec.Struct, frozen=True, kw_only=True):
    """Segments that the same rule versions have not been run over."""

    version_ids: frozenset[int]
    segments: tuple[SegmentRow, ...]
    """Newest day first."""


def ran_rules(segment_ids: Iterable[int], rule_set_id: int, results: Mapping[int, int], run_us: int) -> Extra:
    """Rows that say that a rule set was run over segments; ``results``: segment → detections, none if not named."""
    return _ran(t.rule_coverage, "rule_set_id", list(segment_ids), rule_set_id, results, run_us)


def ran_indicators(segment_ids: Iterable[int], indicator_set_id: int, results: Mapping[int, int], run_us: int) -> Extra:
    """Rows that say that an indicator set was run over segments; ``results`` as for rules."""
    return _ran(t.indicator_coverage, "indicator_set_id", list(segment_ids), indicator_set_id, results, run_us)


def _ran(
    table: sa.Table, what: str, segment_ids: Sequence[int], set_id: int, results: Mapping[int, int], run_us: int
) -> Extra:
    rows = [
        {"segment_id": segment, what: set_id, "run_us": run_us, "results": results.get(segment, 0)}
        for segment in segment_ids
    ]

    def write(connection: sa.Connection) -> None:
        insert = insert_for(connection, table)
        again = insert.on_conflict_do_update(
            index_elements=[table.c.segment_id, table.c[what]],
            set_={"run_us": insert.excluded.run_us, "results": insert.excluded.results},
        )
        for start in range(0, len(rows), PORTION):
            connection.execute(again, rows[start : start + PORTION])

    return write


# --- what is missing -----------------------------------------------------------------------------------------------


def uncovered_by_rules(
    workspace: Workspace,
    scope: Scope,
    version_ids: Collection[int],
    *,
    organisation: OrganisationId | None = None,
) -> list[Uncovered]:
    """The live segments that some of these rule versions have not been run over, by which of them are missing.

    Groups with the newest segments come first.
    """
    wanted = frozenset(version_ids)
    table = t.rule_coverage
    sets_of: dict[int, list[int]] = defaultdict(list)
    with workspace.read() as connection:
        query = (
            sa.select(table.c.segment_id, table.c.rule_set_id)
            .join(t.segments, t.segments.c.id == table.c.segment_id)
            .where(t.segments.c.state == "live")
        )
        for segment, rule_set in connection.execute(query):
            sets_of[segment].append(rule_set)
        members = _members(connection, {each for several in sets_of.values() for each in several})
    missing_after: dict[frozenset[int], frozenset[int]] = {}
    groups: dict[frozenset[int], list[SegmentRow]] = {}
    for row in live_segments(workspace, scope, organisation=organisation, newest_first=True):
        sets = frozenset(sets_of.get(row.id, ()))
        missing = missing_after.get(sets)
        if missing is None:
            missing = missing_after[sets] = wanted.difference(*(members[each] for each in sets))
        if missing:
            groups.setdefault(missing, []).append(row)
    return [Uncovered(version_ids=missing, segments=tuple(rows)) for missing, rows in groups.items()]


def uncovered_by_indicators(
    workspace: Workspace, scope: Scope, indicator_set_id: int, *, organisation: OrganisationId | None = None
) -> list[SegmentRow]:
    """The live segments that an indicator set has not been run over, newest day first."""
    table = t.indicator_coverage
    query = sa.select(table.c.segment_id).where(table.c.indicator_set_id == indicator_set_id)
    with workspace.read() as connection:
        covered = set(connection.execute(query).scalars())
    rows = live_segments(workspace, scope, organisation=organisation, newest_first=True)
    return [row for row in rows if row.id not in covered]


def segments_run(workspace: Workspace, scope: Scope) -> tuple[dict[int, int], int]:
    """For each rule version over how many live segments it was run; and how many there are."""
    segments, table = t.segments, t.rule_coverage
    is_live = (segments.c.state == "live", within(scope, segments.c.organisation_id))
    # The database counts which sets go together: there are many segments, and few such combinations.
    number = sa.cast(table.c.rule_set_id, sa.Text)
    of_each = (
        sa.select(sa.func.aggregate_strings(number, ",").label("sets"))
        .select_from(segments.join(table, table.c.segment_id == segments.c.id))
        .where(*is_live)
        .group_by(table.c.segment_id)
        .subquery()
    )
    alike: Counter[frozenset[int]] = Counter()
    with workspace.read() as connection:
        live = connection.execute(sa.select(sa.func.count()).select_from(segments).where(*is_live)).scalar_one()
        for sets, several in connection.execute(sa.select(of_each.c.sets, sa.func.count()).group_by(of_each.c.sets)):
            alike[frozenset(map(int, sets.split(",")))] += several
        members = _members(connection, {each for sets in alike for each in sets})
    runs: Counter[int] = Counter()
    for sets, count in alike.items():
        for version in set[int]().union(*(members[each] for each in sets)):
            runs[version] += count
    return dict(runs), live


def still_live(workspace: Workspace, segment_ids: Collection[int]) -> set[int]:
    """Which of some segments have not been merged or removed meanwhile."""
    table = t.segments
    found: set[int] = set()
    wanted = sorted(segment_ids)
    with workspace.read() as connection:
        for start in range(0, len(wanted), PORTION):
            query = sa.select(table.c.id).where(
                table.c.state == "live", table.c.id.in_(wanted[start : start + PORTION])
            )
            found.update(connection.execute(query).scalars())
    return found


# --- merged segments -----------------------------------------------------------------------------------------------


def inherit(connection: sa.Connection, old_ids: Sequence[int], new_id: int) -> None:
    """Give a merged segment the coverage that all of its parts had: a ``MergeExtra`` for every merge."""
    _inherit_same(connection, t.indicator_coverage, "indicator_set_id", old_ids, new_id)
    same = _inherit_same(connection, t.rule_coverage, "rule_set_id", old_ids, new_id)
    _inherit_versions(connection, old_ids, new_id, same)


def _inherit_same(
    connection: sa.Connection, table: sa.Table, what: str, old_ids: Sequence[int], new_id: int
) -> set[int]:
    """Take over the sets that were run over every part."""
    column = table.c[what]
    query = (
        sa.select(column, sa.func.min(table.c.run_us), sa.func.sum(table.c.results))
        .where(table.c.segment_id.in_(old_ids))
        .group_by(column)
        .having(sa.func.count() == len(set(old_ids)))
    )
    rows = [
        {"segment_id": new_id, what: set_id, "run_us": run_us, "results": int(results)}
        for set_id, run_us, results in connection.execute(query)
    ]
    if rows:
        connection.execute(sa.insert(table), rows)
    return {row[what] for row in rows}


def _inherit_versions(connection: sa.Connection, old_ids: Sequence[int], new_id: int, same: Collection[int]) -> None:
    """Take over the versions that were run over every part, here in one set and there in another."""
    table = t.rule_coverage
    query = sa.select(table.c.segment_id, table.c.rule_set_id, table.c.run_us).where(table.c.segment_id.in_(old_ids))
    runs = list(connection.execute(query))
    members = _members(connection, {row.rule_set_id for row in runs})
    of_part: dict[int, set[int]] = {segment: set() for segment in old_ids}
    for row in runs:
        of_part[row.segment_id] |= members[row.rule_set_id]
    left = set[int].intersection(*of_part.values()).difference(*(members[each] for each in same))
    if not left:
        return
    run_us = min(row.run_us for row in runs if not left.isdisjoint(members[row.rule_set_id]))
    set_id = set_of_versions(connection, left, run_us)
    values = {
        "segment_id": new_id,
        "rule_set_id": set_id,
        "run_us": run_us,
        "results": _found(connection, new_id, left),
    }
    connection.execute(sa.insert(table).values(values))


def _found(connection: sa.Connection, segment_id: int, version_ids: Collection[int]) -> int:
    """How many detections of some rule versions there are about events of a segment."""
    found, part, segment, day = t.detections, t.segment_inputs, t.segments, t.segment_days
    query = (
        sa.select(found.c.rule_version_id, sa.func.count())
        .join(part, sa.and_(part.c.input_id == found.c.input_id, part.c.segment_id == segment_id))
        .join(segment, segment.c.id == part.c.segment_id)
        .where(
            found.c.record.between(part.c.first_record, part.c.last_record),
            found.c.stream_id == segment.c.stream_id,
            sa.or_(
                sa.exists().where(day.c.segment_id == segment.c.id, day.c.day == found.c.day),
                sa.and_(found.c.day.is_(None), segment.c.month.is_(None)),
            ),
        )
        .group_by(found.c.rule_version_id)
    )
    return sum(count for version, count in connection.execute(query) if version in version_ids)


def _members(connection: sa.Connection, rule_set_ids: Collection[int]) -> dict[int, set[int]]:
    """The rule versions of some sets."""
    table = t.rule_set_members
    found: dict[int, set[int]] = {each: set() for each in rule_set_ids}
    wanted = sorted(rule_set_ids)
    for start in range(0, len(wanted), PORTION):
        query = sa.select(table).where(table.c.rule_set_id.in_(wanted[start : start + PORTION]))
        for row in connection.execute(query):
            found[row.rule_set_id].add(row.rule_version_id)
    return found

"""What was run over what, on both databases."""

from collections.abc import Sequence

import sqlalchemy as sa

from lakes import OPERATOR, kept
from mingjian.model.rules import LogSource, Rule, Text
from mingjian.store import coverage
from mingjian.store import tables as t
from mingjian.store.catalogue import Extra, Organisation, live_segments, organisation_named, stream_ids
from mingjian.store.merging import Merge, merge
from mingjian.store.rules import keep_rules, set_of
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace

RECORDS = [{"Image": "a"}, {"Image": "b"}]


def versions(workspace: Workspace, *names: str) -> list[int]:
    rules = [
        Rule(
            id=name,
            title=name,
            file="r.yml",
            content_hash=name,
            logsource=LogSource(),
            condition=Text("Image", (name,)),
        )
        for name in names
    ]
    return list(keep_rules(workspace, OPERATOR, rules).versions.values())


def ran(
    workspace: Workspace,
    segments: Sequence[int],
    versions: Sequence[int],
    results: dict[int, int],
    run_us: int = 1_000,
) -> int:
    number = set_of(workspace, OPERATOR, versions)
    write(workspace, coverage.ran_rules(segments, number, results, run_us))
    return number


def write(workspace: Workspace, extra: Extra) -> None:
    with workspace.begin() as connection:
        extra(connection)


def missing(workspace: Workspace, versions: Sequence[int]) -> dict[frozenset[int], list[int]]:
    found = coverage.uncovered_by_rules(workspace, OPERATOR, versions)
    return {each.version_ids: [segment.id for segment in each.segments] for each in found}


def rows(workspace: Workspace, segment: int) -> set[tuple[int, int]]:
    table = t.rule_coverage
    query = sa.select(table.c.rule_set_id, table.c.results).where(table.c.segment_id == segment)
    with workspace.read() as connection:
        return {(row.rule_set_id, row.results) for row in connection.execute(query)}


def test_what_was_run_over_no_segment_is_missing_everywhere_newest_first(
    workspace: Workspace, organisation: Organisation
) -> None:
    older = kept(workspace, organisation, RECORDS, day=10)
    newer = kept(workspace, organisation, RECORDS, day=12)
    undated = kept(workspace, organisation, RECORDS, day=None)
    a, b = versions(workspace, "a", "b")
    assert missing(workspace, [a, b]) == {frozenset([a, b]): [newer.id, older.id, undated.id]}


def test_what_was_run_is_not_missing_in_whatever_set_it_was(workspace: Workspace, organisation: Organisation) -> None:
    first = kept(workspace, organisation, RECORDS, day=10)
    second = kept(workspace, organisation, RECORDS, day=11)
    a, b, c = versions(workspace, "a", "b", "c")
    ran(workspace, [first.id], [a], {})
    ran(workspace, [first.id], [b, c], {})
    ran(workspace, [second.id], [a, c], {})
    assert missing(workspace, [a, b]) == {frozenset([b]): [second.id]}
    assert missing(workspace, [a]) == {}


def test_a_second_run_takes_the_place_of_the_first(workspace: Workspace, organisation: Organisation) -> None:
    segment = kept(workspace, organisation, RECORDS)
    (a,) = versions(workspace, "a")
    number = ran(workspace, [segment.id], [a], {segment.id: 3})
    ran(workspace, [segment.id], [a], {segment.id: 4})
    assert rows(workspace, segment.id) == {(number, 4)}


def test_a_segment_that_came_late_is_missing(workspace: Workspace, organisation: Organisation) -> None:
    (a,) = versions(workspace, "a")
    ran(workspace, [kept(workspace, organisation, RECORDS, day=20).id], [a], {})
    late = kept(workspace, organisation, RECORDS, day=3)
    assert missing(workspace, [a]) == {frozenset([a]): [late.id]}
    assert coverage.segments_run(workspace, OPERATOR) == ({a: 1}, 2)


def merged(workspace: Workspace) -> int:
    return merge(workspace, OPERATOR, Merge(tuple(live_segments(workspace, OPERATOR))), [coverage.inherit])


def test_a_merged_segment_has_what_all_of_its_parts_had(workspace: Workspace, organisation: Organisation) -> None:
    one = kept(workspace, organisation, RECORDS).id
    two = kept(workspace, organisation, RECORDS, first=10).id
    a, b, c = versions(workspace, "a", "b", "c")
    both = ran(workspace, [one, two], [a], {one: 2, two: 5})
    ran(workspace, [one], [b], {})
    new = merged(workspace)
    assert rows(workspace, new) == {(both, 7)}
    assert missing(workspace, [a, b, c]) == {frozenset([b, c]): [new]}


def test_a_merged_segment_has_versions_that_its_parts_had_in_different_sets(
    workspace: Workspace, organisation: Organisation
) -> None:
    one = kept(workspace, organisation, RECORDS)
    two = kept(workspace, organisation, RECORDS, first=10)
    a, b, c = versions(workspace, "a", "b", "c")
    ran(workspace, [one.id], [a, b], {one.id: 1})
    ran(workspace, [two.id], [a], {})
    ran(workspace, [two.id], [b, c], {two.id: 1})
    with workspace.begin() as connection:
        stream = stream_ids(connection, [one.key.stream], 0)[one.key.stream]
        of_others = ((1, a, 20_001), (1, c, 20_000), (9_999, a, 20_000))
        for record, version, day in ((1, a, 20_000), (11, b, 20_000), *of_others):
            detection = {
                "organisation_id": organisation.id,
                "public_id": f"{record}-{version}-{day}",
                "identity": b"%d %d %d" % (record, version, day),
                "rule_version_id": version,
                "stream_id": stream,
                "input_id": one.inputs[0].input_id if record == 1 else two.inputs[0].input_id,
                "record": record,
                "day": day,
                "found_us": 0,
                **dict.fromkeys(
                    ("kind", "rule_id", "rule_title", "level", "host", "account", "file", "details", "found_by"), ""
                ),
            }
            connection.execute(sa.insert(t.detections).values(detection))
    new = merged(workspace)
    assert rows(workspace, new) == {(set_of(workspace, OPERATOR, [a, b]), 2)}
    assert missing(workspace, [a, b, c]) == {frozenset([c]): [new]}


def test_a_merged_segment_was_run_over_no_later_than_its_first_part(
    workspace: Workspace, organisation: Organisation
) -> None:
    one = kept(workspace, organisation, RECORDS).id
    two = kept(workspace, organisation, RECORDS, first=10).id
    a, b, c = versions(workspace, "a", "b", "c")
    ran(workspace, [one], [a], {}, run_us=500)
    ran(workspace, [two], [a], {}, run_us=700)
    ran(workspace, [one], [b, c], {}, run_us=900)
    ran(workspace, [two], [b], {}, run_us=300)
    new = merged(workspace)
    query = sa.select(t.rule_coverage.c.run_us).where(t.rule_coverage.c.segment_id == new)
    with workspace.read() as connection:
        assert sorted(connection.execute(query).scalars()) == [300, 500]


def test_parts_without_coverage_leave_none(workspace: Workspace, organisation: Organisation) -> None:
    one = kept(workspace, organisation, RECORDS)
    kept(workspace, organisation, RECORDS, first=10)
    (a,) = versions(workspace, "a")
    ran(workspace, [one.id], [a], {})
    new = merged(workspace)
    assert rows(workspace, new) == set()
    assert missing(workspace, [a]) == {frozenset([a]): [new]}


def test_indicator_sets_are_covered_by_themselves(workspace: Workspace, organisation: Organisation) -> None:
    one = kept(workspace, organisation, RECORDS)
    two = kept(workspace, organisation, RECORDS, first=10)
    number = an_indicator_set(workspace)
    write(workspace, coverage.ran_indicators([one.id], number, {one.id: 4}, 500))
    missing = coverage.uncovered_by_indicators(workspace, OPERATOR, number)
    assert [segment.id for segment in missing] == [two.id]
    write(workspace, coverage.ran_indicators([two.id], number, {}, 700))
    merged(workspace)
    assert coverage.uncovered_by_indicators(workspace, OPERATOR, number) == []


def an_indicator_set(workspace: Workspace) -> int:
    counts = dict.fromkeys(("indicators", "warned", "added", "gone", "added_us"), 0)
    values = {
        "version": 1,
        "state": "live",
        "source": "",
        "marking": "",
        "content_hash": "x",
        "details": "{}",
        **counts,
    }
    with workspace.begin() as connection:
        series = connection.execute(
            sa.insert(t.indicator_series)
            .values(name="n", series_key="n", created_us=0)
            .returning(t.indicator_series.c.id)
        ).scalar_one()
        return connection.execute(
            sa.insert(t.indicator_sets).values(series_id=series, **values).returning(t.indicator_sets.c.id)
        ).scalar_one()


def test_segments_of_others_are_not_named(workspace: Workspace, organisation: Organisation) -> None:
    kept(workspace, organisation, RECORDS)
    stranger = Scope.of_member("ann", [])
    assert coverage.uncovered_by_rules(workspace, stranger, versions(workspace, "a")) == []


def test_over_how_many_segments_each_version_was_run_counts_each_segment_once(
    workspace: Workspace, organisation: Organisation
) -> None:
    first, second, third = (kept(workspace, organisation, RECORDS, day=day).id for day in (10, 11, 12))
    a, b, c = versions(workspace, "a", "b", "c")
    ran(workspace, [first, second], [a], {})
    ran(workspace, [first], [a, b], {})
    other = organisation_named(workspace, OPERATOR, "another", make=True)
    theirs = kept(workspace, other, RECORDS).id
    ran(workspace, [third, theirs], [b], {})
    assert coverage.segments_run(workspace, OPERATOR) == ({a: 2, b: 3}, 4)
    assert coverage.segments_run(workspace, Scope.of_member("m", [organisation.id])) == ({a: 2, b: 2}, 3)
    assert coverage.segments_run(workspace, Scope.of_member("m", [other.id])) == ({b: 1}, 1)
    assert c not in coverage.segments_run(workspace, OPERATOR)[0]

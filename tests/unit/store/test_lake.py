"""What is kept, in rows."""

from lakes import DAY_US, OPERATOR, kept
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.lake import lake_rows
from mingjian.store.merging import merge, plan_merges
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace

LIMITS = [(None, None), (20_001, None), (None, 20_004), (20_005, 20_005), (20_002, 20_004)]


def test_there_is_a_row_for_each_stream_and_organisation(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "Another", make=True)
    sizes = [
        kept(workspace, organisation, [{"k": n}] * n, stream="b", day=day).bytes
        for n, day in ((1, 10), (2, 14), (3, 11))
    ]
    kept(workspace, organisation, [{"k": 1}], stream="b", day=None)
    kept(workspace, other, [{"k": 1}], stream="b", day=5)
    kept(workspace, other, [{"k": 1}], stream="a", day=None)
    rows = lake_rows(workspace, OPERATOR)
    assert [(row.stream, row.organisation, row.rows) for row in rows] == [
        ("a", "Another", 1),
        ("b", "Another", 1),
        ("b", "Our Own", 7),
    ]
    assert (rows[0].first_us, rows[0].last_us, rows[0].gaps) == (None, None, ())
    ours = rows[2]
    assert (ours.first_us, ours.last_us) == (10 * DAY_US + 1_000_000, 14 * DAY_US + 2_000_000)
    assert ours.gaps == ((12, 13),)
    assert ours.segments == 4
    assert ours.bytes > sum(sizes)


def test_of_some_days_the_events_of_those_days_are_counted(workspace: Workspace, organisation: Organisation) -> None:
    for day in (20_000, 20_001, 20_005):
        kept(workspace, organisation, [{"k": day}, {"k": 1}], day=day)
    kept(workspace, organisation, [{"k": 1}], day=None)
    before = [lake_rows(workspace, OPERATOR, first_day=first, last_day=last) for first, last in LIMITS]
    (planned,) = plan_merges(workspace, OPERATOR, today=20_100)
    merge(workspace, OPERATOR, planned)
    after = [lake_rows(workspace, OPERATOR, first_day=first, last_day=last) for first, last in LIMITS]
    assert [[(row.rows, row.first_us, row.last_us, row.gaps) for row in rows] for rows in before] == [
        [(row.rows, row.first_us, row.last_us, row.gaps) for row in rows] for rows in after
    ]
    assert [[row.rows for row in rows] for rows in after] == [[7], [4], [4], [2], []]
    assert [[row.segments for row in rows] for rows in after] == [[2], [1], [1], [1], []]
    (whole,), (half,) = after[0], after[3]
    assert half.bytes < whole.bytes


def test_a_member_sees_the_rows_of_its_own(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "Another", make=True)
    kept(workspace, organisation, [{"k": 1}])
    assert lake_rows(workspace, Scope.of_member("eve", [other.id])) == []
    assert [row.rows for row in lake_rows(workspace, Scope.of_member("ann", [organisation.id]))] == [1]

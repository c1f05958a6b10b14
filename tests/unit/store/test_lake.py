"""What is kept, in rows."""

from lakes import DAY_US, OPERATOR, kept
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.lake import lake_rows
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace


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


def test_a_member_sees_the_rows_of_its_own(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "Another", make=True)
    kept(workspace, organisation, [{"k": 1}])
    assert lake_rows(workspace, Scope.of_member("eve", [other.id])) == []
    assert [row.rows for row in lake_rows(workspace, Scope.of_member("ann", [organisation.id]))] == [1]

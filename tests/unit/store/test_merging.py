"""Merging: the same records in fewer files, and no moment at which any of them counts twice or not at all."""

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from lakes import OPERATOR, built, kept, written
from mingjian.errors import NotFound, NotPermitted, StateError, StorageError
from mingjian.model.values import EMPTY, Record
from mingjian.store import merging as merging_module
from mingjian.store import segments as segments_module
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import Organisation, live_segments
from mingjian.store.indexfiles import segments_replaced
from mingjian.store.merging import TIER_FACTOR, Merge, merge, plan_merges
from mingjian.store.scope import Scope
from mingjian.store.upkeep import SHARED_KEPT_DAYS_MIN, Retention, clean, missing_segments, set_retention
from mingjian.store.workspace import Workspace

TODAY = 20_010
DAYS = sorted([*range(20_000, 20_009), 20_003])


def records_in(workspace: Workspace) -> list[Record]:
    """Every record that is kept, in the order of the catalogue."""
    found: list[Record] = []
    for row in live_segments(workspace, OPERATOR):
        with Segment(workspace.lake / row.path, row.content_hash) as segment:
            for block in segment.blocks():
                found += [block.record(number) for number in range(len(block))]
    return found


def test_segments_of_a_day_that_is_over_become_one(workspace: Workspace, organisation: Organisation) -> None:
    records: list[Record] = [
        {"a": 1},
        {"a": "x", "b": {"c": None}},
        {"d": EMPTY, "a": 2.5},
        {"a": [1, {"e": "\udcff"}]},
    ]
    for number, record in enumerate(records, 1):
        kept(workspace, organisation, [record], first=number)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    old = [part.id for part in planned.parts]
    seen: list[object] = []
    new_id = merge(
        workspace,
        OPERATOR,
        planned,
        [lambda connection, before, after: seen.append((connection.closed, before, after))],
    )
    assert seen == [(False, old, new_id)]
    (row,) = live_segments(workspace, OPERATOR)
    assert (row.id, row.rows) == (new_id, 4)
    assert records_in(workspace) == records
    assert segments_replaced(workspace) == dict.fromkeys(old, new_id)
    assert plan_merges(workspace, OPERATOR, today=TODAY) == []


def test_files_that_would_take_too_much_memory_together_are_not_merged(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging_module, "WEIGHED_ROWS_MIN", 5)
    monkeypatch.setattr(merging_module, "UNPACKED_BYTES_MAX", 250_000)
    for number in range(3):
        # The files are small: these texts differ in their beginnings only.
        kept(workspace, organisation, [{"a": f"{place}" + "x" * 25_000} for place in range(4)], first=1 + 4 * number)
    sizes = {row.id: merging_module.unpacked(workspace.lake / row.path) for row in live_segments(workspace, OPERATOR)}
    assert all(100_000 < size < 125_000 for size in sizes.values())
    assert sum(row.bytes for row in live_segments(workspace, OPERATOR)) < 20_000
    assert [len(each.parts) for each in plan_merges(workspace, OPERATOR, today=TODAY)] == [2]
    monkeypatch.setattr(merging_module, "UNPACKED_BYTES_MAX", 350_000)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    assert len(planned.parts) == 3
    before = records_in(workspace)
    merge(workspace, OPERATOR, planned)
    assert records_in(workspace) == before


def test_a_damaged_file_is_planned_for_and_refused_when_it_is_merged(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging_module, "WEIGHED_ROWS_MIN", 0)
    for number in range(2):
        kept(workspace, organisation, [{"a": number}], first=number + 1)
    row = live_segments(workspace, OPERATOR)[0]
    (workspace.lake / row.path).write_bytes(b"no segment")
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    with pytest.raises(StorageError):
        merge(workspace, OPERATOR, planned)


def test_columns_without_a_dictionary_are_merged_as_they_are(workspace: Workspace, organisation: Organisation) -> None:
    for number in range(2):
        records: list[Record] = [
            {"new": f"{number}-{place}", "few": f"{place % 3}", "half": f"{place}" if number else "same"}
            for place in range(200)
        ]
        kept(workspace, organisation, records, first=1 + 200 * number)
    before = records_in(workspace)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    merge(workspace, OPERATOR, planned)
    (row,) = live_segments(workspace, OPERATOR)
    assert records_in(workspace) == before
    group = pq.ParquetFile(workspace.lake / row.path).metadata.row_group(0)
    has_dictionary = {
        group.column(place).path_in_schema: group.column(place).has_dictionary_page
        for place in range(group.num_columns)
    }
    assert [has_dictionary[name] for name in ("new", "few", "half")] == [False, True, False]


def test_what_is_merged_did_not_just_come_in(workspace: Workspace, organisation: Organisation) -> None:
    for number in range(2):
        kept(workspace, organisation, [{"a": number}])
    came_us = [row.committed_us for row in live_segments(workspace, OPERATOR)]
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    merge(workspace, OPERATOR, planned)
    (row,) = live_segments(workspace, OPERATOR)
    assert came_us[0] < came_us[1] == row.committed_us


def days_of(plans: list[Merge]) -> list[list[int | None]]:
    return [[part.first_day for part in planned.parts] for planned in plans]


def test_quiet_days_of_a_month_become_one_when_they_are_eight_or_the_month_is_over(
    workspace: Workspace, organisation: Organisation
) -> None:
    for day in range(19_997, 20_004):  # seven days of October 2024
        kept(workspace, organisation, [{"k": day}], day=day)
    kept(workspace, organisation, [{"k": 1}], day=19_996)
    assert plan_merges(workspace, OPERATOR, today=TODAY) == []
    assert days_of(plan_merges(workspace, OPERATOR, today=20_028)) == [list(range(19_997, 20_004))]
    kept(workspace, organisation, [{"k": TODAY - 1}], day=TODAY - 1)
    kept(workspace, organisation, [{"k": TODAY}], day=TODAY)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    assert days_of([planned]) == [[*range(19_997, 20_004), TODAY - 1]]
    new_id = merge(workspace, OPERATOR, planned)
    (row,) = (row for row in live_segments(workspace, OPERATOR) if row.id == new_id)
    assert (row.first_day, row.last_day, row.rows) == (19_997, TODAY - 1, 8)
    assert plan_merges(workspace, OPERATOR, today=TODAY) == []
    asked = [
        [row.id == new_id for row in live_segments(workspace, OPERATOR, first_day=day, last_day=day)]
        for day in (19_996, 19_997, 20_005, TODAY)
    ]
    assert asked == [[False], [True], [True], [False]]


def test_days_of_what_is_kept_for_a_short_time_stay_apart(workspace: Workspace, organisation: Organisation) -> None:
    for day in (*range(20_000, 20_009), 20_003):
        kept(workspace, organisation, [{"k": 1}], day=day)
    for days, expected in ((SHARED_KEPT_DAYS_MIN - 1, [[20_003, 20_003]]), (SHARED_KEPT_DAYS_MIN, [[*DAYS]])):
        set_retention(workspace, OPERATOR, Retention(stream_pattern="test/*", days=days))
        assert [sorted(each) for each in days_of(plan_merges(workspace, OPERATOR, today=20_100))] == expected  # type: ignore[type-var]  # all have days


def test_a_day_with_many_events_stays_by_itself(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging_module, "DAY_ROWS_MIN", 10)
    monkeypatch.setattr(merging_module, "MONTH_ROWS_MAX", 12)
    for day, size in ((20_000, 6), (20_000, 6), (20_001, 5), (20_002, 6), (20_003, 4), (20_004, 11), (20_005, 9)):
        kept(workspace, organisation, [{"k": 1}] * size, day=day)
    assert sorted(days_of(plan_merges(workspace, OPERATOR, today=20_100))) == [[20_000, 20_000], [20_003, 20_001]]


def test_what_differs_in_stream_layout_or_month_is_not_merged(workspace: Workspace, organisation: Organisation) -> None:
    for stream, layout, day in (("a", "x", 1), ("a", "y", 1), ("b", "x", 1), ("a", "x", 31)):
        kept(workspace, organisation, [{"k": 1}], stream=stream, layout=layout, day=day)
    assert plan_merges(workspace, OPERATOR, today=TODAY) == []


def test_while_a_day_goes_on_only_many_of_one_size_are_merged(workspace: Workspace, organisation: Organisation) -> None:
    for _ in range(TIER_FACTOR - 1):
        kept(workspace, organisation, [{"k": 1}], day=TODAY)
    kept(workspace, organisation, [{"k": 1}] * 50, day=TODAY)
    assert plan_merges(workspace, OPERATOR, today=TODAY) == []
    kept(workspace, organisation, [{"k": 1}], day=TODAY)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    assert [part.rows for part in planned.parts] == [1] * TIER_FACTOR


def test_of_two_merges_of_the_same_segments_one_counts(workspace: Workspace, organisation: Organisation) -> None:
    for number in (1, 2, 3):
        kept(workspace, organisation, [{"k": number}], first=number)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    merge(workspace, OPERATOR, planned)
    with pytest.raises(StateError, match="no longer there"):
        merge(workspace, OPERATOR, planned)
    assert records_in(workspace) == [{"k": 1}, {"k": 2}, {"k": 3}]
    assert clean(workspace).strays == 1
    assert missing_segments(workspace, OPERATOR) == []


def test_a_merge_that_fails_at_the_end_changes_nothing(workspace: Workspace, organisation: Organisation) -> None:
    for number in (1, 2):
        kept(workspace, organisation, [{"k": number}], first=number)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)

    def fail(connection: sa.Connection, old: object, new: int) -> None:
        raise StorageError("full")

    with pytest.raises(StorageError):
        merge(workspace, OPERATOR, planned, [fail])
    assert [row.rows for row in live_segments(workspace, OPERATOR)] == [1, 1]
    assert segments_replaced(workspace) == {}


def test_a_damaged_segment_is_not_merged(workspace: Workspace, organisation: Organisation) -> None:
    for number in (1, 2):
        segment = kept(workspace, organisation, [{"k": number}], first=number)
    path = workspace.lake / segment.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    with pytest.raises(StorageError, match="damaged"):
        merge(workspace, OPERATOR, planned)
    assert len(live_segments(workspace, OPERATOR)) == 2


def test_segments_with_too_many_fields_together_stay_apart(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(workspace, organisation, [{f"a{n}": n for n in range(6)}])
    kept(workspace, organisation, [{f"b{n}": n for n in range(6)}], first=2)
    monkeypatch.setattr(segments_module, "COLUMNS_MAX", 10)
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    with pytest.raises(StateError, match="fields"):
        merge(workspace, OPERATOR, planned)


def test_nobody_merges_what_is_not_theirs(workspace: Workspace, organisation: Organisation) -> None:
    parts = [kept(workspace, organisation, [{"k": number}], first=number) for number in (1, 2)]
    (planned,) = plan_merges(workspace, OPERATOR, today=TODAY)
    assert {part.id for part in planned.parts} == {part.id for part in parts}
    stranger = Scope.of_member("eve", [])
    assert plan_merges(workspace, stranger, today=TODAY) == []
    with pytest.raises(NotFound):
        merge(workspace, stranger, planned)
    with pytest.raises(NotPermitted):
        merge(workspace, Scope.of_member("ann", [organisation.id]), Merge(planned.parts))


def test_original_bytes_survive_a_merge(workspace: Workspace, organisation: Organisation) -> None:
    with_raw = segments_module.SegmentBuilder(built(organisation, [{}]).key, keep_raw=True)
    block = built(organisation, [{"k": 1}])
    assert block.rows == 1
    source = segments_module.Rows(_Raw(), [0], [1_000_000], 1)
    with_raw.add(source)
    paths = [workspace.lake / written(workspace, organisation, b).path for b in (with_raw, block)]
    merged = segments_module.SegmentBuilder(block.key)
    for path in paths:
        with Segment(path) as segment:
            merged.add_stored(segment.block(0).stored())
    with Segment(workspace.lake / written(workspace, organisation, merged).path) as segment:
        assert [segment.block(0).raw(row) for row in (0, 1)] == [b'{"k": 0}', b'{"k":1}']


class _Raw:
    """One record and the bytes it was made of."""

    format = "jsonl"
    numbers = (0,)

    def record(self, row: int) -> Record:
        return {"k": 0}

    def raw(self, row: int) -> bytes:
        return b'{"k": 0}'

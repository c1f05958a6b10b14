"""The doctor: says that all is well where it is, and what to do where it is not."""

import pyarrow as pa
import pytest
import sqlalchemy as sa

from lakes import OPERATOR, kept
from mingjian.errors import StorageError
from mingjian.store import tables
from mingjian.store.catalogue import Batch, Organisation, commit_batch, live_segments
from mingjian.store.doctor import Finding, examine, unreadable
from mingjian.store.indexfiles import with_index_file
from mingjian.store.sightings.live import record
from mingjian.store.upkeep import DAMAGED, clean, set_aside
from mingjian.store.workspace import Workspace


@pytest.fixture
def full(workspace: Workspace, organisation: Organisation) -> Workspace:
    """Two segments and a file of the index."""
    segment = kept(workspace, organisation, [{"a": 1}, {"a": 2}])
    kept(workspace, organisation, [{"b": 1}], stream="test/two")
    texts = {"kind": ["domain"], "value": ["a.example"], "role": ["r"], "source": ["s"]}
    numbers = {"segment": pa.array([segment.id], pa.int64()), "time_us": pa.array([1], pa.int64())}
    file = record(workspace, OPERATOR, organisation.id, pa.table({**texts, **numbers}))
    assert file is not None
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id), [with_index_file(file)])
    return workspace


def found(workspace: Workspace) -> dict[tuple[str, str], Finding]:
    return {(each.part, each.result): each for each in examine(workspace, OPERATOR)}


def test_a_whole_workspace_is_said_to_be_whole(full: Workspace) -> None:
    seen: list[tuple[int, int]] = []
    findings = list(examine(full, OPERATOR, on_bytes=lambda size, events: seen.append((size, events))))
    assert [(each.part, each.result) for each in findings] == [
        ("database", "ok"),
        ("segments", "ok"),
        ("sightings", "ok"),
    ]
    assert not any(each.is_trouble or each.next for each in findings)
    assert "2 segments with 3 events" in findings[1].said
    assert seen[-1] == (sum(row.bytes for row in live_segments(full, OPERATOR)), 3)


def test_a_damaged_segment_is_named_with_what_it_costs(full: Workspace) -> None:
    row = live_segments(full, OPERATOR)[0]
    path = full.lake / row.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    finding = found(full)["segments", "damaged"]
    assert finding.is_trouble
    assert finding.where == f"lake/{row.path}"
    assert "2 events of test/one of 2024-10" in finding.said
    assert "backup" in finding.next


def test_a_missing_segment_is_named(full: Workspace) -> None:
    row = live_segments(full, OPERATOR)[1]
    (full.lake / row.path).unlink()
    findings = found(full)
    assert "test/two" in findings["segments", "missing"].said
    assert ("segments", "ok") not in findings


def test_what_is_set_aside_is_a_hole_and_everything_else_goes_on(full: Workspace) -> None:
    one, two = live_segments(full, OPERATOR)
    (full.lake / one.path).write_bytes(b"broken")
    (full.lake / two.path).unlink()
    assert set_aside(full, OPERATOR, [one.path, two.path, "another"]) == [one, two]
    assert live_segments(full, OPERATOR) == []
    clean(full)
    assert [path.read_bytes() for path in (full.folder / DAMAGED).iterdir()] == [b"broken"]
    with full.read() as connection:
        assert set(connection.execute(sa.select(tables.segments.c.state)).scalars()) == {"lost"}
    assert not any(each.is_trouble for each in examine(full, OPERATOR))


def test_files_that_do_not_count_are_no_trouble(full: Workspace) -> None:
    (full.lake / "stray.parquet").write_bytes(b"x")
    finding = found(full)["segments", "left over"]
    assert not finding.is_trouble
    assert "1 files" in finding.said


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_trouble_in_the_sightings_index_leads_to_making_it_anew(full: Workspace, how: str) -> None:
    (path,) = full.sightings.iterdir()
    if how == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    finding = found(full)["sightings", how]
    assert finding.where == f"sightings/{path.name}"
    assert "--rebuild-sightings" in finding.next


def test_a_changed_row_of_the_state_database_is_found(full: Workspace) -> None:
    if full.dialect == "postgresql":
        pytest.skip("PostgreSQL has checksums of its own")
    with full.read() as connection:
        connection.exec_driver_sql("UPDATE streams SET seal = x'00' WHERE name = 'test/two'")
        connection.commit()
    finding = found(full)["database", "damaged"]
    assert "1 rows of the table streams" in finding.said
    assert "backup" in finding.next


def test_a_reference_to_nothing_is_found(full: Workspace) -> None:
    if full.dialect == "postgresql":
        pytest.skip("PostgreSQL does not let it happen")
    with full.read() as connection:
        # Only between transactions, and the pool has this one connection.
        cursor = connection.connection.cursor()
        for statement in (
            "COMMIT",
            "PRAGMA foreign_keys = OFF",
            "DELETE FROM streams",
            "PRAGMA foreign_keys = ON",
            "BEGIN",
        ):
            cursor.execute(statement)
    assert "refer to others" in found(full)["database", "damaged"].said


def test_a_workspace_that_cannot_be_opened_is_damage_too() -> None:
    finding = unreadable(StorageError("no"))
    assert finding.is_trouble
    assert finding.next

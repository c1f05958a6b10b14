"""Merges: which files, what becomes of segments that are no more, and going on after an interruption."""

from pathlib import Path

import pyarrow as pa
import pytest

from mingjian.errors import LimitExceeded, StorageError
from mingjian.store.sightings import layout, merging, rows
from mingjian.store.sightings.checking import check_file, differences
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.layout import IndexFile
from mingjian.store.sightings.merging import Merge, merge, plan, remove_strays, unfinished

MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> DiskFolder:
    return DiskFolder(tmp_path / "sightings")


def added(folder: DiskFolder, number: int, *, organisation: int = 1, values: int = 50) -> str:
    observed = pa.table(
        {
            "kind": ["domain"] * values,
            "value": [f"h{place}.example" for place in range(values)],
            "role": ["query"] * values,
            "source": [f"source{number % 2}"] * values,
            "segment": pa.array([number] * values, pa.int64()),
            "time_us": pa.array([number] * values, pa.int64()),
        }
    )
    file = write_delta(folder, observed, organisation)
    assert file is not None
    return file.name


def file_of(name: str, size_bytes: int) -> IndexFile:
    return IndexFile(
        name=name,
        size_bytes=size_bytes,
        values=1,
        rows=1,
        count=1,
        first_day=0,
        last_day=0,
        organisations=(1,),
        content_hash=b"",
        canonical_version=1,
    )


def test_few_files_of_a_size_are_left_alone() -> None:
    assert plan([file_of(str(n), 10) for n in range(3)]) == ()
    assert plan([file_of("a", 10), file_of("b", 2 * MIB), file_of("c", 8 * MIB), file_of("d", 32 * MIB)]) == ()


def test_the_smallest_files_are_merged_first() -> None:
    files = [file_of(f"large{n}", 3 * MIB) for n in range(4)] + [file_of(f"small{n}", 10) for n in range(4)]
    assert {file.name for file in plan(files)} == {"small0", "small1", "small2", "small3"}


def test_however_much_comes_in_there_are_few_files_and_few_rewrites() -> None:
    """A thousand files of one size: at most three of each size stay, and bytes are written five times at most."""
    files: list[IndexFile] = []
    written = 0
    for number in range(1024):
        files.append(file_of(f"{number:04}", MIB))
        while inputs := plan(files):
            size = sum(file.size_bytes for file in inputs)
            written += size
            files = [file for file in files if file not in inputs] + [file_of(f"{number:04}m{size}", size)]
        assert len(files) <= 3 * 6
    assert written <= 5 * 1024 * MIB


def test_segments_that_are_no_more_give_way_to_those_that_have_their_events(folder: DiskFolder) -> None:
    names = [added(folder, number) for number in (1, 3, 5)]
    replaced = {1: 8, 8: 9, 3: 9, 5: None}
    for live in (names, [merge(folder, names, replaced=lambda _: replaced).name]):
        index = SightingsIndex.open(folder, live, replaced=lambda _: replaced)
        assert [(s.source, s.segments) for s in index.lookup("domain", "h1.example")] == [("source1", (9,))]
        assert [row["segments"] for part in index.scan() for row in part.to_pylist()] == [[9]] * 50
    # What a merge has settled need not be said again.
    assert SightingsIndex.open(folder, live).lookup("domain", "h1.example")[0].segments == (9,)


def test_a_circle_of_segments_ends() -> None:
    assert merging.followed({1: 2, 2: 1}, 1) is None


def test_an_interrupted_merge_goes_on_where_it_was(folder: DiskFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mingjian.store.sightings.reading.PORTION_ROWS", 600)
    live = [added(folder, number, values=4000) for number in range(2)]
    work = Merge(folder, live)
    for _ in range(5):
        assert work.step()
    work.close()
    again = unfinished(folder, live)
    assert again is not None
    assert again.name == work.name
    steps = 0
    while again.step():
        steps += 1
    whole = Merge(folder, live)
    whole_steps = 0
    while whole.step():
        whole_steps += 1
    assert steps < whole_steps - 2
    one, other = again.finish(), whole.finish()
    check_file(folder, one.name)
    both = [SightingsIndex.open(folder, [file.name]) for file in (one, other)]
    assert list(differences(*both)) == []
    assert (one.rows, one.values, one.count) == (other.rows, other.values, other.count) == (8000, 4000, 8000)


def test_a_file_that_is_finished_while_one_looks_for_interrupted_merges_is_none(
    folder: DiskFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = [added(folder, number) for number in range(2)]
    names = [*folder.names(), live[0].replace(".sightings", ".part")]
    monkeypatch.setattr(DiskFolder, "names", lambda _: names)
    assert unfinished(folder, live) is None


def test_what_is_left_of_a_merge_whose_files_are_gone_is_removed(folder: DiskFolder) -> None:
    live = [added(folder, number) for number in range(3)]
    work = Merge(folder, live[:2])
    work.step()
    work.close()
    assert remove_strays(folder, live) == []
    assert unfinished(folder, live[1:]) is None
    assert remove_strays(folder, live[1:]) == sorted([live[0], work.name.replace(".sightings", ".part")])
    assert sorted(folder.names()) == sorted(live[1:])


def test_an_interrupted_merge_starts_anew_if_segments_were_replaced_meanwhile(folder: DiskFolder) -> None:
    live = [added(folder, number) for number in (1, 2)]
    work = Merge(folder, live)
    work.step()
    work.close()
    again = unfinished(folder, live, replaced=lambda _: {1: 7})
    assert again is not None
    file = again.finish()
    assert SightingsIndex.open(folder, [file.name]).lookup("domain", "h2.example")[1].segments == (7,)


def test_a_merge_of_a_damaged_file_fails_and_leaves_what_was_there(folder: DiskFolder, tmp_path: Path) -> None:
    live = [added(folder, number, values=2000) for number in range(2)]
    path = tmp_path / "sightings" / live[0]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        merge(folder, live)
    assert set(live) <= set(folder.names())
    assert [name for name in folder.names() if name.endswith(".sightings")] == sorted(live)


def test_bounds_are_named(folder: DiskFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    live = [added(folder, number, organisation=number) for number in range(2)]
    monkeypatch.setattr(layout, "GROUPS_MAX", 1)
    with pytest.raises(LimitExceeded, match="GROUPS_MAX"):
        merge(folder, live)
    monkeypatch.undo()
    monkeypatch.setattr(layout, "VALUES_PER_FILE_MAX", 10)
    with pytest.raises(LimitExceeded, match="VALUES_PER_FILE_MAX"):
        merge(folder, live)
    monkeypatch.undo()
    monkeypatch.setattr(rows, "KEYS_AT_ONCE_MAX", 10)
    with pytest.raises(LimitExceeded, match="KEYS_AT_ONCE_MAX"):
        merge(folder, live)

"""The index of a workspace: what is added counts with its commit, and is merged while others write and ask."""

import functools
import threading
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from lakes import OPERATOR, kept
from mingjian.errors import MingjianError, NotFound, NotPermitted, StorageError
from mingjian.store import merging as segment_merging
from mingjian.store.catalogue import Batch, Organisation, commit_batch, organisation_named
from mingjian.store.indexfiles import live_index_files, replace_index_files, segments_replaced, with_index_file
from mingjian.store.scope import OrganisationId, Scope
from mingjian.store.sightings import live
from mingjian.store.sightings.checking import differences
from mingjian.store.sightings.delta import write_delta
from mingjian.store.sightings.disk import DiskFolder
from mingjian.store.sightings.index import SightingsIndex
from mingjian.store.sightings.live import KeptIndex, Upkeep, in_background, open_index, rebuild, record, tidy
from mingjian.store.sightings.merging import merge
from mingjian.store.upkeep import Retention, expire, set_retention
from mingjian.store.workspace import Workspace, create

DAY_US = 86_400_000_000


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """The database plays no part here: one kind is enough."""
    with create(tmp_path / "workspace") as made:
        yield made


def observed(segment: int, values: int = 20, first: int = 0) -> pa.Table:
    names = [f"h{number}.example" for number in range(first, first + values)]
    texts = {"kind": ["domain"] * values, "value": names, "role": ["query"] * values, "source": ["dns"] * values}
    times = pa.array([segment * 1000] * values, pa.int64())
    return pa.table({**texts, "segment": pa.array([segment] * values, pa.int64()), "time_us": times})


def add(workspace: Workspace, organisation: Organisation, segment: int, values: int = 20) -> None:
    file = record(workspace, OPERATOR, organisation.id, observed(segment, values))
    assert file is not None
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id), [with_index_file(file)])


def names_in(workspace: Workspace) -> set[str]:
    return {path.name for path in workspace.sightings.iterdir()}


def count_of(index: SightingsIndex, value: str) -> int:
    totals = index.totals("domain", value)
    return totals.count if totals else 0


def work_off(upkeep: Upkeep) -> None:
    while upkeep.step():
        pass


def test_what_is_recorded_counts_with_the_commit_and_not_before(
    workspace: Workspace, organisation: Organisation
) -> None:
    file = record(workspace, OPERATOR, organisation.id, observed(1))
    assert file is not None
    assert count_of(open_index(workspace, OPERATOR), "h1.example") == 0
    commit_batch(workspace, OPERATOR, Batch(organisation=organisation.id), [with_index_file(file)])
    assert count_of(open_index(workspace, OPERATOR), "h1.example") == 1
    assert record(workspace, OPERATOR, organisation.id, observed(2, values=0)) is None


def test_what_was_never_committed_is_removed_at_the_next_start(
    workspace: Workspace, organisation: Organisation
) -> None:
    add(workspace, organisation, 1)
    stray = record(workspace, OPERATOR, organisation.id, observed(2))
    assert stray is not None
    assert tidy(workspace) == [stray.name]
    assert names_in(workspace) == {file.name for file in live_index_files(workspace)}


def test_an_index_that_is_kept_opens_only_what_is_new_and_shows_each_scope_its_own(
    workspace: Workspace, organisation: Organisation
) -> None:
    other = organisation_named(workspace, OPERATOR, "Another", make=True)
    kept_index = KeptIndex(workspace)
    add(workspace, organisation, 1)
    first = kept_index.open(OPERATOR)
    assert count_of(first, "h1.example") == 1
    add(workspace, other, 2)
    second = kept_index.open(Scope.of_member("ann", [other.id]))
    assert second.readers[0] is first.readers[0]
    assert (count_of(second, "h1.example"), count_of(kept_index.open(OPERATOR), "h1.example")) == (1, 2)
    before = live_index_files(workspace)
    file = merge(DiskFolder(workspace.sightings), [each.name for each in before])
    replace_index_files(workspace, [each.name for each in before], [file])
    for each in before:
        DiskFolder(workspace.sightings).remove(each.name)
    assert (count_of(first, "h1.example"), count_of(second, "h1.example")) == (1, 1)
    third = kept_index.open(OPERATOR)
    assert [reader.name for reader in third.readers] == [file.name]
    assert count_of(third, "h1.example") == 2


def test_an_index_that_is_kept_takes_no_more_memory_than_it_may_and_lets_go_when_nobody_asks(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [1_000.0]
    kept_index = KeptIndex(workspace, lambda: now_s[0])
    add(workspace, organisation, 1)
    index = kept_index.open(OPERATOR)
    assert count_of(index, "h1.example") == 1
    in_memory = index.kept_bytes()
    assert in_memory > 0
    assert kept_index.open(OPERATOR).kept_bytes() == in_memory
    monkeypatch.setattr(live, "KEPT_BYTES_MAX", in_memory - 1)
    assert kept_index.open(OPERATOR).kept_bytes() == 0
    assert count_of(kept_index.open(OPERATOR), "h1.example") == 1
    reader = weakref.ref(index.readers[0])
    del index
    now_s[0] += live.KEPT_S
    kept_index.tidy()
    assert reader() is not None
    now_s[0] += 1
    kept_index.tidy()
    assert reader() is None
    assert count_of(kept_index.open(OPERATOR), "h1.example") == 1


def test_a_scope_sees_its_own_organisations_alone(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "Another", make=True)
    add(workspace, organisation, 1)
    add(workspace, other, 2)
    member = Scope.of_member("ann", [other.id])
    index = open_index(workspace, member)
    assert [sighting.organisation for sighting in index.lookup("domain", "h1.example")] == [other.id]
    assert list(index.lookup("domain", "h1.example", organisations=[organisation.id])) == []
    assert count_of(index, "h1.example") == 1
    assert set(index.lookup_domain("example").totals["organisation"].to_pylist()) == {other.id}
    assert {row["organisation"] for part in index.scan() for row in part.to_pylist()} == {other.id}
    assert count_of(open_index(workspace, Scope.of_member("bob", [])), "h1.example") == 0
    with pytest.raises(NotPermitted):
        record(workspace, member, other.id, observed(3))
    with pytest.raises(NotFound):
        record(workspace, member, organisation.id, observed(3))


def test_upkeep_leaves_few_files_and_every_answer_as_it_was(workspace: Workspace, organisation: Organisation) -> None:
    for number in range(1, 11):
        add(workspace, organisation, number)
    before = list(open_index(workspace, OPERATOR).lookup("domain", "h1.example"))
    with Upkeep(workspace) as upkeep:
        work_off(upkeep)
    (file,) = live_index_files(workspace)
    assert names_in(workspace) == {file.name}
    assert list(open_index(workspace, OPERATOR).lookup("domain", "h1.example")) == before
    assert [sighting.segments for sighting in before] == [tuple(range(1, 11))]


def test_an_open_index_stays_as_it_is_and_opens_again_for_little(
    workspace: Workspace, organisation: Organisation
) -> None:
    for number in range(1, 5):
        add(workspace, organisation, number)
    opened = open_index(workspace, OPERATOR)
    with Upkeep(workspace) as upkeep:
        work_off(upkeep)
    add(workspace, organisation, 5)
    assert count_of(opened, "h1.example") == 4
    again = open_index(workspace, OPERATOR, previous=opened)
    assert count_of(again, "h1.example") == 5
    third = open_index(workspace, OPERATOR, previous=again)
    assert third.readers == again.readers


def test_a_file_that_is_merged_away_while_the_index_is_opened_does_no_harm(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 5):
        add(workspace, organisation, number)
    opening = SightingsIndex.open
    calls: list[int] = []

    def merged_meanwhile(*arguments: object, **named: object) -> SightingsIndex:
        if not calls:
            with Upkeep(workspace) as upkeep:
                work_off(upkeep)
        calls.append(1)
        return opening(*arguments, **named)  # type: ignore[arg-type] - passed on as they came

    monkeypatch.setattr(SightingsIndex, "open", merged_meanwhile)
    assert count_of(open_index(workspace, OPERATOR), "h1.example") == 4
    assert len(calls) == 2


def test_a_missing_file_is_an_error_and_never_an_answer_without_it(
    workspace: Workspace, organisation: Organisation
) -> None:
    add(workspace, organisation, 1)
    (file,) = live_index_files(workspace)
    (workspace.sightings / file.name).unlink()
    with pytest.raises(StorageError):
        open_index(workspace, OPERATOR)


def test_a_file_that_is_another_one_is_noticed(workspace: Workspace, organisation: Organisation) -> None:
    for number in range(1, 3):
        add(workspace, organisation, number)
    one, two = (workspace.sightings / file.name for file in live_index_files(workspace))
    one.write_bytes(two.read_bytes())
    with pytest.raises(StorageError, match="not the file that was committed"):
        open_index(workspace, OPERATOR)


def test_small_files_do_not_wait_for_a_large_merge(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mingjian.store.sightings.merging.SMALLEST_BYTES", 16_384)
    monkeypatch.setattr("mingjian.store.sightings.reading.PORTION_ROWS", 500)
    for number in range(1, 5):
        add(workspace, organisation, number, values=4000)
    large = {file.name for file in live_index_files(workspace)}
    with Upkeep(workspace) as upkeep:
        assert upkeep.step()
        for number in range(5, 9):
            add(workspace, organisation, number)
        small = {file.name for file in live_index_files(workspace)} - large
        while small <= {file.name for file in live_index_files(workspace)}:
            assert upkeep.step()
        assert large <= {file.name for file in live_index_files(workspace)}
        work_off(upkeep)
    assert not large & {file.name for file in live_index_files(workspace)}
    assert count_of(open_index(workspace, OPERATOR), "h1.example") == 8


def test_a_merge_goes_on_after_a_restart(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mingjian.store.sightings.reading.PORTION_ROWS", 500)
    for number in range(1, 5):
        add(workspace, organisation, number, values=4000)
    with Upkeep(workspace) as upkeep:
        for _ in range(3):
            assert upkeep.step()
    (part,) = [name for name in names_in(workspace) if name.endswith(".part")]
    assert tidy(workspace) == []
    with Upkeep(workspace) as upkeep:
        work_off(upkeep)
    assert [file.name for file in live_index_files(workspace)] == [part.replace(".part", ".sightings")]
    assert count_of(open_index(workspace, OPERATOR), "h3999.example") == 4


def test_a_damaged_file_is_left_alone_and_the_others_are_merged(
    workspace: Workspace, organisation: Organisation
) -> None:
    for number in range(1, 5):
        add(workspace, organisation, number)
    damaged = live_index_files(workspace)[0].name
    path = workspace.sightings / damaged
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    now = [0.0]
    with Upkeep(workspace, clock_s=lambda: now[0]) as upkeep:
        with pytest.raises(StorageError, match="damaged"):
            work_off(upkeep)
        for number in range(5, 9):
            add(workspace, organisation, number)
        work_off(upkeep)
        assert len(live_index_files(workspace)) == 5
        now[0] += live.RETRY_S + 1
        with pytest.raises(StorageError, match="damaged"):
            work_off(upkeep)
    assert damaged in {file.name for file in live_index_files(workspace)}


def test_in_the_background_files_are_merged_while_others_are_added(
    workspace: Workspace, organisation: Organisation
) -> None:
    done = threading.Event()
    errors: list[MingjianError] = []
    replacing = live.replace_index_files

    def replaced(*arguments: object) -> None:
        replacing(*arguments)  # type: ignore[arg-type] - passed on as they came
        done.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "replace_index_files", replaced)
        with in_background(workspace, on_error=errors.append) as wake:
            for number in range(1, 13):
                add(workspace, organisation, number)
                wake()
            assert done.wait(60)
    assert errors == []
    assert len(live_index_files(workspace)) < 12
    assert count_of(open_index(workspace, OPERATOR), "h1.example") == 12
    assert not any(thread.name == "sightings upkeep" for thread in threading.enumerate())


def test_sightings_point_to_the_segments_that_have_the_events_now(
    workspace: Workspace, organisation: Organisation
) -> None:
    segments = [kept(workspace, organisation, [{"a": number}], first=number + 1) for number in range(2)]
    for segment in segments:
        add(workspace, organisation, segment.id)
    opened = open_index(workspace, OPERATOR)
    (plan,) = segment_merging.plan_merges(workspace, OPERATOR, today=30_000)
    merged = segment_merging.merge(workspace, OPERATOR, plan)
    # What was not asked before is looked up when it is asked.
    for index in (opened, open_index(workspace, OPERATOR)):
        assert {number for s in index.lookup("domain", "h1.example") for number in s.segments} == {merged}
        assert list(index.lookup("domain", "h1.example")) == list(index.lookup("domain", "h1.example"))


def test_an_index_made_anew_takes_the_place_of_the_old_one(workspace: Workspace, organisation: Organisation) -> None:
    for number in range(1, 7):
        add(workspace, organisation, number)
    before = list(open_index(workspace, OPERATOR).lookup("domain", "h1.example"))

    def broken() -> Iterator[tuple[OrganisationId, pa.Table]]:
        yield organisation.id, observed(1)
        raise StorageError("a segment cannot be read", where="lake")

    with pytest.raises(StorageError):
        rebuild(workspace, broken())
    assert list(open_index(workspace, OPERATOR).lookup("domain", "h1.example")) == before
    rebuild(workspace, ((organisation.id, observed(number)) for number in range(1, 7)))
    assert list(open_index(workspace, OPERATOR).lookup("domain", "h1.example")) == before
    tidy(workspace)
    assert names_in(workspace) == {file.name for file in live_index_files(workspace)}


def test_what_retention_removed_is_still_counted_and_outlives_an_index_made_anew(
    workspace: Workspace, organisation: Organisation
) -> None:
    days = (20_000, 20_001)
    segments = [kept(workspace, organisation, [{"a": day}], day=day) for day in days]

    def both(ids: Iterable[int]) -> pa.Table:
        tables = [observed(number) for number in ids]
        return pa.concat_tables(tables)

    for segment in segments:
        add(workspace, organisation, segment.id)
    set_retention(workspace, OPERATOR, Retention(stream_pattern="test/*", days=10))
    expire(workspace, OPERATOR, today=20_011)
    left = segments[1].id
    for is_merged in (False, True):
        if is_merged:
            names = [file.name for file in live_index_files(workspace)]
            find = functools.partial(segments_replaced, workspace)
            replace_index_files(workspace, names, [merge(DiskFolder(workspace.sightings), names, replaced=find)])
        index = open_index(workspace, OPERATOR)
        (sighting,) = index.lookup("domain", "h1.example")
        assert (sighting.count, sighting.segments, sighting.is_partly_gone) == (2, (left,), True)
        assert {row["is_partly_gone"] for part in index.scan() for row in part.to_pylist()} == {True}
        # Compared with what the lake still has, nothing is wrong; what is too little is.
        folder = DiskFolder(workspace.folder / f"compared{is_merged}")
        for ids, wrong in (((left,), 0), ((left, left, left), 20)):
            file = write_delta(folder, both(ids), organisation.id)
            assert file is not None
            found = list(differences(index, SightingsIndex.open(folder, [file.name])))
            assert len(found) == wrong
    rebuild(workspace, [(organisation.id, pa.concat_tables([observed(left), observed(left, 1, first=99)]))])
    (again,) = open_index(workspace, OPERATOR).lookup("domain", "h1.example")
    assert again == sighting
    assert count_of(open_index(workspace, OPERATOR), "h99.example") == 1
    rebuild(workspace, [(organisation.id, observed(left))], forget_gone=True)
    assert count_of(open_index(workspace, OPERATOR), "h1.example") == 1


def test_the_index_is_a_folder_of_the_workspace(workspace: Workspace, organisation: Organisation) -> None:
    add(workspace, organisation, 1)
    assert DiskFolder(workspace.sightings).names() == [file.name for file in live_index_files(workspace)]

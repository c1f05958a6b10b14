"""The index that is made from the segments is the one that ingest made."""

from pathlib import Path

import pytest

from ingesting import SOURCES, ingest, lines, some
from lakes import OPERATOR
from mingjian.errors import StorageError
from mingjian.hunt import reobserving
from mingjian.hunt.reobserving import observations_kept
from mingjian.sources.router import Router
from mingjian.store.catalogue import live_segments
from mingjian.store.merging import merge, plan_merges
from mingjian.store.sightings.checking import Difference
from mingjian.store.sightings.live import rebuild
from mingjian.store.workspace import Workspace, create


def differences(workspace: Workspace) -> list[Difference]:
    found: list[Difference] = []
    rebuild(workspace, observations_kept(workspace, OPERATOR, Router(SOURCES)), on_difference=found.append)
    return found


@pytest.mark.parametrize("together", [1, 10**6])
def test_made_anew_the_index_is_the_same_also_after_a_merge(
    tmp_path: Path, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reobserving, "OBSERVATIONS_TOGETHER", together)
    for number in range(3):
        (tmp_path / f"{number}.json").write_bytes(lines(some(40, first=40 * number)))
    with create(tmp_path / "w") as workspace:
        for number in range(3):
            ingest(workspace, tmp_path / f"{number}.json", organisation="ours" if number else "theirs")
        seen: list[tuple[int, int]] = []
        read = observations_kept(
            workspace, OPERATOR, Router(SOURCES), on_bytes=lambda size, events: seen.append((size, events))
        )
        assert sum(len(table) for _, table in read) > 120
        assert seen[-1] == (sum(row.bytes for row in live_segments(workspace, OPERATOR)), 120)
        assert differences(workspace) == []
        for planned in plan_merges(workspace, OPERATOR, today=30_000):
            merge(workspace, OPERATOR, planned)
        assert differences(workspace) == []


def test_a_damaged_segment_stops_it_and_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines(some(10)))
    with create(tmp_path / "w") as workspace:
        ingest(workspace, tmp_path / "a.json")
        before = sorted(path.name for path in workspace.sightings.iterdir())
        (row,) = live_segments(workspace, OPERATOR)
        (workspace.lake / row.path).write_bytes(b"broken")
        with pytest.raises(StorageError):
            differences(workspace)
        assert set(before) <= {path.name for path in workspace.sightings.iterdir()}

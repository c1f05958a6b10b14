"""What is done beside an ingest, and in what order."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingesting import SOURCES, ingest, lines, some
from mingjian.hunt import chores
from mingjian.store.indexfiles import live_index_files
from mingjian.store.sightings.merging import MERGE_WIDTH
from mingjian.store.workspace import create


def test_files_of_the_index_are_merged_before_segments_for_every_question_looks_into_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_files: list[int] = []
    ends: list[Callable[..., None]] = []
    merge = chores.merge

    def watched(*arguments: Any) -> Any:
        index_files.append(len(live_index_files(workspace)))
        return merge(*arguments)

    def also(should_stop: Callable[[], bool]) -> bool:
        if index_files:
            ends[0]()
        return False

    monkeypatch.setattr(chores, "merge", watched)
    monkeypatch.setattr(chores, "MERGE_AFTER_S", 0.0)
    monkeypatch.setattr(chores, "IDLE_S", 0.0)
    monkeypatch.setattr(chores.os, "nice", lambda _: 0)  # that of the tests is left alone
    monkeypatch.setattr(
        chores.signal, "signal", lambda number, end: ends.append(end) if number == signal.SIGTERM else 0
    )
    with create(tmp_path / "workspace") as workspace:
        for number in range(2 * MERGE_WIDTH):
            path = tmp_path / f"{number}.json"
            path.write_bytes(lines(some(5, first=10 * number)))
            ingest(workspace, path)
        assert len(live_index_files(workspace)) >= 2 * MERGE_WIDTH
        with workspace.writing():
            chores.upkeep(workspace, SOURCES, None, also)
    assert len(ends) == 1
    assert index_files[0] < MERGE_WIDTH

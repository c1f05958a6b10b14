"""On real events and all rules of SigmaHQ, the engine finds in segments exactly what it finds in what the readers gave.

Also when the segments are merged. By default the Windows hosts' JSON is a sample of files; ``--full`` takes all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from mingjian.model.blocks import Block, Quarantined
from mingjian.model.sources import View
from mingjian.store.blocks import Segment
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import Rows, SegmentBuilder, SegmentKey
from mingjian.store.writing import parquet_bytes
from truth.compare import blocks_of, files_under, router
from truth.engine import Adapter

FILES_OF_HOSTS = 12
HERE = Path(__file__).parent


class Stored:
    """The events of one view as they are read, in segments, and what the engine found in them on the way."""

    def __init__(self, view: View, format_name: str) -> None:
        self.view = view
        self.key = SegmentKey(
            organisation=OrganisationId(1),
            stream=view.stream.name,
            layout=view.layout.name,
            format=format_name,
            month=None,
        )
        self.builders: list[SegmentBuilder] = []
        self.found: set[tuple[str, int, int]] = set()

    def add(self, block: Block, rows: Sequence[int], engine: Adapter) -> None:
        """Take the rows of one block into a segment of their own. The block stands for an input."""
        number = len(self.builders)
        builder = SegmentBuilder(self.key)
        builder.add(Rows(Numbered(block), rows, [None] * len(rows), number))
        self.builders.append(builder)
        self.found |= {(rule, number, row) for rule, row in engine.match(self.view, block, rows)}


class Numbered:
    """A block whose records are numbered by their rows: numbers of damaged event logs repeat."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self.format = block.format
        self.numbers = range(len(block.numbers))

    def __getattr__(self, name: str) -> object:
        return getattr(self._block, name)


def stored(paths: Iterable[Path], engine: Adapter) -> tuple[list[Stored], int]:
    views: dict[tuple[View, str], Stored] = {}
    events = 0
    for path in paths:
        for _, block in blocks_of(path):
            if isinstance(block, Quarantined):
                continue
            for portion in router().route(block):
                rows = range(len(block.numbers)) if portion.rows is None else portion.rows
                key = (portion.view, block.format)
                views.setdefault(key, Stored(portion.view, block.format)).add(block, list(rows), engine)
                events += len(rows)
    return list(views.values()), events


def found_in(path: Path, view: View, engine: Adapter) -> set[tuple[str, int, int]]:
    found: set[tuple[str, int, int]] = set()
    with Segment(path) as segment:
        for block in segment.blocks():
            numbers, inputs = block.numbers, block.inputs.tolist()
            found |= {(rule, inputs[row], numbers[row]) for rule, row in engine.match(view, block, None)}
    return found


def agree(folder: Path, paths: Iterable[Path], engine: Adapter) -> tuple[int, int]:
    """Compare; give the number of events and of matches."""
    views, events = stored(paths, engine)
    part, whole = folder / "part.parquet", folder / "whole.parquet"
    for view in views:
        merged = SegmentBuilder(view.key)
        found: set[tuple[str, int, int]] = set()
        for builder in view.builders:
            part.write_bytes(parquet_bytes(builder.finished()))
            found |= found_in(part, view.view, engine)
            with Segment(part) as segment:
                for block in segment.blocks():
                    merged.add_stored(block.stored())
        assert found == view.found, view.key.stream
        whole.write_bytes(parquet_bytes(merged.finished()))
        assert found_in(whole, view.view, engine) == view.found, f"{view.key.stream}, merged"
    return events, sum(len(view.found) for view in views)


def test_on_event_logs_of_attacks(shared_data: Path, sigma_engine: Adapter, tmp_path: Path) -> None:
    paths = [path for path in files_under([shared_data / "evtx-attack-samples"]) if path.suffix == ".evtx"]
    events, matches = agree(tmp_path, paths, sigma_engine)
    assert events == 8_255
    assert matches > 1_500


def test_on_windows_hosts(
    shared_data: Path, sigma_engine: Adapter, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    paths = [path for path in files_under([shared_data / "windows-json"]) if path.name != "LICENSE"]
    chosen = paths if pytestconfig.getoption("--full") else paths[-FILES_OF_HOSTS:]
    events, matches = agree(tmp_path, chosen, sigma_engine)
    assert events > (250_000 if len(chosen) == len(paths) else 1_000)
    assert matches > 10


def test_on_other_producers(shared_data: Path, sigma_engine: Adapter, tmp_path: Path) -> None:
    folders = [HERE.parent / "samples", *(shared_data / name for name in ("aws", "linux"))]
    events, matches = agree(tmp_path, files_under(folders), sigma_engine)
    assert events > 1_000
    assert matches > 50

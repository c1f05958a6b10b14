"""Which records of a block hold an observable: as if each record had been looked at."""

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from ingesting import SOURCES, ingest, lines, sysmon
from lakes import OPERATOR
from mingjian.detect.engine import Engine
from mingjian.hunt import history as module
from mingjian.hunt.history import History
from mingjian.hunt.views import Views
from mingjian.model.sources import ObservableKind
from mingjian.model.values import Record
from mingjian.situations import reading
from mingjian.situations.reading import KeptReads, Read, needle_of, read_segment, rows_with, united
from mingjian.sources.envelope import observables
from mingjian.sources.router import Router
from mingjian.store import tables as t
from mingjian.store.blocks import Segment
from mingjian.store.catalogue import live_segments
from mingjian.store.scope import Scope
from mingjian.store.workspace import Workspace, create

HASHES = f"MD5={'a' * 32},SHA256={'B' * 64}"


def records() -> list[Record]:
    found = [sysmon(n, f"C:\\Windows\\tool{n % 3}.exe", host=f"pc-{n % 2}") for n in range(30)]
    for n, record in enumerate(found):
        record["User"] = "CORP\\Älice" if n % 5 else "corp\\bob"
        record["Hashes"] = HASHES if n % 4 else "MD5=" + "c" * 32
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "a.jsonl").write_bytes(lines(records()))
    made = create(tmp_path / "w")
    ingest(made, tmp_path / "a.jsonl")
    return made


def test_the_rows_are_those_of_a_look_at_every_record(workspace: Workspace) -> None:
    history = History(workspace, OPERATOR, Engine(()), SOURCES)
    looked_at = 0
    for row in live_segments(workspace, OPERATOR):
        with Segment(workspace.lake / row.path) as segment:
            for block in segment.blocks():
                for view, part in history.views_of(row, block):
                    seen = [observables(view, part.record(place)) for place in range(len(part))]
                    for kind, value in {each[:2] for several in seen for each in several}:
                        expected = [n for n, several in enumerate(seen) if (kind, value) in {e[:2] for e in several}]
                        assert rows_with(view, part, kind, value).tolist() == expected, (kind, value)
                        looked_at += 1
    assert looked_at > 8


def test_events_that_are_alike_are_one_group(workspace: Workspace) -> None:
    history = History(workspace, OPERATOR, Engine(()), SOURCES)
    reads = [
        read_segment(workspace, history, row, "file", "c:\\windows\\tool1.exe", 32)
        for row in live_segments(workspace, OPERATOR)
    ]
    groups = united(reads)
    assert sum(each.count for each in groups) == sum(read.rows for read in reads) == 10
    assert 1 < len(groups) < 10
    assert len(np.unique(np.concatenate([read.pointers for read in reads]), axis=0)) == 10


def test_questions_that_share_views_read_the_same_and_find_a_view_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = Router.route
    routed: list[Router] = []
    monkeypatch.setattr(Router, "route", lambda self, block: routed.append(self) or route(self, block))
    (row,) = live_segments(workspace, OPERATOR)
    shared = Views(SOURCES)
    reads = [
        read_segment(
            workspace,
            History(workspace, OPERATOR, Engine(()), SOURCES, views=views),
            row,
            "file",
            "c:\\windows\\tool1.exe",
            32,
        )
        for views in (None, shared, shared, shared)
    ]
    assert len(reads[0].groups) > 1
    for read in reads:
        assert read.groups == reads[0].groups
        assert np.array_equal(read.pointers, reads[0].pointers)
    assert len(routed) == 2


def test_a_segment_is_read_once_for_an_observable_within_the_memory_there_is_for_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_from: list[str] = []
    open_segment = Segment.__init__

    def opened(self: Segment, path: Path, *args: bytes, checks: bytes | None = None) -> None:
        read_from.append(path.name)
        open_segment(self, path, *args, checks=checks)

    monkeypatch.setattr(Segment, "__init__", opened)
    now_s = [1_000.0]
    kept = KeptReads(lambda: now_s[0])
    history = History(workspace, OPERATOR, Engine(()), SOURCES)
    (row,) = live_segments(workspace, OPERATOR)

    def asked(tool: int, groups_max: int = 32) -> Read:
        return kept.read(workspace, history, row, "file", f"c:\\windows\\tool{tool}.exe", groups_max)

    first, second = asked(1), asked(2)
    assert asked(1) is first
    assert asked(2) is second
    assert first.groups == read_segment(workspace, history, row, "file", "c:\\windows\\tool1.exe", 32).groups
    assert len(asked(1, 2).groups) == 2 < len(first.groups)
    assert len(read_from) == 4
    assert kept.size == first.size + second.size + asked(1, 2).size
    monkeypatch.setattr(reading, "KEPT_BYTES_MAX", kept.size)
    asked(0)
    assert kept.size <= reading.KEPT_BYTES_MAX
    assert asked(1, 2) is asked(1, 2)
    assert asked(1) is not first
    now_s[0] += reading.KEPT_S
    kept.tidy()
    assert kept.size > 0
    now_s[0] += 1
    kept.tidy()
    assert kept.size == 0
    assert asked(2).groups == second.groups


def test_names_of_files_are_learnt_together_by_those_who_may_see_them(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = [row.id for row in live_segments(workspace, OPERATOR)]
    (number,) = input_numbers(workspace)
    stranger = History(workspace, Scope.of_roles("nobody", ()), Engine(()), SOURCES)
    stranger.learn_files(segments)
    assert stranger.file_of(number) == ""
    monkeypatch.setattr(module, "input_by_id", lambda *_: pytest.fail("it was looked up by itself"))
    history = History(workspace, OPERATOR, Engine(()), SOURCES)
    history.learn_files(segments)
    assert history.file_of(number).endswith("a.jsonl")


def input_numbers(workspace: Workspace) -> list[int]:
    with workspace.read() as connection:
        return list(connection.execute(sa.select(t.inputs.c.id)).scalars())


def test_of_more_groups_the_smallest_and_the_largest_are_read(workspace: Workspace) -> None:
    history = History(workspace, OPERATOR, Engine(()), SOURCES)
    (row,) = live_segments(workspace, OPERATOR)
    every = read_segment(workspace, history, row, "file", "c:\\windows\\tool1.exe", 32)
    some = read_segment(workspace, history, row, "file", "c:\\windows\\tool1.exe", 2)
    counts = sorted(each.count for each in every.groups)
    assert sorted(each.count for each in some.groups) == [counts[0], counts[-1]]
    assert some.rows == every.rows
    assert np.array_equal(some.pointers, every.pointers)
    assert (every.is_all, some.is_all) == (True, False)


@pytest.mark.parametrize(
    ("kind", "value", "needle"),
    [
        ("ip", "192.0.2.1", "192.0.2.1"),
        ("ip", "2001:db8::1", None),
        ("account", "corp\\bob", "bob"),
        ("account", "corp\\älice", None),
        ("domain", "xn--a.example", None),
        ("url", "http://a.example:81/x", "a.example"),
        ("certificate", "ab" * 8, None),
        ("hash", "imphash:" + "a" * 32, "a" * 32),
    ],
)
def test_a_needle_is_in_every_spelling(kind: ObservableKind, value: str, needle: str | None) -> None:
    assert needle_of(kind, value) == needle

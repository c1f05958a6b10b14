"""What grows and what comes in over the network is in the workspace once, as it was written."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingesting import RULES, detected, events, follow, found, ingest, lines, some
from lakes import OPERATOR
from mingjian.detect.engine import Engine
from mingjian.hunt.arrival import Watch
from mingjian.sources.journal import Journals, Run, Target
from mingjian.store.catalogue import live_segments, organisations
from mingjian.store.rules import keep_rules
from mingjian.store.workspace import Workspace, create


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with create(tmp_path / "workspace") as made:
        yield made


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def appended(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def kept(workspace: Workspace) -> list[tuple[str, int, str]]:
    return [(Path(each.file).name, each.number, each.record) for each in events(workspace)]


def expected(name: str, count: int, *, first: int = 0, number: int = 1) -> list[tuple[str, int, str]]:
    return [(name, n, repr(record)) for n, record in enumerate(some(count, first=first), number)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_appended_comes_in(workspace: Workspace, logs: Path, jobs: int) -> None:
    def steps() -> Iterator[None]:
        appended(logs / "a.json", lines(some(30)))
        yield
        appended(logs / "a.json", lines(some(30, first=30))[:-10])
        appended(logs / "b.json", lines(some(5, first=100)))
        yield
        appended(logs / "a.json", lines(some(30, first=30))[-10:] + lines(some(40, first=60)))
        yield

    summary = follow(workspace, logs, steps=steps(), jobs=jobs)
    assert summary.quarantined == 0
    assert kept(workspace) == expected("a.json", 100) + expected("b.json", 5, first=100)
    assert found(workspace) == detected(logs)
    assert ingest(workspace, logs).known == 2


def test_a_file_that_is_rotated_and_packed_comes_in_once(workspace: Workspace, logs: Path) -> None:
    path = logs / "a.json"

    def steps() -> Iterator[None]:
        appended(path, lines(some(30)))
        yield
        appended(path, lines(some(10, first=30)))
        path.rename(logs / "a.json.1")
        appended(path, lines(some(7, first=50)))
        yield
        (logs / "a.json.1.gz").write_bytes(gzip.compress((logs / "a.json.1").read_bytes()))
        (logs / "a.json.1").unlink()
        yield

    follow(workspace, path, steps=steps())
    assert sorted(record for _, _, record in kept(workspace)) == sorted(map(repr, some(40) + some(7, first=50)))


def test_a_file_that_is_copied_and_truncated_comes_in_once(workspace: Workspace, logs: Path) -> None:
    path = logs / "a.json"

    def steps() -> Iterator[None]:
        appended(path, lines(some(30)))
        yield
        appended(path, lines(some(10, first=30)))
        (logs / "a.json.1").write_bytes(path.read_bytes())
        path.write_bytes(lines(some(3, first=70)))
        yield

    follow(workspace, logs, steps=steps())
    assert sorted(record for _, _, record in kept(workspace)) == sorted(map(repr, some(40) + some(3, first=70)))


def test_following_goes_on_where_it_was(workspace: Workspace, logs: Path) -> None:
    appended(logs / "a.json", lines(some(20)))
    follow(workspace, logs, steps=())
    appended(logs / "a.json", lines(some(20, first=20)))
    (logs / "a.json").rename(logs / "c.json")
    follow(workspace, logs, steps=())
    assert [(number, record) for _, number, record in kept(workspace)] == [
        (number, record) for _, number, record in expected("", 40)
    ]


def test_a_copy_of_what_is_just_coming_in_adds_nothing(workspace: Workspace, logs: Path) -> None:
    def steps() -> Iterator[None]:
        appended(logs / "a.json", lines(some(25)))
        (logs / "b.json").write_bytes(lines(some(25)))
        yield

    follow(workspace, logs, steps=steps())
    assert len(kept(workspace)) == 25


def test_other_rules_count_from_then_on(workspace: Workspace, logs: Path) -> None:
    other = [RULES[1]]
    watches = iter([Watch(keep_rules(workspace, OPERATOR, other), Engine(other))])

    def steps() -> Iterator[None]:
        appended(logs / "a.json", lines(some(25)))
        yield
        appended(logs / "a.json", lines(some(25, first=25)))
        yield

    follow(workspace, logs, steps=steps(), changed=lambda: next(watches, None))
    assert len(kept(workspace)) == 50
    assert {row.record for row in found(workspace)} < set(range(1, 26))


def test_what_comes_in_over_the_network_is_read_like_a_file(workspace: Workspace) -> None:
    async def receive(organisation: str, records: bytes) -> None:
        target = Target("http/intake", organisation, "jsonl")
        async with Journals(workspace.intake) as journals:
            run = Run(lines=records, records=records.count(b"\n"), received_us=1, address="::1", port=1)
            await journals.append(target, run)

    def steps() -> Iterator[None]:
        asyncio.run(receive("ours", lines(some(20))))
        yield
        asyncio.run(receive("ours", lines(some(20, first=20))))
        asyncio.run(receive("theirs", lines(some(5))))
        yield

    follow(workspace, steps=steps(), intake=True)
    follow(workspace, steps=(), intake=True)
    for owner in organisations(workspace, OPERATOR):
        assert live_segments(workspace, OPERATOR, organisation=owner.id)
    assert sorted(record for _, _, record in kept(workspace)) == sorted(map(repr, some(40) + some(5)))
    assert min(number for _, number, _ in kept(workspace)) == 2
    assert sum(row.rule == "whoami" for row in found(workspace).elements()) == 5

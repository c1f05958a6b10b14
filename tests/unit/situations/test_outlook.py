"""What could be seen is counted anew when something came in, and taken from the cache until then."""

from pathlib import Path

import pytest

from ingesting import SOURCES, ingest, lines, some
from lakes import OPERATOR
from mingjian.hunt.holes import Hole, HoleKind
from mingjian.situations import outlook as module
from mingjian.situations.outlook import About, Outlook, outlook
from mingjian.store.catalogue import organisation_named
from mingjian.store.workspace import Workspace, create


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create(tmp_path / "w")
    (tmp_path / "a.jsonl").write_bytes(lines(some(30)))
    ingest(made, tmp_path / "a.jsonl")
    return made


def asked(workspace: Workspace, cache: Path | None) -> Outlook:
    return outlook(workspace, OPERATOR, "file", SOURCES, cache_folder=cache)


def kept(cache: Path) -> list[Path]:
    return sorted(cache.glob(f"*{module.SUFFIX}"))


def test_the_cache_gives_the_same_answer(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache"
    plain = asked(workspace, None)
    assert (plain.hosts_all, plain.window is not None) == (3, True)
    assert asked(workspace, cache) == plain
    monkeypatch.setattr(module, "holes", lambda *_: pytest.fail("it was counted anew"))
    assert asked(workspace, cache) == plain


def test_what_came_in_is_counted(workspace: Workspace, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = asked(workspace, cache)
    record = some(1)[0] | {"Hostname": "new-host", "Computer": "new-host"}
    (tmp_path / "b.jsonl").write_bytes(lines([record]))
    ingest(workspace, tmp_path / "b.jsonl")
    after = asked(workspace, cache)
    assert after.hosts_all == before.hosts_all + 1
    assert len(kept(cache)) == 2


def test_a_cache_that_is_damaged_or_full_is_done_without(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    plain = asked(workspace, cache)
    for path in kept(cache):
        path.write_bytes(b"\xff")
    assert asked(workspace, cache) == plain
    monkeypatch.setattr(module, "FILES_MAX", 1)
    outlook(workspace, OPERATOR, "ip", SOURCES, cache_folder=cache)
    assert len(kept(cache)) == 1
    (tmp_path / "blocked").write_bytes(b"")
    assert asked(workspace, tmp_path / "blocked") == plain


def test_one_organisation_has_its_own(workspace: Workspace, tmp_path: Path) -> None:
    organisation_named(workspace, OPERATOR, "other", make=True)
    other = organisation_named(workspace, OPERATOR, "other").id
    found = outlook(workspace, OPERATOR, "file", SOURCES, other, cache_folder=tmp_path / "cache")
    assert (found.hosts_all, found.window) == (0, None)


def test_what_concerns_the_entity_comes_first() -> None:
    def hole(kind: HoleKind, what: str, organisation: str) -> Hole:
        return Hole(kind=kind, what=what, organisation=organisation, first_day=20_000, last_day=20_001)

    ranked = [
        hole("never", "ja4", ""),
        hole("host", "pc-1.one.example", "one"),
        hole("stream", "a/b", "one"),
        hole("host", "pc-2", "one"),
        hole("stream", "a/c", "one"),
        hole("stream", "a/b", "two"),
        hole("host", "pc-1", "two"),
    ]
    mixed = Outlook(None, tuple(sorted(ranked, key=lambda each: each.what)), 9)
    answer = mixed.answer(1, About({"pc-1"}, {"a/b"}, {"one"}))
    assert {each.what for each in answer.holes[:2]} == {"ja4", "pc-1.one.example"}
    assert answer.holes[2] == ranked[2]
    assert {each.organisation for each in answer.holes[5:]} == {"two"}

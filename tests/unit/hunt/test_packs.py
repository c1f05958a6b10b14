"""Packs of rules: what comes out of archives, what is skipped and why, and trials that keep nothing."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import msgspec
import pytest
import zstandard

from ingesting import ingest, lines, some
from lakes import OPERATOR
from mingjian.errors import LimitExceeded, StateError, StorageError
from mingjian.hunt import packs
from mingjian.hunt.errands import Errands
from mingjian.hunt.packs import (
    PackRules,
    Sent,
    chosen,
    packed_files,
    read_pack,
    report_in,
    rules_in,
    trial_in,
    try_pack,
)
from mingjian.sources.definitions import load_sources
from mingjian.store import packs as stored_packs
from mingjian.store.browsing import Wanted, browse
from mingjian.store.jobs import finish, jobs, queue
from mingjian.store.rules import add_rules, keep_rules, live_rules
from mingjian.store.workspace import Workspace, create
from serving import RULE

OTHER = RULE.replace("000000000001", "000000000002").replace("Somebody", "Another").replace("level: high", "level: low")
COUNTED = """\
title: Many ask
id: 6a3bd5a1-7a9c-4d3e-9d51-000000000003
correlation:
    type: event_count
    rules: [6a3bd5a1-7a9c-4d3e-9d51-000000000002]
    group-by: [Hostname]
    timespan: 1d
    condition: {gte: 2}
level: high
"""
FILES = {
    "rules/one.yml": RULE,
    "rules/deep/two.yaml": OTHER,
    "rules/three.yml": COUNTED,
    "rules/again.yml": RULE,
    "rules/broken.yml": "title: broken\n",
    "rules/.hidden.yml": OTHER,
    "README.md": "about",
}


def zipped() -> Sent:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return Sent("pack.zip", data.getvalue())


def tarred() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, text in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


def separate() -> list[Sent]:
    return [Sent(name, text.encode()) for name, text in FILES.items()]


def quiet(done: int, total: int) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(
    "files",
    [
        [zipped()],
        [Sent("pack.tar.gz", gzip.compress(tarred()))],
        [Sent("pack.tar.zst", zstandard.ZstdCompressor().compress(tarred()))],
        separate(),
    ],
    ids=["zip", "tar.gz", "tar.zst", "files"],
)
def test_a_pack_gives_the_same_however_it_was_sent(files: list[Sent]) -> None:
    rules, report = read_pack(packed_files(files), quiet)
    assert [each.title for each in rules.every] == [
        "Somebody asks who they are",
        "Another asks who they are",
        "Many ask",
    ]
    assert (report.files, report.others, report.rules, report.skipped) == (5, 2, 3, 2)
    assert {each.file.rpartition("/")[2] for each in report.skips} == {"again.yml", "broken.yml"}
    assert any("the same rule is in" in each.reason for each in report.skips)
    assert rules_in(packs.stored(rules)) == rules
    assert report_in(packs.stored(report)) == report


def test_rules_from_a_level_on_bring_along_what_feeds_them() -> None:
    rules, _ = read_pack(packed_files([zipped()]), quiet)
    wanted = chosen(rules, "high")
    assert [(each.level, each.hidden) for each in wanted.rules] == [("high", False), ("low", True)]
    assert len(wanted.correlations) == 1


def test_a_damaged_archive_gives_what_could_be_read_and_says_so() -> None:
    whole = zipped().data
    _, report = read_pack(packed_files([Sent("pack.zip", whole[: len(whole) // 2])]), quiet)
    assert report.skipped
    assert all(each.reason for each in report.skips)


def test_bounds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitExceeded, match="FILES_SENT_MAX"):
        packed_files([Sent("a.yml", b"")] * (packs.FILES_SENT_MAX + 1))
    for name, bound in (("RULE_FILES_MAX", 2), ("RULE_BYTES_MAX", 500), ("UNPACKED_BYTES_MAX", 500)):
        with monkeypatch.context() as patched:
            patched.setattr(packs, name, bound)
            with pytest.raises(LimitExceeded, match=name):
                read_pack(packed_files([zipped()]), quiet)
    with pytest.raises(StorageError):
        read_pack(b"\xff", quiet)
    with pytest.raises(StorageError):
        rules_in(b"damaged")


def test_a_file_that_is_too_large_is_skipped_by_name() -> None:
    _, report = read_pack(packed_files([Sent("large.yml", b"# " + b"x" * 600_000)]), quiet)
    assert "YAML_BYTES_MAX" in report.skips[0].reason


# --- in a workspace --------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create(tmp_path / "workspace")
    logs = tmp_path / "logs.jsonl"
    logs.write_bytes(lines(some(200)))
    ingest(made, logs)
    return made


def sent(workspace: Workspace, files: list[Sent]) -> stored_packs.Pack:
    request = '{"by": "ann", "titles": ["ours"], "pack": "{pack}"}'
    stored_packs.keep_pack(workspace, OPERATOR, "ours", packed_files(files), by="ann", request=request)
    return stored_packs.packs(workspace, OPERATOR)[0]


def errands(workspace: Workspace) -> Errands:
    return Errands(workspace, load_sources(), None, Path())


def test_a_trial_finds_what_switching_on_would_find_and_keeps_nothing(workspace: Workspace) -> None:
    with workspace:
        rules, _ = read_pack(packed_files([zipped()]), quiet)
        before = browse(workspace, OPERATOR, Wanted()).rows
        trial = try_pack(workspace, OPERATOR, load_sources(), rules, None, lambda done, total, found: None)
        assert browse(workspace, OPERATOR, Wanted()).rows == before
        assert live_rules(workspace, OPERATOR).versions == {}
        counts = {rule_id[-1]: said.count for rule_id, said in trial.found.items()}
        assert counts["1"] > 0
        assert counts["3"] > 0
        assert "2" not in counts, "a rule that only feeds a correlation is not reported itself"
        assert trial.rows == 200
        assert trial_in(packs.stored(trial)) == trial
        with pytest.raises(StateError):
            try_pack(workspace, OPERATOR, load_sources(), PackRules(), None, lambda done, total, found: None)


def test_a_pack_is_read_by_its_job_once_and_what_was_sent_is_dropped(workspace: Workspace) -> None:
    with workspace:
        pack = sent(workspace, [zipped()])
        assert stored_packs.rules_of(workspace, OPERATOR, pack) is None
        assert errands(workspace).step()
        read = stored_packs.pack_named(workspace, OPERATOR, pack.public_id)
        assert (read.state, read.rules, read.total) == ("done", 3, 5)
        assert stored_packs.content_of(workspace, OPERATOR, read) is None
        assert stored_packs.rules_of(workspace, OPERATOR, read) is not None


def test_a_pack_whose_job_was_cancelled_does_not_stay(workspace: Workspace) -> None:
    with workspace:
        pack = sent(workspace, [zipped()])
        finish(workspace, OPERATOR, jobs(workspace, OPERATOR)[0].id, "cancelled")
        assert not errands(workspace).step()
        sent(workspace, separate())
        assert errands(workspace).step()
        assert stored_packs.content_of(workspace, OPERATOR, pack) is None


def test_a_pack_that_cannot_be_read_fails_with_the_reason(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "RULE_FILES_MAX", 1)
    with workspace:
        pack = sent(workspace, [zipped()])
        assert errands(workspace).step()
        read = stored_packs.pack_named(workspace, OPERATOR, pack.public_id)
        assert read.state == "failed"
        assert "RULE_FILES_MAX" in read.error


def test_a_trial_is_a_job_and_is_told_with_the_pack(workspace: Workspace) -> None:
    with workspace:
        pack = sent(workspace, [zipped()])
        errands(workspace).step()
        queue(workspace, OPERATOR, "trial", request=msgspec.json.encode({"pack": pack.public_id}).decode())
        assert errands(workspace).step()
        tried = stored_packs.pack_named(workspace, OPERATOR, pack.public_id)
        assert tried.is_tried
        data = stored_packs.trial_of(workspace, OPERATOR, tried)
        assert data is not None
        assert trial_in(data).found


def test_running_a_rule_over_history_leaves_the_rule_that_counts_as_it_is(workspace: Workspace) -> None:
    with workspace:
        rules, _ = read_pack(packed_files([zipped()]), quiet)
        first = rules.rules[0]
        add_rules(workspace, OPERATOR, [first])
        keep_rules(workspace, OPERATOR, [msgspec.structs.replace(first, level="low", title="Other")])
        (live,) = live_rules(workspace, OPERATOR).rules
        assert (live.level, live.title) == (first.level, first.title)

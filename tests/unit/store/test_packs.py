"""Packs of rules that are kept: so many, so large together, and no more; what is removed is gone."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakes import OPERATOR
from mingjian.errors import LimitExceeded, NotFound, NotPermitted
from mingjian.store import audit, packs
from mingjian.store.catalogue import Organisation
from mingjian.store.jobs import job_by_id, jobs
from mingjian.store.packs import Pack, content_of, keep_pack, pack_named, remove_pack, was_read, was_tried
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.workspace import Workspace

REQUEST = json.dumps({"by": "ann", "titles": ["pack"], "pack": "{pack}"})


def sent(workspace: Workspace, content: bytes = b"rules") -> Pack:
    job = keep_pack(workspace, OPERATOR, "pack", content, by="ann", request=REQUEST)
    return pack_named(workspace, OPERATOR, json.loads(job.request)["pack"])


def test_so_many_packs_are_kept_and_no_more(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACKS_MAX", 2)
    first, _ = sent(workspace), sent(workspace)
    with pytest.raises(LimitExceeded) as refused:
        sent(workspace)
    assert (refused.value.limit, refused.value.bound) == ("PACKS_MAX", 2)
    assert "remove" in refused.value.hint
    assert len(packs.packs(workspace, OPERATOR)) == len(jobs(workspace, OPERATOR)) == 2
    remove_pack(workspace, OPERATOR, first.public_id)
    sent(workspace)


def test_so_large_together_are_packs_and_no_larger(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACKS_BYTES_MAX", 100)
    pack = sent(workspace, b"x" * 60)
    with pytest.raises(LimitExceeded, match="PACKS_BYTES_MAX"):
        sent(workspace, b"x" * 41)
    other = sent(workspace, b"x" * 40)
    # What was sent goes when what is in it comes: only that there is more of it is too much.
    for extra in (was_read(other, b"x" * 30, b"x" * 11), was_tried(other, b"x" * 1)):
        with pytest.raises(LimitExceeded, match="PACKS_BYTES_MAX"), workspace.begin() as connection:
            extra(connection)
    assert content_of(workspace, OPERATOR, other) == b"x" * 40
    with workspace.begin() as connection:
        was_read(other, b"x" * 30, b"x" * 5)(connection)
        was_tried(other, b"x" * 5)(connection)
        was_tried(other, b"y" * 5)(connection)
    remove_pack(workspace, OPERATOR, pack.public_id)
    sent(workspace, b"x" * 60)


def test_of_packs_that_are_sent_at_once_no_more_are_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PACKS_MAX", 3)

    def attempt(_: int) -> bool:
        try:
            sent(workspace)
        except LimitExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(16))) == 3


def test_a_pack_that_is_removed_is_gone_and_is_not_read_any_more(
    workspace: Workspace, organisation: Organisation
) -> None:
    pack = sent(workspace)
    job = jobs(workspace, OPERATOR)[0]
    seer = Scope.of_roles("seer", [Membership(EVERYONE, "reader"), Membership(organisation.id, "analyst")])
    with pytest.raises(NotPermitted):
        remove_pack(workspace, seer, pack.public_id)
    with pytest.raises(NotFound):
        remove_pack(workspace, Scope.of_member("other", [], [organisation.id]), pack.public_id)
    remove_pack(workspace, OPERATOR, pack.public_id)
    assert packs.packs(workspace, OPERATOR) == []
    assert job_by_id(workspace, OPERATOR, job.id).state == "cancelled"
    with pytest.raises(NotFound):
        remove_pack(workspace, OPERATOR, pack.public_id)
    # Whoever was just reading it leaves nothing behind.
    with workspace.begin() as connection:
        was_read(pack, b"rules", b"report")(connection)
    assert packs.packs(workspace, OPERATOR) == []
    last = audit.acts(workspace, OPERATOR)[0]
    assert (last.what, last.about, last.before["name"]) == ("pack.removed", pack.public_id, "pack")

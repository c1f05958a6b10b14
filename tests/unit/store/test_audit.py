"""The audit log, on both databases: what is in it stays, or is missed."""

import os
import random
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa

from mingjian.errors import LimitExceeded, NotFound, NotPermitted, ParseError, StateError, StorageError
from mingjian.formats import tlog
from mingjian.store import audit, keys, tables
from mingjian.store.catalogue import Organisation
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.workspace import Workspace, create

OPERATOR = Scope.of_operator()
T = tables.acts
ACTS = 1000
STEP = int(os.environ.get("MINGJIAN_AUDIT_STEP", "54"))
"""Every so many of them is tampered with in the database; with 1 each of them, which takes a while."""


def acted(workspace: Workspace, count: int, organisation: Organisation | None = None) -> None:
    with workspace.begin() as connection:
        for number in range(count):
            place = None if organisation is None else organisation.id
            audit.act(
                workspace,
                connection,
                OPERATOR,
                "test.act",
                about=f"thing {number}",
                organisation=place,
                after={"n": number},
            )


def faults(workspace: Workspace, *kept: str) -> list[str]:
    return [each.said for each in audit.verify(workspace, OPERATOR, kept)[1]]


def test_an_act_is_logged_with_what_it_did_or_not_at_all(workspace: Workspace) -> None:
    with pytest.raises(ZeroDivisionError), workspace.begin() as connection:
        audit.act(workspace, connection, OPERATOR, "test.act")
        _ = 1 / 0
    with workspace.begin() as connection:
        audit.act(
            workspace,
            connection,
            OPERATOR,
            "test.act",
            about="it \udcff",
            before={"a": [1, None]},
            after={"a": {"b": "明"}},
        )
    (found,) = audit.acts(workspace, OPERATOR)
    assert (found.number, found.actor, found.via, found.what) == (0, OPERATOR.actor, "command line", "test.act")
    assert (found.about, found.before, found.after) == ("it \\xdcff", {"a": [1, None]}, {"a": {"b": "明"}})
    assert audit.verify(workspace, OPERATOR) == (1, [])


def test_what_would_be_too_long_is_in_the_log_as_its_hash(workspace: Workspace) -> None:
    with workspace.begin() as connection:
        audit.act(workspace, connection, OPERATOR, "test.act", before={"a": 1}, after={"text": "x" * 70_000})
    (found,) = audit.acts(workspace, OPERATOR)
    assert found.after["bytes"] == 70_011
    assert audit.verify(workspace, OPERATOR) == (1, [])


def test_acts_are_listed_by_page_and_by_what_and_who(workspace: Workspace) -> None:
    acted(workspace, 5)
    with workspace.begin() as connection:
        audit.act(workspace, connection, Scope.of_member("ann", []), "other.act")
    assert [each.number for each in audit.acts(workspace, OPERATOR, limit=2)] == [5, 4]
    assert [each.number for each in audit.acts(workspace, OPERATOR, limit=2, beyond_number=4)] == [3, 2]
    oldest = audit.acts(workspace, OPERATOR, limit=2, beyond_number=1, oldest_first=True)
    assert [each.number for each in oldest] == [2, 3]
    assert [each.number for each in audit.acts(workspace, OPERATOR, what="other")] == [5]
    assert audit.acts(workspace, OPERATOR, what="othe") == audit.acts(workspace, OPERATOR, what="test%") == []
    assert [each.number for each in audit.acts(workspace, OPERATOR, actor="ann")] == [5]
    assert [each.number for each in audit.acts(workspace, OPERATOR, about="thing 3")] == [3]


def test_an_auditor_of_one_organisation_sees_its_acts_alone(workspace: Workspace, organisation: Organisation) -> None:
    before = len(audit.acts(workspace, OPERATOR))
    acted(workspace, 1)
    acted(workspace, 1, organisation)
    auditor = Scope.of_roles("eve", [Membership(organisation.id, "auditor")])
    reader = Scope.of_roles("rob", [Membership(EVERYONE, "analyst")])
    assert organisation.id in {each.organisation for each in audit.acts(workspace, auditor)}
    assert {each.organisation for each in audit.acts(workspace, auditor)} == {organisation.id}
    assert audit.acts(workspace, reader) == []
    assert audit.proof_of(workspace, auditor, before + 1).index == before + 1
    with pytest.raises(NotFound):
        audit.proof_of(workspace, auditor, before)
    with pytest.raises(NotPermitted):
        audit.verify(workspace, auditor)


def test_a_proof_convinces_whoever_knows_the_key(workspace: Workspace) -> None:
    acted(workspace, 41)
    for number in (0, 17, 40):
        proof = audit.proof_of(workspace, OPERATOR, number)
        signed = tlog.open_checkpoint(proof.checkpoint, tlog.parse_key(proof.key))
        leaf = tlog.leaf_hash(proof.entry)
        assert tlog.is_included(leaf, proof.index, signed.size, proof.hashes, signed.root)


# --- tampering -----------------------------------------------------------------------------------------------------


def all_rows(connection: sa.Connection) -> list[dict[str, object]]:
    return [dict(row._mapping) for row in connection.execute(sa.select(T).order_by(T.c.number))]


def rewritten(connection: sa.Connection, rows: list[dict[str, object]]) -> None:
    """Put the log anew, with a head that fits it; whoever does this has the database, and not the key."""
    connection.execute(sa.delete(T))
    peaks: tuple[bytes, ...] = ()
    for number, row in enumerate(rows):
        leaf = tlog.leaf_hash(row["entry"])
        row |= {"leaf": leaf, "number": number}
        row.pop("seal", None)
        peaks = tlog.grown(peaks, number, leaf)
    if rows:
        connection.execute(sa.insert(T), rows)
    connection.execute(sa.update(tables.audit_head).values(size=len(rows), peaks=b"".join(peaks)))


def altered(rows: list[dict[str, object]], place: int) -> None:
    rows[place]["entry"] = rows[place]["entry"].replace(b'"operator:', b'"somebody:')
    rows[place]["actor"] = "somebody"


def deleted(rows: list[dict[str, object]], place: int) -> None:
    del rows[place]


def inserted(rows: list[dict[str, object]], place: int) -> None:
    rows.insert(place, dict(rows[place]))


def reordered(rows: list[dict[str, object]], place: int) -> None:
    other = (place + 1) % len(rows)
    rows[place], rows[other] = rows[other], rows[place]


def truncated(rows: list[dict[str, object]], place: int) -> None:
    del rows[place:]


def forked(rows: list[dict[str, object]], place: int) -> None:
    for row in rows[place:]:
        row["entry"] = row["entry"].replace(b"thing", b"fable")


@pytest.fixture
def log(workspace: Workspace) -> list[dict[str, object]]:
    acted(workspace, 40)
    with workspace.read() as connection:
        return all_rows(connection)


@pytest.mark.parametrize("tamper", [altered, deleted, inserted, reordered, truncated])
@pytest.mark.parametrize("place", [0, 17, 39])
def test_whoever_has_the_database_and_not_the_key_is_found_out(
    workspace: Workspace, log: list[dict[str, object]], tamper: Callable[..., None], place: int
) -> None:
    assert faults(workspace) == []
    tamper(log, place)
    with workspace.begin() as connection:
        rewritten(connection, log)
    assert faults(workspace) != []


@pytest.mark.slow
@pytest.mark.parametrize("tamper", [altered, deleted, inserted, reordered, truncated, forked])
def test_an_entry_of_1000_in_the_database_that_is_tampered_with_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tamper: Callable[..., None]
) -> None:
    """By ``verify`` itself, though all that can be computed without the key fits again; elsewhere every entry is."""
    missed: list[int] = []
    with create(tmp_path / "workspace") as workspace:
        acted(workspace, ACTS)
        with workspace.begin() as connection:
            rows = all_rows(connection)
            # What is tried is taken back instead of written.
            monkeypatch.setattr(workspace, "read", lambda: nullcontext(connection))
            assert faults(workspace) == []
            for place in sorted({0, *range(STEP // 2, ACTS, STEP), ACTS - 1}):
                attempt = connection.begin_nested()
                changed = [dict(row) for row in rows]
                tamper(changed, place)
                rewritten(connection, changed)
                if faults(workspace) == []:
                    missed.append(place)
                attempt.rollback()
            assert faults(workspace) == []
    assert missed == []


def test_an_older_state_of_the_database_is_found_by_a_checkpoint_that_was_kept(workspace: Workspace) -> None:
    acted(workspace, 10)
    with workspace.read() as connection:
        rows = all_rows(connection)
        head = dict(connection.execute(sa.select(tables.audit_head)).one()._mapping)
    acted(workspace, 5)
    kept = audit.checkpoint(workspace)
    audit.publish(workspace)
    with workspace.begin() as connection:
        rewritten(connection, rows)
        connection.execute(sa.update(tables.audit_head).values(checkpoint=head["checkpoint"]))
    published = workspace.folder / audit.FOLDER
    assert "audit/checkpoint is of 15 acts, and 10 are there" in faults(workspace)
    for path in published.iterdir():
        path.unlink()
    assert faults(workspace) == []
    assert faults(workspace, kept) == ["the given checkpoint 1 is of 15 acts, and 10 are there"]


def test_another_history_under_the_same_key_is_found_by_a_checkpoint_that_was_kept(workspace: Workspace) -> None:
    acted(workspace, 10)
    with workspace.read() as connection:
        rows = all_rows(connection)
        signed = connection.execute(sa.select(tables.audit_head.c.checkpoint)).scalar_one()
    acted(workspace, 5)
    kept = audit.checkpoint(workspace)
    with workspace.begin() as connection:
        rewritten(connection, rows)
        connection.execute(sa.update(tables.audit_head).values(checkpoint=signed))
    with workspace.begin() as connection:
        for _ in range(9):
            audit.act(workspace, connection, OPERATOR, "fork.act")
    assert faults(workspace) == []
    assert faults(workspace, kept) == ["the given checkpoint 1 was signed over 15 other acts"]


def test_damage_without_any_care_is_found_too(workspace: Workspace, log: list[dict[str, object]]) -> None:
    with workspace.begin() as connection:
        connection.execute(sa.update(T).where(T.c.number == 3).values(about="something else"))
        connection.execute(sa.update(T).where(T.c.number == 4).values(entry=b"{}"))
        connection.execute(sa.update(T).where(T.c.number == 5).values(leaf=bytes(32)))
    assert len(faults(workspace)) >= 3
    with pytest.raises(StorageError, match="damaged"):
        audit.acts(workspace, OPERATOR)
    with workspace.begin() as connection:
        connection.execute(sa.delete(tables.audit_head))
    assert "the log has no head" in faults(workspace)


def test_a_checkpoint_of_another_log_is_no_witness(workspace: Workspace) -> None:
    with pytest.raises(ParseError, match="not signed by the key"):
        audit.verify(workspace, OPERATOR, [tlog_of_others()])


def tlog_of_others() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    checkpoint = tlog.Checkpoint(origin="other", size=1, root=bytes(32))
    return tlog.signed_checkpoint(checkpoint, "other", Ed25519PrivateKey.generate())


# --- exports -------------------------------------------------------------------------------------------------------


def read_export(folder: Path, key: tlog.VerifierKey) -> list[bytes]:
    return tlog.read_log(lambda name: (folder / name).read_bytes(), key)[1]


@pytest.mark.slow
def test_each_of_1000_entries_tampered_with_in_6_ways_is_found(tmp_path: Path) -> None:
    """By whoever has all files of an export in hand, makes every tile fit again, and cannot sign."""
    with create(tmp_path / "workspace") as workspace:
        acted(workspace, ACTS)
        audit.export(workspace, OPERATOR, tmp_path / "log")
        key = audit.verifier_key(workspace)
    entries = read_export(tmp_path / "log", key)
    note = (tmp_path / "log" / audit.NEWEST).read_bytes()
    signed = tlog.open_checkpoint(note.decode(), key)
    missed: list[tuple[str, int]] = []
    for place in range(ACTS):
        for kind, changed in tampered(entries, place).items():
            if place % 50:
                # What reading a log comes to in the end, without its files.
                is_found = len(changed) != signed.size or root_of(changed) != signed.root
            else:
                is_found = is_refused(files_of(changed, note), key)
            if not is_found:
                missed.append((kind, place))
    assert missed == []


@cache
def leaf_of(entry: bytes) -> bytes:
    return tlog.leaf_hash(entry)


def root_of(entries: list[bytes]) -> bytes:
    """The root, with the hashes of full bundles that were met before from memory."""
    leaves = [leaf_of(entry) for entry in entries]
    return root_of_leaves(tuple(leaves))


def root_of_leaves(leaves: tuple[bytes, ...]) -> bytes:
    if len(leaves) <= 32:
        return small_root(leaves)
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return tlog.node_hash(root_of_leaves(leaves[:split]), root_of_leaves(leaves[split:]))


@cache
def small_root(leaves: tuple[bytes, ...]) -> bytes:
    return tlog.root(leaves)


def is_refused(files: dict[str, bytes], key: tlog.VerifierKey) -> bool:
    try:
        tlog.read_log(files.__getitem__, key)
    except (ParseError, KeyError):
        return True
    return False


def tampered(entries: list[bytes], place: int) -> dict[str, list[bytes]]:
    """The entries after six kinds of tampering with the one at a place."""
    chance = random.Random(place)
    before, entry, after = entries[:place], entries[place], entries[place + 1 :]
    bits = bytearray(entry)
    bits[chance.randrange(len(bits))] ^= 1 << chance.randrange(8)
    swapped = list(entries)
    other = (place + 1) % len(entries)
    swapped[place], swapped[other] = swapped[other], swapped[place]
    return {
        "altered": [*before, bytes(bits), *after],
        "deleted": before + after,
        "inserted": [*before, b"new", entry, *after],
        "reordered": swapped,
        "truncated": before,
        "forked": before + [b"fork %d" % number for number in range(len(after) + 1)],
    }


def files_of(entries: list[bytes], note: bytes) -> dict[str, bytes]:
    """An export with these entries, under a checkpoint."""
    files = dict(tlog.tiles([tlog.leaf_hash(entry) for entry in entries]))
    for start in range(0, len(entries), tlog.TILE_WIDTH):
        part = entries[start : start + tlog.TILE_WIDTH]
        files[tlog.tile_path(None, start // tlog.TILE_WIDTH, len(part))] = tlog.bundle(part)
    return {**files, "checkpoint": note}


def test_an_export_is_verified_without_the_workspace(tmp_path: Path, workspace: Workspace) -> None:
    acted(workspace, 300)
    assert audit.export(workspace, OPERATOR, tmp_path / "log") == 300
    key = tlog.parse_key((tmp_path / "log" / audit.KEY_FILE).read_text())
    assert str(key) == str(audit.verifier_key(workspace))
    assert len(read_export(tmp_path / "log", key)) == 300
    with pytest.raises(StateError):
        audit.export(workspace, OPERATOR, tmp_path / "log")


def test_an_empty_log_is_a_log(tmp_path: Path, workspace: Workspace) -> None:
    assert audit.verify(workspace, OPERATOR, [audit.checkpoint(workspace)]) == (0, [])
    assert audit.export(workspace, OPERATOR, tmp_path / "log") == 0
    assert read_export(tmp_path / "log", audit.verifier_key(workspace)) == []


def test_the_newest_checkpoint_of_each_day_is_kept_in_files(workspace: Workspace) -> None:
    workspace.clock_us = lambda: 0
    acted(workspace, 1)
    audit.publish(workspace)
    workspace.clock_us = lambda: 86_400_000_000
    acted(workspace, 1)
    audit.publish(workspace)
    audit.publish(workspace)
    folder = workspace.folder / audit.FOLDER
    assert {p.name for p in folder.iterdir()} == {"checkpoint", "1970-01-01.checkpoint", "1970-01-02.checkpoint"}
    assert (folder / "checkpoint").read_text() == (folder / "1970-01-02.checkpoint").read_text()
    assert faults(workspace) == []


def test_without_the_key_of_the_log_nothing_is_done(workspace: Workspace) -> None:
    acted(workspace, 1)
    keys.signing_key.cache_clear()
    (workspace.folder / keys.FOLDER / keys.SIGNING_FILE).write_text("nonsense")
    with pytest.raises(Exception, match="this is no key"), workspace.begin() as connection:
        audit.act(workspace, connection, OPERATOR, "test.act")
    keys.signing_key.cache_clear()
    with workspace.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(T)).scalar_one() == 1


def test_the_bound_of_a_bundle_is_named() -> None:
    with pytest.raises(LimitExceeded, match="TILE_WIDTH"):
        tlog.entries_of_bundle(b"\x00\x00" * 257)

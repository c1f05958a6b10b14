"""Merkle trees, tiles and signed checkpoints, against the figures and signatures of others."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mingjian.errors import LimitExceeded, ParseError
from mingjian.formats import tlog

# The test vectors of Certificate Transparency: eight entries, and the root of the tree over the first of them each.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
# A checkpoint that the checksum database of Go signed, and its public key.
GO_NOTE = (
    "go.sum database tree\n65209736\n5+uGFjx6xBZG8ip1+wi77v+grwbhhukIrxEUS8PXvRo=\n\n"
    "— sum.golang.org Az3grnbssgK7ubgFX36gVETtNv0U23qxyAhAMai2QUfeGa3nB/akvkMdlUErfcZz7l/R3cVtYspg3dxXABkGZZKdsQ8=\n"
)
GO_KEY = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = tlog.key_of("log.example/a", PRIVATE)


def leaves_of(count: int) -> list[bytes]:
    return [tlog.leaf_hash(b"%d" % number) for number in range(count)]


def test_the_roots_are_those_of_certificate_transparency() -> None:
    leaves = [tlog.leaf_hash(entry) for entry in ENTRIES]
    assert [tlog.root(leaves[: n + 1]).hex() for n in range(8)] == list(ROOTS)
    assert tlog.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_tree_that_grows_leaf_by_leaf_has_the_same_roots() -> None:
    peaks: tuple[bytes, ...] = ()
    for size, leaf in enumerate(leaves_of(300)):
        peaks = tlog.grown(peaks, size, leaf)
        assert tlog.root_of_peaks(peaks) == tlog.root(leaves_of(size + 1))


def test_every_proof_convinces_and_no_other_does() -> None:
    for size in (1, 2, 3, 7, 8, 9, 33):
        leaves = leaves_of(size)
        root = tlog.root(leaves)
        for index in range(size):
            proof = tlog.inclusion_proof(leaves, index)
            assert tlog.is_included(leaves[index], index, size, proof, root)
            assert not tlog.is_included(tlog.leaf_hash(b"other"), index, size, proof, root)
            assert not tlog.is_included(leaves[index], index, size, (*proof, root), root)
            assert not any(tlog.is_included(leaves[index], n, size, proof, root) for n in range(size + 1) if n != index)


def test_a_log_that_only_grew_can_prove_it() -> None:
    leaves = leaves_of(70)
    for second in (1, 2, 7, 8, 33, 64, 70):
        new_root = tlog.root(leaves[:second])
        for first in range(1, second + 1):
            old_root = tlog.root(leaves[:first])
            proof = tlog.consistency_proof(leaves[:second], first)
            assert tlog.is_consistent(first, old_root, second, new_root, proof)
            forked = tlog.root([*leaves[: first - 1], tlog.leaf_hash(b"other")])
            assert not tlog.is_consistent(first, forked, second, new_root, proof)
            assert not tlog.is_consistent(first, old_root, second, forked, proof)


@given(st.integers(1, 200), st.data())
def test_a_proof_of_any_size_holds_for_its_place_alone(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof = list(tlog.inclusion_proof(leaves, index))
    assert tlog.is_included(leaves[index], index, size, proof, tlog.root(leaves))
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        proof[place] = bytes(32)
        assert not tlog.is_included(leaves[index], index, size, proof, tlog.root(leaves))


def test_a_note_that_somebody_else_signed_is_verified() -> None:
    opened = tlog.open_checkpoint(GO_NOTE, tlog.parse_key(GO_KEY))
    assert (opened.origin, opened.size) == ("go.sum database tree", 65_209_736)
    assert str(tlog.parse_key(GO_KEY)) == GO_KEY


@pytest.mark.parametrize(
    "note",
    [
        GO_NOTE.replace("65209736", "65209737"),
        GO_NOTE.replace("Az3grnbs", "Az3grnbt"),
        GO_NOTE.replace("sum.golang.org", "sum.example.org"),
        GO_NOTE.rstrip("\n"),
        GO_NOTE.replace("\n\n", "\n"),
        GO_NOTE.replace("\n5+", "\n\x005+"),
        GO_NOTE.replace("— ", "-- "),
        "",
    ],
)
def test_a_note_that_was_touched_is_refused(note: str) -> None:
    with pytest.raises(ParseError):
        tlog.open_checkpoint(note, tlog.parse_key(GO_KEY))


def test_signatures_of_others_do_not_hurt_but_there_is_a_bound() -> None:
    checkpoint = tlog.Checkpoint(origin="log.example/a", size=3, root=bytes(32))
    note = tlog.signed_checkpoint(checkpoint, "log.example/a", PRIVATE)
    assert tlog.open_checkpoint(note + "— witness.example AAAAAAAA\n", KEY) == checkpoint
    with pytest.raises(LimitExceeded, match="SIGNATURES_MAX"):
        tlog.open_checkpoint(note + "— witness.example AAAAAAAA\n" * tlog.SIGNATURES_MAX, KEY)
    with pytest.raises(LimitExceeded, match="NOTE_BYTES_MAX"):
        tlog.open_checkpoint(note + "x" * tlog.NOTE_BYTES_MAX, KEY)


@pytest.mark.parametrize("text", ["", "a", "a+b+c", "a+00000000+AAAA", GO_KEY.replace("033d", "033e"), "é é+1+1"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        tlog.parse_key(text)


def test_the_tiles_of_70000_entries_are_those_that_the_specification_counts() -> None:
    leaf = tlog.leaf_hash(b"")
    paths = [path for path, _ in tlog.tiles([leaf] * 70_000)]
    partial = {path for path in paths if ".p/" in path}
    assert partial == {"tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"}
    assert len(paths) == 273 + 1 + 1 + 1 + 1
    assert {path for path, _ in tlog.tiles([leaf] * 256)} == {"tile/0/000", "tile/1/000.p/1"}


@given(st.lists(st.binary(max_size=300), max_size=tlog.TILE_WIDTH))
def test_a_bundle_gives_its_entries_back(entries: list[bytes]) -> None:
    assert tlog.entries_of_bundle(tlog.bundle(entries)) == entries


@pytest.mark.parametrize("data", [b"\x00", b"\x00\x02a", b"\x00\x01a\x00"])
def test_a_torn_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(ParseError):
        tlog.entries_of_bundle(data)


def log_in_files(entries: list[bytes]) -> dict[str, bytes]:
    leaves = [tlog.leaf_hash(entry) for entry in entries]
    files = dict(tlog.tiles(leaves))
    for start in range(0, len(entries), tlog.TILE_WIDTH):
        part = entries[start : start + tlog.TILE_WIDTH]
        files[tlog.tile_path(None, start // tlog.TILE_WIDTH, len(part))] = tlog.bundle(part)
    checkpoint = tlog.Checkpoint(origin="log.example/a", size=len(entries), root=tlog.root(leaves))
    files["checkpoint"] = tlog.signed_checkpoint(checkpoint, "log.example/a", PRIVATE).encode()
    return files


def test_any_changed_byte_in_a_log_of_files_is_found() -> None:
    entries = [b"entry %d" % number for number in range(600)]
    files = log_in_files(entries)
    checkpoint, read = tlog.read_log(files.__getitem__, KEY)
    assert (checkpoint.size, read) == (600, entries)
    for name, data in files.items():
        for place in {0, len(data) // 2, len(data) - 1}:
            damaged = bytearray(data)
            damaged[place] ^= 1
            with pytest.raises((ParseError, LimitExceeded)):
                tlog.read_log({**files, name: bytes(damaged)}.__getitem__, KEY)

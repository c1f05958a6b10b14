"""Transparency logs: Merkle trees over entries, their proofs, tiles, and signed checkpoints.

An entry that was logged can be neither altered nor removed without the root of the tree becoming another, and the root
is signed. Whoever keeps a checkpoint can prove, years later and with any program that knows these formats, what the
log held then.

Source: RFC 6962, section 2.1 (tree, proofs); RFC 9162, section 2.1.3 and 2.1.4 (how to verify them); C2SP tlog-tiles,
tlog-checkpoint and signed-note.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

import msgspec

from mingjian.errors import LimitExceeded, ParseError, shown

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HASH_BYTES: Final = 32
TILE_WIDTH: Final = 256
ENTRY_BYTES_MAX: Final = 65_535
"""A bundle has two bytes for the length of an entry."""
NOTE_BYTES_MAX: Final = 16_384
SIGNATURES_MAX: Final = 16
SIZE_MAX: Final = 2**53
_ED25519: Final = b"\x01"
"""Type of a signature. Source: signed-note, signature types."""
_DASH: Final = "\N{EM DASH} "

EMPTY_ROOT: Final = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return sha256(b"\x01" + left + right).digest()


# --- trees ---------------------------------------------------------------------------------------------------------


def grown(peaks: Sequence[bytes], size: int, leaf: bytes) -> tuple[bytes, ...]:
    """Add a leaf to a tree of which only the roots of its full subtrees are known, the largest first.

    >>> two = [leaf_hash(b"a"), leaf_hash(b"b")]
    >>> root_of_peaks(grown(grown((), 0, two[0]), 1, two[1])) == root(two)
    True
    """
    kept = list(peaks)
    assert len(kept) == size.bit_count()
    node = leaf
    while size & 1:
        node = node_hash(kept.pop(), node)
        size >>= 1
    return (*kept, node)


def root_of_peaks(peaks: Sequence[bytes]) -> bytes:
    """The root of a tree of which the roots of its full subtrees are known."""
    if not peaks:
        return EMPTY_ROOT
    node = peaks[-1]
    for left in reversed(peaks[:-1]):
        node = node_hash(left, node)
    return node


def root(leaves: Sequence[bytes]) -> bytes:
    """The root of the tree over some leaf hashes."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return node_hash(root(leaves[:split]), root(leaves[split:]))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """What proves that a leaf is at its place in the tree over all of them, the lowest first."""
    assert 0 <= index < len(leaves)
    if len(leaves) == 1:
        return ()
    split = _split(len(leaves))
    if index < split:
        return (*inclusion_proof(leaves[:split], index), root(leaves[split:]))
    return (*inclusion_proof(leaves[split:], index - split), root(leaves[:split]))


def consistency_proof(leaves: Sequence[bytes], size: int) -> tuple[bytes, ...]:
    """What proves that the tree over all leaves begins with the tree over the first ``size`` of them."""
    assert 0 < size <= len(leaves)
    return _subproof(leaves, size, is_known=True)


def _subproof(leaves: Sequence[bytes], size: int, *, is_known: bool) -> tuple[bytes, ...]:
    if size == len(leaves):
        return () if is_known else (root(leaves),)
    split = _split(len(leaves))
    if size <= split:
        return (*_subproof(leaves[:split], size, is_known=is_known), root(leaves[split:]))
    return (*_subproof(leaves[split:], size - split, is_known=False), root(leaves[:split]))


def _split(count: int) -> int:
    """The largest power of two that is smaller."""
    return 1 << (count - 1).bit_length() - 1


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether a proof shows that a leaf is at its place in a tree. Source: RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    place, last, node = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            node = node_hash(step, node)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            node = node_hash(node, step)
        place >>= 1
        last >>= 1
    return last == 0 and node == expected_root


def is_consistent(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that the larger tree begins with the smaller one. Source: RFC 9162, section 2.1.4.2."""
    if first == second:
        return not proof and first_root == second_root
    if not 0 < first < second or not proof:
        return first == 0 and not proof and first_root == EMPTY_ROOT
    steps = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    place, last = first - 1, second - 1
    while place & 1:
        place >>= 1
        last >>= 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not place & 1 and place:
                place >>= 1
                last >>= 1
        else:
            new = node_hash(new, step)
        place >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == second_root


# --- tiles ---------------------------------------------------------------------------------------------------------


def tile_path(level: int | None, index: int, width: int) -> str:
    """Where a tile lies under the prefix of a log; a bundle of entries, with no level.

    >>> tile_path(0, 1234067, 256), tile_path(None, 0, 7)
    ('tile/0/x001/x234/067', 'tile/entries/000.p/7')
    """
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    name = "/".join(reversed(parts))
    kind = "entries" if level is None else str(level)
    return f"tile/{kind}/{name}" + (f".p/{width}" if width < TILE_WIDTH else "")


def tiles(leaves: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """The tiles of a tree, each with its path."""
    level, hashes = 0, list(leaves)
    while hashes:
        full: list[bytes] = []
        for start in range(0, len(hashes), TILE_WIDTH):
            part = hashes[start : start + TILE_WIDTH]
            yield tile_path(level, start // TILE_WIDTH, len(part)), b"".join(part)
            if len(part) == TILE_WIDTH:
                full.append(root(part))
        level, hashes = level + 1, full


def bundle(entries: Sequence[bytes]) -> bytes:
    """Up to 256 entries as one file."""
    assert len(entries) <= TILE_WIDTH and all(len(entry) <= ENTRY_BYTES_MAX for entry in entries)
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def entries_of_bundle(data: bytes, where: str = "") -> list[bytes]:
    """The entries in a bundle. Raises: ParseError."""
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        end = place + 2 + int.from_bytes(data[place : place + 2], "big")
        if end > len(data) or place + 2 > len(data):
            raise ParseError("a bundle of entries ends in the middle of one", where=where)
        entries.append(data[place + 2 : end])
        place = end
    if len(entries) > TILE_WIDTH:
        raise LimitExceeded("TILE_WIDTH", TILE_WIDTH, where=where)
    return entries


# --- notes and checkpoints -----------------------------------------------------------------------------------------


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How large a log was, and the root of its tree."""

    origin: str
    size: int
    root: bytes


class VerifierKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key with the name that it signs under."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """By which its signatures are found in a note."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


def parse_key(text: str) -> VerifierKey:
    """Read a public key as ``str`` writes it.

    >>> str(parse_key(str(VerifierKey(name="log.example", public=bytes(32))))).startswith("log.example+")
    True

    Raises: ParseError.
    """
    parts = text.strip().split("+", 2)
    try:
        name, number, data = parts
        decoded = base64.b64decode(data, validate=True)
        key = VerifierKey(name=name, public=decoded[1:])
        if decoded[:1] != _ED25519 or len(key.public) != HASH_BYTES or key.id.hex() != number or not _is_name(name):
            raise ValueError
    except ValueError:
        raise ParseError("this is no key that verifies signed notes", hint="NAME+ID+KEY") from None
    return key


def key_of(name: str, private: Ed25519PrivateKey) -> VerifierKey:
    """The public key that belongs to a private one, under a name."""
    assert _is_name(name)
    return VerifierKey(name=name, public=private.public_key().public_bytes_raw())


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not re.search(r"\s", name) and name.isprintable()


def signed_checkpoint(checkpoint: Checkpoint, name: str, private: Ed25519PrivateKey) -> str:
    """Write a checkpoint as a note, signed under a name."""
    assert _is_name(checkpoint.origin)
    text = f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"
    signature = key_of(name, private).id + private.sign(text.encode())
    return f"{text}\n{_DASH}{name} {base64.b64encode(signature).decode()}\n"


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Read a checkpoint that a key has signed.

    Raises:
        ParseError: it is no checkpoint, or the key has not signed it.
        LimitExceeded: it is too long, or has too many signatures.
    """
    if len(note.encode()) > NOTE_BYTES_MAX:
        raise LimitExceeded("NOTE_BYTES_MAX", NOTE_BYTES_MAX)
    text, blank, signatures = note.rpartition("\n\n")
    text += "\n"
    lines = signatures.splitlines()
    if len(lines) > SIGNATURES_MAX:
        raise LimitExceeded("SIGNATURES_MAX", SIGNATURES_MAX)
    if not blank or not note.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", note):
        raise ParseError("this is no signed note")
    if not any(_is_signed(line, text.encode(), key) for line in lines):
        raise ParseError("the checkpoint is not signed by the key of this log", hint=f"key {key.name}")
    return _checkpoint(text)


def _is_signed(line: str, text: bytes, key: VerifierKey) -> bool:
    # Loaded where it is needed: most commands that know of the log never verify it.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    try:
        signature = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise ParseError("a signature of the note cannot be read") from None
    if not line.startswith(_DASH) or (name, signature[:4]) != (key.name, key.id):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text)
    except InvalidSignature:
        raise ParseError("the signature of the checkpoint is wrong") from None
    return True


def _checkpoint(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) < 4 or not lines[0] or not re.fullmatch(r"0|[1-9][0-9]{0,15}", lines[1]):
        raise ParseError("this is no checkpoint", hint=shown(text))
    try:
        hashed = base64.b64decode(lines[2], validate=True)
    except ValueError:
        hashed = b""
    if len(hashed) != HASH_BYTES or int(lines[1]) > SIZE_MAX:
        raise ParseError("this is no checkpoint", hint=shown(text))
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=hashed)


# --- a log in files ------------------------------------------------------------------------------------------------


def read_log(read: Callable[[str], bytes], key: VerifierKey) -> tuple[Checkpoint, list[bytes]]:
    """Read a log in the form of tlog-tiles and verify all of it: signature, every entry, every tile.

    ``read`` gives the content of a path under the prefix of the log; what it raises goes through.

    Raises:
        ParseError: something in it is not as it was signed.
        LimitExceeded: as ``open_checkpoint`` and ``entries_of_bundle``.
    """
    try:
        checkpoint = open_checkpoint(read("checkpoint").decode(), key)
    except UnicodeDecodeError:
        raise ParseError("this is no signed note", where="checkpoint") from None
    entries: list[bytes] = []
    for start in range(0, checkpoint.size, TILE_WIDTH):
        width = min(TILE_WIDTH, checkpoint.size - start)
        path = tile_path(None, start // TILE_WIDTH, width)
        part = entries_of_bundle(read(path), path)
        if len(part) != width:
            raise ParseError(f"{len(part)} entries instead of {width}", where=path)
        entries += part
    leaves = [leaf_hash(entry) for entry in entries]
    for path, data in tiles(leaves):
        if read(path) != data:
            raise ParseError("a tile is not that of the entries", where=path)
    if root(leaves) != checkpoint.root:
        raise ParseError("the entries are not those of the signed checkpoint")
    return checkpoint, entries

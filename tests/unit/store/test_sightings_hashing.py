"""XXH64 against its published values and against itself written down plainly; columns of fixed width."""

import random

import pytest

from mingjian.store.sightings import hashing
from mingjian.store.sightings.columns import binaries
from mingjian.store.sightings.hashing import fixed_width, xxh64, xxh64_of


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"", 0xEF46DB3751D8E999),
        (b"a", 0xD24EC4F1A98C6E5B),
        (b"abc", 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_the_hash_of_known_texts_is_the_published_one(text: bytes, number: int) -> None:
    assert xxh64_of(text) == number
    assert xxh64(binaries([text])).tolist() == [number]


def test_many_at_once_are_hashed_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "ROWS_AT_ONCE", 100)
    chance = random.Random(3)
    texts = [chance.randbytes(size) for size in range(150) for _ in range(3)]
    chance.shuffle(texts)
    assert xxh64(binaries(texts)).tolist() == [xxh64_of(text) for text in texts]


def test_a_slice_of_a_column_has_the_hashes_of_its_own_rows() -> None:
    texts = [b"x" * size for size in range(50)]
    assert xxh64(binaries(texts).slice(7, 20)).tolist() == [xxh64_of(text) for text in texts[7:27]]


def test_no_column_has_no_hashes() -> None:
    assert xxh64(binaries([])).tolist() == []
    assert fixed_width(binaries([]), 8).tolist() == []


def test_a_column_of_fixed_width_has_the_beginnings_with_zeros_behind_short_ones() -> None:
    texts = [b"", b"a", b"12345678", b"123456789", b"1234567890123456789", b"a\0b"]
    assert [bytes(row) for row in fixed_width(binaries(texts), 16)] == [text[:16] for text in texts]

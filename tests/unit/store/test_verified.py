"""Files read in part: what comes out is what was written, or an error."""

import io
import os
from pathlib import Path
from random import Random

import pytest

from mingjian.errors import StorageError
from mingjian.store.verified import STRIPE_BYTES, VerifiedFile, stripe_checks

CHANCE = Random(3)
DATA = CHANCE.randbytes(3 * STRIPE_BYTES + 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def test_it_reads_like_any_other_file(path: Path) -> None:
    with VerifiedFile(path, stripe_checks(DATA)) as mine, io.BytesIO(DATA) as theirs:
        assert mine.readable()
        assert mine.seekable()
        for _ in range(300):
            offset, whence = CHANCE.choice([(CHANCE.randrange(len(DATA) + 9), 0), (-CHANCE.randrange(9), 2), (3, 1)])
            assert mine.seek(offset, whence) == theirs.seek(offset, whence)
            size = CHANCE.choice([0, 1, 8, STRIPE_BYTES, 2 * STRIPE_BYTES + 1, -1, None])
            assert mine.read(size) == theirs.read(size)
            assert mine.tell() == theirs.tell()


def test_damage_is_found_by_whoever_reads_that_part_and_by_nobody_else(path: Path) -> None:
    broken = bytearray(DATA)
    broken[STRIPE_BYTES + 7] ^= 1
    path.write_bytes(broken)
    with VerifiedFile(path, stripe_checks(DATA)) as file:
        assert file.read(STRIPE_BYTES) == DATA[:STRIPE_BYTES]
        with pytest.raises(StorageError, match="damaged"):
            file.read(1)
        file.seek(2 * STRIPE_BYTES)
        assert file.read() == DATA[2 * STRIPE_BYTES :]


@pytest.mark.parametrize("size", [0, STRIPE_BYTES, len(DATA) - 1, len(DATA) + 1, len(DATA) + STRIPE_BYTES])
def test_a_file_of_another_length_is_damaged(path: Path, size: int) -> None:
    os.truncate(path, size)
    with pytest.raises(StorageError, match="damaged"), VerifiedFile(path, stripe_checks(DATA)) as file:
        file.seek(-8, os.SEEK_END)
        file.read()


def test_an_empty_file_has_no_stripes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert stripe_checks(b"") == b""
    with VerifiedFile(tmp_path / "file", b"") as file:
        assert file.read() == b""

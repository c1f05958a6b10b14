"""Journals on disk: what is whole, what is torn, who sent what."""

import os
import zlib
from pathlib import Path
from random import Random

import pytest

from mingjian.errors import StateError
from mingjian.formats import registry
from mingjian.sources.journalfiles import (
    FRAME_BYTES,
    Frame,
    Preamble,
    chunks,
    damage,
    decode_frame,
    encode_frame,
    encode_header,
    encode_preamble,
    frames,
    frames_path,
    journals,
    open_journal,
    piece,
    received,
    recover,
    remove,
    sealing,
)

ID = "0123456789abcdef0123456789abcdef"
RUNS = ((b"one\ntwo\n", "192.0.2.1", 1), (b"three\n", "2001:db8::1", 2), (b"four\n", "192.0.2.1", 3))


def written(folder: Path, *, sealed: bool = False, name: str = ID) -> Path:
    """A journal of three runs, written by hand."""
    preamble = Preamble(
        mingjian_journal=1, id=name, format="text", listener="l", organisation="o", created_us=5_000_000
    )
    lines = encode_preamble(preamble)
    made = encode_header(name)
    for index, (text, address, at_us) in enumerate(RUNS):
        lines += text
        made += encode_frame(
            Frame(
                records=text.count(b"\n"),
                end=len(lines),
                received_us=at_us,
                address=address,
                port=514,
                checksum=zlib.crc32(text),
            ),
            name,
            index,
        )
    if sealed:
        made += encode_frame(sealing(len(lines), 9), name, len(RUNS))
    path = folder / f"{name}.log"
    path.write_bytes(lines)
    frames_path(path).write_bytes(made)
    return path


def text_of(path: Path) -> bytes:
    journal = open_journal(path)
    assert journal is not None
    return b"".join(chunks(journal))


def test_a_frame_comes_back_as_it_was_and_only_in_its_place() -> None:
    frame = Frame(
        flags=1, records=7, end=2**40, received_us=2**50, address="2001:db8::1", port=65_535, checksum=9, key=b"k" * 16
    )
    data = encode_frame(frame, ID, 3)
    assert len(data) == FRAME_BYTES
    assert decode_frame(data, ID, 3) == frame
    assert decode_frame(data, ID, 4) is None
    assert decode_frame(data, ID[::-1], 3) is None
    for place in range(FRAME_BYTES):
        assert decode_frame(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], ID, 3) is None


def test_the_usual_reader_reads_a_journal_behind_its_preamble(tmp_path: Path) -> None:
    journal = open_journal(written(tmp_path))
    assert journal is not None
    (block,) = registry.read(piece(journal))
    assert not isinstance(block, type(None))
    assert [block.record(row) for row in range(4)] == [{"_raw": text} for text in ("one", "two", "three", "four")]
    assert list(block.numbers) == [2, 3, 4, 5]
    (rest,) = registry.read(piece(journal, journal.first_offset + 8, 4))
    assert [rest.record(row)["_raw"] for row in range(2)] == ["three", "four"]


def test_each_line_knows_who_sent_it_and_when(tmp_path: Path) -> None:
    journal = open_journal(written(tmp_path, sealed=True))
    assert journal is not None
    first = journal.first_offset
    found = [received(journal, first + offset) for offset in (0, 7, 8, 13, 14, 18)]
    assert [(each.address, each.port, each.received_us) for each in found if each] == [
        ("192.0.2.1", 514, 1),
        ("192.0.2.1", 514, 1),
        ("2001:db8::1", 514, 2),
        ("2001:db8::1", 514, 2),
        ("192.0.2.1", 514, 3),
        ("192.0.2.1", 514, 3),
    ]
    assert received(journal, first + 19) is None
    assert received(journal, first - 1) is None


def test_what_no_frame_covers_is_not_there(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open("ab") as file:
        file.write(b"torn")
    frames_file = frames_path(path)
    os.truncate(frames_file, frames_file.stat().st_size - 1)
    assert text_of(path) == b"one\ntwo\nthree\n"


def test_a_torn_end_is_cut_off_and_kept_beside(tmp_path: Path) -> None:
    path = written(tmp_path)
    with path.open("ab") as file:
        file.write(b"torn")
    (sealed,) = recover(tmp_path)
    assert sealed.path == path
    journal = open_journal(path)
    assert journal is not None
    assert (journal.sealed, journal.torn_bytes, path.stat().st_size) == (True, 0, journal.end)
    assert path.with_suffix(".torn").read_bytes() == b"torn"
    assert text_of(path) == b"one\ntwo\nthree\nfour\n"
    assert recover(tmp_path) == []


def test_recovery_can_be_killed_between_any_two_of_its_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the N-th call that changes something, for every N, and recover again."""
    for count in range(12):
        folder = tmp_path / str(count)
        folder.mkdir()
        path = written(folder)
        with path.open("ab") as file:
            file.write(b"torn")
        left = [count]

        def failing(handle: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            try:
                recover(folder)
            except KeyboardInterrupt:
                assert text_of(path) == b"one\ntwo\nthree\nfour\n"
        recover(folder)
        assert text_of(path) == b"one\ntwo\nthree\nfour\n"
        assert b"torn" in path.with_suffix(".torn").read_bytes()


def test_a_damaged_frame_hides_nothing_behind_it(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = bytearray(frames_path(path).read_bytes())
    data[2 * FRAME_BYTES] ^= 1
    frames_path(path).write_bytes(data)
    journal = open_journal(path)
    assert journal is not None
    assert text_of(path) == b"one\ntwo\nthree\nfour\n"
    assert [frame is None for frame in frames(journal)] == [False, True, False]
    assert damage(journal) == [(journal.first_offset + 8, journal.first_offset + 19)]
    assert received(journal, journal.first_offset + 8) is None


def test_every_flipped_byte_is_detected_or_harmless(tmp_path: Path) -> None:
    chance = Random(5)
    path = written(tmp_path, sealed=True)
    whole = {each: each.read_bytes() for each in (path, frames_path(path))}
    for _ in range(400):
        file = chance.choice(list(whole))
        data = bytearray(whole[file])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)
        journal = open_journal(path)
        if journal is not None:
            text = b"".join(chunks(journal))
            assert text == b"one\ntwo\nthree\nfour\n" or damage(journal) or len(text) < 19
            if len(text) < 19:
                assert not journal.sealed or damage(journal) or journal.torn_bytes
        file.write_bytes(whole[file])
    for file, data in whole.items():
        for size in range(len(data)):
            os.truncate(file, size)
            journal = open_journal(path)
            assert journal is None or b"one\ntwo\nthree\nfour\n".startswith(b"".join(chunks(journal)))
            file.write_bytes(data)


def test_half_a_journal_is_no_journal_and_is_cleared_away(tmp_path: Path) -> None:
    whole = written(tmp_path, sealed=True)
    made = {
        "no-frames.log": b'{"mingjian_jour',
        "only.frames": encode_header("only"),
        "both.log": b"",
        "both.frames": b"",
    }
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "theirs.log").write_bytes(b"somebody else's\nlines\n")
    assert [each.path for each in journals(tmp_path)] == [whole]
    recover(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([whole.name, f"{ID}.frames", "theirs.log"])


def test_a_journal_is_removed_only_when_it_is_sealed(tmp_path: Path) -> None:
    path = written(tmp_path)
    journal = open_journal(path)
    assert journal is not None
    with pytest.raises(StateError):
        remove(journal)
    recover(tmp_path)
    (journal,) = journals(tmp_path)
    remove(journal)
    assert list(tmp_path.iterdir()) == []


def test_a_message_that_looks_like_an_archive_or_utf_16_stays_a_message(tmp_path: Path) -> None:
    """The format of a journal is stated, so no sender can choose how the others' lines are read."""
    path = written(tmp_path)
    journal = open_journal(path)
    assert journal is not None
    hostile = (b"\xff\xfe" + "x".encode("utf-16-le") * 300, b"PK\x03\x04" + bytes(100), b"\x1f\x8b\x08 x")
    head = path.read_bytes()[: journal.first_offset]
    path.write_bytes(head + b"\n".join(hostile) + b"\nplain\n")
    named = next(each for each in registry.FORMATS if each.name == "text")
    grown = Frame(records=4, end=path.stat().st_size, received_us=1, address="::", port=1, checksum=0)
    frames_path(path).write_bytes(encode_header(ID) + encode_frame(grown, ID, 0))
    journal = open_journal(path)
    assert journal is not None
    (block,) = named.read(piece(journal))
    assert block.record(3) == {"_raw": "plain"}

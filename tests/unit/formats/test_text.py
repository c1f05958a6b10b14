"""Lines, their numbers and offsets, and encodings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.formats import text
from mingjian.formats.text import Line, decode, is_text, is_utf16, line_batches, lines, normalised_head
from mingjian.model.blocks import Piece, Quarantined


def piece(*chunks: bytes, **more: int) -> Piece:
    return Piece(file="f", chunks=iter(chunks), **more)


def listed(*chunks: bytes, keep_empty: bool = False) -> list[tuple[int, int, bytes]]:
    found = lines(piece(*chunks), keep_empty=keep_empty)
    return [(line.number, line.offset, line.data) for line in found if isinstance(line, Line)]


def test_lines_are_numbered_and_know_their_offsets_whatever_ends_them() -> None:
    assert listed(b"a\r\n\nbc\nlast") == [(1, 0, b"a"), (3, 4, b"bc"), (4, 7, b"last")]
    assert listed(b"a\n\nb\n", keep_empty=True) == [(1, 0, b"a"), (2, 2, b""), (3, 3, b"b")]
    assert listed(b"") == []
    assert listed(b"\n") == []


def test_a_carriage_return_alone_ends_no_line() -> None:
    assert listed(b"a\rb\n") == [(1, 0, b"a\rb")]


def test_a_piece_from_the_middle_of_a_file_goes_on_counting() -> None:
    found = list(lines(piece(b"x\ny\n", first_number=10, first_offset=100)))
    assert found == [Line(10, 100, b"x"), Line(11, 102, b"y")]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert listed(b"\xef\xbb", b"\xbfa\nb") == [(1, 3, b"a"), (2, 5, b"b")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", [True, False])
def test_utf_16_is_read_as_utf_8_with_offsets_in_the_file(encoding: str, mark: bool) -> None:
    words = "first line\r\n\nsecond 日志 𐀀 line\nthird"
    data = ("\ufeff" * mark + words).encode(encoding)
    start = 2 * mark
    second = words[: words.index("second")].encode(encoding)
    third = words[: words.index("third")].encode(encoding)
    assert listed(*[data[at : at + 1] for at in range(len(data))]) == [
        (1, start, b"first line"),
        (3, start + len(second), "second 日志 𐀀 line".encode()),
        (4, start + len(third), b"third"),
    ]
    assert is_utf16(data)
    assert normalised_head(data) == words.encode()


def test_a_damaged_end_of_utf_16_is_marked_and_not_lost() -> None:
    assert listed("\ufeffab".encode("utf-16-le") + b"x") == [(1, 2, "ab\ufffd".encode())]
    lone = "\ufeffa\ud800b\nc".encode("utf-16-le", "surrogatepass")
    assert [number for number, _, _ in listed(lone)] == [1, 2]


def test_utf_8_and_gb18030_are_told_apart_line_by_line() -> None:
    mixed = "日志事件\n".encode() + "日志事件\n".encode("gb18030") + b"caf\xe9\n"
    assert [decode(data) for _, _, data in listed(mixed)] == ["日志事件", "日志事件", "caf\udce9"]


@given(st.binary(max_size=60))
def test_every_line_decodes_to_text_that_can_be_written_again(line: bytes) -> None:
    assert isinstance(decode(line).encode("utf-8", "surrogateescape"), bytes)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_valid_text_survives_in_both_encodings(words: str) -> None:
    assert decode(words.encode()) == words
    as_gb18030 = words.encode("gb18030")
    if not _is_utf8(as_gb18030):
        assert decode(as_gb18030) == words


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_a_line_that_is_too_long_is_quarantined_with_its_start_and_reading_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text, "LINE_BYTES_MAX", 10)
    data = b"ok\n" + b"x" * 11 + b"\nnext\n" + b"y" * 10 + b"\n" + b"z" * 30
    for size in (1, 3, 7, 100):
        found = list(lines(piece(*[data[at : at + size] for at in range(0, len(data), size)])))
        assert found == [
            Line(1, 0, b"ok"),
            Quarantined(file="f", record=2, offset=3, code="limit-exceeded", data=b"x" * 11,
                        reason="line of 11 bytes: more than LINE_BYTES_MAX allows (10)"),
            Line(3, 15, b"next"),
            Line(4, 20, b"y" * 10),
            Quarantined(file="f", record=5, offset=31, code="limit-exceeded", data=b"z" * 30,
                        reason="line of 30 bytes: more than LINE_BYTES_MAX allows (10)"),
        ]  # fmt: skip


def test_of_a_very_long_line_64_kib_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LINE_BYTES_MAX", 100_000)
    (found,) = lines(piece(*[b"ab" * 1000] * 100))
    assert isinstance(found, Quarantined)
    assert found.data == b"ab" * 32_768


def test_a_batch_ends_after_so_many_lines_or_bytes_wherever_the_chunks_are_cut() -> None:
    data = b"".join(b"%d\n" % number for number in range(100))
    for size in (1, 13, 1000):
        batches = list(line_batches(piece(*[data[at : at + size] for at in range(0, len(data), size)]), 30, 10**6))
        assert [batch.numbers[0] for batch in batches if not isinstance(batch, Quarantined)] == [1, 31, 61, 91]
        batches = list(line_batches(piece(*[data[at : at + size] for at in range(0, len(data), size)]), 1000, 50))
        sizes = [sum(map(len, batch.lines)) for batch in batches if not isinstance(batch, Quarantined)]
        assert sizes == [50, 50, 50, 40]


_LINE_PARTS = st.lists(
    st.sampled_from([b"a", b"\n", b"\r\n", b"\r", "日".encode(), "日".encode("gb18030"), b"\xff", b"\0", b"x" * 30]),
    max_size=40,
)


@given(
    _LINE_PARTS, st.lists(st.integers(1, 9), min_size=1, max_size=20), st.sampled_from(["", "utf-16-le", "utf-16-be"])
)
def test_how_the_bytes_are_cut_never_changes_the_lines(parts: list[bytes], cuts: list[int], encoding: str) -> None:
    data = b"".join(parts)
    if encoding:
        data = ("\ufeff" + data.decode("latin-1")).encode(encoding)
    pieces = []
    rest = data
    while rest:
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(rest[:size])
        rest = rest[size:]
    assert list(lines(piece(*pieces))) == list(lines(piece(data)))
    assert list(lines(piece(*pieces), keep_empty=True)) == list(lines(piece(data), keep_empty=True))


@given(_LINE_PARTS)
def test_lines_are_what_splitting_at_line_feeds_gives(parts: list[bytes]) -> None:
    data = b"x" + b"".join(parts)
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    found = listed(data, keep_empty=True)
    if not is_utf16(data):
        assert [line for _, _, line in found] == [line.removesuffix(b"\r") for line in expected]
        assert all(data[offset : offset + len(line)] == line for _, offset, line in found)


def test_text_is_told_from_binary() -> None:
    assert is_text(b"")
    assert is_text("Nov 20 日志\tok\x1b[0m\r\n".encode())
    assert is_text("日志".encode("gb18030"))
    assert is_text(b"line\n" * 10 + bytes(10))
    assert not is_text(bytes(range(32)) * 10)
    assert not is_text(b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0" * 4)


def test_lines_in_no_format_become_records_with_the_line_as_raw() -> None:
    (block,) = text.read(piece("a\n\n日志".encode()))
    assert not isinstance(block, Quarantined)
    assert list(block.numbers) == [1, 3]
    assert block.record(1) == {"_raw": "日志"}
    assert block.raw(1) == "日志".encode()

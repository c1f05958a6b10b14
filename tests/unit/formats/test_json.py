"""JSON lines: which lines are records, and that a projection never differs from the whole record."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.leaves import all_leaves, leaves
from mingjian.errors import LimitExceeded, ParseError, SchemaError
from mingjian.formats.json import JsonBlock, Whole, parse_record, read_lines, read_records, recognise_lines
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.values import MISSING, find

PATHS = ["a", "a.b", "a.b.c", "a.0", "Channel", "x"]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
keys = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c", "x", "Channel", ""])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
records = st.dictionaries(keys, values, max_size=5)


def read(data: bytes, cut: int = 7, paths: tuple[str, ...] = ()) -> tuple[list[tuple[int, dict]], list[Quarantined]]:
    """Read bytes cut into small chunks; give the numbered records and the quarantine."""
    chunks: Iterator[bytes] = (data[at : at + cut] for at in range(0, len(data), cut))
    found: list[tuple[int, dict]] = []
    bad: list[Quarantined] = []
    for item in read_lines(Piece(file="f", chunks=chunks, first_paths=lambda sample: paths)):
        if isinstance(item, Quarantined):
            bad.append(item)
        else:
            found += [(number, item.record(row)) for row, number in enumerate(item.numbers)]
    return sorted(found, key=lambda pair: pair[0]), bad


@given(st.lists(records, min_size=1, max_size=6), st.integers(1, 40))
def test_every_column_is_what_the_whole_record_holds(written: list[dict], cut: int) -> None:
    data = b"\n".join(json.dumps(record).encode("utf-8", "surrogatepass") for record in written)
    chunks = (data[at : at + cut] for at in range(0, len(data), cut))
    for block in read_lines(Piece(file="f", chunks=chunks, first_paths=lambda sample: ("Channel", "a.b"))):
        assert not isinstance(block, Quarantined)
        whole = [block.record(row) for row in range(len(block.numbers))]
        for path, column in zip(PATHS, block.columns(PATHS), strict=True):
            assert list(column) == [find(record, path) for record in whole]
        rows = list(range(0, len(whole), 2))
        taken = block.take(rows)
        assert [taken.record(place) for place in range(len(rows))] == [whole[row] for row in rows]
        for path, column in zip(PATHS, block.columns(PATHS, rows), strict=True):
            assert list(column) == [find(whole[row], path) for row in rows] == list(taken.column(path))


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"{}", b'{"a":1}', b"", b"[1]"]), max_size=8), st.data())
def test_cuts_do_not_change_what_is_read(lines: list[bytes], data: st.DataObject) -> None:
    joined = b"\n".join(lines)
    cut = data.draw(st.integers(1, max(1, len(joined))))
    assert read(joined, cut) == read(joined, max(1, len(joined)))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"a":1e999}', {"a": "1e999"}),
        (b'{"a":"\\ud800"}', {"a": "\ud800"}),
        (b'{"a":"\xff"}', {"a": "\udcff"}),
        ('{"名":"日志"}'.encode("gb18030"), {"名": "日志"}),
        (b'{"a":' + b"9" * 5_000 + b"}", {"a": "9" * 5_000}),
        (b'{"a":123456789012345678901234567890}', {"a": 123456789012345678901234567890}),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_what_a_sloppy_producer_writes_is_kept(line: bytes, expected: dict) -> None:
    assert parse_record(line) == expected
    records, bad = read(line + b'\n{"a":0}\n')
    assert records == [(1, expected), (2, {"a": 0})]
    assert not bad


def test_a_deep_value_is_kept_and_has_no_text_and_a_bottomless_one_is_quarantined() -> None:
    deep = b'{"a":' + b"[" * 300 + b'"x"' + b"]" * 300 + b',"b":' + b'{"k":' * 300 + b"1" + b"}" * 300 + b"}"
    records, bad = read(deep + b'\n{"a":' + b"[" * 100_000)
    (record,) = [record for _, record in records]
    assert list(leaves(record["a"])) == ["x"]
    assert list(leaves(record["b"])) == ['"…"']
    assert all_leaves(record) == ["x", 1]
    assert [(entry.record, entry.code) for entry in bad] == [(2, "limit-exceeded")]


def test_an_odd_line_does_not_spoil_the_columns_of_its_neighbours() -> None:
    data = b'{"a":1}\n{"a":1e999,"b":"\xff"}\n{"b":2}'
    (block,) = list(read_lines(Piece(file="f", chunks=iter([data]), first_paths=lambda sample: ("b",))))
    assert isinstance(block, JsonBlock)
    assert list(block.column("a")) == [1, "1e999", MISSING]
    assert list(block.column("b")) == [MISSING, "\udcff", 2]


def test_a_number_out_of_range_in_a_field_nobody_asked_for_first_is_found_later() -> None:
    data = b'{"a":1e999,"b":1}'
    (block,) = list(read_lines(Piece(file="f", chunks=iter([data]), first_paths=lambda sample: ("b",))))
    assert isinstance(block, JsonBlock)
    assert list(block.column("a")) == ["1e999"]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"a":', ParseError),
        (b'{"a":1} x', ParseError),
        (b"[1]", SchemaError),
        (b'"text"', SchemaError),
        (b'{"a":' + b"[" * 100_000, LimitExceeded),
    ],
)
def test_what_is_no_object_is_refused_by_name(line: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_record(line)


def test_quarantine_names_line_offset_and_reason_and_reading_goes_on() -> None:
    records, bad = read(b'{"a":1}\n\n{broken\r\n{"a":2}\n')
    assert records == [(1, {"a": 1}), (4, {"a": 2})]
    (entry,) = bad
    assert (entry.file, entry.record, entry.offset, entry.code, entry.data) == ("f", 3, 9, "parse-error", b"{broken")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b'{"a":1}\n{"b":2}', True),
        (b'\n\n{"a":1}', True),
        (b'{"Records":[{"a":1}]}', False),
        (b'{\n "a": 1\n}', False),
        (b'[{"a":1}]', False),
        (b"a,b\n1,2", False),
        (b'{"a":"' + b"x" * 9000, True),
    ],
)
def test_json_lines_are_told_from_other_json_by_the_first_line(head: bytes, expected: bool) -> None:
    assert recognise_lines(head, "any") is expected


@pytest.mark.parametrize(
    "line",
    [
        b'{"m":"run MIMIKATZ now"}',
        b'{"m":"run mimi\\u006batz now"}',
        '{"m":"run mimi\u212aatz"}'.encode(),
        b'{"m":"run mimi\\u212aatz"}',
        b'{"m":"\xff mimikatz"}',
    ],
)
def test_the_sieve_never_misses_a_keyword_however_it_is_written(line: bytes) -> None:
    (block,) = list(read_lines(Piece(file="f", chunks=iter([b'{"m":"no"}\n' + line]))))
    assert not isinstance(block, Quarantined)
    found = block.containing(["mimikatz"])
    assert found is not None
    assert 1 in found


def test_the_sieve_passes_over_records_without_the_keyword_and_gives_up_on_what_it_cannot_look_for() -> None:
    (block,) = list(read_lines(Piece(file="f", chunks=iter([b'{"m":"nothing"}\n{"m":"a/b"}']))))
    assert not isinstance(block, Quarantined)
    assert block.containing(["mimikatz"]) == []
    assert block.containing(["/"]) is None


def test_a_carriage_return_before_the_line_feed_is_no_part_of_a_line() -> None:
    block = list(read_lines(Piece(file="f", chunks=iter([b'{"a":1}\r\n\r\n{"a":2}\r\nbad\r\n{"a":3}\r']))))
    blocks = [item for item in block if not isinstance(item, Quarantined)]
    (bad,) = [item for item in block if isinstance(item, Quarantined)]
    rows = [(item.numbers[row], item.raw(row), item.record(row)) for item in blocks for row in range(len(item.numbers))]
    assert rows == [(1, b'{"a":1}', {"a": 1}), (3, b'{"a":2}', {"a": 2}), (5, b'{"a":3}', {"a": 3})]
    assert (bad.record, bad.offset, bad.data) == (4, 20, b"bad")


# --- whole records ---------------------------------------------------------------------------------------------------

ODD_LINES = [
    b"{}", b'{"a":1}', b"", b" ", b"\r", b"[1]", b"{", b"}", b'{"a":1,', b'"b":2}', b"{}{}", b'{"a":1}{"b":2}',
    b'{"a":[{}', b"{}]}", b' {"a":1}', b'{"a":1} ', b'{"a":1}\r', b'{"a":"}', b'{"b":"}', b'{"a":1}}',
    b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":NaN}', b'{"a":18446744073709551616}', b'{"a":1e400}',
    b'{"a":1}\t', b"\xef\xbb\xbf{}", b'{"a":"\x01"}', b'{"a":{"b":{}}}',
]  # fmt: skip
lines_of_logs = st.lists(
    st.sampled_from(ODD_LINES) | records.map(lambda record: json.dumps(record).encode("utf-8", "surrogatepass")),
    max_size=12,
)


def read_whole(data: bytes, cut: int) -> tuple[list[tuple[int, dict]], list[Quarantined], list[int]]:
    """The same as ``read`` by the reader of whole records; and how many lines it says there were."""
    chunks: Iterator[bytes] = (data[at : at + cut] for at in range(0, len(data), cut))
    found: list[tuple[int, dict]] = []
    bad: list[Quarantined] = []
    counted: list[int] = []
    for item in read_records(Piece(file="f", chunks=chunks, first_number=5, first_offset=70, on_lines=counted.append)):
        if isinstance(item, Quarantined):
            bad.append(item)
            continue
        block = item.block() if isinstance(item, Whole) else item
        held = [block.record(row) for row in range(len(block.numbers))]
        if isinstance(item, Whole):
            assert repr(item.records) == repr(held)
            assert list(item.numbers) == list(block.numbers)
        found += zip(block.numbers, held, strict=True)
    return found, bad, counted


@given(lines_of_logs, st.booleans(), st.data())
def test_whole_records_are_those_of_the_lines_one_by_one(
    lines: list[bytes], is_ended: bool, data: st.DataObject
) -> None:
    joined = b"\n".join(lines) + (b"\n" if is_ended else b"")
    cut = data.draw(st.integers(1, max(1, len(joined))))
    counted: list[int] = []
    piece = Piece(file="f", chunks=iter([joined]), first_number=5, first_offset=70, on_lines=counted.append)
    expected: list[tuple[int, dict]] = []
    refused: list[Quarantined] = []
    for item in read_lines(piece):
        if isinstance(item, Quarantined):
            refused.append(item)
        else:
            expected += [(number, item.record(row)) for row, number in enumerate(item.numbers)]
    found, bad, also_counted = read_whole(joined, cut)
    assert repr(found) == repr(expected)
    assert sorted(bad, key=lambda each: each.record) == sorted(refused, key=lambda each: each.record)
    assert also_counted == counted


def test_many_lines_and_long_ones_come_as_blocks_that_are_not_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mingjian.formats.json.BLOCK_RECORDS_MAX", 10)
    monkeypatch.setattr("mingjian.formats.json.PORTION_BYTES_MAX", 2_000)
    data = b"".join(b'{"a":%d}\n' % number for number in range(95)) + b'{"a":"' + b"x" * 3_000 + b'"}\n{"a":95}\n'
    for cut in (50, 400, 10_000):
        chunks = (data[at : at + cut] for at in range(0, len(data), cut))
        wholes = [item for item in read_records(Piece(file="f", chunks=chunks)) if isinstance(item, Whole)]
        assert [number for item in wholes for number in item.numbers] == list(range(1, 98))
        assert [record["a"] for item in wholes for record in item.records if record["a"] != "x" * 3_000] == list(
            range(96)
        )
        if cut < 2_000:
            assert max(len(item.records) for item in wholes if item.numbers[0] < 90) <= 10


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("cut", [3, 700, 100_000])
def test_whole_records_are_read_in_every_encoding(encoding: str, cut: int) -> None:
    data = "".join(json.dumps({"a": number, "名": "日志"}, ensure_ascii=False) + "\n" for number in range(90))
    encoded = (data + "bad\n").encode(encoding)
    chunks = (encoded[at : at + cut] for at in range(0, len(encoded), cut))
    items = list(read_records(Piece(file="f", chunks=chunks)))
    wholes = [item for item in items if isinstance(item, Whole)]
    blocks = [item for item in items if not isinstance(item, Whole | Quarantined)]
    (bad,) = [item for item in items if isinstance(item, Quarantined)]
    found = [record for item in wholes for record in item.records]
    found += [block.record(row) for block in blocks for row in range(len(block.numbers))]
    assert found == [{"a": number, "名": "日志"} for number in range(90)]
    assert (bad.record, bad.offset) == (91, len(encoded) - (8 if encoding.startswith("utf-16") else 4))

"""Event logs: values and types, damage, and what decoders make of the same files."""

import io
import struct
import warnings
from pathlib import Path
from typing import Any

import pytest
from evtx import PyEvtxParser
from hypothesis import given, settings
from hypothesis import strategies as st

import evtxfile
from evtxfile import CHUNK, HEADER, Element, event, guid, number, sample, text
from mingjian.formats import evtx, registry
from mingjian.formats.winxml import parse_event_xml
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.values import EMPTY, Record


def read(*chunks: bytes, **more: int) -> tuple[list[tuple[int, Record]], list[Quarantined]]:
    records: list[tuple[int, Record]] = []
    problems: list[Quarantined] = []
    for item in evtx.read(Piece(file="f", chunks=iter(chunks), **more)):
        if isinstance(item, Quarantined):
            problems.append(item)
        else:
            assert item.format == "evtx"
            records += [(number, item.record(row)) for row, number in enumerate(item.numbers)]
    return records, problems


def ids(data: bytes) -> list[int]:
    return [number for number, _ in read(data)[0]]


def test_an_event_becomes_a_flat_record_with_the_names_and_types_of_its_fields() -> None:
    ((number_, record),), problems = read(sample(1))
    assert problems == []
    assert number_ == 100
    assert record == {
        "Provider_Name": "Test-Provider",
        "Provider_Guid": "{5770385F-C22A-43E0-BF4C-06F5698FFBD9}",
        "EventID": 1,
        "Version": 5,
        "Level": 4,
        "Task": 1,
        "Opcode": 0,
        "Keywords": "0x8000000000000000",
        "TimeCreated_SystemTime": "2023-12-30T12:00:00.000000Z",
        "EventRecordID": 100,
        "Correlation": EMPTY,
        "Execution_ProcessID": 1234,
        "Execution_ThreadID": 0,
        "Channel": "Test/Operational",
        "Computer": "host.example",
        "RuleName": EMPTY,
        "Image": r"C:\Windows\0.exe",
        "ProcessId": 0,
        "Initiated": True,
        "ThreatName": "日志",
        "Blob": "01FF",
        "ProcessGuid": "{00247C92-858E-5F7B-0000-00106B29202B}",
    }


def one(data: list[Any], **more: Any) -> Record:
    records, problems = read(evtxfile.evtx([event(1, data, **more)]))
    assert problems == []
    return records[0][1]


def test_unnamed_data_is_one_field_and_a_list_if_there_are_several() -> None:
    assert one([(None, text("x"))])["Data"] == "x"
    assert one([(None, text("x")), (None, text("")), (None, number(5))])["Data"] == ["x", EMPTY, 5]


def test_a_name_that_occurs_twice_is_a_list() -> None:
    record = one([("a", text("1")), ("b", text('x":')), ("a", text("")), ("a", number(3))])
    assert record["a"] == ["1", EMPTY, 3]
    assert record["b"] == 'x":'


def test_user_data_gives_its_leaves_and_the_name_of_what_holds_them() -> None:
    inner = Element("LogFileCleared", {"xmlns": "urn:x"}, [
        Element("SubjectUserName", {}, [text("me")]),
        Element("Channel", {}, [text("Security")]),
        Element("Deep", {}, [Element("Leaf", {"unit": "s"}, [number(1)]), Element("Leaf", {}, [number(2)])]),
    ])  # fmt: skip
    record = one([inner], user_data=True, channel="System", event_id=104)
    assert record["SubjectUserName"] == "me"
    assert record["Channel"] == "System"
    assert record["UserData_Channel"] == "Security"
    assert record["UserData_Name"] == "LogFileCleared"
    assert record["Leaf"] == [1, 2]
    assert record["Leaf_unit"] == "s"


def test_a_guid_under_a_name_that_says_uuid_stays_bare() -> None:
    record = one([("InterfaceUuid", guid("367abb81-9844-35f1-ad32-98f038001003"))])
    assert record["InterfaceUuid"] == "367ABB81-9844-35F1-AD32-98F038001003"


def test_a_record_may_be_written_without_template() -> None:
    chunk = evtxfile.Chunk()
    chunk.record(7, Element("Event", {}, [Element("System", {}, [Element("EventID", {}, ["4"])])]), template=False)
    assert read(evtxfile.header(1) + chunk.bytes()) == ([(7, {"EventID": "4"})], [])


def test_many_chunks_are_read_in_order_and_empty_ones_passed_over() -> None:
    data = sample(300, per_chunk=3)
    assert len(data) == HEADER + 100 * CHUNK
    assert ids(data) == list(range(100, 400))
    assert ids(data[: HEADER + CHUNK] + bytes(3 * CHUNK) + data[HEADER + CHUNK :]) == list(range(100, 400))
    assert ids(data[:HEADER] + bytes(CHUNK)) == []


def test_a_run_of_chunks_is_read_without_the_rest() -> None:
    data = sample(12, per_chunk=3)
    each = next(each for each in registry.FORMATS if each.name == "evtx")
    assert (each.header_bytes, each.stride_bytes) == (HEADER, CHUNK)
    start = each.header_bytes + 2 * each.stride_bytes
    records, problems = read(data[start:], first_offset=start)
    assert [number for number, _ in records] == list(range(106, 112))
    assert problems == []


def test_the_counts_in_the_headers_are_not_believed() -> None:
    data = bytearray(sample(9, per_chunk=3))
    data[42:44] = b"\1\0"
    data[120:124] = b"\1\0\0\0"  # dirty
    assert ids(bytes(data)) == list(range(100, 109))
    start = HEADER + CHUNK
    data[start + 32 : start + 40] = struct.pack("<Q", 1)
    data[start + 48 : start + 52] = struct.pack("<I", 512)
    assert ids(bytes(data)) == list(range(100, 109))


def test_a_chunk_that_was_copied_while_it_was_written_gives_all_its_records() -> None:
    data = bytearray(sample(3))
    second = struct.unpack_from("<I", data, HEADER + 512 + 4)[0] + 512
    data[HEADER + 48 : HEADER + 52] = struct.pack("<I", second)  # where the header thinks the free space begins
    assert ids(bytes(data)) == [100, 101, 102]


def test_a_damaged_record_is_quarantined_with_its_bytes_and_the_others_are_read() -> None:
    data = bytearray(sample(3))
    size = struct.unpack_from("<I", data, HEADER + 512 + 4)[0]
    second = HEADER + 512 + size
    data[second + 24] = 0xFF  # its first token
    records, (problem,) = read(bytes(data))
    assert [number for number, _ in records] == [100, 102]
    assert (problem.record, problem.offset, problem.code) == (2, second, "parse-error")
    assert problem.data == bytes(data[second : second + len(problem.data)])
    assert "0xff" in problem.reason


def test_a_damaged_header_of_a_record_is_stepped_over() -> None:
    data = bytearray(sample(3))
    size = struct.unpack_from("<I", data, HEADER + 512 + 4)[0]
    second = HEADER + 512 + size
    third = second + struct.unpack_from("<I", data, second + 4)[0]
    data[second : second + 8] = b"\xee" * 8
    records, (problem,) = read(bytes(data))
    assert [number for number, _ in records] == [100, 102]
    assert (problem.offset, problem.data) == (second, bytes(data[second:third]))
    assert problem.reason == "damaged records"


def test_a_chunk_without_its_signature_is_named_and_its_records_are_read() -> None:
    data = bytearray(sample(3))
    data[HEADER : HEADER + 8] = b"NotChunk"
    records, (problem,) = read(bytes(data))
    assert [number for number, _ in records] == [100, 101, 102]
    assert problem.reason == "the header of a chunk is damaged"
    data[HEADER + 512 :] = b"x" * (len(data) - HEADER - 512)
    records, (problem,) = read(bytes(data))
    assert records == []
    assert (problem.offset, len(problem.data)) == (HEADER, CHUNK)


def test_of_a_file_that_is_cut_off_whole_records_are_read() -> None:
    data = sample(6, per_chunk=3)
    size = struct.unpack_from("<I", data, HEADER + CHUNK + 512 + 4)[0]
    cut = HEADER + CHUNK + 512 + size + 50
    records, (problem,) = read(data[:cut])
    assert [number for number, _ in records] == [100, 101, 102, 103]
    assert (problem.offset, problem.reason) == (cut - 50, "cut off inside a chunk")
    assert problem.data == data[cut - 50 : cut]
    assert read(data[:100])[1][0].reason == "the file ends inside its header"
    assert read(data[:HEADER]) == ([], [])


def test_a_chain_of_strings_that_bites_its_tail_does_not_hold_us_up() -> None:
    data = bytearray(sample(3))
    at = struct.unpack_from("<I", data, HEADER + 512 + 24 + 4 + 24 + 10 + 4)[0]
    data[HEADER + 128 : HEADER + 384] = struct.pack("<I", 600) * 64
    data[HEADER + 600 : HEADER + 604] = struct.pack("<I", 600)
    assert at >= 0
    assert len(read(bytes(data))[0]) + len(read(bytes(data))[1]) >= 1


class _Panic(BaseException):
    """Stands for a panic of the decoder, which is no Exception."""


_Panic.__name__ = "PanicException"


def test_a_panic_of_the_decoder_costs_only_the_record_that_causes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Panicking:
        """Panics whenever it comes to the record with the number 2."""

        def __init__(self, stream: io.BytesIO, **options: Any) -> None:
            self.inner = PyEvtxParser(stream, **options).records_json()

        def records_json(self) -> "Panicking":
            return self

        def __iter__(self) -> "Panicking":
            return self

        def __next__(self) -> Any:
            record = next(self.inner)
            if record["event_record_id"] == 2:
                raise _Panic("boom")
            return record

    monkeypatch.setattr("evtx.PyEvtxParser", Panicking)
    records, (problem,) = read(sample(3))
    assert [number for number, _ in records] == [100, 102]
    assert problem.record == 2
    assert "gave up" in problem.reason


def test_an_interruption_is_not_taken_for_a_panic(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evtx.PyEvtxParser", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read(sample(1))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=8), st.integers(0, 2 * CHUNK), st.booleans())
def test_how_the_bytes_are_cut_never_changes_the_events(sizes: list[int], at: int, cut_off: bool) -> None:
    data = bytearray(sample(6, per_chunk=3))
    data[HEADER + at % (2 * CHUNK) : HEADER + at % (2 * CHUNK) + 3] = b"\xaa\xbb\xcc"
    if cut_off:
        del data[HEADER + at :]
    pieces: list[bytes] = []
    rest = bytes(data)
    while rest:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(rest[:size])
        rest = rest[size:]
    assert read(*pieces) == read(bytes(data))


def _files(shared_data: Path) -> list[Path]:
    folders = ("evtx-attack-samples", "sigma-regression")
    return sorted(path for folder in folders for path in (shared_data / folder).rglob("*.evtx"))


def _comparable(record: Record) -> dict[str, object]:
    """Everything as text with white space and line ends evened out, since XML does not keep them."""

    def even(value: object) -> object:
        if isinstance(value, list):
            return [even(item) for item in value]
        if isinstance(value, bool):
            return str(value).lower()
        words = "" if value is EMPTY else str(value)
        return " ".join("".join("\ufffd" if ord(c) < 32 and c not in "\t\r\n" else c for c in words).split())

    return {name: even(value) for name, value in record.items()}


def test_all_real_files_are_read_whole_and_agree_with_their_xml(shared_data: Path) -> None:
    """The other way round: the decoder's XML, read by our reader of XML, gives the same names and values."""
    events = 0
    for path in _files(shared_data):
        records, problems = read(path.read_bytes())
        assert problems == []
        events += len(records)
        with warnings.catch_warnings():
            rendered = [record["data"] for record in PyEvtxParser(str(path), number_of_threads=1).records()]
        assert len(rendered) == len(records)
        for (number_, record), xml in zip(records, rendered, strict=True):
            other = parse_event_xml(xml.partition("?>")[2])
            assert other["EventRecordID"] == number_
            assert _comparable(record) == _comparable(other)
    assert events == 8335  # 8,255 attack samples and 80 of the regression cases


def test_real_files_are_cut_into_runs_of_chunks_without_loss(shared_data: Path) -> None:
    for path in _files(shared_data)[:20]:
        data = path.read_bytes()
        whole, _ = read(data)
        parts: list[tuple[int, Record]] = []
        for start in range(HEADER, len(data), 2 * CHUNK):
            parts += read(data[start : start + 2 * CHUNK], first_offset=start)[0]
        assert parts == whole

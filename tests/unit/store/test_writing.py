"""Segment files: whole or not there, and plain Parquet for everybody else."""

import os
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mingjian.errors import StorageError
from mingjian.formats.records import RecordBlock
from mingjian.model.values import Record
from mingjian.store import segments as segments_module
from mingjian.store import writing
from mingjian.store.blocks import Segment
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import InputRecords, Rows, SegmentBuilder, SegmentKey, stream_folder
from mingjian.store.writing import parquet_bytes, write_segment

KEY = SegmentKey(organisation=OrganisationId(1), stream="windows/sysmon/1", layout="l", format="jsonl", month=657)


def builder_of(records: list[Record], first: int = 1, input_id: int = 7) -> SegmentBuilder:
    builder = SegmentBuilder(KEY)
    add(builder, records, first, input_id)
    return builder


def add(builder: SegmentBuilder, records: list[Record], first: int, input_id: int) -> None:
    numbers = range(first, first + len(records))
    builder.add(Rows(RecordBlock("jsonl", numbers, records), range(len(records)), list(numbers), input_id))


def file_of(folder: Path, builder: SegmentBuilder) -> Path:
    path = folder / "s.parquet"
    path.write_bytes(parquet_bytes(builder.finished()))
    return path


def test_a_segment_lies_under_its_organisation_stream_and_day(tmp_path: Path) -> None:
    written = write_segment(tmp_path, "abc", builder_of([{"a": 1}]), 42)
    assert written.path == "organisation=abc/stream=windows.sysmon.1/month=2024-10/0000000042.parquet"
    assert (written.id, written.rows, written.first_us, written.last_us) == (42, 1, 1, 1)
    assert written.bytes == (tmp_path / written.path).stat().st_size
    assert written.inputs == (InputRecords(7, 1, 1, 1),)


def test_records_are_ordered_by_input_and_number(tmp_path: Path) -> None:
    builder = builder_of([{"n": 5}, {"n": 6}], first=5, input_id=9)
    add(builder, [{"n": 1}, {"n": 2}], 1, 9)
    add(builder, [{"n": 50}], 50, 3)
    written = write_segment(tmp_path, "abc", builder, 1)
    assert written.inputs == (InputRecords(3, 50, 50, 1), InputRecords(9, 1, 6, 4))
    with Segment(tmp_path / written.path, written.content_hash) as segment:
        block = segment.block(0)
        found = list(zip(block.inputs.tolist(), block.numbers, block.column("n"), strict=True))
    assert found == [(3, 50, 50), (9, 1, 1), (9, 2, 2), (9, 5, 5), (9, 6, 6)]


@pytest.mark.parametrize("broken", ["fsync", "mkdir", "replace", "write"])
def test_a_file_that_cannot_be_written_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if broken == "fsync":
            patch.setattr(os, "fsync", fail)
        elif broken == "write":
            patch.setattr(Path, "open", fail)
        else:
            patch.setattr(Path, broken, fail)
        with pytest.raises(StorageError, match="No space left"):
            write_segment(tmp_path, "abc", builder_of([{"a": 1}]), 1)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    write_segment(tmp_path, "abc", builder_of([{"a": 1}]), 1)


def test_other_programs_read_it_as_it_is(tmp_path: Path) -> None:
    records: list[Record] = [
        {
            "EventID": n % 3,
            "Image": f"C:\\{n % 5}.exe",
            "winlog": {"event_data": {"User": f"u{n}"}},
            "Score": n / 2,
            "ok": n > 5,
        }
        for n in range(500)
    ]
    path = file_of(tmp_path, builder_of(records))
    relation = duckdb.connect().sql(
        f"""SELECT "EventID", "Image", "winlog.event_data.User", "Score", "ok", _record, epoch_us(_time)
        FROM read_parquet('{path}') ORDER BY _record"""
    )
    assert relation.fetchall() == [(n % 3, f"C:\\{n % 5}.exe", f"u{n}", n / 2, n > 5, n + 1, n + 1) for n in range(500)]
    schema = pq.read_schema(path)
    assert [str(schema.field(name).type) for name in ("_time", "EventID", "Image", "Score", "ok")] == [
        "timestamp[us, tz=UTC]",
        "int64",
        "string",
        "double",
        "bool",
    ]


def test_names_that_differ_in_case_alone_are_different_columns(tmp_path: Path) -> None:
    path = file_of(tmp_path, builder_of([{"a": 1, "A": 2, "_time": 3, "a#2": 4, "": 5, "x" * 300: 6, "b\n": 7}]))
    names = pq.read_schema(path).names
    assert len({name.casefold() for name in names}) == len(names)
    assert max(map(len, names)) <= 203
    assert duckdb.connect().sql(f"SELECT * FROM read_parquet('{path}')").columns == names


def test_rows_are_cut_into_groups_each_with_its_own_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROW_GROUP_ROWS_MAX", 300)
    records: list[Record] = [{"part": f"p{n // 300}", "same": "x", "n": n} for n in range(1000)]
    with Segment(file_of(tmp_path, builder_of(records))) as segment:
        assert segment.row_groups == 4
        blocks = list(segment.blocks())
        assert [len(block) for block in blocks] == [300, 300, 300, 100]
        assert [block.encoded("part")[1] for block in blocks] == [["p0"], ["p1"], ["p2"], ["p3"]]
        assert [value for block in blocks for value in block.column("n")] == list(range(1000))


@pytest.mark.parametrize("distinct", [1200, 400])
def test_a_group_of_long_texts_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distinct: int) -> None:
    monkeypatch.setattr(writing, "ROW_GROUP_CHARACTERS_MAX", 100_000)
    texts = ["x" * 99 + f"{n % distinct:05}" for n in range(1200)]
    texts[600] = "y" * 200_000
    records: list[Record] = [{"long": text, "short": "s"} for text in texts]
    with Segment(file_of(tmp_path, builder_of(records))) as segment:
        blocks = list(segment.blocks())
        assert [len(block) for block in blocks] == [600, 1, 599]
        assert [value for block in blocks for value in block.column("long")] == texts


def test_a_group_of_ever_new_long_texts_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROW_GROUP_CHARACTERS_MAX", 100_000)
    texts = [f"{n:010}" for n in range(20_000)]
    with Segment(file_of(tmp_path, builder_of([{"long": text} for text in texts]))) as segment:
        blocks = list(segment.blocks())
        assert [len(block) for block in blocks] == [10_000, 10_000]
        assert [value for block in blocks for value in block.column("long")] == texts


def test_a_column_of_ever_new_texts_is_kept_without_codes(tmp_path: Path) -> None:
    count = 20_000
    records: list[Record] = [
        {"id": f"{n:08x}", "odd": f"\udcff{n}" if n == count - 1 else f"{n}", "s": "x", "m": None if n % 7 else n}
        for n in range(count)
    ]
    path = file_of(tmp_path, builder_of(records))
    group = pq.ParquetFile(path).metadata.row_group(0)
    encodings = {group.column(place).path_in_schema: group.column(place).encodings for place in range(8)}
    assert "RLE_DICTIONARY" not in encodings["id"]
    assert "RLE_DICTIONARY" in encodings["s"]
    with Segment(path) as segment:
        block = segment.block(0)
        for name in ("id", "odd", "s", "m"):
            assert list(block.column(name)) == [record[name] for record in records], name


def test_a_record_with_too_many_fields_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments_module, "COLUMNS_MAX", 5)
    monkeypatch.setattr(segments_module, "SLICE_ROWS", 1)
    many: Record = {f"k{n}": n for n in range(9)}
    records: list[Record] = [{"a": 1, "b": {"c": 2}}, many | {"b": {"c": 3}}, {}, {"a": "\udcff"}]
    with Segment(file_of(tmp_path, builder_of(records))) as segment:
        block = segment.block(0)
        assert [block.record(row) for row in range(4)] == records
        truth = RecordBlock("jsonl", range(4), records)
        for path in ("a", "b.c", "b", "k3", "nothing"):
            assert list(block.column(path)) == list(truth.column(path)), path
        assert block.containing(["k"]) == [1, 3]


def test_where_one_place_has_ever_new_keys_the_object_is_one_column(tmp_path: Path) -> None:
    records: list[Record] = [{"by_id": {f"id{n}-{m}": m for m in range(5)}, "n": n} for n in range(100)]
    with Segment(file_of(tmp_path, builder_of(records))) as segment:
        assert len(segment.paths) < 10
        block = segment.block(0)
        assert [block.record(row) for row in range(100)] == records
        assert block.column("by_id.id7-3")[7] == 3


STREAMS = (
    "a/b",
    "A/b",
    "a.b",
    "a~b",
    "",
    "..",
    "../x",
    "ä/b",
    "a/b\udcff",
    "x" * 300,
    "x" * 301,
    "a b",
    "a\0",
    "month=1",
)


@pytest.mark.parametrize("stream", STREAMS)
def test_a_stream_has_a_folder_of_its_own_whatever_it_is_called(stream: str) -> None:
    name = stream_folder(stream)
    assert name.isascii() and name.isprintable() and "/" not in name and " " not in name and len(name) < 120
    assert [other for other in STREAMS if other != stream and stream_folder(other).lower() == name.lower()] == []


def test_original_bytes_are_kept_if_asked_and_only_once(tmp_path: Path) -> None:
    builder = SegmentBuilder(KEY, keep_raw=True)
    records: list[Record] = [{"a": 1}, {"_raw": "line", "a": 2}]
    builder.add(Rows(RecordBlock("jsonl", [1, 2], records, [b'{"a": 1}', b"line"]), [0, 1], [1, 2], 7))
    path = file_of(tmp_path, builder)
    table = pq.read_table(path)
    assert table.schema.field("_raw#2").type == pa.string()
    assert table["_raw#2"].to_pylist() == ['{"a": 1}', None]
    with Segment(path) as segment:
        assert [segment.block(0).record(row) for row in (0, 1)] == records
        assert segment.block(0).raw(0) == b'{"a": 1}'

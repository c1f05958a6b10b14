import datetime
import io
import json
from typing import Any

import pyarrow as pa
import pytest

from mingjian.errors import InputError, LimitExceeded, ParseError, SchemaError
from mingjian.formats import arrowstream
from mingjian.formats.arrowstream import json_lines, read_stream

NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)


def stream(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=100)
    return buffer.getvalue()


def records(data: bytes) -> list[Any]:
    lines = b"".join(line for batch in read_stream(io.BytesIO(data)) for line in json_lines(batch))
    return [json.loads(line) for line in lines.splitlines()]


def test_every_type_that_is_taken_becomes_json() -> None:
    table = pa.table(
        {
            "number": [1, None, -3],
            "text": ["a", "日志", None],
            "truth": [True, False, None],
            "float": [1.5, None, 2.0],
            "again": pa.array(["x", "y", "x"]).dictionary_encode(),
            "time": pa.array([NOON] * 3, pa.timestamp("ns", "UTC")),
            "day": pa.array([NOON.date()] * 3),
            "nested": [{"a": [1, 2], "b": {"c": "d"}}] * 3,
            "nothing": pa.nulls(3),
        }
    )
    first = records(stream(table))[0]
    assert first == {
        "number": 1,
        "text": "a",
        "truth": True,
        "float": 1.5,
        "again": "x",
        "time": "2026-05-01T12:00:00+00:00",
        "day": "2026-05-01",
        "nested": {"a": [1, 2], "b": {"c": "d"}},
        "nothing": None,
    }


def test_many_batches_come_one_after_the_other() -> None:
    assert [row["n"] for row in records(stream(pa.table({"n": list(range(1000))})))] == list(range(1000))


def test_no_rows_are_no_lines() -> None:
    assert records(stream(pa.table({"n": pa.array([], pa.int64())}))) == []


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("column", [["x"] * 1000, pa.array(["x", "y"] * 500).dictionary_encode()])
def test_compressed_batches_are_refused_before_they_are_unpacked(codec: str, column: Any) -> None:
    with pytest.raises(SchemaError, match="compressed"):
        records(stream(pa.table({"a": column}), compression=codec))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a"], pa.string_view()),
        pa.array([[1, 2]], pa.list_(pa.int8(), 2)),
        pa.array([b"x"]),
        pa.array([[None]], pa.list_(pa.null())),
        pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.array([{}], pa.struct([])),
        pa.array([1]).dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays(pa.array([1_000_000], pa.int32()), pa.array(["x"])),
    ],
    ids=lambda column: str(column.type)[:40],
)
def test_types_that_say_much_with_little_are_refused(column: Any) -> None:
    with pytest.raises(SchemaError, match=r"type that is not taken|dictionary of something else"):
        records(stream(pa.table({"a": column})))


def test_bounds_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    small = stream(pa.table({"a": pa.nulls(200), "b": [[1, 2, 3]] * 200}))
    for name in ("ROWS_MAX", "CELLS_MAX", "COLUMNS_MAX", "MESSAGE_BYTES_MAX"):
        with monkeypatch.context() as patch:
            patch.setattr(arrowstream, name, 1)
            with pytest.raises((LimitExceeded, ParseError)):
                records(small)
    assert len(records(small)) == 200


def test_a_long_text_that_every_row_has_is_written_in_small_portions() -> None:
    long = "x" * 1_000_000
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array([long]))
    (batch,) = read_stream(io.BytesIO(stream(pa.table({"a": column}))))
    portions = [len(line) for line in json_lines(batch)]
    assert max(portions) <= 2 * arrowstream.PORTION_BYTES
    assert sum(portions) == 100 * (len(long) + len('{"a":""}\n'))


def test_what_is_no_stream_is_refused() -> None:
    good = stream(pa.table({"a": [1, 2, 3]}))
    for bad in (b"", b"abc", good[:100], good[:-20], b"ARROW1\0\0" + good, good[8:]):
        with pytest.raises(InputError):
            if records(bad):
                raise ParseError("a stream that was cut off between its messages has the rows before")


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(SchemaError, match="same name"):
        records(stream(table))

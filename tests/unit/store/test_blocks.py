"""Reading segments: only what we wrote, or an error; never a wrong answer."""

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mingjian.errors import ParseError, StorageError
from mingjian.formats.records import RecordBlock
from mingjian.model.values import EMPTY, MISSING, Record
from mingjian.store.blocks import Segment
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import Rows, SegmentBuilder, SegmentKey
from mingjian.store.shapes import parsed_shape
from mingjian.store.writing import write_segment

KEY = SegmentKey(organisation=OrganisationId(1), stream="a/b", layout="nested", format="evtx", month=None)
RECORDS: list[Record] = [
    {"EventID": n % 4, "Image": f"{n % 9}.exe", "o": {"p": None if n % 2 else [n]}, "e": EMPTY, "u": f"{n * n:x}"}
    for n in range(400)
]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, bytes]:
    builder = SegmentBuilder(KEY)
    builder.add(Rows(RecordBlock("evtx", range(400), RECORDS), range(400), [None] * 400, 1))
    segment = write_segment(tmp_path, "one", builder, 1)
    return tmp_path / segment.path, segment.content_hash


def test_a_segment_says_what_it_is(written: tuple[Path, bytes]) -> None:
    with Segment(*written) as segment:
        assert (segment.stream, segment.layout, segment.format, segment.rows) == ("a/b", "nested", "evtx", 400)
        assert set(segment.paths) == {("EventID",), ("Image",), ("o", "p"), ("e",), ("u",)}
        assert segment.block(0).times_us == [None] * 400


def test_a_column_can_be_had_as_codes_and_distinct_values(written: tuple[Path, bytes]) -> None:
    with Segment(*written) as segment:
        block = segment.block(0)
        codes, distinct = block.encoded("EventID")
        assert sorted(map(str, distinct)) == ["0", "1", "2", "3"]
        assert [distinct[code] for code in codes] == [record["EventID"] for record in RECORDS]
        assert block.encoded("nothing")[1] == [MISSING]
        assert block.encoded("e")[1] == [EMPTY]
        codes, distinct = block.encoded("o.p")
        assert [distinct[code] for code in codes] == [None if n % 2 else [n] for n in range(400)]


def test_values_with_insides_are_not_shared_between_records(tmp_path: Path) -> None:
    builder = SegmentBuilder(KEY)
    builder.add(Rows(RecordBlock("evtx", [1, 2], [{"a": {}}, {"a": {}}]), [0, 1], [None] * 2, 1))
    written = write_segment(tmp_path, "one", builder, 1)
    with Segment(tmp_path / written.path) as segment:
        first, second = segment.block(0).record(0), segment.block(0).record(1)
        third, fourth = segment.block(0).records([0, 1])
    assert first == second == third == fourth == {"a": {}}
    assert first["a"] is not second["a"]
    assert third["a"] is not fourth["a"]


def test_many_records_at_once_are_those_that_each_is_alone(written: tuple[Path, bytes]) -> None:
    with Segment(*written) as segment:
        assert segment.block(0).records(range(400)) == RECORDS
        assert segment.block(0).records([7, 3, 7]) == [RECORDS[7], RECORDS[3], RECORDS[7]]
        assert segment.block(0).take([5, 6]).records([1]) == [RECORDS[6]]


def test_a_file_that_is_not_there_or_not_ours_is_a_storage_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "text.parquet").write_text("PAR1")
    for name in ("none", "other", "empty", "text"):
        for content_hash in (None, b"hash"):
            with pytest.raises(StorageError):
                Segment(tmp_path / f"{name}.parquet", content_hash)


def test_with_its_hash_any_damage_is_found(written: tuple[Path, bytes]) -> None:
    path, content_hash = written
    data = path.read_bytes()
    chance = random.Random(1)
    for _ in range(200):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        with pytest.raises(StorageError, match="damaged"):
            Segment(path, content_hash)
    for size in (0, 4, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(StorageError):
            Segment(path, content_hash)


def test_with_its_checksums_damage_is_found_in_what_is_read(tmp_path: Path) -> None:
    builder = SegmentBuilder(KEY)
    builder.add(Rows(RecordBlock("evtx", range(400), RECORDS), range(400), [None] * 400, 1))
    written = write_segment(tmp_path, "one", builder, 1)
    path = tmp_path / written.path
    data = path.read_bytes()
    chance = random.Random(2)
    found = 0
    for _ in range(300):
        broken = bytearray(data)
        broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            with Segment(path, checks=written.checks) as segment:
                assert [segment.block(0).record(row) for row in range(400)] == RECORDS
        except StorageError:
            found += 1
    assert found == 300, "such a small file is one stripe, and its footer is in it"


@pytest.mark.parametrize(
    "text", ["5s", "0-9s", "s", "0", "0s,", "0s,1s,2s,3s,4s,0s", "1-0s,x", "-1s", "0" * 30 + "s", "0-1-", "0?"]
)
def test_a_shape_that_names_what_is_not_there_is_damage(text: str) -> None:
    with pytest.raises(ParseError):
        parsed_shape(text, 5)

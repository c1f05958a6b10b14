"""A segment gives back exactly the records that went in, whatever they hold, however they were cut and merged."""

import math
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mingjian.detect.leaves import all_leaves, fold, text_of
from mingjian.formats.records import RecordBlock
from mingjian.model.values import EMPTY, MISSING, Record, Value
from mingjian.store import arrow, segments
from mingjian.store.blocks import Segment
from mingjian.store.building import PLAIN_ROWS_MIN
from mingjian.store.grown import GrownBlock, GrownSegment
from mingjian.store.scope import OrganisationId
from mingjian.store.segments import DAY_ROWS_MIN, Rows, SegmentBuilder, SegmentKey, cut, month_of
from mingjian.store.writing import parquet_bytes
from strategies import BROKEN, NUMBERS, WORDS

KEY = SegmentKey(organisation=OrganisationId(1), stream="a/b", layout="l", format="json", month=0)
KEYS = ["a", "b", "A", "a.b", "b.c", "a.b.c", "", ".", "_time", "_Record", "_raw", "_shape", "0", "a\0b", "é", "\udcff"]
KEYS += ["\ud83d", "x" * 300, "a#2"]
NUMBER = st.one_of(
    st.sampled_from(NUMBERS),
    st.integers(),
    st.integers(min_value=-(2**65), max_value=2**65),
    st.sampled_from([2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**63, 2**64]),
    st.floats(),
    st.sampled_from([-0.0, math.inf, math.nan, 1e300, 5e-324]),
)
TEXT = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(BROKEN),
    st.sampled_from(["\ud83d\ude00", "\ud83d", '["sa"]', "{}", "null", "true", "7.0"]),
    st.text(st.characters(), max_size=8),
)
SCALAR = st.one_of(TEXT, NUMBER, st.booleans(), st.none(), st.just(EMPTY))


def nested(inner: st.SearchStrategy[Value]) -> st.SearchStrategy[Value]:
    return st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3))


VALUE = st.recursive(SCALAR, nested, max_leaves=6)
UNIFORM = st.sampled_from([TEXT, NUMBER, st.booleans(), SCALAR, VALUE, st.integers(-5, 5), st.sampled_from(["x", "y"])])


@st.composite
def some_records(draw: st.DrawFn) -> list[Record]:
    """Records as producers write them: mostly of one shape, a field mostly of one kind."""
    fields = draw(st.dictionaries(st.sampled_from(KEYS), UNIFORM, max_size=6))
    regular = st.fixed_dictionaries({}, optional=dict(fields))
    odd = st.dictionaries(st.sampled_from(KEYS), VALUE, max_size=4)
    return draw(st.lists(st.one_of(regular, regular, odd), min_size=1, max_size=12))


PATHS = st.one_of(
    st.sampled_from(KEYS),
    st.lists(st.sampled_from([*KEYS, "1"]), min_size=2, max_size=3).map(".".join),
)


def exact(value: object) -> object:
    """A value in a form in which only the same are equal: with types, the sign of zero, and NaN equal to itself."""
    match value:
        case dict():
            return {key: exact(inner) for key, inner in value.items()}
        case list():
            return [exact(inner) for inner in value]
        case _:
            return type(value), repr(value)


def written(folder: Path, records: list[Record], cuts: list[int], *, keep_raw: bool = False) -> list[Path]:
    """Segments of some records, cut at these places."""
    paths: list[Path] = []
    ends = sorted({*(cut % len(records) for cut in cuts), len(records)} - {0})
    for start, end in zip([0, *ends], ends, strict=False):
        builder = SegmentBuilder(KEY, keep_raw=keep_raw)
        numbers = range(start + 1, end + 1)
        raws = [b"%d\xff" % number for number in numbers]
        block = RecordBlock("json", numbers, records[start:end], raws)
        builder.add(Rows(block, range(end - start), [None if n % 3 == 0 else n for n in numbers], 7))
        paths.append(folder / f"{end}.parquet")
        paths[-1].write_bytes(parquet_bytes(builder.finished()))
    return paths


@given(
    records=some_records(),
    cuts=st.lists(st.integers(0, 20), max_size=2),
    paths=st.lists(PATHS, max_size=6),
    plain_rows_min=st.sampled_from([1, 3, PLAIN_ROWS_MIN]),
)
@example([{"a": 1, "a.b": {"c": 2}}, {"a": {"b": {"c": [{"d": 1}]}}}], [], ["a.b.c", "a.b.c.d"], 1)
@example([{"a": 1}, {"a": 1.5}, {"a": "7.0"}, {"a": True}, {"a": 2**53 + 1}], [1, 2, 3, 4], ["a"], 1)
@example([{"a": None}, {"a": 3}], [1], ["a"], 1)
@example([{"a": "\udcff"}, {"a": '["xedb3bf"]'}], [], ["a"], 1)
@example([{"a": "x"}, {}, {"a": "y"}, {"a": None}, {"a": "x"}, {"a": 1}], [2], ["a"], 1)
@example([{"a": "x"}, {"a": "y"}, {"a": "z"}, {"b": 1}], [3], ["a"], 3)
def test_records_and_columns_come_back_as_they_were_also_after_a_merge(
    records: list[Record], cuts: list[int], paths: list[str], plain_rows_min: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "PLAIN_ROWS_MIN", plain_rows_min)
        parts = written(Path(folder), records, cuts, keep_raw=True)
        merged = SegmentBuilder(KEY)
        for part in parts:
            with Segment(part) as segment:
                for block in segment.blocks():
                    merged.add_stored(block.stored())
        whole = Path(folder) / "merged.parquet"
        whole.write_bytes(parquet_bytes(merged.finished()))
        for files in (parts, [whole]):
            numbers: list[int] = []
            for file in files:
                with Segment(file) as segment:
                    for block in segment.blocks():
                        expected = [records[number - 1] for number in block.numbers]
                        numbers += block.numbers
                        assert [exact(block.record(row)) for row in range(len(block))] == list(map(exact, expected))
                        assert [exact(record) for record in block.records(range(len(block)))] == list(
                            map(exact, expected)
                        )
                        truth = RecordBlock("json", block.numbers, expected)
                        for path in paths:
                            assert list(map(exact, block.column(path))) == list(map(exact, truth.column(path))), path
                        codes, distinct = block.encoded(paths[0] if paths else "a")
                        assert set(codes.tolist()) == set(range(len(distinct)))
                        assert block.times_us == [None if n % 3 == 0 else n for n in block.numbers]
                        for row, number in enumerate(block.numbers):
                            if "_raw" not in expected[row]:
                                assert block.raw(row) == b"%d\xff" % number
            assert numbers == list(range(1, len(records) + 1))


@given(records=some_records(), data=st.data())
def test_some_rows_are_the_same_rows_of_the_whole(records: list[Record], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(records) - 1), max_size=5))
    paths = data.draw(st.lists(PATHS, max_size=4))
    truth = RecordBlock("json", range(1, len(records) + 1), records)
    with tempfile.TemporaryDirectory() as folder:
        (file,) = written(Path(folder), records, [])
        with Segment(file) as segment:
            block = segment.block(0)
            for mine, theirs in (
                (block.columns(paths, rows), truth.columns(paths, rows)),
                (block.take(rows).columns(paths), truth.take(rows).columns(paths)),
            ):
                assert [list(map(exact, c)) for c in mine] == [list(map(exact, c)) for c in theirs]
            taken = block.take(rows)
            assert [exact(taken.record(row)) for row in range(len(rows))] == [exact(records[row]) for row in rows]
            assert list(map(exact, taken.records(range(len(rows))))) == [exact(records[row]) for row in rows]
            assert list(taken.numbers) == [row + 1 for row in rows]


@given(
    records=some_records(),
    days=st.lists(st.integers(0, 2), min_size=1, max_size=20),
    paths=st.lists(PATHS, max_size=6),
    few=st.sampled_from([0, arrow.FEW]),
)
@example(records=[{"a": None}, {"a": "x"}, {}], days=[0], paths=["a"], few=0)
@example(records=[{"a": {"b": "x"}}, {"a": "y"}], days=[0, 1], paths=["a", "a.b"], few=0)
def test_what_still_grows_looks_as_it_will_and_is_cut(
    records: list[Record], days: list[int], paths: list[str], few: int
) -> None:
    builder = SegmentBuilder(KEY, keep_raw=True)
    numbers = range(1, len(records) + 1)
    raws = [b"%d" % number for number in numbers]
    builder.add(Rows(RecordBlock("json", numbers, records, raws), range(len(records)), None, 7))
    finished = builder.finished()
    block = GrownBlock(GrownSegment(finished))
    truth = RecordBlock("json", numbers, records)
    assert [exact(block.record(row)) for row in range(len(block))] == list(map(exact, records))
    for path in paths:
        assert list(map(exact, block.column(path))) == list(map(exact, truth.column(path))), path
        codes, distinct = block.encoded(path)
        assert set(codes.tolist()) == set(range(len(distinct)))
    of_day = np.array([days[row % len(days)] for row in range(len(records))])
    with tempfile.TemporaryDirectory() as folder:
        for day in np.unique(of_day).tolist():
            rows = np.flatnonzero(of_day == day)
            with mock.patch.object(segments, "FEW", few):
                part = finished.of_rows(rows, day)
            assert part.key.month == day
            file = Path(folder) / f"{day}.parquet"
            file.write_bytes(parquet_bytes(part))
            with Segment(file) as segment:
                read = segment.block(0)
                assert [exact(read.record(row)) for row in range(len(read))] == [exact(records[row]) for row in rows]
                assert list(read.numbers) == [row + 1 for row in rows]
                assert {path[0] for path in segment.paths} <= {key for row in rows for key in records[row]}
            taken = block.take(rows.tolist())
            for path in paths:
                assert list(map(exact, taken.column(path))) == list(map(exact, truth.take(rows.tolist()).column(path)))


NEEDLES = ["ABC", "cmd.exe", "a b", "true", "42", "k", "s", "p"]


@given(records=some_records(), needle=st.sampled_from(NEEDLES))
def test_the_sieve_never_misses_a_record_that_holds_a_text(records: list[Record], needle: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (file,) = written(Path(folder), records, [])
        with Segment(file) as segment:
            rows = segment.block(0).containing([needle])
    holding = [
        row
        for row, record in enumerate(records)
        if any(leaf is not None and needle.casefold() in text_of(leaf).casefold() for leaf in all_leaves(record))
    ]
    assert rows is None or set(holding) <= set(rows)


def holds(value: Value, needle: str) -> bool:
    return any(leaf is not None and fold(needle) in fold(text_of(leaf)) for leaf in all_leaves({"": value}))


@given(
    records=some_records(),
    needles=st.lists(st.sampled_from([*NEEDLES, "\\W", 'say "hi"', "\\"]), min_size=1, max_size=2),
)
@example(records=[{"a": "x"}, {"a": "cm"}, {"b": "d.exe"}], needles=["cmd.exe"])
@example(records=[{"a": "\ud83dcmd.exe"}], needles=["cmd.exe"])
@example(records=[{"a": ["cmd.exe"]}], needles=["cmd.exe"])
@example(records=[{"a": ["C:\\Windows"]}, {"a": {"b": 'say "hi"'}}], needles=["C:\\W", 'say "hi"'])
@example(records=[{"a": ["x\\y"]}], needles=["\\"])
@example(records=[{"a": True}, {"a": 7}], needles=["true", "cmd.exe"])
@example(records=[{"a": "\u212a"}], needles=["k"])
def test_where_all_fields_are_searched_no_value_that_holds_a_text_is_left_out(
    records: list[Record], needles: list[str]
) -> None:
    builder = SegmentBuilder(KEY)
    builder.add(Rows(RecordBlock("json", range(1, len(records) + 1), records), range(len(records)), None, 7))
    finished = builder.finished()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "0.parquet"
        file.write_bytes(parquet_bytes(finished))
        with Segment(file) as segment:
            for block in (GrownBlock(GrownSegment(finished)), segment.block(0)):
                columns = list(block.everything(needles))
                for row, record in enumerate(records):
                    shown = [value for codes, values in columns if (value := values[codes[row]]) is not MISSING]
                    for needle in needles:
                        found = any(holds(value, needle) for value in shown)
                        assert found == any(holds(value, needle) for value in record.values())


@given(times=st.lists(st.one_of(st.none(), st.integers(-(10**15), 10**16)), min_size=1, max_size=20))
def test_every_record_is_in_a_segment_of_its_month(times: list[int | None]) -> None:
    untimed = np.array([time_us is None for time_us in times])
    parts = cut(np.array([time_us or 0 for time_us in times]), untimed)
    assert sorted(row for _, rows in parts for row in rows.tolist()) == list(range(len(times)))
    assert len({month for month, _ in parts}) == len(parts)
    for month, rows in parts:
        assert rows.tolist() == sorted(rows.tolist())
        for time_us in (times[row] for row in rows.tolist()):
            assert month == (None if time_us is None else month_of(time_us // 86_400_000_000))


def test_a_day_with_many_records_has_a_segment_of_its_own() -> None:
    day_us = 86_400_000_000
    times = np.concatenate([np.full(DAY_ROWS_MIN, 3 * day_us), np.full(DAY_ROWS_MIN - 1, 4 * day_us), [5 * day_us]])
    parts = cut(times, np.zeros(len(times), np.bool_))
    assert [(month, len(rows)) for month, rows in parts] == [(0, DAY_ROWS_MIN), (0, DAY_ROWS_MIN)]
    assert set((times[parts[0][1]] // day_us).tolist()) == {3}


def test_a_field_that_is_not_there_is_missing_and_not_null() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (file,) = written(Path(folder), [{"a": None}, {}], [])
        with Segment(file) as segment:
            assert list(segment.block(0).column("a")) == [None, MISSING]

"""Arrow batches as blocks of records."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from mingjian.formats.arrow import ArrowBlock
from mingjian.model.values import MISSING, find

rows = st.lists(
    st.fixed_dictionaries(
        {
            "a": st.none() | st.text(max_size=3),
            "n": st.none() | st.integers(-5, 5),
            "deep": st.none() | st.fixed_dictionaries({"x": st.none() | st.booleans()}),
            "many": st.lists(st.text(max_size=2), max_size=2),
            "dotted.name": st.text(max_size=2),
        }
    ),
    min_size=1,
    max_size=6,
)


@given(rows)
def test_columns_are_what_the_records_hold(written: list[dict]) -> None:
    schema = pa.schema(
        [
            ("a", pa.dictionary(pa.int32(), pa.string())),
            ("n", pa.int64()),
            ("deep", pa.struct([("x", pa.bool_())])),
            ("many", pa.list_(pa.string())),
            ("dotted.name", pa.string()),
        ]
    )
    block = ArrowBlock(pa.RecordBatch.from_pylist(written, schema=schema))
    assert [block.record(row) for row in range(len(written))] == written
    paths = ["a", "n", "deep", "deep.x", "many", "dotted.name", "absent"]
    for path, column in zip(paths, block.columns(paths), strict=True):
        assert list(column) == [find(record, path) for record in written]
    chosen = list(range(0, len(written), 2))
    taken = block.take(chosen)
    assert list(taken.numbers) == chosen
    assert [taken.record(place) for place in range(len(chosen))] == [written[row] for row in chosen]
    assert block.columns(["a"], chosen) == [[written[row]["a"] for row in chosen]]
    assert list(block.column("absent")) == [MISSING] * len(written)

"""JSON documents: arrays, wrappers, values one after the other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.formats import jsondoc
from mingjian.model.blocks import Piece, Quarantined


def read(data: bytes, cut: int = 5) -> tuple[list[tuple[int, dict]], list[Quarantined]]:
    """Read bytes cut into small chunks."""
    found: list[tuple[int, dict]] = []
    bad: list[Quarantined] = []
    chunks = (data[at : at + cut] for at in range(0, len(data), cut))
    for item in jsondoc.read(Piece(file="f", chunks=chunks)):
        if isinstance(item, Quarantined):
            bad.append(item)
        else:
            found += [(number, item.record(row)) for row, number in enumerate(item.numbers)]
    return found, bad


@pytest.mark.parametrize(
    "data",
    [
        '[{"a":1},{"a":2}]',
        '[\n {"a": 1},\n {"a": 2}\n]\n',
        '{"Records":[{"a":1},{"a":2}]}',
        '{"records": [ {"a":1} , {"a":2} ], "nextLink": "x", "count": 2}',
        '{"@odata.context":"x","value":[{"a":1},{"a":2}]}',
        '{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[{"a":1},{"a":2}]}',
        '{"a":1}{"a":2}',
        '{\n  "a": 1\n}\n{\n  "a": 2\n}',
        '{"Records":[{"a":1}]}\n{"Records":[{"a":2}]}',
        '{"Records":[]}[{"a":1}]{"a":2}',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_every_way_to_write_two_records_gives_them_numbered(data: str, encoding: str) -> None:
    assert read(data.encode(encoding)) == ([(1, {"a": 1}), (2, {"a": 2})], [])


def test_gb18030_is_read_as_such() -> None:
    assert read('[{"名":"登录失败"}]'.encode("gb18030")) == ([(1, {"名": "登录失败"})], [])


def test_a_broken_element_is_quarantined_and_the_next_ones_are_read() -> None:
    records, bad = read(b'[{"a":1},{broken},{"a":3}]')
    assert records == [(1, {"a": 1}), (3, {"a": 3})]
    assert [(entry.record, entry.offset, entry.data) for entry in bad] == [(2, 9, b"{broken}")]


def test_an_element_that_is_no_object_is_quarantined() -> None:
    records, bad = read(b'[1,{"a":2},"x"]')
    assert records == [(2, {"a": 2})]
    assert [entry.data for entry in bad] == [b"1", b'"x"']


def test_a_document_that_ends_early_gives_what_is_whole_and_one_entry() -> None:
    records, bad = read(b'{"Records":[{"a":1},{"a":')
    assert records == [(1, {"a": 1})]
    assert [(entry.record, entry.data) for entry in bad] == [(2, b'{"a":')]


@given(st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=3), max_size=6), st.integers(1, 50))
def test_an_array_gives_its_elements_wherever_it_is_cut(written: list[dict], cut: int) -> None:
    records, bad = read(json.dumps(written).encode(), cut)
    assert [record for _, record in records] == written
    assert not bad


@given(st.binary(max_size=60), st.integers(1, 60))
def test_any_bytes_give_the_same_result_wherever_they_are_cut(data: bytes, cut: int) -> None:
    assert read(data, cut) == read(data, max(1, len(data)))

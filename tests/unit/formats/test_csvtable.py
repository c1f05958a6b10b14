import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.formats import csvtable
from mingjian.formats.csvtable import ROW_LINES_MAX
from mingjian.formats.registry import recognise
from text_logs import CHINESE, outcome, records


def test_cells_are_text_and_empty_cells_are_empty() -> None:
    assert records(csvtable.read, "a,b,c\r\n1,,x y\r\n") == [{"a": "1", "b": "", "c": "x y"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_of_the_header(delimiter: str) -> None:
    text = delimiter.join(["a", '"b, b"', "c"]) + "\n" + delimiter.join(["1", '"2;|2"', "3"]) + "\n"
    assert records(csvtable.read, text) == [{"a": "1", "b, b": "2;|2", "c": "3"}]


def test_a_row_over_several_lines_has_the_number_of_its_first() -> None:
    found, bad = outcome(csvtable.read, [b'# comment\na,b\r\n1,"x\r\n\r\n""y"""\r\n2,z\r\n'])
    assert found == [(3, {"a": "1", "b": 'x\n\n"y"'}), (6, {"a": "2", "b": "z"})]
    assert not bad


def test_names_are_made_distinct() -> None:
    assert records(csvtable.read, "a,,a\n1,2,3\n") == [{"a": "1", "column 2": "2", "a (3)": "3"}]


def test_ragged_rows_are_quarantined_whole() -> None:
    found, bad = outcome(csvtable.read, [b'a,b\n1,2\n1\n1,2,"3\n4"\n\n5,6\n'])
    assert found == [(2, {"a": "1", "b": "2"}), (7, {"a": "5", "b": "6"})]
    assert [(each.record, each.offset, each.data) for each in bad] == [(3, 8, b"1"), (4, 10, b'1,2,"3\n4"')]


def test_a_quote_that_stays_open_costs_one_line() -> None:
    text = 'a,b\n1,"open\n' + "2,x\n" * (ROW_LINES_MAX + 10)
    found, bad = outcome(csvtable.read, [text.encode()])
    assert len(found) == ROW_LINES_MAX + 10
    assert [(each.record, each.data) for each in bad] == [(2, b'1,"open')]
    assert "ROW_LINES_MAX" in bad[0].reason
    found, bad = outcome(csvtable.read, [b'a,b\n1,"open\n2,x'])
    assert (found, [each.record for each in bad]) == ([(3, {"a": "2", "b": "x"})], [2])


def test_a_header_with_too_many_columns_is_refused_by_name() -> None:
    _, bad = outcome(csvtable.read, [b"a," * 10_000 + b"b\n"])
    assert "COLUMNS_MAX" in bad[0].reason


CELL = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\x00\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
    max_size=12,
)


@given(
    st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=8),
    st.booleans(),
)
def test_what_the_standard_library_writes_is_read_back(rows: list[list[str]], quote_all: bool) -> None:
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows([["a", "b", "c"], *rows])
    found = records(csvtable.read, text.getvalue())
    assert [[record["a"], record["b"], record["c"]] for record in found] == rows


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
def test_chinese_tables_are_read_in_every_encoding(encoding: str) -> None:
    data = f"时间,用户,说明\n1,a,{CHINESE}\n2,b,拒绝\n".encode(encoding)
    format_ = recognise(data, "导出.csv")
    assert format_ is not None
    assert format_.name == "csv"
    assert records(format_.read, data) == [
        {"时间": "1", "用户": "a", "说明": CHINESE},
        {"时间": "2", "用户": "b", "说明": "拒绝"},
    ]


@pytest.mark.parametrize(
    ("head", "name", "is_table"),
    [
        ("a,b\n1,2\n", "x.csv", True),
        ("a,b\n1,2\n", "x.log", False),
        ("a,b,c\n1,2,3\n", "x.log", True),
        ('a,b,c\n1,"x\ny",3\n', "x.csv", True),
        ("1,2,3\n4,5,6\n", "x.csv", False),
        ("one, two and three, yes\nfour\n", "x", False),
        ("hello\n", "x.csv", False),
        ("# made today\na;b;c\n1;2;3\n", "x", True),
        ("", "x.csv", False),
    ],
)
def test_a_table_is_recognised_by_its_header(head: str, name: str, is_table: bool) -> None:
    assert csvtable.recognise(head.encode(), name) is is_table

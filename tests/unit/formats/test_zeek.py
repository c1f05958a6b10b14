import gzip
from pathlib import Path

import orjson
import pytest

from mingjian.formats import zeek
from mingjian.formats.registry import recognise
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.times import parse_time_us
from mingjian.model.values import MISSING, Record
from text_logs import CHINESE, outcome, records

HEADER = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tx\n"


def table(types: str, *rows: str) -> list[Record]:
    """The records of rows whose columns are named like their types (or like what follows a colon)."""
    names = "\t".join(type_.rpartition(":")[2] for type_ in types.split(" "))
    kinds = "\t".join(type_.partition(":")[0] for type_ in types.split(" "))
    text = HEADER + f"#fields\t{names}\n#types\t{kinds}\n" + "".join(row + "\n" for row in rows) + "#close\t2024\n"
    return [{name: value for name, value in record.items() if name != "_path"} for record in records(zeek.read, text)]


@pytest.mark.parametrize("log", ["dns", "rdp"])
def test_tab_separated_logs_are_what_json_says(log: str, shared_data: Path) -> None:
    """Record by record; JSON writes times as text, and intervals with more digits than the microsecond."""
    folder = shared_data / "zeek" / "zed-sample"
    ours = records(zeek.read, gzip.decompress((folder / f"{log}.log.gz").read_bytes()))
    theirs = [orjson.loads(line) for line in gzip.decompress((folder / f"{log}.json.gz").read_bytes()).splitlines()]
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        del other["_write_ts"]
        assert mine.pop("_path") == other.pop("_path") == log
        assert parse_time_us(mine.pop("ts")) == parse_time_us(other.pop("ts"))
        if "rtt" in other:
            other["rtt"] = round(other["rtt"], 6)
        if "TTLs" in other:
            other["TTLs"] = [round(ttl, 6) for ttl in other["TTLs"]]
        assert mine == other
        assert [type(value) for value in mine.values()] == [type(other[name]) for name in mine]


def test_values_have_the_types_of_the_header() -> None:
    (record,) = table("time count int port double interval bool addr enum", "1.5\t7\t-7\t443\t1e3\t0.25\tT\t::1\tudp")
    assert record == {
        "time": 1.5,
        "count": 7,
        "int": -7,
        "port": 443,
        "double": 1000.0,
        "interval": 0.25,
        "bool": True,
        "addr": "::1",
        "enum": "udp",
    }
    assert type(record["count"]) is int


def test_unset_fields_are_left_out_and_empty_ones_are_empty() -> None:
    assert table("string:a count:b set[string]:c vector[count]:d", "-\t-\t-\t-", "(empty)\t1\t(empty)\t(empty)") == [
        {},
        {"a": "", "b": 1, "c": [], "d": []},
    ]


def test_sets_and_vectors_are_lists_of_their_type() -> None:
    assert table("set[string]:a vector[interval]:b set[count]:c", "x,y\\x2cz\t1.5,-\t3,4") == [
        {"a": ["x", "y,z"], "b": [1.5, None], "c": [3, 4]}
    ]


def test_escapes_are_undone_after_splitting() -> None:
    assert table("string:a string:b", "\\x2d\ta\\x09b\\\\c", f"\\xe6\\x98\\x8e\t{CHINESE}", "\\xff\t\\\\x41") == [
        {"a": "-", "b": "a\tb\\c"},
        {"a": "明", "b": CHINESE},
        {"a": "\udcff", "b": "\\x41"},
    ]


def test_a_value_that_its_type_does_not_fit_stays_text() -> None:
    text = "9" * 5000
    assert table("count:a double:b bool:c", "x\tnan\tyes", "1_0\t1e999\tF", f"{text}\t{text}\t1") == [
        {"a": "x", "b": "nan", "c": "yes"},
        {"a": "1_0", "b": "1e999", "c": False},
        {"a": text, "b": text, "c": "1"},
    ]
    assert table("count:a", "٣") == [{"a": "٣"}]


def test_a_whole_number_of_any_length_that_python_reads_is_a_number() -> None:
    assert table("count:a", "9" * 400, "1") == [{"a": int("9" * 400)}, {"a": 1}]


def test_a_second_header_changes_the_columns() -> None:
    text = (
        HEADER
        + "#fields\ta\tb\n#types\tcount\tstring\n1\tx\n"
        + "#separator ;\n#set_separator;|\n#path;y\n#fields;c\n#types;set[count]\n1|2\n"
    )
    assert records(zeek.read, text) == [{"_path": "x", "a": 1, "b": "x"}, {"_path": "y", "c": [1, 2]}]


def test_without_types_everything_is_text() -> None:
    assert records(zeek.read, "#fields\ta\tb\n1\t-\n") == [{"a": "1"}]


def test_lines_without_header_or_of_another_width_are_quarantined_where_they_are() -> None:
    found, bad = outcome(zeek.read, [b"early\n#fields\ta\tb\n1\t2\nshort\n1\t2\t3\n#fields\ta\n#types\tcount\tx\n7\n"])
    assert found == [(3, {"a": "1", "b": "2"})]
    assert [(each.record, each.offset, each.data) for each in bad] == [
        (1, 0, b"early"),
        (4, 22, b"short"),
        (5, 28, b"1\t2\t3"),
        (7, 44, b"#types\tcount\tx"),
        (8, 59, b"7"),
    ]
    assert "1 columns where the header has 2" in bad[1].reason


def test_a_header_with_too_many_columns_is_refused_by_name() -> None:
    _, bad = outcome(zeek.read, [b"#fields" + b"\ta" * 10_000 + b"\n1\n"])
    assert "COLUMNS_MAX" in bad[0].reason


@pytest.mark.parametrize(
    ("head", "name"), [(HEADER.encode(), "zeek"), (b"#fields\ta\n1\n", "zeek"), (b"#Fields: a b\n1 2\n", "w3c")]
)
def test_only_zeek_is_recognised(head: bytes, name: str) -> None:
    found = recognise(head, "x")
    assert found is not None
    assert found.name == name


def test_a_block_gives_single_columns_and_chosen_rows() -> None:
    text = HEADER + "#fields\tid.orig_h\tn\n#types\taddr\tcount\n::1\t1\n::2\t-\n::3\t3\n"
    (block,) = zeek.read(Piece(file="f", chunks=iter([text.encode()])))
    assert not isinstance(block, Quarantined)
    columns = block.columns(["n", "id.orig_h", "id", "_path"], [2, 1])
    assert [list(column) for column in columns] == [[3, MISSING], ["::3", "::2"], [MISSING] * 2, ["x"] * 2]
    taken = block.take([2])
    assert (list(taken.numbers), taken.raw(0)) == ([10], b"::3\t3")
    assert taken.record(0) == {"_path": "x", "id.orig_h": "::3", "n": 3}

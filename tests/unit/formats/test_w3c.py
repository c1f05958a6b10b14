from mingjian.formats import w3c
from mingjian.model.values import Record
from text_logs import outcome, records

IIS = "#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n#Date: 2021-03-03 00:00:00\n"


def rows(text: str) -> list[Record]:
    found = records(w3c.read, text)
    for record in found:
        assert isinstance(record.pop("_raw"), str)
    return found


def test_columns_have_the_names_of_the_header_in_any_order() -> None:
    text = IIS + "#Fields: c-ip time date cs(User-Agent)\n1.2.3.4 00:00:01 2021-03-03 Mozilla/5.0+(X)\n"
    assert rows(text) == [
        {
            "c-ip": "1.2.3.4",
            "date": "2021-03-03",
            "time": "2021-03-03T00:00:01Z",
            "timestamp": "2021-03-03 00:00:01",
            "cs(User-Agent)": "Mozilla/5.0+(X)",
        }
    ]


def test_the_target_is_put_together_again() -> None:
    text = IIS + "#Fields: cs-uri-stem cs-uri-query sc-status\n/a.aspx cmd=x 200\n/b - 404\n- - 400\n/c ?q 200\n"
    assert rows(text) == [
        {
            "cs-uri-stem": "/a.aspx",
            "cs-uri-query": "cmd=x",
            "sc-status": "200",
            "cs-uri": "/a.aspx?cmd=x",
            "cs-uri-any": ["/a.aspx?cmd=x", "/a.aspx", "cmd=x"],
        },
        {"cs-uri-stem": "/b", "sc-status": "404", "cs-uri": "/b", "cs-uri-any": "/b"},
        {"sc-status": "400"},
        {
            "cs-uri-stem": "/c",
            "cs-uri-query": "?q",
            "sc-status": "200",
            "cs-uri": "/c?q",
            "cs-uri-any": ["/c?q", "/c", "q"],
        },
    ]


def test_a_second_header_changes_the_columns() -> None:
    text = IIS + "#Fields: time a\n00:00:01 x\n#Date: 2021-03-04 00:00:00\n#Fields: a b time\n1 2 00:00:02\n"
    assert [(record["time"], record["a"], record.get("b")) for record in rows(text)] == [
        ("2021-03-03T00:00:01Z", "x", None),
        ("2021-03-04T00:00:02Z", "1", "2"),
    ]


def test_local_times_have_no_zone() -> None:
    text = "#Version: 1.5\n#Time Format: Local\n#Fields: date time action\n\n2021-03-03 10:00:00 DROP\n"
    assert rows(text)[0]["time"] == "2021-03-03T10:00:00"


def test_quoted_tabbed_and_comma_separated_columns_are_read() -> None:
    assert rows('#Fields: a b c\n1 "two ""2"" words" -\n')[0] == {"a": "1", "b": 'two "2" words'}
    assert rows("#Fields: a b c\n1\ttwo words\t-\n")[0] == {"a": "1", "b": "two words"}
    text = '#Fields: date-time,client-ip,context\n2021-03-03T00:00:01.123Z,1.2.3.4,"a, ""b"""\n'
    assert rows(text)[0] == {
        "date-time": "2021-03-03T00:00:01.123Z",
        "time": "2021-03-03T00:00:01.123Z",
        "timestamp": "2021-03-03T00:00:01.123Z",
        "client-ip": "1.2.3.4",
        "context": 'a, "b"',
    }
    assert rows("#Fields: a b\n1    2\n")[0] == {"a": "1", "b": "2"}


def test_lines_without_header_or_of_another_width_are_quarantined_where_they_are() -> None:
    found, bad = outcome(w3c.read, [b"early\n#Fields: a b\n1 2\nshort\n1 2 3\n#Fields:\n7 8\n"])
    assert [number for number, _ in found] == [3]
    assert [(each.record, each.offset) for each in bad] == [(1, 0), (4, 23), (5, 29), (6, 35), (7, 44)]
    assert bad[1].reason == "1 columns where the header has 2"


def test_too_many_columns_are_refused() -> None:
    _, bad = outcome(w3c.read, [b"#Fields: a b\n" + b"x " * 100_000 + b"\n#Fields:" + b" a" * 5000 + b"\n1\n"])
    assert ["too many" in bad[0].reason or "columns" in bad[0].reason, "COLUMNS_MAX" in bad[1].reason, len(bad)] == [
        True,
        True,
        3,
    ]

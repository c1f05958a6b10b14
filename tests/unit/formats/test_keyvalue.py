from mingjian.formats import keyvalue
from text_logs import one, outcome


def test_pairs_between_blanks_lose_their_quotes() -> None:
    assert one(keyvalue.read, 'a=1 b="two words" c= d="q \\"x\\" \\\\ y" e=f=g h.i-j=k') == {
        "a": "1",
        "b": "two words",
        "c": "",
        "d": 'q "x" \\ y',
        "e": "f=g",
        "h.i-j": "k",
    }


def test_pairs_between_commas_may_hold_blanks() -> None:
    assert one(keyvalue.read, 'IPVer=4,Protocol=tcp, SourceIP=1.2.3.4, Text="a, b",Last=x y') == {
        "IPVer": "4",
        "Protocol": "tcp",
        "SourceIP": "1.2.3.4",
        "Text": "a, b",
        "Last": "x y",
    }


def test_pairs_between_semicolons_lose_their_numbers() -> None:
    assert one(keyvalue.read, "Protocol(1001)=TCP;Application(1002)=a b;SrcIPAddr(1003)=1.2.3.4;Port(1)=;") == {
        "Protocol": "TCP",
        "Application": "a b",
        "SrcIPAddr": "1.2.3.4",
        "Port": "",
    }


def test_date_and_time_become_one_moment() -> None:
    record = one(keyvalue.read, 'date=2019-05-10 time=11:37:47 tz="+0800" eventtime=1557513467369913239')
    assert (record["time"], record["timestamp"], record["date"]) == (
        "2019-05-10T11:37:47+0800",
        "2019-05-10 11:37:47 +0800",
        "2019-05-10",
    )
    assert one(keyvalue.read, "date=2019-05-10 time=11:37:47 x=1")["time"] == "2019-05-10T11:37:47"
    assert one(keyvalue.read, "time=11:37:47 x=1")["time"] == "11:37:47"
    assert one(keyvalue.read, "date=today time=now x=1")["time"] == "now"


def test_an_open_quote_does_not_swallow_the_pairs_before_it() -> None:
    record = one(keyvalue.read, 'a=1 b=2 c="open and d=3')
    assert (record["a"], record["b"], record["c"], record["d"]) == ("1", "2", "", "3")


def test_other_lines_are_quarantined() -> None:
    found, bad = outcome(keyvalue.read, [b"a=1 b=2\nhello a=1\n\na = 1\n"])
    assert [number for number, _ in found] == [1]
    assert [(each.record, each.offset) for each in bad] == [(2, 8), (4, 19)]


def test_a_line_with_too_many_pairs_is_refused_by_name() -> None:
    for count in (2000, 50_000):
        _, bad = outcome(keyvalue.read, [b"a=1 " * count])
        assert "PAIRS_MAX" in bad[0].reason

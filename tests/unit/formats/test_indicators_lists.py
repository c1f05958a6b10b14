"""Plain lists."""

from feeds import MD5, meanings, read, unread
from mingjian.model.blocks import Quarantined
from mingjian.model.indicators import Assumed, Indicator


def test_comments_and_empty_lines_are_passed_over() -> None:
    text = "# a list\n; by us\n// of bad things\n! really\n\nevil.example # seen in May\n   \n"
    (entry,) = read(text)
    assert isinstance(entry, Indicator)
    assert (entry.kind, entry.how, entry.value, entry.written) == ("domain", "below", "evil.example", "evil.example")
    assert entry.description == "seen in May"


def test_a_line_of_a_hosts_file_means_the_names_behind_the_address() -> None:
    text = "127.0.0.1 localhost\n0.0.0.0 bad.example worse.example\n"
    assert meanings(read(text)) == [("domain", "is", "bad.example"), ("domain", "is", "worse.example")]


def test_several_indicators_on_a_line_are_all_taken() -> None:
    assert meanings(read("192.0.2.1, evil.example 192.0.2.2")) == [
        ("ip", "is", "192.0.2.1"),
        ("domain", "below", "evil.example"),
        ("ip", "is", "192.0.2.2"),
    ]


def test_what_stands_behind_an_indicator_describes_it() -> None:
    (entry,) = read("192.0.2.1,botnet,2024-01-01\n")
    assert isinstance(entry, Indicator)
    assert (entry.value, entry.description) == ("192.0.2.1", "botnet,2024-01-01")


def test_a_line_that_is_no_indicator_is_quarantined_with_its_place() -> None:
    entries = read("\ufeffevil.example\r\nwhat is this?\r\n192.0.2.1\r\n")
    assert unread(entries) == [(2, "parse-error", "'what' is nothing that can be looked for")]
    (bad,) = (each for each in entries if isinstance(each, Quarantined))
    assert (bad.file, bad.offset, bad.data) == ("feed", len("\ufeffevil.example\r\n".encode()), b"what is this?")
    assert len(entries) == 3


def test_what_is_assumed_counts_where_nothing_is_said() -> None:
    assumed = Assumed(kind="ja3", source="us", marking="TLP:GREEN", confidence=40)
    (entry,) = read(MD5, assumed)
    assert isinstance(entry, Indicator)
    assert (entry.kind, entry.source, entry.marking, entry.confidence) == ("ja3", "us", "TLP:GREEN", 40)


def test_other_encodings_are_read_too() -> None:
    assert meanings(read("evil.example\n192.0.2.1\n".encode("utf-16"))) == [
        ("domain", "below", "evil.example"),
        ("ip", "is", "192.0.2.1"),
    ]
    (entry,) = read("evil.example # 恶意域名".encode("gb18030"))
    assert isinstance(entry, Indicator)
    assert entry.description == "恶意域名"


def test_an_empty_file_holds_nothing_and_a_program_no_indicators() -> None:
    assert read(b" \n") == []
    assert unread(read(b"MZ\x90\0\3\0\0\0" * 500))[0][:2] == (0, "parse-error")

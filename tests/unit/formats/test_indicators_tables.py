"""CSV feeds."""

import pytest

from feeds import MD5, SHA256, meanings, read, skips, unread
from mingjian.model.indicators import Assumed, Indicator


def one(text: str, assumed: Assumed | None = None) -> Indicator:
    (entry,) = read(text, assumed or Assumed())
    assert isinstance(entry, Indicator), entry
    return entry


def test_every_column_that_is_known_is_used() -> None:
    header = "Indicator,Type,Confidence,Valid From,valid_until,TLP,Source,Reference,Description,Verdict"
    entry = one(
        f"{header}\nevil[.]example,hostname,85,2024-01-01,2030-01-01T00:00:00Z,amber,CERT,http://r,note,suspicious\n"
    )
    assert (entry.kind, entry.how, entry.value, entry.written) == ("domain", "is", "evil.example", "evil[.]example")
    assert (entry.confidence, entry.marking, entry.source) == (85, "TLP:AMBER", "CERT")
    assert (entry.valid_from_us, entry.valid_until_us) == (1_704_067_200_000_000, 1_893_456_000_000_000)
    assert (entry.reference, entry.description, entry.verdict) == ("http://r", "note", "suspicious")


@pytest.mark.parametrize(
    ("written", "confidence"), [("high", 85), ("Low", 15), ("70%", 70), ("", 33), ("soon", 33), ("900", 33)]
)
def test_confidence_is_a_number_or_a_word(written: str, confidence: int) -> None:
    assert one(f"ioc,confidence\nevil.example,{written}\n", Assumed(confidence=33)).confidence == confidence


def test_a_marking_of_the_caller_is_the_least() -> None:
    assert one("ioc,tlp\nevil.example,green\n", Assumed(marking="TLP:RED")).marking == "TLP:RED"
    assert one("ioc,tlp\nevil.example,red\n", Assumed(marking="TLP:GREEN")).marking == "TLP:RED"


def test_a_header_in_a_comment_and_spaces_between_quotes_are_read() -> None:
    text = (
        "################\n# Some feed        #\n"
        '# "first_seen_utc","ioc_id","ioc_value","ioc_type","threat_type","tags","confidence_level"\n'
        '"2024-01-01 00:00:00", "1", "192.0.2.1:4444", "ip:port", "botnet_cc", "a,b", "75"\n'
        f'"2024-01-01 00:00:00", "2", "{SHA256}", "sha256_hash", "payload", "None", "50"\n'
        "# Number of entries: 2\n"
    )
    for cut in range(0, len(text), 7):
        entries = read(text, cuts=[cut])
        assert meanings(entries) == [("ip", "is", "192.0.2.1"), ("hash", "is", SHA256)]
    first = entries[0]
    assert isinstance(first, Indicator)
    assert (first.confidence, first.description) == (75, "botnet_cc; a,b")


def test_the_url_is_the_value_of_a_feed_of_urls() -> None:
    text = "# id,dateadded,url,url_status,threat,tags,urlhaus_link,reporter\n" + (
        '"1","2024-01-01","http://evil.example/x.sh","online","malware_download","elf","https://r.example/1","bob"\n'
    )
    entry = one(text)
    assert (entry.kind, entry.value, entry.source) == ("url", "http://evil.example/x.sh", "bob")
    assert entry.reference == "https://r.example/1"


def test_a_csv_export_of_misp_is_read_with_its_types() -> None:
    text = (
        "uuid,event_id,category,type,value,comment,to_ids,date\n"
        '1,7,Network activity,domain|ip,evil.example|192.0.2.1,"c2",1,20240101\n'
        "2,7,Payload,filename|md5,a.exe|" + MD5 + ",,1,20240101\n"
        "3,7,Other,text,hello,,1,20240101\n"
        "4,7,Network activity,ip-dst,192.0.2.9,,0,20240101\n"
    )
    entries = read(text)
    found = [each for each in entries if isinstance(each, Indicator)]
    assert [each.value for each in found] == ["evil.example", "192.0.2.1", MD5]
    assert skips(entries) == [(4, "the type text is not looked for"), (5, "not for detection (to_ids)")]


def test_rows_that_cannot_be_read_are_quarantined_one_by_one() -> None:
    entries = read("ioc,type\nevil.example,domain\n,domain\nwhat,ip\none,two,three\n192.0.2.1,\n")
    assert [each.value for each in entries if isinstance(each, Indicator)] == ["evil.example", "192.0.2.1"]
    assert sorted(unread(entries)) == [
        (3, "parse-error", "no value in this row"),
        (4, "parse-error", "'what' is no ip"),
        (5, "parse-error", "3 cells where the header has 2"),
    ]


def test_a_first_line_that_is_data_is_no_header() -> None:
    assert meanings(read("192.0.2.1,ip\n192.0.2.2,ip\n")) == [("ip", "is", "192.0.2.1"), ("ip", "is", "192.0.2.2")]

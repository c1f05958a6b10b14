import pytest

from mingjian.formats import syslog
from mingjian.formats.cef import EXTENSIONS_MAX, add_fields, find
from mingjian.model.values import Record
from text_logs import CHINESE, one, outcome


def parsed(text: str) -> Record:
    record: Record = {}
    add_fields(text, record)
    return record


def test_the_header_and_the_extension_are_unescaped() -> None:
    text = "CEF:1|Sec\\|urity|thr\\\\eat|1.0|100|worm = stopped|10|"
    text += "src=10.0.0.1 msg=a\\=b\\nc  d act=x\\\\y path=C:\\\\Temp\\x cat=/a=b"
    assert parsed(text) == {
        "cefVersion": "1",
        "deviceVendor": "Sec|urity",
        "deviceProduct": "thr\\eat",
        "deviceVersion": "1.0",
        "deviceEventClassId": "100",
        "name": "worm = stopped",
        "severity": "10",
        "src": "10.0.0.1",
        "msg": "a=b\nc  d",
        "act": "x\\y",
        "path": "C:\\Temp\\x",
        "cat": "/a=b",
    }


def test_a_labelled_field_also_stands_under_its_label() -> None:
    record = parsed(
        "CEF:0|V|P|1|1|n|1|cs1Label=Rule Name cs1=x y cn1=5 cn1Label=Count cs2Label=src src=1.2.3.4 cs2=z cs3Label=Lone"
    )
    assert (record["Rule Name"], record["cs1"], record["Count"], record["src"]) == ("x y", "x y", "5", "1.2.3.4")
    assert "Lone" not in record


def test_empty_values_and_a_missing_extension_are_read() -> None:
    assert parsed("CEF:0|V|P|1|1|n|1|msg= src=1.2.3.4 dst=")["msg"] == ""
    assert parsed("CEF:0|V|P|1|1|n|5")["severity"] == "5"
    assert parsed("CEF:0||||||") == {
        "cefVersion": "0",
        "deviceVendor": "",
        "deviceProduct": "",
        "deviceVersion": "",
        "deviceEventClassId": "",
        "name": "",
        "severity": "",
    }


@pytest.mark.parametrize(
    "text",
    [
        "LEEF:1.0|V|P|1|E|src=1.2.3.4\tusrName=a b",
        "LEEF:2.0|V|P|1|E|^|src=1.2.3.4^usrName=a b",
        "LEEF:2.0|V|P|1|E|x5E|src=1.2.3.4^usrName=a b",
        "LEEF:2.0|V|P|1|E|0x09|src=1.2.3.4\tusrName=a b",
        "LEEF:2.0|V|P|1|E||src=1.2.3.4\tusrName=a b",
        "LEEF:2.0|V|P|1|E|src=1.2.3.4\tusrName=a b",
        "LEEF:1.0|V|P|1|E|src=1.2.3.4 usrName=a b",
    ],
)
def test_leef_has_many_delimiters(text: str) -> None:
    record = parsed(text)
    assert record.pop("leefVersion") in {"1.0", "2.0"}
    assert record == {
        "deviceVendor": "V",
        "deviceProduct": "P",
        "deviceVersion": "1",
        "eventID": "E",
        "src": "1.2.3.4",
        "usrName": "a b",
    }


def test_the_header_is_found_behind_other_text() -> None:
    assert find("Jan  1 00:00:00 fw CEF:0|") == 19
    assert find("CEF: 0|") == 0
    assert find("CEF:x|") == find("LEEF:3.0|") == find("") == -1


def test_a_bare_line_with_too_few_parts_keeps_its_message() -> None:
    assert one(syslog.read_cef, "CEF:0|V|P") == {"message": "CEF:0|V|P"}


def test_too_many_extensions_leave_the_message_whole() -> None:
    line = "CEF:0|V|P|1|1|n|1|" + " ".join(f"k{number}=1" for number in range(EXTENSIONS_MAX + 1))
    assert one(syslog.read_cef, line) == {"message": line}


def test_gb18030_is_read() -> None:
    found, bad = outcome(syslog.read_cef, [f"<134>CEF:0|厂商|P|1|1|{CHINESE}|1|msg=拒绝 src=1.2.3.4".encode("gb18030")])
    assert not bad
    assert (found[0][1]["deviceVendor"], found[0][1]["name"], found[0][1]["msg"]) == ("厂商", CHINESE, "拒绝")

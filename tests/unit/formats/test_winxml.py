"""Windows events in XML: one, many, broken, and those of Sysmon for Linux."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.errors import InputError, LimitExceeded, ParseError, SchemaError
from mingjian.formats import winxml
from mingjian.formats.winxml import parse_event_xml
from mingjian.model.blocks import Piece, Quarantined
from mingjian.model.values import EMPTY, Record

SYSMON_LINUX = (
    '<Event><System><Provider Name="Linux-Sysmon" Guid="{ff032593-a8d3-4f13-b0d6-01fc615a0f97}"/><EventID>1</EventID>'
    '<Version>5</Version><TimeCreated SystemTime="2022-01-02T03:04:05.000000Z"/><EventRecordID>12</EventRecordID>'
    '<Correlation/><Execution ProcessID="900" ThreadID="901"/><Channel>Linux-Sysmon/Operational</Channel>'
    '<Computer>host</Computer><Security UserId="0"/></System><EventData><Data Name="RuleName">-</Data>'
    '<Data Name="CommandLine">cat /etc/passwd &gt; &quot;x&quot;</Data><Data Name="User">root</Data>'
    '<Data Name="ParentImage"></Data></EventData></Event>'
)


def event(number: int, data: str = "") -> str:
    return f"<Event xmlns='u'><System><EventID>{number}</EventID></System><EventData>{data}</EventData></Event>"


def read(*chunks: bytes) -> tuple[list[tuple[int, Record, bytes]], list[Quarantined]]:
    records: list[tuple[int, Record, bytes]] = []
    problems: list[Quarantined] = []
    for item in winxml.read(Piece(file="f", chunks=iter(chunks))):
        if isinstance(item, Quarantined):
            problems.append(item)
        else:
            records += [(number, item.record(row), item.raw(row)) for row, number in enumerate(item.numbers)]
    return records, problems


def test_sysmon_for_linux_gives_the_names_of_sysmon() -> None:
    assert parse_event_xml(SYSMON_LINUX) == {
        "Provider_Name": "Linux-Sysmon",
        "Provider_Guid": "{ff032593-a8d3-4f13-b0d6-01fc615a0f97}",
        "EventID": 1,
        "Version": 5,
        "TimeCreated_SystemTime": "2022-01-02T03:04:05.000000Z",
        "EventRecordID": 12,
        "Correlation": EMPTY,
        "Execution_ProcessID": 900,
        "Execution_ThreadID": 901,
        "Channel": "Linux-Sysmon/Operational",
        "Computer": "host",
        "Security_UserId": "0",
        "RuleName": "-",
        "CommandLine": 'cat /etc/passwd > "x"',
        "User": "root",
        "ParentImage": EMPTY,
    }


def test_names_follow_the_rules_of_event_logs() -> None:
    record = parse_event_xml(
        "<e:Event xmlns:e='u'><e:System><e:EventID Qualifiers='16384'>7045</e:EventID><e:Level>4</e:Level></e:System>"
        "<e:EventData Name='n'><e:Data>x</e:Data><e:Data/><e:Data Name='a b'>日志</e:Data><e:Binary>00FF</e:Binary>"
        "</e:EventData><e:RenderingInfo Culture='en-US'><e:Message>hello</e:Message><e:Level>Information</e:Level>"
        "</e:RenderingInfo></e:Event>"
    )
    assert record == {
        "EventID_Qualifiers": 16384,
        "EventID": 7045,
        "Level": 4,
        "EventData_Name": "n",
        "ab": "日志",
        "Binary": "00FF",
        "Data": ["x", EMPTY],
        "RenderingInfo_Culture": "en-US",
        "Message": "hello",
        "RenderingInfo_Level": "Information",
    }


def test_numbers_that_are_not_written_plainly_stay_text() -> None:
    record = parse_event_xml("<Event><System><EventID>007</EventID><Task>0x1</Task><Level>-1</Level></System></Event>")
    assert record == {"EventID": "007", "Task": "0x1", "Level": -1}


def test_characters_that_xml_forbids_are_marked_and_the_event_is_kept() -> None:
    for bad in ("\x02", "&#2;", "&#x0B;", "\udc80"):
        assert parse_event_xml(event(1, f"<Data Name='a'>x{bad}y</Data>"))["a"] == "x\ufffdy"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("<Event/>", SchemaError),
        ("<Event><System/><System/></Event>", SchemaError),
        ("<Events/>", SchemaError),
        ("<Event><System>", ParseError),
        ("<!DOCTYPE x><Event><System/></Event>", ParseError),
        (event(1, "<a>" * 70 + "</a>" * 70), LimitExceeded),
        (event(1, "".join(f"<Data Name='n{number}'/>" for number in range(10_001))), LimitExceeded),
    ],
)
def test_what_is_no_event_is_an_input_error(text: str, error: type[InputError]) -> None:
    with pytest.raises(error):
        parse_event_xml(text)


@pytest.mark.parametrize(
    "wrap", ["{}{}", "{}\r\n\r\n{}\n", "<?xml version='1.0'?>\n<Events xmlns='x'>{} <!-- c -->{}</Events>"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_events_are_found_however_they_are_put_together(wrap: str, encoding: str) -> None:
    one, two = event(1, "<Data Name='x'>日志</Data>"), event(2)
    records, problems = read(wrap.format(one, two).encode(encoding))
    assert [(number, record["EventID"]) for number, record, _ in records] == [(1, 1), (2, 2)]
    assert records[0][2] == one.encode()
    assert problems == []


def test_events_in_gb18030_are_read() -> None:
    records, problems = read(event(1, "<Data Name='x'>日志</Data>").encode("gb18030"))
    assert records[0][1]["x"] == "日志"
    assert problems == []


def test_a_broken_event_costs_only_itself() -> None:
    text = (
        f"{event(1)}\n<Event><System><EventID>2</EventID>\n{event(3)}\n{event(4, '<x></y>')}junk{event(5)}<Event><Sys"
    )
    records, problems = read(text.encode())
    assert [(number, record["EventID"]) for number, record, _ in records] == [(1, 1), (3, 3), (5, 5)]
    assert [(problem.record, problem.data.decode()[:20]) for problem in problems] == [
        (2, "<Event><System><Even"),
        (4, "<Event xmlns='u'><Sy"),
        (0, "junk"),
        (6, "<Event><Sys"),
    ]
    assert [text.encode()[problem.offset :].startswith(problem.data) for problem in problems] == [True] * 4


def test_an_event_that_is_too_long_is_quarantined_and_reading_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winxml, "EVENT_BYTES_MAX", 1000)
    text = (event(1) + event(2, "x" * 5000) + event(3)).encode()
    for size in (1, 90, 1500, 10_000):
        records, problems = read(*[text[at : at + size] for at in range(0, len(text), size)])
        assert [record["EventID"] for _, record, _ in records] == [1, 3]
        assert [problem.reason for problem in problems] == ["more than EVENT_BYTES_MAX allows (1,000)"]
        assert problems[0].data == event(2, "x" * 5000).encode()[:1001]


_PARTS = st.lists(
    st.sampled_from(
        [
            event(1),
            event(2, "日"),
            "<Event>",
            "</Event>",
            "<Events>",
            "\n",
            "junk",
            "<!-- x -->",
            "<x:Event a='1'>",
            "<EventX/>",
        ]
    ),
    max_size=12,
)


@given(_PARTS, st.lists(st.integers(1, 60), min_size=1, max_size=6), st.sampled_from(["utf-8", "utf-16", "gb18030"]))
def test_how_the_bytes_are_cut_never_changes_the_events(parts: list[str], sizes: list[int], encoding: str) -> None:
    data = "".join(parts).encode(encoding)
    pieces: list[bytes] = []
    rest = data
    while rest:
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(rest[:size])
        rest = rest[size:]
    assert read(*pieces) == read(data)

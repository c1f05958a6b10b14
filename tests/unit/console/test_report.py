"""The HTML report: what it says, that it says it of everything, and that it is one file."""

import base64
import datetime
import hashlib
import io
import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from htmlpage import Element, parsed
from mingjian.console import evidence
from mingjian.console.report import write_report
from mingjian.hunt.detection import Summary
from mingjian.model.detections import Detection
from mingjian.settings import Language

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
"""2023-11-14 22:13:20 UTC."""
WRITTEN = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
SUMMARY = Summary(files=2, events=1234, bytes=4096, seconds=1.5, rules_loaded=10, rules_fired=2)


def detection(**given: Any) -> Detection:
    base: dict[str, Any] = {
        "time_us": START,
        "level": "high",
        "rule_id": "11111111-aaaa-bbbb-cccc-000000000001",
        "rule_title": "A tool read the memory of LSASS",
        "attack": ("T1003.001",),
        "host": "dc01",
        "account": "EXAMPLE\\eve",
        "stream": "windows/sysmon/10",
        "file": "logs/one.evtx",
        "record": 7,
        "matched": {"TargetImage": "C:\\Windows\\lsass.exe"},
    }
    return Detection(**base | given)


def written(*found: Detection, summary: Summary = SUMMARY, language: Language = "en") -> str:
    stream = io.StringIO()
    write_report(stream, lambda: iter(found), summary, language, written_at=WRITTEN)
    return stream.getvalue()


def page(*found: Detection, summary: Summary = SUMMARY, language: Language = "en") -> Element:
    return parsed(written(*found, summary=summary, language=language))


def rows(of: Element) -> list[Element]:
    return of.by_id("rows").all("details", of="detection")


def words(element: Element) -> str:
    return re.sub(r"[ \n]+", " ", element.text).strip()


def facts(row: Element) -> dict[str, str]:
    found = row.one("dl", of="facts")
    names = [words(each) for each in found.all("dt")]
    return dict(zip(names, [words(each) for each in found.all("dd")], strict=True))


def test_the_first_sentence_says_how_much_the_worst_where_and_since_when() -> None:
    found = [
        detection(rule_id="r-low", rule_title="Noise", level="low", time_us=START - 5 * SECOND, host="pc02"),
        *[detection(time_us=START + n * SECOND, host=f"pc{n:02}") for n in range(3)],
    ]
    assert words(page(*found).one("h1")) == (
        "4 detections on 3 hosts: 3 high, 1 low. The worst: A tool read the memory of LSASS, on pc00 and 2 more, "
        "since 2023-11-14 22:13:20 UTC, 3 times."
    )
    assert words(page(*found, language="zh").one("h1")) == (
        "3 台主机上有 4 处检出：高 3、低 1。最严重的是：A tool read the memory of LSASS，主机 pc00 及另外 2 台，"
        "始于 2023-11-14 22:13:20 UTC，共 3 次。"
    )


def test_the_worst_rule_is_that_with_the_highest_level_not_the_noisiest() -> None:
    found = [detection(rule_id="a", rule_title="Noisy", level="high") for _ in range(9)]
    found.append(detection(rule_id="b", rule_title="Grave", level="critical", host="", time_us=None))
    assert words(page(*found).one("h1")).endswith("The worst: Grave, once.")


def test_without_detections_the_page_says_why_it_is_empty() -> None:
    nothing = page()
    assert words(nothing.one("h1")) == (
        "No rule matched. 1\u202f234 events in 2 files were read, and 10 rules were loaded."
    )
    assert rows(nothing) == []
    unread = page(summary=Summary(files=2, quarantined=2))
    assert words(unread.one("h1")) == "Nothing could be seen: not one event was read from 2 files."


def test_what_could_not_be_seen_stands_at_the_top() -> None:
    summary = Summary(
        files=3,
        events=10,
        quarantined=1,
        rules_skipped=2,
        untimed_matches=4,
        events_by_stream={"unknown/json": 3, "unknown/text": 2, "windows/sysmon/1": 5},
    )
    blind = page(detection(time_us=None), summary=summary).one("div", of="blind")
    assert [words(line) for line in blind.all("li")] == [
        "1 piece of input could not be read and is in quarantine",
        "5 events are of no known source: only rules without log source looked at them (mingjian sources check)",
        "2 rules could not be used (mingjian rules check)",
        "1 detection has no time",
        "4 matches have no time and could not be correlated",
    ]


def test_if_everything_was_seen_the_page_says_that() -> None:
    seen = page(detection())
    assert seen.all("div", of="blind") == []
    assert "All input was read, and every event is of a known source." in words(seen.one("header"))


def test_every_detection_has_a_row_with_its_evidence() -> None:
    one = detection(atoms=("TargetImage = '*\\lsass.exe'", "GrantedAccess = 0x1010"))
    (row,) = rows(page(one))
    assert words(row.one("summary")) == (
        "high2023-11-14 22:13:20A tool read the memory of LSASSdc01EXAMPLE\\eveT1003.001"
    )
    matched = row.one("dl", of="matched")
    assert [words(each) for each in matched.all("dt")] == ["TargetImage"]
    assert [words(each) for each in matched.all("dd")] == ["C:\\Windows\\lsass.exe"]
    assert [words(each) for each in row.one("ul", of="atoms").all("li")] == list(one.atoms)
    assert facts(row) == {
        "File": "logs/one.evtx",
        "Record": "7",
        "Stream": "windows/sysmon/10",
        "Time (UTC)": "2023-11-14T22:13:20.000000Z",
        "Host": "dc01",
        "Account": "EXAMPLE\\eve",
        "Rule": one.rule_title,
        "Rule id": one.rule_id,
        "Techniques": "T1003.001 LSASS Memory",
    }


def test_the_command_to_see_more_is_one_word_for_the_shell_whatever_the_file_is_called() -> None:
    name = "a b/$(reboot)'; rm -rf ~ #.evtx"
    (row,) = rows(page(detection(file=name, record=12, rule_id="--r $(x)'")))
    assert shlex.split(row.one("pre", of="command").text) == [
        *("mingjian", "rules", "explain", "--rules=RULES"),
        f"--event={name}:12",
        *("--", "--r $(x)'"),
    ]


def test_there_is_no_command_where_none_would_work() -> None:
    (row,) = rows(page(detection(file="a\nb.evtx")))
    assert row.all("pre") == []
    assert "no command to copy" in words(row)
    (row,) = rows(page(detection(kind="correlation", stream="", atoms=("rule one.evtx:3",))))
    assert row.all("pre") == []
    assert facts(row)["Kind"] == "correlation of several events"
    assert "Events that made it" in words(row)


def test_the_worst_come_first_and_then_it_goes_by_time() -> None:
    levels = ("low", "critical", "medium", "critical", "informational", "high")
    found = [detection(level=level, rule_id=level, time_us=START + n, record=n) for n, level in enumerate(levels)]
    assert [facts(row)["Record"] for row in rows(page(*found))] == ["1", "3", "5", "2", "0", "4"]


def test_names_lead_to_their_first_row() -> None:
    found = [detection(host="quiet", level="low", rule_id="x", rule_title="X"), detection(host="loud")]
    top = page(*found).by_id("top")
    links = {words(link): link.attributes["href"] for link in top.all("a") if link.attributes["href"] != "#rules"}
    assert links == {
        "A tool read the memory of LSASS": "#d1",
        "X": "#d2",
        "loud": "#d1",
        "quiet": "#d2",
        "EXAMPLE\\eve": "#d1",
    }


def test_rows_beyond_the_limit_are_counted_by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence.quotas, "__defaults__", (10,))
    found = [detection(rule_id="noisy", rule_title="Noisy", record=n) for n in range(100)]
    found += [detection(rule_id="rare", rule_title="Rare", level="low", record=n) for n in range(3)]
    shown = page(*found)
    assert len(rows(shown)) == 10
    assert "10 of 103 detections are listed here: at most 7 of each rule" in words(shown.by_id("detections"))
    table = [[words(cell) for cell in line.all("td")] for line in shown.by_id("rules").all("tr")]
    assert [line[1:4] for line in table if line] == [["Noisy", "100", "7"], ["Rare", "3", "3"]]


def test_the_matrix_folds_sub_techniques_and_counts_each_detection_once_for_a_technique() -> None:
    found = [
        *[detection(attack=("T1003.001", "T1003.002"), rule_id="a") for _ in range(3)],
        detection(attack=("T1003",), rule_id="b"),
        detection(attack=("T1059.001",), rule_id="c", level="critical"),
        detection(attack=("T0000",), rule_id="d"),
        *[detection(attack=(), rule_id="e") for _ in range(2)],
    ]
    matrix = page(*found).by_id("attack")
    columns = matrix.one("div", of="matrix").all("section")
    assert [words(column.one("h3")) for column in columns] == [
        "Execution1",
        "Credential Access4",
        "Not in the ATT&CK data at hand1",
    ]
    dumping = columns[1].one("details")
    assert words(dumping.one("summary")) == "highOS Credential Dumping4"
    assert [words(each) for each in dumping.one("ul").all("li")] == [
        "T1003.001 LSASS Memory 3",
        "T1003.002 Security Account Manager 3",
    ]
    assert "2 detections are by rules that name no technique." in words(matrix)
    assert "No detection: Reconnaissance, Resource Development, Initial Access, Persistence" in words(matrix)


def test_the_timeline_has_a_table_with_the_same_numbers() -> None:
    found = [detection(time_us=START + n * 3600 * SECOND, level=("low" if n else "high")) for n in (0, 1, 1, 30)]
    timeline = page(*found).by_id("time")
    assert [[words(cell) for cell in row.all("td")] for row in timeline.one("table").all("tr")][1:] == [
        ["2023-11-14 22:00", "", "1", "", "", "", "1"],
        ["2023-11-14 23:00", "", "", "", "2", "", "2"],
        ["2023-11-16 04:00", "", "", "", "1", "", "1"],
    ]
    assert "One bar is 1 hour" in words(timeline)
    bars = timeline.all("g")
    assert len(bars) == 3
    assert float(bars[2].one("rect").attributes["x"].rstrip("%")) > 90


def test_without_times_there_is_no_timeline_and_the_page_says_so() -> None:
    timeline = page(detection(time_us=None)).by_id("time")
    assert timeline.all("svg") == []
    assert "No detection has a time." in words(timeline)


def test_what_cannot_be_seen_is_written_out_and_marked() -> None:
    text = "a\u202eexe.txt\x1b[2J\r\nline two\0\ud800\u200b"
    (row,) = rows(page(detection(matched={"CommandLine": text, "k\u2066ey": "v"}, host="h\u202e")))
    value = row.one("dl", of="matched").one("dd").one("code")
    assert value.text == "a\\u202eexe.txt\\x1b[2J\\r\\nline two\\x00\\ud800\\u200b"
    assert [mark.text for mark in value.all("b", of="mark")] == [
        *("\\u202e", "\\x1b", "\\r", "\\n", "\\x00", "\\ud800", "\\u200b")
    ]
    assert len(value.all("br")) == 1
    assert "h\\u202e" in words(row.one("summary"))


def test_long_values_and_many_fields_are_cut_and_the_page_says_how_much() -> None:
    matched = {f"f{n:02}": "x" * 1_500 for n in range(30)}
    (row,) = rows(page(detection(matched={"long": "y" * 5_000} | matched, atoms=tuple(map(str, range(40))))))
    text = words(row)
    assert "… 3\u202f000 more characters" in text
    assert "7 more fields are not shown." in text
    assert "10 more are not shown." in text
    assert len(row.text) < 10_000


def test_the_page_is_one_file_that_names_no_other() -> None:
    html = written(detection(matched={"Url": "http://evil.example/x"}))
    tree = parsed(html)
    for element in tree.all():
        assert not element.attributes.keys() & {"src", "srcset", "action", "formaction", "poster", "data", "style"}
        assert element.attributes.get("href", "#").startswith("#")
        assert not [name for name in element.attributes if name.startswith(("on", "xlink"))]
    assert {"link", "img", "iframe", "object", "base", "image", "use"}.isdisjoint(e.tag for e in tree.all())
    assert not re.search(r"url\(|@import|image-set|expression", tree.one("style").text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function|fetch|XML", html)
    assert "http" not in html.replace("http://evil.example/x", "").replace('http-equiv="', "")


def test_the_policy_allows_exactly_the_style_and_the_script_of_the_page() -> None:
    tree = page(detection())
    policy = next(e for e in tree.all("meta") if "http-equiv" in e.attributes).attributes["content"]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def hash_of(tag: str) -> str:
        (element,) = tree.all(tag)
        return f"'sha256-{base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()}'"

    assert parts == {
        "default-src": "'none'",
        "style-src": hash_of("style"),
        "script-src": hash_of("script"),
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_ids_are_unique_and_every_link_leads_somewhere() -> None:
    tree = page(*[detection(record=n, rule_id=str(n % 3), host=f"h{n}", attack=("T1059", "T9999")) for n in range(9)])
    ids = [e.attributes["id"] for e in tree.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert {e.attributes["href"][1:] for e in tree.all("a")} <= set(ids)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_same_input_gives_the_same_page(language: Language) -> None:
    found = [detection(record=n, host=f"h{n % 4}", attack=("T1059", "T1003.001")) for n in range(20)]
    assert written(*found, language=language) == written(*found, language=language)


def test_the_chinese_page_is_in_chinese() -> None:
    tree = page(detection(kind="correlation", atoms=("a",)), language="zh")
    assert tree.one("html").attributes["lang"] == "zh-Hans"
    titles = [words(title) for title in tree.all("h2") + tree.all("h4")]
    assert [title for title in titles if not re.search("[\u4e00-\u9fff]", title)] == []


def test_a_stream_that_is_not_utf8_gets_the_same_page_in_ascii() -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="gb18030", newline="")
    one = detection(rule_title="嗅探 \ud800", host="détour")
    write_report(stream, lambda: iter([one]), SUMMARY, "zh", written_at=WRITTEN)
    stream.flush()
    html = buffer.getvalue().decode("ascii")
    assert parsed(html).text == page(one, language="zh").text


def test_detections_are_streamed_and_asked_for_twice() -> None:
    calls = itertools.count()
    taken = 0

    def many() -> Iterator[Detection]:
        nonlocal taken
        next(calls)
        for n in range(3_000):
            taken += 1
            yield detection(rule_id=str(n % 2), record=n)

    write_report(io.StringIO(), many, SUMMARY, "en")
    assert next(calls) == 2
    assert taken <= 6_000


def test_the_time_of_writing_is_now_if_none_is_given() -> None:
    stream = io.StringIO()
    write_report(stream, lambda: iter(()), SUMMARY, "en")
    found = re.search(r"Written (\d{4}-\d\d-\d\d \d\d:\d\d) UTC", stream.getvalue())
    assert found is not None
    age = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(found[1] + "+00:00")
    assert datetime.timedelta(0) <= age < datetime.timedelta(minutes=5)


def test_the_command_line_loads_no_template_engine_before_a_report_is_asked_for() -> None:
    code = "import sys, mingjian.cli.detect; print('jinja2' in sys.modules); "
    code += "import mingjian.console.report as r, io; from mingjian.hunt.detection import Summary; "
    code += "r.write_report(io.StringIO(), lambda: iter(()), Summary(files=0), 'en'); "
    code += "print('jinja2' in sys.modules, 'pymispgalaxies' in sys.modules)"
    told = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=True, text=True).stdout
    assert told.split() == ["False", "True", "False"]


def test_every_field_of_a_detection_is_on_the_page() -> None:
    """A field that is added to the model must be added here, or be left out on purpose."""
    one = detection(atoms=("an atom",))
    html = parsed(written(one)).text
    for name, value in json.loads(msgspec.json.encode(one)).items():
        if name == "time_us":
            value = "2023-11-14T22:13:20.000000Z"
        for text in (
            list(value) + list(value.values())
            if isinstance(value, dict)
            else value
            if isinstance(value, list)
            else [value]
        ):
            assert str(text) in html, name

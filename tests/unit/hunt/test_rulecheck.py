"""What ``rules check`` says of each document."""

from __future__ import annotations

from pathlib import Path

import pytest

from mingjian.hunt.rulebook import Rulebook, load_rulebook
from mingjian.hunt.rulecheck import CheckedRule, check, file_states
from mingjian.model.rules import LogSource
from mingjian.model.sources import Stream
from mingjian.sources.definitions import load_sources

STREAMS = (
    Stream(
        name="windows/sysmon/1",
        source="sysmon",
        family="windows",
        logsources=(LogSource("windows", None, "sysmon"), LogSource("windows", "process_creation", None)),
    ),
    Stream(name="zeek/dns", source="zeek", family="zeek", logsources=(LogSource("zeek", "dns", "dns"),)),
    Stream(name="windows/rest", source="windows", family="windows"),
)


def rule(name: str, logsource: str, value: int = 1) -> str:
    return f"title: {name}\nid: {name}\nlogsource: {logsource}\ndetection: {{s: {{F: {value}}}, condition: s}}\n"


def correlation(name: str, rules: str, type_: str, more: str = "") -> str:
    parts = f"type: {type_}, rules: {rules}, timespan: 1m, group-by: [a]{more}"
    return f"title: {name}\nid: {name}\ncorrelation: {{{parts}}}\n"


@pytest.fixture
def book(tmp_path: Path) -> Rulebook:
    files = {
        "a.yml": rule("proc", "{product: windows, category: process_creation}"),
        "b.yml": rule("mac", "{product: macos}"),
        "c.yml": "a: [",
        "d.yml": rule("all", "{definition: x}"),
        "e.yml": "---\n".join(
            [
                correlation("both", "[proc, mac]", "temporal"),
                correlation("either", "[proc, mac]", "event_count", ", condition: {gte: 2}"),
                correlation("words", "[proc, mac]", "temporal", ", condition: proc or mac"),
                correlation("neither", "[mac]", "event_count", ", condition: {gte: 2}"),
                correlation("broken", "[nobody]", "temporal"),
            ]
        ),
        "f.yml": "title: f\nid: fil\nlogsource: {product: windows}\n"
        "filter: {rules: [proc, nobody], selection: {U: x}, condition: not selection}\n",
        "g.yml": rule("proc", "{product: windows, category: process_creation}"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return load_rulebook([tmp_path])


def rows(book: Rulebook) -> dict[str, CheckedRule]:
    return {row.rule_id or Path(row.file).name: row for row in check(book, STREAMS) if Path(row.file).name != "g.yml"}


def test_each_document_has_one_row(book: Rulebook) -> None:
    assert [(Path(row.file).name, row.document, row.kind, row.state) for row in check(book, STREAMS)] == [
        ("a.yml", 1, "rule", "loaded"),
        ("b.yml", 1, "rule", "unfed"),
        ("c.yml", 0, "", "skipped"),
        ("d.yml", 1, "rule", "loaded"),
        ("e.yml", 1, "correlation", "unfed"),
        ("e.yml", 2, "correlation", "loaded"),
        ("e.yml", 3, "correlation", "loaded"),
        ("e.yml", 4, "correlation", "unfed"),
        ("e.yml", 5, "", "skipped"),
        ("f.yml", 1, "filter", "loaded"),
        ("g.yml", 1, "", "skipped"),
    ]


def test_the_counts_add_up_to_the_files(book: Rulebook) -> None:
    states = file_states(book, check(book, STREAMS))
    assert states == {"loaded": 3, "unfed": 1, "skipped": 3}
    assert sum(states.values()) == len(book.files)


def test_sources_are_the_streams_that_could_feed_a_rule(book: Rulebook) -> None:
    found = rows(book)
    assert found["proc"].sources == ("windows/sysmon/1",)
    assert found["all"].sources == ("windows/sysmon/1", "zeek/dns", "windows/rest")
    assert found["either"].sources == ("windows/sysmon/1",)
    assert found["fil"].sources == ("windows/sysmon/1",)
    assert found["mac"].sources == ()


def test_reasons_say_what_is_missing(book: Rulebook) -> None:
    found = rows(book)
    assert "macos/*/*" in found["mac"].reason
    assert "mac" in found["both"].reason
    assert "not YAML" in found["c.yml"].reason
    assert "'nobody'" in found["broken"].reason
    assert "'nobody'" in found["fil"].reason
    assert found["proc"].reason == ""
    assert "same rule" in check(book, STREAMS)[-1].reason


@pytest.mark.slow
def test_nearly_every_rule_of_sigmahq_has_a_source(shared_data: Path, tmp_path: Path) -> None:
    book = load_rulebook(sorted((shared_data / "sigma").glob("rules*")), cache_folder=tmp_path, jobs=2)
    checked = check(book, load_sources().streams())
    states = file_states(book, checked)
    assert len(checked) == len(book.files) == sum(states.values()) == 3_777
    assert states["skipped"] == 25
    assert states["loaded"] >= 0.95 * 3_777


def test_a_correlation_that_cannot_be_run_is_skipped_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(rule("proc", "{product: windows, category: process_creation}"))
    fields = ", ".join(f"f{number}" for number in range(200))
    (tmp_path / "b.yml").write_text(
        "title: wide\nid: wide\n"
        "correlation: {type: event_count, rules: [proc], timespan: 1m, condition: {gte: 2}, "
        f"group-by: [{fields}]" + "}\n"
    )
    (row,) = [row for row in check(load_rulebook([tmp_path]), STREAMS) if row.rule_id == "wide"]
    assert (row.state, row.kind) == ("skipped", "")
    assert "GROUP_FIELDS_MAX" in row.reason

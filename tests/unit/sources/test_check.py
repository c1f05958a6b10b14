"""The report on what definitions make of logs."""

from pathlib import Path

from mingjian.formats.records import RecordBlock
from mingjian.model.values import Record
from mingjian.sources.check import EXAMINED_MAX, Check
from mingjian.sources.definitions import DefinitionFile, build_book, load_sources
from mingjian.sources.router import Router

OWN = [
    {
        "edr": {"sensor": "pc-7", "ts": "2026-03-05T10:00:00Z"},
        "proc": {"path": "C:\\a.exe", "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        "user": "CORP\\alice",
        "srcIp": "192.0.2.1",
        "dst": {"ip": "192.0.2.2"},
        "dns_query": "evil.example.com",
        "two words: {": [1],
    },
    {
        "edr": {"sensor": "pc-8", "ts": "2026-03-05T10:00:01Z"},
        "proc": {"path": "b"},
        "user": "bob",
        "srcIp": "192.0.2.9",
    },
]
PARTLY = b"""
family: demo
order: 1
fallback: demo/{Kind}
layouts: [{name: plain, recognise: {present: [kind]}, names: {Kind: [kind]}}]
---
id: demo-known
family: demo
title: {en: Known}
match: {Kind: [known]}
logsources: [{product: demo}]
time: [at, later]
host: [host]
observables: [{field: ip, kind: ip, role: source}, {field: mail, kind: email, role: sender}]
ocsf: {class: 4001, paths: {src_endpoint.port: port}}
streams: [{name: demo/known, fields: {Image: [exe]}}]
"""


def checked(records: list[Record], definitions: bytes = PARTLY) -> Check:
    check = Check(build_book([DefinitionFile("demo.yml", definitions)]))
    check.add(RecordBlock("jsonl", range(len(records)), records))
    return check


def test_it_counts_every_event_and_looks_into_some() -> None:
    records: list[Record] = [{"kind": "known", "at": "2026-03-05", "ip": "x"}] * (EXAMINED_MAX + 7)
    (report,) = checked(records).report()
    assert (report.events, report.examined, report.with_time) == (EXAMINED_MAX + 7, EXAMINED_MAX, EXAMINED_MAX)


def test_it_names_what_is_declared_and_never_there() -> None:
    (report,) = checked([{"kind": "known", "later": "2026-03-05", "ip": "192.0.2.1"}]).report()
    assert report.never == ("host", "mail")


def test_it_names_fields_that_the_definition_does_not_list() -> None:
    record: Record = {
        "kind": "known",
        "exe": "a",
        "port": 1,
        "ip": "b",
        "new": {"deep": 1, "list": [{"x": 1}]},
        "nil": None,
    }
    (report,) = checked([record]).report()
    assert set(report.unlisted) == {"new.deep", "new.list.x"}


def test_streams_without_a_source_come_first_with_a_definition_to_fill_in() -> None:
    reports = checked([{"kind": "known"}, {"kind": "strange", "ip": "192.0.2.1"}, {"x": 1}]).report()
    assert [report.stream for report in reports] == ["demo/strange", "unknown/jsonl", "demo/known"]
    assert 'match: {Kind: ["strange"]}' in reports[0].stub
    assert reports[2].stub == ""


def test_the_stub_for_unknown_records_loads_and_takes_them() -> None:
    check = Check(load_sources())
    check.add(RecordBlock("jsonl", [1, 2], OWN))
    (unknown,) = check.report()
    assert unknown.stream == "unknown/jsonl"
    book = build_book([DefinitionFile("stub.yml", unknown.stub.encode(), own=True)])
    assert book.skipped == ()
    (portion,) = Router(book).route(RecordBlock("jsonl", [1, 2], OWN))
    stream = portion.view.stream
    assert (stream.source, stream.time, stream.host, stream.account) == (
        "my-source",
        ("edr.ts",),
        ("edr.sensor",),
        ("user",),
    )
    assert {(asked.field, asked.kind, asked.role) for asked in stream.observables} == {
        ("srcIp", "ip", "source"),
        ("dst.ip", "ip", "destination"),
        ("dns_query", "domain", "query"),
        ("proc.sha256", "hash", "mentioned"),
    }


def test_a_stub_for_a_family_that_is_known_loads_too() -> None:
    strange: list[Record] = [{"kind": "strange: [", "when": "2026-03-05T10:00:00Z"}]
    (report,) = checked(strange).report()
    book = build_book([DefinitionFile("demo.yml", PARTLY), DefinitionFile("stub.yml", report.stub.encode(), own=True)])
    assert book.skipped == ()
    (portion,) = Router(book).route(RecordBlock("jsonl", [1], strange))
    assert portion.view.stream.source == "my-source"


def test_hostile_field_names_stay_inside_the_stub() -> None:
    names = ["a\nid: b", "---", "#x", "{y", "'", '"', "null", "on", "\u2028", "- z", "x" * 500, "\ud800"]
    records: list[Record] = [dict.fromkeys(names, "2026-03-05T10:00:00Z") | {"time\nid: c": "2026-03-05"}]
    (report,) = checked(records).report()
    book = build_book([DefinitionFile("stub.yml", report.stub.encode("utf-8", "backslashreplace"), own=True)])
    assert book.skipped == ()
    assert [family.name for family in book.families] == ["my-source"]


def test_all_windows_samples_have_time_and_host() -> None:
    from mingjian.sources import files

    check = Check(load_sources())
    samples = Path(__file__).parents[2] / "samples" / "windows"
    found, missing = files.find([str(samples)])
    assert missing == []
    for task in files.plan(found, 1):
        for _, item in files.read(task, files.Counts(), check.first_paths):
            check.add(item)  # type: ignore[arg-type]  # nothing in the samples is quarantined
    for report in check.report():
        assert report.source.startswith("windows-")
        assert report.with_time == report.with_host == report.examined, report

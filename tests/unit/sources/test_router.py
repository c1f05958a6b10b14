"""Routing records to streams."""

import pytest

from mingjian.formats.records import RecordBlock
from mingjian.model.values import EMPTY, Record, Value
from mingjian.sources import router as router_module
from mingjian.sources.definitions import DefinitionFile, build_book
from mingjian.sources.router import Router, slug, texts_of

DEMO = b"""
family: first
order: 1
fallback: first/{Kind}
layouts:
  - {name: nested, recognise: {present: [meta.kind]}, names: {Kind: [meta.kind, meta.alias]}, search: [meta, ""]}
  - {name: flat, recognise: {present: [kind], absent: [stop]}, names: {Kind: [kind]}}
  - {name: only-csv, recognise: {formats: [csv]}}
---
id: alpha
family: first
title: {en: A}
match: {Kind: {startswith: [AB, x]}, Mode: {present: true}}
streams:
  - {name: first/alpha/one, when: {Mode: [1, true]}}
  - {name: first/alpha/list, when: {Mode: {contains: [st]}}}
  - {name: 'first/alpha/{Mode}', when: {Mode: {endswith: ['9']}}}
---
id: beta
family: first
title: {en: B}
match: {Kind: [beta]}
streams: [{name: first/beta}]
---
family: second
order: 2
fallback: second/all
layouts:
  - {name: typed, recognise: {equals: {type: [A, 7]}, startswith: {path: [/var]}}}
"""


@pytest.fixture
def router() -> Router:
    book = build_book([DefinitionFile("demo.yml", DEMO)])
    assert book.skipped == ()
    return Router(book)


def routed(router: Router, *records: Record, format_name: str = "jsonl") -> list[tuple[str, str]]:
    """Stream and layout of each record."""
    found: list[tuple[str, str]] = [("", "")] * len(records)
    for portion in router.route(RecordBlock(format_name, range(1, len(records) + 1), list(records))):
        for row in range(len(records)) if portion.rows is None else portion.rows:
            assert found[row] == ("", ""), "a row is in one portion only"
            found[row] = (portion.view.stream.name, portion.view.layout.name)
    return found


@pytest.mark.parametrize(
    ("record", "stream", "layout"),
    [
        ({"kind": "beta"}, "first/beta", "flat"),
        ({"kind": "BETA"}, "first/beta", "flat"),
        ({"kind": ["gamma", "beta"]}, "first/beta", "flat"),
        ({"meta": {"kind": "beta"}, "kind": "x"}, "first/beta", "nested"),
        ({"meta.kind": "beta"}, "first/beta", "nested"),
        ({"meta": {"kind": None, "alias": "beta"}, "kind": "beta"}, "first/beta", "flat"),
        ({"kind": "abc", "Mode": 1}, "first/alpha/one", "flat"),
        ({"kind": "abc", "Mode": "1"}, "first/alpha/one", "flat"),
        ({"kind": "abc", "Mode": True}, "first/alpha/one", "flat"),
        ({"kind": "abc", "Mode": 1.0}, "first/abc", "flat"),
        ({"kind": "abc", "Mode": ["last"]}, "first/alpha/list", "flat"),
        ({"kind": "abc", "Mode": 19}, "first/alpha/19", "flat"),
        ({"kind": "abc", "Mode": 2}, "first/abc", "flat"),
        ({"kind": "abc", "Mode": None}, "first/abc", "flat"),
        ({"kind": "abc"}, "first/abc", "flat"),
        ({"kind": {"a": 1}}, "first/none", "flat"),
        ({"kind": "Some Thing/Else"}, "first/some-thing-else", "flat"),
        ({"kind": "beta", "stop": 1}, "unknown/jsonl", "jsonl"),
        ({"kind": EMPTY}, "unknown/jsonl", "jsonl"),
        ({"type": "a", "path": "/VAR/log"}, "second/all", "typed"),
        ({"type": 7, "path": "/var"}, "second/all", "typed"),
        ({"type": "7", "path": "/usr"}, "unknown/jsonl", "jsonl"),
        ({}, "unknown/jsonl", "jsonl"),
    ],
)
def test_a_record_goes_to_its_stream(router: Router, record: Record, stream: str, layout: str) -> None:
    assert routed(router, record) == [(stream, layout)]


def test_neighbours_do_not_matter(router: Router) -> None:
    values: list[Value] = [1, True, "1", 1.0, "true", None, ["1"], [1], {"a": 1}, 0, False, EMPTY, "x9", 2**70]
    records: list[Record] = [{"kind": "abc", "Mode": value} for value in values]
    records += [{"meta": {"kind": value}, "Mode": 1} for value in values]
    records += [{"type": value, "path": "/var"} for value in values] + [{}]
    alone = [routed(Router(build_book([DefinitionFile("d", DEMO)])), record)[0] for record in records]
    assert routed(router, *records) == alone
    assert routed(router, *reversed(records)) == alone[::-1]
    assert routed(router, *records[::3]) == alone[::3]


def test_a_layout_for_one_format_is_not_tried_on_another(router: Router) -> None:
    assert routed(router, {"x": 1}, format_name="csv") == [("first/none", "only-csv")]
    assert routed(router, {"x": 1}) == [("unknown/jsonl", "jsonl")]


def test_there_is_one_view_for_each_stream_and_layout(router: Router) -> None:
    records: list[Record] = [{"kind": "beta"}, {"meta": {"kind": "beta"}}]
    first = router.route(RecordBlock("jsonl", [1, 2], records))
    second = router.route(RecordBlock("jsonl", [3, 4], records[::-1]))
    assert {id(portion.view) for portion in first} == {id(portion.view) for portion in second}
    assert len({id(portion.view) for portion in first}) == 2


def test_all_rows_of_one_view_are_one_portion_without_a_list_of_rows(router: Router) -> None:
    block = RecordBlock("jsonl", range(100), [{"kind": "beta", "n": n} for n in range(100)])
    (portion,) = router.route(block)
    assert portion.rows is None


def test_an_empty_block_has_no_portions(router: Router) -> None:
    assert router.route(RecordBlock("jsonl", [], [])) == []


def test_the_memory_is_bounded_and_forgetting_changes_nothing(router: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(router_module, "MEMO_ENTRIES_MAX", 10)
    monkeypatch.setattr(router_module, "VIEWS_MAX", 20)
    records: list[Record] = [{"kind": f"k{n}"} for n in range(200)]
    for _ in range(3):
        assert routed(router, *records) == [(f"first/k{n}", "flat") for n in range(200)]


def test_a_long_identity_is_not_remembered(router: Router) -> None:
    long = "b" * (router_module.MEMO_CHARACTERS_MAX + 1)
    assert routed(router, {"kind": long})[0][0] == "first/" + "b" * router_module.SLUG_CHARACTERS_MAX


def test_the_first_paths_are_those_of_the_layout_that_the_last_block_had(router: Router) -> None:
    routed(router, {"type": "a", "path": "/var"})
    assert set(router.paths("jsonl")) >= {"type", "path"}


def test_a_list_as_deep_as_a_reader_lets_through_is_no_error(router: Router) -> None:
    deep: Value = "beta"
    for _ in range(950):
        deep = [deep]
    assert routed(router, {"kind": deep}) == [("first/none", "flat")]


def test_a_slug_is_a_short_lower_case_name() -> None:
    assert slug("Windows PowerShell") == "windows-powershell"
    assert slug("../../etc") == "etc"
    assert slug("") == "none"
    assert len(slug("x" * 5000)) == router_module.SLUG_CHARACTERS_MAX


def test_the_texts_of_a_value_are_folded() -> None:
    assert texts_of("ÄB") == ("äb",)
    assert texts_of([1, [True, None]]) == ("1", "true")
    assert texts_of({"a": 1}) == ()
    assert texts_of(EMPTY) == ("",)

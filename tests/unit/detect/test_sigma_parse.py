"""Rules as written → expressions: every modifier, every shape, every refusal."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mingjian.detect.sigma.parse import parse_rules
from mingjian.model.rules import (
    ANY,
    ONE,
    And,
    Bool,
    Cidr,
    Compare,
    Exists,
    Expr,
    FieldRef,
    LogSource,
    Not,
    Null,
    Number,
    Or,
    Regex,
    Rule,
    SkippedRule,
    Text,
    TimePart,
)

BACKSLASH = "\\"


def document(detection: Mapping[str, object], **more: object) -> bytes:
    rule = {"title": "t", "id": "a-rule", "logsource": {"product": "windows"}, "detection": detection, **more}
    return json.dumps(rule, ensure_ascii=False).replace("1e-07", "1.0e-7").encode("utf-8", "backslashreplace")


def loaded(data: bytes, placeholders: Mapping[str, Sequence[str]] | None = None) -> Rule:
    parsed = parse_rules(data, placeholders=placeholders)
    assert not parsed.skipped, parsed.skipped
    return parsed.rules[0]


def refused(data: bytes) -> SkippedRule:
    parsed = parse_rules(data)
    assert not parsed.rules, parsed.rules
    return parsed.skipped[0]


def of(search: object, placeholders: Mapping[str, Sequence[str]] | None = None) -> Expr:
    """What one search identifier asks."""
    return loaded(document({"s": search, "condition": "s"}), placeholders).condition


def reason(search: object) -> str:
    return refused(document({"s": search, "condition": "s"})).reason


# --- shapes ---


def test_a_map_is_and_and_a_list_of_values_is_or() -> None:
    assert of({"A": ["x", "y"], "B": "z"}) == And((Or((Text("A", ("x",)), Text("A", ("y",)))), Text("B", ("z",))))


def test_a_list_of_maps_is_or() -> None:
    assert of([{"A": "x", "B": "y"}, {"C": "z"}]) == Or(
        (And((Text("A", ("x",)), Text("B", ("y",)))), Text("C", ("z",)))
    )


def test_a_list_of_plain_values_is_keywords_and_they_stand_anywhere() -> None:
    assert of(["ab*c", 42, True]) == Or(
        (Text(None, (ANY, "ab", ANY, "c", ANY)), Text(None, (ANY, "42", ANY)), Text(None, (ANY, "true", ANY)))
    )


def test_a_plain_value_is_a_keyword() -> None:
    assert of("mimikatz") == Text(None, (ANY, "mimikatz", ANY))


def test_maps_and_plain_values_may_be_mixed_in_a_list() -> None:
    assert of([{"A": "x"}, "kw", ["k1", "k2"]]) == Or(
        (Text("A", ("x",)), *(Text(None, (ANY, word, ANY)) for word in ("kw", "k1", "k2")))
    )


def test_keywords_under_all_are_and() -> None:
    assert of({"|all": ["a", "b"]}) == And((Text(None, (ANY, "a", ANY)), Text(None, (ANY, "b", ANY))))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("|startswith", Text(None, ("a", ANY))),
        ("|endswith", Text(None, (ANY, "a"))),
        ("|contains", Text(None, (ANY, "a", ANY))),
        ("|cased", Text(None, (ANY, "a", ANY), cased=True)),
        ("|re", Regex(None, "a")),
        ("|re|i", Regex(None, "a", "i")),
        ("|contains|neq", Not(Text(None, (ANY, "a", ANY)))),
    ],
)
def test_a_keyword_takes_modifiers(key: str, expected: Expr) -> None:
    assert of({key: "a"}) == expected


def test_several_conditions_are_or() -> None:
    rule = loaded(document({"a": {"A": 1}, "b": {"B": 2}, "condition": ["a", "not b"]}))
    assert rule.condition == Or((Number("A", 1), Not(Number("B", 2))))


def test_expressions_are_flat_and_without_repetition() -> None:
    rule = loaded(document({"a": {"A": ["x", "x"]}, "b": [{"A": "x"}, {"B": ["y"]}], "condition": "a or (b or a)"}))
    assert rule.condition == Or((Text("A", ("x",)), Text("B", ("y",))))


def test_numbers_of_different_kinds_are_not_taken_for_repetitions() -> None:
    assert of({"A": [1, 1.0, True, "1"]}) == Or((Number("A", 1), Number("A", 1.0), Bool("A", True), Text("A", ("1",))))
    kinds = of({"A": [1, 1.0]})
    assert isinstance(kinds, Or)
    assert [type(item.value) for item in kinds.items if isinstance(item, Number)] == [int, float]


# --- values ---


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("abc", ("abc",)),
        ("", ()),
        ("*", (ANY,)),
        ("**", (ANY,)),
        ("?", (ONE,)),
        ("*?*", (ONE, ANY)),
        ("?*?", (ONE, ONE, ANY)),
        ("a*b?c", ("a", ANY, "b", ONE, "c")),
        (r"\*", ("*",)),
        (r"\?x", ("?x",)),
        (r"\\*", (BACKSLASH, ANY)),
        (r"\\\*", (r"\*",)),
        (r"a\b", (r"a\b",)),
        (r"a\\b", (r"a\b",)),
        (r"a\\\b", (r"a\\b",)),
        (r"a\\\\b", (r"a\\b",)),
        ("a\\", ("a\\",)),
        ("a\\\\", ("a\\",)),
        (r"\\*\\", (BACKSLASH, ANY, BACKSLASH)),
        ("%name%", ("%name%",)),
    ],
)
def test_text_is_read_with_wildcards_and_escapes(written: str, parts: tuple[str | int, ...]) -> None:
    assert of({"F": written}) == Text("F", parts)


def test_null_true_false_and_numbers_keep_their_kind() -> None:
    assert of({"F": None}) == Null("F")
    assert of({"F": True}) == Bool("F", True)
    assert of({"F": 42}) == Number("F", 42)
    assert of({"F": [None, ""]}) == Or((Null("F"), Text("F", ())))
    assert of({"F": "true"}) == Text("F", ("true",))


@pytest.mark.parametrize("number", [0, -1, 2**53 + 1, 10**30, 2.0, 1.5, -0.5])
def test_a_number_is_exactly_what_is_written(number: float) -> None:
    found = of({"F": number})
    assert isinstance(found, Number)
    assert (found.value, type(found.value)) == (number, type(number))


def test_a_date_without_quotes_is_text() -> None:
    data = b"title: t\nlogsource: {product: x}\ndetection:\n  s:\n    D: 2024-01-31\n  condition: s\n"
    assert loaded(data).condition == Text("D", ("2024-01-31",))


# --- modifiers of text ---


@pytest.mark.parametrize(
    ("key", "value", "parts"),
    [
        ("F|contains", "a", (ANY, "a", ANY)),
        ("F|startswith", "a", ("a", ANY)),
        ("F|endswith", "a", (ANY, "a")),
        ("F|contains", "*a*", (ANY, "a", ANY)),
        ("F|contains", "", (ANY,)),
        ("F|startswith|endswith", "a", (ANY, "a", ANY)),
        ("F|contains", 42, (ANY, "42", ANY)),
        ("F|contains", 1.5, (ANY, "1.5", ANY)),
        ("F|contains", 0.0000001, (ANY, "1e-7", ANY)),
        ("F|endswith", False, (ANY, "false")),
        ("F|contains", "\\", (ANY, "\\", ANY)),
        ("F|startswith", r"\*", ("*", ANY)),
    ],
)
def test_position_modifiers(key: str, value: object, parts: tuple[str | int, ...]) -> None:
    assert of({key: value}) == Text("F", parts)


def test_all_links_with_and() -> None:
    assert of({"F|contains|all": ["a", "b"]}) == And((Text("F", (ANY, "a", ANY)), Text("F", (ANY, "b", ANY))))
    assert of({"F|all|contains": ["a", "b"]}) == of({"F|contains|all": ["a", "b"]})
    assert of({"F|all": ["a"]}) == Text("F", ("a",))


def test_cased_stays_wherever_it_stands() -> None:
    for key in ("F|cased|contains", "F|contains|cased"):
        assert of({key: "Ab"}) == Text("F", (ANY, "Ab", ANY), cased=True)
    assert of({"F|cased": 42}) == Text("F", ("42",), cased=True)


def test_neq_is_not_around_the_whole_item() -> None:
    assert of({"F|neq": ["a", 1, None]}) == Not(Or((Text("F", ("a",)), Number("F", 1), Null("F"))))
    assert of({"F|contains|all|neq": ["a", "b"]}) == Not(of({"F|contains|all": ["a", "b"]}))
    assert of({"F|fieldref|neq": "G"}) == Not(FieldRef("F", "G"))
    assert of({"F|exists|neq": False}) == Exists("F")


DASHES = ("-", "/", "–", "—", "―")


@pytest.mark.parametrize("dash", DASHES)
def test_windash_tries_every_dash_for_every_dash(dash: str) -> None:
    assert of({"F|windash|contains": f" {dash}f "}) == Or(tuple(Text("F", (ANY, f" {d}f ", ANY)) for d in DASHES))


def test_windash_leaves_dashes_inside_words() -> None:
    found = of({"F|windash": "-param-name"})
    assert found == Or(tuple(Text("F", (f"{d}param-name",)) for d in DASHES))
    assert of({"F|windash": "a-b - c"}) == Text("F", ("a-b - c",))


def test_windash_variants_are_or_also_under_all() -> None:
    found = of({"F|windash|contains|all": ["-a", "-b"]})
    assert isinstance(found, And)
    assert [type(item) for item in found.items] == [Or, Or]
    one = of({"F|windash": "-a /b"})
    assert isinstance(one, Or)
    assert len(one.items) == 25


def test_windash_and_cased_go_together() -> None:
    found = of({"F|cased|windash": "-A"})
    assert isinstance(found, Or)
    assert all(isinstance(item, Text) and item.cased for item in found.items)


# --- encodings ---


def test_base64_encodes_the_value() -> None:
    assert of({"F|base64": "foobar"}) == Text("F", (base64.b64encode(b"foobar").decode(),))
    assert of({"F|base64|contains": "明见"}) == Text("F", (ANY, base64.b64encode("明见".encode()).decode(), ANY))
    assert of({"F|base64": r"a\*b"}) == Text("F", (base64.b64encode(b"a*b").decode(),))


@given(
    st.text(
        alphabet=st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\ufffe\uffff"),
        min_size=2,
        max_size=12,
    ),
    st.binary(max_size=4),
    st.binary(max_size=4),
    st.sampled_from(["", "wide", "utf16be"]),
)
def test_base64offset_finds_the_value_wherever_it_stands(value: str, before: bytes, behind: bytes, wide: str) -> None:
    codec = {"": "utf-8", "wide": "utf-16-le", "utf16be": "utf-16-be"}[wide]
    key = "F|" + (wide + "|" if wide else "") + "base64offset|contains"
    escaped = value.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")
    found = of({key: escaped})
    variants = found.items if isinstance(found, Or) else (found,)
    inside = base64.b64encode(before + value.encode(codec) + behind).decode()
    hits = [v for v in variants if isinstance(v, Text) and str(v.parts[1]) in inside]
    assert hits
    if len(value.encode(codec)) > 3:  # what is found must not depend on the neighbours
        for variant in variants:
            assert isinstance(variant, Text)
            assert len(str(variant.parts[1])) >= len(value.encode(codec)) * 8 // 6 - 1


def test_base64offset_of_one_byte_keeps_what_is_certain() -> None:
    assert of({"F|base64offset|contains": "a"}) == Or((Text("F", (ANY, "Y", ANY)), Text("F", (ANY, "h", ANY))))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wide", "c\0m\0d\0"),
        ("utf16le", "c\0m\0d\0"),
        ("utf16be", "\0c\0m\0d"),
        ("utf16", "\udcff\udcfec\0m\0d\0"),
    ],
)
def test_utf16_is_the_bytes_of_the_value(name: str, expected: str) -> None:
    assert of({f"F|{name}": "cmd"}) == Text("F", (expected,))
    encoded = base64.b64encode(expected.encode(errors="surrogateescape")).decode()
    assert of({f"F|{name}|base64": "cmd"}) == Text("F", (encoded,))


def test_wide_keeps_wildcards_and_takes_any_text() -> None:
    assert of({"F|wide|contains": "a*b"}) == Text("F", (ANY, "a\0", ANY, "b\0", ANY))
    assert of({"F|wide|base64": "é明"}) == Text("F", (base64.b64encode("é明".encode("utf-16-le")).decode(),))
    assert of({"F|wide": "é"}) == Text("F", ("\udce9\0",))


# --- other types ---


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("F|re", "^a.*b", Regex("F", "^a.*b")),
        ("F|re|i|m|s", "a$", Regex("F", "a$", "ims")),
        ("F|re|s|i", "a", Regex("F", "a", "is")),
        ("F|re|ignorecase", "a", Regex("F", "a", "i")),
        ("F|re", r"C:\\x\*\?%", Regex("F", r"C:\\x\*\?%")),
        ("F|re|contains", "a", Regex("F", "a")),
        ("F|re|startswith", "a|b", Regex("F", r"\A(?:a|b)")),
        ("F|re|endswith", "a|b", Regex("F", r"(?:a|b)(?:\n?\z)")),
        ("F|re", 42, Regex("F", "42")),
        ("F|cidr", "10.0.0.0/8", Cidr("F", "10.0.0.0/8")),
        ("F|cidr", "10.1.2.3/8", Cidr("F", "10.0.0.0/8")),
        ("F|cidr", "::1", Cidr("F", "::1/128")),
        ("F|cidr", "2001:DB8::/32", Cidr("F", "2001:db8::/32")),
        ("F|fieldref", "G", FieldRef("F", "G")),
        ("F|fieldref|startswith", "G", FieldRef("F", "G", "startswith")),
        ("F|endswith|fieldref", "G", FieldRef("F", "G", "endswith")),
        ("F|fieldref|contains|cased", "G", FieldRef("F", "G", "contains", cased=True)),
        ("F|exists", True, Exists("F")),
        ("F|exists", False, Not(Exists("F"))),
        ("F|gt", 5, Compare("F", "gt", 5)),
        ("F|gte", 5.5, Compare("F", "gte", 5.5)),
        ("F|lt", -1, Compare("F", "lt", -1)),
        ("F|lte", 10**30, Compare("F", "lte", 10**30)),
        ("F|hour", 3, TimePart("F", "hour", "eq", 3)),
        ("F|hour|gte", 22, TimePart("F", "hour", "gte", 22)),
        ("F|week|neq", 1, Not(TimePart("F", "week", "eq", 1))),
        ("F|minute|lt", 1, TimePart("F", "minute", "lt", 1)),
        ("F|day", 1, TimePart("F", "day", "eq", 1)),
        ("F|month", 1, TimePart("F", "month", "eq", 1)),
        ("F|year|lte", 2024, TimePart("F", "year", "lte", 2024)),
    ],
)
def test_type_modifiers(key: str, value: object, expected: Expr) -> None:
    assert of({key: value}) == expected


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"F|nonsense": "a"}, "'nonsense' is not known"),
        ({"F|contains|contains": "a"}, "twice"),
        ({"F|contains": None}, "not null"),
        ({"F|re": None}, "not null"),
        ({"F|re": "(?=a)"}, "RE2 refuses"),
        ({"F|contains|re": "a"}, "as written"),
        ({"F|i": "a"}, "behind |re"),
        ({"F|cidr": "10.0.0.300"}, "not an IP network"),
        ({"F|cidr": "10.0.0.0/255.0.0.0"}, "not an IP network"),
        ({"F|cidr": ["10.0.0.0/8", "10.0.0.0/40"]}, "not an IP network"),
        ({"F|cidr": 10}, "not an IP network"),
        ({"F|gt": "5"}, "without quotes"),
        ({"F|gt": True}, "a number"),
        ({"F|exists": "yes"}, "true or false"),
        ({"F|exists": None}, "true or false"),
        ({"F|hour": 3.5}, "whole number"),
        ({"F|hour": "3"}, "whole number"),
        ({"F|gte|hour": 3}, "before"),
        ({"F|fieldref": 5}, "name of a field"),
        ({"F|base64": "a*"}, "wildcard"),
        ({"F|base64offset": ""}, "nothing to look for"),
        ({"F|wide|utf16be": "a"}, "encoded already"),
        ({"F|base64|expand": "%a%"}, "before the encoding"),
        ({"F|windash": "-a -b -c -d -e"}, "WINDASH_FLAGS_MAX"),
        ({"F": []}, "empty list"),
        ({"F": {"G": 1}}, "neither text"),
        ({"F": ["a", ["b"]]}, "neither text"),
        ({}, "empty map"),
        ([], "empty list"),
        ([None], "null needs a field"),
        (None, "null needs a field"),
        ({"|exists": True}, "needs text"),
        ({"|cidr": "10.0.0.0/8"}, "needs text"),
        ({"F": "*" + "a*" * 200}, "PATTERN_WILDCARDS_MAX"),
        ({"F": "a" * 40_000}, "PATTERN_CHARACTERS_MAX"),
        ({"F|re": "a" * 9_000}, "REGEX_CHARACTERS_MAX"),
        ({"F" * 600: "a"}, "FIELD_CHARACTERS_MAX"),
        ({"F|expand": "%nobody%"}, "'%nobody%' has no value"),
        ({"F|re|expand": "a%nobody%"}, "'%nobody%' has no value"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(search: object, said: str) -> None:
    assert said in reason(search)


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_what_is_no_number_is_refused(number: str) -> None:
    data = f"title: t\nlogsource: {{product: x}}\ndetection:\n  s:\n    F: {number}\n  condition: s\n"
    assert "no number" in refused(data.encode()).reason


def test_a_refused_regular_expression_is_unsupported_and_a_bound_has_its_own_code() -> None:
    assert refused(document({"s": {"F|re": "(?=a)"}, "condition": "s"})).code == "unsupported-rule"
    assert refused(document({"s": {"F|re": "a" * 9_000}, "condition": "s"})).code == "limit-exceeded"
    assert refused(document({"s": {"F|contains": None}, "condition": "s"})).code == "rule-error"


def test_a_bomb_of_expansions_is_refused_at_once() -> None:
    values = ["-a -b -c -d"] * 2_000
    assert "MAX" in reason({"F|windash|base64offset|contains": values})


# --- placeholders ---


def test_placeholders_become_their_values() -> None:
    values = {"admins": ["adm_*", "root"], "x": ["1"]}
    assert of({"F|expand": "%admins%"}, values) == Or((Text("F", ("adm_", ANY)), Text("F", ("root",))))
    assert of({"F|expand|endswith": r"\\%admins%%x%"}, values) == Or(
        (Text("F", (ANY, "\\adm_", ANY, "1")), Text("F", (ANY, "\\root1")))
    )
    assert of({"F|contains|expand": "%x%"}, values) == Text("F", (ANY, "1", ANY))
    assert of({"F|re|expand": "a%x%$"}, values) == Regex("F", r"a1(?:\n?\z)")


def test_values_of_a_placeholder_are_or_also_under_all() -> None:
    found = of({"F|expand|all": ["%a%", "b"]}, {"a": ["x", "y"]})
    assert found == And((Or((Text("F", ("x",)), Text("F", ("y",)))), Text("F", ("b",))))


def test_a_percent_sign_can_be_meant_as_one() -> None:
    values = {"name": ["v"], "plain": ["w"]}
    assert of({"F|expand": r"\%plain%name%"}, values) == Text("F", ("%plainv",))
    assert of({"F|expand": "100% of %name%"}, values) == Text("F", ("100% of v",))
    assert of({"F|expand": "%%"}, values) == Text("F", ("%%",))
    assert of({"F": "%name%"}, values) == Text("F", ("%name%",))


# --- metadata and documents ---


def test_the_head_is_read() -> None:
    rule = loaded(
        document(
            {"s": {"F": 1}, "condition": "s"},
            id="0E95725D-7320-415D-80F7-004DA920FC11",
            name="n",
            level="High",
            status="test",
            description="d",
            fields=["A", "B"],
            tags=[
                "attack.t1059.001",
                "attack.T1003",
                "attack.credential-access",
                "attack.g0016",
                "cve.2021-1",
                "attack.defense_evasion",
            ],
            logsource={"product": "Windows", "category": "process_creation", "definition": "x", "other": 1},
        )
    )
    assert rule.id == "0e95725d-7320-415d-80f7-004da920fc11"
    assert (rule.name, rule.level, rule.status, rule.description, rule.fields) == ("n", "high", "test", "d", ("A", "B"))
    assert rule.attack == ("T1059.001", "T1003")
    assert rule.tactics == ("credential-access", "defense-evasion")
    assert rule.logsource == LogSource("windows", "process_creation", None)
    assert rule.document == 1


def test_a_rule_without_a_level_is_medium() -> None:
    assert loaded(document({"s": {"F": 1}, "condition": "s"})).level == "medium"


def test_harmless_mistakes_are_noted_and_cost_no_rule() -> None:
    parsed = parse_rules(
        document(
            {"s": {"F": 1}, "condition": "s"},
            level="severe",
            tags=["nodot", 5],
            date="yesterday",
            fields=[None],
            taxonomy="ecs",
        )
    )
    assert len(parsed.rules) == 1
    assert parsed.rules[0].level == "medium"
    notes = " ".join(note.text for note in parsed.notes)
    for word in ("severe", "nodot", "fields", "ecs"):
        assert word in notes


def test_a_rule_without_an_id_gets_a_lasting_one() -> None:
    one = json.loads(document({"s": {"F": 1}, "condition": "s"}))
    del one["id"]
    other = {**one, "detection": {"s": {"F": 2}, "condition": "s"}}
    ids = [loaded(json.dumps(d).encode()).id for d in (one, {**one, "description": "more"}, other)]
    assert ids[0] == ids[1] != ids[2]


def test_the_content_hash_is_about_condition_and_log_source_only() -> None:
    base = {"s": {"F": "a"}, "condition": "s"}
    first = loaded(document(base)).content_hash
    assert loaded(document({"x": {"F": ["a"]}, "condition": "x"}, title="u", level="low")).content_hash == first
    assert loaded(document(base, logsource={"product": "linux"})).content_hash != first
    assert loaded(document({"s": {"F": "b"}, "condition": "s"})).content_hash != first


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no document"),
        (b"# nothing\n", "no document"),
        (b"- a\n- b\n", "not a map"),
        (b"a: [\n", "not YAML"),
        (b"a: 1\na: 2\n", "twice"),
        (b"a: &x 1\nb: *x\n", "YAML_ALIASES_MAX"),
        (b"[" * 100, "YAML_DEPTH_MAX"),
        (b"a: !!python/object/apply:os.system [id]\n", "tag"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"x" * 600_000, "YAML_BYTES_MAX"),
        (b"title: t\n", "neither detection"),
        (b"title: t\naction: global\n", "Sigma 1"),
        (b"title: t\ndetection: {}\ncorrelation: {}\n", "only one"),
        (b"title: t\nlogsource: {product: a}\ndetection: []\n", "not a map"),
        (b"title: t\nlogsource: {product: a}\ndetection: {s: {F: 1}}\n", "condition is missing"),
        (b"title: t\nlogsource: {product: a}\ndetection: {condition: s}\n", "no search identifier"),
        (b"title: t\nlogsource: {product: a}\ndetection: {s: {F: 1}, condition: 5}\n", "neither text"),
        (b"title: t\nlogsource: {product: a}\ndetection: {s: {F: 1}, condition: []}\n", "neither text"),
        (b"title: t\ndetection: {s: {F: 1}, condition: s}\n", "log source is missing"),
        (b"title: t\nlogsource: windows\ndetection: {s: {F: 1}, condition: s}\n", "not a map"),
        (b"title: t\nlogsource: {product: 5}\ndetection: {s: {F: 1}, condition: s}\n", "not text"),
        (b"title: t\nid: [1]\nlogsource: {product: a}\ndetection: {s: {F: 1}, condition: s}\n", "id"),
        (b"title: t\nlogsource: {product: a}\ndetection: {s: {F: 1}, timeframe: 5m, condition: s}\n", "Sigma 1"),
        (b"title: t\nlogsource: {product: a}\ndetection: {s: {F: 1}, condition: s | count() > 5}\n", "correlation"),
    ],
)
def test_a_document_that_is_no_rule_is_named_with_its_reason(data: bytes, said: str) -> None:
    assert said in refused(data).reason


def test_a_log_source_without_parts_means_every_stream() -> None:
    assert loaded(document({"s": {"F": 1}, "condition": "s"}, logsource={"definition": "x"})).logsource == LogSource()


def test_one_bad_document_does_not_stop_the_others() -> None:
    good = document({"s": {"F": 1}, "condition": "s"}).decode()
    bad = document({"s": {"F|x": 1}, "condition": "s"}, id="bad-one").decode()
    parsed = parse_rules(f"{good}\n---\n{bad}\n---\n---\n{good}\n".encode())
    assert [rule.document for rule in parsed.rules] == [1, 4]
    assert [(skipped.rule_id, skipped.document) for skipped in parsed.skipped] == [("bad-one", 2)]
    assert parsed.documents == 3


def test_a_huge_list_names_its_bound() -> None:
    data = document({"s": {"F": [str(i) for i in range(30_000)]}, "condition": "s"})
    assert "YAML_EVENTS_MAX" in refused(data).reason
    filled = {"a": [str(i) for i in range(9_000)]}
    parsed = parse_rules(document({"s": {"F|expand": ["%a%", "%a%x", "%a%y"]}, "condition": "s"}), placeholders=filled)
    assert "MAX" in parsed.skipped[0].reason


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | st.floats()
    | st.text(alphabet="ab*?\\-/%|.é\ud800", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="ab|re", max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *["F", "F|contains", "F|re", "F|re|i", "|all", "F|windash|contains|all", "F|wide|base64offset", "F|exists"],
        *["F|cidr", "F|expand", "F|gt", "F|hour|lt", "F|fieldref|neq", "F|cased|utf16", "F|base64", "condition"],
        *["x y", "F|"],
    ]
)


@given(
    st.dictionaries(
        st.sampled_from(["s", "t", "_u", "condition", "timeframe"]), JSON_VALUES | st.dictionaries(KEYS, JSON_VALUES)
    ),
    st.sampled_from(["s", "1 of them", "all of s*", "not t", "2 of them", "s and"]) | JSON_VALUES,
    st.dictionaries(
        st.sampled_from(["id", "title", "name", "level", "tags", "fields", "status", "taxonomy"]), JSON_VALUES
    ),
    st.sampled_from(["detection", "filter", "correlation"]),
)
def test_no_document_raises(
    detection: dict[str, object], condition: object, head: dict[str, object], section: str
) -> None:
    shape = {"logsource": {"product": "x"}, section: {**detection, "condition": condition, "rules": ["a"]}, **head}
    parsed = parse_rules(json.dumps(shape).encode())
    assert len(parsed.rules) + len(parsed.filters) + len(parsed.correlations) + len(parsed.skipped) == 1


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    parsed = parse_rules(data)
    assert parsed.rules or parsed.correlations or parsed.filters or parsed.skipped

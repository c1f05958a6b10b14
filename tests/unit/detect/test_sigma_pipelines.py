"""pySigma processing pipelines: what they may do to rules, and what they may not do at all."""

from __future__ import annotations

import pytest

from mingjian.detect.sigma.parse import parse_rules
from mingjian.detect.sigma.pipelines import TRANSFORMATIONS, in_order, pipeline_of
from mingjian.detect.sigma.placeholders import placeholders_of
from mingjian.detect.sigma.references import Parsed
from mingjian.errors import ConfigError, InputError, LimitExceeded, ParseError, SchemaError
from mingjian.model.rules import ANY, And, Expr, LogSource, Not, Number, Or, Text

RULE = b"""
title: t
id: r
level: high
fields: [Image]
logsource: {product: windows, category: process_creation}
detection:
  s: {Image|endswith: '\\cmd.exe', User: [a, b]}
  k: ['word']
  condition: s and not k
"""


def through(pipeline: str, rule: bytes = RULE) -> Parsed:
    return parse_rules(rule, pipelines=[pipeline_of(pipeline.encode(), file="p")])


def condition(pipeline: str, rule: bytes = RULE) -> Expr:
    parsed = through(pipeline, rule)
    assert not parsed.skipped, parsed.skipped
    return parsed.rules[0].condition


def test_an_empty_pipeline_changes_nothing() -> None:
    assert through("name: nothing\n").rules == parse_rules(RULE).rules


def test_field_names_are_mapped() -> None:
    parsed = through("transformations: [{type: field_name_mapping, mapping: {Image: NewProcessName, User: [u1, u2]}}]")
    found = parsed.rules[0].condition
    assert isinstance(found, And)
    assert found.items[0] == Text("NewProcessName", (ANY, "\\cmd.exe"))
    assert found.items[1] == Or((Text("u1", ("a",)), Text("u1", ("b",)), Text("u2", ("a",)), Text("u2", ("b",))))
    assert parsed.rules[0].fields == ("NewProcessName",)
    assert parsed.rules[0].content_hash != parse_rules(RULE).rules[0].content_hash


def test_conditions_are_added() -> None:
    found = condition("transformations: [{type: add_condition, conditions: {EventID: 4688}}]")
    assert isinstance(found, And)
    assert found.items[0] == Number("EventID", 4688)
    negated = condition("transformations: [{type: add_condition, negated: true, conditions: {EventID: 1}}]")
    assert isinstance(negated, And)
    assert negated.items[0] == Not(Number("EventID", 1))


def test_the_same_rule_gives_the_same_expression_every_time() -> None:
    text = "transformations: [{type: add_condition, conditions: {EventID: 4688}}]"
    assert condition(text) == condition(text)


def test_log_sources_are_changed_where_conditions_say_so() -> None:
    text = """
transformations:
  - type: change_logsource
    product: linux
    rule_conditions: [{type: logsource, category: process_creation}]
"""
    assert through(text).rules[0].logsource == LogSource("linux", None, None)


def test_keywords_are_mapped_to_a_field() -> None:
    for null in ("null", "~"):
        found = condition(f"transformations: [{{type: field_name_mapping, mapping: {{{null}: Message}}}}]")
        assert isinstance(found, And)
        assert found.items[-1] == Not(Text("Message", (ANY, "word", ANY)))


def test_placeholders_get_values() -> None:
    rule = RULE.replace(b"User: [a, b]", b"'User|expand': '%admins%'")
    text = "vars: {admins: ['x*', 'y']}\ntransformations: [{type: value_placeholders}]"
    found = condition(text, rule)
    assert isinstance(found, And)
    assert found.items[1] == Or((Text("User", ("x", ANY)), Text("User", ("y",))))
    assert "has no value" in parse_rules(rule).skipped[0].reason


def test_dropped_items_leave_the_rest() -> None:
    text = """
transformations:
  - type: drop_detection_item
    field_name_conditions: [{type: include_fields, fields: [User]}]
"""
    found = condition(text)
    assert isinstance(found, And)
    assert found.items[0] == Text("Image", (ANY, "\\cmd.exe"))
    assert len(found.items) == 2


def test_a_pipeline_can_refuse_a_rule() -> None:
    skipped = through("transformations: [{type: rule_failure, message: not here}]").skipped
    assert "not here" in skipped[0].reason


def test_values_are_replaced() -> None:
    text = "transformations: [{type: replace_string, regex: '^a$', replacement: z}]"
    found = condition(text)
    assert isinstance(found, And)
    assert found.items[1] == Or((Text("User", ("z",)), Text("User", ("b",))))


def test_nested_steps_work() -> None:
    text = "transformations: [{type: nest, items: [{type: field_name_prefix, prefix: 'win.'}]}]"
    found = condition(text)
    assert isinstance(found, And)
    assert found.items[0] == Text("win.Image", (ANY, "\\cmd.exe"))


def test_correlations_and_filters_are_mapped_too() -> None:
    text = "transformations: [{type: field_name_mapping, mapping: {User: user.name, src: source.ip}}]"
    rule = b"""
title: c
correlation:
  type: value_count
  rules: [r]
  group-by: [User, ip]
  timespan: 1m
  aliases: {ip: {r: src}}
  condition: {gte: 1, field: User}
---
title: f
logsource: {product: windows}
filter: {rules: [r], selection: {User: x}, condition: not selection}
"""
    parsed = through(text, rule)
    (found,) = parsed.correlations
    assert (found.group_by, found.value_fields, found.aliases) == (
        ("user.name", "ip"),
        ("user.name",),
        {"ip": {"r": "source.ip"}},
    )
    assert parsed.filters[0].condition == Not(Text("user.name", ("x",)))


def test_pipelines_are_applied_by_priority() -> None:
    first = pipeline_of(b"{name: a, priority: 20, transformations: [{type: field_name_suffix, suffix: x}]}", file="a")
    second = pipeline_of(b"{name: b, priority: 10, transformations: [{type: field_name_suffix, suffix: y}]}", file="b")
    parsed = parse_rules(RULE, pipelines=in_order([first, second]))
    found = parsed.rules[0].condition
    assert isinstance(found, And)
    assert found.items[0] == Text("Imageyx", (ANY, "\\cmd.exe"))


@pytest.mark.parametrize(
    "kind",
    [
        *["file_placeholders", "http_placeholders", "command_placeholders", "query_expression_placeholders"],
        *["template", "field_name_transform", "nobody_knows", "null", "[1]"],
    ],
)
def test_steps_that_reach_out_or_are_unknown_are_refused(kind: str) -> None:
    for text in (
        f"transformations: [{{type: {kind}, path: /etc/passwd}}]",
        f"transformations: [{{type: nest, items: [{{type: {kind}}}]}}]",
    ):
        with pytest.raises(ConfigError, match="not allowed here"):
            pipeline_of(text.encode(), file="p")


def test_what_works_on_queries_is_refused() -> None:
    for part in ("postprocessing: [{type: template, template: '{{ 1 }}'}]", "finalizers: [{type: concat}]"):
        with pytest.raises(ConfigError, match="queries"):
            pipeline_of(part.encode(), file="p")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "a: 1",
        "transformations: {}",
        "transformations: [1]",
        "transformations: [{type: field_name_mapping}]",
        "transformations: [{type: field_name_mapping, mapping: {a: b}, nonsense: 1}]",
        "transformations: [{type: regex, method: nonsense}]",
        "transformations: [{type: add_condition, conditions: {a: b}, rule_conditions: 5}]",
        "transformations: [{type: add_condition, conditions: {a: b}, rule_conditions: [{type: nobody}]}]",
        "vars: 5\npriority: [1]\nallowed_backends: 5",
        "a: [",
    ],
)
def test_a_wrong_pipeline_is_refused(text: str) -> None:
    with pytest.raises((ConfigError, ParseError)):
        pipeline_of(text.encode(), file="p")


def test_an_endless_pipeline_names_its_bound() -> None:
    steps = "[" + ", ".join(["{type: set_state, key: a, val: b}"] * 1_001) + "]"
    with pytest.raises(LimitExceeded, match="PIPELINE_STEPS_MAX"):
        pipeline_of(f"transformations: {steps}".encode(), file="p")
    expression = "(" * 50 + "a" + ")" * 50
    with pytest.raises(LimitExceeded, match="PARENTHESES"):
        pipeline_of(
            f"transformations: [{{type: set_state, key: a, val: b, rule_cond_expr: '{expression}'}}]".encode(), file="p"
        )


def test_a_pipeline_that_does_not_fit_a_rule_skips_it_with_a_reason() -> None:
    text = "transformations: [{type: convert_type, target_type: num}]"
    assert "refuses the rule" in through(text).skipped[0].reason


def test_every_allowed_step_is_one_that_pysigma_knows() -> None:
    from sigma.processing.transformations import transformations

    assert set(transformations) >= TRANSFORMATIONS


# --- placeholders ---


def test_placeholders_come_from_yaml_or_json() -> None:
    expected = {"a": ("x*",), "b": ("1", "2.5", "true")}
    assert placeholders_of(b"a: x*\n'%b%': [1, 2.5, true]\n", file="f") == expected
    assert placeholders_of(b'{"a": "x*", "b": [1, 2.5, true]}', file="f") == expected
    assert placeholders_of(b'{"a": "\\ud83d\\ude00"}', file="f") == {"a": ("\U0001f600",)}
    assert placeholders_of(b"{a: b}", file="f") == {"a": ("b",)}


@pytest.mark.parametrize(
    "data", [b"", b"[1]", b"a:", b"a: []", b"a: {b: c}", b"a: [null]", b"'%': a", b"a: [", b"\xff"]
)
def test_wrong_placeholders_are_refused(data: bytes) -> None:
    with pytest.raises((SchemaError, ParseError)):
        placeholders_of(data, file="f")


def test_endless_placeholders_name_their_bound() -> None:
    with pytest.raises(InputError, match="PLACEHOLDER_VALUES_MAX"):
        placeholders_of(b"a: [" + b"x," * 15_000 + b"]", file="f")
    with pytest.raises(InputError, match="PLACEHOLDER_CHARACTERS_MAX"):
        placeholders_of(b"a: " + b"x" * 5_000, file="f")

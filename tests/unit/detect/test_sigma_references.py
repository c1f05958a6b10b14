"""Correlations, filters and duplicates: what files mean together."""

from __future__ import annotations

from pathlib import Path

import pytest

from mingjian.detect.sigma.parse import parse_rules
from mingjian.detect.sigma.references import Resolved, resolve
from mingjian.model.rules import And, Correlation, Not, Number, Text


def together(**files: str) -> Resolved:
    """Each file's text under its name."""
    return resolve((name, parse_rules(text.encode())) for name, text in files.items())


def rule(name: str, rule_id: str = "", value: int = 1, more: str = "") -> str:
    written = f"id: {rule_id}\n" if rule_id else ""
    return (
        f"title: {name}\nname: {name}\n{written}logsource: {{product: windows, service: security}}\n{more}"
        f"detection:\n  s:\n    EventID: {value}\n  condition: s\n"
    )


def correlation(rules: str, more: str = "", type_: str = "event_count", title: str = "c", head: str = "") -> str:
    condition = "" if type_.startswith("temporal") or "condition" in more else "  condition: {gte: 10}\n"
    return (
        f"title: {title}\n{head}correlation:\n  type: {type_}\n  rules: {rules}\n  timespan: 10m\n"
        f"  group-by: [User]\n{condition}{more}"
    )


def one(resolved: Resolved) -> Correlation:
    assert not resolved.skipped, resolved.skipped
    return resolved.correlations[-1]


def why(resolved: Resolved) -> str:
    (skipped,) = resolved.skipped
    return skipped.reason


# --- correlations ---


def test_a_correlation_finds_its_rules_by_id_and_by_name_in_any_file() -> None:
    known = "5638f7c0-ac70-491d-8465-2a65075e0d86"
    found = together(a=correlation(f"[{known.upper()}, other]"), b=rule("one", known), c=rule("other", "x", 2))
    assert one(found).rules == (known, "x")
    assert one(found).bounds == (("gte", 10.0),)
    assert one(found).timespan_s == 600
    assert one(found).group_by == ("User",)


def test_rules_of_a_correlation_are_hidden_unless_it_generates() -> None:
    assert [r.hidden for r in together(a=rule("r") + "---\n" + correlation("[r]")).rules] == [True]
    assert [r.hidden for r in together(a=rule("r") + "---\n" + correlation("[r]", "  generate: true\n")).rules] == [
        False
    ]
    beside = rule("r") + "---\n" + correlation("[r]", head="generate: true\n")
    assert [r.hidden for r in together(a=beside).rules] == [False]
    both = rule("r") + "---\n" + correlation("[r]") + "---\n" + correlation("[r]", "  generate: true\n", title="d")
    assert [r.hidden for r in together(a=both).rules] == [False]


def test_a_correlation_that_cannot_be_used_hides_nothing() -> None:
    found = together(a=rule("r") + "---\n" + correlation("[r, nobody]"))
    assert [r.hidden for r in found.rules] == [False]
    assert "'nobody'" in why(found)


def test_correlations_may_be_nested_and_come_in_order() -> None:
    outer = correlation("[inner, r]", type_="temporal_ordered", title="outer")
    inner = correlation("[r]", title="inner", head="name: inner\n")
    found = together(a=outer + "---\n" + inner + "---\n" + rule("r", "rid"))
    assert [c.title for c in found.correlations] == ["inner", "outer"]
    assert found.correlations[1].rules == (found.correlations[0].id, "rid")
    assert [c.hidden for c in found.correlations] == [True, False]


def test_a_circle_is_refused_and_so_is_what_hangs_on_it() -> None:
    a = correlation("[b]", title="a", head="name: a\n")
    b = correlation("[a]", title="b", head="name: b\n")
    c = correlation("[a]", title="c", head="name: c\n")
    d = correlation("[d]", title="d", head="name: d\n")
    found = together(a=a, b=b, c=c, d=d)
    assert not found.correlations
    assert [skipped.title for skipped in found.skipped] == ["a", "b", "c", "d"]
    assert all("itself" in skipped.reason for skipped in found.skipped)


def test_what_refers_to_a_skipped_correlation_is_skipped_with_that_reason() -> None:
    found = together(a=correlation("[nobody]", head="name: x\nid: xx\n"), b=correlation("[x]", title="d"))
    assert [(s.title, s.reason.split(",")[0]) for s in found.skipped] == [
        ("c", "there is no rule with the id or name 'nobody'"),
        ("d", "it refers to 'xx'"),
    ]


def test_a_name_means_the_rule_of_the_same_file_first() -> None:
    found = together(a=rule("r", "r1"), b=rule("r", "r2", 2) + "---\n" + correlation("[r]"), c=rule("r", "r3", 3))
    assert one(found).rules == ("r2",)


def test_a_name_that_several_rules_have_is_not_guessed_at() -> None:
    assert "used by 2 rules" in why(together(a=rule("r", "r1"), b=rule("r", "r2", 2), c=correlation("[r]")))


def test_aliases_are_resolved() -> None:
    aliases = "  aliases:\n    ip:\n      one: src\n      two: dst\n"
    found = together(
        a=rule("one", "i1"), b=rule("two", "i2", 2), c=correlation("[one, two]", aliases, type_="temporal")
    )
    assert one(found).aliases == {"ip": {"i1": "src", "i2": "dst"}}


def test_an_alias_for_a_rule_that_is_not_meant_is_noted() -> None:
    aliases = "  aliases:\n    ip:\n      one: src\n      two: dst\n"
    found = together(a=rule("one", "i1"), b=rule("two", "i2", 2), c=correlation("[one]", aliases))
    assert one(found).aliases == {"ip": {"i1": "src"}}
    assert "'two'" in found.notes[0].text


@pytest.mark.parametrize(
    ("condition", "bounds"),
    [
        ("{gt: 100, lte: 200}", (("gt", 100.0), ("lte", 200.0))),
        ("{neq: 3}", (("neq", 3.0),)),
        ("{eq: 0.5}", (("eq", 0.5),)),
        ("{lt: 5}", (("lt", 5.0),)),
    ],
)
def test_a_condition_may_have_several_bounds(condition: str, bounds: tuple[tuple[str, float], ...]) -> None:
    found = together(a=rule("r") + "---\n" + correlation("[r]", f"  condition: {condition}\n"))
    assert one(found).bounds == bounds


@pytest.mark.parametrize(
    ("type_", "condition", "fields", "percentile"),
    [
        ("value_count", "{field: User, gte: 3}", ("User",), None),
        ("value_count", "{field: [User, Host], gte: 3}", ("User", "Host"), None),
        ("value_sum", "{field: bytes, gt: 1000000}", ("bytes",), None),
        ("value_avg", "{field: bytes, gt: 1}", ("bytes",), None),
        ("value_percentile", "{field: bytes, gt: 1, percentile: 95}", ("bytes",), 95.0),
        ("value_percentile", "{field: Image, lte: 1}", ("Image",), None),
        ("value_median", "{field: bytes, gt: 1}", ("bytes",), 50.0),
    ],
)
def test_value_types_name_their_field(type_: str, condition: str, fields: tuple[str, ...], percentile: float) -> None:
    found = one(together(a=rule("r") + "---\n" + correlation("[r]", f"  condition: {condition}\n", type_=type_)))
    assert (found.value_fields, found.percentile) == (fields, percentile)
    assert found.type == ("value_percentile" if type_ == "value_median" else type_)


def test_a_temporal_condition_may_be_in_words() -> None:
    rules = {name: rule(name, name * 2, value) for value, name in enumerate("abc")}
    every = one(together(**rules, z=correlation("[a, b]", "  condition: a AND b\n", type_="temporal")))
    assert (every.rules, every.bounds) == (("aa", "bb"), ())
    some = one(together(**rules, z=correlation("[a, b]", "  condition: b or a\n", type_="temporal")))
    assert (some.rules, some.bounds) == (("aa", "bb"), (("gte", 1.0),))
    unlisted = one(together(**rules, z=correlation("", "  condition: c and a\n", type_="temporal_ordered")))
    assert unlisted.rules == ("cc", "aa")


@pytest.mark.parametrize("words", ["a and not b", "a and (b or c)", "1 of a*", "not a"])
def test_words_that_say_more_than_a_bound_are_unsupported(words: str) -> None:
    (skipped,) = together(z=correlation("", f"  condition: {words}\n", type_="temporal")).skipped
    assert skipped.code == "unsupported-rule"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("90m", 5400), ("24h", 86400), ("7d", 604800), ("2w", 1209600)]
)
def test_time_spans(text: str, seconds: int) -> None:
    found = one(together(a=rule("r") + "---\n" + correlation("[r]").replace("10m", text)))
    assert found.timespan_s == seconds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (correlation("[r]").replace("10m", "10x"), "timespan"),
        (correlation("[r]").replace("10m", "0s"), "zero"),
        (correlation("[r]").replace("10m", "99999999d"), "TIMESPAN_S_MAX"),
        (correlation("[r]").replace("  timespan: 10m\n", ""), "no timespan"),
        (correlation("[r]").replace("event_count", "near"), "type"),
        (correlation("[r]").replace("  condition: {gte: 10}\n", ""), "needs a condition"),
        (correlation("[]"), "names no rules"),
        (correlation("{a: b}"), "rules must be text"),
        (correlation("[r]", "  condition: {gte: many}\n"), "usable number"),
        (correlation("[r]", "  condition: {gte: true}\n"), "usable number"),
        (correlation("[r]", "  condition: {gte: .inf}\n"), "usable number"),
        (correlation("[r]", "  condition: {field: a}\n"), "no bound"),
        (correlation("[r]", "  condition: {gte: 1, about: 2}\n"), "'about'"),
        (correlation("[r]", "  condition: [1]\n"), "neither a map nor text"),
        (correlation("[r]", "  condition: r and r\n"), "temporal"),
        (correlation("[r, q]", "  condition: r and x\n", type_="temporal"), "'x'"),
        (correlation("[r, q]", "  condition: r\n", type_="temporal"), "'q'"),
        (correlation("[r]", "  condition: {gte: 1}\n", type_="value_sum"), "needs the field"),
        (correlation("[r]", "  condition: {gte: 1, field: [a, b]}\n", type_="value_avg"), "one field"),
        (
            correlation("[r]", "  condition: {gte: 1, field: a, percentile: 101}\n", type_="value_percentile"),
            "0 to 100",
        ),
        (correlation("[r]", "  aliases: [a]\n"), "aliases"),
        (correlation("[r]", "  aliases: {a: b}\n"), "alias 'a'"),
        (correlation("[r]", "  generate: maybe\n"), "generate"),
        ("title: c\ncorrelation: []\n", "not a map"),
    ],
)
def test_a_wrong_correlation_is_refused_with_its_reason(text: str, said: str) -> None:
    assert said in why(together(a=text))


def test_the_hash_of_a_correlation_is_about_what_its_rules_match() -> None:
    def of(rule_id: str, value: int, bound: int = 10) -> str:
        text = correlation("[r]", f"  condition: {{gte: {bound}}}\n")
        return one(together(a=rule("r", rule_id, value), b=text)).content_hash

    assert of("x", 1) == of("y", 1)
    assert of("x", 1) != of("x", 2)
    assert of("x", 1) != of("x", 1, 11)


# --- filters ---


def filter_(rules: str, condition: str = "not selection", logsource: str = "{product: windows}") -> str:
    return (
        f"title: f\nid: fid\nlogsource: {logsource}\nfilter:\n  rules: {rules}\n"
        f"  selection:\n    User|startswith: adm_\n  condition: {condition}\n"
    )


def test_a_filter_is_anded_to_the_rules_that_it_names() -> None:
    found = together(a=filter_("[r1, two]"), b=rule("one", "r1"), c=rule("two", "r2", 2), d=rule("three", "r3", 3))
    user = Text("User", ("adm_", 0))
    assert [r.condition for r in found.rules] == [
        And((Number("EventID", 1), Not(user))),
        And((Number("EventID", 2), Not(user))),
        Number("EventID", 3),
    ]
    assert [r.filters for r in found.rules] == [("fid",), ("fid",), ()]
    assert [f.id for f in found.filters] == ["fid"]
    bare = together(b=rule("one", "r1")).rules[0]
    assert found.rules[0].content_hash != bare.content_hash


def test_a_filter_may_be_for_any_rule_of_its_log_source() -> None:
    for every in ("any", "[]", "Any"):
        found = together(a=filter_(every), b=rule("one", "r1"), c=rule("two", "r2").replace("windows", "linux"))
        assert [r.filters for r in found.rules] == [("fid",), ()]


def test_a_filter_whose_log_source_does_not_fit_is_not_applied_and_says_so() -> None:
    found = together(a=filter_("[r1]", logsource="{product: linux}"), b=rule("one", "r1"))
    assert found.rules[0].filters == ()
    assert "fits none" in why(found)
    assert "log source" in found.notes[0].text


def test_a_filter_for_a_rule_that_is_not_there_says_so() -> None:
    found = together(a=filter_("[r1, r9]"), b=rule("one", "r1"))
    assert found.rules[0].filters == ("fid",)
    assert "'r9'" in found.notes[0].text
    assert "fits none" in why(together(a=filter_("[r9]")))


def test_a_filter_for_a_correlation_says_so() -> None:
    found = together(a=filter_("[cc]"), b=rule("r"), c=correlation("[r]", head="id: cc\n"))
    assert "single events" in found.notes[0].text


def test_several_filters_add_up() -> None:
    other = filter_("[r1]").replace("fid", "gid").replace("adm_", "svc_")
    found = together(a=filter_("[r1]"), b=other, c=rule("one", "r1"))
    assert found.rules[0].filters == ("fid", "gid")
    assert isinstance(found.rules[0].condition, And)
    assert len(found.rules[0].condition.items) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (filter_("[r]").replace("  rules: [r]\n", ""), "for which rules"),
        (filter_("{a: b}"), "rules must be text"),
        (filter_("[r]", "nothing"), "'nothing'"),
        ("title: f\nlogsource: {product: x}\nfilter: [a]\n", "for which rules"),
    ],
)
def test_a_wrong_filter_is_refused_with_its_reason(text: str, said: str) -> None:
    assert said in why(together(a=text, b=rule("r")))


# --- duplicates ---


def test_the_same_rule_twice_is_loaded_once() -> None:
    found = together(a=rule("one", "r1"), b=rule("uno", "r1"))
    assert [r.file for r in found.rules] == ["a"]
    assert found.skipped[0].code == "rule-error"
    assert found.skipped[0].file == "b"
    assert "in a" in found.skipped[0].reason


def test_two_rules_with_one_id_are_both_loaded_and_told_apart() -> None:
    found = together(a=rule("one", "r1"), b=rule("two", "r1", 2), c=rule("two", "r1", 2))
    ids = [r.id for r in found.rules]
    assert ids[0] == "r1"
    assert ids[1].startswith("r1~")
    assert found.notes[0].file == "b"
    assert [s.code for s in found.skipped] == ["rule-error"]


def test_the_order_of_the_rules_is_the_order_of_the_files() -> None:
    found = together(b=rule("x", "x"), a=rule("y", "y", 2))
    assert [r.id for r in found.rules] == ["x", "y"]


# --- examples of the specification ---


def test_the_examples_of_the_specification_parse(shared_data: Path) -> None:
    folder = shared_data / "sigma" / "specification" / "examples"
    found = {path.stem: parse_rules(path.read_bytes()) for path in sorted(folder.rglob("*.yml"))}
    assert not [parsed.skipped for parsed in found.values() if parsed.skipped]
    correlations = {name: parsed.correlations[0] for name, parsed in found.items() if parsed.correlations}
    assert {name: c.type for name, c in correlations.items()} == {
        "event_count": "event_count",
        "event_count_ecs": "event_count",
        "temporal": "temporal",
        "temporal_ordered": "temporal_ordered",
        "value_avg": "value_avg",
        "value_count": "value_count",
        "value_percentile": "value_percentile",
        "value_sum": "value_sum",
    }
    assert correlations["value_percentile"].percentile is None
    assert [len(found[name].filters) for name in ("filter_1", "filter_ecs")] == [1, 1]
    assert [len(found[name].rules) for name in ("rule_1", "rule_ecs")] == [1, 1]


def test_the_chain_of_the_specification_resolves() -> None:
    found = together(
        a=correlation("[multiple_failed_login, successful_login]", type_="temporal_ordered", title="chain")
        + "---\n"
        + correlation("[failed_login]", title="multiple", head="name: multiple_failed_login\n")
        + "---\n"
        + rule("failed_login", "f", 4625)
        + "---\n"
        + rule("successful_login", "s", 4624)
    )
    assert not found.skipped
    assert [c.title for c in found.correlations] == ["multiple", "chain"]
    assert all(r.hidden for r in found.rules)

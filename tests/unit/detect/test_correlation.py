"""Hand-made streams for each type of correlation: what fires, on which boundary, with what in it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mingjian.detect.correlation import CorrelationMatch, Correlator, Match, needed_fields
from mingjian.model.rules import Correlation, CorrelationType


def correlation(
    type_: CorrelationType, *bounds: tuple[str, float], rules: Sequence[str] = ("failed",), **more: object
) -> Correlation:
    known = {"id": "asked", "title": "", "file": "", "timespan_s": 60, "group_by": ("User",)} | more
    return Correlation(type=type_, rules=tuple(rules), bounds=bounds, **known)


def event(seconds: float, rule: str = "failed", record: int | None = None, file: str = "log", **fields: object) -> dict:
    number = round(seconds * 10) + 1 if record is None else record
    return {"time_us": round(seconds * 1_000_000), "rule_id": rule, "file": file, "record": number, "fields": fields}


def matches_of(correlations: Sequence[Correlation], events: Sequence[dict]) -> list[Match]:
    needed = needed_fields(correlations)
    made = []
    for one in events:
        fields = {"User": "ann"} | one["fields"]
        leaves = []
        for name in needed[one["rule_id"]]:
            value = fields.get(name, ())
            leaves.append(value if isinstance(value, tuple) else (str(value),))
        made.append(Match(one["time_us"], one["rule_id"], one["file"], one["record"], tuple(leaves)))
    return made


def found(correlations: Correlation | Sequence[Correlation], *events: dict) -> list[CorrelationMatch]:
    several = [correlations] if isinstance(correlations, Correlation) else correlations
    correlator = Correlator(several)
    assert not correlator.skipped
    correlator.feed(matches_of(several, events))
    return correlator.flush()


def spans(matches: Sequence[CorrelationMatch]) -> list[tuple[float, float, float, int]]:
    """First, last and completing second, and the number of events, of each."""
    return [(m.first_us / 1e6, m.last_us / 1e6, m.time_us / 1e6, m.count) for m in matches]


# event_count


def test_a_window_fires_at_the_event_that_reaches_the_count_and_holds_all_up_to_its_end() -> None:
    burst = [event(s) for s in (0, 10, 20, 30, 60)]
    assert spans(found(correlation("event_count", ("gte", 3)), *burst)) == [(0, 60, 20, 5)]


def test_an_event_exactly_one_timespan_after_the_first_is_inside_and_a_microsecond_later_outside() -> None:
    asked = correlation("event_count", ("gte", 2))
    assert spans(found(asked, event(0), event(60))) == [(0, 60, 60, 2)]
    assert found(asked, event(0), event(60.000001, record=2)) == []


def test_a_burst_across_any_boundary_is_seen() -> None:
    asked = correlation("event_count", ("gte", 3))
    assert spans(found(asked, event(0), event(59), event(61), event(62))) == [(59, 62, 62, 3)]


def test_a_long_burst_is_one_match_per_timespan_and_not_one_per_event() -> None:
    asked = correlation("event_count", ("gt", 9))
    assert spans(found(asked, *[event(s) for s in range(150)])) == [
        (0, 60, 9, 61),
        (61, 121, 70, 61),
        (122, 149, 131, 28),
    ]


def test_what_is_left_of_a_burst_after_its_window_does_not_fire_for_itself() -> None:
    assert len(found(correlation("event_count", ("gte", 3)), *[event(s) for s in (0, 1, 2, 61, 62)])) == 1


@pytest.mark.parametrize(
    ("bounds", "number", "fires"),
    [
        ([("gt", 2)], 2, False),
        ([("gt", 2)], 3, True),
        ([("eq", 2)], 2, True),
        ([("eq", 2)], 3, False),
        ([("neq", 2)], 2, False),
        ([("neq", 2)], 3, True),
        ([("lt", 3)], 2, True),
        ([("lt", 3)], 3, False),
        ([("lte", 3)], 3, True),
        ([("lte", 3)], 4, False),
        ([("gt", 1), ("lte", 3)], 1, False),
        ([("gt", 1), ("lte", 3)], 3, True),
        ([("gt", 1), ("lte", 3)], 4, False),
        ([("gte", 2.5)], 2, False),
        ([("gte", 2.5)], 3, True),
    ],
)
def test_every_operator_is_asked_of_the_whole_window(bounds: list[tuple[str, float]], number: int, fires: bool) -> None:
    assert bool(found(correlation("event_count", *bounds), *[event(s) for s in range(number)])) is fires


def test_a_window_that_breaks_its_upper_bound_does_not_come_back_as_its_own_tail() -> None:
    assert found(correlation("event_count", ("gte", 2), ("lte", 3)), *[event(s) for s in range(5)]) == []


def test_an_upper_bound_waits_for_the_end_of_the_window() -> None:
    asked = correlation("event_count", ("lt", 3))
    correlator = Correlator([asked], lateness_s=0)
    assert correlator.feed(matches_of([asked], [event(0), event(60)])) == []
    assert spans(correlator.feed(matches_of([asked], [event(60.1), event(60.2)]))) == [(0, 60, 60, 2)]


# groups


def test_groups_are_counted_apart_and_ignore_case() -> None:
    asked = correlation("event_count", ("gte", 2))
    one, other = found(asked, event(0, User="Ann"), event(1, User="bob"), event(2, User="ANN"), event(3, User="BOB"))
    assert (one.group, other.group) == ((("User", "Ann"),), (("User", "bob"),))


def test_without_group_by_everything_is_one_group() -> None:
    (match,) = found(correlation("event_count", ("gte", 2), group_by=()), event(0, User="a"), event(1, User="b"))
    assert match.group == ()


def test_a_missing_group_field_is_null_unless_all_are_missing() -> None:
    asked = correlation("event_count", ("gte", 2), group_by=("User", "Host"))
    (match,) = found(asked, event(0), event(1), event(2, Host="h"))
    assert (match.group, match.count) == ((("User", "ann"), ("Host", None)), 2)
    correlator = Correlator([asked])
    correlator.feed(matches_of([asked], [event(0, User=()), event(1, User=())]))
    assert correlator.flush() == []
    assert correlator.report().losses["asked"].ungrouped == 2


def test_an_empty_text_is_a_value_to_group_by() -> None:
    (match,) = found(correlation("event_count", ("gte", 2)), event(0, User=""), event(1, User=""))
    assert match.group == (("User", ""),)


def test_an_event_with_several_values_is_in_the_group_of_each() -> None:
    asked = correlation("event_count", ("gte", 2))
    both = found(asked, event(0, User=("a", "b")), event(1, User="a"), event(2, User="b"))
    assert [(m.group[0][1], m.count) for m in both] == [("a", 2), ("b", 2)]


def test_an_alias_is_another_field_for_each_rule() -> None:
    asked = correlation(
        "temporal",
        rules=("out", "in"),
        group_by=("peer",),
        aliases={"peer": {"out": "destination.ip", "in": "source.ip"}},
    )
    hit = found(asked, event(0, "out", **{"destination.ip": "::1"}), event(1, "in", **{"source.ip": "::1"}))
    assert [m.group for m in hit] == [(("peer", "::1"),)]
    assert not found(asked, event(0, "out", **{"destination.ip": "::1"}), event(1, "in", **{"destination.ip": "::1"}))


# value_count


def test_distinct_values_are_counted_without_regard_to_case_and_shown_as_first_spelled() -> None:
    asked = correlation("value_count", ("gte", 2), value_fields=("Target",))
    assert found(asked, event(0, Target="A"), event(1, Target="a")) == []
    (match,) = found(asked, event(0, Target="A"), event(1, Target="a"), event(2, Target="b"), event(3, Target="c"))
    assert (match.value, match.values, match.count, match.time_us) == (3, ("A", "b", "c"), 4, 2_000_000)
    assert [e.time_us for e in match.events] == [0, 2_000_000, 3_000_000]


def test_values_that_left_the_window_no_longer_count() -> None:
    asked = correlation("value_count", ("gte", 2), value_fields=("Target",))
    assert found(asked, event(0, Target="a"), event(61, Target="b")) == []


def test_several_fields_are_counted_as_combinations() -> None:
    asked = correlation("value_count", ("gte", 3), value_fields=("Target", "Port"))
    pairs = [("a", 1), ("a", 2), ("b", 1)]
    (match,) = found(asked, *[event(i, Target=t, Port=p) for i, (t, p) in enumerate(pairs)])
    assert match.values == ("a | 1", "a | 2", "b | 1")


def test_an_event_without_the_value_takes_no_part_and_is_counted() -> None:
    asked = correlation("value_count", ("gte", 1), value_fields=("Target",))
    correlator = Correlator([asked])
    correlator.feed(matches_of([asked], [event(0), event(1, Target="a")]))
    assert spans(correlator.flush()) == [(1, 1, 1, 1)]
    assert correlator.report().losses["asked"].valueless == 1


# temporal


def test_temporal_needs_every_rule_within_the_timespan_in_any_order() -> None:
    asked = correlation("temporal", rules=("a", "b", "c"))
    assert spans(found(asked, event(0, "c"), event(5, "a"), event(60, "b"))) == [(0, 60, 60, 3)]
    assert found(asked, event(0, "c"), event(5, "a"), event(61, "b")) == []
    assert found(asked, event(0, "a"), event(5, "a"), event(6, "b")) == []


def test_temporal_with_a_condition_counts_the_rules() -> None:
    asked = correlation("temporal", ("gte", 2), rules=("a", "b", "c"))
    assert spans(found(asked, event(0, "a"), event(1, "a"), event(5, "c"))) == [(0, 5, 5, 3)]


def test_one_event_may_match_several_of_the_rules() -> None:
    assert len(found(correlation("temporal", rules=("a", "b")), event(0, "a"), event(0, "b"))) == 1


def test_every_rule_gets_its_share_of_the_list() -> None:
    (match,) = found(
        correlation("temporal", rules=("a", "b")), *[event(s / 10, "a") for s in range(90)], event(30, "b")
    )
    assert [e.rule_id for e in match.events].count("a") == 50
    assert (match.events[-1].rule_id, match.count, match.completed_by.rule_id) == ("b", 91, "b")


# temporal_ordered


def test_ordered_needs_the_rules_one_after_the_other() -> None:
    asked = correlation("temporal_ordered", rules=("a", "b", "c"))
    assert spans(found(asked, event(0, "a"), event(1, "b"), event(60, "c"))) == [(0, 60, 60, 3)]
    assert found(asked, event(0, "b"), event(1, "a"), event(2, "c")) == []
    assert found(asked, event(0, "a"), event(1, "b"), event(61, "c")) == []


def test_ordered_finds_the_order_among_other_events() -> None:
    asked = correlation("temporal_ordered", rules=("a", "b", "c"))
    seen = found(asked, event(0, "c"), event(1, "a"), event(2, "c"), event(3, "b"), event(4, "a"), event(5, "c"))
    assert spans(seen) == [(0, 5, 5, 6)]


def test_ordered_with_a_condition_counts_the_rules_found_in_order() -> None:
    asked = correlation("temporal_ordered", ("gte", 2), rules=("a", "b", "c"))
    assert spans(found(asked, event(0, "a"), event(1, "c"))) == [(0, 1, 1, 2)]
    assert found(asked, event(0, "c"), event(1, "b"), event(2, "a")) == []


def test_at_one_time_record_order_decides_within_a_file() -> None:
    asked = correlation("temporal_ordered", rules=("a", "b"))
    assert len(found(asked, event(0, "a", record=1), event(0, "b", record=2))) == 1
    assert found(asked, event(0, "b", record=1), event(0, "a", record=2)) == []


def test_at_one_time_in_two_files_the_order_is_taken_that_favours_the_rule() -> None:
    asked = correlation("temporal_ordered", rules=("a", "b"))
    assert len(found(asked, event(0, "a", file="y"), event(0, "b", file="x"))) == 1
    assert len(found(asked, event(0, "a", file="x"), event(0, "b", file="y"))) == 1


def test_one_event_that_matches_two_rules_is_in_order() -> None:
    assert len(found(correlation("temporal_ordered", rules=("a", "b")), event(0, "b"), event(0, "a"))) == 1


# sums, averages, percentiles


def test_a_sum_is_decided_when_the_window_is_over_and_slides() -> None:
    asked = correlation("value_sum", ("gt", 1000), value_fields=("bytes",))
    assert found(asked, event(0, bytes=400), event(30, bytes="600")) == []
    (match,) = found(asked, event(0, bytes=400), event(59, bytes=500), event(61, bytes="0x1f5"), event(200, bytes=1))
    assert (spans([match]), match.value) == ([(59, 61, 61, 2)], 1001)


def test_a_sum_is_exact() -> None:
    asked = correlation("value_sum", ("eq", 1), value_fields=("n",))
    amounts = ["1e100", "1", "-1e100"]
    (match,) = found(asked, *[event(s, n=amount) for s, amount in enumerate(amounts)])
    assert match.value == 1


def test_an_average_belongs_to_windows_one_after_the_other() -> None:
    asked = correlation("value_avg", ("gt", 500), value_fields=("bytes",))
    assert found(asked, event(0, bytes=1), event(1, bytes=900)) == [], "900 alone is not a window"
    (match,) = found(asked, event(0, bytes=200), event(60, bytes=900), event(61, bytes=1))
    assert (match.value, match.count) == (550, 2)


def test_text_that_is_no_number_is_not_reckoned_with() -> None:
    asked = correlation("value_avg", ("gt", 0), value_fields=("n",))
    correlator = Correlator([asked])
    correlator.feed(matches_of([asked], [event(0, n="many"), event(1, n="true"), event(2, n="1e999"), event(3, n="2")]))
    (match,) = correlator.flush()
    assert (match.value, correlator.report().losses["asked"].valueless) == (2, 3)


@pytest.mark.parametrize(("percentile", "value"), [(0, 1), (20, 1), (21, 2), (50, 3), (99, 5), (100, 5)])
def test_a_percentile_is_a_number_that_was_seen(percentile: float, value: int) -> None:
    asked = correlation("value_percentile", ("gt", 0), value_fields=("n",), percentile=percentile)
    (match,) = found(asked, *[event(s, n=n) for s, n in enumerate([5, 3, 1, 4, 2])])
    assert match.value == value


def test_without_a_percentile_a_value_is_rare_if_its_share_of_the_events_is() -> None:
    asked = correlation("value_percentile", ("lte", 1), value_fields=("Image",), timespan_s=86_400)
    usual = [event(s, Image="svchost.exe") for s in range(99)]
    (match,) = found(asked, *usual, event(100, Image="evil.exe"))
    assert (match.value, match.values, match.count) == (1, ("evil.exe",), 100)
    assert [e.time_us for e in match.events] == [100_000_000]
    assert found(asked, *usual[:98], event(100, Image="evil.exe")) == [], "one of 99 is more than 1 %"


# nesting


BRUTE_FORCE = correlation("event_count", ("gte", 3), rules=("failed",), id="many", hidden=True, timespan_s=600)
BREAK_IN = correlation("temporal_ordered", rules=("many", "success"), id="break-in", timespan_s=600)


def test_many_failures_followed_by_a_success() -> None:
    failures = [event(s) for s in (0, 1, 2, 300)]
    (match,) = found([BREAK_IN, BRUTE_FORCE], *failures, event(100, "success"))
    assert (match.correlation_id, match.first_us, match.time_us) == ("break-in", 2_000_000, 100_000_000)
    assert [e.rule_id for e in match.events] == ["many", "success"]
    assert found([BREAK_IN, BRUTE_FORCE], *failures, event(1.5, "success")) == []
    assert found([BREAK_IN, BRUTE_FORCE], *failures[:2], event(100, "success")) == []


def test_a_correlation_that_is_not_hidden_is_reported_beside_the_one_above() -> None:
    shown = correlation("event_count", ("gte", 3), rules=("failed",), id="many", timespan_s=600)
    both = found([BREAK_IN, shown], *[event(s) for s in (0, 1, 2)], event(100, "success"))
    assert [m.correlation_id for m in both] == ["many", "break-in"]


def test_the_one_above_may_group_by_a_field_that_the_inner_one_does_not_group_by() -> None:
    inner = correlation("event_count", ("gte", 2), id="many", group_by=("Host",), hidden=True)
    asked = correlation("temporal_ordered", rules=("many", "success"), id="break-in")
    events = [event(0, Host="h", User="ann"), event(1, Host="h", User="bob"), event(5, "success", User="bob")]
    (match,) = found([inner, asked], *events)
    assert match.group == (("User", "bob"),)


def test_an_inner_match_is_told_once() -> None:
    asked = correlation("event_count", ("gte", 1), rules=("many",), id="above")
    correlator = Correlator([BRUTE_FORCE, asked])
    correlator.feed(matches_of([BRUTE_FORCE, asked], [event(s) for s in range(9)]))
    (match,) = correlator.flush()
    assert match.count == 1
    assert correlator.report().losses["above"].duplicates == 0


def test_an_inner_window_that_waits_for_its_end_still_comes_in_its_time() -> None:
    quiet = correlation("event_count", ("lt", 3), rules=("beat",), id="quiet", hidden=True, timespan_s=10)
    asked = correlation("temporal_ordered", rules=("quiet", "stop"), id="above", timespan_s=30)
    several = [quiet, asked]
    correlator = Correlator(several, lateness_s=0)
    live = [
        m
        for e in (event(0, "beat"), event(5, "stop"), event(90, "stop"))
        for m in correlator.feed(matches_of(several, [e]))
    ]
    assert [m.time_us for m in [*live, *correlator.flush()]] == [5_000_000]

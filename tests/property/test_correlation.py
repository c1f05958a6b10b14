"""The correlation engine against the slow evaluator: any rules, any stream, any order, any cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mingjian.detect.correlation import CorrelationMatch, Correlator, Match, needed_fields
from mingjian.model.rules import Correlation
from oracle.correlations import Found, Happening, correlate, folded_group

RULES = ("r0", "r1", "r2")
FIELDS = ("User", "Host", "Size")
OPERATORS = ("gt", "gte", "lt", "lte", "eq", "neq")
TYPES = (
    "event_count",
    "value_count",
    "temporal",
    "temporal_ordered",
    "value_sum",
    "value_avg",
    "value_percentile",
)

TEXTS = st.sampled_from(["a", "A", "b", "", "\u212a", "k", "\udcff"])
NUMBERS = st.sampled_from(["1", "2", "-3", "0.5", "0x10", "1e400", "none", "99999999999999999999"])


def leaves(texts: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.one_of(texts.map(lambda t: (t,)), st.lists(texts, max_size=3).map(tuple))


@st.composite
def correlation_sets(draw: st.DrawFn) -> list[Correlation]:
    """Up to four correlations, each over rules and over those before it."""
    made: list[Correlation] = []
    for number in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(TYPES))
        known = [*RULES, *[c.id for c in made]]
        rules = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        percentile = draw(st.sampled_from([None, 0.0, 25.0, 50.0, 99.9])) if kind == "value_percentile" else None
        share = kind == "value_percentile" and percentile is None
        bound = st.integers(0, 60) if share else st.integers(-4, 12) if kind.startswith("value_") else st.integers(0, 5)
        bounds = draw(st.lists(st.tuples(st.sampled_from(OPERATORS), bound.map(float)), min_size=1, max_size=2))
        if kind.startswith("temporal") and draw(st.booleans()):
            bounds = []
        names = st.sampled_from([*FIELDS[:2], "Alias"])
        made.append(
            Correlation(
                id=f"c{number}",
                title="",
                file="",
                type=kind,
                rules=tuple(rules),
                group_by=tuple(draw(st.lists(names, max_size=2, unique=True))),
                timespan_s=draw(st.integers(1, 6)),
                bounds=tuple(bounds),
                value_fields=(
                    tuple(draw(st.lists(st.sampled_from([*FIELDS, "Alias"]), min_size=1, max_size=2, unique=True)))
                    if kind.startswith("value_")
                    else ()
                ),
                percentile=percentile,
                aliases={"Alias": {rule: draw(st.sampled_from(FIELDS)) for rule in rules if draw(st.booleans())}},
                generate=draw(st.booleans()),
            )
        )
    return draw(st.permutations(made))


HAPPENINGS = st.lists(
    st.builds(
        Happening,
        time_us=st.integers(0, 40).map(lambda half: half * 500_000),
        rule_id=st.sampled_from(RULES),
        file=st.sampled_from(["x", "y"]),
        record=st.integers(1, 9),
        fields=st.fixed_dictionaries(
            {"User": leaves(TEXTS), "Host": leaves(TEXTS), "Size": leaves(NUMBERS)},
        ),
    ),
    max_size=30,
    unique_by=lambda h: (h.time_us, h.rule_id, h.file, h.record),
)


def as_match(happening: Happening, needed: dict[str, tuple[str, ...]]) -> Match:
    values = tuple(happening.fields.get(name, ()) for name in needed.get(happening.rule_id, ()))
    return Match(happening.time_us, happening.rule_id, happening.file, happening.record, values)


def as_found(match: CorrelationMatch) -> Found:
    return Found(
        correlation_id=match.correlation_id,
        group=match.group,
        time_us=match.time_us,
        first_us=match.first_us,
        last_us=match.last_us,
        value=match.value,
        count=match.count,
        events=tuple((e.time_us, e.rule_id, e.file, e.record) for e in match.events),
        completed_by=(
            match.completed_by.time_us,
            match.completed_by.rule_id,
            match.completed_by.file,
            match.completed_by.record,
        ),
        values=match.values,
    )


def in_order(found: list[Found]) -> list[Found]:
    return sorted(found, key=lambda f: (f.time_us, f.correlation_id, folded_group(tuple(v for _, v in f.group))))


@settings(max_examples=400, deadline=None)
@given(correlation_sets(), HAPPENINGS, st.data())
def test_everything_at_once_in_any_order_is_what_the_definition_says(
    correlations: list[Correlation], happenings: list[Happening], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(happenings))
    needed = needed_fields(correlations)
    correlator = Correlator(correlations)
    assert not correlator.skipped
    found = correlator.feed(as_match(h, needed) for h in shuffled)
    assert found == []
    assert [as_found(m) for m in correlator.flush()] == correlate(correlations, happenings)


@settings(max_examples=400, deadline=None)
@given(correlation_sets(), HAPPENINGS, st.integers(0, 8), st.data())
def test_live_in_batches_late_doubled_and_restored_is_the_same_as_all_at_once(
    correlations: list[Correlation], happenings: list[Happening], lateness_s: int, data: st.DataObject
) -> None:
    needed = needed_fields(correlations)
    jitter = st.integers(0, lateness_s * 1_000_000)
    arriving = sorted(happenings, key=lambda h: h.time_us + data.draw(jitter))
    correlator = Correlator(correlations, lateness_s=lateness_s, early=True)
    found: list[CorrelationMatch] = []
    while arriving:
        size = data.draw(st.integers(1, 8))
        batch, arriving = arriving[:size], arriving[size:]
        if data.draw(st.booleans()):
            batch = batch + batch[:2]
        found += correlator.feed([as_match(h, needed) for h in batch])
        if data.draw(st.booleans()):
            correlator, anew = Correlator.restore(correlator.save(), correlations, lateness_s=lateness_s, early=True)
            assert not anew
    found += correlator.flush()
    assert correlator.report().late == 0
    closed = [m for m in found if m.closed]
    assert in_order([as_found(m) for m in closed]) == correlate(correlations, happenings)
    words = {(m.correlation_id, m.group, m.time_us, m.first_us, m.completed_by) for m in found if not m.closed}
    kept = {(m.correlation_id, m.group, m.time_us, m.first_us, m.completed_by) for m in closed}
    assert words <= kept, "an early word is never taken back"

"""The correlation engine against the slow evaluator: any rules, any stream, any order, any cut."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mingjian.detect.correlation import CorrelationMatch, Correlator, Match, needed_fields
from mingjian.model.rules import Correlation
from oracle.correlations import Found, Happening, correlate, folded_group

RULES = ("r0", "r1", "r2")
FIELDS = ("User", "Host", "Size")
TEXTS = ("a", "a", "A", "a", "b", "\u212a", "k", "", "\udcff")
NUMBERS = ("1", "2", "1", "-3", "0.5", "0x2", "1e400", "none", "99999999999999999999")
HALF_SECOND_US = 500_000
BOUNDS = {
    "event_count": range(5),
    "value_count": range(4),
    "temporal": range(1, 4),
    "temporal_ordered": range(1, 4),
    "value_sum": range(-2, 7),
    "value_avg": range(3),
    "value_percentile": range(3),
}
"""Near what small windows amount to, so that conditions are often just met and often just missed."""


def leaves(random: Random, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Mostly one text, sometimes none, sometimes several."""
    return tuple(random.choice(texts) for _ in range(random.choice((1, 1, 1, 1, 1, 0, 2, 3))))


def happenings_of(random: Random) -> list[Happening]:
    """A dense stream on half seconds, so that boundaries and equal times are hit all the time."""
    slots = random.choice((6, 12, 24, 60))
    once: dict[tuple[int, str, str, int], Happening] = {}
    for _ in range(random.randrange(50)):
        fields = {"User": leaves(random, TEXTS), "Host": leaves(random, TEXTS), "Size": leaves(random, NUMBERS)}
        time_us = random.randrange(slots) * HALF_SECOND_US
        place = (time_us, random.choice(RULES), random.choice("xy"), random.randrange(1, 9))
        once[place] = Happening(*place, fields=fields)
    return list(once.values())


def correlation_of(random: Random, number: int, known: list[str]) -> Correlation:
    """Some correlation over the rules and the correlations made so far."""
    kind = random.choice(list(BOUNDS))
    rules = random.sample(known, random.randint(1, min(3, len(known))))
    percentile = random.choice((None, None, 0.0, 25.0, 50.0, 99.9)) if kind == "value_percentile" else None
    share = kind == "value_percentile" and percentile is None
    bounds = [
        (
            random.choice(("gt", "gte", "gte", "lt", "lte", "eq", "neq")),
            float(random.choice(BOUNDS[kind])) * (25**share),
        )
        for _ in range(random.choice((1, 1, 2)))
    ]
    if kind.startswith("temporal") and random.random() < 0.5:
        bounds = []
    fields = random.sample([*FIELDS, "Alias"], random.choice((1, 1, 2))) if kind.startswith("value_") else []
    if kind in ("value_sum", "value_avg") or percentile is not None:
        fields = ["Size"]
    return Correlation(
        id=f"c{number}",
        title="",
        file="",
        type=kind,
        rules=tuple(rules),
        group_by=tuple(random.sample(["User", "Host", "Alias"], random.choice((0, 0, 1, 1, 2)))),
        timespan_s=random.randint(1, 4),
        bounds=tuple(bounds),
        value_fields=tuple(fields),
        percentile=percentile,
        aliases={"Alias": {rule: random.choice(FIELDS) for rule in rules if random.random() < 0.5}},
        hidden=random.random() < 0.2,
    )


def correlations_of(random: Random) -> list[Correlation]:
    """Up to four correlations in any order, later ones often over earlier ones."""
    made: list[Correlation] = []
    for number in range(random.choice((1, 1, 2, 3, 4))):
        known = [*RULES, *[c.id for c in made]]
        made.append(correlation_of(random, number, known))
    random.shuffle(made)
    return made


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


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**40))
def test_everything_at_once_in_any_order_is_what_the_definition_says(seed: int) -> None:
    random = Random(seed)
    correlations, happenings = correlations_of(random), happenings_of(random)
    needed = needed_fields(correlations)
    correlator = Correlator(correlations)
    assert not correlator.skipped
    assert correlator.feed(as_match(h, needed) for h in random.sample(happenings, len(happenings))) == []
    assert [as_found(m) for m in correlator.flush()] == correlate(correlations, happenings)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**40))
def test_live_in_batches_late_doubled_and_restored_is_the_same_as_all_at_once(seed: int) -> None:
    random = Random(seed)
    correlations, happenings = correlations_of(random), happenings_of(random)
    needed = needed_fields(correlations)
    lateness_s = random.choice((0, 1, 2, 8))
    arriving = sorted(
        happenings, key=lambda h: (h.time_us + random.randint(0, lateness_s * 1_000_000), random.random())
    )
    correlator = Correlator(correlations, lateness_s=lateness_s, early=True)
    found: list[CorrelationMatch] = []
    while arriving:
        size = random.randint(1, 8)
        batch, arriving = arriving[:size], arriving[size:]
        if random.random() < 0.5:
            batch = batch + batch[:2]
        found += correlator.feed([as_match(h, needed) for h in batch])
        if random.random() < 0.3:
            correlator, anew = Correlator.restore(correlator.save(), correlations, lateness_s=lateness_s, early=True)
            assert not anew
    found += correlator.flush()
    assert correlator.report().late == 0
    closed = [m for m in found if m.closed]
    assert in_order([as_found(m) for m in closed]) == correlate(correlations, happenings)
    words = {(m.correlation_id, m.group, m.time_us, m.first_us, m.completed_by) for m in found if not m.closed}
    kept = {(m.correlation_id, m.group, m.time_us, m.first_us, m.completed_by) for m in closed}
    assert words <= kept, "an early word is never taken back"

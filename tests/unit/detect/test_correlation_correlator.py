"""Time that passes, matches that come late, state that is stored, and what happens at each bound."""

from __future__ import annotations

import msgspec
import pytest

from mingjian.detect.correlation import CorrelationMatch, Correlator, Match, correlator, tallies, windows
from mingjian.errors import ParseError, SchemaError
from mingjian.model.rules import Correlation, CorrelationType

SECOND_US = 1_000_000


def asked(number: float = 3, type_: CorrelationType = "event_count", **more: object) -> Correlation:
    usual = {"id": "c", "title": "", "file": "", "rules": ("r",), "timespan_s": 60, "group_by": ("User",)}
    return Correlation(type=type_, bounds=(("gte", number),), **(usual | more))


def at(second: float, user: str = "ann", *values: str, record: int = 0, rule: str = "r") -> Match:
    time_us = round(second * SECOND_US)
    return Match(time_us, rule, "log", record or time_us, ((user,), *((value,) for value in values)))


def counts(found: list[CorrelationMatch]) -> list[tuple[float, int]]:
    return [(m.first_us / SECOND_US, m.count) for m in found]


# time


def test_nothing_is_decided_before_the_lateness_is_over() -> None:
    live = Correlator([asked(2)], lateness_s=10, early=True)
    assert live.feed([at(0), at(1)]) == []
    assert live.feed([at(11)]) == [], "a match at second 1 may still come"
    (word,) = live.feed([at(11.1)])
    assert (word.closed, word.count, word.time_us) == (False, 2, SECOND_US)


def test_an_early_word_is_followed_by_the_whole_window() -> None:
    live = Correlator([asked(2)], lateness_s=0, early=True)
    (word,) = live.feed([at(0), at(1), at(2)])
    (whole,) = live.feed([at(60.5), at(61)])
    assert (word.closed, word.count, whole.closed, whole.count) == (False, 2, True, 3)
    assert (word.time_us, word.completed_by) == (whole.time_us, whole.completed_by)


def test_what_can_be_undone_gives_no_early_word() -> None:
    live = Correlator([asked(1, "value_sum", value_fields=("n",))], lateness_s=0, early=True)
    fed = [Match(s * SECOND_US, "r", "log", s, (("ann",), ("5",))) for s in range(9)]
    assert live.feed(fed) == []


def test_a_match_within_the_lateness_takes_its_place() -> None:
    live = Correlator([asked()], lateness_s=30)
    found = live.feed([at(20)]) + live.feed([at(10)]) + live.feed([at(0)]) + live.feed([at(49)]) + live.flush()
    assert counts(found) == [(0, 4)]
    assert live.report().late == 0


def test_a_match_that_is_too_late_is_counted_and_shown_with_the_windows_it_would_have_been_in() -> None:
    live = Correlator([asked(3), asked(3, id="short", timespan_s=5)], lateness_s=10)
    live.feed([at(0), at(100)])
    live.feed([at(80), at(90)])
    report = live.report()
    assert report.late == 1
    (example,) = report.late_examples
    assert (example.match, example.late_by_us, example.open_windows) == (at(80), 10 * SECOND_US, ("c",))
    assert live.flush() == []


def test_only_some_late_matches_are_kept_as_examples_and_all_are_counted() -> None:
    live = Correlator([asked()], lateness_s=0)
    live.feed([at(100)])
    live.feed([at(s) for s in range(50)])
    assert (live.report().late, len(live.report().late_examples)) == (50, 10)


def test_a_match_from_the_future_does_not_make_the_others_late() -> None:
    live = Correlator([asked(2)], lateness_s=10)
    now_us = 50 * SECOND_US
    live.feed([at(4_000_000_000)], now_us=now_us)
    live.feed([at(41), at(42)], now_us=now_us)
    assert live.report().late == 0
    assert counts(live.flush()) == [(41, 2)]


@pytest.mark.parametrize("time_us", [None, 2**62, -(2**62) - 1])
def test_a_match_without_a_usable_time_is_counted_by_its_rule(time_us: int | None) -> None:
    batch = Correlator([asked(1)])
    batch.feed([Match(time_us, "r", "log", 1, (("ann",),))])
    assert batch.flush() == []
    assert batch.report().undated == {"r": 1}


def test_matches_of_other_rules_are_ignored() -> None:
    batch = Correlator([asked(1)])
    batch.feed([at(0, rule="other")])
    assert batch.flush() == []


def test_the_same_match_given_twice_counts_once() -> None:
    batch = Correlator([asked(1)])
    batch.feed([at(0), at(1), at(0)])
    batch.feed([at(1)])
    assert counts(batch.flush()) == [(0, 2)]
    assert batch.report().losses["c"].duplicates == 2


def test_two_equal_lines_are_two_events() -> None:
    batch = Correlator([asked(2)])
    batch.feed([at(0, record=1), at(0, record=2)])
    assert counts(batch.flush()) == [(0, 2)]


def test_a_flushed_correlator_takes_nothing_more() -> None:
    batch = Correlator([asked(1)])
    batch.flush()
    assert batch.feed([at(0)]) == []
    assert batch.report().late == 1


# state


KINDS = [
    asked(3),
    asked(2, "value_count", id="values", value_fields=("Value",)),
    asked(2, "temporal", id="any", rules=("r", "s")),
    asked(2, "temporal_ordered", id="ordered", rules=("r", "s")),
    asked(4, "value_sum", id="sum", value_fields=("Value",)),
    asked(0, "value_avg", id="average", value_fields=("Value",)),
    asked(0, "value_percentile", id="percentile", value_fields=("Value",), percentile=50.0),
    asked(50, "value_percentile", id="share", value_fields=("Value",)),
    asked(1, id="above", rules=("c", "sum")),
]


def stream() -> list[Match]:
    return [at(s, "ann" if s % 3 else "bob\udcff", str(s % 4 + s / 2), rule="rs"[s % 2]) for s in range(0, 200, 3)]


@pytest.mark.parametrize("cut", [0, 1, 7, 20, 40, 66, 67])
def test_a_stored_state_goes_on_where_it_was(cut: int) -> None:
    whole = Correlator(KINDS, lateness_s=5)
    expected = whole.feed(stream()[:cut]) + whole.feed(stream()[cut:]) + whole.flush()
    before = Correlator(KINDS, lateness_s=5)
    found = before.feed(stream()[:cut])
    after, anew = Correlator.restore(before.save(), KINDS, lateness_s=5)
    assert anew == []
    assert after.save() == before.save()
    assert found + after.feed(stream()[cut:]) + after.flush() == expected
    assert {m.correlation_id for m in expected} == {c.id for c in KINDS}


def test_what_was_counted_is_stored_too() -> None:
    live = Correlator([asked()], lateness_s=0)
    live.feed([at(9), at(9), Match(None, "r", "", 0, (("ann",),)), Match(9, "r", "", 0, ((),))])
    live.feed([at(10)])
    live.feed([at(1)])
    again, _ = Correlator.restore(live.save(), [asked()], lateness_s=0)
    assert again.report() == live.report()
    assert again.report().late == 1


def test_only_what_still_asks_the_same_goes_on() -> None:
    before = Correlator([asked(), asked(id="changed"), asked(id="gone")], lateness_s=0)
    before.feed([at(0), at(1), at(2)])
    after, anew = Correlator.restore(before.save(), [asked(), asked(4, id="changed"), asked(id="new")], lateness_s=0)
    assert anew == ["changed", "new"]
    assert [(m.correlation_id, m.count) for m in after.flush()] == [("c", 3)]


def test_a_sum_beyond_64_bits_is_stored() -> None:
    big = asked(1, "value_sum", value_fields=("Value",))
    before = Correlator([big], lateness_s=0)
    before.feed([at(s, "ann", value) for s, value in enumerate([str(2**63 - 1)] * 9 + ["0.5", "1"])])
    after, _ = Correlator.restore(before.save(), [big], lateness_s=0)
    assert after.flush()[0].value == float(9 * (2**63 - 1) + 1)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01", b"\x91\x01", msgspec.msgpack.encode([1, 2]), b"\x91" * 5000])
def test_bytes_that_are_no_state_are_refused(data: bytes) -> None:
    with pytest.raises((ParseError, SchemaError)):
        Correlator.restore(data, [asked()])


def test_a_state_of_another_version_is_refused() -> None:
    tree = msgspec.msgpack.decode(Correlator([asked()]).save())
    with pytest.raises(SchemaError, match="another version"):
        Correlator.restore(msgspec.msgpack.encode([tree[0] + 1, *tree[1:]]), [asked()])


def test_a_damaged_state_is_refused_or_read_but_never_breaks() -> None:
    live = Correlator(KINDS, lateness_s=5)
    live.feed(stream())
    data = live.save()
    for place in range(0, len(data), 97):
        damaged = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
        try:
            Correlator.restore(damaged, KINDS, lateness_s=5)
        except (ParseError, SchemaError):
            continue


# bounds


def test_the_oldest_half_is_decided_early_when_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlator, "MATCHES_HELD_MAX", 10)
    batch = Correlator([asked(11)])
    batch.feed([at(s) for s in range(11)])
    assert batch.report().released_early == 6
    batch.feed([at(0.5)])
    assert batch.report().late == 1
    assert counts(batch.flush()) == [(0, 11)]


def test_inner_matches_that_come_after_their_time_was_decided_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlator, "MATCHES_HELD_MAX", 10)
    quiet = asked(0, id="quiet", rules=("s",), timespan_s=1000)
    quiet = msgspec.structs.replace(quiet, bounds=(("lt", 5),))
    above = asked(1, id="above", rules=("quiet", "r"))
    live = Correlator([quiet, above], lateness_s=0)
    live.feed([at(0, rule="s")])
    for s in range(1, 40):
        live.feed([at(s)])
    live.flush()
    assert live.report().released_early > 0
    assert live.report().losses["above"].overtaken == 1


def test_silent_groups_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "GROUPS_MAX", 20)
    batch = Correlator([asked(2)])
    fed = [at(s / 10, f"user{s}") for s in range(25)]
    batch.feed([*fed, at(3, "user0"), at(3, "user24", record=1)])
    assert [m.group[0][1] for m in batch.flush()] == ["user24"]
    assert batch.report().losses["c"].groups_evicted == 6


def test_groups_that_are_over_make_room_without_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "GROUPS_MAX", 20)
    batch = Correlator([asked(2)])
    batch.feed([at(s * 61 + more, f"user{s}") for s in range(60) for more in (0, 1)])
    assert len(batch.flush()) == 60
    assert batch.report().losses["c"].groups_evicted == 0


def test_what_has_fired_is_reported_even_if_its_group_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "GROUPS_MAX", 10)
    batch = Correlator([asked(1)])
    batch.feed([at(s, f"user{s}") for s in range(30)])
    assert len(batch.flush()) == 30


def test_a_window_that_is_too_full_loses_its_oldest_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "MATCHES_PER_GROUP_MAX", 5)
    batch = Correlator([asked(2, "value_count", value_fields=("Value",))])
    batch.feed([*[at(s, "ann", "same") for s in range(8)], at(9, "ann", "other")])
    assert counts(batch.flush()) == [(4, 5)]
    assert batch.report().losses["c"].crowded == 4


def test_a_window_keeps_so_many_distinct_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "VALUES_PER_WINDOW_MAX", 5)
    batch = Correlator([asked(2, "value_count", value_fields=("Value",))])
    batch.feed([at(s, "ann", str(s)) for s in range(9)])
    (match,) = batch.flush()
    assert (match.value, match.count) == (5, 9)
    assert batch.report().losses["c"].crowded == 4


def test_one_event_is_in_so_many_groups() -> None:
    batch = Correlator([asked(1)])
    batch.feed([Match(0, "r", "log", 1, (tuple(f"user{n}" for n in range(100)),))])
    assert len(batch.flush()) == windows.COMBINATIONS_MAX
    assert batch.report().losses["c"].combinations_cut == 1


def test_the_list_of_events_has_a_bound_and_the_count_has_none() -> None:
    batch = Correlator([asked(150)])
    batch.feed([at(s / 10) for s in range(300)])
    (match,) = batch.flush()
    assert (len(match.events), match.count) == (100, 300)
    assert match.completed_by.time_us == 14_900_000


def test_many_events_at_one_moment_are_no_harder_than_others() -> None:
    """A quadratic step would take minutes here."""
    several = [asked(10**9), asked(10**9, "value_sum", id="sum", value_fields=("Value",)), asked(2, id="few")]
    batch = Correlator(several)
    batch.feed([at(0, "ann", "1", record=n) for n in range(1, 30_001)])
    assert [m.count for m in batch.flush()] == [30_000]

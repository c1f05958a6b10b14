"""What is usual joins nothing, and a rule that fires day after day holds nothing."""

import numpy as np

from mingjian.situations.policy import policy
from mingjian.situations.standing import Standing
from mingjian.store.evidence import BAD, WARNED, Entity, Loaded, key_of

DAY_US = 86_400_000_000
NONE = np.zeros(0, np.int64)


def loaded(
    rows: list[tuple[int, str, int, str, list[tuple[str, str]]]], flags: int = 0
) -> tuple[Loaded, dict[int, Entity]]:
    """Evidence of (day, rule, level, host, entities)."""
    known: dict[int, Entity] = {}
    marks: list[tuple[int, int]] = []
    for row, (_, _, _, host, things) in enumerate(rows):
        for kind, value in [("host", host), *things] if host else things:
            key = key_of(kind, value)
            known[key] = Entity(key=key, kind=kind, value=value)
            marks.append((row, key))
    return Loaded(
        ids=np.arange(1, len(rows) + 1),
        times=np.array([day * DAY_US for day, *_ in rows], np.int64),
        levels=np.array([level for _, _, level, *_ in rows], np.int64),
        rules=np.array([key_of("rule", rule) for _, rule, *_ in rows], np.int64),
        hosts=np.array([key_of("host", host) if host else 0 for *_, host, _ in rows], np.int64),
        accounts=np.zeros(len(rows), np.int64),
        flags=np.full(len(rows), flags, np.int64),
        mark_rows=np.array([row for row, _ in marks], np.int64),
        mark_keys=np.array([key for _, key in marks], np.int64),
    ), known


def standing_of(evidence: Loaded, known: dict[int, Entity], excluded: np.ndarray = NONE) -> Standing:
    found = Standing(policy())
    found.add(evidence, list(known.values()), excluded)
    return found


def weight_of(kind: str, value: str, evidence: Loaded, known: dict[int, Entity]) -> float:
    found = standing_of(evidence, known)
    return float(found.weights[found.codes.of([key_of(kind, value)])[0]])


def test_the_first_days_of_a_rule_count_and_then_it_is_routine_until_it_has_paused() -> None:
    days = [*range(20), 80]
    evidence, known = loaded([(day, "r", 3, "pc-1", []) for day in days])
    core = standing_of(evidence, known).core.tolist()
    assert core == [True] * 7 + [False] * 13 + [True]


def test_what_goes_on_without_a_pause_does_not_become_routine() -> None:
    hours = [*range(0, 480, 6), *range(600, 630, 6)]
    evidence, known = loaded([(hour / 24, "r", 3, "pc-1", []) for hour in hours])  # type: ignore[misc]  # parts of a day
    assert standing_of(evidence, known).core.tolist() == [True] * 80 + [False] * 5
    late = [hour for hour in hours if hour != 240]
    evidence, known = loaded([(hour / 24, "r", 3, "pc-1", []) for hour in late])  # type: ignore[misc]  # parts of a day
    assert standing_of(evidence, known).core.tolist() == [True] * 40 + [False] * 44


def test_of_low_level_nothing_goes_on() -> None:
    evidence, known = loaded([(0, "r", 1, "pc-1", [("hash", "a1")])] * 9)
    assert not standing_of(evidence, known).core.any()


def test_an_indicator_is_never_routine() -> None:
    evidence, known = loaded([(day, "r", 3, "pc-1", []) for day in range(20)], flags=BAD)
    assert standing_of(evidence, known).core.all()


def test_a_rule_that_fires_on_every_host_of_many_holds_nothing() -> None:
    evidence, known = loaded([(0, "r", 3, f"pc-{n}", []) for n in range(40)] + [(0, "rare", 3, "pc-1", [])])
    assert standing_of(evidence, known).core.tolist() == [False] * 40 + [True]


def test_in_a_small_organisation_a_grave_rule_counts_although_every_host_has_it() -> None:
    evidence, known = loaded([(0, "r", 3, f"pc-{n}", []) for n in range(4)])
    assert standing_of(evidence, known).core.all()


def test_what_many_parties_share_weighs_nothing_even_if_history_does_not_name_its_hosts() -> None:
    resolver, thing = ("ip", "10.0.0.53"), ("domain", "evil.example")
    rows = [(0, "r", 3, f"pc-{n}", [resolver]) for n in range(30)] + [(0, "r", 3, "pc-1", [thing])]
    evidence, known = loaded(rows)
    assert weight_of(*resolver, evidence, known) == 0
    assert weight_of(*thing, evidence, known) == policy().kinds["domain"].weight


def test_without_a_host_the_internal_address_is_the_party() -> None:
    rows = [(0, "r", 3, "", [("ip", f"10.0.1.{n}"), ("domain", "cdn.example")]) for n in range(40)]
    evidence, known = loaded(rows)
    assert weight_of("domain", "cdn.example", evidence, known) == 0


def test_warned_things_and_programs_accounts_weigh_nothing_and_bad_things_double() -> None:
    evidence, known = loaded(
        [(0, "r", 3, "pc-1", [("domain", "a.example"), ("account", "system"), ("ip", "127.0.0.1")])]
    )
    key = key_of("domain", "a.example")
    full = policy().kinds["domain"].weight
    assert weight_of("account", "system", evidence, known) == 0
    assert weight_of("ip", "127.0.0.1", evidence, known) == 0
    for flags, expected in ((0, full), (WARNED, 0), (BAD, 2 * full), (BAD | WARNED, 2 * full)):
        known[key] = Entity(key=key, kind="domain", value="a.example", hosts=500 if flags & BAD else 1, flags=flags)
        assert weight_of("domain", "a.example", evidence, known) == expected


def test_what_a_person_called_false_holds_nothing() -> None:
    evidence, known = loaded([(0, "r", 4, "pc-1", []), (0, "r", 4, "pc-1", [])])
    assert standing_of(evidence, known, np.array([2])).core.tolist() == [True, False]

"""Sums over detections: right, and bounded whatever names an adversary invents."""

from typing import Any

import pytest

from mingjian.console import tally
from mingjian.model.detections import Detection


def detection(**given: Any) -> Detection:
    base: dict[str, Any] = {"time_us": 5, "level": "low", "rule_id": "r", "rule_title": "R", "stream": "s", "file": "f"}
    return Detection(**base | {"record": 1} | given)


def test_levels_times_rules_hosts_and_accounts_are_added_up() -> None:
    sums = tally.add_up(
        [
            detection(host="a", account="x", time_us=9),
            detection(host="a", level="critical", time_us=3),
            detection(host="b", rule_id="q", rule_title="Q", time_us=None),
        ]
    )
    assert (sums.all.total, sums.all.first_us, sums.all.last_us) == (3, 3, 9)
    assert sums.all.weight == (1, 0, 0, 2, 0)
    assert {name: (each.total, each.worst) for name, each in sums.hosts.items()} == {
        "a": (2, "critical"),
        "b": (1, "low"),
    }
    assert (sums.accountless, sums.hostless) == (2, 0)
    assert {rule.title: sorted(rule.hosts) for rule in sums.rules.values()} == {"R": ["a"], "Q": ["b"]}
    assert sums.times.untimed == 1


def test_one_more_critical_weighs_more_than_any_number_of_high() -> None:
    grave, noisy = tally.Tally(), tally.Tally()
    grave.add(tally.LEVEL_NUMBER["critical"], None)
    for _ in range(1_000):
        noisy.add(tally.LEVEL_NUMBER["high"], None)
    assert grave.weight > noisy.weight
    assert tally.Tally().worst == "informational"


def test_names_beyond_the_limit_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "NAMES_MAX", 10)
    monkeypatch.setattr(tally, "RULES_MAX", 5)
    sums = tally.add_up(
        [detection(host=f"h{n}", account=f"a{n}", rule_id=f"r{n}") for n in range(30)] + [detection(host="h3")]
    )
    assert sums.all.total == 31
    assert (len(sums.hosts), sums.beyond_hosts, sums.hosts["h3"].total) == (10, 20, 2)
    assert (len(sums.accounts), sums.beyond_accounts) == (10, 20)
    assert (len(sums.rules), sums.beyond_rules) == (5, 26)


def test_a_rule_remembers_only_so_many_hosts() -> None:
    sums = tally.add_up([detection(host=f"h{n}") for n in range(1_000)])
    assert len(sums.rules["r"].hosts) == tally.HOSTS_OF_RULE_MAX + 1


def test_a_long_name_is_cut_and_the_cut_is_seen() -> None:
    sums = tally.add_up([detection(host="x" * 10_000)])
    assert list(sums.hosts) == ["x" * (tally.NAME_CHARACTERS_MAX - 1) + "…"]

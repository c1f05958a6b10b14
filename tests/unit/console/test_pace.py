"""How fast requests may come."""

from __future__ import annotations

import pytest

from mingjian.console import pace
from mingjian.console.pace import Pace
from mingjian.errors import TooManyRequests
from mingjian.settings import Settings


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def slow(**limits: int) -> tuple[Pace, Clock]:
    clock = Clock()
    given = {"address_requests_per_minute": 6, "account_requests_per_minute": 3, "sign_in_requests_per_minute": 2}
    return Pace(Settings(**(given | limits)), clock), clock  # type: ignore[arg-type] # limits are numbers


def test_a_minutes_worth_is_let_through_at_once_and_then_one_after_the_other() -> None:
    limiter, clock = slow()
    for _ in range(3):
        limiter.check("account", "a")
    with pytest.raises(TooManyRequests, match="account_requests_per_minute") as refused:
        limiter.check("account", "a")
    assert refused.value.retry_after_s == 20
    clock.now_s += 19.9
    with pytest.raises(TooManyRequests):
        limiter.check("account", "a")
    clock.now_s += 0.2
    limiter.check("account", "a")
    with pytest.raises(TooManyRequests):
        limiter.check("account", "a")


def test_whoever_is_refused_is_not_kept_out_by_going_on() -> None:
    limiter, clock = slow()
    for _ in range(200):
        clock.now_s += 1
        try:
            limiter.check("account", "a")
        except TooManyRequests:
            continue
    clock.now_s += 20
    limiter.check("account", "a")


def test_in_the_long_run_it_is_as_many_as_were_named() -> None:
    limiter, clock = slow(account_requests_per_minute=600)
    passed = 0
    for _ in range(10_000):
        clock.now_s += 0.03
        try:
            limiter.check("account", "a")
            passed += 1
        except TooManyRequests:
            continue
    assert 3000 <= passed <= 3000 + 600, "300 s at 600 a minute, and the minute's worth from before"


def test_a_quiet_hour_saves_no_more_than_a_minutes_worth() -> None:
    limiter, clock = slow()
    limiter.check("account", "a")
    clock.now_s += 3600
    for _ in range(3):
        limiter.check("account", "a")
    with pytest.raises(TooManyRequests):
        limiter.check("account", "a")


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    limiter, clock = slow()
    limiter.check("account", "a")
    clock.now_s -= 500
    limiter.check("account", "a")
    limiter.check("account", "a")
    with pytest.raises(TooManyRequests):
        limiter.check("account", "a")


def test_one_does_not_pay_for_another_but_a_network_of_ipv6_is_one() -> None:
    limiter, _ = slow()
    for _ in range(6):
        limiter.check_request("/queue", "192.0.2.1")
    with pytest.raises(TooManyRequests):
        limiter.check_request("/queue", "192.0.2.1")
    limiter.check_request("/queue", "192.0.2.2")
    for number in range(6):
        limiter.check_request("/queue", f"2001:db8::{number:x}")
    with pytest.raises(TooManyRequests):
        limiter.check_request("/queue", "2001:db8::ffff")
    limiter.check_request("/queue", "2001:db8:0:1::1")


def test_signing_in_has_a_bound_of_its_own_and_files_and_health_have_none() -> None:
    limiter, _ = slow()
    limiter.check_request("/sign-in", "192.0.2.1")
    limiter.check_request("/sign-in/openid/back", "192.0.2.1")
    with pytest.raises(TooManyRequests, match="sign_in_requests_per_minute"):
        limiter.check_request("/sign-in/link", "192.0.2.1")
    limiter.check_request("/queue", "192.0.2.1")
    for _ in range(50):
        for path in ("/static/x/console.css", "/-/health", "/-/ready", "/-/metrics"):
            limiter.check_request(path, "192.0.2.1")


def test_nought_is_no_limit() -> None:
    limiter, _ = slow(account_requests_per_minute=0)
    for _ in range(10_000):
        limiter.check("account", "a")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "BUCKETS_MAX", 10)
    limiter, _ = slow()
    for number in range(1000):
        limiter.check("account", str(number))
    assert len(limiter._buckets["account"]) == 10

"""Times as the producers spell them, one by one and in bulk."""

from datetime import UTC, datetime

import numpy as np
import pytest

from mingjian.sample import moments
from mingjian.sample.chance import Numbers


@pytest.mark.parametrize("how", ["iso_ms", "sysmon", "plain", "iso_us", "epoch_us"])
def test_many_times_are_spelled_as_each_of_them(how: str) -> None:
    times = Numbers(3, "times").below(500, 1 << 31) * 800_123 + 17
    assert moments.many(times, how) == [getattr(moments, how)(time_us) for time_us in times.tolist()]


def test_a_time_is_that_of_the_calendar() -> None:
    when = datetime(2028, 2, 29, 23, 59, 59, 999_000, tzinfo=UTC)
    time_us = int(when.timestamp() * 1_000_000)
    assert moments.iso_ms(time_us) == "2028-02-29T23:59:59.999Z"
    assert moments.many(np.array([time_us]), "sysmon") == ["2028-02-29 23:59:59.999"]


def test_dates_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "DATES_MAX", 3)
    assert [moments.plain(day * moments.DAY)[:10] for day in range(5)] == [f"1970-01-0{day + 1}" for day in range(5)]

"""Times as the producers spell them. A time is a whole number of microseconds since 1970 UTC."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from typing import Final, Literal

from mingjian.sample.chance import Whole, listed

MILLISECOND: Final = 1_000
SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

DATES_MAX: Final = 1_000
"""So many dates are remembered; it only saves time."""
_DAY_S = 86_400
_UNIX_EPOCH = date(1970, 1, 1)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CLOCK: Final = tuple(f"{h:02}:{m:02}:{s:02}" for h in range(24) for m in range(60) for s in range(60))
_THOUSANDTHS: Final = tuple(f".{n:03}" for n in range(1000))


class _Dates(dict[int, str]):
    """The days in use. (A look-up in a dictionary costs a third of a call.)"""

    def __missing__(self, day: int) -> str:
        if len(self) >= DATES_MAX:
            self.clear()
        text = self[day] = (_UNIX_EPOCH + timedelta(days=day)).isoformat()
        return text


_DATES: Final = _Dates()


@lru_cache(maxsize=64)
def _apache_date(day: int) -> str:
    when = _UNIX_EPOCH + timedelta(days=day)
    return f"{when.day:02}/{_MONTHS[when.month - 1]}/{when.year}"


@lru_cache(maxsize=64)
def _bsd_date(day: int) -> str:
    when = _UNIX_EPOCH + timedelta(days=day)
    return f"{_MONTHS[when.month - 1]} {when.day:2}"


def at(when: date) -> int:
    """The first moment of a day in UTC.

    >>> at(date(1970, 1, 2)) == DAY
    True
    """
    return (when - _UNIX_EPOCH).days * DAY


def iso_ms(time_us: int) -> str:
    """``2026-03-02T09:15:00.250Z``, as Beats write it."""
    second, rest = divmod(time_us, SECOND)
    day, second = divmod(second, _DAY_S)
    return _DATES[day] + "T" + _CLOCK[second] + _THOUSANDTHS[rest // 1000] + "Z"


def sysmon(time_us: int) -> str:
    """``2026-03-02 09:15:00.250``: the time in Sysmon's own fields, UTC."""
    second, rest = divmod(time_us, SECOND)
    day, second = divmod(second, _DAY_S)
    return _DATES[day] + " " + _CLOCK[second] + _THOUSANDTHS[rest // 1000]


def both(time_us: int) -> tuple[str, str]:
    """What ``iso_ms`` and ``sysmon`` give, at the cost of one of them."""
    second, rest = divmod(time_us, SECOND)
    day, second = divmod(second, _DAY_S)
    date_text, clock = _DATES[day], _CLOCK[second] + _THOUSANDTHS[rest // 1000]
    return f"{date_text}T{clock}Z", f"{date_text} {clock}"


def plain(time_us: int) -> str:
    """``2026-03-02 09:15:00``; NXLog writes local time so: add the offset before."""
    day, second = divmod(time_us // SECOND, _DAY_S)
    return _DATES[day] + " " + _CLOCK[second]


def iso_s(time_us: int) -> str:
    """``2026-03-02T09:15:00Z``, as CloudTrail writes it."""
    day, second = divmod(time_us // SECOND, _DAY_S)
    return _DATES[day] + "T" + _CLOCK[second] + "Z"


def iso_us(time_us: int) -> str:
    """``2026-03-02T09:15:00.250123``, without a zone: rsyslog and Suricata put theirs behind it."""
    second, rest = divmod(time_us, SECOND)
    day, second = divmod(second, _DAY_S)
    return f"{_DATES[day]}T{_CLOCK[second]}.{rest:06}"


def epoch_us(time_us: int) -> str:
    """``1772442900.250123``, as Zeek writes it."""
    second, rest = divmod(time_us, SECOND)
    return f"{second}.{rest:06}"


def epoch_ms(time_us: int) -> str:
    """``1772442900.250``, as Squid and auditd write it."""
    second, rest = divmod(time_us, SECOND)
    return str(second) + _THOUSANDTHS[rest // 1000]


def apache(time_us: int) -> str:
    """``02/Mar/2026:09:15:00``, without a zone."""
    day, second = divmod(time_us // SECOND, _DAY_S)
    return _apache_date(day) + ":" + _CLOCK[second]


def bsd(time_us: int) -> str:
    """``Mar  2 09:15:00``, the syslog time of RFC 3164: no year, no zone."""
    day, second = divmod(time_us // SECOND, _DAY_S)
    return _bsd_date(day) + " " + _CLOCK[second]


def zone(offset_us: int, *, colon: bool = False) -> str:
    """``+0800`` or ``+08:00``.

    >>> zone(8 * HOUR), zone(-5 * HOUR, colon=True)
    ('+0800', '-05:00')
    """
    minutes = abs(offset_us) // MINUTE
    sign = "-" if offset_us < 0 else "+"
    return f"{sign}{minutes // 60:02}{':' if colon else ''}{minutes % 60:02}"


def local_date(start_us: int, offset_us: int) -> date:
    """The day that a moment falls on at a place."""
    return _UNIX_EPOCH + timedelta(days=(start_us + offset_us) // DAY)


def many(times_us: Whole, how: Literal["iso_ms", "sysmon", "plain", "iso_us", "epoch_us"]) -> list[str]:
    """Many times as the function of that name gives them.

    >>> import numpy as np
    >>> many(np.array([DAY + 1_500_000]), "iso_us") == [iso_us(DAY + 1_500_000)]
    True
    """
    seconds, rests = times_us // SECOND, times_us % SECOND
    if how == "epoch_us":
        return [f"{second}.{rest:06}" for second, rest in zip(listed(seconds), listed(rests), strict=True)]
    days = listed(seconds // _DAY_S)
    clocks = listed(seconds % _DAY_S)
    dates = _DATES
    if how == "plain":
        return [f"{dates[day]} {_CLOCK[clock]}" for day, clock in zip(days, clocks, strict=True)]
    if how == "iso_us":
        rows = zip(days, clocks, listed(rests), strict=True)
        return [f"{dates[day]}T{_CLOCK[clock]}.{rest:06}" for day, clock, rest in rows]
    rows = zip(days, clocks, listed(rests // 1000), strict=True)
    if how == "sysmon":
        return [f"{dates[day]} {_CLOCK[clock]}{_THOUSANDTHS[rest]}" for day, clock, rest in rows]
    return [f"{dates[day]}T{_CLOCK[clock]}{_THOUSANDTHS[rest]}Z" for day, clock, rest in rows]

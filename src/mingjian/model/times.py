"""Moments as log writers spell them, turned into microseconds since 1970 UTC.

Pure: no clock, no locale, no time zone database. What a text does not say (its zone, its year) the caller says, or
the answer is None. Readers keep a timestamp as it was written in ``timestamp`` and, where it can be told, the whole
moment as ISO 8601 in ``time``: with its zone if one is stated, without if not, so that a source definition says
``time: [time]`` and may state the zone of the producer.

Not read on purpose, because they mean different moments to different people: day/month/year in figures
(``03/04/2021``) and named zones other than UTC and GMT (``CST`` is in China and in Chicago).
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

from mingjian.model.values import Missing, Value

TIME_US_MAX = 253_402_300_800_000_000 - 1
"""The last microsecond of the year 9999."""
TIMESTAMP_CHARACTERS_MAX = 64
"""A longer text is not a timestamp."""
ZONE_OFFSET_S_MAX = 18 * 3600
"""No zone is further from UTC than this. Source: ISO 8601 sets no bound; 18 h is that of java.time and ICU."""
FUTURE_TOLERANCE_S = 86_400
"""A file may hold times this much later than its modification time: zones and clocks differ."""
LEAP_YEARS_APART_MAX = 8
"""Between two 29ths of February lie at most eight years (1896–1904, 2096–2104)."""

_DAY_US = 86_400_000_000
_MINUTE_US = 60_000_000
_UNIX_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
_MONTH = r"(?P<month>[A-Za-z]{3})"
_WEEKDAY = r"(?:(?:[Mm]on|[Tt]ue|[Ww]ed|[Tt]hu|[Ff]ri|[Ss]at|[Ss]un),?[ ]{1,2})?"
_CLOCK = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})(?:[.,:](?P<fraction>[0-9]{1,9}))?"
_ZONE = r"(?:[ ]?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2}))?"
_YEAR = r"(?P<year>[0-9]{4})"
_DAY = r"(?P<day>[0-9]{1,2})"
# Every repetition is counted and none is nested, so a match costs at most a constant.
_FORMS = tuple(
    re.compile(form)
    for form in (
        # Dec 10 06:55:46 · Apr 29 2020 20:06:39 · Apr  1 2020 10:10:10+08:00 (RFC 3164, Cisco, Huawei)
        rf"{_WEEKDAY}{_MONTH}[ ]{{1,2}}{_DAY},?[ ](?:{_YEAR}[ ])?{_CLOCK}{_ZONE}",
        # Sun Dec 04 04:47:44 2005 (asctime, Apache error log, H3C)
        rf"{_WEEKDAY}{_MONTH}[ ]{{1,2}}{_DAY}[ ]{_CLOCK}(?:[ ](?P<zone>UTC|GMT))?[ ]{_YEAR}",
        # Sun, 04 Dec 2005 04:47:44 +0000 (RFC 5322) · 10/Oct/2000:13:55:36 -0700 (Apache) · 4-Dec-2005 04:47:44
        rf"{_WEEKDAY}{_DAY}([ /-]){_MONTH}\2{_YEAR}[ :]{_CLOCK}{_ZONE}",
    )
)
_MINUTE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2})")
_REST = re.compile(r"(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?[ ]?(Z|UTC|z|[+-][0-9]{2}(?::?[0-9]{2})?)?")
_COMPACT = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})(.*)")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Audit event ids (``1626611363.720:348501``, LAUREL writes nothing else) are a moment and a serial number.
_EPOCH = re.compile(r"([0-9]{9,19})(?:\.([0-9]{1,9})[0-9]{0,9}(?::[0-9]{1,20})?)?")


def parse_time_us(value: Value | Missing, *, zone_offset_s: int = 0, year: int | None = None) -> int | None:
    """Turn a moment into microseconds since 1970 UTC; None if it is not one, or not within 1970–9999.

    Numbers, and texts of 9 to 19 digits with or without a fraction (and audit's ``:serial``), are seconds since 1970,
    milliseconds above 10¹¹, microseconds above 10¹⁴, nanoseconds above 10¹⁷. Fractions finer than a microsecond are
    cut off. Texts are ISO 8601 (``T`` or a space, ``-`` or ``/`` in the date, up to nine digits of fraction), RFC 3164,
    RFC 5322, asctime and the Apache form. ``zone_offset_s`` (east of UTC is positive) is used where no zone is
    stated, ``year`` where no year is.

    >>> parse_time_us("1970-01-01T00:00:01.5Z"), parse_time_us("1970-01-01 08:00", zone_offset_s=8 * 3600)
    (1500000, 0)
    >>> parse_time_us("Jan  2 00:00:00", year=1970), parse_time_us("Jan  2 00:00:00"), parse_time_us("soon")
    (86400000000, None, None)
    """
    if isinstance(value, str):
        if len(value) > 10 and value[4] == "-" and value[10] in "T ":
            time_us = _iso_us(value, zone_offset_s)
        else:
            time_us = _text_us(value, zone_offset_s, year)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        time_us = _number_us(value)
    else:
        return None
    return time_us if time_us is not None and 0 <= time_us <= TIME_US_MAX else None


@lru_cache(maxsize=16_384)
def iso_with_year(timestamp: str, modified_at_s: float | None) -> str | None:
    """Complete a timestamp without a year, as ISO 8601 without a zone: in the latest year that the file allows.

    A line cannot be younger than its file, give or take a day for zones and clocks: the year is the latest in which
    the moment is not after ``modified_at_s`` + 1 day. None if the file time is unknown or the text is not a
    timestamp. A timestamp that has a year keeps it.

    >>> iso_with_year("Dec 31 23:59:59", 1_609_459_200.0), iso_with_year("Jan  3 00:00:00", 1_609_459_200.0)
    ('2020-12-31T23:59:59', '2020-01-03T00:00:00')
    """
    if len(timestamp) > TIMESTAMP_CHARACTERS_MAX:
        return None
    parsed = next((found for form in _FORMS if (found := form.fullmatch(timestamp))), None)
    if parsed is None:
        return None
    if parsed["year"] is not None:
        years = range(int(parsed["year"]), int(parsed["year"]) + 1)
        latest_us = TIME_US_MAX
    elif modified_at_s is not None and 0 <= modified_at_s * 1e6 <= TIME_US_MAX:
        latest_us = int((modified_at_s + FUTURE_TOLERANCE_S) * 1e6)
        last = date.fromordinal(min(_UNIX_EPOCH_ORDINAL + latest_us // _DAY_US, date.max.toordinal())).year
        years = range(last, max(last - LEAP_YEARS_APART_MAX - 1, 1969), -1)
    else:
        return None
    for year in years:
        time_us = _parts_us(parsed, 0, year)
        if time_us is not None and time_us - _offset_us(parsed["zone"], 0) <= latest_us:
            return _iso_text(time_us, parsed["fraction"], parsed["zone"])
    return None


def _iso_text(local_us: int, fraction: str | None, zone: str | None) -> str:
    """The moment in ISO 8601 with the fraction and the zone that were written. ``local_us`` is in that zone."""
    day = date.fromordinal(_UNIX_EPOCH_ORDINAL + local_us // _DAY_US)
    second = local_us // 1_000_000 % 86_400
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    written = "" if zone is None else "Z" if zone in {"Z", "UTC", "GMT"} else f"{zone[:3]}:{zone[-2:]}"
    return f"{day.isoformat()}T{clock}{'.' + fraction if fraction else ''}{written}"


def _parts_us(parsed: re.Match[str], offset_us: int, year: int) -> int | None:
    month = _MONTHS.get(parsed["month"].lower())
    if month is None:
        return None
    minute_us = _day_minute_us(year, month, int(parsed["day"]), int(parsed["hour"]), int(parsed["minute"]))
    second_us = _second_us(parsed["second"], parsed["minute"])
    if minute_us is None or second_us is None:
        return None
    return minute_us + second_us + _fraction_us(parsed["fraction"]) - offset_us


def _day_minute_us(year: int, month: int, day: int, hour: int, minute: int) -> int | None:
    if hour > 23 or minute > 59:
        return None
    try:
        days = date(year, month, day).toordinal() - _UNIX_EPOCH_ORDINAL
    except ValueError:
        return None
    return days * _DAY_US + (hour * 60 + minute) * _MINUTE_US


def _second_us(second: str, minute: str) -> int | None:
    """A leap second (``:60``, only at the end of an hour) is the first second of the next minute."""
    count = int(second)
    if count < 60 or (count == 60 and minute == "59"):
        return count * 1_000_000
    return None


def _fraction_us(fraction: str | None) -> int:
    return int(fraction[:6].ljust(6, "0")) if fraction else 0


def _offset_us(zone: str | None, zone_offset_s: int) -> int:
    """The offset in microseconds; beyond ``TIME_US_MAX`` for a zone that cannot be, so that the result is refused."""
    if zone is None:
        return zone_offset_s * 1_000_000
    if zone in {"Z", "UTC", "GMT", "z"}:
        return 0
    minutes = int(zone[-2:]) if len(zone) > 3 else 0
    offset_s = int(zone[1:3]) * 3600 + minutes * 60
    if minutes > 59 or offset_s > ZONE_OFFSET_S_MAX:
        return TIME_US_MAX * 2
    return -offset_s * 1_000_000 if zone[0] == "-" else offset_s * 1_000_000


@lru_cache(maxsize=16_384)
def _minute_us(text: str) -> int | None:
    parsed = _MINUTE.fullmatch(text)
    if parsed is None:
        return None
    year, month, day, hour, minute = parsed.groups()
    return _day_minute_us(int(year), int(month), int(day), int(hour), int(minute))


def _iso_us(text: str, zone_offset_s: int) -> int | None:
    minute_us = _minute_us(text[:16])
    rest = _REST.fullmatch(text, 16)
    if minute_us is None or rest is None:
        return None
    second, fraction, zone = rest.groups()
    second_us = _second_us(second, text[14:16]) if second else 0
    if second_us is None:
        return None
    if zone == "Z" or (zone is None and not zone_offset_s):
        return minute_us + second_us + _fraction_us(fraction)
    return minute_us + second_us + _fraction_us(fraction) - _offset_us(zone, zone_offset_s)


def _text_us(text: str, zone_offset_s: int, year: int | None) -> int | None:
    if len(text) > TIMESTAMP_CHARACTERS_MAX or len(text) < 9:
        return None
    if epoch := _EPOCH.fullmatch(text):
        whole, fraction = epoch.groups()
        return _scaled_us(int(whole), fraction)
    if text[4] == "/" and text[7] == "/":
        return _text_us(f"{text[:4]}-{text[5:7]}-{text[8:]}", zone_offset_s, year)
    if _DATE.fullmatch(text):
        return _iso_us(f"{text}T00:00", zone_offset_s)
    if _DATE.fullmatch(text[:10]):
        return _iso_us(text, zone_offset_s) if text[10] in "T " else None
    if compact := _COMPACT.fullmatch(text):
        full = "{}-{}-{}T{}:{}:{}{}".format(*compact.groups())
        return _iso_us(full, zone_offset_s)
    for form in _FORMS:
        if parsed := form.fullmatch(text):
            written = parsed["year"]
            whole_year = int(written) if written else year
            if whole_year is None:
                return None
            return _parts_us(parsed, _offset_us(parsed["zone"], zone_offset_s), whole_year)
    return None


def _number_us(value: float) -> int | None:
    if isinstance(value, int):
        return _scaled_us(value, None)
    if not 0 <= value < 1e19:
        return None
    # Seconds need their fraction to the microsecond, which a float of today's size still holds.
    if value <= 1e11:
        return round(value * 1e6)
    return _scaled_us(int(value), None) if value > 1e14 else round(value * 1e3)


def _scaled_us(whole: int, fraction: str | None) -> int | None:
    if whole < 0:
        return None
    if whole <= 10**11:
        return whole * 1_000_000 + _fraction_us(fraction)
    if whole <= 10**14:
        return whole * 1000 + (int(fraction[:3].ljust(3, "0")) if fraction else 0)
    return whole if whole <= 10**17 else whole // 1000

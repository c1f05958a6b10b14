from datetime import UTC, datetime, timedelta, timezone

import pytest
from dateutil import parser
from hypothesis import given
from hypothesis import strategies as st

from mingjian.model.times import TIME_US_MAX, iso_with_year, parse_time_us
from mingjian.model.values import EMPTY, MISSING, Missing, Value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 30))
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def us(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-03-04T05:06:07Z", "2021-03-04T05:06:07+00:00"),
        ("2021-03-04 05:06:07", "2021-03-04T05:06:07+00:00"),
        ("2021-03-04T05:06", "2021-03-04T05:06:00+00:00"),
        ("2021-03-04", "2021-03-04T00:00:00+00:00"),
        ("2021/03/04", "2021-03-04T00:00:00+00:00"),
        ("2021/03/04 05:06:07.25", "2021-03-04T05:06:07.25+00:00"),
        ("2021-03-04T05:06:07.123456789Z", "2021-03-04T05:06:07.123456+00:00"),
        ("2021-03-04 05:06:07,5 +0800", "2021-03-04T05:06:07.5+08:00"),
        ("2021-03-04T05:06:07-07:30", "2021-03-04T05:06:07-07:30"),
        ("2021-03-04 05:06:07 UTC", "2021-03-04T05:06:07+00:00"),
        ("20210304T050607Z", "2021-03-04T05:06:07+00:00"),
        ("10/Oct/2000:13:55:36 -0700", "2000-10-10T13:55:36-07:00"),
        ("Sun Dec 04 04:47:44 2005", "2005-12-04T04:47:44+00:00"),
        ("Sun Dec 04 04:47:44.123456 2005", "2005-12-04T04:47:44.123456+00:00"),
        ("Apr 29 2020 20:06:39", "2020-04-29T20:06:39+00:00"),
        ("Apr  9 2020 20:06:39+08:00", "2020-04-09T20:06:39+08:00"),
        ("Sun, 04 Dec 2005 04:47:44 GMT", "2005-12-04T04:47:44+00:00"),
        ("4-Dec-2005 04:47:44", "2005-12-04T04:47:44+00:00"),
        ("Feb 29 00:00:00", "2020-02-29T00:00:00+00:00"),
        ("1583020800", "2020-03-01T00:00:00+00:00"),
        ("1583020800.5", "2020-03-01T00:00:00.5+00:00"),
        ("1583020800500", "2020-03-01T00:00:00.5+00:00"),
        ("1583020800500000", "2020-03-01T00:00:00.5+00:00"),
        ("1583020800500000000", "2020-03-01T00:00:00.5+00:00"),
        (1583020800, "2020-03-01T00:00:00+00:00"),
        (1583020800.865716, "2020-03-01T00:00:00.865716+00:00"),
        (1583020800500, "2020-03-01T00:00:00.5+00:00"),
        (1583020800500.0, "2020-03-01T00:00:00.5+00:00"),
        (1583020800500000000, "2020-03-01T00:00:00.5+00:00"),
        (0, "1970-01-01T00:00:00+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
    ],
)
def test_forms_that_logs_use_are_read(text: str | float, moment: str) -> None:
    assert parse_time_us(text, year=2020) == us(datetime.fromisoformat(moment))


@pytest.mark.parametrize(
    "text",
    [
        *["", "now", "2021", "20210304", "12345678", "2021-13-01", "2021-02-30T00:00:00Z", "2021-03-04T24:00:00Z"],
        *[
            "2021-03-04T05:60:00Z",
            "2021-03-04T05:06:61Z",
            "2021-03-04T05:06:60Z",
            "2021-03-04X05:06:07",
            "2021-3-4 05:06:07",
        ],
        *[
            "2021-03-04T05:06:07+99:00",
            "2021-03-04T05:06:07+08:75",
            "2021-03-04T05:06:07 CST",
            "2021-03-04T05:06:07.",
            "03/04/2021",
        ],
        *[
            "2021-03-04T05:06:07Z and more",
            " 2021-03-04T05:06:07Z",
            "２０２１-03-04T05:06:07Z",
            "2021-03-04T05:06:07.1234567891Z",
        ],
        *[
            "Foo 10 06:55:46 2020",
            "Dec 32 06:55:46 2020",
            "Dec 10 25:55:46 2020",
            "10/Foo/2000:13:55:36 -0700",
            "Feb 29 00:00:00 2021",
        ],
        *[
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-01:00",
            "0000-01-01T00:00:00Z",
            "1" * 80,
        ],
        *[-1, -0.5, 1e30, float("nan"), float("inf"), 10**30, True, None, [], {}, EMPTY, MISSING],
    ],
)
def test_what_is_no_moment_is_none(text: "Value | Missing") -> None:
    assert parse_time_us(text) is None


def test_a_missing_zone_and_a_missing_year_come_from_the_caller() -> None:
    assert parse_time_us("1970-01-01 08:00:00", zone_offset_s=8 * 3600) == 0
    assert parse_time_us("1970-01-01 08:00:00Z", zone_offset_s=8 * 3600) == 8 * 3600 * 10**6
    assert parse_time_us("Jan  1 00:00:10", year=1970) == 10**7
    assert parse_time_us("Jan  1 00:00:10") is None
    assert parse_time_us("Jan  1 08:00:10", year=1970, zone_offset_s=8 * 3600) == 10**7


@given(
    MOMENTS, ZONES, st.sampled_from(["T", " "]), st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"])
)
def test_iso_agrees_with_another_parser(moment: datetime, zone: timezone, separator: str, precision: str) -> None:
    text = moment.replace(tzinfo=zone).isoformat(separator, precision)
    assert parse_time_us(text) == us(parser.isoparse(text))


@given(MOMENTS, ZONES)
def test_other_forms_agree_with_another_parser(moment: datetime, zone: timezone) -> None:
    moment = moment.replace(microsecond=0)
    month, clock = MONTHS[moment.month - 1], moment.strftime("%H:%M:%S")
    year = f"{moment.year:04}"
    offset = datetime(2000, 1, 1, tzinfo=zone).strftime("%z")
    forms = [
        f"{month} {moment.day:2} {clock} {year}",
        f"{month} {moment.day:02} {year} {clock}",
        f"{moment.strftime('%a')} {month} {moment.day:02} {clock} {year}",
        f"{moment.strftime('%a')}, {moment.day:02} {month} {year} {clock} {offset}",
    ]
    for text in forms:
        expected = parser.parse(text)
        expected = expected if expected.tzinfo else expected.replace(tzinfo=UTC)
        assert parse_time_us(text) == us(expected), text
    apache = f"{moment.day:02}/{month}/{year}:{clock} {offset}"
    assert parse_time_us(apache) == us(moment.replace(tzinfo=zone))


@given(
    st.one_of(
        st.text(max_size=80),
        st.integers(),
        st.floats(),
        st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.+Z-]{0,20}"),
    )
)
def test_anything_gives_a_bounded_number_or_none(value: str | float) -> None:
    found = parse_time_us(value)
    assert found is None or 0 <= found <= TIME_US_MAX
    if isinstance(value, str):
        text = iso_with_year(value, 1.6e9)
        assert text is None or parse_time_us(text) is not None or text[:4] < "1970"


def test_a_year_is_the_latest_in_which_the_file_is_not_older_than_its_line() -> None:
    new_year_2021 = datetime(2021, 1, 1, tzinfo=UTC).timestamp()
    assert iso_with_year("Dec 31 23:59:59", new_year_2021) == "2020-12-31T23:59:59"
    assert iso_with_year("Jan  1 23:59:59", new_year_2021) == "2021-01-01T23:59:59"  # within a day: zones differ
    assert iso_with_year("Jan  2 00:00:01", new_year_2021) == "2020-01-02T00:00:01"
    assert iso_with_year("Feb 29 10:00:00", new_year_2021) == "2020-02-29T10:00:00"
    assert iso_with_year("Feb 29 10:00:00", datetime(2020, 2, 1, tzinfo=UTC).timestamp()) == "2016-02-29T10:00:00"
    assert iso_with_year("Feb 29 10:00:00", datetime(2104, 1, 1, tzinfo=UTC).timestamp()) == "2096-02-29T10:00:00"
    assert iso_with_year("Feb 30 10:00:00", new_year_2021) is None
    assert iso_with_year("Dec 31 23:59:59", None) is None


def test_a_year_and_a_zone_that_are_written_stay() -> None:
    assert iso_with_year("Aug  1 2020 10:10:10+08:00", 0.0) == "2020-08-01T10:10:10+08:00"
    assert iso_with_year("Aug  1 10:10:10:123 2020", None) == "2020-08-01T10:10:10.123"
    assert iso_with_year("Mar  1 2020 00:00:00.123 UTC", None) == "2020-03-01T00:00:00.123Z"

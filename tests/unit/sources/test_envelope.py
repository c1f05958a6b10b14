"""Time, host, account and observables of one record."""

import pytest

from mingjian.model.sources import Layout, Observation, Stream, View
from mingjian.model.values import EMPTY, MISSING, Record, Value
from mingjian.sources.envelope import OBSERVABLES_MAX, Envelope, envelope, observables


def view(layout: Layout | None = None, **said: object) -> View:
    stream = Stream(name="demo/a", source="demo", family="demo", **said)  # type: ignore[arg-type]  # each test says a part
    return View(stream, layout or Layout(name="flat", family="demo"))


def test_the_first_name_that_tells_a_time_counts() -> None:
    demo = view(time=("begun", "at"))
    assert envelope(demo, {"begun": "soon", "at": "1970-01-01T00:00:01Z"}).time_us == 1_000_000
    assert envelope(demo, {}).time_us is None


@pytest.mark.parametrize(
    ("asked", "written", "time_us"),
    [
        ("at@zoned", "1970-01-01T00:00:01Z", 1_000_000),
        ("at@zoned", "1970-01-01 08:00:01 +0800", 1_000_000),
        ("at@zoned", "1970-01-01T08:00:01.5+08:00", 1_500_000),
        ("at@zoned", "1970-01-01 00:00:01", None),
        ("at@zoned", 1_000_000_000, 1_000_000_000_000_000),
        ("at@+08:00", "1970-01-01 08:00:01", 1_000_000),
        ("at@+08:00", "1970-01-01T00:00:01Z", 1_000_000),
        ("at@-05:30", "1970-01-01 00:00:01", 19_801_000_000),
        ("at", "1970-01-01 00:00:01", 1_000_000),
        ("at", ["1970-01-01 00:00:01", "x"], 1_000_000),
        ("at", [], None),
    ],
)
def test_a_name_in_time_may_ask_for_a_zone_or_state_one(asked: str, written: Value, time_us: int | None) -> None:
    assert envelope(view(time=(asked,)), {"at": written}).time_us == time_us


def test_a_name_that_begins_with_an_at_sign_is_just_a_name() -> None:
    assert envelope(view(time=("@timestamp",)), {"@timestamp": "1970-01-01T00:00:01Z"}).time_us == 1_000_000


def test_dashes_and_nothing_are_no_host_and_no_account() -> None:
    demo = view(host=("a", "b"), account=("c", "d"))
    record: Record = {"a": "-", "b": "pc-7", "c": EMPTY, "d": ["", "alice"]}
    assert envelope(demo, record) == Envelope(time_us=None, host="pc-7", account="alice")


@pytest.mark.parametrize(
    ("record", "account"),
    [
        ({"domain": "CORP", "user": "alice"}, "CORP\\alice"),
        ({"domain": "-", "user": "alice"}, "alice"),
        ({"user": "alice"}, "alice"),
        ({"domain": "CORP", "user": "-"}, ""),
        ({"domain": "CORP"}, ""),
    ],
)
def test_several_fields_can_be_joined(record: Record, account: str) -> None:
    assert envelope(view(account=(r"{domain}\{user}",)), record).account == account


def test_the_first_place_that_holds_a_value_counts_and_null_only_if_no_other_does() -> None:
    layout = Layout(name="deep", family="demo", names={"Who": ("who",)}, search=("data", ""))
    demo = view(layout, fields={"User": ("Who", "user")})
    assert demo.value({"who": None, "user": "b", "data": {"user": "a"}}, "User") == "a"
    assert demo.value({"who": None, "user": "b"}, "User") == "b"
    assert demo.value({"who": None}, "User") is None
    assert demo.value({}, "User") is MISSING


def test_observables_are_canonical_and_each_is_given_once() -> None:
    demo = view(
        observables=(
            Observation(field="ip", kind="ip", role="source"),
            Observation(field="other", kind="ip", role="source"),
            Observation(field="hashes", kind="hash", role="process", split="hashes"),
            Observation(field=r"{domain}\{user}", kind="account", role="user"),
        )
    )
    record: Record = {"ip": ["::ffff:192.0.2.1", 7], "other": "192.0.2.1", "hashes": "MD5=" + "A" * 32, "user": "Al"}
    assert observables(demo, record) == [
        ("ip", "192.0.2.1", "source"),
        ("hash", "a" * 32, "process"),
        ("account", "al", "user"),
    ]


def test_a_record_gives_only_so_many_observables() -> None:
    demo = view(observables=(Observation(field="ips", kind="ip", role="answer"),))
    many: Record = {"ips": [f"10.0.{n // 256}.{n % 256}" for n in range(1000)]}
    assert len(observables(demo, many)) == OBSERVABLES_MAX


def test_a_list_as_deep_as_a_reader_lets_through_is_no_error() -> None:
    deep: Value = "pc-7"
    for _ in range(950):
        deep = [deep]
    demo = view(host=("host",), time=("host",), observables=(Observation(field="host", kind="host", role="reporter"),))
    assert envelope(demo, {"host": deep}) == Envelope(time_us=None, host="", account="")
    assert observables(demo, {"host": deep}) == []

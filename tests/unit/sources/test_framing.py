"""Where one syslog message ends and the next begins."""

import pytest

from mingjian.sources import framing
from mingjian.sources.framing import Framing


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"<13>a\n<13>b\n", [b"<13>a", b"<13>b"]),
        (b"5 <13>a6 <13>b\n<13>c\n", [b"<13>a", b"<13>b\n", b"<13>c"]),
        (b"<13>a\0<13>b\r\n\n\n", [b"<13>a", b"<13>b\r"]),
        (b"2026-11-21T00:00:00Z host app: no priority\n", [b"2026-11-21T00:00:00Z host app: no priority"]),
        (b"12 bottles\n", [b"12 bottles"]),
        (b"0 <13>a\n", [b"0 <13>a"]),
        (b"9999999999 <13>too many digits\n", [b"9999999999 <13>too many digits"]),
        ("7 <13>中".encode(), ["<13>中".encode()]),
        (b"\n\0\r\n", []),
    ],
)
def test_both_ways_of_framing_are_told_apart_message_by_message(data: bytes, messages: list[bytes]) -> None:
    whole = Framing()
    assert [*whole.feed(data), *whole.rest()] == messages


def test_what_waits_for_its_end_is_given_when_the_connection_ends() -> None:
    for data, rest in ((b"<13>a\n<13>half", [b"<13>half"]), (b"100 <13>half", [b"<13>half"]), (b"12", [b"12"])):
        open_ended = Framing()
        open_ended.feed(data)
        assert open_ended.unfinished
        assert open_ended.rest() == rest
        assert not open_ended.unfinished


@pytest.mark.parametrize("counted", [True, False])
def test_of_a_message_that_is_too_long_the_beginning_is_kept_and_the_rest_passed_over(
    counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "MESSAGE_BYTES_MAX", 8)
    long = b"<13>" + b"x" * 100
    stream = Framing()
    data = (b"104 " + long if counted else long + b"\n") + b"<13>next\n"
    got = [message for byte in data for message in stream.feed(bytes([byte]))]
    assert got == [b"<13>xxxx", b"<13>next"]
    assert stream.cut == 1


def test_a_message_that_is_too_long_and_never_ends_gives_its_beginning_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "MESSAGE_BYTES_MAX", 8)
    stream = Framing()
    assert [message for _ in range(50) for message in stream.feed(b"<13>xxxxxxx")] == [b"<13>xxxx"]
    assert stream.rest() == []

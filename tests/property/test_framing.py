"""A stream of syslog messages means the same however it is cut."""

from itertools import pairwise

from hypothesis import given, strategies

from mingjian.sources.framing import Framing

MESSAGE = strategies.binary(max_size=30).map(lambda tail: b"<13>" + tail.replace(b"\n", b"").replace(b"\0", b""))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def messages(parts: list[bytes]) -> list[bytes]:
    stream = Framing()
    found = [message for part in parts for message in stream.feed(part)]
    return found + stream.rest()


@given(strategies.binary(max_size=200), strategies.lists(strategies.integers(0, 300), max_size=10))
def test_how_bytes_are_cut_never_changes_the_messages(data: bytes, cuts: list[int]) -> None:
    assert messages(pieces(data, cuts)) == messages([data])


@given(
    strategies.lists(strategies.tuples(MESSAGE, strategies.booleans()), max_size=10),
    strategies.lists(strategies.integers(0, 500), max_size=10),
)
def test_messages_come_out_as_they_went_in(given_: list[tuple[bytes, bool]], cuts: list[int]) -> None:
    data = b"".join(b"%d %s" % (len(text), text) if counted else text + b"\n" for text, counted in given_)
    assert messages(pieces(data, cuts)) == [text for text, _ in given_]

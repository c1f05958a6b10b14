"""The only way out: who may be reached, at which address, and how much may come back."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mingjian.errors import DeliveryError, LimitExceeded, RefusedDestination
from mingjian.net import Destination, checked_address, destination_of, is_public, request

# Spellings of places that nobody outside may be sent to: loopback, private, link-local, special, and wrapped ones.
NOT_PUBLIC = (
    *(
        "127.0.0.1",
        "127.1.2.3",
        "0.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
    ),
    *("100.64.0.1", "100.127.255.254", "192.0.0.8", "192.0.0.170", "192.0.2.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
    *("::", "::1", "fe80::1", "fc00::1", "fd12:3456::1", "ff02::1", "fec0::1", "2001:db8::1", "2001::1", "100::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2002:c0a8:1::", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::")
ALLOWED = (Destination(host="feeds.example"), Destination(host="inside.example", port=8080, is_inside=True))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_never_connected_to(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    with pytest.raises(RefusedDestination):
        checked_address(ALLOWED[0], lambda host, port: [text])
    with pytest.raises(RefusedDestination):
        checked_address(ALLOWED[0], lambda host, port: ["8.8.8.8", text])


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is(text: str) -> None:
    assert checked_address(ALLOWED[0], lambda host, port: [text]) == str(ipaddress.ip_address(text))


URLS_REFUSED = (
    *("", "feeds.example", "//feeds.example/", "ftp://feeds.example/", "file:///etc/passwd", "gopher://feeds.example/"),
    *("http://feeds.example/", "https://feeds.example:444/", "https://feeds.example:0/", "https://feeds.example:x/"),
    *("https://evil.example/", "https://feeds.example.evil.example/", "https://evil.example/feeds.example"),
    *("https://feeds.example@evil.example/", "https://evil.example#@feeds.example/", "https://user:pw@feeds.example/"),
    *("https://feeds.example\\@evil.example/", "https://evil.example\\feeds.example/", "https://feeds.example/#x"),
    *(
        "https://feeds.example./",
        "https://.feeds.example/",
        "https://feeds.example%2eevil.example/",
        "https://feeds。example/",
    ),
    *("https://feeds.example\r\nHost: evil/", "https://feeds.example/\n", "https://feeds.example/a b", "https:///x"),
    *("https://127.0.0.1/", "https://0x7f.1/", "https://2130706433/", "https://0177.0.0.1/", "https://[::1]/"),
    *(
        "https://[::ffff:127.0.0.1]/",
        "https://localhost/",
        "https://169.254.169.254/latest",
        "https://[fe80::1%25eth0]/",
    ),
    *("https://" + "a" * 3000, "javascript:alert(1)", "data:text/plain,x", "https://feeds.example:443:443/"),
)


@pytest.mark.parametrize("url", URLS_REFUSED)
def test_every_other_spelling_of_a_destination_is_refused(url: str) -> None:
    with pytest.raises(RefusedDestination):
        destination_of(url, ALLOWED)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://feeds.example", "/"),
        ("https://FEEDS.example:443/a/b?c=d", "/a/b?c=d"),
        ("http://inside.example:8080/x", "/x"),
        ("https://inside.example:8080/x", "/x"),
    ],
)
def test_what_is_allowed_is_reached(url: str, path: str) -> None:
    assert destination_of(url, ALLOWED)[1] == path


@contextmanager
def answering(*parts: bytes, hold: threading.Event | None = None) -> Iterator[Destination]:
    """A server on this machine that gives one answer, and may then keep the connection open."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connected, _ = server.accept()
            with connected:
                connected.recv(65_536)
                for part in parts:
                    connected.sendall(part)
                if hold is not None:
                    hold.wait(20)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Destination(host="inside.example", port=server.getsockname()[1], is_inside=True)
        thread.join(20)


def asked(place: Destination, **options: object) -> object:
    url = f"http://{place.host}:{place.port}/x"
    return request(url, [place], resolve=lambda host, port: ["127.0.0.1"], **options)  # type: ignore[arg-type] # options of this test


def test_the_answer_comes_back_as_it_is_redirects_included() -> None:
    with answering(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 3\r\n\r\nabc") as place:
        answer = asked(place)
    assert (answer.status, answer.headers["location"], answer.body) == (302, "http://127.0.0.1/", b"abc")  # type: ignore[attr-defined] # it is an Answer


def test_a_name_is_resolved_once_and_the_connection_goes_there() -> None:
    looked_up: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"] if len(looked_up) == 1 else ["8.8.8.8"]

    with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as place:
        answer = request(f"http://{place.host}:{place.port}/", [place], resolve=resolve)
    assert (answer.status, looked_up) == (204, ["inside.example"])


def test_an_answer_that_is_too_large_is_cut_off() -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000) as place,
        pytest.raises(LimitExceeded, match="answer_bytes_max"),
    ):
        asked(place, answer_bytes_max=1000)


def test_an_answer_that_ends_in_the_middle_is_none() -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") as place,
        pytest.raises(DeliveryError),
    ):
        asked(place)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
def test_whoever_does_not_finish_in_time_is_cut_off(begun: bytes) -> None:
    hold = threading.Event()
    with answering(begun, hold=hold) as place:
        with pytest.raises(DeliveryError):
            asked(place, timeout_s=0.3)
        hold.set()


def test_nobody_there_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(DeliveryError, match="gave no answer"):
        asked(Destination(host="inside.example", port=port, is_inside=True))
    with pytest.raises(DeliveryError, match="no address"):
        checked_address(ALLOWED[0], lambda host, port: [])

"""The HTTP intake, over real sockets on the loopback interface."""

import gzip
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mingjian.sources import intake as intake_module
from mingjian.sources import listen
from mingjian.sources.journalfiles import chunks, journals
from mingjian.sources.listen import Running, listening, parse_listener
from mingjian.sources.tokens import add_token, remove_token

TWO = b'{"a": 1}\n{"a": 2}\n'


class Client:
    """One sender."""

    def __init__(self, running: Running, token: str) -> None:
        self.running = running
        self.port = running.addresses[0][2]
        self.token = token

    def post(self, body: bytes, path: str = "/intake/app", **headers: str) -> tuple[int, dict[str, Any]]:
        given = {"Authorization": f"Bearer {self.token}"} | {name.replace("_", "-"): v for name, v in headers.items()}
        return self.ask("POST", path, body, given)

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            kind = "application/json" if answer.status == 200 else "application/problem+json"
            assert answer.headers["Content-Type"] == kind
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def counted(self, name: str) -> int:
        return self.running.counts().get(name, 0)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    token = add_token(tmp_path, name="web", intake="app", organisation="ours")
    with listening(tmp_path, [parse_listener("http://:0")], organisation="default") as running:
        yield Client(running, token.reveal())


def kept(folder: Path) -> bytes:
    return b"".join(part for each in journals(folder) for part in chunks(each))


def test_an_accepted_request_is_on_disk(client: Client, tmp_path: Path) -> None:
    assert client.post(TWO) == (200, {"accepted": 2, "repeated": False})
    (journal,) = journals(tmp_path)
    assert (journal.format, journal.listener, journal.organisation) == ("jsonl", "http/app", "ours")
    assert kept(tmp_path) == TWO


@pytest.mark.parametrize(
    ("body", "headers", "lines"),
    [
        (b'[{"a": 1}, {"a": 2}]', {"Content_Type": "application/json"}, TWO),
        (gzip.compress(TWO, mtime=0), {"Content_Encoding": "gzip", "Content_Type": "application/x-ndjson"}, TWO),
        (b"<13>Nov 20 12:00:00 h p: m\n", {"Content_Type": "text/plain"}, b"<13>Nov 20 12:00:00 h p: m\n"),
        ("日志一条\n".encode(), {"Content_Type": "text/plain; charset=utf-8"}, "日志一条\n".encode()),
    ],
)
def test_json_gzip_and_plain_lines_are_taken(
    client: Client, tmp_path: Path, body: bytes, headers: dict[str, str], lines: bytes
) -> None:
    assert client.post(body, **headers)[0] == 200
    assert kept(tmp_path) == lines


def test_a_resend_is_kept_once_and_the_answer_says_so(client: Client, tmp_path: Path) -> None:
    assert client.post(TWO, Idempotency_Key="1")[1]["repeated"] is False
    assert client.post(TWO, Idempotency_Key="1") == (200, {"accepted": 2, "repeated": True})
    assert client.post(TWO, Idempotency_Key="2")[1]["repeated"] is False
    assert client.post(b"other", Idempotency_Key="3")[1]["repeated"] is False
    assert client.post(b"other")[1]["repeated"] is False
    assert client.post(b"other")[1]["repeated"] is True
    status, problem = client.post(b'{"a": 3}', Idempotency_Key="1")
    assert (status, problem["code"]) == (422, "schema-error")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/intake/app", {}, 401),
        ("POST", "/intake/app", {"Authorization": "Bearer wrong"}, 401),
        ("POST", "/intake/app", {"Authorization": "Basic dGVzdA=="}, 401),
        ("POST", "/intake/other", {"Authorization": "Bearer {token}"}, 404),
        ("POST", "/", {"Authorization": "Bearer {token}"}, 404),
        ("POST", "/intake/app/../app", {"Authorization": "Bearer {token}"}, 404),
        ("GET", "/intake/app", {"Authorization": "Bearer {token}"}, 405),
        ("POST", "/intake/app", {"Authorization": "Bearer {token}", "Content-Encoding": "br"}, 415),
        ("POST", "/intake/app", {"Authorization": "Bearer {token}", "Content-Type": "multipart/form-data"}, 415),
        ("POST", "/intake/app", {"Authorization": "Bearer {token}", "Content-Type": "application/json"}, 400),
        ("POST", "/intake/app", {"Authorization": "Bearer {token}", "Content-Encoding": "gzip"}, 400),
        ("POST", "/intake/app", {"Authorization": "Bearer {token}", "Idempotency-Key": "k" * 257}, 400),
        ("POST", "/intake/app", {"Authorization": "Bearer {token}", "Content-Length": "99999999"}, 413),
    ],
)
def test_every_refusal_is_a_problem_document(
    client: Client, tmp_path: Path, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    filled = {name: value.format(token=client.token) for name, value in headers.items()}
    got, problem = client.ask(method, path, b"no json", filled)
    assert (got, problem["status"]) == (status, status)
    assert problem["title"]
    assert client.token not in json.dumps(problem)
    assert kept(tmp_path) == b""


def test_a_token_taken_away_does_not_hold_any_more(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.post(TWO)[0] == 200
    remove_token(tmp_path, "web")
    deadline = time.monotonic() + 20
    while (status := client.post(TWO)[0]) == 200 and time.monotonic() < deadline:
        time.sleep(listen.TOKENS_S / 10)  # the moment at which the file is looked at again is not ours to choose
    assert status == 401


def test_a_body_larger_than_the_bound_is_refused_while_it_is_sent(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "BODY_BYTES_MAX", 1000)
    with client.raw() as connection:
        head = f"POST /intake/app HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n"
        connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode() + b"3e9\r\n" + b"x" * 1001)
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    assert kept(tmp_path) == b""


def test_many_wrong_tokens_are_answered_with_429_and_the_right_one_still_holds(client: Client) -> None:
    codes = [client.ask("POST", "/intake/app", b"", {"Authorization": "Bearer x"})[0] for _ in range(25)]
    assert codes == [401] * 20 + [429] * 5
    assert client.post(TWO)[0] == 200


def test_more_requests_of_one_sender_than_allowed_are_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "REQUESTS_PER_TOKEN_MAX", 1)
    with client.raw() as slow:
        head = (
            f"POST /intake/app HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\nExpect: 100-continue\r\n"
        )
        slow.sendall((head + "Content-Length: 10\r\n\r\n").encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 100 ")
        assert client.post(TWO)[0] == 429
        slow.sendall(b'{"a": 10}\n')
        assert slow.recv(100).startswith(b"HTTP/1.1 200 ")
    assert client.post(TWO)[0] == 200


def test_bodies_together_may_hold_so_much_and_no_more(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "BODIES_BYTES_MAX", 10)
    status, problem = client.post(b"x" * 11)
    assert (status, problem["code"]) == (503, "limit-exceeded")
    assert [client.post(b"%d" % number * 8)[0] for number in range(3)] == [200] * 3


def test_requests_may_follow_each_other_on_one_connection_also_without_waiting(client: Client, tmp_path: Path) -> None:
    head = f"POST /intake/app HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\nContent-Length: 2\r\n\r\n"
    with client.raw() as connection:
        connection.sendall((head + "a\n" + head + "b\n" + head + "c\n").encode())
        received = b""
        while received.count(b"accepted") < 3:
            received += connection.recv(4096)
    assert received.count(b"HTTP/1.1 200 OK") == 3
    assert kept(tmp_path) == b"a\nb\nc\n"


@pytest.mark.parametrize("sent", [b"", b"POST /intake/app HT", b"POST /intake/app HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_client_that_never_comes_to_the_point_is_cut_off(
    client: Client, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(intake_module, "KEEP_ALIVE_S", 0.05)
    monkeypatch.setattr(intake_module, "HEADERS_S", 0.05)
    with client.raw() as connection:
        connection.sendall(sent)
        assert connection.recv(100) == b""


def test_a_body_that_stops_in_the_middle_is_not_waited_for(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "BODY_PAUSE_S", 0.05)
    head = f"POST /intake/app HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\nContent-Length: 9\r\n\r\n"
    with client.raw() as connection:
        connection.sendall(head.encode() + b"half\n")
        assert connection.recv(100) == b""
    assert kept(tmp_path) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"X: " + b"x" * 20_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_the_connection_ends(client: Client, sent: bytes) -> None:
    with client.raw() as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer == b"" or answer.split()[1] in (b"400", b"401", b"431")
    assert client.post(TWO)[0] == 200


def test_a_full_disk_is_503_and_the_resend_is_kept_once(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.post(b"before\n")[0] == 200
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", no_space)
        status, problem = client.post(TWO)
        assert (status, problem["code"]) == (503, "storage-error")
        assert client.running.trouble is not None
    deadline = time.monotonic() + 30
    while (status := client.post(TWO)[0]) != 200 and time.monotonic() < deadline:
        time.sleep(0.05)  # the pause before the next try belongs to what is tested
    assert (status, client.running.trouble) == (200, None)
    assert kept(tmp_path) == b"before\n" + TWO


def no_space(handle: int, data: bytes, offset: int) -> int:
    raise OSError(28, "No space left on device")

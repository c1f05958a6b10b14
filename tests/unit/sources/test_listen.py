"""Syslog over real sockets, from real clients, on the loopback interface."""

import logging
import logging.handlers
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mingjian.errors import ConfigError
from mingjian.formats import registry
from mingjian.model.blocks import Quarantined
from mingjian.model.values import Record
from mingjian.sources import listen
from mingjian.sources.journalfiles import chunks, journals, piece
from mingjian.sources.listen import Listener, Running, listening, parse_listener


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    listeners = [parse_listener("syslog+udp://:0"), parse_listener("syslog+tcp://:0?organisation=theirs")]
    with listening(tmp_path, listeners, organisation="ours") as made:
        yield made


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"there is no {program} here")
    return found


def kept(folder: Path) -> bytes:
    return b"".join(part for each in journals(folder) for part in chunks(each))


def until(condition: Callable[[], bool]) -> None:
    """Wait for what a datagram leads to: nobody tells when it has arrived."""
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)  # there is nothing to wait on
    assert condition()


def records(folder: Path) -> list[Record]:
    found: list[Record] = []
    for journal in journals(folder):
        format_ = next(each for each in registry.FORMATS if each.name == journal.format)
        for block in format_.read(piece(journal)):
            assert not isinstance(block, Quarantined)
            found += [block.record(row) for row in range(len(block.numbers))]
    return found


def sent_and_closed(port: int, data: bytes) -> None:
    """Send everything, end our side, and wait for the other to end its own: then all is on disk."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b""


def test_a_sender_over_tcp_that_sees_us_end_knows_that_all_is_on_disk(running: Running, tmp_path: Path) -> None:
    sent_and_closed(running.addresses[1][2], b"<13>one\n8 <13>two\n<13>last")
    assert kept(tmp_path) == b"<13>one\n<13>two\n<13>last\n"
    (journal,) = journals(tmp_path)
    assert (journal.organisation, journal.format) == ("theirs", "syslog")


@pytest.mark.parametrize("options", [["-T", "--octet-count"], ["-T"], ["-d"]])
@pytest.mark.parametrize("form", ["--rfc3164", "--rfc5424"])
def test_what_logger_sends_arrives(running: Running, tmp_path: Path, options: list[str], form: str) -> None:
    port = running.addresses[0 if "-d" in options else 1][2]
    command = [need("logger"), "-n", "127.0.0.1", "-P", str(port), "-t", "app", form, *options, "--", "hello 日志"]
    subprocess.run(command, check=True, timeout=30)
    until(lambda: bool(kept(tmp_path)))
    (record,) = records(tmp_path)
    assert (record["program"], record["message"], record["severity_name"]) == ("app", "hello 日志", "notice")


def test_what_the_standard_library_sends_arrives(running: Running, tmp_path: Path) -> None:
    for (_, host, port), kind in zip(running.addresses, (socket.SOCK_DGRAM, socket.SOCK_STREAM), strict=True):
        handler = logging.handlers.SysLogHandler((host, port), socktype=kind)
        handler.ident = "app: "
        record = logging.LogRecord("x", logging.ERROR, "", 0, "over %s", (kind.name,), None)
        handler.emit(record)
        handler.close()
    until(lambda: len(kept(tmp_path).splitlines()) == 2)
    assert {record["message"] for record in records(tmp_path)} == {"over SOCK_DGRAM", "over SOCK_STREAM"}


def test_a_line_feed_inside_a_datagram_does_not_make_two_events(running: Running, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"<13>one\ntwo\n\0", ("127.0.0.1", running.addresses[0][2]))
        sender.sendto(b"", ("127.0.0.1", running.addresses[0][2]))
    until(lambda: running.counts().get("udp_received", 0) == 2)
    until(lambda: kept(tmp_path) == b"<13>one#012two\n")


def test_everything_read_is_kept_when_we_are_told_to_end(tmp_path: Path) -> None:
    with (
        listening(tmp_path, [parse_listener("syslog+tcp://:0")], organisation="ours") as made,
        socket.create_connection(("127.0.0.1", made.addresses[0][2]), timeout=10) as connection,
    ):
        connection.sendall(b"<13>one\n<13>half")
        until(lambda: kept(tmp_path) == b"<13>one\n")
    assert kept(tmp_path) == b"<13>one\n<13>half\n"
    assert [each.sealed for each in journals(tmp_path)] == [True]


def test_what_the_kernel_drops_is_counted(tmp_path: Path) -> None:
    class Flood(listen.Journals):
        def has_room(self, size_bytes: int = 0) -> bool:
            return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listen, "Journals", Flood)
        patch.setattr(listen, "RECEIVE_BUFFER_BYTES", 4096)
        with listening(tmp_path, [parse_listener("syslog+udp://:0")], organisation="ours") as made:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(200):
                    sender.sendto(b"<13>" + b"x" * 1000, ("127.0.0.1", made.addresses[0][2]))
                patch.setattr(Flood, "has_room", lambda self, size=0: True)
                until(lambda: bool(made.counts().get("udp_received")))
                sender.sendto(b"<13>one more", ("127.0.0.1", made.addresses[0][2]))
                until(lambda: b"one more" in kept(tmp_path))
            counts = made.counts()
    assert counts["udp_dropped"] > 0
    assert counts["udp_received"] + counts["udp_dropped"] == 201


def test_more_connections_than_one_address_may_have_are_refused(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(listen, "CONNECTIONS_PER_ADDRESS_MAX", 1)
    port = running.addresses[1][2]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as first:
        first.sendall(b"<13>one\n")
        until(lambda: b"one" in kept(tmp_path))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as second:
            assert ended(second)
        assert running.counts()["connections_refused"] == 1
    until(lambda: b"two" in kept(tmp_path) or sent(port, b"<13>two\n"))


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(10) == b""
    except ConnectionResetError:
        return True


def sent(port: int, data: bytes) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
    return False


def test_a_reset_connection_harms_nobody(running: Running, tmp_path: Path) -> None:
    port = running.addresses[1][2]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"<13>one\n")
        until(lambda: kept(tmp_path) == b"<13>one\n")
    sent_and_closed(port, b"<13>two\n")
    assert kept(tmp_path) == b"<13>one\n<13>two\n"


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority for 127.0.0.1, and its key."""
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    command = [need("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return paths


def s_client(port: int, data: bytes, *options: str) -> int:
    command = [need("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-verify_return_error", *options]
    # Without -no_ign_eof it would wait for us, as a client does that wants to be sure.
    return subprocess.run(command, input=data, capture_output=True, timeout=30, check=False).returncode


def test_syslog_over_tls_from_openssl_arrives(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    folder = tmp_path / "intake"
    folder.mkdir()
    listener = parse_listener(f"syslog+tls://127.0.0.1:0?certificate={cert}&key={key}")
    with listening(folder, [listener], organisation="ours") as made:
        port = made.addresses[0][2]
        with subprocess.Popen(
            [need("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-CAfile", str(cert)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as client:
            assert client.stdin is not None
            client.stdin.write(b"7 <13>one7 <13>two")
            client.stdin.flush()
            until(lambda: kept(folder) == b"<13>one\n<13>two\n")
            client.kill()
        sent_in_clear(port, b"<13>in clear\n")
        until(lambda: made.counts().get("connections_refused", 0) == 1)
    assert kept(folder) == b"<13>one\n<13>two\n"


def sent_in_clear(port: int, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        ended(connection)


def test_only_clients_of_the_authority_may_connect_if_one_is_named(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    own, own_key = certificate(tmp_path, "client")
    other, other_key = certificate(tmp_path, "other")
    folder = tmp_path / "intake"
    folder.mkdir()
    listener = parse_listener(f"syslog+tls://127.0.0.1:0?certificate={cert}&key={key}&client_ca={own}")
    with listening(folder, [listener], organisation="ours") as made:
        port = made.addresses[0][2]
        for number, (theirs, their_key) in enumerate(((own, own_key), (other, other_key))):
            options = ["-CAfile", str(cert), "-cert", str(theirs), "-key", str(their_key), "-no_ign_eof"]
            s_client(port, b"<13>%d\n" % number, *options)
        s_client(port, b"<13>none\n", "-CAfile", str(cert), "-no_ign_eof")
        until(lambda: made.counts().get("connections_refused", 0) == 2)
        until(lambda: kept(folder) == b"<13>0\n")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_listeners_that_ended_by_a_defect_are_not_taken_for_well(tmp_path: Path) -> None:
    async def defect(*_: object) -> None:
        raise AssertionError("a defect")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listen.Listening, "_watch_tokens", defect)
        with listening(tmp_path, [parse_listener("syslog+udp://:0")], organisation="ours") as made:
            until(lambda: made.trouble is not None)


def test_an_address_that_is_taken_is_told_before_anything_begins(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(ConfigError, match=f"127.0.0.1:{port}: cannot be listened on"),
            listening(tmp_path, [parse_listener(f"syslog+tcp://:{port}")], organisation="ours"),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "listener"),
    [
        ("syslog+udp://:514", Listener(scheme="syslog+udp", port=514)),
        ("syslog+tcp://localhost:1514", Listener(scheme="syslog+tcp", port=1514)),
        ("http://0.0.0.0:0", Listener(scheme="http", host="0.0.0.0", port=0)),  # noqa: S104 - it is only parsed
        (
            "syslog+tcp://[::1]:5?organisation=a%20b",
            Listener(scheme="syslog+tcp", host="::1", port=5, organisation="a b"),
        ),
        (
            "syslog+tls://127.0.0.1:6514?certificate=c.pem&key=k.pem&client_ca=a.pem",
            Listener(
                scheme="syslog+tls", port=6514, certificate=Path("c.pem"), key=Path("k.pem"), client_ca=Path("a.pem")
            ),
        ),
    ],
)
def test_addresses_are_read_as_people_write_them(text: str, listener: Listener) -> None:
    assert parse_listener(text) == listener


@pytest.mark.parametrize(
    "text",
    [
        *("", "514", "udp://:514", "syslog+udp://:x", "syslog+udp://host.example:514", "syslog+udp://:70000"),
        *(
            "syslog+udp://127.0.0.1",
            "syslog+tcp://:514/path",
            "syslog+tcp://u:p@127.0.0.1:514",
            "http://:1?organisation=x",
        ),
        *("syslog+tcp://:514?certificate=c&key=k", "syslog+tls://:6514", "syslog+tls://:6514?certificate=c"),
        *("syslog+tcp://:514?unknown=1", "syslog+tcp://:514?x", "syslog+udp://[::1:514"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_listener(text)


def test_a_certificate_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("no certificate", encoding="utf-8")
    path = tmp_path / "c.pem"
    for given in (f"certificate={path}&key={path}", f"certificate={tmp_path}/no&key={tmp_path}/no"):
        with (
            pytest.raises(ConfigError, match="certificate"),
            listening(tmp_path, [parse_listener(f"https://127.0.0.1:0?{given}")], organisation="ours"),
        ):
            pass

"""What rsyslog forwards arrives whole and in order, over every way that it knows."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mingjian.formats import registry
from mingjian.model.blocks import Quarantined
from mingjian.sources.journalfiles import damage, journals, piece
from mingjian.sources.listen import listening, parse_listener

MESSAGES = 2000


def rsyslogd() -> str:
    found = shutil.which("rsyslogd") or shutil.which("rsyslogd", path="/usr/sbin")
    if found is None:
        pytest.skip("there is no rsyslogd here")
    return found


@contextmanager
def forwarding(folder: Path, action: str) -> Iterator[Path]:
    """An rsyslog of our own that forwards what comes in on a Unix socket; gives the path of the socket."""
    path = folder / "in.sock"
    configuration = folder / "rsyslog.conf"
    configuration.write_text(
        f"""global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{path}" CreatePath="on" RateLimit.Interval="0" UseSysTimeStamp="off")
{action}
""",
        encoding="utf-8",
    )
    command = [rsyslogd(), "-n", "-f", str(configuration), "-i", "NONE"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + 20
            while not path.exists() and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.02)  # it says nothing when it is ready
            assert path.exists(), process.stdout and process.stdout.read()
            yield path
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def numbers(folder: Path) -> list[int]:
    """The numbers of the messages that are kept, in order."""
    found: list[int] = []
    for journal in journals(folder):
        format_ = next(each for each in registry.FORMATS if each.name == journal.format)
        assert damage(journal) == []
        for block in format_.read(piece(journal)):
            assert not isinstance(block, Quarantined)
            for row in range(len(block.numbers)):
                record = block.record(row)
                assert record["program"] == "app"
                # rsyslog puts a space before the message in one of its two forms.
                match = re.fullmatch(r" ?message (\d+) 日志 x*(#012tail)?", str(record["message"]))
                assert match is not None, record
                found.append(int(match[1]))
    return found


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("framing", ["traditional", "octet-counted"])
@pytest.mark.parametrize("template", ["RSYSLOG_SyslogProtocol23Format", "RSYSLOG_TraditionalForwardFormat"])
def test_every_message_that_rsyslog_sends_over_tcp_and_tls_arrives_once_and_in_order(
    tmp_path: Path, framing: str, template: str, tls: bool
) -> None:
    intake = tmp_path / "intake"
    intake.mkdir()
    query = ""
    driver = ""
    if tls:
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        make = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        make += ["-subj", "/CN=collector", "-out", str(cert), "-keyout", str(key)]
        subprocess.run(make, check=True, capture_output=True, timeout=60)
        query = f"?certificate={cert}&key={key}"
        driver = f"""streamdriver="ossl" streamdrivermode="1" streamdriverauthmode="x509/name"
            streamdriverpermittedpeers="collector" streamdriver.cafile="{cert}" """
    listener = parse_listener(f"syslog+{'tls' if tls else 'tcp'}://127.0.0.1:0{query}")
    with listening(intake, [listener], organisation="ours") as running:
        action = f"""action(type="omfwd" target="127.0.0.1" port="{running.addresses[0][2]}" protocol="tcp"
            tcp_framing="{framing}" template="{template}" {driver})"""
        with forwarding(tmp_path, action) as path, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(path))
            for number in range(MESSAGES):
                tail = "\ntail" if number % 7 == 0 else ""
                sender.send(f"<13>Nov 21 01:02:03 app: message {number} 日志 {'x' * (number % 3000)}{tail}".encode())
            deadline = time.monotonic() + 60
            while running.counts().get("events", 0) < MESSAGES and time.monotonic() < deadline:
                time.sleep(0.05)  # rsyslog does not tell when it has sent all
    assert numbers(intake) == list(range(MESSAGES))

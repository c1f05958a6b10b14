"""``mingjian intake``, as a person calls it."""

import json
import socket
from pathlib import Path

import pytest

from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.sources.listen import listening, parse_listener
from mingjian.sources.tokens import holder, read_tokens


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == Exit.DONE
    capsys.readouterr()
    return tmp_path / "intake"


def rows_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_token_is_printed_once_and_holds_until_it_is_removed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["intake", "add", "web1", "--intake", "app", "--org", "Ours"]) == Exit.DONE
    token = capsys.readouterr().out.strip()
    found = holder(read_tokens(folder), token)
    assert found is not None
    assert (found.name, found.intake, found.organisation) == ("web1", "app", "Ours")
    assert run(["intake", "tokens"]) == Exit.DONE
    assert rows_of(capsys) == [{"name": "web1", "intake": "app", "organisation": "Ours"}]
    assert run(["intake", "remove", "web1"]) == Exit.DONE
    assert read_tokens(folder) == ()
    assert run(["intake", "remove", "web1"]) == Exit.FAILED


def test_a_name_that_is_not_allowed_is_wrong_use(folder: Path) -> None:
    assert run(["intake", "add", "web/1", "--intake", "app", "--org", "Ours"]) == Exit.WRONG_USE


def test_journals_are_listed_and_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(folder, [parse_listener("syslog+tcp://:0")], organisation="Ours") as running:
        address = running.addresses[0]
        with socket.create_connection(address[1:], timeout=10) as connection:
            connection.sendall(b"<13>one\n")
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
    assert run(["intake", "journals", "--check"]) == Exit.DONE
    (row,) = rows_of(capsys)
    assert (row["format"], row["organisation"], row["bytes"], row["sealed"]) == ("syslog", "Ours", 8, True)
    path = folder / str(row["journal"])
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))
    assert run(["intake", "journals", "--check"]) == Exit.FOUND
    (row,) = rows_of(capsys)
    assert row["damaged"]

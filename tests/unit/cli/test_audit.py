"""``mingjian users``, ``audit``, ``backup`` and ``restore``, as a person calls them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.store.workspace import create


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, and in it the current folder."""
    with create(tmp_path / "w"):
        pass
    monkeypatch.chdir(tmp_path / "w")
    return tmp_path / "w"


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_user_is_made_changed_and_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["users", "add", "ann", "--role", "analyst", "--org", "Ours", "--title", "Ann Li"]) == Exit.DONE
    assert capsys.readouterr().out.startswith("/sign-in/link?t=")
    assert run(["users", "role", "ann", "auditor"]) == Exit.DONE
    assert run(["users", "role", "ann", "none", "--org", "Ours"]) == Exit.DONE
    assert run(["users", "reset-factors", "ann"]) == run(["users", "disable", "ann"]) == Exit.DONE
    assert run(["users", "link", "ann"]) == Exit.FAILED
    assert run(["users", "enable", "ann"]) == run(["users", "link", "ann"]) == Exit.DONE
    capsys.readouterr()
    run(["users", "list"])
    (row,) = rows(capsys)
    assert (row["name"], row["title"], row["state"], row["roles"]) == ("ann", "Ann Li", "active", {"*": "auditor"})
    assert run(["users", "add", "bob", "--role", "king"]) == Exit.FAILED
    assert run(["users", "link", "nobody"]) == Exit.FAILED


def test_acts_are_listed_and_verified(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["users", "add", "ann", "--role", "analyst"])
    capsys.readouterr()
    assert run(["audit", "list", "--what", "user"]) == Exit.DONE
    assert [row["what"] for row in rows(capsys)] == ["user.link", "user.made"]
    assert run(["audit", "checkpoint"]) == Exit.DONE
    (tmp_path / "kept").write_text(capsys.readouterr().out)
    run(["users", "link", "ann"])
    assert run(["audit", "verify", "--checkpoint", str(tmp_path / "kept")]) == Exit.DONE
    assert run(["audit", "export", str(tmp_path / "log")]) == Exit.DONE
    checks = ["audit", "verify", "--export", str(tmp_path / "log")]
    assert run([*checks, "--checkpoint", str(tmp_path / "kept"), "--key", str(tmp_path / "log" / "key")]) == Exit.DONE
    (bundle,) = (tmp_path / "log" / "tile" / "entries" / "000.p").iterdir()
    bundle.write_bytes(bundle.read_bytes().replace(b"ann", b"eve"))
    assert run(checks) == Exit.FAILED
    bundle.unlink()
    assert run(checks) == Exit.FAILED
    with closing(sqlite3.connect(folder / "state.db")) as connection, connection:
        connection.execute("DELETE FROM acts WHERE number = 0")
    capsys.readouterr()
    assert run(["audit", "verify"]) == Exit.FAILED
    assert "act 0:" in capsys.readouterr().out


def test_a_backup_is_made_and_restored(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["users", "add", "ann", "--role", "analyst"])
    backup = str(tmp_path / "b.tar")
    assert run(["backup", backup]) == Exit.DONE
    assert run(["backup", backup]) == Exit.FAILED
    capsys.readouterr()
    assert run(["restore", backup, str(tmp_path / "again")]) == Exit.DONE
    assert "database: whole" in capsys.readouterr().out
    assert run(["restore", backup, str(tmp_path / "again")]) == Exit.FAILED
    (tmp_path / "half.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:5000])
    assert run(["restore", str(tmp_path / "half.tar"), str(tmp_path / "other")]) == Exit.FAILED
    assert not (tmp_path / "other").exists()

"""``mingjian intel``, as a person calls it."""

import json
from pathlib import Path

import pytest

from mingjian.cli.exits import Exit
from mingjian.cli.main import run

Out = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> Path:
    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == Exit.DONE
    capsys.readouterr()
    return tmp_path


def rows(capsys: Out) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_file_becomes_a_set_under_its_name(folder: Path, capsys: Out) -> None:
    (folder / "my feed.txt").write_text("evil[.]example\n8.8.8.8\n")
    assert run(["intel", "add", "my feed.txt"]) == Exit.DONE
    (row,) = rows(capsys)
    assert row == {
        **{"name": "my feed", "organisation": "", "version": 1, "state": "new", "indicators": 2, "added": 2},
        **{"gone": 0, "warned": 1, "skipped": 0, "quarantined": 0},
    }
    assert run(["intel", "add", "my feed.txt"]) == Exit.DONE
    (row,) = rows(capsys)
    assert (row["state"], row["version"], row["added"]) == ("unchanged", 1, 0)
    (folder / "my feed.txt").write_text("evil[.]example\nnew.example\n")
    assert run(["intel", "add", "my feed.txt"]) == Exit.DONE
    (row,) = rows(capsys)
    assert (row["state"], row["version"], row["added"], row["gone"]) == ("changed", 2, 1, 1)


def test_what_is_given_counts_where_entries_do_not_say(folder: Path, capsys: Out) -> None:
    (folder / "a.txt").write_text("0123456789abcdef0123456789abcdef\n")
    options = ["--name", "n", "--source", "us", "--tlp", "amber", "--confidence", "40", "--kind", "ja3"]
    assert run(["intel", "add", "a.txt", *options]) == Exit.DONE
    capsys.readouterr()
    assert run(["intel", "show", "N"]) == Exit.DONE
    (row,) = rows(capsys)
    assert (row["kind"], row["source"], row["marking"], row["confidence"]) == ("ja3", "us", "TLP:AMBER", 40)
    assert run(["intel", "list"]) == Exit.DONE
    (row,) = rows(capsys)
    assert (row["name"], row["indicators"], row["source"], row["marking"]) == ("n", 1, "us", "TLP:AMBER")


def test_several_paths_are_several_sets_unless_they_get_one_name(folder: Path, capsys: Out) -> None:
    (folder / "a.txt").write_text("a.example\n")
    (folder / "b").mkdir()
    (folder / "b" / "x.txt").write_text("b.example\n")
    assert run(["intel", "add", "a.txt", "b"]) == Exit.DONE
    assert [row["name"] for row in rows(capsys)] == ["a", "b"]
    assert run(["intel", "add", "a.txt", "b", "--name", "both"]) == Exit.DONE
    assert [(row["name"], row["indicators"]) for row in rows(capsys)] == [("both", 2)]


def test_what_could_not_be_read_is_told_and_kept(folder: Path, capsys: Out) -> None:
    (folder / "a.csv").write_text("ioc,type,to_ids\nevil.example,domain,1\nwhat is,ip,1\n192.0.2.1,ip,0\nx,yara,1\n")
    assert run(["intel", "add", "a.csv", "--quarantine", "bad.jsonl"]) == Exit.QUARANTINED
    captured = capsys.readouterr()
    row = json.loads(captured.out)
    assert (row["indicators"], row["skipped"], row["quarantined"]) == (1, 2, 1)
    assert "skipped: 1 × not for detection (to_ids)" in captured.err
    assert "quarantined: a.csv:3: 'what is' is no ip" in captured.err
    (bad,) = (json.loads(line) for line in (folder / "bad.jsonl").read_text().splitlines())
    assert (bad["file"], bad["record"], bad["data"]) == ("a.csv", 3, "what is,ip,1")


def test_a_file_without_an_indicator_is_refused_and_says_why(folder: Path, capsys: Out) -> None:
    (folder / "a.txt").write_text("hello\n")
    assert run(["intel", "add", "a.txt"]) == Exit.FAILED
    assert "no indicator in it" in capsys.readouterr().err
    assert run(["intel", "list"]) == Exit.DONE
    assert rows(capsys) == []


def test_a_set_can_be_removed(folder: Path, capsys: Out) -> None:
    (folder / "a.txt").write_text("a.example\n")
    assert run(["intel", "add", "a.txt"]) == Exit.DONE
    assert run(["intel", "remove", "A"]) == Exit.DONE
    capsys.readouterr()
    assert run(["intel", "list"]) == Exit.DONE
    assert rows(capsys) == []
    assert run(["intel", "show", "a"]) == Exit.DONE
    captured = capsys.readouterr()
    assert json.loads(captured.out)["value"] == "a.example"
    assert "not looked for" in captured.err
    assert run(["intel", "remove", "a"]) == Exit.FAILED


@pytest.mark.parametrize(
    "arguments",
    [["--tlp", "purple"], ["--kind", "yara"], ["--confidence", "101"]],
)
def test_wrong_use_is_told_before_anything_is_done(folder: Path, capsys: Out, arguments: list[str]) -> None:
    (folder / "a.txt").write_text("a.example\n")
    assert run(["intel", "add", "a.txt", *arguments]) == Exit.WRONG_USE
    assert run(["intel", "add", "-"]) == Exit.WRONG_USE
    assert capsys.readouterr().out == ""


def test_sets_of_organisations_are_told_apart(folder: Path, capsys: Out) -> None:
    (folder / "a.txt").write_text("a.example\n")
    assert run(["intel", "add", "a.txt", "--org", "nobody"]) == Exit.FAILED
    assert run(["intel", "show", "a"]) == Exit.FAILED
    assert "mingjian intel list" in capsys.readouterr().err


def test_text_from_a_feed_cannot_steer_the_terminal(folder: Path, capsys: Out) -> None:
    (folder / "a.csv").write_text("ioc,description\nevil.example,\x1b[31mred\u202e\n")
    assert run(["intel", "add", "a.csv"]) == Exit.DONE
    capsys.readouterr()
    for form in ("table", "csv", "jsonl"):
        assert run(["intel", "show", "a", "--format", form]) == Exit.DONE
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert "evil.example" in shown

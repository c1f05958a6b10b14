"""``mingjian init``, ``lake`` and ``sql``, as a person calls them."""

import json
from pathlib import Path

import pytest

from lakes import OPERATOR, kept
from mingjian.cli.exits import Exit
from mingjian.cli.main import run
from mingjian.store.catalogue import organisation_named
from mingjian.store.workspace import open_workspace


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A workspace with a few events, and in it the current folder."""
    monkeypatch.chdir(tmp_path)
    assert run(["init", "w"]) == Exit.DONE
    with open_workspace(tmp_path / "w") as workspace:
        organisation = organisation_named(workspace, OPERATOR, "Ours", make=True)
        image = {"Image": "a.exe", "CommandLine": "a.exe /x"}
        kept(workspace, organisation, [image, image], stream="windows/sysmon/1", layout="flat", day=18_000)
        kept(workspace, organisation, [image], stream="windows/sysmon/1", layout="flat", day=18_003)
    (tmp_path / "w" / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "w" / "inside")
    capsys.readouterr()
    return tmp_path / "w"


def rows_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_lake_has_a_row_for_each_stream(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lake"]) == Exit.DONE
    (row,) = rows_of(capsys)
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    assert row == {
        "stream": "windows/sysmon/1",
        "organisation": "Ours",
        "rows": 3,
        "bytes": size,
        "bytes_per_event": round(size / 3, 1),
        "first": "2019-04-14T00:00:01.000000Z",
        "last": "2019-04-17T00:00:01.000000Z",
        "gaps": ["2019-04-15…2019-04-16"],
    }


def test_lake_lists_files_for_other_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lake", "--files"]) == Exit.DONE
    rows = rows_of(capsys)
    assert [row["rows"] for row in rows] == [2, 1]
    assert all(Path(str(row["path"])).is_file() for row in rows)


def test_sql_answers_in_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grouped = 'SELECT "Image", count(*) AS n, sum(2) AS s, max(_time) AS t FROM windows_sysmon_1 GROUP BY 1'
    assert run(["sql", grouped]) == Exit.DONE
    assert rows_of(capsys) == [{"Image": "a.exe", "n": 3, "s": 6, "t": "2019-04-17T00:00:01.000000Z"}]
    types = "SELECT [1, 2] AS l, {'a': 1} AS m, 'x'::BLOB AS b, 1.5::DECIMAL(5, 2) AS d, NULL AS n"
    assert run(["sql", types]) == Exit.DONE
    assert rows_of(capsys) == [{"l": "[1, 2]", "m": '{"a": 1}', "b": "78", "d": "1.50", "n": None}]


def test_sql_knows_ocsf_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", 'SELECT DISTINCT "process.cmd_line" AS c FROM ocsf_1007']) == Exit.DONE
    assert rows_of(capsys) == [{"c": "a.exe /x"}]


def test_sql_changes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sql", "DROP VIEW windows_sysmon_1"]) == Exit.FAILED
    assert "must be a SELECT" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["lake"], ["sql", "SELECT 1"]])
def test_outside_of_a_workspace_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(command) == Exit.FAILED
    assert "mingjian init" in capsys.readouterr().err


def test_init_is_done_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(folder)]) == Exit.FAILED
    assert "already" in capsys.readouterr().err
    assert run(["init", str(folder / "another")]) == Exit.DONE
    assert (folder / "another" / "lake" / "workspace.json").is_file()


def test_init_reads_the_settings_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "mingjian.toml").write_text('database = "mysql://me:hunter2@host/x"')
    monkeypatch.chdir(tmp_path)
    assert run(["init", "w"]) == Exit.WRONG_USE

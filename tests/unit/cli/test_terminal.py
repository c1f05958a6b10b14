"""Everything that is printed: rows in their formats, and nothing from outside that steers what shows them."""

import csv
import io
import json
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingjian.cli import terminal
from mingjian.cli.terminal import ListFormat

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
ROWS: list[terminal.Row] = [
    {
        "time": "2026-01-02",
        "level": "high",
        "count": 3,
        "matched": {"Image": "C:\\a.exe"},
        "attack": ["T1003", "T1059"],
    },
    {"time": None, "level": "=cmd|' /C calc'!A0", "count": -1, "host": "日本"},
]
COLUMNS = ("time", "level", "count", "host", "matched", "attack")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(how: ListFormat, rows: list[terminal.Row] = ROWS, stream: io.StringIO | None = None) -> str:
    to = stream or io.StringIO()
    assert terminal.write_rows(rows, COLUMNS, how, stream=to) == len(rows)
    return to.getvalue()


def test_json_lines_hold_exactly_the_rows() -> None:
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    assert lines == [{key: row[key] for key in COLUMNS if key in row} for row in ROWS]
    assert list(lines[0]) == ["time", "level", "count", "matched", "attack"], "in the order of the columns"


def test_csv_reads_back_with_formulas_disarmed() -> None:
    rows = list(csv.reader(io.StringIO(written("csv"), newline="")))
    assert rows[0] == list(COLUMNS)
    assert rows[1] == ["2026-01-02", "high", "3", "", "Image: C:\\a.exe", "T1003, T1059"]
    assert rows[2] == ["", "'=cmd|' /C calc'!A0", "-1", "日本", "", ""]
    assert written("csv").count("\r\n") == 3


@pytest.mark.parametrize("start", terminal.FORMULA_STARTS)
def test_every_start_of_a_formula_is_disarmed_in_csv(start: str) -> None:
    (cells,) = csv.reader(io.StringIO(terminal.csv_line([start + "1+1"]), newline=""))
    assert cells[0].startswith("'")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2))
def test_any_csv_record_reads_back_as_its_cells(cells: list[str]) -> None:
    (read,) = csv.reader(io.StringIO(terminal.csv_line(cells) + "\r\n", newline=""))
    assert len(read) == len(cells)
    for text, cell in zip(read, cells, strict=True):
        assert not text.startswith(terminal.FORMULA_STARTS)
        if not HIDDEN & {unicodedata.category(c) for c in cell}:
            assert text.removeprefix("'") == cell.removeprefix("'")


def row_with(text: str) -> list[terminal.Row]:
    return [{"level": text, "matched": {text: text}, "attack": [text]}]


@settings(max_examples=40)
@given(st.text(st.characters()), st.sampled_from(["table", "jsonl", "csv"]))
def test_nothing_unseen_reaches_a_terminal(text: str, how: ListFormat) -> None:
    ours = written(how, row_with(""), Terminal()).count("\x1b")
    shown = written(how, row_with(text), Terminal())
    assert shown.count("\x1b") == ours, "escape sequences are for our own headings"
    rest = re.sub(r"\x1b\[[0-9;]*m|\r\n|\n", "", shown)
    assert not HIDDEN & {unicodedata.category(c) for c in rest}


def test_a_table_shows_markup_as_it_is() -> None:
    assert "[red]x[/]" in written("table", [{"level": "[red]x[/]"}])


def test_a_long_table_says_how_much_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "TABLE_ROWS_MAX", 2)
    shown = written("table", [{"level": f"row{number}"} for number in range(5)])
    assert "row1" in shown
    assert "row2" not in shown
    assert capsys.readouterr().err.startswith("3 more rows")


def test_the_format_is_a_table_on_a_terminal_and_json_lines_elsewhere() -> None:
    assert terminal.choose_format(None, Terminal()) == "table"
    assert terminal.choose_format(None, io.StringIO()) == "jsonl"
    assert terminal.choose_format("csv", Terminal()) == "csv"


def test_an_error_takes_two_lines_at_most_and_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.complain("bad\nthing\x1b[2J", where="a\rb", hint="do\tthis")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "mingjian: a\\rb: bad\\nthing\\x1b[2J\n  do\\tthis\n"

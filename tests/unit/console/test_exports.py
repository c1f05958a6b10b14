"""Exports: text stays text in every program that opens them."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence

import pytest

from mingjian.console.exports import FORMS, Table, as_csv, as_json, as_xlsx

PAYLOADS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    '=HYPERLINK("https://evil.example")',
    "a\r\nb",
    "\u202egnp.exe",
    "\x1b[2J",
    'a"b,c',
    "https://evil.example",
    "<b>x</b>",
    "明见",
)


def table(values: Sequence[object]) -> Table:
    return Table(names=["text", "time"], headings=["Text", "Time"], times={"time"}, rows=[[v, 0] for v in values])


def test_no_cell_of_csv_is_a_formula_or_invisible() -> None:
    parts, _ = as_csv(table(PAYLOADS))
    text = b"".join(parts).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == ["Text", "Time"]
    assert len(rows) == len(PAYLOADS) + 1
    for cell, time in rows[1:]:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert cell.isprintable()
        assert time == "1970-01-01T00:00:00Z"


def test_json_gives_back_what_there_was() -> None:
    parts, _ = as_json(table(PAYLOADS))
    lines = b"".join(parts).decode().splitlines()
    assert [json.loads(line)["text"] for line in lines] == list(PAYLOADS)
    assert all(line.isprintable() for line in lines)


def test_a_workbook_has_neither_formulas_nor_links() -> None:
    data, _ = as_xlsx(table(PAYLOADS))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        everything = {name: archive.read(name).decode() for name in archive.namelist()}
    assert "<f>" not in everything["xl/worksheets/sheet1.xml"]
    assert "<hyperlink" not in everything["xl/worksheets/sheet1.xml"]
    assert not any("relationships/hyperlink" in text for text in everything.values())


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_list_is_a_file_with_headings_at_most(form: str) -> None:
    body, media_type = FORMS[form](table([]))
    data = body if isinstance(body, bytes) else b"".join(body)
    assert media_type
    assert (form == "json") == (data == b"")

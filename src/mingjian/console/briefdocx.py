"""The situation brief as a DOCX document, to be sent on as it is or worked into another one.

All text is runs of plain text: no field, no link, no macro, nothing that a program would run or fetch.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import docx
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml.ns import qn
from docx.oxml.parser import OxmlElement  # pyright: ignore[reportUnknownVariableType] - its types are half there
from docx.shared import Cm, Pt, RGBColor

from mingjian.console.briefing import Brief, Table
from mingjian.console.shapes import number
from mingjian.console.texts import Texts, load_texts

if TYPE_CHECKING:
    from docx.document import Document
    from docx.styles.style import ParagraphStyle
    from docx.table import Table as DocxTable
    from docx.table import _Cell, _Row  # pyright: ignore[reportPrivateUsage] - their only names

FONT: Final = "Calibri"
FONT_EAST: Final = "Microsoft YaHei"
"""What the reader's machine does not have it replaces."""
WIDTH_CM: Final = 17.0
FIGURE_WIDTHS: Final = (28, 12, 12, 38, 10)
SMALL_PT: Final = 8
BODY_PT: Final = 10
SOFT: Final = RGBColor(0x57, 0x60, 0x6B)


def as_docx(brief: Brief) -> bytes:
    """Write the document."""
    texts = load_texts(brief.language)
    document = docx.Document()
    _prepare(document, brief)
    document.add_heading(_text(brief.title), 0)
    document.add_paragraph(_text(brief.subtitle))
    for line in brief.lead:
        document.add_paragraph(_text(line))
    for name, value in brief.facts:
        paragraph = document.add_paragraph(f"{_text(name)}: ")
        paragraph.add_run(_text(value)).bold = True
    _figures(document, brief, texts)
    for table in brief.tables:
        _table(document, table, texts)
    document.add_heading(texts("brief.blind"), 1)
    for line in brief.blind:
        document.add_paragraph(_text(line), style="List Bullet")
    if not brief.blind:
        document.add_paragraph(texts("brief.blind-none"))
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _prepare(document: Document, brief: Brief) -> None:
    """Paper, fonts, and what the file says of itself."""
    moment = datetime.datetime.fromtimestamp(brief.made_us // 1_000_000, datetime.UTC).replace(tzinfo=None)
    properties = document.core_properties
    properties.title = _text(f"{brief.title} {brief.subtitle}")
    properties.author = "Mingjian"
    properties.language = "zh-CN" if brief.language == "zh" else "en"
    properties.created = properties.modified = moment
    section = document.sections[0]
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Cm(2)
    for style_name in ("Normal", "Title", "Heading 1", "Heading 2"):
        style: ParagraphStyle = document.styles[style_name]  # type: ignore[assignment]  # these are styles of paragraphs
        style.font.name = FONT
        style.font.color.rgb = RGBColor(0, 0, 0)
        _use_font_of_the_east(style)
    normal: ParagraphStyle = document.styles["Normal"]  # type: ignore[assignment]  # a style of paragraphs, too
    normal.font.size = Pt(BODY_PT)
    normal.paragraph_format.space_after = Pt(4)


def _use_font_of_the_east(style: ParagraphStyle) -> None:
    """A style has a font for Chinese of its own, and the theme's would win."""
    element: Any = style.element
    fonts = element.get_or_add_rPr().get_or_add_rFonts()
    for name in ("w:asciiTheme", "w:hAnsiTheme", "w:eastAsiaTheme", "w:cstheme"):
        fonts.attrib.pop(qn(name), None)
    fonts.set(qn("w:eastAsia"), FONT_EAST)


def _figures(document: Document, brief: Brief, texts: Texts) -> None:
    document.add_heading(texts("brief.figures"), 1)
    headings = [texts(f"brief.column-{name}") for name in ("figure", "value", "before", "query", "coverage")]
    table = _begin(document, headings, FIGURE_WIDTHS, (1, 2))
    for each in brief.figures:
        row = table.add_row()
        _fill(row.cells[0], each.label)
        _fill(row.cells[1], number(each.value), is_figure=True)
        _fill(row.cells[2], "–" if each.before is None else number(each.before), is_figure=True)
        _fill(row.cells[3], each.query, is_small=True)
        _fill(row.cells[4], each.coverage)
        _mark(row, "w:cantSplit")
    document.add_heading(texts("brief.coverages"), 2)
    for mark in brief.coverages:
        document.add_paragraph(f"{mark.mark}: {_text(mark.says)}")


def _table(document: Document, table: Table, texts: Texts) -> None:
    document.add_heading(table.title, 1)
    if table.rows:
        made = _begin(document, table.headings, table.widths, table.figures)
        for values in table.rows:
            row = made.add_row()
            for place, text in enumerate(values):
                _fill(row.cells[place], text, is_figure=place in table.figures)
            _mark(row, "w:cantSplit")
        if table.left_out:
            document.add_paragraph(texts("brief.left-out", n=number(table.left_out)))
    else:
        document.add_paragraph(table.empty)
    run = document.add_paragraph().add_run(f"{texts('brief.query')} {_text(table.query)} [{table.coverage}]")
    run.font.size, run.font.color.rgb = Pt(SMALL_PT), SOFT


def _begin(document: Document, headings: Sequence[str], widths: Sequence[int], figures: Sequence[int]) -> DocxTable:
    """A table with its first row, which is repeated on every page."""
    table = document.add_table(rows=1, cols=len(headings), style="Table Grid")
    table.autofit = False
    for column, width in zip(table.columns, widths, strict=True):
        column.width = Cm(WIDTH_CM * width / sum(widths))
    row = table.rows[0]
    for place, heading in enumerate(headings):
        _fill(row.cells[place], heading, is_figure=place in figures)
        row.cells[place].paragraphs[0].runs[0].bold = True
    _mark(row, "w:tblHeader")
    return table


def _mark(row: _Row, name: str) -> None:
    """Say of a row that it is repeated on every page, or not divided between two."""
    properties: Any = row._tr.get_or_add_trPr()  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType] - the library has no other way
    properties.append(OxmlElement(name))


def _fill(cell: _Cell, text: str, *, is_figure: bool = False, is_small: bool = False) -> None:
    first, *beneath = text.split("\n")
    paragraph = cell.paragraphs[0]
    run = paragraph.add_run(_text(first))
    if is_small:
        run.font.size = Pt(SMALL_PT)
    if is_figure:
        paragraph.alignment = WD_ALIGN_PARAGRAPH.RIGHT
    for line in beneath:
        below = cell.add_paragraph().add_run(_text(line))
        below.font.size, below.font.color.rgb = Pt(SMALL_PT), SOFT


def _text(text: str) -> str:
    """What an XML document can hold: the rest of what is not seen was made visible before. Source: XML 1.0, 2.2."""
    return "".join(f"\\u{ord(each):04x}" if each in "\ufffe\uffff" else each for each in text)

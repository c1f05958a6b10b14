"""The situation brief as a PDF document, with its font in it: it looks the same on every machine.

There is no link, no form, no script in it. A character that the font does not have is written as its number.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

import pylopdf_fonts_zh_cn
from fpdf import FPDF
from fpdf.enums import Align, VAlign, XPos, YPos
from fpdf.fonts import FontFace, TTFFont

from mingjian.console.briefing import Brief, Table
from mingjian.console.shapes import number
from mingjian.console.texts import Texts, load_texts

FONT: Final = "brief"
MARGIN_MM: Final = 18
LINE_MM: Final = 5.2
TITLE_PT: Final = 20
HEADING_PT: Final = 13
BODY_PT: Final = 9.5
SMALL_PT: Final = 7.5
FIGURE_WIDTHS: Final = (30, 11, 11, 40, 8)
SOFT: Final = (87, 96, 107)
INK: Final = (25, 29, 34)
LINE: Final = (200, 205, 211)
NARROW_SPACE, WIDE_SPACE = "\u202f", "\u00a0"
"""The font does not have the one that groups digits elsewhere."""


def as_pdf(brief: Brief) -> bytes:
    """Write the document."""
    paper = _Paper(brief)
    texts = load_texts(brief.language)
    paper.say(brief.title, TITLE_PT)
    paper.say(brief.subtitle, HEADING_PT)
    paper.ln(2)
    for line in brief.lead:
        paper.say(line, BODY_PT + 1)
    paper.ln(2)
    for name, value in brief.facts:
        paper.say(f"{name}: {value}", SMALL_PT + 0.5, SOFT)
    _figures(paper, brief, texts)
    for table in brief.tables:
        _table(paper, table, texts)
    paper.head(texts("brief.blind"))
    for line in brief.blind or (texts("brief.blind-none"),):
        paper.say(f"· {line}" if brief.blind else line)
    return bytes(paper.output())


class _Paper(FPDF):
    """Pages of A4 with a number on each, and words that are put one below the other."""

    def __init__(self, brief: Brief) -> None:
        super().__init__(format="A4")
        self._page_words = load_texts(brief.language)
        self._is_latin = brief.language == "en"
        self._title = f"{brief.title} {brief.subtitle}"
        self.add_font(FONT, "", pylopdf_fonts_zh_cn.sans_path())
        font = self.fonts[FONT]
        assert isinstance(font, TTFFont)
        self._known = font.cmap
        self.set_title(self._title)
        self.set_creator("Mingjian")
        self.set_lang("zh-CN" if brief.language == "zh" else "en")
        self.set_creation_date(datetime.datetime.fromtimestamp(brief.made_us // 1_000_000, datetime.UTC))
        self.set_margin(MARGIN_MM)
        self.set_auto_page_break(True, MARGIN_MM)
        self.set_draw_color(*LINE)
        self.add_page()

    def footer(self) -> None:
        """Title and number of the page."""
        self.set_y(-MARGIN_MM + 4)
        self.dress(SMALL_PT, SOFT)
        self.cell(0, 4, self.plain(self._title))
        self.set_x(MARGIN_MM)
        number_of_page = self._page_words("brief.page", n=self.page_no(), all="{nb}")
        self.cell(0, 4, self.plain(number_of_page), align=Align.R)

    def dress(self, size_pt: float, colour: tuple[int, int, int] = INK) -> None:
        """Size and colour of what is written next."""
        self.set_font(FONT, size=size_pt)
        self.set_text_color(*colour)

    def say(self, text: str, size_pt: float = BODY_PT, colour: tuple[int, int, int] = INK) -> None:
        """A paragraph."""
        self.dress(size_pt, colour)
        height = LINE_MM * size_pt / BODY_PT
        self.multi_cell(0, height, self.plain(text), align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(0.8)

    def head(self, text: str) -> None:
        """A heading, which is not left alone at the foot of a page."""
        if self.will_page_break(5 * LINE_MM):
            self.add_page()
        self.ln(4)
        self.say(text, HEADING_PT)

    def plain(self, text: str) -> str:
        """A text of characters that the font has."""
        text = text.replace(NARROW_SPACE, WIDE_SPACE)
        if self._is_latin:
            # The font has quotation marks of the width of a Chinese character.
            text = text.replace("“", '"').replace("”", '"')
        return "".join(each if ord(each) in self._known or each == "\n" else f"\\u{ord(each):04x}" for each in text)

    def grid(
        self,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[int],
        figures: Sequence[int],
        small: Sequence[int] = (),
    ) -> None:
        """A table whose headings are repeated on every page."""
        self.dress(BODY_PT - 1)
        aligned = tuple(Align.R if place in figures else Align.L for place in range(len(headings)))
        soft = FontFace(size_pt=SMALL_PT - 0.5, color=SOFT)
        with self.table(
            col_widths=tuple(widths),
            text_align=aligned,
            line_height=LINE_MM * 0.85,
            borders_layout="HORIZONTAL_LINES",
            headings_style=FontFace(color=SOFT),
            padding=(0.6, 1.4),
            v_align=VAlign.T,
        ) as table:
            table.row([self.plain(each) for each in headings])
            for values in rows:
                row = table.row()
                for place, text in enumerate(values):
                    row.cell(self.plain(text), style=soft if place in small else None)
        self.ln(1)


def _figures(paper: _Paper, brief: Brief, texts: Texts) -> None:
    paper.head(texts("brief.figures"))
    headings = [texts(f"brief.column-{name}") for name in ("figure", "value", "before", "query", "coverage")]
    rows = [
        (each.label, number(each.value), "–" if each.before is None else number(each.before), each.query, each.coverage)
        for each in brief.figures
    ]
    paper.grid(headings, rows, FIGURE_WIDTHS, figures=(1, 2), small=(3,))
    paper.ln(1)
    paper.say(texts("brief.coverages"))
    for mark in brief.coverages:
        paper.say(f"{mark.mark}: {mark.says}", SMALL_PT + 0.5, SOFT)


def _table(paper: _Paper, table: Table, texts: Texts) -> None:
    paper.head(table.title)
    if table.rows:
        paper.grid(table.headings, table.rows, table.widths, table.figures)
        if table.left_out:
            paper.say(texts("brief.left-out", n=number(table.left_out)), SMALL_PT, SOFT)
    else:
        paper.say(table.empty)
    paper.say(f"{texts('brief.query')} {table.query} [{table.coverage}]", SMALL_PT, SOFT)

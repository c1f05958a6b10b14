"""The situation brief as a file: a page that needs nothing else and prints as it is, a DOCX or a PDF document."""

from __future__ import annotations

import io
from typing import Final, Literal, TypeAlias

from markupsafe import Markup

from mingjian.console.briefing import Brief
from mingjian.console.page import environment, outside, part, policy
from mingjian.console.shapes import number
from mingjian.console.texts import load_texts

Form: TypeAlias = Literal["html", "docx", "pdf"]
FORMS: Final[tuple[Form, ...]] = ("html", "docx", "pdf")
MEDIA_TYPES: Final[dict[Form, str]] = {
    "html": "text/html; charset=utf-8",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pdf": "application/pdf",
}


def written(brief: Brief, form: Form) -> bytes:
    """Write a brief in one of the forms: all of them say the same."""
    if form == "html":
        return _page(brief).encode()
    # What writes documents takes a quarter of a second to load, and is seldom needed.
    if form == "docx":
        from mingjian.console.briefdocx import as_docx

        return as_docx(brief)
    from mingjian.console.briefpdf import as_pdf

    return as_pdf(brief)


def _page(brief: Brief) -> str:
    style = Markup("{}{}").format(part("report.css"), part("brief.css"))
    stream = io.StringIO()
    context = {
        "texts": load_texts(brief.language),
        "brief": brief,
        "style": style,
        "policy": policy(style, ""),
        "tag": "zh-CN" if brief.language == "zh" else "en",
        "link": None,
        "number": number,
        "outside": outside,
    }
    stream.writelines(environment().get_template("brief.html.j2").generate(context))
    return stream.getvalue()

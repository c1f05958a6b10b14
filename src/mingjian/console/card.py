"""The verdict card as a page: one HTML file that needs nothing else and opens from disk."""

from __future__ import annotations

import datetime
from functools import partial
from typing import TextIO

from markupsafe import Markup

from mingjian.console import wording
from mingjian.console.page import environment, outside, part, policy, write
from mingjian.console.wording import WORDS as REPORT_WORDS
from mingjian.hunt.vocabulary import role_in
from mingjian.settings import Language
from mingjian.situations.card import VerdictCard
from mingjian.situations.telling import WORDS, has_foreign_titles, joined_lines, sentence, shown_steps, to_second

NAMES_MAX = 200
"""So many hosts, and so many accounts, are on the page."""


def write_card(
    stream: TextIO, card: VerdictCard, language: Language, *, written_at: datetime.datetime | None = None
) -> None:
    """Write the page. ``written_at`` is the aware time that it states; now, if not given."""
    words, report = WORDS[language], REPORT_WORDS[language]
    style = Markup("{}{}").format(part("report.css"), part("card.css"))
    moment = (written_at or datetime.datetime.now(datetime.UTC)).astimezone(datetime.UTC)
    telling = shown_steps(card)
    shown = set(map(id, telling))
    page = environment().get_template("card.html.j2")
    context = {
        "words": words,
        "levels": report.levels,
        "policy": policy(style, ""),
        "style": style,
        "card": card,
        "lead": sentence(card, words),
        "joined": joined_lines(card, words),
        "telling": telling,
        "further_steps": [step for step in card.timeline if id(step) not in shown],
        "written": report.written.format(time=f"{moment:%Y-%m-%d %H:%M}"),
        "edges": [edge for edge in card.graph.edges if edge.start == 0],
        "further": [edge for edge in card.graph.edges if edge.start],
        "names_max": NAMES_MAX,
        "role_of": partial(role_in, language=language),
        "has_foreign_titles": has_foreign_titles(card, language),
        "number": wording.number,
        "outside": outside,
        "to_second": to_second,
    }
    write(stream, page.generate(context))

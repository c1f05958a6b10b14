"""Ask: one box on every page; the verdict card of whatever was typed, in the drawer or as a page."""

from __future__ import annotations

from functools import partial
from typing import Final

from starlette.responses import Response

from mingjian.console import graphs
from mingjian.console.blindness import blind_spots
from mingjian.console.lanes import Happened, Picture, Track, Wanting, lay_out, said
from mingjian.console.routes import Route
from mingjian.console.site import Visit
from mingjian.errors import InputError, shown
from mingjian.hunt.answer import days_in_words
from mingjian.hunt.vocabulary import role_in
from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind
from mingjian.model.times import parse_time_us
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import VerdictCard
from mingjian.situations.guessing import KINDS, guesses
from mingjian.situations.outlook import Outlook, outlook
from mingjian.situations.telling import WORDS, sentence, shown_steps

CHARACTERS_MAX: Final = 2_000
OUTLOOK_S: Final = 5.0
"""What could be seen is counted anew so often."""
STEPS_SHOWN: Final = 80
"""So many lines: each is about a kilobyte, and its mark and line among the lanes another."""
NAMES_SHOWN: Final = 50
LANES_SHOWN: Final = 12
HOLES_SHOWN: Final = 40
"""So many holes of a stream are drawn."""


def meant(visit: Visit, text: str, kind: str) -> tuple[ObservableKind, str, list[ObservableKind]]:
    """Kind and canonical value, and what else it could be: of several the one that was seen most.

    Raises:
        InputError: it is nothing that could be an observable.
    """
    if len(text) > CHARACTERS_MAX:
        raise InputError(f"the question is longer than {CHARACTERS_MAX} characters")
    if kind:
        if kind not in KINDS:
            raise InputError(f"there is no kind of observable called {shown(kind)}", hint=", ".join(KINDS))
        chosen = kind
        value = canonical(chosen, text)
        if value is None:
            raise InputError(f"{shown(text)} is no {kind}")
        return chosen, value, [each for each, _ in guesses(text) if each != chosen]
    possible = guesses(text)
    if not possible:
        raise InputError(f"{shown(text)} is nothing that could be an observable", hint="an address, a name, a hash …")
    best = possible[0]
    if len(possible) > 1:
        with visit.workspace.reading():
            index = visit.site.index.open(visit.scope)
            counts = [0 if (totals := index.totals(*each)) is None else totals.count for each in possible]
        best = possible[max(range(len(possible)), key=lambda place: (counts[place], -place))]
    others: list[ObservableKind] = [each for each, _ in possible if each != best[0]]
    return best[0], best[1], others


def card_of(visit: Visit, text: str, kind: str) -> tuple[VerdictCard, list[ObservableKind]]:
    """Answer a question within the scope."""
    which, value, others = meant(visit, text, kind)
    workspace, scope, site, organisation = visit.workspace, visit.scope, visit.site, visit.organisation()

    def look() -> Outlook:
        return outlook(workspace, scope, which, site.sources, organisation, cache_folder=site.cache_folder)

    question = Question(
        workspace,
        scope,
        which,
        value,
        site.sources,
        visit.language,
        organisation=organisation,
        cache_folder=site.cache_folder,
        views=site.views,
        kept_index=site.index,
        kept_reads=site.reads,
        # It tells of days, and while events come in it would be counted anew for each question.
        outlook=visit.lately("outlook", OUTLOOK_S, look, which, organisation),
    )
    return ask(question), others


def lanes_of(visit: Visit, card: VerdictCard) -> Picture | None:
    """Streams over time: what is told of each, and where nothing of it could be seen."""
    owners = {each.name: each.public_id for each in visit.organisations()}
    by_stream: dict[str, list[Happened]] = {}
    for step in card.timeline:
        first_us = None if step.time is None else parse_time_us(step.time)
        if first_us is None:
            continue
        last_us = None if step.last is None else parse_time_us(step.last)
        href = visit.address(
            "/records", file=step.evidence.file, number=step.evidence.record, of=owners.get(step.evidence.organisation)
        )
        happened = Happened(
            first_us=first_us,
            last_us=last_us or first_us,
            says=f"{step.time} {step.says}",
            href=href,
            level=step.level,
            count=step.count,
        )
        by_stream.setdefault(step.stream, []).append(happened)
    often = sorted(by_stream, key=lambda name: (-sum(each.count for each in by_stream[name]), name))[:LANES_SHOWN]
    return lay_out(
        [
            Track(name=name or visit.texts("ask.no-stream"), happened=by_stream[name], wanting=wanting, note=note)
            for name in sorted(often)
            for wanting, note in [_wanting(visit, card, name)]
        ]
    )


def _wanting(visit: Visit, card: VerdictCard, stream: str) -> tuple[list[Wanting], str]:
    """When a stream of the organisations of a card was silent, and the same in words."""
    found: list[Wanting] = []
    for hole in blind_spots(visit, visit.organisation())[1]:
        is_its = hole.kind == "stream" and hole.what == stream
        if is_its and hole.organisation in ("", *card.organisations) and len(found) < HOLES_SHOWN:
            says = days_in_words(hole.first_day, hole.last_day, visit.language)
            says += f" ({hole.organisation})" if hole.organisation else ""
            found.append(Wanting(first_day=hole.first_day, last_day=hole.last_day, says=says))
    return found, said(found)


def show(visit: Visit) -> Response:
    """The card, or what can be asked if nothing was."""
    text = visit.asked("q").strip()
    if not text:
        return visit.page("ask_empty.html.j2", place="", title=visit.texts("ask.title"), lead=visit.texts("ask.lead"))
    card, others = card_of(visit, text, visit.asked("kind"))
    words = WORDS[visit.language]
    owners = {each.name: each.public_id for each in visit.organisations()}
    return visit.page(
        "card_part.html.j2" if visit.is_partial else "card_page.html.j2",
        place="",
        title=card.observable,
        lead=sentence(card, words),
        card=card,
        words=words,
        others=others,
        owners=owners,
        charts=True,
        picture=lanes_of(visit, card),
        graph=graphs.of_card(
            card, lambda kind, value: visit.address("/ask", q=value, kind=kind), visit.texts("ask.seen-on")
        ),
        steps=shown_steps(card, STEPS_SHOWN),
        names_max=NAMES_SHOWN,
        role_of=partial(role_in, language=visit.language),
        edges=[edge for edge in card.graph.edges if edge.start == 0],
    )


ROUTES: Final = (Route("GET", "/ask", show, is_heavy=True),)

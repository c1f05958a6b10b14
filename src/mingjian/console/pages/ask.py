"""Ask: one box on every page; the verdict card of whatever was typed, in the drawer or as a page."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from starlette.responses import Response

from mingjian.console.routes import Route
from mingjian.console.site import Visit
from mingjian.errors import InputError, shown
from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind
from mingjian.situations.asking import Question, ask
from mingjian.situations.card import VerdictCard
from mingjian.situations.guessing import KINDS, guesses
from mingjian.situations.telling import WORDS, sentence, shown_steps
from mingjian.store.sightings.live import open_index

CHARACTERS_MAX: Final = 2_000
STEPS_SHOWN: Final = 200
NAMES_SHOWN: Final = 50


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
        with visit.workspace.reading(), closing(open_index(visit.workspace, visit.scope)) as index:
            counts = [0 if (totals := index.totals(*each)) is None else totals.count for each in possible]
        best = possible[max(range(len(possible)), key=lambda place: (counts[place], -place))]
    others: list[ObservableKind] = [each for each, _ in possible if each != best[0]]
    return best[0], best[1], others


def card_of(visit: Visit, text: str, kind: str) -> tuple[VerdictCard, list[ObservableKind]]:
    """Answer a question within the scope."""
    which, value, others = meant(visit, text, kind)
    question = Question(
        visit.workspace,
        visit.scope,
        which,
        value,
        visit.site.sources,
        visit.language,
        organisation=visit.organisation(),
        cache_folder=visit.site.cache_folder,
    )
    return ask(question), others


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
        steps=shown_steps(card, STEPS_SHOWN),
        names_max=NAMES_SHOWN,
        edges=[edge for edge in card.graph.edges if edge.start == 0],
    )


ROUTES: Final = (Route("GET", "/ask", show),)

"""The situation brief: what happened in a period, in the layout in which it is printed and sent on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from starlette.responses import Response

from mingjian.console.briefing import Wish, make_brief, period_of
from mingjian.console.briefpage import FORMS, MEDIA_TYPES, Form, written
from mingjian.console.page import outside
from mingjian.console.routes import Route
from mingjian.console.shapes import day_text
from mingjian.console.site import Visit
from mingjian.errors import SchemaError, shown

AGE_S: Final = 5.0


def show(visit: Visit) -> Response:
    """The brief as a page, or with ``as`` as a file."""
    scope, organisation = visit.scope, visit.organisation()
    period = period_of(visit.workspace, scope, visit.asked("since"), visit.asked("until"), organisation)
    wish = Wish(period=period, language=visit.language, by=visit.visitor.name)
    brief = visit.remember("brief", AGE_S, lambda: make_brief(visit.workspace, scope, wish), wish)
    first, last = day_text(period.first_day), day_text(period.last_day)
    form = visit.asked("as")
    if form:
        data = written(brief, _form(form))
        name = f"mingjian-brief-{first}-{last}-{visit.language}.{form}"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type=MEDIA_TYPES[_form(form)], headers=headers)
    return visit.page(
        "brief.html.j2",
        place="picture",
        title=visit.texts("brief.title"),
        lead=visit.texts("brief.page-lead"),
        brief=brief,
        texts=visit.texts,
        first=first,
        last=last,
        forms=FORMS,
        link=_linker(visit),
        outside=outside,
    )


def _form(text: str) -> Form:
    if text not in FORMS:
        raise SchemaError(f"a brief cannot be written as {shown(text)}", hint="one of " + ", ".join(FORMS))
    return text


def _linker(visit: Visit) -> Callable[[str], str]:
    """Addresses of what stands behind a figure, for whoever looks at the page."""

    def link(path: str) -> str:
        place, _, query = path.partition("?")
        return visit.address(place, **dict(parse_qsl(query)))

    return link


ROUTES: Final = (Route("GET", "/brief", show),)

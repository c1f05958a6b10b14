"""Signing in with a one-time link, signing out, and the preferences that everybody has."""

from __future__ import annotations

from typing import Final

from starlette.responses import RedirectResponse, Response

from mingjian.console.gate import SECURE_COOKIE, cookie_name
from mingjian.console.routes import Route
from mingjian.console.site import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, Visit
from mingjian.errors import NotAuthenticated
from mingjian.store.sessions import Opened, end_session, use_link
from mingjian.store.sessions import Session as StoredSession

YEAR_S: Final = 31_536_000


def local(address: str) -> str:
    r"""An address of ours and nothing else: what a form or a link names may not lead elsewhere.

    >>> local("/queue?level=high"), local("//evil.example"), local("https://evil.example"), local("/\\evil")
    ('/queue?level=high', '/', '/', '/')
    """
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_ours else "/"


def sign_in_page(visit: Visit) -> Response:
    """Say how to sign in."""
    return visit.page("sign_in.html.j2", title=visit.texts("sign-in.title"), lead=visit.texts("sign-in.lead"))


def link_page(visit: Visit) -> Response:
    """Ask whether the link is to be used: programs that look at links before people do must not use them up."""
    token = visit.request.path_params["token"]
    lead = visit.texts("sign-in.link-lead")
    return visit.page("sign_in_link.html.j2", title=visit.texts("sign-in.link-title"), lead=lead, token=token)


def enter_by_link(visit: Visit) -> Response:
    """Sign in with a one-time link."""
    client = visit.request.client
    opened = use_link(
        visit.workspace,
        visit.request.path_params["token"],
        address=client.host if client else "",
        agent=visit.request.headers.get("user-agent", ""),
    )
    if not isinstance(opened, Opened):
        raise NotAuthenticated("a one-time code is needed", hint="sign in on the page for it")
    answer = RedirectResponse("/", 303)
    name = cookie_name(visit.request)
    answer.set_cookie(
        name, opened.token.reveal(), httponly=True, secure=name == SECURE_COOKIE, samesite="lax", path="/"
    )
    return answer


def leave(visit: Visit) -> Response:
    """Sign out."""
    session = visit.visitor.session
    if isinstance(session, StoredSession):
        end_session(visit.workspace, session, session.public_id)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(cookie_name(visit.request), path="/")
    return answer


def prefer(visit: Visit) -> Response:
    """Remember language and theme in this browser."""
    answer = RedirectResponse(local(visit.given("back", "/")), 303)
    for field, cookie, allowed in (("language", LANGUAGE_COOKIE, ("en", "zh")), ("theme", THEME_COOKIE, THEMES)):
        value = visit.given(field)
        if value in allowed:
            answer.set_cookie(cookie, value, max_age=YEAR_S, samesite="lax", path="/")
    return answer


ROUTES: Final = (
    Route("GET", "/sign-in", sign_in_page, "nobody"),
    Route("GET", "/sign-in/link/{token}", link_page, "nobody"),
    Route("POST", "/sign-in/link/{token}", enter_by_link, "nobody"),
    Route("POST", "/sign-out", leave, "anybody"),
    Route("POST", "/preferences", prefer, "nobody"),
)

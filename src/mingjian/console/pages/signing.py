"""Signing in by password, one-time code and one-time link; signing out; and the preferences that everybody has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.responses import RedirectResponse, Response

from mingjian.console import openid
from mingjian.console.answers import headers_of, status_of
from mingjian.console.gate import SECURE_COOKIE, cookie_name
from mingjian.console.routes import Route
from mingjian.console.site import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, Visit
from mingjian.errors import NotAuthenticated, TooManyRequests
from mingjian.store.passkeys import Site as PasskeySite
from mingjian.store.passkeys import is_possible
from mingjian.store.sessions import CodeNeeded, Opened, end_session, give_code, sign_in, use_link
from mingjian.store.sessions import Session as StoredSession
from mingjian.telemetry import Secret

YEAR_S: Final = 31_536_000


def local(address: str) -> str:
    r"""An address of ours and nothing else: what a form or a link names may not lead elsewhere.

    >>> local("/queue?level=high"), local("//evil.example"), local("https://evil.example"), local("/\\evil")
    ('/queue?level=high', '/', '/', '/')
    """
    is_ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_ours else "/"


def client_of(visit: Visit) -> dict[str, str]:
    """Who is at the other end, as the store wants to know it."""
    client = visit.request.client
    return {"address": client.host if client else "", "agent": visit.request.headers.get("user-agent", "")}


def passkey_site(visit: Visit) -> PasskeySite | None:
    """At which console passkeys are made and used, as the browser sees it; None if it can have none here."""
    host, is_secure = visit.request.url.hostname or "", visit.request.url.scheme == "https"
    if not is_possible(host, is_secure=is_secure):
        return None
    return PasskeySite(host, str(visit.request.base_url).rstrip("/"))


def sign_in_page(visit: Visit, *, problem: str = "", status: int = 200) -> Response:
    """Ask for name and password."""
    if visit.is_known and not problem:
        return RedirectResponse(local(visit.asked("next")), 303)
    wanted = local(visit.asked("next") or visit.given("next"))
    return visit.page(
        "sign_in.html.j2",
        status=status,
        title=visit.texts("sign-in.title"),
        problem=problem and visit.texts(problem),
        name=visit.given("name"),
        next=wanted,
        back=visit.address("/sign-in", next=wanted, org=None),
        has_passkeys=passkey_site(visit) is not None,
        provider=openid.name_of(visit.site) if openid.is_set_up(visit.site) else "",
    )


def enter(visit: Visit) -> Response:
    """Sign in with a password."""
    name, password = visit.given("name"), Secret(visit.given("password"))
    return entered(visit, lambda: sign_in(visit.workspace, name, password, **client_of(visit)), "sign-in.wrong")


def enter_code(visit: Visit) -> Response:
    """Go on signing in, with a one-time code."""
    ticket, code = visit.given("ticket"), visit.given("code")
    return entered(visit, lambda: give_code(visit.workspace, ticket, code, **client_of(visit)), "sign-in.wrong-code")


def link_page(visit: Visit) -> Response:
    """Ask whether the link is to be used: programs that look at links before people do must not use them up."""
    lead = visit.texts("sign-in.link-lead")
    return visit.page(
        "sign_in_link.html.j2", title=visit.texts("sign-in.link-title"), lead=lead, token=visit.asked("t")
    )


def enter_by_link(visit: Visit) -> Response:
    """Sign in with a one-time link."""
    token = visit.given("t")
    return entered(visit, lambda: use_link(visit.workspace, token, **client_of(visit)), "sign-in.wrong-link")


def entered(
    visit: Visit, way_in: Callable[[], Opened | CodeNeeded], wrong: str, next_address: str | None = None
) -> Response:
    """Let somebody in by some way, ask for the code that is needed besides, or say what was wrong."""
    wanted = visit.given("next") if next_address is None else next_address
    try:
        found = way_in()
    except NotAuthenticated:
        return sign_in_page(visit, problem=wrong, status=401)
    except TooManyRequests as error:
        page = sign_in_page(visit, problem="sign-in.locked", status=status_of(error))
        page.headers.update(headers_of(error))
        return page
    if isinstance(found, CodeNeeded):
        return visit.page(
            "sign_in_code.html.j2",
            title=visit.texts("sign-in.code-title"),
            ticket=found.ticket.reveal(),
            next=local(wanted),
        )
    return welcome(visit, found, wanted)


def welcome(visit: Visit, opened: Opened, next_address: str) -> Response:
    """Let somebody in who has just signed in. A session that this browser had before ends."""
    if visit.is_known and isinstance(before := visit.visitor.session, StoredSession):
        end_session(visit.workspace, before, before.public_id)
    user = opened.session.user
    address = local(next_address)
    if opened.session.means == "link" and not user.has_password:
        address = "/account"
    answer = RedirectResponse(address, 303)
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
    Route("POST", "/sign-in", enter, "nobody"),
    Route("POST", "/sign-in/code", enter_code, "nobody"),
    Route("GET", "/sign-in/link", link_page, "nobody"),
    Route("POST", "/sign-in/link", enter_by_link, "nobody"),
    Route("POST", "/sign-out", leave, "anybody"),
    Route("POST", "/preferences", prefer, "nobody"),
)

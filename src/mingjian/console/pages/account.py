"""One's own account: how one is called, how one signs in, where one is signed in, and tokens for programs."""

from __future__ import annotations

import io
from typing import Final

import segno
from starlette.responses import Response

from mingjian.console import openid
from mingjian.console.pages.signing import YEAR_S, passkey_site
from mingjian.console.routes import Route
from mingjian.console.site import LANGUAGE_COOKIE, Visit
from mingjian.errors import NotPermitted, SchemaError
from mingjian.store.accounts import set_profile
from mingjian.store.apitokens import make_token, remove_token, tokens
from mingjian.store.factors import Setup, address_of_setup, begin_codes, confirm_codes, end_codes
from mingjian.store.identities import identities_of
from mingjian.store.passkeys import passkeys_of
from mingjian.store.scope import RIGHTS, Right
from mingjian.store.sessions import Session, end_other_sessions, end_session, sessions_of, set_password
from mingjian.telemetry import Secret

DAYS_MAX: Final = 366
RIGHTS_OFFERED: Final[tuple[Right, ...]] = ("read", "write", "administer", "audit")


def session_of_visit(visit: Visit) -> Session:
    """The session of whoever asks. Raises: NotPermitted: it is a program with a token."""
    session = visit.visitor.session
    if not isinstance(session, Session):
        raise NotPermitted("only somebody who has signed in can do this", hint="a token cannot")
    return session


def account(visit: Visit, *, setup: Setup | None = None, token: str = "") -> Response:
    """Show one's own account; with a new secret for an app, or a new token, which are seen only then."""
    session = session_of_visit(visit)
    mine = [each for each in tokens(visit.workspace, visit.scope) if each.user == session.user.name]
    return visit.page(
        "account.html.j2",
        place="account",
        title=visit.texts("account.title"),
        lead=session.user.name,
        session=session,
        user=session.user,
        sessions=sessions_of(visit.workspace, session),
        tokens=mine,
        passkeys=passkeys_of(visit.workspace, session),
        has_passkeys=passkey_site(visit) is not None,
        identities=identities_of(visit.workspace, session),
        provider=openid.name_of(visit.site) if openid.is_set_up(visit.site) else "",
        rights=RIGHTS_OFFERED,
        days_max=DAYS_MAX,
        setup=setup,
        token=token,
        organisations=visit.names(),
    )


def change_profile(visit: Visit) -> Response:
    """Change how one is called, and one's language."""
    language = "zh" if visit.given("language") == "zh" else "en"
    set_profile(visit.workspace, visit.scope, title=visit.given("title"), language=language)
    answer = visit.redirect("/account", done="saved")
    answer.set_cookie(LANGUAGE_COOKIE, language, max_age=YEAR_S, samesite="lax", path="/")
    return answer


def change_password(visit: Visit) -> Response:
    """Change one's password."""
    session = session_of_visit(visit)
    new, again, old = (visit.given(name) for name in ("new", "again", "old"))
    if new != again:
        raise SchemaError("the two passwords are not the same", hint="type the new one twice")
    set_password(visit.workspace, session, Secret(old) if old else None, Secret(new))
    return visit.redirect("/account", done="saved")


def set_up_codes(visit: Visit) -> Response:
    """Begin to set up one-time codes."""
    return account(visit, setup=begin_codes(visit.workspace, session_of_visit(visit)))


def picture_of_setup(visit: Visit) -> Response:
    """The QR code for an app. It is never stored: neither here nor by the browser."""
    address = address_of_setup(visit.workspace, session_of_visit(visit), visit.asked("ticket"))
    drawn = io.BytesIO()
    segno.make(address.reveal(), error="m", micro=False).save(drawn, kind="svg", scale=4, xmldecl=False, light="#fff")
    return Response(drawn.getvalue(), media_type="image/svg+xml", headers={"cache-control": "no-store"})


def put_codes_in_force(visit: Visit) -> Response:
    """Put one-time codes in force."""
    confirm_codes(visit.workspace, session_of_visit(visit), visit.given("ticket"), visit.given("code"))
    return visit.redirect("/account", done="saved")


def give_codes_up(visit: Visit) -> Response:
    """Give one-time codes up."""
    end_codes(visit.workspace, session_of_visit(visit), visit.given("code"))
    return visit.redirect("/account", done="saved")


def end_sessions(visit: Visit) -> Response:
    """End one session of one's own, or all others."""
    session = session_of_visit(visit)
    if visit.given("key"):
        end_session(visit.workspace, session, visit.given("key"))
    else:
        end_other_sessions(visit.workspace, session)
    return visit.redirect("/account", done="saved")


def add_token(visit: Visit) -> Response:
    """Make a token and show it, once."""
    session_of_visit(visit)
    days = visit.given("days")
    if not days.isdecimal():
        raise SchemaError("for how many days?", hint=f"1 to {DAYS_MAX}")
    rights: list[Right] = [right for right in RIGHTS_OFFERED if right in visit.given_all("right")]
    wanted = set(visit.given_all("organisation"))
    chosen = [each.id for each in visit.organisations() if each.public_id in wanted]
    _, text = make_token(
        visit.workspace,
        visit.scope,
        visit.given("name"),
        rights=rights,
        organisations=chosen if wanted else None,
        lifetime_s=int(days) * 86_400,
    )
    return account(visit, token=text.reveal())


def drop_token(visit: Visit) -> Response:
    """Make a token worthless."""
    session_of_visit(visit)
    remove_token(visit.workspace, visit.scope, visit.given("key"))
    return visit.redirect("/account", done="saved")


assert set(RIGHTS_OFFERED) == RIGHTS["administrator"]

ROUTES: Final = (
    Route("GET", "/account", account, "anybody"),
    Route("POST", "/account/profile", change_profile, "anybody"),
    Route("POST", "/account/password", change_password, "anybody"),
    Route("POST", "/account/codes", set_up_codes, "anybody"),
    Route("GET", "/account/codes/picture", picture_of_setup, "anybody"),
    Route("POST", "/account/codes/confirm", put_codes_in_force, "anybody"),
    Route("POST", "/account/codes/end", give_codes_up, "anybody"),
    Route("POST", "/account/sessions/end", end_sessions, "anybody"),
    Route("POST", "/account/tokens", add_token, "anybody"),
    Route("POST", "/account/tokens/remove", drop_token, "anybody"),
)

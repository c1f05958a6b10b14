"""Signing in by an identity provider, and linking an identity to one's account.

Both go to the provider by a link and not by a form: the content policy sends forms nowhere else. Linking begins with a
form of ours, so that no other site can begin it.
"""

from __future__ import annotations

import secrets
from typing import Final

from starlette.responses import RedirectResponse, Response

from mingjian.console import openid as asking
from mingjian.console.gate import SECURE_COOKIE, cookie_name
from mingjian.console.pages.account import session_of_visit
from mingjian.console.pages.signing import client_of, entered, local, sign_in_page
from mingjian.console.routes import Route
from mingjian.console.site import Visit
from mingjian.errors import (
    DeliveryError,
    InputError,
    MingjianError,
    NotAuthenticated,
    NotFound,
    RefusedDestination,
    StateError,
)
from mingjian.formats.openid import authorization_address
from mingjian.store.catalogue import organisation_named
from mingjian.store.identities import UNDER_WAY_S, Known, UnderWay, begin, link, sign_in_as, taken, unlink
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.sessions import CodeNeeded, Opened, Session, check_fresh
from mingjian.telemetry import logger, with_fields

COOKIE: Final = "-openid"
"""After the name of the cookie of the session: what binds a sign-in to the browser that began it."""
BACK: Final = "sign-in/openid/back"
CODE_CHARACTERS_MAX: Final = 4_096
EVERYWHERE: Final = "*"

_log = logger("openid")


def _begun(visit: Visit, next_address: str, user_id: int | None) -> tuple[str, str]:
    """The address of the provider, and the mark for the cookie."""
    if not asking.is_set_up(visit.site):
        raise NotFound("nobody signs in by an identity provider here")
    provider = asking.provider_of(visit.site)
    nonce, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    back = f"{visit.request.base_url}{BACK}"
    state, mark = begin(
        visit.workspace,
        issuer=provider.issuer,
        nonce=nonce,
        verifier=verifier,
        back=back,
        next_address=next_address,
        user_id=user_id,
    )
    client = visit.site.settings.openid_client
    address = authorization_address(
        provider, client=client, back=back, state=state.reveal(), nonce=nonce, verifier=verifier
    )
    return address, mark.reveal()


def _marked(visit: Visit, answer: Response, mark: str) -> Response:
    name = cookie_name(visit.request)
    answer.set_cookie(
        name + COOKIE,
        mark,
        max_age=UNDER_WAY_S,
        httponly=True,
        secure=name == SECURE_COOKIE,
        samesite="lax",
        path="/",
    )
    return answer


def go(visit: Visit) -> Response:
    """Send the browser to the provider."""
    try:
        address, mark = _begun(visit, local(visit.asked("next")), None)
    except (DeliveryError, InputError, RefusedDestination, StateError) as error:
        return _failed(visit, error)
    return _marked(visit, RedirectResponse(address, 303), mark)


def go_to_link(visit: Visit) -> Response:
    """Begin to link an identity: a page with the link to the provider."""
    session = session_of_visit(visit)
    check_fresh(session)
    address, mark = _begun(visit, "/account", session.user.id)
    page = visit.page(
        "identity.html.j2",
        place="account",
        title=visit.texts("account.identity-title", name=asking.name_of(visit.site)),
        lead=visit.texts("account.identity-lead"),
        address=address,
        name=asking.name_of(visit.site),
    )
    return _marked(visit, page, mark)


def come_back(visit: Visit) -> Response:
    """Take whoever comes back from the provider."""
    answer = _come_back(visit)
    answer.delete_cookie(cookie_name(visit.request) + COOKIE, path="/")
    return answer


def _come_back(visit: Visit) -> Response:
    mark = visit.request.cookies.get(cookie_name(visit.request) + COOKIE, "")
    code = visit.asked("code")
    try:
        begun = taken(visit.workspace, visit.asked("state"), mark)
        if visit.asked("error") or not 0 < len(code) <= CODE_CHARACTERS_MAX:
            return sign_in_page(visit, problem="sign-in.openid-denied", status=401)
        known = _known(visit, begun, code)
    except NotAuthenticated:
        return sign_in_page(visit, problem="sign-in.openid-late", status=401)
    except (DeliveryError, InputError, RefusedDestination, StateError) as error:
        return _failed(visit, error)
    if begun.user_id is None:
        try:
            return entered(visit, lambda: _signed_in(visit, known), "sign-in.openid-unknown", begun.next)
        except (NotFound, StateError) as error:
            return _failed(visit, error)
    session = visit.visitor.session if visit.is_known else None
    if not isinstance(session, Session) or session.user.id != begun.user_id:
        return sign_in_page(visit, problem="sign-in.openid-late", status=401)
    link(visit.workspace, session, known)
    return visit.redirect("/account", done="saved")


def _known(visit: Visit, begun: UnderWay, code: str) -> Known:
    """Whom the provider means. Raises: as ``console.openid``; SchemaError: the answer is another provider's."""
    provider = asking.provider_of(visit.site)
    said = visit.asked("iss")
    # A provider that names itself in its answers does so in all of them (RFC 9207).
    is_silent = not said and provider.authorization_response_iss_parameter_supported
    if begun.issuer != provider.issuer or is_silent or (said and said != provider.issuer):
        raise InputError("the answer is one of another identity provider")
    person = asking.person_of_code(visit.site, provider, begun, code)
    return Known(begun.issuer, person.subject, person.title, person.name)


def _signed_in(visit: Visit, known: Known) -> Opened | CodeNeeded:
    settings = visit.site.settings
    newcomers = None
    if settings.openid_organisation:
        named = settings.openid_organisation
        place = EVERYONE if named == EVERYWHERE else organisation_named(visit.workspace, Scope.of_operator(), named).id
        newcomers = Membership(place, settings.openid_role)
    return sign_in_as(visit.workspace, known, newcomers=newcomers, **client_of(visit))


def _failed(visit: Visit, error: MingjianError) -> Response:
    """It is not for whoever signs in to mend, and what a provider said is not for everybody to read."""
    _log.warning("signing in by the identity provider failed", extra=with_fields(error=str(error)))
    return sign_in_page(visit, problem="sign-in.openid-failed", status=502)


def drop(visit: Visit) -> Response:
    """Let an identity count no longer."""
    unlink(visit.workspace, session_of_visit(visit), visit.given("key"))
    return visit.redirect("/account", done="saved")


ROUTES: Final = (
    Route("GET", "/sign-in/openid", go, "nobody"),
    Route("GET", "/" + BACK, come_back, "nobody"),
    Route("POST", "/account/identities", go_to_link, "anybody"),
    Route("POST", "/account/identities/remove", drop, "anybody"),
)

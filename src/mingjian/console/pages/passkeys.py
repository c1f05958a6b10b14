"""Passkeys: making, naming and removing one's own, and signing in by one."""

from __future__ import annotations

import json
from typing import Final

from starlette.responses import JSONResponse, Response

from mingjian.console.pages.account import session_of_visit
from mingjian.console.pages.signing import client_of, entered, passkey_site, sign_in_page
from mingjian.console.routes import Route
from mingjian.console.site import Visit
from mingjian.errors import NotFound
from mingjian.store.passkeys import (
    Asked,
    Site,
    add_passkey,
    begin_passkey,
    begin_sign_in,
    remove_passkey,
    rename_passkey,
    sign_in_by_passkey,
)


def _site(visit: Visit) -> Site:
    site = passkey_site(visit)
    if site is None:
        raise NotFound("there are no passkeys at an address without a name", hint="open the console by its name")
    return site


def _asking(asked: Asked) -> Response:
    return JSONResponse({"ticket": asked.ticket.reveal(), "options": json.loads(asked.options)})


def begin(visit: Visit) -> Response:
    """Begin to make a passkey."""
    return _asking(begin_passkey(visit.workspace, session_of_visit(visit), _site(visit)))


def add(visit: Visit) -> Response:
    """Keep a passkey that was made."""
    session, site = session_of_visit(visit), _site(visit)
    add_passkey(visit.workspace, session, visit.given("ticket"), visit.given("name"), visit.given("answer"), site)
    return visit.redirect("/account", done="saved")


def rename(visit: Visit) -> Response:
    """Call a passkey something else."""
    rename_passkey(visit.workspace, session_of_visit(visit), visit.given("key"), visit.given("name"))
    return visit.redirect("/account", done="saved")


def remove(visit: Visit) -> Response:
    """Let a passkey count no longer."""
    remove_passkey(visit.workspace, session_of_visit(visit), visit.given("key"))
    return visit.redirect("/account", done="saved")


def begin_entering(visit: Visit) -> Response:
    """Begin to sign in by a passkey."""
    return _asking(begin_sign_in(visit.workspace, _site(visit)))


def enter(visit: Visit) -> Response:
    """Sign in by a passkey."""
    ticket, answer, site = visit.given("ticket"), visit.given("answer"), passkey_site(visit)
    if site is None:
        return sign_in_page(visit, problem="sign-in.wrong-passkey", status=401)
    return entered(
        visit,
        lambda: sign_in_by_passkey(visit.workspace, ticket, answer, site, **client_of(visit)),
        "sign-in.wrong-passkey",
    )


ROUTES: Final = (
    Route("POST", "/account/passkeys/begin", begin, "anybody"),
    Route("POST", "/account/passkeys", add, "anybody"),
    Route("POST", "/account/passkeys/name", rename, "anybody"),
    Route("POST", "/account/passkeys/remove", remove, "anybody"),
    Route("POST", "/sign-in/passkey/begin", begin_entering, "nobody"),
    Route("POST", "/sign-in/passkey", enter, "nobody"),
)

"""Administration of accounts: who may sign in, and what they may do where."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from mingjian.console.lists import Asked, Column, Filter, ListPage, Row, Rows, among
from mingjian.console.routes import Route, list_route
from mingjian.console.shapes import number
from mingjian.console.site import Visit
from mingjian.errors import NotFound
from mingjian.store.accounts import (
    User,
    make_link,
    make_user,
    remove_second_factor,
    role_named,
    set_role,
    set_state,
    user_by_public_id,
    users,
)
from mingjian.store.scope import EVERYONE, RIGHTS, Everyone, Membership, OrganisationId
from mingjian.telemetry import Secret

ALL: Final = "*"
"""In a form: every organisation."""


def _fetch(visit: Visit, asked: Asked) -> Rows:
    rows = [
        Row(
            key=user.public_id,
            href=visit.address(f"/admin/users/{user.public_id}"),
            values={
                "user": user.name,
                "called": user.title,
                "account": user.state,
                "roles": "; ".join(f"{place}: {role}" for place, role in roles_of(visit, user)),
                "factor": visit.texts("word.yes") if user.has_totp or user.passkeys else "",
                "signed-in": user.signed_in_us,
                "created": user.created_us,
            },
        )
        for user in users(visit.workspace, visit.scope)
    ]
    return among(rows, asked, texts=("user", "called", "roles"))


def roles_of(visit: Visit, user: User) -> list[tuple[str, str]]:
    """The roles of a user in words: where, and what."""
    names = visit.names()
    everywhere = visit.texts("frame.all-organisations")
    return [
        (
            everywhere if each.organisation is EVERYONE else names.get(each.organisation, "?"),
            visit.texts(f"role.{each.role}"),
        )
        for each in user.memberships
    ]


PAGE: Final = ListPage(
    name="users",
    path="/admin/users",
    place="admin",
    columns=(
        Column(name="user", kind="link", sorts=True),
        Column(name="called", sorts=True),
        Column(name="account", kind="state", sorts=True),
        Column(name="roles"),
        Column(name="factor"),
        Column(name="signed-in", kind="time", sorts=True),
        Column(name="created", kind="time", sorts=True, hidden=True),
    ),
    filters=(Filter(name="q"), Filter(name="account", kind="choice", choices=("active", "disabled"))),
    sort="user",
    fetch=_fetch,
    lead=lambda visit, rows: visit.texts("users.lead", n=number(len(rows.rows))),
    above="users_above.html.j2",
    context=lambda visit: {"tab": "users", "roles": tuple(RIGHTS), "places": places_of(visit)},
)


def places_of(visit: Visit) -> list[tuple[str, str]]:
    """Where whoever asks may give roles: the value of a form, and its name."""
    found = [(each.public_id, each.name) for each in visit.organisations() if visit.scope.may_administer(each.id)]
    everywhere = [(ALL, visit.texts("frame.all-organisations"))] if visit.scope.may_administer(None) else []
    return everywhere + found


def _place(visit: Visit) -> OrganisationId | Everyone:
    chosen = visit.given("place")
    if chosen == ALL:
        return EVERYONE
    for each in visit.organisations():
        if each.public_id == chosen:
            return each.id
    raise NotFound("there is no such organisation")


def person(visit: Visit, *, link: Secret | None = None) -> Response:
    """Show one account."""
    user = user_by_public_id(visit.workspace, visit.scope, visit.request.path_params["user"])
    return visit.page(
        "person.html.j2",
        place="admin",
        tab="users",
        title=user.title,
        lead=user.name,
        user=user,
        held=roles_of(visit, user),
        roles=tuple(RIGHTS),
        places=places_of(visit),
        link="" if link is None else f"{visit.request.base_url}sign-in/link?t={link.reveal()}",
    )


def add_person(visit: Visit) -> Response:
    """Make an account, and show its one-time sign-in link."""
    held = Membership(_place(visit), role_named(visit.given("role")))
    made = make_user(
        visit.workspace,
        visit.scope,
        visit.given("name"),
        title=visit.given("title"),
        language="zh" if visit.given("language") == "zh" else "en",
        memberships=[held],
    )
    visit.request.path_params["user"] = made.public_id
    return person(visit, link=make_link(visit.workspace, visit.scope, made.public_id))


def new_link(visit: Visit) -> Response:
    """Make a one-time sign-in link, and show it."""
    return person(visit, link=make_link(visit.workspace, visit.scope, visit.request.path_params["user"]))


def change_role(visit: Visit) -> Response:
    """Give a role, or take it away."""
    chosen = visit.given("role")
    role = None if chosen == "none" else role_named(chosen)
    set_role(visit.workspace, visit.scope, visit.request.path_params["user"], _place(visit), role)
    return _back(visit)


def change_state(visit: Visit) -> Response:
    """Disable an account, or let it in again."""
    state = "disabled" if visit.given("state") == "disabled" else "active"
    set_state(visit.workspace, visit.scope, visit.request.path_params["user"], state)
    return _back(visit)


def drop_factors(visit: Visit) -> Response:
    """Take lost one-time codes away."""
    remove_second_factor(visit.workspace, visit.scope, visit.request.path_params["user"])
    return _back(visit)


def _back(visit: Visit) -> Response:
    try:
        user_by_public_id(visit.workspace, visit.scope, visit.request.path_params["user"])
    except NotFound:
        # With the last role in our organisations, the account is out of sight.
        return visit.redirect("/admin/users", done="saved")
    return visit.redirect(f"/admin/users/{visit.request.path_params['user']}", done="saved")


ROUTES: Final = (
    list_route(PAGE, "administer"),
    Route("POST", "/admin/users", add_person, "administer"),
    Route("GET", "/admin/users/{user}", person, "administer"),
    Route("POST", "/admin/users/{user}/link", new_link, "administer"),
    Route("POST", "/admin/users/{user}/role", change_role, "administer"),
    Route("POST", "/admin/users/{user}/state", change_state, "administer"),
    Route("POST", "/admin/users/{user}/factors", drop_factors, "administer"),
)

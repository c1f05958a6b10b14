"""Users, and their roles in organisations: who may do what, and who may say so.

Whoever administers an organisation manages the accounts whose every role is in organisations that they administer. An
account that reaches further is out of their hands: nobody acts on somebody who may do more. A user of an organisation
outside the scope is *not found*.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec
import sqlalchemy as sa

from mingjian.errors import NotFound, NotPermitted, SchemaError, StateError, shown
from mingjian.settings import Language
from mingjian.store import seals
from mingjian.store import tables as t
from mingjian.store.audit import act
from mingjian.store.scope import EVERYONE, RIGHTS, Everyone, Membership, OrganisationId, Role, Scope
from mingjian.store.tickets import drop_tickets, make_ticket
from mingjian.store.workspace import Workspace, new_id
from mingjian.telemetry import Secret

TITLE_CHARACTERS_MAX: Final = 200
USERS_MAX: Final = 100_000
LINK_LIFETIME_S: Final = 86_400
LINK_LIFETIME_S_MAX: Final = 7 * 86_400
FIRST_NAME: Final = "admin"
"""The name of the account that the first start makes. It has no password: it is entered by a one-time link."""
LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")

_NAME: Final = re.compile(r"[^\W_](?:[\w.@+-]{0,62}[^\W_])?")
"""Letters and digits of any script, inside also ``. _ - + @``: a name can be an address. At most 64 characters."""

UserState: TypeAlias = Literal["active", "disabled"]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in."""

    id: int
    public_id: str
    name: str
    """With which to sign in."""
    title: str
    """What people call them; the name, if nothing was said."""
    language: Language
    state: UserState
    memberships: tuple[Membership, ...]
    has_password: bool
    has_totp: bool
    passkeys: int
    """How many there are."""
    created_us: int
    signed_in_us: int | None


def scope_of(user: User, *, via: str = "") -> Scope:
    """What a user may see and do: nothing if the account is disabled."""
    held = user.memberships if user.state == "active" else ()
    return Scope.of_roles(user.name, held, user_id=user.id, via=via)


# --- looking up ----------------------------------------------------------------------------------------------------


def users(workspace: Workspace, scope: Scope) -> list[User]:
    """The users of the organisations that a scope administers, by name; of their roles, those that concern it."""
    with workspace.read() as connection:
        found = read_users(connection)
    return [_as_seen(scope, user) for user in found if _may_see(scope, user)]


def user_by_public_id(workspace: Workspace, scope: Scope, public_id: str) -> User:
    """One user. Raises: NotFound."""
    return _one(workspace, scope, t.users.c.public_id == t.storable(public_id))


def user_named(workspace: Workspace, scope: Scope, name: str) -> User:
    """One user, by name. Raises: NotFound."""
    return _one(workspace, scope, t.users.c.name_key == t.storable(key_of_name(name)))


def key_of_name(name: str) -> str:
    """The form in which names are compared.

    >>> key_of_name(" Ｒoot ") == key_of_name("root")
    True
    """
    return unicodedata.normalize("NFKC", name.strip()).casefold()


def read_users(connection: sa.Connection, condition: sa.ColumnElement[bool] | None = None) -> list[User]:
    """Users with all their roles, by name, within a transaction. For the store's own use."""
    keys = sa.select(sa.func.count()).where(t.passkeys.c.user_id == t.users.c.id).scalar_subquery()
    query = sa.select(t.users, keys.label("passkeys")).order_by(t.users.c.name_key)
    roles = sa.select(t.memberships).order_by(t.memberships.c.id)
    if condition is not None:
        query = query.where(condition)
        roles = roles.where(t.memberships.c.user_id.in_(sa.select(t.users.c.id).where(condition)))
    held: dict[int, list[Membership]] = defaultdict(list)
    for row in seals.verified(t.memberships, connection.execute(roles)):
        place = EVERYONE if row.organisation_id is None else OrganisationId(row.organisation_id)
        held[row.user_id].append(Membership(place, role_named(row.role)))
    return [_user(row, held[row.id]) for row in seals.verified(t.users, connection.execute(query))]


def role_named(text: str) -> Role:
    """A role by its name. Raises: SchemaError."""
    for role in RIGHTS:
        if text == role:
            return role
    raise SchemaError(f"{shown(text)} is no role", hint=", ".join(RIGHTS))


def _user(row: sa.Row[Any], memberships: Sequence[Membership]) -> User:
    return User(
        id=row.id,
        public_id=row.public_id,
        name=row.name,
        title=row.title or row.name,
        language=row.language,
        state=row.state,
        memberships=tuple(memberships),
        has_password=row.password is not None,
        has_totp=row.totp is not None,
        passkeys=row.passkeys,
        created_us=row.created_us,
        signed_in_us=row.signed_in_us,
    )


def _one(workspace: Workspace, scope: Scope, condition: sa.ColumnElement[bool]) -> User:
    with workspace.read() as connection:
        found = read_users(connection, condition)
    return _as_seen(scope, _seen(scope, found))


def _seen(scope: Scope, found: Sequence[User]) -> User:
    if not found or not (_may_see(scope, found[0]) or found[0].id == scope.user_id):
        raise NotFound("there is no such user")
    return found[0]


def _may_see(scope: Scope, user: User) -> bool:
    return scope.administers is EVERYONE or any(_administers(scope, each.organisation) for each in user.memberships)


def _administers(scope: Scope, place: OrganisationId | Everyone) -> bool:
    return scope.may_administer(None if place is EVERYONE else place)


def _as_seen(scope: Scope, user: User) -> User:
    if user.id == scope.user_id:
        return user
    kept = tuple(each for each in user.memberships if _administers(scope, each.organisation))
    return msgspec.structs.replace(user, memberships=kept)


# --- changing ------------------------------------------------------------------------------------------------------


def make_user(
    workspace: Workspace,
    scope: Scope,
    name: str,
    *,
    title: str = "",
    language: Language = "en",
    memberships: Sequence[Membership],
) -> User:
    """Make an account. It has no password: a sign-in link (``make_link``) opens it.

    Raises:
        NotFound, NotPermitted: the scope does not administer each of the organisations.
        SchemaError: a name that cannot be one; no role, which only whoever administers everything may give.
        StateError: the name is not free, or there are ``USERS_MAX`` users.
    """
    if not memberships and scope.administers is not EVERYONE:
        raise SchemaError("a new user needs a role in an organisation")
    for each in memberships:
        check_administers(scope, each.organisation)
    with workspace.begin() as connection:
        user = add_user(workspace, connection, name, title=title, language=language, memberships=memberships)
        after = {"name": user.name, "title": user.title, "roles": described(user.memberships)}
        act(workspace, connection, scope, "user.made", about=user.public_id, organisation=_home(user), after=after)
    return user


def add_user(
    workspace: Workspace,
    connection: sa.Connection,
    name: str,
    *,
    title: str,
    language: Language,
    memberships: Sequence[Membership],
) -> User:
    """Make an account within a transaction, for whoever has checked that it may be. Raises: SchemaError, StateError."""
    if language not in LANGUAGES:
        raise SchemaError(f"{shown(language)} is no language here", hint=", ".join(LANGUAGES))
    values = {
        "public_id": new_id(),
        "name": _checked_name(name),
        "name_key": key_of_name(name),
        "title": checked_title(title),
        "language": language,
        "state": "active",
        "created_us": workspace.clock_us(),
    }
    taken = sa.select(t.users.c.id).where(t.users.c.name_key == values["name_key"])
    if connection.execute(taken).first() is not None:
        raise StateError(f"the name {shown(name.strip())} is not free", hint="take another one")
    if connection.execute(sa.select(sa.func.count()).select_from(t.users)).scalar_one() >= USERS_MAX:
        raise StateError(f"there are {USERS_MAX:,} users already")
    number = connection.execute(sa.insert(t.users).values(values).returning(t.users.c.id)).scalar_one()
    for each in memberships:
        _write_role(connection, number, each.organisation, each.role)
    return read_users(connection, t.users.c.id == number)[0]


def set_role(
    workspace: Workspace, scope: Scope, public_id: str, organisation: OrganisationId | Everyone, role: Role | None
) -> User:
    """Give a user a role in an organisation, or in all of them, instead of the one there; None takes it away.

    It counts from the next request on.

    Raises:
        NotFound: there is no such user, or the scope does not see the organisation.
        NotPermitted: the scope does not administer it; or it is one's own role.
    """
    check_administers(scope, organisation)
    with workspace.begin() as connection:
        user = _seen(scope, read_users(connection, t.users.c.public_id == t.storable(public_id)))
        if user.id == scope.user_id:
            raise NotPermitted("nobody changes their own role", hint="somebody else who administers has to do it")
        _write_role(connection, user.id, organisation, role)
        changed = read_users(connection, t.users.c.id == user.id)[0]
        act(
            workspace,
            connection,
            scope,
            "user.role",
            about=user.public_id,
            organisation=None if organisation is EVERYONE else organisation,
            before={"name": user.name, "roles": described(user.memberships)},
            after={"roles": described(changed.memberships)},
        )
    return _as_seen(scope, changed)


def set_state(workspace: Workspace, scope: Scope, public_id: str, state: UserState) -> User:
    """Disable an account, or let it in again. Disabling ends its sessions at once; its tokens stop working.

    Raises:
        NotFound: there is no such user.
        NotPermitted: the account reaches beyond the scope, or it is one's own.
    """
    with workspace.begin() as connection:
        user = manageable(connection, scope, public_id)
        if user.id == scope.user_id:
            raise NotPermitted("nobody disables their own account")
        connection.execute(sa.update(t.users).where(t.users.c.id == user.id).values(state=state))
        if state == "disabled":
            connection.execute(sa.delete(t.sessions).where(t.sessions.c.user_id == user.id))
            connection.execute(sa.delete(t.tickets).where(t.tickets.c.user_id == user.id))
        act(
            workspace,
            connection,
            scope,
            f"user.{'disabled' if state == 'disabled' else 'enabled'}",
            about=user.public_id,
            organisation=_home(user),
            before={"name": user.name, "state": user.state},
            after={"state": state},
        )
    return _as_seen(scope, msgspec.structs.replace(user, state=state))


def set_profile(workspace: Workspace, scope: Scope, *, title: str, language: Language) -> None:
    """Change how one's own account is called, and the language of its pages. Raises: NotFound, SchemaError."""
    if language not in LANGUAGES:
        raise SchemaError(f"{shown(language)} is no language here", hint=", ".join(LANGUAGES))
    values = {"title": checked_title(title), "language": language}
    with workspace.begin() as connection:
        user = _seen(scope, read_users(connection, t.users.c.id == (scope.user_id or 0)))
        connection.execute(sa.update(t.users).where(t.users.c.id == user.id).values(values))
        before = {"title": user.title, "language": user.language}
        act(workspace, connection, scope, "user.profile", about=user.public_id, before=before, after=values)


def make_link(workspace: Workspace, scope: Scope, public_id: str, *, lifetime_s: int = LINK_LIFETIME_S) -> Secret:
    """Make a one-time sign-in link for a user, for the first time or in place of a forgotten password.

    Earlier links of the user become worthless.

    Raises:
        NotFound: there is no such user.
        NotPermitted: the account reaches beyond the scope.
        StateError: the account is disabled.
        SchemaError: a lifetime of more than seven days.
    """
    if not 0 < lifetime_s <= LINK_LIFETIME_S_MAX:
        raise SchemaError(f"a link lives for 1 to {LINK_LIFETIME_S_MAX:,} s")
    with workspace.begin() as connection:
        user = manageable(connection, scope, public_id)
        if user.state != "active":
            raise StateError("the account is disabled", hint="enable it first")
        drop_tickets(connection, user.id, "link")
        token = make_ticket(workspace, connection, "link", lifetime_s=lifetime_s, user_id=user.id)
        after = {"name": user.name, "lifetime_s": lifetime_s}
        act(workspace, connection, scope, "user.link", about=user.public_id, organisation=_home(user), after=after)
    return token


def first_run_link(workspace: Workspace) -> Secret | None:
    """A sign-in link for whoever starts the program, as long as nobody who administers everything has signed in."""
    operator = Scope.of_operator()
    there = users(workspace, operator)
    masters = [
        user for user in there if Membership(EVERYONE, "administrator") in user.memberships and user.state == "active"
    ]
    if any(user.signed_in_us is not None for user in masters):
        return None
    if not masters:
        taken = {key_of_name(user.name) for user in there}
        name = next(n for i in range(len(taken) + 1) if (n := FIRST_NAME + (str(i + 1) if i else "")) not in taken)
        masters = [make_user(workspace, operator, name, memberships=[Membership(EVERYONE, "administrator")])]
    return make_link(workspace, operator, masters[0].public_id)


def remove_second_factor(workspace: Workspace, scope: Scope, public_id: str) -> None:
    """Take the one-time codes and the passkeys of a user away who has lost them, and end the user's sessions.

    Raises:
        NotFound: there is no such user.
        NotPermitted: the account reaches beyond the scope.
    """
    with workspace.begin() as connection:
        user = manageable(connection, scope, public_id)
        connection.execute(sa.update(t.users).where(t.users.c.id == user.id).values(totp=None))
        connection.execute(sa.delete(t.passkeys).where(t.passkeys.c.user_id == user.id))
        connection.execute(sa.delete(t.sessions).where(t.sessions.c.user_id == user.id))
        before = {"name": user.name, "codes": user.has_totp, "passkeys": user.passkeys}
        act(workspace, connection, scope, "user.factors", about=user.public_id, organisation=_home(user), before=before)


# --- who may manage whom -------------------------------------------------------------------------------------------


def check_administers(scope: Scope, place: OrganisationId | Everyone) -> None:
    """Go on only if roles in an organisation, or in all, are the scope's to give. Raises: NotFound, NotPermitted."""
    scope.check_administer(None if place is EVERYONE else place)


def manageable(connection: sa.Connection, scope: Scope, public_id: str) -> User:
    """A user whose account is in the hands of a scope, within a transaction.

    Raises:
        NotFound: there is no such user.
        NotPermitted: the account has a role where the scope does not administer.
    """
    user = _seen(scope, read_users(connection, t.users.c.public_id == t.storable(public_id)))
    if scope.administers is not EVERYONE and not (
        user.memberships and all(_administers(scope, each.organisation) for each in user.memberships)
    ):
        raise NotPermitted(f"the account {shown(user.name)} reaches further than {scope.actor} administers")
    return user


def described(memberships: Iterable[Membership]) -> dict[str, str]:
    """Roles as the audit log has them: organisation (its number, or ``*``) → role."""
    return {"*" if each.organisation is EVERYONE else str(each.organisation): each.role for each in memberships}


def _home(user: User) -> OrganisationId | None:
    """The organisation that an act on a user belongs to, if it is one."""
    places = {each.organisation for each in user.memberships}
    return None if len(places) != 1 or EVERYONE in places else cast("OrganisationId", next(iter(places)))


def _write_role(
    connection: sa.Connection, user_id: int, organisation: OrganisationId | Everyone, role: Role | None
) -> None:
    table = t.memberships
    key = f"{user_id} {'*' if organisation is EVERYONE else organisation}"
    connection.execute(sa.delete(table).where(table.c.member_key == key))
    if role is not None:
        values = {
            "user_id": user_id,
            "organisation_id": None if organisation is EVERYONE else organisation,
            "member_key": key,
            "role": role_named(role),
        }
        connection.execute(sa.insert(table).values(values))


def _checked_name(name: str) -> str:
    normal = unicodedata.normalize("NFKC", name.strip())
    if not _NAME.fullmatch(normal):
        hint = "1 to 64 letters and digits, inside also . _ - + @"
        raise SchemaError(f"{shown(name)} cannot be the name of a user", hint=hint)
    return normal


def checked_title(title: str) -> str:
    """What people call a user, if it can be that. Raises: SchemaError."""
    text = title.strip()
    if len(text) > TITLE_CHARACTERS_MAX or not text.isprintable():
        raise SchemaError(
            f"{shown(title)} cannot be what somebody is called", hint=f"{TITLE_CHARACTERS_MAX} characters"
        )
    return text

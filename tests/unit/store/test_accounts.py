"""Accounts and roles, on both databases: nobody acts on somebody who may do more."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import product

import pytest

from mingjian.errors import AccessError, NotFound, NotPermitted, SchemaError, StateError, StorageError
from mingjian.store import accounts, audit, sessions
from mingjian.store.accounts import User
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.scope import EVERYONE, RIGHTS, Membership, OrganisationId, Role, Scope
from mingjian.store.workspace import Workspace

OPERATOR = Scope.of_operator()


def user(workspace: Workspace, name: str, *memberships: Membership) -> User:
    return accounts.make_user(workspace, OPERATOR, name, memberships=memberships)


def signed_in(workspace: Workspace, someone: User) -> sessions.Session:
    link = accounts.make_link(workspace, OPERATOR, someone.public_id)
    opened = sessions.use_link(workspace, link.reveal(), address="192.0.2.1", agent="test")
    assert isinstance(opened, sessions.Opened)
    return opened.session


@pytest.fixture
def other(workspace: Workspace) -> Organisation:
    return organisation_named(workspace, OPERATOR, "Another", make=True)


def test_a_new_user_has_the_roles_and_nothing_else(workspace: Workspace, organisation: Organisation) -> None:
    made = user(workspace, " Ann.Li@example.org ", Membership(organisation.id, "analyst"))
    assert (made.name, made.title, made.state, made.has_password) == ("Ann.Li@example.org",) * 2 + ("active", False)
    assert accounts.user_named(workspace, OPERATOR, "ANN.LI@EXAMPLE.ORG") == made
    scope = accounts.scope_of(made)
    assert (scope.may_write(organisation.id), scope.may_administer(organisation.id)) == (True, False)
    assert scope.readable() == (organisation.id,)


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", "a-", "a\nb", "\u202eann", "a" * 65, "<b>", "a/b", "."])
def test_what_cannot_be_a_name_is_refused(workspace: Workspace, name: str) -> None:
    with pytest.raises(SchemaError):
        user(workspace, name)


@pytest.mark.parametrize("name", ["王明", "a", "müller", "x" * 64, "o.brien+soc@example.org"])
def test_names_may_be_of_any_script(workspace: Workspace, name: str) -> None:
    assert user(workspace, name).name == name


def test_two_users_cannot_differ_in_case_or_width_alone(workspace: Workspace) -> None:
    user(workspace, "ann")
    for name in ("ANN", "ａｎｎ"):
        with pytest.raises(StateError, match="not free"):
            user(workspace, name)


@pytest.mark.parametrize("title", ["x" * 201, "a\nb", "\u202eevil"])
def test_what_nobody_is_called_is_refused(workspace: Workspace, title: str) -> None:
    with pytest.raises(SchemaError):
        accounts.make_user(workspace, OPERATOR, "ann", title=title, memberships=[])


def test_a_role_counts_at_once(workspace: Workspace, organisation: Organisation, other: Organisation) -> None:
    made = user(workspace, "ann", Membership(organisation.id, "reader"))
    accounts.set_role(workspace, OPERATOR, made.public_id, other.id, "analyst")
    accounts.set_role(workspace, OPERATOR, made.public_id, other.id, "auditor")
    changed = accounts.set_role(workspace, OPERATOR, made.public_id, organisation.id, None)
    assert changed.memberships == (Membership(other.id, "auditor"),)
    with pytest.raises(SchemaError):
        accounts.role_named("master")


def test_disabling_ends_everything(workspace: Workspace, organisation: Organisation) -> None:
    made = user(workspace, "ann", Membership(organisation.id, "reader"))
    link = accounts.make_link(workspace, OPERATOR, made.public_id)
    session = signed_in(workspace, made)
    link = accounts.make_link(workspace, OPERATOR, made.public_id)
    assert accounts.set_state(workspace, OPERATOR, made.public_id, "disabled").state == "disabled"
    assert sessions.sessions_of(workspace, session) == []
    with pytest.raises(AccessError):
        sessions.use_link(workspace, link.reveal(), address="192.0.2.1", agent="")
    with pytest.raises(StateError):
        accounts.make_link(workspace, OPERATOR, made.public_id)
    disabled = accounts.user_named(workspace, OPERATOR, "ann")
    assert accounts.scope_of(disabled).readable() == ()
    assert accounts.set_state(workspace, OPERATOR, made.public_id, "active").state == "active"


def test_the_first_run_makes_one_account_until_somebody_is_in(workspace: Workspace) -> None:
    first = accounts.first_run_link(workspace)
    second = accounts.first_run_link(workspace)
    assert first is not None and second is not None
    with pytest.raises(AccessError):
        sessions.use_link(workspace, first.reveal(), address="192.0.2.1", agent="")
    opened = sessions.use_link(workspace, second.reveal(), address="192.0.2.1", agent="")
    assert isinstance(opened, sessions.Opened)
    assert opened.session.scope.may_administer(None)
    assert accounts.first_run_link(workspace) is None
    assert [each.name for each in accounts.users(workspace, OPERATOR)] == ["admin"]


def test_a_name_that_is_taken_does_not_hinder_the_first_run(workspace: Workspace) -> None:
    user(workspace, "Admin")
    assert accounts.first_run_link(workspace) is not None
    assert {each.name for each in accounts.users(workspace, OPERATOR)} == {"Admin", "admin2"}


def test_ones_own_profile_is_ones_own(workspace: Workspace) -> None:
    session = signed_in(workspace, user(workspace, "ann"))
    accounts.set_profile(workspace, session.scope, title="Ann Li", language="zh")
    changed = accounts.user_by_public_id(workspace, session.scope, session.user.public_id)
    assert (changed.title, changed.language) == ("Ann Li", "zh")
    with pytest.raises(NotFound):
        accounts.set_profile(workspace, OPERATOR, title="x", language="en")
    with pytest.raises(SchemaError):
        accounts.set_profile(workspace, session.scope, title="x", language="fr")  # type: ignore[arg-type] # from a form


# --- nobody acts on somebody who may do more -----------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Workspace, Scope, User, OrganisationId], object]] = {
    "role": lambda ws, scope, on, place: accounts.set_role(ws, scope, on.public_id, place, "analyst"),
    "role everywhere": lambda ws, scope, on, _: accounts.set_role(ws, scope, on.public_id, EVERYONE, "reader"),
    "state": lambda ws, scope, on, _: accounts.set_state(ws, scope, on.public_id, "disabled"),
    "link": lambda ws, scope, on, _: accounts.make_link(ws, scope, on.public_id),
    "factors": lambda ws, scope, on, _: accounts.remove_second_factor(ws, scope, on.public_id),
    "make": lambda ws, scope, on, place: accounts.make_user(
        ws, scope, f"new-{on.id}", memberships=[Membership(place, "administrator")]
    ),
    "make master": lambda ws, scope, on, _: accounts.make_user(
        ws, scope, f"new-{on.id}", memberships=[Membership(EVERYONE, "reader")]
    ),
}
ROLES: tuple[Role, ...] = tuple(RIGHTS)


def allowed(operation: str, actor: Membership, target: Membership, place: OrganisationId) -> bool:
    """The rule in other words: an administrator, of the place, and of every place where the other one has a role."""
    if actor.role != "administrator":
        return False
    if actor.organisation is EVERYONE:
        return True
    if operation in ("role everywhere", "make master"):
        return False
    if operation == "make":
        return actor.organisation == place
    reaches = target.organisation == actor.organisation
    return reaches and (operation != "role" or actor.organisation == place)


def test_every_operation_by_every_role_on_every_role(
    workspace: Workspace, organisation: Organisation, other: Organisation
) -> None:
    places = (organisation.id, other.id, EVERYONE)
    wrong: list[str] = []
    cases = 0
    for number, (actor, target) in enumerate(
        product((Membership(p, r) for p in places for r in ROLES), (Membership(p, r) for p in places for r in ROLES))
    ):
        scope = accounts.scope_of(user(workspace, f"actor-{number}", actor))
        for operation, run in OPERATIONS.items():
            on = user(workspace, f"target-{number}-{operation.replace(' ', '-')}", target)
            cases += 1
            try:
                run(workspace, scope, on, organisation.id)
                done = True
            except AccessError:
                done = False
            if done != allowed(operation, actor, target, organisation.id):
                wrong.append(f"{actor} {operation} on {target}: {done}")
    assert cases == 12 * 12 * len(OPERATIONS)
    assert wrong == []


def test_whoever_has_a_role_elsewhere_is_seen_without_it_and_is_out_of_reach(
    workspace: Workspace, organisation: Organisation, other: Organisation
) -> None:
    both = user(workspace, "both", Membership(organisation.id, "reader"), Membership(other.id, "analyst"))
    stranger = user(workspace, "stranger", Membership(other.id, "reader"))
    chief = accounts.scope_of(user(workspace, "chief", Membership(organisation.id, "administrator")))
    seen = {each.name: each.memberships for each in accounts.users(workspace, chief)}
    assert seen == {
        "both": (Membership(organisation.id, "reader"),),
        "chief": (Membership(organisation.id, "administrator"),),
    }
    for operation in ("state", "link", "factors"):
        with pytest.raises(NotPermitted, match="further"):
            OPERATIONS[operation](workspace, chief, both, organisation.id)
        with pytest.raises(NotFound):
            OPERATIONS[operation](workspace, chief, stranger, organisation.id)
    accounts.set_role(workspace, chief, both.public_id, organisation.id, None)
    left = accounts.user_by_public_id(workspace, OPERATOR, both.public_id)
    assert left.memberships == (Membership(other.id, "analyst"),)


def test_nobody_changes_their_own_role_or_disables_themselves(workspace: Workspace) -> None:
    master = user(workspace, "master", Membership(EVERYONE, "administrator"))
    scope = accounts.scope_of(master)
    with pytest.raises(NotPermitted):
        accounts.set_role(workspace, scope, master.public_id, EVERYONE, None)
    with pytest.raises(NotPermitted):
        accounts.set_state(workspace, scope, master.public_id, "disabled")


def test_only_whoever_administers_everything_makes_users_without_a_role(
    workspace: Workspace, organisation: Organisation
) -> None:
    chief = accounts.scope_of(user(workspace, "chief", Membership(organisation.id, "administrator")))
    with pytest.raises(SchemaError):
        accounts.make_user(workspace, chief, "new", memberships=[])


def test_every_change_is_in_the_audit_log(workspace: Workspace, organisation: Organisation) -> None:
    start = len(audit.acts(workspace, OPERATOR))
    made = user(workspace, "ann", Membership(organisation.id, "reader"))
    accounts.set_role(workspace, OPERATOR, made.public_id, organisation.id, "auditor")
    accounts.make_link(workspace, OPERATOR, made.public_id)
    accounts.remove_second_factor(workspace, OPERATOR, made.public_id)
    accounts.set_state(workspace, OPERATOR, made.public_id, "disabled")
    found = audit.acts(workspace, OPERATOR)[: -start or None]
    assert [each.what for each in reversed(found)] == [
        *("user.made", "user.role", "user.link", "user.factors", "user.disabled")
    ]
    assert {each.about for each in found} == {made.public_id}
    assert {each.organisation for each in found} == {organisation.id}


def test_a_role_that_was_changed_in_the_file_of_the_database_is_noticed(workspace: Workspace) -> None:
    if workspace.dialect != "sqlite":
        pytest.skip("PostgreSQL has checksums of its own")
    user(workspace, "ann", Membership(EVERYONE, "reader"))
    with closing(sqlite3.connect(workspace.folder / "state.db")) as connection, connection:
        connection.execute("UPDATE memberships SET role = 'administrator'")
    with pytest.raises(StorageError):
        accounts.users(workspace, OPERATOR)

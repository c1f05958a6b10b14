"""Identities of users at a provider, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from mingjian.errors import LimitExceeded, NotAuthenticated, NotFound, StateError
from mingjian.store import accounts, audit, identities
from mingjian.store.identities import Known
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.sessions import CodeNeeded, Opened, Session, use_link
from mingjian.store.workspace import Workspace

OPERATOR = Scope.of_operator()
HERE = {"address": "192.0.2.1", "agent": "tests"}
ISSUER = "https://id.example"
READER = Membership(EVERYONE, "reader")


def known(subject: str, name: str = "") -> Known:
    return Known(ISSUER, subject, "Some Body", name)


def session(workspace: Workspace, name: str) -> Session:
    user = accounts.make_user(workspace, OPERATOR, name, memberships=[READER])
    link = accounts.make_link(workspace, OPERATOR, user.public_id)
    opened = use_link(workspace, link.reveal(), **HERE)
    assert isinstance(opened, Opened)
    return opened.session


def came_in(workspace: Workspace, whom: Known, newcomers: Membership | None = None) -> str:
    opened = identities.sign_in_as(workspace, whom, newcomers=newcomers, **HERE)
    assert isinstance(opened, Opened)
    assert opened.session.means == "openid"
    return opened.session.user.name


def test_a_linked_identity_signs_in_until_it_is_unlinked(workspace: Workspace) -> None:
    ann = session(workspace, "ann")
    with pytest.raises(NotAuthenticated):
        came_in(workspace, known("a"))
    identities.link(workspace, ann, known("a"))
    assert came_in(workspace, known("a"), READER) == "ann"
    (linked,) = identities.identities_of(workspace, ann)
    assert (linked.issuer, linked.subject, linked.title) == (ISSUER, "a", "Some Body")
    assert linked.used_us is not None
    with pytest.raises(NotAuthenticated):
        came_in(workspace, Known("https://id.example.org", "a", "", ""))
    with pytest.raises(NotFound):
        identities.unlink(workspace, session(workspace, "bob"), linked.public_id)
    identities.unlink(workspace, ann, linked.public_id)
    with pytest.raises(NotAuthenticated):
        came_in(workspace, known("a"))
    said = [each.what for each in audit.acts(workspace, OPERATOR) if each.what == "user.identity"]
    assert len(said) == 2


def test_an_identity_is_of_one_account_and_an_account_has_some(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = session(workspace, "ann"), session(workspace, "bob")
    identities.link(workspace, ann, known("a"))
    with pytest.raises(StateError):
        identities.link(workspace, bob, known("a"))
    monkeypatch.setattr(identities, "IDENTITIES_PER_USER_MAX", 2)
    identities.link(workspace, ann, known("b"))
    with pytest.raises(LimitExceeded, match="IDENTITIES_PER_USER_MAX"):
        identities.link(workspace, ann, known("c"))


@pytest.mark.parametrize(
    ("name", "made"),
    [("ann", "ann-2"), ("Ａnn", "ann-2"), ("", "s-1"), ("<b>x</b>", "b-x-b"), ("@", "user"), ("李", "李")],
)
def test_a_newcomer_gets_a_name_that_is_free(workspace: Workspace, name: str, made: str) -> None:
    session(workspace, "ann")
    assert accounts.key_of_name(came_in(workspace, known("s 1", name), READER)) == made
    assert accounts.key_of_name(came_in(workspace, known("s 1", "another name"), READER)) == made


def test_of_many_who_come_as_the_same_at_once_there_is_one_account(workspace: Workspace) -> None:
    def come(number: int) -> str:
        try:
            return came_in(workspace, known("same", "same"), READER)
        except StateError:
            return ""

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(come, range(8)))
    assert names <= {"same", ""}
    assert [user.name for user in accounts.users(workspace, OPERATOR)] == ["same"]
    assert came_in(workspace, known("same")) == "same"


def test_what_was_begun_is_ended_once_by_the_browser_that_began(workspace: Workspace) -> None:
    def begun() -> tuple[str, str]:
        state, mark = identities.begin(
            workspace, issuer=ISSUER, nonce="n", verifier="v", back="b", next_address="/x", user_id=None
        )
        return state.reveal(), mark.reveal()

    state, mark = begun()
    found = identities.taken(workspace, state, mark)
    assert (found.issuer, found.nonce, found.verifier, found.back, found.next) == (ISSUER, "n", "v", "b", "/x")
    for wrong in ((state, mark), (begun()[0], mark), (begun()[0], ""), ("", mark), ("x" * 5000, mark)):
        with pytest.raises(NotAuthenticated):
            identities.taken(workspace, *wrong)
    state, mark = begun()
    after = workspace.clock_us() + (identities.UNDER_WAY_S + 1) * 1_000_000
    workspace.clock_us = lambda: after
    with pytest.raises(NotAuthenticated):
        identities.taken(workspace, state, mark)


def test_one_time_codes_are_asked_for_besides(workspace: Workspace) -> None:
    import sqlalchemy as sa

    from mingjian.store import tables as t

    ann = session(workspace, "ann")
    identities.link(workspace, ann, known("a"))
    with workspace.begin() as connection:
        connection.execute(sa.update(t.users).values(totp=b"x"))
    assert isinstance(identities.sign_in_as(workspace, known("a"), newcomers=None, **HERE), CodeNeeded)

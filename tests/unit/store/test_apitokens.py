"""API tokens, on both databases: never more than their user may, and not for longer than they say."""

import pytest

from mingjian.errors import NotAuthenticated, NotFound, NotPermitted, SchemaError, StateError
from mingjian.store import accounts, apitokens, audit
from mingjian.store.catalogue import Organisation, organisation_named
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.workspace import Workspace

OPERATOR = Scope.of_operator()
DAY_S = 86_400


def scope_for(workspace: Workspace, name: str, *memberships: Membership) -> Scope:
    made = accounts.make_user(workspace, OPERATOR, name, memberships=memberships)
    return accounts.scope_of(made, via="session x")


def test_a_token_may_what_it_says_and_its_user_may(workspace: Workspace, organisation: Organisation) -> None:
    other = organisation_named(workspace, OPERATOR, "Another", make=True)
    scope = scope_for(workspace, "ann", Membership(EVERYONE, "analyst"), Membership(other.id, "administrator"))
    made, text = apitokens.make_token(workspace, scope, " backup job ", rights=["write"], lifetime_s=DAY_S)
    assert (made.name, made.rights, made.user) == ("backup job", ("read", "write"), "ann")
    granted = apitokens.scope_of_token(workspace, text.reveal())
    assert granted.reads is granted.writes is EVERYONE
    assert not granted.may_administer(other.id)
    assert (granted.actor, granted.via) == ("ann", f"token {made.public_id}")
    _, narrow = apitokens.make_token(
        workspace, scope, "narrow", rights=["read"], organisations=[other.id], lifetime_s=DAY_S
    )
    granted = apitokens.scope_of_token(workspace, narrow.reveal())
    assert (granted.readable(), granted.writes) == ((other.id,), frozenset())


def test_what_the_user_loses_the_token_loses(workspace: Workspace, organisation: Organisation) -> None:
    scope = scope_for(workspace, "ann", Membership(organisation.id, "analyst"))
    _, text = apitokens.make_token(workspace, scope, "job", rights=["write"], lifetime_s=DAY_S)
    user = accounts.user_named(workspace, OPERATOR, "ann")
    accounts.set_role(workspace, OPERATOR, user.public_id, organisation.id, "reader")
    assert not apitokens.scope_of_token(workspace, text.reveal()).may_write(organisation.id)
    accounts.set_state(workspace, OPERATOR, user.public_id, "disabled")
    with pytest.raises(NotAuthenticated):
        apitokens.scope_of_token(workspace, text.reveal())


def test_a_token_ends_when_it_says(workspace: Workspace, organisation: Organisation) -> None:
    now = 1_800_000_000_000_000
    workspace.clock_us = lambda: now
    scope = scope_for(workspace, "ann", Membership(organisation.id, "reader"))
    _, text = apitokens.make_token(workspace, scope, "job", rights=["read"], lifetime_s=60)
    workspace.clock_us = lambda: now + 59_999_999
    apitokens.scope_of_token(workspace, text.reveal())
    for moment in (now + 60_000_000, now - 1):
        workspace.clock_us = lambda moment=moment: moment
        with pytest.raises(NotAuthenticated):
            apitokens.scope_of_token(workspace, text.reveal())


@pytest.mark.parametrize("text", ["", "mj_", "mj_" + "x" * 43, "x" * 300, "mj_\udcff", "Bearer mj_x"])
def test_what_is_no_token_is_nobody(workspace: Workspace, text: str) -> None:
    with pytest.raises(NotAuthenticated):
        apitokens.scope_of_token(workspace, text)


def test_a_token_is_removed_by_its_user_or_the_master_alone(workspace: Workspace, organisation: Organisation) -> None:
    ann = scope_for(workspace, "ann", Membership(organisation.id, "reader"))
    bob = scope_for(workspace, "bob", Membership(organisation.id, "administrator"))
    made, text = apitokens.make_token(workspace, ann, "job", rights=["read"], lifetime_s=DAY_S)
    again, _ = apitokens.make_token(workspace, ann, "job", rights=["read"], lifetime_s=DAY_S)
    with pytest.raises(NotFound):
        apitokens.remove_token(workspace, bob, made.public_id)
    assert apitokens.tokens(workspace, bob) == []
    assert {each.public_id for each in apitokens.tokens(workspace, ann)} == {made.public_id, again.public_id}
    apitokens.remove_token(workspace, ann, made.public_id)
    apitokens.remove_token(workspace, OPERATOR, again.public_id)
    assert apitokens.tokens(workspace, OPERATOR) == []
    with pytest.raises(NotAuthenticated):
        apitokens.scope_of_token(workspace, text.reveal())
    assert [each.what for each in audit.acts(workspace, OPERATOR, what="token")] == [
        *("token.removed", "token.removed", "token.made", "token.made")
    ]


def test_a_token_makes_no_tokens_and_neither_does_the_operator(workspace: Workspace) -> None:
    ann = scope_for(workspace, "ann", Membership(EVERYONE, "administrator"))
    _, text = apitokens.make_token(workspace, ann, "job", rights=["administer"], lifetime_s=DAY_S)
    for scope in (apitokens.scope_of_token(workspace, text.reveal()), OPERATOR):
        with pytest.raises(NotPermitted):
            apitokens.make_token(workspace, scope, "more", rights=["read"], lifetime_s=DAY_S)


def test_what_a_token_cannot_be_is_refused(
    workspace: Workspace, organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = scope_for(workspace, "ann", Membership(organisation.id, "reader"))
    other = organisation_named(workspace, OPERATOR, "Another", make=True)
    wrong = (
        {"name": " ", "rights": ["read"], "lifetime_s": 1},
        {"name": "a", "rights": [], "lifetime_s": 1},
        {"name": "a", "rights": ["fly"], "lifetime_s": 1},
        {"name": "a", "rights": ["read"], "lifetime_s": 0},
        {"name": "a", "rights": ["read"], "lifetime_s": apitokens.LIFETIME_S_MAX + 1},
        {"name": "a", "rights": ["read"], "lifetime_s": 1, "organisations": []},
    )
    for each in wrong:
        with pytest.raises(SchemaError):
            apitokens.make_token(workspace, ann, **each)
    with pytest.raises(NotFound):
        apitokens.make_token(workspace, ann, "a", rights=["read"], lifetime_s=1, organisations=[other.id])
    monkeypatch.setattr(apitokens, "TOKENS_PER_USER_MAX", 0)
    with pytest.raises(StateError):
        apitokens.make_token(workspace, ann, "a", rights=["read"], lifetime_s=1)

"""Passkeys on both databases; what devices may say is in ``security/test_passkeys.py``."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from mingjian.errors import LimitExceeded, NotAuthenticated, StateError
from mingjian.store import accounts, passkeys
from mingjian.store.passkeys import Site
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.sessions import Opened, Session, use_link
from mingjian.store.workspace import Workspace
from softkey import SoftKey

OPERATOR = Scope.of_operator()
HERE = {"address": "192.0.2.1", "agent": "tests"}
SITE = Site("mj.example", "https://mj.example")


@pytest.fixture
def session(workspace: Workspace) -> Session:
    user = accounts.make_user(workspace, OPERATOR, "ann", memberships=[Membership(EVERYONE, "reader")])
    opened = use_link(workspace, accounts.make_link(workspace, OPERATOR, user.public_id).reveal(), **HERE)
    assert isinstance(opened, Opened)
    return opened.session


def add(workspace: Workspace, session: Session, key: SoftKey) -> None:
    asked = passkeys.begin_passkey(workspace, session, SITE)
    answer = key.made(json.loads(asked.options))
    passkeys.add_passkey(workspace, session, asked.ticket.reveal(), "phone", answer, SITE)


def test_a_passkey_is_kept_once_and_they_are_bounded(
    workspace: Workspace, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passkeys, "PASSKEYS_PER_USER_MAX", 2)
    key = SoftKey(SITE.origin)
    add(workspace, session, key)
    with pytest.raises(StateError, match="there already"):
        add(workspace, session, key)
    assert len(passkeys.passkeys_of(workspace, session)) == 1
    add(workspace, session, SoftKey(SITE.origin))
    with pytest.raises(LimitExceeded, match="PASSKEYS_PER_USER_MAX"):
        passkeys.begin_passkey(workspace, session, SITE)
    assert [each.name for each in passkeys.passkeys_of(workspace, session)] == ["phone", "phone"]


def test_of_many_who_come_with_one_answer_one_gets_in(workspace: Workspace, session: Session) -> None:
    key = SoftKey(SITE.origin)
    add(workspace, session, key)
    asked = passkeys.begin_sign_in(workspace, SITE)
    answer = key.signed(json.loads(asked.options))

    def come(number: int) -> bool:
        try:
            passkeys.sign_in_by_passkey(workspace, asked.ticket.reveal(), answer, SITE, **HERE)
        except NotAuthenticated:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(come, range(8))) == 1


def test_a_device_without_a_counter_goes_on(workspace: Workspace, session: Session) -> None:
    key = SoftKey(SITE.origin)
    add(workspace, session, key)
    for _ in range(2):
        asked = passkeys.begin_sign_in(workspace, SITE)
        answer = key.signed(json.loads(asked.options), count=0)
        opened = passkeys.sign_in_by_passkey(workspace, asked.ticket.reveal(), answer, SITE, **HERE)
        assert opened.session.user.passkeys == 1

"""Passkeys, with a device that a real browser plays, and with devices that lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lakes import OPERATOR
from mingjian.console.gate import AccountGate
from mingjian.console.site import Site as Console
from mingjian.errors import MingjianError, NotAuthenticated, NotPermitted, SchemaError, StateError
from mingjian.settings import Settings
from mingjian.sources.definitions import load_sources
from mingjian.store import accounts, audit, passkeys, sessions
from mingjian.store.passkeys import Site
from mingjian.store.scope import EVERYONE, Membership
from mingjian.store.workspace import Workspace, create
from serving import served
from softkey import SoftKey

SITE = Site("mj.example", "https://mj.example")


@pytest.fixture
def workspace(tmp_path: Path, database: str) -> Iterator[Workspace]:
    with create(tmp_path / "workspace", database) as made:
        accounts.make_user(made, OPERATOR, "ann", memberships=[Membership(EVERYONE, "reader")])
        accounts.make_user(made, OPERATOR, "bob", memberships=[Membership(EVERYONE, "reader")])
        yield made


def session_of(workspace: Workspace, name: str = "ann") -> sessions.Session:
    user = accounts.user_named(workspace, OPERATOR, name)
    link = accounts.make_link(workspace, OPERATOR, user.public_id)
    opened = sessions.use_link(workspace, link.reveal(), address="192.0.2.1", agent="tests")
    assert isinstance(opened, sessions.Opened)
    return opened.session


def registered(workspace: Workspace, key: SoftKey, name: str = "ann", **wrong: Any) -> None:
    session = session_of(workspace, name)
    asked = passkeys.begin_passkey(workspace, session, SITE)
    answer = key.made(json.loads(asked.options), **wrong)
    passkeys.add_passkey(workspace, session, asked.ticket.reveal(), "laptop", answer, SITE)


def entered(workspace: Workspace, key: SoftKey, site: Site = SITE, **wrong: Any) -> sessions.Opened:
    asked = passkeys.begin_sign_in(workspace, site)
    answer = key.signed(json.loads(asked.options), **wrong)
    return passkeys.sign_in_by_passkey(
        workspace, asked.ticket.reveal(), answer, site, address="192.0.2.1", agent="tests"
    )


def test_a_passkey_signs_its_user_in_and_no_code_is_asked_for(workspace: Workspace) -> None:
    key = SoftKey(SITE.origin)
    registered(workspace, key)
    opened = entered(workspace, key)
    assert (opened.session.user.name, opened.session.means) == ("ann", "passkey")
    assert opened.session.user.passkeys == 1
    said = [each.what for each in audit.acts(workspace, OPERATOR)]
    assert said[:2] == ["sign-in.done", "user.passkey"]


def test_a_passkey_is_named_and_removed_and_then_lets_nobody_in(workspace: Workspace) -> None:
    key = SoftKey(SITE.origin)
    registered(workspace, key)
    session = entered(workspace, key).session
    (mine,) = passkeys.passkeys_of(workspace, session)
    passkeys.rename_passkey(workspace, session, mine.public_id, "  phone ")
    (mine,) = passkeys.passkeys_of(workspace, session)
    assert (mine.name, mine.host, mine.used_us is not None) == ("phone", SITE.host, True)
    with pytest.raises(SchemaError):
        passkeys.rename_passkey(workspace, session, mine.public_id, " ")
    other = session_of(workspace, "bob")
    for change in (lambda: passkeys.remove_passkey(workspace, other, mine.public_id),
                   lambda: passkeys.rename_passkey(workspace, other, mine.public_id, "mine")):  # fmt: skip
        with pytest.raises(MingjianError, match="no such passkey"):
            change()
    passkeys.remove_passkey(workspace, session, mine.public_id)
    with pytest.raises(NotAuthenticated):
        entered(workspace, key)


def test_a_lost_device_is_taken_away_by_an_administrator(workspace: Workspace) -> None:
    key = SoftKey(SITE.origin)
    registered(workspace, key)
    user = accounts.user_named(workspace, OPERATOR, "ann")
    accounts.remove_second_factor(workspace, OPERATOR, user.public_id)
    assert audit.acts(workspace, OPERATOR)[0].before == {"name": "ann", "codes": False, "passkeys": 1}
    with pytest.raises(NotAuthenticated):
        entered(workspace, key)


def test_an_answer_is_good_once_and_for_some_minutes(workspace: Workspace) -> None:
    key = SoftKey(SITE.origin)
    registered(workspace, key)
    asked = passkeys.begin_sign_in(workspace, SITE)
    answer, ticket = key.signed(json.loads(asked.options)), asked.ticket.reveal()
    way_in = {"address": "192.0.2.1", "agent": "tests"}
    passkeys.sign_in_by_passkey(workspace, ticket, answer, SITE, **way_in)
    with pytest.raises(NotAuthenticated):
        passkeys.sign_in_by_passkey(workspace, ticket, answer, SITE, **way_in)
    another = passkeys.begin_sign_in(workspace, SITE)
    with pytest.raises(NotAuthenticated):
        passkeys.sign_in_by_passkey(workspace, another.ticket.reveal(), answer, SITE, **way_in)
    late = passkeys.begin_sign_in(workspace, SITE)
    after = workspace.clock_us() + (passkeys.UNDER_WAY_S + 1) * 1_000_000
    workspace.clock_us = lambda: after
    with pytest.raises(NotAuthenticated):
        answer = key.signed(json.loads(late.options))
        passkeys.sign_in_by_passkey(workspace, late.ticket.reveal(), answer, SITE, **way_in)


LIES: dict[str, dict[str, Any]] = {
    "another challenge": {"challenge": b"x" * 32},
    "another site": {"origin": "https://mj.example.evil.example"},
    "a site without TLS": {"origin": "http://mj.example"},
    "for another host": {"host": "evil.example"},
    "the user was not verified": {"flags": 0b0000_0001},
    "nobody was there": {"flags": 0b0000_0100},
    "for making a key": {"kind": "webauthn.create"},
    "for a payment": {"kind": "payment.get"},
    "signed by another key": {"is_foreign": True},
    "signed over something else": {"is_torn": True},
    "of another user": {"user": b"somebody else"},
    "a counter that stands still": {"count": 1},
    "a counter that went back": {"count": 0},
}


@pytest.mark.parametrize("lie", LIES)
def test_no_lie_of_a_device_lets_anybody_in(workspace: Workspace, lie: str) -> None:
    key = SoftKey(SITE.origin)
    registered(workspace, key)
    entered(workspace, key)
    before = len(audit.acts(workspace, OPERATOR))
    with pytest.raises(NotAuthenticated):
        entered(workspace, key, **LIES[lie])
    refused = audit.acts(workspace, OPERATOR)
    assert len(refused) == before + 1
    assert (refused[0].what, refused[0].after["by"]) == ("sign-in.refused", "passkey")


@pytest.mark.parametrize(
    "lie",
    [each for each in LIES if each not in ("of another user",) and "counter" not in each and "signed" not in each],
)
def test_no_lie_makes_a_passkey(workspace: Workspace, lie: str) -> None:
    wrong = LIES[lie] | ({"kind": "webauthn.get"} if lie == "for making a key" else {})
    with pytest.raises(SchemaError):
        registered(workspace, SoftKey(SITE.origin), **wrong)
    assert accounts.user_named(workspace, OPERATOR, "ann").passkeys == 0


def test_a_passkey_works_at_the_console_that_it_was_made_for(workspace: Workspace) -> None:
    key = SoftKey(SITE.origin)
    registered(workspace, key)
    with pytest.raises(NotAuthenticated):
        entered(workspace, key, Site("other.example", "https://other.example"), origin="https://other.example")


def test_a_disabled_user_is_not_let_in(workspace: Workspace) -> None:
    key = SoftKey(SITE.origin)
    registered(workspace, key)
    user = accounts.user_named(workspace, OPERATOR, "ann")
    accounts.set_state(workspace, OPERATOR, user.public_id, "disabled")
    with pytest.raises(NotAuthenticated):
        entered(workspace, key)


def test_a_passkey_is_made_by_whoever_asked_and_has_just_signed_in(workspace: Workspace) -> None:
    ann, bob, key = session_of(workspace), session_of(workspace, "bob"), SoftKey(SITE.origin)
    asked = passkeys.begin_passkey(workspace, ann, SITE)
    answer = key.made(json.loads(asked.options))
    with pytest.raises(NotAuthenticated):
        passkeys.add_passkey(workspace, bob, asked.ticket.reveal(), "mine", answer, SITE)
    registered(workspace, key)
    with pytest.raises(StateError, match="there already"):
        registered(workspace, key, "bob")
    after = workspace.clock_us() + (sessions.FRESH_S + 1) * 1_000_000
    workspace.clock_us = lambda: after
    stale = sessions.Session(**{name: getattr(ann, name) for name in ann.__struct_fields__} | {"is_fresh": False})
    for change in (lambda: passkeys.begin_passkey(workspace, stale, SITE),
                   lambda: passkeys.add_passkey(workspace, stale, "x", "x", answer, SITE),
                   lambda: passkeys.remove_passkey(workspace, stale, "x")):  # fmt: skip
        with pytest.raises(NotPermitted):
            change()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        "null",
        "[" * 5000,
        '{"id": "a", "rawId": "a", "type": "public-key", "response": {"clientDataJSON": "a"}}',
        '{"id": "!", "rawId": "!", "type": "public-key", "response": {"clientDataJSON": "!!!!"}}',
        '{"id": "YQ", "rawId": "YQ", "type": "x", "response": {"clientDataJSON": "e30", "attestationObject": "oA"}}',
        '{"id": "YQ", "rawId": "YQ", "type": "public-key", "response": {"clientDataJSON": "e30",'
        ' "attestationObject": "n4Cf", "authenticatorData": "AA", "signature": "AA"}}',
        json.dumps({"id": "a" * 20_000, "rawId": "a", "type": "public-key", "response": {"clientDataJSON": "a"}}),
        '{"id": "\\ud800", "rawId": "\\ud800", "type": "public-key", "response": {"clientDataJSON": "\\ud800"}}',
    ],
)
def test_what_is_no_answer_is_refused(workspace: Workspace, answer: str) -> None:
    session = session_of(workspace)
    asked = passkeys.begin_passkey(workspace, session, SITE)
    with pytest.raises(MingjianError):
        passkeys.add_passkey(workspace, session, asked.ticket.reveal(), "x", answer, SITE)
    entering = passkeys.begin_sign_in(workspace, SITE)
    with pytest.raises(NotAuthenticated):
        passkeys.sign_in_by_passkey(
            workspace, entering.ticket.reveal(), answer, SITE, address="192.0.2.1", agent="tests"
        )


# --- in a browser ----------------------------------------------------------------------------------------------------


class Desk(NamedTuple):
    """A browser with a device in it, in front of a console."""

    page: Any
    address: str
    workspace: Workspace
    problems: list[str]


@pytest.fixture
def desk(browser: Any, workspace: Workspace) -> Iterator[Desk]:
    console = Console(workspace, Settings(), load_sources(), AccountGate(workspace))
    problems: list[str] = []
    with ExitStack() as stack:
        # Browsers make no passkeys for a number.
        address = stack.enter_context(served(console)).replace("127.0.0.1", "localhost")
        context = browser.new_context()
        stack.callback(context.close)
        page = context.new_page()
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        device = context.new_cdp_session(page)
        device.send("WebAuthn.enable")
        device.send(
            "WebAuthn.addVirtualAuthenticator",
            {
                "options": {
                    "protocol": "ctap2",
                    "transport": "internal",
                    "hasResidentKey": True,
                    "hasUserVerification": True,
                    "isUserVerified": True,
                    "automaticPresenceSimulation": True,
                }
            },
        )
        yield Desk(page, address, workspace, problems)


def grave(page: Any) -> list[str]:
    """What whoever cannot see or use a mouse would stumble over."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [each["id"] for each in found if each["impact"] in ("serious", "critical")]


def test_in_a_browser_a_passkey_is_made_and_opens_the_console_without_a_password(desk: Desk) -> None:
    user = accounts.user_named(desk.workspace, OPERATOR, "ann")
    link = accounts.make_link(desk.workspace, OPERATOR, user.public_id).reveal()
    desk.page.goto(f"{desk.address}/sign-in/link?t={link}")
    desk.page.click("button.main")
    desk.page.wait_for_url("**/account*")
    form = desk.page.locator("form[data-passkey=new]")
    form.locator("input[name=name]").fill("test device")
    form.locator("button").click()
    desk.page.wait_for_url("**/account?done=saved")
    assert desk.page.locator("input[value='test device']").count() == 1
    desk.page.click("form[action='/account/codes'] button")
    desk.page.wait_for_selector("img.qr")
    assert grave(desk.page) == []
    desk.page.locator("form[action='/sign-out'] button").click()
    desk.page.wait_for_url("**/sign-in")
    assert grave(desk.page) == []
    desk.page.click("text=Sign in with a passkey")
    desk.page.wait_for_url(f"{desk.address}/")
    assert desk.page.locator("a.who").inner_text() == "ann"
    assert audit.acts(desk.workspace, OPERATOR)[0].after["by"] == "passkey"
    desk.page.goto(f"{desk.address}/account")
    desk.page.locator("form[action='/account/passkeys/remove'] button").click()
    desk.page.wait_for_url("**/account?done=saved")
    assert desk.page.locator("form[action='/account/passkeys/remove']").count() == 0
    assert desk.problems == []


def test_in_a_browser_a_device_without_a_passkey_is_told_so(desk: Desk) -> None:
    desk.page.goto(f"{desk.address}/sign-in")
    desk.page.click("text=Sign in with a passkey")
    problem = desk.page.locator("[data-problem]")
    problem.wait_for(state="visible")
    assert "gave no passkey" in problem.inner_text()
    assert desk.problems == []

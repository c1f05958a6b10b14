"""Signing in by an identity provider: a real one in a process of its own, and one that lies in every way it can."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from joserfc import jwt
from starlette.testclient import TestClient

from lakes import OPERATOR
from mingjian.console.app import create_app
from mingjian.console.gate import AccountGate
from mingjian.console.site import Site
from mingjian.errors import LimitExceeded
from mingjian.formats import openid
from mingjian.settings import Settings
from mingjian.sources.definitions import load_sources
from mingjian.store import accounts, audit
from mingjian.store.catalogue import organisation_named
from mingjian.store.scope import Membership
from mingjian.store.workspace import Workspace, create
from openidserver import CLIENT, CLIENT_SECRET, Hostile, a_key, approved, encoded, hostile_provider, provider_process
from serving import served

HTTPS = "https://console.test"
BACK = "/sign-in/openid/back"
HEADERS = {"sec-fetch-site": "same-origin", "user-agent": "tests"}


class Console(NamedTuple):
    """The program with a browser in front of it."""

    browser: TestClient
    workspace: Workspace
    app: Any

    def another(self) -> Console:
        """Another browser."""
        return self._replace(browser=browser_of(self.app))

    def go(self, **query: str) -> str:
        """Ask to sign in by the provider; gives its address."""
        answer = self.browser.get("/sign-in/openid", params=query)
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def is_in(self) -> bool:
        return self.browser.get("/account").status_code == 200

    def enter_by_link(self, name: str) -> None:
        user = accounts.user_named(self.workspace, OPERATOR, name)
        link = accounts.make_link(self.workspace, OPERATOR, user.public_id).reveal()
        assert self.browser.post("/sign-in/link", data={"t": link}).status_code == 303

    def link_identity(self) -> str:
        """Begin to link an identity; gives the address of the provider."""
        page = self.browser.post("/account/identities")
        assert page.status_code == 200
        found = [part.partition('"')[0] for part in page.text.split('href="') if "code_challenge" in part]
        return found[0].replace("&amp;", "&")

    def said(self) -> list[str]:
        return [each.what for each in audit.acts(self.workspace, OPERATOR, limit=1000)]


def browser_of(app: Any) -> TestClient:
    return TestClient(app, base_url=HTTPS, follow_redirects=False, headers=HEADERS)


def console_of(workspace: Workspace, issuer: str, **settings: str) -> Console:
    given = Settings(openid_issuer=issuer, openid_client=CLIENT, openid_secret=CLIENT_SECRET, **settings)  # type: ignore[arg-type] # texts of this file
    app = create_app(Site(workspace, given, load_sources(), AccountGate(workspace)))
    return Console(browser_of(app), workspace, app)


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with provider_process("--require-nonce", "true") as found:
        yield found


@pytest.fixture
def workspace(tmp_path: Path, database: str) -> Iterator[Workspace]:
    with create(tmp_path / "workspace", database) as made:
        ours = organisation_named(made, OPERATOR, "Ours", make=True)
        accounts.make_user(made, OPERATOR, "ann", memberships=[Membership(ours.id, "analyst")])
        accounts.make_user(made, OPERATOR, "bob", memberships=[Membership(ours.id, "reader")])
        yield made


@pytest.fixture
def liar() -> Iterator[Hostile]:
    with hostile_provider() as made:
        yield made


def answer_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


# --- with a real provider --------------------------------------------------------------------------------------------


def test_somebody_unknown_is_refused_and_told_who_can_add_them(workspace: Workspace, issuer: str) -> None:
    console = console_of(workspace, issuer)
    assert f"Sign in with {urlsplit(issuer).netloc}" in console.browser.get("/sign-in").text
    page = console.browser.get(approved(console.go(), "mallory"))
    assert page.status_code == 401
    assert "An administrator makes one" in page.text
    assert not console.is_in()
    refused = audit.acts(workspace, OPERATOR, what="sign-in.refused")[0]
    assert (refused.after["issuer"], refused.after["subject"]) == (issuer, "mallory")
    assert len(accounts.users(workspace, OPERATOR)) == 2


def test_a_linked_identity_signs_in_and_an_unlinked_one_no_longer(workspace: Workspace, issuer: str) -> None:
    console = console_of(workspace, issuer)
    console.enter_by_link("ann")
    assert console.browser.get(approved(console.link_identity(), "ann@id")).headers["location"].startswith("/account")
    assert "ann@id" in console.browser.get("/account").text
    other = console.another()
    answer = other.browser.get(approved(other.go(next="/detections?level=high"), "ann@id"))
    assert answer.headers["location"] == "/detections?level=high"
    assert other.is_in()
    acts = console.said()
    assert acts[:2] == ["sign-in.done", "user.identity"]
    page = console.browser.get("/account").text
    key = page.split("/account/identities/remove")[1].split('value="')[1].partition('"')[0]
    assert console.browser.post("/account/identities/remove", data={"key": key}).status_code == 303
    third = console.another()
    assert third.browser.get(approved(third.go(), "ann@id")).status_code == 401
    assert not third.is_in()


def test_an_identity_belongs_to_one_account(workspace: Workspace, issuer: str) -> None:
    console = console_of(workspace, issuer)
    console.enter_by_link("ann")
    console.browser.get(approved(console.link_identity(), "shared@id"))
    other = console.another()
    other.enter_by_link("bob")
    assert other.browser.get(approved(other.link_identity(), "shared@id")).status_code == 409


def test_a_disabled_account_is_not_entered_by_its_identity(workspace: Workspace, issuer: str) -> None:
    console = console_of(workspace, issuer)
    console.enter_by_link("ann")
    console.browser.get(approved(console.link_identity(), "ann2@id"))
    user = accounts.user_named(workspace, OPERATOR, "ann")
    accounts.set_state(workspace, OPERATOR, user.public_id, "disabled")
    other = console.another()
    assert other.browser.get(approved(other.go(), "ann2@id")).status_code == 401
    assert not other.is_in()


def test_somebody_new_gets_the_role_that_the_settings_name_and_no_account_of_others(
    workspace: Workspace, issuer: str
) -> None:
    console = console_of(workspace, issuer, openid_organisation="Ours", openid_role="reader")
    assert console.browser.get(approved(console.go(), "ann")).status_code == 303
    assert console.is_in()
    made = accounts.user_named(workspace, OPERATOR, "ann-2")
    assert [each.role for each in made.memberships] == ["reader"]
    again = console.another()
    assert again.browser.get(approved(again.go(), "ann")).status_code == 303
    assert len(accounts.users(workspace, OPERATOR)) == 3
    assert {"user.made", "sign-in.done"} <= set(console.said())


def test_an_organisation_that_is_not_there_lets_nobody_in(workspace: Workspace, issuer: str) -> None:
    console = console_of(workspace, issuer, openid_organisation="Nowhere")
    assert console.browser.get(approved(console.go(), "new@id")).status_code == 502
    assert len(accounts.users(workspace, OPERATOR)) == 2


def test_an_answer_is_good_once_and_in_the_browser_that_asked(workspace: Workspace, issuer: str) -> None:
    console = console_of(workspace, issuer, openid_organisation="*")
    back = approved(console.go(), "carl@id")
    other = console.another()
    assert other.browser.get(back).status_code == 401, "whoever gets hold of the address has not asked"
    assert console.browser.get(back).status_code == 401, "and then it is used up"
    console.go()
    mine = approved(console.go(), "carl@id")
    kept = dict(console.browser.cookies)
    assert console.browser.get(mine).status_code == 303
    console.browser.cookies.update(kept)
    assert console.browser.get(mine).status_code == 401


def test_an_identity_is_linked_by_whoever_began_and_has_just_signed_in(workspace: Workspace, issuer: str) -> None:
    console = console_of(workspace, issuer)
    console.enter_by_link("ann")
    back = approved(console.link_identity(), "dora@id")
    console.browser.post("/sign-out")
    console.enter_by_link("bob")
    assert console.browser.get(back).status_code == 401
    later = workspace.clock_us() + 1000 * 1_000_000
    workspace.clock_us = lambda: later
    assert console.browser.post("/account/identities").status_code == 403
    assert console.browser.post("/account/identities", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_without_the_setting_there_is_nothing(workspace: Workspace) -> None:
    console = console_of(workspace, "")
    assert "openid" not in console.browser.get("/sign-in").text
    assert console.browser.get("/sign-in/openid").status_code == 404
    assert console.browser.get(BACK, params={"state": "x", "code": "y"}).status_code == 401


def test_in_a_browser_one_goes_there_and_comes_back(browser: Any, workspace: Workspace, issuer: str) -> None:
    settings = Settings(
        openid_issuer=issuer, openid_client=CLIENT, openid_secret=CLIENT_SECRET, openid_organisation="*"
    )
    problems: list[str] = []
    with served(Site(workspace, settings, load_sources(), AccountGate(workspace))) as address:
        context = browser.new_context()
        page = context.new_page()
        # What the pages of the provider complain about is the provider's.
        ours = lambda said: said.type == "error" and said.location["url"].startswith(address)  # noqa: E731 # a name for a condition
        page.on("console", lambda said: problems.append(said.text) if ours(said) else None)
        page.goto(f"{address}/queue")
        page.click(f"text=Sign in with {urlsplit(issuer).netloc}")
        page.fill("input[name=sub]", "erin@id")
        page.locator("button[type=submit]").first.click()
        page.wait_for_url(f"{address}/queue")
        assert page.locator("a.who").inner_text() == "erin@id"
        assert problems == []
        # From the account page the way begins with a form of ours and goes on by a link.
        page.goto(f"{address}/account")
        page.click("form[action='/account/identities'] button")
        page.click("a.button.main")
        page.fill("input[name=sub]", "erin-again@id")
        page.locator("button[type=submit]").first.click()
        page.wait_for_url("**/account?done=saved")
        assert page.locator("form[action='/account/identities/remove']").count() == 2
        context.close()
    assert problems == []


# --- with one that lies ----------------------------------------------------------------------------------------------


def tried(liar: Hostile, console: Console, made: Callable[[Hostile, str, float], str]) -> int:
    """Sign in with a token that is made of the nonce and the time."""
    asked = answer_of(console.go())
    liar.gives(made(liar, asked["nonce"], console.workspace.clock_us() / 1_000_000))
    return console.browser.get(BACK, params={"state": asked["state"], "code": "c"}).status_code


def with_claims(**changes: object) -> Callable[[Hostile, str, float], str]:
    return lambda liar, nonce, now: liar.signed(liar.claims(nonce, now, **changes))


def with_times(**changes: float) -> Callable[[Hostile, str, float], str]:
    def made(liar: Hostile, nonce: str, now: float) -> str:
        return liar.signed(liar.claims(nonce, now, **{name: now + seconds for name, seconds in changes.items()}))

    return made


def unsigned(liar: Hostile, nonce: str, now: float) -> str:
    return f"{encoded({'alg': 'none'})}.{encoded(liar.claims(nonce, now))}."


def unsigned_with_key(liar: Hostile, nonce: str, now: float) -> str:
    return f"{encoded({'alg': 'none', 'kid': 'one'})}.{encoded(liar.claims(nonce, now))}."


def signed_with_the_public_key_as_secret(liar: Hostile, nonce: str, now: float) -> str:
    return signed_with_a_secret(liar.key.as_pem(private=False), liar.claims(nonce, now))


def signed_with_the_secret_of_the_client(liar: Hostile, nonce: str, now: float) -> str:
    return signed_with_a_secret(CLIENT_SECRET.encode(), liar.claims(nonce, now))


def signed_with_a_secret(secret: bytes, claims: dict[str, object]) -> str:
    content = f"{encoded({'alg': 'HS256', 'kid': 'one'})}.{encoded(claims)}"
    return f"{content}.{encoded(hmac.digest(secret, content.encode(), 'sha256'))}"


def signed_by_another_key(liar: Hostile, nonce: str, now: float) -> str:
    other = a_key("another")
    return jwt.encode({"alg": "RS256", "kid": "one"}, liar.claims(nonce, now), other, algorithms=["RS256"])


def signed_by_a_key_of_its_own(liar: Hostile, nonce: str, now: float) -> str:
    own = a_key("mine")
    header = {"alg": "RS256", "jwk": own.as_dict(private=False), "jku": f"{liar.issuer}/mine", "kid": "mine"}
    return jwt.encode(header, liar.claims(nonce, now), own, algorithms=["RS256"])


def changed_afterwards(liar: Hostile, nonce: str, now: float) -> str:
    head, _, signature = liar.signed(liar.claims(nonce, now)).split(".")
    return f"{head}.{encoded(liar.claims(nonce, now, sub='admin'))}.{signature}"


LIES: dict[str, Callable[[Hostile, str, float], str]] = {
    "another nonce": lambda liar, nonce, now: liar.signed(liar.claims("another", now)),
    "no nonce": lambda liar, nonce, now: liar.signed({"a": 1} | liar.claims(nonce, now) | {"nonce": None}),
    "for another client": with_claims(aud="another"),
    "for several": with_claims(aud=[CLIENT, "another"]),
    "for several, made for another": with_claims(aud=[CLIENT, "another"], azp="another"),
    "made for another client": with_claims(azp="another"),
    "no audience": with_claims(aud=None),
    "of another issuer": with_claims(iss="https://id.example"),
    "of an issuer that looks alike": with_claims(iss="http://127.0.0.1"),
    "expired": with_times(exp=-120),
    "made long ago": with_times(iat=-3600),
    "made tomorrow": with_times(iat=86_400, exp=90_000),
    "not in force yet": with_times(nbf=600),
    "no end": with_claims(exp=None),
    "an end that is none": with_claims(exp="tomorrow"),
    "about nobody": with_claims(sub=""),
    "about a list": with_claims(sub=["a", "b"]),
    "about too much": with_claims(sub="s" * 256),
    "not signed": unsigned,
    "not signed, with a key": unsigned_with_key,
    "the public key as a secret": signed_with_the_public_key_as_secret,
    "the secret of the client": signed_with_the_secret_of_the_client,
    "another key of the same name": signed_by_another_key,
    "a key that it brings along": signed_by_a_key_of_its_own,
    "changed afterwards": changed_afterwards,
    "no token": lambda liar, nonce, now: "",
    "half a token": lambda liar, nonce, now: liar.signed(liar.claims(nonce, now))[:-20],
    "not a token": lambda liar, nonce, now: "a.b.c",
    "a very long one": lambda liar, nonce, now: liar.signed(liar.claims(nonce, now, more="x" * 40_000)),
    "much nested": lambda liar, nonce, now: f"{encoded(b'[' * 9000)}.{encoded(b'[' * 9000)}.x",
    "something critical": lambda liar, nonce, now: liar.signed(liar.claims(nonce, now), crit=["x"], x=1),
}


@pytest.fixture(scope="module")
def believing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hostile, Console]]:
    """A console that would let everybody in of whom the provider in other hands tells it."""
    folder = tmp_path_factory.mktemp("believing") / "workspace"
    with create(folder) as made, hostile_provider() as liar:
        yield liar, console_of(made, liar.issuer, openid_organisation="*")


@pytest.mark.parametrize("lie", LIES)
def test_no_lie_lets_anybody_in(believing: tuple[Hostile, Console], lie: str) -> None:
    liar, console = believing[0], believing[1].another()
    assert tried(liar, console, LIES[lie]) == 502
    assert not console.is_in()
    assert accounts.users(console.workspace, OPERATOR) == []


def test_the_truth_does_with_what_was_promised(workspace: Workspace, liar: Hostile) -> None:
    console = console_of(workspace, liar.issuer, openid_organisation="*")
    address = console.go()
    asked = answer_of(address)
    assert asked["response_type"] == "code"
    assert asked["redirect_uri"] == HTTPS + BACK
    assert asked["code_challenge_method"] == "S256"
    liar.gives(liar.signed(liar.claims(asked["nonce"], workspace.clock_us() / 1_000_000, name="Some\x1b[2J Body")))
    assert console.browser.get(BACK, params={"state": asked["state"], "code": "c"}).status_code == 303
    assert console.is_in()
    (form, authorization), *_ = [(form, said) for path, form, said in liar.asked if path == "/token"]
    digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
    assert encoded(digest) == asked["code_challenge"], "the secret behind the challenge is shown with the code only"
    assert form["redirect_uri"] == [HTTPS + BACK]
    both = base64.b64decode(authorization.removeprefix("Basic ")).decode()
    assert both == f"{CLIENT}:{quote(CLIENT_SECRET, safe='')}"
    assert CLIENT_SECRET not in json.dumps(form)


def test_keys_that_have_changed_are_asked_for_again_and_not_too_often(workspace: Workspace, liar: Hostile) -> None:
    console = console_of(workspace, liar.issuer, openid_organisation="*")
    assert tried(liar, console, with_claims(sub="one")) == 303
    liar.key = a_key("two")
    liar.answers["/keys"] = json.dumps({"keys": [liar.key.as_dict(private=False)]}).encode()
    later = console.another()
    signed = lambda liar, nonce, now: liar.signed(liar.claims(nonce, now, sub="two"), kid="two")  # noqa: E731 # a line of a table
    assert tried(liar, later, signed) == 502, "the keys were asked for a moment ago"
    memory = console.app.state.site.memory
    clock_s = memory._clock_s
    memory._clock_s = lambda: clock_s() + 61
    assert tried(liar, later, signed) == 303
    assert [path for path, _, _ in liar.asked].count("/keys") == 2


DOCUMENTS: dict[str, dict[str, object]] = {
    "of another issuer": {"issuer": "https://id.example"},
    "the token elsewhere without TLS": {"token_endpoint": "http://169.254.169.254/latest"},
    "the keys elsewhere without TLS": {"jwks_uri": "http://10.0.0.1/keys"},
    "people sent elsewhere without TLS": {"authorization_endpoint": "http://evil.example/authorize"},
    "a script": {"authorization_endpoint": "javascript:alert(1)"},
    "a line end": {"authorization_endpoint": "https://id.example/\r\nset-cookie: a=b"},
    "a number": {"token_endpoint": 5},
}


@pytest.mark.parametrize("wrong", DOCUMENTS)
def test_a_provider_that_describes_itself_wrongly_is_not_used(workspace: Workspace, liar: Hostile, wrong: str) -> None:
    liar.answers["/.well-known/openid-configuration"] = json.dumps(liar.document(**DOCUMENTS[wrong])).encode()
    console = console_of(workspace, liar.issuer)
    answer = console.browser.get("/sign-in/openid")
    assert answer.status_code == 502
    assert "location" not in answer.headers


@pytest.mark.parametrize("place", ["https://127.0.0.1:1/x", "https://localhost:1/x", "https://[::1]:1/x"])
@pytest.mark.parametrize("what", ["token_endpoint", "jwks_uri"])
def test_what_a_provider_names_elsewhere_must_be_public(
    workspace: Workspace, liar: Hostile, what: str, place: str
) -> None:
    liar.answers["/.well-known/openid-configuration"] = json.dumps(liar.document(**{what: place})).encode()
    console = console_of(workspace, liar.issuer, openid_organisation="*")
    assert tried(liar, console, with_claims()) == 502
    assert not console.is_in()


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"{}"),
        (302, b""),
        (200, b""),
        (200, b"[" * 100_000),
        (200, b'{"keys": "x", "id_token": 1}'),
        (200, b'{"id_token": "' + b"x" * (openid.ANSWER_BYTES_MAX + 1) + b'"}'),
        (200, b'{"keys": [' + b"{}," * 20_000 + b'{}], "id_token": "x"}'),
    ],
    ids=["error", "redirect", "nothing", "deep", "other types", "large", "many"],
)
def test_whatever_a_provider_answers_there_is_a_page(
    workspace: Workspace, liar: Hostile, path: str, status: int, body: bytes
) -> None:
    console = console_of(workspace, liar.issuer, openid_organisation="*")
    if path.startswith("/.well"):
        liar.answers[path], liar.statuses[path] = body, status
        assert console.browser.get("/sign-in/openid").status_code == 502
        return
    asked = answer_of(console.go())
    liar.gives(liar.signed(liar.claims(asked["nonce"], workspace.clock_us() / 1_000_000)))
    liar.answers[path], liar.statuses[path] = body, status
    assert console.browser.get(BACK, params={"state": asked["state"], "code": "c"}).status_code == 502
    assert not console.is_in()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [(400, b'{"error": "invalid_grant"}', 401), (401, b'{"error": "invalid_client"}', 502), (400, b"{}", 502)],
)
def test_a_code_that_is_refused_is_told_apart_from_a_console_that_is_not_known_there(
    workspace: Workspace, liar: Hostile, status: int, body: bytes, told: int
) -> None:
    console = console_of(workspace, liar.issuer, openid_organisation="*")
    asked = answer_of(console.go())
    liar.answers["/token"], liar.statuses["/token"] = body, status
    assert console.browser.get(BACK, params={"state": asked["state"], "code": "c"}).status_code == told


def test_an_answer_in_the_name_of_another_provider_is_not_taken(workspace: Workspace, liar: Hostile) -> None:
    console = console_of(workspace, liar.issuer, openid_organisation="*")
    asked = answer_of(console.go())
    liar.gives(liar.signed(liar.claims(asked["nonce"], workspace.clock_us() / 1_000_000)))
    query = {"state": asked["state"], "code": "c", "iss": "https://other.example"}
    assert console.browser.get(BACK, params=query).status_code == 502
    assert "/token" not in [path for path, _, _ in liar.asked], "the code is not given away"


def test_a_refusal_of_the_provider_is_told_and_its_words_are_not(workspace: Workspace, liar: Hostile) -> None:
    console = console_of(workspace, liar.issuer)
    asked = answer_of(console.go())
    query = {"state": asked["state"], "error": "access_denied", "error_description": "<b>call 0190 to go on"}
    answer = console.browser.get(BACK, params=query)
    assert answer.status_code == 401
    assert "0190" not in answer.text


def test_weak_keys_and_keys_for_something_else_are_left_out() -> None:
    good = a_key("good").as_dict(private=False)
    weak = good | {"kid": "weak", "n": encoded(b"\xc1" * 128)}
    others = [{"kty": "oct", "k": encoded(b"secret" * 8)}, good | {"use": "enc"}, {"kty": "RSA"}, {}, {"kty": 5}]
    found = openid.parse_keys(json.dumps({"keys": [weak, *others, good]}).encode())
    assert [key.kid for key in found] == ["good"]
    with pytest.raises(LimitExceeded, match="KEYS_MAX"):
        openid.parse_keys(json.dumps({"keys": [good] * 101}).encode())

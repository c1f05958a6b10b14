"""Signing in and sessions as a browser meets them, with the accounts of the workspace: nothing is made up here."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyotp
import pytest
import segno
from starlette.testclient import TestClient

from mingjian.console.app import create_app
from mingjian.console.gate import AccountGate
from mingjian.console.routes import all_routes
from mingjian.console.site import Site
from mingjian.settings import Settings
from mingjian.sources.definitions import load_sources
from mingjian.store import accounts, audit, passwords
from mingjian.store.attempts import TRIES_PER_ACCOUNT_MAX
from mingjian.store.catalogue import organisation_named
from mingjian.store.scope import EVERYONE, Membership, Scope
from mingjian.store.workspace import Workspace, create

OPERATOR = Scope.of_operator()
GOOD = "correct horse battery"
HTTPS = "https://console.test"
OURS = {"sec-fetch-site": "same-origin"}
COOKIE = "__Host-mingjian"


class Console(NamedTuple):
    """The program with a browser in front of it."""

    browser: TestClient
    workspace: Workspace
    app: Any

    def another(self, base: str = HTTPS) -> Console:
        """Another browser."""
        browser = TestClient(self.app, base_url=base, follow_redirects=False, headers=OURS)
        return Console(browser, self.workspace, self.app)

    def post(self, path: str, **form: str) -> Any:
        return self.browser.post(path, data=form)

    def sign_in(self, name: str = "ann", password: str = GOOD, **more: str) -> Any:
        return self.post("/sign-in", name=name, password=password, **more)

    def is_in(self) -> bool:
        return self.browser.get("/account").status_code == 200


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with little work."""
    quick = passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", quick)
    monkeypatch.setattr(passwords, "_NOBODYS", quick.hash("nobody's"))


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with create(tmp_path / "workspace") as workspace:
        ours = organisation_named(workspace, OPERATOR, "Ours", make=True)
        site = Site(workspace, Settings(), load_sources(), AccountGate(workspace))
        app = create_app(site)
        made = Console(TestClient(app, base_url=HTTPS, follow_redirects=False, headers=OURS), workspace, app)
        held = [Membership(ours.id, "analyst"), Membership(EVERYONE, "administrator")]
        user = accounts.make_user(workspace, OPERATOR, "ann", memberships=held)
        link = accounts.make_link(workspace, OPERATOR, user.public_id).reveal()
        assert made.post("/sign-in/link", t=link).headers["location"] == "/account"
        assert made.post("/account/password", new=GOOD, again=GOOD).status_code == 303
        made.post("/sign-out")
        yield made


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None
    return found[1]


def test_the_cookie_is_for_this_host_alone_and_no_script_reads_it(console: Console) -> None:
    set_cookie = console.sign_in().headers["set-cookie"]
    flags = {each.strip().lower() for each in set_cookie.split(";")[1:]}
    assert set_cookie.startswith(COOKIE + "=")
    assert flags == {"httponly", "secure", "samesite=lax", "path=/"}
    plain = console.another("http://127.0.0.1")
    assert plain.sign_in().headers["set-cookie"].startswith("mingjian=")


def test_a_session_that_somebody_planted_is_never_taken_over(console: Console) -> None:
    console.browser.cookies.set(COOKIE, "planted-by-somebody", domain="console.test", path="/")
    console.sign_in()
    first = console.browser.cookies[COOKIE]
    assert first != "planted-by-somebody"
    console.sign_in()
    assert console.browser.cookies[COOKIE] != first
    stale = console.another()
    stale.browser.cookies.set(COOKIE, first, domain="console.test", path="/")
    assert not stale.is_in(), "the session that the browser had before has ended"


def test_after_signing_out_the_old_cookie_is_worth_nothing(console: Console) -> None:
    console.sign_in()
    kept = console.browser.cookies[COOKIE]
    assert console.is_in()
    assert console.post("/sign-out").headers["location"] == "/sign-in"
    console.browser.cookies.set(COOKIE, kept, domain="console.test", path="/")
    assert not console.is_in()


def test_disabling_and_taking_a_role_away_count_at_once(console: Console) -> None:
    console.sign_in()
    user = accounts.user_named(console.workspace, OPERATOR, "ann")
    assert console.browser.get("/admin/users").status_code == 200
    accounts.set_role(console.workspace, OPERATOR, user.public_id, EVERYONE, None)
    assert console.browser.get("/admin/users").status_code == 403
    accounts.set_state(console.workspace, OPERATOR, user.public_id, "disabled")
    assert console.browser.get("/account").status_code == 303
    assert console.sign_in().status_code == 401


ELSEWHERE = (
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "https://console.test.evil.example"},
    {"origin": "https://console.test:8443"},
)


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
def test_no_page_of_another_site_can_do_anything(console: Console, headers: dict[str, str]) -> None:
    console.sign_in()
    before = len(audit.acts(console.workspace, OPERATOR, limit=1000))
    foreign = TestClient(console.app, base_url=HTTPS, follow_redirects=False)
    foreign.cookies.set(COOKIE, console.browser.cookies[COOKIE], domain="console.test", path="/")
    paths = {route.path for route in all_routes() if route.method == "POST"}
    assert len(paths) > 20
    wrong = [path for path in paths if foreign.post(path, data={"name": "x"}, headers=headers).status_code != 403]
    assert wrong == []
    assert len(audit.acts(console.workspace, OPERATOR, limit=1000)) == before


def test_every_answer_has_its_headers(console: Console) -> None:
    answers = [console.browser.get(path) for path in ("/sign-in", "/sign-in/link?t=x", "/nothing", "/account")]
    answers += [console.sign_in(password="wrong"), console.sign_in(), console.browser.get("/account")]
    for answer in answers:
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "no-store" in answer.headers["cache-control"]


def test_whoever_guesses_learns_nothing_and_not_for_long(console: Console) -> None:
    known = console.sign_in("ann", "wrong")
    unknown = console.sign_in("nobody", "wrong")
    assert known.status_code == unknown.status_code == 401
    assert known.text.replace("ann", "") == unknown.text.replace("nobody", "")
    statuses = [console.sign_in("ann", f"guess {number}").status_code for number in range(20)]
    assert statuses == [401] * (TRIES_PER_ACCOUNT_MAX - 1) + [429] * (21 - TRIES_PER_ACCOUNT_MAX)
    assert console.sign_in().status_code == 429
    assert not console.is_in()
    statuses = [console.sign_in("nobody", f"guess {number}").status_code for number in range(20)]
    assert statuses == [401] * (TRIES_PER_ACCOUNT_MAX - 1) + [429] * (21 - TRIES_PER_ACCOUNT_MAX)


def test_what_was_typed_never_comes_back_as_a_password_nor_as_html(console: Console) -> None:
    page = console.sign_in("<b>ann", "s3cret<i>").text
    assert "s3cret" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;ann" in page


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", "a\nb"]
)
def test_signing_in_leads_to_no_other_site(console: Console, target: str) -> None:
    assert console.sign_in(next=target).headers["location"] == "/"
    assert console.sign_in(next="/detections?level=high").headers["location"] == "/detections?level=high"


def test_looking_at_a_link_does_not_use_it_up(console: Console) -> None:
    user = accounts.user_named(console.workspace, OPERATOR, "ann")
    link = accounts.make_link(console.workspace, OPERATOR, user.public_id).reveal()
    for _ in range(3):
        assert console.browser.get("/sign-in/link", params={"t": link}).status_code == 200
    assert console.post("/sign-in/link", t=link).status_code == 303
    assert console.is_in()
    other = console.another()
    assert other.post("/sign-in/link", t=link).status_code == 401
    assert not other.is_in()


def test_with_an_app_the_password_alone_is_not_enough(console: Console) -> None:
    console.sign_in()
    setup = console.post("/account/codes").text
    found = re.search(r"<code>([A-Z2-7]{32})</code>", setup)
    assert found is not None
    app = pyotp.totp.TOTP(found[1])
    assert console.post("/account/codes/confirm", ticket=hidden(setup, "ticket"), code=app.now()).status_code == 303
    other = console.another()
    asked = other.sign_in(next="/account")
    assert asked.status_code == 200
    assert "set-cookie" not in asked.headers
    assert not other.is_in()
    now_us = console.workspace.clock_us() + 30_000_000
    console.workspace.clock_us = lambda: now_us
    code = app.at(now_us / 1_000_000)
    let_in = other.post(
        "/sign-in/code", ticket=hidden(asked.text, "ticket"), code=code, next=hidden(asked.text, "next")
    )
    assert let_in.headers["location"] == "/account"
    assert other.is_in()
    again = console.another()
    asked = again.sign_in()
    assert again.post("/sign-in/code", ticket=hidden(asked.text, "ticket"), code=code).status_code == 401


def test_the_qr_code_says_what_the_page_says_and_to_its_user_alone(console: Console) -> None:
    console.sign_in()
    setup = console.post("/account/codes").text
    secret = re.search(r"<code>([A-Z2-7]{32})</code>", setup)
    address = re.search(r'<img class="qr" src="([^"]+)"', setup)
    assert secret is not None
    assert address is not None
    picture = console.browser.get(address[1])
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.headers["cache-control"] == "no-store"
    assert "style" not in picture.text
    said = pyotp.totp.TOTP(secret[1]).provisioning_uri(name="ann", issuer_name="Mingjian")
    drawn = io.BytesIO()
    segno.make(said, error="m", micro=False).save(drawn, kind="svg", scale=4, xmldecl=False, light="#fff")
    assert picture.content == drawn.getvalue()
    accounts.make_user(console.workspace, OPERATOR, "bob", memberships=[Membership(EVERYONE, "reader")])
    link = accounts.make_link(
        console.workspace, OPERATOR, accounts.user_named(console.workspace, OPERATOR, "bob").public_id
    )
    bob = console.another()
    bob.post("/sign-in/link", t=link.reveal())
    assert bob.browser.get(address[1]).status_code == 404
    assert console.another().browser.get(address[1]).status_code == 303
    code = pyotp.totp.TOTP(secret[1]).now()
    assert console.post("/account/codes/confirm", ticket=hidden(setup, "ticket"), code=code).status_code == 303
    assert console.browser.get(address[1]).status_code == 404


def test_a_token_is_shown_once_and_may_do_what_it_says(console: Console) -> None:
    console.sign_in()
    page = console.post("/account/tokens", name="my job", days="7", right="read").text
    found = re.search(r"<code>(mj_[\w-]{43})</code>", page)
    assert found is not None
    assert "my job" in console.browser.get("/account").text
    assert found[1] not in console.browser.get("/account").text
    program = TestClient(console.app, base_url=HTTPS, headers={"authorization": f"Bearer {found[1]}"})
    assert program.get("/detections").status_code == 200
    assert program.get("/admin/users").status_code == 403
    assert program.post("/account/tokens", data={"name": "more", "days": "7", "right": "read"}).status_code == 403
    console.post("/account/tokens/remove", key=hidden_key(console.browser.get("/account").text))
    assert program.get("/api/v1/detections").status_code == 401


def hidden_key(page: str) -> str:
    found = re.search(r'/account/tokens/remove.*?name="key" value="([^"]*)"', page, re.DOTALL)
    assert found is not None
    return found[1]


def test_one_sees_where_one_is_signed_in_and_ends_it(console: Console) -> None:
    other = console.another()
    console.sign_in()
    other.sign_in()
    page = console.browser.get("/account").text
    assert page.count("<code>testclient</code>") == 2
    console.post("/account/sessions/end")
    assert console.is_in()
    assert not other.is_in()


def test_an_account_is_made_and_managed_on_its_page(console: Console) -> None:
    console.sign_in()
    made = console.post("/admin/users", name="bob", title="<i>Bob", role="reader", place="*", language="zh").text
    link = re.search(r"/sign-in/link\?t=([\w-]+)", made)
    assert link is not None
    assert "&lt;i&gt;Bob" in made
    assert "<i>" not in made
    bob = console.another()
    assert bob.post("/sign-in/link", t=link[1]).status_code == 303
    assert "我的账号" in bob.browser.get("/account").text
    user = accounts.user_named(console.workspace, OPERATOR, "bob")
    here = f"/admin/users/{user.public_id}"
    assert bob.browser.get(here).status_code == 403
    assert console.post(f"{here}/role", place="*", role="auditor").status_code == 303
    audited = bob.browser.get("/admin/audit")
    assert audited.status_code == 200
    assert '<a href="/admin/audit" aria-current="page" title="审计 (g a)">' in audited.text, "it is in the rail"
    assert "(g a)" in (rail := console.browser.get("/admin/audit").text)
    assert "Audit (g a)" not in rail, "for an administrator it is a part of administration"
    assert console.post(f"{here}/role", place="*", role="king").status_code == 422
    assert console.post(f"{here}/link").status_code == 200
    assert console.post(f"{here}/factors").status_code == 303
    assert not bob.is_in()
    assert console.post(f"{here}/state", state="disabled").status_code == 303
    own = accounts.user_named(console.workspace, OPERATOR, "ann").public_id
    assert console.post(f"/admin/users/{own}/state", state="disabled").status_code == 403
    assert "bob" in console.browser.get("/admin/users").text


def test_the_audit_log_is_shown_with_its_proof(console: Console) -> None:
    console.sign_in()
    listed = console.browser.get("/admin/audit")
    assert "sign-in.done" in listed.text
    assert "— mingjian/" in console.browser.get("/admin/audit/0").text
    assert console.browser.get("/admin/audit/999999").status_code == 404
    assert console.browser.get("/admin/audit/x").status_code == 404
    assert console.post("/admin/audit/verify").status_code == 200
    assert "as it was signed" in console.post("/admin/audit/verify").text
    first = console.browser.get("/admin/audit?limit=2")
    assert first.status_code == 200


def test_a_password_that_was_typed_twice_differently_is_not_taken(console: Console) -> None:
    console.sign_in()
    different = {"old": GOOD, "new": "another long sentence", "again": "another long sentense"}
    assert console.post("/account/password", **different).status_code == 422
    assert (
        console.post(
            "/account/password", old="wrong", new="another long sentence", again="another long sentence"
        ).status_code
        == 401
    )
    assert console.is_in()
    changed = {"old": GOOD, "new": "another long sentence", "again": "another long sentence"}
    assert console.post("/account/password", **changed).status_code == 303
    assert console.another().sign_in().status_code == 401


def test_ones_profile_is_changed(console: Console) -> None:
    console.sign_in()
    assert console.post("/account/profile", title="安", language="zh").status_code == 303
    assert "我的账号" in console.browser.get("/account").text

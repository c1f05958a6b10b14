"""Requests that come too fast, as those see it who send them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from lakes import OPERATOR
from mingjian.console.app import create_app
from mingjian.console.gate import AccountGate
from mingjian.console.site import Site
from mingjian.settings import Settings
from mingjian.sources.definitions import load_sources
from mingjian.store import accounts, apitokens
from mingjian.store.scope import EVERYONE, Membership
from mingjian.store.sessions import Opened, use_link
from mingjian.store.workspace import Workspace, create

LIMITS = {"address_requests_per_minute": 40, "account_requests_per_minute": 5, "sign_in_requests_per_minute": 3}


class Console(NamedTuple):
    """The program, with limits that are soon reached."""

    app: Any
    workspace: Workspace

    def client(self, **headers: str) -> TestClient:
        """A client at 192.0.2.1."""
        return TestClient(
            self.app, base_url="https://console.test", follow_redirects=False, headers=headers, client=("192.0.2.1", 5)
        )

    def token(self, name: str) -> str:
        user = accounts.user_named(self.workspace, OPERATOR, "ann")
        link = accounts.make_link(self.workspace, OPERATOR, user.public_id).reveal()
        opened = use_link(self.workspace, link, address="192.0.2.9", agent="tests")
        assert isinstance(opened, Opened)
        _, text = apitokens.make_token(self.workspace, opened.session.scope, name, rights=["read"], lifetime_s=600)
        return text.reveal()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    with create(tmp_path / "workspace") as workspace:
        accounts.make_user(workspace, OPERATOR, "ann", memberships=[Membership(EVERYONE, "administrator")])
        settings = Settings(**LIMITS)  # type: ignore[arg-type]  # the limits are numbers
        site = Site(workspace, settings, load_sources(), AccountGate(workspace))
        site.pace._clock_s = lambda: 0.0
        yield Console(create_app(site), workspace)


def test_a_token_that_asks_too_often_is_told_when_to_come_again_and_others_are_not(console: Console) -> None:
    first = console.client(authorization=f"Bearer {console.token('first')}")
    statuses = [first.get("/api/v1/organisations").status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    answer = first.get("/api/v1/organisations")
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (429, "too-many-requests")
    assert "account_requests_per_minute" in problem["detail"]
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    second = console.client(authorization=f"Bearer {console.token('second')}")
    assert second.get("/api/v1/organisations").status_code == 200


def test_somebody_who_is_signed_in_gets_a_page_that_says_so(console: Console) -> None:
    user = accounts.user_named(console.workspace, OPERATOR, "ann")
    link = accounts.make_link(console.workspace, OPERATOR, user.public_id).reveal()
    browser = console.client()
    assert browser.post("/sign-in/link", data={"t": link}).status_code == 303
    statuses = [browser.get("/account").status_code for _ in range(6)]
    assert statuses[-1] == 429
    page = browser.get("/account")
    assert "<h1>Too many requests</h1>" in page.text
    assert int(page.headers["retry-after"]) >= 1
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", ["/sign-in", "/sign-in/link?t=x", "/sign-in/openid/back"])
def test_signing_in_is_slowed_down_before_anything_is_looked_at(console: Console, path: str) -> None:
    browser = console.client()
    statuses = [browser.get(path).status_code for _ in range(5)]
    assert statuses[:3] == [statuses[0]] * 3
    assert statuses[3:] == [429, 429]
    page = browser.get("/sign-in", headers={"accept-language": "zh-CN"})
    assert page.status_code == 429
    assert "请求过多" in page.text
    assert int(page.headers["retry-after"]) >= 1
    assert browser.get("/-/health").status_code == 200


def test_bad_tokens_without_end_are_refused_by_their_address(console: Console) -> None:
    statuses = [
        console.client(authorization=f"Bearer mj_{number}").get("/api/v1/organisations").status_code
        for number in range(45)
    ]
    assert statuses == [401] * 40 + [429] * 5
    answer = console.client(authorization="Bearer mj_x").get("/api/v1/organisations")
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["status"] == 429
    assert console.client().get("/-/health").status_code == 200
    assert console.client().get("/static/x/console.css").status_code == 200


def test_too_many_wrong_passwords_are_answered_in_the_same_way(tmp_path: Path) -> None:
    with create(tmp_path / "workspace") as workspace:
        app = create_app(Site(workspace, Settings(), load_sources(), AccountGate(workspace)))
        browser = TestClient(app, base_url="https://console.test", follow_redirects=False)
        given = {"name": "ann", "password": "guess"}
        answers = [browser.post("/sign-in", data=given) for _ in range(11)]
    assert [each.status_code for each in answers] == [401] * 10 + [429]
    assert answers[-1].headers["retry-after"] == "300"


def test_every_operation_of_the_api_says_that_it_may_answer_so(console: Console) -> None:
    document = console.app.openapi()
    silent = [
        (path, method)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "429" not in operation["responses"]
    ]
    assert silent == []

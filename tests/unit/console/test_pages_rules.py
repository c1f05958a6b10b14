"""The page of a rule: also of one that is switched off, to which detections still lead."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from everypage import Furnished, furnished
from mingjian.console.app import create_app


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    found = furnished(tmp_path_factory.mktemp("rules"))
    with found.workspace:
        yield found


@pytest.fixture
def browser(place: Furnished) -> Iterator[TestClient]:
    headers = {"sec-fetch-site": "same-origin"}
    with TestClient(create_app(place.site), headers=headers, follow_redirects=True) as client:
        client.cookies.set("asker", "administrator@all")
        yield client


def test_a_rule_that_was_switched_off_is_shown_as_it_was_and_cannot_be_switched_off_again(
    place: Furnished, browser: TestClient
) -> None:
    here = "/rules/6a3bd5a1-7a9c-4d3e-9d51-000000000091"
    assert here in place.addresses["/rules/{id}"]
    live = browser.get(here).text
    assert f'action="{here}/switch-off"' in live
    assert "It is switched off" not in live
    browser.post(f"{here}/switch-off")
    gone = browser.get(here)
    assert gone.status_code == 200
    assert "Nothing feeds this" in gone.text
    assert "It is switched off" in gone.text
    assert "/switch-off" not in gone.text
    assert "该规则已停用" in browser.get(here + "?lang=zh").text
    assert browser.post(f"{here}/switch-off").status_code == 404
    assert here not in browser.get("/rules").text
    assert browser.get("/rules/never-was").status_code == 404


def test_a_rule_that_was_switched_off_is_found_and_switched_on_again(browser: TestClient) -> None:
    here = "/rules/6a3bd5a1-7a9c-4d3e-9d51-000000000091"
    browser.post(f"{here}/switch-off")
    assert f'href="{here}' in browser.get("/rules?state=off").text
    assert f'action="{here}/switch-on"' in browser.get(here).text
    answer = browser.post(f"{here}/switch-on")
    assert "It is switched off" not in answer.text
    assert f'action="{here}/switch-off"' in answer.text
    assert f'href="{here}' in browser.get("/rules").text
    assert f'href="{here}' not in browser.get("/rules?state=off").text
    assert browser.post("/rules/never-was/switch-on").status_code == 404


def test_only_who_may_change_rules_of_all_is_shown_how(browser: TestClient) -> None:
    here = "/rules/6a3bd5a1-7a9c-4d3e-9d51-000000000091"
    assert "/switch-o" in browser.get(here).text
    for asker in ("analyst@ours", "reader@all"):
        browser.cookies.set("asker", asker)
        assert "/switch-o" not in browser.get(here).text
        assert browser.post(f"{here}/switch-on").status_code in (403, 404)
    browser.cookies.set("asker", "administrator@all")


def test_a_level_asked_for_is_the_least_one(browser: TestClient) -> None:
    def levels(query: str) -> set[str]:
        return {json.loads(row)["level"] for row in browser.get(f"/rules?as=json{query}").text.splitlines()}

    every = levels("")
    assert {"medium", "high"} <= every
    assert levels("&level=medium") == every - {"low", "informational"}
    assert "medium" not in levels("&level=high")


def test_what_can_be_no_observable_is_no_link(browser: TestClient) -> None:
    page = browser.get("/detections?q=host:pc-odd").text
    assert 'href="/ask?q=pc-odd&amp;kind=host"' in page
    assert "kind=account" not in page
    assert "onerror" in page

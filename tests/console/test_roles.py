"""Each role in front of each page in each language, in one browser: what it may see is there, the rest is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from mingjian.console.routes import all_routes
from mingjian.store.scope import RIGHTS
from serving import ROLES, filled, served, site_of

PAGES = tuple((route.path, route.right) for route in all_routes() if route.method == "GET" and "{" not in route.path)
"""Every page that has an address of its own."""
NO_PAGES = ("/records", "/suppressions/new", "/account", "/account/codes/picture")
"""These need parameters, or a session, which the gate of these tests does not make."""
ACTIONS = tuple(
    (re.compile(re.sub(r"{\w+}", "[^/]+", route.path)), route.right) for route in all_routes() if route.method == "POST"
)
"""Where forms lead, and the right that it needs."""
WATCH = """
window.told = [];
document.addEventListener("securitypolicyviolation", (event) => told.push(event.violatedDirective));
"""
LOOK = """
() => ({
  lang: document.documentElement.lang,
  heading: document.querySelector("main h1")?.innerText ?? "",
  rail: [...document.querySelectorAll("nav.rail a")].map((each) => new URL(each.href).pathname),
  posts: [...document.querySelectorAll("form[method=post]")].flatMap((form) =>
    [form, ...form.querySelectorAll("[formaction]")].map((each) =>
      each.getAttribute("formaction") ?? each.getAttribute("action") ?? "")).filter((path) => path !== ""),
  told: window.told,
})
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with filled(tmp_path_factory.mktemp("roles")) as workspace, served(site_of(workspace)) as place:
        yield place


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("role", ROLES)
def test_a_role_sees_its_pages_and_no_others(browser: Any, address: str, role: str, language: str) -> None:
    held = RIGHTS[role]  # type: ignore[index]  # one of them
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(120_000)
    cookies = {"asker": f"{role}@all", "mingjian-language": language}
    context.add_cookies([{"name": name, "value": value, "url": address} for name, value in cookies.items()])
    page = context.new_page()
    told: list[str] = []
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("console", lambda message: told.append(message.text))
    page.add_init_script(WATCH)
    for path, right in PAGES:
        if path in NO_PAGES or path.startswith("/sign-in"):
            continue
        answer = page.goto(address + path)
        may = right in ("nobody", "anybody") or right in held
        if not may:
            assert answer.status == 403, (path, answer.status)
            told.clear()
        else:
            assert answer.status == 200, (path, answer.status)
        seen = page.evaluate(LOOK)
        assert seen["lang"] == ("zh-CN" if language == "zh" else "en"), path
        assert seen["heading"], path
        assert [each for each in seen["rail"] if not may_go(each, held)] == [], path
        assert [each for each in seen["posts"] if not may_send(each, held)] == [], path
        assert seen["told"] == told == [], path
    context.close()


def may_send(path: str, held: frozenset[str]) -> bool:
    """Whether a form or a button of a page would be answered."""
    place = path.partition("?")[0]
    right = next(right for pattern, right in ACTIONS if pattern.fullmatch(place))
    return right in ("nobody", "anybody") or right in held


def may_go(path: str, held: frozenset[str]) -> bool:
    """Whether a link of the rail leads somewhere."""
    return any(place == path and (right in ("nobody", "anybody") or right in held) for place, right in PAGES)

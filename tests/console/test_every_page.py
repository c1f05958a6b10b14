"""Every page that the program routes, in a real browser: both languages, both themes, wide and narrow, each role."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.testclient import TestClient

from everypage import FOR_NOBODY, NO_PAGES, ROUTED, Furnished, furnished
from mingjian.console.app import create_app
from mingjian.console.routes import all_routes
from mingjian.hunt.reasons import in_words
from mingjian.store.scope import RIGHTS
from serving import CANARY, ROLES, THEIRS, served
from watching import Tab, grave_violations, kept

RIGHT_OF = {route.path: route.right for route in all_routes() if route.method == "GET"}
ACTIONS = tuple(
    (re.compile(re.sub(r"{\w+}", "[^/]+", route.path)), route.right) for route in all_routes() if route.method == "POST"
)
"""Where forms lead, and the right that it needs."""
LINKS_OF_A_KIND = 4
"""Of the links that lead to the same route with the same parameters, so many are followed."""
WRONG = ["/no-such-page", "/rules/none", "/hunt/none", "/rule-packs/none", "/sources/quarantine/0", "/?org=none"]
"""Where nothing is."""
SAID_IN_CHINESE = (
    *("没有数据源提供日志源", "没有数据源", "未知的修饰符", "中有相同的规则", "JSON 格式错误"),
    *("没有这条规则", "没有这个页面"),
)
"""Reasons that stand on some of the pages."""
WITHOUT_TABLE = """
() => [...document.querySelectorAll("main canvas, main .chart, main svg")]
  .filter((chart) => chart.closest("a, button") === null)
  .filter((chart) => !chart.closest("figure, [data-charted]")?.querySelector("table tbody tr"))
  .map((chart) => chart.outerHTML.slice(0, 200))
"""
"""Charts that have no table beside them."""
NOT_ON_PAPER = """
() => [...document.querySelectorAll("main figure details table, main details.as-table table")]
  .filter((table) => !table.checkVisibility())
  .map((table) => table.caption?.innerText ?? table.outerHTML.slice(0, 200))
"""
"""Tables beside charts that do not print."""
LOOK = """
() => ({
  lang: document.documentElement.lang,
  heading: document.querySelector("main h1")?.innerText ?? "",
  rail: [...document.querySelectorAll("nav.rail a")].map((each) => new URL(each.href).pathname),
  posts: [...document.querySelectorAll("form[method=post]")].flatMap((form) =>
    [form, ...form.querySelectorAll("[formaction]")].map((each) =>
      each.getAttribute("formaction") ?? each.getAttribute("action") ?? "")).filter((path) => path !== ""),
})
"""


class Place:
    """A console with something on every page, and its address."""

    def __init__(self, found: Furnished, address: str) -> None:
        self.found = found
        self.address = address


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    found = furnished(tmp_path_factory.mktemp("pages"))
    with found.workspace, served(found.site) as address:
        yield Place(found, address)


def who_sees(path: str, who: str = "administrator@all") -> str:
    return "" if path in FOR_NOBODY else who


def may(right: str, role: str) -> bool:
    return right in ("nobody", "anybody") or right in RIGHTS[role]  # type: ignore[index]  # one of them


def test_every_page_of_the_running_program_is_looked_at(place: Place) -> None:
    wanted = {route.path for route in all_routes() if route.method == "GET"} - set(NO_PAGES)
    assert set(place.found.addresses) == wanted
    assert all(place.found.addresses.values())


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("path", [*ROUTED, "/no-such-page"])
def test_a_page_is_readable_and_complains_of_nothing(browser: Any, place: Place, path: str, language: str) -> None:
    for theme, width in (("light", 1280), ("dark", 390)):
        options = {"color_scheme": theme, "viewport": {"width": width, "height": 844}}
        tab = Tab(browser, place.address, language, who_sees(path), **options)
        for number, address in enumerate(place.found.addresses.get(path, [path])):
            page = tab.open(address)
            page.wait_for_selector("main h1")
            assert page.locator("html").get_attribute("lang") == ("zh-CN" if language == "zh" else "en"), address
            too_wide = "document.documentElement.scrollWidth > window.innerWidth"
            assert not page.evaluate(too_wide), (address, f"too wide at {width}")
            assert grave_violations(page) == [], address
            assert page.evaluate(WITHOUT_TABLE) == [], address
            kept(tab, f"{path.strip('/') or 'picture'}-{number}-{language}-{theme}-{width}")
            page.emulate_media(media="print")
            assert page.locator("main h1").first.is_visible(), address
            assert not page.locator("nav.rail").is_visible(), address
            assert page.evaluate(NOT_ON_PAPER) == [], address
            page.emulate_media(media="screen")
            assert tab.complaints() == [], address
        tab.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("role", ROLES)
def test_a_role_sees_its_pages_and_no_others(browser: Any, place: Place, role: str, language: str) -> None:
    for path in ROUTED:
        if path in FOR_NOBODY:
            continue
        tab = Tab(browser, place.address, language, f"{role}@all")
        tab.context.set_default_timeout(120_000)
        for address in place.found.addresses[path]:
            answer = tab.page.goto(place.address + address)
            assert answer.status == (200 if may(str(RIGHT_OF[path]), role) else 403), (address, answer.status)
            seen = tab.page.evaluate(LOOK)
            assert seen["lang"] == ("zh-CN" if language == "zh" else "en"), address
            assert seen["heading"], address
            assert [each for each in seen["rail"] if not may(str(RIGHT_OF[each]), role)] == [], address
            assert [each for each in seen["posts"] if not may_send(each, role)] == [], address
            assert [each for each in tab.complaints() if "status of 403" not in each] == [], address
        if role != "administrator":
            assert grave_violations(tab.page) == [], path
        tab.context.close()


def may_send(path: str, role: str) -> bool:
    """Whether a form or a button of a page would be answered."""
    where = path.partition("?")[0]
    return may(next(str(right) for pattern, right in ACTIONS if pattern.fullmatch(where)), role)


def route_of(address: str) -> str:
    """The route that answers at an address, and the names of the parameters."""
    path, _, query = address.partition("?")
    names = ",".join(sorted({each.partition("=")[0] for each in query.split("&")}))
    for route in all_routes():
        if route.method == "GET" and re.fullmatch(re.sub(r"{\w+}", "[^/]+", route.path), path):
            return f"{route.path}?{names}"
    return f"{path}?{names}"


def tells_of_others(answer: Any) -> bool:
    """Whether a word of the other organisation is in an answer: its text, its heads, or a sheet that it is."""
    said = [answer.text, *answer.headers.values()]
    if answer.content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(answer.content)) as book:
            said = [book.read(name).decode("utf-8", "replace") for name in book.namelist()]
    return any(CANARY in each or THEIRS in each for each in said)


@pytest.mark.parametrize("asker", ["administrator@all", "analyst@ours", "reader@ours", "auditor@ours"])
def test_every_link_of_every_page_leads_somewhere(place: Place, asker: str) -> None:
    with TestClient(create_app(place.found.site), base_url="http://console.test", follow_redirects=False) as client:
        client.cookies.set("asker", asker)
        found: dict[str, dict[str, str]] = {}
        for addresses in place.found.addresses.values():
            for address in addresses:
                page = client.get(address)
                assert not asker.endswith("@ours") or not tells_of_others(page), address
                if page.status_code == 200:
                    for link in re.findall(r'(?:href|hx-get|data-renew|data-href)="([^"#]+)', page.text):
                        link = link.replace("&amp;", "&").replace("&#39;", "'").replace("&#34;", '"')
                        found.setdefault(route_of(link), {}).setdefault(link, address)
        assert len(found) > 40
        lost: list[str] = []
        for kind in found.values():
            for link, address in list(kind.items())[:LINKS_OF_A_KIND]:
                answer = client.get(link)
                assert not asker.endswith("@ours") or not tells_of_others(answer), link
                lost += [f"{address} leads to {link}: {answer.status_code}"] if answer.status_code >= 400 else []
        assert lost == []


NO_LISTS = {
    "/": "the picture: its tables are of charts, and what it lists is in the queue",
    "/brief": "a document, which is there as HTML, DOCX and PDF",
    "/situations/{id}": "one situation: its detections are exported in the list of detections",
    "/detections/{id}": "one detection",
    "/records": "one record",
    "/ask": "a card",
    "/hunt": "its jobs are exported among all jobs, its hits are seen and not kept",
    "/sources/quarantine/{id}": "one piece",
    "/admin/retention": "what is set, some lines",
    "/admin/users/{user}": "one person",
    "/admin/audit/{number}": "one act",
    "/account": "one's own account",
}
"""Pages with a table that are no lists, and what they are."""


def test_every_page_with_a_table_is_a_list_with_all_exports_or_is_known_to_be_none(place: Place) -> None:
    with TestClient(create_app(place.found.site), base_url="http://console.test", follow_redirects=False) as client:
        client.cookies.set("asker", "administrator@all")
        assert set(NO_LISTS) <= set(ROUTED)
        lists = 0
        for route, addresses in place.found.addresses.items():
            page = client.get(addresses[0]).text
            main = page.partition("<main")[2]
            if "<table" not in main and "data-export" not in main and 'class="empty"' not in main:
                continue
            if route in NO_LISTS:
                continue
            lists += 1
            sep = "&" if "?" in addresses[0] else "?"
            for form in ("csv", "xlsx", "json"):
                assert f"as={form}" in page, (route, form)
                answer = client.get(f"{addresses[0]}{sep}as={form}")
                assert answer.status_code == 200, (route, form)
                assert answer.headers["content-disposition"].endswith(f'.{form}"'), (route, form)
                assert answer.content, (route, form)
        assert lists >= 14


class Words(HTMLParser):
    """The texts of a page, and of the attributes that people read."""

    READ = ("title", "aria-label", "placeholder", "alt")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attrs if name in self.READ and value}

    def handle_data(self, data: str) -> None:
        self.found.add(data.strip())


def test_no_page_in_chinese_gives_a_reason_in_english(place: Place) -> None:
    with TestClient(create_app(place.found.site), base_url="http://console.test", follow_redirects=False) as client:
        client.cookies.update({"asker": "administrator@all", "mingjian-language": "zh"})
        seen: set[str] = set()
        for address in [each for several in place.found.addresses.values() for each in several] + WRONG:
            words = Words(client.get(address).text).found
            assert {each for each in words if in_words(each, "zh") != each} == set(), address
            seen |= words
    for reason in SAID_IN_CHINESE:
        assert any(reason in each for each in seen), reason

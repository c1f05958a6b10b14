"""The queue in a real browser: filters in the address, groups, views, verdicts by one key; nothing complains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from lakes import OPERATOR
from mingjian.situations.regrouping import regroup
from mingjian.store.catalogue import organisation_named
from serving import OURS, filled, served, site_of
from situated import Seen, put
from watching import Tab, grave_violations, kept

MANY = 130


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A console with more detections than a page holds, and some situations."""
    with filled(tmp_path_factory.mktemp("queue")) as workspace:
        ours = organisation_named(workspace, OPERATOR, OURS)
        several = [
            Seen(minute=place, rule="often", level="medium", host=f"ws-{place % 7}", account="ann")
            for place in range(MANY)
        ]
        told = [
            Seen(minute=place * 900, rule=f"rare-{place}", host=f"srv-{place}", account="bo", attack=["T1059"])
            for place in range(5)
        ]
        put(workspace, ours, [*several, *told], first=10_000)
        regroup(workspace, OPERATOR, ours.id)
        with served(site_of(workspace)) as place:
            yield place


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Tab]:
    found = Tab(browser, address)
    yield found
    found.context.close()


def rows(page: Any) -> int:
    return int(page.locator("tr[data-row]").count())


@pytest.mark.slow
def test_a_filter_is_typed_and_stands_in_the_address(tab: Tab) -> None:
    page = tab.open("/detections")
    page.wait_for_selector("html.has-script")
    page.keyboard.press("\\")
    page.keyboard.type("host:ws-3 level>=medium")
    page.wait_for_url("**q=host*")
    expect(page).to_have_url(re.compile("level"))
    expect(page.locator("tr[data-row]")).to_have_count(MANY // 7 + 1)
    several = rows(page)
    page.goto(page.url)
    assert rows(page) == several > 0
    assert page.locator("[data-filter-box]").input_value() == "host:ws-3 level>=medium"
    page = tab.open("/detections?q=hots%3Aws-3")
    assert "hots" in page.locator(".error").inner_text()
    assert tab.complaints() == []


@pytest.mark.slow
def test_groups_lead_to_what_is_in_them(tab: Tab) -> None:
    page = tab.open("/detections?group=host&q=title%3Aoften")
    assert rows(page) == 7
    page.wait_for_selector("html.has-script")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**host%3Aws-*")
    assert 0 < rows(page) < 30
    kept(tab, "queue-groups")
    assert tab.complaints() == []


@pytest.mark.slow
def test_more_rows_come_when_the_end_is_reached(tab: Tab) -> None:
    page = tab.open("/detections")
    page.locator("[data-next]").scroll_into_view_if_needed()
    page.locator("tr[data-row]").nth(MANY).wait_for()
    assert tab.complaints() == []


@pytest.mark.slow
def test_one_key_judges_the_row_and_another_takes_it_back(tab: Tab) -> None:
    page = tab.open("/queue")
    before = rows(page)
    assert before >= 4
    page.wait_for_selector("html.has-script")
    page.keyboard.press("j")
    page.keyboard.press("j")
    first = page.locator("tr.current").get_attribute("id")
    assert page.url.endswith(f"#{first}")
    page.keyboard.press("f")
    page.wait_for_selector(".undo")
    assert rows(page) == before - 1
    assert page.locator("tr.current").get_attribute("id") != first
    page.keyboard.press("z")
    expect(page.locator("tr[data-row]")).to_have_count(before)
    page.keyboard.press("k")
    page.keyboard.press("x")
    page.locator("input[name=owner]").fill("ann")
    page.locator("button[formaction*='/assign']").click()
    page.locator("tr[data-row] td.text", has_text="ann").first.wait_for()
    assert tab.complaints() == []


@pytest.mark.slow
def test_all_that_match_are_judged_at_once(tab: Tab) -> None:
    page = tab.open("/detections?q=title%3Aoften+verdict%3Anone")
    page.wait_for_selector("html.has-script")
    page.locator("[data-every]").check()
    page.locator("button[formaction*='/act/benign']").click()
    expect(page.locator("tr[data-row]")).to_have_count(0, timeout=60_000)
    page = tab.open("/detections?q=title%3Aoften+verdict%3Abenign&group=rule")
    assert page.locator("td.number").first.inner_text() == str(MANY)
    assert tab.complaints() == []


@pytest.mark.slow
def test_a_view_is_saved_found_again_and_removed(tab: Tab) -> None:
    page = tab.open("/detections?q=host%3Aws-1&group=rule")
    page.locator(".views summary").click()
    page.locator(".views input[name=name]").fill("Ann's host")
    page.locator(".views form[action='/views'] button").click()
    page.wait_for_url("**done=view-saved*")
    assert page.locator(".views a[aria-current]").inner_text() == "Ann's host"
    page = tab.open("/detections")
    page.locator(".views a", has_text="Ann's host").click()
    page.wait_for_url("**group=rule*")
    page.locator(".views summary").click()
    page.locator(".view-line button").click()
    page.wait_for_url("**done=view-removed*")
    assert page.locator(".views a", has_text="Ann's host").count() == 0
    assert tab.complaints() == []


@pytest.mark.slow
def test_two_situations_are_put_together_and_taken_apart_again(tab: Tab) -> None:
    page = tab.open("/queue?q=title:rare*")
    before = rows(page)
    key = page.locator("input[name=key]").first.get_attribute("value")
    for place in (0, 1):
        page.locator("input[name=key]").nth(place).check()
    page.locator("button[formaction*='/act/merge']").click()
    expect(page.locator("tr[data-row]")).to_have_count(before - 1)
    page = tab.open(f"/situations/{key}")
    page.locator("form[action$='/undo'] button").first.click()
    page.wait_for_url("**done=saved*")
    page = tab.open("/queue?q=title:rare*")
    expect(page.locator("tr[data-row]")).to_have_count(before)
    assert tab.complaints() == []


@pytest.mark.slow
def test_what_is_selected_is_exported(tab: Tab) -> None:
    page = tab.open("/queue")
    page.wait_for_selector("html.has-script")
    page.keyboard.press("j")
    page.keyboard.press("x")
    with page.expect_download() as waiting:
        page.locator("button[formaction*='/export']").click()
    lines = waiting.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 2
    assert tab.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_queue_is_readable_everywhere(browser: Any, address: str, language: str) -> None:
    for path in ("/queue", "/detections", "/detections?group=rule", "/queue?group=organisation"):
        for theme, width in (("light", 1280), ("dark", 390)):
            tab = Tab(browser, address, language, color_scheme=theme, viewport={"width": width, "height": 844})
            page = tab.open(path)
            page.wait_for_selector("main h1")
            assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), (path, width)
            assert grave_violations(page) == []
            assert tab.complaints() == []
            kept(tab, f"queue-{path}-{language}-{theme}-{width}")
            tab.context.close()


@pytest.mark.slow
def test_the_queue_works_without_scripts(browser: Any, address: str) -> None:
    tab = Tab(browser, address, java_script_enabled=False)
    page = tab.open("/queue")
    several = rows(page)
    page.locator("input[name=key]").first.check()
    page.locator("button[formaction*='/act/benign']").click()
    page.wait_for_url("**done=saved*")
    assert rows(page) == several - 1
    page.locator(".undo button").click()
    page.wait_for_url("**done=undone*")
    assert rows(page) == several
    tab.context.close()

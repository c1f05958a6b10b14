"""What is done with pages in a real browser: with the keyboard alone, without scripts, and nothing complains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mingjian.store.browsing import Wanted, browse
from serving import HOSTILE, OPERATOR, RULE, filled, served, site_of
from watching import Tab


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with filled(tmp_path_factory.mktemp("console")) as workspace, served(site_of(workspace)) as place:
        yield place


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Tab]:
    found = Tab(browser, address)
    yield found
    found.context.close()


@pytest.mark.slow
def test_the_way_to_a_raw_record_needs_no_mouse(tab: Tab) -> None:
    page = tab.open("/")
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/queue")
    page = tab.open("/detections")
    page.wait_for_selector("html.has-script")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#drawer [data-evidence-link]")
    page.keyboard.press("e")
    page.wait_for_selector("#drawer .raw")
    page.keyboard.press("Escape")
    page.wait_for_selector("#drawer", state="hidden")
    page.keyboard.press("/")
    page.keyboard.type("pc-1")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ask?*")
    for key in ("Enter", "e"):
        page.wait_for_selector("html.has-script")
        page.keyboard.press("j")
        page.keyboard.press(key)
        page.wait_for_selector("#drawer .raw")
        page.keyboard.press("Escape")
        page.wait_for_selector("#drawer", state="hidden")
    page.wait_for_selector(".verdict")
    marks = page.locator("g[data-mark]")
    wanted = page.locator("a[data-mark]").nth(marks.count() - 1).get_attribute("href")
    marks.last.click(force=True)
    page.wait_for_selector(f'#drawer[data-href="{wanted}"] .raw')
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("dialog#keys[open]")
    assert tab.complaints() == []


@pytest.mark.slow
def test_a_raw_record_is_two_clicks_away_from_a_verdict_and_shows_hostile_text_as_text(tab: Tab) -> None:
    page = tab.open("/ask?q=pc-odd")
    page.locator("tr[data-row] a[data-drawer]", has_text="record").first.click()
    page.wait_for_selector("#drawer .raw")
    assert "<img src=x onerror=alert(1)>" in page.locator("#drawer .raw").inner_text()
    assert "\u202e" not in page.locator("body").inner_text()
    assert "{{7*7}}" in page.locator("#drawer .raw").inner_text()
    assert page.locator("img").count() == 0
    assert tab.complaints() == []
    assert HOSTILE not in page.content()


@pytest.mark.slow
def test_a_drawer_that_is_opened_again_is_a_page(tab: Tab) -> None:
    page = tab.open("/detections")
    link = page.locator("a.open").first
    link.click()
    page.wait_for_selector("#drawer .facts")
    link.click()
    page.wait_for_url("**/detections/*")
    page.go_back()
    page.wait_for_url("**/detections")
    assert tab.complaints() == []


@pytest.mark.slow
def test_a_filter_changes_the_list_and_the_address(tab: Tab) -> None:
    page = tab.open("/detections")
    before = page.locator("tr[data-row]").count()
    page.locator("select[name=level]").select_option("critical")
    page.wait_for_url("**level=critical*")
    page.wait_for_function(f"document.querySelectorAll('tr[data-row]').length < {before}")
    page.go_back()
    assert tab.complaints() == []


@pytest.mark.slow
def test_a_rule_is_tried_over_history_and_switched_on(tab: Tab) -> None:
    page = tab.open("/hunt")
    page.locator("textarea").fill(RULE.replace("000000000001", "000000000002").replace("whoami", "tool3"))
    page.wait_for_selector("#checked .note-box")
    page.locator("button[formaction*='/hunt/run']").click()
    page.wait_for_url("**/hunt/*")
    page.locator("form[action*='/jobs/cancel'] button").click()
    page.wait_for_url("**/hunt?done=cancelled")
    page.locator("a.open").first.click()
    page.locator("#drawer form[action*='/promote'] button").click()
    page.wait_for_url("**/rules?done=switched-on")
    assert page.locator("tr[data-row]").count() == 2
    assert tab.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/detections", "/sources", "/rules", "/hunt", "/ask?q=pc-1"])
def test_a_page_says_the_same_without_scripts(browser: Any, address: str, path: str) -> None:
    tab = Tab(browser, address, java_script_enabled=False)
    page = tab.open(path)
    assert page.locator("main h1").inner_text()
    assert page.locator("main table, main textarea").count() > 0
    tab.context.close()


def test_detections_are_paged_without_gaps_or_repetitions(tmp_path: Path) -> None:
    with filled(tmp_path) as workspace:
        whole = [each.id for each in browse(workspace, OPERATOR, Wanted(), limit=1000).rows]
        assert len(whole) > 20
        for order in ("newest", "oldest", "found"):
            seen: list[int] = []
            after: str | None = ""
            while after is not None:
                portion = browse(workspace, OPERATOR, Wanted(), order=order, after=after, limit=7)
                seen += [each.id for each in portion.rows]
                after = portion.after
            assert sorted(seen) == sorted(whole)
            assert len(seen) == len(set(seen))

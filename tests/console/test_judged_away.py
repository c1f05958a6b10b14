"""What was judged away, in a real browser: it is told, found again, and can be had back; so is what a filter hides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import expect

from lakes import OPERATOR
from mingjian.situations.keeping import Keeper
from mingjian.sources.definitions import load_sources
from mingjian.store.situations import SituationFilter, situations
from mingjian.store.warninglists import WarningLists
from serving import HOSTILE, filled, served, site_of
from watching import Tab, grave_violations, kept

REASON = f"a drill {HOSTILE[:28]}"
SAYS = {"en": "Nothing of this situation is in the queue any more", "zh": "该态势事项已不在待办队列中"}


class Place(NamedTuple):
    """A console, and a situation of one detection that a rule found."""

    address: str
    situation: str

    @property
    def path(self) -> str:
        return f"/situations/{self.situation}"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with filled(tmp_path) as workspace:
        Keeper(workspace, load_sources(), None, WarningLists(Path(), [])).step()
        found = situations(workspace, OPERATOR, SituationFilter(host="pc-odd")).situations[0]
        with served(site_of(workspace)) as address:
            yield Place(address, found.public_id)


def listed(tab: Tab, path: str, place: Place) -> bool:
    """Whether the situation stands in a list."""
    return bool(tab.open(path).locator(f"a[href*='{place.situation}']").count())


def looked_at(tab: Tab, name: str) -> None:
    assert grave_violations(tab.page) == []
    assert tab.page.locator("img").count() == 0
    assert not tab.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    kept(tab, name)
    assert tab.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_situation_whose_detections_are_false_is_told_found_again_and_had_back(
    browser: Any, place: Place, language: str, width: int
) -> None:
    tab = Tab(browser, place.address, language, viewport={"width": width, "height": 844})
    assert listed(tab, "/queue", place)
    page = tab.open(place.path)
    page.locator("input[name=detection]").first.check()
    page.locator("form:has(input[name=detection]) input[name=text]").fill(REASON)
    page.locator("button[formaction$='/false']:not([formaction*='/act/'])").click()
    page.wait_for_url("**done=saved*")
    assert SAYS[language] in page.locator("main").inner_text()
    warning = page.locator("main .warn").first.inner_text()
    assert "a drill" in warning
    assert "administrator@all" in warning
    assert page.locator("button[formaction*='/situations/act/']").count() == 0
    looked_at(tab, f"judged-away-{language}-{width}")
    assert not listed(tab, "/queue", place)
    assert not listed(tab, "/queue?state=all", place)
    # The way back: a view of the queue, from there the page, there one button.
    page = tab.open("/queue")
    page.locator(".views a[href*='emptied']").click()
    page.wait_for_url("**state=emptied*")
    looked_at(tab, f"judged-away-list-{language}-{width}")
    page.goto(place.address + str(page.locator(f"a[href*='{place.situation}']").first.get_attribute("href")))
    page.locator("input[name=detection]").first.check()
    page.locator("button[formaction$='/reopen']").click()
    page.wait_for_url("**done=saved*")
    assert SAYS[language] not in page.locator("main").inner_text()
    assert listed(tab, "/queue", place)
    assert tab.complaints() == []
    tab.context.close()


@pytest.mark.slow
def test_a_situation_that_was_closed_as_false_is_found_among_those_and_opened_again(browser: Any, place: Place) -> None:
    tab = Tab(browser, place.address)
    page = tab.open(place.path)
    page.locator("input[name=reason]").first.fill(REASON)
    page.locator("button[formaction='/situations/act/false']").click()
    page.wait_for_url("**done=saved*")
    assert "a drill" in page.locator("main").inner_text()
    assert not listed(tab, "/queue", place)
    page = tab.open("/queue")
    page.locator(".views a[href*='state=closed']").click()
    page.wait_for_url("**state=closed*")
    assert page.locator(f"a[href*='{place.situation}']").count() == 1
    assert listed(tab, "/queue?q=verdict:false&state=closed", place)
    page = tab.open(place.path)
    page.locator("button[formaction='/situations/act/reopen']").click()
    page.wait_for_url("**done=saved*")
    assert listed(tab, "/queue", place)
    assert tab.complaints() == []
    tab.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_a_filter_hides_is_told_with_the_filter_and_comes_back_when_it_is_taken_back(
    browser: Any, place: Place, language: str
) -> None:
    tab = Tab(browser, place.address, language)
    page = tab.open(place.path)
    page.locator("button[formaction='/situations/act/suppress']").click()
    page.wait_for_url("**/suppressions/new?*")
    assert page.locator("form[action*='/suppressions/try'] button[formaction]").count() == 0, "it is tried first"
    looked_at(tab, f"filter-draft-{language}")
    drafted = page.locator("textarea[name=text]").input_value()
    narrower = re.sub(
        r"selection:.*condition", "selection: {Hostname: pc-odd}\n    condition", drafted, flags=re.DOTALL
    )
    page.locator("textarea[name=text]").fill(narrower)
    page.locator("input[name=reason]").fill(REASON)
    page.locator("form[action*='/suppressions/try'] button").first.click()
    page.wait_for_selector("main p.warn strong")
    assert re.search(r"\b1\b", page.locator("main p.warn strong").inner_text())
    looked_at(tab, f"filter-tried-{language}")
    page.locator("button[formaction*='/suppressions']").click()
    page.wait_for_url("**/suppressions?*")
    row = page.locator("tr[data-row]")
    expect(row).to_have_count(1)
    assert "a drill" in row.inner_text()
    looked_at(tab, f"filters-{language}")
    assert not listed(tab, "/queue", place)
    assert not tab.open("/detections").locator("tr[data-row]", has_text="pc-odd").count()
    # The situation says what hides it, and leads there.
    assert listed(tab, "/queue?state=emptied", place)
    page = tab.open(place.path)
    assert "a drill" in page.locator("main .warn").first.inner_text()
    page.locator("main .warn a[href*='/suppressions']").click()
    page.wait_for_url("**/suppressions?*")
    expect(page.locator("tr[data-row]")).to_have_count(1)
    page.locator("tr[data-row] input[name=key]").check()
    page.locator("button[formaction*='/suppressions/take-back']").click()
    page.locator("tr[data-row] .state.ended").wait_for()
    assert listed(tab, "/queue", place)
    assert tab.open("/detections").locator("tr[data-row]", has_text="pc-odd").count() == 1
    assert tab.complaints() == []
    tab.context.close()


@pytest.mark.slow
def test_a_reader_sees_what_was_judged_away_and_can_change_nothing(browser: Any, place: Place) -> None:
    tab = Tab(browser, place.address)
    page = tab.open(place.path)
    page.locator("input[name=detection]").first.check()
    page.locator("button[formaction$='/benign']:not([formaction*='/act/'])").click()
    page.wait_for_url("**done=saved*")
    tab.context.close()
    tab = Tab(browser, place.address, who="reader@all")
    page = tab.open(place.path)
    assert SAYS["en"] in page.locator("main").inner_text()
    assert page.locator("main [formaction], main form[action]").count() == 0
    looked_at(tab, "judged-away-reader")
    tab.context.close()

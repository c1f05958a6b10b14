"""Situations, the card and the picture in a real browser: what is drawn is in a table, and everything can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from lakes import OPERATOR
from mingjian.situations.regrouping import regroup
from mingjian.store.catalogue import organisation_named
from mingjian.store.situations import SituationFilter, situations
from serving import HOSTILE, OURS, filled, served, site_of
from situated import Seen, put
from watching import Tab, grave_violations, kept

TOOL = {"hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}


@pytest.fixture
def place(tmp_path: Any) -> Iterator[tuple[str, str]]:
    """The address of a console, and the situation whose story has several parts."""
    with filled(tmp_path) as workspace:
        ours = organisation_named(workspace, OPERATOR, OURS)
        story = [
            Seen(minute=0, rule="run", host="srv-1", account="bo", things=TOOL, attack=["T1059"]),
            Seen(minute=5, rule=HOSTILE, host="srv-1", account="bo", things=TOOL, attack=["T1547"]),
            Seen(minute=9, rule="move", host="srv-2", account="bo", things=TOOL, attack=["T1021"], level="critical"),
            Seen(minute=900, rule="other", host="srv-9", account="cy", attack=["T1059"]),
        ]
        put(workspace, ours, story, first=10_000)
        regroup(workspace, OPERATOR, ours.id)
        wanted = SituationFilter(host="srv-2")
        found = situations(workspace, OPERATOR, wanted).situations[0]
        with served(site_of(workspace)) as address:
            yield address, found.public_id


@pytest.fixture
def tab(browser: Any, place: tuple[str, str]) -> Iterator[Tab]:
    found = Tab(browser, place[0])
    yield found
    found.context.close()


@pytest.mark.slow
def test_a_situation_is_drawn_and_told(tab: Tab, place: tuple[str, str]) -> None:
    page = tab.open(f"/situations/{place[1]}")
    # What was seen, and what must have been before it and was not seen.
    names = page.locator(".lane-names li").all_inner_texts()
    assert "Initial Access" in names
    assert "Lateral Movement 1" in names
    assert page.locator(".lane-chart line.inferred").count() >= 1
    assert "somebody must have got in" in page.locator(".lane-notes").inner_text()
    # The graph has its table, which says the same in words.
    page.locator(".chart.graph canvas").wait_for()
    page.locator("figure[data-chart=graph] summary").click()
    rows = page.locator("figure[data-chart=graph] tbody tr")
    assert rows.count() >= 3
    assert TOOL["hash"] in page.locator("figure[data-chart=graph] table").inner_text()
    assert page.locator("img").count() == 0
    assert HOSTILE not in page.content()
    kept(tab, "situation")
    assert tab.complaints() == []


@pytest.mark.slow
def test_the_raw_record_is_two_clicks_away(tab: Tab) -> None:
    page = tab.open("/detections?q=host:pc-odd")
    page.locator("a.open").first.click()
    page.locator("#drawer [data-evidence-link]").click()
    page.locator("#drawer .raw").wait_for()
    assert tab.complaints() == []


@pytest.mark.slow
def test_what_was_taken_out_comes_back_when_it_is_undone(tab: Tab, place: tuple[str, str]) -> None:
    page = tab.open(f"/situations/{place[1]}")
    lines = page.locator("form[data-rows] tr[data-row]")
    before = lines.count()
    lines.filter(has_text="srv-2").locator("input").check()
    page.locator("button[formaction$='/split']").click()
    page.wait_for_url("**done=saved*")
    assert lines.count() < before
    page.locator("form[action$='/undo'] button").first.click()
    page.wait_for_url("**done=saved*")
    expect(lines).to_have_count(before)
    assert tab.complaints() == []


@pytest.mark.slow
def test_a_person_works_on_a_situation(tab: Tab, place: tuple[str, str]) -> None:
    page = tab.open(f"/situations/{place[1]}")
    page.wait_for_selector("html.has-script")
    page.keyboard.press("w")
    page.wait_for_url("**done=saved*")
    page.locator("textarea[name=text]").fill(HOSTILE)
    page.locator("form[action$='/comment'] button").click()
    page.wait_for_url("**done=saved*")
    page.locator("form[action$='/task'] input[name=text]").fill("look at srv-1")
    page.locator("form[action$='/task'] input[name=due]").fill("2020-01-31")
    page.locator("form[action$='/task'] button").click()
    page.locator(".late", has_text="2020-01-31").wait_for()
    page.locator("form[action$='/task-done'] button").click()
    page.locator("form.task", has_text="✓").wait_for()
    page.locator("form[action$='/task-done'] button").click()
    expect(page.locator("form.task", has_text="✓")).to_have_count(0)
    page.locator("form[action$='/declare'] button").click()
    page.locator(".incident").wait_for()
    page.locator(".incident select").select_option("closed")
    page.locator(".incident button").click()
    page.wait_for_url("**done=saved*")
    assert page.locator(".incident select").input_value() == "closed"
    assert "in work" in page.locator("main").inner_text()
    assert tab.complaints() == []


@pytest.mark.slow
def test_a_card_shows_what_it_touched_and_when(tab: Tab) -> None:
    page = tab.open("/ask?q=pc-1")
    assert page.locator(".lane-chart g").count() > 0
    assert page.locator("figure[data-chart=graph] tbody tr").count() > 0
    kept(tab, "card")
    assert tab.complaints() == []


@pytest.mark.slow
def test_the_picture_leads_to_everything_it_says(tab: Tab, place: tuple[str, str]) -> None:
    page = tab.open("/")
    assert page.locator("#picture tr[data-row]").count() >= 2
    page.locator("#picture tr[data-row] a.open").first.click()
    page.locator("#drawer .lanes").wait_for()
    page.keyboard.press("Escape")
    page.locator(".lead-sentence a").first.click()
    page.wait_for_url("**/queue?q=created*")
    assert page.locator("tr[data-row]").count() >= 2
    page = tab.open("/?wall=1")
    assert page.locator("nav.rail").is_hidden()
    assert "Last heard" in page.locator("main").inner_text()
    kept(tab, "wall")
    assert tab.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_they_are_readable_everywhere_and_on_paper(browser: Any, place: tuple[str, str], language: str) -> None:
    for path in (f"/situations/{place[1]}", "/ask?q=pc-1", "/"):
        for theme, width in (("light", 1280), ("dark", 1280), ("dark", 390)):
            tab = Tab(browser, place[0], language, color_scheme=theme, viewport={"width": width, "height": 844})
            page = tab.open(path)
            page.wait_for_selector("main h1")
            assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), (path, width)
            assert grave_violations(page) == []
            kept(tab, f"{path[:11]}-{language}-{theme}-{width}")
            page.emulate_media(media="print")
            assert page.locator("nav.rail").is_hidden()
            assert page.locator("main table").count() > 0
            kept(tab, f"{path[:11]}-{language}-print-{width}")
            assert tab.complaints() == []
            tab.context.close()


@pytest.mark.slow
def test_without_scripts_tables_stand_in_for_pictures(browser: Any, place: tuple[str, str]) -> None:
    tab = Tab(browser, place[0], java_script_enabled=False)
    page = tab.open(f"/situations/{place[1]}")
    assert page.locator("figure[data-chart=graph] table").is_visible()
    assert page.locator(".chart").first.is_hidden()
    tab.context.close()

"""Packs of rules in a real browser: sent, read, tried over history, switched on, removed; nothing complains."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from everypage import PACK, errands
from lakes import OPERATOR
from mingjian.hunt import packs
from mingjian.store import packs as stored_packs
from mingjian.store.workspace import Workspace
from serving import HOSTILE, RULE, filled, served, site_of
from watching import Tab, grave_violations, kept

NEW = RULE.replace("000000000001", "000000000077").replace("title: Somebody", f"title: '{HOSTILE[:20]}'\n#")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with filled(tmp_path) as made:
        errands(made)
        yield made


@pytest.fixture
def address(workspace: Workspace) -> Iterator[str]:
    with served(site_of(workspace)) as place:
        yield place


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name, text in {**PACK, "new.yml": NEW}.items():
            made.writestr(f"rules/{name}", text)
    file = tmp_path / "rules.zip"
    file.write_bytes(data.getvalue())
    return file


def send(tab: Tab, file: Path, name: str = "") -> Any:
    """Send a file as a pack; gives its page, on which it is still to be read."""
    page = tab.open("/rule-packs")
    page.locator("input[name=files]").set_input_files(str(file))
    page.locator("input[name=name]").fill(name)
    page.locator("form[enctype] button").click()
    page.wait_for_url("**/rule-packs/*done=pack-sent*")
    return page


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_pack_is_sent_read_tried_switched_on_and_removed(
    browser: Any, address: str, workspace: Workspace, archive: Path, language: str
) -> None:
    tab = Tab(browser, address, language)
    page = send(tab, archive, "of a friend")
    here = page.url.partition("?")[0]
    assert page.locator("#pack .state").count() == 1
    # The page says by itself that the pack was read.
    errands(workspace)
    page.wait_for_selector("tr[data-row]", timeout=60_000)
    titles = page.locator("td.link").all_inner_texts()
    assert len(titles) == 4
    assert any(HOSTILE[:20] in title for title in titles)
    assert page.locator("img").count() == 0
    page.goto(here + "/skipped")
    assert page.locator("tr[data-row]").count() == 3
    page.goto(here)
    page.locator("form[action$='/try'] button").click()
    page.wait_for_url("**/hunt/*done=trial-asked*")
    errands(workspace)
    page.goto(here)
    found = page.locator("tr[data-row]").filter(has_text="Somebody").locator("td.number").first.inner_text()
    assert int(found) > 0
    before = queued(tab)
    page.goto(here)
    page.locator("select[name=level]").last.select_option("high")
    page.locator("form[action$='/switch-on'] button").click()
    page.wait_for_url("**/rules?done=switched-on*")
    assert page.locator("tr[data-row]").filter(has_text=HOSTILE[:20]).count() == 1
    assert queued(tab) == before, "a trial leaves nothing in the queue"
    page.goto(here)
    page.locator("form[action$='/rule-packs/remove'] button").click()
    page.wait_for_url("**/rule-packs?done=pack-removed*")
    assert page.locator("tr[data-row]").count() == 0
    assert stored_packs.packs(workspace, OPERATOR) == []
    page = tab.open("/rules")
    assert page.locator("tr[data-row]").filter(has_text=HOSTILE[:20]).count() == 1, "rules go on running"
    assert tab.page.goto(here).status == 404
    assert tab.complaints() == []
    tab.context.close()


def queued(tab: Tab) -> int:
    return int(tab.open("/detections").locator("tr[data-row]").count())


@pytest.mark.slow
def test_packs_are_removed_in_the_list_with_the_keyboard(
    browser: Any, address: str, workspace: Workspace, archive: Path
) -> None:
    tab = Tab(browser, address)
    for name in ("one", "two", "three"):
        send(tab, archive, name)
    errands(workspace)
    page = tab.open("/rule-packs")
    page.wait_for_selector("html.has-script")
    expect(page.locator("tr[data-row]")).to_have_count(3)
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.locator("button[formaction*='/rule-packs/remove']").click()
    expect(page.locator("tr[data-row]")).to_have_count(2)
    assert sorted(each.name for each in stored_packs.packs(workspace, OPERATOR)) == ["one", "two"]
    assert tab.complaints() == []
    tab.context.close()


@pytest.mark.slow
def test_a_pack_that_cannot_be_read_says_why_and_can_be_removed(
    browser: Any, address: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path
) -> None:
    monkeypatch.setattr(packs, "RULE_FILES_MAX", 1)
    tab = Tab(browser, address)
    page = send(tab, archive)
    errands(workspace)
    page.wait_for_selector("#pack .error", timeout=60_000)
    page.locator("form[action$='/rule-packs/remove'] button").click()
    page.wait_for_url("**/rule-packs?done=pack-removed*")
    assert tab.complaints() == []
    tab.context.close()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["reader@all", "analyst@ours"])
def test_who_may_not_change_the_rules_of_all_is_offered_nothing(
    browser: Any, address: str, workspace: Workspace, archive: Path, who: str
) -> None:
    tab = Tab(browser, address)
    here = send(tab, archive).url.partition("?")[0]
    errands(workspace)
    tab.context.close()
    tab = Tab(browser, address, who=who)
    page = tab.open("/rule-packs")
    assert page.locator("form[enctype]").count() == 0
    status = tab.page.goto(here).status
    assert status == (200 if who.endswith("@all") else 404)
    assert tab.page.locator("form[method=post][action*='/rule-packs']").count() == 0
    assert grave_violations(tab.page) == []
    kept(tab, f"pack-{who}")
    assert tab.complaints() == []
    tab.context.close()

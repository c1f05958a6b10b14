"""The page of a situation: what is judged away stays readable, says why, and can be had back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lakes import OPERATOR
from mingjian.console.app import create_app
from mingjian.situations.keeping import Keeper
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import organisation_named
from mingjian.store.situations import SituationFilter, members_of, situations
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace
from serving import OURS, filled, site_of


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with filled(tmp_path_factory.mktemp("pages")) as made:
        Keeper(made, load_sources(), None, WarningLists(Path(), [])).step()
        yield made


@pytest.fixture
def browser(workspace: Workspace) -> Iterator[TestClient]:
    headers = {"sec-fetch-site": "same-origin"}
    with TestClient(create_app(site_of(workspace)), headers=headers, follow_redirects=True) as client:
        client.cookies.set("asker", "analyst@ours")
        yield client


def test_a_situation_that_was_judged_away_says_why_and_comes_back(workspace: Workspace, browser: TestClient) -> None:
    ours = organisation_named(workspace, OPERATOR, OURS).id
    found = situations(workspace, OPERATOR, SituationFilter(organisation=ours)).situations[0]
    here = f"/situations/{found.public_id}"
    names = [each.public_id for each, _ in members_of(workspace, found)]
    browser.post(f"{here}/comment", data={"text": "first line\r\nsecond line"})
    # One by one: whenever the first of it goes, the others are another situation, to which this address leads.
    for name in names:
        assert browser.post(f"{here}/benign", data={"detection": name, "text": "a drill"}).status_code == 200
    page = browser.get(here).text
    assert "Nothing of this situation is in the queue any more" in page
    assert "a drill" in page
    assert "analyst@ours" in page
    assert "first line<br>second line" in page
    assert page.count('name="detection"') >= 1
    assert 'formaction="/situations/act/true"' not in page
    last = str(browser.get(here).url).rpartition("/")[2]
    assert "该态势事项已不在待办队列中" in browser.get(f"/situations/{last}?lang=zh").text
    assert last in browser.get("/queue?state=emptied").text
    assert last not in browser.get("/queue?state=all").text
    assert browser.post("/situations/act/take", data={"key": last}).status_code == 409
    browser.post(f"{here}/reopen", data={"detection": ",".join(names)})
    again = browser.get(here).text
    assert "Nothing of this situation" not in again
    assert "first line<br>second line" in again


def test_whoever_asks_for_a_part_of_another_situation_is_sent_there_with_the_same_question(
    workspace: Workspace, browser: TestClient
) -> None:
    ours = organisation_named(workspace, OPERATOR, OURS)
    first, second, *_ = situations(workspace, OPERATOR, SituationFilter(organisation=ours.id)).situations
    browser.post(f"/situations/{first.public_id}/merge", data={"with": second.public_id})
    gone = next(
        each.public_id
        for each in (first, second)
        if browser.get(f"/situations/{each.public_id}", follow_redirects=False).status_code == 303
    )
    asked = f"/situations/{gone}?lang=zh&org={ours.public_id}&done=saved"
    answer = browser.get(asked, follow_redirects=False)
    assert answer.headers["location"].partition("?")[2] == asked.partition("?")[2]
    page = browser.get(asked)
    assert page.status_code == 200
    assert '<html lang="zh-CN"' in page.text
    assert "已保存" in page.text


def test_whoever_is_not_signed_in_is_asked_to_in_the_language_of_the_address(workspace: Workspace) -> None:
    with TestClient(create_app(site_of(workspace)), follow_redirects=True) as nobody:
        assert '<html lang="zh-CN"' in nobody.get("/queue?lang=zh").text
        assert '<html lang="en"' in nobody.get("/queue?lang=en").text


def test_a_card_says_how_many_lines_are_not_listed(browser: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = browser.get("/ask?q=pc-1").text
    lines_all = whole.count("data-record ")
    assert lines_all > 1
    assert "are not listed here" not in whole
    monkeypatch.setattr("mingjian.console.pages.ask.STEPS_SHOWN", 1)
    assert f"{lines_all - 1} more are not listed here" in browser.get("/ask?q=pc-1").text

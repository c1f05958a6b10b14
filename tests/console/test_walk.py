"""The first walk: a newcomer starts the demonstration, opens the address that it prints, and finds the way alone.

With ``--update`` the screenshots of the documentation are taken anew.
"""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from mingjian.sample.generate import ARRIVING_FILE, read_truth

IMAGES = Path(__file__).parent.parent.parent / "docs" / "images"
IMAGE_BYTES_MAX = 150_000
COLOURS = 96
PATIENCE_MS = 180_000
LONG_DAYS = 390
"""Thirteen months: so long nobody knew."""


class Demo(NamedTuple):
    """A demonstration that serves its console."""

    link: str
    """The address that it printed, to sign in once."""
    folder: Path

    @property
    def indicator(self) -> str:
        """The name of the server that the message named."""
        rows = (self.folder / ARRIVING_FILE).read_text(encoding="utf-8").splitlines()[1:]
        return rows[0].split(",")[0]

    @property
    def began(self) -> str:
        """The day on which the server was seen first, by the truth."""
        rows = [row for row in read_truth(self.folder) if row.kind == "planted" and row.step == "foothold"]
        return min(row.time for row in rows)[:10]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("walk") / "demo"
    command = [sys.executable, "-m", "mingjian", "demo", "--output", str(folder), "--serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            link = re.search(r"http://localhost:\d+/sign-in/link\?t=\S+", line)
            if link is not None:
                break
        else:
            pytest.fail(told)
        try:
            yield Demo(link[0], folder)
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()
        assert process.wait(60) == 0, rest
        assert str(folder) in rest


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 860}, locale="en-GB", timezone_id="UTC", accept_downloads=True
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda message: page.complaints.append(message.text))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page
    assert page.complaints == []
    context.close()


@pytest.fixture
def shot(page: Any, update: bool) -> Callable[[str], None]:
    """Take a screenshot for the documentation: small, and only if somebody asked for it."""

    def take(name: str) -> None:
        if not update:
            return
        data = page.screenshot(animations="disabled")
        picture = Image.open(io.BytesIO(data)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        IMAGES.mkdir(exist_ok=True)
        file = IMAGES / f"walk-{name}.png"
        picture.save(file, optimize=True)
        assert file.stat().st_size <= IMAGE_BYTES_MAX, name

    return take


def whole(page: Any, link: Any) -> None:
    """Open something as a page: the first click shows it beside, the second one alone."""
    href = link.get_attribute("href")
    link.click()
    page.wait_for_selector("#drawer:not([hidden]) .facts, #drawer:not([hidden]) h2")
    link.click()
    page.wait_for_url(f"**{href}")


@pytest.mark.slow
def test_a_newcomer_finds_the_intruder_and_does_the_work_of_a_day(
    demo: Demo, page: Any, shot: Callable[[str], None]
) -> None:
    page.goto(demo.link)
    page.locator("main button, form button").first.click()
    page.wait_for_selector("html.has-script nav.rail")
    # The page before shows the picture, too: keys that are pressed while it goes away are lost.
    with page.expect_navigation():
        page.locator("nav.rail a.brand").click()
    page.wait_for_selector("html.has-script #picture")
    shot("picture")
    situation = find_the_intrusion(demo, page, shot)
    see_what_it_did(demo, page, shot)
    tune_a_noisy_rule(page, shot)
    hunt_for_the_indicator(demo, page, shot)
    declare_an_incident(page, shot, situation)
    print_the_brief(page, shot)


def find_the_intrusion(demo: Demo, page: Any, shot: Callable[[str], None]) -> str:
    """The most dangerous situation of the queue is the old one; it begins on the day that the truth says."""
    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/queue")
    page.wait_for_selector("html.has-script tr[data-row]")
    shot("queue")
    rows = page.locator("tr[data-row]", has_text=demo.indicator)
    assert rows.count() >= 1
    whole(page, rows.first.locator("a.open"))
    assert demo.indicator in page.locator("main").inner_text()
    shot("situation")
    first = min(page.locator("main time").evaluate_all("all => all.map((each) => each.getAttribute('datetime'))"))
    assert first[:10] == demo.began
    last = max(page.locator("main time").evaluate_all("all => all.map((each) => each.getAttribute('datetime'))"))
    assert (date.fromisoformat(last[:10]) - date.fromisoformat(demo.began)).days >= LONG_DAYS
    return page.url


def see_what_it_did(demo: Demo, page: Any, shot: Callable[[str], None]) -> None:
    """Its card says that it is a foe and what it did; a raw record is two clicks away."""
    page.keyboard.press("/")
    page.keyboard.type(demo.indicator)
    page.keyboard.press("Enter")
    page.wait_for_url("**/ask?*")
    page.wait_for_selector(".verdict.foe")
    shot("card")
    assert demo.began in page.content()
    page.locator("main a[data-drawer]", has_text="record").first.click()
    page.wait_for_selector("#drawer .raw")
    assert demo.indicator in page.locator("#drawer").inner_text()
    shot("record")


def tune_a_noisy_rule(page: Any, shot: Callable[[str], None]) -> None:
    """The noisiest rule that is about single events gets a filter, which is tried before it hides anything."""
    page.keyboard.press("Escape")
    page.locator("nav.rail a[href^='/rules']").click()
    page.wait_for_url("**/rules")
    shot("rules")
    whole(page, page.locator("tr[data-row] a.open").first)
    page.locator("main a[href*='/suppressions/new']").click()
    page.wait_for_url("**/suppressions/new?*")
    page.locator("input[name=reason]").fill("Backups do this every night")
    page.locator("form[action*='/suppressions/try'] button").first.click()
    page.wait_for_selector("main p.warn strong")
    would = int(re.sub(r"\D", "", page.locator("main p.warn strong").inner_text().partition("detection")[0]) or 0)
    assert would >= 1
    shot("tune")
    page.locator("button[formaction*='/suppressions']").click()
    page.wait_for_url("**/suppressions?*")
    assert "Backups do this every night" in page.locator("main").inner_text()


def hunt_for_the_indicator(demo: Demo, page: Any, shot: Callable[[str], None]) -> None:
    """What somebody pastes is looked for in all of history, and the answer says what could not be seen."""
    page.locator("nav.rail a[href^='/hunt']").click()
    page.locator("input[name=form][value=indicators]").check()
    page.locator("textarea").fill(demo.indicator.replace(".", "[.]"))
    page.wait_for_selector("#checked .note-box")
    page.locator("button[formaction*='/hunt/run']").click()
    page.wait_for_selector("main section .warn")
    assert demo.began in page.content()
    assert re.search(r"(Seen|except)", page.locator("main section .warn").first.inner_text())
    shot("hunt")


def declare_an_incident(page: Any, shot: Callable[[str], None], situation: str) -> None:
    page.goto(situation)
    form = page.locator("form[action$='/declare']")
    form.locator("input[name=text]").fill("Intruder in four organisations")
    form.locator("button").click()
    page.wait_for_url("**/situations/*?done=*")
    assert "Intruder in four organisations" in page.locator("main").inner_text()
    page.locator("main h1").scroll_into_view_if_needed()
    shot("incident")


def print_the_brief(page: Any, shot: Callable[[str], None]) -> None:
    """The brief counts the incident, prints without the frame, and is there as a document."""
    page.locator("nav.rail a").first.click()
    page.locator("main a[href^='/brief']").click()
    page.wait_for_selector("article.brief")
    shot("brief")
    assert page.locator("tr[data-figure=incidents] td").first.inner_text() == "1"
    page.emulate_media(media="print")
    assert not page.locator("nav.rail").is_visible()
    assert page.locator("article.brief").is_visible()
    page.emulate_media(media="screen")
    for form, start in (("pdf", b"%PDF"), ("docx", b"PK"), ("html", b"<!doctype")):
        with page.expect_download() as got:
            page.locator(f"a[data-form={form}]").click()
        assert got.value.path().read_bytes().lstrip().startswith(start)

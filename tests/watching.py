"""A page of a browser that writes down every complaint: for tests of the console."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

WATCH = """
window.found = [];
window.alert = () => found.push("alert");
document.addEventListener("securitypolicyviolation", (event) => found.push(`policy: ${event.violatedDirective}`));
"""
GRAVE = ("serious", "critical")


class Tab:
    """A page of the browser that writes down every complaint."""

    def __init__(
        self, browser: Any, address: str, language: str = "en", who: str = "administrator@all", **options: Any
    ) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB"} | options)
        cookies = {"asker": who, "mingjian-language": language}
        self.context.add_cookies([{"name": name, "value": value, "url": address} for name, value in cookies.items()])
        self.address = address
        self.told: list[str] = []
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.told.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.told.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.told.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: self._look(request.url))
        self.page.add_init_script(WATCH)

    def _look(self, url: str) -> None:
        if not url.startswith((self.address, "data:")):
            self.told.append(f"another origin: {url}")

    def open(self, path: str) -> Any:
        self.page.goto(self.address + path)
        return self.page

    def complaints(self) -> list[str]:
        # A page that is not there, or makes no sense, is told to the console by the browser itself.
        told = [each for each in self.told if "status of 404" not in each and "status of 422" not in each]
        return told + self.page.evaluate("window.found")


def grave_violations(page: Any) -> list[str]:
    """What axe finds that is serious."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    violations = axe.Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in violations if each["impact"] in GRAVE]


def kept(tab: Tab, name: str) -> None:
    """Keep a screenshot where somebody asked for them."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        clean = "".join(each if each.isalnum() else "-" for each in name).strip("-")
        tab.page.screenshot(path=str(Path(folder) / f"{clean}.png"), full_page=True)

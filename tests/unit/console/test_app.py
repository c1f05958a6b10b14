"""Pages that take long wait for their turn, and nobody else waits for them; what is refused is told in words."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient

from mingjian.console import app
from mingjian.console.routes import Route
from mingjian.console.site import Visit
from mingjian.store import packs
from mingjian.store.workspace import create
from serving import site_of

WAIT_S = 60


def test_lists_do_not_wait_for_heavy_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()
    at_once: list[int] = []

    def heavy(visit: Visit) -> Response:
        at_once.append(1)
        begun.release()
        assert may_end.wait(WAIT_S)
        return PlainTextResponse("heavy")

    def light(visit: Visit) -> Response:
        return PlainTextResponse("light")

    routes = (Route("GET", "/heavy", heavy, "nobody", is_heavy=True), Route("GET", "/light", light, "nobody"))
    monkeypatch.setattr(app, "all_routes", lambda: routes)

    async def ask_for_all() -> list[str]:
        made = app.create_app(site_of(workspace))
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(made), base_url="http://console.test") as client:
            waiting = [asyncio.create_task(client.get("/heavy")) for _ in range(app.HEAVY_AT_ONCE + 3)]
            for _ in range(app.HEAVY_AT_ONCE):
                assert await asyncio.to_thread(begun.acquire, timeout=WAIT_S)
            found = [(await client.get("/light")).text]
            assert len(at_once) == app.HEAVY_AT_ONCE
            may_end.set()
            return found + [answer.text for answer in await asyncio.gather(*waiting)]

    with create(tmp_path / "workspace") as workspace:
        assert asyncio.run(ask_for_all()) == ["light", *["heavy"] * (app.HEAVY_AT_ONCE + 3)]


@pytest.mark.parametrize(
    ("language", "said", "how"),
    [
        ("en", "There are 1 packs of rules, and no more are kept", "Remove those that are no longer needed"),
        ("zh", "规则包已达上限 1 个", "请先移除不再需要的规则包"),
    ],
)
def test_a_bound_is_told_in_the_language_of_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, said: str, how: str
) -> None:
    monkeypatch.setattr(packs, "PACKS_MAX", 1)
    with create(tmp_path / "workspace") as workspace:
        client = TestClient(app.create_app(site_of(workspace)), headers={"sec-fetch-site": "same-origin"})
        client.cookies.update({"asker": "administrator@all", "mingjian-language": language})
        files = {"files": ("one.yml", b"title: one")}
        assert client.post("/rule-packs", files=files).status_code == 200
        refused = client.post("/rule-packs", files=files)
        assert refused.status_code == 422
        assert said in refused.text
        assert how in refused.text
        assert "PACKS_MAX" not in refused.text
        problem = client.post("/api/v1/rule-packs", content=b"title: one").json()
        assert (problem["code"], "PACKS_MAX" in problem["detail"]) == ("limit-exceeded", True)

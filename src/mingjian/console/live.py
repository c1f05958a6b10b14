"""Live updates: what may be new, as server-sent events. The event says which topic; the page asks for what it shows.

Whoever may see the same shares one look at the database. Nothing of the data is in an event, so nothing can leak.

Source: WHATWG HTML, section 9.2 (server-sent events).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mingjian.console.site import Site
from mingjian.errors import NotAuthenticated, StorageError
from mingjian.store.inflow import last_received_us
from mingjian.store.jobs import jobs, last_ended_us
from mingjian.store.scope import Scope

LOOK_S: Final = 2.0
"""So often it is looked whether there is something new."""
BEAT_S: Final = 15.0
"""So often a sign of life is sent, and it is checked that the session still holds."""

Marks = Mapping[str, str]
"""Topic → what changes when there may be something new."""


def marks(site: Site, scope: Scope) -> Marks:
    """What may be new for somebody."""

    def look() -> Marks:
        workspace = site.workspace
        working = jobs(workspace, scope, states=["waiting", "running"])
        under_way = " ".join(f"{job.id}:{job.state}:{job.segments_done}" for job in working)
        return {
            "detections": str(site.newest.detection(scope)),
            "events": str(last_received_us(workspace, scope)),
            "jobs": f"{under_way} {last_ended_us(workspace, scope)}",
        }

    return site.memory.recall(("marks", scope.readable()), LOOK_S * 0.9, look)


async def stream(site: Site, request: Request, scope: Scope) -> AsyncIterator[str]:
    """The events for one page, until it is closed or its session ends."""
    known: Marks | None = None
    beat_s = time.monotonic()
    while not await request.is_disconnected():
        try:
            now = await run_in_threadpool(marks, site, scope)
            changed = [] if known is None else [topic for topic, mark in now.items() if known.get(topic) != mark]
            if known is None:
                yield "retry: 3000\n\n"
            known = now
            for topic in changed:
                yield f"event: changed\ndata: {json.dumps({'topic': topic})}\n\n"
            if time.monotonic() - beat_s > BEAT_S:
                beat_s = time.monotonic()
                await run_in_threadpool(site.gate.visitor, request)
                yield "event: beat\ndata: {}\n\n"
        except (NotAuthenticated, StorageError):
            yield "event: ended\ndata: {}\n\n"
            return
        await asyncio.sleep(LOOK_S)


def endpoint(site: Site) -> Callable[[Request], Awaitable[Response]]:
    """The address ``/live``."""

    async def live(request: Request) -> Response:
        visitor = await run_in_threadpool(site.gate.visitor, request)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        body = stream(site, request, visitor.scope)
        return StreamingResponse(body, media_type="text/event-stream", headers=headers)

    return live

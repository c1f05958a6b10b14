"""The application: pages, API, health and files, behind the guard. Made once for each process that serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route as StarletteRoute

from mingjian import __version__
from mingjian.console import answers, api, assets, guard, live
from mingjian.console.page import environment
from mingjian.console.routes import Route, all_routes
from mingjian.console.site import Site, Visit, Visitor, may
from mingjian.console.texts import LANGUAGES, load_texts
from mingjian.console.wording import number, size
from mingjian.errors import (
    ConfigError,
    LimitExceeded,
    MingjianError,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    StorageError,
)
from mingjian.hunt.attack import load_attack
from mingjian.store.inflow import last_received_us
from mingjian.store.jobs import jobs
from mingjian.store.scope import Scope

FORM_FIELDS_MAX: Final = 2_000
FORM_FILES_MAX: Final = 100
HEAVY_AT_ONCE: Final = 2
"""So many heavy pages are made at once in one process; more wait for their turn, and lists do not wait for them."""
FOR_EVER: Final = "public, max-age=31536000, immutable"


def create_app(site: Site) -> FastAPI:
    """Put everything together."""
    app = FastAPI(
        title="Mingjian",
        version=__version__,
        description="Cyber-security situational awareness: detections, verdicts, hunts, sources.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.site = site
    app.router.redirect_slashes = False
    heavy = asyncio.Semaphore(HEAVY_AT_ONCE)
    for route in all_routes():
        turn = heavy if route.is_heavy else nullcontext()
        app.router.routes.append(StarletteRoute(route.path, _endpoint(site, route, turn), methods=[route.method]))
    app.router.routes += [
        StarletteRoute("/static/{mark}/{name:path}", _static),
        StarletteRoute("/live", live.endpoint(site)),
        StarletteRoute("/-/health", _health),
        StarletteRoute("/-/ready", _readiness(site)),
        StarletteRoute("/-/metrics", _metrics(site)),
    ]
    api.add_to(app)
    app.add_exception_handler(MingjianError, _on_error(site))
    app.add_exception_handler(HTTPException, _on_http_error(site))
    app.add_middleware(guard.Guard, counters=site.counters, pace=site.pace)
    return app


def warm_up() -> None:
    """Read what every page needs, so that the first one does not wait for it."""
    load_attack()
    for language in LANGUAGES:
        load_texts(language)
    templates = environment()
    for name in templates.list_templates(filter_func=lambda name: name.startswith("pages/")):
        templates.get_template(name)


def _endpoint(
    site: Site, route: Route, turn: AbstractAsyncContextManager[None]
) -> Callable[[Request], Awaitable[Response]]:
    """A view in a thread, for those who may, when it is its turn."""

    async def endpoint(request: Request) -> Response:
        form = FormData()
        if request.method == "POST":
            form = await request.form(max_fields=FORM_FIELDS_MAX, max_files=FORM_FILES_MAX)
        try:
            async with turn:
                return await run_in_threadpool(_answer, site, route, request, form)
        finally:
            await form.close()

    return endpoint


def _answer(site: Site, route: Route, request: Request, form: FormData) -> Response:
    visitor: Visitor | None = None
    try:
        visitor = site.gate.visitor(request)
    except NotAuthenticated:
        if route.right != "nobody":
            raise
    if visitor is not None and route.right not in ("nobody", "anybody") and not may(visitor.scope, route.right):
        raise NotPermitted(f"{visitor.name} may not do this", hint="an administrator gives roles")
    return route.view(Visit(site, request, visitor, form))


def _on_error(site: Site) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        assert isinstance(error, MingjianError)
        return await run_in_threadpool(_told, site, request, error)

    return handler


def _told(site: Site, request: Request, error: MingjianError) -> Response:
    """An error for a person, or for a program."""
    status = answers.status_of(error)
    if request.url.path.startswith("/api/"):
        content = answers.problem(error, request.url.path)
        return JSONResponse(content, status, answers.headers_of(error), media_type=answers.PROBLEM_TYPE)
    visitor: Visitor | None = None
    try:
        visitor = site.gate.visitor(request)
    except (NotAuthenticated, StorageError):
        wants_page = request.method == "GET" and request.headers.get("hx-request") != "true"
        if status == 401 and wants_page:
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            visit = Visit(site, request, None)
            return RedirectResponse(visit.address("/sign-in", next=target, lang=visit.asked("lang"), org=None), 303)
    visit = Visit(site, request, visitor)
    visit.is_unchosen = True
    template = "error_part.html.j2" if visit.is_partial else "error.html.j2"
    key = f"error.{error.code}"
    title = visit.texts(key if key in visit.texts else "error.any")
    told = _limit_in_words(visit, error)
    page = visit.page(
        template, status=status, error=error, status_code=status, place="", title=title, lead="", told=told
    )
    page.headers.update(answers.headers_of(error))
    return page


def _limit_in_words(visit: Visit, error: MingjianError) -> str:
    """What a bound is and what to do about it, in the reader's language; empty if nobody wrote that down."""
    if not isinstance(error, LimitExceeded) or (key := f"limit.{error.limit}") not in visit.texts:
        return ""
    bound = int(error.bound)
    return visit.texts(key, n=size(bound) if error.limit.endswith("BYTES_MAX") else number(bound))


def _on_http_error(site: Site) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handler(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if request.url.path.startswith("/api/"):
            return answers.refusal(error.status_code, request.url.path, error.headers)
        is_missing = error.status_code == 404
        ours = NotFound("there is no such page") if is_missing else ConfigError(str(error.detail))
        answer = await run_in_threadpool(_told, site, request, ours)
        if answer.status_code == answers.status_of(ours):
            answer.status_code = error.status_code
        return answer

    return handler


async def _static(request: Request) -> Response:
    found = await run_in_threadpool(assets.content_of, request.path_params["name"])
    if found is None:
        return PlainTextResponse("there is no such file", 404)
    return Response(found[0], media_type=found[1], headers={"cache-control": FOR_EVER})


async def _health(request: Request) -> Response:
    """Whether the process lives."""
    return PlainTextResponse("ok\n")


def _readiness(site: Site) -> Callable[[Request], Awaitable[Response]]:
    def look() -> Response:
        try:
            last_received_us(site.workspace, Scope.of_operator())
        except StorageError as error:
            return PlainTextResponse(f"not ready: {error.what}\n", 503)
        return PlainTextResponse("ready\n")

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(look)

    return endpoint


def _metrics(site: Site) -> Callable[[Request], Awaitable[Response]]:
    """Counts for monitoring. Only figures about the program itself: they need no scope."""

    def look() -> Response:
        counts: list[tuple[str, int | float]] = list(site.counters.values().items())
        scope = Scope.of_operator()
        last = last_received_us(site.workspace, scope)
        if last is not None:
            counts.append(("seconds_since_last_events", (site.workspace.clock_us() - last) / 1_000_000))
        waiting = jobs(site.workspace, scope, states=["waiting", "running"])
        counts.append(("jobs_pending", len(waiting)))
        # With several processes, this says whose counts these are.
        counts.append(("start_time_seconds", site.started_at_s))
        return PlainTextResponse(guard.exposition(counts), media_type="text/plain; version=0.0.4")

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(look)

    return endpoint

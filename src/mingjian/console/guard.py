"""What stands before every request and behind every answer: size, origin, pace, headers, counts, one log line.

The content policy lets pages load scripts and styles from here alone, run nothing that stands in a page, be framed by
nobody and send forms nowhere else. A request that changes something must come from a page of ours.

Source: W3C Content Security Policy 3; W3C Fetch Metadata, Sec-Fetch-Site; OWASP ASVS 5.0, 3.4 and 3.5.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mingjian.console import answers, assets
from mingjian.console.pace import Pace
from mingjian.console.page import environment
from mingjian.console.texts import load_texts
from mingjian.console.wording import size
from mingjian.errors import LimitExceeded, MingjianError, NotPermitted, TooManyRequests
from mingjian.settings import Language
from mingjian.telemetry import Counters, logger, with_fields

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger request is refused."""
IMPORT_PATH: Final = "/api/v1/import/"
IMPORT_BYTES_MAX: Final = 256 * 1024 * 1024
"""What is taken in at this address goes to the disk while it comes in, and may be so large."""
TOO_LARGE: Final = 413
SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
BUCKETS_S: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.5)
"""Upper ends of the classes in which durations are counted."""

_log = logger("console")


def is_ours(method: str, headers: Headers, *, has_token: bool) -> bool:
    """Whether a request may change something, as far as where it comes from is concerned.

    A browser says where a request comes from; what says nothing is no browser, and has no cookies of one.
    """
    if method in SAFE_METHODS or has_token:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return "cookie" not in headers
    return origin.partition("://")[2] == headers.get("host", "")


class Guard:
    """The outermost layer of the application."""

    def __init__(
        self, app: ASGIApp, counters: Counters, pace: Pace, clock_s: Callable[[], float] = time.perf_counter
    ) -> None:
        self._app = app
        self._counters = counters
        self._pace = pace
        self._clock_s = clock_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock_s()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _complete(MutableHeaders(scope=message), scope["path"])
            await send(message)

        headers = Headers(scope=scope)
        bytes_max = IMPORT_BYTES_MAX if scope["path"].startswith(IMPORT_PATH) else BODY_BYTES_MAX
        refused = _refusal(scope["method"], headers, bytes_max)
        late = None if refused else self._too_many(scope)
        try:
            if refused is not None:
                await _refuse(sending, scope["path"], headers, *refused)
            elif late is not None:
                await _refuse(sending, scope["path"], headers, answers.status_of(late), late)
            else:
                await self._app(scope, _bounded(receive, bytes_max), sending)
        finally:
            self._count(scope, status, self._clock_s() - started)

    def _too_many(self, scope: Scope) -> TooManyRequests | None:
        client = scope.get("client")
        try:
            self._pace.check_request(scope["path"], client[0] if client else "")
        except TooManyRequests as error:
            return error
        return None

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        add = self._counters.add
        add(f'http_requests{{status="{status}"}}')
        if not scope["path"].endswith("/live"):
            for end in BUCKETS_S:
                if seconds <= end:
                    add(f'http_seconds_bucket{{le="{end}"}}')
            add('http_seconds_bucket{le="+Inf"}')
            add("http_seconds_microseconds_sum", int(seconds * 1_000_000))
        _log.info(
            "request",
            extra=with_fields(
                method=scope["method"], path=scope["path"], status=status, milliseconds=round(seconds * 1000, 1)
            ),
        )


def _refusal(method: str, headers: Headers, bytes_max: int) -> tuple[int, MingjianError] | None:
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > bytes_max:
        name = "IMPORT_BYTES_MAX" if bytes_max == IMPORT_BYTES_MAX else "BODY_BYTES_MAX"
        return TOO_LARGE, LimitExceeded(name, bytes_max, hint="send it in several parts")
    if not is_ours(method, headers, has_token=headers.get("authorization", "").startswith("Bearer ")):
        error = NotPermitted("the request comes from another site", hint="open the console, and do it there")
        return answers.status_of(error), error
    return None


async def _refuse(send: Send, path: str, headers: Headers, status: int, error: MingjianError) -> None:
    """Say why not, and when to come again: before anything else is done, so that it costs nothing."""
    more = answers.headers_of(error)
    if path.startswith("/api/"):
        body = json.dumps(answers.problem(error, path) | {"status": status})
        await _send_whole(send, status, body, answers.PROBLEM_TYPE, more)
        return
    said = headers.get("accept-language", "").lower()
    language: Language = "zh" if said.startswith("zh") else "en"
    kind = "wait" if isinstance(error, TooManyRequests) else "too-large" if status == TOO_LARGE else "foreign"
    page = environment().get_template("pages/refused.html.j2")
    figure = error.retry_after_s if isinstance(error, TooManyRequests) else size(BODY_BYTES_MAX)
    body = page.render(t=load_texts(language), language=language, kind=kind, figure=figure, assets=assets.known())
    await _send_whole(send, status, body, "text/html", more)


async def _send_whole(send: Send, status: int, body: str, media_type: str, more: Mapping[str, str]) -> None:
    content = body.encode()
    headers = [
        (b"content-type", f"{media_type}; charset=utf-8".encode()),
        (b"content-length", str(len(content)).encode()),
        *((name.encode(), value.encode()) for name, value in more.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def _complete(headers: MutableHeaders, path: str) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    if not path.startswith("/static/"):
        headers.setdefault("cache-control", "no-store")


def _bounded(receive: Receive, bytes_max: int) -> Receive:
    """A body without a length, or with a wrong one, is bounded while it is read: it ends, and counts as cut off."""
    seen = 0

    async def receiving() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > bytes_max:
                return {"type": "http.disconnect"}
        return message

    return receiving


def exposition(counts: Iterable[tuple[str, int | float]], prefix: str = "mingjian_") -> str:
    """Counts as Prometheus reads them. Source: Prometheus, text-based exposition format 0.0.4."""
    lines: list[str] = []
    for name, value in counts:
        if name == "http_seconds_microseconds_sum":
            name, value = "http_seconds_sum", value / 1_000_000
        lines.append(f"{prefix}{name} {value}")
    return "\n".join(lines) + "\n"

"""The HTTP intake: ``POST /intake/NAME`` with a bearer token; 200 means that every record of the body is on disk.

The protocol is h11's; sockets, time limits and bounds are ours. A request is answered with JSON: 200 with
``{"accepted": 3, "repeated": false}``, everything else with a problem as RFC 9457 describes it.

- 400 the body is not what it says · 401 no or a wrong token · 404 another path, or not this token's intake ·
  405 not POST · 413 too large · 415 not lines that stand for themselves · 422 the key was used for other content ·
  429 this sender sends too much at the same time, or too many wrong tokens · 503 the disk refuses, or too much waits.

A request that is sent again because its answer was lost is kept once: it is known by its ``Idempotency-Key``
(for ``CLIENT_KEYS_S``), or, without one, by its content (for ``CONTENT_KEYS_S``); the answer then says ``repeated``.

Fails closed: what passes a bound is refused, and the connection ends.
Source: RFC 9110, RFC 9112, RFC 6750, RFC 9457; draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import h11

from mingjian.errors import InputError, LimitExceeded, MingjianError, NotAuthenticated, ParseError, StorageError
from mingjian.sources.bodies import BODY_BYTES_MAX, Body, read_body, unpack
from mingjian.sources.journal import Journals, Outcome, Run, Target, digest_of
from mingjian.sources.tokens import Token, holder
from mingjian.telemetry import Counters

HEADERS_BYTES_MAX: Final = 16 * 1024
HEADERS_S: Final = 10.0
"""So long a client may take for request line and headers, from their first byte on."""
KEEP_ALIVE_S: Final = 60.0
"""So long a connection may stay without a request."""
BODY_PAUSE_S: Final = 10.0
"""So long a client may send nothing in the middle of a body."""
BODY_S: Final = 120.0
"""So long a client may take for a body."""
ANSWER_S: Final = 30.0
"""So long a client may take to read an answer."""
LINGER_S: Final = 1.0
"""So long we read on after an answer that ends the connection, so that the client gets to see it."""
BODIES_BYTES_MAX: Final = 64 * 1024 * 1024
"""So much all bodies that are being received may hold together."""
UNPACKING_MAX: Final = 2
"""So many bodies are decompressed and taken apart at the same time."""
REQUESTS_PER_TOKEN_MAX: Final = 32
"""So many requests with one token may be under way at the same time."""
WRONG_TOKENS_MAX: Final = 20
"""After so many wrong tokens from one address within ``WRONG_TOKENS_S`` the answer is 429."""
WRONG_TOKENS_S: Final = 60.0
WRONG_ADDRESSES_MAX: Final = 10_000
KEY_CHARACTERS_MAX: Final = 256
"""So long an ``Idempotency-Key`` may be."""
RETRY_AFTER_S: Final = 5

_READ_BYTES: Final = 64 * 1024
_PATH: Final = "/intake/"


class _Problem(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, error: MingjianError) -> None:
        super().__init__(error.what)
        self.status = status
        self.error = error


class _Left(Exception):
    """The client is gone, or too slow to be waited for."""


class _Request:
    """What the headers of one request say."""

    def __init__(self, request: h11.Request) -> None:
        self.method = request.method.decode("ascii")
        self.path = request.target.decode("ascii").partition("?")[0]
        self._headers = {name.decode("ascii"): value.decode("latin-1") for name, value in request.headers}

    def header(self, name: str) -> str:
        """The last header of this (lower-case) name; empty if there is none."""
        return self._headers.get(name, "")


class Intake:
    """The HTTP side of one listener: what all its connections share."""

    def __init__(
        self,
        journals: Journals,
        tokens: Callable[[], Sequence[Token]],
        counters: Counters,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._journals = journals
        self._tokens = tokens
        self._counters = counters
        self._clock_us = clock_us
        self.idle: set[asyncio.Task[None]] = set()
        """Connections that wait for a request: they may be ended at any time."""
        self._bodies_bytes = 0
        self._unpacking = asyncio.Semaphore(UNPACKING_MAX)
        self._under_way: Counter[str] = Counter()
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ending: asyncio.Event) -> None:
        """Answer the requests of one connection, one after the other, until it ends or we do."""
        await _Connection(self, reader, writer, ending).run()

    def token_for(self, request: _Request, address: str) -> Token:
        """Say whose token a request carries. Raises: _Problem."""
        scheme, _, given = request.header("authorization").partition(" ")
        token = holder(self._tokens(), given.strip()) if scheme.lower() == "bearer" else None
        if token is not None:
            return token
        self._counters.add("http_wrong_token")
        status = 429 if self._is_flooding(address) else 401
        raise _Problem(status, NotAuthenticated("a valid bearer token is needed"))

    def _is_flooding(self, address: str) -> bool:
        """Count a wrong token of an address; say whether there were too many. A right one is never refused for it."""
        now = time.monotonic()
        recent = [at for at in self._wrong.pop(address, []) if now - at < WRONG_TOKENS_S]
        self._wrong[address] = [*recent, now][-WRONG_TOKENS_MAX - 1 :]
        if len(self._wrong) > WRONG_ADDRESSES_MAX:
            self._wrong.popitem(last=False)
        return len(self._wrong[address]) > WRONG_TOKENS_MAX

    def reserve(self, size: int) -> None:
        """Count bytes of a body that is being received. Raises: _Problem: there are too many in all."""
        if self._bodies_bytes + size > BODIES_BYTES_MAX:
            raise _Problem(503, LimitExceeded("BODIES_BYTES_MAX", BODIES_BYTES_MAX, hint="try again in a moment"))
        self._bodies_bytes += size

    def release(self, size: int) -> None:
        """Forget bytes of a body."""
        self._bodies_bytes -= size

    def enter(self, token: Token) -> None:
        """Count a request of a sender. Raises: _Problem: too many at the same time."""
        if self._under_way[token.name] >= REQUESTS_PER_TOKEN_MAX:
            raise _Problem(429, LimitExceeded("REQUESTS_PER_TOKEN_MAX", REQUESTS_PER_TOKEN_MAX))
        self._under_way[token.name] += 1

    def leave(self, token: Token) -> None:
        """A request of a sender is over."""
        self._under_way[token.name] -= 1
        if not self._under_way[token.name]:
            del self._under_way[token.name]

    def count(self, status: int) -> None:
        """Count an answer."""
        self._counters.add(f"http_{status}")

    async def keep(self, request: _Request, token: Token, data: bytes, peer: tuple[str, int]) -> tuple[int, Outcome]:
        """Keep the records of a request durably; say how many, and whether they were there already.

        Raises:
            _Problem: nothing was kept.
        """
        received_us = self._clock_us()
        stated = request.header("idempotency-key")
        if len(stated) > KEY_CHARACTERS_MAX:
            raise _Problem(400, LimitExceeded("KEY_CHARACTERS_MAX", KEY_CHARACTERS_MAX))
        async with self._unpacking:
            body, content_key = await asyncio.to_thread(_unpacked, data, request, token)
        if not body.records:
            return 0, "kept"
        run = Run(
            lines=body.lines,
            records=body.records,
            received_us=received_us,
            address=peer[0],
            port=peer[1],
            key=digest_of("client", token.name, stated) if stated else content_key,
            key_of_client=bool(stated),
        )
        target = Target(listener_name(token.intake), token.organisation, body.format)
        try:
            return body.records, await self._journals.append(target, run)
        except (StorageError, LimitExceeded) as error:
            raise _Problem(503, error) from None
        except InputError as error:
            raise _Problem(422, error) from None


def listener_name(intake: str) -> str:
    """The name that journals of an HTTP intake have as their listener."""
    return f"http/{intake}"


def _unpacked(data: bytes, request: _Request, token: Token) -> tuple[Body, bytes]:
    """Take a body apart; also give the key of its content. Raises: _Problem."""
    kind = request.header("content-type").partition(";")[0].strip().lower()
    try:
        text = unpack(data, request.header("content-encoding"))
        if kind.startswith("multipart/"):
            raise _Problem(415, ParseError("a form with files is not taken", hint="send the records as the body"))
        return read_body(text, json_expected="json" in kind), digest_of("content", token.name, text)
    except LimitExceeded as error:
        raise _Problem(413, error) from None
    except ParseError as error:
        raise _Problem(400, error) from None
    except InputError as error:
        raise _Problem(415, error) from None


class _Connection:
    """One connection of a client."""

    def __init__(
        self, intake: Intake, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ending: asyncio.Event
    ) -> None:
        self._intake = intake
        self._reader = reader
        self._writer = writer
        self._ending = ending
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=HEADERS_BYTES_MAX)
        peer = writer.get_extra_info("peername") or ("", 0)
        self._peer = (str(peer[0]), int(peer[1]))

    async def run(self) -> None:
        """Serve until the connection ends."""
        with suppress(_Left, OSError, h11.LocalProtocolError):
            while await self._one():
                self._protocol.start_next_cycle()

    async def _one(self) -> bool:
        """Answer one request; say whether another one may follow."""
        try:
            request = await self._request()
            if request is None:
                return False
            accepted, outcome = await self._handle(request)
        except _Problem as problem:
            await self._answer_problem(problem)
        except h11.RemoteProtocolError as error:
            await self._answer_problem(
                _Problem(error.error_status_hint, ParseError("this is not HTTP as it should be"))
            )
        else:
            await self._answer(200, {"accepted": accepted, "repeated": outcome == "repeated"}, "application/json", [])
        if (
            self._protocol.our_state is h11.DONE
            and self._protocol.their_state is h11.DONE
            and not self._ending.is_set()
        ):
            return True
        await self._linger()
        return False

    async def _request(self) -> _Request | None:
        """Wait for a request; None if there comes none."""
        event = self._protocol.next_event()
        if event is h11.NEED_DATA and self._protocol.trailing_data[0] == b"":
            await self._wait_idle()
            event = self._protocol.next_event()
        deadline = time.monotonic() + HEADERS_S
        while event is h11.NEED_DATA:
            await self._read_before(deadline - time.monotonic())
            event = self._protocol.next_event()
        return _Request(event) if isinstance(event, h11.Request) else None

    async def _wait_idle(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._intake.idle.add(task)
        try:
            await self._read_before(KEEP_ALIVE_S)
        finally:
            self._intake.idle.discard(task)

    async def _read_before(self, seconds: float) -> None:
        """Hand more bytes to the protocol. Raises: _Left: there are none within the time."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                data = await self._reader.read(_READ_BYTES)
        except TimeoutError:
            raise _Left from None
        self._protocol.receive_data(data)

    async def _handle(self, request: _Request) -> tuple[int, Outcome]:
        token = self._intake.token_for(request, self._peer[0])
        if request.path != _PATH + token.intake:
            raise _Problem(404, ParseError("there is no such intake", hint="POST /intake/NAME, as your token says"))
        if request.method != "POST":
            raise _Problem(405, ParseError("only POST is understood"))
        self._intake.enter(token)
        reserved = 0
        try:
            declared = request.header("content-length")
            if declared and int(declared) > BODY_BYTES_MAX:
                raise _Problem(413, LimitExceeded("BODY_BYTES_MAX", BODY_BYTES_MAX, hint="send less at a time"))
            parts: list[bytes] = []
            deadline = time.monotonic() + BODY_S
            while (data := await self._more(deadline)) is not None:
                self._intake.reserve(len(data))
                reserved += len(data)
                parts.append(data)
                if reserved > BODY_BYTES_MAX:
                    raise _Problem(413, LimitExceeded("BODY_BYTES_MAX", BODY_BYTES_MAX, hint="send less at a time"))
            return await self._intake.keep(request, token, b"".join(parts), self._peer)
        finally:
            self._intake.release(reserved)
            self._intake.leave(token)

    async def _more(self, deadline: float) -> bytes | None:
        """The next bytes of the body; None at its end."""
        while True:
            event = self._protocol.next_event()
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                return None
            if event is not h11.NEED_DATA:
                raise _Left
            if self._protocol.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            await self._read_before(min(BODY_PAUSE_S, deadline - time.monotonic()))

    async def _answer_problem(self, problem: _Problem) -> None:
        """Answer with what is wrong. Source: RFC 9457 section 3; RFC 6750 section 3 for the challenge."""
        status = problem.status
        body: dict[str, object] = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": str(problem.error),
            "code": problem.error.code,
        }
        headers: list[tuple[str, str]] = []
        if status == 401:
            headers.append(("WWW-Authenticate", 'Bearer realm="mingjian"'))
        if status == 405:
            headers.append(("Allow", "POST"))
        if status in (429, 503):
            headers.append(("Retry-After", str(RETRY_AFTER_S)))
        await self._answer(status, body, "application/problem+json", headers)

    async def _answer(
        self, status: int, body: dict[str, object], kind: str, headers: Sequence[tuple[str, str]]
    ) -> None:
        self._intake.count(status)
        if self._protocol.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        data = json.dumps(body).encode() + b"\n"
        fields = [("Content-Type", kind), ("Content-Length", str(len(data))), ("Cache-Control", "no-store"), *headers]
        # A body that was not read to its end would be taken for the next request.
        if self._protocol.their_state is not h11.DONE or self._ending.is_set():
            fields.append(("Connection", "close"))
        await self._send(
            h11.Response(status_code=status, headers=fields, reason=HTTPStatus(status).phrase.encode()),
            h11.Data(data=data),
            h11.EndOfMessage(),
        )

    async def _send(self, *events: h11.Event) -> None:
        data = b"".join([self._protocol.send(event) or b"" for event in events])
        self._writer.write(data)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._writer.drain()
        except TimeoutError:
            raise _Left from None

    async def _linger(self) -> None:
        """Pass over what the client still sends: an answer is lost if the connection ends with bytes unread."""
        with suppress(OSError, TimeoutError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(_READ_BYTES):
                    pass

"""Listening on the network: syslog over UDP, TCP and TLS, and the HTTP intake; everything goes into journals.

What a sender may rely on:

- **HTTP**: an answer 200 means that the records are on disk (``sources.intake``).
- **Syslog over TCP and TLS**: the protocol has no acknowledgement. A sender that ends its side of the connection sees
  ours end only after everything that it sent is on disk; one that is killed, or we, may lose what was under way. If
  we cannot keep up, we stop reading, and the sender has to wait.
- **Syslog over UDP**: best effort. What the kernel drops because we cannot keep up is counted (``udp_dropped``).

Addresses without a host are on the loopback interface. Bounds are named beside their values; a connection beyond
them is closed and counted (fails closed).

Source: RFC 5426 (UDP), RFC 6587 (TCP), RFC 5425 and RFC 9662 (TLS).
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from mingjian.errors import ConfigError, LimitExceeded, MingjianError, shown
from mingjian.sources.framing import Framing
from mingjian.sources.intake import Intake
from mingjian.sources.journal import NAME_CHARACTERS_MAX, Journals, Run, Target, lines_of
from mingjian.sources.tokens import TOKENS_FILE, Token, read_tokens
from mingjian.telemetry import Counters, logger, with_fields

CONNECTIONS_MAX: Final = 1000
"""Of one listener, TLS handshakes counted."""
CONNECTIONS_PER_ADDRESS_MAX: Final = 200
HANDSHAKE_S: Final = 10.0
"""So long a TLS handshake may take."""
READ_BYTES: Final = 64 * 1024
DATAGRAM_BYTES_MAX: Final = 65_536
DATAGRAMS_AT_A_TIME: Final = 256
"""So many datagrams are read before others get their turn."""
RECEIVE_BUFFER_BYTES: Final = 8 * 1024 * 1024
"""So much the kernel is asked to hold for a UDP socket; it may grant less."""
NO_ROOM_S: Final = 0.02
"""So long we do not read datagrams if the journals have no room."""
ACCEPT_PAUSE_S: Final = 0.2
"""So long we do not accept connections if we have no file handles left."""
GRACE_S: Final = 5.0
"""So long connections get to end when we do."""
TOKENS_S: Final = 1.0
"""So often is looked if the file of tokens has changed."""
BACKLOG: Final = 256

_RXQ_OVFL: Final = getattr(socket, "SO_RXQ_OVFL", 40)
"""Linux: tell with each datagram how many were dropped before it. Python has no name for it in all versions."""
_DROPPED = struct.Struct("=I")
_SCHEMES: Final = ("syslog+udp", "syslog+tcp", "syslog+tls", "http", "https")
_ENCRYPTED: Final = ("syslog+tls", "https")

_log = logger("sources.listen")


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """One address to listen on."""

    scheme: str
    """``syslog+udp``, ``syslog+tcp``, ``syslog+tls``, ``http`` or ``https``."""
    host: str = "127.0.0.1"
    """An address, not a name."""
    port: int
    """0: any free one."""
    organisation: str = ""
    """Whose events come in here. For HTTP the token says it."""
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    """Only clients with a certificate of this authority may connect."""

    @property
    def name(self) -> str:
        """What journals call it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}/{host}:{self.port}"


def parse_listener(text: str) -> Listener:
    """Read an address as a person writes it, for example ``syslog+tls://0.0.0.0:6514?certificate=c.pem&key=k.pem``.

    Raises:
        ConfigError: it is none, says what this kind of listener does not know, or misses what it needs.

    >>> parse_listener("syslog+udp://:5514").name
    'syslog+udp/127.0.0.1:5514'
    """
    where = f"--listen {shown(text)}"
    try:
        parts = urlsplit(text)
        port = parts.port
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        host = parts.hostname or "127.0.0.1"
        host = "127.0.0.1" if host == "localhost" else str(ipaddress.ip_address(host))
    except ValueError as error:
        hint = "SCHEME://ADDRESS:PORT with a numeric address, for example syslog+udp://127.0.0.1:5514"
        raise ConfigError(f"this is no address: {shown(str(error))}", where=where, hint=hint) from None
    if parts.scheme not in _SCHEMES:
        raise ConfigError(f"the scheme is not one of {', '.join(_SCHEMES)}", where=where)
    if port is None or parts.path.strip("/") or parts.username is not None or parts.fragment:
        raise ConfigError("it must be SCHEME://ADDRESS:PORT[?name=value&…]", where=where)
    known = ("certificate", "key", "client_ca") if parts.scheme in _ENCRYPTED else ()
    known = (*known, "organisation") if parts.scheme.startswith("syslog") else known
    if unknown := [name for name in given if name not in known]:
        raise ConfigError(f"{shown(unknown[0])} is nothing that {parts.scheme} knows", where=where)
    if parts.scheme in _ENCRYPTED and not (given.get("certificate") and given.get("key")):
        raise ConfigError("certificate=FILE and key=FILE are needed", where=where)
    organisation = given.pop("organisation", "")
    if len(organisation) > NAME_CHARACTERS_MAX:
        raise ConfigError(f"an organisation has at most {NAME_CHARACTERS_MAX} characters", where=where)
    files = {name: Path(value) for name, value in given.items()}
    return Listener(
        scheme=parts.scheme,
        host=host,
        port=port,
        organisation=organisation,
        certificate=files.get("certificate"),
        key=files.get("key"),
        client_ca=files.get("client_ca"),
    )


class Listening:
    """Everything that listens in one process. Made, run and stopped in one event loop."""

    def __init__(
        self,
        folder: Path,
        listeners: Sequence[Listener],
        *,
        organisation: str,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.counters = Counters()
        """``udp_received``, ``udp_dropped`` (by the kernel), ``connections``, ``connections_refused``,
        ``messages_cut``, ``http_STATUS``, ``http_wrong_token``; and those of the journals."""
        self.addresses: list[tuple[str, str, int]] = []
        """Scheme, host and port of each listener, in order, once ``run`` has said that it is ready."""
        self.journals = Journals(folder, clock_us)
        self._folder = folder
        self._listeners = [
            listener if listener.organisation else msgspec.structs.replace(listener, organisation=organisation)
            for listener in listeners
        ]
        self.clock_us = clock_us
        self._tokens: tuple[Token, ...] = ()
        self._ending = asyncio.Event()
        self._open: dict[asyncio.Task[None], str] = {}
        self._per_address: Counter[tuple[str, str]] = Counter()
        self._intake = Intake(self.journals, lambda: self._tokens, self.counters, clock_us)

    def stop(self) -> None:
        """Let ``run`` come to its end."""
        self._ending.set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Listen until ``stop`` is called; then read no more, keep what was read, and come back.

        Raises:
            ConfigError: an address, a certificate or the tokens cannot be used. Nothing was listened on.
            StorageError: the folder cannot be used.
        """
        async with AsyncExitStack() as stack:
            self._tokens = await asyncio.to_thread(read_tokens, self._folder)
            sockets: list[socket.socket] = []
            contexts = [_tls(listener) for listener in self._listeners]
            for listener in self._listeners:
                sockets.append(stack.enter_context(_bound(listener)))
            await stack.enter_async_context(self.journals)
            tasks = [asyncio.create_task(self._watch_tokens())]
            for listener, bound, context in zip(self._listeners, sockets, contexts, strict=True):
                self.addresses.append((listener.scheme, *bound.getsockname()[:2]))
                if listener.scheme == "syslog+udp":
                    datagrams = _Datagrams(self, listener, bound)
                    stack.callback(datagrams.end)
                    datagrams.begin()
                else:
                    tasks.append(asyncio.create_task(self._accept(listener, bound, context)))
            ready()
            told = asyncio.create_task(self._ending.wait())
            try:
                await asyncio.wait([told, *tasks], return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._ending.set()
                await self._end(tasks)
            for task in tasks:
                if not task.cancelled():
                    # None of them ends by itself: this is a bug of ours, and is to be seen.
                    task.result()

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Accept nothing more, and give the open connections ``GRACE_S`` to end."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Syslog connections read no more and keep what they have; a request that is under way gets its answer.
        for task, name in self._open.items():
            if not name.startswith("http") or task in self._intake.idle:
                task.cancel()
        if self._open:
            await asyncio.wait(list(self._open), timeout=GRACE_S)
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _watch_tokens(self) -> None:
        """Read the tokens again whenever their file changes; a file that is wrong changes nothing."""
        path = self._folder / TOKENS_FILE
        before = await asyncio.to_thread(_stamp, path)
        while True:
            await asyncio.sleep(TOKENS_S)
            now = await asyncio.to_thread(_stamp, path)
            if now != before:
                before = now
                try:
                    self._tokens = await asyncio.to_thread(read_tokens, self._folder)
                except MingjianError as error:
                    _log.error("the tokens cannot be read; the old ones stay", extra=with_fields(error=str(error)))

    # --- connections ----------------------------------------------------------------------------------------------

    async def _accept(self, listener: Listener, bound: socket.socket, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connected, peer = await loop.sock_accept(bound)
            except OSError as error:
                self.counters.add("connections_refused")
                _log.error("no connection can be accepted just now", extra=with_fields(error=error.strerror))
                await asyncio.sleep(ACCEPT_PAUSE_S)
                continue
            address = str(peer[0])
            place = (listener.name, address)
            if (
                sum(1 for name in self._open.values() if name == listener.name) >= CONNECTIONS_MAX
                or self._per_address[place] >= CONNECTIONS_PER_ADDRESS_MAX
            ):
                self.counters.add("connections_refused")
                connected.close()
                continue
            self.counters.add("connections")
            self._per_address[place] += 1
            task = asyncio.create_task(self._connection(listener, connected, context))
            self._open[task] = listener.name
            task.add_done_callback(lambda done, place=place: self._closed(done, place))

    def _closed(self, task: asyncio.Task[None], place: tuple[str, str]) -> None:
        del self._open[task]
        self._per_address[place] -= 1
        if not self._per_address[place]:
            del self._per_address[place]
        if not task.cancelled() and (error := task.exception()) is not None:
            # A bug of ours must be seen; it ends this connection and no other.
            _log.error("a connection failed", exc_info=error)
            self.counters.add("connections_failed")

    async def _connection(self, listener: Listener, connected: socket.socket, context: ssl.SSLContext | None) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol,
                    connected,
                    ssl=context,
                    ssl_handshake_timeout=HANDSHAKE_S if context else None,
                )
        except (OSError, TimeoutError) as error:
            connected.close()
            self.counters.add("connections_refused")
            _log.info("a connection did not come about", extra=with_fields(error=str(error)))
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            if listener.scheme.startswith("http"):
                await self._intake.serve(reader, writer, self._ending)
            else:
                await self._syslog(listener, reader, writer)
        finally:
            with suppress(OSError, TimeoutError):
                writer.close()
                async with asyncio.timeout(GRACE_S):
                    await writer.wait_closed()
            transport.abort()

    async def _syslog(self, listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Keep the messages of one connection. Ours ends after everything is durable."""
        target = Target(listener.name, listener.organisation, "syslog")
        peer = writer.get_extra_info("peername") or ("", 0)
        framing = Framing()
        ended = False
        while not ended:
            data = b""
            with suppress(OSError):
                data = await self._unless_ending(reader.read(READ_BYTES)) or b""
            ended = not data
            cut_before = framing.cut
            lines, records = lines_of(framing.rest() if ended else framing.feed(data))
            self.counters.add("messages_cut", framing.cut - cut_before)
            if records:
                run = Run(
                    lines=lines,
                    records=records,
                    received_us=self.clock_us(),
                    address=str(peer[0]),
                    port=int(peer[1]),
                )
                try:
                    await self._until_done(self.journals.put(target, run))
                except LimitExceeded as error:
                    _log.error("messages cannot be kept", extra=with_fields(error=str(error), events=records))
                    return
        await self._until_done(self.journals.settled(target))

    async def _unless_ending(self, reading: Awaitable[bytes]) -> bytes | None:
        """What is read, or None if we are told to end before there is anything."""
        try:
            return await reading
        except asyncio.CancelledError:
            if not self._is_first_call():
                raise
            return None

    async def _until_done(self, keeping: Awaitable[None]) -> None:
        """Let what keeps data go on when we are told to end the first time."""
        task = asyncio.ensure_future(keeping)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._is_first_call():
                task.cancel()
                raise
            await task

    def _is_first_call(self) -> bool:
        """Whether the current task was told to end for the first time; it may then go on to put things in order."""
        task = asyncio.current_task()
        return self._ending.is_set() and task is not None and task.cancelling() <= 1


class _Datagrams:
    """Syslog over UDP on one socket."""

    def __init__(self, listening: Listening, listener: Listener, bound: socket.socket) -> None:
        self._journals = listening.journals
        self._counters = listening.counters
        self._clock_us = listening.clock_us
        self._target = Target(listener.name, listener.organisation, "syslog")
        self._socket = bound
        self._dropped = 0
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Read from now on."""
        self._later = None
        self._loop.add_reader(self._socket.fileno(), self._read)

    def end(self) -> None:
        """Read what is there already, and no more."""
        if self._later is not None:
            self._later.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._read_some(2**16)

    def _read(self) -> None:
        if not self._read_some(DATAGRAMS_AT_A_TIME):
            # What we do not read now waits in the kernel, or is dropped and counted there.
            self._loop.remove_reader(self._socket.fileno())
            self._later = self._loop.call_later(NO_ROOM_S, self.begin)

    def _read_some(self, count: int) -> bool:
        """Read datagrams that are there; False if there is no room for them."""
        for _ in range(count):
            if not self._journals.has_room(DATAGRAM_BYTES_MAX):
                return False
            try:
                data, ancillary, _, peer = self._socket.recvmsg(DATAGRAM_BYTES_MAX, 64)
            except (BlockingIOError, InterruptedError):
                return True
            except OSError as error:
                _log.warning("a datagram could not be read", extra=with_fields(error=error.strerror))
                return True
            self._counters.add("udp_received")
            for level, kind, value in ancillary:
                if level == socket.SOL_SOCKET and kind == _RXQ_OVFL and len(value) >= _DROPPED.size:
                    self._count_dropped(_DROPPED.unpack_from(value)[0])
            lines, records = lines_of([data])
            if records:
                run = Run(
                    lines=lines,
                    records=records,
                    received_us=self._clock_us(),
                    address=str(peer[0]),
                    port=int(peer[1]),
                )
                self._journals.offer(self._target, run)
        return True

    def _count_dropped(self, total: int) -> None:
        """The kernel counts from the start of the socket, in 32 bits."""
        new = (total - self._dropped) % 2**32
        if new:
            self._dropped = total
            self._counters.add("udp_dropped", new)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _tls(listener: Listener) -> ssl.SSLContext | None:
    """The TLS side of a listener; None if it has none. Raises: ConfigError."""
    if listener.certificate is None or listener.key is None:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(listener.certificate, listener.key, password=lambda: "")
        if listener.client_ca is not None:
            context.load_verify_locations(listener.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"the certificate or its key cannot be used: {reason}", where=listener.name) from None
    return context


@contextmanager
def _bound(listener: Listener) -> Generator[socket.socket]:
    """A socket that listens. Raises: ConfigError: the address cannot be used."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    kind = socket.SOCK_DGRAM if listener.scheme == "syslog+udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as made:
        made.setblocking(False)
        try:
            if kind == socket.SOCK_STREAM:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
                with suppress(OSError):
                    made.setsockopt(socket.SOL_SOCKET, _RXQ_OVFL, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((listener.host, listener.port))
            if kind == socket.SOCK_STREAM:
                made.listen(BACKLOG)
        except OSError as error:
            raise ConfigError(f"cannot be listened on: {error.strerror}", where=listener.name) from None
        if not ipaddress.ip_address(listener.host).is_loopback and listener.scheme not in _ENCRYPTED:
            _log.warning(
                "this listener is open to the network without encryption", extra=with_fields(name=listener.name)
            )
        yield made


# --- from code that is not asynchronous ---------------------------------------------------------------------------


class Running:
    """Listeners at work in a thread of their own."""

    def __init__(self, listening: Listening, thread: threading.Thread) -> None:
        self._listening = listening
        self._thread = thread

    @property
    def addresses(self) -> list[tuple[str, str, int]]:
        """Scheme, host and port of each listener, in the order in which they were given."""
        return list(self._listening.addresses)

    @property
    def trouble(self) -> str | None:
        """Why nothing is acknowledged just now (the disk is full …); None if all is well."""
        if not self._thread.is_alive():
            return "the listeners have ended: standard error says why"
        return self._listening.journals.trouble

    def counts(self) -> dict[str, int]:
        """What was counted so far: see ``Listening.counters`` and ``Journals.counters``."""
        return {**self._listening.counters.values(), **self._listening.journals.counters.values()}


@contextmanager
def listening(
    folder: Path,
    listeners: Sequence[Listener],
    *,
    organisation: str,
    clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> Generator[Running]:
    """Listen in a thread while the body of the ``with`` runs; at its end, keep what was read, and stop.

    Fork no process while it runs: fork your workers first.

    Raises:
        ConfigError, StorageError: as ``Listening.run``, before the body begins.
    """
    ready = threading.Event()
    failed: list[MingjianError] = []
    made: list[tuple[Listening, asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        server = Listening(folder, listeners, organisation=organisation, clock_us=clock_us)
        made.append((server, asyncio.get_running_loop()))
        await server.run(ready.set)

    def work() -> None:
        try:
            asyncio.run(main())
        except MingjianError as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, name="listen", daemon=True)
    thread.start()
    ready.wait()
    if failed:
        raise failed[0]
    server, loop = made[0]
    try:
        yield Running(server, thread)
    finally:
        with suppress(RuntimeError):  # the loop may have ended
            loop.call_soon_threadsafe(server.stop)
        thread.join()


def serve(
    folder: Path,
    listeners: Sequence[Listener],
    *,
    organisation: str,
    ready: Callable[[list[tuple[str, str, int]]], None] = lambda addresses: None,
) -> dict[str, int]:
    """Listen in this process until SIGTERM or SIGINT; give what was counted.

    Raises:
        ConfigError, StorageError: as ``Listening.run``.
    """

    async def main() -> dict[str, int]:
        server = Listening(folder, listeners, organisation=organisation)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        await server.run(lambda: ready(server.addresses))
        return {**server.counters.values(), **server.journals.counters.values()}

    return asyncio.run(main())

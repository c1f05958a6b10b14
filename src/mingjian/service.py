"""Wiring: one process group that takes logs in, runs what is waiting over history, and serves the console and the API.

The first process writes: it takes in what is followed and what came in over the network. Beside it, forked before
anything else runs, are the upkeep (merging, hunts), the listener if there are addresses, and the console, in one
process or several that share a socket. If one of them ends, all end, with the reason; whoever started us starts us
again, and nothing that was acknowledged is lost.
"""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Final, NamedTuple

import uvicorn

from mingjian.console.app import create_app, warm_up
from mingjian.console.gate import AccountGate
from mingjian.console.site import Site
from mingjian.data import STARTER_RULES
from mingjian.errors import ConfigError, MingjianError, StorageError
from mingjian.hunt.arrival import Loaded, Reload, watch_live
from mingjian.hunt.companions import companion
from mingjian.hunt.ingest import Ingest, Summary
from mingjian.hunt.pool import give_memory_back
from mingjian.hunt.tailing import Tail
from mingjian.settings import Settings
from mingjian.situations.beside import kept_up
from mingjian.sources.definitions import SourceBook
from mingjian.sources.listen import Listener
from mingjian.sources.listen import serve as listen
from mingjian.store.accounts import first_run_link
from mingjian.store.audit import publish
from mingjian.store.catalogue import organisation_named
from mingjian.store.scope import Scope
from mingjian.store.sightings.live import tidy
from mingjian.store.upkeep import clean
from mingjian.store.workspace import Workspace
from mingjian.telemetry import Secret, logger, with_fields

GRACE_S: Final = 5
"""So long requests that are under way get to end."""
BACKLOG: Final = 512
KEEP_ALIVE_S: Final = 15
CONNECTIONS_MAX: Final = 1_000
"""Of one process; more are answered with 503."""
TIDY_S: Final = 10.0
"""So often a process of the console gives back the memory that answers have left, …"""
WORKED_S: Final = 0.5
"""… if they took so much processor time since it was last done."""
TIDY_ALL_S: Final = 300.0
"""So often cycles are looked for among all that the process holds: while that lasts nobody gets an answer."""
PUBLISH_S: Final = 60.0
"""So often the newest checkpoint of the audit log is kept outside of the database."""

_log = logger("service")


class Order(NamedTuple):
    """What is to be served, and taken in meanwhile."""

    address: str = "127.0.0.1"
    port: int = 8300
    """0: any free one."""
    workers: int = 1
    paths: Sequence[str] = ()
    """Files and folders that are followed."""
    listeners: Sequence[Listener] = ()
    organisation: str = ""
    """Whose logs they are."""
    is_console_only: bool = False
    """Take nothing in: another process does, or nobody."""


def bound(address: str, port: int) -> socket.socket:
    """Take an address, before anything else is done.

    Raises:
        ConfigError: it is no address, or is taken.
    """
    try:
        place = ipaddress.ip_address("127.0.0.1" if address == "localhost" else address)
    except ValueError:
        raise ConfigError(f"not an address: {address[:80]!r}", hint="for example 127.0.0.1, or :: for all") from None
    family = socket.AF_INET6 if place.version == 6 else socket.AF_INET
    # With its protocol named, what is accepted of it sends at once; else the end of a short answer waits for 40 ms.
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((str(place), port))
        taken.listen(BACKLOG)
    except OSError as error:
        taken.close()
        hint = "--port names another port"
        raise ConfigError(f"{address}:{port} cannot be listened on: {error.strerror}", hint=hint) from error
    taken.set_inheritable(True)
    return taken


def address_of(taken: socket.socket) -> str:
    """The address of the console for a person's browser. On this machine it has a name: passkeys need one."""
    host, port = taken.getsockname()[:2]
    here = ("127.0.0.1", "::1", "0.0.0.0", "::")  # noqa: S104 - not bound here: a browser cannot go to “all addresses”
    host = "localhost" if host in here else f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}"


def first_link(workspace: Workspace, taken: socket.socket) -> Secret | None:
    """The address with which the first administrator signs in; None if somebody has."""
    token = first_run_link(workspace)
    return None if token is None else Secret(f"{address_of(taken)}/sign-in/link?t={token.reveal()}")


def serve(
    workspace: Workspace,
    settings: Settings,
    sources: SourceBook,
    taken: socket.socket,
    order: Order,
    *,
    ready: Callable[[], None],
    say: Callable[[str], None],
) -> Summary | None:
    """Serve until SIGINT or SIGTERM. Gives what was taken in meanwhile; None if nothing was to be.

    Raises:
        StateError: one of the processes has ended by itself, or another process writes in this workspace.
        StorageError: the workspace cannot be used.
    """
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopping.append(number))

    def console() -> None:
        _run_console(workspace, settings, sources, taken)

    with ExitStack() as stack:
        if not order.is_console_only:
            stack.enter_context(workspace.writing())
            clean(workspace)
            tidy(workspace)
        # Processes that are forked must not share connections.
        workspace.close()
        stack.callback(publish, workspace)
        checks = [
            stack.enter_context(companion(f"console {number + 1}", console)) for number in range(max(1, order.workers))
        ]
        if not order.is_console_only:
            checks.append(stack.enter_context(kept_up(workspace, sources, settings.cache_folder, STARTER_RULES)))
        if order.listeners:
            checks.append(stack.enter_context(companion("listening", lambda: _listen(workspace, order))))
        taken.close()
        ready()

        tell = _teller(workspace, checks)
        if order.is_console_only:
            _wait(stopping, tell)
            return None
        return _take_in(workspace, settings, sources, order, stopping, tell, say)


def _teller(workspace: Workspace, checks: Sequence[Callable[[], None]]) -> Callable[[], None]:
    """What is done at every look: see that all processes live, and now and then publish where the audit log stands."""
    publish_at_s = 0.0

    def tell() -> None:
        nonlocal publish_at_s
        for check in checks:
            check()
        if time.monotonic() >= publish_at_s:
            publish(workspace)
            publish_at_s = time.monotonic() + PUBLISH_S

    return tell


def _wait(stopping: Sequence[int], tell: Callable[[], None]) -> None:
    while not stopping:
        # A signal ends the wait; the time is for looking after the others.
        signal.sigtimedwait([signal.SIGCHLD], 0.5)
        tell()


def _take_in(
    workspace: Workspace,
    settings: Settings,
    sources: SourceBook,
    order: Order,
    stopping: Sequence[int],
    tell: Callable[[], None],
    say: Callable[[str], None],
) -> Summary:
    scope = Scope.of_operator()
    reload = Reload(workspace, scope, lambda: _loaded(workspace, scope, settings))
    loaded = _loaded(workspace, scope, settings)
    run = Ingest(
        workspace,
        scope,
        organisation_named(workspace, scope, order.organisation, make=True),
        loaded.watch,
        sources,
        keep_raw=settings.keep_raw,
        jobs=settings.jobs,
        say=say,
    )
    tail = Tail(
        run,
        workspace,
        scope,
        paths=order.paths,
        # What is imported over the API stands in journals as well.
        intake=True,
        changed=reload,
        should_stop=lambda: bool(stopping),
        tell=tell,
    )
    return run.work(tail.messages())


def _loaded(workspace: Workspace, scope: Scope, settings: Settings) -> Loaded:
    return watch_live(workspace, scope, starter=STARTER_RULES, cache_folder=settings.cache_folder, jobs=settings.jobs)


def _run_console(workspace: Workspace, settings: Settings, sources: SourceBook, taken: socket.socket) -> None:
    """One process of the console, until SIGTERM."""
    site = Site(workspace, settings, sources, AccountGate(workspace))
    config = uvicorn.Config(
        create_app(site),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        # Only whom the settings name may say who asks, and whether by HTTPS.
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        lifespan="off",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=CONNECTIONS_MAX,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    def warm() -> None:
        warm_up()
        # Of a million detections it takes seconds the first time.
        with suppress(StorageError):
            site.totals.by_level(Scope.of_operator())
        # What is there now stays for good: no search for cycles need look at it again.
        gc.collect()
        gc.freeze()

    threading.Thread(target=warm, name="warm-up", daemon=True).start()
    threading.Thread(target=_tidy, args=(site,), name="tidying", daemon=True).start()
    _log.info("console starts", extra=with_fields(process=os.getpid()))
    uvicorn.Server(config).run(sockets=[taken])
    _log.info("console ends", extra=with_fields(process=os.getpid()))


def _tidy(site: Site) -> None:
    """Give memory and files back for as long as the process lives.

    Each of the threads that answer has memory of its own from glibc, and what one of them has freed no other one uses:
    without this a process keeps as much as all of them together ever needed.
    """
    worked_s = time.process_time()
    all_at_s = time.monotonic() + TIDY_ALL_S
    while True:
        time.sleep(TIDY_S)
        site.tidy()
        if time.process_time() - worked_s >= WORKED_S:
            is_time = time.monotonic() >= all_at_s
            give_memory_back(2 if is_time else 1)
            if is_time:
                all_at_s = time.monotonic() + TIDY_ALL_S
            worked_s = time.process_time()


def _listen(workspace: Workspace, order: Order) -> None:
    try:
        listen(workspace.intake, list(order.listeners), organisation=order.organisation)
    except MingjianError as error:
        _log.error("listening failed", extra=with_fields(error=str(error)))
        raise SystemExit(1) from error

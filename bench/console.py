"""How fast the console answers at a million detections, what its pages weigh, and how long a hundred users wait.

    python -m bench.console [--base WORKSPACE] [--detections N] [--users N] [--minutes N] [--folder DIR]
                            [--workers N] [--gigabytes-per-hour X] [--skip pages|browser|users …]

A copy of ``--base``, a workspace into which logs of several organisations were taken (without it one is made with
``mingjian sample``: 20 organisations, 10 M events, which takes long), gets so many made-up detections more, which
become situations. Then ``mingjian serve`` runs over it, as a process of its own, and is measured from outside:

``pages``    each page and list, one request after another, warm
``browser``  bytes of a page without charts, and the time to its first paint, in Chromium
``users``    so many users with a session of their own and an open stream of updates look at a page every few seconds,
             while events come in; a third of them may see everything, the others an organisation each

Every figure stands beside its limit. ``--folder`` keeps the workspace; a second run over it goes on from there.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import numpy as np
import sqlalchemy as sa

from bench import grouping
from bench.soak import events, memory_mb, run, tree
from mingjian.situations.regrouping import Regrouper
from mingjian.store import tables as t
from mingjian.store.accounts import make_user
from mingjian.store.catalogue import Organisation, organisation_named, organisations
from mingjian.store.scope import EVERYONE, Membership, OrganisationId, Scope
from mingjian.store.sessions import open_session
from mingjian.store.workspace import Workspace, open_workspace

OPERATOR = Scope.of_operator()
READY_S_MAX = 120.0
ORGANISATIONS = 20
SAMPLE_DAYS, SAMPLE_EVENTS_PER_DAY = 125, 4_000
MADE = 1 << 40
"""Records of made-up detections begin here: that tells them from others."""
ASKED, WARM = 40, 4
PICTURE_MS, LIST_MS, ASK_MS, USERS_MS, PAINT_MS, WEIGHT_KB = 200, 100, 300, 500, 1000, 300
WARM_UP_S = 60.0
"""What users wait for in the first moments of a server is not counted; refusals and errors are."""
SETTLED_S = 2.0
"""A server that uses less than a tenth of a processor for so long has done what it does at first."""
READ_BYTES = 1 << 20
PAUSE_S = 5.0
"""A user looks at a page so long, on average."""
CHARTS = re.compile(r"echarts|charts", re.IGNORECASE)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Page(NamedTuple):
    """What is asked for."""

    name: str
    paths: Sequence[str]
    """Asked for in turn."""
    limit_ms: int


class User(NamedTuple):
    """Somebody who looks at pages."""

    token: str
    asked: Sequence[Page]


class Answer(NamedTuple):
    """What came back."""

    status: int
    seconds: float
    size: int


# --- the workspace ---------------------------------------------------------------------------------------------------


def prepared(folder: Path, base: Path | None, detections: int) -> Path:
    """A workspace with so many made-up detections, grouped; one that is there already is completed."""
    workspace = folder / "workspace"
    if not (workspace / "mingjian.toml").exists():
        if base is None:
            made_base(workspace)
        else:
            shutil.copytree(base, workspace, ignore=shutil.ignore_patterns("*.lock", "*.db-shm"))
    with open_workspace(workspace) as opened:
        owners = list(organisations(opened, OPERATOR))
        owners += [
            organisation_named(opened, OPERATOR, f"org {number}", make=True)
            for number in range(ORGANISATIONS - len(owners))
        ]
        table = t.detections
        with opened.read() as connection:
            query = sa.select(sa.func.count()).where(table.c.record >= MADE)
            there = connection.execute(query).scalar_one()
            last = connection.execute(sa.select(sa.func.max(table.c.time_us)).where(table.c.record < MADE)).scalar_one()
        if last is not None:
            grouping.START_US = last - grouping.DAYS * grouping.DAY_US
        each = detections // len(owners)
        for number, owner in enumerate(owners):
            if number * each >= there:
                grouping.put(opened, owner, grouping.made(each, number), MADE)
        started, processor = time.perf_counter(), time.process_time()
        regrouper = Regrouper(opened)
        for owner in owners:
            regrouper.regroup(OPERATOR, owner.id)
        print(
            f"grouped in {time.perf_counter() - started:.1f} s ({time.process_time() - processor:.1f} s of processor)"
        )
    return workspace


def made_base(workspace: Path) -> None:
    """A workspace with the logs of a generated sector."""
    workspace.mkdir(parents=True)
    run(workspace, "init")
    sample = workspace.parent / "sample"
    run(
        workspace, "sample", "--output", str(sample), "--organisations", str(ORGANISATIONS), "--days", str(SAMPLE_DAYS),
        "--events-per-day", str(SAMPLE_EVENTS_PER_DAY),
    )  # fmt: skip
    for logs in sorted((sample / "logs").iterdir()):
        run(workspace, "ingest", str(logs), "--org", logs.name)
        print(f"took in {logs.name}", flush=True)


def counts_of(workspace: Path) -> str:
    """What there is, in words."""
    with open_workspace(workspace) as opened, opened.read() as connection:
        found = {
            name: connection.execute(sa.select(what)).scalar_one()
            for name, what in (
                ("detections", sa.func.count(t.detections.c.id)),
                ("events", sa.func.sum(sa.case((t.segments.c.state == "live", t.segments.c.rows), else_=0))),
                ("situations", sa.func.count(t.metadata.tables["situations"].c.id)),
                ("organisations", sa.func.count(t.organisations.c.id)),
            )
        }
    return ", ".join(f"{count or 0:,} {name}" for name, count in found.items())


def users(workspace: Path, count: int) -> list[User]:
    """Users and what they look at: each third one sees everything, the others an organisation each."""
    found: list[User] = []
    with open_workspace(workspace) as opened:
        owners = organisations(opened, OPERATOR)
        every, of_owner = without_administration(pages(opened, owners[0])), {}
        for number in range(count):
            owner = owners[number % len(owners)]
            if number % 3 and owner.id not in of_owner:
                of_owner[owner.id] = without_administration(pages(opened, owner, is_member=True))
            place, asked = (owner.id, of_owner[owner.id]) if number % 3 else (EVERYONE, every)
            found.append(User(session(opened, Membership(place, "analyst"), f"user-{number}"), asked))
    return found


def without_administration(asked: Iterable[Page]) -> list[Page]:
    return [page for page in asked if page.paths and not page.paths[0].startswith("/admin")]


def session(opened: Workspace, membership: Membership, name: str) -> str:
    """A session of a new user."""
    name = f"{name}-{time.time_ns()}"
    user = make_user(opened, OPERATOR, name, memberships=[membership])
    with opened.begin() as connection:
        made = open_session(opened, connection, user, "link", address="127.0.0.1", agent="bench")
    return made.token.reveal()


@contextmanager
def serving(workspace: Path, *arguments: str) -> Iterator[tuple[int, int]]:
    """The console as a process of its own: its port and its number."""
    log = workspace.parent / "said.txt"
    with log.open("w", encoding="utf-8") as stream:
        command = [sys.executable, "-m", "mingjian", "serve", "--port", "0", *arguments]
        process = subprocess.Popen(command, cwd=workspace, stdout=stream, stderr=stream, text=True)
        try:
            give_up_at = time.monotonic() + READY_S_MAX
            while "the console is at " not in (said := log.read_text(encoding="utf-8")):
                if process.poll() is not None or time.monotonic() > give_up_at:
                    raise SystemExit(f"the console does not come up:\n{said}")
                time.sleep(0.1)
            address = said.partition("the console is at ")[2].split()[0]
            yield int(address.rpartition(":")[2]), process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


# --- pages -----------------------------------------------------------------------------------------------------------


def pages(opened: Workspace, organisation: Organisation, *, is_member: bool = False) -> list[Page]:
    """What is measured; situations and detections of one organisation for its members, else of all."""
    owner = organisation.public_id
    of = organisation.id if is_member else None
    situations, detections = (opened_ids(opened, name, of) for name in ("situations", "detections"))
    things = entities(opened)
    ask = [f"/ask?q={quote(value)}" for value in things]
    return [
        Page("picture", ["/"], PICTURE_MS),
        Page("picture of one organisation", [f"/?org={owner}"], PICTURE_MS),
        Page("queue of situations", ["/queue"], LIST_MS),
        Page("queue, one organisation", [f"/queue?org={owner}"], LIST_MS),
        Page("queue, by time", ["/queue?sort=-last"], LIST_MS),
        Page("queue, a text", [f"/queue?q=pc-{number}" for number in range(100, 140)], LIST_MS),
        Page("detections", ["/detections"], LIST_MS),
        Page("detections, one organisation", [f"/detections?org={owner}"], LIST_MS),
        Page("detections, critical", ["/detections?level=critical"], LIST_MS),
        Page("detections of a host", [f"/detections?host=pc-{number}" for number in range(40)], LIST_MS),
        Page("detections of a rule", [f"/detections?rule=rule-{number}" for number in range(40)], LIST_MS),
        Page("detections, a text", [f"/detections?q=number+{number}" for number in range(40)], LIST_MS),
        Page("situation", [f"/situations/{each}" for each in situations], ASK_MS),
        Page("detection", [f"/detections/{each}" for each in detections], LIST_MS),
        Page("ask", ask, ASK_MS),
        Page("rules", ["/rules"], LIST_MS),
        Page("intelligence", ["/intelligence"], LIST_MS),
        Page("suppressions", ["/suppressions"], LIST_MS),
        Page("sources", ["/sources"], LIST_MS),
        Page("blind spots", ["/sources/blind"], LIST_MS),
        Page("quarantine", ["/sources/quarantine"], LIST_MS),
        Page("hunt", ["/hunt"], LIST_MS),
        Page("administration", ["/admin"], LIST_MS),
        Page("audit log", ["/admin/audit"], LIST_MS),
        Page("API: detections", ["/api/v1/detections?limit=100"], LIST_MS),
        Page("API: situations", ["/api/v1/situations?limit=100"], LIST_MS),
    ]


def opened_ids(opened: Workspace, name: str, of: OrganisationId | None = None) -> list[str]:
    """Public ids of some rows of a table, the last ones; of one organisation or all."""
    table = t.metadata.tables[name]
    query = sa.select(table.c.public_id).order_by(table.c.id.desc()).limit(ASKED)
    if name == "situations":
        query = sa.select(table.c.public_id).where(table.c.is_live == 2).order_by(table.c.danger.desc()).limit(ASKED)
    if of is not None:
        query = query.where(table.c.organisation_id == of)
    with opened.read() as connection:
        return list(connection.execute(query).scalars())


def entities(opened: Workspace) -> list[str]:
    """Things that somebody may ask about: of every kind, seen in events if there are any."""
    table = t.metadata.tables["entities"]
    found: list[str] = []
    with opened.read() as connection:
        for kind in ("host", "account", "ip", "domain", "hash"):
            query = sa.select(table.c.value).where(table.c.kind == kind).order_by(table.c.hosts.desc()).limit(8)
            found += connection.execute(query).scalars()
    return found


def fetch(connection: http.client.HTTPConnection, path: str, token: str) -> Answer:
    """Ask for a page, and wait for all of it."""
    started = time.perf_counter()
    try:
        connection.request("GET", path, headers={"cookie": f"mingjian={token}", "accept": "text/html"})
        answer = connection.getresponse()
    except (ConnectionError, http.client.RemoteDisconnected):
        # It was not used for as long as the server waits.
        connection.close()
        started = time.perf_counter()
        connection.request("GET", path, headers={"cookie": f"mingjian={token}", "accept": "text/html"})
        answer = connection.getresponse()
    size = len(answer.read())
    return Answer(answer.status, time.perf_counter() - started, size)


def measure_pages(workspace: Path, only: str) -> None:
    """Ask for every page, one request after another."""
    with open_workspace(workspace) as opened:
        token = session(opened, Membership(EVERYONE, "administrator"), "pages")
        owner = organisations(opened, OPERATOR)[0]
        wanted = [each for each in pages(opened, owner) if only in each.name]
    with serving(workspace, "--console-only") as (port, pid):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        settled(pid)
        read_through(workspace)
        for page in wanted:
            if not page.paths:
                continue
            first = fetch(connection, page.paths[0], token)
            for number in range(WARM):
                fetch(connection, page.paths[number % len(page.paths)], token)
            before = processor_s(pid)
            found = [fetch(connection, page.paths[number % len(page.paths)], token) for number in range(ASKED)]
            spent_ms = (processor_s(pid) - before) * 1000 / ASKED
            late_ms = float(np.percentile([each.seconds for each in found], 95)) * 1000
            bad = Counter(each.status for each in (first, *found) if each.status != 200)
            print(
                f"{page.name:32} 95 % within {late_ms:6.0f} ms (limit {page.limit_ms}{mark(late_ms, page.limit_ms)}), "
                f"{spent_ms:4.0f} ms of processor each, the first {first.seconds * 1000:6.0f} ms, "
                f"{max(each.size for each in found) / 1000:4.0f} kB{f' STATUS {dict(bad)}' if bad else ''}",
                flush=True,
            )


def settled(pid: int) -> None:
    """Wait until a server that has just come up has counted what it counts at first: pages are measured warm."""
    give_up_at = time.monotonic() + WARM_UP_S
    while time.monotonic() < give_up_at:
        before = processor_s(pid)
        time.sleep(SETTLED_S)
        if processor_s(pid) - before < SETTLED_S / 10:
            return


def read_through(workspace: Path) -> None:
    """Read every file once: pages are measured warm, and some systems soon forget what nobody reads."""
    for path in sorted(workspace.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(READ_BYTES):
                    pass


def mark(value: float, limit: float) -> str:
    return "" if value <= limit else " MISSED"


def processor_s(pid: int) -> float:
    """Processor time of a process and all that came from it."""
    ticks = 0
    for each in tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


# --- in a browser ----------------------------------------------------------------------------------------------------


def measure_browser(workspace: Path) -> None:
    """What pages weigh without charts, and when something is to be seen of them."""
    from playwright.sync_api import sync_playwright

    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        print("no Chromium here: nothing is said about weight and first paint")
        return
    with open_workspace(workspace) as opened:
        token = session(opened, Membership(EVERYONE, "administrator"), "browser")
        situation = opened_ids(opened, "situations")[0]
        things = entities(opened)
    shown = {"picture": "/", "queue": "/queue", "detections": "/detections", "situation": f"/situations/{situation}"}
    with serving(workspace, "--console-only") as (port, _), sync_playwright() as playwright:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        cards = [f"/ask?q={quote(value)}" for value in things]
        shown["widest card"] = max(cards, key=lambda path: fetch(connection, path, token).size)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, path in shown.items():
            weights, paints = looked_at(browser, f"http://127.0.0.1:{port}", path, token)
            weight, paint = max(weights) / 1000, float(np.percentile(paints, 95))
            print(
                f"{name:12} weighs {weight:4.0f} kB without charts (limit {WEIGHT_KB}{mark(weight, WEIGHT_KB)}); "
                f"first paint: 95 % within {paint:5.0f} ms, median {np.median(paints):4.0f} ms "
                f"(limit {PAINT_MS}{mark(paint, PAINT_MS)})",
                flush=True,
            )
        browser.close()


def looked_at(browser: object, address: str, path: str, token: str) -> tuple[list[int], list[float]]:
    """Look at a page several times, each with an empty cache: bytes without charts, milliseconds to the first paint."""
    weights: list[int] = []
    paints: list[float] = []
    for _ in range(6):
        context = browser.new_context()  # type: ignore[attr-defined]  # of Playwright
        context.add_cookies([{"name": "mingjian", "value": token, "url": address}])
        page = context.new_page()
        sizes: dict[str, int] = {}
        page.on("response", lambda answer, sizes=sizes: sizes.update({answer.url: weight_of(answer)}))
        page.goto(address + path, wait_until="load")
        paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1")
        weights.append(sum(size for url, size in sizes.items() if not CHARTS.search(url)))
        paints.append(float(paint))
        context.close()
    return weights, paints[1:]


def weight_of(answer: object) -> int:
    headers: Mapping[str, str] = answer.headers  # type: ignore[attr-defined]  # of Playwright
    return int(headers.get("content-length", 0))


# --- a hundred users -------------------------------------------------------------------------------------------------


class Load:
    """Users, each with an open stream and a page every few seconds."""

    def __init__(self, port: int, counts_from: float, ends_at: float) -> None:
        self.port, self.counts_from, self.ends_at = port, counts_from, ends_at
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        self.statuses: Counter[int] = Counter()
        self.told = 0
        self.broken: Counter[str] = Counter()

    async def run(self, everybody: Sequence[User]) -> None:
        """Let all of them do so until the end."""
        async with asyncio.TaskGroup() as group:
            for number, user in enumerate(everybody):
                group.create_task(self._clicks(random.Random(number), user))
                group.create_task(self._listens(user.token))

    async def _clicks(self, chance: random.Random, user: User) -> None:
        await asyncio.sleep(chance.random() * PAUSE_S)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
        while time.monotonic() < self.ends_at:
            page = chance.choice(user.asked)
            path = chance.choice(page.paths)
            started = time.perf_counter()
            try:
                writer.write(request(path, user.token))
                status, size = await answered(reader)
                self.statuses[status] += 1
                if time.monotonic() >= self.counts_from:
                    self.answers[page.name].append(Answer(status, time.perf_counter() - started, size))
            except (OSError, asyncio.IncompleteReadError) as error:
                # A server may close a connection that nobody used for a while; what it refuses is counted.
                self.broken[type(error).__name__] += 1
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
            await asyncio.sleep(chance.expovariate(1 / PAUSE_S))
        writer.close()

    async def _listens(self, token: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request("/live", token))
        while (left := self.ends_at - time.monotonic()) > 0:
            with suppress(TimeoutError):
                line = await asyncio.wait_for(reader.readline(), left)
                if not line:
                    self.broken["stream ended"] += 1
                    break
                self.told += line.startswith(b"event:")
        writer.close()


def request(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: mingjian={token}\r\n\r\n".encode()


async def answered(reader: asyncio.StreamReader) -> tuple[int, int]:
    """Status and size of an answer with a length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].split("\r\n", 1)[0])
    await reader.readexactly(length)
    return int(head.split(" ", 2)[1]), length


def feed(file: Path, bytes_per_s: float, stop: threading.Event) -> None:
    """Let a log grow."""
    made = events(1)
    with file.open("ab") as stream:
        while not stop.wait(1.0):
            size = 0
            while size < bytes_per_s:
                size += stream.write(next(made))
            stream.flush()


def measure_users(workspace: Path, count: int, minutes: float, bytes_per_s: float, workers: int) -> None:
    """A hundred users, while events come in."""
    everybody = users(workspace, count)
    logs = workspace.parent / f"logs-{time.time_ns()}"
    logs.mkdir()
    stop = threading.Event()
    order = ["--workers", str(workers), "--follow", str(logs), "--org", "taken in meanwhile"]
    with serving(workspace, *order) as (port, pid):
        feeder = threading.Thread(target=feed, args=(logs / "events.json", bytes_per_s, stop), daemon=True)
        feeder.start()
        warm_at = time.monotonic() + WARM_UP_S
        load = Load(port, warm_at, warm_at + 60 * minutes)
        memory: list[float] = []
        watcher = threading.Thread(target=watch, args=(pid, memory, stop), daemon=True)
        watcher.start()
        begun = processor_s(pid)
        asyncio.run(load.run(everybody))
        spent = processor_s(pid) - begun
        stop.set()
        feeder.join()
        watcher.join()
    shutil.rmtree(logs)
    report(load, memory, spent, WARM_UP_S + 60 * minutes)


def watch(pid: int, memory: list[float], stop: threading.Event) -> None:
    while not stop.wait(5.0):
        memory.append(memory_mb(tree(pid)))


def report(load: Load, memory: Sequence[float], spent_s: float, seconds: float) -> None:
    """Say what came of it."""
    every = [each for found in load.answers.values() for each in found]
    statuses = load.statuses
    late_ms = float(np.percentile([each.seconds for each in every], 95)) * 1000
    failed = sum(count for status, count in statuses.items() if status >= 500)
    print(
        f"{len(every):,} pages in {seconds - WARM_UP_S:.0f} s: 95 % within {late_ms:.0f} ms (limit {USERS_MS}"
        f"{mark(late_ms, USERS_MS)}), median {np.median([each.seconds for each in every]) * 1000:.0f} ms; "
        f"{failed} answers of 5xx (limit 0{mark(failed, 0)}); status {dict(statuses)}; "
        f"{load.told:,} updates came by stream; broken off: {dict(load.broken)}"
    )
    for name, found in sorted(load.answers.items()):
        print(f"    {name:36.36} {len(found):5} times, 95 % within "
              f"{np.percentile([each.seconds for each in found], 95) * 1000:6.0f} ms")  # fmt: skip
    print(f"processor time: {100 * spent_s / seconds:.0f} % of one processor")
    if len(memory) >= 8:
        quarter = len(memory) // 4
        print(
            f"memory of all processes: after a quarter {np.mean(memory[quarter : quarter + 3]):.0f} MB, "
            f"in the end {np.mean(memory[-3:]):.0f} MB, most {max(memory):.0f} MB"
        )


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--detections", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2, help="processes of the console, for the users")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--gigabytes-per-hour", type=float, default=1.0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", default="", help="only pages with this in their name")
    parser.add_argument("--skip", nargs="*", choices=("pages", "browser", "users"), default=[])
    options = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, Python {platform.python_version()}, {os.cpu_count()} processors, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        workspace = prepared(folder, options.base, options.detections)
        print(counts_of(workspace), flush=True)
        if "pages" not in options.skip:
            measure_pages(workspace, options.only)
        if "browser" not in options.skip:
            measure_browser(workspace)
        if "users" not in options.skip:
            rate = options.gigabytes_per_hour * 1e9 / 3600
            measure_users(workspace, options.users, options.minutes, rate, options.workers)


if __name__ == "__main__":
    main()

"""A console for tests: a workspace with a little of everything, users with each role, and a server in a thread."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.requests import Request

from ingesting import ingest, lines, some, sysmon
from lakes import OPERATOR
from mingjian.console.app import create_app
from mingjian.console.site import Site, Visitor
from mingjian.errors import NotAuthenticated
from mingjian.hunt.rulebook import load_rulebook
from mingjian.model.indicators import Indicator
from mingjian.settings import DATABASE_FILE, Settings
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import organisation_named
from mingjian.store.indicators import add_set
from mingjian.store.jobs import queue
from mingjian.store.rules import add_rules
from mingjian.store.scope import EVERYONE, Membership, Role, Scope
from mingjian.store.workspace import Workspace, create

OURS, THEIRS = "Alderbrook Power", "Qingxi Port 青溪港"
CANARY = "canary-of-theirs"
"""Stands in every text that belongs to the other organisation."""
HOSTILE = "<img src=x onerror=alert(1)>\u202egnp.exe\x1b[2J{{7*7}}"
RULE = """\
title: Somebody asks who they are
id: 6a3bd5a1-7a9c-4d3e-9d51-000000000001
logsource: {product: windows, category: process_creation}
detection:
  selection: {Image|endswith: '\\whoami.exe'}
  condition: selection
level: high
tags: [attack.t1033]
"""
ROLES: Sequence[Role] = ("reader", "analyst", "administrator", "auditor")


class Asker(NamedTuple):
    """Somebody who asks."""

    role: Role | None
    """None: nobody who is signed in."""
    place: str
    """``all``, or the name of an organisation."""


class TokenGate:
    """Whoever asks says who it is: ``ROLE@PLACE`` in a cookie or a header of the tests."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def visitor(self, request: Request) -> Visitor:
        """Believe what is said."""
        said = request.cookies.get("asker", "")
        role, _, place = said.partition("@")
        if role not in ROLES:
            raise NotAuthenticated("nobody is signed in")
        owner = EVERYONE if place == "all" else organisation_named(self._workspace, OPERATOR, OURS).id
        member = Membership(owner, role)  # type: ignore[arg-type]  # looked up above
        return Visitor(name=said, scope=Scope.of_roles(said, [member]))


def filled(folder: Path, database: str = DATABASE_FILE) -> Workspace:
    """A workspace in which every list has something to show, of two organisations."""
    workspace = create(folder / "workspace", database)
    ours, theirs = folder / "ours.jsonl", folder / "theirs.jsonl"
    odd = sysmon(700, "C:\\Windows\\whoami.exe", host="pc-odd") | {"CommandLine": HOSTILE, "User": HOSTILE[:40]}
    ours.write_bytes(lines([*some(200), odd]) + b"{broken\n")
    hidden = [
        record | {"CommandLine": CANARY, "Hostname": f"{CANARY}-{number % 3}", "User": CANARY}
        for number, record in enumerate(some(60))
    ]
    theirs.write_bytes(lines(hidden) + b'{"broken ' + CANARY.encode() + b"\n")
    ingest(workspace, ours, organisation=OURS)
    ingest(workspace, theirs, organisation=THEIRS)
    rules = folder / "rules"
    rules.mkdir()
    (rules / "one.yml").write_text(RULE)
    book = load_rulebook([rules])
    added = add_rules(workspace, OPERATOR, book.rules, book.correlations)
    request = json.dumps({"by": "operator", "titles": [rule.title for rule in book.rules]})
    queue(workspace, OPERATOR, "rules", rule_set_id=added.rule_set.id, request=request)
    owner = organisation_named(workspace, OPERATOR, THEIRS).id
    queue(
        workspace, OPERATOR, "rules", organisation=owner, rule_set_id=added.rule_set.id,
        request=json.dumps({"by": CANARY, "titles": [CANARY]}),
    )  # fmt: skip
    for name, organisation in (("everybody", None), (CANARY, owner)):
        wanted = [Indicator(kind="domain", how="is", value=f"{name}.example", written=f"{name}[.]example")]
        add_set(workspace, OPERATOR, name, wanted, organisation=organisation)
    return workspace


def site_of(workspace: Workspace) -> Site:
    """A site whose gate believes what is said."""
    return Site(workspace, Settings(), load_sources(), TokenGate(workspace))


@contextmanager
def served(site: Site) -> Generator[str]:
    """The address of a server for a site."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(site), log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        taken.close()

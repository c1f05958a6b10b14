"""Every page of the running program, with something to see on each: for tests that look at all of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from starlette.requests import Request

from lakes import OPERATOR
from mingjian.console.routes import all_routes
from mingjian.console.site import Site, Visitor
from mingjian.hunt.errands import Errands
from mingjian.hunt.packs import Sent, packed_files, rules_in
from mingjian.settings import DATABASE_FILE, Settings
from mingjian.situations.deciding import judge, merge
from mingjian.situations.keeping import Keeper
from mingjian.situations.regrouping import regroup
from mingjian.situations.suppressing import suppress
from mingjian.sources.definitions import load_sources
from mingjian.store import accounts, sessions
from mingjian.store.browsing import Wanted, browse
from mingjian.store.catalogue import organisation_named, quarantined
from mingjian.store.decisions import add_comment, add_task, declare
from mingjian.store.jobs import jobs, queue
from mingjian.store.packs import keep_pack, packs, rules_of
from mingjian.store.rules import add_rules, live_rules
from mingjian.store.scope import EVERYONE, Membership
from mingjian.store.situations import SituationFilter, members_of, situations
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace
from serving import OURS, RULE, TokenGate, filled
from situated import Seen, put

NO_PAGES: Mapping[str, str] = {
    "/account/codes/picture": "a picture on the page of the account",
    "/admin/backups/{id}": "a file",
    "/sign-in/openid": "leads to the identity provider",
    "/sign-in/openid/back": "where the identity provider sends people to",
}
"""What is no page though it is asked for with GET, and what it is instead."""
FOR_NOBODY: Sequence[str] = ("/sign-in", "/sign-in/link")
"""Pages for who is not signed in yet."""
ROUTED: Sequence[str] = tuple(
    dict.fromkeys(route.path for route in all_routes() if route.method == "GET" and route.path not in NO_PAGES)
)
"""Every page, as the program routes it."""
UNFED = """\
title: Nothing feeds this
id: 6a3bd5a1-7a9c-4d3e-9d51-000000000091
logsource: {product: no-such-product, service: none}
detection:
  selection: {Field: value}
  condition: selection
level: medium
"""
COUNTS = """\
title: Many times what nothing feeds
id: 6a3bd5a1-7a9c-4d3e-9d51-000000000092
correlation:
    type: event_count
    rules: [6a3bd5a1-7a9c-4d3e-9d51-000000000091]
    group-by: [Field]
    timespan: 1d
    condition: {gte: 2}
level: high
"""
ODD = RULE.replace("000000000001", "000000000093").replace("selection: {Image", "selection: {Image|no-such-modifier")
AGAIN = RULE.replace("level: high", "level: low")
PACK: Mapping[str, str] = {
    "one.yml": RULE,
    "again.yml": AGAIN,
    "unfed.yml": UNFED,
    "counts.yml": COUNTS,
    "odd.yml": ODD,
    "broken.yml": "title: broken\n",
    "README.md": "about",
}
"""A pack with rules that can be used, that nothing feeds, and that cannot be used."""
FILTER = """\
title: Known to be harmless
logsource: {product: windows, category: process_creation}
filter:
    rules: [6a3bd5a1-7a9c-4d3e-9d51-000000000001]
    selection: {User: nobody}
    condition: not selection
"""


class SessionGate(TokenGate):
    """As the gate of tests, and whoever asks has a session, as somebody in a browser has."""

    def __init__(self, workspace: Workspace, session: sessions.Session) -> None:
        super().__init__(workspace)
        self._session = session

    def visitor(self, request: Request) -> Visitor:
        """Believe what is said."""
        return msgspec.structs.replace(super().visitor(request), session=self._session)


class Furnished(NamedTuple):
    """A console with something on every page."""

    workspace: Workspace
    site: Site
    addresses: Mapping[str, Sequence[str]]
    """Route → where it shows something, for who may see it."""


def furnished(folder: Path, database: str = DATABASE_FILE) -> Furnished:
    """Fill a workspace as ``filled``, with situations, decisions, packs, backups and people besides."""
    workspace = filled(folder, database)
    ours = organisation_named(workspace, OPERATOR, OURS)
    several = [
        Seen(minute=minute, rule=f"story-{minute}", host=host, account="bo", attack=["T1059"], level="critical")
        for minute, host in ((0, "srv-1"), (4, "srv-1"), (2000, "srv-7"), (4000, "srv-8"), (6000, "srv-9"))
    ]
    put(workspace, ours, several, first=20_000)
    Keeper(workspace, load_sources(), None, WarningLists(Path(), [])).step()
    regroup(workspace, OPERATOR, ours.id)
    keep_pack(workspace, OPERATOR, "rules of a friend", _pack(), by="ann", request=_request("rules of a friend"))
    queue(workspace, OPERATOR, "backup", request=json.dumps({"by": "ann", "titles": ["a backup"]}))
    wrong = quarantined(workspace, OPERATOR, organisation=ours.id)[0]
    again = {"by": "ann", "titles": ["again"], "ids": [wrong.id]}
    queue(workspace, OPERATOR, "quarantine", organisation=ours.id, request=json.dumps(again))
    errands(workspace)
    pack = packs(workspace, OPERATOR)[0]
    queue(workspace, OPERATOR, "trial", request=_request("a trial", pack=pack.public_id))
    errands(workspace)
    rules = rules_in(rules_of(workspace, OPERATOR, pack) or b"")
    add_rules(workspace, OPERATOR, rules.rules, rules.correlations)
    user = accounts.make_user(workspace, OPERATOR, "ann", memberships=[Membership(EVERYONE, "administrator")])
    link = accounts.make_link(workspace, OPERATOR, user.public_id).reveal()
    opened = sessions.use_link(workspace, link, address="192.0.2.1", agent="tests")
    assert isinstance(opened, sessions.Opened)
    site = Site(workspace, Settings(), load_sources(), SessionGate(workspace, opened.session))
    addresses = _plain() | _of_rules(workspace) | _of_cases(workspace)
    addresses["/admin/users/{user}"] = [f"/admin/users/{user.public_id}"]
    addresses["/admin/audit/{number}"] = ["/admin/audit/0"]
    addresses["/sources/quarantine/{id}"] = [f"/sources/quarantine/{wrong.id}"]
    addresses["/hunt/{id}"] = [f"/hunt/{job.public_id}" for job in jobs(workspace, OPERATOR)]
    return Furnished(workspace, site, addresses)


def errands(workspace: Workspace) -> None:
    """Do what is waiting that is no hunt."""
    doing = Errands(workspace, load_sources(), None, Path())
    while doing.step():
        pass


def _pack() -> bytes:
    return packed_files([Sent(name, text.encode()) for name, text in PACK.items()])


def _request(title: str, pack: str = "{pack}") -> str:
    return json.dumps({"by": "ann", "titles": [title], "pack": pack})


def _plain() -> dict[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {path: [path] for path in ROUTED if "{" not in path}
    found["/"] = ["/", "/?wall=1"]
    found["/ask"] = ["/ask", "/ask?q=pc-1", "/ask?q=192.0.2.77", "/ask?q=Alderbrook"]
    found["/brief"] = ["/brief", "/brief?since=2026-03-01&until=2026-03-02"]
    found["/queue"] = ["/queue", "/queue?state=all", "/queue?state=emptied", "/queue?group=state"]
    found["/detections"] = ["/detections", "/detections?q=nothing-has-this", "/detections?group=rule"]
    found["/sign-in"] = ["/sign-in", "/sign-in?next=/queue"]
    found["/rules"] = ["/rules", "/rules?state=unfed&col=title&col=reason"]
    return found


def _of_rules(workspace: Workspace) -> dict[str, Sequence[str]]:
    pack = packs(workspace, OPERATOR)[0].public_id
    return {
        "/rules/{id}": [f"/rules/{each}" for each in sorted(live_rules(workspace, OPERATOR).versions)],
        "/rule-packs/{id}": [f"/rule-packs/{pack}"],
        "/rule-packs/{id}/skipped": [f"/rule-packs/{pack}/skipped"],
    }


def _of_cases(workspace: Workspace) -> dict[str, Sequence[str]]:
    """One situation with all that people can add to it, one that another was put into, and one that is judged away."""
    ours = organisation_named(workspace, OPERATOR, OURS)
    wanted = SituationFilter(organisation=ours.id, level="critical")
    told, merged, away, *_ = situations(workspace, OPERATOR, wanted).situations
    merge(workspace, OPERATOR, told.public_id, [merged.public_id])
    add_comment(workspace, OPERATOR, "situation", told.public_id, "seen before")
    add_task(workspace, OPERATOR, "situation", told.public_id, "look at it", owner="ann", due_us=1)
    declare(workspace, OPERATOR, told.public_id, "An incident", owner="ann")
    gone = [each.public_id for each, _ in members_of(workspace, away)]
    judge(workspace, OPERATOR, gone, "closed", "false_positive", reason="a drill")
    expires_us = workspace.clock_us() + 86_400_000_000
    suppress(workspace, OPERATOR, FILTER, owner="ann", reason="backups", expires_us=expires_us, organisation=ours.id)
    found = browse(workspace, OPERATOR, Wanted(host="pc-odd"), limit=1).rows[0]
    record = f"/records?file={found.detection.file}&number={found.detection.record}&of={ours.public_id}"
    return {
        "/situations/{id}": [f"/situations/{each.public_id}" for each in (told, away)],
        "/detections/{id}": [f"/detections/{found.public_id}"],
        "/records": [record],
        "/suppressions/new": [f"/suppressions/new?detection={found.public_id}"],
    }

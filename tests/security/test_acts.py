"""Whatever somebody does stands in the audit log: every page, every operation of the API and every command that changes
something is tried here, and one that is not in the tables below fails the build.

What is changed and what is logged must be one transaction: every statement that is sent to the database is looked at.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyotp
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from typer.main import get_command

from lakes import OPERATOR
from mingjian.cli.exits import Exit
from mingjian.cli.main import COMMANDS, run
from mingjian.console.api.bulk import JSON_LINES
from mingjian.console.app import create_app
from mingjian.console.gate import AccountGate
from mingjian.console.routes import all_routes
from mingjian.console.site import Site
from mingjian.errors import StorageError
from mingjian.hunt.errands import Errands
from mingjian.settings import Settings
from mingjian.situations.keeping import Keeper
from mingjian.sources.definitions import load_sources
from mingjian.store import accounts, audit, identities, indicators, passwords, rules, tables, upkeep
from mingjian.store.browsing import Wanted, browse
from mingjian.store.catalogue import organisation_named, quarantined
from mingjian.store.indicators import live_sets
from mingjian.store.jobs import jobs, queue
from mingjian.store.rules import live_rules
from mingjian.store.scope import EVERYONE, Membership
from mingjian.store.sessions import session_of
from mingjian.store.situations import SituationFilter, members_of, situations
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace
from serving import OURS, RULE, filled
from softkey import SoftKey

ORIGIN = "https://console.test"
API = "/api/v1"
GOOD, BETTER = "correct horse battery", "another long sentence"
NEW_RULE = RULE.replace("6a3bd5a1-7a9c-4d3e-9d51-000000000001", "6a3bd5a1-7a9c-4d3e-9d51-%012d")
FILTER = """\
title: Known
logsource: {product: windows, category: process_creation}
filter:
    rules: [6a3bd5a1-7a9c-4d3e-9d51-000000000001]
    selection: {User: nobody}
    condition: not selection
"""

NOTHING_TO_LOG = {
    "/situations/export": "only reads",
    "/detections/export": "only reads",
    "/hunt/check": "only reads",
    "/suppressions/try": "only reads",
    "/admin/audit/verify": "only reads",
    "/preferences": "is kept by the browser",
    "/account/codes": "nothing is in force yet",
    "/account/identities": "nothing is linked yet",
    "/account/passkeys/begin": "nothing is made yet",
    "/sign-in/passkey/begin": "nobody is in yet",
    f"{API}/rules/check": "only reads",
    f"{API}/indicators/look-for": "only reads",
    f"{API}/suppressions/try": "only reads",
}
DECISIONS = (
    *("users", "memberships", "identities", "passkeys", "retention", "suppressions", "situation_acts", "incidents"),
    *("case_comments", "case_tasks", "saved_views", "organisations"),
)
"""Tables that change when somebody decides something, and for no other reason."""
BESIDES = re.compile(r"UPDATE users SET (totp_step|signed_in_us)=")
"""What is noted of somebody who signs in; the act stands in the same transaction or in none."""


class Torn:
    """Watches the transactions: which of them decided something and logged nothing."""

    def __init__(self) -> None:
        self.found: list[set[str]] = []
        self.seen: set[str] = set()
        self._written: dict[int, set[str]] = defaultdict(set)

    def sent(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        told = re.match(r"\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM) \"?(\w+)", statement)
        if told is not None and not BESIDES.match(statement):
            self._written[id(connection)].add(told[1])

    def committed(self, connection: Any) -> None:
        written = self._written.pop(id(connection), set())
        self.seen |= written
        if written & set(DECISIONS) and "acts" not in written:
            self.found.append(written)

    def rolled_back(self, connection: Any) -> None:
        self._written.pop(id(connection), None)


@pytest.fixture
def torn() -> Iterator[Torn]:
    watching = Torn()
    listeners = (
        ("before_cursor_execute", watching.sent),
        ("commit", watching.committed),
        ("rollback", watching.rolled_back),
    )
    for name, listener in listeners:
        sa.event.listen(sa.Engine, name, listener)
    yield watching
    for name, listener in listeners:
        sa.event.remove(sa.Engine, name, listener)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with little work."""
    monkeypatch.setattr(passwords, "_hasher", passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class Step(NamedTuple):
    """Something that is done: route, address, what is sent, and what the log says of it."""

    route: str
    path: str
    sent: dict[str, Any]
    what: str
    method: str = "POST"


class Walk:
    """Somebody who may do everything, and does it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        site = Site(workspace, Settings(), load_sources(), AccountGate(workspace))
        self.app = create_app(site)
        self.browser = TestClient(
            self.app, base_url=ORIGIN, follow_redirects=False, headers={"sec-fetch-site": "same-origin"}
        )
        self.text = ""
        self.device = SoftKey(ORIGIN)
        self.ours = organisation_named(workspace, OPERATOR, OURS)

    def do(self, step: Step) -> None:
        before = audit.acts(self.workspace, OPERATOR, limit=1)
        last = before[0].number if before else -1
        content = {"json": step.sent} if step.path.startswith(API) else {"data": step.sent}
        if "raw" in step.sent:
            content = {"content": step.sent["raw"], "headers": {"content-type": step.sent["type"]}}
        if "files" in step.sent:
            content = step.sent
        answer = self.browser.request(step.method, step.path, **content)
        self.text = answer.text
        assert answer.status_code < 400, (step, answer.status_code, answer.text[-600:])
        new = audit.acts(self.workspace, OPERATOR, beyond_number=last, oldest_first=True, limit=1000)
        said = [each.what for each in new]
        assert step.what in said, (step, said)
        assert {each.actor for each in new} <= {"ann", "bob"}, step

    def situations(self) -> list[str]:
        Keeper(self.workspace, load_sources(), None, WarningLists(Path(), [])).step()
        wanted = SituationFilter(organisation=self.ours.id)
        return [each.public_id for each in situations(self.workspace, OPERATOR, wanted).situations]

    def detections(self) -> list[str]:
        rows = browse(self.workspace, OPERATOR, Wanted(organisation=self.ours.id), limit=20).rows
        return [row.public_id for row in rows]

    def read_pack(self) -> str:
        """Let the jobs that wait be done that are no hunts, and name the newest pack."""
        errands = Errands(self.workspace, load_sources(), None, Path())
        while errands.step():
            pass
        return self.newest(tables.rule_packs)

    def newest(self, table: sa.Table, column: str = "public_id") -> str:
        order = table.c.id if "id" in table.c else table.c.created_us
        with self.workspace.read() as connection:
            query = sa.select(table.c[column]).order_by(order.desc()).limit(1)
            return str(connection.execute(query).scalar_one())

    def table(self, name: str) -> sa.Table:
        return tables.metadata.tables[name]

    def largest(self) -> tuple[str, list[str]]:
        """The situation with most detections, and what these are called."""
        self.situations()
        found = situations(self.workspace, OPERATOR, SituationFilter(organisation=self.ours.id)).situations
        most = max(found, key=lambda each: each.detections)
        members = [each.public_id for each, _ in members_of(self.workspace, most)]
        assert len(members) > 1
        return most.public_id, members

    def later(self, seconds: int) -> None:
        now_us = self.workspace.clock_us() + seconds * 1_000_000
        self.workspace.clock_us = lambda: now_us


def hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found is not None, name
    return found[1]


def accounts_walked(walk: Walk) -> Iterator[Step]:
    user = accounts.make_user(walk.workspace, OPERATOR, "ann", memberships=[Membership(EVERYONE, "administrator")])
    link = accounts.make_link(walk.workspace, OPERATOR, user.public_id).reveal()
    yield Step("/sign-in/link", "/sign-in/link", {"t": link}, "sign-in.done")
    both = {"new": GOOD, "again": GOOD}
    yield Step("/account/password", "/account/password", both, "user.password")
    yield Step("/sign-out", "/sign-out", {}, "sign-in.ended")
    yield Step("/sign-in", "/sign-in", {"name": "ann", "password": GOOD}, "sign-in.done")
    setup = walk.browser.post("/account/codes").text
    found = re.search(r"<code>([A-Z2-7]{32})</code>", setup)
    assert found is not None
    app = pyotp.totp.TOTP(found[1])

    def code() -> str:
        walk.later(60)
        return app.at(walk.workspace.clock_us() / 1_000_000)

    confirmed = {"ticket": hidden(setup, "ticket"), "code": code()}
    yield Step("/account/codes/confirm", "/account/codes/confirm", confirmed, "user.codes")
    asked = walk.browser.post("/sign-in", data={"name": "ann", "password": GOOD}).text
    given = {"ticket": hidden(asked, "ticket"), "code": code()}
    yield Step("/sign-in/code", "/sign-in/code", given, "sign-in.done")
    yield Step("/account/codes/end", "/account/codes/end", {"code": code()}, "user.codes")
    begun = walk.browser.post("/account/passkeys/begin").json()
    made = {"ticket": begun["ticket"], "name": "phone", "answer": walk.device.made(begun["options"])}
    yield Step("/account/passkeys", "/account/passkeys", made, "user.passkey")
    begun = walk.browser.post("/sign-in/passkey/begin").json()
    given = {"ticket": begun["ticket"], "answer": walk.device.signed(begun["options"])}
    yield Step("/sign-in/passkey", "/sign-in/passkey", given, "sign-in.done")
    key = {"key": walk.newest(tables.passkeys), "name": "telephone"}
    yield Step("/account/passkeys/name", "/account/passkeys/name", key, "user.passkey")
    yield Step("/account/passkeys/remove", "/account/passkeys/remove", key, "user.passkey")
    session = session_of(walk.workspace, walk.browser.cookies["__Host-mingjian"])
    identities.link(walk.workspace, session, identities.Known("https://id.example", "ann", "Ann", "ann"))
    key = {"key": walk.newest(tables.identities)}
    yield Step("/account/identities/remove", "/account/identities/remove", key, "user.identity")
    yield Step("/account/profile", "/account/profile", {"title": "Ann", "language": "en"}, "user.profile")
    yield Step("/account/sessions/end", "/account/sessions/end", {}, "sign-in.ended")
    token = {"name": "job", "days": "3", "right": "read"}
    yield Step("/account/tokens", "/account/tokens", token, "token.made")
    key = {"key": walk.newest(tables.api_tokens)}
    yield Step("/account/tokens/remove", "/account/tokens/remove", key, "token.removed")


def people_walked(walk: Walk) -> Iterator[Step]:
    new = {"name": "carl", "place": "*", "role": "reader"}
    yield Step("/admin/users", "/admin/users", new, "user.made")
    here = f"/admin/users/{accounts.user_named(walk.workspace, OPERATOR, 'carl').public_id}"
    route = "/admin/users/{user}"
    yield Step(f"{route}/link", f"{here}/link", {}, "user.link")
    yield Step(f"{route}/role", f"{here}/role", {"place": "*", "role": "auditor"}, "user.role")
    yield Step(f"{route}/factors", f"{here}/factors", {}, "user.factors")
    yield Step(f"{route}/state", f"{here}/state", {"state": "disabled"}, "user.disabled")


def decisions_walked(walk: Walk) -> Iterator[Step]:
    first, *_ = walk.situations()
    one, *_ = walk.detections()
    yield Step("/situations/act/{verb}", "/situations/act/take", {"key": first}, "situation.owner")
    yield Step("/queue/undo", "/queue/undo", {"key": first}, "situation.state")
    yield Step("/detections/act/{verb}", "/detections/act/benign", {"key": one}, "detection.judged")
    yield Step("/detections/undo", "/detections/undo", {"key": one}, "detection.judged")
    route, here = "/situations/{id}/{verb}", f"/situations/{first}"
    yield Step(route, f"{here}/comment", {"text": "seen"}, "situation.comment")
    yield Step(route, f"{here}/task", {"text": "look"}, "situation.task")
    done = {"task": walk.newest(walk.table("case_tasks"))}
    yield Step(route, f"{here}/task-done", done, "task.done")
    yield Step(route, f"{here}/declare", {"text": "An incident"}, "incident.declared")
    closed = {"incident": walk.newest(walk.table("incidents")), "state": "closed"}
    yield Step(route, f"{here}/incident", closed, "incident.changed")
    view = {"list": "detections", "name": "mine", "back": "/detections?level=high"}
    yield Step("/views", "/views", view, "view.saved")
    view = {"list": "detections", "view": walk.newest(walk.table("saved_views"))}
    yield Step("/views/remove", "/views/remove", view, "view.removed")
    hiding = {"text": FILTER, "days": "3", "reason": "known"}
    yield Step("/suppressions", "/suppressions", hiding, "suppression.made")
    key = {"key": walk.newest(walk.table("suppressions"))}
    yield Step("/suppressions/take-back", "/suppressions/take-back", key, "suppression.ended")


def work_walked(walk: Walk) -> Iterator[Step]:
    rule = {"text": NEW_RULE % 2, "form": "rule"}
    yield Step("/hunt/run", "/hunt/run", rule, "job.queued")
    yield Step("/hunt/{id}/promote", f"/hunt/{walk.newest(tables.jobs)}/promote", {}, "rule.switched-on")
    yield Step("/hunt/switch-on", "/hunt/switch-on", {"text": NEW_RULE % 3, "form": "rule"}, "rule.switched-on")
    job = walk.newest(tables.jobs)
    yield Step("/jobs/cancel", "/jobs/cancel", {"key": job}, "job.cancelled")
    named = (NEW_RULE % 3).split("id: ")[1].partition("\n")[0]
    yield Step("/rules/{id}/switch-off", f"/rules/{named}/switch-off", {}, "rule.switched-off")
    yield Step("/rules/{id}/switch-on", f"/rules/{named}/switch-on", {}, "rule.switched-on")
    files = {"files": {"files": ("pack.yml", (NEW_RULE % 8).encode())}}
    yield Step("/rule-packs", "/rule-packs", files, "job.queued")
    route, here = "/rule-packs/{id}", f"/rule-packs/{walk.read_pack()}"
    yield Step(f"{route}/try", f"{here}/try", {}, "job.queued")
    yield Step(f"{route}/switch-on", f"{here}/switch-on", {"level": "high"}, "rule.switched-on")
    yield Step("/rule-packs/remove", "/rule-packs/remove", {"key": walk.newest(tables.rule_packs)}, "pack.removed")
    yield Step("/intelligence", "/intelligence", {"name": "new", "text": "bad.example"}, "indicators.added")
    key = {"key": next(str(each.id) for each in live_sets(walk.workspace, OPERATOR) if each.name == "new")}
    yield Step("/intelligence/retire", "/intelligence/retire", key, "indicators.retired")
    again = {"key": str(quarantined(walk.workspace, OPERATOR, organisation=walk.ours.id)[0].id)}
    yield Step("/sources/quarantine/retry", "/sources/quarantine/retry", again, "job.queued")
    yield Step("/admin/retention", "/admin/retention", {"pattern": "x/*", "days": "3"}, "retention.set")
    yield Step("/admin/backups", "/admin/backups", {}, "job.queued")


def interface_walked(walk: Walk) -> Iterator[Step]:
    first, *_ = walk.situations()
    one, *_ = walk.detections()
    route, here = f"{API}/situations/{{id}}", f"{API}/situations/{first}"
    yield Step(route, here, {"owner": "ann"}, "situation.owner", "PATCH")
    text = {"text": "seen"}
    yield Step(f"{route}/comments", f"{here}/comments", text, "situation.comment")
    yield Step(f"{route}/tasks", f"{here}/tasks", text, "situation.task")
    task = walk.newest(walk.table("case_tasks"))
    yield Step(f"{API}/tasks/{{id}}", f"{API}/tasks/{task}", {"done": True}, "task.done", "PATCH")
    yield Step(f"{route}/incident", f"{here}/incident", {"title": "One more"}, "incident.declared")
    about = f"{API}/incidents/{walk.newest(walk.table('incidents'))}"
    route = f"{API}/incidents/{{id}}"
    yield Step(route, about, {"owner": "ann"}, "incident.changed", "PATCH")
    yield Step(f"{route}/comments", f"{about}/comments", text, "incident.comment")
    yield Step(f"{route}/tasks", f"{about}/tasks", text, "incident.task")
    said = {"detections": [one], "resolution": "benign"}
    yield Step(f"{API}/detections/verdict", f"{API}/detections/verdict", said, "detection.judged")
    hiding = {"text": FILTER, "reason": "known"}
    yield Step(f"{API}/suppressions", f"{API}/suppressions", hiding, "suppression.made")
    named = walk.newest(walk.table("suppressions"))
    yield Step(f"{API}/suppressions/{{id}}", f"{API}/suppressions/{named}", {}, "suppression.ended", "DELETE")
    yield from regrouped(walk)


def regrouped(walk: Walk) -> Iterator[Step]:
    """Split, merge and undo need a situation with several detections."""
    large, members = walk.largest()
    route, here = f"{API}/situations/{{id}}", f"{API}/situations/{large}"
    yield Step(f"{route}/split", f"{here}/split", {"detections": members[:1]}, "situation.split")
    done = walk.newest(walk.table("situation_acts"))
    route += "/acts/{act}/undo"
    yield Step(route, f"{here}/acts/{done}/undo", {}, "situation.undo")
    large, _ = walk.largest()
    other = next(each for each in walk.situations() if each != large)
    route, here = f"{API}/situations/{{id}}/merge", f"{API}/situations/{large}/merge"
    yield Step(route, here, {"situations": [other]}, "situation.merge")


def more_interface_walked(walk: Walk) -> Iterator[Step]:
    yield Step(f"{API}/hunts", f"{API}/hunts", {"text": NEW_RULE % 4}, "job.queued")
    route, job = f"{API}/hunts/{{id}}", walk.newest(tables.jobs)
    yield Step(route, f"{API}/hunts/{job}", {}, "job.cancelled", "DELETE")
    yield Step(f"{API}/rules", f"{API}/rules", {"text": NEW_RULE % 5}, "rule.switched-on")
    named = (NEW_RULE % 5).split("id: ")[1].partition("\n")[0]
    route, here = f"{API}/rules/{{id}}", f"{API}/rules/{named}"
    yield Step(route, here, {}, "rule.switched-off", "DELETE")
    yield Step(f"{route}/switch-on", f"{here}/switch-on", {}, "rule.switched-on")
    sent = {"raw": (NEW_RULE % 9).encode(), "type": "application/octet-stream"}
    yield Step(f"{API}/rule-packs", f"{API}/rule-packs?name=nine", sent, "job.queued")
    route, here = f"{API}/rule-packs/{{id}}", f"{API}/rule-packs/{walk.read_pack()}"
    yield Step(f"{route}/try", f"{here}/try", {}, "job.queued")
    yield Step(f"{route}/switch-on", f"{here}/switch-on", {"level": "high"}, "rule.switched-on")
    yield Step(route, here, {}, "pack.removed", "DELETE")
    added = {"name": "more", "text": "worse.example"}
    yield Step(f"{API}/indicator-sets", f"{API}/indicator-sets", added, "indicators.added")
    number = next(each.id for each in live_sets(walk.workspace, OPERATOR) if each.name == "more")
    route = f"{API}/indicator-sets/{{id}}"
    yield Step(route, f"{API}/indicator-sets/{number}", {}, "indicators.retired", "DELETE")
    route, sent = f"{API}/import/indicators", {"raw": b"still-worse.example\n", "type": "text/plain"}
    yield Step(route, f"{route}?name=list", sent, "indicators.added")
    route, sent = f"{API}/import/events", {"raw": b'{"a": 1}\n', "type": JSON_LINES}
    yield Step(route, f"{route}?org={walk.ours.public_id}", sent, "events.imported")


WALKS: tuple[Callable[[Walk], Iterator[Step]], ...] = (
    accounts_walked,
    people_walked,
    decisions_walked,
    work_walked,
    interface_walked,
    more_interface_walked,
)


def test_whatever_is_done_on_a_page_or_by_the_api_is_logged_where_it_is_done(tmp_path: Path, torn: Torn) -> None:
    with filled(tmp_path) as workspace:
        walk = Walk(workspace)
        tried: set[str] = set()
        for steps in WALKS:
            for step in steps(walk):
                walk.do(step)
                tried.add(f"{step.method} {step.route}")
        assert torn.found == []
        assert set(DECISIONS) <= torn.seen
        documented = walk.app.openapi()["paths"]
    running = {f"POST {route.path}" for route in all_routes() if route.method == "POST"}
    running |= {
        f"{method.upper()} {path}" for path, methods in documented.items() for method in methods if method != "get"
    }
    quiet = {f"POST {path}" for path in NOTHING_TO_LOG}
    assert running - tried == quiet, "each operation is tried, or says why there is nothing to log"


# --- commands --------------------------------------------------------------------------------------------------------

READING = {
    *("ask", "behaviours", "brief", "demo", "detect", "detections", "doctor", "hunt", "init", "lake"),
    *("record", "restore", "sample", "serve", "sql"),
    *("audit list", "audit verify", "audit export", "audit checkpoint"),
    *("intake tokens", "intake journals", "intel list", "intel show", "quarantine list", "users list"),
    *("rules check", "rules explain", "rules list", "sources list", "sources check"),
    *("situations list", "situations show", "situations incidents", "situations draft", "situations suppressions"),
}
"""Commands that decide nothing: they show, take events in, compute, or make something elsewhere."""


def commands() -> set[str]:
    found: set[str] = set()
    for command in COMMANDS:
        below = getattr(get_command(command.app()), "commands", None)
        found |= {f"{command.name} {name}" for name in below} if below else {command.name}
    return found


def test_every_command_that_decides_something_is_logged_with_whom_the_machine_knows(
    tmp_path: Path, torn: Torn, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: set[str] = set()
    with filled(tmp_path) as workspace:
        monkeypatch.chdir(workspace.folder)
        for line, what in lines_of(tmp_path, Walk(workspace)):
            last = audit.acts(workspace, OPERATOR, limit=1)
            number = last[0].number if last else -1
            assert run(line) in (Exit.DONE, Exit.QUARANTINED), line
            new = audit.acts(workspace, OPERATOR, beyond_number=number, oldest_first=True, limit=1000)
            assert what in [each.what for each in new], (line, new)
            assert {each.actor for each in new} == {OPERATOR.actor}, line
            tried.add(" ".join(line[:2]) if " ".join(line[:2]) in commands() else line[0])
    assert torn.found == []
    assert OPERATOR.actor.startswith("operator:")
    assert tried | READING == commands(), "each command is tried, or decides nothing"
    assert not tried & READING


def lines_of(folder: Path, walk: Walk) -> Iterator[tuple[list[str], str]]:
    """Command lines, and what the log says of each."""
    yield ["users", "add", "carl", "--role", "reader"], "user.made"
    yield ["users", "link", "carl"], "user.link"
    yield ["users", "role", "carl", "auditor"], "user.role"
    yield ["users", "role", "carl", "reader", "--org", "Newly Named"], "organisation.made"
    yield ["users", "reset-factors", "carl"], "user.factors"
    yield ["users", "disable", "carl"], "user.disabled"
    yield ["users", "enable", "carl"], "user.enabled"
    (folder / "more").mkdir()
    (folder / "more" / "one.yml").write_text(NEW_RULE % 7)
    yield ["rules", "add", str(folder / "more")], "rule.switched-on"
    yield ["rules", "remove", "6a3bd5a1-7a9c-4d3e-9d51-000000000007"], "rule.switched-off"
    (folder / "bad.txt").write_text("bad.example\n")
    yield ["intel", "add", str(folder / "bad.txt"), "--name", "bad"], "indicators.added"
    yield ["intel", "remove", "bad"], "indicators.retired"
    yield ["intake", "add", "sender", "--intake", "x", "--org", OURS], "intake.token-made"
    yield ["intake", "remove", "sender"], "intake.token-removed"
    yield ["intake", "add", "other", "--intake", "y", "--org", "Also New"], "organisation.made"
    (folder / "filter.yml").write_text(FILTER)
    yield ["situations", "suppress", str(folder / "filter.yml"), "--reason", "known"], "suppression.made"
    yield ["situations", "end", walk.newest(walk.table("suppressions"))], "suppression.ended"
    first, *_ = walk.situations()
    yield ["situations", "judge", first, "benign"], "situation.state"
    yield ["situations", "comment", first, "seen"], "situation.comment"
    yield ["situations", "declare", first, "--title", "An incident"], "incident.declared"
    large, members = walk.largest()
    yield ["situations", "split", large, members[0]], "situation.split"
    yield ["situations", "undo", walk.newest(walk.table("situation_acts"))], "situation.undo"
    large, _ = walk.largest()
    other = next(each for each in walk.situations() if each != large)
    yield ["situations", "merge", large, other], "situation.merge"
    yield ["quarantine", "retry"], "quarantine.retried"
    yield ["ingest", str(folder / "ours.jsonl"), "--org", "Third"], "organisation.made"
    yield ["backup", str(folder / "backup.tar")], "backup.made"


# --- one transaction -------------------------------------------------------------------------------------------------


def test_what_cannot_be_logged_is_not_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise StorageError("the log cannot be written")

    with filled(tmp_path) as workspace:
        live = live_rules(workspace, OPERATOR)
        kept = {each.name for each in live_sets(workspace, OPERATOR)}
        monkeypatch.setattr(audit, "_signed", fail)
        (a_set, *_) = live_sets(workspace, OPERATOR)
        waiting = len(jobs(workspace, OPERATOR))
        attempts: tuple[Callable[[], object], ...] = (
            lambda: rules.retire_rules(workspace, OPERATOR, None),
            lambda: rules.add_rules(workspace, OPERATOR, [], replace=True),
            lambda: indicators.retire_set(workspace, OPERATOR, a_set.id),
            lambda: queue(workspace, OPERATOR, "indicators", indicator_set_id=a_set.id),
            lambda: upkeep.set_retention(
                workspace, OPERATOR, upkeep.Retention(stream_pattern="x", days=1, organisation=None)
            ),
            lambda: accounts.make_user(workspace, OPERATOR, "ann", memberships=[]),
        )
        for attempt in attempts:
            with pytest.raises(StorageError, match="cannot be written"):
                attempt()
        assert live_rules(workspace, OPERATOR).versions == live.versions
        assert {each.name for each in live_sets(workspace, OPERATOR)} == kept
        assert len(jobs(workspace, OPERATOR)) == waiting
        assert upkeep.retentions(workspace, OPERATOR) == []
        assert accounts.users(workspace, OPERATOR) == []

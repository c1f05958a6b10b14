"""Who may do what in the console and the API: every operation of the running program × role × whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from lakes import OPERATOR
from mingjian.console.api import LISTS, PREFIX
from mingjian.console.app import create_app
from mingjian.console.guard import POLICY
from mingjian.console.routes import all_routes
from mingjian.situations.keeping import Keeper
from mingjian.situations.suppressing import suppress
from mingjian.sources.definitions import load_sources
from mingjian.store.browsing import Wanted, browse
from mingjian.store.catalogue import organisation_named, quarantined
from mingjian.store.decisions import add_comment, add_task, declare, tasks_of
from mingjian.store.indicators import live_sets
from mingjian.store.jobs import jobs
from mingjian.store.rules import live_rules
from mingjian.store.scope import RIGHTS, OrganisationId
from mingjian.store.situations import SituationFilter, situation_by_id, situations
from mingjian.store.suppressions import suppression_by_id
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace
from serving import CANARY, OURS, ROLES, THEIRS, filled, site_of

ASKERS = ("", *(f"{role}@{place}" for role in ROLES for place in ("all", "ours")))
"""Nobody; each role everywhere; each role in one organisation."""
REFUSED = (401, 403, 404)
FORMS = {"text": "whoami", "form": "rule", "key": "none", "name": "x", "pattern": "x/*", "days": "3"}


class Console(NamedTuple):
    """The program as tests see it."""

    client: TestClient
    workspace: Workspace
    theirs: dict[str, str]
    """What belongs to the other organisation: placeholder or parameter → its id."""


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with filled(tmp_path_factory.mktemp("access")) as workspace:
        owner = organisation_named(workspace, OPERATOR, THEIRS)
        found = browse(workspace, OPERATOR, Wanted(organisation=owner.id), limit=1).rows[0]
        theirs = {
            "org": owner.public_id,
            "detection": found.public_id,
            "file": found.detection.file,
            "number": str(found.detection.record),
            "quarantined": str(quarantined(workspace, OPERATOR, organisation=owner.id)[0].id),
            "job": next(job.public_id for job in jobs(workspace, OPERATOR) if job.organisation == owner.id),
            "rule": next(iter(live_rules(workspace, OPERATOR).versions)),
            "set": next(str(each.id) for each in live_sets(workspace, OPERATOR) if each.name == CANARY),
        } | judged(workspace, owner.id)
        app = create_app(site_of(workspace))
        with TestClient(app, base_url="http://console.test", follow_redirects=False) as client:
            yield Console(client, workspace, theirs)


FILTER = """\
title: %s
logsource: {product: windows, category: process_creation}
filter:
    rules: [%s]
    selection: {User: %s}
    condition: not selection
"""


def judged(workspace: Workspace, owner: OrganisationId) -> dict[str, str]:
    """Situations, and what people decide about them, in the other organisation."""
    Keeper(workspace, load_sources(), None, WarningLists(Path(), [])).step()
    found = situations(workspace, OPERATOR, SituationFilter(organisation=owner)).situations[0]
    incident = declare(workspace, OPERATOR, found.public_id, CANARY)
    add_comment(workspace, OPERATOR, "incident", incident.public_id, CANARY)
    expires_us = workspace.clock_us() + 86_400_000_000
    text = FILTER % (CANARY, next(iter(live_rules(workspace, OPERATOR).versions)), "nobody")
    hiding = suppress(workspace, OPERATOR, text, owner=CANARY, reason=CANARY, expires_us=expires_us, organisation=owner)
    return {
        "situation": found.public_id,
        "incident": incident.public_id,
        "task": add_task(workspace, OPERATOR, "situation", found.public_id, CANARY),
        "suppression": hiding.public_id,
    }


def ask(console: Console, asker: str, method: str, path: str, **options: Any) -> Any:
    headers = {"sec-fetch-site": "same-origin"} | options.pop("headers", {})
    if asker:
        headers["cookie"] = f"asker={asker}"
    return console.client.request(method, path, headers=headers, **options)


def operations() -> list[tuple[str, str, str]]:
    """Every operation: method, path with placeholders, the right that it needs."""
    found = [(route.method, route.path, str(route.right)) for route in all_routes()]
    found += [("GET", f"{PREFIX}/{name}", right) for name, _, right in LISTS]
    found += [(method, PREFIX + path, right) for right, rows in API.items() for method, path, _ in rows]
    return [*found, ("GET", "/live-", "nobody")]


TEXT = {"text": "whoami"}
API: dict[str, tuple[tuple[str, str, Any], ...]] = {
    "read": (
        ("GET", "/organisations", None),
        ("GET", "/ask?q=pc-1", None),
        ("GET", "/sightings?q=pc-1", None),
        ("GET", "/coverage", None),
        ("GET", "/records", None),
        ("GET", "/detections/{id}", None),
        ("GET", "/quarantine/{id}", None),
        ("GET", "/situations/{id}", None),
        ("GET", "/incidents/{id}", None),
        ("GET", "/suppressions/draft?detection=none", None),
        ("GET", "/suppressions/{id}", None),
        ("GET", "/hunts/{id}", None),
        ("GET", "/rules/{id}", None),
        ("GET", "/rule-packs/{id}", None),
        ("GET", "/indicator-sets/{number}", None),
        ("GET", "/indicator-sets/{number}/indicators", None),
        ("GET", "/export/events", None),
        ("GET", "/export/detections", None),
        ("GET", "/export/sightings?q=pc-1", None),
        ("GET", "/ocsf/events", None),
        ("GET", "/ocsf/findings", None),
        ("POST", "/rules/check", TEXT),
        ("POST", "/indicators/look-for", {"text": "none.example"}),
        ("POST", "/suppressions/try", TEXT),
    ),
    "write": (
        ("PATCH", "/situations/{id}", {"owner": "x"}),
        ("POST", "/situations/{id}/comments", TEXT),
        ("POST", "/situations/{id}/tasks", TEXT),
        ("POST", "/situations/{id}/split", {"detections": ["none"]}),
        ("POST", "/situations/{id}/merge", {"situations": ["none"]}),
        ("POST", "/situations/{id}/acts/{act}/undo", None),
        ("POST", "/situations/{id}/incident", {"title": "x"}),
        ("POST", "/detections/verdict", {"detections": ["none"], "resolution": "benign"}),
        ("PATCH", "/incidents/{id}", {"owner": "x"}),
        ("POST", "/incidents/{id}/comments", TEXT),
        ("POST", "/incidents/{id}/tasks", TEXT),
        ("PATCH", "/tasks/{id}", {"done": True}),
        ("POST", "/suppressions", TEXT | {"reason": "x"}),
        ("DELETE", "/suppressions/{id}", None),
        ("POST", "/hunts", TEXT),
        ("DELETE", "/hunts/{id}", None),
        ("POST", "/rules", TEXT),
        ("POST", "/rules/{id}/switch-on", None),
        ("DELETE", "/rules/{id}", None),
        ("POST", "/rule-packs", None),
        ("DELETE", "/rule-packs/{id}", None),
        ("POST", "/rule-packs/{id}/try", None),
        ("POST", "/rule-packs/{id}/switch-on", {"level": "high"}),
        ("POST", "/indicator-sets", {"name": "x", "text": "none.example"}),
        ("POST", "/import/events", None),
        ("POST", "/import/indicators?name=x", None),
        ("DELETE", "/indicator-sets/{number}", None),
    ),
}
"""Every operation of the API that is no list: by the right that it needs, with a body that is well formed."""
BODIES = {(method, PREFIX + path): body for rows in API.values() for method, path, body in rows}


def filled_in(path: str) -> str:
    """A path that leads nowhere."""
    for name in ("{id}", "{token}", "{act}", "{number}"):
        path = path.replace(name, "999999" if name == "{number}" else "none")
    return path


def test_every_operation_of_the_running_program_is_in_the_matrix(console: Console) -> None:
    documented = console.client.get(PREFIX + "/openapi.json").json()["paths"]
    running = {(method.upper(), path) for path, methods in documented.items() for method in methods}
    numbered = f"{PREFIX}/indicator-sets/"
    running = {(method, path.replace(numbered + "{id}", numbered + "{number}")) for method, path in running}
    listed = {(method, path.partition("?")[0]) for method, path, _ in operations() if path.startswith(PREFIX)}
    assert running == listed


BESIDES = {
    "/static/{mark}/{name:path}": 404,
    "/live": 303,
    "/-/health": 200,
    "/-/ready": 200,
    "/-/metrics": 200,
    f"{PREFIX}/openapi.json": 200,
}
"""What the application answers that is no page and no operation, and what nobody in particular gets there."""


def test_nothing_is_routed_that_is_not_in_the_matrix(console: Console) -> None:
    app: Any = console.client.app
    numbered = f"{PREFIX}/indicator-sets/"
    listed = {path.partition("?")[0].replace(numbered + "{number}", numbered + "{id}") for _, path, _ in operations()}
    routed = {route.path for route in paths_of(app.router.routes)}
    assert routed - {"/live-"} == (listed - {"/live-"}) | set(BESIDES)
    for path, status in BESIDES.items():
        answer = ask(console, "", "GET", path.replace("{mark}", "x").replace("{name:path}", "none"))
        assert answer.status_code == status, path
        assert CANARY not in answer.text, path
        assert THEIRS not in answer.text, path


def paths_of(routes: Any) -> Iterator[Any]:
    """Every route, those of routers that are put in too."""
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if inner and not hasattr(route, "endpoint"):
            yield from paths_of(inner)
        else:
            yield route


@pytest.mark.parametrize("asker", ASKERS)
def test_an_operation_is_refused_to_whoever_has_not_the_right(console: Console, asker: str) -> None:
    role = asker.partition("@")[0]
    held = RIGHTS.get(role, frozenset())
    for method, path, right in operations():
        if path == "/live-":
            continue
        body = BODIES.get((method, path))
        sent = {"json": body} if path.startswith(PREFIX) else {"data": FORMS}
        answer = ask(console, asker, method, filled_in(path), **sent)
        if right == "nobody":
            continue
        if not asker:
            assert answer.status_code in (303, 401), (method, path)
            assert answer.status_code == 401 or answer.headers["location"].startswith("/sign-in"), (method, path)
        elif right != "anybody" and right not in held:
            assert answer.status_code == 403, (method, path)
        else:
            assert answer.status_code not in (401, 500), (method, path, answer.text[:200])


@pytest.mark.parametrize("role", ROLES)
def test_what_belongs_to_another_organisation_is_not_there(console: Console, role: str) -> None:
    theirs = console.theirs
    asker = f"{role}@ours"
    paths = [
        f"/detections/{theirs['detection']}",
        f"{PREFIX}/detections/{theirs['detection']}",
        f"/records?file={theirs['file']}&number={theirs['number']}",
        f"/records?file={theirs['file']}&number={theirs['number']}&of={theirs['org']}",
        f"{PREFIX}/records?file={theirs['file']}&number={theirs['number']}",
        f"/sources/quarantine/{theirs['quarantined']}",
        f"/hunt/{theirs['job']}",
        f"{PREFIX}/hunts/{theirs['job']}",
        f"{PREFIX}/quarantine/{theirs['quarantined']}",
        f"{PREFIX}/situations/{theirs['situation']}",
        f"{PREFIX}/incidents/{theirs['incident']}",
        f"{PREFIX}/suppressions/{theirs['suppression']}",
        f"{PREFIX}/suppressions/draft?detection={theirs['detection']}",
        f"{PREFIX}/indicator-sets/{theirs['set']}",
        f"{PREFIX}/indicator-sets/{theirs['set']}/indicators",
        *(
            f"{PREFIX}/{name}&org={theirs['org']}"
            for name in (
                *("ask?q=pc-1", "sightings?q=pc-1", "coverage?x=", "export/events?x=", "export/detections?x="),
                *("export/sightings?q=pc-1", "ocsf/events?x=", "ocsf/findings?x="),
            )
        ),
        *(f"{path}?org={theirs['org']}" for path in ("/", "/detections", "/sources", "/sources/blind", "/hunt")),
        *(f"{PREFIX}/{name}?org={theirs['org']}" for name, _, right in LISTS if right in RIGHTS[role]),  # type: ignore[index]  # a role of the table
        f"/detections?as=csv&org={theirs['org']}",
    ]
    for path in paths:
        answer = ask(console, asker, "GET", path)
        assert answer.status_code == 404, (path, answer.status_code)
    everywhere = ask(console, f"{role}@all", "GET", f"/detections/{theirs['detection']}")
    assert everywhere.status_code == 200


@pytest.mark.parametrize("role", ["analyst", "administrator"])
def test_nobody_changes_what_belongs_to_another_organisation(console: Console, role: str) -> None:
    theirs = console.theirs
    for method, path, data in (
        ("POST", "/jobs/cancel", {"key": theirs["job"]}),
        ("DELETE", f"{PREFIX}/hunts/{theirs['job']}", {}),
        ("POST", "/intelligence/retire", {"key": theirs["set"]}),
        ("POST", f"/rules/{theirs['rule']}/switch-off", {}),
        ("POST", f"/rules/{theirs['rule']}/switch-on", {}),
        ("DELETE", f"{PREFIX}/rules/{theirs['rule']}", {}),
        ("POST", f"/hunt/{theirs['job']}/promote", {}),
    ):
        answer = ask(console, f"{role}@ours", method, path, data=data)
        assert answer.status_code in REFUSED, (method, path, answer.status_code)
    situation, incident = f"/situations/{theirs['situation']}", f"/incidents/{theirs['incident']}"
    for method, path, body in (
        ("PATCH", situation, {"state": "closed", "resolution": "benign"}),
        ("POST", f"{situation}/comments", TEXT),
        ("POST", f"{situation}/tasks", TEXT),
        ("POST", f"{situation}/split", {"detections": [theirs["detection"]]}),
        ("POST", f"{situation}/merge", {"situations": [theirs["situation"]]}),
        ("POST", f"{situation}/acts/none/undo", {}),
        ("POST", f"{situation}/incident", {"title": "x"}),
        ("POST", "/detections/verdict", {"detections": [theirs["detection"]], "resolution": "benign"}),
        ("PATCH", incident, {"state": "closed"}),
        ("POST", f"{incident}/comments", TEXT),
        ("POST", f"{incident}/tasks", TEXT),
        ("PATCH", f"/tasks/{theirs['task']}", {"done": True}),
        ("DELETE", f"/suppressions/{theirs['suppression']}", None),
        ("DELETE", f"/indicator-sets/{theirs['set']}", None),
        ("POST", f"/suppressions?org={theirs['org']}", {"text": FILTER % ("x", theirs["rule"], "x"), "reason": "x"}),
        ("POST", f"/suppressions/try?org={theirs['org']}", {"text": FILTER % ("x", theirs["rule"], "x")}),
        ("POST", f"/indicator-sets?org={theirs['org']}", {"name": "x", "text": "none.example"}),
        ("POST", f"/indicators/look-for?org={theirs['org']}", {"text": "none.example"}),
        ("POST", f"/import/events?org={theirs['org']}", {"EventID": 1}),
        ("POST", f"/import/indicators?name=x&org={theirs['org']}", {"value": "none.example"}),
    ):
        answer = ask(console, f"{role}@ours", method, PREFIX + path, json=body)
        assert answer.status_code == 404, (method, path, answer.status_code, answer.text)
    assert situation_by_id(console.workspace, OPERATOR, theirs["situation"]).state == "in_work"
    assert suppression_by_id(console.workspace, OPERATOR, theirs["suppression"]).state == "active"
    assert [task.done_us for task in tasks_of(console.workspace, OPERATOR, "situation", theirs["situation"])] == [None]
    assert next(job for job in jobs(console.workspace, OPERATOR) if job.public_id == theirs["job"]).state == "waiting"
    assert any(each.name == CANARY for each in live_sets(console.workspace, OPERATOR))
    assert theirs["rule"] in live_rules(console.workspace, OPERATOR).versions


@pytest.mark.parametrize("role", ROLES)
def test_no_answer_holds_a_word_of_another_organisation(console: Console, role: str) -> None:
    asker = f"{role}@ours"
    paths = [path for method, path, _ in operations() if method == "GET" and "{" not in path and path != "/live-"]
    paths += [f"{path}?as={form}" for path in ("/detections", "/sources", "/rules") for form in ("csv", "json")]
    paths += [f"/ask?q={CANARY}", f"/ask?q={CANARY}-1&kind=host", "/ask?q=pc-1", f"/detections?q={CANARY}"]
    for path in paths:
        answer = ask(console, asker, "GET", path)
        text = answer.text.replace(f"q={CANARY}", "").replace(f'value="{CANARY}"', "")
        if path.startswith("/ask?q=" + CANARY):
            assert "0 " in text or "not" in text
            continue
        assert CANARY not in text, path
        assert THEIRS not in text, path
    assert OURS in ask(console, asker, "GET", "/detections").text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "", "origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "same-origin"}, 303),
    ],
)
def test_a_change_must_come_from_a_page_of_ours(console: Console, headers: dict[str, str], status: int) -> None:
    answer = ask(console, "reader@all", "POST", "/preferences", data={"language": "zh"}, headers=headers)
    assert answer.status_code == status


def test_every_answer_has_the_strict_policy(console: Console) -> None:
    for path in ("/", "/no-such-page", "/sign-in", "/-/health", f"{PREFIX}/detections", "/static/x/console.css"):
        answer = ask(console, "reader@all", "GET", path)
        assert answer.headers["content-security-policy"] == POLICY, path
        assert "unsafe" not in POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_nobody_is_sent_to_another_site(console: Console, back: str) -> None:
    answer = ask(console, "reader@all", "POST", "/preferences", data={"back": back})
    assert answer.headers["location"] == "/"


def test_a_file_is_looked_up_by_its_name_and_never_by_a_path(console: Console) -> None:
    for name in ("../app.py", "..%2fapp.py", "built/../../app.py", "/etc/passwd", "stamp", "built/stamp"):
        assert console.client.get(f"/static/x/{name}").status_code == 404


def test_a_hunt_with_an_idempotency_key_is_started_once(console: Console) -> None:
    rule = "title: t\nlogsource: {product: windows}\ndetection: {s: {EventID: 7}, condition: s}\nlevel: low\n"
    headers = {"idempotency-key": "one"}
    first, again = (
        ask(console, "analyst@all", "POST", f"{PREFIX}/hunts", json={"text": rule}, headers=headers) for _ in range(2)
    )
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    other = ask(console, "analyst@all", "POST", f"{PREFIX}/hunts", json={"text": rule + " "}, headers=headers)
    assert other.status_code == 409
    assert other.headers["content-type"] == "application/problem+json"


def test_an_answer_that_is_known_is_not_sent_again(console: Console) -> None:
    first = ask(console, "reader@all", "GET", f"{PREFIX}/sources")
    again = ask(console, "reader@all", "GET", f"{PREFIX}/sources", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""

"""The API as programs use it: reading, deciding, changing only what is still what was read, doing things once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from lakes import OPERATOR
from mingjian.console.api import LISTS, PREFIX
from mingjian.console.app import create_app
from mingjian.situations.keeping import Keeper
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import organisation_named
from mingjian.store.warninglists import WarningLists
from mingjian.store.workspace import Workspace
from serving import OURS, RULE, filled, site_of
from situated import Seen, grouped, put

FILTER = """\
title: Everybody knows
logsource: {product: windows, category: process_creation}
filter:
    rules: [whoami]
    selection: {Image|endswith: '\\\\whoami.exe'}
    condition: not selection
"""


class Api(NamedTuple):
    """The API as an analyst sees it."""

    client: TestClient
    workspace: Workspace

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        named = {"cookie": "asker=analyst@all", "sec-fetch-site": "same-origin"} | {
            name.replace("_", "-"): text for name, text in headers.items()
        }
        return self.client.request(method, PREFIX + path, json=body, headers=named)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with filled(tmp_path_factory.mktemp("api")) as workspace:
        Keeper(workspace, load_sources(), None, WarningLists(Path(), [])).step()
        owner = organisation_named(workspace, OPERATOR, "Grouped", make=True)
        put(workspace, owner, [Seen(minute=n, rule=f"r{n}", host="pc-grouped") for n in range(4)])
        put(workspace, owner, [Seen(minute=9 + n, rule=f"s{n}", host="z") for n in range(2)], first=10)
        grouped(workspace, owner)
        with TestClient(create_app(site_of(workspace)), base_url="http://console.test") as client:
            yield Api(client, workspace)


def largest(api: Api) -> dict[str, Any]:
    """The situation of the four detections on one host."""
    items = api("GET", "/situations?sort=-detections&state=all").json()["items"]
    wanted = [item for item in items if item["organisation"] == "Grouped"]
    return api("GET", f"/situations/{wanted[0]['id']}").json()


def test_a_situation_says_why_it_is_one(api: Api) -> None:
    found = largest(api)
    assert [member["title"] for member in found["members"] if member["is_core"]] == [f"Title of r{n}" for n in range(4)]
    assert {join["value"] for join in found["joins"]} == {"pc-grouped"}
    assert found["terms"]
    assert found["why"]


def test_a_change_is_refused_if_somebody_else_was_first(api: Api) -> None:
    found = api("GET", f"/situations/{largest(api)['id']}")
    path = f"/situations/{found.json()['id']}"
    changed = api("PATCH", path, {"owner": "ann"}, if_match=found.headers["etag"])
    assert (changed.status_code, changed.json()["owner"]) == (200, "ann")
    late = api("PATCH", path, {"owner": "bob"}, if_match=found.headers["etag"])
    assert (late.status_code, late.json()["code"]) == (412, "changed-meanwhile")
    assert api("GET", path).json()["owner"] == "ann"
    assert api("PATCH", path, {"owner": ""}, if_match="*").status_code == 200


def test_of_many_changes_to_what_was_read_one_is_made(api: Api) -> None:
    found = api("GET", f"/situations/{largest(api)['id']}")
    path, tag = f"/situations/{found.json()['id']}", found.headers["etag"]

    def change(number: int) -> int:
        return api("PATCH", path, {"owner": f"p{number}"}, if_match=tag).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(change, range(16))) == [200] + [412] * 15


def test_a_situation_is_closed_with_a_verdict_and_opened_again(api: Api) -> None:
    path = f"/situations/{largest(api)['id']}"
    assert api("PATCH", path, {"state": "closed"}).status_code == 422
    closed = api("PATCH", path, {"state": "closed", "resolution": "benign", "reason": "a test"}).json()
    assert (closed["state"], closed["resolution"]) == ("closed", "benign")
    assert closed["history"][0]["details"]["reason"] == "a test"
    assert api("PATCH", path, {"state": "open"}).json()["state"] == "open"


def test_what_is_split_off_stays_so_until_it_is_undone(api: Api) -> None:
    found = largest(api)
    path, detections = f"/situations/{found['id']}", [member["id"] for member in found["members"]]
    apart = api("POST", f"{path}/split", {"detections": detections[2:]}).json()
    assert len([member for member in apart["members"] if member["is_core"]]) == 2
    act = next(each for each in apart["history"] if each["kind"] == "split")
    assert api("POST", f"{path}/acts/none/undo").status_code == 404
    assert api("POST", f"{path}/acts/{act['id']}/undo").json()["detections"] == 4
    assert api("POST", f"{path}/acts/{act['id']}/undo").status_code == 409


def test_situations_are_put_together(api: Api) -> None:
    found = largest(api)
    items = api("GET", "/situations?state=all").json()["items"]
    other = next(item for item in items if item["organisation"] == "Grouped" and item["id"] != found["id"])
    merged = api("POST", f"/situations/{found['id']}/merge", {"situations": [other["id"]]}).json()
    assert merged["detections"] == found["detections"] + int(other["detections"])
    act = next(each for each in merged["history"] if each["can_be_undone"])
    assert api("POST", f"/situations/{found['id']}/acts/{act['id']}/undo").json()["detections"] == 4


def test_what_is_sent_twice_with_one_key_is_said_once(api: Api) -> None:
    path = f"/situations/{largest(api)['id']}"
    said = {"text": "only once"}
    answers = [api("POST", f"{path}/comments", said, idempotency_key="comment-1") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3
    assert [each["text"] for each in api("GET", path).json()["comments"]].count("only once") == 1
    other = api("POST", f"{path}/comments", {"text": "other"}, idempotency_key="comment-1")
    assert (other.status_code, other.json()["code"]) == (409, "state-error")


def test_an_incident_is_declared_with_tasks_and_changed(api: Api) -> None:
    situation = f"/situations/{largest(api)['id']}"
    made = api("POST", f"{situation}/incident", {"title": "Four hosts, one file"})
    assert made.status_code == 201
    path = f"/incidents/{made.json()['id']}"
    assert api("POST", f"{situation}/incident", {"title": "again"}).status_code == 409
    task = api("POST", f"{path}/tasks", {"text": "look", "due": "2030-01-01T00:00:00Z"}).json()
    assert api("POST", f"{path}/tasks", {"text": "look", "due": "2030-01-01T00:00:00"}).status_code == 422
    assert api("PATCH", f"/tasks/{task['id']}", {"done": True}).status_code == 200
    tag = api("GET", path).headers["etag"]
    assert api("PATCH", path, {"owner": "ann"}, if_match='"other"').status_code == 412
    changed = api("PATCH", path, {"owner": "ann", "state": "in_work"}, if_match=tag).json()
    assert (changed["owner"], changed["state"]) == ("ann", "in_work")
    assert changed["tasks"][0]["due"] == "2030-01-01T00:00:00Z"
    assert changed["tasks"][0]["done"]
    assert made.json()["id"] in [item["id"] for item in api("GET", "/incidents?state=in_work").json()["items"]]


def test_a_suppression_is_tried_then_hides_then_ends(api: Api) -> None:
    tried = api("POST", "/suppressions/try", {"text": FILTER}).json()
    there = len(api("GET", "/detections?limit=500").json()["items"])
    assert tried["detections"] > 0
    assert tried["detections"] == tried["looked_at"]
    made = api("POST", "/suppressions", {"text": FILTER, "reason": "known"})
    assert made.status_code == 201
    path = f"/suppressions/{made.json()['id']}"
    assert (made.json()["state"], made.json()["text"]) == ("active", FILTER)
    assert len(api("GET", "/detections?limit=500").json()["items"]) <= there
    assert api("DELETE", path).json() == {"shown_again": tried["detections"]}
    assert api("GET", path).json()["state"] == "ended"
    assert api("POST", "/suppressions", {"text": "title: x", "reason": "x"}).status_code == 422


def test_a_draft_hides_the_detection_that_it_was_made_of(api: Api) -> None:
    item = next(each for each in api("GET", "/detections?host=pc-odd").json()["items"] if each["stream"])
    text = api("GET", f"/suppressions/draft?detection={item['id']}").json()["text"]
    tried = api("POST", "/suppressions/try", {"text": text}).json()
    assert item["id"] in tried["examples"] or tried["detections"] > len(tried["examples"])


def test_rules_are_checked_added_switched_off_and_on_again(api: Api) -> None:
    rule = RULE.replace("000000000001", "000000000777")
    checked = api("POST", "/rules/check", {"text": rule + "---\ntitle: broken\n"}).json()
    assert (checked["rules"], len(checked["skipped"])) == (["Somebody asks who they are"], 1)
    assert checked["estimate"]["events"] > 0
    (added,) = api("POST", "/rules", {"text": rule}).json()["rules"]
    assert api("GET", f"/rules/{added}").json()["log_source"]
    assert api("POST", f"/rules/{added}/switch-on").status_code in (200, 404)
    assert api("DELETE", f"/rules/{added}").json() == {"rules": [added]}
    assert api("GET", f"/rules/{added}").status_code == 404
    assert api("POST", f"/rules/{added}/switch-on").json()["rules"] == [added]
    assert api("GET", f"/rules/{added}").json()["state"] == "runs"


def test_a_hunt_is_started_followed_and_cancelled(api: Api) -> None:
    rule = RULE.replace("whoami", "nobody")
    made = api("POST", "/hunts", {"text": rule}, idempotency_key="hunt-1")
    assert made.status_code == 202
    path = f"/hunts/{made.json()['id']}"
    assert api("POST", "/hunts", {"text": rule}, idempotency_key="hunt-1").json() == made.json()
    assert made.json()["id"] in [item["id"] for item in api("GET", "/hunts?state=waiting").json()["items"]]
    owner = {"cookie": "asker=administrator@all", "sec-fetch-site": "same-origin"}
    assert api.client.request("DELETE", PREFIX + path, headers=owner).json()["state"] == "cancelled"
    assert api("GET", path).json()["state"] == "cancelled"


def test_indicators_are_looked_for_at_once(api: Api) -> None:
    found = api("POST", "/indicators/look-for", {"text": "198.51.100.7\nnone.example"}).json()
    assert found["indicators"] == 2
    assert found["sentence"]
    assert api("POST", "/indicators/look-for", {"text": ""}).status_code == 422


def test_a_set_of_indicators_is_added_changed_and_retired(api: Api) -> None:
    order = {"name": "Ours", "text": "one.example\ntwo.example", "marking": "amber", "source": "a friend"}
    first = api("POST", "/indicator-sets", order).json()
    assert (first["how"], first["indicators"], first["marking"]) == ("new", 2, "TLP:AMBER")
    assert api("POST", "/indicator-sets", order).json()["how"] == "unchanged"
    second = api("POST", "/indicator-sets", order | {"text": "two.example"}).json()
    assert (second["how"], second["version"], second["gone"]) == ("changed", 2, 1)
    assert api("DELETE", f"/indicator-sets/{second['id']}").json()["state"] == "retired"
    assert api("DELETE", f"/indicator-sets/{second['id']}").status_code == 409


def test_sightings_are_those_of_the_events(api: Api) -> None:
    found = api("GET", "/sightings?q=pc-1").json()
    assert found["kind"] == "host"
    assert found["count"] == sum(item["count"] for item in found["items"]) > 0
    assert api("GET", "/sightings?q=never-was.example").json()["items"] == []


def test_coverage_says_how_far_history_reaches(api: Api) -> None:
    found = api("GET", "/coverage").json()
    assert found["first"] <= found["last"]
    assert found["holes"].get("unread", 0) >= 0
    assert found["sentence"]


def test_quarantine_gives_the_piece_as_it_came(api: Api) -> None:
    item = next(each for each in api("GET", "/quarantine").json()["items"] if each["organisation"] == OURS)
    assert api("GET", f"/quarantine/{item['id']}").json()["data"] == "{broken"


@pytest.mark.parametrize("name", [name for name, _, right in LISTS if right == "read"])
def test_the_pages_of_a_list_are_the_whole_list(api: Api, name: str) -> None:
    whole = api("GET", f"/{name}?limit=500").json()
    pages: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None and len(pages) < 40:
        page = api("GET", f"/{name}?limit=7" + (f"&after={after}" if after else "")).json()
        pages += page["items"]
        after = page["next"]
    assert pages == whole["items"][: len(pages)]
    assert after is not None or len(pages) == len(whole["items"])


def test_what_is_wrong_is_a_problem_with_a_status_that_agrees(api: Api) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("DELETE", "/detections", 405),
        ("GET", "/situations?sort=none", 422),
        ("PATCH", "/situations/none", 422),
        ("GET", "/situations/none", 404),
    ):
        answer = api(method, path)
        assert (answer.status_code, answer.json()["status"]) == (status, status), (method, path)
        assert answer.headers["content-type"] == "application/problem+json"

"""Much at once: what goes out is what is kept, what comes in comes in once."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from ingesting import events, follow, lines, some
from lakes import OPERATOR
from mingjian.console.api import PREFIX
from mingjian.console.app import create_app
from mingjian.store.audit import acts
from mingjian.store.catalogue import live_segments, organisation_named
from mingjian.store.indicators import live_sets
from mingjian.store.workspace import Workspace
from serving import OURS, filled, site_of

JSON_LINES, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"


class Api(NamedTuple):
    """The API as an analyst sees it."""

    client: TestClient
    workspace: Workspace

    def get(self, path: str, asker: str = "analyst@all") -> Any:
        return self.client.get(PREFIX + path, headers={"cookie": f"asker={asker}"})

    def post(self, path: str, body: bytes, kind: str = JSON_LINES) -> Any:
        headers = {"cookie": "asker=analyst@all", "sec-fetch-site": "same-origin", "content-type": kind}
        return self.client.post(PREFIX + path, content=body, headers=headers)

    def rows(self, path: str) -> list[dict[str, Any]]:
        """The lines of an export, as many as it said."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        found = [json.loads(line) for line in answer.text.splitlines()]
        assert answer.headers["mingjian-rows"] == str(len(found))
        return found

    def table(self, path: str) -> pa.Table:
        """The rows of an export as an Arrow table, as many as it said."""
        answer = self.get(f"{path}{'&' if '?' in path else '?'}as=arrow")
        assert answer.headers["content-type"] == ARROW
        table = pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()
        assert answer.headers["mingjian-rows"] == str(table.num_rows)
        return table


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with (
        filled(tmp_path_factory.mktemp("bulk")) as workspace,
        TestClient(create_app(site_of(workspace)), base_url="http://console.test") as client,
    ):
        yield Api(client, workspace)


def ours(api: Api) -> str:
    return organisation_named(api.workspace, OPERATOR, OURS).public_id


def test_every_event_goes_out_as_it_came_in(api: Api) -> None:
    rows = api.rows("/export/events")
    assert sorted(repr(row["record"]) for row in rows) == sorted(event.record for event in events(api.workspace))
    assert len(rows) == sum(row.rows for row in live_segments(api.workspace, OPERATOR))
    table = api.table("/export/events")
    assert [json.loads(text) for text in table.column("record").to_pylist()] == [row["record"] for row in rows]
    assert table.column("time").type == pa.timestamp("us", "UTC")


def test_a_period_and_a_stream_have_their_events_and_no_others(api: Api) -> None:
    every = api.rows("/export/events")
    times = sorted(row["time"] for row in every)
    first, until = times[len(times) // 3], times[2 * len(times) // 3]
    some_rows = api.rows(f"/export/events?since={first}&until={until}")
    assert sorted(row["time"] for row in some_rows) == [time for time in times if first <= time < until]
    stream = every[0]["stream"]
    of_stream = api.rows(f"/export/events?stream={stream}&stream=none")
    assert len(of_stream) == sum(row["stream"] == stream for row in every)
    mine = api.rows(f"/export/events?org={ours(api)}")
    assert {row["organisation"] for row in mine} == {OURS}
    assert api.rows("/export/events?since=1990-01-01&until=1990-01-02") == []
    assert api.get("/export/events?since=yesterday").status_code == 422


def test_detections_go_out_once_each(api: Api) -> None:
    rows = api.rows("/export/detections")
    listed: list[dict[str, Any]] = []
    after: str | None = ""
    while after is not None:
        page = api.get("/detections?limit=500" + (f"&after={after}" if after else "")).json()
        listed, after = listed + page["items"], page["next"]
    assert sorted(row["id"] for row in rows) == sorted(item["id"] for item in listed)
    high = api.rows("/export/detections?level=high")
    assert {row["id"] for row in high} == {row["id"] for row in rows if row["level"] in ("high", "critical")}
    table = api.table("/export/detections")
    assert table.column("id").to_pylist() == [row["id"] for row in rows]
    assert [json.loads(text) for text in table.column("matched").to_pylist()] == [row["matched"] for row in rows]


def test_sightings_go_out_as_they_are_counted(api: Api) -> None:
    rows = api.rows("/export/sightings?q=pc-1")
    assert sum(row["count"] for row in rows) == api.get("/sightings?q=pc-1").json()["count"] > 0
    assert api.table("/export/sightings?q=pc-1").num_rows == len(rows)


def test_what_belongs_to_others_does_not_go_out(api: Api) -> None:
    for path in ("/export/events", "/export/detections", "/ocsf/events", "/ocsf/findings", "/export/sightings?q=pc-1"):
        text = api.get(path, "reader@ours").text
        assert text
        assert "canary" not in text


def test_events_and_findings_go_out_in_ocsf(api: Api) -> None:
    events, findings = api.rows("/ocsf/events"), api.rows("/ocsf/findings")
    assert len(events) == len(api.rows("/export/events"))
    assert {event["class_uid"] for event in events} <= {0, 1007, 3002}
    assert {event["metadata"]["version"] for event in (*events, *findings)} == {"1.9.0-dev"}
    assert {finding["class_uid"] for finding in findings} == {2004}
    assert {finding["finding_info"]["uid"] for finding in findings} == {
        row["id"] for row in api.rows("/export/detections")
    }


def arrow_of(records: list[dict[str, Any]]) -> bytes:
    """Records as an Arrow stream."""
    table = pa.Table.from_pylist(records)
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return buffer.getvalue()


def test_events_that_are_handed_over_come_in_once(api: Api) -> None:
    new = [record | {"Marker": "imported"} for record in some(40)]
    path = f"/import/events?org={ours(api)}"
    first = api.post(path, lines(new))
    assert (first.status_code, first.json()) == (202, {"accepted": 40, "repeated": False})
    other_ends = b"\n" + lines(new).replace(b"\n", b"\r\n\n")[:-2]
    assert api.post(path, other_ends).json() == {"accepted": 40, "repeated": True}
    assert api.post(path, lines(new)).json() == {"accepted": 40, "repeated": True}
    for _ in range(2):
        follow(api.workspace, steps=(), intake=True)
        api.post(path, lines(new))
    api.post(path, arrow_of(new), ARROW)
    follow(api.workspace, steps=(), intake=True)
    rows = [row for row in api.rows(f"/export/events?org={ours(api)}") if row["record"].get("Marker") == "imported"]
    kinds = {row["file"] for row in rows}
    assert len(rows) == 40 * len(kinds)
    assert len(kinds) == 2, "the lines, and those of the table, which are written in another way"


def test_what_cannot_be_read_is_quarantined_and_the_rest_is_not(api: Api) -> None:
    body = b'{"EventID": 1, "Marker": "mixed"}\n{broken import\n{"EventID": 2, "Marker": "mixed"}\n'
    assert api.post(f"/import/events?org={ours(api)}", body).json()["accepted"] == 3
    follow(api.workspace, steps=(), intake=True)
    rows = [row for row in api.rows("/export/events") if row["record"].get("Marker") == "mixed"]
    assert [row["record"]["EventID"] for row in rows] == [1, 2]
    items = api.get("/quarantine?q=import").json()["items"]
    assert any(api.get(f"/quarantine/{item['id']}").json()["data"] == "{broken import" for item in items)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/import/events", b"{}", JSON_LINES),
        ("/import/events?org=ORG", b"[1, 2]", JSON_LINES),
        ("/import/events?org=ORG", b"{}", "text/plain"),
        ("/import/events?org=ORG", b"no arrow", ARROW),
        ("/import/indicators?name=x", b"no arrow", ARROW),
        ("/import/indicators?name=x", b"", "text/plain"),
        ("/import/indicators", b"none.example", "text/plain"),
    ],
)
def test_what_cannot_be_taken_is_refused_as_a_whole(api: Api, path: str, body: bytes, kind: str) -> None:
    answer = api.post(path.replace("ORG", ours(api)), body, kind)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_indicators_come_in_as_rows_or_as_a_list_and_go_out_again(api: Api) -> None:
    rows = [{"type": "domain", "value": f"d{n}.example", "confidence": 80, "tlp": "amber"} for n in range(25)]
    broken = lines([*rows, {"type": "domain", "value": "not a domain!"}]) + b"{broken\n"
    first = api.post("/import/indicators?name=Rows", broken).json()
    assert (first["how"], first["indicators"], first["quarantined"]) == ("new", 25, 2)
    assert api.post("/import/indicators?name=Rows", arrow_of(rows), ARROW).json()["how"] == "unchanged"
    listed = "\n".join(row["value"] for row in rows).encode()
    second = api.post("/import/indicators?name=Rows&source=list", listed, "text/plain").json()
    assert (second["how"], second["indicators"]) == ("changed", 25)
    path = f"/indicator-sets/{first['id']}/indicators"
    assert [(row["value"], row["confidence"], row["marking"]) for row in api.rows(path)] == [
        (row["value"], 80, "TLP:AMBER") for row in sorted(rows, key=lambda row: row["value"])
    ]
    assert api.table(path).num_rows == 25
    assert "Rows" in [each.name for each in live_sets(api.workspace, OPERATOR)]


def test_every_export_and_import_is_an_act(api: Api) -> None:
    said = {each.what for each in acts(api.workspace, OPERATOR, limit=1_000)}
    for what in ("events.exported", "detections.exported", "events.imported", "indicators.added"):
        assert what in said

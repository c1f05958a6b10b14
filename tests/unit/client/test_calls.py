"""The client against a server: every operation of the API is a method, and what it gives has the types that it says."""

from __future__ import annotations

import io
import re
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
import pytest

from lakes import OPERATOR
from mingjian.client import Client, values
from mingjian.client.transport import TRIES, Transport
from mingjian.console.site import Site
from mingjian.errors import ChangedMeanwhile, ConfigError, DeliveryError, InputError, NotFound, StateError
from mingjian.hunt.errands import Errands
from mingjian.settings import Settings
from mingjian.situations.keeping import Keeper
from mingjian.sources.definitions import load_sources
from mingjian.store.catalogue import organisation_named
from mingjian.store.warninglists import WarningLists
from serving import OURS, RULE, TokenGate, filled, served
from situated import Seen, grouped, put

FILTER = """\
title: Everybody knows
logsource: {product: windows, category: process_creation}
filter:
    rules: [whoami]
    selection: {User: nobody}
    condition: not selection
"""


class Recorded(Transport):
    """A transport that says who asks as the tests do, and writes down what was asked."""

    def __init__(self, address: str, asked: list[tuple[str, str]]) -> None:
        super().__init__(address, "none", sleep=lambda seconds: None)
        self._asked = asked

    def _send(self, method: str, url: str, body: object, headers: Mapping[str, str]) -> Any:
        self._asked.append((method, url.partition("?")[0]))
        return super()._send(method, url, body, {**headers, "cookie": "asker=administrator@all"})


class Console(NamedTuple):
    """A server and a client of it."""

    address: str
    client: Client
    asked: list[tuple[str, str]]
    org: str
    errands: Callable[[], None]
    """Lets the jobs be done that are no hunts."""


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with filled(tmp_path_factory.mktemp("client")) as workspace:
        Keeper(workspace, load_sources(), None, WarningLists(Path(), [])).step()
        owner = organisation_named(workspace, OPERATOR, "Grouped", make=True)
        put(workspace, owner, [Seen(minute=n, rule=f"r{n}", host="pc-grouped") for n in range(4)])
        put(workspace, owner, [Seen(minute=9 + n, rule=f"s{n}", host="z") for n in range(2)], first=10)
        grouped(workspace, owner)
        settings = Settings(address_requests_per_minute=0, account_requests_per_minute=0)
        with served(Site(workspace, settings, load_sources(), TokenGate(workspace))) as address:
            wait_for(address)
            asked: list[tuple[str, str]] = []
            client = Client(address, "none")
            client._transport = Recorded(address, asked)
            with client:
                errands = Errands(workspace, load_sources(), None, Path())

                def work() -> None:
                    while errands.step():
                        pass

                yield Console(address, client, asked, organisation_named(workspace, OPERATOR, OURS).public_id, work)


def wait_for(address: str) -> None:
    """Come back when the server answers."""
    for _ in range(10_000):
        try:
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=5):
                return
        except OSError:
            threading.Event().wait(0.01)


def test_lists_go_on_from_page_to_page(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    every = list(console.client.detections())
    monkeypatch.setattr("mingjian.client.calls.PAGE_ROWS", 7)
    assert list(console.client.detections()) == every
    assert len(every) > 7


def test_situations_are_read_judged_split_and_put_together(console: Console) -> None:
    client = console.client
    of_it = [each for each in client.situations(state="all") if each.organisation == "Grouped"]
    largest = client.situation(max(of_it, key=lambda each: each.detections).id)
    other = next(each for each in of_it if each.id != largest.id)
    changed = client.change_situation(largest, owner="ann")
    with pytest.raises(ChangedMeanwhile):
        client.change_situation(largest, owner="bob")
    assert client.change_situation(changed, state="in_work").owner == "ann"
    apart = client.split(largest.id, [member.id for member in largest.members[2:]])
    whole = client.undo(largest.id, next(act.id for act in apart.history if act.can_be_undone))
    assert whole.detections == largest.detections
    merged = client.merge(largest.id, [other.id])
    client.undo(largest.id, next(act.id for act in merged.history if act.can_be_undone))
    client.comment("situations", largest.id, "looked at")
    client.finish_task(client.add_task("situations", largest.id, "look again", due="2030-01-01T00:00:00Z"))
    incident = client.declare(largest.id, "Four on one host")
    with pytest.raises(StateError):
        client.declare(largest.id, "again")
    read = client.incident(incident.id)
    assert client.change_incident(read, state="in_work").state == "in_work"
    client.comment("incidents", incident.id, "more to come")
    client.add_task("incidents", incident.id, "tell them")
    assert [each.id for each in client.incidents()] == [incident.id]
    client.judge([member.id for member in largest.members[-1:]], "benign", reason="a test")
    assert client.situation(largest.id).comments[0].text == "looked at"


def test_detections_records_and_questions(console: Console) -> None:
    client = console.client
    item = next(each for each in client.detections(host="pc-odd"))
    found = client.detection(item.id)
    assert found.matched
    (record,) = client.records(found.file, found.record)
    assert record.record["Hostname"] == "pc-odd"
    assert client.ask("pc-odd")["observable"] == "pc-odd"
    assert client.sightings("pc-odd").count > 0
    assert client.coverage().first
    assert [each.name for each in client.organisations() if each.id == console.org] == [OURS]
    for rows in (client.sources(), client.blind_spots(), client.behaviours(), client.jobs()):
        assert all(isinstance(row, dict) for row in rows)
    pieces = [client.quarantined(row["id"]) for row in client.quarantine()]
    assert "{broken" in [piece.data for piece in pieces]
    with pytest.raises(NotFound):
        client.detection("none")


def test_suppressions_rules_hunts_and_indicators(console: Console) -> None:
    client = console.client
    item = next(client.detections(host="pc-odd"))
    assert client.try_suppression(client.draft_suppression(item.id)).detections
    made = client.suppress(FILTER, "a test", days=3)
    assert client.suppression(made.id).state == "active"
    assert client.end_suppression(made.id) == 0
    assert [each["id"] for each in client.suppressions()] == [made.id]
    rule = RULE.replace("000000000001", "000000000888")
    assert client.check_rules(rule).estimate is not None
    (id,) = client.add_rules(rule).rules
    assert client.rule(id).state == "runs"
    assert client.switch_off(id).rules == [id]
    assert client.switch_on(id).rules == [id]
    assert id in [each["rule"] for each in client.rules()]
    hunt = client.hunt("Image=cmd.exe", form="expression")
    assert not client.hunt_state(hunt.id).is_over
    assert client.cancel_hunt(hunt.id).is_over
    assert hunt.id in [each["id"] for each in client.hunts()]
    assert client.look_for("none.example").hits == []
    added = client.add_indicators("Ours", "one.example\ntwo.example", marking="green")
    assert (added.how, client.indicator_set(added.id).indicators) == ("new", 2)
    assert {row["value"] for row in client.export_indicators(added.id)} == {"one.example", "two.example"}
    assert "Ours" in [each["name"] for each in client.indicator_sets()]
    assert client.retire_indicators(added.id).state == "retired"
    with pytest.raises(InputError):
        client.add_rules("title: broken")


def test_a_pack_of_rules_is_sent_read_tried_switched_on_and_removed(console: Console) -> None:
    client = console.client
    text = RULE.replace("000000000001", "000000000777").encode() + b"---\ntitle: broken\n"
    sent = client.send_rule_pack("ours", io.BytesIO(text))
    assert (sent.state, sent.rules) == ("waiting", [])
    with pytest.raises(StateError):
        client.try_rule_pack(sent.id)
    console.errands()
    read = client.rule_pack(sent.id)
    assert (read.files, read.skipped_in_all, [each.change for each in read.rules]) == (1, 1, ["new"])
    before = len(list(client.detections()))
    job = client.try_rule_pack(sent.id)
    console.errands()
    assert client.hunt_state(job.id).state == "done"
    tried = client.rule_pack(sent.id)
    assert tried.tried is not None
    assert (tried.rules[0].detections or 0) > 0
    assert len(list(client.detections())) == before
    assert client.switch_on_rule_pack(sent.id, level="high").rules == [read.rules[0].id]
    assert sent.id in [each["id"] for each in client.rule_packs()]
    assert client.remove_rule_pack(sent.id) == "ours"
    assert sent.id not in [each["id"] for each in client.rule_packs()]
    assert read.rules[0].id in [each["id"] for each in client.rules()]


def test_much_goes_out_and_in(console: Console) -> None:
    client = console.client
    rows = client.export_events(streams=["windows/sysmon/1"], since="2000-01-01")
    assert len(list(rows)) == rows.expected > 0
    assert list(client.export_detections(level="high"))
    assert sum(row["count"] for row in client.export_sightings("pc-odd")) == client.sightings("pc-odd").count
    assert {row["class_uid"] for row in client.ocsf_events(org=console.org)} >= {1007}
    assert {row["class_uid"] for row in client.ocsf_findings()} == {2004}
    file = io.BytesIO()
    count = client.save_arrow("export/events", file, org=console.org)
    assert pa.ipc.open_stream(io.BytesIO(file.getvalue())).read_all().num_rows == count
    taken = client.import_events(console.org, io.BytesIO(b'{"EventID": 1}\n{"EventID": 2}'))
    assert (taken.accepted, taken.repeated) == (2, False)
    table = io.BytesIO(b'{"type": "domain", "value": "three.example"}\n')
    assert client.import_indicators("Rows", table).indicators == 1


def test_every_operation_of_the_api_is_a_method(console: Console) -> None:
    with urllib.request.urlopen(f"{console.address}/api/v1/openapi.json") as answer:  # noqa: S310 - our own server
        paths = msgspec.json.decode(answer.read())["paths"]
    patterns = {(m.upper(), p): re.compile(re.sub(r"\{\w+\}", "[^/]+", p)) for p, ms in paths.items() for m in ms}
    reached = {
        key for key, pattern in patterns.items() for m, u in console.asked if key[0] == m and pattern.fullmatch(u)
    }
    assert set(patterns) - reached == set()


def test_what_a_value_has_is_in_the_document(console: Console) -> None:
    with urllib.request.urlopen(f"{console.address}/api/v1/openapi.json") as answer:  # noqa: S310 - our own server
        schemas = msgspec.json.decode(answer.read())["components"]["schemas"]
    pairs = {
        "SituationState": values.Situation,
        "IncidentState": values.Incident,
        "SuppressionState": values.Suppression,
        "Trial": values.Trial,
        "HuntState": values.Hunt,
        "RuleState": values.Rule,
        "PackState": values.RulePack,
        "PackedRule": values.PackedRule,
        "SetAdded": values.IndicatorSet,
        "Sightings": values.Sightings,
        "CoverageState": values.Coverage,
        "RawRecord": values.RawRecord,
        "QuarantinedPiece": values.Quarantined,
        "IndicatorAnswer": values.LookedFor,
        "CheckedRules": values.CheckedRules,
        "EventsTaken": values.Taken,
    }
    for name, kind in pairs.items():
        assert set(kind.__struct_fields__) - {"etag"} == set(schemas[name]["properties"]), name
    items = {"DetectionsItem": values.DetectionItem, "SituationsItem": values.SituationItem}
    for name, kind in items.items():
        assert set(kind.__struct_fields__) <= set(schemas[name]["properties"]), name


def test_what_cannot_be_reached_is_tried_again_and_then_said() -> None:
    waited: list[float] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        transport = Transport(f"http://127.0.0.1:{taken.getsockname()[1]}", "none", sleep=waited.append)
        with pytest.raises(DeliveryError):
            transport.call("GET", "/organisations")
    assert len(waited) == TRIES - 1
    assert waited == sorted(waited)


@pytest.mark.parametrize("address", ["ftp://a.example", "a.example", "http://", "file:///etc/passwd"])
def test_an_address_is_one_of_the_web(address: str) -> None:
    with pytest.raises(ConfigError):
        Client(address, "none")

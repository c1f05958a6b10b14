from typing import Any

import pytest

from mingjian.model.detections import Detection
from mingjian.model.sources import Layout, Stream, View
from mingjian.sources.ocsf import Where, event_of, finding_of, knowledge

WHERE = Where(tenant="t", time_us=1_700_000_000_123_456, received_us=1_700_000_009_000_000, pointer="f.jsonl:7")
PROCESS = {"process.pid": "Pid", "process.cmd_line": "Line", "process.file.path": "Image", "actor.user.name": "User"}
FLOW = {
    "src_endpoint.ip": "src", "src_endpoint.port": "sport", "dst_endpoint.ip": "dst", "dst_endpoint.port": "dport",
    "traffic.bytes_out": "out",
}  # fmt: skip


def made(uid: int | None, paths: dict[str, str], record: dict[str, Any], **more: Any) -> Any:
    stream = Stream(name=more.pop("name", "made/up"), source="s", family="f", ocsf_class=uid, ocsf_paths=paths, **more)
    return event_of(View(stream, Layout(name="l", family="f")), record, WHERE, {"s": "Our Sensor"})


def test_an_event_has_its_class_its_time_and_where_it_is_from() -> None:
    record = {"Pid": "0x1f", "Line": "whoami /all", "Image": "C:\\Windows\\whoami.exe", "User": "ann", "Host": "pc-1"}
    found = made(1007, PROCESS, record, host=("Host",), name="windows/sysmon/1")
    assert (found["class_uid"], found["category_uid"], found["activity_id"], found["type_uid"]) == (1007, 1, 1, 100701)
    assert found["time"] == 1_700_000_000_123
    assert found["process"]["pid"] == 31
    assert found["process"]["file"] == {"path": record["Image"], "name": "whoami.exe", "type_id": 0}
    assert found["device"] == {"hostname": "pc-1", "type_id": 0}
    assert found["actor"]["user"] == {"name": "ann"}
    assert found["metadata"]["version"] == knowledge().version
    assert found["metadata"]["product"] == {"name": "Our Sensor"}
    assert found["metadata"]["uid"] == "f.jsonl:7"
    assert found["metadata"]["tenant_uid"] == "t"
    assert found["metadata"]["profiles"] == ["host"]


def test_what_the_event_does_not_tell_is_unknown() -> None:
    found = made(1007, PROCESS, {"Line": "whoami"})
    assert found["actor"] == {"app_name": "Unknown"}
    assert found["device"] == {"name": "Unknown", "type_id": 0}
    assert found["process"] == {"cmd_line": "whoami", "uid": "Unknown"}
    assert found["activity_id"] == 0


@pytest.mark.parametrize("record", [{}, {"User": "ann"}, {"Line": None, "Pid": "-"}])
def test_an_event_without_what_its_class_is_about_is_a_base_event_with_everything(record: dict[str, Any]) -> None:
    found = made(1007, PROCESS, record)
    assert (found["class_uid"], found["type_uid"], found["unmapped"]) == (0, 0, record)


@pytest.mark.parametrize("uid", [None, 4242])
def test_an_event_of_no_class_or_one_that_nobody_knows_is_a_base_event(uid: int | None) -> None:
    assert made(uid, {"x.y": "a"}, {"a": 1})["class_uid"] == 0


def test_what_an_attribute_cannot_hold_is_unmapped() -> None:
    record = {"src": "192.0.2.1", "sport": 70_000, "dst": "no address", "dport": "443", "out": "-1"}
    found = made(4001, FLOW, record)
    assert found["src_endpoint"] == {"ip": "192.0.2.1"}
    assert found["dst_endpoint"] == {"port": 443}
    assert found["unmapped"] == {
        "src_endpoint.port": "70000",
        "dst_endpoint.ip": "no address",
        "traffic.bytes_out": "-1",
    }


def test_the_method_of_a_request_is_its_activity() -> None:
    paths = {"http_request.http_method": "m", "http_request.url.hostname": "h", "http_response.code": "c"}
    found = made(4002, paths, {"m": "get", "h": "a.example", "c": "200"})
    assert (found["activity_id"], found["http_request"]["http_method"]) == (3, "GET")
    assert found["http_request"]["url"] == {"hostname": "a.example", "path": "/"}
    odd = made(4002, paths, {"m": "BREW", "h": "a.example"})
    assert (odd["activity_id"], "http_method" in odd["http_request"]) == (99, False)
    assert "http_response" not in odd


def test_paths_that_lead_through_values_do_no_harm() -> None:
    found = made(4001, {"src_endpoint.ip": "a", "status": "b", "status.more": "c"}, {"a": "::1", "b": "x", "c": "y"})
    assert (found["status"], found["unmapped"]) == ("x", {"status.more": "y"})


def test_a_long_text_is_cut_and_a_broken_one_survives() -> None:
    found = made(1007, PROCESS, {"Line": "x" * 100_000, "User": "\ud800"})
    assert len(found["process"]["cmd_line"]) == 32_768
    assert found["actor"]["user"]["name"] == "\\ud800"


@pytest.mark.parametrize(("kind", "type_id"), [("rule", 1), ("correlation", 1), ("indicator", 9), ("behaviour", 2)])
def test_a_finding_says_what_found_it_and_where_the_evidence_is(kind: Any, type_id: int) -> None:
    one = Detection(
        time_us=WHERE.time_us, level="high", rule_id="r", rule_title="R", kind=kind, attack=("T1033",), host="pc-1",
        account="ann", stream="s", file="f", record=7, matched={"Image": "x"},
    )  # fmt: skip
    found = finding_of(one, WHERE, lambda uid: ("System Owner/User Discovery", ["Discovery"]))
    assert (found["class_uid"], found["type_uid"], found["severity_id"]) == (2004, 200401, 4)
    info = found["finding_info"]
    assert (info["uid"], info["analytic"]["uid"], info["analytic"]["type_id"]) == ("f.jsonl:7", "r", type_id)
    assert info["attacks"][0]["technique"] == {"uid": "T1033", "name": "System Owner/User Discovery"}
    assert found["evidences"][0]["data"] == {"file": "f", "record": 7, "matched": {"Image": "x"}}

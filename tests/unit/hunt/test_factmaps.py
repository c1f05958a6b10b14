"""Which events tell which facts: the packaged book against records as their producers write them."""

import numpy as np
import pytest

from mingjian.formats.records import RecordBlock
from mingjian.hunt.behaviourbook import FactBook, built_in_facts
from mingjian.hunt.factmaps import NO_TIME, Facts, Gathering
from mingjian.model.values import Record
from mingjian.sources.definitions import load_sources
from mingjian.sources.router import Router

BOOK = built_in_facts()
SOURCES = load_sources()


def facts(*organisations: tuple[str, str, list[Record]]) -> Facts:
    """The facts in some records: (organisation, format, records)."""
    gathering = Gathering(BOOK)
    router = Router(SOURCES)
    for organisation, kind, records in organisations:
        block = RecordBlock(kind, range(1, len(records) + 1), records)
        for portion in router.route(block):
            rows = range(len(records)) if portion.rows is None else portion.rows
            taken = block if portion.rows is None else block.take(portion.rows)
            events = np.array([row + 1 for row in rows], np.int64)
            gathering.add(organisation, portion.view, taken, events * 1000, events)
    return gathering.facts()


def zeek(log: str, **fields: object) -> Record:
    return {"_path": log, "ts": 1.0, "uid": "C1", "id.orig_h": "10.0.0.9", "id.resp_h": "203.0.113.9", **fields}


def security(number: int, **fields: object) -> Record:
    return {"Channel": "Security", "EventID": number, "Computer": "FS-01.corp.example", **fields}


def windows(*records: Record) -> tuple[str, str, list[Record]]:
    return ("a", "evtx", list(records))


def test_every_stream_of_the_book_is_one_that_a_source_has() -> None:
    known = {stream.name for stream in SOURCES.streams()}
    prefixes = {name.partition("{")[0] for name in known if "{" in name}
    unknown = [
        name for name in BOOK.streams() if name not in known and not any(name.startswith(each) for each in prefixes)
    ]
    assert unknown == []


def test_a_flow_is_a_connection_under_the_one_name_that_its_address_had() -> None:
    flow = zeek("conn", **{"id.resp_p": 443, "proto": "tcp", "orig_bytes": 640, "resp_bytes": "-", "duration": 1.5})
    session = zeek("ssl", server_name="C2.Example.NET")
    [row] = facts(("a", "zeek", [flow, session])).connections.to_pylist()
    assert row == {
        **{"event": 1, "time_us": 1000, "organisation": "a", "source": "10.0.0.9", "destination": "c2.example.net"},
        **{"port": 443, "bytes_out": 640, "bytes_in": None, "duration_us": 1_500_000},
    }
    other = zeek("ssl", server_name="www.example.com")
    [row] = facts(("a", "zeek", [flow, session, other])).connections.to_pylist()
    assert row["destination"] == "203.0.113.9", "an address with two names stays an address"


def test_logons_say_who_from_where_to_where_and_whether() -> None:
    target = {"TargetUserName": "Alice", "TargetDomainName": "CORP", "IpAddress": "10.0.0.9"}
    rows = facts(
        windows(
            security(4624, LogonType=3, **target),
            security(4625, LogonType=10, **target),
            security(4768, Status="0x0", **target),
            security(4771, Status="0x18", **target),
            security(4672, SubjectUserName="alice"),
            security(4648, TargetUserName="alice", TargetServerName="DB-01.corp.example"),
        )
    ).logons.to_pylist()
    told = [(row["source"], row["target"], row["account"], row["succeeded"], row["kind"]) for row in rows]
    assert sorted(told, key=str) == sorted(
        [
            ("10.0.0.9", "fs-01", "alice", True, "network"),
            ("10.0.0.9", "fs-01", "alice", False, "remote"),
            ("10.0.0.9", "fs-01", "alice", True, "ticket"),
            ("10.0.0.9", "fs-01", "alice", False, "ticket"),
            (None, "fs-01", "alice", True, "privileged"),
            ("fs-01", "db-01", "alice", True, "explicit"),
        ],
        key=str,
    )


def test_an_address_inside_gets_the_name_that_its_host_has() -> None:
    sysmon: Record = {
        **{"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 3, "Computer": "WS-7.corp.example"},
        **{"SourceIp": "10.0.0.9", "DestinationIp": "203.0.113.9", "DestinationPort": 443, "Initiated": "true"},
    }
    logon = security(4624, LogonType=3, TargetUserName="alice", IpAddress="10.0.0.9")
    found = facts(windows(sysmon, logon))
    assert found.logons.column("source").to_pylist() == ["ws-7"]
    assert found.own_domains == {"a": ("corp.example",)}


def test_look_ups_and_what_was_not_there() -> None:
    names = [
        zeek("dns", query="a.example", rcode_name="NXDOMAIN"),
        zeek("dns", query="B.example", rcode_name="NOERROR"),
    ]
    rows = facts(("a", "zeek", names)).lookups.to_pylist()
    assert [(row["host"], row["query"], row["failed"]) for row in rows] == [
        ("10.0.0.9", "a.example", True),
        ("10.0.0.9", "b.example", False),
    ]


def test_uses_are_counted_once_for_each_pair() -> None:
    start: Record = {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Computer": "WS-7"}
    records = [{**start, "Image": image} for image in ("C:\\A.exe", "C:\\b.exe", "c:\\a.EXE")]
    rows = facts(windows(*records)).uses.to_pylist()
    assert [(row["entity"], row["kind"], row["value"], row["count"], row["event"]) for row in rows] == [
        ("ws-7", "file", "c:\\a.exe", 2, 1),
        ("ws-7", "file", "c:\\b.exe", 1, 2),
    ]


def test_a_firewall_is_not_asked_where_a_sensor_tells_the_same() -> None:
    traffic: Record = {
        **{"type": "traffic", "subtype": "forward", "srcip": "10.0.0.9", "dstip": "203.0.113.9", "dstport": "443"},
        **{"logid": "0000000013", "devname": "FGT", "devid": "F", "sentbyte": "5", "rcvdbyte": "6", "vd": "root"},
    }
    flow = zeek("conn", **{"id.resp_p": 443, "proto": "tcp", "orig_bytes": 640})
    found = facts(("a", "keyvalue", [traffic]), ("b", "keyvalue", [traffic]), ("b", "zeek", [flow]))
    rows = found.connections.to_pylist()
    assert {(row["organisation"], row["bytes_out"]) for row in rows} <= {("a", 5), ("b", 640)}
    assert ("b", 640) in {(row["organisation"], row["bytes_out"]) for row in rows}


def test_events_that_do_not_say_when_or_who_are_counted() -> None:
    gathering = Gathering(BOOK)
    block = RecordBlock("zeek", range(2), [zeek("dns", query="a.example"), zeek("dns", query="-")])
    [portion] = Router(SOURCES).route(block)
    gathering.add("a", portion.view, block, np.array([NO_TIME, 5]), np.arange(2))
    found = gathering.facts()
    assert (found.lookups.num_rows, found.without["lookups"]) == (0, 2)


def test_no_events_give_empty_tables() -> None:
    found = facts()
    assert (found.connections.num_rows, found.uses.num_rows, found.own_domains) == (0, 0, {})


@pytest.mark.parametrize("stream", ["zeek/conn", "windows/security/4624", "suricata/dns", "linux/sshd"])
def test_the_book_names_the_usual_streams(stream: str) -> None:
    assert isinstance(BOOK, FactBook)
    assert Gathering(BOOK).wants(stream)
    assert not Gathering(BOOK).wants("nothing/of/it")

"""What members hand on: a choice by kind of log, and some of it by what a line says."""

import json

import pytest

from mingjian.sample.book import KEPT_BACK, Book
from mingjian.sample.forwarding import wanted_of
from mingjian.sample.world import Outage


def winlogbeat(code: int, **data: str) -> str:
    return json.dumps({"event": {"code": str(code)}, "winlog": {"event_data": data}}, separators=(",", ":"))


def nxlog(code: int, **data: str) -> str:
    return json.dumps({"EventID": code, "Severity": "INFO", **data}, separators=(",", ":"))


KEPT = [
    (winlogbeat, 1, {}),
    (winlogbeat, 4688, {}),
    (nxlog, 7045, {}),
    (nxlog, 10, {"SourceImage": "C:\\a.exe", "TargetImage": "C:\\Windows\\System32\\lsass.exe"}),
    (winlogbeat, 11, {"Image": "C:\\a.exe", "TargetFilename": "C:\\Users\\x\\new.exe"}),
    (winlogbeat, 13, {"TargetObject": "HKU\\S\\Software\\Microsoft\\Windows\\CurrentVersion\\Run\\x"}),
    (nxlog, 5140, {"ShareName": "\\\\*\\ADMIN$"}),
]
NOT_KEPT = [
    (winlogbeat, 5, {}),
    (nxlog, 4624, {"LogonType": "3"}),
    (nxlog, 10, {"SourceImage": "C:\\lsass.exe", "TargetImage": "C:\\a.exe"}),
    (winlogbeat, 11, {"Image": "C:\\a.exe", "TargetFilename": "C:\\Users\\x\\new.txt"}),
    (winlogbeat, 13, {"TargetObject": "HKLM\\System\\x", "Details": "CurrentVersion"}),
    (nxlog, 5140, {"ShareName": "\\\\*\\archive"}),
]


@pytest.mark.parametrize(("make", "code", "data"), KEPT)
def test_what_tells_much_is_handed_on(make, code, data) -> None:
    wanted = wanted_of(f"o.example/{make.__name__}/2025-01-06.jsonl")
    assert wanted is not None
    assert wanted(make(code, **data))


@pytest.mark.parametrize(("make", "code", "data"), NOT_KEPT)
def test_what_there_is_much_of_is_not(make, code, data) -> None:
    wanted = wanted_of(f"o.example/{make.__name__}/2025-01-06.jsonl")
    assert wanted is not None
    assert not wanted(make(code, **data))


def test_only_large_flows_to_the_outside_are_handed_on() -> None:
    conn = wanted_of("o.example/zeek/2025-01-06/conn.log")
    assert conn is not None
    row = "1.5\tC1\t10.20.0.11\t5000\t{to}\t443\ttcp\tssl\t3120.0\t{sent}\t900"
    assert conn(row.format(to="192.0.2.237", sent="1640000000"))
    assert not conn(row.format(to="192.0.2.237", sent="9999999"))
    assert not conn(row.format(to="10.20.0.16", sent="1640000000"))
    line = {"id.orig_h": "10.22.0.11", "id.resp_h": "192.0.2.237", "duration": 3.0, "orig_bytes": 64_000_000}
    assert conn(json.dumps(line, separators=(",", ":")))
    assert not conn(json.dumps(line | {"id.resp_h": "10.22.0.16"}, separators=(",", ":")))


def test_whole_sources_stay_with_their_owner() -> None:
    assert [wanted_of(f"o.example/{name}/2025-01-06.log") for name in ("audit", "nginx", "vsftpd")] == [None] * 3


def test_what_was_planted_and_is_kept_back_is_remembered(tmp_path) -> None:
    outage = Outage(source="syslog", from_us=0, until_us=5, reason="stopped")
    with Book(tmp_path, "test", finished_at_us=1_000_000, outages=(outage,), is_forwarded=True) as book:
        book.lane("o/syslog/a.log", "syslog").extend([
            (1, "Jan  6 h sshd[1]: Accepted password for x", 7),
            (10, "Jan  6 h sshd[1]: Accepted password for x", 8),
            (11, "Jan  6 h CRON[2]: job", 9),
            (12, "Jan  6 h CRON[2]: job", 0),
        ])  # fmt: skip
        book.lane("o/audit/a.log", "auditd").append((13, "type=SYSCALL", 10))
        book.write(100)
    assert (tmp_path / "o/syslog/a.log").read_text() == "Jan  6 h sshd[1]: Accepted password for x\n"
    assert not (tmp_path / "o/audit").exists()
    placed = {(each.file, each.mark): each.record for each in book.placed}
    assert placed == {
        ("o/syslog/a.log", 7): 0,
        ("o/syslog/a.log", 8): 1,
        ("o/syslog/a.log", 9): KEPT_BACK,
        ("o/audit/a.log", 10): KEPT_BACK,
    }

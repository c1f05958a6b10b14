from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mingjian.formats import syslog
from mingjian.formats.registry import recognise
from mingjian.model.values import Record
from text_logs import CHINESE, one, outcome, records

FILE_TIME_S = datetime(2021, 6, 1, tzinfo=UTC).timestamp()


def read(line: str | bytes) -> Record:
    return one(syslog.read, line, modified_at_s=FILE_TIME_S)


def holds(record: Record, **fields: object) -> bool:
    return all(record.get(name) == value for name, value in fields.items())


def test_rfc_3164_gives_the_envelope_and_the_year_of_the_file() -> None:
    assert read("<13>Dec 10 06:55:46 web-1 foo/bar[24200]: hello: world") == {
        "timestamp": "Dec 10 06:55:46",
        "time": "2020-12-10T06:55:46",
        "host": "web-1",
        "program": "foo/bar",
        "pid": "24200",
        "message": "hello: world",
        "facility": 1,
        "severity": 5,
        "facility_name": "user",
        "severity_name": "notice",
    }


def test_without_the_time_of_the_file_a_year_is_not_made_up() -> None:
    record = one(syslog.read, "Dec 10 06:55:46 h foo: x")
    assert record["timestamp"] == "Dec 10 06:55:46"
    assert "time" not in record
    assert one(syslog.read, "Apr 29 2020 20:06:39 h foo: x")["time"] == "2020-04-29T20:06:39"


def test_rfc_5424_gives_structured_data_by_id_and_parameter() -> None:
    line = "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 ID7 "
    line += '[a@1 x="1" y="q\\"\\]\\\\"][b z=""] \ufeffIt\'s time'
    assert read(line) == {
        "timestamp": "2003-08-24T05:14:15.000003-07:00",
        "time": "2003-08-24T05:14:15.000003-07:00",
        "host": "192.0.2.1",
        "program": "myproc",
        "pid": "8710",
        "msgid": "ID7",
        "sd.a@1.x": "1",
        "sd.a@1.y": 'q"]\\',
        "sd.b.z": "",
        "message": "It's time",
        "facility": 20,
        "severity": 5,
        "facility_name": "local4",
        "severity_name": "notice",
    }
    assert read("<34>1 - - - - - -") == {
        "facility": 4,
        "severity": 2,
        "facility_name": "auth",
        "severity_name": "crit",
        "message": "",
    }


def test_iso_timestamps_keep_their_zone() -> None:
    record = read("2021-01-01T10:10:10.123456+08:00 web1 sudo[7]: x")
    assert holds(record, time="2021-01-01T10:10:10.123456+08:00", host="web1", program="sudo", pid="7", message="x")


@pytest.mark.parametrize(
    ("line", "host", "program", "message"),
    [
        ("Jun 19 04:08:57 combo syslogd 1.4.1: restart.", "combo", "syslogd", "restart."),
        ("Jun 19 04:08:57 combo -- MARK --", "combo", None, "-- MARK --"),
        ("Jun 19 04:08:57 combo last message repeated 2 times", "combo", None, "last message repeated 2 times"),
        ("Jun 19 04:08:57 sshd[12]: no host was written", None, "sshd", "no host was written"),
        ("Jun 19 04:08:57 fe80::1 foo: x", "fe80::1", "foo", "x"),
        ("Jun  9 04:08:57 h /usr/sbin/cron[1]: x", "h", "/usr/sbin/cron", "x"),
        ("Jun 19 04:08:57 h foo[]: ", "h", "foo", ""),
        ("<14>foo[2]: x", None, "foo", "x"),
        ("<14>just text", None, None, "just text"),
        ("no header at all", None, None, "no header at all"),
    ],
)
def test_what_stands_before_the_message_is_optional(
    line: str, host: str | None, program: str | None, message: str
) -> None:
    assert holds(read(line), host=host, program=program, message=message)


@pytest.mark.parametrize(
    "line",
    [
        "<13>Dec 10 06:55:46 web-1 foo/bar[24200]: hello: world",
        "Dec 10 06:55:46 h sshd: x",
        "Dec  1 06:55:46 a.b:c x(y)[1]: x",
        "2021-01-01T10:10:10.1Z h p: m",
        "2021-01-01 10:10:10,5 h p[3]: m",
        "<1>2021-01-01T10:10:10+0100 h p: ",
    ],
)
def test_the_quick_pattern_reads_what_the_slow_ones_read(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = read(line)
    monkeypatch.setattr(syslog, "_USUAL", syslog._SD_ELEMENT)  # a pattern that these lines do not match
    assert read(line) == quick


def test_devices_give_their_mnemonic() -> None:
    line = "<189>123: r1: *Mar  1 00:00:00.123 UTC: %SYS-5-CONFIG_I: Configured from console by admin"
    assert holds(
        read(line), mnemonic_facility="SYS", mnemonic_severity="5", mnemonic="CONFIG_I", facility_name="local7"
    )
    line = "<166>Apr 29 2020 20:06:39 asa01 : %ASA-6-302013: Built inbound TCP connection"
    assert holds(read(line), host="asa01", mnemonic_facility="ASA", mnemonic="302013", time="2020-04-29T20:06:39")
    line = "<189>Aug  1 2020 10:10:10+08:00 HW %%01SHELL/5/CMDRECORD(l)[12]:Recorded command."
    assert holds(
        read(line), host="HW", mnemonic_facility="SHELL", mnemonic="CMDRECORD", time="2020-08-01T10:10:10+08:00"
    )
    line = "Mar  6 12:00:02 r2 100: RP/0/RSP0/CPU0:Mar  6 12:00:02.123 : tcp[420]: %IP-TCP-3-BADAUTH : Invalid MD5"
    assert holds(read(line), host="r2", mnemonic_facility="IP-TCP", mnemonic="BADAUTH")
    line = "<189>Aug  1 10:10:10:123 2020 H3C %%10FILTER/6/X: SrcZoneName(1025)=Trust;Protocol(1001)=TCP;"
    assert holds(read(line), mnemonic="X", SrcZoneName="Trust", Protocol="TCP", time="2020-08-01T10:10:10.123")


def test_audit_records_in_messages_are_audit_records() -> None:
    line = (
        "Jan  1 10:10:10 h audispd: node=n1 type=SYSCALL msg=audit(1613123456.789:123): arch=c000003e syscall=59 pid=7"
    )
    assert holds(read(line), host="n1", program="audispd", type="SYSCALL", SYSCALL="execve", pid="7", serial="123")
    line = 'Jan  1 10:10:10 h kernel: [123.4] audit: type=1400 audit(1613123456.789:12): apparmor="DENIED" name=2F6120'
    assert holds(read(line), type="AVC", apparmor="DENIED", name="/a ", time="2021-02-12T09:50:56.789Z")
    line = "Jan  1 10:10:10 h audit[1]: SERVICE_STOP pid=1 uid=0 msg='unit=ufw comm=\"systemd\"'"
    assert holds(read(line), type="SERVICE_STOP", unit="ufw", comm="systemd", time="2021-01-01T10:10:10")


def test_other_whole_records_in_messages_win_over_the_envelope() -> None:
    json = read('Jan  1 10:10:10 h suricata[1]: {"timestamp":"2020-01-01T00:00:00Z","host":"z","a":{"b":[1]}}')
    assert holds(
        json, timestamp="2020-01-01T00:00:00Z", host="z", program="suricata", a={"b": [1]}, time="2021-01-01T10:10:10"
    )
    assert holds(read('Jan  1 10:10:10 h x: @cee: {"a":1}'), a=1)
    assert holds(read("<13>Jan  1 10:10:10 h CEF:0|V|P|1|100|n|9|src=1.2.3.4"), severity="9", src="1.2.3.4", host="h")
    assert holds(read("Jan  1 10:10:10 h p: LEEF:1.0|V|P|1|E|src=1.2.3.4\tdst=2"), eventID="E", dst="2", program="p")
    event = "<Event><System><Channel>C</Channel><EventID>1</EventID></System>"
    event += "<EventData><Data Name='Image'>/x</Data></EventData></Event>"
    assert holds(read(f"Jan  1 10:10:10 h sysmon: {event}"), EventID=1, Image="/x", Channel="C", host="h")
    line = 'Jan  1 10:10:10 h nginx: 1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET /a?b HTTP/1.1" 404 -'
    assert holds(read(line), **{"c-ip": "1.2.3.4", "cs-uri-query": "b", "time": "2000-10-10T13:55:36-07:00"})


@pytest.mark.parametrize(
    "message",
    [
        '{"a":',
        "[" * 100_000,
        '{"a":' * 100_000,
        "<Event><System>",
        "CEF:0|V|P",
        "<Event>&x;</Event>",
        '{"a":1} and more',
    ],
)
def test_a_broken_payload_leaves_the_message(message: str) -> None:
    record = read(f"Jan  1 10:10:10 h p: {message}")
    assert record == {
        "timestamp": "Jan  1 10:10:10",
        "time": "2021-01-01T10:10:10",
        "host": "h",
        "program": "p",
        "message": message,
    }


def test_text_that_only_mentions_a_payload_is_not_one() -> None:
    record = read("Jan  1 10:10:10 h sshd[1]: Invalid user CEF:0|a|b|c|d|e|f|src=6.6.6.6 from 1.2.3.4 port 5")
    assert holds(record, user="CEF:0|a|b|c|d|e|f|src=6.6.6.6", src_ip="1.2.3.4", deviceVendor=None)


def test_pairs_win_over_the_envelope_only_where_there_is_no_tag() -> None:
    device = read('<189>date=2019-05-10 time=11:37:47 tz="+0800" type="traffic" host=x pid=1')
    assert holds(device, time="2019-05-10T11:37:47+0800", host="x", type="traffic")
    program = read('Jan  1 10:10:10 h foo[2]: level=info host=evil time=2000-01-01T00:00:00Z msg="a b"')
    assert holds(program, host="h", pid="2", level="info", msg="a b", time="2021-01-01T10:10:10")


def test_a_line_that_is_not_text_is_quarantined() -> None:
    found, bad = outcome(syslog.read, [b"Jan  1 10:10:10 h foo: x\n\x01\x02\x03\x00\x04\x05\n  \n"])
    assert [number for number, _ in found] == [1]
    assert [(each.record, each.offset, each.data) for each in bad] == [(2, 25, b"\x01\x02\x03\x00\x04\x05")]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16", "utf-16-be"])
def test_chinese_is_read_in_every_encoding(encoding: str) -> None:
    line = f"Jan  1 10:10:10 h foo[2]: {CHINESE}\nJan  1 10:10:11 h bar: x\n"
    data = line.encode(encoding)
    format_ = recognise(data, "x")
    assert format_ is not None
    assert format_.name == "syslog"
    first, second = records(format_.read, data, modified_at_s=FILE_TIME_S)
    assert holds(first, message=CHINESE, pid="2", _raw=line.split("\n")[0])
    assert second["program"] == "bar"


def test_bytes_in_no_encoding_are_kept_and_marked() -> None:
    record = read(b"Jan  1 10:10:10 h foo: caf\xe9 \xff")
    assert record["message"] == "caf\udce9 \udcff"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("Jan  1 10:10:10 h foo: x", "syslog"),
        ("<13>1 - - - - - -", "syslog"),
        ("2021-01-01T10:10:10Z h foo: x", "syslog"),
        ("2021-01-01 10:10:10,123 ERROR [main] com.example.Foo - x", "text"),
        ("<14>CEF:0|a|b|c|d|e|5|", "cef"),
        ("CEF:0|a|b|c|d|e|5|", "cef"),
        ("LEEF:1.0|a|b|c|d|x=1", "leef"),
        ("type=CWD msg=audit(1.1:1): cwd=x", "auditd"),
        ("date=2020-01-01 time=10:10:10 x=1", "keyvalue"),
        ("hello world", "text"),
        ('1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 1', "weblog"),
        ("[Sun Dec 04 04:47:44 2005] [error] x", "weberror"),
        ("a,b,c\n1,2,3", "csv"),
    ],
)
def test_each_format_is_recognised_by_its_lines(head: str, name: str) -> None:
    found = recognise(head.encode() + b"\n", "log")
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("file", "programs"), [("OpenSSH_2k.log", {"sshd": 2000}), ("Linux_2k.log", {"ftpd": 916, "sshd(pam_unix)": 677})]
)
def test_every_line_of_real_logs_is_an_event(file: str, programs: dict[str, int], shared_data: Path) -> None:
    found = records(syslog.read, (shared_data / "linux" / file).read_bytes(), modified_at_s=FILE_TIME_S)
    assert len(found) == 2000
    counted = Counter(record.get("program") for record in found)
    assert {program: counted[program] for program in programs} == programs
    assert all("time" in record and record["host"] in {"LabSZ", "combo"} for record in found)


def test_what_a_real_sshd_says_is_taken_apart(shared_data: Path) -> None:
    """Counted with grep over the lines, by other patterns than ours."""
    found = records(syslog.read, (shared_data / "linux" / "OpenSSH_2k.log").read_bytes())
    lines = (shared_data / "linux" / "OpenSSH_2k.log").read_text().splitlines()
    failed = [line for line in lines if "Failed password for" in line or "Failed none for" in line]
    ours = [record for record in found if record.get("action") == "failed"]
    assert len(ours) == len(failed)
    assert Counter(record["src_ip"] for record in ours) == Counter(
        line.split(" from ")[-1].split(" ")[0] for line in failed
    )
    assert sum(1 for record in found if record.get("action") == "accepted") == sum(
        1 for line in lines if ": Accepted " in line
    )
    known = sum(1 for record in found if "action" in record)
    assert known >= 1900

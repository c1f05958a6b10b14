from collections import Counter
from pathlib import Path

import pytest

from mingjian.formats import weblog
from mingjian.model.values import Record
from text_logs import one, outcome, records

COMBINED = (
    '1.2.3.4 - bob [10/Oct/2000:13:55:36 -0700] "GET /a/b.gif?x=1&y HTTP/1.1" 200 2326 "http://e.example/" '
    '"Mozilla/5.0 (X)"'
)


def access(line: str) -> Record:
    return one(weblog.read, line)


def request(target: str) -> Record:
    return access(f'1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET {target} HTTP/1.1" 200 1 "-" "-"')


def test_combined_has_the_names_of_w3c() -> None:
    assert access(COMBINED) == {
        "timestamp": "10/Oct/2000:13:55:36 -0700",
        "time": "2000-10-10T13:55:36-07:00",
        "c-ip": "1.2.3.4",
        "cs-username": "bob",
        "cs-method": "GET",
        "cs-version": "HTTP/1.1",
        "cs-uri": "/a/b.gif?x=1&y",
        "cs-uri-stem": "/a/b.gif",
        "cs-uri-query": "x=1&y",
        "cs-uri-any": ["/a/b.gif?x=1&y", "/a/b.gif", "x=1&y"],
        "sc-status": "200",
        "sc-bytes": "2326",
        "cs-referer": "http://e.example/",
        "cs-user-agent": "Mozilla/5.0 (X)",
    }


def test_common_leaves_out_what_is_not_there() -> None:
    assert access('::1 - - [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.0" 304 -') == {
        "timestamp": "10/Oct/2000:13:55:36 +0000",
        "time": "2000-10-10T13:55:36+00:00",
        "c-ip": "::1",
        "cs-method": "GET",
        "cs-version": "HTTP/1.0",
        "cs-uri": "/",
        "cs-uri-stem": "/",
        "cs-uri-any": "/",
        "sc-status": "304",
    }


def test_a_virtual_host_may_stand_in_front() -> None:
    record = access(f"www.example.org:443 {COMBINED}")
    assert (record["cs-host"], record["s-port"], record["c-ip"], record["cs-username"]) == (
        "www.example.org",
        "443",
        "1.2.3.4",
        "bob",
    )
    record = access(f"www.example.org {COMBINED.replace('bob', '-')}")
    assert (record["cs-host"], record["c-ip"]) == ("www.example.org", "1.2.3.4")
    record = access(COMBINED.replace("1.2.3.4", "1.2.3.4, 10.0.0.1, 10.0.0.2"))
    assert (record["c-ip"], record["x-forwarded-for"], record["cs-username"]) == (
        "1.2.3.4",
        "1.2.3.4, 10.0.0.1, 10.0.0.2",
        "bob",
    )


def test_further_fields_are_kept_in_order() -> None:
    record = access(COMBINED + ' "5.6.7.8, ::1" 0.003 "a b" -')
    assert record["extra"] == ["5.6.7.8, ::1", "0.003", "a b", "-"]
    assert record["x-forwarded-for"] == "5.6.7.8, ::1"
    assert "x-forwarded-for" not in access(COMBINED + " 0.003 1521911720.865")


def test_escapes_are_undone() -> None:
    assert request("/?q=\\x22<s>\\xe6\\x98\\x8e\\\\")["cs-uri-query"] == 'q="<s>明\\'
    record = access(COMBINED.replace("Mozilla/5.0 (X)", '() { :; }; echo \\"x\\"\\t\\xff'))
    assert record["cs-user-agent"] == '() { :; }; echo "x"\t\udcff'


def test_quotes_that_were_not_escaped_do_not_lose_the_line() -> None:
    record = access(COMBINED.replace("x=1&y", 'q="a" b').replace("(X)", 'a"b'))
    assert (record["cs-uri-query"], record["cs-user-agent"], record["sc-status"]) == (
        'q="a" b',
        'Mozilla/5.0 a"b',
        "200",
    )
    record = access(COMBINED.replace("bob", "b[o]b c"))
    assert (record["cs-username"], record["cs-uri-stem"]) == ("b[o]b c", "/a/b.gif")


@pytest.mark.parametrize("line", ['"\\x16\\x03\\x01"', '"-"', '""', '"GET"'])
def test_a_request_that_is_none_is_kept_whole(line: str) -> None:
    record = access(f"1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] {line} 400 0")
    assert record.get("request") in {"\x16\x03\x01", None, "", "GET"}
    assert record["sc-status"] == "400"
    assert "cs-method" not in record


def test_nothing_is_percent_decoded_and_blanks_in_targets_stay() -> None:
    record = request("/cgi-bin/.%2e/%%32%65/bin/sh?a b?c")
    assert (record["cs-uri-stem"], record["cs-uri-query"]) == ("/cgi-bin/.%2e/%%32%65/bin/sh", "a b?c")
    assert access(COMBINED.replace(" HTTP/1.1", ""))["cs-uri"] == "/a/b.gif?x=1&y"


def test_a_proxy_request_has_the_host_of_its_address() -> None:
    assert request("http://u:p@e.example:8080/x?y")["cs-host"] == "e.example:8080"


def test_squid_is_read() -> None:
    line = (
        "1286536310.430   1073 10.1.1.1 TCP_MISS/200 9132 GET http://e.example/a/b.exe?q=1 bob DIRECT/1.2.3.4 text/html"
    )
    assert access(line) == {
        "timestamp": "1286536310.430",
        "time-taken": "1073",
        "c-ip": "10.1.1.1",
        "s-action": "TCP_MISS",
        "sc-status": "200",
        "sc-bytes": "9132",
        "cs-method": "GET",
        "s-hierarchy": "DIRECT/1.2.3.4",
        "cs-uri": "http://e.example/a/b.exe?q=1",
        "cs-uri-stem": "http://e.example/a/b.exe",
        "cs-uri-query": "q=1",
        "cs-host": "e.example",
        "c-uri-extension": "exe",
        "cs-uri-any": ["http://e.example/a/b.exe?q=1", "http://e.example/a/b.exe", "q=1"],
        "cs-username": "bob",
        "c-uri": "http://e.example/a/b.exe?q=1",
        "cs-mime-type": "text/html",
    }
    assert access(line.replace("GET http://e.example/a/b.exe?q=1", "CONNECT e.example:443"))["cs-host"] == "e.example"


def test_other_lines_are_quarantined() -> None:
    found, bad = outcome(weblog.read, [COMBINED.encode() + b"\nnonsense\n \n"])
    assert len(found) == 1
    assert [(each.record, each.offset, each.data, each.reason) for each in bad] == [
        (2, len(COMBINED) + 1, b"nonsense", "not an access log line")
    ]


def test_apache_error_lines_of_both_generations_are_read() -> None:
    assert one(
        weblog.read_errors,
        "[Sun Dec 04 04:47:44 2005] [error] [client 1.2.3.4] File does not exist: /x, referer: http://e/",
    ) == {
        "timestamp": "Sun Dec 04 04:47:44 2005",
        "time": "2005-12-04T04:47:44",
        "level": "error",
        "c-ip": "1.2.3.4",
        "message": "File does not exist: /x, referer: http://e/",
        "cs-referer": "http://e/",
    }
    line = (
        "[Fri Sep 09 10:42:29.902022 2011] [core:error] [pid 35708:tid 4328636416] "
        "[client 72.15.99.187:1234] AH00124: x"
    )
    assert one(weblog.read_errors, line) == {
        "timestamp": "Fri Sep 09 10:42:29.902022 2011",
        "time": "2011-09-09T10:42:29.902022",
        "module": "core",
        "level": "error",
        "pid": "35708",
        "tid": "4328636416",
        "c-ip": "72.15.99.187",
        "c-port": "1234",
        "error_code": "AH00124",
        "message": "x",
    }
    for peer in ("2001:db8::1:99", "[2001:db8::1]:99"):
        record = one(weblog.read_errors, line.replace("72.15.99.187:1234", peer))
        assert (record["c-ip"], record["c-port"], record["message"]) == ("2001:db8::1", "99", "x")


def test_nginx_error_lines_are_read() -> None:
    line = '2021/01/01 10:10:10 [error] 12#34: *7 open() "/x" failed, '
    line += 'client: 1.2.3.4, server: s, request: "GET /a?b HTTP/1.1", host: "h"'
    record = one(weblog.read_errors, line)
    assert record["message"] == line.split("*7 ")[1]
    del record["message"]
    assert record == {
        "timestamp": "2021/01/01 10:10:10",
        "time": "2021-01-01T10:10:10",
        "level": "error",
        "pid": "12",
        "tid": "34",
        "connection": "7",
        "c-ip": "1.2.3.4",
        "server": "s",
        "cs-method": "GET",
        "cs-uri": "/a?b",
        "cs-uri-stem": "/a",
        "cs-uri-query": "b",
        "cs-uri-any": ["/a?b", "/a", "b"],
        "cs-version": "HTTP/1.1",
        "cs-host": "h",
    }


def test_what_a_program_wrote_to_the_error_log_is_a_message() -> None:
    assert one(weblog.read_errors, "sh: wget: not found") == {"message": "sh: wget: not found"}
    _, bad = outcome(weblog.read_errors, [b"\x00\x01\x02\x03\n"])
    assert len(bad) == 1


def test_every_line_of_a_real_error_log_is_an_event(shared_data: Path) -> None:
    found = records(weblog.read_errors, (shared_data / "linux" / "Apache_2k.log").read_bytes())
    assert len(found) == 2000
    assert Counter(record["level"] for record in found) == {"notice": 1405, "error": 595}
    assert sum("c-ip" in record for record in found) == 32

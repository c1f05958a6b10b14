"""Reading text logs in tests: what comes out of some bytes, and a few lines of every kind to start from."""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

from mingjian.formats import auditd, csvtable, keyvalue, syslog, w3c, weblog, zeek
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.values import Record

Read = Callable[[Piece], Iterator[Block | Quarantined]]

READERS: dict[str, tuple[Read, bool]] = {
    "zeek": (zeek.read, False),
    "w3c": (w3c.read, False),
    "csv": (csvtable.read, False),
    "cef": (syslog.read_cef, True),
    "auditd": (auditd.read, True),
    "syslog": (syslog.read, True),
    "weblog": (weblog.read, True),
    "weberror": (weblog.read_errors, True),
    "keyvalue": (keyvalue.read, True),
}
"""Name → reader, and whether a file may be cut at line ends."""

LINES: dict[str, bytes] = {
    "zeek": b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tx\n"
    b"#fields\tts\tuid\tid.orig_h\tn\tok\tnames\ttimes\n#types\ttime\tstring\taddr\tcount\tbool\tset[string]\tvector[interval]\n"
    b"1521911720.865716\tC\\x41\t10.0.0.1\t7\tT\ta,b\\x2cc\t1.5,-\n1.0\t-\t::1\t-\t-\t(empty)\t-\nshort\n"
    b"#close\t2024-04-12-19-29-12\n",
    "w3c": b"#Version: 1.0\n#Date: 2021-03-03 00:00:00\n#Fields: date time cs-method cs-uri-stem cs-uri-query c-ip\n"
    b"2021-03-03 00:00:01 GET /a.aspx cmd=whoami 1.2.3.4\n2021-03-03 00:00:02 GET / - 1.2.3.4\n"
    b'#Fields: time c-ip\n00:00:03 1.2.3.4\n#Fields: date-time,x\n2021-03-03T00:00:01.5Z,"a,b"\nshort\n',
    "csv": b'when,what,"who, where"\r\n1,"multi\r\nline ""q""",x\r\n2,,\r\n3,a\r\n4,"open,b\r\n',
    "cef": b"<134>Sep 19 08:26:10 fw CEF:0|V\\|v|P|1|100|n|5|src=10.0.0.1 cs1Label=Rule cs1=a\\=b c msg=x y\n"
    b"LEEF:2.0|V|P|1|E|^|src=1.1.1.1^dst=2.2.2.2\nLEEF:1.0|V|P|1|E|src=1.1.1.1\tdst=2.2.2.2\nCEF:0|few\n",
    "auditd": b'type=SYSCALL msg=audit(1613123456.789:123): arch=c000003e syscall=59 comm="sh" key=61016E\n'
    b'type=EXECVE msg=audit(1613123456.789:123): argc=2 a0="sh" a1[0]=6120 a1[1]=62\n'
    b"type=USER_AUTH msg=audit(1613123456.789:124): pid=3 msg='op=PAM acct=\"root\" addr=1.2.3.4 res=failed'\n----\n"
    b"type=SOCKADDR msg=audit(1613123456.789:126): saddr=02000050C0A801010000000000000000\nnot an audit record\n",
    "syslog": b"Dec 10 06:55:46 LabSZ sshd[24200]: Failed password for invalid user a from 1.2.3.4 port 7 ssh2\n"
    b'<34>1 2003-10-11T22:14:15.003Z h su - ID47 [x@1 a="b\\"c"][y d="e"] failed\n'
    b"2021-01-01T10:10:10.5+08:00 web1 sudo:   bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls\n"
    b"<189>29: r1: *Mar  6 2026 12:00:00.123: %SYS-5-CONFIG_I: Configured\n"
    b'Jan  1 10:10:10 h suricata[1]: {"event_type":"alert","a":{"b":[1,null]}}\n'
    b"Jan  1 10:10:10 h sysmon: <Event><System><EventID>1</EventID></System></Event>\n"
    b"Jan  1 10:10:10 h kernel: [1.2] [UFW BLOCK] IN=eth0 OUT= SRC=1.2.3.4 DST=5.6.7.8 PROTO=TCP SPT=1 DPT=22\n"
    b"Feb 29 10:10:10 h named[1]: client @0x7 1.2.3.4#53 (a.b): query: a.b IN A +E(0)K (10.0.0.1)\n\tmore text\n",
    "weblog": b'1.2.3.4 - bob [10/Oct/2000:13:55:36 -0700] "GET /a?b=\\x22c HTTP/1.1" 200 23 "-" "M \\"q\\""\n'
    b'v:443 1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 404 -\nnot an access line\n'
    b"1286536310.430   1073 10.1.1.1 TCP_MISS/200 9132 GET http://e.example/b.exe?q bob DIRECT/1.2.3.4 text/html\n",
    "weberror": b"[Sun Dec 04 04:47:44 2005] [error] [client 1.2.3.4] mod_jk child in error state 6\n"
    b'2021/01/01 10:10:10 [error] 1#4: *7 open() failed, client: 1.2.3.4, request: "GET /a?b HTTP/1.1"\nsh: wget\n',
    "keyvalue": b'date=2019-05-10 time=11:37:47 tz="+0800" type="traffic" msg="two \\"words\\"" empty= x=1\n'
    b'a=1, b="2, 3", c=4\n'
    b"Proto(1001)=TCP;Src(1003)=1.1.1.1;Port=;\nnothing here\n",
}
"""A few lines for each reader: of every kind it knows, and one that it cannot read."""

CHINESE = "用户登录失败 admin"


def outcome(read: Read, chunks: Iterable[bytes], **known: object) -> tuple[list[tuple[int, Record]], list[Quarantined]]:
    """Every record with its number, and what was quarantined; checks that a block agrees with itself."""
    records: list[tuple[int, Record]] = []
    bad: list[Quarantined] = []
    for found in read(Piece(file="f", chunks=iter(chunks), **known)):  # type: ignore[arg-type]  # fields of Piece
        if isinstance(found, Quarantined):
            bad.append(found)
            continue
        rows = range(len(found.numbers))
        whole = [found.record(row) for row in rows]
        for name in {name for record in whole for name in record}:
            column = found.column(name)
            assert [record[name] for record in whole if name in record] == [
                value for value, record in zip(column, whole, strict=True) if name in record
            ]
        records.extend(zip(found.numbers, whole, strict=True))
    return records, bad


def records(read: Read, data: bytes | str, **known: object) -> list[Record]:
    """The records of some bytes that must all be readable."""
    found, bad = outcome(read, [data.encode() if isinstance(data, str) else data], **known)
    assert not bad
    return [record for _, record in found]


def one(read: Read, line: bytes | str, **known: object) -> Record:
    """The one record of a line, without the line itself."""
    (record,) = records(read, line, **known)
    record.pop("_raw", None)
    return record


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The bytes cut at these places."""
    borders = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(borders)]


def line_ends(data: bytes) -> list[int]:
    return [found.end() for found in re.finditer(b"\n", data)]

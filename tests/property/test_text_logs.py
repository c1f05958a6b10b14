"""Any bytes give records or quarantine, in linear time, and where they are cut changes nothing."""

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mingjian.formats import registry
from mingjian.formats.programs import add_program_fields
from mingjian.model.blocks import Piece, Quarantined
from text_logs import LINES, READERS, Read, cut, line_ends, outcome

FILE_TIME_S = 1_700_000_000.0
TOKENS = [
    *[
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b'"',
        b"'",
        b"\\",
        b"\\x",
        b"=",
        b"|",
        b",",
        b";",
        b"[",
        b"]",
        b"(",
        b")",
        b"<",
        b">",
        b"-",
    ],
    *[
        b"#",
        b"#fields\t",
        b"#types\t",
        b"#separator ",
        b"#Fields: ",
        b"#Date: ",
        b"CEF:0|",
        b"LEEF:2.0|",
        b"{",
        b"<Event",
        b"%",
    ],
    *[
        b"type=",
        b"msg=audit(1.1:1): ",
        b"<34>1 ",
        b"<999>",
        b"Feb 29 00:00:00 ",
        b" from ",
        b" port ",
        b": ",
        b"sshd[1]: ",
    ],
    *[
        b"\x00",
        b"\xff\xfe",
        b"\xe6\x98\x8e",
        b"\xc3",
        b"\xd6\xd0",
        b"\x1d",
        b"99999999999999999999",
        b"9" * 400,
        b"1e999",
        b"nan",
    ],
]


def mutated(line: bytes) -> st.SearchStrategy[bytes]:
    """The line with some pieces left out, doubled, swapped for tokens or random bytes."""
    piece = st.tuples(
        st.integers(0, len(line)),
        st.integers(0, 40),
        st.one_of(
            st.sampled_from(TOKENS),
            st.binary(max_size=12),
            st.sampled_from([line[i : i + 30] for i in range(0, len(line), 17)]),
        ),
    )

    def apply(pieces: list[tuple[int, int, bytes]]) -> bytes:
        data = line
        for place, size, new in pieces:
            data = data[:place] + new + data[place + size :]
        return data

    return st.lists(piece, max_size=8).map(apply)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@settings(max_examples=150)
def test_any_bytes_give_records_or_quarantine_and_cuts_change_nothing(name: str, data: st.DataObject) -> None:
    read, splittable = READERS[name]
    content = data.draw(mutated(LINES[name]))
    places = data.draw(st.lists(st.integers(0, max(len(content), 1)), max_size=5))
    whole = outcome(read, [content], modified_at_s=FILE_TIME_S)
    assert outcome(read, cut(content, places), modified_at_s=FILE_TIME_S) == whole
    ends = line_ends(content)
    if splittable and ends and not registry.is_utf16(content):
        end = data.draw(st.sampled_from(ends))
        first = outcome(read, [content[:end]], modified_at_s=FILE_TIME_S)
        lines = content.count(b"\n", 0, end)
        second = outcome(read, [content[end:]], modified_at_s=FILE_TIME_S, first_number=1 + lines, first_offset=end)
        assert (first[0] + second[0], first[1] + second[1]) == whole


@pytest.mark.parametrize("name", READERS)
def test_every_line_is_a_record_or_quarantined_or_empty(name: str) -> None:
    read, _ = READERS[name]
    found, bad = outcome(read, [LINES[name]])
    assert found
    for each in bad:
        assert each.data
        assert LINES[name][each.offset :].startswith(each.data[:5])
        assert each.reason


HOSTILE = [
    *[
        b'a="',
        b"a='",
        b' a="x',
        b' "',
        b'"a',
        b'\\"',
        b" from ",
        b" from a port 1 ",
        b" a=",
        b"a=b ",
        b"a ",
        b"(",
        b"[",
        b"][",
    ],
    *[
        b' b="c"',
        b"=",
        b"|",
        b"\\|",
        b"\\",
        b", client: ",
        b" user a",
        b"; TTY=",
        b"x: ",
        b"::",
        b"1.",
        b"aA",
        b"%A-",
        b'","',
        b'""',
    ],
    *[
        b" a1[0]=41",
        b"a(1)=b;",
        b"\\x22",
        b", referer: a",
        b"1.1.1.1, ",
        b" authenticating user ",
        b"'' from ",
        b"\t",
        b"\x1d",
    ],
]
SYSLOG_HEADS = [
    *[
        b"",
        b"<34>1 - - - - - ",
        b"<34>1 2003-10-11T22:14:15Z h p 1 - [a",
        b"Dec 10 06:55:46 h p: ",
        b"CEF:0|a|b|c|d|e|5|",
    ],
    *[b"LEEF:2.0|a|b|c|d|^|", b"Dec 10 06:55:46 h kernel: IN= OUT=", b"Dec 10 06:55:46 h named: client "],
    *[b"Dec 10 06:55:46 h audispd: type=USER_AUTH msg=audit(1.1:1): msg='", b"Dec 10 06:55:46 h nginx: "],
    *[
        b"Dec 10 06:55:46 h sshd: " + word
        for word in (
            *(b"Failed password for ", b"Connection closed by invalid user ", b"Bad protocol version identification '"),
            *(b"Starting session: ", b"Disconnecting authenticating user ", b"User ", b"Received disconnect from "),
        )
    ],
    *[
        b"Dec 10 06:55:46 h " + word
        for word in (
            *(b"sudo:  a : ", b"CRON: (", b"useradd: new user: ", b"vsftpd: [", b"su: ", b"sshd: pam_unix("),
            *(b"dnsmasq: reply ", b"pkexec: a: [", b"login: FAILED LOGIN 1 ", b"sshd: message repeated 2 times: ["),
        )
    ],
]
STAMPED = b'1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "'
HEADS = {
    "zeek": [b"#fields\ta\tb\n", b"#fields\ta\n#types\tset[string]\n", b"#separator "],
    "w3c": [b"#Fields: a b\n", b"#Fields: cs-uri-stem cs-uri-query\n", b"#Fields: a,b\n", b"#Fields: "],
    "csv": [b"a,b\n", b""],
    "cef": [b"CEF:0|a|b|c|d|e|5|", b"LEEF:2.0|a|b|c|d|^|", b"LEEF:1.0|a|b|c|d|", b"CEF:0|"],
    "auditd": [b"type=EXECVE msg=audit(1.1:1): ", b"type=USER_AUTH msg=audit(1.1:1): msg='", b"type="],
    "syslog": SYSLOG_HEADS,
    "weblog": [
        b"",
        STAMPED,
        STAMPED + b'GET / HTTP/1.1" 200 1 "',
        STAMPED + b'GET / HTTP/1.1" 200 1 "-" "-" ',
        b"1286536310.430 1 ",
    ],
    "weberror": [b"[Sun Dec 04 04:47:44 2005] [error] ", b"2021/01/01 10:10:10 [error] 1#4: ", b""],
    "keyvalue": [b"a=b c=", b"a=b,c=", b"a(1)=b;"],
}


def seconds(read: Read, data: bytes) -> float:
    start = time.perf_counter()
    outcome(read, [data])
    return time.perf_counter() - start


@pytest.mark.parametrize("name", READERS)
def test_time_grows_no_faster_than_the_line(name: str) -> None:
    """A line of 64 kB of any repeated piece behind any head takes well under a second, so nothing is quadratic."""
    read, _ = READERS[name]
    for head in HEADS[name]:
        for piece in HOSTILE:
            line = head + piece * (65_536 // len(piece))
            for end in (b"\x01", b'"'):
                assert seconds(read, line + end) < 1.0, (head, piece, end)


@given(
    st.text(max_size=80),
    st.sampled_from(["sshd", "sudo", "su", "CRON", "kernel", "named", "vsftpd", "useradd", "login", "pkexec"]),
)
def test_any_message_of_any_program_is_read(message: str, program: str) -> None:
    add_program_fields(program, message, {})


@pytest.mark.parametrize("name", READERS)
def test_wide_and_long_input_stays_within_memory(name: str) -> None:
    """A line of many short pieces, and many short lines, take at most 60 bytes of memory for each of their own."""
    read, _ = READERS[name]
    for data in (LINES[name] + b"a=b,c " * 80_000, LINES[name] + b"a\n" * 40_000, b"," * 400_000, b"a\t" * 200_000):
        tracemalloc.start()
        for found in read(Piece(file="f", chunks=iter([data]))):
            assert isinstance(found, Quarantined) or len(found.numbers)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 32 * 1024 * 1024

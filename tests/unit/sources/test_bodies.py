"""What an HTTP request brings, as lines."""

import gzip
import io
import tarfile

import pytest

from mingjian.errors import LimitExceeded, ParseError, SchemaError
from mingjian.sources import bodies
from mingjian.sources.bodies import read_body, unpack


@pytest.mark.parametrize(
    ("data", "format_", "lines"),
    [
        (b'{"a": 1}\n{"a": 2}', "jsonl", b'{"a": 1}\n{"a": 2}\n'),
        (b'{"a": 1}\r\n\n{"a": 2}\r\n', "jsonl", b'{"a": 1}\r\n{"a": 2}\r\n'),
        (b'[{"a": 1.10}, {"b": 12345678901234567890}]', "jsonl", b'{"a": 1.10}\n{"b": 12345678901234567890}\n'),
        (
            b'{"Records": [{"eventName": "A"},\n {"eventName": "B"}]}',
            "jsonl",
            b'{"eventName": "A"}\n{"eventName": "B"}\n',
        ),
        (b'{\n  "a": "x\\ny"\n}', "jsonl", b'{   "a": "x\\ny" }\n'),
        (b"\xef\xbb\xbf" + b'{"a": 1}', "jsonl", b'{"a": 1}\n'),
        (b"Nov 20 12:00:00 web1 sshd[1]: hello\n", "syslog", b"Nov 20 12:00:00 web1 sshd[1]: hello\n"),
        (b"something happened", "text", b"something happened\n"),
    ],
)
def test_records_are_kept_in_the_bytes_they_were_written_in(data: bytes, format_: str, lines: bytes) -> None:
    body = read_body(data, json_expected=False)
    assert (body.format, body.lines, body.records) == (format_, lines, lines.count(b"\n"))


def test_a_broken_line_of_json_lines_is_kept_for_the_quarantine() -> None:
    assert read_body(b'{"a": 1}\n{"a": \n', json_expected=True).lines == b'{"a": 1}\n{"a": \n'


@pytest.mark.parametrize("data", [b'[{"a": 1}, {"a"', b"[" * 10_000, b'[{"a": 1}, 7]', b"hello"])
def test_a_document_that_is_broken_is_refused_as_a_whole(data: bytes) -> None:
    with pytest.raises(ParseError):
        read_body(data, json_expected=True)


@pytest.mark.parametrize(
    "data",
    [
        b"#separator \\x09\n#fields\tts\tuid\n#types\ttime\tstring\n1\ta\n",
        "日志".encode("utf-16"),
        b"PK\x03\x04" + bytes(600),
        gzip.compress(b"x", mtime=0),
        bytes(range(256)) * 10,
    ],
)
def test_what_is_a_file_and_no_lines_is_refused(data: bytes) -> None:
    with pytest.raises(SchemaError):
        read_body(data, json_expected=False)


def test_an_empty_body_has_no_records() -> None:
    assert read_body(b"\n\r\n", json_expected=False).records == 0


def test_gzip_is_undone_and_other_codings_are_refused() -> None:
    assert unpack(gzip.compress(b"one\n", mtime=0) + gzip.compress(b"two\n"), "GZIP") == b"one\ntwo\n"
    assert unpack(b"one", "identity") == unpack(b"one", "") == b"one"
    with pytest.raises(SchemaError):
        unpack(b"one", "br")


@pytest.mark.parametrize("data", [b"", b"not gzip", gzip.compress(b"x" * 100_000, mtime=0)[:-20]])
def test_damaged_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(ParseError):
        unpack(data, "gzip")


def test_a_bomb_is_refused_with_the_name_of_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitExceeded, match="TEXT_BYTES_MAX"):
        unpack(gzip.compress(bytes(200_000_000), 9), "gzip")
    monkeypatch.setattr(bodies, "TEXT_BYTES_MAX", 10)
    with pytest.raises(LimitExceeded, match="TEXT_BYTES_MAX"):
        unpack(gzip.compress(b"x" * 11, mtime=0), "gzip")


def test_an_archive_under_the_name_of_gzip_is_refused() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("a.log", "b.log"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"one\n"))
    with pytest.raises(SchemaError, match="archive"):
        unpack(packed.getvalue(), "gzip")


def test_csv_is_a_file_from_three_columns_on_and_text_before() -> None:
    with pytest.raises(SchemaError, match="with a header"):
        read_body(b"time,host,user\n2026-01-01,pc-1,bob\n", json_expected=False)
    for short in (b"time,host\n2026-01-01,pc-1\n", b'time,host,what\n2026-01-01,pc-1,"a\nb"\n'):
        assert read_body(short, json_expected=False).format == "text"

"""Which format some bytes are in, and that knowing it costs nothing before it is needed."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mingjian.formats import registry
from mingjian.formats.registry import FORMATS, may_be_cut, recognise
from mingjian.model.blocks import Piece, Quarantined

EVENT = "<Event xmlns='x'><System><EventID>1</EventID></System></Event>"
HEADS = {
    "evtx": [b"ElfFile\0" + bytes(4088)],
    "winxml": [EVENT.encode(), f"<?xml version='1.0'?>\n<Events>{EVENT}</Events>".encode("utf-16")],
    "jsonl": [b'{"a": 1}\n{"a": 2}\n', '\ufeff{"a": "日"}\n'.encode("utf-16-le")],
    "json": [b'[{"a": 1}]', b'{\n  "a": 1\n}', b'{"Records": [{"a": 1}]}'],
    "zeek": [b"#separator \\x09\n#set_separator\t,\n#fields\tts\tuid\n#types\ttime\tstring\n1\tx\n"],
    "w3c": [b"#Software: Microsoft Internet Information Services 10.0\n#Version: 1.0\n#Fields: date time c-ip\n"],
    "cef": [b"CEF:0|v|p|1|id|name|5|src=1.2.3.4\n", b"<13>Jan  1 00:00:00 fw CEF:0|v|p|1|id|name|5|src=1.2.3.4\n"],
    "leef": [b"LEEF:1.0|v|p|1|id|src=1.2.3.4\n"],
    "weblog": [b'1.2.3.4 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326 "-" "curl"\n'],
    "weberror": [b"[Sun Dec 04 04:47:44 2005] [error] mod_jk child workerEnv in error state 6\n"],
    "syslog": [b"Dec 10 06:55:46 LabSZ sshd[24200]: Invalid user\n", b"<165>1 2003-08-24T05:14:15Z h a 1 - - x\n"],
    "auditd": [b"type=SYSCALL msg=audit(1364481363.243:24287): arch=c000003e syscall=2 success=no\n"],
    "keyvalue": [b'date=2024-01-01 time=10:00:00 devname="fw" type="traffic"\n'],
    "csv": [b"a,b,c\n1,2,3\n4,5,6\n"],
    "text": [b"just some words\nand more\n", "话\n".encode("gb18030"), b""],
}


@pytest.mark.parametrize(("name", "head"), [(name, head) for name, heads in HEADS.items() for head in heads])
def test_a_format_is_known_by_its_content(name: str, head: bytes) -> None:
    found = recognise(head, "file")
    assert found is not None
    assert found.name == name


def test_every_format_is_recognised_by_an_example_here_and_explains_itself() -> None:
    assert [each.name for each in FORMATS] == list(dict.fromkeys(each.name for each in FORMATS))
    assert {each.name for each in FORMATS} == set(HEADS)
    assert all(each.sentence for each in FORMATS)


@pytest.mark.parametrize("each", FORMATS, ids=lambda each: each.name)
def test_every_reader_reads_nothing_from_nothing(each: registry.Format) -> None:
    assert [item for item in each.read(Piece(file="f", chunks=iter(()))) if not isinstance(item, Quarantined)] == []


def test_a_name_never_makes_a_format() -> None:
    for name in ("x.evtx", "x.json", "x.csv", "x.xml"):
        found = recognise(b"just some words\n", name)
        assert found is not None
        assert found.name == "text"


def test_an_unknown_binary_is_one_quarantine_entry_with_its_beginning() -> None:
    data = b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0" * 10_000
    assert recognise(data, "x.log") is None
    (found,) = registry.read(Piece(file="x.log", chunks=iter([data[:7], data[7:]])))
    assert isinstance(found, Quarantined)
    assert (found.file, found.record, found.offset, found.code) == ("x.log", 0, 0, "parse-error")
    assert found.data == data[:65_536]


@pytest.mark.parametrize("size", [1, 10, 10_000])
def test_reading_recognises_first_and_loses_nothing(size: int) -> None:
    data = b'{"a": 1}\n{"a": 2}\n'
    blocks = list(
        registry.read(Piece(file="f", chunks=iter([data[at : at + size] for at in range(0, len(data), size)])))
    )
    rows = [(number, block.record(row)) for block in blocks if not isinstance(block, Quarantined)
            for row, number in enumerate(block.numbers)]  # fmt: skip
    assert rows == [(1, {"a": 1}), (2, {"a": 2})]


def test_only_lines_without_a_header_may_be_cut_and_utf_16_never() -> None:
    by_name = {each.name: each for each in FORMATS}
    assert may_be_cut(by_name["jsonl"], b'{"a": 1}\n')
    assert not may_be_cut(by_name["jsonl"], '{"a": 1}\n'.encode("utf-16"))
    assert not may_be_cut(by_name["zeek"], b"#fields\n")
    assert not may_be_cut(by_name["csv"], b"a,b\n")
    assert (by_name["evtx"].header_bytes, by_name["evtx"].stride_bytes) == (4096, 65_536)


def test_importing_the_registry_imports_no_reader() -> None:
    code = "import sys; import mingjian.formats.registry; print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("'evtx'", "pyarrow", "hyperscan", "numpy", "zstandard", "'yaml'", "formats.json'", "formats.evtx'"):
        assert heavy not in modules


def test_real_files_are_recognised(shared_data: Path) -> None:
    expected = {
        "evtx-attack-samples/**/*.evtx": ("evtx", 277),
        "aws/**/*.json": ("json", None),
        "linux/*_2k.log": (None, 3),
    }
    for pattern, (name, count) in expected.items():
        found: Counter[str] = Counter()
        for path in shared_data.glob(pattern):
            with path.open("rb") as stream:
                format_ = recognise(stream.read(registry.HEAD_BYTES_MAX), path.name)
            found[format_.name if format_ else "none"] += 1
        if name:
            assert set(found) == {name}
        if count:
            assert found.total() == count
        assert "none" not in found
        assert "text" not in found

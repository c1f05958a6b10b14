"""What is fuzzed: each target has valid samples and a function that must survive anything.

Survive means: it returns, or raises ``InputError``; what a reader gives is blocks and quarantine entries, and every
record can be looked at.
"""

import gzip
import io
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import pyarrow as pa
import zstandard

from mingjian.errors import InputError
from mingjian.formats import arrowstream, bounded, containers, registry
from mingjian.formats.indicators import documents
from mingjian.formats.indicators.stixpatterns import reduced
from mingjian.model.blocks import Block, Piece, Quarantined
from mingjian.model.indicators import Assumed, Indicator, SkippedIndicator

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests")]

import evtxfile  # noqa: E402  # lives with the tests

SAMPLE_BYTES_MAX = 4096


@dataclass(frozen=True)
class Target:
    """Something that takes bytes."""

    name: str
    samples: list[bytes]
    run: Callable[[bytes, Random], None]
    size_max: int = 20_000
    """Longer inputs are cut."""


def cut(data: bytes, random: Random) -> Iterator[bytes]:
    """The data in pieces cut anywhere."""
    at = 0
    while at < len(data):
        size = random.choice((1, 7, 100, 1000, 70_000, 1_000_000))
        yield data[at : at + size]
        at += size


def read_format(read: Callable[[Piece], Iterator[Block | Quarantined]], data: bytes, random: Random) -> None:
    """Read bytes with one reader and look at all that comes out."""
    for item in read(Piece(file="f", chunks=cut(data, random), modified_at_s=1.7e9)):
        if isinstance(item, Quarantined):
            assert len(item.data) <= 65_536
            assert item.reason
            continue
        for row in range(len(item.numbers)):
            assert isinstance(item.record(row), dict)
            assert isinstance(item.raw(row), bytes)


def _format_samples() -> dict[str, list[bytes]]:
    """The hand-made samples of the tests, by the format that recognises them."""
    found: dict[str, list[bytes]] = {each.name: [] for each in registry.FORMATS}
    for path in sorted((ROOT / "tests" / "samples").rglob("*")):
        if path.is_file() and path.suffix != ".yml":
            data = path.read_bytes()
            format_ = registry.recognise(data, path.name)
            if format_ is not None and len(found[format_.name]) < 20:
                found[format_.name].append(data if len(data) <= SAMPLE_BYTES_MAX else data[:SAMPLE_BYTES_MAX])
    xml = (
        '<Event xmlns="http://schemas.microsoft.com/win/2004/08/events/event"><System><Provider Name="p"/>'
        '<EventID Qualifiers="1">7</EventID><Correlation/></System><EventData><Data Name="a b">日志</Data>'
        "<Data>x</Data><Data>y</Data></EventData><UserData><E xmlns='u'><Channel>c</Channel></E></UserData></Event>"
    )
    found["winxml"] += [xml.encode(), f"<Events>\n{xml}\n{xml}</Events>".encode(), xml.encode("utf-16")]
    found["evtx"] += [evtxfile.sample(count)[evtxfile.HEADER :].rstrip(b"\0") for count in (1, 3, 8)]
    found["text"] += ["日志\r\nb\n\nc".encode(), "日志\nb".encode("utf-16"), "日志\nb".encode("gb18030"), b"caf\xe9\n"]
    found["json"] += [
        b'[{"a": 1}, {"b": [1, "x"]}]',
        b'{"Records": [{"a": 1}, {"b": null}]}',
        b'{\n"a": 1\n}\n{"b": 2}',
    ]
    found["leef"] += [b"LEEF:2.0|v|p|1|id|^|src=1.2.3.4^dst=5.6.7.8\n", b"LEEF:1.0|v|p|1|id|a=b\tc=d\n"]
    found["cef"] += [b"CEF:0|v|p|1|id|name|5|src=1.2.3.4 msg=a b\\=c cs1Label=x cs1=y\n"]
    found["csv"] += [b'a,b,c\n1,"x ""y""\nz",3\n4,5,6\n', b"a;b;c\r\n1;2;3\r\n"]
    return {name: samples or [b""] for name, samples in found.items()}


def _archives() -> list[bytes]:
    inner = b'{"a": 1}\n' * 20
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.json", inner)
        archive.writestr("c.gz", gzip.compress(inner, mtime=0))
    samples = [gzip.compress(inner, mtime=0), zstandard.compress(inner), zipped.getvalue()]
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=kind) as archive:
            for name in ("日" * (10 if kind == tarfile.USTAR_FORMAT else 60), "b.zip"):
                info = tarfile.TarInfo(name)
                info.size = len(zipped.getvalue()) if name == "b.zip" else len(inner)
                info.mtime = 1.5 if kind == tarfile.PAX_FORMAT else 1
                archive.addfile(info, io.BytesIO(zipped.getvalue() if name == "b.zip" else inner))
        samples += [packed.getvalue(), gzip.compress(packed.getvalue(), mtime=0)]
    return samples


def _read_evtx(data: bytes, random: Random) -> None:
    """Read bytes as one chunk of an event log, sometimes with a whole file around it, sometimes cut off."""
    chunk = data[: evtxfile.CHUNK]
    if random.random() < 0.9:
        chunk = chunk.ljust(evtxfile.CHUNK, b"\0")
    whole = evtxfile.header(2) + (evtxfile.sample(2)[evtxfile.HEADER :] if random.random() < 0.2 else b"") + chunk
    read_format(registry_reader("evtx"), whole, random)


def registry_reader(name: str) -> Callable[[Piece], Iterator[Block | Quarantined]]:
    """The reader of a format."""
    return next(each.read for each in registry.FORMATS if each.name == name)


def _open(data: bytes, random: Random) -> None:
    for member in containers.open_members("f", io.BytesIO(data)):
        if isinstance(member, containers.Member):
            for _ in member.chunks:
                pass


def _refusing(function: Callable[[bytes], object], data: bytes, random: Random) -> None:
    with suppress(InputError):
        function(data)


_RULE = b"""title: t
id: 5f5a7a2b-1c4f-4b8a-9d0e-0123456789ab
status: test
logsource: {product: windows, category: process_creation}
detection:
  selection:
    - Image|endswith: ['\\a.exe', "\\\\b.exe"]
    - CommandLine|re|i: 'a(b|c)+'
  filter: {User|cidr: 10.0.0.0/8, X|base64offset|contains: abc, Y|gte: 5, Z: null}
  keywords: [a, '*b?']
  condition: (selection or 1 of keyword*) and not all of filter*
level: high
---
correlation:
  type: event_count
  rules: [5f5a7a2b-1c4f-4b8a-9d0e-0123456789ab]
  group-by: [User]
  timespan: 5m
  condition: {gte: 3}
"""
_YAML = [_RULE, b"a: &x [1, 2.5, yes, ~, 'q', 2024-01-31]\nb: {c: |\n  text\n}\n", b"? a\n: - b\n  - !!str c\n"]


def _parse_rules(data: bytes, random: Random) -> None:
    from mingjian.detect.sigma.parse import parse_rules  # pySigma is slow to import: only for this target

    parse_rules(data)


_STIX_PATTERNS = [
    b"[domain-name:value = 'evil.example' OR url:value IN ('http://a.example/x', 'https://b.example/')]",
    b"[file:hashes.'SHA-256' = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' AND file:name = 'a']",
    b"([ipv4-addr:value ISSUBSET '192.0.2.0/24'] AND [domain-name:value LIKE '%x']) WITHIN 600 SECONDS",
    b"[network-traffic:dst_ref.value = '192.0.2.1' AND network-traffic:dst_port = 443] FOLLOWEDBY [a:b[*].c != t'x']",
]
_STIX = b"""{"type": "bundle", "id": "bundle--1", "objects": [
{"type": "identity", "id": "identity--1", "name": "Somebody"},
{"type": "marking-definition", "id": "marking-definition--1", "definition_type": "tlp", "definition": {"tlp": "red"}},
{"type": "indicator", "id": "indicator--1", "pattern_type": "stix", "pattern": "[domain-name:value = 'evil.example']",
 "valid_from": "2024-01-01T00:00:00Z", "confidence": 80, "indicator_types": ["malicious-activity"],
 "object_marking_refs": ["marking-definition--1"], "created_by_ref": "identity--1", "revoked": false},
{"type": "relationship", "relationship_type": "indicates", "source_ref": "indicator--1", "target_ref": "malware--1"},
{"type": "malware", "id": "malware--1", "name": "M"}]}"""
_MISP = b"""{"Event": {"info": "x", "uuid": "5f5a7a2b-1c4f-4b8a-9d0e-0123456789ab", "Tag": [{"name": "tlp:amber"}],
"Attribute": [{"type": "domain|ip", "value": "evil.example|192.0.2.1", "to_ids": true},
{"type": "filename|md5", "value": "a.exe|d41d8cd98f00b204e9800998ecf8427e", "to_ids": "1", "comment": null},
{"type": "ip-dst|port", "value": "192.0.2.1|443", "to_ids": true, "deleted": false}],
"Object": [{"name": "file", "Attribute": [{"type": "sha1", "value": "x", "to_ids": true}]}]}}"""
_FEEDS = [
    b"# list\nhxxp://evil[.]example/a\n192.0.2.0/24\n0.0.0.0 bad.example\n192.0.2.1-192.0.2.9 ; scanners\n",
    b'# "id", "ioc_value", "ioc_type", "confidence_level"\n"1", "evil.example:80", "domain", "75"\n',
    b"indicator;type;valid_until;tlp;comment\n2001:db8::1;ipv6;2030-01-01;green;x\n",
]


def _read_indicators(data: bytes, random: Random) -> None:
    """Read bytes as a file of indicators and look at all that comes out."""
    for item in documents.read(Piece(file="f", chunks=cut(data, random)), Assumed()):
        if isinstance(item, Quarantined):
            assert len(item.data) <= 65_536
            assert item.reason
        else:
            assert isinstance(item, Indicator | SkippedIndicator)


def _reduce_pattern(data: bytes) -> object:
    return reduced(data.decode("utf-8", "surrogateescape"))


def _arrow_streams() -> list[bytes]:
    """Streams of every kind of column that is taken."""
    tables = [
        pa.table({"n": [1, None, 3], "t": ["a", "日志", None], "b": [True, None, False], "f": [1.5, None, 2.0]}),
        pa.table({"d": pa.array(["x", "y", "x"]).dictionary_encode(), "z": pa.nulls(3)}),
        pa.table({"s": [{"a": [1, 2], "b": {"c": "d"}}] * 3, "l": [["x"], [], None]}),
        pa.table({"m": pa.array([0, 1, None], pa.timestamp("ns", "UTC")), "y": pa.array([1, 2, 3], pa.date32())}),
    ]
    found: list[bytes] = []
    for table in tables:
        buffer = io.BytesIO()
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
        found.append(buffer.getvalue())
    return found


def _read_arrow(data: bytes) -> object:
    return [line for batch in arrowstream.read_stream(io.BytesIO(data)) for line in arrowstream.json_lines(batch)]


def targets() -> dict[str, Target]:
    """All targets by name."""
    samples = _format_samples()
    made = [
        Target(each.name, samples[each.name], _read_evtx if each.name == "evtx" else partial(read_format, each.read))
        for each in registry.FORMATS
    ]
    every = [sample for group in samples.values() for sample in group]
    made += [
        Target("recognition", every, partial(read_format, registry.read)),
        Target("containers", _archives(), _open),
        Target("yaml", _YAML, partial(_refusing, partial(bounded.parse_yaml, file="f"))),
        Target("json-text", samples["json"], partial(_refusing, partial(bounded.parse_json, where="f"))),
        Target("xml", samples["winxml"], partial(_refusing, partial(bounded.parse_xml, where="f"))),
    ]
    made.append(Target("rules", _YAML[:1], _parse_rules))
    made += [
        Target("stix-pattern", _STIX_PATTERNS, partial(_refusing, _reduce_pattern)),
        Target("stix", [_STIX], _read_indicators),
        Target("misp", [_MISP], _read_indicators),
        Target("indicator-lists", _FEEDS, _read_indicators),
        Target("arrow-stream", _arrow_streams(), partial(_refusing, _read_arrow)),
    ]
    return {target.name: target for target in made}

"""Inputs that are much worse than they look, and a program that meets them one by one and measures.

``python tests/security/bombs.py`` prints one line of JSON for each: seconds of processor time, megabytes that the
process grew by, and the reasons that were given. Each bomb is met in a process of its own.
"""

import gzip
import io
import json
import os
import resource
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import zstandard

sys.path[:0] = [str(Path(__file__).parent.parent)]

import hostile  # noqa: E402  # needs the path above
from mingjian.errors import InputError  # noqa: E402  # after the path above
from mingjian.formats import bounded, containers, registry  # noqa: E402  # after the path above
from mingjian.model.blocks import Piece, Quarantined  # noqa: E402  # after the path above

MIB = 1024 * 1024
ADDRESS_SPACE_BYTES_MAX = 4 * 1024 * MIB
"""Beyond this the process dies: a bomb that was not noticed."""


def opened(data: bytes) -> Iterable[str]:
    """What the containers say, after all members were read to their ends."""
    for each in containers.open_members("f", io.BytesIO(data)):
        if isinstance(each, Quarantined):
            yield each.reason
        else:
            for _ in each.chunks:
                pass


def read(name: str, data: bytes) -> Iterable[str]:
    """What a reader says, after all records were looked at."""
    reader = next(each.read for each in registry.FORMATS if each.name == name)
    for item in reader(Piece(file="f", chunks=iter([data[at : at + MIB] for at in range(0, len(data), MIB)]))):
        if isinstance(item, Quarantined):
            yield item.reason
        else:
            for row in range(len(item.numbers)):
                item.record(row)


def loaded(function: Callable[[bytes], object], data: bytes) -> Iterable[str]:
    """What a bounded loader says."""
    try:
        function(data)
    except InputError as error:
        yield str(error)


def ruled(data: bytes) -> Iterable[str]:
    """What the rule reader says."""
    from mingjian.detect.sigma.parse import parse_rules

    for skipped in parse_rules(data).skipped:
        yield skipped.reason


yaml = partial(loaded, partial(bounded.parse_yaml, file="f"))
json_text = partial(loaded, partial(bounded.parse_json, where="f"))
xml = partial(loaded, partial(bounded.parse_xml, where="f"))


def deflated(size: int, wbits: int = 31) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size // MIB)), packer.flush()])


def zstandard_zeros(size: int, window_log: int = 20) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=window_log)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return b"".join([*(packer.compress(bytes(MIB)) for _ in range(size // MIB)), packer.flush()])


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zip_directory(entries: int, packed: bytes = b"", unpacked_size: int = 0) -> bytes:
    """A zip of which every entry is the same bytes."""
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, 0, len(packed), unpacked_size, 1, 0) + b"a" + packed
    entry = (
        struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, 0, len(packed), unpacked_size, 1, 0, 0, 0, 0, 0, 0
        )
        + b"a"
    )
    count = min(entries, 0xFFFF)
    return (
        local
        + entry * entries
        + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, count, count, len(entry) * entries, len(local), 0)
    )


def zip_of_zip_of_zeros() -> bytes:
    return zipped({"a.zip": zipped({"b.gz": deflated(300 * MIB)})})


def zip_with_a_large_directory() -> bytes:
    filler = bytes(9 * MIB)
    return b"PK\3\4" + filler + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(filler), 4, 0)


def tar_header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def laughs() -> bytes:
    entities = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 10 if n else 'ha'}'>" for n in range(12))
    return f"<!DOCTYPE x [{entities}]><x>&e11;</x>".encode()


def yaml_laughs() -> bytes:
    return b"a0: &a0 [x]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 12)
    )


def xml_event(data: str) -> bytes:
    return f"<Event><System><EventID>1</EventID></System><EventData>{data}</EventData></Event>".encode()


def rule(detection: str) -> bytes:
    return f"title: t\nlogsource: {{product: windows}}\ndetection:\n  s:\n{detection}\n  condition: s\n".encode()


_EVTX = {
    "evtx: a long text in many places": partial(hostile.text_repeated, 6000, 15_000),
    "evtx: a long array in many places": partial(hostile.array_of_texts, 500, 5000),
    "evtx: an array around a long text": partial(hostile.array_of_bytes_around_a_text, 20_000, 15_000),
    "evtx: arrays multiplied": partial(hostile.arrays_multiplied, 6, 100),
    "evtx: templates in templates, wide": partial(hostile.templates_in_templates, 6, 30),
    "evtx: templates in templates, deep": partial(hostile.templates_in_templates, 1000, 2),
    "evtx: small records of a large template": partial(hostile.many_small_records_of_a_large_template, 2500),
    "evtx: many instances in one record": partial(hostile.many_instances_in_one_record, 1000),
}

BOMBS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], Iterable[str]], str]] = {
    # name: (how it is made, who meets it, the bound that must be named)
    "zip: a member of zeros": (lambda: zipped({"a": bytes(200 * MIB)}), opened, "DEFLATE_RATIO_MAX"),
    "zip: every entry the same bytes": (
        lambda: zip_directory(5000, deflated(30 * MIB, -15), 30 * MIB),
        opened,
        "DEFLATE_RATIO_MAX",
    ),
    "zip: zeros in a gzip in a zip in a zip": (zip_of_zip_of_zeros, opened, "DEFLATE_RATIO_MAX"),
    "zip: too many entries": (lambda: zip_directory(60_000), opened, "MEMBERS_MAX"),
    "zip: a large directory": (zip_with_a_large_directory, opened, "ZIP_DIRECTORY_BYTES_MAX"),
    "zip: in a zip in a zip": (
        lambda: zipped({"a": zipped({"b": zipped({"c": zipped({"d": b"x"})})})}),
        opened,
        "ARCHIVE_DEPTH_MAX",
    ),
    "zip: a large one in a tar": (
        lambda: tarred({"a.zip": zipped({"b": bytes(33 * MIB)}, zipfile.ZIP_STORED)}),
        opened,
        "NESTED_ZIP_BYTES_MAX",
    ),
    "gzip: zeros": (lambda: deflated(300 * MIB), opened, "DEFLATE_RATIO_MAX"),
    "gzip: many small streams of zeros": (lambda: deflated(4 * MIB) * 100, opened, "DEFLATE_RATIO_MAX"),
    "gzip: zeros twice compressed": (lambda: gzip.compress(deflated(2000 * MIB)), opened, "DEFLATE_RATIO_MAX"),
    "gzip: in itself again and again": (
        lambda: gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"x")))),
        opened,
        "COMPRESSION_DEPTH_MAX",
    ),
    "zstandard: zeros": (lambda: zstandard_zeros(500 * MIB), opened, "ZSTD_RATIO_MAX"),
    "zstandard: zeros in one long run": (
        lambda: b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * 4000 + b"\x03\x00\x10\x00",
        opened,
        "ZSTD_RATIO_MAX",
    ),
    "zstandard: a window of 128 MiB": (lambda: zstandard_zeros(1 * MIB, 27), opened, "ZSTD_WINDOW_BYTES_MAX"),
    "tar: in a tar in a tar": (lambda: tarred({"a": tarred({"b": tarred({"c": b"x"})})}), opened, "ARCHIVE_DEPTH_MAX"),
    "tar: too many members": (lambda: tar_header(b"0", 0) * 10_001, opened, "MEMBERS_MAX"),
    "tar: a name of a gigabyte": (lambda: tar_header(b"L", 1 << 30) + bytes(MIB), opened, "TAR_HEADER_BYTES_MAX"),
    "tar: an extended header of a gigabyte": (
        lambda: tar_header(b"x", 1 << 30) + bytes(MIB),
        opened,
        "TAR_HEADER_BYTES_MAX",
    ),
    "tar: a long name": (lambda: tarred({"n" * 200_000: b"x"}), opened, "NAME_CHARACTERS_MAX"),
    "yaml: deep lists": (lambda: b"[" * 400_000, yaml, "YAML_DEPTH_MAX"),
    "yaml: deep maps": (lambda: b"{a: " * 100_000, yaml, "YAML_DEPTH_MAX"),
    "yaml: deep dashes": (lambda: b"- " * 200_000, yaml, "YAML_DEPTH_MAX"),
    "yaml: aliases of aliases": (yaml_laughs, yaml, "YAML_ALIASES_MAX"),
    "yaml: a merge of itself": (lambda: b"a: &a\n  <<: *a\n", yaml, "YAML_ALIASES_MAX"),
    "yaml: too large": (lambda: b"a: 1 #" + b"x" * MIB, yaml, "YAML_BYTES_MAX"),
    "yaml: too many values": (lambda: b"- 1\n" * 100_000, yaml, "YAML_EVENTS_MAX"),
    "yaml: too many documents": (lambda: b"--- 1\n" * 5000, yaml, "YAML_DOCUMENTS_MAX"),
    "yaml: a number of many digits": (lambda: b"a: 1" + b"0" * 500_000, yaml, "YAML_DIGITS_MAX"),
    "json: deep lists": (lambda: b"[" * 400_000, json_text, "JSON_DEPTH_MAX"),
    "json: deep objects": (lambda: b'{"a":' * 400_000, json_text, "JSON_DEPTH_MAX"),
    "json: too many values": (lambda: b"[" + b"[]," * 5_000_000 + b"1]", json_text, "JSON_VALUES_MAX"),
    "json: too large": (lambda: b'"' + b"x" * 40_000_000 + b'"', json_text, "JSON_BYTES_MAX"),
    "xml: entities of entities": (laughs, xml, "document type or an entity"),
    "xml: a long entity many times": (
        lambda: b"<!DOCTYPE x [<!ENTITY e '" + b"x" * 50_000 + b"'>]><x>" + b"&e;" * 50_000 + b"</x>",
        xml,
        "document type or an entity",
    ),
    "xml: a file as entity": (
        lambda: b"<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
        xml,
        "document type or an entity",
    ),
    "xml: deep": (lambda: b"<a>" * 2_000_000, xml, "XML_DEPTH_MAX"),
    "xml: too many elements": (lambda: b"<a>" + b"<b/>" * 3_000_000 + b"</a>", xml, "XML_ELEMENTS_MAX"),
    "xml: too many attributes": (
        lambda: b"<a " + b" ".join(b"a%d=''" % n for n in range(200_000)) + b"/>",
        xml,
        "XML_ATTRIBUTES_MAX",
    ),
    "xml: too large": (lambda: b"<a>" + b" " * 40_000_000, xml, "XML_BYTES_MAX"),
    "xml event: deep": (lambda: xml_event("<a>" * 200 + "</a>" * 200), partial(read, "winxml"), "XML_DEPTH_MAX"),
    "xml event: too long": (lambda: xml_event("x" * 30_000_000), partial(read, "winxml"), "EVENT_BYTES_MAX"),
    "xml event: never ends": (lambda: b"<Event>" + b"<a>" * 4_000_000, partial(read, "winxml"), "EVENT_BYTES_MAX"),
    "xml event: too many fields": (
        lambda: xml_event("".join(f"<Data Name='n{n}'/>" for n in range(30_000))),
        partial(read, "winxml"),
        "FIELDS_MAX",
    ),
    "text: a line without end": (lambda: b"x" * 60_000_000, partial(read, "text"), "LINE_BYTES_MAX"),
    "text: a line without end in utf-16": (
        lambda: b"\xff\xfe" + b"x\0" * 20_000_000,
        partial(read, "text"),
        "LINE_BYTES_MAX",
    ),
    "json lines: a line without end": (lambda: b'{"a":"' + b"x" * 60_000_000, partial(read, "jsonl"), "LINE_BYTES_MAX"),
    "json lines: deep": (lambda: b"[" * 200_000, partial(read, "jsonl"), "DECODER_DEPTH"),
    "json: an element without end": (
        lambda: b'[{"a":"' + b"x" * 40_000_000,
        partial(read, "json"),
        "ELEMENT_CHARACTERS_MAX",
    ),
    "json: deep in an array": (lambda: b"[" + b"[" * 3_000_000, partial(read, "json"), "JSON_DEPTH_MAX"),
    "csv: a very wide header": (
        lambda: b",".join(b"c%d" % n for n in range(300_000)) + b"\n1,2\n",
        partial(read, "csv"),
        "COLUMNS_MAX",
    ),
    "csv: a quote that never closes": (
        lambda: b'a,b,c\n1,"2\n' + b"3,4,5\n" * 300_000,
        partial(read, "csv"),
        "ROW_LINES_MAX",
    ),
    "zeek: a very wide header": (
        lambda: b"#separator \\x09\n#fields" + b"\tc" * 300_000 + b"\n1\n",
        partial(read, "zeek"),
        "COLUMNS_MAX",
    ),
    "pairs: too many": (
        lambda: b" ".join(b"k%d=v" % n for n in range(200_000)),
        partial(read, "keyvalue"),
        "PAIRS_MAX",
    ),
    "rule: a regex that repeats repetitions": (lambda: rule("    F|re: '(a{1000}){1000}'"), ruled, "rep"),
    "rule: a regex that looks around": (lambda: rule("    F|re: '(?=a+)+b'"), ruled, "look"),
    "rule: too many values": (
        lambda: rule("    F:" + "".join(f"\n      - v{n}" for n in range(25_000))),
        ruled,
        "YAML_EVENTS_MAX",
    ),
    **{name: (make, partial(read, "evtx"), "EXPANSION_BYTES_MAX") for name, make in _EVTX.items()},
}


def meet(name: str) -> dict[str, object]:
    """Let one bomb go off, here, and say what it cost."""
    make, run, _ = BOMBS[name]
    data = make()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    reasons = list(dict.fromkeys(run(data)))[:5]
    seconds = time.process_time() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"name": name, "seconds": round(seconds, 3), "megabytes": round(grown, 1), "reasons": reasons}


def main() -> None:
    """Meet every bomb in a process of its own."""
    for name in sys.argv[1:] or BOMBS:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES_MAX, ADDRESS_SPACE_BYTES_MAX))
            resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
            print(json.dumps(meet(name)), flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:  # killed, or an exception that is no InputError
            print(json.dumps({"name": name, "died": status}), flush=True)


if __name__ == "__main__":
    main()

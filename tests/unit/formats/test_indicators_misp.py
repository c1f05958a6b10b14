"""MISP events."""

import pytest

from feeds import MD5, SHA256, meanings, read, skips, unread
from mingjian.formats.indicators import misp, misptypes
from mingjian.model.indicators import Assumed, Indicator

UUID = "5f5a7a2b-1c4f-4b8a-9d0e-0123456789ab"


def attribute(kind: str, value: str, **more: object) -> dict[str, object]:
    return {"type": kind, "value": value, "to_ids": True, "category": "Network activity", **more}


def event(*attributes: dict[str, object], **more: object) -> dict[str, object]:
    return {"info": "Campaign", "uuid": UUID, "Attribute": list(attributes), **more}


def test_an_attribute_is_told_with_what_its_event_says() -> None:
    (entry,) = read(
        {
            "Event": event(
                attribute("hostname", "c2.evil.example", comment="seen twice", Tag=[{"name": "tlp:red"}]),
                Orgc={"name": "CERT", "uuid": UUID},
                Tag=[{"name": "tlp:green"}, {"name": 'misp:confidence-level="usually-confident"'}],
            )
        }
    )
    assert isinstance(entry, Indicator)
    assert (entry.kind, entry.how, entry.value) == ("domain", "is", "c2.evil.example")
    assert (entry.marking, entry.confidence, entry.source, entry.reference) == ("TLP:RED", 75, "CERT", UUID)
    assert entry.description == "Campaign; seen twice"


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        ("domain|ip", "evil.example|192.0.2.1", [("domain", "below", "evil.example"), ("ip", "is", "192.0.2.1")]),
        ("ip-dst|port", "192.0.2.1|443", [("ip", "is", "192.0.2.1")]),
        ("ip-src|port", "192.0.2.1:443", [("ip", "is", "192.0.2.1")]),
        ("hostname|port", "evil.example|443", [("domain", "is", "evil.example")]),
        ("ip-dst", "192.0.2.0/24", [("ip", "within", "192.0.2.0/24")]),
        ("filename|sha256", f"a|{SHA256}", [("hash", "is", SHA256)]),
        ("malware-sample", f"a.exe|{MD5}", [("hash", "is", MD5)]),
        ("imphash", MD5, [("hash", "is", f"imphash:{MD5}")]),
        ("filename", "evil.exe", [("file", "named", "evil.exe")]),
        ("ja3-fingerprint-md5", MD5, [("ja3", "is", MD5)]),
        ("x509-fingerprint-sha1", SHA256[:40], [("certificate", "is", SHA256[:40])]),
        ("email-src", "bob@evil.example", [("email", "is", "bob@evil.example")]),
        ("url", "hxxp://evil.example/a", [("url", "is", "http://evil.example/a")]),
    ],
)
def test_composite_values_are_taken_apart(kind: str, value: str, meant: list[tuple[str, str, str]]) -> None:
    assert meanings(read({"Event": event(attribute(kind, value))})) == meant


def test_what_is_not_for_detection_is_skipped_with_the_reason() -> None:
    entries = read(
        event(
            attribute("ip-dst", "192.0.2.1", to_ids=False),
            attribute("ip-dst", "192.0.2.2", to_ids="0"),
            attribute("ip-dst", "192.0.2.3", deleted=True),
            attribute("yara", "rule x {}"),
            attribute("invented", "x"),
            attribute("ip-dst", "192.0.2.4", to_ids="1"),
        )
    )
    assert skips(entries) == [
        (1, "not for detection (to_ids)"),
        (2, "not for detection (to_ids)"),
        (3, "deleted"),
        (4, "the type yara is not looked for"),
        (5, "the type 'invented' is not known"),
    ]
    assert [each.value for each in entries if isinstance(each, Indicator)] == ["192.0.2.4"]


def test_attributes_of_objects_are_numbered_behind_the_others() -> None:
    entries = read(
        event(
            attribute("ip-dst", "192.0.2.1"),
            Object=[
                {"name": "file", "Attribute": [attribute("filename", "svchost.exe"), attribute("md5", MD5)]},
                {"name": "old", "deleted": True, "Attribute": [attribute("md5", "f" * 32)]},
                {"name": "file", "Attribute": [attribute("filename", "evil.exe"), attribute("md5", "broken")]},
                {"name": "x", "Attribute": [attribute("filename", "alone.exe")]},
            ],
        )
    )
    assert [each.value for each in entries if isinstance(each, Indicator)] == ["192.0.2.1", MD5, "alone.exe"]
    # The name of a file says nothing if its hash is known.
    assert skips(entries) == [(2, "a file's name beside its hash"), (4, "a file's name beside its hash")]
    assert unread(entries) == [(5, "parse-error", "'broken' is no hash")]


def test_every_form_of_a_document_gives_the_same() -> None:
    plain = event(attribute("ip-dst", "192.0.2.1"))
    found = read(plain)
    assert len(found) == 1
    wrapped = {"Event": plain}
    for document in (wrapped, [wrapped], {"response": [wrapped]}, {"response": wrapped}):
        assert read(document) == found
    assert meanings(read({"response": {"Attribute": plain["Attribute"]}})) == [("ip", "is", "192.0.2.1")]
    assert len(read([wrapped, wrapped])) == 2


def test_broken_attributes_are_quarantined_and_the_others_read() -> None:
    entries = read(event({"type": "ip-dst"}, attribute("ip-dst", "what"), attribute("ip-dst", "192.0.2.1")))
    assert [number for number, _, _ in unread(entries)] == [1, 2]
    assert len(entries) == 3
    assert unread(read({"Event": "x"}))[0][:2] == (1, "parse-error")
    assert unread(read([{"Event": event()}, {"type": "x"}]))[0][0] == 0


def test_an_unknown_tlp_counts_as_the_strictest() -> None:
    (entry,) = read(event(attribute("ip-dst", "192.0.2.1"), Tag=[{"name": "tlp:ex:chr"}, {"name": "other"}]))
    assert isinstance(entry, Indicator)
    assert entry.marking == "TLP:RED"
    (entry,) = read(event(attribute("ip-dst", "192.0.2.1")), Assumed(marking="TLP:AMBER", source="us"))
    assert isinstance(entry, Indicator)
    assert (entry.marking, entry.source) == ("TLP:AMBER", "us")


def test_a_manifest_names_events() -> None:
    data = f'{{"{UUID}": {{"info": "x", "Orgc": {{}}}}}}'.encode()
    assert misp.manifest(data, file="m", size_bytes_max=1000) == [UUID]
    assert misp.manifest(b'{"../../etc/passwd": {}}', file="m", size_bytes_max=1000) is None
    assert unread(read(data)) == [(0, "parse-error", "the manifest of a MISP feed: add its folder instead")]
    assert unread(read({"hello": 1})) == [(0, "parse-error", "JSON that is neither STIX nor MISP")]


def test_no_type_is_both_looked_for_and_not() -> None:
    assert not misptypes.UNSEEN & set(misptypes.TYPES)

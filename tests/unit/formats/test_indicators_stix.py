"""STIX bundles."""

import pytest

from feeds import MD5, Entries, meanings, read, skips, unread
from mingjian.model.indicators import Assumed, Indicator

RED = "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"
STRICT = "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003"


def said(**more: object) -> dict[str, object]:
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": "indicator--1",
        "pattern_type": "stix",
        "pattern": "[domain-name:value = 'evil.example']",
        "valid_from": "2024-01-01T00:00:00Z",
        **more,
    }


def bundle(*objects: dict[str, object]) -> dict[str, object]:
    return {"type": "bundle", "id": "bundle--1", "objects": list(objects)}


def only(entries: Entries) -> Indicator:
    (entry,) = entries
    assert isinstance(entry, Indicator), entry
    return entry


def test_an_indicator_is_told_with_all_that_the_bundle_says_of_it() -> None:
    entry = only(
        read(
            bundle(
                {"type": "identity", "id": "identity--1", "name": "CERT"},
                {"type": "malware", "id": "malware--1", "name": "Emotet"},
                said(
                    name="C2",
                    description="of the botnet",
                    valid_until="2025-01-01T00:00:00.5Z",
                    confidence=80,
                    indicator_types=["malicious-activity"],
                    created_by_ref="identity--1",
                    object_marking_refs=[STRICT],
                    external_references=[{"source_name": "r", "url": "https://r.example/"}],
                ),
                {
                    "type": "relationship",
                    "relationship_type": "indicates",
                    "source_ref": "indicator--1",
                    "target_ref": "malware--1",
                },
            )
        )
    )
    assert (entry.kind, entry.how, entry.value) == ("domain", "is", "evil.example")
    assert (entry.valid_from_us, entry.valid_until_us) == (1_704_067_200_000_000, 1_735_689_600_500_000)
    assert (entry.verdict, entry.confidence, entry.marking, entry.source) == (
        "malicious",
        80,
        "TLP:AMBER+STRICT",
        "CERT",
    )
    assert (entry.reference, entry.description) == ("https://r.example/", "C2; of the botnet; Emotet")


@pytest.mark.parametrize(
    ("types", "verdict"),
    [
        (["malicious-activity"], "malicious"),
        (["anomalous-activity"], "suspicious"),
        (["benign"], "benign"),
        (["benign", "compromised"], "malicious"),
        (["unknown"], "unknown"),
        ([], "suspicious"),
    ],
)
def test_the_verdict_is_that_of_the_type(types: list[str], verdict: str) -> None:
    assert only(read(bundle(said(indicator_types=types)))).verdict == verdict
    assert only(read(bundle(said(labels=types)))).verdict == verdict


@pytest.mark.parametrize(
    ("definition", "marking"),
    [
        ({"definition_type": "tlp", "definition": {"tlp": "amber"}}, "TLP:AMBER"),
        ({"name": "TLP:GREEN", "extensions": {"extension-definition--x": {"tlp_2_0": "green"}}}, "TLP:GREEN"),
        ({"definition_type": "statement", "definition": {"statement": "Copyright"}}, ""),
        ({"definition_type": "x-secret", "definition": {"x": 1}}, "TLP:RED"),
    ],
)
def test_a_marking_is_resolved_and_what_cannot_be_is_the_strictest(definition: dict[str, object], marking: str) -> None:
    defined = {"type": "marking-definition", "id": "marking-definition--1", **definition}
    assert only(read(bundle(said(object_marking_refs=["marking-definition--1"]), defined))).marking == marking


def test_markings_only_become_stricter() -> None:
    assert only(read(bundle(said(object_marking_refs=[RED])), Assumed(marking="TLP:GREEN"))).marking == "TLP:RED"
    assert only(read(bundle(said()), Assumed(marking="TLP:GREEN"))).marking == "TLP:GREEN"
    assert only(read(bundle(said(object_marking_refs=["marking-definition--9"])))).marking == "TLP:RED"
    # Nobody redefines a marking that everybody knows.
    forged = {"type": "marking-definition", "id": RED, "definition_type": "tlp", "definition": {"tlp": "clear"}}
    assert only(read(bundle(forged, said(object_marking_refs=[RED])))).marking == "TLP:RED"


def test_the_newest_version_of_an_object_counts() -> None:
    old = said(modified="2024-01-01T00:00:00Z")
    new = said(modified="2024-02-01T00:00:00Z", pattern="[domain-name:value = 'new.example']")
    assert only(read(bundle(new, old))).value == "new.example"
    assert skips(read(bundle(old, said(modified="2024-02-01T00:00:00Z", revoked=True)))) == [(2, "revoked")]


def test_other_languages_and_unusable_patterns_are_skipped_with_the_reason() -> None:
    entries = read(
        bundle(
            said(id="indicator--1", pattern_type="yara", pattern="rule x {}"),
            said(id="indicator--2", pattern="[process:name = 'x']"),
            said(id="indicator--3", pattern=f"[file:hashes.MD5 = '{MD5}' OR file:name LIKE '%x']"),
        )
    )
    assert skips(entries) == [
        (1, "the pattern is in another language: 'yara'"),
        (2, "process:name is not looked for"),
        (3, "LIKE is not supported"),
    ]
    assert [each.value for each in entries if isinstance(each, Indicator)] == [MD5]


def test_objects_that_cannot_be_read_are_quarantined_one_by_one() -> None:
    entries = read(
        bundle(
            said(id="indicator--1", pattern="[broken"),
            said(id="indicator--2", valid_from="soon"),
            said(id="indicator--3", confidence=200),
            said(id="indicator--4", pattern=7),
            said(id="indicator--5"),
            {"type": 7},
            {"type": "malware", "name": "M", "confidence": "?"},
        )
    )
    assert [(number, code) for number, code, _ in unread(entries)] == [
        (6, "parse-error"),
        *((number, "parse-error") for number in (1, 2, 3, 4)),
    ]
    assert len([each for each in entries if isinstance(each, Indicator)]) == 1


def test_answers_of_taxii_single_objects_and_lists_are_read_too() -> None:
    for document in ({"more": False, "objects": [said()]}, said(), [said()], [{"type": "malware"}, said()]):
        assert meanings(read(document)) == [("domain", "is", "evil.example")]
    assert read({"type": "bundle", "id": "bundle--1"}) == []
    assert read([]) == []

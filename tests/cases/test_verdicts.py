"""Entities that look like foes and are none, and foes that look like nothing: what the verdict says of them."""

from collections.abc import Sequence

import pytest

from mingjian.model.indicators import Verdict as Opinion
from mingjian.model.rules import Level
from mingjian.model.sources import ObservableKind
from mingjian.situations.card import Verdict
from mingjian.situations.verdict import (
    BehaviourFact,
    Company,
    Contact,
    DetectionFact,
    Facts,
    IndicatorFact,
    judge,
)

NEVER_A_FOE: tuple[Verdict, ...] = ("friend", "unknown", "suspicious")


def said(
    kind: ObservableKind,
    *,
    confidence: int | None = 90,
    source: str = "feed",
    how: str = "is",
    is_outside: bool = False,
    warning: str = "",
    opinion: Opinion = "malicious",
) -> IndicatorFact:
    return IndicatorFact(
        kind=kind,
        how=how,
        opinion=opinion,
        confidence=confidence,
        source=source,
        is_outside=is_outside,
        warning=warning,
    )


def rules(*levels: Level, tactics: Sequence[str] = (), hosts: int = 1) -> list[DetectionFact]:
    return [
        DetectionFact(
            rule_id=str(number),
            title=f"Rule {number}",
            level=level,
            tactics=tuple(tactics[number : number + 1]),
            count=3,
            hosts=hosts,
        )
        for number, level in enumerate(levels)
    ]


SECTOR = {"hosts_all": 400, "organisations_all": 6, "history": (20_000, 20_420)}
CHAIN = ("execution", "persistence", "credential-access", "lateral-movement", "exfiltration")

BENIGN = {
    "a hosting address of many sites, on which one site was bad": Facts(
        kind="ip", count=90_000, hosts=180, organisations=6, first_day=20_010, indicators=[said("ip")], **SECTOR
    ),
    "a shared address that few visit, named by one feed": Facts(
        kind="ip", count=40, hosts=3, organisations=1, first_day=20_100, indicators=[said("ip")], **SECTOR
    ),
    "a public resolver that got into a feed": Facts(
        kind="ip", count=3_000_000, hosts=390, organisations=6, first_day=20_000, warning_list="public-dns-v4",
        indicators=[said("ip", warning="public-dns-v4")], **SECTOR,
    ),
    "a network of a provider that is in a feed": Facts(
        kind="ip", count=7, hosts=1, organisations=1, first_day=20_400, indicators=[said("ip", how="within")], **SECTOR
    ),
    "an address that was bad before it changed hands": Facts(
        kind="ip", count=60, hosts=12, organisations=2, first_day=20_300,
        indicators=[said("ip", is_outside=True)], **SECTOR,
    ),
    "a host that visited the shared address": Facts(
        kind="host", is_ours=True, count=50_000, hosts=1, organisations=1,
        contacts=[Contact(what="ip 192.0.2.1", opinion="malicious", hosts=180)], **SECTOR,
    ),
    "a host that alone visited something bad, once": Facts(
        kind="host", is_ours=True, count=50_000, hosts=1, organisations=1,
        contacts=[Contact(what="domain evil.example", opinion="malicious", hosts=1)], **SECTOR,
    ),
    "a host that visits a shared address every day": Facts(
        kind="host", is_ours=True, count=50_000, hosts=1, organisations=1,
        contacts=[Contact(what="domain blog.example", opinion="malicious", hosts=180, days=300)], **SECTOR,
    ),
    "the administrator's host: rules that find something everywhere": Facts(
        kind="host", is_ours=True, count=90_000, hosts=1, organisations=1,
        detections=rules("medium", "medium", "medium", tactics=CHAIN, hosts=150), **SECTOR,
    ),
    "a scanner of our own: many detections of one rule": Facts(
        kind="host", is_ours=True, count=90_000, hosts=1, organisations=1,
        detections=rules("medium", tactics=["discovery"]), **SECTOR,
    ),
    "an update server that is called like clockwork": Facts(
        kind="domain", count=500_000, hosts=300, organisations=6, first_day=20_000,
        behaviours=[BehaviourFact(behaviour="beaconing", score=98)], **SECTOR,
    ),
    "the name server of an organisation, in a few events that rules found": Facts(
        kind="ip", count=800_000, hosts=70, organisations=1, first_day=20_000, warning_list="rfc1918",
        detections=rules("high", "medium", tactics=CHAIN), **SECTOR,
    ),
    "a file name that malware likes, too": Facts(
        kind="file", count=20_000, hosts=380, organisations=6, first_day=20_000,
        indicators=[said("file", how="named")], **SECTOR,
    ),
    "something that nobody knows and nobody saw": Facts(kind="domain", seen=False, **SECTOR),
}  # fmt: skip

FOES = {
    "a domain that a feed names, on one host": Facts(
        kind="domain", count=9, hosts=1, organisations=1, first_day=20_030, indicators=[said("domain")], **SECTOR
    ),
    "a host of ours that keeps in touch with something bad": Facts(
        kind="host", is_ours=True, count=50_000, hosts=1, organisations=1,
        contacts=[Contact(what="domain evil.example", opinion="malicious", hosts=2, days=60)], **SECTOR,
    ),
    "a hash of malware": Facts(
        kind="hash", count=2, hosts=2, organisations=1, first_day=20_030, indicators=[said("hash")], **SECTOR
    ),
    "a domain without any reputation, in the middle of a campaign": Facts(
        kind="domain", count=10_000, hosts=1, organisations=1, first_day=20_020,
        detections=rules("high", "medium", "medium", tactics=("command-and-control", "exfiltration")),
        company=Company(host="pc-1", tactics=5), behaviours=[BehaviourFact(behaviour="beaconing", score=90)], **SECTOR,
    ),
    "an address without any reputation, to which the loot went": Facts(
        kind="ip", count=30, hosts=1, organisations=1, first_day=20_415,
        detections=rules("high", "medium", tactics=("exfiltration", "command-and-control")),
        company=Company(host="fs-1", tactics=4), behaviours=[BehaviourFact(behaviour="outflow", score=95)], **SECTOR,
    ),
    "the host of patient zero, which has always been ours": Facts(
        kind="host", is_ours=True, count=60_000, hosts=1, organisations=1,
        detections=rules("critical", "high", "high", "medium", "medium", tactics=CHAIN), **SECTOR,
    ),
    "an account that sprays and then moves on": Facts(
        kind="account", count=900, hosts=9, organisations=1,
        detections=rules("high", "high", "medium", tactics=("credential-access", "lateral-movement", "persistence")),
        behaviours=[BehaviourFact(behaviour="password-spray", score=100)], **SECTOR,
    ),
    "an address that two feeds name and rules saw": Facts(
        kind="ip", count=300, hosts=2, organisations=1, first_day=20_030,
        indicators=[said("ip"), said("ip", source="other")], detections=rules("medium", "medium"), **SECTOR,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BENIGN)
def test_what_is_benign_does_not_become_a_foe(name: str) -> None:
    judged = judge(BENIGN[name])
    assert judged.verdict in NEVER_A_FOE, judged
    assert sum(term.points for term in judged.terms) == judged.score


@pytest.mark.parametrize("name", FOES)
def test_what_is_hostile_does_not_pass_for_a_friend(name: str) -> None:
    judged = judge(FOES[name])
    assert judged.verdict == "foe", judged
    assert sum(term.points for term in judged.terms) == judged.score


def test_there_are_at_least_ten_traps() -> None:
    assert len(BENIGN) + len(FOES) >= 10

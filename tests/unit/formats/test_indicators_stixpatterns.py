"""STIX patterns: what they mean, and why some cannot be used."""

import pytest

from feeds import MD5, SHA256
from mingjian.errors import LimitExceeded, ParseError
from mingjian.formats.indicators.stixpatterns import reduced


def values(pattern: str) -> list[str]:
    result = reduced(pattern)
    assert not result.skipped, result.skipped
    return [f"{meant.kind} {meant.how} {meant.value}" for meant, _ in result.found]


def reason(pattern: str) -> str:
    result = reduced(pattern)
    assert not result.found, result.found
    (only,) = result.skipped
    return only


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("[domain-name:value = 'evil.example']", ["domain is evil.example"]),
        ("[ ipv4-addr : value == '192.0.2.0/24' ]", ["ip within 192.0.2.0/24"]),
        ("[ipv6-addr:value ISSUBSET '2001:db8::/32']", ["ip within 2001:db8::/32"]),
        (
            "[url:value IN ('http://a.example/', 'http://b.example/')]",
            ["url is http://a.example/", "url is http://b.example/"],
        ),
        (f"[file:hashes.MD5 = '{MD5}']", [f"hash is {MD5}"]),
        (f"[file:hashes.'SHA-256' = '{SHA256.upper()}']", [f"hash is {SHA256}"]),
        (
            f"[file:hashes.md5 = '{MD5}' AND file:hashes.'SHA-256' = '{SHA256}']",
            [f"hash is {MD5}", f"hash is {SHA256}"],
        ),
        (f"[file:hashes.MD5 = '{MD5}' AND file:name = 'a.exe' AND file:size = 7]", [f"hash is {MD5}"]),
        ("[file:name = 'it\\'s.exe']", ["file named it's.exe"]),
        ("[email-addr:value = 'bob@evil.example']", ["email is bob@evil.example"]),
        (f"[x509-certificate:hashes.'SHA-1' = '{SHA256[:40]}']", [f"certificate is {SHA256[:40]}"]),
        (f"[file:extensions.'windows-pebinary-ext'.imphash = '{MD5}']", [f"hash is imphash:{MD5}"]),
        (
            "[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '192.0.2.1' AND "
            "network-traffic:dst_port = 443 AND network-traffic:protocols[*] = 'tcp']",
            ["ip is 192.0.2.1"],
        ),
        ("[network-traffic:dst_ref.value = 'evil.example']", ["domain is evil.example"]),
        (
            "[domain-name:value = 'a.example' OR ipv4-addr:value = '192.0.2.1']",
            ["domain is a.example", "ip is 192.0.2.1"],
        ),
        (
            "[domain-name:value = 'a.example'] OR ([url:value = 'http://b.example/'])",
            ["domain is a.example", "url is http://b.example/"],
        ),
        (
            "[(domain-name:value = 'a.example' OR domain-name:value = 'b.example') AND domain-name:type = 'x']",
            ["domain is a.example", "domain is b.example"],
        ),
        ("[domain-name:value = 'a.example' OR domain-name:value = 'a.example']", ["domain is a.example"]),
    ],
)
def test_a_pattern_that_names_observables_is_reduced_to_them(pattern: str, meant: list[str]) -> None:
    assert values(pattern) == meant


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("[domain-name:value = 'a.example' AND ipv4-addr:value = '192.0.2.1']", "several things together"),
        ("[domain-name:value = 'a.example'] AND [ipv4-addr:value = '192.0.2.1']", "(AND)"),
        ("[domain-name:value = 'a.example'] FOLLOWEDBY [url:value = 'http://a.example/']", "(FOLLOWEDBY)"),
        ("[domain-name:value = 'a.example'] WITHIN 5 SECONDS", "(WITHIN)"),
        ("([domain-name:value = 'a.example'] OR [domain-name:value = 'b.example']) REPEATS 5 TIMES", "(REPEATS)"),
        ("[a:b = 1] START t'2020-01-01T00:00:00Z' STOP t'2021-01-01T00:00:00Z'", "(START)"),
        ("[domain-name:value LIKE '%.evil.example']", "LIKE"),
        ("[domain-name:value MATCHES 'evil']", "MATCHES"),
        ("[domain-name:value != 'good.example']", "!="),
        ("[domain-name:value NOT = 'good.example']", "NOT ="),
        ("[EXISTS domain-name:value]", "(EXISTS)"),
        ("[NOT EXISTS domain-name:value]", "(EXISTS)"),
        ("[windows-registry-key:key = 'x']", "windows-registry-key:key is not looked for"),
        ("[network-traffic:dst_port = 4444]", "network-traffic:dst_port is not looked for"),
        ("[file:size = 7 AND file:name = 'a.exe']", "is not looked for"),
        (f"[file:hashes.MD5 = '{MD5}' AND file:hashes.'SHA-1' NOT = '{SHA256[:40]}']", "NOT ="),
        ("[ipv4-addr:value = 'evil']", "is no ip"),
    ],
)
def test_a_pattern_that_asks_for_more_is_not_used_and_says_why(pattern: str, why: str) -> None:
    assert why in reason(pattern)


def test_one_unusable_alternative_does_not_spoil_the_others() -> None:
    result = reduced("[domain-name:value = 'a.example' OR domain-name:value LIKE '%b%' OR process:name = 'x']")
    assert [meant.value for meant, _ in result.found] == ["a.example"]
    assert result.skipped == ["LIKE is not supported", "process:name is not looked for"]


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "[", "[]", "x", "[a:b]", "[a:b = ]", "[a:b = 'x'", "[a:b = 'x]", "[a:b = 'x'] OR", "[= 'x']"),
        *("[a:b = 'x'] [a:b = 'x']", "[a:b IN ()]", "[a:b = 'x'] WITHIN x SECONDS", "[a:b = 'x'))"),
    ],
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ParseError):
        reduced(pattern)


def test_every_limit_has_a_name() -> None:
    one = "a:b = 'x'"
    many = "(" + " OR ".join([one] * 70) + ")"
    for limit, pattern in {
        "PATTERN_CHARACTERS_MAX": "[" + " " * 65_536 + "]",
        "TOKENS_MAX": "[" + "(" * 20_000,
        "DEPTH_MAX": "[" + "(" * 40 + one,
        "ALTERNATIVES_MAX": f"[{many} AND {many}]",
        "PARTS_MAX": f"[{' AND '.join([one] * 65)}]",
    }.items():
        with pytest.raises(LimitExceeded, match=limit):
            reduced(pattern)

"""Canonical forms of observables."""

import pytest

from mingjian.model.observables import PARTS_MAX, SPLITS, VALUE_CHARACTERS_MAX, canonical, canonicals
from mingjian.model.sources import ObservableKind

MD5 = "d41d8cd98f00b204e9800998ecf8427e"
SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("kind", "text", "form"),
    [
        ("ip", "192.0.2.1", "192.0.2.1"),
        ("ip", "::FFFF:192.0.2.1", "192.0.2.1"),
        ("ip", "2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("ip", "fe80::1%eth0", "fe80::1"),
        ("ip", "[2001:db8::1]:443", "2001:db8::1"),
        ("ip", "192.0.2.1:443", "192.0.2.1"),
        ("ip", "010.1.1.1", None),
        ("ip", "LOCAL", None),
        ("domain", "WWW.Example.COM.", "www.example.com"),
        ("domain", "bücher.example", "xn--bcher-kva.example"),
        ("domain", "xn--BCHER-kva.example", "xn--bcher-kva.example"),
        ("domain", "faß.de", "xn--fa-hia.de"),
        ("domain", "例子.测试", "xn--fsqu00a.xn--0zwm56d"),
        ("domain", "_ldap._tcp.dc.example.org", "_ldap._tcp.dc.example.org"),
        ("domain", "192.0.2.1", None),
        ("domain", "localhost", None),
        ("domain", "a..b", None),
        ("domain", "*.example.com", None),
        ("domain", "x" * 64 + ".com", None),
        ("domain", ".".join(["abcdefghi"] * 26), None),
        ("url", "HTTPS://User:Secret@Example.COM:443/a/./b/../c?Q=1#top", "https://example.com/a/c?Q=1"),
        ("url", "http://example.com", "http://example.com/"),
        ("url", "http://example.com:8080/%7euser/%2f", "http://example.com:8080/~user/%2F"),
        ("url", "http://[2001:DB8::1]/x", "http://[2001:db8::1]/x"),
        ("url", "http://bücher.example/ä", "http://xn--bcher-kva.example/%C3%A4"),
        ("url", "example.com/a", None),
        ("url", "http://", None),
        ("url", "http://a b/", None),
        ("url", "http://example.com:99999/", None),
        ("email", "Alice@Example.ORG", "alice@example.org"),
        ("email", "<mailto:Alice@Example.ORG>", "alice@example.org"),
        ("email", "mailto:alice@bücher.example", "alice@xn--bcher-kva.example"),
        ("email", "alice", None),
        ("email", "a b@example.org", None),
        ("hash", MD5.upper(), MD5),
        ("hash", "SHA256=" + SHA256.upper(), SHA256),
        ("hash", "sha256:" + SHA256, SHA256),
        ("hash", "IMPHASH=" + MD5.upper(), "imphash:" + MD5),
        ("hash", "0" * 32, None),
        ("hash", "xyz", None),
        ("account", "CORP\\Alice", "corp\\alice"),
        ("account", ".\\Alice", "alice"),
        ("account", "-\\-", None),
        ("account", "Alice@Example.org", "alice@example.org"),
        ("account", "s-1-5-21-1-2-3-500", "S-1-5-21-1-2-3-500"),
        ("account", "arn:aws:iam::111122223333:user/Alice", "arn:aws:iam::111122223333:user/Alice"),
        ("account", "张三", "张三"),
        ("host", "PC-7", "pc-7"),
        ("host", "\\\\PC-7.Example.ORG.", "pc-7.example.org"),
        ("host", "::ffff:192.0.2.1", "192.0.2.1"),
        ("host", "财务-电脑", "xn----pl8a657h85jgvo"),
        ("host", "two words", None),
        ("certificate", "AB:CD:EF:01:23", "abcdef0123"),
        ("certificate", "no", None),
        ("ja3", MD5.upper(), MD5),
        ("ja3", "x", None),
        ("ja4", "T13D1516H2_8daaf6152771_b186095e22b6", "t13d1516h2_8daaf6152771_b186095e22b6"),
        ("file", '"C:\\Windows/System32\\CMD.exe"', "c:\\windows\\system32\\cmd.exe"),
        ("file", "\\\\?\\C:\\a", "c:\\a"),
        ("file", "/usr/bin/Top", "/usr/bin/Top"),
        ("package", "pkg:pypi/Requests@2.0", "pkg:pypi/Requests@2.0"),
        ("ip", " - ", None),
        ("file", "N/A", None),
        ("file", "x" * (VALUE_CHARACTERS_MAX + 1), None),
    ],
)
def test_a_canonical_form(kind: ObservableKind, text: str, form: str | None) -> None:
    assert canonical(kind, text) == form


@pytest.mark.parametrize(
    "kind", ["ip", "domain", "url", "email", "hash", "account", "host", "certificate", "ja3", "file"]
)
@pytest.mark.parametrize(
    "text", ["", "\0", "\ud800", "http://[", "@", "%", "\\", "a" * 9000, "xn--\u0130", "::", "1" * 5000]
)
def test_no_text_is_an_error_and_a_form_is_its_own_form(kind: ObservableKind, text: str) -> None:
    form = canonical(kind, text)
    assert form is None or canonical(kind, form) == form


def test_sysmon_hashes_are_told_apart() -> None:
    text = f"SHA1=,MD5={MD5.upper()},SHA256={SHA256},IMPHASH={'0' * 32}"
    assert canonicals("hash", text, "hashes") == [MD5, SHA256]


def test_dns_answers_are_told_apart_by_kind() -> None:
    text = "type:  5 cdn.example.net;::ffff:192.0.2.1;2001:db8::1;"
    assert canonicals("ip", text, "dns-answers") == ["192.0.2.1", "2001:db8::1"]
    assert canonicals("domain", text, "dns-answers") == ["cdn.example.net"]


def test_each_observable_of_a_text_is_given_once_and_only_so_many() -> None:
    assert canonicals("ip", "192.0.2.1,192.0.2.1, 192.0.2.2", "comma") == ["192.0.2.1", "192.0.2.2"]
    many = ";".join(f"10.0.{n // 256}.{n % 256}" for n in range(1000))
    assert len(canonicals("ip", many, "semicolon")) == PARTS_MAX


def test_every_split_takes_any_text() -> None:
    for split in SPLITS.values():
        assert list(split("a b,c;d")) != []

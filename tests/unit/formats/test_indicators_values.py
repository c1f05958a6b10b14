"""What single texts stand for."""

import pytest

from feeds import MD5, SHA256
from mingjian.errors import InputError, LimitExceeded, ParseError
from mingjian.formats.indicators.values import KIND_WORDS, meaning, refanged, word_for

DOMAIN = [("domain", "below", "evil.example")]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("192.0.2.1", [("ip", "is", "192.0.2.1")]),
        ("192.0.2[.]1", [("ip", "is", "192.0.2.1")]),
        ("192.0.2.1:8443", [("ip", "is", "192.0.2.1")]),
        ("192.0.2.77/24", [("ip", "within", "192.0.2.0/24")]),
        ("192.0.2.77/32", [("ip", "is", "192.0.2.77")]),
        ("192.0.2.0-192.0.2.255", [("ip", "within", "192.0.2.0/24")]),
        ("192.0.2.1 - 192.0.2.2", [("ip", "is", "192.0.2.1"), ("ip", "is", "192.0.2.2")]),
        ("2001:DB8::1", [("ip", "is", "2001:db8::1")]),
        ("[2001:db8::1]:443", [("ip", "is", "2001:db8::1")]),
        ("2001:db8::/32", [("ip", "within", "2001:db8::/32")]),
        ("::ffff:192.0.2.1", [("ip", "is", "192.0.2.1")]),
        ("Evil.EXAMPLE.", DOMAIN),
        ("evil[.]example", DOMAIN),
        ("evil(dot)example", DOMAIN),
        ("evil\\.example", DOMAIN),
        ("*.evil.example", DOMAIN),
        (".evil.example", DOMAIN),
        ("evil.example:8080", DOMAIN),
        ("||evil.example^", DOMAIN),
        ("'evil.example'", DOMAIN),
        ("bücher.example", [("domain", "below", "xn--bcher-kva.example")]),
        ("hxxp://evil[.]example/a", [("url", "is", "http://evil.example/a")]),
        ("hXXps[:]//evil[.]example", [("url", "is", "https://evil.example/")]),
        ("HTTP://Evil.Example:80/%7Ea", [("url", "is", "http://evil.example/~a")]),
        (
            "evil.example/a",
            [("url", "is", "http://evil.example/a"), ("url", "is", "https://evil.example/a")],
        ),
        ("bob[at]evil[.]example", [("email", "is", "bob@evil.example")]),
        (MD5.upper(), [("hash", "is", MD5)]),
        (f"sha256:{SHA256}", [("hash", "is", SHA256)]),
        (f"ja3: {MD5}", [("ja3", "is", MD5)]),
        (f"imphash={MD5}", [("hash", "is", f"imphash:{MD5}")]),
        ("t13d1516h2_8daaf6152771_b186095e22b6", [("ja4", "is", "t13d1516h2_8daaf6152771_b186095e22b6")]),
        ("Invoice.EXE", [("file", "named", "Invoice.EXE")]),
        (r"C:\Temp\A.exe", [("file", "is", r"c:\temp\a.exe")]),
        (r"%TEMP%\a.exe", [("file", "named", "a.exe")]),
        ("/opt/.x", [("file", "is", "/opt/.x")]),
        ("evil.zip", [("domain", "below", "evil.zip")]),
    ],
)
def test_a_text_is_told_by_how_it_looks(text: str, meant: list[tuple[str, str, str]]) -> None:
    assert [tuple(each) for each in meaning(text)] == meant


@pytest.mark.parametrize(
    ("kind", "text", "meant"),
    [
        ("hostname", "www.evil.example", ("domain", "is", "www.evil.example")),
        ("FQDN", "www.evil.example", ("domain", "is", "www.evil.example")),
        ("domain", "evil.example", ("domain", "below", "evil.example")),
        ("domain", "192.0.2.1", ("ip", "is", "192.0.2.1")),
        ("ip:port", "192.0.2.1:4444", ("ip", "is", "192.0.2.1")),
        ("IPv4-CIDR", "192.0.2.0/24", ("ip", "within", "192.0.2.0/24")),
        ("ja3", MD5, ("ja3", "is", MD5)),
        ("imphash", MD5, ("hash", "is", f"imphash:{MD5}")),
        ("FileHash-MD5", MD5, ("hash", "is", MD5)),
        ("x509-fingerprint-sha1", "AB:CD:EF:01:23", ("certificate", "is", "abcdef0123")),
        ("host", "DC01", ("host", "is", "dc01")),
        ("host", "192.0.2.1", ("ip", "is", "192.0.2.1")),
        ("account", r"CORP\Eve", ("account", "is", r"corp\eve")),
        ("file", "evil.com", ("file", "named", "evil.com")),
    ],
)
def test_a_word_for_the_kind_decides(kind: str, text: str, meant: tuple[str, str, str]) -> None:
    assert [tuple(each) for each in meaning(text, word_for(kind))] == [meant]


@pytest.mark.parametrize(
    "text", ["", "-", "hello", "two words", "0.0.0.0/0", "10.0.0.0/7", "::/15", "1.2.3", "a..b", "c:\\"]
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        meaning(text)


@pytest.mark.parametrize("word", ["ip", "domain", "url", "email", "md5", "ja4", "certificate"])
def test_a_value_of_another_kind_is_refused(word: str) -> None:
    with pytest.raises(InputError):
        meaning("what is this", word_for(word))


def test_limits_have_names() -> None:
    with pytest.raises(LimitExceeded, match="VALUE_CHARACTERS_MAX"):
        meaning("x" * 8_193)
    with pytest.raises(LimitExceeded, match="RANGE_NETWORKS_MAX"):
        meaning("2001:db8::1-2001:dc8:ffff:ffff:ffff:ffff:ffff:fffe")


def test_what_is_not_defanged_stays_as_it_is() -> None:
    for text in ("http://evil.example/a(1).b", "hash", "hello", "fx.example", "http://x/[1]"):
        assert refanged(text) == text


def test_every_word_for_a_kind_can_be_written_in_any_way() -> None:
    for word, meant in KIND_WORDS.items():
        if ":" not in word:
            assert word_for(f" {word.upper().replace('-', '_')} ") == meant

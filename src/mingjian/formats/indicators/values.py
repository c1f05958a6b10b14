r"""What a text in a feed stands for: its kind told, or guessed; defanged spellings undone.

Feeds write ``hxxp://evil[.]example`` so that nobody clicks on it. Kinds that look alike are told apart by what is
common: 32 hexadecimal digits are an MD5 unless a hint says ``ja3``; ``invoice.exe`` is a file and ``evil.zip`` a
domain, because ``zip`` is a top-level domain. A domain without a hint means everything below it too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from mingjian.errors import LimitExceeded, ParseError, shown
from mingjian.model.indicators import NETWORK_BITS_MIN, How, network_of
from mingjian.model.observables import canonical
from mingjian.model.sources import ObservableKind

VALUE_CHARACTERS_MAX: Final = 8_192
"""A longer text is no indicator."""
RANGE_NETWORKS_MAX: Final = 64
"""A range of addresses (``192.0.2.1-192.0.2.77``) may need so many networks."""


class Meant(NamedTuple):
    """What is looked for."""

    kind: ObservableKind
    how: How
    value: str


class Word(NamedTuple):
    """What a producer's word for a kind means."""

    kind: ObservableKind
    how: How
    prefix: str = ""
    """Stands before the canonical value of what else would look like another hash."""


_WORDS: Final[dict[Word, str]] = {
    Word("ip", "is"): "ip ip-address ipaddress ip-addr ipv4 ipv6 ipv4-addr ipv6-addr ipv4-address ipv6-address address "
    "ip-src ip-dst src-ip dst-ip source-ip destination-ip ip-port ip-src-port ip-dst-port ip:port cidr ipv4-cidr "
    "ipv6-cidr network netblock subnet ip-range iprange",
    Word("domain", "below"): "domain domain-name domainname site dns zone",
    Word("domain", "is"): "hostname fqdn host-name hostname-port",
    Word("url", "is"): "url uri link url-addr http-url",
    Word("email", "is"): "email e-mail email-addr email-address mail email-src email-dst email-reply-to sender",
    Word("hash", "is"): "hash file-hash filehash md5 sha1 sha-1 sha224 sha256 sha-256 sha384 sha512 sha-512 md5-hash "
    "sha1-hash sha256-hash sha512-hash filehash-md5 filehash-sha1 filehash-sha256 filehash-sha512",
    Word("hash", "is", "imphash:"): "imphash filehash-imphash",
    Word("certificate", "is"): "certificate cert x509 x509-fingerprint-sha1 x509-fingerprint-md5 "
    "x509-fingerprint-sha256 ssl-cert-fingerprint sslcertfingerprint cert-fingerprint certificate-fingerprint "
    "certificate-serial ssl-fingerprint",
    Word("ja3", "is"): "ja3 ja3s ja3-fingerprint ja3-fingerprint-md5 ja3-md5 ja3-hash",
    Word("ja4", "is"): "ja4 ja4s ja4-fingerprint",
    Word("file", "named"): "file filename file-name filepath file-path path process-name",
    Word("host", "is"): "host computer computer-name netbios netbios-name",
    Word("account", "is"): "account user username user-name user-account account-login",
}
KIND_WORDS: Final[dict[str, Word]] = {name: word for word, names in _WORDS.items() for name in names.split()}
"""Producers' words for kinds, folded, with dashes."""

_ENDINGS: Final = (
    "exe dll sys bat cmd ps1 psm1 vbs vbe js jse wsf wsh hta scr lnk doc docx docm dotm xls xlsx xlsm xlsb xll ppt "
    "pptx pptm pdf rtf jar war class bin dat tmp msi msix iso img vhd vhdx rar 7z gz tgz bz2 ace txt log php asp "
    "aspx jsp jspx html htm chm cpl ocx drv elf apk dmg pkg job reg inf ini xml json csv url ttf png jpg jpeg gif deb "
    "rpm dotx odt ods "
)
_FILE_ENDINGS: Final = frozenset(_ENDINGS.split())
"""Endings of names that are files: none of them is a top-level domain."""

_DEFANGED: Final = re.compile(r"\[\.\]|\(\.\)|\{\.\}|\[\.|\.\]|\s?[\[({]\s?dot\s?[\])}]\s?|\\\.", re.IGNORECASE)
_DEFANGED_REST: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"\[:\]"), ":"),
    (re.compile(r"\[(:?)//?\]|\[://\]"), "://"),
    (re.compile(r"\s?[\[({]\s?(?:@|at)\s?[\])}]\s?", re.IGNORECASE), "@"),
)
_DEFANGED_SCHEME: Final = re.compile(r"\A(?:h(?:xx|tt|\*\*|XX)p|fxp)(s?)(?=:|\[:|\[:/)", re.IGNORECASE)
_MARKS: Final = re.compile(r"[\[\](){}]|\\\.|\A[hf]x|\Ah\*", re.IGNORECASE)
_SCHEME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,31}://")
_HEXADECIMAL: Final = re.compile(r"[0-9a-fA-F]{32,128}")
_OCTET: Final = r"(?:0|[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-5])"
_PLAIN_V4: Final = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
"""Such an address is in canonical form."""
_NUMERIC: Final = re.compile(r"[0-9./:]+")
_ADDRESS_6: Final = re.compile(r"\[?[0-9a-fA-F:]*:[0-9a-fA-F:.]*(?:%\w+)?\]?(?::\d+|/\d+)?")
_RANGE: Final = re.compile(r"([0-9a-fA-F:.]+)\s*-\s*([0-9a-fA-F:.]+)")
_JA4: Final = re.compile(r"[tqd]\d\d[di]\d{4}[a-z0-9]{2}_[0-9a-f]{12}_[0-9a-f]{12}")
_PORT: Final = re.compile(r"(.+?):(\d{1,5})/?")
_BLOCK_RULE: Final = re.compile(r"\|\|([^/^$|]+)\^(?:\$.*)?")
_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|[\\/%~]")


def refanged(text: str) -> str:
    """Undo what keeps people from clicking.

    >>> refanged("hxxps://evil[.]example/a"), refanged("bob[at]evil(dot)example"), refanged("1.2.3[.]4")
    ('https://evil.example/a', 'bob@evil.example', '1.2.3.4')
    """
    if not _MARKS.search(text):
        return text
    text = _DEFANGED_SCHEME.sub(lambda found: ("ftp" if found[0][0] in "fF" else "http") + found[1].lower(), text)
    text = _DEFANGED.sub(".", text)
    for pattern, plain in _DEFANGED_REST:
        text = pattern.sub(plain, text)
    return text


def word_for(text: str) -> Word | None:
    """What a producer's word for a kind means, None if it means none that we look for.

    >>> word_for("FileHash-SHA256"), word_for("yara")
    (Word(kind='hash', how='is', prefix=''), None)
    """
    return KIND_WORDS.get("-".join(re.split(r"[\s_|/-]+", text.strip().casefold())))


def meaning(text: str, word: Word | None = None) -> list[Meant]:
    """What a text of a feed stands for: mostly one thing, several for a range of addresses or a URL without scheme.

    >>> meaning("evil[.]example"), meaning("d41d8cd98f00b204e9800998ecf8427e", word_for("ja3"))
    ([Meant(kind='domain', how='below', value='evil.example')], [Meant(kind='ja3', how='is', value='d41d8cd98f00b204e9800998ecf8427e')])

    Raises: ParseError (not an indicator, or not of this kind), LimitExceeded (VALUE_CHARACTERS_MAX, RANGE_NETWORKS_MAX).
    """  # noqa: E501  # the answer of the example is one line
    text = text.strip().strip("\"'`").strip()
    if len(text) > VALUE_CHARACTERS_MAX:
        raise LimitExceeded("VALUE_CHARACTERS_MAX", VALUE_CHARACTERS_MAX)
    if word is not None:
        found = _of_kind(word, text)
        if not found:
            raise ParseError(f"{shown(text)} is no {word.kind}")
        return found
    found = _guessed(refanged(text))
    if not found:
        raise ParseError(f"{shown(text)} is nothing that can be looked for")
    return found


def _guessed(text: str) -> list[Meant]:
    for looks_so, read in _GUESSES:
        if looks_so(text):
            found = read(text)
            if found:
                return found
    return []


def _of_kind(word: Word, text: str) -> list[Meant]:
    kind, _, prefix = word
    if kind == "file":
        return _file(text)
    text = refanged(text)
    if prefix:
        return _exactly(kind, prefix + text.lower().removeprefix(prefix))
    if kind == "ip":
        return _addresses(text)
    if kind == "url":
        return _url(text)
    if kind in ("domain", "host"):
        return _name(text, word)
    return _exactly(kind, text)


def _exactly(kind: ObservableKind, text: str) -> list[Meant]:
    value = canonical(kind, text)
    return [] if value is None else [Meant(kind, "is", value)]


def _name(text: str, word: Word) -> list[Meant]:
    """A domain, perhaps with a port or a star before it; an address where a name was promised is an address."""
    rule = _BLOCK_RULE.fullmatch(text)
    if rule:
        text, word = rule[1], Word("domain", "below")
    if text.startswith(("*.", ".")):
        text, word = text.lstrip("*").lstrip("."), Word("domain", "below")
    if port := _PORT.fullmatch(text):
        text = port[1]
    if _SCHEME.match(text):
        return []
    value = canonical(word.kind, text)
    if value is not None:
        address = canonical("ip", value) if word.kind == "host" else None
        return [Meant("ip", "is", address)] if address else [Meant(word.kind, word.how, value)]
    return _addresses(text)


def _addresses(text: str) -> list[Meant]:
    if "/" in text:
        network = network_of(text)
        return [] if network is None else [_network(network)]
    if between := _RANGE.fullmatch(text):
        return _between(between[1], between[2])
    return _exactly("ip", text)


def _network(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Meant:
    if network.prefixlen == network.max_prefixlen:
        return Meant("ip", "is", str(network.network_address))
    if network.prefixlen < NETWORK_BITS_MIN[network.version]:
        raise ParseError(f"{network} is too wide (NETWORK_BITS_MIN is {NETWORK_BITS_MIN[network.version]})")
    return Meant("ip", "within", str(network))


def _between(first: str, last: str) -> list[Meant]:
    try:
        ends = ipaddress.ip_address(first), ipaddress.ip_address(last)
        found: list[Meant] = []
        for network in ipaddress.summarize_address_range(*ends):  # type: ignore[type-var]  # mixed: TypeError below
            if len(found) >= RANGE_NETWORKS_MAX:
                raise LimitExceeded("RANGE_NETWORKS_MAX", RANGE_NETWORKS_MAX)
            found.append(_network(network_of(str(network)) or network))
    except (ValueError, TypeError):
        return []
    return found


def _url(text: str) -> list[Meant]:
    """A URL. Without a scheme it is meant with both, and without a path it is the name alone."""
    if _SCHEME.match(text):
        return _exactly("url", text)
    host, slash, path = text.removeprefix("//").partition("/")
    if not slash:
        return _name(host, Word("domain", "is"))
    both = [_exactly("url", f"{scheme}://{host}/{path}") for scheme in ("http", "https")]
    return [meant for found in both for meant in found] if canonical("host", host.partition(":")[0]) else []


def _file(text: str) -> list[Meant]:
    """A path as it stands; a bare name, or one behind a variable (``%TEMP%``), in every folder."""
    if text.startswith(("%", "~", "$")):
        text = re.split(r"[\\/]", text)[-1]
    value = canonical("file", text)
    if value is None or value.endswith(("\\", "/")):
        return []
    return [Meant("file", "is" if "\\" in value or "/" in value else "named", value)]


def _file_by_ending(text: str) -> list[Meant]:
    ending = text.rpartition(".")[2].casefold()
    return _file(text) if ending in _FILE_ENDINGS else []


def _labelled(text: str) -> list[Meant]:
    """``sha256:…``, ``ip: …``, ``imphash=…``: a word for the kind before the value."""
    label, rest = re.split(r"[:=]", text, maxsplit=1)
    word = word_for(label)
    return [] if word is None or not rest.strip() else _of_kind(word, rest.strip())


_GUESSES: Final[tuple[tuple[Callable[[str], object], Callable[[str], list[Meant]]], ...]] = (
    (_PLAIN_V4.fullmatch, lambda text: [Meant("ip", "is", text)]),
    (_HEXADECIMAL.fullmatch, lambda text: _exactly("hash", text)),
    (_NUMERIC.fullmatch, _addresses),
    (_SCHEME.match, lambda text: _exactly("url", text)),
    (_ADDRESS_6.fullmatch, _addresses),
    (_RANGE.fullmatch, _addresses),
    (lambda text: "@" in text, lambda text: _exactly("email", text)),
    (_JA4.fullmatch, lambda text: _exactly("ja4", text)),
    (_PATH.match, _file),
    (lambda text: "." in text and "/" not in text, _file_by_ending),
    (lambda text: "." in text and "/" not in text, lambda text: _name(text, Word("domain", "below"))),
    (lambda text: "/" in text and " " not in text, _url),
    (lambda text: ":" in text or "=" in text, _labelled),
)
"""How a text looks, and what it then is; the first that gives anything counts."""
